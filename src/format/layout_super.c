/* Blocks of 256 weights: scales of parts of it are small integers times one f16. */
#include <math.h>
#include <string.h>

#include "format/layout_codecs.h"

enum { SUPER_BLOCK = 256 }; /* weights in a block */

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

void pv_decode_q4_k(const uint8_t *block, float *out)
{
    float d = pv_load_half(block), dmin = pv_load_half(block + 2);
    uint8_t scale[8], minimum[8];
    unpack_scales(block + 4, scale, minimum);
    for (int sub = 0; sub < 8; sub++) {
        const uint8_t *nibbles = block + 16 + sub / 2 * 32;
        float step = d * (float)scale[sub], base = dmin * (float)minimum[sub];
        for (int i = 0; i < 32; i++) out[sub * 32 + i] = step * (float)(nibbles[i] >> 4 * (sub & 1) & 15) - base;
    }
}

/* Each sub-block's range [min(its minimum, 0), its maximum] in `steps` steps; scales and minima rounded to 63 steps of the largest. */
static void encode_steps(const float *in, float steps, uint8_t *block, uint8_t scale[8], uint8_t minimum[8], float *d, float *dmin)
{
    float step[8], base[8], largest_step = 0, largest_base = 0;
    for (int sub = 0; sub < 8; sub++) {
        float min, max;
        pv_range_of(in + sub * 32, 32, &min, &max);
        if (min > 0) min = 0;
        step[sub] = (max - min) / steps;
        base[sub] = -min;
        if (step[sub] > largest_step) largest_step = step[sub];
        if (base[sub] > largest_base) largest_base = base[sub];
    }
    pv_store_half(block, pv_f32_to_f16(largest_step / 63));
    pv_store_half(block + 2, pv_f32_to_f16(largest_base / 63));
    *d = pv_load_half(block);
    *dmin = pv_load_half(block + 2);
    for (int sub = 0; sub < 8; sub++) {
        scale[sub] = (uint8_t)pv_clamp_to_int(roundf(step[sub] * pv_inverse(*d)), 0, 63);
        minimum[sub] = (uint8_t)pv_clamp_to_int(roundf(base[sub] * pv_inverse(*dmin)), 0, 63);
    }
    pack_scales(scale, minimum, block + 4);
}

void pv_encode_q4_k(const float *in, uint8_t *block)
{
    uint8_t scale[8], minimum[8];
    float d, dmin;
    encode_steps(in, 15, block, scale, minimum, &d, &dmin);
    memset(block + 16, 0, 128);
    for (int sub = 0; sub < 8; sub++) {
        float id = pv_inverse(d * (float)scale[sub]), shift = dmin * (float)minimum[sub];
        uint8_t *nibbles = block + 16 + sub / 2 * 32;
        for (int i = 0; i < 32; i++)
            nibbles[i] |= (uint8_t)(pv_clamp_to_int(roundf((in[sub * 32 + i] + shift) * id), 0, 15) << 4 * (sub & 1));
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

void pv_decode_q6_k(const uint8_t *block, float *out)
{
    float d = pv_load_half(block + 208);
    for (int i = 0; i < SUPER_BLOCK; i++) {
        six_bits at = six_bits_of(i);
        int q = (block[at.low] >> at.low_shift & 15) | (block[at.high] >> at.high_shift & 3) << 4;
        out[i] = d * (float)(int8_t)block[192 + i / 16] * (float)(q - 32);
    }
}

/* In each sub-block the weight of greatest magnitude becomes -32; scales are rounded to 127 steps of the largest. */
void pv_encode_q6_k(const float *in, uint8_t *block)
{
    float step[16], largest = 0;
    for (int sub = 0; sub < 16; sub++) {
        step[sub] = pv_extreme_of(in + sub * 16, 16) / -32;
        if (fabsf(step[sub]) > largest) largest = fabsf(step[sub]);
    }
    memset(block, 0, 192);
    pv_store_half(block + 208, pv_f32_to_f16(largest / 127));
    float d = pv_load_half(block + 208);
    for (int sub = 0; sub < 16; sub++) {
        int scale = pv_clamp_to_int(roundf(step[sub] * pv_inverse(d)), -127, 127);
        float id = pv_inverse(d * (float)scale);
        block[192 + sub] = (uint8_t)scale;
        for (int i = sub * 16; i < sub * 16 + 16; i++) {
            six_bits at = six_bits_of(i);
            int q = pv_clamp_to_int(roundf(in[i] * id), -32, 31) + 32;
            block[at.low] |= (uint8_t)((q & 15) << at.low_shift);
            block[at.high] |= (uint8_t)((q >> 4) << at.high_shift);
        }
    }
}

/* ---- Q5_K: as Q4_K, with 32 bytes of fifth bits before the nibbles: bit s of byte i is that of weight i of sub-block s ---- */

void pv_decode_q5_k(const uint8_t *block, float *out)
{
    float d = pv_load_half(block), dmin = pv_load_half(block + 2);
    uint8_t scale[8], minimum[8];
    unpack_scales(block + 4, scale, minimum);
    for (int sub = 0; sub < 8; sub++) {
        const uint8_t *nibbles = block + 48 + sub / 2 * 32, *high = block + 16;
        float step = d * (float)scale[sub], base = dmin * (float)minimum[sub];
        for (int i = 0; i < 32; i++) {
            int q = (nibbles[i] >> 4 * (sub & 1) & 15) | (high[i] >> sub & 1) << 4;
            out[sub * 32 + i] = step * (float)q - base;
        }
    }
}

void pv_encode_q5_k(const float *in, uint8_t *block)
{
    uint8_t scale[8], minimum[8];
    float d, dmin;
    encode_steps(in, 31, block, scale, minimum, &d, &dmin);
    memset(block + 16, 0, 160);
    for (int sub = 0; sub < 8; sub++) {
        float id = pv_inverse(d * (float)scale[sub]), shift = dmin * (float)minimum[sub];
        uint8_t *nibbles = block + 48 + sub / 2 * 32, *high = block + 16;
        for (int i = 0; i < 32; i++) {
            int q = pv_clamp_to_int(roundf((in[sub * 32 + i] + shift) * id), 0, 31);
            nibbles[i] |= (uint8_t)((q & 15) << 4 * (sub & 1));
            high[i] |= (uint8_t)((q >> 4) << sub);
        }
    }
}

/* ---- Two bits: those of a half's quarter q lie at bit 2 q of 32 bytes ---- */

static int two_bits_at(int i)
{
    return i / 128 * 32 + i % 32;
}

static int two_bits_shift(int i)
{
    return i % 128 / 32 * 2;
}

/* ---- Q2_K: 16 bytes with a scale (low) and a minimum (high) of 4 bits, 64 bytes of bit pairs, f16 d, f16 dmin.
 * Sub-blocks of 16: weight = (d scale) q - dmin minimum. ---- */

void pv_decode_q2_k(const uint8_t *block, float *out)
{
    float d = pv_load_half(block + 80), dmin = pv_load_half(block + 82);
    for (int i = 0; i < SUPER_BLOCK; i++) {
        uint8_t both = block[i / 16];
        int q = block[16 + two_bits_at(i)] >> two_bits_shift(i) & 3;
        out[i] = d * (float)(both & 15) * (float)q - dmin * (float)(both >> 4);
    }
}

/* As Q4_K, in 3 steps; scales and minima rounded to 15 steps of the largest. */
void pv_encode_q2_k(const float *in, uint8_t *block)
{
    float step[16], base[16], largest_step = 0, largest_base = 0;
    for (int sub = 0; sub < 16; sub++) {
        float min, max;
        pv_range_of(in + sub * 16, 16, &min, &max);
        if (min > 0) min = 0;
        step[sub] = (max - min) / 3;
        base[sub] = -min;
        if (step[sub] > largest_step) largest_step = step[sub];
        if (base[sub] > largest_base) largest_base = base[sub];
    }
    memset(block, 0, 80);
    pv_store_half(block + 80, pv_f32_to_f16(largest_step / 15));
    pv_store_half(block + 82, pv_f32_to_f16(largest_base / 15));
    float d = pv_load_half(block + 80), dmin = pv_load_half(block + 82);
    for (int sub = 0; sub < 16; sub++) {
        int scale = pv_clamp_to_int(roundf(step[sub] * pv_inverse(d)), 0, 15);
        int minimum = pv_clamp_to_int(roundf(base[sub] * pv_inverse(dmin)), 0, 15);
        float id = pv_inverse(d * (float)scale), shift = dmin * (float)minimum;
        block[sub] = (uint8_t)(scale | minimum << 4);
        for (int i = sub * 16; i < sub * 16 + 16; i++)
            block[16 + two_bits_at(i)] |= (uint8_t)(pv_clamp_to_int(roundf((in[i] + shift) * id), 0, 3) << two_bits_shift(i));
    }
}

/* ---- Q3_K: 32 bytes of high bits, 64 bytes of bit pairs, 16 scales of 6 bits in 12 bytes, f16 d.
 * Sub-blocks of 16: weight = (d (scale - 32)) (q - 4); the high bit of weight i is bit i / 32 of byte i % 32. Of scale s the low
 * 4 bits are a nibble of byte s % 8 (s < 8: low), the high 2 lie at bit 2 (s / 4) of byte 8 + s % 4. ---- */

void pv_decode_q3_k(const uint8_t *block, float *out)
{
    const uint8_t *scales = block + 96;
    float d = pv_load_half(block + 108);
    for (int i = 0; i < SUPER_BLOCK; i++) {
        int s = i / 16, scale = (scales[s % 8] >> s / 8 * 4 & 15) | (scales[8 + s % 4] >> s / 4 * 2 & 3) << 4;
        int q = (block[32 + two_bits_at(i)] >> two_bits_shift(i) & 3) | (block[i % 32] >> i / 32 & 1) << 2;
        out[i] = d * (float)(scale - 32) * (float)(q - 4);
    }
}

/* In each sub-block the weight of greatest magnitude becomes -4; scales are rounded to 31 steps of the largest. */
void pv_encode_q3_k(const float *in, uint8_t *block)
{
    float step[16], largest = 0;
    for (int sub = 0; sub < 16; sub++) {
        step[sub] = pv_extreme_of(in + sub * 16, 16) / -4;
        if (fabsf(step[sub]) > largest) largest = fabsf(step[sub]);
    }
    memset(block, 0, 108);
    pv_store_half(block + 108, pv_f32_to_f16(largest / 31));
    float d = pv_load_half(block + 108);
    for (int s = 0; s < 16; s++) {
        int scale = pv_clamp_to_int(roundf(step[s] * pv_inverse(d)), -31, 31);
        float id = pv_inverse(d * (float)scale);
        block[96 + s % 8] |= (uint8_t)(((scale + 32) & 15) << s / 8 * 4);
        block[104 + s % 4] |= (uint8_t)(((scale + 32) >> 4) << s / 4 * 2);
        for (int i = s * 16; i < s * 16 + 16; i++) {
            int q = pv_clamp_to_int(roundf(in[i] * id), -4, 3) + 4;
            block[32 + two_bits_at(i)] |= (uint8_t)((q & 3) << two_bits_shift(i));
            block[i % 32] |= (uint8_t)((q >> 2) << i / 32);
        }
    }
}

/* ---- IQ4_XS: f16 d, 8 scales of 6 bits (bit pairs in 2 bytes, nibbles in 4), 128 bytes of codes as those of IQ4_NL.
 * Sub-blocks of 32: weight = (d (scale - 32)) value(code). ---- */

void pv_decode_iq4_xs(const uint8_t *block, float *out)
{
    float d = pv_load_half(block);
    for (int s = 0; s < 8; s++) {
        const uint8_t *codes = block + 8 + s * 16;
        int scale = (block[4 + s / 2] >> s % 2 * 4 & 15) | (block[2 + s / 4] >> s % 4 * 2 & 3) << 4;
        float step = d * (float)(scale - 32);
        for (int i = 0; i < 16; i++) {
            out[s * 32 + i] = step * (float)pv_iq4_values[codes[i] & 15];
            out[s * 32 + i + 16] = step * (float)pv_iq4_values[codes[i] >> 4];
        }
    }
}

/* In each sub-block the weight of greatest magnitude becomes -127; scales are rounded to 31 steps of the largest. */
void pv_encode_iq4_xs(const float *in, uint8_t *block)
{
    float step[8], largest = 0;
    for (int s = 0; s < 8; s++) {
        step[s] = pv_extreme_of(in + s * 32, 32) / -127;
        if (fabsf(step[s]) > largest) largest = fabsf(step[s]);
    }
    memset(block, 0, 136);
    pv_store_half(block, pv_f32_to_f16(largest / 31));
    float d = pv_load_half(block);
    for (int s = 0; s < 8; s++) {
        int scale = pv_clamp_to_int(roundf(step[s] * pv_inverse(d)), -31, 31);
        float rounded = d * (float)scale;
        uint8_t *codes = block + 8 + s * 16;
        block[4 + s / 2] |= (uint8_t)(((scale + 32) & 15) << s % 2 * 4);
        block[2 + s / 4] |= (uint8_t)(((scale + 32) >> 4) << s % 4 * 2);
        for (int i = 0; i < 16; i++)
            codes[i] = (uint8_t)(pv_nearest_code(pv_iq4_values, rounded, in[s * 32 + i]) |
                                 pv_nearest_code(pv_iq4_values, rounded, in[s * 32 + i + 16]) << 4);
    }
}
