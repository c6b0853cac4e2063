// Weight layouts: how a block of each is decoded. A matrix kernel is made from these by the function constant `layout`; adding a layout
// means a decoder here and a line in each of the three functions at the end.

constant uint layout [[function_constant(0)]]; // pv_layout

// pv_layout of format/layout.h
constant constexpr uint LAYOUT_F32 = 0, LAYOUT_F16 = 1, LAYOUT_BF16 = 2, LAYOUT_Q4_0 = 3, LAYOUT_Q4_1 = 4, LAYOUT_Q8_0 = 5,
                        LAYOUT_Q4_K = 6, LAYOUT_Q6_K = 7;

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

// 256 weights: f16 d, f16 dmin, 12 bytes with eight 6-bit scales and minima, 128 bytes of nibbles; groups of 32, two to 32 bytes.
static inline weights16 decode_q4_k(device const uchar *row, uint part)
{
    device const uchar *block = row + part / 16 * 144;
    const uint group = part % 16 / 2;
    device const uchar *packed = block + 4;
    uint scale, minimum;
    if (group < 4) {
        scale = packed[group] & 63;
        minimum = packed[group + 4] & 63;
    } else {
        scale = (packed[group + 4] & 15) | (packed[group - 4] >> 6) << 4;
        minimum = packed[group + 4] >> 4 | (packed[group] >> 6) << 4;
    }
    const float d = load_half(block) * float(scale), m = load_half(block + 2) * float(minimum);
    const uint shift = group % 2 * 4;
    device const uchar *quants = block + 16 + group / 2 * 32 + part % 2 * 16;
    weights16 out;
    for (uint i = 0; i < 4; i++) {
        out.w[i] = nibbles(load_u32(quants + 4 * i) >> shift) * d - m;
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

static inline weights16 decode16(device const uchar *row, uint part)
{
    return layout == LAYOUT_F32    ? decode_f32(row, part)
           : layout == LAYOUT_F16  ? decode_f16(row, part)
           : layout == LAYOUT_BF16 ? decode_bf16(row, part)
           : layout == LAYOUT_Q4_0 ? decode_q4_0(row, part)
           : layout == LAYOUT_Q4_1 ? decode_q4_1(row, part)
           : layout == LAYOUT_Q8_0 ? decode_q8_0(row, part)
           : layout == LAYOUT_Q4_K ? decode_q4_k(row, part)
                                   : decode_q6_k(row, part);
}

// One weight of a dense row: what is left when the columns are no multiple of 16.
static inline float decode_one(device const uchar *row, uint col)
{
    return layout == LAYOUT_F32   ? ((device const float *)row)[col]
           : layout == LAYOUT_F16 ? float(((device const half *)row)[col])
                                  : as_type<float>(uint(((device const ushort *)row)[col]) << 16);
}
