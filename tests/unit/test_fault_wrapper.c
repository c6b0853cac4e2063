#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/alloc.h"
#include "runtime/fault.h"
#include "support_runtime.h"

static const pv_step_limits limits = {.rows = 8, .seqs = 4, .logits = 4, .patches = 2, .biases = 2, .slots = 5, .context = 64};

typedef struct fixture {
    rt_memory memory;
    pv_environment environment;
    pv_fault_backend *wrapper;
    const pv_backend *backend;
    pv_backend_device *device;
    rt_device *inner; /* of the device that was opened last */
    pv_buffer buffer;
    pv_op ops[6];
    pv_plan plans[2];
    pv_prepared *prepared[2];
    pv_submission submission;
    pv_step_output *outputs;
} fixture;

static const pv_backend *inner_backend(void);
static rt_device *last_opened;
static size_t last_half; /* ops of the plan that was prepared last */

/* Opens and prepares like the plain fake, and notes what passed. */
static pv_status noting_open(const pv_backend *backend, const pv_environment *environment, const char *id, bool plain,
                             pv_backend_device **device, pv_error *error)
{
    pv_status status = rt_backend.open(backend, environment, id, plain, device, error);
    if (status == PV_OK) last_opened = (rt_device *)*device;
    return status;
}

static pv_status noting_prepare(pv_backend_device *device, const pv_plan *plan, pv_prepared **prepared, pv_error *error)
{
    last_half = plan->count;
    return rt_backend.prepare(device, plan, prepared, error);
}

static const pv_backend *inner_backend(void)
{
    static pv_backend noting;
    noting = rt_backend;
    noting.open = noting_open;
    noting.prepare = noting_prepare;
    return &noting;
}

static void open_device(fixture *f)
{
    assert_int_equal(f->backend->open(f->backend, &f->environment, "fake", false, &f->device, NULL), PV_OK);
    f->inner = last_opened;
    assert_ptr_equal(f->device->backend, f->backend);
}

static void prepare_step(fixture *f)
{
    pv_step_layout layout = pv_step_layout_for(&limits);
    assert_int_equal(f->backend->alloc(f->device, PV_MEMORY_STEP, 65536, &f->buffer, NULL), PV_OK);
    pv_step_view view = pv_step_view_of(f->buffer.host, &layout);
    *view.counts = (pv_step_counts){.rows = 3, .seqs = 3, .tiles = 3, .logits = 3};
    for (int32_t i = 0; i < 3; i++) view.logits[i] = (pv_step_logit){.row = i, .slot = i == 1 ? 4 : 2};
    for (size_t i = 0; i < 2; i++) {
        f->plans[i] = (pv_plan){.ops = f->ops, .count = 6, .limits = limits, .rows = 8, .logits = 4};
        assert_int_equal(f->backend->prepare(f->device, &f->plans[i], &f->prepared[i], NULL), PV_OK);
    }
    f->submission = (pv_submission){
        .plans = f->prepared,
        .plan_count = 2,
        .block = {.buffer = &f->buffer},
        .outputs = {.buffer = &f->buffer, .offset = 32768},
    };
    f->outputs = (pv_step_output *)(f->buffer.host + 32768);
}

static void set_up(fixture *f)
{
    memset(f, 0, sizeof *f);
    rt_memory_init(&f->memory, 0);
    f->environment.allocator = &f->memory.allocator;
    assert_int_equal(pv_fault_backend_create(&f->memory.allocator, inner_backend(), &f->wrapper, NULL), PV_OK);
    f->backend = pv_fault_backend_get(f->wrapper);
    open_device(f);
    prepare_step(f);
    pv_fault_backend_set(f->wrapper, NULL, 0);
}

static void close_device(fixture *f)
{
    for (size_t i = 0; i < 2; i++) f->backend->release(f->device, f->prepared[i]);
    f->backend->free(f->device, &f->buffer);
    f->backend->close(f->device);
}

static void tear_down(fixture *f)
{
    close_device(f);
    pv_fault_backend_destroy(f->wrapper);
    assert_int_equal(f->memory.live, 0);
}

static void inject(fixture *f, pv_fault_kind kind, uint64_t nth, uint64_t count)
{
    pv_fault_backend_set(f->wrapper, &(pv_fault){.kind = kind, .nth = nth, .count = count, .slot = -1}, 1);
}

/* Submits and waits; the wait's status, or that of a submit that failed. */
static pv_status step(fixture *f)
{
    pv_fence fence;
    pv_error error = {0};
    memset(f->outputs, 0xFF, 4 * sizeof *f->outputs);
    pv_status status = f->backend->submit(f->device, &f->submission, &fence, &error);
    if (status == PV_OK) status = f->backend->wait(f->device, fence, 100, &error);
    assert_int_equal(error.status, status);
    return status;
}

/* ---- No faults ------------------------------------------------------------------------------------------------------- */

static void without_faults_everything_is_forwarded(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    pv_device_description description;
    size_t count = 0;
    assert_int_equal(f.backend->enumerate(f.backend, &f.environment, &description, 1, &count, NULL), PV_OK);
    assert_int_equal(count, 1);
    assert_string_equal(f.backend->describe(f.device)->id, "fake");
    assert_string_equal(f.backend->name, "fake");
    pv_backend_device *none;
    assert_int_equal(f.backend->open(f.backend, &f.environment, "other", false, &none, NULL), PV_NOT_FOUND);
    for (int i = 0; i < 100; i++) assert_int_equal(step(&f), PV_OK); /* more than are remembered at once */
    assert_int_equal(f.inner->submits, 100);
    assert_int_equal(f.inner->ran[0], 2);
    assert_int_equal(f.outputs[2].status, PV_OUTPUT_OK);
    pv_counter counter;
    assert_int_equal(f.backend->counters(f.device, &counter, 1), 1);
    assert_int_equal(counter.count, 100);
    uint32_t word = 77, back = 0;
    assert_int_equal(f.backend->write(f.device, &f.buffer, 60000, &word, 4, NULL), PV_OK);
    assert_int_equal(f.backend->read(f.device, &f.buffer, 60000, &back, 4, NULL), PV_OK);
    assert_int_equal(back, 77);
    pv_weight_spec spec;
    assert_int_equal(f.backend->weight_spec(f.device, PV_LAYOUT_F32, 3, 5, PV_USE_MATRIX, &spec, NULL), PV_OK);
    assert_int_equal(spec.bytes, 60);
    pv_buffer imported;
    assert_int_equal(f.backend->import(f.device, &word, 4, &imported, NULL), PV_OK);
    assert_ptr_equal(imported.host, &word);
    f.inner->declines = RT_DECLINE_RMS_NORM;
    assert_false(f.backend->supports(f.device, &(pv_op){.kind = PV_OP_rms_norm}));
    assert_true(f.backend->supports(f.device, &(pv_op){.kind = PV_OP_glu}));
    assert_int_equal(pv_fault_backend_injected(f.wrapper), 0);
    assert_int_equal(pv_fault_backend_calls(f.wrapper, PV_FAULT_TRANSIENT), 100);
    assert_int_equal(pv_fault_backend_calls(f.wrapper, PV_FAULT_ALLOC), 0);
    tear_down(&f);
}

static void an_aborted_submission_stays_aborted(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    atomic_bool abort_now = true;
    f.submission.abort = &abort_now;
    assert_int_equal(step(&f), PV_CANCELLED);
    assert_true(f.inner->aborted[0]);
    tear_down(&f);
}

/* ---- Faults of single calls ------------------------------------------------------------------------------------------ */

static void the_nth_allocation_fails_and_the_next_does_not(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    for (uint64_t nth = 1; nth <= 4; nth++) {
        inject(&f, PV_FAULT_ALLOC, nth, 2);
        uint64_t before = f.inner->allocs;
        for (uint64_t i = 1; i <= 6; i++) {
            pv_buffer buffer;
            pv_error error = {0};
            bool hit = i == nth || i == nth + 1;
            assert_int_equal(f.backend->alloc(f.device, PV_MEMORY_KV, 4096, &buffer, &error),
                             hit ? PV_DEVICE_OUT_OF_MEMORY : PV_OK);
            if (hit)
                assert_non_null(strstr(error.message, "4096"));
            else
                f.backend->free(f.device, &buffer);
        }
        assert_int_equal(f.inner->allocs - before, 4);
        assert_int_equal(pv_fault_backend_injected(f.wrapper), 2);
        assert_int_equal(pv_fault_backend_calls(f.wrapper, PV_FAULT_ALLOC), 6);
    }
    tear_down(&f);
}

static void uploads_fail_without_effect(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    inject(&f, PV_FAULT_UPLOAD, 2, 1);
    const pv_tensor weight = {.buffer = &f.buffer};
    static const pv_status expected[] = {PV_OK, PV_DEVICE_TRANSIENT, PV_OK};
    for (size_t i = 0; i < 3; i++) assert_int_equal(f.backend->upload(f.device, &weight, 0, 1, "", NULL), expected[i]);
    assert_int_equal(f.inner->uploads, 2);
    tear_down(&f);
}

static void preparing_fails_in_two_ways(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    const pv_fault faults[] = {{.kind = PV_FAULT_PREPARE, .nth = 1, .count = 1},
                               {.kind = PV_FAULT_PREPARE_MEMORY, .nth = 2, .count = 1}};
    pv_fault_backend_set(f.wrapper, faults, 2);
    pv_prepared *prepared = NULL;
    uint64_t before = f.inner->prepares;
    assert_int_equal(f.backend->prepare(f.device, &f.plans[0], &prepared, NULL), PV_PROGRAM);
    assert_int_equal(f.backend->prepare(f.device, &f.plans[0], &prepared, NULL), PV_OUT_OF_MEMORY);
    assert_null(prepared);
    assert_int_equal(f.inner->prepares, before);
    assert_int_equal(f.backend->prepare(f.device, &f.plans[0], &prepared, NULL), PV_OK);
    assert_int_equal(pv_fault_backend_injected(f.wrapper), 2);
    f.backend->release(f.device, prepared);
    tear_down(&f);
}

static void a_submission_may_find_no_memory(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    inject(&f, PV_FAULT_SUBMIT_MEMORY, 2, 1);
    assert_int_equal(step(&f), PV_OK);
    assert_int_equal(step(&f), PV_DEVICE_OUT_OF_MEMORY);
    assert_int_equal(step(&f), PV_OK);
    assert_int_equal(f.inner->submits, 2);
    tear_down(&f);
}

/* ---- Faults of submissions ------------------------------------------------------------------------------------------- */

static void a_transient_failure_runs_half_or_nothing(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    inject(&f, PV_FAULT_TRANSIENT, 2, 3);
    assert_int_equal(step(&f), PV_OK);
    assert_int_equal(step(&f), PV_DEVICE_TRANSIENT); /* half of the first plan's ops */
    assert_int_equal(last_half, 3);
    assert_int_equal(f.inner->submits, 2);
    assert_int_equal(f.inner->ran[1], 1);
    assert_int_equal(f.inner->prepares, 3);
    assert_int_equal(f.inner->releases, 1);          /* the half plan is gone once waited for */
    assert_int_equal(step(&f), PV_DEVICE_TRANSIENT); /* nothing */
    assert_int_equal(f.inner->submits, 2);
    assert_true(f.outputs[0].status == 0xFFFFFFFFu);
    assert_int_equal(step(&f), PV_DEVICE_TRANSIENT); /* one plan of two */
    assert_int_equal(f.inner->submits, 3);
    assert_int_equal(f.inner->ran[2], 1);
    assert_int_equal(step(&f), PV_OK); /* resubmitted */
    assert_int_equal(f.inner->ran[3], 2);
    assert_int_equal(pv_fault_backend_injected(f.wrapper), 3);
    assert_int_equal(pv_fault_backend_calls(f.wrapper, PV_FAULT_TRANSIENT), 5);
    tear_down(&f);
}

static void the_same_calls_meet_the_same_faults(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    pv_status first[12];
    for (int round = 0; round < 2; round++) {
        const pv_fault faults[] = {{.kind = PV_FAULT_TRANSIENT, .nth = 3, .count = 2, .slot = -1},
                                   {.kind = PV_FAULT_SUBMIT_MEMORY, .nth = 4, .count = 1},
                                   {.kind = PV_FAULT_TRANSIENT, .nth = 9, .count = 1}};
        pv_fault_backend_set(f.wrapper, faults, 3);
        uint64_t before = f.inner->submits;
        for (size_t i = 0; i < 12; i++) {
            pv_status status = step(&f);
            if (round == 0) first[i] = status;
            assert_int_equal(status, first[i]);
        }
        assert_int_equal(f.inner->submits - before, 10); /* 8 whole, 1 half, 1 not at all, 1 refused, 1 whole again */
        assert_int_equal(pv_fault_backend_injected(f.wrapper), 3);
    }
    assert_int_equal(first[2], PV_DEVICE_TRANSIENT);
    assert_int_equal(first[3], PV_DEVICE_OUT_OF_MEMORY); /* a submission that was refused shows nothing else */
    assert_int_equal(first[8], PV_DEVICE_TRANSIENT);
    tear_down(&f);
}

static void waits_of_other_submissions_are_not_touched(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    inject(&f, PV_FAULT_TRANSIENT, 2, 1);
    pv_fence fence[3];
    for (size_t i = 0; i < 3; i++) assert_int_equal(f.backend->submit(f.device, &f.submission, &fence[i], NULL), PV_OK);
    assert_true(fence[0] < fence[1] && fence[1] < fence[2]);
    assert_int_equal(f.backend->wait(f.device, fence[0], 0, NULL), PV_OK);
    pv_fault_backend_set(f.wrapper, NULL, 0); /* what was decided stays */
    assert_int_equal(f.backend->wait(f.device, fence[1], 0, NULL), PV_DEVICE_TRANSIENT);
    assert_int_equal(f.backend->wait(f.device, fence[1], 0, NULL), PV_DEVICE_TRANSIENT);
    assert_int_equal(f.backend->wait(f.device, fence[2], 0, NULL), PV_OK);
    tear_down(&f);
}

static void a_lost_device_refuses_everything(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    inject(&f, PV_FAULT_LOST, 2, 1);
    pv_fence fence[3];
    for (size_t i = 0; i < 3; i++) assert_int_equal(f.backend->submit(f.device, &f.submission, &fence[i], NULL), PV_OK);
    assert_int_equal(f.inner->submits, 1); /* nothing behind it runs */
    assert_int_equal(f.backend->wait(f.device, fence[0], 0, NULL), PV_OK);
    assert_int_equal(f.backend->wait(f.device, fence[2], 0, NULL), PV_DEVICE_LOST);
    assert_int_equal(f.backend->wait(f.device, fence[0], 0, NULL), PV_DEVICE_LOST);
    pv_buffer buffer;
    pv_weight_spec spec;
    pv_prepared *prepared;
    const pv_tensor weight = {.buffer = &f.buffer};
    uint32_t word = 0;
    assert_int_equal(f.backend->submit(f.device, &f.submission, &fence[0], NULL), PV_DEVICE_LOST);
    assert_int_equal(f.backend->alloc(f.device, PV_MEMORY_KV, 64, &buffer, NULL), PV_DEVICE_LOST);
    assert_int_equal(f.backend->import(f.device, &word, 4, &buffer, NULL), PV_DEVICE_LOST);
    assert_int_equal(f.backend->write(f.device, &f.buffer, 0, &word, 4, NULL), PV_DEVICE_LOST);
    assert_int_equal(f.backend->read(f.device, &f.buffer, 0, &word, 4, NULL), PV_DEVICE_LOST);
    assert_int_equal(f.backend->weight_spec(f.device, PV_LAYOUT_F32, 1, 1, 1, &spec, NULL), PV_DEVICE_LOST);
    assert_int_equal(f.backend->upload(f.device, &weight, 0, 1, "", NULL), PV_DEVICE_LOST);
    assert_int_equal(f.backend->prepare(f.device, &f.plans[0], &prepared, NULL), PV_DEVICE_LOST);
    assert_int_equal(pv_fault_backend_injected(f.wrapper), 1);
    close_device(&f); /* free, release and close work */
    open_device(&f);  /* and so does a device opened anew */
    prepare_step(&f);
    assert_int_equal(step(&f), PV_OK);
    tear_down(&f);
}

static void a_hung_device_times_out_for_ever(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    inject(&f, PV_FAULT_HANG, 2, 1);
    pv_fence fence[3];
    for (size_t i = 0; i < 3; i++) assert_int_equal(f.backend->submit(f.device, &f.submission, &fence[i], NULL), PV_OK);
    assert_int_equal(f.inner->submits, 1);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(f.backend->wait(f.device, fence[1], 1, NULL), PV_TIMEOUT);
        assert_int_equal(f.backend->wait(f.device, fence[2], UINT32_MAX, NULL), PV_TIMEOUT);
    }
    assert_int_equal(f.backend->wait(f.device, fence[0], 1, NULL), PV_OK);
    uint32_t word = 0;
    assert_int_equal(f.backend->read(f.device, &f.buffer, 0, &word, 4, NULL), PV_TIMEOUT);
    assert_int_equal(f.backend->submit(f.device, &f.submission, &fence[0], NULL), PV_OK);
    assert_int_equal(f.backend->wait(f.device, fence[0], 1, NULL), PV_TIMEOUT);
    tear_down(&f);
}

static void non_finite_outputs_hit_a_row_or_a_slot(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    const pv_fault by_row = {.kind = PV_FAULT_NON_FINITE, .nth = 1, .count = 1, .row = 1, .slot = -1};
    pv_fault_backend_set(f.wrapper, &by_row, 1);
    assert_int_equal(step(&f), PV_OK);
    static const uint32_t row_status[] = {PV_OUTPUT_OK, PV_OUTPUT_NON_FINITE, PV_OUTPUT_OK};
    for (size_t i = 0; i < 3; i++) assert_int_equal(f.outputs[i].status, row_status[i]);
    assert_int_equal(f.outputs[1].token, -1);
    assert_int_equal(f.outputs[0].token, 0);
    assert_true(f.outputs[3].status == 0xFFFFFFFFu);
    assert_int_equal(step(&f), PV_OK);
    for (size_t i = 0; i < 3; i++) assert_int_equal(f.outputs[i].status, PV_OUTPUT_OK);
    const pv_fault by_slot = {.kind = PV_FAULT_NON_FINITE, .nth = 1, .count = 2, .row = 99, .slot = 2};
    pv_fault_backend_set(f.wrapper, &by_slot, 1);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(step(&f), PV_OK);
        static const uint32_t slot_status[] = {PV_OUTPUT_NON_FINITE, PV_OUTPUT_OK, PV_OUTPUT_NON_FINITE};
        for (size_t i = 0; i < 3; i++) assert_int_equal(f.outputs[i].status, slot_status[i]);
    }
    assert_int_equal(pv_fault_backend_injected(f.wrapper), 2);
    const pv_fault absent = {.kind = PV_FAULT_NON_FINITE, .nth = 1, .count = 1, .row = 3, .slot = -1};
    pv_fault_backend_set(f.wrapper, &absent, 1);
    assert_int_equal(step(&f), PV_OK);
    assert_int_equal(pv_fault_backend_injected(f.wrapper), 0);
    tear_down(&f);
}

static void counts_run_over_all_devices(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    inject(&f, PV_FAULT_TRANSIENT, 3, 1);
    assert_int_equal(step(&f), PV_OK);
    close_device(&f);
    open_device(&f);
    prepare_step(&f);
    assert_int_equal(step(&f), PV_OK);
    assert_int_equal(step(&f), PV_DEVICE_TRANSIENT);
    assert_int_equal(step(&f), PV_OK);
    tear_down(&f);
}

/* A half plan that nobody waited for is given back with the device. */
static void closing_gives_back_what_is_pending(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    inject(&f, PV_FAULT_TRANSIENT, 1, 1);
    pv_fence fence;
    assert_int_equal(f.backend->submit(f.device, &f.submission, &fence, NULL), PV_OK);
    assert_int_equal(f.inner->prepares, 3);
    tear_down(&f);
}

static pv_status work(rt_memory *memory, pv_error *error)
{
    pv_fault_backend *wrapper = NULL;
    pv_environment environment = {.allocator = &memory->allocator};
    pv_status status = pv_fault_backend_create(&memory->allocator, inner_backend(), &wrapper, error);
    if (status != PV_OK) return status;
    const pv_backend *backend = pv_fault_backend_get(wrapper);
    pv_backend_device *device = NULL;
    status = backend->open(backend, &environment, "fake", false, &device, error);
    if (status == PV_OK) {
        pv_plan plan = {.count = 0};
        pv_prepared *prepared = NULL;
        status = backend->prepare(device, &plan, &prepared, error);
        if (status == PV_OK) backend->release(device, prepared);
        backend->close(device);
    }
    pv_fault_backend_destroy(wrapper);
    return status;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    uint64_t n = 1;
    for (;; n++) {
        rt_memory memory;
        rt_memory_init(&memory, n);
        pv_error error = {0};
        pv_status status = work(&memory, &error);
        assert_int_equal(memory.live, 0);
        if (status == PV_OK) break;
        assert_int_equal(status, PV_OUT_OF_MEMORY);
    }
    assert_int_equal(n, 6); /* the wrapper, two devices, two prepared plans */
    pv_fault_backend_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_faults_everything_is_forwarded),
        cmocka_unit_test(an_aborted_submission_stays_aborted),
        cmocka_unit_test(the_nth_allocation_fails_and_the_next_does_not),
        cmocka_unit_test(uploads_fail_without_effect),
        cmocka_unit_test(preparing_fails_in_two_ways),
        cmocka_unit_test(a_submission_may_find_no_memory),
        cmocka_unit_test(a_transient_failure_runs_half_or_nothing),
        cmocka_unit_test(the_same_calls_meet_the_same_faults),
        cmocka_unit_test(waits_of_other_submissions_are_not_touched),
        cmocka_unit_test(a_lost_device_refuses_everything),
        cmocka_unit_test(a_hung_device_times_out_for_ever),
        cmocka_unit_test(non_finite_outputs_hit_a_row_or_a_slot),
        cmocka_unit_test(counts_run_over_all_devices),
        cmocka_unit_test(closing_gives_back_what_is_pending),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
