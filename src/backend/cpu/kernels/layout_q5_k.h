/* Q5_K: as Q4_K, with 32 bytes of fifth bits: bit g of byte i is that of column i of group g.
 * Packed: nibbles [block][32][64], fifth bits [block][8][64], the 12 bytes [block][3][64], d f16 [block][16], dmin f16 [block][16]. */
#include "layout_q4_k.h"

static const pv_form form_q5_k = {.groups = 2, .bytes = 352, .zero_bits = -1, .min = true};

PV_INLINE void unpack_q5_k(const uint8_t *tile, size_t groups, size_t unit, unsigned variant, pv_unit *out)
{
    (void)variant;
    const size_t blocks = groups / 8, block = unit / 4;
    const uint8_t *nibbles = tile + unit * 512, *fifth = tile + blocks * 2048 + block * 512;
    const int shift = (int)(unit % 4) * 2;
    const vb bit = vb_set(16);
    for (int i = 0; i < 8; i++) {
        const vb pair = vb_load(nibbles + 64 * i), bits = vb_shr_by(vb_load(fifth + 64 * i), shift);
        out->q[i] = vb_or(vb_low(pair), vb_and(vb_shl(bits, 4), bit));
        out->q[8 + i] = vb_or(vb_high(pair), vb_and(vb_shl(bits, 3), bit));
    }
    pv_unpack_k_factors(tile + blocks * 2560 + block * 192, tile + blocks * 2752 + block * 32, tile + blocks * 2784 + block * 32, unit, out);
}
