/* 64-bit Arm: sixteen lanes are four registers. Compiled twice: for every ARMv8-A (neon), and with the dot product instructions
 * (dotprod). */
#include <arm_neon.h>

/* Registers by name, not as an array: compilers then keep them apart from the first pass on. */
typedef struct vf {
    float32x4_t a, b, c, d;
} vf;
typedef struct vi {
    int32x4_t a, b, c, d;
} vi;
typedef struct vb {
    int8x16_t a, b, c, d;
} vb;

/* Of 32 registers dense sums take four a row, and weights four or, as two columns of 16 bits, eight. Of quantized weights the integer
 * sums take sixteen, weights four; sums of floats wait in memory meanwhile, which the loop over columns must not be unrolled for. */
#define PV_QUANT_ROWS 4
#define PV_QUANT_TILES 1
#define PV_DENSE_ROWS 5
#define PV_DENSE_TILES 1
#ifdef __clang__
#define PV_KEEP_LOOP _Pragma("clang loop unroll(disable)")
#else
#define PV_KEEP_LOOP _Pragma("GCC unroll 1")
#endif

/* The same operation on all four registers. */
#define PV_FOUR1(name, type, x, operation)                                                                                     \
    PV_INLINE type name(x p) { return (type){operation(p.a), operation(p.b), operation(p.c), operation(p.d)}; }
#define PV_FOUR2(name, type, operation)                                                                                        \
    PV_INLINE type name(type p, type q)                                                                                        \
    {                                                                                                                          \
        return (type){operation(p.a, q.a), operation(p.b, q.b), operation(p.c, q.c), operation(p.d, q.d)};                     \
    }
#define PV_SHIFT(name, type, by, back, as)                                                                                     \
    PV_INLINE type name(type x, int n)                                                                                         \
    {                                                                                                                          \
        return (type){back(as(x.a) by n), back(as(x.b) by n), back(as(x.c) by n), back(as(x.d) by n)};                         \
    }

PV_INLINE vf vf_set(float x)
{
    const float32x4_t four = vdupq_n_f32(x);
    return (vf){four, four, four, four};
}
PV_INLINE vf vf_zero(void) { return vf_set(0); }
PV_INLINE vf vf_load(const float *p) { return (vf){vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}; }
PV_INLINE void vf_store(float *p, vf x)
{
    vst1q_f32(p, x.a);
    vst1q_f32(p + 4, x.b);
    vst1q_f32(p + 8, x.c);
    vst1q_f32(p + 12, x.d);
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
PV_INLINE vf vf_fma(vf x, vf y, vf z)
{
    return (vf){vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b), vfmaq_f32(z.c, x.c, y.c), vfmaq_f32(z.d, x.d, y.d)};
}
PV_INLINE vf vf_fnma(vf x, vf y, vf z)
{
    return (vf){vfmsq_f32(z.a, x.a, y.a), vfmsq_f32(z.b, x.b, y.b), vfmsq_f32(z.c, x.c, y.c), vfmsq_f32(z.d, x.d, y.d)};
}
/* The instructions give NaN if either operand is NaN. */
PV_FOUR2(vf_max, vf, vmaxq_f32)
PV_FOUR2(vf_min, vf, vminq_f32)
PV_INLINE vf vf_clamp(vf low, vf high, vf x) { return vf_min(high, vf_max(low, x)); }
PV_FOUR1(vf_round, vf, vf, vrndnq_f32)
/* Bits of the four lanes from `first` on: set in those below `count`. */
PV_INLINE uint32x4_t vf_below(int32_t first, uint32_t count)
{
    static const int32_t lanes[4] = {0, 1, 2, 3};
    return vcltq_s32(vld1q_s32(lanes), vdupq_n_s32((int32_t)count - first));
}
PV_INLINE vf vf_keep(vf x, uint32_t count, float fill)
{
    const float32x4_t filled = vdupq_n_f32(fill);
    return (vf){vbslq_f32(vf_below(0, count), x.a, filled), vbslq_f32(vf_below(4, count), x.b, filled),
                vbslq_f32(vf_below(8, count), x.c, filled), vbslq_f32(vf_below(12, count), x.d, filled)};
}
PV_INLINE uint32_t vf_at_least4(float32x4_t x, float32x4_t y)
{
    static const uint32_t bits[4] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(vcgeq_f32(x, y), vld1q_u32(bits)));
}
PV_INLINE uint32_t vf_at_least(vf x, vf y)
{
    return vf_at_least4(x.a, y.a) | vf_at_least4(x.b, y.b) << 4 | vf_at_least4(x.c, y.c) << 8 | vf_at_least4(x.d, y.d) << 12;
}

PV_INLINE float32x4_t vf_from_f16x4(const uint16_t *p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
PV_INLINE vf vf_from_f16(const uint16_t *p)
{
    return (vf){vf_from_f16x4(p), vf_from_f16x4(p + 4), vf_from_f16x4(p + 8), vf_from_f16x4(p + 12)};
}
PV_INLINE void vf_to_f16x4(uint16_t *p, float32x4_t x) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x))); }
PV_INLINE void vf_to_f16(uint16_t *p, vf x)
{
    vf_to_f16x4(p, x.a);
    vf_to_f16x4(p + 4, x.b);
    vf_to_f16x4(p + 8, x.c);
    vf_to_f16x4(p + 12, x.d);
}

PV_INLINE vi vi_set(int32_t x)
{
    const int32x4_t four = vdupq_n_s32(x);
    return (vi){four, four, four, four};
}
PV_INLINE vi vi_zero(void) { return vi_set(0); }
PV_INLINE vb vb_load(const void *p)
{
    const int8_t *from = p;
    return (vb){vld1q_s8(from), vld1q_s8(from + 16), vld1q_s8(from + 32), vld1q_s8(from + 48)};
}
PV_INLINE void vb_store(void *p, vb x)
{
    int8_t *to = p;
    vst1q_s8(to, x.a);
    vst1q_s8(to + 16, x.b);
    vst1q_s8(to + 32, x.c);
    vst1q_s8(to + 48, x.d);
}
PV_FOUR1(vi_of_bytes, vi, vb, vreinterpretq_s32_s8)
PV_FOUR1(vb_of_words, vb, vi, vreinterpretq_s8_s32)
PV_INLINE vi vi_load(const void *p) { return vi_of_bytes(vb_load(p)); }
PV_INLINE void vi_store(void *p, vi x) { vb_store(p, vb_of_words(x)); }
PV_FOUR2(vi_add, vi, vaddq_s32)
PV_FOUR2(vi_sub, vi, vsubq_s32)
PV_FOUR2(vi_and, vi, vandq_s32)
PV_FOUR2(vi_or, vi, vorrq_s32)
PV_FOUR2(vi_max, vi, vmaxq_s32)
/* The compilers' operators, since an intrinsic takes no parameter of a function as its count. */
PV_SHIFT(vi_shl, vi, <<, vreinterpretq_s32_u32, vreinterpretq_u32_s32)
PV_SHIFT(vi_shr, vi, >>, vreinterpretq_s32_u32, vreinterpretq_u32_s32)
PV_SHIFT(vi_sar, vi, >>, , )
PV_FOUR1(vf_from_i, vf, vi, vcvtq_f32_s32)
PV_FOUR1(vi_from_f, vi, vf, vcvtnq_s32_f32)
PV_FOUR1(vi_bits, vi, vf, vreinterpretq_s32_f32)
PV_FOUR1(vf_bits, vf, vi, vreinterpretq_f32_s32)
PV_INLINE void vi_store_s8(int8_t *p, vi x)
{
    const int16x8_t low = vcombine_s16(vmovn_s32(x.a), vmovn_s32(x.b)), high = vcombine_s16(vmovn_s32(x.c), vmovn_s32(x.d));
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
    return (vb){all, all, all, all};
}
PV_FOUR2(vb_and, vb, vandq_s8)
PV_FOUR2(vb_or, vb, vorrq_s8)
PV_INLINE vb vb_low(vb x) { return vb_and(x, vb_set(15)); }
PV_INLINE int8x16_t vb_high16(int8x16_t x) { return vreinterpretq_s8_u8(vshrq_n_u8(vreinterpretq_u8_s8(x), 4)); }
PV_FOUR1(vb_high, vb, vb, vb_high16)
PV_SHIFT(vb_shl, vb, <<, vreinterpretq_s8_u32, vreinterpretq_u32_s8)
PV_SHIFT(vb_shr, vb, >>, vreinterpretq_s8_u32, vreinterpretq_u32_s8)

/* By a number that is no constant. */
PV_INLINE vb vb_shr_by(vb x, int n) { return vb_shr(x, n); }
PV_INLINE vi vi_shr_by(vi x, int n) { return vi_shr(x, n); }
/* Bytes of `table` by their numbers, 0 to 15. */
PV_INLINE vb vb_table(const int8_t values[16])
{
    const int8x16_t table = vld1q_s8(values);
    return (vb){table, table, table, table};
}
PV_INLINE int8x16_t vb_lookup16(int8x16_t table, int8x16_t numbers) { return vqtbl1q_s8(table, vreinterpretq_u8_s8(numbers)); }
PV_FOUR2(vb_lookup, vb, vb_lookup16)
/* Sixteen unsigned bytes or halfwords, widened. */
PV_INLINE vi vi_widen(uint16x8_t low, uint16x8_t high)
{
    return (vi){vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(low))), vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(low))),
                vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(high))), vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(high)))};
}
PV_INLINE vi vi_load_u8(const uint8_t *p)
{
    const uint8x16_t bytes = vld1q_u8(p);
    return vi_widen(vmovl_u8(vget_low_u8(bytes)), vmovl_u8(vget_high_u8(bytes)));
}
PV_INLINE vi vi_load_u16(const uint8_t *p)
{
    return vi_widen(vreinterpretq_u16_u8(vld1q_u8(p)), vreinterpretq_u16_u8(vld1q_u8(p + 16)));
}

/* `a` holds the same four bytes in its low half (all of it without the dot product, which can take them from one place). */
#ifdef __ARM_FEATURE_DOTPROD
typedef int8x8_t pv_dot_bytes;
PV_INLINE pv_dot_bytes pv_dot_load(const int8_t *a) { return vcreate_s8((uint32_t)pv_load_i32(a)); }
PV_INLINE int32x4_t vi_dot4(int32x4_t acc, int8x16_t w, pv_dot_bytes a) { return vdotq_lane_s32(acc, w, a, 0); }
#else
typedef int8x16_t pv_dot_bytes;
PV_INLINE pv_dot_bytes pv_dot_load(const int8_t *a) { return vreinterpretq_s8_s32(vdupq_n_s32(pv_load_i32(a))); }
/* Sums of two products fit 16 bits: |w| ≤ 128, |a| ≤ 127. */
PV_INLINE int32x4_t vi_dot4(int32x4_t acc, int8x16_t w, pv_dot_bytes a)
{
    return vpadalq_s16(acc, vpaddq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(a)), vmull_high_s8(w, a)));
}
#endif
PV_INLINE vi vi_dot(vi acc, vb w, const int8_t *a)
{
    const pv_dot_bytes four = pv_dot_load(a);
    return (vi){vi_dot4(acc.a, w.a, four), vi_dot4(acc.b, w.b, four), vi_dot4(acc.c, w.c, four), vi_dot4(acc.d, w.d, four)};
}
#define PV_SIGNED_ZERO 0
PV_INLINE vb vb_signed(vb w) { return w; }
PV_INLINE vi vi_dot_signed(vi acc, vb w, const int8_t *a) { return vi_dot(acc, w, a); }

/* See vf_tree: l and l + 8, then l and l + 4, then neighbours. */
PV_INLINE float32x4_t vf_fold(vf x) { return vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d)); }
PV_INLINE float vf_tree(vf x)
{
    const float32x4_t four = vf_fold(x);
    return vpadds_f32(vpadd_f32(vget_low_f32(four), vget_high_f32(four)));
}
PV_INLINE float32x4_t vf_tree4(const vf x[4])
{
    return vpaddq_f32(vpaddq_f32(vf_fold(x[0]), vf_fold(x[1])), vpaddq_f32(vf_fold(x[2]), vf_fold(x[3])));
}
PV_INLINE vf vf_tree16(const vf x[16]) { return (vf){vf_tree4(x), vf_tree4(x + 4), vf_tree4(x + 8), vf_tree4(x + 12)}; }
PV_INLINE float vf_largest(vf x) { return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.a, x.b), vmaxq_f32(x.c, x.d))); }
PV_INLINE int32_t vi_largest(vi x) { return vmaxvq_s32(vmaxq_s32(vmaxq_s32(x.a, x.b), vmaxq_s32(x.c, x.d))); }
PV_INLINE int32_t vi_sum(vi x) { return vaddvq_s32(vaddq_s32(vaddq_s32(x.a, x.b), vaddq_s32(x.c, x.d))); }
