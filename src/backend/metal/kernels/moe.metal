// Experts: which rows go to which, their products, and the sum of what comes back.
//
// `layout`, function constant 0, stands in layouts.metal.

// ---- moe_route: a simdgroup a row, then a threadgroup for the order of them all ----

// The largest score below what was chosen last; ties go to the lower number, NaN counts as the lowest.
static inline uint next_expert(device const float *scores, uint experts, float last, uint last_expert, bool begun, uint lane)
{
    float best = 0.0f;
    uint best_expert = 0xFFFFFFFF;
    for (uint e = lane; e < experts; e += PV_METAL_SIMD) {
        const float score = isnan(scores[e]) ? -INFINITY : scores[e];
        const bool left = !begun || score < last || (score == last && e > last_expert);
        if (left && (best_expert == 0xFFFFFFFF || score > best)) {
            best = score;
            best_expert = e;
        }
    }
    const float largest = simd_max(best_expert == 0xFFFFFFFF ? -INFINITY : best);
    const bool mine = best_expert != 0xFFFFFFFF && best == largest;
    return simd_min(mine ? best_expert : 0xFFFFFFFF);
}

kernel void moe_route(device const uchar *step [[buffer(0)]], constant pv_args_moe_route &args [[buffer(1)]],
                      device const float *scores [[buffer(2)]], device float *weights [[buffer(3)]], device int *experts [[buffer(4)]],
                      uint row [[threadgroup_position_in_grid]], uint lane [[thread_index_in_simdgroup]])
{
    if (row >= step_counts(step)->rows) {
        return;
    }
    device const float *own = scores + ulong(row) * args.scores_stride;
    device float *to = weights + ulong(row) * args.used;
    float last = 0.0f, base = 0.0f, sum = 0.0f;
    uint expert = 0;
    for (uint i = 0; i < args.used; i++) {
        expert = next_expert(own, args.experts, last, expert, i > 0, lane);
        last = isnan(own[expert]) ? -INFINITY : own[expert];
        base = i == 0 ? last : base;
        const float weight = precise::exp(own[expert] - base);
        sum += weight;
        if (lane == 0) {
            experts[ulong(row) * args.used + i] = int(expert);
            to[i] = weight;
        }
    }
    float total = 0.0f;
    for (uint e = lane; e < args.experts; e += PV_METAL_SIMD) {
        total += precise::exp(own[e] - base);
    }
    total = simd_sum(total);
    const float divisor = args.normalize != 0 && !isnan(total) ? sum : total;
    if (lane == 0) {
        for (uint i = 0; i < args.used; i++) {
            to[i] = to[i] / divisor * args.scale;
        }
    }
}

#define ORDER_SIMDGROUPS 8
#define ORDER_EXPERTS (ORDER_SIMDGROUPS * PV_METAL_SIMD) // that are placed at a time: one a thread

// One threadgroup: assignments of each expert are counted, then placed in their order. Each simdgroup has a stretch of the assignments, and
// a row of `places`: how many of each expert it has, then where the next of them goes.
kernel void moe_order(device const uchar *step [[buffer(0)]], constant pv_args_moe_route &args [[buffer(1)]],
                      device const int *experts [[buffer(2)]], device int *order [[buffer(3)]], device int *offsets [[buffer(4)]],
                      uint thread_index [[thread_index_in_threadgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]],
                      uint lane [[thread_index_in_simdgroup]])
{
    threadgroup atomic_uint places[ORDER_SIMDGROUPS][ORDER_EXPERTS];
    threadgroup uint sums[ORDER_SIMDGROUPS];
    const uint assignments = step_counts(step)->rows * args.used;
    const uint batches = (assignments + ORDER_EXPERTS - 1) / ORDER_EXPERTS, begin = simdgroup * batches * PV_METAL_SIMD;
    uint before = 0;
    for (uint first = 0; first < args.experts; first += ORDER_EXPERTS) {
        for (uint s = 0; s < ORDER_SIMDGROUPS; s++) {
            atomic_store_explicit(&places[s][thread_index], 0u, memory_order_relaxed);
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
        for (uint batch = 0; batch < batches; batch++) {
            const uint a = begin + batch * PV_METAL_SIMD + lane, own = a < assignments ? uint(experts[a]) - first : ORDER_EXPERTS;
            if (own < ORDER_EXPERTS) {
                atomic_fetch_add_explicit(&places[simdgroup][own], 1u, memory_order_relaxed);
            }
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
        uint count = 0; // of this thread's expert
        for (uint s = 0; s < ORDER_SIMDGROUPS; s++) {
            count += atomic_load_explicit(&places[s][thread_index], memory_order_relaxed);
        }
        uint at = simd_prefix_exclusive_sum(count);
        if (lane == PV_METAL_SIMD - 1) {
            sums[simdgroup] = at + count;
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
        at += before;
        for (uint s = 0; s < ORDER_SIMDGROUPS; s++) {
            at += s < simdgroup ? sums[s] : 0;
            before += sums[s];
        }
        if (first + thread_index < args.experts) {
            offsets[first + thread_index] = int(at);
        }
        for (uint s = 0; s < ORDER_SIMDGROUPS; s++) {
            const uint of_stretch = atomic_load_explicit(&places[s][thread_index], memory_order_relaxed);
            atomic_store_explicit(&places[s][thread_index], at, memory_order_relaxed);
            at += of_stretch;
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
        for (uint batch = 0; batch < batches; batch++) {
            const uint a = begin + batch * PV_METAL_SIMD + lane, own = a < assignments ? uint(experts[a]) - first : ORDER_EXPERTS;
            uint earlier = 0, alike = 0; // lanes with the same expert
            for (uint l = 0; l < PV_METAL_SIMD; l++) {
                const bool same = simd_broadcast(own, ushort(l)) == own;
                earlier += same && l < lane ? 1 : 0;
                alike += same ? 1 : 0;
            }
            const uint place = own < ORDER_EXPERTS ? atomic_load_explicit(&places[simdgroup][own], memory_order_relaxed) + earlier : 0;
            simdgroup_barrier(mem_flags::mem_threadgroup);
            if (own < ORDER_EXPERTS) {
                order[place] = int(a);
                if (earlier == alike - 1) {
                    atomic_store_explicit(&places[simdgroup][own], place + 1, memory_order_relaxed);
                }
            }
            simdgroup_barrier(mem_flags::mem_threadgroup);
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
    }
    if (thread_index == 0) {
        offsets[args.experts] = int(before);
    }
}

// ---- moe_linear: for few rows, or without simdgroup matrices ----

#define TILE PV_METAL_EXPERT_ROWS

// Σ over columns of a weight row × the rows of x. Lanes take units in turn.
static inline void dot_tile(constant pv_args_moe_linear &args, device const uchar *weight, device const float *const thread (&x)[TILE],
                            uint lane, thread float (&sums)[TILE])
{
    const uint units = args.cols / (16 * unit_parts());
    for (uint unit = lane; unit < whole_quads(units); unit += PV_METAL_SIMD) {
        const weight_unit loaded = load_unit(weight, unit, units);
        if (unit >= units) {
            break;
        }
        for (uint p = 0; p < unit_parts(); p++) {
            const weights16 w = decode_unit(loaded, p);
            for (uint r = 0; r < TILE; r++) {
                device const packed_float4 *from = (device const packed_float4 *)x[r] + 4 * unit_part(unit, p);
                for (uint i = 0; i < 4; i++) {
                    sums[r] += dot(float4(from[i]), w.w[i]);
                }
            }
        }
    }
    for (uint col = args.cols / 16 * 16 + lane; col < args.cols; col += PV_METAL_SIMD) {
        const float w = decode_one(weight, col);
        for (uint r = 0; r < TILE; r++) {
            sums[r] = fma(x[r][col], w, sums[r]);
        }
    }
    for (uint r = 0; r < TILE; r++) {
        sums[r] = simd_sum(sums[r]);
    }
}

// A simdgroup one column of out for a tile of assignments.
kernel void moe_linear(device const uchar *step [[buffer(0)]], constant pv_args_moe_linear &args [[buffer(1)]],
                       device const float *x [[buffer(2)]], device const int *order [[buffer(3)]], device const int *offsets [[buffer(4)]],
                       device const uchar *weight0 [[buffer(5)]], device const uchar *weight1 [[buffer(6)]],
                       device const float *bias0 [[buffer(7)]], device const float *bias1 [[buffer(8)]], device float *out [[buffer(9)]],
                       device const uint *first_group [[buffer(10)]], uint2 group [[threadgroup_position_in_grid]],
                       uint simdgroup [[simdgroup_index_in_threadgroup]], uint simdgroups [[simdgroups_per_threadgroup]],
                       uint lane [[thread_index_in_simdgroup]])
{
    const uint column = group.x * simdgroups + simdgroup;
    if (column >= args.rows) {
        return;
    }
    const expert_tile tile = find_tile(args, step_counts(step)->rows, offsets, group.y + *first_group, TILE, lane);
    if (tile.count == 0) {
        return;
    }
    device const float *rows[TILE];
    uint assignment[TILE];
    for (uint r = 0; r < TILE; r++) {
        assignment[r] = assignment_of(args, tile, order, min(r, tile.count - 1));
        rows[r] = x + ulong(assignment[r] / args.shared_by) * args.x_stride;
    }
    const ulong at = ulong(tile.expert) * args.rows + column;
    float gate[TILE] = {}, up[TILE] = {};
    dot_tile(args, weight0 + at * args.row_bytes[0], rows, lane, gate);
    if (args.glu != 0) {
        dot_tile(args, weight1 + at * args.row_bytes[1], rows, lane, up);
    }
    if (lane != 0) {
        return;
    }
    for (uint r = 0; r < tile.count; r++) {
        float value = gate[r] + ((args.has_bias & 1) != 0 ? bias0[at] : 0.0f);
        if (args.glu != 0) {
            value = gated(args.glu, value, up[r] + ((args.has_bias & 2) != 0 ? bias1[at] : 0.0f));
        }
        out[ulong(assignment[r]) * args.rows + column] = value;
    }
}

// ---- moe_sum: a thread an element ----

kernel void moe_sum(device const uchar *step [[buffer(0)]], constant pv_args_moe_sum &args [[buffer(1)]],
                    device const float *x [[buffer(2)]], device const float *weights [[buffer(3)]],
                    device const float *residual [[buffer(4)]], device float *out [[buffer(5)]], uint2 at [[thread_position_in_grid]])
{
    if (at.y >= step_counts(step)->rows || at.x >= args.cols) {
        return;
    }
    float sum = 0.0f;
    for (uint i = 0; i < args.used; i++) {
        const ulong assignment = ulong(at.y) * args.used + i;
        sum = fma(weights[assignment], x[assignment * args.cols + at.x], sum);
    }
    out[ulong(at.y) * args.out_stride + at.x] = sum + residual[ulong(at.y) * args.residual_stride + at.x];
}
