/* Calling macros and builtins. */
#include "text/template_eval.h"

#include <string.h>

#include "base/checked.h"

/* ---- Macros ---- */

static bool take_named(tmpl_run *run, const tmpl_function *function, tmpl_frame *frame, size_t first, const tmpl_string *name,
                       tmpl_value value)
{
    for (size_t i = first; i < function->parameters.count; i++, run->steps++) {
        const tmpl_node *parameter = function->parameters.items[i];
        if (!tmpl_same_text(parameter->name.name, name)) continue;
        frame->slot[parameter->name.ref.slot] = value;
        return true;
    }
    return false;
}

static pv_status bind_named(tmpl_run *run, const tmpl_function *function, tmpl_frame *frame, const tmpl_call *call)
{
    pv_status status = PV_OK;
    tmpl_value rest = tmpl_none();
    if (function->uses & USES_KWARGS) {
        if ((status = tmpl_new_dict(run, TMPL_DICT, &rest)) != PV_OK) return status;
        frame->slot[function->kwargs_slot] = rest;
    }
    if ((function->uses & USES_CALLER) && function->own_caller < 0)
        frame->slot[function->caller_slot] = tmpl_undefined("No caller defined");
    for (size_t i = 0; i < call->named_count && status == PV_OK; i++) {
        tmpl_string *name = call->names[i];
        if (take_named(run, function, frame, call->count, name, call->named[i])) continue;
        if ((function->uses & USES_CALLER) && function->own_caller < 0 && tmpl_is_text(name, "caller"))
            frame->slot[function->caller_slot] = call->named[i];
        else if (rest.type == TMPL_DICT)
            status = tmpl_dict_set(run, rest.dict, tmpl_str(name), call->named[i]);
        else
            return tmpl_fail(run, "the macro takes no argument named '%.*s'", tmpl_shown(name), name->data);
    }
    return status;
}

static pv_status bind_positional(tmpl_run *run, const tmpl_function *function, tmpl_frame *frame, const tmpl_call *call)
{
    size_t parameters = function->parameters.count, taken = pv_min_size(parameters, call->count);
    for (size_t i = 0; i < taken; i++) frame->slot[function->parameters.items[i]->name.ref.slot] = call->positional[i];
    if (function->uses & USES_VARARGS) {
        tmpl_value rest;
        pv_status status = tmpl_new_list(run, TMPL_TUPLE, call->count - taken, &rest);
        for (size_t i = taken; i < call->count && status == PV_OK; i++)
            status = tmpl_list_add(run, rest.list, call->positional[i]);
        frame->slot[function->varargs_slot] = rest;
        return status;
    }
    if (call->count > parameters)
        return tmpl_fail(run, "the macro takes at most %zu arguments, got %zu", parameters, call->count);
    return PV_OK;
}

static pv_status fill_defaults(tmpl_run *run, const tmpl_function *function, tmpl_frame *frame)
{
    size_t without = function->parameters.count - function->defaults.count;
    pv_status status = PV_OK;
    for (size_t i = 0; i < function->parameters.count && status == PV_OK; i++) {
        const tmpl_node *parameter = function->parameters.items[i];
        tmpl_value *slot = &frame->slot[parameter->name.ref.slot], value;
        if (slot->type != TMPL_MISSING) continue;
        value = (tmpl_value){.type = TMPL_UNDEFINED, .detail = TMPL_UNDEFINED_NAME, .string = parameter->name.name};
        if (i >= without) status = tmpl_eval(run, frame, function->defaults.items[i - without], &value);
        *slot = value;
    }
    return status;
}

/* In a function of its own, so that its builder does not weigh on the stack while arguments are bound. */
static pv_status run_body(tmpl_run *run, const tmpl_function *function, tmpl_frame *frame, tmpl_value *out)
{
    tmpl_builder text, *outer = run->out;
    tmpl_flow flow = FLOW_ON;
    tmpl_builder_init(&text, run);
    run->out = &text;
    pv_status status = tmpl_execute(run, frame, &function->body, &flow);
    run->out = outer;
    return status == PV_OK ? tmpl_finish(&text, out) : status;
}

pv_status tmpl_call_macro(tmpl_run *run, const tmpl_macro *macro, const tmpl_call *call, tmpl_value *out)
{
    const tmpl_function *function = macro->function;
    tmpl_frame *frame;
    if (run->calls == PV_TEMPLATE_MAX_CALL_DEPTH)
        return tmpl_fail(run, "macros that call each other deeper than %d", PV_TEMPLATE_MAX_CALL_DEPTH);
    pv_status status = tmpl_new_frame(run, macro->frame, function->slots, &frame);
    if (status != PV_OK) return status;
    run->calls++;
    tmpl_enter_scope(run, frame, &function->scope);
    status = bind_positional(run, function, frame, call);
    if (status == PV_OK) status = bind_named(run, function, frame, call);
    if (status == PV_OK) status = fill_defaults(run, function, frame);
    if (status == PV_OK) status = run_body(run, function, frame, out);
    run->calls--;
    tmpl_free_frame(run, frame);
    return status;
}

/* ---- Builtins ---- */

/* The number of a parameter in a list of names with spaces between, or −1. */
static int find_parameter(const char *parameters, const tmpl_string *name)
{
    int number = 0;
    for (const char *at = parameters; *at; number++) {
        size_t length = strcspn(at, " ");
        if (length == name->length && memcmp(at, name->data, length) == 0) return number;
        at += length + (at[length] == ' ');
    }
    return -1;
}

static size_t count_parameters(const char *parameters)
{
    size_t count = *parameters != 0;
    for (; *parameters; parameters++) count += *parameters == ' ';
    return count;
}

static pv_status bind_builtin(tmpl_run *run, const tmpl_builtin *function, const tmpl_call *call, tmpl_input *input)
{
    size_t parameters = count_parameters(function->parameters);
    if (call->count > parameters)
        return tmpl_fail(run, "%s takes at most %zu arguments, got %zu", function->name, parameters, call->count);
    for (size_t i = 0; i < call->count; i++) input->argument[i] = call->positional[i];
    for (size_t i = 0; i < call->named_count; i++) {
        const tmpl_string *name = call->names[i];
        int number = find_parameter(function->parameters, name);
        if (number < 0)
            return tmpl_fail(run, "%s takes no argument named '%.*s'", function->name, tmpl_shown(name), name->data);
        if (input->argument[number].type != TMPL_MISSING)
            return tmpl_fail(run, "%s got its argument '%.*s' twice", function->name, (int)name->length, name->data);
        input->argument[number] = call->named[i];
    }
    for (size_t i = 0; i < function->required; i++) {
        if (input->argument[i].type == TMPL_MISSING)
            return tmpl_fail(run, "%s wants at least %u arguments", function->name, function->required);
    }
    return PV_OK;
}

pv_status tmpl_call_builtin(tmpl_run *run, const tmpl_builtin *function, tmpl_value self, const tmpl_call *call,
                            tmpl_value *out)
{
    tmpl_input input = {.self = self, .call = call, .option = function->option};
    if (!function->run) return tmpl_fail(run, "'%s' is not supported", function->name);
    if (function->parameters) {
        pv_status status = bind_builtin(run, function, call, &input);
        if (status != PV_OK) return status;
    }
    return function->run(run, &input, out);
}

pv_status tmpl_call_value(tmpl_run *run, tmpl_value callee, const tmpl_call *call, tmpl_value *out)
{
    switch (callee.type) {
    case TMPL_MACRO: return tmpl_call_macro(run, callee.macro, call, out);
    case TMPL_FUNCTION: return tmpl_call_builtin(run, callee.function, tmpl_none(), call, out);
    case TMPL_METHOD: return tmpl_call_builtin(run, callee.method->function, callee.method->self, call, out);
    case TMPL_UNDEFINED: return tmpl_use_undefined(run, callee);
    default: return tmpl_fail(run, "'%s' object is not callable", tmpl_type_name(callee.type));
    }
}

const tmpl_builtin *tmpl_find_builtin(const tmpl_builtin *table, size_t count, const tmpl_string *name)
{
    for (size_t i = 0; i < count && name->length; i++) {
        if (name->data[0] == table[i].name[0] && tmpl_is_text(name, table[i].name)) return &table[i];
    }
    return NULL;
}

pv_status tmpl_find_named(tmpl_run *run, tmpl_value name, bool test, const tmpl_builtin **function)
{
    const char *kind = test ? "test" : "filter";
    if (name.type != TMPL_STRING) return tmpl_fail(run, "the name of a %s, got %s", kind, tmpl_type_name(name.type));
    *function = test ? tmpl_find_test(name.string) : tmpl_find_filter(name.string);
    if (*function) return PV_OK;
    return tmpl_fail(run, "no %s named '%.*s'", kind, tmpl_shown(name.string), name.string->data);
}
