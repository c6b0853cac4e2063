/* A source while its readers (gguf.c, safetensors.c) fill it. */
#ifndef PV_FORMAT_SOURCE_INTERNAL_H
#define PV_FORMAT_SOURCE_INTERNAL_H

#include "base/error.h"
#include "base/text.h"
#include "format/source.h"

/* Limits on what files may state; real models stay far below. */
#define PV_MAX_TENSORS_GGUF 262144u
#define PV_MAX_TENSORS_SAFETENSORS 1048576u
#define PV_MAX_META 65536u
#define PV_MAX_TENSOR_NAME_GGUF 64u
#define PV_MAX_NAME 65535u
#define PV_MAX_STRING (64u << 20)
#define PV_MAX_ELEMENTS (1u << 27)    /* of one GGUF array */
#define PV_MAX_GGUF_HEADER (1u << 30) /* bytes before the tensors' data */
#define PV_MAX_SAFETENSORS_HEADER 100000000u
#define PV_MAX_SHARDS 1024u
#define PV_MAX_TEXT (64u << 20) /* config.json, tokenizer.json, the index of shards */

typedef struct pv_source_file {
    const char *name; /* without the folder */
    pv_mapping mapping;
} pv_source_file;

typedef struct pv_source_text_file {
    const char *name;
    char *text;
    size_t length;
} pv_source_text_file;

struct pv_source {
    const pv_allocator *allocator;
    pv_source_kind kind;
    pv_load load;
    bool keep_mapped; /* when it is closed */
    const char *path, *folder; /* folder: with its '/', or "" */
    pv_source_file *files;
    size_t file_count, file_capacity;
    pv_source_tensor *tensors;
    size_t tensor_count, tensor_capacity;
    pv_map tensor_map; /* name to index */
    pv_meta *metas;
    size_t meta_count, meta_capacity;
    pv_map meta_map; /* key to index */
    uint8_t *header; /* the bytes that metas point into when the file is not mapped */
    pv_source_text_file *texts;
    size_t text_count, text_capacity;
    struct pv_source_parts *parts; /* what tensors point into */
    uint32_t **orders; /* of columns; what tensors point into */
    size_t order_count, order_capacity;
    struct pv_kept_block *kept; /* names and keys */
};

/* A NUL-terminated copy that lives as long as the source; NULL if memory runs out. */
char *pv_source_keep(pv_source *source, const char *text, size_t length);
/* Opens FOLDER/name. Errors: those of pv_mapping_open, PV_OUT_OF_MEMORY. */
pv_status pv_source_add_file(pv_source *source, const char *name, uint32_t *file, pv_error *error);
/* Adds a tensor; its name is copied. `at`: where the file names it. Errors: PV_BAD_FILE (two of this name, more than `limit`).
 */
pv_status pv_source_add_tensor(pv_source *source, const pv_source_tensor *tensor, const char *name, size_t length, uint64_t at,
                               size_t limit, pv_error *error);
/* Room for an order of columns, which lives as long as the source; NULL if memory runs out. */
uint32_t *pv_source_new_order(pv_source *source, uint64_t cols);
/* Goes on without the tensors of which `left_out`, one for each, is true; the others get other indices, and may have other names by now.
 * Errors: PV_OUT_OF_MEMORY. */
pv_status pv_source_leave_out(pv_source *source, const bool *left_out, pv_error *error);
/* True for a name of 1 to `limit` bytes of UTF-8 without NUL. */
bool pv_source_name_is_good(const char *name, size_t length, size_t limit);
/* True for the name of a file in the same folder: no separators, not "." or "..". */
bool pv_source_file_name_is_plain(const char *name, size_t length);
/* Refuses tensors of `file`, added at index `first` and later, that share bytes. With `contiguous` they must also fill
 * [start, end) without a hole. Errors: PV_BAD_FILE (names both), PV_OUT_OF_MEMORY. */
pv_status pv_source_check_extents(const pv_source *source, uint32_t file, size_t first, bool contiguous, uint64_t start,
                                  uint64_t end, pv_error *error);

/* GGUF value types, by their numbers. */
bool pv_meta_type_is_known(uint32_t type);
/* Bytes of one value; 0 for strings and arrays. */
uint32_t pv_meta_type_bytes(pv_meta_type type);

pv_status pv_source_read_gguf(pv_source *source, uint32_t file, pv_error *error);
pv_status pv_source_read_safetensors(pv_source *source, uint32_t file, pv_error *error);
/* model.safetensors, or the shards that model.safetensors.index.json names. */
pv_status pv_source_read_folder(pv_source *source, pv_error *error);
/* Makes one tensor of the parts of each that config.json says to be quantized. Errors: PV_BAD_FILE (parts are missing or do not fit),
 * PV_UNSUPPORTED (a method, or a way of it; named), PV_OUT_OF_MEMORY. */
pv_status pv_source_join_parts(pv_source *source, pv_error *error);

#endif
