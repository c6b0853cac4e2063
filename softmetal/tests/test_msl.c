/* From MSL text to kernels that run: each form of kernel, parameter, variable and literal. */
#include "support_msl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* The library of tests/msl/NAME. */
static sm_msl_library *open_library(const char *name, const sm_msl_options *options)
{
    char *text = test_msl_text(name);
    sm_msl_library *library = test_library(text, options);
    free(text);
    return library;
}

static void test_saxpy(void **state)
{
    (void)state;
    sm_msl_library *library =
        test_library("#include <metal_stdlib>\n"
                     "using namespace metal;\n"
                     "kernel void saxpy(const device float *x [[buffer(0)]], device float *y [[buffer(1)]],\n"
                     "                  constant float &a [[buffer(2)]], uint i [[thread_position_in_grid]])\n"
                     "{\n"
                     "    y[i] = a * x[i] + y[i] * 1.0;\n"
                     "}\n",
                     NULL);
    assert_int_equal(sm_msl_function_count(library), 1);
    assert_string_equal(sm_msl_function(library, 0)->name, "saxpy");
    assert_int_equal(sm_msl_function(library, 0)->line, 3);
    assert_null(sm_msl_function(library, 1));
    sm_built built = test_build(library, "saxpy", NULL, 0);
    float x[4] = {1, 2, 3, 4}, y[4] = {10, 20, 30, 40}, a = 2;
    void *buffers[SM_BUFFERS] = {x, y, &a};
    sm_lane lane = {.buffers = buffers};
    for (uint32_t i = 0; i < 4; i++) {
        lane.thread_position_in_grid[0] = i;
        test_run(&built, &lane);
    }
    const float expected[4] = {12, 24, 36, 48};
    assert_memory_equal(y, expected, sizeof y);
    assert_int_equal(built.kernel->argument_count, 4);
    assert_int_equal(built.kernel->line, 3);
    assert_int_equal(built.kernel->max_threads, 0);
    const sm_argument *arguments = built.kernel->arguments;
    assert_string_equal(arguments[2].name, "a");
    assert_int_equal(arguments[2].index, 2);
    assert_int_equal(arguments[2].size, 4);
    assert_true(arguments[2].reference);
    assert_true(arguments[2].read_only);
    assert_true(arguments[2].constant_space);
    assert_true(arguments[0].read_only);
    assert_false(arguments[0].constant_space);
    assert_false(arguments[1].read_only);
    assert_int_equal(arguments[3].kind, SM_ARGUMENT_BUILTIN);
    sm_msl_library_destroy(library);
}

static void test_implicit_indices(void **state)
{
    (void)state;
    sm_msl_library *library = open_library("forms.metal", NULL);
    sm_built built = test_build(library, "implicit", NULL, 0);
    assert_int_equal(test_argument(built.kernel, "first")->index, 0);
    assert_int_equal(test_argument(built.kernel, "args")->index, 2);
    assert_int_equal(test_argument(built.kernel, "args")->size, 8);
    assert_int_equal(test_argument(built.kernel, "named")->index, 1);
    assert_int_equal(test_argument(built.kernel, "last")->index, 3);
    float first[1] = {0}, named[1] = {3}, last[1] = {0};
    struct {
        uint32_t count;
        float scale;
    } arguments = {17, 2};
    void *buffers[SM_BUFFERS] = {first, named, &arguments, last};
    test_run(&built, &(sm_lane){.buffers = buffers});
    assert_true(first[0] == 6 && last[0] == 17);
    sm_msl_library_destroy(library);
}

static void test_builtins(void **state)
{
    (void)state;
    sm_msl_library *library = open_library("forms.metal", NULL);
    sm_built built = test_build(library, "attribute_form", NULL, 0);
    uint32_t out[8] = {0};
    void *buffers[SM_BUFFERS] = {out};
    sm_lane lane = {
        .buffers = buffers,
        .thread_position_in_grid = {11, 12, 13},
        .threadgroup_position_in_grid = {21, 22, 23},
        .thread_index_in_simdgroup = 5,
        .threads_per_threadgroup = {4, 3, 2},
    };
    test_run(&built, &lane);
    const uint32_t expected[8] = {11, 12, 13, 21, 22, 5, 32, 24};
    assert_memory_equal(out, expected, sizeof out);
    sm_msl_library_destroy(library);
}

static void test_names_and_limits(void **state)
{
    (void)state;
    sm_msl_library *library = open_library("forms.metal", NULL);
    int32_t out[1] = {0};
    void *buffers[SM_BUFFERS] = {out, NULL, NULL, out};
    sm_built built = test_build(library, "inner::deep::nested", NULL, 0);
    test_run(&built, &(sm_lane){.buffers = buffers});
    assert_int_equal(out[0], 42);
    built = test_build(library, "renamed", NULL, 0);
    assert_int_equal(built.kernel->arguments[0].index, 3);
    test_run(&built, &(sm_lane){.buffers = buffers});
    assert_int_equal(out[0], 7);
    assert_int_equal(test_build(library, "limited", NULL, 0).kernel->max_threads, 96);
    assert_int_equal(test_build(library, "nothing", NULL, 0).kernel->argument_count, 0);
    char *errors;
    assert_false(sm_msl_build(library, "original", NULL, 0, &built, &errors));
    assert_string_equal(errors, "program_source: error: there is no kernel named 'original'\n");
    free(errors);
    sm_msl_library_destroy(library);
}

static void test_literals(void **state)
{
    (void)state;
    sm_msl_library *library = open_library("forms.metal", NULL);
    sm_built built = test_build(library, "literals", NULL, 0);
    float out[6];
    void *buffers[SM_BUFFERS] = {out};
    test_run(&built, &(sm_lane){.buffers = buffers});
    const float expected[6] = {1.0f / 3.0f, 1e-1f, 3.75f, 1.5f, 24, 1000.25f};
    assert_memory_equal(out, expected, sizeof out);
    sm_msl_library_destroy(library);
}

static void test_array_arguments(void **state)
{
    (void)state;
    sm_msl_library *library = open_library("forms.metal", NULL);
    sm_built built = test_build(library, "array_reference", NULL, 0);
    assert_int_equal(test_argument(built.kernel, "table")->size, 16);
    assert_true(test_argument(built.kernel, "table")->reference);
    float table[4] = {1, 2, 3, 4}, out[4] = {0};
    void *buffers[SM_BUFFERS] = {table, out};
    test_run(&built, &(sm_lane){.buffers = buffers});
    assert_memory_equal(table, out, sizeof out);
    sm_msl_library_destroy(library);
}

static void test_templates(void **state)
{
    (void)state;
    sm_msl_library *library = open_library("templates.metal", NULL);
    static const char *const names[] = {"scale_float_3", "scale_int",    "scale_half", "fill_float",
                                        "fill_uint",     "fill_deduced", "number_5"};
    assert_int_equal(sm_msl_function_count(library), sizeof names / sizeof *names);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) assert_string_equal(sm_msl_function(library, i)->name, names[i]);
    float value = 5, factor = 2;
    void *buffers[SM_BUFFERS] = {&value, &factor};
    sm_lane lane = {.buffers = buffers};
    sm_built built = test_build(library, "scale_float_3", NULL, 0);
    test_run(&built, &lane);
    assert_true(value == 30);
    assert_int_equal(built.kernel->max_threads, 96);
    built = test_build(library, "scale_int", NULL, 0);
    int32_t integer = 5, two = 2;
    buffers[0] = &integer;
    buffers[1] = &two;
    test_run(&built, &lane);
    assert_int_equal(integer, 20);
    assert_int_equal(built.kernel->max_threads, 64); /* by the default argument */
    for (int form = 0; form < 3; form++) {
        built = test_build(library, names[3 + form], NULL, 0);
        uint32_t from = 77, to = 0;
        buffers[0] = &to;
        buffers[1] = &from;
        test_run(&built, &lane);
        assert_int_equal(to, 77);
        assert_int_equal(built.kernel->arguments[0].size, form == 2 ? 2 : 4);
    }
    built = test_build(library, "number_5", NULL, 0);
    buffers[0] = &integer;
    test_run(&built, &lane);
    assert_int_equal(integer, 5);
    sm_msl_library_destroy(library);
}

static void test_threadgroup_memory(void **state)
{
    (void)state;
    sm_msl_library *library = open_library("threadgroup.metal", NULL);
    sm_built built = test_build(library, "variables", NULL, 0);
    int32_t out[9] = {0}, given[1] = {0};
    struct {
        int32_t a;
        float b;
    } one = {0, 0};
    void *buffers[SM_BUFFERS] = {out}, *groups[SM_BUFFERS] = {given, &one};
    test_run(&built, &(sm_lane){.buffers = buffers, .threadgroup = groups});
    const int32_t expected[9] = {1, 2, 3, 15, 15, 19, 54, 72, 100};
    assert_memory_equal(out, expected, sizeof out);
    assert_int_equal(test_argument(built.kernel, "one")->index, 1);
    assert_int_equal(test_argument(built.kernel, "one")->kind, SM_ARGUMENT_THREADGROUP);
    /* Nine of the kernel, one of each instance of the helper. */
    assert_int_equal(test_threadgroup_variables(), 11);
    assert_int_equal(test_threadgroup_bytes(), 32 + 24 + 4 + 4 + 12 + 16 + 16 + 3 + 8 + 16 + 32);
    assert_in_range(built.kernel->threadgroup_bytes, test_threadgroup_bytes(), test_threadgroup_bytes() + 16);
    /* Of instances, each has its own size. */
    uint32_t number = 0;
    buffers[0] = &number;
    built = test_build(library, "sized_char", NULL, 0);
    test_run(&built, &(sm_lane){.buffers = buffers});
    assert_int_equal(number, 13);
    assert_int_equal(built.kernel->threadgroup_bytes, 10);
    built = test_build(library, "sized_long", NULL, 0);
    test_run(&built, &(sm_lane){.buffers = buffers});
    assert_int_equal(number, 83);
    assert_int_equal(built.kernel->threadgroup_bytes, 80);
    sm_msl_library_destroy(library);
}

static void run_spaces(const sm_msl_options *options)
{
    sm_msl_library *library = open_library("spaces.metal", options);
    sm_built built = test_build(library, "spaces", NULL, 0);
    int32_t in[2] = {3, 4}, out[10] = {0}, number = 9;
    uint32_t flag = 0;
    void *buffers[SM_BUFFERS] = {in, out, &number, &flag};
    test_run(&built, &(sm_lane){.buffers = buffers});
    const int32_t expected[10] = {3, 4, 6, 35, 12, 82, 3, 7, 5, 30};
    assert_memory_equal(out, expected, sizeof out);
    assert_int_equal(flag, 1);
    assert_int_equal(built.checked, options && options->world.build == SOFTMETAL_CHECKED);
    sm_msl_library_destroy(library);
}

static void test_address_spaces(void **state)
{
    (void)state;
    run_spaces(NULL);
}

/* The other builds of the same text: instrumented, fast mathematics, jitter. */
static void test_flavours(void **state)
{
    (void)state;
    run_spaces(&(sm_msl_options){.world = {.build = SOFTMETAL_CHECKED}});
    run_spaces(&(sm_msl_options){.fast_math = true});
    run_spaces(&(sm_msl_options){.world = {.ulp_jitter = 2}});
}

/* Both compilers take the same texts. */
static void test_clang(void **state)
{
    (void)state;
    static const char *const texts[] = {"forms.metal", "templates.metal", "threadgroup.metal"};
    setenv("SOFTMETAL_CXX", "clang++-19", 1);
    run_spaces(NULL);
    run_spaces(&(sm_msl_options){.world = {.build = SOFTMETAL_CHECKED}});
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        sm_msl_library *library = open_library(texts[i], NULL);
        test_build(library, sm_msl_function(library, 0)->name, NULL, 0);
        sm_msl_library_destroy(library);
    }
    unsetenv("SOFTMETAL_CXX");
}

static void test_macros_and_version(void **state)
{
    (void)state;
    const char *text =
        "kernel void k(device int *out [[buffer(0)]]) { out[0] = N; out[1] = __METAL_VERSION__; out[2] = TWICE(4);\n"
        "#ifdef EMPTY\n    out[3] = 1 EMPTY;\n#endif\n}\n";
    const sm_macro macros[] = {{"N", "40 + 2"}, {"TWICE(x)", "((x) * 2)"}, {"EMPTY", NULL}};
    const struct {
        uint32_t asked, number;
    } versions[] = {{0, 320}, {3u << 16 | 1, 310}, {2u << 16 | 4, 240}, {4u << 16, 400}};
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        sm_msl_library *library =
            test_library(text, &(sm_msl_options){.macros = macros, .macro_count = 3, .language_version = versions[i].asked});
        sm_built built = test_build(library, "k", NULL, 0);
        int32_t out[4] = {0};
        void *buffers[SM_BUFFERS] = {out};
        test_run(&built, &(sm_lane){.buffers = buffers});
        const int32_t expected[4] = {42, (int32_t)versions[i].number, 8, 1};
        assert_memory_equal(out, expected, sizeof out);
        sm_msl_library_destroy(library);
    }
}

/* Fast mathematics takes it that there is no NaN; a text that asks for safe mathematics gets it. */
static void test_math_mode(void **state)
{
    (void)state;
    static const char body[] = "kernel void k(device float *x [[buffer(0)]]) { x[1] = x[0] != x[0]; }\n";
    for (int safe = 0; safe < 2; safe++) {
        char text[256];
        snprintf(text, sizeof text, "%s%s", safe ? "#pragma METAL fp math_mode(safe)\n" : "", body);
        sm_msl_library *library = test_library(text, &(sm_msl_options){.fast_math = true});
        sm_built built = test_build(library, "k", NULL, 0);
        float x[2] = {__builtin_nanf(""), -1};
        void *buffers[SM_BUFFERS] = {x};
        test_run(&built, &(sm_lane){.buffers = buffers});
        assert_true(x[1] == (float)safe);
        sm_msl_library_destroy(library);
    }
}

/* Taken, with a report: as some texts have it. */
static void test_ignored_initialiser(void **state)
{
    (void)state;
    softmetal_reset();
    sm_msl_library *library = test_library("kernel void k(device float *x [[buffer(0)]])\n{\n    threadgroup float t[4] = "
                                           "{0};\n    t[1] = 2;\n    x[0] = t[1];\n}\n",
                                           NULL);
    assert_int_equal(softmetal_report_count(), 1);
    softmetal_report report;
    assert_true(softmetal_get_report(0, &report));
    assert_int_equal(report.kind, SOFTMETAL_STRICT);
    assert_string_equal(report.message,
                        "program_source:3:28: warning: the initialiser of threadgroup variable 't' has no effect");
    test_build(library, "k", NULL, 0);
    sm_msl_library_destroy(library);
    softmetal_reset();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_saxpy), cmocka_unit_test(test_implicit_indices), cmocka_unit_test(test_builtins),
        cmocka_unit_test(test_names_and_limits), cmocka_unit_test(test_literals), cmocka_unit_test(test_array_arguments),
        cmocka_unit_test(test_templates), cmocka_unit_test(test_threadgroup_memory), cmocka_unit_test(test_address_spaces),
        cmocka_unit_test(test_flavours), cmocka_unit_test(test_clang), cmocka_unit_test(test_macros_and_version),
        cmocka_unit_test(test_math_mode), cmocka_unit_test(test_ignored_initialiser),
    };
    return cmocka_run_group_tests_name("msl", tests, NULL, NULL);
}
