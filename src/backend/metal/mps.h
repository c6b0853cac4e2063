/* Dense products of prompts by Apple's MetalPerformanceShaders, as a candidate beside our own kernels: off unless tuning chose
 * it on the user's own device. The framework is opened by name when it is wanted. MPS ends the process on arguments that it
 * does not like, so what it gets is checked here. Its sums may run in another order for another number of rows. Written from
 * Apple's documentation; softmetal has no MPS, so it has not been run. */
#ifndef PV_METAL_MPS_H
#define PV_METAL_MPS_H

#include "backend/metal/metal.h"

/* out = x · weightᵀ, or out + x · weightᵀ. */
typedef struct pv_metal_product {
    pv_id x, weight, out; /* buffers */
    uint64_t x_offset, weight_offset, out_offset;
    uint64_t x_row_bytes, weight_row_bytes, out_row_bytes;
    uint32_t cols, out_cols;
    bool halves; /* weights are f16, else f32 */
    bool adds;
} pv_metal_product;

/* NULL where there is no MPS for this device: a stand-in for Apple's frameworks, or a device that it does not support. */
pv_metal_mps *pv_metal_mps_open(const pv_metal_device *device);
void pv_metal_mps_close(const pv_metal_device *device, pv_metal_mps *mps);

/* A product that MPS could do once its fusions were split off: f16 or f32 weights, more than a few rows. */
bool pv_metal_mps_wants(const pv_metal_device *device, const pv_op_linear *linear);
/* NULL, or what MPS cannot do of a product that it wants: lowering then splits it. */
const char *pv_metal_mps_declines(const pv_op_linear *linear);
/* The product of an op that is wanted and not declined. */
pv_metal_product pv_metal_mps_product(const pv_op_linear *linear);
/* A command buffer that retains what it uses, as objects of MPS's own that a product needs until it has run; autoreleased. */
pv_id pv_metal_mps_command_buffer(const pv_metal_device *device);
/* Encodes the product of `rows` rows; no encoder may be open. False: nothing was encoded. */
bool pv_metal_mps_encode(const pv_metal_device *device, pv_id command_buffer, const pv_metal_product *product, uint32_t rows);

#endif
