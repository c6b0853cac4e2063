/* What the host and the kernels of every instruction set share. */
#ifndef PV_CPU_KERNEL_H
#define PV_CPU_KERNEL_H

#include <stdatomic.h>

#include "backend/cpu/team.h"
#include "backend/step_block.h"
#include "runtime/op.h"

/* The one packing: sixteen rows interleaved, so that a 64-byte load gives sixteen rows' worth of the same columns. See pack.c. */
#define PV_PACKING_X16 1
#define PV_TILE 16

/* Up to so many rows a matrix is read from memory once and used in registers; with more, tiles are unpacked into a panel first. */
#define PV_FEW_ROWS 8

/* What one worker has in its hands while it runs an op. */
typedef struct pv_cpu_context {
    uint32_t worker, workers;
    pv_cpu_team *team;
    uint8_t *own;         /* scratch of this worker, 64-byte aligned */
    uint8_t *shared;      /* scratch of all, 64-byte aligned; see pv_cpu_claim_shared */
    atomic_uint *tickets; /* PV_CPU_TICKETS counters of the op, 0 when it begins */
    pv_step_view step;
    pv_step_output *outputs;
} pv_cpu_context;

#define PV_CPU_TICKETS 2

/* Shared scratch may still be read by workers that are behind in an earlier op: ops before a barrier have ended, others have not. */
static inline void pv_cpu_claim_shared(const pv_cpu_context *context, const pv_op *op)
{
    if (!op->barrier && context->workers > 1) pv_cpu_barrier(context->team);
}

typedef struct pv_cpu_range {
    uint32_t first, end;
} pv_cpu_range;

/* This worker's even share of `count` things. */
static inline pv_cpu_range pv_cpu_share(const pv_cpu_context *context, uint32_t count)
{
    return (pv_cpu_range){(uint32_t)((uint64_t)count * context->worker / context->workers),
                          (uint32_t)((uint64_t)count * (context->worker + 1) / context->workers)};
}

static inline uint32_t pv_cpu_ticket(const pv_cpu_context *context, uint32_t counter)
{
    return atomic_fetch_add_explicit(&context->tickets[counter], 1, memory_order_relaxed);
}

/* Rows of a tensor that this step really has. */
static inline uint32_t pv_cpu_rows(const pv_cpu_context *context, const pv_tensor *tensor)
{
    const pv_step_counts *counts = context->step.counts;
    const uint32_t rows = tensor->extent == PV_EXTENT_ROWS     ? counts->rows
                          : tensor->extent == PV_EXTENT_LOGITS ? counts->logits
                                                               : tensor->rows;
    return rows < tensor->rows ? rows : tensor->rows;
}

static inline float *pv_cpu_row(const pv_tensor *tensor, uint32_t row)
{
    return (float *)((uint8_t *)pv_tensor_host(tensor) + row * tensor->row_bytes);
}

/* Bytes of scratch. */
typedef struct pv_cpu_need {
    uint64_t own, shared;
} pv_cpu_need;

typedef struct pv_cpu_kernel {
    void (*run)(const pv_cpu_context *context, const pv_op *op);
    pv_cpu_need (*need)(const pv_op *op, const pv_step_limits *limits, uint32_t workers); /* NULL: none */
} pv_cpu_kernel;

typedef struct pv_cpu_kernels {
    const char *name;
    const pv_cpu_kernel *op[PV_OP_COUNT];
} pv_cpu_kernels;

/* A place for `bytes` in scratch that is handed out front to back; multiples of 64. */
static inline void *pv_cpu_take(uint8_t **at, size_t bytes)
{
    void *place = *at;
    *at += (bytes + 63) & ~(size_t)63;
    return place;
}
static inline uint64_t pv_cpu_round(uint64_t bytes) { return (bytes + 63) & ~(uint64_t)63; }

#endif
