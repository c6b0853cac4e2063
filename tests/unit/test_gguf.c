/* The GGUF reader: a file of the reference writer (data/small.gguf, made by make_gguf.py); odd files that
 * are allowed; and files cut, bent and starved. test_gguf_rules.c has those that break a rule. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "format/source.h"
#include "support_gguf.h"
#include "support_runtime.h"

#define SMALL PV_TEST_DATA "/unit/data/small.gguf"

static const pv_load loads[] = {PV_LOAD_MAP, PV_LOAD_COPY};

/* ---- A good file ---- */

static pv_source *open_small(const pv_allocator *allocator, pv_load load)
{
    pv_source *source = NULL;
    pv_error error = {0};
    if (pv_source_open(allocator, SMALL, load, &source, &error) != PV_OK) fail_msg("%s", error.message);
    return source;
}

static void tensors_are_found_with_their_shapes_and_places(void **state)
{
    static const struct {
        const char *name, *type;
        pv_layout layout;
        uint32_t dims;
        uint64_t dim[4], rows, cols, row_bytes, bytes, offset;
    } wanted[] = {
        {"token_embd.weight", "Q8_0", PV_LAYOUT_Q8_0, 2, {3, 64}, 3, 64, 68, 204, 1184},
        {"blk.0.attn_q.weight", "Q4_0", PV_LAYOUT_Q4_0, 2, {3, 64}, 3, 64, 36, 108, 1408},
        {"blk.0.attn_k.weight", "Q5_1", PV_LAYOUT_Q5_1, 2, {3, 64}, 3, 64, 48, 144, 1536},
        {"blk.0.attn_norm.weight", "F32", PV_LAYOUT_F32, 1, {64}, 1, 64, 256, 256, 1696},
        {"blk.0.cube.weight", "F16", PV_LAYOUT_F16, 3, {3, 4, 16}, 12, 16, 32, 384, 1952},
        {"blk.0.counts", "I32", PV_LAYOUT_COUNT, 1, {5}, 1, 5, 20, 20, 2336},
    };
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    for (int l = 0; l < 2; l++) {
        pv_source *source = open_small(&allocator, loads[l]);
        assert_int_equal(pv_source_get_kind(source), PV_SOURCE_GGUF);
        assert_string_equal(pv_source_path(source), SMALL);
        assert_int_equal(pv_source_file_count(source), 1);
        assert_string_equal(pv_source_file_name(source, 0), "small.gguf");
        assert_int_equal(pv_source_tensor_count(source), sizeof wanted / sizeof *wanted);
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
            const pv_source_tensor *tensor = pv_source_tensor_at(source, i);
            assert_ptr_equal(pv_source_find(source, wanted[i].name), tensor);
            assert_string_equal(tensor->name, wanted[i].name);
            assert_string_equal(tensor->type_name, wanted[i].type);
            assert_int_equal(tensor->layout, wanted[i].layout);
            assert_int_equal(tensor->dims, wanted[i].dims);
            assert_memory_equal(tensor->dim, wanted[i].dim, sizeof tensor->dim);
            assert_int_equal(tensor->rows, wanted[i].rows);
            assert_int_equal(tensor->cols, wanted[i].cols);
            assert_int_equal(tensor->row_bytes, wanted[i].row_bytes);
            assert_int_equal(tensor->bytes, wanted[i].bytes);
            assert_int_equal(tensor->offset, wanted[i].offset);
        }
        assert_null(pv_source_find(source, "blk.0.attn_v.weight"));
        pv_source_close(source);
    }
}

static void rows_are_read_mapped_or_not(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    pv_error error;
    (void)state;
    for (int l = 0; l < 2; l++) {
        pv_source *source = open_small(&allocator, loads[l]);
        const pv_source_tensor *tensor = pv_source_find(source, "blk.0.cube.weight");
        uint16_t halves[2 * 16];
        assert_int_equal(pv_source_read_rows(source, tensor, 5, 2, halves, &error), PV_OK);
        for (int i = 0; i < 32; i++) assert_true(pv_f16_to_f32(halves[i]) == (float)(5 * 16 + i) / 16 - 4);
        const uint8_t *data = pv_source_tensor_data(source, tensor);
        assert_int_equal(data != NULL, loads[l] == PV_LOAD_MAP);
        if (data) assert_memory_equal(data + 5 * 32, halves, sizeof halves);
        assert_int_equal(pv_source_mapping(source, 0)->bytes != NULL, loads[l] == PV_LOAD_MAP);
        assert_int_equal(pv_source_read_rows(source, tensor, 12, 0, halves, &error), PV_OK);
        assert_int_equal(pv_source_read_rows(source, tensor, 11, 2, halves, &error), PV_INVALID_ARGUMENT);
        assert_non_null(strstr(error.message, "blk.0.cube.weight has 12 rows"));
        assert_int_equal(pv_source_read_rows(source, tensor, UINT64_MAX, 2, halves, &error), PV_INVALID_ARGUMENT);
        pv_source_close(source);
    }
}

static void a_file_cut_after_opening_is_named_when_it_is_read(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    pv_source *source;
    pv_error error;
    size_t length;
    uint8_t *bytes = tf_read(SMALL, &length);
    float row[64];
    (void)state;
    tf_write("cut.gguf", bytes, length);
    assert_int_equal(pv_source_open(&allocator, tf_path("cut.gguf"), PV_LOAD_COPY, &source, &error), PV_OK);
    FILE *file = fopen(tf_path("cut.gguf"), "wb"); /* empty now */
    fclose(file);
    const pv_source_tensor *tensor = pv_source_find(source, "blk.0.attn_norm.weight");
    assert_int_equal(pv_source_read_rows(source, tensor, 0, 1, row, &error), PV_IO);
    assert_string_equal(error.op, "cut.gguf");
    assert_true(error.offset == 1696);
    assert_non_null(strstr(error.message, "blk.0.attn_norm.weight"));
    pv_source_close(source);
    free(bytes);
}

static void metadata_of_every_type_is_read(void **state)
{
    static const struct {
        const char *key;
        double value;
    } numbers[] = {{"t.u8", 200},          {"t.i8", -100},   {"t.u16", 60000},  {"t.i16", -30000},  {"t.u32", 4000000000},
                   {"t.i32", -2000000000}, {"t.f32", 1e-5f}, {"t.u64", 0x1p64}, {"t.i64", -0x1p63}, {"t.f64", 0.1}};
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    for (int l = 0; l < 2; l++) {
        pv_source *source = open_small(&allocator, loads[l]);
        bool found = false, yes = false, no = true;
        uint64_t whole = 0;
        const char *text;
        size_t length;
        assert_int_equal(pv_source_meta_count(source), 18);
        assert_string_equal(pv_source_meta_at(source, 0)->key, "general.architecture");
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
            double value = NAN;
            assert_int_equal(pv_meta_f64(source, numbers[i].key, &value, &found, NULL), PV_OK);
            assert_true(found && value == numbers[i].value);
        }
        assert_int_equal(pv_meta_u64(source, "t.u64", &whole, &found, NULL), PV_OK);
        assert_true(found && whole == UINT64_MAX);
        assert_int_equal(pv_meta_u64(source, "t.u8", &whole, &found, NULL), PV_OK);
        assert_true(found && whole == 200);
        assert_int_equal(pv_meta_bool(source, "t.yes", &yes, &found, NULL), PV_OK);
        assert_int_equal(pv_meta_bool(source, "t.no", &no, &found, NULL), PV_OK);
        assert_true(yes && !no && found);
        assert_int_equal(pv_meta_string(source, "t.text", &text, &length, &found, NULL), PV_OK);
        assert_int_equal(length, strlen("h\u00e9llo\nworld"));
        assert_memory_equal(text, "h\u00e9llo\nworld", length);
        pv_source_close(source);
    }
}

static void arrays_are_walked(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    for (int l = 0; l < 2; l++) {
        static const char *const wanted[] = {"<s>", "", "\u0120the"};
        pv_source *source = open_small(&allocator, loads[l]);
        const pv_meta *strings = pv_source_meta(source, "t.strings"), *integers = pv_source_meta(source, "t.integers");
        uint64_t cursor = 0;
        const char *text;
        size_t length;
        assert_int_equal(strings->type, PV_META_ARRAY);
        assert_int_equal(strings->element, PV_META_STRING);
        assert_int_equal(strings->count, 4);
        for (int i = 0; i < 3; i++) {
            assert_true(pv_meta_next_string(strings, &cursor, &text, &length));
            assert_int_equal(length, strlen(wanted[i]));
            assert_memory_equal(text, wanted[i], length);
        }
        assert_true(pv_meta_next_string(strings, &cursor, &text, &length));
        assert_int_equal(length, 300);
        assert_false(pv_meta_next_string(strings, &cursor, &text, &length));
        cursor = 0;
        assert_false(pv_meta_next_string(integers, &cursor, &text, &length));
        assert_false(pv_meta_next_string(pv_source_meta(source, "t.text"), &cursor, &text, &length));

        assert_int_equal(integers->element, PV_META_I32);
        assert_true(pv_meta_number(integers, 1) == -1 && pv_meta_number(integers, 2) == 7);
        assert_true(pv_meta_number(pv_source_meta(source, "t.reals"), 1) == -1000.25);
        assert_true(pv_meta_number(pv_source_meta(source, "t.bools"), 2) == 1);
        assert_true(isnan(pv_meta_number(integers, 3)));
        assert_true(isnan(pv_meta_number(strings, 0)));
        assert_true(pv_meta_number(pv_source_meta(source, "t.i16"), 0) == -30000);
        pv_source_close(source);
    }
}

static void absent_keys_are_told_from_wrong_ones(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    pv_error error;
    bool found = true, truth;
    uint64_t whole;
    double real;
    const char *text;
    size_t length;
    (void)state;
    pv_source *source = open_small(&allocator, PV_LOAD_MAP);
    assert_int_equal(pv_meta_u64(source, "t.absent", &whole, &found, &error), PV_OK);
    assert_false(found);
    assert_int_equal(pv_meta_u64(source, "t.i8", &whole, &found, &error), PV_BAD_FILE);
    assert_non_null(strstr(error.message, "metadata t.i8"));
    assert_non_null(strstr(error.message, "found -100 (i8), wanted an integer of at least 0"));
    const uint8_t *base = pv_source_mapping(source, 0)->bytes;
    assert_int_equal((int8_t)base[error.offset], -100);
    assert_int_equal(pv_meta_u64(source, "t.f32", &whole, &found, &error), PV_BAD_FILE);
    assert_int_equal(pv_meta_u64(source, "t.yes", &whole, &found, &error), PV_BAD_FILE);
    assert_int_equal(pv_meta_f64(source, "t.text", &real, &found, &error), PV_BAD_FILE);
    assert_non_null(strstr(error.message, "found a string of 12, wanted a number"));
    assert_int_equal(pv_meta_f64(source, "t.integers", &real, &found, &error), PV_BAD_FILE);
    assert_int_equal(pv_meta_bool(source, "t.u8", &truth, &found, &error), PV_BAD_FILE);
    assert_int_equal(pv_meta_string(source, "t.strings", &text, &length, &found, &error), PV_BAD_FILE);
    assert_non_null(strstr(error.message, "found an array of 4, wanted a string"));
    assert_false(found);
    pv_source_close(source);
}

static void texts_beside_the_file_are_kept(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    pv_source *source;
    pv_error error;
    const char *text, *again;
    size_t length, bytes;
    uint8_t *copy = tf_read(SMALL, &bytes);
    (void)state;
    tf_write("m.gguf", copy, bytes);
    tf_write("config.json", "{}", 2);
    free(copy);
    assert_int_equal(pv_source_open(&allocator, tf_path("m.gguf"), PV_LOAD_MAP, &source, &error), PV_OK);
    assert_int_equal(pv_source_text(source, "config.json", &text, &length, &error), PV_OK);
    assert_string_equal(text, "{}");
    assert_int_equal(length, 2);
    assert_int_equal(pv_source_text(source, "config.json", &again, &length, &error), PV_OK);
    assert_ptr_equal(text, again);
    assert_int_equal(pv_source_text(source, "absent.json", &text, &length, &error), PV_OK);
    assert_null(text);
    assert_int_equal(pv_source_text(source, "../config.json", &text, &length, &error), PV_INVALID_ARGUMENT);
    assert_int_equal(pv_source_text(source, "..", &text, &length, &error), PV_INVALID_ARGUMENT);
    assert_int_equal(pv_source_text(source, "", &text, &length, &error), PV_INVALID_ARGUMENT);
    pv_source_close(source);
}

/* ---- What is odd and allowed ---- */

static void scalars(tf_bytes *b)
{
    tg_begin(b, 2, 0);
    tg_text(b, "scalar");
    tf_number(b, 0, 16);
    tg_text(b, "none");
    tf_number(b, 1, 4);
    tf_number(b, 0, 8);
    tf_number(b, 2, 4);
    tf_number(b, 32, 8);
    tg_data(b, 32);
}

static void odd_files_are_read(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    for (int l = 0; l < 2; l++) {
        tf_bytes bytes = {0};
        pv_source *source;
        scalars(&bytes); /* no dimensions; no weights */
        assert_int_equal(tg_open(&allocator, &bytes, loads[l], &source, NULL), PV_OK);
        const pv_source_tensor *scalar = pv_source_find(source, "scalar"), *none = pv_source_find(source, "none");
        assert_true(scalar->dims == 0 && scalar->rows == 1 && scalar->cols == 1 && scalar->bytes == 4);
        assert_true(none->rows == 1 && none->cols == 0 && none->bytes == 0);
        pv_source_close(source);
        tf_free(&bytes);

        tg_begin(&bytes, 0, 0); /* nothing */
        assert_int_equal(tg_open(&allocator, &bytes, loads[l], &source, NULL), PV_OK);
        assert_int_equal(pv_source_tensor_count(source), 0);
        pv_source_close(source);
        tf_free(&bytes);

        tg_begin(&bytes, 2, 2); /* a hole, another order, another alignment, empty arrays */
        tg_meta(&bytes, "general.alignment", 4, 128, 4);
        tg_meta(&bytes, "a.empty", 9, 8, 4);
        tf_number(&bytes, 0, 8);
        tg_tensor(&bytes, "b", 1, 8, 0, 384);
        tg_tensor(&bytes, "a", 1, 8, 0, 128);
        tf_pad(&bytes, 128);
        size_t start = bytes.length;
        for (int i = 0; i < 416; i++) tf_add(&bytes, &(uint8_t){(uint8_t)i}, 1);
        assert_int_equal(tg_open(&allocator, &bytes, loads[l], &source, NULL), PV_OK);
        assert_int_equal(pv_source_find(source, "a")->offset, start + 128);
        assert_int_equal(pv_source_find(source, "b")->offset, start + 384);
        assert_int_equal(pv_source_meta(source, "a.empty")->count, 0);
        assert_int_equal(pv_source_meta(source, "a.empty")->data_bytes, 0);
        uint8_t row[32];
        assert_int_equal(pv_source_read_rows(source, pv_source_find(source, "b"), 0, 1, row, NULL), PV_OK);
        assert_int_equal(row[1], 385 % 256);
        pv_source_close(source);
        tf_free(&bytes);
    }
}

static void version_2_is_read_like_version_3(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    for (int l = 0; l < 2; l++) {
        tf_bytes bytes = {0};
        pv_source *source;
        tg_good(&bytes);
        bytes.data[4] = 2;
        assert_int_equal(tg_open(&allocator, &bytes, loads[l], &source, NULL), PV_OK);
        assert_int_equal(pv_source_tensor_count(source), 2);
        assert_int_equal(pv_source_find(source, "y")->bytes, 18);
        pv_source_close(source);
        tf_free(&bytes);
    }
}

/* ---- Models split over files ---- */

/* Part `number` of `parts` with tensors named by `names`, an F32 each whose value is its letter; a third key is the first part's alone. */
static void write_part(const char *file, const char *names, uint32_t number, uint32_t parts, uint32_t total)
{
    tf_bytes bytes = {0};
    tg_begin(&bytes, strlen(names), number == 0 ? 4 : 3);
    tg_meta(&bytes, "split.no", 2, number, 2);
    tg_meta(&bytes, "split.count", 2, parts, 2);
    tg_meta(&bytes, "split.tensors.count", 5, total, 4);
    if (number == 0) tg_meta(&bytes, "a.b", 4, 7, 4);
    for (size_t i = 0; names[i]; i++) tg_tensor(&bytes, (char[]){names[i], 0}, 1, 1, 0, 32 * i);
    tf_pad(&bytes, 32);
    for (size_t i = 0; names[i]; i++) {
        float value = (float)names[i];
        tf_add(&bytes, &value, sizeof value);
        tf_pad(&bytes, 32);
    }
    tf_write(file, bytes.data, bytes.length);
    tf_free(&bytes);
}

static void a_model_split_over_files_is_one_model(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    write_part("m-00001-of-00003.gguf", "ab", 0, 3, 4);
    write_part("m-00002-of-00003.gguf", "", 1, 3, 4);
    write_part("m-00003-of-00003.gguf", "cd", 2, 3, 4);
    for (int l = 0; l < 2; l++) {
        pv_source *source;
        uint64_t value = 0;
        bool found = false;
        assert_int_equal(pv_source_open(&allocator, tf_path("m-00001-of-00003.gguf"), loads[l], &source, NULL), PV_OK);
        assert_int_equal(pv_source_tensor_count(source), 4);
        assert_int_equal(pv_source_file_count(source), 3);
        assert_int_equal(pv_source_meta_count(source), 4);
        assert_int_equal(pv_meta_u64(source, "a.b", &value, &found, NULL), PV_OK);
        assert_true(found && value == 7);
        for (char name = 'a'; name <= 'd'; name++) {
            const pv_source_tensor *tensor = pv_source_find(source, (char[]){name, 0});
            float cell = 0;
            assert_non_null(tensor);
            assert_int_equal(tensor->file, name < 'c' ? 0 : 2);
            assert_int_equal(pv_source_read_rows(source, tensor, 0, 1, &cell, NULL), PV_OK);
            assert_true(cell == (float)name);
        }
        pv_source_close(source);
    }
}

static void refused(const char *file, pv_status status, const char *message)
{
    pv_allocator allocator = pv_allocator_default();
    for (int l = 0; l < 2; l++) {
        pv_source *source = NULL;
        pv_error error = {0};
        assert_int_equal(pv_source_open(&allocator, tf_path(file), loads[l], &source, &error), status);
        if (!strstr(error.message, message)) fail_msg("wanted %s: %s", message, error.message);
        assert_null(source);
    }
}

static void parts_that_do_not_make_a_model_are_refused(void **state)
{
    (void)state;
    write_part("n-00001-of-00002.gguf", "a", 0, 2, 2);
    refused("n-00001-of-00002.gguf", PV_NOT_FOUND, "n-00001-of-00002.gguf is the first of 2 parts, but n-00002-of-00002.gguf is not beside it");
    write_part("n-00002-of-00002.gguf", "a", 1, 2, 2);
    refused("n-00001-of-00002.gguf", PV_BAD_FILE, "two tensors named a");
    write_part("n-00002-of-00002.gguf", "b", 0, 2, 2);
    refused("n-00001-of-00002.gguf", PV_BAD_FILE, "n-00002-of-00002.gguf: its metadata say split.no 0 and split.count 2, wanted 1 and 2");
    write_part("n-00002-of-00002.gguf", "b", 1, 3, 2);
    refused("n-00001-of-00002.gguf", PV_BAD_FILE, "split.count 3, wanted 1 and 2");
    write_part("n-00002-of-00002.gguf", "bc", 1, 2, 2);
    refused("n-00001-of-00002.gguf", PV_BAD_FILE, "the parts hold 3 tensors, metadata split.tensors.count says 2");
    write_part("n-00002-of-00002.gguf", "b", 1, 2, 2);
    refused("n-00002-of-00002.gguf", PV_UNSUPPORTED, "one of 2 parts (metadata split.count), wanted the first, whose name ends in -00001-of-00002.gguf");
    write_part("other.gguf", "a", 0, 2, 2);
    refused("other.gguf", PV_UNSUPPORTED, "wanted the first, whose name ends in -00001-of-00002.gguf");
    write_part("o-00001-of-60000.gguf", "a", 0, 60000, 2);
    refused("o-00001-of-60000.gguf", PV_BAD_FILE, "one of 60000 parts (metadata split.count), the limit is 1024");
}

/* Block sizes as the reference package has them (Q8_1 and the three interleaved ones: as the format's C library has them). */
static void every_type_is_known_by_name_and_size(void **state)
{
    static const struct {
        uint32_t number;
        const char *name;
        uint32_t block, bytes;
    } types[] = {{0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},      {3, "Q4_1", 32, 20},
                 {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},      {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 36},
                 {10, "Q2_K", 256, 84},    {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},
                 {14, "Q6_K", 256, 210},   {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66}, {17, "IQ2_XS", 256, 74},
                 {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},   {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},
                 {22, "IQ2_S", 256, 82},   {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},         {25, "I16", 1, 2},
                 {26, "I32", 1, 4},        {27, "I64", 1, 8},        {28, "F64", 1, 8},        {29, "IQ1_M", 256, 56},
                 {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},   {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},
                 {40, "NVFP4", 64, 36},    {41, "Q1_0", 128, 18},    {31, "Q4_0_4_4", 32, 18}, {32, "Q4_0_4_8", 32, 18},
                 {33, "Q4_0_8_8", 32, 18}};
    pv_allocator allocator = pv_allocator_default();
    bool known[64] = {false};
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        tf_bytes bytes = {0};
        pv_source *source;
        known[types[i].number] = true;
        tg_begin(&bytes, 1, 0);
        tg_tensor(&bytes, "x", 3, 2 * types[i].block, types[i].number, 0);
        tg_data(&bytes, 6 * types[i].bytes);
        assert_int_equal(tg_open(&allocator, &bytes, PV_LOAD_MAP, &source, NULL), PV_OK);
        const pv_source_tensor *found = pv_source_find(source, "x");
        assert_string_equal(found->type_name, types[i].name);
        assert_int_equal(found->row_bytes, 2 * types[i].bytes);
        assert_int_equal(found->layout, pv_layout_find(types[i].name));
        pv_source_close(source);
        bytes.length--; /* and not a byte less */
        assert_int_equal(tg_open(&allocator, &bytes, PV_LOAD_MAP, &source, NULL), PV_BAD_FILE);
        tf_free(&bytes);
        if (types[i].block == 1) continue;
        tg_begin(&bytes, 1, 0); /* and no smaller block */
        tg_tensor(&bytes, "x", 3, types[i].block / 2, types[i].number, 0);
        tg_data(&bytes, 4096);
        assert_int_equal(tg_open(&allocator, &bytes, PV_LOAD_MAP, &source, NULL), PV_BAD_FILE);
        tf_free(&bytes);
    }
    for (uint32_t number = 0; number < 64; number++) {
        tf_bytes bytes = {0};
        pv_source *source;
        tg_begin(&bytes, 1, 0);
        tg_tensor(&bytes, "x", 0, 256, number, 0);
        tg_data(&bytes, 0);
        pv_status status = tg_open(&allocator, &bytes, PV_LOAD_MAP, &source, NULL);
        assert_int_equal(status, known[number] ? PV_OK : PV_UNSUPPORTED);
        if (status == PV_OK) pv_source_close(source);
        tf_free(&bytes);
    }
}

static void zero_is_an_integer_of_at_least_zero(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    pv_source *source;
    tf_bytes bytes = {0};
    uint64_t whole = 1;
    bool found = false;
    (void)state;
    tg_begin(&bytes, 0, 1);
    tg_meta(&bytes, "zero", 5, 0, 4);
    assert_int_equal(tg_open(&allocator, &bytes, PV_LOAD_MAP, &source, NULL), PV_OK);
    assert_int_equal(pv_meta_u64(source, "zero", &whole, &found, NULL), PV_OK);
    assert_true(found && whole == 0);
    pv_source_close(source);
    tf_free(&bytes);
}

static void the_extension_is_not_needed(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    pv_source *source;
    pv_error error;
    tf_bytes bytes = {0};
    (void)state;
    tg_good(&bytes);
    tf_write("sha256-0011", bytes.data, bytes.length);
    assert_int_equal(pv_source_open(&allocator, tf_path("sha256-0011"), PV_LOAD_MAP, &source, &error), PV_OK);
    assert_int_equal(pv_source_get_kind(source), PV_SOURCE_GGUF);
    pv_source_close(source);
    tf_write("notes", "some text", 9);
    assert_int_equal(pv_source_open(&allocator, tf_path("notes"), PV_LOAD_MAP, &source, &error), PV_BAD_FILE);
    assert_non_null(strstr(error.message, "73 6f 6d 65: neither GGUF"));
    assert_int_equal(pv_source_open(&allocator, tf_path("absent.gguf"), PV_LOAD_MAP, &source, &error), PV_NOT_FOUND);
    assert_int_equal(pv_source_open(&allocator, "", PV_LOAD_MAP, &source, &error), PV_NOT_FOUND);
    tf_free(&bytes);
}

/* ---- Everything at once ---- */

/* Opens; whatever a source then shows must be true. Returns whether it opened. */
static bool open_and_check(const tf_bytes *bytes, pv_load load)
{
    pv_allocator allocator = pv_allocator_default();
    pv_source *source;
    pv_status status = tg_open(&allocator, bytes, load, &source, NULL);
    if (status != PV_OK) {
        assert_true(status == PV_BAD_FILE || status == PV_UNSUPPORTED);
        return false;
    }
    for (size_t i = 0; i < pv_source_tensor_count(source); i++) {
        const pv_source_tensor *found = pv_source_tensor_at(source, i);
        assert_true(pv_inside(found->offset, found->bytes, bytes->length));
        assert_int_equal(found->rows * found->row_bytes, found->bytes);
    }
    for (size_t i = 0; i < pv_source_meta_count(source); i++) {
        const pv_meta *found = pv_source_meta_at(source, i);
        const char *string;
        size_t length;
        volatile uint8_t sum = 0; /* the sanitizer sees bytes that are not there */
        for (uint64_t b = 0; b < found->data_bytes; b++) sum = (uint8_t)(sum + found->data[b]);
        for (uint64_t cursor = 0; pv_meta_next_string(found, &cursor, &string, &length);)
            assert_true(string + length <= (const char *)found->data + found->data_bytes);
    }
    pv_source_close(source);
    return true;
}

static void no_beginning_of_a_file_is_a_file(void **state)
{
    tf_bytes bytes = {0};
    (void)state;
    tg_good(&bytes);
    size_t whole = bytes.length;
    for (bytes.length = 0; bytes.length < whole; bytes.length++)
        for (int l = 0; l < 2; l++)
            if (open_and_check(&bytes, loads[l])) fail_msg("%zu of %zu bytes are a file", bytes.length, whole);
    assert_true(open_and_check(&bytes, PV_LOAD_MAP));
    tf_free(&bytes);
}

static void any_flipped_bit_is_refused_or_harmless(void **state)
{
    tf_bytes bytes = {0};
    size_t opened = 0, header = 24 + 19 + 2 * 41;
    (void)state;
    tg_good(&bytes);
    for (size_t bit = 0; bit < 8 * header; bit++) {
        bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        opened += open_and_check(&bytes, loads[bit % 2]);
        bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_true(opened > 0 && opened < 4 * header); /* names and values may change; most of the rest may not */
    tf_free(&bytes);
}

static void every_failing_allocation_is_an_error_without_a_leak(void **state)
{
    (void)state;
    for (int l = 0; l < 2; l++) {
        pv_status status = PV_OUT_OF_MEMORY;
        uint64_t fail_at = 0;
        while (status != PV_OK) {
            rt_memory memory;
            pv_source *source = NULL;
            pv_error error = {0};
            rt_memory_init(&memory, ++fail_at);
            status = pv_source_open(&memory.allocator, SMALL, loads[l], &source, &error);
            if (status == PV_OK && memory.calls < fail_at)
                pv_source_close(source);
            else if (status == PV_OK) { /* giving memory back may fail without harm */
                pv_source_close(source);
                status = PV_OUT_OF_MEMORY;
            } else {
                assert_int_equal(status, PV_OUT_OF_MEMORY);
                assert_int_equal(error.status, PV_OUT_OF_MEMORY);
            }
            assert_int_equal(memory.live, 0);
        }
        assert_true(fail_at > 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_found_with_their_shapes_and_places),
        cmocka_unit_test(rows_are_read_mapped_or_not),
        cmocka_unit_test(a_file_cut_after_opening_is_named_when_it_is_read),
        cmocka_unit_test(metadata_of_every_type_is_read),
        cmocka_unit_test(arrays_are_walked),
        cmocka_unit_test(absent_keys_are_told_from_wrong_ones),
        cmocka_unit_test(texts_beside_the_file_are_kept),
        cmocka_unit_test(odd_files_are_read),
        cmocka_unit_test(version_2_is_read_like_version_3),
        cmocka_unit_test(a_model_split_over_files_is_one_model),
        cmocka_unit_test(parts_that_do_not_make_a_model_are_refused),
        cmocka_unit_test(every_type_is_known_by_name_and_size),
        cmocka_unit_test(zero_is_an_integer_of_at_least_zero),
        cmocka_unit_test(the_extension_is_not_needed),
        cmocka_unit_test(no_beginning_of_a_file_is_a_file),
        cmocka_unit_test(any_flipped_bit_is_refused_or_harmless),
        cmocka_unit_test(every_failing_allocation_is_an_error_without_a_leak),
    };
    return cmocka_run_group_tests(tests, tf_make_folder, tf_remove_folder);
}
