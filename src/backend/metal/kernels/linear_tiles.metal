// linear for many rows: tiles of x and of the weights, decoded, go through threadgroup memory into simdgroup matrices. A threadgroup of four
// simdgroups makes a tile of out, each 16 rows × 32 columns of it, as 2 × 4 matrices. A norm's weights join when x is brought, its factor,
// from the squares of what passes by, when out is written. With glu half of the tile's columns are of the gate, the others of the same
// columns of up.

#define TILE_ROWS 32 // of x
#define TILE_OUTS 64 // weight rows
#define TILE_COLS 32 // of both factors, a step
#define STRIDE 36    // floats from row to row of a tile: so that a matrix's rows begin in different banks

// A thread brings 8 columns of one row of x; the squares of what it brought are added.
static inline void bring_x(constant pv_args_linear &args, device const float *x, device const float *norm, uint first_row, uint rows,
                           uint first_col, uint thread_index, threadgroup float *x_tile, thread float &squares)
{
    const uint r = thread_index / 4, c = thread_index % 4 * 8;
    device const float *from = x + ulong(first_row + r) * args.x_stride;
    for (uint i = 0; i < 8; i++) {
        const uint col = first_col + c + i;
        float value = first_row + r < rows && col < args.cols ? from[col] : 0.0f;
        if (with_norm != 0) {
            squares = fma(value, value, squares);
            value *= col < args.cols ? norm[col] : 0.0f;
        }
        x_tile[r * STRIDE + c + i] = value;
    }
}

// A thread brings 16 weights of one row.
static inline void bring_weights(constant pv_args_linear &args, device const uchar *row, uint first_col, uint thread_index,
                                 threadgroup float *w_tile)
{
    const uint o = thread_index / 2, col = first_col + thread_index % 2 * 16;
    threadgroup float *to = w_tile + o * STRIDE + thread_index % 2 * 16;
    if (col + 16 <= args.cols) {
        const weights16 w = decode16(row, col / 16);
        for (uint i = 0; i < 4; i++) {
            for (uint j = 0; j < 4; j++) {
                to[4 * i + j] = w.w[i][j];
            }
        }
    } else {
        for (uint i = 0; i < 16; i++) {
            to[i] = col + i < args.cols ? decode_one(row, col + i) : 0.0f;
        }
    }
}

static inline void multiply_tiles(threadgroup const float *x_tile, threadgroup const float *w_tile, uint block_row, uint block_out,
                                  thread simdgroup_float8x8 (&sums)[2][4])
{
    for (uint c = 0; c < TILE_COLS; c += 8) {
        simdgroup_float8x8 a[2], b[4];
        for (uint i = 0; i < 2; i++) {
            simdgroup_load(a[i], x_tile + (block_row + 8 * i) * STRIDE + c, STRIDE);
        }
        for (uint j = 0; j < 4; j++) {
            simdgroup_load(b[j], w_tile + (block_out + 8 * j) * STRIDE + c, STRIDE, ulong2(0, 0), true);
        }
        for (uint i = 0; i < 2; i++) {
            for (uint j = 0; j < 4; j++) {
                simdgroup_multiply_accumulate(sums[i][j], a[i], b[j], sums[i][j]);
            }
        }
    }
}

kernel void linear_tiles(device const uchar *step [[buffer(0)]], constant pv_args_linear &args [[buffer(1)]],
                         device const float *x [[buffer(2)]], device const float *norm [[buffer(3)]],
                         device const float *residual [[buffer(4)]], device const uchar *weight0 [[buffer(5)]],
                         device const uchar *weight1 [[buffer(6)]], device const uchar *weight2 [[buffer(7)]],
                         device const float *bias0 [[buffer(8)]], device const float *bias1 [[buffer(9)]],
                         device const float *bias2 [[buffer(10)]], device float *out0 [[buffer(11)]], device float *out1 [[buffer(12)]],
                         device float *out2 [[buffer(13)]], device const uint *first_group [[buffer(14)]],
                         uint2 group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
                         uint simdgroup [[simdgroup_index_in_threadgroup]])
{
    threadgroup float tiles[(TILE_ROWS + TILE_OUTS) * STRIDE]; // of x and weights, at the end of out: TILE_ROWS × TILE_OUTS
    threadgroup float factors[TILE_ROWS];
    device const float *const biases[3] = {bias0, bias1, bias2};
    device float *const outs[3] = {out0, out1, out2};
    const uint columns = with_glu != 0 ? TILE_OUTS / 2 : TILE_OUTS;
    const part_place place = find_part(args, group.x, columns);
    const uint rows = real_rows(step, args.extent), first_row = (group.y + *first_group) * TILE_ROWS;
    if (first_row >= rows || place.first >= args.rows[place.part]) {
        return;
    }
    threadgroup float *x_tile = tiles, *w_tile = tiles + TILE_ROWS * STRIDE;
    // the weight row that this thread brings; beyond the end the last one again
    const uint own = thread_index / 2, own_part = with_glu != 0 ? own / columns : place.part;
    device const uchar *weight_row = (own_part == 0 ? weight0 : own_part == 1 ? weight1 : weight2) +
                                     ulong(min(place.first + own % columns, args.rows[own_part] - 1)) * args.row_bytes[own_part];
    const uint block_row = simdgroup / 2 * 16, block_out = simdgroup % 2 * 32;
    float squares = 0.0f;
    simdgroup_float8x8 sums[2][4];
    for (uint i = 0; i < 2; i++) {
        for (uint j = 0; j < 4; j++) {
            sums[i][j] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
        }
    }
    for (uint first_col = 0; first_col < args.cols; first_col += TILE_COLS) {
        threadgroup_barrier(mem_flags::mem_threadgroup);
        bring_x(args, x, norm, first_row, rows, first_col, thread_index, x_tile, squares);
        bring_weights(args, weight_row, first_col, thread_index, w_tile);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        multiply_tiles(x_tile, w_tile, block_row, block_out, sums);
    }
    if (with_norm != 0) { // four threads share a row
        squares += simd_shuffle_xor(squares, ushort(1));
        squares += simd_shuffle_xor(squares, ushort(2));
        if (thread_index % 4 == 0) {
            factors[thread_index / 4] = 1.0f / precise::sqrt(squares / float(args.cols) + args.epsilon);
        }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint i = 0; i < 2; i++) {
        for (uint j = 0; j < 4; j++) {
            simdgroup_store(sums[i][j], tiles + (block_row + 8 * i) * TILE_OUTS + block_out + 8 * j, TILE_OUTS);
        }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint i = thread_index; i < TILE_ROWS * columns; i += SIMDGROUPS * PV_METAL_SIMD) {
        const uint r = i / columns, c = i % columns, row = first_row + r, column = place.first + c;
        if (row >= rows || column >= args.rows[place.part]) {
            continue;
        }
        const float factor = with_norm != 0 ? factors[r] : 1.0f;
        float result = tiles[r * TILE_OUTS + c] * factor;
        if ((args.has_bias >> place.part & 1) != 0) {
            result += biases[place.part][column];
        }
        if (with_glu != 0) {
            float up = tiles[r * TILE_OUTS + columns + c] * factor;
            if ((args.has_bias >> 1 & 1) != 0) {
                up += biases[1][column];
            }
            result = activate(with_glu, result) * up;
        }
        if (args.has_residual != 0) {
            result += residual[ulong(row) * args.residual_stride + column];
        }
        outs[place.part][ulong(row) * args.out_stride[place.part] + column] = result;
    }
}
