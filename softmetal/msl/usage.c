/* Which function constants a kernel uses: by name, through the functions, classes and variables that it mentions. A few too
 * many may be found, where a member has the name of a function; never too few. */
#include "msl/usage.h"

#include "msl/unit.h"
#include "objc/memory.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* Declarations of one name are one node. */
struct sm_usage {
    uint32_t *slots;     /* hash table: node + 1, or 0 */
    uint32_t slot_count; /* a power of two */
    uint32_t *names;     /* by node: a token */
    uint32_t *node_of;   /* by declaration; SM_NO_TOKEN: nameless */
    uint32_t node_count;
    uint32_t *edges; /* nodes mentioned */
    uint32_t edge_count, edge_capacity;
    uint32_t *first_edge;    /* by declaration, one more at the end */
    uint32_t *next_of_node;  /* by declaration: another one of its name, or SM_NO_TOKEN */
    uint32_t *first_of_node; /* by node: a declaration */
};

static uint32_t find_slot(const sm_unit *unit, const sm_usage *usage, uint32_t token)
{
    const sm_token *t = &unit->tokens.list[token];
    const char *text = unit->tokens.text;
    uint32_t slot = (uint32_t)XXH3_64bits(text + t->start, t->length) & (usage->slot_count - 1);
    for (; usage->slots[slot]; slot = (slot + 1) & (usage->slot_count - 1)) {
        const sm_token *other = &unit->tokens.list[usage->names[usage->slots[slot] - 1]];
        if (other->length == t->length && memcmp(text + other->start, text + t->start, t->length) == 0) break;
    }
    return slot;
}

static bool allocate(sm_usage *usage, uint32_t count)
{
    usage->slot_count = 64;
    while (usage->slot_count < 2 * (uint64_t)count) usage->slot_count *= 2;
    usage->slots = sm_allocate(usage->slot_count * sizeof *usage->slots);
    usage->names = sm_allocate((count + 1) * sizeof *usage->names);
    usage->node_of = sm_allocate((count + 1) * sizeof *usage->node_of);
    usage->first_edge = sm_allocate((count + 2) * sizeof *usage->first_edge);
    usage->next_of_node = sm_allocate((count + 1) * sizeof *usage->next_of_node);
    usage->first_of_node = sm_allocate((count + 1) * sizeof *usage->first_of_node);
    return usage->slots && usage->names && usage->node_of && usage->first_edge && usage->next_of_node && usage->first_of_node;
}

static void name_nodes(const sm_unit *unit, sm_usage *usage)
{
    for (uint32_t i = 0; i < unit->declaration_count; i++) {
        uint32_t name = unit->declarations[i].name;
        usage->node_of[i] = usage->next_of_node[i] = SM_NO_TOKEN;
        if (name == SM_NO_TOKEN) continue;
        uint32_t slot = find_slot(unit, usage, name);
        if (!usage->slots[slot]) {
            usage->names[usage->node_count] = name;
            usage->first_of_node[usage->node_count] = SM_NO_TOKEN;
            usage->slots[slot] = ++usage->node_count;
        }
        uint32_t node = usage->slots[slot] - 1;
        usage->node_of[i] = node;
        usage->next_of_node[i] = usage->first_of_node[node];
        usage->first_of_node[node] = i;
    }
}

/* seen[node] is the last declaration that mentioned it, + 1: each is listed once. */
static bool list_edges(const sm_unit *unit, sm_usage *usage, uint32_t *seen)
{
    for (uint32_t i = 0; i < unit->declaration_count; i++) {
        const sm_declaration *d = &unit->declarations[i];
        usage->first_edge[i] = usage->edge_count;
        for (uint32_t t = d->first; t <= d->last; t++) {
            if (!sm_named(unit, t)) continue;
            uint32_t node = usage->slots[find_slot(unit, usage, t)];
            if (!node || seen[node - 1] == i + 1) continue;
            seen[node - 1] = i + 1;
            if (!sm_grow(&usage->edges, usage->edge_count, &usage->edge_capacity, sizeof *usage->edges)) return false;
            usage->edges[usage->edge_count++] = node - 1;
        }
    }
    usage->first_edge[unit->declaration_count] = usage->edge_count;
    return true;
}

bool sm_find_usage(sm_unit *unit)
{
    sm_usage *usage = unit->usage = sm_allocate(sizeof *usage);
    uint32_t *seen = sm_allocate((unit->declaration_count + 1) * sizeof *seen);
    bool ok = usage && seen && allocate(usage, unit->declaration_count);
    if (ok) {
        name_nodes(unit, usage);
        ok = list_edges(unit, usage, seen);
    }
    free(seen);
    unit->arena.failed |= !ok;
    return ok;
}

void sm_usage_free(sm_usage *usage)
{
    if (!usage) return;
    free(usage->slots);
    free(usage->names);
    free(usage->node_of);
    free(usage->edges);
    free(usage->first_edge);
    free(usage->next_of_node);
    free(usage->first_of_node);
    free(usage);
}

/* Depth first, with a stack of declarations. */
static void walk(const sm_unit *unit, bool *seen, uint32_t *stack, uint32_t count)
{
    const sm_usage *usage = unit->usage;
    while (count) {
        uint32_t declaration = stack[--count];
        for (uint32_t e = usage->first_edge[declaration]; e < usage->first_edge[declaration + 1]; e++) {
            for (uint32_t next = usage->first_of_node[usage->edges[e]]; next != SM_NO_TOKEN; next = usage->next_of_node[next]) {
                if (seen[next]) break; /* those of one name are seen together */
                seen[next] = true;
                stack[count++] = next;
            }
        }
    }
}

uint32_t sm_used_constants(const sm_unit *unit, uint32_t entry, bool *used)
{
    uint32_t count = 0;
    if (unit->constant_count == 0) return 0;
    bool *seen = sm_allocate((unit->declaration_count + 1) * sizeof *seen);
    uint32_t *stack = sm_allocate((unit->declaration_count + 2) * sizeof *stack);
    if (seen && stack) {
        stack[0] = unit->entries[entry].declaration;
        stack[1] = unit->kernels[unit->entries[entry].kernel].declaration;
        walk(unit, seen, stack, 2);
    }
    for (uint32_t i = 0; i < unit->constant_count; i++) {
        used[i] |= !seen || !stack || seen[unit->constants[i].declaration];
        count += used[i];
    }
    free(seen);
    free(stack);
    return count;
}

void sm_find_mentions(sm_unit *unit)
{
    const sm_usage *usage = unit->usage;
    uint32_t *kernel_of = sm_allocate((usage->node_count + 1) * sizeof *kernel_of); /* by node: kernel + 1 */
    if (!kernel_of) {
        unit->arena.failed = true;
        return;
    }
    for (uint32_t k = 0; k < unit->kernel_count; k++) kernel_of[usage->node_of[unit->kernels[k].declaration]] = k + 1;
    for (uint32_t i = 0; i < unit->tokens.count; i++) {
        if (!sm_named(unit, i) || unit->tokens.list[i].dropped) continue;
        uint32_t node = usage->slots[find_slot(unit, usage, i)];
        if (!node || !kernel_of[node - 1]) continue;
        sm_kernel_source *kernel = &unit->kernels[kernel_of[node - 1] - 1];
        kernel->mentioned |= i != unit->declarations[kernel->declaration].name;
    }
    free(kernel_of);
}
