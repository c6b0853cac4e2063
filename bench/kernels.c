/* Micro-benchmark of the CPU backend's matrix kernels: each layout and shape alone, beside what this machine can do at most.
 *
 *   bench_kernels [--threads N] [--kernels NAME] [--layout NAME] [--rows M]... [--busy 1] [--cached 1]
 *
 * M = 1: GB/s of canonical weight bytes over enough copies that nothing stays in a cache. M > 1: GOP/s, two operations a weight and row.
 * Medians of repeats; the limits are measured in the same run. With --busy (one thread) time is processor time and the best repeat counts:
 * what the kernels can do, on a machine that others use as well. With --cached a single copy of a weight is used again and again. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "backend/backend.h"
#include "base/alloc.h"

typedef struct shape {
    const char *name;
    uint32_t cols, rows;
} shape;

static const shape shapes[] = {
    {"135M attention out", 576, 576}, {"135M gate or up", 576, 1536},  {"135M down", 1536, 576},  {"135M output", 576, 49152},
    {"1B attention out", 2048, 2048}, {"1B gate or up", 2048, 8192}, {"1B down", 8192, 2048},
};

static bool busy, cached;

static double seconds(void)
{
    struct timespec time;
    clock_gettime(busy ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, ascending);
    return values[busy ? 0 : count / 2];
}

static void die(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static pv_buffer allocate(pv_backend_device *device, uint64_t bytes)
{
    pv_buffer buffer;
    if (device->backend->alloc(device, PV_MEMORY_SCRATCH, bytes, &buffer, NULL) != PV_OK) die("out of memory");
    return buffer;
}

/* ---- Limits --------------------------------------------------------------------------------------------------------- */

typedef struct limit_job {
    const uint64_t *words;
    size_t count;
    double result; /* seconds, or operations a second */
    uint64_t sum;
} limit_job;

static void *read_memory(void *user)
{
    limit_job *job = user;
    uint64_t sums[16] = {0};
    for (size_t i = 0; i + 64 <= job->count; i += 64) {
        for (size_t j = 0; j < 64; j++) sums[j % 16] += job->words[i + j];
    }
    for (size_t j = 0; j < 16; j++) job->sum += sums[j];
    return NULL;
}

static double run_threads(uint32_t threads, void *(*work)(void *), limit_job *jobs)
{
    pthread_t thread[64];
    const double start = seconds();
    for (uint32_t t = 1; t < threads; t++) pthread_create(&thread[t], NULL, work, &jobs[t]);
    work(&jobs[0]);
    for (uint32_t t = 1; t < threads; t++) pthread_join(thread[t], NULL);
    return seconds() - start;
}

static double memory_limit(uint32_t threads)
{
    const size_t words = (size_t)1 << 26; /* 512 MB */
    uint64_t *memory = malloc(words * 8);
    if (memory == NULL) die("out of memory");
    memset(memory, 1, words * 8);
    double times[7];
    for (int repeat = 0; repeat < 7; repeat++) {
        limit_job jobs[64] = {{0}};
        for (uint32_t t = 0; t < threads; t++) jobs[t] = (limit_job){.words = memory + words / threads * t, .count = words / threads};
        times[repeat] = run_threads(threads, read_memory, jobs);
    }
    free(memory);
    return (double)words * 8 / median(times, 7);
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static void *fma_peak(void *user)
{
    limit_job *job = user;
    __m512 sum[12];
    const __m512 factor = _mm512_set1_ps(0.999f + (float)job->sum);
    for (int i = 0; i < 12; i++) sum[i] = _mm512_set1_ps((float)i);
    for (size_t n = 0; n < job->count; n++) {
        for (int i = 0; i < 12; i++) sum[i] = _mm512_fmadd_ps(sum[i], factor, factor);
    }
    float out[16];
    for (int i = 1; i < 12; i++) sum[0] = _mm512_add_ps(sum[0], sum[i]);
    _mm512_storeu_ps(out, sum[0]);
    job->sum = (uint64_t)out[0];
    return NULL;
}

__attribute__((target("avx512f,avx512vnni"))) static void *int8_peak(void *user)
{
    limit_job *job = user;
    __m512i sum[12];
    const __m512i a = _mm512_set1_epi8((char)(3 + job->sum));
    for (int i = 0; i < 12; i++) sum[i] = _mm512_set1_epi32(i);
    for (size_t n = 0; n < job->count; n++) {
        for (int i = 0; i < 12; i++) sum[i] = _mm512_dpbusd_epi32(sum[i], a, a);
    }
    for (int i = 1; i < 12; i++) sum[0] = _mm512_add_epi32(sum[0], sum[i]);
    job->sum = (uint64_t)_mm512_reduce_add_epi32(sum[0]);
    return NULL;
}

static double peak(uint32_t threads, void *(*work)(void *), double operations)
{
    const size_t count = 4000000;
    double times[9];
    for (int repeat = 0; repeat < 9; repeat++) {
        limit_job jobs[64] = {{0}};
        for (uint32_t t = 0; t < threads; t++) jobs[t].count = count;
        times[repeat] = run_threads(threads, work, jobs);
    }
    return (double)count * 12 * operations * threads / median(times, 9);
}
#endif

/* ---- Kernels -------------------------------------------------------------------------------------------------------- */

static void *random_rows(pv_layout layout, uint32_t rows, uint32_t cols)
{
    uint64_t row_bytes;
    pv_layout_row_bytes(layout, cols, &row_bytes);
    uint8_t *bytes = malloc(rows * row_bytes);
    float *x = malloc(cols * sizeof *x);
    if (bytes == NULL || x == NULL) die("out of memory");
    for (uint32_t i = 0; i < cols; i++) x[i] = sinf((float)i);
    pv_layout_encode(layout, x, cols, bytes);
    for (uint32_t r = 1; r < rows; r++) memcpy(bytes + r * row_bytes, bytes, row_bytes);
    free(x);
    return bytes;
}

/* Median seconds of one op with M rows. */
static double time_linear(pv_backend_device *device, pv_layout layout, shape size, uint32_t rows, double *bytes)
{
    uint64_t row_bytes;
    pv_layout_row_bytes(layout, size.cols, &row_bytes);
    const uint64_t weight_bytes = row_bytes * size.rows;
    const size_t copies = rows == 1 && !cached ? (size_t)((192u << 20) / weight_bytes + 1) : 1;
    void *canonical = random_rows(layout, size.rows, size.cols);
    pv_weight_spec spec;
    if (device->backend->weight_spec(device, layout, size.rows, size.cols, PV_USE_MATRIX, &spec, NULL) != PV_OK) die("weight_spec");
    spec.bytes = (spec.bytes + 63) & ~(uint64_t)63;
    pv_buffer weights = allocate(device, spec.bytes * copies), x = allocate(device, 4ull * rows * size.cols);
    pv_buffer out = allocate(device, 4ull * rows * size.rows);
    for (size_t i = 0; i < (size_t)rows * size.cols; i++) ((float *)(void *)x.host)[i] = cosf((float)i);
    pv_op *ops = calloc(copies, sizeof *ops);
    if (ops == NULL) die("out of memory");
    for (size_t c = 0; c < copies; c++) {
        pv_op_linear *linear = &ops[c].linear;
        ops[c].kind = PV_OP_linear;
        ops[c].barrier = true;
        linear->x = (pv_tensor){.buffer = &x, .rows = rows, .cols = size.cols, .row_bytes = 4ull * size.cols, .extent = PV_EXTENT_ROWS};
        linear->part_count = 1;
        linear->parts[0].weight = (pv_tensor){.buffer = &weights, .offset = spec.bytes * c, .rows = size.rows, .cols = size.cols,
                                              .layout = layout, .packing = spec.packing};
        linear->parts[0].out = (pv_tensor){.buffer = &out, .rows = rows, .cols = size.rows, .row_bytes = 4ull * size.rows, .extent = PV_EXTENT_ROWS};
        if (device->backend->upload(device, &linear->parts[0].weight, 0, size.rows, canonical, NULL) != PV_OK) die("upload");
    }
    const pv_step_limits limits = {.rows = rows, .seqs = 1, .logits = 1};
    const pv_step_layout block_layout = pv_step_layout_for(&limits);
    pv_buffer block = allocate(device, block_layout.bytes);
    pv_step_view_of(block.host, &block_layout).counts->rows = rows;
    const pv_plan plan = {.ops = ops, .count = copies, .limits = limits, .rows = rows};
    pv_prepared *prepared;
    if (device->backend->prepare(device, &plan, &prepared, NULL) != PV_OK) die("prepare");
    const pv_submission submission = {.plans = &prepared, .plan_count = 1, .block = {.buffer = &block}, .outputs = {.buffer = &block}};
    double times[41], total = 0;
    size_t repeats = 0;
    while (repeats < 41 && (repeats < 5 || total < 0.6)) {
        pv_fence fence;
        const double start = seconds();
        device->backend->submit(device, &submission, &fence, NULL);
        device->backend->wait(device, fence, UINT32_MAX, NULL);
        total += times[repeats++] = seconds() - start;
    }
    device->backend->release(device, prepared);
    device->backend->free(device, &weights);
    device->backend->free(device, &x);
    device->backend->free(device, &out);
    device->backend->free(device, &block);
    free(canonical);
    free(ops);
    *bytes = (double)weight_bytes;
    return median(times, repeats) / (double)copies;
}

int main(int argc, char **argv)
{
    uint32_t threads = 1, rows[8], row_count = 0;
    const char *kernels = NULL, *only = NULL;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--threads") == 0) threads = (uint32_t)atoi(argv[i + 1]);
        if (strcmp(argv[i], "--kernels") == 0) kernels = argv[i + 1];
        if (strcmp(argv[i], "--layout") == 0) only = argv[i + 1];
        if (strcmp(argv[i], "--cached") == 0) cached = atoi(argv[i + 1]) != 0;
        if (strcmp(argv[i], "--busy") == 0) busy = atoi(argv[i + 1]) != 0;
        if (strcmp(argv[i], "--rows") == 0 && row_count < 8) rows[row_count++] = (uint32_t)atoi(argv[i + 1]);
    }
    if (row_count == 0) rows[row_count++] = 1, rows[row_count++] = 512;
    if (threads < 1 || threads > 64) die("threads: 1 to 64");
    const pv_allocator allocator = pv_allocator_default();
    const pv_environment environment = {.allocator = &allocator, .cpu_kernels = kernels, .threads = threads};
    pv_backend_device *device;
    pv_error error;
    if (pv_cpu_backend.open(&pv_cpu_backend, &environment, "cpu", false, &device, &error) != PV_OK) die(error.message);
    const pv_device_description *description = device->backend->describe(device);
    const double read = memory_limit(threads) * 1e-9;
    printf("%s, %s kernels, %u threads; memory read %.1f GB/s", description->name, description->kernels, threads, read);
    double fma = 0, int8 = 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512vnni")) {
        fma = peak(threads, fma_peak, 32) * 1e-9;
        int8 = peak(threads, int8_peak, 128) * 1e-9;
        printf(", f32 multiply-add %.0f GOP/s, 8-bit dot %.0f GOP/s", fma, int8);
    }
#endif
    printf("\n%-6s %-20s %6s %10s %8s %8s\n", "layout", "shape", "rows", "time µs", "rate", "of limit");
    for (int layout = 0; layout < PV_LAYOUT_COUNT; layout++) {
        const pv_layout_info *info = pv_layout_get((pv_layout)layout);
        if (only != NULL && strcmp(only, info->name) != 0) continue;
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            if (shapes[s].cols % info->block != 0) continue;
            for (uint32_t r = 0; r < row_count; r++) {
                double bytes;
                const double time = time_linear(device, (pv_layout)layout, shapes[s], rows[r], &bytes);
                const double operations = 2.0 * shapes[s].cols * shapes[s].rows * rows[r];
                const double rate = rows[r] == 1 ? bytes / time * 1e-9 : operations / time * 1e-9;
                const double limit = rows[r] == 1 ? read : info->block > 1 ? int8 : fma;
                printf("%-6s %-20s %6u %10.1f %8.1f %-5s", info->name, shapes[s].name, rows[r], time * 1e6, rate, rows[r] == 1 ? "GB/s" : "GOP/s");
                if (limit > 0) printf(" %5.0f %%", 100 * rate / limit);
                printf("\n");
                fflush(stdout);
            }
        }
    }
    device->backend->close(device);
    return 0;
}
