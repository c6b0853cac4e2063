// Experts for many rows: a threadgroup takes up to 32 assignments of an expert, wherever their rows are, and 64 of its weight
// rows; with glu 32 of the gate and 32 of up. An expert's weights are loaded once for each 32 of its assignments.

kernel void moe_tiles(device const uchar *step [[buffer(0)]], constant pv_args_moe_linear &args [[buffer(1)]],
                      device const float *x [[buffer(2)]], device const int *order [[buffer(3)]],
                      device const int *offsets [[buffer(4)]], device const uchar *weight0 [[buffer(5)]],
                      device const uchar *weight1 [[buffer(6)]], device const float *bias0 [[buffer(7)]],
                      device const float *bias1 [[buffer(8)]], device float *out [[buffer(9)]],
                      device const uint *first_group [[buffer(10)]], uint2 group [[threadgroup_position_in_grid]],
                      uint thread_index [[thread_index_in_threadgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]],
                      uint lane [[thread_index_in_simdgroup]])
{
    threadgroup float tiles[TILE_FLOATS];
    const expert_tile tile = find_tile(args, step_counts(step)->rows, offsets, group.y + *first_group, TILE_ROWS, lane);
    if (tile.count == 0) {
        return;
    }
    const uint columns = args.glu != 0 ? TILE_OUTS / 2 : TILE_OUTS, first_column = group.x * columns;
    const ulong first_row = ulong(tile.expert) * args.rows;
    const uint own = thread_index / 4;
    tile_share share;
    share.has_x = own < tile.count;
    share.x = x + ulong(assignment_of(args, tile, order, min(own, tile.count - 1)) / args.shared_by) * args.x_stride;
    for (uint i = 0; i < 2; i++) { // beyond the end the last weight row again
        const uint part = args.glu != 0 ? i : 0;
        const uint column = min(first_column + own + (args.glu != 0 ? 0 : TILE_OUTS / 2 * i), args.rows - 1);
        share.weights[i] = (part == 0 ? weight0 : weight1) + (first_row + column) * args.row_bytes[part];
    }
    product_of_tiles(share, args.cols, (tile.count + 7) / 8, thread_index, simdgroup, tiles);
    for (uint i = thread_index; i < tile.count * columns; i += SIMDGROUPS * PV_METAL_SIMD) {
        const uint r = i / columns, c = i % columns, column = first_column + c;
        if (column >= args.rows) {
            continue;
        }
        float value = tiles[r * TILE_OUTS + c] + ((args.has_bias & 1) != 0 ? bias0[first_row + column] : 0.0f);
        if (args.glu != 0) {
            const float up = tiles[r * TILE_OUTS + columns + c];
            value = gated(args.glu, value, up + ((args.has_bias & 2) != 0 ? bias1[first_row + column] : 0.0f));
        }
        out[ulong(assignment_of(args, tile, order, r)) * args.rows + column] = value;
    }
}
