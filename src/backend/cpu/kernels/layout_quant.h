/* Quantized weights in tiles of sixteen rows: what the layouts have in common.
 *
 * A layout unpacks a unit of one or more groups of 32 columns into bytes in the order of the columns, 64 bytes for each four columns,
 * and factors: weight = scale × (byte − zero) − min. A packed tile keeps the sections of the canonical block apart, one after the other
 * for the whole row; see pack.c, whose table gives their order. */
#ifndef PV_CPU_LAYOUT_QUANT_H
#define PV_CPU_LAYOUT_QUANT_H

#include "activations.h"

#define PV_UNIT_GROUPS 4 /* at most */

typedef struct pv_unit {
    vb q[PV_UNIT_GROUPS * 8];
    vf scale[PV_UNIT_GROUPS * 2]; /* one a group, or one for each half of it */
    vf min[PV_UNIT_GROUPS];
} pv_unit;

typedef struct pv_form {
    int groups;      /* of a unit */
    size_t bytes;    /* of a group in a tile */
    int zero_bits;   /* zero is 2^zero_bits; −1: none */
    bool halves;     /* a scale for each half of a group */
    bool min;
    bool is_signed;  /* bytes went through vb_signed */
} pv_form;

typedef void pv_unpack(const uint8_t *tile, size_t groups, size_t unit, pv_unit *out);

#define PV_SIGNED_BITS (PV_SIGNED_ZERO == 128 ? 7 : -1)

/* What the integer sums start with, so that the zero point is taken away exactly. */
PV_INLINE vi pv_form_start(pv_form form, int32_t minus_sum)
{
    return form.zero_bits < 0 ? vi_zero() : vi_shl(vi_set(minus_sum), form.zero_bits);
}

/* What the sums with the high bytes become before those with the low ones are added. */
PV_INLINE vi pv_form_between(pv_form form, vi high, int32_t minus_sum)
{
    return vi_add(vi_sub(vi_shl(high, 8), high), pv_form_start(form, minus_sum));
}

PV_INLINE vi pv_form_dot(pv_form form, vi acc, vb w, const int8_t *a)
{
    return form.is_signed ? vi_dot_signed(acc, w, a) : vi_dot(acc, w, a);
}

#endif
