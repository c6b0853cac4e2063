/* Character classes and normalization form C. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <utf8proc.h>

#include "base/alloc.h"
#include "support_runtime.h"
#include "support_tokenizer.h"
#include "text/unicode.h"

static void classes_of_characters(void **state)
{
    (void)state;
    static const struct {
        uint32_t code_point;
        uint8_t class;
    } wanted[] = {
        {0, 0},
        {'\t', PV_SPACE},
        {'\n', PV_SPACE | PV_NEWLINE},
        {'\v', PV_SPACE},
        {'\f', PV_SPACE},
        {'\r', PV_SPACE | PV_NEWLINE},
        {0x1c, 0},
        {0x1f, 0},
        {' ', PV_SPACE},
        {'!', PV_SIGN},
        {'$', PV_SIGN},
        {'0', PV_NUMBER},
        {'9', PV_NUMBER},
        {'A', PV_UPPER},
        {'Z', PV_UPPER},
        {'_', PV_SIGN},
        {'a', PV_LOWER},
        {'z', PV_LOWER},
        {'~', PV_SIGN},
        {0x7f, 0},
        {0x80, 0},
        {0x85, PV_SPACE},
        {0xa0, PV_SPACE},
        {0xaa, PV_CASELESS},
        {0xad, 0},
        {0xb2, PV_NUMBER},
        {0xbd, PV_NUMBER},
        {0xdf, PV_LOWER},
        {0xd7, PV_SIGN},
        {0x1c5, PV_UPPER},
        {0x2b0, PV_CASELESS},
        {0x301, PV_MARK},
        {0x488, PV_MARK},
        {0x661, PV_NUMBER},
        {0x903, PV_MARK},
        {0x1680, PV_SPACE},
        {0x180e, 0},
        {0x2003, PV_SPACE},
        {0x200b, 0},
        {0x2028, PV_SPACE},
        {0x2029, PV_SPACE},
        {0x202f, PV_SPACE},
        {0x2163, PV_NUMBER},
        {0x3000, PV_SPACE},
        {0x4e2d, PV_CASELESS},
        {0xac00, PV_CASELESS},
        {0xe000, 0},
        {0xfeff, 0},
        {0xfffd, PV_SIGN},
        {0x1d400, PV_UPPER},
        {0x1f600, PV_SIGN},
        {0x10ffff, 0},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        assert_int_equal(pv_unicode_class(wanted[i].code_point), wanted[i].class);
}

static void ascii_classes_are_those_of_the_categories(void **state)
{
    (void)state;
    static const char groups[] = "LMNPSZ";
    static const uint8_t classes[] = {PV_LETTER, PV_MARK, PV_NUMBER, PV_SIGN, PV_SIGN, PV_SPACE};
    for (int32_t c = 0; c < 128; c++) {
        const char *group = strchr(groups, utf8proc_category_string(c)[0]);
        uint8_t wanted = group ? classes[group - groups] : (c >= '\t' && c <= '\r') ? PV_SPACE : 0;
        assert_int_equal((pv_ascii_class[c] & wanted) != 0, wanted != 0);
        assert_int_equal(pv_ascii_class[c] & ~(wanted | PV_NEWLINE), 0);
        assert_int_equal((pv_ascii_class[c] & PV_NEWLINE) != 0, c == '\n' || c == '\r');
    }
}

static void word_characters(void **state)
{
    (void)state;
    static const uint32_t words[] = {'a',    'Z',    '0',    '_',    0xaa,   0xe9,   0x301,  0x661,
                                     0x200c, 0x200d, 0x203f, 0x2163, 0x24b6, 0x4e2d, 0x1f130};
    static const uint32_t others[] = {0, ' ', '-', '!', 0xb2, 0xbd, 0x2014, 0x200b, 0x24b5, 0x1f600};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) assert_true(pv_unicode_word(words[i]));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) assert_false(pv_unicode_word(others[i]));
}

static void valid_bytes_are_counted(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t length, valid;
    } cases[] = {
        {"", 0, 0},
        {"0123456789abcdef\xff", 17, 16},
        {"01234567\xc3\xa9\xc3", 11, 10},
        {"\xc3", 1, 0},
        {"\xf0\x9f\x98\x80", 4, 4},
        {"\xf0\x9f\x98", 3, 0},
        {"a\xed\xa0\x80", 4, 1}, /* a surrogate */
        {"a\xc0\x80", 3, 1},     /* too long a form */
        {"a\0b", 3, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(pv_utf8_valid(cases[i].text, cases[i].length), cases[i].valid);
}

static void assert_form(pv_form_name form, const char *text, size_t length)
{
    static const int options[] = {
        [PV_NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
        [PV_NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
        [PV_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
        [PV_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
    };
    pv_allocator allocator = pv_allocator_default();
    utf8proc_uint8_t *wanted = NULL;
    utf8proc_ssize_t count =
        utf8proc_map((const uint8_t *)text, (utf8proc_ssize_t)length, &wanted, (utf8proc_option_t)options[form]);
    pv_bytes out;
    pv_bytes_init(&out, &allocator);
    pv_unicode_normalize(form, text, length, &out);
    assert_false(out.failed);
    assert_int_equal(out.length, count);
    assert_memory_equal(out.data, wanted, (size_t)count);
    if (pv_unicode_is_normal(form, text, length)) {
        assert_int_equal(length, count);
        assert_memory_equal(text, wanted, length);
    }
    pv_bytes_free(&out);
    free(wanted);
}

static void assert_normal(const char *text, size_t length)
{
    for (pv_form_name form = PV_NFC; form <= PV_NFKD; form++) assert_form(form, text, length);
}

static bool is_inert(uint32_t code_point)
{
    for (size_t i = 0; i < pv_unicode_inert_count; i++)
        if (code_point >= pv_unicode_inert[i].first && code_point <= pv_unicode_inert[i].last) return true;
    return false;
}

static void assert_unchanged(const char *text, size_t length)
{
    pv_allocator allocator = pv_allocator_default();
    for (pv_form_name form = PV_NFC; form <= PV_NFKD; form++) {
        pv_bytes out;
        pv_bytes_init(&out, &allocator);
        pv_unicode_normalize(form, text, length, &out);
        assert_int_equal(out.length, length);
        assert_memory_equal(out.data, text, length);
        pv_bytes_free(&out);
    }
}

/* Alone, behind a letter and before a mark: what stands unchanged in the short cut must do so in truth. */
static void every_character_is_normalized(void **state)
{
    (void)state;
    size_t inert = 0;
    for (uint32_t c = 1; c < 0x110000; c++) {
        char text[16];
        size_t length;
        if (c >= 0xd800 && c < 0xe000) continue;
        text[0] = 'a';
        length = 1 + pv_utf8_encode(c, text + 1);
        length += pv_utf8_encode(0x301, text + length);
        if (is_inert(c)) {
            assert_unchanged(text, length);
            inert++;
            continue;
        }
        assert_normal(text, length);
        assert_normal(text + 1, length - 3);
    }
    assert_true(inert > 200);
}

static void lower(uint32_t code_point, char *out)
{
    char text[4];
    pv_allocator allocator = pv_allocator_default();
    pv_bytes made;
    pv_bytes_init(&made, &allocator);
    pv_unicode_lower(text, pv_utf8_encode(code_point, text), &made);
    strcpy(out, made.data);
    pv_bytes_free(&made);
}

static void characters_have_lower_case(void **state)
{
    (void)state;
    static const struct {
        uint32_t code_point;
        const char *lower;
    } cases[] = {{'a', "a"},           {'Z', "z"},
                 {'[', "["},           {0xc4, "\xc3\xa4"},
                 {0x130, "i\xcc\x87"}, {0x3a3, "\xcf\x83"},
                 {0x3c2, "\xcf\x82"},  {0x1e9e, "\xc3\x9f"},
                 {0x410, "\xd0\xb0"},  {0x4e2d, "\xe4\xb8\xad"},
                 {0x1c4, "\xc7\x86"},  {0x2160, "\xe2\x85\xb0"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char found[16];
        lower(cases[i].code_point, found);
        assert_string_equal(found, cases[i].lower);
    }
}

static void mixtures_are_normalized(void **state)
{
    (void)state;
    static const uint32_t alphabet[] = {'a',     'e',     'o',    ' ',    0xe9,   0x1e63, 0x300,  0x301,   0x307,
                                        0x316,   0x323,   0x345,  0x5b0,  0x5b1,  0x3b1,  0x1f00, 0x304b,  0x3099,
                                        0x4e2d,  0x1100,  0x1161, 0x11a8, 0xac00, 0xac01, 0x958,  0x9c7,   0x9be,
                                        0xb47,   0xb3e,   0x212b, 0xfb01, 0xfdfa, 0x2460, 0xf900, 0x1d15e, 0x1d165,
                                        0x1d16d, 0x1f600, 0x0d46, 0x0d3e, 0x0d4a, 0x410,  0x438,  0x306,   0x30ab};
    uint64_t seed = 5;
    for (int i = 0; i < 40000; i++) {
        char text[4 * 30];
        assert_normal(text, tk_random_text(&seed, alphabet, sizeof alphabet / sizeof *alphabet, 30, text));
    }
    for (int i = 0; i < 300; i++) { /* long runs of marks are sorted in another way */
        char text[4 * 200];
        assert_normal(text, tk_random_text(&seed, alphabet + 6, 8, 200, text));
    }
}

/* Two hundred thousand marks of two classes in turn: those of the lower class come first, and the first acute joins the letter.
 */
static void a_long_run_of_marks(void **state)
{
    (void)state;
    enum { PAIRS = 100000 };
    pv_allocator allocator = pv_allocator_default();
    pv_bytes text, out;
    pv_bytes_init(&text, &allocator);
    pv_bytes_init(&out, &allocator);
    pv_bytes_add(&text, "xa", 2);
    for (int i = 0; i < PAIRS; i++) pv_bytes_add(&text, "\xcc\x81\xcc\x96", 4); /* U+0301 of class 230, U+0316 of 220 */
    pv_unicode_normalize(PV_NFC, text.data, text.length, &out);
    assert_int_equal(out.length, 1 + 2 + 2 * PAIRS + 2 * (PAIRS - 1));
    assert_memory_equal(out.data, "x\xc3\xa1\xcc\x96", 5);
    for (size_t i = 0; i < PAIRS; i++) assert_memory_equal(out.data + 3 + 2 * i, "\xcc\x96", 2);
    for (size_t i = 0; i < PAIRS - 1; i++) assert_memory_equal(out.data + 3 + 2 * (PAIRS + i), "\xcc\x81", 2);
    pv_bytes_free(&text);
    pv_bytes_free(&out);
}

static void normalizing_without_memory(void **state)
{
    (void)state;
    char text[2 + 2 * 40];
    memcpy(text, "a ", 2);
    for (int i = 0; i < 40; i++) memcpy(text + 2 + 2 * i, i % 2 ? "\xcc\x96" : "\xcc\x81", 2);
    for (uint64_t fail_at = 1;; fail_at++) {
        rt_memory memory;
        pv_bytes out;
        rt_memory_init(&memory, fail_at);
        pv_bytes_init(&out, &memory.allocator);
        pv_unicode_normalize(PV_NFC, text, sizeof text, &out);
        bool failed = out.failed;
        pv_bytes_free(&out);
        assert_int_equal(memory.live, 0);
        if (!failed) {
            assert_true(fail_at > 3);
            break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_of_characters),
        cmocka_unit_test(ascii_classes_are_those_of_the_categories),
        cmocka_unit_test(word_characters),
        cmocka_unit_test(valid_bytes_are_counted),
        cmocka_unit_test(every_character_is_normalized),
        cmocka_unit_test(characters_have_lower_case),
        cmocka_unit_test(mixtures_are_normalized),
        cmocka_unit_test(a_long_run_of_marks),
        cmocka_unit_test(normalizing_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
