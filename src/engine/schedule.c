/* Who runs in the next step. First come, first served: sequences are admitted in the order of their requests, as long as there is a slot
 * and room for their tokens; when pages run out, the youngest one goes back to wait and is computed anew later, with the same result. */
#include <string.h>

#include "base/checked.h"
#include "engine/engine.h"

/* ---- Lists ---- */

static void append(pv_sequence **list, pv_sequence *s)
{
    while (*list != NULL) list = &(*list)->next;
    s->next = NULL;
    *list = s;
}

static void unlink_from(pv_sequence **list, pv_sequence *s)
{
    while (*list != s) list = &(*list)->next;
    *list = s->next;
    s->next = NULL;
}

void pv_preempt(pv_engine *engine, pv_sequence *s)
{
    pv_sequence_release(engine, s);
    unlink_from(&engine->running, s);
    engine->running_count--;
    s->state = PV_SEQUENCE_WAITING;
    s->next = engine->waiting;
    engine->waiting = s;
    engine->waiting_count++;
}

static void sweep_list(pv_engine *engine, pv_sequence **list, uint32_t *count)
{
    while (*list != NULL) {
        pv_sequence *s = *list;
        if (s->state == PV_SEQUENCE_ENDED && s->in_flight == 0) {
            *list = s->next;
            (*count)--;
            pv_sequence_destroy(engine, s);
        } else {
            list = &s->next;
        }
    }
}

void pv_sweep(pv_engine *engine)
{
    sweep_list(engine, &engine->waiting, &engine->waiting_count);
    sweep_list(engine, &engine->running, &engine->running_count);
}

/* ---- Admission ---- */

static int32_t free_slot(const pv_engine *engine)
{
    for (uint32_t slot = 1; slot <= engine->max_sequences; slot++)
        if (!engine->slots[slot]) return (int32_t)slot;
    return 0;
}

/* The longest prefix of full pages that every group has; the last token is always computed, as its logits are wanted. */
static uint32_t find_prefix(const pv_engine *engine, const pv_sequence *s)
{
    if (!engine->reuse_prefixes || s->every_position) return 0;
    uint32_t most = (s->count - 1) / PV_PAGE_TOKENS;
    for (uint32_t g = 0; g < engine->group_count; g++) {
        uint64_t serial = PV_ROOT_SERIAL;
        uint32_t page = 0;
        while (page < most && pv_pages_find(engine->pages[g], serial, s->tokens + page * PV_PAGE_TOKENS, &serial) != PV_NO_PAGE) page++;
        most = page;
    }
    return most;
}

static void share_prefix(pv_engine *engine, pv_sequence *s, uint32_t pages)
{
    for (uint32_t g = 0; g < engine->group_count; g++) {
        s->serial[g] = PV_ROOT_SERIAL;
        for (uint32_t i = 0; i < pages; i++) {
            s->pages[g][i] = pv_pages_find(engine->pages[g], s->serial[g], s->tokens + i * PV_PAGE_TOKENS, &s->serial[g]);
            pv_pages_share(engine->pages[g], s->pages[g][i]);
        }
    }
    s->page_count = s->published = pages;
    s->computed = s->scheduled = pages * PV_PAGE_TOKENS;
    pv_sequence_trim(engine, s);
}

/* Room for all its tokens and the next one, so that it does not come in only to be sent back. */
static bool has_room(const pv_engine *engine, const pv_sequence *s)
{
    uint32_t wanted = (uint32_t)pv_div_up(s->count + 1, PV_PAGE_TOKENS) - s->page_count;
    if (s->count + 1 > s->limit) wanted = (uint32_t)pv_div_up(s->limit, PV_PAGE_TOKENS) - s->page_count;
    for (uint32_t g = 0; g < engine->group_count; g++) {
        const uint32_t most = pv_window_pages(&engine->model->capacity, engine->window[g]);
        const uint32_t here = engine->window[g] > 0 && wanted > most ? most : wanted;
        if (pv_pages_free(engine->pages[g]) + pv_pages_cached(engine->pages[g]) < here) return false;
    }
    return true;
}

static bool admit_one(pv_engine *engine, pv_sequence *s)
{
    int32_t slot = free_slot(engine);
    if (slot == 0) return false;
    share_prefix(engine, s, find_prefix(engine, s));
    if (!has_room(engine, s)) {
        pv_sequence_release(engine, s);
        return false;
    }
    s->slot = slot;
    engine->slots[slot] = 1;
    s->log_reused = s->penalizes ? s->computed : 0;
    if (!s->counted_reuse) {
        s->counted_reuse = true;
        s->reused = s->computed;
        engine->stats.reused_tokens += s->computed;
    }
    return true;
}

void pv_admit(pv_engine *engine)
{
    while (engine->waiting != NULL) {
        pv_sequence *s = engine->waiting;
        if (s->state != PV_SEQUENCE_ENDED && !admit_one(engine, s)) return;
        engine->waiting = s->next;
        engine->waiting_count--;
        if (s->state != PV_SEQUENCE_ENDED) s->state = PV_SEQUENCE_RUNNING;
        append(&engine->running, s);
        engine->running_count++;
    }
}

/* ---- Choosing rows ---- */

static uint32_t remaining(const pv_sequence *s)
{
    return s->count + s->pending - s->scheduled;
}

/* A token that nobody has seen can be run on unless it may not be run at all. */
static bool can_run(const pv_engine *engine, const pv_sequence *s)
{
    if (s->state != PV_SEQUENCE_RUNNING || s->cancelled || remaining(s) == 0) return false;
    if (s->pending == 0) return true;
    return engine->steps_ahead > 1 && s->on_logits == NULL && s->count + s->pending < s->limit;
}

static void remove_item(pv_step *step, const pv_sequence *s)
{
    for (uint32_t i = 0; i < step->item_count; i++) {
        if (step->items[i].sequence != s) continue;
        step->rows -= step->items[i].rows;
        step->decode_rows -= step->items[i].rows == 1;
        step->logits -= step->items[i].logits;
        step->biases -= step->items[i].logits > 0 ? (uint32_t)s->sampling.bias_count : 0;
        memmove(&step->items[i], &step->items[i + 1], (step->item_count - i - 1) * sizeof step->items[i]);
        step->item_count--;
        return;
    }
}

/* Pages for a sequence, at the cost of the youngest one; false if it was the youngest itself that had to go. */
static bool make_room(pv_engine *engine, pv_step *step, pv_sequence *s, uint32_t positions)
{
    while (!pv_sequence_need_pages(engine, s, positions)) {
        pv_sequence *youngest = NULL;
        for (pv_sequence *r = engine->running; r != NULL; r = r->next)
            if (r->state == PV_SEQUENCE_RUNNING) youngest = r;
        remove_item(step, youngest);
        pv_preempt(engine, youngest);
        if (youngest == s) return false;
    }
    return true;
}

static uint32_t patches_of(const pv_sequence *s, uint32_t group_count)
{
    return (s->page_count - s->patched) * group_count + s->log_reused - s->log_patched;
}

static void add_item(pv_engine *engine, pv_step *step, pv_sequence *s, uint32_t rows)
{
    const pv_step_limits *limits = &engine->model->placement->limits;
    uint32_t first = s->scheduled, end = first + rows;
    bool samples = end == s->count + s->pending;
    uint32_t logits = s->every_position ? rows : samples;
    uint32_t biases = samples ? (uint32_t)s->sampling.bias_count : 0;
    if (!make_room(engine, step, s, end)) return;
    if (step->logits + logits > limits->logits || step->biases + biases > limits->biases) return;
    if (step->patches + patches_of(s, engine->group_count) > limits->patches) return;
    step->items[step->item_count++] = (pv_step_item){
        .sequence = s, .first = first, .rows = rows, .logits = logits, .epoch = s->epoch};
    step->rows += rows;
    step->decode_rows += rows == 1;
    step->logits += logits;
    step->biases += biases;
    step->patches += patches_of(s, engine->group_count);
    step->wants_logits |= logits > 0 && s->on_logits != NULL;
}

/* In the two loops below a sequence that loses its place is the last of the list, so what follows it need not be looked at. */
static void schedule_decodes(pv_engine *engine, pv_step *step)
{
    for (pv_sequence *s = engine->running, *next; s != NULL; s = next) {
        next = s->next;
        if (can_run(engine, s) && remaining(s) == 1) add_item(engine, step, s, 1);
    }
}

static void schedule_prefills(pv_engine *engine, pv_step *step)
{
    uint32_t budget = engine->row_budget;
    for (pv_sequence *s = engine->running, *next; s != NULL && budget > 0; s = next) {
        next = s->next;
        if (!can_run(engine, s) || remaining(s) < 2) continue;
        uint32_t rows = remaining(s) < budget ? remaining(s) : budget;
        if (s->every_position && rows > PV_TILE_ROWS) rows = PV_TILE_ROWS;
        uint32_t before = step->rows;
        add_item(engine, step, s, rows);
        budget -= step->rows > before ? rows : 0;
    }
}

static pv_sequence *find_suspect(const pv_engine *engine)
{
    for (pv_sequence *s = engine->running; s != NULL; s = s->next)
        if (s->suspect && s->state == PV_SEQUENCE_RUNNING) return s;
    return NULL;
}

void pv_schedule(pv_engine *engine, pv_step *step)
{
    pv_step_item *items = step->items;
    *step = (pv_step){.items = items};
    pv_sequence *suspect = find_suspect(engine);
    if (suspect != NULL) {
        uint32_t rows = remaining(suspect) < engine->row_budget ? remaining(suspect) : engine->row_budget;
        if (suspect->every_position && rows > PV_TILE_ROWS) rows = PV_TILE_ROWS;
        if (can_run(engine, suspect)) add_item(engine, step, suspect, rows);
        return;
    }
    schedule_decodes(engine, step);
    schedule_prefills(engine, step);
}
