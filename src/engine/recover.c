/* The faults table. A step failed; each row says what is done, once, and reported by an event. Whatever is done, the engine goes on
 * from what is committed, so that tokens handed out are never taken back and the text after recovery is the same.
 *
 *   failure                      first time                      again
 *   out of memory in a step      drop cached prefixes            smaller steps, then the youngest sequence fails
 *   transient                    the step again, halved          its sequences run alone; the culprit gets the error
 *   a program does not prepare   the plainest programs           the CPU takes over, else all fail
 *   device lost or hung          a new device, tokens replayed   the CPU takes over, else its sequences run alone
 */
#include <string.h>

#include "engine/engine.h"

#define MAX_REBUILDS 4          /* in a row, without a good step between them */
#define MAX_REPLAY_SECONDS 30.0 /* more than this and the CPU takes over at once */

void pv_forget_steps(pv_engine *engine, bool gone)
{
    if (!gone) pv_drain(engine);
    engine->newest = 0;
    for (; engine->in_flight > 0; engine->in_flight--) {
        pv_step *step = &engine->steps[engine->oldest_step];
        for (uint32_t i = 0; i < step->item_count; i++) step->items[i].sequence->in_flight--;
        engine->oldest_step = (engine->oldest_step + 1) % PV_STEP_RING;
    }
    for (pv_sequence *s = engine->running; s != NULL; s = s->next) {
        s->scheduled = s->computed;
        s->pending = 0;
        s->patched = 0;
        s->log_patched = 0;
        s->log_reused = s->penalizes ? s->computed : 0;
    }
    pthread_mutex_lock(&engine->lock);
    engine->flying_count = 0;
    pthread_mutex_unlock(&engine->lock);
    atomic_store(&engine->abort, false);
}

/* ---- Single actions ---- */

void pv_end_all(pv_engine *engine, const pv_error *cause)
{
    pv_sequence *lists[] = {engine->running, engine->waiting};
    for (size_t i = 0; i < 2; i++)
        for (pv_sequence *s = lists[i]; s != NULL; s = s->next) pv_sequence_end(engine, s, PV_FINISH_ERROR, cause);
}

static pv_sequence *youngest_of(const pv_step *step)
{
    pv_sequence *youngest = NULL;
    for (uint32_t i = 0; i < step->item_count; i++)
        if (youngest == NULL || step->items[i].sequence->id > youngest->id) youngest = step->items[i].sequence;
    return youngest;
}

static void halve_steps(pv_engine *engine)
{
    engine->row_budget = engine->row_budget > 1 ? engine->row_budget / 2 : 1;
}

/* Its sequences run alone from now on; one that was alone already is the culprit. */
static void isolate(pv_engine *engine, const pv_step *step, const pv_error *cause)
{
    if (step->item_count == 1) {
        pv_event_fault(engine, cause, "request %llu fails", (unsigned long long)step->items[0].sequence->id);
        pv_sequence_end(engine, step->items[0].sequence, PV_FINISH_ERROR, cause);
        return;
    }
    for (uint32_t i = 0; i < step->item_count; i++) step->items[i].sequence->suspect = true;
    pv_event_fault(engine, cause, "its %u sequences run alone", step->item_count);
}

/* Nothing is in the cache of a new device: everybody starts anew from his tokens. */
static void restart_all(pv_engine *engine)
{
    pv_sweep(engine);
    while (engine->running != NULL) {
        pv_sequence *last = engine->running;
        while (last->next != NULL) last = last->next;
        pv_preempt(engine, last);
    }
    for (uint32_t g = 0; g < engine->group_count; g++) pv_pages_forget(engine->pages[g]);
}

static const pv_runtime_device *find_cpu(const pv_engine *engine)
{
    const pv_runtime *runtime = engine->model->runtime;
    const pv_runtime_device *cpu = NULL;
    for (size_t i = 0; i < runtime->device_count; i++)
        if (runtime->devices[i].backend == &pv_cpu_backend && runtime->devices[i].description.available) cpu = &runtime->devices[i];
    return cpu;
}

static double replay_seconds(const pv_engine *engine)
{
    double tokens = 0;
    for (const pv_sequence *s = engine->running; s != NULL; s = s->next) tokens += s->computed;
    return engine->rows_per_second > 0 ? tokens / engine->rows_per_second : 0;
}

/* A new device filled from the model's files. Errors: those of pv_model_replace. */
static pv_status rebuild(pv_engine *engine, const pv_runtime_device *device, bool plain, pv_error *error)
{
    restart_all(engine);
    engine->rebuilds++;
    pv_status status = pv_model_replace(engine->model, device, plain, error);
    if (status != PV_OK) pv_runtime_log(engine->model->runtime, PV_LOG_WARNING, "the model cannot be placed anew: %s", error->message);
    return status;
}

/* What a device that does not answer still holds of ours ends with it. */
static pv_status give_up(pv_engine *engine, const pv_error *cause, pv_error *error)
{
    pv_placement_destroy(engine->model->placement);
    engine->model->placement = NULL;
    pthread_mutex_lock(&engine->lock);
    engine->dead = true;
    engine->death = *cause;
    pthread_mutex_unlock(&engine->lock);
    pv_event_fault(engine, cause, "no device is left, all requests fail");
    pv_end_all(engine, cause);
    if (error != NULL) *error = *cause;
    return cause->status;
}

/* ---- Rows of the table ---- */

static pv_status take_over_on_cpu(pv_engine *engine, const pv_error *cause, pv_error *error)
{
    const pv_runtime_device *cpu = find_cpu(engine);
    pv_error reason = *cause;
    if (cpu == NULL || engine->rebuilds >= MAX_REBUILDS) return give_up(engine, cause, error);
    if (rebuild(engine, cpu, engine->model->plain_programs, &reason) != PV_OK) return give_up(engine, &reason, error);
    pv_event_fault(engine, cause, "the CPU takes over");
    return PV_OK;
}

static pv_status recover_device(pv_engine *engine, const pv_step *step, const pv_error *cause, pv_error *error)
{
    const pv_runtime_device *device = engine->model->device;
    bool other_cpu = find_cpu(engine) != NULL && find_cpu(engine) != device;
    bool too_long = replay_seconds(engine) > MAX_REPLAY_SECONDS;
    if (other_cpu && (too_long || engine->failures > 1)) return take_over_on_cpu(engine, cause, error);
    if (engine->rebuilds >= MAX_REBUILDS) return give_up(engine, cause, error);
    if (engine->failures > 1) isolate(engine, step, cause);
    pv_error reason;
    if (rebuild(engine, device, engine->model->plain_programs, &reason) != PV_OK) return take_over_on_cpu(engine, cause, error);
    pv_event_fault(engine, cause, "the device was opened anew and %u sequences are replayed", engine->waiting_count);
    return PV_OK;
}

static pv_status recover_program(pv_engine *engine, const pv_error *cause, pv_error *error)
{
    if (engine->model->plain_programs) return take_over_on_cpu(engine, cause, error);
    engine->model->plain_programs = true;
    pv_error reason;
    if (rebuild(engine, engine->model->device, true, &reason) != PV_OK) return take_over_on_cpu(engine, cause, error);
    pv_event_fault(engine, cause, "the plainest programs are used");
    return PV_OK;
}

static pv_status recover_memory(pv_engine *engine, const pv_step *step, const pv_error *cause)
{
    if (engine->failures == 1) {
        for (uint32_t g = 0; g < engine->group_count; g++) pv_pages_forget(engine->pages[g]);
        pv_pool_trim(engine->model->placement->pool);
        pv_event_fault(engine, cause, "cached prefixes were dropped");
    } else if (engine->failures == 2) {
        halve_steps(engine);
        pv_event_fault(engine, cause, "steps are made smaller");
    } else {
        pv_sequence *youngest = youngest_of(step);
        pv_event_fault(engine, cause, "the youngest request, %llu, fails", (unsigned long long)youngest->id);
        pv_sequence_end(engine, youngest, PV_FINISH_ERROR, cause);
    }
    return PV_OK;
}

static pv_status recover_transient(pv_engine *engine, const pv_step *step, const pv_error *cause)
{
    if (engine->failures > 1) {
        isolate(engine, step, cause);
        return PV_OK;
    }
    halve_steps(engine);
    pv_event_fault(engine, cause, "the step is run again, halved");
    return PV_OK;
}

pv_status pv_recover(pv_engine *engine, pv_step *step, const pv_error *cause, pv_error *error)
{
    engine->failures++;
    pv_forget_steps(engine, cause->status == PV_DEVICE_LOST || cause->status == PV_TIMEOUT);
    switch (cause->status) {
    case PV_DEVICE_OUT_OF_MEMORY:
    case PV_OUT_OF_MEMORY: return recover_memory(engine, step, cause);
    case PV_PROGRAM:
    case PV_UNSUPPORTED: return recover_program(engine, cause, error);
    case PV_DEVICE_LOST:
    case PV_TIMEOUT: return recover_device(engine, step, cause, error);
    default: return recover_transient(engine, step, cause);
    }
}
