// <metal_geometric>: functions of whole vectors.
#ifndef SOFTMETAL_SHIM_GEOMETRIC_H
#define SOFTMETAL_SHIM_GEOMETRIC_H

#include "math.h"

namespace sm
{
template <class T> SM_INLINE float dot_float(T a, T b) { return float(a) * float(b); }
template <class T> SM_INLINE float dot_float(const vec<T, 2> &a, const vec<T, 2> &b)
{
    return float(a.x) * float(b.x) + float(a.y) * float(b.y);
}
template <class T> SM_INLINE float dot_float(const vec<T, 3> &a, const vec<T, 3> &b)
{
    return float(a.x) * float(b.x) + float(a.y) * float(b.y) + float(a.z) * float(b.z);
}
template <class T> SM_INLINE float dot_float(const vec<T, 4> &a, const vec<T, 4> &b)
{
    return float(a.x) * float(b.x) + float(a.y) * float(b.y) + float(a.z) * float(b.z) + float(a.w) * float(b.w);
}
template <class V> using number_t = element_t<V>;
} // namespace sm

namespace metal
{
template <class A, class B, class V = sm::real2_t<A, B>, class T = sm::number_t<V>>
SM_INLINE T dot(const A &a, const B &b)
{
    return sm::loose(T(sm::dot_float(V(a), V(b))));
}
template <class A, class B, class V = sm::real2_t<A, B>, class T = sm::number_t<V>>
SM_INLINE vec<T, 3> cross(const A &a, const B &b)
{
    const vec<T, 3> p(a), q(b);
    return vec<T, 3>(p.y * q.z - p.z * q.y, p.z * q.x - p.x * q.z, p.x * q.y - p.y * q.x);
}
template <class A, class V = sm::real_t<A>, class T = sm::number_t<V>> SM_INLINE T length_squared(const A &a)
{
    return sm::loose(T(sm::dot_float(V(a), V(a))));
}
template <class A, class V = sm::real_t<A>, class T = sm::number_t<V>> SM_INLINE T length(const A &a)
{
    return sm::loose(T(__builtin_sqrtf(sm::dot_float(V(a), V(a)))));
}
template <class A, class B, class V = sm::real2_t<A, B>, class T = sm::number_t<V>>
SM_INLINE T distance(const A &a, const B &b)
{
    return metal::length(V(V(a) - V(b)));
}
template <class A, class B, class V = sm::real2_t<A, B>, class T = sm::number_t<V>>
SM_INLINE T distance_squared(const A &a, const B &b)
{
    return metal::length_squared(V(V(a) - V(b)));
}
template <class A, class V = sm::real_t<A>> SM_INLINE V normalize(const A &a)
{
    const V v(a);
    typedef sm::number_t<V> T;
    return V(v * sm::loose(T(1.0f / __builtin_sqrtf(sm::dot_float(v, v)))));
}
template <class A, class B, class C, class V = sm::real3_t<A, B, C>>
SM_INLINE V faceforward(const A &n, const B &incident, const C &reference)
{
    return sm::dot_float(V(incident), V(reference)) < 0.0f ? V(n) : V(-V(n));
}
template <class A, class B, class V = sm::real2_t<A, B>> SM_INLINE V reflect(const A &incident, const B &n)
{
    typedef sm::number_t<V> T;
    return V(V(incident) - V(T(2) * metal::dot(V(n), V(incident))) * V(n));
}
template <class A, class B, class V = sm::real2_t<A, B>>
SM_INLINE V refract(const A &incident, const B &n, sm::number_t<V> ratio)
{
    typedef sm::number_t<V> T;
    const float cosine = sm::dot_float(V(n), V(incident));
    const float k = 1.0f - float(ratio) * float(ratio) * (1.0f - cosine * cosine);
    if (k < 0.0f) return V(T(0));
    return V(V(ratio) * V(incident) - V(T(float(ratio) * cosine + __builtin_sqrtf(k))) * V(n));
}

#define SM_USING_GEOMETRIC                                                                                            \
    using metal::dot;                                                                                                 \
    using metal::cross;                                                                                               \
    using metal::length;                                                                                              \
    using metal::length_squared;                                                                                      \
    using metal::distance;                                                                                            \
    using metal::distance_squared;                                                                                    \
    using metal::normalize;                                                                                           \
    using metal::faceforward;                                                                                         \
    using metal::reflect;                                                                                             \
    using metal::refract;
namespace precise
{
SM_USING_GEOMETRIC
}
namespace fast
{
SM_USING_GEOMETRIC
}
} // namespace metal

#endif
