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
    vf min[PV_UNIT_GROUPS * 2];   /* likewise */
} pv_unit;

typedef struct pv_form {
    int groups;      /* of a unit */
    size_t bytes;    /* of a group in a tile */
    int zero_bits;   /* zero is 2^zero_bits; −1: none */
    bool halves;     /* factors for each half of a group */
    bool min;
    bool is_signed;  /* bytes went through vb_signed */
} pv_form;

/* `variant`: what layouts of one family differ in; 0 for the others. See layouts.h. */
typedef void pv_unpack(const uint8_t *tile, size_t groups, size_t unit, unsigned variant, pv_unit *out);

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

/* Nibbles of a group: the low ones are columns 0 to 15. */
PV_INLINE void pv_unpack_nibbles(const uint8_t *from, vb q[8])
{
    for (int i = 0; i < 4; i++) {
        const vb pair = vb_load(from + 64 * i);
        q[i] = vb_low(pair);
        q[4 + i] = vb_high(pair);
    }
}

/* Adds one more bit to each column of a group: bit j of byte b of a lane's word is that of column 4 j + b. */
PV_INLINE void pv_add_fifth_bits(vb word, vb q[8])
{
    const vb bit = vb_set(16);
    q[0] = vb_or(q[0], vb_and(vb_shl(word, 4), bit));
    q[1] = vb_or(q[1], vb_and(vb_shl(word, 3), bit));
    q[2] = vb_or(q[2], vb_and(vb_shl(word, 2), bit));
    q[3] = vb_or(q[3], vb_and(vb_shl(word, 1), bit));
    q[4] = vb_or(q[4], vb_and(word, bit));
    q[5] = vb_or(q[5], vb_and(vb_shr(word, 1), bit));
    q[6] = vb_or(q[6], vb_and(vb_shr(word, 2), bit));
    q[7] = vb_or(q[7], vb_and(vb_shr(word, 3), bit));
}

#endif
