/* Regular expressions that have no matcher of their own, on PCRE2: interpreted, with bounds on time and memory. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pretokenize.h"

#include <pcre2.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "text/unicode.h"

/* Backtracking steps of one attempt, besides a few for each byte: \s*[\r\n]+ gives back a run of spaces one by one. */
#define MATCH_STEPS 1000000u
#define MATCH_STEPS_PER_BYTE 4u
/* What an attempt may take without being counted, and how many times the most of one attempt those that are may take together:
 * so that a pattern that looks through the whole text at each of its characters is stopped. */
#define FEW_STEPS 1024u
#define LONG_ATTEMPTS 16u
#define HEAP_KIB (64u << 10)
#define NESTING 128u

struct pv_regex {
    const pv_allocator *allocator;
    pcre2_general_context *general;
    pcre2_code *code;
};

struct pv_regex_scratch {
    const pv_regex *regex;
    pcre2_match_context *context;
    pcre2_match_data *data;
    uint64_t spent; /* steps of attempts that took more than a few */
};

static void *take(PCRE2_SIZE size, void *user)
{
    return pv_alloc(user, size, 1);
}

static void give(void *pointer, void *user)
{
    pv_free(user, pointer);
}

static pv_status compile(pv_regex *regex, const pv_bytes *translated, pv_error *error)
{
    int code;
    PCRE2_SIZE at;
    pv_status status = PV_OK;
    regex->general = pcre2_general_context_create(take, give, (void *)regex->allocator);
    pcre2_compile_context *context = regex->general ? pcre2_compile_context_create(regex->general) : NULL;
    if (!context) return pv_fail_memory(error, translated->length, "a pattern");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_parens_nest_limit(context, NESTING);
    regex->code = pcre2_compile((PCRE2_SPTR)translated->data, translated->length,
                                PCRE2_UTF | PCRE2_UCP | PCRE2_NO_AUTO_CAPTURE | PCRE2_NEVER_BACKSLASH_C, &code, &at, context);
    if (!regex->code) {
        PCRE2_UCHAR reason[128];
        pcre2_get_error_message(code, reason, sizeof reason);
        status =
            code == PCRE2_ERROR_HEAP_FAILED
                ? pv_fail_memory(error, translated->length, "a pattern")
                : pv_fail(error, PV_BAD_FILE, "the pre-tokenizer's pattern is no regular expression: %s, near byte %zu of %.*s",
                          (const char *)reason, (size_t)at, (int)pv_min_size(translated->length, 160), translated->data);
    }
    pcre2_compile_context_free(context);
    return status;
}

pv_status pv_regex_compile(const pv_allocator *allocator, const char *pattern, size_t length, pv_regex **regex, pv_error *error)
{
    pv_bytes translated;
    pv_bytes_init(&translated, allocator);
    pv_regex *made = pv_calloc(allocator, 1, sizeof *made);
    pv_status status =
        made ? pv_regex_translate(pattern, length, &translated, error) : pv_fail_memory(error, sizeof *made, "a pattern");
    if (status == PV_OK && translated.length == 0)
        status = pv_fail(error, PV_UNSUPPORTED, "the pre-tokenizer's pattern is empty");
    if (status == PV_OK) {
        made->allocator = allocator;
        status = compile(made, &translated, error);
    }
    pv_bytes_free(&translated);
    if (status == PV_OK)
        *regex = made;
    else if (made) {
        made->allocator = allocator;
        pv_regex_destroy(made);
    }
    return status;
}

void pv_regex_destroy(pv_regex *regex)
{
    if (!regex) return;
    const pv_allocator *allocator = regex->allocator;
    pcre2_code_free(regex->code);
    pcre2_general_context_free(regex->general);
    pv_free(allocator, regex);
}

pv_regex_scratch *pv_regex_scratch_create(const pv_regex *regex)
{
    pv_regex_scratch *scratch = pv_calloc(regex->allocator, 1, sizeof *scratch);
    if (!scratch) return NULL;
    scratch->regex = regex;
    scratch->context = pcre2_match_context_create(regex->general);
    scratch->data = pcre2_match_data_create(1, regex->general);
    if (!scratch->context || !scratch->data) {
        pv_regex_scratch_destroy(scratch);
        return NULL;
    }
    pcre2_set_heap_limit(scratch->context, HEAP_KIB);
    return scratch;
}

void pv_regex_scratch_destroy(pv_regex_scratch *scratch)
{
    if (!scratch) return;
    pcre2_match_data_free(scratch->data);
    pcre2_match_context_free(scratch->context);
    pv_free(scratch->regex->allocator, scratch);
}

/* Looks for a match that begins at `from` or, unless it is anchored there, behind. Each attempt may take `steps`. */
static int search(const pv_regex *regex, pv_regex_scratch *scratch, const char *text, size_t length, size_t from, bool anchored,
                  uint64_t steps)
{
    uint32_t limit = steps > UINT32_MAX ? UINT32_MAX : (uint32_t)steps;
    pcre2_set_match_limit(scratch->context, limit);
    pcre2_set_depth_limit(scratch->context, limit);
    return pcre2_match(regex->code, (PCRE2_SPTR)text, length, from, PCRE2_NO_UTF_CHECK | (anchored ? PCRE2_ANCHORED : 0),
                       scratch->data, scratch->context);
}

static bool is_limit(int code)
{
    return code == PCRE2_ERROR_MATCHLIMIT || code == PCRE2_ERROR_DEPTHLIMIT;
}

/* The same up to the first attempt that takes more than a few steps, which may have as many as it needs; *from: behind it. */
static int search_long(const pv_regex *regex, pv_regex_scratch *scratch, const char *text, size_t length, size_t *from)
{
    const uint64_t most = (uint64_t)length * MATCH_STEPS_PER_BYTE + MATCH_STEPS;
    uint64_t steps = FEW_STEPS;
    int code = PCRE2_ERROR_NOMATCH;
    while (*from <= length && code == PCRE2_ERROR_NOMATCH && steps == FEW_STEPS) {
        while (is_limit(code = search(regex, scratch, text, length, *from, true, steps)) && steps < most) {
            steps = steps * 8 < most ? steps * 8 : most;
            scratch->spent += steps;
            if (scratch->spent > LONG_ATTEMPTS * most) return code;
        }
        do ++*from;
        while (*from < length && ((uint8_t)text[*from] & 0xc0) == 0x80);
    }
    return code;
}

pv_status pv_regex_find(const pv_regex *regex, pv_regex_scratch *scratch, const char *text, size_t length, size_t from,
                        bool *found, size_t *start, size_t *end, pv_error *error)
{
    int code = PCRE2_ERROR_NOMATCH;
    while (from <= length && code == PCRE2_ERROR_NOMATCH) {
        code = search(regex, scratch, text, length, from, false, FEW_STEPS);
        if (!is_limit(code)) break;
        code = search_long(regex, scratch, text, length, &from);
    }
    *found = code >= 0;
    if (code == PCRE2_ERROR_NOMATCH) return PV_OK;
    if (code == PCRE2_ERROR_NOMEMORY) return pv_fail_memory(error, length, "matching a pattern");
    if (code < 0)
        return pv_fail(error, PV_INVALID_ARGUMENT, "the pre-tokenizer's pattern takes too long on %zu bytes of text", length);
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(scratch->data);
    *start = range[0];
    *end = range[1];
    return PV_OK;
}
