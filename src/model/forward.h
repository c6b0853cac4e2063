/* The forward pass of a decoder as a plan, and the sampling plan behind it. */
#ifndef PV_MODEL_FORWARD_H
#define PV_MODEL_FORWARD_H

#include "model/architecture.h"
#include "runtime/plan.h"

/* Everything that a forward pass touches. */
typedef struct pv_forward {
    const pv_decoder *decoder;
    const pv_weights *weights;
    const pv_kv_view *cache;          /* by layer */
    const pv_tensor *tables;          /* block tables, by cache group */
    uint32_t group_count;
    pv_tensor token_log;
} pv_forward;

/* Adds the ops from tokens to logits; returns the logits, a kept scratch tensor [logits of the plan, vocabulary]. */
pv_tensor pv_forward_build(const pv_forward *forward, pv_builder *builder);
/* Adds the ops from logits to tokens. */
void pv_sampling_build(const pv_forward *forward, pv_tensor logits, pv_builder *builder);

#endif
