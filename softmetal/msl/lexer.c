#include "msl/lexer.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

typedef struct sm_lexer {
    sm_tokens *tokens;
    sm_arena *arena;
    sm_lexer_mode mode;
    const char *text;
    size_t at, length;
    size_t line_start; /* offset */
    uint32_t line;
    uint16_t file;
    bool space, fresh; /* fresh: nothing but white space on this line so far */
} sm_lexer;

static bool fail(sm_lexer *lexer, const char *message, uint32_t line, size_t column)
{
    sm_tokens *tokens = lexer->tokens;
    tokens->error = message;
    tokens->error_file = lexer->file;
    tokens->error_line = line;
    tokens->error_column = (uint32_t)column;
    return false;
}

static char peek(const sm_lexer *lexer, size_t ahead)
{
    return lexer->at + ahead < lexer->length ? lexer->text[lexer->at + ahead] : 0;
}

static bool word_start(char c)
{
    return isalpha((unsigned char)c) || c == '_' || c == '$' || (unsigned char)c >= 0x80;
}
static bool word_part(char c)
{
    return word_start(c) || isdigit((unsigned char)c);
}

static void newline(sm_lexer *lexer)
{
    lexer->line++;
    lexer->line_start = lexer->at;
    lexer->fresh = true;
    lexer->space = true;
}

static bool add_token(sm_lexer *lexer, sm_token_kind kind, size_t start, uint32_t line, size_t column)
{
    sm_tokens *tokens = lexer->tokens;
    if (!sm_grow(&tokens->list, tokens->count, &tokens->capacity, sizeof *tokens->list)) {
        lexer->arena->failed = true;
        return false;
    }
    tokens->list[tokens->count++] = (sm_token){
        .start = (uint32_t)start,
        .length = (uint32_t)(lexer->at - start),
        .line = line,
        .column = (uint32_t)column,
        .partner = SM_NO_TOKEN,
        .around = SM_NO_TOKEN,
        .angle = SM_NO_TOKEN,
        .file = lexer->file,
        .kind = (uint8_t)kind,
        .space = lexer->space,
    };
    lexer->space = lexer->fresh = false;
    return true;
}

/* To the end of the line, over continuations; the newline stays. */
static void skip_line(sm_lexer *lexer)
{
    while (lexer->at < lexer->length && lexer->text[lexer->at] != '\n') {
        if (lexer->text[lexer->at] == '\\' && peek(lexer, 1) == '\n') {
            lexer->at += 2;
            newline(lexer);
        } else {
            lexer->at++;
        }
    }
}

static bool file_number(sm_lexer *lexer, const char *name, size_t length)
{
    sm_tokens *tokens = lexer->tokens;
    for (uint32_t i = 0; i < tokens->file_count; i++) {
        if (strlen(tokens->files[i]) == length && memcmp(tokens->files[i], name, length) == 0) {
            lexer->file = (uint16_t)i;
            return true;
        }
    }
    if (tokens->file_count >= UINT16_MAX) return fail(lexer, "too many files", lexer->line, 1);
    if (!sm_grow(&tokens->files, tokens->file_count, &tokens->file_capacity, sizeof *tokens->files)) {
        lexer->arena->failed = true;
        return false;
    }
    tokens->files[tokens->file_count] = sm_arena_copy(lexer->arena, name, length);
    lexer->file = (uint16_t)tokens->file_count++;
    return true;
}

/* `# 12 "name" 2` (the # is behind us): the next line is line 12 of name. */
static bool line_marker(sm_lexer *lexer)
{
    uint64_t line = 0;
    while (isdigit((unsigned char)peek(lexer, 0))) {
        line = line * 10 + (uint64_t)(lexer->text[lexer->at++] - '0');
        if (line > INT32_MAX) return fail(lexer, "line number is too large", lexer->line, 1);
    }
    while (peek(lexer, 0) == ' ') lexer->at++;
    if (peek(lexer, 0) == '"') {
        sm_text name = {0};
        for (lexer->at++; lexer->at < lexer->length && lexer->text[lexer->at] != '"' && lexer->text[lexer->at] != '\n';
             lexer->at++) {
            if (lexer->text[lexer->at] == '\\' && lexer->at + 1 < lexer->length) lexer->at++;
            sm_text_add(&name, lexer->text + lexer->at, 1);
        }
        bool ok = !name.failed && file_number(lexer, name.bytes ? name.bytes : "", name.length);
        if (name.failed) lexer->arena->failed = true;
        sm_text_free(&name);
        if (!ok) return false;
    }
    skip_line(lexer);
    if (lexer->at < lexer->length) lexer->at++;
    newline(lexer);
    lexer->line = (uint32_t)line;
    return true;
}

static bool text_in_line(const char *line, size_t length, const char *wanted)
{
    return memmem(line, length, wanted, strlen(wanted)) != NULL;
}

/* A line that begins with #: line markers count, pragmas are dropped, the rest is not for us. */
static bool directive(sm_lexer *lexer)
{
    size_t start = lexer->at++;
    if (lexer->mode == SM_LEX_ORIGINAL) {
        skip_line(lexer);
        return true;
    }
    while (peek(lexer, 0) == ' ' || peek(lexer, 0) == '\t') lexer->at++;
    if (strncmp(lexer->text + lexer->at, "line ", lexer->length - lexer->at < 5 ? lexer->length - lexer->at : 5) == 0 &&
        lexer->length - lexer->at > 5) {
        lexer->at += 5;
    }
    if (isdigit((unsigned char)peek(lexer, 0))) return line_marker(lexer);
    size_t column = start - lexer->line_start + 1;
    uint32_t line = lexer->line;
    size_t word = lexer->at;
    skip_line(lexer);
    size_t length = lexer->at - word;
    if (length < 6 || memcmp(lexer->text + word, "pragma", 6) != 0) {
        return length == 0 ? true : fail(lexer, "a '#' that is no directive", line, column);
    }
    if (text_in_line(lexer->text + word, length, "METAL") && text_in_line(lexer->text + word, length, "math_mode(safe)")) {
        lexer->tokens->math_safe = true;
    }
    return true;
}

static bool comment(sm_lexer *lexer)
{
    uint32_t line = lexer->line;
    size_t column = lexer->at - lexer->line_start + 1;
    if (peek(lexer, 1) == '/') {
        skip_line(lexer);
        lexer->space = true;
        return true;
    }
    for (lexer->at += 2; lexer->at < lexer->length; lexer->at++) {
        if (lexer->text[lexer->at] == '*' && peek(lexer, 1) == '/') {
            lexer->at += 2;
            lexer->space = true;
            return true;
        }
        if (lexer->text[lexer->at] == '\n') {
            bool fresh = lexer->fresh;
            lexer->line++;
            lexer->line_start = lexer->at + 1;
            lexer->fresh = fresh;
        }
    }
    return fail(lexer, "unterminated /* comment", line, column);
}

static bool raw_string(sm_lexer *lexer, size_t start, uint32_t line, size_t column)
{
    size_t delimiter = ++lexer->at;
    while (lexer->at < lexer->length && lexer->text[lexer->at] != '(' && lexer->at - delimiter <= 16) lexer->at++;
    size_t length = lexer->at - delimiter;
    for (; lexer->at < lexer->length; lexer->at++) {
        if (lexer->text[lexer->at] == '\n') {
            lexer->line++;
            lexer->line_start = lexer->at + 1;
        }
        if (lexer->text[lexer->at] == ')' && lexer->length - lexer->at > length + 1 &&
            memcmp(lexer->text + lexer->at + 1, lexer->text + delimiter, length) == 0 &&
            lexer->text[lexer->at + 1 + length] == '"') {
            lexer->at += length + 2;
            return add_token(lexer, SM_STRING, start, line, column);
        }
    }
    return fail(lexer, "unterminated raw string", line, column);
}

static bool quoted(sm_lexer *lexer, size_t start, uint32_t line, size_t column)
{
    char quote = lexer->text[lexer->at++];
    while (lexer->at < lexer->length && lexer->text[lexer->at] != '\n') {
        char c = lexer->text[lexer->at++];
        if (c == quote) return add_token(lexer, quote == '"' ? SM_STRING : SM_CHARACTER, start, line, column);
        if (c == '\\' && lexer->at < lexer->length) {
            if (lexer->text[lexer->at] == '\n') {
                lexer->line++;
                lexer->line_start = lexer->at + 1;
            }
            lexer->at++;
        }
    }
    return fail(lexer, quote == '"' ? "missing terminating '\"' character" : "missing terminating \"'\" character", line,
                column);
}

/* Longest first. */
static const char *const punctuators[] = {"<<=", ">>=", "->*", "...", "::", "->", "++", "--", "<<", "<=", ">=", "==", "!=",
                                          "&&",  "||",  "+=",  "-=",  "*=", "/=", "%=", "&=", "|=", "^=", ".*", "##"};

static size_t punctuator_length(const sm_lexer *lexer)
{
    for (size_t i = 0; i < sizeof punctuators / sizeof *punctuators; i++) {
        size_t length = strlen(punctuators[i]);
        if (lexer->length - lexer->at >= length && memcmp(lexer->text + lexer->at, punctuators[i], length) == 0) return length;
    }
    return 1;
}

static bool number(sm_lexer *lexer, size_t start, uint32_t line, size_t column)
{
    while (lexer->at < lexer->length) {
        char c = lexer->text[lexer->at];
        char last = lexer->text[lexer->at - (lexer->at > start)];
        bool sign = (c == '+' || c == '-') && lexer->at > start && strchr("eEpP", last) && last;
        /* In 0x1e+2 the + is an operator. */
        bool hex = lexer->at - start > 1 && lexer->text[start] == '0' && (lexer->text[start + 1] | 32) == 'x';
        if (sign && hex && (last | 32) == 'e') sign = false;
        if (!(word_part(c) || c == '.' || sign || (c == '\'' && word_part(peek(lexer, 1))))) break;
        lexer->at++;
    }
    return add_token(lexer, SM_NUMBER, start, line, column);
}

/* <: :> <% %> for brackets; <:: is a < before a global name. */
static bool digraph(const sm_lexer *lexer)
{
    char c = peek(lexer, 0), next = peek(lexer, 1), third = peek(lexer, 2), fourth = peek(lexer, 3);
    if ((c == '<' && next == '%') || (c == '%' && next == '>')) return true;
    return (c == ':' && next == '>') || (c == '<' && next == ':' && (third != ':' || fourth == ':' || fourth == '>'));
}

static bool token(sm_lexer *lexer)
{
    size_t start = lexer->at, column = start - lexer->line_start + 1;
    uint32_t line = lexer->line;
    char c = lexer->text[start];
    if (word_start(c)) {
        while (lexer->at < lexer->length && word_part(lexer->text[lexer->at])) lexer->at++;
        size_t length = lexer->at - start;
        char next = peek(lexer, 0);
        if (next == '"' && length <= 3 && lexer->text[lexer->at - 1] == 'R') return raw_string(lexer, start, line, column);
        bool prefix = (length == 1 && strchr("LuU", c)) || (length == 2 && memcmp(lexer->text + start, "u8", 2) == 0);
        if (prefix && (next == '"' || next == '\'')) return quoted(lexer, start, line, column);
        return add_token(lexer, SM_IDENTIFIER, start, line, column);
    }
    if (isdigit((unsigned char)c) || (c == '.' && isdigit((unsigned char)peek(lexer, 1))))
        return number(lexer, start, line, column);
    if (c == '"' || c == '\'') return quoted(lexer, start, line, column);
    if (c == '#' && lexer->mode == SM_LEX_PREPROCESSED) return fail(lexer, "stray '#' in the program", line, column);
    if (!isprint((unsigned char)c)) return fail(lexer, "a character that MSL has no use for", line, column);
    if (digraph(lexer)) return fail(lexer, "digraphs are not simulated: write the bracket itself", line, column);
    lexer->at += punctuator_length(lexer);
    return add_token(lexer, SM_PUNCTUATOR, start, line, column);
}

static bool step(sm_lexer *lexer)
{
    char c = lexer->text[lexer->at], next = peek(lexer, 1);
    if (c == '\n') {
        lexer->at++;
        newline(lexer);
        return true;
    }
    if (c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v') {
        lexer->at++;
        lexer->space = true;
        return true;
    }
    if (c == '\\' && next == '\n') {
        bool fresh = lexer->fresh;
        lexer->at += 2;
        newline(lexer);
        lexer->fresh = fresh;
        return true;
    }
    if (c == '#' && lexer->fresh) return directive(lexer);
    if (c == '/' && (next == '/' || next == '*')) return comment(lexer);
    return token(lexer);
}

bool sm_lex(sm_tokens *tokens, sm_arena *arena, const char *text, size_t length, const char *name, sm_lexer_mode mode)
{
    *tokens = (sm_tokens){.text = text, .length = length};
    sm_lexer lexer = {.tokens = tokens, .arena = arena, .mode = mode, .text = text, .length = length, .line = 1, .fresh = true};
    if (!file_number(&lexer, name, strlen(name))) return false;
    if (length >= UINT32_MAX) return fail(&lexer, "the text is longer than 4 GiB", 1, 1);
    while (lexer.at < lexer.length) {
        if (!step(&lexer)) return false;
    }
    return !arena->failed;
}

void sm_tokens_free(sm_tokens *tokens)
{
    free(tokens->list);
    free(tokens->files);
    *tokens = (sm_tokens){0};
}

bool sm_is(const sm_tokens *tokens, uint32_t index, const char *text)
{
    if (index >= tokens->count) return false;
    const sm_token *t = &tokens->list[index];
    return t->kind != SM_STRING && tokens->text[t->start] == text[0] && strlen(text) == t->length &&
           memcmp(tokens->text + t->start, text, t->length) == 0;
}

bool sm_token_is(const sm_tokens *tokens, uint32_t index, sm_token_kind kind)
{
    return index < tokens->count && tokens->list[index].kind == kind;
}
