/* GGUF files put together for tests, and opened. */
#ifndef TEST_SUPPORT_GGUF_H
#define TEST_SUPPORT_GGUF_H

#include "format/source.h"
#include "support_files.h"

/* Magic, version 3 and counts. */
void tg_begin(tf_bytes *b, uint64_t tensors, uint64_t metas);
/* A string: its length, then its bytes. */
void tg_text(tf_bytes *b, const char *string);
/* A key-value whose value is a number of `size` bytes. */
void tg_meta(tf_bytes *b, const char *key, uint32_t type, uint64_t value, size_t size);
/* Two dimensions, rows and then columns; types: 0 F32, 2 Q4_0. */
void tg_tensor(tf_bytes *b, const char *name, uint64_t rows, uint64_t cols, uint32_t type, uint64_t offset);
/* Padding and zeros, at most 4096. */
void tg_data(tf_bytes *b, size_t bytes);
/* A whole file: one value, two tensors; header of 125 bytes. */
void tg_good(tf_bytes *b);
/* Written as test.gguf to the test's folder, and opened. */
pv_status tg_open(const pv_allocator *allocator, const tf_bytes *bytes, pv_load load, pv_source **source, pv_error *error);

#endif
