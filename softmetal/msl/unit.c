#include "msl/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sm_unit_free(sm_unit *unit)
{
    sm_tokens_free(&unit->tokens);
    sm_usage_free(unit->usage);
    free(unit->declarations);
    free(unit->scopes);
    free(unit->constants);
    free(unit->kernels);
    free(unit->entries);
    free(unit->notes);
    sm_arena_free(&unit->arena);
    *unit = (sm_unit){0};
}

#define ERROR_LIMIT 20 /* what comes after is not told */

static void add_note(sm_unit *unit, const char *severity, uint32_t token, const char *format, va_list arguments)
{
    char message[1024];
    bool error = strcmp(severity, "error") == 0;
    unit->error_count += error;
    if (unit->error_count > ERROR_LIMIT) return;
    vsnprintf(message, sizeof message, format, arguments);
    if (!sm_grow(&unit->notes, unit->note_count, &unit->note_capacity, sizeof *unit->notes)) {
        unit->arena.failed = true;
        return;
    }
    sm_note *note = &unit->notes[unit->note_count++];
    *note = (sm_note){.severity = severity, .message = sm_arena_copy(&unit->arena, message, strlen(message)), .token = token};
    if (token != SM_NO_TOKEN) {
        const sm_token *t = &unit->tokens.list[token];
        note->file = t->file;
        note->line = t->line;
        note->column = t->column;
    } else {
        note->file = unit->tokens.error_file;
        note->line = unit->tokens.error_line;
        note->column = unit->tokens.error_column;
    }
}

bool sm_refuse(sm_unit *unit, uint32_t token, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_note(unit, "error", token, format, arguments);
    va_end(arguments);
    return false;
}

void sm_remark(sm_unit *unit, const char *severity, uint32_t token, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_note(unit, severity, token, format, arguments);
    va_end(arguments);
}

const char *sm_token_text(sm_unit *unit, uint32_t index)
{
    const sm_token *token = &unit->tokens.list[index];
    return sm_arena_copy(&unit->arena, unit->tokens.text + token->start, token->length);
}

const char *sm_range_text(sm_unit *unit, uint32_t first, uint32_t last)
{
    sm_text text = {0};
    for (uint32_t i = first; i <= last && i < unit->tokens.count; i++) {
        const sm_token *token = &unit->tokens.list[i];
        if (token->dropped) continue;
        if (text.length) sm_text_put(&text, " ");
        if (token->replacement)
            sm_text_put(&text, token->replacement);
        else
            sm_text_add(&text, unit->tokens.text + token->start, token->length);
    }
    return sm_arena_take(&unit->arena, &text);
}

void sm_drop(sm_unit *unit, uint32_t first, uint32_t last)
{
    for (uint32_t i = first; i <= last && i < unit->tokens.count; i++) unit->tokens.list[i].dropped = true;
}

bool sm_one_of(const sm_unit *unit, uint32_t index, const char *const *words)
{
    for (; *words; words++) {
        if (sm_at(unit, index, *words)) return true;
    }
    return false;
}

bool sm_is_space(const sm_unit *unit, uint32_t index)
{
    static const char *const spaces[] = {
        "device", "constant", "threadgroup", "thread", "threadgroup_imageblock", "ray_data", "object_data", NULL,
    };
    return sm_one_of(unit, index, spaces);
}

bool sm_is_attribute(const sm_unit *unit, uint32_t index)
{
    return sm_at(unit, index, "[") && sm_at(unit, index + 1, "[") && sm_partner(unit, index) != SM_NO_TOKEN &&
           sm_partner(unit, index + 1) + 1 == sm_partner(unit, index);
}

uint32_t sm_skip(const sm_unit *unit, uint32_t index)
{
    uint32_t partner = sm_partner(unit, index);
    return partner != SM_NO_TOKEN && partner > index ? partner + 1 : index + 1;
}

bool sm_find_attribute(const sm_unit *unit, uint32_t first, uint32_t last, const char *name, uint32_t *inner_first,
                       uint32_t *inner_last)
{
    for (uint32_t i = first; i <= last && i < unit->tokens.count; i++) {
        if (!sm_is_attribute(unit, i)) continue;
        uint32_t end = sm_partner(unit, i + 1);
        for (i += 2; i < end; i = sm_skip(unit, i)) {
            if (!sm_at(unit, i, name)) continue;
            bool value = sm_at(unit, i + 1, "(");
            *inner_first = value ? i + 2 : i;
            *inner_last = value ? sm_partner(unit, i + 1) - 1 : i;
            return true;
        }
    }
    return false;
}

static bool lex(sm_unit *unit, const char *text, size_t length, const char *name)
{
    sm_tokens *tokens = &unit->tokens;
    if (sm_lex(tokens, &unit->arena, text, length, name, SM_LEX_PREPROCESSED) && sm_match_brackets(tokens, &unit->arena))
        return true;
    if (tokens->error) {
        sm_remark(unit, "error", SM_NO_TOKEN, "%s", tokens->error);
    }
    return false;
}

static bool finish(sm_unit *unit)
{
    sm_find_mentions(unit);
    return !unit->arena.failed;
}

bool sm_translate(sm_unit *unit, const char *text, size_t length, const char *name)
{
    return lex(unit, text, length, name) && sm_find_declarations(unit) && sm_find_constants(unit) && sm_find_kernels(unit) &&
           sm_rewrite_spaces(unit) && sm_drop_duplicates(unit) && sm_rewrite_threadgroup(unit) && sm_rewrite_literals(unit) &&
           sm_rewrite_initialisers(unit) && sm_find_entries(unit) && unit->error_count == 0 && sm_find_usage(unit) &&
           finish(unit);
}

bool sm_translate_strict(sm_unit *unit, const char *text, size_t length, const char *name)
{
    unit->strict = true;
    return lex(unit, text, length, name) && sm_find_declarations(unit) && sm_find_constants(unit) && sm_find_kernels(unit) &&
           sm_lint(unit) && sm_rewrite_threadgroup(unit) && sm_rewrite_strict(unit) && sm_rewrite_literals(unit) &&
           !unit->arena.failed;
}
