#include "support/tiny.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];
static struct {
    char layout[16], path[128];
} written[16];
static size_t written_count;

static void remove_all(void)
{
    for (size_t i = 0; i < written_count; i++) unlink(written[i].path);
    rmdir(folder);
}

const char *tiny_path(const char *layout)
{
    for (size_t i = 0; i < written_count; i++)
        if (strcmp(written[i].layout, layout) == 0) return written[i].path;
    if (folder[0] == '\0') {
        const char *base = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%.40s/pensieve-XXXXXX", base != NULL ? base : "/tmp");
        assert_non_null(mkdtemp(folder));
        atexit(remove_all);
    }
    size_t at = written_count;
    snprintf(written[at].layout, sizeof written[at].layout, "%s", layout);
    snprintf(written[at].path, sizeof written[at].path, "%s/tiny-%s.gguf", folder, layout);
    pv_runtime *runtime = NULL;
    pv_error error = {0};
    pv_synth_options options = {.shape = "tiny", .layout = layout, .seed = 7};
    assert_int_equal(pv_runtime_create(NULL, &runtime, &error), PV_OK);
    if (pv_synth(runtime, &options, written[at].path, &error) != PV_OK) fail_msg("%s", error.message);
    pv_runtime_destroy(runtime);
    written_count++;
    return written[at].path;
}

void tiny_take_events(pv_engine *engine, uint32_t *faults)
{
    pv_event event;
    while (pv_engine_next_event(engine, &event)) {
        if (event.kind == PV_EVENT_FAULT) {
            if (faults != NULL) (*faults)++;
            continue;
        }
        tiny_result *result = event.user;
        assert_false(result->finished); /* nothing comes after the end */
        assert_true(result->text_length + event.text_length < sizeof result->text);
        memcpy(result->text + result->text_length, event.text, event.text_length);
        result->text_length += event.text_length;
        if (event.kind == PV_EVENT_TOKEN) {
            assert_true(result->count < TINY_MOST);
            result->tokens[result->count++] = event.token;
            continue;
        }
        result->finished = true;
        result->finish = event.finish;
        result->error = event.error.status;
        result->reused = event.reused_tokens;
        assert_int_equal(event.generated_tokens, result->count);
    }
}

void tiny_run(pv_engine *engine, size_t steps, uint32_t *faults)
{
    size_t active = 1;
    for (size_t i = 0; active > 0; i++) {
        assert_true(i < steps);
        pv_error error = {0};
        if (pv_engine_step(engine, 0, &active, &error) != PV_OK) fail_msg("step: %s", error.message);
        tiny_take_events(engine, faults);
    }
}

void tiny_run_alone(pv_model *model, const pv_request *request, tiny_result *result)
{
    pv_engine *engine = NULL;
    pv_error error = {0};
    pv_request copy = *request;
    memset(result, 0, sizeof *result);
    copy.user = result;
    if (pv_engine_create(model, &(pv_engine_options){.no_prefix_reuse = true}, &engine, &error) != PV_OK) fail_msg("%s", error.message);
    if (pv_engine_submit(engine, &copy, NULL, &error) != PV_OK) fail_msg("%s", error.message);
    tiny_run(engine, 10 * TINY_MOST, NULL);
    pv_engine_destroy(engine);
    assert_true(result->finished);
}

void tiny_assert_same(const tiny_result *found, const tiny_result *wanted)
{
    assert_int_equal(found->finish, wanted->finish);
    assert_int_equal(found->count, wanted->count);
    assert_memory_equal(found->tokens, wanted->tokens, wanted->count * sizeof wanted->tokens[0]);
    assert_int_equal(found->text_length, wanted->text_length);
    assert_memory_equal(found->text, wanted->text, wanted->text_length);
}


static void *count_and_reallocate(void *user, void *pointer, size_t size)
{
    tiny_allocator *allocator = user;
    if (size == 0) {
        if (pointer != NULL) allocator->live--;
        free(pointer);
        return NULL;
    }
    uint64_t call = ++allocator->calls;
    if (allocator->fail_at != 0 && (call == allocator->fail_at || (allocator->for_ever && call > allocator->fail_at))) return NULL;
    void *result = realloc(pointer, size);
    if (result != NULL && pointer == NULL) allocator->live++;
    return result;
}

pv_allocator tiny_allocator_get(tiny_allocator *allocator)
{
    return (pv_allocator){.reallocate = count_and_reallocate, .user = allocator};
}
