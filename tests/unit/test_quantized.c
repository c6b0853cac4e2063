/* Quantized SafeTensors: folders that other writers made (data/, by make_quantized.py), and folders whose configuration and tensors
 * do not agree. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "format/source.h"
#include "support_files.h"

#define DATA PV_TEST_DATA "/unit/data/"
#define LENGTH(array) (sizeof(array) / sizeof *(array))

static const pv_load loads[] = {PV_LOAD_MAP, PV_LOAD_COPY};

static pv_source *open_good(const char *path, pv_load load)
{
    static pv_allocator allocator;
    pv_source *source = NULL;
    pv_error error = {0};
    allocator = pv_allocator_default();
    if (pv_source_open(&allocator, path, load, &source, &error) != PV_OK) fail_msg("%s: %s", path, error.message);
    return source;
}

/* ---- What other writers wrote ---- */

static void expect_rows(const pv_source *source, const pv_source_tensor *tensor, const float *wanted, uint64_t first, uint64_t count)
{
    const uint32_t *order = tensor->order;
    uint8_t *rows = malloc((size_t)(count * tensor->row_bytes));
    float *found = malloc((size_t)tensor->cols * sizeof *found);
    pv_error error = {0};
    if (pv_source_read_rows(source, tensor, first, count, rows, &error) != PV_OK) fail_msg("%s: %s", tensor->name, error.message);
    for (uint64_t row = 0; row < count; row++) {
        pv_layout_decode(tensor->layout, rows + row * tensor->row_bytes, tensor->cols, found);
        for (uint64_t col = 0; col < tensor->cols; col++) {
            const float one = wanted[(first + row) * tensor->cols + (order ? order[col] : col)];
            /* a factor that is divided by becomes one to multiply with: the product then has two roundings where the quotient has one */
            const float off = tensor->layout == PV_LAYOUT_NVFP4_F32 ? 3 * 0x1p-24f * fabsf(one) : 0;
            if (!(fabsf(found[col] - one) <= off))
                fail_msg("%s (%s) row %llu, column %llu: %a, wanted %a", tensor->name, tensor->type_name, (unsigned long long)(first + row),
                         (unsigned long long)col, (double)found[col], (double)one);
        }
        assert_true(pv_layout_row_is_finite(tensor->layout, rows + row * tensor->row_bytes, tensor->cols));
    }
    free(found);
    free(rows);
}

/* Every weight of wanted.safetensors is in the folder, all rows at once and some of them. */
static size_t expect_folder(const char *name, size_t tensors)
{
    char path[512], wanted_path[600];
    size_t compared = 0;
    snprintf(path, sizeof path, DATA "%s", name);
    snprintf(wanted_path, sizeof wanted_path, "%s/wanted.safetensors", path);
    for (size_t l = 0; l < LENGTH(loads); l++) {
        pv_source *source = open_good(path, loads[l]), *wanted = open_good(wanted_path, PV_LOAD_COPY);
        assert_int_equal(pv_source_tensor_count(source), tensors);
        for (size_t i = 0; i < pv_source_tensor_count(wanted); i++) {
            const pv_source_tensor *values = pv_source_tensor_at(wanted, i), *tensor = pv_source_find(source, values->name);
            assert_non_null(tensor);
            assert_int_equal(tensor->rows, values->rows);
            assert_int_equal(tensor->cols, values->cols);
            assert_int_equal(tensor->dims, values->dims);
            for (uint32_t d = 0; d < tensor->dims; d++) assert_int_equal(tensor->dim[d], values->dim[d]);
            assert_int_equal(tensor->bytes, tensor->rows * tensor->row_bytes);
            assert_null(pv_source_tensor_data(source, tensor));
            float *exact = malloc((size_t)values->bytes);
            assert_int_equal(pv_source_read_rows(wanted, values, 0, values->rows, exact, NULL), PV_OK);
            expect_rows(source, tensor, exact, 0, tensor->rows);
            for (uint64_t row = 0; row < tensor->rows; row++) expect_rows(source, tensor, exact, row, 1);
            if (tensor->rows > 4) expect_rows(source, tensor, exact, 3, tensor->rows - 4);
            pv_source_drop_rows(source, tensor, 0, tensor->rows);
            expect_rows(source, tensor, exact, 0, tensor->rows);
            free(exact);
            compared++;
        }
        pv_source_close(wanted);
        pv_source_close(source);
    }
    return compared;
}

static void mlx_folders_hold_what_mlx_says(void **state)
{
    (void)state;
    assert_int_equal(expect_folder("mlx", 58 + 2), 2 * 58);
    pv_source *source = open_good(DATA "mlx", PV_LOAD_MAP);
    assert_int_equal(pv_source_find(source, "a4.g64.f16.weight")->layout, PV_LAYOUT_AFFINE4_G64_F16);
    assert_int_equal(pv_source_find(source, "a3.g32.bf16.weight")->layout, PV_LAYOUT_AFFINE3_G32_BF16);
    assert_int_equal(pv_source_find(source, "a8.g128.f32.weight")->layout, PV_LAYOUT_AFFINE8_G128_F32);
    assert_int_equal(pv_source_find(source, "mxfp4.weight")->layout, PV_LAYOUT_MXFP4);
    assert_int_equal(pv_source_find(source, "mxfp8.weight")->layout, PV_LAYOUT_F8);
    assert_int_equal(pv_source_find(source, "nvfp4.weight")->layout, PV_LAYOUT_NVFP4);
    assert_int_equal(pv_source_find(source, "plain.weight")->layout, PV_LAYOUT_BF16);
    assert_int_equal(pv_source_find(source, "experts.bias")->layout, PV_LAYOUT_F32);
    assert_null(pv_source_find(source, "a4.g64.f16.scales"));
    assert_null(pv_source_find(source, "a4.g64.f16.biases"));
    pv_source_close(source);
}

/* mlx does not pad its header: this is what its files look like, and what loaders that map them stumble over. */
static void mlx_files_start_at_odd_bytes(void **state)
{
    size_t odd = 0;
    (void)state;
    pv_source *source = open_good(DATA "mlx/model.safetensors", PV_LOAD_MAP);
    for (size_t i = 0; i < pv_source_tensor_count(source); i++) odd += pv_source_tensor_at(source, i)->offset % 4 != 0;
    assert_true(odd > 0);
    pv_source_close(source);
}

static void gptq_folders_hold_what_was_packed(void **state)
{
    (void)state;
    assert_int_equal(expect_folder("gptq", 4), 2 * 2);
    assert_int_equal(expect_folder("gptq_v2", 4), 2 * 2);
}

/* With desc_act the columns are there group by group, and it is told which is which. */
static void gptq_folders_with_an_order_tell_it(void **state)
{
    (void)state;
    assert_int_equal(expect_folder("gptq_order", 4), 2 * 2);
    pv_source *source = open_good(DATA "gptq_order", PV_LOAD_MAP);
    const uint32_t *order = pv_source_find(source, "a.weight")->order;
    bool met[128] = {false}, moved = false;
    assert_non_null(order);
    for (uint32_t i = 0; i < 128; i++) {
        assert_true(order[i] < 128 && !met[order[i]]);
        met[order[i]] = true;
        moved = moved || order[i] != i;
        assert_true(i % 64 == 0 || order[i] > order[i - 1]); /* in the file's order within a group */
    }
    assert_true(moved);
    assert_null(pv_source_find(source, "a.bias")->order);
    pv_source_close(source);
    source = open_good(DATA "gptq", PV_LOAD_MAP);
    assert_null(pv_source_find(source, "a.weight")->order);
    pv_source_close(source);
}

static void awq_folders_hold_what_was_packed(void **state)
{
    (void)state;
    assert_int_equal(expect_folder("awq", 2), 2 * 2);
}

static void fp8_folders_hold_what_was_packed(void **state)
{
    (void)state;
    assert_int_equal(expect_folder("fp8", 2), 2 * 2);
    assert_int_equal(expect_folder("fp8_tensor", 3), 2 * 3);
}

/* With a factor of the whole tensor, which one of them multiplies by and the other divides by. */
static void nvfp4_folders_hold_what_was_packed(void **state)
{
    (void)state;
    assert_int_equal(expect_folder("nvfp4_modelopt", 2), 2 * 2);
    assert_int_equal(expect_folder("nvfp4_compressed", 2), 2 * 2);
}

/* ---- Folders that do not agree with themselves ---- */

/* `tensors`: name, dtype, shape as JSON, bytes; zeros are their data. */
typedef struct stated {
    const char *name, *dtype, *shape;
    size_t bytes;
} stated;

static void write_folder(const char *config, const stated *tensors, size_t count, uint8_t fill)
{
    tf_bytes file = {0}, header = {0};
    size_t at = 0;
    tf_add(&header, "{", 1);
    for (size_t i = 0; i < count; i++) {
        char entry[256];
        snprintf(entry, sizeof entry, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}", i ? "," : "", tensors[i].name,
                 tensors[i].dtype, tensors[i].shape, at, at + tensors[i].bytes);
        tf_add(&header, entry, strlen(entry));
        at += tensors[i].bytes;
    }
    tf_add(&header, "}", 1);
    tf_number(&file, header.length, 8);
    tf_add(&file, header.data, header.length);
    for (size_t i = 0; i < at; i++) tf_add(&file, &fill, 1);
    tf_write("model.safetensors", file.data, file.length);
    tf_write("config.json", config, strlen(config));
    tf_free(&header);
    tf_free(&file);
}

static void refused(const char *config, const stated *tensors, size_t count, pv_status status, const char *message)
{
    pv_allocator allocator = pv_allocator_default();
    write_folder(config, tensors, count, 0);
    for (size_t l = 0; l < LENGTH(loads); l++) {
        pv_source *source = NULL;
        pv_error error = {0};
        const pv_status found = pv_source_open(&allocator, tf_path("."), loads[l], &source, &error);
        if (found != status || !strstr(error.message, message))
            fail_msg("%s: %s: %s, wanted %s: %s", config, pv_status_name(found), error.message, pv_status_name(status), message);
        assert_null(source);
    }
}

#define MLX(rest) "{\"quantization\":{" rest "}}"
#define REFUSED(config, tensors, status, message) refused(config, tensors, LENGTH(tensors), status, message)

static void mlx_parts_that_do_not_fit_are_refused(void **state)
{
    const stated good[] = {{"x.weight", "U32", "[2,8]", 64}, {"x.scales", "F16", "[2,1]", 4}, {"x.biases", "F16", "[2,1]", 4}};
    const stated narrow[] = {{"x.weight", "U32", "[2,7]", 56}, {"x.scales", "F16", "[2,1]", 4}, {"x.biases", "F16", "[2,1]", 4}};
    const stated fewer[] = {{"x.weight", "U32", "[2,8]", 64}, {"x.scales", "F16", "[1,1]", 2}, {"x.biases", "F16", "[1,1]", 2}};
    const stated none[] = {{"x.weight", "U32", "[2,8]", 64}, {"x.scales", "F16", "[2,1]", 4}};
    const stated other[] = {{"x.weight", "U32", "[2,8]", 64}, {"x.scales", "F16", "[2,1]", 4}, {"x.biases", "F32", "[2,1]", 8}};
    const stated dense[] = {{"x.weight", "F32", "[2,8]", 64}, {"x.scales", "F16", "[2,1]", 4}, {"x.biases", "F16", "[2,1]", 4}};
    const stated bytes[] = {{"x.weight", "U32", "[2,8]", 64}, {"x.scales", "U8", "[2,1]", 2}, {"x.biases", "U8", "[2,1]", 2}};
    const stated empty[] = {{"x.weight", "U32", "[0,8]", 0}, {"x.scales", "F16", "[0,1]", 0}, {"x.biases", "F16", "[0,1]", 0}};
    const stated huge[] = {{"x.weight", "U32", "[0,4611686018427387904]", 0}, {"x.scales", "F16", "[0,288230376151711744]", 0},
                           {"x.biases", "F16", "[0,288230376151711744]", 0}};
    (void)state;
    write_folder(MLX("\"group_size\":64,\"bits\":4"), good, LENGTH(good), 0);
    pv_source_close(open_good(tf_path("."), PV_LOAD_MAP));
    REFUSED(MLX("\"group_size\":64,\"bits\":4"), narrow, PV_BAD_FILE, "its shape does not fit that of its scales");
    REFUSED(MLX("\"group_size\":64,\"bits\":4"), fewer, PV_BAD_FILE, "its shape does not fit that of its scales");
    REFUSED(MLX("\"group_size\":64,\"bits\":4"), none, PV_BAD_FILE, "biases of the same type and shape are wanted");
    REFUSED(MLX("\"group_size\":64,\"bits\":4"), other, PV_BAD_FILE, "biases of the same type and shape are wanted");
    REFUSED(MLX("\"group_size\":64,\"bits\":4"), dense, PV_BAD_FILE, "x.weight (F32 [2, 8], quantized with 4 bits in groups of 64");
    REFUSED(MLX("\"group_size\":64,\"bits\":4"), bytes, PV_BAD_FILE, "scales of F16, BF16 or F32 are wanted");
    REFUSED(MLX("\"group_size\":64,\"bits\":4"), empty, PV_BAD_FILE, "its shape does not fit");
    REFUSED(MLX("\"group_size\":64,\"bits\":4"), huge, PV_BAD_FILE, "its shape does not fit");
    REFUSED(MLX("\"group_size\":32,\"bits\":4"), good, PV_BAD_FILE, "its shape does not fit that of its scales");
    REFUSED(MLX("\"group_size\":64,\"bits\":8"), good, PV_BAD_FILE, "its shape does not fit that of its scales");
    REFUSED(MLX("\"group_size\":64,\"bits\":7"), good, PV_UNSUPPORTED, "7 bits in groups of 64");
    REFUSED(MLX("\"group_size\":64,\"bits\":-4"), good, PV_UNSUPPORTED, "such bits and groups are not supported");
    REFUSED(MLX("\"group_size\":4294967360,\"bits\":4"), good, PV_UNSUPPORTED, "such bits and groups are not supported");
    REFUSED(MLX("\"group_size\":64,\"bits\":4294967300"), good, PV_UNSUPPORTED, "such bits and groups are not supported");
    REFUSED(MLX("\"group_size\":64,\"bits\":4,\"mode\":\"mxfp4\""), good, PV_BAD_FILE, "scales of U8 are wanted");
    REFUSED(MLX("\"group_size\":64,\"bits\":4,\"mode\":\"mxfp4\""), bytes, PV_UNSUPPORTED, "such bits and groups are not supported");
    REFUSED(MLX("\"mode\":\"mxfp5\""), good, PV_UNSUPPORTED, "a mode of quantization that is not supported");
}

static void mlx_settings_that_make_no_sense_are_refused(void **state)
{
    const stated good[] = {{"x.weight", "U32", "[2,8]", 64}, {"x.scales", "F16", "[2,1]", 4}, {"x.biases", "F16", "[2,1]", 4}};
    (void)state;
    REFUSED(MLX("\"group_size\":64,\"bits\":4,\"x\":false"), good, PV_BAD_FILE, "says that it is not quantized");
    REFUSED(MLX("\"group_size\":64,\"bits\":4,\"x\":{\"bits\":8}"), good, PV_BAD_FILE, "quantized with 8 bits in groups of 64");
    REFUSED(MLX("\"x\":{\"bits\":8},\"x\":{\"bits\":4}"), good, PV_BAD_FILE, "two quantizations of x, wanted one");
    REFUSED(MLX("\"bits\":4.5"), good, PV_BAD_FILE, "config.json");
    REFUSED(MLX("\"bits\":99999999999999999999"), good, PV_BAD_FILE, "config.json");
    REFUSED("{\"quantization\":[]}", good, PV_BAD_FILE, "the quantization is no object");
    REFUSED("{\"quantization\":{},\"quantization\":{}}", good, PV_BAD_FILE, "two quantizations, wanted one");
    REFUSED("{\"quantization\":{\"bits\":4", good, PV_BAD_FILE, "config.json");
    REFUSED("{\"quantization\":{\"x\":{\"bits\":4", good, PV_BAD_FILE, "config.json");
    REFUSED("[]", good, PV_BAD_FILE, "config.json");
}

#define GPTQ(rest) "{\"quantization_config\":{\"quant_method\":\"gptq\"," rest "}}"
#define AWQ(rest) "{\"quantization_config\":{\"quant_method\":\"awq\"," rest "}}"

static void gptq_and_awq_that_do_not_fit_are_refused(void **state)
{
    const stated good[] = {{"x.qweight", "I32", "[8,8]", 256}, {"x.qzeros", "I32", "[2,1]", 8}, {"x.scales", "F16", "[2,8]", 32}};
    const stated order[] = {{"x.qweight", "I32", "[8,8]", 256}, {"x.qzeros", "I32", "[2,1]", 8}, {"x.scales", "F16", "[2,8]", 32},
                            {"x.g_idx", "I32", "[64]", 256}};
    const stated shorter[] = {{"x.qweight", "I32", "[8,8]", 256}, {"x.qzeros", "I32", "[2,1]", 8}, {"x.scales", "F16", "[2,8]", 32},
                              {"x.g_idx", "I32", "[63]", 252}};
    const stated lone[] = {{"x.qweight", "I32", "[8,8]", 256}, {"x.scales", "F16", "[2,8]", 32}};
    const stated both[] = {{"x.qweight", "I32", "[8,8]", 256}, {"x.qzeros", "I32", "[2,1]", 8}, {"x.scales", "F16", "[2,8]", 32},
                           {"x.weight", "F16", "[1]", 2}};
    const stated odd[] = {{"x.qweight", "I32", "[8,7]", 224}, {"x.qzeros", "I32", "[2,1]", 8}, {"x.scales", "F16", "[2,7]", 28}};
    const stated types[] = {{"x.qweight", "F32", "[8,8]", 256}, {"x.qzeros", "I32", "[2,1]", 8}, {"x.scales", "F16", "[2,8]", 32}};
    const stated zeros[] = {{"x.qweight", "I32", "[8,8]", 256}, {"x.qzeros", "I32", "[1,1]", 4}, {"x.scales", "F16", "[2,8]", 32}};
    const stated huge[] = {{"x.qweight", "I32", "[4611686018427387904,0]", 0}, {"x.qzeros", "I32", "[2,1]", 8}, {"x.scales", "F16", "[2,8]", 32}};
    (void)state;
    write_folder(GPTQ("\"bits\":4,\"group_size\":32"), good, LENGTH(good), 0);
    pv_source_close(open_good(tf_path("."), PV_LOAD_MAP));
    REFUSED(GPTQ("\"bits\":4,\"group_size\":32"), order, PV_BAD_FILE, "groups of as many columns as config.json says"); /* all of the first */
    REFUSED(GPTQ("\"bits\":4,\"group_size\":32"), shorter, PV_BAD_FILE, "an I32 for each column is wanted");
    REFUSED(GPTQ("\"bits\":4,\"group_size\":32"), lone, PV_BAD_FILE, "its scales or qzeros are missing");
    REFUSED(GPTQ("\"bits\":4,\"group_size\":32"), both, PV_BAD_FILE, "the module has a weight too");
    REFUSED(GPTQ("\"bits\":4,\"group_size\":32"), odd, PV_BAD_FILE, "its rows are no multiple of 8");
    REFUSED(GPTQ("\"bits\":4,\"group_size\":32"), types, PV_BAD_FILE, "I32 and scales of F16, BF16 or F32 are wanted");
    REFUSED(GPTQ("\"bits\":4,\"group_size\":32"), zeros, PV_BAD_FILE, "does not fit the codes'");
    REFUSED(GPTQ("\"bits\":4,\"group_size\":32"), huge, PV_BAD_FILE, "its rows are no multiple of 8");
    REFUSED(GPTQ("\"bits\":4,\"group_size\":64"), good, PV_BAD_FILE, "does not fit the codes'");
    REFUSED(GPTQ("\"bits\":4,\"group_size\":16"), good, PV_UNSUPPORTED, "groups of a multiple of 32 columns");
    REFUSED(GPTQ("\"bits\":4,\"group_size\":0"), good, PV_UNSUPPORTED, "groups of a multiple of 32 columns");
    REFUSED(GPTQ("\"bits\":4,\"group_size\":-2"), good, PV_UNSUPPORTED, "groups of a multiple of 32 columns");
    REFUSED(GPTQ("\"bits\":3,\"group_size\":32"), good, PV_UNSUPPORTED, "4 bits are supported");
    REFUSED(GPTQ("\"group_size\":32"), good, PV_UNSUPPORTED, "4 bits are supported");
    REFUSED(AWQ("\"bits\":4,\"group_size\":32,\"version\":\"gemv\""), good, PV_UNSUPPORTED, "of AWQ in the order gemm");
    REFUSED(AWQ("\"bits\":4,\"group_size\":32"), good, PV_UNSUPPORTED, "groups of a multiple of 32 columns"); /* 8 columns, 64 rows */
}

static void gptq_orders_that_are_none_are_refused(void **state)
{
    static const int32_t last[] = {-1, 1, 2, INT32_MIN, INT32_MAX, 0};
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    for (size_t i = 0; i < LENGTH(last); i++) {
        const stated order[] = {{"x.qweight", "I32", "[8,8]", 256}, {"x.qzeros", "I32", "[2,1]", 8}, {"x.scales", "F16", "[2,8]", 32},
                                {"x.g_idx", "I32", "[64]", 256}};
        size_t length;
        pv_source *source = NULL;
        pv_error error = {0};
        write_folder("{\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":32}}", order, LENGTH(order), 0);
        uint8_t *bytes = tf_read(tf_path("model.safetensors"), &length);
        for (int32_t c = 0; c < 64; c++) {
            const int32_t group = c == 63 ? last[i] : (c + 1) % 2; /* every second column */
            memcpy(bytes + length - 256 + 4 * c, &group, 4);
        }
        tf_write("model.safetensors", bytes, length);
        const pv_status status = pv_source_open(&allocator, tf_path("."), PV_LOAD_MAP, &source, &error);
        assert_int_equal(status, last[i] == 0 ? PV_OK : PV_BAD_FILE); /* with 0 each group has 32 columns */
        if (status != PV_OK && (!strstr(error.message, "x.g_idx") || !strstr(error.message, "groups of as many columns"))) fail_msg("%s", error.message);
        pv_source_close(source);
        free(bytes);
    }
}

#define FP8(rest) "{\"quantization_config\":{\"quant_method\":\"fp8\"" rest "}}"

static void fp8_that_does_not_fit_is_refused(void **state)
{
    const stated good[] = {{"x.weight", "F8_E4M3", "[4,32]", 128}, {"x.weight_scale_inv", "F32", "[2,1]", 8}};
    const stated odd[] = {{"x.weight", "F8_E4M3", "[4,33]", 132}, {"x.weight_scale_inv", "F32", "[2,1]", 8}};
    const stated dense[] = {{"x.weight", "F16", "[4,32]", 256}, {"x.weight_scale_inv", "F32", "[2,1]", 8}};
    const stated bytes[] = {{"x.weight", "F8_E4M3", "[4,32]", 128}, {"x.weight_scale_inv", "U8", "[2,1]", 2}};
    const stated wide[] = {{"x.weight", "F8_E4M3", "[4,64]", 256}, {"x.weight_scale_inv", "F32", "[2,4]", 32}};
    (void)state;
    write_folder(FP8(",\"weight_block_size\":[2,32]"), good, LENGTH(good), 0);
    pv_source_close(open_good(tf_path("."), PV_LOAD_MAP));
    REFUSED(FP8(",\"weight_block_size\":[1,32]"), good, PV_BAD_FILE, "its shape fits neither weight_block_size");
    REFUSED(FP8(""), good, PV_BAD_FILE, "its shape fits neither weight_block_size");
    REFUSED(FP8(",\"weight_block_size\":[0,32]"), good, PV_BAD_FILE, "a weight_block_size below 1");
    REFUSED(FP8(",\"weight_block_size\":[2]"), good, PV_BAD_FILE, "config.json");
    REFUSED(FP8(",\"weight_block_size\":[2,32,1]"), good, PV_BAD_FILE, "config.json");
    REFUSED(FP8(",\"weight_block_size\":[2,32]"), odd, PV_UNSUPPORTED, "its columns are no multiple of 32");
    REFUSED(FP8(",\"weight_block_size\":[2,32]"), dense, PV_BAD_FILE, "the module has no weight of F8_E4M3");
    REFUSED(FP8(",\"weight_block_size\":[2,32]"), bytes, PV_BAD_FILE, "scales of F32, F16 or BF16 are wanted");
    REFUSED(FP8(",\"weight_block_size\":[2,16]"), wide, PV_UNSUPPORTED, "blocks of a multiple of 32 columns");
}

#define MXFP4 "{\"quantization_config\":{\"quant_method\":\"mxfp4\",\"modules_to_not_convert\":[\"y\"]}}"

static void mxfp4_blocks_that_do_not_fit_are_refused(void **state)
{
    const stated good[] = {{"x_blocks", "U8", "[2,3,2,16]", 192}, {"x_scales", "U8", "[2,3,2]", 12}, {"x_bias", "BF16", "[2,3]", 12}};
    const stated lone[] = {{"x_blocks", "U8", "[2,3,2,16]", 192}, {"x_bias", "BF16", "[2,3]", 12}};
    const stated both[] = {{"x_blocks", "U8", "[2,3,2,16]", 192}, {"x_scales", "U8", "[2,3,2]", 12}, {"x", "BF16", "[2,3,64]", 768}};
    const stated types[] = {{"x_blocks", "U8", "[2,3,2,16]", 192}, {"x_scales", "F16", "[2,3,2]", 24}};
    const stated words[] = {{"x_blocks", "U32", "[2,3,2,16]", 768}, {"x_scales", "U8", "[2,3,2]", 12}};
    const stated narrow[] = {{"x_blocks", "U8", "[2,3,2,8]", 96}, {"x_scales", "U8", "[2,3,2]", 12}};
    const stated flat[] = {{"x_blocks", "U8", "[6,2,16]", 192}, {"x_scales", "U8", "[6,2]", 12}};
    const stated fewer[] = {{"x_blocks", "U8", "[2,3,2,16]", 192}, {"x_scales", "U8", "[2,2,3]", 12}};
    const stated empty[] = {{"x_blocks", "U8", "[2,3,0,16]", 0}, {"x_scales", "U8", "[2,3,0]", 0}};
    const stated deep[] = {{"x_blocks", "U8", "[1,2,3,2,16]", 192}, {"x_scales", "U8", "[1,2,3,2]", 12}};
    (void)state;
    write_folder(MXFP4, good, LENGTH(good), 1);
    pv_source *source = open_good(tf_path("."), PV_LOAD_MAP);
    const pv_source_tensor *x = pv_source_find(source, "x");
    assert_int_equal(pv_source_tensor_count(source), 2);
    assert_non_null(x);
    assert_int_equal(x->layout, PV_LAYOUT_MXFP4);
    assert_int_equal(x->dims, 3);
    assert_int_equal(x->rows, 6);
    assert_int_equal(x->cols, 64);
    pv_source_close(source);
    REFUSED(MXFP4, lone, PV_BAD_FILE, "its scales are missing");
    REFUSED(MXFP4, both, PV_BAD_FILE, "it is there without quantization too");
    REFUSED(MXFP4, types, PV_BAD_FILE, "U8 and scales of U8 are wanted");
    REFUSED(MXFP4, words, PV_BAD_FILE, "U8 and scales of U8 are wanted");
    REFUSED(MXFP4, narrow, PV_BAD_FILE, "[experts, rows, blocks, 16] and scales of [experts, rows, blocks] are wanted");
    REFUSED(MXFP4, flat, PV_BAD_FILE, "[experts, rows, blocks, 16]");
    REFUSED(MXFP4, fewer, PV_BAD_FILE, "[experts, rows, blocks, 16]");
    REFUSED(MXFP4, empty, PV_BAD_FILE, "[experts, rows, blocks, 16]");
    REFUSED(MXFP4, deep, PV_BAD_FILE, "[experts, rows, blocks, 16]");
}

#define PACKED "{\"quantization_config\":{\"format\":\"pack-quantized\",\"quant_method\":\"compressed-tensors\"}}"

/* weight_shape holds what all bytes are filled with: zeros, or numbers far beyond. Folders that fit are in tests/golden/quantized. */
static void packed_integers_that_do_not_fit_are_refused(void **state)
{
    const stated filled[] = {{"x.weight_packed", "I32", "[8,8]", 256}, {"x.weight_scale", "F16", "[8,1]", 16}, {"x.weight_shape", "I64", "[2]", 16}};
    const stated lone[] = {{"x.weight_packed", "I32", "[8,8]", 256}, {"x.weight_shape", "I64", "[2]", 16}};
    const stated shapeless[] = {{"x.weight_packed", "I32", "[8,8]", 256}, {"x.weight_scale", "F16", "[8,1]", 16}};
    const stated both[] = {{"x.weight_packed", "I32", "[8,8]", 256}, {"x.weight_scale", "F16", "[8,1]", 16}, {"x.weight_shape", "I64", "[2]", 16},
                           {"x.weight", "F16", "[1]", 2}};
    const stated order[] = {{"x.weight_packed", "I32", "[8,8]", 256}, {"x.weight_scale", "F16", "[8,1]", 16}, {"x.weight_shape", "I64", "[2]", 16},
                            {"x.weight_g_idx", "I32", "[64]", 256}};
    const stated types[] = {{"x.weight_packed", "I32", "[8,8]", 256}, {"x.weight_scale", "U8", "[8,1]", 8}, {"x.weight_shape", "I64", "[2]", 16}};
    const stated three[] = {{"x.weight_packed", "I32", "[8,8]", 256}, {"x.weight_scale", "F16", "[8,1]", 16}, {"x.weight_shape", "I64", "[3]", 24}};
    const stated small[] = {{"x.weight_packed", "I32", "[8,8]", 256}, {"x.weight_scale", "F16", "[8,1]", 16}, {"x.weight_shape", "I32", "[2]", 8}};
    (void)state;
    for (int fill = 0; fill < 2; fill++) {
        pv_allocator allocator = pv_allocator_default();
        pv_source *source = NULL;
        pv_error error = {0};
        write_folder(PACKED, filled, LENGTH(filled), (uint8_t)fill);
        assert_int_equal(pv_source_open(&allocator, tf_path("."), PV_LOAD_MAP, &source, &error), PV_BAD_FILE);
        assert_non_null(strstr(error.message, "its shape does not fit that of its scales, or weight_shape"));
    }
    REFUSED(PACKED, lone, PV_BAD_FILE, "its weight_scale or weight_shape is missing");
    REFUSED(PACKED, shapeless, PV_BAD_FILE, "its weight_scale or weight_shape is missing");
    REFUSED(PACKED, both, PV_BAD_FILE, "the module has a weight too");
    REFUSED(PACKED, order, PV_UNSUPPORTED, "columns in the order of their activations are not supported");
    REFUSED(PACKED, types, PV_BAD_FILE, "I32 and scales of F16, BF16 or F32 are wanted");
    REFUSED(PACKED, three, PV_BAD_FILE, "two I64 are wanted");
    REFUSED(PACKED, small, PV_BAD_FILE, "two I64 are wanted");
}

/* The golden folder's weights of 3, 4 and 8 bits, read all at once and row by row. */
static void packed_rows_are_the_same_one_by_one(void **state)
{
    size_t compared = 0;
    (void)state;
    for (size_t l = 0; l < LENGTH(loads); l++) {
        pv_source *source = open_good(PV_TEST_DATA "/golden/quantized/packed", loads[l]);
        for (size_t i = 0; i < pv_source_tensor_count(source); i++) {
            const pv_source_tensor *tensor = pv_source_tensor_at(source, i);
            if (tensor->parts == NULL) continue;
            uint8_t *all = malloc((size_t)tensor->bytes), *one = malloc((size_t)tensor->row_bytes);
            assert_int_equal(pv_source_read_rows(source, tensor, 0, tensor->rows, all, NULL), PV_OK);
            for (uint64_t row = 0; row < tensor->rows; row++) {
                assert_int_equal(pv_source_read_rows(source, tensor, row, 1, one, NULL), PV_OK);
                assert_memory_equal(one, all + row * tensor->row_bytes, (size_t)tensor->row_bytes);
            }
            free(one);
            free(all);
            compared++;
        }
        pv_source_close(source);
    }
    assert_int_equal(compared, 2 * 14);
}

/* What compressed-tensors says of itself may stand in any order. */
static void keys_may_stand_in_any_order(void **state)
{
    const stated floats[] = {{"x.weight", "F8_E4M3", "[4,32]", 128}, {"x.weight_scale", "F32", "[1]", 4}};
    static const char *const configs[] = {"{\"quantization_config\":{\"format\":\"float-quantized\",\"quant_method\":\"compressed-tensors\"}}",
                                          "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"float-quantized\"}}"};
    (void)state;
    for (size_t i = 0; i < LENGTH(configs); i++) {
        write_folder(configs[i], floats, LENGTH(floats), 0);
        pv_source *source = open_good(tf_path("."), PV_LOAD_MAP);
        assert_int_equal(pv_source_tensor_count(source), 1);
        assert_int_equal(pv_source_tensor_at(source, 0)->layout, PV_LAYOUT_F8);
        pv_source_close(source);
    }
}

#define NVFP4(rest) "{\"quantization_config\":{\"quant_algo\":\"NVFP4\",\"quant_method\":\"modelopt\"" rest "}}"

static void nvfp4_that_does_not_fit_is_refused(void **state)
{
    const stated good[] = {{"x.weight", "U8", "[2,32]", 64}, {"x.weight_scale", "F8_E4M3", "[2,4]", 8}, {"x.weight_scale_2", "F32", "[]", 4}};
    const stated none[] = {{"x.weight", "U8", "[2,32]", 64}, {"x.weight_scale", "F8_E4M3", "[2,4]", 8}};
    const stated both[] = {{"x.weight", "U8", "[2,32]", 64}, {"x.weight_scale", "F8_E4M3", "[2,4]", 8}, {"x.weight_scale_2", "F32", "[]", 4},
                           {"x.weight_global_scale", "F32", "[1]", 4}};
    const stated two[] = {{"x.weight", "U8", "[2,32]", 64}, {"x.weight_packed", "U8", "[2,32]", 64}, {"x.weight_scale", "F8_E4M3", "[2,4]", 8},
                          {"x.weight_scale_2", "F32", "[]", 4}};
    const stated lone[] = {{"x.weight_scale", "F8_E4M3", "[2,4]", 8}, {"x.weight_scale_2", "F32", "[]", 4}};
    const stated dense[] = {{"x.weight", "BF16", "[2,32]", 128}, {"x.weight_scale", "F8_E4M3", "[2,4]", 8}, {"x.weight_scale_2", "F32", "[]", 4}};
    const stated bytes[] = {{"x.weight", "U8", "[2,32]", 64}, {"x.weight_scale", "U8", "[2,4]", 8}, {"x.weight_scale_2", "F32", "[]", 4}};
    const stated fewer[] = {{"x.weight", "U8", "[2,32]", 64}, {"x.weight_scale", "F8_E4M3", "[2,3]", 6}, {"x.weight_scale_2", "F32", "[]", 4}};
    const stated narrow[] = {{"x.weight", "U8", "[2,16]", 32}, {"x.weight_scale", "F8_E4M3", "[2,2]", 4}, {"x.weight_scale_2", "F32", "[]", 4}};
    const stated many[] = {{"x.weight", "U8", "[2,32]", 64}, {"x.weight_scale", "F8_E4M3", "[2,4]", 8}, {"x.weight_scale_2", "F32", "[2]", 8}};
    const stated huge[] = {{"x.weight", "U8", "[0,9223372036854775807]", 0}, {"x.weight_scale", "F8_E4M3", "[0,4]", 0}, {"x.weight_scale_2", "F32", "[]", 4}};
    (void)state;
    REFUSED(NVFP4(""), good, PV_BAD_FILE, "a number that weights can be multiplied with is wanted"); /* 0 */
    REFUSED(NVFP4(""), none, PV_BAD_FILE, "either weight_scale_2 or weight_global_scale is wanted");
    REFUSED(NVFP4(""), both, PV_BAD_FILE, "either weight_scale_2 or weight_global_scale is wanted");
    REFUSED(NVFP4(""), two, PV_BAD_FILE, "the module has no weight or weight_packed of U8, or both");
    REFUSED(NVFP4(""), lone, PV_BAD_FILE, "the module has no weight or weight_packed of U8, or both");
    REFUSED(NVFP4(""), dense, PV_BAD_FILE, "the module has no weight or weight_packed of U8, or both");
    REFUSED(NVFP4(""), bytes, PV_BAD_FILE, "scales of F8_E4M3 are wanted");
    REFUSED(NVFP4(""), fewer, PV_BAD_FILE, "its shape does not fit that of its scales");
    REFUSED(NVFP4(""), huge, PV_BAD_FILE, "its shape does not fit that of its scales");
    REFUSED(NVFP4(""), narrow, PV_UNSUPPORTED, "its columns are no multiple of 64");
    REFUSED(NVFP4(""), many, PV_BAD_FILE, "one F32 is wanted");
    REFUSED("{\"quantization_config\":{\"quant_method\":\"modelopt\",\"quant_algo\":\"W4A16_AWQ\"}}", good, PV_UNSUPPORTED, "FP8 and NVFP4 are");
    REFUSED("{\"quantization_config\":{\"quant_method\":\"modelopt\",\"quant_algo\":\"FP8\"}}", good, PV_BAD_FILE, "the module has no weight of F8_E4M3");
}

/* ModelOpt's too; and scales of the cache, which is not in the file, are passed over. */
static void modelopts_keys_may_stand_in_any_order(void **state)
{
    const stated fp8[] = {{"x.weight", "F8_E4M3", "[4,32]", 128}, {"x.weight_scale", "F32", "[]", 4}, {"x.k_scale", "F32", "[]", 4}};
    static const char *const configs[] = {"{\"quantization_config\":{\"quant_method\":\"modelopt\",\"quant_algo\":\"FP8\"}}",
                                          "{\"quantization_config\":{\"quant_algo\":\"FP8\",\"quant_method\":\"modelopt\"}}"};
    (void)state;
    for (size_t i = 0; i < LENGTH(configs); i++) {
        write_folder(configs[i], fp8, LENGTH(fp8), 0);
        pv_source *source = open_good(tf_path("."), PV_LOAD_MAP);
        assert_int_equal(pv_source_tensor_count(source), 1);
        assert_int_equal(pv_source_find(source, "x.weight")->layout, PV_LAYOUT_F8);
        pv_source_close(source);
    }
}

/* A code that is no number, or a scale, makes a row that is not finite. */
static void numbers_that_are_none_are_noticed(void **state)
{
    static const struct {
        const char *config;
        stated tensors[3];
    } cases[] = {{MLX("\"group_size\":64,\"bits\":4"), {{"x.weight", "U32", "[2,8]", 64}, {"x.scales", "F16", "[2,1]", 4}, {"x.biases", "F16", "[2,1]", 4}}},
                 {MLX("\"mode\":\"mxfp4\""), {{"x.weight", "U32", "[2,8]", 64}, {"x.scales", "U8", "[2,2]", 4}, {"y", "U8", "[1]", 1}}},
                 {MLX("\"mode\":\"mxfp8\""), {{"x.weight", "U32", "[2,8]", 64}, {"x.scales", "U8", "[2,1]", 2}, {"y", "U8", "[1]", 1}}},
                 {MLX("\"mode\":\"nvfp4\""), {{"x.weight", "U32", "[2,8]", 64}, {"x.scales", "U8", "[2,4]", 8}, {"y", "U8", "[1]", 1}}},
                 {FP8(""), {{"x.weight", "F8_E4M3", "[4,32]", 128}, {"x.weight_scale", "F32", "[]", 4}, {"y", "U8", "[1]", 1}}}};
    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        uint8_t rows[1024];
        write_folder(cases[i].config, cases[i].tensors, 3, 0xFF);
        pv_source *source = open_good(tf_path("."), PV_LOAD_COPY);
        const pv_source_tensor *tensor = pv_source_find(source, "x.weight");
        assert_true(tensor->bytes <= sizeof rows);
        assert_int_equal(pv_source_read_rows(source, tensor, 0, tensor->rows, rows, NULL), PV_OK);
        if (pv_layout_row_is_finite(tensor->layout, rows, tensor->cols)) fail_msg("%s is finite", cases[i].config);
        pv_source_close(source);
    }
}

/* Memory that runs out, at every place, is an error and leaks nothing. */
static void *limited(void *user, void *pointer, size_t size)
{
    size_t *left = user;
    if (size == 0) {
        free(pointer);
        return NULL;
    }
    if (*left == 0) return NULL;
    --*left;
    return realloc(pointer, size);
}

static void memory_that_runs_out_is_told(void **state)
{
    static const char *const folders[] = {DATA "mlx", DATA "gptq", DATA "fp8", DATA "nvfp4_compressed", DATA "gptq_order", PV_TEST_DATA "/golden/quantized/gpt_oss"};
    (void)state;
    for (size_t f = 0; f < LENGTH(folders); f++) {
        size_t failures = 0;
        for (size_t limit = 0;; limit++) {
            size_t left = limit;
            const pv_allocator allocator = {limited, &left};
            pv_source *source = NULL;
            const pv_status status = pv_source_open(&allocator, folders[f], PV_LOAD_COPY, &source, NULL);
            if (status == PV_OK) {
                pv_source_close(source);
                break;
            }
            assert_int_equal(status, PV_OUT_OF_MEMORY);
            failures++;
        }
        assert_true(failures > 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mlx_folders_hold_what_mlx_says),
        cmocka_unit_test(mlx_files_start_at_odd_bytes),
        cmocka_unit_test(gptq_folders_hold_what_was_packed),
        cmocka_unit_test(gptq_folders_with_an_order_tell_it),
        cmocka_unit_test(gptq_orders_that_are_none_are_refused),
        cmocka_unit_test(awq_folders_hold_what_was_packed),
        cmocka_unit_test(fp8_folders_hold_what_was_packed),
        cmocka_unit_test(nvfp4_folders_hold_what_was_packed),
        cmocka_unit_test(mlx_parts_that_do_not_fit_are_refused),
        cmocka_unit_test(mlx_settings_that_make_no_sense_are_refused),
        cmocka_unit_test(gptq_and_awq_that_do_not_fit_are_refused),
        cmocka_unit_test(fp8_that_does_not_fit_is_refused),
        cmocka_unit_test(mxfp4_blocks_that_do_not_fit_are_refused),
        cmocka_unit_test(packed_integers_that_do_not_fit_are_refused),
        cmocka_unit_test(packed_rows_are_the_same_one_by_one),
        cmocka_unit_test(keys_may_stand_in_any_order),
        cmocka_unit_test(nvfp4_that_does_not_fit_is_refused),
        cmocka_unit_test(modelopts_keys_may_stand_in_any_order),
        cmocka_unit_test(numbers_that_are_none_are_noticed),
        cmocka_unit_test(memory_that_runs_out_is_told),
    };
    return cmocka_run_group_tests(tests, tf_make_folder, tf_remove_folder);
}
