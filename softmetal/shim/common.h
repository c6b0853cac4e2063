// <metal_common>: clamp (of integers as well), mix, saturate, sign, smoothstep, step.
#ifndef SOFTMETAL_SHIM_COMMON_H
#define SOFTMETAL_SHIM_COMMON_H

#include "math.h"

namespace sm
{
struct op_clamp {
    template <class T> static SM_INLINE constexpr T apply(T x, T low, T high)
    {
        return op_min::apply(op_max::apply(x, low), high);
    }
};
struct op_saturate {
    template <class T> static SM_INLINE constexpr T apply(T x) { return op_clamp::apply(x, T(0), T(1)); }
};
struct op_mix {
    template <class T> static SM_INLINE constexpr T apply(T x, T y, T a) { return T(x + T(T(y - x) * a)); }
};
struct op_sign {
    template <class T> static SM_INLINE constexpr T apply(T x)
    {
        return x > T(0) ? T(1) : x < T(0) ? T(-1) : x == T(0) ? x : T(0);
    }
};
struct op_step {
    template <class T> static SM_INLINE constexpr T apply(T edge, T x) { return x < edge ? T(0) : T(1); }
};
struct op_smoothstep {
    template <class T> static SM_INLINE constexpr T apply(T low, T high, T x)
    {
        const T t = op_saturate::apply(T(T(x - low) / T(high - low)));
        return T(T(t * t) * T(T(3) - T(T(2) * t)));
    }
};
} // namespace sm

namespace metal
{
SM_FUNCTION_3(clamp, any)
SM_FUNCTION_1(saturate, real)
SM_FUNCTION_3(mix, real)
SM_FUNCTION_1(sign, real)
SM_FUNCTION_2(step, real)
SM_FUNCTION_3(smoothstep, real)

#define SM_USING_COMMON                                                                                               \
    using metal::clamp;                                                                                               \
    using metal::saturate;                                                                                            \
    using metal::mix;                                                                                                 \
    using metal::sign;                                                                                                \
    using metal::step;                                                                                                \
    using metal::smoothstep;
namespace precise
{
SM_USING_COMMON
}
namespace fast
{
SM_USING_COMMON
}
} // namespace metal

#endif
