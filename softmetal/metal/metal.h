/* What the files of the Metal part share: the objects behind a host's pointers, and how they are made to work together.
 *
 * A host encodes commands into a command buffer (commands.h), commits it to its queue's line (line.c), whose thread executes it
 * (execute.c) on the device's executor. A command buffer holds all that its commands need, also where the host asked for
 * unretained references: a host that releases too early gets a report and not a crash. */
#ifndef SOFTMETAL_METAL_METAL_H
#define SOFTMETAL_METAL_METAL_H

#include <pthread.h>

#include "executor/executor.h"
#include "executor/report.h"
#include "foundation/foundation.h"
#include "msl/msl.h"
#include "objc/memory.h"
#include "objc/object.h"
#include "softmetal.h"

typedef struct sm_size {
    NSUInteger width, height, depth;
} sm_size; /* MTLSize */
#define SM_SIZE_TYPE "{MTLSize=QQQ}"
#define SM_RANGE_TYPE "{NSRange=QQ}"

/* ---- Metal's numbers ------------------------------------------------------------------------------------------------ */

enum { SM_STORAGE_SHARED, SM_STORAGE_MANAGED, SM_STORAGE_PRIVATE, SM_STORAGE_MEMORYLESS };
enum { SM_HAZARD_DEFAULT, SM_HAZARD_UNTRACKED, SM_HAZARD_TRACKED };
#define SM_OPTIONS(cache, storage, hazard) ((NSUInteger)(cache) | (NSUInteger)(storage) << 4 | (NSUInteger)(hazard) << 8)
#define SM_OPTIONS_CACHE(options) ((options) & 0xF)
#define SM_OPTIONS_STORAGE(options) ((options) >> 4 & 0xF)
#define SM_OPTIONS_HAZARD(options) ((options) >> 8 & 0x3)

enum { SM_NOT_ENQUEUED, SM_ENQUEUED, SM_COMMITTED, SM_SCHEDULED, SM_COMPLETED, SM_FAILED }; /* MTLCommandBufferStatus */
enum { SM_SERIAL, SM_CONCURRENT };                                                          /* MTLDispatchType */
enum { SM_BARRIER_BUFFERS = 1, SM_BARRIER_TEXTURES = 2, SM_BARRIER_TARGETS = 4 };           /* MTLBarrierScope */
enum {
    SM_COMMAND_INTERNAL = 1,
    SM_COMMAND_TIMEOUT = 2,
    SM_COMMAND_PAGE_FAULT = 3,
    SM_COMMAND_ACCESS_REVOKED = 4,
    SM_COMMAND_NOT_PERMITTED = 7,
    SM_COMMAND_OUT_OF_MEMORY = 8,
    SM_COMMAND_INVALID_RESOURCE = 9,
    SM_COMMAND_MEMORYLESS = 10,
    SM_COMMAND_DEVICE_REMOVED = 11,
    SM_COMMAND_STACK_OVERFLOW = 12
}; /* MTLCommandBufferError */
enum {
    SM_LIBRARY_UNSUPPORTED = 1,
    SM_LIBRARY_INTERNAL,
    SM_LIBRARY_COMPILE,
    SM_LIBRARY_WARNING,
    SM_LIBRARY_NO_FUNCTION,
    SM_LIBRARY_NO_FILE
};
enum {
    SM_ARCHIVE_INVALID_FILE = 1,
    SM_ARCHIVE_UNEXPECTED,
    SM_ARCHIVE_COMPILE,
    SM_ARCHIVE_INTERNAL
};                          /* MTLBinaryArchiveError */
enum { SM_DATA_BOOL = 53 }; /* MTLDataType */

#define SM_COMMAND_DOMAIN "MTLCommandBufferErrorDomain"
#define SM_LIBRARY_DOMAIN "MTLLibraryErrorDomain"
#define SM_ARCHIVE_DOMAIN "MTLBinaryArchiveDomain"
#define SM_COUNTER_DOMAIN "MTLCounterErrorDomain"
#define SM_CAPTURE_DOMAIN "MTLCaptureError"

#define SM_SET_BYTES_LIMIT 4096
#define SM_COMMAND_BUFFERS 64 /* of a queue that names no number */
#define SM_HEAP_ALIGN 256

/* ---- Objects that have a device and a label --------------------------------------------------------------------------- */

typedef struct sm_device sm_device;

typedef struct sm_base {
    sm_object object;
    sm_device *device; /* retained, but by the device itself */
    id label;
} sm_base;

id sm_base_new(Class class, sm_device *device);
id sm_base_device(id self, SEL cmd);
id sm_base_label(id self, SEL cmd);
void sm_base_set_label(id self, SEL cmd, id label);
void sm_base_dealloc(id self);
/* The label's text, or `otherwise`. */
const char *sm_label_of(id object, const char *otherwise);
/* A copy of a string of the host's; nil stays nil. */
id sm_text_copy(id string);
/* A copy of options and descriptors, which the host may change meanwhile; of others a reference. */
id sm_own(id object);
char *sm_copy_text(const char *text); /* to be freed */
/* Puts a retained `object` in *place and gives back what was there. */
void sm_store(id *place, id object);
void sm_store_text(id *place, id string);
/* nil, or an object of that class: anything else is reported and taken as nil. `where` is the method, for the report. */
id sm_expect_kind(id object, Class class, const char *where);

#define SM_DEVICE_METHOD SM_METHOD("device", "@@:", sm_base_device)
#define SM_LABEL_METHODS SM_METHOD("label", "@@:", sm_base_label), SM_METHOD("setLabel:", "v@:@", sm_base_set_label)

/* Getters and setters of a struct's fields, and their lines in the table of methods. */
#define SM_GETTER(type, field, value)                                                                                          \
    static value get_##field(id self, SEL cmd)                                                                                 \
    {                                                                                                                          \
        (void)cmd;                                                                                                             \
        return ((type *)self)->field;                                                                                          \
    }
#define SM_ACCESSORS(type, field, value)                                                                                       \
    SM_GETTER(type, field, value)                                                                                              \
    static void set_##field(id self, SEL cmd, value given)                                                                     \
    {                                                                                                                          \
        (void)cmd;                                                                                                             \
        ((type *)self)->field = given;                                                                                         \
    }
#define SM_OBJECT_ACCESSORS(type, field, store)                                                                                \
    SM_GETTER(type, field, id)                                                                                                 \
    static void set_##field(id self, SEL cmd, id given)                                                                        \
    {                                                                                                                          \
        (void)cmd;                                                                                                             \
        store(&((type *)self)->field, given);                                                                                  \
    }
#define SM_PROPERTY(getter, setter, code, field)                                                                               \
    SM_METHOD(getter, code "@:", get_##field), SM_METHOD(setter, "v@:" code, set_##field)

#define SM_COUNT(array) (sizeof(array) / sizeof *(array))

extern sm_class sm_device_class, sm_device_maker_class, sm_queue_class, sm_command_buffer_class, sm_command_encoder_class,
    sm_compute_encoder_class, sm_blit_encoder_class, sm_allocation_class, sm_resource_class, sm_buffer_class, sm_heap_class,
    sm_library_class, sm_function_class, sm_function_constant_class, sm_constant_values_class, sm_function_descriptor_class,
    sm_compile_options_class, sm_pipeline_class, sm_pipeline_descriptor_class, sm_reflection_class, sm_archive_class,
    sm_archive_descriptor_class, sm_event_class, sm_shared_event_class, sm_listener_class, sm_fence_class, sm_counter_set_class,
    sm_sample_buffer_class, sm_sample_descriptor_class, sm_residency_set_class, sm_residency_descriptor_class,
    sm_queue_descriptor_class, sm_command_buffer_descriptor_class, sm_heap_descriptor_class, sm_compute_pass_class,
    sm_blit_pass_class, sm_encoder_info_class;

/* ---- Device --------------------------------------------------------------------------------------------------------- */

struct sm_device {
    sm_object object;
    softmetal_world world; /* its device_name is the device's own */
    sm_executor *executor;
    pthread_mutex_t executing; /* the executor takes one dispatch at a time */
    uint64_t number;           /* which of this process's; the registry ID */
    _Atomic uint64_t allocated;
    _Atomic bool removed;
    BOOL maximizes; /* compiles many at once; kept as set */
};

/* The next MTLCreateSystemDefaultDevice makes a new one. */
void sm_forget_default_device(void);
/* The world of devices that are made now. Its name is a copy, to be freed. */
softmetal_world sm_world_now(void);
/* True if removed: then nothing more is done. */
bool sm_device_is_removed(const sm_device *device);
void sm_device_remove(sm_device *device);

/* ---- Faults --------------------------------------------------------------------------------------------------------- */

typedef struct sm_outcome {
    char domain[96];
    int64_t code;
    char text[512];
} sm_outcome;

/* Counts an event of this kind; true if it is to fail. Then *outcome says how (may be NULL). */
bool sm_fault(softmetal_fault_kind kind, sm_outcome *outcome);
/* The same, and fills *error. */
bool sm_fault_error(softmetal_fault_kind kind, id *error);
/* What the system's log and NSError say for a code of MTLCommandBufferErrorDomain. */
const char *sm_command_error_text(int64_t code);
/* The NSError of a command buffer; `encoders` is an NSArray or nil. */
id sm_command_error_create(const sm_outcome *outcome, id encoders);
/* Its localized description. */
const char *sm_error_text(id error);
/* Returns when softmetal_release_hangs is called. */
void sm_hang(void);
/* Part of softmetal_reset. */
void sm_faults_reset(void);

/* ---- Memory --------------------------------------------------------------------------------------------------------- */

/* Memory of one buffer, or of the buffers of a placement heap. */
typedef struct sm_storage {
    sm_memory memory;
    atomic_int references;
    sm_device *device;      /* retained */
    void *deallocator;      /* a block of the host's, or NULL */
    void *host;             /* newBufferWithBytesNoCopy's */
    struct sm_text *labels; /* memory.label points to the first; older ones may still be read by a dispatch */
    bool closes;            /* to the CPU, while in flight */
    bool apart;             /* the CPU has a copy of its own: managed, of a discrete device */
    bool shared;            /* by the buffers of a placement heap */
} sm_storage;

sm_storage *sm_storage_create(sm_device *device, uint64_t bytes, NSUInteger mode);
sm_storage *sm_storage_import(sm_device *device, void *host, uint64_t bytes, id deallocator);
sm_storage *sm_storage_retain(sm_storage *storage);
void sm_storage_release(sm_storage *storage);
sm_storage *sm_storage_of(const sm_memory *memory);
void sm_storage_name(sm_storage *storage, const char *label);
uint64_t sm_page(void);
uint64_t sm_pages(uint64_t bytes); /* rounded up to whole pages */

typedef struct sm_heap sm_heap;

typedef struct sm_buffer {
    sm_base base;
    sm_storage *storage;
    uint64_t offset, length; /* in the storage */
    NSUInteger options;
    sm_heap *heap; /* retained, or NULL */
    uint64_t heap_offset, heap_bytes;
    bool aliasable;
    NSUInteger purgeable; /* MTLPurgeableState */
} sm_buffer;

id sm_buffer_create(sm_device *device, uint64_t length, NSUInteger options, const void *bytes);
id sm_buffer_wrap(sm_device *device, sm_storage *storage, uint64_t offset, uint64_t length, NSUInteger options);
/* True if the length may be had; else it is reported where Metal would complain. */
bool sm_buffer_length_fits(sm_device *device, uint64_t length, const char *where);
uint64_t sm_heap_align(uint64_t bytes);
void sm_heap_give_back(sm_heap *heap, uint64_t offset, uint64_t bytes);
/* A buffer of an automatic heap is about to end. */
void sm_heap_forget(sm_heap *heap, const sm_storage *storage);
id sm_heap_create(sm_device *device, id descriptor);
uint64_t sm_heap_size(const sm_heap *heap);
/* Calls `visit` for the storages of a resource or heap. */
void sm_each_storage(id allocation, void (*visit)(sm_storage *storage, void *context), void *context);

/* ---- Functions and pipelines ---------------------------------------------------------------------------------------- */

typedef struct sm_library {
    sm_base base;
    sm_msl_library *msl;
    uint64_t key[2]; /* a hash of the text and all that it is compiled with */
    NSInteger type;
} sm_library;

id sm_library_create(sm_device *device, id source, id options, id *error);

enum { SM_MATH_SAFE, SM_MATH_RELAXED, SM_MATH_FAST }; /* MTLMathMode */
#define SM_LANGUAGE_NEWEST (3 << 16 | 2)

typedef struct sm_compile_options {
    sm_object object;
    NSInteger mathMode, mathFunctions, libraryType, optimizationLevel, visibility;
    NSUInteger languageVersion, maxThreads;
    BOOL invariance, undefined, logging;
    sm_size required;
    id macros, libraries, installName;
} sm_compile_options;

typedef struct sm_constant_values {
    sm_object object;
    sm_constant_value *values; /* those by name have a name of their own */
    size_t count;
} sm_constant_values;

id sm_constant_values_copy(id values);
bool sm_constant_values_take(const sm_constant_values *from, sm_constant_value **values, size_t *count);
void sm_constant_values_free(sm_constant_value *values, size_t count);

typedef struct sm_function {
    sm_base base;
    sm_library *library; /* retained */
    char *name;          /* in the library */
    id shown;            /* NSString: its name, or the specialised one */
    sm_constant_value *values;
    size_t value_count;
    bool specialised;
    NSUInteger options;
    uint64_t key[2]; /* of the library, the name and the values */
} sm_function;

/* Specialised where there are values; `shown` is the name it gets then, or nil. */
id sm_function_create(sm_library *library, id name, id values, id shown, NSUInteger options, id *error);

typedef struct sm_function_descriptor {
    sm_object object;
    id name, specializedName, constantValues, binaryArchives;
    NSUInteger options;
} sm_function_descriptor;

typedef struct sm_pipeline {
    sm_base base;
    char *name;
    sm_built built;
    uint32_t max_threads; /* of a threadgroup */
    BOOL whole_simdgroups, indirect;
    NSInteger validation;
    sm_size required;
} sm_pipeline;

id sm_pipeline_create(sm_device *device, id function, id descriptor, NSUInteger options, id *reflection, id *error);
id sm_reflection_create(const sm_pipeline *pipeline);
const char *sm_driver_domain(const sm_device *device);

typedef struct sm_archive_descriptor {
    sm_object object;
    id url;
} sm_archive_descriptor;

id sm_archive_create(sm_device *device, id descriptor, id *error);
bool sm_archive_has(id archive, const uint64_t key[2]);
id sm_descriptor_function(id pipeline_descriptor);

/* ---- Queues and events ---------------------------------------------------------------------------------------------- */

typedef struct sm_line sm_line; /* line.c */

typedef struct sm_queue {
    sm_base base;
    sm_line *line;
    id *residency_sets; /* retained */
    size_t residency_count;
    pthread_mutex_t mutex; /* over the sets */
} sm_queue;

id sm_queue_create(sm_device *device, NSUInteger limit);

typedef struct sm_event {
    sm_base base;
    uint64_t value; /* under the one lock of all events */
    struct sm_notice *notices;
} sm_event;

id sm_event_create(sm_device *device, bool shared);
void sm_event_signal(sm_event *event, uint64_t value);
typedef enum sm_waited { SM_WAITED, SM_WAIT_REMOVED, SM_WAIT_TOO_LONG } sm_waited;

/* Waits on the GPU's side, as long as the device is there and the world's time limit allows. */
sm_waited sm_event_wait(sm_device *device, sm_event *event, uint64_t value);
void sm_events_wake(void);
void sm_events_working(int change); /* a command buffer begins (1), or ends (-1), to do something */

/* ---- Counter samples ------------------------------------------------------------------------------------------------ */

typedef struct sm_sample_buffer {
    sm_base base;
    size_t count, words; /* of a sample: 1, a time, or SM_STATISTICS */
    uint64_t *samples;   /* nanoseconds of this machine's monotonic clock; SM_NO_SAMPLE: none taken */
} sm_sample_buffer;

#define SM_STATISTICS 8 /* counters of MTLCounterResultStatistic; the last one is of kernels' threads */

#define SM_NO_SAMPLE UINT64_MAX /* MTLCounterErrorValue */

id sm_counter_sets(const sm_device *device);
bool sm_samples_dispatches(const sm_device *device);
void sm_sample_take(sm_sample_buffer *buffer, size_t index);
id sm_sample_buffer_create(sm_device *device, id descriptor, id *error);
uint64_t sm_nanoseconds(void);
struct timespec sm_time_in(uint32_t milliseconds); /* of the monotonic clock */

/* What a pass descriptor asks for at an encoder's start and end. */
typedef struct sm_pass_sample {
    sm_sample_buffer *buffer;
    NSUInteger start, end;
} sm_pass_sample;
#define SM_PASS_SAMPLES 4
#define SM_DO_NOT_SAMPLE UINT64_MAX

typedef struct sm_pass {
    sm_object object;
    NSUInteger dispatchType; /* of compute passes */
    id attachments;
} sm_pass;

sm_pass_sample sm_pass_sample_at(id pass, size_t index);

/* ---- Work that is told to a handler --------------------------------------------------------------------------------- */

typedef struct sm_job {
    void (*run)(struct sm_job *job); /* with an autorelease pool; frees the job */
} sm_job;

/* On a thread of its own, as Metal calls such handlers. */
void sm_job_start(sm_job *job);
/* Something of this library is about to be given back by a thread of its own; leaks are looked for when it was. */
void sm_unsettle(void);
void sm_settle(void);
void sm_wait_settled(void);

/* ---- The rest ------------------------------------------------------------------------------------------------------- */

id sm_residency_set_create(sm_device *device, id descriptor, id *error);

typedef struct sm_queue_descriptor {
    sm_object object;
    NSUInteger maxCommandBufferCount;
    id logState;
} sm_queue_descriptor;

typedef struct sm_command_buffer_descriptor {
    sm_object object;
    BOOL retainedReferences;
    NSUInteger errorOptions;
    id logState;
} sm_command_buffer_descriptor;

typedef struct sm_heap_descriptor {
    sm_object object;
    NSUInteger size, storageMode, cpuCacheMode, hazardTrackingMode;
    NSInteger type, sparsePageSize, compatiblePageSize;
} sm_heap_descriptor;

typedef struct sm_pipeline_descriptor {
    sm_object object;
    id label, function, binaryArchives, preloadedLibraries, insertLibraries, linkedFunctions, stageInput, buffers;
    NSUInteger maxTotalThreads, maxCallStackDepth;
    BOOL whole_simdgroups, indirect, binary_functions;
    NSInteger validation;
    sm_size required;
} sm_pipeline_descriptor;

/* A VALIDATION report of a method. */
void sm_misuse(const char *method, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
