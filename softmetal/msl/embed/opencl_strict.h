// The Metal library as declarations for clang's C++ for OpenCL 2021: the strict check compiles MSL against this, for its rules
// alone. Nothing of it is ever run. Address spaces are OpenCL's; vectors are clang's own, so that only conversions that MSL has
// are implicit.
#pragma once

#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#pragma OPENCL EXTENSION __cl_clang_function_pointers : enable

#define device __global
#define constant __constant
#define threadgroup __local
#define thread __private
#define METAL_FUNC inline __attribute__((always_inline))
#define METAL_INTERNAL inline
// Known to the compiler in OpenCL as something else.
#define atomic_int sm_atomic_int
#define atomic_uint sm_atomic_uint
#define atomic_long sm_atomic_long
#define atomic_ulong sm_atomic_ulong
#define atomic_float sm_atomic_float
#define atomic_flag sm_atomic_flag
#define event_t sm_event

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long uint64_t;
typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef long int64_t;
typedef unsigned long size_t;
typedef long ptrdiff_t;
typedef unsigned long uintptr_t;
typedef long intptr_t;
typedef __bf16 bfloat;

#define SM_VECTORS(T, name)                                                                                                    \
    typedef T name##2 __attribute__((ext_vector_type(2)));                                                                     \
    typedef T name##3 __attribute__((ext_vector_type(3)));                                                                     \
    typedef T name##4 __attribute__((ext_vector_type(4)));
SM_VECTORS(int, bool) // what comparisons of 32 bits give
SM_VECTORS(char, char)
SM_VECTORS(uchar, uchar)
SM_VECTORS(short, short)
SM_VECTORS(ushort, ushort)
SM_VECTORS(int, int)
SM_VECTORS(uint, uint)
SM_VECTORS(long, long)
SM_VECTORS(ulong, ulong)
SM_VECTORS(half, half)
SM_VECTORS(float, float)
SM_VECTORS(bfloat, bfloat)

#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#define HUGE_VALF __builtin_inff()
#define MAXFLOAT __FLT_MAX__
#define FLT_MAX __FLT_MAX__
#define FLT_MIN __FLT_MIN__
#define FLT_EPSILON __FLT_EPSILON__
#define HALF_MAX 65504.0h
#define MAXHALF 65504.0h
#define HUGE_VALH __builtin_inff16()
#define HALF_MIN 6.103515625e-05h
#define HALF_EPSILON 0.0009765625h
#define INT_MAX 2147483647
#define INT_MIN (-2147483647 - 1)
#define UINT_MAX 4294967295u
#define SHRT_MAX 32767
#define SHRT_MIN (-32768)
#define USHRT_MAX 65535
#define CHAR_MAX 127
#define CHAR_MIN (-128)
#define SCHAR_MAX 127
#define UCHAR_MAX 255
#define CHAR_BIT 8
#define LONG_MAX 9223372036854775807L
#define LONG_MIN (-9223372036854775807L - 1)
#define ULONG_MAX 18446744073709551615UL
#define INT8_MAX 127
#define INT8_MIN (-128)
#define INT16_MAX 32767
#define INT16_MIN (-32768)
#define INT32_MAX INT_MAX
#define INT32_MIN INT_MIN
#define UINT8_MAX 255
#define UINT16_MAX 65535
#define UINT32_MAX UINT_MAX
#define M_PI_F 3.14159265358979323846f
#define M_PI_2_F 1.57079632679489661923f
#define M_PI_4_F 0.78539816339744830962f
#define M_1_PI_F 0.31830988618379067154f
#define M_2_PI_F 0.63661977236758134308f
#define M_2_SQRTPI_F 1.12837916709551257390f
#define M_E_F 2.71828182845904523536f
#define M_LOG2E_F 1.44269504088896340736f
#define M_LOG10E_F 0.43429448190325182765f
#define M_LN2_F 0.69314718055994530942f
#define M_LN10_F 2.30258509299404568402f
#define M_SQRT2_F 1.41421356237309504880f
#define M_SQRT1_2_F 0.70710678118654752440f
#define M_PI_H 3.140625h
#define assert(...) ((void)(__VA_ARGS__))

// ---- What the rewriter puts in the place of forms that OpenCL does not have.

template <class T> struct sm_is_vector {
    static constexpr __constant int size = 0;
    typedef T scalar;
};
template <class T, int N> struct sm_is_vector<T __attribute__((ext_vector_type(N)))> {
    static constexpr __constant int size = N;
    typedef T scalar;
};
template <class T> constexpr int sm_size()
{
    return sm_is_vector<T>::size ? sm_is_vector<T>::size : 1;
}

// float4(a, b, …): as many components as the vector has, or one for all, or a vector of another type.
template <class V, class... A> constexpr V sm_make(A...)
{
    constexpr int given = (0 + ... + sm_size<A>());
    static_assert(sizeof...(A) <= 1 || given >= sm_size<V>(), "too few components for this vector");
    static_assert(given <= sm_size<V>(), "too many components for this vector");
    static_assert(sizeof...(A) != 1 || given == 1 || given == sm_size<V>(), "a vector of another size");
    return V{};
}

// static_cast<T>(x) and (T)x where T may be a vector.
template <class T, class A> constexpr T sm_cast(A a)
{
    if constexpr (sm_is_vector<T>::size != 0) {
        static_assert(sm_size<A>() == 1 || sm_size<A>() == sm_size<T>(), "a conversion between vectors of different sizes");
        return T{};
    } else {
        return static_cast<T>(a);
    }
}

// T(a, b, …) where T may be a vector.
template <class T, class... A> constexpr T sm_construct(A... a)
{
    if constexpr (sm_is_vector<T>::size != 0)
        return sm_make<T>(a...);
    else
        return T(a...);
}

// threadgroup T name[n]; inside of a kernel
struct sm_threadgroup_memory {
    template <class T> operator __local T &() const;
};

namespace metal
{

using ::bfloat;
using ::int16_t;
using ::int32_t;
using ::int64_t;
using ::int8_t;
using ::ptrdiff_t;
using ::size_t;
using ::uchar;
using ::uint;
using ::uint16_t;
using ::uint32_t;
using ::uint64_t;
using ::uint8_t;
using ::ulong;
using ::ushort;
typedef half half_t;
#define SM_USE(name)                                                                                                           \
    using ::name##2;                                                                                                           \
    using ::name##3;                                                                                                           \
    using ::name##4;
SM_USE(bool)
SM_USE(char) SM_USE(uchar) SM_USE(short) SM_USE(ushort) SM_USE(int) SM_USE(uint) SM_USE(long) SM_USE(ulong) SM_USE(half)
    SM_USE(float) SM_USE(bfloat)

        template <class T, int N>
        using vec = T __attribute__((ext_vector_type(N)));

template <class T, int N> struct packed_vec {
    T x, y;
    packed_vec() = default;
    packed_vec(vec<T, N>);
    packed_vec(vec<T, N>) __constant;
    operator vec<T, N>() const;
    operator vec<T, N>() const __constant;
    T operator[](int) const;
    T operator[](int) const __constant;
    T &operator[](int);
};
template <class T> struct packed_vec<T, 3> {
    T x, y, z;
    packed_vec() = default;
    packed_vec(vec<T, 3>);
    packed_vec(T, T, T);
    operator vec<T, 3>() const;
    operator vec<T, 3>() const __constant;
    T operator[](int) const;
    T operator[](int) const __constant;
    T &operator[](int);
};
template <class T> struct packed_vec<T, 4> {
    T x, y, z, w;
    packed_vec() = default;
    packed_vec(vec<T, 4>);
    packed_vec(T, T, T, T);
    operator vec<T, 4>() const;
    operator vec<T, 4>() const __constant;
    T operator[](int) const;
    T operator[](int) const __constant;
    T &operator[](int);
};

template <class T, size_t N> struct array {
    T elements[N];
    constexpr T &operator[](size_t i) { return elements[i]; }
    constexpr const T &operator[](size_t i) const { return elements[i]; }
    constexpr const __constant T &operator[](size_t i) const __constant { return elements[i]; }
    static constexpr size_t size() { return N; }
};

template <class T, int C, int R> struct matrix {
    vec<T, R> columns[C];
    matrix() = default;
    explicit matrix(T);
    template <class... A> matrix(vec<T, R>, A...);
    vec<T, R> &operator[](int);
    const vec<T, R> &operator[](int) const;
    const __constant vec<T, R> &operator[](int) const __constant;
};
template <class T, int C, int R> vec<T, R> operator*(matrix<T, C, R>, vec<T, C>);
template <class T, int C, int R> vec<T, C> operator*(vec<T, R>, matrix<T, C, R>);
template <class T, int C, int R, int K> matrix<T, K, R> operator*(matrix<T, C, R>, matrix<T, K, C>);
template <class T, int C, int R> matrix<T, C, R> operator*(matrix<T, C, R>, T);
template <class T, int C, int R> matrix<T, C, R> operator*(T, matrix<T, C, R>);
template <class T, int C, int R> matrix<T, C, R> operator+(matrix<T, C, R>, matrix<T, C, R>);
template <class T, int C, int R> matrix<T, C, R> operator-(matrix<T, C, R>, matrix<T, C, R>);
template <class T, int C, int R> matrix<T, R, C> transpose(matrix<T, C, R>);
template <class T, int C> T determinant(matrix<T, C, C>);

// ---- Types about types.

template <class T, T V> struct integral_constant {
    static constexpr __constant T value = V;
    typedef T value_type;
    constexpr operator T() const { return V; }
};
template <bool B> using bool_constant = integral_constant<bool, B>;
typedef bool_constant<true> true_type;
typedef bool_constant<false> false_type;
template <bool B, class T = void> struct enable_if {
};
template <class T> struct enable_if<true, T> {
    typedef T type;
};
template <bool B, class T = void> using enable_if_t = typename enable_if<B, T>::type;
template <bool B, class X, class Y> struct conditional {
    typedef X type;
};
template <class X, class Y> struct conditional<false, X, Y> {
    typedef Y type;
};
template <bool B, class X, class Y> using conditional_t = typename conditional<B, X, Y>::type;
template <class X, class Y> struct is_same : false_type {
};
template <class X> struct is_same<X, X> : true_type {
};
template <class X, class Y> constexpr __constant bool is_same_v = is_same<X, Y>::value;
#define SM_REMOVE(name, ...)                                                                                                   \
    template <class T> struct name {                                                                                           \
        typedef __VA_ARGS__ type;                                                                                              \
    };                                                                                                                         \
    template <class T> using name##_t = typename name<T>::type;
SM_REMOVE(remove_const, __remove_const(T))
SM_REMOVE(remove_volatile, __remove_volatile(T)) SM_REMOVE(remove_cv, __remove_cv(T))
    SM_REMOVE(remove_reference, __remove_reference_t(T)) SM_REMOVE(remove_pointer, __remove_pointer(T))
        SM_REMOVE(decay, __decay(T)) SM_REMOVE(make_unsigned, __make_unsigned(T))
            SM_REMOVE(make_signed, __make_signed(T)) template <class T>
            struct remove_addrspace {
    typedef T type;
};
template <class T> struct remove_addrspace<__global T> {
    typedef T type;
};
template <class T> struct remove_addrspace<__local T> {
    typedef T type;
};
template <class T> struct remove_addrspace<__constant T> {
    typedef T type;
};
template <class T> struct remove_addrspace<__private T> {
    typedef T type;
};
template <class T> using remove_addrspace_t = typename remove_addrspace<T>::type;
#define SM_TRAIT(name, ...)                                                                                                    \
    template <class T> struct name : bool_constant<(__VA_ARGS__)> {                                                            \
    };                                                                                                                         \
    template <class T> constexpr __constant bool name##_v = name<T>::value;
SM_TRAIT(is_integral, __is_integral(T))
SM_TRAIT(is_floating_point, __is_floating_point(T)) SM_TRAIT(is_arithmetic, __is_arithmetic(T))
    SM_TRAIT(is_signed, __is_signed(T)) SM_TRAIT(is_unsigned, __is_unsigned(T)) SM_TRAIT(is_pointer, __is_pointer(T))
        SM_TRAIT(is_reference, __is_reference(T)) SM_TRAIT(is_class, __is_class(T)) SM_TRAIT(is_enum, __is_enum(T))
            SM_TRAIT(is_const, __is_const(T)) SM_TRAIT(is_void, __is_void(T))
                SM_TRAIT(is_scalar, __is_scalar(T)) template <class From, class To>
                struct is_convertible : bool_constant<__is_convertible(From, To)> {
};
template <class From, class To> constexpr __constant bool is_convertible_v = is_convertible<From, To>::value;
template <class T> struct make_scalar {
    typedef typename sm_is_vector<T>::scalar type;
};
template <class T> using make_scalar_t = typename make_scalar<T>::type;
template <class...> using void_t = void;
template <class T> T declval();
template <class T> struct numeric_limits {
    static constexpr T max() { return T{}; }
    static constexpr T min() { return T{}; }
    static constexpr T lowest() { return T{}; }
    static constexpr T infinity() { return T{}; }
    static constexpr T quiet_NaN() { return T{}; }
    static constexpr T epsilon() { return T{}; }
    static constexpr T denorm_min() { return T{}; }
    static constexpr __constant int digits = 0, max_digits10 = 0, radix = 2;
    static constexpr __constant bool is_signed = __is_signed(T), is_integer = __is_integral(T);
};

// ---- Functions. No templates where MSL has none: a call with mixed types is as ambiguous here as it is there.

#define SM_EACH(F, T) F(T, 1, T, bool) F(T##2, 2, T, bool2) F(T##3, 3, T, bool3) F(T##4, 4, T, bool4)
#define SM_FLOATS(F) SM_EACH(F, float) SM_EACH(F, half) SM_EACH(F, bfloat)
#define SM_INTEGERS(F)                                                                                                         \
    SM_EACH(F, char)                                                                                                           \
    SM_EACH(F, uchar) SM_EACH(F, short) SM_EACH(F, ushort) SM_EACH(F, int) SM_EACH(F, uint) SM_EACH(F, long) SM_EACH(F, ulong)

#define SM_MATH(T, n, S, B)                                                                                                    \
    T acos(T);                                                                                                                 \
    T acosh(T);                                                                                                                \
    T asin(T);                                                                                                                 \
    T asinh(T);                                                                                                                \
    T atan(T);                                                                                                                 \
    T atanh(T);                                                                                                                \
    T ceil(T);                                                                                                                 \
    T cos(T);                                                                                                                  \
    T cosh(T);                                                                                                                 \
    T cospi(T);                                                                                                                \
    T exp(T);                                                                                                                  \
    T exp2(T);                                                                                                                 \
    T exp10(T);                                                                                                                \
    T fabs(T);                                                                                                                 \
    T floor(T);                                                                                                                \
    T fract(T);                                                                                                                \
    T log(T);                                                                                                                  \
    T log2(T);                                                                                                                 \
    T log10(T);                                                                                                                \
    T rint(T);                                                                                                                 \
    T round(T);                                                                                                                \
    T rsqrt(T);                                                                                                                \
    T sin(T);                                                                                                                  \
    T sinh(T);                                                                                                                 \
    T sinpi(T);                                                                                                                \
    T sqrt(T);                                                                                                                 \
    T tan(T);                                                                                                                  \
    T tanh(T);                                                                                                                 \
    T tanpi(T);                                                                                                                \
    T trunc(T);                                                                                                                \
    T atan2(T, T);                                                                                                             \
    T copysign(T, T);                                                                                                          \
    T fdim(T, T);                                                                                                              \
    T fmax(T, T);                                                                                                              \
    T fmin(T, T);                                                                                                              \
    T fmod(T, T);                                                                                                              \
    T pow(T, T);                                                                                                               \
    T powr(T, T);                                                                                                              \
    T nextafter(T, T);                                                                                                         \
    T fma(T, T, T);                                                                                                            \
    T fmax3(T, T, T);                                                                                                          \
    T fmin3(T, T, T);                                                                                                          \
    T fmedian3(T, T, T);                                                                                                       \
    T divide(T, T);                                                                                                            \
    T sincos(T, __private T &);
namespace precise
{
SM_FLOATS(SM_MATH)
}
namespace fast
{
SM_FLOATS(SM_MATH)
}
SM_FLOATS(SM_MATH)

#define SM_COMMON(T, n, S, B)                                                                                                  \
    T abs(T);                                                                                                                  \
    T min(T, T);                                                                                                               \
    T max(T, T);                                                                                                               \
    T clamp(T, T, T);                                                                                                          \
    T min3(T, T, T);                                                                                                           \
    T max3(T, T, T);                                                                                                           \
    T median3(T, T, T);
SM_FLOATS(SM_COMMON)
SM_INTEGERS(SM_COMMON)
#define SM_FLOAT_COMMON(T, n, S, B)                                                                                            \
    T mix(T, T, T);                                                                                                            \
    T saturate(T);                                                                                                             \
    T sign(T);                                                                                                                 \
    T smoothstep(T, T, T);                                                                                                     \
    T step(T, T);
SM_FLOATS(SM_FLOAT_COMMON)
namespace precise
{
SM_FLOATS(SM_COMMON) SM_FLOATS(SM_FLOAT_COMMON)
}
namespace fast
{
SM_FLOATS(SM_COMMON) SM_FLOATS(SM_FLOAT_COMMON)
}
#define SM_MIXED(V, S)                                                                                                         \
    V min(V, S);                                                                                                               \
    V max(V, S);                                                                                                               \
    V clamp(V, S, S);                                                                                                          \
    V mix(V, V, S);                                                                                                            \
    V fmax(V, S);                                                                                                              \
    V fmin(V, S);                                                                                                              \
    V pow(V, S);
#define SM_MIXED_ALL(S) SM_MIXED(S##2, S) SM_MIXED(S##3, S) SM_MIXED(S##4, S)
SM_MIXED_ALL(float)
SM_MIXED_ALL(half)

#define SM_INTEGER(T, n, S, B)                                                                                                 \
    T addsat(T, T);                                                                                                            \
    T subsat(T, T);                                                                                                            \
    T mulhi(T, T);                                                                                                             \
    T madhi(T, T, T);                                                                                                          \
    T madsat(T, T, T);                                                                                                         \
    T hadd(T, T);                                                                                                              \
    T rhadd(T, T);                                                                                                             \
    T clz(T);                                                                                                                  \
    T ctz(T);                                                                                                                  \
    T popcount(T);                                                                                                             \
    T rotate(T, T);                                                                                                            \
    T reverse_bits(T);                                                                                                         \
    T extract_bits(T, uint, uint);                                                                                             \
    T insert_bits(T, T, uint, uint);                                                                                           \
    T absdiff(T, T);
    SM_INTEGERS(SM_INTEGER) int mul24(int, int);
uint mul24(uint, uint);
int mad24(int, int, int);
uint mad24(uint, uint, uint);

#define SM_RELATIONAL(T, n, S, B)                                                                                              \
    B isfinite(T);                                                                                                             \
    B isinf(T);                                                                                                                \
    B isnan(T);                                                                                                                \
    B isnormal(T);                                                                                                             \
    B signbit(T);                                                                                                              \
    B isordered(T, T);                                                                                                         \
    B isunordered(T, T);
SM_FLOATS(SM_RELATIONAL)
#define SM_SELECT(T, n, S, B) T select(T, T, B);
SM_FLOATS(SM_SELECT)
SM_INTEGERS(SM_SELECT)
bool any(bool);
bool all(bool);
#define SM_ANY(T, n, S, B)                                                                                                     \
    bool any(T);                                                                                                               \
    bool all(T);
SM_EACH(SM_ANY, char)
SM_EACH(SM_ANY, short) SM_EACH(SM_ANY, int) SM_EACH(SM_ANY, long)

#define SM_GEOMETRIC(T)                                                                                                        \
    T dot(T##2, T##2);                                                                                                         \
    T dot(T##3, T##3);                                                                                                         \
    T dot(T##4, T##4);                                                                                                         \
    T length(T##2);                                                                                                            \
    T length(T##3);                                                                                                            \
    T length(T##4);                                                                                                            \
    T length_squared(T##2);                                                                                                    \
    T length_squared(T##3);                                                                                                    \
    T length_squared(T##4);                                                                                                    \
    T distance(T##2, T##2);                                                                                                    \
    T distance(T##3, T##3);                                                                                                    \
    T distance(T##4, T##4);                                                                                                    \
    T##2 normalize(T##2);                                                                                                      \
    T##3 normalize(T##3);                                                                                                      \
    T##4 normalize(T##4);                                                                                                      \
    T##3 cross(T##3, T##3);                                                                                                    \
    T##2 reflect(T##2, T##2);                                                                                                  \
    T##3 reflect(T##3, T##3);
    SM_GEOMETRIC(float) SM_GEOMETRIC(half) SM_GEOMETRIC(bfloat)

        float ldexp(float, int);
half ldexp(half, int);
float frexp(float, __private int &);
float modf(float, __private float &);
int ilogb(float);
float4 unpack_unorm4x8_to_float(uint);
float4 unpack_snorm4x8_to_float(uint);
float2 unpack_unorm2x16_to_float(uint);
float2 unpack_snorm2x16_to_float(uint);
half4 unpack_unorm4x8_to_half(uint);
half4 unpack_snorm4x8_to_half(uint);
uint pack_float_to_unorm4x8(float4);
uint pack_float_to_snorm4x8(float4);
uint pack_float_to_unorm2x16(float2);
uint pack_float_to_snorm2x16(float2);

// ---- Threads together.

enum class mem_flags {
    mem_none = 0,
    mem_device = 1,
    mem_threadgroup = 2,
    mem_texture = 4,
    mem_threadgroup_imageblock = 8,
    mem_object_data = 16
};
constexpr mem_flags operator|(mem_flags a, mem_flags b)
{
    return static_cast<mem_flags>(static_cast<int>(a) | static_cast<int>(b));
}
enum memory_order {
    memory_order_relaxed,
    memory_order_acquire,
    memory_order_release,
    memory_order_acq_rel,
    memory_order_seq_cst
};
enum thread_scope { thread_scope_thread, thread_scope_simdgroup, thread_scope_threadgroup, thread_scope_device };
void threadgroup_barrier(mem_flags);
void threadgroup_barrier(mem_flags, thread_scope);
void simdgroup_barrier(mem_flags);
void atomic_thread_fence(mem_flags, memory_order, thread_scope = thread_scope_device);

#define SM_GROUP(prefix)                                                                                                       \
    template <class T> T prefix##_sum(T);                                                                                      \
    template <class T> T prefix##_product(T);                                                                                  \
    template <class T> T prefix##_min(T);                                                                                      \
    template <class T> T prefix##_max(T);                                                                                      \
    template <class T> T prefix##_and(T);                                                                                      \
    template <class T> T prefix##_or(T);                                                                                       \
    template <class T> T prefix##_xor(T);                                                                                      \
    template <class T> T prefix##_prefix_inclusive_sum(T);                                                                     \
    template <class T> T prefix##_prefix_exclusive_sum(T);                                                                     \
    template <class T> T prefix##_prefix_inclusive_product(T);                                                                 \
    template <class T> T prefix##_prefix_exclusive_product(T);                                                                 \
    template <class T> T prefix##_broadcast(T, ushort);                                                                        \
    template <class T> T prefix##_broadcast_first(T);                                                                          \
    template <class T> T prefix##_shuffle(T, ushort);                                                                          \
    template <class T> T prefix##_shuffle_xor(T, ushort);                                                                      \
    template <class T> T prefix##_shuffle_up(T, ushort);                                                                       \
    template <class T> T prefix##_shuffle_down(T, ushort);                                                                     \
    template <class T> T prefix##_shuffle_rotate_up(T, ushort);                                                                \
    template <class T> T prefix##_shuffle_rotate_down(T, ushort);                                                              \
    template <class T> T prefix##_shuffle_and_fill_up(T, T, ushort, ushort = 32);                                              \
    template <class T> T prefix##_shuffle_and_fill_down(T, T, ushort, ushort = 32);                                            \
    bool prefix##_all(bool);                                                                                                   \
    bool prefix##_any(bool);                                                                                                   \
    bool prefix##_is_first();                                                                                                  \
    prefix##_vote prefix##_ballot(bool);                                                                                       \
    prefix##_vote prefix##_active_threads_mask();
struct simd_vote {
    typedef ulong vote_t;
    explicit simd_vote(ulong = 0);
    explicit operator vote_t() const;
    bool all() const;
    bool any() const;
};
struct quad_vote {
    typedef ushort vote_t;
    explicit quad_vote(ushort = 0);
    explicit operator vote_t() const;
    bool all() const;
    bool any() const;
};
SM_GROUP(simd)
SM_GROUP(quad)

template <class T, int C, int R> struct simdgroup_matrix {
    simdgroup_matrix() = default;
    explicit simdgroup_matrix(T);
    __private vec<T, 2> &thread_elements() __private;
};
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
typedef simdgroup_matrix<bfloat, 8, 8> simdgroup_bfloat8x8;
template <class T, int C, int R> simdgroup_matrix<T, C, R> make_filled_simdgroup_matrix(T);
template <class T, int C, int R> simdgroup_matrix<T, C, R> make_diagonal_simdgroup_matrix(T);
#define SM_MATRIX_MEMORY(space)                                                                                                \
    template <class T, int C, int R>                                                                                           \
    void simdgroup_load(__private simdgroup_matrix<T, C, R> &, const space T *, ulong = C, ulong2 = {0, 0}, bool = false);     \
    template <class T, int C, int R>                                                                                           \
    void simdgroup_store(simdgroup_matrix<T, C, R>, space T *, ulong = C, ulong2 = {0, 0}, bool = false);
SM_MATRIX_MEMORY(__global)
SM_MATRIX_MEMORY(__local)
template <class D, class A, class B, int M, int N, int K>
void simdgroup_multiply(__private simdgroup_matrix<D, M, N> &, simdgroup_matrix<A, M, K>, simdgroup_matrix<B, K, N>);
template <class D, class A, class B, class S, int M, int N, int K>
void simdgroup_multiply_accumulate(__private simdgroup_matrix<D, M, N> &, simdgroup_matrix<A, M, K>, simdgroup_matrix<B, K, N>,
                                   simdgroup_matrix<S, M, N>);
template <class T, int M, int N, int K>
simdgroup_matrix<T, M, N> operator*(simdgroup_matrix<T, M, K>, simdgroup_matrix<T, K, N>);

template <class T> struct atomic {
    T sm_value;
};
typedef atomic<int> atomic_int;
typedef atomic<uint> atomic_uint;
typedef atomic<long> atomic_long;
typedef atomic<ulong> atomic_ulong;
typedef atomic<float> atomic_float;
typedef atomic<bool> atomic_bool;
// The type of the value is the atomic's, whatever is passed.
template <class T> struct sm_same {
    typedef T type;
};
#define SM_ATOMIC(space)                                                                                                       \
    template <class T> T atomic_load_explicit(const volatile space atomic<T> *, memory_order);                                 \
    template <class T> void atomic_store_explicit(volatile space atomic<T> *, typename sm_same<T>::type, memory_order);        \
    template <class T> T atomic_exchange_explicit(volatile space atomic<T> *, typename sm_same<T>::type, memory_order);        \
    template <class T>                                                                                                         \
    bool atomic_compare_exchange_weak_explicit(volatile space atomic<T> *, __private T *, typename sm_same<T>::type,           \
                                               memory_order, memory_order);
#define SM_ATOMIC_FETCH(space, op)                                                                                             \
    template <class T> T atomic_fetch_##op##_explicit(volatile space atomic<T> *, typename sm_same<T>::type, memory_order);
#define SM_ATOMIC_FETCHES(space)                                                                                               \
    SM_ATOMIC_FETCH(space, add)                                                                                                \
    SM_ATOMIC_FETCH(space, sub) SM_ATOMIC_FETCH(space, and) SM_ATOMIC_FETCH(space, or) SM_ATOMIC_FETCH(space, xor)             \
        SM_ATOMIC_FETCH(space, min) SM_ATOMIC_FETCH(space, max)
SM_ATOMIC(__global)
SM_ATOMIC(__local)
SM_ATOMIC_FETCHES(__global)
SM_ATOMIC_FETCHES(__local)
void atomic_min_explicit(volatile __global atomic_ulong *, ulong, memory_order);
void atomic_max_explicit(volatile __global atomic_ulong *, ulong, memory_order);

} // namespace metal

#define SM_PACKED(name, T)                                                                                                     \
    typedef metal::packed_vec<T, 2> packed_##name##2;                                                                          \
    typedef metal::packed_vec<T, 3> packed_##name##3;                                                                          \
    typedef metal::packed_vec<T, 4> packed_##name##4;
SM_PACKED(char, char)
SM_PACKED(uchar, uchar) SM_PACKED(short, short) SM_PACKED(ushort, ushort) SM_PACKED(int, int) SM_PACKED(uint, uint)
    SM_PACKED(half, half) SM_PACKED(float, float) SM_PACKED(bfloat, bfloat) SM_PACKED(long, long)
#define SM_MATRICES(name, T)                                                                                                   \
    typedef metal::matrix<T, 2, 2> name##2x2;                                                                                  \
    typedef metal::matrix<T, 2, 3> name##2x3;                                                                                  \
    typedef metal::matrix<T, 2, 4> name##2x4;                                                                                  \
    typedef metal::matrix<T, 3, 2> name##3x2;                                                                                  \
    typedef metal::matrix<T, 3, 3> name##3x3;                                                                                  \
    typedef metal::matrix<T, 3, 4> name##3x4;                                                                                  \
    typedef metal::matrix<T, 4, 2> name##4x2;                                                                                  \
    typedef metal::matrix<T, 4, 3> name##4x3;                                                                                  \
    typedef metal::matrix<T, 4, 4> name##4x4;
        SM_MATRICES(float, float) SM_MATRICES(half, half)

            template <class T, class U>
            T as_type(U)
{
    static_assert(sizeof(T) == sizeof(U), "as_type between types of different sizes");
    return T{};
}
namespace metal
{
using ::as_type;
#define SM_USE_PACKED(name)                                                                                                    \
    using ::packed_##name##2;                                                                                                  \
    using ::packed_##name##3;                                                                                                  \
    using ::packed_##name##4;
SM_USE_PACKED(char)
SM_USE_PACKED(uchar) SM_USE_PACKED(short) SM_USE_PACKED(ushort) SM_USE_PACKED(int) SM_USE_PACKED(uint) SM_USE_PACKED(half)
    SM_USE_PACKED(float) using ::float2x2;
using ::float2x3;
using ::float2x4;
using ::float3x2;
using ::float3x3;
using ::float3x4;
using ::float4x2;
using ::float4x3;
using ::float4x4;
using ::half2x2;
using ::half2x3;
using ::half2x4;
using ::half3x2;
using ::half3x3;
using ::half3x4;
using ::half4x2;
using ::half4x3;
using ::half4x4;
} // namespace metal
