/* Byte pair encoding: splits a word into bytes or characters, then merges the neighbours whose pair has the lowest rank,
 * leftmost first, until no pair is left that has one. */
#ifndef PV_TEXT_BPE_H
#define PV_TEXT_BPE_H

#include "text/tokenizer.h"
#include "text/tokenizer_vocab.h"
#include "text/word_cache.h"

#define PV_BPE_MAX_MERGES (1u << 23)
#define PV_BPE_NONE UINT32_MAX

typedef struct pv_bpe_pair {
    uint32_t left, right; /* ids; left is PV_BPE_NONE in a free slot */
    uint32_t rank;
    uint32_t merged; /* the id that they become */
} pv_bpe_pair;

typedef struct pv_bpe {
    const pv_allocator *allocator;
    uint32_t byte_id[256];  /* the token of a single byte, or PV_BPE_NONE */
    uint32_t ascii_id[128]; /* BPE by characters: the token of one, or PV_BPE_NONE */
    char suffix[16];        /* what the last byte or character of a word is spelled with besides: "</w>"; "": nothing */
    uint32_t last_id[256];  /* with a suffix: the token of a word's last byte, or PV_BPE_NONE */
    uint32_t unknown;       /* stands for what has no token; PV_BPE_NONE: that is dropped */
    bool fuse_unknown;      /* one unknown for a run of them */
    bool ignore_merges;     /* a word that is a token as a whole becomes it at once */
    bool characters;        /* begins with characters, not with bytes */
    bool byte_fallback;     /* a character without token becomes the tokens of its bytes, <0x00> … <0xFF> */
    bool cuts_at_space;     /* by characters: nothing merges across the beginning of a run of ▁, so that words end there */
    pv_bpe_pair *slots;     /* open addressing, at most three quarters full; a power of two of them */
    size_t slot_count;
    pv_bpe_pair *pairs; /* in the order they came, while loading */
    size_t merge_count, pair_capacity;
} pv_bpe;

void pv_bpe_init(pv_bpe *bpe, const pv_allocator *allocator);
void pv_bpe_free(pv_bpe *bpe);
/* The merge of the next rank, by the spellings of its parts. Errors: PV_BAD_FILE (a part or the whole is no token; too many),
 * PV_OUT_OF_MEMORY. */
pv_status pv_bpe_merge(pv_bpe *bpe, const pv_vocab *vocab, const char *left, size_t left_length, const char *right,
                       size_t right_length, pv_error *error);
/* The same from one string with a space between the parts. Errors: also PV_BAD_FILE (no space, or more than one). */
pv_status pv_bpe_merge_line(pv_bpe *bpe, const pv_vocab *vocab, const char *line, size_t length, pv_error *error);
/* A pair by ids, in any order of ranks; pairs of one rank merge from left to right. Errors: PV_BAD_FILE (too many),
 * PV_OUT_OF_MEMORY. */
pv_status pv_bpe_pair_add(pv_bpe *bpe, const pv_vocab *vocab, pv_bpe_pair pair, pv_error *error);
/* Builds the tables, once, when all merges are there. Errors: PV_BAD_FILE (a pair twice), PV_OUT_OF_MEMORY. */
pv_status pv_bpe_seal(pv_bpe *bpe, const pv_vocab *vocab, pv_error *error);

/* What one encoding call needs besides the tables. */
typedef struct pv_bpe_scratch {
    struct pv_bpe_symbol *symbols;
    size_t symbol_capacity;
    uint64_t *heap;
    size_t heap_capacity;
    pv_word_cache cache;
} pv_bpe_scratch;

/* `length`: of the whole text, by which the cache is sized. Without memory for the cache there is none. */
void pv_bpe_scratch_init(pv_bpe_scratch *scratch, const pv_bpe *bpe, size_t length);
void pv_bpe_scratch_free(pv_bpe_scratch *scratch, const pv_bpe *bpe);
/* Appends the ids of a word of at least one and at most 2^31 bytes; false if memory runs out. */
bool pv_bpe_encode(const pv_bpe *bpe, const pv_vocab *vocab, pv_bpe_scratch *scratch, const char *word, size_t length,
                   pv_tokens *tokens);

#endif
