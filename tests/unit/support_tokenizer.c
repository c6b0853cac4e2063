#include "support_tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "text/tokenizer_internal.h"

pv_status tk_load(const pv_allocator *allocator, const char *path, pv_tokenizer **tokenizer, pv_error *error)
{
    pv_source *source = NULL;
    pv_status status = pv_source_open(allocator, path, PV_LOAD_MAP, &source, error);
    if (status != PV_OK) return status;
    status = pv_tokenizer_load(allocator, source, tokenizer, error);
    pv_source_close(source);
    return status;
}

pv_tokenizer *tk_open(const char *path)
{
    pv_allocator allocator = pv_allocator_default();
    pv_tokenizer *tokenizer = NULL;
    pv_error error = {0};
    if (tk_load(&allocator, path, &tokenizer, &error) != PV_OK) fail_msg("%s: %s", path, error.message);
    return tokenizer;
}

pv_status tk_read(const pv_allocator *allocator, const char *json, pv_tokenizer **tokenizer, pv_error *error)
{
    pv_tokenizer *made = pv_tokenizer_create(allocator);
    if (!made) return pv_fail_memory(error, 0, "a tokenizer");
    pv_status status = pv_tokenizer_read_json(made, json, strlen(json), NULL, 0, error);
    if (status == PV_OK)
        *tokenizer = made;
    else
        pv_tokenizer_destroy(made);
    return status;
}

pv_tokens tk_encode(const pv_tokenizer *tokenizer, const char *text, size_t length, unsigned flags)
{
    static pv_allocator allocator;
    pv_tokens tokens;
    pv_error error = {0};
    allocator = pv_allocator_default();
    pv_tokens_init(&tokens, &allocator);
    if (pv_tokenizer_encode(tokenizer, text, length, flags, &tokens, &error) != PV_OK) fail_msg("%s", error.message);
    return tokens;
}

void tk_assert_joined(const pv_tokenizer *tokenizer, const pv_tokens *tokens, const char *text, size_t length)
{
    size_t at = 0;
    bool starts = true;
    for (size_t i = 0; i < tokens->count; i++) {
        const char *bytes = NULL;
        size_t count = 0;
        bool control = false;
        assert_true(pv_tokenizer_bytes(tokenizer, tokens->ids[i], &bytes, &count, &control));
        if (at == 0 && starts && count > 0) {
            size_t leading = pv_tokenizer_leading(tokenizer, bytes, count);
            bytes += leading;
            count -= leading;
            starts = false;
        }
        assert_true(count <= length - at);
        assert_memory_equal(bytes, text + at, count);
        at += count;
    }
    assert_int_equal(at, length);
}

uint64_t tk_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1du;
}

size_t tk_random_text(uint64_t *state, const uint32_t *alphabet, size_t count, size_t most, char *out)
{
    size_t length = 0, characters = (tk_random(state) >> 16) % most + 1;
    for (size_t i = 0; i < characters; i++) length += pv_utf8_encode(alphabet[(tk_random(state) >> 16) % count], out + length);
    return length;
}
