/* A folder of SafeTensors shards from a stranger. Bytes 0xFF, which JSON cannot hold, part the input into the index and up to
 * three shards, named a, b and c; each shard's header ends at its last brace and gets its length put before it. */
#include "fuzz_folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const shards[] = {"a", "b", "c"};
    static const uint8_t nothing[1];
    const uint8_t *mark = size > 0 ? memchr(data, 0xff, size) : NULL;
    size_t part = mark ? (size_t)(mark - data) : size, total = part;
    fuzz_write("model.safetensors.index.json", nothing, 0, part > 0 ? data : nothing, part);
    for (int i = 0; i < 3; i++) {
        if (!mark) { /* the input has no such part: the shard is missing */
            fuzz_remove(shards[i]);
            continue;
        }
        size -= part + 1;
        data = mark + 1;
        mark = size > 0 && i < 2 ? memchr(data, 0xff, size) : NULL;
        part = mark ? (size_t)(mark - data) : size;
        total += fuzz_write_safetensors(shards[i], part > 0 ? data : nothing, part);
    }
    fuzz_open_twice(fuzz_folder, true, total);
    return 0;
}
