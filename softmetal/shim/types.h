// Scalar types, and the few traits that the other headers need. Nothing of the C++ library is included: parsing it takes longer than
// parsing all of this.
#ifndef SOFTMETAL_SHIM_TYPES_H
#define SOFTMETAL_SHIM_TYPES_H

#include "services.h"

#include <stddef.h>
#include <stdint.h>

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;

#define SM_INLINE inline __attribute__((always_inline))
// Code that looks at other lanes' stacks, or that tells the checker itself what it touches, is not to be instrumented.
#if defined(SOFTMETAL_CHECKED) && defined(__clang__)
#define SM_UNCHECKED __attribute__((disable_sanitizer_instrumentation))
#elif defined(SOFTMETAL_CHECKED)
#define SM_UNCHECKED __attribute__((no_sanitize("thread")))
#else
#define SM_UNCHECKED
#endif

namespace sm
{
// The line of a call, which a default argument finds out. No number turns into one.
struct source_line {
    uint32_t number;
    explicit constexpr source_line(uint32_t n) : number(n) {}
};

template <bool Condition, class T = void> struct enable_if {};
template <class T> struct enable_if<true, T> { typedef T type; };
template <bool Condition, class T = void> using enable_if_t = typename enable_if<Condition, T>::type;

template <bool Condition, class A, class B> struct conditional { typedef A type; };
template <class A, class B> struct conditional<false, A, B> { typedef B type; };
template <bool Condition, class A, class B> using conditional_t = typename conditional<Condition, A, B>::type;

template <class A, class B> inline constexpr bool is_same = false;
template <class A> inline constexpr bool is_same<A, A> = true;

template <class T> struct remove_reference { typedef T type; };
template <class T> struct remove_reference<T &> { typedef T type; };
template <class T> struct remove_reference<T &&> { typedef T type; };
template <class T> struct remove_cv { typedef T type; };
template <class T> struct remove_cv<const T> { typedef T type; };
template <class T> struct remove_cv<volatile T> { typedef T type; };
template <class T> struct remove_cv<const volatile T> { typedef T type; };
template <class T> using remove_cvref = typename remove_cv<typename remove_reference<T>::type>::type;
template <class T> inline constexpr bool is_reference = false;
template <class T> inline constexpr bool is_reference<T &> = true;
template <class T> struct remove_pointer { typedef T type; };
template <class T> struct remove_pointer<T *> { typedef T type; };
template <class T> struct remove_pointer<T *const> { typedef T type; };
template <class T> inline constexpr bool is_array = false;
template <class T, size_t N> inline constexpr bool is_array<T[N]> = true;
template <class T> inline constexpr bool is_const = false;
template <class T> inline constexpr bool is_const<const T> = true;
} // namespace sm

#endif
