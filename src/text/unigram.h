/* Unigram models (Kudo 2018): of all ways to write a word as tokens, the one whose scores have the largest sum. */
#ifndef PV_TEXT_UNIGRAM_H
#define PV_TEXT_UNIGRAM_H

#include "text/tokenizer.h"
#include "text/trie.h"
#include "text/word_cache.h"

#define PV_UNIGRAM_NONE UINT32_MAX

typedef struct pv_unigram {
    const pv_allocator *allocator;
    pv_trie trie;
    double *scores; /* by id */
    size_t count, capacity;
    double least;       /* of all scores */
    uint32_t unknown;   /* stands for what no token covers; PV_UNIGRAM_NONE: that is dropped */
    bool single;        /* sums are rounded to single precision, as SentencePiece has them: that decides between equals */
    bool byte_fallback; /* the tokens of its bytes instead, <0x00> … <0xFF>, if there are all that are needed */
    uint32_t byte_id[256];
} pv_unigram;

void pv_unigram_init(pv_unigram *unigram, const pv_allocator *allocator);
void pv_unigram_free(pv_unigram *unigram);
/* The score of the next id. Errors: PV_BAD_FILE (not finite), PV_OUT_OF_MEMORY. */
pv_status pv_unigram_score(pv_unigram *unigram, double score, const char *file, pv_error *error);
/* Builds the tables, once, when all scores are there; `left_out` as pv_trie_build. Errors: those of pv_trie_build. */
pv_status pv_unigram_seal(pv_unigram *unigram, const pv_vocab *vocab, const bool *left_out, pv_error *error);

/* What one encoding call needs besides the tables. */
typedef struct pv_unigram_scratch {
    struct pv_unigram_node *nodes; /* by the byte at which a path ends */
    size_t node_capacity;
    pv_word_cache cache;
} pv_unigram_scratch;

void pv_unigram_scratch_init(pv_unigram_scratch *scratch, const pv_unigram *unigram, size_t length);
void pv_unigram_scratch_free(pv_unigram_scratch *scratch, const pv_unigram *unigram);
/* Appends the ids of a word of at least one and at most 2^31 bytes; false if memory runs out. */
bool pv_unigram_encode(const pv_unigram *unigram, const pv_vocab *vocab, pv_unigram_scratch *scratch, const char *word,
                       size_t length, pv_tokens *tokens);

#endif
