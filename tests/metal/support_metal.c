#include "support_metal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define PROMPT 70
#define ANSWER 12

void metal_reset(void)
{
    const softmetal_world world = {.keep_open = true};
    softmetal_reset();
    softmetal_set_world(&world);
}

static pv_status open_all(metal_bench *bench, const metal_setting *setting, pv_error *error)
{
    const pv_backend *backends[] = {setting->backend != NULL ? setting->backend : &pv_metal_backend, &pv_cpu_backend};
    const pv_runtime_options options = {.allocator = tiny_allocator_get(&bench->memory),
                                        .threads = 2,
                                        .metal_library = test_metal_library(),
                                        .cache = setting->cache,
                                        .validate = setting->validate};
    const pv_model_options model = {
        .device = setting->cpu ? "cpu" : "metal", .plain_programs = setting->plain, .max_sequences = METAL_REQUESTS, .max_step_rows = 32, .context = 128, .kv_bytes = 1 << 20};
    const pv_engine_options engine = {
        .steps_ahead = setting->ahead > 0 ? setting->ahead : 1, .step_timeout_ms = 60000, .no_prefix_reuse = !setting->reuse};
    pv_status status = pv_runtime_create_with(&options, backends, setting->spare || setting->cpu ? 2 : 1, &bench->runtime, error);
    if (status == PV_OK)
        status = pv_model_load(bench->runtime, tiny_path(setting->layout != NULL ? setting->layout : "Q8_0"), &model,
                               &bench->model, error);
    if (status == PV_OK) status = pv_engine_create(bench->model, &engine, &bench->engine, error);
    return status;
}

pv_status metal_open(metal_bench *bench, const metal_setting *setting, pv_error *error)
{
    *bench = (metal_bench){0};
    assert_non_null(test_metal_library()); /* PENSIEVE_METAL */
    const pv_status status = open_all(bench, setting, error);
    if (status != PV_OK) metal_close(bench);
    return status;
}

void metal_close(metal_bench *bench)
{
    pv_engine_destroy(bench->engine);
    pv_model_destroy(bench->model);
    pv_runtime_destroy(bench->runtime);
    bench->engine = NULL;
    bench->model = NULL;
    bench->runtime = NULL;
    assert_int_equal(bench->memory.live, 0);
}

void metal_submit_after(metal_bench *bench, const tiny_result begun[METAL_REQUESTS])
{
    static int32_t prompts[METAL_REQUESTS][PROMPT + ANSWER];
    memset(bench->found, 0, sizeof bench->found);
    bench->faults = 0;
    for (int r = 0; r < METAL_REQUESTS; r++) {
        const size_t given = r == 0 ? PROMPT : 20, made = begun != NULL ? begun[r].count : 0;
        for (size_t i = 0; i < given; i++) prompts[r][i] = (int32_t)((size_t)r * 31 + i * 7) % TINY_VOCABULARY;
        if (made > 0) memcpy(prompts[r] + given, begun[r].tokens, made * sizeof prompts[0][0]);
        if (made == ANSWER) continue; /* there is nothing left of it to run */
        const pv_request request = {
            .prompt = prompts[r],
            .prompt_length = given + made,
            .max_tokens = (uint32_t)(ANSWER - made),
            .ignore_end = true,
            .user = &bench->found[r],
            .sampling = {.temperature = r == 0 ? 0.0f : 0.8f, .seed = 40, .repetition_penalty = r == 0 ? 0.0f : 1.2f},
        };
        assert_int_equal(pv_engine_submit(bench->engine, &request, NULL, NULL), PV_OK);
    }
}

void metal_submit(metal_bench *bench)
{
    metal_submit_after(bench, NULL);
}

void metal_run(metal_bench *bench)
{
    tiny_run(bench->engine, 500, &bench->faults);
}

bool metal_same(const metal_bench *bench, const tiny_result wanted[METAL_REQUESTS])
{
    for (int r = 0; r < METAL_REQUESTS; r++) {
        const tiny_result *found = &bench->found[r], *want = &wanted[r];
        if (!found->finished || found->finish != want->finish || found->count != want->count ||
            memcmp(found->tokens, want->tokens, want->count * sizeof want->tokens[0]) != 0 ||
            found->text_length != want->text_length || memcmp(found->text, want->text, want->text_length) != 0)
            return false;
    }
    return true;
}

void metal_assert_no_reports(void)
{
    softmetal_report report;
    for (size_t i = 0; softmetal_get_report(i, &report); i++)
        print_message("%s: %s\n", softmetal_report_name(report.kind), report.message);
    assert_int_equal(softmetal_report_count(), 0);
}

void metal_assert_no_leaks(void)
{
    softmetal_counts counts;
    for (int i = 0; i < 1000; i++) {
        softmetal_get_counts(&counts);
        if (counts.live_objects == 0) break;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    softmetal_check_leaks();
    metal_assert_no_reports();
    softmetal_get_counts(&counts);
    assert_int_equal(counts.live_objects, 0);
    assert_int_equal(counts.live_buffer_bytes, 0);
}
