/* The command `pensieve`. It includes nothing of the library but the public header.
 *
 * A verb is a function from settings to an exit code. Standard output carries the answer or JSON and nothing else; everything
 * said to a person goes to standard error. The environment is read in environment.c and nowhere else. */
#ifndef PENSIEVE_CLI_H
#define PENSIEVE_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pensieve.h"

#if defined(__GNUC__) || defined(__clang__)
#define CLI_PRINTF(format_index, first) __attribute__((format(printf, format_index, first)))
#else
#define CLI_PRINTF(format_index, first)
#endif

#define CLI_COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum {
    CLI_DONE = 0,
    CLI_FAILURE = 1,
    CLI_USAGE = 2,
    CLI_ENVIRONMENT = 3, /* a device, file, package or permission is missing */
    CLI_REFUSED = 4,     /* the model */
    CLI_MEMORY = 5,
    CLI_INTERRUPTED = 130,
};

/* exit_codes.c */
int cli_exit_code(const pv_error *error);

#define CLI_MAX_WORDS 8
#define CLI_MAX_STOPS 16
#define CLI_MAX_LIST 16

typedef struct cli_list {
    uint32_t value[CLI_MAX_LIST], second[CLI_MAX_LIST]; /* second: of a pair "512,128" */
    size_t count;
} cli_list;

typedef struct cli_texts {
    const char *text[CLI_MAX_STOPS];
    size_t count;
} cli_texts;

/* What the command line says; see the table in options.c. Zero or NULL: not given. */
typedef struct cli_settings {
    const char *words[CLI_MAX_WORDS]; /* what is no option */
    size_t word_count;
    bool help, version, json, quiet, verbose, raw, ignore_end, no_warmup, tensors, no_bos, special, decode, validate, repack;
    const char *model, *prompt, *device, *gpu_layers, *load, *kv, *system, *logits, *profile, *format, *architecture, *shape,
        *layout;
    uint32_t context, max_tokens, threads, top_k, repetitions, step_rows, size, bits, group;
    uint64_t seed;
    float temperature, top_p, min_p, repeat_penalty;
    cli_texts stops;
    cli_list prompts, generations, depths, thread_list, pairs;
} cli_settings;

typedef struct cli_verb {
    const char *name, *arguments, *summary, *notes;
    uint32_t bit;       /* in the table of options */
    size_t least, most; /* words */
    int (*run)(const cli_settings *settings);
} cli_verb;

int cli_run(const cli_settings *settings);
int cli_bench(const cli_settings *settings);
int cli_inspect(const cli_settings *settings);
int cli_devices(const cli_settings *settings);
int cli_tokenize(const cli_settings *settings);
int cli_synth(const cli_settings *settings);
int cli_tune(const cli_settings *settings);
int cli_convert(const cli_settings *settings);
int cli_pull(const cli_settings *settings);
int cli_list_models(const cli_settings *settings);
int cli_remove(const cli_settings *settings);

/* ---- memory.c: the command's own memory; without it the command says so and exits with CLI_MEMORY. */
void *cli_alloc(size_t count, size_t size);
void *cli_grow(void *pointer, size_t *capacity, size_t wanted, size_t size);
char *cli_format(const char *format, ...) CLI_PRINTF(1, 2);
/* Letters of either case are the same. */
bool cli_ends_with(const char *text, const char *end);

typedef struct cli_text {
    char *data; /* NUL-terminated once anything was added */
    size_t length, capacity;
} cli_text;

void cli_add(cli_text *text, const char *bytes, size_t length);
void cli_add_format(cli_text *text, const char *format, ...) CLI_PRINTF(2, 3);

/* ---- messages.c: to standard error. */
/* "pensieve: " and the message. */
void cli_say(const char *format, ...) CLI_PRINTF(1, 2);
/* The same for a misuse, with a hint at --help; returns CLI_USAGE. */
int cli_misuse(const cli_verb *verb, const char *format, ...) CLI_PRINTF(2, 3);
/* The last one as JSON: where options cannot be read, what they ask for is not in settings. */
void cli_print_misuse(const char *verb);
/* Says what failed (and, with --json, prints {"schema", "error"}); returns the exit code. */
int cli_fail(const cli_settings *settings, const char *verb, const pv_error *error);
/* Fills `error` as the library does; returns the status. */
pv_status cli_error(pv_error *error, pv_status status, const char *format, ...) CLI_PRINTF(3, 4);
void cli_log(void *user, pv_log_level level, const char *message);
/* "93.8 MiB" in one of a few static places, good until four more calls. */
const char *cli_bytes_text(uint64_t bytes);

/* ---- output.c: standard output, checked. */
/* Makes sure that descriptors 0 to 2 are open, so that no file takes their place. */
void cli_output_start(void);
void cli_print(const char *bytes, size_t length);
void cli_printf(const char *format, ...) CLI_PRINTF(1, 2);
/* Hands everything to the system; false once anything was lost. */
bool cli_flush(void);
/* The end of the program: `code`, or CLI_FAILURE with a message if output was lost. */
int cli_output_end(int code);

/* ---- terminal.c */
bool cli_is_terminal(int descriptor);
bool cli_has_color(int descriptor); /* a terminal, and NO_COLOR is not set */
/* A line on standard error that is overwritten; only where that is a terminal. */
void cli_progress(const char *what, uint64_t done, uint64_t total);
void cli_progress_end(void);
/* Keeps the terminal's mode; cli_terminal_restore may be called from any thread. */
void cli_terminal_keep(void);
void cli_terminal_restore(void);
double cli_seconds(void); /* since some moment */
int64_t cli_now(void);    /* since 1970 */

/* ---- environment.c */
const char *cli_environment_kernels(void);
bool cli_environment_no_color(void);
bool cli_environment_offline(void);
bool cli_environment_no_progress(void);
bool cli_environment_no_symlinks(void);
const char *cli_environment_endpoint(void); /* of the Hub, without a slash at the end */
const char *cli_environment_token(void);    /* NULL: none */
uint32_t cli_environment_timeout(void);     /* seconds without data */
const char *cli_environment_metal(void);    /* $PENSIEVE_METAL, a library that stands in for Metal; NULL: none */
/* $PENSIEVE_CACHE or what stands for it; "" if there is no home. */
const char *cli_environment_cache(void);
/* The folder that models from the Hub are written to, and the Hub library's own, which is read too (they may be the same). */
const char *cli_environment_hub(void);
const char *cli_environment_huggingface(void);

/* ---- interrupt.c: SIGINT as a value. */
void cli_interrupt_start(void);
/* From here on SIGINT ends the program at once (the state at the start), sets a flag (a second one ends the program), only sets
 * the flag, or sets it and cancels a request. */
void cli_interrupt_exits(void);
void cli_interrupt_flags(void);
void cli_interrupt_listens(void);
void cli_interrupt_cancels(pv_engine *engine, pv_request_id request);
/* How often it came since the last call. */
int cli_interrupted(void);
/* Readable when an interrupt came; for poll(). */
int cli_interrupt_descriptor(void);

/* ---- profile.c */
typedef struct cli_profile cli_profile;
/* A path that ends in .gputrace, which no profile but Metal itself writes. */
bool cli_profile_is_capture(const char *path);
/* NULL for no path and for captures. Errors: PV_NOT_FOUND, PV_IO. */
pv_status cli_profile_open(const char *path, cli_profile **profile, pv_error *error);
void cli_profile_add(void *profile, const pv_timing *timing);
void cli_profile_close(cli_profile *profile);

/* ---- load.c: from MODEL to a loaded model. */
typedef struct cli_model {
    char *path;
    pv_runtime *runtime;
    pv_model *model;
    pv_model_info info;
    cli_profile *profile; /* NULL: none is written */
} cli_model;

/* `profile` takes its timings; NULL: none are taken. */
pv_status cli_runtime(const cli_settings *settings, uint32_t threads, cli_profile *profile, pv_runtime **runtime, pv_error *error);
/* Checks what the options say about a device; NULL for the default. Errors: PV_INVALID_ARGUMENT. */
pv_status cli_device(const cli_settings *settings, const char **device, pv_error *error);
pv_status cli_model_options(const cli_settings *settings, pv_model_options *options, pv_error *error);
/* Resolves MODEL, prints the budget, loads with progress. `threads` 0: the default. */
pv_status cli_load(const cli_settings *settings, const pv_model_options *options, uint32_t threads, cli_model *model,
                   pv_error *error);
void cli_unload(cli_model *model);

/* ---- answer.c: one request from submission to its last event. */
typedef struct cli_answer {
    int32_t *tokens;
    size_t token_count, token_capacity;
    cli_text text;
    cli_text events; /* JSON objects, separated by commas */
    pv_finish finish;
    uint32_t prompt_tokens, reused_tokens, generated_tokens;
    double first_token_seconds, seconds;
    pv_error error;
} cli_answer;

typedef void (*cli_on_event)(void *user, const pv_event *event);

/* Runs `request`; `on_event` (may be NULL) hears TOKEN and FINISHED. Lost output cancels. A failed request fills `error` too.
 */
pv_status cli_answer_run(pv_engine *engine, const pv_request *request, cli_on_event on_event, void *user, cli_answer *answer,
                         pv_error *error);
void cli_answer_free(cli_answer *answer);
const char *cli_finish_name(pv_finish finish);
double cli_answer_rate(const cli_answer *answer); /* tokens a second after the first one */
void cli_request_from(const cli_settings *settings, pv_request *request);
/* Tokens of a chat, or of plain text; *tokens is the caller's to free. */
pv_status cli_chat_tokens(const pv_model *model, const pv_message *messages, size_t count, int32_t **tokens,
                          size_t *token_count, pv_error *error);
pv_status cli_text_tokens(const pv_model *model, const char *text, size_t length, unsigned flags, int32_t **tokens,
                          size_t *token_count, pv_error *error);

/* ---- read_input.c */
/* All of standard input, without one newline at its end. Errors: PV_IO, PV_INVALID_ARGUMENT (over 64 MiB). */
pv_status cli_read_input(cli_text *text, pv_error *error);

/* ---- chat.c */
int cli_chat(const cli_settings *settings, cli_model *model);

/* ---- line_edit.c: one line from a person. */
typedef enum cli_line { CLI_LINE_TEXT, CLI_LINE_INTERRUPT, CLI_LINE_INTERRUPT_EMPTY, CLI_LINE_END } cli_line;
typedef struct cli_editor cli_editor;
cli_editor *cli_editor_create(const char *prompt, const char *more_prompt);
void cli_editor_destroy(cli_editor *editor);
/* `more`: the line goes on. The text has no newline and lives until the next call. */
cli_line cli_editor_read(cli_editor *editor, bool more, const char **text);

#endif
