/* {% for %} and its `loop`. */
#include "text/template_eval.h"

#include <string.h>

/* ---- "for x in xs if test" ---- */

typedef struct filtered_iterator {
    tmpl_iterator base;
    tmpl_iterator *all;
    tmpl_frame *frame;
    const tmpl_for *loop;
} filtered_iterator;

static pv_status next_filtered(tmpl_run *run, tmpl_iterator *iterator, tmpl_value *item, bool *done)
{
    filtered_iterator *filtered = (filtered_iterator *)iterator;
    for (;;) {
        tmpl_value test;
        pv_status status = tmpl_next(run, filtered->all, item, done);
        if (status != PV_OK || *done) return status;
        status = tmpl_assign(run, filtered->frame, filtered->loop->test_target, *item);
        if (status == PV_OK) status = tmpl_eval(run, filtered->frame, filtered->loop->test, &test);
        if (status != PV_OK || tmpl_truth(test)) return status;
    }
}

static pv_status filter_items(tmpl_run *run, tmpl_frame *frame, const tmpl_for *loop, tmpl_iterator *all, tmpl_iterator **out)
{
    filtered_iterator *filtered = tmpl_arena_alloc(&run->arena, sizeof *filtered);
    if (!filtered) return tmpl_no_memory(run);
    *filtered = (filtered_iterator){.base = {.next = next_filtered}, .all = all, .frame = frame, .loop = loop};
    frame->captured = true; /* `loop` may be kept, and asked for its last item later */
    tmpl_enter_scope(run, frame, &loop->test_scope);
    *out = &filtered->base;
    return PV_OK;
}

/* ---- The loop ---- */

/* Takes an item from the iterator; MISSING at the end. */
static pv_status take(tmpl_run *run, tmpl_loop *loop, tmpl_value *item)
{
    pv_status status = PV_OK;
    *item = (tmpl_value){.type = TMPL_MISSING};
    if (!loop->ended) status = tmpl_next(run, loop->iterator, item, &loop->ended);
    if (loop->ended) item->type = TMPL_MISSING;
    return status;
}

pv_status tmpl_loop_next(tmpl_run *run, tmpl_loop *loop, bool *done)
{
    tmpl_value item = loop->after;
    pv_status status = item.type == TMPL_MISSING ? take(run, loop, &item) : PV_OK;
    if (status != PV_OK) return status;
    loop->after.type = TMPL_MISSING;
    *done = item.type == TMPL_MISSING;
    if (*done) return PV_OK;
    loop->index0++;
    loop->before = loop->current;
    loop->current = item;
    return PV_OK;
}

static pv_status make_loop(tmpl_run *run, tmpl_frame *frame, const tmpl_for *source, tmpl_loop **out)
{
    tmpl_loop *loop = tmpl_arena_alloc(&run->arena, sizeof *loop);
    if (!loop) return tmpl_no_memory(run);
    *loop = (tmpl_loop){.index0 = -1, .length = -1};
    *out = loop;
    pv_status status = tmpl_eval(run, frame, source->iterable, &loop->iterable);
    if (status == PV_OK) status = tmpl_iterate(run, loop->iterable, &loop->iterator);
    if (status != PV_OK || !source->test) return status;
    loop->iterable.type = TMPL_MISSING;
    return filter_items(run, frame, source, loop->iterator, &loop->iterator);
}

pv_status tmpl_run_loop(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_flow *flow)
{
    const tmpl_for *source = node->loop;
    tmpl_loop *loop = NULL;
    bool done = false, completed = false;
    pv_status status = make_loop(run, frame, source, &loop);
    while (status == PV_OK) {
        if ((status = tmpl_loop_next(run, loop, &done)) != PV_OK || done) break;
        if (source->uses & USES_LOOP) frame->slot[source->loop_slot] = (tmpl_value){.type = TMPL_LOOP, .loop = loop};
        if ((status = tmpl_assign(run, frame, source->target, loop->current)) != PV_OK) break;
        tmpl_enter_scope(run, frame, &source->body_scope);
        tmpl_flow inner = FLOW_ON;
        status = tmpl_execute(run, frame, &source->body, &inner);
        completed = completed || inner == FLOW_ON;
        if (inner == FLOW_BREAK) break;
    }
    /* As in Jinja, `else` runs unless an iteration came to its end. */
    if (status != PV_OK || completed || !source->otherwise.count) return status;
    tmpl_enter_scope(run, frame, &source->else_scope);
    return tmpl_execute(run, frame, &source->otherwise, flow);
}

/* ---- loop.name ---- */

static pv_status loop_length(tmpl_run *run, tmpl_loop *loop, int64_t *length)
{
    bool known = false;
    pv_status status = PV_OK;
    if (loop->length < 0 && loop->iterable.type != TMPL_MISSING)
        status = tmpl_length(run, loop->iterable, &loop->length, &known);
    if (status == PV_OK && loop->length < 0) { /* go through the rest, and iterate over what was found from now on */
        tmpl_value rest;
        tmpl_value all = {.type = TMPL_ITERATOR, .iterator = loop->iterator};
        if (loop->ended)
            status = tmpl_new_list(run, TMPL_LIST, 0, &rest);
        else
            status = tmpl_collect(run, all, &rest);
        if (status == PV_OK) status = tmpl_iterate(run, rest, &loop->iterator);
        if (status == PV_OK) loop->length = (int64_t)rest.list->count + loop->index0 + 1 + (loop->after.type != TMPL_MISSING);
    }
    *length = loop->length;
    return status;
}

static pv_status peek(tmpl_run *run, tmpl_loop *loop)
{
    return loop->after.type == TMPL_MISSING ? take(run, loop, &loop->after) : PV_OK;
}

static pv_status cycle(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    if (!input->call->count) return tmpl_fail(run, "no items for cycling given");
    *out = input->call->positional[(size_t)input->self.loop->index0 % input->call->count];
    return PV_OK;
}

static pv_status changed(tmpl_run *run, const tmpl_input *input, tmpl_value *out)
{
    tmpl_loop *loop = input->self.loop;
    tmpl_value values;
    bool equal = false;
    pv_status status = tmpl_new_list(run, TMPL_TUPLE, input->call->count, &values);
    for (size_t i = 0; i < input->call->count && status == PV_OK; i++)
        status = tmpl_list_add(run, values.list, input->call->positional[i]);
    if (status == PV_OK && loop->changed.type != TMPL_MISSING) status = tmpl_equal(run, loop->changed, values, &equal);
    if (status != PV_OK) return status;
    if (!equal) loop->changed = values;
    *out = tmpl_bool(!equal);
    return PV_OK;
}

static const tmpl_builtin loop_methods[] = {{"cycle", cycle, NULL, 0, 0}, {"changed", changed, NULL, 0, 0}};

enum {
    LOOP_INDEX,
    LOOP_INDEX0,
    LOOP_REVINDEX,
    LOOP_REVINDEX0,
    LOOP_FIRST,
    LOOP_LAST,
    LOOP_LENGTH,
    LOOP_DEPTH,
    LOOP_DEPTH0,
    LOOP_PREVIOUS,
    LOOP_NEXT,
    LOOP_NAMES
};
static const char *const loop_names[LOOP_NAMES] = {"index",  "index0", "revindex", "revindex0", "first",   "last",
                                                   "length", "depth",  "depth0",   "previtem",  "nextitem"};

static pv_status loop_value(tmpl_run *run, tmpl_loop *loop, int name, tmpl_value *out)
{
    int64_t length = 0;
    pv_status status = PV_OK;
    if (name == LOOP_REVINDEX || name == LOOP_REVINDEX0 || name == LOOP_LENGTH) status = loop_length(run, loop, &length);
    if (name == LOOP_LAST || name == LOOP_NEXT) status = peek(run, loop);
    if (status != PV_OK) return status;
    switch (name) {
    case LOOP_INDEX: *out = tmpl_int(loop->index0 + 1); break;
    case LOOP_INDEX0: *out = tmpl_int(loop->index0); break;
    case LOOP_REVINDEX: *out = tmpl_int(length - loop->index0); break;
    case LOOP_REVINDEX0: *out = tmpl_int(length - loop->index0 - 1); break;
    case LOOP_FIRST: *out = tmpl_bool(loop->index0 == 0); break;
    case LOOP_LAST: *out = tmpl_bool(loop->after.type == TMPL_MISSING); break;
    case LOOP_LENGTH: *out = tmpl_int(length); break;
    case LOOP_DEPTH:
    case LOOP_DEPTH0: *out = tmpl_int(name == LOOP_DEPTH); break;
    case LOOP_PREVIOUS: *out = loop->index0 == 0 ? tmpl_undefined("there is no previous item") : loop->before; break;
    default: *out = loop->after.type == TMPL_MISSING ? tmpl_undefined("there is no next item") : loop->after;
    }
    return PV_OK;
}

pv_status tmpl_loop_attribute(tmpl_run *run, tmpl_loop *loop, const tmpl_string *name, tmpl_value *out)
{
    for (int i = 0; i < LOOP_NAMES; i++) {
        if (tmpl_is_text(name, loop_names[i])) return loop_value(run, loop, i, out);
    }
    *out = (tmpl_value){.type = TMPL_MISSING};
    const tmpl_builtin *function = tmpl_find_builtin(loop_methods, 2, name);
    if (!function) return PV_OK;
    tmpl_method *method = tmpl_arena_alloc(&run->arena, sizeof *method);
    if (!method) return tmpl_no_memory(run);
    *method = (tmpl_method){{.type = TMPL_LOOP, .loop = loop}, function};
    *out = (tmpl_value){.type = TMPL_METHOD, .method = method};
    return PV_OK;
}
