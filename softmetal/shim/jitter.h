// Results that MSL lets differ by some units in the last place do differ in a world with jitter.
#ifndef SOFTMETAL_SHIM_JITTER_H
#define SOFTMETAL_SHIM_JITTER_H

#include "each.h"

namespace sm
{
SM_INLINE float loose(float value)
{
#ifdef SOFTMETAL_JITTER
    return services->jitter(value);
#else
    return value;
#endif
}

// A half is off by as many of its own units as the executor puts on a float.
SM_INLINE half loose(half value)
{
#ifdef SOFTMETAL_JITTER
    const ushort bits = __builtin_bit_cast(ushort, value), magnitude = bits & 0x7fff;
    if (magnitude == 0 || magnitude >= 0x7c00) return value;
    const uint as_float = 0x3f800000u | uint(bits) << 7; // what it is off by may depend on the number
    int moved = magnitude + int(__builtin_bit_cast(uint, services->jitter(__builtin_bit_cast(float, as_float))) - as_float);
    if (moved < 0) moved = 0;
    if (moved > 0x7bff) moved = 0x7bff;
    return __builtin_bit_cast(half, ushort((bits & 0x8000) | moved));
#else
    return value;
#endif
}
} // namespace sm

#endif
