#include "backend/metal/watch.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/alloc.h"

#define STATUS_COMPLETED 4u

typedef struct watch_slot {
    uint32_t running; /* command buffers */
    pv_id failed;     /* the first that did: those behind it mostly say that they were ignored */
    pv_id *kept;
    size_t kept_count, kept_capacity;
} watch_slot;

struct pv_metal_watch {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    atomic_uint holders;
    pv_objc objc;           /* a copy: the device's own ends with the device */
    pv_allocator allocator; /* the C library's, for the same reason: the caller's may be gone when the last holder lets go */
    watch_slot slots[PV_METAL_QUEUE];
};

/* ---- Blocks, as the compiler lays them out ---- */

typedef struct block {
    const void *isa;
    int flags, reserved;
    void (*invoke)(struct block *block, pv_id command_buffer);
    const struct block_descriptor *descriptor;
    pv_metal_watch *watch;
    uint32_t slot;
} block;

typedef struct block_descriptor {
    unsigned long reserved, size;
    void (*copy)(block *to, const block *from);
    void (*dispose)(block *ended);
    const char *signature;
} block_descriptor;

static void command_buffer_ended(block *called, pv_id command_buffer)
{
    pv_metal_watch *watch = called->watch;
    watch_slot *slot = &watch->slots[called->slot];
    const bool failed = pv_msg_command_buffer_status(&watch->objc, command_buffer) != STATUS_COMPLETED;
    pthread_mutex_lock(&watch->lock);
    if (failed && slot->failed == NULL) slot->failed = watch->objc.retain(command_buffer);
    slot->running--;
    pthread_cond_broadcast(&watch->ended);
    pthread_mutex_unlock(&watch->lock);
}

static void hold(block *to, const block *from)
{
    (void)from;
    atomic_fetch_add(&to->watch->holders, 1);
}

static void let_go(block *ended)
{
    pv_metal_watch_drop(ended->watch);
}

/* ---- The watch ---- */

pv_metal_watch *pv_metal_watch_create(const pv_objc *objc)
{
    const pv_allocator allocator = pv_allocator_default();
    pv_metal_watch *watch = pv_calloc(&allocator, 1, sizeof *watch);
    if (watch == NULL) return NULL;
    watch->allocator = allocator;
    pthread_mutex_init(&watch->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
#ifndef __APPLE__
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC); /* CLOCK of below */
#endif
    pthread_cond_init(&watch->ended, &attributes);
    pthread_condattr_destroy(&attributes);
    atomic_init(&watch->holders, 1);
    watch->objc = *objc;
    return watch;
}

void pv_metal_watch_drop(pv_metal_watch *watch)
{
    if (watch == NULL || atomic_fetch_sub(&watch->holders, 1) > 1) return;
    for (uint32_t slot = 0; slot < PV_METAL_QUEUE; slot++) pv_metal_watch_clear(watch, slot);
    pthread_cond_destroy(&watch->ended);
    pthread_mutex_destroy(&watch->lock);
    const pv_allocator allocator = watch->allocator;
    pv_free(&allocator, watch);
}

void pv_metal_watch_add(pv_metal_watch *watch, uint32_t slot, pv_id command_buffer)
{
    enum { HELPERS = 1 << 25, SIGNATURE = 1 << 30 };
    static const block_descriptor descriptor = {0, sizeof(block), hold, let_go, "v16@?0@8"};
    block handler = {watch->objc.stack_block, HELPERS | SIGNATURE, 0, command_buffer_ended, &descriptor, watch, slot};
    pthread_mutex_lock(&watch->lock);
    watch->slots[slot].running++;
    pthread_mutex_unlock(&watch->lock);
    pv_msg_command_buffer_on_completed(&watch->objc, command_buffer, &handler); /* which copies it */
}

/* By a clock that nobody sets, and that stands while the machine sleeps: a step must not count as hung because the time of day
 * was corrected or the lid was closed. */
#ifdef __APPLE__
#define CLOCK CLOCK_UPTIME_RAW
static int wait_until(pv_metal_watch *watch, const struct timespec *begin, uint32_t timeout_ms)
{
    struct timespec now;
    clock_gettime(CLOCK, &now);
    const int64_t left =
        (int64_t)timeout_ms * 1000000 - (now.tv_sec - begin->tv_sec) * 1000000000ll - (now.tv_nsec - begin->tv_nsec);
    if (left <= 0) return ETIMEDOUT;
    const struct timespec rest = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
    return pthread_cond_timedwait_relative_np(&watch->ended, &watch->lock, &rest);
}
#else
#define CLOCK CLOCK_MONOTONIC
static int wait_until(pv_metal_watch *watch, const struct timespec *begin, uint32_t timeout_ms)
{
    struct timespec until = {.tv_sec = begin->tv_sec + timeout_ms / 1000,
                             .tv_nsec = begin->tv_nsec + (long)(timeout_ms % 1000) * 1000000};
    if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    return pthread_cond_timedwait(&watch->ended, &watch->lock, &until);
}
#endif

bool pv_metal_watch_wait(pv_metal_watch *watch, uint32_t slot, uint32_t timeout_ms)
{
    struct timespec begin;
    clock_gettime(CLOCK, &begin);
    int result = 0;
    pthread_mutex_lock(&watch->lock);
    while (watch->slots[slot].running > 0 && result == 0) {
        result =
            timeout_ms == UINT32_MAX ? pthread_cond_wait(&watch->ended, &watch->lock) : wait_until(watch, &begin, timeout_ms);
    }
    const bool ended = watch->slots[slot].running == 0;
    pthread_mutex_unlock(&watch->lock);
    return ended;
}

pv_id pv_metal_watch_failed(const pv_metal_watch *watch, uint32_t slot)
{
    return watch->slots[slot].failed;
}

/* Without memory to note it the object is left alive: better lost than used after its end. */
void pv_metal_watch_keep(pv_metal_watch *watch, uint32_t slot, pv_id object)
{
    watch_slot *of = &watch->slots[slot];
    if (!pv_grow(&watch->allocator, (void **)&of->kept, &of->kept_capacity, of->kept_count + 1, sizeof *of->kept)) return;
    of->kept[of->kept_count++] = object;
}

void pv_metal_watch_clear(pv_metal_watch *watch, uint32_t slot)
{
    watch_slot *of = &watch->slots[slot];
    for (size_t i = 0; i < of->kept_count; i++) watch->objc.release(of->kept[i]);
    if (of->failed != NULL) watch->objc.release(of->failed);
    pv_free(&watch->allocator, of->kept);
    of->failed = NULL;
    of->kept = NULL;
    of->kept_count = of->kept_capacity = 0;
}
