/* All of the library's memory goes through a caller's pv_allocator; sizes are checked here, once. */
#ifndef PV_BASE_ALLOC_H
#define PV_BASE_ALLOC_H

#include "pensieve.h"

/* The C library's allocator. */
pv_allocator pv_allocator_default(void);

/* count × size bytes, uninitialised; NULL if the product overflows, is 0 or memory runs out. */
void *pv_alloc(const pv_allocator *allocator, size_t count, size_t size);
/* The same, zeroed. */
void *pv_calloc(const pv_allocator *allocator, size_t count, size_t size);
/* Resizes to count × size; on failure returns NULL and leaves the old memory as it was. */
void *pv_resize(const pv_allocator *allocator, void *pointer, size_t count, size_t size);
void pv_free(const pv_allocator *allocator, void *pointer);
/* A copy with a NUL after its `length` bytes. */
char *pv_copy_string(const pv_allocator *allocator, const char *text, size_t length);

/* Makes room for at least `needed` elements in a growing array (doubling); false if memory runs out, array unchanged. */
bool pv_grow(const pv_allocator *allocator, void **array, size_t *capacity, size_t needed, size_t element_size);

#endif
