// The test defines SCOPE (simd or quad) and WIDTH (32 or 4). Lanes whose bit in `mask` is not set take no part.
#include <metal_stdlib>
using namespace metal;

#define JOINED(a, b) a##_##b
#define JOIN(a, b) JOINED(a, b)
#define LANES(name) JOIN(SCOPE, name)

// Functions that move or gather data, each on (x, y, p): numbers, others for filling, and factors of a product that stays small.
#define REAL_FUNCTIONS(X)                                                                                             \
    X(LANES(sum)(x)) X(LANES(product)(p)) X(LANES(min)(x)) X(LANES(max)(x))                                             \
    X(LANES(prefix_inclusive_sum)(x)) X(LANES(prefix_exclusive_sum)(x)) X(LANES(prefix_inclusive_product)(p))           \
    X(LANES(prefix_exclusive_product)(p)) X(LANES(broadcast)(x, 2)) X(LANES(broadcast_first)(x))                       \
    X(LANES(shuffle)(x, ushort((lane * 3 + 1) % WIDTH))) X(LANES(shuffle_xor)(x, 3)) X(LANES(shuffle_up)(x, 1))         \
    X(LANES(shuffle_down)(x, 1)) X(LANES(shuffle_rotate_up)(x, 3)) X(LANES(shuffle_rotate_down)(x, 3))                 \
    X(LANES(shuffle_and_fill_up)(x, y, 1)) X(LANES(shuffle_and_fill_down)(x, y, 1))                                    \
    X(LANES(shuffle_and_fill_up)(x, y, 1, 2)) X(LANES(shuffle_and_fill_down)(x, y, 1, 2))
#define FUNCTIONS(X) REAL_FUNCTIONS(X) X(LANES(and)(x)) X(LANES(or)(x)) X(LANES(xor)(x))

ulong bits(float x) { return as_type<uint>(x); }
ulong bits(half x) { return as_type<ushort>(x); }
ulong bits(bfloat x) { return as_type<ushort>(x); }
template <class T> ulong bits(T x) { return ulong(make_unsigned_t<T>(x)); }

#define PUT(call) out[function++ * count + i] = bits(call);
template <class T> void run_real(device const int *in, device ulong *out, uint mask, uint lane, uint i, uint count)
{
    uint function = 0;
    const T x = T(in[3 * i]), y = T(in[3 * i + 1]), p = T(in[3 * i + 2]);
    if ((mask >> lane & 1) != 0) { REAL_FUNCTIONS(PUT) }
}
template <class T> void run(device const int *in, device ulong *out, uint mask, uint lane, uint i, uint count)
{
    uint function = 0;
    const T x = T(in[3 * i]), y = T(in[3 * i + 1]), p = T(in[3 * i + 2]);
    if ((mask >> lane & 1) != 0) { FUNCTIONS(PUT) }
}
kernel void scalars(device const int *in [[buffer(0)]], device ulong *out [[buffer(1)]], constant uint &type [[buffer(2)]],
                    constant uint &mask [[buffer(3)]], uint i [[thread_position_in_grid]], uint count [[threads_per_grid]],
                    uint lane [[thread_index_in_simdgroup]])
{
    switch (type) {
    case 0: run<char>(in, out, mask, lane, i, count); break;
    case 1: run<uchar>(in, out, mask, lane, i, count); break;
    case 2: run<short>(in, out, mask, lane, i, count); break;
    case 3: run<ushort>(in, out, mask, lane, i, count); break;
    case 4: run<int>(in, out, mask, lane, i, count); break;
    case 5: run<uint>(in, out, mask, lane, i, count); break;
    case 6: run<long>(in, out, mask, lane, i, count); break;
    case 7: run<ulong>(in, out, mask, lane, i, count); break;
    case 8: run_real<float>(in, out, mask, lane, i, count); break;
    case 9: run_real<half>(in, out, mask, lane, i, count); break;
    }
}

// Functions of vectors give what those of scalars give for each element.
#define SAME(call)                                                                                                    \
    {                                                                                                                 \
        const auto together = call;                                                                                   \
        for (int e = 0; e < N; e++) {                                                                                 \
            const T x = vx[e], y = vy[e], p = vp[e];                                                                  \
            const auto alone = call;                                                                                  \
            differences += bits(together[e]) != bits(alone);                                                          \
        }                                                                                                             \
    }
#define VECTORS(FUNCTIONS, T_, N_)                                                                                    \
    {                                                                                                                 \
        typedef T_ T;                                                                                                 \
        constexpr int N = N_;                                                                                         \
        vec<T, N> vx, vy, vp;                                                                                         \
        for (int e = 0; e < N; e++) vx[e] = T(in[3 * i + e]), vy[e] = T(in[3 * i + e + 1]), vp[e] = T(1 + (in[3 * i + 2] & e & 1)); \
        const vec<T, N> x = vx, y = vy, p = vp;                                                                       \
        FUNCTIONS(SAME)                                                                                               \
    }
kernel void vectors(device const int *in [[buffer(0)]], device uint *out [[buffer(1)]], constant uint &mask [[buffer(2)]],
                    uint i [[thread_position_in_grid]], uint lane [[thread_index_in_simdgroup]])
{
    uint differences = 0;
    if ((mask >> lane & 1) != 0) {
        VECTORS(REAL_FUNCTIONS, float, 4)
        VECTORS(REAL_FUNCTIONS, half, 3)
        VECTORS(FUNCTIONS, int, 2)
        VECTORS(FUNCTIONS, ushort, 4)
    }
    out[i] = differences;
}

kernel void votes(device const int *in [[buffer(0)]], device ulong *out [[buffer(1)]], constant uint &mask [[buffer(2)]],
                  uint i [[thread_position_in_grid]], uint lane [[thread_index_in_simdgroup]])
{
    const bool yes = in[3 * i] > 0;
    device ulong *at = out + 8 * i;
    if ((mask >> lane & 1) == 0) return;
    typedef LANES(vote) vote;
    at[0] = ulong(vote::vote_t(LANES(ballot)(yes)));
    at[1] = LANES(all)(yes);
    at[2] = LANES(any)(yes);
    at[3] = ulong(vote::vote_t(LANES(active_threads_mask)()));
    at[4] = LANES(is_first)();
    at[5] = LANES(is_helper_thread)();
    at[6] = LANES(ballot)(true).all();
    at[7] = LANES(ballot)(yes).any();
}

// A bfloat is moved as it is, and summed as a float; boolean and mixed arguments.
static_assert(is_same_v<decltype(LANES(sum)(bfloat())), float>, "");
static_assert(is_same_v<decltype(LANES(shuffle)(bfloat(), 1)), bfloat>, "");
static_assert(is_same_v<decltype(LANES(max)(float2().yx)), float2>, "");
kernel void others(device float *out [[buffer(0)]], uint i [[thread_position_in_grid]], uint lane [[thread_index_in_simdgroup]])
{
    const bfloat b = bfloat(float(lane % WIDTH) + 1);
    out[4 * i] = LANES(sum)(b);
    out[4 * i + 1] = LANES(shuffle_xor)(b, 1);
    out[4 * i + 2] = LANES(max)(b);
    const float2 v(lane, 2 * lane);
    out[4 * i + 3] = LANES(broadcast)(v.yx, 1).x;
}
#if WIDTH == 32
// Lanes that part and meet again; sums show who takes part.
kernel void parting(device const float *in [[buffer(0)]], device float *out [[buffer(1)]], uint i [[thread_position_in_grid]],
                    uint lane [[thread_index_in_simdgroup]])
{
    device float *at = out + 8 * i;
    if (lane < 10) {
        at[0] = simd_sum(1.0f);
    } else {
        at[0] = simd_sum(100.0f);
    }
    at[1] = simd_sum(1.0f);
    float turns = 0;
    for (uint k = 0; k < lane % 4; k++) turns += simd_sum(1.0f);
    at[2] = turns;
    at[3] = simd_sum(1.0f);
    at[4] = simd_sum(in[i]); // the order of additions shows
    at[5] = lane % 2 ? simd_max(float(lane)) : simd_min(float(lane));
    at[6] = quad_sum(float(lane));
    if (lane == 7) return;
    at[7] = simd_sum(1.0f);
}
#endif
