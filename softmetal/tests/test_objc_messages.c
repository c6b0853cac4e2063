/* objc_msgSend and its kin: arguments, results, nil, and messages that go wrong. */
#include "objc_support.h"

#include <math.h>

typedef struct size3 {
    uint64_t width, height, depth;
} size3; /* MTLSize */
typedef struct pair {
    uint64_t first, second;
} pair;
typedef struct four {
    double x, y, z, w;
} four;

static IMP plain_super = objc_msgSendSuper;
#if defined(__x86_64__)
static IMP struct_sender = objc_msgSend_stret, struct_super = objc_msgSendSuper_stret, float_sender = objc_msgSend_fpret;
#else
static IMP struct_sender = objc_msgSend, struct_super = objc_msgSendSuper;
#endif

/* Stands in for the C library's, which the search for a method calls: this one leaves nothing in the vector registers that hold
 * arguments, so that none arrives by luck. */
int strcmp(const char *one, const char *other)
{
#if defined(__x86_64__)
    __asm__ volatile("pcmpeqd %%xmm0, %%xmm0; pcmpeqd %%xmm1, %%xmm1; pcmpeqd %%xmm2, %%xmm2; pcmpeqd %%xmm3, %%xmm3;"
                     "pcmpeqd %%xmm4, %%xmm4; pcmpeqd %%xmm5, %%xmm5; pcmpeqd %%xmm6, %%xmm6; pcmpeqd %%xmm7, %%xmm7"
                     :
                     :
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");
#elif defined(__aarch64__)
    __asm__ volatile("movi v0.16b, 255; movi v1.16b, 255; movi v2.16b, 255; movi v3.16b, 255;"
                     "movi v4.16b, 255; movi v5.16b, 255; movi v6.16b, 255; movi v7.16b, 255"
                     :
                     :
                     : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7");
#endif
    while (*one && *one == *other) one++, other++;
    return (uint8_t)*one - (uint8_t)*other;
}

/* ---- A class whose methods tell what they got */

typedef struct probe {
    sm_object object;
    int64_t integers[6];
    double doubles[10];
    size3 grid, group;
    uint8_t byte;
} probe;

static void take_integers(id self, SEL _cmd, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f)
{
    assert_string_equal(sel_getName(_cmd), "a:b:c:d:e:f:");
    memcpy(((probe *)self)->integers, (int64_t[]){a, b, c, d, e, f}, sizeof(int64_t[6]));
}

static double take_doubles(id self, SEL _cmd, double a, float b, double c, double d, double e, double f, double g, double h,
                           double i, float j)
{
    (void)_cmd;
    memcpy(((probe *)self)->doubles, (double[]){a, (double)b, c, d, e, f, g, h, i, (double)j}, sizeof(double[10]));
    return a + j;
}

static void take_sizes(id self, SEL _cmd, size3 grid, size3 group, uint8_t byte)
{
    (void)_cmd;
    ((probe *)self)->grid = grid;
    ((probe *)self)->group = group;
    ((probe *)self)->byte = byte;
}

static int64_t integer(id self, SEL _cmd)
{
    (void)self, (void)_cmd;
    return -7;
}

static float real(id self, SEL _cmd)
{
    (void)self, (void)_cmd;
    return 1.5f;
}

static long double long_real(id self, SEL _cmd)
{
    (void)self, (void)_cmd;
    return 2.5L;
}

static size3 size(id self, SEL _cmd, uint64_t width)
{
    (void)_cmd;
    return (size3){width, 2, self != NULL};
}

static pair both(id self, SEL _cmd)
{
    (void)self, (void)_cmd;
    return (pair){11, 12};
}

static four corners(id self, SEL _cmd)
{
    (void)self, (void)_cmd;
    return (four){1, 2, 3, 4};
}

static int sum(id self, SEL _cmd, int count, ...)
{
    (void)self, (void)_cmd;
    va_list list;
    va_start(list, count);
    double total = 0;
    for (int i = 0; i < count; i++) total += va_arg(list, double);
    va_end(list);
    return (int)total;
}

static const sm_method probe_methods[] = {
    SM_METHOD("a:b:c:d:e:f:", "v@:qqqqqq", take_integers),
    SM_METHOD("doubles:::::::::", "d@:dfdddddddf", take_doubles),
    SM_METHOD("grid:group:byte:", "v@:{MTLSize=QQQ}{MTLSize=QQQ}C", take_sizes),
    SM_METHOD("integer", "q@:", integer),
    SM_METHOD("real", "f@:", real),
    SM_METHOD("longReal", "D@:", long_real),
    SM_METHOD("size:", "{MTLSize=QQQ}@:Q", size),
    SM_METHOD("both", "{_NSRange=QQ}@:", both),
    SM_METHOD("corners", "{four=dddd}@:", corners),
    SM_METHOD("sum:", "i@:i", sum),
};

static int64_t derived_integer(id self, SEL _cmd)
{
    struct objc_super above = {self, object_getClass(self)->super};
    return ((int64_t(*)(struct objc_super *, SEL))plain_super)(&above, _cmd) * 100;
}

static const sm_method derived_methods[] = {SM_METHOD("integer", "q@:", derived_integer)};

static sm_class probe_class = {.name = "Probe", SM_METHODS(probe_methods), .size = sizeof(probe)};
static sm_class derived_class = {
    .name = "DerivedProbe", .super = &probe_class, SM_METHODS(derived_methods), .size = sizeof(probe)};
SM_REGISTER_AT_LOAD(derived_class)

/* ---- */

static void arguments_arrive(void **state)
{
    (void)state;
    probe *p = (probe *)sm_new(&probe_class);
    for (int round = 0; round < 2; round++) { /* by search, then from the cache */
        memset(p->integers, 0, sizeof p->integers);
        ((void (*)(id, SEL, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t))sm_sender())(
            &p->object, sel_registerName("a:b:c:d:e:f:"), 1, -2, 3, INT64_MIN, 5, INT64_MAX);
        assert_memory_equal(p->integers, ((int64_t[]){1, -2, 3, INT64_MIN, 5, INT64_MAX}), sizeof p->integers);
        double result =
            ((double (*)(id, SEL, double, float, double, double, double, double, double, double, double, float))sm_sender())(
                &p->object, sel_registerName("doubles:::::::::"), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10.5f);
        assert_memory_equal(p->doubles, ((double[]){1, 2, 3, 4, 5, 6, 7, 8, 9, 10.5}), sizeof p->doubles);
        assert_true(result == 11.5);
        ((void (*)(id, SEL, size3, size3, uint8_t))sm_sender())(&p->object, sel_registerName("grid:group:byte:"),
                                                                (size3){100, 20, 3}, (size3){32, 4, 1}, 0xab);
        assert_memory_equal(&p->grid, (&(size3){100, 20, 3}), sizeof(size3));
        assert_memory_equal(&p->group, (&(size3){32, 4, 1}), sizeof(size3));
        assert_int_equal(p->byte, 0xab);
        p->byte = 0;
    }
    sm_release(&p->object);
}

static void variadic_arguments_arrive(void **state)
{
    (void)state;
    id p = sm_new(&probe_class);
    for (int round = 0; round < 2; round++)
        assert_int_equal(((int (*)(id, SEL, int, ...))sm_sender())(p, sel_registerName("sum:"), 3, 1.5, 2.5, 38.0), 42);
    sm_release(p);
}

static void results_return(void **state)
{
    (void)state;
    id p = sm_new(&probe_class);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(((int64_t(*)(id, SEL))sm_sender())(p, sel_registerName("integer")), -7);
        assert_true(((float (*)(id, SEL))sm_sender())(p, sel_registerName("real")) == 1.5f);
        pair two = ((pair(*)(id, SEL))sm_sender())(p, sel_registerName("both"));
        assert_int_equal(two.first, 11);
        assert_int_equal(two.second, 12);
        size3 three = ((size3(*)(id, SEL, uint64_t))struct_sender)(p, sel_registerName("size:"), 1ull << 40);
        assert_int_equal(three.width, 1ull << 40);
        assert_int_equal(three.height, 2);
        assert_int_equal(three.depth, 1);
        four doubles = ((four(*)(id, SEL))struct_sender)(p, sel_registerName("corners"));
        assert_memory_equal(&doubles, (&(four){1, 2, 3, 4}), sizeof doubles);
    }
#if defined(__x86_64__)
    assert_true(((long double (*)(id, SEL))float_sender)(p, sel_registerName("longReal")) == 2.5L);
    assert_true(((long double (*)(id, SEL))float_sender)(p, sel_registerName("longReal")) == 2.5L);
#endif
    sm_release(p);
}

static void nil_answers_zero(void **state)
{
    (void)state;
    assert_reports_nothing({
        assert_null(send(NULL, "description"));
        assert_int_equal(((int64_t(*)(id, SEL))sm_sender())(NULL, sel_registerName("integer")), 0);
        assert_true(((float (*)(id, SEL))sm_sender())(NULL, sel_registerName("real")) == 0.0f);
        assert_true(((double (*)(id, SEL, double))sm_sender())(NULL, sel_registerName("real:"), 3.0) == 0.0);
        pair two = ((pair(*)(id, SEL))sm_sender())(NULL, sel_registerName("both"));
        assert_int_equal(two.first, 0);
        assert_int_equal(two.second, 0);
    });
#if defined(__x86_64__)
    for (int i = 0; i < 20; i++) /* the register stack is left even */
        assert_true(((long double (*)(id, SEL))float_sender)(NULL, sel_registerName("longReal")) == 0.0L);
#endif
}

/* The struct is cleared, and it is said that a Mac would not have done so. */
static void nil_clears_structs(void **state)
{
    (void)state;
    size3 three;
    memset(&three, 0xff, sizeof three);
    assert_reports(SOFTMETAL_VALIDATION, "'size:'",
                   three = ((size3(*)(id, SEL, uint64_t))struct_sender)(NULL, sel_registerName("size:"), 9));
    assert_memory_equal(&three, (&(size3){0, 0, 0}), sizeof three);
}

static void super_is_searched_above(void **state)
{
    (void)state;
    id p = sm_new(&derived_class);
    assert_int_equal(((int64_t(*)(id, SEL))sm_sender())(p, sel_registerName("integer")), -700);
    struct objc_super above = {p, &probe_class};
    size3 three = ((size3(*)(struct objc_super *, SEL, uint64_t))struct_super)(&above, sel_registerName("size:"), 5);
    assert_int_equal(three.width, 5);
    assert_reports(SOFTMETAL_UNKNOWN_SELECTOR, "-[Probe nothingSuch]",
                   ((void (*)(struct objc_super *, SEL))plain_super)(&above, sel_registerName("nothingSuch")));
    sm_release(p);
}

/* ---- Mistakes */

static void unknown_selectors_are_named(void **state)
{
    (void)state;
    id p = sm_new(&probe_class);
    assert_reports(SOFTMETAL_UNKNOWN_SELECTOR, "-[Probe newBufferOfLength:]", assert_null(send(p, "newBufferOfLength:")));
    assert_reports(SOFTMETAL_UNKNOWN_SELECTOR, "+[Probe newBufferOfLength:]",
                   assert_null(send((id)&probe_class, "newBufferOfLength:")));
    double zero = 1;
    assert_reports(SOFTMETAL_UNKNOWN_SELECTOR, "-[Probe zero]",
                   zero = ((double (*)(id, SEL))sm_sender())(p, sel_registerName("zero")));
    assert_true(zero == 0.0);
    for (int i = 0; i < 3; i++) /* and again: nothing wrong was cached */
        assert_reports(SOFTMETAL_UNKNOWN_SELECTOR, "-[Probe zero]", send(p, "zero"));
    sm_release(p);
}

static void selectors_that_are_none_are_named(void **state)
{
    (void)state;
    id p = sm_new(&probe_class);
    static const char raw[] = "integer"; /* a host that passes the name itself */
    assert_reports(SOFTMETAL_UNKNOWN_SELECTOR, "none that sel_registerName gave",
                   assert_null(((id(*)(id, SEL))sm_sender())(p, (SEL)(const void *)raw)));
    assert_reports(SOFTMETAL_UNKNOWN_SELECTOR, "<null selector>", assert_null(((id(*)(id, SEL))sm_sender())(p, NULL)));
    sm_release(p);
}

#if defined(__x86_64__)
static void wrong_way_of_a_struct_is_named(void **state)
{
    (void)state;
    id p = sm_new(&probe_class);
    struct objc_super above = {p, &probe_class};
    size3 three = {1, 1, 1};
    (void)three;
    /* A 24-byte struct through objc_msgSend: the receiver would be where the result goes. */
    assert_reports(SOFTMETAL_BAD_SIGNATURE, "it takes objc_msgSend_stret",
                   assert_int_equal(((uint64_t(*)(id, SEL, uint64_t))sm_sender())(p, sel_registerName("size:"), 9), 0));
    assert_reports(
        SOFTMETAL_BAD_SIGNATURE, "it takes objc_msgSend_stret",
        assert_int_equal(((uint64_t(*)(struct objc_super *, SEL, uint64_t))plain_super)(&above, sel_registerName("size:"), 9),
                         0));
    assert_reports(SOFTMETAL_BAD_SIGNATURE, "-[Probe integer]",
                   three = ((size3(*)(id, SEL))struct_sender)(p, sel_registerName("integer")));
    sm_release(p);
}
#endif

static void messages_are_counted(void **state)
{
    (void)state;
    id p = sm_new(&probe_class);
    SEL selector = sel_registerName("integer");
    uint64_t before = sm_messages;
    for (int i = 0; i < 1000; i++) ((int64_t(*)(id, SEL))sm_sender())(p, selector);
    for (int i = 0; i < 10; i++) ((int64_t(*)(id, SEL))sm_sender())(NULL, selector);
    assert_int_equal(sm_messages - before, 1010);
    sm_retain(p); /* what the library does itself does not count */
    sm_release(p);
    sm_release(p);
    assert_int_equal(sm_messages - before, 1010);
}

/* More selectors than any first table holds, each to its own method. */
static uint64_t which(id self, SEL _cmd)
{
    (void)self;
    return (uint64_t)atoll(sel_getName(_cmd) + 1);
}

static void caches_grow(void **state)
{
    (void)state;
    enum { METHODS = 3000 };
    Class class = objc_allocateClassPair(objc_getClass("NSObject"), "Wide", 0);
    for (int i = 0; i < METHODS; i++) {
        char name[16];
        snprintf(name, sizeof name, "m%d", i);
        assert_true(class_addMethod(class, sel_registerName(name), (IMP)which, "Q@:"));
    }
    objc_registerClassPair(class);
    id object = send((id) class, "new");
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < METHODS; i++) {
            char name[16];
            snprintf(name, sizeof name, "m%d", i);
            assert_int_equal(send_uint(object, name), i);
        }
    }
    sm_release(object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments_arrive),
        cmocka_unit_test(variadic_arguments_arrive),
        cmocka_unit_test(results_return),
        cmocka_unit_test(nil_answers_zero),
        cmocka_unit_test(nil_clears_structs),
        cmocka_unit_test(super_is_searched_above),
        cmocka_unit_test(unknown_selectors_are_named),
        cmocka_unit_test(selectors_that_are_none_are_named),
#if defined(__x86_64__)
        cmocka_unit_test(wrong_way_of_a_struct_is_named),
#endif
        cmocka_unit_test(messages_are_counted),
        cmocka_unit_test(caches_grow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
