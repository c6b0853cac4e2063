#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "json_out.h"

const char *cli_finish_name(pv_finish finish)
{
    static const char *const names[] = {
        [PV_FINISH_NONE] = "error",          [PV_FINISH_STOP] = "stop",   [PV_FINISH_LENGTH] = "length",
        [PV_FINISH_CANCELLED] = "cancelled", [PV_FINISH_ERROR] = "error",
    };
    return (unsigned)finish < CLI_COUNT(names) ? names[finish] : "error";
}

double cli_answer_rate(const cli_answer *answer)
{
    double seconds = answer->seconds - answer->first_token_seconds;
    return answer->token_count > 1 && seconds > 0 ? (double)(answer->token_count - 1) / seconds : 0;
}

void cli_answer_free(cli_answer *answer)
{
    free(answer->tokens);
    free(answer->text.data);
    free(answer->events.data);
    *answer = (cli_answer){0};
}

void cli_request_from(const cli_settings *settings, pv_request *request)
{
    *request = (pv_request){
        .max_tokens = settings->max_tokens,
        .sampling = {.temperature = settings->temperature,
                     .top_k = settings->top_k,
                     .top_p = settings->top_p,
                     .min_p = settings->min_p,
                     .repetition_penalty = settings->repeat_penalty,
                     .seed = settings->seed},
        .stop = settings->stops.text,
        .stop_count = settings->stops.count,
        .ignore_end = settings->ignore_end,
    };
}

/* ---- Tokens ---- */

typedef struct token_source {
    const pv_model *model;
    const pv_message *messages; /* or text */
    size_t count;
    const char *text;
    size_t length;
    unsigned flags;
} token_source;

static pv_status make_tokens(const token_source *source, int32_t *tokens, size_t capacity, size_t *count, pv_error *error)
{
    pv_chat_options chat = {.now = cli_now()};
    if (source->messages != NULL)
        return pv_chat_tokens(source->model, source->messages, source->count, &chat, tokens, capacity, count, error);
    return pv_tokenize(source->model, source->text, source->length, source->flags, tokens, capacity, count, error);
}

static pv_status all_tokens(const token_source *source, int32_t **tokens, size_t *count, pv_error *error)
{
    size_t capacity = 256;
    for (;;) {
        *tokens = cli_alloc(capacity, sizeof **tokens);
        pv_status status = make_tokens(source, *tokens, capacity, count, error);
        if (status == PV_OK && *count <= capacity) return PV_OK;
        free(*tokens);
        *tokens = NULL;
        if (status != PV_OK) return status;
        capacity = *count;
    }
}

pv_status cli_chat_tokens(const pv_model *model, const pv_message *messages, size_t count, int32_t **tokens,
                          size_t *token_count, pv_error *error)
{
    return all_tokens(&(token_source){.model = model, .messages = messages, .count = count}, tokens, token_count, error);
}

pv_status cli_text_tokens(const pv_model *model, const char *text, size_t length, unsigned flags, int32_t **tokens,
                          size_t *token_count, pv_error *error)
{
    return all_tokens(&(token_source){.model = model, .text = text, .length = length, .flags = flags}, tokens, token_count,
                      error);
}

/* ---- Running ---- */

static void note_fault(cli_answer *answer, const pv_error *error)
{
    cli_json json = {0};
    cli_say("fault: %s", error->message);
    cli_json_open(&json, '{');
    cli_json_text_member(&json, "kind", "fault");
    cli_json_text_member(&json, "status", pv_status_name(error->status));
    cli_json_text_member(&json, "message", error->message);
    cli_json_close(&json, '}');
    if (answer->events.length > 0) cli_add(&answer->events, ", ", 2);
    cli_add(&answer->events, json.text.data, json.text.length);
    free(json.text.data);
}

static void note_token(cli_answer *answer, const pv_event *event, double start)
{
    if (answer->token_count == 0) answer->first_token_seconds = cli_seconds() - start;
    answer->tokens = cli_grow(answer->tokens, &answer->token_capacity, answer->token_count + 1, sizeof *answer->tokens);
    answer->tokens[answer->token_count++] = event->token;
    answer->seconds = cli_seconds() - start;
}

/* True once the request has ended. */
static bool hear(cli_answer *answer, const pv_event *event, double start)
{
    if (event->kind == PV_EVENT_TOKEN) note_token(answer, event, start);
    if (event->text_length > 0) cli_add(&answer->text, event->text, event->text_length);
    if (event->kind != PV_EVENT_FINISHED) return false;
    answer->finish = event->finish;
    answer->prompt_tokens = event->prompt_tokens;
    answer->reused_tokens = event->reused_tokens;
    answer->generated_tokens = event->generated_tokens;
    answer->error = event->error;
    return true;
}

pv_status cli_answer_run(pv_engine *engine, const pv_request *request, cli_on_event on_event, void *user, cli_answer *answer,
                         pv_error *error)
{
    pv_request_id id;
    double start = cli_seconds();
    *answer = (cli_answer){.error = {.offset = PV_NO_OFFSET}};
    cli_add(&answer->text, "", 0);
    pv_status status = pv_engine_submit(engine, request, &id, error);
    if (status != PV_OK) return status;
    cli_interrupt_cancels(engine, id);
    for (bool ended = false; !ended && status == PV_OK;) {
        status = pv_engine_step(engine, 1000, NULL, error);
        pv_event event;
        while (pv_engine_next_event(engine, &event)) {
            if (event.kind == PV_EVENT_FAULT) note_fault(answer, &event.error);
            if (event.request != id) continue; /* of the engine, or of a request that failed before its end */
            ended = hear(answer, &event, start) || ended;
            if (on_event != NULL) on_event(user, &event);
        }
        if (!cli_flush()) pv_engine_cancel(engine, id);
        if (ended) status = PV_OK; /* its own end says more than the engine's */
    }
    cli_interrupt_listens();
    if (status != PV_OK) pv_engine_cancel(engine, id); /* a chat goes on with this engine */
    if (status == PV_OK && answer->finish == PV_FINISH_ERROR) {
        *error = answer->error;
        status = error->status;
    }
    return status;
}
