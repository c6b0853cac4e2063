#include "format/layout.h"

#include <string.h>

#include "base/checked.h"
#include "format/layout_codecs.h"

float pv_f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 0x1f, fraction = half & 0x3ff, bits;
    float value;
    if (exponent == 0) {
        value = (float)fraction * 0x1p-24f; /* zero and subnormals, exact */
        return sign ? -value : value;
    }
    bits = exponent == 31 ? sign | 0x7f800000 | fraction << 13 : sign | (exponent + 112) << 23 | fraction << 13;
    memcpy(&value, &bits, sizeof value);
    return value;
}

uint16_t pv_f32_to_f16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x47800000) return (uint16_t)(sign | 0x7c00); /* 2^16 and above */
    if (magnitude < 0x33000000) return (uint16_t)sign;             /* below 2^-25 */
    /* Drop `shift` bits, rounding to nearest even; a carry runs on into the exponent, up to infinity. */
    uint32_t exponent = magnitude >> 23, shift = 13, kept = magnitude - (112u << 23);
    if (exponent < 113) {
        shift = 126 - exponent;
        kept = (magnitude & 0x7fffff) | 0x800000;
    }
    uint32_t rest = kept & ((1u << shift) - 1), half = 1u << (shift - 1);
    kept >>= shift;
    kept += rest > half || (rest == half && (kept & 1));
    return (uint16_t)(sign | kept);
}

float pv_bf16_to_f32(uint16_t bfloat)
{
    uint32_t bits = (uint32_t)bfloat << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

uint16_t pv_f32_to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float pv_e4m3_to_f32(uint8_t code)
{
    int exponent = code >> 3 & 15, fraction = code & 7;
    float value = exponent == 0 ? ldexpf((float)fraction, -9) : ldexpf((float)(8 + fraction), exponent - 10);
    if ((code & 0x7f) == 0x7f) value = NAN;
    return code & 0x80 ? -value : value;
}

/* ---- Dense: one weight a block ---- */

static void decode_f32(const uint8_t *block, float *out)
{
    uint32_t bits = (uint32_t)block[0] | (uint32_t)block[1] << 8 | (uint32_t)block[2] << 16 | (uint32_t)block[3] << 24;
    memcpy(out, &bits, sizeof *out);
}

static void encode_f32(const float *in, uint8_t *block)
{
    uint32_t bits;
    memcpy(&bits, in, sizeof bits);
    for (int i = 0; i < 4; i++) block[i] = (uint8_t)(bits >> 8 * i);
}

static void decode_f16(const uint8_t *block, float *out)
{
    *out = pv_load_half(block);
}

static void encode_f16(const float *in, uint8_t *block)
{
    pv_store_half(block, pv_f32_to_f16(*in));
}

static void decode_bf16(const uint8_t *block, float *out)
{
    *out = pv_bf16_to_f32((uint16_t)(block[0] | block[1] << 8));
}

static void encode_bf16(const float *in, uint8_t *block)
{
    pv_store_half(block, pv_f32_to_bf16(*in));
}

/* ---- The table ---- */

static const pv_layout_info layouts[PV_LAYOUT_COUNT] = {
#define LAYOUT_ROW(name, block, bytes, gguf) {#name, block, bytes, gguf},
    PV_LAYOUT_LIST(LAYOUT_ROW)
#undef LAYOUT_ROW
};

#define CODEC(layout, name) [PV_LAYOUT_##layout] = {pv_decode_##name, pv_encode_##name}
static const struct {
    void (*decode)(const uint8_t *block, float *out);
    void (*encode)(const float *in, uint8_t *block);
} codecs[PV_LAYOUT_COUNT] = {
    [PV_LAYOUT_F32] = {decode_f32, encode_f32},
    [PV_LAYOUT_F16] = {decode_f16, encode_f16},
    [PV_LAYOUT_BF16] = {decode_bf16, encode_bf16},
    CODEC(Q4_0, q4_0),
    CODEC(Q4_1, q4_1),
    CODEC(Q5_0, q5_0),
    CODEC(Q5_1, q5_1),
    CODEC(Q8_0, q8_0),
    CODEC(Q2_K, q2_k),
    CODEC(Q3_K, q3_k),
    CODEC(Q4_K, q4_k),
    CODEC(Q5_K, q5_k),
    CODEC(Q6_K, q6_k),
    CODEC(IQ4_NL, iq4_nl),
    CODEC(IQ4_XS, iq4_xs),
    CODEC(MXFP4, mxfp4),
    CODEC(F8, f8),
    CODEC(NVFP4, nvfp4),
    CODEC(NVFP4_F32, nvfp4_f32),
};

/* AFFINE layouts are numbered by bits, group and type, in this order. */
static const uint8_t affine_bits[] = {2, 3, 4, 5, 6, 8}, affine_groups[] = {32, 64, 128};
static const pv_layout affine_types[] = {PV_LAYOUT_F16, PV_LAYOUT_BF16, PV_LAYOUT_F32};

bool pv_layout_affine(pv_layout layout, pv_affine *affine)
{
    if (layout < PV_LAYOUT_AFFINE2_G32_F16 || layout > PV_LAYOUT_AFFINE8_G128_F32) return false;
    const unsigned number = layout - PV_LAYOUT_AFFINE2_G32_F16;
    *affine = (pv_affine){affine_bits[number / 9], affine_groups[number / 3 % 3], affine_types[number % 3]};
    return true;
}

pv_layout pv_layout_of_affine(pv_affine wanted)
{
    pv_affine found;
    for (unsigned l = PV_LAYOUT_AFFINE2_G32_F16; pv_layout_affine((pv_layout)l, &found); l++)
        if (found.bits == wanted.bits && found.group == wanted.group && found.type == wanted.type) return (pv_layout)l;
    return PV_LAYOUT_COUNT;
}

const pv_layout_info *pv_layout_get(pv_layout layout)
{
    return &layouts[layout];
}

pv_layout pv_layout_find(const char *name)
{
    unsigned layout = 0;
    while (layout < PV_LAYOUT_COUNT && strcmp(layouts[layout].name, name) != 0) layout++;
    return (pv_layout)layout;
}

bool pv_layout_row_bytes(pv_layout layout, uint64_t cols, uint64_t *bytes)
{
    const pv_layout_info *info = &layouts[layout];
    return cols % info->block == 0 && pv_mul_u64(cols / info->block, info->block_bytes, bytes);
}

void pv_layout_decode(pv_layout layout, const void *row, uint64_t cols, float *out)
{
    const pv_layout_info *info = &layouts[layout];
    pv_affine affine;
    const bool is_affine = pv_layout_affine(layout, &affine);
    for (uint64_t i = 0; i < cols / info->block; i++) {
        const uint8_t *block = (const uint8_t *)row + i * info->block_bytes;
        if (is_affine)
            pv_decode_affine(affine, block, out + i * info->block);
        else
            codecs[layout].decode(block, out + i * info->block);
    }
}

void pv_layout_encode(pv_layout layout, const float *row, uint64_t cols, void *out)
{
    const pv_layout_info *info = &layouts[layout];
    pv_affine affine;
    const bool is_affine = pv_layout_affine(layout, &affine);
    for (uint64_t i = 0; i < cols / info->block; i++) {
        uint8_t *block = (uint8_t *)out + i * info->block_bytes;
        if (is_affine)
            pv_encode_affine(affine, row + i * info->block, block);
        else
            codecs[layout].encode(row + i * info->block, block);
    }
}

/* ---- Numbers that are none ---- */

/* Where the f16 scales of a quantized block stand. */
static const struct {
    uint8_t count, offset[2];
} scales[PV_LAYOUT_COUNT] = {
    [PV_LAYOUT_Q4_0] = {1, {0}},      [PV_LAYOUT_Q4_1] = {2, {0, 2}}, [PV_LAYOUT_Q5_0] = {1, {0}},
    [PV_LAYOUT_Q5_1] = {2, {0, 2}},   [PV_LAYOUT_Q8_0] = {1, {0}},    [PV_LAYOUT_Q2_K] = {2, {80, 82}},
    [PV_LAYOUT_Q3_K] = {1, {108}},    [PV_LAYOUT_Q4_K] = {2, {0, 2}}, [PV_LAYOUT_Q5_K] = {2, {0, 2}},
    [PV_LAYOUT_Q6_K] = {1, {208}},    [PV_LAYOUT_IQ4_NL] = {1, {0}},  [PV_LAYOUT_IQ4_XS] = {1, {0}},
};

/* True if no cell has all of these bits set. */
static bool cells_are_finite(const uint8_t *bytes, uint64_t count, uint64_t stride, uint32_t exponent, size_t cell)
{
    bool finite = true;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t value = 0;
        memcpy(&value, bytes + i * stride, cell);
        finite &= (value & exponent) != exponent;
    }
    return finite;
}

static const struct {
    uint32_t bytes, exponent;
} dense[] = {[PV_LAYOUT_F32] = {4, 0x7f800000u}, [PV_LAYOUT_F16] = {2, 0x7c00u}, [PV_LAYOUT_BF16] = {2, 0x7f80u}};

bool pv_layout_row_is_finite(pv_layout layout, const void *row, uint64_t cols)
{
    const pv_layout_info *info = &layouts[layout];
    const uint8_t *bytes = row;
    uint64_t blocks = cols / info->block;
    pv_affine affine;
    if (layout <= PV_LAYOUT_BF16) return cells_are_finite(bytes, blocks, dense[layout].bytes, dense[layout].exponent, dense[layout].bytes);
    if (pv_layout_affine(layout, &affine)) {
        const uint32_t size = dense[affine.type].bytes, exponent = dense[affine.type].exponent;
        return cells_are_finite(bytes, blocks, info->block_bytes, exponent, size) &&
               cells_are_finite(bytes + size, blocks, info->block_bytes, exponent, size);
    }
    if (layout == PV_LAYOUT_MXFP4) return cells_are_finite(bytes, blocks, info->block_bytes, 0xffu, 1);
    if (layout == PV_LAYOUT_F8) return cells_are_finite(bytes, blocks, info->block_bytes, 0x7f800000u, 4);
    if (layout == PV_LAYOUT_NVFP4)
        return cells_are_finite(bytes, blocks, info->block_bytes, 0x7fu, 1) && cells_are_finite(bytes + 1, blocks, info->block_bytes, 0x7fu, 1);
    bool finite = true;
    if (layout == PV_LAYOUT_NVFP4_F32) {
        for (int i = 4; i < 8; i++) finite &= cells_are_finite(bytes + i, blocks, info->block_bytes, 0x7fu, 1);
        return finite && cells_are_finite(bytes, blocks, info->block_bytes, 0x7f800000u, 4);
    }
    for (uint8_t i = 0; i < scales[layout].count; i++)
        finite &= cells_are_finite(bytes + scales[layout].offset[i], blocks, info->block_bytes, 0x7c00u, 2);
    return finite;
}
