// Units: what a lane takes of a weight row at a time, so that bytes which its parts of 16 weights share are loaded once. A unit
// is a block of 32 weights (64 of NVFP4_F32), or a quarter of one of 256: then four neighbouring lanes have the block among
// them, and what all of them need each loads a share of; or a group of AFFINE, or half of one of 128: then two neighbouring
// lanes have it, and load a factor each. A layout that is not named here, one without blocks, has units of one part, as
// decode16 gives it.

struct weight_unit {
    uint quants[16];
    float scale[4], minimum[4];
    device const uchar *row;
    uint part; // its number in the row
};

static inline bool in_quarters()
{
    return layout == LAYOUT_Q2_K || layout == LAYOUT_Q3_K || layout == LAYOUT_Q4_K || layout == LAYOUT_Q5_K || layout == LAYOUT_Q6_K ||
           layout == LAYOUT_IQ4_XS;
}
static inline bool in_blocks_of_32()
{
    return layout == LAYOUT_Q4_0 || layout == LAYOUT_Q4_1 || layout == LAYOUT_Q5_0 || layout == LAYOUT_Q5_1 || layout == LAYOUT_Q8_0 ||
           layout == LAYOUT_IQ4_NL || layout == LAYOUT_MXFP4 || layout == LAYOUT_NVFP4 || layout == LAYOUT_F8;
}

static inline bool in_halves()
{
    return is_affine() && affine_group() == 128;
}

static inline uint unit_parts()
{
    return in_quarters() || layout == LAYOUT_NVFP4_F32 ? 4
           : in_blocks_of_32()                         ? 2
           : is_affine()                               ? min(affine_group() / 16, 4u)
                                                       : 1;
}

// Lanes that load units: quads are whole where neighbours need each other.
static inline uint whole_quads(uint units)
{
    return in_halves() ? (units + 3) / 4 * 4 : units;
}

// Where in its row the i-th part of a unit is. In Q2_K, Q3_K and Q6_K the parts that share bytes are 32 weights apart.
static inline uint unit_part(uint unit, uint i)
{
    const bool apart = layout == LAYOUT_Q2_K || layout == LAYOUT_Q3_K || layout == LAYOUT_Q6_K;
    return apart ? unit / 4 * 16 + unit % 4 / 2 * 8 + unit % 2 + 2 * i : unit * unit_parts() + i;
}

static inline void load_quants(thread weight_unit &u, uint first, device const uchar *from, uint words)
{
    for (uint i = 0; i < words; i++) {
        u.quants[first + i] = load_u32(from + 4 * i);
    }
}

// ---- Blocks of 32, and of 64 ----

static inline void load_block(thread weight_unit &u, device const uchar *row, uint unit)
{
    if (layout == LAYOUT_MXFP4) {
        device const uchar *block = row + unit * 17;
        u.scale[0] = from_e8m0(block[0]);
        for (uint i = 0; i < 4; i++) {
            u.quants[i] = load_bytes(block + 1 + 4 * i);
        }
        return;
    }
    if (layout == LAYOUT_NVFP4) {
        u.scale[0] = from_e4m3(row[unit * 18]);
        u.scale[1] = from_e4m3(row[unit * 18 + 1]);
        load_quants(u, 0, row + unit * 18 + 2, 4);
        return;
    }
    if (layout == LAYOUT_NVFP4_F32) {
        device const uchar *block = row + unit * 40;
        const float factor = as_type<float>(load_u32(block));
        for (uint i = 0; i < 4; i++) {
            u.scale[i] = from_e4m3(block[4 + i]) * factor;
        }
        load_quants(u, 0, block + 8, 8);
        return;
    }
    if (layout == LAYOUT_F8) {
        u.scale[0] = as_type<float>(load_u32(row + unit * 36));
        load_quants(u, 0, row + unit * 36 + 4, 8);
        return;
    }
    const bool has_minimum = layout == LAYOUT_Q4_1 || layout == LAYOUT_Q5_1, has_fifth = layout == LAYOUT_Q5_0 || layout == LAYOUT_Q5_1;
    const uint words = layout == LAYOUT_Q8_0 ? 8 : 4, before = 2 + (has_minimum ? 2 : 0) + (has_fifth ? 4 : 0);
    device const uchar *block = row + unit * (before + 4 * words);
    u.scale[0] = load_half(block);
    if (has_minimum) {
        u.minimum[0] = load_half(block + 2);
    }
    if (has_fifth) {
        u.quants[4] = load_u32(block + before - 4);
    }
    load_quants(u, 0, block + before, words);
}

static inline float4 block_four(thread const weight_unit &u, uint i, uint j)
{
    if (layout == LAYOUT_Q8_0) {
        return signed_bytes(u.quants[4 * i + j]) * u.scale[0];
    }
    if (layout == LAYOUT_F8) {
        return four_e4m3(u.quants[4 * i + j]) * u.scale[0];
    }
    if (layout == LAYOUT_NVFP4_F32) {
        return coded(values_e2m1, u.quants[i / 2 * 4 + j] >> (i % 2 * 4)) * u.scale[i];
    }
    const uint bits = u.quants[j] >> (4 * i);
    if (layout == LAYOUT_NVFP4) {
        return coded(values_e2m1, bits) * u.scale[i];
    }
    if (layout == LAYOUT_IQ4_NL) {
        return coded(values_iq4, bits) * u.scale[0];
    }
    if (layout == LAYOUT_MXFP4) {
        return coded(values_e2m1, bits) * u.scale[0];
    }
    if (layout == LAYOUT_Q4_0) {
        return (nibbles(bits) - 8.0f) * u.scale[0];
    }
    if (layout == LAYOUT_Q4_1) {
        return nibbles(bits) * u.scale[0] + u.minimum[0];
    }
    const float4 five = float4(as_type<uchar4>((bits & 0x0F0F0F0F) | fifth_bits(u.quants[4] >> (16 * i + 4 * j))));
    return layout == LAYOUT_Q5_0 ? (five - 16.0f) * u.scale[0] : five * u.scale[0] + u.minimum[0];
}

// ---- Quarters of 256 ----

// Four values of the four lanes of a block.
static inline uint4 of_block(uint own)
{
    return uint4(quad_broadcast(own, ushort(0)), quad_broadcast(own, ushort(1)), quad_broadcast(own, ushort(2)),
                 quad_broadcast(own, ushort(3)));
}

// Q4_K and Q5_K: 16 bytes of scales, in Q5_K 32 bytes of fifth bits, nibbles of two groups of 32.
static inline void load_q45_k(thread weight_unit &u, device const uchar *row, uint unit)
{
    device const uchar *block = row + unit / 4 * (layout == LAYOUT_Q4_K ? 144 : 176);
    const uint quarter = unit % 4;
    const uint4 header = of_block(load_u32(block + 4 * quarter));
    const half2 factors = as_type<half2>(header.x);
    load_quants(u, 0, block + (layout == LAYOUT_Q4_K ? 16 : 48) + 32 * quarter, 8);
    for (uint i = 0; i < 2; i++) {
        const uint shift = (quarter % 2 * 2 + i) * 8, low = header.y >> shift, high = header.z >> shift, both = header.w >> shift;
        const uint scale = quarter < 2 ? low & 63 : (both & 15) | (low >> 6 & 3) << 4;
        const uint minimum = quarter < 2 ? high & 63 : (both >> 4 & 15) | (high >> 6 & 3) << 4;
        u.scale[i] = float(factors.x) * float(scale);
        u.minimum[i] = float(factors.y) * float(minimum);
    }
    if (layout == LAYOUT_Q5_K) { // all groups have bits of the same bytes
        for (uint i = 0; i < 2; i++) {
            const uint4 fifths = of_block(load_u32(block + 16 + 16 * i + 4 * quarter)) >> (2 * quarter);
            for (uint j = 0; j < 4; j++) {
                u.quants[8 + 4 * i + j] = fifths[j];
            }
        }
    }
}

static inline void load_q6_k(thread weight_unit &u, device const uchar *row, uint unit)
{
    device const uchar *block = row + unit / 4 * 210;
    const uint half_block = unit % 4 / 2, first = unit % 2 * 16;
    const float factor = load_half(block + 208);
    load_quants(u, 0, block + half_block * 64 + first, 4);
    load_quants(u, 4, block + half_block * 64 + 32 + first, 4);
    load_quants(u, 8, block + 128 + half_block * 32 + first, 4);
    for (uint i = 0; i < 4; i++) {
        u.scale[i] = factor * float(as_type<char>(block[192 + half_block * 8 + 2 * i + unit % 2]));
    }
}

static inline void load_q2_k(thread weight_unit &u, device const uchar *row, uint unit)
{
    device const uchar *block = row + unit / 4 * 84;
    const uint half_block = unit % 4 / 2, sixteen = unit % 2;
    const uint4 bytes = of_block(uint(block[80 + unit % 4]));
    const half2 factors = as_type<half2>(bytes.x | bytes.y << 8 | bytes.z << 16 | bytes.w << 24);
    load_quants(u, 0, block + 16 + half_block * 32 + sixteen * 16, 4);
    for (uint i = 0; i < 4; i++) {
        const uint both = block[half_block * 8 + 2 * i + sixteen];
        u.scale[i] = float(factors.x) * float(both & 15);
        u.minimum[i] = float(factors.y) * float(both >> 4);
    }
}

static inline void load_q3_k(thread weight_unit &u, device const uchar *row, uint unit)
{
    device const uchar *block = row + unit / 4 * 110;
    const uint quarter = unit % 4, half_block = quarter / 2, sixteen = quarter % 2;
    // the last lane's first half is d, which ends the block
    const uint4 header = of_block(uint(load_u16(block + 96 + 4 * quarter)) | uint(load_u16(block + 98 + 4 * min(quarter, 2u))) << 16);
    const float d = float(as_type<half2>(header.w).x);
    load_quants(u, 0, block + 32 + half_block * 32 + sixteen * 16, 4);
    for (uint i = 0; i < 2; i++) { // both halves have bits of the same bytes: each loads one half of them
        const uint own = load_u32(block + sixteen * 16 + half_block * 8 + 4 * i), other = quad_shuffle_xor(own, ushort(2));
        u.quants[4 + i] = half_block == 0 ? own : other;
        u.quants[6 + i] = half_block == 0 ? other : own;
    }
    for (uint i = 0; i < 4; i++) {
        const uint eighth = 2 * i + sixteen, sixteenth = half_block * 8 + eighth;
        const uint low = (eighth < 4 ? header.x : header.y) >> (eighth % 4 * 8 + half_block * 4) & 15;
        const uint high = header.z >> (sixteenth % 4 * 8 + sixteenth / 4 * 2) & 3;
        u.scale[i] = d * (float(low | high << 4) - 32.0f);
    }
}

static inline void load_iq4_xs(thread weight_unit &u, device const uchar *row, uint unit)
{
    device const uchar *block = row + unit / 4 * 136;
    const uint quarter = unit % 4;
    const uint4 header = of_block(uint(load_u16(block + 2 * quarter)));
    const float d = float(as_type<half2>(header.x).x);
    const uint low = (quarter < 2 ? header.z : header.w) >> (quarter % 2 * 8);
    load_quants(u, 0, block + 8 + 32 * quarter, 8);
    for (uint i = 0; i < 2; i++) {
        u.scale[i] = d * (float((low >> (4 * i) & 15) | (header.y >> (4 * quarter + 2 * i) & 3) << 4) - 32.0f);
    }
}

static inline void load_quarter(thread weight_unit &u, device const uchar *row, uint unit)
{
    switch (layout) {
    case LAYOUT_Q2_K: load_q2_k(u, row, unit); break;
    case LAYOUT_Q3_K: load_q3_k(u, row, unit); break;
    case LAYOUT_Q6_K: load_q6_k(u, row, unit); break;
    case LAYOUT_IQ4_XS: load_iq4_xs(u, row, unit); break;
    default: load_q45_k(u, row, unit); break;
    }
}

static inline float4 quarter_four(thread const weight_unit &u, uint i, uint j)
{
    if (layout == LAYOUT_IQ4_XS) {
        return coded(values_iq4, u.quants[i / 2 * 4 + j] >> (i % 2 * 4)) * u.scale[i / 2];
    }
    if (layout == LAYOUT_Q2_K) {
        return float4(as_type<uchar4>(u.quants[j] >> (2 * i) & 0x03030303)) * u.scale[i] - u.minimum[i];
    }
    if (layout == LAYOUT_Q3_K) {
        const uint third = u.quants[4 + j] >> ((u.part % 4 / 2) * 4 + i) & 0x01010101;
        return (float4(as_type<uchar4>((u.quants[j] >> (2 * i) & 0x03030303) | third << 2)) - 4.0f) * u.scale[i];
    }
    const uint low = u.quants[i % 2 * 4 + j] >> (i / 2 * 4) & 0x0F0F0F0F;
    if (layout == LAYOUT_Q6_K) {
        return (float4(as_type<uchar4>(low | (u.quants[8 + j] >> (2 * i) & 0x03030303) << 4)) - 32.0f) * u.scale[i];
    }
    const uint fifth = layout == LAYOUT_Q5_K ? (u.quants[8 + i % 2 * 4 + j] >> (i / 2) & 0x01010101) << 4 : 0;
    return float4(as_type<uchar4>(low | fifth)) * u.scale[i / 2] - u.minimum[i / 2];
}

// ---- AFFINE: groups, or their halves ----

static inline float2 halves_factors(device const uchar *block, uint unit, bool inside)
{
    const float own = inside ? affine_factor(block + unit % 2 * (affine_head() / 2)) : 0.0f;
    const float other = quad_shuffle_xor(own, ushort(1));
    return unit % 2 == 0 ? float2(own, other) : float2(other, own);
}

// `inside`: the row has this unit.
static inline void load_affine(thread weight_unit &u, device const uchar *row, uint unit, bool inside)
{
    const uint units = affine_group() / 16 / unit_parts(), head = affine_head(), bytes = unit_parts() * 2 * affine_bits();
    device const uchar *block = row + unit / units * (head + units * bytes);
    const float2 factors = in_halves() ? halves_factors(block, unit, inside) : affine_factors(block);
    u.scale[0] = factors.x;
    u.minimum[0] = factors.y;
    if (inside) {
        load_quants(u, 0, block + head + unit % units * bytes, bytes / 4);
    }
}

// Four codes of the bit stream.
static inline float4 affine_four(thread const weight_unit &u, uint i, uint j)
{
    const uint bits = affine_bits(), begin = (4 * i + j) * 4 * bits, shift = begin % 32;
    uint window = u.quants[begin / 32] >> shift;
    if (shift + 4 * bits > 32) {
        window |= u.quants[begin / 32 + 1] << (32 - shift);
    }
    const uint4 codes = uint4(window, window >> bits, window >> 2 * bits, window >> 3 * bits) & ((1u << bits) - 1);
    return float4(codes) * u.scale[0] + u.minimum[0];
}

// ---- Any ----

// Of a row of so many units; lanes up to whole_quads(units) take part.
static inline weight_unit load_unit(device const uchar *row, uint unit, uint units)
{
    weight_unit u;
    u.row = row;
    u.part = unit;
    if (in_quarters()) {
        load_quarter(u, row, unit);
    } else if (in_blocks_of_32() || layout == LAYOUT_NVFP4_F32) {
        load_block(u, row, unit);
    } else if (is_affine()) {
        load_affine(u, row, unit, unit < units);
    }
    return u;
}

// Weights 4 j to 4 j + 3 of the i-th part of a unit that has more than one.
static inline float4 unit_four(thread const weight_unit &u, uint i, uint j)
{
    return in_quarters() ? quarter_four(u, i, j) : is_affine() ? affine_four(u, i, j) : block_four(u, i, j);
}

static inline weights16 decode_unit(thread const weight_unit &u, uint i)
{
    if (unit_parts() == 1) {
        return decode16(u.row, u.part);
    }
    weights16 out;
    for (uint j = 0; j < 4; j++) {
        out.w[j] = unit_four(u, i, j);
    }
    return out;
}
