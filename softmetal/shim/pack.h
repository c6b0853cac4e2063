// <metal_pack>: vectors of [0, 1] or [-1, 1] as small integers in one word, the first element lowest.
#ifndef SOFTMETAL_SHIM_PACK_H
#define SOFTMETAL_SHIM_PACK_H

#include "common.h"

namespace sm
{
// To the nearest integer, of ties the even one; NaN is 0. In double the product is exact.
SM_INLINE uint to_unorm(float x, int bits) { return uint(__builtin_rint(op_saturate::apply(x) * double((1u << bits) - 1))); }
SM_INLINE uint to_snorm(float x, int bits)
{
    const float clamped = x != x ? 0.0f : op_clamp::apply(x, -1.0f, 1.0f);
    return uint(int(__builtin_rint(clamped * double((1u << (bits - 1)) - 1)))) & ((1u << bits) - 1);
}
SM_INLINE float from_unorm(uint word, int at, int bits)
{
    const uint mask = (1u << bits) - 1;
    return float(word >> at & mask) / float(mask);
}
SM_INLINE float from_snorm(uint word, int at, int bits)
{
    const int value = int(word << (32 - at - bits)) >> (32 - bits);
    return op_max::apply(float(value) / float((1u << (bits - 1)) - 1), -1.0f);
}
SM_INLINE float to_srgb(float x)
{
    const double linear = op_saturate::apply(x);
    return float(linear < 0.0031308 ? 12.92 * linear : 1.055 * __builtin_pow(linear, 1 / 2.4) - 0.055);
}
SM_INLINE float from_srgb(uint word, int at)
{
    const double x = double(word >> at & 255u) / 255;
    return float(x <= 0.04045 ? x / 12.92 : __builtin_pow((x + 0.055) / 1.055, 2.4));
}
} // namespace sm

namespace metal
{
#define SM_PACKS(T)                                                                                                   \
    SM_INLINE uint pack_##T##_to_snorm4x8(vec<T, 4> v)                                                                \
    {                                                                                                                 \
        return sm::to_snorm(v.x, 8) | sm::to_snorm(v.y, 8) << 8 | sm::to_snorm(v.z, 8) << 16 | sm::to_snorm(v.w, 8) << 24; \
    }                                                                                                                 \
    SM_INLINE uint pack_##T##_to_unorm4x8(vec<T, 4> v)                                                                \
    {                                                                                                                 \
        return sm::to_unorm(v.x, 8) | sm::to_unorm(v.y, 8) << 8 | sm::to_unorm(v.z, 8) << 16 | sm::to_unorm(v.w, 8) << 24; \
    }                                                                                                                 \
    SM_INLINE uint pack_##T##_to_srgb_unorm4x8(vec<T, 4> v)                                                           \
    {                                                                                                                 \
        return sm::to_unorm(sm::to_srgb(v.x), 8) | sm::to_unorm(sm::to_srgb(v.y), 8) << 8 |                           \
               sm::to_unorm(sm::to_srgb(v.z), 8) << 16 | sm::to_unorm(v.w, 8) << 24;                                  \
    }                                                                                                                 \
    SM_INLINE uint pack_##T##_to_snorm2x16(vec<T, 2> v) { return sm::to_snorm(v.x, 16) | sm::to_snorm(v.y, 16) << 16; } \
    SM_INLINE uint pack_##T##_to_unorm2x16(vec<T, 2> v) { return sm::to_unorm(v.x, 16) | sm::to_unorm(v.y, 16) << 16; } \
    SM_INLINE uint pack_##T##_to_unorm10a2(vec<T, 4> v)                                                               \
    {                                                                                                                 \
        return sm::to_unorm(v.x, 10) | sm::to_unorm(v.y, 10) << 10 | sm::to_unorm(v.z, 10) << 20 | sm::to_unorm(v.w, 2) << 30; \
    }                                                                                                                 \
    SM_INLINE ushort pack_##T##_to_unorm565(vec<T, 3> v)                                                              \
    {                                                                                                                 \
        return ushort(sm::to_unorm(v.x, 5) | sm::to_unorm(v.y, 6) << 5 | sm::to_unorm(v.z, 5) << 11);                 \
    }                                                                                                                 \
    SM_INLINE vec<T, 4> unpack_snorm4x8_to_##T(uint w)                                                                \
    {                                                                                                                 \
        return vec<T, 4>(T(sm::from_snorm(w, 0, 8)), T(sm::from_snorm(w, 8, 8)), T(sm::from_snorm(w, 16, 8)),         \
                         T(sm::from_snorm(w, 24, 8)));                                                                \
    }                                                                                                                 \
    SM_INLINE vec<T, 4> unpack_unorm4x8_to_##T(uint w)                                                                \
    {                                                                                                                 \
        return vec<T, 4>(T(sm::from_unorm(w, 0, 8)), T(sm::from_unorm(w, 8, 8)), T(sm::from_unorm(w, 16, 8)),         \
                         T(sm::from_unorm(w, 24, 8)));                                                                \
    }                                                                                                                 \
    SM_INLINE vec<T, 4> unpack_unorm4x8_srgb_to_##T(uint w)                                                           \
    {                                                                                                                 \
        return vec<T, 4>(T(sm::from_srgb(w, 0)), T(sm::from_srgb(w, 8)),        \
                         T(sm::from_srgb(w, 16)), T(sm::from_unorm(w, 24, 8)));                    \
    }                                                                                                                 \
    SM_INLINE vec<T, 2> unpack_snorm2x16_to_##T(uint w)                                                               \
    {                                                                                                                 \
        return vec<T, 2>(T(sm::from_snorm(w, 0, 16)), T(sm::from_snorm(w, 16, 16)));                                  \
    }                                                                                                                 \
    SM_INLINE vec<T, 2> unpack_unorm2x16_to_##T(uint w)                                                               \
    {                                                                                                                 \
        return vec<T, 2>(T(sm::from_unorm(w, 0, 16)), T(sm::from_unorm(w, 16, 16)));                                  \
    }                                                                                                                 \
    SM_INLINE vec<T, 4> unpack_unorm10a2_to_##T(uint w)                                                               \
    {                                                                                                                 \
        return vec<T, 4>(T(sm::from_unorm(w, 0, 10)), T(sm::from_unorm(w, 10, 10)), T(sm::from_unorm(w, 20, 10)),     \
                         T(sm::from_unorm(w, 30, 2)));                                                                \
    }                                                                                                                 \
    SM_INLINE vec<T, 3> unpack_unorm565_to_##T(ushort w)                                                              \
    {                                                                                                                 \
        return vec<T, 3>(T(sm::from_unorm(w, 0, 5)), T(sm::from_unorm(w, 5, 6)), T(sm::from_unorm(w, 11, 5)));        \
    }
SM_PACKS(float)
SM_PACKS(half)
} // namespace metal

#endif
