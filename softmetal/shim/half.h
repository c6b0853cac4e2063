// half: proper 16-bit arithmetic. The compiler must be told to round after every operation: g++ 12 does so by itself, clang's front end
// by -ffloat16-excess-precision=none.
#ifndef SOFTMETAL_SHIM_HALF_H
#define SOFTMETAL_SHIM_HALF_H

#pragma GCC system_header

typedef _Float16 half;

constexpr half operator""h(long double value) { return half(value); }

#endif
