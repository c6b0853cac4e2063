/* Tensors: a place, a layout and a shape. No general strides; heads are a parameter of the op. */
#ifndef PV_RUNTIME_TENSOR_H
#define PV_RUNTIME_TENSOR_H

#include "format/layout.h"

/* A slab of device memory, made by a backend. */
typedef struct pv_buffer {
    void *handle;   /* the backend's own */
    uint8_t *host;  /* where the CPU sees it, or NULL */
    uint64_t bytes;
    uint64_t id;    /* unique within a device; never reused */
} pv_buffer;

/* How many rows of a tensor a step really has. */
typedef enum pv_extent {
    PV_EXTENT_FIXED,  /* tensor.rows */
    PV_EXTENT_ROWS,   /* counts.rows */
    PV_EXTENT_LOGITS, /* counts.logits */
} pv_extent;

#define PV_PACKING_NONE 0 /* canonical rows, row_bytes apart; other packings are numbered by their backend */

typedef struct pv_tensor {
    const pv_buffer *buffer; /* NULL: absent, or scratch that the builder has not placed yet */
    uint64_t offset;         /* bytes into the buffer */
    uint32_t rows, cols;     /* rows: the capacity where the extent is not fixed */
    uint64_t row_bytes;      /* canonical rows only */
    pv_layout layout;
    uint16_t packing;
    uint8_t extent;          /* pv_extent */
    int32_t scratch;         /* the builder's number of a scratch tensor, counted from 1; 0: none */
} pv_tensor;

/* True if the tensor is there. */
static inline bool pv_tensor_present(const pv_tensor *tensor) { return tensor->buffer != NULL || tensor->scratch > 0; }


/* Host address of the first byte, or NULL. */
static inline void *pv_tensor_host(const pv_tensor *tensor)
{
    return tensor->buffer != NULL && tensor->buffer->host != NULL ? tensor->buffer->host + tensor->offset : NULL;
}

#endif
