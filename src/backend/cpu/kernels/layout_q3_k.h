/* Q3_K: blocks of 256: 32 bytes of third bits (bit g of byte i is that of column i of group g), 64 bytes of bit pairs as in Q2_K, 12 bytes
 * with a 6-bit scale for each 16 columns, f16 d. weight = d × (scale − 32) × (q − 4).
 * Packed: bit pairs [block][16][64], third bits [block][8][64], the 12 bytes [block][3][64], d f16 [block][16]. */
#include "layout_quant.h"

static const pv_form form_q3_k = {.groups = 4, .bytes = 220, .zero_bits = 2, .halves = true};

/* A unit is half a block. Of scale bytes b, scales 0–3 and 4–7 have their low four bits in the low nibbles of b[0 … 7], 8–15 in the high
 * ones; scales 4k … 4k + 3 have their upper two bits at bit 2k of b[8 … 11]. */
PV_INLINE void unpack_q3_k(const uint8_t *tile, size_t groups, size_t unit, unsigned variant, pv_unit *out)
{
    (void)variant;
    const size_t blocks = groups / 8, block = unit / 2;
    const int second = (int)(unit % 2);
    const uint8_t *pairs = tile + unit * 512, *third = tile + blocks * 1024 + block * 512;
    const vb three = vb_set(3), four = vb_set(4);
    for (int i = 0; i < 8; i++) {
        const vb bits = vb_load(pairs + 64 * i), top = vb_shr_by(vb_load(third + 64 * i), 4 * second);
        out->q[i] = vb_or(vb_and(bits, three), vb_and(vb_shl(top, 2), four));
        out->q[8 + i] = vb_or(vb_and(vb_shr(bits, 2), three), vb_and(vb_shl(top, 1), four));
        out->q[16 + i] = vb_or(vb_and(vb_shr(bits, 4), three), vb_and(top, four));
        out->q[24 + i] = vb_or(vb_and(vb_shr(bits, 6), three), vb_and(vb_shr(top, 1), four));
    }
    const uint8_t *words = tile + blocks * 1536 + block * 192;
    const vf d = vf_from_f16((const uint16_t *)(tile + blocks * 1728 + block * 32));
    const vi upper = vi_load(words + 128), byte = vi_set(0xFF), offset = vi_set(32);
    for (int w = 0; w < 2; w++) {
        const vi low = vi_shr_by(vi_load(words + 64 * w), 4 * second), high = vi_shr_by(upper, 4 * second + 2 * w);
        const vi scales = vi_or(vi_and(low, vi_set(0x0F0F0F0F)), vi_and(vi_shl(high, 4), vi_set(0x30303030)));
        vf *scale = out->scale + 4 * w;
        scale[0] = vf_mul(d, vf_from_i(vi_sub(vi_and(scales, byte), offset)));
        scale[1] = vf_mul(d, vf_from_i(vi_sub(vi_and(vi_shr(scales, 8), byte), offset)));
        scale[2] = vf_mul(d, vf_from_i(vi_sub(vi_and(vi_shr(scales, 16), byte), offset)));
        scale[3] = vf_mul(d, vf_from_i(vi_sub(vi_shr(scales, 24), offset)));
    }
}
