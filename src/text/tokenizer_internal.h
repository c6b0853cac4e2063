/* What a tokenizer is made of. */
#ifndef PV_TEXT_TOKENIZER_INTERNAL_H
#define PV_TEXT_TOKENIZER_INTERNAL_H

#include "base/json.h"
#include "text/bpe.h"
#include "text/pretokenize.h"
#include "text/tokenizer.h"
#include "text/tokenizer_added.h"
#include "text/tokenizer_vocab.h"
#include "text/unigram.h"
#include "text/wordpiece.h"

typedef enum pv_tokenizer_kind { PV_TOKENIZER_BPE, PV_TOKENIZER_UNIGRAM, PV_TOKENIZER_WORDPIECE } pv_tokenizer_kind;

/* How the spellings of tokens become text. */
typedef struct pv_decoding {
    char mark[64], mark_text[64]; /* the one becomes the other; "": nothing does */
    bool byte_fallback;           /* <0x41> is the byte */
    bool joins_words; /* WordPiece: a space before each token that does not begin with the prefix, which is left out */
    bool cleans_up;   /* … and no space before punctuation and the like */
    char prefix[16];
    uint32_t strips; /* spaces left out at the start of a text */
    bool strips_all; /* all that the first token begins with */
} pv_decoding;

struct pv_tokenizer {
    pv_allocator allocator; /* a copy: the parts point to it */
    pv_tokenizer_kind kind;
    pv_vocab vocab;
    pv_added added;
    pv_normalizer normalizer;
    pv_pretokenizer pretokenizer;
    pv_bpe bpe; /* of bpe, unigram and wordpiece the one that `kind` names */
    pv_unigram unigram;
    pv_wordpiece wordpiece;
    pv_decoding decoding;
    pv_bytes text;      /* what tokens stand for, where that is not their spelling: all of them, in their order */
    uint32_t *text_end; /* by id, into it; NULL: spellings stand for themselves */
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
pv_status pv_tokenizer_parse_decoder(pv_tokenizer *tokenizer, pv_json *json, bool *byte_level, pv_error *error);
pv_status pv_tokenizer_parse_model(pv_tokenizer *tokenizer, pv_json *json, pv_error *error);

/* Makes the texts that tokens stand for, as `decoding` says, once all tokens are there. */
pv_status pv_tokenizer_render(pv_tokenizer *tokenizer, pv_error *error);
/* Once all tokens are there: checks added tokens against the vocabulary and seals both. */
pv_status pv_tokenizer_seal(pv_tokenizer *tokenizer, const char *file, pv_error *error);
/* Adds an id that ends an answer, once. */
pv_status pv_tokenizer_add_end(pv_tokenizer *tokenizer, uint64_t id, pv_error *error);
/* Adds the control tokens whose spelling tells that they end an answer. */
pv_status pv_tokenizer_add_known_ends(pv_tokenizer *tokenizer, pv_error *error);

#endif
