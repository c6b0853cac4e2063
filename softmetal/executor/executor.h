/* Runs dispatches of compiled kernels on the CPU: a fiber a GPU thread, whole threadgroups on OS threads.
 *
 * Functions return SM_OK or what became of the dispatch; they never abort. A crash in a kernel (guard pages, null, division by
 * zero, stack overflow) ends the dispatch with SM_TRAP and a report. */
#ifndef SOFTMETAL_EXECUTOR_EXECUTOR_H
#define SOFTMETAL_EXECUTOR_EXECUTOR_H

#include "executor/abi.h"
#include "softmetal.h"

typedef enum sm_result {
    SM_OK,
    SM_TRAP,          /* a crash */
    SM_OUT_OF_BOUNDS,
    SM_DEADLOCK,      /* it did not end in time */
    SM_NO_MEMORY,
    SM_CANCELLED,
    SM_INVALID,       /* more threads or threadgroup memory than the world has; reported */
} sm_result;

/* Memory of a buffer: `bytes` that end at a guard page, seen twice (what the kernels see, what the CPU sees), so that one view can be
 * closed. Zeroed, or `poisoned`: filled with 0xFF, and for the device alone (private storage), so that there is one view, and a
 * CHECKED world reports reads of what nothing has written. Stays where it is from create to destroy. A buffer may end up to 15 bytes
 * before the guard page; they are looked at after each dispatch. */
typedef struct sm_memory {
    uint8_t *device;    /* kernels use this */
    uint8_t *cpu;       /* what `contents` returns; the same as device for memory that was imported */
    uint64_t bytes;
    struct sm_view {    /* the executor's own: pages between guards, of the device and of the CPU */
        uint8_t *pages, *all;
        size_t size;
    } views[2];
    uint64_t mapped;
    struct sm_shadow *shadow; /* the checker's, or NULL */
    int open;           /* how often in flight */
    bool poisoned, closed;
    struct sm_memory *next, *previous;
    const char *label;  /* for reports; may be NULL */
} sm_memory;

/* False if the system has none left. */
bool sm_memory_create(sm_memory *memory, uint64_t bytes, bool poisoned);
/* The CPU and the device see memory of their own, both zeroed. */
bool sm_memory_create_apart(sm_memory *memory, uint64_t bytes);
/* Wraps memory of the host's (newBufferWithBytesNoCopy); no guard page, never closed. */
void sm_memory_import(sm_memory *memory, void *host, uint64_t bytes);
void sm_memory_destroy(sm_memory *memory);
/* Between begin and end the CPU's view is closed: a touch is reported as CPU_ACCESS_IN_FLIGHT, and the view opened so that the host
 * goes on. Nested calls count. */
void sm_memory_begin_flight(sm_memory *memory);
void sm_memory_end_flight(sm_memory *memory);
/* For the checker: the CPU, or a blit, wrote these bytes. */
void sm_memory_written(sm_memory *memory, uint64_t offset, uint64_t bytes);

typedef struct sm_binding {
    sm_memory *memory;     /* NULL: `bytes` (setBytes) */
    uint64_t offset;
    const void *bytes;
    uint64_t length;       /* from the offset to the end */
} sm_binding;

typedef struct sm_dispatch {
    const sm_kernel *kernel;
    const sm_services **services; /* the object's */
    bool checked;                 /* the object's */
    void *object;                 /* dlopen handle, for line numbers */
    sm_binding buffers[SM_BUFFERS];
    uint32_t threadgroup_bytes[SM_BUFFERS];
    uint32_t grid[3];             /* threads in all */
    uint32_t group[3];            /* threads of a threadgroup; the last ones of a row may be smaller */
    const volatile bool *cancel;  /* looked at between threadgroups; may be NULL */
    bool alone;                   /* sm_executor_order comes before and after: for the checker, which then has less to remember */
} sm_dispatch;

typedef struct sm_executor sm_executor;

/* Worker threads start with the first dispatch. `world` is copied. NULL if there is no memory. */
sm_executor *sm_executor_create(const softmetal_world *world);
void sm_executor_destroy(sm_executor *executor);

/* Dispatches run one after the other; one thread at a time. Those between two calls of sm_executor_order are unordered as far as the
 * program says: if two of them touch the same bytes and one writes, a CHECKED world reports MISSING_BARRIER. */
sm_result sm_executor_run(sm_executor *executor, const sm_dispatch *dispatch);
void sm_executor_order(sm_executor *executor);
/* The same for the bytes of one memory (memoryBarrierWithResources): what was done to others stays unordered. */
void sm_executor_order_memory(sm_executor *executor, sm_memory *memory);

/* Adds to the list of softmetal_report (report.c); equal ones are merged. `report->message` is copied. */
void sm_report(const softmetal_report *report);
void sm_reportf(softmetal_report_kind kind, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
