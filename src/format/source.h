/* A model's files, opened and checked: named tensors in canonical layouts, and metadata. GGUF, or SafeTensors in a Hugging
 * Face folder (one file or shards under an index), whose config.json tells of quantization. Every extent is inside its file before anybody sees it. */
#ifndef PV_FORMAT_SOURCE_H
#define PV_FORMAT_SOURCE_H

#include "base/file.h"
#include "format/layout.h"

typedef enum pv_source_kind { PV_SOURCE_GGUF, PV_SOURCE_SAFETENSORS } pv_source_kind;

typedef struct pv_source_tensor {
    const char *name;
    pv_layout layout;    /* PV_LAYOUT_COUNT if this build does not know it: type_name tells; refused when it is needed */
    const char *type_name;
    uint32_t dims;
    uint64_t dim[4];     /* the slowest varying first; of more than 4 the slowest are merged into one */
    uint64_t rows, cols; /* rows: the product of all but the last; a vector has 1 row, a scalar 1 × 1 */
    uint64_t row_bytes, bytes, offset;
    uint32_t file;       /* index into files */
    const uint32_t *order; /* [cols]: column i of a row meets the activation order[i]; NULL: columns as they come */
    const struct pv_source_parts *parts; /* what its rows are made from, see parts.h; NULL: they stand in the file at `offset` */
} pv_source_tensor;

typedef enum pv_meta_type {
    PV_META_U8, PV_META_I8, PV_META_U16, PV_META_I16, PV_META_U32, PV_META_I32, PV_META_F32, PV_META_BOOL, PV_META_STRING,
    PV_META_ARRAY, PV_META_U64, PV_META_I64, PV_META_F64, /* numbered as in GGUF */
} pv_meta_type;

/* A metadata value. Values stay in the file's bytes: multi-byte numbers may be unaligned there. */
typedef struct pv_meta {
    const char *key;
    pv_meta_type type;
    pv_meta_type element;   /* ARRAY: of the elements (never ARRAY) */
    uint64_t count;         /* STRING: its bytes; ARRAY: its elements; 1 else */
    const uint8_t *data;    /* STRING: characters, no NUL */
    uint64_t data_bytes;
} pv_meta;

typedef struct pv_source pv_source;

/* `path`: FILE.gguf, FILE.safetensors or a folder. With PV_LOAD_COPY tensors are read instead of mapped.
 * Errors: PV_NOT_FOUND, PV_IO, PV_BAD_FILE, PV_UNSUPPORTED, PV_OUT_OF_MEMORY; the record names file and offset. */
pv_status pv_source_open(const pv_allocator *allocator, const char *path, pv_load load, pv_source **source, pv_error *error);
void pv_source_close(pv_source *source);
/* Its mappings stay when it is closed, to the end of the process: a device that hangs may still read them. */
void pv_source_keep_mapped(pv_source *source);

const pv_allocator *pv_source_allocator(const pv_source *source);
pv_source_kind pv_source_get_kind(const pv_source *source);
const char *pv_source_path(const pv_source *source);
uint32_t pv_source_file_count(const pv_source *source);
const char *pv_source_file_name(const pv_source *source, uint32_t file);
const pv_mapping *pv_source_mapping(const pv_source *source, uint32_t file);

size_t pv_source_tensor_count(const pv_source *source);
const pv_source_tensor *pv_source_tensor_at(const pv_source *source, size_t index);
/* NULL if there is none. */
const pv_source_tensor *pv_source_find(const pv_source *source, const char *name);
/* Reads rows [first, first + count) to `out` (count × row_bytes). Errors: PV_IO, PV_INVALID_ARGUMENT. */
pv_status pv_source_read_rows(const pv_source *source, const pv_source_tensor *tensor, uint64_t first, uint64_t count, void *out,
                              pv_error *error);
/* The tensor's bytes in the mapping, or NULL when files are read instead or rows are made from parts. */
const uint8_t *pv_source_tensor_data(const pv_source *source, const pv_source_tensor *tensor);

/* Lets go of the pages of the mapping that rows were read from; they come back when touched. */
void pv_source_drop_rows(const pv_source *source, const pv_source_tensor *tensor, uint64_t first, uint64_t count);

/* Errors: PV_IO (a file was written to since it was opened). */
pv_status pv_source_check_unchanged(const pv_source *source, pv_error *error);

/* GGUF metadata; a SafeTensors source has none. */
size_t pv_source_meta_count(const pv_source *source);
const pv_meta *pv_source_meta_at(const pv_source *source, size_t index);
const pv_meta *pv_source_meta(const pv_source *source, const char *key);
/* Conversions: false if absent; a value of the wrong kind or out of range is a PV_BAD_FILE naming the key, what was found and
 * what was wanted, so *found is told apart from the status. */
pv_status pv_meta_u64(const pv_source *source, const char *key, uint64_t *value, bool *found, pv_error *error);
pv_status pv_meta_f64(const pv_source *source, const char *key, double *value, bool *found, pv_error *error);
pv_status pv_meta_bool(const pv_source *source, const char *key, bool *value, bool *found, pv_error *error);
pv_status pv_meta_string(const pv_source *source, const char *key, const char **text, size_t *length, bool *found, pv_error *error);
/* Walks an array of strings: *cursor starts at 0; gives the next string's characters in the file. False at the end. */
bool pv_meta_next_string(const pv_meta *meta, uint64_t *cursor, const char **text, size_t *length);
/* Element i of an array of numbers. */
double pv_meta_number(const pv_meta *meta, uint64_t index);

/* A text file beside the tensors ("config.json"), NUL-terminated, kept by the source; *text is NULL if it is absent.
 * Errors: PV_IO, PV_BAD_FILE (over 64 MiB), PV_OUT_OF_MEMORY. */
pv_status pv_source_text(pv_source *source, const char *name, const char **text, size_t *length, pv_error *error);

#endif
