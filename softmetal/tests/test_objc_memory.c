/* Every allocation of the runtime and of Foundation fails once in turn, alone and with all that follow: what cannot be made is
 * nil, nothing crashes, and nothing is left behind. */
#include "objc_support.h"

#include "foundation/dispatch.h"
#include "objc/memory.h"

#include <unistd.h>

#define CALL(result, ...) (result(*)(id, SEL, ##__VA_ARGS__)) sm_sender()
static SEL sel(const char *name)
{
    return sel_registerName(name);
}

/* ---- What is tried: true if all of it could be made. Messages to nil are part of it. */

static bool make_strings(void)
{
    id string = text("some text"), both = send_id(string, "stringByAppendingString:", string);
    id formatted = sm_string_createf("%d and more", 5);
    id data = (CALL(id, uint64_t))(both, sel("dataUsingEncoding:"), 10);
    const char *latin = (CALL(const char *, uint64_t))(both, sel("cStringUsingEncoding:"), 5);
    bool made = string && both && formatted && data && latin;
    sm_release(formatted);
    return made;
}

static bool make_collections(void)
{
    id a = text("a"), b = text("b");
    id array =
        (CALL(id, const id *, uint64_t))(class_named("NSArray"), sel("arrayWithObjects:count:"), (id[]){a, b}, a && b ? 2 : 0);
    id changing = send(class_named("NSMutableArray"), "array");
    for (int i = 0; i < 20 && a; i++) send_id(changing, "addObject:", a);
    id dictionary = send(class_named("NSMutableDictionary"), "dictionary");
    if (a && b) {
        (CALL(void, id, id))(dictionary, sel("setObject:forKey:"), a, b);
        (CALL(void, id, id))(dictionary, sel("setObject:forKey:"), b, a);
        (CALL(void, id, id))(dictionary, sel("setObject:forKey:"), a, a);
    }
    id copy = send(dictionary, "copy"), keys = send(dictionary, "allKeys"), enumerator = send(dictionary, "keyEnumerator");
    assert_true(sm_dictionary_count(dictionary) <= 2);
    bool made = sm_array_count(array) == 2 && sm_array_count(changing) == 20 && sm_dictionary_count(copy) == 2 &&
                sm_array_count(keys) == 2;
    made = made && send(enumerator, "nextObject") && send(enumerator, "allObjects");
    sm_release(copy);
    return made;
}

static bool make_errors(void)
{
    id error = NULL;
    sm_error_set(&error, "MTLCommandBufferErrorDomain", 8, "Insufficient Memory");
    id description = send(error, "localizedDescription"), whole = send(error, "description");
    const char *said = sm_string_utf8(description);
    return said && strcmp(said, "Insufficient Memory") == 0 && whole;
}

static bool make_others(void)
{
    id number = (CALL(id, double))(class_named("NSNumber"), sel("numberWithDouble:"), 2.5);
    id shown = send(number, "stringValue"), path = text("/tmp/x y");
    id url = path ? send_id(class_named("NSURL"), "fileURLWithPath:", path) : NULL;
    id relative = sm_url_create_path("x");
    id last = send(url, "lastPathComponent");
    id data = (CALL(id, const void *, uint64_t))(class_named("NSData"), sel("dataWithBytes:length:"), "abc", 3);
    id date = send(class_named("NSDate"), "date"), bundle = send(class_named("NSBundle"), "mainBundle");
    id folder = send(bundle, "bundlePath");
    bool made = number && shown && url && relative && last && data && date && folder;
    sm_release(relative);
    return made;
}

static void nothing(void *context)
{
    (void)context;
}

static bool make_dispatch(void)
{
    id semaphore = dispatch_semaphore_create(0), queue = dispatch_queue_create("label", NULL);
    id data = dispatch_data_create("abc", 3, NULL, NULL);
    bool made = semaphore && queue && data && *dispatch_queue_get_label(queue);
    if (queue) dispatch_sync_f(queue, NULL, nothing);
    dispatch_release(semaphore);
    dispatch_release(queue);
    dispatch_release(data);
    return made;
}

typedef struct block {
    void *isa;
    int flags, reserved;
    void (*invoke)(struct block *self);
    const struct descriptor {
        unsigned long reserved, size;
    } * descriptor;
} block;

static void called(block *self)
{
    (void)self;
}

static bool make_blocks_and_weak_references(void)
{
    static const struct descriptor layout = {0, sizeof(block)};
    block local = {&_NSConcreteStackBlock, 0, 0, called, &layout};
    void *copy = sm_block_copy(&local);
    sm_block_call0(copy);
    id weak[40], object = sm_new(&sm_object_class);
    bool made = copy && object;
    for (int i = 0; i < 40; i++) made = (objc_initWeak(&weak[i], object) || !object) && made;
    for (int i = 0; i < 40; i++) objc_destroyWeak(&weak[i]);
    sm_release(object);
    sm_block_release(copy);
    return made;
}

static uint64_t answer(id self, SEL _cmd)
{
    (void)self, (void)_cmd;
    return 5;
}

static bool make_classes(void)
{
    static int number;
    char name[32];
    snprintf(name, sizeof name, "Made%d", number++);
    Class class = objc_allocateClassPair(NULL, name, 0);
    SEL selector = sel_registerName(name); /* a new one each time */
    bool made = class && selector && class_addMethod(class, selector, (IMP)answer, "Q@:") &&
                class_addIvar(class, "context", 8, 3, "^v");
    if (!made) {
        objc_disposeClassPair(class);
        return false;
    }
    objc_registerClassPair(class);
    id object = send((id) class, "new"); /* tries again to register the class, if need be */
    if (!objc_getClass(name)) {
        assert_null(object);
        objc_disposeClassPair(class);
        return false;
    }
    if (object) made = send_uint(object, name) == 5;
    Protocol protocol = objc_getProtocol("NSObject");
    made = made && object && protocol && softmetal_expect_signature(name, name, "Q@:");
    sm_release(object);
    return made;
}

static bool make_pools(void)
{
    id outer = send(class_named("NSAutoreleasePool"), "new");
    void *inner = objc_autoreleasePoolPush();
    bool made = outer && inner;
    for (int i = 0; i < 200; i++) {
        id object = sm_new(&sm_object_class);
        made = made && object;
        sm_autorelease(object);
    }
    objc_autoreleasePoolPop(inner);
    send(outer, "drain");
    return made;
}

/* ---- */

static bool attempt(bool (*make)(void), uint64_t nth, uint64_t count)
{
    void *pool = objc_autoreleasePoolPush();
    assert_non_null(pool);
    for (int i = 0; i < 1000; i++) sm_autorelease(sm_new(&sm_object_class)); /* room on the pool's stack, which stays */
    void *inner = objc_autoreleasePoolPush();
    sm_fail_allocations(nth, count);
    bool made = make();
    uint64_t allocations = sm_fail_allocations(0, 0);
    objc_autoreleasePoolPop(inner);
    objc_autoreleasePoolPop(pool);
    if (nth > allocations) assert_true(made);
    return nth > allocations;
}

/* Threads of queues let go of their queue a little after its work is done. */
static void settle(uint64_t live)
{
    for (int i = 0; i < 10000 && sm_live_objects() != live; i++) usleep(1000);
}

static void every_failure(bool (*make)(void))
{
    static const uint64_t counts[] = {1, UINT64_MAX};
    uint64_t before = sm_live_objects();
    attempt(make, 0, 0); /* what is made once and stays */
    settle(before);
    for (size_t k = 0; k < 2; k++) {
        uint64_t live = sm_live_objects(), nth = 1;
        while (!attempt(make, nth, counts[k])) {
            settle(live);
            if (sm_live_objects() != live)
                fail_msg("allocation %d: %d objects are left", (int)nth, (int)(sm_live_objects() - live));
            nth++;
            assert_true(nth < 1000);
        }
        assert_true(nth > 1);
        settle(live);
        assert_int_equal(sm_live_objects(), live);
    }
}

static void strings(void **state)
{
    (void)state;
    every_failure(make_strings);
}

static void collections(void **state)
{
    (void)state;
    every_failure(make_collections);
}

static void errors(void **state)
{
    (void)state;
    every_failure(make_errors);
}

static void others(void **state)
{
    (void)state;
    every_failure(make_others);
}

static void dispatch(void **state)
{
    (void)state;
    every_failure(make_dispatch);
}

static void blocks_and_weak_references(void **state)
{
    (void)state;
    every_failure(make_blocks_and_weak_references);
}

static void classes(void **state)
{
    (void)state;
    every_failure(make_classes);
}

static void pools(void **state)
{
    (void)state;
    every_failure(make_pools);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings), cmocka_unit_test(collections), cmocka_unit_test(errors),
        cmocka_unit_test(others),  cmocka_unit_test(dispatch),    cmocka_unit_test(blocks_and_weak_references),
        cmocka_unit_test(classes), cmocka_unit_test(pools),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
