/* Integer constant expressions, as they stand in attributes: [[function_constant(FIRST + 2)]] after the preprocessor. */
#include "msl/unit.h"

#include <stdlib.h>
#include <string.h>

typedef struct sm_evaluation {
    const sm_unit *unit;
    uint32_t at, end; /* end: behind the last token */
    uint32_t depth;
} sm_evaluation;

static bool expression(sm_evaluation *e, int level, int64_t *value);

static bool primary(sm_evaluation *e, int64_t *value)
{
    const sm_unit *unit = e->unit;
    if (e->at >= e->end || e->depth > 64) return false;
    if (sm_at(unit, e->at, "(")) {
        e->at++;
        e->depth++;
        bool ok = expression(e, 0, value) && e->at < e->end && sm_at(unit, e->at, ")");
        e->depth--;
        e->at++;
        return ok;
    }
    if (sm_at(unit, e->at, "-") || sm_at(unit, e->at, "+") || sm_at(unit, e->at, "~")) {
        char sign = unit->tokens.text[unit->tokens.list[e->at++].start];
        e->depth++;
        bool ok = primary(e, value);
        e->depth--;
        if (ok && sign == '-') *value = (int64_t)(0 - (uint64_t)*value);
        if (ok && sign == '~') *value = ~*value;
        return ok;
    }
    if (!sm_token_is(&unit->tokens, e->at, SM_NUMBER)) return false;
    const sm_token *token = &unit->tokens.list[e->at++];
    char digits[40], *end;
    if (token->length >= sizeof digits) return false;
    memcpy(digits, unit->tokens.text + token->start, token->length);
    digits[token->length] = 0;
    bool binary = digits[0] == '0' && (digits[1] | 32) == 'b';
    *value = (int64_t)strtoull(binary ? digits + 2 : digits, &end, binary ? 2 : 0);
    return strspn(end, "uUlL") == strlen(end);
}

typedef struct sm_operator {
    const char *text;
    int level;
} sm_operator;

static const sm_operator operators[] = {{"|", 0}, {"^", 1}, {"&", 2}, {"<<", 3}, {"+", 4},
                                        {"-", 4}, {"*", 5}, {"/", 5}, {"%", 5}};

static bool apply(const char *operator, int64_t * left, int64_t right)
{
    uint64_t a = (uint64_t)*left, b = (uint64_t)right;
    switch (operator[0]) {
    case '|': a |= b; break;
    case '^': a ^= b; break;
    case '&': a &= b; break;
    case '+': a += b; break;
    case '-': a -= b; break;
    case '*': a *= b; break;
    case '<':
        if (b > 63) return false;
        a <<= b;
        break;
    default:
        if (right == 0 || (right == -1 && *left == INT64_MIN)) return false;
        *left = operator[0] == '/' ? *left / right : * left % right;
        return true;
    }
    *left = (int64_t)a;
    return true;
}

static bool expression(sm_evaluation *e, int level, int64_t *value)
{
    if (level > 5) return primary(e, value);
    if (!expression(e, level + 1, value)) return false;
    for (;;) {
        const sm_operator *found = NULL;
        for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
            if (operators[i].level == level && e->at < e->end && sm_at(e->unit, e->at, operators[i].text))
                found = &operators[i];
        }
        if (!found) return true;
        e->at++;
        int64_t right;
        if (!expression(e, level + 1, &right) || !apply(found->text, value, right)) return false;
    }
}

bool sm_evaluate(const sm_unit *unit, uint32_t first, uint32_t last, int64_t *value)
{
    sm_evaluation e = {unit, first, last + 1, 0};
    return expression(&e, 0, value) && e.at == e.end;
}
