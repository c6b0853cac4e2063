// packed_float3 and its like: elements side by side, aligned as one of them.
#ifndef SOFTMETAL_SHIM_PACKED_H
#define SOFTMETAL_SHIM_PACKED_H

#include "vector.h"

namespace metal
{
#define SM_PACKED_COMMON(N)                                                                                           \
    packed_vec() = default;                                                                                           \
    packed_vec(const packed_vec &) = default;                                                                         \
    SM_INLINE constexpr packed_vec(T s) : packed_vec(vec<T, N>(s)) {}                                                 \
    template <class... A, class = sm::enable_if_t<sizeof...(A) != 1>>                                                 \
    SM_INLINE constexpr packed_vec(const A &...a) : packed_vec(vec<T, N>(a...)) {}                                    \
    template <class U> SM_INLINE constexpr explicit packed_vec(const vec<U, N> &v) : packed_vec(vec<T, N>(v)) {}      \
    template <int K, int... I>                                                                                        \
    SM_INLINE constexpr packed_vec(const sm_swizzle<T, K, I...> &v) : packed_vec(vec<T, N>(v)) {}                    \
    SM_INLINE packed_vec &operator=(const packed_vec &v) { return *this = vec<T, N>(v); }                             \
    SM_INLINE T &operator[](int i) { return data[i]; }                                                                \
    SM_INLINE const T &operator[](int i) const { return data[i]; }

template <class T> struct packed_vec<T, 2> {
    union {
        struct { T x, y; };
        struct { T r, g; };
        T data[2];
        SM_SWIZZLES_2
    };
    SM_INLINE constexpr packed_vec(const vec<T, 2> &v) : x(v.x), y(v.y) {}
    SM_INLINE constexpr packed_vec &operator=(const vec<T, 2> &v)
    {
        x = v.x, y = v.y;
        return *this;
    }
    SM_PACKED_COMMON(2)
};

template <class T> struct packed_vec<T, 3> {
    union {
        struct { T x, y, z; };
        struct { T r, g, b; };
        T data[3];
        SM_SWIZZLES_3
    };
    SM_INLINE constexpr packed_vec(const vec<T, 3> &v) : x(v.x), y(v.y), z(v.z) {}
    SM_INLINE constexpr packed_vec &operator=(const vec<T, 3> &v)
    {
        x = v.x, y = v.y, z = v.z;
        return *this;
    }
    SM_PACKED_COMMON(3)
};

template <class T> struct packed_vec<T, 4> {
    union {
        struct { T x, y, z, w; };
        struct { T r, g, b, a; };
        T data[4];
        SM_SWIZZLES_4
    };
    SM_INLINE constexpr packed_vec(const vec<T, 4> &v) : x(v.x), y(v.y), z(v.z), w(v.w) {}
    SM_INLINE constexpr packed_vec &operator=(const vec<T, 4> &v)
    {
        x = v.x, y = v.y, z = v.z, w = v.w;
        return *this;
    }
    SM_PACKED_COMMON(4)
};
} // namespace metal

#endif
