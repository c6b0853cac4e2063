/* Mistakes in a text are told on its own lines and columns, whoever finds them. */
#include "support_msl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

typedef struct sm_mistake {
    const char *text;
    const char *error; /* how the errors begin, behind "program_source:" */
} sm_mistake;

#define K "kernel void k(device float *x [[buffer(0)]], uint i [[thread_position_in_grid]])\n"

/* Found by the translator: the whole message is ours. */
static const sm_mistake ours[] = {
    {"kernel void k(device float *x [[buffer(0)]]\n", "1:14: error: no matching ')'\n"},
    {K "{\n    x[i = 1;\n}\n", "4:1: error: extraneous closing '}'\n"},
    {K "{\n    x[i] = 1;\n", "2:1: error: no matching '}'\n"},
    {"kernel void k(device float *x [[buffer(31)]]) {}\n", "1:40: error: 'buffer' index must be from 0 to 30\n"},
    {"kernel void k(threadgroup float *x [[threadgroup(31)]]) {}\n", "1:50: error: 'threadgroup' index must be from 0 to 30\n"},
    {"kernel void k(device float *x [[buffer(2)]],\n              device float *y [[buffer(2)]]) {}\n",
     "2:29: error: 'x' and 'y' have the same buffer index 2\n"},
    {"kernel void k(device float *x, uint i) {}\n",
     "1:37: error: parameter 'i' of kernel 'k' has no attribute (structs of builtins are not simulated); give it an attribute"},
    {"struct inputs { uint i [[thread_position_in_grid]]; };\nkernel void k(device float *x, inputs in) {}\n",
     "2:39: error: parameter 'in' of kernel 'k' has no attribute"},
    {"kernel void k(float *x) {}\n",
     "1:22: error: parameter 'x' of kernel 'k': a pointer or reference needs an address space\n"},
    {"kernel void k(device float *x [[thread_position_in_grid]]) {}\n",
     "1:29: error: parameter 'x' of kernel 'k': a builtin is passed by value\n"},
    {"kernel void k(threadgroup float *x [[buffer(0)]]) {}\n",
     "1:34: error: parameter 'x' of kernel 'k': [[buffer]] needs the device or constant address space, not threadgroup\n"},
    {"kernel void k(texture2d<float> t [[texture(0)]]) {}\n",
     "1:36: error: parameters with the attribute [[texture]] are not simulated\n"},
    {"kernel int k(device float *x) { return 1; }\n", "1:12: error: kernel 'k' must return void\n"},
    {"vertex float4 v(uint i [[vertex_id]]) { return 0; }\n",
     "1:1: error: vertex functions are not simulated: only kernels are\n"},
    {"[[fragment]] float4 f() { return 0; }\n", "1:3: error: fragment functions are not simulated: only kernels are\n"},
    {"kernel void k(device int *x) {}\nnamespace n {\n[[host_name(\"k\")]] kernel void l(device int *x) {}\n}\n",
     "3:32: error: two kernels are named 'k'\nprogram_source:1:13: note: the other one is here\n"},
    {"template [[host_name(\"x\")]] kernel decltype(f<int>) f<int>;\n", "1:53: error: there is no kernel template 'f'\n"},
    {K "{\n    threadgroup float t[4] = {1, 2, 3, 4};\n    x[i] = t[0];\n}\n",
     "3:28: error: threadgroup variable 't' must not have an initialiser\n"},
    {K "{\n    threadgroup float t = x[i];\n    x[i] = t;\n}\n",
     "3:25: error: threadgroup variable 't' must not have an initialiser\n"},
    {"threadgroup float t[4];\n" K "{\n    x[i] = t[0];\n}\n",
     "1:1: error: a variable in the threadgroup address space must be declared in a kernel\n"},
    {"struct s {\n    threadgroup float t[4];\n};\n",
     "2:5: error: a member cannot be in the threadgroup address space: a pointer to it can\n"},
    {K "{\n    struct s {\n        int n;\n        threadgroup float t[4];\n    };\n}\n",
     "5:9: error: a member cannot be in the threadgroup address space: a pointer to it can\n"},
    {"float f(int n, threadgroup float v) { return v; }\n",
     "1:16: error: a value in the threadgroup address space can be no parameter and no cast: a pointer or reference can\n"},
    {K "{\n    x[i] = (threadgroup float)x[i];\n}\n",
     "3:13: error: a value in the threadgroup address space can be no parameter and no cast: a pointer or reference can\n"},
    {"typedef threadgroup float shared_float;\n",
     "1:9: error: 'threadgroup' in this place is not simulated: write it where the variable is declared\n"},
    {"using shared_float = threadgroup float;\n",
     "1:22: error: 'threadgroup' in this place is not simulated: write it where the variable is declared\n"},
    {K "{\n    float *threadgroup p = nullptr;\n}\n",
     "3:12: error: pointers that stand in threadgroup memory are not simulated\n"},
    {K "{\n    threadgroup float *p = nullptr, t[2];\n}\n",
     "3:37: error: declare the pointer and the threadgroup variable apart\n"},
    {K "{\n    for (threadgroup int n = 0; n < 3; n++) x[i] = n;\n}\n",
     "3:10: error: a value in the threadgroup address space can be no parameter and no cast"},
    {"int f(device int *p) { return p[0]; }\nint f(threadgroup int *p) { return p[1]; }\n" K "{\n}\n",
     "2:5: error: 'f' is overloaded by address space alone, with different bodies: the simulator, which has no address spaces, "
     "cannot choose\nprogram_source:1:5: note: the other one is here\n"},
    {"#define T threadgroup float\n" K "{\n    T t = 3;\n}\n",
     "4:9: error: threadgroup variable 't' must not have an initialiser\n"},
    {K "{\n    x[i] = 'a;\n}\n", "3:12: error: missing terminating \"'\" character\n"},
    {K "{\n    threadgroup float t<:4:>;\n}\n", "3:24: error: digraphs are not simulated: write the bracket itself\n"},
    {K "<% x[i] = 1; }\n", "2:1: error: digraphs are not simulated: write the bracket itself\n"},
    {K "{\n    x[i] = 1; # 3\n}\n", "3:15: error: stray '#' in the program\n"},
};

/* Found by the compiler: the place is ours, the words are its own. */
static const sm_mistake compilers[] = {
    {K "{\n    x[i] = undeclared;\n}\n", "3:12: error: "},
    {K "{\n    x[i]   =   1   +   /* some */ undeclared ;\n}\n", "3:35: error: "},
    {K "{\n\tx[i] =\tundeclared;\n}\n", "3:9: error: "},
    {K "{\n    float4 v = 1;\n    x[i] = v.q;\n}\n", "4:14: error: "},
    {K "{\n    x[i] = metal::no_such(1.0);\n}\n", "3:19: error: "},
    {K "{\n    x[i] = 1\n}\n", "3:13: error: "},
    {"#define GET(a) a + undeclared\n" K "{\n    x[i] = 2 * GET(x[0]);\n}\n", "4:16: error: "},
    {"#define SUM(a, b) (a + b)\n" K "{\n    x[i] = SUM(\n        x[0],\n        undeclared);\n}\n", "6:9: error: "},
    {"// one\n/* two\n   three */\n\n\n\n\n\n\n\n\n\n\n" K "{\n    undeclared();\n}\n", "16:5: error: "},
    {K "{\n    threadgroup float a[2], b[3];\n    a[0] = b[1] + undeclared;\n}\n", "4:19: error: "},
    {K "{\n    int n = 1.5h + undeclared + 2.5;\n}\n", "3:20: error: "},
    {"kernel void k(constant float &a [[buffer(0)]])\n{\n    a = 1;\n}\n", "3:7: error: "},
    {"template <typename T> T f(T v) { return v.none; }\n" K "{\n    x[i] = f(1);\n}\n", "1:43: error: "},
    {"kernel void k(unknown_type u [[thread_position_in_grid]]) {}\n", "1:15: error: "},
    {K "{\n    #pragma unroll\n    for (int j = 0; j < 3; j++)\n        x[j] = undeclared;\n}\n", "5:16: error: "},
    {"#error not for you\n" K "{}\n", "1:2: error: "},
    {"#include \"mine.h\"\n" K "{}\n",
     "1:10: fatal error: 'mine.h' file not found (newLibraryWithSource: has no include path)\n"},
    {"#include <vector>\n" K "{}\n",
     "1:10: fatal error: 'vector' file not found (newLibraryWithSource: has no include path)\n"},
    {"#if 1\n" K "{}\n", "1:1: error: "},
};

static size_t count_wrong(const sm_mistake *mistakes, size_t count, bool whole)
{
    size_t wrong = 0;
    for (size_t i = 0; i < count; i++) {
        char *errors = NULL, wanted[512];
        sm_msl_library *library = sm_msl_library_create(mistakes[i].text, &(sm_msl_options){0}, &errors);
        snprintf(wanted, sizeof wanted, "program_source:%s", mistakes[i].error);
        bool agree = !library && errors && strncmp(errors, wanted, strlen(wanted)) == 0;
        /* Where our message ends with its line there is nothing behind it. */
        if (agree && whole && wanted[strlen(wanted) - 1] == '\n') agree = strcmp(errors, wanted) == 0;
        if (!agree) print_message("# %s\n# wanted %s\n# got    %s\n", mistakes[i].text, wanted, errors ? errors : "no error");
        wrong += !agree;
        free(errors);
        sm_msl_library_destroy(library);
    }
    return wrong;
}

static void test_translator(void **state)
{
    (void)state;
    assert_int_equal(count_wrong(ours, sizeof ours / sizeof *ours, true), 0);
}

static void test_gcc(void **state)
{
    (void)state;
    assert_int_equal(count_wrong(compilers, sizeof compilers / sizeof *compilers, false), 0);
}

/* clang sees some mistakes a token earlier or later; the line is the same. */
static void test_clang(void **state)
{
    (void)state;
    size_t wrong = 0;
    setenv("SOFTMETAL_CXX", "clang++-19", 1);
    for (size_t i = 0; i < sizeof compilers / sizeof *compilers; i++) {
        char *errors = NULL, wanted[64];
        assert_null(sm_msl_library_create(compilers[i].text, &(sm_msl_options){0}, &errors));
        snprintf(wanted, sizeof wanted, "program_source:%.*s:", (int)strcspn(compilers[i].error, ":"), compilers[i].error);
        if (strncmp(errors, wanted, strlen(wanted)) != 0)
            print_message("# %s\n# wanted %s, got %s\n", compilers[i].text, wanted, errors), wrong++;
        free(errors);
    }
    unsetenv("SOFTMETAL_CXX");
    assert_int_equal(wrong, 0);
}

/* All mistakes of a text are told, not the first alone; the name is the host's. */
static void test_several(void **state)
{
    (void)state;
    char *errors;
    assert_null(sm_msl_library_create(K "{\n    x[i] = one;\n    x[i] = 1;\n    x[i] = two;\n}\n",
                                      &(sm_msl_options){.name = "mine.metal"}, &errors));
    assert_int_equal(strncmp(errors, "mine.metal:3:12: error: ", 24), 0);
    assert_non_null(strstr(errors, "\nmine.metal:5:12: error: "));
    assert_null(strstr(errors, "program_source"));
    assert_null(strstr(errors, "softmetal-entry"));
    free(errors);
}

/* Absolute paths are no way around. */
static void test_files_of_the_system(void **state)
{
    (void)state;
    char *errors;
    assert_null(sm_msl_library_create("#include \"/etc/passwd\"\n" K "{}\n", &(sm_msl_options){0}, &errors));
    assert_int_equal(strncmp(errors, "program_source:1:", 17), 0);
    assert_null(strstr(errors, "root"));
    free(errors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_translator), cmocka_unit_test(test_gcc),
                                       cmocka_unit_test(test_clang), cmocka_unit_test(test_several),
                                       cmocka_unit_test(test_files_of_the_system)};
    return cmocka_run_group_tests_name("msl errors", tests, NULL, NULL);
}
