/* IQ4_NL: as Q4_0, but the nibbles are codes. Packed: nibbles [group][4][64], scales f16 [group][16]. */
#include "layout_codes.h"

static const pv_form form_iq4_nl = {.groups = 1, .bytes = 288, .zero_bits = PV_SIGNED_BITS, .is_signed = true};

PV_INLINE void unpack_iq4_nl(const uint8_t *tile, size_t groups, size_t unit, unsigned variant, pv_unit *out)
{
    (void)variant;
    pv_unpack_codes(tile + unit * 256, pv_values_iq4, out->q);
    out->scale[0] = vf_from_f16((const uint16_t *)(tile + groups * 256 + unit * 32));
}
