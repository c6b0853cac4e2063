/* The packing x16: how weight matrices are held for every CPU kernel. */
#ifndef PV_CPU_PACK_H
#define PV_CPU_PACK_H

#include "runtime/tensor.h"

/* Bytes of a tile of 16 packed rows; false if `cols` does not suit the layout or sizes overflow. */
bool pv_cpu_tile_bytes(pv_layout layout, uint32_t cols, uint64_t *bytes);
/* Packs up to 16 canonical rows into a tile; rows beyond `count` become zeros. */
void pv_cpu_pack_tile(pv_layout layout, uint32_t cols, uint32_t count, const void *rows, void *tile);
/* The reverse for one row of a packed tensor: its canonical bytes. */
void pv_cpu_unpack_row(const pv_tensor *weight, uint32_t row, void *out);

#endif
