/* The faults table on Metal: kind × place, each with its expected outcome written down. What fails is the driver, below the
 * backend, with the codes and the words that real Macs were seen to use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "runtime/fault.h"
#include "support_metal.h"

static metal_bench b;
static tiny_result wanted[METAL_REQUESTS];

static int set_up(void **state)
{
    (void)state;
    metal_reset();
    assert_int_equal(metal_open(&b, &(metal_setting){0}, NULL), PV_OK);
    metal_submit(&b);
    metal_run(&b);
    memcpy(wanted, b.found, sizeof wanted);
    metal_close(&b);
    return 0;
}

/* ---- The table ---- */

typedef enum outcome {
    QUIET,   /* nothing of the kind happens here, so nothing fails */
    SAME,    /* it fails and is recovered; the same text */
    ANYHOW,  /* whether something of the kind happens here hangs on which programs are there already: nothing does, or it is as
                PLAIN, or as CPU */
    PLAIN,   /* the plainest programs go on, with the text that they alone make of what was committed */
    CPU,     /* the CPU goes on, likewise */
    CULPRIT, /* its sequence was alone in the step: it ends with the error, the other one has the same text */
    ERRORS,  /* every request ends with the error; the engine goes on being used */
    REFUSED, /* an error of loading; loading works once the cause is gone */
} outcome;

enum { LOAD, PLACES = 6 };
static const uint32_t step_of[PLACES] = {
    0, METAL_PREFILL_FIRST, METAL_PREFILL_MIDDLE, METAL_PREFILL_LAST, METAL_DECODE_FIRST, METAL_DECODE_TENTH};

#define EVER UINT64_MAX
#define COMMANDS "MTLCommandBufferErrorDomain"
#define FAILS SOFTMETAL_FAULT_COMMAND_BUFFER
#define HALF SOFTMETAL_FAULT_COMMAND_BUFFER_PARTIAL

typedef struct row {
    const char *name;
    softmetal_fault_kind kind;
    uint64_t count;
    const char *domain;
    int64_t code;
    const char *words;
    pv_status refused;      /* the status, where loading is refused */
    outcome wanted[PLACES]; /* load, prefill first, middle, last, decode first, tenth */
} row;

/* clang-format off */
static const row table[] = {
    /* transient: run again, halved */
    {"internal error", FAILS, 1, COMMANDS, 1,
     "Internal Error (0000000e:Internal Error)",
     PV_OK, {QUIET, SAME, SAME, SAME, SAME, SAME}},
    {"time-out", HALF, 1, COMMANDS, 2,
     "Caused GPU Timeout Error (00000002:kIOGPUCommandBufferCallbackErrorTimeout)",
     PV_OK, {QUIET, SAME, SAME, SAME, SAME, SAME}},
    {"hang that the system ended", HALF, 1, COMMANDS, 1,
     "Caused GPU Hang Error (00000003:kIOGPUCommandBufferCallbackErrorHang)",
     PV_OK, {QUIET, SAME, SAME, SAME, SAME, SAME}},
    {"innocent victim", HALF, 1, COMMANDS, 1,
     "Discarded (victim of GPU error/recovery) (IOAF code 5)",
     PV_OK, {QUIET, SAME, SAME, SAME, SAME, SAME}},
    {"impacting interactivity", HALF, 1, COMMANDS, 1,
     "Impacting Interactivity (0000000e:kIOGPUCommandBufferCallbackErrorImpactingInteractivity)",
     PV_OK, {QUIET, SAME, SAME, SAME, SAME, SAME}},
    {"background", FAILS, 1, COMMANDS, 7,
     "Insufficient Permission (to submit GPU work from background) "
     "(00000006:kIOGPUCommandBufferCallbackErrorBackgroundExecutionNotPermitted)",
     PV_OK, {QUIET, SAME, SAME, SAME, SAME, SAME}},
    {"unknown code", HALF, 1, COMMANDS, 1, "Internal Error (IOAF code 518)", PV_OK, {QUIET, SAME, SAME, SAME, SAME, SAME}},
    {"unknown domain", FAILS, 1, "SomethingNewErrorDomain", 77, "Something new", PV_OK, {QUIET, SAME, SAME, SAME, SAME, SAME}},
    {"invalid resource", FAILS, 1, COMMANDS, 9,
     "Invalid Resource (00000009:kIOGPUCommandBufferCallbackErrorInvalidResource)",
     PV_OK, {QUIET, SAME, SAME, SAME, SAME, SAME}},
    /* the same step fails twice: its sequences run alone */
    {"time-out, twice", HALF, 2, COMMANDS, 2,
     "Caused GPU Timeout Error (IOAF code 2)",
     PV_OK, {QUIET, CULPRIT, CULPRIT, SAME, SAME, SAME}},
    /* memory runs out in a step: prefixes dropped, then smaller steps */
    {"out of memory", FAILS, 1, COMMANDS, 8,
     "Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)",
     PV_OK, {QUIET, SAME, SAME, SAME, SAME, SAME}},
    {"out of memory, twice", FAILS, 2, COMMANDS, 1,
     "Internal Error (IOAF code -536870211)",
     PV_OK, {QUIET, SAME, SAME, SAME, SAME, SAME}},
    /* a pool whose slab is refused asks for less at once, so two in a row are what the engine sees */
    {"allocation", SOFTMETAL_FAULT_ALLOCATION, 2, NULL, 0, NULL, PV_OK, {SAME, SAME, ANYHOW, ANYHOW, ANYHOW, ANYHOW}},
    {"no memory at all", SOFTMETAL_FAULT_ALLOCATION, EVER, NULL, 0,
     NULL,
     PV_DEVICE_OUT_OF_MEMORY, {REFUSED, ERRORS, QUIET, QUIET, QUIET, QUIET}},
    /* device lost or hung: opened anew, replayed */
    {"page fault", HALF, 1, COMMANDS, 3,
     "Caused GPU Address Fault Error (0000000b:kIOGPUCommandBufferCallbackErrorPageFault)",
     PV_OK, {QUIET, SAME, SAME, SAME, SAME, SAME}},
    {"access revoked", FAILS, 1, COMMANDS, 4,
     "Ignored (for causing prior/excessive GPU errors) "
     "(00000004:kIOGPUCommandBufferCallbackErrorSubmissionsIgnored)",
     PV_OK, {QUIET, SAME, SAME, SAME, SAME, SAME}},
    {"submissions ignored", FAILS, 1, COMMANDS, 1,
     "Ignored (for causing prior/excessive GPU errors) (IOAF code 4)",
     PV_OK, {QUIET, SAME, SAME, SAME, SAME, SAME}},
    {"device removed", SOFTMETAL_FAULT_REMOVAL, 1, COMMANDS, 11, NULL, PV_OK, {QUIET, SAME, SAME, SAME, SAME, SAME}},
    {"hang", SOFTMETAL_FAULT_HANG, 1, NULL, 0, NULL, PV_OK, {QUIET, SAME, SAME, SAME, SAME, SAME}},
    {"device lost again and again", SOFTMETAL_FAULT_REMOVAL, EVER, NULL, 0, NULL, PV_OK, {QUIET, CPU, CPU, CPU, CPU, CPU}},
    {"no device", SOFTMETAL_FAULT_DEVICE, 1, NULL, 0, NULL, PV_NOT_FOUND, {REFUSED, QUIET, QUIET, QUIET, QUIET, QUIET}},
    {"no queue", SOFTMETAL_FAULT_QUEUE, EVER, NULL, 0,
     NULL,
     PV_DEVICE_OUT_OF_MEMORY, {REFUSED, QUIET, QUIET, QUIET, QUIET, QUIET}},
    /* a program does not compile or prepare: the plainer ones, then the CPU */
    {"compilation", SOFTMETAL_FAULT_LIBRARY, 1, NULL, 0, NULL, PV_OK, {QUIET, PLAIN, QUIET, QUIET, QUIET, QUIET}},
    {"function", SOFTMETAL_FAULT_FUNCTION, 1, NULL, 0, NULL, PV_OK, {QUIET, PLAIN, ANYHOW, ANYHOW, ANYHOW, ANYHOW}},
    {"pipeline", SOFTMETAL_FAULT_PIPELINE, 1, NULL, 0, NULL, PV_OK, {QUIET, PLAIN, ANYHOW, ANYHOW, ANYHOW, ANYHOW}},
    {"no program at all", SOFTMETAL_FAULT_PIPELINE, EVER, NULL, 0, NULL, PV_OK, {QUIET, CPU, ANYHOW, ANYHOW, ANYHOW, ANYHOW}},
};
/* clang-format on */
#define ROWS (sizeof table / sizeof table[0])

static uint32_t injected, recovered;

/* A hang is waited for, but not for long. */
static void inject(const row *r)
{
    if (b.engine != NULL && r->kind == SOFTMETAL_FAULT_HANG) b.engine->step_timeout_ms = 200;
    const softmetal_fault fault = {
        .kind = r->kind, .count = r->count, .domain = r->domain, .code = r->code, .description = r->words};
    softmetal_inject(&fault);
}

static void disarm(void)
{
    softmetal_inject(NULL);
    softmetal_release_hangs();
    if (b.engine != NULL) b.engine->step_timeout_ms = 60000;
}

static void open_or_fail(const row *r)
{
    pv_error error = {0};
    if (b.engine == NULL && metal_open(&b, &(metal_setting){.spare = true}, &error) != PV_OK)
        fail_msg("%s: %s", r->name, error.message);
}

static void check_load(const row *r)
{
    pv_error error = {0};
    const uint64_t before = softmetal_faults_fired();
    metal_close(&b);
    inject(r);
    const pv_status status = metal_open(&b, &(metal_setting){.spare = true}, &error);
    const bool fired = softmetal_faults_fired() > before;
    disarm();
    if (fired != (r->wanted[LOAD] != QUIET))
        fail_msg("%s while loading: %s", r->name, fired ? "it happened" : "it did not happen");
    if (r->wanted[LOAD] == REFUSED) {
        if (status != r->refused) fail_msg("%s while loading: %s: %s", r->name, pv_status_name(status), error.message);
        assert_true(error.message[0] != '\0');
        return;
    }
    if (status != PV_OK) fail_msg("%s while loading: %s", r->name, error.message);
    metal_submit(&b);
    metal_run(&b);
    assert_true(metal_same(&b, wanted));
}

static tiny_result begun[METAL_REQUESTS]; /* what was committed when the first fault of a run came to pass */

/* Runs all requests; the fault is armed before the step. */
static bool run_with(const row *r, uint32_t step)
{
    const uint64_t before = softmetal_faults_fired();
    size_t active = 1;
    pv_error error = {0};
    metal_submit(&b);
    for (uint32_t i = 1; active > 0; i++) {
        assert_true(i < 500);
        if (softmetal_faults_fired() == before) memcpy(begun, b.found, sizeof begun);
        if (i == step) inject(r);
        if (pv_engine_step(b.engine, 0, &active, &error) != PV_OK) fail_msg("%s in step %u: %s", r->name, step, error.message);
        tiny_take_events(b.engine, &b.faults);
    }
    const bool fired = softmetal_faults_fired() > before;
    disarm();
    return fired;
}

/* Tokens are what was begun, and what `setting` alone makes of it. */
static bool went_on_like(const metal_setting *setting)
{
    static metal_bench other;
    pv_error error = {0};
    bool same = true;
    if (metal_open(&other, setting, &error) != PV_OK) fail_msg("%s", error.message);
    metal_submit_after(&other, begun);
    metal_run(&other);
    for (int i = 0; i < METAL_REQUESTS; i++) {
        const tiny_result *found = &b.found[i], *rest = &other.found[i];
        const size_t made = begun[i].count;
        same = same && found->finish == PV_FINISH_LENGTH && found->count == made + rest->count &&
               memcmp(found->tokens, begun[i].tokens, made * sizeof found->tokens[0]) == 0 &&
               memcmp(found->tokens + made, rest->tokens, rest->count * sizeof found->tokens[0]) == 0;
    }
    metal_close(&other);
    return same;
}

/* What is asked for when a plan is made the first time. */
static bool concerns_plans(softmetal_fault_kind kind)
{
    return kind == SOFTMETAL_FAULT_ALLOCATION || kind == SOFTMETAL_FAULT_LIBRARY || kind == SOFTMETAL_FAULT_FUNCTION ||
           kind == SOFTMETAL_FAULT_PIPELINE;
}

static void check_step(const row *r, int place)
{
    const outcome want = r->wanted[place];
    if (concerns_plans(r->kind)) metal_close(&b);
    open_or_fail(r);
    const bool fired = run_with(r, step_of[place]);
    const bool on_cpu = b.model->device->backend == &pv_cpu_backend, plain = b.model->plain_programs;
    const bool same = on_cpu || plain ? went_on_like(&(metal_setting){.cpu = on_cpu, .plain = plain}) : metal_same(&b, wanted);
    if (want != ANYHOW && fired != (want != QUIET))
        fail_msg("%s in step %u: %s", r->name, step_of[place], fired ? "it happened" : "it did not happen");
    if (fired && b.faults == 0) fail_msg("%s in step %u: no event tells of it", r->name, step_of[place]);
    if (!same && want != CULPRIT && want != ERRORS) fail_msg("%s in step %u: another text", r->name, step_of[place]);
    for (int i = 0; want == ERRORS && i < METAL_REQUESTS; i++) {
        assert_int_equal(b.found[i].finish, PV_FINISH_ERROR);
        assert_int_equal(b.found[i].error, r->refused);
    }
    for (int i = want == ERRORS ? METAL_REQUESTS : want == CULPRIT; i < METAL_REQUESTS; i++) {
        assert_int_equal(b.found[i].finish, PV_FINISH_LENGTH);
        assert_int_equal(b.found[i].count, wanted[i].count);
    }
    if (want == CULPRIT) {
        assert_int_equal(b.found[0].error, PV_DEVICE_TRANSIENT);
        tiny_assert_same(&b.found[1], &wanted[1]);
    }
    if (want != ANYHOW) assert_int_equal(on_cpu, want == CPU);
    if (want != ANYHOW && !on_cpu) assert_int_equal(plain, want == PLAIN);
    injected += fired;
    recovered += fired && same;
    if (on_cpu || plain) metal_close(&b); /* the next one begins as the first did */
}

static void every_fault_at_every_place_has_the_outcome_written_down(void **state)
{
    (void)state;
    metal_reset();
    for (size_t i = 0; i < ROWS; i++) {
        check_load(&table[i]);
        for (int place = 1; place < PLACES; place++) check_step(&table[i], place);
    }
    metal_close(&b);
    print_message("%u faults, %u recovered with the same text\n", injected, recovered);
    assert_true(recovered * 100 >= injected * 95);
    metal_assert_no_leaks();
}

/* ---- Other rows of the design's table ---- */

static void steps_that_are_enqueued_ahead_fail_with_the_one_before(void **state)
{
    (void)state;
    static const size_t rows[] = {1, 10, 14, 17, 18}; /* time-out, memory, page fault, removal, hang */
    metal_reset();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(metal_open(&b, &(metal_setting){.ahead = 2}, NULL), PV_OK);
        for (int place = 1; place < PLACES; place++) {
            assert_true(run_with(&table[rows[i]], step_of[place]));
            if (!metal_same(&b, wanted)) fail_msg("%s in step %u", table[rows[i]].name, step_of[place]);
        }
        metal_close(&b);
    }
    metal_assert_no_leaks();
}

static void what_does_not_fit_is_refused_with_numbers(void **state)
{
    (void)state;
    pv_error error = {0};
    metal_reset();
    softmetal_set_world(&(softmetal_world){.keep_open = true, .working_set = 256 << 10});
    assert_int_equal(metal_open(&b, &(metal_setting){0}, &error), PV_DOES_NOT_FIT);
    assert_non_null(strstr(error.message, "metal:0 has 0.2 MiB")); /* 95 % of the working set */
    metal_assert_no_leaks();
}

/* What a compiler makes of a kernel may need so many registers that fewer threads run it. */
static void kernels_that_take_too_few_threads_are_never_started(void **state)
{
    (void)state;
    pv_error error = {0};
    metal_reset();
    softmetal_set_world(&(softmetal_world){.keep_open = true, .max_threads = 128});
    assert_int_equal(metal_open(&b, &(metal_setting){.spare = true}, &error), PV_OK);
    metal_submit(&b);
    memset(begun, 0, sizeof begun);
    pv_event event;
    bool told = false;
    for (size_t active = 1; active > 0 && b.model->device->backend != &pv_cpu_backend;) {
        assert_int_equal(pv_engine_step(b.engine, 0, &active, NULL), PV_OK);
        while (pv_engine_next_event(b.engine, &event))
            told |= event.kind == PV_EVENT_FAULT && strstr(event.error.message, "at most 128 threads") != NULL &&
                    strstr(event.error.message, "256 are wanted") != NULL;
    }
    assert_true(told);
    metal_run(&b);
    metal_assert_no_reports();
    assert_true(went_on_like(&(metal_setting){.cpu = true, .plain = true}));
    metal_close(&b);
    metal_assert_no_leaks();
}

static void memory_that_stays_out_fails_the_youngest_alone(void **state)
{
    (void)state;
    metal_reset();
    assert_int_equal(metal_open(&b, &(metal_setting){0}, NULL), PV_OK);
    row r = table[10];
    r.count = 3;
    assert_true(run_with(&r, METAL_DECODE_FIRST));
    assert_int_equal(b.found[1].finish, PV_FINISH_ERROR);
    assert_int_equal(b.found[1].error, PV_DEVICE_OUT_OF_MEMORY);
    tiny_assert_same(&b.found[0], &wanted[0]);
    assert_false(run_with(&r, 0)); /* it goes on being used */
    assert_true(metal_same(&b, wanted));
    metal_close(&b);
    metal_assert_no_leaks();
}

static void a_step_that_fails_three_times_fails_the_culprit_alone(void **state)
{
    (void)state;
    metal_reset();
    assert_int_equal(metal_open(&b, &(metal_setting){0}, NULL), PV_OK);
    row r = table[1];
    r.count = 3;
    assert_true(run_with(&r, METAL_DECODE_FIRST));
    assert_int_equal(b.found[0].finish, PV_FINISH_ERROR);
    assert_int_equal(b.found[0].error, PV_DEVICE_TRANSIENT);
    tiny_assert_same(&b.found[1], &wanted[1]);
    assert_false(run_with(&r, 0));
    assert_true(metal_same(&b, wanted));
    metal_close(&b);
}

static void non_finite_logits_fail_their_sequence_only(void **state)
{
    (void)state;
    const pv_allocator allocator = pv_allocator_default();
    pv_fault_backend *wrapper = NULL;
    metal_reset();
    assert_int_equal(pv_fault_backend_create(&allocator, &pv_metal_backend, &wrapper, NULL), PV_OK);
    assert_int_equal(metal_open(&b, &(metal_setting){.backend = pv_fault_backend_get(wrapper)}, NULL), PV_OK);
    static const uint32_t places[] = {METAL_PREFILL_LAST, METAL_DECODE_FIRST, METAL_DECODE_TENTH};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const pv_fault fault = {.kind = PV_FAULT_NON_FINITE, .nth = places[i], .count = 1000, .slot = 1};
        pv_fault_backend_set(wrapper, &fault, 1);
        metal_submit(&b);
        metal_run(&b);
        assert_int_equal(pv_fault_backend_injected(wrapper), 1);
        assert_int_equal(b.found[0].finish, PV_FINISH_ERROR);
        assert_int_equal(b.found[0].error, PV_NON_FINITE);
        tiny_assert_same(&b.found[1], &wanted[1]);
    }
    pv_fault_backend_set(wrapper, NULL, 0);
    metal_submit(&b);
    metal_run(&b);
    assert_true(metal_same(&b, wanted));
    metal_close(&b);
    pv_fault_backend_destroy(wrapper);
    metal_assert_no_leaks();
}

/* Processor seconds: they do not grow when others keep the machine busy. */
static double processor_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* From the first step that the device does not do any more to the first one that the CPU did. */
static void the_cpu_goes_on_within_two_seconds(void **state)
{
    (void)state;
    const row lost = {.name = "lost for ever", .kind = SOFTMETAL_FAULT_REMOVAL, .count = EVER};
    metal_reset();
    assert_int_equal(metal_open(&b, &(metal_setting){.spare = true}, NULL), PV_OK);
    metal_submit(&b);
    for (uint32_t i = 1; i <= METAL_DECODE_TENTH; i++) assert_int_equal(pv_engine_step(b.engine, 0, NULL, NULL), PV_OK);
    pv_engine_stats before, after;
    pv_engine_get_stats(b.engine, &before);
    inject(&lost);
    const double begin = processor_seconds();
    uint32_t calls = 0;
    do {
        assert_int_equal(pv_engine_step(b.engine, 0, NULL, NULL), PV_OK);
        pv_engine_get_stats(b.engine, &after);
        calls++;
    } while (after.steps == before.steps && calls < 20);
    assert_int_equal(after.steps, before.steps + 1);
    assert_ptr_equal(b.model->device->backend, &pv_cpu_backend);
    assert_int_equal(calls, 3); /* two that failed, and the CPU's */
    assert_true(processor_seconds() - begin < 2);
    disarm();
    tiny_take_events(b.engine, NULL);
    metal_run(&b);
    metal_close(&b);
    metal_assert_no_leaks();
}

/* ---- Many ---- */

static void note_most(softmetal_counts *most)
{
    softmetal_counts now;
    softmetal_get_counts(&now);
    if (now.live_objects > most->live_objects) most->live_objects = now.live_objects;
    if (now.live_buffer_bytes > most->live_buffer_bytes) most->live_buffer_bytes = now.live_buffer_bytes;
}

/* Faults of all kinds in one life of an engine. Whatever is alive between two requests was alive after the first hundred
 * faults. */
static void five_hundred_faults_leave_nothing_behind(void **state)
{
    (void)state;
    static const uint8_t kinds[] = {0, 1, 3, 4, 6, 8, 10, 14, 15, 17};
    metal_reset();
    assert_int_equal(metal_open(&b, &(metal_setting){.reuse = true}, NULL), PV_OK);
    softmetal_counts early = {0}, late = {0};
    uint32_t random = 99, hangs = 0;
    uint64_t fired = 0;
    while (fired < 500) {
        size_t active = 1;
        metal_submit(&b);
        for (int i = 0; active > 0; i++) {
            assert_true(i < 500);
            random = random * 1664525u + 1013904223u;
            const bool hang = fired / 50 > hangs;
            hangs += hang;
            if (i % 2 == 0) inject(&table[hang ? 18 : kinds[(random >> 16) % sizeof kinds]]);
            assert_int_equal(pv_engine_step(b.engine, 0, &active, NULL), PV_OK);
            tiny_take_events(b.engine, &b.faults);
            disarm();
        }
        assert_true(metal_same(&b, wanted));
        fired = softmetal_faults_fired();
        note_most(fired < 100 ? &early : &late);
        pv_engine_stats stats;
        pv_engine_get_stats(b.engine, &stats);
        assert_int_equal(stats.pages_free + stats.pages_cached, stats.pages);
    }
    assert_true(hangs >= 9);
    print_message("%llu faults; %llu objects and %llu bytes alive at most, %llu and %llu in the first hundred\n",
                  (unsigned long long)fired, (unsigned long long)late.live_objects, (unsigned long long)late.live_buffer_bytes,
                  (unsigned long long)early.live_objects, (unsigned long long)early.live_buffer_bytes);
    assert_true(late.live_objects <= early.live_objects + 32);
    assert_true(late.live_buffer_bytes <= early.live_buffer_bytes + early.live_buffer_bytes / 16);
    metal_close(&b);
    metal_assert_no_leaks();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fault_at_every_place_has_the_outcome_written_down),
        cmocka_unit_test(steps_that_are_enqueued_ahead_fail_with_the_one_before),
        cmocka_unit_test(what_does_not_fit_is_refused_with_numbers),
        cmocka_unit_test(kernels_that_take_too_few_threads_are_never_started),
        cmocka_unit_test(memory_that_stays_out_fails_the_youngest_alone),
        cmocka_unit_test(a_step_that_fails_three_times_fails_the_culprit_alone),
        cmocka_unit_test(non_finite_logits_fail_their_sequence_only),
        cmocka_unit_test(the_cpu_goes_on_within_two_seconds),
        cmocka_unit_test(five_hundred_faults_leave_nothing_behind),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
