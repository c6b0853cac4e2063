#include "executor/pool.h"

#include <signal.h>

#define SPINS 500 /* looks at the others before the caller sleeps */

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    __asm__ volatile("yield");
#endif
}

/* True if there is a job to take part in. One that is over before a worker woke up is not waited for. */
static bool join(sm_executor *executor, uint64_t *seen)
{
    while (executor->generation == *seen && !executor->stopping) pthread_cond_wait(&executor->wake, &executor->lock);
    *seen = executor->generation;
    if (executor->stopping || !executor->open) return false;
    executor->busy++;
    return true;
}

static void *work(void *context)
{
    sm_pool_thread *self = context;
    sm_executor *executor = self->executor;
    uint64_t seen = self->seen;
    pthread_mutex_lock(&executor->lock);
    while (!executor->stopping) {
        if (!join(executor, &seen)) continue;
        pthread_mutex_unlock(&executor->lock);
        sm_worker_share(self->worker);
        pthread_mutex_lock(&executor->lock);
        if (--executor->busy == 0 && executor->waiting) pthread_cond_signal(&executor->done);
    }
    pthread_mutex_unlock(&executor->lock);
    return NULL;
}

bool sm_thread_start(pthread_t *thread, void *(*function)(void *), void *context)
{
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGSEGV), sigdelset(&all, SIGBUS), sigdelset(&all, SIGFPE), sigdelset(&all, SIGILL),
        sigdelset(&all, SIGTRAP), sigdelset(&all, SIGABRT);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const bool started = pthread_create(thread, NULL, function, context) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

static bool start(sm_pool_thread *self)
{
    self->seen = self->executor->generation;
    self->started = sm_thread_start(&self->thread, work, self);
    return self->started;
}

uint32_t sm_pool_begin(sm_executor *executor)
{
    pthread_mutex_lock(&executor->lock);
    while (executor->started < executor->worker_count - 1 && start(&executor->workers[executor->started + 1]))
        executor->started++;
    executor->open = true;
    executor->waiting = false;
    executor->generation++;
    pthread_cond_broadcast(&executor->wake);
    const uint32_t used = executor->started + 1;
    pthread_mutex_unlock(&executor->lock);
    return used;
}

void sm_pool_wait(sm_executor *executor)
{
    pthread_mutex_lock(&executor->lock);
    executor->open = false;
    for (int i = 0; i < SPINS && executor->busy != 0; i++) {
        pthread_mutex_unlock(&executor->lock);
        relax();
        pthread_mutex_lock(&executor->lock);
    }
    executor->waiting = true;
    while (executor->busy != 0) pthread_cond_wait(&executor->done, &executor->lock);
    pthread_mutex_unlock(&executor->lock);
}

void sm_pool_stop(sm_executor *executor)
{
    pthread_mutex_lock(&executor->lock);
    executor->stopping = true;
    pthread_cond_broadcast(&executor->wake);
    pthread_mutex_unlock(&executor->lock);
    for (uint32_t i = 1; executor->workers != NULL && i < executor->worker_count; i++)
        if (executor->workers[i].started) pthread_join(executor->workers[i].thread, NULL);
}
