/* One answer: from the prompt to standard output. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "json_out.h"

/* ---- Logits: a row of f32 for each position run, in the machine's byte order ---- */

typedef struct logits_file {
    const char *path;
    int descriptor;
    int failed; /* errno */
} logits_file;

static pv_status open_logits(const char *path, logits_file *file, pv_error *error)
{
    *file = (logits_file){.path = path, .descriptor = -1};
    if (path == NULL) return PV_OK;
    file->descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file->descriptor >= 0) return PV_OK;
    int code = errno;
    pv_status status = code == ENOENT || code == ENOTDIR ? PV_NOT_FOUND : PV_IO;
    cli_error(error, status, "cannot write %s: %s", path, strerror(code));
    error->backend_code = code;
    return status;
}

/* By position: a step that is run again after a fault writes the same place. */
static void write_row(logits_file *file, const float *logits, size_t vocabulary, uint32_t position)
{
    const char *bytes = (const char *)logits;
    size_t size = vocabulary * sizeof *logits;
    off_t offset = (off_t)position * (off_t)size;
    for (size_t done = 0; done < size && file->failed == 0;) {
        ssize_t put = pwrite(file->descriptor, bytes + done, size - done, offset + (off_t)done);
        if (put > 0)
            done += (size_t)put;
        else if (put == 0 || errno != EINTR)
            file->failed = put == 0 ? EIO : errno;
    }
}

static pv_status close_logits(logits_file *file, pv_status status, pv_error *error)
{
    if (file->descriptor >= 0 && close(file->descriptor) != 0 && file->failed == 0) file->failed = errno;
    if (file->failed != 0 && status == PV_OK)
        status = cli_error(error, PV_IO, "cannot write %s: %s", file->path, strerror(file->failed));
    return status;
}

/* ---- What is printed ---- */

typedef struct printer {
    const cli_settings *settings;
    logits_file logits;
    char last; /* byte printed */
} printer;

static int32_t on_logits(void *user, const float *logits, size_t vocabulary, uint32_t position)
{
    printer *p = user;
    write_row(&p->logits, logits, vocabulary, position);
    return PV_SAMPLE;
}

static void print_event(void *user, const pv_event *event)
{
    printer *p = user;
    if (!p->settings->json) {
        cli_print(event->text, event->text_length);
        if (event->text_length > 0) p->last = event->text[event->text_length - 1];
        return;
    }
    bool token = event->kind == PV_EVENT_TOKEN;
    if (!token && event->text_length == 0) return; /* at the end there may be text that waited for more */
    cli_json json = cli_json_start("run");
    cli_json_name(&json, "token");
    if (token)
        cli_json_int(&json, event->token);
    else
        cli_json_verbatim(&json, "null", 4);
    cli_json_name(&json, "text");
    cli_json_string(&json, event->text, event->text_length);
    if (token) cli_json_number_member(&json, "logprob", event->logprob);
    cli_json_print(&json);
}

static void print_final(const cli_model *model, const cli_answer *answer, pv_status status, const pv_error *error)
{
    pv_model_info info = model->info;
    pv_model_get_info(model->model, &info, NULL); /* the device may be another one by now */
    cli_json json = cli_json_start("run");
    cli_json_name(&json, "token_ids");
    cli_json_open(&json, '[');
    for (size_t i = 0; i < answer->token_count; i++) cli_json_int(&json, answer->tokens[i]);
    cli_json_close(&json, ']');
    cli_json_name(&json, "text");
    cli_json_string(&json, answer->text.data, answer->text.length);
    cli_json_text_member(&json, "finish_reason", status == PV_OK ? cli_finish_name(answer->finish) : "error");
    cli_json_uint_member(&json, "prompt_tokens", answer->prompt_tokens);
    cli_json_uint_member(&json, "tokens", answer->token_count);
    cli_json_number_member(&json, "ttft_s", answer->first_token_seconds);
    cli_json_number_member(&json, "tok_s", cli_answer_rate(answer));
    cli_json_text_member(&json, "device", info.device);
    cli_json_name(&json, "events");
    cli_json_open(&json, '[');
    cli_json_verbatim(&json, answer->events.data, answer->events.length);
    cli_json_close(&json, ']');
    if (status != PV_OK) cli_json_error(&json, error);
    cli_json_print(&json);
}

static void print_timings(const cli_answer *answer)
{
    double ttft = answer->first_token_seconds;
    cli_say(
        "%u prompt tokens (%u from the cache), first token after %.3f s (%.1f tokens/s); %zu tokens, %.1f tokens/s; end: %s",
        answer->prompt_tokens, answer->reused_tokens, ttft,
        ttft > 0 ? (double)(answer->prompt_tokens - answer->reused_tokens) / ttft : 0.0, answer->token_count,
        cli_answer_rate(answer), cli_finish_name(answer->finish));
}

/* ---- The prompt ---- */

typedef struct run_prompt {
    cli_text text;
    int32_t *tokens;
    size_t count;
} run_prompt;

static pv_status read_prompt(const cli_settings *settings, run_prompt *prompt, pv_error *error)
{
    const char *given = settings->prompt != NULL ? settings->prompt : settings->words[0];
    if (given != NULL && strcmp(given, "-") != 0) {
        cli_add(&prompt->text, given, strlen(given));
    } else {
        pv_status status = cli_read_input(&prompt->text, error);
        if (status != PV_OK) return status;
    }
    if (prompt->text.length == 0) return cli_error(error, PV_INVALID_ARGUMENT, "the prompt is empty");
    if (!settings->raw && strlen(prompt->text.data) != prompt->text.length)
        return cli_error(error, PV_INVALID_ARGUMENT, "the prompt holds a NUL byte at offset %zu; only --raw takes such",
                         strlen(prompt->text.data));
    return PV_OK;
}

static pv_status tokenize_chat(const cli_settings *settings, const cli_model *model, run_prompt *prompt, pv_error *error)
{
    pv_message messages[2];
    size_t count = 0;
    if (settings->system != NULL) messages[count++] = (pv_message){"system", settings->system};
    messages[count++] = (pv_message){"user", prompt->text.data};
    return cli_chat_tokens(model->model, messages, count, &prompt->tokens, &prompt->count, error);
}

static pv_status tokenize_prompt(const cli_settings *settings, const cli_model *model, run_prompt *prompt, pv_error *error)
{
    if (!settings->raw) {
        pv_status status = tokenize_chat(settings, model, prompt, error);
        /* A base model has no template; a template that does not work is an error. */
        if (status != PV_UNSUPPORTED || settings->system != NULL) return status;
        if (!settings->quiet)
            cli_say("%s has no chat template: it goes on from the prompt as it is, as with --raw", model->info.name);
    }
    return cli_text_tokens(model->model, prompt->text.data, prompt->text.length, PV_TOKENIZE_BOS | PV_TOKENIZE_SPECIAL,
                           &prompt->tokens, &prompt->count, error);
}

/* ---- The verb ---- */

static pv_status generate(const cli_settings *settings, const cli_model *model, const run_prompt *prompt, cli_answer *answer,
                          pv_error *error)
{
    pv_engine *engine = NULL;
    pv_request request;
    printer p = {.settings = settings};
    pv_status status = open_logits(settings->logits, &p.logits, error);
    if (status == PV_OK) status = pv_engine_create(model->model, NULL, &engine, error);
    if (status == PV_OK) {
        cli_request_from(settings, &request);
        request.prompt = prompt->tokens;
        request.prompt_length = prompt->count;
        request.user = &p;
        request.on_logits = settings->logits != NULL ? on_logits : NULL;
        request.every_position = settings->logits != NULL;
        status = cli_answer_run(engine, &request, print_event, &p, answer, error);
    }
    if (p.last != '\0' && p.last != '\n') cli_print("\n", 1);
    pv_engine_destroy(engine);
    return close_logits(&p.logits, status, error);
}

static int answer_prompt(const cli_settings *settings, cli_model *model, run_prompt *prompt)
{
    pv_error error;
    cli_answer answer = {0};
    pv_status status = tokenize_prompt(settings, model, prompt, &error);
    if (status == PV_OK) status = generate(settings, model, prompt, &answer, &error);
    int code = CLI_DONE;
    if (status != PV_OK && answer.token_count == 0)
        code = cli_fail(settings, "run", &error);
    else {
        if (status != PV_OK) cli_say("%s", error.message);
        if (settings->json) print_final(model, &answer, status, &error);
        if (settings->verbose) print_timings(&answer);
        code = status != PV_OK ? cli_exit_code(&error) : answer.finish == PV_FINISH_CANCELLED ? CLI_INTERRUPTED : CLI_DONE;
    }
    cli_answer_free(&answer);
    return code;
}

static int check_settings(const cli_settings *settings, pv_error *error)
{
    if (settings->prompt != NULL && settings->word_count > 0)
        return cli_error(error, PV_INVALID_ARGUMENT, "the prompt is given twice: '%s' and '%s'", settings->prompt,
                         settings->words[0]);
    if (settings->raw && settings->system != NULL)
        return cli_error(error, PV_INVALID_ARGUMENT, "--system needs the chat template that --raw leaves out");
    return PV_OK;
}

int cli_run(const cli_settings *settings)
{
    pv_error error;
    cli_model model;
    run_prompt prompt = {0};
    pv_model_options options;
    bool chats = settings->prompt == NULL && settings->word_count == 0 && cli_is_terminal(STDIN_FILENO);
    if (check_settings(settings, &error) != PV_OK) {
        cli_fail(settings, "run", &error);
        return CLI_USAGE;
    }
    if (chats && (settings->json || settings->raw || settings->logits != NULL)) {
        cli_error(&error, PV_INVALID_ARGUMENT, "a chat takes no --json, --raw or --logits; give a prompt");
        return cli_fail(settings, "run", &error);
    }
    pv_status status = cli_model_options(settings, &options, &error);
    if (status == PV_OK && !chats) status = read_prompt(settings, &prompt, &error);
    if (status == PV_OK) status = cli_load(settings, &options, settings->threads, &model, &error);
    int code;
    if (status != PV_OK) {
        code = cli_fail(settings, "run", &error);
    } else {
        code = chats ? cli_chat(settings, &model) : answer_prompt(settings, &model, &prompt);
        cli_unload(&model);
    }
    free(prompt.tokens);
    free(prompt.text.data);
    return code;
}
