/* AVX2, FMA and F16C: sixteen lanes are two registers. */
#include <immintrin.h>

typedef struct vf {
    __m256 a, b;
} vf;
typedef struct vi {
    __m256i a, b;
} vi;
typedef vi vb;

#define PV_QUANT_ROWS 2
#define PV_QUANT_TILES 1
#define PV_DENSE_ROWS 6
#define PV_DENSE_TILES 1

/* The same operation on both halves. */
#define PV_BOTH1(name, type, x, operation)                                                                                     \
    PV_INLINE type name(x p) { return (type){operation(p.a), operation(p.b)}; }
#define PV_BOTH2(name, type, x, y, operation)                                                                                  \
    PV_INLINE type name(x p, y q) { return (type){operation(p.a, q.a), operation(p.b, q.b)}; }

PV_INLINE vf vf_zero(void) { return (vf){_mm256_setzero_ps(), _mm256_setzero_ps()}; }
PV_INLINE vf vf_set(float x) { return (vf){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
PV_INLINE vf vf_load(const float *p) { return (vf){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
PV_INLINE void vf_store(float *p, vf v)
{
    _mm256_storeu_ps(p, v.a);
    _mm256_storeu_ps(p + 8, v.b);
}
/* All bits set in the lanes below `count`. */
PV_INLINE vi vf_lanes(uint32_t count)
{
    const __m256i bound = _mm256_set1_epi32((int)count);
    return (vi){_mm256_cmpgt_epi32(bound, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)),
                _mm256_cmpgt_epi32(bound, _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15))};
}
PV_INLINE vf vf_load_part(const float *p, uint32_t count)
{
    if (count >= 16) return vf_load(p);
    const vi mask = vf_lanes(count);
    return (vf){_mm256_maskload_ps(p, mask.a), count > 8 ? _mm256_maskload_ps(p + 8, mask.b) : _mm256_setzero_ps()};
}
PV_INLINE void vf_store_part(float *p, vf v, uint32_t count)
{
    if (count >= 16) {
        vf_store(p, v);
        return;
    }
    const vi mask = vf_lanes(count);
    _mm256_maskstore_ps(p, mask.a, v.a);
    if (count > 8) _mm256_maskstore_ps(p + 8, mask.b, v.b);
}
PV_BOTH2(vf_add, vf, vf, vf, _mm256_add_ps)
PV_BOTH2(vf_sub, vf, vf, vf, _mm256_sub_ps)
PV_BOTH2(vf_mul, vf, vf, vf, _mm256_mul_ps)
PV_BOTH2(vf_div, vf, vf, vf, _mm256_div_ps)
PV_INLINE vf vf_fma(vf x, vf y, vf z) { return (vf){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
PV_INLINE vf vf_fnma(vf x, vf y, vf z) { return (vf){_mm256_fnmadd_ps(x.a, y.a, z.a), _mm256_fnmadd_ps(x.b, y.b, z.b)}; }
/* The instruction gives its second operand if either is NaN, so a NaN in the first needs the blend. */
PV_INLINE __m256 vf_max8(__m256 x, __m256 y) { return _mm256_blendv_ps(_mm256_max_ps(x, y), x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q)); }
PV_INLINE __m256 vf_min8(__m256 x, __m256 y) { return _mm256_blendv_ps(_mm256_min_ps(x, y), x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q)); }
PV_BOTH2(vf_max, vf, vf, vf, vf_max8)
PV_BOTH2(vf_min, vf, vf, vf, vf_min8)
PV_INLINE vf vf_clamp(vf low, vf high, vf x)
{
    return (vf){_mm256_min_ps(high.a, _mm256_max_ps(low.a, x.a)), _mm256_min_ps(high.b, _mm256_max_ps(low.b, x.b))};
}
PV_INLINE __m256 vf_round8(__m256 x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
PV_BOTH1(vf_round, vf, vf, vf_round8)
PV_INLINE vf vf_keep(vf x, uint32_t count, float fill)
{
    const vi mask = vf_lanes(count);
    const __m256 filled = _mm256_set1_ps(fill);
    return (vf){_mm256_blendv_ps(filled, x.a, _mm256_castsi256_ps(mask.a)), _mm256_blendv_ps(filled, x.b, _mm256_castsi256_ps(mask.b))};
}
PV_INLINE uint32_t vf_at_least(vf x, vf y)
{
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(x.a, y.a, _CMP_GE_OQ)) |
           (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(x.b, y.b, _CMP_GE_OQ)) << 8;
}

PV_INLINE vf vf_from_f16(const uint16_t *p)
{
    return (vf){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)), _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8)))};
}
PV_INLINE void vf_to_f16(uint16_t *p, vf x)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    _mm_storeu_si128((__m128i *)(p + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

PV_INLINE vi vi_zero(void) { return (vi){_mm256_setzero_si256(), _mm256_setzero_si256()}; }
PV_INLINE vi vi_set(int32_t x) { return (vi){_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
PV_INLINE vi vi_load(const void *p)
{
    const __m256i *from = p;
    return (vi){_mm256_loadu_si256(from), _mm256_loadu_si256(from + 1)};
}
PV_INLINE void vi_store(void *p, vi x)
{
    __m256i *to = p;
    _mm256_storeu_si256(to, x.a);
    _mm256_storeu_si256(to + 1, x.b);
}
PV_BOTH2(vi_add, vi, vi, vi, _mm256_add_epi32)
PV_BOTH2(vi_sub, vi, vi, vi, _mm256_sub_epi32)
PV_BOTH2(vi_and, vi, vi, vi, _mm256_and_si256)
PV_BOTH2(vi_or, vi, vi, vi, _mm256_or_si256)
PV_BOTH2(vi_max, vi, vi, vi, _mm256_max_epi32)
PV_INLINE vi vi_shl(vi x, int n) { return (vi){_mm256_slli_epi32(x.a, n), _mm256_slli_epi32(x.b, n)}; }
PV_INLINE vi vi_shr(vi x, int n) { return (vi){_mm256_srli_epi32(x.a, n), _mm256_srli_epi32(x.b, n)}; }
PV_INLINE vi vi_sar(vi x, int n) { return (vi){_mm256_srai_epi32(x.a, n), _mm256_srai_epi32(x.b, n)}; }
PV_BOTH1(vf_from_i, vf, vi, _mm256_cvtepi32_ps)
PV_BOTH1(vi_from_f, vi, vf, _mm256_cvtps_epi32)
PV_BOTH1(vi_bits, vi, vf, _mm256_castps_si256)
PV_BOTH1(vf_bits, vf, vi, _mm256_castsi256_ps)
PV_INLINE void vi_store_s8(int8_t *p, vi x)
{
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xD8);
    _mm_storeu_si128((__m128i *)p, _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}

PV_INLINE void vf_from_bf16_pairs(const void *p, vf *even, vf *odd)
{
    const vi pairs = vi_load(p);
    *even = vf_bits(vi_shl(pairs, 16));
    *odd = vf_bits(vi_and(pairs, vi_set((int32_t)0xFFFF0000)));
}

PV_INLINE vb vb_load(const void *p) { return vi_load(p); }
PV_INLINE void vb_store(void *p, vb x) { vi_store(p, x); }
PV_INLINE vb vb_set(uint8_t x) { return (vb){_mm256_set1_epi8((char)x), _mm256_set1_epi8((char)x)}; }
PV_INLINE vb vb_and(vb x, vb y) { return vi_and(x, y); }
PV_INLINE vb vb_or(vb x, vb y) { return vi_or(x, y); }
PV_INLINE vb vb_low(vb x) { return vi_and(x, vb_set(15)); }
PV_INLINE vb vb_high(vb x) { return vi_and(vi_shr(x, 4), vb_set(15)); }
PV_INLINE vb vb_shl(vb x, int n) { return vi_shl(x, n); }
PV_INLINE vb vb_shr(vb x, int n) { return vi_shr(x, n); }

/* By a number that is no constant. */
PV_INLINE vb vb_shr_by(vb x, int n)
{
    const __m128i by = _mm_cvtsi32_si128(n);
    return (vb){_mm256_srl_epi32(x.a, by), _mm256_srl_epi32(x.b, by)};
}
PV_INLINE vi vi_shr_by(vi x, int n) { return vb_shr_by(x, n); }
/* Bytes of `table` by their numbers, 0 to 15. */
PV_INLINE vb vb_table(const int8_t values[16])
{
    const __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)values));
    return (vb){table, table};
}
PV_BOTH2(vb_lookup, vb, vb, vb, _mm256_shuffle_epi8)
/* Sixteen unsigned bytes or halfwords, widened. */
PV_INLINE vi vi_load_u8(const uint8_t *p)
{
    return (vi){_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)), _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(p + 8)))};
}
PV_INLINE vi vi_load_u16(const uint8_t *p)
{
    return (vi){_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(p + 16)))};
}

/* Pairs of products are added in 16 bits: 2 × 127 × 127 fits, so nothing saturates with weights up to 127. */
PV_INLINE __m256i vi_dot8(__m256i acc, __m256i w, __m256i a)
{
    return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(w, a), _mm256_set1_epi16(1)));
}
PV_INLINE vi vi_dot(vi acc, vb w, const int8_t *a)
{
    const __m256i four = _mm256_set1_epi32(pv_load_i32(a));
    return (vi){vi_dot8(acc.a, w.a, four), vi_dot8(acc.b, w.b, four)};
}
/* Signed weights: |w| ≤ 128 with the sign given to a, which is never −128; 2 × 128 × 127 still fits. */
#define PV_SIGNED_ZERO 0
PV_INLINE vb vb_signed(vb w) { return w; }
PV_INLINE vi vi_dot_signed(vi acc, vb w, const int8_t *a)
{
    const __m256i four = _mm256_set1_epi32(pv_load_i32(a));
    return (vi){vi_dot8(acc.a, _mm256_abs_epi8(w.a), _mm256_sign_epi8(four, w.a)),
                vi_dot8(acc.b, _mm256_abs_epi8(w.b), _mm256_sign_epi8(four, w.b))};
}

/* See vf_tree: l and l + 8, then l and l + 4, then neighbours. */
PV_INLINE vf vf_tree16(const vf x[16])
{
    __m256 two[8]; /* 128-bit parts: the four sums of x[i] and of x[i + 4], or of x[i + 8] and x[i + 12] */
    for (int i = 0; i < 8; i++) {
        const int j = i < 4 ? i : i + 4;
        const __m256 p = _mm256_add_ps(x[j].a, x[j].b), q = _mm256_add_ps(x[j + 4].a, x[j + 4].b);
        two[i] = _mm256_add_ps(_mm256_permute2f128_ps(p, q, 0x20), _mm256_permute2f128_ps(p, q, 0x31));
    }
    return (vf){_mm256_hadd_ps(_mm256_hadd_ps(two[0], two[1]), _mm256_hadd_ps(two[2], two[3])),
                _mm256_hadd_ps(_mm256_hadd_ps(two[4], two[5]), _mm256_hadd_ps(two[6], two[7]))};
}
PV_INLINE float vf_tree(vf x)
{
    const __m256 eight = _mm256_add_ps(x.a, x.b);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehdup_ps(four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehl_ps(two, two)));
}
PV_INLINE float vf_largest(vf x)
{
    const __m256 eight = _mm256_max_ps(x.a, x.b);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}
PV_INLINE int32_t vi_largest(vi x)
{
    const __m256i eight = _mm256_max_epi32(x.a, x.b);
    __m128i four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    return _mm_cvtsi128_si32(_mm_max_epi32(four, _mm_shuffle_epi32(four, 0xB1)));
}
PV_INLINE int32_t vi_sum(vi x)
{
    const __m256i eight = _mm256_add_epi32(x.a, x.b);
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xB1)));
}
