/* The faults table, row by row: injected below the engine, kind × place, each with its expected outcome written down. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "engine/engine.h"
#include "runtime/fault.h"
#include "support/tiny.h"

#define REQUESTS 3
#define PROMPT 100 /* with 32 rows a step: four steps of prefill for the first request */

typedef struct fixture {
    pv_allocator allocator;
    pv_fault_backend *wrapper;
    pv_runtime *runtime;
    pv_model *model;
    pv_engine *engine;
    int32_t prompts[REQUESTS][PROMPT];
    pv_request requests[REQUESTS];
    tiny_result wanted[REQUESTS], found[REQUESTS];
    uint32_t faults;
} fixture;

static fixture f;

static void make_requests(void)
{
    for (int r = 0; r < REQUESTS; r++) {
        for (int i = 0; i < PROMPT; i++) f.prompts[r][i] = (r * 31 + i * 7) % TINY_VOCABULARY;
        f.requests[r] = (pv_request){
            .prompt = f.prompts[r], .prompt_length = (size_t)(PROMPT - 35 * r), .max_tokens = 16, .ignore_end = true,
            .sampling = {.temperature = r == 0 ? 0.0f : 0.8f, .seed = (uint64_t)(40 + r), .repetition_penalty = r == 2 ? 1.2f : 0.0f},
        };
    }
}

static pv_status load(const pv_backend *const *backends, size_t count)
{
    pv_error error = {0};
    pv_runtime_options options = {.allocator = f.allocator, .threads = 2};
    pv_model_options model = {.max_step_rows = 32, .context = 256, .kv_bytes = 1 << 20};
    assert_int_equal(pv_runtime_create_with(&options, backends, count, &f.runtime, &error), PV_OK);
    return pv_model_load(f.runtime, tiny_path("Q8_0"), &model, &f.model, &error);
}

/* The wrapped CPU is the device; the CPU itself stands behind it when `spare`. */
static void open_all(bool spare, uint32_t ahead)
{
    f.allocator = pv_allocator_default();
    assert_int_equal(pv_fault_backend_create(&f.allocator, &pv_cpu_backend, &f.wrapper, NULL), PV_OK);
    const pv_backend *backends[] = {pv_fault_backend_get(f.wrapper), &pv_cpu_backend};
    assert_int_equal(load(backends, spare ? 2 : 1), PV_OK);
    pv_engine_options options = {.steps_ahead = ahead, .step_timeout_ms = 200};
    assert_int_equal(pv_engine_create(f.model, &options, &f.engine, NULL), PV_OK);
}

static void close_all(void)
{
    pv_engine_destroy(f.engine);
    pv_model_destroy(f.model);
    pv_runtime_destroy(f.runtime);
    pv_fault_backend_destroy(f.wrapper);
    f.engine = NULL;
    f.model = NULL;
}

static void submit_all(void)
{
    memset(f.found, 0, sizeof f.found);
    f.faults = 0;
    for (int r = 0; r < REQUESTS; r++) {
        f.requests[r].user = &f.found[r];
        assert_int_equal(pv_engine_submit(f.engine, &f.requests[r], NULL, NULL), PV_OK);
    }
}

static int set_up(void **state)
{
    (void)state;
    make_requests();
    open_all(false, 1);
    for (int r = 0; r < REQUESTS; r++) {
        f.requests[r].user = &f.wanted[r];
        assert_int_equal(pv_engine_submit(f.engine, &f.requests[r], NULL, NULL), PV_OK);
    }
    tiny_run(f.engine, 200, NULL);
    close_all();
    return 0;
}

static void assert_all_as_wanted(void)
{
    for (int r = 0; r < REQUESTS; r++) {
        assert_true(f.found[r].finished);
        tiny_assert_same(&f.found[r], &f.wanted[r]);
    }
}

static void assert_still_usable(void)
{
    pv_fault_backend_set(f.wrapper, NULL, 0);
    submit_all();
    tiny_run(f.engine, 400, NULL);
    assert_all_as_wanted();
}

/* Steps of prefill: first, middle, last; of decode: first and tenth. */
static const uint64_t places[] = {1, 3, 7, 8, 17};
#define PLACES (sizeof places / sizeof places[0])

/* One fault of a kind at every place: everything is recovered, with the same text, and told by at least one event. */
static void check_recovered(pv_fault_kind kind, bool spare, uint32_t ahead, uint64_t count)
{
    for (size_t i = 0; i < PLACES; i++) {
        open_all(spare, ahead);
        pv_fault fault = {.kind = kind, .nth = places[i], .count = count, .slot = -1};
        pv_fault_backend_set(f.wrapper, &fault, 1);
        submit_all();
        tiny_run(f.engine, 500, &f.faults);
        if (pv_fault_backend_injected(f.wrapper) == 0) fail_msg("place %llu was never reached", (unsigned long long)places[i]);
        assert_all_as_wanted();
        assert_true(f.faults >= 1);
        assert_still_usable();
        close_all();
    }
}

static void transient_failures_are_run_again(void **state)
{
    (void)state;
    check_recovered(PV_FAULT_TRANSIENT, false, 1, 1);
    check_recovered(PV_FAULT_TRANSIENT, false, 2, 1);
}

static void memory_that_runs_out_in_a_step_comes_back(void **state)
{
    (void)state;
    check_recovered(PV_FAULT_SUBMIT_MEMORY, false, 1, 1);
    check_recovered(PV_FAULT_SUBMIT_MEMORY, false, 1, 2);
    check_recovered(PV_FAULT_SUBMIT_MEMORY, false, 2, 2);
}

static void a_lost_device_is_opened_anew(void **state)
{
    (void)state;
    check_recovered(PV_FAULT_LOST, false, 1, 1);
    check_recovered(PV_FAULT_LOST, true, 1, 1);
    check_recovered(PV_FAULT_LOST, false, 2, 1);
}

static void a_hung_device_is_opened_anew(void **state)
{
    (void)state;
    check_recovered(PV_FAULT_HANG, false, 1, 1);
    check_recovered(PV_FAULT_HANG, true, 2, 1);
}

static void a_device_lost_twice_is_replaced_by_the_cpu(void **state)
{
    (void)state;
    open_all(true, 1);
    pv_fault fault = {.kind = PV_FAULT_LOST, .nth = 5, .count = 1000, .slot = -1};
    pv_fault_backend_set(f.wrapper, &fault, 1);
    submit_all();
    tiny_run(f.engine, 500, &f.faults);
    assert_all_as_wanted();
    assert_ptr_equal(f.model->device->backend, &pv_cpu_backend);
    assert_true(pv_fault_backend_injected(f.wrapper) >= 2);
    close_all();
}

static void programs_that_do_not_prepare_give_way_to_plain_ones(void **state)
{
    (void)state;
    open_all(false, 1);
    pv_fault fault = {.kind = PV_FAULT_PREPARE, .nth = 1, .count = 1, .slot = -1};
    pv_fault_backend_set(f.wrapper, &fault, 1);
    submit_all();
    tiny_run(f.engine, 500, &f.faults);
    assert_true(f.model->plain_programs);
    assert_int_equal(f.faults, 1);
    /* other kernels: the same text up to near ties; the number of tokens is sure */
    for (int r = 0; r < REQUESTS; r++) {
        assert_int_equal(f.found[r].finish, PV_FINISH_LENGTH);
        assert_int_equal(f.found[r].count, f.wanted[r].count);
    }
    close_all();
}

static void memory_that_runs_out_in_preparing_comes_back(void **state)
{
    (void)state;
    open_all(false, 1);
    pv_fault fault = {.kind = PV_FAULT_PREPARE_MEMORY, .nth = 1, .count = 2, .slot = -1};
    pv_fault_backend_set(f.wrapper, &fault, 1);
    submit_all();
    tiny_run(f.engine, 500, &f.faults);
    assert_int_equal(f.faults, 2);
    assert_all_as_wanted();
    close_all();
}

static void memory_that_stays_out_fails_the_youngest_first(void **state)
{
    (void)state;
    open_all(false, 1);
    /* the third failure in a row ends the youngest request of the step; then the memory is there again */
    pv_fault fault = {.kind = PV_FAULT_SUBMIT_MEMORY, .nth = 9, .count = 3, .slot = -1};
    pv_fault_backend_set(f.wrapper, &fault, 1);
    submit_all();
    tiny_run(f.engine, 500, &f.faults);
    assert_int_equal(f.faults, 3);
    assert_int_equal(f.found[2].finish, PV_FINISH_ERROR);
    assert_int_equal(f.found[2].error, PV_DEVICE_OUT_OF_MEMORY);
    tiny_assert_same(&f.found[0], &f.wanted[0]);
    tiny_assert_same(&f.found[1], &f.wanted[1]);
    assert_still_usable();
    close_all();
}

static void non_finite_logits_fail_their_sequence_only(void **state)
{
    (void)state;
    for (size_t i = 0; i < PLACES; i++) {
        open_all(false, 1);
        pv_fault fault = {.kind = PV_FAULT_NON_FINITE, .nth = places[i], .count = 1000, .slot = 2};
        pv_fault_backend_set(f.wrapper, &fault, 1);
        submit_all();
        tiny_run(f.engine, 500, &f.faults);
        assert_int_equal(f.found[1].finish, PV_FINISH_ERROR);
        assert_int_equal(f.found[1].error, PV_NON_FINITE);
        assert_memory_equal(f.found[1].tokens, f.wanted[1].tokens, f.found[1].count * sizeof f.found[1].tokens[0]);
        tiny_assert_same(&f.found[0], &f.wanted[0]);
        tiny_assert_same(&f.found[2], &f.wanted[2]);
        assert_still_usable();
        close_all();
    }
}

static void a_step_that_keeps_failing_fails_its_requests_one_by_one(void **state)
{
    (void)state;
    open_all(false, 1);
    pv_fault fault = {.kind = PV_FAULT_TRANSIENT, .nth = 9, .count = 100000, .slot = -1};
    pv_fault_backend_set(f.wrapper, &fault, 1);
    submit_all();
    tiny_run(f.engine, 500, &f.faults);
    for (int r = 0; r < REQUESTS; r++) {
        assert_int_equal(f.found[r].finish, PV_FINISH_ERROR);
        assert_int_equal(f.found[r].error, PV_DEVICE_TRANSIENT);
        /* nothing handed out before is wrong */
        assert_memory_equal(f.found[r].tokens, f.wanted[r].tokens, f.found[r].count * sizeof f.found[r].tokens[0]);
    }
    assert_still_usable();
    close_all();
}

static void a_culprit_is_found_among_its_neighbours(void **state)
{
    (void)state;
    open_all(false, 1);
    /* the step fails, fails halved, then runs alone: the first that runs alone fails, the others go on */
    pv_fault fault = {.kind = PV_FAULT_TRANSIENT, .nth = 9, .count = 3, .slot = -1};
    pv_fault_backend_set(f.wrapper, &fault, 1);
    submit_all();
    tiny_run(f.engine, 500, &f.faults);
    assert_int_equal(f.found[0].finish, PV_FINISH_ERROR);
    tiny_assert_same(&f.found[1], &f.wanted[1]);
    tiny_assert_same(&f.found[2], &f.wanted[2]);
    assert_still_usable();
    close_all();
}

static void a_device_that_never_comes_back_ends_all_requests(void **state)
{
    (void)state;
    open_all(false, 1);
    pv_fault fault = {.kind = PV_FAULT_LOST, .nth = 1, .count = 100000, .slot = -1};
    pv_fault_backend_set(f.wrapper, &fault, 1);
    submit_all();
    pv_error error = {0};
    pv_status status = PV_OK;
    size_t active = 1;
    for (int i = 0; i < 200 && status == PV_OK && active > 0; i++) {
        status = pv_engine_step(f.engine, 0, &active, &error);
        tiny_take_events(f.engine, &f.faults);
    }
    tiny_take_events(f.engine, &f.faults);
    for (int r = 0; r < REQUESTS; r++) {
        assert_true(f.found[r].finished);
        assert_int_equal(f.found[r].finish, PV_FINISH_ERROR);
        assert_int_equal(f.found[r].error, PV_DEVICE_LOST);
    }
    close_all();
}

static void memory_that_runs_out_while_loading_is_an_error(void **state)
{
    (void)state;
    static const pv_fault_kind kinds[] = {PV_FAULT_ALLOC, PV_FAULT_UPLOAD};
    static const pv_status wanted[] = {PV_DEVICE_OUT_OF_MEMORY, PV_DEVICE_TRANSIENT};
    f.allocator = pv_allocator_default();
    for (int k = 0; k < 2; k++) {
        assert_int_equal(pv_fault_backend_create(&f.allocator, &pv_cpu_backend, &f.wrapper, NULL), PV_OK);
        const pv_backend *backends[] = {pv_fault_backend_get(f.wrapper)};
        pv_fault_backend_set(f.wrapper, NULL, 0);
        assert_int_equal(load(backends, 1), PV_OK);
        uint64_t calls = pv_fault_backend_calls(f.wrapper, kinds[k]);
        assert_true(calls >= 2);
        pv_model_destroy(f.model);
        pv_runtime_destroy(f.runtime);
        for (uint64_t n = 1; n <= calls; n++) {
            /* the pool asks for less where a whole slab is refused, so its second try must fail too */
            pv_fault fault = {.kind = kinds[k], .nth = n, .count = 2, .slot = -1};
            pv_fault_backend_set(f.wrapper, &fault, 1);
            f.model = NULL;
            assert_int_equal(load(backends, 1), wanted[k]);
            assert_null(f.model);
            pv_runtime_destroy(f.runtime);
        }
        pv_fault_backend_destroy(f.wrapper);
    }
}

/* Many faults of all kinds in one life of an engine: nothing is lost, nothing grows. */
static void five_hundred_faults_in_a_row(void **state)
{
    (void)state;
    static const pv_fault_kind kinds[] = {PV_FAULT_TRANSIENT, PV_FAULT_SUBMIT_MEMORY, PV_FAULT_LOST};
    open_all(false, 1);
    uint64_t injected = 0;
    uint32_t random = 99;
    while (injected < 500) {
        pv_fault faults[8];
        for (int i = 0; i < 8; i++) {
            random = random * 1664525u + 1013904223u;
            faults[i] = (pv_fault){.kind = kinds[(random >> 16) % 3], .nth = (uint64_t)(4 * i + 1), .count = 1, .slot = -1};
        }
        pv_fault_backend_set(f.wrapper, faults, 8);
        submit_all();
        tiny_run(f.engine, 1000, &f.faults);
        assert_all_as_wanted();
        injected += pv_fault_backend_injected(f.wrapper);
        pv_engine_stats stats;
        pv_engine_get_stats(f.engine, &stats);
        assert_int_equal(stats.pages_free + stats.pages_cached, stats.pages);
    }
    close_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transient_failures_are_run_again),
        cmocka_unit_test(memory_that_runs_out_in_a_step_comes_back),
        cmocka_unit_test(a_lost_device_is_opened_anew),
        cmocka_unit_test(a_hung_device_is_opened_anew),
        cmocka_unit_test(a_device_lost_twice_is_replaced_by_the_cpu),
        cmocka_unit_test(programs_that_do_not_prepare_give_way_to_plain_ones),
        cmocka_unit_test(memory_that_runs_out_in_preparing_comes_back),
        cmocka_unit_test(memory_that_stays_out_fails_the_youngest_first),
        cmocka_unit_test(non_finite_logits_fail_their_sequence_only),
        cmocka_unit_test(a_step_that_keeps_failing_fails_its_requests_one_by_one),
        cmocka_unit_test(a_culprit_is_found_among_its_neighbours),
        cmocka_unit_test(a_device_that_never_comes_back_ends_all_requests),
        cmocka_unit_test(memory_that_runs_out_while_loading_is_an_error),
        cmocka_unit_test(five_hundred_faults_in_a_row),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
