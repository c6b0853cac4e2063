// embed: rows of the table, decoded; by position they are added to what is there. A thread 16 columns of a row.

kernel void embed(device const uchar *step [[buffer(0)]], constant pv_args_embed &args [[buffer(1)]],
                  device const uchar *table [[buffer(2)]], device const int *token_log [[buffer(3)]], device float *out [[buffer(4)]],
                  uint2 at [[thread_position_in_grid]])
{
    const uint first = at.x * 16;
    if (at.y >= step_counts(step)->rows || first >= args.cols) {
        return;
    }
    const pv_step_row row = step_array<pv_step_row>(step, args.step.rows)[at.y];
    const int token = args.by_position != 0            ? row.position
                      : row.token == PV_TOKEN_FROM_LOG ? token_log[uint(row.slot) * args.log_cols + uint(row.position)]
                                                       : row.token;
    device float *to = out + ulong(at.y) * args.out_stride + first;
    const bool known = token >= 0 && uint(token) < args.rows;
    device const uchar *from = table + (known ? ulong(token) * args.row_bytes : 0);
    if (args.cols - first < 16) {
        for (uint i = 0; i < args.cols - first; i++) {
            const float value = known ? decode_one(from, first + i) * args.scale : NAN;
            to[i] = args.by_position != 0 ? to[i] + value : value;
        }
        return;
    }
    const weights16 weights = decode16(from, at.x);
    for (uint i = 0; i < 4; i++) {
        const float4 value = known ? weights.w[i] * args.scale : float4(NAN);
        device packed_float4 *place = (device packed_float4 *)to + i;
        *place = args.by_position != 0 ? float4(*place) + value : value;
    }
}
