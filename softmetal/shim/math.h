// Functions of real numbers: <metal_math>. Each is computed in float, or in double where that is what makes it right, and rounded to its
// type once. `metal::fast` and `metal::precise` differ in what may be inexact, so only where the world has jitter.
#ifndef SOFTMETAL_SHIM_MATH_H
#define SOFTMETAL_SHIM_MATH_H

#include "jitter.h"

namespace sm
{
// Narrow types go through float.
#define SM_THROUGH_FLOAT_1(T, finish)                                                                                 \
    static SM_INLINE T apply(T x) { return finish(T(raw(float(x)))); }
#define SM_THROUGH_FLOAT_2(T, finish)                                                                                 \
    static SM_INLINE T apply(T x, T y) { return finish(T(raw(float(x), float(y)))); }
#define SM_FOR_REALS(M, finish) M(float, finish) M(half, finish)
#define SM_REAL_1(name, finish, ...)                                                                                  \
    struct op_##name {                                                                                                \
        static SM_INLINE float raw(float x) { __VA_ARGS__ }                                                           \
        SM_FOR_REALS(SM_THROUGH_FLOAT_1, finish)                                                                      \
    };
#define SM_REAL_2(name, finish, ...)                                                                                  \
    struct op_##name {                                                                                                \
        static SM_INLINE float raw(float x, float y) { __VA_ARGS__ }                                                  \
        SM_FOR_REALS(SM_THROUGH_FLOAT_2, finish)                                                                      \
    };
template <class T> SM_INLINE T exact(T x) { return x; }

// sin(pi x) and cos(pi x) for x of [-1/4, 1/4] after the nearest half has been taken off, which is exact.
SM_INLINE double sin_turn(double x) { return __builtin_sin(3.141592653589793 * x); }
SM_INLINE double cos_turn(double x) { return __builtin_cos(3.141592653589793 * x); }
inline float sinpi(float x)
{
    if (!__builtin_isfinite(x)) return __builtin_nanf("");
    const double half_turns = __builtin_rint(2.0 * x), rest = x - 0.5 * half_turns;
    const int quarter = int(half_turns - 4 * __builtin_floor(half_turns / 4));
    const double value = quarter == 0   ? sin_turn(rest)
                         : quarter == 1 ? cos_turn(rest)
                         : quarter == 2 ? -sin_turn(rest)
                                        : -cos_turn(rest);
    return value == 0 ? __builtin_copysignf(0, x) : float(value);
}
inline float cospi(float x)
{
    if (!__builtin_isfinite(x)) return __builtin_nanf("");
    const double half_turns = __builtin_rint(2.0 * x), rest = x - 0.5 * half_turns;
    const int quarter = int(half_turns - 4 * __builtin_floor(half_turns / 4));
    const double value = quarter == 0   ? cos_turn(rest)
                         : quarter == 1 ? -sin_turn(rest)
                         : quarter == 2 ? -cos_turn(rest)
                                        : sin_turn(rest);
    return value == 0 ? 0.0f : float(value);
}
inline float tanpi(float x)
{
    if (!__builtin_isfinite(x)) return __builtin_nanf("");
    const double half_turns = __builtin_rint(2.0 * x), rest = x - 0.5 * half_turns;
    const double s = sin_turn(rest), c = cos_turn(rest);
    const bool odd = half_turns - 2 * __builtin_floor(half_turns / 2) == 1;
    if (odd) return rest == 0 ? __builtin_copysignf(__builtin_inff(), x) : float(-c / s);
    return rest == 0 ? __builtin_copysignf(0, x) : float(s / c);
}
inline float powr(float x, float y)
{
    if (!(x >= 0) || y != y) return __builtin_nanf("");
    if (y == 0) return x == 0 || __builtin_isinf(x) ? __builtin_nanf("") : 1.0f;
    if (x == 1 && __builtin_isinf(y)) return __builtin_nanf("");
    return __builtin_powf(x, y);
}

SM_REAL_1(acos, loose, return __builtin_acosf(x);)
SM_REAL_1(acosh, loose, return __builtin_acoshf(x);)
SM_REAL_1(asin, loose, return __builtin_asinf(x);)
SM_REAL_1(asinh, loose, return __builtin_asinhf(x);)
SM_REAL_1(atan, loose, return __builtin_atanf(x);)
SM_REAL_1(atanh, loose, return __builtin_atanhf(x);)
SM_REAL_1(cos, loose, return __builtin_cosf(x);)
SM_REAL_1(cosh, loose, return __builtin_coshf(x);)
SM_REAL_1(cospi, loose, return sm::cospi(x);)
SM_REAL_1(exp, loose, return __builtin_expf(x);)
SM_REAL_1(exp2, loose, return __builtin_exp2f(x);)
SM_REAL_1(exp10, loose, return __builtin_exp10f(x);)
SM_REAL_1(log, loose, return __builtin_logf(x);)
SM_REAL_1(log2, loose, return __builtin_log2f(x);)
SM_REAL_1(log10, loose, return __builtin_log10f(x);)
SM_REAL_1(sin, loose, return __builtin_sinf(x);)
SM_REAL_1(sinh, loose, return __builtin_sinhf(x);)
SM_REAL_1(sinpi, loose, return sm::sinpi(x);)
SM_REAL_1(tan, loose, return __builtin_tanf(x);)
SM_REAL_1(tanh, loose, return __builtin_tanhf(x);)
SM_REAL_1(tanpi, loose, return sm::tanpi(x);)
SM_REAL_1(ceil, exact, return __builtin_ceilf(x);)
SM_REAL_1(fabs, exact, return __builtin_fabsf(x);)
SM_REAL_1(floor, exact, return __builtin_floorf(x);)
SM_REAL_1(rint, exact, return __builtin_rintf(x);)
SM_REAL_1(round, exact, return __builtin_roundf(x);)
SM_REAL_1(trunc, exact, return __builtin_truncf(x);)
SM_REAL_1(precise_sqrt, exact, return __builtin_sqrtf(x);)
SM_REAL_1(precise_rsqrt, exact, return float(1.0 / __builtin_sqrt(double(x)));)
SM_REAL_1(fast_sqrt, loose, return __builtin_sqrtf(x);)
SM_REAL_1(fast_rsqrt, loose, return float(1.0 / __builtin_sqrt(double(x)));)

SM_REAL_2(atan2, loose, return __builtin_atan2f(x, y);)
SM_REAL_2(pow, loose, return __builtin_powf(x, y);)
SM_REAL_2(powr, loose, return sm::powr(x, y);)
SM_REAL_2(copysign, exact, return __builtin_copysignf(x, y);)
SM_REAL_2(fdim, exact, return __builtin_fdimf(x, y);)
SM_REAL_2(fmod, exact, return __builtin_fmodf(x, y);)
SM_REAL_2(precise_divide, exact, return x / y;)
SM_REAL_2(fast_divide, loose, return x / y;)

// Below 1, also where the difference rounds to it.
struct op_fract {
    template <class T> static SM_INLINE T below(T x, T largest)
    {
        const T rest = T(x - T(__builtin_floorf(float(x))));
        return rest >= T(1) ? largest : rest;
    }
    static SM_INLINE float apply(float x) { return below(x, 0x1.fffffep-1f); }
    static SM_INLINE half apply(half x) { return below(x, half(0x1.ffcp-1f)); }
};

// One rounding: products of halves are exact in double, and no sum that double rounds lies at a tie of half.
struct op_fma {
    static SM_INLINE float apply(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
    static SM_INLINE half apply(half x, half y, half z) { return half(double(x) * double(y) + double(z)); }
};

// One of two, by its bits where it is narrow: clang would see fmax in it, and call it.
template <class T> SM_INLINE constexpr T choose(bool first, T x, T y)
{
    if constexpr (is_real<T> && sizeof(T) == 2) {
        return __builtin_bit_cast(T, first ? __builtin_bit_cast(ushort, x) : __builtin_bit_cast(ushort, y));
    } else {
        return first ? x : y;
    }
}
// The number and not the NaN; integers as well.
struct op_max {
    template <class T> static SM_INLINE constexpr T apply(T x, T y)
    {
        if constexpr (is_real<T>) return choose(x > y || y != y, x, y);
        else return x > y ? x : y;
    }
};
struct op_min {
    template <class T> static SM_INLINE constexpr T apply(T x, T y)
    {
        if constexpr (is_real<T>) return choose(x < y || y != y, x, y);
        else return x < y ? x : y;
    }
};
struct op_max3 {
    template <class T> static SM_INLINE constexpr T apply(T x, T y, T z) { return op_max::apply(x, op_max::apply(y, z)); }
};
struct op_min3 {
    template <class T> static SM_INLINE constexpr T apply(T x, T y, T z) { return op_min::apply(x, op_min::apply(y, z)); }
};
struct op_median3 {
    template <class T> static SM_INLINE constexpr T apply(T x, T y, T z)
    {
        return op_max::apply(op_min::apply(x, y), op_min::apply(op_max::apply(x, y), z));
    }
};
struct op_abs {
    template <class T> static SM_INLINE constexpr T apply(T x)
    {
        if constexpr (is_real<T>) return op_fabs::apply(x);
        else return x < T(0) ? T(0u - ulong(x)) : x;
    }
};

// The neighbour of x towards y, in x's own type.
template <class T, class Bits> SM_INLINE T next(T x, T y, Bits bits)
{
    if (x != x || y != y) return T(x + y);
    if (x == y) return y;
    const Bits top = Bits(Bits(1) << (sizeof(Bits) * 8 - 1));
    if (x == T(0)) bits = y < x ? Bits(top | 1) : Bits(1);
    else if ((y > x) == (bits < top)) bits++;
    else bits--;
    return __builtin_bit_cast(T, bits);
}
struct op_nextafter {
    static SM_INLINE float apply(float x, float y) { return next(x, y, __builtin_bit_cast(uint, x)); }
    static SM_INLINE half apply(half x, half y) { return next(x, y, __builtin_bit_cast(ushort, x)); }
};

struct op_ilogb {
    template <class T> static SM_INLINE int apply(T x) { return __builtin_ilogbf(float(x)); }
};
struct op_ldexp {
    template <class T> static SM_INLINE T apply(T x, int k) { return T(__builtin_ldexpf(float(x), k)); }
};

// Functions with a second result, which is left in an element at a time.
struct op_frexp {
    template <class T> static SM_INLINE T apply(T x, int &exponent) { return T(__builtin_frexpf(float(x), &exponent)); }
};
struct op_modf {
    template <class T> static SM_INLINE T apply(T x, T &whole)
    {
        float integer;
        const T fraction = T(__builtin_modff(float(x), &integer));
        whole = T(integer);
        return fraction;
    }
};
struct op_sincos {
    template <class T> static SM_INLINE T apply(T x, T &cosine)
    {
        cosine = op_cos::apply(x);
        return op_sin::apply(x);
    }
};
template <class Op, class T, class U> SM_INLINE T on_two(T x, U &second) { return Op::apply(x, second); }
template <class Op, class T, class U, int N> SM_INLINE vec<T, N> on_two(const vec<T, N> &x, vec<U, N> &second)
{
    vec<T, N> result;
    for (int i = 0; i < N; i++) result[i] = Op::apply(x[i], second[i]);
    return result;
}
template <class V, int N = shape<V>::size> struct integers { typedef vec<int, N> type; };
template <class V> struct integers<V, 1> { typedef int type; };
template <class V> using integers_t = typename integers<V>::type;

} // namespace sm

namespace metal
{
#define SM_ALL_REAL_1(X)                                                                                              \
    X(acos, real) X(acosh, real) X(asin, real) X(asinh, real) X(atan, real) X(atanh, real) X(cos, real) X(cosh, real)   \
    X(cospi, real) X(exp, real) X(exp2, real) X(exp10, real) X(log, real) X(log2, real) X(log10, real) X(sin, real)     \
    X(sinh, real) X(sinpi, real) X(tan, real) X(tanh, real) X(tanpi, real) X(ceil, real) X(fabs, real) X(floor, real)   \
    X(rint, real) X(round, real) X(trunc, real) X(fract, real) X(abs, any)
#define SM_ALL_REAL_2(X)                                                                                              \
    X(atan2, real) X(pow, real) X(powr, real) X(copysign, real) X(fdim, real) X(fmod, real) X(nextafter, real) X(max, any) \
    X(min, any)
#define SM_ALL_REAL_3(X) X(fma, real) X(max3, any) X(min3, any) X(median3, any)
SM_ALL_REAL_1(SM_FUNCTION_1)
SM_ALL_REAL_2(SM_FUNCTION_2)
SM_ALL_REAL_3(SM_FUNCTION_3)

// fmax is max, of real numbers only.
#define SM_ALIAS_2(name, op)                                                                                          \
    template <class A, class B, class V = sm::real2_t<A, B>> SM_INLINE constexpr V name(const A &a, const B &b)       \
    {                                                                                                                 \
        return sm::on<sm::op, sm::element_t<V>>(V(a), V(b));                                                          \
    }
#define SM_ALIAS_3(name, op)                                                                                          \
    template <class A, class B, class C, class V = sm::real3_t<A, B, C>>                                              \
    SM_INLINE constexpr V name(const A &a, const B &b, const C &c)                                                    \
    {                                                                                                                 \
        return sm::on<sm::op, sm::element_t<V>>(V(a), V(b), V(c));                                                    \
    }
#define SM_ALIAS_1(name, op)                                                                                          \
    template <class A, class V = sm::real_t<A>> SM_INLINE constexpr V name(const A &a)                                \
    {                                                                                                                 \
        return sm::on<sm::op, sm::element_t<V>>(V(a));                                                                \
    }
SM_ALIAS_2(fmax, op_max)
SM_ALIAS_2(fmin, op_min)
SM_ALIAS_3(fmax3, op_max3)
SM_ALIAS_3(fmin3, op_min3)
SM_ALIAS_3(fmedian3, op_median3)

namespace precise
{
SM_ALIAS_1(sqrt, op_precise_sqrt)
SM_ALIAS_1(rsqrt, op_precise_rsqrt)
SM_ALIAS_2(divide, op_precise_divide)
} // namespace precise
namespace fast
{
SM_ALIAS_1(sqrt, op_fast_sqrt)
SM_ALIAS_1(rsqrt, op_fast_rsqrt)
SM_ALIAS_2(divide, op_fast_divide)
} // namespace fast
#if defined(SOFTMETAL_FAST_MATH) || defined(__FAST_MATH__)
using fast::sqrt;
using fast::rsqrt;
using fast::divide;
#else
using precise::sqrt;
using precise::rsqrt;
using precise::divide;
#endif

template <class A, class V = sm::real_t<A>> SM_INLINE sm::integers_t<V> ilogb(const A &a)
{
    return sm::on<sm::op_ilogb, int>(V(a));
}
template <class A, class B, class V = sm::real_t<A>> SM_INLINE V ldexp(const A &a, const B &exponent)
{
    return sm::on<sm::op_ldexp, sm::element_t<V>>(V(a), sm::integers_t<V>(exponent));
}
template <class A, class V = sm::real_t<A>> SM_INLINE V frexp(const A &a, sm::integers_t<V> &exponent)
{
    return sm::on_two<sm::op_frexp>(V(a), exponent);
}
template <class A, class V = sm::real_t<A>> SM_INLINE V modf(const A &a, V &whole)
{
    return sm::on_two<sm::op_modf>(V(a), whole);
}
template <class A, class V = sm::real_t<A>> SM_INLINE V sincos(const A &a, V &cosine)
{
    return sm::on_two<sm::op_sincos>(V(a), cosine);
}

#define SM_USING(name, kind) using metal::name;
#define SM_USING_ALL                                                                                                  \
    SM_ALL_REAL_1(SM_USING)                                                                                           \
    SM_ALL_REAL_2(SM_USING)                                                                                           \
    SM_ALL_REAL_3(SM_USING)                                                                                           \
    using metal::fmax;                                                                                                \
    using metal::fmin;                                                                                                \
    using metal::fmax3;                                                                                               \
    using metal::fmin3;                                                                                               \
    using metal::fmedian3;                                                                                            \
    using metal::ilogb;                                                                                               \
    using metal::ldexp;                                                                                               \
    using metal::frexp;                                                                                               \
    using metal::modf;                                                                                                \
    using metal::sincos;
namespace precise
{
SM_USING_ALL
}
namespace fast
{
SM_USING_ALL
}
} // namespace metal

#endif
