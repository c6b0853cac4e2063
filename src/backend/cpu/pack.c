/* Packing: a tile holds 16 rows. The canonical block of each layout falls into sections; a tile keeps a section of all blocks together,
 * as elements of 1, 2 or 4 bytes, the same element of the 16 rows side by side: [section][block][element][16 rows]. So 64 bytes are 16
 * lanes × 4 columns of 8 bits, a tile has exactly 16 times the bytes of a row, and a row can be read back. */
#include "backend/cpu/pack.h"

#include <string.h>

#include "backend/cpu/kernels/kernel.h"
#include "base/checked.h"

typedef struct pv_section {
    uint16_t offset, bytes, element; /* in the canonical block */
} pv_section;

#define PV_SECTIONS 5

typedef struct pv_packing {
    uint16_t block, block_bytes;
    pv_section sections[PV_SECTIONS]; /* in the order of the tile */
    /* Where the kernels want a block's bits in another order than the file has them: the same bytes, forth and back. */
    void (*arrange)(pv_layout layout, const uint8_t *canonical, uint8_t *block);
    void (*restore)(pv_layout layout, const uint8_t *block, uint8_t *canonical);
} pv_packing;

#define PV_BLOCK_BYTES 256 /* of layouts that are arranged, at most */

/* Fifth bits: bit i for column i becomes bit j of byte b for column 4 j + b. */
static uint32_t arrange_bits(uint32_t bits)
{
    uint32_t out = 0;
    for (uint32_t i = 0; i < 32; i++) out |= (bits >> i & 1) << (i % 4 * 8 + i / 4);
    return out;
}

static uint32_t restore_bits(uint32_t bits)
{
    uint32_t out = 0;
    for (uint32_t i = 0; i < 32; i++) out |= (bits >> (i % 4 * 8 + i / 4) & 1) << i;
    return out;
}

/* Q5_0 and Q5_1 keep them before the nibbles. */
static void turn_five(pv_layout layout, const uint8_t *from, uint8_t *to, uint32_t (*turn)(uint32_t bits))
{
    const size_t bytes = pv_layout_get(layout)->block_bytes, at = bytes - 20;
    uint32_t bits;
    memcpy(to, from, bytes);
    memcpy(&bits, from + at, sizeof bits);
    bits = turn(bits);
    memcpy(to + at, &bits, sizeof bits);
}

static void arrange_five(pv_layout layout, const uint8_t *from, uint8_t *to) { turn_five(layout, from, to, arrange_bits); }
static void restore_five(pv_layout layout, const uint8_t *from, uint8_t *to) { turn_five(layout, from, to, restore_bits); }

/* ---- AFFINE: codes become planes, see layout_affine.h ---- */

static void codes_of(const uint8_t *from, uint32_t bits, uint8_t q[32])
{
    for (int i = 0; i < 32; i += 8, from += bits) {
        uint64_t eight = 0;
        memcpy(&eight, from, bits);
        for (int j = 0; j < 8; j++) q[i + j] = (uint8_t)(eight >> (uint32_t)j * bits & ((1u << bits) - 1));
    }
}

static void put_codes(const uint8_t q[32], uint32_t bits, uint8_t *to)
{
    for (int i = 0; i < 32; i += 8, to += bits) {
        uint64_t eight = 0;
        for (int j = 0; j < 8; j++) eight |= (uint64_t)q[i + j] << (uint32_t)j * bits;
        memcpy(to, &eight, bits);
    }
}

/* Where the planes of a group of 32 codes start in a block of `groups` such. */
typedef struct pv_planes {
    uint8_t *nibbles, *pairs, *bits;
    uint32_t pair_shift, bit_shift; /* of the code's bits that they hold */
} pv_planes;

static pv_planes planes_of(const pv_affine *affine, uint8_t *block, uint32_t g)
{
    const uint32_t groups = affine->group / 32, bits = affine->bits;
    pv_planes planes = {.pair_shift = bits == 6 ? 4 : 0, .bit_shift = bits - 1};
    uint8_t *next = block;
    if (bits >= 4) planes.nibbles = next + g * 16, next += groups * 16;
    if (bits == 2 || bits == 3 || bits == 6) planes.pairs = next + g * 8, next += groups * 8;
    if (bits == 3 || bits == 5) planes.bits = next + g * 4;
    return planes;
}

static void to_planes(const uint8_t q[32], const pv_planes *p)
{
    for (int i = 0; i < 16 && p->nibbles; i++) p->nibbles[i] = (uint8_t)((q[i] & 15) | (q[16 + i] & 15) << 4);
    for (int m = 0; m < 8 && p->pairs; m++) {
        p->pairs[m] = 0;
        for (int j = 0; j < 4; j++) p->pairs[m] |= (uint8_t)((q[8 * j + m] >> p->pair_shift & 3) << 2 * j);
    }
    for (int b = 0; b < 4 && p->bits; b++) {
        p->bits[b] = 0;
        for (int j = 0; j < 8; j++) p->bits[b] |= (uint8_t)((q[4 * j + b] >> p->bit_shift & 1) << j);
    }
}

static void from_planes(const pv_planes *p, uint8_t q[32])
{
    memset(q, 0, 32);
    for (int i = 0; i < 32 && p->nibbles; i++) q[i] = i < 16 ? p->nibbles[i] & 15 : p->nibbles[i - 16] >> 4;
    for (int i = 0; i < 32 && p->pairs; i++) q[i] |= (uint8_t)((p->pairs[i % 8] >> i / 8 * 2 & 3) << p->pair_shift);
    for (int i = 0; i < 32 && p->bits; i++) q[i] |= (uint8_t)((p->bits[i % 4] >> i / 4 & 1) << p->bit_shift);
}

/* Scale and bias go behind the codes. */
static void arrange_affine(pv_layout layout, const uint8_t *from, uint8_t *to)
{
    pv_affine affine;
    if (!pv_layout_affine(layout, &affine)) return;
    const uint32_t factors = affine.type == PV_LAYOUT_F32 ? 8 : 4, bytes = affine.group * affine.bits / 8;
    memcpy(to + bytes, from, factors);
    for (uint32_t i = 0; i < bytes && affine.bits == 8; i++) to[i] = from[factors + i] ^ 0x80;
    for (uint32_t g = 0; g < affine.group / 32 && affine.bits != 8; g++) {
        uint8_t q[32];
        const pv_planes planes = planes_of(&affine, to, g);
        codes_of(from + factors + g * 4 * affine.bits, affine.bits, q);
        to_planes(q, &planes);
    }
}

static void restore_affine(pv_layout layout, const uint8_t *from, uint8_t *to)
{
    pv_affine affine;
    if (!pv_layout_affine(layout, &affine)) return;
    const uint32_t factors = affine.type == PV_LAYOUT_F32 ? 8 : 4, bytes = affine.group * affine.bits / 8;
    uint8_t block[PV_BLOCK_BYTES];
    memcpy(block, from, bytes);
    memcpy(to, from + bytes, factors);
    for (uint32_t i = 0; i < bytes && affine.bits == 8; i++) to[factors + i] = from[i] ^ 0x80;
    for (uint32_t g = 0; g < affine.group / 32 && affine.bits != 8; g++) {
        uint8_t q[32];
        const pv_planes planes = planes_of(&affine, block, g);
        from_planes(&planes, q);
        put_codes(q, affine.bits, to + factors + g * 4 * affine.bits);
    }
}

/* Sections of the planes of a group of n columns. */
#define PV_PLANES2(n) {0, n / 4, 4}
#define PV_PLANES3(n) {0, n / 4, 4}, {n / 4, n / 8, 4}
#define PV_PLANES4(n) {0, n / 2, 4}
#define PV_PLANES5(n) {0, n / 2, 4}, {n / 2, n / 8, 4}
#define PV_PLANES6(n) {0, n / 2, 4}, {n / 2, n / 4, 4}
#define PV_PLANES8(n) {0, n, 4}
#define PV_AFFINE_PACKING(b, n, type, size)                                                                                    \
    [PV_LAYOUT_AFFINE##b##_G##n##_##type] = {                                                                                  \
        n, 2 * size + n * b / 8, {PV_PLANES##b(n), {n * b / 8, size, size}, {n * b / 8 + size, size, size}}, arrange_affine, restore_affine},
#define PV_AFFINE_TYPES(b, n) PV_AFFINE_PACKING(b, n, F16, 2) PV_AFFINE_PACKING(b, n, BF16, 2) PV_AFFINE_PACKING(b, n, F32, 4)
#define PV_AFFINE_PACKINGS(b) PV_AFFINE_TYPES(b, 32) PV_AFFINE_TYPES(b, 64) PV_AFFINE_TYPES(b, 128)

/* bfloats go in pairs: an odd last column is padded with a zero. */
static const pv_packing packings[PV_LAYOUT_COUNT] = {
    [PV_LAYOUT_F32] = {1, 4, {{0, 4, 4}}, NULL, NULL},
    [PV_LAYOUT_F16] = {1, 2, {{0, 2, 2}}, NULL, NULL},
    [PV_LAYOUT_BF16] = {2, 4, {{0, 4, 4}}, NULL, NULL},
    [PV_LAYOUT_Q4_0] = {32, 18, {{2, 16, 4}, {0, 2, 2}}, NULL, NULL},
    [PV_LAYOUT_Q4_1] = {32, 20, {{4, 16, 4}, {0, 2, 2}, {2, 2, 2}}, NULL, NULL},
    [PV_LAYOUT_Q8_0] = {32, 34, {{2, 32, 4}, {0, 2, 2}}, NULL, NULL},
    [PV_LAYOUT_Q4_K] = {256, 144, {{16, 128, 4}, {4, 12, 4}, {0, 2, 2}, {2, 2, 2}}, NULL, NULL},
    [PV_LAYOUT_Q6_K] = {256, 210, {{0, 128, 4}, {128, 64, 4}, {192, 16, 4}, {208, 2, 2}}, NULL, NULL},
    [PV_LAYOUT_Q5_0] = {32, 22, {{6, 16, 4}, {2, 4, 4}, {0, 2, 2}}, arrange_five, restore_five},
    [PV_LAYOUT_Q5_1] = {32, 24, {{8, 16, 4}, {4, 4, 4}, {0, 2, 2}, {2, 2, 2}}, arrange_five, restore_five},
    [PV_LAYOUT_Q2_K] = {256, 84, {{16, 64, 4}, {0, 16, 4}, {80, 2, 2}, {82, 2, 2}}, NULL, NULL},
    [PV_LAYOUT_Q3_K] = {256, 110, {{32, 64, 4}, {0, 32, 4}, {96, 12, 4}, {108, 2, 2}}, NULL, NULL},
    [PV_LAYOUT_Q5_K] = {256, 176, {{48, 128, 4}, {16, 32, 4}, {4, 12, 4}, {0, 2, 2}, {2, 2, 2}}, NULL, NULL},
    [PV_LAYOUT_IQ4_NL] = {32, 18, {{2, 16, 4}, {0, 2, 2}}, NULL, NULL},
    [PV_LAYOUT_IQ4_XS] = {256, 136, {{8, 128, 4}, {4, 4, 4}, {0, 2, 2}, {2, 2, 2}}, NULL, NULL},
    [PV_LAYOUT_MXFP4] = {32, 17, {{1, 16, 4}, {0, 1, 1}}, NULL, NULL},
    [PV_LAYOUT_F8] = {32, 36, {{4, 32, 4}, {0, 4, 4}}, NULL, NULL},
    [PV_LAYOUT_NVFP4] = {32, 18, {{2, 16, 4}, {0, 2, 1}}, NULL, NULL},
    [PV_LAYOUT_NVFP4_F32] = {64, 40, {{8, 32, 4}, {4, 4, 1}, {0, 4, 4}}, NULL, NULL},
    PV_AFFINE_PACKINGS(2) PV_AFFINE_PACKINGS(3) PV_AFFINE_PACKINGS(4) PV_AFFINE_PACKINGS(5) PV_AFFINE_PACKINGS(6) PV_AFFINE_PACKINGS(8)
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
    } else if (bytes == 2) {
        for (size_t i = 0; i < count; i++) memcpy(to + i * to_step, from + i * from_step, 2);
    } else {
        for (size_t i = 0; i < count; i++) to[i * to_step] = from[i * from_step];
    }
}

/* Sections, in the order of the tile, until one is empty. */
#define PV_EACH_SECTION(section, packing) \
    const pv_section *section = (packing)->sections; section < (packing)->sections + PV_SECTIONS && section->bytes > 0; section++

static void pack_arranged(const pv_packing *packing, pv_layout layout, size_t blocks, uint32_t count, const uint8_t *rows, uint8_t *tile)
{
    uint8_t arranged[PV_BLOCK_BYTES];
    for (size_t block = 0; block < blocks; block++) {
        for (uint32_t row = 0; row < count; row++) {
            uint8_t *to = tile;
            packing->arrange(layout, rows + (row * blocks + block) * packing->block_bytes, arranged);
            for (PV_EACH_SECTION(section, packing)) {
                copy_elements(to + block * section->bytes * PV_TILE + row * (size_t)section->element, (size_t)section->element * PV_TILE,
                              arranged + section->offset, section->element, section->bytes / section->element, section->element);
                to += blocks * section->bytes * PV_TILE;
            }
        }
    }
}

static void unpack_arranged(const pv_packing *packing, pv_layout layout, size_t blocks, size_t lane, const uint8_t *tile, uint8_t *row)
{
    uint8_t arranged[PV_BLOCK_BYTES];
    for (size_t block = 0; block < blocks; block++) {
        const uint8_t *from = tile;
        for (PV_EACH_SECTION(section, packing)) {
            copy_elements(arranged + section->offset, section->element,
                          from + block * section->bytes * PV_TILE + lane * section->element, (size_t)section->element * PV_TILE,
                          section->bytes / section->element, section->element);
            from += blocks * section->bytes * PV_TILE;
        }
        packing->restore(layout, arranged, row + block * packing->block_bytes);
    }
}

void pv_cpu_pack_tile(pv_layout layout, uint32_t cols, uint32_t count, const void *rows, void *tile)
{
    const pv_packing *packing = &packings[layout];
    const size_t blocks = blocks_of(packing, cols);
    uint64_t row_bytes;
    if (!pv_layout_row_bytes(layout, cols, &row_bytes)) return;
    if (count < PV_TILE || row_bytes != blocks * packing->block_bytes) memset(tile, 0, blocks * packing->block_bytes * PV_TILE);
    if (packing->arrange != NULL) {
        pack_arranged(packing, layout, blocks, count, rows, tile);
        return;
    }
    uint8_t *to = tile;
    for (PV_EACH_SECTION(section, packing)) {
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
    if (packing->arrange != NULL) {
        unpack_arranged(packing, weight->layout, blocks, lane, from, out);
        return;
    }
    for (PV_EACH_SECTION(section, packing)) {
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
