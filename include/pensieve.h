/* Pensieve: runs large language models on the machine in front of you.
 *
 * The whole public interface. Rules that hold for all of it:
 *
 * - Every struct of options may be zero-initialised; zero means the default. Fields called `reserved` stay zero.
 * - Functions that can fail return pv_status. `error` may be NULL; where it is not, it is filled on failure and left alone
 *   on success. Outputs are written on success only, unless a comment says otherwise.
 * - Handles are opaque, made by one function and destroyed by another; destroying NULL does nothing. What was made with a
 *   handle is destroyed before it: engines and sessions, then models, then the runtime. A NULL handle is refused where a
 *   status is returned; elsewhere it does nothing and counts nothing.
 * - Other pointers that are handed in must not be NULL unless a comment says so (`error` always may, `options` everywhere but in
 *   pv_synth), and are needed during the call only.
 * - Strings are UTF-8 and NUL-terminated unless a length stands beside them. Strings that a handle returns live as long as it.
 * - The library never exits, aborts, prints or reads the environment, and has no global state. It starts no threads but the
 *   CPU backend's workers; callbacks run on the thread that called, unless a comment says otherwise.
 * - Thread rule, unless a function says otherwise: different handles may be used from different threads at once; one handle
 *   by one thread at a time. A model is constant after loading and may be shared by any number of threads.
 * - Memory is in bytes, a position in a sequence counts from 0, a token id lies in 0 … vocabulary - 1, -1 is none.
 */
#ifndef PENSIEVE_H
#define PENSIEVE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#define PV_BOOL bool
#else
#include <stdbool.h>
#define PV_BOOL bool
#endif

#if defined(PV_SHARED) && (defined(__GNUC__) || defined(__clang__))
#define PV_API __attribute__((visibility("default")))
#else
#define PV_API
#endif

#define PV_VERSION_MAJOR 0
#define PV_VERSION_MINOR 1
#define PV_VERSION_PATCH 0

/* "0.1.0" */
PV_API const char *pv_version(void);

/* ---- Status and errors ---------------------------------------------------------------------------------------------- */

#define PV_STATUS_LIST(X)                                                                              \
    X(OK, "ok")                                                                                        \
    X(INVALID_ARGUMENT, "invalid argument")                                                            \
    X(OUT_OF_MEMORY, "out of memory")                                                                  \
    X(DOES_NOT_FIT, "does not fit")       /* refused before anything was allocated */                  \
    X(IO, "input/output error")           /* the operating system refused a file operation */          \
    X(NOT_FOUND, "not found")             /* a file, device, shard or name is missing */               \
    X(BAD_FILE, "bad file")               /* the file contradicts its format */                        \
    X(UNSUPPORTED, "unsupported")         /* well-formed, but this build cannot run it */              \
    X(BAD_TEMPLATE, "bad chat template")  /* a chat template is wrong, refuses its input or runs too long */ \
    X(CONTEXT_FULL, "context full")       /* more tokens than the context or the KV cache can hold */  \
    X(CANCELLED, "cancelled")                                                                          \
    X(TIMEOUT, "timed out")                                                                            \
    X(BUSY, "busy")                       /* another thread is inside, or a queue is full */           \
    X(DEVICE_OUT_OF_MEMORY, "device out of memory")                                                    \
    X(DEVICE_TRANSIENT, "transient device failure")                                                    \
    X(DEVICE_LOST, "device lost")                                                                      \
    X(PROGRAM, "program does not compile") /* a device program does not compile or prepare */          \
    X(NON_FINITE, "non-finite logits")                                                                 \
    X(INTERNAL, "internal error")

typedef enum pv_status {
#define PV_STATUS_ENUM(name, text) PV_##name,
    PV_STATUS_LIST(PV_STATUS_ENUM)
#undef PV_STATUS_ENUM
    PV_STATUS_COUNT
} pv_status;

#define PV_NO_OFFSET UINT64_MAX

typedef struct pv_error {
    pv_status status;
    char message[512];    /* names the thing, the value found, the value wanted */
    char op[64];          /* the operation, file or tensor concerned; may be empty */
    uint64_t offset;      /* byte offset in the file concerned, or PV_NO_OFFSET */
    int64_t backend_code; /* the backend's own code, 0 if none */
} pv_error;

/* "bad file" for PV_BAD_FILE. Never NULL. Any thread. */
PV_API const char *pv_status_text(pv_status status);
/* "BAD_FILE" for PV_BAD_FILE. Never NULL. Any thread. */
PV_API const char *pv_status_name(pv_status status);

/* ---- Runtime -------------------------------------------------------------------------------------------------------- */

typedef struct pv_runtime pv_runtime;

/* Takes over all of the library's memory but memory mapped from files and what drivers keep beyond a device's end. `reallocate(user, NULL, n)` allocates n > 0 bytes
 * aligned for any type, `(user, p, n)` resizes, `(user, p, 0)` frees and returns NULL. May be called from any thread. */
typedef struct pv_allocator {
    void *(*reallocate)(void *user, void *pointer, size_t size);
    void *user;
} pv_allocator;

typedef enum pv_log_level { PV_LOG_ERROR, PV_LOG_WARNING, PV_LOG_INFO, PV_LOG_DEBUG } pv_log_level;

/* A stretch of time that something took. Strings live during the call. */
typedef struct pv_timing {
    /* "engine", a device such as "metal:0", "metal:0 ops" where it times each op, "metal:0 dispatches" each kernel */
    const char *track;
    const char *name;         /* "wait", "command buffer", "layer 3 qkv" */
    double begin, end;        /* seconds since some moment, the same for all of a runtime */
    uint32_t rows;            /* of its step; 0: not known */
    double bytes, operations; /* that an op takes at least; 0: not known */
    uint64_t threads;         /* that the device counted; 0: it counts none */
} pv_timing;

typedef struct pv_runtime_options {
    pv_allocator allocator; /* default: the C library's */
    /* Receives messages, a line each without its end. May be called from any thread. Default: silence. */
    void (*log)(void *user, pv_log_level level, const char *message);
    void *log_user;
    const char *cpu_kernels; /* generic, avx2, avx512, neon, dotprod; default: the fastest that the processor has */
    uint32_t threads;        /* of the CPU backend, counting the caller's; default: the processors of this process */
    const char *metal_library; /* a library that stands in for Apple's frameworks (tests); default: those of the system */
    const char *cache;       /* a folder where compiled programs are kept, made when there are some; default: none are */
    /* Receives what took time, on the thread that steps. A device may take longer for it. Default: nothing is measured. */
    void (*trace)(void *user, const pv_timing *timing);
    void *trace_user;
    /* Metal: a file NAME.gputrace that Metal's own capture of the first steps is written to, for Xcode. Default: none is. */
    const char *capture;
    PV_BOOL validate;        /* Metal: every op's results are looked at, NaN and infinities are told to the log; slow */
    uint64_t reserved[2];
} pv_runtime_options;

/* Finds devices. Errors: PV_NOT_FOUND (cpu_kernels names kernels that the processor lacks or that this build does not have),
 * PV_OUT_OF_MEMORY. */
PV_API pv_status pv_runtime_create(const pv_runtime_options *options, pv_runtime **runtime, pv_error *error);
/* All files and models made with it must be destroyed before. */
PV_API void pv_runtime_destroy(pv_runtime *runtime);

typedef struct pv_device_info {
    const char *id;          /* "cpu", "metal:0": what pv_model_options.device takes */
    const char *name;        /* the product's name */
    const char *kernels;     /* the kernels chosen: "avx512" */
    PV_BOOL available;
    const char *reason;      /* why it is not available; "" if it is */
    uint64_t memory_total;   /* bytes */
    uint64_t memory_usable;  /* bytes that a model may take */
    uint32_t threads;        /* CPU only */
} pv_device_info;

PV_API size_t pv_device_count(const pv_runtime *runtime);
/* Errors: PV_INVALID_ARGUMENT (index out of range). Strings live as long as the runtime. */
PV_API pv_status pv_device_get_info(const pv_runtime *runtime, size_t index, pv_device_info *info, pv_error *error);

/* One measurement. Strings live during the call. */
typedef struct pv_tuned {
    const char *name;    /* what was done */
    const char *variant; /* by which kernels */
    double seconds;      /* the best of several */
    PV_BOOL chosen;
} pv_tuned;

typedef struct pv_tune_options {
    uint32_t size; /* rows and columns of the matrices measured with, a multiple of 256; default 4096 */
    void (*report)(void *user, const pv_tuned *tuned); /* may be NULL */
    void *user;
    uint64_t reserved[4];
} pv_tune_options;

/* Measures a device's variants of kernels and keeps the choice in the runtime's cache folder, where models that are loaded from then on
 * find it; nothing is chosen by measuring otherwise. The same text is given as before, up to near ties.
 * Errors: PV_NOT_FOUND (no such device), PV_UNSUPPORTED (it has nothing to choose), PV_INVALID_ARGUMENT (the runtime has no cache
 * folder, a bad size), PV_IO, PV_OUT_OF_MEMORY, PV_DEVICE_*. */
PV_API pv_status pv_device_tune(pv_runtime *runtime, const char *device, const pv_tune_options *options, pv_error *error);

/* ---- Files: looking without loading --------------------------------------------------------------------------------- */

typedef struct pv_file pv_file;

typedef struct pv_tensor_info {
    const char *name;
    const char *layout; /* "F16", "Q4_0": the name in its file's format, also of one that cannot be run */
    uint32_t dims;
    uint64_t dim[4];    /* the slowest varying first; a matrix is [rows, cols] */
    uint64_t bytes;
    uint64_t offset;    /* from the start of its file */
    const char *file;   /* its file's name, without the folder */
} pv_tensor_info;

/* Opens FILE.gguf, FILE.safetensors, or a folder in the Hugging Face layout, and checks its structure.
 * Errors: PV_NOT_FOUND, PV_IO, PV_BAD_FILE, PV_UNSUPPORTED, PV_OUT_OF_MEMORY. */
PV_API pv_status pv_file_open(pv_runtime *runtime, const char *path, pv_file **file, pv_error *error);
PV_API void pv_file_close(pv_file *file);
PV_API size_t pv_file_tensor_count(const pv_file *file);
/* Errors: PV_INVALID_ARGUMENT (index out of range). */
PV_API pv_status pv_file_tensor(const pv_file *file, size_t index, pv_tensor_info *info, pv_error *error);
/* Metadata (GGUF key-values, or the scalars of config.json) as text; long arrays are cut with "…". */
PV_API size_t pv_file_meta_count(const pv_file *file);
/* Errors: PV_INVALID_ARGUMENT (index out of range). */
PV_API pv_status pv_file_meta(const pv_file *file, size_t index, const char **key, const char **value, pv_error *error);
PV_API const char *pv_file_format(const pv_file *file); /* "gguf" or "safetensors" */

/* ---- Models --------------------------------------------------------------------------------------------------------- */

typedef struct pv_model pv_model;

typedef enum pv_load { PV_LOAD_MAP, PV_LOAD_COPY } pv_load;

/* What the KV cache holds keys and values as. 8 bits take 53 % of the memory of f16 and 4 bits 28 %, at heads of 64; both change what the
 * model says a little, 4 bits more than a little. */
typedef enum pv_kv_type { PV_KV_F16, PV_KV_8BIT, PV_KV_4BIT } pv_kv_type;

typedef struct pv_model_options {
    const char *device;     /* an id, "auto" or NULL */
    /* PV_LOAD_MAP: a file truncated by somebody else while it is read raises SIGBUS; PV_LOAD_COPY reads, and gives PV_IO.
     * Files are read while loading, and again when a lost device is replaced. */
    pv_load load;
    PV_BOOL allow_non_finite; /* default: weights that hold NaN or infinities are refused */
    /* Tokens a sequence may hold, prompt and answer; rounded up to a multiple of 32. Default: the model's own, at most 8192. */
    uint32_t context;
    uint32_t max_sequences; /* that run at once; default 8, at most 256 */
    /* For all sequences together; who gets no more of it waits. Default: what one sequence of `context` tokens takes. */
    uint64_t kv_bytes;
    uint32_t max_step_rows; /* tokens one step may run; default 512, at most 2048 */
    PV_BOOL plain_programs; /* use the plainest variant of every kernel */
    PV_BOOL text_only;      /* tokenizer and chat template alone: no weights, and no engine can be made */
    /* Called while loading with bytes done of bytes in all; returning false cancels. */
    PV_BOOL (*progress)(void *user, uint64_t done, uint64_t total);
    void *progress_user;
    pv_kv_type kv_type;     /* default: f16 */
    uint64_t reserved[7];
} pv_model_options;

typedef struct pv_budget {
    uint64_t weights, kv, scratch, other; /* bytes */
    uint64_t total;                       /* their sum */
    uint64_t available;                   /* what the device can keep, less a margin */
    uint32_t context, max_sequences;      /* as they would be used */
    uint32_t context_that_fits;           /* the largest context that would fit, 0 if none */
} pv_budget;

/* What loading would take, computed from the file's headers alone. A model that does not fit is no error here: compare
 * total with available. Errors: as pv_model_load, but never PV_DOES_NOT_FIT. */
PV_API pv_status pv_model_budget(pv_runtime *runtime, const char *path, const pv_model_options *options, pv_budget *budget,
                                 pv_error *error);

/* Loads a model from what pv_file_open opens. Errors: those of pv_file_open; PV_INVALID_ARGUMENT (an option out of range, such
 * as a context beyond the one that the model was trained for); PV_UNSUPPORTED (architecture, layout, tokenizer; named);
 * PV_DOES_NOT_FIT (with numbers and settings that would fit); PV_NOT_FOUND (device, tensor, configuration file);
 * PV_CANCELLED; PV_OUT_OF_MEMORY; PV_DEVICE_*. A chat template that is wrong is told by pv_chat_tokens. */
PV_API pv_status pv_model_load(pv_runtime *runtime, const char *path, const pv_model_options *options, pv_model **model,
                               pv_error *error);
/* Engines and sessions made with it must be destroyed before. */
PV_API void pv_model_destroy(pv_model *model);

typedef struct pv_model_info {
    const char *name, *architecture, *format, *device;
    uint64_t parameters, weight_bytes;
    uint32_t layers, width, heads, kv_heads, head_dim, feed_forward, vocabulary;
    uint32_t context, trained_context;
    int32_t bos; /* -1 if there is none */
    PV_BOOL has_chat_template;
    pv_budget budget;
} pv_model_info;

PV_API pv_status pv_model_get_info(const pv_model *model, pv_model_info *info, pv_error *error);

/* ---- Text ----------------------------------------------------------------------------------------------------------- */

enum {
    PV_TOKENIZE_BOS = 1,     /* begin with the beginning-of-sequence token if the model wants one */
    PV_TOKENIZE_SPECIAL = 2, /* control tokens spelled in the text become tokens instead of text */
};

/* Writes up to `capacity` ids and always the full number to *count, which may be more: compare. `tokens` may be NULL if
 * capacity is 0. Invalid UTF-8 is encoded byte for byte where the tokenizer can. Any thread.
 * Errors: PV_INVALID_ARGUMENT (text too long), PV_UNSUPPORTED (no tokenizer), PV_OUT_OF_MEMORY. */
PV_API pv_status pv_tokenize(const pv_model *model, const char *text, size_t length, unsigned flags, int32_t *tokens,
                             size_t capacity, size_t *count, pv_error *error);

enum {
    PV_DETOKENIZE_SPECIAL = 1,   /* control tokens are written as their text instead of nothing */
    PV_DETOKENIZE_CONTINUES = 2, /* the tokens are no beginning: a space is kept that the tokenizer puts before every text */
};

/* The text that pv_tokenize made the tokens of, if nothing was normalized; of several parts, give PV_DETOKENIZE_CONTINUES for
 * all but the first. Writes up to `capacity` bytes (no NUL) and always the full number to *length, which may be more; `text` may
 * be NULL if capacity is 0. The bytes need not be whole characters.
 * Any thread. Errors: PV_INVALID_ARGUMENT (an id out of range), PV_UNSUPPORTED (no tokenizer), PV_OUT_OF_MEMORY. */
PV_API pv_status pv_detokenize(const pv_model *model, const int32_t *tokens, size_t count, unsigned flags, char *text,
                               size_t capacity, size_t *length, pv_error *error);

typedef struct pv_message {
    const char *role; /* "system", "user", "assistant", "tool", or what else the template knows */
    const char *content;
} pv_message;

typedef struct pv_chat_options {
    PV_BOOL no_generation_prompt; /* default: end with the beginning of an assistant's turn */
    PV_BOOL allow_control;        /* control tokens spelled inside messages become tokens; default: they stay text */
    const char *tools_json;       /* a JSON array given to the template as `tools`, or NULL */
    const char *extra_json;       /* a JSON object of further template variables, or NULL */
    int64_t now;                  /* seconds since 1970 for strftime_now; 0: the template may not ask for the time */
    uint64_t reserved[8];
} pv_chat_options;

/* Renders messages with the model's chat template into tokens, ready to be submitted: a beginning-of-sequence token is there
 * if the model wants one. As pv_tokenize for outputs. Any thread. Errors: PV_INVALID_ARGUMENT (a role or content is no UTF-8),
 * PV_BAD_FILE (tools_json or extra_json is no such JSON), PV_UNSUPPORTED (the model has no template or tokenizer),
 * PV_BAD_TEMPLATE, PV_OUT_OF_MEMORY. */
PV_API pv_status pv_chat_tokens(const pv_model *model, const pv_message *messages, size_t message_count,
                                const pv_chat_options *options, int32_t *tokens, size_t capacity, size_t *count,
                                pv_error *error);
/* The same as text. As pv_detokenize for outputs. */
PV_API pv_status pv_chat_text(const pv_model *model, const pv_message *messages, size_t message_count,
                              const pv_chat_options *options, char *text, size_t capacity, size_t *length, pv_error *error);

/* True if this id ends an answer (end of sequence, end of turn, end of message). */
PV_API PV_BOOL pv_token_ends(const pv_model *model, int32_t token);

/* ---- Engine: many requests at once ---------------------------------------------------------------------------------- */

typedef struct pv_engine pv_engine;

typedef struct pv_engine_options {
    uint32_t max_sequences;  /* that run at once; default and maximum: the model's */
    uint32_t max_step_rows;  /* default and maximum: the model's */
    uint32_t max_waiting;    /* requests that may wait; default 1024 */
    uint32_t pages;          /* KV pages to use, 32 tokens each; default: all of the model's */
    PV_BOOL no_prefix_reuse; /* compute every prompt anew */
    uint32_t steps_ahead;    /* steps enqueued before the first one's tokens are read: 1 or 2; default: the device's choice */
    uint32_t step_timeout_ms; /* a step that takes longer counts as a hung device; default 30000; UINT32_MAX: none does */
    uint64_t reserved[8];
} pv_engine_options;

/* A model has one engine at a time, which owns the model's KV memory; a session is one too. Errors: PV_BUSY (it has one),
 * PV_INVALID_ARGUMENT (an option beyond the model's, or a model loaded with text_only), PV_OUT_OF_MEMORY. */
PV_API pv_status pv_engine_create(pv_model *model, const pv_engine_options *options, pv_engine **engine, pv_error *error);
/* Cancels what runs; waits for the device no longer than step_timeout_ms. Events that were not taken are lost. No other thread
 * may be using the engine. */
PV_API void pv_engine_destroy(pv_engine *engine);

typedef struct pv_token_bias {
    int32_t token;
    float bias; /* added to the logit; -INFINITY forbids */
} pv_token_bias;

/* Order: penalties, bias, temperature, top-k, top-p, min-p. All zero: greedy. */
typedef struct pv_sampling {
    float temperature;        /* 0, and all below 1e-6: greedy */
    uint32_t top_k;           /* 0: off */
    float top_p;              /* 0 or 1: off */
    float min_p;              /* 0: off; relative to the most likely token */
    float repetition_penalty; /* 0 or 1: off; at least 1e-4; divides positive and multiplies negative logits of tokens seen */
    float frequency_penalty;  /* subtracted for each time a token was generated */
    float presence_penalty;   /* subtracted once if a token was generated */
    uint32_t penalty_last;    /* tokens that the repetition penalty looks back at, prompt included; 0: 64 */
    uint64_t seed;            /* the same seed gives the same text whatever else runs */
    const pv_token_bias *bias; /* copied by pv_engine_submit; at most 1024 */
    size_t bias_count;
} pv_sampling;

/* What a logits callback returns to let the engine sample. */
#define PV_SAMPLE (-1)
#define PV_MAX_TOP_LOGPROBS 20

typedef struct pv_request {
    const int32_t *prompt; /* copied */
    size_t prompt_length;  /* at least 1 */
    uint32_t max_tokens;   /* default: until the context is full */
    pv_sampling sampling;
    const char *const *stop; /* strings that end the answer and are left out of it; copied; at most 16 */
    size_t stop_count;
    PV_BOOL ignore_end;      /* go on after end-of-sequence tokens */
    uint32_t top_logprobs;   /* alternatives reported with each token, at most PV_MAX_TOP_LOGPROBS */
    /* Receives logits [vocabulary] inside pv_engine_step, valid during the call: those computed from the token at `position`,
     * which choose the token at position + 1. Returns that token, or PV_SAMPLE (as any other number that is no id does) to let
     * the engine choose. With every_position it is called for all of the prompt's positions, in order, and what it returns for
     * them is ignored but for the last. After a fault, or where pages ran out, a position comes again. It may call those of
     * this engine's functions that any thread may. */
    int32_t (*on_logits)(void *user, const float *logits, size_t vocabulary, uint32_t position);
    PV_BOOL every_position;
    void *user; /* handed to on_logits and found in every event of this request */
    uint64_t reserved[8];
} pv_request;

typedef uint64_t pv_request_id;

/* Queues a request; it runs in later steps. `id` may be NULL; ids are never 0. Any thread. Errors: PV_INVALID_ARGUMENT,
 * PV_CONTEXT_FULL (the prompt leaves no room in the context or could never get enough KV pages), PV_BUSY (max_waiting reached),
 * PV_OUT_OF_MEMORY, PV_DEVICE_* (no device is left). */
PV_API pv_status pv_engine_submit(pv_engine *engine, const pv_request *request, pv_request_id *id, pv_error *error);
/* Ends a request; its PV_EVENT_FINISHED follows from a later pv_engine_step. An unknown or finished id is no error.
 * Acts between steps, and between ops if nothing else shares the step. Any thread. */
PV_API void pv_engine_cancel(pv_engine *engine, pv_request_id id);
/* Makes a pv_engine_step that waits return. Any thread. */
PV_API void pv_engine_wake(pv_engine *engine);

/* Forms and runs one step, or takes up what one gave; then returns, with *active (may be NULL) telling how many requests are
 * waiting or running. Take the events after each call: those of the last requests come with the call that sets it to 0.
 * With nothing to do it waits up to timeout_ms (0: returns at once) for a request, a cancellation or a wake.
 * The only function that touches the device. One caller at a time: PV_BUSY otherwise.
 * Failures of single requests are events, not errors. Errors: PV_DEVICE_*, or PV_IO where a lost device cannot be filled again
 * from the model's files, when the engine cannot go on: all requests have ended, and further calls return it again;
 * PV_OUT_OF_MEMORY: nothing is lost, and the next call goes on. */
PV_API pv_status pv_engine_step(pv_engine *engine, uint32_t timeout_ms, size_t *active, pv_error *error);

typedef enum pv_event_kind {
    PV_EVENT_TOKEN = 1, /* a token was made */
    PV_EVENT_FINISHED,  /* the last event of a request */
    PV_EVENT_FAULT,     /* a fault and what was done about it; concerns the engine: request 0, user NULL */
} pv_event_kind;

typedef enum pv_finish {
    PV_FINISH_NONE,
    PV_FINISH_STOP,      /* an end token or a stop string */
    PV_FINISH_LENGTH,    /* max_tokens or the context */
    PV_FINISH_CANCELLED,
    PV_FINISH_ERROR,     /* see error */
} pv_finish;

typedef struct pv_top_logprob {
    int32_t token;
    float logprob;
} pv_top_logprob;

typedef struct pv_event {
    pv_event_kind kind;
    pv_request_id request;
    void *user;
    int32_t token;    /* TOKEN: its id; else -1 */
    uint32_t position; /* TOKEN: its place in the sequence */
    /* TOKEN: natural logarithm, under the model's own distribution before sampling settings; 0 where on_logits chose another */
    float logprob;
    uint32_t top_count;
    const pv_top_logprob *top; /* TOKEN: the most likely first */
    const char *text; /* TOKEN, FINISHED: text to append to the answer; whole characters, may be empty */
    size_t text_length;
    pv_finish finish;          /* FINISHED */
    uint32_t prompt_tokens;    /* FINISHED: length of the prompt */
    uint32_t reused_tokens;    /* FINISHED: of these, found in the cache */
    uint32_t generated_tokens; /* FINISHED */
    pv_error error;            /* FINISHED with PV_FINISH_ERROR, FAULT: message says what was done */
} pv_event;

/* Takes the oldest event; false if there is none. Pointers in it live until the next pv_engine_step, pv_engine_next_event or
 * pv_engine_destroy. Must not run at the same time as pv_engine_step. */
PV_API PV_BOOL pv_engine_next_event(pv_engine *engine, pv_event *event);

typedef struct pv_engine_stats {
    uint64_t steps, rows, tokens, reused_tokens;
    uint64_t faults, recovered;
    uint32_t running, waiting;
    uint32_t pages, pages_free, pages_cached; /* cached pages hold shared prefixes that nobody uses now */
    uint64_t memory_weights, memory_kv, memory_scratch, memory_peak; /* bytes on the device */
} pv_engine_stats;

/* Same thread rule as pv_engine_step. */
PV_API void pv_engine_get_stats(const pv_engine *engine, pv_engine_stats *stats);

/* ---- Session: one conversation -------------------------------------------------------------------------------------- */

/* A batch of one over the same engine. */
typedef struct pv_session pv_session;

/* Errors: those of pv_engine_create. */
PV_API pv_status pv_session_create(pv_model *model, pv_session **session, pv_error *error);
PV_API void pv_session_destroy(pv_session *session);

/* Called for every token, with the text that became whole with it (which may be empty; no NUL), and once more with token -1 if
 * text is left at the end. Returning false cancels the rest. It must not use the session but to cancel. */
typedef PV_BOOL (*pv_on_text)(void *user, const char *text, size_t length, int32_t token);

typedef struct pv_answer {
    pv_finish finish;
    uint32_t prompt_tokens, reused_tokens, generated_tokens;
    double first_token_seconds; /* from the call to the first token */
    double seconds;             /* of the whole call */
} pv_answer;

/* Runs one request whose prompt is the whole conversation so far; what earlier calls computed of the same beginning is reused.
 * Returns when it has ended; *answer tells how, also on failure. A cancelled answer is PV_OK with PV_FINISH_CANCELLED.
 * `request` as for pv_engine_submit, whose `user` goes to on_logits; `on_text` may be NULL and gets the `user` given here.
 * A failed request returns its error, and the session stays usable.
 * Errors: those of pv_engine_submit and pv_engine_step; PV_NON_FINITE; PV_BUSY (also from inside on_text). */
PV_API pv_status pv_session_generate(pv_session *session, const pv_request *request, pv_on_text on_text, void *user,
                                     pv_answer *answer, pv_error *error);
/* Ends the running pv_session_generate as PV_FINISH_CANCELLED; without one nothing happens. Any thread; safe in a signal
 * handler. */
PV_API void pv_session_cancel(pv_session *session);

/* ---- Synthetic models ----------------------------------------------------------------------------------------------- */

typedef struct pv_synth_options {
    const char *architecture; /* "llama", the default */
    const char *shape;        /* "8b", "1b", "135m", "tiny"; must be given */
    /* Default "F16"; "F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
     * "IQ4_NL", "IQ4_XS", "MXFP4" */
    const char *layout;
    uint64_t seed;
    uint64_t reserved[8];
} pv_synth_options;

/* Writes a model with random weights in a real shape, so that speed can be measured without a download. A path that ends in
 * ".gguf" gets a GGUF file, any other becomes a folder with SafeTensors (dense layouts only). The file appears under its
 * name only when it is complete. Errors: PV_INVALID_ARGUMENT (names what is known), PV_IO, PV_OUT_OF_MEMORY. */
PV_API pv_status pv_synth(pv_runtime *runtime, const pv_synth_options *options, const char *path, pv_error *error);

/* ---- Conversion ----------------------------------------------------------------------------------------------------- */

typedef struct pv_convert_options {
    /* Bits of a code in MLX's affine quantization: 2, 3, 4, 5, 6 or 8. 0: weights stay as they are, in a file whose tensors are
     * aligned, so that a device can use the file's own pages. What is quantized then stands in whole rows, with a layout of Pensieve's
     * that the metadata name: to other readers these tensors are bytes. */
    uint32_t bits;
    uint32_t group; /* weights that share a scale and a bias: 32, 64 or 128; default 64 */
    /* Called while writing with bytes done of bytes in all; returning false cancels. */
    PV_BOOL (*progress)(void *user, uint64_t done, uint64_t total);
    void *progress_user;
    uint64_t reserved[8];
} pv_convert_options;

/* Writes the model at `path` (SafeTensors: a file, or a folder in the Hugging Face layout) to the folder `out`, which is made if it
 * is not there and must be another: config.json, the tokenizer's files, and model.safetensors, which appears under its name only
 * when it is complete; one that stands there already is removed first. With bits, matrices called weight are quantized as MLX reads it, scales and biases being of the weights'
 * type; the others, and those whose columns are no multiple of the group, stay as they are. Takes some MiB of memory whatever the
 * model's size. Errors: PV_INVALID_ARGUMENT (names what is known), PV_UNSUPPORTED (a GGUF file, a model that is quantized already),
 * PV_BAD_FILE (also NaN or infinity in what is to be quantized), PV_NOT_FOUND (also config.json, which has to tell of bits),
 * PV_IO, PV_CANCELLED, PV_OUT_OF_MEMORY. */
PV_API pv_status pv_convert(pv_runtime *runtime, const char *path, const pv_convert_options *options, const char *out,
                            pv_error *error);

#ifdef __cplusplus
}
#endif
#endif
