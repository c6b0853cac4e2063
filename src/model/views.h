/* The mapped files as buffers of the device, where it takes weights as they stand in the file: nothing is copied. A file larger than the
 * device's largest buffer has several views, which overlap by more than its largest tensor, so that every tensor lies whole in one. */
#ifndef PV_MODEL_VIEWS_H
#define PV_MODEL_VIEWS_H

#include "backend/backend.h"
#include "format/source.h"

typedef struct pv_view {
    pv_buffer buffer;
    uint32_t file;
    uint64_t begin; /* byte of the file that it begins with */
} pv_view;

typedef struct pv_views {
    pv_view *views;
    size_t count;
    pv_backend_device *device;
} pv_views;

/* Imports every mapped file of the source, whole pages. A device that takes no host memory leaves `views` empty: that is no failure.
 * The source must outlive the views, which must not be moved. Errors: PV_OUT_OF_MEMORY, PV_DEVICE_*. */
pv_status pv_views_create(const pv_allocator *allocator, const pv_source *source, pv_backend_device *device, pv_views *views, pv_error *error);
/* Sets buffer and offset of a tensor that lies whole in a view at a multiple of `alignment` bytes; false if there is none. */
bool pv_views_place(const pv_views *views, const pv_source_tensor *source, uint32_t alignment, pv_tensor *tensor);
void pv_views_destroy(const pv_allocator *allocator, pv_views *views);

#endif
