#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli.h"

static void *or_exit(void *pointer, size_t bytes)
{
    if (pointer != NULL) return pointer;
    cli_say("out of memory allocating %zu bytes", bytes);
    exit(CLI_MEMORY);
}

void *cli_alloc(size_t count, size_t size)
{
    return or_exit(calloc(count > 0 ? count : 1, size), count * size);
}

void *cli_grow(void *pointer, size_t *capacity, size_t wanted, size_t size)
{
    if (wanted <= *capacity) return pointer;
    size_t larger = *capacity < 32 ? 32 : *capacity;
    while (larger < wanted && larger <= SIZE_MAX / 4) larger *= 2;
    if (larger < wanted || larger > SIZE_MAX / size) return or_exit(NULL, wanted);
    *capacity = larger;
    return or_exit(realloc(pointer, larger * size), larger * size);
}

static void add_arguments(cli_text *text, const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length < 0) return;
    text->data = cli_grow(text->data, &text->capacity, text->length + (size_t)length + 1, 1);
    vsnprintf(text->data + text->length, (size_t)length + 1, format, arguments);
    text->length += (size_t)length;
}

char *cli_format(const char *format, ...)
{
    cli_text text = {0};
    va_list arguments;
    va_start(arguments, format);
    add_arguments(&text, format, arguments);
    va_end(arguments);
    return text.data;
}

void cli_add(cli_text *text, const char *bytes, size_t length)
{
    text->data = cli_grow(text->data, &text->capacity, text->length + length + 1, 1);
    if (length > 0) memcpy(text->data + text->length, bytes, length);
    text->length += length;
    text->data[text->length] = '\0';
}

void cli_add_format(cli_text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_arguments(text, format, arguments);
    va_end(arguments);
}

bool cli_ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), wanted = strlen(end);
    return length >= wanted && strcasecmp(text + length - wanted, end) == 0;
}
