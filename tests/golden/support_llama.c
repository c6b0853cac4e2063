#include "support_llama.h"

#include "support/device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <math.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"

/* ---- Cases ---- */

static char *read_text(const char *folder, const char *name, size_t *length)
{
    char path[GOLDEN_PATH + 64], *text;
    pv_allocator allocator = pv_allocator_default();
    pv_error error = {0};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (pv_read_file(&allocator, path, 1 << 24, &text, length, &error) != PV_OK) fail_msg("%s", error.message);
    return text;
}

static char *read_flat(const char *folder, const char *name, pv_flat *flat)
{
    static pv_allocator allocator;
    size_t length;
    pv_error error = {0};
    char *text = read_text(folder, name, &length);
    allocator = pv_allocator_default();
    if (pv_flat_read(&allocator, text, length, name, flat, &error) != PV_OK) fail_msg("%s", error.message);
    return text;
}

static double number(const pv_flat *flat, const char *path)
{
    double value = 0;
    bool found = false;
    assert_int_equal(pv_flat_number(flat, path, &value, &found, NULL), PV_OK);
    if (!found) fail_msg("%s has no %s", flat->file, path);
    return value;
}

static uint32_t number_or_0(const pv_flat *flat, const char *path)
{
    return pv_flat_find(flat, path) != NULL ? (uint32_t)number(flat, path) : 0;
}

static size_t array_length(const pv_flat *flat, const char *name)
{
    char path[64];
    size_t count = 0;
    do snprintf(path, sizeof path, "%s.%zu", name, count);
    while (pv_flat_find(flat, path) != NULL && ++count);
    return count;
}

void golden_open(golden_case *c, const char *family, const char *name)
{
    char path[64];
    *c = (golden_case){0};
    snprintf(c->folder, sizeof c->folder, "%s/golden/%s/%s", PV_TEST_DATA, family, name);
    c->about_text = read_flat(c->folder, "case.json", &c->about);
    c->config_text = read_flat(c->folder, "config.json", &c->config);
    c->layers = number_or_0(&c->config, "num_hidden_layers");
    c->width = number_or_0(&c->config, "hidden_size");
    c->heads = number_or_0(&c->config, "num_attention_heads");
    c->kv_heads = number_or_0(&c->config, "num_key_value_heads");
    c->head_dim = number_or_0(&c->config, "head_dim");
    c->feed_forward = number_or_0(&c->config, "intermediate_size");
    c->vocabulary = (uint32_t)number(&c->config, "vocab_size");
    c->tied = pv_flat_true(&c->config, "tie_word_embeddings");
    c->bias = pv_flat_true(&c->config, "attention_bias");
    c->token_count = array_length(&c->about, "tokens");
    assert_true(c->token_count > 32);
    c->tokens = calloc(c->token_count, sizeof *c->tokens);
    for (size_t i = 0; i < c->token_count; i++) {
        snprintf(path, sizeof path, "tokens.%zu", i);
        c->tokens[i] = (int32_t)number(&c->about, path);
    }
}

void golden_close(golden_case *c)
{
    pv_flat_free(&c->about);
    pv_flat_free(&c->config);
    free(c->about_text);
    free(c->config_text);
    free(c->tokens);
}

const char *golden_layout(const golden_case *c, size_t i)
{
    char path[64];
    snprintf(path, sizeof path, "layouts.%zu", i);
    return pv_flat_string(&c->about, path);
}

/* ---- Folders ---- */

void golden_make_folder(char folder[GOLDEN_PATH])
{
    const char *base = getenv("TMPDIR");
    snprintf(folder, GOLDEN_PATH, "%s/pensieve-golden-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(folder));
}

void golden_remove_folder(const char *folder)
{
    char path[2 * GOLDEN_PATH];
    DIR *open = opendir(folder);
    assert_non_null(open);
    for (struct dirent *entry; (entry = readdir(open)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        assert_int_equal(unlink(path), 0);
    }
    closedir(open);
    assert_int_equal(rmdir(folder), 0);
}

/* ---- Running ---- */

typedef struct recorder {
    const golden_case *c;
    float *logits;
    size_t calls;
} recorder;

static int32_t record(void *user, const float *logits, size_t vocabulary, uint32_t position)
{
    recorder *r = user;
    assert_int_equal(vocabulary, r->c->vocabulary);
    assert_int_equal(position, r->calls); /* every position once, in order */
    memcpy(r->logits + position * vocabulary, logits, vocabulary * sizeof *logits);
    r->calls++;
    return position + 1 < r->c->token_count ? r->c->tokens[position + 1] : 0;
}

static void run_engine(const golden_case *c, pv_engine *engine, size_t prompt, recorder *r)
{
    pv_error error = {0};
    pv_request_id id;
    pv_event event;
    size_t active = 1;
    pv_request request = {.prompt = c->tokens, .prompt_length = prompt, .max_tokens = (uint32_t)(c->token_count - prompt + 1),
                          .ignore_end = true, .on_logits = record, .every_position = true, .user = r};
    if (pv_engine_submit(engine, &request, &id, &error) != PV_OK) fail_msg("%s", error.message);
    for (size_t step = 0; active > 0; step++) {
        assert_true(step < 2 * c->token_count + 4);
        if (pv_engine_step(engine, 0, &active, &error) != PV_OK) fail_msg("%s", error.message);
        while (pv_engine_next_event(engine, &event)) {
            if (event.kind == PV_EVENT_FAULT || event.finish == PV_FINISH_ERROR) fail_msg("%s", event.error.message);
            if (event.kind == PV_EVENT_FINISHED) assert_int_equal(event.finish, PV_FINISH_LENGTH);
        }
    }
    assert_int_equal(r->calls, c->token_count);
}

float *golden_logits(const golden_case *c, const char *path, const golden_run *run)
{
    pv_error error = {0};
    pv_runtime *runtime;
    pv_model *model;
    pv_engine *engine;
    pv_runtime_options runtime_options = {.cpu_kernels = run->kernels, .threads = run->threads, .metal_library = test_metal_library()};
    pv_model_options model_options = {.context = 512, .max_sequences = 1, .max_step_rows = run->max_step_rows, .load = run->load,
                                      .device = test_device() != NULL ? test_device() : "cpu"};
    recorder r = {.c = c, .logits = malloc(c->token_count * c->vocabulary * sizeof(float))};
    for (size_t i = 0; i < c->token_count * c->vocabulary; i++) r.logits[i] = NAN;
    if (pv_runtime_create(&runtime_options, &runtime, &error) != PV_OK) fail_msg("%s", error.message);
    if (pv_model_load(runtime, path, &model_options, &model, &error) != PV_OK) fail_msg("%s", error.message);
    if (pv_engine_create(model, NULL, &engine, &error) != PV_OK) fail_msg("%s", error.message);
    run_engine(c, engine, run->prompt, &r);
    pv_engine_destroy(engine);
    pv_model_destroy(model);
    pv_runtime_destroy(runtime);
    return r.logits;
}

/* ---- Comparing ---- */

/* The reference is exact; the engine makes the roundings that its contract names, whose effect make_llama.py measured in float64,
 * and sums in f32, whose effect it measured with another f32 engine. The engine's sums run in an order of their own, which tips some
 * ties of the contract's roundings and so draws other errors from the same distribution. Over some 9,000 logits its root mean
 * square then stays within a quarter, its maximum (5 to 6 times that) within a half. */
golden_deviation golden_compare(const golden_case *c, const char *layout, const float *logits)
{
    static const char *const parts[2] = {"contract", "float32"};
    char name[64];
    double allowed_rms = 0, allowed_max = 0, squares = 0, largest = 0;
    size_t length, count = c->token_count * c->vocabulary;
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s.%s.rms", layout, parts[i]);
        allowed_rms += 1.25 * number(&c->about, name);
        snprintf(name, sizeof name, "%s.%s.max", layout, parts[i]);
        allowed_max += 1.5 * number(&c->about, name);
    }
    snprintf(name, sizeof name, "logits.%s.f32", layout);
    char *wanted = read_text(c->folder, name, &length);
    assert_int_equal(length, count * sizeof(float));
    for (size_t i = 0; i < count; i++) {
        float value;
        memcpy(&value, wanted + i * sizeof value, sizeof value);
        double difference = fabs((double)logits[i] - value);
        squares += difference * difference;
        if (!(difference <= largest)) largest = difference;
        if (isnan(difference)) break;
    }
    free(wanted);
    return (golden_deviation){sqrt(squares / (double)count) / allowed_rms, largest / allowed_max};
}

bool golden_passes(golden_deviation deviation)
{
    return deviation.rms <= 1 && deviation.max <= 1;
}
