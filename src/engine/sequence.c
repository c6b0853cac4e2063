#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "engine/engine.h"

/* Logits are divided by these: smaller ones would make infinities of them, which all look alike. */
#define LEAST_TEMPERATURE 1e-6f
#define LEAST_REPETITION 1e-4f

/* ---- Making ---- */

/* Zero is the default of every setting. */
static pv_status check_sampling(const pv_sampling *s, uint32_t vocabulary, pv_error *error)
{
    const struct {
        const char *name;
        float value, low, high;
    } ranges[] = {
        {"temperature", s->temperature, 0, 1e4f},
        {"top_p", s->top_p, 0, 1},
        {"min_p", s->min_p, 0, 1},
        {"repetition_penalty", s->repetition_penalty, LEAST_REPETITION, 1e4f},
        {"frequency_penalty", s->frequency_penalty, -1e4f, 1e4f},
        {"presence_penalty", s->presence_penalty, -1e4f, 1e4f},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (ranges[i].value != 0 && !(ranges[i].value >= ranges[i].low && ranges[i].value <= ranges[i].high))
            return pv_fail(error, PV_INVALID_ARGUMENT, "%s is %g, a number from %g to %g is wanted", ranges[i].name, (double)ranges[i].value,
                           (double)ranges[i].low, (double)ranges[i].high);
    if (s->bias_count > PV_MAX_BIASES || (s->bias_count > 0 && s->bias == NULL))
        return pv_fail(error, PV_INVALID_ARGUMENT, "%zu biases are given, at most %d are wanted", s->bias_count, PV_MAX_BIASES);
    for (size_t i = 0; i < s->bias_count; i++)
        if (s->bias[i].token < 0 || (uint32_t)s->bias[i].token >= vocabulary || isnan(s->bias[i].bias) || s->bias[i].bias == INFINITY)
            return pv_fail(error, PV_INVALID_ARGUMENT, "bias %zu is %g for token %d; an id below %u and a number below infinity are wanted", i,
                           (double)s->bias[i].bias, s->bias[i].token, vocabulary);
    return PV_OK;
}

static pv_status check_request(const pv_engine *engine, const pv_request *r, pv_error *error)
{
    uint32_t vocabulary = engine->model->decoder.vocabulary;
    if (r->prompt == NULL || r->prompt_length == 0) return pv_fail(error, PV_INVALID_ARGUMENT, "the prompt is empty");
    if (r->stop_count > PV_MAX_STOPS || (r->stop_count > 0 && r->stop == NULL))
        return pv_fail(error, PV_INVALID_ARGUMENT, "%zu stop strings are given, at most %d are wanted", r->stop_count, PV_MAX_STOPS);
    if (r->top_logprobs > PV_MAX_TOP_LOGPROBS)
        return pv_fail(error, PV_INVALID_ARGUMENT, "top_logprobs is %u, at most %d is wanted", r->top_logprobs, PV_MAX_TOP_LOGPROBS);
    uint32_t context = engine->model->capacity.context;
    uint64_t room = (uint64_t)engine->page_limit * PV_PAGE_TOKENS;
    if (r->prompt_length >= context)
        return pv_fail(error, PV_CONTEXT_FULL, "the prompt has %zu tokens, the context holds %u and an answer needs one more", r->prompt_length, context);
    if (r->prompt_length >= room)
        return pv_fail(error, PV_CONTEXT_FULL, "the prompt has %zu tokens, the KV cache holds %llu in all; load with more kv_bytes", r->prompt_length,
                       (unsigned long long)room);
    for (size_t i = 0; i < r->prompt_length; i++)
        if (r->prompt[i] < 0 || (uint32_t)r->prompt[i] >= vocabulary)
            return pv_fail(error, PV_INVALID_ARGUMENT, "token %zu of the prompt is %d, an id below %u is wanted", i, r->prompt[i], vocabulary);
    return check_sampling(&r->sampling, vocabulary, error);
}

static uint32_t token_limit(const pv_engine *engine, const pv_request *r)
{
    uint64_t limit = engine->model->capacity.context, room = (uint64_t)engine->page_limit * PV_PAGE_TOKENS;
    uint64_t asked = r->max_tokens > 0 ? (uint64_t)r->prompt_length + r->max_tokens : limit;
    if (room < limit) limit = room;
    return (uint32_t)(asked < limit ? asked : limit);
}

static bool has_penalties(const pv_sampling *p)
{
    return (p->repetition_penalty != 0 && p->repetition_penalty != 1) || p->frequency_penalty != 0 || p->presence_penalty != 0;
}

static bool copy_request(const pv_engine *engine, const pv_request *r, pv_sequence *s)
{
    const pv_allocator *allocator = engine->allocator;
    s->tokens = pv_alloc(allocator, s->limit, sizeof *s->tokens);
    if (s->tokens == NULL) return false;
    memcpy(s->tokens, r->prompt, r->prompt_length * sizeof *s->tokens);
    if (r->sampling.bias_count > 0) {
        s->biases = pv_alloc(allocator, r->sampling.bias_count, sizeof *s->biases);
        if (s->biases == NULL) return false;
        memcpy(s->biases, r->sampling.bias, r->sampling.bias_count * sizeof *s->biases);
    }
    s->sampling.bias = s->biases;
    for (uint32_t g = 0; g < engine->group_count; g++) {
        s->pages[g] = pv_alloc(allocator, pv_div_up(s->limit, PV_PAGE_TOKENS), sizeof *s->pages[g]);
        if (s->pages[g] == NULL) return false;
    }
    return pv_stream_init(&s->stream, allocator, engine->token_bytes, &s->stops);
}

pv_status pv_sequence_create(const pv_engine *engine, const pv_request *r, pv_sequence **out, pv_error *error)
{
    pv_status status = check_request(engine, r, error);
    if (status != PV_OK) return status;
    pv_sequence *s = pv_calloc(engine->allocator, 1, sizeof *s);
    if (s == NULL) return pv_fail_memory(error, sizeof *s, "a request");
    *s = (pv_sequence){.sampling = r->sampling, .ignore_end = r->ignore_end, .every_position = r->every_position && r->on_logits != NULL,
                       .penalizes = has_penalties(&r->sampling), .top_logprobs = r->top_logprobs, .on_logits = r->on_logits, .user = r->user,
                       .prompt_length = (uint32_t)r->prompt_length, .count = (uint32_t)r->prompt_length, .limit = token_limit(engine, r)};
    if (s->sampling.temperature < LEAST_TEMPERATURE) s->sampling.temperature = 0;
    status = pv_stops_copy(engine->allocator, r->stop, r->stop_count, &s->stops, error);
    if (status == PV_OK && !copy_request(engine, r, s)) status = pv_fail_memory(error, s->limit * sizeof *s->tokens, "a request's tokens");
    if (status != PV_OK) {
        pv_sequence_destroy(engine, s);
        return status;
    }
    *out = s;
    return PV_OK;
}

void pv_sequence_destroy(const pv_engine *engine, pv_sequence *s)
{
    const pv_allocator *allocator = engine->allocator;
    pv_stops_free(allocator, &s->stops);
    pv_stream_free(&s->stream);
    for (uint32_t g = 0; g < PV_MAX_GROUPS; g++) pv_free(allocator, s->pages[g]);
    pv_free(allocator, s->biases);
    pv_free(allocator, s->tokens);
    pv_free(allocator, s);
}

/* ---- Pages ---- */

bool pv_sequence_need_pages(pv_engine *engine, pv_sequence *s, uint32_t positions)
{
    uint32_t wanted = (uint32_t)pv_div_up(positions, PV_PAGE_TOKENS);
    for (; s->page_count < wanted; s->page_count++) {
        for (uint32_t g = 0; g < engine->group_count; g++) {
            int32_t page = pv_pages_take(engine->pages[g]);
            if (page == PV_NO_PAGE) {
                while (g-- > 0) pv_pages_release(engine->pages[g], s->pages[g][s->page_count]);
                return false;
            }
            s->pages[g][s->page_count] = page;
        }
    }
    return true;
}

/* What is not committed may run again: the windows of what comes after `computed` are kept whole. */
void pv_sequence_trim(pv_engine *engine, pv_sequence *s)
{
    for (uint32_t g = 0; g < engine->group_count; g++) {
        const uint32_t window = engine->window[g];
        if (window == 0 || s->computed + 1 <= window) continue;
        const uint32_t first = (s->computed + 1 - window) / PV_PAGE_TOKENS;
        for (; s->first_page[g] < first; s->first_page[g]++) {
            pv_pages_release(engine->pages[g], s->pages[g][s->first_page[g]]);
            s->pages[g][s->first_page[g]] = PV_NULL_PAGE;
        }
    }
}

void pv_sequence_release(pv_engine *engine, pv_sequence *s)
{
    while (s->page_count > 0) {
        s->page_count--;
        for (uint32_t g = 0; g < engine->group_count; g++)
            if (s->page_count >= s->first_page[g]) pv_pages_release(engine->pages[g], s->pages[g][s->page_count]);
    }
    memset(s->first_page, 0, sizeof s->first_page);
    if (s->slot > 0) engine->slots[s->slot] = 0;
    s->slot = 0;
    s->epoch++;
    s->computed = s->scheduled = s->pending = s->patched = s->published = s->log_patched = s->log_reused = 0;
    memset(s->serial, 0, sizeof s->serial);
}

/* ---- The end ---- */

void pv_sequence_end(pv_engine *engine, pv_sequence *s, pv_finish finish, const pv_error *error)
{
    if (s->state == PV_SEQUENCE_ENDED) return;
    uint32_t generated = s->count - s->prompt_length;
    pv_sequence_release(engine, s);
    s->state = PV_SEQUENCE_ENDED;
    pv_request_ended(engine, s->id);
    if (!pv_events_reserve(&engine->events, 1, pv_stream_most(&s->stream, 0), 0)) return;
    pv_event *event = pv_events_add(&engine->events, PV_EVENT_FINISHED, s);
    event->finish = finish;
    event->prompt_tokens = s->prompt_length;
    event->reused_tokens = s->reused;
    event->generated_tokens = generated;
    if (error != NULL) event->error = *error;
    pv_stream_flush(&s->stream, &engine->events.text);
}
