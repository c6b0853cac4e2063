/* Waiting is done in three steps: spin for a few microseconds, which is what a step's barriers need; then give the processor away
 * again and again, so that two processes on the same cores both get on; then sleep. */
#include "backend/cpu/team.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"

#define PV_SPINS 400  /* about 5 µs */
#define PV_YIELDS 200 /* about 100 µs on an idle machine */

typedef struct pv_cpu_thread {
    pv_cpu_team *team;
    pthread_t thread;
    uint32_t worker;
} pv_cpu_thread;

/* What different threads write stands on lines of its own. */
typedef struct pv_cpu_counter {
    atomic_uint value;
    uint8_t apart[60];
} pv_cpu_counter;

struct pv_cpu_team {
    const pv_allocator *allocator;
    uint32_t workers, started;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    void (*job)(void *user, uint32_t worker);
    void *user;
    bool ending;
    uint8_t apart[64];
    pv_cpu_counter arrived;
    pv_cpu_counter passed; /* barriers */
    pv_cpu_counter jobs;   /* given out */
    pv_cpu_counter sleepers;
    pv_cpu_thread threads[];
};

static void pause_a_little(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Returns when *counter is no longer `value`. */
static void wait_for_change(pv_cpu_team *team, atomic_uint *counter, unsigned value)
{
    for (int i = 0; i < PV_SPINS; i++) {
        if (atomic_load_explicit(counter, memory_order_acquire) != value) return;
        pause_a_little();
    }
    for (int i = 0; i < PV_YIELDS; i++) {
        if (atomic_load_explicit(counter, memory_order_acquire) != value) return;
        sched_yield();
    }
    pthread_mutex_lock(&team->mutex);
    /* sequentially consistent with change(): either it sees a sleeper, or the loop sees the change */
    atomic_fetch_add(&team->sleepers.value, 1);
    while (atomic_load(counter) == value) pthread_cond_wait(&team->changed, &team->mutex);
    atomic_fetch_sub(&team->sleepers.value, 1);
    pthread_mutex_unlock(&team->mutex);
}

static void change(pv_cpu_team *team, atomic_uint *counter)
{
    atomic_fetch_add(counter, 1);
    if (atomic_load(&team->sleepers.value) == 0) return;
    pthread_mutex_lock(&team->mutex);
    pthread_cond_broadcast(&team->changed);
    pthread_mutex_unlock(&team->mutex);
}

void pv_cpu_barrier(pv_cpu_team *team)
{
    if (team->workers == 1) return;
    const unsigned passed = atomic_load_explicit(&team->passed.value, memory_order_acquire);
    if (atomic_fetch_add_explicit(&team->arrived.value, 1, memory_order_acq_rel) + 1 == team->workers) {
        atomic_store_explicit(&team->arrived.value, 0, memory_order_relaxed);
        change(team, &team->passed.value);
    } else {
        wait_for_change(team, &team->passed.value, passed);
    }
}

static void *worker_main(void *user)
{
    const pv_cpu_thread *self = user;
    pv_cpu_team *team = self->team;
    for (unsigned done = 0;; done++) {
        wait_for_change(team, &team->jobs.value, done);
        if (team->ending) return NULL;
        team->job(team->user, self->worker);
        pv_cpu_barrier(team);
    }
}

void pv_cpu_team_run(pv_cpu_team *team, void (*job)(void *user, uint32_t worker), void *user)
{
    team->job = job;
    team->user = user;
    if (team->workers > 1) change(team, &team->jobs.value);
    job(user, 0);
    pv_cpu_barrier(team);
}

pv_status pv_cpu_team_create(const pv_allocator *allocator, uint32_t workers, pv_cpu_team **out, pv_error *error)
{
    const size_t bytes = sizeof(pv_cpu_team) + workers * sizeof(pv_cpu_thread);
    pv_cpu_team *team = pv_calloc(allocator, 1, bytes);
    if (team == NULL) return pv_fail_memory(error, bytes, "the workers of the cpu backend");
    team->allocator = allocator;
    team->workers = workers;
    pthread_mutex_init(&team->mutex, NULL);
    pthread_cond_init(&team->changed, NULL);
    for (uint32_t w = 1; w < workers; w++) {
        pv_cpu_thread *thread = &team->threads[w];
        *thread = (pv_cpu_thread){.team = team, .worker = w};
        const int code = pthread_create(&thread->thread, NULL, worker_main, thread);
        if (code != 0) {
            const pv_status status = pv_fail(error, PV_INTERNAL, "starting worker %u of %u: %s", w + 1, workers, strerror(code));
            if (error != NULL) error->backend_code = code;
            pv_cpu_team_destroy(team);
            return status;
        }
        team->started = w;
    }
    *out = team;
    return PV_OK;
}

void pv_cpu_team_destroy(pv_cpu_team *team)
{
    if (team == NULL) return;
    team->ending = true;
    change(team, &team->jobs.value);
    for (uint32_t w = 1; w <= team->started; w++) pthread_join(team->threads[w].thread, NULL);
    pthread_cond_destroy(&team->changed);
    pthread_mutex_destroy(&team->mutex);
    pv_free(team->allocator, team);
}
