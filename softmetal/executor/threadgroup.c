/* Threadgroup memory: every variable and argument has a slot of its own, which ends at a guard page, and is poisoned with 0xFF
 * (NaN) for each threadgroup. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "executor/group.h"

#define FAR ((size_t)64 << 20) /* from other memory */
#define ALIGNMENT 16u          /* at least: kernels see arrays of floats as vectors */

static size_t round_up(size_t size, size_t unit)
{
    return (size + unit - 1) / unit * unit;
}

bool sm_threadgroup_create(sm_worker *worker, uint32_t limit)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    worker->memory_limit = limit;
    worker->slot_shift = 1;
    while (((size_t)1 << worker->slot_shift) < round_up(limit, page) + page) worker->slot_shift++;
    worker->slot_stride = (size_t)1 << worker->slot_shift;
    worker->memory_size = SM_SLOTS * worker->slot_stride;
    uint8_t *all = mmap(NULL, worker->memory_size + 2 * FAR, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    worker->memory = all != MAP_FAILED ? all + FAR : NULL;
    return worker->memory != NULL;
}

void sm_threadgroup_destroy(sm_worker *worker)
{
    if (worker->memory != NULL) munmap(worker->memory - FAR, worker->memory_size + 2 * FAR);
    free(worker->slot_of_variable);
}

/* Makes a slot of `size` bytes that end at the guard page, as near as the alignment lets them. */
static bool place(sm_worker *worker, sm_slot *slot, uint32_t size, uint32_t align, uint32_t line)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *guard = worker->memory + (size_t)(slot - worker->slots + 1) * worker->slot_stride - page;
    const size_t room = round_up(size, align > ALIGNMENT ? align : ALIGNMENT), open = round_up(room, page);
    if (open + page > worker->slot_stride) return false;
    if (open > slot->open && mprotect(guard - open, open, PROT_READ | PROT_WRITE) != 0) return false;
    if (open > slot->open) slot->open = (uint32_t)open;
    slot->base = guard - room;
    slot->size = size;
    slot->slack = (uint32_t)(room - size);
    slot->line = line;
    slot->align = align;
    slot->group = UINT64_MAX;
    worker->slack |= slot->slack != 0;
    return true;
}

static void poison(const sm_worker *worker, sm_slot *slot)
{
    memset(slot->base, 0xFF, slot->size + slot->slack);
    slot->group = worker->group_serial;
}

bool sm_threadgroup_dispatch(sm_worker *worker)
{
    const sm_dispatch *dispatch = worker->job->dispatch;
    worker->slack = false;
    worker->threadgroup_bytes = 0;
    if (worker->variables_used != 0) memset(worker->slot_of_variable, 0, worker->variable_capacity * sizeof(uint32_t));
    worker->variables_used = 0;
    for (uint32_t i = 0; i < SM_BUFFERS; i++) {
        sm_slot *slot = &worker->slots[i];
        slot->size = 0;
        worker->threadgroup[i] = NULL;
        if (dispatch->threadgroup_bytes[i] == 0) continue;
        if (!place(worker, slot, dispatch->threadgroup_bytes[i], ALIGNMENT, 0)) return false;
        worker->threadgroup[i] = slot->base;
        worker->threadgroup_bytes += slot->size;
    }
    return true;
}

void sm_threadgroup_begin(sm_worker *worker)
{
    for (uint32_t i = 0; worker->threadgroup_bytes != 0 && i < SM_BUFFERS; i++)
        if (worker->slots[i].size != 0) poison(worker, &worker->slots[i]);
}

static void look_behind(sm_worker *worker, const sm_slot *slot)
{
    if (slot->size == 0 || slot->group != worker->group_serial) return;
    for (uint32_t i = 0; i < slot->slack; i++) {
        if (slot->base[slot->size + i] == 0xFF) continue;
        sm_finding finding = sm_finding_new(worker, SOFTMETAL_OUT_OF_BOUNDS);
        finding.what = SM_BEHIND_THE_END;
        finding.thread = SM_NO_LANE;
        finding.slot = (int32_t)(slot - worker->slots);
        finding.offset = slot->size + i;
        sm_finding_add(worker, &finding);
        worker->crash.end = SM_END_BOUNDS;
        return;
    }
}

void sm_threadgroup_end(sm_worker *worker)
{
    for (uint32_t i = 0; worker->slack && i < SM_BUFFERS + worker->variables_used; i++) look_behind(worker, &worker->slots[i]);
}

static bool grow(sm_worker *worker, uint32_t id)
{
    uint32_t capacity = worker->variable_capacity == 0 ? 64 : worker->variable_capacity;
    while (capacity <= id && capacity < 1u << 24) capacity *= 2;
    uint32_t *table = id < capacity ? realloc(worker->slot_of_variable, capacity * sizeof *table) : NULL;
    if (table == NULL) return false;
    memset(table + worker->variable_capacity, 0, (capacity - worker->variable_capacity) * sizeof *table);
    worker->slot_of_variable = table;
    worker->variable_capacity = capacity;
    return true;
}

_Noreturn static void refuse(sm_worker *worker, sm_what what, uint32_t line, uint64_t size)
{
    sm_finding finding = sm_finding_new(worker, SOFTMETAL_VALIDATION);
    finding.what = what;
    finding.line = line;
    finding.size = size;
    sm_finding_add(worker, &finding);
    sm_group_end(worker, SM_END_INVALID);
}

/* The first lane of a dispatch that asks for a variable finds it a slot. */
static sm_slot *new_variable(sm_worker *worker, uint32_t id, size_t size, size_t align, uint32_t line)
{
    if (id >= worker->variable_capacity && !grow(worker, id)) sm_group_end(worker, SM_END_NO_MEMORY);
    if (worker->variables_used == SM_VARIABLES) refuse(worker, SM_TOO_MANY_VARIABLES, line, SM_VARIABLES);
    worker->threadgroup_bytes += size;
    if (worker->threadgroup_bytes > worker->memory_limit) refuse(worker, SM_TOO_MANY_BYTES, line, worker->threadgroup_bytes);
    const uint32_t number = SM_BUFFERS + worker->variables_used;
    if (!place(worker, &worker->slots[number], (uint32_t)size, (uint32_t)align, line)) sm_group_end(worker, SM_END_NO_MEMORY);
    sm_check_variable(worker, number, (uint32_t)align);
    worker->variables_used++;
    worker->slot_of_variable[id] = number;
    return &worker->slots[number];
}

void *sm_threadgroup_variable(uint32_t id, size_t size, size_t align, uint32_t line)
{
    sm_worker *worker = sm_current;
    const uint32_t number = id < worker->variable_capacity ? worker->slot_of_variable[id] : 0;
    sm_slot *slot = number != 0 ? &worker->slots[number] : new_variable(worker, id, size, align, line);
    if (slot->group != worker->group_serial) poison(worker, slot);
    return slot->base;
}

sm_slot *sm_threadgroup_slot(sm_worker *worker, uintptr_t address)
{
    if (address - (uintptr_t)worker->memory >= worker->memory_size) return NULL;
    return &worker->slots[(address - (uintptr_t)worker->memory) / worker->slot_stride];
}
