/* What fuzz targets of model files share: bytes opened as a file, mapped and read, and what must be true of whatever opens. */
#ifndef FUZZ_CHECK_SOURCE_H
#define FUZZ_CHECK_SOURCE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "format/parts.h"
#include "format/source.h"

/* Memory goes with the size of a file, not with what the file states. */
typedef struct fuzz_memory {
    size_t used, limit;
} fuzz_memory;

static void *fuzz_reallocate(void *user, void *pointer, size_t size)
{
    fuzz_memory *memory = user;
    size_t *block = pointer ? (size_t *)pointer - 2 : NULL;
    if (block) memory->used -= *block;
    if (size == 0) {
        free(block);
        return NULL;
    }
    memory->used += size;
    if (memory->used > memory->limit) __builtin_trap();
    block = realloc(block, size + 2 * sizeof *block);
    if (!block) __builtin_trap();
    *block = size;
    return block + 2;
}

/* A file in memory where the system has them, else a temporary one; both ways of loading open it by its path. */
__attribute__((unused)) static int fuzz_file(const uint8_t *head, size_t head_size, const uint8_t *data, size_t size, char path[64])
{
#if defined(__linux__)
    int descriptor = memfd_create("fuzz", MFD_CLOEXEC);
    snprintf(path, 64, "/proc/self/fd/%d", descriptor);
#else
    snprintf(path, 64, "/tmp/pensieve-fuzz-XXXXXX");
    int descriptor = mkstemp(path);
#endif
    if (descriptor < 0 || write(descriptor, head, head_size) != (ssize_t)head_size ||
        write(descriptor, data, size) != (ssize_t)size)
        __builtin_trap();
    return descriptor;
}

static uint8_t fuzz_sink; /* what is read ends here: a sanitizer sees every byte touched */

static void fuzz_touch(const void *bytes, uint64_t length)
{
    uint8_t sum = 0;
    for (uint64_t i = 0; i < length; i++) sum = (uint8_t)(sum + ((const uint8_t *)bytes)[i]);
    fuzz_sink = (uint8_t)(fuzz_sink + sum);
}

static void fuzz_check_place(const pv_source *source, const pv_source_tensor *tensor)
{
    if (tensor->file >= pv_source_file_count(source)) __builtin_trap();
    if (!pv_inside(tensor->offset, tensor->bytes, pv_source_mapping(source, tensor->file)->size)) __builtin_trap();
}

/* Of a tensor that is made from parts it is they that stand in the file. */
static void fuzz_check_places(const pv_source *source, const pv_source_tensor *tensor)
{
    const pv_source_parts *parts = tensor->parts;
    fuzz_check_place(source, parts ? &parts->codes : tensor);
    if (parts) fuzz_check_place(source, &parts->scales);
    if (parts && parts->zeros.name) fuzz_check_place(source, &parts->zeros);
}

static void fuzz_check_tensors(const pv_source *source)
{
    static uint8_t row[1 << 16];
    for (size_t i = 0; i < pv_source_tensor_count(source); i++) {
        const pv_source_tensor *tensor = pv_source_tensor_at(source, i);
        const uint8_t *data = pv_source_tensor_data(source, tensor);
        fuzz_check_places(source, tensor);
        if (tensor->dims > 4) __builtin_trap();
        if (pv_source_find(source, tensor->name) != tensor) __builtin_trap();
        if (tensor->layout < PV_LAYOUT_COUNT && tensor->rows * tensor->row_bytes != tensor->bytes) __builtin_trap();
        if (data) fuzz_touch(data, tensor->bytes);
        if (tensor->rows > 0 && tensor->row_bytes > 0 && tensor->row_bytes < sizeof row &&
            pv_source_read_rows(source, tensor, tensor->rows - 1, 1, row, NULL) != PV_OK)
            __builtin_trap();
    }
}

static void fuzz_check_metas(const pv_source *source)
{
    for (size_t i = 0; i < pv_source_meta_count(source); i++) {
        const pv_meta *meta = pv_source_meta_at(source, i);
        uint64_t whole, cursor = 0, strings = 0;
        double real;
        bool truth, found;
        const char *text;
        size_t length;
        if (pv_source_meta(source, meta->key) != meta) __builtin_trap();
        fuzz_touch(meta->data, meta->data_bytes);
        pv_meta_u64(source, meta->key, &whole, &found, NULL);
        pv_meta_f64(source, meta->key, &real, &found, NULL);
        pv_meta_bool(source, meta->key, &truth, &found, NULL);
        pv_meta_string(source, meta->key, &text, &length, &found, NULL);
        pv_meta_number(meta, 0);
        pv_meta_number(meta, meta->count - 1);
        for (; pv_meta_next_string(meta, &cursor, &text, &length); strings++) fuzz_touch(text, length);
        bool is_list = meta->type == PV_META_ARRAY && meta->element == PV_META_STRING;
        if (is_list && (strings != meta->count || cursor != meta->data_bytes)) __builtin_trap();
    }
}

/* `size`: of all files. `folder`: files of it may be missing. */
static pv_status fuzz_open(const char *path, bool folder, uint64_t size, pv_load load, size_t *tensors)
{
    fuzz_memory memory = {0, ((size_t)1 << 20) + 64 * (size_t)size};
    pv_allocator allocator = {fuzz_reallocate, &memory};
    pv_source *source = NULL;
    pv_error error = {0};
    pv_status status = pv_source_open(&allocator, path, load, &source, &error);
    if (status != error.status) __builtin_trap();
    if (status == PV_OK) {
        uint64_t sizes = 0;
        for (uint32_t i = 0; i < pv_source_file_count(source); i++) sizes += pv_source_mapping(source, i)->size;
        if (sizes > size) __builtin_trap();
        fuzz_check_tensors(source);
        fuzz_check_metas(source);
        *tensors = pv_source_tensor_count(source);
        pv_source_close(source);
    } else if (status != PV_BAD_FILE && status != PV_UNSUPPORTED && !(folder && status == PV_NOT_FOUND)) {
        __builtin_trap(); /* a file's bytes cause no other error */
    }
    if (memory.used != 0) __builtin_trap();
    return status;
}

/* Both ways of loading say the same. */
static void fuzz_open_twice(const char *path, bool folder, uint64_t size)
{
    size_t mapped = 0, copied = 0;
    pv_status status = fuzz_open(path, folder, size, PV_LOAD_MAP, &mapped);
    if (fuzz_open(path, folder, size, PV_LOAD_COPY, &copied) != status || mapped != copied) __builtin_trap();
}

/* Head and data together as one file. */
__attribute__((unused)) static void fuzz_source(const uint8_t *head, size_t head_size, const uint8_t *data, size_t size)
{
    char path[64];
    int descriptor = fuzz_file(head, head_size, data, size, path);
    fuzz_open_twice(path, false, head_size + size);
#if !defined(__linux__)
    unlink(path);
#endif
    close(descriptor);
}

#endif
