/* A model on a device: weights, cache, scratch, the ring of step blocks, and prepared plans by shape class. Destroyed and made anew
 * when a device is lost; everything that outlives a device stands in pv_model. */
#ifndef PV_MODEL_PLACEMENT_H
#define PV_MODEL_PLACEMENT_H

#include "model/forward.h"
#include "model/weights.h"

#define PV_STEP_RING 3
#define PV_MAX_CLASSES 48

/* What a model was asked to hold; fixed at load. */
typedef struct pv_capacity {
    uint32_t context;       /* tokens of a sequence, a multiple of PV_PAGE_TOKENS */
    uint32_t max_sequences;
    uint32_t prefill_rows;  /* of a step, beside a decode row for every sequence */
    pv_kv_type kv_type;     /* of keys and values */
    uint32_t pages;         /* of a cache group that keeps everything, the null page included */
    uint32_t groups;        /* cache groups of the model */
} pv_capacity;

/* Layers whose caches are alike share block tables and page numbers. */
typedef struct pv_cache_group {
    uint32_t kv_heads, head_dim, layers;
    uint32_t window, pages; /* keys that its layers look back at, 0: all; pages, the null page included */
    uint64_t page_bytes;    /* of one layer */
    pv_range storage;
    pv_tensor table;
} pv_cache_group;

/* Plans for steps of at most `decode` rows of sequences with one row, `prefill` other rows, and `logits` rows that want logits. */
typedef struct pv_class {
    uint32_t decode, prefill, logits;
    uint64_t used; /* tick of the last use; 0: free */
    pv_plan forward_plan, sampling_plan;
    pv_prepared *prepared[2]; /* forward, sampling */
    pv_range scratch;         /* of its own, where the largest step's does not suffice; else nothing */
    pv_tensor logit_rows;     /* where the logits stand */
    double slow_seconds;      /* what a step takes at 1 GB/s and 2 GFLOP/s */
} pv_class;

typedef struct pv_placement {
    const pv_allocator *allocator;
    const pv_decoder *decoder;
    pv_capacity capacity;
    pv_source *source;
    pv_backend_device *device;
    pv_pool *pool;
    pv_views views;
    pv_weights weights;
    pv_cache_group groups[PV_MAX_GROUPS];
    uint32_t group_count;
    pv_kv_view *layer_cache;
    pv_tensor tables[PV_MAX_GROUPS];
    pv_tensor token_log;
    pv_range scratch;
    pv_step_limits limits;
    pv_step_layout step;
    pv_tensor block[PV_STEP_RING], outputs[PV_STEP_RING];
    pv_class classes[PV_MAX_CLASSES];
    uint64_t tick;
} pv_placement;

/* Bytes by purpose, before anything is allocated. */
typedef struct pv_needs {
    uint64_t weights, kv, scratch, other;
    uint64_t kv_page;  /* bytes of a page over all layers that keep everything */
    uint64_t kv_fixed; /* of kv, what layers with a window take whatever the context */
} pv_needs;

/* Pages in which a sequence with this window can go on by itself, whatever its length. */
uint32_t pv_window_pages(const pv_capacity *capacity, uint32_t window);
/* Pages of a cache group that looks back at `window` keys (0: all), when those that keep everything have `pages`. */
uint32_t pv_group_pages(const pv_capacity *capacity, uint32_t window, uint32_t pages);

/* The limits of a step that follow from a capacity. */
pv_step_limits pv_capacity_limits(const pv_capacity *capacity);
/* Errors: PV_OUT_OF_MEMORY, PV_UNSUPPORTED (an op that the device lacks). */
pv_status pv_placement_needs(const pv_allocator *allocator, const pv_decoder *decoder, const pv_capacity *capacity,
                             const pv_weight_list *list, pv_backend_device *device, pv_needs *needs, pv_error *error);

/* Everything on the device; takes `device` over, also on failure. Errors: those of pv_weights_load and of the backend. */
pv_status pv_placement_create(const pv_allocator *allocator, const pv_decoder *decoder, const pv_capacity *capacity,
                              pv_source *source, const pv_weight_list *list, bool allow_non_finite, pv_load_progress progress,
                              const pv_needs *needs, pv_backend_device *device, pv_placement **placement, pv_error *error);
void pv_placement_destroy(pv_placement *placement);

/* The smallest class that takes these rows, its plans prepared; built at first use, the least recently used one makes room.
 * Errors: PV_PROGRAM, PV_OUT_OF_MEMORY, PV_DEVICE_*. */
pv_status pv_placement_class(pv_placement *placement, uint32_t decode, uint32_t prefill, uint32_t logits, pv_class **found, pv_error *error);

#endif
