// linear: out = x' · weightᵀ and what is fused with it. Up to 8 rows each weight is read once, straight into the sums (linear_rows);
// with more, tiles of both factors go through threadgroup memory into simdgroup matrices (linear_tiles).
//
// `layout`, function constant 0, stands in layouts.metal.

constant uint with_norm [[function_constant(1)]];
constant uint with_glu [[function_constant(2)]];

#define SIMDGROUPS 4 // of a threadgroup

// What a threadgroup's number means: a part, and the first of its columns of out.
struct part_place {
    uint part, first;
};

static inline part_place find_part(constant pv_args_linear &args, uint group, uint columns)
{
    part_place place = {0, 0};
    for (uint p = 0; p < 3; p++) {
        const uint groups = (args.rows[p] + columns - 1) / columns;
        if (group < groups) {
            place.part = p;
            place.first = group * columns;
            break;
        }
        group -= groups;
        place.first = 0xFFFFFFFF; // beyond all parts
    }
    return place;
}

// Σ over a row's columns of weight × x (× norm), for OUTS weight rows and ROWS rows of x. Lanes take 16 columns in turn.
template <uint ROWS, uint OUTS>
static inline void dot_rows(constant pv_args_linear &args, device const uchar *const thread weights[OUTS], device const float *x,
                            device const float *norm, uint rows, uint lane, thread float (&sums)[ROWS][OUTS], thread float (&squares)[ROWS])
{
    const uint parts = args.cols / 16;
    for (uint part = lane; part < parts; part += PV_METAL_SIMD) {
        weights16 w[OUTS];
        for (uint o = 0; o < OUTS; o++) {
            w[o] = decode16(weights[o], part);
        }
        for (uint r = 0; r < ROWS; r++) {
            if (r >= rows) {
                break;
            }
            device const packed_float4 *from = (device const packed_float4 *)(x + ulong(r) * args.x_stride) + 4 * part;
            for (uint i = 0; i < 4; i++) {
                float4 value = float4(from[i]);
                if (with_norm != 0) {
                    squares[r] += dot(value, value);
                    value *= float4(((device const packed_float4 *)norm)[4 * part + i]);
                }
                for (uint o = 0; o < OUTS; o++) {
                    sums[r][o] += dot(value, w[o].w[i]);
                }
            }
        }
    }
    for (uint col = 16 * parts + lane; col < args.cols; col += PV_METAL_SIMD) {
        for (uint r = 0; r < ROWS; r++) {
            if (r >= rows) {
                break;
            }
            float value = x[ulong(r) * args.x_stride + col];
            if (with_norm != 0) {
                squares[r] = fma(value, value, squares[r]);
                value *= norm[col];
            }
            for (uint o = 0; o < OUTS; o++) {
                sums[r][o] = fma(value, decode_one(weights[o], col), sums[r][o]);
            }
        }
    }
}

// A simdgroup OUTS columns of out; with glu half of them, of gate and up in turn.
template <uint ROWS, uint OUTS>
static inline void linear_rows(device const uchar *step, constant pv_args_linear &args, device const float *x, device const float *norm,
                               device const float *residual, device const uchar *const thread (&weights)[3],
                               device const float *const thread (&biases)[3], device float *const thread (&outs)[3], uint group,
                               uint simdgroup, uint lane)
{
    const uint columns = with_glu != 0 ? OUTS / 2 : OUTS;
    const part_place place = find_part(args, group, columns * SIMDGROUPS);
    const uint rows = min(real_rows(step, args.extent), ROWS);
    const uint first = place.first + simdgroup * columns;
    if (first >= args.rows[place.part]) {
        return;
    }
    device const uchar *row[OUTS];
    for (uint o = 0; o < OUTS; o++) {
        const uint p = with_glu != 0 ? o % 2 : place.part;
        const uint column = min(first + (with_glu != 0 ? o / 2 : o), args.rows[p] - 1); // beyond the end the last one again
        row[o] = weights[p] + ulong(column) * args.row_bytes[p];
    }
    float sums[ROWS][OUTS] = {}, squares[ROWS] = {};
    dot_rows<ROWS, OUTS>(args, row, x, norm, rows, lane, sums, squares);
    for (uint r = 0; r < ROWS; r++) {
        if (r >= rows) {
            break;
        }
        const float factor = with_norm != 0 ? 1.0f / precise::sqrt(simd_sum(squares[r]) / float(args.cols) + args.epsilon) : 1.0f;
        float value[OUTS];
        for (uint o = 0; o < OUTS; o++) {
            value[o] = simd_sum(sums[r][o]) * factor;
            const uint p = with_glu != 0 ? o % 2 : place.part, column = first + (with_glu != 0 ? o / 2 : o);
            if ((args.has_bias >> p & 1) != 0 && column < args.rows[p]) {
                value[o] += biases[p][column];
            }
        }
        if (lane != 0) {
            continue;
        }
        for (uint c = 0; c < columns && first + c < args.rows[place.part]; c++) {
            float result = with_glu != 0 ? silu(value[2 * c]) * value[2 * c + 1] : value[c];
            if (args.has_residual != 0) {
                result += residual[ulong(r) * args.residual_stride + first + c];
            }
            outs[place.part][ulong(r) * args.out_stride[place.part] + first + c] = result;
        }
    }
}

#define LINEAR_ROWS(rows, columns)                                                                                                        \
    kernel void linear_rows##rows(                                                                                                        \
        device const uchar *step [[buffer(0)]], constant pv_args_linear &args [[buffer(1)]], device const float *x [[buffer(2)]],         \
        device const float *norm [[buffer(3)]], device const float *residual [[buffer(4)]], device const uchar *weight0 [[buffer(5)]],    \
        device const uchar *weight1 [[buffer(6)]], device const uchar *weight2 [[buffer(7)]], device const float *bias0 [[buffer(8)]],    \
        device const float *bias1 [[buffer(9)]], device const float *bias2 [[buffer(10)]], device float *out0 [[buffer(11)]],             \
        device float *out1 [[buffer(12)]], device float *out2 [[buffer(13)]], uint group [[threadgroup_position_in_grid]],                \
        uint simdgroup [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]])                                       \
    {                                                                                                                                     \
        device const uchar *const weights[3] = {weight0, weight1, weight2};                                                               \
        device const float *const biases[3] = {bias0, bias1, bias2};                                                                      \
        device float *const outs[3] = {out0, out1, out2};                                                                                 \
        linear_rows<rows, columns>(step, args, x, norm, residual, weights, biases, outs, group, simdgroup, lane);                         \
    }

LINEAR_ROWS(1, 4)
LINEAR_ROWS(2, 4)
LINEAR_ROWS(4, 4)
LINEAR_ROWS(8, 2)

// ---- Many rows ----

#define TILE_ROWS 32 // of x
#define TILE_OUTS 64 // columns of out
#define TILE_COLS 32 // of both factors, a step

// A threadgroup of four simdgroups a tile of out: each 16 rows × 32 columns, as 2 × 4 matrices. Both factors come through threadgroup memory,
// x in full precision, the weights decoded.
kernel void linear_tiles(device const uchar *step [[buffer(0)]], constant pv_args_linear &args [[buffer(1)]],
                         device const float *x [[buffer(2)]], device const float *residual [[buffer(3)]],
                         device const uchar *weight [[buffer(4)]], device const float *bias [[buffer(5)]], device float *out [[buffer(6)]],
                         uint2 group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
                         uint simdgroup [[simdgroup_index_in_threadgroup]])
{
    threadgroup float x_tile[TILE_ROWS * TILE_COLS];
    threadgroup float w_tile[TILE_OUTS * TILE_COLS];
    threadgroup float out_tile[TILE_ROWS * TILE_OUTS];
    const uint rows = real_rows(step, args.extent), first_row = group.y * TILE_ROWS, first_out = group.x * TILE_OUTS;
    if (first_row >= rows || first_out >= args.rows[0]) {
        return;
    }
    const uint block_row = simdgroup / 2 * 16, block_out = simdgroup % 2 * 32;
    simdgroup_float8x8 sums[2][4];
    for (uint i = 0; i < 2; i++) {
        for (uint j = 0; j < 4; j++) {
            sums[i][j] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
        }
    }
    for (uint first_col = 0; first_col < args.cols; first_col += TILE_COLS) {
        threadgroup_barrier(mem_flags::mem_threadgroup);
        // 128 threads: 8 columns of x each, and 16 weights of one row
        {
            const uint r = thread_index / 4, c = thread_index % 4 * 8;
            for (uint i = 0; i < 8; i++) {
                const uint col = first_col + c + i;
                x_tile[r * TILE_COLS + c + i] = first_row + r < rows && col < args.cols ? x[ulong(first_row + r) * args.x_stride + col] : 0.0f;
            }
            const uint o = thread_index / 2, col = first_col + thread_index % 2 * 16;
            threadgroup float *to = w_tile + o * TILE_COLS + thread_index % 2 * 16;
            device const uchar *from = weight + ulong(min(first_out + o, args.rows[0] - 1)) * args.row_bytes[0];
            if (col + 16 <= args.cols) {
                const weights16 w = decode16(from, col / 16);
                for (uint i = 0; i < 4; i++) {
                    for (uint j = 0; j < 4; j++) {
                        to[4 * i + j] = w.w[i][j];
                    }
                }
            } else {
                for (uint i = 0; i < 16; i++) {
                    to[i] = col + i < args.cols ? decode_one(from, col + i) : 0.0f;
                }
            }
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
        for (uint c = 0; c < TILE_COLS; c += 8) {
            simdgroup_float8x8 a[2], b[4];
            for (uint i = 0; i < 2; i++) {
                simdgroup_load(a[i], x_tile + (block_row + 8 * i) * TILE_COLS + c, TILE_COLS);
            }
            for (uint j = 0; j < 4; j++) {
                simdgroup_load(b[j], w_tile + (block_out + 8 * j) * TILE_COLS + c, TILE_COLS, ulong2(0, 0), true);
            }
            for (uint i = 0; i < 2; i++) {
                for (uint j = 0; j < 4; j++) {
                    simdgroup_multiply_accumulate(sums[i][j], a[i], b[j], sums[i][j]);
                }
            }
        }
    }
    for (uint i = 0; i < 2; i++) {
        for (uint j = 0; j < 4; j++) {
            simdgroup_store(sums[i][j], out_tile + (block_row + 8 * i) * TILE_OUTS + block_out + 8 * j, TILE_OUTS);
        }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint i = thread_index; i < TILE_ROWS * TILE_OUTS; i += SIMDGROUPS * PV_METAL_SIMD) {
        const uint row = first_row + i / TILE_OUTS, column = first_out + i % TILE_OUTS;
        if (row >= rows || column >= args.rows[0]) {
            continue;
        }
        float result = out_tile[i];
        if (args.has_bias != 0) {
            result += bias[column];
        }
        if (args.has_residual != 0) {
            result += residual[ulong(row) * args.residual_stride + column];
        }
        out[ulong(row) * args.out_stride[0] + column] = result;
    }
}
