// Ops that work row by row on f32: rms_norm, layer_norm, glu, activation, gather_rows, gather_cols.

// A threadgroup a stretch of a row. `residual` may be `out`: each element is read and written by one thread.
kernel void rms_norm(device const uchar *step [[buffer(0)]], constant pv_args_rows &args [[buffer(1)]],
                     device const float *x [[buffer(2)]], device const float *weight [[buffer(3)]],
                     device const float *residual [[buffer(4)]], device float *out [[buffer(5)]],
                     uint2 group [[threadgroup_position_in_grid]], uint at [[thread_index_in_threadgroup]],
                     uint2 size [[threads_per_threadgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]],
                     uint lane [[thread_index_in_simdgroup]], uint simdgroups [[simdgroups_per_threadgroup]])
{
    threadgroup float shared[32];
    const uint row = group.x, first = group.y * args.cols, threads = size.x;
    if (row >= real_rows(step, args.extent)) {
        return;
    }
    device const float *from = x + ulong(row) * args.in_stride + first;
    device const float *onto = residual + ulong(row) * args.in2_stride + first;
    device float *to = out + ulong(row) * args.out_stride + first;
    float sum = 0.0f;
    for (uint i = at; i < args.cols; i += threads) {
        sum = fma(from[i], from[i], sum);
    }
    sum = group_sum(sum, shared, simdgroup, lane, simdgroups);
    const float factor = 1.0f / precise::sqrt(sum / float(args.cols) + args.epsilon);
    for (uint i = at; i < args.cols; i += threads) {
        const float normed = from[i] * factor * weight[i];
        to[i] = args.has_more != 0 ? normed + onto[i] : normed;
    }
}

// A threadgroup a row.
kernel void layer_norm(device const uchar *step [[buffer(0)]], constant pv_args_rows &args [[buffer(1)]],
                       device const float *x [[buffer(2)]], device const float *weight [[buffer(3)]],
                       device const float *bias [[buffer(4)]], device float *out [[buffer(5)]],
                       uint row [[threadgroup_position_in_grid]], uint at [[thread_position_in_threadgroup]],
                       uint threads [[threads_per_threadgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]],
                       uint lane [[thread_index_in_simdgroup]], uint simdgroups [[simdgroups_per_threadgroup]])
{
    threadgroup float shared[32];
    if (row >= real_rows(step, args.extent)) {
        return;
    }
    device const float *from = x + ulong(row) * args.in_stride;
    device float *to = out + ulong(row) * args.out_stride;
    float sum = 0.0f, squares = 0.0f;
    for (uint i = at; i < args.cols; i += threads) {
        sum += from[i];
    }
    const float mean = group_sum(sum, shared, simdgroup, lane, simdgroups) / float(args.cols);
    for (uint i = at; i < args.cols; i += threads) {
        squares = fma(from[i] - mean, from[i] - mean, squares);
    }
    squares = group_sum(squares, shared, simdgroup, lane, simdgroups);
    const float factor = 1.0f / precise::sqrt(squares / float(args.cols) + args.epsilon);
    for (uint i = at; i < args.cols; i += threads) {
        const float normed = (from[i] - mean) * factor * weight[i];
        to[i] = args.has_more != 0 ? normed + bias[i] : normed;
    }
}

// A thread an element.
kernel void glu(device const uchar *step [[buffer(0)]], constant pv_args_rows &args [[buffer(1)]], device const float *gate [[buffer(2)]],
                device const float *up [[buffer(3)]], device float *out [[buffer(4)]], uint2 at [[thread_position_in_grid]])
{
    if (at.y >= real_rows(step, args.extent) || at.x >= args.cols) {
        return;
    }
    const float value = gate[ulong(at.y) * args.in_stride + at.x];
    out[ulong(at.y) * args.out_stride + at.x] = gated(args.activation, value, up[ulong(at.y) * args.in2_stride + at.x]);
}

// A thread an element.
kernel void activation(device const uchar *step [[buffer(0)]], constant pv_args_rows &args [[buffer(1)]],
                       device const float *x [[buffer(2)]], device const float *residual [[buffer(3)]], device float *out [[buffer(4)]],
                       uint2 at [[thread_position_in_grid]])
{
    if (at.y >= real_rows(step, args.extent) || at.x >= args.cols) {
        return;
    }
    float value = activate(args.activation, args.scale * x[ulong(at.y) * args.in_stride + at.x]);
    if (args.soft_cap > 0.0f) {
        value = args.soft_cap * precise::tanh(value / args.soft_cap);
    }
    if (args.has_more != 0) {
        value += residual[ulong(at.y) * args.in2_stride + at.x];
    }
    out[ulong(at.y) * args.out_stride + at.x] = value;
}

kernel void gather_rows(device const uchar *step [[buffer(0)]], constant pv_args_rows &args [[buffer(1)]],
                        device const float *x [[buffer(2)]], device float *out [[buffer(3)]], uint2 at [[thread_position_in_grid]])
{
    if (at.y >= step_counts(step)->logits || at.x >= args.cols) {
        return;
    }
    const uint row = uint(step_array<pv_step_logit>(step, args.step.logits)[at.y].row);
    out[ulong(at.y) * args.out_stride + at.x] = x[ulong(row) * args.in_stride + at.x];
}

kernel void gather_cols(device const uchar *step [[buffer(0)]], constant pv_args_rows &args [[buffer(1)]], device const float *x [[buffer(2)]],
                        device const uint *order [[buffer(3)]], device float *out [[buffer(4)]], uint2 at [[thread_position_in_grid]])
{
    if (at.y >= real_rows(step, args.extent) || at.x >= args.cols) {
        return;
    }
    out[ulong(at.y) * args.out_stride + at.x] = x[ulong(at.y) * args.in_stride + order[at.x]];
}
