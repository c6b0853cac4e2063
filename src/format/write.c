#include "format/write.h"

#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "format/source_internal.h"
#include "format/write_internal.h"

struct pv_model_writer {
    const pv_allocator *allocator;
    const pv_write_format *format;
    pv_writer file;
    bool header_written, failed; /* failed: a call left the file's parts in disagreement; it cannot be committed */
    pv_bytes metas;
    size_t meta_count;
    char **keys; /* of metadata */
    size_t key_count, key_capacity;
    pv_map key_map, tensor_map;
    pv_written_tensor *tensors;
    size_t tensor_count, tensor_capacity;
    size_t current;    /* the tensor that the next bytes belong to */
    uint64_t put;      /* bytes of it so far */
    uint64_t declared; /* bytes of all tensors, with padding */
    size_t padding;    /* of the header */
    uint64_t data;     /* where the header ends */
    bool placed;       /* bytes are written to places */
};

pv_status pv_model_writer_open(const pv_allocator *allocator, pv_source_kind kind, const char *path, pv_model_writer **writer,
                               pv_error *error)
{
    pv_model_writer *made = pv_calloc(allocator, 1, sizeof *made);
    if (!made) return pv_fail_memory(error, sizeof *made, "a model writer");
    made->allocator = allocator;
    made->padding = 8;
    made->format = kind == PV_SOURCE_GGUF ? &pv_write_gguf : &pv_write_safetensors;
    pv_bytes_init(&made->metas, allocator);
    pv_map_init(&made->key_map, allocator);
    pv_map_init(&made->tensor_map, allocator);
    pv_status status = pv_writer_open(allocator, path, &made->file, error);
    if (status != PV_OK)
        pv_free(allocator, made);
    else
        *writer = made;
    return status;
}

void pv_model_writer_close(pv_model_writer *writer)
{
    if (!writer) return;
    const pv_allocator *allocator = writer->allocator;
    pv_writer_discard(&writer->file);
    for (size_t i = 0; i < writer->key_count; i++) pv_free(allocator, writer->keys[i]);
    for (size_t i = 0; i < writer->tensor_count; i++) pv_free(allocator, writer->tensors[i].name);
    pv_free(allocator, writer->keys);
    pv_free(allocator, writer->tensors);
    pv_map_free(&writer->key_map);
    pv_map_free(&writer->tensor_map);
    pv_bytes_free(&writer->metas);
    pv_free(allocator, writer);
}

/* ---- Metadata ---- */

static pv_status refuse(pv_error *error, const char *name, const char *why)
{
    return pv_fail_at(error, PV_INVALID_ARGUMENT, name, PV_NO_OFFSET, "cannot write %s: %s", name, why);
}

/* Refuses what readers refuse, and what comes too late. */
static pv_status check_name(const pv_model_writer *writer, const char *name, size_t limit, const pv_map *names, pv_error *error)
{
    uint32_t other;
    if (writer->header_written) return refuse(error, name, "tensors' data have begun");
    if (!pv_source_name_is_good(name, strlen(name), limit))
        return pv_fail_at(error, PV_INVALID_ARGUMENT, name, PV_NO_OFFSET,
                          "cannot write the name %.100s: found %zu bytes, wanted 1 to %zu bytes of UTF-8", name, strlen(name),
                          limit);
    if (strcmp(name, "__metadata__") == 0) return refuse(error, name, "the name is reserved");
    if (pv_map_find(names, name, strlen(name), &other)) return refuse(error, name, "the name is taken");
    return PV_OK;
}

static pv_status check_strings(const char *key, const pv_value *value, pv_error *error)
{
    for (uint64_t i = 0; i < value->count && value->element == PV_META_STRING; i++) {
        const char *text = ((const char *const *)value->data)[i];
        size_t length = strlen(text);
        if (length > 0 && !pv_source_name_is_good(text, length, PV_MAX_STRING))
            return refuse(error, key, "a string is longer than 64 MiB or no UTF-8");
    }
    return PV_OK;
}

static pv_status add_meta(pv_model_writer *writer, const char *key, const pv_value *value, pv_error *error)
{
    pv_status status = check_name(writer, key, PV_MAX_NAME, &writer->key_map, error);
    if (status != PV_OK || (status = check_strings(key, value, error)) != PV_OK) return status;
    if (!writer->format->takes(value)) return refuse(error, key, "this format does not hold values of that kind or length");
    if (writer->meta_count == PV_MAX_META) return refuse(error, key, "there are 65536 key-values, the limit");
    if (strcmp(key, "general.alignment") == 0) return refuse(error, key, "the alignment is 32");
    size_t length = strlen(key);
    char *copy = pv_copy_string(writer->allocator, key, length);
    if (!copy ||
        !pv_grow(writer->allocator, (void **)&writer->keys, &writer->key_capacity, writer->key_count + 1, sizeof copy) ||
        pv_map_add(&writer->key_map, copy, length, 0) < 0) {
        pv_free(writer->allocator, copy);
        return pv_fail_memory(error, length + sizeof copy, "metadata");
    }
    writer->keys[writer->key_count++] = copy;
    writer->format->add_meta(&writer->metas, key, value);
    if (writer->metas.failed) {
        writer->failed = true;
        return pv_fail_memory(error, writer->metas.length, "metadata");
    }
    writer->meta_count++;
    return PV_OK;
}

pv_status pv_model_writer_u32(pv_model_writer *writer, const char *key, uint32_t value, pv_error *error)
{
    return add_meta(writer, key, &(pv_value){PV_META_U32, PV_META_U32, 1, &value}, error);
}

pv_status pv_model_writer_f32(pv_model_writer *writer, const char *key, float value, pv_error *error)
{
    return add_meta(writer, key, &(pv_value){PV_META_F32, PV_META_F32, 1, &value}, error);
}

pv_status pv_model_writer_bool(pv_model_writer *writer, const char *key, bool value, pv_error *error)
{
    uint8_t byte = value;
    return add_meta(writer, key, &(pv_value){PV_META_BOOL, PV_META_BOOL, 1, &byte}, error);
}

pv_status pv_model_writer_string(pv_model_writer *writer, const char *key, const char *value, pv_error *error)
{
    return add_meta(writer, key, &(pv_value){PV_META_STRING, PV_META_STRING, 1, &value}, error);
}

pv_status pv_model_writer_strings(pv_model_writer *writer, const char *key, const char *const *values, size_t count,
                                  pv_error *error)
{
    return add_meta(writer, key, &(pv_value){PV_META_ARRAY, PV_META_STRING, count, values}, error);
}

pv_status pv_model_writer_i32s(pv_model_writer *writer, const char *key, const int32_t *values, size_t count, pv_error *error)
{
    return add_meta(writer, key, &(pv_value){PV_META_ARRAY, PV_META_I32, count, values}, error);
}

pv_status pv_model_writer_f32s(pv_model_writer *writer, const char *key, const float *values, size_t count, pv_error *error)
{
    return add_meta(writer, key, &(pv_value){PV_META_ARRAY, PV_META_F32, count, values}, error);
}

/* ---- Tensors ---- */

void pv_model_writer_align(pv_model_writer *writer)
{
    writer->padding = 64;
}

/* `element`: bytes of one, where it has no layout. */
static bool set_bytes(pv_model_writer *writer, pv_written_tensor *tensor, uint32_t element, uint64_t *declared)
{
    uint64_t rows = 1, cols = tensor->dims > 0 ? tensor->dim[tensor->dims - 1] : 1, weights, padded;
    for (uint32_t i = 0; i + 1 < tensor->dims; i++)
        if (!pv_mul_u64(rows, tensor->dim[i], &rows)) return false;
    return pv_mul_u64(rows, cols, &weights) && weights <= INT64_MAX &&
           (element > 0 ? pv_mul_u64(cols, element, &tensor->bytes) : pv_layout_row_bytes(tensor->layout, cols, &tensor->bytes)) && pv_mul_u64(rows, tensor->bytes, &tensor->bytes) &&
           pv_align_u64(tensor->bytes, writer->format->alignment, &padded) && pv_add_u64(writer->declared, padded, declared) &&
           *declared <= INT64_MAX;
}

static pv_status declare(pv_model_writer *writer, const char *name, pv_written_tensor tensor, uint32_t element, const uint64_t *dim,
                         pv_error *error)
{
    uint64_t declared = 0;
    pv_status status = check_name(writer, name, writer->format->name_limit, &writer->tensor_map, error);
    if (status != PV_OK) return status;
    if (element > 0 ? writer->format != &pv_write_safetensors : !writer->format->knows(tensor.layout))
        return refuse(error, name, "this format does not hold the layout");
    if (writer->tensor_count == PV_MAX_TENSORS_GGUF) return refuse(error, name, "there are 262144 tensors, the limit");
    if (tensor.dims > 4) return refuse(error, name, "it has more than 4 dimensions");
    for (uint32_t i = 0; i < tensor.dims; i++) tensor.dim[i] = dim[i];
    if (!set_bytes(writer, &tensor, element, &declared))
        return refuse(error, name, "its dimensions overflow, or the last is no multiple of the layout's block");
    size_t length = strlen(name);
    tensor.start = writer->declared;
    tensor.name = pv_copy_string(writer->allocator, name, length);
    if (!tensor.name ||
        !pv_grow(writer->allocator, (void **)&writer->tensors, &writer->tensor_capacity, writer->tensor_count + 1,
                 sizeof tensor) ||
        pv_map_add(&writer->tensor_map, tensor.name, length, 0) < 0) {
        pv_free(writer->allocator, tensor.name);
        return pv_fail_memory(error, length + sizeof tensor, "the list of tensors");
    }
    writer->tensors[writer->tensor_count++] = tensor;
    writer->declared = declared;
    return PV_OK;
}

pv_status pv_model_writer_declare(pv_model_writer *writer, const char *name, pv_layout layout, uint32_t dims,
                                  const uint64_t *dim, pv_error *error)
{
    const char *dtype = layout < PV_LAYOUT_COUNT ? pv_layout_get(layout)->name : NULL;
    return declare(writer, name, (pv_written_tensor){.layout = layout, .dims = dims, .dtype = dtype}, 0, dim, error);
}

pv_status pv_model_writer_declare_raw(pv_model_writer *writer, const char *name, const char *dtype, uint32_t element, uint32_t dims,
                                      const uint64_t *dim, pv_error *error)
{
    return declare(writer, name, (pv_written_tensor){.layout = PV_LAYOUT_COUNT, .dims = dims, .dtype = dtype}, element, dim, error);
}

static pv_status write_header(pv_model_writer *writer, pv_error *error)
{
    pv_bytes header;
    pv_status status;
    if (writer->header_written) return PV_OK;
    pv_bytes_init(&header, writer->allocator);
    writer->format->add_header(&header, &writer->metas, writer->meta_count, writer->tensors, writer->tensor_count,
                               writer->padding);
    if (header.failed)
        status = pv_fail_memory(error, header.length, "a file's header");
    else if (writer->format == &pv_write_safetensors && header.length - 8 > PV_MAX_SAFETENSORS_HEADER)
        status = refuse(error, writer->file.path, "the header would be longer than 100000000 bytes");
    else
        status = pv_writer_write(&writer->file, header.data, header.length, error);
    writer->header_written = status == PV_OK;
    writer->data = header.length;
    pv_bytes_free(&header);
    return status;
}

/* Behind the last byte of a tensor: padding, and on to the next tensor that has bytes. */
static pv_status end_tensors(pv_model_writer *writer, pv_error *error)
{
    static const uint8_t zeros[64];
    while (writer->current < writer->tensor_count && writer->put == writer->tensors[writer->current].bytes) {
        uint64_t alignment = writer->format->alignment, padding = (alignment - writer->put % alignment) % alignment;
        pv_status status = pv_writer_write(&writer->file, zeros, (size_t)padding, error);
        if (status != PV_OK) return status;
        writer->current++;
        writer->put = 0;
    }
    return PV_OK;
}

static pv_status put_data(pv_model_writer *writer, const uint8_t *bytes, size_t length, pv_error *error)
{
    pv_status status = write_header(writer, error);
    if (status == PV_OK) status = end_tensors(writer, error);
    if (status != PV_OK || length == 0) return status;
    if (writer->placed) return refuse(error, writer->file.path, "its bytes are written to places");
    if (writer->current == writer->tensor_count)
        return pv_fail_at(error, PV_INVALID_ARGUMENT, writer->file.path, writer->file.written,
                          "cannot write %zu bytes: all %zu declared tensors are complete", length, writer->tensor_count);
    const pv_written_tensor *tensor = &writer->tensors[writer->current];
    if (length > tensor->bytes - writer->put)
        return pv_fail_at(error, PV_INVALID_ARGUMENT, tensor->name, writer->file.written,
                          "cannot write %zu bytes to tensor %s: it takes %llu more", length, tensor->name,
                          (unsigned long long)(tensor->bytes - writer->put));
    status = pv_writer_write(&writer->file, bytes, length, error);
    if (status != PV_OK) return status;
    writer->put += length;
    return end_tensors(writer, error);
}

pv_status pv_model_writer_data(pv_model_writer *writer, const void *bytes, size_t length, pv_error *error)
{
    if (!writer->file.path || writer->failed)
        return pv_fail(error, PV_INVALID_ARGUMENT, "cannot write to a model file that is finished or has failed");
    pv_status status = put_data(writer, bytes, length, error);
    if (status != PV_OK && status != PV_INVALID_ARGUMENT) writer->failed = true; /* a part may be on disk */
    return status;
}

static pv_status put_at(pv_model_writer *writer, pv_written_tensor *tensor, uint64_t offset, const void *bytes, size_t length, pv_error *error)
{
    if (!pv_inside(offset, length, tensor->bytes) || length > tensor->bytes - tensor->put)
        return pv_fail_at(error, PV_INVALID_ARGUMENT, tensor->name, offset,
                          "cannot write %zu bytes to tensor %s at byte %llu: it has %llu, of which %llu are written", length, tensor->name,
                          (unsigned long long)offset, (unsigned long long)tensor->bytes, (unsigned long long)tensor->put);
    pv_status status = write_header(writer, error);
    if (status == PV_OK) status = pv_writer_write_at(&writer->file, writer->data + tensor->start + offset, bytes, length, error);
    if (status == PV_OK) tensor->put += length;
    return status;
}

pv_status pv_model_writer_data_at(pv_model_writer *writer, size_t tensor, uint64_t offset, const void *bytes, size_t length, pv_error *error)
{
    if (!writer->file.path || writer->failed)
        return pv_fail(error, PV_INVALID_ARGUMENT, "cannot write to a model file that is finished or has failed");
    if (tensor >= writer->tensor_count || writer->format != &pv_write_safetensors || (!writer->placed && (writer->current > 0 || writer->put > 0)))
        return refuse(error, writer->file.path, "bytes go to places of declared tensors of SafeTensors, all of them or none");
    writer->placed = true;
    pv_status status = put_at(writer, &writer->tensors[tensor], offset, bytes, length, error);
    if (status != PV_OK && status != PV_INVALID_ARGUMENT) writer->failed = true;
    return status;
}

/* Moves behind the tensors whose places are all written. */
static void pass_placed(pv_model_writer *writer)
{
    while (writer->current < writer->tensor_count && writer->tensors[writer->current].put == writer->tensors[writer->current].bytes) writer->current++;
    if (writer->current < writer->tensor_count) writer->put = writer->tensors[writer->current].put;
}

pv_status pv_model_writer_commit(pv_model_writer *writer, pv_error *error)
{
    if (writer->placed) pass_placed(writer);
    pv_status status = pv_model_writer_data(writer, NULL, 0, error);
    if (status != PV_OK) return status;
    if (writer->current < writer->tensor_count) {
        const pv_written_tensor *tensor = &writer->tensors[writer->current];
        return pv_fail_at(error, PV_INVALID_ARGUMENT, tensor->name, writer->file.written,
                          "cannot finish: tensor %s has %llu of %llu bytes, and %zu tensors follow it", tensor->name,
                          (unsigned long long)writer->put, (unsigned long long)tensor->bytes,
                          writer->tensor_count - writer->current - 1);
    }
    return pv_writer_commit(&writer->file, error);
}
