/* Blocks of layouts whose formats keep codes and scales in tensors of their own. */
#include <math.h>
#include <string.h>

#include "format/layout_codecs.h"

/* ---- AFFINE: scale, bias, then codes of `bits` bits, the first in the lowest bits ---- */

static float load_factor(pv_layout type, const uint8_t *bytes)
{
    float value;
    pv_layout_decode(type, bytes, 1, &value);
    return value;
}

/* Writes a factor and returns what readers find. */
static float store_factor(pv_layout type, float value, uint8_t *bytes)
{
    pv_layout_encode(type, &value, 1, bytes);
    return load_factor(type, bytes);
}

/* Eight codes take as many bytes as one takes bits. */
static uint64_t load_eight(const uint8_t *bytes, uint32_t bits)
{
    uint64_t eight = 0;
    memcpy(&eight, bytes, bits);
    return eight;
}

void pv_decode_affine(pv_affine affine, const uint8_t *block, float *out)
{
    const uint32_t size = pv_layout_get(affine.type)->block_bytes;
    const float scale = load_factor(affine.type, block), bias = load_factor(affine.type, block + size);
    const uint8_t *codes = block + 2 * size;
    for (uint32_t i = 0; i < affine.group; i += 8, codes += affine.bits) {
        const uint64_t eight = load_eight(codes, affine.bits);
        for (uint32_t j = 0; j < 8; j++) {
            const float scaled = scale * (float)(eight >> j * affine.bits & ((1u << affine.bits) - 1));
            out[i + j] = scaled + bias;
        }
    }
}

/* MLX's rule: the end of the range with the greater magnitude is met exactly, and zero too. Where it is the upper end, the scale is
 * negative. */
static void choose_affine(const float *in, uint32_t count, float steps, float *scale, float *bias)
{
    float min, max;
    pv_range_of(in, (int)count, &min, &max);
    const bool low = fabsf(min) > fabsf(max);
    const float edge = low ? min : max, least = fmaxf((max - min) / steps, 1e-7f), step = low ? least : -least;
    const float at_edge = rintf(edge / step);
    *scale = at_edge != 0 ? edge / at_edge : step;
    *bias = at_edge != 0 ? edge : 0;
}

void pv_encode_affine(pv_affine affine, const float *in, uint8_t *block)
{
    const uint32_t size = pv_layout_get(affine.type)->block_bytes;
    const int most = (1 << affine.bits) - 1;
    float scale, bias;
    choose_affine(in, affine.group, (float)most, &scale, &bias);
    scale = store_factor(affine.type, scale, block);
    bias = store_factor(affine.type, bias, block + size);
    uint8_t *codes = block + 2 * size;
    for (uint32_t i = 0; i < affine.group; i += 8, codes += affine.bits) {
        uint64_t eight = 0;
        for (uint32_t j = 0; j < 8; j++) {
            const int code = scale != 0 ? pv_clamp_to_int(rintf((in[i + j] - bias) / scale), 0, most) : 0;
            eight |= (uint64_t)code << j * affine.bits;
        }
        memcpy(codes, &eight, affine.bits);
    }
}

/* ---- Floats of 8 and 4 bits ---- */

/* The code of e4m3 that is nearest, to even; what is too large becomes the largest, 448. */
static uint8_t to_e4m3(float value)
{
    const uint8_t sign = signbit(value) ? 0x80 : 0;
    const float magnitude = fabsf(value);
    if (!(magnitude < 448)) return sign | 0x7e;
    int exponent = magnitude < 0x1p-6f ? -6 : ilogbf(magnitude);
    int fraction = (int)rintf(ldexpf(magnitude, 3 - exponent)); /* 8 to 16; below 8 without an exponent of its own */
    if (fraction == 16) fraction = 8, exponent++;
    return (uint8_t)(sign | (fraction < 8 ? fraction : (exponent + 7) << 3 | (fraction - 8)));
}

static float largest_of(const float *in, int count)
{
    float largest = 0;
    for (int i = 0; i < count; i++) largest = fabsf(in[i]) > largest ? fabsf(in[i]) : largest;
    return largest;
}

/* F8: f32 scale, 32 codes; weight = scale × code. */
void pv_decode_f8(const uint8_t *block, float *out)
{
    const float scale = load_factor(PV_LAYOUT_F32, block);
    for (int i = 0; i < 32; i++) out[i] = scale * pv_e4m3_to_f32(block[4 + i]);
}

void pv_encode_f8(const float *in, uint8_t *block)
{
    const float scale = store_factor(PV_LAYOUT_F32, largest_of(in, 32) / 448, block), inverse = pv_inverse(scale);
    for (int i = 0; i < 32; i++) block[4 + i] = to_e4m3(in[i] * inverse);
}

/* NVFP4: two scales e4m3, 16 bytes of nibbles; weights 0 to 15 have the first scale and the low nibbles. */
static void decode_e2m1(const uint8_t *scales, float factor, const uint8_t *codes, float *out)
{
    const float low = pv_e4m3_to_f32(scales[0]) * factor / 2, high = pv_e4m3_to_f32(scales[1]) * factor / 2;
    for (int i = 0; i < 16; i++) {
        out[i] = low * (float)pv_e2m1_doubled[codes[i] & 15];
        out[i + 16] = high * (float)pv_e2m1_doubled[codes[i] >> 4];
    }
}

static void encode_e2m1(const float *in, float factor, uint8_t *scales, uint8_t *codes)
{
    const float inverse = pv_inverse(factor);
    scales[0] = to_e4m3(largest_of(in, 16) / 6 * inverse);
    scales[1] = to_e4m3(largest_of(in + 16, 16) / 6 * inverse);
    const float low = pv_e4m3_to_f32(scales[0]) * factor / 2, high = pv_e4m3_to_f32(scales[1]) * factor / 2;
    for (int i = 0; i < 16; i++)
        codes[i] = (uint8_t)(pv_nearest_code(pv_e2m1_doubled, low, in[i]) | pv_nearest_code(pv_e2m1_doubled, high, in[i + 16]) << 4);
}

void pv_decode_nvfp4(const uint8_t *block, float *out)
{
    decode_e2m1(block, 1, block + 2, out);
}

void pv_encode_nvfp4(const float *in, uint8_t *block)
{
    encode_e2m1(in, 1, block, block + 2);
}

/* NVFP4_F32: a factor, four scales, twice 16 bytes of nibbles. The factor is the tensor's; a block that is encoded alone has its own. */
void pv_decode_nvfp4_f32(const uint8_t *block, float *out)
{
    const float factor = load_factor(PV_LAYOUT_F32, block);
    for (int i = 0; i < 2; i++) decode_e2m1(block + 4 + 2 * i, factor, block + 8 + 16 * i, out + 32 * i);
}

void pv_encode_nvfp4_f32(const float *in, uint8_t *block)
{
    const float factor = store_factor(PV_LAYOUT_F32, largest_of(in, 64) / (6 * 448), block);
    for (int i = 0; i < 2; i++) encode_e2m1(in + 32 * i, factor, block + 4 + 2 * i, block + 8 + 16 * i);
}
