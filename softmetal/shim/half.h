// half: proper 16-bit arithmetic. The compiler must be told to round after every operation (-fexcess-precision=16 of g++,
// -ffloat16-excess-precision=none of clang's front end).
#ifndef SOFTMETAL_SHIM_HALF_H
#define SOFTMETAL_SHIM_HALF_H

typedef _Float16 half;

#endif
