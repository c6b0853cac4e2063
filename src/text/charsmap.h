/* SentencePiece's precompiled normalizers: a map from short strings to short strings, kept as a double array (Aoe 1989) whose
 * leaves point into a block of NUL-terminated texts. */
#ifndef PV_TEXT_CHARSMAP_H
#define PV_TEXT_CHARSMAP_H

#include "base/text.h"

typedef struct pv_charsmap {
    const pv_allocator *allocator;
    uint32_t *units;
    size_t unit_count;
    char *texts; /* ends with NUL */
    size_t texts_length;
} pv_charsmap;

void pv_charsmap_init(pv_charsmap *map, const pv_allocator *allocator);
void pv_charsmap_free(pv_charsmap *map);
/* From the bytes of the map, which are copied. Errors: PV_BAD_FILE, PV_OUT_OF_MEMORY. */
pv_status pv_charsmap_read(pv_charsmap *map, const void *data, size_t length, const char *file, pv_error *error);
/* The same from their base64. */
pv_status pv_charsmap_read_base64(pv_charsmap *map, const char *text, size_t length, const char *file, pv_error *error);

/* Appends the text, valid UTF-8, mapped, until there are more than `most` bytes. Check out->failed. `shortest`: as Hugging Face
 * does it, by graphemes, a grapheme of up to five bytes being replaced as a whole by what its shortest entry says; else as
 * SentencePiece itself, the longest entry from left to right. */
void pv_charsmap_apply(const pv_charsmap *map, bool shortest, const char *text, size_t length, size_t most, pv_bytes *out);

#endif
