#include <metal_stdlib>
using namespace metal;

// Every thread of the grid does the same to a few words.
kernel void atomics(device atomic_uint *u [[buffer(0)]], device atomic_int *s [[buffer(1)]], device atomic_float *f [[buffer(2)]],
                    device atomic_ulong *wide [[buffer(3)]], device atomic_bool *b [[buffer(4)]], device uint *before [[buffer(5)]],
                    device int *out [[buffer(6)]], uint i [[thread_position_in_grid]], uint n [[threads_per_grid]])
{
    before[i] = atomic_fetch_add_explicit(&u[0], 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&u[1], 3u, memory_order_relaxed);
    atomic_fetch_or_explicit(&u[2], 1u << (i % 31), memory_order_relaxed);
    atomic_fetch_and_explicit(&u[3], ~(1u << (i % 31)), memory_order_relaxed);
    atomic_fetch_xor_explicit(&u[4], i, memory_order_relaxed);
    atomic_fetch_max_explicit(&u[5], i * 7 % n, memory_order_relaxed);
    atomic_fetch_min_explicit(&u[6], i * 7 % n + 5, memory_order_relaxed);
    before[n + i] = atomic_exchange_explicit(&u[7], i, memory_order_relaxed);

    atomic_fetch_add_explicit(&s[0], int(i) - 500, memory_order_relaxed);
    atomic_fetch_max_explicit(&s[1], -int(i), memory_order_relaxed);
    atomic_fetch_min_explicit(&s[2], -int(i), memory_order_relaxed);
    int seen = atomic_load_explicit(&s[3], memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&s[3], &seen, seen + 2, memory_order_relaxed, memory_order_relaxed)) {
    }
    atomic_fetch_sub_explicit(&s[4], -1, memory_order_relaxed);

    atomic_fetch_add_explicit(&f[0], 0.5f, memory_order_relaxed);
    atomic_fetch_sub_explicit(&f[1], 0.25f, memory_order_relaxed);
    if (i == 3) atomic_store_explicit(&f[2], 1.5f, memory_order_relaxed);
    float expected = 0;
    if (i == 4 && atomic_exchange_explicit(&f[3], 2.5f, memory_order_relaxed) == 7) atomic_store_explicit(&f[4], 1.0f, memory_order_relaxed);
    if (i == 5) out[2] = atomic_compare_exchange_weak_explicit(&f[5], &expected, 9.0f, memory_order_relaxed, memory_order_relaxed) ? 1 : int(expected);

    atomic_max_explicit(&wide[0], ulong(i) << 33, memory_order_relaxed);
    atomic_min_explicit(&wide[1], (ulong(i) << 33) + 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&wide[2], 0x100000000ul, memory_order_relaxed);
    if (i == 0) {
        atomic_store_explicit(&b[0], true, memory_order_relaxed);
        out[0] = atomic_load_explicit(&b[0], memory_order_relaxed) + 2 * atomic_exchange_explicit(&b[0], false, memory_order_relaxed);
        out[1] = atomic_load_explicit(&b[0], memory_order_relaxed);
    }
    static_assert(sizeof(atomic_int) == 4 && sizeof(atomic<ulong>) == 8 && sizeof(atomic_bool) == 1 && is_same_v<atomic<float>, atomic_float>, "");
}

// Threadgroup atomics, and barriers that order plain memory.
kernel void groups(device const uint *in [[buffer(0)]], device uint *out [[buffer(1)]], device atomic_uint *done [[buffer(2)]],
                   uint i [[thread_position_in_grid]], uint t [[thread_index_in_threadgroup]], uint size [[threads_per_threadgroup]],
                   uint group [[threadgroup_position_in_grid]], uint lane [[thread_index_in_simdgroup]],
                   uint simdgroup [[simdgroup_index_in_threadgroup]])
{
    threadgroup atomic_uint sum;
    threadgroup uint values[256];
    threadgroup uint pairs[8][32];
    if (t == 0) atomic_store_explicit(&sum, 0, memory_order_relaxed);
    values[t] = in[i];
    threadgroup_barrier(mem_flags::mem_threadgroup);
    atomic_fetch_add_explicit(&sum, values[(t + 1) % size], memory_order_relaxed);
    for (uint half_size = size / 2; half_size > 0; half_size /= 2) {
        uint other = 0;
        if (t < half_size) other = values[t + half_size];
        threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
        if (t < half_size) values[t] += other;
        threadgroup_barrier(mem_flags::mem_threadgroup);
    }
    pairs[simdgroup][lane] = in[i] * 3;
    simdgroup_barrier(mem_flags::mem_threadgroup);
    const uint neighbour = pairs[simdgroup][lane ^ 1];
    out[4 * i] = values[0];
    out[4 * i + 1] = atomic_load_explicit(&sum, memory_order_relaxed);
    out[4 * i + 2] = neighbour;
    out[4 * i + 3] = group;
    threadgroup_barrier(mem_flags::mem_device);
    atomic_thread_fence(mem_flags::mem_device, memory_order_seq_cst, thread_scope_device);
    if (t == 0) atomic_fetch_add_explicit(done, 1, memory_order_relaxed);
}

// Every builtin, in every width that a kernel may ask for.
kernel void triples(device uint *out [[buffer(0)]], uint3 a [[thread_position_in_grid]], uint3 b [[thread_position_in_threadgroup]],
                    uint3 c [[threadgroup_position_in_grid]], uint3 d [[threads_per_grid]], uint3 e [[threadgroups_per_grid]],
                    uint3 f [[threads_per_threadgroup]], uint3 g [[dispatch_threads_per_threadgroup]], uint h [[thread_index_in_threadgroup]],
                    uint j [[thread_index_in_simdgroup]], uint k [[thread_index_in_quadgroup]], uint l [[simdgroup_index_in_threadgroup]],
                    uint m [[quadgroup_index_in_threadgroup]], uint n [[simdgroups_per_threadgroup]], uint o [[quadgroups_per_threadgroup]],
                    uint p [[dispatch_simdgroups_per_threadgroup]], uint q [[dispatch_quadgroups_per_threadgroup]],
                    uint r [[threads_per_simdgroup]], uint s [[thread_execution_width]])
{
    device uint *at = out + 32 * ((a.z * d.y + a.y) * d.x + a.x);
    const uint3 all[7] = {a, b, c, d, e, f, g};
    for (int i = 0; i < 7; i++) at[3 * i] = all[i].x, at[3 * i + 1] = all[i].y, at[3 * i + 2] = all[i].z;
    at[21] = h, at[22] = j, at[23] = k, at[24] = l, at[25] = m, at[26] = n, at[27] = o, at[28] = p, at[29] = q, at[30] = r, at[31] = s;
}
kernel void short_triples(device uint *out [[buffer(0)]], ushort3 a [[thread_position_in_grid]], ushort3 b [[thread_position_in_threadgroup]],
                          ushort3 c [[threadgroup_position_in_grid]], ushort3 d [[threads_per_grid]], ushort3 e [[threadgroups_per_grid]],
                          ushort3 f [[threads_per_threadgroup]], ushort3 g [[dispatch_threads_per_threadgroup]],
                          ushort h [[thread_index_in_threadgroup]], ushort j [[thread_index_in_simdgroup]],
                          ushort k [[thread_index_in_quadgroup]], ushort l [[simdgroup_index_in_threadgroup]],
                          ushort m [[quadgroup_index_in_threadgroup]], ushort n [[simdgroups_per_threadgroup]],
                          ushort o [[quadgroups_per_threadgroup]], ushort p [[dispatch_simdgroups_per_threadgroup]],
                          ushort q [[dispatch_quadgroups_per_threadgroup]], ushort r [[threads_per_simdgroup]],
                          ushort s [[thread_execution_width]])
{
    device uint *at = out + 32 * ((a.z * d.y + a.y) * d.x + a.x);
    const ushort3 all[7] = {a, b, c, d, e, f, g};
    for (int i = 0; i < 7; i++) at[3 * i] = all[i].x, at[3 * i + 1] = all[i].y, at[3 * i + 2] = all[i].z;
    at[21] = h, at[22] = j, at[23] = k, at[24] = l, at[25] = m, at[26] = n, at[27] = o, at[28] = p, at[29] = q, at[30] = r, at[31] = s;
}
// Only the first elements of each; `first` is where the thread writes.
kernel void pairs(device uint *out [[buffer(0)]], ushort2 a [[thread_position_in_grid]], uint2 b [[thread_position_in_threadgroup]],
                  ushort2 c [[threadgroup_position_in_grid]], uint2 d [[threads_per_grid]], ushort2 e [[threadgroups_per_grid]],
                  uint2 f [[threads_per_threadgroup]], ushort2 g [[dispatch_threads_per_threadgroup]], uint3 first [[thread_position_in_grid]],
                  uint3 size [[threads_per_grid]])
{
    device uint *at = out + 14 * ((first.z * size.y + first.y) * size.x + first.x);
    at[0] = a.x, at[1] = a.y, at[2] = b.x, at[3] = b.y, at[4] = c.x, at[5] = c.y, at[6] = d.x, at[7] = d.y;
    at[8] = e.x, at[9] = e.y, at[10] = f.x, at[11] = f.y, at[12] = g.x, at[13] = g.y;
}
kernel void singles(device uint *out [[buffer(0)]], uint a [[thread_position_in_grid]], ushort b [[thread_position_in_threadgroup]],
                    uint c [[threadgroup_position_in_grid]], ushort d [[threads_per_grid]], uint e [[threadgroups_per_grid]],
                    ushort f [[threads_per_threadgroup]], uint g [[dispatch_threads_per_threadgroup]], uint3 first [[thread_position_in_grid]],
                    uint3 size [[threads_per_grid]])
{
    device uint *at = out + 7 * ((first.z * size.y + first.y) * size.x + first.x);
    at[0] = a, at[1] = b, at[2] = c, at[3] = d, at[4] = e, at[5] = f, at[6] = g;
}
