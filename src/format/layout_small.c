/* Blocks of 32 weights with one scale. Nibbles: the first 16 weights low, the others high. */
#include <math.h>
#include <string.h>

#include "format/layout_codecs.h"

/* Q4_0: f16 d, 16 bytes; weight = d (q - 8). */
void pv_decode_q4_0(const uint8_t *block, float *out)
{
    float d = pv_load_half(block);
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)((block[2 + i] & 15) - 8);
        out[i + 16] = d * (float)((block[2 + i] >> 4) - 8);
    }
}

/* The weight of greatest magnitude (the first of equals) becomes -8 exactly. */
void pv_encode_q4_0(const float *in, uint8_t *block)
{
    float d = pv_extreme_of(in, 32) / -8, id = pv_inverse(d);
    pv_store_half(block, pv_f32_to_f16(d));
    for (int i = 0; i < 16; i++)
        block[2 + i] = (uint8_t)(pv_clamp_to_int(in[i] * id + 8.5f, 0, 15) | pv_clamp_to_int(in[i + 16] * id + 8.5f, 0, 15) << 4);
}

/* Q4_1: f16 d, f16 m, 16 bytes; weight = d q + m. */
void pv_decode_q4_1(const uint8_t *block, float *out)
{
    float d = pv_load_half(block), m = pv_load_half(block + 2);
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)(block[4 + i] & 15) + m;
        out[i + 16] = d * (float)(block[4 + i] >> 4) + m;
    }
}

void pv_encode_q4_1(const float *in, uint8_t *block)
{
    float min, max;
    pv_range_of(in, 32, &min, &max);
    float d = (max - min) / 15, id = pv_inverse(d);
    pv_store_half(block, pv_f32_to_f16(d));
    pv_store_half(block + 2, pv_f32_to_f16(min));
    for (int i = 0; i < 16; i++)
        block[4 + i] = (uint8_t)(pv_clamp_to_int((in[i] - min) * id + 0.5f, 0, 15) |
                                 pv_clamp_to_int((in[i + 16] - min) * id + 0.5f, 0, 15) << 4);
}

/* Q8_0: f16 d, 32 signed bytes; weight = d q. */
void pv_decode_q8_0(const uint8_t *block, float *out)
{
    float d = pv_load_half(block);
    for (int i = 0; i < 32; i++) out[i] = (float)(int8_t)block[2 + i] * d;
}

void pv_encode_q8_0(const float *in, uint8_t *block)
{
    float extreme = 0;
    for (int i = 0; i < 32; i++) extreme = fabsf(in[i]) > extreme ? fabsf(in[i]) : extreme;
    float d = extreme / 127, id = pv_inverse(d);
    pv_store_half(block, pv_f32_to_f16(d));
    for (int i = 0; i < 32; i++) block[2 + i] = (uint8_t)pv_clamp_to_int(roundf(in[i] * id), -127, 127);
}

/* ---- A fifth bit: bit i of 4 bytes is that of weight i ---- */

static void decode_five(const uint8_t *high, const uint8_t *nibbles, uint8_t q[32])
{
    for (int i = 0; i < 32; i++) {
        int low = i < 16 ? nibbles[i] & 15 : nibbles[i - 16] >> 4;
        q[i] = (uint8_t)(low | (high[i / 8] >> i % 8 & 1) << 4);
    }
}

static void encode_five(const uint8_t q[32], uint8_t *high, uint8_t *nibbles)
{
    memset(high, 0, 4);
    for (int i = 0; i < 32; i++) high[i / 8] |= (uint8_t)((q[i] >> 4) << i % 8);
    for (int i = 0; i < 16; i++) nibbles[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
}

/* Q5_0: f16 d, 4 bytes of fifth bits, 16 bytes; weight = d (q - 16). */
void pv_decode_q5_0(const uint8_t *block, float *out)
{
    float d = pv_load_half(block);
    uint8_t q[32];
    decode_five(block + 2, block + 6, q);
    for (int i = 0; i < 32; i++) out[i] = d * (float)(q[i] - 16);
}

/* As Q4_0: the weight of greatest magnitude becomes -16 exactly. */
void pv_encode_q5_0(const float *in, uint8_t *block)
{
    uint8_t q[32];
    float d = pv_extreme_of(in, 32) / -16, id = pv_inverse(d);
    pv_store_half(block, pv_f32_to_f16(d));
    for (int i = 0; i < 32; i++) q[i] = (uint8_t)pv_clamp_to_int(in[i] * id + 16.5f, 0, 31);
    encode_five(q, block + 2, block + 6);
}

/* Q5_1: f16 d, f16 m, 4 bytes of fifth bits, 16 bytes; weight = d q + m. */
void pv_decode_q5_1(const uint8_t *block, float *out)
{
    float d = pv_load_half(block), m = pv_load_half(block + 2);
    uint8_t q[32];
    decode_five(block + 4, block + 8, q);
    for (int i = 0; i < 32; i++) out[i] = d * (float)q[i] + m;
}

void pv_encode_q5_1(const float *in, uint8_t *block)
{
    float min, max;
    uint8_t q[32];
    pv_range_of(in, 32, &min, &max);
    float d = (max - min) / 31, id = pv_inverse(d);
    pv_store_half(block, pv_f32_to_f16(d));
    pv_store_half(block + 2, pv_f32_to_f16(min));
    for (int i = 0; i < 32; i++) q[i] = (uint8_t)pv_clamp_to_int((in[i] - min) * id + 0.5f, 0, 31);
    encode_five(q, block + 4, block + 8);
}

/* ---- Codes of four bits for values that are not evenly spaced ---- */

const int8_t pv_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

int pv_nearest_code(const int8_t values[16], float scale, float wanted)
{
    int best = 0;
    float least = fabsf(scale * (float)values[0] - wanted);
    for (int code = 1; code < 16; code++) {
        float error = fabsf(scale * (float)values[code] - wanted);
        if (!(error < least)) continue;
        best = code;
        least = error;
    }
    return best;
}

static void decode_codes(const int8_t values[16], float scale, const uint8_t *nibbles, float *out)
{
    for (int i = 0; i < 16; i++) {
        out[i] = scale * (float)values[nibbles[i] & 15];
        out[i + 16] = scale * (float)values[nibbles[i] >> 4];
    }
}

static void encode_codes(const int8_t values[16], float scale, const float *in, uint8_t *nibbles)
{
    for (int i = 0; i < 16; i++)
        nibbles[i] = (uint8_t)(pv_nearest_code(values, scale, in[i]) | pv_nearest_code(values, scale, in[i + 16]) << 4);
}

/* IQ4_NL: f16 d, 16 bytes; weight = d value(code). */
void pv_decode_iq4_nl(const uint8_t *block, float *out)
{
    decode_codes(pv_iq4_values, pv_load_half(block), block + 2, out);
}

/* The weight of greatest magnitude becomes -127 d. */
void pv_encode_iq4_nl(const float *in, uint8_t *block)
{
    pv_store_half(block, pv_f32_to_f16(pv_extreme_of(in, 32) / -127));
    encode_codes(pv_iq4_values, pv_load_half(block), in, block + 2);
}

/* MXFP4: an exponent e (E8M0), 16 bytes of e2m1; weight = 2^(e - 127) × e2m1. The values are doubled here, the scale is halved. */
const int8_t pv_e2m1_doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

void pv_decode_mxfp4(const uint8_t *block, float *out)
{
    decode_codes(pv_e2m1_doubled, ldexpf(1, block[0] - 128), block + 1, out);
}

void pv_encode_mxfp4(const float *in, uint8_t *block)
{
    float extreme = 0;
    for (int i = 0; i < 32; i++) extreme = fabsf(in[i]) > extreme ? fabsf(in[i]) : extreme;
    int exponent = extreme > 0 ? isinf(extreme) ? 254 : ilogbf(extreme) - 2 + 127 : 0;
    block[0] = (uint8_t)(exponent < 0 ? 0 : exponent);
    encode_codes(pv_e2m1_doubled, ldexpf(1, block[0] - 128), in, block + 1);
}
