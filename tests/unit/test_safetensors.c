/* The SafeTensors reader: files of the reference writer (data/, made by make_safetensors.py), and files that break every rule.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "format/source.h"
#include "support_files.h"
#include "support_runtime.h"

#define SMALL PV_TEST_DATA "/unit/data/small.safetensors"
#define SHARDS PV_TEST_DATA "/unit/data/shards"

static const pv_load loads[] = {PV_LOAD_MAP, PV_LOAD_COPY};

/* ---- Good files ---- */

static void tensors_are_found_with_their_shapes_and_places(void **state)
{
    static const struct {
        const char *name, *type;
        pv_layout layout;
        uint32_t dims;
        uint64_t dim[4], rows, cols, row_bytes, bytes, offset;
    } wanted[] = {
        {"model.embed_tokens.weight", "F32", PV_LAYOUT_F32, 2, {6, 4}, 6, 4, 16, 96, 536},
        {"none", "F32", PV_LAYOUT_F32, 2, {0, 4}, 0, 4, 16, 0, 632},
        {"scalar", "F32", PV_LAYOUT_F32, 0, {0}, 1, 1, 4, 4, 632},
        {"packed", "U32", PV_LAYOUT_COUNT, 2, {2, 3}, 2, 3, 12, 24, 636},
        {"model.norm.weight", "F16", PV_LAYOUT_F16, 1, {4}, 1, 4, 8, 8, 660},
        {"video", "F16", PV_LAYOUT_F16, 4, {6, 1, 2, 2}, 12, 2, 4, 48, 668}, /* 2 x 3 x 1 x 2 x 2 in the file */
        {"mask", "BOOL", PV_LAYOUT_COUNT, 1, {3}, 1, 3, 3, 3, 716},
    };
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    for (int l = 0; l < 2; l++) {
        pv_source *source = NULL;
        pv_error error;
        assert_int_equal(pv_source_open(&allocator, SMALL, loads[l], &source, &error), PV_OK);
        assert_int_equal(pv_source_get_kind(source), PV_SOURCE_SAFETENSORS);
        assert_string_equal(pv_source_file_name(source, 0), "small.safetensors");
        assert_int_equal(pv_source_meta_count(source), 0);
        assert_null(pv_source_meta(source, "format"));
        assert_int_equal(pv_source_tensor_count(source), sizeof wanted / sizeof *wanted);
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
            const pv_source_tensor *tensor = pv_source_find(source, wanted[i].name);
            assert_non_null(tensor);
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
        float rows[8];
        const pv_source_tensor *embedding = pv_source_find(source, "model.embed_tokens.weight");
        assert_int_equal(pv_source_read_rows(source, embedding, 4, 2, rows, &error), PV_OK);
        for (int i = 0; i < 8; i++) assert_true(rows[i] == (float)(16 + i) / 8);
        assert_int_equal(pv_source_tensor_data(source, embedding) != NULL, loads[l] == PV_LOAD_MAP);
        pv_source_close(source);
    }
}

static void a_folder_of_shards_is_one_model(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    for (int l = 0; l < 4; l++) {
        pv_source *source = NULL;
        pv_error error;
        assert_int_equal(pv_source_open(&allocator, l / 2 ? SHARDS "/" : SHARDS, loads[l % 2], &source, &error), PV_OK);
        assert_int_equal(pv_source_file_count(source), 2);
        assert_int_equal(pv_source_tensor_count(source), 3);
        for (const char *name = "abc"; *name; name++) {
            char full[] = "?.weight";
            float weights[4];
            full[0] = *name;
            const pv_source_tensor *tensor = pv_source_find(source, full);
            assert_non_null(tensor);
            assert_string_equal(pv_source_file_name(source, tensor->file),
                                *name == 'b' ? "model-00002-of-00002.safetensors" : "model-00001-of-00002.safetensors");
            assert_int_equal(pv_source_read_rows(source, tensor, 0, 2, weights, &error), PV_OK);
            assert_true(weights[0] == (float)*name && weights[3] == (float)*name);
        }
        pv_source_close(source);
    }
}

/* ---- Single files, from a header and so many bytes of data ---- */

static void put(const char *name, const char *header, size_t data)
{
    static const uint8_t zeros[256];
    tf_bytes bytes = {0};
    tf_number(&bytes, strlen(header), 8);
    tf_add(&bytes, header, strlen(header));
    tf_add(&bytes, zeros, data);
    tf_write(name, bytes.data, bytes.length);
    tf_free(&bytes);
}

#define T(name, type, shape, offsets)                                                                                          \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":[" shape "],\"data_offsets\":[" offsets "]}"

static void odd_files_are_read(void **state)
{
    static const struct {
        const char *header;
        size_t data, tensors;
    } cases[] = {
        {"{}", 0, 0},
        {"{}        ", 0, 0},
        {"{\"__metadata__\":{}}", 0, 0},
        {"{" T("a", "F32", "1", "0,4") "}", 4, 1},
        {"{ \"a\" :\n{\"data_offsets\":[0,4],\"shape\":[1],\"dtype\":\"F32\"}}", 4, 1},
        {"{" T("b", "F32", "1", "4,8") "," T("a", "F16", "2", "0,4") "}", 8, 2},   /* in another order */
        {"{" T("a", "U8", "3", "0,3") "," T("b", "F32", "1", "3,7") "}", 7, 2},    /* not aligned */
        {"{" T("z", "F32", "0", "4,4") "," T("a", "F32", "1", "0,4") "}", 4, 2},   /* nothing, at the end */
        {"{" T("a", "F32", "1", "0,4") "," T("z", "F32", "9,0", "0,0") "}", 4, 2}, /* nothing, at the start */
        {"{" T("a", "F4", "3,2", "0,3") "}", 3, 1},
        {"{" T("a", "F6_E2M3", "4", "0,3") "," T("b", "F6_E3M2", "4", "3,6") "}", 6, 2},
        {"{" T("a", "I64", "2", "0,16") "," T("b", "C64", "1", "16,24") "," T("c", "F8_E8M0", "8", "24,32") "}", 32, 3},
        {"{\"\\u0061\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, 1},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4],\"note\":{\"x\":[1]}}}", 4, 1},
        {"{" T("a", "F32", "1,1,1,1,1,1,1,1,1", "0,4") "}", 4, 1},
    };
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    for (size_t i = 0; i < 2 * (sizeof cases / sizeof *cases); i++) {
        pv_source *source = NULL;
        pv_error error = {0};
        put("odd.safetensors", cases[i / 2].header, cases[i / 2].data);
        if (pv_source_open(&allocator, tf_path("odd.safetensors"), loads[i % 2], &source, &error) != PV_OK)
            fail_msg("%s: %s", cases[i / 2].header, error.message);
        assert_int_equal(pv_source_tensor_count(source), cases[i / 2].tensors);
        pv_source_close(source);
    }
    pv_source *source;
    pv_error error;
    uint8_t row[8];
    put("odd.safetensors", "{" T("a", "F4", "2,3", "0,3") "}", 3); /* its second row starts inside a byte */
    assert_int_equal(pv_source_open(&allocator, tf_path("odd.safetensors"), PV_LOAD_MAP, &source, NULL), PV_OK);
    assert_int_equal(pv_source_read_rows(source, pv_source_find(source, "a"), 0, 1, row, &error), PV_INVALID_ARGUMENT);
    pv_source_close(source);
}

#define ANY (-1)

static void headers_that_break_a_rule_are_refused_by_name_and_place(void **state)
{
    static const struct {
        const char *header;
        size_t data;
        pv_status status;
        int offset;
        const char *message;
    } bad[] = {
        {"", 0, PV_BAD_FILE, 8, "does not start with {"},
        {" {}", 0, PV_BAD_FILE, 8, "does not start with {"},
        {"[]", 0, PV_BAD_FILE, 8, "does not start with {"},
        {"{}\n", 0, PV_BAD_FILE, 10, "found byte 0x0a behind the header's object, wanted spaces"},
        {"{}  x", 0, PV_BAD_FILE, 12, "found byte 0x78"},
        {"{} {}", 0, PV_BAD_FILE, 11, "found byte 0x7b"},
        {"{\"a\":1}", 0, PV_BAD_FILE, 13, "found a number, wanted an object"},
        {"{\"a\":{}}", 0, PV_BAD_FILE, 9, "tensor a: dtype, shape or data_offsets is missing"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, PV_BAD_FILE, 9, "is missing"},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, PV_BAD_FILE, 9, "is missing"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, PV_BAD_FILE, 9, "is missing"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"shape\":[1],\"data_offsets\":[0,4]}}", 4, PV_BAD_FILE, 9, "stands twice"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, PV_BAD_FILE, 9,
         "stands twice"},
        {"{" T("a", "F32", "1", "0,4") "," T("a", "F32", "1", "4,8") "}", 8, PV_BAD_FILE, 62, "two tensors named a"},
        {"{" T("a", "F32", "1", "0,4") "," T("\\u0061", "F32", "1", "4,8") "}", 8, PV_BAD_FILE, 62, "two tensors named a"},
        {"{" T("", "F32", "1", "0,4") "}", 4, PV_BAD_FILE, 9, "name is empty"},
        {"{" T("a\\u0000b", "F32", "1", "0,4") "}", 4, PV_BAD_FILE, 9, "holds NUL"},
        {"{\"__metadata__\":{\"a\":1}}", 0, PV_BAD_FILE, 29, "found a number, wanted a string"},
        {"{\"__metadata__\":[]}", 0, PV_BAD_FILE, 24, "found an array, wanted an object"},
        {"{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, PV_BAD_FILE, 33, "two values of a in __metadata__"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, PV_BAD_FILE, 27, "two values of __metadata__"},
        {"{" T("a", "Q4_0", "32", "0,18") "}", 18, PV_UNSUPPORTED, 22, "tensor a has dtype Q4_0"},
        {"{" T("a", "f32", "1", "0,4") "}", 4, PV_UNSUPPORTED, 22, "tensor a has dtype f32"},
        {"{\"a\":{\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, PV_BAD_FILE, 22, "wanted a string"},
        {"{" T("a", "F32", "-1", "0,4") "}", 4, PV_BAD_FILE, 9, "a dimension is negative"},
        {"{" T("a", "F32", "1.0", "0,4") "}", 4, PV_BAD_FILE, 37, "found 1.0, wanted an integer"},
        {"{" T("a", "F32", "\"1\"", "0,4") "}", 4, PV_BAD_FILE, 37, "found a string"},
        {"{" T("a", "F32", "99999999999999999999", "0,4") "}", 4, PV_BAD_FILE, 37, "wanted an integer"},
        {"{" T("a", "F32", "4294967296,4294967296", "0,0") "}", 0, PV_BAD_FILE, 9, "the product of its dimensions overflows"},
        {"{" T("a", "F32", "4611686018427387904,4", "0,0") "}", 0, PV_BAD_FILE, 9, "the product of its dimensions overflows"},
        {"{" T("a", "F32", "4611686018427387904", "0,0") "}", 0, PV_BAD_FILE, 9, "its size overflows"},
        {"{" T("a", "F4", "3", "0,1") "}", 1, PV_BAD_FILE, 9, "no whole number of bytes"},
        {"{" T("a", "F6_E2M3", "2", "0,1") "}", 1, PV_BAD_FILE, 9, "no whole number of bytes"},
        {"{" T("a", "F32", "1", "0") "}", 4, PV_BAD_FILE, 57, "found ], wanted a number"},
        {"{" T("a", "F32", "1", "0,4,8") "}", 4, PV_BAD_FILE, ANY, "found a number, wanted ]"},
        {"{" T("a", "F32", "1", "-4,0") "}", 4, PV_BAD_FILE, ANY, "found -4, wanted at least 0"},
        {"{" T("a", "F32", "1", "4,0") "}", 4, PV_BAD_FILE, 9, "data_offsets 4 to 0"},
        {"{" T("a", "F32", "1", "0,3") "}", 4, PV_BAD_FILE, 9, "wanted 4 bytes"},
        {"{" T("a", "F32", "2", "0,4") "}", 4, PV_BAD_FILE, 9, "data_offsets 0 to 4, wanted 8 bytes"},
        {"{" T("a", "F32", "2", "0,8") "}", 4, PV_BAD_FILE, 9, "inside the 4 bytes of data"},
        {"{" T("a", "F32", "1", "9223372036854775800,9223372036854775804") "}", 4, PV_BAD_FILE, 9,
         "inside the 4 bytes of data"},
        {"{" T("a", "F32", "1", "0,4") "}", 5, PV_BAD_FILE, ANY, "a ends at offset 66, wanted the file's end at 67"},
        {"{}", 1, PV_BAD_FILE, 10, "the header ends at offset 10, wanted the file's end at 11"},
        {"{" T("a", "F32", "1", "4,8") "}", 8, PV_BAD_FILE, ANY, "tensor a starts at offset 66, wanted 62"},
        {"{" T("a", "U8", "2", "0,2") "," T("b", "U8", "2", "3,5") "}", 5, PV_BAD_FILE, ANY, "tensor b starts at offset"},
        {"{" T("b", "U8", "2", "1,3") "," T("a", "U8", "2", "0,2") "}", 3, PV_BAD_FILE, ANY, "inside a"},
        {"{" T("a", "U8", "2", "0,2") "," T("b", "U8", "2", "0,2") "}", 2, PV_BAD_FILE, ANY, "inside a"},
        {"{" T("a", "U8", "4", "0,4") "," T("z", "U8", "0", "2,2") "}", 4, PV_BAD_FILE, ANY, "tensor z starts at offset"},
        {"{\"__metadata__\":{\"pensieve.layout.a\":\"Q9\"}," T("a", "U8", "1,18", "0,18") "}", 18, PV_UNSUPPORTED, 45, "tensor a has the layout Q9"},
        {"{\"__metadata__\":{\"pensieve.layout.a\":\"F16\"}," T("a", "U8", "1,18", "0,18") "}", 18, PV_UNSUPPORTED, 45, "tensor a has the layout F16"},
        {"{\"__metadata__\":{\"pensieve.layout.b\":\"Q4_0\"}," T("a", "U8", "1,18", "0,18") "}", 18, PV_BAD_FILE, 45, "that of tensor b, wanted one of U8"},
        {"{\"__metadata__\":{\"pensieve.layout.a\":\"Q4_0\"}," T("a", "I8", "1,18", "0,18") "}", 18, PV_BAD_FILE, 45, "that of tensor a, wanted one of U8"},
        {"{\"__metadata__\":{\"pensieve.layout.a\":\"Q4_0\"}," T("a", "U8", "18", "0,18") "}", 18, PV_BAD_FILE, 45, "that of tensor a, wanted one of U8"},
        {"{\"__metadata__\":{\"pensieve.layout.a\":\"Q4_0\"}," T("a", "U8", "1,19", "0,19") "}", 19, PV_BAD_FILE, 45, "in rows of whole blocks of 18 bytes"},
        {"{\"__metadata__\":{\"pensieve.layout.a\":4}," T("a", "U8", "1,18", "0,18") "}", 18, PV_BAD_FILE, 45, "found a number, wanted a string"},
        {"{\"a\xff\":1}", 0, PV_BAD_FILE, 11, "valid UTF-8"},
        {"{\"a\":", 0, PV_BAD_FILE, 13, "text ends"},
    };
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    for (size_t i = 0; i < 2 * (sizeof bad / sizeof *bad); i++) {
        pv_source *source = NULL;
        pv_error error = {0};
        put("bad.safetensors", bad[i / 2].header, bad[i / 2].data);
        pv_status status = pv_source_open(&allocator, tf_path("bad.safetensors"), loads[i % 2], &source, &error);
        if (status != bad[i / 2].status || !strstr(error.message, bad[i / 2].message))
            fail_msg("%s: %s: %s", bad[i / 2].header, pv_status_name(status), error.message);
        if (bad[i / 2].offset != ANY && error.offset != (uint64_t)bad[i / 2].offset)
            fail_msg("%s: offset %d: %s", bad[i / 2].header, (int)error.offset, error.message);
        assert_string_equal(error.op, "bad.safetensors");
        assert_null(source);
    }
}

/* Before its tensor or behind it, metadata say of which layout its bytes are rows. */
static void metadata_tell_of_layouts(void **state)
{
    static const char *const headers[] = {"{\"__metadata__\":{\"pensieve.layout.a\":\"Q4_0\",\"x\":\"\"}," T("a", "U8", "2,3,36", "0,216") "}",
                                          "{" T("a", "U8", "2,3,36", "0,216") ",\"__metadata__\":{\"pensieve.layout.a\":\"Q4_0\"}}"};
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        pv_source *source = NULL;
        pv_error error = {0};
        put("layout.safetensors", headers[i / 2], 216);
        if (pv_source_open(&allocator, tf_path("layout.safetensors"), loads[i % 2], &source, &error) != PV_OK) fail_msg("%s", error.message);
        const pv_source_tensor *tensor = pv_source_find(source, "a");
        assert_int_equal(tensor->layout, PV_LAYOUT_Q4_0);
        assert_string_equal(tensor->type_name, "Q4_0");
        assert_int_equal(tensor->rows, 6);
        assert_int_equal(tensor->cols, 64);
        assert_int_equal(tensor->dim[2], 64);
        assert_int_equal(tensor->row_bytes, 36);
        assert_int_equal(tensor->bytes, 216);
        pv_source_close(source);
    }
}

/* And in which order their columns stand. */
static void metadata_tell_of_orders(void **state)
{
    static const struct {
        const char *columns, *type, *name;
        uint32_t first; /* 1, or what is wrong */
        const char *message;
    } cases[] = {{"32", "I32", "o", 1, NULL},          {"32", "I32", "o", 31, "wanted I32 with each of its columns once"},
                 {"32", "I32", "p", 1, "p is to be the order of the columns of a"}, {"32", "F32", "o", 1, "wanted I32"},
                 {"16", "I32", "o", 1, "wanted I32"}, {"2,16", "I32", "o", 1, "wanted I32"}, {"32", "I32", "a", 1, "wanted I32"},
                 {"32", "I32", "o", 32, "each of its columns once"}, {"32", "I32", "o", UINT32_MAX, "each of its columns once"}};
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    for (size_t i = 0; i < 2 * (sizeof cases / sizeof *cases); i++) {
        const bool half = strcmp(cases[i / 2].columns, "16") == 0;
        char header[512];
        tf_bytes bytes = {0};
        pv_source *source = NULL;
        pv_error error = {0};
        snprintf(header, sizeof header, "{\"__metadata__\":{\"pensieve.order.a\":\"%s\",\"pensieve.layout.a\":\"Q4_0\"},"
                 "\"a\":{\"dtype\":\"U8\",\"shape\":[2,18],\"data_offsets\":[0,36]},\"o\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[36,%d]}}",
                 cases[i / 2].name, cases[i / 2].type, cases[i / 2].columns, half ? 100 : 164);
        tf_number(&bytes, strlen(header), 8);
        tf_add(&bytes, header, strlen(header));
        tf_number(&bytes, 0, 36);
        for (uint32_t c = 0; c < (half ? 16u : 32u); c++) tf_number(&bytes, c == 0 ? cases[i / 2].first : c ^ 1, 4);
        tf_write("order.safetensors", bytes.data, bytes.length);
        tf_free(&bytes);
        const pv_status status = pv_source_open(&allocator, tf_path("order.safetensors"), loads[i % 2], &source, &error);
        if (cases[i / 2].message) {
            if (status != PV_BAD_FILE || !strstr(error.message, cases[i / 2].message)) fail_msg("%s: %s", header, error.message);
            continue;
        }
        assert_int_equal(status, PV_OK);
        assert_int_equal(pv_source_tensor_count(source), 1); /* what tells it is no tensor of the model's */
        assert_null(pv_source_find(source, "o"));
        for (uint32_t c = 0; c < 32; c++) assert_int_equal(pv_source_find(source, "a")->order[c], c ^ 1);
        pv_source_close(source);
    }
}

static void depth_and_name_length_are_bounded(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    pv_source *source;
    pv_error error;
    tf_bytes header = {0};
    (void)state;
    tf_add(&header, "{\"a\":{\"x\":", 10);
    for (int i = 0; i < 100; i++) tf_add(&header, "[", 1);
    tf_add(&header, "", 1);
    put("deep.safetensors", (const char *)header.data, 0);
    assert_int_equal(pv_source_open(&allocator, tf_path("deep.safetensors"), PV_LOAD_MAP, &source, &error), PV_BAD_FILE);
    assert_non_null(strstr(error.message, "nested deeper than 64"));
    tf_free(&header);

    tf_add(&header, "{\"", 2);
    for (int i = 0; i < 65536; i++) tf_add(&header, "n", 1);
    tf_add(&header, "\":{}}", 6);
    put("name.safetensors", (const char *)header.data, 0);
    assert_int_equal(pv_source_open(&allocator, tf_path("name.safetensors"), PV_LOAD_MAP, &source, &error), PV_BAD_FILE);
    assert_non_null(strstr(error.message, "longer than 65535 bytes"));
    tf_free(&header);
}

static void header_lengths_beyond_the_file_are_refused(void **state)
{
    static const struct {
        uint64_t length;
        size_t size;
        const char *message;
    } cases[] = {
        {0, 0, "has 0 bytes, wanted at least 8"},
        {0, 7, "has 7 bytes, wanted at least 8"},
        {0, 8, "does not start with {"},
        {1, 8, "a header of 1 bytes"},
        {100000001, 8, "a header of 100000001 bytes, wanted at most 100000000"},
        {UINT64_MAX, 100, "a header of 18446744073709551615 bytes"},
        {UINT64_MAX - 7, 100, "a header of 18446744073709551608 bytes"},
        {93, 100, "a header of 93 bytes"},
    };
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    for (size_t i = 0; i < 2 * (sizeof cases / sizeof *cases); i++) {
        pv_source *source;
        pv_error error;
        uint8_t bytes[100];
        memset(bytes, '{', sizeof bytes);
        for (int b = 0; b < 8; b++) bytes[b] = (uint8_t)(cases[i / 2].length >> 8 * b);
        tf_write("length.safetensors", bytes, cases[i / 2].size);
        assert_int_equal(pv_source_open(&allocator, tf_path("length.safetensors"), loads[i % 2], &source, &error), PV_BAD_FILE);
        if (!strstr(error.message, cases[i / 2].message)) fail_msg("%s", error.message);
    }
}

/* ---- Folders ---- */

static void empty_the_folder(void)
{
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json", "1.safetensors", "2.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unlink(tf_path(names[i]));
}

static void an_index_that_lies_is_refused(void **state)
{
    static const struct {
        const char *index;
        pv_status status;
        const char *message;
    } cases[] = {
        {"{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"3.safetensors\"}}", PV_NOT_FOUND,
         "names the shard 3.safetensors, which is missing"},
        {"{\"weight_map\":{\"a\":\"../1.safetensors\"}}", PV_BAD_FILE, "found ../1.safetensors, wanted the plain name"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", PV_BAD_FILE, "wanted the plain name"},
        {"{\"weight_map\":{\"a\":\"sub/1.safetensors\"}}", PV_BAD_FILE, "wanted the plain name"},
        {"{\"weight_map\":{\"a\":\"sub\\\\1.safetensors\"}}", PV_BAD_FILE, "wanted the plain name"},
        {"{\"weight_map\":{\"a\":\"1.safetensors\\u0000.txt\"}}", PV_BAD_FILE, "wanted the plain name"},
        {"{\"weight_map\":{\"a\":\"..\"}}", PV_BAD_FILE, "wanted the plain name"},
        {"{\"weight_map\":{\"a\":\"\"}}", PV_BAD_FILE, "wanted the plain name"},
        {"{\"weight_map\":{\"a\":1}}", PV_BAD_FILE, "found a number, wanted a string"},
        {"{\"weight_map\":{\"a\":\"1.safetensors\",\"a\":\"1.safetensors\"}}", PV_BAD_FILE, "two places of tensor a"},
        {"{\"weight_map\":{\"c\":\"1.safetensors\"}}", PV_BAD_FILE, "names tensor c in 1.safetensors, but it is in no shard"},
        {"{\"weight_map\":{\"b\":\"1.safetensors\",\"a\":\"2.safetensors\"}}", PV_BAD_FILE,
         "names tensor b in 1.safetensors, but it is in 2.safetensors"},
        {"{\"weight_map\":{\"a\":\"1.safetensors\"},\"weight_map\":{}}", PV_BAD_FILE, "two values of weight_map"},
        {"{\"weight_map\":{}}", PV_BAD_FILE, "found no weight_map with tensors"},
        {"{\"metadata\":{}}", PV_BAD_FILE, "found no weight_map with tensors"},
        {"[]", PV_BAD_FILE, "found an array, wanted an object"},
        {"{\"weight_map\":[]}", PV_BAD_FILE, "found an array, wanted an object"},
        {"{\"weight_map\":{\"a\":\"1.safetensors\"}} x", PV_BAD_FILE, "wanted end of text"},
        {"", PV_BAD_FILE, "text ends"},
    };
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    empty_the_folder();
    put("1.safetensors", "{" T("a", "F32", "1", "0,4") "}", 4);
    put("2.safetensors", "{" T("b", "F32", "1", "0,4") "}", 4);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pv_source *source = NULL;
        pv_error error = {0};
        tf_write("model.safetensors.index.json", cases[i].index, strlen(cases[i].index));
        pv_status status = pv_source_open(&allocator, tf_path(""), PV_LOAD_MAP, &source, &error);
        if (status != cases[i].status || !strstr(error.message, cases[i].message))
            fail_msg("%s: %s: %s", cases[i].index, pv_status_name(status), error.message);
        assert_null(source);
    }
}

static void two_shards_may_not_hold_one_tensor(void **state)
{
    static const char index[] = "{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"}}";
    pv_allocator allocator = pv_allocator_default();
    pv_source *source;
    pv_error error;
    (void)state;
    empty_the_folder();
    put("1.safetensors", "{" T("a", "F32", "1", "0,4") "}", 4);
    put("2.safetensors", "{" T("b", "F32", "1", "0,4") "," T("a", "F32", "1", "4,8") "}", 8);
    tf_write("model.safetensors.index.json", index, strlen(index));
    assert_int_equal(pv_source_open(&allocator, tf_path(""), PV_LOAD_MAP, &source, &error), PV_BAD_FILE);
    assert_non_null(strstr(error.message, "two tensors named a"));
    assert_string_equal(error.op, "2.safetensors");
    put("2.safetensors", "{" T("b", "F32", "1", "0,8") "}", 8); /* a shard that breaks a rule is named */
    assert_int_equal(pv_source_open(&allocator, tf_path(""), PV_LOAD_MAP, &source, &error), PV_BAD_FILE);
    assert_string_equal(error.op, "2.safetensors");
}

static void a_folder_with_one_file_needs_no_index(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    pv_source *source;
    pv_error error;
    const char *text;
    size_t length;
    (void)state;
    empty_the_folder();
    assert_int_equal(pv_source_open(&allocator, tf_path(""), PV_LOAD_MAP, &source, &error), PV_NOT_FOUND);
    assert_non_null(strstr(error.message, "holds neither model.safetensors nor model.safetensors.index.json"));
    put("model.safetensors", "{" T("a", "F32", "1", "0,4") "}", 4);
    tf_write("model.safetensors.index.json", "{\"weight_map\":{\"a\":\"model.safetensors\"}}", 41);
    tf_write("tokenizer.json", "{\"t\":1}", 7);
    assert_int_equal(pv_source_open(&allocator, tf_path(""), PV_LOAD_COPY, &source, &error), PV_OK);
    assert_int_equal(pv_source_file_count(source), 1);
    assert_int_equal(pv_source_tensor_count(source), 1);
    assert_int_equal(pv_source_text(source, "tokenizer.json", &text, &length, &error), PV_OK);
    assert_string_equal(text, "{\"t\":1}");
    pv_source_close(source);
    assert_int_equal(chmod(tf_path("model.safetensors"), 0), 0);
    if (geteuid() != 0) { /* root may read everything */
        assert_int_equal(pv_source_open(&allocator, tf_path(""), PV_LOAD_MAP, &source, &error), PV_IO);
        assert_non_null(strstr(error.message, "permission denied"));
    }
    chmod(tf_path("model.safetensors"), 0600);
}

/* ---- Everything at once ---- */

static bool open_and_check(const uint8_t *bytes, size_t length, pv_load load)
{
    pv_allocator allocator = pv_allocator_default();
    pv_source *source;
    tf_write("any.safetensors", bytes, length);
    pv_status status = pv_source_open(&allocator, tf_path("any.safetensors"), load, &source, NULL);
    if (status != PV_OK) {
        assert_true(status == PV_BAD_FILE || status == PV_UNSUPPORTED);
        return false;
    }
    for (size_t i = 0; i < pv_source_tensor_count(source); i++) {
        const pv_source_tensor *tensor = pv_source_tensor_at(source, i);
        assert_true(pv_inside(tensor->offset, tensor->bytes, length));
    }
    pv_source_close(source);
    return true;
}

static void no_beginning_of_a_file_is_a_file(void **state)
{
    size_t length;
    uint8_t *bytes = tf_read(SMALL, &length);
    (void)state;
    for (size_t cut = 0; cut < length; cut++)
        if (open_and_check(bytes, cut, loads[cut % 2])) fail_msg("%zu of %zu bytes are a file", cut, length);
    assert_true(open_and_check(bytes, length, PV_LOAD_MAP));
    free(bytes);
}

static void any_flipped_bit_is_refused_or_harmless(void **state)
{
    size_t length, opened = 0, header = 536;
    uint8_t *bytes = tf_read(SMALL, &length);
    (void)state;
    for (size_t bit = 0; bit < 8 * header; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        opened += open_and_check(bytes, length, loads[bit % 2]);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_true(opened > 0 && opened < 2 * header); /* names may change, most of the rest may not */
    free(bytes);
}

static void every_failing_allocation_is_an_error_without_a_leak(void **state)
{
    static const char *const paths[] = {SMALL, SHARDS, PV_TEST_DATA "/fuzz/corpus/safetensors/rows-in-order"};
    (void)state;
    for (size_t p = 0; p < 6; p++) {
        pv_status status = PV_OUT_OF_MEMORY;
        uint64_t fail_at = 0;
        while (status != PV_OK) {
            rt_memory memory;
            pv_source *source = NULL;
            pv_error error = {0};
            rt_memory_init(&memory, ++fail_at);
            status = pv_source_open(&memory.allocator, paths[p / 2], loads[p % 2], &source, &error);
            assert_int_equal(error.status, status);
            assert_true(status == PV_OK || status == PV_OUT_OF_MEMORY);
            if (status == PV_OK) pv_source_close(source);
            assert_int_equal(memory.live, 0);
        }
        assert_true(fail_at > 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_found_with_their_shapes_and_places),
        cmocka_unit_test(a_folder_of_shards_is_one_model),
        cmocka_unit_test(odd_files_are_read),
        cmocka_unit_test(headers_that_break_a_rule_are_refused_by_name_and_place),
        cmocka_unit_test(metadata_tell_of_layouts),
        cmocka_unit_test(metadata_tell_of_orders),
        cmocka_unit_test(depth_and_name_length_are_bounded),
        cmocka_unit_test(header_lengths_beyond_the_file_are_refused),
        cmocka_unit_test(an_index_that_lies_is_refused),
        cmocka_unit_test(two_shards_may_not_hold_one_tensor),
        cmocka_unit_test(a_folder_with_one_file_needs_no_index),
        cmocka_unit_test(no_beginning_of_a_file_is_a_file),
        cmocka_unit_test(any_flipped_bit_is_refused_or_harmless),
        cmocka_unit_test(every_failing_allocation_is_an_error_without_a_leak),
    };
    return cmocka_run_group_tests(tests, tf_make_folder, tf_remove_folder);
}
