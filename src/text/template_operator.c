/* Arithmetic, comparison, membership: Python's. */
#include "text/template_eval.h"

#include <math.h>
#include <string.h>

bool tmpl_as_integer(tmpl_value value, int64_t *integer)
{
    if (value.type == TMPL_BOOL)
        *integer = value.boolean;
    else if (value.type == TMPL_INT)
        *integer = value.integer;
    else
        return false;
    return true;
}

bool tmpl_as_float(tmpl_value value, double *real)
{
    int64_t integer = 0;
    if (value.type == TMPL_FLOAT)
        *real = value.real;
    else if (tmpl_as_integer(value, &integer))
        *real = (double)integer;
    else
        return false;
    return true;
}

static pv_status overflow(tmpl_run *run)
{
    return tmpl_fail(run, "an integer beyond 64 bits");
}

static pv_status power_of_integers(tmpl_run *run, int64_t base, int64_t exponent, tmpl_value *out)
{
    int64_t result = 1;
    if (exponent < 0) {
        if (base == 0) return tmpl_fail(run, "0 to a negative power");
        *out = tmpl_float(pow((double)base, (double)exponent));
        return PV_OK;
    }
    while (exponent) {
        if ((exponent & 1) && __builtin_mul_overflow(result, base, &result)) return overflow(run);
        exponent >>= 1;
        if (exponent && __builtin_mul_overflow(base, base, &base)) return overflow(run);
    }
    *out = tmpl_int(result);
    return PV_OK;
}

static pv_status integer_arithmetic(tmpl_run *run, tmpl_operator op, int64_t a, int64_t b, tmpl_value *out)
{
    int64_t result = 0;
    bool too_big = false;
    if ((op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD) && b == 0) return tmpl_fail(run, "division by zero");
    switch (op) {
    case OP_ADD: too_big = __builtin_add_overflow(a, b, &result); break;
    case OP_SUB: too_big = __builtin_sub_overflow(a, b, &result); break;
    case OP_MUL: too_big = __builtin_mul_overflow(a, b, &result); break;
    case OP_DIV: *out = tmpl_float((double)a / (double)b); return PV_OK;
    case OP_FLOORDIV: /* towards −∞ */
        too_big = a == INT64_MIN && b == -1;
        if (!too_big) result = a / b - (a % b != 0 && (a < 0) != (b < 0));
        break;
    case OP_MOD: /* with the sign of b */
        result = b == -1 ? 0 : a % b;
        if (result && (result < 0) != (b < 0)) result += b;
        break;
    default: return power_of_integers(run, a, b, out);
    }
    *out = tmpl_int(result);
    return too_big ? overflow(run) : PV_OK;
}

static pv_status float_arithmetic(tmpl_run *run, tmpl_operator op, double a, double b, tmpl_value *out)
{
    double result, rest;
    if ((op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD) && b == 0) return tmpl_fail(run, "division by zero");
    switch (op) {
    case OP_ADD: result = a + b; break;
    case OP_SUB: result = a - b; break;
    case OP_MUL: result = a * b; break;
    case OP_DIV: result = a / b; break;
    case OP_FLOORDIV:
    case OP_MOD:
        /* fmod divides bit by bit */
        if (isfinite(a) && isfinite(b) && a != 0 && ilogb(a) > ilogb(b)) run->steps += (size_t)(ilogb(a) - ilogb(b)) / 4;
        rest = fmod(a, b);
        if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
        if (rest == 0) rest = copysign(0, b);
        result = op == OP_MOD ? rest : (a - rest) / b;
        if (op == OP_FLOORDIV) {
            double whole = floor(result);
            if (result - whole > 0.5) whole += 1;
            result = result != 0 ? whole : copysign(0, a / b);
        }
        break;
    default:
        if (a == 0 && b < 0) return tmpl_fail(run, "0 to a negative power");
        if (a < 0 && b != floor(b)) return tmpl_fail(run, "a root of a negative number");
        run->steps += TMPL_NUMBER_STEPS / 4;
        result = pow(a, b);
        if (isinf(result) && isfinite(a) && isfinite(b)) return tmpl_fail(run, "a power beyond the range of numbers");
    }
    *out = tmpl_float(result);
    return PV_OK;
}

/* ---- Strings and lists ---- */

static pv_status add_strings(tmpl_run *run, tmpl_string *a, tmpl_string *b, tmpl_value *out)
{
    tmpl_builder builder;
    if (a->safe == b->safe) return tmpl_concat(run, a, b, out);
    tmpl_builder_init(&builder, run);
    builder.safe = true;
    if (a->safe)
        tmpl_add_string(&builder, a);
    else
        tmpl_add_escaped(&builder, a);
    if (b->safe)
        tmpl_add_string(&builder, b);
    else
        tmpl_add_escaped(&builder, b);
    return tmpl_finish(&builder, out);
}

static pv_status add_lists(tmpl_run *run, tmpl_value a, tmpl_value b, tmpl_value *out)
{
    size_t count = a.list->count + b.list->count, size = sizeof *a.list->items;
    pv_status status = tmpl_new_list(run, a.type, count, out);
    if (status != PV_OK) return status;
    if (a.list->count) memcpy(out->list->items, a.list->items, a.list->count * size);
    if (b.list->count) memcpy(out->list->items + a.list->count, b.list->items, b.list->count * size);
    out->list->count = count;
    return tmpl_charge(run, 1 + count / 4);
}

static pv_status repeat_string(tmpl_run *run, const tmpl_string *string, int64_t times, tmpl_value *out)
{
    tmpl_builder builder;
    tmpl_builder_init(&builder, run);
    builder.safe = string->safe;
    for (int64_t i = 0; string->length && i < times && builder.status == PV_OK; i++) tmpl_add_string(&builder, string);
    return tmpl_finish(&builder, out);
}

static pv_status repeat_list(tmpl_run *run, tmpl_value list, int64_t times, tmpl_value *out)
{
    pv_status status = tmpl_new_list(run, list.type, 0, out);
    for (int64_t i = 0; list.list->count && i < times && status == PV_OK; i++) {
        for (size_t item = 0; item < list.list->count && status == PV_OK; item++)
            status = tmpl_list_add(run, out->list, list.list->items[item]);
    }
    return status;
}

static bool is_list(tmpl_value value)
{
    return value.type == TMPL_LIST || value.type == TMPL_TUPLE;
}

static pv_status no_operation(tmpl_run *run, tmpl_operator op, tmpl_value a, tmpl_value b)
{
    static const char *const spellings[] = {
        "+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">=", "in", "not in"};
    if (a.type == TMPL_UNDEFINED) return tmpl_use_undefined(run, a);
    if (b.type == TMPL_UNDEFINED) return tmpl_use_undefined(run, b);
    if (a.type == TMPL_BIGINT || b.type == TMPL_BIGINT)
        return tmpl_fail(run, "'%s' of an integer beyond 64 bits", spellings[op]);
    return tmpl_fail(run, "'%s' is not defined for %s and %s", spellings[op], tmpl_type_name(a.type), tmpl_type_name(b.type));
}

pv_status tmpl_arithmetic(tmpl_run *run, tmpl_operator op, tmpl_value a, tmpl_value b, tmpl_value *out)
{
    int64_t x = 0, y = 0;
    double u, v;
    bool a_integer = tmpl_as_integer(a, &x), b_integer = tmpl_as_integer(b, &y);
    if (a_integer && b_integer) return integer_arithmetic(run, op, x, y, out);
    if (tmpl_as_float(a, &u) && tmpl_as_float(b, &v)) return float_arithmetic(run, op, u, v, out);
    if (op == OP_ADD && a.type == TMPL_STRING && b.type == TMPL_STRING) return add_strings(run, a.string, b.string, out);
    if (op == OP_ADD && is_list(a) && a.type == b.type) return add_lists(run, a, b, out);
    if (op == OP_MUL && a.type == TMPL_STRING && b_integer) return repeat_string(run, a.string, y, out);
    if (op == OP_MUL && a_integer && b.type == TMPL_STRING) return repeat_string(run, b.string, x, out);
    if (op == OP_MUL && is_list(a) && b_integer) return repeat_list(run, a, y, out);
    if (op == OP_MUL && a_integer && is_list(b)) return repeat_list(run, b, x, out);
    if (op == OP_MOD && a.type == TMPL_STRING) return tmpl_format_percent(run, a.string, b, out);
    return no_operation(run, op, a, b);
}

pv_status tmpl_negate(tmpl_run *run, tmpl_value value, bool negative, tmpl_value *out)
{
    int64_t integer = 0;
    if (value.type == TMPL_UNDEFINED) return tmpl_use_undefined(run, value);
    if (value.type == TMPL_FLOAT) {
        *out = tmpl_float(negative ? -value.real : value.real);
        return PV_OK;
    }
    if (!tmpl_as_integer(value, &integer)) return tmpl_fail(run, "a sign before a %s", tmpl_type_name(value.type));
    if (negative && integer == INT64_MIN) return overflow(run);
    *out = tmpl_int(negative ? -integer : integer);
    return PV_OK;
}

/* ---- Comparing and membership ---- */

pv_status tmpl_compare(tmpl_run *run, tmpl_operator op, tmpl_value a, tmpl_value b, bool *result)
{
    pv_status status;
    bool equal = false;
    switch (op) {
    case OP_EQ: return tmpl_equal(run, a, b, result);
    case OP_NE:
        status = tmpl_equal(run, a, b, result);
        *result = !*result;
        return status;
    case OP_LT: return tmpl_less(run, a, b, result);
    case OP_GT: return tmpl_less(run, b, a, result);
    case OP_LE:
    case OP_GE:
        status = op == OP_LE ? tmpl_less(run, a, b, result) : tmpl_less(run, b, a, result);
        if (status == PV_OK) status = tmpl_equal(run, a, b, &equal);
        *result = *result || equal;
        return status;
    default:
        status = tmpl_contains(run, b, a, result);
        *result = *result != (op == OP_NOT_IN);
        return status;
    }
}

/* Places where the first byte fits are paid for one by one: patterns that almost match are slow, with memmem too. */
pv_status tmpl_find(tmpl_run *run, const tmpl_string *text, const tmpl_string *needle, size_t from, size_t *at)
{
    *at = SIZE_MAX;
    if (needle->length > text->length || from > text->length - needle->length) return PV_OK;
    if (!needle->length) *at = from;
    const size_t end = text->length - needle->length + 1, last = needle->length - 1;
    while (*at == SIZE_MAX && from < end) {
        const char *first = memchr(text->data + from, needle->data[0], end - from);
        const size_t place = first ? (size_t)(first - text->data) : end;
        pv_status status = tmpl_charge_bytes(run, place - from);
        if (status != PV_OK || !first) return status;
        if (first[last] == needle->data[last]) {
            if ((status = tmpl_charge_bytes(run, needle->length)) != PV_OK) return status;
            if (memcmp(first, needle->data, needle->length) == 0) *at = place;
        }
        from = place + 1;
    }
    return PV_OK;
}

pv_status tmpl_contains(tmpl_run *run, tmpl_value container, tmpl_value item, bool *result)
{
    tmpl_value *found, candidate;
    tmpl_iterator *iterator;
    bool hashable, done;
    size_t at;
    pv_status status;
    *result = false;
    if (container.type == TMPL_STRING) {
        if (item.type != TMPL_STRING)
            return tmpl_fail(run, "'in <string>' requires string as left operand, not %s", tmpl_type_name(item.type));
        status = tmpl_find(run, container.string, item.string, 0, &at);
        *result = at != SIZE_MAX;
        return status;
    }
    if (container.type == TMPL_DICT || (container.type == TMPL_VIEW && container.detail == TMPL_VIEW_KEYS)) {
        if ((status = tmpl_dict_find(run, container.dict, item, &found, &hashable)) != PV_OK) return status;
        if (!hashable) return tmpl_fail(run, "a %s cannot be a key", tmpl_type_name(item.type));
        *result = found != NULL;
        return PV_OK;
    }
    if ((status = tmpl_iterate(run, container, &iterator)) != PV_OK) return status;
    while (!*result) {
        if ((status = tmpl_next(run, iterator, &candidate, &done)) != PV_OK || done) return status;
        if ((status = tmpl_equal(run, candidate, item, result)) != PV_OK) return status;
    }
    return PV_OK;
}
