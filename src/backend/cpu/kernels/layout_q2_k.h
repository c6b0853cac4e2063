/* Q2_K: blocks of 256: 16 bytes with a scale (low nibble) and a minimum (high) for each 16 columns, 64 bytes of bit pairs, f16 d and dmin.
 * weight = d × scale × q − dmin × minimum. Of each half block of 128 columns group g has bits 2g and 2g + 1 of 32 bytes.
 * Packed: bit pairs [block][16][64], scales [block][4][64], d f16 [block][16], dmin f16 [block][16]. */
#include "layout_quant.h"

static const pv_form form_q2_k = {.groups = 4, .bytes = 168, .zero_bits = -1, .halves = true, .min = true};

/* Four columns of 4-bit numbers: number i of the low or high nibbles of a lane's word. */
#define PV_NIBBLE(word, shift) vf_from_i(vi_and(vi_shr(word, shift), vi_set(15)))

/* A unit is half a block. */
PV_INLINE void unpack_q2_k(const uint8_t *tile, size_t groups, size_t unit, unsigned variant, pv_unit *out)
{
    (void)variant;
    const size_t blocks = groups / 8, block = unit / 2;
    const uint8_t *pairs = tile + unit * 512;
    const vb three = vb_set(3);
    for (int i = 0; i < 8; i++) {
        const vb bits = vb_load(pairs + 64 * i);
        out->q[i] = vb_and(bits, three);
        out->q[8 + i] = vb_and(vb_shr(bits, 2), three);
        out->q[16 + i] = vb_and(vb_shr(bits, 4), three);
        out->q[24 + i] = vb_and(vb_shr(bits, 6), three);
    }
    const vf d = vf_from_f16((const uint16_t *)(tile + blocks * 1280 + block * 32));
    const vf dmin = vf_from_f16((const uint16_t *)(tile + blocks * 1312 + block * 32));
    for (int w = 0; w < 2; w++) {
        const vi word = vi_load(tile + blocks * 1024 + unit * 128 + 64 * (size_t)w);
        vf *scale = out->scale + 4 * w, *min = out->min + 4 * w;
        scale[0] = vf_mul(d, PV_NIBBLE(word, 0));
        min[0] = vf_mul(dmin, PV_NIBBLE(word, 4));
        scale[1] = vf_mul(d, PV_NIBBLE(word, 8));
        min[1] = vf_mul(dmin, PV_NIBBLE(word, 12));
        scale[2] = vf_mul(d, PV_NIBBLE(word, 16));
        min[2] = vf_mul(dmin, PV_NIBBLE(word, 20));
        scale[3] = vf_mul(d, PV_NIBBLE(word, 24));
        min[3] = vf_mul(dmin, PV_NIBBLE(word, 28));
    }
}
