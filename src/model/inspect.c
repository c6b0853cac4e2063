/* Files looked at without loading: pv_file_*. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "format/source.h"
#include "model/flat.h"
#include "runtime/runtime.h"

#define SHOWN_ELEMENTS 8   /* of an array */
#define SHOWN_BYTES 16384  /* of a string */

typedef struct meta_line {
    const char *key;
    size_t value; /* offset into values */
} meta_line;

struct pv_file {
    const pv_allocator *allocator;
    pv_source *source;
    pv_flat flat;      /* SafeTensors: config.json */
    pv_bytes values;   /* GGUF: NUL-terminated texts */
    meta_line *lines;  /* GGUF */
    size_t line_count;
};

static void print_string(pv_bytes *out, const char *text, size_t length)
{
    size_t shown = length < SHOWN_BYTES ? length : SHOWN_BYTES;
    shown = pv_utf8_complete(text, shown);
    for (size_t i = 0; i < shown; i++) pv_bytes_add(out, text[i] != '\0' ? text + i : " ", 1);
    if (shown < length) pv_bytes_format(out, "…");
}

static void print_number(pv_bytes *out, const pv_meta *meta, pv_meta_type type, uint64_t index)
{
    double value = pv_meta_number(meta, index);
    if (type == PV_META_BOOL)
        pv_bytes_format(out, "%s", value != 0 ? "true" : "false");
    else
        pv_bytes_format(out, type == PV_META_F32 ? "%.9g" : "%.17g", value);
}

static void print_array(pv_bytes *out, const pv_meta *meta)
{
    pv_bytes_format(out, "[");
    uint64_t cursor = 0;
    for (uint64_t i = 0; i < meta->count && i < SHOWN_ELEMENTS; i++) {
        if (i > 0) pv_bytes_format(out, ", ");
        const char *text;
        size_t length;
        if (meta->element != PV_META_STRING)
            print_number(out, meta, meta->element, i);
        else if (pv_meta_next_string(meta, &cursor, &text, &length))
            print_string(out, text, length);
    }
    pv_bytes_format(out, meta->count > SHOWN_ELEMENTS ? ", … %" PRIu64 " in all]" : "]", meta->count);
}

static pv_status print_gguf(pv_file *file, pv_error *error)
{
    size_t count = pv_source_meta_count(file->source);
    file->lines = pv_calloc(file->allocator, count > 0 ? count : 1, sizeof *file->lines);
    if (file->lines == NULL) return pv_fail_memory(error, count * sizeof *file->lines, "metadata");
    for (size_t i = 0; i < count; i++) {
        const pv_meta *meta = pv_source_meta_at(file->source, i);
        file->lines[file->line_count++] = (meta_line){.key = meta->key, .value = file->values.length};
        if (meta->type == PV_META_STRING)
            print_string(&file->values, (const char *)meta->data, meta->count);
        else if (meta->type == PV_META_ARRAY)
            print_array(&file->values, meta);
        else
            print_number(&file->values, meta, meta->type, 0);
        pv_bytes_add(&file->values, "", 1);
    }
    return file->values.failed ? pv_fail_memory(error, file->values.length, "metadata") : PV_OK;
}

static pv_status read_config(pv_file *file, pv_error *error)
{
    const char *text;
    size_t length;
    pv_status status = pv_source_text(file->source, "config.json", &text, &length, error);
    if (status != PV_OK || text == NULL) return status;
    return pv_flat_read(file->allocator, text, length, "config.json", &file->flat, error);
}

pv_status pv_file_open(pv_runtime *runtime, const char *path, pv_file **out, pv_error *error)
{
    if (runtime == NULL || path == NULL || out == NULL) return pv_fail(error, PV_INVALID_ARGUMENT, "runtime, path or file is NULL");
    pv_file *file = pv_calloc(&runtime->allocator, 1, sizeof *file);
    if (file == NULL) return pv_fail_memory(error, sizeof *file, "a file");
    file->allocator = &runtime->allocator;
    pv_bytes_init(&file->values, file->allocator);
    pv_status status = pv_source_open(file->allocator, path, PV_LOAD_MAP, &file->source, error);
    if (status == PV_OK) status = pv_source_get_kind(file->source) == PV_SOURCE_GGUF ? print_gguf(file, error) : read_config(file, error);
    if (status != PV_OK) {
        pv_file_close(file);
        return status;
    }
    *out = file;
    return PV_OK;
}

void pv_file_close(pv_file *file)
{
    if (file == NULL) return;
    const pv_allocator *allocator = file->allocator;
    if (file->flat.entries != NULL) pv_flat_free(&file->flat);
    pv_bytes_free(&file->values);
    pv_free(allocator, file->lines);
    pv_source_close(file->source);
    pv_free(allocator, file);
}

size_t pv_file_tensor_count(const pv_file *file)
{
    return file != NULL ? pv_source_tensor_count(file->source) : 0;
}

pv_status pv_file_tensor(const pv_file *file, size_t index, pv_tensor_info *info, pv_error *error)
{
    if (index >= pv_file_tensor_count(file))
        return pv_fail(error, PV_INVALID_ARGUMENT, "tensor %zu is asked for, there are %zu", index, pv_file_tensor_count(file));
    const pv_source_tensor *tensor = pv_source_tensor_at(file->source, index);
    *info = (pv_tensor_info){.name = tensor->name, .layout = tensor->type_name, .dims = tensor->dims, .bytes = tensor->bytes,
                             .offset = tensor->offset, .file = pv_source_file_name(file->source, tensor->file)};
    memcpy(info->dim, tensor->dim, sizeof info->dim);
    return PV_OK;
}

size_t pv_file_meta_count(const pv_file *file)
{
    if (file == NULL) return 0;
    return file->lines != NULL ? file->line_count : file->flat.count;
}

pv_status pv_file_meta(const pv_file *file, size_t index, const char **key, const char **value, pv_error *error)
{
    if (index >= pv_file_meta_count(file))
        return pv_fail(error, PV_INVALID_ARGUMENT, "metadata %zu is asked for, there are %zu", index, pv_file_meta_count(file));
    if (file->lines != NULL) {
        *key = file->lines[index].key;
        *value = file->values.data + file->lines[index].value;
    } else {
        *key = pv_flat_path(&file->flat, &file->flat.entries[index]);
        *value = pv_flat_value(&file->flat, &file->flat.entries[index]);
    }
    return PV_OK;
}

const char *pv_file_format(const pv_file *file)
{
    if (file == NULL) return "";
    return pv_source_get_kind(file->source) == PV_SOURCE_GGUF ? "gguf" : "safetensors";
}
