/* What tests of the runtime stand on: an allocator that counts and fails on request, and a backend of plain host memory. */
#ifndef TEST_SUPPORT_RUNTIME_H
#define TEST_SUPPORT_RUNTIME_H

#include "backend/backend.h"

typedef struct rt_memory {
    pv_allocator allocator;
    uint64_t calls;   /* allocations and resizes asked for */
    uint64_t fail_at; /* the call that fails, from 1; 0: none */
    int64_t live;     /* blocks */
} rt_memory;

/* `memory` must stay where it is: the allocator points to it. */
void rt_memory_init(rt_memory *memory, uint64_t fail_at);

enum {
    RT_DECLINE_NORM = 1,
    RT_DECLINE_GLU = 2,
    RT_DECLINE_PARTS = 4,
    RT_DECLINE_STORE = 8,
    RT_DECLINE_NORM_WITH_GLU = 16,
    RT_DECLINE_NORM_WITH_PARTS = 32,
    RT_DECLINE_PLAIN_LINEAR = 64,
    RT_DECLINE_RMS_NORM = 128,
};

#define RT_PLANS 64

/* A device over host memory. It runs nothing: submit notes the plans and says OK in every output. */
typedef struct rt_device {
    pv_backend_device base;
    pv_device_description description;
    const pv_allocator *allocator;
    unsigned declines;
    uint64_t allocs, frees, live_bytes, fail_alloc_at; /* fail_alloc_at counts from 1 */
    uint64_t next_id, uploads, prepares, releases, submits, waits;
    uint32_t ran[RT_PLANS]; /* plans of each submission, and whether it was aborted */
    bool aborted[RT_PLANS];
    pv_fence fence;
    bool closed_with_running;
} rt_device;

extern const pv_backend rt_backend;

#endif
