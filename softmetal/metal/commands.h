/* Command buffers and what is recorded in them. */
#ifndef SOFTMETAL_METAL_COMMANDS_H
#define SOFTMETAL_METAL_COMMANDS_H

#include "metal/metal.h"

typedef enum sm_command_kind {
    SM_BEGIN, /* sm_begin_command */
    SM_END,
    SM_DISPATCH, /* sm_dispatch_command */
    SM_BARRIER,  /* sm_barrier_command */
    SM_COPY,     /* sm_copy_command */
    SM_FILL,
    SM_SYNCHRONIZE, /* sm_copy_command: from `to`'s device memory to the CPU's, where they are apart */
    SM_SAMPLE,  /* sm_sample_command */
    SM_RESOLVE, /* sm_copy_command: of samples into a buffer */
    SM_UPDATE_FENCE,
    SM_WAIT_FENCE,
    SM_SIGNAL, /* sm_event_command */
    SM_WAIT,
    SM_REFUSED, /* sm_refused_command: API misuse, at which the GPU would stop */
} sm_command_kind;

typedef struct sm_command {
    struct sm_command *next;
    sm_command_kind kind;
    uint32_t encoder; /* index of the one it was encoded by; UINT32_MAX: between encoders */
} sm_command;

typedef struct sm_begin_command {
    sm_command head;
    NSUInteger type; /* SM_SERIAL, SM_CONCURRENT */
    sm_pass_sample samples[SM_PASS_SAMPLES];
} sm_begin_command;

typedef struct sm_dispatch_command {
    sm_command head;
    sm_pipeline *pipeline;
    sm_dispatch dispatch;
    sm_storage *indirect; /* its counts come from here */
    uint64_t indirect_offset;
} sm_dispatch_command;

/* Without storages: for all memory. */
typedef struct sm_barrier_command {
    sm_command head;
    size_t count;
    sm_storage *storages[];
} sm_barrier_command;

typedef struct sm_copy_command {
    sm_command head;
    sm_storage *from, *to;
    uint64_t from_offset, to_offset, bytes;
    uint8_t value; /* of a fill */
    sm_sample_buffer *samples;
} sm_copy_command;

typedef struct sm_sample_command {
    sm_command head;
    sm_sample_buffer *buffer;
    uint64_t index;
} sm_sample_command;

typedef struct sm_event_command {
    sm_command head;
    sm_event *event;
    uint64_t value;
} sm_event_command;

typedef struct sm_refused_command {
    sm_command head;
    int64_t code;
    char text[];
} sm_refused_command;

/* ---- Command buffer ------------------------------------------------------------------------------------------------- */

/* A set of pointers, in the order in which they came. */
typedef struct sm_set {
    void **items;
    size_t count, capacity;
    uint32_t *slots;
    size_t slot_count;
} sm_set;

/* 1: added; 0: it was there; -1: there is no memory. */
int sm_set_add(sm_set *set, void *item);
void sm_set_free(sm_set *set);

typedef struct sm_chunk sm_chunk;

/* Shared by a command buffer and the line that executes it: a waiter may look at it when the line has let the buffer go. */
typedef struct sm_completion {
    atomic_int references;
    bool scheduled, done; /* with their handlers called; under the line's lock */
} sm_completion;

typedef enum sm_encoder_kind { SM_COMPUTE, SM_BLIT } sm_encoder_kind;

/* MTLCommandEncoderErrorState */
enum { SM_ENCODER_UNKNOWN, SM_ENCODER_COMPLETED, SM_ENCODER_AFFECTED, SM_ENCODER_PENDING, SM_ENCODER_FAULTED };

/* What an error tells about an encoder. */
typedef struct sm_encoder_info {
    sm_object object;
    id label, signposts; /* NSString, NSArray */
    NSInteger errorState;
} sm_encoder_info;

typedef struct sm_handlers {
    void **blocks;
    size_t count;
} sm_handlers;

typedef enum sm_fate { SM_WORKS, SM_FAILS, SM_FAILS_HALFWAY, SM_HANGS, SM_REMOVES } sm_fate;

typedef struct sm_command_buffer {
    sm_base base;
    sm_queue *queue;                /* retained */
    sm_line *line;                  /* a reference */
    struct sm_command_buffer *next; /* in the line */
    bool retains;
    NSUInteger error_options;
    pthread_t creator;

    sm_chunk *chunks;
    sm_command *first, **end;
    uint64_t dispatches;
    sm_set retained;         /* objects */
    sm_set storages;         /* a reference each: what is closed to the CPU, and counts as resident */
    struct sm_encoder *open; /* not retained: it holds the buffer */
    uint32_t encoder_count;
    sm_encoder_info **infos; /* of its encoders, where the host asked for them */
    size_t info_count;
    id log_state;

    /* Under the line's lock from commit on. */
    atomic_int status;
    bool enqueued, committed, counted;
    bool broken; /* no memory for a command */
    sm_handlers scheduled, completed;
    sm_completion *completion;
    id error;
    double gpu_start, gpu_end, kernel_start, kernel_end;
    sm_fate fate;
    sm_outcome outcome; /* of the fault that was drawn for it, or what went wrong */
    uint32_t faulty;    /* encoder, or UINT32_MAX */
} sm_command_buffer;

/* Zeroed memory that lives as long as the commands. NULL: there is none; then the buffer is broken and fails. */
void *sm_command_memory(sm_command_buffer *buffer, size_t bytes);
void *sm_record(sm_command_buffer *buffer, sm_command_kind kind, uint32_t encoder, size_t bytes);
/* The buffer will fail here with this code; `text` is copied. */
void sm_command_refuse(sm_command_buffer *buffer, uint32_t encoder, int64_t code, const char *text);
/* False if there is no memory: the buffer is broken then. */
bool sm_command_retain(sm_command_buffer *buffer, id object);
void sm_command_use(sm_command_buffer *buffer, sm_storage *storage);
/* With unretained references: reports what the host has let go of already. False if there was such. */
bool sm_command_check_owners(const sm_command_buffer *buffer);
void sm_command_buffer_clear(sm_command_buffer *buffer); /* gives back all that the commands hold */
id sm_command_buffer_create(sm_queue *queue, bool retains, NSUInteger error_options, id log_state);
void sm_encoder_orphan(struct sm_encoder *encoder); /* its command buffer was committed without its end */

/* ---- Encoders ------------------------------------------------------------------------------------------------------- */

typedef struct sm_bound {
    sm_buffer *buffer;
    const void *bytes;
    uint64_t offset, length;
} sm_bound;

typedef struct sm_encoder {
    sm_base base;
    sm_command_buffer *buffer; /* retained */
    sm_encoder_kind kind;
    uint32_t index;
    bool ended;
    NSUInteger type;
    size_t groups; /* open debug groups */
    id *signposts; /* NSStrings, where the host asked for what becomes of encoders */
    size_t signpost_count;
    /* compute */
    sm_pipeline *pipeline;
    sm_bound buffers[SM_BUFFERS];
    uint32_t threadgroup[SM_BUFFERS];
} sm_encoder;

id sm_encoder_create(sm_command_buffer *buffer, sm_encoder_kind kind, NSUInteger type, id pass);
/* True if commands may be added; else it was reported. */
bool sm_encoder_open(sm_encoder *encoder, const char *method);
/* Reports, and the command buffer fails here. */
void sm_encoder_refuse(sm_encoder *encoder, int64_t code, const char *method, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* An object of the encoder's device; else it is reported and refused. */
bool sm_encoder_same_device(sm_encoder *encoder, id object, const char *method);
void sm_encoder_barrier(sm_encoder *encoder, const id *resources, size_t count);
void sm_encoder_sample(sm_encoder *encoder, id samples, NSUInteger index, BOOL barrier, const char *method);
void sm_encoder_fence(sm_encoder *encoder, id fence, sm_command_kind kind, const char *method);

/* ---- Execution ------------------------------------------------------------------------------------------------------ */

/* Does the work of a committed buffer on the calling thread. False: buffer->outcome and ->faulty tell what went wrong. */
bool sm_execute(sm_command_buffer *buffer);

/* Of a concurrent encoder: what begins at `first` and may come in any order, up to *end. Puts the dispatches into *list (to be
 * freed) in an order that the barriers between them allow, by `random`. 0: no memory. */
size_t sm_unordered(sm_command *first, sm_command **end, uint64_t *random, sm_dispatch_command ***list);
bool sm_barrier_is_for(const sm_command *barrier, const sm_dispatch_command *dispatch, size_t *storage);

sm_line *sm_line_create(uint64_t limit);
void sm_line_retain(sm_line *line);
void sm_line_release(sm_line *line);
void sm_line_end(sm_line *line); /* its queue is gone */
/* Blocks while the queue has as many uncompleted buffers as it may. */
void sm_line_enter(sm_line *line);
void sm_line_leave(sm_command_buffer *buffer); /* ends without having been committed */
void sm_line_enqueue(sm_command_buffer *buffer);
void sm_line_commit(sm_command_buffer *buffer);
void sm_line_wait(sm_command_buffer *buffer, bool completed);

#endif
