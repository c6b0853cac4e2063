/* Truth, equality, order: Python's rules over the template's values. */
#include "text/template_iterator.h"

#include <string.h>

#include "base/checked.h"

bool tmpl_truth(tmpl_value value)
{
    switch (value.type) {
    case TMPL_MISSING:
    case TMPL_UNDEFINED:
    case TMPL_NONE: return false;
    case TMPL_BOOL: return value.boolean;
    case TMPL_INT: return value.integer != 0;
    case TMPL_FLOAT: return value.real != 0;
    case TMPL_STRING: return value.string->length != 0;
    case TMPL_LIST:
    case TMPL_TUPLE: return value.list->count != 0;
    case TMPL_DICT:
    case TMPL_VIEW: return value.dict->count != 0;
    case TMPL_RANGE: return value.range->count != 0;
    default: return true;
    }
}

static bool is_number(uint8_t type)
{
    return type == TMPL_BOOL || type == TMPL_INT || type == TMPL_FLOAT;
}

static bool is_integer(uint8_t type)
{
    return type == TMPL_BOOL || type == TMPL_INT;
}

static int64_t as_integer(tmpl_value value)
{
    return value.type == TMPL_BOOL ? value.boolean : value.integer;
}

/* −1, 0, 1; 2 if not ordered (NaN). Exact: an integer is never rounded to a double first. */
static int compare_integer_float(int64_t integer, double real)
{
    if (real != real) return 2;
    if (real >= 9223372036854775808.0) return -1;
    if (real < -9223372036854775808.0) return 1;
    int64_t whole = (int64_t)real;
    if (integer != whole) return integer < whole ? -1 : 1;
    double rest = real - (double)whole;
    return rest > 0 ? -1 : rest < 0 ? 1 : 0;
}

static int compare_numbers(tmpl_value a, tmpl_value b)
{
    if (is_integer(a.type) && is_integer(b.type)) {
        int64_t x = as_integer(a), y = as_integer(b);
        return x < y ? -1 : x > y;
    }
    if (is_integer(a.type)) return compare_integer_float(as_integer(a), b.real);
    if (is_integer(b.type)) {
        int order = compare_integer_float(as_integer(b), a.real);
        return order == 2 ? 2 : -order;
    }
    if (a.real != a.real || b.real != b.real) return 2;
    return a.real < b.real ? -1 : a.real > b.real;
}

bool tmpl_same_text(const tmpl_string *a, const tmpl_string *b)
{
    return a->length == b->length && (a->data == b->data || memcmp(a->data, b->data, a->length) == 0);
}

static pv_status equal_nested(tmpl_run *run, tmpl_value a, tmpl_value b, int depth, bool *equal);

static pv_status equal_lists(tmpl_run *run, const tmpl_list *a, const tmpl_list *b, int depth, bool *equal)
{
    pv_status status = PV_OK;
    *equal = a->count == b->count;
    for (size_t i = 0; *equal && i < a->count && status == PV_OK; i++)
        status = equal_nested(run, a->items[i], b->items[i], depth, equal);
    return status;
}

static pv_status equal_dicts(tmpl_run *run, const tmpl_dict *a, const tmpl_dict *b, int depth, bool *equal)
{
    pv_status status = PV_OK;
    *equal = a->count == b->count;
    for (size_t i = 0; *equal && i < a->count; i++) {
        tmpl_value *found;
        bool hashable;
        if ((status = tmpl_dict_find(run, b, a->entries[i].key, &found, &hashable)) != PV_OK) return status;
        *equal = found != NULL;
        if (found && (status = equal_nested(run, a->entries[i].value, *found, depth, equal)) != PV_OK) return status;
    }
    return status;
}

static bool equal_ranges(const tmpl_range *a, const tmpl_range *b)
{
    if (a->count != b->count || a->count == 0) return a->count == b->count;
    return a->start == b->start && (a->count == 1 || a->step == b->step);
}

static pv_status equal_nested(tmpl_run *run, tmpl_value a, tmpl_value b, int depth, bool *equal)
{
    if (depth == 0) return tmpl_fail(run, "comparing values nested deeper than %d", TMPL_MAX_VALUE_DEPTH);
    pv_status status = tmpl_charge(run, 1);
    if (status != PV_OK) return status;
    *equal = false;
    if (is_number(a.type) && is_number(b.type)) {
        *equal = compare_numbers(a, b) == 0;
        return PV_OK;
    }
    if (a.type != b.type) return PV_OK;
    switch (a.type) {
    case TMPL_UNDEFINED:
    case TMPL_NONE: *equal = true; return PV_OK;
    case TMPL_BIGINT:
    case TMPL_STRING:
        if (a.string->length != b.string->length) return PV_OK;
        *equal = tmpl_same_text(a.string, b.string);
        return tmpl_charge_bytes(run, a.string->length);
    case TMPL_LIST:
    case TMPL_TUPLE: return equal_lists(run, a.list, b.list, depth - 1, equal);
    case TMPL_DICT: return equal_dicts(run, a.dict, b.dict, depth - 1, equal);
    case TMPL_VIEW: *equal = a.dict == b.dict && a.detail == b.detail && a.detail != TMPL_VIEW_VALUES; return PV_OK;
    case TMPL_RANGE: *equal = equal_ranges(a.range, b.range); return PV_OK;
    case TMPL_METHOD: *equal = false; return PV_OK;
    default:
        *equal = a.dict == b.dict; /* identity */
        return PV_OK;
    }
}

pv_status tmpl_equal(tmpl_run *run, tmpl_value a, tmpl_value b, bool *equal)
{
    return equal_nested(run, a, b, TMPL_MAX_VALUE_DEPTH, equal);
}

static pv_status less_nested(tmpl_run *run, tmpl_value a, tmpl_value b, int depth, bool *less)
{
    pv_status status = tmpl_charge(run, 1);
    if (status != PV_OK) return status;
    if (depth == 0) return tmpl_fail(run, "comparing values nested deeper than %d", TMPL_MAX_VALUE_DEPTH);
    if (is_number(a.type) && is_number(b.type)) {
        *less = compare_numbers(a, b) == -1;
        return PV_OK;
    }
    if (a.type == TMPL_STRING && b.type == TMPL_STRING) {
        /* The order of UTF-8 bytes is the order of code points. */
        size_t shared = pv_min_size(a.string->length, b.string->length);
        int order = memcmp(a.string->data, b.string->data, shared);
        *less = order < 0 || (order == 0 && a.string->length < b.string->length);
        return tmpl_charge_bytes(run, shared);
    }
    if (a.type == b.type && (a.type == TMPL_LIST || a.type == TMPL_TUPLE)) {
        for (size_t i = 0; i < a.list->count && i < b.list->count; i++) {
            bool equal;
            if ((status = equal_nested(run, a.list->items[i], b.list->items[i], depth, &equal)) != PV_OK) return status;
            if (!equal) return less_nested(run, a.list->items[i], b.list->items[i], depth - 1, less);
        }
        *less = a.list->count < b.list->count;
        return PV_OK;
    }
    if (a.type == TMPL_UNDEFINED) return tmpl_use_undefined(run, a);
    if (b.type == TMPL_UNDEFINED) return tmpl_use_undefined(run, b);
    return tmpl_fail(run, "'%s' and '%s' have no order", tmpl_type_name(a.type), tmpl_type_name(b.type));
}

pv_status tmpl_less(tmpl_run *run, tmpl_value a, tmpl_value b, bool *less)
{
    return less_nested(run, a, b, TMPL_MAX_VALUE_DEPTH, less);
}

typedef struct pair {
    tmpl_value key, item;
} pair;

static pv_status merge(tmpl_run *run, const pair *from, pair *to, size_t start, size_t middle, size_t end, bool reverse)
{
    size_t left = start, right = middle;
    for (size_t at = start; at < end; at++) {
        bool take_right = left == middle;
        if (left < middle && right < end) {
            pv_status status = reverse ? tmpl_less(run, from[left].key, from[right].key, &take_right)
                                       : tmpl_less(run, from[right].key, from[left].key, &take_right);
            if (status != PV_OK) return status;
        }
        to[at] = from[take_right ? right++ : left++];
    }
    return PV_OK;
}

pv_status tmpl_sort(tmpl_run *run, tmpl_value *keys, tmpl_value *items, size_t count, bool reverse)
{
    if (count < 2) return PV_OK;
    pair *from = tmpl_arena_alloc(&run->arena, count * sizeof *from);
    pair *to = from ? tmpl_arena_alloc(&run->arena, count * sizeof *to) : NULL;
    if (!to) return tmpl_no_memory(run);
    for (size_t i = 0; i < count; i++) from[i] = (pair){keys[i], items[i]};
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t start = 0; start < count; start += 2 * width) {
            size_t middle = pv_min_size(start + width, count), end = pv_min_size(start + 2 * width, count);
            pv_status status = merge(run, from, to, start, middle, end, reverse);
            if (status != PV_OK) return status;
        }
        pair *swap = from;
        from = to;
        to = swap;
    }
    for (size_t i = 0; i < count; i++) {
        keys[i] = from[i].key;
        items[i] = from[i].item;
    }
    return tmpl_charge(run, count);
}
