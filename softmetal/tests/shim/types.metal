#include <metal_stdlib>
using namespace metal;

// The test defines TYPES(X): X(name) for each type that has a layout.
#define LAYOUT(name) out[n++] = sizeof(name), out[n++] = alignof(name);
kernel void layouts(device uint *out [[buffer(0)]])
{
    uint n = 0;
    TYPES(LAYOUT)
}

// SWIZZLES_2(X) …: X(name, elements, code) for every name of a vector of two, WRITES_2(X) … for those without a letter twice. A code is the
// elements as digits of four bits, the first lowest: of what is read from (0, 1, 2, 3), of what (0, 1, 2, 3) is when (10, 11, …) + 1 is
// written to it.
template <class T> __attribute__((noinline)) uint code_of(vec<T, 2> v) { return uint(v.x) | uint(v.y) << 4; }
template <class T> __attribute__((noinline)) uint code_of(vec<T, 3> v) { return uint(v.x) | uint(v.y) << 4 | uint(v.z) << 8; }
template <class T> __attribute__((noinline)) uint code_of(vec<T, 4> v)
{
    return uint(v.x) | uint(v.y) << 4 | uint(v.z) << 8 | uint(v.w) << 12;
}
#define READ(name, count, code) wrong += code_of(vec<T, count>(v.name)) != code;
#define WRITE(name, count, code)                                                                                      \
    w = v;                                                                                                            \
    w.name = first<T, count>(tens);                                                                                   \
    w.name += T(1);                                                                                                   \
    wrong += code_of(vec<T, size>(w)) != code;
template <class T, int N> vec<T, N> first(vec<T, 4> v)
{
    if constexpr (N == 2) return v.xy;
    else if constexpr (N == 3) return v.xyz;
    else return v;
}
#define ALL(verb, n, list, X)                                                                                         \
    template <class V, class T, int size> uint verb##_##n()                                                           \
    {                                                                                                                 \
        uint wrong = 0;                                                                                               \
        const vec<T, 4> tens(T(10), T(11), T(12), T(13));                                                             \
        V v, w;                                                                                                       \
        for (int i = 0; i < size; i++) v[i] = T(i);                                                                   \
        list(X)                                                                                                       \
        return wrong;                                                                                                 \
    }
ALL(read, 2, SWIZZLES_2, READ)
ALL(read, 3, SWIZZLES_3, READ)
ALL(read, 4, SWIZZLES_4, READ)
ALL(write, 2, WRITES_2, WRITE)
ALL(write, 3, WRITES_3, WRITE)
ALL(write, 4, WRITES_4, WRITE)
kernel void swizzles(device uint *out [[buffer(0)]])
{
    out[0] = read_2<float2, float, 2>(), out[1] = read_3<half3, half, 3>(), out[2] = read_4<float4, float, 4>();
    out[3] = write_2<int2, int, 2>(), out[4] = write_3<float3, float, 3>(), out[5] = write_4<ushort4, ushort, 4>();
}
kernel void packed_swizzles(device uint *out [[buffer(0)]])
{
    out[0] = read_3<packed_float3, float, 3>(), out[1] = write_3<packed_ushort3, ushort, 3>();
    out[2] = read_2<packed_int2, int, 2>(), out[3] = write_2<packed_half2, half, 2>();
    packed_float4 v(0, 1, 2, 3);
    v.wz = v.xy;
    out[4] = any(v != float4(0, 1, 1, 0)), out[5] = any(packed_short4(1).xyzw != short4(1));
}

// Scalars and vectors make a vector, in every way that they fit. out: a bit for each that is right.
#define RIGHT(condition) right += (condition) ? 1 : 0, all++;
kernel void constructors(device uint *out [[buffer(0)]])
{
    uint right = 0, all = 0;
    const float2 ab(1, 2), cd(3, 4);
    const float3 abc(1, 2, 3), bcd(2, 3, 4);
    const float4 expected = {1, 2, 3, 4};
#define FOUR(...) RIGHT(metal::all(float4(__VA_ARGS__) == expected)) RIGHT(metal::all(float4{__VA_ARGS__} == expected))
    FOUR(1.0f, 2.0f, 3.0f, 4.0f) FOUR(ab, 3.0f, 4.0f) FOUR(1.0f, bcd.xy, 4.0f) FOUR(1.0f, 2.0f, cd) FOUR(ab, cd) FOUR(abc, 4.0f) FOUR(1.0f, bcd)
    FOUR(expected) FOUR(expected.xy, expected.z, expected.w) FOUR(expected.xyzw)
    RIGHT(metal::all(float4(int4(1, 2, 3, 4)) == expected)) RIGHT(metal::all(float4(half2(ab), 3, uchar(4)) == expected))
    RIGHT(metal::all(float4(5) == float4(5, 5, 5, 5))) RIGHT(metal::all(float4() == 0.0f))
#define THREE(...) RIGHT(metal::all(float3(__VA_ARGS__) == abc))
    THREE(1, 2, 3) THREE(ab, 3) THREE(1, bcd.xy) THREE(abc) THREE(expected.xyz) THREE(int3(1, 2, 3)) THREE(packed_float3(1, 2, 3))
#define TWO(...) RIGHT(metal::all(float2(__VA_ARGS__) == ab))
    TWO(1, 2) TWO(ab) TWO(expected.xy) TWO(packed_float2(ab)) TWO(half2(1, 2))
    const float4 zeros = {1, 2};
    RIGHT(zeros.x == 1 && zeros.y == 2 && zeros.z == 0 && zeros.w == 0)
    const int4 truncated = int4(float4(1.9, -1.9, 2.5, -0.5));
    RIGHT(truncated.x == 1 && truncated.y == -1 && truncated.z == 2 && truncated.w == 0)
    const bool3 truths = bool3(int3(0, 5, -1));
    RIGHT(!truths.x && truths.y && truths.z)
    const uchar4 bytes = uchar4(int4(256, 257, -1, 5));
    RIGHT(bytes.x == 0 && bytes.y == 1 && bytes.z == 255 && bytes.w == 5)

    // Packed ones take and give the others.
    packed_float3 p = abc;
    p += 1.0f;
    p.z = 7;
    const float3 from_packed = p;
    RIGHT(from_packed.x == 2 && from_packed.y == 3 && from_packed.z == 7 && p[1] == 3)
    p = packed_float3(1, 2, 3);
    RIGHT(metal::all(p * 2.0f == float3(2, 4, 6)) && metal::all(p.zyx == float3(3, 2, 1)) && dot(p, float3(1)) == 6)
    packed_half2 ph = half2(1, 2);
    RIGHT(metal::all(ph == half2(1, 2)) && metal::all(packed_half2(3) == half2(3)))

    // Places in a vector.
    float4 v = expected;
    v.x = 9, v[1] = 8, v.b = 7;
    thread float &last = v.w;
    last = 6;
    RIGHT(metal::all(v == float4(9, 8, 7, 6)))
    v.xyz = v.zyx;
    RIGHT(metal::all(v == float4(7, 8, 9, 6)))
    v.xy = v.xy;
    float4 other = 1;
    const float4 fixed = v;
    other.xy = fixed.xy;
    RIGHT(metal::all(other == float4(7, 8, 1, 1)))
    auto copy = v.wz;
    v = 0;
    RIGHT(copy[0] == 6 && float2(copy).y == 9)
    float2 chosen = v.x == 0 ? expected.xy : cd;
    RIGHT(metal::all(chosen == ab))

    array<float, 3> list = {{1, 2, 3}};
    list[1] = 5;
    float sum = 0;
    for (float x : list) sum += x;
    RIGHT(sum == 9 && list.size() == 3)
    const uniform<int> same = make_uniform(5);
    RIGHT(same + 1 == 6)
    out[0] = right, out[1] = all;
}

// The same bits in other types.
kernel void as_types(device uint *out [[buffer(0)]], constant uint &word [[buffer(1)]])
{
    out[0] = as_type<uint>(as_type<float>(word));
    out[1] = as_type<uint>(as_type<half2>(word));
    out[2] = as_type<uint>(as_type<uchar4>(word).wzyx);
    out[3] = as_type<ushort2>(word).y;
    out[4] = uint(as_type<ushort>(as_type<half>(ushort(word))));
    out[5] = uint(as_type<ulong>(uint2(word, 7)) >> 32);
    out[6] = as_type<uint4>(float4(1, 2, 3, as_type<float>(word))).w;
    out[7] = as_type<uint3>(float3(0.5f)).z;
    out[8] = as_type<ushort>(as_type<bfloat>(ushort(word)));
    out[9] = uint(as_type<int>(word));
    constexpr float infinity = as_type<float>(0x7f800000u);
    static_assert(infinity == INFINITY, "");
}

// Arithmetic of 16 bits is rounded after every operation.
template <class T> void arithmetic(device const T *in, device T *out, device uint *flags, uint i)
{
    const T x = in[3 * i], y = in[3 * i + 1], z = in[3 * i + 2];
    out[8 * i] = x + y, out[8 * i + 1] = x - y, out[8 * i + 2] = x * y, out[8 * i + 3] = x / y, out[8 * i + 4] = x * y + z, out[8 * i + 5] = -x;
    T a = x;
    a += y, a *= z, a -= T(1), a /= T(3);
    out[8 * i + 6] = a;
    const vec<T, 4> v = vec<T, 4>(x, y, z, x) * y + z;
    out[8 * i + 7] = v.x;
    flags[i] = uint(x < y) | uint(x > y) << 1 | uint(x <= y) << 2 | uint(x >= y) << 3 | uint(x == y) << 4 | uint(x != y) << 5;
}
kernel void half_arithmetic(device const half *in [[buffer(0)]], device half *out [[buffer(1)]], device uint *flags [[buffer(2)]],
                            uint i [[thread_position_in_grid]])
{
    arithmetic(in, out, flags, i);
}
kernel void bfloat_arithmetic(device const bfloat *in [[buffer(0)]], device bfloat *out [[buffer(1)]], device uint *flags [[buffer(2)]],
                              uint i [[thread_position_in_grid]])
{
    arithmetic(in, out, flags, i);
}
kernel void conversions(device const float *in [[buffer(0)]], device half *halves [[buffer(1)]], device bfloat *bfloats [[buffer(2)]],
                        device float *back [[buffer(3)]], device int *whole [[buffer(4)]], uint i [[thread_position_in_grid]])
{
    const float x = in[i];
    const half h = half(x);
    const bfloat b = static_cast<bfloat>(x);
    halves[3 * i] = x, halves[3 * i + 1] = half(b), halves[3 * i + 2] = half(int(i) * 37 - 4000);
    bfloats[3 * i] = b, bfloats[3 * i + 1] = bfloat(h), bfloats[3 * i + 2] = int(i) * 37 - 4000;
    back[2 * i] = h, back[2 * i + 1] = b;
    const bool small = abs(x) < 1e4f;
    whole[4 * i] = small ? int(h) : 0, whole[4 * i + 1] = small ? int(b) : 0, whole[4 * i + 2] = bool(h), whole[4 * i + 3] = bool(b);
}

// Numbers that the language names.
static_assert(is_same_v<decltype(1.0h), half> && is_same_v<decltype(1.0), float> && is_same_v<decltype(1.5bf), bfloat>, "literals");
static_assert(is_same_v<decltype(bfloat() * bfloat()), bfloat> && is_same_v<decltype(bfloat() * 1.0f), float>, "bfloat meets float");
static_assert(is_same_v<decltype(bfloat() + 1), bfloat> && is_same_v<decltype(true ? bfloat() : 0), bfloat>, "bfloat meets integers");
static_assert(is_same_v<decltype(half() * half()), half> && is_same_v<decltype(half() * 1.0f), float>, "half meets float");
static_assert(is_convertible_v<bfloat, float> && !is_convertible_v<float, bfloat> && !is_convertible_v<bfloat, half>, "as MSL has it");
static_assert(!is_convertible_v<float4, half4> && !is_convertible_v<int2, float2> && is_convertible_v<float, float4>, "vectors");
static_assert(is_same_v<uint, unsigned int> && sizeof(long) == 8 && is_same_v<uchar4, vec<uchar, 4>> && is_same_v<bfloat3, vec<bfloat, 3>>, "names");
static_assert(is_integral_v<uchar> && !is_integral_v<half> && is_floating_point_v<half> && is_floating_point_v<bfloat> && is_arithmetic_v<bool>, "kinds");
static_assert(is_signed_v<char> && is_unsigned_v<ulong> && is_signed_v<float> && is_pointer_v<float *> && is_array_v<int[3]> && is_enum_v<mem_flags>, "kinds");
static_assert(is_same_v<conditional_t<(sizeof(int) > 2), int, char>, int> && is_same_v<remove_cv_t<const volatile int>, int>, "choices");
static_assert(is_same_v<remove_reference_t<int &>, int> && is_same_v<make_unsigned_t<char>, uchar> && is_same_v<make_signed_t<ulong>, long>, "changes");
static_assert(is_same_v<decay_t<const int &>, int> && is_same_v<remove_pointer_t<int *>, int> && is_same_v<add_const_t<int>, const int>, "changes");
static_assert(integral_constant<int, 5>::value == 5 && true_type::value && !false_type() && bool_constant<true>(), "constants");
static_assert(rank_v<int[2][3]> == 2 && extent_v<int[2][3], 1> == 3 && is_base_of_v<true_type, is_same<int, int>>, "arrays");
template <class T> enable_if_t<is_integral_v<T>, int> kind_of(T) { return 1; }
template <class T> enable_if_t<!is_integral_v<T>, int> kind_of(T) { return 2; }

#define LIMITS(T) \
    out[n++] = float(numeric_limits<T>::max()), out[n++] = float(numeric_limits<T>::lowest()), out[n++] = float(numeric_limits<T>::min()), \
    out[n++] = float(numeric_limits<T>::digits);
#define REAL_LIMITS(T)                                                                                                \
    LIMITS(T)                                                                                                         \
    out[n++] = float(numeric_limits<T>::epsilon()), out[n++] = float(numeric_limits<T>::infinity()), out[n++] = float(numeric_limits<T>::denorm_min()), \
    out[n++] = isnan(float(numeric_limits<T>::quiet_NaN())) ? 1 : 0, out[n++] = numeric_limits<T>::max_exponent, out[n++] = numeric_limits<T>::min_exponent;
kernel void limits(device float *out [[buffer(0)]])
{
    uint n = 0;
    LIMITS(char) LIMITS(uchar) LIMITS(short) LIMITS(ushort) LIMITS(int) LIMITS(uint) LIMITS(long) LIMITS(ulong)
    REAL_LIMITS(half) REAL_LIMITS(bfloat) REAL_LIMITS(float)
    out[n++] = INFINITY, out[n++] = isnan(NAN) ? 1 : 0, out[n++] = MAXFLOAT, out[n++] = HUGE_VALF, out[n++] = MAXHALF, out[n++] = FLT_MAX;
    out[n++] = FLT_MIN, out[n++] = FLT_EPSILON, out[n++] = HALF_MAX, out[n++] = HALF_MIN, out[n++] = HALF_EPSILON;
    out[n++] = M_E_F, out[n++] = M_LOG2E_F, out[n++] = M_LOG10E_F, out[n++] = M_LN2_F, out[n++] = M_LN10_F, out[n++] = M_PI_F, out[n++] = M_PI_2_F;
    out[n++] = M_PI_4_F, out[n++] = M_1_PI_F, out[n++] = M_2_PI_F, out[n++] = M_2_SQRTPI_F, out[n++] = M_SQRT2_F, out[n++] = M_SQRT1_2_F;
    out[n++] = M_PI_H, out[n++] = INT_MAX == numeric_limits<int>::max() && INT_MIN == numeric_limits<int>::min() ? 1 : 0;
    out[n++] = 0x1.8p3, out[n++] = 1.5e2, out[n++] = 2.5h, out[n++] = 2.5bf, out[n++] = kind_of(1) * 10 + kind_of(1.0h);
}
