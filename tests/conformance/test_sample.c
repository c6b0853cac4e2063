/* The op sample: against a sampler over doubles, token for token; its statistics; what it writes and what it leaves. */
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
#define SLOTS 24
#define CONTEXT 1024

/* A step that samples: rows that want logits, their logits, and the token log. */
typedef struct batch {
    rig *r;
    uint32_t vocabulary, count, bias_count;
    float *logits; /* [32][vocabulary] */
    int32_t log[SLOTS * CONTEXT];
    pv_step_logit settings[32];
    pv_step_bias biases[2048];
    uint64_t near_ties, drawn;
    bool keep; /* expectations */
} batch;

static batch *make_batch(rig *r, uint32_t vocabulary, uint64_t seed)
{
    batch *b = calloc(1, sizeof *b);
    b->r = r;
    b->vocabulary = vocabulary;
    b->logits = malloc(32ull * vocabulary * sizeof *b->logits);
    for (size_t i = 0; i < SLOTS * CONTEXT; i++) b->log[i] = (int32_t)(ref_random(&seed) % vocabulary);
    return b;
}

static void free_batch(batch *b)
{
    free(b->logits);
    free(b);
}

static const pv_step_logit plain_settings = {.temperature = 0, .top_p = 1, .repetition = 1, .sample = 1};

/* A row in a slot of its own, at `position`. The caller changes its settings and fills its logits. */
static pv_step_logit *add_row(batch *b, int32_t position, uint64_t seed, double spread, float **logits)
{
    assert_true(b->count + 1 < SLOTS);
    *logits = b->logits + (size_t)b->count * b->vocabulary;
    for (uint32_t i = 0; i < b->vocabulary; i++) (*logits)[i] = (float)(spread * ref_normal(&seed));
    pv_step_logit *s = &b->settings[b->count++];
    *s = plain_settings;
    s->slot = (int32_t)b->count;
    s->position = position;
    s->prompt_length = position / 2;
    s->penalty_last = 64;
    s->seed[0] = (uint32_t)ref_random(&seed);
    s->seed[1] = (uint32_t)ref_random(&seed);
    return s;
}

static void add_bias(batch *b, pv_step_logit *s, int32_t token, float bias)
{
    if (s->bias_count == 0) s->bias_first = b->bias_count;
    b->biases[b->bias_count++] = (pv_step_bias){token, bias};
    s->bias_count++;
}

/* What is wanted of a row. */
typedef struct expectation {
    ref_sampled sampled;
    uint32_t top_count;
    int32_t top[PV_TOP_LOGPROBS];
    ref_value logprob[PV_TOP_LOGPROBS]; /* of top */
} expectation;

static expectation expect_in(const batch *b, uint32_t row)
{
    const pv_step_logit *s = &b->settings[row];
    const float *logits = b->logits + (size_t)row * b->vocabulary;
    expectation e = {.top_count = s->top_count < b->vocabulary ? s->top_count : b->vocabulary};
    e.sampled = ref_sample(logits, b->vocabulary, s, b->log + (size_t)s->slot * CONTEXT, b->biases + s->bias_first);
    if (e.top_count == 0 || e.sampled.status != PV_OUTPUT_OK) return e;
    double *values = malloc(b->vocabulary * sizeof *values);
    int32_t *order = malloc(b->vocabulary * sizeof *order);
    for (uint32_t i = 0; i < b->vocabulary; i++) values[i] = logits[i];
    ref_order(values, b->vocabulary, order);
    memcpy(e.top, order, e.top_count * sizeof *order);
    for (uint32_t i = 0; i < e.top_count; i++) e.logprob[i] = ref_logprob(logits, b->vocabulary, e.top[i]);
    free(values);
    free(order);
    return e;
}

/* Sorting a large vocabulary in doubles takes longer than all the rest: what was found is kept, in order, for the other kernels
 * and thread counts, which get the same rows. */
static expectation kept[64];
static size_t kept_count, kept_at;

static expectation expect_kept(const batch *b, uint32_t row)
{
    assert_true(kept_at < ARRAY_COUNT(kept));
    if (kept_at == kept_count) kept[kept_count++] = expect_in(b, row);
    return kept[kept_at++];
}

static void expect_tops(rig *r, const expectation *e, const pv_step_output *found)
{
    rig_expect(r, "sample: number of alternatives", found->top_count == e->top_count);
    for (uint32_t i = 0; i < e->top_count && found->top_count == e->top_count; i++) {
        rig_expect(r, "sample: alternative", found->top[i].token == e->top[i]);
        if (isfinite(e->logprob[i].value))
            rig_expect_values(r, "sample: logprob of an alternative", &found->top[i].logprob, &e->logprob[i], 1);
        else
            rig_expect(r, "sample: logprob of what cannot be", found->top[i].logprob == -INFINITY);
    }
}

static void expect_row(batch *b, uint32_t row, const pv_step_output *found)
{
    rig *r = b->r;
    const expectation wanted = b->keep ? expect_kept(b, row) : expect_in(b, row);
    rig_expect(r, "sample: status", found->status == wanted.sampled.status);
    if (wanted.sampled.status != PV_OUTPUT_OK) {
        rig_expect(r, "sample: no token from a bad row", found->token == -1);
        return;
    }
    b->drawn++;
    b->near_ties += wanted.sampled.near_tie;
    bool in_range = found->token >= 0 && (uint32_t)found->token < b->vocabulary;
    rig_expect(r, "sample: token is in the vocabulary", in_range);
    if (!in_range) return;
    if (!wanted.sampled.near_tie && b->settings[row].sample)
        rig_expect(r, "sample: token", found->token == wanted.sampled.token);
    ref_value logprob = wanted.sampled.logprob;
    if (found->token != wanted.sampled.token)
        logprob = ref_logprob(b->logits + (size_t)row * b->vocabulary, b->vocabulary, found->token);
    rig_expect_values(r, "sample: logprob", &found->logprob, &logprob, 1);
    expect_tops(r, &wanted, found);
}

/* Runs the batch and compares all that it should have written: outputs, and the token log at position + 1. */
static void run_batch(batch *b, pv_step_output *outputs)
{
    rig *r = b->r;
    rig_reset(r);
    rig_sequence sequences[SLOTS];
    for (uint32_t i = 0; i < b->count; i++)
        sequences[i] = (rig_sequence){b->settings[i].slot, b->settings[i].position, 1, NULL};
    pv_step_view view = rig_step(r, sequences, b->count);
    for (uint32_t i = 0; i < b->count; i++) {
        b->settings[i].row = (int32_t)i;
        view.logits[i] = b->settings[i];
    }
    memcpy(view.biases, b->biases, b->bias_count * sizeof *b->biases);
    view.counts->biases = b->bias_count;
    view.counts->logits = r->logits = b->count;
    pv_op op = {.kind = PV_OP_sample};
    op.sample.logits = rig_input(r, PV_EXTENT_LOGITS, b->vocabulary, b->logits);
    op.sample.token_log = rig_cells(r, RIG_KV, SLOTS, CONTEXT, b->log);
    rig_may_write(r, &r->outputs, 0, b->count * sizeof(pv_step_output));
    for (uint32_t i = 0; i < b->count; i++) {
        const pv_step_logit *s = &b->settings[i];
        if (s->sample) rig_may_write(r, &op.sample.token_log, ((uint64_t)s->slot * CONTEXT + (uint64_t)s->position + 1) * 4, 4);
    }
    rig_run(r, &op, 1); /* that the logits stay as they are is checked here */
    rig_get(r, &r->outputs, 0, outputs, b->count * sizeof *outputs);
    for (uint32_t i = 0; i < b->count; i++) {
        expect_row(b, i, &outputs[i]);
        const pv_step_logit *s = &b->settings[i];
        const int32_t *before = &b->log[s->slot * CONTEXT + s->position + 1];
        int32_t after, wanted = s->sample && outputs[i].status == PV_OUTPUT_OK ? outputs[i].token : *before;
        rig_get(r, &op.sample.token_log, ((uint64_t)s->slot * CONTEXT + (uint64_t)s->position + 1) * 4, &after, 4);
        rig_expect(r, "sample: token log", after == wanted);
        rig_same_bits(r, &outputs[i].token, sizeof outputs[i].token);
        rig_same_bits(r, &outputs[i].logprob, sizeof outputs[i].logprob);
        rig_same_bits(r, outputs[i].top, outputs[i].top_count * sizeof outputs[i].top[0]);
    }
}

/* Near ties may go either way; they must be few. */
static void finish(batch *b)
{
    rig_expect(b->r, "sample: too many near ties to say much", b->near_ties * 20 <= b->drawn);
    free_batch(b);
}

/* ---- Greedy ---------------------------------------------------------------------------------------------------------- */

static void greedy_cases(rig *r)
{
    static const uint32_t vocabularies[] = {1, 2, 3, 15, 16, 17, 100, 1000, 4099};
    for (size_t v = 0; v < ARRAY_COUNT(vocabularies); v++) {
        batch *b = make_batch(r, vocabularies[v], v);
        pv_step_output outputs[32];
        float *logits;
        for (uint32_t i = 0; i < 4; i++) add_row(b, 10 + (int32_t)i, v * 100 + i, 3, &logits)->top_count = i * 6;
        add_row(b, 5, 1, 3, &logits)->top_count = 20; /* all equal: the lowest id, and alternatives in order of ids */
        for (uint32_t i = 0; i < b->vocabulary; i++) logits[i] = 1.5f;
        add_row(b, 6, 1, 3, &logits)->top_count = 7; /* ties at the top, the largest is last as well */
        for (uint32_t i = 0; i < b->vocabulary; i++) logits[i] = (float)(i % 3);
        add_row(b, 7, 1, 3, &logits)->sample = 0;     /* logits only: the token log stays */
        add_row(b, 8, 1, 3, &logits)->top_count = 20; /* what cannot be drawn */
        for (uint32_t i = 1; i < b->vocabulary; i += 2) logits[i] = -INFINITY;
        add_row(b, 9, 1, 1e4, &logits)->top_count = 20; /* far apart */
        add_row(b, 1022, 1, 1, &logits);                /* the last position of the log */
        run_batch(b, outputs);
        finish(b);
    }
    rig_expect_ran(r, "sample", NULL);
}

static void non_finite_cases(rig *r)
{
    static const uint32_t vocabularies[] = {1, 17, 1000};
    for (size_t v = 0; v < ARRAY_COUNT(vocabularies); v++) {
        for (int temperature = 0; temperature < 2; temperature++) {
            batch *b = make_batch(r, vocabularies[v], v);
            pv_step_output outputs[32];
            float *logits;
            for (uint32_t i = 0; i < 6; i++) {
                add_row(b, 10, i, 3, &logits)->temperature = (float)temperature;
                uint32_t last = b->vocabulary - 1;
                if (i == 1) logits[0] = NAN;
                if (i == 2) logits[last] = -NAN;
                if (i == 4) logits[last / 2] = NAN;
                for (uint32_t j = 0; i == 3 && j < b->vocabulary; j++) logits[j] = -INFINITY;
            }
            run_batch(b, outputs);
            for (uint32_t i = 0; i < 6; i++)
                rig_expect(r, "sample: which rows are bad",
                           outputs[i].status == (i == 0 || i == 5 ? PV_OUTPUT_OK : PV_OUTPUT_NON_FINITE));
            finish(b);
        }
    }
}

/* ---- Penalties and bias ---------------------------------------------------------------------------------------------- */

/* Logits and settings are small multiples of powers of two, so f32 has no roundings and ties are true ties. */
static void penalty_cases(rig *r)
{
    for (uint32_t round = 0; round < 6; round++) {
        batch *b = make_batch(r, 40, round); /* few tokens: the log holds each of them many times */
        pv_step_output outputs[32];
        float *logits;
        for (uint32_t i = 0; i < 20; i++) {
            uint64_t seed = round * 100 + i;
            pv_step_logit *s = add_row(b, (int32_t)(i * 13 + round), seed, 1, &logits);
            for (uint32_t j = 0; j < b->vocabulary; j++) logits[j] = (float)((int)(ref_random(&seed) % 64) - 32) / 4;
            if (i % 2) s->repetition = i % 4 == 1 ? 2 : 0.5f;
            if (i % 3) s->frequency = i % 3 == 1 ? 0.25f : -0.125f;
            if (i % 5 < 2) s->presence = 1.5f;
            s->penalty_last = i % 4 == 3 ? 1 + i : 64;
            s->prompt_length = i % 7 == 0 ? 0 : i % 7 == 1 ? s->position + 1 : s->position / 2;
            for (uint32_t j = 0; i % 4 == 2 && j < 5; j++) add_bias(b, s, (int32_t)(ref_random(&seed) % 40), (float)j - 2);
            if (i % 6 == 5) {
                add_bias(b, s, 7, -INFINITY); /* forbids */
                add_bias(b, s, 39, 100);      /* forces */
            }
            s->top_count = 5; /* alternatives and logprob are those before penalties */
        }
        run_batch(b, outputs);
        finish(b);
    }
}

static void many_biases_case(rig *r)
{
    batch *b = make_batch(r, 5000, 1);
    pv_step_output outputs[32];
    float *logits;
    pv_step_logit *s = add_row(b, 3, 1, 1, &logits);
    for (int32_t i = 0; i < PV_MAX_BIASES; i++) add_bias(b, s, i * 4, i == 700 ? 50 : -50);
    s = add_row(b, 3, 2, 1, &logits);
    for (int32_t i = 0; i < PV_MAX_BIASES; i++) add_bias(b, s, 4999 - i, -INFINITY);
    s->temperature = 1;
    add_row(b, 3, 3, 1, &logits);
    run_batch(b, outputs);
    rig_expect(r, "sample: the bias decides", outputs[0].token == 2800);
    rig_expect(r, "sample: forbidden", outputs[1].token < 4999 - PV_MAX_BIASES + 1);
    finish(b);
}

/* ---- Draws ----------------------------------------------------------------------------------------------------------- */

typedef struct draw_case {
    float temperature, top_p, min_p;
    uint32_t top_k;
} draw_case;

static const draw_case draws[] = {
    {1, 1, 0, 0},          {0.7f, 1, 0, 0},   {2, 1, 0, 0},         {1, 1, 0, 1},
    {1, 1, 0, 2},          {1, 1, 0, 40},     {1, 1, 0, 100000},    {1, 0.9f, 0, 0},
    {1, 0.1f, 0, 0},       {1, 0.999f, 0, 0}, {1, 1e-6f, 0, 0},     {1, 1, 0.05f, 0},
    {1, 1, 0.5f, 0},       {1, 1, 1, 0},      {0.8f, 0.95f, 0, 40}, {1.3f, 0.8f, 0.02f, 100},
    {0.6f, 0.9f, 0.1f, 5}, {0.05f, 1, 0, 0},  {10, 0.5f, 0, 0},     {1, 0.7f, 0.3f, 3},
};

static void draw_batch(rig *r, uint32_t vocabulary, uint64_t seed, double spread, bool ties)
{
    batch *b = make_batch(r, vocabulary, seed);
    pv_step_output outputs[32];
    float *logits;
    for (uint32_t i = 0; i < ARRAY_COUNT(draws); i++) {
        pv_step_logit *s = add_row(b, (int32_t)(seed % 50 + i), seed * 100 + i, spread, &logits);
        for (uint32_t j = 0; ties && j < vocabulary; j++) logits[j] = roundf(logits[j] * 2) / 2;
        s->temperature = draws[i].temperature;
        s->top_p = draws[i].top_p;
        s->min_p = draws[i].min_p;
        s->top_k = draws[i].top_k;
        s->top_count = i % 3 == 0 ? 20 : 0;
        if (i % 4 == 1) s->repetition = 1.3f, s->frequency = 0.1f, s->presence = 0.2f;
        if (i % 4 == 2) add_bias(b, s, (int32_t)(i % vocabulary), 2);
    }
    run_batch(b, outputs);
    finish(b);
}

static void draw_cases(rig *r)
{
    static const uint32_t vocabularies[] = {1, 2, 5, 31, 256, 1000};
    for (size_t v = 0; v < ARRAY_COUNT(vocabularies); v++) {
        for (uint64_t seed = 0; seed < 3; seed++) draw_batch(r, vocabularies[v], seed + v * 17, seed == 1 ? 0.5 : 3, false);
        draw_batch(r, vocabularies[v], v + 99, 2, true); /* many equal logits: cuts and draws go by ids */
    }
    rig_expect_ran(r, "sample", NULL);
}

static const uint32_t large_vocabularies[] = {49153, 128256, 151936};
static batch *large[ARRAY_COUNT(large_vocabularies)]; /* made once for all kernels and thread counts */

static batch *make_large(rig *r, uint32_t vocabulary)
{
    batch *b = make_batch(r, vocabulary, vocabulary);
    float *logits;
    for (uint32_t i = 0; i < 6; i++) {
        pv_step_logit *s = add_row(b, 3, vocabulary * 10 + i, i == 5 ? 0.01 : 3, &logits); /* the last one is nearly flat */
        s->temperature = i == 0 ? 0 : 1;
        s->top_k = i == 2 ? 50 : 0;
        s->top_p = i == 3 ? 0.9f : 1;
        s->min_p = i == 4 ? 0.01f : 0;
        s->top_count = 20;
    }
    b->keep = true;
    return b;
}

/* Thousands of tokens lie within the error of a sum here: near ties are not counted. */
static void large_vocabulary_cases(rig *r)
{
    kept_at = 0;
    for (size_t v = 0; v < ARRAY_COUNT(large); v++) {
        pv_step_output outputs[32];
        if (large[v] == NULL) large[v] = make_large(r, large_vocabularies[v]);
        large[v]->r = r;
        run_batch(large[v], outputs);
    }
}

/* A row by itself gives what it gave among others. */
static void batch_of_one_cases(rig *r)
{
    batch *b = make_batch(r, 500, 5);
    pv_step_output together[32], alone;
    float *logits;
    for (uint32_t i = 0; i < 12; i++) {
        pv_step_logit *s = add_row(b, 40, i, 2, &logits);
        s->temperature = 0.9f;
        s->top_p = 0.95f;
        s->top_count = 10;
        if (i % 2) add_bias(b, s, (int32_t)i, 1);
    }
    run_batch(b, together);
    for (uint32_t i = 0; i < b->count; i++) {
        batch *one = make_batch(r, 500, 5);
        add_row(one, 40, i, 2, &logits);
        one->settings[0] = b->settings[i];
        memcpy(one->biases, b->biases, sizeof one->biases);
        one->bias_count = b->bias_count;
        run_batch(one, &alone);
        rig_expect(r, "sample: alone", alone.token == together[i].token && alone.logprob == together[i].logprob);
        rig_expect_bytes(r, "sample: alternatives alone", alone.top, together[i].top, 10 * sizeof alone.top[0]);
        free_batch(one);
    }
    free_batch(b);
}

/* ---- Statistics ------------------------------------------------------------------------------------------------------ */

/* 4400 draws from a known distribution, one seed and many positions, and many seeds at one position. Pearson's statistic stays
 * below the 99.9 % point of its distribution; seeds are fixed, so it is the same number every time. */
static void statistics(rig *r, const pv_step_logit *how, bool by_position, double limit)
{
    enum { TOKENS = 8, ROWS = 22, ROUNDS = 200 };
    static const float logits_of[TOKENS] = {0.5f, 2, -1, 1, 0, 1.5f, -3, 0.75f};
    double expected[TOKENS], statistic = 0;
    uint32_t times[TOKENS] = {0};
    ref_distribution(logits_of, TOKENS, how, (const int32_t[]){0, 0, 0, 0, 0}, NULL, expected);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        batch *b = make_batch(r, TOKENS, 1);
        pv_step_output outputs[32];
        float *logits;
        for (uint32_t i = 0; i < ROWS; i++) {
            pv_step_logit *s = add_row(b, 0, 0, 1, &logits);
            memcpy(logits, logits_of, sizeof logits_of);
            uint32_t number = round * ROWS + i;
            int32_t slot = s->slot;
            *s = *how;
            s->slot = slot;
            s->position = by_position ? (int32_t)(number % 1000) : 4;
            s->seed[0] = by_position ? number / 1000 : number;
            s->seed[1] = 77;
        }
        run_batch(b, outputs);
        for (uint32_t i = 0; i < ROWS; i++) times[outputs[i].token & (TOKENS - 1)]++;
        free_batch(b);
    }
    for (int t = 0; t < TOKENS; t++) {
        double mean = expected[t] * ROWS * ROUNDS;
        if (mean == 0)
            rig_expect(r, "sample: a token that was cut", times[t] == 0);
        else
            statistic += (times[t] - mean) * (times[t] - mean) / mean;
    }
    rig_expect(r, "sample: Pearson's statistic", statistic < limit);
}

/* 99.9 % points of chi-square with 7, 4 and 3 degrees of freedom: 24.32, 18.47, 16.27 (tables). */
static void statistics_cases(rig *r)
{
    pv_step_logit how = plain_settings;
    how.temperature = 1;
    statistics(r, &how, true, 24.32);
    statistics(r, &how, false, 24.32);
    how.temperature = 0.7f;
    how.top_k = 5;
    statistics(r, &how, false, 18.47);
    how.top_k = 0;
    how.top_p = 0.85f;
    statistics(r, &how, true, 16.27);
}

static void few_of_each(rig *r)
{
    batch *b = make_batch(r, 1000, 3);
    pv_step_output outputs[32];
    float *logits;
    add_row(b, 10, 1, 3, &logits);
    run_batch(b, outputs);
    free_batch(b);
}

/* The published test vectors of Philox4x32-10 (Random123). */
static void philox_is_philox(void **state)
{
    (void)state;
    static const struct {
        uint32_t key[2], counter[4], wanted[4];
    } vectors[] = {
        {{0, 0}, {0, 0, 0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u}, {~0u, ~0u, ~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0xa4093822, 0x299f31d0},
         {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < ARRAY_COUNT(vectors); i++) {
        uint32_t found[4];
        ref_philox(vectors[i].key, vectors[i].counter, found);
        assert_memory_equal(found, vectors[i].wanted, sizeof found);
    }
}

#define FOR_ALL(cases)                                                                                                         \
    static void test_##cases(void **state)                                                                                     \
    {                                                                                                                          \
        (void)state;                                                                                                           \
        rig_for_all(cases);                                                                                                    \
    }
FOR_ALL(greedy_cases)
FOR_ALL(non_finite_cases)
FOR_ALL(penalty_cases)
FOR_ALL(many_biases_case)
FOR_ALL(draw_cases)
FOR_ALL(large_vocabulary_cases)
FOR_ALL(batch_of_one_cases)

static void test_statistics_cases(void **state)
{
    (void)state;
    rig_for_threads(2, statistics_cases);
}

static void a_tampered_result_is_noticed(void **state)
{
    (void)state;
    rig_expect_noticed(few_of_each);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_is_philox),
        cmocka_unit_test(test_greedy_cases),
        cmocka_unit_test(test_non_finite_cases),
        cmocka_unit_test(test_penalty_cases),
        cmocka_unit_test(test_many_biases_case),
        cmocka_unit_test(test_draw_cases),
        cmocka_unit_test(test_large_vocabulary_cases),
        cmocka_unit_test(test_batch_of_one_cases),
        cmocka_unit_test(test_statistics_cases),
        cmocka_unit_test(a_tampered_result_is_noticed),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (size_t v = 0; v < ARRAY_COUNT(large); v++) {
        if (large[v]) free_batch(large[v]);
    }
    return failed;
}
