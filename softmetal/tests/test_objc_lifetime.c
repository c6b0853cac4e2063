/* References, pools, weak references, leaks, and what is said of objects that are used after their end. */
#include "objc_support.h"

#include <pthread.h>

static int ended;

typedef struct tracked {
    sm_object object;
    uint8_t bytes[100];
} tracked;

static void tracked_dealloc(id self)
{
    ended++;
    assert_ptr_equal(sm_retain(self), self); /* allowed while it ends, and without effect */
    sm_release(self);
}

static void derived_dealloc(id self)
{
    (void)self;
    ended += 100;
}

static sm_class tracked_class = {.name = "Tracked", .size = sizeof(tracked), .dealloc = tracked_dealloc};
static sm_class derived_class = {.name = "DerivedTracked", .super = &tracked_class, .dealloc = derived_dealloc};
SM_REGISTER_AT_LOAD(tracked_class)
SM_REGISTER_AT_LOAD(derived_class)

static int setup(void **state)
{
    (void)state;
    ended = 0;
    return 0;
}

/* ---- References */

static void the_last_release_ends(void **state)
{
    (void)state;
    uint64_t live = sm_live_objects();
    id object = send((id)&tracked_class, "new");
    assert_int_equal(send_uint(object, "retainCount"), 1);
    assert_ptr_equal(send(object, "retain"), object);
    assert_ptr_equal(objc_retain(object), object);
    assert_int_equal(send_uint(object, "retainCount"), 3);
    assert_int_equal(sm_live_objects(), live + 1);
    send(object, "release");
    objc_release(object);
    assert_int_equal(ended, 0);
    objc_release(object);
    assert_int_equal(ended, 1);
    assert_int_equal(sm_live_objects(), live);
    objc_release(NULL);
    assert_null(objc_retain(NULL));
    assert_null(objc_autorelease(NULL));
}

static void dealloc_runs_from_the_lowest_class_up(void **state)
{
    (void)state;
    objc_release(objc_alloc_init(&derived_class));
    assert_int_equal(ended, 101);
}

static void classes_and_constants_never_end(void **state)
{
    (void)state;
    assert_reports_nothing({
        for (int i = 0; i < 5; i++) send((id)&tracked_class, "release");
        assert_true(send_uint((id)&tracked_class, "retainCount") == UINT64_MAX);
    });
}

static void strong_places(void **state)
{
    (void)state;
    id place = NULL, one = sm_new(&tracked_class), two = sm_new(&tracked_class);
    objc_storeStrong(&place, one);
    objc_release(one);
    assert_int_equal(ended, 0);
    objc_storeStrong(&place, two);
    assert_int_equal(ended, 1);
    objc_release(two);
    objc_storeStrong(&place, NULL);
    assert_int_equal(ended, 2);
    assert_null(place);
}

static void dealloc_is_not_for_hosts(void **state)
{
    (void)state;
    id object = sm_new(&tracked_class);
    assert_reports(SOFTMETAL_VALIDATION, "'dealloc' sent to a Tracked", send(object, "dealloc"));
    assert_int_equal(ended, 0);
    objc_release(object);
    assert_int_equal(ended, 1);
}

/* ---- After the end */

static void use_after_end_is_named(void **state)
{
    (void)state;
    id object = sm_new(&tracked_class);
    send(object, "retainCount"); /* cached */
    objc_release(object);
    assert_reports(SOFTMETAL_USE_AFTER_END, "'retainCount' sent to a Tracked",
                   assert_int_equal(send_uint(object, "retainCount"), 0));
    assert_reports(SOFTMETAL_USE_AFTER_END, "'description' sent to a Tracked", assert_null(send(object, "description")));
    assert_reports(SOFTMETAL_USE_AFTER_END, "'retain' sent to a Tracked", assert_null(send(object, "retain")));
    assert_reports(SOFTMETAL_USE_AFTER_END, "Tracked that has ended was retained", assert_null(objc_retain(object)));
}

static void over_release_is_named(void **state)
{
    (void)state;
    id object = sm_new(&tracked_class);
    objc_release(object);
    assert_reports(SOFTMETAL_OVER_RELEASE, "Tracked that has ended was released", objc_release(object));
    assert_reports(SOFTMETAL_OVER_RELEASE, "'release' sent to a Tracked", send(object, "release"));
    assert_reports(SOFTMETAL_OVER_RELEASE, "Tracked that has ended was autoreleased", objc_autorelease(object));
    assert_int_equal(ended, 1);
}

static void over_release_of_a_pooled_object_is_named(void **state)
{
    (void)state;
    void *pool = objc_autoreleasePoolPush();
    id object = objc_autorelease(sm_new(&tracked_class));
    objc_release(object); /* the pool's reference */
    assert_reports(SOFTMETAL_OVER_RELEASE, "Tracked that has ended was released", objc_autoreleasePoolPop(pool));
}

/* Far more than the quarantine holds: what was ended last is still known. */
static void quarantine_is_bounded_and_keeps_the_youngest(void **state)
{
    (void)state;
    enum { OBJECTS = 20000 };
    static id objects[OBJECTS];
    for (int i = 0; i < OBJECTS; i++) {
        objects[i] = sm_new(&tracked_class);
        objc_release(objects[i]);
    }
    assert_int_equal(ended, OBJECTS);
    assert_reports(SOFTMETAL_USE_AFTER_END, "'hash' sent to a Tracked", send(objects[OBJECTS - 1], "hash"));
    assert_reports(SOFTMETAL_USE_AFTER_END, "'hash' sent to a Tracked", send(objects[OBJECTS - 4000], "hash"));
}

static void what_is_no_object_is_named(void **state)
{
    (void)state;
    static uint64_t numbers[8]; /* a zeroed struct of the host's, say */
    assert_reports(SOFTMETAL_USE_AFTER_END, "which is no object", assert_null(send((id)numbers, "retain")));
    assert_reports(SOFTMETAL_USE_AFTER_END, "which is no object", assert_null(objc_retain((id)numbers)));
    assert_reports(SOFTMETAL_OVER_RELEASE, "which is no object", objc_release((id)numbers));
}

/* ---- Pools */

static void pools_nest(void **state)
{
    (void)state;
    void *outer = objc_autoreleasePoolPush();
    id first = objc_autorelease(sm_new(&tracked_class));
    void *inner = objc_autoreleasePoolPush();
    for (int i = 0; i < 1000; i++) objc_autorelease(sm_new(&tracked_class));
    objc_retainAutorelease(first);
    objc_autoreleasePoolPop(inner);
    assert_int_equal(ended, 1000);
    assert_int_equal(send_uint(first, "retainCount"), 1);
    objc_autoreleasePoolPop(outer);
    assert_int_equal(ended, 1001);
}

static void an_outer_pop_drains_the_inner(void **state)
{
    (void)state;
    void *outer = objc_autoreleasePoolPush(), *inner = objc_autoreleasePoolPush();
    objc_autorelease(sm_new(&tracked_class));
    objc_autoreleasePoolPop(outer);
    assert_int_equal(ended, 1);
    assert_reports(SOFTMETAL_VALIDATION, "not open on this thread", objc_autoreleasePoolPop(inner));
}

static void pool_objects_drain(void **state)
{
    (void)state;
    id outer = send(send(class_named("NSAutoreleasePool"), "alloc"), "init");
    send(sm_new(&tracked_class), "autorelease");
    id inner = send(class_named("NSAutoreleasePool"), "new");
    send(sm_new(&tracked_class), "autorelease");
    send(inner, "drain");
    assert_int_equal(ended, 1);
    assert_reports(SOFTMETAL_VALIDATION, "'retain' sent to an NSAutoreleasePool", send(outer, "retain"));
    send(outer, "release");
    assert_int_equal(ended, 2);
}

static void without_a_pool_is_a_leak(void **state)
{
    (void)state;
    id object = sm_new(&tracked_class);
    assert_reports(SOFTMETAL_LEAK, "a Tracked was autoreleased without a pool", objc_autorelease(object));
    void *pool = objc_autoreleasePoolPush();
    objc_autoreleasePoolPop(pool);
    assert_reports(SOFTMETAL_LEAK, "a Tracked was autoreleased without a pool", objc_autorelease(object));
    assert_int_equal(ended, 0);
    objc_release(object);
}

static void *autorelease_in_thread(void *pool)
{
    (void)pool;
    id object = sm_new(&tracked_class);
    assert_reports(SOFTMETAL_LEAK, "a Tracked was autoreleased without a pool", objc_autorelease(object));
    objc_release(object);
    objc_autoreleasePoolPush(); /* left open: the end of the thread drains it */
    objc_autorelease(sm_new(&tracked_class));
    return NULL;
}

static void pools_are_a_threads_own(void **state)
{
    (void)state;
    void *pool = objc_autoreleasePoolPush();
    pthread_t thread;
    pthread_create(&thread, NULL, autorelease_in_thread, pool);
    pthread_join(thread, NULL);
    assert_int_equal(ended, 2);
    objc_autoreleasePoolPop(pool);
}

/* ---- Leaks */

static void leaks_are_listed_by_class(void **state)
{
    (void)state;
    size_t before = softmetal_check_leaks();
    id one = sm_new(&derived_class), two = sm_new(&derived_class);
    assert_int_equal(sm_live_objects(), before + 2);
    assert_int_equal(reported(SOFTMETAL_LEAK, "DerivedTracked"), 0);
    assert_int_equal(softmetal_check_leaks(), before + 2);
    assert_int_equal(reported(SOFTMETAL_LEAK, "DerivedTracked: 2 objects are still alive"), 1);
    objc_release(one);
    softmetal_check_leaks();
    assert_int_equal(reported(SOFTMETAL_LEAK, "DerivedTracked: 1 object is still alive"), 1);
    objc_release(two);
    uint64_t reports = reported(SOFTMETAL_LEAK, "DerivedTracked");
    assert_int_equal(softmetal_check_leaks(), before);
    assert_int_equal(reported(SOFTMETAL_LEAK, "DerivedTracked"), reports);
}

/* ---- Weak references */

static void weak_references_become_nil(void **state)
{
    (void)state;
    id object = sm_new(&tracked_class), weak[100], copy, moved;
    for (int i = 0; i < 100; i++) assert_ptr_equal(objc_initWeak(&weak[i], object), object);
    objc_copyWeak(&copy, &weak[3]);
    objc_moveWeak(&moved, &weak[4]);
    assert_null(weak[4]);
    assert_int_equal(send_uint(object, "retainCount"), 1);
    void *pool = objc_autoreleasePoolPush();
    assert_ptr_equal(objc_loadWeak(&copy), object);
    objc_autoreleasePoolPop(pool);
    id strong = objc_loadWeakRetained(&moved);
    assert_ptr_equal(strong, object);
    objc_release(object);
    assert_int_equal(ended, 0);
    objc_release(strong);
    assert_int_equal(ended, 1);
    for (int i = 0; i < 100; i++) assert_null(weak[i]);
    assert_null(objc_loadWeakRetained(&copy));
    assert_null(objc_loadWeak(&moved));
    objc_destroyWeak(&copy);
    assert_null(objc_storeWeak(&moved, object)); /* ended */
}

/* ---- Classes that a host makes */

static int host_deallocs;
static IMP super_sender = objc_msgSendSuper;

static void host_dealloc(id self, SEL _cmd)
{
    host_deallocs++;
    struct objc_super above = {self, objc_getClass("NSObject")};
    ((void (*)(struct objc_super *, SEL))super_sender)(&above, _cmd);
}

static int host_answer(id self, SEL _cmd, int number)
{
    (void)_cmd;
    void *context = NULL;
    object_getInstanceVariable(self, "context", &context);
    return *(int *)context + number;
}

static int host_class_answer(id self, SEL _cmd)
{
    (void)self, (void)_cmd;
    return 77;
}

static void hosts_make_classes(void **state)
{
    (void)state;
    uint64_t live = sm_live_objects();
    Class class = objc_allocateClassPair(objc_getClass("NSObject"), "HostDelegate", 0);
    assert_non_null(class);
    assert_null(objc_getClass("HostDelegate"));
    assert_true(class_addIvar(class, "byte", 1, 0, "C"));
    assert_true(class_addIvar(class, "context", sizeof(void *), 3, "^v"));
    assert_true(class_addMethod(class, sel_registerName("answer:"), (IMP)host_answer, "i@:i"));
    assert_false(class_addMethod(class, sel_registerName("answer:"), (IMP)host_answer, "i@:i"));
    assert_true(class_addMethod(class, sel_registerName("dealloc"), (IMP)host_dealloc, "v@:"));
    assert_true(class_addMethod(object_getClass((id) class), sel_registerName("classAnswer"), (IMP)host_class_answer, "i@:"));
    objc_registerClassPair(class);
    assert_ptr_equal(objc_getClass("HostDelegate"), class);
    assert_null(objc_allocateClassPair(NULL, "HostDelegate", 0));
    assert_false(class_addIvar(class, "late", 8, 3, "q"));

    int number = 40;
    id object = send((id) class, "new");
    assert_non_null(object_setInstanceVariable(object, "context", &number));
    assert_null(object_setInstanceVariable(object, "nothing", &number));
    assert_int_equal(((int (*)(id, SEL, int))sm_sender())(object, sel_registerName("answer:"), 2), 42);
    assert_int_equal(((int (*)(id, SEL))sm_sender())((id) class, sel_registerName("classAnswer")), 77);
    objc_release(object);
    assert_int_equal(host_deallocs, 1);
    assert_int_equal(sm_live_objects(), live);
    assert_reports(SOFTMETAL_OVER_RELEASE, "HostDelegate", objc_release(object));
}

static int late_answer(id self, SEL _cmd)
{
    (void)self, (void)_cmd;
    return 5;
}

/* A method added after the superclass's was used, and cached, overrides it; so does one of a superclass. */
static void late_methods_are_found(void **state)
{
    (void)state;
    Class class = objc_allocateClassPair(&tracked_class, "Late", 0), below;
    objc_registerClassPair(class);
    below = objc_allocateClassPair(class, "BelowLate", 0);
    objc_registerClassPair(below);
    id object = send((id) class, "new"), lower = send((id)below, "new");
    assert_true(send_uint(object, "hash") == (uintptr_t)object);
    assert_true(send_uint(lower, "hash") == (uintptr_t)lower);
    const sm_method *held = class_getInstanceMethod(&tracked_class, sel_registerName("hash"));
    for (int i = 0; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof name, "late%d", i);
        assert_true(class_addMethod(class, sel_registerName(name), (IMP)late_answer, "i@:"));
    }
    assert_true(class_addMethod(class, sel_registerName("hash"), (IMP)late_answer, "Q@:"));
    assert_int_equal((int)send_uint(object, "hash"), 5);
    assert_int_equal((int)send_uint(lower, "hash"), 5);
    assert_int_equal((int)send_uint(lower, "late99"), 5);
    assert_ptr_not_equal(class_getInstanceMethod(class, sel_registerName("hash")), held);
    objc_release(object);
    objc_release(lower);
}

static void unregistered_classes_go(void **state)
{
    (void)state;
    Class class = objc_allocateClassPair(NULL, "Passing", 0);
    assert_true(class_addMethod(class, sel_registerName("answer"), (IMP)late_answer, "i@:"));
    assert_true(class_addIvar(class, "context", 8, 3, "^v"));
    objc_disposeClassPair(class);
    assert_null(objc_getClass("Passing"));
}

static void indexed_variables_follow_the_instance(void **state)
{
    (void)state;
    id object = class_createInstance(&tracked_class, 64);
    memset(object_getIndexedIvars(object), 0xee, 64);
    assert_int_equal(((tracked *)object)->bytes[99], 0);
    objc_release(object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_last_release_ends, setup),
        cmocka_unit_test_setup(dealloc_runs_from_the_lowest_class_up, setup),
        cmocka_unit_test_setup(classes_and_constants_never_end, setup),
        cmocka_unit_test_setup(strong_places, setup),
        cmocka_unit_test_setup(dealloc_is_not_for_hosts, setup),
        cmocka_unit_test_setup(use_after_end_is_named, setup),
        cmocka_unit_test_setup(over_release_is_named, setup),
        cmocka_unit_test_setup(over_release_of_a_pooled_object_is_named, setup),
        cmocka_unit_test_setup(quarantine_is_bounded_and_keeps_the_youngest, setup),
        cmocka_unit_test_setup(what_is_no_object_is_named, setup),
        cmocka_unit_test_setup(pools_nest, setup),
        cmocka_unit_test_setup(an_outer_pop_drains_the_inner, setup),
        cmocka_unit_test_setup(pool_objects_drain, setup),
        cmocka_unit_test_setup(without_a_pool_is_a_leak, setup),
        cmocka_unit_test_setup(pools_are_a_threads_own, setup),
        cmocka_unit_test_setup(leaks_are_listed_by_class, setup),
        cmocka_unit_test_setup(weak_references_become_nil, setup),
        cmocka_unit_test_setup(hosts_make_classes, setup),
        cmocka_unit_test_setup(late_methods_are_found, setup),
        cmocka_unit_test_setup(unregistered_classes_go, setup),
        cmocka_unit_test_setup(indexed_variables_follow_the_instance, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
