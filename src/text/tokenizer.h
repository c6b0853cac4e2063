/* Tokenizers: text to ids and back. BPE by bytes or by characters, Unigram and WordPiece, with what comes before them, from
 * tokenizer.json or GGUF metadata. */
#ifndef PV_TEXT_TOKENIZER_H
#define PV_TEXT_TOKENIZER_H

#include "base/text.h"
#include "format/source.h"

typedef struct pv_tokenizer pv_tokenizer;

typedef struct pv_tokens {
    const pv_allocator *allocator;
    int32_t *ids;
    size_t count, capacity;
} pv_tokens;
void pv_tokens_init(pv_tokens *tokens, const pv_allocator *allocator);
void pv_tokens_free(pv_tokens *tokens);
bool pv_tokens_add(pv_tokens *tokens, int32_t id);

/* From a GGUF's tokenizer.ggml.* or a folder's tokenizer.json (+ tokenizer_config.json). The source may be closed afterwards.
 * Errors: PV_UNSUPPORTED (names the model, pre-tokenizer, normalizer or pattern feature that is not known; nothing is guessed),
 * PV_BAD_FILE, PV_NOT_FOUND (no tokenizer), PV_OUT_OF_MEMORY. */
pv_status pv_tokenizer_load(const pv_allocator *allocator, pv_source *source, pv_tokenizer **tokenizer, pv_error *error);
void pv_tokenizer_destroy(pv_tokenizer *tokenizer);

enum { PV_ENCODE_SPECIAL = 1 /* added and control tokens spelled in the text become their ids */ };

/* Appends the ids of text[0..length); never adds BOS by itself. Any thread (scratch is local).
 * Errors: PV_INVALID_ARGUMENT (longer than 2^30 bytes), PV_OUT_OF_MEMORY. */
pv_status pv_tokenizer_encode(const pv_tokenizer *tokenizer, const char *text, size_t length, unsigned flags, pv_tokens *tokens,
                              pv_error *error);
/* The same, but control tokens are not recognised where they touch one of `plain`'s spans (in order, not overlapping): user
 * text inside a rendered chat stays text, while the pre-tokenizer still sees the whole. Added tokens that are no control tokens
 * are not affected. */
pv_status pv_tokenizer_encode_marked(const pv_tokenizer *tokenizer, const char *text, size_t length, unsigned flags,
                                     const pv_span *plain, size_t plain_count, pv_tokens *tokens, pv_error *error);
/* The bytes that an id stands for; kept by the tokenizer. For a control token the text of its spelling, with *control true. */
bool pv_tokenizer_bytes(const pv_tokenizer *tokenizer, int32_t id, const char **bytes, size_t *length, bool *control);
/* How many of the bytes that the first token of a text stands for do not belong to the text: some models begin every text with
 * a space. Of bytes that are not the first, none are left out. */
size_t pv_tokenizer_leading(const pv_tokenizer *tokenizer, const char *bytes, size_t length);
uint32_t pv_tokenizer_size(const pv_tokenizer *tokenizer);
/* −1 if there is none. `add_bos` tells if encoding a plain prompt starts with bos. */
int32_t pv_tokenizer_bos(const pv_tokenizer *tokenizer, bool *add_bos);
/* The id of a token by its exact spelling, −1 if there is none. */
int32_t pv_tokenizer_find(const pv_tokenizer *tokenizer, const char *text, size_t length);
/* Ids that end an answer: eos, end-of-turn, end-of-message from every place that names them (GGUF keys eos_token_id,
 * eot_token_id, eom_token_id; tokenizer_config.json's eos_token; well-known spellings such as <|im_end|>, <|eot_id|>,
 * <|endoftext|>, </s>, <end_of_turn>, <|end|>, <|return|> that are control tokens). config.json and generation_config.json are
 * added by the model. */
const int32_t *pv_tokenizer_ends(const pv_tokenizer *tokenizer, size_t *count);

#endif
