/* object.name, object[key], object[a:b]: everything a template can reach lies behind these. */
#include "text/template_eval.h"

#include <string.h>

static pv_status bind_method(tmpl_run *run, tmpl_value self, const tmpl_builtin *function, tmpl_value *out)
{
    tmpl_method *method = tmpl_arena_alloc(&run->arena, sizeof *method);
    if (!method) return tmpl_no_memory(run);
    *method = (tmpl_method){self, function};
    *out = (tmpl_value){.type = TMPL_METHOD, .method = method};
    return PV_OK;
}

static tmpl_value no_attribute(tmpl_value object, tmpl_string *name, int detail)
{
    return (tmpl_value){.type = TMPL_UNDEFINED, .detail = (uint8_t)detail, .object = object.type, .string = name};
}

static bool starts_with(const tmpl_string *name, const char *prefix)
{
    size_t length = strlen(prefix);
    return name->length >= length && memcmp(name->data, prefix, length) == 0;
}

/* The two fields of what groupby gives. */
static bool group_attribute(tmpl_value object, const tmpl_string *name, tmpl_value *out)
{
    if (object.type != TMPL_TUPLE || !object.detail) return false;
    bool grouper = tmpl_is_text(name, "grouper");
    if (!grouper && !tmpl_is_text(name, "list")) return false;
    *out = object.list->items[grouper ? 0 : 1];
    return true;
}

/* What Python's getattr finds; MISSING if nothing. Names that begin with "_" are never given out. */
static pv_status own_attribute(tmpl_run *run, tmpl_value object, tmpl_string *name, tmpl_value *out)
{
    bool refused = false;
    const tmpl_builtin *method = NULL;
    *out = (tmpl_value){.type = TMPL_MISSING};
    if (starts_with(name, "__")) {
        *out = no_attribute(object, name, TMPL_UNDEFINED_UNSAFE);
        return PV_OK;
    }
    switch (object.type) {
    case TMPL_NAMESPACE: {
        tmpl_value *found = tmpl_dict_get(run, object.dict, name->data, name->length);
        if (found) *out = starts_with(name, "_") ? no_attribute(object, name, TMPL_UNDEFINED_UNSAFE) : *found;
        return PV_OK;
    }
    case TMPL_LOOP: return tmpl_loop_attribute(run, object.loop, name, out);
    case TMPL_MACRO:
        if (tmpl_is_text(name, "name")) *out = tmpl_str(object.macro->function->name);
        return PV_OK;
    case TMPL_STRING: method = tmpl_find_string_method(name); break;
    default:
        if (group_attribute(object, name, out)) return PV_OK;
        method = tmpl_find_container_method(object.type, name, &refused);
    }
    if (refused) *out = no_attribute(object, name, TMPL_UNDEFINED_UNSAFE);
    return method && !refused ? bind_method(run, object, method, out) : PV_OK;
}

pv_status tmpl_get_attribute(tmpl_run *run, tmpl_value object, tmpl_string *name, tmpl_value *out)
{
    if (object.type == TMPL_UNDEFINED) return tmpl_use_undefined(run, object);
    pv_status status = own_attribute(run, object, name, out);
    if (status != PV_OK || out->type != TMPL_MISSING) return status;
    tmpl_value *found = object.type == TMPL_DICT ? tmpl_dict_get(run, object.dict, name->data, name->length) : NULL;
    *out = found ? *found : no_attribute(object, name, TMPL_UNDEFINED_ATTRIBUTE);
    return PV_OK;
}

/* Python's index: negative ones count from the end. False if out of range. */
static bool fix_index(int64_t *index, int64_t count)
{
    if (*index < 0) *index += count;
    return *index >= 0 && *index < count;
}

static pv_status get_character(tmpl_run *run, tmpl_string *string, int64_t index, tmpl_value *out)
{
    size_t characters, offset, next;
    pv_status status = tmpl_characters(run, string, &characters);
    if (status != PV_OK) return status;
    if (!fix_index(&index, (int64_t)characters)) return PV_OK;
    if ((status = tmpl_offset(run, string, (size_t)index, &offset)) != PV_OK) return status;
    return tmpl_character(run, string, offset, &next, out);
}

/* The element, or `out` as it was. */
static pv_status get_element(tmpl_run *run, tmpl_value object, tmpl_value key, tmpl_value *out)
{
    int64_t index;
    bool hashable;
    tmpl_value *found;
    if (object.type == TMPL_DICT) {
        pv_status status = tmpl_dict_find(run, object.dict, key, &found, &hashable);
        if (status == PV_OK && found) *out = *found;
        return status;
    }
    if (!tmpl_as_integer(key, &index)) return PV_OK;
    if (object.type == TMPL_STRING) return get_character(run, object.string, index, out);
    if (object.type == TMPL_LIST || object.type == TMPL_TUPLE) {
        if (fix_index(&index, (int64_t)object.list->count)) *out = object.list->items[index];
    } else if (object.type == TMPL_RANGE) {
        if (fix_index(&index, object.range->count)) *out = tmpl_int(object.range->start + object.range->step * index);
    }
    return PV_OK;
}

pv_status tmpl_get_item(tmpl_run *run, tmpl_value object, tmpl_value key, tmpl_value *out)
{
    if (object.type == TMPL_UNDEFINED) return tmpl_use_undefined(run, object);
    *out = (tmpl_value){.type = TMPL_MISSING};
    pv_status status = get_element(run, object, key, out);
    if (status == PV_OK && key.type == TMPL_STRING) status = tmpl_charge_bytes(run, key.string->length);
    if (status == PV_OK && out->type == TMPL_MISSING && key.type == TMPL_STRING)
        status = own_attribute(run, object, key.string, out);
    if (status == PV_OK && out->type == TMPL_MISSING)
        *out = key.type == TMPL_STRING ? no_attribute(object, key.string, TMPL_UNDEFINED_ATTRIBUTE)
                                       : tmpl_undefined("there is no such element");
    return status;
}

/* ---- Slices ---- */

typedef struct slice {
    int64_t start, end, step, count;
} slice;

static pv_status slice_bound(tmpl_run *run, tmpl_value value, int64_t otherwise, int64_t length, bool backwards, int64_t *bound)
{
    *bound = otherwise;
    if (value.type == TMPL_NONE) return PV_OK;
    if (!tmpl_as_integer(value, bound)) return tmpl_fail(run, "a slice wants integers, got %s", tmpl_type_name(value.type));
    int64_t least = backwards ? -1 : 0, most = backwards ? length - 1 : length;
    if (*bound < 0 && (*bound += length) < least) *bound = least;
    if (*bound > most) *bound = most;
    return PV_OK;
}

static pv_status fix_slice(tmpl_run *run, tmpl_value start, tmpl_value stop, tmpl_value step, int64_t length, slice *out)
{
    pv_status status;
    out->step = 1;
    if (step.type != TMPL_NONE && !tmpl_as_integer(step, &out->step))
        return tmpl_fail(run, "a slice wants integers, got %s", tmpl_type_name(step.type));
    if (out->step == 0) return tmpl_fail(run, "slice step cannot be zero");
    bool backwards = out->step < 0;
    if (out->step < -INT32_MAX) out->step = -INT32_MAX; /* one item either way */
    if (out->step > INT32_MAX) out->step = INT32_MAX;
    if ((status = slice_bound(run, start, backwards ? length - 1 : 0, length, backwards, &out->start)) != PV_OK) return status;
    if ((status = slice_bound(run, stop, backwards ? -1 : length, length, backwards, &out->end)) != PV_OK) return status;
    int64_t distance = backwards ? out->start - out->end : out->end - out->start, size = backwards ? -out->step : out->step;
    out->count = distance > 0 ? (distance + size - 1) / size : 0;
    return PV_OK;
}

static pv_status slice_string(tmpl_run *run, tmpl_string *string, const slice *part, tmpl_value *out)
{
    size_t from, to, *offsets;
    tmpl_builder builder;
    pv_status status;
    if (part->step == 1 || part->count == 0) {
        status = tmpl_offset(run, string, part->count ? (size_t)part->start : 0, &from);
        if (status == PV_OK) status = tmpl_offset(run, string, (size_t)(part->count ? part->start + part->count : 0), &to);
        return status == PV_OK ? tmpl_substring(run, string, from, to, out) : status;
    }
    size_t characters = 0;
    if ((status = tmpl_charge_slow_bytes(run, string->length)) != PV_OK) return status;
    if (!(offsets = tmpl_arena_alloc(&run->arena, (string->length + 1) * sizeof *offsets))) return tmpl_no_memory(run);
    for (size_t i = 0; i < string->length; i++) {
        if (((unsigned char)string->data[i] & 0xc0) != 0x80) offsets[characters++] = i;
    }
    offsets[characters] = string->length;
    tmpl_builder_init(&builder, run);
    builder.safe = string->safe;
    for (int64_t i = 0, at = part->start; i < part->count && builder.status == PV_OK; i++, at += part->step)
        tmpl_add_part(&builder, string, offsets[at], offsets[at + 1]);
    return tmpl_finish(&builder, out);
}

static pv_status slice_list(tmpl_run *run, tmpl_value object, const slice *part, tmpl_value *out)
{
    pv_status status = tmpl_new_list(run, object.type, (size_t)part->count, out);
    if (status != PV_OK) return status;
    for (int64_t i = 0; i < part->count; i++) out->list->items[i] = object.list->items[part->start + i * part->step];
    out->list->count = (size_t)part->count;
    return tmpl_charge(run, (size_t)part->count / 4);
}

static pv_status slice_range(tmpl_run *run, const tmpl_range *range, const slice *part, tmpl_value *out)
{
    tmpl_range *result = tmpl_arena_alloc(&run->arena, sizeof *result);
    if (!result) return tmpl_no_memory(run);
    *result = (tmpl_range){.start = range->start + range->step * part->start,
                           .stop = range->start + range->step * part->end,
                           .step = range->step,
                           .count = part->count};
    if (__builtin_mul_overflow(range->step, part->step, &result->step) && part->count > 1)
        return tmpl_fail(run, "an integer beyond 64 bits");
    *out = (tmpl_value){.type = TMPL_RANGE, .range = result};
    return PV_OK;
}

pv_status tmpl_get_slice(tmpl_run *run, tmpl_value object, tmpl_value start, tmpl_value stop, tmpl_value step, tmpl_value *out)
{
    int64_t length;
    bool known;
    slice part;
    pv_status status;
    if (object.type == TMPL_UNDEFINED) return tmpl_use_undefined(run, object);
    if (object.type != TMPL_STRING && object.type != TMPL_LIST && object.type != TMPL_TUPLE && object.type != TMPL_RANGE)
        return tmpl_fail(run, "'%s' object cannot be sliced", tmpl_type_name(object.type));
    if ((status = tmpl_length(run, object, &length, &known)) != PV_OK) return status;
    if ((status = fix_slice(run, start, stop, step, length, &part)) != PV_OK) return status;
    if (object.type == TMPL_STRING) return slice_string(run, object.string, &part, out);
    if (object.type == TMPL_RANGE) return slice_range(run, object.range, &part, out);
    return slice_list(run, object, &part, out);
}
