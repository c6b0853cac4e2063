/* What the builder's parts share: the list of ops as lowering leaves it, and the scratch tensors with their lifetimes. */
#ifndef PV_RUNTIME_BUILDER_H
#define PV_RUNTIME_BUILDER_H

#include "backend/backend.h"

#define PV_SCRATCH_ALIGNMENT 256u /* bytes */

typedef struct pv_scratch {
    pv_tensor tensor;
    uint32_t kept;  /* its number among the kept ones, from 1; 0: not kept */
    bool used;      /* some op names it */
    size_t first, last; /* ops between which it lives, both included */
    uint64_t bytes, offset; /* from the start of scratch */
} pv_scratch;

typedef struct pv_oplist {
    const pv_allocator *allocator;
    uint32_t rows, logits; /* of the plan */
    pv_op *ops;
    size_t count, capacity;
    pv_scratch *scratch; /* number n stands at n − 1 */
    size_t scratch_count, scratch_capacity;
    bool failed; /* memory for a scratch tensor ran out */
} pv_oplist;

bool pv_oplist_append(pv_oplist *list, const pv_op *op);
/* An absent tensor, and list->failed, if memory runs out. */
pv_tensor pv_oplist_scratch(pv_oplist *list, pv_extent extent, uint32_t cols);

/* Appends `op` to `list` in the most fused form that the device takes. Errors: PV_UNSUPPORTED, PV_OUT_OF_MEMORY. */
pv_status pv_lower(pv_oplist *list, struct pv_backend_device *device, const pv_op *op, pv_error *error);

/* Finds lifetimes and offsets of the scratch tensors; *bytes is what they take together.
 * Errors: PV_INTERNAL (read before written, unknown scratch tensor), PV_OUT_OF_MEMORY. */
pv_status pv_place_scratch(pv_oplist *list, uint64_t *bytes, pv_error *error);

#endif
