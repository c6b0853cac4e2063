#include "support_reference.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Numbers --------------------------------------------------------------------------------------------------------- */

double ref_f16(uint16_t bits)
{
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double magnitude = exponent == 31  ? (fraction ? NAN : INFINITY)
                       : exponent == 0 ? ldexp(fraction, -24)
                                       : ldexp(1024 + fraction, exponent - 25);
    return bits >> 15 ? -magnitude : magnitude;
}

uint16_t ref_to_f16(double value)
{
    uint16_t sign = signbit(value) ? 0x8000 : 0;
    double a = fabs(value);
    if (isnan(a)) return 0x7E00;
    if (a >= 65520) return sign | 0x7C00;
    if (a < ldexp(1, -14)) return sign | (uint16_t)nearbyint(ldexp(a, 24));
    int exponent = ilogb(a);
    return sign | (uint16_t)(((exponent + 15) << 10) + (int)nearbyint(ldexp(a, 10 - exponent)) - 1024);
}

uint64_t ref_random(uint64_t *seed)
{
    uint64_t x = *seed += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

double ref_uniform(uint64_t *seed)
{
    return (double)(ref_random(seed) >> 11) * 0x1p-52 - 1;
}

double ref_normal(uint64_t *seed)
{
    double sum = 0;
    for (int i = 0; i < 12; i++) sum += ref_uniform(seed);
    return sum / 2;
}

/* ---- Layouts --------------------------------------------------------------------------------------------------------- */

static uint16_t half_at(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static void put_half(uint8_t *bytes, double value)
{
    uint16_t half = ref_to_f16(value);
    bytes[0] = half & 255;
    bytes[1] = half >> 8;
}

static void decode_f32(const uint8_t *block, double *value, double *mass)
{
    float cell;
    memcpy(&cell, block, 4);
    *value = cell;
    *mass = fabs(*value);
}

static void decode_f16(const uint8_t *block, double *value, double *mass)
{
    *value = ref_f16(half_at(block));
    *mass = fabs(*value);
}

static void decode_bf16(const uint8_t *block, double *value, double *mass)
{
    const uint8_t wide[4] = {0, 0, block[0], block[1]};
    decode_f32(wide, value, mass);
}

/* Weight i of the first half of a block is the low nibble of byte i, of the second half the high one. */
static int nibble(const uint8_t *bytes, int i, int half)
{
    return i < half ? bytes[i] & 15 : bytes[i - half] >> 4;
}

static void decode_q4_0(const uint8_t *block, double *value, double *mass)
{
    double d = ref_f16(half_at(block));
    for (int i = 0; i < 32; i++) {
        value[i] = d * (nibble(block + 2, i, 16) - 8);
        mass[i] = fabs(value[i]);
    }
}

static void decode_q4_1(const uint8_t *block, double *value, double *mass)
{
    double d = ref_f16(half_at(block)), m = ref_f16(half_at(block + 2));
    for (int i = 0; i < 32; i++) {
        double scaled = d * nibble(block + 4, i, 16);
        value[i] = scaled + m;
        mass[i] = fabs(scaled) + fabs(m);
    }
}

static void decode_q8_0(const uint8_t *block, double *value, double *mass)
{
    double d = ref_f16(half_at(block));
    for (int i = 0; i < 32; i++) {
        value[i] = d * (int8_t)block[2 + i];
        mass[i] = fabs(value[i]);
    }
}

/* Eight groups of 32 weights; group g has a 6-bit scale and a 6-bit minimum. Of groups 0-3 they are the low bits of bytes g and
 * g + 4; of groups 4-7 the low four bits are the nibbles of byte g + 4, the high two those of bytes g - 4 and g. */
static void decode_q4_k(const uint8_t *block, double *value, double *mass)
{
    double d = ref_f16(half_at(block)), dmin = ref_f16(half_at(block + 2));
    const uint8_t *packed = block + 4, *quants = block + 16;
    for (int g = 0; g < 8; g++) {
        int scale = g < 4 ? packed[g] & 63 : (packed[g + 4] & 15) + 16 * (packed[g - 4] >> 6);
        int minimum = g < 4 ? packed[g + 4] & 63 : (packed[g + 4] >> 4) + 16 * (packed[g] >> 6);
        for (int i = 0; i < 32; i++) {
            int quant = g % 2 == 0 ? quants[g / 2 * 32 + i] & 15 : quants[g / 2 * 32 + i] >> 4;
            double scaled = d * scale * quant, offset = dmin * minimum;
            value[g * 32 + i] = scaled - offset;
            mass[g * 32 + i] = fabs(scaled) + fabs(offset);
        }
    }
}

/* Two halves of 128 weights, each four runs of 32: low four bits in 64 bytes (runs 0, 1 low nibbles; 2, 3 high), high two bits
 * in 32 bytes (run r at bit 2 r), an 8-bit scale for each 16 weights. */
static void decode_q6_k(const uint8_t *block, double *value, double *mass)
{
    const uint8_t *low = block, *high = block + 128;
    double d = ref_f16(half_at(block + 208));
    for (int w = 0; w < 256; w++) {
        int half = w / 128, run = w % 128 / 32, i = w % 32;
        uint8_t byte = low[half * 64 + run % 2 * 32 + i];
        int quant = (run < 2 ? byte & 15 : byte >> 4) + 16 * (high[half * 32 + i] >> 2 * run & 3) - 32;
        value[w] = d * (int8_t)block[192 + w / 16] * quant;
        mass[w] = fabs(value[w]);
    }
}

/* Q5_0, Q5_1: weight i has its fifth bit at bit i of four bytes. */
static int five_bits(const uint8_t *high, const uint8_t *low, int i)
{
    return nibble(low, i, 16) + 16 * (high[i / 8] >> i % 8 & 1);
}

static void decode_q5_0(const uint8_t *block, double *value, double *mass)
{
    double d = ref_f16(half_at(block));
    for (int i = 0; i < 32; i++) {
        value[i] = d * (five_bits(block + 2, block + 6, i) - 16);
        mass[i] = fabs(value[i]);
    }
}

static void decode_q5_1(const uint8_t *block, double *value, double *mass)
{
    double d = ref_f16(half_at(block)), m = ref_f16(half_at(block + 2));
    for (int i = 0; i < 32; i++) {
        double scaled = d * five_bits(block + 4, block + 8, i);
        value[i] = scaled + m;
        mass[i] = fabs(scaled) + fabs(m);
    }
}

/* Q4_K with a fifth bit of weight i of group g at bit g of byte i, of 32 bytes before the quants. */
static void decode_q5_k(const uint8_t *block, double *value, double *mass)
{
    double d = ref_f16(half_at(block)), dmin = ref_f16(half_at(block + 2));
    const uint8_t *packed = block + 4, *high = block + 16, *quants = block + 48;
    for (int w = 0; w < 256; w++) {
        int g = w / 32, i = w % 32;
        int scale = g < 4 ? packed[g] & 63 : (packed[g + 4] & 15) + 16 * (packed[g - 4] >> 6);
        int minimum = g < 4 ? packed[g + 4] & 63 : (packed[g + 4] >> 4) + 16 * (packed[g] >> 6);
        int quant = (g % 2 == 0 ? quants[g / 2 * 32 + i] & 15 : quants[g / 2 * 32 + i] >> 4) + 16 * (high[i] >> g & 1);
        double scaled = d * scale * quant, offset = dmin * minimum;
        value[w] = scaled - offset;
        mass[w] = fabs(scaled) + fabs(offset);
    }
}

/* Two halves of 128 weights, each four runs of 32: run r is the bits 2 r and 2 r + 1 of 32 bytes. */
static int bit_pair(const uint8_t *pairs, int w)
{
    return pairs[w / 128 * 32 + w % 32] >> w % 128 / 32 * 2 & 3;
}

static void decode_q2_k(const uint8_t *block, double *value, double *mass)
{
    double d = ref_f16(half_at(block + 80)), dmin = ref_f16(half_at(block + 82));
    for (int w = 0; w < 256; w++) {
        double scaled = d * (block[w / 16] & 15) * bit_pair(block + 16, w), offset = dmin * (block[w / 16] >> 4);
        value[w] = scaled - offset;
        mass[w] = fabs(scaled) + fabs(offset);
    }
}

/* Sixteen 6-bit scales: scales 0-7 have their low four bits in the low nibbles of eight bytes, 8-15 in the high ones; the high two
 * bits of scales s, s + 4, s + 8, s + 12 share byte 8 + s. */
static void decode_q3_k(const uint8_t *block, double *value, double *mass)
{
    const uint8_t *scales = block + 96;
    double d = ref_f16(half_at(block + 108));
    for (int w = 0; w < 256; w++) {
        int s = w / 16, low = s < 8 ? scales[s] & 15 : scales[s - 8] >> 4, high = scales[8 + s % 4] >> 2 * (s / 4) & 3;
        int quant = bit_pair(block + 32, w) + 4 * (block[w % 32] >> w / 32 & 1) - 4;
        value[w] = d * (low + 16 * high - 32) * quant;
        mass[w] = fabs(value[w]);
    }
}

static double iq4_value(int code)
{
    static const double values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
    return values[code];
}

static void decode_iq4_nl(const uint8_t *block, double *value, double *mass)
{
    double d = ref_f16(half_at(block));
    for (int i = 0; i < 32; i++) {
        value[i] = d * iq4_value(nibble(block + 2, i, 16));
        mass[i] = fabs(value[i]);
    }
}

static void decode_iq4_xs(const uint8_t *block, double *value, double *mass)
{
    double d = ref_f16(half_at(block));
    int high = half_at(block + 2);
    for (int w = 0; w < 256; w++) {
        int g = w / 32, scale = (block[4 + g / 2] >> g % 2 * 4 & 15) + 16 * (high >> 2 * g & 3) - 32;
        value[w] = d * scale * iq4_value(nibble(block + 8 + g * 16, w % 32, 16));
        mass[w] = fabs(value[w]);
    }
}

/* Four bits: a sign, an exponent of two bits with bias 1, one bit of fraction. */
static double e2m1(int code)
{
    int exponent = code >> 1 & 3, fraction = code & 1;
    double magnitude = exponent == 0 ? fraction * 0.5 : ldexp(2 + fraction, exponent - 2);
    return code & 8 ? -magnitude : magnitude;
}

static void decode_mxfp4(const uint8_t *block, double *value, double *mass)
{
    for (int i = 0; i < 32; i++) {
        value[i] = ldexp(e2m1(nibble(block + 1, i, 16)), block[0] - 127);
        mass[i] = fabs(value[i]);
    }
}

/* A sign, four bits of exponent with bias 7, three of fraction. */
static double e4m3(int code)
{
    int exponent = code >> 3 & 15, fraction = code & 7;
    double magnitude = exponent == 0 ? ldexp(fraction, -9) : ldexp(8 + fraction, exponent - 10);
    return code & 128 ? -magnitude : magnitude;
}

static void decode_f8(const uint8_t *block, double *value, double *mass)
{
    float scale;
    memcpy(&scale, block, 4);
    for (int i = 0; i < 32; i++) {
        value[i] = scale * e4m3(block[4 + i]);
        mass[i] = fabs(value[i]);
    }
}

static void decode_nvfp4(const uint8_t *block, double *value, double *mass)
{
    for (int i = 0; i < 32; i++) {
        value[i] = e4m3(block[i / 16]) * e2m1(nibble(block + 2, i, 16));
        mass[i] = fabs(value[i]);
    }
}

static void decode_nvfp4_f32(const uint8_t *block, double *value, double *mass)
{
    float factor;
    memcpy(&factor, block, 4);
    for (int i = 0; i < 64; i++) {
        value[i] = factor * e4m3(block[4 + i / 16]) * e2m1(nibble(block + 8 + i / 32 * 16, i % 32, 16));
        mass[i] = fabs(value[i]);
    }
}

/* AFFINE4_G64_F16: 64 codes of 4 bits, the first in the lowest bits of a stream, behind a scale and a bias of F16. */
typedef struct affine {
    uint32_t bits, group, factor_bytes;
    char type[8];
} affine;

static bool is_affine(pv_layout layout, affine *a)
{
    if (sscanf(pv_layout_get(layout)->name, "AFFINE%u_G%u_%7s", &a->bits, &a->group, a->type) != 3) return false;
    a->factor_bytes = strcmp(a->type, "F32") == 0 ? 4 : 2;
    return true;
}

static double factor(const affine *a, const uint8_t *bytes)
{
    double value, unused;
    if (strcmp(a->type, "F32") == 0) decode_f32(bytes, &value, &unused);
    else if (strcmp(a->type, "F16") == 0) decode_f16(bytes, &value, &unused);
    else decode_bf16(bytes, &value, &unused);
    return value;
}

static void put_factor(const affine *a, uint8_t *bytes, double value)
{
    float cell = (float)value;
    if (strcmp(a->type, "F32") == 0) memcpy(bytes, &cell, 4);
    else if (strcmp(a->type, "F16") == 0) put_half(bytes, value);
    else memcpy(bytes, (const uint8_t *)&cell + 2, 2);
}

static void decode_affine(const affine *a, const uint8_t *block, double *value, double *mass)
{
    double scale = factor(a, block), bias = factor(a, block + a->factor_bytes);
    const uint8_t *stream = block + 2 * a->factor_bytes;
    for (uint32_t i = 0; i < a->group; i++) {
        int code = 0;
        for (uint32_t b = 0; b < a->bits; b++) code += (stream[(i * a->bits + b) / 8] >> (i * a->bits + b) % 8 & 1) << b;
        value[i] = scale * code + bias;
        /* codes of eight bits may be taken less 128, with the bias accordingly */
        mass[i] = fabs(scale) * (a->bits == 8 ? code + 128 : code) + fabs(bias);
    }
}

static const struct {
    uint32_t weights, bytes;
    void (*decode)(const uint8_t *block, double *value, double *mass);
    double typical; /* value of a random block whose scales are 1 */
} layouts[PV_LAYOUT_COUNT] = {
    [PV_LAYOUT_F32] = {1, 4, decode_f32, 1},         [PV_LAYOUT_F16] = {1, 2, decode_f16, 1},
    [PV_LAYOUT_BF16] = {1, 2, decode_bf16, 1},       [PV_LAYOUT_Q4_0] = {32, 18, decode_q4_0, 8},
    [PV_LAYOUT_Q4_1] = {32, 20, decode_q4_1, 8},     [PV_LAYOUT_Q8_0] = {32, 34, decode_q8_0, 128},
    [PV_LAYOUT_Q4_K] = {256, 144, decode_q4_k, 512}, [PV_LAYOUT_Q6_K] = {256, 210, decode_q6_k, 2048},
    [PV_LAYOUT_Q5_0] = {32, 22, decode_q5_0, 16},    [PV_LAYOUT_Q5_1] = {32, 24, decode_q5_1, 16},
    [PV_LAYOUT_Q2_K] = {256, 84, decode_q2_k, 16},   [PV_LAYOUT_Q3_K] = {256, 110, decode_q3_k, 64},
    [PV_LAYOUT_Q5_K] = {256, 176, decode_q5_k, 512}, [PV_LAYOUT_IQ4_NL] = {32, 18, decode_iq4_nl, 64},
    [PV_LAYOUT_IQ4_XS] = {256, 136, decode_iq4_xs, 1024}, [PV_LAYOUT_MXFP4] = {32, 17, decode_mxfp4, 2},
    [PV_LAYOUT_F8] = {32, 36, decode_f8, 64},        [PV_LAYOUT_NVFP4] = {32, 18, decode_nvfp4, 2},
    [PV_LAYOUT_NVFP4_F32] = {64, 40, decode_nvfp4_f32, 2},
};

void ref_block(pv_layout layout, uint32_t *weights, uint32_t *bytes)
{
    affine a;
    const bool found = is_affine(layout, &a);
    *weights = found ? a.group : layouts[layout].weights;
    *bytes = found ? 2 * a.factor_bytes + a.group * a.bits / 8 : layouts[layout].bytes;
}

size_t ref_row_bytes(pv_layout layout, uint32_t cols)
{
    uint32_t weights, bytes;
    ref_block(layout, &weights, &bytes);
    return (size_t)cols / weights * bytes;
}

bool ref_is_quantized(pv_layout layout)
{
    return layout > PV_LAYOUT_BF16 && layout != PV_LAYOUT_F8; /* products with F8 are taken in f32 */
}

void ref_decode(pv_layout layout, const uint8_t *row, uint32_t cols, double *value, double *mass)
{
    double unused[256];
    uint32_t weights, bytes;
    affine a;
    const bool found = is_affine(layout, &a);
    ref_block(layout, &weights, &bytes);
    for (uint32_t at = 0; at < cols; at += weights, row += bytes) {
        double *masses = mass ? mass + at : unused;
        if (found) decode_affine(&a, row, value + at, masses);
        else layouts[layout].decode(row, value + at, masses);
    }
}

static void random_block(pv_layout layout, double size, uint64_t *seed, uint8_t *block)
{
    uint32_t weights, bytes;
    affine a;
    const bool found = is_affine(layout, &a);
    ref_block(layout, &weights, &bytes);
    double scale = size / (found ? 1 << a.bits : layouts[layout].typical);
    for (uint32_t i = 0; i < bytes; i++) block[i] = (uint8_t)ref_random(seed);
    double d = scale * (0.25 + 0.75 * fabs(ref_uniform(seed))) * (ref_random(seed) & 1 ? 1 : -1),
           second = scale * ref_uniform(seed);
    float cell = (float)(size * ref_normal(seed));
    if (found) {
        put_factor(&a, block, d);
        put_factor(&a, block + a.factor_bytes, -d * (1 << a.bits) * ref_uniform(seed));
        return;
    }
    switch (layout) {
    case PV_LAYOUT_F32: memcpy(block, &cell, 4); break;
    case PV_LAYOUT_F16: put_half(block, cell); break;
    case PV_LAYOUT_BF16: memcpy(block, (const uint8_t *)&cell + 2, 2); break;
    case PV_LAYOUT_Q4_1:
    case PV_LAYOUT_Q5_1:
        put_half(block + 2, 8 * second);
        put_half(block, d);
        break;
    case PV_LAYOUT_Q4_K:
    case PV_LAYOUT_Q5_K:
        put_half(block + 2, 8 * second);
        put_half(block, d);
        break;
    case PV_LAYOUT_Q6_K: put_half(block + 208, d); break;
    case PV_LAYOUT_Q2_K:
        put_half(block + 82, 2 * second);
        put_half(block + 80, d);
        break;
    case PV_LAYOUT_Q3_K: put_half(block + 108, d); break;
    case PV_LAYOUT_F8: /* codes that are numbers */
        for (int i = 0; i < 32; i++) block[4 + i] &= (block[4 + i] & 127) == 127 ? 0xF7 : 0xFF;
        cell = (float)d;
        memcpy(block, &cell, 4);
        break;
    case PV_LAYOUT_NVFP4: /* a sign, and an exponent of about the scale that is wanted */
        for (int i = 0; i < 2; i++) {
            int exponent = 7 + ilogb(scale) - (int)(ref_random(seed) % 2);
            block[i] = (uint8_t)((block[i] & 0x87) | (exponent < 0 ? 0 : exponent > 14 ? 14 : exponent) << 3);
        }
        break;
    case PV_LAYOUT_NVFP4_F32: /* scales from 1/4 to 2 of either sign; the factor makes them what is wanted */
        for (int i = 4; i < 8; i++) block[i] = (uint8_t)((block[i] & 0x87) | (5 + ref_random(seed) % 3) << 3);
        cell = (float)d;
        memcpy(block, &cell, 4);
        break;
    case PV_LAYOUT_MXFP4: block[0] = (uint8_t)(127 + ilogb(scale) - (int)(ref_random(seed) % 3)); break;
    default: put_half(block, d); break;
    }
}

void ref_random_row(pv_layout layout, uint32_t cols, double size, uint64_t *seed, uint8_t *row)
{
    uint32_t weights, bytes;
    ref_block(layout, &weights, &bytes);
    for (uint32_t at = 0; at < cols; at += weights, row += bytes) random_block(layout, size, seed, row);
}

/* ---- Rows ------------------------------------------------------------------------------------------------------------ */

/* Decoding rounds each of at most two terms and their sum, the scale once more. */
ref_value ref_embed(double decoded, double mass, double scale)
{
    return (ref_value){decoded * scale, 4 * REF_U * mass * fabs(scale)};
}

/* The contract: the angle is one f32 product, its sine and cosine are right to 2 ulp (at most 4 u) or 1e-7; then one product.
 */
ref_value ref_angle(int32_t position, float inverse_frequency, float magnitude, bool sine)
{
    float angle = (float)position * inverse_frequency;
    double exact = sine ? sin(angle) : cos(angle), bound = fmax(4 * REF_U * fabs(exact), 1e-7);
    return (ref_value){exact * magnitude, bound * fabs((double)magnitude) + REF_U * fabs(exact * (double)magnitude)};
}

/* Relative error of 1 / sqrt(mean + epsilon) in f32: half that of the sum of n squares, then a division, a root, and their
 * like. */
static double norm_relative(uint32_t cols)
{
    return (REF_LAMBDA * sqrt(cols) / 2 + 8) * REF_U;
}

static double norm_factor(const float *x, uint32_t cols, double epsilon)
{
    double sum = 0;
    for (uint32_t i = 0; i < cols; i++) sum += (double)x[i] * x[i];
    return 1 / sqrt(sum / cols + epsilon);
}

void ref_rms_norm(const float *x, const float *weight, uint32_t cols, double epsilon, ref_value *out)
{
    double factor = norm_factor(x, cols, epsilon), relative = norm_relative(cols);
    for (uint32_t i = 0; i < cols; i++) {
        double value = x[i] * factor * weight[i];
        out[i] = (ref_value){value, relative * fabs(value)};
    }
}

void ref_rms_norm_onto(const float *x, const float *weight, uint32_t width, uint32_t cols, double epsilon, const float *onto, ref_value *out)
{
    for (uint32_t at = 0; at < cols; at += width) ref_rms_norm(x + at, weight, width, epsilon, out + at);
    for (uint32_t i = 0; onto != NULL && i < cols; i++) out[i] = ref_plus(out[i], onto[i]);
}

/* The mean errs by the error of a sum; what that does to the variance is of second order. Then as for rms_norm. */
void ref_layer_norm(const float *x, const float *weight, const float *bias, uint32_t cols, double epsilon, ref_value *out)
{
    double sum = 0, magnitude = 0, variance = 0;
    for (uint32_t i = 0; i < cols; i++) sum += x[i], magnitude += fabs(x[i]);
    double mean = sum / cols, mean_error = (REF_LAMBDA * sqrt(cols) + 4) * REF_U * magnitude / cols;
    for (uint32_t i = 0; i < cols; i++) variance += (x[i] - mean) * (x[i] - mean) / cols;
    double factor = 1 / sqrt(variance + epsilon), relative = norm_relative(cols) + mean_error * mean_error / (variance + epsilon);
    for (uint32_t i = 0; i < cols; i++) {
        double value = (x[i] - mean) * factor * weight[i];
        out[i] = (ref_value){value, relative * fabs(value) + mean_error * factor * fabs(weight[i])};
        if (bias != NULL) out[i] = ref_plus(out[i], bias[i]);
    }
}

/* Both have slopes of at most 1.2; their own f32 evaluation (exponential, sum, quotient) is given 8 u, and that of the exponent of
 * gelu, whose error becomes a relative one of the exponential, 4 u of it. Where the exponential leaves f32 they are below 1e-36. */
ref_value ref_activated(pv_activation activation, ref_value x)
{
    if (activation == PV_ACTIVATION_NONE) return x;
    if (activation == PV_ACTIVATION_SIGMOID) { /* its slope is at most its value */
        const double sigmoid = 1 / (1 + exp(-x.value));
        return (ref_value){sigmoid, (8 * REF_U + x.bound) * sigmoid};
    }
    double exponent = activation == PV_ACTIVATION_SILU ? x.value : 2 * sqrt(2 / acos(-1)) * (x.value + 0.044715 * x.value * x.value * x.value);
    double value = x.value / (1 + exp(-exponent)), share = 1 / (1 + exp(exponent)); /* of the exponential in the sum */
    double relative = 8 + (activation == PV_ACTIVATION_GELU ? 4 * fabs(exponent) * share : 0);
    return (ref_value){value, 1.2 * x.bound + relative * REF_U * fabs(value) + 1e-36};
}

ref_value ref_soft_capped(double cap, ref_value x)
{
    double value = cap * tanh(x.value / cap);
    return (ref_value){value, x.bound + 12 * REF_U * fabs(value)};
}

/* Clamping does not enlarge errors; the slope of g / (1 + e^(-1.702 g)) is at most 1.1. */
static ref_value clamped_glu(ref_value gate, ref_value up)
{
    double g = gate.value > 7 ? 7 : gate.value, u = up.value > 7 ? 7 : up.value < -7 ? -7 : up.value;
    double swish = g / (1 + exp(-1.702 * g)), share = 1 / (1 + exp(1.702 * g));
    double error = 1.1 * gate.bound + (8 + 4 * fabs(1.702 * g) * share) * REF_U * fabs(swish) + 1e-36;
    return (ref_value){(u + 1) * swish, error * (fabs(u + 1) + up.bound) + fabs(swish) * (up.bound + REF_U * (fabs(u) + 1)) +
                                            2 * REF_U * fabs((u + 1) * swish)};
}

ref_value ref_glu(pv_activation activation, ref_value gate, ref_value up)
{
    if (activation == PV_ACTIVATION_CLAMPED) return clamped_glu(gate, up);
    ref_value y = ref_activated(activation, gate);
    return (ref_value){y.value * up.value, y.bound * (fabs(up.value) + up.bound) + fabs(y.value) * up.bound + REF_U * fabs(y.value * up.value)};
}

/* Two products and a sum. */
ref_value ref_rotated(double a, double b, double cosine, double sine)
{
    return (ref_value){a * cosine - b * sine, 2 * REF_U * (fabs(a * cosine) + fabs(b * sine))};
}

/* ---- Linear ---------------------------------------------------------------------------------------------------------- */

/* Quotients up to the number of steps come from an f32 scale and an f32 element, each with a few roundings (8 u with a norm
 * before): one that lies so near to the middle of two integers may go either way, and then differs by one scale. */
#define MIDDLE (PV_ACTIVATION_STEPS * 8 * REF_U)

static void quantize_group(double *value, double *slack)
{
    double largest = 0;
    for (int i = 0; i < 32; i++) largest = fmax(largest, isfinite(value[i]) ? fabs(value[i]) : INFINITY);
    double scale = isfinite(largest) ? largest / PV_ACTIVATION_STEPS : NAN;
    for (int i = 0; i < 32; i++) {
        double quotient = scale == 0 ? 0 : value[i] / scale, rounded = nearbyint(quotient);
        slack[i] = fabs(fabs(quotient - rounded) - 0.5) < MIDDLE ? scale : 0;
        value[i] = rounded * scale;
    }
}

void ref_input_make(const float *x, const float *norm, uint32_t cols, double epsilon, bool quantized, ref_input *input)
{
    *input = (ref_input){.cols = cols, .relative = norm ? norm_relative(cols) : 0};
    input->value = malloc(cols * sizeof(double));
    input->slack = calloc(cols, sizeof(double));
    double factor = norm ? norm_factor(x, cols, epsilon) : 1;
    for (uint32_t i = 0; i < cols; i++) input->value[i] = norm ? x[i] * factor * norm[i] : x[i];
    for (uint32_t i = 0; quantized && i < cols; i += 32) quantize_group(input->value + i, input->slack + i);
}

void ref_input_free(ref_input *input)
{
    free(input->value);
    free(input->slack);
}

/* Beside the sum: the scale of the input's group, the decoding of the weight and their product, 16 u at most. */
ref_value ref_dot(const ref_input *input, const double *weight, const double *mass)
{
    double sum = 0, magnitude = 0, slack = 0;
    for (uint32_t i = 0; i < input->cols; i++) {
        sum += input->value[i] * weight[i];
        magnitude += fabs(input->value[i]) * mass[i];
        slack += input->slack[i] * mass[i];
    }
    return (ref_value){sum, ((REF_LAMBDA * sqrt(input->cols) + 16) * REF_U + input->relative) * magnitude + slack};
}

ref_value ref_plus(ref_value a, double b)
{
    return (ref_value){a.value + b, a.bound + REF_U * (fabs(a.value + b) + fabs(a.value) + fabs(b))};
}

/* ---- Attention ------------------------------------------------------------------------------------------------------- */

static const double *half_values(void)
{
    static double *values;
    if (values == NULL) {
        static double table[65536];
        for (uint32_t i = 0; i < 65536; i++) table[i] = ref_f16((uint16_t)i);
        values = table;
    }
    return values;
}

/* An error e of a score makes a relative error of about e in its weight, and as much in their sum; the exponential itself has 8
 * u, the sums over keys theirs, and rescaling spans a few more. A cap's slope is at most 1, its own evaluation has 12 u. */
void ref_attention_of(const float *q, const double *keys, const double *values, uint32_t count, uint32_t head_dim, uint32_t value_dim,
                      double scale, double soft_cap, double sink, ref_value *out)
{
    double *score = malloc(count * sizeof *score), largest = sink, worst = 0, sum = 0;
    for (uint32_t j = 0; j < count; j++) {
        double dot = 0, magnitude = 0;
        for (uint32_t i = 0; i < head_dim; i++) {
            double product = q[i] * keys[(size_t)j * head_dim + i];
            dot += product;
            magnitude += fabs(product);
        }
        score[j] = soft_cap > 0 ? soft_cap * tanh(dot * scale / soft_cap) : dot * scale;
        largest = fmax(largest, score[j]);
        worst = fmax(worst, (REF_LAMBDA * sqrt(head_dim) + 4) * REF_U * magnitude * scale + (soft_cap > 0 ? 12 * REF_U * fabs(score[j]) : 0));
    }
    worst += 4 * REF_U * fabs(largest);
    sum = exp(sink - largest);
    for (uint32_t j = 0; j < count; j++) sum += score[j] = exp(score[j] - largest);
    for (uint32_t i = 0; i < value_dim; i++) {
        double mixed = 0, magnitude = 0;
        for (uint32_t j = 0; j < count; j++) {
            double part = score[j] / sum * values[(size_t)j * value_dim + i];
            mixed += part;
            magnitude += fabs(part);
        }
        out[i] = (ref_value){mixed, (2 * worst + (2 * REF_LAMBDA * sqrt(count) + 16) * REF_U) * magnitude};
    }
    free(score);
}

void ref_attention(const float *q, const uint16_t *keys, const uint16_t *values, uint32_t count, uint32_t head_dim,
                   double scale, double soft_cap, double sink, ref_value *out)
{
    const double *half = half_values();
    const size_t cells = (size_t)count * head_dim;
    double *wide = malloc(2 * cells * sizeof *wide);
    for (size_t i = 0; i < cells; i++) wide[i] = half[keys[i]], wide[cells + i] = half[values[i]];
    ref_attention_of(q, wide, wide + cells, count, head_dim, head_dim, scale, soft_cap, sink, out);
    free(wide);
}
