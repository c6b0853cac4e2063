/* A vocabulary: ids, the bytes they stand for, and the way back.
 *
 * Byte-level vocabularies spell every byte as a printable character (space is "Ġ"). Here tokens are kept as the bytes they
 * stand for (form BYTES); a spelling that uses other characters stands for itself (form RAW). A spelling gives exactly one
 * (form, bytes) pair and back, so one index serves both. */
#ifndef PV_TEXT_TOKENIZER_VOCAB_H
#define PV_TEXT_TOKENIZER_VOCAB_H

#include "base/text.h"

#define PV_VOCAB_MAX_SIZE (1u << 22)    /* ids; the largest vocabularies in use have 262,144 */
#define PV_VOCAB_MAX_TOKEN UINT16_MAX   /* bytes of a token */
#define PV_VOCAB_MAX_BYTES (256u << 20) /* of all tokens together */

typedef enum pv_form { PV_FORM_NONE, PV_FORM_BYTES, PV_FORM_RAW } pv_form;

typedef struct pv_vocab_entry {
    uint32_t offset; /* into bytes */
    uint16_t length;
    uint8_t form;  /* pv_form; NONE: the model has no such id */
    uint8_t added; /* an added token overrides what the id stands for */
} pv_vocab_entry;

typedef struct pv_vocab {
    const pv_allocator *allocator;
    pv_vocab_entry *entries;
    size_t size, capacity; /* ids 0 … size − 1 */
    pv_bytes bytes;
    uint32_t *slots; /* open addressing: id + 1, 0 is free; a power of two of them */
    size_t slot_count;
    const char *file; /* for messages */
    bool plain;       /* spellings stand for themselves, whatever characters they have */
} pv_vocab;

void pv_vocab_init(pv_vocab *vocab, const pv_allocator *allocator, const char *file);
void pv_vocab_free(pv_vocab *vocab);

/* Makes ids up to `id` exist. Errors: PV_BAD_FILE (too large), PV_OUT_OF_MEMORY. */
pv_status pv_vocab_reach(pv_vocab *vocab, uint64_t id, pv_error *error);
/* Gives `id` the token spelled so. Errors: PV_BAD_FILE (the id is taken or too large, the token too long), PV_OUT_OF_MEMORY. */
pv_status pv_vocab_put(pv_vocab *vocab, uint64_t id, const char *spelling, size_t length, pv_error *error);
/* Builds the index, once, when all tokens are there. Errors: PV_BAD_FILE (two ids with one spelling), PV_OUT_OF_MEMORY. */
pv_status pv_vocab_index(pv_vocab *vocab, pv_error *error);

/* The id of a token, false if there is none. `bytes` are what a byte-level token stands for. */
bool pv_vocab_find_bytes(const pv_vocab *vocab, const char *bytes, size_t length, pv_form form, uint32_t *id);
/* The same by spelling. Spellings longer than any token are not there. */
bool pv_vocab_find(const pv_vocab *vocab, const char *spelling, size_t length, uint32_t *id);

/* Turns a spelling into the bytes it stands for, at most `length` of them, if all its characters spell bytes. */
bool pv_spelling_bytes(const char *spelling, size_t length, char *out, size_t *out_length);
/* The character that spells a byte. */
uint32_t pv_byte_character(uint8_t byte);

#endif
