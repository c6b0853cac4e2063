// bfloat: the upper half of a float, rounded to nearest even after every operation. As in MSL it turns into float by itself, and
// neither float nor half turns into it. A class with both compilers: g++ 12 has no such type, clang's cannot be cast to or from half.
#ifndef SOFTMETAL_SHIM_BFLOAT_H
#define SOFTMETAL_SHIM_BFLOAT_H

#include "types.h"
#include "half.h"

namespace sm
{
struct bfloat;
// What a bfloat and a number give: integers become bfloat, half and float make it a float.
template <class T> struct bfloat_and {};
template <> struct bfloat_and<bool> { typedef bfloat type; };
template <> struct bfloat_and<char> { typedef bfloat type; };
template <> struct bfloat_and<signed char> { typedef bfloat type; };
template <> struct bfloat_and<uchar> { typedef bfloat type; };
template <> struct bfloat_and<short> { typedef bfloat type; };
template <> struct bfloat_and<ushort> { typedef bfloat type; };
template <> struct bfloat_and<int> { typedef bfloat type; };
template <> struct bfloat_and<uint> { typedef bfloat type; };
template <> struct bfloat_and<long> { typedef bfloat type; };
template <> struct bfloat_and<ulong> { typedef bfloat type; };
template <> struct bfloat_and<long long> { typedef bfloat type; };
template <> struct bfloat_and<unsigned long long> { typedef bfloat type; };
template <> struct bfloat_and<half> { typedef float type; };
template <> struct bfloat_and<float> { typedef float type; };
template <> struct bfloat_and<double> { typedef float type; };
template <class T> using with_bfloat = typename bfloat_and<T>::type;

struct bfloat {
    ushort bits;

    bfloat() = default;
    template <class T, class = enable_if_t<is_same<with_bfloat<T>, bfloat>>>
    SM_INLINE constexpr bfloat(T whole) : bits(round(float(whole))) {}
    template <class T, class = enable_if_t<is_same<with_bfloat<T>, float>>, class = void>
    SM_INLINE constexpr explicit bfloat(T value) : bits(round(float(value))) {}

    // From what has a conversion of its own, as to bool.
    template <class T, class = enable_if_t<__is_class(T) && !is_same<T, bfloat>>, class = decltype(float(*(const T *)nullptr))>
    SM_INLINE constexpr bfloat &operator=(const T &value)
    {
        bits = round(float(value));
        return *this;
    }

    // To float by itself, to nothing else: `c ? b : 0` would be ambiguous.
    template <class T, class = enable_if_t<is_same<T, float>>> SM_INLINE constexpr operator T() const
    {
        return __builtin_bit_cast(float, uint(bits) << 16);
    }
    template <class T, class = with_bfloat<T>, class = enable_if_t<!is_same<T, float>>>
    SM_INLINE constexpr explicit operator T() const
    {
        return T(__builtin_bit_cast(float, uint(bits) << 16));
    }

    static SM_INLINE constexpr ushort round(float value)
    {
        const uint from = __builtin_bit_cast(uint, value);
        if (value != value) return ushort(from >> 16 | 0x40);
        return ushort((from + 0x7fff + (from >> 16 & 1)) >> 16);
    }
};

SM_INLINE constexpr ushort bfloat_bits(bfloat value) { return value.bits; }
SM_INLINE constexpr bfloat bfloat_from_bits(ushort bits)
{
    bfloat value{};
    value.bits = bits;
    return value;
}

#define SM_BFLOAT_OPERATOR(op)                                                                                        \
    SM_INLINE constexpr bfloat operator op(bfloat a, bfloat b) { return bfloat(float(a) op float(b)); }               \
    template <class T, class R = with_bfloat<T>> SM_INLINE constexpr R operator op(bfloat a, T b)                     \
    {                                                                                                                 \
        return R(float(a) op float(R(b)));                                                                            \
    }                                                                                                                 \
    template <class T, class R = with_bfloat<T>> SM_INLINE constexpr R operator op(T a, bfloat b)                     \
    {                                                                                                                 \
        return R(float(R(a)) op float(b));                                                                            \
    }                                                                                                                 \
    SM_INLINE constexpr bfloat &operator op##=(bfloat &a, bfloat b) { return a = a op b; }                            \
    template <class T, class R = with_bfloat<T>> SM_INLINE constexpr bfloat &operator op##=(bfloat &a, T b)           \
    {                                                                                                                 \
        return a = bfloat(a op b);                                                                                    \
    }                                                                                                                 \
    template <class T, class = with_bfloat<T>> SM_INLINE constexpr T &operator op##=(T &a, bfloat b)                  \
    {                                                                                                                 \
        return a = T(a op float(b));                                                                                  \
    }
SM_BFLOAT_OPERATOR(+)
SM_BFLOAT_OPERATOR(-)
SM_BFLOAT_OPERATOR(*)
SM_BFLOAT_OPERATOR(/)
#undef SM_BFLOAT_OPERATOR

#define SM_BFLOAT_COMPARE(op)                                                                                         \
    SM_INLINE constexpr bool operator op(bfloat a, bfloat b) { return float(a) op float(b); }                         \
    template <class T, class R = with_bfloat<T>> SM_INLINE constexpr bool operator op(bfloat a, T b)                  \
    {                                                                                                                 \
        return float(a) op float(R(b));                                                                               \
    }                                                                                                                 \
    template <class T, class R = with_bfloat<T>> SM_INLINE constexpr bool operator op(T a, bfloat b)                  \
    {                                                                                                                 \
        return float(R(a)) op float(b);                                                                               \
    }
SM_BFLOAT_COMPARE(<)
SM_BFLOAT_COMPARE(>)
SM_BFLOAT_COMPARE(<=)
SM_BFLOAT_COMPARE(>=)
SM_BFLOAT_COMPARE(==)
SM_BFLOAT_COMPARE(!=)
#undef SM_BFLOAT_COMPARE

SM_INLINE constexpr bfloat operator-(bfloat a) { return bfloat_from_bits(a.bits ^ 0x8000); }
SM_INLINE constexpr bfloat operator+(bfloat a) { return a; }
SM_INLINE constexpr bfloat &operator++(bfloat &a) { return a = a + 1; }
SM_INLINE constexpr bfloat &operator--(bfloat &a) { return a = a - 1; }
SM_INLINE constexpr bfloat operator++(bfloat &a, int)
{
    const bfloat before = a;
    a = a + 1;
    return before;
}
SM_INLINE constexpr bfloat operator--(bfloat &a, int)
{
    const bfloat before = a;
    a = a - 1;
    return before;
}
} // namespace sm

typedef sm::bfloat bfloat;

#endif
