/* A model's weights: which tensors of the files they are, what they take on a device, and how they get there. */
#ifndef PV_MODEL_WEIGHTS_H
#define PV_MODEL_WEIGHTS_H

#include "model/architecture.h"
#include "model/views.h"
#include "runtime/pool.h"

/* One weight: where it stands in the file and where its tensor goes. */
typedef struct pv_weight_entry {
    const pv_role *role;
    uint32_t layer;
    const pv_source_tensor *source;
    uint32_t rows, cols;
    uint64_t first;   /* row of the source that it begins with; of a vector: column */
    uint32_t at;      /* row of the tensor that it begins at: experts may come one by one, and heads do */
    uint32_t stacked; /* rows of the tensor, of all entries that share it; a vector's elements */
    uint32_t step;    /* of the source's rows, or a vector's elements, one in so many */
    bool transposed;  /* the source holds it as [cols, rows], or each expert of it */
    pv_layout layout; /* as it is uploaded: that of the source, but for what can only be turned decoded */
    bool less_one;    /* the source holds it less one */
    const uint32_t *order; /* of columns, as pv_source_tensor; a layer's that are alike are the same; or NULL */
    unsigned uses;
    pv_weight_spec spec;
} pv_weight_entry;

typedef struct pv_weight_list {
    pv_weight_entry *entries;
    size_t count, capacity;
    uint64_t bytes;       /* on the device, alignment included */
    uint64_t parameters;
    bool tied;            /* the output is the embedding */
} pv_weight_list;

/* Finds every weight of the architecture in the source, checks shapes and layouts, and asks the device how it wants them.
 * Errors: PV_NOT_FOUND (a tensor: named), PV_BAD_FILE (shape: found and wanted), PV_UNSUPPORTED (layout; a tensor that this architecture
 * does not know, which running without would give wrong answers). */
pv_status pv_weights_find(const pv_allocator *allocator, const pv_decoder *decoder, const pv_source *source,
                          const pv_backend_device *device, pv_weight_list *list, pv_error *error);
void pv_weight_list_free(const pv_allocator *allocator, pv_weight_list *list);

/* Fills in the tensors as they will be on the device, all in the buffer `nowhere`: enough to build plans and learn their needs.
 * weights->layers has room for the layers. */
void pv_weights_outline(const pv_decoder *decoder, const pv_weight_list *list, const pv_buffer *nowhere, pv_weights *weights);

typedef struct pv_load_progress {
    PV_BOOL (*call)(void *user, uint64_t done, uint64_t total);
    void *user;
} pv_load_progress;

/* Weights that the device takes as they stand in the file, and that lie in a view, stay there; the others are allocated from the pool and
 * uploaded, a few MiB at a time, and pages of the mapping let go behind it. weights->layers is allocated.
 * Errors: PV_CANCELLED, PV_IO, PV_BAD_FILE (non-finite weights: tensor and row), PV_DEVICE_OUT_OF_MEMORY, PV_OUT_OF_MEMORY. */
pv_status pv_weights_load(const pv_allocator *allocator, const pv_decoder *decoder, const pv_source *source, const pv_weight_list *list,
                          bool allow_non_finite, pv_load_progress progress, pv_backend_device *device, pv_pool *pool, const pv_views *views,
                          pv_weights *weights, pv_error *error);
/* Frees host memory only; the pool owns the rest. */
void pv_weights_free(const pv_allocator *allocator, pv_weights *weights);

/* The row of the first weight that is NaN or infinite, or `rows` if there is none. Quantized layouts: their scales. */
uint64_t pv_first_non_finite(pv_layout layout, const void *rows_data, uint64_t rows, uint64_t row_bytes);

#endif
