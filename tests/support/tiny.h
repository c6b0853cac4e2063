/* A tiny synthetic model in a temporary folder, and requests run on it: what most tests of the engine start from. */
#ifndef PV_TESTS_SUPPORT_TINY_H
#define PV_TESTS_SUPPORT_TINY_H

#include "pensieve.h"

#include "backend/backend.h"

#define TINY_VOCABULARY 288
#define TINY_MOST 512

/* Path of a synthetic model of shape "tiny" in this layout, written at first use and removed at exit. */
const char *tiny_path(const char *layout);

/* What a request gave. */
typedef struct tiny_result {
    int32_t tokens[TINY_MOST];
    size_t count;
    char text[8 * TINY_MOST];
    size_t text_length;
    pv_finish finish;
    pv_status error;
    uint32_t reused;
    bool finished;
} tiny_result;

/* Takes up all events that the engine has; results are found through event.user, faults are counted. */
void tiny_take_events(pv_engine *engine, uint32_t *faults);
/* Steps until nothing is left, at most `steps` times; fails the test on an error of pv_engine_step. */
void tiny_run(pv_engine *engine, size_t steps, uint32_t *faults);
/* Runs one request alone on a fresh engine of the model. */
void tiny_run_alone(pv_model *model, const pv_request *request, tiny_result *result);
/* Fails the test unless tokens, text and end are the same. */
void tiny_assert_same(const tiny_result *found, const tiny_result *wanted);

/* An allocator that counts and can fail the nth allocation (1 is the first; 0: never), once or from then on. */
typedef struct tiny_allocator {
    _Atomic(uint64_t) calls, live;
    uint64_t fail_at;
    bool for_ever;
} tiny_allocator;
pv_allocator tiny_allocator_get(tiny_allocator *allocator);

#endif
