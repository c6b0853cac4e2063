/* Growable bytes, UTF-8 stepping, and a map from byte strings to numbers. */
#ifndef PV_BASE_TEXT_H
#define PV_BASE_TEXT_H

#include "pensieve.h"

#include "base/error.h"

typedef struct pv_bytes {
    const pv_allocator *allocator;
    char *data; /* always NUL-terminated once something was added */
    size_t length, capacity;
    bool failed; /* memory ran out; further additions do nothing: check once at the end */
} pv_bytes;

void pv_bytes_init(pv_bytes *bytes, const pv_allocator *allocator);
void pv_bytes_free(pv_bytes *bytes);
void pv_bytes_add(pv_bytes *bytes, const void *data, size_t length);
void pv_bytes_format(pv_bytes *bytes, const char *format, ...) PV_PRINTF(2, 3);

/* Bytes [start, end) of a text. */
typedef struct pv_span {
    size_t start, end;
} pv_span;

/* Decodes one character at text[0..length): returns its bytes (1-4) and the code point, or 0 if the bytes are no valid UTF-8. */
size_t pv_utf8_decode(const char *text, size_t length, uint32_t *code_point);
/* Writes 1-4 bytes; 0 if not a Unicode scalar value. */
size_t pv_utf8_encode(uint32_t code_point, char out[4]);
/* The longest prefix that ends between characters; an incomplete character at the very end is left off, bytes that can never
 * become valid are kept. Used by streaming. */
size_t pv_utf8_complete(const char *text, size_t length);

/* Map from byte strings to uint32_t. Keys are not copied: they must outlive the map. */
typedef struct pv_map {
    const pv_allocator *allocator;
    struct pv_map_entry { const char *key; uint32_t length, value; uint64_t hash; } *entries;
    size_t capacity, count;
} pv_map;
void pv_map_init(pv_map *map, const pv_allocator *allocator);
void pv_map_free(pv_map *map);
/* Makes room for `count` entries in all. */
bool pv_map_reserve(pv_map *map, size_t count);
/* Adds; 1 if added, 0 if the key was there (its value is left), -1 if memory runs out. */
int pv_map_add(pv_map *map, const char *key, size_t length, uint32_t value);
bool pv_map_find(const pv_map *map, const char *key, size_t length, uint32_t *value);

#endif
