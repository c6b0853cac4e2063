/* Selectors, classes, methods, protocols, and the agreement of type encodings. */
#include "objc_support.h"

static id nothing(id self, SEL _cmd)
{
    (void)self, (void)_cmd;
    return NULL;
}

static const sm_method device_methods[] = {
    SM_METHOD("newBufferWithLength:options:", "@@:QQ", nothing),
    SM_METHOD("newLibraryWithSource:options:error:", "@@:@@^@", nothing),
    SM_METHOD("maxThreadsPerThreadgroup", "{MTLSize=QQQ}@:", nothing),
    SM_METHOD("isHeadless", "B@:", nothing),
};
static const sm_method device_class_methods[] = {SM_METHOD("theDevice", "@@:", nothing)};
static sm_class device_class = {
    .name = "TestDevice", .protocol = "MTLTestDevice", SM_METHODS(device_methods), SM_CLASS_METHODS(device_class_methods)};
SM_REGISTER_AT_LOAD(device_class)
static sm_class better_class = {.name = "BetterDevice", .super = &device_class};
SM_REGISTER_AT_LOAD(better_class)

static void selectors_are_unique(void **state)
{
    (void)state;
    SEL one = sel_registerName("setBuffer:offset:atIndex:");
    char name[] = "setBuffer:offset:atIndex:";
    assert_ptr_equal(sel_registerName(name), one);
    assert_ptr_equal(sel_getUid(name), one);
    assert_string_equal(sel_getName(one), name);
    assert_string_equal((const char *)one, name); /* as hosts print it on a Mac */
    assert_ptr_not_equal(sel_registerName("setBuffer:offset:atIndex"), one);
    assert_true(sel_isEqual(one, one));
    assert_null(sel_registerName(NULL));
    assert_string_equal(sel_getName(NULL), "<null selector>");
    for (int i = 0; i < 5000; i++) { /* through the chains */
        char many[32];
        snprintf(many, sizeof many, "selector%d:", i);
        assert_string_equal(sel_getName(sel_registerName(many)), many);
    }
    assert_ptr_equal(sel_registerName(name), one);
}

static void classes_are_found_by_name(void **state)
{
    (void)state;
    static const char *const names[] = {
        "NSObject", "NSString",    "NSError", "NSArray", "NSMutableArray", "NSDictionary",      "NSMutableDictionary",
        "NSNumber", "NSValue",     "NSURL",   "NSData",  "NSDate",         "NSAutoreleasePool", "NSProcessInfo",
        "NSBundle", "NSEnumerator"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        Class class = objc_getClass(names[i]);
        assert_non_null(class);
        assert_string_equal(class_getName(class), names[i]);
        assert_ptr_equal(objc_lookUpClass(names[i]), class);
        assert_ptr_equal(objc_getMetaClass(names[i]), object_getClass((id) class));
        assert_true(class_isMetaClass(objc_getMetaClass(names[i])));
        assert_true(object_isClass((id) class));
    }
    assert_null(objc_getClass("NSNothing"));
    assert_null(objc_getClass(NULL));
    assert_null(objc_getMetaClass("NSNothing"));
    assert_string_equal(class_getName(NULL), "nil");
    assert_string_equal(object_getClassName(NULL), "nil");
}

static void every_class_is_listed_once(void **state)
{
    (void)state;
    size_t found = 0;
    for (size_t i = 0; i < sm_class_count(); i++) found += strcmp(class_getName(sm_class_at(i)), "TestDevice") == 0;
    assert_int_equal(found, 1);
    assert_null(sm_class_at(sm_class_count()));
    size_t before = sm_class_count();
    assert_true(sm_register(&device_class));
    assert_int_equal(sm_class_count(), before);
}

static void kinds(void **state)
{
    (void)state;
    id object = send((id)&better_class, "new");
    assert_string_equal(object_getClassName(object), "BetterDevice");
    assert_ptr_equal(class_getSuperclass(&better_class), &device_class);
    assert_ptr_equal(send(object, "class"), &better_class);
    assert_ptr_equal(send((id)&better_class, "class"), &better_class);
    assert_ptr_equal(objc_opt_class(object), &better_class);
    assert_ptr_equal(send(object, "superclass"), &device_class);
    assert_true(send_test(object, "isKindOfClass:", (id)&device_class));
    assert_true(send_test(object, "isKindOfClass:", class_named("NSObject")));
    assert_false(send_test(object, "isKindOfClass:", class_named("NSString")));
    assert_false(send_test(object, "isKindOfClass:", NULL));
    assert_false(send_test(object, "isMemberOfClass:", (id)&device_class));
    assert_true(send_test(object, "isMemberOfClass:", (id)&better_class));
    assert_true(send_test((id)&better_class, "isSubclassOfClass:", (id)&device_class));
    assert_false(send_test((id)&device_class, "isSubclassOfClass:", (id)&better_class));
    assert_true(objc_opt_isKindOfClass(object, &device_class));
    sm_release(object);
}

static void methods_can_be_asked_for(void **state)
{
    (void)state;
    SEL length = sel_registerName("newBufferWithLength:options:"), the = sel_registerName("theDevice"),
        none = sel_registerName("none");
    id object = send((id)&better_class, "new");
    assert_true(send_test(object, "respondsToSelector:", (id)length));
    assert_true(send_test(object, "respondsToSelector:", (id)sel_registerName("retain")));
    assert_false(send_test(object, "respondsToSelector:", (id)the));
    assert_true(send_test((id)&better_class, "respondsToSelector:", (id)the));
    assert_true(send_test((id)&better_class, "instancesRespondToSelector:", (id)length));
    assert_false(send_test(object, "respondsToSelector:", (id)none));
    assert_true(objc_opt_respondsToSelector(object, length));
    assert_true(class_respondsToSelector(&better_class, length));
    assert_false(class_respondsToSelector(NULL, length));
    Method method = class_getInstanceMethod(&better_class, length);
    assert_string_equal(method_getTypeEncoding(method), "@@:QQ");
    assert_ptr_equal(method_getName(method), length);
    assert_true(method_getImplementation(method) == (IMP)nothing);
    assert_true(class_getMethodImplementation(&better_class, length) == (IMP)nothing);
    assert_null(class_getInstanceMethod(&better_class, the));
    assert_non_null(class_getClassMethod(&better_class, the));
    assert_null(class_getClassMethod(&better_class, none));
    assert_null(((id(*)(id, SEL))class_getMethodImplementation(&better_class, none))(object, none)); /* callable, answers 0 */
    unsigned count = 0;
    Method *list = class_copyMethodList(&device_class, &count);
    assert_int_equal(count, 4);
    assert_string_equal(sel_getName(method_getName(list[3])), "isHeadless");
    assert_null(list[4]);
    free(list);
    assert_null(class_copyMethodList(&better_class, &count));
    assert_int_equal(count, 0);
    sm_release(object);
}

static void protocols_are_names(void **state)
{
    (void)state;
    id object = send((id)&better_class, "new");
    Protocol protocol = objc_getProtocol("MTLTestDevice");
    assert_non_null(protocol);
    assert_ptr_equal(objc_getProtocol("MTLTestDevice"), protocol);
    assert_string_equal(protocol_getName(protocol), "MTLTestDevice");
    assert_true(send_test(object, "conformsToProtocol:", (id)protocol));
    assert_true(send_test((id)&better_class, "conformsToProtocol:", (id)protocol));
    assert_true(class_conformsToProtocol(&better_class, objc_getProtocol("NSObject")));
    assert_false(class_conformsToProtocol(objc_getClass("NSString"), protocol));
    assert_null(objc_getProtocol("MTLNothing"));
    sm_release(object);
}

static id two(id self, SEL _cmd, id first, id second)
{
    (void)self, (void)_cmd;
    return first ? first : second;
}

static void messages_by_name(void **state)
{
    (void)state;
    id object = send((id)&better_class, "new");
    Class class = objc_allocateClassPair(NULL, "Performer", 0);
    class_addMethod(class, sel_registerName("first:second:"), (IMP)two, "@@:@@");
    objc_registerClassPair(class);
    id performer = send((id) class, "new");
    SEL pair = sel_registerName("first:second:");
    assert_ptr_equal(((id(*)(id, SEL, SEL))sm_sender())(object, sel_registerName("performSelector:"), sel_registerName("self")),
                     object);
    assert_ptr_equal(((id(*)(id, SEL, SEL, id, id))sm_sender())(
                         performer, sel_registerName("performSelector:withObject:withObject:"), pair, NULL, object),
                     object);
    assert_ptr_equal(
        ((id(*)(id, SEL, SEL, id))sm_sender())(performer, sel_registerName("performSelector:withObject:"), pair, object),
        object);
    assert_reports(SOFTMETAL_UNKNOWN_SELECTOR, "-[BetterDevice none]",
                   ((id(*)(id, SEL, SEL))sm_sender())(object, sel_registerName("performSelector:"), sel_registerName("none")));
    sm_release(object);
    sm_release(performer);
}

static void descriptions(void **state)
{
    (void)state;
    void *pool = objc_autoreleasePoolPush();
    id object = send((id)&better_class, "new");
    assert_int_equal(strncmp(sm_string_utf8(send(object, "description")), "<BetterDevice: 0x", 17), 0);
    assert_string_equal(sm_string_utf8(send(object, "debugDescription")), sm_string_utf8(send(object, "description")));
    assert_string_equal(sm_string_utf8(send((id)&better_class, "description")), "BetterDevice");
    assert_true(send_test(object, "isEqual:", object));
    assert_false(send_test(object, "isEqual:", NULL));
    assert_true(send_uint(object, "hash") == (uintptr_t)object);
    sm_release(object);
    objc_autoreleasePoolPop(pool);
}

/* ---- Encodings */

static void encodings_that_agree(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"@@:QQ", "@24@0:8Q16Q24"},
        {"B@:", "c@:"},
        {"Q@:q", "L@:l"},
        {"v@:{MTLSize=QQQ}{MTLSize=QQQ}", "v@:{?=QQQ}{MTLSize}"},
        {"{_NSRange=QQ}@:", "{NSRange=QQ}@:"},
        {"@@:@@^@", "@@:@\"NSString\"@\"MTLCompileOptions\"^v"},
        {"v@:@?", "v@:@?<v@?@>"},
        {"*@:", "r*@:"},
        {"^v@:", "*@:"},
        {"v@:^{MTLSize=QQQ}", "v@:^{?=QQQ}"},
        {"#@:", "@@:"},
        {"v@:{a=[4f]i}", "v@:{a=[4f]i}"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        if (!sm_encodings_agree(pairs[i][0], pairs[i][1]) || !sm_encodings_agree(pairs[i][1], pairs[i][0]))
            fail_msg("'%s' and '%s' should agree", pairs[i][0], pairs[i][1]);
    }
}

static void encodings_that_differ(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"@@:QQ", "@@:QI"},
        {"@@:QQ", "@@:Q"},
        {"@@:QQ", "@@:QQQ"},
        {"v@:Q", "v@:q"},
        {"v@:f", "v@:d"},
        {"v@:", "@@:"},
        {"v@:{MTLSize=QQQ}", "v@:{MTLOrigin=QQQ}"},
        {"v@:{MTLSize=QQQ}", "v@:{MTLSize=III}"},
        {"v@:{MTLSize=QQQ}", "v@:{MTLSize=QQ}"},
        {"v@:{MTLSize=QQQ}", "v@:QQQ"},
        {"v@:@", "v@:^v"},
        {"v@:{a=[4f]}", "v@:{a=[3f]}"},
        {"v@:B", "v@:i"},
        {"v@::", "v@:@"},
        {"v@:{?={?=QQ}Q}", "v@:{?={?=QI}Q}"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        if (sm_encodings_agree(pairs[i][0], pairs[i][1]) || sm_encodings_agree(pairs[i][1], pairs[i][0]))
            fail_msg("'%s' and '%s' should differ", pairs[i][0], pairs[i][1]);
    }
}

/* Malformed ones give an answer, and nothing worse. */
static void encodings_that_are_broken(void **state)
{
    (void)state;
    static const char *const broken[] = {"{",   "{a", "{a=", "[", "[4", "[99999999999999999999", "@\"",
                                         "@?<", "^",  "^^^", "(", "}",  "{{{{{{{{{{{{{{{{{{{{=Q"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        sm_encodings_agree(broken[i], "v@:");
        sm_encodings_agree(broken[i], broken[i]);
        sm_returns_struct(broken[i]);
        sm_result_size(broken[i]);
    }
    assert_false(sm_encodings_agree("{", "v@:"));
}

static void ways_of_results(void **state)
{
    (void)state;
    assert_false(sm_returns_struct("Q@:"));
    assert_false(sm_returns_struct("{_NSRange=QQ}@:"));
    assert_true(sm_returns_struct("{MTLSize=QQQ}@:"));
    assert_true(sm_returns_struct("r{MTLSize=QQQ}24@0:8"));
    assert_true(sm_returns_struct("{a=[17C]}@:"));
    assert_false(sm_returns_struct("{a=[16C]}@:"));
    assert_true(sm_returns_struct("{a=ddddd}@:"));
#if defined(__x86_64__)
    assert_true(sm_returns_struct("{a=dddd}@:"));
#else
    assert_false(sm_returns_struct("{a=dddd}@:")); /* in four registers */
    assert_true(sm_returns_struct("{a=dddQ}@:"));
#endif
    assert_int_equal(sm_result_size("{MTLSize=QQQ}@:"), 24);
    assert_int_equal(sm_result_size("{a=CQI}@:"), 24);
    assert_int_equal(sm_result_size("{a={b=CI}[3s]}@:"), 16);
    assert_int_equal(sm_result_size("(a=CQI)@:"), 8);
    assert_int_equal(sm_result_size("Q@:"), 0);
}

/* ---- What hosts announce */

static void announced_messages_are_checked(void **state)
{
    (void)state;
    assert_reports_nothing({
        assert_true(softmetal_expect_signature("MTLTestDevice", "newBufferWithLength:options:", "@@:QQ"));
        assert_true(softmetal_expect_signature("MTLTestDevice", "maxThreadsPerThreadgroup", "{?=QQQ}16@0:8"));
        assert_true(softmetal_expect_signature("TestDevice", "+theDevice", "@@:"));
        assert_true(softmetal_expect_signature("TestDevice", "-retain", "@@:"));
        assert_true(softmetal_expect_signature("NSString", "stringWithUTF8String:", "@@:*"));
        assert_true(softmetal_expect_signature(NULL, "isHeadless", "c@:"));
        assert_false(softmetal_expect_signature("MTLUnheardOf", "isHeadless", "c@:"));
        assert_false(softmetal_expect_signature("MTLTestDevice", NULL, "c@:"));
    });
    uint64_t before =
        reported(SOFTMETAL_BAD_SIGNATURE, "newBufferWithLength:options:]: the host sends '@@:QI', the method takes '@@:QQ'");
    assert_false(softmetal_expect_signature("MTLTestDevice", "newBufferWithLength:options:", "@@:QI"));
    assert_int_equal(
        reported(SOFTMETAL_BAD_SIGNATURE, "newBufferWithLength:options:]: the host sends '@@:QI', the method takes '@@:QQ'"),
        before + 2); /* the class and the one below it */
    assert_reports(SOFTMETAL_UNKNOWN_SELECTOR, "[NSString nothing]",
                   assert_false(softmetal_expect_signature("NSString", "nothing", "@@:")));
    assert_reports(SOFTMETAL_UNKNOWN_SELECTOR, "[NSString -stringWithUTF8String:]",
                   assert_false(softmetal_expect_signature("NSString", "-stringWithUTF8String:", "@@:*")));
}

static void announcements_wait_for_their_class(void **state)
{
    (void)state;
    static const sm_method late_methods[] = {SM_METHOD("late:", "v@:Q", nothing)};
    static sm_class late_class = {.name = "LateClass", .protocol = "MTLLate", SM_METHODS(late_methods)};
    assert_false(softmetal_expect_signature("MTLLate", "late:", "v@:f"));
    assert_false(softmetal_expect_signature("MTLLate", "late:", "v@:Q"));
    assert_reports(SOFTMETAL_BAD_SIGNATURE, "[LateClass late:]: the host sends 'v@:f'", assert_true(sm_register(&late_class)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(selectors_are_unique),
        cmocka_unit_test(classes_are_found_by_name),
        cmocka_unit_test(every_class_is_listed_once),
        cmocka_unit_test(kinds),
        cmocka_unit_test(methods_can_be_asked_for),
        cmocka_unit_test(protocols_are_names),
        cmocka_unit_test(messages_by_name),
        cmocka_unit_test(descriptions),
        cmocka_unit_test(encodings_that_agree),
        cmocka_unit_test(encodings_that_differ),
        cmocka_unit_test(encodings_that_are_broken),
        cmocka_unit_test(ways_of_results),
        cmocka_unit_test(announced_messages_are_checked),
        cmocka_unit_test(announcements_wait_for_their_class),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
