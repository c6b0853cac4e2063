/* A model file being written, and what its two formats do differently. */
#ifndef PV_FORMAT_WRITE_INTERNAL_H
#define PV_FORMAT_WRITE_INTERNAL_H

#include "base/text.h"
#include "format/write.h"

/* The length of strings is their own. */
typedef struct pv_value {
    pv_meta_type type, element; /* as pv_meta */
    uint64_t count;
    const void *data; /* u32, i32, f32: the numbers; bool: bytes; strings: char pointers, also for one */
} pv_value;

typedef struct pv_written_tensor {
    char *name;
    const char *dtype; /* SafeTensors: its name there */
    pv_layout layout;
    uint32_t dims;
    uint64_t dim[4], bytes;
    uint64_t start, put; /* where it begins behind the header; bytes written to places */
} pv_written_tensor;

/* Formats the parts of a file's header. Memory that runs out is noted in `out`. */
typedef struct pv_write_format {
    const char *name;
    uint32_t name_limit, alignment; /* of a tensor's name; of tensors in the file, with padding between them */
    bool (*knows)(pv_layout layout);
    bool (*takes)(const pv_value *value);
    void (*add_meta)(pv_bytes *out, const char *key, const pv_value *value);
    /* `padding`: the tensors' data start at a multiple of it, a power of two of at least 8. */
    void (*add_header)(pv_bytes *out, const pv_bytes *metas, size_t meta_count, const pv_written_tensor *tensors,
                       size_t tensor_count, size_t padding);
} pv_write_format;

extern const pv_write_format pv_write_gguf, pv_write_safetensors;

#endif
