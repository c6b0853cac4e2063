/* Q8_0: 32 signed bytes, f16 scale. Packed: bytes [group][8][64], scales f16 [group][16]. */
#include "layout_quant.h"

static const pv_form form_q8_0 = {.groups = 1, .bytes = 544, .zero_bits = PV_SIGNED_BITS, .is_signed = true};

PV_INLINE void unpack_q8_0(const uint8_t *tile, size_t groups, size_t unit, unsigned variant, pv_unit *out)
{
    (void)variant;
    const uint8_t *bytes = tile + unit * 512;
    for (int i = 0; i < 8; i++) out->q[i] = vb_signed(vb_load(bytes + 64 * i));
    out->scale[0] = vf_from_f16((const uint16_t *)(tile + groups * 512 + unit * 32));
}
