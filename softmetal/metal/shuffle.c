/* The orders in which the dispatches of a concurrent encoder may come. */
#include "metal/commands.h"

#include <stdlib.h>

#define SM_MOST 64 /* dispatches that are shuffled at a time */

/* Between the dispatches of a stretch stand barriers on resources only: one on everything ends it. */
static bool goes_on(const sm_command *command)
{
    return command &&
           (command->kind == SM_DISPATCH || (command->kind == SM_BARRIER && ((const sm_barrier_command *)command)->count > 0));
}

static bool uses(const sm_dispatch_command *dispatch, const sm_storage *storage)
{
    for (size_t i = 0; i < SM_BUFFERS; i++) {
        if (dispatch->dispatch.buffers[i].memory == &storage->memory) return true;
    }
    return dispatch->indirect == storage;
}

bool sm_barrier_is_for(const sm_command *barrier, const sm_dispatch_command *dispatch, size_t *storage)
{
    const sm_barrier_command *is = (const sm_barrier_command *)barrier;
    for (*storage = 0; *storage < is->count; ++*storage) {
        if (uses(dispatch, is->storages[*storage])) return true;
    }
    return false;
}

/* A barrier stands between them on memory that both use. */
static bool must_follow(const sm_dispatch_command *before, const sm_dispatch_command *after)
{
    for (const sm_command *at = before->head.next; at != &after->head; at = at->next) {
        const sm_barrier_command *barrier = (const sm_barrier_command *)at;
        for (size_t i = 0; at->kind == SM_BARRIER && i < barrier->count; i++) {
            if (uses(before, barrier->storages[i]) && uses(after, barrier->storages[i])) return true;
        }
    }
    return false;
}

static size_t below(uint64_t *random, size_t limit)
{
    *random = *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (size_t)((*random >> 33) % limit);
}

/* `left` holds those that were not taken yet, as encoded: one is free if none before it there must come first. */
static size_t take(sm_dispatch_command **left, size_t count, uint64_t *random)
{
    size_t free_ones[SM_MOST], free_count = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_free = true;
        for (size_t k = 0; k < i && is_free; k++) is_free = !must_follow(left[k], left[i]);
        if (is_free) free_ones[free_count++] = i;
    }
    return free_ones[below(random, free_count)];
}

size_t sm_unordered(sm_command *first, sm_command **end, uint64_t *random, sm_dispatch_command ***list)
{
    sm_dispatch_command *left[SM_MOST];
    size_t count = 0;
    for (*end = first; count < SM_MOST && goes_on(*end); *end = (*end)->next) {
        if ((*end)->kind == SM_DISPATCH) left[count++] = (sm_dispatch_command *)*end;
    }
    *list = sm_allocate(count * sizeof **list);
    if (!*list) return 0;
    for (size_t done = 0; done < count; done++) {
        size_t remaining = count - done, at = take(left, remaining, random);
        (*list)[done] = left[at];
        for (size_t i = at; i + 1 < remaining; i++) left[i] = left[i + 1];
    }
    return count;
}
