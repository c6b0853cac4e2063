/* The strict check: each mistake is refused, on its line; each correct twin passes. */
#include "msl/msl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define HEAD "#include <metal_stdlib>\nusing namespace metal;\n" /* lines 1 and 2 */
#define KERNEL                                                                                                                 \
    "kernel void k(device float *x [[buffer(0)]], constant float &a [[buffer(1)]],\n"                                          \
    "              threadgroup float *shared [[threadgroup(0)]], uint i [[thread_position_in_grid]])\n{\n" /* lines 3 to 5 */

typedef struct sm_case {
    const char *name;
    const char *wrong; /* behind HEAD, or in the kernel's body if it has no `kernel` */
    unsigned line;     /* of the mistake */
    const char *says;  /* part of the message */
    const char *right; /* the same without the mistake */
} sm_case;

#define BODY(text) HEAD KERNEL text "}\n"

static const sm_case cases[] = {
    {"device pointer from threadgroup", BODY("    device float *p = shared;\n    p[0] = a;\n"), 6,
     "lvalue of type 'threadgroup float *'", BODY("    threadgroup float *p = shared;\n    p[0] = a;\n")},
    {"threadgroup pointer from device", BODY("    float z = 1;\n    threadgroup float *p = x;\n    p[0] = z;\n"), 7,
     "lvalue of type 'device float *'", BODY("    device float *p = x;\n    p[0] = a;\n")},
    {"cast across spaces", BODY("    device float *p = (device float *)shared;\n    p[0] = a;\n"), 6, "address space",
     BODY("    threadgroup float *p = (threadgroup float *)shared;\n    p[0] = a;\n")},
    {"reinterpret_cast across spaces",
     BODY("    threadgroup uint *p = reinterpret_cast<threadgroup uint *>(x);\n    p[0] = 1;\n"), 6, "reinterpret_cast",
     BODY("    device uint *p = reinterpret_cast<device uint *>(x);\n    p[0] = 1;\n")},
    {"argument of another space",
     HEAD "float first(const device float *p) { return p[0]; }\n" KERNEL "    x[i] = first(shared);\n}\n", 7,
     "no matching function",
     HEAD "float first(const threadgroup float *p) { return p[0]; }\n" KERNEL "    x[i] = first(shared);\n}\n"},
    {"store to constant", BODY("    a = 1;\n"), 6, "read-only", BODY("    x[i] = a;\n")},
    {"pointer of no space in a body", BODY("    float *p = &x[i];\n    *p = a;\n"), 6, "address space",
     BODY("    device float *p = &x[i];\n    *p = a;\n")},
    {"pointer of no space in parameters", HEAD "void set(float *p) { *p = 1; }\n" KERNEL "    x[i] = a;\n}\n", 3,
     "explicit address space", HEAD "void set(device float *p) { *p = 1; }\n" KERNEL "    set(x + i);\n}\n"},
    {"reference of no space", HEAD "void set(uint n,\n         float &p) { p = n; }\n" KERNEL "    x[i] = a;\n}\n", 4,
     "explicit address space",
     HEAD "void set(thread float &p) { p = 1; }\n" KERNEL "    float z;\n    set(z);\n    x[i] = z;\n}\n"},
    {"pointer of no space in a cast", BODY("    x[i] = *(float *)(x + i);\n"), 6, "address space",
     BODY("    x[i] = *(device float *)(x + i);\n")},
    {"pointer of no space in a class", HEAD "struct view {\n    int n;\n    float *p;\n};\n" KERNEL "    x[i] = a;\n}\n", 5,
     "explicit address space",
     HEAD "struct view {\n    int n;\n    device float *p;\n};\n" KERNEL "    view v = {1, x};\n    v.p[i] = a;\n}\n"},
    {"double", BODY("    double d = a;\n    x[i] = d;\n"), 6, "double", BODY("    float d = a;\n    x[i] = d;\n")},
    {"mutable static", BODY("    static int calls = 0;\n    x[i] = calls;\n"), 6, "static variable",
     BODY("    const int calls = 0;\n    x[i] = calls;\n")},
    {"mutable global", HEAD "int calls = 0;\n" KERNEL "    x[i] = calls;\n}\n", 3, "program scope variable",
     HEAD "constant int calls = 0;\n" KERNEL "    x[i] = calls;\n}\n"},
    {"const global of no space", HEAD "const float table[2] = {1, 2};\n" KERNEL "    x[i] = table[0];\n}\n", 3,
     "program scope variable", HEAD "constant float table[2] = {1, 2};\n" KERNEL "    x[i] = table[0];\n}\n"},
    {"goto", BODY("again:\n    x[i] += a;\n    if (x[i] < 3) goto again;\n"), 8, "goto",
     BODY("    do x[i] += a;\n    while (x[i] < 3);\n")},
    {"new", BODY("    thread int *p = new int;\n    x[i] = *p;\n"), 6, "new", BODY("    int p = 0;\n    x[i] = p;\n")},
    {"delete", BODY("    thread int *p = nullptr;\n    delete p;\n"), 7, "delete",
     BODY("    thread int *p = nullptr;\n    x[i] = p == nullptr;\n")},
    {"throw", BODY("    if (i > 3)\n        throw 1;\n"), 7, "exceptions", BODY("    if (i > 3)\n        return;\n")},
    {"try", BODY("    try { x[i] = a; } catch (...) {}\n"), 6, "exceptions", BODY("    { x[i] = a; }\n")},
    {"virtual", HEAD "struct shape {\n    virtual float area() const { return 1; }\n};\n" KERNEL "    x[i] = a;\n}\n", 4,
     "virtual",
     HEAD "struct shape {\n    float area() const { return 1; }\n};\n" KERNEL "    shape s;\n    x[i] = s.area();\n}\n"},
    {"std", BODY("    x[i] = std::max(a, 1.0f);\n"), 6, "std", BODY("    x[i] = metal::max(a, 1.0f);\n")},
    {"recursion",
     HEAD "uint factorial(uint n)\n{\n    return n < 2 ? 1 : n * factorial(n - 1);\n}\n" KERNEL "    x[i] = factorial(i);\n}\n",
     5, "recursion", HEAD "uint twice(uint n)\n{\n    return n * 2;\n}\n" KERNEL "    x[i] = twice(i);\n}\n"},
    {"threadgroup variable outside of a kernel",
     HEAD "float sum(float v)\n{\n    threadgroup float all[32];\n    all[0] = v;\n    return all[0];\n}\n" KERNEL
          "    x[i] = sum(a);\n}\n",
     5, "local address space",
     HEAD "float sum(float v)\n{\n    float all[32];\n    all[0] = v;\n    return all[0];\n}\n" KERNEL
          "    x[i] = sum(a);\n}\n"},
    {"max of uint and int", BODY("    x[i] = max(i, 1);\n"), 6, "ambiguous", BODY("    x[i] = max(i, 1u);\n")},
    {"clamp of float and ints", BODY("    x[i] = clamp(x[i], 0, 1);\n"), 6, "ambiguous",
     BODY("    x[i] = clamp(x[i], 0.0f, 1.0f);\n")},
    {"min of float and half", BODY("    half h = 1;\n    x[i] = min(a, h);\n"), 7, "ambiguous",
     BODY("    half h = 1;\n    x[i] = min(a, float(h));\n")},
    {"int4 to float4", BODY("    int4 n = 1;\n    float4 v = n;\n    x[i] = v.x;\n"), 7, "float4",
     BODY("    int4 n = 1;\n    float4 v = float4(n);\n    x[i] = v.x;\n")},
    {"half4 times float4", BODY("    half4 h = 1;\n    float4 v = 2;\n    v = v * h;\n    x[i] = v.x;\n"), 8, "vector",
     BODY("    half4 h = 1;\n    float4 v = 2;\n    v = v * float4(h);\n    x[i] = v.x;\n")},
    {"float3 to float4", BODY("    float3 v = 1;\n    float4 w = v;\n    x[i] = w.x;\n"), 7, "float4",
     BODY("    float3 v = 1;\n    float4 w = float4(v, 1);\n    x[i] = w.x;\n")},
    {"too few components", BODY("    float4 v = float4(a, 1);\n    x[i] = v.x;\n"), 6, "components",
     BODY("    float4 v = float4(a, 1, 2, 3);\n    x[i] = v.x;\n")},
    {"simdgroup_load of another type", BODY("    simdgroup_half8x8 m;\n    simdgroup_load(m, x, 8);\n"), 7, "simdgroup_load",
     BODY("    simdgroup_float8x8 m;\n    simdgroup_load(m, x, 8);\n")},
    {"simdgroup_load from thread memory", BODY("    float t[64];\n    simdgroup_float8x8 m;\n    simdgroup_load(m, t, 8);\n"),
     8, "simdgroup_load", BODY("    simdgroup_float8x8 m;\n    simdgroup_load(m, shared, 8);\n")},
    {"atomic on a plain pointer",
     BODY("    device uint *c = (device uint *)x;\n    atomic_fetch_add_explicit(c, 1u, memory_order_relaxed);\n"), 7,
     "atomic_fetch_add_explicit",
     BODY("    device atomic_uint *c = (device atomic_uint *)x;\n    atomic_fetch_add_explicit(c, 1u, "
          "memory_order_relaxed);\n")},
    {"as_type of another size", BODY("    x[i] = as_type<float>(ulong(1));\n"), 6, "different sizes",
     BODY("    x[i] = as_type<float>(uint(1));\n")},
    {"initialised threadgroup variable", BODY("    threadgroup float t[2] = {0};\n    x[i] = t[0];\n"), 6, "initialiser",
     BODY("    threadgroup float t[2];\n    t[0] = a;\n    x[i] = t[0];\n")},
    {"barrier without flags", BODY("    threadgroup_barrier();\n"), 6, "threadgroup_barrier",
     BODY("    threadgroup_barrier(mem_flags::mem_threadgroup);\n")},
    {"method on a device object as on a thread's",
     HEAD "struct counter {\n    int n;\n    void add() thread { n++; }\n};\nkernel void k(device counter *c "
          "[[buffer(0)]])\n{\n    c->add();\n}\n",
     9, "type 'device counter'",
     HEAD "struct counter {\n    int n;\n    void add() device { n++; }\n};\nkernel void k(device counter *c "
          "[[buffer(0)]])\n{\n    c->add();\n}\n"},
    {"through two macros",
     HEAD "#define AT(p) p[0]\n#define SET(p, v) AT(p) = v\n" KERNEL
          "    half4 h = 1;\n    float4 f = 1;\n    SET(x, a);\n    f = SET(f, h);\n}\n",
     11, "half4", HEAD "#define SET(p, v) p[0] = v\n" KERNEL "    SET(x, a);\n}\n"},
};

/* True if the check said what it should; what it said instead is printed. */
static bool agrees(const char *name, const char *text, bool expected, unsigned line, const char *says)
{
    sm_msl_options options = {0};
    char *errors, place[32];
    bool ok = sm_msl_strict(text, &options, &errors), agree = ok == expected;
    if (!ok && !expected) {
        /* The first error is the planted one. */
        snprintf(place, sizeof place, "program_source:%u:", line);
        char *end = strchr(errors, '\n');
        if (end) *end = 0;
        agree = strncmp(errors, place, strlen(place)) == 0 && strstr(errors, " error: ") && strstr(errors, says);
    }
    if (!agree)
        print_message("# %s: wanted %s, line %u, '%s'; got: %s\n", name, expected ? "no error" : "an error", line, says,
                      errors ? errors : "no error");
    free(errors);
    return agree;
}

static void test_mistakes(void **state)
{
    (void)state;
    size_t wrong = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        wrong += !agrees(cases[i].name, cases[i].wrong, false, cases[i].line, cases[i].says);
    assert_int_equal(wrong, 0);
}

static void test_correct_twins(void **state)
{
    (void)state;
    size_t wrong = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) wrong += !agrees(cases[i].name, cases[i].right, true, 0, "");
    assert_int_equal(wrong, 0);
}

static void test_without_clang(void **state)
{
    (void)state;
    sm_msl_options options = {0};
    char *errors;
    setenv("SOFTMETAL_CLANG", "/nowhere/clang-19", 1);
    assert_false(sm_msl_strict("kernel void k() {}\n", &options, &errors));
    assert_non_null(strstr(errors, "/nowhere/clang-19"));
    free(errors);
    unsetenv("SOFTMETAL_CLANG");
    char *path = strdup(getenv("PATH"));
    setenv("PATH", "/nowhere", 1);
    assert_false(sm_msl_strict("kernel void k() {}\n", &options, &errors));
    assert_non_null(strstr(errors, "clang-19"));
    assert_non_null(strstr(errors, "apt-get install"));
    free(errors);
    setenv("PATH", path, 1);
    free(path);
}

/* A library of a strict world is refused for what the plain compiler takes. */
static void test_strict_world(void **state)
{
    (void)state;
    const char *text = BODY("    x[i] = a;\n    float *p = &x[i];\n    *p = 2;\n");
    sm_msl_options options = {.name = "mine.metal"};
    char *errors;
    sm_msl_library *library = sm_msl_library_create(text, &options, &errors);
    if (!library) fail_msg("%s", errors);
    sm_msl_library_destroy(library);
    options.world.strict = true;
    assert_null(sm_msl_library_create(text, &options, &errors));
    assert_int_equal(strncmp(errors, "mine.metal:7:11: error: pointer type must have", 45), 0);
    free(errors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mistakes), cmocka_unit_test(test_correct_twins),
                                       cmocka_unit_test(test_without_clang), cmocka_unit_test(test_strict_world)};
    return cmocka_run_group_tests_name("msl strict", tests, NULL, NULL);
}
