#include "msl/text.h"
#include "objc/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(sm_text *text, size_t more)
{
    if (text->failed || more > SIZE_MAX / 4 - text->length) {
        text->failed = true;
        return false;
    }
    size_t needed = text->length + more + 1;
    if (needed <= text->capacity) return true;
    size_t capacity = text->capacity ? text->capacity : 256;
    while (capacity < needed) capacity *= 2;
    char *bytes = sm_reallocate(text->bytes, capacity);
    if (!bytes) {
        text->failed = true;
        return false;
    }
    text->bytes = bytes;
    text->capacity = capacity;
    return true;
}

void sm_text_add(sm_text *text, const char *bytes, size_t length)
{
    if (!reserve(text, length)) return;
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = 0;
}

void sm_text_put(sm_text *text, const char *string)
{
    sm_text_add(text, string, strlen(string));
}

void sm_text_printf(sm_text *text, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    if (length >= 0 && reserve(text, (size_t)length)) {
        vsnprintf(text->bytes + text->length, (size_t)length + 1, format, again);
        text->length += (size_t)length;
    } else {
        text->failed = true;
    }
    va_end(again);
    va_end(arguments);
}

char *sm_text_take(sm_text *text)
{
    sm_text_add(text, "", 0);
    char *bytes = text->bytes;
    if (text->failed) {
        free(bytes);
        bytes = NULL;
    }
    *text = (sm_text){0};
    return bytes;
}

void sm_text_free(sm_text *text)
{
    free(text->bytes);
    *text = (sm_text){0};
}

struct sm_arena_chunk {
    struct sm_arena_chunk *next;
    size_t used, size;
    max_align_t memory[];
};

void *sm_arena_alloc(sm_arena *arena, size_t size)
{
    size = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    struct sm_arena_chunk *chunk = arena->chunks;
    if (!chunk || chunk->size - chunk->used < size) {
        size_t room = size > 16384 ? size : 16384;
        chunk = sm_allocate(sizeof *chunk + room);
        if (!chunk) {
            arena->failed = true;
            return NULL;
        }
        chunk->next = arena->chunks;
        chunk->size = room;
        arena->chunks = chunk;
    }
    void *memory = (char *)chunk->memory + chunk->used;
    chunk->used += size;
    return memory;
}

const char *sm_arena_copy(sm_arena *arena, const char *bytes, size_t length)
{
    char *copy = sm_arena_alloc(arena, length + 1);
    if (!copy) return "";
    memcpy(copy, bytes, length);
    return copy;
}

const char *sm_arena_printf(sm_arena *arena, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    char *string = length < 0 ? NULL : sm_arena_alloc(arena, (size_t)length + 1);
    if (string) vsnprintf(string, (size_t)length + 1, format, again);
    va_end(again);
    va_end(arguments);
    return string ? string : "";
}

const char *sm_arena_take(sm_arena *arena, sm_text *text)
{
    const char *copy = sm_arena_copy(arena, text->bytes ? text->bytes : "", text->length);
    arena->failed |= text->failed;
    sm_text_free(text);
    return copy;
}

void sm_arena_free(sm_arena *arena)
{
    while (arena->chunks) {
        struct sm_arena_chunk *next = arena->chunks->next;
        free(arena->chunks);
        arena->chunks = next;
    }
}

bool sm_grow(void *array, uint32_t count, uint32_t *capacity, size_t element_size)
{
    if (count < *capacity) return true;
    if (*capacity > UINT32_MAX / 4) return false;
    uint32_t larger = *capacity ? *capacity * 2 : 32;
    void *old;
    memcpy(&old, array, sizeof old);
    void *memory = sm_reallocate(old, larger * element_size);
    if (!memory) return false;
    memcpy(array, &memory, sizeof memory);
    *capacity = larger;
    return true;
}
