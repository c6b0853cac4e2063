/* AFFINE layouts (MLX, GPTQ, AWQ): groups of 32, 64 or 128 codes of 2 to 8 bits with a scale and a bias. weight = scale × code + bias.
 * Packed: the codes of each 32 columns in planes, then scales [block][16], biases [block][16]. Planes, by the bits of a code:
 *   nibbles  its lowest four, as those of Q4_0, where it has four or more
 *   pairs    the next two, or the lowest of 2 and 3: [group][2][64]; bits 2j and 2j + 1 of byte b of word k are column 8 j + 4 k + b
 *   bits     the last one of 3 and 5: [group][64], in the order that pv_add_fifth_bits wants
 *   bytes    all eight, less 128 */
#include "layout_quant.h"

enum { PV_AFFINE_F16, PV_AFFINE_BF16, PV_AFFINE_F32 };
/* Type of scale and bias, and how often a group halves to get to 32. */
#define PV_AFFINE_VARIANT(type, halvings) ((unsigned)(type) | (unsigned)(halvings) << 2)

/* `bytes` counts codes and 16-bit factors of groups of 64: it only tells how far ahead memory is read. */
static const pv_form form_affine2 = {.groups = 1, .bytes = 160, .zero_bits = -1, .min = true};
static const pv_form form_affine3 = {.groups = 1, .bytes = 224, .zero_bits = -1, .min = true};
static const pv_form form_affine4 = {.groups = 1, .bytes = 288, .zero_bits = -1, .min = true};
static const pv_form form_affine5 = {.groups = 1, .bytes = 352, .zero_bits = -1, .min = true};
static const pv_form form_affine6 = {.groups = 1, .bytes = 416, .zero_bits = -1, .min = true};
static const pv_form form_affine8 = {.groups = 1, .bytes = 544, .zero_bits = PV_SIGNED_BITS, .min = true, .is_signed = true};

PV_INLINE vf pv_affine_factor(const uint8_t *factors, size_t block, unsigned type)
{
    if (type == PV_AFFINE_F16) return vf_from_f16((const uint16_t *)(factors + block * 32));
    if (type == PV_AFFINE_BF16) return vf_bits(vi_shl(vi_load_u16(factors + block * 32), 16));
    return vf_load((const float *)(factors + block * 64));
}

/* `zero`: what codes are stored less. */
PV_INLINE void pv_affine_factors(const uint8_t *factors, size_t groups, size_t unit, unsigned variant, float zero, pv_unit *out)
{
    const unsigned type = variant & 3, halvings = variant >> 2;
    const size_t blocks = groups >> halvings, block = unit >> halvings;
    const vf bias = pv_affine_factor(factors + blocks * (type == PV_AFFINE_F32 ? 64 : 32), block, type);
    out->scale[0] = pv_affine_factor(factors, block, type);
    out->min[0] = vf_sub(vf_zero(), zero == 0 ? bias : vf_fma(vf_set(zero), out->scale[0], bias));
}

/* The lowest two bits of a group's codes. */
PV_INLINE void pv_unpack_pairs(const uint8_t *from, vb q[8])
{
    const vb three = vb_set(3);
    for (int k = 0; k < 2; k++) {
        const vb pairs = vb_load(from + 64 * k);
        q[k] = vb_and(pairs, three);
        q[2 + k] = vb_and(vb_shr(pairs, 2), three);
        q[4 + k] = vb_and(vb_shr(pairs, 4), three);
        q[6 + k] = vb_and(vb_shr(pairs, 6), three);
    }
}

/* The two above four that are there. */
PV_INLINE void pv_add_pairs(const uint8_t *from, vb q[8])
{
    const vb mask = vb_set(0x30);
    for (int k = 0; k < 2; k++) {
        const vb pairs = vb_load(from + 64 * k);
        q[k] = vb_or(q[k], vb_and(vb_shl(pairs, 4), mask));
        q[2 + k] = vb_or(q[2 + k], vb_and(vb_shl(pairs, 2), mask));
        q[4 + k] = vb_or(q[4 + k], vb_and(pairs, mask));
        q[6 + k] = vb_or(q[6 + k], vb_and(vb_shr(pairs, 2), mask));
    }
}

PV_INLINE void pv_add_third_bits(vb word, vb q[8])
{
    const vb bit = vb_set(4);
    q[0] = vb_or(q[0], vb_and(vb_shl(word, 2), bit));
    q[1] = vb_or(q[1], vb_and(vb_shl(word, 1), bit));
    q[2] = vb_or(q[2], vb_and(word, bit));
    q[3] = vb_or(q[3], vb_and(vb_shr(word, 1), bit));
    q[4] = vb_or(q[4], vb_and(vb_shr(word, 2), bit));
    q[5] = vb_or(q[5], vb_and(vb_shr(word, 3), bit));
    q[6] = vb_or(q[6], vb_and(vb_shr(word, 4), bit));
    q[7] = vb_or(q[7], vb_and(vb_shr(word, 5), bit));
}

PV_INLINE void unpack_affine2(const uint8_t *tile, size_t groups, size_t unit, unsigned variant, pv_unit *out)
{
    pv_unpack_pairs(tile + unit * 128, out->q);
    pv_affine_factors(tile + groups * 128, groups, unit, variant, 0, out);
}

PV_INLINE void unpack_affine3(const uint8_t *tile, size_t groups, size_t unit, unsigned variant, pv_unit *out)
{
    pv_unpack_pairs(tile + unit * 128, out->q);
    pv_add_third_bits(vb_load(tile + groups * 128 + unit * 64), out->q);
    pv_affine_factors(tile + groups * 192, groups, unit, variant, 0, out);
}

PV_INLINE void unpack_affine4(const uint8_t *tile, size_t groups, size_t unit, unsigned variant, pv_unit *out)
{
    pv_unpack_nibbles(tile + unit * 256, out->q);
    pv_affine_factors(tile + groups * 256, groups, unit, variant, 0, out);
}

PV_INLINE void unpack_affine5(const uint8_t *tile, size_t groups, size_t unit, unsigned variant, pv_unit *out)
{
    pv_unpack_nibbles(tile + unit * 256, out->q);
    pv_add_fifth_bits(vb_load(tile + groups * 256 + unit * 64), out->q);
    pv_affine_factors(tile + groups * 320, groups, unit, variant, 0, out);
}

PV_INLINE void unpack_affine6(const uint8_t *tile, size_t groups, size_t unit, unsigned variant, pv_unit *out)
{
    pv_unpack_nibbles(tile + unit * 256, out->q);
    pv_add_pairs(tile + groups * 256 + unit * 128, out->q);
    pv_affine_factors(tile + groups * 384, groups, unit, variant, 0, out);
}

PV_INLINE void unpack_affine8(const uint8_t *tile, size_t groups, size_t unit, unsigned variant, pv_unit *out)
{
    for (int i = 0; i < 8; i++) out->q[i] = vb_signed(vb_load(tile + unit * 512 + 64 * i));
    pv_affine_factors(tile + groups * 512, groups, unit, variant, 128, out);
}
