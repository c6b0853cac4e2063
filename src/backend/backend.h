/* The seam between the runtime and a backend. A backend knows kernels and queues; it does not know what a Llama is.
 *
 * Functions are called by one thread at a time per device. All return a status and fill `error`; none blocks but wait. */
#ifndef PV_BACKEND_BACKEND_H
#define PV_BACKEND_BACKEND_H

#include <stdatomic.h>

#include "runtime/plan.h"

typedef struct pv_backend pv_backend;
typedef struct pv_backend_device pv_backend_device;
typedef struct pv_prepared pv_prepared; /* a plan made ready */
typedef uint64_t pv_fence;              /* counts submissions of a device, from 1 */

/* What a backend may use of its surroundings. Outlives every device. */
typedef struct pv_environment {
    const pv_allocator *allocator;
    void (*log)(void *user, pv_log_level level, const char *message);
    void *log_user;
    const char *cpu_kernels; /* NULL: the fastest */
    uint32_t threads;        /* 0: one for each processor of the process */
    const char *metal_library; /* stands in for Apple's frameworks; NULL: those */
    const char *cache;       /* folder for compiled programs; NULL: none are kept */
    void (*trace)(void *user, const pv_timing *timing); /* NULL: nobody listens */
    void *trace_user;
    const char *capture;     /* NULL: nothing is captured */
    bool validate;
} pv_environment;

typedef struct pv_device_description {
    char id[32], name[128], kernels[32], reason[192];
    bool available;
    bool unified;            /* the CPU sees the device's memory */
    uint64_t memory_total, memory_usable; /* bytes */
    uint64_t max_buffer;     /* bytes */
    uint32_t threads;
    uint32_t steps_ahead;    /* how many steps are best enqueued at once */
} pv_device_description;

typedef enum pv_weight_use { PV_USE_MATRIX = 1, PV_USE_ROWS = 2, PV_USE_VECTOR = 4 } pv_weight_use;

/* How a device wants a weight. Vectors (norms, biases, frequencies) are dense f32 on every backend. */
typedef struct pv_weight_spec {
    uint16_t packing;
    pv_layout layout;     /* as held: may differ from the file's only where values stay exactly the same */
    uint64_t bytes;
    uint32_t alignment;   /* of its place, a power of two */
    uint32_t row_tile;    /* uploads take whole tiles of this many rows, but for the last one */
    bool may_alias;       /* the file's own bytes will do, where they stand at a multiple of */
    uint32_t alias_alignment; /* so many bytes of an imported buffer */
} pv_weight_spec;

typedef enum pv_memory { PV_MEMORY_WEIGHTS, PV_MEMORY_KV, PV_MEMORY_SCRATCH, PV_MEMORY_STEP /* host-visible */ } pv_memory;

typedef struct pv_submission {
    pv_prepared *const *plans; /* run one after the other */
    uint32_t plan_count;
    pv_tensor block;           /* step block, PV_MEMORY_STEP */
    pv_tensor outputs;         /* pv_step_output [limits.logits], PV_MEMORY_STEP */
    const atomic_bool *abort;  /* looked at between ops where the backend can; may be NULL; outlives the fence */
} pv_submission;

typedef struct pv_counter {
    const char *name; /* "linear q4_0 avx512" */
    uint64_t count;
} pv_counter;

struct pv_backend {
    const char *name; /* "cpu" */
    void *context;    /* the wrapper's, for wrapped backends */

    /* Writes up to `capacity` descriptions, *count in all. A missing driver is an available = false with a reason, no error. */
    pv_status (*enumerate)(const pv_backend *backend, const pv_environment *environment, pv_device_description *descriptions,
                           size_t capacity, size_t *count, pv_error *error);
    /* Opens the device with this id. `plain`: use the plainest kernels and decline every fused form. Errors: PV_NOT_FOUND,
     * PV_OUT_OF_MEMORY, PV_DEVICE_*. */
    pv_status (*open)(const pv_backend *backend, const pv_environment *environment, const char *id, bool plain,
                      pv_backend_device **device, pv_error *error);
    /* Everything made with the device must be released before; submissions that never finished are abandoned. False if there are
     * such: they may touch imported host memory for ever, so that must stay. */
    bool (*close)(pv_backend_device *device);
    const pv_device_description *(*describe)(const pv_backend_device *device);

    /* Zeroed memory. Errors: PV_DEVICE_OUT_OF_MEMORY (bytes wanted). */
    pv_status (*alloc)(pv_backend_device *device, pv_memory kind, uint64_t bytes, pv_buffer *buffer, pv_error *error);
    void (*free)(pv_backend_device *device, pv_buffer *buffer);
    /* Makes host memory, which stays the caller's, a buffer; whole pages of the system. Errors: PV_UNSUPPORTED (this device takes none, or
     * not this). */
    pv_status (*import)(pv_backend_device *device, void *host, uint64_t bytes, pv_buffer *buffer, pv_error *error);
    /* Plain copies; they wait for what was submitted before. */
    pv_status (*write)(pv_backend_device *device, const pv_buffer *buffer, uint64_t offset, const void *bytes, uint64_t length, pv_error *error);
    pv_status (*read)(pv_backend_device *device, const pv_buffer *buffer, uint64_t offset, void *bytes, uint64_t length, pv_error *error);

    /* Pure: the same answer for the same device, layout, shape and uses (pv_weight_use flags); needs an open device only for its description.
     * Errors: PV_UNSUPPORTED (the layout: named). */
    pv_status (*weight_spec)(const pv_backend_device *device, pv_layout layout, uint32_t rows, uint32_t cols, unsigned uses,
                             pv_weight_spec *spec, pv_error *error);
    /* Packs canonical rows [first, first + count) from host memory into a weight that was placed by its spec. `first` is a multiple of
     * row_tile. Vectors come as f32. */
    pv_status (*upload)(pv_backend_device *device, const pv_tensor *weight, uint32_t first, uint32_t count, const void *rows, pv_error *error);

    /* True if the device runs this op as it stands, fusions included. */
    bool (*supports)(const pv_backend_device *device, const pv_op *op);
    /* Makes a plan ready; the plan and its buffers must outlive the result. May allocate; submit never does.
     * Errors: PV_PROGRAM, PV_UNSUPPORTED (names the op), PV_OUT_OF_MEMORY. */
    pv_status (*prepare)(pv_backend_device *device, const pv_plan *plan, pv_prepared **prepared, pv_error *error);
    void (*release)(pv_backend_device *device, pv_prepared *prepared);
    /* Enqueues; block and outputs stay untouched by the host until the fence. Errors: PV_DEVICE_*. */
    pv_status (*submit)(pv_backend_device *device, const pv_submission *submission, pv_fence *fence, pv_error *error);
    /* Waits until the fence's submission and all before it have ended. Errors: PV_TIMEOUT (still running; wait again),
     * PV_CANCELLED (aborted; lasting state may hold part of the step, which a resubmission overwrites), PV_DEVICE_*. */
    pv_status (*wait)(pv_backend_device *device, pv_fence fence, uint32_t timeout_ms, pv_error *error);
    /* How often each op kind ran on each kernel variant, for tests: returns the number of counters, fills up to `capacity`. */
    size_t (*counters)(const pv_backend_device *device, pv_counter *counters, size_t capacity);
    /* Measures variants on the device with this id and keeps the choice in environment->cache. NULL: there is nothing to choose. */
    pv_status (*tune)(const pv_backend *backend, const pv_environment *environment, const char *id, const pv_tune_options *options,
                      pv_error *error);
};

/* First member of every backend's device. */
struct pv_backend_device {
    const pv_backend *backend;
};

extern const pv_backend pv_cpu_backend;
extern const pv_backend pv_metal_backend; /* everywhere: where there is no Metal, its device says so */

#endif
