/* Tokenizer files that are wrong, or ask for what is not supported: each is refused with a message that names the thing; and
 * loading and encoding when memory runs out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "format/write.h"
#include "support_files.h"
#include "support_runtime.h"
#include "support_tokenizer.h"

/* ---- GGUF ---- */

typedef enum kind { ABSENT, GOOD, STRING, NUMBER, STRINGS, NUMBERS, FLOATS, FLAG } kind;

/* A small tokenizer, and one key of it given otherwise. */
typedef struct variant {
    const char *key;
    kind kind;
    const char *texts[8]; /* STRING: the first */
    size_t count;
    int32_t numbers[8];
    pv_status status;
    const char *message;
} variant;

#define TOKENS                                                                                                                 \
    {                                                                                                                          \
        "a", "b", "ab", "<s>", "</s>"                                                                                          \
    }

static void write_value(pv_model_writer *writer, const char *key, const variant *v)
{
    float floats[8];
    pv_status status = PV_OK;
    for (size_t i = 0; i < 8; i++) floats[i] = (float)v->numbers[i];
    switch (v->kind) {
    case ABSENT:
    case GOOD: break;
    case STRING: status = pv_model_writer_string(writer, key, v->texts[0], NULL); break;
    case NUMBER: status = pv_model_writer_u32(writer, key, (uint32_t)v->numbers[0], NULL); break;
    case STRINGS: status = pv_model_writer_strings(writer, key, v->texts, v->count, NULL); break;
    case NUMBERS: status = pv_model_writer_i32s(writer, key, v->numbers, v->count, NULL); break;
    case FLOATS: status = pv_model_writer_f32s(writer, key, floats, v->count, NULL); break;
    case FLAG: status = pv_model_writer_bool(writer, key, v->numbers[0] != 0, NULL); break;
    }
    assert_int_equal(status, PV_OK);
}

static const char *write_variant(const variant *changed)
{
    static const variant good[] = {
        {.key = "tokenizer.ggml.model", .kind = STRING, .texts = {"gpt2"}},
        {.key = "tokenizer.ggml.pre", .kind = STRING, .texts = {"gpt-2"}},
        {.key = "tokenizer.ggml.tokens", .kind = STRINGS, .texts = TOKENS, .count = 5},
        {.key = "tokenizer.ggml.token_type", .kind = NUMBERS, .numbers = {1, 1, 1, 3, 3}, .count = 5},
        {.key = "tokenizer.ggml.scores", .kind = FLOATS, .count = 5},
        {.key = "tokenizer.ggml.merges", .kind = STRINGS, .texts = {"a b"}, .count = 1},
        {.key = "tokenizer.ggml.bos_token_id", .kind = NUMBER, .numbers = {3}},
        {.key = "tokenizer.ggml.eos_token_id", .kind = NUMBER, .numbers = {4}},
        {.key = "tokenizer.ggml.eot_token_id", .kind = NUMBER, .numbers = {2}},
        {.key = "tokenizer.ggml.eom_token_id", .kind = NUMBER, .numbers = {2}},
        {.key = "tokenizer.ggml.add_bos_token", .kind = FLAG, .numbers = {1}},
    };
    pv_allocator allocator = pv_allocator_default();
    pv_model_writer *writer = NULL;
    const char *path = tf_path("variant.gguf");
    uint64_t dim = 1;
    float weight = 1;
    assert_int_equal(pv_model_writer_open(&allocator, PV_SOURCE_GGUF, path, &writer, NULL), PV_OK);
    assert_int_equal(pv_model_writer_string(writer, "general.architecture", "llama", NULL), PV_OK);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        write_value(writer, good[i].key, changed->key && strcmp(changed->key, good[i].key) == 0 ? changed : &good[i]);
    assert_int_equal(pv_model_writer_declare(writer, "weight", PV_LAYOUT_F32, 1, &dim, NULL), PV_OK);
    assert_int_equal(pv_model_writer_data(writer, &weight, sizeof weight, NULL), PV_OK);
    assert_int_equal(pv_model_writer_commit(writer, NULL), PV_OK);
    pv_model_writer_close(writer);
    return path;
}

static void the_small_gguf_is_good(void **state)
{
    (void)state;
    pv_tokenizer *tokenizer = tk_open(write_variant(&(variant){0}));
    bool add_bos = false;
    size_t count;
    pv_tokens tokens = tk_encode(tokenizer, "ab<s>ba", 7, PV_ENCODE_SPECIAL);
    assert_int_equal(tokens.count, 4);
    assert_memory_equal(tokens.ids, ((int32_t[]){2, 3, 1, 0}), 4 * sizeof(int32_t));
    assert_int_equal(pv_tokenizer_bos(tokenizer, &add_bos), 3);
    assert_true(add_bos);
    const int32_t *ends = pv_tokenizer_ends(tokenizer, &count);
    assert_int_equal(count, 2);
    assert_int_equal(ends[0], 4);
    assert_int_equal(ends[1], 2);
    pv_tokens_free(&tokens);
    pv_tokenizer_destroy(tokenizer);
}

static void ggufs_with_a_wrong_key_are_refused(void **state)
{
    (void)state;
    static const variant variants[] = {
        {"tokenizer.ggml.model", ABSENT, {0}, 0, {0}, PV_NOT_FOUND, "no tokenizer"},
        {"tokenizer.ggml.model", STRING, {"rwkv"}, 0, {0}, PV_UNSUPPORTED, "'rwkv'"},
        {"tokenizer.ggml.model", STRING, {"plamo2"}, 0, {0}, PV_UNSUPPORTED, "'plamo2'"},
        {"tokenizer.ggml.model", NUMBER, {0}, 0, {7}, PV_BAD_FILE, "tokenizer.ggml.model"},
        {"tokenizer.ggml.pre", ABSENT, {0}, 0, {0}, PV_UNSUPPORTED, "tokenizer.ggml.pre is missing"},
        {"tokenizer.ggml.pre", STRING, {"default"}, 0, {0}, PV_UNSUPPORTED, "'default'"},
        {"tokenizer.ggml.pre", STRING, {"kimi-k2"}, 0, {0}, PV_UNSUPPORTED, "'kimi-k2'"},
        {"tokenizer.ggml.pre", STRING, {""}, 0, {0}, PV_UNSUPPORTED, "''"},
        {"tokenizer.ggml.tokens", ABSENT, {0}, 0, {0}, PV_BAD_FILE, "tokenizer.ggml.tokens is missing"},
        {"tokenizer.ggml.tokens", STRING, {"a"}, 0, {0}, PV_BAD_FILE, "tokenizer.ggml.tokens is no array"},
        {"tokenizer.ggml.tokens", NUMBERS, {0}, 5, {1, 2, 3, 4, 5}, PV_BAD_FILE, "no array of strings"},
        {"tokenizer.ggml.tokens", STRINGS, {0}, 0, {0}, PV_BAD_FILE, "has 0 elements"},
        {"tokenizer.ggml.tokens",
         STRINGS,
         {"a", "b", "ab", "<s>"},
         4,
         {0},
         PV_BAD_FILE,
         "token_type has 5 elements, but there are 4"},
        {"tokenizer.ggml.tokens",
         STRINGS,
         {"a", "b", "ab", "a", "</s>"},
         5,
         {0},
         PV_BAD_FILE,
         "tokens 0 and 3 have the same spelling \"a\""},
        {"tokenizer.ggml.tokens", STRINGS, {"a", "b", "ab", "</s>", "</s>"}, 5, {0}, PV_BAD_FILE, "same spelling"},
        {"tokenizer.ggml.tokens", STRINGS, {"a", "b", "x", "<s>", "</s>"}, 5, {0}, PV_BAD_FILE, "merge 0: \"ab\" is no token"},
        {"tokenizer.ggml.token_type", STRINGS, {"1"}, 1, {0}, PV_BAD_FILE, "no array of integers"},
        {"tokenizer.ggml.token_type", FLOATS, {0}, 5, {1, 1, 1, 3, 3}, PV_BAD_FILE, "no array of integers"},
        {"tokenizer.ggml.token_type", NUMBER, {0}, 0, {1}, PV_BAD_FILE, "token_type is no array"},
        {"tokenizer.ggml.token_type", NUMBERS, {0}, 6, {1, 1, 1, 3, 3, 3}, PV_BAD_FILE, "token_type has 6 elements"},
        {"tokenizer.ggml.token_type", NUMBERS, {0}, 5, {1, 1, 7, 3, 3}, PV_BAD_FILE, "token_type of token 2 is 7"},
        {"tokenizer.ggml.token_type", NUMBERS, {0}, 5, {1, -1, 1, 3, 3}, PV_BAD_FILE, "token_type of token 1 is -1"},
        {"tokenizer.ggml.scores", FLOATS, {0}, 4, {0}, PV_BAD_FILE, "scores has 4 elements"},
        {"tokenizer.ggml.scores", STRINGS, {"1"}, 1, {0}, PV_BAD_FILE, "no array of numbers"},
        {"tokenizer.ggml.merges", ABSENT, {0}, 0, {0}, PV_BAD_FILE, "tokenizer.ggml.merges is missing"},
        {"tokenizer.ggml.merges", NUMBERS, {0}, 1, {1}, PV_BAD_FILE, "no array of strings"},
        {"tokenizer.ggml.merges", STRINGS, {"ab"}, 1, {0}, PV_BAD_FILE, "merge 0 is \"ab\""},
        {"tokenizer.ggml.merges", STRINGS, {""}, 1, {0}, PV_BAD_FILE, "merge 0 is \"\""},
        {"tokenizer.ggml.merges", STRINGS, {"a b a"}, 1, {0}, PV_BAD_FILE, "one space"},
        {"tokenizer.ggml.merges", STRINGS, {"a b", "a c"}, 2, {0}, PV_BAD_FILE, "merge 1: \"c\" is no token"},
        {"tokenizer.ggml.merges", STRINGS, {" a"}, 1, {0}, PV_BAD_FILE, "merge 0: \"\" is no token"},
        {"tokenizer.ggml.merges", STRINGS, {"b a"}, 1, {0}, PV_BAD_FILE, "merge 0: \"ba\" is no token"},
        {"tokenizer.ggml.merges", STRINGS, {"a b", "a b"}, 2, {0}, PV_BAD_FILE, "merge 1 repeats merge 0"},
        {"tokenizer.ggml.bos_token_id", NUMBER, {0}, 0, {5}, PV_BAD_FILE, "bos_token_id is 5, but there are 5 tokens"},
        {"tokenizer.ggml.eos_token_id", NUMBER, {0}, 0, {-1}, PV_BAD_FILE, "eos_token_id is 4294967295"},
        {"tokenizer.ggml.eot_token_id", STRING, {"2"}, 0, {0}, PV_BAD_FILE, "eot_token_id"},
        {"tokenizer.ggml.eom_token_id", NUMBER, {0}, 0, {99}, PV_BAD_FILE, "eom_token_id is 99"},
        {"tokenizer.ggml.add_bos_token", STRING, {"yes"}, 0, {0}, PV_BAD_FILE, "add_bos_token"},
    };
    pv_allocator allocator = pv_allocator_default();
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        pv_tokenizer *tokenizer = NULL;
        pv_error error = {0};
        pv_status status = tk_load(&allocator, write_variant(&variants[i]), &tokenizer, &error);
        if (status != variants[i].status || error.status != status || !strstr(error.message, variants[i].message))
            fail_msg("%s, variant %zu: %s: %s", variants[i].key, i, pv_status_name(status), error.message);
        assert_null(tokenizer);
    }
}

static void ggufs_with_less_are_good(void **state)
{
    (void)state;
    static const struct {
        variant variant;
        int32_t bos;
        bool add_bos;
        size_t ends;
    } variants[] = {
        {{.key = "tokenizer.ggml.token_type"}, 3, true, 2},
        {{.key = "tokenizer.ggml.scores"}, 3, true, 2},
        {{.key = "tokenizer.ggml.bos_token_id"}, -1, false, 2},
        {{.key = "tokenizer.ggml.eos_token_id"}, 3, true, 2}, /* </s> is known by its spelling */
        {{.key = "tokenizer.ggml.eot_token_id"}, 3, true, 2},
        {{.key = "tokenizer.ggml.add_bos_token"}, 3, false, 2},
        {{.key = "tokenizer.ggml.pre", .kind = STRING, .texts = {"llama-bpe"}}, 3, true, 2},
        {{.key = "tokenizer.ggml.merges", .kind = STRINGS}, 3, true, 2},
        {{.key = "tokenizer.ggml.tokens", .kind = STRINGS, .texts = {"a", "b", "ab", "", ""}, .count = 5}, 3, true, 2},
    };
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        bool add_bos = !variants[i].add_bos;
        size_t count;
        pv_tokenizer *tokenizer = tk_open(write_variant(&variants[i].variant));
        assert_int_equal(pv_tokenizer_bos(tokenizer, &add_bos), variants[i].bos);
        assert_int_equal(add_bos, variants[i].add_bos);
        pv_tokenizer_ends(tokenizer, &count);
        assert_int_equal(count, variants[i].ends);
        pv_tokenizer_destroy(tokenizer);
    }
}

/* ---- GGUF by characters ---- */

/* Eight tokens of a model of SentencePiece's kind, its scores given as numbers of any type. */
static const char *write_scored(kind type, const int32_t scores[8], const char *model)
{
    pv_allocator allocator = pv_allocator_default();
    pv_model_writer *writer = NULL;
    const char *path = tf_path("scored.gguf");
    uint64_t dim = 1;
    float weight = 1;
    const variant tokens = {.kind = STRINGS, .texts = {"<unk>", "<s>", "a", "b", "c", "ab", "bc", "abc"}, .count = 8};
    const variant types = {.kind = NUMBERS, .numbers = {2, 3, 1, 1, 1, 1, 1, 1}, .count = 8};
    variant given = {.kind = type, .count = 8};
    memcpy(given.numbers, scores, sizeof given.numbers);
    assert_int_equal(pv_model_writer_open(&allocator, PV_SOURCE_GGUF, path, &writer, NULL), PV_OK);
    assert_int_equal(pv_model_writer_string(writer, "general.architecture", "llama", NULL), PV_OK);
    assert_int_equal(pv_model_writer_string(writer, "tokenizer.ggml.model", model, NULL), PV_OK);
    assert_int_equal(pv_model_writer_bool(writer, "tokenizer.ggml.add_space_prefix", false, NULL), PV_OK);
    write_value(writer, "tokenizer.ggml.tokens", &tokens);
    write_value(writer, "tokenizer.ggml.token_type", &types);
    write_value(writer, "tokenizer.ggml.scores", &given);
    assert_int_equal(pv_model_writer_declare(writer, "weight", PV_LAYOUT_F32, 1, &dim, NULL), PV_OK);
    assert_int_equal(pv_model_writer_data(writer, &weight, sizeof weight, NULL), PV_OK);
    assert_int_equal(pv_model_writer_commit(writer, NULL), PV_OK);
    pv_model_writer_close(writer);
    return path;
}

/* Not numbered: an array of bytes was read as one of floats. Here the type that the file gives is the type that is read. */
static void incident_scores_of_another_type(void **state)
{
    (void)state;
    static const kind types[] = {FLOATS, NUMBERS};
    static const struct {
        int32_t scores[8], ids[3];
        size_t count;
    } cases[] = {
        {{0, 0, 0, 0, 0, -1, -2, -9}, {7}, 1},                  /* ab, then abc */
        {{0, 0, 0, 0, 0, -9, -2, -9}, {7}, 1},                  /* bc, then abc */
        {{0, 0, 0, 0, 0, 1000000000, -2000000000, -9}, {7}, 1}, /* large ones in order, too */
    };
    for (size_t t = 0; t < 2; t++) {
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            pv_tokenizer *tokenizer = tk_open(write_scored(types[t], cases[i].scores, "llama"));
            pv_tokens tokens = tk_encode(tokenizer, "abc", 3, 0);
            assert_int_equal(tokens.count, cases[i].count);
            assert_memory_equal(tokens.ids, cases[i].ids, tokens.count * sizeof *tokens.ids);
            pv_tokens_free(&tokens);
            tokens = tk_encode(tokenizer, "abcb", 4, 0);
            assert_int_equal(tokens.count, 2);
            assert_int_equal(tokens.ids[1], 3);
            pv_tokens_free(&tokens);
            pv_tokenizer_destroy(tokenizer);
        }
    }
}

static void scores_decide_between_words(void **state)
{
    (void)state;
    static const struct {
        int32_t scores[8], ids[3];
        size_t count;
    } cases[] = {
        {{0, 0, -1, -1, -1, -1, -9, -9}, {5, 4}, 2},
        {{0, 0, -1, -1, -1, -9, -1, -9}, {2, 6}, 2},
        {{0, 0, -1, -1, -1, -9, -9, -2}, {7}, 1},
        {{0, 0, -1, -1, -1, -9, -9, -9}, {2, 3, 4}, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pv_tokenizer *tokenizer = tk_open(write_scored(FLOATS, cases[i].scores, "t5"));
        pv_tokens tokens = tk_encode(tokenizer, "abc", 3, 0);
        assert_int_equal(tokens.count, cases[i].count);
        assert_memory_equal(tokens.ids, cases[i].ids, tokens.count * sizeof *tokens.ids);
        pv_tokens_free(&tokens);
        pv_tokenizer_destroy(tokenizer);
    }
}

/* Looking for such a token would take its length at each byte of a text that is like it. */
static void tokens_of_a_tree_that_are_too_long_are_refused(void **state)
{
    (void)state;
    static const char *const heads[] = {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"",
                                        "{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"[UNK]\":0,\""};
    static const char *const tails[] = {"\",-1.5]]}}", "\":1}}}"};
    pv_allocator allocator = pv_allocator_default();
    for (size_t i = 0; i < 2; i++) {
        for (size_t length = 1024; length <= 1025; length++) {
            char json[1200];
            pv_tokenizer *tokenizer = NULL;
            pv_error error = {0};
            size_t head = strlen(heads[i]);
            memcpy(json, heads[i], head);
            memset(json + head, 'a', length);
            strcpy(json + head + length, tails[i]);
            assert_int_equal(tk_read(&allocator, json, &tokenizer, &error), length == 1024 ? PV_OK : PV_BAD_FILE);
            if (length > 1024) assert_non_null(strstr(error.message, "has 1025 bytes, more than 1024"));
            pv_tokenizer_destroy(tokenizer);
        }
    }
}

/* -14.240382194519043 is read one unit nearer to zero than it is: of seven-letter words in a row the single one comes fourth.
 */
static void scores_are_read_as_hugging_face_reads_them(void **state)
{
    (void)state;
    static const char json[] =
        "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"x\",-18.627567291259766],[\"!\",-8.315353393554688],"
        "[\"!!!!!!!\",-14.240382194519043],[\"y\",-2.1716766357421875]]}}";
    static const int32_t wanted[] = {3, 0, 2, 2, 2, 1, 2, 2, 2, 2, 2};
    char text[60] = "yx";
    memset(text + 2, '!', 57);
    pv_allocator allocator = pv_allocator_default();
    pv_tokenizer *tokenizer = NULL;
    assert_int_equal(tk_read(&allocator, json, &tokenizer, NULL), PV_OK);
    pv_tokens tokens = tk_encode(tokenizer, text, 59, 0);
    assert_int_equal(tokens.count, sizeof wanted / sizeof *wanted);
    assert_memory_equal(tokens.ids, wanted, sizeof wanted);
    pv_tokens_free(&tokens);
    pv_tokenizer_destroy(tokenizer);
}

/* ---- tokenizer.json ---- */

#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true}"
#define MODEL "{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}"
#define WITH(rest) "{\"pre_tokenizer\":" BYTE_LEVEL ",\"model\":" MODEL "," rest "}"
#define WITH_MODEL(model) "{\"pre_tokenizer\":" BYTE_LEVEL ",\"model\":{" model "}}"
#define WITH_PRE(pre) "{\"pre_tokenizer\":" pre ",\"model\":" MODEL "}"
#define WITH_SPLIT(split) WITH_PRE("{\"type\":\"Sequence\",\"pretokenizers\":[" split "," BYTE_LEVEL "]}")
#define VOCAB "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2}"
#define PLAIN(model) "{\"model\":{" model "}}"
#define DECODED(decoders) "{\"decoder\":{\"type\":\"Sequence\",\"decoders\":[" decoders "]},\"model\":" MODEL "}"
#define ADDED(token) WITH("\"added_tokens\":[" token "]")

static void jsons_that_are_wrong_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        pv_status status;
        const char *message;
    } cases[] = {
        {"", PV_BAD_FILE, "tokenizer.json"},
        {"[]", PV_BAD_FILE, "tokenizer.json"},
        {"{}", PV_BAD_FILE, "no model"},
        {"{\"model\":null}", PV_BAD_FILE, "object"},
        {WITH("\"model\":" MODEL), PV_BAD_FILE, "twice"},
        {WITH("\"normalizer\":null") " x", PV_BAD_FILE, "tokenizer.json"},
        {WITH("\"normalizer\":{\"type\":\"ByteLevel\"}"), PV_UNSUPPORTED, "normalizer 'ByteLevel'"},
        {WITH("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Other\"}]}"),
         PV_UNSUPPORTED, "normalizer 'Other'"},
        {WITH("\"normalizer\":{\"type\":\"Replace\",\"content\":\"x\"}"), PV_BAD_FILE, "no pattern"},
        {WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"x\"}"), PV_UNSUPPORTED,
         "an empty string"},
        {WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"[a&&b]\"},\"content\":\"x\"}"), PV_UNSUPPORTED,
         "&&"},
        {WITH("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":7}"), PV_BAD_FILE, "content"},
        {WITH("\"normalizer\":{\"type\":\"BertNormalizer\",\"strip_accents\":7}"), PV_BAD_FILE, "strip_accents"},
        {WITH("\"normalizer\":{\"type\":\"BertNormalizer\",\"lowercase\":7}"), PV_BAD_FILE, "lowercase"},
        {WITH("\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"?\"}"), PV_BAD_FILE, "no base64"},
        {WITH("\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAA=\"}"), PV_BAD_FILE, "has 2 bytes"},
        {WITH("\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAAAAA==\"}"), PV_BAD_FILE, "has 0 bytes"},
        {WITH("\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"/////wAA\"}"), PV_BAD_FILE,
         "has 4294967295 bytes, but 2 follow"},
        {WITH("\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"BAAAAAAAAAD/\"}"), PV_BAD_FILE,
         "no UTF-8 at byte 0"},
        {WITH("\"normalizer\":{}"), PV_BAD_FILE, "with a type"},
        {WITH("\"normalizer\":7"), PV_BAD_FILE, "normalizer"},
        {WITH("\"normalizer\":{\"type\":7}"), PV_BAD_FILE, "type"},
        {WITH("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":7}"), PV_BAD_FILE, "normalizers"},
        {WITH("\"decoder\":{\"type\":\"Metaspace\"}"), PV_UNSUPPORTED, "the pre-tokenizer is ByteLevel, but not the decoder"},
        {"{\"decoder\":" BYTE_LEVEL ",\"model\":" MODEL "}", PV_UNSUPPORTED,
         "the decoder is ByteLevel, but not the pre-tokenizer"},
        {WITH("\"decoder\":{\"type\":\"CTC\"}"), PV_UNSUPPORTED, "decoder 'CTC'"},
        {DECODED("{\"type\":\"Fuse\"},{\"type\":\"ByteFallback\"}"), PV_UNSUPPORTED, "ByteFallback behind Fuse"},
        {DECODED("{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}"), PV_UNSUPPORTED, "Strip of that kind"},
        {DECODED("{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":1}"), PV_UNSUPPORTED,
         "Strip of that kind"},
        {DECODED("{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":-1,\"stop\":0}"), PV_UNSUPPORTED,
         "Strip of that kind"},
        {DECODED("{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":\"1\"}"), PV_BAD_FILE, "number"},
        {DECODED("{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"bb\"}"), PV_UNSUPPORTED,
         "Replace of that kind"},
        {DECODED("{\"type\":\"Fuse\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\"ab\"},\"content\":\"b\"}"),
         PV_UNSUPPORTED, "Replace of that kind"},
        {DECODED("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"a\"},\"content\":\"b\"}"), PV_UNSUPPORTED,
         "Replace of that kind"},
        {DECODED("{\"type\":\"WordPiece\",\"prefix\":\"seventeen bytes!!\",\"cleanup\":true}"), PV_UNSUPPORTED, "short prefix"},
        {WITH("\"post_processor\":{\"type\":\"Other\"}"), PV_UNSUPPORTED, "post-processor 'Other'"},
        {WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}}]}"),
         PV_BAD_FILE, "'<s>' first, which is no token"},
        {WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":7}"), PV_BAD_FILE, "single"},
        {WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[7]}"), PV_BAD_FILE, "single"},
        {WITH_PRE("{\"type\":\"UnicodeScripts\"}"), PV_UNSUPPORTED, "pre-tokenizer 'UnicodeScripts'"},
        {WITH_PRE("{\"type\":\"FixedLength\"}"), PV_UNSUPPORTED, "pre-tokenizer 'FixedLength'"},
        {WITH_PRE("{\"type\":\"Metaspace\",\"replacement\":\"ab\"}"), PV_BAD_FILE, "must be one character"},
        {WITH_PRE("{\"type\":\"Metaspace\",\"prepend_scheme\":\"often\"}"), PV_UNSUPPORTED, "'often'"},
        {WITH_PRE("{\"type\":\"Punctuation\",\"behavior\":\"Sideways\"}"), PV_UNSUPPORTED, "'Sideways'"},
        {WITH_PRE("{\"type\":\"CharDelimiterSplit\"}"), PV_UNSUPPORTED, "empty string"},
        {WITH_PRE("{\"type\":\"Sequence\",\"pretokenizers\":[" BYTE_LEVEL ",{\"type\":\"Metaspace\"}]}"), PV_UNSUPPORTED,
         "behind ByteLevel"},
        {WITH_PRE("{\"type\":\"Sequence\",\"pretokenizers\":[" BYTE_LEVEL "," BYTE_LEVEL "]}"), PV_UNSUPPORTED,
         "behind ByteLevel"},
        {WITH_SPLIT("{\"type\":\"Split\",\"behavior\":\"Isolated\",\"invert\":false}"), PV_BAD_FILE, "no pattern"},
        {WITH_SPLIT("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Sideways\"}"), PV_UNSUPPORTED,
         "'Sideways'"},
        {WITH_SPLIT("{\"type\":\"Split\",\"pattern\":{\"Glob\":\"a\"},\"behavior\":\"Isolated\"}"), PV_BAD_FILE,
         "a String or a Regex"},
        {WITH_SPLIT("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[\\\\p{L}&&\\\\p{Han}]\"},\"behavior\":\"Isolated\"}"),
         PV_UNSUPPORTED, "&&"},
        {WITH_SPLIT("{\"type\":\"Split\",\"pattern\":{\"String\":\"\"},\"behavior\":\"Isolated\"}"), PV_UNSUPPORTED,
         "empty string"},
        {WITH_SPLIT("{\"type\":\"Digits\",\"individual_digits\":7}"), PV_BAD_FILE, "individual_digits"},
        {WITH_MODEL("\"type\":\"WordLevel\",\"vocab\":{}"), PV_UNSUPPORTED, "'WordLevel'"},
        {WITH_MODEL("\"type\":\"Unigram\",\"vocab\":[]"), PV_UNSUPPORTED, "Unigram model behind ByteLevel"},
        {WITH_MODEL("\"type\":\"WordPiece\",\"vocab\":{}"), PV_UNSUPPORTED, "WordPiece model behind ByteLevel"},
        {PLAIN("\"type\":\"Unigram\",\"vocab\":[]"), PV_BAD_FILE, "no tokens"},
        {PLAIN("\"type\":\"Unigram\",\"vocab\":{\"a\":0}"), PV_BAD_FILE, "must be an array"},
        {PLAIN("\"type\":\"Unigram\",\"vocab\":[[\"a\",-1.5],7]"), PV_BAD_FILE, "must be a pair"},
        {PLAIN("\"type\":\"Unigram\",\"vocab\":[[\"a\"]]"), PV_BAD_FILE, "number"},
        {PLAIN("\"type\":\"Unigram\",\"vocab\":[[7,-1.5]]"), PV_BAD_FILE, "string"},
        {PLAIN("\"type\":\"Unigram\",\"vocab\":[[\"a\",-1.5,0]]"), PV_BAD_FILE, "]"},
        {PLAIN("\"type\":\"Unigram\",\"vocab\":[[\"a\",-1e300]]"), PV_BAD_FILE, "score of token 0"},
        {PLAIN("\"type\":\"Unigram\",\"vocab\":[[\"a\",0],[\"a\",0]]"), PV_BAD_FILE, "same spelling"},
        {PLAIN("\"type\":\"Unigram\",\"unk_id\":1,\"vocab\":[[\"a\",0]]"), PV_BAD_FILE, "unk_id"},
        {PLAIN("\"type\":\"Unigram\",\"unk_id\":-1,\"vocab\":[[\"a\",0]]"), PV_BAD_FILE, "negative"},
        {PLAIN("\"type\":\"Unigram\",\"unk_id\":9223372036854775807,\"vocab\":[[\"a\",0]]"), PV_BAD_FILE, "unk_id"},
        {PLAIN("\"type\":\"WordPiece\",\"vocab\":[[\"a\",0]]"), PV_BAD_FILE, "must be an object"},
        {PLAIN("\"type\":\"WordPiece\",\"vocab\":{\"a\":0}"), PV_BAD_FILE, "unk_token is no token"},
        {PLAIN("\"type\":\"WordPiece\",\"unk_token\":7,\"vocab\":{\"a\":0}"), PV_BAD_FILE, "unk_token must be"},
        {PLAIN("\"type\":\"WordPiece\",\"unk_token\":\"a\",\"continuing_subword_prefix\":\"seventeen "
               "bytes!!\",\"vocab\":{\"a\":0}"),
         PV_BAD_FILE, "too long"},
        {PLAIN("\"type\":\"WordPiece\",\"max_input_chars_per_word\":-1,\"vocab\":{\"a\":0}"), PV_BAD_FILE, "negative"},
        {WITH_MODEL("\"type\":\"BPE\",\"vocab\":[[\"a\",0]],\"merges\":[]"), PV_BAD_FILE, "must be an object"},
        {WITH_MODEL(VOCAB), PV_UNSUPPORTED, "no type"},
        {WITH_MODEL("\"type\":\"BPE\",\"merges\":[]"), PV_BAD_FILE, "no vocab"},
        {WITH_MODEL("\"type\":\"BPE\"," VOCAB), PV_BAD_FILE, "no merges"},
        {WITH_MODEL("\"type\":\"BPE\",\"vocab\":[],\"merges\":[]"), PV_BAD_FILE, "must be an object"},
        {WITH_MODEL("\"type\":\"BPE\",\"vocab\":{},\"merges\":[]"), PV_BAD_FILE, "no tokens"},
        {WITH_MODEL("\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]"), PV_BAD_FILE, "negative"},
        {WITH_MODEL("\"type\":\"BPE\",\"vocab\":{\"a\":1.5},\"merges\":[]"), PV_BAD_FILE, "integer"},
        {WITH_MODEL("\"type\":\"BPE\",\"vocab\":{\"a\":\"0\"},\"merges\":[]"), PV_BAD_FILE, "number"},
        {WITH_MODEL("\"type\":\"BPE\",\"vocab\":{\"a\":4194304},\"merges\":[]"), PV_BAD_FILE, "over the limit"},
        {WITH_MODEL("\"type\":\"BPE\",\"vocab\":{\"a\":99999999999999999999},\"merges\":[]"), PV_BAD_FILE, "integer"},
        {WITH_MODEL("\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]"), PV_BAD_FILE, "id 0 is given twice"},
        {WITH_MODEL("\"type\":\"BPE\",\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]"), PV_BAD_FILE, "same spelling"},
        {WITH_MODEL("\"type\":\"BPE\"," VOCAB "," VOCAB ",\"merges\":[]"), PV_BAD_FILE, "two vocabularies"},
        {WITH_MODEL("\"type\":\"BPE\"," VOCAB ",\"merges\":[],\"merges\":[]"), PV_BAD_FILE, "merges twice"},
        {WITH_MODEL("\"type\":\"BPE\"," VOCAB ",\"merges\":{}"), PV_BAD_FILE, "must be an array"},
        {WITH_MODEL("\"type\":\"BPE\"," VOCAB ",\"merges\":[7]"), PV_BAD_FILE, "string or a pair"},
        {WITH_MODEL("\"type\":\"BPE\"," VOCAB ",\"merges\":[[\"a\"]]"), PV_BAD_FILE, "string"},
        {WITH_MODEL("\"type\":\"BPE\"," VOCAB ",\"merges\":[[\"a\",\"b\",\"a\"]]"), PV_BAD_FILE, "]"},
        {WITH_MODEL("\"type\":\"BPE\"," VOCAB ",\"merges\":[[\"a\",\"x\"]]"), PV_BAD_FILE, "\"x\" is no token"},
        {WITH_MODEL("\"type\":\"BPE\"," VOCAB ",\"merges\":[\"a b\",[\"a\",\"b\"]]"), PV_BAD_FILE, "merge 1 repeats merge 0"},
        {WITH_MODEL("\"type\":\"BPE\",\"merges\":[[\"a\",\"x\"]]," VOCAB), PV_BAD_FILE, "\"x\" is no token"},
        {WITH_MODEL("\"type\":\"BPE\"," VOCAB ",\"merges\":[],\"byte_fallback\":true"), PV_UNSUPPORTED,
         "byte_fallback behind ByteLevel"},
        {WITH_MODEL("\"type\":\"BPE\"," VOCAB ",\"merges\":[],\"dropout\":0.1"), PV_UNSUPPORTED, "dropout"},
        {WITH_MODEL("\"type\":\"BPE\"," VOCAB ",\"merges\":[],\"end_of_word_suffix\":\"sixteen bytes!!!\""), PV_UNSUPPORTED,
         "end_of_word_suffix of 16"},
        {WITH_MODEL("\"type\":\"BPE\"," VOCAB ",\"merges\":[],\"end_of_word_suffix\":\" w\""), PV_UNSUPPORTED,
         "printable ASCII"},
        {WITH_MODEL("\"type\":\"BPE\"," VOCAB ",\"merges\":[],\"end_of_word_suffix\":7"), PV_BAD_FILE,
         "end_of_word_suffix must be"},
        {WITH_MODEL("\"type\":\"BPE\"," VOCAB ",\"merges\":[],\"continuing_subword_prefix\":\"##\""), PV_UNSUPPORTED,
         "continuing_subword_prefix"},
        {WITH_MODEL("\"type\":\"BPE\"," VOCAB ",\"merges\":[],\"ignore_merges\":7"), PV_BAD_FILE, "true or false"},
        {ADDED("7"), PV_BAD_FILE, "must be an object"},
        {ADDED("{\"content\":\"x\"}"), PV_BAD_FILE, "no id"},
        {ADDED("{\"id\":-4,\"content\":\"x\"}"), PV_BAD_FILE, "out of range"},
        {ADDED("{\"id\":4194304,\"content\":\"x\"}"), PV_BAD_FILE, "out of range"},
        {ADDED("{\"id\":4}"), PV_BAD_FILE, "0 bytes"},
        {ADDED("{\"id\":4,\"content\":\"\"}"), PV_BAD_FILE, "0 bytes"},
        {ADDED("{\"id\":4,\"content\":\"x\",\"special\":1}"), PV_BAD_FILE, "true or false"},
        {ADDED("{\"id\":4,\"content\":\"x\"},{\"id\":4,\"content\":\"y\"}"), PV_BAD_FILE, "id 4 is given twice"},
        {ADDED("{\"id\":4,\"content\":\"x\"},{\"id\":5,\"content\":\"x\"}"), PV_BAD_FILE, "\"x\" is given twice"},
        {ADDED("{\"id\":1,\"content\":\"x\"}"), PV_BAD_FILE, "another token"},
        {ADDED("{\"id\":4,\"content\":\"a\"}"), PV_BAD_FILE, "has id 4, but 0 in the vocabulary"},
        {WITH("\"added_tokens\":{}"), PV_BAD_FILE, "must be an array"},
    };
    pv_allocator allocator = pv_allocator_default();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pv_tokenizer *tokenizer = NULL;
        pv_error error = {0};
        pv_status status = tk_read(&allocator, cases[i].json, &tokenizer, &error);
        if (status != cases[i].status || error.status != status || !strstr(error.message, cases[i].message))
            fail_msg("case %zu: %s: %s: %s", i, cases[i].json, pv_status_name(status), error.message);
    }
}

static void jsons_with_the_same_content_are_alike(void **state)
{
    (void)state;
    static const char *const jsons[] = {
        WITH("\"normalizer\":null"),
        WITH_MODEL(VOCAB ",\"merges\":[[\"a\",\"b\"]]"),            /* of before there were types */
        WITH_MODEL("\"merges\":[\"a b\"],\"type\":\"BPE\"," VOCAB), /* merges first */
        WITH_MODEL(
            "\"type\":\"BPE\"," VOCAB ",\"merges\":[\"a b\"],\"dropout\":null,\"unk_token\":null,\"fuse_unk\":false,"
            "\"continuing_subword_prefix\":\"\",\"end_of_word_suffix\":\"\",\"byte_fallback\":false,\"ignore_merges\":false"),
        WITH("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[]},\"decoder\":" BYTE_LEVEL
             ",\"truncation\":null,\"version\":\"1.0\""),
    };
    pv_allocator allocator = pv_allocator_default();
    for (size_t i = 0; i < sizeof jsons / sizeof *jsons; i++) {
        pv_tokenizer *tokenizer = NULL;
        pv_error error = {0};
        if (tk_read(&allocator, jsons[i], &tokenizer, &error) != PV_OK) fail_msg("%s: %s", jsons[i], error.message);
        pv_tokens tokens = tk_encode(tokenizer, "abba", 4, 0);
        assert_int_equal(tokens.count, 3);
        assert_memory_equal(tokens.ids, ((int32_t[]){2, 1, 0}), 3 * sizeof(int32_t));
        pv_tokens_free(&tokens);
        pv_tokenizer_destroy(tokenizer);
    }
}

static void ids_may_have_holes(void **state)
{
    (void)state;
    pv_allocator allocator = pv_allocator_default();
    pv_tokenizer *tokenizer = NULL;
    const char *bytes = NULL;
    size_t length = 9;
    bool control = true;
    assert_int_equal(
        tk_read(&allocator, WITH_MODEL("\"type\":\"BPE\",\"vocab\":{\"b\":7,\"\":3},\"merges\":[]"), &tokenizer, NULL), PV_OK);
    assert_int_equal(pv_tokenizer_size(tokenizer), 8);
    for (int32_t id = 0; id < 7; id++) {
        assert_true(pv_tokenizer_bytes(tokenizer, id, &bytes, &length, &control));
        assert_int_equal(length, 0);
        assert_false(control);
    }
    pv_tokens tokens = tk_encode(tokenizer, "ab", 2, 0); /* no token for a, and none that stands for it */
    assert_int_equal(tokens.count, 1);
    assert_int_equal(tokens.ids[0], 7);
    pv_tokens_free(&tokens);
    pv_tokenizer_destroy(tokenizer);
}

static void a_folder_needs_a_tokenizer(void **state)
{
    (void)state;
    static const char header[] = "{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
    static const char config[] = "{\"bos_token\":\"a\",\"eos_token\":{\"content\":\"b\"},\"add_bos_token\":true}";
    pv_allocator allocator = pv_allocator_default();
    tf_bytes bytes = {0};
    tf_number(&bytes, sizeof header - 1, 8);
    tf_add(&bytes, header, sizeof header - 1);
    tf_number(&bytes, 0, 4);
    tf_write("model.safetensors", bytes.data, bytes.length);
    tf_free(&bytes);
    pv_tokenizer *tokenizer = NULL;
    pv_error error = {0};
    assert_int_equal(tk_load(&allocator, tf_path("."), &tokenizer, &error), PV_NOT_FOUND);
    assert_non_null(strstr(error.message, "tokenizer.json"));
    tf_write("tokenizer.json", WITH("\"normalizer\":null"), strlen(WITH("\"normalizer\":null")));
    assert_int_equal(tk_load(&allocator, tf_path("."), &tokenizer, &error), PV_OK);
    assert_int_equal(pv_tokenizer_bos(tokenizer, NULL), -1);
    pv_tokenizer_destroy(tokenizer);
    tokenizer = NULL;
    tf_write("tokenizer_config.json", config, sizeof config - 1);
    assert_int_equal(tk_load(&allocator, tf_path("."), &tokenizer, &error), PV_OK);
    bool add_bos = false;
    size_t count;
    assert_int_equal(pv_tokenizer_bos(tokenizer, &add_bos), 0);
    assert_true(add_bos);
    assert_int_equal(*pv_tokenizer_ends(tokenizer, &count), 1);
    assert_int_equal(count, 1);
    pv_tokenizer_destroy(tokenizer);
    tokenizer = NULL;
    tf_write("tokenizer_config.json", "{", 1);
    assert_int_equal(tk_load(&allocator, tf_path("."), &tokenizer, &error), PV_BAD_FILE);
    assert_non_null(strstr(error.message, "tokenizer_config.json"));
    assert_null(tokenizer);
}

/* Cut at every place, the file is no tokenizer. */
static void cut_jsons_are_refused(void **state)
{
    (void)state;
    static const char whole[] =
        WITH_SPLIT("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[ab]\"},\"behavior\":\"Isolated\",\"invert\":false}");
    pv_allocator allocator = pv_allocator_default();
    char part[sizeof whole];
    pv_tokenizer *tokenizer = NULL;
    for (size_t length = 0; length < sizeof whole - 1; length++) {
        memcpy(part, whole, length);
        part[length] = '\0';
        assert_int_equal(tk_read(&allocator, part, &tokenizer, NULL), PV_BAD_FILE);
    }
    assert_int_equal(tk_read(&allocator, whole, &tokenizer, NULL), PV_OK);
    pv_tokenizer_destroy(tokenizer);
}

/* ---- Memory ---- */

static pv_status load_and_encode(const pv_allocator *allocator, const char *path, uint64_t *ids, pv_error *error)
{
    /* Long enough for the cache, with a long word, text to normalize and patterns of every kind. */
    static const char line[] = "word <|im_end|> e\xcc\x81\xcc\xa3 a_b-c!! \xe4\xb8\xad\xe6\x96\x87 1234 "
                               "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n";
    char text[8 * sizeof line] = "";
    for (int i = 0; i < 8; i++) strcat(text, line);
    pv_tokenizer *tokenizer = NULL;
    pv_status status = tk_load(allocator, path, &tokenizer, error);
    if (status != PV_OK) return status;
    pv_tokens tokens;
    pv_tokens_init(&tokens, allocator);
    status = pv_tokenizer_encode(tokenizer, text, strlen(text), PV_ENCODE_SPECIAL, &tokens, error);
    if (status != PV_OK) assert_int_equal(tokens.count, 0);
    *ids = tokens.count;
    for (size_t i = 0; i < tokens.count; i++) *ids = *ids * 31 + (uint64_t)tokens.ids[i];
    pv_tokens_free(&tokens);
    pv_tokenizer_destroy(tokenizer);
    return status;
}

static void memory_runs_out_anywhere(void **state)
{
    (void)state;
    static const char *const paths[] = {TK_FIXTURES "odd",         TK_FIXTURES "deepseek3",  TK_FIXTURES "llama3",
                                        TK_FIXTURES "smollm.gguf", TK_FIXTURES "phi3",       TK_FIXTURES "t5",
                                        TK_FIXTURES "xlmr",        TK_FIXTURES "bert",       TK_FIXTURES "llama2.gguf",
                                        TK_FIXTURES "t5.gguf",     TK_FIXTURES "bert.gguf",  TK_FIXTURES "falcon.gguf",
                                        TK_FIXTURES "clip",        TK_FIXTURES "gemma4.gguf"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        rt_memory memory;
        uint64_t wanted = 0, found = 0, failures = 0;
        rt_memory_init(&memory, 0);
        assert_int_equal(load_and_encode(&memory.allocator, paths[i], &wanted, NULL), PV_OK);
        assert_int_equal(memory.live, 0);
        uint64_t calls = memory.calls;
        for (uint64_t fail_at = 1; fail_at <= calls; fail_at++) {
            pv_error error = {0};
            rt_memory_init(&memory, fail_at);
            pv_status status = load_and_encode(&memory.allocator, paths[i], &found, &error);
            if (status != PV_OK) {
                assert_int_equal(status, PV_OUT_OF_MEMORY);
                assert_int_equal(error.status, PV_OUT_OF_MEMORY);
                failures++;
            } else {
                assert_int_equal(found, wanted); /* only the cache is done without */
            }
            assert_int_equal(memory.live, 0);
        }
        assert_int_equal(failures, calls - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_small_gguf_is_good),
        cmocka_unit_test(ggufs_with_a_wrong_key_are_refused),
        cmocka_unit_test(ggufs_with_less_are_good),
        cmocka_unit_test(incident_scores_of_another_type),
        cmocka_unit_test(scores_decide_between_words),
        cmocka_unit_test(tokens_of_a_tree_that_are_too_long_are_refused),
        cmocka_unit_test(scores_are_read_as_hugging_face_reads_them),
        cmocka_unit_test(jsons_that_are_wrong_are_refused),
        cmocka_unit_test(jsons_with_the_same_content_are_alike),
        cmocka_unit_test(ids_may_have_holes),
        cmocka_unit_test(a_folder_needs_a_tokenizer),
        cmocka_unit_test(cut_jsons_are_refused),
        cmocka_unit_test(memory_runs_out_anywhere),
    };
    return cmocka_run_group_tests(tests, tf_make_folder, tf_remove_folder);
}
