/* SmolLM2-135M-Instruct from its GGUF file against an independent engine on the same file (tests/golden/make_smollm2.py): the
 * conversation becomes the same text and ids, and greedy answers are the same 64 ids. Where the reference's two best logits are
 * nearer than 0.1 the second is taken too, and the comparison goes on from the reference's own text.
 * Skipped where the file is not: PENSIEVE_SMOLLM2 names it, or it lies where scripts/fetch-model puts it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/stat.h>

#include "base/alloc.h"
#include "base/file.h"
#include "model/flat.h"
#include "support/device.h"

#define FILE_NAME "SmolLM2-135M-Instruct.Q4_1.gguf"
#define FILE_BYTES 98362432
#define NEAR_TIE 0.1
enum { CONVERSATIONS = 5, STEPS = 64, MOST_PROMPT = 256, MOST_MESSAGES = 4 };

typedef struct conversation {
    pv_message messages[MOST_MESSAGES];
    size_t message_count;
    const char *text, *answer;
    int32_t prompt[MOST_PROMPT + STEPS]; /* room for the reference's ids behind it */
    size_t prompt_length;
    int32_t ids[STEPS], second[STEPS];
    double gap[STEPS];
} conversation;

static char model_path[512];
static pv_flat expected;
static conversation conversations[CONVERSATIONS];
static pv_runtime *runtime;
static pv_model *model;

/* ---- What is expected ---- */

static const pv_flat_entry *find(size_t n, const char *name, size_t i)
{
    char path[128];
    snprintf(path, sizeof path, "conversations.%zu.%s.%zu", n, name, i);
    return pv_flat_find(&expected, path);
}

static const char *find_string(size_t n, const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "conversations.%zu.%s", n, name);
    return pv_flat_string(&expected, path);
}

static void read_conversation(size_t n, conversation *c)
{
    char path[64];
    for (size_t i = 0; i < MOST_MESSAGES; i++) {
        snprintf(path, sizeof path, "messages.%zu.role", i);
        const char *role = find_string(n, path);
        if (role == NULL) break;
        snprintf(path, sizeof path, "messages.%zu.content", i);
        c->messages[c->message_count++] = (pv_message){role, find_string(n, path)};
    }
    c->text = find_string(n, "text");
    c->answer = find_string(n, "answer");
    const pv_flat_entry *entry;
    while ((entry = find(n, "prompt", c->prompt_length)) != NULL && c->prompt_length < MOST_PROMPT)
        c->prompt[c->prompt_length++] = (int32_t)entry->number;
    for (size_t i = 0; i < STEPS; i++) {
        c->ids[i] = (int32_t)find(n, "ids", i)->number;
        c->second[i] = (int32_t)find(n, "second", i)->number;
        c->gap[i] = find(n, "gap", i)->number;
    }
}

static bool find_model(void)
{
    static const char *const places[] = {"PENSIEVE_SMOLLM2", "PENSIEVE_CACHE", "XDG_CACHE_HOME", "HOME"};
    static const char *const below[] = {"", "/models/" FILE_NAME, "/pensieve/models/" FILE_NAME, "/.cache/pensieve/models/" FILE_NAME};
    for (size_t i = 0; i < 4; i++) {
        const char *place = getenv(places[i]);
        if (place == NULL || place[0] == '\0') continue;
        snprintf(model_path, sizeof model_path, "%s%s", place, below[i]);
        if (pv_path_kind(model_path) == 1) return true;
        if (i == 0) fail_msg("PENSIEVE_SMOLLM2 is %s, where there is no file", place);
    }
    return false;
}

static int set_up(void **state)
{
    static pv_allocator allocator;
    char *text;
    size_t length;
    pv_error error = {0};
    struct stat status;
    (void)state;
    if (!find_model()) return 0;
    assert_int_equal(stat(model_path, &status), 0);
    if (status.st_size != FILE_BYTES) fail_msg("%s has %lld bytes, %d are wanted", model_path, (long long)status.st_size, FILE_BYTES);
    allocator = pv_allocator_default();
    if (pv_read_file(&allocator, PV_TEST_DATA "/e2e/smollm2.json", 1 << 20, &text, &length, &error) != PV_OK) fail_msg("%s", error.message);
    if (pv_flat_read(&allocator, text, length, "smollm2.json", &expected, &error) != PV_OK) fail_msg("%s", error.message);
    free(text);
    for (size_t n = 0; n < CONVERSATIONS; n++) read_conversation(n, &conversations[n]);
    pv_model_options options = {.context = 512, .max_sequences = CONVERSATIONS, .kv_bytes = 64 << 20,
                                .device = test_device() != NULL ? test_device() : "cpu"};
    if (pv_runtime_create(&(pv_runtime_options){.metal_library = test_metal_library()}, &runtime, &error) != PV_OK) fail_msg("%s", error.message);
    if (pv_model_load(runtime, model_path, &options, &model, &error) != PV_OK) fail_msg("%s", error.message);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    pv_model_destroy(model);
    pv_runtime_destroy(runtime);
    pv_flat_free(&expected);
    return 0;
}

/* ---- Answers ---- */

typedef struct answer {
    int32_t ids[STEPS];
    size_t count;
    char text[8192];
    size_t text_length;
} answer;

static void take_event(const pv_event *event)
{
    answer *a = event->user;
    if (event->kind == PV_EVENT_FAULT || event->finish == PV_FINISH_ERROR) fail_msg("%s", event->error.message);
    assert_true(a->text_length + event->text_length < sizeof a->text);
    memcpy(a->text + a->text_length, event->text, event->text_length);
    a->text_length += event->text_length;
    if (event->kind != PV_EVENT_TOKEN) return;
    assert_true(a->count < STEPS);
    a->ids[a->count++] = event->token;
}

/* The prompts' greedy answers of `count` ids each, run together. */
static void run_greedy(const conversation *const *prompts, const size_t *lengths, size_t number, size_t count, answer *answers)
{
    pv_error error = {0};
    pv_engine *engine;
    pv_request_id id;
    pv_event event;
    size_t active = 1;
    /* a simulated GPU may take its time */
    const pv_engine_options engine_options = {.max_sequences = CONVERSATIONS, .step_timeout_ms = test_device() != NULL ? UINT32_MAX : 0};
    if (pv_engine_create(model, &engine_options, &engine, &error) != PV_OK) fail_msg("%s", error.message);
    for (size_t i = 0; i < number; i++) {
        answers[i] = (answer){0};
        pv_request request = {.prompt = prompts[i]->prompt, .prompt_length = lengths[i], .max_tokens = (uint32_t)count,
                              .ignore_end = true, .user = &answers[i]};
        if (pv_engine_submit(engine, &request, &id, &error) != PV_OK) fail_msg("%s", error.message);
    }
    for (size_t step = 0; active > 0; step++) {
        assert_true(step < 10 * STEPS);
        if (pv_engine_step(engine, 0, &active, &error) != PV_OK) fail_msg("%s", error.message);
        while (pv_engine_next_event(engine, &event)) take_event(&event);
    }
    pv_engine_destroy(engine);
    for (size_t i = 0; i < number; i++) assert_int_equal(answers[i].count, count);
}

/* Holds ids against the reference's from step `first` to `end`; returns how many steps agree before a near tie, all if there is none. */
static size_t compare(size_t n, const conversation *c, size_t first, size_t end, const int32_t *ids)
{
    for (size_t i = first; i < end; i++) {
        if (ids[i - first] == c->ids[i]) continue;
        if (ids[i - first] != c->second[i] || c->gap[i] >= NEAR_TIE)
            fail_msg("conversation %zu, step %zu: id %d, the reference has %d, then %d, %g apart", n, i, ids[i - first], c->ids[i], c->second[i],
                     c->gap[i]);
        return i;
    }
    return end;
}

/* ---- Tests ---- */

static void skip_without_model(void)
{
    if (model != NULL) return;
    print_message("# no %s: run scripts/fetch-model\n", FILE_NAME);
    skip();
}

static void conversations_become_the_same_text_and_ids(void **state)
{
    (void)state;
    skip_without_model();
    for (size_t n = 0; n < CONVERSATIONS; n++) {
        const conversation *c = &conversations[n];
        char text[4096];
        int32_t ids[MOST_PROMPT];
        size_t length;
        pv_error error = {0};
        if (pv_chat_text(model, c->messages, c->message_count, NULL, text, sizeof text, &length, &error) != PV_OK) fail_msg("%s", error.message);
        assert_int_equal(length, strlen(c->text));
        assert_memory_equal(text, c->text, length);
        if (pv_chat_tokens(model, c->messages, c->message_count, NULL, ids, MOST_PROMPT, &length, &error) != PV_OK) fail_msg("%s", error.message);
        assert_int_equal(length, c->prompt_length);
        assert_memory_equal(ids, c->prompt, length * sizeof *ids);
    }
}

static void greedy_answers_are_those_of_the_reference(void **state)
{
    (void)state;
    skip_without_model();
    for (size_t n = 0; n < CONVERSATIONS; n++) {
        conversation c = conversations[n];
        const conversation *prompt = &c;
        answer a;
        size_t done = 0, ties = 0;
        for (size_t first = 0; first < STEPS; first = done + 1, ties++) {
            size_t length = c.prompt_length + first;
            memcpy(c.prompt + c.prompt_length, c.ids, first * sizeof *c.ids); /* the reference's own text so far */
            run_greedy(&prompt, &length, 1, STEPS - first, &a);
            done = compare(n, &c, first, STEPS, a.ids);
            if (done == STEPS) break;
            print_message("# conversation %zu: near tie at step %zu, %g apart\n", n, done, c.gap[done]);
        }
        assert_true(ties <= 3); /* in 64 steps of text this clear */
        if (ties > 0) continue;
        assert_int_equal(a.text_length, strlen(c.answer));
        assert_memory_equal(a.text, c.answer, a.text_length);
    }
}

static void answers_are_the_same_together_as_alone(void **state)
{
    const conversation *prompts[CONVERSATIONS];
    size_t lengths[CONVERSATIONS];
    static answer together[CONVERSATIONS], alone;
    (void)state;
    skip_without_model();
    for (size_t n = 0; n < CONVERSATIONS; n++) prompts[n] = &conversations[n], lengths[n] = conversations[n].prompt_length;
    run_greedy(prompts, lengths, CONVERSATIONS, 32, together);
    for (size_t n = 0; n < CONVERSATIONS; n++) {
        run_greedy(&prompts[n], &lengths[n], 1, 32, &alone);
        assert_memory_equal(alone.ids, together[n].ids, 32 * sizeof *alone.ids);
    }
}

/* A simulated GPU is slow: 16 steps, all conversations together and the first one alone. */
static void a_gpu_gives_the_ids_of_the_reference(void **state)
{
    enum { GPU_STEPS = 16 };
    const conversation *prompts[CONVERSATIONS];
    size_t lengths[CONVERSATIONS], ties = 0;
    static answer together[CONVERSATIONS], alone;
    (void)state;
    skip_without_model();
    for (size_t n = 0; n < CONVERSATIONS; n++) prompts[n] = &conversations[n], lengths[n] = conversations[n].prompt_length;
    run_greedy(prompts, lengths, CONVERSATIONS, GPU_STEPS, together);
    for (size_t n = 0; n < CONVERSATIONS; n++) ties += compare(n, prompts[n], 0, GPU_STEPS, together[n].ids) < GPU_STEPS;
    run_greedy(prompts, lengths, 1, GPU_STEPS, &alone);
    compare(0, prompts[0], 0, GPU_STEPS, alone.ids);
    assert_true(ties <= 1);
}

int main(void)
{
    const struct CMUnitTest on_gpu[] = {
        cmocka_unit_test(conversations_become_the_same_text_and_ids),
        cmocka_unit_test(a_gpu_gives_the_ids_of_the_reference),
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversations_become_the_same_text_and_ids),
        cmocka_unit_test(greedy_answers_are_those_of_the_reference),
        cmocka_unit_test(answers_are_the_same_together_as_alone),
    };
    return test_device() != NULL ? cmocka_run_group_tests(on_gpu, set_up, tear_down) : cmocka_run_group_tests(tests, set_up, tear_down);
}
