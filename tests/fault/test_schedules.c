/* A thousand random schedules: requests come, are cancelled, share prefixes and run out of pages, from one thread and from several. Each
 * gets what it gets alone, or the beginning of it; no page is lost. Sanitizers run all of it too, so the prompts are short. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/engine.h"
#include "support/tiny.h"

#define KINDS 12
#define LIVES 24 /* requests of a schedule, at most */
#define SCHEDULES 1000

typedef struct fixture {
    pv_runtime *runtime;
    pv_model *model;
    int32_t prompts[KINDS][160];
    pv_request kinds[KINDS];
    tiny_result alone[KINDS];
    tiny_result found[LIVES];
    int kind_of[LIVES];
    pv_request_id ids[LIVES];
    bool cancelled[LIVES];
    /* Over all schedules: steps after which a request waits though there is room for its sequence, tokens taken from shared pages,
     * requests that were cancelled before their end. */
    uint64_t starved, reused, cut;
} fixture;

static fixture f;

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 9;
}

static int set_up(void **state)
{
    (void)state;
    pv_error error = {0};
    pv_runtime_options options = {.threads = 2};
    pv_model_options model = {.context = 256, .max_sequences = 6, .max_step_rows = 64, .kv_bytes = 512 << 10};
    static const uint32_t lengths[KINDS] = {1, 31, 32, 33, 40, 63, 64, 65, 80, 96, 97, 100};
    assert_int_equal(pv_runtime_create(&options, &f.runtime, &error), PV_OK);
    if (pv_model_load(f.runtime, tiny_path("Q4_0"), &model, &f.model, &error) != PV_OK) fail_msg("%s", error.message);
    for (int k = 0; k < KINDS; k++) {
        for (int i = 0; i < 160; i++) f.prompts[k][i] = (i < 64 ? i * 5 + k % 2 : i * 3 + k) % TINY_VOCABULARY;
        f.kinds[k] = (pv_request){.prompt = f.prompts[k], .prompt_length = lengths[k], .max_tokens = (uint32_t)(1 + 5 * (k % 7)), .ignore_end = true,
                                  .sampling = {.temperature = k % 3 ? 0.9f : 0, .seed = (uint64_t)k, .repetition_penalty = k % 4 == 3 ? 1.4f : 0}};
        tiny_run_alone(f.model, &f.kinds[k], &f.alone[k]);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    pv_model_destroy(f.model);
    pv_runtime_destroy(f.runtime);
    return 0;
}

static void submit(pv_engine *engine, int life, int kind)
{
    pv_request request = f.kinds[kind];
    pv_error error = {0};
    f.kind_of[life] = kind;
    request.user = &f.found[life];
    if (pv_engine_submit(engine, &request, &f.ids[life], &error) != PV_OK) fail_msg("%s", error.message);
}

static void check_lives(const pv_engine *engine, int lives)
{
    for (int i = 0; i < lives; i++) {
        const tiny_result *found = &f.found[i], *alone = &f.alone[f.kind_of[i]];
        assert_true(found->finished);
        f.reused += found->reused;
        f.cut += found->finish == PV_FINISH_CANCELLED;
        if (f.cancelled[i] && found->finish == PV_FINISH_CANCELLED) {
            assert_true(found->count <= alone->count);
            assert_memory_equal(found->tokens, alone->tokens, found->count * sizeof found->tokens[0]);
        } else {
            tiny_assert_same(found, alone);
        }
    }
    pv_engine_stats stats;
    pv_engine_get_stats(engine, &stats);
    assert_int_equal(stats.running + stats.waiting, 0);
    assert_int_equal(stats.pages_free + stats.pages_cached, stats.pages);
    for (uint32_t slot = 1; slot <= engine->max_sequences; slot++) assert_int_equal(engine->slots[slot], 0);
}

static pv_engine *random_engine(uint32_t *random)
{
    pv_engine *engine = NULL;
    pv_error error = {0};
    pv_engine_options options = {
        .max_sequences = 1 + next_random(random) % 6,
        .pages = 5 + next_random(random) % 14, /* one long request needs five */
        .steps_ahead = 1 + next_random(random) % 2,
        .max_step_rows = 32 + next_random(random) % 33,
        .no_prefix_reuse = next_random(random) % 4 == 0,
    };
    if (pv_engine_create(f.model, &options, &engine, &error) != PV_OK) fail_msg("%s", error.message);
    return engine;
}

static void begin_lives(void)
{
    memset(f.found, 0, sizeof f.found);
    memset(f.cancelled, 0, sizeof f.cancelled);
}

static void one_schedule(uint32_t seed)
{
    uint32_t random = seed;
    int lives = 0, most = 1 + (int)(next_random(&random) % LIVES);
    pv_engine *engine = random_engine(&random);
    begin_lives();
    while (lives < most) {
        uint32_t choice = next_random(&random) % 8;
        if (choice < 3) {
            submit(engine, lives, (int)(next_random(&random) % KINDS));
            lives++;
        } else if (choice == 3 && lives > 0) {
            int victim = (int)(next_random(&random) % (uint32_t)lives);
            f.cancelled[victim] = true;
            pv_engine_cancel(engine, f.ids[victim]);
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

static void a_thousand_random_schedules(void **state)
{
    (void)state;
    f.starved = f.reused = f.cut = 0;
    for (uint32_t seed = 1; seed <= SCHEDULES; seed++) one_schedule(seed * 2654435761u);
    printf("# %llu steps with too few pages, %llu tokens reused, %llu requests cut short\n", (unsigned long long)f.starved,
           (unsigned long long)f.reused, (unsigned long long)f.cut);
    assert_true(f.starved >= SCHEDULES);
    assert_true(f.reused >= SCHEDULES);
    assert_true(f.cut >= SCHEDULES);
}

typedef struct visitor {
    pv_engine *engine;
    uint32_t random;
    int first, count; /* lives that this thread submits */
} visitor;

static void *visit(void *argument)
{
    visitor *v = argument;
    for (int i = 0; i < v->count; i++) {
        submit(v->engine, v->first + i, (int)(next_random(&v->random) % KINDS));
        if (next_random(&v->random) % 3 == 0) {
            f.cancelled[v->first + i] = true;
            pv_engine_cancel(v->engine, f.ids[v->first + i]);
        }
        if (next_random(&v->random) % 4 == 0) pv_engine_wake(v->engine);
    }
    return NULL;
}

static void threads_submit_cancel_and_wake_while_one_steps(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 40; round++) {
        uint32_t random = 77 + round;
        pv_engine *engine = random_engine(&random);
        pthread_t threads[3];
        visitor visitors[3];
        begin_lives();
        for (int t = 0; t < 3; t++) {
            visitors[t] = (visitor){.engine = engine, .random = round * 3 + (uint32_t)t, .first = 8 * t, .count = 8};
            assert_int_equal(pthread_create(&threads[t], NULL, visit, &visitors[t]), 0);
        }
        int finished = 0;
        for (int step = 0; finished < LIVES; step++) {
            assert_true(step < 20000);
            assert_int_equal(pv_engine_step(engine, 1, NULL, NULL), PV_OK);
            tiny_take_events(engine, NULL);
            finished = 0;
            for (int i = 0; i < LIVES; i++) finished += f.found[i].finished;
        }
        for (int t = 0; t < 3; t++) pthread_join(threads[t], NULL);
        tiny_run(engine, 100, NULL);
        check_lives(engine, LIVES);
        pv_engine_destroy(engine);
    }
}

typedef struct sleeper {
    pv_engine *engine;
    pv_status status;
} sleeper;

static void *wait_long(void *argument)
{
    sleeper *s = argument;
    do {
        s->status = pv_engine_step(s->engine, 60000, NULL, NULL);
    } while (s->status == PV_BUSY); /* the other one may be inside just then */
    return NULL;
}

static void a_wake_ends_a_wait_and_two_callers_are_refused(void **state)
{
    (void)state;
    uint32_t random = 5;
    pv_engine *engine = random_engine(&random);
    sleeper s = {.engine = engine, .status = PV_INTERNAL};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wait_long, &s), 0);
    while (pv_engine_step(engine, 0, NULL, NULL) != PV_BUSY) sched_yield();
    pv_engine_wake(engine);
    pthread_join(thread, NULL);
    assert_int_equal(s.status, PV_OK);
    pv_engine_destroy(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thousand_random_schedules),
        cmocka_unit_test(threads_submit_cancel_and_wake_while_one_steps),
        cmocka_unit_test(a_wake_ends_a_wait_and_two_callers_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
