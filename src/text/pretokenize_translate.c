/* Regular expressions from Oniguruma's syntax, in which tokenizer.json has them, to PCRE2's. Only what is known to mean the
 * same comes through; what PCRE2 reads otherwise is spelled out (\s, \w, ^, $), and all else is refused by name. */
#include "text/pretokenize.h"

#include <string.h>

#include "text/unicode.h"

typedef struct translator {
    const char *pattern;
    size_t length, at;
    pv_bytes *out;
    pv_error *error;
    struct {
        bool fold; /* case is ignored in it */
        bool look; /* it looks ahead or behind */
    } groups[64];  /* those open; the first is the pattern itself */
    size_t depth;
    bool quantifiable; /* something stands before that a quantifier can repeat */
} translator;

/* White_Space; PCRE2's \s also takes U+180E. */
#define SPACE_SET "\\x{09}-\\x{0d} \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define NOT_SPACE_SET                                                                                                          \
    "\\x{00}-\\x{08}\\x{0e}-\\x{1f}!-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}"            \
    "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"
/* Alphabetic, M, Nd, Pc; PCRE2's \w is L, N and the underscore. */
#define WORD_SET                                                                                                               \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"

static void put(translator *t, const char *text)
{
    pv_bytes_add(t->out, text, strlen(text));
}

static pv_status refuse(const translator *t, const char *what)
{
    return pv_fail(t->error, PV_UNSUPPORTED, "the pre-tokenizer's pattern has %s at byte %zu, which is not supported: %.*s",
                   what, t->at, t->length > 160 ? 160 : (int)t->length, t->pattern);
}

static bool ahead(const translator *t, const char *text)
{
    size_t length = strlen(text);
    return t->length - t->at >= length && memcmp(t->pattern + t->at, text, length) == 0;
}

static bool folded(const translator *t)
{
    return t->groups[t->depth].fold;
}

/* Copies one character, escaped where ASCII signs could mean something. */
static pv_status put_literal(translator *t)
{
    uint32_t code_point;
    size_t bytes = pv_utf8_decode(t->pattern + t->at, t->length - t->at, &code_point);
    if (bytes == 0) return refuse(t, "bytes that are not UTF-8");
    if (code_point == 0) return refuse(t, "a NUL character");
    if (bytes > 1 && folded(t)) return refuse(t, "a character beyond ASCII whose case is ignored");
    if (bytes == 1 && (pv_ascii_class[code_point] & PV_SIGN)) put(t, "\\");
    pv_bytes_add(t->out, t->pattern + t->at, bytes);
    t->at += bytes;
    return PV_OK;
}

/* The characters of a general category, "L" or "Lu", that PCRE2 may not know yet, as ranges of a class. */
static void put_newer(translator *t, const char *category)
{
    for (size_t i = 0; i < pv_unicode_newer_count; i++) {
        const pv_unicode_range *range = &pv_unicode_newer[i];
        if (range->value >> 8 != category[0] || (category[1] && (range->value & 0xff) != category[1])) continue;
        pv_bytes_format(t->out, "\\x{%x}-\\x{%x}", range->first, range->last);
    }
}

/* In a class of its own, so that it holds them too; a negated one inside a class stays as it is. */
static void put_category(translator *t, const char *category, bool negated, bool in_class)
{
    if (!in_class) put(t, negated ? "[^" : "[");
    put(t, negated && in_class ? "\\P{" : "\\p{");
    put(t, category);
    put(t, "}");
    if (!negated || !in_class) put_newer(t, category);
    if (!in_class) put(t, "]");
}

/* \p{…} and \P{…}: general categories mean the same in both; scripts are spelled so that PCRE2 does not take script extensions.
 */
static pv_status put_property(translator *t, bool in_class)
{
    static const char *const categories[] = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",  "Nd",
                                             "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S",  "Sm",
                                             "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Cn", "Co"};
    static const char *const scripts[] = {"Han",      "Hiragana", "Katakana", "Hangul", "Latin",
                                          "Cyrillic", "Greek",    "Arabic",   "Hebrew", "Thai",
                                          "Lao",      "Khmer",    "Bengali",  "Tamil",  "Devanagari"};
    bool negated = t->pattern[t->at + 1] == 'P';
    size_t start = t->at + 2, end;
    if (folded(t)) return refuse(t, "\\p where case is ignored");
    if (start >= t->length || t->pattern[start] != '{') return refuse(t, "\\p without braces");
    start++;
    if (start < t->length && t->pattern[start] == '^') {
        negated = !negated;
        start++;
    }
    const char *close = memchr(t->pattern + start, '}', t->length - start);
    if (!close) return refuse(t, "\\p without closing brace");
    end = (size_t)(close - t->pattern);
    for (size_t i = 0; i < sizeof categories / sizeof *categories + sizeof scripts / sizeof *scripts; i++) {
        bool script = i >= sizeof categories / sizeof *categories;
        const char *name = script ? scripts[i - sizeof categories / sizeof *categories] : categories[i];
        if (strlen(name) != end - start || memcmp(name, t->pattern + start, end - start) != 0) continue;
        if (script) {
            put(t, negated ? "\\P{sc:" : "\\p{sc:");
            put(t, name);
            put(t, "}");
        } else {
            put_category(t, name, negated, in_class);
        }
        t->at = end + 1;
        return PV_OK;
    }
    return refuse(t, "a property of that name");
}

static bool hex_digit(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* \xHH, \x{H…} and \uHHHH, of characters; \x80 and above are bytes in Oniguruma. */
static pv_status put_code_point(translator *t)
{
    bool is_u = t->pattern[t->at + 1] == 'u';
    size_t at = t->at + 2;
    bool braces = !is_u && at < t->length && t->pattern[at] == '{';
    size_t most = is_u ? 4 : braces ? 6 : 2, digits = 0;
    uint32_t value = 0;
    at += braces;
    for (; digits < most && at < t->length && hex_digit(t->pattern[at]); digits++, at++) {
        char c = t->pattern[at];
        value = value << 4 | (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    if (braces && (at >= t->length || t->pattern[at++] != '}')) return refuse(t, "a character code that is not closed");
    char encoded[4];
    if (digits == 0 || (is_u && digits != 4) || (!braces && !is_u && (digits != 2 || value >= 0x80)) || value == 0 ||
        pv_utf8_encode(value, encoded) == 0)
        return refuse(t, "a character code of that form");
    if (value >= 0x80 && folded(t)) return refuse(t, "a character beyond ASCII whose case is ignored");
    pv_bytes_format(t->out, "\\x{%x}", value);
    t->at = at;
    return PV_OK;
}

static void put_word_set(translator *t, bool negated, bool in_class)
{
    static const char *const categories[] = {"L", "M", "Nd", "Nl", "Pc"};
    if (!in_class) put(t, negated ? "[^" : "[");
    put(t, WORD_SET);
    for (size_t i = 0; i < sizeof categories / sizeof *categories; i++) put_newer(t, categories[i]);
    if (!in_class) put(t, "]");
}

/* Behind a backslash. In a class some sets are written without brackets of their own. */
static pv_status put_escape(translator *t, bool in_class)
{
    static const struct {
        char letter;
        const char *outside, *inside; /* NULL: refused there */
    } sets[] = {
        {'s', "[" SPACE_SET "]", SPACE_SET},
        {'S', "[^" SPACE_SET "]", NOT_SPACE_SET},
        {'r', "\\r", "\\r"},
        {'n', "\\n", "\\n"},
        {'t', "\\t", "\\t"},
        {'f', "\\f", "\\f"},
        {'v', "\\x{0b}", "\\x{0b}"},
        {'a', "\\x{07}", "\\x{07}"},
        {'e', "\\x{1b}", "\\x{1b}"},
        {'A', "\\A", NULL},
        {'z', "\\z", NULL},
    };
    if (t->at + 1 >= t->length) return refuse(t, "a backslash at its end");
    char letter = t->pattern[t->at + 1];
    if (letter == 'p' || letter == 'P') return put_property(t, in_class);
    if (letter == 'd' || letter == 'D') put_category(t, "Nd", letter == 'D', in_class);
    if ((letter == 'w' || letter == 'W') && (folded(t) || (letter == 'W' && in_class)))
        return refuse(t, "an escape of that letter");
    if (letter == 'w' || letter == 'W') put_word_set(t, letter == 'W', in_class);
    if (memchr("dDwW", letter, 4)) {
        t->at += 2;
        return PV_OK;
    }
    if (letter == 'x' || letter == 'u') return put_code_point(t);
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        const char *text = in_class ? sets[i].inside : sets[i].outside;
        if (sets[i].letter != letter || !text) continue;
        if (letter == 'A' || letter == 'z') t->quantifiable = false;
        put(t, text);
        t->at += 2;
        return PV_OK;
    }
    if ((uint8_t)letter < 0x80 && !(pv_ascii_class[(uint8_t)letter] & (PV_SIGN | PV_SPACE)))
        return refuse(t, "an escape of that letter");
    t->at++;
    return put_literal(t);
}

/* True if a class's next item stands for many characters. */
static bool set_ahead(const translator *t)
{
    return t->at + 1 < t->length && t->pattern[t->at] == '\\' && memchr("sSdDwWpP", t->pattern[t->at + 1], 8) != NULL;
}

/* A class without nested classes and set operations, which PCRE2 10.42 reads as plain characters. */
static pv_status put_class(translator *t)
{
    enum { NOTHING, CHARACTER, SET, RANGE } before = NOTHING; /* what stands before, since '-' depends on it */
    t->at++;
    put(t, "[");
    if (ahead(t, "^")) {
        if (folded(t)) return refuse(t, "a negated character class where case is ignored");
        put(t, "^");
        t->at++;
    }
    if (ahead(t, "]")) return refuse(t, "an empty character class, or one that begins with ]");
    while (t->at < t->length && t->pattern[t->at] != ']') {
        bool range = t->pattern[t->at] == '-' && before != NOTHING && !ahead(t, "-]");
        if (range) {
            if (before != CHARACTER) return refuse(t, "a hyphen behind a set or range in a class");
            put(t, "-");
            if (++t->at >= t->length) break;
        }
        if (ahead(t, "&&")) return refuse(t, "the class intersection &&");
        if (t->pattern[t->at] == '[') return refuse(t, "a class inside a class");
        bool set = set_ahead(t);
        if (range && set) return refuse(t, "a range that ends with a set");
        pv_status status = t->pattern[t->at] == '\\' ? put_escape(t, true) : put_literal(t);
        if (status != PV_OK) return status;
        before = range ? RANGE : set ? SET : CHARACTER;
    }
    if (t->at >= t->length) return refuse(t, "a character class that is not closed");
    t->at++;
    put(t, "]");
    return PV_OK;
}

static pv_status open_group(translator *t)
{
    static const struct {
        const char *open, *as;
        bool fold, look;
    } kinds[] = {
        {"(?:", "(?:", false, false},  {"(?>", "(?>", false, false}, {"(?i:", "(?i:", true, false},
        {"(?=", "(?=", false, true},   {"(?!", "(?!", false, true},  {"(?<=", "(?<=", false, true},
        {"(?<!", "(?<!", false, true}, {"(?", NULL, false, false}, /* all others */
        {"(", "(?:", false, false}, /* groups are never referred to, so that they need no number */
    };
    size_t kind = 0;
    while (!ahead(t, kinds[kind].open)) kind++;
    if (!kinds[kind].as) return refuse(t, "a group of that kind");
    if (t->depth + 1 >= sizeof t->groups / sizeof *t->groups) return refuse(t, "groups nested that deep");
    bool fold = folded(t) || kinds[kind].fold;
    put(t, kinds[kind].as);
    t->at += strlen(kinds[kind].open);
    t->depth++;
    t->groups[t->depth].fold = fold;
    t->groups[t->depth].look = kinds[kind].look;
    t->quantifiable = false;
    return PV_OK;
}

static pv_status close_group(translator *t)
{
    if (t->depth == 0) return refuse(t, "a closing parenthesis too many");
    t->quantifiable = !t->groups[t->depth].look;
    t->depth--;
    t->at++;
    put(t, ")");
    return PV_OK;
}

/* {n}, {n,}, {n,m}, {,m}; anything else in braces is plain text to Oniguruma and refused here. */
static pv_status put_interval(translator *t)
{
    uint32_t bound[2] = {0, 0};
    size_t at = t->at + 1, digits[2] = {0, 0}, part = 0;
    for (; at < t->length && t->pattern[at] != '}'; at++) {
        char c = t->pattern[at];
        if (c == ',' && part == 0) {
            part = 1;
        } else if (c >= '0' && c <= '9' && digits[part] < 5) {
            bound[part] = bound[part] * 10 + (uint32_t)(c - '0');
            digits[part]++;
        } else {
            return refuse(t, "braces that are no number of repetitions");
        }
    }
    if (at >= t->length || (digits[0] == 0 && digits[1] == 0)) return refuse(t, "braces that are no number of repetitions");
    if (bound[0] > 4096 || bound[1] > 4096) return refuse(t, "more than 4096 repetitions");
    if (digits[1] && bound[1] < bound[0]) return refuse(t, "repetitions with the bounds turned round");
    t->at = at + 1;
    if (t->at < t->length && (t->pattern[t->at] == '+' || (t->pattern[t->at] == '?' && part == 0)))
        return refuse(t, "a quantifier behind braces");
    if (part == 0)
        pv_bytes_format(t->out, "{%u}", bound[0]);
    else if (digits[1] == 0)
        pv_bytes_format(t->out, "{%u,}", bound[0]);
    else
        pv_bytes_format(t->out, "{%u,%u}", bound[0], bound[1]);
    return PV_OK;
}

static pv_status put_quantifier(translator *t)
{
    pv_status status = PV_OK;
    if (!t->quantifiable) return refuse(t, "a quantifier with nothing to repeat");
    bool braces = t->pattern[t->at] == '{';
    if (braces) {
        status = put_interval(t);
    } else {
        pv_bytes_add(t->out, t->pattern + t->at, 1);
        t->at++;
    }
    if (status != PV_OK) return status;
    if (t->at < t->length && (t->pattern[t->at] == '?' || (!braces && t->pattern[t->at] == '+'))) {
        pv_bytes_add(t->out, t->pattern + t->at, 1);
        t->at++;
    }
    t->quantifiable = false;
    return PV_OK;
}

/* Letters whose pairs fold to one character ("ss" to "ß", "fi" to "ﬁ") in Oniguruma, not in PCRE2. */
static bool folds_to_one(const translator *t)
{
    static const char *const pairs[] = {"ss", "ff", "fi", "fl", "st"};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (t->length - t->at >= 2 && (t->pattern[t->at] | 0x20) == pairs[i][0] &&
            (t->pattern[t->at + 1] | 0x20) == pairs[i][1])
            return true;
    return false;
}

static pv_status put_next(translator *t)
{
    pv_status status = PV_OK;
    switch (t->pattern[t->at]) {
    case '\\': t->quantifiable = true; return put_escape(t, false);
    case '[': t->quantifiable = true; return put_class(t);
    case '(': return open_group(t);
    case ')': return close_group(t);
    case '*':
    case '+':
    case '?':
    case '{': return put_quantifier(t);
    case '|': put(t, "|"); break;
    case '^': put(t, "(?:\\A|(?<=\\n)(?!\\z))"); break; /* both stand at the lines' ends */
    case '$': put(t, "(?=\\n|\\z)"); break;
    case '.':
        put(t, "[^\\n]");
        t->quantifiable = true;
        t->at++;
        return PV_OK;
    default:
        if (folded(t) && folds_to_one(t)) return refuse(t, "letters that fold to one character where case is ignored");
        if ((status = put_literal(t)) != PV_OK) return status;
        t->quantifiable = true;
        return PV_OK;
    }
    t->at++;
    t->quantifiable = false;
    return PV_OK;
}

pv_status pv_regex_translate(const char *pattern, size_t length, pv_bytes *out, pv_error *error)
{
    translator t = {.pattern = pattern, .length = length, .out = out, .error = error};
    if (length > PV_MAX_REGEX)
        return pv_fail(error, PV_UNSUPPORTED, "the pre-tokenizer's pattern has %zu bytes, more than %u", length, PV_MAX_REGEX);
    while (t.at < length) {
        pv_status status = put_next(&t);
        if (status != PV_OK) return status;
    }
    if (t.depth > 0) return refuse(&t, "a group that is not closed");
    return out->failed ? pv_fail_memory(error, length, "a pattern") : PV_OK;
}
