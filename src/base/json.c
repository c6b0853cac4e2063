#include "base/json.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#if defined(__APPLE__)
#include <xlocale.h>
#endif

#include "base/alloc.h"
#include "base/text.h"

/* The longest number that is converted: an exact decimal double needs no more than 770 digits. */
#define MAX_NUMBER 1100

/* What the grammar allows next. */
enum {
    EXPECT_VALUE,     /* a value: at the start, after a key, after a comma in an array */
    EXPECT_FIRST,     /* a value or ] */
    EXPECT_FIRST_KEY, /* a key or } */
    EXPECT_KEY,       /* a key: after a comma */
    EXPECT_COMMA,     /* a comma, or the end of the open container */
    EXPECT_NOTHING,   /* the text's end */
};

static const char *const expect_text[] = {"a value",         "a value or ]", "a string as key or }",
                                          "a string as key", NULL,           "end of text"};
static const char *const type_text[] = {"end of text", "an object", "}",    "an array", "]",   "a key",
                                        "a string",    "a number",  "true", "false",    "null"};

void pv_json_init(pv_json *json, const pv_allocator *allocator, const char *text, size_t length, const char *file)
{
    *json = (pv_json){.allocator = allocator, .text = text, .length = length, .file = file, .expect = EXPECT_VALUE};
}

void pv_json_free(pv_json *json)
{
    pv_free(json->allocator, json->scratch);
    json->scratch = NULL;
    json->scratch_capacity = 0;
}

/* What stands at `at`, for messages. */
static pv_status fail(const pv_json *json, size_t at, const char *wanted, pv_error *error)
{
    uint8_t found = at < json->length ? (uint8_t)json->text[at] : 0;
    if (at >= json->length)
        return pv_fail_at(error, PV_BAD_FILE, json->file, json->length, "%s: JSON at offset %zu: text ends, wanted %s",
                          json->file, json->length, wanted);
    if (found < 0x20 || found >= 0x7f)
        return pv_fail_at(error, PV_BAD_FILE, json->file, at, "%s: JSON at offset %zu: found byte 0x%02x, wanted %s",
                          json->file, at, found, wanted);
    return pv_fail_at(error, PV_BAD_FILE, json->file, at, "%s: JSON at offset %zu: found '%c', wanted %s", json->file, at,
                      found, wanted);
}

static const char *expected(const pv_json *json)
{
    if (json->expect != EXPECT_COMMA) return expect_text[json->expect];
    return json->kind[json->depth - 1] == PV_JSON_OBJECT ? ", or }" : ", or ]";
}

static void skip_space(pv_json *json)
{
    while (json->at < json->length) {
        char c = json->text[json->at];
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t') break;
        json->at++;
    }
}

/* A value is complete: what may follow depends on what is open. */
static void end_value(pv_json *json)
{
    json->expect = json->depth ? EXPECT_COMMA : EXPECT_NOTHING;
}

static bool hex4(const char *digits, uint32_t *value)
{
    *value = 0;
    for (int i = 0; i < 4; i++) {
        char c = digits[i];
        uint32_t letter = (uint32_t)(c | 0x20) - 'a';
        if (!(c >= '0' && c <= '9') && letter > 5) return false;
        *value = *value << 4 | (c <= '9' ? (uint32_t)(c - '0') : letter + 10);
    }
    return true;
}

/* The escape at text[*at] (a backslash) written to `out`, at most 4 bytes; *at moves behind it. False if it is none. */
static bool unescape(const char *text, size_t length, size_t *at, char *out, size_t *written)
{
    static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    if (length - *at < 2) return false;
    const char *found = text[*at + 1] ? strchr(names, text[*at + 1]) : NULL;
    if (found) {
        out[0] = bytes[found - names];
        *written = 1;
        *at += 2;
        return true;
    }
    uint32_t code, low;
    if (text[*at + 1] != 'u' || length - *at < 6 || !hex4(text + *at + 2, &code)) return false;
    *at += 6;
    if (code >= 0xd800 && code < 0xdc00 && length - *at >= 6 && text[*at] == '\\' && text[*at + 1] == 'u' &&
        hex4(text + *at + 2, &low) && low >= 0xdc00 && low < 0xe000) {
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        *at += 6;
    }
    if (code >= 0xd800 && code < 0xe000) code = 0xfffd; /* a lone half of a pair */
    *written = pv_utf8_encode(code, out);
    return true;
}

/* Finds the closing quote, checking control characters and UTF-8. *escapes tells if unescaping is needed. */
static pv_status scan_string(pv_json *json, size_t *end, bool *escapes, pv_error *error)
{
    const char *text = json->text;
    size_t at = json->start + 1;
    *escapes = false;
    while (at < json->length && text[at] != '"') {
        uint32_t code_point;
        if ((uint8_t)text[at] < 0x20) return fail(json, at, "an escape: control characters may not stand in a string", error);
        if (text[at] == '\\') {
            char out[4];
            size_t written, escape = at;
            if (!unescape(text, json->length, &at, out, &written))
                return fail(json, escape + 1, "an escape: one of \"\\/bfnrt or u and four hexadecimal digits", error);
            *escapes = true;
            continue;
        }
        if ((uint8_t)text[at] < 0x80) {
            at++;
            continue;
        }
        size_t bytes = pv_utf8_decode(text + at, json->length - at, &code_point);
        if (bytes == 0) return fail(json, at, "valid UTF-8", error);
        at += bytes;
    }
    if (at >= json->length) return fail(json, at, "\" at the end of a string", error);
    *end = at;
    return PV_OK;
}

static pv_status read_string(pv_json *json, pv_error *error)
{
    size_t end = 0;
    bool escapes = false;
    pv_status status = scan_string(json, &end, &escapes, error);
    if (status != PV_OK) return status;
    json->at = end + 1;
    json->string = json->text + json->start + 1;
    json->string_length = end - json->start - 1;
    if (!escapes) return PV_OK;
    /* Every escape is longer than what it stands for. */
    if (!pv_grow(json->allocator, (void **)&json->scratch, &json->scratch_capacity, json->string_length, 1))
        return pv_fail_memory(error, json->string_length, json->file);
    size_t length = 0;
    for (size_t at = json->start + 1; at < end;) {
        const char *escape = memchr(json->text + at, '\\', end - at);
        size_t plain = (escape ? (size_t)(escape - json->text) : end) - at, written = 0;
        memcpy(json->scratch + length, json->text + at, plain);
        length += plain;
        at += plain;
        if (!escape) break;
        unescape(json->text, end, &at, json->scratch + length, &written);
        length += written;
    }
    json->string = json->scratch;
    json->string_length = length;
    return PV_OK;
}

static bool is_digit(const pv_json *json, size_t at)
{
    return at < json->length && json->text[at] >= '0' && json->text[at] <= '9';
}

static bool is_char(const pv_json *json, size_t at, char c)
{
    return at < json->length && json->text[at] == c;
}

static pv_status read_number(pv_json *json, pv_error *error)
{
    size_t at = json->start;
    if (is_char(json, at, '-')) at++;
    if (!is_digit(json, at)) return fail(json, at, "a digit", error);
    if (is_char(json, at, '0'))
        at++;
    else
        while (is_digit(json, at)) at++;
    if (is_char(json, at, '.')) {
        at++;
        if (!is_digit(json, at)) return fail(json, at, "a digit after the decimal point", error);
        while (is_digit(json, at)) at++;
    }
    if (is_char(json, at, 'e') || is_char(json, at, 'E')) {
        at++;
        if (is_char(json, at, '+') || is_char(json, at, '-')) at++;
        if (!is_digit(json, at)) return fail(json, at, "a digit in the exponent", error);
        while (is_digit(json, at)) at++;
    }
    json->string = json->text + json->start;
    json->string_length = at - json->start;
    json->at = at;
    return PV_OK;
}

static pv_status read_word(pv_json *json, const char *word, pv_error *error)
{
    for (size_t i = 0; word[i]; i++)
        if (!is_char(json, json->start + i, word[i])) return fail(json, json->start + i, word, error);
    json->at = json->start + strlen(word);
    return PV_OK;
}

static pv_status open_container(pv_json *json, pv_json_type type, pv_error *error)
{
    if (json->depth == PV_JSON_MAX_DEPTH)
        return pv_fail_at(error, PV_BAD_FILE, json->file, json->start, "%s: JSON at offset %zu: nested deeper than %d levels",
                          json->file, json->start, PV_JSON_MAX_DEPTH);
    json->kind[json->depth++] = (uint8_t)type;
    json->expect = type == PV_JSON_OBJECT ? EXPECT_FIRST_KEY : EXPECT_FIRST;
    json->type = type;
    json->at++;
    return PV_OK;
}

static pv_status close_container(pv_json *json, char c, pv_error *error)
{
    bool object = c == '}';
    bool allowed = json->depth && json->kind[json->depth - 1] == (object ? PV_JSON_OBJECT : PV_JSON_ARRAY) &&
                   (json->expect == EXPECT_COMMA || json->expect == (object ? EXPECT_FIRST_KEY : EXPECT_FIRST));
    if (!allowed) return fail(json, json->start, expected(json), error);
    json->depth--;
    json->type = object ? PV_JSON_OBJECT_END : PV_JSON_ARRAY_END;
    json->at++;
    end_value(json);
    return PV_OK;
}

static pv_status read_key(pv_json *json, pv_error *error)
{
    pv_status status = read_string(json, error);
    if (status != PV_OK) return status;
    skip_space(json);
    if (!is_char(json, json->at, ':')) return fail(json, json->at, ": after a key", error);
    json->at++;
    json->type = PV_JSON_KEY;
    json->expect = EXPECT_VALUE;
    return PV_OK;
}

static pv_status read_scalar(pv_json *json, char c, pv_error *error)
{
    pv_status status;
    switch (c) {
    case '"':
        json->type = PV_JSON_STRING;
        status = read_string(json, error);
        break;
    case 't':
        json->type = PV_JSON_TRUE;
        status = read_word(json, "true", error);
        break;
    case 'f':
        json->type = PV_JSON_FALSE;
        status = read_word(json, "false", error);
        break;
    case 'n':
        json->type = PV_JSON_NULL;
        status = read_word(json, "null", error);
        break;
    default:
        if (c != '-' && (c < '0' || c > '9')) return fail(json, json->start, expected(json), error);
        json->type = PV_JSON_NUMBER;
        status = read_number(json, error);
    }
    if (status == PV_OK) end_value(json);
    return status;
}

pv_status pv_json_next(pv_json *json, pv_error *error)
{
    skip_space(json);
    if (json->expect == EXPECT_COMMA && is_char(json, json->at, ',')) {
        json->at++;
        json->expect = json->kind[json->depth - 1] == PV_JSON_OBJECT ? EXPECT_KEY : EXPECT_VALUE;
        skip_space(json);
    }
    json->start = json->at;
    json->string = NULL;
    json->string_length = 0;
    if (json->at >= json->length) {
        if (json->expect != EXPECT_NOTHING) return fail(json, json->at, expected(json), error);
        json->type = PV_JSON_END;
        return PV_OK;
    }
    char c = json->text[json->at];
    if (c == '}' || c == ']') return close_container(json, c, error);
    if (json->expect == EXPECT_NOTHING || json->expect == EXPECT_COMMA) return fail(json, json->at, expected(json), error);
    if (json->expect == EXPECT_KEY || json->expect == EXPECT_FIRST_KEY)
        return c == '"' ? read_key(json, error) : fail(json, json->at, expected(json), error);
    if (c == '{' || c == '[') return open_container(json, c == '{' ? PV_JSON_OBJECT : PV_JSON_ARRAY, error);
    return read_scalar(json, c, error);
}

pv_status pv_json_skip(pv_json *json, pv_error *error)
{
    pv_status status = PV_OK;
    if (json->type == PV_JSON_KEY) status = pv_json_next(json, error);
    if (status != PV_OK || (json->type != PV_JSON_OBJECT && json->type != PV_JSON_ARRAY)) return status;
    for (uint32_t outside = json->depth - 1; json->depth > outside && status == PV_OK;) status = pv_json_next(json, error);
    return status;
}

static pv_status fail_type(const pv_json *json, const char *wanted, pv_error *error)
{
    return pv_fail_at(error, PV_BAD_FILE, json->file, json->start, "%s: JSON at offset %zu: found %s, wanted %s", json->file,
                      json->start, type_text[json->type], wanted);
}

pv_status pv_json_expect(pv_json *json, pv_json_type type, pv_error *error)
{
    pv_status status = pv_json_next(json, error);
    if (status != PV_OK || json->type == type) return status;
    return fail_type(json, type_text[type], error);
}

static pv_status fail_number(const pv_json *json, const char *wanted, pv_error *error)
{
    int shown = json->string_length < 40 ? (int)json->string_length : 40;
    return pv_fail_at(error, PV_BAD_FILE, json->file, json->start, "%s: JSON at offset %zu: found %.*s%s, wanted %s",
                      json->file, json->start, shown, json->string, (size_t)shown < json->string_length ? "…" : "", wanted);
}

pv_status pv_json_int(const pv_json *json, int64_t *value, pv_error *error)
{
    static const char wanted[] = "an integer from -2^63 to 2^63 - 1";
    if (json->type != PV_JSON_NUMBER) return fail_type(json, wanted, error);
    bool negative = json->string[0] == '-';
    int64_t sum = 0;
    for (size_t i = negative; i < json->string_length; i++) {
        int digit = json->string[i] - '0';
        if (digit < 0 || digit > 9 || __builtin_mul_overflow(sum, 10, &sum) ||
            __builtin_add_overflow(sum, negative ? -digit : digit, &sum))
            return fail_number(json, wanted, error);
    }
    *value = sum;
    return PV_OK;
}

pv_status pv_json_double(const pv_json *json, double *value, pv_error *error)
{
    char spelling[MAX_NUMBER];
    if (json->type != PV_JSON_NUMBER) return fail_type(json, "a number", error);
    if (json->string_length >= sizeof spelling) return fail_number(json, "a number of fewer digits", error);
    memcpy(spelling, json->string, json->string_length);
    spelling[json->string_length] = '\0';
    /* The process's locale may write a comma for the decimal point. */
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!plain) return pv_fail_memory(error, sizeof plain, "a locale");
    double parsed = strtod_l(spelling, NULL, plain);
    freelocale(plain);
    if (!isfinite(parsed)) return fail_number(json, "a number that a double can hold", error);
    *value = parsed;
    return PV_OK;
}

bool pv_json_is(const pv_json *json, const char *text)
{
    size_t length = strlen(text);
    return (json->type == PV_JSON_KEY || json->type == PV_JSON_STRING) && json->string_length == length &&
           memcmp(json->string, text, length) == 0;
}
