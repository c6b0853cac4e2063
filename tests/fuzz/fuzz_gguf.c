/* A GGUF file from a stranger. Inputs need not begin with the magic, version and counts: those that do not get them in front.
 */
#include "check_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t start[24] = "GGUF\3\0\0\0"
                                     "\2\0\0\0\0\0\0\0"
                                     "\2\0\0\0\0\0\0";
    bool whole = size >= 4 && memcmp(data, "GGUF", 4) == 0;
    fuzz_source(start, whole ? 0 : sizeof start, data, size);
    return 0;
}
