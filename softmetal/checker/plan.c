/* What the checker has to know of a dispatch before it runs, and keeps of it afterwards. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "checker/checker.h"

atomic_uint sm_check_users; /* workers */
static atomic_uint_fast64_t next_epoch = 1;

/* ---- Life ---------------------------------------------------------------------------------------------------------- */

bool sm_check_plan_create(sm_executor *executor)
{
    executor->plan = calloc(1, sizeof *executor->plan);
    return executor->plan != NULL;
}

bool sm_check_create(sm_worker *worker)
{
    struct sm_check *check = calloc(1, sizeof *check);
    if (check == NULL) return false;
    worker->check = check;
    atomic_fetch_add(&sm_check_users, 1);
    check->cells_size = worker->memory_size * sizeof(sm_cell);
    check->cells = mmap(NULL, check->cells_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (check->cells == MAP_FAILED) check->cells = NULL;
    return check->cells != NULL;
}

void sm_check_destroy(sm_worker *worker)
{
    if (worker->check == NULL) return;
    if (worker->check->cells != NULL) munmap(worker->check->cells, worker->check->cells_size);
    free(worker->check);
    worker->check = NULL;
    atomic_fetch_sub(&sm_check_users, 1);
}

/* ---- A dispatch ---------------------------------------------------------------------------------------------------- */

static uint32_t shift_of(uint32_t element_size)
{
    return element_size % 4 == 0 ? 2 : element_size % 2 == 0 ? 1 : 0;
}

/* The kernel's argument of a buffer's index. Kernels that are written by hand may have no list of them. */
static const sm_argument *argument_of(const sm_kernel *kernel, uint32_t kind, uint32_t index)
{
    static const sm_argument unknown = {.size = 4, .align = 4};
    if (kernel->argument_count == 0) return &unknown;
    for (uint32_t i = 0; i < kernel->argument_count; i++)
        if (kernel->arguments[i].kind == kind && kernel->arguments[i].index == index) return &kernel->arguments[i];
    return NULL;
}

/* Elements whose alignment is smaller than 4 are seen apart; a struct is as fine as its alignment. */
static uint32_t granule_shift(const sm_argument *argument)
{
    const uint32_t align = argument->align != 0 ? argument->align : 4;
    return shift_of(align < argument->size || argument->size == 0 ? align : argument->size);
}

typedef struct use {
    sm_memory *memory;
    bool writable;
    uint32_t shift;
} use;

static use *use_of(use *uses, uint32_t *count, sm_memory *memory)
{
    for (uint32_t i = 0; i < *count; i++)
        if (uses[i].memory == memory) return &uses[i];
    uses[*count] = (use){.memory = memory, .shift = 2};
    return &uses[(*count)++];
}

static bool prepare(const use *u)
{
    if (u->memory->poisoned && !sm_shadow_written(u->memory)) return false;
    return u->writable ? sm_shadow_cells(u->memory, u->shift) : sm_shadow_marks(u->memory);
}

static int by_begin(const void *a, const void *b)
{
    const sm_range *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

/* Where two bindings begin at the same byte they become one range; where one begins inside of another, the first ends there, as
 * far as can be told. */
static void arrange(sm_check_plan *plan)
{
    qsort(plan->ranges, plan->range_count, sizeof *plan->ranges, by_begin);
    uint32_t count = 0;
    for (uint32_t i = 0; i < plan->range_count; i++) {
        sm_range *range = &plan->ranges[i], *last = count > 0 ? &plan->ranges[count - 1] : NULL;
        if (last != NULL && last->begin == range->begin) {
            if (range->size > last->size) last->size = range->size;
            continue;
        }
        plan->ranges[count++] = *range;
    }
    plan->range_count = count;
    for (uint32_t i = 0; i < count; i++) {
        sm_range *range = &plan->ranges[i];
        range->own_size = range->size;
        if (i + 1 < count && plan->ranges[i + 1].begin - range->begin < range->size)
            range->own_size = plan->ranges[i + 1].begin - range->begin;
    }
}

static void set_indices(sm_check_plan *plan, const sm_launch *job)
{
    for (uint32_t r = 0; r < plan->range_count; r++) {
        sm_range *range = &plan->ranges[r];
        bool read_only = false, writable = false;
        for (uint32_t i = 0; i < SM_BUFFERS; i++) {
            const sm_argument *argument = argument_of(job->dispatch->kernel, SM_ARGUMENT_BUFFER, i);
            if (argument == NULL || (uintptr_t)job->buffers[i] != range->begin) continue;
            if ((argument->read_only && !read_only) || (!read_only && !writable)) range->load_index = (uint8_t)i;
            if ((!argument->read_only && !writable) || (!read_only && !writable)) range->store_index = (uint8_t)i;
            read_only |= argument->read_only;
            writable |= !argument->read_only;
        }
    }
}

static uint64_t epoch_of(const sm_check_plan *plan, const struct sm_shadow *shadow)
{
    return plan->epoch > shadow->epoch ? plan->epoch : shadow->epoch;
}

static void fill_range(const sm_check_plan *plan, sm_range *range, const sm_launch *job, uint32_t index, const use *u)
{
    const sm_binding *binding = &job->dispatch->buffers[index];
    *range = (sm_range){
        .begin = (uintptr_t)job->buffers[index], .size = binding->length, .alone = job->dispatch->alone, .plain = true};
    if (u == NULL) return;
    const struct sm_shadow *shadow = u->memory->shadow;
    range->shadow = shadow;
    range->memory_offset = binding->offset;
    range->writable = u->writable;
    range->epoch = epoch_of(plan, shadow);
    range->epoch_serial = plan->epoch > shadow->epoch ? plan->epoch_serial : shadow->epoch_serial;
    range->stored_before = shadow->cells != NULL && shadow->store_epoch == range->epoch;
    range->loaded_before = shadow->marks != NULL && shadow->load_epoch == range->epoch;
    range->plain = !range->writable && range->alone && !range->stored_before && shadow->written == NULL;
}

bool sm_check_begin(sm_executor *executor)
{
    const sm_launch *job = &executor->job;
    sm_check_plan *plan = executor->plan;
    use uses[SM_BUFFERS];
    uint32_t count = 0;
    if (plan->epoch == 0) { /* nothing came before this dispatch, which has its serials already */
        sm_check_order(executor);
        plan->epoch_serial = job->first_serial;
    }
    for (uint32_t i = 0; i < SM_BUFFERS; i++) {
        const sm_argument *argument = argument_of(job->dispatch->kernel, SM_ARGUMENT_BUFFER, i);
        if (argument == NULL || job->dispatch->buffers[i].memory == NULL) continue;
        use *u = use_of(uses, &count, job->dispatch->buffers[i].memory);
        u->writable |= !argument->read_only;
        if (granule_shift(argument) < u->shift) u->shift = granule_shift(argument);
    }
    for (uint32_t i = 0; i < count; i++)
        if (!prepare(&uses[i])) return false;
    plan->range_count = 0;
    for (uint32_t i = 0; i < SM_BUFFERS; i++) {
        if (job->buffers[i] == NULL || argument_of(job->dispatch->kernel, SM_ARGUMENT_BUFFER, i) == NULL) continue;
        sm_memory *memory = job->dispatch->buffers[i].memory;
        fill_range(plan, &plan->ranges[plan->range_count++], job, i, memory != NULL ? use_of(uses, &count, memory) : NULL);
    }
    arrange(plan);
    set_indices(plan, job);
    for (uint32_t i = 0; i < count; i++) {
        struct sm_shadow *shadow = uses[i].memory->shadow;
        if (uses[i].writable)
            shadow->store_epoch = epoch_of(plan, shadow);
        else
            shadow->load_epoch = epoch_of(plan, shadow);
    }
    return true;
}

void sm_check_end(sm_executor *executor)
{
    sm_check_plan *plan = executor->plan;
    const sm_launch *job = &executor->job;
    if (plan->past_count == SM_PASTS) return;
    plan->pasts[plan->past_count++] =
        (sm_past){job->first_serial, job->first_serial + job->total, job->dispatch->kernel->name, job->image};
}

void sm_check_order(sm_executor *executor)
{
    sm_check_plan *plan = executor->plan;
    if (plan == NULL) return;
    plan->epoch = atomic_fetch_add(&next_epoch, 1);
    plan->epoch_serial = sm_executor_next_serial();
    plan->past_count = 0;
}

void sm_executor_order_memory(sm_executor *executor, sm_memory *memory)
{
    if (executor->plan == NULL || memory->shadow == NULL) return;
    memory->shadow->epoch = atomic_fetch_add(&next_epoch, 1);
    memory->shadow->epoch_serial = sm_executor_next_serial();
}

/* A worker's own copy. */
void sm_check_share(sm_worker *worker)
{
    struct sm_check *check = worker->check;
    const sm_check_plan *plan = worker->executor->plan;
    const sm_launch *job = worker->job;
    check->plan = plan;
    check->range_count = plan->range_count;
    memcpy(check->ranges, plan->ranges, plan->range_count * sizeof *plan->ranges);
    memset(check->site_range, 0, sizeof check->site_range);
    for (uint32_t i = 0; i < SM_BUFFERS; i++) {
        if (job->dispatch->threadgroup_bytes[i] == 0) continue;
        const sm_argument *argument = argument_of(job->dispatch->kernel, SM_ARGUMENT_THREADGROUP, i);
        check->slot_granule[i] = argument != NULL ? (uint8_t)granule_shift(argument) : 0;
    }
}

void sm_check_variable(sm_worker *worker, uint32_t slot, uint32_t align)
{
    if (worker->check != NULL) worker->check->slot_granule[slot] = (uint8_t)shift_of(align);
}

void sm_check_counts(sm_worker *worker, softmetal_kernel_counts *counts)
{
    struct sm_check *check = worker->check;
    if (check == NULL) return;
    for (int i = 0; i < SM_BUFFERS; i++) counts->loaded[i] += check->loaded[i], counts->stored[i] += check->stored[i];
    counts->threadgroup_loaded += check->threadgroup_loaded;
    counts->threadgroup_stored += check->threadgroup_stored;
    memset(check->loaded, 0, sizeof check->loaded);
    memset(check->stored, 0, sizeof check->stored);
    check->threadgroup_loaded = check->threadgroup_stored = 0;
}
