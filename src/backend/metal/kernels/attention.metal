// attention over the paged cache, row by row: what decode rows take, and all rows where there are no simdgroup matrices. Keys are taken in
// spans of PV_SPLIT_TOKENS; a row's spans are dealt out to at most args.spans simdgroups, each of which leaves partial sums {o, m, l} in
// scratch; attention_merge adds them in order. How spans are dealt out follows from the row's position alone, so a row's result does not
// depend on its neighbours. With args.spans 1 there is nothing to merge and the sums go straight to out.

constant uint with_cap [[function_constant(0)]];
constant uint direct [[function_constant(1)]]; // args.spans is 1

// The keys that a row sees, and how its simdgroups share them.
struct key_range {
    uint first, end;
    uint first_span, each; // spans of a simdgroup
};

static inline key_range keys_of(constant pv_args_attention &args, pv_step_row row)
{
    key_range keys;
    keys.end = uint(row.position) + 1; // its own position is the last
    keys.first = args.window > 0 && keys.end > args.window ? keys.end - args.window : 0;
    keys.first_span = keys.first / PV_SPLIT_TOKENS;
    const uint spans = (keys.end - 1) / PV_SPLIT_TOKENS + 1 - keys.first_span;
    keys.each = (spans + args.spans - 1) / args.spans;
    return keys;
}

// Partial sums of (row, head, split): head_dim values of o, then m and l.
static inline ulong partial_place(constant pv_args_attention &args, uint row, uint head, uint split)
{
    return ((ulong(row) * args.heads + head) * args.spans + split) * (args.head_dim + 2);
}

// e^(sink - m) of a head, or nothing: what its sink adds to l.
static inline float sink_share(constant pv_args_attention &args, device const float *sinks, uint head, float m)
{
    return args.has_sinks != 0 ? precise::exp(sinks[head] - m) : 0.0f;
}

// One lane's scores of its key with each query.
template <uint QUERIES>
static inline void score_key(constant pv_args_attention &args, device const half *key, device const float *q, uint queries,
                             thread float (&scores)[QUERIES])
{
    const uint fours = args.head_dim % 4 == 0 ? args.head_dim / 4 : 0; // keys of odd heads are not aligned
    for (uint d = 0; d < fours; d++) {
        const float4 k = float4(((device const half4 *)key)[d]);
        for (uint h = 0; h < queries; h++) {
            const float4 with = float4(((device const packed_float4 *)(q + h * args.head_dim))[d]);
            scores[h] = fma(with.x, k.x, fma(with.y, k.y, fma(with.z, k.z, fma(with.w, k.w, scores[h]))));
        }
    }
    for (uint d = 4 * fours; d < args.head_dim; d++) {
        const float k = float(key[d]);
        for (uint h = 0; h < queries; h++) {
            scores[h] = fma(q[h * args.head_dim + d], k, scores[h]);
        }
    }
    for (uint h = 0; h < queries; h++) {
        scores[h] *= args.scale;
        if (with_cap != 0) {
            scores[h] = args.soft_cap * precise::tanh(scores[h] / args.soft_cap);
        }
    }
}

// Meets keys [skip, count) of one page: lanes are its tokens for the scores, then elements of the head for the values.
template <uint DIMS, uint QUERIES>
static inline void meet_page(constant pv_args_attention &args, device const half *keys, device const half *values, device const float *q,
                             uint queries, uint skip, uint count, uint lane, threadgroup float (&weights)[QUERIES][PV_PAGE_TOKENS],
                             thread float (&o)[QUERIES][DIMS], thread float (&m)[QUERIES], thread float (&l)[QUERIES])
{
    const uint head_dim = args.head_dim;
    const bool seen = lane >= skip && lane < count;
    float scores[QUERIES] = {};
    if (seen) { // what lies beyond is never read
        score_key<QUERIES>(args, keys + lane * head_dim, q, queries, scores);
    }
    simdgroup_barrier(mem_flags::mem_threadgroup); // the weights of the page before have been read
    for (uint h = 0; h < queries; h++) {
        const float score = seen ? scores[h] : -INFINITY;
        const float largest = max(m[h], simd_max(score));
        // a NaN among the scores must come through: max passes it over
        const float factor = m[h] == -INFINITY ? 0.0f : precise::exp(m[h] - largest);
        const float weight = seen ? precise::exp(score - largest) : 0.0f;
        weights[h][lane] = weight;
        l[h] = l[h] * factor + simd_sum(weight);
        m[h] = largest;
        for (uint i = 0; i < DIMS; i++) {
            o[h][i] *= factor;
        }
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
    for (uint j = skip; j < count; j++) {
        for (uint i = 0; i < DIMS; i++) {
            const uint d = lane + i * PV_METAL_SIMD;
            const float value = d < head_dim ? float(values[j * head_dim + d]) : 0.0f;
            for (uint h = 0; h < queries; h++) {
                o[h][i] = fma(weights[h][j], value, o[h][i]);
            }
        }
    }
}

// A simdgroup: one row, one split, up to QUERIES heads of one kv head, for which keys and values are read once.
template <uint DIMS, uint QUERIES>
static inline void attention_split(device const uchar *step, constant pv_args_attention &args, device const float *q,
                                   device const half *pages, device const int *table, device float *partials, device const float *sinks,
                                   device float *out, uint3 group, uint lane, threadgroup float (&weights)[QUERIES][PV_PAGE_TOKENS])
{
    const uint shared_by = args.heads / args.kv_heads, chunks = (shared_by + QUERIES - 1) / QUERIES;
    const uint split = group.x, kv_head = group.y / chunks, chunk = group.y % chunks, row_index = group.z;
    if (row_index >= (args.decode_only != 0 ? step_counts(step)->decode_rows : step_counts(step)->rows)) {
        return;
    }
    const pv_step_row row = step_array<pv_step_row>(step, args.step.rows)[row_index];
    const key_range range = keys_of(args, row);
    const uint stretch = (range.first_span + split * range.each) * PV_SPLIT_TOKENS;
    const uint begin = max(stretch, range.first), end = min(range.end, stretch + range.each * PV_SPLIT_TOKENS);
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
    for (uint start = begin / PV_PAGE_TOKENS * PV_PAGE_TOKENS; start < end; start += PV_PAGE_TOKENS) {
        const int page = table[uint(row.slot) * args.table_cols + start / PV_PAGE_TOKENS];
        device const half *key_page = pages + ulong(page) * args.page_halves + kv_head * head_elements;
        device const half *value_page = key_page + args.kv_heads * head_elements;
        meet_page<DIMS, QUERIES>(args, key_page, value_page, queries_at, queries, begin > start ? begin - start : 0,
                                 min(uint(PV_PAGE_TOKENS), end - start), lane, weights, o, m, l);
    }
    for (uint h = 0; h < queries; h++) {
        const uint head = first_head + h;
        const float factor = direct != 0 ? 1.0f / (l[h] + sink_share(args, sinks, head, m[h])) : 1.0f;
        device float *to = direct != 0 ? out + ulong(row_index) * args.out_stride + head * args.head_dim
                                       : partials + partial_place(args, row_index, head, split);
        for (uint i = 0; i < DIMS; i++) {
            const uint d = lane + i * PV_METAL_SIMD;
            if (d < args.head_dim) {
                to[d] = o[h][i] * factor;
            }
        }
        if (direct == 0 && lane == 0) {
            to[args.head_dim] = m[h];
            to[args.head_dim + 1] = l[h];
        }
    }
}

#define ATTENTION_SPLIT(dims, queries)                                                                                               \
    kernel void attention_split##dims##_##queries(                                                                                   \
        device const uchar *step [[buffer(0)]], constant pv_args_attention &args [[buffer(1)]], device const float *q [[buffer(2)]], \
        device const half *pages [[buffer(3)]], device const int *table [[buffer(4)]], device float *partials [[buffer(5)]],         \
        device const float *sinks [[buffer(6)]], device float *out [[buffer(7)]], uint3 group [[threadgroup_position_in_grid]],      \
        uint lane [[thread_index_in_simdgroup]])                                                                                     \
    {                                                                                                                                \
        threadgroup float weights[queries][PV_PAGE_TOKENS];                                                                          \
        attention_split<dims, queries>(step, args, q, pages, table, partials, sinks, out, group, lane, weights);                     \
    }

// Elements of a head for each lane, for heads of up to 32, 64, 96, 128 and 256; heads of a kv head that a simdgroup takes at a time.
ATTENTION_SPLIT(1, 4)
ATTENTION_SPLIT(2, 4)
ATTENTION_SPLIT(3, 4)
ATTENTION_SPLIT(4, 4)
ATTENTION_SPLIT(8, 4)
ATTENTION_SPLIT(1, 8)
ATTENTION_SPLIT(2, 8)
ATTENTION_SPLIT(3, 8)
ATTENTION_SPLIT(4, 8)
ATTENTION_SPLIT(8, 8)

// A thread an element of a head of a row.
kernel void attention_merge(device const uchar *step [[buffer(0)]], constant pv_args_attention &args [[buffer(1)]],
                            device const float *partials [[buffer(2)]], device const float *sinks [[buffer(3)]],
                            device float *out [[buffer(4)]], uint3 at [[thread_position_in_grid]])
{
    const uint d = at.x, head = at.y, row_index = at.z;
    const uint rows = args.decode_only != 0 ? step_counts(step)->decode_rows : step_counts(step)->rows;
    if (row_index >= rows || head >= args.heads || d >= args.head_dim) {
        return;
    }
    const key_range range = keys_of(args, step_array<pv_step_row>(step, args.step.rows)[row_index]);
    const uint spans = (range.end - 1) / PV_SPLIT_TOKENS + 1 - range.first_span, splits = (spans + range.each - 1) / range.each;
    float o = 0.0f, m = -INFINITY, l = 0.0f;
    for (uint split = 0; split < splits; split++) {
        device const float *part = partials + partial_place(args, row_index, head, split);
        const float part_m = part[args.head_dim], largest = max(m, part_m);
        const float ours = m == -INFINITY ? 0.0f : precise::exp(m - largest), theirs = precise::exp(part_m - largest);
        o = o * ours + part[d] * theirs;
        l = l * ours + part[args.head_dim + 1] * theirs;
        m = largest;
    }
    out[ulong(row_index) * args.out_stride + head * args.head_dim + d] = o / (l + sink_share(args, sinks, head, m));
}
