// <metal_integer>. abs, min, max and clamp are with those of real numbers.
#ifndef SOFTMETAL_SHIM_INTEGER_H
#define SOFTMETAL_SHIM_INTEGER_H

#include "math.h"

namespace sm
{
template <class T> struct unsigned_of { typedef T type; };
template <> struct unsigned_of<char> { typedef uchar type; };
template <> struct unsigned_of<signed char> { typedef uchar type; };
template <> struct unsigned_of<short> { typedef ushort type; };
template <> struct unsigned_of<int> { typedef uint type; };
template <> struct unsigned_of<long> { typedef ulong type; };
template <> struct unsigned_of<long long> { typedef unsigned long long type; };
template <class T, int N> struct unsigned_of<vec<T, N>> { typedef vec<typename unsigned_of<T>::type, N> type; };
template <class T> using unsigned_t = typename unsigned_of<T>::type;

__extension__ typedef __int128 wide; // holds every sum and product of two longs, and madsat's
template <class T> inline constexpr int bits_of = int(sizeof(T) * 8);
template <class T> inline constexpr bool is_negative_type = T(-1) < T(0);
template <class T> inline constexpr T lowest_of = is_negative_type<T> ? T(unsigned_t<T>(1) << (bits_of<T> - 1)) : T(0);
template <class T> inline constexpr T highest_of = T(~lowest_of<T>);

// The nearest value of T.
template <class T> SM_INLINE constexpr T fit(wide x)
{
    return x < wide(lowest_of<T>) ? lowest_of<T> : x > wide(highest_of<T>) ? highest_of<T> : T(x);
}

struct op_absdiff {
    template <class T> static SM_INLINE constexpr unsigned_t<T> apply(T x, T y)
    {
        return x > y ? unsigned_t<T>(unsigned_t<T>(x) - unsigned_t<T>(y)) : unsigned_t<T>(unsigned_t<T>(y) - unsigned_t<T>(x));
    }
};
struct op_addsat {
    template <class T> static SM_INLINE constexpr T apply(T x, T y) { return fit<T>(wide(x) + wide(y)); }
};
struct op_subsat {
    template <class T> static SM_INLINE constexpr T apply(T x, T y) { return fit<T>(wide(x) - wide(y)); }
};
struct op_hadd {
    template <class T> static SM_INLINE constexpr T apply(T x, T y) { return T((wide(x) + wide(y)) >> 1); }
};
struct op_rhadd {
    template <class T> static SM_INLINE constexpr T apply(T x, T y) { return T((wide(x) + wide(y) + 1) >> 1); }
};
struct op_mulhi {
    template <class T> static SM_INLINE constexpr T apply(T x, T y)
    {
        __extension__ typedef unsigned __int128 unsigned_wide;
        if constexpr (is_negative_type<T>) return T((wide(x) * wide(y)) >> bits_of<T>);
        else return T((unsigned_wide(x) * unsigned_wide(y)) >> bits_of<T>);
    }
};
struct op_madhi {
    template <class T> static SM_INLINE constexpr T apply(T x, T y, T z)
    {
        return T(unsigned_t<T>(op_mulhi::apply(x, y)) + unsigned_t<T>(z));
    }
};
struct op_madsat {
    template <class T> static SM_INLINE constexpr T apply(T x, T y, T z)
    {
        if constexpr (sizeof(T) == 8 && !is_negative_type<T>) { // its products need all 128 bits
            ulong product = 0, sum = 0;
            return __builtin_mul_overflow(x, y, &product) || __builtin_add_overflow(product, z, &sum) ? ~T(0) : T(sum);
        } else {
            return fit<T>(wide(x) * wide(y) + wide(z));
        }
    }
};
// The low 24 bits of each, the low 32 of the product.
struct op_mul24 {
    template <class T> static SM_INLINE constexpr T apply(T x, T y)
    {
        const uint a = uint(x) << 8, b = uint(y) << 8;
        if constexpr (is_negative_type<T>) return T(uint(int(a) >> 8) * uint(int(b) >> 8));
        else return T((a >> 8) * (b >> 8));
    }
};
struct op_mad24 {
    template <class T> static SM_INLINE constexpr T apply(T x, T y, T z) { return T(uint(op_mul24::apply(x, y)) + uint(z)); }
};
struct op_clz {
    template <class T> static SM_INLINE constexpr T apply(T x)
    {
        const unsigned_t<T> u = unsigned_t<T>(x);
        return u == 0 ? T(bits_of<T>) : T(__builtin_clzll(u) - (64 - bits_of<T>));
    }
};
struct op_ctz {
    template <class T> static SM_INLINE constexpr T apply(T x)
    {
        const unsigned_t<T> u = unsigned_t<T>(x);
        return u == 0 ? T(bits_of<T>) : T(__builtin_ctzll(u));
    }
};
struct op_popcount {
    template <class T> static SM_INLINE constexpr T apply(T x) { return T(__builtin_popcountll(unsigned_t<T>(x))); }
};
struct op_reverse_bits {
    template <class T> static SM_INLINE constexpr T apply(T x)
    {
        unsigned_t<T> from = unsigned_t<T>(x), to = 0;
        for (int i = 0; i < bits_of<T>; i++) {
            to = unsigned_t<T>(to << 1 | (from & 1));
            from = unsigned_t<T>(from >> 1);
        }
        return T(to);
    }
};
struct op_rotate {
    template <class T> static SM_INLINE constexpr T apply(T x, T by)
    {
        const unsigned_t<T> u = unsigned_t<T>(x);
        const int left = int(unsigned_t<T>(by) & unsigned_t<T>(bits_of<T> - 1));
        return left == 0 ? x : T(unsigned_t<T>(u << left) | unsigned_t<T>(u >> (bits_of<T> - left)));
    }
};
template <class T> SM_INLINE constexpr unsigned_t<T> low_bits(uint bits)
{
    return bits == 0 ? unsigned_t<T>(0) : unsigned_t<T>(unsigned_t<T>(~unsigned_t<T>(0)) >> (bits_of<T> - int(bits)));
}
// Signed values keep the sign of the field's top bit.
template <class T> SM_INLINE constexpr T extract(T x, uint offset, uint bits)
{
    if (bits == 0) return T(0);
    const int above = bits_of<T> - int(bits);
    return T(T(unsigned_t<T>(unsigned_t<T>(x) >> offset) << above) >> above);
}
template <class T> SM_INLINE constexpr T insert(T base, T field, uint offset, uint bits)
{
    if (bits == 0) return base;
    const unsigned_t<T> mask = unsigned_t<T>(low_bits<T>(bits) << offset);
    return T(unsigned_t<T>(unsigned_t<T>(base) & unsigned_t<T>(~mask)) |
             unsigned_t<T>(unsigned_t<T>(unsigned_t<T>(field) << offset) & mask));
}
} // namespace sm

namespace metal
{
SM_FUNCTION_2(addsat, integer)
SM_FUNCTION_2(subsat, integer)
SM_FUNCTION_2(hadd, integer)
SM_FUNCTION_2(rhadd, integer)
SM_FUNCTION_2(mulhi, integer)
SM_FUNCTION_3(madhi, integer)
SM_FUNCTION_3(madsat, integer)
SM_FUNCTION_2(mul24, integer)
SM_FUNCTION_3(mad24, integer)
SM_FUNCTION_1(clz, integer)
SM_FUNCTION_1(ctz, integer)
SM_FUNCTION_1(popcount, integer)
SM_FUNCTION_1(reverse_bits, integer)

// The amount takes the value's type.
template <class A, class B, class V = sm::integer_t<A>> SM_INLINE constexpr V rotate(const A &a, const B &by)
{
    return sm::on<sm::op_rotate, sm::element_t<V>>(V(a), V(by));
}
template <class A, class B, class V = sm::integer2_t<A, B>>
SM_INLINE constexpr sm::unsigned_t<V> absdiff(const A &a, const B &b)
{
    return sm::on<sm::op_absdiff, sm::unsigned_t<sm::element_t<V>>>(V(a), V(b));
}
template <class A, class V = sm::integer_t<A>> SM_INLINE constexpr V extract_bits(const A &a, uint offset, uint bits)
{
    if constexpr (sm::shape<V>::size == 1) {
        return sm::extract(V(a), offset, bits);
    } else {
        V v(a);
        for (int i = 0; i < sm::shape<V>::size; i++) v[i] = sm::extract(v[i], offset, bits);
        return v;
    }
}
template <class A, class B, class V = sm::integer2_t<A, B>>
SM_INLINE constexpr V insert_bits(const A &base, const B &field, uint offset, uint bits)
{
    if constexpr (sm::shape<V>::size == 1) {
        return sm::insert(V(base), V(field), offset, bits);
    } else {
        V v(base), f(field);
        for (int i = 0; i < sm::shape<V>::size; i++) v[i] = sm::insert(v[i], f[i], offset, bits);
        return v;
    }
}
} // namespace metal

#endif
