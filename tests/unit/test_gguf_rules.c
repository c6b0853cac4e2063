/* GGUF files that break a rule, each off from a good one by one thing: refused by name and place. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "support_gguf.h"
#include "support_runtime.h"

static const pv_load loads[] = {PV_LOAD_MAP, PV_LOAD_COPY};

static void empty(tf_bytes *b)
{
    tf_add(b, "", 0);
}

static void magic(tf_bytes *b)
{
    tg_good(b);
    b->data[3] = 'X';
}

static void version(tf_bytes *b, uint8_t number)
{
    tg_good(b);
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
    tg_begin(b, 262145, 0);
}
static void meta_count(tf_bytes *b)
{
    tg_begin(b, 0, 65537);
}
static void tensor_count_huge(tf_bytes *b)
{
    tg_begin(b, UINT64_MAX, 0);
}
static void fewer_metas(tf_bytes *b)
{
    tg_begin(b, 0, 65536);
}
static void fewer_tensors(tf_bytes *b)
{
    tg_begin(b, 262144, 0);
}

static void key_empty(tf_bytes *b)
{
    tg_begin(b, 0, 1);
    tg_meta(b, "", 4, 7, 4);
}

static void key_long(tf_bytes *b)
{
    static char key[65538];
    memset(key, 'k', 65536);
    tg_begin(b, 0, 1);
    tg_meta(b, key, 4, 7, 4);
}

static void key_nul(tf_bytes *b)
{
    tg_begin(b, 0, 1);
    tg_meta(b, "a.b", 4, 7, 4);
    b->data[24 + 8 + 1] = 0;
}

static void key_not_utf8(tf_bytes *b)
{
    tg_begin(b, 0, 1);
    tg_meta(b,
            "a\xff"
            "b",
            4, 7, 4);
}

static void key_twice(tf_bytes *b)
{
    tg_begin(b, 0, 2);
    tg_meta(b, "a.b", 4, 7, 4);
    tg_meta(b, "a.b", 5, 7, 4);
}

static void key_beyond_the_file(tf_bytes *b)
{
    tg_begin(b, 0, 1);
    tf_number(b, 60000, 8);
    tf_add(b, "abc", 3);
}

static void value_type(tf_bytes *b)
{
    tg_begin(b, 0, 1);
    tg_meta(b, "a.b", 13, 7, 4);
}

static void value_cut(tf_bytes *b)
{
    tg_begin(b, 0, 1);
    tg_meta(b, "a.b", 10, 7, 7);
}

static void value_bool(tf_bytes *b)
{
    tg_begin(b, 0, 1);
    tg_meta(b, "a.b", 7, 2, 1);
}

static void string_long(tf_bytes *b)
{
    tg_begin(b, 0, 1);
    tg_meta(b, "a.b", 8, (64u << 20) + 1, 8);
}

static void string_beyond_the_file(tf_bytes *b)
{
    tg_begin(b, 0, 1);
    tg_meta(b, "a.b", 8, 64u << 20, 8);
}

static void array(tf_bytes *b, uint32_t element, uint64_t count)
{
    tg_begin(b, 0, 1);
    tg_meta(b, "a.b", 9, element, 4);
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
    tg_text(b, "abc");
    tf_number(b, UINT64_MAX - 10, 8);
}

static void alignment(tf_bytes *b, uint32_t type, uint64_t value, size_t size)
{
    tg_begin(b, 0, 1);
    tg_meta(b, "general.alignment", type, value, size);
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
    tg_begin(b, 0, 1);
    tg_meta(b, "split.count", 2, 3, 2);
}

static void one_tensor(tf_bytes *b, const char *name, uint64_t rows, uint64_t cols, uint32_t type, uint64_t offset,
                       size_t bytes)
{
    tg_begin(b, 1, 0);
    tg_tensor(b, name, rows, cols, type, offset);
    tg_data(b, bytes);
}

static void split_text(tf_bytes *b)
{
    tg_begin(b, 0, 1);
    tg_meta(b, "split.count", 8, 0, 8);
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
    tg_begin(b, 2, 0);
    tg_tensor(b, "x", 1, 8, 0, 0);
    tg_tensor(b, "x", 1, 8, 0, 32);
    tg_data(b, 64);
}

static void dims_5(tf_bytes *b)
{
    tg_begin(b, 1, 0);
    tg_text(b, "x");
    tf_number(b, 5, 4);
    for (int i = 0; i < 5; i++) tf_number(b, 1, 8);
    tf_number(b, 0, 12);
    tg_data(b, 4);
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
    tg_begin(b, 1, 1);
    tg_meta(b, "general.alignment", 4, 0x80000000, 4);
    tg_tensor(b, "x", 1, 8, 0, 0);
    tg_data(b, 64);
}

static void overlap(tf_bytes *b)
{
    tg_begin(b, 3, 0);
    tg_tensor(b, "last", 1, 8, 0, 96);
    tg_tensor(b, "first", 1, 16, 0, 0);
    tg_tensor(b, "within", 1, 8, 0, 32);
    tg_data(b, 128);
}

static void same_place(tf_bytes *b)
{
    tg_begin(b, 2, 0);
    tg_tensor(b, "a", 1, 8, 0, 0);
    tg_tensor(b, "b", 1, 8, 0, 0);
    tg_data(b, 32);
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
    {version_0, PV_UNSUPPORTED, 4, "GGUF version 0, wanted 2 or 3"},
    {version_1, PV_UNSUPPORTED, 4, "GGUF version 1, wanted 2 or 3"},
    {version_4, PV_UNSUPPORTED, 4, "GGUF version 4, wanted 2 or 3"},
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
    {split, PV_UNSUPPORTED, NONE, "one of 3 parts (metadata split.count), wanted the first, whose name ends in -00001-of-00003.gguf"},
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

static void files_that_break_a_rule_are_refused_by_name_and_place(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    for (size_t i = 0; i < 2 * (sizeof bad / sizeof *bad); i++) {
        tf_bytes bytes = {0};
        pv_source *source = NULL;
        pv_error error = {0};
        bad[i / 2].build(&bytes);
        pv_status status = tg_open(&allocator, &bytes, loads[i % 2], &source, &error);
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
        assert_int_equal(tg_open(&memory.allocator, &bytes, loads[i % 2], &source, NULL), PV_BAD_FILE);
        assert_true(memory.calls < 20);
        assert_int_equal(memory.live, 0);
        tf_free(&bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_that_break_a_rule_are_refused_by_name_and_place),
        cmocka_unit_test(memory_goes_with_what_a_file_holds_not_with_what_it_states),
    };
    return cmocka_run_group_tests(tests, tf_make_folder, tf_remove_folder);
}
