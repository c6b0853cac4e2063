/* A chat: each line of standard input is a turn, and the model sees all turns before it. What earlier turns computed is found
 * again, so a turn costs only what is new.
 *
 *     example_chat MODEL
 */
#define _POSIX_C_SOURCE 200809L /* getline, strdup */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pensieve.h"

#define MAX_TURNS 64

typedef struct chat {
    const pv_model *model;
    pv_session *session;
    pv_message messages[2 * MAX_TURNS]; /* contents are the chat's own */
    size_t count;
    char *answer; /* as it grows */
    size_t length;
} chat;

static PV_BOOL take_text(void *user, const char *text, size_t length, int32_t token)
{
    chat *c = user;
    char *longer = realloc(c->answer, c->length + length + 1);
    (void)token;
    if (longer == NULL) return false;
    c->answer = longer;
    memcpy(c->answer + c->length, text, length);
    c->length += length;
    c->answer[c->length] = '\0';
    fwrite(text, 1, length, stdout);
    return fflush(stdout) == 0;
}

static void add_message(chat *c, const char *role, char *content)
{
    c->messages[c->count++] = (pv_message){role, content};
}

static pv_status generate(chat *c, pv_answer *result, pv_error *error)
{
    size_t count;
    pv_status status = pv_chat_tokens(c->model, c->messages, c->count, NULL, NULL, 0, &count, error);
    if (status != PV_OK) return status;
    int32_t *tokens = malloc(count * sizeof *tokens);
    if (tokens == NULL) return PV_OUT_OF_MEMORY;
    status = pv_chat_tokens(c->model, c->messages, c->count, NULL, tokens, count, &count, error);
    const pv_request request = {.prompt = tokens, .prompt_length = count, .max_tokens = 128};
    if (status == PV_OK) status = pv_session_generate(c->session, &request, take_text, c, result, error);
    free(tokens);
    return status;
}

/* One turn. `line` becomes the chat's. */
static pv_status turn(chat *c, char *line, pv_error *error)
{
    pv_answer result;
    add_message(c, "user", line);
    c->answer = NULL;
    c->length = 0;
    pv_status status = generate(c, &result, error);
    if (status != PV_OK) {
        free(c->answer);
        return status;
    }
    printf("\n");
    fflush(stdout);
    fprintf(stderr, "(%u of %u prompt tokens were known)\n", result.reused_tokens, result.prompt_tokens);
    add_message(c, "assistant", c->answer != NULL ? c->answer : strdup(""));
    return PV_OK;
}

static pv_status converse(chat *c, pv_error *error)
{
    char *line = NULL;
    size_t room = 0;
    pv_status status = PV_OK;
    while (status == PV_OK && c->count < 2 * MAX_TURNS && getline(&line, &room, stdin) > 0) {
        line[strcspn(line, "\n")] = '\0';
        char *copy = strdup(line);
        status = copy != NULL ? turn(c, copy, error) : PV_OUT_OF_MEMORY;
    }
    free(line);
    return status;
}

int main(int count, char **arguments)
{
    pv_error error = {0};
    pv_runtime *runtime = NULL;
    pv_model *model = NULL;
    static chat c;
    if (count != 2) {
        fprintf(stderr, "usage: %s MODEL\n", arguments[0]);
        return 2;
    }
    pv_status status = pv_runtime_create(NULL, &runtime, &error);
    if (status == PV_OK) status = pv_model_load(runtime, arguments[1], NULL, &model, &error);
    if (status == PV_OK) status = pv_session_create(model, &c.session, &error);
    c.model = model;
    if (status == PV_OK) status = converse(&c, &error);
    if (status != PV_OK) fprintf(stderr, "%s: %s\n", pv_status_text(status), error.message);
    for (size_t i = 0; i < c.count; i++) free((char *)c.messages[i].content);
    pv_session_destroy(c.session);
    pv_model_destroy(model);
    pv_runtime_destroy(runtime);
    return status == PV_OK ? 0 : 1;
}
