/* kv_store, rope and attention over caches of 8 and 4 bits: cells are whole numbers times a scale, as runtime/kv.h says. Written from there
 * and sharing nothing with it. Also over values that are not as wide as keys, with queries that meet them and without, f16 included. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support_rig.h"

#define ARRAY_COUNT(array) (sizeof(array) / sizeof(array)[0])
#define MOST_GROUPS 16
#define MOST_DIM 512

static const char *const type_names[] = {[PV_KV_F16] = "f16", [PV_KV_8BIT] = "8 bits", [PV_KV_4BIT] = "4 bits"};

/* ---- Cells ----------------------------------------------------------------------------------------------------------- */

/* One head of a token. */
typedef struct head_cells {
    uint8_t bytes[2 * MOST_DIM];
    uint16_t scales[MOST_GROUPS];
} head_cells;

static uint32_t cell_bytes(pv_kv_type type, uint32_t head_dim)
{
    return type == PV_KV_F16 ? 2 * head_dim : type == PV_KV_8BIT ? head_dim : head_dim / 2;
}

static uint32_t group_count(pv_kv_type type, uint32_t head_dim)
{
    return type == PV_KV_F16 ? 0 : (head_dim + 31) / 32;
}

static int quant_at(pv_kv_type type, const head_cells *cells, uint32_t d)
{
    if (type == PV_KV_8BIT) return (int8_t)cells->bytes[d];
    return (d % 2 ? cells->bytes[d / 2] >> 4 : cells->bytes[d / 2] & 15) - 8;
}

static uint32_t value_dim_of(const pv_kv_view *view) { return view->value_dim != 0 ? view->value_dim : view->head_dim; }
static uint32_t dim_of(const pv_kv_view *view, uint32_t head) { return head < view->kv_heads ? view->head_dim : value_dim_of(view); }

/* Bytes from the cache's start to those of a head of a token, and to its scales. `head` counts the keys', then the values'. */
static uint64_t place_of(const pv_kv_view *view, int32_t page, uint32_t head, uint32_t token, bool scales)
{
    const uint64_t cells = (uint64_t)view->kv_heads * PV_PAGE_TOKENS;
    const uint64_t key = cell_bytes(view->type, view->head_dim), value = cell_bytes(view->type, value_dim_of(view));
    const uint64_t key_scales = 2 * group_count(view->type, view->head_dim), value_scales = 2 * group_count(view->type, value_dim_of(view));
    const bool is_value = head >= view->kv_heads;
    const uint64_t cell = (uint64_t)(head - (is_value ? view->kv_heads : 0)) * PV_PAGE_TOKENS + token;
    uint64_t at = is_value ? cells * key + cell * value : cell * key;
    if (scales) at = cells * (key + value) + (is_value ? cells * key_scales + cell * value_scales : cell * key_scales);
    return (uint64_t)page * view->page_bytes + at;
}

/* ---- The store ------------------------------------------------------------------------------------------------------- */

static const rig_sequence store_sequences[] = {{5, 31, 1, NULL}, {1, 0, 1, NULL}, {2, 20, 45, NULL}};
#define STORE_ROWS 47

/* Rows that are zero, too small for a scale, too large for one, not finite, or have two largest values of unlike signs. */
static void add_edges(float *x, uint32_t width, uint32_t head_dim)
{
    for (uint32_t d = 0; d < head_dim; d++) {
        x[d] = 0;
        x[width + d] = d % 2 ? 1e-9f : -3e-10f;
        x[2 * width + d] = d % 3 ? 1e8f : -1e7f;
    }
    x[3 * width + head_dim / 2] = NAN;
    x[4 * width + head_dim - 1] = INFINITY;
    x[5 * width + 3] = -50, x[5 * width + 7] = 50;
    x[6 * width + 3] = 50, x[6 * width + 7] = -50;
}

static double step_of(pv_kv_type type, const float *x, uint32_t count)
{
    float most = 0, least = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!isfinite(x[i])) return NAN;
        most = fmaxf(most, x[i]);
        least = fminf(least, x[i]);
    }
    float largest = most >= -least ? most : least;
    return type == PV_KV_8BIT ? fabsf(largest) / 127 : largest / -8;
}

/* How many elements of a head are not what the definition makes of x; the division may fall on the other side of a middle. */
static uint32_t wrong_cells(pv_kv_type type, const float *x, uint32_t head_dim, const head_cells *found)
{
    uint32_t wrong = 0;
    for (uint32_t d = 0; type == PV_KV_F16 && d < head_dim; d++) {
        const uint16_t half = ref_to_f16(x[d]);
        wrong += memcmp(&half, found->bytes + 2 * d, 2) != 0;
    }
    if (type == PV_KV_F16) return wrong;
    for (uint32_t first = 0; first < head_dim; first += 32) {
        uint32_t count = head_dim - first < 32 ? head_dim - first : 32;
        double step = step_of(type, x + first, count);
        uint16_t kept = ref_to_f16(step);
        uint16_t scale = found->scales[first / 32];
        double s = ref_f16(scale);
        if (isnan(step) || !isfinite(ref_f16(kept)))
            wrong += isfinite(s);
        else
            wrong += scale != kept && !(ref_f16(kept) == 0 && s == 0);
        for (uint32_t d = first; d < first + count; d++) {
            int q = quant_at(type, found, d);
            if (!isfinite(s) || s == 0) {
                wrong += q != 0;
                continue;
            }
            double quotient = fmin(fmax(x[d] / s, type == PV_KV_8BIT ? -127 : -8), type == PV_KV_8BIT ? 127 : 7);
            wrong += fabs(quotient - q) > 0.5 + 1e-5;
        }
    }
    return wrong;
}

static float *random_floats(uint64_t *seed, size_t count, double size)
{
    float *values = malloc(count * sizeof *values);
    for (size_t i = 0; i < count; i++) values[i] = (float)(size * ref_normal(seed));
    return values;
}

/* Calls for every head of every row of the step: keys, then values. */
typedef void (*each_cell)(rig *r, const pv_kv_view *view, int32_t page, uint32_t head, uint32_t token, const float *x);

static void for_each_cell(rig *r, const pv_kv_view *view, const float *k, const float *v, each_cell call)
{
    uint32_t row = 0;
    for (size_t i = 0; i < ARRAY_COUNT(store_sequences); i++) {
        for (int32_t j = 0; j < store_sequences[i].count; j++, row++) {
            int32_t position = store_sequences[i].first + j, page = 1 + (int32_t)i * 3 + position / PV_PAGE_TOKENS;
            for (uint32_t head = 0; head < 2 * view->kv_heads; head++) {
                const float *x = head < view->kv_heads ? k : v;
                call(r, view, page, head, (uint32_t)position % PV_PAGE_TOKENS,
                     x == NULL ? NULL : x + ((size_t)row * view->kv_heads + head % view->kv_heads) * dim_of(view, head));
            }
        }
    }
}

static void may_write_cell(rig *r, const pv_kv_view *view, int32_t page, uint32_t head, uint32_t token, const float *x)
{
    (void)x;
    rig_may_write(r, &view->pages, place_of(view, page, head, token, false), cell_bytes(view->type, dim_of(view, head)));
    rig_may_write(r, &view->pages, place_of(view, page, head, token, true), 2ull * group_count(view->type, dim_of(view, head)));
}

static void get_cells(rig *r, const pv_kv_view *view, int32_t page, uint32_t head, uint32_t token, head_cells *cells)
{
    rig_get(r, &view->pages, place_of(view, page, head, token, false), cells->bytes, cell_bytes(view->type, dim_of(view, head)));
    rig_get(r, &view->pages, place_of(view, page, head, token, true), cells->scales, 2ull * group_count(view->type, dim_of(view, head)));
}

static void expect_cell(rig *r, const pv_kv_view *view, int32_t page, uint32_t head, uint32_t token, const float *x)
{
    head_cells cells = {0};
    get_cells(r, view, page, head, token, &cells);
    rig_expect(r, type_names[view->type], wrong_cells(view->type, x, dim_of(view, head), &cells) == 0);
}

static pv_kv_view store_cache(rig *r, pv_kv_type type, uint32_t kv_heads, uint32_t head_dim, uint32_t value_dim)
{
    pv_kv_view view = rig_cache_of(r, type, 12, kv_heads, head_dim, value_dim);
    for (size_t i = 0; i < ARRAY_COUNT(store_sequences); i++) {
        for (int32_t block = 0; block < 3; block++) {
            int32_t page = 1 + (int32_t)i * 3 + block;
            rig_put(r, &view.table, ((uint64_t)store_sequences[i].slot * view.table.cols + (uint32_t)block) * 4, &page, 4);
        }
    }
    for_each_cell(r, &view, NULL, NULL, may_write_cell);
    return view;
}

static void run_store(rig *r, pv_kv_type type, uint32_t kv_heads, uint32_t head_dim, uint32_t value_dim)
{
    uint64_t seed = kv_heads * 1000 + head_dim;
    uint32_t width = kv_heads * head_dim, value_width = kv_heads * value_dim;
    rig_reset(r);
    rig_step(r, store_sequences, ARRAY_COUNT(store_sequences));
    assert_int_equal(r->rows, STORE_ROWS);
    float *k = random_floats(&seed, (size_t)STORE_ROWS * width, 3), *v = random_floats(&seed, (size_t)STORE_ROWS * value_width, 0.3);
    add_edges(k, width, head_dim);
    add_edges(v + 10 * value_width, value_width, value_dim);
    pv_op op = {.kind = PV_OP_kv_store};
    op.kv_store.k = rig_input(r, PV_EXTENT_ROWS, width, k);
    op.kv_store.v = rig_input(r, PV_EXTENT_ROWS, value_width, v);
    op.kv_store.store = store_cache(r, type, kv_heads, head_dim, value_dim);
    rig_run(r, &op, 1);
    for_each_cell(r, &op.kv_store.store, k, v, expect_cell);
    free(k), free(v);
}

/* What is stored is k as it was turned. */
static void run_rope(rig *r, pv_kv_type type, uint32_t kv_heads, uint32_t head_dim, uint32_t value_dim)
{
    uint64_t seed = kv_heads * 77 + head_dim;
    uint32_t width = kv_heads * head_dim, value_width = kv_heads * value_dim;
    rig_reset(r);
    rig_step(r, store_sequences, ARRAY_COUNT(store_sequences));
    float *k = random_floats(&seed, (size_t)STORE_ROWS * width, 3), *v = random_floats(&seed, (size_t)STORE_ROWS * value_width, 3),
          *angles = random_floats(&seed, (size_t)STORE_ROWS * head_dim, 1);
    pv_op op = {.kind = PV_OP_rope, .rope = {.head_dim = head_dim, .dim = head_dim, .pairing = PV_ROPE_HALVES}};
    op.rope.q = rig_input(r, PV_EXTENT_ROWS, width, k);
    op.rope.k = rig_input(r, PV_EXTENT_ROWS, width, k);
    op.rope.v = rig_input(r, PV_EXTENT_ROWS, value_width, v);
    op.rope.angles = rig_input(r, PV_EXTENT_ROWS, head_dim, angles);
    op.rope.store = store_cache(r, type, kv_heads, head_dim, value_dim);
    rig_may_write_rows(r, &op.rope.q);
    rig_may_write_rows(r, &op.rope.k);
    rig_run(r, &op, 1);
    float *turned = rig_rows(r, &op.rope.k, STORE_ROWS);
    for_each_cell(r, &op.rope.store, turned, v, expect_cell);
    free(k), free(v), free(angles), free(turned);
}

static void store_cases(rig *r)
{
    static const uint32_t head_dims[] = {64, 80, 96, 128, 256, 20};
    for (unsigned type = PV_KV_8BIT; type <= PV_KV_4BIT; type++) {
        for (size_t i = 0; i < ARRAY_COUNT(head_dims); i++) run_store(r, (pv_kv_type)type, 1 + (uint32_t)i % 3, head_dims[i], head_dims[i]);
        run_rope(r, (pv_kv_type)type, 2, 64, 64);
        run_rope(r, (pv_kv_type)type, 1, 80, 80);
    }
    for (unsigned type = PV_KV_F16; type <= PV_KV_4BIT; type++) {
        run_store(r, (pv_kv_type)type, 1, 64, 512);
        run_store(r, (pv_kv_type)type, 3, 96, 20);
        run_rope(r, (pv_kv_type)type, 1, 64, 512);
        run_rope(r, (pv_kv_type)type, 2, 16, 96);
    }
    rig_expect_ran(r, "kv_store", NULL);
    rig_expect_ran(r, "rope", NULL);
}

/* ---- attention ------------------------------------------------------------------------------------------------------- */

#define MAX_SEQUENCES 8
typedef struct attention_case {
    uint32_t kv_heads, group, head_dim;
    rig_sequence sequence[MAX_SEQUENCES];
    uint32_t window;
    bool sinks;
    uint32_t value_dim; /* 0: head_dim */
    bool latent;        /* queries meet values too */
} attention_case;

static uint32_t value_dim_in(const attention_case *s) { return s->value_dim != 0 ? s->value_dim : s->head_dim; }

/* Random cells of all positions, as bytes and as numbers: [sequence][2 × kv_heads][position]. */
typedef struct content {
    head_cells *cells[MAX_SEQUENCES];
    double *numbers[MAX_SEQUENCES]; /* [kv_heads][position][head_dim], then [kv_heads][position][value_dim] */
} content;

static size_t numbers_at(const attention_case *s, uint32_t length, uint32_t head)
{
    const size_t keys = (size_t)length * s->head_dim, values = (size_t)length * value_dim_in(s);
    return head < s->kv_heads ? head * keys : s->kv_heads * keys + (head - s->kv_heads) * values;
}

static void random_cells(pv_kv_type type, uint32_t head_dim, uint64_t *seed, head_cells *cells, double *numbers)
{
    for (uint32_t i = 0; i < cell_bytes(type, head_dim); i++) cells->bytes[i] = (uint8_t)ref_random(seed);
    for (uint32_t d = 0; type == PV_KV_F16 && d < head_dim; d++) {
        const uint16_t half = ref_to_f16(ref_normal(seed));
        memcpy(cells->bytes + 2 * d, &half, 2);
        numbers[d] = ref_f16(half);
    }
    if (type == PV_KV_F16) return;
    for (uint32_t g = 0; g < group_count(type, head_dim); g++)
        cells->scales[g] = ref_to_f16((0.2 + fabs(ref_uniform(seed))) * (type == PV_KV_8BIT ? 0.02 : 0.3));
    for (uint32_t d = 0; d < head_dim; d++) numbers[d] = ref_f16(cells->scales[d / 32]) * quant_at(type, cells, d);
}

static void fill(rig *r, const pv_kv_view *view, const attention_case *s, uint32_t sequence, int32_t first_page, uint64_t *seed, content *c)
{
    const rig_sequence *q = &s->sequence[sequence];
    uint32_t length = (uint32_t)(q->first + q->count), heads = 2 * s->kv_heads, hidden = 0;
    c->cells[sequence] = calloc((size_t)heads * length, sizeof(head_cells));
    c->numbers[sequence] = malloc(numbers_at(s, length, heads) * sizeof(double));
    if (s->window > 0 && (uint32_t)q->first + 1 > s->window) hidden = (uint32_t)q->first + 1 - s->window;
    for (uint32_t head = 0; head < heads; head++) {
        const uint32_t dim = dim_of(view, head);
        for (uint32_t position = 0; position < length; position++) {
            size_t at = (size_t)head * length + position;
            head_cells *cells = &c->cells[sequence][at];
            random_cells(view->type, dim, seed, cells, c->numbers[sequence] + numbers_at(s, length, head) + (size_t)position * dim);
            if (position < hidden) continue; /* what no row sees stays poisoned */
            int32_t page = first_page + (int32_t)(position / PV_PAGE_TOKENS);
            rig_put(r, &view->pages, place_of(view, page, head, position % PV_PAGE_TOKENS, false), cells->bytes, cell_bytes(view->type, dim));
            rig_put(r, &view->pages, place_of(view, page, head, position % PV_PAGE_TOKENS, true), cells->scales, 2ull * group_count(view->type, dim));
        }
    }
    for (uint32_t block = 0; block * PV_PAGE_TOKENS < length; block++)
        rig_put(r, &view->table, ((uint64_t)q->slot * view->table.cols + block) * 4, &(int32_t){first_page + (int32_t)block}, 4);
}

static float sink_of(uint32_t head)
{
    return head % 2 ? 2.0f : -1.0f;
}

/* What one query meets: `keys` keys from `hidden` on. Queries that meet values are those that meet keys and values side by side. */
static void solve_query(const attention_case *s, const content *c, uint32_t sequence, uint32_t head, uint32_t hidden, uint32_t keys, const float *q,
                        const float *q_latent, double scale, ref_value *out)
{
    const uint32_t length = (uint32_t)(s->sequence[sequence].first + s->sequence[sequence].count), kv_head = head / s->group;
    const uint32_t dim = value_dim_in(s), joined_dim = s->head_dim + dim;
    const double *k = c->numbers[sequence] + numbers_at(s, length, kv_head) + (size_t)hidden * s->head_dim;
    const double *v = c->numbers[sequence] + numbers_at(s, length, s->kv_heads + kv_head) + (size_t)hidden * dim;
    const double sink = s->sinks ? sink_of(head) : -INFINITY;
    if (!s->latent) {
        ref_attention_of(q, k, v, keys, s->head_dim, dim, scale, 0, sink, out);
        return;
    }
    double *joined = malloc((size_t)keys * joined_dim * sizeof *joined);
    float query[2 * MOST_DIM];
    for (uint32_t j = 0; j < keys; j++) {
        memcpy(joined + (size_t)j * joined_dim, k + (size_t)j * s->head_dim, s->head_dim * sizeof *k);
        memcpy(joined + (size_t)j * joined_dim + s->head_dim, v + (size_t)j * dim, dim * sizeof *v);
    }
    memcpy(query, q, s->head_dim * sizeof *q);
    memcpy(query + s->head_dim, q_latent, dim * sizeof *q_latent);
    ref_attention_of(query, joined, v, keys, joined_dim, dim, scale, 0, sink, out);
    free(joined);
}

static void run_attention(rig *r, pv_kv_type type, const attention_case *s)
{
    uint64_t seed = s->head_dim * 31 + s->group + (uint64_t)type;
    uint32_t sequences = 0, heads = s->kv_heads * s->group, width = heads * s->head_dim, out_width = heads * value_dim_in(s);
    int32_t pages = 1;
    content c = {0};
    float sinks[64];
    rig_reset(r);
    while (sequences < MAX_SEQUENCES && s->sequence[sequences].count > 0) sequences++;
    rig_step(r, s->sequence, sequences);
    for (uint32_t i = 0; i < sequences; i++) pages += (s->sequence[i].first + s->sequence[i].count + PV_PAGE_TOKENS - 1) / PV_PAGE_TOKENS;
    pv_kv_view view = rig_cache_of(r, type, (uint32_t)pages, s->kv_heads, s->head_dim, value_dim_in(s));
    int32_t page = 1;
    for (uint32_t i = 0; i < sequences; i++) {
        fill(r, &view, s, i, page, &seed, &c);
        page += (s->sequence[i].first + s->sequence[i].count + PV_PAGE_TOKENS - 1) / PV_PAGE_TOKENS;
    }
    const float scale = (float)(1 / sqrt(s->head_dim + (s->latent ? value_dim_in(s) : 0)));
    float *q = random_floats(&seed, (size_t)r->rows * width, 1), *q_latent = random_floats(&seed, (size_t)r->rows * out_width, 1);
    for (uint32_t h = 0; h < heads; h++) sinks[h] = sink_of(h);
    pv_op op = {.kind = PV_OP_attention, .attention = {.cache = view, .heads = heads, .scale = scale, .window = s->window}};
    op.attention.q = rig_input(r, PV_EXTENT_ROWS, width, q);
    if (s->latent) op.attention.q_latent = rig_input(r, PV_EXTENT_ROWS, out_width, q_latent);
    op.attention.out = rig_activation(r, PV_EXTENT_ROWS, out_width);
    if (s->sinks) op.attention.sinks = rig_vector(r, sinks, heads);
    rig_may_write_rows(r, &op.attention.out);
    rig_run(r, &op, 1);
    ref_value *wanted = malloc((size_t)r->rows * out_width * sizeof *wanted), *to = wanted;
    const float *query = q, *latent = q_latent;
    for (uint32_t i = 0; i < sequences; i++) {
        for (int32_t j = 0; j < s->sequence[i].count; j++) {
            const uint32_t keys = (uint32_t)(s->sequence[i].first + j + 1), hidden = s->window > 0 && keys > s->window ? keys - s->window : 0;
            for (uint32_t h = 0; h < heads; h++, query += s->head_dim, latent += value_dim_in(s), to += value_dim_in(s))
                solve_query(s, &c, i, h, hidden, keys - hidden, query, latent, scale, to);
        }
    }
    float *found = rig_rows(r, &op.attention.out, r->rows);
    rig_expect_values(r, type_names[type], found, wanted, (size_t)r->rows * out_width);
    rig_same_bits(r, found, (size_t)r->rows * out_width * 4);
    for (uint32_t i = 0; i < sequences; i++) free(c.cells[i]), free(c.numbers[i]);
    free(q), free(q_latent), free(wanted), free(found);
}

#define DECODE {1, 0, 1, NULL}, {2, 31, 1, NULL}, {3, 32, 1, NULL}, {4, 299, 1, NULL}
#define MIXED {1, 40, 1, NULL}, {2, 290, 1, NULL}, {3, 50, 20, NULL}, {4, 0, 33, NULL}

static const attention_case attention_table[] = {
    {2, 1, 64, {DECODE}, 0, false},  {1, 3, 96, {DECODE}, 40, true}, {1, 8, 128, {DECODE}, 0, false}, {1, 2, 20, {MIXED}, 0, false},
    {1, 3, 64, {MIXED}, 0, true},    {1, 2, 80, {MIXED}, 0, false},  {2, 1, 96, {MIXED}, 30, false},  {1, 4, 128, {MIXED}, 0, false},
    {1, 2, 256, {MIXED}, 0, false},
};

/* The widths of DeepSeek-V2, others that no kernel is made for, values narrower than keys; and unlike widths without latent vectors. */
static const attention_case width_table[] = {
    {1, 16, 64, {DECODE}, 0, false, 512, true}, {1, 5, 16, {MIXED}, 0, true, 96, true},  {2, 2, 48, {MIXED}, 40, false, 20, true},
    {1, 3, 96, {MIXED}, 0, false, 64, false},   {2, 1, 64, {MIXED}, 0, false, 128, false},
};

static void width_cases(rig *r)
{
    for (unsigned type = PV_KV_F16; type <= PV_KV_4BIT; type++)
        for (size_t i = 0; i < ARRAY_COUNT(width_table); i++) run_attention(r, (pv_kv_type)type, &width_table[i]);
    rig_expect_ran(r, "attention", NULL);
}

static void attention_cases(rig *r)
{
    for (unsigned type = PV_KV_8BIT; type <= PV_KV_4BIT; type++)
        for (size_t i = 0; i < ARRAY_COUNT(attention_table); i++) run_attention(r, (pv_kv_type)type, &attention_table[i]);
    rig_expect_ran(r, "attention", NULL);
}

static void few_of_each(rig *r)
{
    run_attention(r, PV_KV_8BIT, &attention_table[0]);
    run_attention(r, PV_KV_4BIT, &attention_table[4]);
    run_attention(r, PV_KV_F16, &width_table[1]);
}

static void test_store_cases(void **state)
{
    (void)state;
    rig_for_all(store_cases);
}

static void test_attention_cases(void **state)
{
    (void)state;
    rig_for_all(attention_cases);
}

static void test_width_cases(void **state)
{
    (void)state;
    rig_for_all(width_cases);
}

static void a_tampered_result_is_noticed(void **state)
{
    (void)state;
    rig_expect_noticed(few_of_each);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store_cases),
        cmocka_unit_test(test_attention_cases),
        cmocka_unit_test(test_width_cases),
        cmocka_unit_test(a_tampered_result_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
