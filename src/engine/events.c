#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "engine/engine.h"

void pv_events_init(pv_events *events, const pv_allocator *allocator)
{
    *events = (pv_events){.allocator = allocator};
    pv_bytes_init(&events->text, allocator);
}

void pv_events_free(pv_events *events)
{
    pv_free(events->allocator, events->queue);
    pv_free(events->allocator, events->top);
    pv_bytes_free(&events->text);
}

/* The room of what was taken is used anew. Whoever never quite catches up with the engine has what is left moved to the front, not more
 * of it than was taken meanwhile. */
static void reuse_room(pv_events *events)
{
    if (events->first == 0 || events->count > events->first) return;
    const pv_queued_event *oldest = &events->queue[events->first];
    size_t text = events->count > 0 ? oldest->text_at : events->text.length;
    size_t top = events->count > 0 ? oldest->top_at : events->top_count;
    for (size_t i = 0; i < events->count; i++) {
        events->queue[i] = events->queue[events->first + i];
        events->queue[i].text_at -= text;
        events->queue[i].top_at -= top;
    }
    events->first = 0;
    events->text.length -= text;
    if (events->text.length > 0) memmove(events->text.data, events->text.data + text, events->text.length);
    events->top_count -= top;
    if (events->top_count > 0) memmove(events->top, events->top + top, events->top_count * sizeof *events->top);
}

bool pv_events_reserve(pv_events *events, size_t events_more, size_t text_more, size_t top_more)
{
    reuse_room(events);
    size_t end = events->first + events->count;
    pv_bytes *text = &events->text;
    return pv_grow(events->allocator, (void **)&events->queue, &events->capacity, end + events_more, sizeof *events->queue) &&
           pv_grow(events->allocator, (void **)&text->data, &text->capacity, text->length + text_more + 1, 1) &&
           pv_grow(events->allocator, (void **)&events->top, &events->top_capacity, events->top_count + top_more, sizeof *events->top);
}

static void close_last(pv_events *events)
{
    if (events->count == 0) return;
    pv_queued_event *last = &events->queue[events->first + events->count - 1];
    last->text_length = events->text.length - last->text_at;
}

pv_event *pv_events_add(pv_events *events, pv_event_kind kind, const pv_sequence *sequence)
{
    close_last(events);
    pv_queued_event *queued = &events->queue[events->first + events->count++];
    *queued = (pv_queued_event){.text_at = events->text.length, .top_at = events->top_count};
    queued->event = (pv_event){.kind = kind, .token = -1, .error = {.offset = PV_NO_OFFSET}};
    if (sequence != NULL) {
        queued->event.request = sequence->id;
        queued->event.user = sequence->user;
    }
    return &queued->event;
}

void pv_events_add_top(pv_events *events, const pv_step_top *top, uint32_t count)
{
    pv_event *event = &events->queue[events->first + events->count - 1].event;
    for (uint32_t i = 0; i < count; i++)
        events->top[events->top_count++] = (pv_top_logprob){.token = top[i].token, .logprob = top[i].logprob};
    event->top_count = count;
}

void pv_event_fault(pv_engine *engine, const pv_error *cause, const char *format, ...)
{
    engine->stats.faults++;
    char what[192];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    pv_runtime_log(engine->model->runtime, PV_LOG_WARNING, "%s: %s", cause->message, what);
    if (!pv_events_reserve(&engine->events, 1, 0, 0)) return;
    pv_event *event = pv_events_add(&engine->events, PV_EVENT_FAULT, NULL);
    event->error = *cause;
    snprintf(event->error.message, sizeof event->error.message, "%.280s: %s", cause->message, what);
}

PV_BOOL pv_engine_next_event(pv_engine *engine, pv_event *event)
{
    if (engine == NULL || event == NULL || engine->events.count == 0) return false;
    pv_events *events = &engine->events;
    close_last(events);
    const pv_queued_event *queued = &events->queue[events->first++];
    events->count--;
    *event = queued->event;
    event->text = queued->text_length > 0 ? events->text.data + queued->text_at : "";
    event->text_length = queued->text_length;
    event->top = queued->event.top_count > 0 ? events->top + queued->top_at : NULL;
    return true;
}
