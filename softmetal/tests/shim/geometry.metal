#include <metal_stdlib>
using namespace metal;

// Tests of numbers: a bit for each, in the order of the test's list.
template <class T> uint tests_of(T x, T y)
{
    uint bits = 0, at = 0;
    bits |= uint(isnan(x)) << at++;
    bits |= uint(isinf(x)) << at++;
    bits |= uint(isfinite(x)) << at++;
    bits |= uint(isnormal(x)) << at++;
    bits |= uint(signbit(x)) << at++;
    bits |= uint(isordered(x, y)) << at++;
    bits |= uint(isunordered(x, y)) << at++;
    // The same of vectors; a bit that is wrong there spoils it all.
    const vec<T, 4> v(x, y, y, x), w(y, x, x, x);
    const bool4 n = isnan(v), o = isordered(v, w);
    if (n.x != isnan(x) || n.y != isnan(y) || n.w != isnan(x) || o.x != isordered(x, y) || o.w != isordered(x, x)) bits |= 1u << 31;
    if (isinf(v).w != isinf(x) || isfinite(v).w != isfinite(x) || isnormal(v.xy).x != isnormal(x)) bits |= 1u << 31;
    if (signbit(v.xyz).x != signbit(x) || isunordered(v, w).x != isunordered(x, y)) bits |= 1u << 31;
    return bits;
}
kernel void relations(device const float *in [[buffer(0)]], device uint *out [[buffer(1)]], uint i [[thread_position_in_grid]])
{
    out[i] = tests_of(in[2 * i], in[2 * i + 1]);
}
kernel void half_relations(device const half *in [[buffer(0)]], device uint *out [[buffer(1)]], uint i [[thread_position_in_grid]])
{
    out[i] = tests_of(in[2 * i], in[2 * i + 1]);
}

kernel void choices(device uint *out [[buffer(0)]], uint i [[thread_position_in_grid]])
{
    const bool4 b(i & 1, i & 2, i & 4, i & 8);
    uint bits = uint(any(b)) | uint(all(b)) << 1 | uint(any(b.xyz)) << 2 | uint(all(b.xyz)) << 3 | uint(any(b.xy)) << 4 | uint(all(b.xy)) << 5;
    const int4 chosen = select(int4(1, 2, 3, 4), int4(10, 20, 30, 40), b);
    bits |= uint(chosen.x + chosen.y + chosen.z + chosen.w) << 8;
    bits |= uint(select(1.0f, 2.0f, b.x)) << 16 | uint(select(half3(1), half3(2), b.xyz).z) << 20;
    bits |= uint(not(b).x) << 24 | uint(all(not(b) == !b)) << 25 | uint(any(b.x)) << 26 | uint(all(b.x)) << 27;
    out[i] = bits;
}

// in: three vectors of four; out: 40 numbers a thread
template <class T> void vectors_of(device const T *in, device T *out)
{
    const vec<T, 4> a(in[0], in[1], in[2], in[3]), b(in[4], in[5], in[6], in[7]), c(in[8], in[9], in[10], in[11]);
    uint n = 0;
    out[n++] = dot(a, b);
    out[n++] = dot(a.xyz, b.xyz);
    out[n++] = dot(a.xy, b.xy);
    out[n++] = length(a);
    out[n++] = length(a.xyz);
    out[n++] = length(a.xy);
    out[n++] = length_squared(a);
    out[n++] = length_squared(a.zw);
    out[n++] = distance(a, b);
    out[n++] = distance(a.xyz, b.xyz);
    out[n++] = distance_squared(a, b);
    out[n++] = distance_squared(a.xy, b.xy);
    const vec<T, 3> x = cross(a.xyz, b.xyz);
    out[n++] = x.x, out[n++] = x.y, out[n++] = x.z;
    const vec<T, 4> u = normalize(a);
    out[n++] = u.x, out[n++] = u.y, out[n++] = u.z, out[n++] = u.w;
    const vec<T, 3> f = faceforward(a.xyz, b.xyz, c.xyz);
    out[n++] = f.x, out[n++] = f.y, out[n++] = f.z;
    const vec<T, 3> normal = normalize(b.xyz), r = reflect(a.xyz, normal);
    out[n++] = r.x, out[n++] = r.y, out[n++] = r.z;
    const vec<T, 3> t = refract(normalize(a.xyz), normal, T(0.75));
    out[n++] = t.x, out[n++] = t.y, out[n++] = t.z;
    const vec<T, 3> total = refract(normalize(vec<T, 3>(1, 0.1, 0)), vec<T, 3>(0, 1, 0), T(1.5)); // reflected in total: nothing passes
    out[n++] = total.x, out[n++] = total.y, out[n++] = total.z;
    out[n++] = precise::dot(a, b);
    out[n++] = fast::length(a);
}
kernel void vectors(device const float *in [[buffer(0)]], device float *out [[buffer(1)]], uint i [[thread_position_in_grid]])
{
    vectors_of(in + 12 * i, out + 40 * i);
}
kernel void half_vectors(device const half *in [[buffer(0)]], device half *out [[buffer(1)]], uint i [[thread_position_in_grid]])
{
    vectors_of(in + 12 * i, out + 40 * i);
}

// Whole numbers, so that all is exact. in: 16 + 16 elements; out: what the test says.
template <class T, int C, int R> uint multiply(device const T *in, device T *out)
{
    matrix<T, C, R> m;
    matrix<T, R, C> k;
    for (int c = 0; c < C; c++)
        for (int r = 0; r < R; r++) m[c][r] = in[c * R + r], k[r][c] = in[16 + r * C + c];
    uint n = 0;
    const matrix<T, R, R> p = m * k;
    for (int c = 0; c < R; c++)
        for (int r = 0; r < R; r++) out[n++] = p[c][r];
    vec<T, C> v;
    vec<T, R> w;
    for (int c = 0; c < C; c++) v[c] = in[c];
    for (int r = 0; r < R; r++) w[r] = in[16 + r];
    const vec<T, R> column = m * v;
    const vec<T, C> row = w * m;
    for (int r = 0; r < R; r++) out[n++] = column[r];
    for (int c = 0; c < C; c++) out[n++] = row[c];
    const matrix<T, C, R> sum = (m + m * T(2) - transpose(k)) * T(3), other = -(T(2) * m);
    for (int c = 0; c < C; c++)
        for (int r = 0; r < R; r++) out[n++] = sum[c][r] + other[c][r];
    return n;
}
#define SHAPES(T)                                                                                                     \
    switch (i) {                                                                                                      \
    case 0: multiply<T, 2, 2>(in, at); break;                                                                         \
    case 1: multiply<T, 2, 3>(in, at); break;                                                                         \
    case 2: multiply<T, 2, 4>(in, at); break;                                                                         \
    case 3: multiply<T, 3, 2>(in, at); break;                                                                         \
    case 4: multiply<T, 3, 3>(in, at); break;                                                                         \
    case 5: multiply<T, 3, 4>(in, at); break;                                                                         \
    case 6: multiply<T, 4, 2>(in, at); break;                                                                         \
    case 7: multiply<T, 4, 3>(in, at); break;                                                                         \
    case 8: multiply<T, 4, 4>(in, at); break;                                                                         \
    }
kernel void matrices(device const float *in [[buffer(0)]], device float *out [[buffer(1)]], uint i [[thread_position_in_grid]])
{
    device float *at = out + i * 64;
    SHAPES(float)
    if (i != 9) return;
    const float4x4 m(in[0], in[1], in[2], in[3], in[4], in[5], in[6], in[7], in[8], in[9], in[10], in[11], in[12], in[13], in[14], in[15]);
    const float3x3 k(float3(in[0], in[1], in[2]), float3(in[3], in[4], in[5]), float3(in[6], in[7], in[8]));
    const float2x2 j(in[0], in[1], in[2], in[3]);
    at[0] = determinant(m), at[1] = determinant(k), at[2] = determinant(j);
    const float4x4 one(1.0f);
    at[3] = one * m == m, at[4] = one != m, at[5] = float3x2(5.0f)[2][0], at[6] = float3x2(5.0f)[1].y;
    float4x4 changed = m;
    changed *= one;
    changed += m;
    changed -= one;
    changed[2].x = 77;
    at[7] = changed[1][1], at[8] = changed[2][0], at[9] = m.columns[1].z;
    at[10] = half4x4(m)[3][2] == half(m[3][2]);
    at[11] = sizeof(float3x3), at[12] = sizeof(half4x3), at[13] = alignof(float4x2);
}
kernel void half_matrices(device const half *in [[buffer(0)]], device half *out [[buffer(1)]], uint i [[thread_position_in_grid]])
{
    device half *at = out + i * 64;
    SHAPES(half)
}

#define PACK(T, i)                                                                                                    \
    at[0] = pack_##T##_to_snorm4x8(v), at[1] = pack_##T##_to_unorm4x8(v), at[2] = pack_##T##_to_srgb_unorm4x8(v);      \
    at[3] = pack_##T##_to_snorm2x16(v.xy), at[4] = pack_##T##_to_unorm2x16(v.xy);                                      \
    at[5] = pack_##T##_to_unorm10a2(v), at[6] = pack_##T##_to_unorm565(v.xyz);
kernel void packs(device const float *in [[buffer(0)]], device uint *out [[buffer(1)]], uint i [[thread_position_in_grid]])
{
    device uint *at = out + 7 * i;
    const float4 v(in[4 * i], in[4 * i + 1], in[4 * i + 2], in[4 * i + 3]);
    PACK(float, i)
}
kernel void half_packs(device const half *in [[buffer(0)]], device uint *out [[buffer(1)]], uint i [[thread_position_in_grid]])
{
    device uint *at = out + 7 * i;
    const half4 v(in[4 * i], in[4 * i + 1], in[4 * i + 2], in[4 * i + 3]);
    PACK(half, i)
}
#define UNPACK(T)                                                                                                     \
    const vec<T, 4> a = unpack_snorm4x8_to_##T(w), b = unpack_unorm4x8_to_##T(w), c = unpack_unorm4x8_srgb_to_##T(w);  \
    const vec<T, 2> d = unpack_snorm2x16_to_##T(w), e = unpack_unorm2x16_to_##T(w);                                    \
    const vec<T, 4> f = unpack_unorm10a2_to_##T(w);                                                                    \
    const vec<T, 3> g = unpack_unorm565_to_##T(ushort(w));                                                             \
    for (int k = 0; k < 4; k++) at[k] = a[k], at[4 + k] = b[k], at[8 + k] = c[k], at[16 + k] = f[k];                   \
    for (int k = 0; k < 2; k++) at[12 + k] = d[k], at[14 + k] = e[k];                                                  \
    for (int k = 0; k < 3; k++) at[20 + k] = g[k];
kernel void unpacks(device const uint *in [[buffer(0)]], device float *out [[buffer(1)]], uint i [[thread_position_in_grid]])
{
    device float *at = out + 23 * i;
    const uint w = in[i];
    UNPACK(float)
}
kernel void half_unpacks(device const uint *in [[buffer(0)]], device half *out [[buffer(1)]], uint i [[thread_position_in_grid]])
{
    device half *at = out + 23 * i;
    const uint w = in[i];
    UNPACK(half)
}
