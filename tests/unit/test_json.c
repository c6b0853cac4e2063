/* The JSON reader: what RFC 8259 allows and nothing more. */
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/json.h"
#include "base/text.h"
#include "support_runtime.h"

/* Reads all of a text; what it holds goes to `out` in a form that can be compared: { } [ ] K"…" S"…" N… T F 0. */
static pv_status walk(const pv_allocator *allocator, const char *text, size_t length, pv_bytes *out, pv_error *error)
{
    static const char marks[] = "?{}[]KSNTF0";
    pv_json json;
    pv_json_init(&json, allocator, text, length, "test.json");
    pv_status status;
    while ((status = pv_json_next(&json, error)) == PV_OK && json.type != PV_JSON_END) {
        pv_bytes_add(out, &marks[json.type], 1);
        bool quoted = json.type == PV_JSON_KEY || json.type == PV_JSON_STRING;
        if (quoted) pv_bytes_add(out, "\"", 1);
        pv_bytes_add(out, json.string, json.string_length);
        if (quoted) pv_bytes_add(out, "\"", 1);
    }
    pv_json_free(&json);
    return status;
}

static void texts_are_read_token_by_token(void **state)
{
    static const struct {
        const char *text, *tokens;
    } cases[] = {
        {"{}", "{}"},
        {" [ ] ", "[]"},
        {"\t\r\n null\n", "0"},
        {"true", "T"},
        {"false", "F"},
        {"\"a\"", "S\"a\""},
        {"\"\"", "S\"\""},
        {"-0", "N-0"},
        {"0", "N0"},
        {"10.50e-07", "N10.50e-07"},
        {"1E+5", "N1E+5"},
        {"[1,2 , 3]", "[N1N2N3]"},
        {"[[],[{}],{}]", "[[][{}]{}]"},
        {"{\"a\":1,\"b\":{\"c\":[true,false,null]},\"\":\"x\"}", "{K\"a\"N1K\"b\"{K\"c\"[TF0]}K\"\"S\"x\"}"},
        {"{\"a\" :1}", "{K\"a\"N1}"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "S\"\"\\/\b\f\n\r\t\""},
        {"\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00\"", "S\"A\u00e9\u20ac\U0001f600\""},
        {"\"\u00e9\u20ac\U0001f600\x7f\"", "S\"\u00e9\u20ac\U0001f600\x7f\""},
        {"\"\\ud800\"", "S\"\ufffd\""},
        {"\"\\udc00\"", "S\"\ufffd\""},
        {"\"\\ue000\\ud7ff\"", "S\"\ue000\ud7ff\""}, /* the surrogates' neighbours */
        {"\"\\ud800\\ud800\"", "S\"\ufffd\ufffd\""},
        {"\"\\ud800\\u0041\"", "S\"\ufffd"
                               "A\""},
        {"\"\\ud83dx\\ude00\"", "S\"\ufffdx\ufffd\""},
        {"{\"\\n\":\"plain\",\"plain\":\"\\n\"}", "{K\"\n\"S\"plain\"K\"plain\"S\"\n\"}"},
        {"{\"a\":1,\"a\":2}", "{K\"a\"N1K\"a\"N2}"}, /* twice the same key: for the caller to judge */
    };
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pv_bytes out;
        pv_error error = {0};
        pv_bytes_init(&out, &allocator);
        if (walk(&allocator, cases[i].text, strlen(cases[i].text), &out, &error) != PV_OK)
            fail_msg("%s: %s", cases[i].text, error.message);
        assert_string_equal(out.data, cases[i].tokens);
        pv_bytes_free(&out);
    }
}

static void what_is_no_json_is_refused_where_it_goes_wrong(void **state)
{
    static const struct {
        const char *text;
        size_t offset;
        const char *wanted; /* in the message */
    } cases[] = {
        {"", 0, "wanted a value"},
        {"  ", 2, "wanted a value"},
        {"{", 1, "wanted a string as key or }"},
        {"[", 1, "wanted a value or ]"},
        {"}", 0, "wanted a value"},
        {"[1,]", 3, "found ']', wanted a value"},
        {"[,1]", 1, "found ','"},
        {"[1 2]", 3, "wanted , or ]"},
        {"[1}", 2, "wanted , or ]"},
        {"{\"a\":1]", 6, "wanted , or }"},
        {"{\"a\":1,}", 7, "wanted a string as key"},
        {"{\"a\"}", 4, "wanted : after a key"},
        {"{\"a\":}", 5, "wanted a value"},
        {"{a:1}", 1, "wanted a string as key or }"},
        {"{1:1}", 1, "wanted a string as key or }"},
        {"{'a':1}", 1, "found '''"},
        {"1 2", 2, "wanted end of text"},
        {"{}}", 2, "wanted end of text"},
        {"{},", 2, "wanted end of text"},
        {"01", 1, "wanted end of text"},
        {"+1", 0, "wanted a value"},
        {"-", 1, "wanted a digit"},
        {"-a", 1, "wanted a digit"},
        {".5", 0, "wanted a value"},
        {"1.", 2, "wanted a digit after the decimal point"},
        {"1.e3", 2, "wanted a digit after the decimal point"},
        {"1e", 2, "wanted a digit in the exponent"},
        {"1e+", 3, "wanted a digit in the exponent"},
        {"0x10", 1, "wanted end of text"},
        {"NaN", 0, "wanted a value"},
        {"Infinity", 0, "wanted a value"},
        {"-Infinity", 1, "wanted a digit"},
        {"tru", 3, "wanted true"},
        {"trUe", 2, "wanted true"},
        {"nulll", 4, "wanted end of text"},
        {"\"a", 2, "wanted \" at the end of a string"},
        {"\"a\nb\"", 2, "control characters"},
        {"\"\t\"", 1, "control characters"},
        {"\"\\a\"", 2, "an escape"},
        {"\"\\u12g4\"", 2, "an escape"},
        {"\"\\u123", 2, "an escape"},
        {"\"\\", 2, "an escape"},
        {"\"\xff\"", 1, "found byte 0xff, wanted valid UTF-8"},
        {"\"\xc0\x80\"", 1, "valid UTF-8"},
        {"\"\xed\xa0\x80\"", 1, "valid UTF-8"},
        {"\"\xe2\x82\"", 1, "valid UTF-8"},
        {"\xef\xbb\xbf{}", 0, "found byte 0xef"}, /* a byte order mark */
        {"[1] // c", 4, "wanted end of text"},
        {"/**/1", 0, "wanted a value"},
        {"\v1", 0, "found byte 0x0b"},
        {"\x7f", 0, "found byte 0x7f"},
    };
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pv_bytes out;
        pv_error error = {0};
        pv_bytes_init(&out, &allocator);
        if (walk(&allocator, cases[i].text, strlen(cases[i].text), &out, &error) != PV_BAD_FILE) fail_msg("%s", cases[i].text);
        if (error.offset != cases[i].offset || !strstr(error.message, cases[i].wanted))
            fail_msg("%s: offset %d: %s", cases[i].text, (int)error.offset, error.message);
        assert_string_equal(error.op, "test.json");
        assert_memory_equal(error.message, "test.json: ", 11);
        pv_bytes_free(&out);
    }
}

static void a_nul_ends_no_text(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    pv_bytes out;
    (void)state;
    pv_bytes_init(&out, &allocator);
    assert_int_equal(walk(&allocator, "1\0", 2, &out, NULL), PV_BAD_FILE);
    assert_int_equal(walk(&allocator, "\"\0\"", 3, &out, NULL), PV_BAD_FILE);
    out.length = 0;
    assert_int_equal(walk(&allocator, "\"a\\u0000b\"", 10, &out, NULL), PV_OK);
    assert_int_equal(out.length, 6);
    assert_memory_equal(out.data, "S\"a\0b\"", 6);
    pv_bytes_free(&out);
}

static const char document[] =
    "{\"dtype\":\"F16\",\"shape\":[64,-128.5e3],\"x\":{\"\\u00e9\":[null,true,{\"deep\":[]}]},\"y\":false}";

static void no_beginning_of_a_text_is_a_text(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    for (size_t length = 0; length < sizeof document - 1; length++) {
        pv_bytes out;
        pv_error error;
        char *exact = malloc(length + 1); /* the sanitizer sees a read behind it */
        memcpy(exact, document, length);
        char *moved = length ? realloc(exact, length) : exact;
        pv_bytes_init(&out, &allocator);
        if (walk(&allocator, moved, length, &out, &error) != PV_BAD_FILE) fail_msg("%zu bytes are a text", length);
        assert_true(error.offset <= length);
        pv_bytes_free(&out);
        free(moved);
    }
}

static void depth_is_bounded(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    char text[2 * PV_JSON_MAX_DEPTH + 3];
    pv_bytes out;
    pv_error error;
    (void)state;
    for (int depth = PV_JSON_MAX_DEPTH; depth <= PV_JSON_MAX_DEPTH + 1; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        pv_bytes_init(&out, &allocator);
        pv_status status = walk(&allocator, text, 2 * (size_t)depth, &out, &error);
        assert_int_equal(status, depth <= PV_JSON_MAX_DEPTH ? PV_OK : PV_BAD_FILE);
        pv_bytes_free(&out);
    }
    assert_non_null(strstr(error.message, "nested deeper than 64 levels"));
    assert_true(error.offset == PV_JSON_MAX_DEPTH);
}

static void offsets_and_strings_point_into_the_text(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    pv_json json;
    (void)state;
    static const char text[] = " { \"key\" : \"value\" }";
    pv_json_init(&json, &allocator, text, strlen(text), "f");
    assert_int_equal(pv_json_expect(&json, PV_JSON_OBJECT, NULL), PV_OK);
    assert_int_equal(json.start, 1);
    assert_int_equal(pv_json_expect(&json, PV_JSON_KEY, NULL), PV_OK);
    assert_int_equal(json.start, 3);
    assert_ptr_equal(json.string, text + 4);
    assert_true(pv_json_is(&json, "key"));
    assert_false(pv_json_is(&json, "ke"));
    assert_false(pv_json_is(&json, "keys"));
    assert_int_equal(pv_json_expect(&json, PV_JSON_STRING, NULL), PV_OK);
    assert_int_equal(json.start, 11);
    assert_true(pv_json_is(&json, "value"));
    assert_int_equal(pv_json_expect(&json, PV_JSON_OBJECT_END, NULL), PV_OK);
    assert_false(pv_json_is(&json, ""));
    assert_int_equal(pv_json_expect(&json, PV_JSON_END, NULL), PV_OK);
    assert_int_equal(pv_json_expect(&json, PV_JSON_END, NULL), PV_OK); /* the end stays */
    pv_json_free(&json);
}

static void another_type_than_expected_is_named(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    pv_json json;
    pv_error error;
    int64_t number;
    double real;
    (void)state;
    pv_json_init(&json, &allocator, "[\"a\"]", 5, "config.json");
    assert_int_equal(pv_json_expect(&json, PV_JSON_OBJECT, &error), PV_BAD_FILE);
    assert_string_equal(error.message, "config.json: JSON at offset 0: found an array, wanted an object");
    assert_int_equal(pv_json_expect(&json, PV_JSON_NUMBER, &error), PV_BAD_FILE);
    assert_string_equal(error.message, "config.json: JSON at offset 1: found a string, wanted a number");
    assert_int_equal(pv_json_int(&json, &number, &error), PV_BAD_FILE);
    assert_int_equal(pv_json_double(&json, &real, &error), PV_BAD_FILE);
    assert_non_null(strstr(error.message, "found a string, wanted a number"));
    pv_json_free(&json);
}

static void skipping_moves_past_whole_values(void **state)
{
    pv_allocator allocator = pv_allocator_default();
    pv_json json;
    (void)state;
    static const char text[] = "{\"a\":{\"x\":[1,{\"y\":[]}]},\"b\":[[],2],\"c\":\"s\",\"d\":5}";
    pv_json_init(&json, &allocator, text, strlen(text), "f");
    assert_int_equal(pv_json_expect(&json, PV_JSON_OBJECT, NULL), PV_OK);
    for (const char *key = "abcd"; *key; key++) {
        assert_int_equal(pv_json_expect(&json, PV_JSON_KEY, NULL), PV_OK);
        assert_memory_equal(json.string, key, 1);
        if (*key == 'b') { /* from the value itself */
            assert_int_equal(pv_json_expect(&json, PV_JSON_ARRAY, NULL), PV_OK);
        }
        if (*key == 'd') {
            assert_int_equal(pv_json_expect(&json, PV_JSON_NUMBER, NULL), PV_OK);
        }
        assert_int_equal(pv_json_skip(&json, NULL), PV_OK);
    }
    assert_int_equal(pv_json_expect(&json, PV_JSON_OBJECT_END, NULL), PV_OK);
    assert_int_equal(pv_json_expect(&json, PV_JSON_END, NULL), PV_OK);
    pv_json_free(&json);

    pv_json_init(&json, &allocator, "[[1,2}", 6, "f");
    assert_int_equal(pv_json_expect(&json, PV_JSON_ARRAY, NULL), PV_OK);
    assert_int_equal(pv_json_expect(&json, PV_JSON_ARRAY, NULL), PV_OK);
    assert_int_equal(pv_json_skip(&json, NULL), PV_BAD_FILE);
    pv_json_free(&json);

    pv_json_init(&json, &allocator, "{\"a\":x}", 7, "f");
    assert_int_equal(pv_json_expect(&json, PV_JSON_OBJECT, NULL), PV_OK);
    assert_int_equal(pv_json_expect(&json, PV_JSON_KEY, NULL), PV_OK);
    assert_int_equal(pv_json_skip(&json, NULL), PV_BAD_FILE);
    pv_json_free(&json);
}

static pv_status number_of(const char *text, int64_t *integer, double *real, pv_status *real_status)
{
    pv_allocator allocator = pv_allocator_default();
    pv_json json;
    pv_json_init(&json, &allocator, text, strlen(text), "f");
    assert_int_equal(pv_json_expect(&json, PV_JSON_NUMBER, NULL), PV_OK);
    *real_status = pv_json_double(&json, real, NULL);
    pv_status status = pv_json_int(&json, integer, NULL);
    pv_json_free(&json);
    return status;
}

static void integers_are_exact_or_refused(void **state)
{
    static const struct {
        const char *text;
        pv_status status;
        int64_t value;
    } cases[] = {
        {"0", PV_OK, 0},
        {"-0", PV_OK, 0},
        {"131072", PV_OK, 131072},
        {"9223372036854775807", PV_OK, INT64_MAX},
        {"-9223372036854775808", PV_OK, INT64_MIN},
        {"9223372036854775808", PV_BAD_FILE, 0},
        {"-9223372036854775809", PV_BAD_FILE, 0},
        {"1000000000000000019884624838656", PV_BAD_FILE, 0},
        {"1.0", PV_BAD_FILE, 0},
        {"1e3", PV_BAD_FILE, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t value = 77;
        double real;
        pv_status real_status;
        if (number_of(cases[i].text, &value, &real, &real_status) != cases[i].status) fail_msg("%s", cases[i].text);
        assert_true(value == (cases[i].status == PV_OK ? cases[i].value : 77));
        assert_int_equal(real_status, PV_OK);
    }
}

static void reals_are_the_nearest_double_in_every_locale(void **state)
{
    static const struct {
        const char *text;
        double value;
    } cases[] = {
        {"0.1", 0.1},
        {"-2.5e-3", -2.5e-3},
        {"500000.0", 500000.0},
        {"1e-05", 1e-05},
        {"1000000000000000019884624838656", 1e30},
        {"9007199254740993", 9007199254740992.0},
        {"1.7976931348623157e308", 1.7976931348623157e308},
        {"4.9e-324", 4.9e-324},
        {"1e-999", 0},
        {"-0.0", -0.0},
    };
    static const char *const locales[] = {"C", "de_DE.UTF-8", "fr_FR.UTF-8"}; /* the machine may lack some */
    int64_t integer;
    pv_status status;
    (void)state;
    for (size_t l = 0; l < 3; l++) {
        if (!setlocale(LC_ALL, locales[l])) continue;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            double value = NAN;
            number_of(cases[i].text, &integer, &value, &status);
            assert_int_equal(status, PV_OK);
            if (memcmp(&value, &cases[i].value, sizeof value) != 0) fail_msg("%s is read as %.17g", cases[i].text, value);
        }
    }
    setlocale(LC_ALL, "C");
    double value;
    number_of("1e999", &integer, &value, &status);
    assert_int_equal(status, PV_BAD_FILE);
    char many[2001];
    memset(many, '1', 2000);
    many[2000] = 0;
    number_of(many, &integer, &value, &status);
    assert_int_equal(status, PV_BAD_FILE);
    memset(many + 1, '0', 1000);
    many[1] = '.';
    many[1001] = 0;
    number_of(many, &integer, &value, &status);
    assert_int_equal(status, PV_OK);
    assert_true(value == 1);
}

static void only_escapes_take_memory_and_its_lack_is_an_error(void **state)
{
    static const char text[] = "[\"\\n12345678901234567890\",{\"\\t1234567890123456789012345678901234567890\":\"\\\\\"}]";
    (void)state;
    uint64_t fail_at = 0;
    pv_status status = PV_OUT_OF_MEMORY;
    while (status != PV_OK) {
        rt_memory memory;
        pv_allocator plain = pv_allocator_default();
        pv_bytes out;
        pv_error error;
        pv_bytes_init(&out, &plain);
        rt_memory_init(&memory, ++fail_at);
        status = walk(&memory.allocator, text, strlen(text), &out, &error);
        assert_true(status == PV_OK || status == PV_OUT_OF_MEMORY);
        if (status != PV_OK) assert_int_equal(error.status, PV_OUT_OF_MEMORY);
        assert_int_equal(memory.live, 0);
        pv_bytes_free(&out);
    }
    assert_int_equal(fail_at, 3); /* 24 bytes, then 41 */
    rt_memory memory;
    pv_allocator plain = pv_allocator_default();
    pv_bytes out;
    pv_bytes_init(&out, &plain);
    rt_memory_init(&memory, 1);
    assert_int_equal(walk(&memory.allocator, "{\"a\":[\"b\",1.5,\"\u00e9\"]}", 20, &out, NULL), PV_OK);
    assert_int_equal(memory.calls, 0);
    pv_bytes_free(&out);
}

/* A caller that goes on after an error gets errors or tokens, never a crash. */
static void reading_on_after_an_error_is_harmless(void **state)
{
    static const char *const texts[] = {"[1,]", "{\"a\":tru", "{\"a\\q\":1}", "[\"\xff\"]", "]]]]", "{\"a\":1]}", "{,}"};
    pv_allocator allocator = pv_allocator_default();
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        pv_json json;
        int failures = 0;
        pv_json_init(&json, &allocator, texts[i], strlen(texts[i]), "f");
        for (int n = 0; n < 100; n++) failures += pv_json_next(&json, NULL) != PV_OK;
        assert_true(failures > 0);
        assert_true(json.depth <= PV_JSON_MAX_DEPTH);
        pv_json_free(&json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_read_token_by_token),
        cmocka_unit_test(what_is_no_json_is_refused_where_it_goes_wrong),
        cmocka_unit_test(a_nul_ends_no_text),
        cmocka_unit_test(no_beginning_of_a_text_is_a_text),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(offsets_and_strings_point_into_the_text),
        cmocka_unit_test(another_type_than_expected_is_named),
        cmocka_unit_test(skipping_moves_past_whole_values),
        cmocka_unit_test(integers_are_exact_or_refused),
        cmocka_unit_test(reals_are_the_nearest_double_in_every_locale),
        cmocka_unit_test(only_escapes_take_memory_and_its_lack_is_an_error),
        cmocka_unit_test(reading_on_after_an_error_is_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
