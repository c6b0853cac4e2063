/* Template source to tokens, with Jinja's rules for white space around tags (trim_blocks and lstrip_blocks on). */
#ifndef PV_TEXT_TEMPLATE_LEXER_H
#define PV_TEXT_TEMPLATE_LEXER_H

#include "text/template_value.h"

/* Operators stand in the order of their spellings in template_lexer.c. */
typedef enum tmpl_token_type {
    TOKEN_FLOORDIV, TOKEN_POW, TOKEN_EQ, TOKEN_NE, TOKEN_GE, TOKEN_LE,
    TOKEN_ADD, TOKEN_SUB, TOKEN_DIV, TOKEN_MUL, TOKEN_MOD, TOKEN_TILDE,
    TOKEN_LBRACKET, TOKEN_RBRACKET, TOKEN_LPAREN, TOKEN_RPAREN, TOKEN_LBRACE, TOKEN_RBRACE,
    TOKEN_GT, TOKEN_LT, TOKEN_ASSIGN, TOKEN_DOT, TOKEN_COLON, TOKEN_PIPE, TOKEN_COMMA, TOKEN_SEMICOLON,
    TOKEN_OPERATORS,
    TOKEN_NAME = TOKEN_OPERATORS, TOKEN_STRING, TOKEN_INTEGER, TOKEN_FLOAT,
    TOKEN_DATA, TOKEN_BLOCK_BEGIN, TOKEN_BLOCK_END, TOKEN_VARIABLE_BEGIN, TOKEN_VARIABLE_END, TOKEN_END,
} tmpl_token_type;

typedef struct tmpl_token {
    tmpl_token_type type;
    uint32_t line;
    const char *text; /* NAME, DATA: the text; STRING: between its quotes, escapes as written */
    size_t length;
    int64_t integer;
    double real;
} tmpl_token;

typedef struct tmpl_lexer {
    const char *source; /* valid UTF-8, lines end with \n */
    size_t length, at;
    uint32_t line;
    uint8_t inside;     /* 0 outside tags, else the token type that ends the tag */
    bool line_starts;   /* the last tag ended a line */
    bool pending;       /* `next` is to be given out before anything is read */
    tmpl_token next;
    uint32_t open;      /* brackets in the current tag */
    char closers[PV_TEMPLATE_MAX_PARSE_DEPTH];
    pv_error *error;
} tmpl_lexer;

void tmpl_lexer_init(tmpl_lexer *lexer, const char *source, size_t length, pv_error *error);
pv_status tmpl_lexer_next(tmpl_lexer *lexer, tmpl_token *token);
/* What a string token stands for; `out` has room for 4 × token->length + 1 bytes. */
pv_status tmpl_unescape(const tmpl_lexer *lexer, const tmpl_token *token, char *out, size_t *length);
/* "name 'x'", "operator '+'", "end of template": for messages, cut to the buffer. */
void tmpl_describe(const tmpl_token *token, char *text, size_t size);
pv_status tmpl_fail_line(pv_error *error, uint32_t line, const char *format, ...) PV_PRINTF(3, 4);

#endif
