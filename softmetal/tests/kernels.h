/* Kernels written by hand against executor/abi.h, and how tests run them. */
#ifndef SOFTMETAL_TESTS_KERNELS_H
#define SOFTMETAL_TESTS_KERNELS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "executor/executor.h"

static const sm_services *services;

/* threadgroup_barrier(mem_flags::mem_threadgroup) and simdgroup_barrier, at this line. */
#define BARRIER() services->barrier(SM_SCOPE_THREADGROUP, SM_FENCE_THREADGROUP, __LINE__)
#define DEVICE_BARRIER() services->barrier(SM_SCOPE_THREADGROUP, SM_FENCE_DEVICE, __LINE__)
#define SIMD_BARRIER() services->barrier(SM_SCOPE_SIMD, SM_FENCE_THREADGROUP, __LINE__)

static inline void sum_meeting(void *const values[SM_LANES], uint32_t active, const void *constant)
{
    float sum = 0;
    (void)constant;
    for (uint32_t i = 0; i < SM_LANES; i++)
        if (active >> i & 1) sum += *(float *)values[i];
    for (uint32_t i = 0; i < SM_LANES; i++)
        if (active >> i & 1) *(float *)values[i] = sum;
}

static inline float simd_sum_at(sm_scope scope, float value, uint32_t line)
{
    services->meet(scope, sum_meeting, &value, NULL, line, NULL);
    return value;
}
#define SIMD_SUM(value) simd_sum_at(SM_SCOPE_SIMD, value, __LINE__)
#define QUAD_SUM(value) simd_sum_at(SM_SCOPE_QUAD, value, __LINE__)

/* A dispatch of `function` over a grid of threads; buffers and the rest are the test's to fill in. */
#define KERNEL(function) ((sm_kernel){.name = #function, .run = function, .line = __LINE__})

static inline sm_dispatch make_dispatch(const sm_kernel *kernel, uint32_t threads, uint32_t group)
{
    return (sm_dispatch){.kernel = kernel, .services = &services, .grid = {threads, 1, 1}, .group = {group, 1, 1}};
}

static inline void bind_memory(sm_dispatch *dispatch, uint32_t index, sm_memory *memory)
{
    dispatch->buffers[index] = (sm_binding){.memory = memory, .length = memory->bytes};
}

/* The only report of this kind; fails where there is none, or there are several. */
static inline softmetal_report the_report(softmetal_report_kind kind)
{
    softmetal_report found = {.kind = SOFTMETAL_REPORT_KINDS}, report;
    for (size_t i = 0; softmetal_get_report(i, &report); i++) {
        if (report.kind != kind) continue;
        if (found.kind == kind) fail_msg("two reports: %s | %s", found.message, report.message);
        found = report;
    }
    if (found.kind != kind) fail_msg("no report %s", softmetal_report_name(kind));
    return found;
}

static inline void no_reports(void)
{
    softmetal_report report;
    if (softmetal_get_report(0, &report)) fail_msg("%s: %s", softmetal_report_name(report.kind), report.message);
}

#endif
