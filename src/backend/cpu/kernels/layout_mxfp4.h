/* MXFP4: an exponent e and 16 bytes of e2m1 codes in nibbles. weight = 2^(e − 127) × value. Packed: nibbles [group][4][64], exponents
 * [group][16]. */
#include "layout_codes.h"

static const pv_form form_mxfp4 = {.groups = 1, .bytes = 272, .zero_bits = PV_SIGNED_BITS, .is_signed = true};

/* 2^(e − 127); that of 0 has no exponent of its own among normal floats. */
PV_INLINE vf pv_from_e8m0(const uint8_t *from) { return vf_bits(vi_max(vi_shl(vi_load_u8(from), 23), vi_set(0x00400000))); }

PV_INLINE void unpack_mxfp4(const uint8_t *tile, size_t groups, size_t unit, unsigned variant, pv_unit *out)
{
    (void)variant;
    pv_unpack_codes(tile + unit * 256, pv_values_e2m1, out->q);
    out->scale[0] = vf_mul(pv_from_e8m0(tile + groups * 256 + unit * 16), vf_set(0.5f)); /* the values are doubled */
}
