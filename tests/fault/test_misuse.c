/* What callers do wrong, late or to the extreme: it is refused or does what it says, and nothing of it outlives its handle. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/cpu/cpu.h"
#include "engine/engine.h"
#include "runtime/fault.h"
#include "support/tiny.h"

static pv_runtime *runtime;
static pv_model *model;
static tiny_allocator memory;
static int32_t prompt[100];
static tiny_result found[4];

static void open_model(const pv_model_options *options)
{
    pv_error error = {0};
    memory = (tiny_allocator){0};
    memset(found, 0, sizeof found);
    for (int i = 0; i < 100; i++) prompt[i] = i * 7 % TINY_VOCABULARY;
    pv_runtime_options runtime_options = {.allocator = tiny_allocator_get(&memory), .threads = 2};
    assert_int_equal(pv_runtime_create(&runtime_options, &runtime, &error), PV_OK);
    if (pv_model_load(runtime, tiny_path("Q4_0"), options, &model, &error) != PV_OK) fail_msg("%s", error.message);
}

static void close_model(void)
{
    pv_model_destroy(model);
    pv_runtime_destroy(runtime);
    assert_int_equal(memory.live, 0);
}

static pv_engine *open_engine(const pv_engine_options *options)
{
    pv_engine *engine = NULL;
    pv_error error = {0};
    if (pv_engine_create(model, options, &engine, &error) != PV_OK) fail_msg("%s", error.message);
    return engine;
}

static pv_request request_of(size_t length, uint32_t tokens, tiny_result *result)
{
    return (pv_request){.prompt = prompt, .prompt_length = length, .max_tokens = tokens, .ignore_end = true, .user = result};
}

static pv_request_id submit(pv_engine *engine, const pv_request *request)
{
    pv_request_id id = 0;
    pv_error error = {0};
    if (pv_engine_submit(engine, request, &id, &error) != PV_OK) fail_msg("%s", error.message);
    return id;
}

/* ---- What was submitted to the device ---- */

static void assert_device_is_idle(void)
{
    const pv_cpu_device *device = pv_cpu_of(model->placement->device);
    assert_true(device->submitted > 0);
    assert_int_equal(device->submitted, device->completed);
}

/* Two steps in flight, the older one aborted: the younger one's block and abort flag are the engine's. */
static void nothing_left_on_the_device_outlives_its_engine(void **state)
{
    (void)state;
    static tiny_result alone;
    open_model(NULL);
    pv_request third = request_of(90, 6, &found[2]);
    tiny_run_alone(model, &third, &alone);
    for (int steps_before = 1; steps_before <= 3; steps_before++) {
        memset(found, 0, sizeof found);
        pv_engine *engine = open_engine(&(pv_engine_options){.steps_ahead = 2});
        pv_request first = request_of(40, 30, &found[0]), second = request_of(20, 30, &found[1]);
        pv_request_id id = submit(engine, &first);
        for (int i = 0; i < steps_before; i++) assert_int_equal(pv_engine_step(engine, 0, NULL, NULL), PV_OK);
        assert_int_equal(engine->in_flight, 1);
        pv_engine_cancel(engine, id); /* nothing else is in flight: that step is aborted */
        submit(engine, &second);
        assert_int_equal(pv_engine_step(engine, 0, NULL, NULL), PV_OK);
        assert_device_is_idle();
        pv_engine_destroy(engine);
        engine = open_engine(NULL);
        submit(engine, &third);
        tiny_run(engine, 100, NULL);
        tiny_assert_same(&found[2], &alone);
        pv_engine_destroy(engine);
    }
    close_model();
}

static void destroying_with_work_in_flight_ends_it(void **state)
{
    (void)state;
    open_model(NULL);
    for (uint32_t ahead = 1; ahead <= 2; ahead++) {
        pv_engine *engine = open_engine(&(pv_engine_options){.steps_ahead = ahead});
        for (int i = 0; i < 20; i++) submit(engine, &(pv_request){.prompt = prompt, .prompt_length = 50, .user = &found[0]});
        assert_int_equal(pv_engine_step(engine, 0, NULL, NULL), PV_OK);
        pv_engine_destroy(engine);
        assert_device_is_idle();
    }
    close_model();
}

/* ---- Sessions and memory ---- */

typedef struct heard {
    int32_t tokens[16];
    size_t count;
} heard;

static PV_BOOL hear(void *user, const char *text, size_t length, int32_t token)
{
    (void)text;
    (void)length;
    heard *h = user;
    assert_true(h->count < 16);
    h->tokens[h->count++] = token;
    return true;
}

/* A failed request returns its error, and the session stays usable: also when a step fails with the request half-way. */
static void a_session_that_failed_answers_the_next_request_and_nothing_else(void **state)
{
    (void)state;
    pv_error error = {0};
    pv_answer answer;
    heard wanted = {0};
    size_t failed = 0;
    pv_request first = {.prompt = prompt, .prompt_length = 40, .max_tokens = 6, .ignore_end = true};
    pv_request second = {.prompt = prompt + 30, .prompt_length = 50, .max_tokens = 6, .ignore_end = true};
    for (uint64_t n = 0; n == 0 || memory.calls > n; n++) {
        pv_session *session = NULL;
        heard half = {0}, whole = {0};
        open_model(&(pv_model_options){.context = 128, .max_sequences = 2});
        assert_int_equal(pv_session_create(model, &session, &error), PV_OK);
        memory.calls = 0;
        memory.fail_at = n;
        failed += pv_session_generate(session, &first, hear, &half, &answer, &error) != PV_OK;
        memory.fail_at = 0;
        assert_int_equal(pv_session_generate(session, &second, hear, &whole, &answer, &error), PV_OK);
        if (n == 0) wanted = whole;
        assert_int_equal(whole.count, wanted.count);
        assert_memory_equal(whole.tokens, wanted.tokens, sizeof wanted.tokens);
        assert_int_equal(answer.prompt_tokens, 50);
        pv_session_destroy(session);
        close_model();
    }
    assert_true(failed > 5);
}

typedef struct nested {
    pv_session *session;
    pv_request request;
    size_t calls;
} nested;

static PV_BOOL ask_again(void *user, const char *text, size_t length, int32_t token)
{
    (void)text, (void)length, (void)token;
    nested *n = user;
    pv_answer answer;
    n->calls++;
    assert_int_equal(pv_session_generate(n->session, &n->request, NULL, NULL, &answer, NULL), PV_BUSY);
    return true;
}

static void a_session_answers_one_request_at_a_time(void **state)
{
    (void)state;
    pv_answer answer;
    nested n = {.request = {.prompt = prompt, .prompt_length = 10, .max_tokens = 4, .ignore_end = true}};
    open_model(NULL);
    assert_int_equal(pv_session_create(model, &n.session, NULL), PV_OK);
    for (int i = 0; i < 2; i++) {
        n.calls = 0;
        assert_int_equal(pv_session_generate(n.session, &n.request, ask_again, &n, &answer, NULL), PV_OK);
        assert_int_equal(answer.generated_tokens, 4);
        assert_true(n.calls >= 4);
    }
    pv_session_destroy(n.session);
    close_model();
}

static void cancelling_needs_no_memory(void **state)
{
    (void)state;
    open_model(NULL);
    pv_engine *engine = open_engine(NULL);
    pv_request_id ids[20];
    static tiny_result results[20];
    memset(results, 0, sizeof results);
    for (int i = 0; i < 20; i++) {
        pv_request request = request_of(10, 20, &results[i]);
        ids[i] = submit(engine, &request);
    }
    memory.fail_at = memory.calls + 1;
    memory.for_ever = true;
    for (int i = 0; i < 20; i++) pv_engine_cancel(engine, ids[i]);
    for (int i = 0; i < 1000; i++) pv_engine_cancel(engine, ids[0] + (pv_request_id)i); /* and what there never was */
    memory.fail_at = 0;
    memory.for_ever = false;
    size_t active = 1;
    assert_int_equal(pv_engine_step(engine, 0, &active, NULL), PV_OK);
    assert_int_equal(active, 0);
    tiny_take_events(engine, NULL);
    for (int i = 0; i < 20; i++) assert_int_equal(results[i].finish, PV_FINISH_CANCELLED);
    pv_engine_destroy(engine);
    close_model();
}

/* Whoever takes one event less than there are, for ever, does not make the queue grow for ever. */
static void a_reader_that_never_catches_up_costs_no_more_than_what_is_left(void **state)
{
    (void)state;
    open_model(NULL);
    pv_engine *engine = open_engine(NULL);
    for (int i = 0; i < 4; i++) submit(engine, &(pv_request){.prompt = prompt, .prompt_length = 1, .ignore_end = true, .top_logprobs = 5});
    size_t active = 1, events = 0, text = 0;
    while (active > 0) {
        pv_event event;
        assert_int_equal(pv_engine_step(engine, 0, &active, NULL), PV_OK);
        while (engine->events.count > 3 && pv_engine_next_event(engine, &event)) {
            if (event.kind == PV_EVENT_TOKEN) {
                assert_int_equal(event.top_count, 5);
                assert_int_equal(event.top[0].token, event.token); /* greedy */
            }
            events++;
            text += event.text_length;
        }
    }
    assert_true(events > 1000 && text > 1000);
    assert_true(engine->events.capacity <= 128);
    assert_true(engine->events.text.capacity <= 8192);
    assert_true(engine->events.top_capacity <= 512);
    pv_engine_destroy(engine);
    close_model();
}

/* ---- Settings at the ends of their ranges ---- */

static void the_largest_options_mean_what_they_say(void **state)
{
    (void)state;
    uint32_t faults = 0;
    open_model(NULL);
    pv_engine *engine = open_engine(&(pv_engine_options){.max_waiting = UINT32_MAX, .step_timeout_ms = UINT32_MAX});
    for (int i = 0; i < 40; i++) submit(engine, &(pv_request){.prompt = prompt, .prompt_length = 60, .max_tokens = 2, .user = &found[0]});
    size_t active = 1;
    pv_event event;
    while (active > 0) {
        assert_int_equal(pv_engine_step(engine, 0, &active, NULL), PV_OK);
        while (pv_engine_next_event(engine, &event)) faults += event.kind == PV_EVENT_FAULT;
    }
    assert_int_equal(faults, 0); /* no step took longer than for ever */
    pv_engine_destroy(engine);
    close_model();
}

/* Divided by less than about 1e-37 every positive logit becomes infinite, and the first of them would be taken. */
static void settings_too_small_to_divide_by_do_not_choose_the_wrong_token(void **state)
{
    (void)state;
    static const float temperatures[] = {1e-45f, 1e-38f, 1e-30f, 1e-7f};
    static tiny_result greedy, cold;
    open_model(NULL);
    pv_request request = request_of(30, 8, NULL);
    tiny_run_alone(model, &request, &greedy);
    for (size_t i = 0; i < 4; i++) {
        request.sampling = (pv_sampling){.temperature = temperatures[i], .seed = i, .top_p = 0.9f};
        tiny_run_alone(model, &request, &cold);
        tiny_assert_same(&cold, &greedy);
    }
    static const float penalties[] = {1e-45f, 1e-38f, 1e-5f, -1.0f, (float)NAN};
    pv_engine *engine = open_engine(NULL);
    pv_error error = {0};
    for (size_t i = 0; i < 5; i++) {
        request.sampling = (pv_sampling){.repetition_penalty = penalties[i]};
        assert_int_equal(pv_engine_submit(engine, &request, NULL, &error), PV_INVALID_ARGUMENT);
        assert_non_null(strstr(error.message, "repetition_penalty"));
    }
    pv_engine_destroy(engine);
    close_model();
}

static void null_handles_are_refused_or_do_nothing(void **state)
{
    (void)state;
    pv_event event;
    pv_engine_stats stats;
    pv_device_info device;
    pv_tensor_info tensor;
    const char *key, *value;
    open_model(NULL);
    pv_engine_cancel(NULL, 1);
    pv_engine_wake(NULL);
    pv_session_cancel(NULL);
    pv_engine_get_stats(NULL, &stats);
    assert_false(pv_engine_next_event(NULL, &event));
    assert_false(pv_token_ends(NULL, 0));
    assert_int_equal(pv_device_count(NULL) + pv_file_tensor_count(NULL) + pv_file_meta_count(NULL), 0);
    assert_string_equal(pv_file_format(NULL), "");
    assert_int_equal(pv_device_get_info(NULL, 0, &device, NULL), PV_INVALID_ARGUMENT);
    assert_int_equal(pv_file_tensor(NULL, 0, &tensor, NULL), PV_INVALID_ARGUMENT);
    assert_int_equal(pv_file_meta(NULL, 0, &key, &value, NULL), PV_INVALID_ARGUMENT);
    assert_int_equal(pv_model_budget(runtime, tiny_path("Q4_0"), NULL, NULL, NULL), PV_INVALID_ARGUMENT);
    close_model();
}

/* ---- Files that change while they are in use ---- */

static void copy_file(const char *from, const char *to)
{
    char bytes[4096];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_true(in != NULL && out != NULL);
    for (size_t n; (n = fread(bytes, 1, sizeof bytes, in)) > 0;) assert_int_equal(fwrite(bytes, 1, n, out), n);
    fclose(in);
    fclose(out);
}

/* Other weights than those that were loaded would give another text, and touching a mapping that was cut raises SIGBUS. */
static void a_lost_device_is_not_filled_from_a_file_that_has_changed(void **state)
{
    (void)state;
    static const struct timespec long_ago[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    pv_allocator allocator = pv_allocator_default();
    for (int change = 0; change < 2; change++) {
        char path[] = "/tmp/pensieve-changed-XXXXXX.gguf";
        int descriptor = mkstemps(path, 5);
        pv_fault_backend *wrapper = NULL;
        pv_error error = {0};
        assert_true(descriptor >= 0);
        copy_file(tiny_path("Q4_0"), path);
        memset(found, 0, sizeof found);
        assert_int_equal(pv_fault_backend_create(&allocator, &pv_cpu_backend, &wrapper, NULL), PV_OK);
        const pv_backend *backends[] = {pv_fault_backend_get(wrapper), &pv_cpu_backend};
        assert_int_equal(pv_runtime_create_with(&(pv_runtime_options){.threads = 1}, backends, 2, &runtime, &error), PV_OK);
        assert_int_equal(pv_model_load(runtime, path, NULL, &model, &error), PV_OK);
        pv_fault_backend_set(wrapper, &(pv_fault){.kind = PV_FAULT_LOST, .nth = 2, .count = 1}, 1);
        pv_engine *engine = open_engine(NULL);
        pv_request request = request_of(20, 10, &found[0]);
        submit(engine, &request);
        if (change == 0)
            assert_int_equal(ftruncate(descriptor, 1000), 0);
        else
            assert_int_equal(futimens(descriptor, long_ago), 0); /* as if written to */
        size_t active = 1;
        pv_status status = PV_OK;
        for (int i = 0; i < 20 && active > 0; i++) {
            pv_status now = pv_engine_step(engine, 0, &active, &error);
            if (now != PV_OK) status = now;
        }
        tiny_take_events(engine, NULL);
        assert_int_equal(status, PV_IO);
        assert_non_null(strstr(error.message, "was changed"));
        assert_int_equal(found[0].finish, PV_FINISH_ERROR);
        pv_engine_destroy(engine);
        assert_int_equal(pv_engine_create(model, NULL, &engine, &error), PV_DEVICE_LOST); /* it has no place any more */
        pv_model_destroy(model);
        pv_runtime_destroy(runtime);
        pv_fault_backend_destroy(wrapper);
        close(descriptor);
        unlink(path);
    }
}

/* ---- A model that others look at while its device is replaced ---- */

/* The wrapped CPU under a name of its own. */
static pv_backend odd;
static const pv_backend *odd_inner;

static pv_status enumerate_odd(const pv_backend *backend, const pv_environment *environment, pv_device_description *descriptions,
                               size_t capacity, size_t *count, pv_error *error)
{
    (void)backend;
    pv_status status = odd_inner->enumerate(odd_inner, environment, descriptions, capacity, count, error);
    snprintf(descriptions[0].id, sizeof descriptions[0].id, "odd");
    descriptions[0].memory_usable /= 2;
    return status;
}

static pv_status open_odd(const pv_backend *backend, const pv_environment *environment, const char *id, bool plain,
                          pv_backend_device **device, pv_error *error)
{
    (void)backend;
    assert_string_equal(id, "odd");
    return odd_inner->open(odd_inner, environment, "cpu", plain, device, error);
}

/* Strings that a handle returned live as long as it, and what a model says of itself is constant: so another thread may read both. */
static void a_model_says_the_same_of_itself_after_its_device_was_replaced(void **state)
{
    (void)state;
    pv_allocator allocator = pv_allocator_default();
    pv_fault_backend *wrapper = NULL;
    pv_error error = {0};
    pv_model_info before, after;
    memset(found, 0, sizeof found);
    assert_int_equal(pv_fault_backend_create(&allocator, &pv_cpu_backend, &wrapper, NULL), PV_OK);
    odd = *(odd_inner = pv_fault_backend_get(wrapper));
    odd.enumerate = enumerate_odd;
    odd.open = open_odd;
    const pv_backend *backends[] = {&odd, &pv_cpu_backend};
    assert_int_equal(pv_runtime_create_with(&(pv_runtime_options){.threads = 1}, backends, 2, &runtime, &error), PV_OK);
    assert_int_equal(pv_model_load(runtime, tiny_path("Q4_0"), NULL, &model, &error), PV_OK);
    assert_int_equal(pv_model_get_info(model, &before, NULL), PV_OK);
    pv_fault_backend_set(wrapper, &(pv_fault){.kind = PV_FAULT_LOST, .nth = 2, .count = 100}, 1);
    pv_engine *engine = open_engine(NULL);
    pv_request request = request_of(20, 10, &found[0]);
    submit(engine, &request);
    tiny_run(engine, 100, NULL);
    assert_int_equal(found[0].finish, PV_FINISH_LENGTH);
    assert_string_equal(before.device, "odd"); /* handed out before */
    assert_int_equal(pv_model_get_info(model, &after, NULL), PV_OK);
    assert_string_equal(after.device, "cpu"); /* but for this one */
    assert_int_equal(after.budget.total, before.budget.total);
    assert_int_equal(after.budget.available, before.budget.available);
    assert_int_equal(after.weight_bytes, before.weight_bytes);
    assert_int_equal(after.parameters, before.parameters);
    pv_engine_destroy(engine);
    pv_model_destroy(model);
    pv_runtime_destroy(runtime);
    pv_fault_backend_destroy(wrapper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_left_on_the_device_outlives_its_engine),
        cmocka_unit_test(destroying_with_work_in_flight_ends_it),
        cmocka_unit_test(a_session_that_failed_answers_the_next_request_and_nothing_else),
        cmocka_unit_test(a_session_answers_one_request_at_a_time),
        cmocka_unit_test(cancelling_needs_no_memory),
        cmocka_unit_test(a_reader_that_never_catches_up_costs_no_more_than_what_is_left),
        cmocka_unit_test(the_largest_options_mean_what_they_say),
        cmocka_unit_test(settings_too_small_to_divide_by_do_not_choose_the_wrong_token),
        cmocka_unit_test(null_handles_are_refused_or_do_nothing),
        cmocka_unit_test(a_lost_device_is_not_filled_from_a_file_that_has_changed),
        cmocka_unit_test(a_model_says_the_same_of_itself_after_its_device_was_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
