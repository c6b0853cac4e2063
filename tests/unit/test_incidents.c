/* What other readers of model files fell for, each by its number or its story: refused by name, mapped or read, with little memory. What
 * befell tokenizers and templates is in their tests, what befell downloads in e2e/test_cli_hub.py; servers of calls (CVE-2024-42477 to
 * 42479, CVE-2026-34159, CVE-2026-118375) and files of states (CVE-2026-43629) are nothing that there is here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support_gguf.h"

#define FEW_BYTES ((size_t)256 << 10) /* what reading a file of a few bytes may take, whatever it states */

static const pv_load loads[] = {PV_LOAD_MAP, PV_LOAD_COPY};

typedef struct purse {
    size_t used, most;
} purse;

static void *count_bytes(void *user, void *pointer, size_t size)
{
    purse *p = user;
    size_t *block = pointer ? (size_t *)pointer - 2 : NULL;
    if (block) p->used -= *block;
    if (size == 0) {
        free(block);
        return NULL;
    }
    p->used += size;
    if (p->used > p->most) p->most = p->used;
    block = realloc(block, size + 2 * sizeof *block);
    if (block) *block = size;
    return block ? block + 2 : NULL;
}

static void refused_file(const char *name, pv_status status, const char *message)
{
    for (size_t l = 0; l < 2; l++) {
        purse p = {0};
        const pv_allocator allocator = {count_bytes, &p};
        pv_source *source = NULL;
        pv_error error = {0};
        const pv_status found = pv_source_open(&allocator, tf_path(name), loads[l], &source, &error);
        if (found != status || !strstr(error.message, message))
            fail_msg("%s: %s, wanted %s: %s", pv_status_name(found), error.message, pv_status_name(status), message);
        assert_null(source);
        assert_int_equal(p.used, 0);
        assert_true(p.most < FEW_BYTES);
    }
}

/* The file put together in `bytes`, which are freed. */
static void refused_gguf(tf_bytes *bytes, pv_status status, const char *message)
{
    tf_write("test.gguf", bytes->data, bytes->length);
    refused_file("test.gguf", status, message);
    tf_free(bytes);
}

/* One tensor, at the start of its data. */
static void refused_tensor(uint64_t rows, uint64_t cols, uint32_t type, uint64_t offset, const char *message)
{
    tf_bytes b = {0};
    tg_begin(&b, 1, 0);
    tg_tensor(&b, "x", rows, cols, type, offset);
    tg_data(&b, 64);
    refused_gguf(&b, PV_BAD_FILE, message);
}

enum { I8 = 24, I64 = 27, F32 = 0 };

/* ---- GGUF: sizes ---- */

/* llama.cpp: the dimensions were multiplied unchecked, and the heap written beyond what came out. */
static void cve_2024_21802_dimensions_whose_product_overflows(void **state)
{
    (void)state;
    refused_tensor(1ull << 32, 1ull << 32, F32, 0, "overflow");
    refused_tensor((1ull << 32) + 1, 1ull << 32, I8, 0, "overflow");
    refused_tensor(1ull << 62, 4, F32, 0, "overflow");
    refused_tensor(UINT64_MAX, UINT64_MAX, I8, 0, "overflow");
}

/* The number of an array's strings times the size of one came out small. */
static void cve_2024_21825_array_length_whose_bytes_overflow(void **state)
{
    static const uint64_t counts[] = {(1ull << 60) + 1, (1ull << 61) + 1, UINT64_MAX, 1ull << 28};
    (void)state;
    for (uint32_t element = 8; element <= 10; element += 2) { /* strings, u64 */
        for (size_t i = 0; i < 4; i++) {
            tf_bytes b = {0};
            tg_begin(&b, 0, 1);
            tg_meta(&b, "a.b", 9, element, 4);
            tf_number(&b, counts[i], 8);
            tg_text(&b, "one");
            refused_gguf(&b, PV_BAD_FILE, "elements, the limit is 134217728");
        }
    }
}

/* The number of tensors times the size of a record came out small. */
static void cve_2024_21836_tensor_count_whose_table_overflows(void **state)
{
    static const uint64_t counts[] = {UINT64_MAX, (1ull << 58) + 1, 1ull << 32, 262145};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        tf_bytes b = {0};
        tg_begin(&b, counts[i], 0);
        tg_tensor(&b, "x", 1, 8, F32, 0);
        refused_gguf(&b, PV_BAD_FILE, "tensors, the limit is 262144");
    }
}

/* The length of a string and its NUL came out as no bytes at all. */
static void cve_2024_23496_string_length_that_wraps(void **state)
{
    static const uint64_t lengths[] = {UINT64_MAX, UINT64_MAX - 7, (64u << 20) + 1};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        tf_bytes b = {0};
        tg_begin(&b, 0, 1);
        tg_meta(&b, "a.b", 8, lengths[i], 8);
        refused_gguf(&b, PV_BAD_FILE, "bytes, the limit is 67108864");
        tg_begin(&b, 0, 1); /* the key's */
        tf_number(&b, lengths[i], 8);
        refused_gguf(&b, PV_BAD_FILE, "bytes, the limit is 65535");
        tg_begin(&b, 1, 0); /* a tensor's name's */
        tf_number(&b, lengths[i], 8);
        refused_gguf(&b, PV_BAD_FILE, "bytes, the limit is 64");
    }
}

/* The number of key-values times the size of a record came out small. */
static void cve_2024_23605_key_value_count_whose_table_overflows(void **state)
{
    static const uint64_t counts[] = {UINT64_MAX, (1ull << 60) + 1, 1ull << 32, 65537};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        tf_bytes b = {0};
        tg_begin(&b, 0, counts[i]);
        tg_meta(&b, "a.b", 4, 7, 4);
        refused_gguf(&b, PV_BAD_FILE, "key-values, the limit is 65536");
    }
}

/* What failed to be read was cleaned up as if it had been: every beginning of a file. */
static void cve_2024_41130_file_that_ends_in_its_tables(void **state)
{
    tf_bytes b = {0};
    (void)state;
    tg_good(&b);
    for (size_t length = 0; length < 125; length++) {
        tf_write("test.gguf", b.data, length);
        refused_file("test.gguf", PV_BAD_FILE, "found the file's end");
    }
    tf_free(&b);
}

/* Four overflows in one sum, found one after the other as each was mended. First: the sizes of all tensors together. */
static void cve_2025_53630_sizes_whose_sum_wraps(void **state)
{
    tf_bytes b = {0};
    (void)state;
    tg_begin(&b, 4, 0);
    for (uint64_t i = 0; i < 4; i++) tg_tensor(&b, (char[]){(char)('a' + i), 0}, 1, 1ull << 62, I8, i << 62);
    tg_data(&b, 64);
    refused_gguf(&b, PV_BAD_FILE, "tensor a: 4611686018427387904 bytes at 0 of the data");
}

/* Second: where a tensor begins, and its size. */
static void cve_2026_27940_offset_and_size_that_wrap(void **state)
{
    (void)state;
    refused_tensor(1, 32, F32, UINT64_MAX - 63, "do not lie in the file's");
    refused_tensor(1, 32, F32, UINT64_MAX - 159, "do not lie in the file's"); /* the start of the data added, it is 0 */
    refused_tensor(1, (1ull << 63) - 1, I8, 1ull << 63, "do not lie in the file's");
}

/* Third: the bytes of one tensor, whose weights could be counted. */
static void cve_2026_33298_bytes_of_a_tensor_that_wrap(void **state)
{
    (void)state;
    refused_tensor(1, (1ull << 62) + 8, F32, 0, "overflow"); /* 32 bytes, wrapped */
    refused_tensor(8, (1ull << 59) + 1, F32, 0, "overflow");
    refused_tensor(1, 1ull << 61, I64, 0, "overflow");
}

/* Fourth: the size once it is padded. */
static void incident_padded_size_that_wraps(void **state)
{
    (void)state;
    refused_tensor(1, (1ull << 61) - 1, I64, 0, "18446744073709551608 bytes at 0 of the data"); /* 0, padded */
}

/* Memory's contents left the house: a tensor that reaches beyond the file's end was quantized with what lay there, and sent. */
static void cve_2026_7482_tensor_that_reaches_beyond_the_file(void **state)
{
    static const char header[] = "{\"a.weight\":{\"dtype\":\"F32\",\"shape\":[1024,1024],\"data_offsets\":[0,4194304]}}";
    const pv_convert_options four = {.bits = 4, .group = 32};
    pv_runtime *runtime = NULL;
    pv_error error = {0};
    tf_bytes b = {0};
    (void)state;
    refused_tensor(1024, 1024, F32, 0, "4194304 bytes at 0 of the data");
    refused_tensor(1, 8, F32, 64, "32 bytes at 64 of the data");
    tf_number(&b, sizeof header - 1, 8);
    tf_add(&b, header, sizeof header - 1);
    tf_number(&b, 0, 64);
    tf_write("leak.safetensors", b.data, b.length);
    tf_free(&b);
    refused_file("leak.safetensors", PV_BAD_FILE, "inside the 64 bytes of data");
    assert_int_equal(pv_runtime_create(NULL, &runtime, NULL), PV_OK);
    const size_t files = tf_count();
    assert_int_equal(pv_convert(runtime, tf_path("leak.safetensors"), &four, tf_path("out"), &error), PV_BAD_FILE);
    assert_int_equal(tf_count(), files); /* nothing was written */
    pv_runtime_destroy(runtime);
}

/* ---- GGUF: ollama's reader ---- */

/* As many dimensions as a file says, of an array of four. */
static void cve_2024_12055_more_dimensions_than_there_is_room_for(void **state)
{
    static const uint32_t counts[] = {5, 255, 0x80000000, UINT32_MAX};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        tf_bytes b = {0};
        tg_begin(&b, 1, 0);
        tg_text(&b, "x");
        tf_number(&b, counts[i], 4);
        for (int d = 0; d < 8; d++) tf_number(&b, 1, 8);
        tg_data(&b, 64);
        refused_gguf(&b, PV_BAD_FILE, "dimensions, wanted 0 to 4");
    }
}

/* A key that was needed, and was not there or of another kind. */
static void cve_2025_0312_key_that_is_of_another_kind(void **state)
{
    pv_runtime *runtime = NULL;
    (void)state;
    assert_int_equal(pv_runtime_create(NULL, &runtime, NULL), PV_OK);
    for (int kind = 0; kind < 3; kind++) {
        pv_model *model = NULL;
        pv_error error = {0};
        tf_bytes b = {0};
        tg_begin(&b, 0, kind > 0);
        if (kind == 1) tg_meta(&b, "general.architecture", 4, 7, 4);
        if (kind == 2) tg_meta(&b, "general.architecture", 9, 8, 4), tf_number(&b, 0, 8);
        tf_write("test.gguf", b.data, b.length);
        tf_free(&b);
        assert_int_equal(pv_model_load(runtime, tf_path("test.gguf"), NULL, &model, &error), PV_BAD_FILE);
        if (!strstr(error.message, "general.architecture")) fail_msg("%s", error.message);
        assert_null(model);
    }
    pv_runtime_destroy(runtime);
}

/* Memory for all that a file says it has, before it is looked whether it has it. */
static void cve_2025_0315_memory_for_what_is_not_there(void **state)
{
    static const struct {
        uint32_t type, element; /* of an array */
        uint64_t count;
    } values[] = {{8, 0, 64u << 20}, {9, 8, 1u << 27}, {9, 10, 1u << 27}, {9, 0, 1u << 27}};
    tf_bytes b = {0};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        tg_begin(&b, 0, 1);
        tg_meta(&b, "a.b", values[i].type, values[i].type == 9 ? values[i].element : values[i].count, values[i].type == 9 ? 4 : 8);
        if (values[i].type == 9) tf_number(&b, values[i].count, 8);
        refused_gguf(&b, PV_BAD_FILE, "found the file's end");
    }
    tg_begin(&b, 262144, 65536);
    refused_gguf(&b, PV_BAD_FILE, "found the file's end");
}

/* A division by the alignment. */
static void cve_2025_0317_alignment_of_zero(void **state)
{
    static const struct {
        uint32_t type;
        uint64_t value;
        size_t size;
    } alignments[] = {{4, 0, 4}, {4, 24, 4}, {4, 0xffffffff, 4}, {10, 0, 8}, {5, 0x80000000, 4}, {6, 0, 4}, {8, 0, 8}};
    (void)state;
    for (size_t i = 0; i < sizeof alignments / sizeof *alignments; i++) {
        tf_bytes b = {0};
        tg_begin(&b, 1, 1);
        tg_meta(&b, "general.alignment", alignments[i].type, alignments[i].value, alignments[i].size);
        tg_tensor(&b, "x", 1, 8, F32, 0);
        tg_data(&b, 64);
        refused_gguf(&b, PV_BAD_FILE, "general.alignment");
    }
}

/* Lengths that are below 0 where they are read with a sign, and version 1, whose strings count their NUL. */
static void cve_2025_66959_and_66960_lengths_below_zero(void **state)
{
    tf_bytes b = {0};
    (void)state;
    tg_begin(&b, 0, 1);
    tf_number(&b, 1ull << 63, 8);
    refused_gguf(&b, PV_BAD_FILE, "a metadata key has 9223372036854775808 bytes");
    tg_begin(&b, 0, 1);
    tg_meta(&b, "a.b", 8, 1ull << 63, 8);
    refused_gguf(&b, PV_BAD_FILE, "a.b has 9223372036854775808 bytes");
    tg_begin(&b, 0, 1);
    tg_meta(&b, "a.b", 9, 8, 4);
    tf_number(&b, 1ull << 63, 8);
    refused_gguf(&b, PV_BAD_FILE, "a.b has 9223372036854775808 elements");
    tg_good(&b);
    b.data[4] = 1;
    b.data[24] = 0;
    refused_gguf(&b, PV_UNSUPPORTED, "GGUF version 1, wanted 2 or 3");
}

/* ---- SafeTensors ---- */

/* `bytes` of zeros behind the header, then `behind`. */
static void put(const char *name, const char *header, size_t bytes, const char *behind)
{
    tf_bytes b = {0};
    tf_number(&b, strlen(header), 8);
    tf_add(&b, header, strlen(header));
    for (size_t i = 0; i < bytes; i++) tf_number(&b, 0, 1);
    tf_add(&b, behind, strlen(behind));
    tf_write(name, b.data, b.length);
    tf_free(&b);
}

static void refused_header(const char *header, size_t bytes, const char *behind, const char *message)
{
    put("test.safetensors", header, bytes, behind);
    refused_file("test.safetensors", PV_BAD_FILE, message);
}

#define ONE(name, shape, begin, end) "\"" name "\":{\"dtype\":\"F32\",\"shape\":[" shape "],\"data_offsets\":[" #begin "," #end "]}"

/* An audit's find: files that are something else too, behind the data, between tensors, before or behind the header's object. */
static void incident_polyglot_files(void **state)
{
    (void)state;
    refused_header("{" ONE("a", "1", 0, 4) "}", 4, "PK\5\6", "wanted the file's end at");
    refused_header("{" ONE("a", "1", 0, 4) "," ONE("b", "1", 8, 12) "}", 12, "", "tensor b starts at offset");
    refused_header("{" ONE("a", "1", 4, 8) "}", 8, "", "where the header ends");
    refused_header("<?php {" ONE("a", "1", 0, 4) "}", 4, "", "does not start with {");
    refused_header("{" ONE("a", "1", 0, 4) "}<html>", 4, "", "behind the header's object, wanted spaces");
    refused_header("{" ONE("a", "1", 0, 4) "}\n", 4, "", "behind the header's object, wanted spaces");
}

/* Readers that keep the first and readers that keep the last see two models in one file. */
static void incident_one_name_twice(void **state)
{
    (void)state;
    refused_header("{" ONE("a", "1", 0, 4) "," ONE("a", "1", 4, 8) "}", 8, "", "two tensors named a");
    refused_header("{" ONE("a", "1", 0, 4) "," ONE("\\u0061", "1", 4, 8) "}", 8, "", "two tensors named a");
    refused_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"data_offsets\":[4,8]}}", 8, "", "stands twice");
    refused_header("{\"__metadata__\":{\"format\":\"pt\",\"format\":\"mlx\"}}", 0, "", "two values of format");
}

/* mlx #3364 and #3410: the shape says how much is read, the offsets how much there is. */
static void incident_offsets_that_disagree_with_the_shape(void **state)
{
    (void)state;
    refused_header("{" ONE("a", "1024", 0, 4) "}", 4, "", "wanted 4096 bytes");
    refused_header("{" ONE("a", "1", 0, 8) "}", 8, "", "wanted 4 bytes");
    refused_header("{" ONE("a", "1", 4, 0) "}", 4, "", "data_offsets 4 to 0");
    refused_header("{" ONE("a", "2", 0, 8) "}", 4, "", "inside the 4 bytes of data");
    refused_header("{" ONE("a", "0", 0, 4) "}", 4, "", "wanted 0 bytes");
}

/* safetensors-cpp: a shape's product that wraps agrees with small offsets. */
static void incident_shape_whose_product_wraps(void **state)
{
    (void)state;
    refused_header("{" ONE("a", "4294967296,4294967296", 0, 0) "}", 0, "", "the product of its dimensions overflows");
    refused_header("{" ONE("a", "2305843009213693953,8", 0, 32) "}", 32, "", "the product of its dimensions overflows");
    refused_header("{" ONE("a", "4611686018427387905", 0, 4) "}", 4, "", "its size overflows");
    refused_header("{" ONE("a", "4611686018427387904,2,2,2,1,1", 0, 0) "}", 0, "", "the product of its dimensions overflows");
    refused_header("{" ONE("a", "1", 0, 18446744073709551620) "}", 4, "", "wanted an integer");
}

/* A header's length that is the file's, or larger than any memory. */
static void incident_header_longer_than_the_file(void **state)
{
    static const uint64_t lengths[] = {3, 100000001, 1ull << 40, 1ull << 63, UINT64_MAX - 7, UINT64_MAX};
    (void)state;
    for (size_t i = 0; i < 6; i++) {
        tf_bytes b = {0};
        tf_number(&b, lengths[i], 8);
        tf_add(&b, "{}", 2);
        tf_write("test.safetensors", b.data, b.length);
        refused_file("test.safetensors", PV_BAD_FILE, "a header of");
        tf_free(&b);
    }
}

/* CVE-2024-37032 and CVE-2026-7020 (ollama) had it of a digest: a name that leads out of the folder. Here an index names shards. */
static void cve_2024_37032_shard_that_lies_elsewhere(void **state)
{
    static const char *const names[] = {"../a", "/etc/passwd", "x/../../a", "..", ".", "", "a\\\\b", "c:a", "a\\u0000", "x/a"};
    (void)state;
    put("a", "{" ONE("t", "1", 0, 4) "}", 4, "");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char index[128];
        snprintf(index, sizeof index, "{\"weight_map\":{\"t\":\"%s\"}}", names[i]);
        tf_write("model.safetensors.index.json", index, strlen(index));
        refused_file("", PV_BAD_FILE, "wanted the plain name of a file in the same folder");
    }
    tf_write("model.safetensors.index.json", "{\"weight_map\":{\"t\":\"a\"}}", 24);
    pv_source *source = NULL;
    purse p = {0};
    assert_int_equal(pv_source_open(&(pv_allocator){count_bytes, &p}, tf_path(""), PV_LOAD_MAP, &source, NULL), PV_OK);
    pv_source_close(source);
    unlink(tf_path("model.safetensors.index.json"));
}

/* A mapped file that somebody cuts raises SIGBUS where it is touched; one that is replaced stays what it was. */
static void incident_mapped_file_that_changes(void **state)
{
    (void)state;
    for (int cut = 0; cut < 2; cut++) {
        purse p = {0};
        const pv_allocator allocator = {count_bytes, &p};
        pv_source *source = NULL;
        pv_error error = {0};
        put("mapped.safetensors", "{" ONE("a", "1", 0, 4) "}", 0, "\1\2\3\4");
        assert_int_equal(pv_source_open(&allocator, tf_path("mapped.safetensors"), PV_LOAD_MAP, &source, &error), PV_OK);
        if (cut) {
            assert_int_equal(truncate(tf_path("mapped.safetensors"), 0), 0);
            assert_int_equal(pv_source_check_unchanged(source, &error), PV_IO);
            assert_non_null(strstr(error.message, "mapped.safetensors"));
        } else {
            put("other.safetensors", "{}", 0, "");
            assert_int_equal(rename(tf_path("other.safetensors"), tf_path("mapped.safetensors")), 0);
            assert_memory_equal(pv_source_tensor_data(source, pv_source_find(source, "a")), "\1\2\3\4", 4);
        }
        pv_source_close(source);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cve_2024_21802_dimensions_whose_product_overflows),
        cmocka_unit_test(cve_2024_21825_array_length_whose_bytes_overflow),
        cmocka_unit_test(cve_2024_21836_tensor_count_whose_table_overflows),
        cmocka_unit_test(cve_2024_23496_string_length_that_wraps),
        cmocka_unit_test(cve_2024_23605_key_value_count_whose_table_overflows),
        cmocka_unit_test(cve_2024_41130_file_that_ends_in_its_tables),
        cmocka_unit_test(cve_2025_53630_sizes_whose_sum_wraps),
        cmocka_unit_test(cve_2026_27940_offset_and_size_that_wrap),
        cmocka_unit_test(cve_2026_33298_bytes_of_a_tensor_that_wrap),
        cmocka_unit_test(incident_padded_size_that_wraps),
        cmocka_unit_test(cve_2026_7482_tensor_that_reaches_beyond_the_file),
        cmocka_unit_test(cve_2024_12055_more_dimensions_than_there_is_room_for),
        cmocka_unit_test(cve_2025_0312_key_that_is_of_another_kind),
        cmocka_unit_test(cve_2025_0315_memory_for_what_is_not_there),
        cmocka_unit_test(cve_2025_0317_alignment_of_zero),
        cmocka_unit_test(cve_2025_66959_and_66960_lengths_below_zero),
        cmocka_unit_test(incident_polyglot_files),
        cmocka_unit_test(incident_one_name_twice),
        cmocka_unit_test(incident_offsets_that_disagree_with_the_shape),
        cmocka_unit_test(incident_shape_whose_product_wraps),
        cmocka_unit_test(incident_header_longer_than_the_file),
        cmocka_unit_test(cve_2024_37032_shard_that_lies_elsewhere),
        cmocka_unit_test(incident_mapped_file_that_changes),
    };
    return cmocka_run_group_tests(tests, tf_make_folder, tf_remove_folder);
}
