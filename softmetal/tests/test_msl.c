/* From MSL text to kernels that run: the whole path, on small texts. */
#include "msl/msl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char saxpy[] = "#include <metal_stdlib>\n"
                            "using namespace metal;\n"
                            "kernel void saxpy(const device float *x [[buffer(0)]], device float *y [[buffer(1)]],\n"
                            "                  constant float &a [[buffer(2)]], uint i [[thread_position_in_grid]])\n"
                            "{\n"
                            "    y[i] = a * x[i] + y[i] * 1.0;\n"
                            "}\n";

static void test_saxpy(void **state)
{
    (void)state;
    char *errors;
    sm_msl_options options = {0};
    sm_msl_library *library = sm_msl_library_create(saxpy, &options, &errors);
    if (!library) fail_msg("%s", errors);
    assert_int_equal(sm_msl_function_count(library), 1);
    assert_string_equal(sm_msl_function(library, 0)->name, "saxpy");
    assert_int_equal(sm_msl_function(library, 0)->line, 3);
    sm_built built;
    if (!sm_msl_build(library, "saxpy", NULL, 0, &built, &errors)) fail_msg("%s", errors);
    float x[4] = {1, 2, 3, 4}, y[4] = {10, 20, 30, 40}, a = 2;
    void *buffers[SM_BUFFERS] = {x, y, &a};
    sm_lane lane = {.buffers = buffers};
    for (uint32_t i = 0; i < 4; i++) {
        lane.thread_position_in_grid[0] = i;
        built.kernel->run(&lane);
    }
    const float expected[4] = {12, 24, 36, 48};
    assert_memory_equal(y, expected, sizeof y);
    assert_int_equal(built.kernel->argument_count, 4);
    assert_string_equal(built.kernel->arguments[2].name, "a");
    assert_int_equal(built.kernel->arguments[2].index, 2);
    assert_int_equal(built.kernel->arguments[2].size, 4);
    assert_true(built.kernel->arguments[2].reference);
    assert_true(built.kernel->arguments[0].read_only);
    assert_false(built.kernel->arguments[1].read_only);
    sm_msl_library_destroy(library);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_saxpy),
    };
    return cmocka_run_group_tests_name("msl", tests, NULL, NULL);
}
