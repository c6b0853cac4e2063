/* Device memory: few large slabs from a backend, and inside them ranges in size tiers close enough that rounding wastes under 6.25 %.
 * Release is deferred until the last submission that uses a range has completed. */
#ifndef PV_RUNTIME_POOL_H
#define PV_RUNTIME_POOL_H

#include "backend/backend.h"

typedef struct pv_pool pv_pool;

typedef struct pv_range {
    const pv_buffer *buffer;
    uint64_t offset, bytes; /* bytes: as asked */
    uint64_t held;          /* as rounded to its tier */
} pv_range;

typedef struct pv_pool_stats {
    struct pv_arena_stats {
        uint64_t live;    /* bytes asked for and not released */
        uint64_t rounded; /* the same, rounded to tiers */
        uint64_t waiting; /* released, but a submission may still use them */
        uint64_t held;    /* of slabs */
        uint64_t slabs;
    } arena[4];           /* by pv_memory */
    uint64_t peak;        /* most bytes held at once */
} pv_pool_stats;

/* `slab`: usual bytes of a slab (0: 256 MiB); a larger request gets a slab of its own size. */
pv_status pv_pool_create(const pv_allocator *allocator, pv_backend_device *device, uint64_t slab, pv_pool **pool, pv_error *error);
/* From now on ranges of at least so many bytes have slabs of their own, which hold nothing else and are trimmed when they are free; the
 * slabs of smaller ones grow with their number, up to the usual size. Few ranges then hold little that they do not use. */
void pv_pool_keep_apart(pv_pool *pool, uint64_t bytes);
/* Frees all slabs, whatever still lives in them. */
void pv_pool_destroy(pv_pool *pool);
/* Makes sure that the arena can give `bytes` more, in one range or in many whose tiers sum up to it, without another slab; ranges that
 * are kept apart not counted. */
pv_status pv_pool_reserve(pv_pool *pool, pv_memory kind, uint64_t bytes, pv_error *error);
/* Zeroed when its slab is new, as left when reused. `alignment`, a power of two, is that of the offset in the slab, whose own
 * start is aligned for everything that the backend asks for. Errors: PV_INVALID_ARGUMENT (0 bytes, a bad alignment),
 * PV_DEVICE_OUT_OF_MEMORY, PV_OUT_OF_MEMORY. */
pv_status pv_pool_alloc(pv_pool *pool, pv_memory kind, uint64_t bytes, uint64_t alignment, pv_range *range, pv_error *error);
/* Gives a range back once `fence` has completed (0: at once). A range that is not live is left alone. */
void pv_pool_release(pv_pool *pool, const pv_range *range, pv_fence fence);
/* Tells that everything up to `fence` has completed. */
void pv_pool_completed(pv_pool *pool, pv_fence fence);
/* Returns slabs in which nothing lives. */
void pv_pool_trim(pv_pool *pool);
void pv_pool_get_stats(const pv_pool *pool, pv_pool_stats *stats);

#endif
