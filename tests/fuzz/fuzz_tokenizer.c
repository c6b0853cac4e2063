/* tokenizer.json from a stranger, and text. The input is the file, a byte 0xFF (which JSON cannot hold), and the text.
 * What loads must encode and give back bytes without harm. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "text/tokenizer_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char config[] = "{\"bos_token\":\"<s>\",\"eos_token\":{\"content\":\"</s>\"}}";
    pv_allocator allocator = pv_allocator_default();
    const uint8_t *mark = size ? memchr(data, 0xff, size) : NULL;
    size_t length = mark ? (size_t)(mark - data) : size;
    const char *text = mark ? (const char *)mark + 1 : (const char *)data;
    size_t text_length = mark ? size - length - 1 : size;
    pv_tokenizer *tokenizer = pv_tokenizer_create(&allocator);
    if (!tokenizer) return 0;
    if (pv_tokenizer_read_json(tokenizer, (const char *)data, length, config, sizeof config - 1, NULL) == PV_OK) {
        pv_tokens tokens;
        pv_tokens_init(&tokens, &allocator);
        for (unsigned flags = 0; flags <= PV_ENCODE_SPECIAL; flags++) {
            pv_span plain = {text_length / 3, text_length / 2};
            pv_tokenizer_encode_marked(tokenizer, text, text_length, flags, &plain, flags, &tokens, NULL);
            for (size_t i = 0; i < tokens.count; i++) {
                const char *bytes;
                size_t bytes_length;
                bool control;
                if (!pv_tokenizer_bytes(tokenizer, tokens.ids[i], &bytes, &bytes_length, &control)) __builtin_trap();
                if (bytes_length > 0 && bytes[bytes_length - 1] == '\1') control = true; /* the last byte can be read */
            }
        }
        pv_tokens_free(&tokens);
    }
    pv_tokenizer_destroy(tokenizer);
    return 0;
}
