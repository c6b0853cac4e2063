/* Plain C with the compilers' vector types, for any processor. No fused multiply-add: sums differ from the other sets in the last bits. */
typedef float vf __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));
typedef int8_t vb __attribute__((vector_size(64)));
typedef uint32_t vu_ __attribute__((vector_size(64)));
typedef uint16_t vh_ __attribute__((vector_size(32)));
typedef int16_t vs_ __attribute__((vector_size(64)));

#define PV_QUANT_ROWS 2
#define PV_QUANT_TILES 1
#define PV_DENSE_ROWS 2
#define PV_DENSE_TILES 1

PV_INLINE vf vf_zero(void) { return (vf){0}; }
PV_INLINE vf vf_set(float x) { return (vf){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
PV_INLINE vf vf_load(const float *p)
{
    vf a;
    memcpy(&a, p, sizeof a);
    return a;
}
PV_INLINE void vf_store(float *p, vf a) { memcpy(p, &a, sizeof a); }
PV_INLINE vf vf_load_part(const float *p, uint32_t count)
{
    vf a = {0};
    memcpy(&a, p, count * sizeof *p);
    return a;
}
PV_INLINE void vf_store_part(float *p, vf a, uint32_t count) { memcpy(p, &a, count * sizeof *p); }
PV_INLINE vf vf_add(vf a, vf b) { return a + b; }
PV_INLINE vf vf_sub(vf a, vf b) { return a - b; }
PV_INLINE vf vf_mul(vf a, vf b) { return a * b; }
PV_INLINE vf vf_div(vf a, vf b) { return a / b; }
PV_INLINE vf vf_fma(vf a, vf b, vf c) { return a * b + c; }
PV_INLINE vf vf_fnma(vf a, vf b, vf c) { return c - a * b; }
PV_INLINE vi vi_bits(vf a) { return (vi)a; }
PV_INLINE vf vf_bits(vi a) { return (vf)a; }
PV_INLINE vf vf_select(vi mask, vf a, vf b) { return (vf)(((vi)a & mask) | ((vi)b & ~mask)); }
PV_INLINE vf vf_max(vf a, vf b) { return vf_select((a > b) | (a != a), a, b); }
PV_INLINE vf vf_min(vf a, vf b) { return vf_select((a < b) | (a != a), a, b); }
PV_INLINE vf vf_clamp(vf low, vf high, vf b)
{
    b = vf_select(b < low, low, b);
    return vf_select(b > high, high, b);
}
/* |a| < 2^22: adding and taking away 1.5 × 2^23 leaves the nearest even integer. */
PV_INLINE vf vf_round(vf a)
{
    const vf magic = vf_set(12582912.0f);
    return (a + magic) - magic;
}
PV_INLINE vi vi_set(int32_t x) { return (vi){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
PV_INLINE vf vf_keep(vf a, uint32_t count, float fill)
{
    const vi lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return vf_select(lane < vi_set((int32_t)count), a, vf_set(fill));
}
PV_INLINE uint32_t vf_at_least(vf a, vf b)
{
    const vi mask = a >= b;
    uint32_t bits = 0;
    for (int l = 0; l < 16; l++) bits |= (uint32_t)(mask[l] & 1) << l;
    return bits;
}

PV_INLINE vf vf_from_f16(const uint16_t *p)
{
    vh_ half;
    memcpy(&half, p, sizeof half);
    const vi h = __builtin_convertvector(half, vi);
    const vi magnitude = h & 0x7FFF, sign = (h & 0x8000) << 16;
    /* the exponent is moved by an exact product with 2^112; infinities and NaN keep theirs full */
    const vi finite = (vi)((vf)(magnitude << 13) * vf_set(0x1p112f));
    const vi special = magnitude >= 0x7C00;
    return (vf)(sign | (finite & ~special) | (((magnitude << 13) | 0x7F800000) & special));
}
PV_INLINE void vf_to_f16(uint16_t *p, vf a)
{
    for (int l = 0; l < 16; l++) {
        uint32_t bits, sign;
        memcpy(&bits, (const char *)&a + 4 * l, 4);
        sign = bits >> 16 & 0x8000;
        bits &= 0x7FFFFFFF;
        if (bits > 0x7F800000) {
            p[l] = (uint16_t)(sign | 0x7E00 | (bits >> 13 & 0x3FF));
        } else if (bits >= 0x477FF000) { /* rounds past 65504 */
            p[l] = (uint16_t)(sign | 0x7C00);
        } else if (bits < 0x38800000) { /* below 2^-14: adding 1/2 aligns the last place of a subnormal half */
            float value;
            memcpy(&value, &bits, 4);
            value += 0.5f;
            memcpy(&bits, &value, 4);
            p[l] = (uint16_t)(sign | (bits - 0x3F000000));
        } else {
            p[l] = (uint16_t)(sign | ((bits - 0x38000000 + 0xFFF + (bits >> 13 & 1)) >> 13));
        }
    }
}
PV_INLINE void vf_from_bf16_pairs(const void *p, vf *even, vf *odd)
{
    vi pairs;
    memcpy(&pairs, p, sizeof pairs);
    *even = (vf)((vu_)pairs << 16);
    *odd = (vf)(pairs & (int32_t)0xFFFF0000);
}

PV_INLINE vi vi_zero(void) { return (vi){0}; }
PV_INLINE vi vi_load(const void *p)
{
    vi a;
    memcpy(&a, p, sizeof a);
    return a;
}
PV_INLINE void vi_store(void *p, vi a) { memcpy(p, &a, sizeof a); }
PV_INLINE vi vi_add(vi a, vi b) { return (vi)((vu_)a + (vu_)b); }
PV_INLINE vi vi_sub(vi a, vi b) { return (vi)((vu_)a - (vu_)b); }
PV_INLINE vi vi_and(vi a, vi b) { return a & b; }
PV_INLINE vi vi_or(vi a, vi b) { return a | b; }
PV_INLINE vi vi_max(vi a, vi b)
{
    const vi mask = a > b;
    return (a & mask) | (b & ~mask);
}
PV_INLINE vi vi_shl(vi a, int n) { return (vi)((vu_)a << n); }
PV_INLINE vi vi_shr(vi a, int n) { return (vi)((vu_)a >> n); }
PV_INLINE vi vi_sar(vi a, int n) { return a >> n; }
PV_INLINE vf vf_from_i(vi a) { return __builtin_convertvector(a, vf); }
/* |a| < 2^22. */
PV_INLINE vi vi_from_f(vf a)
{
    const vf magic = vf_set(12582912.0f);
    return (vi)((vu_)(a + magic) - (vu_)magic);
}
PV_INLINE void vi_store_s8(int8_t *p, vi a)
{
    for (int l = 0; l < 16; l++) p[l] = (int8_t)a[l];
}

PV_INLINE vb vb_load(const void *p)
{
    vb a;
    memcpy(&a, p, sizeof a);
    return a;
}
PV_INLINE void vb_store(void *p, vb a) { memcpy(p, &a, sizeof a); }
PV_INLINE vb vb_set(uint8_t x) { return (vb)vi_set((int32_t)(x * 0x01010101u)); }
PV_INLINE vb vb_and(vb a, vb b) { return a & b; }
PV_INLINE vb vb_or(vb a, vb b) { return a | b; }
PV_INLINE vb vb_low(vb a) { return a & 15; }
PV_INLINE vb vb_high(vb a) { return (vb)((vu_)a >> 4) & 15; }
PV_INLINE vb vb_shl(vb a, int n) { return (vb)((vu_)a << n); }
PV_INLINE vb vb_shr(vb a, int n) { return (vb)((vu_)a >> n); }

/* By a number that is no constant. */
PV_INLINE vb vb_shr_by(vb a, int n) { return vb_shr(a, n); }
PV_INLINE vi vi_shr_by(vi a, int n) { return vi_shr(a, n); }
/* Bytes of `table` by their numbers, 0 to 15. */
PV_INLINE vb vb_table(const int8_t values[16])
{
    vb table = {0};
    memcpy(&table, values, 16);
    return table;
}
PV_INLINE vb vb_lookup(vb table, vb numbers)
{
    int8_t values[64], from[64];
    memcpy(values, &table, sizeof values);
    memcpy(from, &numbers, sizeof from);
    for (int i = 0; i < 64; i++) from[i] = values[from[i]];
    return vb_load(from);
}
/* Sixteen unsigned bytes or halfwords, widened. */
PV_INLINE vi vi_load_u8(const uint8_t *p)
{
    vi a;
    for (int l = 0; l < 16; l++) a[l] = p[l];
    return a;
}
PV_INLINE vi vi_load_u16(const uint8_t *p)
{
    vi a;
    for (int l = 0; l < 16; l++) a[l] = p[2 * l] | p[2 * l + 1] << 8;
    return a;
}

/* Products of bytes and the sum of two of them fit 16 bits: |w| ≤ 128, |a| ≤ 127. */
PV_INLINE vi vi_dot(vi acc, vb w, const int8_t *a)
{
    const vs_ even = (vs_)((vs_)w << 8) >> 8, odd = (vs_)w >> 8;
    const vs_ a_even = (vs_)vi_set((int32_t)((uint16_t)(int16_t)a[0] | (uint32_t)(uint16_t)(int16_t)a[2] << 16));
    const vs_ a_odd = (vs_)vi_set((int32_t)((uint16_t)(int16_t)a[1] | (uint32_t)(uint16_t)(int16_t)a[3] << 16));
    const vi pair = (vi)(even * a_even + odd * a_odd);
    return acc + ((vi)((vu_)pair << 16) >> 16) + (pair >> 16);
}
#define PV_SIGNED_ZERO 0
PV_INLINE vb vb_signed(vb w) { return w; }
PV_INLINE vi vi_dot_signed(vi acc, vb w, const int8_t *a) { return vi_dot(acc, w, a); }

PV_INLINE float vf_tree(vf a)
{
    float four[4];
    for (int l = 0; l < 4; l++) four[l] = (a[l] + a[l + 8]) + (a[l + 4] + a[l + 12]);
    return (four[0] + four[1]) + (four[2] + four[3]);
}
PV_INLINE vf vf_tree16(const vf a[16])
{
    vf sums;
    for (int j = 0; j < 16; j++) sums[j] = vf_tree(a[j]);
    return sums;
}
PV_INLINE float vf_largest(vf a)
{
    float largest = a[0];
    for (int l = 1; l < 16; l++) largest = a[l] > largest ? a[l] : largest;
    return largest;
}
PV_INLINE int32_t vi_largest(vi a)
{
    int32_t largest = a[0];
    for (int l = 1; l < 16; l++) largest = a[l] > largest ? a[l] : largest;
    return largest;
}
PV_INLINE int32_t vi_sum(vi a)
{
    uint32_t sum = 0; /* of NaN the integers are arbitrary and may overflow */
    for (int l = 0; l < 16; l++) sum += (uint32_t)a[l];
    return (int32_t)sum;
}
