#include <metal_stdlib>
using namespace metal;

// One simdgroup. numbers: 40 rows of 48; out is as large. Products of whole numbers are exact.
#define ROW 48
template <class T, class U> void tiles(device const T *in, device T *out, device float *sums, device float *elements, threadgroup T *shared, uint lane)
{
    simdgroup_matrix<T, 8, 8> a, b, d, e = make_filled_simdgroup_matrix<T, 8, 8>(T(3));
    simdgroup_load(a, in, ROW);
    simdgroup_load(b, in, ROW, ulong2(8, 16), true);
    elements[2 * lane] = float(a.thread_elements()[0]), elements[2 * lane + 1] = float(a.thread_elements()[1]);
    simdgroup_multiply(d, a, b);
    simdgroup_store(d, out, ROW);
    simdgroup_multiply_accumulate(d, a, b, e);
    simdgroup_store(d, out + 8, ROW, ulong2(8, 8), false);
    simdgroup_store(a * b, out, ROW, ulong2(24, 0), true);

    simdgroup_matrix<float, 8, 8> wide(1.0f); // a diagonal
    simdgroup_multiply_accumulate(wide, a, b, wide);
    simdgroup_store(wide, sums);
    const simdgroup_matrix<T, 8, 8> diagonal(T(5));
    simdgroup_store(diagonal, out, ROW, ulong2(32, 8));

    for (uint i = lane; i < 128; i += 32) shared[i] = in[i];
    simdgroup_barrier(mem_flags::mem_threadgroup);
    simdgroup_load(a, shared, 16, ulong2(8, 0));
    a.thread_elements() *= T(2);
    simdgroup_barrier(mem_flags::mem_threadgroup);
    simdgroup_store(a, shared, 16);
    simdgroup_barrier(mem_flags::mem_threadgroup);
    for (uint i = lane; i < 128; i += 32) out[16 * ROW + i] = shared[i];
}
kernel void floats(device const float *in [[buffer(0)]], device float *out [[buffer(1)]], device float *sums [[buffer(2)]],
                   device float *elements [[buffer(3)]], uint lane [[thread_index_in_simdgroup]])
{
    threadgroup float shared[128];
    tiles<float, uint>(in, out, sums, elements, shared, lane);
}
kernel void halves(device const half *in [[buffer(0)]], device half *out [[buffer(1)]], device float *sums [[buffer(2)]],
                   device float *elements [[buffer(3)]], uint lane [[thread_index_in_simdgroup]])
{
    threadgroup half shared[128];
    tiles<half, ushort>(in, out, sums, elements, shared, lane);
}
kernel void bfloats(device const bfloat *in [[buffer(0)]], device bfloat *out [[buffer(1)]], device float *sums [[buffer(2)]],
                    device float *elements [[buffer(3)]], uint lane [[thread_index_in_simdgroup]])
{
    threadgroup bfloat shared[128];
    tiles<bfloat, ushort>(in, out, sums, elements, shared, lane);
}
// float = bfloat times half plus half
kernel void mixed(device const half *in [[buffer(0)]], device const bfloat *other [[buffer(1)]], device float *out [[buffer(2)]])
{
    simdgroup_half8x8 a, c;
    simdgroup_bfloat8x8 b;
    simdgroup_float8x8 d;
    simdgroup_load(a, in, 8);
    simdgroup_load(c, in + 64, 8);
    simdgroup_load(b, other, 8);
    simdgroup_multiply_accumulate(d, b, a, c);
    simdgroup_store(d, out, 8);
}
