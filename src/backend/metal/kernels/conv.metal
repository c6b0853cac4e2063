// conv1d: a short convolution along a sequence over what the step's rows bring and, before them, what the cache holds.

static inline ulong conv_place(constant pv_args_conv1d &args, device const int *table, int slot, uint position)
{
    const int page = table[uint(slot) * args.table_cols + position / PV_PAGE_TOKENS];
    return ulong(page) * args.page_halves + ulong(position % PV_PAGE_TOKENS) * args.cols;
}

static inline half conv_input(constant pv_args_conv1d &args, device const float *x, device const float *before, uint row, uint col)
{
    return half(before[ulong(row) * args.before_stride + col] * x[ulong(row) * args.x_stride + col]);
}

// A thread a column of a row. Cells that are written belong to the step's rows, those that are read to positions before them.
kernel void conv1d(device const uchar *step [[buffer(0)]], constant pv_args_conv1d &args [[buffer(1)]], device const float *x [[buffer(2)]],
                   device const float *before [[buffer(3)]], device const float *after [[buffer(4)]], device const float *weight [[buffer(5)]],
                   device half *pages [[buffer(6)]], device const int *table [[buffer(7)]], device float *out [[buffer(8)]],
                   uint2 at [[thread_position_in_grid]])
{
    if (at.y >= step_counts(step)->rows || at.x >= args.cols) {
        return;
    }
    const pv_step_row row = step_array<pv_step_row>(step, args.step.rows)[at.y];
    const uint back = at.y - uint(step_array<pv_step_seq>(step, args.step.seqs)[row.seq].first_row), position = uint(row.position);
    float sum = 0.0f;
    for (uint j = 0; j < args.taps; j++) {
        const uint ago = args.taps - 1 - j;
        if (position < ago) {
            continue;
        }
        const half u = ago <= back ? conv_input(args, x, before, at.y - ago, at.x) : pages[conv_place(args, table, row.slot, position - ago) + at.x];
        sum = fma(weight[at.x * args.taps + j], float(u), sum);
    }
    out[ulong(at.y) * args.out_stride + at.x] = after[ulong(at.y) * args.after_stride + at.x] * sum;
    pages[conv_place(args, table, row.slot, position) + at.x] = conv_input(args, x, before, at.y, at.x);
}
