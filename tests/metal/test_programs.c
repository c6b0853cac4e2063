/* Programs on Metal: what a compiler says reaches the caller, and what it made is there at the next start. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/metal/program.h"
#include "support_metal.h"

/* ---- What a compiler says ---- */

static pv_status get_pipeline(const pv_metal_kernel *kernel, pv_error *error)
{
    const pv_allocator allocator = pv_allocator_default();
    const pv_environment environment = {.allocator = &allocator, .metal_library = test_metal_library()};
    pv_backend_device *device = NULL;
    const pv_metal_pipeline *pipeline = NULL;
    assert_int_equal(pv_metal_backend.open(&pv_metal_backend, &environment, "metal:0", false, &device, error), PV_OK);
    const pv_status status = pv_metal_pipeline_get(pv_metal_of(device), kernel, &pipeline, error);
    pv_metal_backend.close(device);
    return status;
}

/* A device without simdgroup matrices refuses the kernels that use them. */
static void an_error_names_file_line_and_message(void **state)
{
    (void)state;
    const pv_metal_kernel kernel = {.source = "linear_tiles", .function = "linear_tiles"};
    pv_error error = {0};
    unsigned line = 0;
    metal_reset();
    softmetal_set_world(&(softmetal_world){.keep_open = true, .no_simdgroup_matrix = true});
    assert_int_equal(get_pipeline(&kernel, &error), PV_PROGRAM);
    const char *place = strstr(error.message, "linear_tiles:");
    print_message("%s\n", error.message);
    assert_string_equal(error.op, "linear_tiles");
    assert_non_null(place);
    assert_int_equal(sscanf(place, "linear_tiles:%u:", &line), 1);
    assert_true(line > 1);
    assert_non_null(strstr(error.message, "error: "));
    assert_non_null(strstr(error.message, "metal:0"));
    metal_assert_no_leaks();
}

static void the_compilers_words_are_kept(void **state)
{
    (void)state;
    const pv_metal_kernel kernel = {.source = "rows", .function = "rms_norm"};
    pv_error error = {0};
    metal_reset();
    softmetal_inject(&(softmetal_fault){.kind = SOFTMETAL_FAULT_LIBRARY,
                                        .description = "rows:12:5: error: use of undeclared identifier 'wieght'\n"});
    assert_int_equal(get_pipeline(&kernel, &error), PV_PROGRAM);
    assert_non_null(strstr(error.message, "rows:12:5: error: use of undeclared identifier 'wieght'"));
    metal_reset();
    softmetal_inject(
        &(softmetal_fault){.kind = SOFTMETAL_FAULT_PIPELINE, .description = "Compiler encountered an internal error"});
    assert_int_equal(get_pipeline(&kernel, &error), PV_PROGRAM);
    assert_non_null(strstr(error.message, "Compiler encountered an internal error"));
    metal_assert_no_leaks();
}

static void a_kernel_that_is_not_there_is_named(void **state)
{
    (void)state;
    const pv_metal_kernel kernel = {.source = "rows", .function = "no_such_kernel"};
    pv_error error = {0};
    metal_reset();
    assert_int_equal(get_pipeline(&kernel, &error), PV_PROGRAM);
    assert_non_null(strstr(error.message, "no_such_kernel"));
    assert_int_equal(get_pipeline(&(pv_metal_kernel){.source = "nothing", .function = "rms_norm"}, &error), PV_INTERNAL);
    metal_assert_no_leaks();
}

/* ---- The archive ---- */

static char folder[64], cache[128];

static int make_folder(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%.40s/pensieve-XXXXXX", base != NULL ? base : "/tmp");
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(cache, sizeof cache, "%s/not/there", folder);
    return 0;
}

static int remove_folder(void **state)
{
    char command[192];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

/* The only file in the cache. */
static void archive_path(char path[512])
{
    char command[192], name[256] = "";
    snprintf(command, sizeof command, "ls -A '%s'", cache);
    FILE *list = popen(command, "r");
    assert_non_null(list);
    assert_int_equal(fscanf(list, "%255s", name), 1);
    assert_int_equal(fscanf(list, "%*s"), EOF);
    pclose(list);
    snprintf(path, 512, "%s/%s", cache, name);
}

static void run_once(tiny_result found[METAL_REQUESTS])
{
    metal_bench b;
    pv_error error = {0};
    if (metal_open(&b, &(metal_setting){.cache = cache}, &error) != PV_OK) fail_msg("%s", error.message);
    metal_submit(&b);
    metal_run(&b);
    memcpy(found, b.found, sizeof b.found);
    metal_close(&b);
}

static ino_t file_number(const char *path)
{
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    return status.st_ino;
}

static void what_was_compiled_is_there_at_the_next_start(void **state)
{
    (void)state;
    tiny_result first[METAL_REQUESTS], second[METAL_REQUESTS];
    char path[512];
    metal_reset();
    run_once(first);
    archive_path(path);
    const ino_t number = file_number(path);
    metal_reset();
    run_once(second);
    assert_memory_equal(first[0].tokens, second[0].tokens, sizeof first[0].tokens);
    assert_int_equal(file_number(path), number); /* found whole, so not written again */
    metal_assert_no_leaks();
}

static void a_damaged_archive_is_made_anew(void **state)
{
    (void)state;
    tiny_result found[METAL_REQUESTS];
    char path[512], head[16] = "";
    metal_reset();
    run_once(found);
    archive_path(path);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs("this is no archive", file);
    fclose(file);
    run_once(found);
    archive_path(path);
    file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(head, 1, sizeof head - 1, file), sizeof head - 1);
    fclose(file);
    assert_memory_not_equal(head, "this is no arch", 15);
    metal_assert_no_leaks();
}

/* ---- Many at once ---- */

#define HOLDERS 4

typedef struct holder {
    pthread_t thread;
    pthread_barrier_t *together;
    atomic_uint *complaints;
    bool good;
} holder;

static void count_complaints(void *user, pv_log_level level, const char *message)
{
    (void)message;
    if (level == PV_LOG_WARNING) atomic_fetch_add((atomic_uint *)user, 1);
}

/* A device of its own compiles a kernel; all close at once, each to write what it compiled. */
static void *hold_device(void *user)
{
    holder *h = user;
    const pv_metal_kernel kernel = {.source = "rows", .function = "rms_norm"};
    const pv_allocator allocator = pv_allocator_default();
    const pv_environment environment = {.allocator = &allocator,
                                        .metal_library = test_metal_library(),
                                        .cache = cache,
                                        .log = count_complaints,
                                        .log_user = h->complaints};
    pv_backend_device *device = NULL;
    const pv_metal_pipeline *pipeline = NULL;
    const pv_status status = pv_metal_backend.open(&pv_metal_backend, &environment, "metal:0", false, &device, NULL);
    h->good = status == PV_OK && pv_metal_pipeline_get(pv_metal_of(device), &kernel, &pipeline, NULL) == PV_OK;
    pthread_barrier_wait(h->together);
    pv_metal_backend.close(device);
    return NULL;
}

static void devices_that_close_at_once_keep_a_whole_archive(void **state)
{
    (void)state;
    pthread_barrier_t together;
    atomic_uint complaints = 0;
    char path[512];
    metal_reset();
    for (int round = 0; round < 30; round++) {
        holder holders[HOLDERS];
        pthread_barrier_init(&together, NULL, HOLDERS);
        for (int i = 0; i < HOLDERS; i++) {
            holders[i] = (holder){.together = &together, .complaints = &complaints};
            assert_int_equal(pthread_create(&holders[i].thread, NULL, hold_device, &holders[i]), 0);
        }
        for (int i = 0; i < HOLDERS; i++) {
            pthread_join(holders[i].thread, NULL);
            assert_true(holders[i].good);
        }
        pthread_barrier_destroy(&together);
        archive_path(path); /* nothing else is left */
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(complaints, 0);
    metal_assert_no_leaks();
}

/* Foundation makes no string of such a name, and throws at what comes of none. */
static void a_cache_whose_name_is_no_utf8_is_told(void **state)
{
    (void)state;
    tiny_result found[METAL_REQUESTS];
    metal_reset();
    snprintf(cache, sizeof cache, "%s/\xff\xfe", folder);
    run_once(found);
    assert_int_equal(found[0].finish, PV_FINISH_LENGTH);
    metal_assert_no_leaks();
}

static void no_archive_is_no_failure(void **state)
{
    (void)state;
    tiny_result found[METAL_REQUESTS];
    metal_reset();
    softmetal_inject(&(softmetal_fault){.kind = SOFTMETAL_FAULT_ARCHIVE, .count = UINT64_MAX});
    run_once(found);
    assert_int_equal(found[0].finish, PV_FINISH_LENGTH);
    softmetal_inject(NULL);
    assert_int_equal(remove_folder(NULL), 0);
    FILE *file = fopen(folder, "wb"); /* where the folder would be */
    assert_non_null(file);
    fclose(file);
    run_once(found);
    assert_int_equal(found[0].finish, PV_FINISH_LENGTH);
    assert_int_equal(unlink(folder), 0);
    metal_assert_no_leaks();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_names_file_line_and_message),
        cmocka_unit_test(the_compilers_words_are_kept),
        cmocka_unit_test(a_kernel_that_is_not_there_is_named),
        cmocka_unit_test_setup_teardown(what_was_compiled_is_there_at_the_next_start, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_damaged_archive_is_made_anew, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(devices_that_close_at_once_keep_a_whole_archive, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_cache_whose_name_is_no_utf8_is_told, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(no_archive_is_no_failure, make_folder, NULL),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
