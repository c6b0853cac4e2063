// What Apple's own headers are made of, and what others' kernels call by name. Not part of MSL: no kernel of one's own should.
#ifndef SOFTMETAL_SHIM_PRIVATE_H
#define SOFTMETAL_SHIM_PRIVATE_H

#include "common.h"
#include "quad.h"
#include "simd.h"

#define __METAL_PRECISE_MATH__ 0
#define __METAL_FAST_MATH__ 1
#if defined(SOFTMETAL_FAST_MATH)
#define __METAL_MAYBE_FAST_MATH__ __METAL_FAST_MATH__
#else
#define __METAL_MAYBE_FAST_MATH__ __METAL_PRECISE_MATH__
#endif

// The last argument says whether to be fast.
#define SM_PRIVATE_1(name) \
    template <class A> SM_INLINE auto __metal_##name(const A &a, int) { return metal::name(a); }
#define SM_PRIVATE_2(name) \
    template <class A, class B> SM_INLINE auto __metal_##name(const A &a, const B &b, int) { return metal::name(a, b); }
#define SM_PRIVATE_3(name)                                                                                            \
    template <class A, class B, class C> SM_INLINE auto __metal_##name(const A &a, const B &b, const C &c, int = 0)  \
    {                                                                                                                 \
        return metal::name(a, b, c);                                                                                  \
    }
SM_PRIVATE_1(acos) SM_PRIVATE_1(acosh) SM_PRIVATE_1(asin) SM_PRIVATE_1(asinh) SM_PRIVATE_1(atan) SM_PRIVATE_1(atanh)
SM_PRIVATE_1(ceil) SM_PRIVATE_1(cos) SM_PRIVATE_1(cosh) SM_PRIVATE_1(cospi) SM_PRIVATE_1(exp) SM_PRIVATE_1(exp2)
SM_PRIVATE_1(exp10) SM_PRIVATE_1(fabs) SM_PRIVATE_1(floor) SM_PRIVATE_1(fract) SM_PRIVATE_1(log) SM_PRIVATE_1(log2)
SM_PRIVATE_1(log10) SM_PRIVATE_1(rint) SM_PRIVATE_1(round) SM_PRIVATE_1(rsqrt) SM_PRIVATE_1(sin) SM_PRIVATE_1(sinh)
SM_PRIVATE_1(sinpi) SM_PRIVATE_1(sqrt) SM_PRIVATE_1(tan) SM_PRIVATE_1(tanh) SM_PRIVATE_1(tanpi) SM_PRIVATE_1(trunc)
SM_PRIVATE_2(atan2) SM_PRIVATE_2(divide) SM_PRIVATE_2(fmax) SM_PRIVATE_2(fmin) SM_PRIVATE_2(fmod) SM_PRIVATE_2(ldexp)
SM_PRIVATE_2(pow) SM_PRIVATE_2(powr)
SM_PRIVATE_3(fma) SM_PRIVATE_3(fmax3) SM_PRIVATE_3(fmedian3) SM_PRIVATE_3(fmin3)
template <class A> SM_INLINE auto __metal_nextafter(const A &a, const A &b, int = 0) { return metal::nextafter(a, b); }
template <class A, class E> SM_INLINE auto __metal_frexp(const A &a, E *exponent) { return metal::frexp(a, *exponent); }
template <class T> SM_INLINE T __metal_get_simdgroup_size(T) { return T(SM_LANES); }

#define SM_PRIVATE_LANES_1(name) \
    template <class A> SM_INLINE auto __metal_##name(const A &a, SM_LINE) { return metal::name(a, line); }
#define SM_PRIVATE_LANES_2(name) \
    template <class A> SM_INLINE auto __metal_##name(const A &a, ushort n, SM_LINE) { return metal::name(a, n, line); }
#define SM_PRIVATE_LANES_FILL(name)                                                                                   \
    template <class A> SM_INLINE auto __metal_##name(const A &a, const A &filling, ushort delta, ushort modulo, SM_LINE) \
    {                                                                                                                 \
        return metal::name(a, filling, delta, modulo, line);                                                          \
    }
SM_PRIVATE_LANES_1(simd_max) SM_PRIVATE_LANES_1(simd_min) SM_PRIVATE_LANES_1(simd_product) SM_PRIVATE_LANES_1(simd_sum)
SM_PRIVATE_LANES_1(simd_prefix_exclusive_product) SM_PRIVATE_LANES_1(simd_prefix_exclusive_sum)
SM_PRIVATE_LANES_1(simd_prefix_inclusive_product) SM_PRIVATE_LANES_1(simd_prefix_inclusive_sum)
SM_PRIVATE_LANES_2(simd_broadcast) SM_PRIVATE_LANES_2(simd_shuffle) SM_PRIVATE_LANES_2(simd_shuffle_down)
SM_PRIVATE_LANES_2(simd_shuffle_rotate_down) SM_PRIVATE_LANES_2(simd_shuffle_rotate_up) SM_PRIVATE_LANES_2(simd_shuffle_up)
SM_PRIVATE_LANES_2(simd_shuffle_xor)
SM_PRIVATE_LANES_FILL(simd_shuffle_and_fill_down) SM_PRIVATE_LANES_FILL(simd_shuffle_and_fill_up)
template <class A> SM_INLINE A __metal_simd_xor(const A &a, SM_LINE)
{
    if constexpr (sm::is_real<A>) { // of its bits
        typedef sm::conditional_t<sizeof(A) == 2, ushort, uint> bits;
        return __builtin_bit_cast(A, metal::simd_xor(__builtin_bit_cast(bits, a), line));
    } else {
        return metal::simd_xor(a, line);
    }
}

#endif
