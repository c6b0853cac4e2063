/* Whole plans: a small decoder built as models build theirs. Placed scratch, barriers and lowering must leave the bits that the
 * same ops give one by one; a step that is run again, after a failure half-way too, must leave the same memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "runtime/fault.h"
#include "support_rig.h"

#define ARRAY_COUNT(array) (sizeof(array) / sizeof(array)[0])

enum {
    LAYERS = 2, /* one of each kind */
    VOCABULARY = 301,
    WIDTH = 256,
    HEADS = 4,
    KV_HEADS = 2,
    HEAD_DIM = 64,
    FEED_FORWARD = 288,
    SLOTS = 24,
    CONTEXT = 1024,
    PAGES = 12,
    MAX_OPS = 64,
    STEPS = 4
};

typedef struct model {
    rig *r;
    struct {
        pv_tensor attention_norm, q, k, v, q_bias, out, feed_forward_norm, gate, up, down;
        pv_kv_view cache;
    } layer[LAYERS];
    pv_tensor embed, output_norm, output, frequency, table, token_log;
    uint64_t seed;
    uint32_t matrices;
    pv_builder *builder; /* NULL: tensors have places of their own */
    pv_op ops[MAX_OPS];
    size_t op_count;
    pv_tensor logits;
} model;

/* ---- The model ------------------------------------------------------------------------------------------------------- */

static uint8_t *canonical[MAX_OPS]; /* of the model's matrices, in the order of their making; the same for every device */

static pv_tensor matrix(model *m, pv_layout layout, uint32_t rows, uint32_t cols, unsigned uses)
{
    size_t row_bytes = ref_row_bytes(layout, cols);
    uint64_t seed = m->matrices;
    uint8_t **bytes = &canonical[m->matrices++];
    if (*bytes == NULL) {
        *bytes = malloc(rows * row_bytes);
        for (uint32_t i = 0; i < rows; i++) ref_random_row(layout, cols, 2 / sqrt(cols), &seed, *bytes + i * row_bytes);
    }
    return rig_weight(m->r, layout, rows, cols, uses, *bytes);
}

static pv_tensor vector(model *m, uint32_t cols, double centre)
{
    float values[1024];
    for (uint32_t i = 0; i < cols; i++) values[i] = (float)(centre + 0.1 * ref_normal(&m->seed));
    return rig_vector(m->r, values, cols);
}

static void make_layer(model *m, uint32_t i)
{
    const pv_layout a = i % 2 ? PV_LAYOUT_Q4_K : PV_LAYOUT_Q4_0, b = i % 2 ? PV_LAYOUT_Q6_K : PV_LAYOUT_F16;
    m->layer[i].attention_norm = vector(m, WIDTH, 1);
    m->layer[i].feed_forward_norm = vector(m, WIDTH, 1);
    m->layer[i].q = matrix(m, a, HEADS * HEAD_DIM, WIDTH, PV_USE_MATRIX);
    m->layer[i].k = matrix(m, a, KV_HEADS * HEAD_DIM, WIDTH, PV_USE_MATRIX);
    m->layer[i].v = matrix(m, b, KV_HEADS * HEAD_DIM, WIDTH, PV_USE_MATRIX);
    m->layer[i].q_bias = vector(m, HEADS * HEAD_DIM, 0);
    m->layer[i].out = matrix(m, b, WIDTH, HEADS * HEAD_DIM, PV_USE_MATRIX);
    m->layer[i].gate = matrix(m, a, FEED_FORWARD, WIDTH, PV_USE_MATRIX);
    m->layer[i].up = matrix(m, a, FEED_FORWARD, WIDTH, PV_USE_MATRIX);
    m->layer[i].down = matrix(m, PV_LAYOUT_Q8_0, WIDTH, FEED_FORWARD, PV_USE_MATRIX);
    m->layer[i].cache = rig_cache(m->r, PAGES, KV_HEADS, HEAD_DIM);
    m->layer[i].cache.table = m->table;
}

static void make_model(model *m, rig *r)
{
    *m = (model){.r = r, .seed = 42};
    rig_reset(r);
    float frequency[HEAD_DIM / 2];
    for (int i = 0; i < HEAD_DIM / 2; i++) frequency[i] = (float)pow(10000, -2.0 * i / HEAD_DIM);
    m->frequency = rig_vector(r, frequency, HEAD_DIM / 2);
    m->embed = matrix(m, PV_LAYOUT_Q8_0, VOCABULARY, WIDTH, PV_USE_ROWS | PV_USE_MATRIX);
    m->output_norm = vector(m, WIDTH, 1);
    m->output = m->embed; /* tied */
    int32_t *zeros = calloc(SLOTS * CONTEXT, sizeof *zeros);
    m->table = rig_cells(r, RIG_KV, SLOTS, CONTEXT / PV_PAGE_TOKENS, zeros);
    m->token_log = rig_cells(r, RIG_KV, SLOTS, CONTEXT, zeros);
    free(zeros);
    for (uint32_t i = 0; i < LAYERS; i++) make_layer(m, i);
}

/* ---- Its plan -------------------------------------------------------------------------------------------------------- */

static pv_tensor activation(model *m, pv_extent extent, uint32_t cols)
{
    return m->builder ? pv_builder_scratch(m->builder, extent, cols) : rig_activation(m->r, extent, cols);
}

static void add(model *m, pv_op op)
{
    assert_true(m->op_count < MAX_OPS);
    if (m->builder) pv_builder_add(m->builder, op, "op %zu", m->op_count);
    m->ops[m->op_count++] = op;
}

static void add_layer(model *m, uint32_t i, pv_tensor x, pv_tensor angles)
{
    pv_tensor q = activation(m, PV_EXTENT_ROWS, HEADS * HEAD_DIM), k = activation(m, PV_EXTENT_ROWS, KV_HEADS * HEAD_DIM);
    pv_tensor v = activation(m, PV_EXTENT_ROWS, KV_HEADS * HEAD_DIM), mixed = activation(m, PV_EXTENT_ROWS, HEADS * HEAD_DIM);
    pv_tensor gated = activation(m, PV_EXTENT_ROWS, FEED_FORWARD);
    add(m, (pv_op){.kind = PV_OP_linear,
                   .linear = {
                       .x = x,
                       .norm = m->layer[i].attention_norm,
                       .epsilon = 1e-5f,
                       .part_count = 3,
                       .parts = {{m->layer[i].q, m->layer[i].q_bias, q}, {m->layer[i].k, {0}, k}, {m->layer[i].v, {0}, v}}}});
    add(m, (pv_op){.kind = PV_OP_rope,
                   .rope = {.q = q,
                            .k = k,
                            .angles = angles,
                            .head_dim = HEAD_DIM,
                            .dim = HEAD_DIM,
                            .pairing = i % 2 ? PV_ROPE_NEIGHBOURS : PV_ROPE_HALVES,
                            .v = v,
                            .store = m->layer[i].cache}});
    add(m, (pv_op){.kind = PV_OP_attention, .attention = {q, mixed, m->layer[i].cache, HEADS, 0.125f}});
    add(m, (pv_op){.kind = PV_OP_linear,
                   .linear = {.x = mixed, .part_count = 1, .parts = {{m->layer[i].out, {0}, x}}, .residual = x}});
    add(m, (pv_op){.kind = PV_OP_linear,
                   .linear = {.x = x,
                              .norm = m->layer[i].feed_forward_norm,
                              .epsilon = 1e-5f,
                              .part_count = 2,
                              .parts = {{m->layer[i].gate, {0}, gated}, {m->layer[i].up, {0}, {0}}},
                              .glu = PV_ACTIVATION_SILU}});
    add(m, (pv_op){.kind = PV_OP_linear,
                   .linear = {.x = gated, .part_count = 1, .parts = {{m->layer[i].down, {0}, x}}, .residual = x}});
}

static void add_model(model *m)
{
    m->op_count = 0;
    pv_tensor x = activation(m, PV_EXTENT_ROWS, WIDTH), angles = activation(m, PV_EXTENT_ROWS, HEAD_DIM);
    pv_tensor last = activation(m, PV_EXTENT_LOGITS, WIDTH);
    m->logits = activation(m, PV_EXTENT_LOGITS, VOCABULARY);
    if (m->builder) pv_builder_keep(m->builder, &m->logits);
    add(m, (pv_op){.kind = PV_OP_begin, .begin = {{m->table}, m->token_log}});
    add(m, (pv_op){.kind = PV_OP_embed, .embed = {m->embed, m->token_log, x, 1}});
    add(m, (pv_op){.kind = PV_OP_rope_angles, .rope_angles = {m->frequency, angles, 1}});
    for (uint32_t i = 0; i < LAYERS; i++) add_layer(m, i, x, angles);
    add(m, (pv_op){.kind = PV_OP_gather_rows, .gather_rows = {x, last}});
    add(m,
        (pv_op){
            .kind = PV_OP_linear,
            .linear = {
                .x = last, .norm = m->output_norm, .epsilon = 1e-5f, .part_count = 1, .parts = {{m->output, {0}, m->logits}}}});
    add(m, (pv_op){.kind = PV_OP_sample, .sample = {m->logits, m->token_log}});
}

static void build(pv_builder *builder, void *user)
{
    model *m = user;
    m->builder = builder;
    add_model(m);
    m->builder = NULL;
    for (size_t i = 0; i < m->op_count; i++) rig_may_write_op(m->r, &m->ops[i]);
}

/* ---- Steps ----------------------------------------------------------------------------------------------------------- */

/* Prompts beside decode rows; the tokens of decode rows come from the log, where sampling put them. */
static const struct {
    uint32_t count;
    rig_sequence sequence[4];
} steps[STEPS] = {
    {2, {{1, 0, 40, NULL}, {2, 0, 33, NULL}}},
    {3, {{1, 40, 1, NULL}, {2, 33, 1, NULL}, {3, 0, 25, NULL}}},
    {3, {{1, 41, 1, NULL}, {3, 25, 1, NULL}, {2, 34, 1, NULL}}},
    {4, {{3, 26, 1, NULL}, {2, 35, 1, NULL}, {1, 42, 1, NULL}, {4, 0, 70, NULL}}},
};

/* New pages are given by patches; each sequence's last row wants logits and is sampled. */
static void write_step(rig *r, uint32_t step)
{
    static const int32_t pages[5][4] = {{0}, {7, 3, 1}, {5, 2, 11}, {9}, {4, 10, 8}};
    static int32_t prompt[96];
    rig_sequence sequences[4] = {{0}};
    for (int32_t i = 0; i < 96; i++) prompt[i] = (i * 37 + 11) % VOCABULARY;
    for (uint32_t i = 0; i < steps[step].count; i++) {
        sequences[i] = steps[step].sequence[i];
        if (sequences[i].count > 1) sequences[i].tokens = prompt;
    }
    pv_step_view view = rig_step(r, sequences, steps[step].count);
    for (uint32_t i = 0; i < steps[step].count; i++) {
        const rig_sequence *s = &sequences[i];
        int32_t first = s->first == 0 ? 0 : (s->first + PV_PAGE_TOKENS - 1) / PV_PAGE_TOKENS;
        for (int32_t block = first; block * PV_PAGE_TOKENS < s->first + s->count; block++)
            view.patches[view.counts->patches++] = (pv_step_patch){0, s->slot, block, pages[s->slot][block]};
        view.logits[i] = (pv_step_logit){.row = view.seqs[i].first_row + s->count - 1,
                                         .slot = s->slot,
                                         .position = s->first + s->count - 1,
                                         .temperature = i % 2 ? 0.8f : 0,
                                         .top_p = 0.9f,
                                         .repetition = 1.1f,
                                         .penalty_last = 64,
                                         .seed = {7, i},
                                         .top_count = 5,
                                         .sample = 1};
    }
    view.counts->logits = r->logits = steps[step].count;
}

/* All that the steps leave: outputs and logits of each, then token log, block table, and the pages that sequences own. */
typedef struct remains {
    uint8_t *bytes;
    size_t length, capacity;
} remains;

static void keep(remains *kept, rig *r, const pv_tensor *tensor, uint64_t offset, uint64_t length)
{
    kept->bytes = realloc(kept->bytes, kept->length + (size_t)length);
    rig_get(r, tensor, offset, kept->bytes + kept->length, length);
    kept->length += (size_t)length;
}

enum { WHOLE, ONE_BY_ONE, TWICE };

static void run_step(model *m, int how)
{
    rig *r = m->r;
    for (int times = 0; times < (how == TWICE ? 2 : 1); times++) {
        if (how != ONE_BY_ONE) rig_run_built(r, build, m);
    }
    if (how == ONE_BY_ONE) {
        add_model(m);
        for (size_t i = 0; i < m->op_count; i++) {
            rig_may_write_op(r, &m->ops[i]);
            rig_run(r, &m->ops[i], 1);
        }
    } else {
        m->logits = r->scratch; /* kept: it lies first */
    }
}

static remains run_model(rig *r, int how)
{
    static model m;
    remains kept = {0};
    make_model(&m, r);
    uint64_t scratch_used = r->arena[RIG_SCRATCH].used;
    for (uint32_t step = 0; step < STEPS; step++) {
        r->arena[RIG_SCRATCH].used = scratch_used;
        write_step(r, step);
        run_step(&m, how);
        keep(&kept, r, &r->outputs, 0, r->logits * sizeof(pv_step_output));
        keep(&kept, r, &m.logits, 0, r->logits * VOCABULARY * sizeof(float));
        const pv_step_output *outputs =
            (const pv_step_output *)(kept.bytes + kept.length - r->logits * (sizeof(pv_step_output) + VOCABULARY * 4));
        for (uint32_t i = 0; i < r->logits; i++) {
            pv_step_output output;
            memcpy(&output, &outputs[i], sizeof output);
            rig_expect(r, "plan: a token came",
                       output.status == PV_OUTPUT_OK && output.token >= 0 && output.token < VOCABULARY);
        }
    }
    keep(&kept, r, &m.token_log, 0, SLOTS * CONTEXT * 4);
    keep(&kept, r, &m.table, 0, SLOTS * CONTEXT / PV_PAGE_TOKENS * 4);
    for (uint32_t i = 0; i < LAYERS; i++)
        keep(&kept, r, &m.layer[i].cache.pages, m.layer[i].cache.page_bytes, (PAGES - 1) * m.layer[i].cache.page_bytes);
    return kept;
}

static void expect_alike(rig *r, const char *what, const remains *a, const remains *b)
{
    rig_expect(r, what, a->length == b->length);
    if (a->length == b->length) rig_expect_bytes(r, what, a->bytes, b->bytes, a->length);
}

static void plan_cases(rig *r)
{
    remains whole = run_model(r, WHOLE);
    rig_same_bits(r, whole.bytes, whole.length);
    if (r->threads != 2) {
        remains apart = run_model(r, ONE_BY_ONE);
        expect_alike(r, "plan: whole and one by one", &whole, &apart);
        free(apart.bytes);
    }
    if (r->threads != 1 || rig_backend() != &pv_cpu_backend) {
        remains twice = run_model(r, TWICE);
        expect_alike(r, "plan: every step twice", &whole, &twice);
        free(twice.bytes);
    }
    free(whole.bytes);
}

/* ---- Over faults ----------------------------------------------------------------------------------------------------- */

/* Every submission fails three times, half run, not run, half run, and is then resubmitted: nothing may tell. */
static void resubmission_leaves_the_same(void **state)
{
    (void)state;
    static rig r;
    pv_allocator allocator = pv_allocator_default();
    pv_fault_backend *wrapper = NULL;
    assert_true(rig_open(&r, rig_backend(), NULL, 2, false));
    remains undisturbed = run_model(&r, WHOLE), recovered;
    rig_close(&r);
    assert_int_equal(pv_fault_backend_create(&allocator, rig_backend(), &wrapper, NULL), PV_OK);
    assert_true(rig_open(&r, pv_fault_backend_get(wrapper), NULL, 2, false));
    pv_fault faults[STEPS];
    for (uint64_t i = 0; i < STEPS; i++)
        faults[i] = (pv_fault){.kind = PV_FAULT_TRANSIENT, .nth = 1 + i * 4, .count = 3, .slot = -1};
    pv_fault_backend_set(wrapper, faults, STEPS);
    r.resubmit = true;
    recovered = run_model(&r, WHOLE);
    expect_alike(&r, "plan: after transient failures", &undisturbed, &recovered);
    assert_int_equal(r.failures, 0);
    assert_int_equal(r.resubmitted, STEPS * 3);
    assert_int_equal(pv_fault_backend_injected(wrapper), STEPS * 3);
    rig_close(&r);
    pv_fault_backend_destroy(wrapper);
    free(undisturbed.bytes);
    free(recovered.bytes);
}

/* A step that is waited for in small pieces, or aborted half-way and made again, leaves what it leaves otherwise; with any
 * number of threads, which must agree where to stop. */
static void stopping_leaves_the_same(void **state)
{
    (void)state;
    static rig r;
    for (uint32_t threads = 1; threads <= 3; threads++) {
        assert_true(rig_open(&r, rig_backend(), NULL, threads, false));
        remains undisturbed = run_model(&r, WHOLE);
        r.impatient = true;
        remains in_pieces = run_model(&r, WHOLE);
        expect_alike(&r, "plan: waited for in pieces", &undisturbed, &in_pieces);
        assert_true(r.timeouts >= STEPS);
        r.impatient = false;
        r.abort_half = true;
        remains again = run_model(&r, WHOLE);
        expect_alike(&r, "plan: aborted and made again", &undisturbed, &again);
        if (rig_backend() == &pv_cpu_backend) assert_int_equal(r.aborted, STEPS); /* a GPU is not stopped half-way */
        assert_int_equal(r.failures, 0);
        rig_close(&r);
        free(undisturbed.bytes);
        free(in_pieces.bytes);
        free(again.bytes);
    }
}

static void test_plan_cases(void **state)
{
    (void)state;
    rig_for_all(plan_cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_cases),
        cmocka_unit_test(resubmission_leaves_the_same),
        cmocka_unit_test(stopping_leaves_the_same),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (size_t i = 0; i < MAX_OPS; i++) free(canonical[i]);
    return failed;
}
