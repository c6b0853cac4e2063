/* Kernel functions: their parameters, by attribute or by implicit index, and the names under which a host finds them. */
#include "msl/builtins.h"
#include "msl/unit.h"

#include <string.h>

/* One parameter while it is read. */
typedef struct sm_parsed {
    uint32_t first, last; /* tokens */
    uint32_t name;
    bool pointer; /* or reference */
    bool threadgroup, constant, space;
    bool has_index;
    int64_t index; /* if it is known: -1 otherwise */
    const char *index_text;
    const char *builtin, *condition;
    bool buffer_attribute, threadgroup_attribute;
} sm_parsed;

static bool has_word(const sm_unit *unit, uint32_t first, uint32_t last, const char *word)
{
    for (uint32_t i = first; i <= last && i < unit->tokens.count; i++) {
        if (sm_at(unit, i, word)) return true;
    }
    return false;
}

/* The last token of the declaration's head: before the parameters' (, or the semicolon. */
static uint32_t head_end(const sm_declaration *d)
{
    return d->parameters != SM_NO_TOKEN ? d->parameters : d->last;
}

static bool is_kernel(const sm_unit *unit, const sm_declaration *d)
{
    if (d->kind == SM_DECLARATION_ALIAS || d->kind == SM_DECLARATION_RECORD || unit->scopes[d->scope].record) return false;
    return has_word(unit, d->first, head_end(d), "kernel") ||
           (d->instantiation && has_word(unit, d->first, head_end(d), "host_name"));
}

static bool refuse_graphics(sm_unit *unit, const sm_declaration *d)
{
    static const char *const stages[] = {"vertex", "fragment", "mesh", "object", "visible", "intersection", "tile"};
    if (d->kind != SM_DECLARATION_FUNCTION) return true;
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        uint32_t first, last;
        bool attribute = sm_find_attribute(unit, d->first, head_end(d), stages[i], &first, &last);
        bool keyword = i < 2 && sm_at(unit, d->specifiers, stages[i]);
        if (attribute || keyword)
            return sm_refuse(unit, attribute ? first : d->specifiers, "%s functions are not simulated: only kernels are",
                             stages[i]);
    }
    return true;
}

/* [[a, b(c)]] from the second [ on. */
static bool read_attributes(sm_unit *unit, uint32_t open, sm_parsed *p)
{
    uint32_t end = sm_partner(unit, open);
    for (uint32_t i = open + 1; i < end; i = sm_skip(unit, i)) {
        if (!sm_named(unit, i)) continue;
        const char *name = sm_token_text(unit, i);
        bool value = sm_at(unit, i + 1, "(");
        uint32_t first = i + 2, last = value ? sm_partner(unit, i + 1) - 1 : i;
        bool buffer = strcmp(name, "buffer") == 0, threadgroup = strcmp(name, "threadgroup") == 0;
        if (value && (buffer || threadgroup)) {
            p->buffer_attribute |= buffer;
            p->threadgroup_attribute |= threadgroup;
            p->has_index = true;
            if (!sm_evaluate(unit, first, last, &p->index))
                p->index = -1;
            else if (p->index < 0 || p->index >= SM_BUFFERS)
                return sm_refuse(unit, first, "'%s' index must be from 0 to %d", name, SM_BUFFERS - 1);
            p->index_text = sm_range_text(unit, first, last);
        } else if (value && strcmp(name, "function_constant") == 0) {
            p->condition = sm_range_text(unit, first, last);
        } else if (sm_builtin_source(name)) {
            p->builtin = sm_builtin_source(name);
        } else if (sm_attribute_unsupported(name)) {
            return sm_refuse(unit, i, "parameters with the attribute [[%s]] are not simulated", name);
        }
    }
    return true;
}

static bool read_parameter(sm_unit *unit, sm_parsed *p)
{
    bool past_name = false;
    p->name = SM_NO_TOKEN;
    p->index = -1;
    for (uint32_t i = p->first; i <= p->last; i = sm_skip(unit, i)) {
        if (sm_is_attribute(unit, i)) {
            if (!read_attributes(unit, i + 1, p)) return false;
        } else if (sm_is_space(unit, i)) {
            p->space = true;
            p->threadgroup |= sm_at(unit, i, "threadgroup");
            p->constant |= sm_at(unit, i, "constant");
        } else if (sm_at(unit, i, "=")) {
            break;
        } else if (!past_name && (sm_at(unit, i, "*") || sm_at(unit, i, "&"))) {
            p->pointer = true;
        } else if (sm_at(unit, i, "(") && (sm_at(unit, i + 1, "&") || sm_at(unit, i + 1, "*"))) {
            p->pointer = true; /* constant float (&table)[4] */
            p->name = i + 2;
            past_name = true;
        } else if (!past_name && sm_named(unit, i)) {
            p->name = i;
        } else if (sm_at(unit, i, "[")) {
            p->pointer = true; /* device float x[] */
            past_name = true;
        }
    }
    if (p->name == SM_NO_TOKEN) return sm_refuse(unit, p->first, "a parameter of a kernel without a name");
    return true;
}

static const char *input_hint = "give it an attribute such as [[buffer(0)]] or [[thread_position_in_grid]]";

static bool check_parameter(sm_unit *unit, const sm_parsed *p, const char *kernel)
{
    const char *name = sm_token_text(unit, p->name);
    if (p->builtin) {
        if (p->pointer)
            return sm_refuse(unit, p->name, "parameter '%s' of kernel '%s': a builtin is passed by value", name, kernel);
        if (p->has_index)
            return sm_refuse(unit, p->name, "parameter '%s' of kernel '%s': both a builtin and an argument", name, kernel);
        return true;
    }
    if (p->has_index || (p->pointer && p->space)) {
        if (p->buffer_attribute && p->threadgroup) {
            return sm_refuse(
                unit, p->name,
                "parameter '%s' of kernel '%s': [[buffer]] needs the device or constant address space, not threadgroup", name,
                kernel);
        }
        return true;
    }
    if (p->pointer)
        return sm_refuse(unit, p->name, "parameter '%s' of kernel '%s': a pointer or reference needs an address space", name,
                         kernel);
    return sm_refuse(unit, p->name,
                     "parameter '%s' of kernel '%s' has no attribute (structs of builtins are not simulated); %s", name, kernel,
                     input_hint);
}

static bool taken(const sm_parsed *list, uint32_t count, bool threadgroup, int64_t index)
{
    for (uint32_t i = 0; i < count; i++) {
        bool other = list[i].threadgroup_attribute || (!list[i].buffer_attribute && list[i].threadgroup);
        if (!list[i].builtin && other == threadgroup && list[i].index == index) return true;
    }
    return false;
}

static void finish_parameter(sm_unit *unit, sm_parsed *list, uint32_t count, uint32_t i, sm_parameter *out)
{
    sm_parsed *p = &list[i];
    *out = (sm_parameter){
        .name = sm_token_text(unit, p->name), .condition = p->condition, .constant_space = p->constant, .index = "0"};
    if (p->builtin) {
        out->kind = SM_ARGUMENT_BUILTIN;
        out->source = p->builtin;
        return;
    }
    bool threadgroup = p->threadgroup_attribute || (!p->buffer_attribute && p->threadgroup);
    if (!p->has_index) {
        for (p->index = 0; taken(list, i, threadgroup, p->index) || taken(list + i + 1, count - i - 1, threadgroup, p->index);
             p->index++) {
        }
        p->index_text = sm_arena_printf(&unit->arena, "%lld", (long long)p->index);
    } else if (p->index >= 0 && !p->condition) {
        for (uint32_t j = 0; j < i; j++) {
            if (list[j].has_index && !list[j].condition && list[j].index == p->index &&
                taken(&list[j], 1, threadgroup, p->index)) {
                sm_refuse(unit, p->name, "'%s' and '%s' have the same %s index %lld", sm_token_text(unit, list[j].name),
                          out->name, threadgroup ? "threadgroup" : "buffer", (long long)p->index);
            }
        }
    }
    out->kind = threadgroup ? SM_ARGUMENT_THREADGROUP : SM_ARGUMENT_BUFFER;
    out->index = p->index_text;
    out->source = sm_arena_printf(&unit->arena, "%s{%s}", threadgroup ? "sm::threadgroup" : "sm::buffer", p->index_text);
}

static bool read_parameters(sm_unit *unit, sm_kernel_source *kernel, uint32_t open)
{
    uint32_t end = sm_partner(unit, open), count = 0;
    uint32_t first = open + 1;
    if (first == end || (first + 1 == end && sm_at(unit, first, "void"))) return true;
    uint32_t commas = 1;
    for (uint32_t i = first; i < end; i = sm_skip(unit, i)) commas += sm_at(unit, i, ",");
    sm_parsed *list = sm_arena_alloc(&unit->arena, commas * sizeof *list);
    kernel->parameters = sm_arena_alloc(&unit->arena, commas * sizeof *kernel->parameters);
    if (!list || !kernel->parameters) return false;
    bool ok = true;
    for (uint32_t i = first; i <= end; i = i < end ? sm_skip(unit, i) : end + 1) {
        if (i != end && !sm_at(unit, i, ",")) continue;
        if (i == first) return sm_refuse(unit, i, "expected a parameter");
        list[count].first = first;
        list[count].last = i - 1;
        ok = read_parameter(unit, &list[count]) && check_parameter(unit, &list[count], kernel->name) && ok;
        count++;
        first = i + 1;
    }
    if (!ok) return false;
    for (uint32_t i = 0; i < count; i++) finish_parameter(unit, list, count, i, &kernel->parameters[i]);
    kernel->parameter_count = count;
    return true;
}

static const char *max_threads(sm_unit *unit, const sm_declaration *d)
{
    uint32_t first, last;
    if (!sm_find_attribute(unit, d->first, head_end(d), "max_total_threads_per_threadgroup", &first, &last)) return NULL;
    return sm_range_text(unit, first, last);
}

static bool add_kernel(sm_unit *unit, uint32_t declaration)
{
    const sm_declaration *d = &unit->declarations[declaration];
    if (d->name == SM_NO_TOKEN || d->parameters == SM_NO_TOKEN)
        return sm_refuse(unit, d->first, "a kernel without a name or without parameters");
    sm_kernel_source kernel = {.declaration = declaration,
                               .first_entry = SM_NO_TOKEN,
                               .name = sm_token_text(unit, d->name),
                               .max_threads = max_threads(unit, d)};
    if (!sm_at(unit, d->name - 1, "void")) return sm_refuse(unit, d->name, "kernel '%s' must return void", kernel.name);
    if (!read_parameters(unit, &kernel, d->parameters)) return false;
    if (!sm_grow(&unit->kernels, unit->kernel_count, &unit->kernel_capacity, sizeof *unit->kernels)) {
        unit->arena.failed = true;
        return false;
    }
    unit->kernels[unit->kernel_count++] = kernel;
    return true;
}

bool sm_find_kernels(sm_unit *unit)
{
    for (uint32_t i = 0; i < unit->declaration_count; i++) {
        const sm_declaration *d = &unit->declarations[i];
        if (!refuse_graphics(unit, d)) continue;
        if (!is_kernel(unit, d) || d->instantiation) continue;
        if (d->body != SM_NO_TOKEN) add_kernel(unit, i);
        for (uint32_t t = d->first; t < head_end(d); t++) {
            if (sm_at(unit, t, "kernel") && !sm_at(unit, t + 1, "]")) sm_drop(unit, t, t);
        }
    }
    return !unit->arena.failed;
}

uint32_t sm_kernel_around(const sm_unit *unit, uint32_t token)
{
    uint32_t low = 0, high = unit->kernel_count; /* they come in the order of the text */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (unit->declarations[unit->kernels[middle].declaration].last < token)
            low = middle + 1;
        else
            high = middle;
    }
    return low < unit->kernel_count && unit->declarations[unit->kernels[low].declaration].body < token ? low : SM_NO_TOKEN;
}
