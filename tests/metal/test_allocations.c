/* The host's allocations fail one after the other while a model is loaded and run on Metal, and so do the device's: an error or
 * the right text, and nothing left behind. METAL_EVERY=1 fails each of the host's, not each seventh. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support_metal.h"

static pv_status generate(pv_model *model, tiny_result *result, pv_error *error)
{
    static const int32_t prompt[] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3};
    pv_engine *engine = NULL;
    size_t active = 1;
    const pv_request request = {.prompt = prompt, .prompt_length = 10, .max_tokens = 3, .ignore_end = true, .user = result};
    pv_status status = pv_engine_create(model, NULL, &engine, error);
    if (status == PV_OK) status = pv_engine_submit(engine, &request, NULL, error);
    for (int i = 0; i < 100 && active > 0 && status == PV_OK; i++) {
        status = pv_engine_step(engine, 0, &active, error);
        tiny_take_events(engine, NULL);
    }
    pv_engine_destroy(engine);
    return status != PV_OK ? status : result->finished ? result->error : PV_INTERNAL;
}

static pv_status live(tiny_allocator *allocator, tiny_result *result, pv_error *error)
{
    pv_runtime *runtime = NULL;
    pv_model *model = NULL;
    const pv_runtime_options options = {
        .allocator = tiny_allocator_get(allocator), .metal_library = test_metal_library(), .threads = 1};
    const pv_model_options model_options = {.device = "metal", .context = 64, .max_sequences = 1, .max_step_rows = 32};
    memset(result, 0, sizeof *result);
    pv_status status = pv_runtime_create(&options, &runtime, error);
    if (status == PV_OK) status = pv_model_load(runtime, tiny_path("Q8_0"), &model_options, &model, error);
    if (status == PV_OK) status = generate(model, result, error);
    pv_model_destroy(model);
    pv_runtime_destroy(runtime);
    return status;
}

static tiny_result wanted, found;

static void expect_error_or_text(pv_status status, const pv_error *error, uint64_t n)
{
    if (status == PV_OK) {
        tiny_assert_same(&found, &wanted);
        return;
    }
    /* a device that cannot be looked at for want of memory is not available */
    const bool memory = status == PV_OUT_OF_MEMORY || status == PV_DEVICE_OUT_OF_MEMORY || status == PV_NOT_FOUND;
    if (!memory) fail_msg("allocation %llu: %s: %s", (unsigned long long)n, pv_status_name(status), error->message);
}

static void the_hosts_allocations_may_fail(void **state)
{
    (void)state;
    tiny_allocator counting = {0};
    pv_error error = {0};
    uint64_t failed = 0, tried = 0;
    metal_reset();
    assert_int_equal(live(&counting, &wanted, &error), PV_OK);
    assert_int_equal(counting.live, 0);
    const uint64_t every = getenv("METAL_EVERY") != NULL ? strtoull(getenv("METAL_EVERY"), NULL, 10) : 7;
    for (uint64_t n = 1; n <= counting.calls; n += every) {
        tiny_allocator failing = {.fail_at = n};
        memset(&error, 0, sizeof error);
        const pv_status status = live(&failing, &found, &error);
        if (failing.live != 0)
            fail_msg("allocation %llu: %llu blocks are left", (unsigned long long)n, (unsigned long long)failing.live);
        expect_error_or_text(status, &error, n);
        failed += status != PV_OK;
        tried++;
    }
    print_message("%llu of %llu allocations failed, %llu were an error\n", (unsigned long long)tried,
                  (unsigned long long)counting.calls, (unsigned long long)failed);
    assert_true(tried > 20 && failed > tried / 4);
    metal_assert_no_leaks();
}

static void the_devices_allocations_may_fail(void **state)
{
    (void)state;
    metal_reset();
    for (uint64_t n = 1;; n++) {
        tiny_allocator counting = {0};
        pv_error error = {0};
        softmetal_reset();
        softmetal_inject(&(softmetal_fault){.kind = SOFTMETAL_FAULT_ALLOCATION, .nth = n, .count = 2});
        const pv_status status = live(&counting, &found, &error);
        const uint64_t fired = softmetal_faults_fired();
        softmetal_inject(NULL);
        assert_int_equal(counting.live, 0);
        expect_error_or_text(status, &error, n);
        if (fired == 0) break;
        assert_true(n < 40);
    }
    metal_assert_no_leaks();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hosts_allocations_may_fail),
        cmocka_unit_test(the_devices_allocations_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
