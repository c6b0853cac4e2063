// The test defines UNARY(X), BINARY(X), TERNARY(X): X(name) for each function with so many arguments of one type. Results of one
// function stand together: out[function * count + i].
#include <metal_stdlib>
using namespace metal;

#define PUT_1(name) out[function++ * count + i] = name(x);
#define PUT_2(name) out[function++ * count + i] = name(x, y);
#define PUT_3(name) out[function++ * count + i] = name(x, y, z);
#define PUT_FAST_1(name) out[function++ * count + i] = fast::name(x);
#define PUT_FAST_2(name) out[function++ * count + i] = fast::name(x, y);
#define PUT_FAST_3(name) out[function++ * count + i] = fast::name(x, y, z);
#define PUT_PRECISE_1(name) out[function++ * count + i] = precise::name(x);
#define PUT_PRECISE_2(name) out[function++ * count + i] = precise::name(x, y);
#define PUT_PRECISE_3(name) out[function++ * count + i] = precise::name(x, y, z);

#define KERNELS(T, PUT, name)                                                                                         \
    kernel void name##_1(device const T *in [[buffer(0)]], device T *out [[buffer(1)]],                                \
                         uint i [[thread_position_in_grid]], uint count [[threads_per_grid]])                          \
    {                                                                                                                 \
        uint function = 0;                                                                                            \
        const T x = in[i];                                                                                            \
        UNARY(PUT##_1)                                                                                                \
    }                                                                                                                 \
    kernel void name##_2(device const T *in [[buffer(0)]], device T *out [[buffer(1)]],                                \
                         uint i [[thread_position_in_grid]], uint count [[threads_per_grid]])                          \
    {                                                                                                                 \
        uint function = 0;                                                                                            \
        const T x = in[2 * i], y = in[2 * i + 1];                                                                     \
        BINARY(PUT##_2)                                                                                               \
    }                                                                                                                 \
    kernel void name##_3(device const T *in [[buffer(0)]], device T *out [[buffer(1)]],                                \
                         uint i [[thread_position_in_grid]], uint count [[threads_per_grid]])                          \
    {                                                                                                                 \
        uint function = 0;                                                                                            \
        const T x = in[3 * i], y = in[3 * i + 1], z = in[3 * i + 2];                                                  \
        TERNARY(PUT##_3)                                                                                              \
    }
KERNELS(float, PUT, float)
KERNELS(half, PUT, half)
KERNELS(float, PUT_FAST, fast)
KERNELS(float, PUT_PRECISE, precise)

// Functions of vectors give what the scalar ones give for each element, bit by bit: out[function] counts elements that differ.
template <class T, class U, int N> uint differences(vec<T, N> a, thread const T *b)
{
    uint count = 0;
    for (int i = 0; i < N; i++) count += as_type<U>(a[i]) != as_type<U>(b[i]) && !(isnan(a[i]) && isnan(b[i]));
    return count;
}
#define SAME_1(name)                                                                                                  \
    {                                                                                                                 \
        T expected[N];                                                                                                \
        for (int e = 0; e < N; e++) expected[e] = name(x[e]);                                                         \
        out[function++ * count + i] = differences<T, U, N>(name(x), expected);                                        \
    }
#define SAME_2(name)                                                                                                  \
    {                                                                                                                 \
        T expected[N];                                                                                                \
        for (int e = 0; e < N; e++) expected[e] = name(x[e], y[e]);                                                   \
        out[function++ * count + i] = differences<T, U, N>(name(x, y), expected);                                     \
    }
#define SAME_3(name)                                                                                                  \
    {                                                                                                                 \
        T expected[N];                                                                                                \
        for (int e = 0; e < N; e++) expected[e] = name(x[e], y[e], z[e]);                                             \
        out[function++ * count + i] = differences<T, U, N>(name(x, y, z), expected);                                  \
    }
template <class T, class U, int N> void compare(device const T *in, device uint *out, uint i, uint count)
{
    uint function = 0;
    vec<T, N> x, y, z;
    for (int e = 0; e < N; e++) x[e] = in[3 * i + e], y[e] = in[3 * i + e + 4], z[e] = in[3 * i + e + 8];
    UNARY(SAME_1)
    BINARY(SAME_2)
    TERNARY(SAME_3)
}
kernel void vectors(device const float *in [[buffer(0)]], device uint *out [[buffer(1)]], uint i [[thread_position_in_grid]],
                    uint count [[threads_per_grid]])
{
    switch (i % 3) {
    case 0: compare<float, uint, 2>(in, out, i, count); break;
    case 1: compare<float, uint, 3>(in, out, i, count); break;
    case 2: compare<float, uint, 4>(in, out, i, count); break;
    }
}
kernel void half_vectors(device const half *in [[buffer(0)]], device uint *out [[buffer(1)]], uint i [[thread_position_in_grid]],
                         uint count [[threads_per_grid]])
{
    switch (i % 3) {
    case 0: compare<half, ushort, 2>(in, out, i, count); break;
    case 1: compare<half, ushort, 3>(in, out, i, count); break;
    case 2: compare<half, ushort, 4>(in, out, i, count); break;
    }
}

// Functions with a second result, or with an argument or a result of another type.
kernel void others(device const float *in [[buffer(0)]], device float *out [[buffer(1)]], device int *whole [[buffer(2)]],
                   uint i [[thread_position_in_grid]], uint count [[threads_per_grid]])
{
    const float x = in[i];
    int exponent;
    float second;
    out[i] = frexp(x, exponent);
    whole[i] = exponent;
    out[count + i] = modf(x, second);
    out[2 * count + i] = second;
    out[3 * count + i] = sincos(x, second);
    out[4 * count + i] = second;
    whole[count + i] = ilogb(x);
    out[5 * count + i] = ldexp(x, int(i % 300) - 150);

    const float4 v(x, -x, x * 0.5f, x + 1.0f);
    float4 whole4, cosine4;
    int4 exponent4;
    const float4 fraction4 = frexp(v, exponent4), part4 = modf(v, whole4), sine4 = sincos(v, cosine4);
    const float4 scaled4 = ldexp(v, int4(3, -3, 0, 1));
    const int4 log4 = ilogb(v);
    bool same = true;
    for (int e = 0; e < 4; e++) {
        int k;
        float s;
        same = same && frexp(v[e], k) == fraction4[e] && k == exponent4[e];
        same = same && modf(v[e], s) == part4[e] && s == whole4[e];
        same = same && sincos(v[e], s) == sine4[e] && s == cosine4[e];
        same = same && ilogb(v[e]) == log4[e];
    }
    same = same && scaled4.x == x * 8 && scaled4.y == -x * 0.125f && scaled4.z == x * 0.5f && scaled4.w == (x + 1.0f) * 2;
    whole[2 * count + i] = same || isnan(x) || isinf(x);
}
kernel void half_others(device const half *in [[buffer(0)]], device half *out [[buffer(1)]], device int *whole [[buffer(2)]],
                        uint i [[thread_position_in_grid]], uint count [[threads_per_grid]])
{
    const half x = in[i];
    int exponent;
    half second;
    out[i] = frexp(x, exponent);
    whole[i] = exponent;
    out[count + i] = modf(x, second);
    out[2 * count + i] = second;
    out[3 * count + i] = sincos(x, second);
    out[4 * count + i] = second;
    whole[count + i] = ilogb(x);
    out[5 * count + i] = ldexp(x, int(i % 60) - 30);
    whole[2 * count + i] = 1;
}

// Arguments that meet: scalars splat, integers and narrower ones widen.
kernel void mixed(device float *out [[buffer(0)]])
{
    const half h = 0.25h;
    const bfloat b = 1.5bf;
    out[0] = max(h, 0.5f);
    out[1] = max(b, 0.5f);
    out[2] = clamp(float3(-1, 0.5, 2), 0, 1).z;
    out[3] = pow(float2(2, 3), 2).y;
    out[4] = mix(float4(0), float4(2), 0.25f).w;
    out[5] = fma(h, h, half(1));
    out[6] = exp(b);
    out[7] = float2(step(0.5f, float2(0.25, 0.75))).y;
    const float4 v(1, 2, 3, 4);
    out[8] = max(v.xy, v.zw).y;
    out[9] = min(v.xyz, 2.0f).z;
    out[10] = sqrt(v.wwww).x;
    out[11] = abs(-v).w;
    out[12] = metal::fmax(1.0f, 2.0f) + metal::precise::fmin(1.0f, 2.0f) + metal::fast::clamp(5.0f, 0.0f, 1.0f);
}
