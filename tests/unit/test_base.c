/* Errors, memory and files. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/file.h"
#include "support_files.h"
#include "support_runtime.h"

/* ---- Errors ---- */

static void every_status_has_a_name_and_a_text(void **state)
{
    (void)state;
    for (int i = 0; i < PV_STATUS_COUNT; i++) {
        assert_true(strlen(pv_status_name((pv_status)i)) > 0);
        assert_true(strlen(pv_status_text((pv_status)i)) > 0);
    }
    assert_string_equal(pv_status_name(PV_BAD_FILE), "BAD_FILE");
    assert_string_equal(pv_status_text(PV_BAD_FILE), "bad file");
    assert_string_equal(pv_status_text(PV_OK), "ok");
    assert_string_equal(pv_status_name(PV_STATUS_COUNT), "UNKNOWN");
    assert_string_equal(pv_status_name((pv_status)-1), "UNKNOWN");
}

static void a_failure_fills_the_whole_record(void **state)
{
    pv_error error;
    (void)state;
    memset(&error, 0x55, sizeof error);
    assert_int_equal(pv_fail(&error, PV_TIMEOUT, "waited %d ms", 7), PV_TIMEOUT);
    assert_int_equal(error.status, PV_TIMEOUT);
    assert_string_equal(error.message, "waited 7 ms");
    assert_string_equal(error.op, "");
    assert_true(error.offset == PV_NO_OFFSET);
    assert_true(error.backend_code == 0);

    assert_int_equal(pv_fail_at(&error, PV_BAD_FILE, "a.gguf", 12, "found %s", "x"), PV_BAD_FILE);
    assert_string_equal(error.op, "a.gguf");
    assert_true(error.offset == 12);

    assert_int_equal(pv_fail_memory(&error, 4096, "a plan"), PV_OUT_OF_MEMORY);
    assert_string_equal(error.message, "out of memory allocating 4096 bytes for a plan");
    assert_int_equal(pv_fail(NULL, PV_IO, "nobody listens"), PV_IO);
}

static void messages_may_quote_the_record_that_they_fill(void **state)
{
    pv_error error;
    (void)state;
    pv_fail_at(&error, PV_IO, "inner", 3, "short read");
    pv_fail_at(&error, PV_IO, error.op, error.offset, "weights: %s", error.message);
    assert_string_equal(error.message, "weights: short read");
    assert_string_equal(error.op, "inner");
}

static void messages_are_cut_between_characters_and_steer_no_terminal(void **state)
{
    pv_error error;
    char text[1024];
    (void)state;
    for (size_t i = 0; i < sizeof text - 1; i += 3) memcpy(text + i, "\xe2\x82\xac", 3);
    text[sizeof text - 1] = 0;
    pv_fail(&error, PV_IO, "%s", text);
    assert_int_equal(strlen(error.message), 510); /* 170 whole characters in 511 bytes */
    pv_fail_at(&error, PV_IO, "\x1b[2J", 0,
               "a\nb\x1b[31mc\x7f"
               "d\xc2\x9b"
               "e\xff"
               "f\u00e9");
    assert_string_equal(error.message, "a?b?[31mc?d??e?f\u00e9");
    assert_string_equal(error.op, "?[2J");
    pv_fail(&error, PV_IO, "\xc2\x80\xc2\x9f\xc2\xa0 ~"); /* the last controls, and a space that is none */
    assert_string_equal(error.message, "????\u00a0 ~");
}

/* ---- Memory ---- */

static void products_that_overflow_and_empty_blocks_are_refused(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    assert_null(pv_alloc(&allocator, SIZE_MAX / 2, 3));
    assert_null(pv_alloc(&allocator, SIZE_MAX, 1));
    assert_null(pv_alloc(&allocator, 0, 8));
    assert_null(pv_calloc(&allocator, 8, 0));
    pv_free(&allocator, NULL);
}

static void zeroed_memory_is_zero(void **state)
{
    rt_memory memory; /* fills what it hands out */
    (void)state;
    rt_memory_init(&memory, 0);
    uint8_t *bytes = pv_calloc(&memory.allocator, 100, 3);
    for (int i = 0; i < 300; i++) assert_int_equal(bytes[i], 0);
    pv_free(&memory.allocator, bytes);
    assert_int_equal(memory.live, 0);
}

static void a_failed_resize_leaves_the_array(void **state)
{
    rt_memory memory;
    void *array = NULL;
    size_t capacity = 0;
    (void)state;
    rt_memory_init(&memory, 2);
    assert_true(pv_grow(&memory.allocator, &array, &capacity, 3, 4));
    assert_int_equal(capacity, 8);
    memcpy(array, "abcd", 4);
    assert_true(pv_grow(&memory.allocator, &array, &capacity, 8, 4));
    assert_int_equal(memory.calls, 1); /* there was room */
    void *before = array;
    assert_false(pv_grow(&memory.allocator, &array, &capacity, 9, 4));
    assert_ptr_equal(array, before);
    assert_int_equal(capacity, 8);
    assert_memory_equal(array, "abcd", 4);
    assert_true(pv_grow(&memory.allocator, &array, &capacity, 33, 4));
    assert_int_equal(capacity, 64);
    assert_memory_equal(array, "abcd", 4);
    assert_false(pv_grow(&memory.allocator, &array, &capacity, SIZE_MAX, 4));
    assert_false(pv_grow(&memory.allocator, &array, &capacity, SIZE_MAX / 8, 16));
    assert_int_equal(capacity, 64);
    pv_free(&memory.allocator, array);
    assert_int_equal(memory.live, 0);
}

static void copied_strings_end_with_nul(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    char *copy = pv_copy_string(&allocator, "abcdef", 3);
    assert_string_equal(copy, "abc");
    pv_free(&allocator, copy);
    copy = pv_copy_string(&allocator, NULL, 0);
    assert_string_equal(copy, "");
    pv_free(&allocator, copy);
    assert_null(pv_copy_string(&allocator, "", SIZE_MAX));
}

static void sizes_are_checked(void **state)
{
    uint64_t out;
    (void)state;
    assert_true(pv_inside(10, 0, 10));
    assert_true(pv_inside(4, 6, 10));
    assert_false(pv_inside(4, 7, 10));
    assert_false(pv_inside(11, 0, 10));
    assert_false(pv_inside(4, UINT64_MAX - 2, 10));
    assert_true(pv_align_u64(33, 32, &out) && out == 64);
    assert_true(pv_align_u64(64, 32, &out) && out == 64);
    assert_false(pv_align_u64(UINT64_MAX - 3, 32, &out));
    assert_false(pv_mul_u64(1ull << 40, 1ull << 24, &out));
    assert_false(pv_add_u64(UINT64_MAX, 1, &out));
}

/* ---- Reading ---- */

static void what_is_no_file_is_refused_with_the_reason(void **state)
{
    pv_mapping mapping;
    pv_error error;
    (void)state;
    assert_int_equal(pv_mapping_open(tf_path("absent"), true, &mapping, &error), PV_NOT_FOUND);
    assert_non_null(strstr(error.message, "absent: no such file or directory"));
    assert_string_equal(error.op, "absent");
    tf_write("plain", "x", 1);
    assert_int_equal(pv_mapping_open(tf_path("plain/below"), true, &mapping, &error), PV_NOT_FOUND);
    assert_int_equal(pv_mapping_open(tf_path(""), true, &mapping, &error), PV_IO);
    assert_non_null(strstr(error.message, "it is a folder"));
    assert_int_equal(mkfifo(tf_path("pipe"), 0600), 0);
    assert_int_equal(pv_mapping_open(tf_path("pipe"), true, &mapping, &error), PV_IO);
    assert_non_null(strstr(error.message, "pipe"));
    assert_int_equal(pv_path_kind(tf_path("plain")), 1);
    assert_int_equal(pv_path_kind(tf_path("")), 2);
    assert_int_equal(pv_path_kind(tf_path("pipe")), 0);
    assert_int_equal(pv_path_kind(tf_path("absent")), 0);
    unlink(tf_path("pipe"));
}

static void a_mapping_reads_what_the_file_holds(void **state)
{
    pv_mapping mapping;
    pv_error error;
    uint8_t bytes[20000], out[20000];
    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 7 + i / 256);
    tf_write("data", bytes, sizeof bytes);
    for (int map = 0; map < 2; map++) {
        assert_int_equal(pv_mapping_open(tf_path("data"), map, &mapping, &error), PV_OK);
        assert_int_equal(mapping.size, sizeof bytes);
        assert_int_equal(mapping.bytes != NULL, map);
        assert_int_equal(pv_mapping_read(&mapping, 5000, out, 15000, &error), PV_OK);
        assert_memory_equal(out, bytes + 5000, 15000);
        assert_int_equal(pv_mapping_read(&mapping, sizeof bytes, out, 0, &error), PV_OK);
        assert_int_equal(pv_mapping_read(&mapping, 19999, out, 2, &error), PV_IO);
        assert_true(error.offset == 19999);
        assert_non_null(strstr(error.message, "20000"));
        assert_int_equal(pv_mapping_read(&mapping, UINT64_MAX, out, 2, &error), PV_IO);
        pv_mapping_drop(&mapping, 0, sizeof bytes);
        pv_mapping_drop(&mapping, 100, 9000);
        pv_mapping_drop(&mapping, 100, UINT64_MAX);
        pv_mapping_drop(&mapping, 8192, 1);
        if (map) assert_memory_equal(mapping.bytes, bytes, sizeof bytes); /* pages come back */
        pv_mapping_close(&mapping);
        assert_int_equal(mapping.descriptor, -1);
        pv_mapping_close(&mapping);
    }
}

#if defined(__linux__)
/* Resident bytes, in KiB, of the mapping that starts at an address. */
static size_t resident_kib(const void *address)
{
    char start[32], line[512];
    size_t kib = 0;
    bool inside = false;
    FILE *maps = fopen("/proc/self/smaps", "r");
    snprintf(start, sizeof start, "%lx-", (unsigned long)(uintptr_t)address);
    while (maps && fgets(line, sizeof line, maps)) {
        if (strncmp(line, start, strlen(start)) == 0) inside = true;
        if (inside && sscanf(line, "Rss: %zu", &kib) == 1) break;
    }
    if (maps) fclose(maps);
    return kib;
}

static void dropped_pages_are_whole_ones_inside_the_range(void **state)
{
    static uint8_t bytes[64 * 65536];
    pv_mapping mapping;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), kib = page / 1024;
    (void)state;
    if (access("/proc/self/smaps", R_OK) != 0) skip(); /* nothing tells what is resident */
    tf_write("pages", bytes, 64 * page - 10);
    assert_int_equal(pv_mapping_open(tf_path("pages"), true, &mapping, NULL), PV_OK);
    const struct {
        size_t offset, length, pages;
    } cases[] = {{0, 64 * page - 10, 64},
                 {0, 64 * page, 0},
                 {page, 3 * page, 3},
                 {1, 3 * page, 2},
                 {1, page, 0},
                 {8 * page, page, 1},
                 {60 * page, 4 * page - 10, 4},
                 {60 * page, 4 * page - 11, 3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t sum = 0;
        for (size_t at = 0; at < mapping.size; at += page) sum |= ((const volatile uint8_t *)mapping.bytes)[at];
        assert_int_equal(sum, 0);
        assert_int_equal(resident_kib(mapping.bytes), 64 * kib);
        pv_mapping_drop(&mapping, cases[i].offset, cases[i].length);
        assert_int_equal(resident_kib(mapping.bytes), (64 - cases[i].pages) * kib);
    }
    pv_mapping_close(&mapping);
}
#endif

static void an_empty_file_is_open_and_not_mapped(void **state)
{
    pv_mapping mapping;
    (void)state;
    tf_write("empty", "", 0);
    assert_int_equal(pv_mapping_open(tf_path("empty"), true, &mapping, NULL), PV_OK);
    assert_int_equal(mapping.size, 0);
    assert_null(mapping.bytes);
    pv_mapping_close(&mapping);
}

static void a_file_cut_after_opening_is_a_short_read(void **state)
{
    pv_mapping mapping;
    pv_error error;
    char out[100];
    (void)state;
    tf_write("cut", "0123456789", 10);
    assert_int_equal(pv_mapping_open(tf_path("cut"), false, &mapping, &error), PV_OK);
    assert_int_equal(truncate(tf_path("cut"), 4), 0);
    assert_int_equal(pv_mapping_read(&mapping, 2, out, 6, &error), PV_IO);
    assert_true(error.offset == 4);
    assert_non_null(strstr(error.message, "wanted 4 more bytes"));
    pv_mapping_close(&mapping);
}

static void whole_files_are_read_up_to_a_limit(void **state)
{
    rt_memory memory;
    pv_error error;
    char *text = NULL;
    size_t length;
    (void)state;
    tf_write("text", "hello", 5);
    for (uint64_t fail_at = 0; fail_at < 2; fail_at++) {
        rt_memory_init(&memory, fail_at);
        pv_status status = pv_read_file(&memory.allocator, tf_path("text"), 5, &text, &length, &error);
        assert_int_equal(status, fail_at ? PV_OUT_OF_MEMORY : PV_OK);
        if (status == PV_OK) {
            assert_string_equal(text, "hello");
            assert_int_equal(length, 5);
            pv_free(&memory.allocator, text);
        }
        assert_int_equal(memory.live, 0);
    }
    assert_int_equal(pv_read_file(&memory.allocator, tf_path("text"), 4, &text, &length, &error), PV_BAD_FILE);
    assert_non_null(strstr(error.message, "5 bytes, the limit is 4"));
}

/* ---- Writing ---- */

static uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 131 + i / 251);
}

/* Every test of the writer runs with a file that has no name until it is finished, and with one under a temporary name. */
static pv_status (*open_writer)(const pv_allocator *, const char *, pv_writer *, pv_error *) = pv_writer_open;

static int write_with_names(void **state)
{
    (void)state;
    open_writer = pv_writer_open_named;
    return 0;
}

static int write_without_names(void **state)
{
    (void)state;
    open_writer = pv_writer_open;
    return 0;
}

static void a_file_appears_whole_and_only_on_commit(void **state)
{
    static const size_t parts[] = {1, 0, 7, 262144, 262143, 1, 262136, 262145, 3, 600000, 5};
    pv_allocator allocator = pv_allocator_default();
    pv_writer writer;
    pv_error error;
    size_t total = 0, length, before;
    uint8_t *bytes = malloc(600000);
    (void)state;
    tf_write("out", "old", 3);
    before = tf_count();
    assert_int_equal(open_writer(&allocator, tf_path("out"), &writer, &error), PV_OK);
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        for (size_t i = 0; i < parts[p]; i++) bytes[i] = pattern(total + i);
        assert_int_equal(pv_writer_write(&writer, bytes, parts[p], &error), PV_OK);
        total += parts[p];
        assert_int_equal(writer.written, total);
    }
    free(bytes);
    bytes = tf_read(tf_path("out"), &length);
    assert_string_equal((char *)bytes, "old");
    free(bytes);
    assert_int_equal(tf_count(), before + (writer.temporary[0] != '\0'));
    assert_int_equal(pv_writer_commit(&writer, &error), PV_OK);
    assert_int_equal(tf_count(), before);
    bytes = tf_read(tf_path("out"), &length);
    assert_int_equal(length, total);
    for (size_t i = 0; i < length; i++)
        if (bytes[i] != pattern(i)) fail_msg("byte %zu", i);
    free(bytes);
    pv_writer_discard(&writer); /* after commit: nothing to do */
    assert_int_equal(tf_count(), before);
}

static void a_discarded_file_leaves_nothing(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    pv_writer writer;
    size_t before = tf_count();
    (void)state;
    assert_int_equal(open_writer(&allocator, tf_path("never"), &writer, NULL), PV_OK);
    assert_int_equal(pv_writer_write(&writer, "abc", 3, NULL), PV_OK);
    assert_int_equal(tf_count(), before + (writer.temporary[0] != '\0'));
    pv_writer_discard(&writer);
    assert_int_equal(tf_count(), before);
    pv_writer_discard(&writer);
}

static void two_writers_of_one_name_do_not_meet(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    pv_writer a, b;
    size_t length;
    (void)state;
    assert_int_equal(open_writer(&allocator, tf_path("twice"), &a, NULL), PV_OK);
    assert_int_equal(open_writer(&allocator, tf_path("twice"), &b, NULL), PV_OK);
    assert_int_equal(pv_writer_write(&a, "first", 5, NULL), PV_OK);
    assert_int_equal(pv_writer_write(&b, "second", 6, NULL), PV_OK);
    assert_int_equal(pv_writer_commit(&b, NULL), PV_OK);
    assert_int_equal(pv_writer_commit(&a, NULL), PV_OK);
    uint8_t *bytes = tf_read(tf_path("twice"), &length);
    assert_string_equal((char *)bytes, "first");
    free(bytes);
}

static void a_writer_that_cannot_be_opened_or_finished_says_why(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    pv_writer writer;
    pv_error error;
    (void)state;
    assert_int_equal(open_writer(&allocator, tf_path("no/folder"), &writer, &error), PV_NOT_FOUND);
    assert_non_null(strstr(error.message, "no such file or directory"));
    assert_int_equal(mkdir(tf_path("taken"), 0700), 0);
    size_t before = tf_count();
    assert_int_equal(open_writer(&allocator, tf_path("taken"), &writer, &error), PV_OK);
    assert_int_equal(pv_writer_commit(&writer, &error), PV_IO);
    assert_non_null(strstr(error.message, "taken"));
    assert_true(error.backend_code != 0);
    assert_int_equal(tf_count(), before);
    assert_int_equal(rmdir(tf_path("taken")), 0);
}

/* A limit on file sizes stands for a full disk: write() takes a part, then refuses. */
static void a_full_disk_names_the_offset_and_leaves_nothing(void **state)
{
    static uint8_t bytes[700000];
    pv_allocator allocator = pv_allocator_default();
    struct rlimit old, limit;
    pv_writer writer;
    pv_error error;
    size_t before = tf_count();
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    limit = (struct rlimit){500000, old.rlim_max};
    assert_int_equal(open_writer(&allocator, tf_path("full"), &writer, NULL), PV_OK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    pv_status status = pv_writer_write(&writer, bytes, sizeof bytes, &error);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(status, PV_IO);
    assert_true(error.offset == 500000);
    assert_non_null(strstr(error.message, "file too large"));
    assert_string_equal(error.op, "full");
    pv_writer_discard(&writer);
    assert_int_equal(tf_count(), before);

    /* The same in small parts: the buffer fills, and some part reports it. */
    assert_int_equal(open_writer(&allocator, tf_path("full"), &writer, NULL), PV_OK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    status = PV_OK;
    for (int i = 0; i < 800 && status == PV_OK; i++) status = pv_writer_write(&writer, bytes, 1000, &error);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(status, PV_IO);
    assert_true(error.offset == 500000);
    assert_true(writer.written < 600000);
    pv_writer_discard(&writer);
    assert_int_equal(tf_count(), before);

    /* The same when only commit writes. */
    limit.rlim_cur = 10;
    assert_int_equal(open_writer(&allocator, tf_path("full"), &writer, NULL), PV_OK);
    assert_int_equal(pv_writer_write(&writer, bytes, 100, NULL), PV_OK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    status = pv_writer_commit(&writer, &error);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(status, PV_IO);
    assert_true(error.offset == 10);
    assert_int_equal(tf_count(), before);
    assert_int_equal(pv_path_kind(tf_path("full")), 0);
}

static void every_failing_allocation_of_a_writer_is_an_error(void **state)
{
    rt_memory memory;
    pv_writer writer;
    size_t before = tf_count();
    pv_status status = PV_OUT_OF_MEMORY;
    uint64_t fail_at = 0;
    (void)state;
    while (status != PV_OK) {
        rt_memory_init(&memory, ++fail_at);
        status = open_writer(&memory.allocator, tf_path("memory"), &writer, NULL);
        if (status == PV_OK)
            pv_writer_discard(&writer);
        else
            assert_int_equal(status, PV_OUT_OF_MEMORY);
        assert_int_equal(memory.live, 0);
        assert_int_equal(tf_count(), before);
    }
    assert_true(fail_at > 3); /* path, temporary name, buffer */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_a_name_and_a_text),
        cmocka_unit_test(a_failure_fills_the_whole_record),
        cmocka_unit_test(messages_may_quote_the_record_that_they_fill),
        cmocka_unit_test(messages_are_cut_between_characters_and_steer_no_terminal),
        cmocka_unit_test(products_that_overflow_and_empty_blocks_are_refused),
        cmocka_unit_test(zeroed_memory_is_zero),
        cmocka_unit_test(a_failed_resize_leaves_the_array),
        cmocka_unit_test(copied_strings_end_with_nul),
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(what_is_no_file_is_refused_with_the_reason),
        cmocka_unit_test(a_mapping_reads_what_the_file_holds),
#if defined(__linux__)
        cmocka_unit_test(dropped_pages_are_whole_ones_inside_the_range),
#endif
        cmocka_unit_test(an_empty_file_is_open_and_not_mapped),
        cmocka_unit_test(a_file_cut_after_opening_is_a_short_read),
        cmocka_unit_test(whole_files_are_read_up_to_a_limit),
        cmocka_unit_test(a_file_appears_whole_and_only_on_commit),
        cmocka_unit_test_setup_teardown(a_file_appears_whole_and_only_on_commit, write_with_names, write_without_names),
        cmocka_unit_test(a_discarded_file_leaves_nothing),
        cmocka_unit_test_setup_teardown(a_discarded_file_leaves_nothing, write_with_names, write_without_names),
        cmocka_unit_test(two_writers_of_one_name_do_not_meet),
        cmocka_unit_test_setup_teardown(two_writers_of_one_name_do_not_meet, write_with_names, write_without_names),
        cmocka_unit_test(a_writer_that_cannot_be_opened_or_finished_says_why),
        cmocka_unit_test_setup_teardown(a_writer_that_cannot_be_opened_or_finished_says_why, write_with_names, write_without_names),
        cmocka_unit_test(a_full_disk_names_the_offset_and_leaves_nothing),
        cmocka_unit_test_setup_teardown(a_full_disk_names_the_offset_and_leaves_nothing, write_with_names, write_without_names),
        cmocka_unit_test(every_failing_allocation_of_a_writer_is_an_error),
        cmocka_unit_test_setup_teardown(every_failing_allocation_of_a_writer_is_an_error, write_with_names, write_without_names),
    };
    return cmocka_run_group_tests(tests, tf_make_folder, tf_remove_folder);
}
