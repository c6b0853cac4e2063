/* Address spaces are erased: a CPU has one. `constant` leaves a const, so that stores through it do not compile. Attributes go
 * too. `threadgroup` is threadgroup.c's. */
#include "msl/unit.h"

#include <string.h>

#define RUN_LIMIT 64 /* tokens of a declaration's specifiers that are looked at */

static bool in_run(const sm_unit *unit, uint32_t at)
{
    return sm_named(unit, at) || sm_at(unit, at, "::");
}

static uint32_t step_left(const sm_unit *unit, uint32_t at)
{
    if (at == 0) return SM_NO_TOKEN;
    if (sm_at(unit, at - 1, ">") && sm_partner(unit, at - 1) != SM_NO_TOKEN) return sm_partner(unit, at - 1);
    return in_run(unit, at - 1) ? at - 1 : SM_NO_TOKEN;
}

static uint32_t step_right(const sm_unit *unit, uint32_t at)
{
    if (sm_at(unit, at + 1, "<") && sm_partner(unit, at + 1) != SM_NO_TOKEN) return sm_partner(unit, at + 1);
    return in_run(unit, at + 1) ? at + 1 : SM_NO_TOKEN;
}

/* True if the words around `constant` already make it const. */
static bool is_const_already(const sm_unit *unit, uint32_t constant)
{
    bool is_const = false, is_constexpr = false;
    uint32_t at = constant, end = constant;
    for (int i = 0; i < RUN_LIMIT && (at = step_left(unit, at)) != SM_NO_TOKEN; i++) {
        is_const |= sm_at(unit, at, "const") || (unit->tokens.list[at].replacement && sm_at(unit, at, "constant"));
        is_constexpr |= sm_at(unit, at, "constexpr");
    }
    at = constant;
    for (int i = 0; i < RUN_LIMIT && (at = step_right(unit, at)) != SM_NO_TOKEN; i++) {
        is_const |= sm_at(unit, at, "const");
        is_constexpr |= sm_at(unit, at, "constexpr");
        end = at;
    }
    bool pointer = sm_at(unit, end + 1, "*") || sm_at(unit, end + 1, "&") || sm_at(unit, end + 1, "&&");
    return is_const || (is_constexpr && !pointer);
}

static bool is_constructor(sm_unit *unit, const sm_declaration *d)
{
    if (d->kind != SM_DECLARATION_FUNCTION || !unit->scopes[d->scope].record || !sm_named(unit, d->name)) return false;
    const char *path = unit->scopes[d->scope].path;
    const sm_token *name = &unit->tokens.list[d->name];
    size_t length = strlen(path);
    return length >= name->length + 2 &&
           memcmp(path + length - 2 - name->length, unit->tokens.text + name->start, name->length) == 0 &&
           (length == name->length + 2 || path[length - 3 - name->length] == ':');
}

/* Constructors cannot be const. */
static void rewrite_constructor(sm_unit *unit, const sm_declaration *d)
{
    for (uint32_t i = sm_partner(unit, d->parameters) + 1; i < d->last && sm_named(unit, i); i++) {
        if (sm_is_space(unit, i)) unit->tokens.list[i].dropped = true;
    }
}

/* coherent(device): memory here is always coherent. */
static bool is_coherent(const sm_unit *unit, uint32_t at)
{
    static const char *const scopes[] = {"device", "system", "threadgroup", "simdgroup", "thread"};
    if (!sm_at(unit, at, "coherent")) return false;
    if (sm_is_space(unit, at + 1)) return true;
    for (size_t i = 0; i < sizeof scopes / sizeof *scopes; i++) {
        if (sm_at(unit, at + 1, "(") && sm_at(unit, at + 2, scopes[i]) && sm_at(unit, at + 3, ")")) return true;
    }
    return false;
}

/* template <> inside of a class: g++ before 14 knows it not. As an overload it is called for the same arguments. */
static void rewrite_member_specialisation(sm_unit *unit, const sm_declaration *d)
{
    bool full = sm_at(unit, d->first, "template") && sm_at(unit, d->first + 1, "<") && sm_at(unit, d->first + 2, ">");
    if (d->kind == SM_DECLARATION_FUNCTION && unit->scopes[d->scope].record && full && d->arguments == SM_NO_TOKEN)
        sm_drop(unit, d->first, d->first + 2);
}

bool sm_rewrite_spaces(sm_unit *unit)
{
    for (uint32_t i = 0; i < unit->declaration_count; i++) {
        rewrite_member_specialisation(unit, &unit->declarations[i]);
        if (is_constructor(unit, &unit->declarations[i])) rewrite_constructor(unit, &unit->declarations[i]);
    }
    for (uint32_t i = 0; i < unit->tokens.count; i++) {
        sm_token *token = &unit->tokens.list[i];
        if (sm_is_attribute(unit, i)) {
            uint32_t end = sm_partner(unit, i);
            sm_drop(unit, i, end);
            i = end;
        } else if (is_coherent(unit, i)) {
            uint32_t end = sm_at(unit, i + 1, "(") ? i + 3 : i;
            sm_drop(unit, i, end);
            i = end;
        } else if (sm_at(unit, i, "constant") && !token->dropped) {
            if (is_const_already(unit, i))
                token->dropped = true;
            else
                token->replacement = "const";
        } else if (sm_is_space(unit, i) && !sm_at(unit, i, "threadgroup")) {
            token->dropped = true;
        }
    }
    return !unit->arena.failed;
}
