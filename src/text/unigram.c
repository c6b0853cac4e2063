#include "text/unigram.h"

#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/checked.h"

/* How much worse than the worst token a character is that no token covers. */
#define UNKNOWN_PENALTY 10.0

/* The best path that ends at a byte. */
struct pv_unigram_node {
    double score;
    uint32_t start; /* of its last token; PV_UNIGRAM_NONE: there is no path */
    uint32_t id;
};

void pv_unigram_init(pv_unigram *unigram, const pv_allocator *allocator)
{
    *unigram = (pv_unigram){.allocator = allocator, .least = INFINITY, .unknown = PV_UNIGRAM_NONE};
    for (size_t i = 0; i < 256; i++) unigram->byte_id[i] = PV_UNIGRAM_NONE;
    pv_trie_init(&unigram->trie, allocator);
}

void pv_unigram_free(pv_unigram *unigram)
{
    pv_trie_free(&unigram->trie);
    pv_free(unigram->allocator, unigram->scores);
    pv_unigram_init(unigram, unigram->allocator);
}

pv_status pv_unigram_score(pv_unigram *unigram, double score, const char *file, pv_error *error)
{
    if (!(fabs(score) <= 1e30))
        return pv_fail_at(error, PV_BAD_FILE, file, PV_NO_OFFSET, "the score of token %zu is %g", unigram->count, score);
    if (!pv_grow(unigram->allocator, (void **)&unigram->scores, &unigram->capacity, unigram->count + 1,
                 sizeof *unigram->scores))
        return pv_fail_memory(error, (unigram->count + 1) * sizeof *unigram->scores, "the tokens' scores");
    unigram->scores[unigram->count++] = score;
    if (score < unigram->least) unigram->least = score;
    return PV_OK;
}

pv_status pv_unigram_seal(pv_unigram *unigram, const pv_vocab *vocab, const bool *left_out, pv_error *error)
{
    for (unsigned byte = 0; byte < 256 && unigram->byte_fallback; byte++) {
        char spelling[8];
        snprintf(spelling, sizeof spelling, "<0x%02X>", byte);
        if (!pv_vocab_find(vocab, spelling, 6, &unigram->byte_id[byte])) unigram->byte_id[byte] = PV_UNIGRAM_NONE;
    }
    while (unigram->count < vocab->size) {
        pv_status status = pv_unigram_score(unigram, unigram->count ? unigram->least : 0, vocab->file, error);
        if (status != PV_OK) return status;
    }
    return pv_trie_build(&unigram->trie, vocab, left_out, error);
}

void pv_unigram_scratch_init(pv_unigram_scratch *scratch, const pv_unigram *unigram, size_t length)
{
    *scratch = (pv_unigram_scratch){0};
    pv_word_cache_init(&scratch->cache, unigram->allocator, length);
}

void pv_unigram_scratch_free(pv_unigram_scratch *scratch, const pv_unigram *unigram)
{
    pv_free(unigram->allocator, scratch->nodes);
    pv_word_cache_free(&scratch->cache, unigram->allocator);
    *scratch = (pv_unigram_scratch){0};
}

/* The bytes of the character at text[0..length); of what is no character, one. */
static size_t character_bytes(const char *text, size_t length)
{
    uint32_t code_point;
    size_t bytes = (uint8_t)text[0] < 0x80 ? 1 : pv_utf8_decode(text, length, &code_point);
    return bytes ? bytes : 1;
}

static void offer(struct pv_unigram_node *node, double score, bool single, size_t start, uint32_t id)
{
    if (single) score = (float)score;
    if (node->start != PV_UNIGRAM_NONE && score <= node->score) return;
    *node = (struct pv_unigram_node){score, (uint32_t)start, id};
}

/* Viterbi's algorithm over the positions between characters. */
static void find_paths(const pv_unigram *unigram, const char *word, size_t length, struct pv_unigram_node *nodes)
{
    const pv_trie *trie = &unigram->trie;
    nodes[0] = (struct pv_unigram_node){0};
    for (size_t i = 1; i <= length; i++) nodes[i].start = PV_UNIGRAM_NONE;
    for (size_t at = 0, bytes; at < length; at += bytes) {
        double before = nodes[at].score;
        bool covered = false;
        uint32_t node = PV_TRIE_ROOT;
        bytes = character_bytes(word + at, length - at);
        for (size_t end = at; end < length; end++) {
            node = pv_trie_step(trie, node, (uint8_t)word[end]);
            if (node == PV_TRIE_NONE) break;
            uint32_t id = trie->token[node];
            if (id == PV_TRIE_NONE) continue;
            offer(&nodes[end + 1], unigram->scores[id] + before, unigram->single, at, id);
            if (end + 1 - at == bytes) covered = true;
        }
        if (!covered)
            offer(&nodes[at + bytes], unigram->least - UNKNOWN_PENALTY + before, unigram->single, at, unigram->unknown);
    }
}

/* Appends what stands for bytes that no token covers. */
static bool put_unknown(const pv_unigram *unigram, const pv_vocab *vocab, const char *text, size_t length, pv_tokens *tokens)
{
    uint32_t id;
    if (pv_vocab_find(vocab, text, length, &id)) return pv_tokens_add(tokens, (int32_t)id);
    bool falls_back = unigram->byte_fallback;
    for (size_t i = 0; i < length && falls_back; i++) falls_back = unigram->byte_id[(uint8_t)text[i]] != PV_UNIGRAM_NONE;
    if (!falls_back) return unigram->unknown == PV_UNIGRAM_NONE || pv_tokens_add(tokens, (int32_t)unigram->unknown);
    for (size_t i = 0; i < length; i++)
        if (!pv_tokens_add(tokens, (int32_t)unigram->byte_id[(uint8_t)text[i]])) return false;
    return true;
}

/* Turns the links round, so that each node says where its token ends, and walks from the start; neighbours that are unknown are
 * taken together. */
static bool put_path(const pv_unigram *unigram, const pv_vocab *vocab, struct pv_unigram_node *nodes, const char *word,
                     size_t length, pv_tokens *tokens)
{
    uint32_t end = (uint32_t)length;
    struct pv_unigram_node last = nodes[length];
    for (uint32_t at = end; at > 0;) {
        uint32_t start = last.start, id = last.id;
        last = nodes[start];
        nodes[start].start = at;
        nodes[start].id = id; /* of the token that begins here */
        at = start;
    }
    for (uint32_t at = 0; at < end;) {
        uint32_t next = nodes[at].start;
        if (nodes[at].id != unigram->unknown) {
            if (!pv_tokens_add(tokens, (int32_t)nodes[at].id)) return false;
        } else {
            while (next < end && nodes[next].id == unigram->unknown) next = nodes[next].start;
            if (!put_unknown(unigram, vocab, word + at, next - at, tokens)) return false;
        }
        at = next;
    }
    return true;
}

bool pv_unigram_encode(const pv_unigram *unigram, const pv_vocab *vocab, pv_unigram_scratch *scratch, const char *word,
                       size_t length, pv_tokens *tokens)
{
    pv_cached_word *cached = pv_word_cache_slot(&scratch->cache, word, length);
    if (cached && pv_cached_is(cached, word, length)) {
        for (size_t i = 0; i < cached->count; i++)
            if (!pv_tokens_add(tokens, cached->ids[i])) return false;
        return true;
    }
    if (!pv_grow(unigram->allocator, (void **)&scratch->nodes, &scratch->node_capacity, length + 1, sizeof *scratch->nodes))
        return false;
    size_t before = tokens->count;
    find_paths(unigram, word, length, scratch->nodes);
    if (!put_path(unigram, vocab, scratch->nodes, word, length, tokens)) return false;
    if (cached && tokens->count > before) pv_cached_set(cached, word, length, tokens->ids + before, tokens->count - before);
    return true;
}
