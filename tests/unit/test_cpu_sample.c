/* sample against a plain version in double: the most likely first, ties by lower id, cuts, penalties, Philox. */
#include "test_cpu.h"

/* Philox4x32-10 as its authors state it (Salmon and others, "Parallel random numbers: as easy as 1, 2, 3", 2011). */
static void philox(uint32_t counter[4], uint32_t k0, uint32_t k1)
{
    for (int round = 0; round < 10; round++) {
        const uint64_t a = 0xD2511F53ull * counter[0], b = 0xCD9E8D57ull * counter[2];
        const uint32_t next[4] = {(uint32_t)(b >> 32) ^ counter[1] ^ k0, (uint32_t)b, (uint32_t)(a >> 32) ^ counter[3] ^ k1, (uint32_t)a};
        memcpy(counter, next, sizeof next);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

/* The known answers of the Random123 distribution. */
static void test_philox_known_answers(void **state)
{
    (void)state;
    uint32_t zero[4] = {0, 0, 0, 0}, ones[4] = {~0u, ~0u, ~0u, ~0u};
    philox(zero, 0, 0);
    assert_int_equal(zero[0], 0x6627E8D5u);
    philox(ones, ~0u, ~0u);
    assert_int_equal(ones[0], 0x408F276Du);
}

typedef struct candidate {
    double logit;
    int32_t token;
} candidate;

static int by_logit(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->token < y->token ? -1 : 1;
}

/* What one row should give. `margin`: how far u × sum was from the nearest step of the cumulative sum, relative. */
typedef struct expected {
    int32_t token;
    double logprob, margin;
} expected;

static expected reference(const float *raw, uint32_t vocabulary, const pv_step_logit *l, const int32_t *token_log, const pv_step_bias *biases)
{
    candidate *list = malloc(vocabulary * sizeof *list);
    double largest = -INFINITY, sum = 0;
    expected result = {.margin = 1};
    for (uint32_t i = 0; i < vocabulary; i++) {
        if ((double)raw[i] > largest) largest = (double)raw[i]; /* gcc 12 for 64-bit Arm does not survive fmax here */
    }
    for (uint32_t i = 0; i < vocabulary; i++) sum += exp((double)raw[i] - largest);
    for (uint32_t i = 0; i < vocabulary; i++) {
        int generated = 0, recent = 0;
        for (int32_t p = 0; p <= l->position; p++) {
            if (token_log[p] != (int32_t)i) continue;
            generated += p >= l->prompt_length;
            recent |= p > l->position - (int32_t)l->penalty_last;
        }
        double x = (double)raw[i];
        if (recent) x = x > 0 ? x / (double)l->repetition : x * (double)l->repetition;
        if (generated > 0) x -= generated * (double)l->frequency + (double)l->presence;
        for (uint32_t b = 0; b < l->bias_count; b++) x += biases[l->bias_first + b].token == (int32_t)i ? (double)biases[l->bias_first + b].bias : 0;
        if (l->temperature > 0) x /= (double)l->temperature;
        list[i] = (candidate){x, (int32_t)i};
    }
    qsort(list, vocabulary, sizeof *list, by_logit);
    uint32_t kept = l->top_k > 0 && l->top_k < vocabulary ? l->top_k : vocabulary;
    double all = 0, so_far = 0;
    for (uint32_t i = 0; i < kept; i++) all += exp(list[i].logit - list[0].logit);
    if (l->top_p < 1) {
        uint32_t n = 0;
        while (n < kept && (n == 0 || so_far < (double)l->top_p * all)) {
            so_far += exp(list[n++].logit - list[0].logit);
            result.margin = fmin(result.margin, fabs(so_far / all - (double)l->top_p));
        }
        kept = n;
    }
    for (uint32_t i = 1; i < kept; i++) {
        const double weight = exp(list[i].logit - list[0].logit);
        if (l->min_p > 0) result.margin = fmin(result.margin, fabs(weight - (double)l->min_p));
        if (weight < (double)l->min_p) kept = i;
    }
    uint32_t counter[4] = {(uint32_t)l->position + 1, 0, 0, 0};
    philox(counter, l->seed[0], l->seed[1]);
    const double u = (double)(counter[0] >> 8) * 0x1p-24;
    double total = 0;
    for (uint32_t i = 0; i < kept; i++) total += exp(list[i].logit - list[0].logit);
    so_far = 0;
    result.token = -1;
    for (uint32_t i = 0; i < kept; i++) {
        so_far += exp(list[i].logit - list[0].logit);
        result.margin = fmin(result.margin, fabs(so_far / total - u));
        if (result.token < 0 && so_far > u * total) result.token = list[i].token;
    }
    if (!(l->temperature > 0)) {
        result.token = list[0].token;
        result.margin = 1;
    }
    result.logprob = (double)raw[result.token] - largest - log(sum);
    free(list);
    return result;
}

enum { CONTEXT = 64, SLOTS = 3 };

typedef struct scene {
    cpu_slab slab;
    cpu_step step;
    pv_op op;
    uint32_t rows, vocabulary;
} scene;

static void scene_make(scene *s, const char *kernels, uint32_t threads, uint32_t rows, uint32_t vocabulary)
{
    *s = (scene){.slab = {.device = cpu_open(kernels, threads, false)}, .rows = rows, .vocabulary = vocabulary};
    s->op.kind = PV_OP_sample;
    s->op.sample.logits = cpu_tensor(&s->slab, rows, vocabulary, PV_EXTENT_LOGITS);
    s->op.sample.token_log = (pv_tensor){.buffer = cpu_buffer(&s->slab, SLOTS * CONTEXT * 4), .rows = SLOTS, .cols = CONTEXT};
    s->step = cpu_step_make(&s->slab, (pv_step_limits){.rows = rows, .seqs = rows, .logits = rows, .biases = 16, .slots = SLOTS, .context = CONTEXT});
    s->step.view.counts->logits = rows;
    for (uint32_t i = 0; i < rows; i++) {
        s->step.view.logits[i] = (pv_step_logit){.row = (int32_t)i, .slot = 1, .position = 20, .prompt_length = 5, .top_p = 1, .repetition = 1,
                                                 .penalty_last = 8, .seed = {i * 77 + 1, 99}};
    }
    uint64_t random = 5;
    int32_t *cells = pv_tensor_host(&s->op.sample.token_log);
    for (int i = 0; i < SLOTS * CONTEXT; i++) cells[i] = (int32_t)((cpu_random(&random) + 1) * 0.5f * (float)vocabulary);
    float *x = cpu_values(&s->op.sample.logits);
    for (size_t i = 0; i < (size_t)rows * vocabulary; i++) {
        const float a = cpu_random(&random);
        x[i] = 12 * a * a * a;
    }
}

static void scene_free(scene *s)
{
    pv_backend_device *device = s->slab.device;
    cpu_free(&s->slab);
    device->backend->close(device);
}

static const pv_step_output *run(scene *s)
{
    float *before = malloc((size_t)s->rows * s->vocabulary * 4);
    memcpy(before, cpu_values(&s->op.sample.logits), (size_t)s->rows * s->vocabulary * 4);
    cpu_run(s->slab.device, &s->op, 1, &s->step);
    assert_memory_equal(before, cpu_values(&s->op.sample.logits), (size_t)s->rows * s->vocabulary * 4); /* logits are not changed */
    free(before);
    return pv_tensor_host(&s->step.outputs);
}

/* Rows with all sorts of settings; those whose draw falls too close to a step for f32 to tell are not judged, and must be few. */
static void settings_of(const char *kernels)
{
    enum { ROWS = 96 };
    static const uint32_t vocabularies[] = {1, 5, 97, 1000, 50257};
    for (size_t v = 0; v < sizeof vocabularies / sizeof *vocabularies; v++) {
        scene s;
        const uint32_t rows = vocabularies[v] > 10000 ? 24 : ROWS;
        scene_make(&s, kernels, 2, rows, vocabularies[v]);
        const int32_t *cells = (const int32_t *)pv_tensor_host(&s.op.sample.token_log) + CONTEXT;
        for (int i = 0; i < 16; i++) s.step.view.biases[i] = (pv_step_bias){(int32_t)(i * 3u % vocabularies[v]), (float)(i - 8) * 0.7f};
        for (uint32_t i = 0; i < rows; i++) {
            pv_step_logit *l = &s.step.view.logits[i];
            static const float temperatures[] = {1, 0.7f, 1.5f, 0, 30};
            static const uint32_t top_ks[] = {0, 1, 40, 0, 100000};
            static const float top_ps[] = {1, 0.9f, 0.5f, 1, 0.99f, 0.01f}, min_ps[] = {0, 0, 0.05f, 0.3f, 0, 1, 0};
            l->temperature = temperatures[i % 5];
            l->top_k = top_ks[i / 2 % 5];
            l->top_p = top_ps[i / 3 % 6];
            l->min_p = min_ps[i / 5 % 7];
            if (i % 4 == 1) l->repetition = 1.3f;
            if (i % 4 == 2) l->frequency = 0.4f, l->presence = 0.2f;
            if (i % 3 == 1) l->bias_first = i % 8, l->bias_count = 8;
            l->sample = i == rows - 1;
        }
        int32_t saved[CONTEXT];
        memcpy(saved, cells, sizeof saved);
        const pv_step_output *outputs = run(&s);
        uint32_t judged = 0;
        for (uint32_t i = 0; i < rows; i++) {
            const expected want = reference(cpu_values(&s.op.sample.logits) + (size_t)i * vocabularies[v], vocabularies[v],
                                            &s.step.view.logits[i], saved, s.step.view.biases);
            assert_int_equal(outputs[i].status, PV_OUTPUT_OK);
            assert_int_equal(outputs[i].top_count, 0);
            if (want.margin < 2e-6) continue;
            judged++;
            if (outputs[i].token != want.token) fail_msg("%s: vocabulary %u row %u: token %d, want %d (margin %g)", kernels, vocabularies[v], i, outputs[i].token, want.token, want.margin);
            assert_true(fabs((double)outputs[i].logprob - want.logprob) <= 4e-6 * fmax(1, fabs(want.logprob)));
        }
        assert_true(judged >= rows / 2);
        for (int p = 0; p < CONTEXT; p++) assert_int_equal(cells[p], p == 21 ? outputs[rows - 1].token : saved[p]);
        scene_free(&s);
    }
}
static void test_settings(void **state)
{
    (void)state;
    cpu_for_each(settings_of);
}

static void ties_and_faults_of(const char *kernels)
{
    enum { VOCABULARY = 103 };
    scene s;
    scene_make(&s, kernels, 2, 8, VOCABULARY);
    float *x = cpu_values(&s.op.sample.logits);
    for (int i = 0; i < 8 * VOCABULARY; i++) x[i] = (float)(i % VOCABULARY % 10);
    for (uint32_t i = 0; i < 8; i++) s.step.view.logits[i].top_count = 5, s.step.view.logits[i].sample = i != 0;
    x[1 * VOCABULARY + 60] = NAN;
    for (int i = 0; i < VOCABULARY; i++) x[2 * VOCABULARY + i] = -INFINITY;
    x[3 * VOCABULARY + 102] = NAN; /* in the tail */
    x[4 * VOCABULARY + 50] = INFINITY;
    for (int i = 0; i < VOCABULARY; i++) x[5 * VOCABULARY + i] = INFINITY;
    s.step.view.logits[6].top_count = 20;
    for (int i = 0; i < VOCABULARY; i++) x[7 * VOCABULARY + i] = i == 77 ? -5.0f : -INFINITY;
    s.step.view.logits[7].temperature = 1;
    for (uint32_t i = 0; i < 8; i++) s.step.view.logits[i].position = (int32_t)(20 + 2 * i);
    const int32_t *cells = (const int32_t *)pv_tensor_host(&s.op.sample.token_log) + CONTEXT;
    int32_t saved[CONTEXT];
    memcpy(saved, cells, sizeof saved);
    const pv_step_output *outputs = run(&s);
    assert_int_equal(outputs[0].token, 9); /* ties: the lowest id */
    assert_int_equal(outputs[0].top_count, 5);
    for (int i = 0; i < 5; i++) assert_int_equal(outputs[0].top[i].token, 9 + 10 * i);
    for (int i = 1; i <= 5; i++) {
        if (i == 4) continue;
        assert_int_equal(outputs[i].status, PV_OUTPUT_NON_FINITE);
        assert_int_equal(outputs[i].token, -1);
        assert_int_equal(outputs[i].top_count, 0);
        assert_int_equal(cells[21 + 2 * i], saved[21 + 2 * i]);
    }
    assert_int_equal(outputs[4].status, PV_OUTPUT_OK); /* infinite, but there are finite ones */
    assert_int_equal(outputs[4].token, 50);
    assert_true(outputs[4].logprob == 0);
    assert_int_equal(outputs[6].top_count, 20);
    for (int i = 1; i < 20; i++) {
        const pv_step_top *a = &outputs[6].top[i - 1], *b = &outputs[6].top[i];
        assert_true(a->logprob > b->logprob || (a->logprob == b->logprob && a->token < b->token));
    }
    assert_int_equal(outputs[7].token, 77);
    assert_true(fabsf(outputs[7].logprob) < 1e-6f);
    assert_int_equal(cells[21], saved[21]); /* sample = 0 */
    assert_int_equal(cells[21 + 14], 77);
    scene_free(&s);
}
static void test_ties_and_faults(void **state)
{
    (void)state;
    cpu_for_each(ties_and_faults_of);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_philox_known_answers), cmocka_unit_test(test_settings),
                                       cmocka_unit_test(test_ties_and_faults)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
