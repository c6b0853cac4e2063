/* Codes of four bits for values that are not evenly spaced: what IQ4_NL, IQ4_XS, MXFP4 and NVFP4 share. */
#ifndef PV_CPU_LAYOUT_CODES_H
#define PV_CPU_LAYOUT_CODES_H

#include "layout_quant.h"

static const int8_t pv_values_iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
static const int8_t pv_values_e2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}; /* doubled */

/* A group's codes, in nibbles as those of Q4_0, as their values. */
PV_INLINE void pv_unpack_codes(const uint8_t *from, const int8_t values[16], vb q[8])
{
    const vb table = vb_table(values);
    pv_unpack_nibbles(from, q);
    for (int i = 0; i < 8; i++) q[i] = vb_signed(vb_lookup(table, q[i]));
}

#endif
