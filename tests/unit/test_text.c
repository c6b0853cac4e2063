/* Growing bytes, UTF-8, and the map. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/text.h"
#include "support_runtime.h"

static void bytes_grow_and_end_with_nul(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    pv_bytes bytes;
    (void)state;
    pv_bytes_init(&bytes, &allocator);
    assert_null(bytes.data);
    pv_bytes_add(&bytes, "", 0);
    assert_string_equal(bytes.data, "");
    for (int i = 0; i < 1000; i++) pv_bytes_add(&bytes, "abc", 3);
    pv_bytes_format(&bytes, "%d-%s", 42, "x");
    pv_bytes_format(&bytes, "%s", "");
    pv_bytes_add(&bytes, "\0y", 2);
    assert_int_equal(bytes.length, 3006);
    assert_memory_equal(bytes.data, "abcabc", 6);
    assert_memory_equal(bytes.data + 2997, "abc42-x\0y\0", 10);
    assert_false(bytes.failed);
    pv_bytes_free(&bytes);
    assert_null(bytes.data);
    assert_int_equal(bytes.capacity, 0);
}

static void bytes_that_failed_stay_as_they_were(void **state)
{
    rt_memory memory;
    pv_bytes bytes;
    (void)state;
    rt_memory_init(&memory, 2);
    pv_bytes_init(&bytes, &memory.allocator);
    pv_bytes_add(&bytes, "1234567", 7); /* eight bytes with the NUL */
    pv_bytes_add(&bytes, "8", 1);
    assert_true(bytes.failed);
    assert_string_equal(bytes.data, "1234567");
    pv_bytes_add(&bytes, "9", 1);
    pv_bytes_format(&bytes, "%d", 10);
    assert_string_equal(bytes.data, "1234567");
    assert_int_equal(memory.calls, 2);
    pv_bytes_add(&bytes, "x", SIZE_MAX);
    pv_bytes_free(&bytes);
    assert_int_equal(memory.live, 0);
    pv_bytes_init(&bytes, &memory.allocator);
    pv_bytes_add(&bytes, "x", SIZE_MAX);
    assert_true(bytes.failed);
    assert_null(bytes.data);
}

static bool is_scalar(uint32_t code_point)
{
    return code_point < 0xd800 || (code_point > 0xdfff && code_point < 0x110000);
}

static void every_character_goes_there_and_back(void **state)
{
    (void)state;
    for (uint32_t code_point = 0; code_point < 0x120000; code_point++) {
        char out[4];
        uint32_t back;
        size_t length = pv_utf8_encode(code_point, out);
        size_t wanted = !is_scalar(code_point) ? 0
                        : code_point < 0x80    ? 1
                        : code_point < 0x800   ? 2
                        : code_point < 0x10000 ? 3
                                               : 4;
        if (length != wanted) fail_msg("U+%04X takes %zu bytes", code_point, length);
        if (length == 0) continue;
        if (pv_utf8_decode(out, length, &back) != length || back != code_point) fail_msg("U+%04X", code_point);
        for (size_t cut = 0; cut < length; cut++)
            if (pv_utf8_decode(out, cut, &back) != 0) fail_msg("U+%04X cut to %zu bytes", code_point, cut);
        if (pv_utf8_complete(out, length) != length) fail_msg("U+%04X is not complete", code_point);
        for (size_t cut = 1; cut < length; cut++)
            if (pv_utf8_complete(out, cut) != 0) fail_msg("U+%04X cut to %zu bytes is complete", code_point, cut);
    }
    assert_int_equal(pv_utf8_encode(0x20ac, (char[4]){0}), 3);
    assert_int_equal(pv_utf8_encode(UINT32_MAX, (char[4]){0}), 0);
}

/* All 3 first bytes of a sequence of 4 (the last is 80): as many are valid as there are characters, so none is valid twice. */
static void as_many_sequences_are_valid_as_there_are_characters(void **state)
{
    size_t valid[5] = {0};
    (void)state;
    for (uint32_t first = 0; first < 0x1000000; first++) {
        char text[4] = {(char)(first >> 16), (char)(first >> 8), (char)first, (char)0x80};
        uint32_t code_point;
        size_t length = pv_utf8_decode(text, 4, &code_point);
        if (length > 0 && !is_scalar(code_point)) fail_msg("%06x", first);
        valid[length]++;
    }
    assert_int_equal(valid[1], 0x80 * 65536);
    assert_int_equal(valid[2], (0x800 - 0x80) * 256);
    assert_int_equal(valid[3], 0x10000 - 0x800 - 0x800);
    assert_int_equal(valid[4], 0x100000 / 64);
    for (int last = 0; last < 256; last++) {
        char text[4] = {(char)0xf0, (char)0x9f, (char)0x98, (char)last};
        uint32_t code_point;
        assert_int_equal(pv_utf8_decode(text, 4, &code_point), last >= 0x80 && last < 0xc0 ? 4 : 0);
    }
}

static void only_a_character_that_may_still_come_is_left_off(void **state)
{
    static const struct {
        const char *text;
        size_t length, complete;
    } cases[] = {
        {"", 0, 0},
        {"abc", 3, 3},
        {"a\xc3", 2, 1},
        {"a\xc3\xa9", 3, 3},
        {"a\xe2\x82", 3, 1},
        {"a\xf0\x9f\x98", 4, 1},
        {"a\xf0\x9f\x98\x80", 5, 5},
        {"\xff", 1, 1},             /* begins nothing */
        {"\x80\x80\x80\x80", 4, 4}, /* continues nothing */
        {"a\xe0\x80", 3, 3},        /* overlong: can never become valid */
        {"a\xed\xa0", 3, 3},        /* half of a surrogate pair */
        {"a\xf4\x90", 3, 3},        /* above U+10FFFF */
        {"a\xc0", 2, 2},
        {"\xe2\x82\xe2\x82", 4, 2}, /* the first is broken for good */
        {"\xc3\xa9\xc3", 3, 2},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (pv_utf8_complete(cases[i].text, cases[i].length) != cases[i].complete) fail_msg("case %zu", i);
}

/* ---- The map ---- */

static void the_map_finds_what_was_added_and_nothing_else(void **state)
{
    enum { COUNT = 20000 };
    rt_memory memory;
    pv_map map;
    uint32_t value;
    char(*keys)[16] = malloc(sizeof(char[16]) * COUNT);
    (void)state;
    rt_memory_init(&memory, 0);
    pv_map_init(&map, &memory.allocator);
    assert_false(pv_map_find(&map, "a", 1, &value));
    for (uint32_t i = 0; i < COUNT; i++) {
        int length = snprintf(keys[i], sizeof keys[i], "key %u", i);
        assert_int_equal(pv_map_add(&map, keys[i], (size_t)length, i), 1);
    }
    assert_int_equal(map.count, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        char copy[16];
        memcpy(copy, keys[i], sizeof copy);
        size_t length = strlen(copy);
        if (!pv_map_find(&map, copy, length, &value) || value != i) fail_msg("key %u", i);
        if (pv_map_add(&map, copy, length, 7) != 0) fail_msg("key %u added twice", i);
        if (!pv_map_find(&map, copy, length, &value) || value != i) fail_msg("key %u overwritten", i);
        copy[0] = 'q';
        if (pv_map_find(&map, copy, length, &value)) fail_msg("key %u", i);
        if (pv_map_find(&map, keys[i], length + 1, &value)) fail_msg("key %u with its NUL", i);
    }
    assert_int_equal(map.count, COUNT);
    assert_true(memory.calls < 20); /* it doubles */
    pv_map_free(&map);
    assert_int_equal(memory.live, 0);
    free(keys);
}

static void keys_may_be_empty_and_hold_nul(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    pv_map map;
    uint32_t value = 0;
    (void)state;
    pv_map_init(&map, &allocator);
    assert_int_equal(pv_map_add(&map, NULL, 0, 5), 1);
    assert_int_equal(pv_map_add(&map, "", 0, 6), 0);
    assert_int_equal(pv_map_add(&map, "a\0b", 3, 7), 1);
    assert_int_equal(pv_map_add(&map, "a", 1, 8), 1);
    assert_true(pv_map_find(&map, "x", 0, &value) && value == 5);
    assert_true(pv_map_find(&map, "a\0b", 3, &value) && value == 7);
    assert_false(pv_map_find(&map, "a\0c", 3, &value));
    assert_true(pv_map_find(&map, "a", 1, &value) && value == 8);
    pv_map_free(&map);
}

static void every_failing_allocation_leaves_the_map_whole(void **state)
{
    static char keys[300][12];
    uint64_t fail_at = 0;
    size_t added = 0;
    (void)state;
    for (int i = 0; i < 300; i++) snprintf(keys[i], sizeof keys[i], "%d", i);
    while (added < 300) {
        rt_memory memory;
        pv_map map;
        uint32_t value;
        rt_memory_init(&memory, ++fail_at);
        pv_map_init(&map, &memory.allocator);
        for (added = 0; added < 300; added++)
            if (pv_map_add(&map, keys[added], strlen(keys[added]), (uint32_t)added) != 1) break;
        assert_int_equal(map.count, added);
        for (size_t i = 0; i < 300; i++) assert_int_equal(pv_map_find(&map, keys[i], strlen(keys[i]), &value), i < added);
        pv_map_free(&map);
        assert_int_equal(memory.live, 0);
    }
    assert_true(fail_at > 4);
    pv_map map;
    rt_memory memory;
    rt_memory_init(&memory, 0);
    pv_map_init(&map, &memory.allocator);
    assert_false(pv_map_reserve(&map, SIZE_MAX));
    assert_true(pv_map_reserve(&map, 1000));
    assert_int_equal(memory.calls, 1);
    for (int i = 0; i < 300; i++) assert_int_equal(pv_map_add(&map, keys[i], strlen(keys[i]), 0), 1);
    assert_int_equal(memory.calls, 1);
    pv_map_free(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_grow_and_end_with_nul),
        cmocka_unit_test(bytes_that_failed_stay_as_they_were),
        cmocka_unit_test(every_character_goes_there_and_back),
        cmocka_unit_test(as_many_sequences_are_valid_as_there_are_characters),
        cmocka_unit_test(only_a_character_that_may_still_come_is_left_off),
        cmocka_unit_test(the_map_finds_what_was_added_and_nothing_else),
        cmocka_unit_test(keys_may_be_empty_and_hold_nul),
        cmocka_unit_test(every_failing_allocation_leaves_the_map_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
