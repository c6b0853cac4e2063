/* One thread looks after all executors while they run something: it ends kernels that were cancelled, or that run too long.
 * Nothing in a kernel helps with it: a signal brings the worker back to where it began (trap.c). */
#include <time.h>

#include "executor/pool.h"
#include "executor/trap.h"

#define TICK_MS 50
#define IDLE_TICKS 20 /* until the thread sleeps for good */

static pthread_mutex_t life = PTHREAD_MUTEX_INITIALIZER; /* held while the thread is made, or waited for */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static sm_executor *executors;
static pthread_t thread;
static bool running, stopping;
static atomic_bool asleep;

/* Since when a worker has been at the same threadgroup, in ticks. */
static void look_at_worker(const sm_executor *executor, sm_pool_thread *slot)
{
    sm_worker *worker = slot->worker;
    if (!atomic_load(&worker->running)) {
        slot->ticks = 0;
        return;
    }
    const uint64_t progress = atomic_load(&worker->progress);
    slot->ticks = progress == slot->progress ? slot->ticks + 1 : 0;
    slot->progress = progress;
    const uint32_t limit = executor->world.kernel_time_limit_ms;
    const volatile bool *cancel = executor->job.dispatch->cancel;
    if (cancel != NULL && *cancel && slot->ticks > 0) {
        sm_trap_interrupt(worker, worker->thread, SM_END_CANCEL);
    } else if (limit != UINT32_MAX && slot->ticks * TICK_MS > limit) {
        sm_trap_interrupt(worker, worker->thread, SM_END_TIME);
    }
}

/* True if something runs. */
static bool look(void)
{
    bool active = false;
    for (sm_executor *executor = executors; executor != NULL; executor = executor->next) {
        pthread_mutex_lock(&executor->guard_lock);
        for (uint32_t i = 0; executor->active && i < executor->worker_count; i++)
            look_at_worker(executor, &executor->workers[i]);
        active |= executor->active;
        pthread_mutex_unlock(&executor->guard_lock);
    }
    return active;
}

static void *guard(void *context)
{
    (void)context;
    uint32_t idle = 0;
    pthread_mutex_lock(&lock);
    while (!stopping) {
        idle = look() ? 0 : idle + 1;
        if (idle > IDLE_TICKS) {
            atomic_store(&asleep, true);
            if (!look()) pthread_cond_wait(&wake, &lock); /* one that began before `asleep` was set is seen here */
            atomic_store(&asleep, false);
            continue;
        }
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += TICK_MS * 1000000;
        if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
        pthread_cond_timedwait(&wake, &lock, &until);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

bool sm_guard_add(sm_executor *executor)
{
    pthread_mutex_lock(&life);
    pthread_mutex_lock(&lock);
    if (!running) {
        stopping = false;
        running = sm_thread_start(&thread, guard, NULL);
    }
    const bool there = running;
    if (there) {
        executor->next = executors;
        executors = executor;
    }
    pthread_mutex_unlock(&lock);
    pthread_mutex_unlock(&life);
    return there;
}

void sm_guard_remove(sm_executor *executor)
{
    pthread_mutex_lock(&life);
    pthread_mutex_lock(&lock);
    sm_executor **link = &executors;
    while (*link != NULL && *link != executor) link = &(*link)->next;
    const bool there = *link != NULL;
    if (there) *link = executor->next;
    const bool last = there && executors == NULL;
    if (last) {
        stopping = true;
        running = false;
        pthread_cond_signal(&wake);
    }
    pthread_mutex_unlock(&lock);
    if (last) pthread_join(thread, NULL);
    pthread_mutex_unlock(&life);
}

void sm_guard_begin(sm_executor *executor)
{
    pthread_mutex_lock(&executor->guard_lock);
    executor->active = true;
    pthread_mutex_unlock(&executor->guard_lock);
    if (!atomic_load(&asleep)) return;
    pthread_mutex_lock(&lock);
    pthread_cond_signal(&wake);
    pthread_mutex_unlock(&lock);
}

void sm_guard_end(sm_executor *executor)
{
    pthread_mutex_lock(&executor->guard_lock);
    executor->active = false;
    pthread_mutex_unlock(&executor->guard_lock);
}
