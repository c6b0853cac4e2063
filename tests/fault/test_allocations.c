/* Every allocation of loading and generating fails once, and then all from it on: an error or the right text, and nothing left behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/tiny.h"

static const char prompt_text[] = "The quick brown fox jumps over the lazy dog.";

static pv_status collect(pv_engine *engine, tiny_result *result, pv_error *error)
{
    size_t active = 1;
    for (int i = 0; i < 200 && active > 0; i++) {
        pv_status status = pv_engine_step(engine, 0, &active, error);
        tiny_take_events(engine, NULL);
        if (status != PV_OK) return status;
    }
    return result->finished ? result->error : PV_INTERNAL;
}

static pv_status generate(pv_model *model, tiny_result *result, pv_error *error)
{
    static const char *const stops[] = {"never to be found"};
    static const pv_token_bias bias = {7, 0.5f};
    int32_t tokens[128];
    size_t count = 0;
    pv_engine *engine = NULL;
    pv_status status = pv_tokenize(model, prompt_text, strlen(prompt_text), 0, tokens, 128, &count, error);
    if (status == PV_OK) status = pv_engine_create(model, NULL, &engine, error);
    if (status != PV_OK) return status;
    pv_request request = {.prompt = tokens, .prompt_length = count, .max_tokens = 5, .ignore_end = true, .user = result,
                          .sampling = {.temperature = 0.9f, .seed = 3, .bias = &bias, .bias_count = 1}, .stop = stops, .stop_count = 1};
    status = pv_engine_submit(engine, &request, NULL, error);
    if (status == PV_OK) status = collect(engine, result, error);
    pv_engine_destroy(engine);
    return status;
}

/* Everything from nothing to a text. */
static pv_status live(const char *path, pv_load load, pv_allocator allocator, tiny_result *result, pv_error *error)
{
    pv_runtime *runtime = NULL;
    pv_model *model = NULL;
    pv_runtime_options options = {.allocator = allocator, .threads = 2};
    pv_model_options model_options = {.load = load, .context = 128, .max_sequences = 2, .max_step_rows = 32};
    memset(result, 0, sizeof *result);
    pv_status status = pv_runtime_create(&options, &runtime, error);
    if (status == PV_OK) status = pv_model_load(runtime, path, &model_options, &model, error);
    if (status == PV_OK) status = generate(model, result, error);
    pv_model_destroy(model);
    pv_runtime_destroy(runtime);
    return status;
}

static void check(const char *path, pv_load load, bool for_ever)
{
    static tiny_result wanted, found;
    tiny_allocator allocator = {0};
    pv_error error = {0};
    assert_int_equal(live(path, load, tiny_allocator_get(&allocator), &wanted, &error), PV_OK);
    assert_int_equal(allocator.live, 0);
    assert_int_equal(wanted.count, 5);
    uint64_t calls = allocator.calls, failed = 0;
    assert_true(calls > 50);
    for (uint64_t n = 1; n <= calls; n++) {
        tiny_allocator failing = {.fail_at = n, .for_ever = for_ever};
        memset(&error, 0, sizeof error);
        pv_status status = live(path, load, tiny_allocator_get(&failing), &found, &error);
        if (failing.live != 0) fail_msg("allocation %llu: %llu blocks are left", (unsigned long long)n, (unsigned long long)failing.live);
        if (status == PV_OK) {
            tiny_assert_same(&found, &wanted); /* a fault that was recovered */
        } else {
            failed++;
            bool memory = status == PV_OUT_OF_MEMORY || status == PV_DEVICE_OUT_OF_MEMORY;
            if (!memory) fail_msg("allocation %llu: %s: %s", (unsigned long long)n, pv_status_name(status), error.message);
        }
    }
    assert_true(failed > calls / 2);
}

static void one_allocation_fails_gguf(void **state)
{
    (void)state;
    check(tiny_path("Q4_0"), PV_LOAD_MAP, false);
}

static void all_allocations_fail_from_one_on_gguf(void **state)
{
    (void)state;
    check(tiny_path("Q4_0"), PV_LOAD_MAP, true);
}

static void one_allocation_fails_when_files_are_read(void **state)
{
    (void)state;
    check(tiny_path("F16"), PV_LOAD_COPY, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_allocation_fails_gguf),
        cmocka_unit_test(all_allocations_fail_from_one_on_gguf),
        cmocka_unit_test(one_allocation_fails_when_files_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
