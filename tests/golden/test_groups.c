/* Models whose layers keep different things (all keys, those of a window, inputs of convolutions) under random schedules: prefixes are
 * shared, pages run out, windows give theirs back. Each request gets what it gets alone, and no page of any group is lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/engine.h"
#include "support/tiny.h"
#include "support_llama.h"

#define KINDS 8
#define LIVES 12 /* requests of a schedule, at most */
#define SCHEDULES 30

typedef struct fixture {
    pv_model *model;
    int32_t prompts[KINDS][160];
    pv_request kinds[KINDS];
    tiny_result alone[KINDS], found[LIVES];
    int kind_of[LIVES];
    bool cancelled[LIVES];
    uint64_t reused, starved;
} fixture;

static fixture f;

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 9;
}

/* Half of the prompts begin alike for two pages, the others for one. */
static void make_kinds(const golden_case *c)
{
    static const uint32_t lengths[KINDS] = {1, 33, 64, 65, 97, 110, 130, 150};
    for (int k = 0; k < KINDS; k++) {
        for (int i = 0; i < 160; i++) f.prompts[k][i] = (i < (k % 2 ? 64 : 32) ? i * 5 + 1 : i * 3 + k) % (int)c->vocabulary;
        f.kinds[k] = (pv_request){.prompt = f.prompts[k], .prompt_length = lengths[k], .max_tokens = (uint32_t)(1 + 7 * (k % 5)), .ignore_end = true,
                                  .sampling = {.temperature = k % 3 ? 0.9f : 0, .seed = (uint64_t)k}};
        tiny_run_alone(f.model, &f.kinds[k], &f.alone[k]);
        assert_int_equal(f.alone[k].count, f.kinds[k].max_tokens);
    }
}

static pv_engine *random_engine(uint32_t *random)
{
    pv_engine *engine = NULL;
    pv_error error = {0};
    const pv_engine_options options = {
        .max_sequences = 1 + next_random(random) % 4,
        .pages = 6 + next_random(random) % 4, /* the longest request needs six */
        .steps_ahead = 1 + next_random(random) % 2,
        .max_step_rows = 32,
        .no_prefix_reuse = next_random(random) % 5 == 0,
    };
    if (pv_engine_create(f.model, &options, &engine, &error) != PV_OK) fail_msg("%s", error.message);
    return engine;
}

static void check_lives(const pv_engine *engine, int lives)
{
    for (int i = 0; i < lives; i++) {
        const tiny_result *found = &f.found[i], *alone = &f.alone[f.kind_of[i]];
        assert_true(found->finished);
        f.reused += found->reused;
        if (f.cancelled[i] && found->finish == PV_FINISH_CANCELLED) {
            assert_true(found->count <= alone->count);
            assert_memory_equal(found->tokens, alone->tokens, found->count * sizeof found->tokens[0]);
        } else {
            tiny_assert_same(found, alone);
        }
    }
    for (uint32_t g = 0; g < engine->group_count; g++)
        assert_int_equal(pv_pages_free(engine->pages[g]) + pv_pages_cached(engine->pages[g]), pv_pages_total(engine->pages[g]));
}

static void one_schedule(uint32_t random)
{
    pv_request_id ids[LIVES];
    pv_error error = {0};
    int lives = 0, most = 2 + (int)(next_random(&random) % (LIVES - 1));
    pv_engine *engine = random_engine(&random);
    memset(f.found, 0, sizeof f.found);
    memset(f.cancelled, 0, sizeof f.cancelled);
    while (lives < most) {
        const uint32_t choice = next_random(&random) % 8;
        if (choice < 3) {
            f.kind_of[lives] = (int)(next_random(&random) % KINDS);
            pv_request request = f.kinds[f.kind_of[lives]];
            request.user = &f.found[lives];
            if (pv_engine_submit(engine, &request, &ids[lives], &error) != PV_OK) fail_msg("%s", error.message);
            lives++;
        } else if (choice == 3 && lives > 0 && next_random(&random) % 2 == 0) {
            const uint32_t victim = next_random(&random) % (uint32_t)lives;
            f.cancelled[victim] = true;
            pv_engine_cancel(engine, ids[victim]);
        } else {
            pv_engine_stats stats;
            assert_int_equal(pv_engine_step(engine, 0, NULL, NULL), PV_OK);
            tiny_take_events(engine, NULL);
            pv_engine_get_stats(engine, &stats);
            f.starved += stats.waiting > 0 && stats.running < engine->max_sequences;
        }
    }
    tiny_run(engine, 5000, NULL);
    check_lives(engine, lives);
    pv_engine_destroy(engine);
}

static void random_schedules(void **state)
{
    char folder[GOLDEN_PATH], path[GOLDEN_PATH];
    golden_case c;
    pv_error error = {0};
    pv_runtime *runtime;
    const pv_runtime_options runtime_options = {.threads = 1};
    const pv_model_options options = {.context = 256, .max_sequences = 4, .max_step_rows = 32, .kv_bytes = 64u << 20};
    golden_open(&c, "models", *state);
    golden_make_folder(folder);
    golden_write_listed(&c, &(golden_file){.layout = "F32"}, folder, path);
    if (pv_runtime_create(&runtime_options, &runtime, &error) != PV_OK) fail_msg("%s", error.message);
    if (pv_model_load(runtime, path, &options, &f.model, &error) != PV_OK) fail_msg("%s", error.message);
    make_kinds(&c);
    f.reused = f.starved = 0;
    for (uint32_t seed = 1; seed <= SCHEDULES; seed++) one_schedule(seed * 2654435761u);
    printf("# %llu tokens reused, %llu steps with too few pages\n", (unsigned long long)f.reused, (unsigned long long)f.starved);
    assert_true(f.reused >= SCHEDULES);
    assert_true(f.starved >= SCHEDULES);
    pv_model_destroy(f.model);
    pv_runtime_destroy(runtime);
    golden_remove_folder(folder);
    golden_close(&c);
}

int main(void)
{
    static char *const names[] = {"mistral_window", "gemma2", "lfm2", "gpt_oss"};
    struct CMUnitTest tests[4];
    for (size_t i = 0; i < 4; i++) tests[i] = (struct CMUnitTest){names[i], random_schedules, NULL, NULL, names[i]};
    return _cmocka_run_group_tests("groups", tests, 4, NULL, NULL);
}
