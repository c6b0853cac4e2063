/* What the tests of the CPU backend share: devices with every instruction set of this machine, tensors, hand-made plans, and data. */
#ifndef PV_TEST_CPU_H
#define PV_TEST_CPU_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/backend.h"
#include "base/alloc.h"

static const char *const cpu_names[] = {"generic", "avx2", "avx512", "neon", "dotprod"};
#define CPU_NAMES (sizeof cpu_names / sizeof *cpu_names)

static pv_allocator cpu_allocator;

/* A device with these kernels and threads, or NULL if the machine or the build lacks them. */
__attribute__((unused)) static pv_backend_device *cpu_open(const char *kernels, uint32_t threads, bool plain)
{
    cpu_allocator = pv_allocator_default();
    const pv_environment environment = {.allocator = &cpu_allocator, .cpu_kernels = kernels, .threads = threads};
    pv_backend_device *device = NULL;
    const pv_status status = pv_cpu_backend.open(&pv_cpu_backend, &environment, "cpu", plain, &device, NULL);
    if (status == PV_NOT_FOUND) return NULL;
    assert_int_equal(status, PV_OK);
    return device;
}

/* Runs a test with every instruction set that there is. */
__attribute__((unused)) static void cpu_for_each(void (*test)(const char *kernels))
{
    size_t ran = 0;
    for (size_t i = 0; i < CPU_NAMES; i++) {
        pv_backend_device *device = cpu_open(cpu_names[i], 1, false);
        if (device == NULL) continue;
        device->backend->close(device);
        test(cpu_names[i]);
        ran++;
    }
    assert_true(ran >= 1);
}

/* Small deterministic numbers in [−1, 1). */
__attribute__((unused)) static float cpu_random(uint64_t *state)
{
    *state += 0x9E3779B97F4A7C15u;
    uint64_t z = *state;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return (float)((int32_t)(z >> 40) - (1 << 23)) * 0x1p-23f;
}

__attribute__((unused)) static void cpu_fill(uint64_t seed, float *x, size_t count)
{
    for (size_t i = 0; i < count; i++) x[i] = cpu_random(&seed);
}

typedef struct cpu_slab {
    pv_backend_device *device;
    pv_buffer buffers[64];
    size_t count;
} cpu_slab;

__attribute__((unused)) static pv_buffer *cpu_buffer(cpu_slab *slab, uint64_t bytes)
{
    assert_true(slab->count < sizeof slab->buffers / sizeof *slab->buffers);
    pv_buffer *buffer = &slab->buffers[slab->count++];
    assert_int_equal(slab->device->backend->alloc(slab->device, PV_MEMORY_SCRATCH, bytes, buffer, NULL), PV_OK);
    assert_int_equal((uintptr_t)buffer->host % 64, 0);
    return buffer;
}

__attribute__((unused)) static void cpu_free(cpu_slab *slab)
{
    for (size_t i = 0; i < slab->count; i++) slab->device->backend->free(slab->device, &slab->buffers[i]);
    slab->count = 0;
}

/* f32 [rows, cols], filled with NaN so that what is not written shows. */
__attribute__((unused)) static pv_tensor cpu_tensor(cpu_slab *slab, uint32_t rows, uint32_t cols, pv_extent extent)
{
    pv_tensor tensor = {.buffer = cpu_buffer(slab, (uint64_t)rows * cols * 4), .rows = rows, .cols = cols, .row_bytes = cols * 4ull,
                        .layout = PV_LAYOUT_F32, .extent = (uint8_t)extent};
    float *x = pv_tensor_host(&tensor);
    for (size_t i = 0; i < (size_t)rows * cols; i++) x[i] = NAN;
    return tensor;
}

__attribute__((unused)) static float *cpu_values(const pv_tensor *tensor) { return pv_tensor_host(tensor); }

/* A packed weight with the given values encoded in `layout`; `values` become what the encoded bytes decode to. */
__attribute__((unused)) static pv_tensor cpu_weight(cpu_slab *slab, pv_layout layout, uint32_t rows, uint32_t cols, float *values)
{
    pv_backend_device *device = slab->device;
    uint64_t row_bytes;
    assert_true(pv_layout_row_bytes(layout, cols, &row_bytes));
    uint8_t *canonical = malloc(rows * row_bytes);
    assert_non_null(canonical);
    for (uint32_t r = 0; r < rows; r++) {
        pv_layout_encode(layout, values + (size_t)r * cols, cols, canonical + r * row_bytes);
        pv_layout_decode(layout, canonical + r * row_bytes, cols, values + (size_t)r * cols);
    }
    pv_weight_spec spec;
    assert_int_equal(device->backend->weight_spec(device, layout, rows, cols, PV_USE_MATRIX, &spec, NULL), PV_OK);
    pv_tensor weight = {.buffer = cpu_buffer(slab, spec.bytes), .rows = rows, .cols = cols, .layout = spec.layout, .packing = spec.packing};
    assert_int_equal(device->backend->upload(device, &weight, 0, rows, canonical, NULL), PV_OK);
    free(canonical);
    return weight;
}

/* A step block with its outputs, poisoned. */
typedef struct cpu_step {
    pv_step_limits limits;
    pv_step_layout layout;
    pv_tensor block, outputs;
    pv_step_view view;
} cpu_step;

__attribute__((unused)) static cpu_step cpu_step_make(cpu_slab *slab, pv_step_limits limits)
{
    cpu_step step = {.limits = limits, .layout = pv_step_layout_for(&limits)};
    step.block = (pv_tensor){.buffer = cpu_buffer(slab, step.layout.bytes)};
    step.outputs = (pv_tensor){.buffer = cpu_buffer(slab, (limits.logits + 1) * sizeof(pv_step_output))};
    memset(pv_tensor_host(&step.outputs), 0xA5, limits.logits * sizeof(pv_step_output));
    step.view = pv_step_view_of(pv_tensor_host(&step.block), &step.layout);
    return step;
}

/* Prepares, runs and releases a plan of these ops, each behind a barrier. */
__attribute__((unused)) static void cpu_run(pv_backend_device *device, pv_op *ops, size_t count, const cpu_step *step)
{
    for (size_t i = 0; i < count; i++) ops[i].barrier = true;
    const pv_plan plan = {.ops = ops, .count = count, .limits = step->limits, .rows = step->limits.rows, .logits = step->limits.logits};
    pv_prepared *prepared = NULL;
    pv_error error = {0};
    const pv_status status = device->backend->prepare(device, &plan, &prepared, &error);
    if (status != PV_OK) fail_msg("%s: %s", error.op, error.message);
    const pv_submission submission = {.plans = &prepared, .plan_count = 1, .block = step->block, .outputs = step->outputs};
    pv_fence fence = 0;
    assert_int_equal(device->backend->submit(device, &submission, &fence, NULL), PV_OK);
    assert_int_equal(device->backend->wait(device, fence, UINT32_MAX, NULL), PV_OK);
    device->backend->release(device, prepared);
}

/* Sum of all counters whose name begins so. */
__attribute__((unused)) static uint64_t cpu_count(pv_backend_device *device, const char *prefix)
{
    pv_counter counters[512];
    const size_t count = device->backend->counters(device, counters, 512);
    uint64_t sum = 0;
    assert_true(count <= 512);
    for (size_t i = 0; i < count; i++) {
        if (strncmp(counters[i].name, prefix, strlen(prefix)) == 0) sum += counters[i].count;
    }
    return sum;
}

#endif
