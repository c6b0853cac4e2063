/* Expressions. */
#include "text/template_eval.h"

#include <string.h>

#include "base/checked.h"

typedef pv_status (*evaluator)(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_value *out);

static pv_status eval_constant(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_value *out)
{
    (void)run, (void)frame;
    *out = node->constant;
    return PV_OK;
}

static pv_status eval_name(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_value *out)
{
    run->steps += node->name.ref.hops / 4;
    *out = *tmpl_slot(frame, node->name.ref);
    if (out->type == TMPL_MISSING)
        *out = (tmpl_value){.type = TMPL_UNDEFINED, .detail = TMPL_UNDEFINED_NAME, .string = node->name.name};
    return PV_OK;
}

static pv_status eval_list(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_value *out)
{
    tmpl_value list;
    pv_status status = tmpl_new_list(run, node->kind == NODE_LIST ? TMPL_LIST : TMPL_TUPLE, node->list.count, &list);
    for (uint32_t i = 0; i < node->list.count && status == PV_OK; i++) {
        status = tmpl_eval(run, frame, node->list.items[i], &list.list->items[i]);
        list.list->count = i + 1;
    }
    *out = list;
    return status;
}

static pv_status eval_dict(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_value *out)
{
    tmpl_value dict, key, value;
    pv_status status = tmpl_new_dict(run, TMPL_DICT, &dict);
    for (uint32_t i = 0; i < node->list.count && status == PV_OK; i += 2) {
        if ((status = tmpl_eval(run, frame, node->list.items[i], &key)) != PV_OK) return status;
        if ((status = tmpl_eval(run, frame, node->list.items[i + 1], &value)) != PV_OK) return status;
        run->line = node->line;
        status = tmpl_dict_set(run, dict.dict, key, value);
    }
    *out = dict;
    return status;
}

static pv_status eval_concat(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_value *out)
{
    tmpl_string *sum = NULL, *part;
    tmpl_value value;
    for (uint32_t i = 0; i < node->list.count; i++) {
        pv_status status = tmpl_eval(run, frame, node->list.items[i], &value);
        if (status == PV_OK) status = tmpl_to_string(run, value, &part);
        if (status == PV_OK && sum) status = tmpl_concat(run, sum, part, &value);
        if (status != PV_OK) return status;
        sum = sum ? value.string : part;
    }
    tmpl_string *plain = tmpl_new_string(run, sum->data, sum->length);
    if (!plain) return tmpl_no_memory(run);
    *plain = *sum;
    plain->safe = false;
    *out = tmpl_str(plain);
    return PV_OK;
}

static pv_status eval_and(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_value *out)
{
    pv_status status = tmpl_eval(run, frame, node->binary.left, out);
    return status == PV_OK && tmpl_truth(*out) ? tmpl_eval(run, frame, node->binary.right, out) : status;
}

static pv_status eval_or(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_value *out)
{
    pv_status status = tmpl_eval(run, frame, node->binary.left, out);
    return status == PV_OK && !tmpl_truth(*out) ? tmpl_eval(run, frame, node->binary.right, out) : status;
}

static pv_status eval_not(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_value *out)
{
    pv_status status = tmpl_eval(run, frame, node->operand, out);
    if (status == PV_OK) *out = tmpl_bool(!tmpl_truth(*out));
    return status;
}

static pv_status eval_sign(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_value *out)
{
    tmpl_value value;
    pv_status status = tmpl_eval(run, frame, node->operand, &value);
    return status == PV_OK ? tmpl_negate(run, value, node->kind == NODE_NEGATIVE, out) : status;
}

static pv_status eval_arithmetic(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_value *out)
{
    tmpl_value left, right;
    pv_status status = tmpl_eval(run, frame, node->binary.left, &left);
    if (status == PV_OK) status = tmpl_eval(run, frame, node->binary.right, &right);
    if (status != PV_OK) return status;
    run->line = node->line;
    return tmpl_arithmetic(run, (tmpl_operator)node->op, left, right, out);
}

static pv_status eval_compare(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_value *out)
{
    tmpl_value left, right;
    bool result = true;
    pv_status status = tmpl_eval(run, frame, node->compare.operands.items[0], &left);
    for (uint32_t i = 1; i < node->compare.operands.count && status == PV_OK && result; i++) {
        if ((status = tmpl_eval(run, frame, node->compare.operands.items[i], &right)) != PV_OK) return status;
        run->line = node->line;
        status = tmpl_compare(run, (tmpl_operator)node->compare.ops[i - 1], left, right, &result);
        left = right;
    }
    *out = tmpl_bool(result);
    return status;
}

static pv_status eval_condition(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_value *out)
{
    tmpl_value test;
    pv_status status = tmpl_eval(run, frame, node->condition.test, &test);
    if (status != PV_OK) return status;
    if (tmpl_truth(test)) return tmpl_eval(run, frame, node->condition.yes, out);
    if (node->condition.no) return tmpl_eval(run, frame, node->condition.no, out);
    *out = tmpl_undefined("the inline if-expression evaluated to false and no else section was defined");
    return PV_OK;
}

static pv_status eval_attribute(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_value *out)
{
    tmpl_value object;
    pv_status status = tmpl_eval(run, frame, node->attribute.object, &object);
    if (status != PV_OK) return status;
    run->line = node->line;
    return tmpl_get_attribute(run, object, node->attribute.name, out);
}

static pv_status eval_item(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_value *out)
{
    tmpl_value object, key;
    pv_status status = tmpl_eval(run, frame, node->binary.left, &object);
    if (status == PV_OK) status = tmpl_eval(run, frame, node->binary.right, &key);
    if (status != PV_OK) return status;
    run->line = node->line;
    return tmpl_get_item(run, object, key, out);
}

static pv_status eval_slice(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_value *out)
{
    tmpl_value object, bounds[3];
    const tmpl_node *nodes[3] = {node->slice.start, node->slice.stop, node->slice.step};
    pv_status status = tmpl_eval(run, frame, node->slice.object, &object);
    for (int i = 0; i < 3 && status == PV_OK; i++) {
        bounds[i] = tmpl_none();
        if (nodes[i]) status = tmpl_eval(run, frame, nodes[i], &bounds[i]);
    }
    if (status != PV_OK) return status;
    run->line = node->line;
    return tmpl_get_slice(run, object, bounds[0], bounds[1], bounds[2], out);
}

/* ---- Calls ---- */

static pv_status push(tmpl_run *run, tmpl_value value)
{
    if (run->stack_used == TMPL_STACK_VALUES) return tmpl_fail(run, "more than %d arguments at once", TMPL_STACK_VALUES);
    run->stack[run->stack_used++] = value;
    return PV_OK;
}

static pv_status push_star(tmpl_run *run, tmpl_value value)
{
    tmpl_iterator *iterator;
    tmpl_value item;
    bool done;
    pv_status status = tmpl_iterate(run, value, &iterator);
    while (status == PV_OK) {
        if ((status = tmpl_next(run, iterator, &item, &done)) != PV_OK || done) break;
        status = push(run, item);
    }
    return status;
}

/* Adds `caller` and the members of **x behind the named arguments. */
static pv_status push_extra(tmpl_run *run, const tmpl_value *caller, const tmpl_dict *extra, tmpl_call *call)
{
    size_t count = call->named_count + (caller != NULL) + (extra ? extra->count : 0), size = sizeof *call->names;
    tmpl_string **names = tmpl_arena_alloc(&run->arena, count * size);
    pv_status status = PV_OK;
    if (!names) return tmpl_no_memory(run);
    if (call->named_count) memcpy(names, call->names, call->named_count * size);
    call->names = names;
    if (caller) {
        if (!(names[call->named_count++] = tmpl_new_string(run, "caller", 6))) return tmpl_no_memory(run);
        if ((status = push(run, *caller)) != PV_OK) return status;
    }
    for (size_t i = 0; extra && i < extra->count && status == PV_OK; i++) {
        tmpl_value key = extra->entries[i].key;
        if (key.type != TMPL_STRING) return tmpl_fail(run, "the keys of **arguments must be strings");
        for (size_t n = 0; n < call->named_count; n++) {
            if (tmpl_same_text(names[n], key.string)) return tmpl_fail(run, "an argument that is given twice");
        }
        names[call->named_count++] = key.string;
        status = push(run, extra->entries[i].value);
        if (status == PV_OK) status = tmpl_charge(run, call->named_count);
    }
    return status;
}

pv_status tmpl_eval_arguments(tmpl_run *run, tmpl_frame *frame, const tmpl_arguments *arguments, const tmpl_value *caller,
                              tmpl_call *call, size_t *mark)
{
    tmpl_value value;
    const tmpl_dict *extra = NULL;
    pv_status status = PV_OK;
    *mark = run->stack_used;
    *call = (tmpl_call){.positional = run->stack + *mark, .names = arguments->names, .named_count = arguments->named.count};
    for (uint32_t i = 0; i < arguments->positional.count && status == PV_OK; i++) {
        if ((status = tmpl_eval(run, frame, arguments->positional.items[i], &value)) == PV_OK) status = push(run, value);
    }
    if (arguments->star && status == PV_OK && (status = tmpl_eval(run, frame, arguments->star, &value)) == PV_OK)
        status = push_star(run, value);
    call->count = run->stack_used - *mark;
    call->named = run->stack + run->stack_used;
    for (uint32_t i = 0; i < arguments->named.count && status == PV_OK; i++) {
        if ((status = tmpl_eval(run, frame, arguments->named.items[i], &value)) == PV_OK) status = push(run, value);
    }
    if (arguments->double_star && status == PV_OK &&
        (status = tmpl_eval(run, frame, arguments->double_star, &value)) == PV_OK) {
        if (value.type != TMPL_DICT) return tmpl_fail(run, "** wants a dict, got %s", tmpl_type_name(value.type));
        extra = value.dict;
    }
    return status == PV_OK && (caller || extra) ? push_extra(run, caller, extra, call) : status;
}

pv_status tmpl_eval_call(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, const tmpl_value *caller, tmpl_value *out)
{
    tmpl_value callee;
    tmpl_call call;
    size_t mark;
    pv_status status = tmpl_eval(run, frame, node->call.target, &callee);
    if (status == PV_OK) status = tmpl_eval_arguments(run, frame, node->call.arguments, caller, &call, &mark);
    if (status != PV_OK) return status;
    run->line = node->line;
    status = tmpl_call_value(run, callee, &call, out);
    run->stack_used = mark;
    return status;
}

static pv_status eval_call(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_value *out)
{
    return tmpl_eval_call(run, frame, node, NULL, out);
}

static pv_status eval_filter(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_value *out)
{
    tmpl_value self;
    tmpl_call call;
    size_t mark;
    pv_status status = tmpl_eval(run, frame, node->call.target, &self);
    if (status == PV_OK) status = tmpl_eval_arguments(run, frame, node->call.arguments, NULL, &call, &mark);
    if (status != PV_OK) return status;
    run->line = node->line;
    if (!node->call.function)
        return tmpl_fail(run, "no %s named '%.*s'", node->kind == NODE_FILTER ? "filter" : "test", tmpl_shown(node->call.name),
                         node->call.name->data);
    status = tmpl_call_builtin(run, node->call.function, self, &call, out);
    run->stack_used = mark;
    return status;
}

static pv_status eval_captured(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_value *out)
{
    (void)frame, (void)node;
    *out = run->captured;
    return PV_OK;
}

static const evaluator evaluators[NODE_EXPRESSIONS] = {
    [NODE_CONST] = eval_constant,
    [NODE_NAME] = eval_name,
    [NODE_LIST] = eval_list,
    [NODE_TUPLE] = eval_list,
    [NODE_DICT] = eval_dict,
    [NODE_CONCAT] = eval_concat,
    [NODE_AND] = eval_and,
    [NODE_OR] = eval_or,
    [NODE_NOT] = eval_not,
    [NODE_NEGATIVE] = eval_sign,
    [NODE_POSITIVE] = eval_sign,
    [NODE_ARITHMETIC] = eval_arithmetic,
    [NODE_COMPARE] = eval_compare,
    [NODE_CONDITION] = eval_condition,
    [NODE_ATTRIBUTE] = eval_attribute,
    [NODE_ITEM] = eval_item,
    [NODE_SLICE] = eval_slice,
    [NODE_CALL] = eval_call,
    [NODE_FILTER] = eval_filter,
    [NODE_TEST] = eval_filter,
    [NODE_CAPTURED] = eval_captured,
    [NODE_MEMBER] = eval_attribute,
};

pv_status tmpl_eval(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_value *out)
{
    pv_status status = tmpl_charge(run, 1);
    if (status != PV_OK) return status;
    if (run->depth >= TMPL_MAX_DEPTH) return tmpl_too_deep(run);
    run->depth++;
    status = evaluators[node->kind](run, frame, node, out);
    run->depth--;
    return status;
}
