/* Tokenizers against Hugging Face `tokenizers`: the pipelines of well-known models over small vocabularies, and a mixed corpus
 * (golden/tokenizer, made by golden/make_tokenizer.py and make_tokenizer_families.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/json.h"
#include "support_files.h"
#include "support_tokenizer.h"

static const struct fixture {
    const char *path, *cases;
    bool joins; /* the cases tell what ids decode to */
    bool exact; /* ids give back the very text: nothing normalizes or removes */
    uint32_t size;
    int32_t bos;
    bool add_bos;
    const char *ends[4];
} fixtures[] = {
    {"gpt2", "gpt2/cases.json", true, true, 1000, -1, false, {"<|endoftext|>"}},
    {"llama3", "llama3/cases.json", true, true, 1503, 1501, true, {"<|endoftext|>", "<|im_end|>"}},
    {"qwen2", "qwen2/cases.json", false, false, 1503, -1, false, {"<|endoftext|>", "<|im_end|>"}},
    {"smollm", "smollm/cases.json", true, true, 1200, -1, false, {"<|endoftext|>", "<|im_end|>"}},
    {"gpt4o", "gpt4o/cases.json", true, true, 1003, -1, false, {"<|endoftext|>", "<|im_end|>"}},
    {"deepseek3", "deepseek3/cases.json", true, true, 1003, -1, false, {"<|endoftext|>", "<|im_end|>"}},
    {"odd", "odd/cases.json", false, false, 713, -1, false, {"<|endoftext|>", "<|im_end|>"}},
    {"smollm.gguf", "smollm/cases.json", true, true, 1200, 1, false, {"<|im_end|>", "<|endoftext|>"}},
    {"llama2", "llama2/cases.json", true, true, 1159, 1, true, {"</s>"}},
    {"phi3", "phi3/cases.json", true, false, 1164, 1, true, {"</s>", "<|end|>"}},
    {"llama-metaspace", "llama-metaspace/cases.json", true, false, 1159, 1, true, {"</s>"}},
    {"gemma", "gemma/cases.json", true, true, 1167, 2, true, {"<eos>", "<end_of_turn>"}},
    {"t5", "t5/cases.json", true, false, 646, -1, false, {"</s>"}},
    {"xlmr", "xlmr/cases.json", true, false, 903, 1, true, {"</s>"}},
    {"bert", "bert/cases.json", true, false, 828, 2, true, {0}},
    {"pieces", "pieces/cases.json", true, false, 700, -1, false, {0}},
    {"llama2.gguf", "llama2.cases.json", true, true, 1000, 1, true, {"</s>"}},
    {"gemma.gguf", "gemma.cases.json", true, true, 1000, 1, true, {"</s>"}},
    {"t5.gguf", "t5.cases.json", true, false, 646, 1, false, {"</s>"}},
    {"falcon", "falcon/cases.json", true, true, 1000, -1, false, {"<|endoftext|>", "<|im_end|>"}},
    {"falcon.gguf", "falcon/cases.json", true, true, 1000, 1, false, {"<|im_end|>", "<|endoftext|>"}},
    {"clip", "clip/cases.json", false, false, 900, 1, true, {"<|endoftext|>"}},
    {"gemma4", "gemma4/cases.json", true, true, 1162, 2, true, {"<eos>", "<turn|>"}},
    {"gemma4.gguf", "gemma4/cases.json", true, true, 1162, 2, true, {"<eos>", "<turn|>"}},
    {"bert.gguf", "bert/cases.json", false, false, 828, 2, true, {"[SEP]"}},
};
#define FIXTURES (sizeof fixtures / sizeof *fixtures)

static pv_tokenizer *open_fixture(const struct fixture *fixture)
{
    char path[512];
    snprintf(path, sizeof path, TK_FIXTURES "%s", fixture->path);
    return tk_open(path);
}

static pv_tokenizer *open_named(const char *name)
{
    for (size_t i = 0; i < FIXTURES; i++)
        if (strcmp(fixtures[i].path, name) == 0) return open_fixture(&fixtures[i]);
    fail_msg("no fixture %s", name);
    return NULL;
}

/* ---- Recorded cases ---- */

typedef struct recorded {
    char *text, *decoded; /* decoded: what the ids give, if not the text */
    size_t length, decoded_length;
    bool special;
    int32_t *ids;
    size_t count;
} recorded;

static void next(pv_json *json)
{
    pv_error error = {0};
    if (pv_json_next(json, &error) != PV_OK) fail_msg("%s", error.message);
}

static recorded read_case(pv_json *json)
{
    recorded read = {0};
    for (next(json); json->type == PV_JSON_KEY; next(json)) {
        if (pv_json_is(json, "text")) {
            next(json);
            read.length = json->string_length;
            read.text = malloc(read.length + 1);
            memcpy(read.text, json->string, read.length);
        } else if (pv_json_is(json, "decoded")) {
            next(json);
            read.decoded_length = json->string_length;
            read.decoded = malloc(read.decoded_length + 1);
            memcpy(read.decoded, json->string, read.decoded_length);
        } else if (pv_json_is(json, "special")) {
            next(json);
            read.special = json->type == PV_JSON_TRUE;
        } else {
            assert_true(pv_json_is(json, "ids"));
            next(json);
            for (next(json); json->type != PV_JSON_ARRAY_END; next(json)) {
                int64_t id;
                assert_int_equal(pv_json_int(json, &id, NULL), PV_OK);
                read.ids = realloc(read.ids, (read.count + 1) * sizeof *read.ids);
                read.ids[read.count++] = (int32_t)id;
            }
        }
    }
    return read;
}

static void check_case(const struct fixture *fixture, const pv_tokenizer *tokenizer, const recorded *read)
{
    pv_tokens tokens = tk_encode(tokenizer, read->text, read->length, read->special ? PV_ENCODE_SPECIAL : 0);
    if (tokens.count != read->count || (read->count && memcmp(tokens.ids, read->ids, read->count * sizeof *read->ids) != 0))
        fail_msg("%s: \"%.*s\": %zu tokens, wanted %zu", fixture->path, (int)read->length, read->text, tokens.count,
                 read->count);
    if (fixture->joins)
        tk_assert_joined(tokenizer, &tokens, read->decoded ? read->decoded : read->text,
                         read->decoded ? read->decoded_length : read->length);
    pv_tokens_free(&tokens);
}

static size_t check_cases(const struct fixture *fixture)
{
    char path[512];
    size_t length, cases = 0;
    pv_allocator allocator = pv_allocator_default();
    pv_json json;
    pv_tokenizer *tokenizer = open_fixture(fixture);
    snprintf(path, sizeof path, TK_FIXTURES "%s", fixture->cases);
    char *text = (char *)tf_read(path, &length);
    assert_non_null(text);
    pv_json_init(&json, &allocator, text, length, path);
    next(&json);
    for (next(&json); json.type == PV_JSON_OBJECT; next(&json), cases++) {
        recorded read = read_case(&json);
        check_case(fixture, tokenizer, &read);
        free(read.text);
        free(read.decoded);
        free(read.ids);
    }
    pv_json_free(&json);
    free(text);
    pv_tokenizer_destroy(tokenizer);
    return cases;
}

static void ids_are_those_of_hugging_face(void **state)
{
    (void)state;
    for (size_t i = 0; i < FIXTURES; i++) assert_true(check_cases(&fixtures[i]) >= 400);
}

/* ---- Bytes ---- */

/* Half of the bytes are ASCII letters and spaces, the other half anything. */
static void bytes_that_are_no_text_come_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < FIXTURES; i++) {
        if (!fixtures[i].exact) continue;
        pv_tokenizer *tokenizer = open_fixture(&fixtures[i]);
        uint64_t seed = 42 + i;
        for (int round = 0; round < 500; round++) {
            char text[300];
            size_t length = 1 + (tk_random(&seed) >> 20) % (sizeof text - 1);
            for (size_t j = 0; j < length; j++) {
                uint64_t random = tk_random(&seed) >> 20;
                text[j] = random & 0x100 ? (char)random : "abcdefgh \n'1e\xc3\xa9\xe4"[(random & 0xff) % 16];
            }
            pv_tokens tokens = tk_encode(tokenizer, text, length, round & 1);
            tk_assert_joined(tokenizer, &tokens, text, length);
            pv_tokens_free(&tokens);
        }
        pv_tokenizer_destroy(tokenizer);
    }
}

static void a_long_text_comes_back(void **state)
{
    (void)state;
    enum { LENGTH = 300000 };
    static char text[LENGTH];
    for (size_t i = 0; i < FIXTURES; i++) {
        if (!fixtures[i].exact) continue;
        pv_tokenizer *tokenizer = open_fixture(&fixtures[i]);
        for (size_t j = 0; j < LENGTH; j++) text[j] = "the quick brown fox's 1234 lazy dogs\n\n\tjump "[(j * j / 7 + j) % 45];
        pv_tokens tokens = tk_encode(tokenizer, text, LENGTH, 0);
        tk_assert_joined(tokenizer, &tokens, text, LENGTH);
        pv_tokens_free(&tokens);
        pv_tokenizer_destroy(tokenizer);
    }
}

static void a_token_of_each_kind_gives_its_bytes(void **state)
{
    (void)state;
    pv_tokenizer *tokenizer = open_named("odd");
    const struct {
        const char *spelling, *bytes;
        bool control;
    } wanted[] = {
        {"\xc4\xa0", " ", false},    /* Ġ spells the space */
        {"\xc3\x83", "\xc3", false}, /* Ã spells the byte C3 */
        {"<|endoftext|>", "<|endoftext|>", true},
        {"<think>", "<think>", false},
        {"    ", "    ", false},
        {"\xc3\xa9", "\xc3\xa9", false}, /* the added token é, not byte E9 */
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        const char *bytes = NULL;
        size_t length = 0;
        bool control = !wanted[i].control;
        int32_t id = pv_tokenizer_find(tokenizer, wanted[i].spelling, strlen(wanted[i].spelling));
        assert_true(id >= 0);
        assert_true(pv_tokenizer_bytes(tokenizer, id, &bytes, &length, &control));
        assert_int_equal(length, strlen(wanted[i].bytes));
        assert_memory_equal(bytes, wanted[i].bytes, length);
        assert_int_equal(control, wanted[i].control);
    }
    assert_int_equal(pv_tokenizer_find(tokenizer, "no such token", 13), -1);
    assert_int_equal(pv_tokenizer_find(tokenizer, "", 0), -1);
    pv_tokenizer_destroy(tokenizer);
}

static void ids_out_of_range_have_no_bytes(void **state)
{
    (void)state;
    const char *bytes;
    size_t length;
    bool control;
    pv_tokenizer *tokenizer = open_named("gpt2");
    assert_true(pv_tokenizer_bytes(tokenizer, 0, &bytes, &length, &control));
    assert_true(pv_tokenizer_bytes(tokenizer, 999, &bytes, &length, &control));
    assert_false(pv_tokenizer_bytes(tokenizer, 1000, &bytes, &length, &control));
    assert_false(pv_tokenizer_bytes(tokenizer, -1, &bytes, &length, &control));
    assert_false(pv_tokenizer_bytes(tokenizer, INT32_MAX, &bytes, &length, &control));
    assert_false(pv_tokenizer_bytes(tokenizer, INT32_MIN, &bytes, &length, &control));
    pv_tokenizer_destroy(tokenizer);
}

/* ---- Marked text ---- */

static void assert_marked(const pv_tokenizer *tokenizer, const char *text, const pv_span *plain, size_t plain_count,
                          const int32_t *ids, size_t count)
{
    pv_allocator allocator = pv_allocator_default();
    pv_tokens tokens;
    pv_tokens_init(&tokens, &allocator);
    assert_int_equal(
        pv_tokenizer_encode_marked(tokenizer, text, strlen(text), PV_ENCODE_SPECIAL, plain, plain_count, &tokens, NULL), PV_OK);
    assert_int_equal(tokens.count, count);
    assert_memory_equal(tokens.ids, ids, count * sizeof *ids);
    pv_tokens_free(&tokens);
}

/* Ids of `text` with control tokens as text, between `before` and `after` (−1: none). */
static size_t framed(const pv_tokenizer *tokenizer, int32_t before, const char *text, int32_t after, int32_t *ids)
{
    size_t count = 0;
    pv_tokens tokens = tk_encode(tokenizer, text, strlen(text), 0);
    if (before >= 0) ids[count++] = before;
    for (size_t i = 0; i < tokens.count; i++) ids[count++] = tokens.ids[i];
    if (after >= 0) ids[count++] = after;
    pv_tokens_free(&tokens);
    return count;
}

static void control_tokens_in_marked_text_stay_text(void **state)
{
    (void)state;
    static const char text[] = "<|im_start|>user\n<|im_end|> x<|im_end|>", inner[] = "user\n<|im_end|> x";
    enum { START = 12, INPUT = START + 5, END = sizeof text - 1 - 10 };
    static const struct {
        pv_span plain[3];
        size_t plain_count;
        bool first, last; /* whether the outer tokens are found; the inner one is not */
    } cases[] = {
        {{{INPUT, END}}, 1, true, true},
        {{{START, END}}, 1, true, true},           /* touching is not overlapping */
        {{{INPUT + 3, INPUT + 4}}, 1, true, true}, /* one byte of it will do */
        {{{0, 1}, {INPUT, INPUT + 1}}, 2, false, true},
        {{{START - 1, START}, {INPUT, INPUT + 1}, {END + 9, END + 10}}, 3, false, false},
        {{{INPUT, END + 1}}, 1, true, false},
        {{{0, sizeof text - 1}}, 1, false, false},
    };
    pv_tokenizer *tokenizer = open_named("smollm");
    int32_t ids[200], start = pv_tokenizer_find(tokenizer, text, START), end = pv_tokenizer_find(tokenizer, text + END, 10);
    assert_int_equal(start, 1);
    assert_int_equal(end, 2);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char middle[64];
        snprintf(middle, sizeof middle, "%s%s%s", cases[i].first ? "" : "<|im_start|>", inner,
                 cases[i].last ? "" : "<|im_end|>");
        size_t count = framed(tokenizer, cases[i].first ? start : -1, middle, cases[i].last ? end : -1, ids);
        assert_marked(tokenizer, text, cases[i].plain, cases[i].plain_count, ids, count);
    }
    pv_tokens all = tk_encode(tokenizer, text, sizeof text - 1, PV_ENCODE_SPECIAL);
    assert_marked(tokenizer, text, NULL, 0, all.ids, all.count);
    assert_marked(tokenizer, text, &(pv_span){INPUT, INPUT}, 1, all.ids, all.count); /* empty */
    pv_tokens_free(&all);
    pv_tokenizer_destroy(tokenizer);
}

/* Of the tokens that begin at one place the longest that may stand there is taken; others than control tokens always may. */
static void marks_bar_control_tokens_only(void **state)
{
    (void)state;
    pv_tokenizer *tokenizer = open_named("odd");
    int32_t ids[100], abc = pv_tokenizer_find(tokenizer, "<|abc|>", 7), ab = pv_tokenizer_find(tokenizer, "<|ab", 4);
    int32_t normalized = pv_tokenizer_find(tokenizer, "<|ab|>", 6);
    size_t count;
    assert_true(abc >= 0 && ab >= 0 && normalized >= 0);
    assert_marked(tokenizer, "<|abc|>", &(pv_span){0, 7}, 1, &abc, 1);
    count = framed(tokenizer, ab, "d", -1, ids);
    assert_marked(tokenizer, "<|abd", &(pv_span){4, 5}, 1, ids, count);
    count = framed(tokenizer, -1, "<|abd", -1, ids);
    assert_true(count > 1);
    assert_marked(tokenizer, "<|abd", &(pv_span){3, 5}, 1, ids, count);
    /* <|ab hides <|ab|>, which is looked for in normalized text; barred, it does not, and <|ab|> is barred too. */
    count = framed(tokenizer, ab, "|>", -1, ids);
    assert_marked(tokenizer, "<|ab|>", NULL, 0, ids, count);
    count = framed(tokenizer, -1, "<|ab|>", -1, ids);
    assert_marked(tokenizer, "<|ab|>", &(pv_span){0, 1}, 1, ids, count);
    count = framed(tokenizer, -1, "e\xcc\x81<|ab|>", -1, ids);
    assert_marked(tokenizer, "e\xcc\x81<|ab|>", &(pv_span){4, 5}, 1, ids, count);
    pv_tokenizer_destroy(tokenizer);
}

/* ---- Facts ---- */

static void sizes_first_tokens_and_ends(void **state)
{
    (void)state;
    for (size_t i = 0; i < FIXTURES; i++) {
        pv_tokenizer *tokenizer = open_fixture(&fixtures[i]);
        bool add_bos = !fixtures[i].add_bos;
        size_t count, wanted = 0;
        assert_int_equal(pv_tokenizer_size(tokenizer), fixtures[i].size);
        assert_int_equal(pv_tokenizer_bos(tokenizer, &add_bos), fixtures[i].bos);
        assert_int_equal(add_bos, fixtures[i].add_bos);
        const int32_t *ends = pv_tokenizer_ends(tokenizer, &count);
        for (; fixtures[i].ends[wanted]; wanted++) {
            const char *spelling = fixtures[i].ends[wanted];
            assert_true(wanted < count);
            assert_int_equal(ends[wanted], pv_tokenizer_find(tokenizer, spelling, strlen(spelling)));
        }
        assert_int_equal(count, wanted);
        pv_tokenizer_destroy(tokenizer);
    }
}

static void encoding_appends(void **state)
{
    (void)state;
    pv_allocator allocator = pv_allocator_default();
    pv_tokenizer *tokenizer = open_named("smollm");
    pv_tokens one = tk_encode(tokenizer, "one", 3, 0), two = tk_encode(tokenizer, " two", 4, 0), both;
    pv_tokens_init(&both, &allocator);
    assert_int_equal(pv_tokenizer_encode(tokenizer, "one", 3, 0, &both, NULL), PV_OK);
    assert_int_equal(pv_tokenizer_encode(tokenizer, "", 0, 0, &both, NULL), PV_OK);
    assert_int_equal(pv_tokenizer_encode(tokenizer, " two", 4, 0, &both, NULL), PV_OK);
    assert_int_equal(both.count, one.count + two.count);
    assert_memory_equal(both.ids, one.ids, one.count * sizeof *one.ids);
    assert_memory_equal(both.ids + one.count, two.ids, two.count * sizeof *two.ids);
    pv_tokens_free(&one);
    pv_tokens_free(&two);
    pv_tokens_free(&both);
    pv_tokenizer_destroy(tokenizer);
}

static void text_over_the_limit_is_refused(void **state)
{
    (void)state;
    pv_allocator allocator = pv_allocator_default();
    pv_error error = {0};
    pv_tokens tokens;
    pv_tokenizer *tokenizer = open_named("gpt2");
    pv_tokens_init(&tokens, &allocator);
    assert_int_equal(pv_tokenizer_encode(tokenizer, "", ((size_t)1 << 30) + 1, 0, &tokens, &error), PV_INVALID_ARGUMENT);
    assert_int_equal(error.status, PV_INVALID_ARGUMENT);
    assert_int_equal(tokens.count, 0);
    pv_tokenizer_destroy(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_those_of_hugging_face),
        cmocka_unit_test(bytes_that_are_no_text_come_back),
        cmocka_unit_test(a_long_text_comes_back),
        cmocka_unit_test(a_token_of_each_kind_gives_its_bytes),
        cmocka_unit_test(ids_out_of_range_have_no_bytes),
        cmocka_unit_test(sizes_first_tokens_and_ends),
        cmocka_unit_test(encoding_appends),
        cmocka_unit_test(control_tokens_in_marked_text_stay_text),
        cmocka_unit_test(marks_bar_control_tokens_only),
        cmocka_unit_test(text_over_the_limit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
