/* Q5_0: f16 scale, 4 bytes of fifth bits, 16 bytes of nibbles. Packed: nibbles [group][4][64], fifth bits [group][64], each in the order
 * that pv_add_fifth_bits wants, scales f16 [group][16]. */
#include "layout_quant.h"

static const pv_form form_q5_0 = {.groups = 1, .bytes = 352, .zero_bits = 4};

PV_INLINE void unpack_q5_0(const uint8_t *tile, size_t groups, size_t unit, unsigned variant, pv_unit *out)
{
    (void)variant;
    pv_unpack_nibbles(tile + unit * 256, out->q);
    pv_add_fifth_bits(vb_load(tile + groups * 256 + unit * 64), out->q);
    out->scale[0] = vf_from_f16((const uint16_t *)(tile + groups * 320 + unit * 32));
}
