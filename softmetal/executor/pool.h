/* An executor, and its workers' threads. */
#ifndef SOFTMETAL_EXECUTOR_POOL_H
#define SOFTMETAL_EXECUTOR_POOL_H

#include "executor/image.h"
#include "executor/worker.h"

#define SM_NOTES 64

/* What is remembered of a kernel from one dispatch to the next. */
typedef struct sm_kernel_notes {
    const sm_kernel *kernel;
    void (*run)(const sm_lane *lane);
    const sm_image *image;
    uint64_t ns_per_group; /* of one worker; 0: not known */
} sm_kernel_notes;

typedef struct sm_pool_thread {
    sm_executor *executor;
    sm_worker *worker;
    pthread_t thread;
    uint64_t seen; /* the generation when it was started */
    uint64_t progress, ticks; /* the guard's */
    bool started;
} sm_pool_thread;

struct sm_executor {
    softmetal_world world;
    sm_pool_thread *workers; /* the first has no thread: it is the caller */
    uint32_t worker_count, started;
    sm_launch job;
    uint64_t dispatches;
    sm_kernel_notes notes[SM_NOTES];
    struct sm_check_plan *plan; /* the checker's; NULL in plain worlds */
    uint8_t *constants;
    size_t constants_size;
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    uint64_t generation;   /* of jobs that were shared */
    uint32_t busy;         /* workers that take part in the job, beside the caller */
    bool open;             /* for more of them */
    bool waiting, stopping;
    /* The guard's. */
    pthread_mutex_t guard_lock;
    bool active;
    sm_executor *next;
};

/* A thread that is not disturbed by the host's signals. */
bool sm_thread_start(pthread_t *thread, void *(*function)(void *), void *context);

/* Wakes the workers for executor->job; the threads are made when first needed. Returns how many workers take part, the caller's included. */
uint32_t sm_pool_begin(sm_executor *executor);
void sm_pool_wait(sm_executor *executor);
void sm_pool_stop(sm_executor *executor);

/* executor.c: runs threadgroups of worker->job on this thread until there are none left. */
void sm_worker_share(sm_worker *worker);

#endif
