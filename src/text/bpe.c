#include "text/bpe.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "text/unicode.h"

#define SPACE_MARK "\xe2\x96\x81" /* ▁ */

void pv_bpe_init(pv_bpe *bpe, const pv_allocator *allocator)
{
    *bpe = (pv_bpe){.allocator = allocator, .unknown = PV_BPE_NONE};
    for (size_t i = 0; i < 256; i++) bpe->byte_id[i] = bpe->last_id[i] = PV_BPE_NONE;
    for (size_t i = 0; i < 128; i++) bpe->ascii_id[i] = PV_BPE_NONE;
}

void pv_bpe_free(pv_bpe *bpe)
{
    pv_free(bpe->allocator, bpe->slots);
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

pv_status pv_bpe_pair_add(pv_bpe *bpe, const pv_vocab *vocab, pv_bpe_pair pair, pv_error *error)
{
    if (bpe->merge_count == PV_BPE_MAX_MERGES)
        return pv_fail_at(error, PV_BAD_FILE, vocab->file, PV_NO_OFFSET, "more than %u merges", PV_BPE_MAX_MERGES);
    if (!pv_grow(bpe->allocator, (void **)&bpe->pairs, &bpe->pair_capacity, bpe->merge_count + 1, sizeof *bpe->pairs))
        return pv_fail_memory(error, (bpe->merge_count + 1) * sizeof *bpe->pairs, "the merges");
    bpe->pairs[bpe->merge_count++] = pair;
    return PV_OK;
}

pv_status pv_bpe_merge(pv_bpe *bpe, const pv_vocab *vocab, const char *left, size_t left_length, const char *right,
                       size_t right_length, pv_error *error)
{
    size_t rank = bpe->merge_count;
    pv_bpe_pair pair = {.rank = (uint32_t)rank};
    char whole[PV_VOCAB_MAX_TOKEN];
    pv_status status;
    if ((status = find_part(vocab, left, left_length, rank, &pair.left, error)) != PV_OK) return status;
    if ((status = find_part(vocab, right, right_length, rank, &pair.right, error)) != PV_OK) return status;
    if (left_length > sizeof whole || right_length > sizeof whole - left_length)
        return pv_fail_at(error, PV_BAD_FILE, vocab->file, PV_NO_OFFSET, "merge %zu makes a token of more than %zu bytes", rank,
                          sizeof whole);
    memcpy(whole, left, left_length);
    memcpy(whole + left_length, right, right_length);
    if ((status = find_part(vocab, whole, left_length + right_length, rank, &pair.merged, error)) != PV_OK) return status;
    return pv_bpe_pair_add(bpe, vocab, pair, error);
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

/* The token of a character or byte that ends a word. */
static bool find_last(const pv_bpe *bpe, const pv_vocab *vocab, const char *text, size_t length, pv_form form, uint32_t *id)
{
    char spelling[4 + sizeof bpe->suffix];
    size_t suffix = strlen(bpe->suffix);
    memcpy(spelling, text, length);
    memcpy(spelling + length, bpe->suffix, suffix);
    return pv_vocab_find_bytes(vocab, spelling, length + suffix, form, id);
}

static void find_single_bytes(pv_bpe *bpe, const pv_vocab *vocab)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char character = (char)byte;
        uint32_t id;
        if (pv_vocab_find_bytes(vocab, &character, 1, PV_FORM_BYTES, &id)) bpe->byte_id[byte] = id;
        if (bpe->suffix[0] && find_last(bpe, vocab, &character, 1, PV_FORM_BYTES, &id)) bpe->last_id[byte] = id;
    }
}

static void find_characters(pv_bpe *bpe, const pv_vocab *vocab)
{
    uint32_t id;
    for (unsigned byte = 0; byte < 256 && bpe->byte_fallback; byte++) {
        char spelling[8];
        snprintf(spelling, sizeof spelling, "<0x%02X>", byte);
        if (pv_vocab_find(vocab, spelling, 6, &id)) bpe->byte_id[byte] = id;
    }
    for (unsigned byte = 0; byte < 128; byte++) {
        char character = (char)byte;
        if (pv_vocab_find(vocab, &character, 1, &id)) bpe->ascii_id[byte] = id;
    }
}

/* True if no merge makes a token in which ▁ stands behind something else: then what stands before a run of ▁ and the run never
 * join, and each part can be encoded by itself. */
static bool may_cut_at_space(const pv_bpe *bpe, const pv_vocab *vocab)
{
    uint32_t mark;
    if (!pv_vocab_find(vocab, SPACE_MARK, 3, &mark)) return false;
    for (size_t i = 0; i < bpe->merge_count; i++) {
        const pv_vocab_entry *whole = &vocab->entries[bpe->pairs[i].merged];
        const char *text = vocab->bytes.data + whole->offset, *at = text, *end = text + whole->length;
        while ((size_t)(end - at) >= 3 && memcmp(at, SPACE_MARK, 3) == 0) at += 3;
        if (memmem(at, (size_t)(end - at), SPACE_MARK, 3)) return false;
    }
    return true;
}

pv_status pv_bpe_seal(pv_bpe *bpe, const pv_vocab *vocab, pv_error *error)
{
    size_t count = 16;
    while (count - count / 4 < bpe->merge_count) count *= 2;
    bpe->slots = pv_alloc(bpe->allocator, count, sizeof *bpe->slots);
    if (!bpe->slots) return pv_fail_memory(error, count * sizeof *bpe->slots, "the merges");
    memset(bpe->slots, 0xff, count * sizeof *bpe->slots); /* free slots: no ids, no rank */
    bpe->slot_count = count;
    for (size_t i = 0; i < bpe->merge_count; i++) {
        pv_bpe_pair *slot = probe_pair(bpe, bpe->pairs[i].left, bpe->pairs[i].right);
        if (slot->left != PV_BPE_NONE)
            return pv_fail_at(error, PV_BAD_FILE, vocab->file, PV_NO_OFFSET, "merge %zu repeats merge %u", i, slot->rank);
        *slot = bpe->pairs[i];
    }
    if (bpe->characters) {
        find_characters(bpe, vocab);
        bpe->cuts_at_space = !bpe->suffix[0] && may_cut_at_space(bpe, vocab);
    } else {
        find_single_bytes(bpe, vocab);
    }
    pv_free(bpe->allocator, bpe->pairs);
    bpe->pairs = NULL;
    bpe->pair_capacity = 0;
    return PV_OK;
}

/* ---- Words ---------------------------------------------------------------------------------------------------------- */

/* Words up to this many bytes are merged by looking through all their pairs each time; longer ones with a heap. */
#define SHORT_WORD 48

struct pv_bpe_symbol {
    uint32_t id;             /* PV_BPE_NONE once merged into the symbol before */
    uint32_t next, previous; /* PV_BPE_NONE at the ends */
    uint32_t rank, merged;   /* of the pair with the next */
};

void pv_bpe_scratch_init(pv_bpe_scratch *scratch, const pv_bpe *bpe, size_t length)
{
    *scratch = (pv_bpe_scratch){0};
    pv_word_cache_init(&scratch->cache, bpe->allocator, length);
}

void pv_bpe_scratch_free(pv_bpe_scratch *scratch, const pv_bpe *bpe)
{
    pv_free(bpe->allocator, scratch->symbols);
    pv_free(bpe->allocator, scratch->heap);
    pv_word_cache_free(&scratch->cache, bpe->allocator);
    *scratch = (pv_bpe_scratch){0};
}

/* Fills ids with the word's first symbols, at most one a byte; returns how many. */
static size_t split_bytes(const pv_bpe *bpe, const char *word, size_t length, uint32_t *ids, size_t stride)
{
    size_t count = 0;
    bool unknown_before = false;
    for (size_t i = 0; i < length; i++) {
        const uint32_t *ids_of = bpe->suffix[0] && i + 1 == length ? bpe->last_id : bpe->byte_id;
        uint32_t id = ids_of[(uint8_t)word[i]];
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

/* The tokens of a character's bytes; 0 if one of them has none. */
static size_t fall_back(const pv_bpe *bpe, const char *text, size_t length, uint32_t *ids, size_t stride)
{
    if (!bpe->byte_fallback) return 0;
    for (size_t i = 0; i < length; i++) {
        ids[stride * i] = bpe->byte_id[(uint8_t)text[i]];
        if (ids[stride * i] == PV_BPE_NONE) return 0;
    }
    return length;
}

/* The same by characters; bytes that are none are taken one by one. An unknown is put down when the next character is known or
 * unknown too, so behind the bytes of those that fell back meanwhile: as Hugging Face does it. */
static size_t split_characters(const pv_bpe *bpe, const pv_vocab *vocab, const char *word, size_t length, uint32_t *ids,
                               size_t stride)
{
    size_t count = 0;
    bool pending = false;
    for (size_t at = 0, bytes; at < length; at += bytes) {
        uint32_t id = PV_BPE_NONE, code_point;
        bytes = pv_utf8_decode(word + at, length - at, &code_point);
        if (bytes > 0 && at + bytes == length && bpe->suffix[0])
            find_last(bpe, vocab, word + at, bytes, PV_FORM_RAW, &id);
        else if (bytes == 1)
            id = bpe->ascii_id[code_point];
        else if (bytes == 0 || !pv_vocab_find_bytes(vocab, word + at, bytes, PV_FORM_RAW, &id))
            id = PV_BPE_NONE;
        if (bytes == 0) bytes = 1;
        if (id != PV_BPE_NONE) {
            if (pending) ids[stride * count++] = bpe->unknown;
            pending = false;
            ids[stride * count++] = id;
            continue;
        }
        size_t made = fall_back(bpe, word + at, bytes, ids + stride * count, stride);
        count += made;
        if (made > 0 || bpe->unknown == PV_BPE_NONE) continue;
        if (pending && !bpe->fuse_unknown) ids[stride * count++] = bpe->unknown;
        pending = true;
    }
    if (pending) ids[stride * count++] = bpe->unknown;
    return count;
}

static size_t split_word(const pv_bpe *bpe, const pv_vocab *vocab, const char *word, size_t length, uint32_t *ids,
                         size_t stride)
{
    return bpe->characters ? split_characters(bpe, vocab, word, length, ids, stride)
                           : split_bytes(bpe, word, length, ids, stride);
}

static size_t merge_short(const pv_bpe *bpe, uint32_t *ids, size_t count)
{
    uint32_t ranks[SHORT_WORD], merged[SHORT_WORD];
    for (size_t i = 0; i + 1 < count; i++) {
        const pv_bpe_pair *pair = probe_pair(bpe, ids[i], ids[i + 1]);
        ranks[i] = pair->rank;
        merged[i] = pair->merged;
    }
    while (count > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < count; i++)
            if (ranks[i] < ranks[best]) best = i;
        if (ranks[best] == PV_BPE_NONE) break;
        ids[best] = merged[best];
        count--;
        memmove(ids + best + 1, ids + best + 2, (count - best - 1) * sizeof *ids);
        memmove(ranks + best, ranks + best + 1, (count - best - 1) * sizeof *ranks);
        memmove(merged + best, merged + best + 1, (count - best - 1) * sizeof *merged);
        for (size_t i = best > 0 ? best - 1 : 0; i <= best && i + 1 < count; i++) {
            const pv_bpe_pair *pair = probe_pair(bpe, ids[i], ids[i + 1]);
            ranks[i] = pair->rank;
            merged[i] = pair->merged;
        }
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

/* Finds out what becomes of a symbol and the next; false if nothing does. */
static bool find_pair(const pv_bpe *bpe, const struct pv_bpe_symbol *symbols, struct pv_bpe_symbol *symbol)
{
    symbol->rank = PV_BPE_NONE;
    if (symbol->next == PV_BPE_NONE) return false;
    const pv_bpe_pair *pair = probe_pair(bpe, symbol->id, symbols[symbol->next].id);
    symbol->rank = pair->rank;
    symbol->merged = pair->merged;
    return symbol->rank != PV_BPE_NONE;
}

/* Sets the rank of the pair that begins at `at` and queues it. Each merge takes one key out and puts in at most two, so the
 * heap never holds more than two keys a symbol. */
static void queue_pair(const pv_bpe *bpe, struct pv_bpe_symbol *symbols, uint64_t *heap, size_t *heap_count, uint32_t at)
{
    struct pv_bpe_symbol *symbol = &symbols[at];
    if (!find_pair(bpe, symbols, symbol)) return;
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
        if (find_pair(bpe, symbols, &symbols[i])) heap[heap_count++] = (uint64_t)symbols[i].rank << 32 | i;
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
        symbol->id = symbol->merged;
        symbol->next = right->next;
        right->id = PV_BPE_NONE;
        if (symbol->next != PV_BPE_NONE) symbols[symbol->next].previous = at;
        queue_pair(bpe, symbols, heap, &heap_count, at);
        if (symbol->previous != PV_BPE_NONE) queue_pair(bpe, symbols, heap, &heap_count, symbol->previous);
    }
}

static bool encode_long(const pv_bpe *bpe, const pv_vocab *vocab, pv_bpe_scratch *scratch, const char *word, size_t length,
                        pv_tokens *tokens)
{
    if (!pv_grow(bpe->allocator, (void **)&scratch->symbols, &scratch->symbol_capacity, length, sizeof *scratch->symbols))
        return false;
    size_t count = split_word(bpe, vocab, word, length, &scratch->symbols[0].id, sizeof *scratch->symbols / sizeof(uint32_t));
    if (count == 0) return true;
    if (!pv_grow(bpe->allocator, (void **)&scratch->heap, &scratch->heap_capacity, 2 * count, sizeof *scratch->heap))
        return false;
    merge_long(bpe, scratch->symbols, count, scratch->heap);
    for (uint32_t at = 0; at != PV_BPE_NONE; at = scratch->symbols[at].next)
        if (!pv_tokens_add(tokens, (int32_t)scratch->symbols[at].id)) return false;
    return true;
}

static bool add_all(pv_tokens *tokens, const int32_t *ids, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!pv_tokens_add(tokens, ids[i])) return false;
    return true;
}

static bool encode_short(const pv_bpe *bpe, const pv_vocab *vocab, pv_cached_word *cached, const char *word, size_t length,
                         pv_tokens *tokens)
{
    uint32_t ids[SHORT_WORD];
    size_t count = merge_short(bpe, ids, split_word(bpe, vocab, word, length, ids, 1));
    if (cached) pv_cached_set(cached, word, length, (const int32_t *)ids, count);
    return add_all(tokens, (const int32_t *)ids, count);
}

/* A word that is cut no further. */
static bool encode_part(const pv_bpe *bpe, const pv_vocab *vocab, pv_bpe_scratch *scratch, const char *word, size_t length,
                        pv_tokens *tokens)
{
    pv_cached_word *cached = pv_word_cache_slot(&scratch->cache, word, length);
    if (cached && pv_cached_is(cached, word, length)) return add_all(tokens, cached->ids, cached->count);
    return length <= SHORT_WORD ? encode_short(bpe, vocab, cached, word, length, tokens)
                                : encode_long(bpe, vocab, scratch, word, length, tokens);
}

/* The end of the part that begins at `at`: a run of ▁, and what follows up to the next. */
static size_t part_end(const char *word, size_t length, size_t at)
{
    while (length - at >= 3 && memcmp(word + at, SPACE_MARK, 3) == 0) at += 3;
    const char *mark = memmem(word + at, length - at, SPACE_MARK, 3);
    return mark ? (size_t)(mark - word) : length;
}

static bool encode_parts(const pv_bpe *bpe, const pv_vocab *vocab, pv_bpe_scratch *scratch, const char *word, size_t length,
                         pv_tokens *tokens)
{
    for (size_t at = 0, end; at < length; at = end) {
        end = part_end(word, length, at);
        if (!encode_part(bpe, vocab, scratch, word + at, end - at, tokens)) return false;
    }
    return true;
}

bool pv_bpe_encode(const pv_bpe *bpe, const pv_vocab *vocab, pv_bpe_scratch *scratch, const char *word, size_t length,
                   pv_tokens *tokens)
{
    uint32_t id;
    if (length == 1 && !bpe->characters && !bpe->suffix[0] && (id = bpe->byte_id[(uint8_t)word[0]]) != PV_BPE_NONE)
        return pv_tokens_add(tokens, (int32_t)id);
    if (bpe->ignore_merges) {
        pv_form form = bpe->characters ? PV_FORM_RAW : PV_FORM_BYTES;
        pv_cached_word *cached = bpe->cuts_at_space ? NULL : pv_word_cache_slot(&scratch->cache, word, length);
        if (cached && pv_cached_is(cached, word, length)) return add_all(tokens, cached->ids, cached->count);
        if (pv_vocab_find_bytes(vocab, word, length, form, &id)) {
            if (cached) pv_cached_set(cached, word, length, &(int32_t){(int32_t)id}, 1);
            return pv_tokens_add(tokens, (int32_t)id);
        }
    }
    return bpe->cuts_at_space ? encode_parts(bpe, vocab, scratch, word, length, tokens)
                              : encode_part(bpe, vocab, scratch, word, length, tokens);
}
