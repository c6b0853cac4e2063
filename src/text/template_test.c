/* Tests ("is defined") and the functions that every template can call. */
#include "text/template_eval.h"

#include <string.h>

/* ---- Types ---- */

/* Sets of types, as bits. */
enum {
    IS_UNDEFINED = 1u << TMPL_UNDEFINED,
    IS_STRING = 1u << TMPL_STRING,
    IS_INTEGER = 1u << TMPL_INT | 1u << TMPL_BIGINT,
    IS_NUMBER = IS_INTEGER | 1u << TMPL_FLOAT | 1u << TMPL_BOOL,
    IS_SEQUENCE = IS_UNDEFINED | IS_STRING | 1u << TMPL_LIST | 1u << TMPL_TUPLE | 1u << TMPL_DICT | 1u << TMPL_RANGE,
    IS_ITERABLE = IS_SEQUENCE | 1u << TMPL_VIEW | 1u << TMPL_ITERATOR | 1u << TMPL_LOOP,
    IS_CALLABLE = IS_UNDEFINED | 1u << TMPL_MACRO | 1u << TMPL_FUNCTION | 1u << TMPL_METHOD | 1u << TMPL_LOOP,
    IS_DEFINED = ~(int)(IS_UNDEFINED),
};

static pv_status has_type(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    (void)run;
    *out = tmpl_bool(((unsigned)input->option >> input->self.type) & 1u);
    return PV_OK;
}

static pv_status is_constant(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    (void)run;
    *out = tmpl_bool(input->self.type == TMPL_BOOL && input->self.boolean == (bool)input->option);
    return PV_OK;
}

static pv_status is_escaped(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    (void)run;
    *out = tmpl_bool(input->self.type == TMPL_STRING && input->self.string->safe);
    return PV_OK;
}

/* ---- Values ---- */

static pv_status compare(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    bool result = false;
    pv_status status = tmpl_compare(run, (tmpl_operator)input->option, input->self, input->argument[0], &result);
    *out = tmpl_bool(result);
    return status;
}

static pv_status remainder_is(tmpl_run *run, tmpl_value value, tmpl_value divisor, int64_t wanted, tmpl_value *out)
{
    tmpl_value rest;
    bool equal = false;
    pv_status status = tmpl_arithmetic(run, OP_MOD, value, divisor, &rest);
    if (status == PV_OK) status = tmpl_equal(run, rest, tmpl_int(wanted), &equal);
    *out = tmpl_bool(equal);
    return status;
}

static pv_status is_odd_or_even(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    return remainder_is(run, input->self, tmpl_int(2), input->option, out);
}

static pv_status is_divisible(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    return remainder_is(run, input->self, input->argument[0], 0, out);
}

static pv_status is_same(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_value a = input->self, b = input->argument[0];
    bool scalar = a.type == TMPL_NONE || a.type == TMPL_BOOL || a.type == TMPL_INT || a.type == TMPL_FLOAT;
    bool same = a.type == b.type && !scalar && a.dict == b.dict;
    pv_status status = a.type == b.type && scalar ? tmpl_equal(run, a, b, &same) : PV_OK;
    *out = tmpl_bool(same);
    return status;
}

static pv_status is_cased(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_string *text;
    bool result = false;
    pv_status status = tmpl_to_string(run, input->self, &text);
    if (status == PV_OK) status = tmpl_is_cased(run, text, input->option, &result);
    *out = tmpl_bool(result);
    return status;
}

/* filter, or test with option 1: is there one of that name? */
static pv_status is_known(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    if (input->self.type != TMPL_STRING) return tmpl_fail(run, "the name of a filter or test is a str");
    const tmpl_builtin *found = input->option ? tmpl_find_test(input->self.string) : tmpl_find_filter(input->self.string);
    *out = tmpl_bool(found != NULL);
    return PV_OK;
}

static const tmpl_builtin tests[] = {
    {"defined", has_type, "", 0, IS_DEFINED},
    {"undefined", has_type, "", 0, IS_UNDEFINED},
    {"none", has_type, "", 0, 1 << TMPL_NONE},
    {"boolean", has_type, "", 0, 1 << TMPL_BOOL},
    {"integer", has_type, "", 0, IS_INTEGER},
    {"float", has_type, "", 0, 1 << TMPL_FLOAT},
    {"number", has_type, "", 0, IS_NUMBER},
    {"string", has_type, "", 0, IS_STRING},
    {"mapping", has_type, "", 0, 1 << TMPL_DICT},
    {"sequence", has_type, "", 0, IS_SEQUENCE},
    {"iterable", has_type, "", 0, IS_ITERABLE},
    {"callable", has_type, "", 0, IS_CALLABLE},
    {"true", is_constant, "", 0, true},
    {"false", is_constant, "", 0, false},
    {"escaped", is_escaped, "", 0, 0},
    {"==", compare, "other", 1, OP_EQ},
    {"eq", compare, "other", 1, OP_EQ},
    {"equalto", compare, "other", 1, OP_EQ},
    {"!=", compare, "other", 1, OP_NE},
    {"ne", compare, "other", 1, OP_NE},
    {">", compare, "other", 1, OP_GT},
    {"gt", compare, "other", 1, OP_GT},
    {"greaterthan", compare, "other", 1, OP_GT},
    {">=", compare, "other", 1, OP_GE},
    {"ge", compare, "other", 1, OP_GE},
    {"<", compare, "other", 1, OP_LT},
    {"lt", compare, "other", 1, OP_LT},
    {"lessthan", compare, "other", 1, OP_LT},
    {"<=", compare, "other", 1, OP_LE},
    {"le", compare, "other", 1, OP_LE},
    {"in", compare, "seq", 1, OP_IN},
    {"odd", is_odd_or_even, "", 0, 1},
    {"even", is_odd_or_even, "", 0, 0},
    {"divisibleby", is_divisible, "num", 1, 0},
    {"sameas", is_same, "other", 1, 0},
    {"lower", is_cased, "", 0, 0},
    {"upper", is_cased, "", 0, 1},
    {"filter", is_known, "", 0, 0},
    {"test", is_known, "", 0, 1},
};

const tmpl_builtin *tmpl_find_test(const tmpl_string *name)
{
    return tmpl_find_builtin(tests, sizeof tests / sizeof *tests, name);
}

/* ---- Functions ---- */

static pv_status make_range(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    const tmpl_call *call = input->call;
    int64_t bounds[3] = {0, 0, 1};
    uint64_t distance = 0, size;
    if (!call->count || call->count > 3 || call->named_count) return tmpl_fail(run, "range wants 1 to 3 integers");
    for (size_t i = 0; i < call->count; i++) {
        tmpl_value value = call->positional[i];
        if (value.type == TMPL_UNDEFINED) return tmpl_use_undefined(run, value);
        if (!tmpl_as_integer(value, &bounds[call->count == 1 ? 1 : i]))
            return tmpl_fail(run, "range wants integers, got %s", tmpl_type_name(value.type));
    }
    int64_t start = bounds[0], stop = bounds[1], step = bounds[2];
    if (step == 0) return tmpl_fail(run, "range() arg 3 must not be zero");
    size = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
    if (step > 0 ? start < stop : start > stop)
        distance = step > 0 ? (uint64_t)stop - (uint64_t)start : (uint64_t)start - (uint64_t)stop;
    uint64_t count = distance / size + (distance % size != 0);
    if (count > PV_TEMPLATE_MAX_RANGE) return tmpl_fail(run, "a range of more than %d items", PV_TEMPLATE_MAX_RANGE);
    tmpl_range *range = tmpl_arena_alloc(&run->arena, sizeof *range);
    if (!range) return tmpl_no_memory(run);
    *range = (tmpl_range){start, stop, step, (int64_t)count};
    *out = (tmpl_value){.type = TMPL_RANGE, .range = range};
    return PV_OK;
}

static pv_status add_pairs(tmpl_run *run, tmpl_value source, tmpl_dict *dict)
{
    tmpl_iterator *iterator;
    tmpl_value item, pair;
    bool done;
    pv_status status = tmpl_iterate(run, source, &iterator);
    while (status == PV_OK) {
        if ((status = tmpl_next(run, iterator, &item, &done)) != PV_OK || done) break;
        if ((status = tmpl_collect(run, item, &pair)) != PV_OK) break;
        if (pair.list->count != 2) return tmpl_fail(run, "a dict is made of pairs, got %zu values", pair.list->count);
        status = tmpl_dict_set(run, dict, pair.list->items[0], pair.list->items[1]);
    }
    return status;
}

/* dict(), or namespace() with its type as the option. */
static pv_status make_dict(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    const tmpl_call *call = input->call;
    if (call->count > 1) return tmpl_fail(run, "dict and namespace take at most one plain argument, got %zu", call->count);
    pv_status status = tmpl_new_dict(run, (uint8_t)input->option, out);
    if (status == PV_OK && call->count) {
        tmpl_value source = call->positional[0];
        if (source.type == TMPL_UNDEFINED) return tmpl_use_undefined(run, source);
        if (source.type == TMPL_DICT) {
            for (size_t i = 0; i < source.dict->count && status == PV_OK; i++)
                status = tmpl_dict_set(run, out->dict, source.dict->entries[i].key, source.dict->entries[i].value);
        } else {
            status = add_pairs(run, source, out->dict);
        }
    }
    for (size_t i = 0; i < call->named_count && status == PV_OK; i++)
        status = tmpl_dict_set(run, out->dict, tmpl_str(call->names[i]), call->named[i]);
    return status;
}

static pv_status raise_exception(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_string *message;
    (void)out;
    pv_status status = tmpl_to_string(run, input->argument[0], &message);
    if (status != PV_OK) return status;
    return tmpl_fail(run, "%.*s", (int)(message->length < 400 ? message->length : 400), message->data);
}

static pv_status strftime_now(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_value format = input->argument[0];
    if (format.type != TMPL_STRING) return tmpl_fail(run, "strftime_now wants a str, got %s", tmpl_type_name(format.type));
    if (run->now == 0) return tmpl_fail(run, "strftime_now: the time is not known");
    return tmpl_format_time(run, format.string, run->now, out);
}

static const tmpl_builtin globals[] = {
    {"range", make_range, NULL, 0, 0},
    {"dict", make_dict, NULL, 0, TMPL_DICT},
    {"namespace", make_dict, NULL, 0, TMPL_NAMESPACE},
    {"raise_exception", raise_exception, "message", 1, 0},
    {"strftime_now", strftime_now, "format", 1, 0},
    {"cycler", NULL, NULL, 0, 0},
    {"joiner", NULL, NULL, 0, 0},
    {"lipsum", NULL, NULL, 0, 0},
};

const tmpl_builtin *tmpl_find_global(const tmpl_string *name)
{
    return tmpl_find_builtin(globals, sizeof globals / sizeof *globals, name);
}
