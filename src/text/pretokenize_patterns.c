/* Matchers for the regular expressions that most models use, written out by hand. Each gives what the expression gives: the
 * alternatives in their order, with backtracking replaced by what it would come to. */
#include "text/pretokenize.h"

#include <string.h>

#include "text/unicode.h"

/* Where a run of characters that have any of `classes` ends. */
static size_t run_end(const char *text, size_t length, size_t at, uint8_t classes)
{
    size_t bytes;
    while (at < length && (pv_utf8_class(text + at, &bytes) & classes)) at += bytes;
    return at;
}

/* Where a run of characters that have none of `classes` ends. */
static size_t run_end_without(const char *text, size_t length, size_t at, uint8_t classes)
{
    size_t bytes;
    while (at < length && !(pv_utf8_class(text + at, &bytes) & classes)) at += bytes;
    return at;
}

/* The bytes of 's|'t|'re|'ve|'m|'ll|'d at `at`, 0 if there is none. Folded, s is also the long s, U+017F. */
static size_t contraction(const char *text, size_t length, size_t at, bool fold)
{
    if (length - at < 2 || text[at] != '\'') return 0;
    uint8_t first = (uint8_t)text[at + 1], second = length - at > 2 ? (uint8_t)text[at + 2] : 0;
    if (fold) {
        if (first == 0xc5 && second == 0xbf) return 3;
        if (first >= 'A' && first <= 'Z') first |= 0x20;
        if (second >= 'A' && second <= 'Z') second |= 0x20;
    }
    switch (first) {
    case 's':
    case 't':
    case 'm':
    case 'd': return 2;
    case 'r':
    case 'v': return second == 'e' ? 3 : 0;
    case 'l': return second == 'l' ? 3 : 0;
    default: return 0;
    }
}

/* \s+(?!\S)|\s+ at a space: the whole run at the end of the text, else all but its last character, which goes with what
 * follows, else the single one. */
static size_t spaces(const char *text, size_t length, size_t at)
{
    size_t end = run_end(text, length, at, PV_SPACE);
    if (end == length) return end;
    size_t last = pv_utf8_back(text, end);
    return last > at ? last : end;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ at a space: up to the last newline of the run if it has one. */
static size_t spaces_or_lines(const char *text, size_t length, size_t at)
{
    size_t end = run_end(text, length, at, PV_SPACE), newline = end;
    while (newline > at && text[newline - 1] != '\n' && text[newline - 1] != '\r') newline--;
    if (newline > at) return newline;
    if (end == length) return end;
    size_t last = pv_utf8_back(text, end);
    return last > at ? last : end;
}

/* \p{N}{1,n} behind a first number; n = 0: all. */
static size_t numbers(const char *text, size_t length, size_t at, unsigned limit)
{
    size_t bytes;
    for (unsigned count = 0; at < length && (limit == 0 || count < limit); count++, at += bytes)
        if (!(pv_utf8_class(text + at, &bytes) & PV_NUMBER)) break;
    return at;
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static bool find_gpt2(const pv_pattern *pattern, const char *text, size_t length, size_t from, size_t *start, size_t *end)
{
    (void)pattern;
    size_t at = from, bytes;
    if (from >= length) return false;
    *start = from;
    if ((bytes = contraction(text, length, at, false)) != 0) {
        *end = at + bytes;
        return true;
    }
    if (text[at] == ' ' && at + 1 < length) at++;
    uint8_t class = pv_utf8_class(text + at, &bytes);
    if (class & PV_LETTER)
        *end = run_end(text, length, at + bytes, PV_LETTER);
    else if (class & PV_NUMBER)
        *end = run_end(text, length, at + bytes, PV_NUMBER);
    else if (!(class & PV_SPACE))
        *end = run_end_without(text, length, at + bytes, PV_LETTER | PV_NUMBER | PV_SPACE);
    else
        *end = spaces(text, length, from);
    return true;
}

/* ?[^\s\p{L}\p{N}]+[\r\n]* with its space taken: signs to their end, then newlines (and slashes). */
static size_t signs(const pv_pattern *pattern, const char *text, size_t length, size_t at)
{
    at = run_end_without(text, length, at, PV_SPACE | PV_NUMBER | pattern->letters);
    while (at < length && (text[at] == '\n' || text[at] == '\r' || (pattern->slash && text[at] == '/'))) at++;
    return at;
}

/* What GPT-4's family has behind its words: numbers, signs, spaces. `class`: of the character at `at`, of `bytes` bytes. */
static size_t not_a_word(const pv_pattern *pattern, const char *text, size_t length, size_t at, uint8_t class, size_t bytes)
{
    size_t next_bytes;
    if (class & PV_NUMBER) return numbers(text, length, at, pattern->digits);
    if (!(class & PV_SPACE)) return signs(pattern, text, length, at);
    size_t next = at + bytes;
    if (text[at] == ' ' && next < length &&
        !(pv_utf8_class(text + next, &next_bytes) & (PV_SPACE | PV_NUMBER | pattern->letters)))
        return signs(pattern, text, length, next);
    return spaces_or_lines(text, length, at);
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,n}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 * and the same with \p{M} among the letters. */
static bool find_gpt4(const pv_pattern *pattern, const char *text, size_t length, size_t from, size_t *start, size_t *end)
{
    size_t bytes, next_bytes;
    if (from >= length) return false;
    *start = from;
    if ((bytes = contraction(text, length, from, true)) != 0) {
        *end = from + bytes;
        return true;
    }
    uint8_t class = pv_utf8_class(text + from, &bytes);
    size_t next = from + bytes;
    if ((class & pattern->letters) ||
        (!(class & (PV_NEWLINE | PV_NUMBER)) && next < length && (pv_utf8_class(text + next, &next_bytes) & pattern->letters)))
        *end = run_end(text, length, next, pattern->letters);
    else
        *end = not_a_word(pattern, text, length, from, class, bytes);
    return true;
}

#define UPPERS (PV_UPPER | PV_CASELESS | PV_MARK)
#define LOWERS (PV_LOWER | PV_CASELESS | PV_MARK)

/* [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+ at `at`; 0 if it does not match. Without a lower-case letter
 * behind the upper-case run, the run gives back characters until the next one serves as lower. */
static size_t capitalized(const char *text, size_t length, size_t at)
{
    size_t bytes, end = at, lower_end = 0;
    for (; end < length; end += bytes) {
        uint8_t class = pv_utf8_class(text + end, &bytes);
        if (!(class & UPPERS)) break;
        if (class & LOWERS) lower_end = end + bytes;
    }
    size_t behind = run_end(text, length, end, LOWERS);
    return behind > end ? behind : lower_end;
}

/* [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]* at `at`; 0 if it does not match. */
static size_t upper_first(const char *text, size_t length, size_t at)
{
    size_t end = run_end(text, length, at, UPPERS);
    return end > at ? run_end(text, length, end, LOWERS) : 0;
}

/* A word at `from`, 0 if there is none: each of the two forms first with a character before it, then without. */
static size_t cased_word(const char *text, size_t length, size_t from, uint8_t class, size_t bytes)
{
    bool lead = !(class & (PV_NEWLINE | PV_LETTER | PV_NUMBER)) && from + bytes < length;
    size_t end = 0;
    if (lead) end = capitalized(text, length, from + bytes);
    if (end == 0) end = capitalized(text, length, from);
    if (end == 0 && lead) end = upper_first(text, length, from + bytes);
    if (end == 0) end = upper_first(text, length, from);
    return end;
}

/* GPT-4o's: words by case, with a contraction at their end; numbers, signs and spaces as in GPT-4's. */
static bool find_gpt4o(const pv_pattern *pattern, const char *text, size_t length, size_t from, size_t *start, size_t *end)
{
    size_t bytes;
    if (from >= length) return false;
    *start = from;
    uint8_t class = pv_utf8_class(text + from, &bytes);
    *end = cased_word(text, length, from, class, bytes);
    if (*end == 0)
        *end = not_a_word(pattern, text, length, from, class, bytes);
    else if (pattern->contractions && *end < length)
        *end += contraction(text, length, *end, true);
    return true;
}

/* \p{N}, \p{N}{1,n} or \p{N}+ */
static bool find_numbers(const pv_pattern *pattern, const char *text, size_t length, size_t from, size_t *start, size_t *end)
{
    *start = run_end_without(text, length, from, PV_NUMBER);
    if (*start >= length) return false;
    *end = numbers(text, length, *start, pattern->digits);
    return true;
}

/* [\r\n] */
static bool find_newline(const pv_pattern *pattern, const char *text, size_t length, size_t from, size_t *start, size_t *end)
{
    (void)pattern;
    while (from < length && text[from] != '\n' && text[from] != '\r') from++;
    *start = from;
    *end = from + 1;
    return from < length;
}

/* \s+$, where $ stands before a newline too: of a run of spaces all if the text ends with it, else up to its last newline,
 * without that one. */
static bool find_line_end(const pv_pattern *pattern, const char *text, size_t length, size_t from, size_t *start, size_t *end)
{
    (void)pattern;
    while (from < length) {
        *start = run_end_without(text, length, from, PV_SPACE);
        if (*start >= length) break;
        size_t behind = run_end(text, length, *start, PV_SPACE);
        if (behind == length) {
            *end = length;
            return true;
        }
        for (*end = behind - 1; *end > *start && text[*end] != '\n';) --*end;
        if (*end > *start) return true;
        from = behind;
    }
    return false;
}

/* The end of a match of DeepSeek 3's expression at `at`, 0 if there is none. Marks count as letters, but may also lead a word.
 */
static size_t deepseek3_at(const char *text, size_t length, size_t at)
{
    size_t bytes, next_bytes, next;
    uint8_t class = pv_utf8_class(text + at, &bytes), following = 0;
    next = at + bytes;
    if (next < length) following = pv_utf8_class(text + next, &next_bytes);
    if (class & PV_SIGN) {
        bool ascii = bytes == 1 && next < length && (uint8_t)text[next] < 0x80;
        if (ascii && (following & PV_LETTER)) {
            while (next < length && (uint8_t)text[next] < 0x80 && (pv_ascii_class[(uint8_t)text[next]] & PV_LETTER)) next++;
            return next;
        }
    } else if (!(class & (PV_NEWLINE | PV_LETTER)) && (following & (PV_LETTER | PV_MARK))) {
        return run_end(text, length, next, PV_LETTER | PV_MARK);
    }
    if (class & (PV_LETTER | PV_MARK)) return run_end(text, length, next, PV_LETTER | PV_MARK);
    if ((class & PV_SIGN) || (text[at] == ' ' && (following & PV_SIGN))) {
        next = run_end(text, length, next, PV_SIGN);
        while (next < length && (text[next] == '\n' || text[next] == '\r')) next++;
        return next;
    }
    return class & PV_SPACE ? spaces_or_lines(text, length, at) : 0;
}

/* An ASCII sign and ASCII letters, words with a character before them, signs, spaces; numbers and controls match nothing. */
static bool find_deepseek3(const pv_pattern *pattern, const char *text, size_t length, size_t from, size_t *start, size_t *end)
{
    (void)pattern;
    for (size_t bytes; from < length; from += bytes) {
        if ((*end = deepseek3_at(text, length, from)) != 0) {
            *start = from;
            return true;
        }
        pv_utf8_class(text + from, &bytes);
    }
    return false;
}

static bool is_cjk(uint32_t c)
{
    return (c >= 0x4e00 && c <= 0x9fa5) || (c >= 0x3040 && c <= 0x30ff);
}

/* [一-龥぀-ゟ゠-ヿ]+ */
static bool find_cjk(const pv_pattern *pattern, const char *text, size_t length, size_t from, size_t *start, size_t *end)
{
    uint32_t code_point = 0;
    size_t bytes;
    (void)pattern;
    for (; from < length; from += bytes) {
        bytes = pv_utf8_step(text + from, &code_point);
        if (is_cjk(code_point)) break;
    }
    *start = from;
    for (; from < length; from += bytes) {
        bytes = pv_utf8_step(text + from, &code_point);
        if (!is_cjk(code_point)) break;
    }
    *end = from;
    return *end > *start;
}

/* \s */
static bool find_space(const pv_pattern *pattern, const char *text, size_t length, size_t from, size_t *start, size_t *end)
{
    size_t bytes;
    (void)pattern;
    *start = run_end_without(text, length, from, PV_SPACE);
    if (*start >= length) return false;
    pv_utf8_class(text + *start, &bytes);
    *end = *start + bytes;
    return true;
}

static size_t punctuation_at(const char *text)
{
    uint32_t code_point;
    size_t bytes = pv_utf8_step(text, &code_point);
    return pv_unicode_punctuation(code_point) ? bytes : 0;
}

/* Punctuation, and in ASCII all signs; one by one, or in runs. */
static bool find_punctuation(const pv_pattern *pattern, const char *text, size_t length, size_t from, size_t *start,
                             size_t *end)
{
    uint32_t code_point;
    size_t bytes = 0;
    while (from < length && (bytes = punctuation_at(text + from)) == 0) from += pv_utf8_step(text + from, &code_point);
    if (from >= length) return false;
    *start = from;
    *end = from + bytes;
    while (pattern->runs && *end < length && (bytes = punctuation_at(text + *end)) > 0) *end += bytes;
    return true;
}

typedef enum word_kind { SPACES, WORD, SIGNS } word_kind;

static word_kind kind_at(const char *text, size_t *bytes)
{
    uint32_t code_point;
    *bytes = pv_utf8_step(text, &code_point);
    if (pv_unicode_word(code_point)) return WORD;
    return pv_unicode_class(code_point) & PV_SPACE ? SPACES : SIGNS;
}

static bool find_words(const pv_pattern *pattern, const char *text, size_t length, size_t from, size_t *start, size_t *end)
{
    size_t bytes = 0;
    (void)pattern;
    while (from < length && kind_at(text + from, &bytes) == SPACES) from += bytes;
    if (from >= length) return false;
    word_kind kind = kind_at(text + from, &bytes);
    *start = from;
    while (from < length && kind_at(text + from, &bytes) == kind) from += bytes;
    *end = from;
    return true;
}

const pv_pattern pv_pattern_words = {.name = "words", .find = find_words};

#define FOLDED_CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define GPT2_WORDS "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"
#define GPT4_WORD "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define GPT4_MARKED_WORD "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+"
#define GPT4_SIGNS "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define GPT4_MARKED_SIGNS "| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*"
#define GPT4_SPACES "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GPT4O_LEAD "[^\\r\\n\\p{L}\\p{N}]?"
#define GPT4O_UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define GPT4O_LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define GPT4O_SIGNS "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*"

static const struct {
    const char *regex;
    pv_pattern pattern;
} known[] = {
    {GPT2_WORDS "|\\s+", {.name = "gpt2", .find = find_gpt2}},
    {FOLDED_CONTRACTIONS GPT4_WORD "|\\p{N}{1,3}" GPT4_SIGNS GPT4_SPACES,
     {.name = "llama3", .find = find_gpt4, .letters = PV_LETTER, .digits = 3}},
    {FOLDED_CONTRACTIONS GPT4_WORD "|\\p{N}" GPT4_SIGNS GPT4_SPACES,
     {.name = "qwen2", .find = find_gpt4, .letters = PV_LETTER, .digits = 1}},
    {FOLDED_CONTRACTIONS GPT4_MARKED_WORD "|\\p{N}" GPT4_MARKED_SIGNS GPT4_SPACES,
     {.name = "qwen3.5", .find = find_gpt4, .letters = PV_LETTER | PV_MARK, .digits = 1}},
    {GPT4O_LEAD GPT4O_UPPER "*" GPT4O_LOWER "+" FOLDED_CONTRACTIONS "?|" GPT4O_LEAD GPT4O_UPPER "+" GPT4O_LOWER
                            "*" FOLDED_CONTRACTIONS "?|\\p{N}{1,3}" GPT4O_SIGNS GPT4_SPACES,
     {.name = "gpt4o", .find = find_gpt4o, .letters = PV_LETTER, .digits = 3, .slash = true, .contractions = true}},
    {GPT4O_LEAD GPT4O_UPPER "*" GPT4O_LOWER "+|" GPT4O_LEAD GPT4O_UPPER "+" GPT4O_LOWER "*|\\p{N}" GPT4O_SIGNS GPT4_SPACES,
     {.name = "tekken", .find = find_gpt4o, .letters = PV_LETTER, .digits = 1, .slash = true}},
    {"\\p{N}", {.name = "number", .find = find_numbers, .digits = 1}},
    {"\\p{N}{1,3}", {.name = "three numbers", .find = find_numbers, .digits = 3}},
    {"\\p{N}+", {.name = "numbers", .find = find_numbers}},
    {"[\\r\\n]", {.name = "newline", .find = find_newline}},
    {"[\r\n]", {.name = "newline", .find = find_newline}},
    {"\\s+$", {.name = "line end", .find = find_line_end}},
    {"\\s", {.name = "space", .find = find_space}},
    {"[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
     "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
     {.name = "deepseek3", .find = find_deepseek3}},
    {"[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", {.name = "cjk", .find = find_cjk}},
    {"[\\p{P}$+<=>\\^`|~]", {.name = "punctuation", .find = find_punctuation}},
    {"[\\p{P}$+<=>\\^`|~]+", {.name = "punctuation in runs", .find = find_punctuation, .runs = true}},
};

const pv_pattern *pv_pattern_at(size_t index, const char **regex)
{
    if (index >= sizeof known / sizeof *known) return NULL;
    *regex = known[index].regex;
    return &known[index].pattern;
}

const pv_pattern *pv_pattern_find(const char *regex, size_t length)
{
    const char *candidate;
    const pv_pattern *pattern;
    for (size_t i = 0; (pattern = pv_pattern_at(i, &candidate)) != NULL; i++)
        if (strlen(candidate) == length && memcmp(candidate, regex, length) == 0) return pattern;
    return NULL;
}
