/* Records: what a dispatch needs, found out once when a plan is prepared. Encoding a step walks them and looks nothing up.
 *
 * Every kernel has the step block at buffer 0 and its arguments (a struct of kernels/args.h) at buffer 1; tensors follow from 2 on, in
 * the order in which its recorder adds them. */
#ifndef PV_METAL_RECORD_H
#define PV_METAL_RECORD_H

#include "backend/metal/metal.h"
#include "backend/metal/program.h"

/* A kernel of an op with weights has their layout as its first constant. */
#define PV_METAL_BINDINGS 16 /* buffers of a kernel, the first two included */

/* What a grid's extent follows from. Kernels leave beyond the true counts all the same. */
typedef enum pv_metal_count {
    PV_METAL_ONE,
    PV_METAL_ROWS,    /* counts.rows */
    PV_METAL_LOGITS,
    PV_METAL_TILES,
    PV_METAL_DECODE_ROWS,
    PV_METAL_COUNTS
} pv_metal_count;

/* Threadgroups along one axis: ceil(count / per) × times + plus, none if count is 0. */
typedef struct pv_metal_axis {
    uint8_t count; /* pv_metal_count */
    uint32_t per, times; /* 0 means 1 */
    uint32_t plus;
} pv_metal_axis;

typedef enum pv_metal_place { PV_METAL_TENSOR, PV_METAL_SCRATCH, PV_METAL_OUTPUTS, PV_METAL_FIRST_GROUP } pv_metal_place;

typedef struct pv_metal_binding {
    pv_id buffer;    /* of a tensor; the others change from step to step or with the device's scratch */
    uint64_t offset;
    uint8_t place;   /* pv_metal_place */
} pv_metal_binding;

typedef struct pv_metal_record {
    const pv_metal_pipeline *pipeline; /* NULL: no dispatch, but the op's product by MPS */
    pv_metal_binding bindings[PV_METAL_BINDINGS]; /* from 2 on */
    uint32_t binding_count;  /* the first two included */
    uint32_t args;           /* where its arguments stand */
    pv_metal_axis grid[3];
    uint8_t cut_axis;        /* of the grid: it may be dispatched in pieces along it; 0: it may not */
    float group_rows;        /* rows of the step that a threadgroup along it has work for, at most */
    uint32_t threads[3];     /* of a threadgroup */
    uint32_t threadgroup_bytes; /* of threadgroup(0); 0: none */
    bool barrier;
    uint32_t op;             /* index in the plan */
    uint32_t counters[2];    /* of its op, of its kernel */
} pv_metal_record;

typedef struct pv_metal_recorder {
    pv_metal_device *device;
    const pv_plan *plan;
    pv_step_layout layout;    /* of its step blocks */
    uint32_t op;              /* the one being recorded */
    bool barrier;             /* the next record of this op needs one */
    pv_metal_record *records;
    size_t count, capacity;
    uint8_t *args;
    size_t args_bytes, args_capacity;
    uint64_t scratch_bytes;   /* that the most demanding op wants */
    uint32_t most_groups;     /* along the axis of a record that may be cut */
    pv_status status;         /* the first failure; later calls do nothing */
    pv_error *error;
} pv_metal_recorder;

/* Adds a record of a kernel with its arguments (copied). The result takes bindings until the next one is added; never NULL. */
pv_metal_record *pv_metal_add(pv_metal_recorder *recorder, const pv_metal_kernel *kernel, const void *args, size_t bytes);
/* Adds the op's product by MPS. */
void pv_metal_add_product(pv_metal_recorder *recorder);
/* Binds the next buffer; an absent tensor binds the step block in its place, which the kernel must not touch. */
void pv_metal_bind(pv_metal_record *record, const pv_tensor *tensor);
/* Scratch of the backend's own, `offset` bytes into it; lives until the op's last record has run. Records of this op that follow are
 * ordered behind by pv_metal_then. */
void pv_metal_bind_scratch(pv_metal_recorder *recorder, pv_metal_record *record, uint64_t offset, uint64_t bytes);
void pv_metal_bind_outputs(pv_metal_record *record);
/* Says that the grid, which is set already, may be cut along this axis, where a threadgroup has work for so many rows of the step at
 * most; binds the next buffer to the number of the first threadgroup, which the kernel adds to the one that it is told. */
void pv_metal_may_cut(pv_metal_recorder *recorder, pv_metal_record *record, uint8_t axis, float group_rows);
/* The next record of this op reads what the ones before wrote. */
void pv_metal_then(pv_metal_recorder *recorder);

/* An op's part of the backend: what is wrong with it here (NULL: nothing), and its records. One row an op kind, in record.c; the
 * functions stand beside their subject in record_<subject>.c. */
typedef struct pv_metal_op {
    const char *(*check)(const pv_metal_device *device, const pv_op *op);
    void (*record)(pv_metal_recorder *recorder, const pv_op *op);
} pv_metal_op;

#define PV_METAL_OP(name)                                                              \
    const char *pv_metal_check_##name(const pv_metal_device *device, const pv_op *op); \
    void pv_metal_record_##name(pv_metal_recorder *recorder, const pv_op *op);
PV_OP_LIST(PV_METAL_OP)
#undef PV_METAL_OP

#endif
