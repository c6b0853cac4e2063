/* Text of an answer as it grows: whole characters only, and nothing that may still become a stop string. */
#ifndef PV_ENGINE_STREAM_H
#define PV_ENGINE_STREAM_H

#include "base/text.h"

typedef struct pv_stops {
    char **text;
    size_t *length;
    size_t count, longest;
} pv_stops;

typedef struct pv_stream {
    pv_bytes held; /* not handed out yet; its room is reserved when the request is made */
} pv_stream;

/* Copies the strings. Errors: PV_INVALID_ARGUMENT (NULL or empty), PV_OUT_OF_MEMORY; on failure nothing is left to free. */
pv_status pv_stops_copy(const pv_allocator *allocator, const char *const *text, size_t count, pv_stops *stops, pv_error *error);
void pv_stops_free(const pv_allocator *allocator, pv_stops *stops);

/* Reserves room for tokens of at most `token_bytes`, so that adding never allocates. */
bool pv_stream_init(pv_stream *stream, const pv_allocator *allocator, size_t token_bytes, const pv_stops *stops);
void pv_stream_free(pv_stream *stream);
/* Adds a token's bytes and appends to `out` what can be handed out (bytes that are no UTF-8 become U+FFFD).
 * True if a stop string was completed: what precedes it was handed out, the rest is dropped. */
bool pv_stream_add(pv_stream *stream, const pv_stops *stops, const char *bytes, size_t length, pv_bytes *out);
/* Hands out what is held, at the end of an answer. */
void pv_stream_flush(pv_stream *stream, pv_bytes *out);
/* The most bytes that one more token of `token_bytes` and a flush can append. */
size_t pv_stream_most(const pv_stream *stream, size_t token_bytes);

#endif
