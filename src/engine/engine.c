#include "engine/engine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/clock.h"

#define DEFAULT_WAITING 1024
#define DEFAULT_TIMEOUT_MS 30000

/* ---- Making and destroying ---- */

static size_t longest_token(const pv_model *model)
{
    size_t longest = 0;
    if (model->tokenizer == NULL) return longest;
    for (uint32_t i = 0; i < pv_tokenizer_size(model->tokenizer); i++) {
        const char *bytes;
        size_t length;
        bool control;
        if (pv_tokenizer_bytes(model->tokenizer, (int32_t)i, &bytes, &length, &control) && length > longest) longest = length;
    }
    return longest;
}

static pv_status choose_options(pv_engine *engine, const pv_engine_options *o, uint32_t *pages, pv_error *error)
{
    const pv_capacity *c = &engine->model->capacity;
    engine->max_sequences = o->max_sequences != 0 ? o->max_sequences : c->max_sequences;
    engine->prefill_rows = o->max_step_rows != 0 ? o->max_step_rows : c->prefill_rows;
    engine->max_waiting = o->max_waiting != 0 ? o->max_waiting : DEFAULT_WAITING;
    engine->step_timeout_ms = o->step_timeout_ms != 0 ? o->step_timeout_ms : DEFAULT_TIMEOUT_MS;
    engine->steps_ahead = o->steps_ahead != 0 ? o->steps_ahead : engine->model->device->description.steps_ahead;
    engine->reuse_prefixes = !o->no_prefix_reuse;
    *pages = o->pages != 0 ? o->pages + 1 : c->pages;
    const struct {
        const char *name;
        uint32_t value, most;
    } limits[] = {
        {"max_sequences", engine->max_sequences, c->max_sequences},
        {"max_step_rows", engine->prefill_rows, c->prefill_rows},
        {"pages", *pages - 1, c->pages - 1},
        {"steps_ahead", engine->steps_ahead, PV_MAX_STEPS_AHEAD},
    };
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        if (limits[i].value > limits[i].most)
            return pv_fail(error, PV_INVALID_ARGUMENT, "%s is %u, at most %u is wanted for this model as it was loaded", limits[i].name,
                           limits[i].value, limits[i].most);
    engine->row_budget = engine->prefill_rows;
    return PV_OK;
}

static pv_status allocate_parts(pv_engine *engine, uint32_t pages, pv_error *error)
{
    const pv_allocator *a = engine->allocator;
    engine->group_count = engine->model->placement->group_count;
    engine->slots = pv_calloc(a, engine->max_sequences + 1, 1);
    engine->flying = pv_calloc(a, (size_t)engine->max_sequences * PV_STEP_RING, sizeof *engine->flying);
    engine->logits = pv_alloc(a, engine->model->decoder.vocabulary, sizeof *engine->logits);
    bool ok = engine->slots != NULL && engine->flying != NULL && engine->logits != NULL;
    for (size_t i = 0; i < PV_STEP_RING; i++) {
        engine->steps[i].items = pv_calloc(a, engine->max_sequences, sizeof *engine->steps[i].items);
        ok = ok && engine->steps[i].items != NULL;
    }
    if (!ok) return pv_fail_memory(error, engine->model->decoder.vocabulary * sizeof *engine->logits, "an engine");
    for (uint32_t g = 0; g < engine->group_count; g++) {
        engine->window[g] = engine->model->placement->groups[g].window;
        pv_status status = pv_pages_create(a, pv_group_pages(&engine->model->capacity, engine->window[g], pages), &engine->pages[g], error);
        if (status != PV_OK) return status;
    }
    engine->page_limit = pages - 1;
    return PV_OK;
}

/* The condition variable waits by the monotonic clock, where that can be chosen. */
static bool init_locks(pv_engine *engine)
{
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes) != 0) return false;
#ifndef __APPLE__
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
#endif
    bool ok = pthread_cond_init(&engine->changed, &attributes) == 0;
    pthread_condattr_destroy(&attributes);
    if (!ok) return false;
    if (pthread_mutex_init(&engine->lock, NULL) == 0) return true;
    pthread_cond_destroy(&engine->changed);
    return false;
}

static void free_list(const pv_engine *engine, pv_sequence *list)
{
    while (list != NULL) {
        pv_sequence *next = list->next;
        pv_sequence_destroy(engine, list);
        list = next;
    }
}

static void free_parts(pv_engine *engine)
{
    const pv_allocator *a = engine->allocator;
    free_list(engine, engine->inbox);
    free_list(engine, engine->waiting);
    free_list(engine, engine->running);
    for (uint32_t g = 0; g < PV_MAX_GROUPS; g++) pv_pages_destroy(engine->pages[g]);
    for (size_t i = 0; i < PV_STEP_RING; i++) pv_free(a, engine->steps[i].items);
    pv_events_free(&engine->events);
    pv_free(a, engine->slots);
    pv_free(a, engine->flying);
    pv_free(a, engine->open);
    pv_free(a, engine->logits);
}

pv_status pv_engine_create(pv_model *model, const pv_engine_options *options, pv_engine **out, pv_error *error)
{
    static const pv_engine_options defaults;
    if (model == NULL || out == NULL) return pv_fail(error, PV_INVALID_ARGUMENT, "model or engine is NULL");
    if (model->text_only) return pv_fail(error, PV_INVALID_ARGUMENT, "the model was loaded with text_only: it has no weights to run");
    if (atomic_exchange(&model->has_engine, true)) return pv_fail(error, PV_BUSY, "the model has an engine already");
    if (model->placement == NULL) { /* the engine's own, so looked at when there is no other */
        atomic_store(&model->has_engine, false);
        return pv_fail(error, PV_DEVICE_LOST, "the model lost its device and could not be placed anew");
    }
    pv_engine *engine = pv_calloc(model->allocator, 1, sizeof *engine);
    if (engine == NULL || !init_locks(engine)) {
        pv_free(model->allocator, engine);
        atomic_store(&model->has_engine, false);
        return pv_fail_memory(error, sizeof *engine, "an engine");
    }
    engine->model = model;
    engine->allocator = model->allocator;
    engine->inbox_end = &engine->inbox;
    engine->next_id = 1;
    engine->token_bytes = longest_token(model);
    atomic_init(&engine->abort, false);
    atomic_flag_clear(&engine->stepping);
    pv_events_init(&engine->events, model->allocator);
    uint32_t pages = 0;
    pv_status status = choose_options(engine, options != NULL ? options : &defaults, &pages, error);
    if (status == PV_OK) status = allocate_parts(engine, pages, error);
    if (status != PV_OK) {
        pv_engine_destroy(engine);
        return status;
    }
    *out = engine;
    return PV_OK;
}

void pv_drain(pv_engine *engine)
{
    pv_placement *p = engine->model->placement;
    if (engine->newest == 0 || p == NULL) return;
    atomic_store(&engine->abort, true);
    p->device->backend->wait(p->device, engine->newest, engine->step_timeout_ms, NULL);
    engine->newest = 0;
}

void pv_engine_destroy(pv_engine *engine)
{
    if (engine == NULL) return;
    pv_model *model = engine->model;
    pv_drain(engine);
    free_parts(engine);
    pthread_cond_destroy(&engine->changed);
    pthread_mutex_destroy(&engine->lock);
    pv_free(engine->allocator, engine);
    atomic_store(&model->has_engine, false);
}

/* ---- What other threads may do ---- */

pv_status pv_engine_submit(pv_engine *engine, const pv_request *request, pv_request_id *id, pv_error *error)
{
    if (engine == NULL || request == NULL) return pv_fail(error, PV_INVALID_ARGUMENT, "engine or request is NULL");
    pv_sequence *s;
    pv_status status = pv_sequence_create(engine, request, &s, error);
    if (status != PV_OK) return status;
    pthread_mutex_lock(&engine->lock);
    if (engine->dead)
        status = pv_fail(error, engine->death.status, "the engine has no device left: %s", engine->death.message);
    else if (engine->open_count >= (uint64_t)engine->max_waiting + engine->max_sequences)
        status = pv_fail(error, PV_BUSY, "%zu requests are waiting or running, at most %u may wait", engine->open_count, engine->max_waiting);
    else if (!pv_grow(engine->allocator, (void **)&engine->open, &engine->open_capacity, engine->open_count + 1, sizeof *engine->open))
        status = pv_fail_memory(error, sizeof *engine->open, "the list of requests");
    if (status == PV_OK) {
        s->id = engine->next_id++;
        engine->open[engine->open_count++] = (pv_open_request){.id = s->id};
        *engine->inbox_end = s;
        engine->inbox_end = &s->next;
        if (id != NULL) *id = s->id;
        pthread_cond_broadcast(&engine->changed);
    }
    pthread_mutex_unlock(&engine->lock);
    if (status != PV_OK) pv_sequence_destroy(engine, s);
    return status;
}

/* Under the lock. */
static pv_open_request *find_open(const pv_engine *engine, pv_request_id id)
{
    for (size_t i = 0; i < engine->open_count; i++)
        if (engine->open[i].id == id) return &engine->open[i];
    return NULL;
}

/* Under the lock: nobody waits for what is in flight. */
static bool flies_in_vain(const pv_engine *engine)
{
    for (uint32_t i = 0; i < engine->flying_count; i++) {
        const pv_open_request *open = find_open(engine, engine->flying[i]);
        if (open != NULL && !open->cancelled) return false;
    }
    return engine->flying_count > 0;
}

void pv_engine_cancel(pv_engine *engine, pv_request_id id)
{
    if (engine == NULL) return;
    pthread_mutex_lock(&engine->lock);
    pv_open_request *open = find_open(engine, id);
    if (open != NULL && !open->cancelled) {
        open->cancelled = engine->cancels = true;
        if (flies_in_vain(engine)) atomic_store(&engine->abort, true);
        pthread_cond_broadcast(&engine->changed);
    }
    pthread_mutex_unlock(&engine->lock);
}

void pv_request_ended(pv_engine *engine, pv_request_id id)
{
    pthread_mutex_lock(&engine->lock);
    pv_open_request *open = find_open(engine, id);
    if (open != NULL) *open = engine->open[--engine->open_count];
    pthread_mutex_unlock(&engine->lock);
}

void pv_engine_wake(pv_engine *engine)
{
    if (engine == NULL) return;
    pthread_mutex_lock(&engine->lock);
    engine->woken = true;
    pthread_cond_broadcast(&engine->changed);
    pthread_mutex_unlock(&engine->lock);
}

/* ---- Stepping ---- */

static pv_sequence *find_sequence(pv_engine *engine, pv_request_id id)
{
    pv_sequence *lists[] = {engine->waiting, engine->running};
    for (size_t i = 0; i < 2; i++)
        for (pv_sequence *s = lists[i]; s != NULL; s = s->next)
            if (s->id == id) return s;
    return NULL;
}

static void take_inbox(pv_engine *engine)
{
    pv_sequence **end = &engine->waiting;
    while (*end != NULL) end = &(*end)->next;
    pthread_mutex_lock(&engine->lock);
    *end = engine->inbox;
    engine->inbox = NULL;
    engine->inbox_end = &engine->inbox;
    engine->woken = false;
    for (pv_sequence *s = *end; s != NULL; s = s->next) engine->waiting_count++;
    for (size_t i = 0; engine->cancels && i < engine->open_count; i++) {
        pv_sequence *s = engine->open[i].cancelled ? find_sequence(engine, engine->open[i].id) : NULL;
        if (s != NULL) s->cancelled = true;
    }
    engine->cancels = false;
    pthread_mutex_unlock(&engine->lock);
}

static void end_cancelled(pv_engine *engine)
{
    pv_sequence *lists[] = {engine->waiting, engine->running};
    for (size_t i = 0; i < 2; i++)
        for (pv_sequence *s = lists[i]; s != NULL; s = s->next)
            if (s->cancelled) pv_sequence_end(engine, s, PV_FINISH_CANCELLED, NULL);
    pv_sweep(engine);
}

/* Room for all events that a step can make, so that nothing is lost when memory runs out. */
static bool reserve_events(pv_engine *engine)
{
    size_t events = 4, text = 0, top = 0;
    pv_sequence *lists[] = {engine->waiting, engine->running};
    for (size_t i = 0; i < 2; i++)
        for (pv_sequence *s = lists[i]; s != NULL; s = s->next) {
            events += 2 * PV_MAX_STEPS_AHEAD;
            text += 2 * PV_MAX_STEPS_AHEAD * pv_stream_most(&s->stream, engine->token_bytes);
            top += s->top_logprobs * PV_MAX_STEPS_AHEAD;
        }
    return pv_events_reserve(&engine->events, events, text, top);
}

/* A slow device is no hung one: beyond the caller's time-out a step has what its work takes at a tenth of the speed measured, or, before
 * anything was measured, on a very slow processor. The largest time-out there is stands for none. */
static uint32_t timeout_of(const pv_engine *engine, const pv_step *step)
{
    double seconds = engine->rows_per_second > 0 ? 10 * step->rows / engine->rows_per_second : step->class->slow_seconds;
    double milliseconds = engine->step_timeout_ms + 1000 * seconds;
    return milliseconds < UINT32_MAX ? (uint32_t)milliseconds : UINT32_MAX;
}

/* Waits for the oldest step and takes up what it gave. */
static pv_status finish_oldest(pv_engine *engine, pv_error *error)
{
    pv_placement *p = engine->model->placement;
    pv_step *step = &engine->steps[engine->oldest_step];
    pv_error cause = {0};
    double start = pv_seconds();
    pv_status status = p->device->backend->wait(p->device, step->fence, timeout_of(engine, step), &cause);
    if (status == PV_CANCELLED) {
        pv_forget_steps(engine, false);
        return PV_OK;
    }
    if (status != PV_OK) return pv_recover(engine, step, &cause, error);
    if (step->fence == engine->newest) engine->newest = 0;
    pv_runtime_timing(engine->model->runtime, "engine", "wait", start, step->rows);
    double seconds = pv_seconds() - start;
    double rate = step->rows / (seconds > 1e-6 ? seconds : 1e-6);
    engine->rows_per_second = engine->rows_per_second > 0 ? 0.9 * engine->rows_per_second + 0.1 * rate : rate;
    pv_pool_completed(p->pool, step->fence);
    if (engine->failures > 0) engine->stats.recovered++;
    engine->failures = engine->rebuilds = 0;
    start = pv_seconds();
    pv_step_commit(engine, step);
    pv_runtime_timing(engine->model->runtime, "engine", "commit", start, step->rows);
    if (engine->row_budget < engine->prefill_rows) engine->row_budget = (uint32_t)pv_min_size(2 * (size_t)engine->row_budget, engine->prefill_rows);
    return PV_OK;
}

/* Enqueues steps up to the number ahead. */
static pv_status submit_steps(pv_engine *engine, pv_error *error)
{
    while (engine->in_flight < engine->steps_ahead) {
        pv_step *step = &engine->steps[(engine->oldest_step + engine->in_flight) % PV_STEP_RING];
        double start = pv_seconds();
        pv_schedule(engine, step);
        if (step->rows == 0) return PV_OK;
        pv_error cause = {0};
        if (pv_step_submit(engine, step, &cause) != PV_OK) return pv_recover(engine, step, &cause, error);
        pv_runtime_timing(engine->model->runtime, "engine", "submit", start, step->rows);
        if (step->wants_logits) return PV_OK; /* the next step would overwrite them */
    }
    return PV_OK;
}

static pv_status run_step(pv_engine *engine, pv_error *error)
{
    take_inbox(engine);
    if (!reserve_events(engine)) return pv_fail_memory(error, 0, "events");
    end_cancelled(engine);
    pv_admit(engine);
    pv_status status = submit_steps(engine, error);
    if (status == PV_OK && engine->in_flight > 0) status = finish_oldest(engine, error);
    pv_sweep(engine);
    return status;
}

/* True if there is work or a wake before the time is over. */
static bool wait_for_work(pv_engine *engine, uint32_t timeout_ms)
{
    struct timespec until;
#ifdef __APPLE__
    clock_gettime(CLOCK_REALTIME, &until);
#else
    clock_gettime(CLOCK_MONOTONIC, &until);
#endif
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    pthread_mutex_lock(&engine->lock);
    int result = 0;
    while (result != ETIMEDOUT && engine->inbox == NULL && !engine->cancels && !engine->woken)
        result = pthread_cond_timedwait(&engine->changed, &engine->lock, &until);
    bool work = engine->inbox != NULL || engine->cancels;
    engine->woken = false;
    pthread_mutex_unlock(&engine->lock);
    return work;
}

/* Nothing runs any more: what is left ends with what the engine died of. */
static pv_status end_dead(pv_engine *engine, pv_error *error)
{
    take_inbox(engine);
    if (!reserve_events(engine)) return pv_fail_memory(error, 0, "events");
    pv_end_all(engine, &engine->death);
    pv_sweep(engine);
    if (error != NULL) *error = engine->death;
    return engine->death.status;
}

pv_status pv_engine_step(pv_engine *engine, uint32_t timeout_ms, size_t *active, pv_error *error)
{
    if (engine == NULL) return pv_fail(error, PV_INVALID_ARGUMENT, "engine is NULL");
    if (atomic_flag_test_and_set(&engine->stepping)) return pv_fail(error, PV_BUSY, "another thread is inside pv_engine_step");
    pv_status status = PV_OK;
    bool idle = engine->running == NULL && engine->waiting == NULL;
    if (engine->dead) {
        status = end_dead(engine, error);
    } else if (!idle || timeout_ms == 0 || wait_for_work(engine, timeout_ms)) {
        status = run_step(engine, error);
    }
    if (active != NULL) {
        pthread_mutex_lock(&engine->lock);
        *active = engine->open_count;
        pthread_mutex_unlock(&engine->lock);
    }
    atomic_flag_clear(&engine->stepping);
    return status;
}

void pv_engine_get_stats(const pv_engine *engine, pv_engine_stats *stats)
{
    if (engine == NULL || stats == NULL) return;
    *stats = engine->stats;
    stats->running = engine->running_count;
    stats->waiting = engine->waiting_count;
    stats->pages = pv_pages_total(engine->pages[0]);
    stats->pages_free = pv_pages_free(engine->pages[0]);
    stats->pages_cached = pv_pages_cached(engine->pages[0]);
    if (engine->model->placement == NULL) return;
    pv_pool_stats pool;
    pv_pool_get_stats(engine->model->placement->pool, &pool);
    stats->memory_weights = pool.arena[PV_MEMORY_WEIGHTS].live;
    stats->memory_kv = pool.arena[PV_MEMORY_KV].live;
    stats->memory_scratch = pool.arena[PV_MEMORY_SCRATCH].live + pool.arena[PV_MEMORY_STEP].live;
    stats->memory_peak = pool.peak;
}
