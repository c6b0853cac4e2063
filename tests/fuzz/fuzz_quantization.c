/* A quantized model from a stranger: the input up to its first byte 0xFF, which JSON cannot hold, is config.json, the rest
 * model.safetensors, whose header ends at its last brace and gets its length put before it. */
#include "fuzz_folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t nothing[1];
    const uint8_t *mark = size > 0 ? memchr(data, 0xff, size) : NULL;
    const size_t config = mark ? (size_t)(mark - data) : size, rest = mark ? size - config - 1 : 0;
    fuzz_write("config.json", nothing, 0, config > 0 ? data : nothing, config);
    const size_t file = fuzz_write_safetensors("model.safetensors", mark ? mark + 1 : nothing, rest);
    fuzz_open_twice(fuzz_folder, true, config + file + 1);
    return 0;
}
