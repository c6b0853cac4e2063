#include "foundation/encoding.h"
#include "objc/memory.h"

#include <stdlib.h>
#include <string.h>

/* ---- UTF-8 (RFC 3629) */

bool sm_utf8_next(const char **at, const char *end, uint32_t *character)
{
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    const uint8_t *byte = (const uint8_t *)*at;
    int more = *byte < 0x80 ? 0 : *byte >= 0xf0 ? 3 : *byte >= 0xe0 ? 2 : 1;
    if ((*byte >= 0x80 && *byte < 0xc2) || *byte > 0xf4 || end - *at <= more) return false;
    uint32_t value = more == 0 ? *byte : *byte & (0x3fu >> more);
    for (int i = 1; i <= more; i++) {
        if ((byte[i] & 0xc0) != 0x80) return false;
        value = value << 6 | (byte[i] & 0x3f);
    }
    if (value < least[more] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) return false;
    *at += more + 1;
    *character = value;
    return true;
}

size_t sm_utf8_put(char *to, uint32_t character)
{
    size_t more = character < 0x80 ? 0 : character < 0x800 ? 1 : character < 0x10000 ? 2 : 3;
    static const uint8_t first[] = {0, 0xc0, 0xe0, 0xf0};
    for (size_t i = more; i > 0; i--) {
        to[i] = (char)(0x80 | (character & 0x3f));
        character >>= 6;
    }
    to[0] = (char)(first[more] | character);
    return more + 1;
}

bool sm_utf8_length(const char *text, size_t bytes, size_t *units)
{
    const char *end = text + bytes;
    uint32_t character;
    *units = 0;
    while (text < end) {
        if (!sm_utf8_next(&text, end, &character)) return false;
        *units += character >= 0x10000 ? 2 : 1;
    }
    return true;
}

/* ---- Other encodings, a character at a time */

typedef struct sm_source {
    const uint8_t *at, *end;
    uint64_t encoding;
} sm_source;

static uint32_t unit(const uint8_t *at, bool big)
{
    return big ? (uint32_t)at[0] << 8 | at[1] : (uint32_t)at[1] << 8 | at[0];
}

static bool next_utf8(sm_source *source, uint32_t *character)
{
    const char *at = (const char *)source->at;
    const bool found = sm_utf8_next(&at, (const char *)source->end, character);
    source->at = (const uint8_t *)at;
    return found;
}

static bool next_utf16(sm_source *source, uint32_t *character)
{
    bool big = source->encoding == SM_UTF16_BIG;
    if (source->end - source->at < 2) return false;
    *character = unit(source->at, big);
    source->at += 2;
    if (*character < 0xd800 || *character >= 0xe000) return true;
    if (*character >= 0xdc00 || source->end - source->at < 2) return false;
    uint32_t low = unit(source->at, big);
    if (low < 0xdc00 || low >= 0xe000) return false;
    source->at += 2;
    *character = 0x10000 + ((*character - 0xd800) << 10) + (low - 0xdc00);
    return true;
}

static bool next_utf32(sm_source *source, uint32_t *character)
{
    const uint8_t *at = source->at;
    if (source->end - at < 4) return false;
    *character = at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
    source->at += 4;
    return *character <= 0x10ffff && (*character < 0xd800 || *character >= 0xe000);
}

static bool next(sm_source *source, uint32_t *character)
{
    switch (source->encoding) {
    case SM_ASCII: *character = *source->at++; return *character < 0x80;
    case SM_LATIN1: *character = *source->at++; return true;
    case SM_UTF8: return next_utf8(source, character);
    case SM_UTF16_BIG:
    case SM_UTF16_LITTLE: return next_utf16(source, character);
    case SM_UTF32_LITTLE: return next_utf32(source, character);
    default: return false;
    }
}

static void read_byte_order(sm_source *source)
{
    if (source->encoding != SM_UTF16) return;
    source->encoding = SM_UTF16_BIG;
    if (source->end - source->at < 2) return;
    uint32_t mark = unit(source->at, true);
    if (mark == 0xfffe) source->encoding = SM_UTF16_LITTLE;
    if (mark == 0xfffe || mark == 0xfeff) source->at += 2;
}

char *sm_decode(const void *bytes, size_t length, uint64_t encoding, size_t *utf8_bytes)
{
    if (length > SIZE_MAX / 4) return NULL;
    sm_source source = {bytes, (const uint8_t *)bytes + length, encoding};
    read_byte_order(&source);
    char *text = sm_allocate(2 * length + 4); /* two bytes of Latin-1 or of UTF-16 take at most 4 or 3 */
    size_t put = 0;
    uint32_t character;
    while (text && source.at < source.end) {
        if (!next(&source, &character)) {
            free(text);
            return NULL;
        }
        put += sm_utf8_put(text + put, character);
    }
    *utf8_bytes = put;
    return text;
}

static void put_unit(uint8_t *to, uint32_t value, bool big)
{
    to[big ? 0 : 1] = (uint8_t)(value >> 8);
    to[big ? 1 : 0] = (uint8_t)value;
}

static size_t put_utf16(uint8_t *to, uint32_t character, bool big)
{
    if (character < 0x10000) {
        put_unit(to, character, big);
        return 2;
    }
    put_unit(to, 0xd800 + ((character - 0x10000) >> 10), big);
    put_unit(to + 2, 0xdc00 + ((character - 0x10000) & 0x3ff), big);
    return 4;
}

/* 0: the encoding has no such character. */
static size_t put(uint8_t *to, uint32_t character, uint64_t encoding)
{
    switch (encoding) {
    case SM_ASCII: *to = (uint8_t)character; return character < 0x80;
    case SM_LATIN1: *to = (uint8_t)character; return character < 0x100;
    case SM_UTF8: return sm_utf8_put((char *)to, character);
    case SM_UTF16:
    case SM_UTF16_LITTLE: return put_utf16(to, character, false);
    case SM_UTF16_BIG: return put_utf16(to, character, true);
    case SM_UTF32_LITTLE:
        for (int i = 0; i < 4; i++) to[i] = (uint8_t)(character >> (8 * i));
        return 4;
    default: return 0;
    }
}

char *sm_encode(const char *utf8, size_t bytes, uint64_t encoding, bool lossy, size_t *length)
{
    if (bytes > SIZE_MAX / 8) return NULL;
    uint8_t *encoded = sm_allocate(4 * bytes + 8);
    const char *end = utf8 + bytes;
    size_t at = encoded && encoding == SM_UTF16 ? put_utf16(encoded, 0xfeff, false) : 0;
    while (encoded && utf8 < end) {
        uint32_t character;
        size_t size = sm_utf8_next(&utf8, end, &character) ? put(encoded + at, character, encoding) : 0;
        if (size == 0 && lossy) size = put(encoded + at, '?', encoding);
        if (size == 0) {
            free(encoded);
            return NULL;
        }
        at += size;
    }
    *length = at;
    return (char *)encoded;
}
