#include "text/template_lexer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "text/template_unicode.h"

static const char spellings[TOKEN_OPERATORS][3] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                                   "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};

pv_status tmpl_fail_line(pv_error *error, uint32_t line, const char *format, ...)
{
    char message[400];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    message[pv_utf8_complete(message, pv_min_size(length < 0 ? 0 : (size_t)length, sizeof message - 1))] = 0;
    return pv_fail_at(error, PV_BAD_TEMPLATE, "chat template", PV_NO_OFFSET, "line %u: %s", line, message);
}

void tmpl_describe(const tmpl_token *token, char *text, size_t size)
{
    static const char *const names[] = {
        [TOKEN_STRING - TOKEN_OPERATORS] = "a string",
        [TOKEN_INTEGER - TOKEN_OPERATORS] = "an integer",
        [TOKEN_FLOAT - TOKEN_OPERATORS] = "a number",
        [TOKEN_DATA - TOKEN_OPERATORS] = "text",
        [TOKEN_BLOCK_BEGIN - TOKEN_OPERATORS] = "'{%'",
        [TOKEN_BLOCK_END - TOKEN_OPERATORS] = "'%}'",
        [TOKEN_VARIABLE_BEGIN - TOKEN_OPERATORS] = "'{{'",
        [TOKEN_VARIABLE_END - TOKEN_OPERATORS] = "'}}'",
        [TOKEN_END - TOKEN_OPERATORS] = "the end of the template",
    };
    if (token->type < TOKEN_OPERATORS)
        snprintf(text, size, "'%s'", spellings[token->type]);
    else if (token->type == TOKEN_NAME)
        snprintf(text, size, "'%.*s'", (int)pv_utf8_complete(token->text, pv_min_size(token->length, 60)), token->text);
    else
        snprintf(text, size, "%s", names[token->type - TOKEN_OPERATORS]);
}

void tmpl_lexer_init(tmpl_lexer *lexer, const char *source, size_t length, pv_error *error)
{
    *lexer = (tmpl_lexer){.source = source, .length = length, .line = 1, .line_starts = true, .error = error};
}

/* ---- Looking ---- */

static bool looking_at(const tmpl_lexer *lexer, size_t at, const char *text)
{
    size_t length = strlen(text);
    return length <= lexer->length - at && memcmp(lexer->source + at, text, length) == 0;
}

static size_t skip_space(const tmpl_lexer *lexer, size_t at)
{
    while (at < lexer->length) {
        uint32_t c;
        size_t bytes = pv_utf8_decode(lexer->source + at, lexer->length - at, &c);
        if (!bytes || !tmpl_is_space(c)) break;
        at += bytes;
    }
    return at;
}

/* Where text[start, end) ends without white space at its end. */
static size_t trim_end(const tmpl_lexer *lexer, size_t start, size_t end)
{
    while (end > start) {
        size_t last = end - 1;
        uint32_t c;
        while (last > start && ((unsigned char)lexer->source[last] & 0xc0) == 0x80) last--;
        if (!pv_utf8_decode(lexer->source + last, end - last, &c) || !tmpl_is_space(c)) break;
        end = last;
    }
    return end;
}

static void advance(tmpl_lexer *lexer, size_t to)
{
    for (; lexer->at < to; lexer->at++) lexer->line += lexer->source[lexer->at] == '\n';
}

/* Length of what ends a tag: `close`, "-" + close + white space, or "+" + close; 0 if it does not end here. `trims`: a newline
 * behind the plain form belongs to it. */
static size_t match_close(const tmpl_lexer *lexer, size_t at, const char *close, bool trims)
{
    size_t sign = at < lexer->length && (lexer->source[at] == '-' || (trims && lexer->source[at] == '+'));
    if (!looking_at(lexer, at + sign, close)) return 0;
    size_t end = at + sign + 2;
    if (sign && lexer->source[at] == '-') return skip_space(lexer, end) - at;
    if (!sign && trims && end < lexer->length && lexer->source[end] == '\n') end++;
    return end - at;
}

/* ---- Outside tags ---- */

/* The text before a tag: `sign` '-' strips white space; a line that holds nothing else before a block or comment is stripped.
 */
static size_t strip_before(const tmpl_lexer *lexer, size_t start, size_t tag, char sign, bool variable)
{
    if (sign == '-') return trim_end(lexer, start, tag);
    if (sign == '+' || variable) return tag;
    size_t line = tag;
    while (line > start && lexer->source[line - 1] != '\n') line--;
    if (line == start && !lexer->line_starts) return tag;
    return trim_end(lexer, line, tag) == line ? line : tag;
}

static char sign_at(const tmpl_lexer *lexer, size_t at)
{
    char c = at < lexer->length ? lexer->source[at] : 0;
    return c == '-' || c == '+' ? c : 0;
}

/* The end of "{% NAME %}" at `tag`, 0 if it is something else. `close_trims` as for match_close. */
static size_t match_word_tag(const tmpl_lexer *lexer, size_t tag, const char *name, bool close_trims)
{
    for (size_t sign = sign_at(lexer, tag + 2) != 0; sign <= 1; sign--) {
        size_t at = skip_space(lexer, tag + 2 + sign);
        if (!looking_at(lexer, at, name)) continue;
        at = skip_space(lexer, at + strlen(name));
        if (!close_trims && at < lexer->length && lexer->source[at] == '+') continue;
        size_t close = match_close(lexer, at, "%}", close_trims);
        if (close) return at + close;
    }
    return 0;
}

static void end_tag(tmpl_lexer *lexer, size_t end)
{
    advance(lexer, end);
    lexer->line_starts = end > 0 && lexer->source[end - 1] == '\n';
}

static pv_status skip_comment(tmpl_lexer *lexer)
{
    for (size_t at = lexer->at; at + 1 < lexer->length; at++) {
        size_t close = match_close(lexer, at, "#}", true);
        if (close) {
            end_tag(lexer, at + close);
            return PV_OK;
        }
    }
    return tmpl_fail_line(lexer->error, lexer->line, "a comment without its end '#}'");
}

/* Fills `token` with the text up to {% endraw %}. */
static pv_status read_raw(tmpl_lexer *lexer, tmpl_token *token)
{
    size_t start = lexer->at;
    for (size_t at = start; at + 1 < lexer->length; at++) {
        size_t end = looking_at(lexer, at, "{%") ? match_word_tag(lexer, at, "endraw", true) : 0;
        if (!end) continue;
        size_t stop = strip_before(lexer, start, at, sign_at(lexer, at + 2), false);
        *token = (tmpl_token){.type = TOKEN_DATA, .line = lexer->line, .text = lexer->source + start, .length = stop - start};
        end_tag(lexer, end);
        return PV_OK;
    }
    return tmpl_fail_line(lexer->error, lexer->line, "'{%% raw %%}' without '{%% endraw %%}'");
}

static size_t find_tag(const tmpl_lexer *lexer)
{
    for (size_t at = lexer->at; at + 1 < lexer->length; at++) {
        char c = lexer->source[at + 1];
        if (lexer->source[at] == '{' && (c == '{' || c == '%' || c == '#')) return at;
    }
    return lexer->length;
}

/* Reads text up to the next tag and what kind of tag it is; the tag's begin waits in lexer->next. */
static pv_status read_outside(tmpl_lexer *lexer, tmpl_token *token)
{
    size_t start = lexer->at, tag = find_tag(lexer), raw;
    *token = (tmpl_token){.type = TOKEN_DATA, .line = lexer->line, .text = lexer->source + start, .length = tag - start};
    if (tag == lexer->length) {
        advance(lexer, tag);
        if (!token->length) token->type = TOKEN_END;
        return PV_OK;
    }
    char kind = lexer->source[tag + 1], sign = sign_at(lexer, tag + 2);
    token->length = strip_before(lexer, start, tag, sign, kind == '{') - start;
    if (kind == '%' && (raw = match_word_tag(lexer, tag, "raw", false)) != 0) {
        end_tag(lexer, raw);
        lexer->pending = true;
        return read_raw(lexer, &lexer->next);
    }
    advance(lexer, tag + 2 + (sign != 0));
    if (kind == '#') return skip_comment(lexer);
    lexer->inside = kind == '%' ? TOKEN_BLOCK_END : TOKEN_VARIABLE_END;
    lexer->open = 0;
    lexer->pending = true;
    lexer->next = (tmpl_token){.type = kind == '%' ? TOKEN_BLOCK_BEGIN : TOKEN_VARIABLE_BEGIN, .line = lexer->line};
    return PV_OK;
}

/* ---- Numbers and names ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char char_at(const tmpl_lexer *lexer, size_t at)
{
    return at < lexer->length ? lexer->source[at] : 0;
}

/* Digits in groups joined by single underscores. */
static size_t skip_digits(const tmpl_lexer *lexer, size_t at)
{
    while (is_digit(char_at(lexer, at)) || (char_at(lexer, at) == '_' && is_digit(char_at(lexer, at + 1)))) at++;
    return at;
}

/* The end of a number with a fraction or an exponent, 0 if it has neither. */
static size_t match_float(const tmpl_lexer *lexer, size_t start)
{
    if (start > 0 && lexer->source[start - 1] == '.') return 0;
    size_t end = skip_digits(lexer, start), found = 0;
    if (char_at(lexer, end) == '.' && is_digit(char_at(lexer, end + 1))) found = end = skip_digits(lexer, end + 1);
    if ((char_at(lexer, end) | 32) == 'e') {
        size_t sign = char_at(lexer, end + 1) == '+' || char_at(lexer, end + 1) == '-';
        if (is_digit(char_at(lexer, end + 1 + sign))) found = skip_digits(lexer, end + 1 + sign);
    }
    return found;
}

static int digit_value(char c)
{
    if (is_digit(c)) return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

/* As many digits of `base` as there are, an underscore allowed before each. */
static size_t skip_base(const tmpl_lexer *lexer, size_t at, int base)
{
    for (;;) {
        size_t digit = at + (char_at(lexer, at) == '_');
        if (digit_value(char_at(lexer, digit)) >= base) return at;
        at = digit + 1;
    }
}

static pv_status read_integer(tmpl_lexer *lexer, tmpl_token *token)
{
    size_t start = lexer->at, end;
    char prefix = char_at(lexer, start + 1) | 32;
    int base = lexer->source[start] != '0' ? 10 : prefix == 'b' ? 2 : prefix == 'o' ? 8 : prefix == 'x' ? 16 : 1;
    size_t digits = base == 2 || base == 8 || base == 16 ? start + 2 : start;
    end = digits == start ? start + 1 : digits;
    end = skip_base(lexer, end, base);
    if (end == digits) { /* "0x" and no digit: just the zero */
        digits = start;
        end = start + 1;
        base = 10;
    }
    token->type = TOKEN_INTEGER;
    token->integer = 0;
    for (size_t i = digits; i < end; i++) {
        if (lexer->source[i] == '_') continue;
        if (__builtin_mul_overflow(token->integer, base == 1 ? 10 : base, &token->integer) ||
            __builtin_add_overflow(token->integer, digit_value(lexer->source[i]), &token->integer))
            return tmpl_fail_line(lexer->error, lexer->line, "an integer beyond 64 bits");
    }
    lexer->at = end;
    return PV_OK;
}

static pv_status read_number(tmpl_lexer *lexer, tmpl_token *token)
{
    size_t end = match_float(lexer, lexer->at);
    if (!end) return read_integer(lexer, token);
    token->type = TOKEN_FLOAT;
    if (!tmpl_parse_float(lexer->source + lexer->at, end - lexer->at, &token->real))
        return tmpl_fail_line(lexer->error, lexer->line, "a number of %zu digits", end - lexer->at);
    lexer->at = end;
    return PV_OK;
}

static bool read_name(tmpl_lexer *lexer, tmpl_token *token)
{
    size_t start = lexer->at, at = start;
    while (at < lexer->length) {
        uint32_t c;
        size_t bytes = pv_utf8_decode(lexer->source + at, lexer->length - at, &c);
        if (!bytes || !tmpl_is_name(c, at == start)) break;
        at += bytes;
    }
    token->type = TOKEN_NAME;
    token->text = lexer->source + start;
    token->length = at - start;
    lexer->at = at;
    return at > start;
}

static bool read_string(tmpl_lexer *lexer, tmpl_token *token)
{
    size_t start = lexer->at, at = start + 1;
    char quote = lexer->source[start];
    while (at < lexer->length && lexer->source[at] != quote) at += lexer->source[at] == '\\' ? 2 : 1;
    if (at >= lexer->length) return false;
    token->type = TOKEN_STRING;
    token->text = lexer->source + start + 1;
    token->length = at - start - 1;
    advance(lexer, at + 1);
    return true;
}

/* ---- Inside tags ---- */

static pv_status balance(tmpl_lexer *lexer, char c)
{
    static const char openers[] = "([{", closers[] = ")]}";
    const char *found = strchr(openers, c);
    if (found) {
        if (lexer->open == sizeof lexer->closers)
            return tmpl_fail_line(lexer->error, lexer->line, "brackets nested deeper than %zu", sizeof lexer->closers);
        lexer->closers[lexer->open++] = closers[found - openers];
        return PV_OK;
    }
    if (!strchr(closers, c)) return PV_OK;
    if (!lexer->open) return tmpl_fail_line(lexer->error, lexer->line, "'%c' closes nothing", c);
    if (lexer->closers[--lexer->open] == c) return PV_OK;
    return tmpl_fail_line(lexer->error, lexer->line, "found '%c', wanted '%c'", c, lexer->closers[lexer->open]);
}

static pv_status read_operator(tmpl_lexer *lexer, tmpl_token *token)
{
    for (int i = 0; i < TOKEN_OPERATORS; i++) {
        if (!looking_at(lexer, lexer->at, spellings[i])) continue;
        token->type = (tmpl_token_type)i;
        lexer->at += strlen(spellings[i]);
        return balance(lexer, spellings[i][0]);
    }
    unsigned char c = (unsigned char)lexer->source[lexer->at];
    if (c == '"' || c == '\'') return tmpl_fail_line(lexer->error, lexer->line, "a string without its end");
    if (c < 0x20 || c > 0x7e) return tmpl_fail_line(lexer->error, lexer->line, "found byte 0x%02x in a tag", c);
    return tmpl_fail_line(lexer->error, lexer->line, "found '%c' in a tag", c);
}

static pv_status read_inside(tmpl_lexer *lexer, tmpl_token *token)
{
    bool block = lexer->inside == TOKEN_BLOCK_END;
    for (;;) {
        size_t close = lexer->open ? 0 : match_close(lexer, lexer->at, block ? "%}" : "}}", block);
        *token = (tmpl_token){.type = (tmpl_token_type)lexer->inside, .line = lexer->line};
        if (close) {
            end_tag(lexer, lexer->at + close);
            lexer->inside = 0;
            return PV_OK;
        }
        size_t text = skip_space(lexer, lexer->at);
        if (text == lexer->at) break;
        advance(lexer, text);
    }
    if (lexer->at == lexer->length) {
        token->type = TOKEN_END;
        return PV_OK;
    }
    char c = lexer->source[lexer->at];
    if (is_digit(c)) return read_number(lexer, token);
    if (read_name(lexer, token)) return PV_OK;
    if ((c == '\'' || c == '"') && read_string(lexer, token)) return PV_OK;
    return read_operator(lexer, token);
}

pv_status tmpl_lexer_next(tmpl_lexer *lexer, tmpl_token *token)
{
    pv_status status = PV_OK;
    do {
        if (lexer->pending) {
            *token = lexer->next;
            lexer->pending = false;
        } else {
            status = lexer->inside ? read_inside(lexer, token) : read_outside(lexer, token);
        }
    } while (status == PV_OK && token->type == TOKEN_DATA && !token->length);
    return status;
}

/* ---- String literals ---- */

static size_t read_hex(const char *text, size_t length, size_t digits, uint32_t *value)
{
    *value = 0;
    if (length < digits) return 0;
    for (size_t i = 0; i < digits; i++) {
        if (digit_value(text[i]) > 15) return 0;
        *value = *value << 4 | (uint32_t)digit_value(text[i]);
    }
    return digits;
}

/* An escape with a code: \ooo, \xhh, \uhhhh, \Uhhhhhhhh; bytes read behind the backslash, 0 if malformed. */
static size_t read_code(const char *text, size_t length, uint32_t *code)
{
    size_t digits = text[0] == 'x' ? 2 : text[0] == 'u' ? 4 : text[0] == 'U' ? 8 : 0, used = 0;
    if (digits) return read_hex(text + 1, length - 1, digits, code) ? digits + 1 : 0;
    for (*code = 0; used < 3 && used < length && text[used] >= '0' && text[used] <= '7'; used++)
        *code = *code << 3 | (uint32_t)(text[used] - '0');
    return used;
}

pv_status tmpl_unescape(const tmpl_lexer *lexer, const tmpl_token *token, char *out, size_t *length)
{
    static const char names[] = "\\'\"abfnrtv", bytes[] = "\\'\"\a\b\f\n\r\t\v";
    const char *text = token->text, *end = text + token->length;
    char *to = out;
    while (text < end) {
        if (*text != '\\') {
            *to++ = *text++;
            continue;
        }
        const char *found = strchr(names, *++text);
        uint32_t code;
        if (found && *found) {
            *to++ = bytes[found - names];
            text++;
        } else if (*text == '\n') {
            text++;
        } else if (strchr("01234567xuU", *text) && *text) {
            size_t used = read_code(text, (size_t)(end - text), &code), written = used ? pv_utf8_encode(code, to) : 0;
            if (!written) return tmpl_fail_line(lexer->error, token->line, "an escape '\\%c' that is no character", *text);
            text += used;
            to += written;
        } else if (*text == 'N') {
            return tmpl_fail_line(lexer->error, token->line, "the escape '\\N{...}' is not supported");
        } else if ((unsigned char)*text >= 0x80) { /* Python sees the character's own escape behind the backslash */
            text += pv_utf8_decode(text, (size_t)(end - text), &code);
            to += sprintf(to, code < 0x100 ? "\\x%02x" : code < 0x10000 ? "\\u%04x" : "\\U%08x", code);
        } else {
            *to++ = '\\';
        }
    }
    *length = (size_t)(to - out);
    return PV_OK;
}
