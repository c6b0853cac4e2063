// Units: what a lane of linear_rows takes of a weight row at a time. The parts of 16 weights of a unit share bytes, which are loaded once; a
// layout that is not named here has units of one part, as decode16 gives it.

struct weight_unit {
    uint quants[12];
    float scale[4], minimum[4];
    device const uchar *row;
    uint part; // the first of its parts
};

static inline uint unit_parts()
{
    return layout == LAYOUT_Q4_0 || layout == LAYOUT_Q4_1 || layout == LAYOUT_Q8_0 ? 2 : layout == LAYOUT_Q4_K || layout == LAYOUT_Q6_K ? 4 : 1;
}

// Where in its row the i-th part of a unit is. In 256 weights of Q6_K the parts that share their high bits are 32 weights apart.
static inline uint unit_part(uint unit, uint i)
{
    return layout == LAYOUT_Q6_K ? unit / 4 * 16 + unit % 4 / 2 * 8 + unit % 2 + 2 * i : unit * unit_parts() + i;
}

static inline void load_quants(thread weight_unit &u, uint first, device const uchar *from, uint words)
{
    for (uint i = 0; i < words; i++) {
        u.quants[first + i] = load_u32(from + 4 * i);
    }
}

// A block of 256 weights is four units of 64, of four neighbouring lanes: each loads a quarter of the 16 bytes of scales.
static inline void load_q4_k(thread weight_unit &u, device const uchar *row, uint unit)
{
    device const uchar *block = row + unit / 4 * 144;
    const uint quarter = unit % 4, own = load_u32(block + 4 * quarter);
    const half2 factors = as_type<half2>(quad_broadcast(own, ushort(0)));
    const uint first = quad_broadcast(own, ushort(1)), second = quad_broadcast(own, ushort(2)), third = quad_broadcast(own, ushort(3));
    load_quants(u, 0, block + 16 + 32 * quarter, 8);
    for (uint i = 0; i < 2; i++) { // groups of 32
        const uint shift = (quarter % 2 * 2 + i) * 8, low = first >> shift, high = second >> shift, both = third >> shift;
        const uint scale = quarter < 2 ? low & 63 : (both & 15) | (low >> 6 & 3) << 4;
        const uint minimum = quarter < 2 ? high & 63 : (both >> 4 & 15) | (high >> 6 & 3) << 4;
        u.scale[i] = float(factors.x) * float(scale);
        u.minimum[i] = float(factors.y) * float(minimum);
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

static inline weight_unit load_unit(device const uchar *row, uint unit)
{
    weight_unit u;
    u.row = row;
    u.part = unit;
    if (layout == LAYOUT_Q4_0) {
        u.scale[0] = load_half(row + unit * 18);
        load_quants(u, 0, row + unit * 18 + 2, 4);
    } else if (layout == LAYOUT_Q4_1) {
        u.scale[0] = load_half(row + unit * 20);
        u.minimum[0] = load_half(row + unit * 20 + 2);
        load_quants(u, 0, row + unit * 20 + 4, 4);
    } else if (layout == LAYOUT_Q8_0) {
        u.scale[0] = load_half(row + unit * 34);
        load_quants(u, 0, row + unit * 34 + 2, 8);
    } else if (layout == LAYOUT_Q4_K) {
        load_q4_k(u, row, unit);
    } else if (layout == LAYOUT_Q6_K) {
        load_q6_k(u, row, unit);
    }
    return u;
}

static inline weights16 decode_unit(thread const weight_unit &u, uint i)
{
    weights16 out;
    if (unit_parts() == 1) {
        return decode16(u.row, u.part);
    }
    for (uint j = 0; j < 4; j++) {
        if (layout == LAYOUT_Q4_0) {
            out.w[j] = (nibbles(u.quants[j] >> (4 * i)) - 8.0f) * u.scale[0];
        } else if (layout == LAYOUT_Q4_1) {
            out.w[j] = nibbles(u.quants[j] >> (4 * i)) * u.scale[0] + u.minimum[0];
        } else if (layout == LAYOUT_Q8_0) {
            out.w[j] = signed_bytes(u.quants[4 * i + j]) * u.scale[0];
        } else if (layout == LAYOUT_Q4_K) {
            out.w[j] = nibbles(u.quants[i % 2 * 4 + j] >> (i / 2 * 4)) * u.scale[i / 2] - u.minimum[i / 2];
        } else {
            const uint bits = (u.quants[i % 2 * 4 + j] >> (i / 2 * 4) & 0x0F0F0F0F) | (u.quants[8 + j] >> (2 * i) & 0x03030303) << 4;
            out.w[j] = (float4(as_type<uchar4>(bits)) - 32.0f) * u.scale[i];
        }
    }
    return out;
}
