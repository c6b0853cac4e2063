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
#include "uniform.h"
#include "logging.h"
#include "barrier.h"
#include "atomic.h"
#include "simd.h"
#include "quad.h"
#include "private.h"
#ifndef SOFTMETAL_NO_SIMDGROUP_MATRIX
#include "simdgroup_matrix.h"
#endif
#include "thunk.h"

// What a world's family lacks is no type: the error names it.
#ifdef SOFTMETAL_NO_BFLOAT
#define bfloat this_device_has_no_bfloat
#endif
#ifdef SOFTMETAL_NO_SIMDGROUP_MATRIX
#define simdgroup_matrix this_device_has_no_simdgroup_matrix
#define simdgroup_float8x8 this_device_has_no_simdgroup_matrix
#define simdgroup_half8x8 this_device_has_no_simdgroup_matrix
#define simdgroup_bfloat8x8 this_device_has_no_simdgroup_matrix
#define simdgroup_load this_device_has_no_simdgroup_matrix
#define simdgroup_store this_device_has_no_simdgroup_matrix
#define simdgroup_multiply this_device_has_no_simdgroup_matrix
#define simdgroup_multiply_accumulate this_device_has_no_simdgroup_matrix
#define make_filled_simdgroup_matrix this_device_has_no_simdgroup_matrix
#endif

// What does not hold is a crash, and so a report.
#ifdef NDEBUG
#define assert(condition) ((void)0)
#else
#define assert(condition) ((condition) ? (void)0 : __builtin_trap())
#endif

#define METAL_FUNC inline __attribute__((always_inline))
#define METAL_CONST_FUNC METAL_FUNC
#define METAL_CONST

#endif
