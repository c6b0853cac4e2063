// attention over the paged cache, online softmax. Keys are taken in spans of PV_SPLIT_TOKENS; a row's spans are dealt out to at most
// args.spans simdgroups, each of which leaves partial sums {o, m, l} in scratch; attention_merge adds them in order. How spans are dealt
// out follows from the row's position alone, so a row's result does not depend on its neighbours.

#define QUERIES 4 // heads of a kv head that a simdgroup takes at a time: keys and values are read once for them

// Keys that a row sees: its own position is the last.
static inline uint keys_of(pv_step_row row)
{
    return uint(row.position) + 1;
}

// Spans of one simdgroup: all of them in `splits` equal stretches.
static inline uint spans_each(uint keys, uint splits)
{
    const uint spans = (keys + PV_SPLIT_TOKENS - 1) / PV_SPLIT_TOKENS;
    return (spans + splits - 1) / splits;
}

// Partial sums of (row, head, split): head_dim values of o, then m and l.
static inline ulong partial_place(constant pv_args_attention &args, uint row, uint head, uint split)
{
    return ((ulong(row) * args.heads + head) * args.spans + split) * (args.head_dim + 2);
}

// Meets one page: lanes are its tokens for the scores, then elements of the head for the values.
template <uint DIMS>
static inline void meet_page(constant pv_args_attention &args, device const half *keys, device const half *values, device const float *q,
                             uint queries, uint count, uint lane, threadgroup float (&weights)[QUERIES][PV_PAGE_TOKENS],
                             thread float (&o)[QUERIES][DIMS], thread float (&m)[QUERIES], thread float (&l)[QUERIES])
{
    const uint head_dim = args.head_dim;
    device const half *key = keys + min(lane, count - 1) * head_dim; // what lies beyond is never read
    float scores[QUERIES] = {};
    for (uint d = 0; d < head_dim; d++) {
        const float k = float(key[d]);
        for (uint h = 0; h < queries; h++) {
            scores[h] = fma(q[h * head_dim + d], k, scores[h]);
        }
    }
    simdgroup_barrier(mem_flags::mem_threadgroup); // the weights of the page before have been read
    for (uint h = 0; h < queries; h++) {
        const float score = lane < count ? scores[h] * args.scale : -INFINITY;
        const float largest = max(m[h], simd_max(score));
        // a NaN among the scores must come through: max passes it over
        const float factor = m[h] == -INFINITY ? 0.0f : precise::exp(m[h] - largest);
        const float weight = lane < count ? precise::exp(score - largest) : 0.0f;
        weights[h][lane] = weight;
        l[h] = l[h] * factor + simd_sum(weight);
        m[h] = largest;
        for (uint i = 0; i < DIMS; i++) {
            o[h][i] *= factor;
        }
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
    for (uint j = 0; j < count; j++) {
        for (uint i = 0; i < DIMS; i++) {
            const uint d = lane + i * PV_METAL_SIMD;
            const float value = d < head_dim ? float(values[j * head_dim + d]) : 0.0f;
            for (uint h = 0; h < queries; h++) {
                o[h][i] = fma(weights[h][j], value, o[h][i]);
            }
        }
    }
}

// A simdgroup: one row, one split, up to QUERIES heads of one kv head.
template <uint DIMS>
static inline void attention_split(device const uchar *step, constant pv_args_attention &args, device const float *q,
                                   device const half *pages, device const int *table, device float *partials, uint3 group, uint lane,
                                   threadgroup float (&weights)[QUERIES][PV_PAGE_TOKENS])
{
    const uint shared_by = args.heads / args.kv_heads, chunks = (shared_by + QUERIES - 1) / QUERIES;
    const uint split = group.x, kv_head = group.y / chunks, chunk = group.y % chunks, row_index = group.z;
    if (row_index >= step_counts(step)->rows) {
        return;
    }
    const pv_step_row row = step_array<pv_step_row>(step, args.step.rows)[row_index];
    const uint keys = keys_of(row), each = spans_each(keys, args.spans) * PV_SPLIT_TOKENS;
    const uint begin = split * each, end = min(keys, begin + each);
    if (begin >= end) {
        return;
    }
    const uint first_head = kv_head * shared_by + chunk * QUERIES, queries = min(uint(QUERIES), shared_by - chunk * QUERIES);
    const uint head_elements = PV_PAGE_TOKENS * args.head_dim;
    float o[QUERIES][DIMS] = {}, m[QUERIES], l[QUERIES] = {};
    for (uint h = 0; h < QUERIES; h++) {
        m[h] = -INFINITY;
    }
    device const float *queries_at = q + ulong(row_index) * args.q_stride + first_head * args.head_dim;
    for (uint start = begin; start < end; start += PV_PAGE_TOKENS) {
        const int page = table[uint(row.slot) * args.table_cols + start / PV_PAGE_TOKENS];
        device const half *key_page = pages + ulong(page) * args.page_halves + kv_head * head_elements;
        device const half *value_page = key_page + args.kv_heads * head_elements;
        meet_page<DIMS>(args, key_page, value_page, queries_at, queries, min(uint(PV_PAGE_TOKENS), end - start), lane, weights, o, m, l);
    }
    for (uint h = 0; h < queries; h++) {
        device float *to = partials + partial_place(args, row_index, first_head + h, split);
        for (uint i = 0; i < DIMS; i++) {
            const uint d = lane + i * PV_METAL_SIMD;
            if (d < args.head_dim) {
                to[d] = o[h][i];
            }
        }
        if (lane == 0) {
            to[args.head_dim] = m[h];
            to[args.head_dim + 1] = l[h];
        }
    }
}

#define ATTENTION_SPLIT(dims)                                                                                                        \
    kernel void attention_split##dims(device const uchar *step [[buffer(0)]], constant pv_args_attention &args [[buffer(1)]],       \
                                      device const float *q [[buffer(2)]], device const half *pages [[buffer(3)]],                  \
                                      device const int *table [[buffer(4)]], device float *partials [[buffer(5)]],                  \
                                      uint3 group [[threadgroup_position_in_grid]], uint lane [[thread_index_in_simdgroup]])         \
    {                                                                                                                                \
        threadgroup float weights[QUERIES][PV_PAGE_TOKENS];                                                                          \
        attention_split<dims>(step, args, q, pages, table, partials, group, lane, weights);                                          \
    }

// Elements of a head for each lane: heads of up to 32, 64, 96, 128 and 256.
ATTENTION_SPLIT(1)
ATTENTION_SPLIT(2)
ATTENTION_SPLIT(3)
ATTENTION_SPLIT(4)
ATTENTION_SPLIT(8)

// A thread an element of a head of a row.
kernel void attention_merge(device const uchar *step [[buffer(0)]], constant pv_args_attention &args [[buffer(1)]],
                            device const float *partials [[buffer(2)]], device float *out [[buffer(3)]],
                            uint3 at [[thread_position_in_grid]])
{
    const uint d = at.x, head = at.y, row_index = at.z;
    if (row_index >= step_counts(step)->rows || head >= args.heads || d >= args.head_dim) {
        return;
    }
    const uint keys = keys_of(step_array<pv_step_row>(step, args.step.rows)[row_index]);
    const uint each = spans_each(keys, args.spans) * PV_SPLIT_TOKENS, splits = (keys + each - 1) / each;
    float o = 0.0f, m = -INFINITY, l = 0.0f;
    for (uint split = 0; split < splits; split++) {
        device const float *part = partials + partial_place(args, row_index, head, split);
        const float part_m = part[args.head_dim], largest = max(m, part_m);
        const float ours = m == -INFINITY ? 0.0f : precise::exp(m - largest), theirs = precise::exp(part_m - largest);
        o = o * ours + part[d] * theirs;
        l = l * ours + part[args.head_dim + 1] * theirs;
        m = largest;
    }
    out[ulong(row_index) * args.out_stride + head * args.head_dim + d] = o / l;
}
