/* Inside the engine. One thread at a time steps; what others may do goes through the inbox.
 *
 * A sequence's tokens are `count` known ones; of their positions `computed` lie committed in the cache, and `scheduled` are computed or
 * in flight. With steps ahead a sequence may have one token `pending`: sampled by a step in flight, not seen yet. The host commits only
 * after a good fence, so after any fault everything goes on from `computed`. */
#ifndef PV_ENGINE_ENGINE_H
#define PV_ENGINE_ENGINE_H

#include <pthread.h>

#include "engine/pages.h"
#include "engine/stream.h"
#include "model/model.h"

#define PV_MAX_STOPS 16
#define PV_MAX_STEPS_AHEAD 2

typedef enum pv_sequence_state { PV_SEQUENCE_WAITING, PV_SEQUENCE_RUNNING, PV_SEQUENCE_ENDED } pv_sequence_state;

typedef struct pv_sequence {
    struct pv_sequence *next; /* in the inbox, the waiting list, or the running list (in order of admission) */
    pv_request_id id;
    pv_sequence_state state;
    /* the request */
    int32_t *tokens;          /* room for `limit` */
    uint32_t prompt_length, limit; /* limit: tokens it may have in all */
    pv_sampling sampling;
    pv_token_bias *biases;
    pv_stops stops;
    bool ignore_end, every_position;
    uint32_t top_logprobs;
    int32_t (*on_logits)(void *user, const float *logits, size_t vocabulary, uint32_t position);
    void *user;
    /* progress */
    uint32_t count, computed, scheduled, pending;
    uint32_t reused;          /* prompt tokens found in the cache at first admission */
    bool counted_reuse;
    int32_t slot;
    int32_t *pages[PV_MAX_GROUPS];
    uint32_t page_count;      /* pages that its positions reach to, in every group */
    uint32_t first_page[PV_MAX_GROUPS]; /* pages before it have been given back: its window has passed them */
    uint32_t patched;         /* entries of the block table that the device knows */
    bool penalizes;           /* sampling looks back at the token log */
    uint32_t log_patched, log_reused; /* positions from and below which the log needs patches, as their rows do not run */
    uint32_t published;       /* full pages given to the prefix cache */
    uint64_t serial[PV_MAX_GROUPS]; /* of the last of these */
    uint32_t in_flight;       /* steps that hold rows of it */
    uint32_t epoch;           /* counts releases: rows of an earlier epoch are discarded */
    bool cancelled, suspect;  /* suspect: its step failed twice, so it runs alone */
    pv_stream stream;
} pv_sequence;

typedef struct pv_step_item {
    pv_sequence *sequence;
    uint32_t first, rows;     /* positions [first, first + rows) */
    uint32_t logit, logits;   /* its outputs */
    uint32_t epoch;           /* of the sequence when it was scheduled */
} pv_step_item;

typedef struct pv_step {
    pv_step_item *items;      /* max_sequences */
    uint32_t item_count, rows, decode_rows, logits, biases, patches;
    bool wants_logits;        /* a callback reads them */
    uint32_t ring;            /* which block */
    pv_class *class;
    pv_fence fence;
} pv_step;

/* A request submitted and not ended, as other threads know it. */
typedef struct pv_open_request {
    pv_request_id id;
    bool cancelled;
} pv_open_request;

typedef struct pv_queued_event {
    pv_event event;
    size_t text_at, text_length, top_at;
} pv_queued_event;

typedef struct pv_events {
    const pv_allocator *allocator;
    pv_queued_event *queue;
    size_t capacity, first, count;
    pv_bytes text;            /* of all queued events */
    pv_top_logprob *top;
    size_t top_count, top_capacity;
} pv_events;

struct pv_engine {
    pv_model *model;
    const pv_allocator *allocator;
    uint32_t max_sequences, prefill_rows, max_waiting, steps_ahead, step_timeout_ms;
    bool reuse_prefixes;
    size_t token_bytes;       /* of the longest token */

    pv_pages *pages[PV_MAX_GROUPS];
    uint32_t window[PV_MAX_GROUPS]; /* keys that a group's layers look back at, 0: all */
    uint32_t group_count;
    uint32_t page_limit;      /* pages that the positions of one sequence may reach to */
    uint8_t *slots;           /* 1: taken; slot 0 is the null slot */
    pv_sequence *waiting, *running;
    uint32_t waiting_count, running_count;
    pv_step steps[PV_STEP_RING];
    uint32_t oldest_step, in_flight, next_ring;
    pv_fence newest;          /* the last one submitted, while it may still run; 0: the device has nothing of ours */
    float *logits;            /* one row, for callbacks */
    pv_events events;
    pv_engine_stats stats;

    /* faults */
    uint32_t row_budget;      /* prefill rows of a step; halved after a fault, restored by good steps */
    uint32_t failures;        /* steps that failed since the last good one */
    uint32_t rebuilds;        /* devices made anew since the last good step */
    double rows_per_second;   /* measured; 0: not yet */
    bool dead;
    pv_error death;

    /* shared with other threads, under `lock` */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pv_sequence *inbox, **inbox_end;
    pv_open_request *open;    /* grown when a request is submitted, so that cancelling needs no memory */
    size_t open_count, open_capacity;
    bool cancels;             /* since the last step */
    pv_request_id next_id;
    pv_request_id *flying;    /* ids in flight */
    uint32_t flying_count;
    bool woken;
    atomic_bool abort;        /* of the step in flight */
    atomic_flag stepping;
};

/* engine.c: takes an ended request from the list that other threads see. */
void pv_request_ended(pv_engine *engine, pv_request_id id);

/* events.c: the queue of events. Room is reserved before a step, so that taking up its results cannot fail. */
void pv_events_init(pv_events *events, const pv_allocator *allocator);
void pv_events_free(pv_events *events);
bool pv_events_reserve(pv_events *events, size_t events_more, size_t text_more, size_t top_more);
/* Starts an event; text added to events->text from here on is its own until the next one starts. */
pv_event *pv_events_add(pv_events *events, pv_event_kind kind, const pv_sequence *sequence);
void pv_events_add_top(pv_events *events, const pv_step_top *top, uint32_t count);
void pv_event_fault(pv_engine *engine, const pv_error *cause, const char *format, ...) PV_PRINTF(3, 4);

/* sequence.c: one request's life. */
pv_status pv_sequence_create(const pv_engine *engine, const pv_request *request, pv_sequence **sequence, pv_error *error);
void pv_sequence_destroy(const pv_engine *engine, pv_sequence *sequence);
/* Gives back the pages that its windows have passed. */
void pv_sequence_trim(pv_engine *engine, pv_sequence *sequence);
/* Gives slot and pages back; the sequence may be admitted again and then starts from its tokens. */
void pv_sequence_release(pv_engine *engine, pv_sequence *sequence);
/* Ends it with an event. It stays in its list until the next sweep. */
void pv_sequence_end(pv_engine *engine, pv_sequence *sequence, pv_finish finish, const pv_error *error);
/* Makes sure of pages for positions below `positions`; false if there are not enough. */
bool pv_sequence_need_pages(pv_engine *engine, pv_sequence *sequence, uint32_t positions);

/* schedule.c: who runs. */
void pv_admit(pv_engine *engine);
/* Puts a running sequence back to the front of those that wait. */
void pv_preempt(pv_engine *engine, pv_sequence *sequence);
/* Removes ended sequences from the lists. */
void pv_sweep(pv_engine *engine);
/* Chooses rows; step->rows is 0 if there is nothing to do. */
void pv_schedule(pv_engine *engine, pv_step *step);

/* step.c: the way of a step to the device and back. */
pv_status pv_step_submit(pv_engine *engine, pv_step *step, pv_error *error);
void pv_step_commit(pv_engine *engine, pv_step *step);

/* recover.c: the faults table. `step` failed with `cause`; PV_OK if the engine goes on. */
pv_status pv_recover(pv_engine *engine, pv_step *step, const pv_error *cause, pv_error *error);
/* Ends every request with this error. */
void pv_end_all(pv_engine *engine, const pv_error *cause);
/* Forgets all steps in flight; everything goes on from what is committed. Blocks and the abort flag must outlive what was submitted:
 * so it is ended or waited for first, unless the device is `gone` and will be closed. */
void pv_forget_steps(pv_engine *engine, bool gone);
/* Ends what the device still runs, and waits for that no longer than a step's time-out. */
void pv_drain(pv_engine *engine);

#endif
