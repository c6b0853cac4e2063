// Every way to write a kernel and its parameters that the translator knows.
#include <metal_stdlib>
#include <simd/simd.h>
using namespace metal;

struct arguments {
    uint count;
    float scale;
};

// Implicit indices: the lowest that are free, in order; buffer 1 is taken.
kernel void implicit(device float *first, constant arguments &args, const device float *named [[buffer(1)]], device float *last,
                     uint i [[thread_position_in_grid]])
{
    first[i] = named[i] * args.scale;
    last[i] = float(args.count);
}

[[kernel]] void attribute_form(device uint *out [[buffer(0)]], uint3 position [[thread_position_in_grid]],
                               ushort2 group [[threadgroup_position_in_grid]], uint lane [[thread_index_in_simdgroup]],
                               uint width [[threads_per_simdgroup]], uint3 size [[threads_per_threadgroup]])
{
    out[0] = position.x;
    out[1] = position.y;
    out[2] = position.z;
    out[3] = group.x;
    out[4] = group.y;
    out[5] = lane;
    out[6] = width;
    out[7] = size.x * size.y * size.z;
}

namespace inner {
namespace deep {

kernel void nested(device int *out [[buffer(0)]])
{
    out[0] = 42;
}

} // namespace deep
} // namespace inner

[[host_name("renamed")]] kernel void original(device int *out [[ buffer ( 1 + 2 ) ]])
{
    out[0] = 7;
}

kernel void literals(device float *out [[buffer(0)]])
{
    half h = 1.5h;
    out[0] = 1.0 / 3.0;         // in float, not in double
    out[1] = 1e-1;
    out[2] = .5 + 2. + 0x1p-2 + 1.f;
    out[3] = h;
    out[4] = sizeof(1.0) + sizeof(1.0h) * 10;
    out[5] = 1'000.25;
}

[[max_total_threads_per_threadgroup(96)]] kernel void limited(device int *out [[buffer(0)]])
{
    out[0] = 1;
}

kernel void nothing() {}

kernel void array_reference(constant float (&table)[4] [[buffer(0)]], device float out[] [[buffer(1)]])
{
    for (int i = 0; i < 4; i++) out[i] = table[i];
}
