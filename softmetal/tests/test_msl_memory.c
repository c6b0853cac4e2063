/* Every allocation of the translator fails in turn, alone and with all that follow: there is no kernel then, or the right one; nothing
 * crashes, and nothing is left behind. */
#include "objc/memory.h"
#include "support_msl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char text[] = "#include <metal_stdlib>\nusing namespace metal;\n"
                           "constant int factor [[function_constant(0)]];\n"
                           "template <typename T> T twice(device T *p) { return p[0] * 2; }\n"
                           "template <typename U> U twice(thread U *q) { return q[0] * 2; }\n"
                           "template <int N> kernel void k(device int *x [[buffer(0)]], constant int &a [[buffer(1)]])\n{\n"
                           "    threadgroup int t[N];\n    int r[4] = {[0 ... 3] = 1};\n    t[0] = a + r[3];\n    x[0] = t[0] * factor * 1.0 + twice(x);\n}\n"
                           "template [[host_name(\"k4\")]] kernel decltype(k<4>) k<4>;\n";
static const char wrong[] = "kernel void k(device int *x [[buffer(0)]])\n{\n    threadgroup int t = 3;\n    x[0] = t;\n}\n";

/* Library, kernel, strict check: true if all could be had. */
static bool go(void)
{
    char *errors = NULL;
    sm_msl_library *library = sm_msl_library_create(text, &(sm_msl_options){.macros = &(sm_macro){"A", "1"}, .macro_count = 1}, &errors);
    sm_built built = {0};
    const sm_constant_value value = {.index = 0, .type = 29, .bytes = {3}};
    free(errors);
    errors = NULL;
    bool ok = library && sm_msl_build(library, "k4", &value, 1, &built, &errors);
    free(errors);
    sm_msl_library_destroy(library);
    if (ok) {
        int32_t x[1] = {10}, a = 5;
        void *buffers[SM_BUFFERS] = {x, &a};
        test_run(&built, &(sm_lane){.buffers = buffers});
        assert_int_equal(x[0], 6 * 3 + 20);
    }
    errors = NULL;
    ok = sm_msl_strict(text, &(sm_msl_options){0}, &errors) && ok;
    free(errors);
    return ok;
}

/* A text that is refused stays refused. */
static bool go_wrong(void)
{
    char *errors = NULL;
    assert_null(sm_msl_library_create(wrong, &(sm_msl_options){0}, &errors));
    bool told = errors && strcmp(errors, "program_source:3:23: error: threadgroup variable 't' must not have an initialiser\n") == 0;
    free(errors);
    return told;
}

static void fail_each(bool (*go_through)(void), uint64_t at_once)
{
    assert_true(go_through()); /* what the disk keeps is there now */
    sm_fail_allocations(0, 0);
    assert_true(go_through());
    uint64_t count = sm_fail_allocations(0, 0);
    assert_in_range(count, 20, 2000);
    for (uint64_t nth = 1; nth <= count; nth++) {
        sm_fail_allocations(nth, at_once);
        go_through();
    }
    sm_fail_allocations(0, 0);
    assert_true(go_through());
}

static void test_each_alone(void **state)
{
    (void)state;
    fail_each(go, 1);
    fail_each(go_wrong, 1);
}

static void test_each_and_all_that_follow(void **state)
{
    (void)state;
    fail_each(go, UINT64_MAX);
    fail_each(go_wrong, UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_alone),
        cmocka_unit_test(test_each_and_all_that_follow),
    };
    return cmocka_run_group_tests_name("msl memory", tests, NULL, NULL);
}
