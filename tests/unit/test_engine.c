/* The engine on a tiny model: what a sequence gets does not depend on what else runs, on chunks, pages, or threads. */
#include <setjmp.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/engine.h"
#include "support/tiny.h"

#define REQUESTS 24

typedef struct fixture {
    pv_runtime *runtime;
    pv_model *model;
} fixture;

static void open_model(fixture *f, const char *layout, uint32_t threads, const pv_model_options *options)
{
    pv_error error = {0};
    pv_runtime_options runtime = {.threads = threads};
    if (pv_runtime_create(&runtime, &f->runtime, &error) != PV_OK) fail_msg("%s", error.message);
    if (pv_model_load(f->runtime, tiny_path(layout), options, &f->model, &error) != PV_OK) fail_msg("%s", error.message);
}

static void close_model(fixture *f)
{
    pv_model_destroy(f->model);
    pv_runtime_destroy(f->runtime);
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* Requests of many kinds: lengths around pages and spans, shared beginnings, every sampling setting. */
typedef struct mix {
    int32_t prompts[REQUESTS][320];
    pv_token_bias biases[REQUESTS][2];
    const char *stops[1];
    pv_request requests[REQUESTS];
    tiny_result alone[REQUESTS];
} mix;

static void make_mix(mix *m, uint32_t seed)
{
    static const uint32_t lengths[] = {1, 2, 31, 32, 33, 64, 65, 100, 200, 257, 300};
    uint32_t random = seed;
    m->stops[0] = "zz";
    for (size_t i = 0; i < REQUESTS; i++) {
        uint32_t length = lengths[next_random(&random) % 11];
        bool shared = i % 3 == 0; /* a third begins alike */
        for (uint32_t j = 0; j < length; j++)
            m->prompts[i][j] = (int32_t)(shared && j < 96 ? (j * 7 + 3) % TINY_VOCABULARY : next_random(&random) % TINY_VOCABULARY);
        m->biases[i][0] = (pv_token_bias){5, 3.5f};
        m->biases[i][1] = (pv_token_bias){9, -INFINITY};
        m->requests[i] = (pv_request){
            .prompt = m->prompts[i], .prompt_length = length, .max_tokens = 1 + next_random(&random) % 40, .ignore_end = i % 4 != 1,
            .sampling = {.temperature = i % 5 == 0 ? 0 : 0.5f + (float)(i % 3), .top_k = i % 4 == 2 ? 20 : 0, .top_p = i % 2 ? 0.9f : 0,
                         .min_p = i % 6 == 3 ? 0.05f : 0, .repetition_penalty = i % 3 == 1 ? 1.3f : 0, .frequency_penalty = i % 7 == 2 ? 0.4f : 0,
                         .presence_penalty = i % 7 == 3 ? 0.3f : 0, .penalty_last = i % 2 ? 10 : 0, .seed = 1000 + i,
                         .bias = i % 8 == 4 ? m->biases[i] : NULL, .bias_count = i % 8 == 4 ? 2 : 0},
            .stop = m->stops, .stop_count = i % 2, .top_logprobs = i % 5,
        };
    }
}

static void run_alone(mix *m, pv_model *model)
{
    for (size_t i = 0; i < REQUESTS; i++) tiny_run_alone(model, &m->requests[i], &m->alone[i]);
}

static void run_together(mix *m, pv_model *model, const pv_engine_options *options)
{
    static tiny_result found[REQUESTS];
    pv_engine *engine = NULL;
    pv_error error = {0};
    memset(found, 0, sizeof found);
    if (pv_engine_create(model, options, &engine, &error) != PV_OK) fail_msg("%s", error.message);
    for (size_t i = 0; i < REQUESTS; i++) {
        pv_request request = m->requests[i];
        request.user = &found[i];
        if (pv_engine_submit(engine, &request, NULL, &error) != PV_OK) fail_msg("%s", error.message);
        if (i % 5 == 4) tiny_run(engine, 3000, NULL); /* some come while others run, some after all have ended */
        pv_engine_step(engine, 0, NULL, NULL);
        tiny_take_events(engine, NULL);
    }
    tiny_run(engine, 20000, NULL);
    for (size_t i = 0; i < REQUESTS; i++) tiny_assert_same(&found[i], &m->alone[i]);
    pv_engine_stats stats;
    pv_engine_get_stats(engine, &stats);
    assert_int_equal(stats.pages_free + stats.pages_cached, stats.pages);
    assert_int_equal(stats.running + stats.waiting, 0);
    pv_engine_destroy(engine);
}

/* One mix, run alone once on one thread, then in many ways: each way gives the same ids and text. */
static void check_batching(const char *layout, uint32_t seed)
{
    static mix m;
    static const struct {
        uint32_t threads, max_sequences, step_rows, pages, ahead;
        bool no_reuse;
    } ways[] = {
        {1, 8, 512, 0, 1, true}, {2, 8, 512, 0, 1, false}, {3, 8, 32, 0, 1, false}, {2, 3, 64, 0, 2, false},
        {1, 8, 128, 14, 1, false}, {2, 8, 512, 12, 2, false}, {2, 1, 512, 0, 2, true},
    };
    fixture f;
    make_mix(&m, seed);
    open_model(&f, layout, 1, NULL);
    run_alone(&m, f.model);
    close_model(&f);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        open_model(&f, layout, ways[i].threads, &(pv_model_options){.max_step_rows = ways[i].step_rows});
        pv_engine_options options = {.max_sequences = ways[i].max_sequences, .pages = ways[i].pages, .steps_ahead = ways[i].ahead,
                                     .no_prefix_reuse = ways[i].no_reuse};
        run_together(&m, f.model, &options);
        close_model(&f);
    }
}

static void a_batch_gives_each_request_what_it_gets_alone_f32(void **state)
{
    (void)state;
    check_batching("F32", 1);
}

static void a_batch_gives_each_request_what_it_gets_alone_q8_0(void **state)
{
    (void)state;
    check_batching("Q8_0", 2);
}

static void a_batch_gives_each_request_what_it_gets_alone_q4_0(void **state)
{
    (void)state;
    check_batching("Q4_0", 3);
}

static void a_prompt_seen_before_is_not_computed_again(void **state)
{
    (void)state;
    fixture f;
    pv_engine *engine = NULL;
    static tiny_result first, second;
    int32_t prompt[200];
    memset(&first, 0, sizeof first), memset(&second, 0, sizeof second);
    for (int i = 0; i < 200; i++) prompt[i] = i;
    open_model(&f, "F16", 2, NULL);
    assert_int_equal(pv_engine_create(f.model, NULL, &engine, NULL), PV_OK);
    pv_request request = {.prompt = prompt, .prompt_length = 200, .max_tokens = 8, .ignore_end = true, .user = &first};
    assert_int_equal(pv_engine_submit(engine, &request, NULL, NULL), PV_OK);
    tiny_run(engine, 100, NULL);
    pv_engine_stats before, after;
    pv_engine_get_stats(engine, &before);
    request.user = &second;
    assert_int_equal(pv_engine_submit(engine, &request, NULL, NULL), PV_OK);
    tiny_run(engine, 100, NULL);
    pv_engine_get_stats(engine, &after);
    assert_int_equal(first.reused, 0);
    assert_int_equal(second.reused, 192); /* six pages of 32 */
    assert_int_equal(after.rows - before.rows, 200 - 192 + 7);
    tiny_assert_same(&second, &first);
    pv_engine_destroy(engine);
    close_model(&f);
}

static void wrong_requests_are_refused_by_name(void **state)
{
    (void)state;
    fixture f;
    pv_engine *engine = NULL;
    int32_t prompt[600] = {1, 2, 3};
    const char *const empty[] = {""};
    pv_token_bias bias = {TINY_VOCABULARY, 0};
    open_model(&f, "F32", 1, NULL);
    assert_int_equal(pv_engine_create(f.model, NULL, &engine, NULL), PV_OK);
    const struct {
        pv_request request;
        pv_status status;
        const char *says;
    } cases[] = {
        {{.prompt = prompt}, PV_INVALID_ARGUMENT, "empty"},
        {{.prompt = prompt, .prompt_length = 512}, PV_CONTEXT_FULL, "512"},
        {{.prompt = prompt, .prompt_length = 3, .sampling = {.temperature = -1}}, PV_INVALID_ARGUMENT, "temperature"},
        {{.prompt = prompt, .prompt_length = 3, .sampling = {.temperature = NAN}}, PV_INVALID_ARGUMENT, "temperature"},
        {{.prompt = prompt, .prompt_length = 3, .sampling = {.top_p = 1.5f}}, PV_INVALID_ARGUMENT, "top_p"},
        {{.prompt = prompt, .prompt_length = 3, .sampling = {.bias = &bias, .bias_count = 1}}, PV_INVALID_ARGUMENT, "288"},
        {{.prompt = prompt, .prompt_length = 3, .stop = empty, .stop_count = 1}, PV_INVALID_ARGUMENT, "stop"},
        {{.prompt = prompt, .prompt_length = 3, .top_logprobs = 21}, PV_INVALID_ARGUMENT, "top_logprobs"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pv_error error = {0};
        assert_int_equal(pv_engine_submit(engine, &cases[i].request, NULL, &error), cases[i].status);
        assert_int_equal(error.status, cases[i].status);
        if (strstr(error.message, cases[i].says) == NULL) fail_msg("'%s' does not say '%s'", error.message, cases[i].says);
    }
    prompt[1] = -5;
    assert_int_equal(pv_engine_submit(engine, &(pv_request){.prompt = prompt, .prompt_length = 3}, NULL, NULL), PV_INVALID_ARGUMENT);
    pv_engine *twin = NULL;
    assert_int_equal(pv_engine_create(f.model, NULL, &twin, NULL), PV_BUSY);
    pv_engine_destroy(engine);
    close_model(&f);
}

typedef struct seen_logits {
    uint32_t calls, last;
    float first_row[TINY_VOCABULARY];
    int32_t force;
} seen_logits;

static int32_t look(void *user, const float *logits, size_t vocabulary, uint32_t position)
{
    seen_logits *seen = *(seen_logits **)user;
    assert_int_equal(vocabulary, TINY_VOCABULARY);
    if (seen->calls++ == 0) memcpy(seen->first_row, logits, sizeof seen->first_row);
    seen->last = position;
    return seen->force;
}

static void callbacks_see_logits_and_may_choose(void **state)
{
    (void)state;
    fixture f;
    pv_engine *engine = NULL;
    int32_t prompt[70];
    seen_logits seen = {.force = 77};
    /* the callback's user is the event's user too: what it needs stands first */
    static struct {
        seen_logits *seen;
        uint32_t tokens;
        int32_t last;
    } user;
    user.seen = &seen;
    for (int i = 0; i < 70; i++) prompt[i] = 3 * i;
    open_model(&f, "F32", 2, NULL);
    assert_int_equal(pv_engine_create(f.model, NULL, &engine, NULL), PV_OK);
    pv_request request = {.prompt = prompt, .prompt_length = 70, .max_tokens = 5, .ignore_end = true, .on_logits = look, .every_position = true, .user = &user};
    assert_int_equal(pv_engine_submit(engine, &request, NULL, NULL), PV_OK);
    size_t active = 1;
    for (int i = 0; active > 0; i++) {
        assert_true(i < 100);
        assert_int_equal(pv_engine_step(engine, 0, &active, NULL), PV_OK);
        pv_event event;
        while (pv_engine_next_event(engine, &event)) {
            if (event.kind != PV_EVENT_TOKEN) continue;
            assert_int_equal(event.token, 77);
            user.tokens++;
        }
    }
    assert_int_equal(user.tokens, 5);
    assert_int_equal(seen.calls, 70 + 4);
    assert_int_equal(seen.last, 73);
    pv_engine_destroy(engine);
    close_model(&f);
}

static void logprobs_are_a_distribution(void **state)
{
    (void)state;
    fixture f;
    pv_engine *engine = NULL;
    static tiny_result result;
    memset(&result, 0, sizeof result);
    int32_t prompt[4] = {1, 2, 3, 4};
    open_model(&f, "F32", 1, NULL);
    assert_int_equal(pv_engine_create(f.model, NULL, &engine, NULL), PV_OK);
    pv_request request = {.prompt = prompt, .prompt_length = 4, .max_tokens = 6, .ignore_end = true, .top_logprobs = 20, .user = &result};
    assert_int_equal(pv_engine_submit(engine, &request, NULL, NULL), PV_OK);
    size_t active = 1, tokens = 0;
    while (active > 0) {
        assert_int_equal(pv_engine_step(engine, 0, &active, NULL), PV_OK);
        pv_event event;
        while (pv_engine_next_event(engine, &event)) {
            if (event.kind != PV_EVENT_TOKEN) continue;
            tokens++;
            assert_int_equal(event.top_count, 20);
            assert_int_equal(event.top[0].token, event.token); /* greedy takes the most likely */
            assert_true(event.top[0].logprob == event.logprob);
            double sum = 0;
            for (uint32_t i = 0; i < 20; i++) {
                if (i > 0) assert_true(event.top[i].logprob <= event.top[i - 1].logprob);
                sum += exp(event.top[i].logprob);
            }
            assert_true(sum > 0.01 && sum <= 1 + 1e-5);
        }
    }
    assert_int_equal(tokens, 6);
    pv_engine_destroy(engine);
    close_model(&f);
}

static void a_session_goes_on_where_it_stopped(void **state)
{
    (void)state;
    fixture f;
    pv_session *session = NULL;
    pv_answer answer;
    int32_t prompt[150];
    for (int i = 0; i < 150; i++) prompt[i] = (5 * i) % TINY_VOCABULARY;
    open_model(&f, "F16", 2, NULL);
    assert_int_equal(pv_session_create(f.model, &session, NULL), PV_OK);
    pv_request request = {.prompt = prompt, .prompt_length = 100, .max_tokens = 4, .ignore_end = true};
    assert_int_equal(pv_session_generate(session, &request, NULL, NULL, &answer, NULL), PV_OK);
    assert_int_equal(answer.generated_tokens, 4);
    assert_int_equal(answer.finish, PV_FINISH_LENGTH);
    request.prompt_length = 150;
    assert_int_equal(pv_session_generate(session, &request, NULL, NULL, &answer, NULL), PV_OK);
    assert_int_equal(answer.reused_tokens, 96);
    request.prompt_length = 600;
    pv_error error;
    assert_int_equal(pv_session_generate(session, &request, NULL, NULL, &answer, &error), PV_CONTEXT_FULL);
    request.prompt_length = 20;
    assert_int_equal(pv_session_generate(session, &request, NULL, NULL, &answer, NULL), PV_OK);
    pv_session_destroy(session);
    close_model(&f);
}

typedef struct listener {
    pv_session *session;
    bool cancels; /* by pv_session_cancel, else by returning false */
    uint32_t heard, stop_after;
    int32_t tokens[64];
} listener;

static PV_BOOL listen(void *user, const char *text, size_t length, int32_t token)
{
    listener *l = user;
    assert_non_null(text);
    (void)length;
    if (token < 0) return true; /* text that was left at the end */
    l->tokens[l->heard++] = token;
    if (l->heard != l->stop_after) return true;
    if (l->cancels) pv_session_cancel(l->session);
    return l->cancels;
}

static void a_cancelled_answer_is_no_error_and_the_session_goes_on(void **state)
{
    (void)state;
    fixture f;
    pv_session *session = NULL;
    pv_answer answer;
    int32_t prompt[40];
    for (int i = 0; i < 40; i++) prompt[i] = (11 * i) % TINY_VOCABULARY;
    open_model(&f, "F16", 1, NULL);
    assert_int_equal(pv_session_create(f.model, &session, NULL), PV_OK);
    const pv_request request = {.prompt = prompt, .prompt_length = 40, .max_tokens = 20, .ignore_end = true};
    listener whole = {.session = session};
    assert_int_equal(pv_session_generate(session, &request, listen, &whole, &answer, NULL), PV_OK);
    assert_int_equal(answer.finish, PV_FINISH_LENGTH);
    assert_int_equal(whole.heard, 20);
    for (int way = 0; way < 2; way++) {
        listener cut = {.session = session, .cancels = way == 1, .stop_after = 3};
        assert_int_equal(pv_session_generate(session, &request, listen, &cut, &answer, NULL), PV_OK);
        assert_int_equal(answer.finish, PV_FINISH_CANCELLED);
        assert_in_range(answer.generated_tokens, 3, 5); /* steps that were under way */
        assert_memory_equal(cut.tokens, whole.tokens, 3 * sizeof *cut.tokens);
        pv_session_cancel(session); /* nothing runs: the next answer is whole */
        listener again = {.session = session};
        assert_int_equal(pv_session_generate(session, &request, listen, &again, &answer, NULL), PV_OK);
        assert_int_equal(answer.finish, PV_FINISH_LENGTH);
        assert_int_equal(again.heard, 20);
        assert_memory_equal(again.tokens, whole.tokens, sizeof whole.tokens);
    }
    pv_session_destroy(session);
    close_model(&f);
}

static void the_context_ends_an_answer(void **state)
{
    (void)state;
    fixture f;
    static tiny_result result;
    int32_t prompt[40] = {0};
    open_model(&f, "F32", 1, &(pv_model_options){.context = 64});
    pv_request request = {.prompt = prompt, .prompt_length = 40, .ignore_end = true};
    tiny_run_alone(f.model, &request, &result);
    assert_int_equal(result.count, 24);
    assert_int_equal(result.finish, PV_FINISH_LENGTH);
    close_model(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_gives_each_request_what_it_gets_alone_f32),
        cmocka_unit_test(a_batch_gives_each_request_what_it_gets_alone_q8_0),
        cmocka_unit_test(a_batch_gives_each_request_what_it_gets_alone_q4_0),
        cmocka_unit_test(a_prompt_seen_before_is_not_computed_again),
        cmocka_unit_test(wrong_requests_are_refused_by_name),
        cmocka_unit_test(callbacks_see_logits_and_may_choose),
        cmocka_unit_test(logprobs_are_a_distribution),
        cmocka_unit_test(a_session_goes_on_where_it_stopped),
        cmocka_unit_test(a_cancelled_answer_is_no_error_and_the_session_goes_on),
        cmocka_unit_test(the_context_ends_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
