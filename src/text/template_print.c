/* Values as text: Python's str() and repr(). */
#include "text/template_value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "text/template_unicode.h"

/* ---- Numbers ---- */

size_t tmpl_format_integer(int64_t value, char *text)
{
    char digits[20];
    size_t count = 0, length = 0;
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do digits[count++] = (char)('0' + left % 10);
    while (left /= 10);
    if (value < 0) text[length++] = '-';
    while (count) text[length++] = digits[--count];
    text[length] = 0;
    return length;
}

size_t tmpl_format_float(double value, char *text)
{
    char scientific[40], digits[20];
    size_t tries = 0;
    if (!isfinite(value)) {
        strcpy(text, isnan(value) ? "nan" : value < 0 ? "-inf" : "inf");
        return 1;
    }
    /* 15 digits tell doubles apart that hold that many; below, a shorter spelling may do. */
    for (int precision = fabs(value) < 2.3e-308 ? 0 : 14; precision <= 16; precision++) {
        snprintf(scientific, sizeof scientific, "%.*e", precision, value);
        tries++;
        if (strtod(scientific, NULL) == value) break;
    }
    int count = 0, exponent = atoi(strchr(scientific, 'e') + 1);
    const size_t steps = tries * (TMPL_NUMBER_STEPS + (size_t)abs(exponent) / 4); /* both directions work on that many digits */
    for (const char *at = scientific; *at != 'e'; at++) { /* the decimal point is the locale's: anything but a digit */
        if (*at >= '0' && *at <= '9') digits[count++] = *at;
    }
    while (count > 1 && digits[count - 1] == '0') count--;
    char *out = text;
    if (signbit(value)) *out++ = '-';
    if (exponent < -4 || exponent >= 16) {
        *out++ = digits[0];
        if (count > 1) *out++ = '.';
        memcpy(out, digits + 1, (size_t)count - 1);
        snprintf(out + count - 1, 8, "e%c%02u", exponent < 0 ? '-' : '+', (unsigned)abs(exponent) % 1000);
        return steps;
    }
    if (exponent < 0) out += sprintf(out, "0.%.*s", -exponent - 1, "000");
    for (int i = 0; i < count || i <= exponent; i++) {
        *out++ = i < count ? digits[i] : '0';
        if (i == exponent && exponent >= 0) *out++ = '.';
    }
    if (out[-1] == '.') *out++ = '0';
    *out = 0;
    return steps;
}

static size_t scan_digits(const char *text, size_t length, size_t at, char *out, size_t *kept)
{
    size_t start = at;
    while (at < length &&
           ((text[at] >= '0' && text[at] <= '9') || (text[at] == '_' && at > start && text[at - 1] != '_' && at + 1 < length &&
                                                     text[at + 1] >= '0' && text[at + 1] <= '9'))) {
        if (text[at] != '_') out[(*kept)++] = text[at];
        at++;
    }
    return at;
}

bool tmpl_parse_float(const char *text, size_t length, double *value)
{
    char copy[1100], point[8];
    size_t kept = 0, at = 0, start;
    if (length == 0 || length > 1000) return false;
    snprintf(point, sizeof point, "%.1f", 0.5);
    if (text[at] == '+' || text[at] == '-') copy[kept++] = text[at++];
    if ((length - at == 3 && (!strncasecmp(text + at, "inf", 3) || !strncasecmp(text + at, "nan", 3))) ||
        (length - at == 8 && !strncasecmp(text + at, "infinity", 8))) {
        double special = (text[at] | 32) == 'n' ? (double)NAN : (double)INFINITY;
        *value = text[0] == '-' ? -special : special;
        return true;
    }
    at = scan_digits(text, length, start = at, copy, &kept);
    bool any = at > start;
    if (at < length && text[at] == '.') {
        for (const char *c = point + 1; *c != '5'; c++) copy[kept++] = *c;
        at = scan_digits(text, length, start = at + 1, copy, &kept);
        any = any || at > start;
    }
    if (any && at < length && (text[at] | 32) == 'e') {
        copy[kept++] = 'e';
        at++;
        if (at < length && (text[at] == '+' || text[at] == '-')) copy[kept++] = text[at++];
        at = scan_digits(text, length, start = at, copy, &kept);
        any = at > start;
    }
    if (!any || at != length) return false;
    copy[kept] = 0;
    *value = strtod(copy, NULL);
    return true;
}

/* ---- Values ---- */

static void add_literal(tmpl_builder *builder, const char *text)
{
    tmpl_add(builder, text, strlen(text), false);
}

static void add_repr_char(tmpl_builder *builder, uint32_t c, char quote, bool marked)
{
    static const struct {
        uint32_t code_point;
        const char *escape;
    } escapes[] = {{'\\', "\\\\"}, {'\n', "\\n"}, {'\r', "\\r"}, {'\t', "\\t"}};
    char text[12];
    for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++) {
        if (c == escapes[i].code_point) {
            tmpl_add(builder, escapes[i].escape, 2, marked);
            return;
        }
    }
    if (c == (uint32_t)quote) {
        text[0] = '\\';
        text[1] = quote;
        tmpl_add(builder, text, 2, marked);
    } else if (tmpl_is_printable(c)) {
        tmpl_add_char(builder, c, marked);
    } else {
        static const char hex[] = "0123456789abcdef";
        const int digits = c < 0x100 ? 2 : c < 0x10000 ? 4 : 8;
        text[0] = '\\';
        text[1] = digits == 2 ? 'x' : digits == 4 ? 'u' : 'U';
        for (int i = 0; i < digits; i++) text[2 + i] = hex[c >> 4 * (digits - 1 - i) & 15];
        tmpl_add(builder, text, 2 + (size_t)digits, marked);
    }
}

static void add_repr_string(tmpl_builder *builder, const tmpl_string *string)
{
    bool single = memchr(string->data, '\'', string->length) != NULL;
    char quote = single && !memchr(string->data, '"', string->length) ? '"' : '\'';
    if (builder->status == PV_OK) builder->status = tmpl_charge_slow_bytes(builder->run, string->length * 2);
    if (string->safe) add_literal(builder, "Markup(");
    tmpl_add(builder, &quote, 1, false);
    for (size_t at = 0; at < string->length && builder->status == PV_OK;) {
        uint32_t c;
        size_t length = pv_utf8_decode(string->data + at, string->length - at, &c);
        if (!length) c = (unsigned char)string->data[at], length = 1;
        add_repr_char(builder, c, quote, tmpl_is_marked(string, at));
        at += length;
    }
    tmpl_add(builder, &quote, 1, false);
    if (string->safe) add_literal(builder, ")");
}

static void add_repr(tmpl_builder *builder, tmpl_value value, int depth);

static void add_items(tmpl_builder *builder, const tmpl_list *list, int depth)
{
    for (size_t i = 0; i < list->count && builder->status == PV_OK; i++) {
        if (i) add_literal(builder, ", ");
        add_repr(builder, list->items[i], depth);
    }
}

static void add_dict(tmpl_builder *builder, const tmpl_dict *dict, int depth)
{
    add_literal(builder, "{");
    for (size_t i = 0; i < dict->count && builder->status == PV_OK; i++) {
        if (i) add_literal(builder, ", ");
        add_repr(builder, dict->entries[i].key, depth);
        add_literal(builder, ": ");
        add_repr(builder, dict->entries[i].value, depth);
    }
    add_literal(builder, "}");
}

static void add_view(tmpl_builder *builder, const tmpl_value *view, int depth)
{
    static const char *const names[] = {"dict_keys([", "dict_values([", "dict_items(["};
    add_literal(builder, names[view->detail]);
    for (size_t i = 0; i < view->dict->count && builder->status == PV_OK; i++) {
        const tmpl_entry *entry = &view->dict->entries[i];
        if (i) add_literal(builder, ", ");
        if (view->detail == TMPL_VIEW_ITEMS) add_literal(builder, "(");
        if (view->detail != TMPL_VIEW_VALUES) add_repr(builder, entry->key, depth);
        if (view->detail == TMPL_VIEW_ITEMS) add_literal(builder, ", ");
        if (view->detail != TMPL_VIEW_KEYS) add_repr(builder, entry->value, depth);
        if (view->detail == TMPL_VIEW_ITEMS) add_literal(builder, ")");
    }
    add_literal(builder, "])");
}

static void add_range(tmpl_builder *builder, const tmpl_range *range)
{
    char text[80] = "range(";
    size_t length = 6;
    length += tmpl_format_integer(range->start, text + length);
    text[length++] = ',', text[length++] = ' ';
    length += tmpl_format_integer(range->stop, text + length);
    if (range->step != 1) {
        text[length++] = ',', text[length++] = ' ';
        length += tmpl_format_integer(range->step, text + length);
    }
    text[length++] = ')';
    tmpl_add(builder, text, length, false);
}

static void add_repr(tmpl_builder *builder, tmpl_value value, int depth)
{
    char text[40];
    if (builder->status == PV_OK && depth == 0)
        builder->status = tmpl_fail(builder->run, "printing a value nested deeper than %d", TMPL_MAX_VALUE_DEPTH);
    if (builder->status != PV_OK) return;
    switch (value.type) {
    case TMPL_UNDEFINED: add_literal(builder, "Undefined"); return;
    case TMPL_NONE: add_literal(builder, "None"); return;
    case TMPL_BOOL: add_literal(builder, value.boolean ? "True" : "False"); return;
    case TMPL_INT:
        tmpl_add(builder, text, tmpl_format_integer(value.integer, text), false);
        return;
    case TMPL_FLOAT:
        builder->status = tmpl_charge(builder->run, tmpl_format_float(value.real, text));
        add_literal(builder, text);
        return;
    case TMPL_BIGINT: tmpl_add_string(builder, value.string); return;
    case TMPL_STRING: add_repr_string(builder, value.string); return;
    case TMPL_LIST:
        add_literal(builder, "[");
        add_items(builder, value.list, depth - 1);
        add_literal(builder, "]");
        return;
    case TMPL_TUPLE:
        add_literal(builder, "(");
        add_items(builder, value.list, depth - 1);
        add_literal(builder, value.list->count == 1 ? ",)" : ")");
        return;
    case TMPL_DICT: add_dict(builder, value.dict, depth - 1); return;
    case TMPL_NAMESPACE:
        add_literal(builder, "<Namespace ");
        add_dict(builder, value.dict, depth - 1);
        add_literal(builder, ">");
        return;
    case TMPL_VIEW: add_view(builder, &value, depth - 1); return;
    case TMPL_RANGE: add_range(builder, value.range); return;
    default: builder->status = tmpl_fail(builder->run, "a %s has no text", tmpl_type_name(value.type));
    }
}

void tmpl_add_repr(tmpl_builder *builder, tmpl_value value)
{
    add_repr(builder, value, TMPL_MAX_VALUE_DEPTH);
}

void tmpl_add_str(tmpl_builder *builder, tmpl_value value)
{
    if (value.type == TMPL_STRING)
        tmpl_add_string(builder, value.string);
    else if (value.type != TMPL_UNDEFINED)
        tmpl_add_repr(builder, value);
}

pv_status tmpl_to_string(tmpl_run *run, tmpl_value value, tmpl_string **out)
{
    tmpl_builder builder;
    tmpl_value text;
    if (value.type == TMPL_STRING) {
        *out = value.string;
        return PV_OK;
    }
    tmpl_builder_init(&builder, run);
    tmpl_add_str(&builder, value);
    pv_status status = tmpl_finish(&builder, &text);
    if (status == PV_OK) *out = text.string;
    return status;
}
