/* Plans: a flat array of ops that never changes. The builder places scratch and derives barriers from what ops declare. */
#ifndef PV_RUNTIME_PLAN_H
#define PV_RUNTIME_PLAN_H

#include "backend/step_block.h"
#include "base/error.h"
#include "runtime/op.h"

typedef struct pv_plan {
    const pv_allocator *allocator;
    pv_op *ops;
    size_t count, capacity;
    pv_step_limits limits;   /* of the blocks that it will be run with */
    uint32_t rows, logits;   /* the most rows of a step, and of logits, that this plan takes */
    uint64_t scratch_bytes;
} pv_plan;

typedef struct pv_builder pv_builder;
struct pv_backend_device;

pv_status pv_builder_create(const pv_allocator *allocator, const pv_step_limits *limits, uint32_t rows, uint32_t logits,
                            pv_builder **builder, pv_error *error);
void pv_builder_destroy(pv_builder *builder);
/* A scratch tensor, f32 [rows or logits of the plan, cols]. Usable in ops of this builder; placed by finish. */
pv_tensor pv_builder_scratch(pv_builder *builder, pv_extent extent, uint32_t cols);
/* Appends an op, copying it. Failures are kept until finish. The label is formatted into op.label. */
void pv_builder_add(pv_builder *builder, pv_op op, const char *label, ...) PV_PRINTF(3, 4);
/* A scratch tensor that stays valid to the plan's end and for plans submitted behind it (logits). */
void pv_builder_keep(pv_builder *builder, pv_tensor *tensor);

/* Lowers what the device declines (device NULL: nothing is declined), places scratch tensors, whose lifetimes run from the first
 * write to the last read, in a space of scratch_bytes, and sets barriers. Kept tensors lie at the start of that space, in the order they
 * were kept. Tensors then have buffer = `scratch` (may be NULL to learn the size alone) and their offset from `scratch_offset`.
 * May be called again: each call starts from the ops as they were added. Room for `scratch` is checked.
 * Errors: PV_UNSUPPORTED (an op that the device has in no form: named), PV_OUT_OF_MEMORY, PV_INTERNAL (read before written). */
pv_status pv_builder_finish(pv_builder *builder, struct pv_backend_device *device, const pv_buffer *scratch, uint64_t scratch_offset,
                            pv_plan *plan, pv_error *error);
/* Where the last finish put a scratch tensor. With a buffer it is then a tensor like any other, for other builders too. */
pv_tensor pv_builder_placed(const pv_builder *builder, const pv_tensor *tensor);
void pv_plan_free(pv_plan *plan);

#endif
