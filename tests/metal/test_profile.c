/* Times, captures and validation on Metal. What softmetal's clock says is no figure of a GPU: asserted are counts, order and
 * names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backend/metal/metal.h"
#include "base/alloc.h"
#include "support_metal.h"

/* ---- Who listens ---- */

typedef struct heard {
    uint32_t buffers, ops, dispatches, submits, waits, commits, wrong;
    uint64_t op_threads, dispatch_threads;
    double op_bytes, op_operations;
    bool labelled, kernels; /* "layer 0 …" came; the names of kernels */
    char log[4096];
} heard;

static void listen(void *user, const pv_timing *timing)
{
    heard *h = user;
    if (!(timing->end >= timing->begin) || timing->begin <= 0) h->wrong++;
    if (strcmp(timing->track, "metal:0") == 0) {
        h->buffers += strcmp(timing->name, "command buffer") == 0;
        if (timing->rows == 0) h->wrong++;
    } else if (strcmp(timing->track, "metal:0 ops") == 0) {
        h->ops++;
        h->op_bytes += timing->bytes;
        h->op_operations += timing->operations;
        h->op_threads += timing->threads;
        h->labelled |= strncmp(timing->name, "layer 0", 7) == 0;
    } else if (strcmp(timing->track, "metal:0 dispatches") == 0) {
        h->dispatches++;
        h->dispatch_threads += timing->threads;
        h->kernels |= strcmp(timing->name, "rms_norm") == 0 || strncmp(timing->name, "linear_", 7) == 0;
    } else if (strcmp(timing->track, "engine") == 0) {
        h->submits += strcmp(timing->name, "submit") == 0;
        h->waits += strcmp(timing->name, "wait") == 0;
        h->commits += strcmp(timing->name, "commit") == 0;
    } else {
        h->wrong++;
    }
}

static void keep_log(void *user, pv_log_level level, const char *message)
{
    heard *h = user;
    const size_t used = strlen(h->log);
    (void)level;
    snprintf(h->log + used, sizeof h->log - used, "%s\n", message);
}

/* A run of the tiny model with these options of the runtime. */
static void run_with(pv_runtime_options options, const char *layout, tiny_result *result)
{
    static const int32_t prompt[] = {3, 1, 4, 1, 5, 9, 2, 6};
    pv_runtime *runtime = NULL;
    pv_model *model = NULL;
    pv_error error = {0};
    const pv_model_options model_options = {
        .device = "metal", .max_sequences = 1, .max_step_rows = 32, .context = 64, .allow_non_finite = true};
    const pv_request request = {.prompt = prompt, .prompt_length = 8, .max_tokens = 4, .ignore_end = true};
    options.metal_library = test_metal_library();
    if (pv_runtime_create(&options, &runtime, &error) != PV_OK) fail_msg("%s", error.message);
    if (pv_model_load(runtime, tiny_path(layout), &model_options, &model, &error) != PV_OK) fail_msg("%s", error.message);
    tiny_run_alone(model, &request, result);
    pv_model_destroy(model);
    pv_runtime_destroy(runtime);
}

static void every_command_buffer_and_op_is_timed(void **state)
{
    (void)state;
    static tiny_result plain, timed;
    heard h = {0};
    softmetal_counts before, after;
    metal_reset();
    run_with((pv_runtime_options){0}, "Q8_0", &plain);
    softmetal_get_counts(&before);
    run_with((pv_runtime_options){.trace = listen, .trace_user = &h}, "Q8_0", &timed);
    softmetal_get_counts(&after);
    tiny_assert_same(&timed, &plain);
    assert_int_equal(h.wrong, 0);
    assert_int_equal(h.buffers, after.command_buffers - before.command_buffers);
    assert_int_equal(h.ops, after.encoders - before.encoders); /* each has its own */
    assert_true(h.ops > 4 * h.buffers);
    assert_true(h.op_bytes > 0 && h.op_operations > 0);
    assert_true(h.labelled);
    assert_true(h.submits >= 4 && h.submits == h.waits && h.waits == h.commits);
    metal_assert_no_leaks();
}

/* On a device of this kind; `counts` gets what the device did for what was heard. */
static void listen_to(const softmetal_world *world, heard *h, softmetal_counts *counts)
{
    static tiny_result plain, timed;
    softmetal_counts before;
    metal_reset();
    run_with((pv_runtime_options){0}, "Q8_0", &plain);
    softmetal_set_world(world);
    softmetal_get_counts(&before);
    *h = (heard){0};
    run_with((pv_runtime_options){.trace = listen, .trace_user = h}, "Q8_0", &timed);
    softmetal_get_counts(counts);
    tiny_assert_same(&timed, &plain);
    assert_int_equal(h->wrong, 0);
    counts->encoders -= before.encoders;
    counts->dispatches -= before.dispatches;
    counts->threads -= before.threads;
    assert_int_equal(h->ops, counts->encoders);
    metal_assert_no_leaks();
}

static void threads_are_counted_where_the_device_does(void **state)
{
    (void)state;
    heard h;
    softmetal_counts counts;
    listen_to(&(softmetal_world){.keep_open = true, .statistics = true}, &h, &counts);
    assert_int_equal(h.dispatches, 0);
    assert_int_equal(h.op_threads, counts.threads);
    listen_to(&(softmetal_world){.keep_open = true}, &h, &counts);
    assert_int_equal(h.op_threads, 0);
}

static void every_dispatch_is_timed_where_the_device_can(void **state)
{
    (void)state;
    heard h;
    softmetal_counts counts;
    listen_to(&(softmetal_world){.keep_open = true, .sample_dispatches = true, .statistics = true}, &h, &counts);
    assert_int_equal(h.dispatches, counts.dispatches);
    assert_true(h.dispatches >= h.ops);
    assert_int_equal(h.dispatch_threads, counts.threads);
    assert_int_equal(h.op_threads, counts.threads);
    assert_true(h.kernels);
}

/* ---- Signposts: Apple's functions are found by name, so these are ---- */

static struct {
    uint32_t begun[3], ended[3], wrong, next;
    uint64_t open[64]; /* ids */
    char first_step[64];
    bool off;
} seen;

static const char *const intervals[] = {"prepare", "encode", "step"};

void *os_log_create(const char *subsystem, const char *category);
bool os_signpost_enabled(void *log);
uint64_t os_signpost_id_generate(void *log);
void _os_signpost_emit_with_name_impl(void *image, void *log, uint8_t type, uint64_t id, const char *name, const char *format,
                                      uint8_t *arguments, uint32_t bytes);

void *os_log_create(const char *subsystem, const char *category)
{
    seen.wrong += strcmp(subsystem, "pensieve") != 0 || strcmp(category, "Metal") != 0;
    return &seen;
}

bool os_signpost_enabled(void *log)
{
    return log == &seen && !seen.off;
}

uint64_t os_signpost_id_generate(void *log)
{
    (void)log;
    return ++seen.next;
}

/* An argument is a byte of its kind, one of its size, and itself; before them how many there are. */
void _os_signpost_emit_with_name_impl(void *image, void *log, uint8_t type, uint64_t id, const char *name, const char *format,
                                      uint8_t *arguments, uint32_t bytes)
{
    uint32_t i = 0;
    const char *text = "";
    while (i < 3 && strcmp(name, intervals[i]) != 0) i++;
    seen.wrong += image == NULL || log != &seen || i == 3 || (type != 1 && type != 2) || seen.next >= 64 * 1024;
    if (i == 3) return;
    uint64_t *open = &seen.open[id % 64];
    if (type == 1) {
        memcpy(&text, arguments + 4, sizeof text);
        seen.wrong += strcmp(format, "%{public}s") != 0 || bytes != 12 || memcmp(arguments, "\2\1\42\10", 4) != 0;
        seen.wrong += *open != 0;
        seen.begun[i]++;
        *open = id;
        if (i == 2 && seen.first_step[0] == '\0') snprintf(seen.first_step, sizeof seen.first_step, "%s", text);
    } else {
        seen.wrong += format[0] != '\0' || bytes != 2 || *open != id;
        seen.ended[i]++;
        *open = 0;
    }
}

static void signposts_begin_and_end(void **state)
{
    (void)state;
    static tiny_result result;
    heard h = {0};
    metal_reset();
    memset(&seen, 0, sizeof seen);
    softmetal_inject(&(softmetal_fault){.kind = SOFTMETAL_FAULT_COMMAND_BUFFER, .nth = 2});
    run_with((pv_runtime_options){.trace = listen, .trace_user = &h}, "Q8_0", &result);
    assert_int_equal(seen.wrong, 0);
    for (int i = 0; i < 3; i++) assert_true(seen.begun[i] > 0 && seen.begun[i] == seen.ended[i]);
    assert_int_equal(seen.begun[2], h.submits);
    assert_int_equal(seen.begun[1], h.submits);
    assert_string_equal(seen.first_step, "8 rows");
    memset(&seen, 0, sizeof seen);
    run_with((pv_runtime_options){0}, "Q8_0", &result); /* nobody listens */
    seen.off = true;
    run_with((pv_runtime_options){.trace = listen, .trace_user = &h}, "Q8_0", &result); /* nobody looks */
    assert_true(seen.wrong == 0 && seen.next == 0);
    metal_assert_no_leaks();
}

static void steps_that_fail_are_not_timed(void **state)
{
    (void)state;
    static tiny_result result;
    heard h = {0};
    metal_reset();
    softmetal_inject(&(softmetal_fault){.kind = SOFTMETAL_FAULT_COMMAND_BUFFER, .nth = 2});
    run_with((pv_runtime_options){.trace = listen, .trace_user = &h, .log = keep_log, .log_user = &h}, "Q8_0", &result);
    assert_int_equal(softmetal_faults_fired(), 1);
    assert_int_equal(result.count, 4);
    assert_int_equal(h.wrong, 0);
    softmetal_counts counts;
    softmetal_get_counts(&counts);
    assert_int_equal(h.buffers, counts.command_buffers - 1);
    metal_assert_no_leaks();
}

static void a_capture_that_cannot_be_made_is_told(void **state)
{
    (void)state;
    static tiny_result result;
    heard h = {0};
    metal_reset();
    run_with((pv_runtime_options){.capture = "steps.gputrace", .log = keep_log, .log_user = &h}, "Q8_0", &result);
    assert_int_equal(result.count, 4);
    assert_non_null(strstr(h.log, "the capture steps.gputrace is not made"));
    assert_non_null(strstr(h.log, "METAL_CAPTURE_ENABLED=1"));
    metal_assert_no_leaks();
}

/* ---- Validation ---- */

static void a_sound_model_passes_validation(void **state)
{
    (void)state;
    static tiny_result plain, looked_at;
    heard h = {0};
    metal_reset();
    run_with((pv_runtime_options){0}, "F32", &plain);
    run_with((pv_runtime_options){.validate = true, .log = keep_log, .log_user = &h}, "F32", &looked_at);
    tiny_assert_same(&looked_at, &plain);
    assert_null(strstr(h.log, "not finite"));
    metal_assert_no_leaks();
}

/* One weight of the first layer becomes NaN: what it makes is named, with its place. */
static void what_is_not_finite_is_named(void **state)
{
    (void)state;
    static const int32_t prompt[] = {3, 1, 4};
    static tiny_result result;
    heard h = {0};
    pv_runtime *runtime = NULL;
    pv_model *model = NULL;
    pv_engine *engine = NULL;
    const pv_runtime_options options = {
        .metal_library = test_metal_library(), .validate = true, .log = keep_log, .log_user = &h};
    const pv_model_options model_options = {.device = "metal", .max_sequences = 1, .max_step_rows = 32, .context = 64};
    const pv_request request = {.prompt = prompt, .prompt_length = 3, .max_tokens = 2, .ignore_end = true, .user = &result};
    metal_reset();
    memset(&result, 0, sizeof result);
    assert_int_equal(pv_runtime_create(&options, &runtime, NULL), PV_OK);
    assert_int_equal(pv_model_load(runtime, tiny_path("F32"), &model_options, &model, NULL), PV_OK);
    float *norm = pv_tensor_host(&model->placement->weights.layers[0].attention_norm);
    assert_non_null(norm);
    norm[5] = 0.0f / 0.0f;
    assert_int_equal(pv_engine_create(model, &(pv_engine_options){.steps_ahead = 1}, &engine, NULL), PV_OK);
    assert_int_equal(pv_engine_submit(engine, &request, NULL, NULL), PV_OK);
    tiny_run(engine, 10, NULL);
    assert_int_equal(result.finish, PV_FINISH_ERROR);
    assert_int_equal(result.error, PV_NON_FINITE);
    const char *told = strstr(h.log, "values that are not finite");
    print_message("%s", h.log);
    assert_non_null(told);
    assert_non_null(strstr(h.log, "layer 0"));
    assert_null(strstr(told + 1, "values that are not finite")); /* what follows from it is not told */
    pv_engine_destroy(engine);
    pv_model_destroy(model);
    pv_runtime_destroy(runtime);
    metal_assert_no_leaks();
}

/* An op that does not end is waited for once, not by every op behind it: these come together in one command buffer. */
static void a_device_that_hangs_is_not_looked_at_any_more(void **state)
{
    (void)state;
    static tiny_result wanted[METAL_REQUESTS];
    metal_bench b;
    softmetal_counts before, after;
    metal_reset();
    assert_int_equal(metal_open(&b, &(metal_setting){.validate = true}, NULL), PV_OK);
    metal_submit(&b);
    softmetal_get_counts(&before);
    assert_int_equal(pv_engine_step(b.engine, 0, NULL, NULL), PV_OK);
    softmetal_get_counts(&after);
    const uint64_t one_by_one = after.command_buffers - before.command_buffers;
    metal_run(&b);
    memcpy(wanted, b.found, sizeof wanted);
    pv_metal_of(b.model->placement->device)->patience_ms = 20;
    b.engine->step_timeout_ms = 50;
    softmetal_inject(&(softmetal_fault){.kind = SOFTMETAL_FAULT_HANG, .nth = 3});
    metal_submit(&b);
    softmetal_get_counts(&before);
    assert_int_equal(pv_engine_step(b.engine, 0, NULL, NULL), PV_OK);
    softmetal_get_counts(&after);
    assert_true(one_by_one > 10);
    assert_true(after.command_buffers - before.command_buffers <= 4);
    softmetal_release_hangs();
    metal_run(&b);
    assert_true(metal_same(&b, wanted));
    metal_close(&b);
    metal_assert_no_leaks();
}

static void a_device_that_is_nearly_full_says_so_once(void **state)
{
    (void)state;
    static tiny_result result;
    heard h = {0};
    metal_reset();
    run_with((pv_runtime_options){.log = keep_log, .log_user = &h}, "Q8_0", &result);
    assert_null(strstr(h.log, "keep resident"));
    const pv_allocator allocator = pv_allocator_default();
    const pv_environment environment = {
        .allocator = &allocator, .metal_library = test_metal_library(), .log = keep_log, .log_user = &h};
    pv_backend_device *device = NULL;
    pv_buffer buffers[3] = {{0}};
    softmetal_set_world(&(softmetal_world){.keep_open = true, .working_set = 10 << 20});
    assert_int_equal(pv_metal_backend.open(&pv_metal_backend, &environment, "metal:0", false, &device, NULL), PV_OK);
    assert_int_equal(pv_metal_alloc(device, PV_MEMORY_WEIGHTS, 8 << 20, &buffers[0], NULL), PV_OK);
    assert_null(strstr(h.log, "keep resident"));
    assert_int_equal(pv_metal_alloc(device, PV_MEMORY_KV, 1 << 20, &buffers[1], NULL), PV_OK);
    const char *told = strstr(h.log, "of the 10.0 MiB that it can keep resident");
    assert_non_null(told);
    assert_int_equal(pv_metal_alloc(device, PV_MEMORY_KV, 1 << 20, &buffers[2], NULL), PV_OK);
    assert_null(strstr(told + strlen("of the 10.0 MiB that it can keep resident"), "keep resident"));
    for (int i = 0; i < 3; i++) pv_metal_free(device, &buffers[i]);
    pv_metal_backend.close(device);
    metal_assert_no_leaks();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_buffer_and_op_is_timed),  cmocka_unit_test(threads_are_counted_where_the_device_does),
        cmocka_unit_test(every_dispatch_is_timed_where_the_device_can), cmocka_unit_test(signposts_begin_and_end),
        cmocka_unit_test(steps_that_fail_are_not_timed), cmocka_unit_test(a_device_that_hangs_is_not_looked_at_any_more),
        cmocka_unit_test(a_capture_that_cannot_be_made_is_told), cmocka_unit_test(a_sound_model_passes_validation),
        cmocka_unit_test(what_is_not_finite_is_named),           cmocka_unit_test(a_device_that_is_nearly_full_says_so_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
