// The Metal Shading Language's library in C++17: all of it.
#ifndef SOFTMETAL_SHIM_METAL_STDLIB_H
#define SOFTMETAL_SHIM_METAL_STDLIB_H

#include "types.h"
#include "half.h"
#include "vector.h"
#include "packed.h"
#include "type_traits.h"
#include "math.h"
#include "common.h"
#include "integer.h"
#include "limits.h"
#include "relational.h"
#include "geometric.h"
#include "matrix.h"
#include "pack.h"
#include "as_type.h"
#include "array.h"
#include "barrier.h"
#include "thunk.h"

#endif
