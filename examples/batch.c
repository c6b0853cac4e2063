/* Eight requests at once: the engine forms each step from rows of all of them, and every one gets what it would get alone.
 *
 *     example_batch MODEL
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pensieve.h"

#define REQUESTS 8
#define MAX_TEXT 4096

typedef struct job {
    const char *question;
    char text[MAX_TEXT];
    size_t length;
} job;

static job jobs[REQUESTS] = {
    {.question = "Name a colour."}, {.question = "Name an animal."},      {.question = "Name a city."},
    {.question = "Name a fruit."},  {.question = "What is two and two?"}, {.question = "What is the sun?"},
    {.question = "What is ice?"},   {.question = "Say hello."},
};

static pv_status submit(pv_engine *engine, const pv_model *model, job *j, uint64_t seed, pv_error *error)
{
    const pv_message message = {"user", j->question};
    int32_t tokens[512];
    size_t count;
    pv_request_id id;
    pv_status status = pv_chat_tokens(model, &message, 1, NULL, tokens, 512, &count, error);
    if (status != PV_OK) return status;
    if (count > 512) return PV_CONTEXT_FULL; /* no question here is that long */
    const pv_request request = {
        .prompt = tokens, /* copied */
        .prompt_length = count,
        .max_tokens = 32,
        .sampling = {.temperature = 0.7f, .top_p = 0.9f, .seed = seed},
        .user = j, /* comes back in every event */
    };
    return pv_engine_submit(engine, &request, &id, error);
}

static void take(const pv_event *event)
{
    job *j = event->user;
    if (event->kind == PV_EVENT_FAULT) {
        fprintf(stderr, "fault: %s\n", event->error.message);
        return;
    }
    size_t room = MAX_TEXT - 1 - j->length, length = event->text_length < room ? event->text_length : room;
    memcpy(j->text + j->length, event->text, length);
    j->length += length;
    if (event->kind == PV_EVENT_FINISHED && event->finish == PV_FINISH_ERROR)
        fprintf(stderr, "%s: %s\n", j->question, event->error.message);
}

static pv_status run(const pv_model *model, pv_engine *engine, pv_error *error)
{
    pv_status status = PV_OK;
    for (uint64_t i = 0; i < REQUESTS && status == PV_OK; i++) status = submit(engine, model, &jobs[i], i, error);
    for (size_t active = 1; active > 0 && status == PV_OK;) {
        pv_event event;
        status = pv_engine_step(engine, 1000, &active, error);
        while (pv_engine_next_event(engine, &event)) take(&event);
    }
    return status;
}

int main(int count, char **arguments)
{
    pv_error error = {0};
    pv_runtime *runtime = NULL;
    pv_model *model = NULL;
    pv_engine *engine = NULL;
    /* room for all of them: by default the cache holds one sequence of the whole context */
    const pv_model_options options = {.max_sequences = REQUESTS};
    if (count != 2) {
        fprintf(stderr, "usage: %s MODEL\n", arguments[0]);
        return 2;
    }
    pv_status status = pv_runtime_create(NULL, &runtime, &error);
    if (status == PV_OK) status = pv_model_load(runtime, arguments[1], &options, &model, &error);
    if (status == PV_OK) status = pv_engine_create(model, NULL, &engine, &error);
    if (status == PV_OK) status = run(model, engine, &error);
    if (status == PV_OK) {
        pv_engine_stats stats;
        pv_engine_get_stats(engine, &stats);
        for (size_t i = 0; i < REQUESTS; i++) printf("%s\n  %s\n", jobs[i].question, jobs[i].text);
        fprintf(stderr, "%llu tokens in %llu steps\n", (unsigned long long)stats.tokens, (unsigned long long)stats.steps);
    }
    if (status != PV_OK) fprintf(stderr, "%s: %s\n", pv_status_text(status), error.message);
    pv_engine_destroy(engine);
    pv_model_destroy(model);
    pv_runtime_destroy(runtime);
    return status == PV_OK ? 0 : 1;
}
