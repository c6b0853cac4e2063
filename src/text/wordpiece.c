#include "text/wordpiece.h"

#include <string.h>

#include "base/checked.h"

void pv_wordpiece_init(pv_wordpiece *wordpiece, const pv_allocator *allocator)
{
    *wordpiece = (pv_wordpiece){
        .allocator = allocator, .prefix = "##", .continues = PV_TRIE_NONE, .unknown = PV_TRIE_NONE, .max_characters = 100};
    pv_trie_init(&wordpiece->trie, allocator);
}

void pv_wordpiece_free(pv_wordpiece *wordpiece)
{
    pv_trie_free(&wordpiece->trie);
    pv_wordpiece_init(wordpiece, wordpiece->allocator);
}

pv_status pv_wordpiece_seal(pv_wordpiece *wordpiece, const pv_vocab *vocab, const bool *left_out, pv_error *error)
{
    pv_status status = pv_trie_build(&wordpiece->trie, vocab, left_out, error);
    if (status == PV_OK)
        wordpiece->continues = pv_trie_walk(&wordpiece->trie, PV_TRIE_ROOT, wordpiece->prefix, strlen(wordpiece->prefix));
    return status;
}

static bool is_longer(const char *word, size_t length, uint64_t characters)
{
    if (length <= characters) return false;
    uint64_t count = 0;
    for (size_t i = 0; i < length; i++) count += ((uint8_t)word[i] & 0xc0) != 0x80;
    return count > characters;
}

/* The end of the longest token at `at`, 0 if there is none. */
static size_t longest(const pv_trie *trie, uint32_t node, const char *word, size_t length, size_t at, uint32_t *id)
{
    size_t end = 0;
    for (size_t i = at; i < length && node != PV_TRIE_NONE; i++) {
        node = pv_trie_step(trie, node, (uint8_t)word[i]);
        if (node == PV_TRIE_NONE) break;
        bool between = i + 1 == length || ((uint8_t)word[i + 1] & 0xc0) != 0x80; /* characters, not within one */
        if (trie->token[node] == PV_TRIE_NONE || !between) continue;
        *id = trie->token[node];
        end = i + 1;
    }
    return end;
}

static bool split(const pv_wordpiece *wordpiece, const char *word, size_t length, pv_tokens *tokens, bool *known)
{
    *known = !is_longer(word, length, wordpiece->max_characters);
    for (size_t at = 0; *known && at < length;) {
        uint32_t id, from = at == 0 ? PV_TRIE_ROOT : wordpiece->continues;
        size_t end = longest(&wordpiece->trie, from, word, length, at, &id);
        *known = end > 0;
        if (*known && !pv_tokens_add(tokens, (int32_t)id)) return false;
        at = end;
    }
    return true;
}

bool pv_wordpiece_encode(const pv_wordpiece *wordpiece, const pv_word_cache *cache, const char *word, size_t length,
                         pv_tokens *tokens)
{
    size_t before = tokens->count;
    bool known;
    pv_cached_word *cached = pv_word_cache_slot(cache, word, length);
    if (cached && pv_cached_is(cached, word, length)) {
        for (size_t i = 0; i < cached->count; i++)
            if (!pv_tokens_add(tokens, cached->ids[i])) return false;
        return true;
    }
    if (!split(wordpiece, word, length, tokens, &known)) return false;
    if (!known) {
        tokens->count = before;
        if (wordpiece->unknown != PV_TRIE_NONE && !pv_tokens_add(tokens, (int32_t)wordpiece->unknown)) return false;
    }
    if (cached && tokens->count > before) pv_cached_set(cached, word, length, tokens->ids + before, tokens->count - before);
    return true;
}
