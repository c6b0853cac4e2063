/* Q4_1: as Q4_0, with a minimum: weight = d × nibble + m. Packed: nibbles [group][4][64], d f16 [group][16], m f16 [group][16]. */
#include "layout_quant.h"

static const pv_form form_q4_1 = {.groups = 1, .bytes = 320, .zero_bits = -1, .min = true};

PV_INLINE void unpack_q4_1(const uint8_t *tile, size_t groups, size_t unit, unsigned variant, pv_unit *out)
{
    (void)variant;
    pv_unpack_nibbles(tile + unit * 256, out->q);
    out->scale[0] = vf_from_f16((const uint16_t *)(tile + groups * 256 + unit * 32));
    out->min[0] = vf_sub(vf_zero(), vf_from_f16((const uint16_t *)(tile + groups * 288 + unit * 32)));
}
