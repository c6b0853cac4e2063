/* WordPiece: a word is the longest token that it begins with, then the longest that goes on, and so on; one unknown for all of
 * it if that leads nowhere. */
#ifndef PV_TEXT_WORDPIECE_H
#define PV_TEXT_WORDPIECE_H

#include "text/tokenizer.h"
#include "text/trie.h"
#include "text/word_cache.h"

typedef struct pv_wordpiece {
    const pv_allocator *allocator;
    pv_trie trie;
    char prefix[16];         /* what the spelling of a token begins with that goes on: "##" */
    uint32_t continues;      /* the tree's node behind it */
    uint32_t unknown;        /* PV_TRIE_NONE: words that are unknown are dropped */
    uint64_t max_characters; /* a longer word is unknown */
} pv_wordpiece;

void pv_wordpiece_init(pv_wordpiece *wordpiece, const pv_allocator *allocator);
void pv_wordpiece_free(pv_wordpiece *wordpiece);
/* Builds the tree, once. Errors: those of pv_trie_build. */
pv_status pv_wordpiece_seal(pv_wordpiece *wordpiece, const pv_vocab *vocab, const bool *left_out, pv_error *error);
/* Appends the ids of a word of at least one byte; false if memory runs out. */
bool pv_wordpiece_encode(const pv_wordpiece *wordpiece, const pv_word_cache *cache, const char *word, size_t length,
                         pv_tokens *tokens);

#endif
