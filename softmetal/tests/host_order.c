/* Order: of command buffers in a queue, of queues by events, of dispatches by encoders and barriers; and who is told when. */
#include "host_fixture.h"

#include <pthread.h>
#include <semaphore.h>
#include <time.h>

#define LOG_BYTES 65536

static void note(fixture *f, id encoder, id log, uint32_t value)
{
    set_pipeline(encoder, kernel(f, NOTE));
    set_buffer(encoder, log, 0, 0);
    set_bytes(encoder, &value, sizeof value, 1);
    dispatch_threads(encoder, size1(1), size1(1));
}

static void note_in(fixture *f, id buffer, id log, uint32_t value)
{
    id encoder = get(buffer, "computeCommandEncoder");
    note(f, encoder, log, value);
    end(encoder);
}

/* 1, 2, 3 … count */
static void assert_in_order(id log, uint32_t count)
{
    const uint32_t *notes = contents(log);
    assert_int_equal(notes[0], count);
    for (uint32_t i = 1; i <= count; i++) assert_int_equal(notes[i], i);
}

/* ---- Queues */

static void a_thousand_command_buffers(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id log = new_buffer(f.device, LOG_BYTES, SHARED), last = NULL;
    for (uint32_t i = 1; i <= 1000; i++) {
        void *pool = host.push_pool();
        id buffer = get(f.queue, "commandBuffer");
        note_in(&f, buffer, log, i);
        call(buffer, "commit");
        release(last);
        last = get(buffer, "retain");
        host.pop_pool(pool);
    }
    call(last, "waitUntilCompleted");
    release(last);
    assert_in_order(log, 1000);
    softmetal_counts counts;
    host.get_counts(&counts);
    assert_int_equal(counts.command_buffers, 1000);
    assert_int_equal(counts.dispatches, 1000);
    release(log);
    assert_no_reports();
    close_fixture(&f);
}

static void described_queue(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id descriptor = new_of("MTLCommandQueueDescriptor");
    assert_int_equal(number(descriptor, "maxCommandBufferCount"), 64);
    set_number(descriptor, "setMaxCommandBufferCount:", 1);
    id queue = SEND(id, (id), f.device, "newCommandQueueWithDescriptor:", descriptor);
    label(queue, "one at a time");
    assert_string_equal(text_of(get(queue, "label")), "one at a time");
    for (int i = 0; i < 10; i++) {
        void *pool = host.push_pool();
        id buffer = get(queue, "commandBuffer"); /* waits for the one before */
        assert_ptr_equal(get(buffer, "commandQueue"), queue);
        assert_true(test(buffer, "retainedReferences"));
        call(buffer, "commit");
        host.pop_pool(pool);
    }
    finish(get(queue, "commandBuffer"));
    release(queue);
    release(descriptor);
    assert_no_reports();
    host.pop_pool(f.pool);
    f.pool = host.push_pool();
    close_fixture(&f);
}

static void enqueued_places(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id log = new_buffer(f.device, LOG_BYTES, SHARED), buffers[3];
    for (int i = 0; i < 3; i++) buffers[i] = get(f.queue, "commandBuffer");
    assert_int_equal(number(buffers[0], "status"), 0);
    call(buffers[0], "enqueue");
    call(buffers[1], "enqueue");
    assert_int_equal(number(buffers[0], "status"), 1);
    for (uint32_t i = 3; i >= 1; i--) {
        note_in(&f, buffers[i - 1], log, i);
        call(buffers[i - 1], "commit");
    }
    call(buffers[2], "waitUntilCompleted");
    assert_in_order(log, 3);
    release(log);
    assert_no_reports();
    close_fixture(&f);
}

typedef struct told {
    pthread_mutex_t mutex;
    uint32_t order[64], count;
    bool other_thread;
    pthread_t host_thread;
    sem_t done;
} told;

typedef struct teller {
    told *to;
    uint32_t number;
} teller;

static void on_told(block *self, id buffer)
{
    (void)buffer;
    teller *is = self->context;
    pthread_mutex_lock(&is->to->mutex);
    is->to->order[is->to->count++] = is->number;
    is->to->other_thread = !pthread_equal(pthread_self(), is->to->host_thread);
    pthread_mutex_unlock(&is->to->mutex);
    sem_post(&is->to->done);
}

static void handlers_in_order(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    told all = {.mutex = PTHREAD_MUTEX_INITIALIZER, .host_thread = pthread_self()};
    sem_init(&all.done, 0, 0);
    teller tellers[12];
    id last = NULL;
    for (uint32_t i = 0; i < 12; i += 3) {
        id buffer = last = get(f.queue, "commandBuffer");
        for (uint32_t k = 0; k < 3; k++) {
            tellers[i + k] = (teller){&all, i + k};
            block handler = BLOCK(on_told, &tellers[i + k]);
            SEND(void, (block *), buffer, k == 0 ? "addScheduledHandler:" : "addCompletedHandler:", &handler);
            memset(&handler, 0xEE, sizeof handler); /* the buffer has a copy */
        }
        call(buffer, "commit");
    }
    call(last, "waitUntilCompleted");
    assert_int_equal(all.count, 12);
    for (uint32_t i = 0; i < 12; i++) assert_int_equal(all.order[i], i);
    assert_true(all.other_thread);
    sem_destroy(&all.done);
    assert_no_reports();
    close_fixture(&f);
}

/* A host that goes on when a handler tells it may release everything at once. */
static void told_by_the_handler_alone(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        fixture f = open_fixture(NULL);
        told all = {.mutex = PTHREAD_MUTEX_INITIALIZER, .host_thread = pthread_self()};
        sem_init(&all.done, 0, 0);
        teller one = {&all, 1};
        id log = new_buffer(f.device, 4096, SHARED), buffer = get(f.queue, "commandBuffer");
        note_in(&f, buffer, log, 1);
        block handler = BLOCK(on_told, &one);
        SEND(void, (block *), buffer, "addCompletedHandler:", &handler);
        call(buffer, "commit");
        while (sem_wait(&all.done) != 0) continue;
        assert_in_order(log, 1);
        release(log);
        sem_destroy(&all.done);
        close_fixture(&f);
    }
    assert_no_reports();
}

static void completion_is_delayed(void **state)
{
    (void)state;
    softmetal_world world = {.completion_delay_us = 60000};
    fixture f = open_fixture(&world);
    struct timespec before, after;
    id buffer = get(f.queue, "commandBuffer");
    clock_gettime(CLOCK_MONOTONIC, &before);
    finish(buffer);
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_true((after.tv_sec - before.tv_sec) * 1000000 + (after.tv_nsec - before.tv_nsec) / 1000 >= 60000);
    close_fixture(&f);
}

/* ---- Events */

static void event(id buffer, const char *method, id of, uint64_t value)
{
    SEND(void, (id, uint64_t), buffer, method, of, value);
}

static void events_between_queues(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; shared++) {
        fixture f = open_fixture(NULL);
        id log = new_buffer(f.device, LOG_BYTES, SHARED), other = get(f.device, "newCommandQueue");
        id one = get(f.device, shared ? "newSharedEvent" : "newEvent");
        id late = get(f.queue, "commandBuffer"), early = get(other, "commandBuffer");
        event(late, "encodeWaitForEvent:value:", one, 1);
        note_in(&f, late, log, 2);
        event(late, "encodeSignalEvent:value:", one, 2);
        call(late, "commit");
        call(late, "waitUntilScheduled");
        note_in(&f, early, log, 1);
        event(early, "encodeSignalEvent:value:", one, 1);
        event(early, "encodeWaitForEvent:value:", one, 2);
        note_in(&f, early, log, 3);
        finish(early);
        call(late, "waitUntilCompleted");
        assert_in_order(log, 3);
        release(one);
        release(other);
        release(log);
        assert_no_reports();
        close_fixture(&f);
    }
}

static void shared_events_and_the_cpu(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id log = new_buffer(f.device, LOG_BYTES, SHARED), one = get(f.device, "newSharedEvent"),
       buffer = get(f.queue, "commandBuffer");
    label(one, "one");
    assert_int_equal(number(one, "signaledValue"), 0);
    assert_false(SEND(BOOL, (uint64_t, uint64_t), one, "waitUntilSignaledValue:timeoutMS:", 1, 20));
    event(buffer, "encodeWaitForEvent:value:", one, 4);
    note_in(&f, buffer, log, 1);
    event(buffer, "encodeSignalEvent:value:", one, 5);
    call(buffer, "commit");
    call(buffer, "waitUntilScheduled");
    assert_int_equal(number(buffer, "status"), 3);
    set_number(one, "setSignaledValue:", 3);
    assert_int_equal(number(buffer, "status"), 3);
    set_number(one, "setSignaledValue:", 4);
    assert_true(SEND(BOOL, (uint64_t, uint64_t), one, "waitUntilSignaledValue:timeoutMS:", 5, 60000));
    call(buffer, "waitUntilCompleted");
    assert_in_order(log, 1);
    assert_int_equal(number(one, "signaledValue"), 5);
    assert_no_reports();
    set_number(one, "setSignaledValue:", 2);
    assert_reported(SOFTMETAL_VALIDATION, "event 'one' has the value 5 and is set to 2; values only grow");
    assert_int_equal(number(one, "signaledValue"), 5);
    release(one);
    release(log);
    close_fixture(&f);
}

typedef struct notice {
    sem_t told;
    uint64_t value;
    id event;
} notice;

static void on_notice(block *self, id event_told, uint64_t value)
{
    notice *is = self->context;
    is->event = event_told;
    is->value = value;
    sem_post(&is->told);
}

static void listeners(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id one = get(f.device, "newSharedEvent"), listener = new_of("MTLSharedEventListener"),
       buffer = get(f.queue, "commandBuffer");
    notice first = {.value = 0}, never = {.value = 0}, at_once = {.value = 0};
    sem_init(&first.told, 0, 0);
    sem_init(&never.told, 0, 0);
    sem_init(&at_once.told, 0, 0);
    block blocks[] = {BLOCK(on_notice, &first), BLOCK(on_notice, &never), BLOCK(on_notice, &at_once)};
    SEND(void, (id, uint64_t, block *), one, "notifyListener:atValue:block:", listener, 7, &blocks[0]);
    SEND(void, (id, uint64_t, block *), one, "notifyListener:atValue:block:", listener, 9, &blocks[1]);
    event(buffer, "encodeSignalEvent:value:", one, 8);
    finish(buffer);
    while (sem_wait(&first.told) != 0) continue;
    assert_ptr_equal(first.event, one);
    assert_int_equal(first.value, 7);
    SEND(void, (id, uint64_t, block *), one, "notifyListener:atValue:block:", listener, 2, &blocks[2]);
    while (sem_wait(&at_once.told) != 0) continue;
    assert_int_equal(at_once.value, 2);
    assert_int_not_equal(sem_trywait(&never.told), 0);
    release(one);
    release(listener);
    assert_no_reports();
    close_fixture(&f);
}

/* What can never come is not waited for for ever. */
static void an_event_that_nobody_signals(void **state)
{
    (void)state;
    softmetal_world world = {.kernel_time_limit_ms = 100};
    fixture f = open_fixture(&world);
    id event = get(f.device, "newEvent"), log = new_buffer(f.device, LOG_BYTES, SHARED);
    label(event, "never");
    id first = get(f.queue, "commandBuffer"), second = get(f.queue, "commandBuffer");
    note_in(&f, first, log, 1);
    SEND(void, (id, uint64_t), first, "encodeSignalEvent:value:", event, 2);
    SEND(void, (id, uint64_t), first, "encodeWaitForEvent:value:", event, 3);
    note_in(&f, first, log, 99);
    note_in(&f, second, log, 2);
    call(first, "commit");
    finish(second);
    assert_int_equal(number(first, "status"), STATUS_ERROR);
    assert_int_equal(error_code(get(first, "error")), 2);
    assert_int_equal(number(second, "status"), STATUS_COMPLETED);
    assert_in_order(log, 2);
    assert_reported(SOFTMETAL_VALIDATION, "event 'never' stayed at 2 for 100 ms, and 3 is waited for");
    release(event);
    release(log);
    close_fixture(&f);
}

static void a_buffer_in_front_that_is_not_committed(void **state)
{
    (void)state;
    softmetal_world world = {.kernel_time_limit_ms = 100};
    fixture f = open_fixture(&world);
    id log = new_buffer(f.device, LOG_BYTES, SHARED), first = get(f.queue, "commandBuffer"), second = get(f.queue, "commandBuffer");
    label(first, "in front");
    note_in(&f, first, log, 1);
    note_in(&f, second, log, 2);
    call(first, "enqueue");
    call(second, "enqueue");
    finish(second);
    assert_int_equal(number(second, "status"), 2);
    assert_reported(SOFTMETAL_VALIDATION, "stands behind 'in front', which was enqueued and not committed within 100 ms");
    call(first, "commit");
    call(second, "waitUntilCompleted");
    assert_int_equal(number(second, "status"), STATUS_COMPLETED);
    assert_in_order(log, 2);
    release(log);
    close_fixture(&f);
}

static void fences(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id log = new_buffer(f.device, LOG_BYTES, SHARED), fence = get(f.device, "newFence"), buffer = get(f.queue, "commandBuffer");
    id first = get(buffer, "computeCommandEncoder");
    note(&f, first, log, 1);
    set_object(first, "updateFence:", fence);
    end(first);
    id second = get(buffer, "blitCommandEncoder");
    set_object(second, "waitForFence:", fence);
    SEND(void, (id, NSUInteger, id, NSUInteger, NSUInteger), second,
         "copyFromBuffer:sourceOffset:toBuffer:destinationOffset:size:", log, 4, log, 8, 4);
    SEND(void, (id, NSRange, uint8_t), second, "fillBuffer:range:value:", log, ((NSRange){12, 8}), 0x11);
    set_object(second, "updateFence:", fence);
    end(second);
    id third = get(buffer, "computeCommandEncoder");
    set_object(third, "waitForFence:", fence);
    note(&f, third, log, 2);
    end(third);
    finish(buffer);
    const uint32_t *notes = contents(log), wanted[] = {2, 1, 2, 0x11111111, 0x11111111, 0};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) assert_int_equal(notes[i], wanted[i]);
    release(fence);
    release(log);
    assert_no_reports();
    close_fixture(&f);
}

/* ---- Dispatches */

typedef enum order { SERIAL, CONCURRENT, BARRIER_SCOPE, BARRIER_RESOURCE, BARRIER_TEXTURES, ENCODERS, BARRIER_OTHER } order;

/* Eight notes; true if they came in order. */
static bool eight_notes(const softmetal_world *world, order how)
{
    fixture f = open_fixture(world);
    id log = new_buffer(f.device, 4096, SHARED), other = new_buffer(f.device, 4096, SHARED),
       buffer = get(f.queue, "commandBuffer"), encoder = NULL;
    for (uint32_t i = 1; i <= 8; i++) {
        if (!encoder) encoder = SEND(id, (NSUInteger), buffer, "computeCommandEncoderWithDispatchType:", how != SERIAL);
        note(&f, encoder, log, i);
        if (how == BARRIER_SCOPE) set_number(encoder, "memoryBarrierWithScope:", 1);
        if (how == BARRIER_TEXTURES) set_number(encoder, "memoryBarrierWithScope:", 2);
        if (how == BARRIER_RESOURCE) SEND(void, (id *, NSUInteger), encoder, "memoryBarrierWithResources:count:", &log, 1);
        if (how == BARRIER_OTHER) SEND(void, (id *, NSUInteger), encoder, "memoryBarrierWithResources:count:", &other, 1);
        if (how == ENCODERS) end(encoder), encoder = NULL;
    }
    end(encoder);
    finish(buffer);
    assert_int_equal(number(buffer, "status"), STATUS_COMPLETED);
    const uint32_t *notes = contents(log);
    bool in_order = notes[0] == 8;
    for (uint32_t i = 1; i <= 8; i++) in_order = in_order && notes[i] == i;
    release(log);
    release(other);
    close_fixture(&f);
    return in_order;
}

static void what_orders_dispatches(void **state)
{
    static const struct {
        order how;
        bool orders;
    } ways[] = {{SERIAL, true},           {CONCURRENT, false},       {BARRIER_SCOPE, true},
                {BARRIER_RESOURCE, true}, {BARRIER_TEXTURES, false}, {ENCODERS, true},
                {BARRIER_OTHER, false}};
    (void)state;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        int in_order = 0;
        for (uint64_t seed = 1; seed <= 6; seed++) {
            softmetal_world world = {.shuffle = true, .seed = seed};
            in_order += eight_notes(&world, ways[i].how);
            assert_no_reports();
        }
        if (ways[i].orders)
            assert_int_equal(in_order, 6);
        else
            assert_true(in_order < 6);
    }
}

static void missing_barriers_are_named(void **state)
{
    (void)state;
    softmetal_world world = {.build = SOFTMETAL_CHECKED}, shuffled = {.build = SOFTMETAL_CHECKED, .shuffle = true, .seed = 3};
    static const order fine[] = {SERIAL, BARRIER_SCOPE, BARRIER_RESOURCE, ENCODERS},
                       wrong[] = {CONCURRENT, BARRIER_TEXTURES, BARRIER_OTHER};
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        assert_true(eight_notes(&world, fine[i]));
        assert_no_reports();
        assert_true(eight_notes(&shuffled, fine[i]));
        assert_no_reports();
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        eight_notes(&world, wrong[i]);
        if (reported(SOFTMETAL_MISSING_BARRIER, "note") == 0) print_reports();
        assert_true(reported(SOFTMETAL_MISSING_BARRIER, "note") > 0);
    }
}

/* What a dispatch reads, another one writes: in an encoder of each kind, and the other way round. */
static void reads_and_writes(void **state)
{
    (void)state;
    for (int concurrent = 0; concurrent < 2; concurrent++) {
        for (int write_first = 0; write_first < 2; write_first++) {
            softmetal_world world = {.build = SOFTMETAL_CHECKED};
            fixture f = open_fixture(&world);
            id x = new_buffer(f.device, 256, SHARED), y = new_buffer(f.device, 256, SHARED),
               buffer = get(f.queue, "commandBuffer");
            id encoder = SEND(id, (NSUInteger), buffer, "computeCommandEncoderWithDispatchType:", (NSUInteger)concurrent);
            const float by[] = {2, 1};
            const uint32_t value = 3;
            for (int i = 0; i < 2; i++) {
                bool write = i == (write_first ? 0 : 1);
                set_pipeline(encoder, kernel(&f, write ? FILL : SCALE));
                set_buffer(encoder, x, 0, 0);
                if (write)
                    set_bytes(encoder, &value, sizeof value, 1);
                else
                    set_buffer(encoder, y, 0, 1);
                if (!write) set_bytes(encoder, by, sizeof by, 2);
                dispatch_threads(encoder, size1(32), size1(32));
            }
            end(encoder);
            finish(buffer);
            assert_int_equal(reported(SOFTMETAL_MISSING_BARRIER, "buffer 0") > 0, concurrent);
            if (!concurrent) assert_no_reports();
            release(x);
            release(y);
            close_fixture(&f);
        }
    }
}

static void add(fixture *f, id encoder, id memory, uint32_t value)
{
    set_pipeline(encoder, kernel(f, ADD));
    set_buffer(encoder, memory, 0, 0);
    set_bytes(encoder, &value, sizeof value, 1);
    dispatch_threads(encoder, size1(1), size1(1));
}

/* A barrier on one log orders its notes, however far away, and not what is done to other memory meanwhile. */
static void barriers_on_one_resource(const softmetal_world *world,
                                     void (*do_other)(fixture *f, id encoder, id memory, uint32_t value), bool *others_in_order)
{
    fixture f = open_fixture(world);
    id log = new_buffer(f.device, 4096, SHARED), other = new_buffer(f.device, 4096, SHARED),
       buffer = get(f.queue, "commandBuffer");
    id encoder = SEND(id, (NSUInteger), buffer, "computeCommandEncoderWithDispatchType:", 1);
    for (uint32_t i = 1; i <= 100; i++) { /* more than are shuffled at a time */
        note(&f, encoder, log, i);
        if (i <= 8) do_other(&f, encoder, other, i);
        SEND(void, (id *, NSUInteger), encoder, "memoryBarrierWithResources:count:", &log, 1);
    }
    for (uint32_t i = 9; i <= 80; i++) do_other(&f, encoder, other, i);
    note(&f, encoder, log, 101);
    end(encoder);
    finish(buffer);
    assert_in_order(log, 101);
    const uint32_t *notes = contents(other);
    for (uint32_t i = 1; i <= 80; i++) *others_in_order = *others_in_order && notes[i] == i;
    release(log);
    release(other);
    close_fixture(&f);
}

static void resources_of_barriers(void **state)
{
    (void)state;
    int in_order = 0;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        softmetal_world world = {.shuffle = true, .seed = seed};
        bool others = true;
        barriers_on_one_resource(&world, note, &others);
        assert_no_reports();
        in_order += others;
    }
    assert_true(in_order < 8);
    for (int shuffle = 0; shuffle < 2; shuffle++) {
        softmetal_world world = {.build = SOFTMETAL_CHECKED, .shuffle = shuffle, .seed = 5};
        bool others = true;
        barriers_on_one_resource(&world, add, &others);
        assert_true(reported(SOFTMETAL_MISSING_BARRIER, "add") > 0);
        assert_int_equal(reported(SOFTMETAL_MISSING_BARRIER, "note"), 0);
    }
}

/* ---- Threads */

typedef struct worker {
    fixture *f;
    id queue, log;
    bool worked;
} worker;

static void *encode_much(void *argument)
{
    worker *is = argument;
    for (uint32_t i = 1; i <= 200; i++) {
        void *pool = host.push_pool();
        id buffer = get(is->queue, "commandBuffer");
        note_in(is->f, buffer, is->log, i);
        if (i % 50 == 0)
            finish(buffer);
        else
            call(buffer, "commit");
        is->worked = i % 50 != 0 || number(buffer, "status") == STATUS_COMPLETED;
        host.pop_pool(pool);
        if (!is->worked) break;
    }
    return NULL;
}

static void two_queues_two_threads(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    kernel(&f, NOTE); /* made before the threads share it */
    pthread_t threads[2];
    worker workers[2];
    for (int i = 0; i < 2; i++) {
        workers[i] = (worker){&f, get(f.device, "newCommandQueue"), new_buffer(f.device, 4096, SHARED), false};
        assert_int_equal(pthread_create(&threads[i], NULL, encode_much, &workers[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        assert_true(workers[i].worked);
        assert_in_order(workers[i].log, 200);
        release(workers[i].queue);
        release(workers[i].log);
    }
    assert_no_reports();
    close_fixture(&f);
}

static void one_queue_two_threads(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    kernel(&f, NOTE);
    pthread_t threads[2];
    worker workers[2];
    for (int i = 0; i < 2; i++) {
        workers[i] = (worker){&f, f.queue, new_buffer(f.device, 4096, SHARED), false};
        assert_int_equal(pthread_create(&threads[i], NULL, encode_much, &workers[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        assert_true(workers[i].worked);
        assert_in_order(workers[i].log, 200);
        release(workers[i].log);
    }
    assert_no_reports();
    close_fixture(&f);
}

typedef struct last_reference {
    id queue;
    sem_t gone;
} last_reference;

static void on_completed_release(block *self, id buffer)
{
    last_reference *is = self->context;
    (void)buffer;
    release(is->queue);
    sem_post(&is->gone);
}

/* The last reference to the queue but the buffer's goes away in a handler: the queue ends on its own thread. */
static void queue_released_in_a_handler(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    last_reference last = {.queue = get(f.device, "newCommandQueue")};
    sem_init(&last.gone, 0, 0);
    void *pool = host.push_pool();
    id buffer = get(last.queue, "commandBuffer");
    block handler = BLOCK(on_completed_release, &last);
    SEND(void, (block *), buffer, "addCompletedHandler:", &handler);
    call(buffer, "commit");
    host.pop_pool(pool);
    while (sem_wait(&last.gone) != 0) continue;
    sem_destroy(&last.gone);
    close_fixture(&f);
    assert_no_reports();
}

int main(void)
{
    open_library();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thousand_command_buffers),
        cmocka_unit_test(described_queue),
        cmocka_unit_test(enqueued_places),
        cmocka_unit_test(handlers_in_order),
        cmocka_unit_test(told_by_the_handler_alone),
        cmocka_unit_test(completion_is_delayed),
        cmocka_unit_test(events_between_queues),
        cmocka_unit_test(shared_events_and_the_cpu),
        cmocka_unit_test(listeners),
        cmocka_unit_test(an_event_that_nobody_signals),
        cmocka_unit_test(a_buffer_in_front_that_is_not_committed),
        cmocka_unit_test(fences),
        cmocka_unit_test(what_orders_dispatches),
        cmocka_unit_test(missing_barriers_are_named),
        cmocka_unit_test(reads_and_writes),
        cmocka_unit_test(resources_of_barriers),
        cmocka_unit_test(two_queues_two_threads),
        cmocka_unit_test(one_queue_two_threads),
        cmocka_unit_test(queue_released_in_a_handler),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
