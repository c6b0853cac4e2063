// The test defines FUNCTIONS(X): X(name(x, y, …)) for every function of integers. Numbers come and go as the bits of ulongs.
#include <metal_stdlib>
using namespace metal;

template <class T> ulong bits(T value) { return ulong(make_unsigned_t<T>(value)); }

#define PUT(call) out[function++ * count + i] = bits(call);
template <class T> void run(device const ulong *in, device ulong *out, uint i, uint count)
{
    const T x = T(in[3 * i]), y = T(in[3 * i + 1]), z = T(in[3 * i + 2]);
    // A field within the type.
    const uint width = sizeof(T) * 8, offset = uint(in[3 * i + 1]) % width, bits_in = uint(in[3 * i + 2]) % (width - offset + 1);
    uint function = 0;
    FUNCTIONS(PUT)
}

// Vectors do to each element what scalars do: out counts what differs.
#define SAME(call)                                                                                                    \
    {                                                                                                                 \
        const auto together = call;                                                                                   \
        for (int e = 0; e < N; e++) {                                                                                 \
            const T x = vx[e], y = vy[e], z = vz[e];                                                                  \
            differences += together[e] != call;                                                                       \
        }                                                                                                             \
    }
template <class T, int N> ulong compare(device const ulong *in, uint i)
{
    vec<T, N> vx, vy, vz;
    for (int e = 0; e < N; e++) vx[e] = T(in[3 * i + e]), vy[e] = T(in[3 * i + e + 2]), vz[e] = T(in[3 * i + e + 5]);
    const uint width = sizeof(T) * 8, offset = uint(in[3 * i + 1]) % width, bits_in = uint(in[3 * i + 2]) % (width - offset + 1);
    ulong differences = 0;
    const vec<T, N> x = vx, y = vy, z = vz;
    FUNCTIONS(SAME)
    return differences;
}
template <class T> void run_vectors(device const ulong *in, device ulong *out, uint i)
{
    out[i] = i % 3 == 0 ? compare<T, 2>(in, i) : i % 3 == 1 ? compare<T, 3>(in, i) : compare<T, 4>(in, i);
}

#define BY_TYPE(call)                                                                                                 \
    switch (type) {                                                                                                   \
    case 0: call(char) break;                                                                                         \
    case 1: call(uchar) break;                                                                                        \
    case 2: call(short) break;                                                                                        \
    case 3: call(ushort) break;                                                                                       \
    case 4: call(int) break;                                                                                          \
    case 5: call(uint) break;                                                                                         \
    case 6: call(long) break;                                                                                         \
    case 7: call(ulong) break;                                                                                        \
    }
#define RUN(T) run<T>(in, out, i, count);
#define RUN_VECTORS(T) run_vectors<T>(in, out, i);
kernel void integers(device const ulong *in [[buffer(0)]], device ulong *out [[buffer(1)]], constant uint &type [[buffer(2)]],
                     uint i [[thread_position_in_grid]], uint count [[threads_per_grid]])
{
    BY_TYPE(RUN)
}
kernel void vectors(device const ulong *in [[buffer(0)]], device ulong *out [[buffer(1)]], constant uint &type [[buffer(2)]],
                    uint i [[thread_position_in_grid]])
{
    BY_TYPE(RUN_VECTORS)
}

// Functions of 24 bits, of int and uint only.
kernel void narrow(device const uint *in [[buffer(0)]], device uint *out [[buffer(1)]], uint i [[thread_position_in_grid]],
                   uint count [[threads_per_grid]])
{
    const uint x = in[3 * i], y = in[3 * i + 1], z = in[3 * i + 2];
    out[i] = mul24(x, y);
    out[count + i] = mad24(x, y, z);
    out[2 * count + i] = uint(mul24(int(x), int(y)));
    out[3 * count + i] = uint(mad24(int(x), int(y), int(z)));
    const uint4 v = mad24(uint4(x, y, z, 1), uint4(y), uint4(z));
    out[4 * count + i] = v.x == mad24(x, y, z) && v.y == mad24(y, y, z) && v.z == mad24(z, y, z) && v.w == mad24(1u, y, z);
}

// Operators of vectors, for each element; shifts look at as many bits as the type has places for.
kernel void operators(device const uint *in [[buffer(0)]], device int *wrong [[buffer(1)]], uint i [[thread_position_in_grid]])
{
    const int4 a = int4(in[i], in[i + 1], in[i + 2], in[i + 3]), b = int4(in[i + 4], in[i + 5], in[i + 6], in[i + 7]) | 1;
    const int4 n = b & 31;
    int count = 0;
#define CHECK(op) for (int e = 0; e < 4; e++) count += (a op b)[e] != (a[e] op b[e]);
    CHECK(+) CHECK(-) CHECK(*) CHECK(&) CHECK(|) CHECK(^) CHECK(<) CHECK(>) CHECK(<=) CHECK(>=) CHECK(==) CHECK(!=)
#undef CHECK
    for (int e = 0; e < 4; e++) {
        if (b[e] != -1) count += (a / b)[e] != a[e] / b[e] || (a % b)[e] != a[e] % b[e];
        count += (a << n)[e] != a[e] << n[e] || (a >> n)[e] != a[e] >> n[e] || (a << (n + 32))[e] != a[e] << n[e];
        count += (-a)[e] != -a[e] || (~a)[e] != ~a[e] || (+a)[e] != a[e] || (!a)[e] != !a[e];
        count += (a + 3)[e] != a[e] + 3 || (3 - a)[e] != 3 - a[e] || (a < 5)[e] != (a[e] < 5);
    }
    const bool4 p = a < b, q = a < 0;
    for (int e = 0; e < 4; e++) count += (p && q)[e] != (p[e] && q[e]) || (p || q)[e] != (p[e] || q[e]) || (!p)[e] != !p[e];
    int4 c = a;
    c += b, c -= 1, c *= 3, c ^= b, c |= 5, c &= 0x7fffffff, c <<= 2, c >>= 1;
    for (int e = 0; e < 4; e++) {
        int s = a[e];
        s += b[e], s -= 1, s *= 3, s ^= b[e], s |= 5, s &= 0x7fffffff, s <<= 2, s >>= 1;
        count += c[e] != s;
    }
    int4 d = a;
    const int4 before = d++, after = ++d, down = d--;
    count += any(before != a) || any(after != a + 2) || any(down != a + 2) || any(d != a + 1) || any(--d != a);
    c = a;
    c.yx += b.zw;
    c.w *= 2;
    count += c.x != a.x + b.w || c.y != a.y + b.z || c.z != a.z || c.w != a.w * 2;
    const uchar4 small = uchar4(250, 1, 2, 3) + uchar4(10); // wraps in its own type
    count += small.x != 4 || small.y != 11;
    wrong[i] = count;
}
