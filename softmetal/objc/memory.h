/* The allocations of the runtime and of Foundation: zeroed, freed with free, and made to fail by tests. */
#ifndef SOFTMETAL_OBJC_MEMORY_H
#define SOFTMETAL_OBJC_MEMORY_H

#include <stddef.h>
#include <stdint.h>

void *sm_allocate(size_t size);
void *sm_reallocate(void *memory, size_t size);
/* A copy with a 0 behind it. */
char *sm_copy_bytes(const void *bytes, size_t length);

/* The nth allocation from now on fails, and `count` - 1 that follow; nth 0: none does. Returns how many were made since the
 * last call. */
uint64_t sm_fail_allocations(uint64_t nth, uint64_t count);

#endif
