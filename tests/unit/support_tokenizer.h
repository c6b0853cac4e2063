/* What tests of tokenizers stand on: loading, encoding and joining in one call, and random text. */
#ifndef TEST_SUPPORT_TOKENIZER_H
#define TEST_SUPPORT_TOKENIZER_H

#include "text/tokenizer.h"

#define TK_FIXTURES PV_TEST_DATA "/golden/tokenizer/"

/* From a GGUF file or a folder; the source is closed again. */
pv_status tk_load(const pv_allocator *allocator, const char *path, pv_tokenizer **tokenizer, pv_error *error);
/* The same, failing the test if it does not load. */
pv_tokenizer *tk_open(const char *path);
/* From the text of a tokenizer.json. */
pv_status tk_read(const pv_allocator *allocator, const char *json, pv_tokenizer **tokenizer, pv_error *error);

/* Encodes; fails the test on an error. Free with pv_tokens_free. */
pv_tokens tk_encode(const pv_tokenizer *tokenizer, const char *text, size_t length, unsigned flags);
/* Fails the test unless the bytes of the ids, joined, are the text. */
void tk_assert_joined(const pv_tokenizer *tokenizer, const pv_tokens *tokens, const char *text, size_t length);

/* xorshift64*, from a seed other than 0. */
uint64_t tk_random(uint64_t *state);
/* A string of up to `most` characters from an alphabet of `count` code points; returns its bytes, at most 4 × most. */
size_t tk_random_text(uint64_t *state, const uint32_t *alphabet, size_t count, size_t most, char *out);

#endif
