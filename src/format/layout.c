#include "format/layout.h"

#include <math.h>
#include <string.h>

#include "base/checked.h"

enum { SUPER_BLOCK = 256 }; /* weights in a block of the K layouts */

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

/* Halves stand little-endian in files. */
static float load_half(const uint8_t *bytes)
{
    return pv_f16_to_f32((uint16_t)(bytes[0] | bytes[1] << 8));
}

static void store_half(uint8_t *bytes, uint16_t half)
{
    bytes[0] = (uint8_t)half;
    bytes[1] = (uint8_t)(half >> 8);
}

/* NaN gives `low`. */
static int clamp_to_int(float value, int low, int high)
{
    if (!(value > (float)low)) return low;
    return value >= (float)high ? high : (int)value;
}

static float inverse(float value)
{
    return value == 0 ? 0 : 1 / value;
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
    *out = load_half(block);
}

static void encode_f16(const float *in, uint8_t *block)
{
    store_half(block, pv_f32_to_f16(*in));
}

static void decode_bf16(const uint8_t *block, float *out)
{
    *out = pv_bf16_to_f32((uint16_t)(block[0] | block[1] << 8));
}

static void encode_bf16(const float *in, uint8_t *block)
{
    store_half(block, pv_f32_to_bf16(*in));
}

/* ---- 32 weights with one scale. Nibbles: the first 16 weights low, the others high ---- */

/* Q4_0: f16 d, 16 bytes; weight = d (q - 8). */
static void decode_q4_0(const uint8_t *block, float *out)
{
    float d = load_half(block);
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)((block[2 + i] & 15) - 8);
        out[i + 16] = d * (float)((block[2 + i] >> 4) - 8);
    }
}

/* The weight of greatest magnitude (the first of equals) becomes -8 exactly. */
static void encode_q4_0(const float *in, uint8_t *block)
{
    float extreme = 0;
    for (int i = 0; i < 32; i++)
        if (fabsf(in[i]) > fabsf(extreme)) extreme = in[i];
    float d = extreme / -8, id = inverse(d);
    store_half(block, pv_f32_to_f16(d));
    for (int i = 0; i < 16; i++)
        block[2 + i] = (uint8_t)(clamp_to_int(in[i] * id + 8.5f, 0, 15) | clamp_to_int(in[i + 16] * id + 8.5f, 0, 15) << 4);
}

/* Q4_1: f16 d, f16 m, 16 bytes; weight = d q + m. */
static void decode_q4_1(const uint8_t *block, float *out)
{
    float d = load_half(block), m = load_half(block + 2);
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)(block[4 + i] & 15) + m;
        out[i + 16] = d * (float)(block[4 + i] >> 4) + m;
    }
}

static void range_of(const float *in, int count, float *min, float *max)
{
    *min = *max = in[0];
    for (int i = 1; i < count; i++) {
        if (in[i] < *min) *min = in[i];
        if (in[i] > *max) *max = in[i];
    }
}

static void encode_q4_1(const float *in, uint8_t *block)
{
    float min, max;
    range_of(in, 32, &min, &max);
    float d = (max - min) / 15, id = inverse(d);
    store_half(block, pv_f32_to_f16(d));
    store_half(block + 2, pv_f32_to_f16(min));
    for (int i = 0; i < 16; i++)
        block[4 + i] = (uint8_t)(clamp_to_int((in[i] - min) * id + 0.5f, 0, 15) |
                                 clamp_to_int((in[i + 16] - min) * id + 0.5f, 0, 15) << 4);
}

/* Q8_0: f16 d, 32 signed bytes; weight = d q. */
static void decode_q8_0(const uint8_t *block, float *out)
{
    float d = load_half(block);
    for (int i = 0; i < 32; i++) out[i] = (float)(int8_t)block[2 + i] * d;
}

static void encode_q8_0(const float *in, uint8_t *block)
{
    float extreme = 0;
    for (int i = 0; i < 32; i++) extreme = fabsf(in[i]) > extreme ? fabsf(in[i]) : extreme;
    float d = extreme / 127, id = inverse(d);
    store_half(block, pv_f32_to_f16(d));
    for (int i = 0; i < 32; i++) block[2 + i] = (uint8_t)clamp_to_int(roundf(in[i] * id), -127, 127);
}

/* ---- Q4_K: f16 d, f16 dmin, 8 scales and 8 minima of 6 bits in 12 bytes, 128 bytes of nibbles.
 * Sub-blocks of 32: weight = (d scale) q - dmin minimum. Nibbles of sub-blocks 2j (low) and 2j + 1 (high) share 32 bytes. ----
 */

/* Bytes 0-3 and 4-7: scales and minima 0-3, with the high 2 bits of 4-7 on top; bytes 8-11: the low 4 bits of 4-7. */
static void unpack_scales(const uint8_t *packed, uint8_t scale[8], uint8_t minimum[8])
{
    for (int i = 0; i < 4; i++) {
        scale[i] = packed[i] & 63;
        minimum[i] = packed[i + 4] & 63;
        scale[i + 4] = (uint8_t)((packed[i + 8] & 15) | (packed[i] >> 6) << 4);
        minimum[i + 4] = (uint8_t)((packed[i + 8] >> 4) | (packed[i + 4] >> 6) << 4);
    }
}

static void pack_scales(const uint8_t scale[8], const uint8_t minimum[8], uint8_t *packed)
{
    for (int i = 0; i < 4; i++) {
        packed[i] = (uint8_t)(scale[i] | (scale[i + 4] >> 4) << 6);
        packed[i + 4] = (uint8_t)(minimum[i] | (minimum[i + 4] >> 4) << 6);
        packed[i + 8] = (uint8_t)((scale[i + 4] & 15) | (minimum[i + 4] & 15) << 4);
    }
}

static void decode_q4_k(const uint8_t *block, float *out)
{
    float d = load_half(block), dmin = load_half(block + 2);
    uint8_t scale[8], minimum[8];
    unpack_scales(block + 4, scale, minimum);
    for (int sub = 0; sub < 8; sub++) {
        const uint8_t *nibbles = block + 16 + sub / 2 * 32;
        float step = d * (float)scale[sub], base = dmin * (float)minimum[sub];
        for (int i = 0; i < 32; i++) out[sub * 32 + i] = step * (float)(nibbles[i] >> 4 * (sub & 1) & 15) - base;
    }
}

/* Each sub-block's range [min(its minimum, 0), its maximum] in 15 steps; scales and minima rounded to 63 steps of the largest.
 */
static void encode_q4_k(const float *in, uint8_t *block)
{
    float step[8], base[8], largest_step = 0, largest_base = 0;
    uint8_t scale[8], minimum[8];
    for (int sub = 0; sub < 8; sub++) {
        float min, max;
        range_of(in + sub * 32, 32, &min, &max);
        if (min > 0) min = 0;
        step[sub] = (max - min) / 15;
        base[sub] = -min;
        if (step[sub] > largest_step) largest_step = step[sub];
        if (base[sub] > largest_base) largest_base = base[sub];
    }
    store_half(block, pv_f32_to_f16(largest_step / 63));
    store_half(block + 2, pv_f32_to_f16(largest_base / 63));
    float d = load_half(block), dmin = load_half(block + 2);
    for (int sub = 0; sub < 8; sub++) {
        scale[sub] = (uint8_t)clamp_to_int(roundf(step[sub] * inverse(d)), 0, 63);
        minimum[sub] = (uint8_t)clamp_to_int(roundf(base[sub] * inverse(dmin)), 0, 63);
    }
    pack_scales(scale, minimum, block + 4);
    memset(block + 16, 0, 128);
    for (int sub = 0; sub < 8; sub++) {
        float id = inverse(d * (float)scale[sub]), shift = dmin * (float)minimum[sub];
        uint8_t *nibbles = block + 16 + sub / 2 * 32;
        for (int i = 0; i < 32; i++)
            nibbles[i] |= (uint8_t)(clamp_to_int(roundf((in[sub * 32 + i] + shift) * id), 0, 15) << 4 * (sub & 1));
    }
}

/* ---- Q6_K: 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 signed scales, f16 d.
 * Sub-blocks of 16: weight = (d scale) (q - 32). In each half of 128 weights, quarters of 32 lie in nibbles (0 low, 1 low, 0
 * high, 1 high of two runs of 32 bytes) and in bit pairs 0-3 of one run of 32 bytes. ---- */

typedef struct six_bits {
    int low, low_shift, high, high_shift; /* bytes and shifts of weight i */
} six_bits;

static six_bits six_bits_of(int i)
{
    int half = i / 128, quarter = i % 128 / 32, lane = i % 32;
    return (six_bits){half * 64 + (quarter & 1) * 32 + lane, quarter / 2 * 4, 128 + half * 32 + lane, quarter * 2};
}

static void decode_q6_k(const uint8_t *block, float *out)
{
    float d = load_half(block + 208);
    for (int i = 0; i < SUPER_BLOCK; i++) {
        six_bits at = six_bits_of(i);
        int q = (block[at.low] >> at.low_shift & 15) | (block[at.high] >> at.high_shift & 3) << 4;
        out[i] = d * (float)(int8_t)block[192 + i / 16] * (float)(q - 32);
    }
}

/* In each sub-block the weight of greatest magnitude becomes -32; scales are rounded to 127 steps of the largest. */
static void encode_q6_k(const float *in, uint8_t *block)
{
    float step[16], largest = 0;
    for (int sub = 0; sub < 16; sub++) {
        float extreme = 0;
        for (int i = 0; i < 16; i++)
            if (fabsf(in[sub * 16 + i]) > fabsf(extreme)) extreme = in[sub * 16 + i];
        step[sub] = extreme / -32;
        if (fabsf(step[sub]) > largest) largest = fabsf(step[sub]);
    }
    memset(block, 0, 192);
    store_half(block + 208, pv_f32_to_f16(largest / 127));
    float d = load_half(block + 208);
    for (int sub = 0; sub < 16; sub++) {
        int scale = clamp_to_int(roundf(step[sub] * inverse(d)), -127, 127);
        float id = inverse(d * (float)scale);
        block[192 + sub] = (uint8_t)scale;
        for (int i = sub * 16; i < sub * 16 + 16; i++) {
            six_bits at = six_bits_of(i);
            int q = clamp_to_int(roundf(in[i] * id), -32, 31) + 32;
            block[at.low] |= (uint8_t)((q & 15) << at.low_shift);
            block[at.high] |= (uint8_t)((q >> 4) << at.high_shift);
        }
    }
}

/* ---- The table ---- */

static const pv_layout_info layouts[PV_LAYOUT_COUNT] = {
#define LAYOUT_ROW(name, block, bytes, gguf) {#name, block, bytes, gguf},
    PV_LAYOUT_LIST(LAYOUT_ROW)
#undef LAYOUT_ROW
};

static const struct {
    void (*decode)(const uint8_t *block, float *out);
    void (*encode)(const float *in, uint8_t *block);
} codecs[PV_LAYOUT_COUNT] = {
    [PV_LAYOUT_F32] = {decode_f32, encode_f32},    [PV_LAYOUT_F16] = {decode_f16, encode_f16},
    [PV_LAYOUT_BF16] = {decode_bf16, encode_bf16}, [PV_LAYOUT_Q4_0] = {decode_q4_0, encode_q4_0},
    [PV_LAYOUT_Q4_1] = {decode_q4_1, encode_q4_1}, [PV_LAYOUT_Q8_0] = {decode_q8_0, encode_q8_0},
    [PV_LAYOUT_Q4_K] = {decode_q4_k, encode_q4_k}, [PV_LAYOUT_Q6_K] = {decode_q6_k, encode_q6_k},
};

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
    for (uint64_t i = 0; i < cols / info->block; i++)
        codecs[layout].decode((const uint8_t *)row + i * info->block_bytes, out + i * info->block);
}

void pv_layout_encode(pv_layout layout, const float *row, uint64_t cols, void *out)
{
    const pv_layout_info *info = &layouts[layout];
    for (uint64_t i = 0; i < cols / info->block; i++)
        codecs[layout].encode(row + i * info->block, (uint8_t *)out + i * info->block_bytes);
}
