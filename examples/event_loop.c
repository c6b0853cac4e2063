/* Inside an event loop. The engine runs on a thread of its own; the loop waits in poll() for what it always waits for, here
 * standard input, and for a pipe through which the engine's thread hands over finished jobs. The loop submits, which any thread
 * may; pv_engine_step and pv_engine_next_event stay with the engine's thread.
 * Each line of standard input is a request; an answer is printed when it is whole, in whatever order they come.
 *
 *     example_event_loop MODEL
 */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pensieve.h"

#define MAX_TOKENS 512

typedef struct job {
    char question[1024], answer[4096];
    size_t length;
} job;

typedef struct loop {
    const pv_model *model;
    pv_engine *engine;
    int pipe[2]; /* of job pointers; NULL: the engine cannot go on */
    unsigned waiting;
    char input[4096]; /* of which `held` bytes are the beginning of a line */
    size_t held;
    atomic_bool leave;
} loop;

/* ---- The engine's thread ---- */

static void hand_over(const loop *l, job *j)
{
    if (write(l->pipe[1], &j, sizeof j) != sizeof j) perror("pipe"); /* less than PIPE_BUF: whole or not at all */
}

static void take(const loop *l, const pv_event *event)
{
    job *j = event->user;
    if (j == NULL) return; /* a fault concerns the engine */
    size_t room = sizeof j->answer - 1 - j->length, length = event->text_length < room ? event->text_length : room;
    memcpy(j->answer + j->length, event->text, length);
    j->length += length;
    if (event->kind == PV_EVENT_FINISHED) hand_over(l, j);
}

static void *run_engine(void *user)
{
    loop *l = user;
    pv_error error;
    pv_status status = PV_OK;
    while (status == PV_OK && !atomic_load(&l->leave)) {
        pv_event event;
        /* a step at a time while there is work, else asleep until somebody submits, cancels or wakes the engine */
        status = pv_engine_step(l->engine, 60000, NULL, &error);
        while (pv_engine_next_event(l->engine, &event)) take(l, &event);
    }
    if (status != PV_OK) {
        fprintf(stderr, "%s\n", error.message);
        hand_over(l, NULL);
    }
    return NULL;
}

/* ---- The loop's thread ---- */

static void submit(loop *l, const char *line)
{
    pv_error error;
    int32_t tokens[MAX_TOKENS];
    size_t count;
    const pv_message message = {"user", line};
    job *j = calloc(1, sizeof *j);
    if (j == NULL) return;
    snprintf(j->question, sizeof j->question, "%s", line);
    pv_status status = pv_chat_tokens(l->model, &message, 1, NULL, tokens, MAX_TOKENS, &count, &error);
    bool fits = status == PV_OK && count <= MAX_TOKENS; /* count tells how many there are, also where they do not fit */
    const pv_request request = {.prompt = tokens, .prompt_length = count, .max_tokens = 32, .user = j};
    if (fits) status = pv_engine_submit(l->engine, &request, NULL, &error);
    if (fits && status == PV_OK) {
        l->waiting++;
        return;
    }
    fprintf(stderr, "%s: %s\n", line, status != PV_OK ? error.message : "too long");
    free(j);
}

static bool finish_job(loop *l)
{
    job *j;
    if (read(l->pipe[0], &j, sizeof j) != sizeof j || j == NULL) return false;
    printf("%s\n  %s\n", j->question, j->answer);
    fflush(stdout);
    free(j);
    l->waiting--;
    return true;
}

/* Submits the whole lines of what was read; the beginning of one stays for the next time. False at the end of the input. */
static bool read_lines(loop *l)
{
    ssize_t got = read(STDIN_FILENO, l->input + l->held, sizeof l->input - 1 - l->held);
    size_t length = l->held + (got > 0 ? (size_t)got : 0);
    char *line = l->input;
    l->input[length] = '\0';
    for (char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        if (line[0] != '\0') submit(l, line);
    }
    bool last = got <= 0 || (line == l->input && length == sizeof l->input - 1); /* a line without an end, or without end */
    if (last && line[0] != '\0') submit(l, line);
    l->held = last ? 0 : strlen(line);
    memmove(l->input, line, l->held);
    return got > 0;
}

static bool run_loop(loop *l)
{
    struct pollfd waits[2] = {{.fd = l->pipe[0], .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    while (waits[1].fd >= 0 || l->waiting > 0) {
        if (poll(waits, 2, -1) < 0) return false;
        if (waits[0].revents != 0 && !finish_job(l)) return false;
        if (waits[1].revents != 0 && !read_lines(l)) waits[1].fd = -1; /* what runs is still answered */
    }
    return true;
}

int main(int count, char **arguments)
{
    pv_error error = {0};
    pv_runtime *runtime = NULL;
    pv_model *model = NULL;
    pthread_t thread;
    static loop l;
    bool done = false;
    if (count != 2) {
        fprintf(stderr, "usage: %s MODEL\n", arguments[0]);
        return 2;
    }
    if (pipe(l.pipe) != 0) {
        perror("pipe");
        return 1;
    }
    pv_status status = pv_runtime_create(NULL, &runtime, &error);
    if (status == PV_OK) status = pv_model_load(runtime, arguments[1], NULL, &model, &error);
    if (status == PV_OK) status = pv_engine_create(model, NULL, &l.engine, &error);
    l.model = model;
    if (status == PV_OK && pthread_create(&thread, NULL, run_engine, &l) == 0) {
        done = run_loop(&l);
        atomic_store(&l.leave, true);
        pv_engine_wake(l.engine);
        pthread_join(thread, NULL);
    }
    if (status != PV_OK) fprintf(stderr, "%s: %s\n", pv_status_text(status), error.message);
    pv_engine_destroy(l.engine);
    pv_model_destroy(model);
    pv_runtime_destroy(runtime);
    return done ? 0 : 1;
}
