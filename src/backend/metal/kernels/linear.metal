// linear for few rows: out = x' · weightᵀ and what is fused with it. Each weight is read once, straight into the sums of up to 8 rows; more
// rows are taken 8 at a time, where linear_tiles cannot be had.


// 16 columns of OUTS weight rows meet ROWS rows of x.
template <uint ROWS, uint OUTS>
static inline void dot_part(constant pv_args_linear &args, thread const weights16 (&w)[OUTS], device const float *x, device const float *norm,
                            uint rows, uint part, thread float (&sums)[ROWS][OUTS], thread float (&squares)[ROWS])
{
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

// Σ over a row's columns of weight × x (× norm), for OUTS weight rows and ROWS rows of x. Lanes take units in turn.
template <uint ROWS, uint OUTS>
static inline void dot_rows(constant pv_args_linear &args, device const uchar *const thread weights[OUTS], device const float *x,
                            device const float *norm, uint rows, uint lane, thread float (&sums)[ROWS][OUTS], thread float (&squares)[ROWS])
{
    const uint units = args.cols / (16 * unit_parts());
    for (uint unit = lane; unit < whole_quads(units); unit += PV_METAL_SIMD) {
        weight_unit loaded[OUTS];
        for (uint o = 0; o < OUTS; o++) {
            loaded[o] = load_unit(weights[o], unit, units);
        }
        if (unit >= units) {
            break;
        }
        for (uint p = 0; p < unit_parts(); p++) {
            weights16 w[OUTS];
            for (uint o = 0; o < OUTS; o++) {
                w[o] = decode_unit(loaded[o], p);
            }
            dot_part<ROWS, OUTS>(args, w, x, norm, rows, unit_part(unit, p), sums, squares);
        }
    }
    for (uint col = args.cols / 16 * 16 + lane; col < args.cols; col += PV_METAL_SIMD) {
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
                               device const float *const thread (&biases)[3], device float *const thread (&outs)[3], uint2 group,
                               uint simdgroup, uint lane)
{
    const uint columns = with_glu != 0 ? OUTS / 2 : OUTS;
    const part_place place = find_part(args, group.x, columns * SIMDGROUPS);
    const uint first_row = group.y * ROWS, real = real_rows(step, args.extent);
    const uint first = place.first + simdgroup * columns;
    if (first >= args.rows[place.part] || first_row >= real) {
        return;
    }
    const uint rows = min(real - first_row, ROWS);
    x += ulong(first_row) * args.x_stride;
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
            float result = with_glu != 0 ? activate(with_glu, value[2 * c]) * value[2 * c + 1] : value[c];
            if (args.has_residual != 0) {
                result += residual[ulong(first_row + r) * args.residual_stride + first + c];
            }
            outs[place.part][ulong(first_row + r) * args.out_stride[place.part] + first + c] = result;
        }
    }
}

#define LINEAR_ROWS(rows, columns)                                                                                                        \
    kernel void linear_rows##rows(                                                                                                        \
        device const uchar *step [[buffer(0)]], constant pv_args_linear &args [[buffer(1)]], device const float *x [[buffer(2)]],         \
        device const float *norm [[buffer(3)]], device const float *residual [[buffer(4)]], device const uchar *weight0 [[buffer(5)]],    \
        device const uchar *weight1 [[buffer(6)]], device const uchar *weight2 [[buffer(7)]], device const float *bias0 [[buffer(8)]],    \
        device const float *bias1 [[buffer(9)]], device const float *bias2 [[buffer(10)]], device float *out0 [[buffer(11)]],             \
        device float *out1 [[buffer(12)]], device float *out2 [[buffer(13)]], device const uint *first_group [[buffer(14)]],              \
        uint2 group [[threadgroup_position_in_grid]], uint simdgroup [[simdgroup_index_in_threadgroup]],                                  \
        uint lane [[thread_index_in_simdgroup]])                                                                                          \
    {                                                                                                                                     \
        device const uchar *const weights[3] = {weight0, weight1, weight2};                                                               \
        device const float *const biases[3] = {bias0, bias1, bias2};                                                                      \
        device float *const outs[3] = {out0, out1, out2};                                                                                 \
        group.y += *first_group;                                                                                                          \
        linear_rows<rows, columns>(step, args, x, norm, residual, weights, biases, outs, group, simdgroup, lane);                         \
    }

LINEAR_ROWS(1, 4)
LINEAR_ROWS(2, 4)
LINEAR_ROWS(4, 4)
LINEAR_ROWS(8, 2)
