/* The GGUF reader: a file of the reference writer (data/small.gguf, made by make_gguf.py), and files that break every rule. */
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
#include "support_files.h"
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
        {"blk.0.attn_k.weight", "Q5_1", PV_LAYOUT_COUNT, 2, {3, 64}, 3, 64, 48, 144, 1536},
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

/* ---- Bad files, each off from a good one by one thing ---- */

static void text(tf_bytes *b, const char *string)
{
    tf_number(b, strlen(string), 8);
    tf_add(b, string, strlen(string));
}

static void begin(tf_bytes *b, uint64_t tensors, uint64_t metas)
{
    tf_add(b, "GGUF", 4);
    tf_number(b, 3, 4);
    tf_number(b, tensors, 8);
    tf_number(b, metas, 8);
}

static void meta(tf_bytes *b, const char *key, uint32_t type, uint64_t value, size_t size)
{
    text(b, key);
    tf_number(b, type, 4);
    tf_number(b, value, size);
}

/* Two dimensions, rows and then columns; types: 0 F32, 2 Q4_0. */
static void tensor(tf_bytes *b, const char *name, uint64_t rows, uint64_t cols, uint32_t type, uint64_t offset)
{
    text(b, name);
    tf_number(b, 2, 4);
    tf_number(b, cols, 8);
    tf_number(b, rows, 8);
    tf_number(b, type, 4);
    tf_number(b, offset, 8);
}

static void data(tf_bytes *b, size_t bytes)
{
    static const uint8_t zeros[4096];
    tf_pad(b, 32);
    tf_add(b, zeros, bytes);
}

static void good(tf_bytes *b)
{
    begin(b, 2, 1);
    meta(b, "a.b", 4, 7, 4);
    tensor(b, "x", 2, 8, 0, 0);
    tensor(b, "y", 1, 32, 2, 64);
    data(b, 64 + 18);
}

static void empty(tf_bytes *b)
{
    tf_add(b, "", 0);
}

static void magic(tf_bytes *b)
{
    good(b);
    b->data[3] = 'X';
}

static void version(tf_bytes *b, uint8_t number)
{
    good(b);
    b->data[4] = number;
}

static void version_0(tf_bytes *b)
{
    version(b, 0);
}
static void version_1(tf_bytes *b)
{
    version(b, 1);
}
static void version_2(tf_bytes *b)
{
    version(b, 2);
}
static void version_4(tf_bytes *b)
{
    version(b, 4);
}

static void big_endian(tf_bytes *b)
{
    version(b, 0);
    b->data[7] = 3;
}

static void tensor_count(tf_bytes *b)
{
    begin(b, 262145, 0);
}
static void meta_count(tf_bytes *b)
{
    begin(b, 0, 65537);
}
static void tensor_count_huge(tf_bytes *b)
{
    begin(b, UINT64_MAX, 0);
}
static void fewer_metas(tf_bytes *b)
{
    begin(b, 0, 65536);
}
static void fewer_tensors(tf_bytes *b)
{
    begin(b, 262144, 0);
}

static void key_empty(tf_bytes *b)
{
    begin(b, 0, 1);
    meta(b, "", 4, 7, 4);
}

static void key_long(tf_bytes *b)
{
    static char key[65538];
    memset(key, 'k', 65536);
    begin(b, 0, 1);
    meta(b, key, 4, 7, 4);
}

static void key_nul(tf_bytes *b)
{
    begin(b, 0, 1);
    meta(b, "a.b", 4, 7, 4);
    b->data[24 + 8 + 1] = 0;
}

static void key_not_utf8(tf_bytes *b)
{
    begin(b, 0, 1);
    meta(b,
         "a\xff"
         "b",
         4, 7, 4);
}

static void key_twice(tf_bytes *b)
{
    begin(b, 0, 2);
    meta(b, "a.b", 4, 7, 4);
    meta(b, "a.b", 5, 7, 4);
}

static void key_beyond_the_file(tf_bytes *b)
{
    begin(b, 0, 1);
    tf_number(b, 60000, 8);
    tf_add(b, "abc", 3);
}

static void value_type(tf_bytes *b)
{
    begin(b, 0, 1);
    meta(b, "a.b", 13, 7, 4);
}

static void value_cut(tf_bytes *b)
{
    begin(b, 0, 1);
    meta(b, "a.b", 10, 7, 7);
}

static void value_bool(tf_bytes *b)
{
    begin(b, 0, 1);
    meta(b, "a.b", 7, 2, 1);
}

static void string_long(tf_bytes *b)
{
    begin(b, 0, 1);
    meta(b, "a.b", 8, (64u << 20) + 1, 8);
}

static void string_beyond_the_file(tf_bytes *b)
{
    begin(b, 0, 1);
    meta(b, "a.b", 8, 64u << 20, 8);
}

static void array(tf_bytes *b, uint32_t element, uint64_t count)
{
    begin(b, 0, 1);
    meta(b, "a.b", 9, element, 4);
    tf_number(b, count, 8);
}

static void array_of_arrays(tf_bytes *b)
{
    array(b, 9, 1);
}
static void array_type(tf_bytes *b)
{
    array(b, 99, 1);
}
static void array_long(tf_bytes *b)
{
    array(b, 0, (1u << 27) + 1);
}
static void array_huge(tf_bytes *b)
{
    array(b, 10, UINT64_MAX / 4);
}
static void array_beyond_the_file(tf_bytes *b)
{
    array(b, 10, 1u << 27);
}
static void strings_beyond_the_file(tf_bytes *b)
{
    array(b, 8, 1u << 27);
}

static void array_bool(tf_bytes *b)
{
    array(b, 7, 3);
    tf_add(b, "\0\1\2", 3);
}

static void array_string_cut(tf_bytes *b)
{
    array(b, 8, 2);
    text(b, "abc");
    tf_number(b, UINT64_MAX - 10, 8);
}

static void alignment(tf_bytes *b, uint32_t type, uint64_t value, size_t size)
{
    begin(b, 0, 1);
    meta(b, "general.alignment", type, value, size);
}

static void alignment_0(tf_bytes *b)
{
    alignment(b, 4, 0, 4);
}
static void alignment_48(tf_bytes *b)
{
    alignment(b, 4, 48, 4);
}
static void alignment_u64(tf_bytes *b)
{
    alignment(b, 10, 32, 8);
}
static void alignment_i32(tf_bytes *b)
{
    alignment(b, 5, 0xffffffe0, 4);
}
static void alignment_text(tf_bytes *b)
{
    alignment(b, 8, 0, 8);
}

static void split(tf_bytes *b)
{
    begin(b, 0, 1);
    meta(b, "split.count", 2, 3, 2);
}

static void one_tensor(tf_bytes *b, const char *name, uint64_t rows, uint64_t cols, uint32_t type, uint64_t offset,
                       size_t bytes)
{
    begin(b, 1, 0);
    tensor(b, name, rows, cols, type, offset);
    data(b, bytes);
}

static void split_text(tf_bytes *b)
{
    begin(b, 0, 1);
    meta(b, "split.count", 8, 0, 8);
}

static void name_empty(tf_bytes *b)
{
    one_tensor(b, "", 1, 1, 0, 0, 4);
}

static void name_long(tf_bytes *b)
{
    one_tensor(b, "12345678901234567890123456789012345678901234567890123456789012345", 1, 1, 0, 0, 4);
}

static void name_twice(tf_bytes *b)
{
    begin(b, 2, 0);
    tensor(b, "x", 1, 8, 0, 0);
    tensor(b, "x", 1, 8, 0, 32);
    data(b, 64);
}

static void dims_5(tf_bytes *b)
{
    begin(b, 1, 0);
    text(b, "x");
    tf_number(b, 5, 4);
    for (int i = 0; i < 5; i++) tf_number(b, 1, 8);
    tf_number(b, 0, 12);
    data(b, 4);
}

static void dims_product(tf_bytes *b)
{
    one_tensor(b, "x", 1ull << 32, 1ull << 32, 0, 0, 0);
}
static void dims_signed(tf_bytes *b)
{
    one_tensor(b, "x", 1, 1ull << 63, 24, 0, 0);
}
static void dims_bytes(tf_bytes *b)
{
    one_tensor(b, "x", 1ull << 31, 1ull << 31, 0, 0, 0);
}
static void dims_wrap_to_zero(tf_bytes *b)
{
    one_tensor(b, "x", 1ull << 62, 4, 0, 0, 0);
}
static void dims_block(tf_bytes *b)
{
    one_tensor(b, "x", 2, 16, 2, 0, 18);
}
static void type_5(tf_bytes *b)
{
    one_tensor(b, "x", 1, 32, 5, 0, 400);
}
static void type_999(tf_bytes *b)
{
    one_tensor(b, "x", 1, 32, 999, 0, 400);
}
static void type_huge(tf_bytes *b)
{
    one_tensor(b, "x", 1, 32, UINT32_MAX, 0, 400);
}
static void offset_odd(tf_bytes *b)
{
    one_tensor(b, "x", 1, 8, 0, 16, 64);
}
static void offset_huge(tf_bytes *b)
{
    one_tensor(b, "x", 1, 8, 0, UINT64_MAX - 31, 64);
}
static void offset_at_the_end(tf_bytes *b)
{
    one_tensor(b, "x", 1, 8, 0, 64, 64);
}
static void data_short(tf_bytes *b)
{
    one_tensor(b, "x", 1, 8, 0, 0, 31);
}
static void data_absent(tf_bytes *b)
{
    one_tensor(b, "x", 1, 8, 0, 0, 0);
}

static void alignment_beyond_the_file(tf_bytes *b)
{
    begin(b, 1, 1);
    meta(b, "general.alignment", 4, 0x80000000, 4);
    tensor(b, "x", 1, 8, 0, 0);
    data(b, 64);
}

static void overlap(tf_bytes *b)
{
    begin(b, 3, 0);
    tensor(b, "last", 1, 8, 0, 96);
    tensor(b, "first", 1, 16, 0, 0);
    tensor(b, "within", 1, 8, 0, 32);
    data(b, 128);
}

static void same_place(tf_bytes *b)
{
    begin(b, 2, 0);
    tensor(b, "a", 1, 8, 0, 0);
    tensor(b, "b", 1, 8, 0, 0);
    data(b, 32);
}

#define ANY (-2)  /* an offset that is not pinned */
#define NONE (-1) /* PV_NO_OFFSET */

static const struct {
    void (*build)(tf_bytes *bytes);
    pv_status status;
    int offset;
    const char *message;
} bad[] = {
    {empty, PV_BAD_FILE, 0, "wanted 4 bytes of the magic"},
    {magic, PV_BAD_FILE, 0, "starts with bytes 47 47 55 58, wanted 47 47 55 46"},
    {version_0, PV_UNSUPPORTED, 4, "GGUF version 0, wanted 3"},
    {version_1, PV_UNSUPPORTED, 4, "GGUF version 1, wanted 3"},
    {version_2, PV_UNSUPPORTED, 4, "GGUF version 2, wanted 3"},
    {version_4, PV_UNSUPPORTED, 4, "GGUF version 4, wanted 3"},
    {big_endian, PV_UNSUPPORTED, 4, "big-endian"},
    {tensor_count, PV_BAD_FILE, 8, "262145 tensors, the limit is 262144"},
    {tensor_count_huge, PV_BAD_FILE, 8, "18446744073709551615 tensors"},
    {meta_count, PV_BAD_FILE, 16, "65537 key-values, the limit is 65536"},
    {fewer_metas, PV_BAD_FILE, 24, "found the file's end at 24, wanted 8 bytes of a metadata key"},
    {fewer_tensors, PV_BAD_FILE, 24, "a tensor's name"},
    {key_empty, PV_BAD_FILE, 24, "found an empty string"},
    {key_long, PV_BAD_FILE, 24, "a metadata key has 65536 bytes, the limit is 65535"},
    {key_nul, PV_BAD_FILE, 24, "UTF-8 without NUL"},
    {key_not_utf8, PV_BAD_FILE, 24, "UTF-8 without NUL"},
    {key_twice, PV_BAD_FILE, 24 + 19, "two values of metadata a.b"},
    {key_beyond_the_file, PV_BAD_FILE, 32, "wanted 60000 bytes of a metadata key"},
    {value_type, PV_BAD_FILE, 35, "metadata a.b has type 13, wanted 0 to 12"},
    {value_cut, PV_BAD_FILE, 39, "wanted 8 bytes of a.b"},
    {value_bool, PV_BAD_FILE, 39, "found 2 as a bool"},
    {string_long, PV_BAD_FILE, 39, "a.b has 67108865 bytes, the limit is 67108864"},
    {string_beyond_the_file, PV_BAD_FILE, 47, "wanted 67108864 bytes of a.b"},
    {array_of_arrays, PV_UNSUPPORTED, 39, "a.b is an array of arrays"},
    {array_type, PV_BAD_FILE, 39, "has type 99"},
    {array_long, PV_BAD_FILE, 43, "has 134217729 elements, the limit is 134217728"},
    {array_huge, PV_BAD_FILE, 43, "elements, the limit"},
    {array_beyond_the_file, PV_BAD_FILE, 51, "wanted 1073741824 bytes of a.b"},
    {strings_beyond_the_file, PV_BAD_FILE, 51, "wanted 8 bytes of a.b"},
    {array_bool, PV_BAD_FILE, 53, "found 2 as a bool"},
    {array_string_cut, PV_BAD_FILE, 62, "the limit is 67108864"},
    {alignment_0, PV_BAD_FILE, 53, "general.alignment: found 0, wanted a power of two"},
    {alignment_48, PV_BAD_FILE, 53, "general.alignment: found 48, wanted a power of two"},
    {alignment_u64, PV_BAD_FILE, 53, "as u32"},
    {alignment_i32, PV_BAD_FILE, 53, "found -32 (i32)"},
    {alignment_text, PV_BAD_FILE, ANY, "found a string"},
    {split, PV_UNSUPPORTED, 47, "one of 3 parts"},
    {split_text, PV_BAD_FILE, 55, "found a string of 0, wanted an integer"},
    {name_empty, PV_BAD_FILE, 24, "found an empty string"},
    {name_long, PV_BAD_FILE, 24, "a tensor's name has 65 bytes, the limit is 64"},
    {name_twice, PV_BAD_FILE, 24 + 41, "two tensors named x"},
    {dims_5, PV_BAD_FILE, 33, "tensor x has 5 dimensions, wanted 0 to 4"},
    {dims_product, PV_BAD_FILE, 53, "overflow"},
    {dims_signed, PV_BAD_FILE, 53, "overflow"},
    {dims_bytes, PV_BAD_FILE, 53, "overflow"},
    {dims_wrap_to_zero, PV_BAD_FILE, 53, "overflow"},
    {dims_block, PV_BAD_FILE, 53, "no multiple of Q4_0's block of 32"},
    {type_5, PV_UNSUPPORTED, 53, "tensor x has type number 5"},
    {type_999, PV_UNSUPPORTED, 53, "tensor x has type number 999"},
    {type_huge, PV_UNSUPPORTED, 53, "tensor x has type number 4294967295"},
    {offset_odd, PV_BAD_FILE, 57, "tensor x starts at 16 of the data, wanted a multiple of 32"},
    {offset_huge, PV_BAD_FILE, 96, "tensor x: 32 bytes at 18446744073709551584 of the data"},
    {offset_at_the_end, PV_BAD_FILE, 96, "tensor x: 32 bytes at 64 of the data, which starts at offset 96"},
    {data_short, PV_BAD_FILE, 96, "do not lie in the file's 127 bytes"},
    {data_absent, PV_BAD_FILE, 96, "do not lie in the file's 96 bytes"},
    {alignment_beyond_the_file, PV_BAD_FILE, ANY, "do not lie in the file"},
    {overlap, PV_BAD_FILE, ANY, "tensor within starts at offset 192, inside first, which ends at 224"},
    {same_place, PV_BAD_FILE, ANY, "inside a"},
};

static pv_status open_bytes(const pv_allocator *allocator, const tf_bytes *bytes, pv_load load, pv_source **source,
                            pv_error *error)
{
    tf_write("test.gguf", bytes->data, bytes->length);
    return pv_source_open(allocator, tf_path("test.gguf"), load, source, error);
}

static void files_that_break_a_rule_are_refused_by_name_and_place(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    for (size_t i = 0; i < 2 * (sizeof bad / sizeof *bad); i++) {
        tf_bytes bytes = {0};
        pv_source *source = NULL;
        pv_error error = {0};
        bad[i / 2].build(&bytes);
        pv_status status = open_bytes(&allocator, &bytes, loads[i % 2], &source, &error);
        if (status != bad[i / 2].status || !strstr(error.message, bad[i / 2].message))
            fail_msg("wanted %s: %s: %s", bad[i / 2].message, pv_status_name(status), error.message);
        int64_t offset = error.offset == PV_NO_OFFSET ? NONE : (int64_t)error.offset;
        if (bad[i / 2].offset != ANY && offset != bad[i / 2].offset) fail_msg("offset %d: %s", (int)offset, error.message);
        assert_string_equal(error.op, "test.gguf");
        assert_memory_equal(error.message, "test.gguf", 9);
        assert_null(source);
        tf_free(&bytes);
    }
}

/* ---- What is odd and allowed ---- */

static void scalars(tf_bytes *b)
{
    begin(b, 2, 0);
    text(b, "scalar");
    tf_number(b, 0, 16);
    text(b, "none");
    tf_number(b, 1, 4);
    tf_number(b, 0, 8);
    tf_number(b, 2, 4);
    tf_number(b, 32, 8);
    data(b, 32);
}

static void odd_files_are_read(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    for (int l = 0; l < 2; l++) {
        tf_bytes bytes = {0};
        pv_source *source;
        scalars(&bytes); /* no dimensions; no weights */
        assert_int_equal(open_bytes(&allocator, &bytes, loads[l], &source, NULL), PV_OK);
        const pv_source_tensor *scalar = pv_source_find(source, "scalar"), *none = pv_source_find(source, "none");
        assert_true(scalar->dims == 0 && scalar->rows == 1 && scalar->cols == 1 && scalar->bytes == 4);
        assert_true(none->rows == 1 && none->cols == 0 && none->bytes == 0);
        pv_source_close(source);
        tf_free(&bytes);

        begin(&bytes, 0, 0); /* nothing */
        assert_int_equal(open_bytes(&allocator, &bytes, loads[l], &source, NULL), PV_OK);
        assert_int_equal(pv_source_tensor_count(source), 0);
        pv_source_close(source);
        tf_free(&bytes);

        begin(&bytes, 2, 2); /* a hole, another order, another alignment, empty arrays */
        meta(&bytes, "general.alignment", 4, 128, 4);
        meta(&bytes, "a.empty", 9, 8, 4);
        tf_number(&bytes, 0, 8);
        tensor(&bytes, "b", 1, 8, 0, 384);
        tensor(&bytes, "a", 1, 8, 0, 128);
        tf_pad(&bytes, 128);
        size_t start = bytes.length;
        for (int i = 0; i < 416; i++) tf_add(&bytes, &(uint8_t){(uint8_t)i}, 1);
        assert_int_equal(open_bytes(&allocator, &bytes, loads[l], &source, NULL), PV_OK);
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
        begin(&bytes, 1, 0);
        tensor(&bytes, "x", 3, 2 * types[i].block, types[i].number, 0);
        data(&bytes, 6 * types[i].bytes);
        assert_int_equal(open_bytes(&allocator, &bytes, PV_LOAD_MAP, &source, NULL), PV_OK);
        const pv_source_tensor *found = pv_source_find(source, "x");
        assert_string_equal(found->type_name, types[i].name);
        assert_int_equal(found->row_bytes, 2 * types[i].bytes);
        assert_int_equal(found->layout, pv_layout_find(types[i].name));
        pv_source_close(source);
        bytes.length--; /* and not a byte less */
        assert_int_equal(open_bytes(&allocator, &bytes, PV_LOAD_MAP, &source, NULL), PV_BAD_FILE);
        tf_free(&bytes);
        if (types[i].block == 1) continue;
        begin(&bytes, 1, 0); /* and no smaller block */
        tensor(&bytes, "x", 3, types[i].block / 2, types[i].number, 0);
        data(&bytes, 4096);
        assert_int_equal(open_bytes(&allocator, &bytes, PV_LOAD_MAP, &source, NULL), PV_BAD_FILE);
        tf_free(&bytes);
    }
    for (uint32_t number = 0; number < 64; number++) {
        tf_bytes bytes = {0};
        pv_source *source;
        begin(&bytes, 1, 0);
        tensor(&bytes, "x", 0, 256, number, 0);
        data(&bytes, 0);
        pv_status status = open_bytes(&allocator, &bytes, PV_LOAD_MAP, &source, NULL);
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
    begin(&bytes, 0, 1);
    meta(&bytes, "zero", 5, 0, 4);
    assert_int_equal(open_bytes(&allocator, &bytes, PV_LOAD_MAP, &source, NULL), PV_OK);
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
    good(&bytes);
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
    pv_status status = open_bytes(&allocator, bytes, load, &source, NULL);
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
    good(&bytes);
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
    good(&bytes);
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

static void memory_goes_with_what_a_file_holds_not_with_what_it_states(void **state)
{
    static const struct {
        void (*build)(tf_bytes *bytes);
    } liars[] = {{fewer_metas}, {fewer_tensors}, {string_beyond_the_file}, {array_beyond_the_file}, {strings_beyond_the_file}};
    (void)state;
    for (size_t i = 0; i < 2 * (sizeof liars / sizeof *liars); i++) {
        tf_bytes bytes = {0};
        rt_memory memory;
        pv_source *source;
        rt_memory_init(&memory, 0);
        liars[i / 2].build(&bytes);
        assert_int_equal(open_bytes(&memory.allocator, &bytes, loads[i % 2], &source, NULL), PV_BAD_FILE);
        assert_true(memory.calls < 20);
        assert_int_equal(memory.live, 0);
        tf_free(&bytes);
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
        cmocka_unit_test(files_that_break_a_rule_are_refused_by_name_and_place),
        cmocka_unit_test(odd_files_are_read),
        cmocka_unit_test(every_type_is_known_by_name_and_size),
        cmocka_unit_test(zero_is_an_integer_of_at_least_zero),
        cmocka_unit_test(the_extension_is_not_needed),
        cmocka_unit_test(no_beginning_of_a_file_is_a_file),
        cmocka_unit_test(any_flipped_bit_is_refused_or_harmless),
        cmocka_unit_test(every_failing_allocation_is_an_error_without_a_leak),
        cmocka_unit_test(memory_goes_with_what_a_file_holds_not_with_what_it_states),
    };
    return cmocka_run_group_tests(tests, tf_make_folder, tf_remove_folder);
}
