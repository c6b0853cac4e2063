#include "text/bpe.h"

#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"

void pv_bpe_init(pv_bpe *bpe, const pv_allocator *allocator)
{
    *bpe = (pv_bpe){.allocator = allocator, .unknown = PV_BPE_NONE};
    for (size_t i = 0; i < 256; i++) bpe->byte_id[i] = PV_BPE_NONE;
}

void pv_bpe_free(pv_bpe *bpe)
{
    pv_free(bpe->allocator, bpe->slots);
    pv_free(bpe->allocator, bpe->merged);
    pv_free(bpe->allocator, bpe->pairs);
    pv_bpe_init(bpe, bpe->allocator);
}

/* ---- Loading -------------------------------------------------------------------------------------------------------- */

static pv_status find_part(const pv_vocab *vocab, const char *spelling, size_t length, size_t rank, uint32_t *id,
                           pv_error *error)
{
    if (pv_vocab_find(vocab, spelling, length, id)) return PV_OK;
    return pv_fail_at(error, PV_BAD_FILE, vocab->file, PV_NO_OFFSET, "merge %zu: \"%.*s\" is no token of the vocabulary", rank,
                      (int)pv_min_size(length, 64), spelling);
}

pv_status pv_bpe_merge(pv_bpe *bpe, const pv_vocab *vocab, const char *left, size_t left_length, const char *right,
                       size_t right_length, pv_error *error)
{
    size_t rank = bpe->merge_count;
    uint32_t left_id, right_id, whole_id;
    char whole[PV_VOCAB_MAX_TOKEN];
    pv_status status;
    if (rank == PV_BPE_MAX_MERGES)
        return pv_fail_at(error, PV_BAD_FILE, vocab->file, PV_NO_OFFSET, "more than %u merges", PV_BPE_MAX_MERGES);
    if ((status = find_part(vocab, left, left_length, rank, &left_id, error)) != PV_OK) return status;
    if ((status = find_part(vocab, right, right_length, rank, &right_id, error)) != PV_OK) return status;
    if (left_length > sizeof whole || right_length > sizeof whole - left_length)
        return pv_fail_at(error, PV_BAD_FILE, vocab->file, PV_NO_OFFSET, "merge %zu makes a token of more than %zu bytes", rank,
                          sizeof whole);
    memcpy(whole, left, left_length);
    memcpy(whole + left_length, right, right_length);
    if ((status = find_part(vocab, whole, left_length + right_length, rank, &whole_id, error)) != PV_OK) return status;
    if (!pv_grow(bpe->allocator, (void **)&bpe->pairs, &bpe->pair_capacity, rank + 1, sizeof *bpe->pairs) ||
        !pv_grow(bpe->allocator, (void **)&bpe->merged, &bpe->merge_capacity, rank + 1, sizeof *bpe->merged))
        return pv_fail_memory(error, (rank + 1) * sizeof *bpe->pairs, "the merges");
    bpe->pairs[rank].left = left_id;
    bpe->pairs[rank].right = right_id;
    bpe->merged[rank] = whole_id;
    bpe->merge_count++;
    return PV_OK;
}

pv_status pv_bpe_merge_line(pv_bpe *bpe, const pv_vocab *vocab, const char *line, size_t length, pv_error *error)
{
    const char *space = memchr(line, ' ', length);
    size_t left = space ? (size_t)(space - line) : 0;
    if (!space || memchr(space + 1, ' ', length - left - 1))
        return pv_fail_at(error, PV_BAD_FILE, vocab->file, PV_NO_OFFSET,
                          "merge %zu is \"%.*s\", must be two tokens and one space", bpe->merge_count,
                          (int)pv_min_size(length, 64), line);
    return pv_bpe_merge(bpe, vocab, line, left, space + 1, length - left - 1, error);
}

/* A full mix, seeded with an address: which pairs collide cannot be arranged by a file's author. */
static inline size_t hash_pair(const pv_bpe *bpe, uint32_t left, uint32_t right)
{
    uint64_t mixed = ((uint64_t)left << 32 | right) ^ (uint64_t)(uintptr_t)bpe->slots;
    mixed = (mixed ^ mixed >> 33) * 0xff51afd7ed558ccdu;
    mixed = (mixed ^ mixed >> 33) * 0xc4ceb9fe1a85ec53u;
    return (size_t)(mixed ^ mixed >> 33) & (bpe->slot_count - 1);
}

static inline pv_bpe_pair *probe_pair(const pv_bpe *bpe, uint32_t left, uint32_t right)
{
    for (size_t i = hash_pair(bpe, left, right);; i = (i + 1) & (bpe->slot_count - 1)) {
        pv_bpe_pair *slot = &bpe->slots[i];
        if (slot->left == PV_BPE_NONE || (slot->left == left && slot->right == right)) return slot;
    }
}

/* The rank of a pair, PV_BPE_NONE if it does not merge. */
static inline uint32_t pair_rank(const pv_bpe *bpe, uint32_t left, uint32_t right)
{
    return probe_pair(bpe, left, right)->rank;
}

pv_status pv_bpe_seal(pv_bpe *bpe, const pv_vocab *vocab, pv_error *error)
{
    size_t count = 16;
    while (count - count / 4 < bpe->merge_count) count *= 2;
    bpe->slots = pv_alloc(bpe->allocator, count, sizeof *bpe->slots);
    if (!bpe->slots) return pv_fail_memory(error, count * sizeof *bpe->slots, "the merges");
    memset(bpe->slots, 0xff, count * sizeof *bpe->slots); /* free slots: no ids, no rank */
    bpe->slot_count = count;
    for (size_t rank = 0; rank < bpe->merge_count; rank++) {
        uint32_t left = bpe->pairs[rank].left, right = bpe->pairs[rank].right;
        pv_bpe_pair *slot = probe_pair(bpe, left, right);
        if (slot->left != PV_BPE_NONE)
            return pv_fail_at(error, PV_BAD_FILE, vocab->file, PV_NO_OFFSET, "merge %zu repeats merge %u", rank, slot->rank);
        *slot = (pv_bpe_pair){left, right, (uint32_t)rank};
    }
    pv_free(bpe->allocator, bpe->pairs);
    bpe->pairs = NULL;
    bpe->pair_capacity = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        char character = (char)byte;
        uint32_t id;
        if (pv_vocab_find_bytes(vocab, &character, 1, PV_FORM_BYTES, &id)) bpe->byte_id[byte] = id;
    }
    return PV_OK;
}

/* ---- Words ---------------------------------------------------------------------------------------------------------- */

/* Words up to this many bytes are merged by looking through all their pairs each time; longer ones with a heap. */
#define SHORT_WORD 48

/* A word of up to 22 bytes and 10 tokens, in one cache line. */
struct pv_bpe_cached {
    uint8_t length, count; /* length 0: free */
    char word[22];
    int32_t ids[10];
};

struct pv_bpe_symbol {
    uint32_t id;             /* PV_BPE_NONE once merged into the symbol before */
    uint32_t next, previous; /* PV_BPE_NONE at the ends */
    uint32_t rank;           /* of the pair with the next */
};

void pv_bpe_scratch_init(pv_bpe_scratch *scratch, const pv_bpe *bpe, size_t length)
{
    *scratch = (pv_bpe_scratch){0};
    if (length < 512) return;
    size_t count = 64;
    while (count < 8192 && count < length / 32) count *= 2;
    scratch->cache = pv_calloc(bpe->allocator, count, sizeof *scratch->cache);
    if (scratch->cache) scratch->cache_count = count;
}

void pv_bpe_scratch_free(pv_bpe_scratch *scratch, const pv_bpe *bpe)
{
    pv_free(bpe->allocator, scratch->symbols);
    pv_free(bpe->allocator, scratch->heap);
    pv_free(bpe->allocator, scratch->cache);
    *scratch = (pv_bpe_scratch){0};
}

/* Fills ids with the word's first symbols, at most one a byte; returns how many. */
static size_t split_bytes(const pv_bpe *bpe, const char *word, size_t length, uint32_t *ids, size_t stride)
{
    size_t count = 0;
    bool unknown_before = false;
    for (size_t i = 0; i < length; i++) {
        uint32_t id = bpe->byte_id[(uint8_t)word[i]];
        bool unknown = id == PV_BPE_NONE;
        if (unknown) {
            if (bpe->unknown == PV_BPE_NONE) continue;
            if (bpe->fuse_unknown && unknown_before) continue;
            id = bpe->unknown;
        }
        unknown_before = unknown;
        ids[stride * count++] = id;
    }
    return count;
}

static size_t merge_short(const pv_bpe *bpe, uint32_t *ids, size_t count)
{
    uint32_t ranks[SHORT_WORD];
    for (size_t i = 0; i + 1 < count; i++) ranks[i] = pair_rank(bpe, ids[i], ids[i + 1]);
    while (count > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < count; i++)
            if (ranks[i] < ranks[best]) best = i;
        if (ranks[best] == PV_BPE_NONE) break;
        ids[best] = bpe->merged[ranks[best]];
        count--;
        memmove(ids + best + 1, ids + best + 2, (count - best - 1) * sizeof *ids);
        memmove(ranks + best, ranks + best + 1, (count - best - 1) * sizeof *ranks);
        if (best + 1 < count) ranks[best] = pair_rank(bpe, ids[best], ids[best + 1]);
        if (best > 0) ranks[best - 1] = pair_rank(bpe, ids[best - 1], ids[best]);
    }
    return count;
}

static void heap_up(uint64_t *heap, size_t at)
{
    uint64_t key = heap[at];
    for (; at > 0 && heap[(at - 1) / 2] > key; at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
    heap[at] = key;
}

static void heap_down(uint64_t *heap, size_t count, size_t at)
{
    uint64_t key = heap[at];
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= key) break;
        heap[at] = heap[child];
    }
    heap[at] = key;
}

/* Sets the rank of the pair that begins at `at` and queues it. Each merge takes one key out and puts in at most two, so the
 * heap never holds more than two keys a symbol. */
static void queue_pair(const pv_bpe *bpe, struct pv_bpe_symbol *symbols, uint64_t *heap, size_t *heap_count, uint32_t at)
{
    struct pv_bpe_symbol *symbol = &symbols[at];
    symbol->rank = symbol->next == PV_BPE_NONE ? PV_BPE_NONE : pair_rank(bpe, symbol->id, symbols[symbol->next].id);
    if (symbol->rank == PV_BPE_NONE) return;
    heap[*heap_count] = (uint64_t)symbol->rank << 32 | at;
    heap_up(heap, (*heap_count)++);
}

static void merge_long(const pv_bpe *bpe, struct pv_bpe_symbol *symbols, size_t count, uint64_t *heap)
{
    size_t heap_count = 0;
    for (size_t i = 0; i < count; i++) {
        symbols[i].next = i + 1 < count ? (uint32_t)(i + 1) : PV_BPE_NONE;
        symbols[i].previous = i > 0 ? (uint32_t)(i - 1) : PV_BPE_NONE;
    }
    for (size_t i = 0; i < count; i++) {
        struct pv_bpe_symbol *symbol = &symbols[i];
        symbol->rank = i + 1 < count ? pair_rank(bpe, symbol->id, symbols[i + 1].id) : PV_BPE_NONE;
        if (symbol->rank != PV_BPE_NONE) heap[heap_count++] = (uint64_t)symbol->rank << 32 | i;
    }
    for (size_t i = heap_count / 2; i-- > 0;) heap_down(heap, heap_count, i);
    while (heap_count > 0) {
        uint64_t key = heap[0];
        uint32_t at = (uint32_t)key, rank = (uint32_t)(key >> 32);
        heap[0] = heap[--heap_count];
        if (heap_count > 0) heap_down(heap, heap_count, 0);
        struct pv_bpe_symbol *symbol = &symbols[at];
        if (symbol->id == PV_BPE_NONE || symbol->rank != rank) continue; /* the pair is no more */
        struct pv_bpe_symbol *right = &symbols[symbol->next];
        symbol->id = bpe->merged[rank];
        symbol->next = right->next;
        right->id = PV_BPE_NONE;
        if (symbol->next != PV_BPE_NONE) symbols[symbol->next].previous = at;
        queue_pair(bpe, symbols, heap, &heap_count, at);
        if (symbol->previous != PV_BPE_NONE) queue_pair(bpe, symbols, heap, &heap_count, symbol->previous);
    }
}

static bool encode_long(const pv_bpe *bpe, pv_bpe_scratch *scratch, const char *word, size_t length, pv_tokens *tokens)
{
    if (!pv_grow(bpe->allocator, (void **)&scratch->symbols, &scratch->symbol_capacity, length, sizeof *scratch->symbols))
        return false;
    size_t count = split_bytes(bpe, word, length, &scratch->symbols[0].id, sizeof *scratch->symbols / sizeof(uint32_t));
    if (count == 0) return true;
    if (!pv_grow(bpe->allocator, (void **)&scratch->heap, &scratch->heap_capacity, 2 * count, sizeof *scratch->heap))
        return false;
    merge_long(bpe, scratch->symbols, count, scratch->heap);
    for (uint32_t at = 0; at != PV_BPE_NONE; at = scratch->symbols[at].next)
        if (!pv_tokens_add(tokens, (int32_t)scratch->symbols[at].id)) return false;
    return true;
}

/* Cheap, and only for the cache: a collision costs one encoding. */
static size_t hash_word(const char *word, size_t length)
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

static bool encode_short(const pv_bpe *bpe, struct pv_bpe_cached *cached, const char *word, size_t length, pv_tokens *tokens)
{
    uint32_t ids[SHORT_WORD];
    size_t count = merge_short(bpe, ids, split_bytes(bpe, word, length, ids, 1));
    for (size_t i = 0; i < count; i++)
        if (!pv_tokens_add(tokens, (int32_t)ids[i])) return false;
    if (cached && count <= sizeof cached->ids / sizeof *cached->ids) {
        cached->length = (uint8_t)length;
        cached->count = (uint8_t)count;
        memcpy(cached->word, word, length);
        memcpy(cached->ids, ids, count * sizeof *ids);
    }
    return true;
}

bool pv_bpe_encode(const pv_bpe *bpe, const pv_vocab *vocab, pv_bpe_scratch *scratch, const char *word, size_t length,
                   pv_tokens *tokens)
{
    uint32_t id;
    struct pv_bpe_cached *cached = NULL;
    if (length == 1 && (id = bpe->byte_id[(uint8_t)word[0]]) != PV_BPE_NONE) return pv_tokens_add(tokens, (int32_t)id);
    if (scratch->cache_count > 0 && length <= sizeof cached->word) {
        cached = &scratch->cache[hash_word(word, length) & (scratch->cache_count - 1)];
        if (cached->length == length && memcmp(cached->word, word, length) == 0) {
            for (size_t i = 0; i < cached->count; i++)
                if (!pv_tokens_add(tokens, cached->ids[i])) return false;
            return true;
        }
    }
    if (bpe->ignore_merges && pv_vocab_find_bytes(vocab, word, length, PV_FORM_BYTES, &id))
        return pv_tokens_add(tokens, (int32_t)id);
    return length <= SHORT_WORD ? encode_short(bpe, cached, word, length, tokens)
                                : encode_long(bpe, scratch, word, length, tokens);
}
