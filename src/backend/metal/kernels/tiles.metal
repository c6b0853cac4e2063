// Tiles of a product of many rows: 32 rows of x and 64 weight rows, decoded, go through threadgroup memory into simdgroup
// matrices, 32 columns a step. Of the 128 threads four bring a row of x and two weight rows, eight columns of each a step. The
// four hold a unit of either weight row: they load it once, and decode it in as many steps as it takes; so the columns of a
// step are not neighbours but what the four units have at the same place. Each simdgroup multiplies all rows with 16 of the
// weight rows; blocks of eight rows that are beyond the tile's count are not multiplied.

#define SIMDGROUPS 4
#define TILE_ROWS 32   // of x
#define TILE_OUTS 64   // weight rows
#define TILE_COLS 32   // of both, a step
#define STRIDE 36      // floats from row to row of a tile: so that a matrix's rows begin in different banks
#define TILE_FLOATS ((TILE_ROWS + TILE_OUTS) * STRIDE)
#define ROW_BLOCKS (TILE_ROWS / 8)
#define OUT_BLOCKS (TILE_OUTS / 8 / SIMDGROUPS) // of a simdgroup

// What a thread brings.
struct tile_share {
    bool has_x; // else zeros
    device const float *x;
    device const uchar *weights[2];
};

static inline bool is_dense()
{
    return layout == LAYOUT_F32 || layout == LAYOUT_F16 || layout == LAYOUT_BF16;
}

static inline void put_four(threadgroup float *to, float4 values)
{
    for (uint i = 0; i < 4; i++) {
        to[i] = values[i];
    }
}

static inline void bring_x(thread const tile_share &share, uint col, uint cols, threadgroup float *to)
{
    if (share.has_x && col + 8 <= cols) {
        device const packed_float4 *from = (device const packed_float4 *)(share.x + col);
        put_four(to, float4(from[0]));
        put_four(to + 4, float4(from[1]));
        return;
    }
    for (uint i = 0; i < 8; i++) {
        to[i] = share.has_x && col + i < cols ? share.x[col + i] : 0.0f;
    }
}

// Eight weights of a row of a layout without blocks; rows of odd length are not aligned.
static inline void bring_dense(device const uchar *row, uint col, uint cols, threadgroup float *to)
{
    for (uint i = 0; i < 8 && col + 8 <= cols; i += 4) {
        const uint four = (col + i) / 4;
        if (layout == LAYOUT_F32) {
            put_four(to + i, float4(((device const packed_float4 *)row)[four]));
        } else if (layout == LAYOUT_F16) {
            put_four(to + i, float4(half4(((device const packed_half4 *)row)[four])));
        } else {
            put_four(to + i, as_type<float4>(uint4(ushort4(((device const packed_ushort4 *)row)[four])) << 16));
        }
    }
    for (uint i = 0; i < 8 && col + 8 > cols; i++) {
        to[i] = col + i < cols ? decode_one(row, col + i) : 0.0f;
    }
}

// Of both units the `step`-th eight weights.
static inline void bring_units(thread const weight_unit (&units)[2], bool inside, uint step, threadgroup float *to)
{
    for (uint s = 0; s < 2 * unit_parts(); s++) { // one of these is taken: a unit's words stay in registers
        if (s != step) {
            continue;
        }
        for (uint o = 0; o < 2; o++) {
            threadgroup float *own = to + o * (TILE_OUTS / 2 * STRIDE);
            put_four(own, inside ? unit_four(units[o], s / 2, s % 2 * 2) : float4(0.0f));
            put_four(own + 4, inside ? unit_four(units[o], s / 2, s % 2 * 2 + 1) : float4(0.0f));
        }
    }
}

static inline void multiply_tiles(threadgroup const float *x_tile, threadgroup const float *w_tile, uint blocks,
                                  thread simdgroup_float8x8 (&sums)[ROW_BLOCKS][OUT_BLOCKS])
{
    for (uint c = 0; c < TILE_COLS; c += 8) {
        simdgroup_float8x8 a, b[OUT_BLOCKS];
        for (uint j = 0; j < OUT_BLOCKS; j++) {
            simdgroup_load(b[j], w_tile + 8 * j * STRIDE + c, STRIDE, ulong2(0, 0), true);
        }
        for (uint i = 0; i < ROW_BLOCKS; i++) {
            if (i >= blocks) {
                break;
            }
            simdgroup_load(a, x_tile + 8 * i * STRIDE + c, STRIDE);
            for (uint j = 0; j < OUT_BLOCKS; j++) {
                simdgroup_multiply_accumulate(sums[i][j], a, b[j], sums[i][j]);
            }
        }
    }
}

// tiles[TILE_ROWS][TILE_OUTS] = x · weightsᵀ, of the first `blocks` blocks of eight rows.
static inline void product_of_tiles(thread const tile_share &share, uint cols, uint blocks, uint thread_index, uint simdgroup,
                                    threadgroup float *tiles)
{
    const uint row = thread_index / 4, quarter = thread_index % 4;
    threadgroup float *x_tile = tiles, *w_tile = tiles + TILE_ROWS * STRIDE;
    threadgroup float *x_to = x_tile + row * STRIDE + 8 * quarter, *w_to = w_tile + row * STRIDE + 8 * quarter;
    threadgroup const float *own = w_tile + 8 * OUT_BLOCKS * simdgroup * STRIDE;
    simdgroup_float8x8 sums[ROW_BLOCKS][OUT_BLOCKS];
    for (uint i = 0; i < ROW_BLOCKS; i++) {
        for (uint j = 0; j < OUT_BLOCKS; j++) {
            sums[i][j] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
        }
    }
    const uint units = is_dense() ? (cols + 7) / 8 : cols / (16 * unit_parts()), steps = is_dense() ? 1 : 2 * unit_parts();
    for (uint first = 0; first < units; first += 4) {
        const uint unit = first + quarter;
        const bool inside = unit < units;
        weight_unit held[2];
        for (uint o = 0; o < 2 && !is_dense(); o++) {
            if (inside || whole_quads(units) > unit) {
                held[o] = load_unit(share.weights[o], unit, units);
            }
        }
        for (uint step = 0; step < steps; step++) {
            const uint col = is_dense() ? 8 * unit : inside ? 16 * unit_part(unit, step / 2) + 8 * (step % 2) : cols;
            threadgroup_barrier(mem_flags::mem_threadgroup);
            bring_x(share, col, cols, x_to);
            if (is_dense()) {
                bring_dense(share.weights[0], col, cols, w_to);
                bring_dense(share.weights[1], col, cols, w_to + TILE_OUTS / 2 * STRIDE);
            } else {
                bring_units(held, inside, step, w_to);
            }
            threadgroup_barrier(mem_flags::mem_threadgroup);
            multiply_tiles(x_tile, own, blocks, sums);
        }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint i = 0; i < ROW_BLOCKS; i++) {
        for (uint j = 0; j < OUT_BLOCKS && i < blocks; j++) {
            simdgroup_store(sums[i][j], tiles + 8 * i * TILE_OUTS + 8 * (OUT_BLOCKS * simdgroup + j), TILE_OUTS);
        }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
}
