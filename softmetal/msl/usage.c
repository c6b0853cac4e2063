/* Which function constants a kernel uses: by name, through the functions and classes that it mentions. */
#include "msl/generate.h"

#include <stdlib.h>
#include <string.h>

/* The constants matter by name only; a few too many may be found where a member has the name of a function. */
typedef struct sm_walk {
    const sm_unit *unit;
    bool *seen;       /* by declaration */
    uint32_t *queue;
    uint32_t head, tail;
    bool *used;
} sm_walk;

static void visit_name(sm_walk *walk, uint32_t token)
{
    const sm_unit *unit = walk->unit;
    const sm_token *t = &unit->tokens.list[token];
    const char *name = unit->tokens.text + t->start;
    for (uint32_t i = 0; i < unit->declaration_count; i++) {
        uint32_t other = unit->declarations[i].name;
        if (walk->seen[i] || other == SM_NO_TOKEN) continue;
        const sm_token *o = &unit->tokens.list[other];
        if (o->length != t->length || memcmp(unit->tokens.text + o->start, name, t->length) != 0) continue;
        walk->seen[i] = true;
        walk->queue[walk->tail++] = i;
    }
}

static void visit_declaration(sm_walk *walk, uint32_t index)
{
    const sm_unit *unit = walk->unit;
    const sm_declaration *d = &unit->declarations[index];
    for (uint32_t i = 0; i < unit->constant_count; i++) walk->used[i] |= unit->constants[i].declaration == index;
    for (uint32_t i = d->first; i <= d->last; i++) {
        if (sm_named(unit, i)) visit_name(walk, i);
    }
}

uint32_t sm_used_constants(const sm_unit *unit, uint32_t entry, bool *used)
{
    uint32_t count = 0;
    if (unit->constant_count == 0) return 0;
    sm_walk walk = {.unit = unit, .used = used};
    walk.seen = calloc(unit->declaration_count + 1, sizeof *walk.seen);
    walk.queue = calloc(unit->declaration_count + 1, sizeof *walk.queue);
    if (walk.seen && walk.queue) {
        uint32_t starts[2] = {unit->entries[entry].declaration, unit->kernels[unit->entries[entry].kernel].declaration};
        for (uint32_t i = 0; i < 2; i++) {
            if (walk.seen[starts[i]]) continue;
            walk.seen[starts[i]] = true;
            walk.queue[walk.tail++] = starts[i];
        }
        while (walk.head < walk.tail) visit_declaration(&walk, walk.queue[walk.head++]);
    } else {
        memset(used, true, unit->constant_count);
    }
    free(walk.seen);
    free(walk.queue);
    for (uint32_t i = 0; i < unit->constant_count; i++) count += used[i];
    return count;
}
