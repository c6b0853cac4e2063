/* The cache of compiled kernels, and the compiler behind it: what is found, what is made anew, what goes wrong outside. */
#include "msl/cache.h"
#include "support_msl.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[64], usual_cache[4096], usual_path[4096];

static const char text[] = "#include <metal_stdlib>\nkernel void k(device int *out [[buffer(0)]]) { out[0] = NUMBER; }\n";

static void remove_tree(const char *path)
{
    DIR *directory = opendir(path);
    struct dirent *entry;
    while (directory && (entry = readdir(directory))) {
        char inner[4096];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        if (unlink(inner) != 0) remove_tree(inner);
    }
    if (directory) closedir(directory);
    rmdir(path);
}

/* Each test has a cache of its own. */
static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/softmetal-test-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    setenv("SOFTMETAL_CACHE", folder, 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unsetenv("SOFTMETAL_CXX");
    unsetenv("SOFTMETAL_COMPILE_TIMEOUT");
    unsetenv("SOFTMETAL_CACHE_LIMIT");
    setenv("PATH", usual_path, 1);
    setenv("SOFTMETAL_CACHE", usual_cache, 1);
    remove_tree(folder);
    return 0;
}

/* Entries with this ending; `last` gets the path of one. */
static size_t count_entries(const char *ending, char last[4096])
{
    DIR *directory = opendir(folder);
    struct dirent *entry;
    size_t count = 0;
    assert_non_null(directory);
    while ((entry = readdir(directory))) {
        size_t length = strlen(entry->d_name), n = strlen(ending);
        if (length < n || strcmp(entry->d_name + length - n, ending) != 0) continue;
        if (last) snprintf(last, 4096, "%s/%s", folder, entry->d_name);
        count++;
    }
    closedir(directory);
    return count;
}

/* Compiles the text with NUMBER = number, runs it; returns how many objects were compiled for that. */
static uint64_t compile_and_run(const char *number, int expected, bool *from_cache)
{
    uint64_t before[2], after[2];
    const sm_macro macro = {"NUMBER", number};
    sm_msl_counts(&before[0], &before[1]);
    sm_msl_library *library = test_library(text, &(sm_msl_options){.macros = &macro, .macro_count = 1});
    sm_built built = test_build(library, "k", NULL, 0);
    sm_msl_counts(&after[0], &after[1]);
    int32_t out[1] = {0};
    void *buffers[SM_BUFFERS] = {out};
    test_run(&built, &(sm_lane){.buffers = buffers});
    assert_int_equal(out[0], expected);
    sm_msl_library_destroy(library);
    *from_cache = built.from_cache;
    assert_int_equal(after[0] - before[0] + after[1] - before[1], 1);
    return after[0] - before[0];
}

/* The same in a process that has nothing loaded. */
static uint64_t compile_elsewhere(const char *number, int expected)
{
    pid_t child = fork();
    if (child == 0) {
        bool from_cache;
        uint64_t compiled = compile_and_run(number, expected, &from_cache);
        _exit(from_cache == (compiled == 0) ? (int)compiled : 99);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return (uint64_t)WEXITSTATUS(status);
}

static void test_hits_and_misses(void **state)
{
    (void)state;
    bool from_cache;
    assert_int_equal(compile_and_run("1", 1, &from_cache), 1);
    assert_false(from_cache);
    assert_int_equal(compile_and_run("1", 1, &from_cache), 0); /* is loaded */
    assert_true(from_cache);
    assert_int_equal(compile_and_run("2", 2, &from_cache), 1); /* another text */
    assert_int_equal(compile_elsewhere("1", 1), 0);            /* is on disk */
    assert_int_equal(compile_elsewhere("3", 3), 1);
    assert_int_equal(compile_elsewhere("3", 3), 0);
    assert_int_equal(count_entries(".so", NULL), 3);
    /* Spelled otherwise, preprocessed alike. */
    assert_int_equal(count_entries(".ii", NULL), 3);
    /* No workspace is left. */
    DIR *directory = opendir(folder);
    struct dirent *entry;
    while ((entry = readdir(directory))) assert_int_not_equal(strncmp(entry->d_name, "work-", 5), 0);
    closedir(directory);
}

static void test_options_are_part_of_the_key(void **state)
{
    (void)state;
    const sm_macro macro = {"NUMBER", "5"};
    const sm_msl_options options[] = {
        {.macros = &macro, .macro_count = 1},
        {.macros = &macro, .macro_count = 1, .fast_math = true},
        {.macros = &macro, .macro_count = 1, .world = {.build = SOFTMETAL_CHECKED}},
        {.macros = &macro, .macro_count = 1, .world = {.ulp_jitter = 1}},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        sm_msl_library *library = test_library(text, &options[i]);
        assert_false(test_build(library, "k", NULL, 0).from_cache);
        assert_true(test_build(library, "k", NULL, 0).from_cache);
        sm_msl_library_destroy(library);
        assert_int_equal(count_entries(".so", NULL), i + 1);
    }
}

static void damage(const char *path, int how)
{
    struct stat there;
    assert_int_equal(stat(path, &there), 0);
    int file = open(path, O_RDWR | (how == 0 ? O_TRUNC : 0));
    assert_true(file >= 0);
    char byte = 0x55;
    if (how == 1) assert_int_equal(ftruncate(file, there.st_size / 2), 0);
    if (how == 2) assert_int_equal(pwrite(file, &byte, 1, there.st_size / 2), 1);
    if (how == 3) assert_int_equal(ftruncate(file, there.st_size - 1), 0);
    if (how == 4) assert_int_equal(pwrite(file, "not an object at all", 20, 0), 20);
    close(file);
}

/* An entry that was cut short, changed or replaced is made anew, and is whole afterwards. */
static void test_broken_entries(void **state)
{
    (void)state;
    static const char *const endings[] = {".so", ".ii", ".ok"};
    char path[4096];
    assert_int_equal(compile_elsewhere("7", 7), 1);
    for (size_t i = 0; i < 3; i++) {
        for (int how = 0; how < 5; how++) {
            assert_int_equal(count_entries(endings[i], path), 1);
            damage(path, how);
            assert_int_equal(compile_elsewhere("7", 7), i == 0);
            assert_int_equal(compile_elsewhere("7", 7), 0);
        }
    }
}

/* An object of another text under this one's name. */
static void test_foreign_entry(void **state)
{
    (void)state;
    char first[4096], second[4096];
    assert_int_equal(compile_elsewhere("8", 8), 1);
    assert_int_equal(count_entries(".so", first), 1);
    char kept[4200];
    snprintf(kept, sizeof kept, "%s.kept", first);
    assert_int_equal(rename(first, kept), 0);
    assert_int_equal(compile_elsewhere("9", 9), 1);
    assert_int_equal(count_entries(".so", second), 1);
    assert_int_equal(rename(second, first), 0);
    assert_int_equal(compile_elsewhere("8", 8), 1);
    assert_int_equal(compile_elsewhere("8", 8), 0);
}

/* The precompiled shim is broken, or its headers are: objects are still made. */
static void test_broken_shim(void **state)
{
    (void)state;
    char shim[4096] = "", path[8192];
    assert_int_equal(compile_elsewhere("10", 10), 1);
    DIR *directory = opendir(folder);
    struct dirent *entry;
    while ((entry = readdir(directory))) {
        if (strncmp(entry->d_name, "shim-", 5) == 0) snprintf(shim, sizeof shim, "%s/%s", folder, entry->d_name);
    }
    closedir(directory);
    for (int how = 0; how < 5; how++) {
        size_t damaged = 0;
        directory = opendir(shim);
        while ((entry = readdir(directory))) {
            size_t length = strlen(entry->d_name);
            if (length < 4 || strcmp(entry->d_name + length - 4, ".gch") != 0) continue;
            snprintf(path, sizeof path, "%s/%s", shim, entry->d_name);
            damage(path, how);
            damaged++;
        }
        closedir(directory);
        assert_true(damaged > 0);
        char number[8];
        snprintf(number, sizeof number, "%d", 100 + how);
        assert_int_equal(compile_elsewhere(number, 100 + how), 1);
    }
    snprintf(path, sizeof path, "%s/metal_stdlib.h", shim);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(compile_elsewhere("11", 11), 1);
}

typedef struct sm_job {
    sm_msl_library *library;
    const char *function;
    sm_built built;
    bool ok;
} sm_job;

static void *build_one(void *argument)
{
    sm_job *job = argument;
    char *errors = NULL;
    job->ok = sm_msl_build(job->library, job->function, NULL, 0, &job->built, &errors);
    free(errors);
    return NULL;
}

/* Four threads want the same kernel at once: it is compiled once. */
static void test_same_kernel_at_once(void **state)
{
    (void)state;
    uint64_t before[2], after[2];
    const sm_macro macro = {"NUMBER", "20"};
    sm_msl_library *library = test_library(text, &(sm_msl_options){.macros = &macro, .macro_count = 1});
    sm_job jobs[4];
    pthread_t threads[4];
    sm_msl_counts(&before[0], &before[1]);
    for (int i = 0; i < 4; i++) {
        jobs[i] = (sm_job){.library = library, .function = "k"};
        assert_int_equal(pthread_create(&threads[i], NULL, build_one, &jobs[i]), 0);
    }
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    sm_msl_counts(&after[0], &after[1]);
    for (int i = 0; i < 4; i++) {
        assert_true(jobs[i].ok);
        assert_ptr_equal(jobs[i].built.kernel, jobs[0].built.kernel);
    }
    assert_int_equal(after[0] - before[0], 1);
    assert_int_equal(after[1] - before[1], 3);
    sm_msl_library_destroy(library);
}

/* Different kernels of one library at once, and whole libraries at once. */
static void *make_library(void *argument)
{
    sm_job *job = argument;
    char *errors = NULL;
    const sm_macro macro = {"NUMBER", job->function};
    sm_msl_library *library = sm_msl_library_create(text, &(sm_msl_options){.macros = &macro, .macro_count = 1}, &errors);
    if (library) job->ok = sm_msl_build(library, "k", NULL, 0, &job->built, &errors);
    sm_msl_library_destroy(library);
    free(errors);
    return NULL;
}

static void test_different_ones_at_once(void **state)
{
    (void)state;
    static const char *const numbers[] = {"31", "32", "33"};
    sm_job jobs[3];
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        jobs[i] = (sm_job){.function = numbers[i]};
        assert_int_equal(pthread_create(&threads[i], NULL, make_library, &jobs[i]), 0);
    }
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 3; i++) {
        int32_t out[1] = {0};
        void *buffers[SM_BUFFERS] = {out};
        assert_true(jobs[i].ok);
        test_run(&jobs[i].built, &(sm_lane){.buffers = buffers});
        assert_int_equal(out[0], 31 + i);
    }
}

/* Old entries go when there are too many bytes; the newest stay. */
static void test_bounded(void **state)
{
    (void)state;
    char path[4096], name[64];
    for (int i = 0; i < 8; i++) {
        snprintf(name, sizeof name, "%032x.so", i);
        snprintf(path, sizeof path, "%s/%s", folder, name);
        int file = open(path, O_WRONLY | O_CREAT, 0666);
        assert_int_equal(ftruncate(file, 1 << 20), 0);
        const struct timespec times[2] = {{1000000 + i, 0}, {1000000 + i, 0}};
        assert_int_equal(futimens(file, times), 0);
        close(file);
    }
    snprintf(path, sizeof path, "%s/mine.txt", folder); /* what is not the cache's is left alone */
    close(open(path, O_WRONLY | O_CREAT, 0666));
    assert_int_equal(compile_elsewhere("40", 40), 1);
    assert_int_equal(count_entries(".so", NULL), 9);
    sm_cache cache;
    sm_arena arena = {0};
    const char *error;
    setenv("SOFTMETAL_CACHE_LIMIT", "1", 1);
    assert_true(sm_cache_open(&cache, &arena, &error));
    sm_cache_trim(&cache);
    sm_arena_free(&arena);
    assert_int_equal(count_entries(".so", NULL), 1); /* the new one, for all that the limit says */
    assert_int_equal(count_entries("mine.txt", NULL), 1);
    assert_int_equal(compile_elsewhere("40", 40), 0);
}

static void refuse(const char *wanted)
{
    const sm_macro macro = {"NUMBER", "50"};
    char *errors;
    assert_null(sm_msl_library_create(text, &(sm_msl_options){.macros = &macro, .macro_count = 1}, &errors));
    if (!strstr(errors, wanted)) fail_msg("wanted '%s', got '%s'", wanted, errors);
    free(errors);
}

static void script(const char *name, const char *lines)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    fprintf(file, "#!/bin/sh\n%s\n", lines);
    fclose(file);
    chmod(path, 0755);
    setenv("SOFTMETAL_CXX", path, 1);
}

static void test_no_compiler(void **state)
{
    (void)state;
    setenv("SOFTMETAL_CXX", "no-such-compiler", 1);
    refuse("SOFTMETAL_CXX names 'no-such-compiler', which is no program that can be run");
    unsetenv("SOFTMETAL_CXX");
    setenv("PATH", "/nowhere", 1);
    refuse("apt-get install g++");
}

static void test_compilers_that_fail(void **state)
{
    (void)state;
    script("fails-g++", "echo something is wrong >&2; exit 3");
    refuse("failed with status 3: something is wrong");
    script("dies-g++", "kill -SEGV $$");
    refuse("was killed by signal 11");
    script("empty-g++", "exit 0");
    refuse("error");
    script("sleeps-g++", "sleep 1000 & sleep 1000");
    setenv("SOFTMETAL_COMPILE_TIMEOUT", "1", 1);
    refuse("did not end within 1 s");
}

/* A host that ignores SIGCHLD, and one that catches it. */
static void test_hosts_with_children(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        bool from_cache;
        signal(SIGCHLD, SIG_IGN);
        _exit(compile_and_run("60", 60, &from_cache) == 1 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_cache_that_cannot_be_written(void **state)
{
    (void)state;
    setenv("SOFTMETAL_CACHE", "/proc/nowhere", 1);
    refuse("the cache of compiled kernels, /proc/nowhere, cannot be written: ");
    static char longer[5000];
    memset(longer, 'x', sizeof longer - 1);
    longer[0] = '/';
    setenv("SOFTMETAL_CACHE", longer, 1);
    refuse("too long");
}

int main(void)
{
    snprintf(usual_cache, sizeof usual_cache, "%s", getenv("SOFTMETAL_CACHE") ? getenv("SOFTMETAL_CACHE") : "");
    snprintf(usual_path, sizeof usual_path, "%s", getenv("PATH"));
#define IN_OWN_CACHE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        IN_OWN_CACHE(test_hits_and_misses), IN_OWN_CACHE(test_options_are_part_of_the_key),
        IN_OWN_CACHE(test_broken_entries), IN_OWN_CACHE(test_foreign_entry), IN_OWN_CACHE(test_broken_shim),
        IN_OWN_CACHE(test_same_kernel_at_once), IN_OWN_CACHE(test_different_ones_at_once), IN_OWN_CACHE(test_bounded),
        IN_OWN_CACHE(test_no_compiler), IN_OWN_CACHE(test_compilers_that_fail), IN_OWN_CACHE(test_hosts_with_children),
        IN_OWN_CACHE(test_cache_that_cannot_be_written),
    };
    return cmocka_run_group_tests_name("msl cache", tests, NULL, NULL);
}
