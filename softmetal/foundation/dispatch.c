/* What hosts use of libdispatch: data, semaphores, time, and queues that run blocks on threads of their own. */
#include "foundation/dispatch.h"
#include "foundation/data.h"
#include "objc/memory.h"
#include "objc/runtime.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void dispatch_retain(id object)
{
    sm_retain(object);
}

void dispatch_release(id object)
{
    sm_release(object);
}

/* ---- Data */

/* DISPATCH_DATA_DESTRUCTOR_FREE: told by its address. */
static char free_marker;

const void *const _dispatch_data_destructor_free = &free_marker;

static sm_class dispatch_data_class = {.name = "OS_dispatch_data", .super = &sm_data_class, .size = sizeof(sm_data)};
SM_REGISTER_AT_LOAD(dispatch_data_class)

/* Without a destructor the bytes are copied; with one they are the data's until it ends. The queue on which it would be called
 * is not looked at: it is called where the data ends. */
id dispatch_data_create(const void *buffer, size_t size, id queue, void *destructor)
{
    (void)queue;
    sm_data *data = (sm_data *)sm_new(&dispatch_data_class);
    if (!data) return NULL;
    bool is_block = destructor && destructor != &free_marker;
    data->length = size;
    data->bytes = destructor ? (void *)buffer : sm_copy_bytes(buffer, size);
    data->borrowed = is_block;
    if (is_block) data->destructor = sm_block_copy(destructor);
    if ((data->bytes || size == 0) && (data->destructor || !is_block)) return &data->object;
    sm_release(&data->object);
    return NULL;
}

size_t dispatch_data_get_size(id data)
{
    return sm_data_length(data);
}

id dispatch_data_create_map(id data, const void **buffer, size_t *size)
{
    if (buffer) *buffer = sm_data_bytes(data);
    if (size) *size = sm_data_length(data);
    return sm_retain(data);
}

/* ---- Time: nanoseconds of the monotonic clock */

static uint64_t now(void)
{
    struct timespec time_now = {0, 0};
    clock_gettime(CLOCK_MONOTONIC, &time_now);
    return (uint64_t)time_now.tv_sec * 1000000000u + (uint64_t)time_now.tv_nsec;
}

dispatch_time_t dispatch_time(dispatch_time_t when, int64_t nanoseconds)
{
    if (when == DISPATCH_TIME_FOREVER) return when;
    uint64_t base = when == 0 ? now() : when, result;
    if (nanoseconds < 0) return base > (uint64_t)-nanoseconds ? base - (uint64_t)-nanoseconds : 1;
    return __builtin_add_overflow(base, (uint64_t)nanoseconds, &result) ? DISPATCH_TIME_FOREVER : result;
}

/* ---- Semaphores */

typedef struct sm_semaphore {
    sm_object object;
    pthread_mutex_t lock;
    pthread_cond_t raised;
    long value;
} sm_semaphore;

static void semaphore_dealloc(id self)
{
    pthread_mutex_destroy(&((sm_semaphore *)self)->lock);
    pthread_cond_destroy(&((sm_semaphore *)self)->raised);
}

static sm_class semaphore_class = {.name = "OS_dispatch_semaphore", .size = sizeof(sm_semaphore), .dealloc = semaphore_dealloc};
SM_REGISTER_AT_LOAD(semaphore_class)

static void make_monotonic(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

id dispatch_semaphore_create(long value)
{
    sm_semaphore *semaphore = value >= 0 ? (sm_semaphore *)sm_new(&semaphore_class) : NULL;
    if (!semaphore) return NULL;
    pthread_mutex_init(&semaphore->lock, NULL);
    make_monotonic(&semaphore->raised);
    semaphore->value = value;
    return &semaphore->object;
}

static bool wait_until(sm_semaphore *semaphore, dispatch_time_t time)
{
    struct timespec until = {(time_t)(time / 1000000000u), (long)(time % 1000000000u)};
    if (time == DISPATCH_TIME_FOREVER) return pthread_cond_wait(&semaphore->raised, &semaphore->lock) == 0;
    return pthread_cond_timedwait(&semaphore->raised, &semaphore->lock, &until) != ETIMEDOUT;
}

/* 0, or not if the time ran out; DISPATCH_TIME_NOW, 0, never waits. */
long dispatch_semaphore_wait(id object, dispatch_time_t timeout)
{
    sm_semaphore *semaphore = (sm_semaphore *)object;
    bool in_time = timeout != 0;
    pthread_mutex_lock(&semaphore->lock);
    while (semaphore->value == 0 && in_time) in_time = wait_until(semaphore, timeout);
    bool taken = semaphore->value > 0;
    if (taken) semaphore->value--;
    pthread_mutex_unlock(&semaphore->lock);
    return taken ? 0 : 1;
}

long dispatch_semaphore_signal(id object)
{
    sm_semaphore *semaphore = (sm_semaphore *)object;
    pthread_mutex_lock(&semaphore->lock);
    semaphore->value++;
    pthread_cond_signal(&semaphore->raised);
    pthread_mutex_unlock(&semaphore->lock);
    return 0;
}

/* ---- Queues. A thread is started when there is work and not yet `width` of them, and leaves when there is none. */

typedef struct sm_work {
    struct sm_work *next;
    dispatch_function_t function;
    void *context;
} sm_work;

typedef struct sm_queue {
    sm_object object;
    id label; /* NSString, or NULL */
    pthread_mutex_t lock;
    sm_work *first, **last;
    unsigned width, threads; /* may run at once, do run */
} sm_queue;

#define SM_GLOBAL_WIDTH 16

static void queue_dealloc(id self)
{
    sm_queue *queue = (sm_queue *)self;
    pthread_mutex_destroy(&queue->lock);
    sm_release(queue->label);
}

static sm_class queue_class = {.name = "OS_dispatch_queue", .size = sizeof(sm_queue), .dealloc = queue_dealloc};
SM_REGISTER_AT_LOAD(queue_class)

static id create_queue(const char *label, unsigned width)
{
    sm_queue *queue = (sm_queue *)sm_new(&queue_class);
    if (!queue) return NULL;
    pthread_mutex_init(&queue->lock, NULL);
    queue->label = label ? sm_string_create(label) : NULL;
    queue->last = &queue->first;
    queue->width = width;
    return &queue->object;
}

/* Attributes are not looked at: every queue made here is serial. */
id dispatch_queue_create(const char *label, id attributes)
{
    (void)attributes;
    return create_queue(label, 1);
}

static id global_queue;
static pthread_once_t global_once = PTHREAD_ONCE_INIT;

static void make_global_queue(void)
{
    global_queue = sm_make_immortal(create_queue("com.apple.root.default-qos", SM_GLOBAL_WIDTH));
    if (global_queue) sm_make_immortal(((sm_queue *)global_queue)->label);
}

/* One for all priorities. */
id dispatch_get_global_queue(long priority, unsigned long flags)
{
    (void)priority, (void)flags;
    pthread_once(&global_once, make_global_queue);
    return global_queue;
}

const char *dispatch_queue_get_label(id queue)
{
    const char *label = queue ? sm_string_utf8(((sm_queue *)queue)->label) : NULL;
    return label ? label : "";
}

/* The next piece of work; without one, the thread is no longer counted. */
static sm_work *take(sm_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    sm_work *work = queue->first;
    if (work) {
        queue->first = work->next;
        if (!queue->first) queue->last = &queue->first;
    } else {
        queue->threads--;
    }
    pthread_mutex_unlock(&queue->lock);
    return work;
}

static void *run_queue(void *context)
{
    sm_queue *queue = context;
    sm_work *work;
    while ((work = take(queue))) {
        void *pool = sm_pool_push();
        work->function(work->context);
        sm_pool_pop(pool);
        free(work);
    }
    sm_release(&queue->object);
    return NULL;
}

/* The thread holds a reference to the queue, so that a host may release a queue that has work. */
static bool start_thread(sm_queue *queue)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sm_retain(&queue->object);
    bool started = pthread_create(&thread, &attributes, run_queue, queue) == 0;
    if (!started) sm_release(&queue->object);
    pthread_attr_destroy(&attributes);
    return started;
}

/* Adds the work, and says whether a thread has to be started for it. */
static bool put(sm_queue *queue, sm_work *work)
{
    pthread_mutex_lock(&queue->lock);
    *queue->last = work;
    queue->last = &work->next;
    bool start = queue->threads < queue->width;
    queue->threads += start;
    pthread_mutex_unlock(&queue->lock);
    return start;
}

void dispatch_async_f(id object, void *context, dispatch_function_t function)
{
    sm_queue *queue = (sm_queue *)object;
    sm_work *work = sm_allocate(sizeof *work);
    if (!work) {
        function(context); /* late is better than never: there is no way to refuse */
        return;
    }
    work->function = function;
    work->context = context;
    if (put(queue, work) && !start_thread(queue)) {
        sm_retain(object);
        run_queue(queue);
    }
}

static void call_and_release(void *block)
{
    sm_block_call0(block);
    sm_block_release(block);
}

void dispatch_async(id queue, void *block)
{
    void *copy = sm_block_copy(block);
    if (copy) dispatch_async_f(queue, copy, call_and_release);
}

typedef struct sm_sync {
    dispatch_function_t function;
    void *context;
    sem_t done;
} sm_sync;

static void run_sync(void *context)
{
    sm_sync *sync = context;
    sync->function(sync->context);
    sem_post(&sync->done);
}

void dispatch_sync_f(id queue, void *context, dispatch_function_t function)
{
    sm_sync sync = {.function = function, .context = context};
    sem_init(&sync.done, 0, 0);
    dispatch_async_f(queue, &sync, run_sync);
    while (sem_wait(&sync.done) != 0) continue;
    sem_destroy(&sync.done);
}

static void call(void *block)
{
    sm_block_call0(block);
}

void dispatch_sync(id queue, void *block)
{
    dispatch_sync_f(queue, block, call);
}
