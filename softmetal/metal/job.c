/* Threads that call a host's handlers, and waiting until they have let go of what they hold. */
#include "metal/metal.h"

#include <errno.h>
#include <time.h>

#define SM_SETTLE_MS 5000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static uint64_t unsettled;
static _Thread_local uint64_t own; /* of this thread */

void sm_unsettle(void)
{
    own++;
    pthread_mutex_lock(&lock);
    unsettled++;
    pthread_mutex_unlock(&lock);
}

void sm_settle(void)
{
    own--;
    pthread_mutex_lock(&lock);
    unsettled--;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* A handler that has told the host that all is done may not have returned yet. What it waits for is not known: not for ever. */
void sm_wait_settled(void)
{
    struct timespec when = sm_time_in(SM_SETTLE_MS);
    pthread_mutex_lock(&lock);
    int result = 0;
    while (unsettled > own && result != ETIMEDOUT) result = pthread_cond_clockwait(&changed, &lock, CLOCK_MONOTONIC, &when);
    pthread_mutex_unlock(&lock);
}

static void run(sm_job *job)
{
    void *pool = sm_pool_push();
    job->run(job);
    sm_pool_pop(pool);
}

static void *run_on_thread(void *argument)
{
    own = 1;
    run(argument);
    sm_settle();
    return NULL;
}

void sm_job_start(sm_job *job)
{
    pthread_t thread;
    pthread_mutex_lock(&lock);
    unsettled++;
    pthread_mutex_unlock(&lock);
    if (pthread_create(&thread, NULL, run_on_thread, job) == 0) {
        pthread_detach(thread);
        return;
    }
    own++;
    run(job);
    sm_settle();
}
