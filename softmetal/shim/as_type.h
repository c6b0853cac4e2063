// as_type<T>(x): the same bits as another type.
#ifndef SOFTMETAL_SHIM_AS_TYPE_H
#define SOFTMETAL_SHIM_AS_TYPE_H

#include "vector.h"

template <class T, class A> SM_INLINE constexpr T as_type(const A &a)
{
    typedef sm::conditional_t<(sm::shape<A>::size > 1), sm::value_t<A>, A> from;
    static_assert(sizeof(T) == sizeof(from), "as_type needs types of the same size");
    if constexpr (__is_trivially_copyable(T) && __is_trivially_copyable(from)) {
        return __builtin_bit_cast(T, a);
    } else {
        const from value(a);
        T result;
        __builtin_memcpy((void *)&result, (const void *)&value, sizeof(T));
        return result;
    }
}
namespace metal
{
using ::as_type;
}

#endif
