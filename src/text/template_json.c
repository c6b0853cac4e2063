/* JSON in and out: the caller's variables, and the tojson filter (Python's json.dumps). */
#include "text/template_value.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

/* ---- Out ---- */

static void add_literal(tmpl_builder *builder, const char *text)
{
    tmpl_add(builder, text, strlen(text), false);
}

static size_t add_hex(uint32_t c, char *text)
{
    text[0] = '\\', text[1] = 'u';
    for (int i = 0; i < 4; i++) text[2 + i] = "0123456789abcdef"[c >> 4 * (3 - i) & 15];
    return 6;
}

static size_t escape(uint32_t c, bool ascii, char text[16])
{
    if (c >= ' ' && c != '"' && c != '\\' && !(ascii && c > 0x7e)) return 0;
    static const struct {
        uint32_t code_point;
        const char *escape;
    } escapes[] = {{'"', "\\\""}, {'\\', "\\\\"}, {'\n', "\\n"}, {'\r', "\\r"}, {'\t', "\\t"}, {'\f', "\\f"}, {'\b', "\\b"}};
    for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++) {
        if (c == escapes[i].code_point) {
            memcpy(text, escapes[i].escape, 2);
            return 2;
        }
    }
    if (c < 0x10000) return add_hex(c, text);
    return add_hex(0xd800 + ((c - 0x10000) >> 10), text) + add_hex(0xdc00 + ((c - 0x10000) & 0x3ff), text + 6);
}

static void add_string(tmpl_builder *builder, const tmpl_string *string, bool ascii)
{
    size_t done = 0, at = 0;
    add_literal(builder, "\"");
    if (builder->status == PV_OK) builder->status = tmpl_charge(builder->run, string->length / (2 * TMPL_BYTES_PER_SLOW_STEP));
    while (at < string->length && builder->status == PV_OK) {
        char text[16];
        uint32_t c = (unsigned char)string->data[at];
        size_t length = 1, escaped;
        if (c >= 0x80 && ascii && !(length = pv_utf8_decode(string->data + at, string->length - at, &c))) length = 1;
        if ((escaped = c >= 0x80 && !ascii ? 0 : escape(c, ascii, text)) != 0) {
            tmpl_add_part(builder, string, done, at);
            tmpl_add(builder, text, escaped, tmpl_is_marked(string, at));
            done = at + length;
        }
        at += length;
    }
    tmpl_add_part(builder, string, done, string->length);
    add_literal(builder, "\"");
}

static void add_float(tmpl_builder *builder, double value)
{
    char text[40];
    builder->status = tmpl_charge(builder->run, tmpl_format_float(value, text));
    add_literal(builder, isnan(value) ? "NaN" : isinf(value) ? (value < 0 ? "-Infinity" : "Infinity") : text);
}

static void add_break(tmpl_builder *builder, const tmpl_json_style *style, int level)
{
    if (!style->pretty) return;
    add_literal(builder, "\n");
    for (int i = 0; i < level && builder->status == PV_OK; i++) tmpl_add_string(builder, style->indent);
}

static void add_separator(tmpl_builder *builder, const tmpl_json_style *style)
{
    if (style->item_separator)
        tmpl_add_string(builder, style->item_separator);
    else
        add_literal(builder, style->pretty ? "," : ", ");
}

static void add_value(tmpl_builder *builder, tmpl_value value, const tmpl_json_style *style, int level);

static void add_key(tmpl_builder *builder, tmpl_value key, const tmpl_json_style *style)
{
    bool quoted = key.type != TMPL_STRING;
    if (key.type == TMPL_TUPLE || key.type >= TMPL_NAMESPACE || key.type == TMPL_UNDEFINED) {
        if (builder->status == PV_OK)
            builder->status = tmpl_fail(builder->run, "tojson: a %s cannot be a key in JSON", tmpl_type_name(key.type));
        return;
    }
    if (quoted) add_literal(builder, "\"");
    add_value(builder, key, style, 0);
    if (quoted) add_literal(builder, "\"");
    if (style->key_separator)
        tmpl_add_string(builder, style->key_separator);
    else
        add_literal(builder, ": ");
}

/* Entries in the order that they are written in. */
static pv_status ordered_entries(tmpl_run *run, const tmpl_dict *dict, bool sort, tmpl_value **order)
{
    *order = NULL;
    if (!sort || !dict->count) return PV_OK;
    tmpl_value *keys = tmpl_arena_alloc(&run->arena, dict->count * sizeof *keys);
    tmpl_value *numbers = keys ? tmpl_arena_alloc(&run->arena, dict->count * sizeof *numbers) : NULL;
    if (!numbers) return tmpl_no_memory(run);
    for (size_t i = 0; i < dict->count; i++) {
        keys[i] = dict->entries[i].key;
        numbers[i] = tmpl_int((int64_t)i);
    }
    *order = numbers;
    return tmpl_sort(run, keys, numbers, dict->count, false);
}

static void add_dict(tmpl_builder *builder, const tmpl_dict *dict, const tmpl_json_style *style, int level)
{
    tmpl_value *order = NULL;
    if (!dict->count) {
        add_literal(builder, "{}");
        return;
    }
    if (builder->status == PV_OK) builder->status = ordered_entries(builder->run, dict, style->sort_keys, &order);
    add_literal(builder, "{");
    for (size_t i = 0; i < dict->count && builder->status == PV_OK; i++) {
        const tmpl_entry *entry = &dict->entries[order ? (size_t)order[i].integer : i];
        if (i) add_separator(builder, style);
        add_break(builder, style, level + 1);
        add_key(builder, entry->key, style);
        add_value(builder, entry->value, style, level + 1);
    }
    add_break(builder, style, level);
    add_literal(builder, "}");
}

static void add_list(tmpl_builder *builder, const tmpl_list *list, const tmpl_json_style *style, int level)
{
    if (!list->count) {
        add_literal(builder, "[]");
        return;
    }
    add_literal(builder, "[");
    for (size_t i = 0; i < list->count && builder->status == PV_OK; i++) {
        if (i) add_separator(builder, style);
        add_break(builder, style, level + 1);
        add_value(builder, list->items[i], style, level + 1);
    }
    add_break(builder, style, level);
    add_literal(builder, "]");
}

static void add_value(tmpl_builder *builder, tmpl_value value, const tmpl_json_style *style, int level)
{
    if (builder->status == PV_OK && level > TMPL_MAX_VALUE_DEPTH)
        builder->status = tmpl_fail(builder->run, "tojson: a value nested deeper than %d", TMPL_MAX_VALUE_DEPTH);
    if (builder->status != PV_OK) return;
    switch (value.type) {
    case TMPL_NONE: add_literal(builder, "null"); return;
    case TMPL_BOOL: add_literal(builder, value.boolean ? "true" : "false"); return;
    case TMPL_FLOAT: add_float(builder, value.real); return;
    case TMPL_INT:
    case TMPL_BIGINT: tmpl_add_str(builder, value); return;
    case TMPL_STRING: add_string(builder, value.string, style->ascii); return;
    case TMPL_LIST:
    case TMPL_TUPLE: add_list(builder, value.list, style, level); return;
    case TMPL_DICT: add_dict(builder, value.dict, style, level); return;
    default: builder->status = tmpl_fail(builder->run, "tojson: a value of type %s is not JSON", tmpl_type_name(value.type));
    }
}

pv_status tmpl_add_json(tmpl_builder *builder, tmpl_value value, const tmpl_json_style *style)
{
    add_value(builder, value, style, 0);
    return builder->status;
}

/* ---- In ---- */

static pv_status read_string(tmpl_run *run, const pv_json *json, bool marked, tmpl_value *out)
{
    /* Without escapes the reader points into its text, which outlives the rendering. */
    bool stays = json->string >= json->text && json->string < json->text + json->length;
    pv_status status = stays ? tmpl_text(run, json->string, json->string_length, out)
                             : tmpl_copy_text(run, json->string, json->string_length, out);
    if (status == PV_OK) out->string->marked = marked;
    return status;
}

static pv_status read_number(tmpl_run *run, const pv_json *json, tmpl_value *out)
{
    const char *text = json->string;
    size_t length = json->string_length, i = 0;
    double real;
    while (i < length && text[i] != '.' && (text[i] | 32) != 'e') i++;
    if (i < length) {
        if (!tmpl_parse_float(text, length, &real))
            return pv_fail_at(run->error, PV_BAD_FILE, json->file, json->start, "a number of %zu digits", length);
        *out = tmpl_float(real);
        return PV_OK;
    }
    bool negative = text[0] == '-', overflow = false;
    int64_t value = 0;
    for (i = negative; i < length; i++) {
        overflow |= __builtin_mul_overflow(value, 10, &value);
        overflow |= __builtin_sub_overflow(value, text[i] - '0', &value); /* downwards: −2^63 has no positive twin */
    }
    if (!negative) overflow |= __builtin_sub_overflow((int64_t)0, value, &value);
    *out = tmpl_int(value);
    if (!overflow) return PV_OK;
    pv_status status = tmpl_copy_text(run, text, length, out);
    out->type = TMPL_BIGINT;
    return status;
}

static pv_status read_scalar(tmpl_run *run, const pv_json *json, bool marked, tmpl_value *out)
{
    switch (json->type) {
    case PV_JSON_STRING: return read_string(run, json, marked, out);
    case PV_JSON_NUMBER: return read_number(run, json, out);
    case PV_JSON_TRUE:
    case PV_JSON_FALSE: *out = tmpl_bool(json->type == PV_JSON_TRUE); return PV_OK;
    default: *out = tmpl_none(); return PV_OK;
    }
}

static bool is_input(const pv_json *json, const char *const *input_names)
{
    for (; input_names && *input_names; input_names++) {
        if (pv_json_is(json, *input_names)) return true;
    }
    return false;
}

typedef struct open_container {
    tmpl_value value, key;
} open_container;

static pv_status place(tmpl_run *run, open_container *container, tmpl_value value)
{
    if (container->value.type == TMPL_LIST) return tmpl_list_add(run, container->value.list, value);
    return tmpl_dict_set(run, container->value.dict, container->key, value);
}

static pv_status read_values(tmpl_run *run, pv_json *json, const char *const *input_names, open_container *open)
{
    pv_status status;
    size_t depth = 1;
    bool marked = false;
    while (depth) {
        tmpl_value value;
        if ((status = pv_json_next(json, run->error)) != PV_OK) return status;
        switch (json->type) {
        case PV_JSON_KEY:
            if (depth == 1) marked = is_input(json, input_names);
            if ((status = read_string(run, json, marked && depth > 1, &open[depth - 1].key)) != PV_OK) return status;
            continue;
        case PV_JSON_OBJECT_END:
        case PV_JSON_ARRAY_END: value = open[--depth].value; break;
        case PV_JSON_OBJECT:
            if ((status = tmpl_new_dict(run, TMPL_DICT, &open[depth++].value)) != PV_OK) return status;
            continue;
        case PV_JSON_ARRAY:
            if ((status = tmpl_new_list(run, TMPL_LIST, 0, &open[depth++].value)) != PV_OK) return status;
            continue;
        default:
            if ((status = read_scalar(run, json, marked, &value)) != PV_OK) return status;
        }
        if (depth && (status = place(run, &open[depth - 1], value)) != PV_OK) return status;
        run->steps = 0; /* the template pays for what it does, not for what it is given */
    }
    return pv_json_expect(json, PV_JSON_END, run->error);
}

pv_status tmpl_read_variables(tmpl_run *run, const char *text, size_t length, const char *const *input_names, tmpl_value *out)
{
    pv_json json;
    open_container open[PV_JSON_MAX_DEPTH + 1];
    pv_json_init(&json, run->arena.allocator, text, length, "template variables");
    pv_status status = pv_json_expect(&json, PV_JSON_OBJECT, run->error);
    if (status == PV_OK) status = tmpl_new_dict(run, TMPL_DICT, &open[0].value);
    if (status == PV_OK) status = read_values(run, &json, input_names, open);
    if (status == PV_OK) *out = open[0].value;
    pv_json_free(&json);
    return status;
}
