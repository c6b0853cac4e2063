/* attention: softmax(scale × q · K) · V over the pages of a sequence, a span of PV_SPLIT_TOKENS keys at a time.
 *
 * A task is some query rows of one tile × one kv head: their queries are those of every head that shares it. Keys and values of a page
 * are converted to f32 once a task. Queries that meet values as well (latent attention) add their part to each score. Within a span
 * the softmax runs online, page by page; the spans' sums merge in order. A query's arithmetic is the same whichever task it is in.
 * Heads are padded with zeros to whole vectors. */
#include "functions.h"
#include "kernel.h"
#include "kv_cells.h"

#define PV_SPAN_PAGES (PV_SPLIT_TOKENS / PV_PAGE_TOKENS)
#define PV_SPLIT_TASKS 4 /* with fewer tasks a worker than this, decode rows are split by span */

/* Sums over some keys: out = o / l, all relative to e^m. */
typedef struct pv_sums {
    float *o;      /* [queries][wide] */
    float *m, *l;  /* [queries] */
} pv_sums;

typedef struct pv_attend {
    const pv_cpu_context *context;
    const pv_op_attention *op;
    uint32_t padded, wide; /* elements of a key and of a value, up to whole vectors */
    uint32_t group;   /* heads that share a kv head */
    float *q;         /* [queries][padded], scaled */
    float *q_latent;  /* [queries][wide], scaled; NULL: values are no keys */
    float *keys, *values; /* a page, [PV_PAGE_TOKENS][padded], [PV_PAGE_TOKENS][wide] */
    pv_sums span, all;
} pv_attend;

static uint32_t padded_dim(uint32_t head_dim) { return (head_dim + PV_LANES - 1) / PV_LANES * PV_LANES; }
static uint64_t sums_bytes(uint64_t queries, uint32_t wide)
{
    return pv_cpu_round(queries * wide * sizeof(float)) + 2 * pv_cpu_round(queries * sizeof(float));
}

static pv_sums take_sums(uint8_t **at, size_t queries, uint32_t wide)
{
    pv_sums sums;
    sums.o = pv_cpu_take(at, queries * wide * sizeof(float));
    sums.m = pv_cpu_take(at, queries * sizeof(float));
    sums.l = pv_cpu_take(at, queries * sizeof(float));
    return sums;
}

/* Converts `count` rows of head_dim halves, padding each with zeros. */
static void widen_halves(const uint16_t *from, uint32_t head_dim, uint32_t count, float *to)
{
    const uint32_t whole = head_dim / PV_LANES * PV_LANES, padded = padded_dim(head_dim);
    for (uint32_t j = 0; j < count; j++, from += head_dim, to += padded) {
        for (uint32_t i = 0; i < whole; i += PV_LANES) vf_store(to + i, vf_from_f16(from + i));
        if (whole < head_dim) {
            uint16_t rest[PV_LANES] = {0};
            memcpy(rest, from + whole, (head_dim - whole) * sizeof *from);
            vf_store(to + whole, vf_from_f16(rest));
        }
    }
}

/* The first `count` tokens of one head's keys or values in a page. */
static void widen(pv_kv_type type, pv_kv_cells cells, uint32_t kv_head, uint32_t count, float *to)
{
    const size_t cell = (size_t)kv_head * PV_PAGE_TOKENS;
    const uint32_t padded = padded_dim(cells.dim);
    const uint8_t *from = cells.rows + cell * cells.row_bytes;
    if (type == PV_KV_F16) {
        widen_halves((const uint16_t *)from, cells.dim, count, to);
        return;
    }
    const uint16_t *scales = cells.scales + cell * cells.groups;
    for (uint32_t j = 0; j < count; j++, from += cells.row_bytes, scales += cells.groups, to += padded) {
        if (type == PV_KV_8BIT) {
            pv_kv_load_8bit(from, scales, cells.dim, to);
        } else {
            pv_kv_load_4bit(from, scales, cells.dim, to);
        }
        for (uint32_t i = cells.dim; i < padded; i++) to[i] = 0;
    }
}

/* Scores of sixteen keys: lanes run over the head, their sums are added as a tree. */
PV_INLINE vf scores16(const float *q, const float *keys, uint32_t padded)
{
    vf sums[16];
    for (int j = 0; j < 16; j++) sums[j] = vf_zero();
    for (uint32_t i = 0; i < padded; i += PV_LANES) {
        const vf part = vf_load(q + i);
        for (uint32_t j = 0; j < 16; j++) sums[j] = vf_fma(part, vf_load(keys + j * padded + i), sums[j]);
    }
    return vf_tree16(sums);
}

/* o += Σ p[j] × values[j] over `count` keys, `vectors` of them at a time. */
PV_INLINE void add_values(float *o, const float *p, const float *values, uint32_t wide, uint32_t count, int vectors)
{
    vf sums[8];
    for (int i = 0; i < vectors; i++) sums[i] = vf_load(o + 16 * i);
    for (uint32_t j = 0; j < count; j++) {
        const vf weight = vf_set(p[j]);
        for (int i = 0; i < vectors; i++) sums[i] = vf_fma(weight, vf_load(values + j * wide + 16 * i), sums[i]);
    }
    for (int i = 0; i < vectors; i++) vf_store(o + 16 * i, sums[i]);
}

static void scale_row(float *row, float factor, uint32_t wide)
{
    for (uint32_t i = 0; i < wide; i += PV_LANES) vf_store(row + i, vf_mul(vf_load(row + i), vf_set(factor)));
}

static float exp_of(float x)
{
    float value;
    vf_store_part(&value, vf_exp(vf_set(x)), 1);
    return value;
}

/* Keys of a page that a row sees: [first, end), none if end is 0. */
typedef struct pv_seen {
    uint32_t first, end;
} pv_seen;

PV_INLINE vf capped(vf score, float cap) { return cap > 0 ? vf_mul(vf_set(cap), vf_tanh(vf_mul(score, vf_set(1.0f / cap)))) : score; }

/* −∞ but for lanes [seen.first, seen.end) of the sixteen from `base` on. */
PV_INLINE vf keep_seen(vf score, pv_seen seen, uint32_t base)
{
    const uint32_t end = seen.end > base ? seen.end - base : 0;
    score = vf_keep(score, end < 16 ? end : 16, -INFINITY);
    if (seen.first <= base) return score;
    const uint32_t hidden = seen.first - base < 16 ? seen.first - base : 16;
    const vi before = vi_bits(vf_keep(vf_bits(vi_set(-1)), hidden, 0.0f)); /* all bits of the lanes that the window hides */
    return vf_bits(vi_or(vi_and(before, vi_bits(vf_set(-INFINITY))), vi_sub(vi_bits(score), vi_and(before, vi_bits(score)))));
}

/* Scores of a query with the sixteen keys from `base` on. */
PV_INLINE vf scores_of(const pv_attend *attend, uint32_t query, uint32_t base)
{
    const uint32_t padded = attend->padded, wide = attend->wide;
    const vf score = scores16(attend->q + (size_t)query * padded, attend->keys + base * (size_t)padded, padded);
    if (attend->q_latent == NULL) return score;
    return vf_add(score, scores16(attend->q_latent + (size_t)query * wide, attend->values + base * (size_t)wide, wide));
}

/* One query meets the keys of the page at hand that it sees. */
static void meet_page(const pv_attend *attend, uint32_t query, pv_seen seen)
{
    const uint32_t wide = attend->wide;
    float *o = attend->span.o + (size_t)query * wide, *m = &attend->span.m[query], *l = &attend->span.l[query];
    const float cap = attend->op->soft_cap;
    vf score[2];
    score[0] = score[1] = vf_set(-INFINITY);
    if (seen.first < 16) score[0] = keep_seen(capped(scores_of(attend, query, 0), cap), seen, 0);
    if (seen.end > 16) score[1] = keep_seen(capped(scores_of(attend, query, 16), cap), seen, 16);
    const float largest = vf_largest(vf_max(score[0], score[1]));
    if (!(largest <= *m)) { /* NaN must come through */
        if (*m > -INFINITY) {
            const float factor = exp_of(*m - largest);
            *l *= factor;
            scale_row(o, factor, wide);
        }
        *m = largest;
    }
    float p[PV_PAGE_TOKENS];
    const vf base = vf_set(*m), low = vf_exp(vf_sub(score[0], base)), high = vf_exp(vf_sub(score[1], base));
    vf_store(p, low);
    vf_store(p + 16, high);
    *l += vf_tree(vf_add(low, high));
    const float *values = attend->values + (size_t)seen.first * wide;
    const uint32_t count = seen.end - seen.first;
    uint32_t i = 0;
    for (; i + 64 <= wide; i += 64) add_values(o + i, p + seen.first, values + i, wide, count, 4);
    for (; i < wide; i += 16) add_values(o + i, p + seen.first, values + i, wide, count, 1);
}

/* The first key that a row sees. */
static int32_t first_key(const pv_op_attention *op, int32_t position)
{
    return op->window > 0 && (uint32_t)position >= op->window ? position - (int32_t)op->window + 1 : 0;
}

/* What a row sees of the page whose first position is `start`. */
static pv_seen visible(const pv_op_attention *op, int32_t position, int32_t start)
{
    const int32_t first = first_key(op, position) - start, end = position + 1 - start;
    if (end <= 0 || first >= PV_PAGE_TOKENS) return (pv_seen){0, 0};
    return (pv_seen){first > 0 ? (uint32_t)first : 0, end < PV_PAGE_TOKENS ? (uint32_t)end : PV_PAGE_TOKENS};
}

/* Sums of one span into attend->span for rows [first_row, first_row + rows). */
static void attend_span(const pv_attend *attend, uint32_t first_row, uint32_t rows, uint32_t kv_head, uint32_t span)
{
    const pv_kv_view *cache = &attend->op->cache;
    const pv_step_row *row = attend->context->step.rows + first_row;
    const int32_t *table = (const int32_t *)pv_tensor_host(&cache->table) + (size_t)row->slot * cache->table.cols;
    memset(attend->span.o, 0, (size_t)rows * attend->group * attend->wide * sizeof(float));
    for (uint32_t i = 0; i < rows * attend->group; i++) attend->span.m[i] = -INFINITY, attend->span.l[i] = 0;
    const uint32_t first_page = (uint32_t)first_key(attend->op, row[0].position) / PV_PAGE_TOKENS; /* later rows see no earlier key */
    uint32_t p = span * PV_SPAN_PAGES > first_page ? span * PV_SPAN_PAGES : first_page;
    for (; p < (span + 1) * PV_SPAN_PAGES; p++) {
        const int32_t start = (int32_t)(p * PV_PAGE_TOKENS), left = row[rows - 1].position + 1 - start;
        if (left <= 0) break;
        const uint32_t most = left < PV_PAGE_TOKENS ? (uint32_t)left : PV_PAGE_TOKENS;
        uint8_t *page = (uint8_t *)pv_tensor_host(&cache->pages) + (uint64_t)table[p] * cache->page_bytes;
        widen(cache->type, pv_kv_find(cache, page, false), kv_head, most, attend->keys);
        widen(cache->type, pv_kv_find(cache, page, true), kv_head, most, attend->values);
        for (uint32_t r = 0; r < rows; r++) {
            const pv_seen seen = visible(attend->op, row[r].position, start);
            for (uint32_t g = 0; seen.end > 0 && g < attend->group; g++) meet_page(attend, r * attend->group + g, seen);
        }
    }
}

/* Adds a later span's sums of one query to those so far. A span without keys has m = −∞ and adds nothing. */
static void merge(float *o, float *m, float *l, const float *span_o, float span_m, float span_l, uint32_t wide)
{
    if (span_m == -INFINITY && span_l == 0) return;
    const float largest = span_m <= *m ? *m : span_m; /* NaN comes through */
    const float before = exp_of(*m - largest), now = exp_of(span_m - largest);
    for (uint32_t i = 0; i < wide; i += PV_LANES) {
        vf_store(o + i, vf_fma(vf_load(span_o + i), vf_set(now), vf_mul(vf_load(o + i), vf_set(before))));
    }
    *l = *l * before + span_l * now;
    *m = largest;
}

static void store_query(const pv_attend *attend, uint32_t row, uint32_t head, const float *o, float m, float l)
{
    const uint32_t dim = pv_kv_value_dim(&attend->op->cache);
    if (pv_tensor_present(&attend->op->sinks)) l += exp_of(((const float *)pv_tensor_host(&attend->op->sinks))[head] - m);
    float *out = pv_cpu_row(&attend->op->out, row) + (size_t)head * dim;
    for (uint32_t i = 0; i < dim; i += PV_LANES) {
        vf_store_part(out + i, vf_div(vf_load(o + i), vf_set(l)), dim - i < PV_LANES ? dim - i : PV_LANES);
    }
}

/* Copies `count` heads, scaled and padded. */
static void take_heads(const float *from, uint32_t count, uint32_t dim, float scale, float *to)
{
    for (uint32_t h = 0; h < count; h++, from += dim) {
        for (uint32_t i = 0; i < dim; i += PV_LANES, to += PV_LANES) {
            vf_store(to, vf_mul(vf_set(scale), vf_load_part(from + i, dim - i < PV_LANES ? dim - i : PV_LANES)));
        }
    }
}

/* Copies the queries of some rows and one kv head. */
static void take_queries(const pv_attend *attend, uint32_t first_row, uint32_t rows, uint32_t kv_head)
{
    const pv_op_attention *op = attend->op;
    const uint32_t group = attend->group, head_dim = op->cache.head_dim, dim = pv_kv_value_dim(&op->cache);
    const size_t head = (size_t)kv_head * group;
    for (uint32_t r = 0; r < rows; r++) {
        take_heads(pv_cpu_row(&op->q, first_row + r) + head * head_dim, group, head_dim, op->scale, attend->q + (size_t)r * group * attend->padded);
        if (attend->q_latent == NULL) continue;
        take_heads(pv_cpu_row(&op->q_latent, first_row + r) + head * dim, group, dim, op->scale, attend->q_latent + (size_t)r * group * attend->wide);
    }
}

static uint32_t spans_of(int32_t position) { return (uint32_t)position / PV_SPLIT_TOKENS + 1; }
static uint32_t first_span(const pv_op_attention *op, int32_t position) { return (uint32_t)first_key(op, position) / PV_SPLIT_TOKENS; }

/* Rows of one tile and one kv head over all their spans. */
static void attend_rows(pv_attend *attend, uint32_t first_row, uint32_t rows, uint32_t kv_head)
{
    const pv_step_row *row = attend->context->step.rows + first_row;
    const uint32_t queries = rows * attend->group, wide = attend->wide;
    take_queries(attend, first_row, rows, kv_head);
    const uint32_t first = first_span(attend->op, row[0].position);
    for (uint32_t span = first; span < spans_of(row[rows - 1].position); span++) {
        attend_span(attend, first_row, rows, kv_head, span);
        if (span == first) { /* the first span's sums are where the merging starts */
            const pv_sums sums = attend->all;
            attend->all = attend->span;
            attend->span = sums;
            continue;
        }
        for (uint32_t i = 0; i < queries; i++) {
            merge(attend->all.o + (size_t)i * wide, &attend->all.m[i], &attend->all.l[i], attend->span.o + (size_t)i * wide,
                  attend->span.m[i], attend->span.l[i], wide);
        }
    }
    for (uint32_t i = 0; i < queries; i++) {
        store_query(attend, first_row + i / attend->group, kv_head * attend->group + i % attend->group,
                    attend->all.o + (size_t)i * wide, attend->all.m[i], attend->all.l[i]);
    }
}

/* Where the sums of a decode row's span wait to be merged: [tile × kv head][span] of {m, l, o} for each head of the group. */
static float *partial(const pv_attend *attend, uint32_t task, uint32_t span, uint32_t max_spans)
{
    return (float *)attend->context->shared + ((size_t)task * max_spans + span) * attend->group * (attend->wide + PV_LANES);
}

/* Few decode rows at depth: spans are shared out among the workers, then each row's are merged. */
static void attend_split(pv_attend *attend, uint32_t tasks, uint32_t spans, uint32_t max_spans)
{
    const uint32_t kv_heads = attend->op->cache.kv_heads, group = attend->group, wide = attend->wide;
    const pv_cpu_context *context = attend->context;
    for (uint32_t i; (i = pv_cpu_ticket(context, 0)) < tasks * spans;) {
        const uint32_t task = i / spans, span = i % spans, row = (uint32_t)context->step.tiles[task / kv_heads].first_row;
        const int32_t position = context->step.rows[row].position;
        if (span < first_span(attend->op, position) || span >= spans_of(position)) continue;
        take_queries(attend, row, 1, task % kv_heads);
        attend_span(attend, row, 1, task % kv_heads, span);
        float *to = partial(attend, task, span, max_spans);
        for (uint32_t g = 0; g < group; g++, to += wide + PV_LANES) {
            to[0] = attend->span.m[g];
            to[1] = attend->span.l[g];
            memcpy(to + PV_LANES, attend->span.o + (size_t)g * wide, wide * sizeof(float));
        }
    }
    pv_cpu_barrier(context->team);
    for (uint32_t i; (i = pv_cpu_ticket(context, 1)) < tasks * group;) {
        const uint32_t task = i / group, g = i % group, row = (uint32_t)context->step.tiles[task / kv_heads].first_row;
        const int32_t position = context->step.rows[row].position;
        const uint32_t first = first_span(attend->op, position);
        float *all = partial(attend, task, first, max_spans) + g * (size_t)(wide + PV_LANES);
        for (uint32_t span = first + 1; span < spans_of(position); span++) {
            const float *next = partial(attend, task, span, max_spans) + g * (size_t)(wide + PV_LANES);
            merge(all + PV_LANES, &all[0], &all[1], next + PV_LANES, next[0], next[1], wide);
        }
        store_query(attend, row, task % kv_heads * group + g, all + PV_LANES, all[0], all[1]);
    }
}

/* Rows of a task: fewer than a tile's where there are few tiles. */
static uint32_t rows_of_task(const pv_cpu_context *context, uint32_t tasks)
{
    uint32_t rows = PV_TILE_ROWS;
    while (rows > 8 && context->workers > 1 && tasks * (PV_TILE_ROWS / rows) < PV_SPLIT_TASKS * context->workers) rows /= 2;
    return rows;
}

static void attention_run(const pv_cpu_context *context, const pv_op *op)
{
    pv_attend attend = {.context = context, .op = &op->attention};
    const pv_kv_view *cache = &op->attention.cache;
    const pv_step_counts *counts = context->step.counts;
    attend.padded = padded_dim(cache->head_dim), attend.wide = padded_dim(pv_kv_value_dim(cache));
    attend.group = op->attention.heads / cache->kv_heads;
    const size_t queries = (size_t)attend.group * PV_TILE_ROWS;
    uint8_t *own = context->own;
    attend.keys = pv_cpu_take(&own, (size_t)PV_PAGE_TOKENS * attend.padded * sizeof(float));
    attend.values = pv_cpu_take(&own, (size_t)PV_PAGE_TOKENS * attend.wide * sizeof(float));
    attend.q = pv_cpu_take(&own, queries * attend.padded * sizeof(float));
    if (pv_tensor_present(&op->attention.q_latent)) attend.q_latent = pv_cpu_take(&own, queries * attend.wide * sizeof(float));
    attend.span = take_sums(&own, queries, attend.wide);
    attend.all = take_sums(&own, queries, attend.wide);

    uint32_t most_rows = 0, spans = 1;
    for (uint32_t t = 0; t < counts->tiles; t++) {
        const pv_step_tile *tile = &context->step.tiles[t];
        if (tile->rows <= 0) continue;
        if ((uint32_t)tile->rows > most_rows) most_rows = (uint32_t)tile->rows;
        const uint32_t of_tile = spans_of(context->step.rows[tile->first_row + tile->rows - 1].position);
        if (of_tile > spans) spans = of_tile;
    }
    const uint32_t tasks = counts->tiles * cache->kv_heads;
    if (context->workers > 1 && most_rows == 1 && spans > 1 && tasks <= PV_SPLIT_TASKS * context->workers) {
        pv_cpu_claim_shared(context, op);
        attend_split(&attend, tasks, spans, (cache->table.cols + PV_SPAN_PAGES - 1) / PV_SPAN_PAGES);
        return;
    }
    const uint32_t rows = rows_of_task(context, tasks), parts = PV_TILE_ROWS / rows;
    for (uint32_t i; (i = pv_cpu_ticket(context, 0)) < tasks * parts;) {
        const uint32_t task = tasks - 1 - i / parts; /* the last tiles see the most keys: long tasks first */
        const pv_step_tile *tile = &context->step.tiles[task / cache->kv_heads];
        const uint32_t first = (parts - 1 - i % parts) * rows, in_tile = (uint32_t)tile->rows;
        if (first >= in_tile) continue;
        attend_rows(&attend, (uint32_t)tile->first_row + first, in_tile - first < rows ? in_tile - first : rows, task % cache->kv_heads);
    }
}

static pv_cpu_need attention_need(const pv_op *op, const pv_step_limits *limits, uint32_t workers)
{
    (void)limits;
    const pv_kv_view *cache = &op->attention.cache;
    const uint32_t padded = padded_dim(cache->head_dim), wide = padded_dim(pv_kv_value_dim(cache)), group = op->attention.heads / cache->kv_heads;
    const uint64_t latent = pv_tensor_present(&op->attention.q_latent) ? wide : 0;
    const uint64_t queries = (uint64_t)group * PV_TILE_ROWS, spans = (cache->table.cols + PV_SPAN_PAGES - 1) / PV_SPAN_PAGES;
    pv_cpu_need need;
    need.own = pv_cpu_round((uint64_t)PV_PAGE_TOKENS * padded * sizeof(float)) + pv_cpu_round((uint64_t)PV_PAGE_TOKENS * wide * sizeof(float)) +
               pv_cpu_round(queries * padded * sizeof(float)) + pv_cpu_round(queries * latent * sizeof(float)) + 2 * sums_bytes(queries, wide);
    need.shared = (uint64_t)PV_SPLIT_TASKS * workers * spans * group * (wide + PV_LANES) * sizeof(float);
    return need;
}

const pv_cpu_kernel PV_K(pv_cpu_attention) = {attention_run, attention_need};
