/* A step's way to the device and back: the block is filled, submitted, and what comes out of a good fence is committed. */
#include <string.h>

#include "base/checked.h"
#include "engine/engine.h"

/* ---- Filling the block ---- */

static void add_patches(const pv_engine *engine, pv_sequence *s, pv_step_view *view)
{
    pv_step_counts *counts = view->counts;
    for (; s->patched < s->page_count; s->patched++)
        for (uint32_t g = 0; g < engine->group_count; g++)
            view->patches[counts->patches++] = (pv_step_patch){
                .group = (int32_t)g, .slot = s->slot, .index = (int32_t)s->patched, .page = s->pages[g][s->patched]};
    for (; s->log_patched < s->log_reused; s->log_patched++)
        view->patches[counts->patches++] = (pv_step_patch){
            .group = PV_PATCH_TOKEN_LOG, .slot = s->slot, .index = (int32_t)s->log_patched, .page = s->tokens[s->log_patched]};
}

static void add_rows(const pv_step_item *item, pv_step_view *view)
{
    const pv_sequence *s = item->sequence;
    pv_step_counts *counts = view->counts;
    int32_t seq = (int32_t)counts->seqs, first_row = (int32_t)counts->rows;
    view->seqs[counts->seqs++] = (pv_step_seq){
        .slot = s->slot, .first_row = first_row, .rows = (int32_t)item->rows, .kv_length = (int32_t)(item->first + item->rows)};
    for (uint32_t i = 0; i < item->rows; i++) {
        uint32_t position = item->first + i;
        view->rows[counts->rows++] = (pv_step_row){
            .token = position < s->count ? s->tokens[position] : PV_TOKEN_FROM_LOG, .position = (int32_t)position, .slot = s->slot, .seq = seq};
    }
    for (uint32_t i = 0; i < item->rows; i += PV_TILE_ROWS)
        view->tiles[counts->tiles++] = (pv_step_tile){
            .seq = seq, .first_row = first_row + (int32_t)i, .rows = (int32_t)pv_min_size(PV_TILE_ROWS, item->rows - i)};
}

static pv_step_logit describe_sampling(const pv_sequence *s)
{
    const pv_sampling *p = &s->sampling;
    return (pv_step_logit){
        .slot = s->slot,
        .prompt_length = (int32_t)s->prompt_length,
        .temperature = p->temperature,
        .top_k = p->top_k,
        .top_p = p->top_p > 0 ? p->top_p : 1,
        .min_p = p->min_p,
        .repetition = p->repetition_penalty > 0 ? p->repetition_penalty : 1,
        .frequency = p->frequency_penalty,
        .presence = p->presence_penalty,
        .penalty_last = p->penalty_last > 0 ? p->penalty_last : 64,
        .seed = {(uint32_t)p->seed, (uint32_t)(p->seed >> 32)},
        .top_count = s->top_logprobs,
    };
}

static void add_logits(pv_step_item *item, pv_step_view *view, uint32_t first_row)
{
    const pv_sequence *s = item->sequence;
    pv_step_counts *counts = view->counts;
    uint32_t last = s->count + s->pending - 1, bias_first = counts->biases;
    item->logit = counts->logits;
    for (uint32_t i = 0; i < item->logits; i++) {
        uint32_t row = item->rows - item->logits + i, position = item->first + row;
        pv_step_logit logit = describe_sampling(s);
        logit.row = (int32_t)(first_row + row);
        logit.position = (int32_t)position;
        logit.sample = position == last;
        if (logit.sample && s->sampling.bias_count > 0) {
            for (size_t b = 0; b < s->sampling.bias_count; b++)
                view->biases[counts->biases++] = (pv_step_bias){s->biases[b].token, s->biases[b].bias};
            logit.bias_first = bias_first;
            logit.bias_count = (uint32_t)s->sampling.bias_count;
        }
        view->logits[counts->logits++] = logit;
    }
}

static void fill_block(pv_engine *engine, pv_step *step, void *block)
{
    pv_step_view view = pv_step_view_of(block, &engine->model->placement->step);
    *view.counts = (pv_step_counts){.decode_rows = step->decode_rows};
    for (int decodes = 1; decodes >= 0; decodes--) {
        for (uint32_t i = 0; i < step->item_count; i++) {
            pv_step_item *item = &step->items[i];
            if ((item->rows == 1) != decodes) continue;
            uint32_t first_row = view.counts->rows;
            add_patches(engine, item->sequence, &view);
            add_rows(item, &view);
            add_logits(item, &view, first_row);
        }
    }
}

/* ---- Submitting ---- */

static void note_flying(pv_engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    engine->flying_count = 0;
    for (uint32_t i = 0; i < engine->in_flight; i++) {
        const pv_step *step = &engine->steps[(engine->oldest_step + i) % PV_STEP_RING];
        for (uint32_t j = 0; j < step->item_count; j++) engine->flying[engine->flying_count++] = step->items[j].sequence->id;
    }
    pthread_mutex_unlock(&engine->lock);
}

pv_status pv_step_submit(pv_engine *engine, pv_step *step, pv_error *error)
{
    pv_placement *p = engine->model->placement;
    pv_status status = pv_placement_class(p, step->decode_rows, step->rows - step->decode_rows, step->logits, &step->class, error);
    if (status != PV_OK) return status;
    step->ring = engine->next_ring;
    const pv_tensor *block = &p->block[step->ring], *outputs = &p->outputs[step->ring];
    fill_block(engine, step, pv_tensor_host(block));
    memset(pv_tensor_host(outputs), 0, step->logits * sizeof(pv_step_output));
    pv_submission submission = {.plans = step->class->prepared, .plan_count = step->logits > 0 ? 2 : 1, .block = *block,
                                .outputs = *outputs, .abort = &engine->abort};
    status = p->device->backend->submit(p->device, &submission, &step->fence, error);
    if (status != PV_OK) return status;
    engine->next_ring = (engine->next_ring + 1) % PV_STEP_RING;
    engine->newest = step->fence;
    engine->in_flight++;
    for (uint32_t i = 0; i < step->item_count; i++) {
        pv_step_item *item = &step->items[i];
        pv_sequence *s = item->sequence;
        bool samples = item->first + item->rows == s->count + s->pending;
        s->scheduled += item->rows;
        s->pending += samples;
        s->in_flight++;
    }
    note_flying(engine);
    return PV_OK;
}

/* ---- Committing ---- */

static void publish_pages(pv_engine *engine, pv_sequence *s)
{
    if (!engine->reuse_prefixes) return;
    for (; (s->published + 1) * PV_PAGE_TOKENS <= s->computed; s->published++)
        for (uint32_t g = 0; g < engine->group_count; g++)
            s->serial[g] = pv_pages_publish(engine->pages[g], s->pages[g][s->published], s->serial[g], s->tokens + s->published * PV_PAGE_TOKENS);
}

static void end_non_finite(pv_engine *engine, pv_sequence *s, uint32_t position)
{
    pv_error error;
    pv_fail_at(&error, PV_NON_FINITE, "sample", PV_NO_OFFSET, "the logits of position %u of request %llu are not finite", position,
               (unsigned long long)s->id);
    engine->stats.faults++;
    /* its earlier pages may hold the cause: nobody else shall start from them */
    for (uint32_t g = 0; g < engine->group_count; g++) pv_pages_forget(engine->pages[g]);
    pv_sequence_end(engine, s, PV_FINISH_ERROR, &error);
}

/* Shows logits to the request's callback; what it returns replaces the sampled token. */
static pv_status call_on_logits(pv_engine *engine, const pv_step *step, const pv_step_item *item, int32_t *token, pv_error *error)
{
    const pv_placement *p = engine->model->placement;
    const pv_sequence *s = item->sequence;
    const pv_tensor *rows = &step->class->logit_rows;
    uint32_t vocabulary = engine->model->decoder.vocabulary;
    for (uint32_t i = 0; i < item->logits; i++) {
        uint64_t offset = rows->offset + (uint64_t)(item->logit + i) * vocabulary * sizeof(float);
        pv_status status = p->device->backend->read(p->device, rows->buffer, offset, engine->logits, vocabulary * sizeof(float), error);
        if (status != PV_OK) return status;
        uint32_t position = item->first + item->rows - item->logits + i;
        int32_t answer = s->on_logits(s->user, engine->logits, vocabulary, position);
        if (position + 1 == s->count && answer >= 0 && (uint32_t)answer < vocabulary) *token = answer;
    }
    return PV_OK;
}

/* A new token: the event, its text, and whether the answer ends with it. */
static void append_token(pv_engine *engine, pv_sequence *s, const pv_step_output *output, int32_t token)
{
    pv_model *model = engine->model;
    bool ends = !s->ignore_end && pv_token_ends(model, token);
    s->tokens[s->count++] = token;
    pv_event *event = pv_events_add(&engine->events, PV_EVENT_TOKEN, s);
    event->token = token;
    event->position = s->count - 1;
    event->logprob = token == output->token ? output->logprob : 0;
    pv_events_add_top(&engine->events, output->top, output->top_count);
    engine->stats.tokens++;
    const char *bytes = "";
    size_t length = 0;
    bool control = false, stopped = false;
    if (model->tokenizer != NULL && !ends) pv_tokenizer_bytes(model->tokenizer, token, &bytes, &length, &control);
    if (length > 0 && !control) stopped = pv_stream_add(&s->stream, &s->stops, bytes, length, &engine->events.text);
    if (ends || stopped)
        pv_sequence_end(engine, s, PV_FINISH_STOP, NULL);
    else if (s->count == s->limit)
        pv_sequence_end(engine, s, PV_FINISH_LENGTH, NULL);
}

static pv_status commit_item(pv_engine *engine, const pv_step *step, const pv_step_item *item, const pv_step_output *outputs, pv_error *error)
{
    pv_sequence *s = item->sequence;
    if (s->state != PV_SEQUENCE_RUNNING || s->epoch != item->epoch) return PV_OK; /* ended or sent back meanwhile: discarded rows */
    s->computed += item->rows;
    s->suspect = false;
    for (uint32_t i = 0; i < item->logits; i++) {
        if (outputs[item->logit + i].status == PV_OUTPUT_OK) continue;
        end_non_finite(engine, s, item->first + item->rows - item->logits + i);
        return PV_OK;
    }
    publish_pages(engine, s);
    pv_sequence_trim(engine, s);
    if (item->logits == 0) return PV_OK;
    const pv_step_output *output = &outputs[item->logit + item->logits - 1];
    int32_t token = output->token;
    if (s->on_logits != NULL) {
        pv_status status = call_on_logits(engine, step, item, &token, error);
        if (status != PV_OK) return status;
    }
    bool samples = item->first + item->rows == s->count;
    if (!samples) return PV_OK;
    s->pending--;
    append_token(engine, s, output, token);
    return PV_OK;
}

void pv_step_commit(pv_engine *engine, pv_step *step)
{
    const pv_step_output *outputs = pv_tensor_host(&engine->model->placement->outputs[step->ring]);
    engine->in_flight--;
    engine->oldest_step = (engine->oldest_step + 1) % PV_STEP_RING;
    engine->stats.steps++;
    engine->stats.rows += step->rows;
    for (uint32_t i = 0; i < step->item_count; i++) {
        step->items[i].sequence->in_flight--;
        pv_error reason = {0};
        pv_status status = commit_item(engine, step, &step->items[i], outputs, &reason);
        if (status != PV_OK) pv_sequence_end(engine, step->items[i].sequence, PV_FINISH_ERROR, &reason);
    }
    note_flying(engine);
}
