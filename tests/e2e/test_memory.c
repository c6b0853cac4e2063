/* Resident memory stays within the file, the KV cache and 100 MB at every moment: the most that a process ever held while it loaded a
 * model of 144 MB and answered. A mapping whose pages were kept beside the packed weights would be found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "pensieve.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const bool sanitized = true;
#else
static const bool sanitized = false;
#endif

static char path[96];

static int set_up(void **state)
{
    (void)state;
    pv_runtime *runtime = NULL;
    const char *base = getenv("TMPDIR");
    snprintf(path, sizeof path, "%.40s/pensieve-memory-%ld.gguf", base != NULL ? base : "/tmp", (long)getpid());
    if (pv_runtime_create(NULL, &runtime, NULL) != PV_OK) return 1;
    pv_status status = pv_synth(runtime, &(pv_synth_options){.shape = "135m", .layout = "Q8_0", .seed = 1}, path, NULL);
    pv_runtime_destroy(runtime);
    return status;
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

/* In a process of its own: 0 if all went well. */
static int answer(pv_load load)
{
    static int32_t prompt[300];
    pv_runtime *runtime = NULL;
    pv_model *model = NULL;
    pv_session *session = NULL;
    pv_answer result = {0};
    for (int i = 0; i < 300; i++) prompt[i] = i;
    const pv_request request = {.prompt = prompt, .prompt_length = 300, .max_tokens = 8, .ignore_end = true};
    pv_model_options options = {.context = 512, .load = load};
    pv_status status = pv_runtime_create(NULL, &runtime, NULL);
    if (status == PV_OK) status = pv_model_load(runtime, path, &options, &model, NULL);
    if (status == PV_OK) status = pv_session_create(model, &session, NULL);
    if (status == PV_OK) status = pv_session_generate(session, &request, NULL, NULL, &result, NULL);
    pv_session_destroy(session);
    pv_model_destroy(model);
    pv_runtime_destroy(runtime);
    return status != PV_OK || result.generated_tokens != 8;
}

static void check(pv_load load)
{
    if (sanitized) skip(); /* the sanitizer's own memory counts too */
    struct stat file;
    struct rusage usage;
    int status;
    const long megabyte = 1000000, kv = 512L * 30 * 2 * 3 * 64 * 2; /* tokens × layers × K, V × heads × elements × f16 */
    assert_int_equal(stat(path, &file), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(answer(load));
    assert_int_equal(wait4(child, &status, 0, &usage), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
#ifdef __APPLE__
    const long most = usage.ru_maxrss;
#else
    const long most = usage.ru_maxrss * 1024;
#endif
    assert_true(most > file.st_size / 2); /* it was measured at all */
    if (most > file.st_size + kv + 100 * megabyte)
        fail_msg("%ld MB were resident; the file has %ld MB, the KV cache %ld MB", most / megabyte, (long)file.st_size / megabyte, kv / megabyte);
}

static void a_mapped_model_is_held_once(void **state)
{
    (void)state;
    check(PV_LOAD_MAP);
}

static void a_model_that_is_read_is_held_once(void **state)
{
    (void)state;
    check(PV_LOAD_COPY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mapped_model_is_held_once),
        cmocka_unit_test(a_model_that_is_read_is_held_once),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
