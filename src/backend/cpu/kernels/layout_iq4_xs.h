/* IQ4_XS: blocks of 256: f16 d, eight 6-bit scales (upper bit pairs in 2 bytes, low nibbles in 4), 128 bytes of codes as those of IQ4_NL.
 * weight = d × (scale − 32) × value. Packed: codes [block][32][64], low nibbles [block][64], d f16 [block][16], bit pairs u16 [block][16]. */
#include "layout_codes.h"

static const pv_form form_iq4_xs = {.groups = 1, .bytes = 272, .zero_bits = PV_SIGNED_BITS, .is_signed = true};

PV_INLINE void unpack_iq4_xs(const uint8_t *tile, size_t groups, size_t unit, unsigned variant, pv_unit *out)
{
    (void)variant;
    const size_t blocks = groups / 8, block = unit / 8;
    const int group = (int)(unit % 8);
    pv_unpack_codes(tile + unit * 256, pv_values_iq4, out->q);
    const vi low = vi_and(vi_shr_by(vi_load(tile + blocks * 2048 + block * 64), 4 * group), vi_set(15));
    const vi high = vi_and(vi_shr_by(vi_load_u16(tile + blocks * 2144 + block * 32), 2 * group), vi_set(3));
    const vi scale = vi_sub(vi_or(low, vi_shl(high, 4)), vi_set(32));
    out->scale[0] = vf_mul(vf_from_f16((const uint16_t *)(tile + blocks * 2112 + block * 32)), vf_from_i(scale));
}
