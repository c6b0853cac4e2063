/* Objects as they lie in memory: what a pc belongs to, and its line. */
#ifndef SOFTMETAL_EXECUTOR_IMAGE_H
#define SOFTMETAL_EXECUTOR_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sm_object_image {
    uintptr_t base;         /* what its addresses are relative to */
    uintptr_t begin, end;   /* all of it */
    uintptr_t code_begin, code_end;
    char *path;
    struct sm_object_image *next;
    struct sm_known_line *lines; /* found out so far */
    size_t line_count, line_capacity;
} sm_image;

/* The object that holds this address; NULL if none does, or there is no memory. Kept for ever: objects stay open. */
const sm_image *sm_image_of(const void *address);

static inline bool sm_image_holds(const sm_image *image, uintptr_t address)
{
    return image != NULL && address - image->begin < image->end - image->begin;
}

static inline bool sm_image_holds_code(const sm_image *image, uintptr_t address)
{
    return image != NULL && address - image->code_begin < image->code_end - image->code_begin;
}

/* The lines of the source, 0 where unknown, for `count` addresses (0: none). Where code of a header (the shim's) was inlined, it is the
 * line of the text that asked for it. Runs addr2line, once for all that are new. */
void sm_image_lines(const sm_image *image, const uintptr_t *pcs, uint32_t *lines, size_t count);

#endif
