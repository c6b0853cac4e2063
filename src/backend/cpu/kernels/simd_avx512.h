/* AVX-512 F, BW, DQ, VL and VNNI. */
#include <immintrin.h>

typedef __m512 vf;
typedef __m512i vi;
typedef __m512i vb;

/* Rows × tiles of a block of the matrix kernels, by registers: see linear.c. */
#define PV_QUANT_ROWS 6
#define PV_QUANT_TILES 2
#define PV_DENSE_ROWS 12
#define PV_DENSE_TILES 2

PV_INLINE vf vf_zero(void) { return _mm512_setzero_ps(); }
PV_INLINE vf vf_set(float x) { return _mm512_set1_ps(x); }
PV_INLINE vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
PV_INLINE void vf_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
PV_INLINE __mmask16 vf_mask(uint32_t count) { return (__mmask16)((1u << count) - 1); }
PV_INLINE vf vf_load_part(const float *p, uint32_t count) { return _mm512_maskz_loadu_ps(vf_mask(count), p); }
PV_INLINE void vf_store_part(float *p, vf a, uint32_t count) { _mm512_mask_storeu_ps(p, vf_mask(count), a); }
PV_INLINE vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
PV_INLINE vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
PV_INLINE vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
PV_INLINE vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
PV_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
PV_INLINE vf vf_fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }
/* The instruction gives its second operand if either is NaN, so a NaN in `a` needs the blend. */
PV_INLINE vf vf_max(vf a, vf b) { return _mm512_mask_mov_ps(_mm512_max_ps(a, b), _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), a); }
PV_INLINE vf vf_min(vf a, vf b) { return _mm512_mask_mov_ps(_mm512_min_ps(a, b), _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), a); }
/* b may be NaN, a is not. */
PV_INLINE vf vf_clamp(vf low, vf high, vf b) { return _mm512_min_ps(high, _mm512_max_ps(low, b)); }
PV_INLINE vf vf_round(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/* Lanes from `count` on become `fill`. */
PV_INLINE vf vf_keep(vf a, uint32_t count, float fill) { return _mm512_mask_mov_ps(_mm512_set1_ps(fill), vf_mask(count), a); }
/* Bit l is set where a[l] >= b[l]. */
PV_INLINE uint32_t vf_at_least(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }

PV_INLINE vf vf_from_f16(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
PV_INLINE void vf_to_f16(uint16_t *p, vf a)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
/* Lane l of `even` and `odd` are the bfloats 2l and 2l + 1. */
PV_INLINE void vf_from_bf16_pairs(const void *p, vf *even, vf *odd)
{
    const __m512i pairs = _mm512_loadu_si512(p);
    *even = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
    *odd = _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32((int)0xFFFF0000)));
}

PV_INLINE vi vi_zero(void) { return _mm512_setzero_si512(); }
PV_INLINE vi vi_set(int32_t x) { return _mm512_set1_epi32(x); }
PV_INLINE vi vi_load(const void *p) { return _mm512_loadu_si512(p); }
PV_INLINE void vi_store(void *p, vi a) { _mm512_storeu_si512(p, a); }
PV_INLINE vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
PV_INLINE vi vi_sub(vi a, vi b) { return _mm512_sub_epi32(a, b); }
PV_INLINE vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }
PV_INLINE vi vi_or(vi a, vi b) { return _mm512_or_si512(a, b); }
PV_INLINE vi vi_max(vi a, vi b) { return _mm512_max_epi32(a, b); }
#define vi_shl(a, n) _mm512_slli_epi32(a, n)
#define vi_shr(a, n) _mm512_srli_epi32(a, n)
#define vi_sar(a, n) _mm512_srai_epi32(a, n)
PV_INLINE vf vf_from_i(vi a) { return _mm512_cvtepi32_ps(a); }
/* To nearest even. */
PV_INLINE vi vi_from_f(vf a) { return _mm512_cvtps_epi32(a); }
PV_INLINE vi vi_bits(vf a) { return _mm512_castps_si512(a); }
PV_INLINE vf vf_bits(vi a) { return _mm512_castsi512_ps(a); }
/* Lanes in −128 … 127. */
PV_INLINE void vi_store_s8(int8_t *p, vi a) { _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(a)); }

PV_INLINE vb vb_load(const void *p) { return _mm512_loadu_si512(p); }
PV_INLINE void vb_store(void *p, vb a) { _mm512_storeu_si512(p, a); }
PV_INLINE vb vb_set(uint8_t x) { return _mm512_set1_epi8((char)x); }
PV_INLINE vb vb_and(vb a, vb b) { return _mm512_and_si512(a, b); }
PV_INLINE vb vb_or(vb a, vb b) { return _mm512_or_si512(a, b); }
PV_INLINE vb vb_low(vb a) { return _mm512_and_si512(a, _mm512_set1_epi8(15)); }
PV_INLINE vb vb_high(vb a) { return _mm512_and_si512(_mm512_srli_epi16(a, 4), _mm512_set1_epi8(15)); }
/* Shifts of 32-bit lanes; the caller masks what crosses a byte. */
#define vb_shl(a, n) _mm512_slli_epi32(a, n)
#define vb_shr(a, n) _mm512_srli_epi32(a, n)

/* By a number that is no constant. */
PV_INLINE vb vb_shr_by(vb a, int n) { return _mm512_srl_epi32(a, _mm_cvtsi32_si128(n)); }
PV_INLINE vi vi_shr_by(vi a, int n) { return vb_shr_by(a, n); }
/* Bytes of `table` by their numbers, 0 to 15. */
PV_INLINE vb vb_table(const int8_t values[16]) { return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)values)); }
PV_INLINE vb vb_lookup(vb table, vb numbers) { return _mm512_shuffle_epi8(table, numbers); }
/* Sixteen unsigned bytes or halfwords, widened. */
PV_INLINE vi vi_load_u8(const uint8_t *p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)); }
PV_INLINE vi vi_load_u16(const uint8_t *p) { return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)); }

/* acc[l] += Σ w[4l + i] × a[i], i < 4; 0 ≤ w ≤ 127. */
PV_INLINE vi vi_dot(vi acc, vb w, const int8_t *a) { return _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(pv_load_i32(a))); }
/* The same for signed weights, made ready by vb_signed; the product is then of w + PV_SIGNED_ZERO. */
#define PV_SIGNED_ZERO 128
PV_INLINE vb vb_signed(vb w) { return _mm512_xor_si512(w, _mm512_set1_epi8((char)0x80)); }
PV_INLINE vi vi_dot_signed(vi acc, vb w, const int8_t *a) { return vi_dot(acc, w, a); }

/* Row r of the result holds the tree sums of four, eight … vectors: see vf_tree. */
PV_INLINE vf vf_fold8(vf a, vf b)
{
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
}
PV_INLINE vf vf_fold4(vf a, vf b)
{
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
}
PV_INLINE vf vf_fold1(vf a, vf b) { return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xDD)); }
/* Lane j of the result is vf_tree(a[j]). */
PV_INLINE vf vf_tree16(const vf a[16])
{
    vf four[4];
    for (int i = 0; i < 4; i++) {
        /* 128-bit part p of four[i] comes from a[4p + i] */
        four[i] = vf_fold4(vf_fold8(a[i], a[4 + i]), vf_fold8(a[8 + i], a[12 + i]));
    }
    return vf_fold1(vf_fold1(four[0], four[1]), vf_fold1(four[2], four[3]));
}
PV_INLINE float vf_tree(vf a)
{
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehdup_ps(four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehl_ps(two, two)));
}
PV_INLINE float vf_largest(vf a) { return _mm512_reduce_max_ps(a); }
PV_INLINE int32_t vi_largest(vi a) { return _mm512_reduce_max_epi32(a); }
/* By additions that wrap: of NaN the integers are arbitrary, and the compiler's own reduction adds them as signed ones. */
PV_INLINE int32_t vi_sum(vi a)
{
    const __m256i eight = _mm256_add_epi32(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1));
    const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xB1)));
}
