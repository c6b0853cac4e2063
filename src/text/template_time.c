/* strftime in the C locale and UTC: the same text everywhere. */
#include "text/template_eval.h"

#include <stdio.h>
#include <string.h>

typedef struct moment {
    int64_t seconds, year;
    int month, day; /* from 1 */
    int hour, minute, second;
    int weekday; /* Sunday is 0 */
    int yearday; /* from 0 */
} moment;

static const char *const day_names[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
static const char *const month_names[] = {"January", "February", "March",     "April",   "May",      "June",
                                          "July",    "August",   "September", "October", "November", "December"};

static bool is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Years of 400 have 146,097 days; counted from 1 March, the leap day comes last. */
static moment split_time(int64_t seconds)
{
    moment m = {.seconds = seconds};
    int64_t days = seconds / 86400 - (seconds % 86400 < 0), rest = seconds - days * 86400;
    m.hour = (int)(rest / 3600);
    m.minute = (int)(rest / 60 % 60);
    m.second = (int)(rest % 60);
    m.weekday = (int)(((days + 4) % 7 + 7) % 7); /* 1 January 1970 was a Thursday */
    int64_t from_march = days + 719468, era = from_march / 146097 - (from_march % 146097 < 0);
    int64_t of_era = from_march - era * 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100), month = (5 * of_year + 2) / 153;
    m.day = (int)(of_year - (153 * month + 2) / 5 + 1);
    m.month = (int)(month < 10 ? month + 3 : month - 9);
    m.year = year + era * 400 + (m.month <= 2);
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    m.yearday = before[m.month - 1] + m.day - 1 + (m.month > 2 && is_leap(m.year));
    return m;
}

/* The week of ISO 8601 and the year that it belongs to. */
static int iso_week(const moment *m, int64_t *year)
{
    int monday_based = (m->weekday + 6) % 7, week = (m->yearday - monday_based + 10) / 7;
    *year = m->year;
    if (week < 1) {
        --*year;
        int last = 365 + is_leap(*year), yearday = m->yearday + last;
        return (yearday - monday_based + 10) / 7;
    }
    if (week == 53 && m->yearday - monday_based + 3 >= 365 + is_leap(m->year)) {
        ++*year;
        return 1;
    }
    return week;
}

/* Numbers: their value, and how many digits they are padded to with `pad`. False if `c` is none. */
static bool number_of(const moment *m, char c, int64_t *value, int *width, char *pad)
{
    int64_t iso_year;
    int week = iso_week(m, &iso_year), twelve = m->hour % 12 ? m->hour % 12 : 12;
    const struct {
        char c, pad;
        int width;
        int64_t value;
    } numbers[] = {
        {'Y', '0', 1, m->year},
        {'m', '0', 2, m->month},
        {'d', '0', 2, m->day},
        {'e', ' ', 2, m->day},
        {'H', '0', 2, m->hour},
        {'k', ' ', 2, m->hour},
        {'I', '0', 2, twelve},
        {'l', ' ', 2, twelve},
        {'M', '0', 2, m->minute},
        {'S', '0', 2, m->second},
        {'j', '0', 3, m->yearday + 1},
        {'y', '0', 2, m->year % 100},
        {'C', '0', 2, m->year / 100},
        {'w', '0', 1, m->weekday},
        {'u', '0', 1, m->weekday ? m->weekday : 7},
        {'U', '0', 2, (m->yearday + 7 - m->weekday) / 7},
        {'W', '0', 2, (m->yearday + 7 - (m->weekday + 6) % 7) / 7},
        {'V', '0', 2, week},
        {'G', '0', 1, iso_year},
        {'s', '0', 1, m->seconds},
        {'f', '0', 6, 0},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (numbers[i].c != c) continue;
        *value = numbers[i].value;
        *width = numbers[i].width;
        *pad = numbers[i].pad;
        return true;
    }
    return false;
}

/* Conversions that stand for a longer format. */
static const char *long_form(char c)
{
    switch (c) {
    case 'c': return "%a %b %e %H:%M:%S %Y";
    case 'D':
    case 'x': return "%m/%d/%y";
    case 'F': return "%Y-%m-%d";
    case 'R': return "%H:%M";
    case 'r': return "%I:%M:%S %p";
    case 'T':
    case 'X': return "%H:%M:%S";
    default: return NULL;
    }
}

static bool name_of(const moment *m, char c, char *text, size_t size)
{
    const char *name = c == 'a' || c == 'A'               ? day_names[m->weekday]
                       : c == 'b' || c == 'B' || c == 'h' ? month_names[m->month - 1]
                       : c == 'p'                         ? (m->hour < 12 ? "AM" : "PM")
                       : c == 'P'                         ? (m->hour < 12 ? "am" : "pm")
                       : c == 'n'                         ? "\n"
                       : c == 't'                         ? "\t"
                       : c == '%'                         ? "%"
                       : c == 'z' || c == 'Z'             ? "" /* the time has no zone, as datetime.now() has none */
                                                          : NULL;
    if (!name) return false;
    snprintf(text, size, "%.*s", c == 'a' || c == 'b' || c == 'h' ? 3 : 20, name);
    return true;
}

static pv_status add_time(tmpl_builder *builder, const char *format, size_t length, const moment *m, bool marked, int depth)
{
    char text[40];
    for (size_t at = 0; at < length && builder->status == PV_OK; at++) {
        size_t next = at + 1;
        if (format[at] != '%') {
            tmpl_add(builder, format + at, 1, marked);
            continue;
        }
        builder->run->steps += TMPL_NUMBER_STEPS / 2;
        char flag = next < length && strchr("-_0", format[next]) && format[next] ? format[next++] : 0;
        char c = next < length ? format[next] : 0, pad = 0;
        int64_t value = 0;
        int width = 0;
        const char *longer = depth ? long_form(c) : NULL;
        if (longer) {
            add_time(builder, longer, strlen(longer), m, marked, depth - 1);
        } else if (number_of(m, c, &value, &width, &pad)) {
            if (flag == '-') width = 1;
            if (flag == '_') pad = ' ';
            if (flag == '0') pad = '0';
            snprintf(text, sizeof text, pad == '0' ? "%0*lld" : "%*lld", width, (long long)value);
            tmpl_add(builder, text, strlen(text), marked);
        } else if (c && name_of(m, c, text, sizeof text)) {
            tmpl_add(builder, text, strlen(text), marked);
        } else {
            return builder->status = tmpl_fail(builder->run, "strftime_now: '%%%c' is not supported", c ? c : ' ');
        }
        at = next;
    }
    return builder->status;
}

pv_status tmpl_format_time(tmpl_run *run, const tmpl_string *format, int64_t seconds, tmpl_value *out)
{
    tmpl_builder builder;
    moment m = split_time(seconds);
    tmpl_builder_init(&builder, run);
    add_time(&builder, format->data, format->length, &m, tmpl_any_marked(format), 1);
    return tmpl_finish(&builder, out);
}
