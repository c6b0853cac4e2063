/* Which variable a name means. Jinja decides that before rendering, and templates depend on its rules:
 *
 * - Scopes are the template, each loop body, loop test and else, each macro and call body, each set, filter and with block.
 *   `if` is none. A name that is written in a scope lives there; one that is only read is looked for further out, and at last
 *   among the values given from outside.
 * - A name written in an inner scope that an outer one knows starts as a copy of the outer one, each time the scope is entered.
 * - A name that a scope writes before it reads it, outside `if`, starts without a value even if one was given from outside. */
#include "text/template_eval.h"
#include "text/template_lexer.h"

#include <string.h>

#include "base/alloc.h"

typedef struct binding {
    struct binding *outer; /* of the same name, in a scope further out */
    struct binding *next;  /* in the same scope */
    struct scope_state *scope;
    uint32_t name;
    uint16_t slot;
    bool loads;
    uint8_t kind; /* tmpl_load_kind, if it loads */
} binding;

typedef struct scope_state {
    struct scope_state *outer;
    binding *first, *last;
    tmpl_function *function;
    uint32_t function_depth;
} scope_state;

enum { SPECIAL_LOOP, SPECIAL_CALLER, SPECIAL_KWARGS, SPECIAL_VARARGS, SPECIAL_COUNT };
static const char *const special_names[SPECIAL_COUNT] = {"loop", "caller", "kwargs", "varargs"};

typedef struct resolver {
    pv_template *tmpl;
    pv_error *error;
    pv_status status;
    tmpl_arena scratch;
    binding **current; /* of each name */
    scope_state *scope;
    uint32_t branches;               /* `if`s around, in the current scope */
    bool soft;                       /* inside an `if`: an unknown filter fails only when it is reached */
    bool binding;                    /* walking to bind names rather than to collect them */
    uint32_t special[SPECIAL_COUNT]; /* the names loop, caller, kwargs, varargs; name_count if the template has none */
} resolver;

static void out_of_memory(resolver *r, const tmpl_arena *arena)
{
    if (r->status != PV_OK) return;
    if (arena->over_limit)
        r->status = pv_fail(r->error, PV_BAD_TEMPLATE, "a chat template with too many variables");
    else
        r->status = pv_fail_memory(r->error, 0, "a chat template's variables");
}

/* ---- Variables of a scope ---- */

static binding *define(resolver *r, uint32_t name, bool loads, tmpl_load_kind kind)
{
    if (r->status != PV_OK) return NULL;
    tmpl_function *function = r->scope->function;
    binding *added = tmpl_arena_alloc(&r->scratch, sizeof *added);
    if (!added) {
        out_of_memory(r, &r->scratch);
        return NULL;
    }
    if (function->slots >= UINT16_MAX) {
        r->status = pv_fail(r->error, PV_BAD_TEMPLATE, "a chat template with more than %u variables in a scope", UINT16_MAX);
        return NULL;
    }
    *added = (binding){.outer = r->current[name],
                       .scope = r->scope,
                       .name = name,
                       .slot = (uint16_t)function->slots++,
                       .loads = loads,
                       .kind = (uint8_t)kind};
    if (r->scope->last)
        r->scope->last->next = added;
    else
        r->scope->first = added;
    r->scope->last = added;
    r->current[name] = added;
    return added;
}

static bool is_own(const resolver *r, uint32_t name)
{
    return r->current[name] && r->current[name]->scope == r->scope;
}

static void load_name(resolver *r, uint32_t name)
{
    if (!r->current[name]) define(r, name, true, LOAD_GLOBAL);
}

static void store_name(resolver *r, uint32_t name)
{
    if (is_own(r, name)) return;
    define(r, name, true, r->current[name] ? LOAD_OUTER : r->branches ? LOAD_GLOBAL : LOAD_NOTHING);
}

static uint16_t declare_parameter(resolver *r, uint32_t name)
{
    binding *own = is_own(r, name) ? r->current[name] : define(r, name, false, LOAD_NOTHING);
    if (!own) return 0;
    own->loads = false;
    return own->slot;
}

static tmpl_ref reference(const resolver *r, const binding *target)
{
    return (tmpl_ref){(uint16_t)(r->scope->function_depth - target->scope->function_depth), target->slot};
}

static void enter(resolver *r, scope_state *scope, tmpl_function *function)
{
    bool inner = function && r->scope;
    *scope = (scope_state){.outer = r->scope, .function = function ? function : r->scope->function};
    if (r->scope) scope->function_depth = r->scope->function_depth + inner;
    r->scope = scope;
}

/* Writes what the scope loads, and forgets its names. */
static void leave(resolver *r, tmpl_scope *out)
{
    uint32_t count = 0;
    for (binding *b = r->scope->first; b; b = b->next) count += b->loads;
    if (r->status == PV_OK && count) {
        out->loads = tmpl_arena_alloc(&r->tmpl->arena, count * sizeof *out->loads);
        if (!out->loads) out_of_memory(r, &r->tmpl->arena);
    }
    for (binding *b = r->scope->first; b; b = b->next) {
        if (out->loads && b->loads) {
            tmpl_load *load = &out->loads[out->count++];
            *load = (tmpl_load){.slot = b->slot, .kind = b->kind, .global = b->name};
            if (b->kind == LOAD_OUTER) load->outer = reference(r, b->outer);
        }
        r->current[b->name] = b->outer;
    }
    r->scope = r->scope->outer;
}

/* ---- Expressions ---- */

static void visit(resolver *r, tmpl_node *node);

static void visit_list(resolver *r, const tmpl_nodes *nodes)
{
    for (uint32_t i = 0; i < nodes->count; i++) visit(r, nodes->items[i]);
}

static void visit_call(resolver *r, tmpl_node *node)
{
    visit(r, node->call.target);
    visit_list(r, &node->call.arguments->positional);
    visit_list(r, &node->call.arguments->named);
    visit(r, node->call.arguments->star);
    visit(r, node->call.arguments->double_star);
    if (!r->binding || node->kind == NODE_CALL) return;
    bool filter = node->kind == NODE_FILTER;
    const tmpl_string *name = node->call.name;
    node->call.function = filter ? tmpl_find_filter(name) : tmpl_find_test(name);
    if (!node->call.function && !r->soft && r->status == PV_OK)
        r->status = tmpl_fail_line(r->error, node->line, "no %s named '%.*s'", filter ? "filter" : "test", tmpl_shown(name),
                                   name->data);
}

static void visit_condition(resolver *r, tmpl_node *node)
{
    bool soft = r->soft;
    r->soft = true;
    visit(r, node->condition.test);
    visit(r, node->condition.yes);
    visit(r, node->condition.no);
    r->soft = soft;
}

static void visit_name(resolver *r, tmpl_node *node)
{
    if (!r->binding)
        load_name(r, node->name.global);
    else if (r->current[node->name.global])
        node->name.ref = reference(r, r->current[node->name.global]);
}

static void visit(resolver *r, tmpl_node *node)
{
    if (!node || r->status != PV_OK) return;
    switch (node->kind) {
    case NODE_NAME: visit_name(r, node); break;
    case NODE_LIST:
    case NODE_TUPLE:
    case NODE_DICT:
    case NODE_CONCAT: visit_list(r, &node->list); break;
    case NODE_AND:
    case NODE_OR:
    case NODE_ARITHMETIC:
    case NODE_ITEM:
        visit(r, node->binary.left);
        visit(r, node->binary.right);
        break;
    case NODE_NOT:
    case NODE_NEGATIVE:
    case NODE_POSITIVE: visit(r, node->operand); break;
    case NODE_COMPARE: visit_list(r, &node->compare.operands); break;
    case NODE_CONDITION: visit_condition(r, node); break;
    case NODE_ATTRIBUTE:
    case NODE_MEMBER: visit(r, node->attribute.object); break;
    case NODE_SLICE:
        visit(r, node->slice.object);
        visit(r, node->slice.start);
        visit(r, node->slice.stop);
        visit(r, node->slice.step);
        break;
    case NODE_CALL:
    case NODE_FILTER:
    case NODE_TEST: visit_call(r, node); break;
    default: break;
    }
}

/* ---- Collecting the names of a scope ---- */

static void collect_target(resolver *r, tmpl_node *target, bool parameter)
{
    if (target->kind == NODE_TUPLE) {
        for (uint32_t i = 0; i < target->list.count; i++) collect_target(r, target->list.items[i], parameter);
    } else if (target->kind == NODE_MEMBER) {
        load_name(r, target->attribute.object->name.global);
    } else if (parameter) {
        declare_parameter(r, target->name.global);
    } else {
        store_name(r, target->name.global);
    }
}

static void collect(resolver *r, const tmpl_nodes *body);

static void collect_if(resolver *r, const tmpl_node *node)
{
    for (uint32_t i = 0; i < node->branch.count; i++) {
        visit(r, node->branch.branches[i].test);
        r->branches++;
        collect(r, &node->branch.branches[i].body);
        r->branches--;
    }
}

/* Inner scopes are not entered: only what they take from here counts. */
static void collect(resolver *r, const tmpl_nodes *body)
{
    for (uint32_t i = 0; i < body->count && r->status == PV_OK; i++) {
        tmpl_node *node = body->items[i];
        switch (node->kind) {
        case NODE_OUTPUT: visit(r, node->operand); break;
        case NODE_IF: collect_if(r, node); break;
        case NODE_FOR: visit(r, node->loop->iterable); break;
        case NODE_SET:
            visit(r, node->set.value);
            collect_target(r, node->set.target, false);
            break;
        case NODE_SET_BLOCK: collect_target(r, node->set.target, false); break;
        case NODE_MACRO: store_name(r, node->define.target->name.global); break;
        case NODE_CALL_BLOCK: visit(r, node->define.target); break;
        case NODE_FILTER_BLOCK: visit(r, node->set.value); break;
        case NODE_WITH: visit_list(r, &node->with.values); break;
        default: break;
        }
    }
}

/* ---- Binding ---- */

static void bind_body(resolver *r, const tmpl_nodes *body);

static void bind(resolver *r, tmpl_node *node)
{
    r->binding = true;
    visit(r, node);
    r->binding = false;
}

/* Binds a body whose names were collected, in a scope of its own, and leaves the scope. */
static void bind_inner(resolver *r, const tmpl_nodes *body, tmpl_scope *out)
{
    uint32_t branches = r->branches;
    bool soft = r->soft;
    r->branches = 0;
    r->soft = false;
    bind_body(r, body);
    leave(r, out);
    r->branches = branches;
    r->soft = soft;
}

static void bind_test(resolver *r, tmpl_for *loop)
{
    scope_state scope;
    bool soft = r->soft;
    r->soft = false;
    enter(r, &scope, NULL);
    collect_target(r, loop->test_target, true);
    visit(r, loop->test);
    bind(r, loop->test_target);
    bind(r, loop->test);
    leave(r, &loop->test_scope);
    r->soft = soft;
}

static void bind_loop(resolver *r, tmpl_for *loop)
{
    scope_state scope;
    bind(r, loop->iterable);
    if (loop->test) bind_test(r, loop);
    uint32_t branches = r->branches;
    r->branches = 0;
    enter(r, &scope, NULL);
    if (loop->uses & USES_LOOP) loop->loop_slot = declare_parameter(r, r->special[SPECIAL_LOOP]);
    collect_target(r, loop->target, true);
    collect(r, &loop->body);
    bind(r, loop->target);
    bind_inner(r, &loop->body, &loop->body_scope);
    enter(r, &scope, NULL);
    collect(r, &loop->otherwise);
    bind_inner(r, &loop->otherwise, &loop->else_scope);
    r->branches = branches;
}

static bool has_parameter(const tmpl_function *function, const char *name)
{
    for (uint32_t i = 0; i < function->parameters.count; i++) {
        if (tmpl_is_text(function->parameters.items[i]->name.name, name)) return true;
    }
    return false;
}

static void declare_special(resolver *r, tmpl_function *function, uint8_t use, int name, uint16_t *slot)
{
    if (!(function->uses & use)) return;
    if (has_parameter(function, special_names[name]))
        function->uses &= (uint8_t)~use;
    else
        *slot = declare_parameter(r, r->special[name]);
}

static void bind_function(resolver *r, tmpl_function *function)
{
    scope_state scope;
    uint32_t branches = r->branches;
    r->branches = 0;
    enter(r, &scope, function);
    for (uint32_t i = 0; i < function->parameters.count; i++) declare_parameter(r, function->parameters.items[i]->name.global);
    declare_special(r, function, USES_CALLER, SPECIAL_CALLER, &function->caller_slot);
    declare_special(r, function, USES_KWARGS, SPECIAL_KWARGS, &function->kwargs_slot);
    declare_special(r, function, USES_VARARGS, SPECIAL_VARARGS, &function->varargs_slot);
    visit_list(r, &function->defaults);
    collect(r, &function->body);
    r->binding = true;
    visit_list(r, &function->parameters);
    bool soft = r->soft;
    r->soft = false;
    visit_list(r, &function->defaults);
    r->binding = false;
    bind_inner(r, &function->body, &function->scope);
    r->soft = soft;
    r->branches = branches;
}

static void bind_block(resolver *r, tmpl_node *node)
{
    scope_state scope;
    uint32_t branches = r->branches;
    bool soft = r->soft;
    if (node->set.target) bind(r, node->set.target);
    r->branches = 0;
    enter(r, &scope, NULL);
    visit(r, node->set.value);
    collect(r, &node->set.body);
    r->soft = false;
    bind(r, node->set.value);
    bind_inner(r, &node->set.body, node->set.scope);
    r->soft = soft;
    r->branches = branches;
}

static void bind_with(resolver *r, tmpl_node *node)
{
    scope_state scope;
    uint32_t branches = r->branches;
    for (uint32_t i = 0; i < node->with.values.count; i++) bind(r, node->with.values.items[i]);
    r->branches = 0;
    enter(r, &scope, NULL);
    for (uint32_t i = 0; i < node->with.targets.count; i++) collect_target(r, node->with.targets.items[i], true);
    collect(r, &node->with.body);
    for (uint32_t i = 0; i < node->with.targets.count; i++) bind(r, node->with.targets.items[i]);
    bind_inner(r, &node->with.body, node->with.scope);
    r->branches = branches;
}

static void bind_if(resolver *r, tmpl_node *node)
{
    bool soft = r->soft;
    r->soft = true;
    for (uint32_t i = 0; i < node->branch.count; i++) {
        bind(r, node->branch.branches[i].test);
        bind_body(r, &node->branch.branches[i].body);
    }
    r->soft = soft;
}

static void bind_body(resolver *r, const tmpl_nodes *body)
{
    for (uint32_t i = 0; i < body->count && r->status == PV_OK; i++) {
        tmpl_node *node = body->items[i];
        switch (node->kind) {
        case NODE_OUTPUT: bind(r, node->operand); break;
        case NODE_IF: bind_if(r, node); break;
        case NODE_FOR: bind_loop(r, node->loop); break;
        case NODE_SET:
            bind(r, node->set.value);
            bind(r, node->set.target);
            break;
        case NODE_SET_BLOCK:
        case NODE_FILTER_BLOCK: bind_block(r, node); break;
        case NODE_MACRO:
        case NODE_CALL_BLOCK:
        case NODE_GENERATION:
            bind(r, node->define.target);
            bind_function(r, node->define.function);
            break;
        case NODE_WITH: bind_with(r, node); break;
        default: break;
        }
    }
}

static void find_special(resolver *r)
{
    for (int s = 0; s < SPECIAL_COUNT; s++) {
        uint32_t *name = &r->special[s];
        while (*name < r->tmpl->name_count && !tmpl_is_text(r->tmpl->names[*name], special_names[s])) ++*name;
    }
}

pv_status tmpl_resolve(pv_template *tmpl, pv_error *error)
{
    resolver r = {.tmpl = tmpl, .error = error};
    scope_state scope;
    tmpl_arena_init(&r.scratch, &tmpl->allocator, PV_TEMPLATE_MAX_MEMORY - tmpl->arena.total);
    size_t bytes = (tmpl->name_count + (size_t)1) * sizeof *r.current;
    r.current = tmpl_arena_alloc(&r.scratch, bytes);
    if (r.current) {
        memset(r.current, 0, bytes);
        find_special(&r);
        enter(&r, &scope, &tmpl->root);
        collect(&r, &tmpl->root.body);
        bind_body(&r, &tmpl->root.body);
        leave(&r, &tmpl->root.scope);
    } else {
        out_of_memory(&r, &r.scratch);
    }
    tmpl_arena_free(&r.scratch);
    return r.status;
}
