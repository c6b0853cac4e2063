/* Text as it is handed out: whole characters, and nothing of a stop string. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "engine/stream.h"

typedef struct fixture {
    pv_allocator allocator;
    pv_stops stops;
    pv_stream stream;
    pv_bytes out;
} fixture;

static void begin(fixture *f, const char *const *stops, size_t count)
{
    memset(f, 0, sizeof *f);
    f->allocator = pv_allocator_default();
    assert_int_equal(pv_stops_copy(&f->allocator, stops, count, &f->stops, NULL), PV_OK);
    assert_true(pv_stream_init(&f->stream, &f->allocator, 64, &f->stops));
    pv_bytes_init(&f->out, &f->allocator);
}

static void end(fixture *f)
{
    pv_stream_free(&f->stream);
    pv_stops_free(&f->allocator, &f->stops);
    pv_bytes_free(&f->out);
}

static bool add(fixture *f, const char *text)
{
    return pv_stream_add(&f->stream, &f->stops, text, strlen(text), &f->out);
}

static void assert_out(const fixture *f, const char *text)
{
    assert_int_equal(f->out.length, strlen(text));
    assert_memory_equal(f->out.length > 0 ? f->out.data : "", text, strlen(text));
}

static void characters_come_whole(void **state)
{
    (void)state;
    fixture f;
    begin(&f, NULL, 0);
    add(&f, "a\xE2\x82");
    assert_out(&f, "a");
    add(&f, "\xAC!");
    assert_out(&f, "a\xE2\x82\xAC!");
    end(&f);
}

static void bytes_that_are_no_text_become_replacements(void **state)
{
    (void)state;
    fixture f;
    begin(&f, NULL, 0);
    add(&f, "a\xFFz");
    assert_out(&f, "a\xEF\xBF\xBDz");
    add(&f, "\xE2\x82");
    pv_stream_flush(&f.stream, &f.out);
    assert_out(&f, "a\xEF\xBF\xBDz\xEF\xBF\xBD\xEF\xBF\xBD");
    end(&f);
}

static void stop_strings_are_left_out_even_in_pieces(void **state)
{
    (void)state;
    const char *const stops[] = {"STOP", "\n\n"};
    fixture f;
    begin(&f, stops, 2);
    assert_false(add(&f, "one S"));
    assert_out(&f, "one ");
    assert_false(add(&f, "T"));
    assert_false(add(&f, "ART "));
    assert_out(&f, "one START ");
    assert_false(add(&f, "ST"));
    assert_true(add(&f, "OP and more"));
    assert_out(&f, "one START ");
    pv_stream_flush(&f.stream, &f.out);
    assert_out(&f, "one START ");
    end(&f);
}

static void the_first_of_two_stop_strings_counts(void **state)
{
    (void)state;
    const char *const stops[] = {"bbb", "a"};
    fixture f;
    begin(&f, stops, 2);
    assert_true(add(&f, "xxabbb"));
    assert_out(&f, "xx");
    end(&f);
}

static void an_unfinished_stop_string_is_text_at_the_end(void **state)
{
    (void)state;
    const char *const stops[] = {"END"};
    fixture f;
    begin(&f, stops, 1);
    add(&f, "the EN");
    assert_out(&f, "the ");
    pv_stream_flush(&f.stream, &f.out);
    assert_out(&f, "the EN");
    end(&f);
}

static void empty_stop_strings_are_refused(void **state)
{
    (void)state;
    const char *const stops[] = {"ok", ""};
    pv_allocator allocator = pv_allocator_default();
    pv_stops copied;
    pv_error error;
    assert_int_equal(pv_stops_copy(&allocator, stops, 2, &copied, &error), PV_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "stop string 1"));
}

static void splitting_a_text_anywhere_gives_the_same(void **state)
{
    (void)state;
    const char *const stops[] = {"</end>"};
    static const char text[] = "Gr\xC3\xBC\xC3\x9F" "e \xF0\x9F\x98\x80 </en> <</end> tail";
    for (size_t cut = 1; cut < sizeof text - 1; cut++) {
        for (size_t cut2 = cut; cut2 < sizeof text - 1; cut2++) {
            fixture f;
            begin(&f, stops, 1);
            const size_t at[] = {0, cut, cut2, sizeof text - 1};
            bool stopped = false;
            for (int i = 0; i < 3 && !stopped; i++) stopped = pv_stream_add(&f.stream, &f.stops, text + at[i], at[i + 1] - at[i], &f.out);
            assert_true(stopped);
            assert_out(&f, "Gr\xC3\xBC\xC3\x9F" "e \xF0\x9F\x98\x80 </en> <");
            end(&f);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_come_whole),
        cmocka_unit_test(bytes_that_are_no_text_become_replacements),
        cmocka_unit_test(stop_strings_are_left_out_even_in_pieces),
        cmocka_unit_test(the_first_of_two_stop_strings_counts),
        cmocka_unit_test(an_unfinished_stop_string_is_text_at_the_end),
        cmocka_unit_test(empty_stop_strings_are_refused),
        cmocka_unit_test(splitting_a_text_anywhere_gives_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
