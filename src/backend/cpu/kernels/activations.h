/* Rows of activations made ready for a matrix: normed, and quantized to 16 bits in groups of 32 for quantized weights. */
#ifndef PV_CPU_ACTIVATIONS_H
#define PV_CPU_ACTIVATIONS_H

#include "backend/kernel_args.h"
#include "simd.h"

#define PV_GROUP 32

/* A group of 32 activations x ≈ scale × q, q = 255 × high + low: the integer instructions take bytes. */
typedef struct pv_cpu_group {
    float scale;
    float sum;           /* scale × Σ q */
    int32_t minus[2];    /* −Σ q of each half */
    int32_t minus_all;   /* −Σ q */
    int8_t high[PV_GROUP], low[PV_GROUP];
} pv_cpu_group;

/* Stores 16 quantized values as their two bytes. */
PV_INLINE void pv_store_bytes(vi q, int8_t *high, int8_t *low)
{
    const vi upper = vi_from_f(vf_mul(vf_from_i(q), vf_set(1.0f / 255)));
    vi_store_s8(high, upper);
    vi_store_s8(low, vi_sub(vi_add(q, upper), vi_shl(upper, 8)));
}

/* Σ x², sixteen lanes of four chains each, combined in a fixed order. */
PV_INLINE float pv_sum_of_squares(const float *x, uint32_t cols)
{
    vf sum[4] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
    uint32_t i = 0;
    for (; i + 64 <= cols; i += 64) {
        for (uint32_t c = 0; c < 4; c++) {
            const vf v = vf_load(x + i + 16 * c);
            sum[c] = vf_fma(v, v, sum[c]);
        }
    }
    for (uint32_t c = 0; i < cols; i += 16, c++) {
        const vf v = vf_load_part(x + i, cols - i < 16 ? cols - i : 16);
        sum[c] = vf_fma(v, v, sum[c]);
    }
    return vf_tree(vf_add(vf_add(sum[0], sum[1]), vf_add(sum[2], sum[3])));
}

/* out = x / sqrt(mean(x²) + epsilon) × weight; out may be x. */
PV_INLINE void pv_rms_norm_row(const float *x, const float *weight, float *out, uint32_t cols, float epsilon)
{
    const vf factor = vf_set(1.0f / sqrtf(pv_sum_of_squares(x, cols) / (float)cols + epsilon));
    uint32_t i = 0;
    for (; i + 16 <= cols; i += 16) vf_store(out + i, vf_mul(vf_mul(vf_load(x + i), factor), vf_load(weight + i)));
    if (i < cols) {
        const uint32_t rest = cols - i;
        vf_store_part(out + i, vf_mul(vf_mul(vf_load_part(x + i, rest), factor), vf_load_part(weight + i, rest)), rest);
    }
}

/* The largest |x| is found among the bit patterns, where NaN is larger than infinity and infinity than all numbers: a row that is
 * not finite gets a scale that is not finite, and so do all results. */
PV_INLINE void pv_quantize_row(const float *x, uint32_t cols, pv_cpu_group *groups)
{
    for (uint32_t g = 0; g < cols / PV_GROUP; g++, x += PV_GROUP, groups++) {
        const vf low = vf_load(x), high = vf_load(x + 16);
        const vi magnitude = vi_set(0x7FFFFFFF);
        const vf largest = vf_bits(vi_set(vi_largest(vi_max(vi_and(vi_bits(low), magnitude), vi_and(vi_bits(high), magnitude)))));
        float top;
        vf_store_part(&top, largest, 1);
        /* steps / top must not overflow: what is smaller than 2^-110 everywhere counts as 0 */
        const vf inverse = vf_set(top < 0x1p-110f ? 0.0f : PV_ACTIVATION_STEPS / top);
        const vi q_low = vi_from_f(vf_mul(low, inverse)), q_high = vi_from_f(vf_mul(high, inverse));
        pv_store_bytes(q_low, groups->high, groups->low);
        pv_store_bytes(q_high, groups->high + 16, groups->low + 16);
        const int32_t sum_low = vi_sum(q_low), sum_high = vi_sum(q_high);
        groups->scale = top < 0x1p-110f ? 0.0f : top / PV_ACTIVATION_STEPS;
        groups->minus[0] = (int32_t)(0u - (uint32_t)sum_low); /* unsigned: of NaN the integers are arbitrary */
        groups->minus[1] = (int32_t)(0u - (uint32_t)sum_high);
        groups->minus_all = (int32_t)(0u - (uint32_t)sum_low - (uint32_t)sum_high);
        groups->sum = groups->scale * (float)(int32_t)((uint32_t)sum_low + (uint32_t)sum_high);
    }
}

#endif
