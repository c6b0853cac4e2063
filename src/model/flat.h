/* config.json and its like, flattened: every scalar under its dotted path ("rope_scaling.factor", "eos_token_id.0"). */
#ifndef PV_MODEL_FLAT_H
#define PV_MODEL_FLAT_H

#include "base/json.h"
#include "base/text.h"

typedef struct pv_flat_entry {
    size_t path, value; /* offsets into text */
    double number;      /* of a NUMBER */
    pv_json_type type;  /* STRING, NUMBER, TRUE, FALSE, NULL */
} pv_flat_entry;

typedef struct pv_flat {
    const char *file;
    pv_bytes text;      /* NUL-terminated paths and values */
    pv_flat_entry *entries;
    size_t count, capacity;
} pv_flat;

/* Errors: PV_BAD_FILE, PV_OUT_OF_MEMORY; the result is to be freed only on success. `file` must outlive it. */
pv_status pv_flat_read(const pv_allocator *allocator, const char *text, size_t length, const char *file, pv_flat *flat, pv_error *error);
void pv_flat_free(pv_flat *flat);
const pv_flat_entry *pv_flat_find(const pv_flat *flat, const char *path);
const char *pv_flat_value(const pv_flat *flat, const pv_flat_entry *entry);
const char *pv_flat_path(const pv_flat *flat, const pv_flat_entry *entry);
/* False in *found if absent or null. Errors: PV_BAD_FILE (another type). */
pv_status pv_flat_number(const pv_flat *flat, const char *path, double *value, bool *found, pv_error *error);
/* The string at this path, or NULL. */
const char *pv_flat_string(const pv_flat *flat, const char *path);
bool pv_flat_true(const pv_flat *flat, const char *path);

#endif
