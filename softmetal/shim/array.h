// metal::array: a fixed number of values.
#ifndef SOFTMETAL_SHIM_ARRAY_H
#define SOFTMETAL_SHIM_ARRAY_H

#include "types.h"

namespace metal
{
template <class T, size_t N> struct array {
    typedef T value_type;
    T elements[N];

    constexpr T &operator[](size_t i) { return elements[i]; }
    constexpr const T &operator[](size_t i) const { return elements[i]; }
    constexpr size_t size() const { return N; }
    constexpr bool empty() const { return false; }
    constexpr T *data() { return elements; }
    constexpr const T *data() const { return elements; }
    constexpr T &front() { return elements[0]; }
    constexpr T &back() { return elements[N - 1]; }
    constexpr void fill(const T &value)
    {
        for (size_t i = 0; i < N; i++) elements[i] = value;
    }
    constexpr T *begin() { return elements; }
    constexpr T *end() { return elements + N; }
    constexpr const T *begin() const { return elements; }
    constexpr const T *end() const { return elements + N; }
};
} // namespace metal

#endif
