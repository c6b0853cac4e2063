/* A dispatch, from its checks to its counts. Its threadgroups run on the thread that calls, and on workers that sleep in
 * between. */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "executor/group.h"
#include "executor/image.h"
#include "executor/pool.h"
#include "executor/report.h"
#include "executor/trap.h"

#define WORTH_WAKING_NS 20000 /* a dispatch that is expected to take less is not shared */
#define SM_MOST_GROUPS_LOG 32
#define SM_MOST_GROUPS ((uint64_t)1 << SM_MOST_GROUPS_LOG) /* of a dispatch: their serials stay apart (checker/shadow.h) */
#define CONSTANT_ROOM (16u << 10)                          /* bytes of one setBytes that are given a guard page */

static uint32_t processors(void)
{
    cpu_set_t set;
    const int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count > 0 ? (uint32_t)count : 1;
}

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- Life ---------------------------------------------------------------------------------------------------------- */

static bool make_workers(sm_executor *executor)
{
    if (executor->world.build == SOFTMETAL_CHECKED && !sm_check_plan_create(executor)) return false;
    executor->workers = calloc(executor->worker_count, sizeof *executor->workers);
    if (executor->workers == NULL) return false;
    for (uint32_t i = 0; i < executor->worker_count; i++) {
        executor->workers[i].worker = sm_worker_create(executor, i, &executor->world);
        executor->workers[i].executor = executor;
        if (executor->workers[i].worker == NULL) return false;
    }
    return true;
}

/* Bytes of setBytes: for each index, room that ends at a guard page. */
static bool make_constants(sm_executor *executor)
{
    const size_t stride = CONSTANT_ROOM + page_size();
    executor->constants_size = SM_BUFFERS * stride;
    executor->constants = mmap(NULL, executor->constants_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (executor->constants == MAP_FAILED) {
        executor->constants = NULL;
        return false;
    }
    for (size_t i = 0; i < SM_BUFFERS; i++)
        if (mprotect(executor->constants + i * stride, CONSTANT_ROOM, PROT_READ | PROT_WRITE) != 0) return false;
    return true;
}

sm_executor *sm_executor_create(const softmetal_world *world)
{
    sm_executor *executor = calloc(1, sizeof *executor);
    if (executor == NULL) return NULL;
    if (world != NULL) executor->world = *world;
    softmetal_world *own = &executor->world;
    own->device_name = NULL;
    if (own->max_threads == 0 || own->max_threads > SM_MAX_THREADS) own->max_threads = SM_MAX_THREADS;
    if (own->threadgroup_memory == 0) own->threadgroup_memory = 32768;
    if (own->kernel_time_limit_ms == 0) own->kernel_time_limit_ms = 60000;
    executor->worker_count = own->workers != 0 ? own->workers : processors();
    pthread_mutex_init(&executor->lock, NULL);
    pthread_mutex_init(&executor->guard_lock, NULL);
    pthread_cond_init(&executor->wake, NULL);
    pthread_cond_init(&executor->done, NULL);
    sm_traps_use();
    if (make_workers(executor) && make_constants(executor) && sm_guard_add(executor)) return executor;
    sm_executor_destroy(executor);
    return NULL;
}

void sm_executor_destroy(sm_executor *executor)
{
    if (executor == NULL) return;
    sm_guard_remove(executor);
    sm_pool_stop(executor);
    for (uint32_t i = 0; executor->workers != NULL && i < executor->worker_count; i++)
        sm_worker_destroy(executor->workers[i].worker);
    sm_traps_release();
    if (executor->constants != NULL) munmap(executor->constants, executor->constants_size);
    pthread_cond_destroy(&executor->done);
    pthread_cond_destroy(&executor->wake);
    pthread_mutex_destroy(&executor->guard_lock);
    pthread_mutex_destroy(&executor->lock);
    free(executor->plan);
    free(executor->workers);
    free(executor);
}

/* ---- Before a dispatch --------------------------------------------------------------------------------------------- */

static bool within_limits(const sm_executor *executor, const sm_dispatch *dispatch)
{
    const char *name = dispatch->kernel->name;
    const uint64_t threads = (uint64_t)dispatch->group[0] * dispatch->group[1] * dispatch->group[2];
    uint64_t bytes = 0;
    for (int i = 0; i < SM_BUFFERS; i++) bytes += dispatch->threadgroup_bytes[i];
    const bool too_wide =
        dispatch->group[0] > SM_MAX_THREADS || dispatch->group[1] > SM_MAX_THREADS || dispatch->group[2] > SM_MAX_THREADS;
    uint32_t limit = executor->world.max_threads;
    if (dispatch->kernel->max_threads != 0 && dispatch->kernel->max_threads < limit) limit = dispatch->kernel->max_threads;
    if (threads == 0 || threads > limit || too_wide) {
        sm_reportf(SOFTMETAL_VALIDATION, "%s: threadgroups of %u x %u x %u threads; from 1 to %u are possible", name,
                   dispatch->group[0], dispatch->group[1], dispatch->group[2], limit);
        return false;
    }
    uint64_t groups = 1;
    for (int i = 0; i < 3 && groups <= SM_MOST_GROUPS; i++)
        groups *= ((uint64_t)dispatch->grid[i] + dispatch->group[i] - 1) / dispatch->group[i];
    if (groups > SM_MOST_GROUPS) {
        sm_reportf(SOFTMETAL_VALIDATION, "%s: a grid of %u x %u x %u threads is more than 2^%d threadgroups", name,
                   dispatch->grid[0], dispatch->grid[1], dispatch->grid[2], SM_MOST_GROUPS_LOG);
        return false;
    }
    if (bytes > executor->world.threadgroup_memory) {
        sm_reportf(SOFTMETAL_VALIDATION, "%s: %llu bytes of threadgroup memory are set; the device has %u", name,
                   (unsigned long long)bytes, executor->world.threadgroup_memory);
        return false;
    }
    return true;
}

static void *constant(sm_executor *executor, int index, const sm_binding *binding)
{
    if (binding->bytes == NULL || binding->length > CONSTANT_ROOM) return (void *)(uintptr_t)binding->bytes;
    const size_t room = (binding->length + 15) & ~(size_t)15;
    uint8_t *copy = executor->constants + (size_t)index * (CONSTANT_ROOM + page_size()) + CONSTANT_ROOM - room;
    memcpy(copy, binding->bytes, binding->length);
    return copy;
}

static void bind(sm_executor *executor, sm_launch *job)
{
    for (int i = 0; i < SM_BUFFERS; i++) {
        const sm_binding *binding = &job->dispatch->buffers[i];
        job->buffers[i] = binding->memory != NULL ? binding->memory->device + binding->offset : constant(executor, i, binding);
    }
}

/* Other executors may run the same object at this time: it is written once. */
static void give_services(const sm_dispatch *dispatch)
{
    if (dispatch->services == NULL) return;
    const sm_services *before = __atomic_load_n(dispatch->services, __ATOMIC_RELAXED);
    if (before == &sm_executor_services) return;
    __atomic_compare_exchange_n(dispatch->services, &before, &sm_executor_services, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static sm_kernel_notes *notes_of(sm_executor *executor, const sm_kernel *kernel)
{
    sm_kernel_notes *notes = &executor->notes[(uintptr_t)kernel / sizeof *kernel % SM_NOTES];
    if (notes->kernel == kernel && notes->run == kernel->run) return notes;
    *notes =
        (sm_kernel_notes){.kernel = kernel, .run = kernel->run, .image = sm_image_of((const void *)(uintptr_t)kernel->run)};
    return notes;
}

/* ---- A worker's share ---------------------------------------------------------------------------------------------- */

#if defined(__x86_64__)
static uint64_t float_control(void)
{
    return __builtin_ia32_stmxcsr();
}
static void set_float_control(uint64_t control)
{
    __builtin_ia32_ldmxcsr((uint32_t)control);
}
/* All exceptions masked, to nearest; denormal results and operands are 0. */
static uint64_t wanted_control(bool flush)
{
    return 0x1F80u | (flush ? 0x8040u : 0);
}
#else
static uint64_t float_control(void)
{
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    return control;
}
static void set_float_control(uint64_t control)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(control));
}
static uint64_t wanted_control(bool flush)
{
    return flush ? (uint64_t)1 << 24 | (uint64_t)1 << 19 : 0;
}
#endif

/* The number of the threadgroup that is the n-th to run: a permutation of them, by cycle walking over a Feistel network. */
static uint64_t shuffled(const sm_launch *job, uint64_t n)
{
    uint32_t half = 1;
    while (((uint64_t)1 << 2 * half) < job->total) half++;
    const uint64_t mask = ((uint64_t)1 << half) - 1, key = job->world->seed ^ job->number << 32;
    do {
        uint64_t left = n >> half, right = n & mask;
        for (uint64_t round = 0; round < 4; round++) {
            const uint64_t next = left ^ (sm_mix(right ^ sm_mix(key + round)) & mask);
            left = right, right = next;
        }
        n = left << half | right;
    } while (n >= job->total);
    return n;
}

static bool cancelled(const sm_launch *job)
{
    return job->dispatch->cancel != NULL && *job->dispatch->cancel;
}

static void run_groups(sm_worker *worker)
{
    sm_launch *job = worker->job;
    while (!atomic_load_explicit(&job->stop, memory_order_relaxed)) {
        const uint64_t first = atomic_fetch_add_explicit(&job->next, job->chunk, memory_order_relaxed);
        const uint64_t end = first + job->chunk < job->total ? first + job->chunk : job->total;
        for (uint64_t i = first; i < end; i++) {
            if (cancelled(job)) worker->crash.end = SM_END_CANCEL;
            if (worker->crash.end != SM_END_NONE || !sm_group_run(worker, job->world->shuffle ? shuffled(job, i) : i)) {
                atomic_store(&job->stop, true);
                return;
            }
            atomic_fetch_add_explicit(&worker->progress, 1, memory_order_relaxed);
        }
        if (first >= job->total) return;
    }
}

void sm_worker_share(sm_worker *worker)
{
    const uint64_t before = float_control();
    worker->crash = (sm_crash){.end = SM_END_NONE};
    worker->thread = pthread_self();
    memcpy(worker->buffers, worker->job->buffers, sizeof worker->job->buffers);
#ifdef SM_TSAN
    worker->main.tsan = __tsan_get_current_fiber();
#endif
    if (!sm_traps_thread() || !sm_threadgroup_dispatch(worker)) {
        worker->crash.end = SM_END_NO_MEMORY;
        atomic_store(&worker->job->stop, true);
        return;
    }
    if (worker->check != NULL) sm_check_share(worker);
    sm_current = worker;
    set_float_control(wanted_control(worker->job->world->flush_to_zero));
    run_groups(worker);
    set_float_control(before);
    sm_current = NULL;
}

/* ---- A dispatch ---------------------------------------------------------------------------------------------------- */

static const sm_result result_of_end[] = {
    [SM_END_NONE] = SM_OK,           [SM_END_SIGNAL] = SM_TRAP,          [SM_END_TIME] = SM_DEADLOCK,
    [SM_END_CANCEL] = SM_CANCELLED,  [SM_END_BOUNDS] = SM_OUT_OF_BOUNDS, [SM_END_INVALID] = SM_INVALID,
    [SM_END_DEADLOCK] = SM_DEADLOCK, [SM_END_NO_MEMORY] = SM_NO_MEMORY,
};

/* What lies behind the end of a buffer that does not end at its guard page. */
static bool stored_behind(sm_worker *worker, int index)
{
    const sm_memory *memory = worker->job->dispatch->buffers[index].memory;
    if (memory == NULL || memory->views[0].pages == NULL) return false;
    const uint8_t *end = memory->device + memory->bytes, *guard = memory->views[0].pages + memory->mapped;
    for (const uint8_t *byte = end; byte < guard; byte++) {
        if (*byte == 0) continue;
        sm_finding finding = sm_finding_new(worker, SOFTMETAL_OUT_OF_BOUNDS);
        finding.what = SM_BEHIND_THE_END;
        finding.thread = SM_NO_LANE;
        finding.group = UINT64_MAX;
        finding.buffer = index;
        finding.offset = (int64_t)(byte - memory->device) - (int64_t)worker->job->dispatch->buffers[index].offset;
        sm_finding_add(worker, &finding);
        memset(memory->device + memory->bytes, 0, (size_t)(guard - end));
        return true;
    }
    return false;
}

static void gather(sm_worker *worker, softmetal_kernel_counts *run, sm_result *result)
{
    sm_crash_report(worker);
    sm_findings_report(worker);
    const sm_result own = result_of_end[worker->crash.end];
    if (*result == SM_OK || *result == SM_CANCELLED) *result = own != SM_OK ? own : *result;
    run->threadgroups += worker->groups_run;
    run->threads += worker->threads_run;
    run->barriers += worker->barriers;
    run->simd_operations += worker->meetings;
    sm_check_counts(worker, run);
    worker->groups_run = worker->threads_run = worker->barriers = worker->meetings = 0;
}

static sm_result finish(sm_executor *executor, sm_launch *job, uint32_t used)
{
    sm_result result = SM_OK;
    softmetal_kernel_counts run = {.kernel = job->dispatch->kernel->name, .dispatches = 1};
    bool behind = false;
    for (int i = 0; i < SM_BUFFERS; i++) behind |= stored_behind(executor->workers[0].worker, i);
    for (uint32_t i = 0; i < used; i++) gather(executor->workers[i].worker, &run, &result);
    sm_counts_add(&run);
    if (executor->plan != NULL) sm_check_end(executor);
    return behind && result == SM_OK ? SM_OUT_OF_BOUNDS : result;
}

/* Serials of threadgroups are the process's: memory may be used through several executors. */
static atomic_uint_fast64_t next_serial = 1;

static bool empty(const sm_dispatch *dispatch)
{
    return dispatch->grid[0] == 0 || dispatch->grid[1] == 0 || dispatch->grid[2] == 0;
}

sm_result sm_executor_run(sm_executor *executor, const sm_dispatch *dispatch)
{
    if (empty(dispatch)) return SM_OK;
    if (!within_limits(executor, dispatch)) return SM_INVALID;
    sm_kernel_notes *notes = notes_of(executor, dispatch->kernel);
    sm_launch *job = &executor->job;
    *job = (sm_launch){.dispatch = dispatch, .run = dispatch->kernel->run, .world = &executor->world, .image = notes->image};
    job->image_begin = notes->image != NULL ? notes->image->begin : 0;
    job->number = ++executor->dispatches;
    job->total = 1;
    for (int i = 0; i < 3; i++) {
        job->groups[i] = (uint32_t)(((uint64_t)dispatch->grid[i] + dispatch->group[i] - 1) / dispatch->group[i]);
        job->total *= job->groups[i];
    }
    job->first_serial = atomic_fetch_add(&next_serial, job->total);
    const uint64_t shares = job->total / (executor->worker_count * 16u);
    job->chunk = shares < 1 ? 1 : shares > 64 ? 64 : shares;
    bind(executor, job);
    if (executor->plan != NULL && !sm_check_begin(executor)) return SM_NO_MEMORY;
    give_services(dispatch);
    for (uint32_t i = 0; i < executor->worker_count; i++) {
        executor->workers[i].worker->job = job;
        executor->workers[i].worker->crash.end = SM_END_NONE;
        atomic_store_explicit(&executor->workers[i].worker->interrupt, SM_END_NONE, memory_order_relaxed);
    }

    sm_traps_look();
    sm_guard_begin(executor);
    const uint64_t begin = now_ns();
    const bool share = job->total > 1 && executor->worker_count > 1 && notes->ns_per_group * job->total >= WORTH_WAKING_NS;
    const uint32_t used = share ? sm_pool_begin(executor) : 1;
    sm_worker_share(executor->workers[0].worker);
    if (used > 1) sm_pool_wait(executor);
    sm_guard_end(executor);
    const uint64_t taken = (now_ns() - begin) * used;
    notes->ns_per_group = taken / job->total + 1;
    return finish(executor, job, used);
}

uint64_t sm_executor_next_serial(void)
{
    return atomic_load(&next_serial);
}

void sm_executor_order(sm_executor *executor)
{
    sm_check_order(executor);
}
