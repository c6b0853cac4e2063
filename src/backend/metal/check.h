/* What checks of ops ask of tensors. They may not have their place yet. */
#ifndef PV_METAL_CHECK_H
#define PV_METAL_CHECK_H

#include "backend/metal/metal.h"

static inline bool pv_metal_f32(const pv_tensor *tensor) { return tensor->layout == PV_LAYOUT_F32 && tensor->packing == PV_PACKING_NONE; }
static inline bool pv_metal_absent_or_f32(const pv_tensor *tensor) { return !pv_tensor_present(tensor) || pv_metal_f32(tensor); }
/* Rows are counted with 32 bits in the kernels, their bytes too. */
static inline bool pv_metal_canonical(const pv_tensor *tensor)
{
    return tensor->layout < PV_LAYOUT_COUNT && tensor->packing == PV_PACKING_NONE && tensor->row_bytes <= UINT32_MAX;
}
/* Elements from row to row of an f32 tensor. */
static inline uint32_t pv_metal_stride(const pv_tensor *tensor) { return (uint32_t)(tensor->row_bytes / sizeof(float)); }

/* record_rope.c */
const char *pv_metal_check_cache(const pv_kv_view *cache);
struct pv_args_cache pv_metal_cache_args(const pv_kv_view *cache);

#endif
