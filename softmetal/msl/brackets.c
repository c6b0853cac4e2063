/* Which bracket belongs to which. Angle brackets are guessed at: a < behind a name that finds its > before the statement or the
 * bracket around it ends. The guess only counts where a declaration is being read. */
#include "msl/lexer.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_LIMIT 256 /* clang's -fbracket-depth */

typedef struct sm_open {
    uint32_t token;
    uint32_t around; /* the bracket that is no < around this one */
    char closer;
} sm_open;

typedef struct sm_matcher {
    sm_tokens *tokens;
    sm_arena *arena;
    sm_open *open;
    uint32_t count, capacity, depth;
} sm_matcher;

static bool fail(sm_matcher *matcher, uint32_t index, const char *message)
{
    const sm_token *token = &matcher->tokens->list[index];
    matcher->tokens->error = message;
    matcher->tokens->error_file = token->file;
    matcher->tokens->error_line = token->line;
    matcher->tokens->error_column = token->column;
    return false;
}

static bool push(sm_matcher *matcher, uint32_t index, char closer)
{
    if (!sm_grow(&matcher->open, matcher->count, &matcher->capacity, sizeof *matcher->open)) {
        matcher->arena->failed = true;
        return false;
    }
    matcher->open[matcher->count++] = (sm_open){index, matcher->tokens->list[index].around, closer};
    if (closer != '>' && ++matcher->depth > DEPTH_LIMIT)
        return fail(matcher, index, "bracket nesting level exceeded maximum of 256");
    return true;
}

static void drop_angles(sm_matcher *matcher)
{
    while (matcher->count && matcher->open[matcher->count - 1].closer == '>') matcher->count--;
}

static bool close(sm_matcher *matcher, uint32_t index, char closer)
{
    drop_angles(matcher);
    if (!matcher->count || matcher->open[matcher->count - 1].closer != closer) {
        return fail(matcher, index, sm_arena_printf(matcher->arena, "extraneous closing '%c'", closer));
    }
    sm_token *list = matcher->tokens->list;
    uint32_t open = matcher->open[--matcher->count].token;
    matcher->depth--;
    list[open].partner = index;
    list[index].partner = open;
    return true;
}

static bool angle_opens(const sm_tokens *tokens, uint32_t index)
{
    return index > 0 && sm_token_is(tokens, index - 1, SM_IDENTIFIER) && !sm_is(tokens, index - 1, "operator");
}

static bool visit(sm_matcher *matcher, uint32_t index)
{
    sm_token *list = matcher->tokens->list;
    if (matcher->count) {
        const sm_open *top = &matcher->open[matcher->count - 1];
        list[index].around = top->closer == '>' ? top->around : top->token;
        list[index].angle = top->closer == '>' ? top->token : SM_NO_TOKEN;
    }
    if (list[index].kind != SM_PUNCTUATOR || list[index].length != 1) return true;
    switch (matcher->tokens->text[list[index].start]) {
    case '(': return push(matcher, index, ')');
    case '[': return push(matcher, index, ']');
    case '{': return push(matcher, index, '}');
    case ')': return close(matcher, index, ')');
    case ']': return close(matcher, index, ']');
    case '}': return close(matcher, index, '}');
    case ';': drop_angles(matcher); return true;
    case '<': return angle_opens(matcher->tokens, index) ? push(matcher, index, '>') : true;
    case '>':
        if (matcher->count && matcher->open[matcher->count - 1].closer == '>') {
            uint32_t open = matcher->open[--matcher->count].token;
            list[open].partner = index;
            list[index].partner = open;
        }
        return true;
    default: return true;
    }
}

bool sm_match_brackets(sm_tokens *tokens, sm_arena *arena)
{
    sm_matcher matcher = {.tokens = tokens, .arena = arena};
    bool ok = true;
    for (uint32_t i = 0; ok && i < tokens->count; i++) ok = visit(&matcher, i);
    if (ok) drop_angles(&matcher);
    if (ok && matcher.count) {
        ok = fail(&matcher, matcher.open[matcher.count - 1].token,
                  sm_arena_printf(arena, "no matching '%c'", matcher.open[matcher.count - 1].closer));
    }
    free(matcher.open);
    return ok;
}
