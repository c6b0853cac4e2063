/* MSL has no double: 1.5 is a float, 1.5h a half, 1.5bf a bfloat. */
#include "msl/unit.h"

#include <string.h>

static bool is_hexadecimal(const char *text, uint32_t length)
{
    return length > 1 && text[0] == '0' && (text[1] | 32) == 'x';
}

static bool is_floating(const char *text, uint32_t length)
{
    bool hexadecimal = is_hexadecimal(text, length);
    for (uint32_t i = 0; i < length; i++) {
        char c = text[i] | 32;
        if (text[i] == '.' || (hexadecimal ? c == 'p' : c == 'e')) return true;
    }
    return false;
}

static bool ends_with(const char *text, uint32_t length, const char *suffix)
{
    uint32_t n = (uint32_t)strlen(suffix);
    if (length <= n) return false;
    for (uint32_t i = 0; i < n; i++) {
        if ((text[length - n + i] | 32) != suffix[i]) return false;
    }
    return true;
}

static const char *rewritten(sm_unit *unit, const char *text, uint32_t length)
{
    sm_arena *arena = &unit->arena;
    bool hexadecimal = is_hexadecimal(text, length);
    bool exponent = hexadecimal && (memchr(text, 'p', length) || memchr(text, 'P', length));
    /* The digits go through double: rounding twice differs from rounding once only beyond 53 bits of digits. */
    if (ends_with(text, length, "bf") && (!hexadecimal || exponent))
        return sm_arena_printf(arena, "((bfloat)%.*sf)", (int)length - 2, text);
    if (ends_with(text, length, "h") && unit->strict) return NULL; /* OpenCL has it */
    if (ends_with(text, length, "h")) return sm_arena_printf(arena, "((half)%.*s)", (int)length - 1, text);
    if (ends_with(text, length, "f") || ends_with(text, length, "l")) return NULL;
    return sm_arena_printf(arena, "%.*sf", (int)length, text);
}

bool sm_rewrite_literals(sm_unit *unit)
{
    for (uint32_t i = 0; i < unit->tokens.count; i++) {
        sm_token *token = &unit->tokens.list[i];
        const char *text = unit->tokens.text + token->start;
        if (token->kind != SM_NUMBER || !is_floating(text, token->length)) continue;
        token->replacement = rewritten(unit, text, token->length);
    }
    return !unit->arena.failed;
}
