/* Sixteen lanes, meaning the same on every instruction set. Kernels are written once over these types:
 *
 *   vf  16 × f32          vi  16 × i32          vb  64 bytes: lane l holds bytes 4l … 4l + 3
 *
 * A kernel source is compiled once for each instruction set, with PV_ISA (its name) and PV_ISA_HEADER defined. Where the set has a fused
 * multiply-add (all but generic) results agree bit for bit: each lane does the same operations in the same order.
 *
 * Loads and stores need no alignment. vf_max(a, b) and vf_min(a, b) give NaN if either is NaN. vf_tree adds lanes l and l + 8, then l and
 * l + 4, then neighbours: ((0 + 1) + (2 + 3)). */
#ifndef PV_CPU_SIMD_H
#define PV_CPU_SIMD_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define PV_JOIN2(a, b) a##_##b
#define PV_JOIN(a, b) PV_JOIN2(a, b)
#define PV_K(name) PV_JOIN(name, PV_ISA) /* a symbol of this instruction set */

#define PV_INLINE static inline __attribute__((always_inline, unused))
#define PV_LANES 16

PV_INLINE int32_t pv_load_i32(const void *from)
{
    int32_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

#include PV_ISA_HEADER

/* Before a loop over the rows or tiles of a block: it is unrolled before the compiler decides what lives in registers. */
#ifdef __clang__
#define PV_UNROLL _Pragma("unroll")
#else
#define PV_UNROLL _Pragma("GCC unroll 16")
#endif
/* Before the loop over a group's columns: a set whose registers would not do for all of it at once says that it stays a loop. */
#ifndef PV_KEEP_LOOP
#define PV_KEEP_LOOP
#endif

#endif
