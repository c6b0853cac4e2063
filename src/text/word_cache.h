/* Words seen in one encoding call, with their ids: text repeats itself. */
#ifndef PV_TEXT_WORD_CACHE_H
#define PV_TEXT_WORD_CACHE_H

#include <string.h>

#include "base/alloc.h"
#include "text/tokenizer.h"

/* A word of up to 22 bytes and 10 tokens, in one cache line. */
typedef struct pv_cached_word {
    uint8_t length, count; /* length 0: free */
    char word[22];
    int32_t ids[10];
} pv_cached_word;

typedef struct pv_word_cache {
    pv_cached_word *words;
    size_t count; /* a power of two, or 0 */
} pv_word_cache;

/* `length`: of the whole text, by which the cache is sized. Without memory for the cache there is none. */
static inline void pv_word_cache_init(pv_word_cache *cache, const pv_allocator *allocator, size_t length)
{
    size_t count = 64;
    *cache = (pv_word_cache){0};
    if (length < 512) return;
    while (count < 8192 && count < length / 32) count *= 2;
    cache->words = pv_calloc(allocator, count, sizeof *cache->words);
    if (cache->words) cache->count = count;
}

static inline void pv_word_cache_free(pv_word_cache *cache, const pv_allocator *allocator)
{
    pv_free(allocator, cache->words);
    *cache = (pv_word_cache){0};
}

/* Cheap, and only for the cache: a collision costs one encoding. */
static inline size_t pv_word_hash(const char *word, size_t length)
{
    uint64_t head = 0, tail = 0;
    if (length >= 8) {
        memcpy(&head, word, 8);
        memcpy(&tail, word + length - 8, 8);
    } else {
        memcpy(&head, word, length);
    }
    uint64_t mixed = (head ^ (tail << 17 | tail >> 47) ^ length) * 0x9e3779b97f4a7c15u;
    if (length > 16) {
        memcpy(&head, word + 8, 8);
        mixed = (mixed ^ head) * 0xff51afd7ed558ccdu;
    }
    return (size_t)(mixed >> 40);
}

/* Where the word is or belongs; NULL if it cannot be kept. */
static inline pv_cached_word *pv_word_cache_slot(const pv_word_cache *cache, const char *word, size_t length)
{
    if (cache->count == 0 || length > sizeof cache->words->word) return NULL;
    return &cache->words[pv_word_hash(word, length) & (cache->count - 1)];
}

static inline bool pv_cached_is(const pv_cached_word *slot, const char *word, size_t length)
{
    return slot->length == length && memcmp(slot->word, word, length) == 0;
}

static inline void pv_cached_set(pv_cached_word *slot, const char *word, size_t length, const int32_t *ids, size_t count)
{
    if (count > sizeof slot->ids / sizeof *slot->ids) return;
    slot->length = (uint8_t)length;
    slot->count = (uint8_t)count;
    memcpy(slot->word, word, length);
    memcpy(slot->ids, ids, count * sizeof *ids);
}

#endif
