/* Quantized SafeTensors as the formats' own writers leave them (make_quantized.py) against Hugging Face transformers: the logits of every
 * position for the weights that each file stands for. No weight is dequantized on the way, but what has to be turned of
 * DeepSeek's: what is counted here is what goes to the device. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "format/parts.h"
#include "format/write.h"
#include "support/device.h"
#include "support_llama.h"

static char *const names[] = {
    "awq", "awq_mixtral", "fp8_block", "fp8_qwen3moe", "fp8_tensor", "gpt_oss", "gptq",
    "mlx_affine", "mlx_deepseek2", "mlx_few_bits", "mlx_gemma", "mlx_gemma2", "mlx_gemma3", "mlx_gpt2",
    "mlx_gpt_oss", "mlx_granite", "mlx_lfm2", "mlx_mistral", "mlx_mixtral", "mlx_mxfp4", "mlx_mxfp8",
    "mlx_nvfp4", "mlx_olmo2", "mlx_phi3", "mlx_qwen2", "mlx_qwen2moe", "mlx_qwen3", "mlx_qwen3moe",
    "mlx_smollm3", "mlx_stablelm", "nvfp4_packed", "packed",
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

/* Into a folder that is made. */
static void repack(const char *from, char folder[GOLDEN_PATH])
{
    pv_runtime *runtime = NULL;
    pv_error error = {0};
    golden_make_folder(folder);
    assert_int_equal(pv_runtime_create(NULL, &runtime, NULL), PV_OK);
    if (pv_convert(runtime, from, NULL, folder, &error) != PV_OK) fail_msg("%s: %s", from, error.message);
    pv_runtime_destroy(runtime);
}

/* Repacked, what was put together of parts while it was loaded stands in the file: the same blocks, so the same bits. */
static void repacked_models_say_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES; i++) {
        golden_case c;
        char folder[GOLDEN_PATH];
        golden_open(&c, "quantized", names[i]);
        repack(c.folder, folder);
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

/* ---- GPTQ whose columns are in the order of their activations (desc_act): any groups make a file, whose weights are other ones ---- */

typedef struct module {
    char name[GOLDEN_PATH];
    const uint8_t *codes, *zeros, *scales, *groups;
    uint64_t rows, cols;
} module;

static const uint8_t *find_bytes(const pv_source *source, const char *name, const char *suffix, const pv_source_tensor **tensor)
{
    char full[GOLDEN_PATH + 16];
    snprintf(full, sizeof full, "%s%s", name, suffix);
    *tensor = pv_source_find(source, full);
    assert_non_null(*tensor);
    return pv_source_tensor_data(source, *tensor);
}

/* The module that a tensor called qweight belongs to. */
static bool find_module(const pv_source *source, const pv_source_tensor *tensor, module *m)
{
    const size_t length = strlen(tensor->name), end = strlen(".qweight");
    const pv_source_tensor *part;
    if (length <= end || strcmp(tensor->name + length - end, ".qweight") != 0) return false;
    *m = (module){.rows = tensor->cols, .cols = tensor->rows * 8};
    memcpy(m->name, tensor->name, length - end);
    m->codes = find_bytes(source, m->name, ".qweight", &part);
    m->zeros = find_bytes(source, m->name, ".qzeros", &part);
    m->groups = find_bytes(source, m->name, ".g_idx", &part);
    m->scales = find_bytes(source, m->name, ".scales", &part);
    assert_int_equal(part->layout, PV_LAYOUT_F16);
    return true;
}

static uint32_t word_at(const uint8_t *words, uint64_t index)
{
    uint32_t word;
    memcpy(&word, words + 4 * index, 4);
    return word;
}

/* weight = scale × (code − zero point − 1), by the column's group. */
static void weights_of(const module *m, float *out)
{
    for (uint64_t row = 0; row < m->rows; row++) {
        for (uint64_t col = 0; col < m->cols; col++) {
            const uint64_t group = word_at(m->groups, col);
            const uint32_t code = word_at(m->codes, col / 8 * m->rows + row) >> col % 8 * 4 & 15;
            const uint32_t zero = ((word_at(m->zeros, group * (m->rows / 8) + row / 8) >> row % 8 * 4) + 1) & 15;
            uint16_t half;
            memcpy(&half, m->scales + 2 * (group * m->rows + row), 2);
            out[row * m->cols + col] = pv_f16_to_f32(half) * (float)((int)code - (int)zero);
        }
    }
}

static void write_bytes(const char *folder, const char *name, const void *bytes, size_t length)
{
    char path[2 * GOLDEN_PATH];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static uint8_t *read_bytes(const char *folder, const char *name, size_t *length)
{
    char path[2 * GOLDEN_PATH];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *length = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = calloc(*length + 1, 1);
    assert_int_equal(fread(bytes, 1, *length, file), *length);
    fclose(file);
    return bytes;
}

/* Shuffles the groups of every module: in layer 0 alike where the activations are, which is what writers do; in layer 1 each in its own way. */
static void shuffle_groups(const pv_source *source, uint8_t *file)
{
    for (size_t i = 0; i < pv_source_tensor_count(source); i++) {
        module m;
        const pv_source_tensor *groups;
        if (!find_module(source, pv_source_tensor_at(source, i), &m)) continue;
        find_bytes(source, m.name, ".g_idx", &groups);
        uint32_t random = strstr(m.name, "layers.0.") ? (strstr(m.name, "mlp") ? 1 : 2) : (uint32_t)(i + 3);
        int32_t *at = (int32_t *)(void *)malloc(m.cols * 4);
        memcpy(at, m.groups, m.cols * 4);
        for (uint64_t c = m.cols - 1; c > 0; c--) {
            random = random * 1664525u + 1013904223u;
            const uint64_t other = (random >> 8) % (c + 1);
            const int32_t kept = at[c];
            at[c] = at[other];
            at[other] = kept;
        }
        memcpy(file + groups->offset, at, m.cols * 4);
        free(at);
    }
}

/* The same model in F32. */
static void write_dense(const pv_source *source, const char *folder)
{
    static const char *const left_out[] = {".qzeros", ".scales", ".g_idx"};
    pv_allocator allocator = pv_allocator_default();
    pv_model_writer *writer = NULL;
    char path[2 * GOLDEN_PATH];
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    assert_int_equal(pv_model_writer_open(&allocator, PV_SOURCE_SAFETENSORS, path, &writer, NULL), PV_OK);
    for (int writing = 0; writing < 2; writing++) {
        for (size_t i = 0; i < pv_source_tensor_count(source); i++) {
            const pv_source_tensor *tensor = pv_source_tensor_at(source, i);
            const char *dot = strrchr(tensor->name, '.');
            char name[GOLDEN_PATH + 8];
            module m;
            bool skipped = false;
            for (int s = 0; s < 3 && dot != NULL; s++) skipped = skipped || strcmp(dot, left_out[s]) == 0;
            if (skipped) continue;
            if (!find_module(source, tensor, &m)) {
                if (writing) assert_int_equal(pv_model_writer_data(writer, pv_source_tensor_data(source, tensor), (size_t)tensor->bytes, NULL), PV_OK);
                else assert_int_equal(pv_model_writer_declare(writer, tensor->name, tensor->layout, tensor->dims, tensor->dim, NULL), PV_OK);
                continue;
            }
            snprintf(name, sizeof name, "%s.weight", m.name);
            float *weights = malloc(m.rows * m.cols * sizeof *weights);
            weights_of(&m, weights);
            if (writing) assert_int_equal(pv_model_writer_data(writer, weights, m.rows * m.cols * sizeof *weights, NULL), PV_OK);
            else assert_int_equal(pv_model_writer_declare(writer, name, PV_LAYOUT_F32, 2, (uint64_t[]){m.rows, m.cols}, NULL), PV_OK);
            free(weights);
        }
    }
    assert_int_equal(pv_model_writer_commit(writer, NULL), PV_OK);
    pv_model_writer_close(writer);
}

static double distance(const golden_case *c, const float *a, const float *b)
{
    double sum = 0, of = 0;
    for (size_t i = 0; i < c->token_count * c->vocabulary; i++) {
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        of += (double)b[i] * (double)b[i];
    }
    return sqrt(sum / of);
}

/* The logits of the file's model in F32. In a folder whose config.json tells nothing of quantization, tensors stay apart; `shuffle`: then the
 * file's groups are shuffled. */
static float *dense_logits(const golden_case *c, const char *folder, uint8_t *file, size_t length, bool shuffle)
{
    char raw[2 * GOLDEN_PATH];
    float *logits;
    write_bytes(folder, "raw.safetensors", file, length);
    snprintf(raw, sizeof raw, "%s/raw.safetensors", folder);
    pv_source *source = open_source(raw);
    write_dense(source, folder);
    if (shuffle) shuffle_groups(source, file);
    pv_source_close(source);
    run_way(c, folder, 0, &logits);
    return logits;
}

/* Kernels of the CPU round activations where they meet quantized weights, in steps of 2^-15 of a group's largest, those of F32 do not: that is
 * some 10^-4 of these logits (of a GPU's, which round nothing, 10^-6). Two columns of one matrix at each other's place move them by 10^-2. */
static void columns_in_an_order_of_their_own_are_what_dense_ones_are(void **state)
{
    golden_case c;
    char ordered[GOLDEN_PATH], dense[GOLDEN_PATH], repacked[GOLDEN_PATH];
    size_t length, config_length;
    float *plain, *logits, *again, *wanted[2];
    (void)state;
    golden_open(&c, "quantized", "gptq");
    golden_make_folder(ordered);
    golden_make_folder(dense);
    uint8_t *file = read_bytes(c.folder, "model.safetensors", &length), *config = read_bytes(c.folder, "config.json", &config_length);
    write_bytes(ordered, "config.json", config, config_length);
    char *said = strstr((char *)config, "\"quantization_config\"");
    assert_non_null(said);
    said[1] = 'x';
    write_bytes(dense, "config.json", config, config_length);
    wanted[0] = dense_logits(&c, dense, file, length, true);
    wanted[1] = dense_logits(&c, dense, file, length, false);
    write_bytes(ordered, "model.safetensors", file, length);
    run_way(&c, c.folder, 0, &plain);
    const double rounding = distance(&c, plain, wanted[0]);
    for (size_t way = 0; way < (test_device() != NULL ? 2 : sizeof ways / sizeof ways[0]); way++) {
        run_way(&c, ordered, way, &logits);
        const double off = distance(&c, logits, wanted[1]);
        print_message("way %zu: %g of the logits away from those in F32; the model in order is %g away\n", way, off, rounding);
        assert_true(off < (test_device() != NULL ? 1e-5 : 1e-3));
        assert_true(distance(&c, plain, logits) > 0.1); /* it is another model than the one in order */
        free(logits);
    }
    repack(ordered, repacked); /* with its order */
    run_way(&c, ordered, 0, &logits);
    run_way(&c, repacked, 0, &again);
    assert_memory_equal(logits, again, c.token_count * c.vocabulary * sizeof *logits);
    free(logits);
    free(again);
    free(plain);
    free(wanted[0]);
    free(wanted[1]);
    free(file);
    free(config);
    golden_remove_folder(ordered);
    golden_remove_folder(dense);
    golden_remove_folder(repacked);
    golden_close(&c);
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
    struct CMUnitTest tests[CASES + 3] = {cmocka_unit_test(a_few_wrong_codes_are_noticed), cmocka_unit_test(repacked_models_say_the_same),
                                          cmocka_unit_test(columns_in_an_order_of_their_own_are_what_dense_ones_are)};
    for (size_t i = 0; i < CASES; i++) tests[3 + i] = (struct CMUnitTest){names[i], logits_are_those_of_transformers, NULL, NULL, names[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
