/* A SafeTensors file from a stranger: the input as it is, and, so that mutations need not hit the length in front of the
 * header, the input with that length put before it, the header ending at the last brace. */
#include "check_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t length[8];
    size_t header = size;
    while (header > 0 && data[header - 1] != '}') header--;
    for (int i = 0; i < 8; i++) length[i] = (uint8_t)((uint64_t)header >> 8 * i);
    fuzz_source(length, 0, data, size);
    fuzz_source(length, sizeof length, data, size);
    return 0;
}
