/* Pre-tokenizers: matchers written by hand against PCRE2, what patterns mean, what is refused, and how pieces are joined. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "support_runtime.h"
#include "support_tokenizer.h"
#include "text/pretokenize.h"

/* ---- Matchers by hand ---- */

/* Blocks that were complete before either library's Unicode version. */
static const uint32_t blocks[][2] = {
    {0x01, 0x7f},     {0x80, 0x24f},    {0x250, 0x36f},   {0x370, 0x3ff},     {0x400, 0x52f},     {0x5d0, 0x5ea},
    {0x621, 0x669},   {0x905, 0x94d},   {0xe01, 0xe5b},   {0x1e00, 0x1fff},   {0x2000, 0x206f},   {0x2100, 0x214f},
    {0x2150, 0x218b}, {0x2460, 0x24ff}, {0x2600, 0x26ff}, {0x3000, 0x30ff},   {0x4e00, 0x4eff},   {0xac00, 0xac7f},
    {0xe000, 0xe00f}, {0xff00, 0xff9f}, {0xfff0, 0xffff}, {0x10400, 0x1044f}, {0x1d400, 0x1d7ff}, {0x1f600, 0x1f64f},
};
static const uint32_t borders[] = {' ',   ' ',   '\n',   '\r',   '\t', '\'',   '\'', 's',    'S',    't',
                                   'r',   'e',   'V',    'l',    'L',  'm',    'd',  0x17f,  'A',    'a',
                                   'Z',   '1',   '9',    '!',    '/',  '_',    0xe9, 0xc9,   0x1c5,  0x2b0,
                                   0x301, 0x663, 0x4e2d, 0xac00, 0xa0, 0x3000, 0x85, 0x180e, 0x200b, 0x1f600};

static size_t random_text(uint64_t *seed, char *out)
{
    uint32_t alphabet[96];
    size_t count = 0, kind = (tk_random(seed) >> 20) % 4;
    const size_t border_count = sizeof borders / sizeof *borders;
    if (kind == 0) return tk_random_text(seed, borders, border_count, 40, out);
    if (kind == 1) return tk_random_text(seed, borders, 18, 24, out); /* contractions and spaces */
    while (count < 96) {
        const uint32_t *block = blocks[(tk_random(seed) >> 20) % (sizeof blocks / sizeof *blocks)];
        alphabet[count++] = block[0] + (uint32_t)((tk_random(seed) >> 20) % (block[1] - block[0] + 1));
        if (kind == 2) alphabet[count++] = borders[(tk_random(seed) >> 20) % border_count];
    }
    return tk_random_text(seed, alphabet, count, 40, out);
}

/* Returns the number of matches, which must be the same by hand and by PCRE2. */
static size_t compare_matches(const pv_pattern *pattern, const pv_regex *regex, pv_regex_scratch *scratch, const char *text,
                              size_t length)
{
    size_t matches = 0;
    for (size_t from = 0;;) {
        size_t start = 0, end = 0, wanted_start = 0, wanted_end = 0;
        bool wanted = false;
        assert_int_equal(pv_regex_find(regex, scratch, text, length, from, &wanted, &wanted_start, &wanted_end, NULL), PV_OK);
        bool found = pattern->find(pattern, text, length, from, &start, &end);
        if (found != wanted || (found && (start != wanted_start || end != wanted_end)))
            fail_msg("%s on \"%.*s\" from %zu: [%zu, %zu), PCRE2 has [%zu, %zu)", pattern->name, (int)length, text, from, start,
                     end, wanted_start, wanted_end);
        if (!found) return matches;
        assert_true(end > start);
        matches++;
        from = end;
    }
}

static void matchers_by_hand_agree_with_pcre2(void **state)
{
    (void)state;
    pv_allocator allocator = pv_allocator_default();
    const char *source;
    const pv_pattern *pattern;
    size_t patterns = 0;
    for (; (pattern = pv_pattern_at(patterns, &source)) != NULL; patterns++) {
        pv_regex *regex = NULL;
        pv_error error = {0};
        uint64_t seed = 1000 + patterns;
        size_t matches = 0;
        assert_ptr_equal(pv_pattern_find(source, strlen(source)), pattern);
        if (pv_regex_compile(&allocator, source, strlen(source), &regex, &error) != PV_OK) fail_msg("%s", error.message);
        pv_regex_scratch *scratch = pv_regex_scratch_create(regex);
        for (int i = 0; i < 6000; i++) {
            char text[160];
            matches += compare_matches(pattern, regex, scratch, text, random_text(&seed, text));
        }
        assert_true(matches > 1000);
        pv_regex_scratch_destroy(scratch);
        pv_regex_destroy(regex);
    }
    assert_int_equal(patterns, 17);
}

/* ---- What patterns mean ---- */

/* Collects words as "a|b|c". */
static pv_status collect(void *user, const char *word, size_t length, pv_error *error)
{
    char *words = user;
    (void)error;
    if (*words) strcat(words, "|");
    strncat(words, word, length);
    return PV_OK;
}

static void assert_words(const pv_pretokenizer *pretokenizer, const char *text, const char *wanted)
{
    char words[512] = "";
    pv_error error = {0};
    pv_pretokenize_run run;
    pv_pretokenize_run_init(&run, pretokenizer, collect, words, &error);
    if (pv_pretokenize(&run, text, strlen(text)) != PV_OK) fail_msg("%s", error.message);
    pv_pretokenize_run_free(&run);
    assert_string_equal(words, wanted);
}

static void assert_pattern(const char *pattern, pv_behavior behavior, bool invert, const char *text, const char *wanted)
{
    pv_allocator allocator = pv_allocator_default();
    pv_pretokenizer pretokenizer;
    pv_error error = {0};
    pv_pretokenizer_init(&pretokenizer, &allocator);
    if (pv_pretokenizer_regex(&pretokenizer, pattern, strlen(pattern), behavior, invert, &error) != PV_OK)
        fail_msg("%s", error.message);
    assert_words(&pretokenizer, text, wanted);
    pv_pretokenizer_free(&pretokenizer);
}

static void patterns_mean_what_they_mean_in_oniguruma(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text, *wanted;
    } cases[] = {
        {"\\s",
         "a\xe1\xa0\x8e"
         "b\xc2\xa0"
         "c",
         "a\xe1\xa0\x8e"
         "b|\xc2\xa0|c"}, /* U+180E is no space */
        {"[^\\s]+",
         "a\xe1\xa0\x8e"
         "b c",
         "a\xe1\xa0\x8e"
         "b| |c"},
        {"[\\S]+",
         "ab\xc2\x85"
         "c",
         "ab|\xc2\x85|c"},
        {"\\w+",
         "a_\xcc\x81\xe2\x80\xbf"
         "1-",
         "a_\xcc\x81\xe2\x80\xbf"
         "1|-"}, /* marks and all connectors are word characters */
        {"\\d+", "1\xd9\xa3\xc2\xb2", "1\xd9\xa3|\xc2\xb2"},
        {"x$", "x\nxx", "x|\nx|x"}, /* before every newline */
        {"^x", "xx\nx", "x|x\n|x"}, /* behind every newline */
        {".+", "ab\ncd\r", "ab|\n|cd\r"},
        {"a{,2}", "aaab", "aa|a|b"},
        {"a{2}", "aaab", "aa|ab"},
        {"[a-c]++", "abcd", "abc|d"},
        {"(?i:'s|k)", "'S'\xc5\xbf\xe2\x84\xaa", "'S|'\xc5\xbf|\xe2\x84\xaa"}, /* long s, Kelvin sign */
        {"\\x41|\\x{4e2d}|\\u00e9", "A\xe4\xb8\xad\xc3\xa9", "A|\xe4\xb8\xad|\xc3\xa9"},
        {"[\\-a]", "a-b", "a|-|b"},
        {"[a-]", "a-b", "a|-|b"},
        {"[-a]", "a-b", "a|-|b"},
        {"\\p{Han}+", "a\xe4\xb8\xad\xe3\x80\x81", "a|\xe4\xb8\xad|\xe3\x80\x81"}, /* the script, not its extensions */
        {"\\P{L}", "a1", "a|1"},
        /* U+13460, U+1E4F0 and U+11F5A are a letter, a digit and a mark since Unicode 16, 15 and 16 */
        {"\\p{L}+",
         "a\xf0\x93\x91\xa0"
         "1",
         "a\xf0\x93\x91\xa0|1"},
        {"[^\\p{L}]+", "!\xf0\x93\x91\xa0", "!|\xf0\x93\x91\xa0"},
        {"\\P{L}+", "!\xf0\x93\x91\xa0", "!|\xf0\x93\x91\xa0"},
        {"\\p{Lo}+|\\p{Lu}",
         "\xf0\x93\x91\xa0"
         "A",
         "\xf0\x93\x91\xa0|A"},
        {"\\d+",
         "1\xf0\x9e\x93\xb0"
         "a",
         "1\xf0\x9e\x93\xb0|a"},
        {"\\D+", "a\xf0\x9e\x93\xb0", "a|\xf0\x9e\x93\xb0"},
        {"[\\d-]+",
         "-\xf0\x9e\x93\xb0"
         "a",
         "-\xf0\x9e\x93\xb0|a"},
        {"\\w+",
         "-a\xf0\x91\xbd\x9a"
         "-",
         "-|a\xf0\x91\xbd\x9a|-"},
        {"\\W+", "-\xf0\x91\xbd\x9a", "-|\xf0\x91\xbd\x9a"},
        {"\\p{^L}", "a1", "a|1"},
        {"(a)(b)?", "abac", "ab|a|c"},
        {"(?<=a)b(?=c)", "abcb", "a|b|cb"},
        {"x?", "axb", "a|x|b"}, /* empty matches cut */
        {"\\.|#| ", "a.b#c d", "a|.|b|#|c| |d"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_pattern(cases[i].pattern, PV_ISOLATED, false, cases[i].text, cases[i].wanted);
}

static void what_pcre2_would_misread_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *message;
        pv_status status;
    } cases[] = {
        {"[\\p{L}&&[^\\p{Han}]]+", "class intersection &&", PV_UNSUPPORTED},
        {"[a[b]]", "class inside a class", PV_UNSUPPORTED},
        {"[[:alpha:]]", "class inside a class", PV_UNSUPPORTED},
        {"[]a]", "begins with ]", PV_UNSUPPORTED},
        {"[a-\\s]", "range that ends with a set", PV_UNSUPPORTED},
        {"[\\s-a]", "hyphen behind a set", PV_UNSUPPORTED},
        {"[a-c-e]", "hyphen behind a set or range", PV_UNSUPPORTED},
        {"[\\W]", "escape of that letter", PV_UNSUPPORTED},
        {"[abc", "not closed", PV_UNSUPPORTED},
        {"\\bx", "escape of that letter", PV_UNSUPPORTED},
        {"\\h", "escape of that letter", PV_UNSUPPORTED},
        {"\\Qa\\E", "escape of that letter", PV_UNSUPPORTED},
        {"(a)\\1", "escape of that letter", PV_UNSUPPORTED},
        {"\\p{Alphabetic}", "property of that name", PV_UNSUPPORTED},
        {"\\pL", "without braces", PV_UNSUPPORTED},
        {"\\xe9", "character code", PV_UNSUPPORTED},
        {"\\x{110000}", "character code", PV_UNSUPPORTED},
        {"\\u12", "character code", PV_UNSUPPORTED},
        {"(?m:a.)", "group of that kind", PV_UNSUPPORTED},
        {"(?<name>a)", "group of that kind", PV_UNSUPPORTED},
        {"(?R)", "group of that kind", PV_UNSUPPORTED},
        {"(?i)a", "group of that kind", PV_UNSUPPORTED},
        {"(?i:\xc3\xa9)", "beyond ASCII", PV_UNSUPPORTED},
        {"(?i:[^a])", "negated character class where case", PV_UNSUPPORTED},
        {"(?i:\\p{Lu})", "where case is ignored", PV_UNSUPPORTED},
        {"(?i:ss)", "fold to one character", PV_UNSUPPORTED},
        {"a{2}+", "quantifier behind braces", PV_UNSUPPORTED},
        {"a{2}?", "quantifier behind braces", PV_UNSUPPORTED},
        {"a{x}", "no number of repetitions", PV_UNSUPPORTED},
        {"a{5000}", "more than 4096", PV_UNSUPPORTED},
        {"a{3,2}", "turned round", PV_UNSUPPORTED},
        {"*a", "nothing to repeat", PV_UNSUPPORTED},
        {"a**", "nothing to repeat", PV_UNSUPPORTED},
        {"(?=a)*", "nothing to repeat", PV_UNSUPPORTED},
        {"(a", "not closed", PV_UNSUPPORTED},
        {"a)", "parenthesis too many", PV_UNSUPPORTED},
        {"a\\", "backslash at its end", PV_UNSUPPORTED},
        {"\xff", "not UTF-8", PV_UNSUPPORTED},
        {"", "is empty", PV_UNSUPPORTED},
        {"(?<=a+)b", "no regular expression", PV_BAD_FILE},
        {"[b-a]", "no regular expression", PV_BAD_FILE},
    };
    pv_allocator allocator = pv_allocator_default();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pv_regex *regex = NULL;
        pv_error error = {0};
        pv_status status = pv_regex_compile(&allocator, cases[i].pattern, strlen(cases[i].pattern), &regex, &error);
        if (status != cases[i].status || !strstr(error.message, cases[i].message))
            fail_msg("%s: %s: %s", cases[i].pattern, pv_status_name(status), error.message);
        assert_null(regex);
    }
}

static void long_and_deep_patterns_are_refused(void **state)
{
    (void)state;
    static char pattern[PV_MAX_REGEX + 1];
    pv_allocator allocator = pv_allocator_default();
    pv_regex *regex = NULL;
    memset(pattern, 'a', sizeof pattern);
    assert_int_equal(pv_regex_compile(&allocator, pattern, sizeof pattern, &regex, NULL), PV_UNSUPPORTED);
    memset(pattern, '(', 100);
    assert_int_equal(pv_regex_compile(&allocator, pattern, 200, &regex, NULL), PV_UNSUPPORTED);
}

static void backtracking_without_end_is_an_error(void **state)
{
    (void)state;
    static const char pattern[] = "(?:a|aa)+b|(?:a|aa)+c";
    char text[200];
    pv_allocator allocator = pv_allocator_default();
    pv_regex *regex = NULL;
    pv_error error = {0};
    bool found;
    size_t start, end;
    memset(text, 'a', sizeof text);
    assert_int_equal(pv_regex_compile(&allocator, pattern, sizeof pattern - 1, &regex, &error), PV_OK);
    pv_regex_scratch *scratch = pv_regex_scratch_create(regex);
    assert_non_null(scratch);
    assert_int_equal(pv_regex_find(regex, scratch, text, 10, 0, &found, &start, &end, &error), PV_OK);
    assert_false(found);
    assert_int_equal(pv_regex_find(regex, scratch, text, sizeof text, 0, &found, &start, &end, &error), PV_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "too long"));
    pv_regex_scratch_destroy(scratch);
    pv_regex_destroy(regex);
}

/* No attempt takes many steps for a text of that length, but each of its characters takes as many. */
static void looking_through_all_text_again_and_again_is_an_error(void **state)
{
    (void)state;
    enum { LENGTH = 1 << 16 };
    static const char *const patterns[] = {"[^\\n]*[^a-z]|[a-z]",
                                           "[^\\n]*[^a-z]"}; /* a match at each character, or none at all */
    pv_allocator allocator = pv_allocator_default();
    char *text = malloc(LENGTH);
    for (size_t i = 0; i < LENGTH; i++) text[i] = (char)('a' + i % 26);
    for (size_t p = 0; p < 2; p++) {
        pv_pretokenizer pretokenizer;
        pv_pretokenize_run run;
        pv_error error = {0};
        char words[LENGTH / 16] = "";
        pv_pretokenizer_init(&pretokenizer, &allocator);
        assert_int_equal(pv_pretokenizer_regex(&pretokenizer, patterns[p], strlen(patterns[p]), PV_REMOVED, false, NULL),
                         PV_OK);
        pv_pretokenize_run_init(&run, &pretokenizer, collect, words, &error);
        assert_int_equal(pv_pretokenize(&run, text, LENGTH), PV_INVALID_ARGUMENT);
        assert_non_null(strstr(error.message, "too long"));
        pv_pretokenize_run_free(&run);
        pv_pretokenize_run_init(&run, &pretokenizer, collect, words, &error);
        assert_int_equal(pv_pretokenize(&run, text, 2000), PV_OK);
        pv_pretokenize_run_free(&run);
        pv_pretokenizer_free(&pretokenizer);
    }
    free(text);
}

/* A match may begin far behind where the search does, between characters of any size, and at the very end. */
static void matches_far_away_are_found(void **state)
{
    (void)state;
    static const char *const between[] = {"a", "\xc3\xa9", "\xe4\xb8\xad", "\xf0\x9f\x9a\x80"};
    pv_allocator allocator = pv_allocator_default();
    pv_regex *regex = NULL;
    assert_int_equal(pv_regex_compile(&allocator, "(?<=[^y])x|\\z", 13, &regex, NULL), PV_OK);
    for (size_t length = 1; length < 300; length++) {
        pv_regex_scratch *scratch = pv_regex_scratch_create(regex);
        char text[4 * 300 + 2] = "";
        bool found = false;
        size_t start = 0, end = 0;
        for (size_t i = 0; i < length; i++) strcat(text, between[(i * length) % 4]);
        size_t bytes = strlen(text);
        text[bytes] = 'x';
        for (size_t extra = 0; extra < 2; extra++) {
            assert_int_equal(pv_regex_find(regex, scratch, text, bytes + extra, 0, &found, &start, &end, NULL), PV_OK);
            assert_true(found);
            assert_int_equal(start, bytes);
            assert_int_equal(end, bytes + extra);
        }
        pv_regex_scratch_destroy(scratch);
    }
    pv_regex_destroy(regex);
}

/* A million spaces cost a pattern that gives them back one by one a million steps, not more. */
static void long_runs_of_spaces_are_one_match(void **state)
{
    (void)state;
    enum { LENGTH = 1 << 20 };
    static const char pattern[] = "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+|x";
    pv_allocator allocator = pv_allocator_default();
    pv_regex *regex = NULL;
    bool found = false;
    size_t start = 1, end = 0;
    char *text = malloc(LENGTH);
    memset(text, ' ', LENGTH);
    text[LENGTH - 1] = 'x';
    assert_int_equal(pv_regex_compile(&allocator, pattern, sizeof pattern - 1, &regex, NULL), PV_OK);
    pv_regex_scratch *scratch = pv_regex_scratch_create(regex);
    assert_int_equal(pv_regex_find(regex, scratch, text, LENGTH, 0, &found, &start, &end, NULL), PV_OK);
    assert_true(found);
    assert_int_equal(start, 0);
    assert_int_equal(end, LENGTH - 2);
    pv_regex_scratch_destroy(scratch);
    pv_regex_destroy(regex);
    free(text);
}

/* ---- Joining ---- */

static void behaviors_join_as_named(void **state)
{
    (void)state;
    static const struct {
        pv_behavior behavior;
        bool invert;
        const char *wanted;
    } cases[] = {
        {PV_ISOLATED, false, "-|a|-|-|b|-"},       {PV_REMOVED, false, "a|b"},
        {PV_CONTIGUOUS, false, "-|a|--|b|-"},      {PV_MERGED_WITH_PREVIOUS, false, "-|a-|-|b-"},
        {PV_MERGED_WITH_NEXT, false, "-a|-|-b|-"}, {PV_REMOVED, true, "-|-|-|-"},
        {PV_ISOLATED, true, "-|a|-|-|b|-"},        {PV_MERGED_WITH_PREVIOUS, true, "-a|-|-b|-"},
        {PV_MERGED_WITH_NEXT, true, "-|a-|-|b-"},  {PV_CONTIGUOUS, true, "-|a|--|b|-"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_pattern("-", cases[i].behavior, cases[i].invert, "-a--b-", cases[i].wanted);
}

static void steps_cut_what_the_steps_before_leave(void **state)
{
    (void)state;
    pv_allocator allocator = pv_allocator_default();
    pv_pretokenizer pretokenizer;
    pv_pretokenizer_init(&pretokenizer, &allocator);
    assert_int_equal(pv_pretokenizer_literal(&pretokenizer, "::", 2, PV_REMOVED, false, NULL), PV_OK);
    assert_int_equal(pv_pretokenizer_digits(&pretokenizer, false, NULL), PV_OK);
    assert_int_equal(pv_pretokenizer_byte_level(&pretokenizer, true, true, NULL), PV_OK);
    assert_words(&pretokenizer, "ab::c d12 34e", " ab| c| d| 12| | 34| e");
    assert_words(&pretokenizer, "", "");
    assert_words(&pretokenizer, "::", "");
    pv_pretokenizer_free(&pretokenizer);

    pv_pretokenizer_init(&pretokenizer, &allocator);
    assert_words(&pretokenizer, "no steps", "no steps");
    assert_int_equal(pv_pretokenizer_digits(&pretokenizer, true, NULL), PV_OK);
    assert_int_equal(pv_pretokenizer_byte_level(&pretokenizer, false, false, NULL), PV_OK);
    assert_words(&pretokenizer, "a 12 b", "a |1|2| b");
    pv_pretokenizer_free(&pretokenizer);
}

/* é is spelled Ã©, of which © is a sign; ¼ is spelled Â¼, of which ¼ is a number. */
static void steps_behind_a_spelling_see_it(void **state)
{
    (void)state;
    pv_allocator allocator = pv_allocator_default();
    pv_pretokenizer pretokenizer;
    pv_pretokenizer_init(&pretokenizer, &allocator);
    assert_int_equal(pv_pretokenizer_byte_level(&pretokenizer, true, false, NULL), PV_OK);
    assert_int_equal(pv_pretokenizer_spell(&pretokenizer, NULL), PV_OK);
    assert_int_equal(pv_pretokenizer_digits(&pretokenizer, false, NULL), PV_OK);
    assert_words(&pretokenizer, "caf\xc3\xa9 12\xc2\xbc \xc3\xb2x", "caf\xc3\xa9| |12|\xc2|\xbc| \xc3|\xb2|x");
    assert_int_equal(pv_pretokenizer_literal(&pretokenizer, "\xc2\xa9", 2, PV_ISOLATED, false, NULL), PV_OK);
    assert_words(&pretokenizer, "caf\xc3\xa9", "caf\xc3|\xa9");
    pv_pretokenizer_free(&pretokenizer);
}

static void steps_are_bounded(void **state)
{
    (void)state;
    pv_allocator allocator = pv_allocator_default();
    pv_pretokenizer pretokenizer;
    pv_pretokenizer_init(&pretokenizer, &allocator);
    for (int i = 0; i < PV_MAX_STEPS; i++) assert_int_equal(pv_pretokenizer_digits(&pretokenizer, true, NULL), PV_OK);
    assert_int_equal(pv_pretokenizer_digits(&pretokenizer, true, NULL), PV_UNSUPPORTED);
    assert_int_equal(pv_pretokenizer_literal(&pretokenizer, "", 0, PV_REMOVED, false, NULL), PV_UNSUPPORTED);
    pv_pretokenizer_free(&pretokenizer);
}

/* Every name of the table compiles, and cuts a text into parts that make up the whole. */
static void names_in_gguf_files_have_patterns(void **state)
{
    (void)state;
    static const char *const names[] = {
        "smollm",      "starcoder",        "refact",    "command-r",       "gpt-2",  "phi-2",  "olmo",         "mpt",
        "llama3",      "llama-v3",         "llama-bpe", "falcon3",         "lfm2",   "dbrx",   "smaug-bpe",    "glm4",
        "qwen2",       "deepseek-r1-qwen", "qwen35",    "gpt-4o",          "llama4", "tekken", "deepseek-llm", "deepseek-coder",
        "deepseek-v3", "joyai-llm",        "stablelm2", "granite-docling", "falcon"};
    pv_allocator allocator = pv_allocator_default();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const pv_gguf_pre *pre = pv_gguf_pre_find(names[i], strlen(names[i]));
        assert_non_null(pre);
        pv_pretokenizer pretokenizer;
        pv_error error = {0};
        pv_pretokenizer_init(&pretokenizer, &allocator);
        if (pv_gguf_pre_add(pre, &pretokenizer, &error) != PV_OK) fail_msg("%s: %s", names[i], error.message);
        bool threes = pre->patterns[0][0] != '[' && strstr(pre->patterns[0], "{1,3}");
        bool three_words = strncmp(names[i], "gpt-2", 5) == 0 || strncmp(names[i], "phi-2", 5) == 0 ||
                           strcmp(names[i], "olmo") == 0 || strcmp(names[i], "mpt") == 0 ||
                           strcmp(names[i], "granite-docling") == 0;
        threes =
            threes || strcmp(names[i], "gpt-4o") == 0 || strcmp(names[i], "llama4") == 0 || strcmp(names[i], "falcon") == 0;
        assert_words(&pretokenizer, "ab cd1234!",
                     three_words ? "ab| cd|1234|!"
                     : threes    ? "ab| cd|123|4|!"
                                 : "ab| cd|1|2|3|4|!");
        pv_pretokenizer_free(&pretokenizer);
    }
    assert_null(pv_gguf_pre_find("default", 7));
    assert_null(pv_gguf_pre_find("", 0));
    assert_null(pv_gguf_pre_find("smollm2", 7));
}

/* ---- Memory ---- */

static void memory_runs_out_anywhere(void **state)
{
    (void)state;
    static const char pattern[] = "[^\\s]+b|x", text[] = "ab ab xx";
    uint64_t failures = 0;
    for (uint64_t fail_at = 1;; fail_at++) {
        rt_memory memory;
        pv_pretokenizer pretokenizer;
        char words[64] = "";
        rt_memory_init(&memory, fail_at);
        pv_pretokenizer_init(&pretokenizer, &memory.allocator);
        pv_error error = {0};
        pv_status status = pv_pretokenizer_regex(&pretokenizer, pattern, sizeof pattern - 1, PV_ISOLATED, false, &error);
        if (status == PV_OK) status = pv_pretokenizer_literal(&pretokenizer, "a", 1, PV_ISOLATED, false, &error);
        if (status == PV_OK) status = pv_pretokenizer_byte_level(&pretokenizer, true, true, &error);
        if (status == PV_OK) {
            pv_pretokenize_run run;
            pv_pretokenize_run_init(&run, &pretokenizer, collect, words, &error);
            status = pv_pretokenize(&run, text, sizeof text - 1);
            pv_pretokenize_run_free(&run);
        }
        pv_pretokenizer_free(&pretokenizer);
        assert_int_equal(memory.live, 0);
        if (status == PV_OK) {
            assert_string_equal(words, " a| b| | a| b| | x| x");
            break;
        }
        assert_int_equal(status, PV_OUT_OF_MEMORY);
        assert_int_equal(error.status, PV_OUT_OF_MEMORY);
        failures++;
    }
    assert_true(failures > 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matchers_by_hand_agree_with_pcre2),
        cmocka_unit_test(patterns_mean_what_they_mean_in_oniguruma),
        cmocka_unit_test(what_pcre2_would_misread_is_refused),
        cmocka_unit_test(long_and_deep_patterns_are_refused),
        cmocka_unit_test(backtracking_without_end_is_an_error),
        cmocka_unit_test(looking_through_all_text_again_and_again_is_an_error),
        cmocka_unit_test(matches_far_away_are_found),
        cmocka_unit_test(long_runs_of_spaces_are_one_match),
        cmocka_unit_test(behaviors_join_as_named),
        cmocka_unit_test(steps_cut_what_the_steps_before_leave),
        cmocka_unit_test(steps_behind_a_spelling_see_it),
        cmocka_unit_test(steps_are_bounded),
        cmocka_unit_test(names_in_gguf_files_have_patterns),
        cmocka_unit_test(memory_runs_out_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
