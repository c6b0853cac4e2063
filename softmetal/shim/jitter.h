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

// A 16-bit result is off by as many of its own units as the executor puts on a float.
#ifdef SOFTMETAL_JITTER
SM_INLINE ushort loose_bits(ushort bits, ushort infinity)
{
    const ushort magnitude = bits & 0x7fff;
    if (magnitude == 0 || magnitude >= infinity) return bits;
    int moved = magnitude + int(__builtin_bit_cast(uint, services->jitter(1.5f)) - __builtin_bit_cast(uint, 1.5f));
    if (moved < 0) moved = 0;
    if (moved >= infinity) moved = infinity - 1;
    return ushort((bits & 0x8000) | moved);
}
#endif

SM_INLINE half loose(half value)
{
#ifdef SOFTMETAL_JITTER
    return __builtin_bit_cast(half, loose_bits(__builtin_bit_cast(ushort, value), 0x7c00));
#else
    return value;
#endif
}

#ifndef SOFTMETAL_NO_BFLOAT
SM_INLINE bfloat loose(bfloat value)
{
#ifdef SOFTMETAL_JITTER
    return bfloat_from_bits(loose_bits(bfloat_bits(value), 0x7f80));
#else
    return value;
#endif
}
#endif

#if defined(SOFTMETAL_FAST_MATH) || defined(__FAST_MATH__)
inline constexpr bool fast_math = true;
#else
inline constexpr bool fast_math = false;
#endif
} // namespace sm

#endif
