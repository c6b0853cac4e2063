/* Tokens of MSL text, preprocessed or as the user wrote it. */
#ifndef SOFTMETAL_MSL_LEXER_H
#define SOFTMETAL_MSL_LEXER_H

#include "msl/text.h"

typedef enum sm_token_kind { SM_IDENTIFIER, SM_NUMBER, SM_STRING, SM_CHARACTER, SM_PUNCTUATOR } sm_token_kind;

#define SM_NO_TOKEN UINT32_MAX

/* `>` is always a token of its own, so that the end of nested template arguments is; output without spaces joins it again. */
typedef struct sm_token {
    uint32_t start, length; /* bytes of the text */
    uint32_t line, column;  /* as line markers say; counted from 1, in bytes */
    uint32_t partner;       /* of ( [ { < and their ends, or SM_NO_TOKEN */
    uint32_t around;        /* the innermost ( [ { that holds it, or SM_NO_TOKEN */
    uint32_t angle;         /* the innermost < inside of that, or SM_NO_TOKEN; only a guess until it has a partner */
    uint16_t file;
    uint8_t kind;            /* sm_token_kind */
    bool space;              /* white space before it */
    bool dropped;            /* not written */
    const char *replacement; /* written instead, or NULL */
    const char *before;      /* written before it, or NULL */
    const char *after;       /* written behind it, or NULL */
} sm_token;

typedef struct sm_tokens {
    const char *text;
    size_t length;
    sm_token *list;
    uint32_t count, capacity;
    const char **files; /* by sm_token.file; in the arena */
    uint32_t file_count, file_capacity;
    bool math_safe; /* `#pragma METAL fp math_mode(safe)` was seen */
    /* What went wrong: a message and where, or NULL. */
    const char *error;
    uint32_t error_line, error_column;
    uint16_t error_file;
} sm_tokens;

typedef enum sm_lexer_mode {
    SM_LEX_PREPROCESSED, /* `# 3 "file"` sets line and file; pragmas are skipped */
    SM_LEX_ORIGINAL,     /* directives are skipped */
} sm_lexer_mode;

/* False if the text cannot be read (`error` is set) or memory ran out (arena->failed). `text` must outlive the tokens. */
bool sm_lex(sm_tokens *tokens, sm_arena *arena, const char *text, size_t length, const char *name, sm_lexer_mode mode);
/* Finds partners. False with `error` set where brackets do not match or are nested too deeply. */
bool sm_match_brackets(sm_tokens *tokens, sm_arena *arena);
void sm_tokens_free(sm_tokens *tokens);

/* True if token `index` is there and is this text. */
bool sm_is(const sm_tokens *tokens, uint32_t index, const char *text);
bool sm_token_is(const sm_tokens *tokens, uint32_t index, sm_token_kind kind);

#endif
