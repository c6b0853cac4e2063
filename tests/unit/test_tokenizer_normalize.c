/* Normalizers step by step, and precompiled maps from files that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "support_runtime.h"
#include "support_tokenizer.h"
#include "text/normalize.h"
#include "text/unicode.h"

static void assert_normalized(const pv_normalizer *normalizer, const char *text, const char *wanted)
{
    pv_normalize_run run;
    const char *out = NULL;
    size_t length = 0;
    pv_error error = {0};
    pv_normalize_run_init(&run, normalizer);
    if (pv_normalize(&run, text, strlen(text), &out, &length, &error) != PV_OK) fail_msg("%s", error.message);
    assert_int_equal(length, strlen(wanted));
    assert_memory_equal(out, wanted, length);
    pv_normalize_run_free(&run);
}

static void each_kind_does_what_it_is_named_for(void **state)
{
    (void)state;
    static const struct {
        pv_normal_kind kind;
        const char *text, *wanted;
    } cases[] = {
        {PV_NORMAL_NFC, "e\xcc\x81", "\xc3\xa9"},
        {PV_NORMAL_NFD, "\xc3\xa9", "e\xcc\x81"},
        {PV_NORMAL_NFKC, "\xef\xac\x81\xc2\xbd",
         "fi1\xe2\x81\x84"
         "2"},
        {PV_NORMAL_NFKD, "\xef\xbc\xa1\xc3\xa9", "Ae\xcc\x81"},
        {PV_NORMAL_LOWERCASE, "A\xc3\x89Z[", "a\xc3\xa9z["},
        {PV_NORMAL_STRIP_MARKS, "e\xcc\x81x", "ex"},
        {PV_NORMAL_STRIP_ACCENTS, "e\xcc\x81\xe0\xa4\xbe", "e\xe0\xa4\xbe"}, /* U+093E takes up space */
        {PV_NORMAL_NMT, "a\x01\tb\xe2\x80\x8b", "a b "},
        {PV_NORMAL_CLEAN, "a\x01\tb\xe2\x80\x8b\xef\xbf\xbd\xc2\xa0", "a b "},
        {PV_NORMAL_SPACE_CHINESE, "a\xe4\xb8\xad\xe3\x81\x82", "a \xe4\xb8\xad \xe3\x81\x82"},
        {PV_NORMAL_COLLAPSE_SPACES, "  a  b ", "a b"},
        {PV_NORMAL_COLLAPSE_SPACES, "   ", ""},
    };
    pv_allocator allocator = pv_allocator_default();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pv_normalizer normalizer;
        pv_normal_step *step = NULL;
        pv_normalizer_init(&normalizer, &allocator);
        assert_int_equal(pv_normalizer_add(&normalizer, cases[i].kind, &step, NULL), PV_OK);
        assert_normalized(&normalizer, cases[i].text, cases[i].wanted);
        assert_normalized(&normalizer, "plain", "plain");
        assert_normalized(&normalizer, "", "");
        pv_normalizer_free(&normalizer);
    }
}

static void steps_follow_one_another(void **state)
{
    (void)state;
    pv_allocator allocator = pv_allocator_default();
    pv_normalizer normalizer;
    pv_normal_step *step = NULL;
    pv_normalizer_init(&normalizer, &allocator);
    assert_int_equal(pv_normalizer_add(&normalizer, PV_NORMAL_STRIP, &step, NULL), PV_OK);
    step->left = step->right = true;
    assert_int_equal(pv_normalizer_prepend(&normalizer, "_", 1, NULL), PV_OK);
    assert_int_equal(pv_normalizer_replace(&normalizer, false, " ", 1, "_", 1, NULL), PV_OK);
    assert_int_equal(pv_normalizer_replace(&normalizer, false, "ab", 2, "b", 1, NULL), PV_OK);
    assert_int_equal(pv_normalizer_replace(&normalizer, true, "_{2,}", 5, "", 0, NULL), PV_OK);
    assert_normalized(&normalizer, " \xc2\xa0 x y  aab\n", "_x_yab");
    assert_normalized(&normalizer, " \n", "");
    assert_false(pv_normalizer_keeps_places(&normalizer));
    pv_normalizer_free(&normalizer);
}

static void what_is_too_much_is_refused(void **state)
{
    (void)state;
    static const char content[PV_NORMAL_MAX_CONTENT + 1] = "x";
    pv_allocator allocator = pv_allocator_default();
    pv_normalizer normalizer;
    pv_normal_step *step = NULL;
    pv_normalizer_init(&normalizer, &allocator);
    assert_int_equal(pv_normalizer_prepend(&normalizer, content, sizeof content, NULL), PV_UNSUPPORTED);
    assert_int_equal(pv_normalizer_replace(&normalizer, false, "", 0, "x", 1, NULL), PV_UNSUPPORTED);
    while (normalizer.count < PV_MAX_STEPS) assert_int_equal(pv_normalizer_add(&normalizer, PV_NORMAL_NFC, &step, NULL), PV_OK);
    assert_int_equal(pv_normalizer_add(&normalizer, PV_NORMAL_NFC, &step, NULL), PV_UNSUPPORTED);
    pv_normalizer_free(&normalizer);
}

/* Each step makes of a character as many as it may, from the characters that the step before made. */
static void text_that_grows_without_end_is_refused(void **state)
{
    (void)state;
    enum { LENGTH = 1000 };
    static const char *const patterns[] = {"a", "aa", "a"}; /* a character, a text, a regular expression */
    char text[LENGTH], content[PV_NORMAL_MAX_CONTENT];
    memset(text, 'a', sizeof text);
    memset(content, 'a', sizeof content);
    for (size_t kind = 0; kind < 3; kind++) {
        rt_memory memory;
        pv_normalizer normalizer;
        pv_normalize_run run;
        pv_error error = {0};
        const char *out;
        size_t length;
        rt_memory_init(&memory, 0);
        pv_normalizer_init(&normalizer, &memory.allocator);
        for (size_t i = 0; i < PV_MAX_STEPS; i++)
            assert_int_equal(pv_normalizer_replace(&normalizer, kind == 2, patterns[kind], strlen(patterns[kind]), content,
                                                   sizeof content, NULL),
                             PV_OK);
        pv_normalize_run_init(&run, &normalizer);
        assert_int_equal(pv_normalize(&run, text, LENGTH, &out, &length, &error), PV_INVALID_ARGUMENT);
        assert_non_null(strstr(error.message, "once it is normalized"));
        assert_in_range(run.text[0].capacity + run.text[1].capacity, 1, 4 * PV_NORMAL_GROWTH * (LENGTH + 1000));
        pv_normalize_run_free(&run);
        pv_normalizer_free(&normalizer);
        assert_int_equal(memory.live, 0);
    }
}

/* "a bc" becomes "__a__bc", and each byte knows where it comes from. */
static void places_are_followed(void **state)
{
    (void)state;
    static const uint32_t wanted[] = {0, 0, 0, 1, 1, 2, 3};
    pv_allocator allocator = pv_allocator_default();
    pv_normalizer normalizer;
    size_t count = 0;
    pv_normalizer_init(&normalizer, &allocator);
    assert_int_equal(pv_normalizer_prepend(&normalizer, " ", 1, NULL), PV_OK);
    assert_int_equal(pv_normalizer_replace(&normalizer, false, " ", 1, "__", 2, NULL), PV_OK);
    assert_true(pv_normalizer_keeps_places(&normalizer));
    uint32_t *places = pv_normalize_places(&normalizer, false, "a bc", 4, &count);
    assert_int_equal(count, 7);
    assert_memory_equal(places, wanted, sizeof wanted);
    pv_free(&allocator, places);
    places = pv_normalize_places(&normalizer, true, "a bc", 4, &count);
    assert_int_equal(count, 5);
    assert_memory_equal(places, wanted + 2, 5 * sizeof *places);
    pv_free(&allocator, places);
    pv_normalizer_free(&normalizer);
}

/* ---- Precompiled maps ---- */

/* Arrays in which most bytes lead somewhere, and texts in whose middle most entries point: whatever they say, what comes out is
 * UTF-8 and ends. */
static void maps_that_lie_do_no_harm(void **state)
{
    (void)state;
    enum { UNITS = 512, TEXTS = 1024 };
    static const char text[] = "aa\xc3\xa9\xe4\xb8\xad\xf0\x9f\x9a\x80 e\xcc\x81", piece[8] = "\xc3\xa9\0x\xe4\xb8\xad";
    pv_allocator allocator = pv_allocator_default();
    uint64_t seed = 11;
    size_t changed = 0;
    for (int round = 0; round < 3000; round++) {
        uint32_t head[1 + UNITS] = {UNITS * sizeof *head};
        char data[sizeof head + TEXTS];
        for (uint32_t i = 0; i < UNITS; i++) {
            uint32_t random = (uint32_t)(tk_random(&seed) >> 24);
            uint32_t offset = random % 5 == 0 ? 256 : random % 31 == 1 ? random >> 20 : 0;
            head[1 + i] = (i & 0xff) | (random & 0x100) | offset << 10 | (random % 41 == 2 ? 1u << 31 : 0);
        }
        memcpy(data, head, sizeof head);
        for (size_t i = 0; i < TEXTS; i++) data[sizeof head + i] = piece[i % sizeof piece];
        pv_charsmap map;
        pv_charsmap_init(&map, &allocator);
        assert_int_equal(pv_charsmap_read(&map, data, sizeof data, "test", NULL), PV_OK);
        for (int shortest = 0; shortest < 2; shortest++) {
            pv_bytes out;
            pv_bytes_init(&out, &allocator);
            pv_charsmap_apply(&map, shortest, text, sizeof text - 1, SIZE_MAX, &out);
            assert_false(out.failed);
            assert_int_equal(pv_utf8_valid(out.data ? out.data : "", out.length), out.length);
            changed += out.length != sizeof text - 1;
            pv_bytes_free(&out);
        }
        pv_charsmap_free(&map);
    }
    assert_true(changed > 1000);
}

/* A map of one entry, a to X, the shape of which takes the grapheme's other characters along. U+1AD2 is a mark since
 * Unicode 17. */
static void marks_of_newer_versions_go_on_a_grapheme(void **state)
{
    (void)state;
    pv_allocator allocator = pv_allocator_default();
    uint32_t head[257] = {256 * sizeof *head};
    char data[sizeof head + 2];
    pv_normalizer normalizer;
    pv_normal_step *step = NULL;
    head[1 + 'a'] = 'a' | 1u << 8 | ('a' ^ 1u) << 10;
    head[1 + 1] = 1u << 31;
    memcpy(data, head, sizeof head);
    memcpy(data + sizeof head, "X", 2);
    pv_normalizer_init(&normalizer, &allocator);
    assert_int_equal(pv_normalizer_add(&normalizer, PV_NORMAL_CHARSMAP, &step, NULL), PV_OK);
    step->shortest = true;
    assert_int_equal(pv_charsmap_read(&step->map, data, sizeof data, "test", NULL), PV_OK);
    assert_normalized(&normalizer, "a", "X");
    assert_normalized(&normalizer, "a\xcc\x81", "X");
    assert_normalized(&normalizer, "a\xe1\xab\x92", "X");
    assert_normalized(&normalizer,
                      "a\xe1\xab\x92\xe1\xab\x92"
                      "a",
                      "X\xe1\xab\x92\xe1\xab\x92X"); /* too long for that */
    assert_normalized(&normalizer,
                      "\n\xe1\xab\x92"
                      "a",
                      "\n\xe1\xab\x92X");
    assert_normalized(&normalizer, "a\xe1\xab\x90", "X"); /* as before */
    pv_normalizer_free(&normalizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_does_what_it_is_named_for),
        cmocka_unit_test(steps_follow_one_another),
        cmocka_unit_test(what_is_too_much_is_refused),
        cmocka_unit_test(text_that_grows_without_end_is_refused),
        cmocka_unit_test(places_are_followed),
        cmocka_unit_test(maps_that_lie_do_no_harm),
        cmocka_unit_test(marks_of_newer_versions_go_on_a_grapheme),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
