#include "support_gguf.h"

#include <string.h>

void tg_text(tf_bytes *b, const char *string)
{
    tf_number(b, strlen(string), 8);
    tf_add(b, string, strlen(string));
}

void tg_begin(tf_bytes *b, uint64_t tensors, uint64_t metas)
{
    tf_add(b, "GGUF", 4);
    tf_number(b, 3, 4);
    tf_number(b, tensors, 8);
    tf_number(b, metas, 8);
}

void tg_meta(tf_bytes *b, const char *key, uint32_t type, uint64_t value, size_t size)
{
    tg_text(b, key);
    tf_number(b, type, 4);
    tf_number(b, value, size);
}

void tg_tensor(tf_bytes *b, const char *name, uint64_t rows, uint64_t cols, uint32_t type, uint64_t offset)
{
    tg_text(b, name);
    tf_number(b, 2, 4);
    tf_number(b, cols, 8);
    tf_number(b, rows, 8);
    tf_number(b, type, 4);
    tf_number(b, offset, 8);
}

void tg_data(tf_bytes *b, size_t bytes)
{
    static const uint8_t zeros[4096];
    tf_pad(b, 32);
    tf_add(b, zeros, bytes);
}

void tg_good(tf_bytes *b)
{
    tg_begin(b, 2, 1);
    tg_meta(b, "a.b", 4, 7, 4);
    tg_tensor(b, "x", 2, 8, 0, 0);
    tg_tensor(b, "y", 1, 32, 2, 64);
    tg_data(b, 64 + 18);
}

pv_status tg_open(const pv_allocator *allocator, const tf_bytes *bytes, pv_load load, pv_source **source, pv_error *error)
{
    tf_write("test.gguf", bytes->data, bytes->length);
    return pv_source_open(allocator, tf_path("test.gguf"), load, source, error);
}
