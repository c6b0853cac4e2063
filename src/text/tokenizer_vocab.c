#include "text/tokenizer_vocab.h"

#include <inttypes.h>
#include <string.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/checked.h"

void pv_vocab_init(pv_vocab *vocab, const pv_allocator *allocator, const char *file)
{
    *vocab = (pv_vocab){.allocator = allocator, .file = file};
    pv_bytes_init(&vocab->bytes, allocator);
}

void pv_vocab_free(pv_vocab *vocab)
{
    pv_free(vocab->allocator, vocab->entries);
    pv_free(vocab->allocator, vocab->slots);
    pv_bytes_free(&vocab->bytes);
    pv_vocab_init(vocab, vocab->allocator, vocab->file);
}

/* GPT-2's alphabet: bytes that are printable in Latin-1 spell themselves; the other 68, in order, are U+0100 … U+0143. */
static bool spells_itself(uint32_t byte)
{
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
}

uint32_t pv_byte_character(uint8_t byte)
{
    if (spells_itself(byte)) return byte;
    if (byte <= 0x20) return 0x100u + byte;
    if (byte <= 0xa0) return 0x121u + (byte - 0x7fu);
    return 0x143; /* 0xad, the soft hyphen */
}

static bool character_byte(uint32_t code_point, uint8_t *byte)
{
    if (spells_itself(code_point))
        *byte = (uint8_t)code_point;
    else if (code_point >= 0x100 && code_point <= 0x120)
        *byte = (uint8_t)(code_point - 0x100);
    else if (code_point >= 0x121 && code_point <= 0x142)
        *byte = (uint8_t)(code_point - 0x121 + 0x7f);
    else if (code_point == 0x143)
        *byte = 0xad;
    else
        return false;
    return true;
}

bool pv_spelling_bytes(const char *spelling, size_t length, char *out, size_t *out_length)
{
    size_t made = 0;
    for (size_t at = 0; at < length;) {
        uint32_t code_point;
        uint8_t byte;
        size_t step = pv_utf8_decode(spelling + at, length - at, &code_point);
        if (step == 0 || !character_byte(code_point, &byte)) return false;
        out[made++] = (char)byte;
        at += step;
    }
    *out_length = made;
    return true;
}

pv_status pv_vocab_reach(pv_vocab *vocab, uint64_t id, pv_error *error)
{
    if (id >= PV_VOCAB_MAX_SIZE)
        return pv_fail_at(error, PV_BAD_FILE, vocab->file, PV_NO_OFFSET, "token id %" PRIu64 " is over the limit of %u", id,
                          PV_VOCAB_MAX_SIZE - 1);
    size_t wanted = (size_t)id + 1;
    if (wanted <= vocab->size) return PV_OK;
    if (!pv_grow(vocab->allocator, (void **)&vocab->entries, &vocab->capacity, wanted, sizeof *vocab->entries))
        return pv_fail_memory(error, wanted * sizeof *vocab->entries, "the vocabulary");
    memset(vocab->entries + vocab->size, 0, (wanted - vocab->size) * sizeof *vocab->entries);
    vocab->size = wanted;
    return PV_OK;
}

pv_status pv_vocab_put(pv_vocab *vocab, uint64_t id, const char *spelling, size_t length, pv_error *error)
{
    char bytes[PV_VOCAB_MAX_TOKEN];
    size_t made;
    pv_form form = PV_FORM_BYTES;
    pv_status status = pv_vocab_reach(vocab, id, error);
    if (status != PV_OK) return status;
    pv_vocab_entry *entry = &vocab->entries[id];
    if (entry->form != PV_FORM_NONE)
        return pv_fail_at(error, PV_BAD_FILE, vocab->file, PV_NO_OFFSET,
                          "token id %" PRIu64 " is given twice, again for \"%.*s\"", id, (int)pv_min_size(length, 64),
                          spelling);
    if (length > PV_VOCAB_MAX_TOKEN)
        return pv_fail_at(error, PV_BAD_FILE, vocab->file, PV_NO_OFFSET, "token %" PRIu64 " has %zu bytes, more than %u", id,
                          length, PV_VOCAB_MAX_TOKEN);
    if (vocab->plain || !pv_spelling_bytes(spelling, length, bytes, &made)) {
        form = PV_FORM_RAW;
        made = length;
    }
    if (made > PV_VOCAB_MAX_BYTES - vocab->bytes.length)
        return pv_fail_at(error, PV_BAD_FILE, vocab->file, PV_NO_OFFSET, "the tokens have more than %u bytes",
                          PV_VOCAB_MAX_BYTES);
    *entry = (pv_vocab_entry){.offset = (uint32_t)vocab->bytes.length, .length = (uint16_t)made, .form = (uint8_t)form};
    pv_bytes_add(&vocab->bytes, form == PV_FORM_RAW ? spelling : bytes, made);
    return vocab->bytes.failed ? pv_fail_memory(error, made, "the vocabulary") : PV_OK;
}

/* Seeded with an address, which a file's author cannot know. */
static uint64_t hash_token(const pv_vocab *vocab, const char *bytes, size_t length, pv_form form)
{
    return XXH3_64bits_withSeed(bytes, length, (uint64_t)(uintptr_t)vocab->slots + form);
}

/* The slot that holds the token, or the free one where it belongs. */
static uint32_t *probe(const pv_vocab *vocab, const char *bytes, size_t length, pv_form form)
{
    size_t mask = vocab->slot_count - 1;
    for (size_t i = hash_token(vocab, bytes, length, form) & mask;; i = (i + 1) & mask) {
        uint32_t *slot = &vocab->slots[i];
        if (*slot == 0) return slot;
        const pv_vocab_entry *entry = &vocab->entries[*slot - 1];
        if (entry->length == length && entry->form == form && memcmp(vocab->bytes.data + entry->offset, bytes, length) == 0)
            return slot;
    }
}

pv_status pv_vocab_index(pv_vocab *vocab, pv_error *error)
{
    size_t count = 16;
    while (count / 2 < vocab->size) count *= 2;
    vocab->slots = pv_calloc(vocab->allocator, count, sizeof *vocab->slots);
    if (!vocab->slots) return pv_fail_memory(error, count * sizeof *vocab->slots, "the vocabulary's index");
    vocab->slot_count = count;
    for (size_t id = 0; id < vocab->size; id++) {
        const pv_vocab_entry *entry = &vocab->entries[id];
        if (entry->form == PV_FORM_NONE) continue;
        const char *bytes = vocab->bytes.data + entry->offset;
        uint32_t *slot = probe(vocab, bytes, entry->length, entry->form);
        if (*slot != 0)
            return pv_fail_at(error, PV_BAD_FILE, vocab->file, PV_NO_OFFSET,
                              "tokens %u and %zu have the same spelling \"%.*s\"", *slot - 1, id,
                              (int)pv_min_size(entry->length, 64), bytes);
        *slot = (uint32_t)id + 1;
    }
    return PV_OK;
}

bool pv_vocab_find_bytes(const pv_vocab *vocab, const char *bytes, size_t length, pv_form form, uint32_t *id)
{
    if (vocab->slot_count == 0 || length == 0 || length > PV_VOCAB_MAX_TOKEN) return false;
    uint32_t slot = *probe(vocab, bytes, length, form);
    if (slot == 0) return false;
    *id = slot - 1;
    return true;
}

bool pv_vocab_find(const pv_vocab *vocab, const char *spelling, size_t length, uint32_t *id)
{
    char bytes[PV_VOCAB_MAX_TOKEN];
    size_t made;
    if (length > PV_VOCAB_MAX_TOKEN) return false;
    if (!vocab->plain && pv_spelling_bytes(spelling, length, bytes, &made))
        return pv_vocab_find_bytes(vocab, bytes, made, PV_FORM_BYTES, id);
    return pv_vocab_find_bytes(vocab, spelling, length, PV_FORM_RAW, id);
}
