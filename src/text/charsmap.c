#include "text/charsmap.h"

#include <string.h>
#include <utf8proc.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "text/unicode.h"

void pv_charsmap_init(pv_charsmap *map, const pv_allocator *allocator)
{
    *map = (pv_charsmap){.allocator = allocator};
}

void pv_charsmap_free(pv_charsmap *map)
{
    pv_free(map->allocator, map->units);
    pv_free(map->allocator, map->texts);
    pv_charsmap_init(map, map->allocator);
}

/* ---- Reading -------------------------------------------------------------------------------------------------------- */

/* u32 bytes of the double array, the array, the texts. */
pv_status pv_charsmap_read(pv_charsmap *map, const void *data, size_t length, const char *file, pv_error *error)
{
    uint32_t array_bytes;
    if (length < sizeof array_bytes)
        return pv_fail_at(error, PV_BAD_FILE, file, PV_NO_OFFSET, "the precompiled charsmap has %zu bytes, must have 4 or more",
                          length);
    memcpy(&array_bytes, data, sizeof array_bytes);
    size_t rest = length - sizeof array_bytes;
    if (array_bytes > rest || array_bytes % sizeof *map->units != 0 || array_bytes == 0)
        return pv_fail_at(error, PV_BAD_FILE, file, PV_NO_OFFSET,
                          "the precompiled charsmap says that its array has %u bytes, but %zu follow", array_bytes, rest);
    map->unit_count = array_bytes / sizeof *map->units;
    map->texts_length = rest - array_bytes;
    map->units = pv_alloc(map->allocator, map->unit_count, sizeof *map->units);
    map->texts = pv_alloc(map->allocator, map->texts_length + 1, 1);
    if (!map->units || !map->texts) return pv_fail_memory(error, length, "a normalizer");
    memcpy(map->units, (const char *)data + sizeof array_bytes, array_bytes);
    memcpy(map->texts, (const char *)data + sizeof array_bytes + array_bytes, map->texts_length);
    map->texts[map->texts_length] = '\0';
    size_t valid = pv_utf8_valid(map->texts, map->texts_length);
    if (valid != map->texts_length)
        return pv_fail_at(error, PV_BAD_FILE, file, PV_NO_OFFSET, "the precompiled charsmap's texts are no UTF-8 at byte %zu",
                          valid);
    return PV_OK;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static bool decode_base64(const char *text, size_t length, uint8_t *out, size_t *made)
{
    uint32_t bits = 0;
    *made = 0;
    while (length > 0 && text[length - 1] == '=') length--;
    for (size_t i = 0; i < length; i++) {
        int value = base64_value(text[i]);
        if (value < 0) return false;
        bits = bits << 6 | (uint32_t)value;
        if (i % 4 > 0) out[(*made)++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    return length % 4 != 1;
}

pv_status pv_charsmap_read_base64(pv_charsmap *map, const char *text, size_t length, const char *file, pv_error *error)
{
    size_t made;
    uint8_t *bytes = pv_alloc(map->allocator, length / 4 * 3 + 3, 1);
    if (!bytes) return pv_fail_memory(error, length, "a normalizer");
    pv_status status = decode_base64(text, length, bytes, &made)
                           ? pv_charsmap_read(map, bytes, made, file, error)
                           : pv_fail_at(error, PV_BAD_FILE, file, PV_NO_OFFSET, "the precompiled charsmap is no base64");
    pv_free(map->allocator, bytes);
    return status;
}

/* ---- Looking up ----------------------------------------------------------------------------------------------------- */

static size_t unit_offset(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
}

static bool begins_character(char byte)
{
    return ((uint8_t)byte & 0xc0) != 0x80;
}

/* The entry that is the shortest or longest beginning of key[0..length); returns its bytes, 0 if there is none. A file may say
 * anything: an entry counts if it ends between characters of the key, and its text begins between characters. */
static size_t find(const pv_charsmap *map, bool shortest, const char *key, size_t length, const char **text)
{
    size_t found = 0, at = unit_offset(map->units[0]);
    for (size_t i = 0; i < length && key[i] != '\0'; i++) {
        at ^= (uint8_t)key[i];
        if (at >= map->unit_count) break;
        uint32_t unit = map->units[at];
        if ((unit & (1u << 31 | 0xff)) != (uint8_t)key[i]) break;
        at ^= unit_offset(unit);
        if (!(unit & 1u << 8)) continue;
        if (at >= map->unit_count) break;
        uint32_t value = map->units[at] & ~(1u << 31);
        if (value > map->texts_length) break;
        if (!begins_character(map->texts[value]) || (i + 1 < length && !begins_character(key[i + 1]))) continue;
        *text = map->texts + value;
        found = i + 1;
        if (shortest) break;
    }
    return found;
}

static void apply_longest(const pv_charsmap *map, const char *text, size_t length, size_t most, pv_bytes *out)
{
    for (size_t at = 0; at < length && out->length <= most;) {
        const char *mapped;
        uint32_t code_point;
        size_t bytes = find(map, false, text + at, length - at, &mapped);
        if (bytes > 0) {
            pv_bytes_add(out, mapped, strlen(mapped));
        } else {
            bytes = pv_utf8_step(text + at, &code_point);
            pv_bytes_add(out, text + at, bytes);
        }
        at += bytes;
    }
}

/* Where the grapheme that begins at `at` ends. */
static size_t grapheme_end(const char *text, size_t length, size_t at)
{
    uint32_t before, next;
    utf8proc_int32_t state = 0;
    at += pv_utf8_step(text + at, &before);
    if (at < length && (uint8_t)text[at] < 0x80 && before < 0x80 && !(before == '\r' && text[at] == '\n')) return at;
    for (size_t bytes; at < length; at += bytes, before = next) {
        bytes = pv_utf8_step(text + at, &next);
        if (pv_unicode_goes_on(next)) next = 0x301; /* as a mark that utf8proc knows */
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)before, (utf8proc_int32_t)next, &state)) break;
    }
    return at;
}

static void map_part(const pv_charsmap *map, const char *part, size_t length, pv_bytes *out)
{
    const char *mapped;
    if (find(map, true, part, length, &mapped) > 0)
        pv_bytes_add(out, mapped, strlen(mapped));
    else
        pv_bytes_add(out, part, length);
}

/* What the models were trained with is the other way; this is what their users run. */
static void apply_by_graphemes(const pv_charsmap *map, const char *text, size_t length, size_t most, pv_bytes *out)
{
    for (size_t at = 0, end; at < length && out->length <= most; at = end) {
        const char *mapped;
        uint32_t code_point;
        end = grapheme_end(text, length, at);
        if (end - at < 6 && find(map, true, text + at, end - at, &mapped) > 0) {
            pv_bytes_add(out, mapped, strlen(mapped));
            continue;
        }
        for (size_t bytes, part = at; part < end && out->length <= most; part += bytes) {
            bytes = pv_utf8_step(text + part, &code_point);
            map_part(map, text + part, bytes, out);
        }
    }
}

void pv_charsmap_apply(const pv_charsmap *map, bool shortest, const char *text, size_t length, size_t most, pv_bytes *out)
{
    (shortest ? apply_by_graphemes : apply_longest)(map, text, length, most, out);
}
