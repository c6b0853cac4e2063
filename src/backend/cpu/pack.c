/* Packing: a tile holds 16 rows. The canonical block of each layout falls into sections; a tile keeps a section of all blocks together,
 * as elements of 2 or 4 bytes, the same element of the 16 rows side by side: [section][block][element][16 rows]. So 64 bytes are 16
 * lanes × 4 columns of 8 bits, a tile has exactly 16 times the bytes of a row, and a row can be read back. */
#include "backend/cpu/pack.h"

#include <string.h>

#include "backend/cpu/kernels/kernel.h"
#include "base/checked.h"

typedef struct pv_section {
    uint16_t offset, bytes, element; /* in the canonical block */
} pv_section;

#define PV_SECTIONS 4

typedef struct pv_packing {
    uint16_t block, block_bytes;
    pv_section sections[PV_SECTIONS]; /* in the order of the tile */
} pv_packing;

/* bfloats go in pairs: an odd last column is padded with a zero. */
static const pv_packing packings[PV_LAYOUT_COUNT] = {
    [PV_LAYOUT_F32] = {1, 4, {{0, 4, 4}}},
    [PV_LAYOUT_F16] = {1, 2, {{0, 2, 2}}},
    [PV_LAYOUT_BF16] = {2, 4, {{0, 4, 4}}},
    [PV_LAYOUT_Q4_0] = {32, 18, {{2, 16, 4}, {0, 2, 2}}},
    [PV_LAYOUT_Q4_1] = {32, 20, {{4, 16, 4}, {0, 2, 2}, {2, 2, 2}}},
    [PV_LAYOUT_Q8_0] = {32, 34, {{2, 32, 4}, {0, 2, 2}}},
    [PV_LAYOUT_Q4_K] = {256, 144, {{16, 128, 4}, {4, 12, 4}, {0, 2, 2}, {2, 2, 2}}},
    [PV_LAYOUT_Q6_K] = {256, 210, {{0, 128, 4}, {128, 64, 4}, {192, 16, 4}, {208, 2, 2}}},
};

static size_t blocks_of(const pv_packing *packing, uint32_t cols) { return pv_div_up(cols, packing->block); }

bool pv_cpu_tile_bytes(pv_layout layout, uint32_t cols, uint64_t *bytes)
{
    const pv_packing *packing = &packings[layout];
    uint64_t row_bytes;
    if (cols == 0 || !pv_layout_row_bytes(layout, cols, &row_bytes)) return false;
    return pv_mul_u64(blocks_of(packing, cols), (uint64_t)packing->block_bytes * PV_TILE, bytes);
}

/* Copies `count` elements that stand `from_step` apart to places `to_step` apart. */
static void copy_elements(uint8_t *to, size_t to_step, const uint8_t *from, size_t from_step, size_t count, size_t bytes)
{
    if (bytes == 4) {
        for (size_t i = 0; i < count; i++) memcpy(to + i * to_step, from + i * from_step, 4);
    } else {
        for (size_t i = 0; i < count; i++) memcpy(to + i * to_step, from + i * from_step, 2);
    }
}

void pv_cpu_pack_tile(pv_layout layout, uint32_t cols, uint32_t count, const void *rows, void *tile)
{
    const pv_packing *packing = &packings[layout];
    const size_t blocks = blocks_of(packing, cols);
    uint64_t row_bytes;
    if (!pv_layout_row_bytes(layout, cols, &row_bytes)) return;
    if (count < PV_TILE || row_bytes != blocks * packing->block_bytes) memset(tile, 0, blocks * packing->block_bytes * PV_TILE);
    uint8_t *to = tile;
    for (const pv_section *section = packing->sections; section < packing->sections + PV_SECTIONS && section->bytes > 0; section++) {
        const size_t elements = section->bytes / section->element, step = (size_t)section->element * PV_TILE;
        for (size_t block = 0; block < blocks; block++, to += section->bytes * (size_t)PV_TILE) {
            const size_t at = block * packing->block_bytes + section->offset;
            for (uint32_t row = 0; row < count; row++) {
                const uint8_t *from = (const uint8_t *)rows + row * row_bytes + at;
                if (at + section->bytes > row_bytes) {
                    memcpy(to + row * (size_t)section->element, from, row_bytes - at);
                } else {
                    copy_elements(to + row * (size_t)section->element, step, from, section->element, elements, section->element);
                }
            }
        }
    }
}

void pv_cpu_unpack_row(const pv_tensor *weight, uint32_t row, void *out)
{
    const pv_packing *packing = &packings[weight->layout];
    const size_t blocks = blocks_of(packing, weight->cols), lane = row % PV_TILE;
    const uint8_t *from = (const uint8_t *)pv_tensor_host(weight) + row / PV_TILE * (blocks * packing->block_bytes * PV_TILE);
    uint64_t row_bytes;
    if (!pv_layout_row_bytes(weight->layout, weight->cols, &row_bytes)) return;
    for (const pv_section *section = packing->sections; section < packing->sections + PV_SECTIONS && section->bytes > 0; section++) {
        const size_t elements = section->bytes / section->element, step = (size_t)section->element * PV_TILE;
        for (size_t block = 0; block < blocks; block++, from += section->bytes * (size_t)PV_TILE) {
            const size_t at = block * packing->block_bytes + section->offset;
            uint8_t *to = (uint8_t *)out + at;
            if (at + section->bytes > row_bytes) {
                memcpy(to, from + lane * section->element, row_bytes - at);
            } else {
                copy_elements(to, section->element, from + lane * section->element, step, elements, section->element);
            }
        }
    }
}
