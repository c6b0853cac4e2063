// Weight layouts: how a block of each is decoded. A matrix kernel is made from these by the function constant `layout`; adding a layout
// means a decoder here and a line in the function decode16 at the end.

constant uint layout [[function_constant(0)]]; // pv_layout

// pv_layout of format/layout.h
constant constexpr uint LAYOUT_F32 = 0, LAYOUT_F16 = 1, LAYOUT_BF16 = 2, LAYOUT_Q4_0 = 3, LAYOUT_Q4_1 = 4, LAYOUT_Q8_0 = 5,
                        LAYOUT_Q4_K = 6, LAYOUT_Q6_K = 7, LAYOUT_Q5_0 = 8, LAYOUT_Q5_1 = 9, LAYOUT_Q2_K = 10, LAYOUT_Q3_K = 11,
                        LAYOUT_Q5_K = 12, LAYOUT_IQ4_NL = 13, LAYOUT_IQ4_XS = 14, LAYOUT_MXFP4 = 15,
                        LAYOUT_AFFINE = 16, LAYOUT_F8 = 70, LAYOUT_NVFP4 = 71, LAYOUT_NVFP4_F32 = 72; // AFFINE: the first of 54

// Blocks of 18 or 34 bytes stand at even addresses only.
static inline ushort load_u16(device const uchar *from)
{
    return *(device const ushort *)from;
}
static inline float load_half(device const uchar *from)
{
    return float(*(device const half *)from);
}
static inline uint load_u32(device const uchar *from)
{
    return uint(load_u16(from)) | uint(load_u16(from + 2)) << 16;
}

// Four bytes that stand anywhere.
static inline uint load_bytes(device const uchar *from)
{
    return uint(from[0]) | uint(from[1]) << 8 | uint(from[2]) << 16 | uint(from[3]) << 24;
}

// Four nibbles of `bits`, one in each byte's low half.
static inline float4 nibbles(uint bits)
{
    return float4(float(bits & 15), float(bits >> 8 & 15), float(bits >> 16 & 15), float(bits >> 24 & 15));
}

// 16 consecutive weights, the `part`-th such of a row, as four vectors. A part never crosses a block.
struct weights16 {
    float4 w[4];
};

static inline weights16 decode_f32(device const uchar *row, uint part)
{
    device const packed_float4 *from = (device const packed_float4 *)row + 4 * part; // rows of odd length are not aligned
    return {{float4(from[0]), float4(from[1]), float4(from[2]), float4(from[3])}};
}

static inline weights16 decode_f16(device const uchar *row, uint part)
{
    device const packed_half4 *from = (device const packed_half4 *)row + 4 * part;
    return {{float4(half4(from[0])), float4(half4(from[1])), float4(half4(from[2])), float4(half4(from[3]))}};
}

// A bfloat is the upper half of a float: taken as bits it needs no bfloat arithmetic, which older chips lack.
static inline weights16 decode_bf16(device const uchar *row, uint part)
{
    device const packed_ushort4 *from = (device const packed_ushort4 *)row + 4 * part;
    weights16 out;
    for (uint i = 0; i < 4; i++) {
        out.w[i] = as_type<float4>(uint4(ushort4(from[i])) << 16);
    }
    return out;
}

// 32 weights a block: f16 scale, 16 bytes; the low nibbles are weights 0 to 15.
static inline weights16 decode_q4_0(device const uchar *row, uint part)
{
    device const uchar *block = row + part / 2 * 18;
    const float scale = load_half(block);
    const uint shift = part % 2 * 4;
    weights16 out;
    for (uint i = 0; i < 4; i++) {
        out.w[i] = (nibbles(load_u32(block + 2 + 4 * i) >> shift) - 8.0f) * scale;
    }
    return out;
}

// The same with a minimum: weight = scale × q + min.
static inline weights16 decode_q4_1(device const uchar *row, uint part)
{
    device const uchar *block = row + part / 2 * 20;
    const float scale = load_half(block), minimum = load_half(block + 2);
    const uint shift = part % 2 * 4;
    weights16 out;
    for (uint i = 0; i < 4; i++) {
        out.w[i] = nibbles(load_u32(block + 4 + 4 * i) >> shift) * scale + minimum;
    }
    return out;
}

static inline float4 signed_bytes(uint bits)
{
    return float4(as_type<char4>(bits));
}

static inline weights16 decode_q8_0(device const uchar *row, uint part)
{
    device const uchar *block = row + part / 2 * 34;
    const float scale = load_half(block);
    weights16 out;
    for (uint i = 0; i < 4; i++) {
        out.w[i] = signed_bytes(load_u32(block + 2 + part % 2 * 16 + 4 * i)) * scale;
    }
    return out;
}

// Bits 0 to 3, each as the fifth bit of its own byte.
static inline uint fifth_bits(uint bits)
{
    return (bits & 1) << 4 | (bits & 2) << 11 | (bits & 4) << 18 | (bits & 8) << 25;
}

// As Q4_0 with a fifth bit: four bytes before the nibbles hold bit i for weight i. Scale, then them.
static inline weights16 decode_q5_0(device const uchar *row, uint part)
{
    device const uchar *block = row + part / 2 * 22;
    const float scale = load_half(block);
    const uint shift = part % 2 * 4, high = load_u32(block + 2) >> part % 2 * 16;
    weights16 out;
    for (uint i = 0; i < 4; i++) {
        const uint bits = (load_u32(block + 6 + 4 * i) >> shift & 0x0F0F0F0F) | fifth_bits(high >> 4 * i);
        out.w[i] = (float4(as_type<uchar4>(bits)) - 16.0f) * scale;
    }
    return out;
}

static inline weights16 decode_q5_1(device const uchar *row, uint part)
{
    device const uchar *block = row + part / 2 * 24;
    const float scale = load_half(block), minimum = load_half(block + 2);
    const uint shift = part % 2 * 4, high = load_u32(block + 4) >> part % 2 * 16;
    weights16 out;
    for (uint i = 0; i < 4; i++) {
        const uint bits = (load_u32(block + 8 + 4 * i) >> shift & 0x0F0F0F0F) | fifth_bits(high >> 4 * i);
        out.w[i] = float4(as_type<uchar4>(bits)) * scale + minimum;
    }
    return out;
}

// Scale and minimum of a group of Q4_K and Q5_K, from the 12 bytes.
static inline float2 k_factors(device const uchar *block, uint group)
{
    device const uchar *packed = block + 4;
    uint scale, minimum;
    if (group < 4) {
        scale = packed[group] & 63;
        minimum = packed[group + 4] & 63;
    } else {
        scale = (packed[group + 4] & 15) | (packed[group - 4] >> 6) << 4;
        minimum = packed[group + 4] >> 4 | (packed[group] >> 6) << 4;
    }
    return float2(load_half(block) * float(scale), load_half(block + 2) * float(minimum));
}

// 256 weights: f16 d, f16 dmin, 12 bytes with eight 6-bit scales and minima, 128 bytes of nibbles; groups of 32, two to 32 bytes.
static inline weights16 decode_q4_k(device const uchar *row, uint part)
{
    device const uchar *block = row + part / 16 * 144;
    const uint group = part % 16 / 2;
    const float2 factors = k_factors(block, group);
    const uint shift = group % 2 * 4;
    device const uchar *quants = block + 16 + group / 2 * 32 + part % 2 * 16;
    weights16 out;
    for (uint i = 0; i < 4; i++) {
        out.w[i] = nibbles(load_u32(quants + 4 * i) >> shift) * factors.x - factors.y;
    }
    return out;
}

// 256 weights: 128 bytes of low nibbles, 64 of high bit pairs, sixteen i8 scales, f16 d; weight = d × scale × (q - 32).
static inline weights16 decode_q6_k(device const uchar *row, uint part)
{
    device const uchar *block = row + part / 16 * 210;
    const uint sixteenth = part % 16, half_block = sixteenth / 8, quarter = sixteenth % 8 / 2, first = sixteenth % 2 * 16;
    device const uchar *low = block + half_block * 64 + quarter % 2 * 32 + first;
    device const uchar *high = block + 128 + half_block * 32 + first;
    const float scale = load_half(block + 208) * float(as_type<char>(block[192 + sixteenth]));
    weights16 out;
    for (uint i = 0; i < 4; i++) {
        const uint bits = (load_u32(low + 4 * i) >> (quarter / 2 * 4) & 0x0F0F0F0F) | (load_u32(high + 4 * i) >> (quarter * 2) & 0x03030303) << 4;
        out.w[i] = (float4(as_type<uchar4>(bits)) - 32.0f) * scale;
    }
    return out;
}

// As Q4_K with a fifth bit: bit g of byte i, of 32 bytes before the nibbles, is that of weight i of group g.
static inline weights16 decode_q5_k(device const uchar *row, uint part)
{
    device const uchar *block = row + part / 16 * 176;
    const uint group = part % 16 / 2, shift = group % 2 * 4, first = part % 2 * 16;
    const float2 factors = k_factors(block, group);
    device const uchar *high = block + 16 + first, *quants = block + 48 + group / 2 * 32 + first;
    weights16 out;
    for (uint i = 0; i < 4; i++) {
        const uint bits = (load_u32(quants + 4 * i) >> shift & 0x0F0F0F0F) | (load_u32(high + 4 * i) >> group & 0x01010101) << 4;
        out.w[i] = float4(as_type<uchar4>(bits)) * factors.x - factors.y;
    }
    return out;
}

// 256 weights: sixteen bytes of scale (low) and minimum (high), 64 of bit pairs, f16 d, f16 dmin. In each half of 128 weights, quarters of
// 32 are the pairs 0 to 3 of 32 bytes.
static inline weights16 decode_q2_k(device const uchar *row, uint part)
{
    device const uchar *block = row + part / 16 * 84;
    const uint sixteenth = part % 16, shift = sixteenth % 8 / 2 * 2;
    device const uchar *pairs = block + 16 + sixteenth / 8 * 32 + sixteenth % 2 * 16;
    const uint both = block[sixteenth];
    const float d = load_half(block + 80) * float(both & 15), m = load_half(block + 82) * float(both >> 4);
    weights16 out;
    for (uint i = 0; i < 4; i++) {
        out.w[i] = float4(as_type<uchar4>(load_u32(pairs + 4 * i) >> shift & 0x03030303)) * d - m;
    }
    return out;
}

// 256 weights: 32 bytes of third bits, 64 of bit pairs as in Q2_K, 12 bytes with sixteen 6-bit scales, f16 d; weight = d × (scale - 32) ×
// (q - 4).
static inline weights16 decode_q3_k(device const uchar *row, uint part)
{
    device const uchar *block = row + part / 16 * 110;
    const uint sixteenth = part % 16, first = sixteenth % 2 * 16, quarter = sixteenth % 8 / 2, half_block = sixteenth / 8;
    device const uchar *third = block + first, *pairs = block + 32 + half_block * 32 + first, *scales = block + 96;
    const uint scale = (scales[sixteenth % 8] >> half_block * 4 & 15) | (scales[8 + sixteenth % 4] >> sixteenth / 4 * 2 & 3) << 4;
    const float d = load_half(block + 108) * (float(scale) - 32.0f);
    weights16 out;
    for (uint i = 0; i < 4; i++) {
        const uint bits = (load_u32(pairs + 4 * i) >> quarter * 2 & 0x03030303) |
                          (load_u32(third + 4 * i) >> (half_block * 4 + quarter) & 0x01010101) << 2;
        out.w[i] = (float4(as_type<uchar4>(bits)) - 4.0f) * d;
    }
    return out;
}

// Codes of four bits for values that are not evenly spaced.
constant float values_iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constant float values_e2m1[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, 0, -0.5f, -1, -1.5f, -2, -3, -4, -6};

static inline float4 coded(constant float *values, uint bits)
{
    return float4(values[bits & 15], values[bits >> 8 & 15], values[bits >> 16 & 15], values[bits >> 24 & 15]);
}

static inline weights16 decode_iq4_nl(device const uchar *row, uint part)
{
    device const uchar *block = row + part / 2 * 18;
    const float scale = load_half(block);
    weights16 out;
    for (uint i = 0; i < 4; i++) {
        out.w[i] = coded(values_iq4, load_u32(block + 2 + 4 * i) >> part % 2 * 4) * scale;
    }
    return out;
}

// 256 weights: f16 d, eight 6-bit scales (bit pairs in 2 bytes, nibbles in 4), 128 bytes of codes.
static inline weights16 decode_iq4_xs(device const uchar *row, uint part)
{
    device const uchar *block = row + part / 16 * 136;
    const uint group = part % 16 / 2;
    const uint scale = (block[4 + group / 2] >> group % 2 * 4 & 15) | (load_u16(block + 2) >> group * 2 & 3) << 4;
    const float d = load_half(block) * (float(scale) - 32.0f);
    device const uchar *codes = block + 8 + group * 16;
    weights16 out;
    for (uint i = 0; i < 4; i++) {
        out.w[i] = coded(values_iq4, load_u32(codes + 4 * i) >> part % 2 * 4) * d;
    }
    return out;
}

// An exponent of base 2, less 127; that of 0 has none among normal floats.
static inline float from_e8m0(uint bits)
{
    return as_type<float>(max(bits << 23, 0x00400000u));
}

// 32 weights: an exponent, sixteen bytes of codes. Blocks of 17 bytes stand anywhere.
static inline weights16 decode_mxfp4(device const uchar *row, uint part)
{
    device const uchar *block = row + part / 2 * 17;
    const float scale = from_e8m0(block[0]);
    weights16 out;
    for (uint i = 0; i < 4; i++) {
        out.w[i] = coded(values_e2m1, load_bytes(block + 1 + 4 * i) >> part % 2 * 4) * scale;
    }
    return out;
}

// AFFINE: a scale and a bias, then codes of 2 to 8 bits, the first in the lowest bits; in groups of 32, 64 or 128.
static inline bool is_affine()
{
    return layout >= LAYOUT_AFFINE && layout < LAYOUT_F8;
}
static inline uint affine_bits()
{
    const uint number = (layout - LAYOUT_AFFINE) / 9;
    return number < 5 ? number + 2 : 8;
}
static inline uint affine_group()
{
    return 32u << (layout - LAYOUT_AFFINE) / 3 % 3;
}
static inline uint affine_head() // bytes before the codes
{
    return (layout - LAYOUT_AFFINE) % 3 == 2 ? 8 : 4;
}
static inline float affine_factor(device const uchar *from)
{
    switch ((layout - LAYOUT_AFFINE) % 3) {
    case 0: return load_half(from);
    case 1: return as_type<float>(uint(load_u16(from)) << 16);
    default: return *(device const float *)from; // blocks of these are whole words
    }
}
static inline float2 affine_factors(device const uchar *block)
{
    return float2(affine_factor(block), affine_factor(block + affine_head() / 2));
}

// Four codes take 8 to 32 bits, which begin within the first of two halfwords; the second may be beyond the row where it is not needed.
static inline uint affine_window(device const uchar *codes, uint i)
{
    const uint begin = i * 4 * affine_bits(), shift = begin % 16;
    device const uchar *from = codes + begin / 16 * 2;
    uint window = load_u16(from);
    if (shift + 4 * affine_bits() > 16) {
        window |= uint(load_u16(from + 2)) << 16;
    }
    return window >> shift;
}

static inline weights16 decode_affine(device const uchar *row, uint part)
{
    const uint bits = affine_bits(), group = affine_group(), parts = group / 16, head = affine_head();
    const uint mask = (1u << bits) - 1;
    device const uchar *block = row + part / parts * (head + group * bits / 8);
    const float2 factors = affine_factors(block);
    device const uchar *codes = block + head + part % parts * 2 * bits;
    weights16 out;
    for (uint i = 0; i < 4; i++) {
        const uint window = affine_window(codes, i);
        const uint4 four = uint4(window, window >> bits, window >> 2 * bits, window >> 3 * bits) & mask;
        out.w[i] = float4(four) * factors.x + factors.y;
    }
    return out;
}

// A sign, four bits of exponent with bias 7, three of fraction: a half whose exponent has another bias. 0x7F, no number, does not occur
// but where the scale is none.
static inline float from_e4m3(uint code)
{
    return float(as_type<half>(ushort((code & 0x80) << 8 | (code & 0x7F) << 7))) * 256.0f;
}

static inline float4 four_e4m3(uint codes)
{
    return float4(from_e4m3(codes & 255), from_e4m3(codes >> 8 & 255), from_e4m3(codes >> 16 & 255), from_e4m3(codes >> 24));
}

// 32 weights: an f32 scale, 32 codes.
static inline weights16 decode_f8(device const uchar *row, uint part)
{
    device const uchar *block = row + part / 2 * 36;
    const float scale = as_type<float>(load_u32(block));
    weights16 out;
    for (uint i = 0; i < 4; i++) {
        out.w[i] = four_e4m3(load_u32(block + 4 + part % 2 * 16 + 4 * i)) * scale;
    }
    return out;
}

// 32 weights: two scales e4m3, sixteen bytes of codes as in MXFP4.
static inline weights16 decode_nvfp4(device const uchar *row, uint part)
{
    device const uchar *block = row + part / 2 * 18;
    const float scale = from_e4m3(block[part % 2]);
    weights16 out;
    for (uint i = 0; i < 4; i++) {
        out.w[i] = coded(values_e2m1, load_u32(block + 2 + 4 * i) >> part % 2 * 4) * scale;
    }
    return out;
}

// 64 weights: an f32 factor, four scales, twice the codes of NVFP4.
static inline weights16 decode_nvfp4_f32(device const uchar *row, uint part)
{
    device const uchar *block = row + part / 4 * 40;
    const float scale = from_e4m3(block[4 + part % 4]) * as_type<float>(load_u32(block));
    weights16 out;
    for (uint i = 0; i < 4; i++) {
        out.w[i] = coded(values_e2m1, load_u32(block + 8 + part % 4 / 2 * 16 + 4 * i) >> part % 2 * 4) * scale;
    }
    return out;
}

static inline weights16 decode16(device const uchar *row, uint part)
{
    switch (layout) {
    case LAYOUT_F32: return decode_f32(row, part);
    case LAYOUT_F16: return decode_f16(row, part);
    case LAYOUT_BF16: return decode_bf16(row, part);
    case LAYOUT_Q4_0: return decode_q4_0(row, part);
    case LAYOUT_Q4_1: return decode_q4_1(row, part);
    case LAYOUT_Q5_0: return decode_q5_0(row, part);
    case LAYOUT_Q5_1: return decode_q5_1(row, part);
    case LAYOUT_Q8_0: return decode_q8_0(row, part);
    case LAYOUT_Q2_K: return decode_q2_k(row, part);
    case LAYOUT_Q3_K: return decode_q3_k(row, part);
    case LAYOUT_Q4_K: return decode_q4_k(row, part);
    case LAYOUT_Q5_K: return decode_q5_k(row, part);
    case LAYOUT_Q6_K: return decode_q6_k(row, part);
    case LAYOUT_IQ4_NL: return decode_iq4_nl(row, part);
    case LAYOUT_IQ4_XS: return decode_iq4_xs(row, part);
    case LAYOUT_MXFP4: return decode_mxfp4(row, part);
    case LAYOUT_F8: return decode_f8(row, part);
    case LAYOUT_NVFP4: return decode_nvfp4(row, part);
    case LAYOUT_NVFP4_F32: return decode_nvfp4_f32(row, part);
    default: return decode_affine(row, part);
    }
}

// One weight of a dense row: what is left when the columns are no multiple of 16.
static inline float decode_one(device const uchar *row, uint col)
{
    return layout == LAYOUT_F32   ? ((device const float *)row)[col]
           : layout == LAYOUT_F16 ? float(((device const half *)row)[col])
                                  : as_type<float>(uint(((device const ushort *)row)[col]) << 16);
}
