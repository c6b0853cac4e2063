/* Quantized SafeTensors as the formats' own writers leave them (make_quantized.py) against Hugging Face transformers: the logits of every
 * position for the weights that each file stands for. No weight is dequantized on the way, but what has to be turned of
 * DeepSeek's: what is counted here is what goes to the device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "format/parts.h"
#include "support/device.h"
#include "support_llama.h"

static char *const names[] = {
    "awq", "awq_mixtral", "fp8_block", "fp8_qwen3moe", "fp8_tensor", "gpt_oss", "gptq",
    "mlx_affine", "mlx_deepseek2", "mlx_few_bits", "mlx_gemma", "mlx_gemma2", "mlx_gemma3", "mlx_gpt2",
    "mlx_gpt_oss", "mlx_granite", "mlx_lfm2", "mlx_mistral", "mlx_mixtral", "mlx_mxfp4", "mlx_mxfp8",
    "mlx_nvfp4", "mlx_olmo2", "mlx_phi3", "mlx_qwen2", "mlx_qwen2moe", "mlx_qwen3", "mlx_qwen3moe",
    "mlx_smollm3", "mlx_stablelm", "nvfp4_packed",
};
#define CASES (sizeof names / sizeof names[0])

/* A prompt in one step and in steps of 7 rows, forced decoding; the plain kernels once. */
static const golden_run ways[] = {
    {.threads = 1, .max_step_rows = 512},
    {.threads = 2, .max_step_rows = 7, .load = PV_LOAD_COPY},
    {.threads = 2, .max_step_rows = 16, .prompt = 20},
    {.threads = 1, .max_step_rows = 512, .kernels = "generic"},
};

static pv_source *open_source(const char *path)
{
    static pv_allocator allocator;
    pv_source *source = NULL;
    pv_error error = {0};
    allocator = pv_allocator_default();
    if (pv_source_open(&allocator, path, PV_LOAD_MAP, &source, &error) != PV_OK) fail_msg("%s", error.message);
    return source;
}

/* As many tensors of each layout as the case says, and no other that is quantized. */
static void expect_layouts(const golden_case *c)
{
    size_t found[PV_LAYOUT_COUNT + 1] = {0}, kinds = 0;
    pv_source *source = open_source(c->folder);
    for (size_t i = 0; i < pv_source_tensor_count(source); i++) found[pv_source_tensor_at(source, i)->layout]++;
    pv_source_close(source);
    for (unsigned layout = PV_LAYOUT_BF16 + 1; layout <= PV_LAYOUT_COUNT; layout++) {
        char path[64];
        double wanted = 0;
        bool told = false;
        snprintf(path, sizeof path, "found.%s", layout < PV_LAYOUT_COUNT ? pv_layout_get((pv_layout)layout)->name : "none");
        assert_int_equal(pv_flat_number(&c->about, path, &wanted, &told, NULL), PV_OK);
        if (found[layout] != (size_t)wanted) fail_msg("%zu tensors in the layout %s, %g are wanted", found[layout], path + 6, wanted);
        kinds += told;
    }
    assert_true(kinds > 0);
}

static golden_deviation run_way(const golden_case *c, const char *path, size_t way, float **logits)
{
    golden_run run = ways[way];
    if (run.prompt == 0) run.prompt = c->token_count;
    *logits = golden_logits(c, path, &run);
    return golden_compare(c, "quantized", *logits);
}

static void logits_are_those_of_transformers(void **state)
{
    golden_case c;
    float *first = NULL, *logits;
    golden_open(&c, "quantized", *state);
    expect_layouts(&c);
    for (size_t way = 0; way < (test_device() != NULL ? 2 : sizeof ways / sizeof ways[0]); way++) {
        const golden_deviation deviation = run_way(&c, c.folder, way, &logits);
        if (!golden_passes(deviation)) fail_msg("way %zu: rms is %.3g and maximum %.3g times what is allowed", way, deviation.rms, deviation.max);
        if (first != NULL && test_device() == NULL && ways[way].kernels == NULL)
            assert_memory_equal(first, logits, c.token_count * c.vocabulary * sizeof *logits);
        if (first == NULL)
            first = logits;
        else
            free(logits);
    }
    free(first);
    golden_close(&c);
}

/* Repacked, what was put together of parts while it was loaded stands in the file: the same blocks, so the same bits. */
static void repacked_models_say_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES; i++) {
        golden_case c;
        char folder[GOLDEN_PATH];
        pv_runtime *runtime = NULL;
        pv_error error = {0};
        golden_open(&c, "quantized", names[i]);
        golden_make_folder(folder);
        assert_int_equal(pv_runtime_create(NULL, &runtime, NULL), PV_OK);
        if (pv_convert(runtime, c.folder, NULL, folder, &error) != PV_OK) fail_msg("%s: %s", names[i], error.message);
        pv_runtime_destroy(runtime);
        float *packed, *logits;
        run_way(&c, c.folder, 0, &logits);
        run_way(&c, folder, 0, &packed);
        assert_memory_equal(logits, packed, c.token_count * c.vocabulary * sizeof *logits);
        free(logits);
        free(packed);
        golden_remove_folder(folder);
        golden_close(&c);
    }
}

/* ---- The comparison itself ---- */

static void copy_file(const char *from, const char *to, uint64_t at, size_t count)
{
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_non_null(in);
    assert_non_null(out);
    uint64_t offset = 0;
    for (int byte; (byte = fgetc(in)) != EOF; offset++) assert_int_not_equal(fputc(offset - at < count ? byte ^ 0x80 : byte, out), EOF);
    assert_true(offset > at);
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

static const pv_source_tensor *matrix_of_second_layer(const pv_source *source)
{
    const pv_source_tensor *found = NULL;
    for (size_t i = 0; i < pv_source_tensor_count(source); i++) {
        const pv_source_tensor *tensor = pv_source_tensor_at(source, i);
        if (tensor->parts != NULL && strstr(tensor->name, ".1.") != NULL && (found == NULL || strstr(tensor->name, "down_proj") != NULL)) found = tensor;
    }
    assert_non_null(found);
    return found;
}

/* The first codes of one of the second layer's matrices are others: this must not pass. */
static void a_few_wrong_codes_are_noticed(void **state)
{
    (void)state;
    if (test_device() != NULL) return; /* the comparison is the same */
    for (size_t i = 0; i < CASES; i++) {
        golden_case c;
        char folder[GOLDEN_PATH], from[2 * GOLDEN_PATH], to[2 * GOLDEN_PATH];
        float *logits;
        golden_open(&c, "quantized", names[i]);
        golden_make_folder(folder);
        pv_source *source = open_source(c.folder);
        const pv_source_tensor *tensor = matrix_of_second_layer(source);
        static const char *const files[] = {"model.safetensors", "config.json"};
        for (size_t f = 0; f < 2; f++) {
            snprintf(from, sizeof from, "%s/%s", c.folder, files[f]);
            snprintf(to, sizeof to, "%s/%s", folder, files[f]);
            copy_file(from, to, f == 0 ? tensor->parts->codes.offset : 0, f == 0 ? 64 : 0);
        }
        pv_source_close(source);
        const golden_deviation deviation = run_way(&c, folder, 0, &logits);
        if (golden_passes(deviation)) fail_msg("%s: rms is %.3g and maximum %.3g times what is allowed", names[i], deviation.rms, deviation.max);
        free(logits);
        golden_remove_folder(folder);
        golden_close(&c);
    }
}

int main(void)
{
    struct CMUnitTest tests[CASES + 2] = {cmocka_unit_test(a_few_wrong_codes_are_noticed), cmocka_unit_test(repacked_models_say_the_same)};
    for (size_t i = 0; i < CASES; i++) tests[2 + i] = (struct CMUnitTest){names[i], logits_are_those_of_transformers, NULL, NULL, names[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
