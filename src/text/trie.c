#include "text/trie.h"

#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"

void pv_trie_init(pv_trie *trie, const pv_allocator *allocator)
{
    *trie = (pv_trie){.allocator = allocator};
}

void pv_trie_free(pv_trie *trie)
{
    pv_free(trie->allocator, trie->edges);
    pv_free(trie->allocator, trie->token);
    pv_trie_init(trie, trie->allocator);
}

static struct pv_trie_edge *free_slot(const pv_trie *trie, uint32_t key)
{
    size_t mask = trie->edge_count - 1, i = (key * 0x9e3779b97f4a7c15u >> 32) & mask;
    while (trie->edges[i].key != PV_TRIE_NONE) i = (i + 1) & mask;
    return &trie->edges[i];
}

/* Doubles the table when it is half full. */
static bool reserve(pv_trie *trie)
{
    struct pv_trie_edge *old = trie->edges;
    size_t old_count = trie->edge_count;
    if (trie->node_count < old_count / 2) return true;
    size_t count = old_count ? 2 * old_count : 1024;
    struct pv_trie_edge *fresh = pv_alloc(trie->allocator, count, sizeof *fresh);
    if (!fresh) return false;
    memset(fresh, 0xff, count * sizeof *fresh);
    trie->edges = fresh;
    trie->edge_count = count;
    for (size_t i = 0; i < old_count; i++)
        if (old[i].key != PV_TRIE_NONE) *free_slot(trie, old[i].key) = old[i];
    pv_free(trie->allocator, old);
    return true;
}

static bool new_node(pv_trie *trie)
{
    if (!reserve(trie) ||
        !pv_grow(trie->allocator, (void **)&trie->token, &trie->token_capacity, trie->node_count + 1, sizeof *trie->token))
        return false;
    trie->token[trie->node_count++] = PV_TRIE_NONE;
    return true;
}

static pv_status insert(pv_trie *trie, const char *text, size_t length, uint32_t id, const char *file, pv_error *error)
{
    uint32_t node = PV_TRIE_ROOT;
    for (size_t i = 0; i < length; i++) {
        uint32_t next = pv_trie_step(trie, node, (uint8_t)text[i]);
        if (next == PV_TRIE_NONE) {
            if (trie->node_count == PV_TRIE_MAX_NODES)
                return pv_fail_at(error, PV_BAD_FILE, file, PV_NO_OFFSET, "the tokens differ in more than %u places",
                                  PV_TRIE_MAX_NODES);
            next = (uint32_t)trie->node_count;
            if (!new_node(trie)) return pv_fail_memory(error, trie->node_count * sizeof *trie->token, "the vocabulary's tree");
            *free_slot(trie, node << 8 | (uint8_t)text[i]) = (struct pv_trie_edge){node << 8 | (uint8_t)text[i], next};
        }
        node = next;
    }
    trie->token[node] = id;
    return PV_OK;
}

pv_status pv_trie_build(pv_trie *trie, const pv_vocab *vocab, const bool *left_out, pv_error *error)
{
    if (!new_node(trie)) return pv_fail_memory(error, sizeof *trie->token, "the vocabulary's tree");
    for (size_t id = 0; id < vocab->size; id++) {
        const pv_vocab_entry *entry = &vocab->entries[id];
        if (entry->form != PV_FORM_RAW || entry->length == 0 || (left_out && left_out[id])) continue;
        if (entry->length > PV_TRIE_MAX_TOKEN)
            return pv_fail_at(error, PV_BAD_FILE, vocab->file, PV_NO_OFFSET, "token %zu has %u bytes, more than %d", id,
                              entry->length, PV_TRIE_MAX_TOKEN);
        pv_status status = insert(trie, vocab->bytes.data + entry->offset, entry->length, (uint32_t)id, vocab->file, error);
        if (status != PV_OK) return status;
    }
    return PV_OK;
}
