/* What the executor costs: a thread, a barrier, a meeting, a dispatch, and the mat-vecs of a small language model (SmolLM-135M's shapes,
 * 4 bits a weight in groups of 64), plain and checked. usage: bench_executor [workers] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "executor/executor.h"
#include "msl/msl.h"

static const char text[] =
    "#include <metal_stdlib>\n"
    "using namespace metal;\n"
    "kernel void empty() {}\n"
    "kernel void barriers(constant uint &n [[buffer(0)]]) { for (uint i = 0; i < n; i++) threadgroup_barrier(mem_flags::mem_threadgroup); }\n"
    "kernel void sums(constant uint &n [[buffer(0)]], device float *out [[buffer(1)]], uint t [[thread_position_in_grid]]) {\n"
    "    float v = t;\n"
    "    for (uint i = 0; i < n; i++) v = simd_sum(v) * 0.03125f;\n"
    "    if (v < 0) out[0] = v;\n"
    "}\n"
    "// Four rows a simdgroup; a lane takes every 32nd word of 8 weights.\n"
    "kernel void matvec(device const uint *weights [[buffer(0)]], device const half2 *scales [[buffer(1)]],\n"
    "                   device const float4 *x [[buffer(2)]], device float *y [[buffer(3)]], constant uint2 &shape [[buffer(4)]],\n"
    "                   uint group [[threadgroup_position_in_grid]], uint simdgroup [[simdgroup_index_in_threadgroup]],\n"
    "                   uint lane [[thread_index_in_simdgroup]]) {\n"
    "    const uint words = shape.x / 8, row = group * 8 + simdgroup * 4;\n"
    "    float sums[4] = {0, 0, 0, 0};\n"
    "    for (uint w = lane; w < words; w += 32) {\n"
    "        const float4 a = x[2 * w], b = x[2 * w + 1];\n"
    "        const float all = a.x + a.y + a.z + a.w + b.x + b.y + b.z + b.w;\n"
    "        for (uint r = 0; r < 4; r++) {\n"
    "            const uint q = weights[(row + r) * words + w];\n"
    "            const half2 s = scales[(row + r) * (words / 8) + w / 8];\n"
    "            float dot = a.x * float(q & 15) + a.y * float(q >> 4 & 15) + a.z * float(q >> 8 & 15) + a.w * float(q >> 12 & 15);\n"
    "            dot += b.x * float(q >> 16 & 15) + b.y * float(q >> 20 & 15) + b.z * float(q >> 24 & 15) + b.w * float(q >> 28);\n"
    "            sums[r] += float(s.x) * dot + float(s.y) * all;\n"
    "        }\n"
    "    }\n"
    "    for (uint r = 0; r < 4; r++) {\n"
    "        const float sum = simd_sum(sums[r]);\n"
    "        if (lane == 0) y[row + r] = sum;\n"
    "    }\n"
    "}\n";

static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static sm_built build(sm_msl_library *library, const char *name)
{
    sm_built built;
    char *errors = NULL;
    if (!sm_msl_build(library, name, NULL, 0, &built, &errors)) {
        fprintf(stderr, "%s: %s\n", name, errors);
        exit(1);
    }
    return built;
}

static sm_dispatch dispatch_of(const sm_built *built, uint32_t threads, uint32_t group)
{
    return (sm_dispatch){.kernel = built->kernel, .services = built->services, .checked = built->checked, .object = built->object,
                         .grid = {threads, 1, 1}, .group = {group, 1, 1}, .alone = true};
}

/* Nanoseconds of processor time that one dispatch takes, the best of some rounds. */
static double cost(sm_executor *executor, const sm_dispatch *dispatch, int times)
{
    double best = 1e30;
    for (int round = 0; round < 20; round++) {
        const double begin = now(CLOCK_PROCESS_CPUTIME_ID);
        for (int i = 0; i < times; i++) {
            sm_executor_order(executor);
            if (sm_executor_run(executor, dispatch) != SM_OK) exit(1);
        }
        const double taken = (now(CLOCK_PROCESS_CPUTIME_ID) - begin) / times;
        if (taken < best) best = taken;
    }
    return best;
}

static void small_costs(sm_executor *executor, sm_msl_library *library)
{
    enum { THREADS = 1 << 16, TIMES = 100 };
    const sm_built empty = build(library, "empty"), barriers = build(library, "barriers"), sums = build(library, "sums");
    const uint32_t times = TIMES;
    float out = 0;
    sm_dispatch one = dispatch_of(&empty, 1, 1);
    printf("  dispatch of 1 thread: %.0f ns\n", cost(executor, &one, 1000));
    for (uint32_t group = 32; group <= 1024; group *= 2) {
        sm_dispatch e = dispatch_of(&empty, THREADS, group), b = dispatch_of(&barriers, THREADS, group);
        sm_dispatch s = dispatch_of(&sums, THREADS, group);
        b.buffers[0] = s.buffers[0] = (sm_binding){.bytes = &times, .length = sizeof times};
        s.buffers[1] = (sm_binding){.bytes = &out, .length = sizeof out};
        printf("  groups of %4u: empty thread %.1f ns, barrier %.1f ns a thread, simd_sum %.0f ns a simdgroup\n", group,
               cost(executor, &e, 10) / THREADS, cost(executor, &b, 1) / THREADS / TIMES, cost(executor, &s, 1) / (THREADS / 32.0) / TIMES);
    }
}

typedef struct matrix {
    sm_memory weights, scales;
    uint32_t shape[2];
} matrix;

static void make(sm_memory *memory, uint64_t bytes)
{
    if (!sm_memory_create(memory, bytes, false)) exit(1);
    for (uint64_t i = 0; i < bytes / 4; i++) ((uint32_t *)memory->cpu)[i] = 0x2C002C00u + (uint32_t)(i * 2654435761u >> 28);
}

static void matvecs(sm_executor *executor, sm_msl_library *library)
{
    enum { LAYERS = 30, HIDDEN = 576, INNER = 1536, KEYS = 192, WORDS = 49152, COUNT = 7 * LAYERS + 1 };
    static const uint32_t shapes[7][2] = {{HIDDEN, HIDDEN}, {HIDDEN, KEYS}, {HIDDEN, KEYS}, {HIDDEN, HIDDEN},
                                          {HIDDEN, INNER}, {HIDDEN, INNER}, {INNER, HIDDEN}};
    const sm_built built = build(library, "matvec");
    static matrix matrices[COUNT];
    sm_memory x, y;
    double products = 0, best = 1e30, best_processor = 1e30;
    make(&x, INNER * 4);
    make(&y, WORDS * 4);
    for (int i = 0; i < COUNT; i++) {
        matrix *m = &matrices[i];
        m->shape[0] = i < 7 * LAYERS ? shapes[i % 7][0] : HIDDEN, m->shape[1] = i < 7 * LAYERS ? shapes[i % 7][1] : WORDS;
        make(&m->weights, (uint64_t)m->shape[0] * m->shape[1] / 2);
        make(&m->scales, (uint64_t)m->shape[0] * m->shape[1] / 64 * 4);
        products += (double)m->shape[0] * m->shape[1];
    }
    for (int round = 0; round < 7; round++) {
        const double begin = now(CLOCK_MONOTONIC), processor = now(CLOCK_PROCESS_CPUTIME_ID);
        for (int i = 0; i < COUNT; i++) {
            matrix *m = &matrices[i];
            sm_dispatch d = dispatch_of(&built, m->shape[1] / 8 * 64, 64);
            d.buffers[0] = (sm_binding){.memory = &m->weights, .length = m->weights.bytes};
            d.buffers[1] = (sm_binding){.memory = &m->scales, .length = m->scales.bytes};
            d.buffers[2] = (sm_binding){.memory = &x, .length = x.bytes};
            d.buffers[3] = (sm_binding){.memory = &y, .length = y.bytes};
            d.buffers[4] = (sm_binding){.bytes = m->shape, .length = sizeof m->shape};
            sm_executor_order(executor);
            if (sm_executor_run(executor, &d) != SM_OK) exit(1);
        }
        const double taken = now(CLOCK_MONOTONIC) - begin, used = now(CLOCK_PROCESS_CPUTIME_ID) - processor;
        if (taken < best) best = taken;
        if (used < best_processor) best_processor = used;
    }
    printf("  %d mat-vecs, %.1f M products: %.3f s, %.3f s of processor time\n", COUNT, products / 1e6, best / 1e9, best_processor / 1e9);
    for (int i = 0; i < COUNT; i++) sm_memory_destroy(&matrices[i].weights), sm_memory_destroy(&matrices[i].scales);
    sm_memory_destroy(&x);
    sm_memory_destroy(&y);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0); /* the small costs of a checked world take a minute */
    for (int checked = 0; checked < 2; checked++) {
        const softmetal_world world = {.build = checked ? SOFTMETAL_CHECKED : SOFTMETAL_PLAIN,
                                       .workers = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0};
        const sm_msl_options options = {.fast_math = true, .world = world};
        char *errors = NULL;
        sm_executor *executor = sm_executor_create(&world);
        sm_msl_library *library = sm_msl_library_create(text, &options, &errors);
        if (executor == NULL || library == NULL) {
            fprintf(stderr, "%s\n", errors != NULL ? errors : "no executor");
            return 1;
        }
        printf("%s\n", checked ? "checked" : "plain");
        matvecs(executor, library);
        small_costs(executor, library);
        softmetal_report report;
        for (size_t i = 0; softmetal_get_report(i, &report); i++) printf("  %s\n", report.message);
        sm_msl_library_destroy(library);
        sm_executor_destroy(executor);
    }
    return 0;
}
