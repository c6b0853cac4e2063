// <metal_relational>: tests that give bool, an element each, and select.
#ifndef SOFTMETAL_SHIM_RELATIONAL_H
#define SOFTMETAL_SHIM_RELATIONAL_H

#include "each.h"

namespace sm
{
// By the bits, so that no option of fast arithmetic can take NaN away.
SM_INLINE constexpr uint magnitude(float x) { return __builtin_bit_cast(uint, x) & 0x7fffffffu; }
SM_INLINE constexpr bool is_nan(float x) { return magnitude(x) > 0x7f800000u; }
struct op_isnan {
    static SM_INLINE constexpr bool apply(float x) { return is_nan(x); }
};
struct op_isinf {
    static SM_INLINE constexpr bool apply(float x) { return magnitude(x) == 0x7f800000u; }
};
struct op_isfinite {
    static SM_INLINE constexpr bool apply(float x) { return magnitude(x) < 0x7f800000u; }
};
// In its own type: the smallest normal half is no small float.
struct op_isnormal {
    static SM_INLINE constexpr bool apply(float x) { return magnitude(x) - 0x00800000u < 0x7f000000u; }
    static SM_INLINE constexpr bool apply(half x)
    {
        return uint(__builtin_bit_cast(ushort, x) & 0x7fff) - 0x0400u < 0x7800u;
    }
};
struct op_signbit {
    static SM_INLINE constexpr bool apply(float x) { return __builtin_bit_cast(uint, x) >> 31; }
};
struct op_isordered {
    static SM_INLINE constexpr bool apply(float x, float y) { return !is_nan(x) && !is_nan(y); }
};
struct op_isunordered {
    static SM_INLINE constexpr bool apply(float x, float y) { return is_nan(x) || is_nan(y); }
};
template <class V, int N = shape<V>::size> struct truths { typedef vec<bool, N> type; };
template <class V> struct truths<V, 1> { typedef bool type; };
template <class V> using truths_t = typename truths<V>::type;
struct op_select {
    template <class T> static SM_INLINE constexpr T apply(T a, T b, bool second) { return second ? b : a; }
};
} // namespace sm

namespace metal
{
#define SM_TEST_1(name)                                                                                               \
    template <class A, class V = sm::real_t<A>> SM_INLINE constexpr sm::truths_t<V> name(const A &a)                  \
    {                                                                                                                 \
        return sm::on<sm::op_##name, bool>(V(a));                                                                     \
    }
#define SM_TEST_2(name)                                                                                               \
    template <class A, class B, class V = sm::real2_t<A, B>>                                                          \
    SM_INLINE constexpr sm::truths_t<V> name(const A &a, const B &b)                                                  \
    {                                                                                                                 \
        return sm::on<sm::op_##name, bool>(V(a), V(b));                                                               \
    }
SM_TEST_1(isnan)
SM_TEST_1(isinf)
SM_TEST_1(isfinite)
SM_TEST_1(isnormal)
SM_TEST_1(signbit)
SM_TEST_2(isordered)
SM_TEST_2(isunordered)

SM_INLINE constexpr bool any(bool x) { return x; }
SM_INLINE constexpr bool any(vec<bool, 2> x) { return x.x || x.y; }
SM_INLINE constexpr bool any(vec<bool, 3> x) { return x.x || x.y || x.z; }
SM_INLINE constexpr bool any(vec<bool, 4> x) { return x.x || x.y || x.z || x.w; }
SM_INLINE constexpr bool all(bool x) { return x; }
SM_INLINE constexpr bool all(vec<bool, 2> x) { return x.x && x.y; }
SM_INLINE constexpr bool all(vec<bool, 3> x) { return x.x && x.y && x.z; }
SM_INLINE constexpr bool all(vec<bool, 4> x) { return x.x && x.y && x.z && x.w; }

// b where the condition holds, else a.
template <class A, class B, class C, class V = sm::any2_t<A, B>, class = sm::enable_if_t<(sm::shape<C>::size > 0)>>
SM_INLINE constexpr V select(const A &a, const B &b, const C &condition)
{
    return sm::on<sm::op_select, sm::element_t<V>>(V(a), V(b), sm::truths_t<V>(condition));
}
} // namespace metal

#endif
