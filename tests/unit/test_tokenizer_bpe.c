/* Byte pair encoding of single words, against the definition applied literally. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "support_tokenizer.h"
#include "text/bpe.h"

/* A vocabulary over a few letters, its tokens as text, and its merges in order. */
#define MOST 64
typedef struct small_model {
    pv_allocator allocator;
    pv_vocab vocab;
    pv_bpe bpe;
    char token[MOST][32];
    size_t tokens, merges;
    struct {
        size_t left, right, whole;
    } merge[MOST];
} small_model;

static void add_token(small_model *m, const char *text)
{
    strcpy(m->token[m->tokens], text);
    assert_int_equal(pv_vocab_put(&m->vocab, m->tokens++, text, strlen(text), NULL), PV_OK);
}

static void start(small_model *m, const char *letters)
{
    memset(m, 0, sizeof *m);
    m->allocator = pv_allocator_default();
    pv_vocab_init(&m->vocab, &m->allocator, "test");
    pv_bpe_init(&m->bpe, &m->allocator);
    for (; *letters; letters++) add_token(m, (char[]){*letters, '\0'});
}

/* The merge makes a new token; false if there is one of that spelling, or it is too long. */
static bool add_merge(small_model *m, size_t left, size_t right)
{
    char whole[64];
    strcpy(whole, m->token[left]);
    strcat(whole, m->token[right]);
    if (strlen(whole) >= sizeof m->token[0]) return false;
    for (size_t i = 0; i < m->tokens; i++)
        if (strcmp(m->token[i], whole) == 0) return false;
    m->merge[m->merges].left = left;
    m->merge[m->merges].right = right;
    m->merge[m->merges++].whole = m->tokens;
    add_token(m, whole);
    return true;
}

static void finish(small_model *m)
{
    assert_int_equal(pv_vocab_index(&m->vocab, NULL), PV_OK);
    for (size_t i = 0; i < m->merges; i++) {
        const char *left = m->token[m->merge[i].left], *right = m->token[m->merge[i].right];
        assert_int_equal(pv_bpe_merge(&m->bpe, &m->vocab, left, strlen(left), right, strlen(right), NULL), PV_OK);
    }
    assert_int_equal(pv_bpe_seal(&m->bpe, &m->vocab, NULL), PV_OK);
}

static void stop(small_model *m)
{
    pv_bpe_free(&m->bpe);
    pv_vocab_free(&m->vocab);
}

static pv_tokens encode(small_model *m, const char *word, size_t length)
{
    pv_tokens tokens;
    pv_bpe_scratch scratch;
    pv_tokens_init(&tokens, &m->allocator);
    pv_bpe_scratch_init(&scratch, &m->bpe, length);
    assert_true(pv_bpe_encode(&m->bpe, &m->vocab, &scratch, word, length, &tokens));
    pv_bpe_scratch_free(&scratch, &m->bpe);
    return tokens;
}

/* The definition: for each merge in the order of ranks that occurs, take the first place of the lowest rank, merge, start over.
 */
static size_t merge_literally(const small_model *m, size_t *symbols, size_t count)
{
    for (;;) {
        size_t best = m->merges, place = 0;
        for (size_t i = 0; i + 1 < count; i++)
            for (size_t rank = 0; rank < best; rank++)
                if (m->merge[rank].left == symbols[i] && m->merge[rank].right == symbols[i + 1]) {
                    best = rank;
                    place = i;
                }
        if (best == m->merges) return count;
        symbols[place] = m->merge[best].whole;
        memmove(symbols + place + 1, symbols + place + 2, (count - place - 2) * sizeof *symbols);
        count--;
    }
}

/* Lengths on both sides of the one where the method changes. */
static void words_are_merged_by_the_definition(void **state)
{
    (void)state;
    uint64_t seed = 7;
    size_t compared = 0, merged = 0;
    for (int round = 0; round < 60; round++) {
        small_model m;
        start(&m, "abcd");
        while (m.merges < 40) add_merge(&m, (tk_random(&seed) >> 20) % m.tokens, (tk_random(&seed) >> 20) % m.tokens);
        finish(&m);
        for (int i = 0; i < 40; i++) {
            char word[400];
            size_t symbols[400], length = 1 + (tk_random(&seed) >> 20) % (i % 2 ? 60 : 399);
            for (size_t j = 0; j < length; j++)
                word[j] = (char)('a' + (symbols[j] = (tk_random(&seed) >> 20) % (i % 3 ? 4 : 2)));
            size_t count = merge_literally(&m, symbols, length);
            pv_tokens tokens = encode(&m, word, length);
            assert_int_equal(tokens.count, count);
            for (size_t j = 0; j < count; j++) assert_int_equal(tokens.ids[j], symbols[j]);
            compared++;
            merged += length - count;
            pv_tokens_free(&tokens);
        }
        stop(&m);
    }
    assert_int_equal(compared, 2400);
    assert_in_range(merged, 50000, 1000000);
}

/* a, aa, aaaa, … : a million letters become as many of the longest token as fit. */
static void a_word_of_a_megabyte(void **state)
{
    (void)state;
    enum { LENGTH = (1 << 20) + 5 };
    small_model m;
    start(&m, "ab");
    size_t last = 0;
    while (strlen(m.token[last]) < 16) {
        assert_true(add_merge(&m, last, last));
        last = m.tokens - 1;
    }
    finish(&m);
    char *word = malloc(LENGTH);
    memset(word, 'a', LENGTH);
    pv_tokens tokens = encode(&m, word, LENGTH);
    assert_int_equal(tokens.count, LENGTH / 16 + 2); /* and the 5 that are left over: aaaa, a */
    for (size_t i = 0; i < LENGTH / 16; i++) assert_int_equal(tokens.ids[i], last);
    assert_string_equal(m.token[tokens.ids[LENGTH / 16]], "aaaa");
    assert_string_equal(m.token[tokens.ids[LENGTH / 16 + 1]], "a");
    pv_tokens_free(&tokens);
    free(word);
    stop(&m);
}

static void assert_ids(small_model *m, const char *word, size_t count, const int32_t *ids)
{
    pv_tokens tokens = encode(m, word, strlen(word));
    assert_int_equal(tokens.count, count);
    for (size_t i = 0; i < count; i++) assert_int_equal(tokens.ids[i], ids[i]);
    pv_tokens_free(&tokens);
}

static void bytes_without_a_token(void **state)
{
    (void)state;
    small_model m;
    char word[200];
    start(&m, "abu");
    add_merge(&m, 0, 1);
    finish(&m);
    assert_ids(&m, "axxb", 1, (int32_t[]){3}); /* dropped: a and b meet */
    assert_ids(&m, "xx", 0, NULL);
    m.bpe.unknown = 2;
    assert_ids(&m, "axxb", 4, (int32_t[]){0, 2, 2, 1});
    m.bpe.fuse_unknown = true;
    assert_ids(&m, "axxbx", 4, (int32_t[]){0, 2, 1, 2});
    memset(word, 'x', sizeof word);
    word[199] = '\0';
    assert_ids(&m, word, 1, (int32_t[]){2}); /* and in long words */
    m.bpe.unknown = PV_BPE_NONE;
    assert_ids(&m, word, 0, NULL);
    stop(&m);
}

static void whole_words_may_go_before_merges(void **state)
{
    (void)state;
    small_model m;
    start(&m, "abc");
    add_merge(&m, 1, 2); /* bc: 3 */
    add_merge(&m, 0, 1); /* ab: 4 */
    add_token(&m, "abc");
    finish(&m);
    assert_ids(&m, "abc", 2, (int32_t[]){0, 3});
    m.bpe.ignore_merges = true;
    assert_ids(&m, "abc", 1, (int32_t[]){5});
    assert_ids(&m, "abca", 3, (int32_t[]){0, 3, 0});
    stop(&m);
}

/* A text long enough for a cache, in which words come again. */
static void words_met_again_are_encoded_alike(void **state)
{
    (void)state;
    small_model m;
    pv_bpe_scratch scratch;
    uint64_t seed = 11;
    start(&m, "abcd");
    while (m.merges < 40) add_merge(&m, (tk_random(&seed) >> 20) % m.tokens, (tk_random(&seed) >> 20) % m.tokens);
    finish(&m);
    pv_bpe_scratch_init(&scratch, &m.bpe, 4096); /* a small cache: words push one another out */
    assert_true(scratch.cache.count > 0);
    for (int i = 0; i < 20000; i++) {
        char word[30];
        size_t symbols[30], length = 1 + (tk_random(&seed) >> 20) % (i % 2 ? 4 : 29);
        for (size_t j = 0; j < length; j++) word[j] = (char)('a' + (symbols[j] = (tk_random(&seed) >> 20) % 4));
        size_t count = merge_literally(&m, symbols, length);
        pv_tokens tokens;
        pv_tokens_init(&tokens, &m.allocator);
        assert_true(pv_bpe_encode(&m.bpe, &m.vocab, &scratch, word, length, &tokens));
        assert_int_equal(tokens.count, count);
        for (size_t j = 0; j < count; j++) assert_int_equal(tokens.ids[j], symbols[j]);
        pv_tokens_free(&tokens);
    }
    pv_bpe_scratch_free(&scratch, &m.bpe);
    stop(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_merged_by_the_definition),
        cmocka_unit_test(a_word_of_a_megabyte),
        cmocka_unit_test(bytes_without_a_token),
        cmocka_unit_test(whole_words_may_go_before_merges),
        cmocka_unit_test(words_met_again_are_encoded_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
