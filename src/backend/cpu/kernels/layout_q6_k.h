/* Q6_K: blocks of 256: 128 bytes with the low four bits, 64 with the upper two, 16 signed scales, f16 d. weight = d × scale × (q − 32).
 * Of each half block of 128 columns, with its 64 bytes `low` and 32 bytes `top`: columns 0–31 take low nibbles of low[0–31], 32–63 those
 * of low[32–63], 64–95 and 96–127 the high nibbles of the same; and bits 0–1, 2–3, 4–5, 6–7 of top[0–31]. A scale serves 16 columns.
 * Packed: low [block][32][64], top [block][16][64], scales [block][4][64], d f16 [block][16]. */
#include "layout_quant.h"

static const pv_form form_q6_k = {.groups = 4, .bytes = 420, .zero_bits = 5, .halves = true};

/* A unit is half a block. */
PV_INLINE void unpack_q6_k(const uint8_t *tile, size_t groups, size_t unit, unsigned variant, pv_unit *out)
{
    (void)variant;
    const size_t blocks = groups / 8, block = unit / 2;
    const uint8_t *low = tile + unit * 1024, *top = tile + blocks * 2048 + unit * 512;
    const vb upper = vb_set(0x30);
    for (int i = 0; i < 8; i++) {
        const vb first = vb_load(low + 64 * i), second = vb_load(low + 512 + 64 * i), bits = vb_load(top + 64 * i);
        out->q[i] = vb_or(vb_low(first), vb_and(vb_shl(bits, 4), upper));
        out->q[8 + i] = vb_or(vb_low(second), vb_and(vb_shl(bits, 2), upper));
        out->q[16 + i] = vb_or(vb_high(first), vb_and(bits, upper));
        out->q[24 + i] = vb_or(vb_high(second), vb_and(vb_shr(bits, 2), upper));
    }
    const vf d = vf_from_f16((const uint16_t *)(tile + blocks * 3328 + block * 32));
    for (int w = 0; w < 2; w++) { /* a word holds four scales */
        const vi word = vi_load(tile + blocks * 3072 + unit * 128 + 64 * (size_t)w);
        out->scale[4 * w] = vf_mul(d, vf_from_i(vi_sar(vi_shl(word, 24), 24)));
        out->scale[4 * w + 1] = vf_mul(d, vf_from_i(vi_sar(vi_shl(word, 16), 24)));
        out->scale[4 * w + 2] = vf_mul(d, vf_from_i(vi_sar(vi_shl(word, 8), 24)));
        out->scale[4 * w + 3] = vf_mul(d, vf_from_i(vi_sar(word, 24)));
    }
}
