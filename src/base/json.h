/* A pull reader for JSON over text in memory. It builds no tree, allocates only for strings with escapes, and bounds its depth:
 * a 33 MB tokenizer.json costs its own bytes and nothing more, where the common library's tree takes 183 MB. Numbers are kept as text
 * until asked for, so integers that do not fit 64 bits, which real tokenizer_config.json files hold and that library refuses, are no error
 * unless somebody wants them as integers. Nothing here is process-global: the library lives in other people's processes. */
#ifndef PV_BASE_JSON_H
#define PV_BASE_JSON_H

#include "pensieve.h"

#define PV_JSON_MAX_DEPTH 64

typedef enum pv_json_type {
    PV_JSON_END,   /* of the text */
    PV_JSON_OBJECT, PV_JSON_OBJECT_END, PV_JSON_ARRAY, PV_JSON_ARRAY_END,
    PV_JSON_KEY,   /* string: the name, as unescaped bytes */
    PV_JSON_STRING, PV_JSON_NUMBER, PV_JSON_TRUE, PV_JSON_FALSE, PV_JSON_NULL,
} pv_json_type;

typedef struct pv_json {
    const pv_allocator *allocator;
    const char *text;
    size_t length, at;
    const char *file;      /* for messages */
    pv_json_type type;     /* of the current token */
    size_t start;          /* byte offset of the current token */
    const char *string;    /* KEY, STRING: unescaped UTF-8, may hold NUL; NUMBER: its spelling. Valid until the next token */
    size_t string_length;
    char *scratch;
    size_t scratch_capacity;
    uint32_t depth;
    uint8_t kind[PV_JSON_MAX_DEPTH]; /* of each open container */
    uint8_t expect;
} pv_json;

/* `text` and `file` must outlive the reader. */
void pv_json_init(pv_json *json, const pv_allocator *allocator, const char *text, size_t length, const char *file);
void pv_json_free(pv_json *json);
/* Reads the next token. Strictly RFC 8259: UTF-8 is checked, a lone surrogate escape becomes U+FFFD, nothing may follow the value.
 * Errors: PV_BAD_FILE with file, offset, and what was found and wanted; PV_OUT_OF_MEMORY. */
pv_status pv_json_next(pv_json *json, pv_error *error);
/* From any current token that starts a value (or a KEY): moves past that whole value, so that next() gives what follows. */
pv_status pv_json_skip(pv_json *json, pv_error *error);
/* The next token must have this type. Errors: PV_BAD_FILE. */
pv_status pv_json_expect(pv_json *json, pv_json_type type, pv_error *error);
/* Of the current NUMBER. Errors: PV_BAD_FILE (not an integer in range). */
pv_status pv_json_int(const pv_json *json, int64_t *value, pv_error *error);
pv_status pv_json_double(const pv_json *json, double *value, pv_error *error);
/* True if the current KEY or STRING equals `text`. */
bool pv_json_is(const pv_json *json, const char *text);

#endif
