/* Function constants: of every type, with and without values, in kernels that use them and in those that do not. */
#include "support_msl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

typedef struct sm_type_case {
    const char *type;
    uint32_t code;              /* MTLDataType */
    uint32_t components, bytes; /* bytes of a component */
} sm_type_case;

#define VECTORS(name, code, bytes)                                                                                             \
    {name, code, 1, bytes}, {name "2", code + 1, 2, bytes}, {name "3", code + 2, 3, bytes}, {name "4", code + 3, 4, bytes}
static const sm_type_case types[] = {
    VECTORS("float", 3, 4),  VECTORS("half", 16, 2),   VECTORS("int", 29, 4),  VECTORS("uint", 33, 4),
    VECTORS("short", 37, 2), VECTORS("ushort", 41, 2), VECTORS("char", 45, 1), VECTORS("uchar", 49, 1),
    VECTORS("bool", 53, 1),  {"long", 81, 1, 8},       {"ulong", 85, 1, 8},    {"bfloat", 121, 1, 2},
};
#define TYPES (sizeof types / sizeof *types)

/* Patterns of all kinds; a bool is 0 or 1, a half or float is no NaN. */
static void pattern(const sm_type_case *type, uint8_t bytes[32])
{
    for (uint32_t i = 0; i < type->components * type->bytes; i++) bytes[i] = (uint8_t)(0x3c + 11 * i);
    for (uint32_t i = 0; i < type->components && type->code >= 53 && type->code < 57; i++) bytes[i] = i % 2 == 0;
}

/* One library with a constant of each type; one kernel writes them all. */
static void test_every_type(void **state)
{
    (void)state;
    static char text[16384];
    size_t at = 0;
    for (size_t i = 0; i < TYPES; i++)
        at += (size_t)sprintf(text + at, "constant %s c%zu [[function_constant(%zu + 100)]];\n", types[i].type, i, i);
    at += (size_t)sprintf(text + at, "kernel void k(");
    for (size_t i = 0; i < 23; i++) at += (size_t)sprintf(text + at, "device %s *p%zu [[buffer(%zu)]], ", types[i].type, i, i);
    at += (size_t)sprintf(text + at, "uint index [[thread_position_in_grid]])\n{\n");
    for (size_t i = 0; i < 23; i++) at += (size_t)sprintf(text + at, "    p%zu[0] = c%zu;\n", i, i);
    at += (size_t)sprintf(text + at, "}\nkernel void l(");
    for (size_t i = 23; i < TYPES; i++)
        at += (size_t)sprintf(text + at, "device %s *p%zu [[buffer(%zu)]], ", types[i].type, i, i - 23);
    at += (size_t)sprintf(text + at, "uint index [[thread_position_in_grid]])\n{\n");
    for (size_t i = 23; i < TYPES; i++) at += (size_t)sprintf(text + at, "    p%zu[0] = c%zu;\n", i, i);
    sprintf(text + at, "}\n");
    sm_msl_library *library = test_library(text, NULL);
    const sm_function_info *info = sm_msl_function(library, 0);
    assert_int_equal(info->constant_count, 23);
    for (size_t i = 0; i < 23; i++) {
        assert_int_equal(info->constants[i].index, 100 + i);
        assert_int_equal(info->constants[i].type, types[i].code);
        assert_true(info->constants[i].required);
    }
    sm_constant_value values[TYPES];
    for (size_t i = 0; i < TYPES; i++) {
        uint8_t bytes[32] = {0};
        pattern(&types[i], bytes);
        values[i] = (sm_constant_value){.index = (uint32_t)(100 + i), .type = types[i].code};
        memcpy(values[i].bytes, bytes, sizeof values[i].bytes);
    }
    for (int part = 0; part < 2; part++) {
        size_t first = part ? 23 : 0, count = part ? TYPES - 23 : 23;
        sm_built built = test_build(library, part ? "l" : "k", values, TYPES);
        uint64_t out[31][4] = {{0}};
        void *buffers[SM_BUFFERS];
        for (size_t i = 0; i < 31; i++) buffers[i] = out[i];
        test_run(&built, &(sm_lane){.buffers = buffers});
        for (size_t i = 0; i < count; i++) {
            const sm_type_case *type = &types[first + i];
            if (memcmp(out[i], values[first + i].bytes, type->components * type->bytes) != 0)
                fail_msg("%s differs", type->type);
        }
    }
    sm_msl_library_destroy(library);
}

static const char optional[] =
    "constant int given [[function_constant(0)]];\n"
    "constant float maybe [[function_constant(7)]];\n"
    "constant bool has_maybe = is_function_constant_defined(maybe);\n"
    "constant float value = is_function_constant_defined(maybe) ? maybe : -1.0f;\n"
    "constant int unused [[function_constant(9)]];\n"
    "constant bool wanted [[function_constant(10)]];\n"
    "static int through() { return given * 2; }\n"
    "kernel void k(device float *out [[buffer(0)]])\n"
    "{\n"
    "    out[0] = through();\n"
    "    out[1] = has_maybe;\n"
    "    out[2] = value;\n"
    "}\n"
    "kernel void other(device int *out [[buffer(0)]]) { out[0] = 3; }\n"
    "kernel void guarded(device int *out [[buffer(0)]], device int *extra [[buffer(1), function_constant(wanted)]])\n"
    "{\n"
    "    out[0] = wanted ? extra[0] : -1;\n"
    "}\n";

static void run_floats(const sm_built *built, float out[3])
{
    void *buffers[SM_BUFFERS] = {out};
    test_run(built, &(sm_lane){.buffers = buffers});
}

static void test_optional(void **state)
{
    (void)state;
    sm_msl_library *library = test_library(optional, NULL);
    const sm_function_info *info = sm_msl_function(library, 0);
    assert_int_equal(info->constant_count, 2);
    assert_string_equal(info->constants[0].name, "given");
    assert_true(info->constants[0].required);
    assert_string_equal(info->constants[1].name, "maybe");
    assert_false(info->constants[1].required);
    sm_constant_value values[2] = {{.index = 0, .type = 29, .bytes = {21}},
                                   {.name = "maybe", .type = 3, .bytes = {0, 0, 0x20, 0x41}}};
    float out[3];
    sm_built built = test_build(library, "k", values, 1);
    run_floats(&built, out);
    assert_true(out[0] == 42 && out[1] == 0 && out[2] == -1);
    built = test_build(library, "k", values, 2);
    run_floats(&built, out);
    assert_true(out[0] == 42 && out[1] == 1 && out[2] == 10);
    /* Another value is another object; the same again is the same. */
    const void *object = built.object;
    values[0].bytes[0] = 1;
    built = test_build(library, "k", values, 2);
    assert_ptr_not_equal(built.object, object);
    run_floats(&built, out);
    assert_true(out[0] == 2);
    values[0].bytes[0] = 21;
    assert_ptr_equal(test_build(library, "k", values, 2).object, object);
    /* A kernel that uses none needs none; what it does not use makes no difference. */
    assert_int_equal(sm_msl_function(library, 1)->constant_count, 0);
    object = test_build(library, "other", NULL, 0).object;
    assert_ptr_equal(test_build(library, "other", values, 2).object, object);
    sm_msl_library_destroy(library);
}

static void test_guarded_argument(void **state)
{
    (void)state;
    sm_msl_library *library = test_library(optional, NULL);
    int32_t out[1] = {0}, extra[1] = {8};
    void *buffers[SM_BUFFERS] = {out, extra};
    for (int on = 0; on < 2; on++) {
        sm_constant_value value = {.name = "wanted", .type = 53, .bytes = {(uint8_t)on}};
        sm_built built = test_build(library, "guarded", &value, 1);
        assert_int_equal(built.kernel->argument_count, 1 + on);
        buffers[1] = on ? extra : NULL;
        test_run(&built, &(sm_lane){.buffers = buffers});
        assert_int_equal(out[0], on ? 8 : -1);
    }
    sm_msl_library_destroy(library);
}

static void refuse(const sm_constant_value *values, size_t count, const char *wanted)
{
    sm_msl_library *library = test_library(optional, NULL);
    sm_built built;
    char *errors;
    assert_false(sm_msl_build(library, "k", values, count, &built, &errors));
    assert_string_equal(errors, wanted);
    free(errors);
    sm_msl_library_destroy(library);
}

static void test_missing_and_mismatched(void **state)
{
    (void)state;
    refuse(NULL, 0, "program_source: error: function constant 'given' (index 0, int) has no value\n");
    refuse(&(sm_constant_value){.index = 0, .type = 33}, 1,
           "program_source: error: function constant 'given' (index 0) is declared as int; the value given is uint\n");
    refuse(
        &(sm_constant_value){.name = "given", .type = 99}, 1,
        "program_source: error: function constant 'given' (index 0) is declared as int; the value given is of another type\n");
}

/* Declarations that are no function constants: the place and the reason. */
static void test_bad_declarations(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"constant int a [[function_constant(0)]] = 3;\nkernel void k() {}\n",
         "program_source:1:41: error: function constant 'a' must not have an initialiser\n"},
        {"constant int a [[function_constant(x)]];\nkernel void k() {}\n",
         "program_source:1:36: error: the index of a function constant must be an integer from 0 to 65535\n"},
        {"constant int a [[function_constant(65536)]];\nkernel void k() {}\n",
         "program_source:1:36: error: the index of a function constant must be an integer from 0 to 65535\n"},
        {"struct s { int x; };\nconstant s a [[function_constant(1)]];\nkernel void k() {}\n",
         "program_source:2:1: error: function constant 'a' has type 's'; it must be a scalar or a vector\n"},
        {"constant int a [[function_constant(1)]];\nconstant int b [[function_constant(1)]];\nkernel void k() {}\n",
         "program_source:2:36: error: function constants 'a' and 'b' have the same index 1\n"},
        {"constant int a [[function_constant(1)]];\nconstant int b = 2;\nkernel void k(device int *o) { o[0] = "
         "is_function_constant_defined(b); }\n",
         "program_source:3:68: error: 'b' is not a function constant\n"},
        {"struct s {\n    constant int a [[function_constant(1)]];\n};\nkernel void k() {}\n",
         "program_source:2:5: error: a function constant must be declared at program scope\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *errors;
        assert_null(sm_msl_library_create(cases[i][0], &(sm_msl_options){0}, &errors));
        assert_string_equal(errors, cases[i][1]);
        free(errors);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_type), cmocka_unit_test(test_optional),
                                       cmocka_unit_test(test_guarded_argument), cmocka_unit_test(test_missing_and_mismatched),
                                       cmocka_unit_test(test_bad_declarations)};
    return cmocka_run_group_tests_name("msl constants", tests, NULL, NULL);
}
