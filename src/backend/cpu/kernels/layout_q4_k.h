/* Q4_K: blocks of 256: 128 bytes of nibbles (of each 32 bytes the low ones are a group, the high ones the next), 12 bytes with a 6-bit
 * scale and a 6-bit minimum for each of 8 groups, f16 d and dmin. weight = d × scale × nibble − dmin × minimum.
 * Packed: nibbles [block][32][64], the 12 bytes [block][3][64], d f16 [block][16], dmin f16 [block][16]. */
#ifndef PV_CPU_LAYOUT_Q4_K_H
#define PV_CPU_LAYOUT_Q4_K_H

#include "layout_quant.h"

static const pv_form form_q4_k = {.groups = 2, .bytes = 288, .zero_bits = -1, .min = true};

/* The factors of the two groups of a unit of 64 columns, from the block's 12 bytes, d and dmin.
 * Of scale bytes b: groups g < 4 have scale b[g] & 63 and minimum b[g + 4] & 63; groups g ≥ 4 have their low four
 * bits in b[g + 4] (scale low, minimum high) and their upper two bits at the top of b[g − 4] and b[g]. A lane's word i is b[4i … 4i + 3]. */
PV_INLINE void pv_unpack_k_factors(const uint8_t *words, const uint8_t *d_at, const uint8_t *dmin_at, size_t unit, pv_unit *out)
{
    const vi word0 = vi_load(words), word1 = vi_load(words + 64), word2 = vi_load(words + 128);
    vi scales, minima;
    if (unit % 4 < 2) {
        scales = vi_and(word0, vi_set(0x3F3F3F3F));
        minima = vi_and(word1, vi_set(0x3F3F3F3F));
    } else {
        const vi low = vi_set(0x0F0F0F0F), top = vi_set(0x30303030);
        scales = vi_or(vi_and(word2, low), vi_and(vi_shr(word0, 2), top));
        minima = vi_or(vi_and(vi_shr(word2, 4), low), vi_and(vi_shr(word1, 2), top));
    }
    if (unit % 2 != 0) {
        scales = vi_shr(scales, 16);
        minima = vi_shr(minima, 16);
    }
    const vi byte = vi_set(0xFF);
    const vf d = vf_from_f16((const uint16_t *)d_at), dmin = vf_from_f16((const uint16_t *)dmin_at);
    out->scale[0] = vf_mul(d, vf_from_i(vi_and(scales, byte)));
    out->scale[1] = vf_mul(d, vf_from_i(vi_and(vi_shr(scales, 8), byte)));
    out->min[0] = vf_mul(dmin, vf_from_i(vi_and(minima, byte)));
    out->min[1] = vf_mul(dmin, vf_from_i(vi_and(vi_shr(minima, 8), byte)));
}

PV_INLINE void unpack_q4_k(const uint8_t *tile, size_t groups, size_t unit, unsigned variant, pv_unit *out)
{
    (void)variant;
    const size_t blocks = groups / 8, block = unit / 4;
    const uint8_t *nibbles = tile + unit * 512;
    for (int i = 0; i < 8; i++) {
        const vb pair = vb_load(nibbles + 64 * i);
        out->q[i] = vb_low(pair);
        out->q[8 + i] = vb_high(pair);
    }
    pv_unpack_k_factors(tile + blocks * 2048 + block * 192, tile + blocks * 2240 + block * 32, tile + blocks * 2272 + block * 32, unit, out);
}

#endif
