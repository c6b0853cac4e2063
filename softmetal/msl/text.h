/* Growing texts, growing arrays, and an arena for what lives as long as one translation. None of them ever fails loudly:
 * running out of memory sets `failed`, which the owner looks at once, at the end. */
#ifndef SOFTMETAL_MSL_TEXT_H
#define SOFTMETAL_MSL_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct sm_text {
    char *bytes;
    size_t length, capacity;
    bool failed;
} sm_text;

void sm_text_add(sm_text *text, const char *bytes, size_t length);
void sm_text_put(sm_text *text, const char *string);
void sm_text_printf(sm_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The bytes with a NUL behind them, malloc'ed, the caller's; NULL if memory ran out. The text is empty afterwards. */
char *sm_text_take(sm_text *text);
void sm_text_free(sm_text *text);

typedef struct sm_arena {
    struct sm_arena_chunk *chunks;
    bool failed;
} sm_arena;

/* Zeroed memory, or NULL. */
void *sm_arena_alloc(sm_arena *arena, size_t size);
/* Never NULL: "" if memory ran out. */
const char *sm_arena_printf(sm_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *sm_arena_copy(sm_arena *arena, const char *bytes, size_t length);
/* Moves a text into the arena; the text is empty afterwards. Never NULL. */
const char *sm_arena_take(sm_arena *arena, sm_text *text);
void sm_arena_free(sm_arena *arena);

/* Makes room for one more element in a malloc'ed array of `count`; false if memory ran out (the array stays). */
bool sm_grow(void *array, uint32_t count, uint32_t *capacity, size_t element_size);

#endif
