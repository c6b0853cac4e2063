/* Written model files: byte for byte where they are small, read back where they are large, and nothing left behind on failure.
 */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "format/write.h"
#include "support_files.h"
#include "support_runtime.h"
#include "support/layouts.h"

static const pv_source_kind kinds[] = {PV_SOURCE_GGUF, PV_SOURCE_SAFETENSORS};

static pv_model_writer *open_writer(const pv_allocator *allocator, pv_source_kind kind, const char *name)
{
    pv_model_writer *writer = NULL;
    assert_int_equal(pv_model_writer_open(allocator, kind, tf_path(name), &writer, NULL), PV_OK);
    return writer;
}

static void assert_file(const char *name, const void *wanted, size_t length)
{
    size_t found;
    uint8_t *bytes = tf_read(tf_path(name), &found);
    assert_non_null(bytes);
    assert_int_equal(found, length);
    assert_memory_equal(bytes, wanted, length);
    free(bytes);
}

static void a_gguf_file_byte_for_byte(void **state)
{
    static const char wanted[] = "GGUF\3\0\0\0"
                                 "\2\0\0\0\0\0\0\0"
                                 "\3\0\0\0\0\0\0\0"
                                 "\1\0\0\0\0\0\0\0k"
                                 "\4\0\0\0"
                                 "\x78\x56\x34\x12"
                                 "\2\0\0\0\0\0\0\0ss"
                                 "\x9\0\0\0"
                                 "\x8\0\0\0"
                                 "\2\0\0\0\0\0\0\0"
                                 "\1\0\0\0\0\0\0\0a"
                                 "\0\0\0\0\0\0\0\0"
                                 "\1\0\0\0\0\0\0\0b"
                                 "\7\0\0\0"
                                 "\1"
                                 "\1\0\0\0\0\0\0\0x"
                                 "\2\0\0\0"
                                 "\3\0\0\0\0\0\0\0"
                                 "\2\0\0\0\0\0\0\0"
                                 "\1\0\0\0"
                                 "\0\0\0\0\0\0\0\0"
                                 "\1\0\0\0\0\0\0\0y"
                                 "\1\0\0\0"
                                 "\1\0\0\0\0\0\0\0"
                                 "\0\0\0\0"
                                 "\x20\0\0\0\0\0\0\0" /* 172 bytes */
                                 "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                                 "0123456789ab"
                                 "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                                 "cdef"
                                 "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    static const char *const strings[] = {"a", ""};
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    pv_model_writer *writer = open_writer(&allocator, PV_SOURCE_GGUF, "bytes.gguf");
    assert_int_equal(pv_model_writer_u32(writer, "k", 0x12345678, NULL), PV_OK);
    assert_int_equal(pv_model_writer_strings(writer, "ss", strings, 2, NULL), PV_OK);
    assert_int_equal(pv_model_writer_bool(writer, "b", true, NULL), PV_OK);
    assert_int_equal(pv_model_writer_declare(writer, "x", PV_LAYOUT_F16, 2, (uint64_t[]){2, 3}, NULL), PV_OK);
    assert_int_equal(pv_model_writer_declare(writer, "y", PV_LAYOUT_F32, 1, (uint64_t[]){1}, NULL), PV_OK);
    assert_int_equal(pv_model_writer_data(writer, "0123456", 7, NULL), PV_OK);
    assert_int_equal(pv_model_writer_data(writer, "789ab", 5, NULL), PV_OK);
    assert_int_equal(pv_model_writer_data(writer, "cdef", 4, NULL), PV_OK);
    assert_int_equal(pv_model_writer_commit(writer, NULL), PV_OK);
    pv_model_writer_close(writer);
    assert_file("bytes.gguf", wanted, sizeof wanted - 1);
}

static void a_safetensors_file_byte_for_byte(void **state)
{
    static const char wanted[] = "\xa8\0\0\0\0\0\0\0"
                                 "{\"__metadata__\":{\"format\":\"pt\",\"q\\\"\":\"a\\\\\\u000ab\"},"
                                 "\"x\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[0,12]},"
                                 "\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[12,16]}}      "
                                 "0123456789abcdef";
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    pv_model_writer *writer = open_writer(&allocator, PV_SOURCE_SAFETENSORS, "bytes.safetensors");
    assert_int_equal(pv_model_writer_string(writer, "format", "pt", NULL), PV_OK);
    assert_int_equal(pv_model_writer_string(writer, "q\"", "a\\\nb", NULL), PV_OK);
    assert_int_equal(pv_model_writer_declare(writer, "x", PV_LAYOUT_BF16, 2, (uint64_t[]){2, 3}, NULL), PV_OK);
    assert_int_equal(pv_model_writer_declare(writer, "s", PV_LAYOUT_F32, 0, NULL, NULL), PV_OK);
    assert_int_equal(pv_model_writer_data(writer, "0123456789ab", 12, NULL), PV_OK);
    assert_int_equal(pv_model_writer_data(writer, "cdef", 4, NULL), PV_OK);
    assert_int_equal(pv_model_writer_commit(writer, NULL), PV_OK);
    pv_model_writer_close(writer);
    assert_file("bytes.safetensors", wanted, sizeof wanted - 1);
}

/* ---- Read back ---- */

static void every_layout_and_kind_of_metadata_is_read_back(void **state)
{
    static const char *const tokens[] = {"<s>", "", "\u0120a"};
    pv_allocator allocator = pv_allocator_default();
    pv_source *source;
    uint64_t whole = 0;
    double real = 0;
    bool found, truth = false;
    (void)state;
    pv_model_writer *writer = open_writer(&allocator, PV_SOURCE_GGUF, "all.gguf");
    assert_int_equal(pv_model_writer_string(writer, "general.architecture", "llama", NULL), PV_OK);
    assert_int_equal(pv_model_writer_u32(writer, "u", UINT32_MAX, NULL), PV_OK);
    assert_int_equal(pv_model_writer_f32(writer, "f", 1e-5f, NULL), PV_OK);
    assert_int_equal(pv_model_writer_bool(writer, "b", true, NULL), PV_OK);
    assert_int_equal(pv_model_writer_strings(writer, "tokens", tokens, 3, NULL), PV_OK);
    assert_int_equal(pv_model_writer_i32s(writer, "types", (int32_t[]){1, -3}, 2, NULL), PV_OK);
    assert_int_equal(pv_model_writer_f32s(writer, "scores", (float[]){0.5f, -7}, 2, NULL), PV_OK);
    assert_int_equal(pv_model_writer_i32s(writer, "none", NULL, 0, NULL), PV_OK);
    for (unsigned l = 0; l < GGUF_LAYOUTS; l++)
        assert_int_equal(
            pv_model_writer_declare(writer, pv_layout_get((pv_layout)l)->name, (pv_layout)l, 2, (uint64_t[]){3, 512}, NULL),
            PV_OK);
    for (unsigned l = 0; l < GGUF_LAYOUTS; l++) {
        uint64_t bytes;
        assert_true(pv_layout_row_bytes((pv_layout)l, 512, &bytes));
        uint8_t row[2048];
        for (int r = 0; r < 3; r++) {
            memset(row, (int)(l * 3) + r, sizeof row);
            assert_int_equal(pv_model_writer_data(writer, row, (size_t)bytes, NULL), PV_OK);
        }
    }
    assert_int_equal(pv_model_writer_commit(writer, NULL), PV_OK);
    pv_model_writer_close(writer);

    assert_int_equal(pv_source_open(&allocator, tf_path("all.gguf"), PV_LOAD_MAP, &source, NULL), PV_OK);
    assert_int_equal(pv_source_meta_count(source), 8);
    assert_int_equal(pv_meta_u64(source, "u", &whole, &found, NULL), PV_OK);
    assert_true(found && whole == UINT32_MAX);
    assert_int_equal(pv_meta_f64(source, "f", &real, &found, NULL), PV_OK);
    assert_true(found && real == (double)1e-5f);
    assert_int_equal(pv_meta_bool(source, "b", &truth, &found, NULL), PV_OK);
    assert_true(found && truth);
    uint64_t cursor = 0;
    for (int i = 0; i < 3; i++) {
        const char *text;
        size_t length;
        assert_true(pv_meta_next_string(pv_source_meta(source, "tokens"), &cursor, &text, &length));
        assert_int_equal(length, strlen(tokens[i]));
        assert_memory_equal(text, tokens[i], length);
    }
    assert_true(pv_meta_number(pv_source_meta(source, "types"), 1) == -3);
    assert_true(pv_meta_number(pv_source_meta(source, "scores"), 1) == -7);
    assert_int_equal(pv_source_meta(source, "none")->count, 0);
    assert_int_equal(pv_source_tensor_count(source), GGUF_LAYOUTS);
    for (unsigned l = 0; l < GGUF_LAYOUTS; l++) {
        const pv_source_tensor *tensor = pv_source_find(source, pv_layout_get((pv_layout)l)->name);
        assert_int_equal(tensor->layout, l);
        assert_true(tensor->rows == 3 && tensor->cols == 512 && tensor->dims == 2 && tensor->offset % 32 == 0);
        const uint8_t *data = pv_source_tensor_data(source, tensor);
        for (uint64_t b = 0; b < tensor->bytes; b++) assert_int_equal(data[b], l * 3 + b / tensor->row_bytes);
    }
    pv_source_close(source);
}

static void one_string_of_metadata_is_enough(void **state)
{
    static const char wanted[] = "\x20\0\0\0\0\0\0\0{\"__metadata__\":{\"a\":\"b\"}}      ";
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    pv_model_writer *writer = open_writer(&allocator, PV_SOURCE_SAFETENSORS, "one");
    assert_int_equal(pv_model_writer_string(writer, "a", "b", NULL), PV_OK);
    assert_int_equal(pv_model_writer_commit(writer, NULL), PV_OK);
    pv_model_writer_close(writer);
    assert_file("one", wanted, sizeof wanted - 1);
}

static void tensors_without_weights_are_passed_over(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    for (int k = 0; k < 2; k++) {
        pv_source *source;
        pv_model_writer *writer = open_writer(&allocator, kinds[k], "none");
        assert_int_equal(pv_model_writer_declare(writer, "z1", PV_LAYOUT_F32, 2, (uint64_t[]){0, 8}, NULL), PV_OK);
        assert_int_equal(pv_model_writer_declare(writer, "a", PV_LAYOUT_F32, 1, (uint64_t[]){1}, NULL), PV_OK);
        assert_int_equal(pv_model_writer_declare(writer, "z2", PV_LAYOUT_F32, 2, (uint64_t[]){8, 0}, NULL), PV_OK);
        assert_int_equal(pv_model_writer_data(writer, "abcd", 4, NULL), PV_OK);
        assert_int_equal(pv_model_writer_commit(writer, NULL), PV_OK);
        pv_model_writer_close(writer);
        assert_int_equal(pv_source_open(&allocator, tf_path("none"), PV_LOAD_COPY, &source, NULL), PV_OK);
        assert_int_equal(pv_source_tensor_count(source), 3);
        assert_int_equal(pv_source_find(source, "a")->bytes, 4);
        assert_int_equal(pv_source_find(source, "z2")->rows, 8);
        pv_source_close(source);

        writer = open_writer(&allocator, kinds[k], "none"); /* no tensor at all */
        assert_int_equal(pv_model_writer_commit(writer, NULL), PV_OK);
        pv_model_writer_close(writer);
        assert_int_equal(pv_source_open(&allocator, tf_path("none"), PV_LOAD_COPY, &source, NULL), PV_OK);
        assert_int_equal(pv_source_tensor_count(source), 0);
        pv_source_close(source);
    }
}

/* ---- Refused ---- */

#define REFUSED(call, text)                                                                                                    \
    do {                                                                                                                       \
        pv_error refused_ = {0};                                                                                               \
        pv_error *error = &refused_;                                                                                           \
        assert_int_equal((call), PV_INVALID_ARGUMENT);                                                                         \
        if (!strstr(refused_.message, (text))) fail_msg("%s", refused_.message);                                               \
    } while (0)

static void what_no_reader_takes_is_not_written(void **state)
{
    static char name[66000];
    pv_allocator allocator = pv_allocator_default();
    uint64_t two[] = {2, 32}, huge[] = {1ull << 33, 1ull << 33}, odd[] = {2, 31};
    (void)state;
    size_t before = tf_count();
    pv_model_writer *w = open_writer(&allocator, PV_SOURCE_GGUF, "never");
    assert_int_equal(pv_model_writer_u32(w, "k", 1, NULL), PV_OK);
    assert_int_equal(pv_model_writer_declare(w, "x", PV_LAYOUT_F32, 2, two, NULL), PV_OK);
    memset(name, 'n', 65536);
    REFUSED(pv_model_writer_u32(w, "k", 1, error), "the name is taken");
    REFUSED(pv_model_writer_string(w, "k", "", error), "the name is taken");
    REFUSED(pv_model_writer_u32(w, "", 1, error), "1 to 65535 bytes");
    REFUSED(pv_model_writer_u32(w, name, 1, error), "found 65536 bytes");
    REFUSED(pv_model_writer_u32(w, "a\xff", 1, error), "UTF-8");
    REFUSED(pv_model_writer_u32(w, "general.alignment", 64, error), "the alignment is 32");
    REFUSED(pv_model_writer_string(w, "s", "\xc3", error), "no UTF-8");
    REFUSED(pv_model_writer_strings(w, "s", (const char *[]){"a", "\xed\xa0\x80"}, 2, error), "no UTF-8");
    name[65] = 0;
    REFUSED(pv_model_writer_declare(w, name, PV_LAYOUT_F32, 2, two, error), "found 65 bytes, wanted 1 to 64");
    REFUSED(pv_model_writer_declare(w, "x", PV_LAYOUT_F32, 2, two, error), "the name is taken");
    REFUSED(pv_model_writer_declare(w, "y", PV_LAYOUT_COUNT, 2, two, error), "does not hold the layout");
    REFUSED(pv_model_writer_declare(w, "y", PV_LAYOUT_AFFINE4_G64_F16, 2, two, error), "does not hold the layout");
    REFUSED(pv_model_writer_declare(w, "y", PV_LAYOUT_F32, 5, two, error), "more than 4 dimensions");
    REFUSED(pv_model_writer_declare(w, "y", PV_LAYOUT_F32, 2, huge, error), "overflow");
    REFUSED(pv_model_writer_declare(w, "y", PV_LAYOUT_F32, 3, (uint64_t[]){1ull << 33, 1ull << 31, 0}, error), "overflow");
    REFUSED(pv_model_writer_declare(w, "y", PV_LAYOUT_Q4_0, 2, odd, error), "no multiple of the layout's block");
    assert_int_equal(pv_model_writer_data(w, "abcd", 4, NULL), PV_OK);
    REFUSED(pv_model_writer_u32(w, "late", 1, error), "data have begun");
    REFUSED(pv_model_writer_declare(w, "late", PV_LAYOUT_F32, 2, two, error), "data have begun");
    REFUSED(pv_model_writer_data(w, name, 253, error), "cannot write 253 bytes to tensor x: it takes 252 more");
    REFUSED(pv_model_writer_commit(w, error), "tensor x has 4 of 256 bytes");
    assert_int_equal(pv_model_writer_data(w, name, 252, NULL), PV_OK); /* refusals did no harm */
    REFUSED(pv_model_writer_data(w, name, 1, error), "all 1 declared tensors are complete");
    assert_int_equal(pv_model_writer_commit(w, NULL), PV_OK);
    REFUSED(pv_model_writer_commit(w, error), "finished");
    REFUSED(pv_model_writer_data(w, name, 1, error), "finished");
    pv_model_writer_close(w);
    assert_int_equal(tf_count(), before + 1);

    w = open_writer(&allocator, PV_SOURCE_SAFETENSORS, "never2");
    REFUSED(pv_model_writer_u32(w, "k", 1, error), "does not hold values of that kind");
    REFUSED(pv_model_writer_strings(w, "k", (const char *[]){"a"}, 1, error), "does not hold values of that kind");
    REFUSED(pv_model_writer_declare(w, "x", PV_LAYOUT_Q8_0, 2, two, error), "does not hold the layout");
    REFUSED(pv_model_writer_declare(w, "__metadata__", PV_LAYOUT_F32, 2, two, error), "reserved");
    uint64_t large[] = {1ull << 60};
    assert_int_equal(pv_model_writer_declare(w, "large", PV_LAYOUT_F32, 1, large, NULL), PV_OK);
    REFUSED(pv_model_writer_declare(w, "larger", PV_LAYOUT_F32, 1, large, error), "overflow"); /* both together */
    pv_model_writer_close(w);
    assert_int_equal(tf_count(), before + 1);
    pv_model_writer_close(NULL);
}

/* Pieces in any order are the file that they are in order. */
static void pieces_go_to_their_places(void **state)
{
    static const uint64_t four[] = {4}, none[] = {0}, eight[] = {2, 4};
    static const uint8_t bytes[] = "abcdefghijkl";
    pv_allocator allocator = pv_allocator_default();
    size_t length = 0;
    (void)state;
    pv_model_writer *w = open_writer(&allocator, PV_SOURCE_SAFETENSORS, "places");
    assert_int_equal(pv_model_writer_declare_raw(w, "a", "U8", 1, 1, four, NULL), PV_OK);
    assert_int_equal(pv_model_writer_declare_raw(w, "z", "U8", 1, 1, none, NULL), PV_OK);
    assert_int_equal(pv_model_writer_declare_raw(w, "b", "U8", 1, 2, eight, NULL), PV_OK);
    assert_int_equal(pv_model_writer_data_at(w, 2, 5, bytes + 9, 3, NULL), PV_OK);
    assert_int_equal(pv_model_writer_data_at(w, 0, 0, bytes, 4, NULL), PV_OK);
    REFUSED(pv_model_writer_data_at(w, 0, 0, bytes, 1, error), "cannot write 1 bytes to tensor a at byte 0: it has 4, of which 4 are written");
    REFUSED(pv_model_writer_data_at(w, 2, 6, bytes, 3, error), "to tensor b at byte 6: it has 8");
    REFUSED(pv_model_writer_data_at(w, 2, UINT64_MAX, bytes, 3, error), "to tensor b at byte");
    REFUSED(pv_model_writer_data_at(w, 3, 0, bytes, 0, error), "places of declared tensors");
    REFUSED(pv_model_writer_data(w, bytes, 1, error), "its bytes are written to places");
    REFUSED(pv_model_writer_declare_raw(w, "c", "U8", 1, 1, four, error), "data have begun");
    REFUSED(pv_model_writer_commit(w, error), "tensor b has 3 of 8 bytes, and 0 tensors follow it");
    assert_int_equal(pv_model_writer_data_at(w, 2, 0, bytes + 4, 5, NULL), PV_OK);
    assert_int_equal(pv_model_writer_commit(w, NULL), PV_OK);
    pv_model_writer_close(w);
    uint8_t *found = tf_read(tf_path("places"), &length);
    assert_true(length > 12);
    assert_memory_equal(found + length - 12, bytes, 12);
    free(found);
    w = open_writer(&allocator, PV_SOURCE_SAFETENSORS, "never");
    assert_int_equal(pv_model_writer_declare_raw(w, "a", "U8", 1, 1, four, NULL), PV_OK);
    assert_int_equal(pv_model_writer_data(w, bytes, 1, NULL), PV_OK);
    REFUSED(pv_model_writer_data_at(w, 0, 1, bytes, 1, error), "all of them or none");
    pv_model_writer_close(w);
    w = open_writer(&allocator, PV_SOURCE_GGUF, "never");
    assert_int_equal(pv_model_writer_declare(w, "a", PV_LAYOUT_F32, 1, four, NULL), PV_OK);
    REFUSED(pv_model_writer_data_at(w, 0, 0, bytes, 1, error), "tensors of SafeTensors");
    pv_model_writer_close(w);
}

static void a_full_disk_leaves_nothing(void **state)
{
    static uint8_t bytes[1 << 20];
    pv_allocator allocator = pv_allocator_default();
    struct rlimit old, limit;
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    for (int k = 0; k < 2; k++) {
        size_t before = tf_count();
        pv_error full;
        pv_model_writer *writer = open_writer(&allocator, kinds[k], "full");
        assert_int_equal(pv_model_writer_declare(writer, "x", PV_LAYOUT_F32, 1, (uint64_t[]){sizeof bytes / 4}, NULL), PV_OK);
        limit = (struct rlimit){300000, old.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        pv_status status = pv_model_writer_data(writer, bytes, sizeof bytes, &full);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(status, PV_IO);
        assert_true(full.offset == 300000);
        REFUSED(pv_model_writer_commit(writer, error), "has failed"); /* not a file with a hole */
        pv_model_writer_close(writer);
        assert_int_equal(tf_count(), before);
    }
}

/* Writes a small file; with every status handed up. */
static pv_status write_small(const pv_allocator *allocator, pv_source_kind kind, pv_error *error)
{
    pv_model_writer *writer;
    uint64_t dim[] = {4};
    pv_status status = pv_model_writer_open(allocator, kind, tf_path("memory"), &writer, error);
    if (status != PV_OK) return status;
    status = pv_model_writer_string(writer, "general.architecture", "a string that is long enough to grow", error);
    if (status == PV_OK && kind == PV_SOURCE_GGUF) status = pv_model_writer_f32s(writer, "f", (float[40]){0}, 40, error);
    if (status == PV_OK) status = pv_model_writer_declare(writer, "x", PV_LAYOUT_F32, 1, dim, error);
    if (status == PV_OK) status = pv_model_writer_declare(writer, "y", PV_LAYOUT_F16, 1, dim, error);
    if (status == PV_OK) status = pv_model_writer_data(writer, "0123456789abcdef", 16, error);
    if (status == PV_OK) status = pv_model_writer_data(writer, "01234567", 8, error);
    if (status == PV_OK) status = pv_model_writer_commit(writer, error);
    pv_model_writer_close(writer);
    return status;
}

static void every_failing_allocation_is_an_error_and_leaves_nothing(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        pv_status status = PV_OUT_OF_MEMORY;
        uint64_t fail_at = 0;
        size_t before = tf_count();
        while (status != PV_OK) {
            rt_memory memory;
            pv_error error = {0};
            rt_memory_init(&memory, ++fail_at);
            status = write_small(&memory.allocator, kinds[k], &error);
            assert_int_equal(error.status, status);
            assert_true(status == PV_OK || status == PV_OUT_OF_MEMORY);
            assert_int_equal(memory.live, 0);
            assert_int_equal(tf_count(), before + (status == PV_OK));
        }
        assert_true(fail_at > 10);
        remove(tf_path("memory"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gguf_file_byte_for_byte),
        cmocka_unit_test(a_safetensors_file_byte_for_byte),
        cmocka_unit_test(every_layout_and_kind_of_metadata_is_read_back),
        cmocka_unit_test(one_string_of_metadata_is_enough),
        cmocka_unit_test(tensors_without_weights_are_passed_over),
        cmocka_unit_test(what_no_reader_takes_is_not_written),
        cmocka_unit_test(pieces_go_to_their_places),
        cmocka_unit_test(a_full_disk_leaves_nothing),
        cmocka_unit_test(every_failing_allocation_is_an_error_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, tf_make_folder, tf_remove_folder);
}
