/* 64-bit ARM: sixteen lanes are four registers. With the dot product extension (a build of its own) a byte dot is one instruction. */
#include <arm_neon.h>

typedef struct vf {
    float32x4_t v[4];
} vf;
typedef struct vi {
    int32x4_t v[4];
} vi;
typedef struct vb {
    int8x16_t v[4];
} vb;

#define PV_QUANT_ROWS 3
#define PV_QUANT_TILES 1
#define PV_DENSE_ROWS 6
#define PV_DENSE_TILES 1

#define PV_EACH for (int i = 0; i < 4; i++)
#define PV_FOUR1(name, type, x, operation)                                                                                     \
    PV_INLINE type name(x p)                                                                                                   \
    {                                                                                                                          \
        type out;                                                                                                              \
        PV_EACH out.v[i] = operation(p.v[i]);                                                                                  \
        return out;                                                                                                            \
    }
#define PV_FOUR2(name, type, operation)                                                                                        \
    PV_INLINE type name(type p, type q)                                                                                        \
    {                                                                                                                          \
        type out;                                                                                                              \
        PV_EACH out.v[i] = operation(p.v[i], q.v[i]);                                                                          \
        return out;                                                                                                            \
    }

PV_INLINE vf vf_set(float x)
{
    const float32x4_t four = vdupq_n_f32(x);
    return (vf){{four, four, four, four}};
}
PV_INLINE vf vf_zero(void) { return vf_set(0); }
PV_INLINE vf vf_load(const float *p) { return (vf){{vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}}; }
PV_INLINE void vf_store(float *p, vf x)
{
    PV_EACH vst1q_f32(p + 4 * i, x.v[i]);
}
PV_INLINE vf vf_load_part(const float *p, uint32_t count)
{
    if (count >= 16) return vf_load(p);
    float all[16] = {0};
    memcpy(all, p, count * sizeof *p);
    return vf_load(all);
}
PV_INLINE void vf_store_part(float *p, vf x, uint32_t count)
{
    if (count >= 16) {
        vf_store(p, x);
        return;
    }
    float all[16];
    vf_store(all, x);
    memcpy(p, all, count * sizeof *p);
}
PV_FOUR2(vf_add, vf, vaddq_f32)
PV_FOUR2(vf_sub, vf, vsubq_f32)
PV_FOUR2(vf_mul, vf, vmulq_f32)
PV_FOUR2(vf_div, vf, vdivq_f32)
PV_FOUR2(vf_max, vf, vmaxq_f32)
PV_FOUR2(vf_min, vf, vminq_f32)
PV_INLINE vf vf_fma(vf x, vf y, vf z)
{
    PV_EACH z.v[i] = vfmaq_f32(z.v[i], x.v[i], y.v[i]);
    return z;
}
PV_INLINE vf vf_fnma(vf x, vf y, vf z)
{
    PV_EACH z.v[i] = vfmsq_f32(z.v[i], x.v[i], y.v[i]);
    return z;
}
PV_INLINE vf vf_clamp(vf low, vf high, vf x) { return vf_min(high, vf_max(low, x)); }
PV_FOUR1(vf_round, vf, vf, vrndnq_f32)
PV_INLINE vi vf_lane_numbers(void)
{
    static const int32_t lanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return (vi){{vld1q_s32(lanes), vld1q_s32(lanes + 4), vld1q_s32(lanes + 8), vld1q_s32(lanes + 12)}};
}
PV_INLINE vf vf_keep(vf x, uint32_t count, float fill)
{
    const vi lanes = vf_lane_numbers();
    PV_EACH x.v[i] = vbslq_f32(vcltq_s32(lanes.v[i], vdupq_n_s32((int32_t)count)), x.v[i], vdupq_n_f32(fill));
    return x;
}
PV_INLINE uint32_t vf_at_least(vf x, vf y)
{
    static const uint32_t weights[4] = {1, 2, 4, 8};
    uint32_t bits = 0;
    PV_EACH bits |= vaddvq_u32(vandq_u32(vcgeq_f32(x.v[i], y.v[i]), vld1q_u32(weights))) << (4 * i);
    return bits;
}

PV_INLINE vf vf_from_f16(const uint16_t *p)
{
    vf out;
    PV_EACH out.v[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i)));
    return out;
}
PV_INLINE void vf_to_f16(uint16_t *p, vf x)
{
    PV_EACH vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(x.v[i])));
}

PV_INLINE vi vi_set(int32_t x)
{
    const int32x4_t four = vdupq_n_s32(x);
    return (vi){{four, four, four, four}};
}
PV_INLINE vi vi_zero(void) { return vi_set(0); }
PV_INLINE vb vb_load(const void *p)
{
    const int8_t *from = p;
    return (vb){{vld1q_s8(from), vld1q_s8(from + 16), vld1q_s8(from + 32), vld1q_s8(from + 48)}};
}
PV_INLINE void vb_store(void *p, vb x)
{
    PV_EACH vst1q_s8((int8_t *)p + 16 * i, x.v[i]);
}
PV_INLINE vi vi_load(const void *p)
{
    const vb bytes = vb_load(p);
    vi out;
    PV_EACH out.v[i] = vreinterpretq_s32_s8(bytes.v[i]);
    return out;
}
PV_INLINE void vi_store(void *p, vi x)
{
    PV_EACH vst1q_s8((int8_t *)p + 16 * i, vreinterpretq_s8_s32(x.v[i]));
}
PV_FOUR2(vi_add, vi, vaddq_s32)
PV_FOUR2(vi_sub, vi, vsubq_s32)
PV_FOUR2(vi_and, vi, vandq_s32)
PV_FOUR2(vi_or, vi, vorrq_s32)
PV_FOUR2(vi_max, vi, vmaxq_s32)
PV_INLINE vi vi_shl(vi x, int n)
{
    PV_EACH x.v[i] = vshlq_s32(x.v[i], vdupq_n_s32(n));
    return x;
}
PV_INLINE vi vi_sar(vi x, int n)
{
    PV_EACH x.v[i] = vshlq_s32(x.v[i], vdupq_n_s32(-n));
    return x;
}
PV_INLINE vi vi_shr(vi x, int n)
{
    PV_EACH x.v[i] = vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(x.v[i]), vdupq_n_s32(-n)));
    return x;
}
PV_FOUR1(vf_from_i, vf, vi, vcvtq_f32_s32)
PV_FOUR1(vi_from_f, vi, vf, vcvtnq_s32_f32)
PV_FOUR1(vi_bits, vi, vf, vreinterpretq_s32_f32)
PV_FOUR1(vf_bits, vf, vi, vreinterpretq_f32_s32)
PV_INLINE void vi_store_s8(int8_t *p, vi x)
{
    const int16x8_t low = vcombine_s16(vmovn_s32(x.v[0]), vmovn_s32(x.v[1])), high = vcombine_s16(vmovn_s32(x.v[2]), vmovn_s32(x.v[3]));
    vst1q_s8(p, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
}

PV_INLINE void vf_from_bf16_pairs(const void *p, vf *even, vf *odd)
{
    const vi pairs = vi_load(p);
    *even = vf_bits(vi_shl(pairs, 16));
    *odd = vf_bits(vi_and(pairs, vi_set((int32_t)0xFFFF0000)));
}

PV_INLINE vb vb_set(uint8_t x)
{
    const int8x16_t all = vdupq_n_s8((int8_t)x);
    return (vb){{all, all, all, all}};
}
PV_FOUR2(vb_and, vb, vandq_s8)
PV_FOUR2(vb_or, vb, vorrq_s8)
PV_INLINE vb vb_low(vb x) { return vb_and(x, vb_set(15)); }
PV_INLINE vb vb_high(vb x)
{
    PV_EACH x.v[i] = vreinterpretq_s8_u8(vshrq_n_u8(vreinterpretq_u8_s8(x.v[i]), 4));
    return x;
}
PV_INLINE vb vb_shl(vb x, int n)
{
    PV_EACH x.v[i] = vreinterpretq_s8_s32(vshlq_s32(vreinterpretq_s32_s8(x.v[i]), vdupq_n_s32(n)));
    return x;
}
PV_INLINE vb vb_shr(vb x, int n)
{
    PV_EACH x.v[i] = vreinterpretq_s8_u32(vshlq_u32(vreinterpretq_u32_s8(x.v[i]), vdupq_n_s32(-n)));
    return x;
}

PV_INLINE vi vi_dot(vi acc, vb w, const int8_t *a)
{
    const int8x16_t four = vreinterpretq_s8_s32(vdupq_n_s32(pv_load_i32(a)));
#ifdef __ARM_FEATURE_DOTPROD
    PV_EACH acc.v[i] = vdotq_s32(acc.v[i], w.v[i], four);
#else
    /* sums of two products fit 16 bits: |w| ≤ 128, |a| ≤ 127 */
    PV_EACH {
        const int16x8_t low = vmull_s8(vget_low_s8(w.v[i]), vget_low_s8(four));
        const int16x8_t high = vmull_high_s8(w.v[i], four);
        acc.v[i] = vpadalq_s16(acc.v[i], vpaddq_s16(low, high));
    }
#endif
    return acc;
}
#define PV_SIGNED_ZERO 0
PV_INLINE vb vb_signed(vb w) { return w; }
PV_INLINE vi vi_dot_signed(vi acc, vb w, const int8_t *a) { return vi_dot(acc, w, a); }

/* See vf_tree: l and l + 8, then l and l + 4, then neighbours. */
PV_INLINE float32x4_t vf_four(vf x) { return vaddq_f32(vaddq_f32(x.v[0], x.v[2]), vaddq_f32(x.v[1], x.v[3])); }
PV_INLINE float vf_tree(vf x)
{
    const float32x4_t four = vf_four(x);
    return vaddvq_f32(four); /* neighbours first */
}
PV_INLINE vf vf_tree16(const vf x[16])
{
    vf out;
    PV_EACH out.v[i] = vpaddq_f32(vpaddq_f32(vf_four(x[4 * i]), vf_four(x[4 * i + 1])), vpaddq_f32(vf_four(x[4 * i + 2]), vf_four(x[4 * i + 3])));
    return out;
}
PV_INLINE float vf_largest(vf x) { return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.v[0], x.v[1]), vmaxq_f32(x.v[2], x.v[3]))); }
PV_INLINE int32_t vi_largest(vi x) { return vmaxvq_s32(vmaxq_s32(vmaxq_s32(x.v[0], x.v[1]), vmaxq_s32(x.v[2], x.v[3]))); }
PV_INLINE int32_t vi_sum(vi x) { return vaddvq_s32(vaddq_s32(vaddq_s32(x.v[0], x.v[1]), vaddq_s32(x.v[2], x.v[3]))); }
