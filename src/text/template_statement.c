/* Statements. */
#include "text/template_eval.h"

#include <string.h>

/* ---- Frames and scopes ---- */

static unsigned frame_class(uint32_t slots)
{
    return slots < 2 ? 0 : 32u - (unsigned)__builtin_clz(slots - 1);
}

pv_status tmpl_new_frame(tmpl_run *run, tmpl_frame *parent, uint32_t slots, tmpl_frame **frame)
{
    unsigned class = frame_class(slots);
    *frame = run->free_frames[class];
    if (*frame)
        run->free_frames[class] = (*frame)->parent;
    else
        *frame = tmpl_arena_alloc(&run->arena, sizeof **frame + ((size_t)1 << class) * sizeof *(*frame)->slot);
    if (!*frame) return tmpl_no_memory(run);
    (*frame)->parent = parent;
    (*frame)->slots = slots;
    (*frame)->captured = false;
    memset((*frame)->slot, 0, slots * sizeof *(*frame)->slot); /* TMPL_MISSING is 0 */
    return tmpl_charge(run, slots / 4);
}

void tmpl_free_frame(tmpl_run *run, tmpl_frame *frame)
{
    unsigned class = frame_class(frame->slots);
    if (frame->captured) return;
    frame->parent = run->free_frames[class];
    run->free_frames[class] = frame;
}

void tmpl_enter_scope(tmpl_run *run, tmpl_frame *frame, const tmpl_scope *scope)
{
    for (uint32_t i = 0; i < scope->count; i++) {
        const tmpl_load *load = &scope->loads[i];
        tmpl_value value = {.type = TMPL_MISSING};
        if (load->kind == LOAD_GLOBAL)
            value = run->globals[load->global];
        else if (load->kind == LOAD_OUTER)
            value = *tmpl_slot(frame, load->outer);
        frame->slot[load->slot] = value;
    }
    run->steps += scope->count / 4;
}

/* ---- Assigning ---- */

static pv_status assign_member(tmpl_run *run, tmpl_frame *frame, const tmpl_node *target, tmpl_value value)
{
    tmpl_value space;
    pv_status status = tmpl_eval(run, frame, target->attribute.object, &space);
    if (status != PV_OK) return status;
    run->line = target->line;
    if (space.type != TMPL_NAMESPACE) return tmpl_fail(run, "cannot assign attribute on non-namespace object");
    return tmpl_dict_set(run, space.dict, tmpl_str(target->attribute.name), value);
}

static pv_status unpack(tmpl_run *run, tmpl_frame *frame, const tmpl_node *target, tmpl_value value)
{
    tmpl_iterator *iterator;
    tmpl_value item;
    bool done;
    pv_status status = tmpl_iterate(run, value, &iterator);
    tmpl_value parts;
    if (status == PV_OK) status = tmpl_new_list(run, TMPL_TUPLE, target->list.count, &parts);
    while (status == PV_OK) {
        if ((status = tmpl_next(run, iterator, &item, &done)) != PV_OK || done) break;
        if (parts.list->count == target->list.count)
            return tmpl_fail(run, "too many values to unpack (expected %u)", target->list.count);
        status = tmpl_list_add(run, parts.list, item);
    }
    if (status != PV_OK) return status;
    if (parts.list->count < target->list.count)
        return tmpl_fail(run, "not enough values to unpack (expected %u, got %zu)", target->list.count, parts.list->count);
    for (uint32_t i = 0; i < target->list.count && status == PV_OK; i++)
        status = tmpl_assign(run, frame, target->list.items[i], parts.list->items[i]);
    return status;
}

pv_status tmpl_assign(tmpl_run *run, tmpl_frame *frame, const tmpl_node *target, tmpl_value value)
{
    if (target->kind == NODE_MEMBER) return assign_member(run, frame, target, value);
    if (target->kind == NODE_TUPLE) return unpack(run, frame, target, value);
    *tmpl_slot(frame, target->name.ref) = value;
    return PV_OK;
}

/* ---- Statements ---- */

typedef pv_status (*executor)(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_flow *flow);

static pv_status execute_data(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_flow *flow)
{
    (void)frame, (void)flow;
    tmpl_add(run->out, node->data.text, node->data.length, false);
    return run->out->status;
}

static pv_status execute_output(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_flow *flow)
{
    (void)flow;
    tmpl_value value;
    pv_status status = tmpl_eval(run, frame, node->operand, &value);
    if (status != PV_OK) return status;
    run->line = node->line;
    tmpl_add_str(run->out, value);
    return run->out->status;
}

static pv_status execute_if(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_flow *flow)
{
    for (uint32_t i = 0; i < node->branch.count; i++) {
        tmpl_value test = tmpl_bool(true);
        const tmpl_branch *branch = &node->branch.branches[i];
        pv_status status = branch->test ? tmpl_eval(run, frame, branch->test, &test) : PV_OK;
        if (status != PV_OK) return status;
        if (tmpl_truth(test)) return tmpl_execute(run, frame, &branch->body, flow);
    }
    return PV_OK;
}

static pv_status execute_set(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_flow *flow)
{
    (void)flow;
    tmpl_value value;
    pv_status status = tmpl_eval(run, frame, node->set.value, &value);
    if (status != PV_OK) return status;
    run->line = node->line;
    return tmpl_assign(run, frame, node->set.target, value);
}

/* What a {% filter %} or {% call %} block gives is joined with the text around it, not converted. */
static pv_status write_text(tmpl_run *run, tmpl_value value)
{
    if (value.type != TMPL_STRING)
        return tmpl_fail(run, "the block gives a %s where text is wanted", tmpl_type_name(value.type));
    tmpl_add_string(run->out, value.string);
    return run->out->status;
}

/* Runs a {% set %} or {% filter %} block's body apart and its filters over what it wrote. A `break` inside leaves it all
 * behind. */
static pv_status execute_block(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_flow *flow)
{
    tmpl_builder captured, *outer = run->out;
    tmpl_value value, outer_captured = run->captured;
    tmpl_builder_init(&captured, run);
    tmpl_enter_scope(run, frame, node->set.scope);
    run->out = &captured;
    pv_status status = tmpl_execute(run, frame, &node->set.body, flow);
    run->out = outer;
    if (status != PV_OK || *flow != FLOW_ON) return status;
    if ((status = tmpl_finish(&captured, &run->captured)) != PV_OK) return status;
    status = tmpl_eval(run, frame, node->set.value, &value);
    run->captured = outer_captured;
    if (status != PV_OK) return status;
    return node->kind == NODE_SET_BLOCK ? tmpl_assign(run, frame, node->set.target, value) : write_text(run, value);
}

static pv_status make_macro(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_value *out)
{
    tmpl_macro *macro = tmpl_arena_alloc(&run->arena, sizeof *macro);
    if (!macro) return tmpl_no_memory(run);
    *macro = (tmpl_macro){node->define.function, frame};
    frame->captured = true;
    *out = (tmpl_value){.type = TMPL_MACRO, .macro = macro};
    return PV_OK;
}

static pv_status execute_macro(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_flow *flow)
{
    (void)flow;
    tmpl_value macro;
    pv_status status = make_macro(run, frame, node, &macro);
    return status == PV_OK ? tmpl_assign(run, frame, node->define.target, macro) : status;
}

static pv_status execute_call_block(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_flow *flow)
{
    (void)flow;
    tmpl_value caller, value;
    pv_status status = make_macro(run, frame, node, &caller);
    if (status == PV_OK) status = tmpl_eval_call(run, frame, node->define.target, &caller, &value);
    return status == PV_OK ? write_text(run, value) : status;
}

static pv_status execute_with(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_flow *flow)
{
    tmpl_value value;
    pv_status status = PV_OK;
    for (uint32_t i = 0; i < node->with.targets.count && status == PV_OK; i++) {
        if ((status = tmpl_eval(run, frame, node->with.values.items[i], &value)) != PV_OK) return status;
        status = tmpl_assign(run, frame, node->with.targets.items[i], value);
    }
    if (status != PV_OK) return status;
    tmpl_enter_scope(run, frame, node->with.scope);
    return tmpl_execute(run, frame, &node->with.body, flow);
}

/* Like a macro that is called where it stands: its assignments stay inside. */
static pv_status execute_generation(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_flow *flow)
{
    const tmpl_function *function = node->define.function;
    tmpl_frame *inner;
    pv_status status = tmpl_new_frame(run, frame, function->slots, &inner);
    if (status != PV_OK) return status;
    tmpl_enter_scope(run, inner, &function->scope);
    status = tmpl_execute(run, inner, &function->body, flow);
    frame->captured = frame->captured || inner->captured;
    tmpl_free_frame(run, inner);
    return status;
}

static pv_status execute_jump(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_flow *flow)
{
    (void)run, (void)frame;
    *flow = node->kind == NODE_BREAK ? FLOW_BREAK : FLOW_CONTINUE;
    return PV_OK;
}

static const executor executors[NODE_KINDS] = {
    [NODE_DATA] = execute_data,
    [NODE_OUTPUT] = execute_output,
    [NODE_IF] = execute_if,
    [NODE_FOR] = tmpl_run_loop,
    [NODE_SET] = execute_set,
    [NODE_SET_BLOCK] = execute_block,
    [NODE_FILTER_BLOCK] = execute_block,
    [NODE_MACRO] = execute_macro,
    [NODE_CALL_BLOCK] = execute_call_block,
    [NODE_WITH] = execute_with,
    [NODE_GENERATION] = execute_generation,
    [NODE_BREAK] = execute_jump,
    [NODE_CONTINUE] = execute_jump,
};

pv_status tmpl_execute(tmpl_run *run, tmpl_frame *frame, const tmpl_nodes *body, tmpl_flow *flow)
{
    pv_status status = PV_OK;
    if (run->depth >= TMPL_MAX_DEPTH) return tmpl_too_deep(run);
    run->depth++;
    for (uint32_t i = 0; i < body->count && status == PV_OK && *flow == FLOW_ON; i++) {
        const tmpl_node *node = body->items[i];
        run->line = node->line;
        if ((status = tmpl_charge(run, 1)) == PV_OK) status = executors[node->kind](run, frame, node, flow);
    }
    run->depth--;
    return status;
}
