/* One conversation: a batch of one over the engine, so there is one path. */
#include "base/alloc.h"
#include "base/clock.h"
#include "engine/engine.h"

struct pv_session {
    pv_engine *engine;
    atomic_bool cancelled, running;
};

pv_status pv_session_create(pv_model *model, pv_session **out, pv_error *error)
{
    if (model == NULL || out == NULL) return pv_fail(error, PV_INVALID_ARGUMENT, "model or session is NULL");
    pv_session *session = pv_calloc(model->allocator, 1, sizeof *session);
    if (session == NULL) return pv_fail_memory(error, sizeof *session, "a session");
    pv_status status = pv_engine_create(model, NULL, &session->engine, error);
    if (status != PV_OK) {
        pv_free(model->allocator, session);
        return status;
    }
    *out = session;
    return PV_OK;
}

void pv_session_destroy(pv_session *session)
{
    if (session == NULL) return;
    const pv_allocator *allocator = session->engine->allocator;
    pv_engine_destroy(session->engine);
    pv_free(allocator, session);
}

void pv_session_cancel(pv_session *session)
{
    if (session == NULL) return;
    atomic_store(&session->cancelled, true);
    atomic_store(&session->engine->abort, true);
}

typedef struct listener {
    pv_request_id request;
    pv_on_text on_text;
    void *user;
    pv_answer *answer;
    double start;
    bool finished, stopped;
    pv_error failure;
} listener;

static void hear(listener *l, const pv_event *event)
{
    if (event->request != l->request) return; /* faults, and what is left of a request that failed before its end */
    if (event->kind == PV_EVENT_TOKEN && l->answer->first_token_seconds == 0) l->answer->first_token_seconds = pv_seconds() - l->start;
    bool says_something = event->kind == PV_EVENT_TOKEN || event->text_length > 0;
    if (says_something && l->on_text != NULL && !l->stopped && !l->on_text(l->user, event->text, event->text_length, event->token)) l->stopped = true;
    if (event->kind != PV_EVENT_FINISHED) return;
    l->finished = true;
    l->failure = event->error;
    l->answer->finish = event->finish;
    l->answer->prompt_tokens = event->prompt_tokens;
    l->answer->reused_tokens = event->reused_tokens;
    l->answer->generated_tokens = event->generated_tokens;
}

static pv_status generate(pv_session *session, const pv_request *request, pv_on_text on_text, void *user, pv_answer *answer, pv_error *error)
{
    pv_engine *engine = session->engine;
    atomic_store(&session->cancelled, false);
    *answer = (pv_answer){0};
    listener l = {.on_text = on_text, .user = user, .answer = answer, .start = pv_seconds()};
    pv_status status = pv_engine_submit(engine, request, &l.request, error);
    if (status != PV_OK) return status;
    while (!l.finished && status == PV_OK) {
        if (l.stopped || atomic_load(&session->cancelled)) pv_engine_cancel(engine, l.request);
        status = pv_engine_step(engine, 1000, NULL, error);
        pv_event event;
        while (pv_engine_next_event(engine, &event)) hear(&l, &event);
    }
    if (!l.finished) pv_engine_cancel(engine, l.request); /* the next call's steps end it */
    answer->seconds = pv_seconds() - l.start;
    if (l.finished && l.failure.status != PV_OK) {
        if (error != NULL) *error = l.failure;
        return l.failure.status;
    }
    return l.finished ? PV_OK : status;
}

/* A second call, from another thread or from on_text, would take the first one's events. */
pv_status pv_session_generate(pv_session *session, const pv_request *request, pv_on_text on_text, void *user, pv_answer *answer,
                              pv_error *error)
{
    if (session == NULL || answer == NULL) return pv_fail(error, PV_INVALID_ARGUMENT, "session or answer is NULL");
    if (atomic_exchange(&session->running, true)) return pv_fail(error, PV_BUSY, "the session is answering another request");
    pv_status status = generate(session, request, on_text, user, answer, error);
    atomic_store(&session->running, false);
    return status;
}
