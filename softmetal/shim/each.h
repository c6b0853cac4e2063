// Functions on scalars and on vectors alike: an operation is a struct with `apply` for scalars, and these run it on each element.
#ifndef SOFTMETAL_SHIM_EACH_H
#define SOFTMETAL_SHIM_EACH_H

#include "vector.h"

namespace sm
{
template <class T> inline constexpr bool is_bfloat = false;
#ifndef SOFTMETAL_NO_BFLOAT
template <> inline constexpr bool is_bfloat<bfloat> = true;
#endif
template <class T> inline constexpr bool is_real = is_same<T, float> || is_same<T, half>;
template <class T> inline constexpr bool is_whole = shape<T>::size == 1 && !is_real<T> && !is_bfloat<T> && !is_same<T, double>;

// The type in which the arguments of a function meet: as for operators, and scalars by the language's rules.
template <class A, class B, int NA = shape<A>::size, int NB = shape<B>::size> struct common : meet<A, B> {};
template <class A, class B, int NA> struct common<A, B, NA, 0> {};
template <class A, class B, int NB> struct common<A, B, 0, NB> {};
template <class A, class B> struct common<A, B, 0, 0> {};
template <class A, class B> struct common<A, B, 1, 1> { typedef decltype(A() + B()) type; };
template <class A> struct common<A, A, 1, 1> { typedef A type; };
template <class A, class B> using common_t = typename common<A, B>::type;
template <class A, class B, class C> using common3_t = common_t<common_t<A, B>, C>;

// Functions know half and float: a bfloat is taken as a float, there is none of vectors of bfloat.
template <class V, int N = shape<V>::size, bool Bfloat = is_bfloat<element_t<V>>> struct as_any { typedef value_t<V> type; };
template <class V> struct as_any<V, 0, false> {};
template <class V, int N> struct as_any<V, N, true> {};
template <class V> struct as_any<V, 1, true> { typedef float type; };
template <class A> using any_t = typename as_any<A>::type;
template <class A, class B> using any2_t = any_t<common_t<A, B>>;
template <class A, class B, class C> using any3_t = any_t<common3_t<A, B, C>>;

// The same for functions of real numbers: an integer is taken as a float.
template <class V, int N = shape<V>::size, bool Real = is_real<element_t<V>>> struct as_real {};
template <class V, int N> struct as_real<V, N, true> { typedef value_t<V> type; };
template <class V> struct as_real<V, 1, false> { typedef float type; };
template <class A> using real_t = typename as_real<A>::type;
template <class A, class B> using real2_t = real_t<common_t<A, B>>;
template <class A, class B, class C> using real3_t = real_t<common3_t<A, B, C>>;
template <class A> using integer_t = enable_if_t<is_whole<element_t<A>>, value_t<A>>;
template <class A, class B> using integer2_t = integer_t<common_t<A, B>>;
template <class A, class B, class C> using integer3_t = integer_t<common3_t<A, B, C>>;

// Op on the scalar or on each element; R is the element of the result.
template <class Op, class R, class T, class... V> SM_INLINE constexpr auto on(const T &a, const V &...v)
{
    if constexpr (shape<T>::size == 1) {
        return R(Op::apply(a, v...));
    } else {
        return each<Op, R>(a, v...);
    }
}
} // namespace sm

// Defines metal::name for one, two or three arguments that meet in one type, by sm::op_name.
#define SM_FUNCTION_1(name, kind)                                                                                     \
    template <class A, class V = sm::kind##_t<A>> SM_INLINE constexpr V name(const A &a)                              \
    {                                                                                                                 \
        return sm::on<sm::op_##name, sm::element_t<V>>(V(a));                                                         \
    }
#define SM_FUNCTION_2(name, kind)                                                                                     \
    template <class A, class B, class V = sm::kind##2_t<A, B>> SM_INLINE constexpr V name(const A &a, const B &b)     \
    {                                                                                                                 \
        return sm::on<sm::op_##name, sm::element_t<V>>(V(a), V(b));                                                   \
    }
#define SM_FUNCTION_3(name, kind)                                                                                     \
    template <class A, class B, class C, class V = sm::kind##3_t<A, B, C>>                                            \
    SM_INLINE constexpr V name(const A &a, const B &b, const C &c)                                                    \
    {                                                                                                                 \
        return sm::on<sm::op_##name, sm::element_t<V>>(V(a), V(b), V(c));                                             \
    }

#endif
