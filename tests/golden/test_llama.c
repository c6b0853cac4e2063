/* Tiny llama models against Hugging Face transformers: the logits of every position, from every file format and layout, with every
 * set of kernels. How far they may differ is derived in make_llama.py and support_llama.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>

#include "support/device.h"
#include "support_llama.h"

#define MAX_CASES 32

static char names[MAX_CASES][64];

/* Prompts in steps of all rows, 32, 7 and 1, forced decoding from the middle of a page, two threads. */
static const golden_run ways[] = {
    {.threads = 1, .max_step_rows = 512},
    {.threads = 2, .max_step_rows = 512, .load = PV_LOAD_COPY},
    {.threads = 1, .max_step_rows = 32},
    {.threads = 2, .max_step_rows = 7},
    {.threads = 1, .max_step_rows = 1},
    {.threads = 2, .max_step_rows = 16, .prompt = 21},
    {.threads = 1, .max_step_rows = 512, .prompt = 1},
};

/* On a GPU: many rows, few, one; each size has kernels of its own, so that bits may differ. */
static bool runs_this_way(size_t way) { return test_device() == NULL || way == 0 || way == 3 || way == 5; }

/* Runs the file every way, and asserts that the logits are close to the reference, and the same bits every way. */
static void check_file(const golden_case *c, const golden_file *file, const char *kernels)
{
    char folder[GOLDEN_PATH], path[GOLDEN_PATH];
    float *first = NULL;
    golden_make_folder(folder);
    golden_write(c, file, folder, path);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        if (!runs_this_way(i)) continue;
        golden_run run = ways[i];
        run.kernels = kernels;
        if (run.prompt == 0) run.prompt = c->token_count;
        float *logits = golden_logits(c, path, &run);
        golden_deviation deviation = golden_compare(c, file->layout, logits);
        if (!golden_passes(deviation))
            fail_msg("%s %s%s, kernels %s, way %zu: rms is %.3g and maximum %.3g times what is allowed", file->gguf ? "gguf" : "safetensors",
                     file->layout, file->shards == 2 ? " in shards" : "", kernels != NULL ? kernels : "best", i, deviation.rms, deviation.max);
        if (first != NULL && test_device() == NULL) assert_memory_equal(first, logits, c->token_count * c->vocabulary * sizeof *logits);
        if (first == NULL)
            first = logits;
        else
            free(logits);
    }
    free(first);
    golden_remove_folder(folder);
}

static void check_everywhere(const golden_case *c, golden_file file)
{
    if (test_device() == NULL) check_file(c, &file, "generic");
    check_file(c, &file, NULL);
}

static void logits_are_those_of_transformers(void **state)
{
    golden_case c;
    golden_open(&c, "llama", *state);
    const char *layout;
    size_t count = 0;
    for (; (layout = golden_layout(&c, count)) != NULL; count++) {
        bool dense = strcmp(layout, "F32") == 0 || strcmp(layout, "F16") == 0 || strcmp(layout, "BF16") == 0;
        check_everywhere(&c, (golden_file){.gguf = true, .layout = layout});
        if (!dense) continue;
        check_everywhere(&c, (golden_file){.layout = layout, .shards = 1, .config_name = "config.json"});
        check_everywhere(&c, (golden_file){.layout = layout, .shards = 2, .config_name = "config.json"});
        if (pv_flat_find(&c.config, "rope_parameters.factor") != NULL)
            check_everywhere(&c, (golden_file){.layout = layout, .shards = 1, .config_name = "legacy.json"});
    }
    assert_true(count > 0);
    golden_close(&c);
}

/* The comparison itself: a model that is slightly another one must not pass. */
static void mistakes_are_noticed(void **state)
{
    static const struct {
        const char *name, *layout;
        golden_mistake mistake;
    } cases[] = {
        {"gqa", "F32", GOLDEN_UNPERMUTED},        {"gqa", "F32", GOLDEN_THETA},
        {"mha", "F32", GOLDEN_EPSILON},           {"blocks_32", "Q4_0", GOLDEN_ONE_BLOCK},
        {"blocks_32", "Q8_0", GOLDEN_UNPERMUTED}, {"blocks_256", "MIXED", GOLDEN_ONE_BLOCK},
        {"llama3", "F32", GOLDEN_PLAIN_ROPE},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char folder[GOLDEN_PATH], path[GOLDEN_PATH];
        golden_case c;
        golden_open(&c, "llama", cases[i].name);
        golden_file file = {.gguf = true, .layout = cases[i].layout, .mistake = cases[i].mistake};
        golden_make_folder(folder);
        golden_write(&c, &file, folder, path);
        float *logits = golden_logits(&c, path, &(golden_run){.threads = 1, .max_step_rows = 512, .prompt = c.token_count});
        golden_deviation deviation = golden_compare(&c, cases[i].layout, logits);
        if (golden_passes(deviation))
            fail_msg("mistake %d in %s %s: rms is %.3g and maximum %.3g times what is allowed", cases[i].mistake, cases[i].name,
                     cases[i].layout, deviation.rms, deviation.max);
        free(logits);
        golden_remove_folder(folder);
        golden_close(&c);
    }
}

static size_t find_cases(void)
{
    DIR *folder = opendir(PV_TEST_DATA "/golden/llama");
    size_t count = 0;
    if (folder == NULL) return 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL && count < MAX_CASES;)
        if (entry->d_name[0] != '.') snprintf(names[count++], sizeof names[0], "%.63s", entry->d_name);
    closedir(folder);
    qsort(names, count, sizeof names[0], (int (*)(const void *, const void *))strcmp);
    return count;
}

static void all_cases_are_here(void **state)
{
    assert_int_equal(*(const size_t *)*state, 13);
}

int main(void)
{
    static size_t count;
    count = find_cases();
    struct CMUnitTest tests[MAX_CASES + 2] = {
        cmocka_unit_test_prestate(all_cases_are_here, &count),
        cmocka_unit_test(mistakes_are_noticed),
    };
    for (size_t i = 0; i < count; i++)
        tests[2 + i] = (struct CMUnitTest){names[i], logits_are_those_of_transformers, NULL, NULL, names[i]};
    return _cmocka_run_group_tests("llama", tests, 2 + count, NULL, NULL);
}
