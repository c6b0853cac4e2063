/* The tokens of a vocabulary as a tree of bytes: which tokens begin at a place in a text is found in one walk. */
#ifndef PV_TEXT_TRIE_H
#define PV_TEXT_TRIE_H

#include "text/tokenizer_vocab.h"

#define PV_TRIE_ROOT 0u
#define PV_TRIE_NONE UINT32_MAX
#define PV_TRIE_MAX_NODES ((1u << 24) - 1)
#define PV_TRIE_MAX_TOKEN 1024 /* bytes of a token: what a walk may cost at each byte of a text */

typedef struct pv_trie {
    const pv_allocator *allocator;
    struct pv_trie_edge {
        uint32_t key; /* parent << 8 | byte; PV_TRIE_NONE in a free slot */
        uint32_t child;
    } * edges; /* open addressing, at most half full; a power of two of them */
    size_t edge_count;
    uint32_t *token; /* by node: the id of the token that ends there, or PV_TRIE_NONE */
    size_t node_count, token_capacity;
} pv_trie;

void pv_trie_init(pv_trie *trie, const pv_allocator *allocator);
void pv_trie_free(pv_trie *trie);
/* Of all tokens in form RAW but those that are `left_out` (by id; NULL: none). Errors: PV_BAD_FILE (too large, a token too
 * long), PV_OUT_OF_MEMORY. */
pv_status pv_trie_build(pv_trie *trie, const pv_vocab *vocab, const bool *left_out, pv_error *error);

/* The node one byte further, PV_TRIE_NONE if there is none. */
static inline uint32_t pv_trie_step(const pv_trie *trie, uint32_t node, uint8_t byte)
{
    uint32_t key = node << 8 | byte;
    size_t mask = trie->edge_count - 1;
    for (size_t i = (key * 0x9e3779b97f4a7c15u >> 32) & mask;; i = (i + 1) & mask) {
        const struct pv_trie_edge *edge = &trie->edges[i];
        if (edge->key == key) return edge->child;
        if (edge->key == PV_TRIE_NONE) return PV_TRIE_NONE;
    }
}

/* The node behind text[0..length), from `node`. */
static inline uint32_t pv_trie_walk(const pv_trie *trie, uint32_t node, const char *text, size_t length)
{
    for (size_t i = 0; i < length && node != PV_TRIE_NONE; i++) node = pv_trie_step(trie, node, (uint8_t)text[i]);
    return node;
}

#endif
