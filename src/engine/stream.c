#include "engine/stream.h"

#include <string.h>

#include "base/alloc.h"

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */

void pv_stops_free(const pv_allocator *allocator, pv_stops *stops)
{
    for (size_t i = 0; i < stops->count; i++) pv_free(allocator, stops->text[i]);
    pv_free(allocator, stops->text);
    pv_free(allocator, stops->length);
    *stops = (pv_stops){0};
}

pv_status pv_stops_copy(const pv_allocator *allocator, const char *const *text, size_t count, pv_stops *stops, pv_error *error)
{
    *stops = (pv_stops){0};
    if (count == 0) return PV_OK;
    stops->text = pv_calloc(allocator, count, sizeof *stops->text);
    stops->length = pv_calloc(allocator, count, sizeof *stops->length);
    pv_status status = stops->text == NULL || stops->length == NULL ? pv_fail_memory(error, count * sizeof *stops->text, "stop strings") : PV_OK;
    for (size_t i = 0; i < count && status == PV_OK; i++) {
        if (text[i] == NULL || text[i][0] == '\0') {
            status = pv_fail(error, PV_INVALID_ARGUMENT, "stop string %zu is empty", i);
            break;
        }
        size_t length = strlen(text[i]);
        stops->text[i] = pv_copy_string(allocator, text[i], length);
        if (stops->text[i] == NULL) status = pv_fail_memory(error, length + 1, "a stop string");
        stops->length[i] = length;
        if (length > stops->longest) stops->longest = length;
        stops->count = i + 1;
    }
    if (status != PV_OK) pv_stops_free(allocator, stops);
    return status;
}

bool pv_stream_init(pv_stream *stream, const pv_allocator *allocator, size_t token_bytes, const pv_stops *stops)
{
    pv_bytes_init(&stream->held, allocator);
    /* held between tokens: at most an unfinished stop string and an unfinished character */
    size_t room = token_bytes + stops->longest + 8;
    if (!pv_grow(allocator, (void **)&stream->held.data, &stream->held.capacity, room, 1)) return false;
    stream->held.data[0] = '\0';
    return true;
}

void pv_stream_free(pv_stream *stream)
{
    pv_bytes_free(&stream->held);
}

static void drop_front(pv_bytes *bytes, size_t count)
{
    memmove(bytes->data, bytes->data + count, bytes->length - count);
    bytes->length -= count;
    bytes->data[bytes->length] = '\0';
}

/* Hands out the first `count` bytes as valid UTF-8. */
static void hand_out(pv_bytes *held, size_t count, pv_bytes *out)
{
    for (size_t at = 0; at < count;) {
        uint32_t code_point;
        size_t step = pv_utf8_decode(held->data + at, count - at, &code_point);
        if (step > 0)
            pv_bytes_add(out, held->data + at, step);
        else
            pv_bytes_add(out, replacement, 3);
        at += step > 0 ? step : 1;
    }
    drop_front(held, count);
}

/* Where the first stop string begins, or the length if there is none. */
static size_t find_stop(const pv_bytes *held, const pv_stops *stops)
{
    size_t first = held->length;
    for (size_t i = 0; i < stops->count; i++) {
        const char *found = held->length > 0 ? memmem(held->data, held->length, stops->text[i], stops->length[i]) : NULL;
        if (found != NULL && (size_t)(found - held->data) < first) first = (size_t)(found - held->data);
    }
    return first;
}

/* The longest end of the text that could be the beginning of a stop string. */
static size_t unfinished_stop(const pv_bytes *held, const pv_stops *stops)
{
    size_t longest = 0;
    for (size_t i = 0; i < stops->count; i++) {
        size_t most = stops->length[i] - 1 < held->length ? stops->length[i] - 1 : held->length;
        for (size_t n = most; n > longest; n--)
            if (memcmp(held->data + held->length - n, stops->text[i], n) == 0) longest = n;
    }
    return longest;
}

bool pv_stream_add(pv_stream *stream, const pv_stops *stops, const char *bytes, size_t length, pv_bytes *out)
{
    pv_bytes *held = &stream->held;
    pv_bytes_add(held, bytes, length);
    size_t stop = find_stop(held, stops);
    if (stop < held->length) {
        hand_out(held, stop, out);
        drop_front(held, held->length);
        return true;
    }
    size_t ready = held->length - unfinished_stop(held, stops);
    hand_out(held, pv_utf8_complete(held->data, ready), out);
    return false;
}

void pv_stream_flush(pv_stream *stream, pv_bytes *out)
{
    hand_out(&stream->held, stream->held.length, out);
}

size_t pv_stream_most(const pv_stream *stream, size_t token_bytes)
{
    return 3 * (stream->held.length + token_bytes);
}
