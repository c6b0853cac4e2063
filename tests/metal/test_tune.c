/* Choices that are measured: kept for this device, used from then on, and never made by themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/metal/program.h"
#include "backend/metal/tune.h"
#include "support_metal.h"

static char folder[64];

static int make_folder(void **state)
{
    const char *base = getenv("TMPDIR");
    (void)state;
    snprintf(folder, sizeof folder, "%.40s/pensieve-XXXXXX", base != NULL ? base : "/tmp");
    metal_reset();
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
    char command[96];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static void silent(void *user, pv_log_level level, const char *message)
{
    (void)level;
    snprintf(user, 512, "%s", message);
}

/* What a device that is opened with this cache uses; `log` gets what it says. */
static uint32_t few_rows_of(const char *cache, char path[PV_METAL_PATH_BYTES], char log[512])
{
    const pv_allocator allocator = pv_allocator_default();
    const pv_environment environment = {
        .allocator = &allocator, .metal_library = test_metal_library(), .cache = cache, .log = silent, .log_user = log};
    pv_backend_device *device = NULL;
    log[0] = '\0';
    assert_int_equal(pv_metal_backend.open(&pv_metal_backend, &environment, "metal:0", false, &device, NULL), PV_OK);
    const uint32_t few_rows = pv_metal_of(device)->tuning.few_rows;
    if (cache != NULL) assert_true(pv_metal_cache_path(pv_metal_of(device), "tune", path));
    pv_metal_backend.close(device);
    return few_rows;
}

static void store(const char *text)
{
    char path[PV_METAL_PATH_BYTES], log[512];
    few_rows_of(folder, path, log);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

typedef struct seen {
    uint32_t few, matrices, chosen_few; /* measurements */
    bool wrong;
} seen;

static void report(void *user, const pv_tuned *tuned)
{
    seen *s = user;
    s->few += strcmp(tuned->variant, "few rows") == 0;
    s->matrices += strcmp(tuned->variant, "matrix units") == 0;
    s->chosen_few += strcmp(tuned->variant, "few rows") == 0 && tuned->chosen;
    s->wrong |= !(tuned->seconds > 0 && tuned->seconds < 1e3) || strstr(tuned->name, "256 × 256") == NULL;
}

static void what_was_measured_is_kept_and_used(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 2, 4, 8, 12, 16, 24, 32, 48, 64};
    char path[PV_METAL_PATH_BYTES], log[512];
    seen s = {0};
    pv_runtime *runtime = NULL;
    pv_error error = {0};
    const pv_runtime_options options = {.metal_library = test_metal_library(), .cache = folder};
    const pv_tune_options tune = {.size = 256, .report = report, .user = &s};
    assert_int_equal(pv_runtime_create(&options, &runtime, &error), PV_OK);
    if (pv_device_tune(runtime, "metal", &tune, &error) != PV_OK) fail_msg("%s", error.message);
    assert_false(s.wrong);
    assert_int_equal(s.few, s.matrices);
    assert_true(s.few >= 1);
    assert_int_equal(few_rows_of(folder, path, log), counts[s.chosen_few]);
    assert_string_equal(log, "");
    pv_runtime_destroy(runtime);
    metal_assert_no_leaks();
}

static void a_cache_that_cannot_be_written_is_told_before_measuring(void **state)
{
    (void)state;
    char path[PV_METAL_PATH_BYTES], log[512], blocked[128];
    seen s = {0};
    pv_runtime *runtime = NULL;
    pv_error error = {0};
    snprintf(blocked, sizeof blocked, "%s/file", folder);
    FILE *file = fopen(blocked, "wb"); /* where the folder would be */
    assert_non_null(file);
    fclose(file);
    const pv_runtime_options options = {.metal_library = test_metal_library(), .cache = blocked};
    const pv_tune_options tune = {.size = 256, .report = report, .user = &s};
    assert_int_equal(pv_runtime_create(&options, &runtime, &error), PV_OK);
    assert_int_not_equal(pv_device_tune(runtime, "metal", &tune, &error), PV_OK);
    assert_non_null(strstr(error.message, blocked));
    assert_int_equal(s.few + s.matrices, 0);
    pv_runtime_destroy(runtime);
    assert_int_equal(few_rows_of(folder, path, log), PV_METAL_FEW_ROWS);
    metal_assert_no_leaks();
}

static void nothing_is_tuned_by_itself(void **state)
{
    (void)state;
    char path[PV_METAL_PATH_BYTES], log[512];
    assert_int_equal(few_rows_of(NULL, path, log), PV_METAL_FEW_ROWS);
    assert_int_equal(few_rows_of(folder, path, log), PV_METAL_FEW_ROWS);
    assert_int_equal(access(path, F_OK), -1);
    assert_string_equal(log, "");
}

static void a_stored_choice_is_used(void **state)
{
    (void)state;
    char path[PV_METAL_PATH_BYTES], log[512];
    store("{\"schema\": \"pensieve.tune/1\", \"later\": [1, {\"x\": 2}], \"few_rows\": 3}");
    assert_int_equal(few_rows_of(folder, path, log), 3);
    assert_string_equal(log, "");
    store("{\"few_rows\": 0}");
    assert_int_equal(few_rows_of(folder, path, log), 0);
}

static void a_choice_that_makes_no_sense_is_told_and_left(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "{",
                                      "[]",
                                      "{}",
                                      "{\"few_rows\": 65}",
                                      "{\"few_rows\": -1}",
                                      "{\"few_rows\": 1.5}",
                                      "{\"few_rows\": \"8\"}",
                                      "{\"few_rows\": 9} x",
                                      "{\"few_rows\": 9"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char path[PV_METAL_PATH_BYTES], log[512];
        store(bad[i]);
        if (few_rows_of(folder, path, log) != PV_METAL_FEW_ROWS) fail_msg("%s was taken", bad[i]);
        if (strstr(log, "what was tuned is not used") == NULL) fail_msg("%s: '%s'", bad[i], log);
    }
}

/* Which kernel ran for the prompt's rows. */
static uint64_t count_of(const metal_bench *b, const char *name)
{
    pv_counter counters[PV_METAL_COUNTERS];
    const pv_backend_device *device = b->model->placement->device;
    const size_t count = device->backend->counters(device, counters, PV_METAL_COUNTERS);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(counters[i].name, name) == 0) return counters[i].count;
    }
    return 0;
}

static void the_choice_decides_which_kernels_run(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool matrices;
    } cases[] = {{"{\"few_rows\": 8}", true}, {"{\"few_rows\": 64}", false}};
    for (size_t i = 0; i < 2; i++) {
        metal_bench b;
        store(cases[i].text);
        assert_int_equal(metal_open(&b, &(metal_setting){.cache = folder}, NULL), PV_OK);
        metal_submit(&b);
        metal_run(&b);
        assert_int_equal(count_of(&b, "linear_tiles") > 0, cases[i].matrices);
        assert_int_equal(count_of(&b, "linear_rows8") > 0, !cases[i].matrices);
        assert_int_equal(b.found[0].finish, PV_FINISH_LENGTH);
        metal_close(&b);
    }
}

static void tuning_without_a_cache_or_device_is_refused(void **state)
{
    (void)state;
    pv_runtime *runtime = NULL;
    pv_error error = {0};
    pv_runtime_options options = {.metal_library = test_metal_library()};
    assert_int_equal(pv_runtime_create(&options, &runtime, &error), PV_OK);
    assert_int_equal(pv_device_tune(runtime, "metal", NULL, &error), PV_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "cache"));
    assert_int_equal(pv_device_tune(runtime, "cpu", NULL, &error), PV_UNSUPPORTED);
    assert_int_equal(pv_device_tune(runtime, "metal:3", NULL, &error), PV_NOT_FOUND);
    assert_int_equal(pv_device_tune(NULL, "cpu", NULL, &error), PV_INVALID_ARGUMENT);
    pv_runtime_destroy(runtime);
    options.cache = folder;
    assert_int_equal(pv_runtime_create(&options, &runtime, &error), PV_OK);
    assert_int_equal(pv_device_tune(runtime, "metal", &(pv_tune_options){.size = 100}, &error), PV_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "256"));
    pv_runtime_destroy(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_measured_is_kept_and_used, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_cache_that_cannot_be_written_is_told_before_measuring, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(nothing_is_tuned_by_itself, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_stored_choice_is_used, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_choice_that_makes_no_sense_is_told_and_left, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(the_choice_decides_which_kernels_run, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(tuning_without_a_cache_or_device_is_refused, make_folder, remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
