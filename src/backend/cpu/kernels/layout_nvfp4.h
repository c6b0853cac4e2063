/* NVFP4: two scales e4m3 and 16 bytes of e2m1 codes in nibbles; a scale serves 16 columns. Packed: nibbles [group][4][64], scales
 * [group][2][16]; variant 1, NVFP4_F32, has factors f32 behind them, [2 groups][16]. */
#include "layout_codes.h"
#include "layout_e4m3.h"

static const pv_form form_nvfp4 = {.groups = 1, .bytes = 288, .zero_bits = PV_SIGNED_BITS, .halves = true, .is_signed = true};

PV_INLINE void unpack_nvfp4(const uint8_t *tile, size_t groups, size_t unit, unsigned variant, pv_unit *out)
{
    const uint8_t *scales = tile + groups * 256 + unit * 32;
    const vf doubled = vf_set(0.5f); /* the values are */
    const vf factor = variant == 0 ? doubled : vf_mul(vf_load((const float *)(tile + groups * 288 + unit / 2 * 64)), doubled);
    pv_unpack_codes(tile + unit * 256, pv_values_e2m1, out->q);
    for (int half = 0; half < 2; half++) out->scale[half] = vf_mul(pv_from_e4m3(vi_load_u8(scales + 16 * half)), factor);
}
