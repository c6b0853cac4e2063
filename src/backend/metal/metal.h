/* The Metal backend's device and what its files share.
 *
 *   objc.c      Objective-C from C              program.c   pipelines from embedded MSL, kept in a binary archive
 *   traits.c    what follows from a device      prepare.c   a plan becomes records
 *   memory.c    buffers                         record_*.c  each op's kernels: bindings, constants, grids
 *   weights.c   packings                        submit.c    records become command buffers; waiting
 *   backend.c   the table of functions          watch.c     what has ended, and what must live until it has
 *   failure.c   NSError → pv_status             profile.c   times, told to who listens
 *   tune.c      choices that were measured      samples.c   counters that the device samples
 *   mps.c       dense products by Apple's MPS   signpost.c  intervals of the host's, for Instruments
 *   validate.c  results that are not finite     capture.c   Metal's own captures
 */
#ifndef PV_METAL_METAL_H
#define PV_METAL_METAL_H

#include "backend/backend.h"
#include "backend/metal/objc.h"
#include "backend/metal/traits.h"
#include "backend/metal/watch.h"
#include "base/alloc.h"
#include "runtime/pool.h"

#define PV_METAL_COMMAND_BUFFERS 1024 /* of a queue, under way at once: making one more waits */
#define PV_METAL_PLANS 4              /* of one submission */
#define PV_METAL_CUT_SECONDS 0.2      /* of work in a command buffer, of a limit of 0.25 */
#define PV_METAL_SHORTEST_CUT 0.01
#define PV_METAL_PATIENCE_MS 30000    /* longer than the system lets anything run */

typedef struct pv_metal_programs pv_metal_programs;
typedef struct pv_metal_profile pv_metal_profile;
typedef struct pv_metal_mps pv_metal_mps;

/* Choices that measuring may change. */
typedef struct pv_metal_tuning {
    uint32_t few_rows; /* up to so many rows a matrix product does without matrix units */
    uint32_t mps_rows; /* plans of so many rows and more have dense products done by MPS; 0, the default: none has */
} pv_metal_tuning;

#define PV_METAL_COUNTERS 512
typedef struct pv_metal_counter {
    char name[64]; /* "linear q4_0 rows4" */
    uint64_t count;
} pv_metal_counter;

typedef struct pv_metal_device {
    pv_backend_device base; /* first */
    const pv_allocator *allocator;
    const pv_environment *environment;
    pv_objc objc;
    pv_id device, queue, residency; /* residency: NULL before macOS 15 */
    bool residency_stale;           /* it was changed since it was committed */
    pv_metal_traits traits;
    pv_metal_tuning tuning;
    pv_metal_mps *mps; /* NULL: not wanted, or not there */
    pv_device_description description;
    bool plain;
    bool removed; /* nothing works any more */
    pv_metal_programs *programs;
    double cut_seconds;    /* of work in a command buffer; halved when the system ended one */
    double longest_seconds; /* of work in any command buffer so far, as reckoned */
    uint32_t patience_ms;  /* with what was submitted, where there is no caller's time-out */
    uint64_t buffers;      /* made so far: ids */
    pv_pool *args;         /* of all plans */
    pv_buffer scratch;     /* of kernels that need some: as large as the most demanding plan */
    pv_metal_watch *watch; /* fence f has the slot f % PV_METAL_QUEUE */
    pv_fence submitted, completed;
    pv_metal_profile *profile; /* NULL: nobody listens */
    bool captured, capturing;  /* a capture was tried; is under way */
    bool told_memory;          /* that it is nearly full */
    pv_metal_counter counters[PV_METAL_COUNTERS];
    size_t counter_count;
} pv_metal_device;

static inline pv_metal_device *pv_metal_of(const pv_backend_device *device)
{
    return (pv_metal_device *)device;
}
static inline pv_id pv_metal_buffer_of(const pv_buffer *buffer)
{
    return buffer->handle;
}

/* memory.c */
pv_status pv_metal_alloc(pv_backend_device *device, pv_memory kind, uint64_t bytes, pv_buffer *buffer, pv_error *error);
void pv_metal_free(pv_backend_device *device, pv_buffer *buffer);
/* Releases a buffer or pipeline, once what was submitted so far has ended. */
void pv_metal_let_go(pv_metal_device *device, pv_id object);
pv_status pv_metal_import(pv_backend_device *device, void *host, uint64_t bytes, pv_buffer *buffer, pv_error *error);
pv_status pv_metal_write(pv_backend_device *device, const pv_buffer *buffer, uint64_t offset, const void *bytes,
                         uint64_t length, pv_error *error);
pv_status pv_metal_read(pv_backend_device *device, const pv_buffer *buffer, uint64_t offset, void *bytes, uint64_t length,
                        pv_error *error);

/* weights.c */
pv_status pv_metal_weight_spec(const pv_backend_device *device, pv_layout layout, uint32_t rows, uint32_t cols, unsigned uses,
                               pv_weight_spec *spec, pv_error *error);
pv_status pv_metal_upload(pv_backend_device *device, const pv_tensor *weight, uint32_t first, uint32_t count, const void *rows,
                          pv_error *error);

/* prepare.c */
bool pv_metal_supports(const pv_backend_device *device, const pv_op *op);
pv_status pv_metal_prepare(pv_backend_device *device, const pv_plan *plan, pv_prepared **prepared, pv_error *error);
void pv_metal_release(pv_backend_device *device, pv_prepared *prepared);

/* submit.c */
pv_status pv_metal_submit(pv_backend_device *device, const pv_submission *submission, pv_fence *fence, pv_error *error);
pv_status pv_metal_wait(pv_backend_device *device, pv_fence fence, uint32_t timeout_ms, pv_error *error);
/* Waits until nothing runs any more, but not for ever: PV_TIMEOUT says that the device hangs. */
pv_status pv_metal_settle(pv_metal_device *device, pv_error *error);
/* What never ended is left to the driver; false if there is such. */
bool pv_metal_abandon(pv_metal_device *device);

/* failure.c: the status of a command buffer's NSError, its domain, code and description in the record. */
pv_status pv_metal_failure(const pv_metal_device *device, pv_id nserror, const char *what, pv_error *error);
/* The same by its parts. */
pv_status pv_metal_classify(const char *domain, int64_t code, const char *description);

#endif
