// attention over the paged cache, row by row: what decode rows take, and all rows where there are no simdgroup matrices. Keys are taken in
// spans of PV_SPLIT_TOKENS; a row's spans are dealt out to at most args.spans simdgroups, each of which leaves partial sums {o, m, l} in
// scratch; attention_merge adds them in order. How spans are dealt out follows from the row's position alone, so a row's result does not
// depend on its neighbours. With args.spans 1 there is nothing to merge and the sums go straight to out.

constant uint with_cap [[function_constant(1)]];
constant uint direct [[function_constant(2)]]; // args.spans is 1

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

// Partial sums of (row, head, split): value_dim values of o, then m and l.
static inline ulong partial_place(constant pv_args_attention &args, uint row, uint head, uint split)
{
    return ((ulong(row) * args.heads + head) * args.spans + split) * (args.cache.value_dim + 2);
}

// e^(sink - m) of a head, or nothing: what its sink adds to l.
static inline float sink_share(constant pv_args_attention &args, device const float *sinks, uint head, float m)
{
    return args.has_sinks != 0 ? precise::exp(sinks[head] - m) : 0.0f;
}

// Which element of a head the i-th of a lane is; of 4-bit cells a lane takes whole bytes.
static inline uint element_of(uint i, uint lane)
{
    return kv_type == KV_4BIT ? i / 2 * 64 + 2 * lane + i % 2 : i * PV_METAL_SIMD + lane;
}

// Adds to each query's score with one lane's key, or with its value where queries meet these as well.
template <uint QUERIES>
static inline void meet_cell(kv_cells keys, uint token, device const float *q, uint queries, thread float (&scores)[QUERIES])
{
    const uint head_dim = keys.dim, fours = head_dim % 4 == 0 ? head_dim / 4 : 0; // keys of odd heads are not aligned
    device const uchar *key = keys.rows + token * keys.row_bytes;
    float scale = 1.0f;
    for (uint d = 0; d < fours; d++) {
        if (kv_type != KV_F16 && d % (KV_GROUP / 4) == 0) {
            scale = float(keys.scales[token * keys.groups + d / (KV_GROUP / 4)]);
        }
        const float4 k = load_four(key, d) * scale;
        for (uint h = 0; h < queries; h++) {
            const float4 with = float4(((device const packed_float4 *)(q + h * head_dim))[d]);
            scores[h] = fma(with.x, k.x, fma(with.y, k.y, fma(with.z, k.z, fma(with.w, k.w, scores[h]))));
        }
    }
    for (uint d = 4 * fours; d < head_dim; d++) {
        const float k = load_one(key, d) * (kv_type != KV_F16 ? float(keys.scales[token * keys.groups + d / KV_GROUP]) : 1.0f);
        for (uint h = 0; h < queries; h++) {
            scores[h] = fma(q[h * head_dim + d], k, scores[h]);
        }
    }
}

// The queries of a simdgroup: where their first ones begin.
struct query_heads {
    device const float *q, *latent;
    uint count;
};

// One lane's scores of its key with each query.
template <uint QUERIES>
static inline void score_key(constant pv_args_attention &args, kv_cells keys, kv_cells values, uint token, query_heads queries_at,
                             thread float (&scores)[QUERIES])
{
    const uint queries = queries_at.count;
    meet_cell<QUERIES>(keys, token, queries_at.q, queries, scores);
    if (args.has_latent != 0) {
        meet_cell<QUERIES>(values, token, queries_at.latent, queries, scores);
    }
    for (uint h = 0; h < queries; h++) {
        scores[h] *= args.scale;
        if (with_cap != 0) {
            scores[h] = args.soft_cap * precise::tanh(scores[h] / args.soft_cap);
        }
    }
}

// A lane's elements of a token's values.
template <uint DIMS>
static inline void load_values(kv_cells values, uint token, uint lane, threadgroup const float (&scales)[DIMS][PV_PAGE_TOKENS],
                               thread float (&out)[DIMS])
{
    device const uchar *row = values.rows + token * values.row_bytes;
    uint byte = 0;
    for (uint i = 0; i < DIMS; i++) {
        const uint d = element_of(i, lane);
        if (d >= values.dim) {
            out[i] = 0.0f;
        } else if (kv_type == KV_4BIT) {
            byte = i % 2 == 0 ? uint(row[d / 2]) : byte >> 4;
            out[i] = (float(byte & 15) - 8.0f) * scales[d / KV_GROUP][token];
        } else {
            out[i] = kv_type == KV_8BIT ? load_one(row, d) * scales[d / KV_GROUP][token] : load_one(row, d);
        }
    }
}

// Meets keys [skip, count) of one page: lanes are its tokens for the scores, then elements of the head for the values.
template <uint DIMS, uint QUERIES>
static inline void meet_page(constant pv_args_attention &args, kv_cells keys, kv_cells values, query_heads queries_at,
                             uint skip, uint count, uint lane, threadgroup float (&weights)[QUERIES][PV_PAGE_TOKENS],
                             threadgroup float (&scales)[DIMS][PV_PAGE_TOKENS], thread float (&o)[QUERIES][DIMS],
                             thread float (&m)[QUERIES], thread float (&l)[QUERIES])
{
    const uint queries = queries_at.count;
    const bool seen = lane >= skip && lane < count;
    float scores[QUERIES] = {};
    if (seen) { // what lies beyond is never read
        score_key<QUERIES>(args, keys, values, lane, queries_at, scores);
    }
    simdgroup_barrier(mem_flags::mem_threadgroup); // the weights of the page before have been read
    for (uint g = 0; g < values.groups && seen && kv_type != KV_F16; g++) {
        scales[g][lane] = float(values.scales[lane * values.groups + g]);
    }
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
        float value[DIMS];
        load_values<DIMS>(values, j, lane, scales, value);
        for (uint h = 0; h < queries; h++) {
            for (uint i = 0; i < DIMS; i++) {
                o[h][i] = fma(weights[h][j], value[i], o[h][i]);
            }
        }
    }
}

// A simdgroup: one row, one split, up to QUERIES heads of one kv head, for which keys and values are read once.
template <uint DIMS, uint QUERIES>
static inline void attention_split(device const uchar *step, constant pv_args_attention &args, device const float *q,
                                   device const float *q_latent, device const uchar *pages, device const int *table, device float *partials,
                                   device const float *sinks, device float *out, uint3 group, uint lane,
                                   threadgroup float (&weights)[QUERIES][PV_PAGE_TOKENS],
                                   threadgroup float (&scales)[DIMS][PV_PAGE_TOKENS])
{
    const uint shared_by = args.heads / args.cache.kv_heads, chunks = (shared_by + QUERIES - 1) / QUERIES;
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
    float o[QUERIES][DIMS] = {}, m[QUERIES], l[QUERIES] = {};
    for (uint h = 0; h < QUERIES; h++) {
        m[h] = -INFINITY;
    }
    const uint value_dim = args.cache.value_dim;
    query_heads queries_at;
    queries_at.q = q + ulong(row_index) * args.q_stride + first_head * args.cache.head_dim;
    queries_at.latent = q_latent + ulong(row_index) * args.latent_stride + first_head * value_dim;
    queries_at.count = queries;
    for (uint start = begin / PV_PAGE_TOKENS * PV_PAGE_TOKENS; start < end; start += PV_PAGE_TOKENS) {
        const int page = table[uint(row.slot) * args.cache.table_cols + start / PV_PAGE_TOKENS];
        const kv_cells keys = find_cells(args.cache, pages, page, kv_head);
        const kv_cells values = find_values(args.cache, pages, page, kv_head);
        meet_page<DIMS, QUERIES>(args, keys, values, queries_at, begin > start ? begin - start : 0,
                                 min(uint(PV_PAGE_TOKENS), end - start), lane, weights, scales, o, m, l);
    }
    for (uint h = 0; h < queries; h++) {
        const uint head = first_head + h;
        const float factor = direct != 0 ? 1.0f / (l[h] + sink_share(args, sinks, head, m[h])) : 1.0f;
        device float *to = direct != 0 ? out + ulong(row_index) * args.out_stride + head * value_dim
                                       : partials + partial_place(args, row_index, head, split);
        for (uint i = 0; i < DIMS; i++) {
            const uint d = element_of(i, lane);
            if (d < value_dim) {
                to[d] = o[h][i] * factor;
            }
        }
        if (direct == 0 && lane == 0) {
            to[value_dim] = m[h];
            to[value_dim + 1] = l[h];
        }
    }
}

#define ATTENTION_SPLIT(dims, queries)                                                                                               \
    kernel void attention_split##dims##_##queries(                                                                                   \
        device const uchar *step [[buffer(0)]], constant pv_args_attention &args [[buffer(1)]], device const float *q [[buffer(2)]], \
        device const uchar *pages [[buffer(3)]], device const int *table [[buffer(4)]], device float *partials [[buffer(5)]],        \
        device const float *sinks [[buffer(6)]], device float *out [[buffer(7)]], device const float *q_latent [[buffer(8)]],        \
        device const uint *first_group [[buffer(9)]], uint3 group [[threadgroup_position_in_grid]],                                  \
        uint lane [[thread_index_in_simdgroup]])                                                                                     \
    {                                                                                                                                \
        threadgroup float weights[queries][PV_PAGE_TOKENS];                                                                          \
        threadgroup float scales[dims][PV_PAGE_TOKENS]; /* of the values of 8- and 4-bit cells */                                    \
        group.z += *first_group;                                                                                                     \
        attention_split<dims, queries>(step, args, q, q_latent, pages, table, partials, sinks, out, group, lane, weights, scales);   \
    }

// Elements of a value's head for each lane, for heads of up to 32, 64, 96, 128, 256 and 512; heads of a kv head that a simdgroup takes at a time.
ATTENTION_SPLIT(1, 4)
ATTENTION_SPLIT(2, 4)
ATTENTION_SPLIT(3, 4)
ATTENTION_SPLIT(4, 4)
ATTENTION_SPLIT(8, 4)
ATTENTION_SPLIT(16, 4)
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
    if (row_index >= rows || head >= args.heads || d >= args.cache.value_dim) {
        return;
    }
    const key_range range = keys_of(args, step_array<pv_step_row>(step, args.step.rows)[row_index]);
    const uint spans = (range.end - 1) / PV_SPLIT_TOKENS + 1 - range.first_span, splits = (spans + range.each - 1) / range.each;
    float o = 0.0f, m = -INFINITY, l = 0.0f;
    for (uint split = 0; split < splits; split++) {
        device const float *part = partials + partial_place(args, row_index, head, split);
        const float part_m = part[args.cache.value_dim], largest = max(m, part_m);
        const float ours = m == -INFINITY ? 0.0f : precise::exp(m - largest), theirs = precise::exp(part_m - largest);
        o = o * ours + part[d] * theirs;
        l = l * ours + part[args.cache.value_dim + 1] * theirs;
        m = largest;
    }
    out[ulong(row_index) * args.out_stride + head * args.cache.value_dim + d] = o / (l + sink_share(args, sinks, head, m));
}
