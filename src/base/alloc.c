#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

static void *reallocate_default(void *user, void *pointer, size_t size)
{
    (void)user;
    if (size == 0) {
        free(pointer);
        return NULL;
    }
    return realloc(pointer, size);
}

pv_allocator pv_allocator_default(void)
{
    return (pv_allocator){reallocate_default, NULL};
}

void *pv_resize(const pv_allocator *allocator, void *pointer, size_t count, size_t size)
{
    size_t bytes;
    if (!pv_mul_size(count, size, &bytes) || bytes == 0 || bytes > PTRDIFF_MAX) return NULL;
    return allocator->reallocate(allocator->user, pointer, bytes);
}

void *pv_alloc(const pv_allocator *allocator, size_t count, size_t size)
{
    return pv_resize(allocator, NULL, count, size);
}

void *pv_calloc(const pv_allocator *allocator, size_t count, size_t size)
{
    void *memory = pv_alloc(allocator, count, size);
    if (memory) memset(memory, 0, count * size);
    return memory;
}

void pv_free(const pv_allocator *allocator, void *pointer)
{
    if (pointer) allocator->reallocate(allocator->user, pointer, 0);
}

char *pv_copy_string(const pv_allocator *allocator, const char *text, size_t length)
{
    size_t bytes;
    if (!pv_add_size(length, 1, &bytes)) return NULL;
    char *copy = pv_alloc(allocator, bytes, 1);
    if (!copy) return NULL;
    if (length) memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

bool pv_grow(const pv_allocator *allocator, void **array, size_t *capacity, size_t needed, size_t element_size)
{
    if (needed <= *capacity) return true;
    size_t doubled = *capacity < 8 ? 8 : *capacity;
    while (doubled < needed) {
        if (!pv_mul_size(doubled, 2, &doubled)) return false;
    }
    if (doubled == *capacity) return true;
    void *grown = pv_resize(allocator, *array, doubled, element_size);
    if (!grown) return false;
    *array = grown;
    *capacity = doubled;
    return true;
}
