#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/checked.h"

void pv_bytes_init(pv_bytes *bytes, const pv_allocator *allocator)
{
    *bytes = (pv_bytes){.allocator = allocator};
}

void pv_bytes_free(pv_bytes *bytes)
{
    pv_free(bytes->allocator, bytes->data);
    pv_bytes_init(bytes, bytes->allocator);
}

/* Room for `more` bytes and the NUL behind them. */
static bool make_room(pv_bytes *bytes, size_t more)
{
    size_t needed;
    if (bytes->failed) return false;
    if (!pv_add_size(bytes->length, more, &needed) || !pv_add_size(needed, 1, &needed) ||
        !pv_grow(bytes->allocator, (void **)&bytes->data, &bytes->capacity, needed, 1))
        bytes->failed = true;
    return !bytes->failed;
}

void pv_bytes_add(pv_bytes *bytes, const void *data, size_t length)
{
    if (!make_room(bytes, length)) return;
    if (length) memcpy(bytes->data + bytes->length, data, length);
    bytes->length += length;
    bytes->data[bytes->length] = '\0';
}

void pv_bytes_format(pv_bytes *bytes, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    if (length < 0) {
        bytes->failed = true;
    } else if (make_room(bytes, (size_t)length)) {
        vsnprintf(bytes->data + bytes->length, (size_t)length + 1, format, again);
        bytes->length += (size_t)length;
    }
    va_end(again);
    va_end(arguments);
}

/* Unicode 15, table 3-7: by first byte, the length and the range of the second byte; later bytes are 80..BF. */
static size_t utf8_lead(uint8_t lead, uint8_t *low, uint8_t *high)
{
    *low = 0x80;
    *high = 0xbf;
    if (lead < 0x80) return 1;
    if (lead < 0xc2 || lead > 0xf4) return 0;
    if (lead < 0xe0) return 2;
    if (lead < 0xf0) {
        if (lead == 0xe0) *low = 0xa0;
        if (lead == 0xed) *high = 0x9f;
        return 3;
    }
    if (lead == 0xf0) *low = 0x90;
    if (lead == 0xf4) *high = 0x8f;
    return 4;
}

/* How many of the first bytes of text[0..length) agree with one character of `*wanted` bytes. */
static size_t utf8_valid_prefix(const char *text, size_t length, size_t *wanted)
{
    uint8_t low, high;
    *wanted = utf8_lead((uint8_t)text[0], &low, &high);
    size_t good = *wanted > 0;
    while (good < *wanted && good < length && (uint8_t)text[good] >= low && (uint8_t)text[good] <= high) {
        good++;
        low = 0x80;
        high = 0xbf;
    }
    return good;
}

size_t pv_utf8_decode(const char *text, size_t length, uint32_t *code_point)
{
    static const uint8_t lead_mask[5] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    size_t wanted;
    *code_point = 0;
    if (length == 0) return 0;
    if ((uint8_t)text[0] < 0x80) {
        *code_point = (uint8_t)text[0];
        return 1;
    }
    if (utf8_valid_prefix(text, length, &wanted) != wanted || wanted == 0) return 0;
    uint32_t value = (uint8_t)text[0] & lead_mask[wanted];
    for (size_t i = 1; i < wanted; i++) value = value << 6 | ((uint8_t)text[i] & 0x3f);
    *code_point = value;
    return wanted;
}

size_t pv_utf8_encode(uint32_t code_point, char out[4])
{
    if (code_point < 0x80) {
        out[0] = (char)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        out[0] = (char)(0xc0 | code_point >> 6);
        out[1] = (char)(0x80 | (code_point & 0x3f));
        return 2;
    }
    if (code_point > 0x10ffff || (code_point >= 0xd800 && code_point < 0xe000)) return 0;
    if (code_point < 0x10000) {
        out[0] = (char)(0xe0 | code_point >> 12);
        out[1] = (char)(0x80 | (code_point >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code_point & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code_point >> 18);
    out[1] = (char)(0x80 | (code_point >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code_point >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code_point & 0x3f));
    return 4;
}

size_t pv_utf8_complete(const char *text, size_t length)
{
    for (size_t back = 1; back <= 3 && back <= length; back++) {
        size_t wanted;
        size_t good = utf8_valid_prefix(text + length - back, back, &wanted);
        if (good == back && wanted > back) return length - back;
        if (wanted != 0) break; /* a first byte: nothing before it is open */
    }
    return length;
}

void pv_map_init(pv_map *map, const pv_allocator *allocator)
{
    *map = (pv_map){.allocator = allocator};
}

void pv_map_free(pv_map *map)
{
    pv_free(map->allocator, map->entries);
    pv_map_init(map, map->allocator);
}

/* Seeded with an address, which a file's author cannot know: keys made to collide collide in no other process. */
static uint64_t map_hash(const pv_map *map, const char *key, size_t length)
{
    return XXH3_64bits_withSeed(key, length, (uint64_t)(uintptr_t)map->allocator);
}

/* The entry that holds the key, or the free one where it belongs. Capacity is a power of two and never full. */
static struct pv_map_entry *map_probe(const pv_map *map, const char *key, size_t length, uint64_t hash)
{
    for (size_t i = hash & (map->capacity - 1);; i = (i + 1) & (map->capacity - 1)) {
        struct pv_map_entry *entry = &map->entries[i];
        if (!entry->key) return entry;
        if (entry->hash == hash && entry->length == length && memcmp(entry->key, key, length) == 0) return entry;
    }
}

bool pv_map_reserve(pv_map *map, size_t count)
{
    size_t capacity = map->capacity ? map->capacity : 16;
    while (capacity - capacity / 4 < count) {
        if (!pv_mul_size(capacity, 2, &capacity)) return false;
    }
    if (capacity == map->capacity) return true;
    pv_map larger = {.allocator = map->allocator, .capacity = capacity, .count = map->count};
    larger.entries = pv_calloc(map->allocator, capacity, sizeof *larger.entries);
    if (!larger.entries) return false;
    for (size_t i = 0; i < map->capacity; i++) {
        const struct pv_map_entry *entry = &map->entries[i];
        if (entry->key) *map_probe(&larger, entry->key, entry->length, entry->hash) = *entry;
    }
    pv_free(map->allocator, map->entries);
    *map = larger;
    return true;
}

int pv_map_add(pv_map *map, const char *key, size_t length, uint32_t value)
{
    if (length > UINT32_MAX || !pv_map_reserve(map, map->count + 1)) return -1;
    if (!key) key = ""; /* NULL marks a free entry */
    uint64_t hash = map_hash(map, key, length);
    struct pv_map_entry *entry = map_probe(map, key, length, hash);
    if (entry->key) return 0;
    *entry = (struct pv_map_entry){.key = key, .length = (uint32_t)length, .value = value, .hash = hash};
    map->count++;
    return 1;
}

bool pv_map_find(const pv_map *map, const char *key, size_t length, uint32_t *value)
{
    if (map->count == 0) return false;
    if (!key) key = "";
    const struct pv_map_entry *entry = map_probe(map, key, length, map_hash(map, key, length));
    if (!entry->key) return false;
    *value = entry->value;
    return true;
}
