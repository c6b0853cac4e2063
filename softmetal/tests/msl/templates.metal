// Kernel templates and the forms of their instantiation.
#include <metal_stdlib>
using namespace metal;

template <typename T, int N = 2>
[[kernel, max_total_threads_per_threadgroup(N * 32)]] void scale(device T *out [[buffer(0)]], constant T &factor [[buffer(1)]],
                                                                 uint i [[thread_position_in_grid]])
{
    out[i] = out[i] * factor * T(N);
}

template [[host_name("scale_float_3")]] [[kernel]] decltype(scale<float, 3>) scale<float, 3>;
#define INSTANTIATE(name, type) template [[host_name("scale_" #name)]] [[kernel]] decltype(scale<type>) scale<type>;
INSTANTIATE(int, int)
INSTANTIATE(half, half)

template <typename T>
kernel void fill(device T *out [[buffer(0)]], constant T &value [[buffer(1)]], uint i [[thread_position_in_grid]])
{
    out[i] = value;
}

typedef decltype(fill<float>) fill_t;

template [[host_name("fill_float")]] kernel fill_t fill<float>;
template [[host_name("fill" "_uint")]] kernel void fill<uint>(device uint *out [[buffer(0)]], constant uint &value [[buffer(1)]],
                                                              uint i [[thread_position_in_grid]]);
template [[host_name("fill_deduced")]] [[kernel]] void fill(device ushort *out, constant ushort &value, uint i);

namespace other {
template <int N> kernel void number(device int *out [[buffer(0)]]) { out[0] = N; }
template [[host_name("number_5")]] kernel decltype(number<5>) number<5>;
} // namespace other
