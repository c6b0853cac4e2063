#include "model/views.h"

#include <unistd.h>

#include "base/alloc.h"

static uint64_t page_bytes(void)
{
    const long size = sysconf(_SC_PAGESIZE);
    return size > 0 ? (uint64_t)size : 4096;
}

static uint64_t largest_tensor(const pv_source *source, uint32_t file)
{
    uint64_t largest = 0;
    for (size_t i = 0; i < pv_source_tensor_count(source); i++) {
        const pv_source_tensor *tensor = pv_source_tensor_at(source, i);
        if (tensor->file == file && tensor->bytes > largest) largest = tensor->bytes;
    }
    return largest;
}

/* Bytes of a view and from one to the next, whole pages; a step of 0 if no view is large enough to move on. The last page of a mapping
 * reads as zeros behind the file's end. */
static void measure(const pv_source *source, uint32_t file, uint64_t largest_buffer, uint64_t *bytes, uint64_t *step)
{
    const uint64_t page = page_bytes(), size = pv_source_mapping(source, file)->size;
    const uint64_t whole = (size + page - 1) / page * page, most = largest_buffer / page * page;
    const uint64_t overlap = (largest_tensor(source, file) + 2 * page - 1) / page * page;
    *bytes = largest_buffer == 0 || whole <= most ? whole : most;
    *step = *bytes == whole ? whole : most > overlap ? most - overlap : 0;
}

static size_t count_views(const pv_source *source, uint64_t largest_buffer)
{
    size_t count = 0;
    for (uint32_t file = 0; file < pv_source_file_count(source); file++) {
        uint64_t bytes, step;
        if (pv_source_mapping(source, file)->bytes == NULL) continue;
        measure(source, file, largest_buffer, &bytes, &step);
        if (step > 0) count += (size_t)(pv_source_mapping(source, file)->size / step) + 1;
    }
    return count;
}

static pv_status import_file(pv_views *views, const pv_source *source, uint32_t file, uint64_t largest_buffer, pv_error *error)
{
    const pv_backend *backend = views->device->backend;
    const pv_mapping *mapping = pv_source_mapping(source, file);
    const uint64_t page = page_bytes(), whole = (mapping->size + page - 1) / page * page;
    uint64_t bytes, step;
    if (mapping->bytes == NULL) return PV_OK;
    measure(source, file, largest_buffer, &bytes, &step);
    for (uint64_t begin = 0; step > 0 && begin < whole; begin += step) {
        pv_view *view = &views->views[views->count];
        *view = (pv_view){.file = file, .begin = begin};
        const uint64_t length = whole - begin < bytes ? whole - begin : bytes;
        /* the device only reads what is imported here */
        const pv_status status = backend->import(views->device, (void *)(uintptr_t)(mapping->bytes + begin), length, &view->buffer, error);
        if (status != PV_OK) return status;
        views->count++;
        if (begin + length >= whole) break;
    }
    return PV_OK;
}

pv_status pv_views_create(const pv_allocator *allocator, const pv_source *source, pv_backend_device *device, pv_views *views, pv_error *error)
{
    const uint64_t largest_buffer = device->backend->describe(device)->max_buffer;
    const size_t most = count_views(source, largest_buffer);
    *views = (pv_views){.device = device};
    if (most == 0) return PV_OK;
    views->views = pv_calloc(allocator, most, sizeof *views->views);
    if (views->views == NULL) return pv_fail_memory(error, most * sizeof *views->views, "views of the model's files");
    pv_error refused = {0};
    pv_status status = PV_OK;
    for (uint32_t file = 0; file < pv_source_file_count(source) && status == PV_OK; file++) {
        status = import_file(views, source, file, largest_buffer, &refused);
    }
    if (status == PV_UNSUPPORTED) return PV_OK; /* what has no view is copied */
    if (status == PV_OK) return PV_OK;
    pv_views_destroy(allocator, views);
    if (error != NULL) *error = refused;
    return status;
}

bool pv_views_place(const pv_views *views, const pv_source_tensor *source, uint32_t alignment, pv_tensor *tensor)
{
    for (size_t i = 0; i < views->count; i++) {
        const pv_view *view = &views->views[i];
        if (view->file != source->file || source->offset < view->begin) continue;
        const uint64_t offset = source->offset - view->begin;
        if (offset > view->buffer.bytes || source->bytes > view->buffer.bytes - offset || offset % alignment != 0) continue;
        tensor->buffer = &view->buffer;
        tensor->offset = offset;
        return true;
    }
    return false;
}

void pv_views_destroy(const pv_allocator *allocator, pv_views *views)
{
    for (size_t i = 0; i < views->count; i++) views->device->backend->free(views->device, &views->views[i].buffer);
    pv_free(allocator, views->views);
    *views = (pv_views){0};
}
