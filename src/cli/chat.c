/* A chat on a terminal: the whole conversation is handed over with each turn, and the engine computes what is new of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

typedef struct chat {
    const cli_settings *settings;
    cli_model *model;
    pv_engine *engine;
    pv_message *messages; /* contents are the chat's own, roles are constants */
    size_t count, capacity;
    bool leaves;
} chat;

/* ---- Messages ---- */

static void add_message(chat *c, const char *role, const char *text, size_t length)
{
    cli_text content = {0};
    cli_add(&content, text, length);
    c->messages = cli_grow(c->messages, &c->capacity, c->count + 1, sizeof *c->messages);
    c->messages[c->count++] = (pv_message){role, content.data};
}

static void drop_messages(chat *c, size_t keep)
{
    while (c->count > keep) free((char *)(uintptr_t)c->messages[--c->count].content);
}

static void start_over(chat *c)
{
    drop_messages(c, 0);
    if (c->settings->system != NULL) add_message(c, "system", c->settings->system, strlen(c->settings->system));
}

/* ---- A turn ---- */

static void print_event(void *user, const pv_event *event)
{
    char *last = user;
    cli_print(event->text, event->text_length);
    if (event->text_length > 0) *last = event->text[event->text_length - 1];
}

static void print_end(const chat *c, const cli_answer *answer)
{
    if (answer->finish == PV_FINISH_CANCELLED) cli_say("stopped");
    if (answer->finish == PV_FINISH_LENGTH)
        cli_say("the answer was cut: %s", c->settings->max_tokens != 0 && answer->generated_tokens >= c->settings->max_tokens
                                              ? "--max-tokens is reached"
                                              : "the context is full; /clear starts over");
    if (c->settings->verbose)
        cli_say("%u prompt tokens (%u from the cache), first token after %.3f s; %u tokens, %.1f tokens/s",
                answer->prompt_tokens, answer->reused_tokens, answer->first_token_seconds, answer->generated_tokens,
                cli_answer_rate(answer));
}

static pv_status answer_turn(chat *c, cli_answer *answer, pv_error *error)
{
    pv_request request;
    int32_t *tokens = NULL;
    size_t count;
    char last = '\n';
    pv_status status = cli_chat_tokens(c->model->model, c->messages, c->count, &tokens, &count, error);
    if (status == PV_OK) {
        cli_request_from(c->settings, &request);
        request.prompt = tokens;
        request.prompt_length = count;
        status = cli_answer_run(c->engine, &request, print_event, &last, answer, error);
    }
    if (last != '\n') cli_print("\n", 1);
    cli_flush();
    free(tokens);
    return status;
}

/* A turn that fails leaves the conversation as it was. */
static void say_to_model(chat *c, const char *text)
{
    pv_error error;
    cli_answer answer = {0};
    size_t before = c->count;
    add_message(c, "user", text, strlen(text));
    cli_interrupted();
    pv_status status = answer_turn(c, &answer, &error);
    cli_interrupted();
    if (status == PV_OK) {
        add_message(c, "assistant", answer.text.data, answer.text.length);
        print_end(c, &answer);
    } else {
        drop_messages(c, before);
        cli_say("%s%s", error.message, status == PV_CONTEXT_FULL ? "; /clear starts over" : "");
    }
    cli_answer_free(&answer);
}

/* ---- Commands ---- */

static void do_help(chat *c);

static void do_clear(chat *c)
{
    start_over(c);
    cli_say("a new conversation");
}

static void do_exit(chat *c)
{
    c->leaves = true;
}

static const struct {
    const char *name, *help;
    void (*run)(chat *c);
} commands[] = {
    {"/help", "this text", do_help},
    {"/clear", "forget the conversation", do_clear},
    {"/exit", "leave", do_exit},
    {"/bye", "leave", do_exit},
};

static void do_help(chat *c)
{
    (void)c;
    for (size_t i = 0; i < CLI_COUNT(commands); i++) fprintf(stderr, "  %-8s %s\n", commands[i].name, commands[i].help);
    fputs("  \"\"\"      begins and ends a message of several lines\n"
          "  Ctrl-C   ends an answer; twice at an empty prompt leaves, as does Ctrl-D\n",
          stderr);
}

static void obey(chat *c, const char *line)
{
    size_t length = strcspn(line, " \t");
    for (size_t i = 0; i < CLI_COUNT(commands); i++)
        if (strlen(commands[i].name) == length && strncmp(commands[i].name, line, length) == 0) {
            commands[i].run(c);
            return;
        }
    cli_say("unknown command '%s'; /help shows what there is", line);
}

/* ---- Reading ---- */

typedef struct reader {
    cli_editor *editor;
    cli_text message;
    bool several_lines; /* between """ and """ */
    bool hinted;        /* Ctrl-C once at an empty prompt */
} reader;

static void take_line(chat *c, reader *r, const char *line)
{
    static const char mark[] = "\"\"\"";
    size_t length = strlen(line);
    bool ends = length >= 3 && strcmp(line + length - 3, mark) == 0;
    if (!r->several_lines && strncmp(line, mark, 3) == 0 && (length < 6 || !ends)) {
        r->several_lines = true;
        r->message.length = 0;
        if (length > 3) cli_add_format(&r->message, "%s\n", line + 3);
        return;
    }
    if (r->several_lines) {
        cli_add(&r->message, line, ends ? length - 3 : length);
        if (!ends) cli_add(&r->message, "\n", 1);
        if (!ends) return;
        r->several_lines = false;
        say_to_model(c, r->message.data);
    } else if (length >= 6 && ends && strncmp(line, mark, 3) == 0) {
        r->message.length = 0;
        cli_add(&r->message, line + 3, length - 6);
        say_to_model(c, r->message.data);
    } else if (line[0] == '/') {
        obey(c, line);
    } else if (line[strspn(line, " \t")] != '\0') {
        say_to_model(c, line);
    }
}

static void take_interrupt(chat *c, reader *r, bool empty)
{
    bool nothing = empty && !r->several_lines;
    r->several_lines = false;
    if (nothing && r->hinted) {
        c->leaves = true;
    } else if (nothing) {
        cli_say("Ctrl-C again or Ctrl-D leaves");
        r->hinted = true;
    }
}

static void converse(chat *c, reader *r)
{
    cli_interrupt_listens();
    while (!c->leaves) {
        const char *line;
        switch (cli_editor_read(r->editor, r->several_lines, &line)) {
        case CLI_LINE_TEXT:
            r->hinted = false;
            take_line(c, r, line);
            break;
        case CLI_LINE_INTERRUPT: take_interrupt(c, r, false); break;
        case CLI_LINE_INTERRUPT_EMPTY: take_interrupt(c, r, true); break;
        case CLI_LINE_END:
            fputc('\n', stderr);
            c->leaves = true;
            break;
        }
        if (!cli_flush()) c->leaves = true;
    }
}

/* ---- The chat ---- */

static pv_status check_template(const chat *c, pv_error *error)
{
    int32_t *tokens;
    size_t count;
    const pv_message hello = {"user", "hello"};
    pv_status status = cli_chat_tokens(c->model->model, &hello, 1, &tokens, &count, error);
    if (status == PV_OK) free(tokens);
    return status;
}

int cli_chat(const cli_settings *settings, cli_model *model)
{
    pv_error error;
    chat c = {.settings = settings, .model = model};
    bool color = cli_has_color(STDERR_FILENO);
    reader r = {0};
    int code = CLI_DONE;
    pv_status status = check_template(&c, &error);
    if (status == PV_OK) status = pv_engine_create(model->model, NULL, &c.engine, &error);
    if (status == PV_OK) {
        cli_terminal_keep();
        /* \1 encloses what takes no room on the line */
        r.editor = cli_editor_create(color ? "\1\033[1m\1>>> \1\033[0m\1" : ">>> ", "... ");
        if (r.editor == NULL) status = cli_error(&error, PV_IO, "the terminal cannot be used for a chat");
    }
    if (status == PV_OK) {
        start_over(&c);
        if (!settings->quiet) cli_say("%s, context %u tokens; /help shows the commands", model->info.name, model->info.context);
        converse(&c, &r);
    } else {
        code = cli_fail(settings, "run", &error);
    }
    cli_editor_destroy(r.editor);
    pv_engine_destroy(c.engine);
    drop_messages(&c, 0);
    free(c.messages);
    free(r.message.data);
    return code;
}
