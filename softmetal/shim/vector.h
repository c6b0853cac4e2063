// vec<T, N>: T of any scalar type, N of 2 to 4, with all swizzles. Sizes and alignments are MSL's: three elements take the place of four.
#ifndef SOFTMETAL_SHIM_VECTOR_H
#define SOFTMETAL_SHIM_VECTOR_H

#include "types.h"
#include "half.h"
#ifndef SOFTMETAL_NO_BFLOAT
#include "bfloat.h"
#endif

namespace metal
{
template <class T, int N> struct vec;
template <class T, int N> struct packed_vec;
// Elements I... of a vector of N: a member of the union that the vector is, so that `v.zx = w` writes through.
template <class T, int N, int... I> struct sm_swizzle;
} // namespace metal

namespace sm
{
using metal::vec;
using metal::packed_vec;
using metal::sm_swizzle;

// What a type is made of. `size` is 0 for types that are neither scalars nor vectors, 1 for scalars.
template <class A> struct shape {
    typedef void element;
    typedef void value;
    static constexpr int size = 0;
};
#define SM_SCALAR(T) template <> struct shape<T> { typedef T element; typedef T value; static constexpr int size = 1; };
SM_SCALAR(bool) SM_SCALAR(char) SM_SCALAR(signed char) SM_SCALAR(uchar) SM_SCALAR(short) SM_SCALAR(ushort) SM_SCALAR(int) SM_SCALAR(uint)
SM_SCALAR(long) SM_SCALAR(ulong) SM_SCALAR(long long) SM_SCALAR(unsigned long long) SM_SCALAR(half) SM_SCALAR(float) SM_SCALAR(double)
#ifndef SOFTMETAL_NO_BFLOAT
SM_SCALAR(bfloat)
#endif
#undef SM_SCALAR
template <class T, int N> struct shape<vec<T, N>> { typedef T element; typedef vec<T, N> value; static constexpr int size = N; };
template <class T, int N> struct shape<packed_vec<T, N>> { typedef T element; typedef vec<T, N> value; static constexpr int size = N; };
template <class T, int N, int... I> struct shape<sm_swizzle<T, N, I...>> {
    typedef T element;
    typedef vec<T, sizeof...(I)> value;
    static constexpr int size = sizeof...(I);
};
template <class A> using element_t = typename shape<A>::element;
template <class A> using value_t = typename shape<A>::value; // vectors without their disguise

// The vector type in which two operands meet: vectors must agree, a scalar takes the vector's element type.
template <class A, class B, int NA = shape<A>::size, int NB = shape<B>::size> struct meet {};
template <class A, class B, int N> struct meet<A, B, N, N> : enable_if<(N > 1) && is_same<value_t<A>, value_t<B>>, value_t<A>> {};
template <class A, class B, int N> struct meet<A, B, N, 1> : enable_if<(N > 1), value_t<A>> {};
template <class A, class B, int N> struct meet<A, B, 1, N> : enable_if<(N > 1), value_t<B>> {};
template <class A, class B> struct meet<A, B, 1, 1> {};
template <class A, class B> using meet_t = typename meet<A, B>::type;

template <int... I> constexpr bool distinct()
{
    unsigned seen = 0;
    bool twice = false;
    ((twice = twice || (seen >> I & 1), seen |= 1u << I), ...);
    return !twice;
}

template <class... A> inline constexpr int total = (shape<A>::size + ...);
template <class A> inline constexpr bool is_part = shape<A>::size > 0;

template <class T> struct gather {
    T *to;
    template <class A> SM_INLINE constexpr void operator()(const A &a)
    {
        if constexpr (shape<A>::size == 1) {
            *to++ = T(a);
        } else {
            const value_t<A> v(a);
            *to++ = T(v.x);
            *to++ = T(v.y);
            if constexpr (shape<A>::size > 2) *to++ = T(v.z);
            if constexpr (shape<A>::size > 3) *to++ = T(v.w);
        }
    }
};
} // namespace sm

namespace metal
{
template <class T, int N, int... I> struct sm_swizzle {
    T data[N];

    template <class B> SM_INLINE void set(const B &b)
    {
        static_assert(sm::distinct<I...>(), "a swizzle that names an element twice cannot be written");
        const vec<T, sizeof...(I)> value(b);
        int i = 0;
        ((data[I] = value[i++]), ...);
    }
    SM_INLINE sm_swizzle &operator=(const sm_swizzle &b)
    {
        set(b);
        return *this;
    }
    template <class B> SM_INLINE sm_swizzle &operator=(const B &b)
    {
        set(vec<T, sizeof...(I)>(b));
        return *this;
    }
    SM_INLINE T operator[](int i) const { return vec<T, sizeof...(I)>(*this)[i]; }
};

#define SM_EACH_A_2(M) M(x, r, 0) M(y, g, 1)
#define SM_EACH_B_2(M, ...) M(__VA_ARGS__, x, r, 0) M(__VA_ARGS__, y, g, 1)
#define SM_EACH_C_2(M, ...) M(__VA_ARGS__, x, r, 0) M(__VA_ARGS__, y, g, 1)
#define SM_EACH_D_2(M, ...) M(__VA_ARGS__, x, r, 0) M(__VA_ARGS__, y, g, 1)
#define SM_EACH_A_3(M) SM_EACH_A_2(M) M(z, b, 2)
#define SM_EACH_B_3(M, ...) SM_EACH_B_2(M, __VA_ARGS__) M(__VA_ARGS__, z, b, 2)
#define SM_EACH_C_3(M, ...) SM_EACH_C_2(M, __VA_ARGS__) M(__VA_ARGS__, z, b, 2)
#define SM_EACH_D_3(M, ...) SM_EACH_D_2(M, __VA_ARGS__) M(__VA_ARGS__, z, b, 2)
#define SM_EACH_A_4(M) SM_EACH_A_3(M) M(w, a, 3)
#define SM_EACH_B_4(M, ...) SM_EACH_B_3(M, __VA_ARGS__) M(__VA_ARGS__, w, a, 3)
#define SM_EACH_C_4(M, ...) SM_EACH_C_3(M, __VA_ARGS__) M(__VA_ARGS__, w, a, 3)
#define SM_EACH_D_4(M, ...) SM_EACH_D_3(M, __VA_ARGS__) M(__VA_ARGS__, w, a, 3)

// Each step adds a letter: (x, r, 0) … (x, r, 0, y, g, 1) …
#define SM_ONE_2(p, q, i) SM_EACH_B_2(SM_TWO_2, p, q, i)
#define SM_TWO_2(p, q, i, s, t, j) sm_swizzle<T, 2, i, j> p##s, q##t; SM_EACH_C_2(SM_THREE_2, p, q, i, s, t, j)
#define SM_THREE_2(p, q, i, s, t, j, u, v, k) \
    sm_swizzle<T, 2, i, j, k> p##s##u, q##t##v; SM_EACH_D_2(SM_FOUR_2, p, q, i, s, t, j, u, v, k)
#define SM_FOUR_2(p, q, i, s, t, j, u, v, k, m, n, l) sm_swizzle<T, 2, i, j, k, l> p##s##u##m, q##t##v##n;
#define SM_ONE_3(p, q, i) SM_EACH_B_3(SM_TWO_3, p, q, i)
#define SM_TWO_3(p, q, i, s, t, j) sm_swizzle<T, 3, i, j> p##s, q##t; SM_EACH_C_3(SM_THREE_3, p, q, i, s, t, j)
#define SM_THREE_3(p, q, i, s, t, j, u, v, k) \
    sm_swizzle<T, 3, i, j, k> p##s##u, q##t##v; SM_EACH_D_3(SM_FOUR_3, p, q, i, s, t, j, u, v, k)
#define SM_FOUR_3(p, q, i, s, t, j, u, v, k, m, n, l) sm_swizzle<T, 3, i, j, k, l> p##s##u##m, q##t##v##n;
#define SM_ONE_4(p, q, i) SM_EACH_B_4(SM_TWO_4, p, q, i)
#define SM_TWO_4(p, q, i, s, t, j) sm_swizzle<T, 4, i, j> p##s, q##t; SM_EACH_C_4(SM_THREE_4, p, q, i, s, t, j)
#define SM_THREE_4(p, q, i, s, t, j, u, v, k) \
    sm_swizzle<T, 4, i, j, k> p##s##u, q##t##v; SM_EACH_D_4(SM_FOUR_4, p, q, i, s, t, j, u, v, k)
#define SM_FOUR_4(p, q, i, s, t, j, u, v, k, m, n, l) sm_swizzle<T, 4, i, j, k, l> p##s##u##m, q##t##v##n;

#define SM_SWIZZLES_2 SM_EACH_A_2(SM_ONE_2)
#define SM_SWIZZLES_3 SM_EACH_A_3(SM_ONE_3)
#define SM_SWIZZLES_4 SM_EACH_A_4(SM_ONE_4)

// What vectors of all sizes share. A vector of other elements converts only when asked to.
#define SM_VECTOR_COMMON(N)                                                                                           \
    vec() = default;                                                                                                  \
    template <class S, class = sm::enable_if_t<sm::shape<S>::size == 1 && !sm::is_same<S, T>>>                        \
    SM_INLINE constexpr vec(S s) : vec(T(s)) {}                                                                       \
    template <class U> SM_INLINE constexpr explicit vec(const vec<U, N> &v) : vec(from{}, v) {}                       \
    template <int K, int... I, class = sm::enable_if_t<sizeof...(I) == N>>                                            \
    SM_INLINE constexpr vec(const sm_swizzle<T, K, I...> &v) : vec(v.data[I]...) {}                                  \
    template <class U, int K, int... I, class = sm::enable_if_t<sizeof...(I) == N && !sm::is_same<T, U>>, class = void> \
    SM_INLINE constexpr explicit vec(const sm_swizzle<U, K, I...> &v) : vec(T(v.data[I])...) {}                      \
    template <class U, class = sm::enable_if_t<!sm::is_same<T, U>>>                                                   \
    SM_INLINE constexpr explicit vec(const packed_vec<U, N> &v) : vec(from{}, v) {}                                   \
    SM_INLINE constexpr vec(const packed_vec<T, N> &v) : vec(from{}, v) {}                                            \
    template <class A, class B, class... C,                                                                           \
              class = sm::enable_if_t<sm::is_part<A> && sm::is_part<B> && (sm::is_part<C> && ...) &&                   \
                                      sm::total<A, B, C...> == N && (sizeof...(C) + 2 < N)>>                          \
    SM_INLINE constexpr explicit vec(const A &a, const B &b, const C &...c) : vec()                                   \
    {                                                                                                                 \
        sm::gather<T> put = {data};                                                                                   \
        put(a);                                                                                                       \
        put(b);                                                                                                       \
        (put(c), ...);                                                                                                \
    }                                                                                                                 \
    template <class... A, class = sm::enable_if_t<sizeof...(A) == N && ((sm::shape<A>::size == 1) && ...)>, class = void> \
    SM_INLINE constexpr vec(const A &...a) : vec(T(a)...) {}                                                          \
    SM_INLINE T &operator[](int i) { return data[i]; }                                                                \
    SM_INLINE const T &operator[](int i) const { return data[i]; }                                                    \
                                                                                                                      \
  private:                                                                                                            \
    struct from {};

template <class T> struct alignas(2 * sizeof(T)) vec<T, 2> {
    union {
        struct { T x, y; };
        struct { T r, g; };
        T data[2];
        SM_SWIZZLES_2
    };
    vec(const vec &) = default;
    SM_INLINE constexpr vec(T s) : x(s), y(s) {}
    SM_INLINE constexpr vec(T x_, T y_) : x(x_), y(y_) {}
    SM_INLINE constexpr vec &operator=(const vec &v)
    {
        x = v.x, y = v.y;
        return *this;
    }
    SM_VECTOR_COMMON(2)
    template <class V> SM_INLINE constexpr vec(from, const V &v) : x(T(v.x)), y(T(v.y)) {}
};

template <class T> struct alignas(4 * sizeof(T)) vec<T, 3> {
    union {
        struct { T x, y, z; };
        struct { T r, g, b; };
        T data[3];
        SM_SWIZZLES_3
    };
#ifdef SOFTMETAL_CHECKED // its fourth element is nobody's: a copy does not read it
    SM_INLINE constexpr vec(const vec &v) : x(v.x), y(v.y), z(v.z) {}
#else
    vec(const vec &) = default;
#endif
    SM_INLINE constexpr vec(T s) : x(s), y(s), z(s) {}
    SM_INLINE constexpr vec(T x_, T y_, T z_) : x(x_), y(y_), z(z_) {}
    SM_INLINE constexpr vec(T x_, T y_) : x(x_), y(y_), z(T(0)) {} // v = {1, 2}: the rest is zero
    SM_INLINE constexpr vec &operator=(const vec &v)
    {
        x = v.x, y = v.y, z = v.z;
        return *this;
    }
    SM_VECTOR_COMMON(3)
    template <class V> SM_INLINE constexpr vec(from, const V &v) : x(T(v.x)), y(T(v.y)), z(T(v.z)) {}
};

template <class T> struct alignas(4 * sizeof(T)) vec<T, 4> {
    union {
        struct { T x, y, z, w; };
        struct { T r, g, b, a; };
        T data[4];
        SM_SWIZZLES_4
    };
    vec(const vec &) = default;
    SM_INLINE constexpr vec(T s) : x(s), y(s), z(s), w(s) {}
    SM_INLINE constexpr vec(T x_, T y_, T z_, T w_) : x(x_), y(y_), z(z_), w(w_) {}
    SM_INLINE constexpr vec(T x_, T y_, T z_) : x(x_), y(y_), z(z_), w(T(0)) {}
    SM_INLINE constexpr vec(T x_, T y_) : x(x_), y(y_), z(T(0)), w(T(0)) {}
    SM_INLINE constexpr vec &operator=(const vec &v)
    {
        x = v.x, y = v.y, z = v.z, w = v.w;
        return *this;
    }
    SM_VECTOR_COMMON(4)
    template <class V> SM_INLINE constexpr vec(from, const V &v) : x(T(v.x)), y(T(v.y)), z(T(v.z)), w(T(v.w)) {}
};
} // namespace metal

// An operation on each element: Op::apply(a), Op::apply(a, b), Op::apply(a, b, c).
namespace sm
{
template <class Op, class R, class T, class... V> SM_INLINE constexpr vec<R, 2> each(const vec<T, 2> &a, const V &...v)
{
    return vec<R, 2>(Op::apply(a.x, v.x...), Op::apply(a.y, v.y...));
}
template <class Op, class R, class T, class... V> SM_INLINE constexpr vec<R, 3> each(const vec<T, 3> &a, const V &...v)
{
    return vec<R, 3>(Op::apply(a.x, v.x...), Op::apply(a.y, v.y...), Op::apply(a.z, v.z...));
}
template <class Op, class R, class T, class... V> SM_INLINE constexpr vec<R, 4> each(const vec<T, 4> &a, const V &...v)
{
    return vec<R, 4>(Op::apply(a.x, v.x...), Op::apply(a.y, v.y...), Op::apply(a.z, v.z...), Op::apply(a.w, v.w...));
}
template <class V, class R> struct with_element {};
template <class T, int N, class R> struct with_element<vec<T, N>, R> { typedef vec<R, N> type; };
template <class V, class R> using with_element_t = typename with_element<V, R>::type;
} // namespace sm

namespace metal
{
#define SM_BINARY(name, op)                                                                                           \
    struct sm_##name {                                                                                                \
        template <class T> static SM_INLINE constexpr T apply(T a, T b) { return T(a op b); }                         \
    };                                                                                                                \
    SM_BINARY_OPERATOR(name, op)
#define SM_BINARY_OPERATOR(name, op)                                                                                  \
    template <class A, class B, class V = sm::meet_t<A, B>> SM_INLINE constexpr V operator op(const A &a, const B &b) \
    {                                                                                                                 \
        return sm::each<sm_##name, sm::element_t<V>>(V(a), V(b));                                                     \
    }                                                                                                                 \
    template <class A, class B, class = sm::enable_if_t<(sm::shape<A>::size > 1)>>                                    \
    SM_INLINE constexpr A &operator op##=(A &a, const B &b)                                                           \
    {                                                                                                                 \
        return a = sm::value_t<A>(a) op b;                                                                            \
    }
// As many bits as MSL looks at.
#define SM_SHIFT(name, op)                                                                                            \
    struct sm_##name {                                                                                                \
        template <class T> static SM_INLINE constexpr T apply(T a, T b) { return T(a op(b &T(sizeof(T) * 8 - 1))); }  \
    };                                                                                                                \
    SM_BINARY_OPERATOR(name, op)
#define SM_COMPARE(name, op)                                                                                          \
    struct sm_##name {                                                                                                \
        template <class T> static SM_INLINE constexpr bool apply(T a, T b) { return a op b; }                         \
    };                                                                                                                \
    template <class A, class B, class V = sm::meet_t<A, B>>                                                           \
    SM_INLINE constexpr sm::with_element_t<V, bool> operator op(const A &a, const B &b)                               \
    {                                                                                                                 \
        return sm::each<sm_##name, bool>(V(a), V(b));                                                                 \
    }
#define SM_UNARY(name, op, R)                                                                                         \
    struct sm_##name {                                                                                                \
        template <class T> static SM_INLINE constexpr R apply(T a) { return R(op a); }                                \
    };                                                                                                                \
    template <class A, class = sm::enable_if_t<(sm::shape<A>::size > 1)>, class T = sm::element_t<A>>                 \
    SM_INLINE constexpr sm::with_element_t<sm::value_t<A>, R> operator op(const A &a)                                 \
    {                                                                                                                 \
        return sm::each<sm_##name, R>(sm::value_t<A>(a));                                                             \
    }
SM_BINARY(plus, +)
SM_BINARY(minus, -)
SM_BINARY(times, *)
SM_BINARY(over, /)
SM_BINARY(modulo, %)
SM_BINARY(bit_and, &)
SM_BINARY(bit_or, |)
SM_BINARY(bit_xor, ^)
SM_SHIFT(left, <<)
SM_SHIFT(right, >>)
SM_COMPARE(less, <)
SM_COMPARE(greater, >)
SM_COMPARE(less_equal, <=)
SM_COMPARE(greater_equal, >=)
SM_COMPARE(equal, ==)
SM_COMPARE(not_equal, !=)
SM_COMPARE(both, &&)
SM_COMPARE(either, ||)
SM_UNARY(negative, -, T)
SM_UNARY(positive, +, T)
SM_UNARY(complement, ~, T)
SM_UNARY(negation, !, bool)
#define SM_STEP(op, by)                                                                                               \
    template <class A, class = sm::enable_if_t<(sm::shape<A>::size > 1)>> SM_INLINE constexpr A &operator op(A &a)    \
    {                                                                                                                 \
        return a = a by sm::element_t<A>(1);                                                                          \
    }                                                                                                                 \
    template <class A, class = sm::enable_if_t<(sm::shape<A>::size > 1)>>                                             \
    SM_INLINE constexpr sm::value_t<A> operator op(A &a, int)                                                         \
    {                                                                                                                 \
        const sm::value_t<A> before(a);                                                                               \
        op a;                                                                                                         \
        return before;                                                                                                \
    }
SM_STEP(++, +)
SM_STEP(--, -)
} // namespace metal

// char2 … float4, at global scope and in metal.
namespace metal
{
#define SM_NAMES(T, name)                                                                                             \
    typedef vec<T, 2> name##2;                                                                                        \
    typedef vec<T, 3> name##3;                                                                                        \
    typedef vec<T, 4> name##4;                                                                                        \
    typedef packed_vec<T, 2> packed_##name##2;                                                                        \
    typedef packed_vec<T, 3> packed_##name##3;                                                                        \
    typedef packed_vec<T, 4> packed_##name##4;
#define SM_VECTOR_TYPES(X)                                                                                            \
    X(bool, bool) X(char, char) X(uchar, uchar) X(short, short) X(ushort, ushort) X(int, int) X(uint, uint) X(long, long) \
    X(ulong, ulong) X(half, half) X(float, float)
SM_VECTOR_TYPES(SM_NAMES)
#ifndef SOFTMETAL_NO_BFLOAT
SM_NAMES(bfloat, bfloat)
#endif
} // namespace metal
#define SM_GLOBAL(T, name)                                                                                            \
    using metal::name##2;                                                                                             \
    using metal::name##3;                                                                                             \
    using metal::name##4;                                                                                             \
    using metal::packed_##name##2;                                                                                    \
    using metal::packed_##name##3;                                                                                    \
    using metal::packed_##name##4;
SM_VECTOR_TYPES(SM_GLOBAL)
#ifndef SOFTMETAL_NO_BFLOAT
SM_GLOBAL(bfloat, bfloat)
#endif

#endif
