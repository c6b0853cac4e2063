#include "objc/memory.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static _Atomic uint64_t made, first_failure, failures;

static bool fails(void)
{
    uint64_t number = atomic_fetch_add_explicit(&made, 1, memory_order_relaxed) + 1;
    uint64_t first = atomic_load_explicit(&first_failure, memory_order_relaxed);
    return first != 0 && number >= first && number - first < atomic_load_explicit(&failures, memory_order_relaxed);
}

uint64_t sm_fail_allocations(uint64_t nth, uint64_t count)
{
    uint64_t so_far = atomic_exchange(&made, 0);
    atomic_store(&failures, count);
    atomic_store(&first_failure, nth);
    return so_far;
}

void *sm_allocate(size_t size)
{
    return fails() ? NULL : calloc(1, size > 0 ? size : 1);
}

void *sm_reallocate(void *memory, size_t size)
{
    return fails() ? NULL : realloc(memory, size > 0 ? size : 1);
}

char *sm_copy_bytes(const void *bytes, size_t length)
{
    char *copy = length < SIZE_MAX ? sm_allocate(length + 1) : NULL;
    if (copy && length > 0) memcpy(copy, bytes, length);
    return copy;
}
