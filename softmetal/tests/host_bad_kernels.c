/* Kernels that do not end, or crash: as compiled from their text, in plain and in checked worlds. Each ends its command buffer
 * with the error that it should, is named with its line, and leaves a device that works. */
#include "scene.h"

enum { TIMEOUT = 2, PAGE_FAULT = 3 }; /* of MTLCommandBufferErrorDomain */

/* HERE stands on the line that the report names, if it names one. */
typedef struct bad {
    const char *name, *body, *before;
} bad;

typedef struct kind {
    const char *name;
    int64_t code;
    const char *words; /* of the report */
    const bad *kernels;
    size_t count;
} kind;

/* A compiler of C++ may take for granted that these end. */
static const bad endless[] = {
    {"of_nothing", "while (true) {} // HERE\ny[t] = 1;", ""},
    {"that_never_gets_there", "uint n = 1;\nwhile (n != 0) n += 2; // HERE\ny[t] = n;", ""},
    {"on_memory_that_nobody_changes", "while (x[1] == 37) {} // HERE\ny[t] = 1;", ""},
    {"of_barriers", "for (;;) threadgroup_barrier(mem_flags::mem_threadgroup); // HERE", ""},
    {"of_simd_functions", "float v = 1;\nwhile (v > 0) v = simd_max(v); // HERE\ny[t] = v;", ""},
    {"on_an_atomic",
     "device atomic_uint *a = (device atomic_uint *)y;\nwhile (atomic_load_explicit(a, memory_order_relaxed) == 0) {} // HERE",
     ""},
    {"on_a_thread_in_front",
     "threadgroup atomic_uint a;\n"
     "if (i == 0) atomic_store_explicit(&a, 0u, memory_order_relaxed);\n"
     "threadgroup_barrier(mem_flags::mem_threadgroup);\n"
     "if (i == 63) { while (atomic_load_explicit(&a, memory_order_relaxed) == 0) {} } // HERE\n"
     "if (i == 0) atomic_store_explicit(&a, 1u, memory_order_relaxed);",
     ""},
};
static const bad overflows[] = {
    {"recursion", "y[t] = deeper(x[t], x);",
     "static float deeper(float v, device float *p) { return v < 0 ? p[0] : p[uint(deeper(v + 1, p)) % 64]; }\n"},
    {"a_large_frame", "float large[60000];\nfor (uint n = 0; n < 60000; n++) large[n] = x[n % 64];\ny[t] = large[uint(x[t])];",
     ""},
    {"a_frame_over_many_stacks",
     "float large[4000000];\nlarge[uint(x[t])] = 1;\nthreadgroup_barrier(mem_flags::mem_none);\ny[t] = large[uint(x[t + 1])];",
     ""},
};
static const bad crashes[] = {
    {"trap", "if (t == 3) __builtin_trap(); // HERE\ny[t] = 1;", ""},
    {"abortion", "if (t == 3) __builtin_abort(); // HERE\ny[t] = 1;", ""},
    {"a_pointer_from_nowhere", "device float *p = (device float *)ulong(x[1] * 4096.0f);\ny[t] = p[t]; // HERE", ""},
};
#define KIND(name, code, words) {#name, code, words, name, sizeof name / sizeof *name}
static const kind kinds[] = {
    KIND(endless, TIMEOUT, "did not end in time"),
    KIND(overflows, PAGE_FAULT, "stack overflowed"),
    KIND(crashes, PAGE_FAULT, ""),
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* Eight kernels at most: those are compiled together. */
static const char *text_with(const kind *k)
{
    static const char parameters[] =
        "(device float *x [[buffer(0)]], device float *y [[buffer(1)]], uint t [[thread_position_in_grid]], "
        "uint i [[thread_index_in_threadgroup]])\n{\n";
    static char text[8192];
    int length =
        snprintf(text, sizeof text, "#include <metal_stdlib>\nusing namespace metal;\nkernel void fine%sy[t] = 2 * x[t];\n}\n",
                 parameters);
    for (size_t i = 0; i < k->count; i++)
        length += snprintf(text + length, sizeof text - (size_t)length, "%skernel void %s%s%s\n}\n", k->kernels[i].before,
                           k->kernels[i].name, parameters, k->kernels[i].body);
    assert_in_range(length, 1, sizeof text - 1);
    return text;
}

static float twice(uint32_t t)
{
    return 2 * input(t);
}

/* The line of the first HERE behind the kernel's name, if it has one. */
static uint32_t marked_line(const char *text, const bad *b)
{
    if (!strstr(b->body, "HERE")) return 0;
    size_t at = (size_t)(strstr(text, b->name) - text), end = at + (size_t)(strstr(text + at, "HERE") - (text + at));
    uint32_t line = 1;
    for (size_t i = 0; i < end; i++) line += text[i] == '\n';
    return line;
}

static void run(scene *s, const char *name)
{
    begin(s, false);
    go(s, name);
    finished(s);
}

static void ends_its_buffer(scene *s, const kind *k, const bad *b, const char *text)
{
    host.reset();
    run(s, b->name);
    assert_int_equal(number(s->buffer, "status"), STATUS_ERROR);
    assert_int_equal(error_code(get(s->buffer, "error")), k->code);
    softmetal_report report;
    assert_true(host.get_report(0, &report));
    uint32_t line = marked_line(text, b);
    bool outside =
        report.kind == SOFTMETAL_OUT_OF_BOUNDS && k->kernels == crashes; /* a checked world sees where a pointer leads */
    bool right = (report.kind == SOFTMETAL_TRAP || outside) && strstr(report.message, k->words) &&
                 strcmp(report.kernel, b->name) == 0 && (line == 0 || report.line == 0 || report.line == line);
    if (!right || host.report_count() > 1) print_reports();
    assert_true(right);
    assert_int_equal(host.report_count(), 1);
    run(s, "fine");
    assert_int_equal(number(s->buffer, "status"), STATUS_COMPLETED);
    assert_true(holds(s->y, twice));
    assert_int_equal(host.report_count(), 1);
}

static void each_ends_its_buffer(void **state)
{
    const kind *k = *state;
    for (int build = SOFTMETAL_PLAIN; build <= SOFTMETAL_CHECKED; build++) {
        softmetal_world world = {.build = (softmetal_build)build, .workers = 2, .kernel_time_limit_ms = 100};
        const char *text = text_with(k);
        scene s = open_scene(&world, text);
        for (size_t i = 0; i < k->count; i++) ends_its_buffer(&s, k, &k->kernels[i], text);
        close_scene(&s);
    }
}

/* What fits is right: a large frame, a deep recursion that ends. */
static void large_frames(void **state)
{
    (void)state;
    softmetal_world world = {.workers = 2};
    scene s = open_scene(
        &world,
        "#include <metal_stdlib>\nusing namespace metal;\n"
        "static float down(uint n, float v) { return n == 0 ? v : sin(down(n - 1, v)) * 0 + v; }\n"
        "kernel void k(device float *x [[buffer(0)]], device float *y [[buffer(1)]], uint t [[thread_position_in_grid]]) {\n"
        "    float large[20000];\n    for (uint n = 0; n < 20000; n++) large[n] = n % 128 == t ? x[t] : 0.0f;\n"
        "    threadgroup_barrier(mem_flags::mem_none);\n"
        "    y[t] = large[12800 + t] + down(100, large[t]);\n}\n");
    run(&s, "k");
    assert_int_equal(number(s.buffer, "status"), STATUS_COMPLETED);
    assert_true(holds(s.y, twice));
    assert_no_reports();
    close_scene(&s);
}

int main(void)
{
    open_library();
    struct CMUnitTest tests[KINDS + 1] = {[KINDS] = cmocka_unit_test(large_frames)};
    for (size_t i = 0; i < KINDS; i++)
        tests[i] = (struct CMUnitTest){kinds[i].name, each_ends_its_buffer, NULL, NULL, (void *)(uintptr_t)&kinds[i]};
    return cmocka_run_group_tests_name("bad kernels", tests, NULL, NULL);
}
