/* Codecs of single blocks, and what they share: for layout.c, whose table names them. */
#ifndef PV_FORMAT_LAYOUT_CODECS_H
#define PV_FORMAT_LAYOUT_CODECS_H

#include <math.h>

#include "format/layout.h"

/* Halves stand little-endian in files. */
static inline float pv_load_half(const uint8_t *bytes)
{
    return pv_f16_to_f32((uint16_t)(bytes[0] | bytes[1] << 8));
}

static inline void pv_store_half(uint8_t *bytes, uint16_t half)
{
    bytes[0] = (uint8_t)half;
    bytes[1] = (uint8_t)(half >> 8);
}

/* NaN gives `low`. */
static inline int pv_clamp_to_int(float value, int low, int high)
{
    if (!(value > (float)low)) return low;
    return value >= (float)high ? high : (int)value;
}

static inline float pv_inverse(float value)
{
    return value == 0 ? 0 : 1 / value;
}

static inline void pv_range_of(const float *in, int count, float *min, float *max)
{
    *min = *max = in[0];
    for (int i = 1; i < count; i++) {
        if (in[i] < *min) *min = in[i];
        if (in[i] > *max) *max = in[i];
    }
}

/* The first weight of greatest magnitude. */
static inline float pv_extreme_of(const float *in, int count)
{
    float extreme = 0;
    for (int i = 0; i < count; i++)
        if (fabsf(in[i]) > fabsf(extreme)) extreme = in[i];
    return extreme;
}

#define PV_CODEC(name)                                         \
    void pv_decode_##name(const uint8_t *block, float *out);   \
    void pv_encode_##name(const float *in, uint8_t *block);
/* layout_small.c: blocks of 32 weights */
PV_CODEC(q4_0)
PV_CODEC(q4_1)
PV_CODEC(q5_0)
PV_CODEC(q5_1)
PV_CODEC(q8_0)
PV_CODEC(iq4_nl)
PV_CODEC(mxfp4)
/* layout_super.c: blocks of 256 weights */
PV_CODEC(q2_k)
PV_CODEC(q3_k)
PV_CODEC(q4_k)
PV_CODEC(q5_k)
PV_CODEC(q6_k)
PV_CODEC(iq4_xs)
/* layout_parts.c: what other formats spread over several tensors */
PV_CODEC(f8)
PV_CODEC(nvfp4)
PV_CODEC(nvfp4_f32)
#undef PV_CODEC

void pv_decode_affine(pv_affine affine, const uint8_t *block, float *out);
void pv_encode_affine(pv_affine affine, const float *in, uint8_t *block);

/* The values of the codes of IQ4_NL and IQ4_XS. */
extern const int8_t pv_iq4_values[16];
/* Those of e2m1, doubled. */
extern const int8_t pv_e2m1_doubled[16];
/* The code whose value times `scale` is nearest, the lowest of equals. */
int pv_nearest_code(const int8_t values[16], float scale, float wanted);

#endif
