/* softmetal: a software Metal device for Linux.
 *
 * The library stands in for libobjc, Foundation and Metal: a host opens it and finds objc_msgSend, sel_registerName,
 * objc_getClass, MTLCreateSystemDefaultDevice and their like by name, as it would on a Mac. It compiles Metal Shading Language
 * from its text with the C++ compiler found, and runs it on the CPU. This header is what a test needs beyond that: settable
 * worlds, faults, counts and reports. It is test equipment: its timings say nothing about a GPU.
 *
 * Strings that are given are copied; strings that are handed out live until softmetal_reset. Any thread, unless said otherwise.
 * Each setting can also be made in the environment, for hosts that do not know this library: see README.md.
 */
#ifndef SOFTMETAL_H
#define SOFTMETAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SOFTMETAL_API __attribute__((visibility("default")))

/* ---- Worlds: what the device is ------------------------------------------------------------------------------------- */

typedef enum softmetal_build {
    SOFTMETAL_PLAIN,   /* as fast as it goes; guard pages and API validation only */
    SOFTMETAL_CHECKED, /* every load and store is looked at: races, bounds, uninitialised reads, divergence; bytes are counted */
} softmetal_build;

/* Zero means the default named. */
typedef struct softmetal_world {
    const char *device_name;            /* default "softmetal (software, not a GPU)"; the prefix "softmetal" is always there */
    uint32_t apple_family;              /* 7 (M1) … 10 (M5); default 9 */
    uint32_t macos_major;               /* default 15: residency sets exist from 15 on */
    bool no_simdgroup_matrix, no_bfloat; /* kernels that use them do not compile */
    bool discrete;                      /* hasUnifiedMemory is false */
    uint64_t working_set;               /* recommendedMaxWorkingSetSize, bytes; default 8 GiB */
    uint64_t max_buffer;                /* maxBufferLength, bytes; default 4 GiB */
    uint32_t max_threads;               /* maxTotalThreadsPerThreadgroup of every pipeline; default and most: 1024 */
    uint32_t threadgroup_memory;        /* maxThreadgroupMemoryLength, bytes; default 32768 */

    softmetal_build build;
    bool strict;                        /* newLibrary also runs the strict check: clang, C++ for OpenCL, and a lint */
    bool keep_open;                     /* do not close buffers to the CPU while the device uses them */
    bool flush_to_zero;                 /* denormals are zero, as on a GPU */
    uint32_t ulp_jitter;                /* results of library functions are off by up to so many units in the last place */
    bool shuffle;                       /* lanes, simdgroups, threadgroups and unordered dispatches run in random order */
    uint64_t seed;                      /* of jitter and shuffle */
    uint32_t workers;                   /* OS threads; default: the processors of this process */
    uint32_t kernel_time_limit_ms;      /* a threadgroup that runs longer ends its command buffer, as does a wait for an event while
                                           nothing else runs; default 60000; UINT32_MAX: none */
    uint32_t completion_delay_us;       /* between the end of a command buffer's work and its completion */
    bool sample_dispatches;             /* counters are sampled between dispatches too, not at encoders' ends alone */
    bool statistics;                    /* there is the counter set of statistics: it counts kernels' threads */
} softmetal_world;

/* Devices made from now on are of this world. NULL: the default world. */
SOFTMETAL_API void softmetal_set_world(const softmetal_world *world);

/* ---- Faults --------------------------------------------------------------------------------------------------------- */

typedef enum softmetal_fault_kind {
    SOFTMETAL_FAULT_DEVICE,         /* no device is found */
    SOFTMETAL_FAULT_QUEUE,          /* newCommandQueue returns nil */
    SOFTMETAL_FAULT_ALLOCATION,     /* newBuffer, newHeap return nil */
    SOFTMETAL_FAULT_LIBRARY,        /* newLibrary fails */
    SOFTMETAL_FAULT_FUNCTION,       /* newFunction fails */
    SOFTMETAL_FAULT_PIPELINE,       /* newComputePipelineState fails */
    SOFTMETAL_FAULT_COMMAND_BUFFER, /* completes with an error; its work is not done */
    SOFTMETAL_FAULT_COMMAND_BUFFER_PARTIAL, /* completes with an error after half of its dispatches */
    SOFTMETAL_FAULT_HANG,           /* never completes, until softmetal_release_hangs */
    SOFTMETAL_FAULT_REMOVAL,        /* the device is removed: this command buffer and all later ones fail, as do allocations */
    SOFTMETAL_FAULT_ARCHIVE,        /* binary archives fail to load or to store */
    SOFTMETAL_FAULT_KINDS
} softmetal_fault_kind;

typedef struct softmetal_fault {
    softmetal_fault_kind kind;
    uint64_t nth;            /* the first event that fails, counted from 1 from this call on; 0 means 1 */
    uint64_t count;          /* so many in a row; 0 means 1; UINT64_MAX: for ever */
    const char *domain;      /* of the NSError; NULL: the kind's usual one */
    int64_t code;            /* 0: the kind's usual one */
    const char *description; /* NULL: the kind's usual one */
} softmetal_fault;

/* Several may be armed at once. NULL disarms all. */
SOFTMETAL_API void softmetal_inject(const softmetal_fault *fault);
/* How many faults have come to pass since softmetal_reset. */
SOFTMETAL_API uint64_t softmetal_faults_fired(void);
SOFTMETAL_API void softmetal_release_hangs(void);

/* ---- Reports: mistakes that were seen ------------------------------------------------------------------------------- */

#define SOFTMETAL_REPORT_LIST(X)                                                                                      \
    X(VALIDATION, "API misuse")                                                                                       \
    X(UNKNOWN_SELECTOR, "a message that its receiver does not understand")                                            \
    X(BAD_SIGNATURE, "a message sent with other types than its method's")                                             \
    X(OVER_RELEASE, "an object released after its end")                                                               \
    X(USE_AFTER_END, "a message to an object after its end")                                                          \
    X(LEAK, "an object still alive, or autoreleased without a pool")                                                  \
    X(OUT_OF_BOUNDS, "an access outside of a buffer or of threadgroup memory")                                        \
    X(TRAP, "a kernel crashed")                                                                                       \
    X(RACE_THREADGROUP, "unordered accesses of two threads to threadgroup memory")                                    \
    X(RACE_DEVICE, "unordered accesses of two threads to device memory")                                              \
    X(MISSING_BARRIER, "dispatches of a concurrent encoder that need a barrier between them")                         \
    X(DIVERGENT_BARRIER, "threads of a threadgroup, or of a simdgroup, that do not all reach a barrier")              \
    X(DIVERGENT_SIMD, "lanes that do not all reach a simd, quad or simdgroup_matrix function")                        \
    X(UNINITIALISED_READ, "a read of threadgroup memory, or of a private buffer, that nothing has written")           \
    X(CPU_ACCESS_IN_FLIGHT, "the CPU touched a buffer that the device was using")                                     \
    X(STRICT, "MSL that Apple's compiler would refuse")

typedef enum softmetal_report_kind {
#define SOFTMETAL_REPORT_ENUM(name, text) SOFTMETAL_##name,
    SOFTMETAL_REPORT_LIST(SOFTMETAL_REPORT_ENUM)
#undef SOFTMETAL_REPORT_ENUM
    SOFTMETAL_REPORT_KINDS
} softmetal_report_kind;

typedef struct softmetal_report {
    softmetal_report_kind kind;
    const char *message;   /* a sentence with all that is known: "saxpy: buffer 2 ('y') is not bound" */
    const char *kernel;    /* or NULL */
    uint32_t line;         /* of the MSL text, or 0 */
    uint32_t other_line;   /* of the access it collides with, or 0 */
    int64_t thread, other_thread; /* index in its threadgroup, or -1 */
    int64_t threadgroup, other_threadgroup; /* index in the grid, or -1 */
    uint64_t count;        /* equal ones (kind, kernel, lines) are merged */
} softmetal_report;

SOFTMETAL_API size_t softmetal_report_count(void);
/* False if there is no such report. */
SOFTMETAL_API bool softmetal_get_report(size_t index, softmetal_report *report);
/* "RACE_DEVICE" for SOFTMETAL_RACE_DEVICE. */
SOFTMETAL_API const char *softmetal_report_name(softmetal_report_kind kind);

/* ---- Counts --------------------------------------------------------------------------------------------------------- */

typedef struct softmetal_counts {
    uint64_t messages;         /* Objective-C messages */
    uint64_t command_buffers, encoders, dispatches, barriers, threadgroups, threads;
    uint64_t compiles, cache_hits; /* of objects made from MSL text */
    uint64_t live_objects, live_buffer_bytes, buffers;
} softmetal_counts;

#define SOFTMETAL_BUFFERS 31 /* buffer arguments of a kernel */

typedef struct softmetal_kernel_counts {
    const char *kernel;
    uint64_t dispatches, threadgroups, threads, barriers, simd_operations;
    /* CHECKED builds only, by buffer index; threadgroup memory apart. Bytes as the kernel asked for them: no cache is modelled. */
    uint64_t loaded[SOFTMETAL_BUFFERS], stored[SOFTMETAL_BUFFERS];
    uint64_t threadgroup_loaded, threadgroup_stored;
} softmetal_kernel_counts;

SOFTMETAL_API void softmetal_get_counts(softmetal_counts *counts);
/* Writes up to `capacity` entries, a kernel each, and returns how many kernels have run since softmetal_reset. */
SOFTMETAL_API size_t softmetal_get_kernel_counts(softmetal_kernel_counts *counts, size_t capacity);

/* ---- Messages ------------------------------------------------------------------------------------------------------- */

/* A host that sends its messages through typed wrappers announces each: objc_msgSend itself cannot see types. `encoding` is that of the
 * method, in Objective-C's own form without offsets ("@@:QQ": returns an object; object, selector, two NSUInteger; BOOL is "B" or "c");
 * the class is named by its name or by its protocol ("MTLDevice"), NULL means every class that has the method; a selector may begin with
 * + or -. True if all classes meant have the method with these types. Otherwise what differs is reported as BAD_SIGNATURE, a method that is
 * missing as UNKNOWN_SELECTOR; for a class that is not there it is only false. Classes registered later are checked too. */
SOFTMETAL_API bool softmetal_expect_signature(const char *class_or_protocol, const char *selector, const char *encoding);

/* Looks for objects that are still alive and adds a LEAK report for each class that has some. Returns their number. */
SOFTMETAL_API size_t softmetal_check_leaks(void);
/* Forgets reports, counts and armed faults. Not while command buffers run. */
SOFTMETAL_API void softmetal_reset(void);

#ifdef __cplusplus
}
#endif
#endif
