/* pv_convert: what it writes holds what mlx reads from it (data/converted.safetensors, by make_converted.py), aligned, and what is not
 * quantized unchanged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "format/source.h"
#include "support_files.h"

#define DENSE PV_TEST_DATA "/unit/data/dense"

static pv_runtime *runtime;

static int start(void **state)
{
    if (tf_make_folder(state) != 0) return -1;
    return pv_runtime_create(NULL, &runtime, NULL) == PV_OK ? 0 : -1;
}

static int stop(void **state)
{
    pv_runtime_destroy(runtime);
    return tf_remove_folder(state);
}

static pv_source *open_source(const char *path)
{
    static pv_allocator allocator;
    pv_source *source = NULL;
    pv_error error = {0};
    allocator = pv_allocator_default();
    const pv_status status = pv_source_open(&allocator, path, PV_LOAD_MAP, &source, &error);
    if (status != PV_OK) fail_msg("%s: %s", path, error.message);
    return source;
}

static void convert(const char *path, uint32_t bits, uint32_t group)
{
    pv_error error = {0};
    const pv_convert_options options = {.bits = bits, .group = group};
    if (pv_convert(runtime, path, &options, tf_path("."), &error) != PV_OK) fail_msg("%u bits: %s", bits, error.message);
}

static uint8_t *read_all(const pv_source *source, const pv_source_tensor *tensor)
{
    uint8_t *bytes = malloc((size_t)tensor->bytes + 1);
    assert_int_equal(pv_source_read_rows(source, tensor, 0, tensor->rows, bytes, NULL), PV_OK);
    return bytes;
}

/* The tensor has the same bytes, type and shape in both. */
static void expect_same(const pv_source *one, const pv_source *two, const char *name)
{
    const pv_source_tensor *a = pv_source_find(one, name), *b = pv_source_find(two, name);
    assert_non_null(a);
    assert_non_null(b);
    assert_string_equal(a->type_name, b->type_name);
    assert_int_equal(a->dims, b->dims);
    assert_int_equal(a->bytes, b->bytes);
    for (uint32_t d = 0; d < a->dims; d++) assert_int_equal(a->dim[d], b->dim[d]);
    uint8_t *left = read_all(one, a), *right = read_all(two, b);
    assert_memory_equal(left, right, a->bytes);
    free(left);
    free(right);
}

static void expect_values(const pv_source *source, const pv_source *wanted, uint32_t bits, uint32_t group, const char *name)
{
    char key[128];
    snprintf(key, sizeof key, "%u.%u.%s", bits, group, name);
    const pv_source_tensor *tensor = pv_source_find(source, name), *values = pv_source_find(wanted, key);
    assert_non_null(tensor);
    assert_non_null(values);
    pv_affine affine;
    assert_true(pv_layout_affine(tensor->layout, &affine) && affine.bits == bits && affine.group == group);
    uint8_t *rows = read_all(source, tensor);
    float *exact = (float *)(void *)read_all(wanted, values), found[128];
    for (uint64_t row = 0; row < tensor->rows; row++) {
        pv_layout_decode(tensor->layout, rows + row * tensor->row_bytes, 128, found);
        for (int i = 0; i < 128; i++)
            if (found[i] != exact[row * 128 + (uint64_t)i])
                fail_msg("%s, weight %d of row %llu: %a, mlx read %a", key, i, (unsigned long long)row, (double)found[i],
                         (double)exact[row * 128 + (uint64_t)i]);
    }
    free(exact);
    free(rows);
}

static void what_is_written_is_what_mlx_reads(void **state)
{
    static const uint32_t bits[] = {2, 3, 4, 5, 6, 8}, groups[] = {32, 64, 128};
    pv_source *wanted = open_source(PV_TEST_DATA "/unit/data/converted.safetensors"), *dense = open_source(DENSE);
    (void)state;
    assert_int_equal(pv_source_tensor_count(wanted), 6 * 3 * 3);
    for (int b = 0; b < 6; b++) {
        for (int g = 0; g < 3; g++) {
            convert(DENSE, bits[b], groups[g]);
            pv_source *source = open_source(tf_path("."));
            expect_values(source, wanted, bits[b], groups[g], "model.embed_tokens.weight");
            expect_values(source, wanted, bits[b], groups[g], "model.layers.0.a.weight");
            expect_values(source, wanted, bits[b], groups[g], "model.layers.0.b.weight");
            expect_same(source, dense, "model.layers.0.b.bias");
            expect_same(source, dense, "model.layers.0.narrow.weight");
            expect_same(source, dense, "model.norm.weight");
            expect_same(source, dense, "flag");
            assert_int_equal(pv_source_tensor_count(source), pv_source_tensor_count(dense));
            pv_source_close(source);
        }
    }
    pv_source_close(dense);
    pv_source_close(wanted);
}

/* Of blocks that of their 16-bit scales, which is what devices ask for. */
static uint64_t alignment(const pv_source_tensor *tensor)
{
    if (tensor->layout > PV_LAYOUT_BF16 && tensor->layout < PV_LAYOUT_COUNT) return 2;
    return tensor->rows * tensor->cols > 0 ? tensor->bytes / (tensor->rows * tensor->cols) : 1;
}

/* Files of mlx have tensors at odd bytes; in what is made of them each is aligned to its own elements, all is there, and what is quantized
 * stands in whole rows, which nobody puts together while they are read. */
static void repacked_files_are_aligned_and_the_same(void **state)
{
    static const char *const folders[] = {"/unit/data/mlx", "/unit/data/gptq", "/unit/data/awq", "/unit/data/fp8", "/unit/data/dense",
                                          "/unit/data/nvfp4_compressed", "/unit/data/gptq_order", "/golden/quantized/gpt_oss"};
    size_t unaligned = 0, joined = 0;
    (void)state;
    for (size_t f = 0; f < sizeof folders / sizeof *folders; f++) {
        char path[512];
        snprintf(path, sizeof path, PV_TEST_DATA "%s", folders[f]);
        convert(path, 0, 0);
        pv_source *old = open_source(path), *made = open_source(tf_path("."));
        assert_int_equal(pv_source_tensor_count(old), pv_source_tensor_count(made));
        for (size_t i = 0; i < pv_source_tensor_count(old); i++) {
            const char *name = pv_source_tensor_at(old, i)->name;
            expect_same(old, made, name);
            const pv_source_tensor *before = pv_source_find(old, name), *after = pv_source_find(made, name);
            unaligned += before->offset % alignment(before) != 0;
            joined += before->parts != NULL;
            assert_int_equal(before->layout, after->layout);
            assert_int_equal(after->offset % alignment(after), 0);
            assert_null(after->parts);
            assert_int_equal(before->order != NULL, after->order != NULL);
            if (before->order) assert_memory_equal(before->order, after->order, before->cols * sizeof *before->order);
            if (after->bytes > 0) assert_non_null(pv_source_tensor_data(made, after));
        }
        pv_source_close(made);
        pv_source_close(old);
    }
    assert_true(unaligned > 0);
    assert_int_equal(joined, 72);
}

static void refused(const char *path, const pv_convert_options *options, const char *out, pv_status status, const char *message)
{
    pv_error error = {0};
    const pv_status found = pv_convert(runtime, path, options, out, &error);
    if (found != status || !strstr(error.message, message))
        fail_msg("%s: %s, wanted %s: %s", pv_status_name(found), error.message, pv_status_name(status), message);
}

static PV_BOOL no(void *user, uint64_t done, uint64_t total)
{
    (void)user;
    assert_true(done <= total);
    return false;
}

static void what_cannot_be_converted_is_named(void **state)
{
    const pv_convert_options four = {.bits = 4}, seven = {.bits = 7}, groups = {.bits = 4, .group = 48}, none = {0}, cancelled = {.bits = 4, .progress = no};
    const char *data = PV_TEST_DATA "/unit/data/";
    char path[512];
    (void)state;
    refused(DENSE, &seven, tf_path("."), PV_INVALID_ARGUMENT, "7 bits in groups of 64 are wanted; there are 2, 3, 4, 5, 6 and 8 bits");
    refused(DENSE, &groups, tf_path("."), PV_INVALID_ARGUMENT, "4 bits in groups of 48");
    refused(DENSE, &four, DENSE, PV_INVALID_ARGUMENT, "is where the model stands");
    refused(DENSE "/model.safetensors", &none, DENSE, PV_INVALID_ARGUMENT, "is where the model stands");
    refused(DENSE, &four, "/dev/null/x", PV_NOT_FOUND, "cannot make the folder /dev/null/x: not a directory");
    refused(DENSE, &cancelled, tf_path("."), PV_CANCELLED, "the conversion was cancelled");
    refused("/nowhere", &none, tf_path("."), PV_NOT_FOUND, "/nowhere");
    snprintf(path, sizeof path, "%smlx", data);
    refused(path, &four, tf_path("."), PV_UNSUPPORTED, "is quantized already (");
    convert(path, 0, 0);
    refused(tf_path("model.safetensors"), &four, DENSE "/../out", PV_UNSUPPORTED, "is quantized already ("); /* nor is what was repacked */
    snprintf(path, sizeof path, "%ssmall.gguf", data);
    refused(path, &none, tf_path("."), PV_UNSUPPORTED, "is no SafeTensors");
    assert_int_equal(pv_convert(NULL, DENSE, NULL, tf_path("."), NULL), PV_INVALID_ARGUMENT);
}

/* A folder that holds a model and gets another one which is not finished holds none. */
static void what_was_not_finished_does_not_look_whole(void **state)
{
    const pv_convert_options cancelled = {.bits = 4, .progress = no};
    struct stat info;
    (void)state;
    convert(DENSE, 8, 64);
    assert_int_equal(stat(tf_path("model.safetensors"), &info), 0);
    refused(DENSE, &cancelled, tf_path("."), PV_CANCELLED, "the conversion was cancelled");
    assert_int_equal(stat(tf_path("config.json"), &info), 0);
    assert_int_equal(stat(tf_path("model.safetensors"), &info), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_what_mlx_reads),
        cmocka_unit_test(repacked_files_are_aligned_and_the_same),
        cmocka_unit_test(what_cannot_be_converted_is_named),
        cmocka_unit_test(what_was_not_finished_does_not_look_whole),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
