/* The memory of a worker: lanes and stacks in one region. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "executor/group.h"

#define STACK_SIZE (128u << 10)
#define GUARD_SIZE (20u << 10)
#define STACKS_AT_ONCE 32

static size_t round_up(size_t size, size_t unit)
{
    return (size + unit - 1) / unit * unit;
}

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t stack_size(void)
{
    return round_up(STACK_SIZE, page_size());
}

static size_t stack_stride(void)
{
    return stack_size() + round_up(GUARD_SIZE, page_size());
}

/* Lanes, and all else that kernels may read, at the region's beginning. */
typedef struct head {
    sm_lane lanes[SM_MAX_THREADS];
    void *buffers[SM_BUFFERS], *threadgroup[SM_BUFFERS];
    sm_simdgroup simdgroups[SM_SIMDGROUPS];
    uint16_t known[SM_SIMDGROUPS][SM_LANES][SM_LANES];
} head;

static bool map_region(sm_worker *worker)
{
    const size_t begin = round_up(sizeof(head), page_size());
    worker->region_size = begin + SM_MAX_THREADS * stack_stride();
    worker->region = mmap(NULL, worker->region_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (worker->region == MAP_FAILED) {
        worker->region = NULL;
        return false;
    }
    if (mprotect(worker->region, begin, PROT_READ | PROT_WRITE) != 0) return false;
    head *top = (head *)worker->region;
    worker->lanes = top->lanes;
    worker->buffers = top->buffers;
    worker->threadgroup = top->threadgroup;
    worker->simdgroups = top->simdgroups;
    for (uint32_t i = 0; i < SM_SIMDGROUPS; i++)
        top->simdgroups[i].known = top->known[i], top->simdgroups[i].first = i * SM_LANES;
    worker->stacks = worker->region + begin;
    return true;
}

/* Each stack lies above its guard. */
static uint8_t *stack_of(const sm_worker *worker, uint32_t fiber)
{
    return worker->stacks + fiber * stack_stride() + (stack_stride() - stack_size());
}

sm_worker *sm_worker_create(sm_executor *executor, uint32_t number, const softmetal_world *world)
{
    sm_worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL) return NULL;
    worker->executor = executor;
    worker->number = number;
    worker->fibers = calloc(SM_MAX_THREADS, sizeof *worker->fibers);
    const bool made = worker->fibers != NULL && map_region(worker) &&
                      sm_threadgroup_create(worker, world->threadgroup_memory) &&
                      (world->build != SOFTMETAL_CHECKED || sm_check_create(worker));
    if (made) return worker;
    sm_worker_destroy(worker);
    return NULL;
}

void sm_worker_destroy(sm_worker *worker)
{
    if (worker == NULL) return;
    if (worker->region != NULL) sm_fibers_forget(worker);
    sm_check_destroy(worker);
    sm_threadgroup_destroy(worker);
    if (worker->region != NULL) munmap(worker->region, worker->region_size);
    free(worker->fibers);
    free(worker);
}

static bool open_stacks(sm_worker *worker)
{
    for (int i = 0; i < STACKS_AT_ONCE; i++) {
        if (mprotect(stack_of(worker, worker->stacks_open), stack_size(), PROT_READ | PROT_WRITE) != 0) return i > 0;
        worker->stacks_open++;
    }
    return true;
}

/* Stacks begin at different places of their pages: at the same, the same few sets of the cache would hold all that is on their
 * tops. */
static size_t colour(uint32_t fiber)
{
    return fiber % SM_LANES * 128u + fiber / SM_LANES % 2 * 64u;
}

sm_fiber *sm_fiber_idle(sm_worker *worker)
{
    if (worker->idle_count > 0) return worker->idle[--worker->idle_count];
    if (worker->fibers_made == worker->stacks_open && (worker->stacks_open == SM_MAX_THREADS || !open_stacks(worker)))
        return NULL;
    const uint32_t number = worker->fibers_made++;
    sm_fiber *fiber = &worker->fibers[number];
    fiber->sp = sm_fiber_prepare(stack_of(worker, number) + stack_size() - colour(number), sm_fiber_main);
#ifdef SM_ASAN
    fiber->fake = NULL, fiber->bottom = stack_of(worker, number), fiber->size = stack_size();
#endif
#ifdef SM_TSAN
    if (fiber->tsan == NULL) fiber->tsan = __tsan_create_fiber(0);
#endif
    return fiber;
}

void sm_fibers_forget(sm_worker *worker)
{
    for (uint32_t i = 0; i < worker->fibers_made; i++) {
#ifdef SM_ASAN
        __asan_unpoison_memory_region(stack_of(worker, i), stack_size());
#endif
#ifdef SM_TSAN
        if (worker->fibers[i].tsan != NULL) __tsan_destroy_fiber(worker->fibers[i].tsan);
        worker->fibers[i].tsan = NULL;
#endif
    }
    memset(worker->lane_fiber, 0, sizeof worker->lane_fiber);
    worker->fibers_made = worker->idle_count = 0;
}

bool sm_worker_overflowed(const sm_worker *worker, uintptr_t address)
{
    const uintptr_t first = (uintptr_t)worker->stacks;
    if (address < first || address >= (uintptr_t)worker->region + worker->region_size) return false;
    return (address - first) % stack_stride() < stack_stride() - stack_size();
}
