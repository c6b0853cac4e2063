/* RoPE: what turns how fast. */
#ifndef PV_MODEL_ROPE_H
#define PV_MODEL_ROPE_H

#include "model/architecture.h"
#include "model/config.h"

/* Reads the decoder's ropes: one, or a second for layers with a window. head_dim and the sizes are known.
 * Errors: PV_UNSUPPORTED (a scaling: named), PV_BAD_FILE. */
pv_status pv_rope_read(const pv_config *config, pv_decoder *decoder, pv_error *error);

#endif
