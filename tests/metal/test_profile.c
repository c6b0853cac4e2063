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
    uint32_t buffers, ops, submits, waits, commits, wrong;
    double op_bytes, op_operations;
    bool labelled; /* "layer 0 …" came */
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
        h->labelled |= strncmp(timing->name, "layer 0", 7) == 0;
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
        cmocka_unit_test(every_command_buffer_and_op_is_timed),  cmocka_unit_test(steps_that_fail_are_not_timed),
        cmocka_unit_test(a_capture_that_cannot_be_made_is_told), cmocka_unit_test(a_sound_model_passes_validation),
        cmocka_unit_test(what_is_not_finite_is_named),           cmocka_unit_test(a_device_that_is_nearly_full_says_so_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
