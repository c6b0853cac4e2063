/* What a tokenizer is made of. */
#ifndef PV_TEXT_TOKENIZER_INTERNAL_H
#define PV_TEXT_TOKENIZER_INTERNAL_H

#include "base/json.h"
#include "text/bpe.h"
#include "text/pretokenize.h"
#include "text/tokenizer.h"
#include "text/tokenizer_added.h"
#include "text/tokenizer_vocab.h"

struct pv_tokenizer {
    pv_allocator allocator; /* a copy: the parts point to it */
    pv_vocab vocab;
    pv_added added;
    pv_pretokenizer pretokenizer;
    pv_bpe bpe;
    int32_t bos;
    bool add_bos;
    pv_tokens ends;
};

/* An empty one; NULL if memory runs out. */
pv_tokenizer *pv_tokenizer_create(const pv_allocator *allocator);
/* Each fills an empty tokenizer; on failure the caller destroys it. */
pv_status pv_tokenizer_load_gguf(pv_tokenizer *tokenizer, pv_source *source, pv_error *error);
pv_status pv_tokenizer_load_json(pv_tokenizer *tokenizer, pv_source *source, pv_error *error);

/* From the texts of tokenizer.json and, unless NULL, tokenizer_config.json. */
pv_status pv_tokenizer_read_json(pv_tokenizer *tokenizer, const char *text, size_t length, const char *config_text,
                                 size_t config_length, pv_error *error);
/* The parts of tokenizer.json, from a reader whose next token starts the value. `bos`: gets the token that the post-processor
 * puts first, if any. */
pv_status pv_tokenizer_parse_normalizer(pv_tokenizer *tokenizer, pv_json *json, pv_error *error);
pv_status pv_tokenizer_parse_pretokenizer(pv_tokenizer *tokenizer, pv_json *json, bool *byte_level, pv_error *error);
pv_status pv_tokenizer_parse_postprocessor(pv_tokenizer *tokenizer, pv_json *json, pv_bytes *bos, pv_error *error);
pv_status pv_tokenizer_parse_decoder(pv_tokenizer *tokenizer, pv_json *json, pv_error *error);
pv_status pv_tokenizer_parse_model(pv_tokenizer *tokenizer, pv_json *json, pv_error *error);

/* Once all tokens are there: checks added tokens against the vocabulary and seals both. */
pv_status pv_tokenizer_seal(pv_tokenizer *tokenizer, const char *file, pv_error *error);
/* Adds an id that ends an answer, once. */
pv_status pv_tokenizer_add_end(pv_tokenizer *tokenizer, uint64_t id, pv_error *error);
/* Adds the control tokens whose spelling tells that they end an answer. */
pv_status pv_tokenizer_add_known_ends(pv_tokenizer *tokenizer, pv_error *error);

#endif
