// <metal_limits>, and the named numbers of the specification.
#ifndef SOFTMETAL_SHIM_LIMITS_H
#define SOFTMETAL_SHIM_LIMITS_H

#include "integer.h"

namespace metal
{
template <class T> struct numeric_limits {
    static constexpr bool is_specialized = false;
};
enum float_round_style { round_indeterminate = -1, round_toward_zero, round_to_nearest, round_toward_infinity, round_toward_neg_infinity };
enum float_denorm_style { denorm_indeterminate = -1, denorm_absent, denorm_present };

namespace detail
{
template <class T> struct integer_limits {
    static constexpr bool is_specialized = true, is_signed = T(-1) < T(0), is_integer = true, is_exact = true;
    static constexpr bool has_infinity = false, has_quiet_NaN = false, has_signaling_NaN = false, is_iec559 = false;
    static constexpr bool is_bounded = true, is_modulo = !is_signed, traps = false, tinyness_before = false;
    static constexpr int digits = int(sizeof(T) * 8) - is_signed, digits10 = digits * 643 / 2136, max_digits10 = 0;
    static constexpr int radix = 2, min_exponent = 0, min_exponent10 = 0, max_exponent = 0, max_exponent10 = 0;
    static constexpr float_round_style round_style = round_toward_zero;
    static constexpr float_denorm_style has_denorm = denorm_absent;
    static constexpr T min() { return sm::lowest_of<T>; }
    static constexpr T max() { return sm::highest_of<T>; }
    static constexpr T lowest() { return sm::lowest_of<T>; }
    static constexpr T epsilon() { return T(0); }
    static constexpr T round_error() { return T(0); }
    static constexpr T infinity() { return T(0); }
    static constexpr T quiet_NaN() { return T(0); }
    static constexpr T signaling_NaN() { return T(0); }
    static constexpr T denorm_min() { return T(0); }
};

// Digits of the mantissa with its hidden bit, and the largest exponent: as C counts them.
template <class T, class Bits, int Digits, int MaxExponent> struct real_limits {
    static constexpr bool is_specialized = true, is_signed = true, is_integer = false, is_exact = false;
    static constexpr bool has_infinity = true, has_quiet_NaN = true, has_signaling_NaN = true, is_iec559 = true;
    static constexpr bool is_bounded = true, is_modulo = false, traps = false, tinyness_before = false;
    static constexpr int digits = Digits, digits10 = (Digits - 1) * 643 / 2136, max_digits10 = 2 + Digits * 643 / 2136;
    static constexpr int radix = 2, max_exponent = MaxExponent, min_exponent = 3 - MaxExponent;
    static constexpr int max_exponent10 = MaxExponent * 643 / 2136, min_exponent10 = -((MaxExponent - 2) * 643 / 2136);
    static constexpr float_round_style round_style = round_to_nearest;
    static constexpr float_denorm_style has_denorm = denorm_present;
    static constexpr Bits exponent_bits = Bits((2 * MaxExponent - 1)) << (Digits - 1);
    static constexpr T of(uint bits) { return __builtin_bit_cast(T, Bits(bits)); }
    static constexpr T min() { return of(1u << (Digits - 1)); }
    static constexpr T max() { return of(exponent_bits - 1); }
    static constexpr T lowest() { return of((exponent_bits - 1) | 1u << (sizeof(T) * 8 - 1)); }
    static constexpr T epsilon() { return T(1.0f / float(1u << (Digits - 1))); }
    static constexpr T round_error() { return T(0.5f); }
    static constexpr T infinity() { return of(exponent_bits); }
    static constexpr T quiet_NaN() { return of(exponent_bits | 1u << (Digits - 2)); }
    static constexpr T signaling_NaN() { return of(exponent_bits | 1u << (Digits - 3)); }
    static constexpr T denorm_min() { return of(1); }
};
} // namespace detail

template <> struct numeric_limits<bool> {
    static constexpr bool is_specialized = true, is_signed = false, is_integer = true, is_exact = true;
    static constexpr int digits = 1;
    static constexpr bool min() { return false; }
    static constexpr bool max() { return true; }
    static constexpr bool lowest() { return false; }
};
#define SM_INTEGER_LIMITS(T) template <> struct numeric_limits<T> : detail::integer_limits<T> {};
SM_INTEGER_LIMITS(char)
SM_INTEGER_LIMITS(signed char)
SM_INTEGER_LIMITS(uchar)
SM_INTEGER_LIMITS(short)
SM_INTEGER_LIMITS(ushort)
SM_INTEGER_LIMITS(int)
SM_INTEGER_LIMITS(uint)
SM_INTEGER_LIMITS(long)
SM_INTEGER_LIMITS(ulong)
SM_INTEGER_LIMITS(long long)
SM_INTEGER_LIMITS(unsigned long long)
template <> struct numeric_limits<half> : detail::real_limits<half, ushort, 11, 16> {};
template <> struct numeric_limits<float> : detail::real_limits<float, uint, 24, 128> {};
#ifndef SOFTMETAL_NO_BFLOAT
template <> struct numeric_limits<bfloat> : detail::real_limits<bfloat, ushort, 8, 128> {};
#endif
} // namespace metal

#undef INFINITY
#undef NAN
#undef HUGE_VALF
#undef MAXFLOAT
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#define HUGE_VALF __builtin_inff()
#define HUGE_VALH ((half)__builtin_inff())
#define MAXFLOAT 0x1.fffffep+127f
#define MAXHALF ((half)0x1.ffcp15f)

#define FLT_DIG 6
#define FLT_MANT_DIG 24
#define FLT_MAX_10_EXP 38
#define FLT_MAX_EXP 128
#define FLT_MIN_10_EXP (-37)
#define FLT_MIN_EXP (-125)
#define FLT_RADIX 2
#define FLT_MAX 0x1.fffffep+127f
#define FLT_MIN 0x1.0p-126f
#define FLT_EPSILON 0x1.0p-23f
#define FLT_DECIMAL_DIG 9
#define FP_ILOGB0 (-__INT_MAX__ - 1)
#define FP_ILOGBNAN (-__INT_MAX__ - 1)
#define HALF_DIG 3
#define HALF_MANT_DIG 11
#define HALF_MAX_10_EXP 4
#define HALF_MAX_EXP 16
#define HALF_MIN_10_EXP (-4)
#define HALF_MIN_EXP (-13)
#define HALF_RADIX 2
#define HALF_MAX ((half)0x1.ffcp15f)
#define HALF_MIN ((half)0x1.0p-14f)
#define HALF_EPSILON ((half)0x1.0p-10f)

#define M_E_F 2.71828182845904523536028747135266250f
#define M_LOG2E_F 1.44269504088896340735992468100189214f
#define M_LOG10E_F 0.434294481903251827651128918916605082f
#define M_LN2_F 0.693147180559945309417232121458176568f
#define M_LN10_F 2.30258509299404568401799145468436421f
#define M_PI_F 3.14159265358979323846264338327950288f
#define M_PI_2_F 1.57079632679489661923132169163975144f
#define M_PI_4_F 0.785398163397448309615660845819875721f
#define M_1_PI_F 0.318309886183790671537767526745028724f
#define M_2_PI_F 0.636619772367581343075535053490057448f
#define M_2_SQRTPI_F 1.12837916709551257389615890312154517f
#define M_SQRT2_F 1.41421356237309504880168872420969808f
#define M_SQRT1_2_F 0.707106781186547524400844362104849039f
#define M_E_H ((half)M_E_F)
#define M_LOG2E_H ((half)M_LOG2E_F)
#define M_LOG10E_H ((half)M_LOG10E_F)
#define M_LN2_H ((half)M_LN2_F)
#define M_LN10_H ((half)M_LN10_F)
#define M_PI_H ((half)M_PI_F)
#define M_PI_2_H ((half)M_PI_2_F)
#define M_PI_4_H ((half)M_PI_4_F)
#define M_1_PI_H ((half)M_1_PI_F)
#define M_2_PI_H ((half)M_2_PI_F)
#define M_2_SQRTPI_H ((half)M_2_SQRTPI_F)
#define M_SQRT2_H ((half)M_SQRT2_F)
#define M_SQRT1_2_H ((half)M_SQRT1_2_F)

#define CHAR_BIT 8
#define SCHAR_MAX 127
#define SCHAR_MIN (-128)
#define CHAR_MAX SCHAR_MAX
#define CHAR_MIN SCHAR_MIN
#define UCHAR_MAX 255
#define SHRT_MAX 32767
#define SHRT_MIN (-32768)
#define USHRT_MAX 65535
#define INT_MAX __INT_MAX__
#define INT_MIN (-__INT_MAX__ - 1)
#define UINT_MAX 0xffffffffu
#define LONG_MAX __LONG_MAX__
#define LONG_MIN (-__LONG_MAX__ - 1L)
#define ULONG_MAX 0xffffffffffffffffUL

#endif
