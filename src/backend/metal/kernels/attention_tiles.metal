// attention of prompt rows: a tile of query rows of one sequence meets the cache page by page, or by halves of pages where
// these are large: an online softmax between two products of simdgroup matrices. A threadgroup is one tile and one head; each
// of its four simdgroups has eight of the rows. Keys, then values of a page pass through the same threadgroup memory. What a
// row does with a page depends on the row alone: keys that it does not see have weight 0, so it gets the same bits in whatever
// chunk of its prompt it stands.
//
// Matrices are handled by their elements: a lane has two neighbours of one row, as lane_row and lane_column say. This is how every Apple
// GPU so far lays them out; the conformance suite would fail on one that does not.

constant uint with_cap [[function_constant(1)]];

#define SIMDGROUPS 4
#define MATRIX 8 // rows and columns
#define PAGE_PADDING 8 // cells behind each token's, so that lanes of a matrix's column fall into different banks

static inline uint lane_row(uint lane)
{
    return (lane >> 4) * 4 + (lane >> 1 & 3);
}
static inline uint lane_column(uint lane)
{
    return (lane >> 3 & 1) * 4 + (lane & 1) * 2;
}
// Which lane has an element.
static inline uint lane_of(uint row, uint column)
{
    return (row >> 2) * 16 + (column >> 2) * 8 + (row & 3) * 2 + (column >> 1 & 1);
}

// Over the four lanes of a row.
static inline float row_max(float value)
{
    value = max(value, simd_shuffle_xor(value, 1));
    return max(value, simd_shuffle_xor(value, 8));
}
static inline float row_sum(float value)
{
    value += simd_shuffle_xor(value, 1);
    return value + simd_shuffle_xor(value, 8);
}

// A lane's part of its simdgroup's eight rows.
template <uint HEAD, uint TOKENS> struct tile_rows {
    simdgroup_float8x8 q[HEAD / MATRIX], o[HEAD / MATRIX], weights[TOKENS / MATRIX];
    float m, l;
    int first, last; // keys that the lane's row sees
};

// Rows of the tile; simdgroups whose rows are beyond it have nothing to do.
struct tile_place {
    int first_row, rows, position; // position: of the first row
    uint slot;
    bool leaves;
};

static inline tile_place find_tile(device const uchar *step, constant pv_args_attention &args, uint index)
{
    tile_place place = {0, 0, 0, 0, true};
    if (index >= step_counts(step)->tiles) {
        return place;
    }
    const pv_step_tile tile = step_array<pv_step_tile>(step, args.step.tiles)[index];
    if (tile.rows <= 0 || uint(tile.first_row) < step_counts(step)->decode_rows) { // decode rows are split over their keys
        return place;
    }
    const pv_step_row row = step_array<pv_step_row>(step, args.step.rows)[tile.first_row];
    place.first_row = tile.first_row;
    place.rows = tile.rows;
    place.position = row.position;
    place.slot = uint(row.slot);
    place.leaves = false;
    return place;
}

static inline int first_key(constant pv_args_attention &args, int position)
{
    return args.window > 0 && uint(position) >= args.window ? position + 1 - int(args.window) : 0;
}

// f16 cells stay f16 in threadgroup memory, others become f32, which holds any of them.
static inline void put_four(threadgroup half *to, float4 cells)
{
    *(threadgroup half4 *)to = half4(cells);
}
static inline void put_four(threadgroup float *to, float4 cells)
{
    *(threadgroup float4 *)to = cells;
}

// All threads bring a page's keys or values; tokens from `count` on become zeros. `odd` tells of values that are not finite, which a product
// would spread to rows that do not see them; whoever calls has set it to 0.
template <uint HEAD, uint TOKENS, typename CELL>
static inline void load_page(constant pv_args_attention &args, kv_cells from, uint count, uint thread_index, threadgroup CELL *page,
                             threadgroup atomic_uint &odd)
{
    const uint fours = HEAD / 4;
    bool finite = true;
    for (uint i = thread_index; i < TOKENS * fours; i += SIMDGROUPS * PV_METAL_SIMD) {
        const uint token = i / fours, four = i % fours;
        float4 cells = float4(0.0f);
        if (token < count) {
            cells = load_four(from.rows + token * args.cache.row_bytes, four);
            if (kv_type != KV_F16) {
                cells *= float(from.scales[token * args.cache.groups + four / (KV_GROUP / 4)]);
            }
        }
        put_four(page + token * (HEAD + PAGE_PADDING) + 4 * four, cells);
        finite = finite && all(isfinite(cells));
    }
    if (!finite) {
        atomic_store_explicit(&odd, 1u, memory_order_relaxed);
    }
}

// weights = e^(scores - m) of a page's keys, and what that does to m, l and o.
template <uint HEAD, uint TOKENS, typename CELL>
static inline void weigh_page(constant pv_args_attention &args, threadgroup const CELL *page, int start, uint lane, thread tile_rows<HEAD, TOKENS> &t)
{
    const uint row = lane_row(lane), column = lane_column(lane);
    float largest = -INFINITY;
    for (uint j = 0; j < TOKENS / MATRIX; j++) {
        simdgroup_float8x8 scores = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
        threadgroup const CELL *keys = page + (MATRIX * j + column) * (HEAD + PAGE_PADDING) + row;
        for (uint i = 0; i < HEAD / MATRIX; i++) {
            simdgroup_float8x8 k; // the keys transposed: a column is a token
            k.thread_elements()[0] = float(keys[MATRIX * i]);
            k.thread_elements()[1] = float(keys[MATRIX * i + HEAD + PAGE_PADDING]);
            simdgroup_multiply_accumulate(scores, t.q[i], k, scores);
        }
        for (uint e = 0; e < 2; e++) {
            float score = scores.thread_elements()[e] * args.scale;
            if (with_cap != 0) {
                score = args.soft_cap * precise::tanh(score / args.soft_cap);
            }
            const int key = start + int(MATRIX * j + column + e);
            score = key >= t.first && key <= t.last ? score : -INFINITY;
            t.weights[j].thread_elements()[e] = score;
            largest = max(largest, score);
        }
    }
    largest = max(t.m, row_max(largest));
    const float factor = t.m == -INFINITY ? 0.0f : precise::exp(t.m - largest);
    float sum = 0.0f;
    for (uint j = 0; j < TOKENS / MATRIX; j++) {
        for (uint e = 0; e < 2; e++) {
            // a NaN among the scores must come through: max passes it over
            const int key = start + int(MATRIX * j + column + e);
            const float weight = key >= t.first && key <= t.last ? precise::exp(t.weights[j].thread_elements()[e] - largest) : 0.0f;
            t.weights[j].thread_elements()[e] = weight;
            sum += weight;
        }
    }
    t.l = t.l * factor + row_sum(sum);
    t.m = largest;
    for (uint i = 0; i < HEAD / MATRIX; i++) {
        t.o[i].thread_elements()[0] *= factor;
        t.o[i].thread_elements()[1] *= factor;
    }
}

// Values that are not finite, row by row: only those that see them.
template <uint HEAD, uint TOKENS, typename CELL>
static inline void add_odd_values(threadgroup const CELL *page, int start, uint lane, thread tile_rows<HEAD, TOKENS> &t)
{
    const uint row = lane_row(lane), column = lane_column(lane);
    for (uint j = 0; j < TOKENS / MATRIX; j++) {
        for (uint c = 0; c < MATRIX; c++) {
            const int key = start + int(MATRIX * j + c);
            const float weight = simd_shuffle(t.weights[j].thread_elements()[c & 1], ushort(lane_of(row, c)));
            threadgroup const CELL *values = page + (MATRIX * j + c) * (HEAD + PAGE_PADDING) + column;
            for (uint i = 0; i < HEAD / MATRIX && key >= t.first && key <= t.last; i++) {
                for (uint e = 0; e < 2; e++) {
                    const float value = float(values[MATRIX * i + e]);
                    t.o[i].thread_elements()[e] += isfinite(value) ? 0.0f : weight * value;
                }
            }
        }
    }
}

// o += weights × values
template <uint HEAD, uint TOKENS, typename CELL>
static inline void add_values(threadgroup const CELL *page, bool odd, uint lane, thread tile_rows<HEAD, TOKENS> &t)
{
    const uint row = lane_row(lane), column = lane_column(lane);
    for (uint i = 0; i < HEAD / MATRIX; i++) {
        for (uint j = 0; j < TOKENS / MATRIX; j++) {
            threadgroup const CELL *values = page + (MATRIX * j + row) * (HEAD + PAGE_PADDING) + MATRIX * i + column;
            simdgroup_float8x8 v;
            for (uint e = 0; e < 2; e++) {
                const float value = float(values[e]);
                v.thread_elements()[e] = odd && !isfinite(value) ? 0.0f : value;
            }
            simdgroup_multiply_accumulate(t.o[i], t.weights[j], v, t.o[i]);
        }
    }
}

template <uint HEAD, uint TOKENS, typename CELL>
static inline void attend_tile(device const uchar *step, constant pv_args_attention &args, device const float *q, device const uchar *pages,
                               device const int *table, device const float *sinks, device float *out, uint2 group, uint thread_index,
                               uint simdgroup, uint lane, threadgroup CELL *page, threadgroup atomic_uint &odd)
{
    const uint head = group.x, kv_head = head / (args.heads / args.cache.kv_heads);
    const tile_place tile = find_tile(step, args, group.y);
    if (tile.leaves) {
        return;
    }
    const int first_own = int(MATRIX * simdgroup), own = first_own + int(lane_row(lane)); // rows of the tile
    const uint column = lane_column(lane);
    const ulong row_index = ulong(tile.first_row + own);
    tile_rows<HEAD, TOKENS> t;
    t.m = -INFINITY;
    t.l = 0.0f;
    t.last = tile.position + own;
    t.first = first_key(args, t.last);
    for (uint i = 0; i < HEAD / MATRIX; i++) {
        device const float *from = q + row_index * args.q_stride + head * HEAD + MATRIX * i + column;
        for (uint e = 0; e < 2; e++) {
            t.q[i].thread_elements()[e] = own < tile.rows ? from[e] : 0.0f;
            t.o[i].thread_elements()[e] = 0.0f;
        }
    }
    const int last = tile.position + tile.rows - 1;
    for (int start = first_key(args, tile.position) / int(TOKENS) * int(TOKENS); start <= last; start += int(TOKENS)) {
        const int number = table[tile.slot * args.cache.table_cols + uint(start) / PV_PAGE_TOKENS];
        const uint first = uint(start) % PV_PAGE_TOKENS, count = uint(min(int(TOKENS), last + 1 - start));
        // rows of this simdgroup see some of the page
        const bool busy = first_own < tile.rows && start <= tile.position + first_own + MATRIX - 1 &&
                          start + int(TOKENS) > first_key(args, tile.position + first_own);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        load_page<HEAD, TOKENS, CELL>(args, find_cells_from(args.cache, pages, number, kv_head, first), count, thread_index,
                                      page, odd);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        if (busy) {
            weigh_page<HEAD, TOKENS, CELL>(args, page, start, lane, t);
        }
        if (thread_index == 0) { // keys that are not finite reach no row but by their own scores
            atomic_store_explicit(&odd, 0u, memory_order_relaxed);
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
        load_page<HEAD, TOKENS, CELL>(args, find_cells_from(args.cache, pages, number, args.cache.kv_heads + kv_head, first),
                                      count, thread_index, page, odd);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        if (busy) {
            const bool is_odd = atomic_load_explicit(&odd, memory_order_relaxed) != 0;
            add_values<HEAD, TOKENS, CELL>(page, is_odd, lane, t);
            if (is_odd) {
                add_odd_values<HEAD, TOKENS, CELL>(page, start, lane, t);
            }
        }
    }
    if (own >= tile.rows) {
        return;
    }
    if (args.has_sinks != 0) {
        t.l += precise::exp(sinks[head] - t.m);
    }
    for (uint i = 0; i < HEAD / MATRIX; i++) {
        device float *to = out + row_index * args.out_stride + head * HEAD + MATRIX * i + column;
        to[0] = t.o[i].thread_elements()[0] / t.l;
        to[1] = t.o[i].thread_elements()[1] / t.l;
    }
}

#define ATTENTION_TILE(name, head, tokens, cell)                                                                                     \
    kernel void attention_tile##name(                                                                                                \
        device const uchar *step [[buffer(0)]], constant pv_args_attention &args [[buffer(1)]], device const float *q [[buffer(2)]], \
        device const uchar *pages [[buffer(3)]], device const int *table [[buffer(4)]], device const float *sinks [[buffer(5)]],     \
        device float *out [[buffer(6)]], device const uint *first_group [[buffer(7)]], uint2 group [[threadgroup_position_in_grid]], \
        uint thread_index [[thread_index_in_threadgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]],                        \
        uint lane [[thread_index_in_simdgroup]])                                                                                     \
    {                                                                                                                                \
        threadgroup cell page[tokens * (head + PAGE_PADDING)];                                                                       \
        threadgroup atomic_uint odd;                                                                                                 \
        group.y += *first_group;                                                                                                     \
        attend_tile<head, tokens, cell>(step, args, q, pages, table, sinks, out, group, thread_index, simdgroup, lane, page, odd);   \
    }

ATTENTION_TILE(64, 64, 32, half)
ATTENTION_TILE(80, 80, 32, half)
ATTENTION_TILE(96, 96, 32, half)
ATTENTION_TILE(128, 128, 32, half)
ATTENTION_TILE(256, 256, 32, half)
// For cells with scales; of 256 elements a page would not fit into threadgroup memory, half of one does.
ATTENTION_TILE(64_scaled, 64, 32, float)
ATTENTION_TILE(80_scaled, 80, 32, float)
ATTENTION_TILE(96_scaled, 96, 32, float)
ATTENTION_TILE(128_scaled, 128, 32, float)
ATTENTION_TILE(256_scaled, 256, 16, float)
