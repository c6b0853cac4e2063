/* The checker of CHECKED worlds: told of every load and store of a kernel, it reports races, accesses out of bounds, reads of what was
 * never written, and counts bytes. */
#ifndef SOFTMETAL_CHECKER_CHECKER_H
#define SOFTMETAL_CHECKER_CHECKER_H

#include "checker/shadow.h"
#include "executor/pool.h"

#define SM_SITES 256 /* of the code, each with the range it touched last */

/* Memory that a kernel may touch: of one binding, or of several with the same begin. */
typedef struct sm_range {
    uintptr_t begin;
    uint64_t size;         /* up to the end of what is bound */
    uint64_t own_size;     /* up to where another binding of the same memory begins */
    uint64_t memory_offset; /* of its begin */
    uint64_t epoch, epoch_serial; /* since when its accesses are unordered */
    const struct sm_shadow *shadow; /* NULL: nothing is remembered (setBytes) */
    uint8_t load_index, store_index; /* buffer indices */
    bool writable;         /* some kernel argument may write to this memory: the cells are used */
    bool stored_before;    /* a dispatch that is unordered with this one may have stored: look at the cells */
    bool loaded_before;    /* …may have loaded: look at the marks */
    bool plain;            /* loads need but be counted */
    bool alone;            /* no other dispatch is unordered with this one: no marks are made */
} sm_range;

extern atomic_uint sm_check_users;

/* A dispatch that later ones may be unordered with. */
typedef struct sm_past {
    uint64_t first_serial, end_serial;
    const char *kernel;
    const sm_image *image;
} sm_past;
#define SM_PASTS 64

/* The executor's part. */
struct sm_check_plan {
    sm_range ranges[SM_BUFFERS];
    uint32_t range_count;
    uint64_t epoch;              /* changes with each sm_executor_order */
    uint64_t epoch_serial;       /* serials from here on are unordered with each other's dispatch */
    sm_past pasts[SM_PASTS];     /* of this epoch; what is beyond is not told apart */
    uint32_t past_count;
};
typedef struct sm_check_plan sm_check_plan;

/* A worker's part. */
struct sm_check {
    sm_range ranges[SM_BUFFERS];
    uint32_t range_count;
    const sm_check_plan *plan;
    uint8_t site_range[SM_SITES];
    uint64_t loaded[SM_BUFFERS], stored[SM_BUFFERS], threadgroup_loaded, threadgroup_stored;
    sm_cell *cells;              /* of threadgroup memory: one for each byte of it, of which those of granules are used */
    size_t cells_size;
    uint8_t slot_granule[SM_SLOTS]; /* shifts */
};

#endif
