#include "text/template.h"

#include <string.h>

#include "base/alloc.h"
#include "text/template_eval.h"

pv_status pv_template_compile(const pv_allocator *allocator, const char *source, size_t length, pv_template **tmpl,
                              pv_error *error)
{
    pv_template *made = pv_calloc(allocator, 1, sizeof *made);
    if (!made) return pv_fail_memory(error, sizeof *made, "a chat template");
    made->allocator = *allocator;
    tmpl_arena_init(&made->arena, &made->allocator, PV_TEMPLATE_MAX_MEMORY);
    pv_status status = tmpl_parse(made, source, length, error);
    if (status == PV_OK) status = tmpl_resolve(made, error);
    if (status == PV_OK)
        *tmpl = made;
    else
        pv_template_destroy(made);
    return status;
}

void pv_template_destroy(pv_template *tmpl)
{
    if (!tmpl) return;
    pv_allocator allocator = tmpl->allocator;
    tmpl_arena_free(&tmpl->arena);
    pv_free(&allocator, tmpl);
}

void pv_rendered_init(pv_rendered *rendered, const pv_allocator *allocator)
{
    *rendered = (pv_rendered){0};
    pv_bytes_init(&rendered->text, allocator);
}

void pv_rendered_free(pv_rendered *rendered)
{
    if (rendered->text.allocator) pv_free(rendered->text.allocator, rendered->input);
    pv_bytes_free(&rendered->text);
    rendered->input = NULL;
    rendered->input_count = rendered->input_capacity = 0;
}

/* What each name means outside all scopes: a variable, else a function that every template has. */
static pv_status find_globals(tmpl_run *run, const pv_template *tmpl, const tmpl_dict *variables)
{
    run->globals = tmpl_arena_alloc(&run->arena, (tmpl->name_count + (size_t)1) * sizeof *run->globals);
    if (!run->globals) return tmpl_no_memory(run);
    for (uint32_t i = 0; i < tmpl->name_count; i++) {
        const tmpl_string *name = tmpl->names[i];
        const tmpl_value *given = tmpl_dict_get(run, variables, name->data, name->length);
        const tmpl_builtin *function = given ? NULL : tmpl_find_global(name);
        run->globals[i] = (tmpl_value){.type = TMPL_MISSING};
        if (given)
            run->globals[i] = *given;
        else if (function)
            run->globals[i] = (tmpl_value){.type = TMPL_FUNCTION, .function = function};
    }
    return PV_OK;
}

static pv_status run_template(tmpl_run *run, const pv_template *tmpl, const char *variables, size_t length,
                              const char *const *input_names)
{
    tmpl_value values;
    tmpl_frame *frame;
    tmpl_flow flow = FLOW_ON;
    pv_status status = tmpl_read_variables(run, variables, length, input_names, &values);
    if (status == PV_OK) status = find_globals(run, tmpl, values.dict);
    if (status != PV_OK) return status;
    run->steps = 0;
    run->arena.steps = &run->steps;
    run->stack = tmpl_arena_alloc(&run->arena, TMPL_STACK_VALUES * sizeof *run->stack);
    if (!run->stack) return tmpl_no_memory(run);
    if ((status = tmpl_new_frame(run, NULL, tmpl->root.slots, &frame)) != PV_OK) return status;
    tmpl_enter_scope(run, frame, &tmpl->root.scope);
    return tmpl_execute(run, frame, &tmpl->root.body, &flow);
}

static void hand_over(tmpl_builder *out, pv_rendered *rendered)
{
    pv_rendered_free(rendered);
    rendered->text.data = out->data;
    rendered->text.length = out->length;
    rendered->text.capacity = out->capacity;
    rendered->input = out->spans;
    rendered->input_count = out->span_count;
    rendered->input_capacity = out->span_capacity;
    if (out->data) out->data[out->length] = 0;
}

pv_status tmpl_render(const pv_template *tmpl, const char *variables, size_t length, const char *const *input_names,
                      int64_t now, pv_rendered *rendered, uint64_t *steps, pv_error *error)
{
    tmpl_run run = {.error = error, .now = now, .line = 1};
    tmpl_builder out;
    const pv_allocator *allocator = rendered->text.allocator;
    tmpl_arena_init(&run.arena, allocator, PV_TEMPLATE_MAX_MEMORY - tmpl->arena.total);
    tmpl_builder_init(&out, &run);
    out.root = true;
    run.out = &out;
    pv_status status = run_template(&run, tmpl, variables, length, input_names);
    if (status == PV_OK) {
        hand_over(&out, rendered);
    } else {
        pv_free(allocator, out.data);
        pv_free(allocator, out.spans);
    }
    tmpl_arena_free(&run.arena);
    *steps = run.steps;
    return status;
}

pv_status pv_template_render(const pv_template *tmpl, const char *variables, size_t length, const char *const *input_names,
                             int64_t now, pv_rendered *rendered, pv_error *error)
{
    uint64_t steps;
    return tmpl_render(tmpl, variables, length, input_names, now, rendered, &steps, error);
}
