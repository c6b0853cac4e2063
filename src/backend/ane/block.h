/* A dense block of a prompt as a Core ML program: what a `linear` op with its fusions does (norm, q k v; gate, up; down with
 * its residual) for a fixed number of rows. The norm and the residual stay in f32, matrices and gates are f16, as the Neural
 * Engine has no other. */
#ifndef PV_ANE_BLOCK_H
#define PV_ANE_BLOCK_H

#include "backend/ane/proto.h"
#include "runtime/op.h"

#define PV_ANE_INPUTS 2  /* "x", and "residual" if there is one */
#define PV_ANE_OUTPUTS 3 /* "out0" … */

/* True if the op can be such a block. Its weights must be where the CPU sees them, canonical or in the CPU's packing. */
bool pv_ane_block_suits(const pv_op *op);
/* How many outputs the block has. */
uint32_t pv_ane_block_outputs(const pv_op_linear *linear);
/* Writes the block as a .mlpackage, a folder that is made. Errors: PV_IO, PV_OUT_OF_MEMORY; then nothing is left of it. */
pv_status pv_ane_block_write(const pv_allocator *allocator, const pv_op_linear *linear, uint32_t rows, const char *folder,
                             pv_error *error);

#endif
