/* Everything from eight threads at once. Built with -fsanitize=thread, this is the proof that it may be. */
#include "objc_support.h"

#include "foundation/dispatch.h"

#include <pthread.h>

enum { THREADS = 8, ROUNDS = 2000 };

static pthread_barrier_t start;
static id shared, weak_target;
static id weak_place;
static _Atomic int failures;

#define CHECK(condition)                                                                                                       \
    do {                                                                                                                       \
        if (!(condition)) failures++;                                                                                          \
    } while (0)

static void run(void *(*work)(void *))
{
    pthread_t threads[THREADS];
    failures = 0;
    pthread_barrier_init(&start, NULL, THREADS);
    for (intptr_t i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, work, (void *)i), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&start);
    assert_int_equal(failures, 0);
}

/* Fresh selectors and fresh classes, so that the tables grow under the readers' eyes. */
static uint64_t answer(id self, SEL _cmd)
{
    (void)self;
    return (uint64_t)atoll(sel_getName(_cmd) + 1);
}

static void *send_messages(void *number)
{
    (void)number;
    pthread_barrier_wait(&start);
    for (int i = 0; i < ROUNDS; i++) {
        char name[16];
        snprintf(name, sizeof name, "m%d", i % 500);
        CHECK(send_uint(shared, name) == (uint64_t)(i % 500));
        CHECK(send(shared, "self") == shared);
        CHECK(send(NULL, name) == NULL);
    }
    return NULL;
}

static void messages(void **state)
{
    (void)state;
    Class class = objc_allocateClassPair(NULL, "Shared", 0);
    for (int i = 0; i < 500; i++) {
        char name[16];
        snprintf(name, sizeof name, "m%d", i);
        class_addMethod(class, sel_registerName(name), (IMP)answer, "Q@:");
    }
    objc_registerClassPair(class);
    shared = send((id) class, "new");
    uint64_t before = sm_messages;
    run(send_messages);
    assert_int_equal(sm_messages - before, 3ull * ROUNDS * THREADS);
    sm_release(shared);
}

static void *add_methods(void *number)
{
    Class class = object_getClass(shared);
    pthread_barrier_wait(&start);
    for (int i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", (int)(intptr_t)number * 1000 + i);
        SEL selector = sel_registerName(name);
        CHECK(class_addMethod(class, selector, (IMP)answer, "Q@:"));
        CHECK(send_uint(shared, name) == (uint64_t)((intptr_t)number * 1000 + i));
        CHECK(send(shared, "self") == shared);
    }
    return NULL;
}

static void methods_come_while_messages_go(void **state)
{
    (void)state;
    Class class = objc_allocateClassPair(NULL, "Growing", 0);
    objc_registerClassPair(class);
    shared = send((id) class, "new");
    run(add_methods);
    sm_release(shared);
}

static void *hold_and_let_go(void *number)
{
    (void)number;
    pthread_barrier_wait(&start);
    for (int i = 0; i < ROUNDS; i++) {
        void *pool = objc_autoreleasePoolPush();
        objc_retain(shared);
        objc_autorelease(objc_retain(shared));
        id string = text("of this thread");
        CHECK(send_uint(string, "length") == 14);
        id array = (id)((id(*)(id, SEL, const id *, uint64_t))sm_sender())(
            class_named("NSArray"), sel_registerName("arrayWithObjects:count:"), (id[]){shared, string}, 2);
        CHECK(send_uint(array, "count") == 2);
        CHECK(send_test(array, "containsObject:", shared));
        objc_release(shared);
        objc_autoreleasePoolPop(pool);
    }
    return NULL;
}

static void references(void **state)
{
    (void)state;
    uint64_t live = sm_live_objects();
    shared = sm_string_create("shared by all");
    run(hold_and_let_go);
    assert_int_equal(send_uint(shared, "retainCount"), 1);
    sm_release(shared);
    assert_int_equal(sm_live_objects(), live);
}

/* The last reference goes while others load it. */
static void *load_weak(void *number)
{
    pthread_barrier_wait(&start);
    for (int i = 0; i < 200; i++) {
        id mine;
        objc_initWeak(&mine, NULL);
        if (number == 0) {
            objc_storeWeak(&weak_place, weak_target);
            sm_release(weak_target);
            weak_target = sm_string_create("the next one");
        }
        objc_copyWeak(&mine, &weak_place);
        id strong = objc_loadWeakRetained(&weak_place);
        if (strong) CHECK(send_uint(strong, "length") == 12);
        sm_release(strong);
        objc_destroyWeak(&mine);
    }
    return NULL;
}

static void weak_references(void **state)
{
    (void)state;
    uint64_t live = sm_live_objects();
    weak_target = sm_string_create("the next one");
    objc_initWeak(&weak_place, weak_target);
    assert_reports_nothing(run(load_weak));
    sm_release(weak_target);
    objc_destroyWeak(&weak_place);
    assert_int_equal(sm_live_objects(), live);
}

typedef struct block {
    void *isa;
    int flags, reserved;
    void (*invoke)(struct block *self);
    const struct descriptor {
        unsigned long reserved, size;
    } * descriptor;
    _Atomic int *count;
} block;

static void count_call(block *self)
{
    atomic_fetch_add(self->count, 1);
}
static void *shared_block;

static void *copy_blocks(void *number)
{
    (void)number;
    pthread_barrier_wait(&start);
    for (int i = 0; i < ROUNDS; i++) {
        void *copy = sm_block_copy(shared_block);
        sm_block_call0(copy);
        sm_block_release(copy);
    }
    return NULL;
}

static void blocks(void **state)
{
    (void)state;
    static const struct descriptor layout = {0, sizeof(block)};
    _Atomic int count = 0;
    uint64_t live = sm_live_objects();
    block local = {&_NSConcreteStackBlock, 0, 0, count_call, &layout, &count};
    shared_block = sm_block_copy(&local);
    run(copy_blocks);
    assert_int_equal(count, THREADS * ROUNDS);
    sm_block_release(shared_block);
    assert_int_equal(sm_live_objects(), live);
}

static void *make_mistakes(void *number)
{
    (void)number;
    pthread_barrier_wait(&start);
    for (int i = 0; i < 100; i++) {
        id object = sm_string_create("short-lived");
        CHECK(send(object, "noSuchThingOfThreads") == NULL);
        sm_release(object);
        CHECK(objc_getClass("NSString") != NULL);
        CHECK(softmetal_expect_signature("NSString", "length", "Q@:"));
        softmetal_check_leaks();
    }
    return NULL;
}

static void mistakes(void **state)
{
    (void)state;
    uint64_t before = reported(SOFTMETAL_UNKNOWN_SELECTOR, "-[NSString noSuchThingOfThreads]");
    run(make_mistakes);
    assert_int_equal(reported(SOFTMETAL_UNKNOWN_SELECTOR, "-[NSString noSuchThingOfThreads]") - before, 100 * THREADS);
}

static _Atomic int queued;
static void signal_semaphore(void *semaphore)
{
    dispatch_semaphore_signal(semaphore);
}

static void count_queued(void *count)
{
    atomic_fetch_add((_Atomic int *)count, 1);
}

static void *use_queues(void *number)
{
    (void)number;
    pthread_barrier_wait(&start);
    for (int i = 0; i < 50; i++) {
        id done = dispatch_semaphore_create(0), queue = dispatch_queue_create("of a thread", NULL);
        dispatch_async_f(queue, done, signal_semaphore);
        CHECK(dispatch_semaphore_wait(done, DISPATCH_TIME_FOREVER) == 0);
        dispatch_sync_f(queue, &queued, count_queued);
        dispatch_sync_f(dispatch_get_global_queue(0, 0), &queued, count_queued);
        dispatch_release(queue);
        dispatch_release(done);
    }
    return NULL;
}

static void queues(void **state)
{
    (void)state;
    run(use_queues);
    assert_int_equal(queued, 2 * 50 * THREADS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages),   cmocka_unit_test(methods_come_while_messages_go),
        cmocka_unit_test(references), cmocka_unit_test(weak_references),
        cmocka_unit_test(blocks),     cmocka_unit_test(mistakes),
        cmocka_unit_test(queues),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
