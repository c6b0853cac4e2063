// <metal_type_traits> and <metal_utility>: the C++ library's, under metal. Names that Apple's lacks are left out where kernels have them
// for their own: is_empty, void_t, forward, move.
#ifndef SOFTMETAL_SHIM_TYPE_TRAITS_H
#define SOFTMETAL_SHIM_TYPE_TRAITS_H

#include "each.h"

namespace metal
{
template <class T, T Value> struct integral_constant {
    typedef T value_type;
    typedef integral_constant type;
    static constexpr T value = Value;
    constexpr operator T() const { return Value; }
    constexpr T operator()() const { return Value; }
};
template <bool Value> using bool_constant = integral_constant<bool, Value>;
typedef bool_constant<true> true_type;
typedef bool_constant<false> false_type;

using sm::enable_if;
using sm::enable_if_t;
using sm::conditional;
using sm::conditional_t;

template <class T> struct type_identity { typedef T type; };
template <class T> using type_identity_t = T;

// `name<T>` that derives from a bool_constant, and `name_v`.
#define SM_TRAIT(name, ...)                                                                                           \
    template <class T> struct name : bool_constant<(__VA_ARGS__)> {};                                                 \
    template <class T> inline constexpr bool name##_v = name<T>::value;
#define SM_TRAIT_2(name, ...)                                                                                         \
    template <class A, class B> struct name : bool_constant<(__VA_ARGS__)> {};                                        \
    template <class A, class B> inline constexpr bool name##_v = name<A, B>::value;
// `name<T>::type` and `name_t`.
#define SM_TYPE_TRAIT(name)                                                                                           \
    template <class T> using name##_t = typename name<T>::type;

using sm::remove_cv;
using sm::remove_reference;
template <class T> struct remove_const { typedef T type; };
template <class T> struct remove_const<const T> { typedef T type; };
template <class T> struct remove_volatile { typedef T type; };
template <class T> struct remove_volatile<volatile T> { typedef T type; };
template <class T> struct remove_pointer : sm::remove_pointer<T> {};
template <class T> struct remove_extent { typedef T type; };
template <class T> struct remove_extent<T[]> { typedef T type; };
template <class T, size_t N> struct remove_extent<T[N]> { typedef T type; };
template <class T> struct remove_all_extents { typedef T type; };
template <class T, size_t N> struct remove_all_extents<T[N]> : remove_all_extents<T> {};
template <class T> struct add_const { typedef const T type; };
template <class T> struct add_volatile { typedef volatile T type; };
template <class T> struct add_cv { typedef const volatile T type; };
template <class T> struct add_lvalue_reference { typedef T &type; };
template <class T> struct add_rvalue_reference { typedef T &&type; };
template <class T> struct add_pointer { typedef typename sm::remove_reference<T>::type *type; };
template <class T> struct remove_addrspace { typedef T type; }; // there is one
template <class T> struct remove_cvref { typedef sm::remove_cvref<T> type; };
SM_TYPE_TRAIT(remove_cv)
SM_TYPE_TRAIT(remove_const)
SM_TYPE_TRAIT(remove_volatile)
SM_TYPE_TRAIT(remove_reference)
SM_TYPE_TRAIT(remove_pointer)
SM_TYPE_TRAIT(remove_extent)
SM_TYPE_TRAIT(remove_all_extents)
SM_TYPE_TRAIT(remove_addrspace)
SM_TYPE_TRAIT(remove_cvref)
SM_TYPE_TRAIT(add_const)
SM_TYPE_TRAIT(add_volatile)
SM_TYPE_TRAIT(add_cv)
SM_TYPE_TRAIT(add_lvalue_reference)
SM_TYPE_TRAIT(add_rvalue_reference)
SM_TYPE_TRAIT(add_pointer)

SM_TRAIT_2(is_same, sm::is_same<A, B>)
SM_TRAIT_2(is_base_of, __is_base_of(A, B))
SM_TRAIT(is_void, sm::is_same<remove_cv_t<T>, void>)
SM_TRAIT(is_floating_point, sm::is_real<remove_cv_t<T>> || sm::is_bfloat<remove_cv_t<T>>)
SM_TRAIT(is_integral, sm::is_whole<remove_cv_t<T>>)
SM_TRAIT(is_arithmetic, sm::shape<remove_cv_t<T>>::size == 1)
SM_TRAIT(is_const, sm::is_const<T>)
template <class T> struct is_pointer : false_type {};
template <class T> struct is_pointer<T *> : true_type {};
template <class T> struct is_pointer<T *const> : true_type {};
template <class T> struct is_lvalue_reference : false_type {};
template <class T> struct is_lvalue_reference<T &> : true_type {};
template <class T> struct is_rvalue_reference : false_type {};
template <class T> struct is_rvalue_reference<T &&> : true_type {};
template <class T> struct is_volatile : false_type {};
template <class T> struct is_volatile<volatile T> : true_type {};
template <class T> struct is_array : false_type {};
template <class T> struct is_array<T[]> : true_type {};
template <class T, size_t N> struct is_array<T[N]> : true_type {};
template <class T> struct is_function : false_type {};
template <class R, class... P> struct is_function<R(P...)> : true_type {};
template <class T> inline constexpr bool is_pointer_v = is_pointer<T>::value;
template <class T> inline constexpr bool is_lvalue_reference_v = is_lvalue_reference<T>::value;
template <class T> inline constexpr bool is_rvalue_reference_v = is_rvalue_reference<T>::value;
template <class T> inline constexpr bool is_volatile_v = is_volatile<T>::value;
template <class T> inline constexpr bool is_array_v = is_array<T>::value;
template <class T> inline constexpr bool is_function_v = is_function<T>::value;
SM_TRAIT(is_reference, is_lvalue_reference<T>::value || is_rvalue_reference<T>::value)
SM_TRAIT(is_enum, __is_enum(T))
SM_TRAIT(is_class, __is_class(T))
SM_TRAIT(is_union, __is_union(T))
SM_TRAIT(is_polymorphic, __is_polymorphic(T))
SM_TRAIT(is_abstract, __is_abstract(T))
SM_TRAIT(is_final, __is_final(T))
SM_TRAIT(is_standard_layout, __is_standard_layout(T))
SM_TRAIT(is_trivially_copyable, __is_trivially_copyable(T))
SM_TRAIT(is_trivial, __is_trivial(T))
SM_TRAIT(is_scalar, is_arithmetic<T>::value || is_pointer<T>::value || __is_enum(T))
SM_TRAIT(is_fundamental, is_arithmetic<T>::value || is_void<T>::value)

namespace detail
{
template <class T, bool Number = is_arithmetic_v<T>> struct sign : false_type {};
template <class T> struct sign<T, true> : bool_constant<T(-1) < T(0)> {};
template <class From, class To> auto converts(int) -> decltype((void)((void (*)(To)) nullptr)(((From(*)()) nullptr)()), true_type());
template <class From, class To> false_type converts(...);
} // namespace detail
SM_TRAIT(is_signed, detail::sign<remove_cv_t<T>>::value)
SM_TRAIT(is_unsigned, is_arithmetic<T>::value && !detail::sign<remove_cv_t<T>>::value)
template <class From, class To>
struct is_convertible : decltype(detail::converts<From, To>(0)) {};
template <class From, class To> inline constexpr bool is_convertible_v = is_convertible<From, To>::value;
template <class T, class... A> struct is_constructible : bool_constant<__is_constructible(T, A...)> {};
template <class T, class... A> inline constexpr bool is_constructible_v = __is_constructible(T, A...);

template <class T> struct rank : integral_constant<size_t, 0> {};
template <class T> struct rank<T[]> : integral_constant<size_t, rank<T>::value + 1> {};
template <class T, size_t N> struct rank<T[N]> : integral_constant<size_t, rank<T>::value + 1> {};
template <class T, unsigned I = 0> struct extent : integral_constant<size_t, 0> {};
template <class T, size_t N> struct extent<T[N], 0> : integral_constant<size_t, N> {};
template <class T, size_t N, unsigned I> struct extent<T[N], I> : extent<T, I - 1> {};
template <class T> inline constexpr size_t rank_v = rank<T>::value;
template <class T, unsigned I = 0> inline constexpr size_t extent_v = extent<T, I>::value;

template <class T> struct make_unsigned { typedef T type; };
template <class T> struct make_signed { typedef T type; };
#define SM_SIGNS(S, U)                                                                                                \
    template <> struct make_unsigned<S> { typedef U type; };                                                          \
    template <> struct make_signed<U> { typedef S type; };
SM_SIGNS(char, uchar)
SM_SIGNS(short, ushort)
SM_SIGNS(int, uint)
SM_SIGNS(long, ulong)
template <> struct make_unsigned<signed char> { typedef uchar type; };
template <class T, int N> struct make_unsigned<vec<T, N>> { typedef vec<typename make_unsigned<T>::type, N> type; };
template <class T, int N> struct make_signed<vec<T, N>> { typedef vec<typename make_signed<T>::type, N> type; };
SM_TYPE_TRAIT(make_unsigned)
SM_TYPE_TRAIT(make_signed)
template <class T> struct underlying_type { typedef __underlying_type(T) type; };
SM_TYPE_TRAIT(underlying_type)

template <class T> struct decay {
    typedef typename sm::remove_reference<T>::type U;
    typedef conditional_t<is_array<U>::value, typename remove_extent<U>::type *,
                          conditional_t<is_function<U>::value, add_pointer_t<U>, remove_cv_t<U>>>
        type;
};
SM_TYPE_TRAIT(decay)
template <class... T> struct common_type;
template <class T> struct common_type<T> { typedef decay_t<T> type; };
template <class A, class B> struct common_type<A, B> { typedef decay_t<decltype(true ? A() : B())> type; };
template <class A, class B, class... C> struct common_type<A, B, C...> : common_type<typename common_type<A, B>::type, C...> {};
template <class... T> using common_type_t = typename common_type<T...>::type;

template <class... T> struct conjunction : bool_constant<(T::value && ...)> {};
template <class... T> struct disjunction : bool_constant<(T::value || ...)> {};
template <class T> struct negation : bool_constant<!T::value> {};
template <class... T> using _conjunction = conjunction<T...>;
template <class... T> using _disjunction = disjunction<T...>;
template <class... T> inline constexpr bool conjunction_v = conjunction<T...>::value;
template <class... T> inline constexpr bool disjunction_v = disjunction<T...>::value;
template <class T> inline constexpr bool negation_v = negation<T>::value;

template <class T> T &&declval() noexcept;
template <class F, class... A> struct result_of;
template <class F, class... A> struct result_of<F(A...)> { typedef decltype(declval<F>()(declval<A>()...)) type; };
template <class F, class... A> struct invoke_result { typedef decltype(declval<F>()(declval<A>()...)) type; };
template <class F, class... A> using invoke_result_t = typename invoke_result<F, A...>::type;

template <class T> SM_INLINE constexpr void swap(T &a, T &b)
{
    T t = a;
    a = b;
    b = t;
}
template <class T> SM_INLINE T *addressof(T &x) { return __builtin_addressof(x); }

// An integer sequence, for packs.
template <class T, T... I> struct integer_sequence {
    typedef T value_type;
    static constexpr size_t size() { return sizeof...(I); }
};
template <size_t... I> using index_sequence = integer_sequence<size_t, I...>;
#if defined(__clang__)
template <class T, T N> using make_integer_sequence = __make_integer_seq<integer_sequence, T, N>;
#else
template <class T, T N> using make_integer_sequence = integer_sequence<T, __integer_pack(N)...>;
#endif
template <size_t N> using make_index_sequence = make_integer_sequence<size_t, N>;
} // namespace metal

#endif
