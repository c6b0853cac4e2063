// <metal_uniform>: a value that is the same for all threads.
#ifndef SOFTMETAL_SHIM_UNIFORM_H
#define SOFTMETAL_SHIM_UNIFORM_H

#include "types.h"

namespace metal
{
template <class T> struct uniform {
    T value;

    uniform() = default;
    SM_INLINE constexpr uniform(const T &v) : value(v) {}
    SM_INLINE constexpr operator T() const { return value; }
};
template <class T> SM_INLINE constexpr uniform<T> make_uniform(const T &value) { return uniform<T>(value); }
} // namespace metal

#endif
