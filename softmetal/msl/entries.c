/* What a host can ask for: plain kernels by their name, instances of kernel templates by their host_name. */
#include "msl/unit.h"

#include <string.h>

/* "a" "b" → ab */
static const char *string_value(sm_unit *unit, uint32_t first, uint32_t last)
{
    sm_text text = {0};
    for (uint32_t i = first; i <= last; i++) {
        const sm_token *token = &unit->tokens.list[i];
        if (token->kind != SM_STRING || token->length < 2) continue;
        const char *bytes = unit->tokens.text + token->start;
        for (uint32_t k = 1; k + 1 < token->length; k++) {
            if (bytes[k] == '\\' && k + 2 < token->length) k++;
            sm_text_add(&text, bytes + k, 1);
        }
    }
    return sm_arena_take(&unit->arena, &text);
}

static const char *host_name(sm_unit *unit, const sm_declaration *d)
{
    uint32_t first, last, end = d->parameters != SM_NO_TOKEN ? d->parameters : d->last;
    return sm_find_attribute(unit, d->first, end, "host_name", &first, &last) ? string_value(unit, first, last) : NULL;
}

static bool add_entry(sm_unit *unit, sm_entry entry)
{
    if (!entry.name[0]) return sm_refuse(unit, unit->declarations[entry.declaration].first, "host_name is empty");
    for (uint32_t i = 0; i < unit->entry_count; i++) {
        if (strcmp(unit->entries[i].name, entry.name) != 0) continue;
        sm_refuse(unit, unit->declarations[entry.declaration].name, "two kernels are named '%s'", entry.name);
        sm_remark(unit, "note", unit->declarations[unit->entries[i].declaration].name, "the other one is here");
        return false;
    }
    if (!sm_grow(&unit->entries, unit->entry_count, &unit->entry_capacity, sizeof *unit->entries)) {
        unit->arena.failed = true;
        return false;
    }
    sm_kernel_source *kernel = &unit->kernels[entry.kernel];
    if (kernel->first_entry == SM_NO_TOKEN) kernel->first_entry = unit->entry_count;
    unit->entries[unit->entry_count++] = entry;
    return true;
}

/* Instances are dropped from the text: the call that is generated for each makes the compiler instantiate it. */
static void add_plain(sm_unit *unit, uint32_t index)
{
    const sm_kernel_source *kernel = &unit->kernels[index];
    const sm_declaration *d = &unit->declarations[kernel->declaration];
    if (d->is_template) return;
    const char *qualified = sm_arena_printf(&unit->arena, "%s%s", unit->scopes[d->scope].path, kernel->name);
    const char *name = host_name(unit, d);
    add_entry(unit, (sm_entry){
                        .name = name ? name : qualified,
                        .target = sm_arena_printf(&unit->arena, "&%s", qualified),
                        .kernel = index,
                        .declaration = kernel->declaration,
                        .max_threads = kernel->max_threads,
                    });
}

static uint32_t template_of(const sm_unit *unit, const sm_declaration *d)
{
    uint32_t found = SM_NO_TOKEN;
    for (uint32_t i = 0; i < unit->kernel_count; i++) {
        const sm_declaration *other = &unit->declarations[unit->kernels[i].declaration];
        if (!other->is_template || !sm_at(unit, d->name, unit->kernels[i].name)) continue;
        if (found == SM_NO_TOKEN || other->scope == d->scope) found = i;
    }
    return found;
}

/* &name<float>; where the parameters are spelled out they choose the overload. */
static const char *instance(sm_unit *unit, const sm_declaration *d)
{
    uint32_t first = d->name, last = d->arguments != SM_NO_TOKEN ? sm_partner(unit, d->arguments) : d->name;
    while (first > d->first + 1 && sm_at(unit, first - 1, "::") && sm_named(unit, first - 2)) first -= 2;
    const char *path = first == d->name ? unit->scopes[d->scope].path : "";
    const char *name = sm_arena_printf(&unit->arena, "&%s%s", path, sm_range_text(unit, first, last));
    if (d->parameters == SM_NO_TOKEN) return name;
    const char *parameters = sm_range_text(unit, d->parameters, sm_partner(unit, d->parameters));
    return sm_arena_printf(&unit->arena, "static_cast<void (*)%s>(%s)", parameters, name);
}

/* The argument of an instance that stands for a name of its template's header; NULL: none. */
static const char *argument_of(sm_unit *unit, const sm_declaration *kernel, const sm_declaration *instance, uint32_t name)
{
    uint32_t open = kernel->first;
    while (open < kernel->specifiers && !sm_at(unit, open, "<"))
        open = sm_is_attribute(unit, open) ? sm_skip(unit, open) : open + 1;
    if (open >= kernel->specifiers || instance->arguments == SM_NO_TOKEN) return NULL;
    uint32_t parameter = open + 1, end = sm_partner(unit, open);
    uint32_t first = instance->arguments + 1, last = sm_partner(unit, instance->arguments);
    while (parameter < end) {
        uint32_t next = parameter, after = first, standard = SM_NO_TOKEN;
        while (next < end && !sm_at(unit, next, ",")) {
            if (sm_at(unit, next, "=") && standard == SM_NO_TOKEN) standard = next;
            next = sm_skip(unit, next);
        }
        while (after < last && !sm_at(unit, after, ",")) after = sm_skip(unit, after);
        uint32_t own = (standard != SM_NO_TOKEN ? standard : next) - 1;
        if (sm_at(unit, own, sm_token_text(unit, name))) {
            if (first < last) return sm_range_text(unit, first, after - 1);
            return standard != SM_NO_TOKEN ? sm_range_text(unit, standard + 1, next - 1) : NULL;
        }
        parameter = next + 1;
        first = after < last ? after + 1 : last;
    }
    return NULL;
}

/* [[max_total_threads_per_threadgroup(N * 2)]] of a template <int N>: with the arguments of the instance in their places. */
static const char *max_threads(sm_unit *unit, const sm_declaration *kernel, const sm_declaration *instance)
{
    uint32_t first, last;
    if (!sm_find_attribute(unit, kernel->first, kernel->parameters, "max_total_threads_per_threadgroup", &first, &last))
        return NULL;
    sm_text text = {0};
    for (uint32_t i = first; i <= last; i++) {
        const char *argument = sm_named(unit, i) ? argument_of(unit, kernel, instance, i) : NULL;
        if (argument)
            sm_text_printf(&text, "(%s) ", argument);
        else
            sm_text_printf(&text, "%s ", sm_token_text(unit, i));
    }
    return sm_arena_take(&unit->arena, &text);
}

static bool add_instance(sm_unit *unit, uint32_t declaration)
{
    const sm_declaration *d = &unit->declarations[declaration];
    if (d->name == SM_NO_TOKEN) return sm_refuse(unit, d->first, "an instantiation of a kernel without a name");
    uint32_t kernel = template_of(unit, d);
    const char *name = host_name(unit, d);
    if (kernel == SM_NO_TOKEN)
        return sm_refuse(unit, d->name, "there is no kernel template '%s'", sm_token_text(unit, d->name));
    sm_entry entry = {.kernel = kernel, .declaration = declaration, .target = instance(unit, d)};
    entry.name = name ? name : sm_arena_printf(&unit->arena, "%s%s", unit->scopes[d->scope].path, sm_token_text(unit, d->name));
    uint32_t first, last, end = d->parameters != SM_NO_TOKEN ? d->parameters : d->last;
    bool own = sm_find_attribute(unit, d->first, end, "max_total_threads_per_threadgroup", &first, &last);
    entry.max_threads =
        own ? sm_range_text(unit, first, last) : max_threads(unit, &unit->declarations[unit->kernels[kernel].declaration], d);
    return add_entry(unit, entry);
}

static bool instantiates_kernel(const sm_unit *unit, const sm_declaration *d)
{
    uint32_t end = d->parameters != SM_NO_TOKEN ? d->parameters : d->last;
    if (!d->instantiation) return false;
    for (uint32_t i = d->first; i < end; i++) {
        if (sm_at(unit, i, "kernel") || sm_at(unit, i, "host_name")) return true;
    }
    return false;
}

bool sm_find_entries(sm_unit *unit)
{
    for (uint32_t i = 0; i < unit->kernel_count; i++) add_plain(unit, i);
    for (uint32_t i = 0; i < unit->declaration_count; i++) {
        if (!instantiates_kernel(unit, &unit->declarations[i])) continue;
        add_instance(unit, i);
        sm_drop(unit, unit->declarations[i].first, unit->declarations[i].last);
    }
    return !unit->arena.failed;
}
