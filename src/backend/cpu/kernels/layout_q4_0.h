/* Q4_0: 16 bytes of nibbles (columns 0–15 low, 16–31 high), f16 scale. Packed: nibbles [group][4][64], scales f16 [group][16]. */
#include "layout_quant.h"

static const pv_form form_q4_0 = {.groups = 1, .bytes = 288, .zero_bits = 3};

PV_INLINE void unpack_q4_0(const uint8_t *tile, size_t groups, size_t unit, unsigned variant, pv_unit *out)
{
    (void)variant;
    pv_unpack_nibbles(tile + unit * 256, out->q);
    out->scale[0] = vf_from_f16((const uint16_t *)(tile + groups * 256 + unit * 32));
}
