/* A queue's line of command buffers and the thread that executes them, in the order in which they were enqueued.
 *
 * The line outlives its queue while its thread still runs: the last reference to a queue may go away on that very thread, in a
 * completion handler. A buffer that was committed is held by the line until it has completed. */
#include "metal/commands.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define SM_STUCK_MS 2000

struct sm_line {
    atomic_int references;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    sm_command_buffer *first, **end;
    uint64_t limit, outstanding,
        waiting_for_commit; /* buffers that exist and have not completed; those of them not committed */
    uint64_t progress;      /* commits and completions so far */
    bool started, ended, busy;
    pthread_t thread;
};

static _Thread_local sm_line *own; /* the line that this thread executes */

/* False if nothing changed within this time. */
static bool wait_for_change(sm_line *line, uint32_t milliseconds)
{
    struct timespec when = sm_time_in(milliseconds);
    return pthread_cond_clockwait(&line->changed, &line->mutex, CLOCK_MONOTONIC, &when) != ETIMEDOUT;
}

/* ---- Life */

sm_line *sm_line_create(uint64_t limit)
{
    sm_line *line = sm_allocate(sizeof *line);
    if (!line) return NULL;
    line->references = 1;
    line->limit = limit;
    line->end = &line->first;
    pthread_mutex_init(&line->mutex, NULL);
    pthread_cond_init(&line->changed, NULL);
    return line;
}

void sm_line_retain(sm_line *line)
{
    atomic_fetch_add(&line->references, 1);
}

void sm_line_release(sm_line *line)
{
    if (!line || atomic_fetch_sub(&line->references, 1) != 1) return;
    pthread_cond_destroy(&line->changed);
    pthread_mutex_destroy(&line->mutex);
    free(line);
}

void sm_line_end(sm_line *line)
{
    pthread_mutex_lock(&line->mutex);
    line->ended = true;
    bool started = line->started;
    pthread_cond_broadcast(&line->changed);
    pthread_mutex_unlock(&line->mutex);
    if (started && own == line)
        pthread_detach(line->thread);
    else if (started)
        pthread_join(line->thread, NULL);
    sm_line_release(line);
}

/* ---- Completion */

static void completion_release(sm_completion *completion)
{
    if (atomic_fetch_sub(&completion->references, 1) == 1) free(completion);
}

static void call_handlers(sm_handlers *handlers, sm_command_buffer *buffer)
{
    for (size_t i = 0; i < handlers->count; i++) {
        void *pool = sm_pool_push();
        sm_block_call1(handlers->blocks[i], (id)buffer);
        sm_block_release(handlers->blocks[i]);
        sm_pool_pop(pool);
    }
    free(handlers->blocks);
    *handlers = (sm_handlers){0};
}

static double seconds(void)
{
    return (double)sm_nanoseconds() * 1e-9;
}

static void set_status(sm_line *line, sm_command_buffer *buffer, int status)
{
    pthread_mutex_lock(&line->mutex);
    atomic_store(&buffer->status, status);
    pthread_cond_broadcast(&line->changed);
    pthread_mutex_unlock(&line->mutex);
}

static void mark(sm_line *line, bool *flag)
{
    pthread_mutex_lock(&line->mutex);
    *flag = true;
    pthread_cond_broadcast(&line->changed);
    pthread_mutex_unlock(&line->mutex);
}

static void schedule(sm_line *line, sm_command_buffer *buffer)
{
    buffer->kernel_start = seconds();
    set_status(line, buffer, SM_SCHEDULED);
    call_handlers(&buffer->scheduled, buffer);
    buffer->kernel_end = seconds();
    mark(line, &buffer->completion->scheduled);
}

static void fill_error(sm_command_buffer *buffer)
{
    id info = buffer->info_count ? sm_array_create((const id *)buffer->infos, buffer->info_count) : NULL;
    buffer->error = sm_command_error_create(&buffer->outcome, info);
    sm_release(info);
}

/* Buffers are opened to the CPU and given back before anyone is told, so that handlers may look and release. */
static void complete(sm_line *line, sm_command_buffer *buffer, bool worked)
{
    for (size_t i = 0; i < buffer->storages.count; i++) {
        sm_storage *storage = buffer->storages.items[i];
        if (storage->closes) sm_memory_end_flight(&storage->memory);
    }
    if (!worked) fill_error(buffer);
    sm_command_buffer_clear(buffer);
    pthread_mutex_lock(&line->mutex);
    line->outstanding--;
    line->progress++;
    atomic_store(&buffer->status, worked ? SM_COMPLETED : SM_FAILED);
    pthread_cond_broadcast(&line->changed);
    pthread_mutex_unlock(&line->mutex);
    call_handlers(&buffer->completed, buffer);
}

static void delay(uint32_t microseconds)
{
    struct timespec left = {microseconds / 1000000, (long)(microseconds % 1000000) * 1000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) continue;
}

static void process(sm_line *line, sm_command_buffer *buffer)
{
    sm_completion *completion = buffer->completion;
    atomic_fetch_add(&completion->references, 1);
    schedule(line, buffer);
    buffer->gpu_start = seconds();
    bool worked = sm_execute(buffer);
    buffer->gpu_end = seconds();
    if (buffer->base.device->world.completion_delay_us) delay(buffer->base.device->world.completion_delay_us);
    sm_unsettle();
    complete(line, buffer, worked);
    sm_release((id)buffer);
    mark(line, &completion->done);
    completion_release(completion);
    sm_settle();
}

static sm_command_buffer *next(sm_line *line)
{
    line->busy = false;
    while (!(line->first && line->first->committed)) {
        if (line->ended) return NULL;
        pthread_cond_wait(&line->changed, &line->mutex);
    }
    line->busy = true;
    sm_command_buffer *buffer = line->first;
    line->first = buffer->next;
    if (!line->first) line->end = &line->first;
    return buffer;
}

static void *run(void *argument)
{
    sm_line *line = own = argument;
    for (;;) {
        pthread_mutex_lock(&line->mutex);
        sm_command_buffer *buffer = next(line);
        pthread_mutex_unlock(&line->mutex);
        if (!buffer) break;
        process(line, buffer);
    }
    sm_line_release(line);
    return NULL;
}

/* ---- The host's side */

/* All that the queue waits for was never committed, and nothing happens: it can only go on if another thread commits. */
static bool is_stuck(const sm_line *line, uint64_t progress)
{
    return line->progress == progress && line->outstanding == line->waiting_for_commit;
}

void sm_line_enter(sm_line *line)
{
    pthread_mutex_lock(&line->mutex);
    while (line->outstanding >= line->limit) {
        uint64_t progress = line->progress;
        if (wait_for_change(line, SM_STUCK_MS) || !is_stuck(line, progress)) continue;
        sm_misuse("MTLCommandQueue commandBuffer",
                  "the queue has its %llu uncompleted command buffers, and none of them is committed: this "
                  "would wait for ever",
                  (unsigned long long)line->limit);
        break;
    }
    line->outstanding++;
    line->waiting_for_commit++;
    pthread_mutex_unlock(&line->mutex);
}

void sm_line_leave(sm_command_buffer *buffer)
{
    sm_line *line = buffer->line;
    pthread_mutex_lock(&line->mutex);
    for (sm_command_buffer **at = &line->first; *at; at = &(*at)->next) {
        if (*at != buffer) continue;
        *at = buffer->next;
        if (!*at) line->end = at;
        break;
    }
    line->outstanding--;
    line->waiting_for_commit--;
    line->progress++;
    pthread_cond_broadcast(&line->changed);
    pthread_mutex_unlock(&line->mutex);
}

static void enqueue_locked(sm_line *line, sm_command_buffer *buffer)
{
    if (buffer->enqueued) return;
    buffer->enqueued = true;
    buffer->next = NULL;
    *line->end = buffer;
    line->end = &buffer->next;
}

void sm_line_enqueue(sm_command_buffer *buffer)
{
    pthread_mutex_lock(&buffer->line->mutex);
    enqueue_locked(buffer->line, buffer);
    atomic_store(&buffer->status, SM_ENQUEUED);
    pthread_mutex_unlock(&buffer->line->mutex);
}

static void start_thread_locked(sm_line *line)
{
    if (line->started) return;
    sm_line_retain(line);
    line->started = pthread_create(&line->thread, NULL, run, line) == 0;
    if (!line->started) sm_line_release(line);
}

/* The system has no thread left: the host's own does the work. */
static void process_here(sm_line *line)
{
    sm_line *before = own;
    own = line;
    for (;;) {
        pthread_mutex_lock(&line->mutex);
        sm_command_buffer *buffer = line->first && line->first->committed ? next(line) : NULL;
        line->busy = buffer != NULL;
        pthread_mutex_unlock(&line->mutex);
        if (!buffer) break;
        process(line, buffer);
    }
    own = before;
}

/* Each kind of fault counts every commit; the gravest that is due comes to pass. */
static void draw_fate(sm_command_buffer *buffer)
{
    static const struct {
        softmetal_fault_kind kind;
        sm_fate fate;
    } kinds[] = {
        {SOFTMETAL_FAULT_COMMAND_BUFFER, SM_FAILS},
        {SOFTMETAL_FAULT_COMMAND_BUFFER_PARTIAL, SM_FAILS_HALFWAY},
        {SOFTMETAL_FAULT_HANG, SM_HANGS},
        {SOFTMETAL_FAULT_REMOVAL, SM_REMOVES},
    };
    for (size_t i = 0; i < SM_COUNT(kinds); i++) {
        if (sm_fault(kinds[i].kind, &buffer->outcome)) buffer->fate = kinds[i].fate;
    }
}

void sm_line_commit(sm_command_buffer *buffer)
{
    sm_line *line = buffer->line;
    for (size_t i = 0; i < buffer->storages.count; i++) {
        sm_storage *storage = buffer->storages.items[i];
        if (storage->closes) sm_memory_begin_flight(&storage->memory);
    }
    sm_retain((id)buffer);
    pthread_mutex_lock(&line->mutex);
    draw_fate(buffer);
    enqueue_locked(line, buffer);
    buffer->committed = true;
    line->waiting_for_commit--;
    line->progress++;
    atomic_store(&buffer->status, SM_COMMITTED);
    start_thread_locked(line);
    bool started = line->started;
    pthread_cond_broadcast(&line->changed);
    pthread_mutex_unlock(&line->mutex);
    if (!started) process_here(line);
}

/* The line does nothing until the first in it is committed. */
static bool waits_for_commit(const sm_line *line)
{
    return !line->busy && line->first && !line->first->committed;
}

void sm_line_wait(sm_command_buffer *buffer, bool completed)
{
    sm_line *line = buffer->line;
    const char *method = completed ? "MTLCommandBuffer waitUntilCompleted" : "MTLCommandBuffer waitUntilScheduled";
    if (!buffer->committed) {
        sm_misuse(method, "command buffer '%s' was not committed: this would wait for ever",
                  sm_label_of((id)buffer, "without a label"));
        return;
    }
    if (own == line) {
        if (completed && atomic_load(&buffer->status) < SM_COMPLETED)
            sm_misuse(method, "called by the thread that completes command buffer '%s': this would wait for ever",
                      sm_label_of((id)buffer, "without a label"));
        return;
    }
    uint32_t limit = buffer->base.device->world.kernel_time_limit_ms;
    sm_completion *completion = buffer->completion;
    pthread_mutex_lock(&line->mutex);
    while (!(completed ? completion->done : completion->scheduled)) {
        if (wait_for_change(line, limit) || limit == UINT32_MAX || !waits_for_commit(line)) continue;
        sm_misuse(method, "command buffer '%s' stands behind '%s', which was enqueued and not committed within %u ms",
                  sm_label_of((id)buffer, "without a label"), sm_label_of((id)line->first, "without a label"), limit);
        break;
    }
    pthread_mutex_unlock(&line->mutex);
}
