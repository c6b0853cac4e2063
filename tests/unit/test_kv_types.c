/* KV caches of 8 and 4 bits, end to end: what they take, how far they change the logits, and that they change nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "support/tiny.h"

#define POSITIONS 70

static pv_runtime *runtime;

static pv_model *load(pv_kv_type type, uint32_t step_rows)
{
    pv_model *model = NULL;
    pv_error error = {0};
    const pv_model_options options = {.device = "cpu", .context = 256, .max_step_rows = step_rows, .kv_type = type};
    if (pv_model_load(runtime, tiny_path("F16"), &options, &model, &error) != PV_OK) fail_msg("%s", error.message);
    return model;
}

/* Logits of every position of a prompt. */
typedef struct logits {
    float of[POSITIONS][TINY_VOCABULARY];
    uint32_t seen;
} logits;

static int32_t keep(void *user, const float *values, size_t vocabulary, uint32_t position)
{
    tiny_result *result = user;
    logits *all = (logits *)(void *)(result + 1);
    assert_int_equal(vocabulary, TINY_VOCABULARY);
    if (position < POSITIONS) {
        memcpy(all->of[position], values, sizeof all->of[position]);
        all->seen++;
    }
    return PV_SAMPLE;
}

static const logits *run(pv_model *model)
{
    static struct {
        tiny_result result;
        logits all;
    } runs[4];
    static size_t next;
    int32_t prompt[POSITIONS];
    pv_engine *engine = NULL;
    pv_error error = {0};
    const size_t at = next++ % 4;
    memset(&runs[at], 0, sizeof runs[at]);
    for (size_t i = 0; i < POSITIONS; i++) prompt[i] = (int32_t)(3 + i * 11 % 250);
    const pv_request request = {
        .prompt = prompt, .prompt_length = POSITIONS, .max_tokens = 4, .ignore_end = true, .on_logits = keep, .every_position = true, .user = &runs[at].result};
    if (pv_engine_create(model, NULL, &engine, &error) != PV_OK) fail_msg("%s", error.message);
    if (pv_engine_submit(engine, &request, NULL, &error) != PV_OK) fail_msg("%s", error.message);
    tiny_run(engine, 200, NULL);
    pv_engine_destroy(engine);
    assert_true(runs[at].result.finished);
    assert_int_equal(runs[at].all.seen, POSITIONS);
    return &runs[at].all;
}

/* RMS of the difference over RMS of what it is a difference to. */
static double distance(const logits *found, const logits *exact)
{
    double off = 0, all = 0;
    for (size_t p = 0; p < POSITIONS; p++) {
        for (size_t i = 0; i < TINY_VOCABULARY; i++) {
            off += pow((double)found->of[p][i] - exact->of[p][i], 2);
            all += pow(exact->of[p][i], 2);
        }
    }
    return sqrt(off / all);
}

/* Rounding to one of 255 steps of the largest element of 32 errs by 1 / 254 / sqrt(3) of it, to one of 15 by 1 / 16 / sqrt(3), and elements are a third of
 * the largest or so: 0.7 and 11 % of a cell; what attention makes of it is part of the logits only, and errors average. */
static void fewer_bits_change_the_logits_a_little(void **state)
{
    (void)state;
    static const double most[] = {[PV_KV_8BIT] = 0.007, [PV_KV_4BIT] = 0.11};
    pv_model *exact = load(PV_KV_F16, 0);
    const logits *wanted = run(exact);
    for (int type = PV_KV_8BIT; type <= PV_KV_4BIT; type++) {
        pv_model *model = load((pv_kv_type)type, 0);
        const double off = distance(run(model), wanted);
        print_message("%s: logits off by %.4f of their size\n", type == PV_KV_8BIT ? "8 bits" : "4 bits", off);
        assert_true(off > 0);
        assert_true(off < most[type]);
        pv_model_destroy(model);
    }
    pv_model_destroy(exact);
}

/* A token's cells depend on the token alone, so the size of steps changes no bit. */
static void chunks_of_a_prompt_change_nothing(void **state)
{
    (void)state;
    for (int type = PV_KV_8BIT; type <= PV_KV_4BIT; type++) {
        pv_model *whole = load((pv_kv_type)type, 512), *pieces = load((pv_kv_type)type, 32);
        const logits *wanted = run(whole), *found = run(pieces);
        assert_memory_equal(found->of, wanted->of, sizeof found->of);
        pv_model_destroy(whole);
        pv_model_destroy(pieces);
    }
}

static uint64_t kv_bytes(pv_kv_type type)
{
    pv_model *model = load(type, 0);
    pv_model_info info;
    assert_int_equal(pv_model_get_info(model, &info, NULL), PV_OK);
    const uint64_t tokens = info.budget.kv / (2ull * info.layers * info.kv_heads), head = info.head_dim;
    const uint64_t bytes = type == PV_KV_F16 ? 2 * head : head / (type == PV_KV_8BIT ? 1 : 2) + 2 * ((head + 31) / 32);
    assert_int_equal(tokens % bytes, 0); /* whole cells and nothing else */
    const uint64_t kv = info.budget.kv;
    pv_model_destroy(model);
    return kv;
}

static void the_budget_counts_what_cells_take(void **state)
{
    (void)state;
    const uint64_t f16 = kv_bytes(PV_KV_F16), eight = kv_bytes(PV_KV_8BIT), four = kv_bytes(PV_KV_4BIT);
    assert_true(eight < f16 * 6 / 10);
    assert_true(four < eight * 7 / 10);
}

static void other_types_are_refused(void **state)
{
    (void)state;
    pv_model *model = NULL;
    pv_error error = {0};
    const pv_model_options options = {.device = "cpu", .kv_type = (pv_kv_type)3};
    assert_int_equal(pv_model_load(runtime, tiny_path("F16"), &options, &model, &error), PV_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "kv_type is 3"));
}

static int set_up(void **state)
{
    (void)state;
    return pv_runtime_create(NULL, &runtime, NULL) == PV_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    pv_runtime_destroy(runtime);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fewer_bits_change_the_logits_a_little),
        cmocka_unit_test(chunks_of_a_prompt_change_nothing),
        cmocka_unit_test(the_budget_counts_what_cells_take),
        cmocka_unit_test(other_types_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
