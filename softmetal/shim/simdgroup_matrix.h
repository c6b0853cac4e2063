// simdgroup_matrix: 8 by 8 elements, two on each lane. A product is a meeting in which one lane multiplies for all.
#ifndef SOFTMETAL_SHIM_SIMDGROUP_MATRIX_H
#define SOFTMETAL_SHIM_SIMDGROUP_MATRIX_H

#include "meeting.h"

namespace sm
{
// The lane's row and the first of its two columns, as Apple's GPUs lay them out: quads of lanes hold blocks of 2 by 4.
SM_INLINE SM_UNCHECKED constexpr int row_of(uint32_t lane) { return int((lane >> 4 & 1) * 4 + (lane >> 1 & 3)); }
SM_INLINE SM_UNCHECKED constexpr int column_of(uint32_t lane) { return int((lane >> 3 & 1) * 4 + (lane & 1) * 2); }
} // namespace sm

namespace metal
{
template <class T, int C, int R = C> struct simdgroup_matrix;

template <class T> struct simdgroup_matrix<T, 8, 8> {
    static_assert(sm::is_real<T> || sm::is_bfloat<T>, "a simdgroup_matrix is of half, bfloat or float");
    vec<T, 2> sm_elements;

    simdgroup_matrix() = default;
    // The diagonal.
    explicit simdgroup_matrix(T diagonal) : sm_elements(T(0))
    {
        const uint32_t lane = sm::lane_number<SM_SCOPE_SIMD>();
        const int at = sm::row_of(lane) - sm::column_of(lane);
        if (at == 0 || at == 1) sm_elements[at] = diagonal;
    }
    SM_INLINE vec<T, 2> &thread_elements() { return sm_elements; }
    SM_INLINE const vec<T, 2> &thread_elements() const { return sm_elements; }
};
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
#ifndef SOFTMETAL_NO_BFLOAT
typedef simdgroup_matrix<bfloat, 8, 8> simdgroup_bfloat8x8;
#endif

template <class T, int C, int R = C> SM_INLINE simdgroup_matrix<T, C, R> make_filled_simdgroup_matrix(T value)
{
    simdgroup_matrix<T, C, R> m;
    m.sm_elements = vec<T, 2>(value);
    return m;
}
} // namespace metal

namespace sm
{
using metal::simdgroup_matrix;

// Only a checked world looks whether all lanes come to a load or a store.
inline void gather_only(void *const[SM_LANES], uint32_t, const void *) {}
SM_INLINE void all_lanes(source_line line, const void *site)
{
#ifdef SOFTMETAL_CHECKED
    char nothing = 0;
    join(SM_SCOPE_SIMD, &gather_only, nothing, line, site);
#else
    (void)line;
    (void)site;
#endif
}

template <class T> struct tile_in_memory {
    T *first, *second;

    SM_INLINE tile_in_memory(T *memory, ulong stride, vec<ulong, 2> origin, bool transposed)
    {
        const uint32_t lane = lane_number<SM_SCOPE_SIMD>();
        const ulong row = ulong(row_of(lane)), column = ulong(column_of(lane));
        if (transposed) {
            first = memory + (origin.y + column) * stride + origin.x + row;
            second = first + stride;
        } else {
            first = memory + (origin.y + row) * stride + origin.x + column;
            second = first + 1;
        }
    }
};

// d = a b + c, in float, each sum in the order of its terms.
template <class D, class A, class B, class C> struct factors {
    vec<A, 2> a;
    vec<B, 2> b;
    vec<C, 2> c;
    vec<D, 2> d;
};
template <class D, class A, class B, class C>
SM_UNCHECKED void multiply(void *const values[SM_LANES], uint32_t active, const void *)
{
    float a[8][8], b[8][8], sums[8][8];
    if (active != ~0u) { // what the others hold is not known
        poison(a);
        poison(b);
        poison(sums);
    }
    for (uint32_t rest = active; rest != 0; rest &= rest - 1) {
        const uint32_t lane = __builtin_ctz(rest);
        const factors<D, A, B, C> &own = value_of<factors<D, A, B, C>>(values, lane);
        const int row = row_of(lane), column = column_of(lane);
        a[row][column] = float(own.a.x), a[row][column + 1] = float(own.a.y);
        b[row][column] = float(own.b.x), b[row][column + 1] = float(own.b.y);
        sums[row][column] = float(own.c.x), sums[row][column + 1] = float(own.c.y);
    }
    for (int row = 0; row < 8; row++)
        for (int k = 0; k < 8; k++)
            for (int column = 0; column < 8; column++) sums[row][column] += a[row][k] * b[k][column];
    for (uint32_t rest = active; rest != 0; rest &= rest - 1) {
        const uint32_t lane = __builtin_ctz(rest);
        factors<D, A, B, C> &own = value_of<factors<D, A, B, C>>(values, lane);
        const int row = row_of(lane), column = column_of(lane);
        own.d.x = D(sums[row][column]), own.d.y = D(sums[row][column + 1]);
    }
}
} // namespace sm

namespace metal
{
template <class T>
SM_INLINE void simdgroup_load(simdgroup_matrix<T, 8, 8> &m, const T *memory, ulong elements_per_row = 8, vec<ulong, 2> origin = 0,
                              bool transpose = false, SM_LINE)
{
    SM_SITE;
    sm::all_lanes(line, &site);
    const sm::tile_in_memory<const T> at(memory, elements_per_row, origin, transpose);
    m.sm_elements = vec<T, 2>(*at.first, *at.second);
}
template <class T>
SM_INLINE void simdgroup_store(const simdgroup_matrix<T, 8, 8> &m, T *memory, ulong elements_per_row = 8,
                               vec<ulong, 2> origin = 0, bool transpose = false, SM_LINE)
{
    SM_SITE;
    sm::all_lanes(line, &site);
    const sm::tile_in_memory<T> at(memory, elements_per_row, origin, transpose);
    *at.first = m.sm_elements.x;
    *at.second = m.sm_elements.y;
}
template <class D, class A, class B, class C>
SM_INLINE void simdgroup_multiply_accumulate(simdgroup_matrix<D, 8, 8> &d, const simdgroup_matrix<A, 8, 8> &a,
                                             const simdgroup_matrix<B, 8, 8> &b, const simdgroup_matrix<C, 8, 8> &c, SM_LINE)
{
    SM_SITE;
    sm::factors<D, A, B, C> value = {a.sm_elements, b.sm_elements, c.sm_elements, vec<D, 2>(D(0))};
    sm::join(SM_SCOPE_SIMD, &sm::multiply<D, A, B, C>, value, line, &site);
    d.sm_elements = value.d;
}
template <class D, class A, class B>
SM_INLINE void simdgroup_multiply(simdgroup_matrix<D, 8, 8> &d, const simdgroup_matrix<A, 8, 8> &a,
                                  const simdgroup_matrix<B, 8, 8> &b, SM_LINE)
{
    SM_SITE;
    sm::factors<D, A, B, float> value = {a.sm_elements, b.sm_elements, vec<float, 2>(0.0f), vec<D, 2>(D(0))};
    sm::join(SM_SCOPE_SIMD, &sm::multiply<D, A, B, float>, value, line, &site);
    d.sm_elements = value.d;
}
template <class T>
SM_INLINE simdgroup_matrix<T, 8, 8> operator*(const simdgroup_matrix<T, 8, 8> &a, const simdgroup_matrix<T, 8, 8> &b)
{
    simdgroup_matrix<T, 8, 8> d;
    simdgroup_multiply(d, a, b, sm::source_line(0)); // an operator cannot know its line
    return d;
}
} // namespace metal

#endif
