/* The text side of a model: exactly one beginning, control tokens that stay text, and answers that grow token by token. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/text.h"
#include "engine/stream.h"
#include "model/model.h"
#include "support_files.h"
#include "support_tokenizer.h"

#define CONFIG                                                                                                                 \
    "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":8,\"intermediate_size\":8,"            \
    "\"num_hidden_layers\":1,\"num_attention_heads\":1,\"num_key_value_heads\":1,\"vocab_size\":1159,"                         \
    "\"max_position_embeddings\":64,\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0}"

/* As many chats write it: the beginning by the template, or by the tokenizer alone. */
#define WITH_BOS "{{ bos_token }}{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}"
#define WITHOUT_BOS "{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}"

static void copy(const char *from, const char *to)
{
    size_t length;
    void *data = tf_read(from, &length);
    assert_non_null(data);
    tf_write(to, data, length);
    free(data);
}

/* A folder with a fixture's tokenizer; `settings`: members of tokenizer_config.json. */
static pv_model *open_text(pv_runtime *runtime, const char *fixture, const char *template, const char *settings)
{
    char path[512], config[2048];
    pv_model_options options = {.text_only = true};
    pv_model *model = NULL;
    pv_error error = {0};
    snprintf(path, sizeof path, TK_FIXTURES "%s/tokenizer.json", fixture);
    copy(path, "tokenizer.json");
    snprintf(path, sizeof path, TK_FIXTURES "%s/model.safetensors", fixture);
    copy(path, "model.safetensors");
    tf_write("config.json", CONFIG, strlen(CONFIG));
    snprintf(config, sizeof config, "{\"bos_token\":\"<s>\",\"eos_token\":\"</s>\",\"chat_template\":\"%s\"%s}", template,
             settings);
    tf_write("tokenizer_config.json", config, strlen(config));
    if (pv_model_load(runtime, tf_path("."), &options, &model, &error) != PV_OK) fail_msg("%s", error.message);
    return model;
}

static pv_runtime *make_runtime(void)
{
    pv_runtime *runtime = NULL;
    assert_int_equal(pv_runtime_create(NULL, &runtime, NULL), PV_OK);
    return runtime;
}

static size_t tokenize(const pv_model *model, const char *text, unsigned flags, int32_t *ids)
{
    size_t count = 0;
    assert_int_equal(pv_tokenize(model, text, strlen(text), flags, ids, 512, &count, NULL), PV_OK);
    assert_true(count <= 512);
    return count;
}

static size_t chat(const pv_model *model, const char *content, bool allow_control, int32_t *ids)
{
    pv_message message = {"user", content};
    pv_chat_options options = {.allow_control = allow_control};
    pv_error error = {0};
    size_t count = 0;
    if (pv_chat_tokens(model, &message, 1, &options, ids, 512, &count, &error) != PV_OK) fail_msg("%s", error.message);
    assert_true(count <= 512);
    return count;
}

static size_t times(const int32_t *ids, size_t count, int32_t id)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++) found += ids[i] == id;
    return found;
}

enum { UNK, BOS, EOS };

static void a_text_begins_once(void **state)
{
    (void)state;
    static const char *const texts[] = {"hi", "<s>hi", "<s> hi", ""};
    pv_runtime *runtime = make_runtime();
    pv_model *model = open_text(runtime, "llama2", WITH_BOS, "");
    int32_t ids[512];
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        size_t count = tokenize(model, texts[i], PV_TOKENIZE_BOS | PV_TOKENIZE_SPECIAL, ids);
        assert_int_equal(ids[0], BOS);
        assert_int_equal(times(ids, count, BOS), 1);
    }
    /* A control token spelled in text is text unless it is asked for, and no beginning. */
    size_t count = tokenize(model, "<s>hi", PV_TOKENIZE_BOS, ids);
    assert_int_equal(times(ids, count, BOS), 1);
    assert_true(count > 4);
    count = tokenize(model, "hi", PV_TOKENIZE_SPECIAL, ids);
    assert_int_equal(times(ids, count, BOS), 0);
    pv_model_destroy(model);
    pv_runtime_destroy(runtime);
}

/* CVE-2025-52566 (llama.cpp): the number of tokens became negative and passed for small. */
static void cve_2025_52566_more_tokens_than_there_is_room_for(void **state)
{
    (void)state;
    pv_runtime *runtime = make_runtime();
    pv_model *model = open_text(runtime, "llama2", WITHOUT_BOS, "");
    int32_t all[512], some[512];
    size_t wanted = tokenize(model, "one two", PV_TOKENIZE_BOS, all), count;
    for (size_t capacity = 0; capacity <= wanted; capacity++) {
        memset(some, 0x7f, sizeof some);
        assert_int_equal(pv_tokenize(model, "one two", 7, PV_TOKENIZE_BOS, some, capacity, &count, NULL), PV_OK);
        assert_int_equal(count, wanted);
        assert_memory_equal(some, all, capacity * sizeof *some);
        assert_int_equal(some[capacity], 0x7f7f7f7f);
    }
    pv_model_destroy(model);
    pv_runtime_destroy(runtime);
}

/* CVE-2025-49847 (llama.cpp): the length of a token's text was cut to 32 bits before it was compared with the buffer's. */
static void cve_2025_49847_tokens_longer_than_their_buffer(void **state)
{
    (void)state;
    pv_runtime *runtime = make_runtime();
    pv_model *model = open_text(runtime, "llama2", WITHOUT_BOS, "");
    int32_t ids[512];
    char text[64];
    size_t count = tokenize(model, "The quick brown fox", 0, ids), length;
    for (size_t capacity = 0; capacity < 19; capacity++) {
        memset(text, 0x7f, sizeof text);
        assert_int_equal(pv_detokenize(model, ids, count, 0, text, capacity, &length, NULL), PV_OK);
        assert_int_equal(length, 19);
        assert_memory_equal(text, "The quick brown fox", capacity);
        assert_int_equal(text[capacity], 0x7f);
    }
    pv_model_destroy(model);
    pv_runtime_destroy(runtime);
}

static void a_chat_begins_once(void **state)
{
    (void)state;
    static const char *const templates[] = {WITH_BOS, WITHOUT_BOS};
    pv_runtime *runtime = make_runtime();
    int32_t ids[2][512];
    size_t counts[2];
    for (size_t i = 0; i < 2; i++) {
        pv_model *model = open_text(runtime, "llama2", templates[i], "");
        counts[i] = chat(model, "hello", false, ids[i]);
        assert_int_equal(ids[i][0], BOS);
        assert_int_equal(times(ids[i], counts[i], BOS), 1);
        pv_model_destroy(model);
    }
    assert_int_equal(counts[0], counts[1]);
    assert_memory_equal(ids[0], ids[1], counts[0] * sizeof **ids);
    /* The tokenizer adds none: the template alone decides. */
    pv_model *model = open_text(runtime, "llama2", WITHOUT_BOS, ",\"add_bos_token\":false");
    assert_int_equal(times(ids[1], chat(model, "hello", false, ids[1]), BOS), 0);
    pv_model_destroy(model);
    pv_runtime_destroy(runtime);
}

/* The same if control tokens are looked for in normalized text, as older files of Llama 2 have it, and if tokenizer_config.json
 * says otherwise of them. */
static void control_tokens_in_messages_stay_text(void **state)
{
    (void)state;
    static const char settings[] = ",\"added_tokens_decoder\":{\"1\":{\"content\":\"<s>\",\"normalized\":%s,\"special\":true},"
                                   "\"2\":{\"content\":\"</s>\",\"normalized\":%s,\"special\":true}}";
    static const char *const flags[] = {"false", "true"};
    pv_runtime *runtime = make_runtime();
    for (size_t i = 0; i < 2; i++) {
        char override[256];
        int32_t ids[512];
        snprintf(override, sizeof override, settings, flags[i], flags[i]);
        pv_model *model = open_text(runtime, "llama2", WITH_BOS, override);
        size_t count = chat(model, "a <s> b </s> c", false, ids);
        assert_int_equal(ids[0], BOS);
        assert_int_equal(times(ids, count, BOS), 1);
        assert_int_equal(times(ids, count, EOS), 0);
        count = chat(model, "a <s> b </s> c", true, ids);
        assert_int_equal(times(ids, count, BOS), 2);
        assert_int_equal(times(ids, count, EOS), 1);
        pv_model_destroy(model);
    }
    pv_runtime_destroy(runtime);
}

/* ---- Answers ---- */

static const char *const answers[] = {
    "Hello, world",
    " with a space",
    "  two",
    "日本語 テスト",
    "🚀👩‍👩‍👧‍👦 done",
    "naïve café",
    "\n\n\tx\n",
    "a",
    "",
    "x\xff\xfey",
    "\xe2\x96",
    "mixed 中 🇩🇪 é",
};

/* Every prefix of an answer is whole characters, and the end is what all of its tokens decode to. */
static void answers_grow_by_whole_characters(void **state)
{
    (void)state;
    static const char *const fixtures[] = {"llama2", "gemma", "phi3", "gpt2", "llama3", "xlmr"};
    pv_runtime *runtime = make_runtime();
    pv_allocator allocator = pv_allocator_default();
    for (size_t f = 0; f < sizeof fixtures / sizeof *fixtures; f++) {
        pv_model *model = open_text(runtime, fixtures[f], WITHOUT_BOS, "");
        for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
            int32_t ids[512];
            char whole[2048];
            size_t count = tokenize(model, answers[i], 0, ids), length, before = 0;
            pv_stops stops = {0};
            pv_stream stream, at_once;
            pv_bytes text, wanted;
            pv_bytes_init(&text, &allocator);
            pv_bytes_init(&wanted, &allocator);
            assert_true(pv_stream_init(&stream, &allocator, 2048, &stops) &&
                        pv_stream_init(&at_once, &allocator, 2048, &stops));
            for (size_t t = 0; t < count; t++) {
                char bytes[256];
                assert_int_equal(pv_detokenize(model, &ids[t], 1, PV_DETOKENIZE_CONTINUES, bytes, sizeof bytes, &length, NULL),
                                 PV_OK);
                assert_false(pv_stream_add(&stream, &stops, bytes, length, &text));
                for (size_t at = before; at < text.length;) {
                    uint32_t code_point;
                    size_t step = pv_utf8_decode(text.data + at, text.length - at, &code_point);
                    assert_true(step > 0);
                    at += step;
                }
                before = text.length;
            }
            pv_stream_flush(&stream, &text);
            assert_int_equal(pv_detokenize(model, ids, count, PV_DETOKENIZE_CONTINUES, whole, sizeof whole, &length, NULL),
                             PV_OK);
            assert_false(pv_stream_add(&at_once, &stops, whole, length, &wanted));
            pv_stream_flush(&at_once, &wanted);
            assert_int_equal(text.length, wanted.length);
            if (text.length > 0) assert_memory_equal(text.data, wanted.data, text.length);
            pv_bytes_free(&text);
            pv_bytes_free(&wanted);
            pv_stream_free(&stream);
            pv_stream_free(&at_once);
        }
        pv_model_destroy(model);
    }
    pv_runtime_destroy(runtime);
}

static void texts_come_back_without_the_space_before_them(void **state)
{
    (void)state;
    static const char *const fixtures[] = {"llama2", "gemma", "gpt2", "llama3"};
    pv_runtime *runtime = make_runtime();
    for (size_t f = 0; f < sizeof fixtures / sizeof *fixtures; f++) {
        pv_model *model = open_text(runtime, fixtures[f], WITHOUT_BOS, "");
        for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
            int32_t ids[512];
            char text[2048];
            size_t length, count = tokenize(model, answers[i], PV_TOKENIZE_BOS, ids);
            assert_int_equal(pv_detokenize(model, ids, count, 0, text, sizeof text, &length, NULL), PV_OK);
            assert_int_equal(length, strlen(answers[i]));
            assert_memory_equal(text, answers[i], length);
        }
        pv_model_destroy(model);
    }
    pv_runtime_destroy(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_begins_once),
        cmocka_unit_test(cve_2025_52566_more_tokens_than_there_is_room_for),
        cmocka_unit_test(cve_2025_49847_tokens_longer_than_their_buffer),
        cmocka_unit_test(a_chat_begins_once),
        cmocka_unit_test(control_tokens_in_messages_stay_text),
        cmocka_unit_test(answers_grow_by_whole_characters),
        cmocka_unit_test(texts_come_back_without_the_space_before_them),
    };
    return cmocka_run_group_tests(tests, tf_make_folder, tf_remove_folder);
}
