/* "…" % values and "…".format(…), as far as templates use them. */
#include "text/template_eval.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

/* ---- % ---- */

typedef struct conversion {
    bool left, zero, plus, space, alternate;
    int64_t width, precision; /* precision: −1 if not given */
    char type;
} conversion;

enum { MAX_WIDTH = 10000 };

static pv_status parse_number(tmpl_run *run, const tmpl_string *format, size_t *at, int64_t *number)
{
    *number = 0;
    while (*at < format->length && format->data[*at] >= '0' && format->data[*at] <= '9') {
        *number = *number * 10 + (format->data[(*at)++] - '0');
        if (*number > MAX_WIDTH) return tmpl_fail(run, "a format wider than %d", MAX_WIDTH);
    }
    return PV_OK;
}

/* Reads from behind the % and the name to behind the type. */
static pv_status parse_conversion(tmpl_run *run, const tmpl_string *format, size_t *at, conversion *c)
{
    *c = (conversion){.precision = -1};
    for (; *at < format->length; ++*at) {
        char flag = format->data[*at];
        if (flag == '-')
            c->left = true;
        else if (flag == '0')
            c->zero = true;
        else if (flag == '+')
            c->plus = true;
        else if (flag == ' ')
            c->space = true;
        else if (flag == '#')
            c->alternate = true;
        else
            break;
    }
    pv_status status = parse_number(run, format, at, &c->width);
    if (status == PV_OK && *at < format->length && format->data[*at] == '.') {
        ++*at;
        status = parse_number(run, format, at, &c->precision);
    }
    if (status != PV_OK) return status;
    if (*at == format->length) return tmpl_fail(run, "incomplete format");
    c->type = format->data[(*at)++];
    if (c->alternate || !strchr("sdiufFeEgGxXorc", c->type))
        return tmpl_fail(run, "the format character '%c' is not supported", c->type);
    return PV_OK;
}

static void add_padded(tmpl_builder *builder, const conversion *c, const tmpl_string *text, size_t characters)
{
    int64_t room = c->width - (int64_t)characters;
    for (int64_t i = 0; !c->left && i < room && builder->status == PV_OK; i++) tmpl_add(builder, " ", 1, false);
    tmpl_add_string(builder, text);
    for (int64_t i = 0; c->left && i < room && builder->status == PV_OK; i++) tmpl_add(builder, " ", 1, false);
}

static pv_status add_text(tmpl_builder *builder, const conversion *c, tmpl_value value)
{
    tmpl_run *run = builder->run;
    tmpl_builder repr;
    size_t characters, end;
    pv_status status;
    if (c->type == 'r') {
        tmpl_builder_init(&repr, run);
        tmpl_add_repr(&repr, value);
        if ((status = tmpl_finish(&repr, &value)) != PV_OK) return status;
    }
    tmpl_string *text;
    if ((status = tmpl_to_string(run, value, &text)) != PV_OK) return status;
    if ((status = tmpl_characters(run, text, &characters)) != PV_OK) return status;
    if (c->precision >= 0 && (size_t)c->precision < characters) {
        tmpl_value cut;
        if ((status = tmpl_offset(run, text, (size_t)c->precision, &end)) != PV_OK) return status;
        if ((status = tmpl_substring(run, text, 0, end, &cut)) != PV_OK) return status;
        text = cut.string;
        characters = (size_t)c->precision;
    }
    add_padded(builder, c, text, characters);
    return builder->status;
}

/* printf writes the number; its decimal point may be another in the caller's locale. */
static void fix_point(char *text)
{
    char point[8];
    snprintf(point, sizeof point, "%.1f", 0.5);
    size_t length = strlen(point) - 2;
    point[1 + length] = 0;
    char *found = length && strcmp(point + 1, ".") ? strstr(text, point + 1) : NULL;
    if (!found) return;
    *found = '.';
    memmove(found + 1, found + length, strlen(found + length) + 1);
}

static pv_status add_number(tmpl_builder *builder, const conversion *c, tmpl_value value)
{
    tmpl_run *run = builder->run;
    char spec[40], text[420];
    int64_t integer;
    double real;
    bool integral = strchr("diuxXo", c->type) != NULL;
    if (c->width > 300 || c->precision > 60)
        return tmpl_fail(run, "a number in a format wider than 300 or more precise than 60");
    if (!tmpl_as_float(value, &real)) return tmpl_fail(run, "%%%c wants a number, got %s", c->type, tmpl_type_name(value.type));
    int at = snprintf(spec, sizeof spec, "%%%s%s%s%s%d", c->left ? "-" : "", c->zero ? "0" : "", c->plus ? "+" : "",
                      c->space ? " " : "", (int)c->width);
    if (c->precision >= 0) at += snprintf(spec + at, sizeof spec - (size_t)at, ".%d", (int)c->precision);
    if (integral) {
        if (!tmpl_as_integer(value, &integer)) {
            if (strchr("xXo", c->type) || !(real > -9.2e18 && real < 9.2e18))
                return tmpl_fail(run, "%%%c wants an int", c->type);
            integer = (int64_t)real;
        }
        if (integer < 0 && strchr("xXo", c->type)) return tmpl_fail(run, "%%%c of a negative number is not supported", c->type);
        snprintf(spec + at, sizeof spec - (size_t)at, "ll%c", c->type == 'u' || c->type == 'i' ? 'd' : c->type);
    } else {
        if (!isfinite(real) || fabs(real) > 1e300) return tmpl_fail(run, "%%%c of a number that large", c->type);
        snprintf(spec + at, sizeof spec - (size_t)at, "%c", c->type);
    }
    /* The conversion was put together above, from checked parts. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    if (integral)
        snprintf(text, sizeof text, spec, (long long)integer);
    else
        snprintf(text, sizeof text, spec, real);
#pragma GCC diagnostic pop
    if (!integral) fix_point(text);
    const size_t length = strlen(text);
    pv_status status = tmpl_charge(run, TMPL_NUMBER_STEPS + 2 * length + (integral || real == 0 ? 0 : (size_t)abs(ilogb(real)) / 4));
    if (status != PV_OK) return status;
    tmpl_add(builder, text, length, false);
    return builder->status;
}

static pv_status add_conversion(tmpl_builder *builder, const conversion *c, tmpl_value value)
{
    int64_t integer;
    char bytes[4];
    if (c->type == 'c') {
        size_t characters = 0, length;
        if (value.type == TMPL_STRING) {
            pv_status status = tmpl_characters(builder->run, value.string, &characters);
            if (status != PV_OK) return status;
            if (characters != 1) return tmpl_fail(builder->run, "%%c wants one character");
            return add_text(builder, c, value);
        }
        if (!tmpl_as_integer(value, &integer) || integer < 0 || integer > 0x10ffff)
            return tmpl_fail(builder->run, "%%c wants a character");
        length = pv_utf8_encode((uint32_t)integer, bytes);
        if (!length) return tmpl_fail(builder->run, "%%c wants a character");
        tmpl_string text = {.data = bytes, .length = length, .characters = 1};
        add_padded(builder, c, &text, 1);
        return builder->status;
    }
    return c->type == 's' || c->type == 'r' ? add_text(builder, c, value) : add_number(builder, c, value);
}

/* "%(name)s": the value of the name in the dict at the right. */
static pv_status named_value(tmpl_run *run, const tmpl_string *format, size_t *at, tmpl_value values, tmpl_value *value)
{
    size_t start = ++*at;
    while (*at < format->length && format->data[*at] != ')') ++*at;
    if (*at == format->length) return tmpl_fail(run, "incomplete format key");
    if (values.type != TMPL_DICT) return tmpl_fail(run, "format requires a mapping");
    tmpl_value *found = tmpl_dict_get(run, values.dict, format->data + start, *at - start);
    if (!found) return tmpl_fail(run, "a format key that is not there");
    ++*at;
    *value = *found;
    return PV_OK;
}

pv_status tmpl_format_percent(tmpl_run *run, const tmpl_string *format, tmpl_value values, tmpl_value *out)
{
    tmpl_builder builder;
    conversion c;
    bool tuple = values.type == TMPL_TUPLE, named = false;
    size_t count = tuple ? values.list->count : 1, used = 0, done = 0;
    tmpl_builder_init(&builder, run);
    builder.safe = format->safe;
    builder.status = tmpl_charge_slow_bytes(run, format->length);
    for (size_t at = 0; at < format->length && builder.status == PV_OK;) {
        if (format->data[at] != '%') {
            at++;
            continue;
        }
        tmpl_add_part(&builder, format, done, at++);
        if (at < format->length && format->data[at] == '%') {
            done = at++;
            continue;
        }
        tmpl_value value = tmpl_none();
        bool key = at < format->length && format->data[at] == '(';
        pv_status status = key ? named_value(run, format, &at, values, &value) : PV_OK;
        if (status == PV_OK) status = parse_conversion(run, format, &at, &c);
        if (status == PV_OK && !key && used == count) status = tmpl_fail(run, "not enough arguments for format string");
        if (status == PV_OK && !key) value = tuple ? values.list->items[used++] : (used++, values);
        if (status == PV_OK) status = add_conversion(&builder, &c, value);
        if (status != PV_OK) return status;
        named = named || key;
        done = at;
    }
    tmpl_add_part(&builder, format, done, format->length);
    /* Anything with keys or indexes that is not asked for is no error in Python. */
    bool may_rest = named || values.type == TMPL_DICT || values.type == TMPL_LIST || values.type == TMPL_RANGE ||
                    values.type == TMPL_UNDEFINED;
    if (builder.status == PV_OK && used < count && !may_rest)
        return tmpl_fail(run, "not all arguments converted during string formatting");
    return tmpl_finish(&builder, out);
}

/* ---- format() ---- */

static pv_status braces_value(tmpl_run *run, const tmpl_string *name, const tmpl_call *call, size_t *next, tmpl_value *value)
{
    size_t number = 0;
    bool digits = name->length > 0 && name->length < 9;
    for (size_t i = 0; i < name->length && digits; i++) {
        digits = name->data[i] >= '0' && name->data[i] <= '9';
        number = number * 10 + (size_t)(name->data[i] - '0');
    }
    if (!name->length) number = (*next)++;
    if (!name->length || digits) {
        if (number >= call->count) return tmpl_fail(run, "format: argument %zu is not there", number);
        *value = call->positional[number];
        return PV_OK;
    }
    for (size_t i = 0; i < call->named_count; i++, run->steps++) {
        if (!tmpl_same_text(call->names[i], name)) continue;
        *value = call->named[i];
        return PV_OK;
    }
    return tmpl_fail(run, "format: '{%.*s}' is not supported or not given", tmpl_shown(name), name->data);
}

/* {}, {0}, {name}, {{ and }}: no attributes, conversions or format specifications. */
pv_status tmpl_format_braces(tmpl_run *run, const tmpl_string *format, const tmpl_call *call, tmpl_value *out)
{
    tmpl_builder builder;
    size_t done = 0, next = 0;
    tmpl_builder_init(&builder, run);
    builder.safe = format->safe;
    builder.status = tmpl_charge_slow_bytes(run, format->length);
    for (size_t at = 0; at < format->length && builder.status == PV_OK;) {
        char brace = format->data[at];
        if (brace != '{' && brace != '}') {
            at++;
            continue;
        }
        tmpl_add_part(&builder, format, done, at++);
        if (at < format->length && format->data[at] == brace) {
            done = at++;
            continue;
        }
        size_t start = at;
        while (at < format->length && format->data[at] != '}' && format->data[at] != '{') at++;
        if (brace == '}' || at == format->length || format->data[at] == '{')
            return tmpl_fail(run, "format: a single '%c'", brace);
        tmpl_string name = {.data = format->data + start, .length = at - start};
        tmpl_value value;
        pv_status status = braces_value(run, &name, call, &next, &value);
        if (status != PV_OK) return status;
        tmpl_add_str(&builder, value);
        done = ++at;
    }
    tmpl_add_part(&builder, format, done, format->length);
    return tmpl_finish(&builder, out);
}
