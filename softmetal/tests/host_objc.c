/* The runtime and Foundation as a host finds them: a library opened by its path, every name by dlsym, messages through
 * casts. */
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "softmetal.h"

typedef void *id, *SEL;
typedef void (*function)(void);

static void *library;
static function msg_send, msg_send_struct;
static SEL (*register_name)(const char *);
static id (*get_class)(const char *);
static void *(*pool_push)(void);
static void (*pool_pop)(void *);
static void (*release)(id);

static function find(const char *name)
{
    function found;
    *(void **)&found = dlsym(library, name);
    if (!found) fail_msg("%s is not exported", name);
    return found;
}

static int open_library(void **state)
{
    (void)state;
    library = dlopen(SOFTMETAL_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return -1;
    }
    msg_send = find("objc_msgSend");
#if defined(__x86_64__)
    msg_send_struct = find("objc_msgSend_stret");
#else
    msg_send_struct = msg_send;
#endif
    register_name = (SEL(*)(const char *))find("sel_registerName");
    get_class = (id(*)(const char *))find("objc_getClass");
    pool_push = (void *(*)(void))find("objc_autoreleasePoolPush");
    pool_pop = (void (*)(void *))find("objc_autoreleasePoolPop");
    release = (void (*)(id))find("objc_release");
    return 0;
}

static id send(id object, const char *selector)
{
    return ((id(*)(id, SEL))msg_send)(object, register_name(selector));
}

static uint64_t send_uint(id object, const char *selector)
{
    return ((uint64_t(*)(id, SEL))msg_send)(object, register_name(selector));
}

static id text(const char *utf8)
{
    return ((id(*)(id, SEL, const char *))msg_send)(get_class("NSString"), register_name("stringWithUTF8String:"), utf8);
}

static const char *utf8(id string)
{
    return ((const char *(*)(id, SEL))msg_send)(string, register_name("UTF8String"));
}

/* ---- */

static void all_names_are_there(void **state)
{
    (void)state;
    static const char *const names[] = {
        "objc_msgSend",
        "objc_msgSendSuper",
#if defined(__x86_64__)
        "objc_msgSend_stret",
        "objc_msgSend_fpret",
        "objc_msgSendSuper_stret",
#endif
        "sel_registerName",
        "sel_getName",
        "sel_getUid",
        "sel_isEqual",
        "objc_getClass",
        "objc_lookUpClass",
        "objc_getMetaClass",
        "object_getClass",
        "object_getClassName",
        "object_isClass",
        "class_getName",
        "class_getSuperclass",
        "class_isMetaClass",
        "class_getInstanceSize",
        "class_respondsToSelector",
        "class_getInstanceMethod",
        "class_getClassMethod",
        "class_getMethodImplementation",
        "class_copyMethodList",
        "method_getName",
        "method_getTypeEncoding",
        "method_getImplementation",
        "class_createInstance",
        "objc_getProtocol",
        "protocol_getName",
        "class_conformsToProtocol",
        "objc_allocateClassPair",
        "class_addMethod",
        "class_addIvar",
        "class_addProtocol",
        "objc_registerClassPair",
        "objc_disposeClassPair",
        "object_getIndexedIvars",
        "object_getInstanceVariable",
        "object_setInstanceVariable",
        "objc_retain",
        "objc_release",
        "objc_autorelease",
        "objc_retainAutorelease",
        "objc_retainAutoreleasedReturnValue",
        "objc_unsafeClaimAutoreleasedReturnValue",
        "objc_autoreleaseReturnValue",
        "objc_retainAutoreleaseReturnValue",
        "objc_alloc",
        "objc_allocWithZone",
        "objc_alloc_init",
        "objc_opt_new",
        "objc_opt_class",
        "objc_opt_self",
        "objc_opt_isKindOfClass",
        "objc_opt_respondsToSelector",
        "objc_autoreleasePoolPush",
        "objc_autoreleasePoolPop",
        "objc_storeStrong",
        "objc_initWeak",
        "objc_storeWeak",
        "objc_loadWeak",
        "objc_loadWeakRetained",
        "objc_destroyWeak",
        "objc_copyWeak",
        "objc_moveWeak",
        "objc_retainBlock",
        "_NSConcreteGlobalBlock",
        "_NSConcreteStackBlock",
        "_NSConcreteMallocBlock",
        "_Block_copy",
        "_Block_release",
        "_Block_object_assign",
        "_Block_object_dispose",
        "dispatch_retain",
        "dispatch_release",
        "dispatch_data_create",
        "dispatch_data_get_size",
        "dispatch_data_create_map",
        "_dispatch_data_destructor_free",
        "dispatch_time",
        "dispatch_semaphore_create",
        "dispatch_semaphore_wait",
        "dispatch_semaphore_signal",
        "dispatch_queue_create",
        "dispatch_get_global_queue",
        "dispatch_queue_get_label",
        "dispatch_async",
        "dispatch_async_f",
        "dispatch_sync",
        "dispatch_sync_f",
        "softmetal_expect_signature",
        "softmetal_check_leaks"
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) find(names[i]);
    static const char *const hidden[] = {"sm_new",         "sm_release",      "sm_messages", "sm_message_lookup",
                                         "sm_return_zero", "sm_string_create"};
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++) assert_null(dlsym(library, hidden[i]));
}

static void constants_are_strings(void **state)
{
    (void)state;
    static const char *const constants[][2] = {
        {"NSLocalizedDescriptionKey", "NSLocalizedDescription"},
        {"NSLocalizedFailureReasonErrorKey", "NSLocalizedFailureReason"},
        {"NSUnderlyingErrorKey", "NSUnderlyingError"},
        {"NSCocoaErrorDomain", "NSCocoaErrorDomain"},
        {"NSPOSIXErrorDomain", "NSPOSIXErrorDomain"},
    };
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
        id *constant = dlsym(library, constants[i][0]);
        assert_non_null(constant);
        assert_string_equal(utf8(*constant), constants[i][1]);
        release(*constant); /* of no effect */
        assert_string_equal(utf8(*constant), constants[i][1]);
    }
}

typedef struct version {
    int64_t major, minor, patch;
} version;

static void a_host_at_work(void **state)
{
    (void)state;
    void *pool = pool_push();
    id reason = *(id *)dlsym(library, "NSLocalizedFailureReasonErrorKey"), said = text("too large");
    id info = ((id(*)(id, SEL, id, id))msg_send)(get_class("NSDictionary"), register_name("dictionaryWithObject:forKey:"), said,
                                                 reason);
    id error = ((id(*)(id, SEL, id, int64_t, id))msg_send)(
        get_class("NSError"), register_name("errorWithDomain:code:userInfo:"), text("MTLCommandBufferErrorDomain"), 8, info);
    assert_string_equal(utf8(send(error, "localizedFailureReason")), "too large");
    assert_string_equal(utf8(send(error, "localizedDescription")), "The operation couldn\xe2\x80\x99t be completed. too large");
    id process = send(get_class("NSProcessInfo"), "processInfo");
    version here = ((version(*)(id, SEL))msg_send_struct)(process, register_name("operatingSystemVersion"));
    assert_int_equal(here.major, 15);
    assert_true(((double (*)(id, SEL))msg_send)(process, register_name("systemUptime")) > 0.0);
    pool_pop(pool);
}

/* ---- A block as C hosts write one for addCompletedHandler: */

typedef struct block {
    void *isa;
    int flags, reserved;
    void (*invoke)(struct block *self, id argument);
    const struct descriptor {
        unsigned long reserved, size;
    } * descriptor;
    id *seen;
} block;

static void note_argument(block *self, id argument)
{
    *self->seen = argument;
}

static void blocks_travel_through_dispatch(void **state)
{
    (void)state;
    static const struct descriptor layout = {0, sizeof(block)};
    void (*dispatch_sync)(id, void *) = (void (*)(id, void *))find("dispatch_sync");
    id (*global_queue)(long, unsigned long) = (id(*)(long, unsigned long))find("dispatch_get_global_queue");
    id seen = &seen;
    block local = {dlsym(library, "_NSConcreteStackBlock"), 0, 0, note_argument, &layout, &seen};
    void *copy = ((void *(*)(const void *))find("_Block_copy"))(&local);
    assert_ptr_not_equal(copy, &local);
    ((block *)copy)->invoke(copy, library);
    assert_ptr_equal(seen, library);
    dispatch_sync(global_queue(0, 0), copy);
    ((void (*)(const void *))find("_Block_release"))(copy);
}

/* ---- What the host can learn of its mistakes */

static bool last_report(softmetal_report *report)
{
    size_t count = ((size_t(*)(void))find("softmetal_report_count"))();
    return count > 0 && ((bool (*)(size_t, softmetal_report *))find("softmetal_get_report"))(count - 1, report);
}

static void mistakes_are_told(void **state)
{
    (void)state;
    softmetal_report report;
    void *pool = pool_push();
    ((void (*)(void))find("softmetal_reset"))();
    assert_null(send(text("x"), "lenght"));
    assert_true(last_report(&report));
    assert_int_equal(report.kind, SOFTMETAL_UNKNOWN_SELECTOR);
    assert_string_equal(report.message, "-[NSString lenght]: no such method");
    id string = ((id(*)(id, SEL, const char *))msg_send)(send(get_class("NSString"), "alloc"),
                                                         register_name("initWithUTF8String:"), "y");
    release(string);
    assert_int_equal(send_uint(string, "length"), 0);
    assert_true(last_report(&report));
    assert_int_equal(report.kind, SOFTMETAL_USE_AFTER_END);
    release(string);
    assert_true(last_report(&report));
    assert_int_equal(report.kind, SOFTMETAL_OVER_RELEASE);
    bool (*expect)(const char *, const char *, const char *) =
        (bool (*)(const char *, const char *, const char *))find("softmetal_expect_signature");
    assert_true(expect("NSArray", "objectAtIndex:", "@@:Q"));
    assert_false(expect("NSURL", "path", "Q@:"));
    assert_true(last_report(&report));
    assert_int_equal(report.kind, SOFTMETAL_BAD_SIGNATURE);
    pool_pop(pool);
}

static void counts_and_leaks(void **state)
{
    (void)state;
    softmetal_counts counts;
    void (*get_counts)(softmetal_counts *) = (void (*)(softmetal_counts *))find("softmetal_get_counts");
    size_t (*check_leaks)(void) = (size_t(*)(void))find("softmetal_check_leaks");
    ((void (*)(void))find("softmetal_reset"))();
    assert_int_equal(check_leaks(), 0); /* all that the tests above made has gone */
    id object = send(get_class("NSObject"), "new");
    for (int i = 0; i < 100; i++) send(object, "self");
    get_counts(&counts);
    assert_int_equal(counts.messages, 101);
    assert_int_equal(counts.live_objects, 1);
    assert_int_equal(check_leaks(), 1);
    softmetal_report report;
    assert_true(last_report(&report));
    assert_int_equal(report.kind, SOFTMETAL_LEAK);
    assert_string_equal(report.message, "NSObject: 1 object is still alive");
    release(object);
    assert_int_equal(check_leaks(), 0);
}

/* A thread that used a pool may end after the library was closed. */
static void *use_a_pool(void *closed)
{
    (void)pool_push();
    sem_wait(closed);
    return NULL;
}

static void closing_leaves_it_loaded(void **state)
{
    (void)state;
    sem_t closed;
    pthread_t thread;
    sem_init(&closed, 0, 0);
    assert_int_equal(pthread_create(&thread, NULL, use_a_pool, &closed), 0);
    assert_int_equal(dlclose(library), 0);
    assert_non_null(dlopen(SOFTMETAL_LIBRARY, RTLD_NOW | RTLD_NOLOAD));
    sem_post(&closed);
    pthread_join(thread, NULL);
    sem_destroy(&closed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_names_are_there),      cmocka_unit_test(constants_are_strings),
        cmocka_unit_test(a_host_at_work),           cmocka_unit_test(blocks_travel_through_dispatch),
        cmocka_unit_test(mistakes_are_told),        cmocka_unit_test(counts_and_leaks),
        cmocka_unit_test(closing_leaves_it_loaded),
    };
    return cmocka_run_group_tests(tests, open_library, NULL);
}
