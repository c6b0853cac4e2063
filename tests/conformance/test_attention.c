/* rope, kv_store, conv1d and attention, over block tables whose pages lie anywhere and whose free cells hold NaN. */
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
#define BLOCKS 32 /* of a slot: context / PV_PAGE_TOKENS */

static float *random_floats(uint64_t *seed, size_t count, double size)
{
    float *values = malloc(count * sizeof *values);
    for (size_t i = 0; i < count; i++) values[i] = (float)(size * ref_normal(seed));
    return values;
}

/* ---- The cache ------------------------------------------------------------------------------------------------------- */

/* Pages in no order: block b of a slot is far from block b + 1. Page 0 is nobody's. */
typedef struct cache {
    pv_kv_view view;
    uint32_t pages, next;
    int32_t table[24][BLOCKS];
} cache;

static cache make_cache(rig *r, uint32_t pages, uint32_t kv_heads, uint32_t head_dim)
{
    cache c = {.pages = pages};
    c.view = rig_cache(r, pages, kv_heads, head_dim);
    return c;
}

static void give_pages(rig *r, cache *c, int32_t slot, uint32_t tokens)
{
    for (uint32_t block = 0; block * PV_PAGE_TOKENS < tokens; block++) {
        if (c->table[slot][block] != 0) continue;
        assert_true(c->next + 1 < c->pages);
        uint32_t stride = c->pages - 1, step = 7;
        while (stride % step == 0) step += 2;
        c->table[slot][block] = (int32_t)(1 + c->next++ * step % stride);
        rig_put(r, &c->view.table, ((uint64_t)slot * BLOCKS + block) * 4, &c->table[slot][block], 4);
    }
}

/* Byte offset of a token's key (which = 0) or value (1) in the pages. */
static uint64_t cell_of(const cache *c, int32_t slot, int32_t position, uint32_t which, uint32_t head)
{
    uint64_t page = (uint64_t)c->table[slot][position / PV_PAGE_TOKENS];
    uint64_t cell =
        ((which * c->view.kv_heads + head) * PV_PAGE_TOKENS + (uint64_t)(position % PV_PAGE_TOKENS)) * c->view.head_dim;
    return page * c->view.page_bytes + cell * 2;
}

/* ---- rope and kv_store ----------------------------------------------------------------------------------------------- */

typedef struct rope_case {
    uint32_t heads, kv_heads, head_dim, dim;
    pv_rope_pairing pairing;
    bool store;
} rope_case;

static const rig_sequence rope_sequences[] = {
    {5, 31, 1, NULL}, {1, 0, 1, NULL}, {9, 1023, 1, NULL}, {2, 20, 45, NULL}, {3, 0, 3, NULL}};
#define ROPE_ROWS 51

/* What f16 makes of them is worth a look: overflow, ties, subnormals, the least of them, zeros. */
static const float edges[] = {65519.996f, 65520,   -65520,   1e9f,     2049,  2051,  -2049,
                              6.1e-5f,    5.9e-8f, 2.98e-8f, 2.99e-8f, 1e-9f, -0.0f, 0.333333343f};

static void turn(const rope_case *s, const float *x, uint32_t heads, const float *angles, ref_value *out)
{
    for (uint32_t h = 0; h < heads; h++) {
        const float *in = x + (size_t)h * s->head_dim;
        ref_value *to = out + (size_t)h * s->head_dim;
        for (uint32_t i = 0; i < s->head_dim; i++) to[i] = (ref_value){in[i], 0};
        for (uint32_t i = 0; i < s->dim / 2; i++) {
            uint32_t a = s->pairing == PV_ROPE_HALVES ? i : 2 * i,
                     b = s->pairing == PV_ROPE_HALVES ? i + s->dim / 2 : 2 * i + 1;
            double cosine = angles[2 * i], sine = angles[2 * i + 1];
            to[a] = ref_rotated(in[a], in[b], cosine, sine);
            to[b] = ref_rotated(in[b], in[a], cosine, -sine);
        }
    }
}

/* Calls `each` for every row of the step, with the cell of each of its kv heads. */
static void expect_stored(rig *r, const cache *c, const float *k, const float *v)
{
    uint32_t width = c->view.kv_heads * c->view.head_dim, row = 0;
    uint16_t *found = malloc(c->view.head_dim * sizeof *found), *wanted = malloc(c->view.head_dim * sizeof *wanted);
    for (size_t i = 0; i < ARRAY_COUNT(rope_sequences); i++) {
        for (int32_t j = 0; j < rope_sequences[i].count; j++, row++) {
            for (uint32_t cell = 0; cell < 2 * c->view.kv_heads; cell++) {
                uint32_t which = cell / c->view.kv_heads, head = cell % c->view.kv_heads;
                const float *from = (which ? v : k) + (size_t)row * width + head * c->view.head_dim;
                for (uint32_t d = 0; d < c->view.head_dim; d++) wanted[d] = ref_to_f16(from[d]);
                rig_get(r, &c->view.pages, cell_of(c, rope_sequences[i].slot, rope_sequences[i].first + j, which, head), found,
                        c->view.head_dim * sizeof *found);
                rig_expect_bytes(r, "cache", found, wanted, c->view.head_dim * sizeof *found);
            }
        }
    }
    free(found);
    free(wanted);
}

static void may_store(rig *r, const cache *c)
{
    for (size_t i = 0; i < ARRAY_COUNT(rope_sequences); i++) {
        for (int32_t j = 0; j < rope_sequences[i].count; j++) {
            for (uint32_t cell = 0; cell < 2 * c->view.kv_heads; cell++)
                rig_may_write(r, &c->view.pages,
                              cell_of(c, rope_sequences[i].slot, rope_sequences[i].first + j, cell / c->view.kv_heads,
                                      cell % c->view.kv_heads),
                              c->view.head_dim * 2ull);
        }
    }
}

static cache store_cache(rig *r, uint32_t kv_heads, uint32_t head_dim)
{
    cache c = make_cache(r, 48, kv_heads, head_dim);
    for (size_t i = 0; i < ARRAY_COUNT(rope_sequences); i++)
        give_pages(r, &c, rope_sequences[i].slot, (uint32_t)(rope_sequences[i].first + rope_sequences[i].count));
    may_store(r, &c);
    return c;
}

static float *make_angles(uint32_t dim)
{
    float *angles = malloc((size_t)ROPE_ROWS * dim * sizeof *angles);
    uint32_t row = 0;
    for (size_t i = 0; i < ARRAY_COUNT(rope_sequences); i++) {
        for (int32_t j = 0; j < rope_sequences[i].count; j++, row++) {
            for (uint32_t d = 0; d < dim; d++) {
                double angle = (rope_sequences[i].first + j) * pow(10000, -2.0 * (d / 2) / dim);
                angles[(size_t)row * dim + d] = (float)(d % 2 ? sin(angle) : cos(angle));
            }
        }
    }
    return angles;
}

static void run_rope(rig *r, const rope_case *s)
{
    rig_reset(r);
    rig_step(r, rope_sequences, ARRAY_COUNT(rope_sequences));
    assert_int_equal(r->rows, ROPE_ROWS);
    uint64_t seed = s->heads * 1000 + s->head_dim + s->dim;
    uint32_t q_width = s->heads * s->head_dim, k_width = s->kv_heads * s->head_dim;
    float *q = random_floats(&seed, (size_t)ROPE_ROWS * q_width, 3), *k = random_floats(&seed, (size_t)ROPE_ROWS * k_width, 3);
    float *v = random_floats(&seed, (size_t)ROPE_ROWS * k_width, 3), *angles = make_angles(s->dim);
    memcpy(v + 5, edges, sizeof edges);
    q[(size_t)7 * q_width] = NAN; /* it stays in its own pair */
    pv_op op = {.kind = PV_OP_rope, .rope = {.head_dim = s->head_dim, .dim = s->dim, .pairing = s->pairing}};
    op.rope.q = rig_input(r, PV_EXTENT_ROWS, q_width, q);
    op.rope.k = rig_input(r, PV_EXTENT_ROWS, k_width, k);
    op.rope.angles = rig_input(r, PV_EXTENT_ROWS, s->dim, angles);
    cache c = {0};
    if (s->store) {
        op.rope.v = rig_input(r, PV_EXTENT_ROWS, k_width, v);
        c = store_cache(r, s->kv_heads, s->head_dim);
        op.rope.store = c.view;
    }
    rig_may_write_rows(r, &op.rope.q);
    rig_may_write_rows(r, &op.rope.k);
    rig_run(r, &op, 1);
    if (r->plain) rig_expect(r, "rope: a plain device declines the store", r->pieces == 1u + s->store);
    ref_value *wanted = malloc((size_t)ROPE_ROWS * q_width * sizeof *wanted);
    float *q_found = rig_rows(r, &op.rope.q, ROPE_ROWS), *k_found = rig_rows(r, &op.rope.k, ROPE_ROWS);
    for (size_t i = 0; i < ROPE_ROWS; i++) turn(s, q + i * q_width, s->heads, angles + i * s->dim, wanted + i * q_width);
    rig_expect_values(r, "rope: q", q_found, wanted, (size_t)ROPE_ROWS * q_width);
    for (size_t i = 0; i < ROPE_ROWS; i++) turn(s, k + i * k_width, s->kv_heads, angles + i * s->dim, wanted + i * k_width);
    rig_expect_values(r, "rope: k", k_found, wanted, (size_t)ROPE_ROWS * k_width);
    rig_same_bits(r, q_found, (size_t)ROPE_ROWS * q_width * 4);
    rig_same_bits(r, k_found, (size_t)ROPE_ROWS * k_width * 4);
    if (s->store) expect_stored(r, &c, k_found, v);
    free(q), free(k), free(v), free(angles), free(wanted), free(q_found), free(k_found);
}

static void rope_cases(rig *r)
{
    static const uint32_t head_dims[] = {64, 96, 128, 80};
    for (size_t i = 0; i < ARRAY_COUNT(head_dims); i++) {
        for (unsigned pairing = 0; pairing < 2; pairing++) {
            run_rope(r, &(rope_case){4, 2, head_dims[i], head_dims[i], (pv_rope_pairing)pairing, true});
            run_rope(r, &(rope_case){3, 1, head_dims[i], 32, (pv_rope_pairing)pairing, i % 2 == 0}); /* the rest stays */
        }
    }
    run_rope(r, &(rope_case){1, 1, 64, 2, PV_ROPE_HALVES, false});
    run_rope(r, &(rope_case){9, 3, 64, 64, PV_ROPE_HALVES, true});
    run_rope(r, &(rope_case){5, 5, 80, 20, PV_ROPE_NEIGHBOURS, true});
    rig_expect_ran(r, "rope", NULL);
    if (r->plain) rig_expect_ran(r, "kv_store", NULL);
}

static void run_kv_store(rig *r, uint32_t kv_heads, uint32_t head_dim)
{
    rig_reset(r);
    rig_step(r, rope_sequences, ARRAY_COUNT(rope_sequences));
    uint64_t seed = kv_heads * 1000 + head_dim;
    uint32_t width = kv_heads * head_dim;
    float *k = random_floats(&seed, (size_t)ROPE_ROWS * width, 3), *v = random_floats(&seed, (size_t)ROPE_ROWS * width, 3);
    memcpy(k + 3, edges, sizeof edges);
    memcpy(v + width, edges, sizeof edges);
    for (size_t i = 100; i < 400; i++)
        k[i] = (float)ldexp(1 + (double)(ref_random(&seed) % 4096) / 2048, (int)(ref_random(&seed) % 40) - 26);
    pv_op op = {.kind = PV_OP_kv_store};
    op.kv_store.k = rig_input(r, PV_EXTENT_ROWS, width, k);
    op.kv_store.v = rig_input(r, PV_EXTENT_ROWS, width, v);
    cache c = store_cache(r, kv_heads, head_dim);
    op.kv_store.store = c.view;
    rig_run(r, &op, 1);
    expect_stored(r, &c, k, v);
    free(k), free(v);
}

static void kv_store_cases(rig *r)
{
    static const uint32_t head_dims[] = {64, 96, 128, 80};
    for (size_t i = 0; i < ARRAY_COUNT(head_dims); i++) {
        run_kv_store(r, 1, head_dims[i]);
        run_kv_store(r, 3, head_dims[i]);
    }
    rig_expect_ran(r, "kv_store", NULL);
}

/* ---- conv1d ---------------------------------------------------------------------------------------------------------- */

/* Rows of rope_sequences; what the cache holds of earlier positions is random, and of later ones poison. */
static void run_conv1d(rig *r, uint32_t cols, uint32_t taps)
{
    rig_reset(r);
    rig_step(r, rope_sequences, ARRAY_COUNT(rope_sequences));
    uint64_t seed = cols * 100 + taps;
    float *x = random_floats(&seed, (size_t)ROPE_ROWS * cols, 2), *before = random_floats(&seed, (size_t)ROPE_ROWS * cols, 1);
    float *after = random_floats(&seed, (size_t)ROPE_ROWS * cols, 1), *weight = random_floats(&seed, (size_t)cols * taps, 1);
    cache c = make_cache(r, 48, 1, cols / 2);
    uint16_t *earlier = malloc((size_t)ARRAY_COUNT(rope_sequences) * taps * cols * sizeof *earlier), *stored = malloc(cols * sizeof *stored);
    for (size_t i = 0; i < ARRAY_COUNT(rope_sequences); i++) {
        const rig_sequence *s = &rope_sequences[i];
        give_pages(r, &c, s->slot, (uint32_t)(s->first + s->count));
        for (uint32_t ago = 1; ago < taps && (int32_t)ago <= s->first; ago++) {
            uint16_t *cell = earlier + (i * taps + ago) * cols;
            const int32_t position = s->first - (int32_t)ago;
            for (uint32_t col = 0; col < cols; col++) cell[col] = ref_to_f16(ref_normal(&seed));
            rig_put(r, &c.view.pages, (uint64_t)c.table[s->slot][position / PV_PAGE_TOKENS] * c.view.page_bytes + (uint64_t)(position % PV_PAGE_TOKENS) * cols * 2,
                    cell, cols * 2ull);
        }
        for (int32_t j = 0; j < s->count; j++)
            rig_may_write(r, &c.view.pages,
                          (uint64_t)c.table[s->slot][(s->first + j) / PV_PAGE_TOKENS] * c.view.page_bytes + (uint64_t)((s->first + j) % PV_PAGE_TOKENS) * cols * 2,
                          cols * 2ull);
    }
    pv_op op = {.kind = PV_OP_conv1d};
    op.conv1d = (pv_op_conv1d){.x = rig_input(r, PV_EXTENT_ROWS, cols, x), .before = rig_input(r, PV_EXTENT_ROWS, cols, before),
                               .after = rig_input(r, PV_EXTENT_ROWS, cols, after), .weight = rig_vector(r, weight, cols * taps), .taps = taps,
                               .store = c.view, .out = rig_activation(r, PV_EXTENT_ROWS, cols)};
    ref_value *wanted = malloc((size_t)ROPE_ROWS * cols * sizeof *wanted);
    uint16_t *u = malloc((size_t)ROPE_ROWS * cols * sizeof *u);
    for (size_t i = 0; i < (size_t)ROPE_ROWS * cols; i++) u[i] = ref_to_f16(before[i] * x[i]);
    for (uint32_t i = 0, first = 0; i < ARRAY_COUNT(rope_sequences); first += (uint32_t)rope_sequences[i++].count) {
        for (uint32_t j = 0; j < (uint32_t)rope_sequences[i].count; j++) {
            for (uint32_t col = 0; col < cols; col++) {
                double sum = 0, magnitude = 0;
                for (uint32_t ago = 0; ago < taps && (int32_t)ago <= rope_sequences[i].first + (int32_t)j; ago++) {
                    const uint16_t bits = ago <= j ? u[(size_t)(first + j - ago) * cols + col] : earlier[(i * taps + ago - j) * cols + col];
                    const double product = weight[col * taps + taps - 1 - ago] * ref_f16(bits);
                    sum += product, magnitude += fabs(product);
                }
                const double factor = after[(size_t)(first + j) * cols + col];
                wanted[(size_t)(first + j) * cols + col] = (ref_value){factor * sum, (taps + 1) * REF_U * fabs(factor) * magnitude};
            }
        }
    }
    rig_may_write_rows(r, &op.conv1d.out);
    rig_run(r, &op, 1);
    float *found = rig_rows(r, &op.conv1d.out, ROPE_ROWS);
    rig_expect_values(r, "conv1d", found, wanted, (size_t)ROPE_ROWS * cols);
    rig_same_bits(r, found, (size_t)ROPE_ROWS * cols * 4);
    for (uint32_t i = 0, row = 0; i < ARRAY_COUNT(rope_sequences); i++) {
        for (int32_t j = 0; j < rope_sequences[i].count; j++, row++) {
            const int32_t position = rope_sequences[i].first + j;
            rig_get(r, &c.view.pages,
                    (uint64_t)c.table[rope_sequences[i].slot][position / PV_PAGE_TOKENS] * c.view.page_bytes + (uint64_t)(position % PV_PAGE_TOKENS) * cols * 2,
                    stored, cols * 2ull);
            rig_expect_bytes(r, "conv1d: cache", stored, u + (size_t)row * cols, cols * 2ull);
        }
    }
    free(x);
    free(before);
    free(after);
    free(weight);
    free(earlier);
    free(stored);
    free(wanted);
    free(u);
    free(found);
}

static void conv1d_cases(rig *r)
{
    run_conv1d(r, 64, 3);
    run_conv1d(r, 30, 4);
    run_conv1d(r, 200, 1);
    run_conv1d(r, 2, 7);
    rig_expect_ran(r, "conv1d", NULL);
}

/* ---- attention ------------------------------------------------------------------------------------------------------- */

#define MAX_SEQUENCES 10
typedef struct attention_case {
    uint32_t kv_heads, group, head_dim; /* group: heads of a kv head */
    double q_size;
    rig_sequence sequence[MAX_SEQUENCES];
    uint32_t window;
    float soft_cap;
    bool sinks;
} attention_case;

/* A case in float64. Solved once: kernels and thread counts have the same inputs. */
typedef struct solution {
    const attention_case *spec;
    uint32_t count, rows, width; /* sequences; rows of q; heads × head_dim */
    float *q;
    uint16_t *kv[MAX_SEQUENCES]; /* [2][kv_head][position][head_dim] */
    ref_value *wanted;
} solution;

static uint32_t length_of(const rig_sequence *s)
{
    return (uint32_t)(s->first + s->count);
}

static const uint16_t *kv_at(const solution *p, uint32_t sequence, uint32_t which, uint32_t head)
{
    const attention_case *s = p->spec;
    return p->kv[sequence] + (size_t)(which * s->kv_heads + head) * length_of(&s->sequence[sequence]) * s->head_dim;
}

static double scale_of(const attention_case *s)
{
    return (float)(1 / sqrt(s->head_dim));
}

/* Some heads' sinks are nothing beside the scores, some outweigh them all. */
static float sink_of(uint32_t head)
{
    static const float sinks[] = {0.5f, -30, 3, 12};
    return sinks[head % ARRAY_COUNT(sinks)];
}

static void solve(solution *p, const attention_case *s)
{
    *p = (solution){.spec = s, .width = s->kv_heads * s->group * s->head_dim};
    uint64_t seed = s->kv_heads * 10007 + s->group * 101 + s->head_dim;
    for (; p->count < MAX_SEQUENCES && s->sequence[p->count].count > 0; p->count++) {
        size_t cells = (size_t)2 * s->kv_heads * length_of(&s->sequence[p->count]) * s->head_dim;
        p->kv[p->count] = malloc(cells * sizeof(uint16_t));
        for (size_t i = 0; i < cells; i++) p->kv[p->count][i] = ref_to_f16(ref_normal(&seed));
        p->rows += (uint32_t)s->sequence[p->count].count;
    }
    p->q = random_floats(&seed, (size_t)p->rows * p->width, s->q_size);
    p->wanted = malloc((size_t)p->rows * p->width * sizeof *p->wanted);
    uint32_t row = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        for (int32_t j = 0; j < s->sequence[i].count; j++, row++) {
            for (uint32_t h = 0; h < s->kv_heads * s->group; h++) {
                size_t at = (size_t)row * p->width + h * s->head_dim;
                uint32_t keys = (uint32_t)(s->sequence[i].first + j + 1), hidden = s->window > 0 && keys > s->window ? keys - s->window : 0;
                ref_attention(p->q + at, kv_at(p, i, 0, h / s->group) + (size_t)hidden * s->head_dim,
                              kv_at(p, i, 1, h / s->group) + (size_t)hidden * s->head_dim, keys - hidden, s->head_dim, scale_of(s), s->soft_cap,
                              s->sinks ? sink_of(h) : -INFINITY, p->wanted + at);
            }
        }
    }
}

static void free_solution(solution *p)
{
    for (uint32_t i = 0; i < p->count; i++) free(p->kv[i]);
    free(p->q);
    free(p->wanted);
}

/* Writes the keys and values of all positions that the sequences have; with `zeros` whatever else the cache holds is 0. */
static cache fill_cache(rig *r, const solution *p, bool zeros)
{
    const attention_case *s = p->spec;
    uint32_t pages = 2, head_bytes = PV_PAGE_TOKENS * s->head_dim * 2;
    for (uint32_t i = 0; i < p->count; i++) pages += (length_of(&s->sequence[i]) + PV_PAGE_TOKENS - 1) / PV_PAGE_TOKENS;
    cache c = make_cache(r, pages, s->kv_heads, s->head_dim);
    if (zeros) {
        uint8_t *blank = calloc(pages, (size_t)c.view.page_bytes);
        rig_put(r, &c.view.pages, 0, blank, pages * c.view.page_bytes);
        free(blank);
    }
    for (uint32_t i = 0; i < p->count; i++) {
        const rig_sequence *q = &s->sequence[i];
        give_pages(r, &c, q->slot, length_of(q));
        for (uint32_t first = 0; first < length_of(q); first += PV_PAGE_TOKENS) {
            uint32_t tokens = length_of(q) - first < PV_PAGE_TOKENS ? length_of(q) - first : PV_PAGE_TOKENS;
            for (uint32_t cell = 0; cell < 2 * s->kv_heads; cell++)
                rig_put(r, &c.view.pages,
                        (uint64_t)c.table[q->slot][first / PV_PAGE_TOKENS] * c.view.page_bytes + cell * head_bytes,
                        kv_at(p, i, cell / s->kv_heads, cell % s->kv_heads) + (size_t)first * s->head_dim,
                        tokens * s->head_dim * 2ull);
        }
        for (int32_t block = 0; s->window > 0 && (block + 1) * PV_PAGE_TOKENS <= q->first + 1 - (int32_t)s->window; block++)
            rig_put(r, &c.view.table, ((uint64_t)q->slot * BLOCKS + (uint32_t)block) * 4, &(int32_t){-1}, 4); /* given back long ago */
    }
    return c;
}

/* Runs attention for these sequences, whose queries are rows of p->q from first_row[i] on. [rows of the step][width]; the
 * caller frees. */
static float *attend(rig *r, const solution *p, const cache *c, const rig_sequence *sequences, const uint32_t *first_row,
                     uint32_t count)
{
    rig_step(r, sequences, count);
    float *q = malloc((size_t)r->rows * p->width * sizeof *q), *at = q;
    for (uint32_t i = 0; i < count; i++) {
        size_t cells = (size_t)sequences[i].count * p->width;
        memcpy(at, p->q + (size_t)first_row[i] * p->width, cells * sizeof *q);
        at += cells;
    }
    pv_op op = {.kind = PV_OP_attention};
    op.attention.q = rig_input(r, PV_EXTENT_ROWS, p->width, q);
    op.attention.out = rig_activation(r, PV_EXTENT_ROWS, p->width);
    op.attention.cache = c->view;
    op.attention.heads = p->spec->kv_heads * p->spec->group;
    op.attention.scale = (float)scale_of(p->spec);
    op.attention.window = p->spec->window;
    op.attention.soft_cap = p->spec->soft_cap;
    if (p->spec->sinks) {
        float sinks[64];
        for (uint32_t h = 0; h < op.attention.heads; h++) sinks[h] = sink_of(h);
        op.attention.sinks = rig_vector(r, sinks, op.attention.heads);
    }
    rig_may_write_rows(r, &op.attention.out);
    rig_run(r, &op, 1);
    free(q);
    return rig_rows(r, &op.attention.out, r->rows);
}

/* A GPU has one kernel for rows that decode and steps of few rows, another for the rows of prompts. Of what two kernels make of a row the
 * values are compared, else the bits. */
static void expect_same_rows(rig *r, const char *what, const solution *p, uint32_t at, int32_t count, int32_t of, const float *found,
                             const float *all)
{
    const bool same_kernel = rig_backend() == &pv_cpu_backend || (count == 1 && of == 1) || (count > 8 && of > 8);
    const size_t first = (size_t)at * p->width, cells = (size_t)count * p->width;
    if (same_kernel)
        rig_expect_bytes(r, what, found, all + first, cells * sizeof *found);
    else
        rig_expect_values(r, what, found, p->wanted + first, cells);
}

/* Every sequence by itself, its first and last row as decode rows, and its rows in two chunks: always the same bits. */
static void expect_same_in_pieces(rig *r, const solution *p, const cache *c, const float *all)
{
    uint32_t row = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        rig_sequence whole = p->spec->sequence[i], pieces[3];
        uint32_t count = 0, done = 0;
        const int32_t sizes[3] = {1, whole.count / 2, whole.count};
        for (; count < 3 && done < (uint32_t)whole.count; count++) {
            int32_t left = whole.count - (int32_t)done, size = sizes[count] < left ? sizes[count] : left;
            if (size == 0) size = left;
            pieces[0] = (rig_sequence){whole.slot, whole.first + (int32_t)done, size, NULL};
            uint32_t at = row + done;
            float *found = attend(r, p, c, pieces, &at, 1);
            expect_same_rows(r, "attention: other bits in a chunk", p, at, size, whole.count, found, all);
            free(found);
            done += (uint32_t)size;
        }
        const rig_sequence last = {whole.slot, whole.first + whole.count - 1, 1, NULL};
        uint32_t at = row + (uint32_t)whole.count - 1;
        float *found = attend(r, p, c, &last, &at, 1);
        expect_same_rows(r, "attention: other bits alone", p, at, 1, whole.count, found, all);
        free(found);
        row += (uint32_t)whole.count;
    }
}

static void run_attention(rig *r, const solution *p, bool thorough)
{
    uint32_t first_row[MAX_SEQUENCES], row = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        first_row[i] = row;
        row += (uint32_t)p->spec->sequence[i].count;
    }
    rig_reset(r);
    cache c = fill_cache(r, p, false);
    float *found = attend(r, p, &c, p->spec->sequence, first_row, p->count);
    rig_expect_values(r, "attention", found, p->wanted, (size_t)p->rows * p->width);
    rig_same_bits(r, found, (size_t)p->rows * p->width * 4);
    if (thorough) {
        expect_same_in_pieces(r, p, &c, found);
        rig_reset(r);
        r->clean_padding = true;
        c = fill_cache(r, p, true);
        float *clean = attend(r, p, &c, p->spec->sequence, first_row, p->count);
        r->clean_padding = false;
        rig_expect_bytes(r, "attention: stale cells or padding have an influence", clean, found,
                         (size_t)p->rows * p->width * 4);
        free(clean);
    }
    free(found);
}

/* Every length that matters, as decode rows of one step; prefill chunks that cross pages and spans beside decode rows. */
#define LENGTHS                                                                                                                \
    {1, 0, 1, NULL}, {2, 30, 1, NULL}, {3, 31, 1, NULL}, {4, 32, 1, NULL}, {5, 254, 1, NULL}, {6, 255, 1, NULL},               \
        {7, 256, 1, NULL},                                                                                                     \
    {                                                                                                                          \
        8, 699, 1, NULL                                                                                                        \
    }
#define CHUNKS                                                                                                                 \
    {9, 32, 1, NULL}, {3, 256, 1, NULL}, {2, 240, 20, NULL}, {1, 0, 33, NULL},                                                 \
    {                                                                                                                          \
        7, 62, 3, NULL                                                                                                         \
    }

static const attention_case attention_table[] = {
    {2, 1, 64, 1, .sequence = {LENGTHS}},
    {1, 3, 96, 1, .sequence = {LENGTHS}},
    {2, 4, 128, 1, .sequence = {LENGTHS}},
    {1, 8, 80, 1, .sequence = {LENGTHS}},
    {1, 8, 64, 1, .sequence = {CHUNKS}},
    {3, 1, 96, 1, .sequence = {CHUNKS}},
    {1, 3, 128, 1, .sequence = {CHUNKS}},
    {2, 4, 80, 1, .sequence = {CHUNKS}},
    {3, 3, 64, 1, .sequence = {{1, 500, 40, NULL}}},                    /* one long chunk */
    {1, 2, 256, 1, .sequence = {{1, 290, 1, NULL}, {2, 30, 22, NULL}}},
    {1, 8, 40, 1, .sequence = {{1, 290, 1, NULL}, {2, 30, 22, NULL}}}, /* no kernel's own size of a head */
    {1, 4, 64, 40, .sequence = {{1, 300, 1, NULL}, {2, 90, 20, NULL}}}, /* scores far apart: nearly one key counts */
    {2, 2, 128, 0, .sequence = {{1, 299, 1, NULL}, {2, 0, 10, NULL}}},  /* all scores equal: the mean of the values */
    {2, 2, 64, 1, .sequence = {LENGTHS}, .window = 40},
    {1, 4, 96, 1, .sequence = {CHUNKS}, .window = 1},
    {2, 1, 64, 1, .sequence = {{1, 500, 40, NULL}, {2, 20, 36, NULL}}, .window = 32}, /* the first span of a tile is not that of all its rows */
    {1, 2, 64, 1, .sequence = {{1, 900, 1, NULL}, {2, 1000, 1, NULL}}, .window = 300},
    {2, 2, 64, 40, .sequence = {CHUNKS}, .soft_cap = 50},
    {1, 4, 80, 1, .sequence = {LENGTHS}, .sinks = true},
    {2, 2, 64, 4, .sequence = {CHUNKS}, .window = 128, .soft_cap = 30, .sinks = true},
};
static solution solutions[ARRAY_COUNT(attention_table)];

static void attention_cases(rig *r)
{
    for (size_t i = 0; i < ARRAY_COUNT(attention_table); i++) {
        if (solutions[i].q == NULL) solve(&solutions[i], &attention_table[i]);
        run_attention(r, &solutions[i], r->threads != 2 && !r->plain); /* the op itself is the same on a plain device */
    }
    rig_expect_ran(r, "attention", NULL);
}

/* Two sequences over the same first page, as sequences with a common prefix are. */
static void shared_page_case(rig *r)
{
    static const attention_case spec = {1, 2, 64, 1, .sequence = {{1, 40, 1, NULL}, {2, 32, 4, NULL}}};
    solution p;
    solve(&p, &spec);
    rig_reset(r);
    cache c = fill_cache(r, &p, false);
    const uint32_t first_row[] = {0, 1}, second_row = 1;
    const int32_t shared = c.table[2][0];
    rig_sequence moved = spec.sequence[1];
    float *apart = attend(r, &p, &c, spec.sequence, first_row, 2);
    moved.slot = 5;
    rig_put(r, &c.view.table, (5ull * BLOCKS + 0) * 4, &shared, 4);
    rig_put(r, &c.view.table, (5ull * BLOCKS + 1) * 4, &c.table[2][1], 4);
    float *together = attend(r, &p, &c, &moved, &second_row, 1);
    rig_expect_bytes(r, "attention: shared pages", together, apart + p.width, 4ull * p.width * 4);
    free(apart);
    free(together);
    free_solution(&p);
}

/* A value that is not finite, and a key that is none, reach the rows that see them and no other row of their prompt. */
static void not_finite_case(rig *r)
{
    static const attention_case spec = {1, 2, 64, 1, {{1, 40, 20, NULL}}, .window = 0};
    static const int32_t odd_value = 52, odd_key = 57;
    const uint16_t infinite = 0x7C00, nan = 0x7E00;
    const uint32_t first_row = 0;
    solution p;
    solve(&p, &spec);
    rig_reset(r);
    cache c = fill_cache(r, &p, false);
    float *clean = attend(r, &p, &c, spec.sequence, &first_row, 1);
    rig_put(r, &c.view.pages, cell_of(&c, 1, odd_value, 1, 0) + 2 * 9, &infinite, 2);
    rig_put(r, &c.view.pages, cell_of(&c, 1, odd_key, 0, 0) + 2 * 3, &nan, 2);
    float *found = attend(r, &p, &c, spec.sequence, &first_row, 1);
    uint32_t wrong = 0;
    for (int32_t j = 0; j < 20; j++) {
        for (uint32_t i = 0; i < p.width; i++) {
            const float was = clean[(size_t)j * p.width + i], is = found[(size_t)j * p.width + i];
            if (40 + j >= odd_key)
                wrong += !isnan(is);
            else if (40 + j >= odd_value && i % 64 == 9)
                wrong += isfinite(is);
            else
                wrong += is != was;
        }
    }
    rig_expect(r, "attention: what is not finite stays where it is seen", wrong == 0);
    free(clean);
    free(found);
    free_solution(&p);
}

static void few_of_each(rig *r)
{
    run_rope(r, &(rope_case){4, 2, 64, 64, PV_ROPE_HALVES, false});
    run_kv_store(r, 1, 64);
    run_conv1d(r, 64, 3);
    for (size_t i = 0; i < 4; i++) {
        if (solutions[i].q == NULL) solve(&solutions[i], &attention_table[i]);
        run_attention(r, &solutions[i], false);
    }
}

#define FOR_ALL(cases)                                                                                                         \
    static void test_##cases(void **state)                                                                                     \
    {                                                                                                                          \
        (void)state;                                                                                                           \
        rig_for_all(cases);                                                                                                    \
    }
FOR_ALL(rope_cases)
FOR_ALL(kv_store_cases)
FOR_ALL(conv1d_cases)
FOR_ALL(attention_cases)
FOR_ALL(shared_page_case)
FOR_ALL(not_finite_case)

static void a_tampered_result_is_noticed(void **state)
{
    (void)state;
    rig_expect_noticed(few_of_each);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rope_cases),
        cmocka_unit_test(test_kv_store_cases),
        cmocka_unit_test(test_conv1d_cases),
        cmocka_unit_test(test_attention_cases),
        cmocka_unit_test(test_shared_page_case),
        cmocka_unit_test(test_not_finite_case),
        cmocka_unit_test(a_tampered_result_is_noticed),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (size_t i = 0; i < ARRAY_COUNT(attention_table); i++) free_solution(&solutions[i]);
    return failed;
}
