/* Filters over single values, and the table of all filters. */
#include "text/template_filter.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/template_unicode.h"

bool tmpl_given(tmpl_value value)
{
    return value.type != TMPL_MISSING && value.type != TMPL_NONE;
}

pv_status tmpl_want_integer(tmpl_run *run, tmpl_value value, int64_t otherwise, int64_t *integer)
{
    *integer = otherwise;
    if (value.type == TMPL_MISSING || tmpl_as_integer(value, integer)) return PV_OK;
    return tmpl_fail(run, "an int is wanted, got %s", tmpl_type_name(value.type));
}

/* ---- Text ---- */

static pv_status change_case(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_string *text;
    pv_status status = tmpl_to_string(run, input->self, &text);
    return status == PV_OK ? tmpl_change_case(run, text, input->option, out) : status;
}

static pv_status trim(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_string *text, *characters = NULL;
    pv_status status = tmpl_to_string(run, input->self, &text);
    if (status != PV_OK) return status;
    if (tmpl_given(input->argument[0])) {
        if (input->argument[0].type != TMPL_STRING) return tmpl_fail(run, "trim wants a str of characters");
        characters = input->argument[0].string;
    }
    return tmpl_strip(run, text, characters, true, true, out);
}

static pv_status replace(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_string *text, *old, *fresh;
    int64_t count = -1;
    pv_status status = tmpl_to_string(run, input->self, &text);
    if (status == PV_OK) status = tmpl_to_string(run, input->argument[0], &old);
    if (status == PV_OK) status = tmpl_to_string(run, input->argument[1], &fresh);
    if (status == PV_OK && tmpl_given(input->argument[2])) status = tmpl_want_integer(run, input->argument[2], -1, &count);
    return status == PV_OK ? tmpl_replace(run, text, old, fresh, count, false, out) : status;
}

static pv_status to_string(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_string *text;
    pv_status status = tmpl_to_string(run, input->self, &text);
    if (status == PV_OK) *out = tmpl_str(text);
    return status;
}

static pv_status mark_safe(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_string *text;
    pv_status status = tmpl_to_string(run, input->self, &text);
    if (status == PV_OK) status = tmpl_substring(run, text, 0, text->length, out);
    if (status == PV_OK) out->string->safe = true;
    return status;
}

/* option 1: escapes what is safe already, too. */
static pv_status escape(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_string *text;
    tmpl_builder builder;
    pv_status status = tmpl_to_string(run, input->self, &text);
    if (status != PV_OK) return status;
    tmpl_builder_init(&builder, run);
    builder.safe = true;
    if (text->safe && !input->option)
        tmpl_add_string(&builder, text);
    else
        tmpl_add_escaped(&builder, text);
    return tmpl_finish(&builder, out);
}

/* Lines behind the first are indented; the first too if `first`, empty ones too if `blank`. */
static pv_status indent(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_value lines, with_end;
    tmpl_string newline = {.data = "\n", .length = 1, .characters = 1}, *width = NULL;
    tmpl_builder builder;
    int64_t spaces = 4;
    bool blank = tmpl_truth(input->argument[2]);
    if (input->self.type == TMPL_UNDEFINED) return tmpl_use_undefined(run, input->self);
    if (input->self.type != TMPL_STRING) return tmpl_fail(run, "indent wants a str, got %s", tmpl_type_name(input->self.type));
    if (input->argument[0].type == TMPL_STRING) width = input->argument[0].string;
    pv_status status = width ? PV_OK : tmpl_want_integer(run, input->argument[0], 4, &spaces);
    if (status == PV_OK) status = tmpl_concat(run, input->self.string, &newline, &with_end);
    if (status == PV_OK) status = tmpl_split_lines(run, with_end.string, false, &lines);
    if (status != PV_OK) return status;
    tmpl_builder_init(&builder, run);
    builder.safe = input->self.string->safe;
    for (size_t i = 0; i < lines.list->count && builder.status == PV_OK; i++) {
        const tmpl_string *line = lines.list->items[i].string;
        if (i) tmpl_add_string(&builder, &newline);
        bool indented = i == 0 ? tmpl_truth(input->argument[1]) : blank || line->length;
        if (indented && width) tmpl_add_string(&builder, width);
        for (int64_t s = 0; indented && !width && s < spaces && builder.status == PV_OK; s++) tmpl_add(&builder, " ", 1, false);
        tmpl_add_string(&builder, line);
    }
    return tmpl_finish(&builder, out);
}

static pv_status center(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_string *text, space = {.data = " ", .length = 1, .characters = 1};
    int64_t width;
    pv_status status = tmpl_to_string(run, input->self, &text);
    if (status == PV_OK) status = tmpl_want_integer(run, input->argument[0], 80, &width);
    return status == PV_OK ? tmpl_center(run, text, width, &space, ALIGN_CENTER, out) : status;
}

static pv_status truncate_text(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_string *text = input->self.string, dots = {.data = "...", .length = 3, .characters = 3}, *end = &dots;
    tmpl_value head;
    int64_t length, leeway;
    int64_t characters;
    size_t end_characters, cut;
    bool known;
    pv_status status = tmpl_want_integer(run, input->argument[0], 255, &length);
    if (status == PV_OK && input->argument[2].type != TMPL_MISSING) status = tmpl_to_string(run, input->argument[2], &end);
    tmpl_value given_leeway = tmpl_given(input->argument[3]) ? input->argument[3] : tmpl_int(5);
    if (status == PV_OK) status = tmpl_want_integer(run, given_leeway, 5, &leeway);
    if (status == PV_OK) status = tmpl_length(run, input->self, &characters, &known);
    if (status == PV_OK) status = tmpl_characters(run, end, &end_characters);
    if (status != PV_OK) return status;
    if (length < (int64_t)end_characters || leeway < 0) return tmpl_fail(run, "truncate: a length shorter than its end");
    *out = input->self;
    if (known && (characters <= length || characters - length <= leeway)) return PV_OK;
    if (input->self.type != TMPL_STRING)
        return tmpl_fail(run, "truncate wants a str, got %s", tmpl_type_name(input->self.type));
    if ((status = tmpl_offset(run, text, (size_t)(length - (int64_t)end_characters), &cut)) != PV_OK) return status;
    if ((status = tmpl_charge_slow_bytes(run, cut)) != PV_OK) return status;
    const size_t space = tmpl_truth(input->argument[1]) ? SIZE_MAX : tmpl_last_byte(text, 0, cut, ' ');
    if (space != SIZE_MAX) cut = space;
    if ((status = tmpl_substring(run, text, 0, cut, &head)) != PV_OK) return status;
    return tmpl_arithmetic(run, OP_ADD, head, tmpl_str(end), out);
}

static pv_status count_words(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_string *text;
    int64_t words = 0;
    bool inside = false;
    pv_status status = tmpl_to_string(run, input->self, &text);
    if (status != PV_OK) return status;
    const size_t end = tmpl_slow_bytes_left(run, text->length * 2) / 2;
    for (size_t at = 0, bytes; at < end; at += bytes) {
        uint32_t c = 0;
        bytes = pv_utf8_decode(text->data + at, text->length - at, &c);
        if (!bytes) bytes = 1;
        bool word = c == '_' || tmpl_is_alpha(c) || tmpl_is_digit(c);
        words += word && !inside;
        inside = word;
    }
    *out = tmpl_int(words);
    return tmpl_charge_slow_bytes(run, text->length * 2);
}

static pv_status format(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_string *text;
    tmpl_value values;
    const tmpl_call *call = input->call;
    pv_status status = tmpl_to_string(run, input->self, &text);
    if (status == PV_OK && call->count && call->named_count)
        return tmpl_fail(run, "can't handle positional and keyword arguments at the same time");
    if (status == PV_OK && call->named_count) {
        status = tmpl_new_dict(run, TMPL_DICT, &values);
        for (size_t i = 0; i < call->named_count && status == PV_OK; i++)
            status = tmpl_dict_set(run, values.dict, tmpl_str(call->names[i]), call->named[i]);
    } else if (status == PV_OK) {
        status = tmpl_new_list(run, TMPL_TUPLE, call->count, &values);
        for (size_t i = 0; i < call->count && status == PV_OK; i++)
            status = tmpl_list_add(run, values.list, call->positional[i]);
    }
    return status == PV_OK ? tmpl_format_percent(run, text, values, out) : status;
}

/* ---- JSON ---- */

static pv_status indent_of(tmpl_run *run, tmpl_value value, tmpl_json_style *style)
{
    tmpl_builder spaces;
    int64_t width = 0;
    if (!tmpl_given(value)) return PV_OK;
    style->pretty = true;
    if (value.type == TMPL_STRING) {
        style->indent = value.string;
        return PV_OK;
    }
    pv_status status = tmpl_want_integer(run, value, 0, &width);
    tmpl_builder_init(&spaces, run);
    for (int64_t i = 0; i < width && status == PV_OK; i++) {
        tmpl_add(&spaces, " ", 1, false);
        status = spaces.status;
    }
    if (status == PV_OK) status = tmpl_finish(&spaces, &value);
    style->indent = value.string;
    return status;
}

static pv_status to_json(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_json_style style = {.ascii = tmpl_truth(input->argument[0]), .sort_keys = tmpl_truth(input->argument[3])};
    tmpl_value separators = input->argument[2];
    tmpl_builder builder;
    pv_status status = indent_of(run, input->argument[1], &style);
    if (status != PV_OK) return status;
    if (tmpl_given(separators)) {
        bool pair = (separators.type == TMPL_TUPLE || separators.type == TMPL_LIST) && separators.list->count == 2;
        if (!pair || separators.list->items[0].type != TMPL_STRING || separators.list->items[1].type != TMPL_STRING)
            return tmpl_fail(run, "tojson wants two strings as separators");
        style.item_separator = separators.list->items[0].string;
        style.key_separator = separators.list->items[1].string;
    }
    tmpl_builder_init(&builder, run);
    tmpl_add_json(&builder, input->self, &style);
    return tmpl_finish(&builder, out);
}

/* ---- Numbers ---- */

static bool trimmed(const tmpl_string *text, const char **from, size_t *length)
{
    size_t start = 0, end = text->length;
    while (start < end && tmpl_is_space((unsigned char)text->data[start])) start++;
    while (end > start && tmpl_is_space((unsigned char)text->data[end - 1])) end--;
    *from = text->data + start;
    *length = end - start;
    return end > start;
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'z' ? c - 'a' + 10 : 99;
}

/* int(text, base): 1 if it is one, 0 if not, −1 if it does not fit 64 bits. */
static int parse_integer(const tmpl_string *string, int64_t base, int64_t *value)
{
    const char *text;
    size_t length, at = 0;
    *value = 0;
    if (!trimmed(string, &text, &length)) return 0;
    bool negative = text[0] == '-', fits = true;
    if (negative || text[0] == '+') at++;
    if (length - at > 2 && text[at] == '0') {
        char prefix = text[at + 1] | 32;
        int64_t named = prefix == 'x' ? 16 : prefix == 'o' ? 8 : prefix == 'b' ? 2 : 0;
        if (named && (base == named || base == 0)) at += 2 + (text[at + 2] == '_'), base = named;
    }
    if (base == 0) base = 10;
    if (at == length) return 0;
    for (size_t i = at; i < length; i++) {
        if (text[i] == '_' && i > at && text[i - 1] != '_' && i + 1 < length) continue;
        if (digit_value(text[i]) >= base) return 0;
        fits = fits && !__builtin_mul_overflow(*value, base, value) &&
               !__builtin_sub_overflow(*value, digit_value(text[i]), value);
    }
    if (!negative) fits = fits && !__builtin_sub_overflow((int64_t)0, *value, value);
    return fits ? 1 : -1;
}

static pv_status parse_float(tmpl_run *run, tmpl_value value, bool *parsed, double *real)
{
    const char *text;
    size_t length;
    if (value.type != TMPL_STRING && value.type != TMPL_BIGINT) {
        *parsed = tmpl_as_float(value, real);
        return PV_OK;
    }
    pv_status status = tmpl_charge_slow_bytes(run, value.string->length);
    if (status != PV_OK) return status;
    *parsed = trimmed(value.string, &text, &length) && tmpl_parse_float(text, length, real);
    return tmpl_charge(run, TMPL_NUMBER_STEPS);
}

static pv_status to_integer(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    int64_t integer, base = 10;
    double real;
    if (input->argument[1].type != TMPL_MISSING && !tmpl_as_integer(input->argument[1], &base)) base = 1;
    if (input->self.type == TMPL_UNDEFINED) return tmpl_use_undefined(run, input->self);
    *out = input->self.type == TMPL_BIGINT           ? input->self
           : input->argument[0].type == TMPL_MISSING ? tmpl_int(0)
                                                     : input->argument[0];
    if (base != 0 && (base < 2 || base > 36)) base = 37; /* no base: only the float is tried */
    if (input->self.type == TMPL_STRING && base != 37) {
        pv_status status = tmpl_charge_slow_bytes(run, input->self.string->length);
        if (status != PV_OK) return status;
        int parsed = parse_integer(input->self.string, base, &integer);
        if (parsed < 0) return tmpl_fail(run, "int: an integer beyond 64 bits");
        if (parsed) *out = tmpl_int(integer);
        if (parsed) return PV_OK;
    } else if (tmpl_as_integer(input->self, &integer)) {
        *out = tmpl_int(integer);
        return PV_OK;
    }
    if (input->self.type == TMPL_BIGINT) return PV_OK;
    bool parsed;
    pv_status status = parse_float(run, input->self, &parsed, &real);
    if (status != PV_OK || !parsed || !isfinite(real)) return status;
    if (!(real >= -9.2e18 && real <= 9.2e18)) return tmpl_fail(run, "int: an integer beyond 64 bits");
    *out = tmpl_int((int64_t)real);
    return PV_OK;
}

static pv_status to_float(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    double real;
    if (input->self.type == TMPL_UNDEFINED) return tmpl_use_undefined(run, input->self);
    *out = input->argument[0].type == TMPL_MISSING ? tmpl_float(0) : input->argument[0];
    bool parsed;
    pv_status status = parse_float(run, input->self, &parsed, &real);
    if (status == PV_OK && parsed) *out = tmpl_float(real);
    return status;
}

static pv_status absolute(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    int64_t integer = 0;
    if (input->self.type == TMPL_UNDEFINED) return tmpl_use_undefined(run, input->self);
    if (input->self.type == TMPL_FLOAT) {
        *out = tmpl_float(fabs(input->self.real));
        return PV_OK;
    }
    if (!tmpl_as_integer(input->self, &integer))
        return tmpl_fail(run, "abs wants a number, got %s", tmpl_type_name(input->self.type));
    return tmpl_negate(run, tmpl_int(integer), integer < 0, out);
}

static pv_status round_to(tmpl_run *run, double value, int64_t digits, tmpl_value *out)
{
    char text[100];
    /* From 2^52 on there is no fraction to round; 17 digits tell a number from its neighbours. */
    if (digits > 60 || !isfinite(value) || fabs(value) >= 0x1p52 || (fabs(value) >= 1 && digits > 16)) {
        *out = tmpl_float(value);
        return isfinite(value) ? PV_OK : tmpl_fail(run, "round wants a finite number");
    }
    /* printf rounds the exact value, half to even, as Python does. */
    const int length = snprintf(text, sizeof text, "%.*f", (int)digits, value);
    *out = tmpl_float(strtod(text, NULL));
    return tmpl_charge(run, TMPL_NUMBER_STEPS + (size_t)length);
}

static pv_status round_number(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    static const tmpl_string common = {.data = "common", .length = 6};
    tmpl_value self = input->self;
    const tmpl_string *method = input->argument[1].type == TMPL_STRING ? input->argument[1].string : &common;
    int64_t digits, integer;
    double value;
    pv_status status = tmpl_want_integer(run, input->argument[0], 0, &digits);
    if (status != PV_OK) return status;
    if (self.type == TMPL_UNDEFINED) return tmpl_use_undefined(run, self);
    if (!tmpl_as_float(self, &value)) return tmpl_fail(run, "round wants a number, got %s", tmpl_type_name(self.type));
    if (digits < 0) return tmpl_fail(run, "round to a negative number of digits is not supported");
    bool ceiling = tmpl_is_text(method, "ceil"), down = tmpl_is_text(method, "floor");
    if (ceiling || down) {
        double scale = pow(10, (double)digits);
        run->steps += TMPL_NUMBER_STEPS / 4;
        if (!isfinite(value * scale)) return tmpl_fail(run, "round wants a finite number");
        *out = tmpl_float((ceiling ? ceil(value * scale) : floor(value * scale)) / scale);
        return PV_OK;
    }
    if (!tmpl_is_text(method, "common")) return tmpl_fail(run, "round: method must be common, ceil or floor");
    if (tmpl_as_integer(self, &integer)) {
        *out = tmpl_int(integer);
        return PV_OK;
    }
    return round_to(run, value, digits, out);
}

static pv_status use_default(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_value otherwise = input->argument[0];
    *out = input->self;
    if (input->self.type != TMPL_UNDEFINED && !(tmpl_truth(input->argument[1]) && !tmpl_truth(input->self))) return PV_OK;
    if (otherwise.type == TMPL_MISSING) return tmpl_text(run, "", 0, out);
    *out = otherwise;
    return PV_OK;
}

/* ---- The table ---- */

static const tmpl_builtin filters[] = {
    {"abs", absolute, "", 0, 0},
    {"batch", tmpl_filter_batch, "linecount fill_with", 1, 0},
    {"capitalize", change_case, "", 0, CASE_CAPITALIZE},
    {"center", center, "width", 0, 0},
    {"count", tmpl_filter_length, "", 0, 0},
    {"d", use_default, "default_value boolean", 0, 0},
    {"default", use_default, "default_value boolean", 0, 0},
    {"dictsort", tmpl_filter_dictsort, "case_sensitive by reverse", 0, 0},
    {"e", escape, "", 0, 0},
    {"escape", escape, "", 0, 0},
    {"first", tmpl_filter_first, "", 0, 0},
    {"float", to_float, "default", 0, 0},
    {"forceescape", escape, "", 0, 1},
    {"format", format, NULL, 0, 0},
    {"groupby", tmpl_filter_groupby, "attribute default case_sensitive", 1, 0},
    {"indent", indent, "width first blank", 0, 0},
    {"int", to_integer, "default base", 0, 0},
    {"items", tmpl_filter_items, "", 0, 0},
    {"join", tmpl_filter_join, "d attribute", 0, 0},
    {"last", tmpl_filter_last, "", 0, 0},
    {"length", tmpl_filter_length, "", 0, 0},
    {"list", tmpl_filter_list, "", 0, 0},
    {"lower", change_case, "", 0, CASE_LOWER},
    {"map", tmpl_filter_apply, NULL, 0, TMPL_SELECT_MAP},
    {"max", tmpl_filter_extreme, "case_sensitive attribute", 0, 1},
    {"min", tmpl_filter_extreme, "case_sensitive attribute", 0, 0},
    {"reject", tmpl_filter_apply, NULL, 0, TMPL_SELECT_REJECT},
    {"rejectattr", tmpl_filter_apply, NULL, 0, TMPL_SELECT_REJECT | TMPL_SELECT_ATTRIBUTE},
    {"replace", replace, "old new count", 2, 0},
    {"reverse", tmpl_filter_reverse, "", 0, 0},
    {"round", round_number, "precision method", 0, 0},
    {"safe", mark_safe, "", 0, 0},
    {"select", tmpl_filter_apply, NULL, 0, 0},
    {"selectattr", tmpl_filter_apply, NULL, 0, TMPL_SELECT_ATTRIBUTE},
    {"slice", tmpl_filter_slice, "slices fill_with", 1, 0},
    {"sort", tmpl_filter_sort, "reverse case_sensitive attribute", 0, 0},
    {"string", to_string, "", 0, 0},
    {"sum", tmpl_filter_sum, "attribute start", 0, 0},
    {"title", change_case, "", 0, CASE_WORDS},
    {"tojson", to_json, "ensure_ascii indent separators sort_keys", 0, 0},
    {"trim", trim, "chars", 0, 0},
    {"truncate", truncate_text, "length killwords end leeway", 0, 0},
    {"unique", tmpl_filter_unique, "case_sensitive attribute", 0, 0},
    {"upper", change_case, "", 0, CASE_UPPER},
    {"wordcount", count_words, "", 0, 0},
    {"attr", NULL, NULL, 0, 0},
    {"filesizeformat", NULL, NULL, 0, 0},
    {"pprint", NULL, NULL, 0, 0},
    {"random", NULL, NULL, 0, 0},
    {"striptags", NULL, NULL, 0, 0},
    {"urlencode", NULL, NULL, 0, 0},
    {"urlize", NULL, NULL, 0, 0},
    {"wordwrap", NULL, NULL, 0, 0},
    {"xmlattr", NULL, NULL, 0, 0},
};

const tmpl_builtin *tmpl_find_filter(const tmpl_string *name)
{
    return tmpl_find_builtin(filters, sizeof filters / sizeof *filters, name);
}
