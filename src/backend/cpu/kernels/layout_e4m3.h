/* Floats of a sign, four bits of exponent with bias 7, and three of fraction. */
#ifndef PV_CPU_LAYOUT_E4M3_H
#define PV_CPU_LAYOUT_E4M3_H

#include "simd.h"

/* The lowest byte of each lane, the others being ignored; a code that is no number gives 480. Exponent and fraction stand as they do in
 * a float, but for the bias; numbers without an exponent of their own become such of f32, which the product makes whole. */
PV_INLINE vf pv_from_e4m3(vi code)
{
    const vi bits = vi_or(vi_shl(vi_and(code, vi_set(0x7F)), 20), vi_shl(vi_and(code, vi_set(0x80)), 24));
    return vf_mul(vf_bits(bits), vf_set(0x1p120f));
}

#endif
