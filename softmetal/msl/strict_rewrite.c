/* MSL as C++ for OpenCL. Address spaces stay (opencl_strict.h names them); vectors are made and converted by functions, as
 * OpenCL has other forms for that; kernels are plain functions, so that their arguments may be what MSL allows. */
#include "msl/unit.h"

#include <string.h>

static bool is_vector_name(const sm_unit *unit, uint32_t at)
{
    static const char *const scalars[] = {"bool", "char", "uchar", "short", "ushort", "int",
                                          "uint", "long", "ulong", "half",  "float",  "bfloat"};
    const sm_token *token = &unit->tokens.list[at];
    const char *text = unit->tokens.text + token->start;
    if (token->kind != SM_IDENTIFIER || token->length < 4) return false;
    char size = text[token->length - 1];
    if (size < '2' || size > '4') return false;
    for (size_t i = 0; i < sizeof scalars / sizeof *scalars; i++) {
        if (strlen(scalars[i]) == token->length - 1 && memcmp(scalars[i], text, token->length - 1) == 0) return true;
    }
    return false;
}

/* A vector type from `at` on: float4, metal::float4, vec<T, 4>. Returns its last token, or SM_NO_TOKEN. */
static uint32_t vector_type(const sm_unit *unit, uint32_t at)
{
    if (sm_at(unit, at, "metal") && sm_at(unit, at + 1, "::")) at += 2;
    if (at >= unit->tokens.count) return SM_NO_TOKEN;
    if (is_vector_name(unit, at)) return at;
    bool vec = sm_at(unit, at, "vec") && sm_at(unit, at + 1, "<") && sm_partner(unit, at + 1) != SM_NO_TOKEN;
    return vec ? sm_partner(unit, at + 1) : SM_NO_TOKEN;
}

static void put_before(sm_unit *unit, uint32_t at, const char *text)
{
    sm_token *token = &unit->tokens.list[at];
    token->before = token->before ? sm_arena_printf(&unit->arena, "%s%s", text, token->before) : text;
}

static void put_after(sm_unit *unit, uint32_t at, const char *text)
{
    sm_token *token = &unit->tokens.list[at];
    token->after = token->after ? sm_arena_printf(&unit->arena, "%s%s", token->after, text) : text;
}

/* float4 (*f)(…) and float4 (&x)[…] are declarators; float4(…) makes a vector. */
static bool is_declarator(const sm_unit *unit, uint32_t open)
{
    uint32_t end = sm_partner(unit, open);
    return (sm_at(unit, open + 1, "*") || sm_at(unit, open + 1, "&")) &&
           (sm_at(unit, end + 1, "(") || sm_at(unit, end + 1, "["));
}

static void rewrite_constructor(sm_unit *unit, uint32_t first, uint32_t last)
{
    bool after_operator = first > 0 && sm_at(unit, first - 1, "operator");
    if (!sm_at(unit, last + 1, "(") || after_operator || is_declarator(unit, last + 1)) return;
    put_before(unit, first, "sm_make<");
    put_after(unit, last, ">");
}

/* The last token of a unary expression, as far as a cast reaches. */
static uint32_t unary_end(const sm_unit *unit, uint32_t at)
{
    static const char *const prefixes[] = {"*", "-", "+", "~", "!", "&"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        if (sm_at(unit, at, prefixes[i])) {
            at++;
            i = (size_t)-1;
        }
    }
    if (!sm_named(unit, at) && !sm_token_is(&unit->tokens, at, SM_NUMBER) && !sm_at(unit, at, "(")) return SM_NO_TOKEN;
    uint32_t last = sm_at(unit, at, "(") ? sm_partner(unit, at) : at;
    for (;;) {
        uint32_t next = last + 1;
        if (sm_at(unit, next, "[") || sm_at(unit, next, "("))
            last = sm_partner(unit, next);
        else if (sm_at(unit, next, "<") && sm_partner(unit, next) != SM_NO_TOKEN)
            last = sm_partner(unit, next);
        else if ((sm_at(unit, next, ".") || sm_at(unit, next, "->") || sm_at(unit, next, "::")) && sm_named(unit, next + 1))
            last = next + 1;
        else
            return last;
    }
}

/* typename T in some template header of the text */
static bool is_type_parameter(const sm_unit *unit, uint32_t at)
{
    const sm_token *token = &unit->tokens.list[at];
    if (token->kind != SM_IDENTIFIER) return false;
    for (uint32_t i = 0; i < unit->declaration_count; i++) {
        const sm_declaration *d = &unit->declarations[i];
        for (uint32_t k = d->first; d->is_template && k + 1 < d->specifiers; k++) {
            if (!sm_at(unit, k, "typename") && !sm_at(unit, k, "class")) continue;
            const sm_token *name = &unit->tokens.list[k + 1];
            if (name->length == token->length &&
                memcmp(unit->tokens.text + name->start, unit->tokens.text + token->start, token->length) == 0)
                return true;
        }
    }
    return false;
}

/* T(…) in an expression, T a template parameter. */
static bool makes_dependent(const sm_unit *unit, uint32_t at)
{
    static const char *const before[] = {"=", "(", ",", "return", "+",  "-",  "*",  "/",  "<",  ">",
                                         "?", ":", "[", "+=",     "-=", "*=", "&&", "||", "==", "{"};
    if (at == 0 || !is_type_parameter(unit, at) || is_declarator(unit, at + 1)) return false;
    for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
        if (sm_at(unit, at - 1, before[i])) return true;
    }
    return false;
}

/* (float4)x becomes sm_make<float4>(x); (T)x, where T may be a vector, sm_cast<T>(x). */
static void rewrite_cast(sm_unit *unit, uint32_t open)
{
    uint32_t last = vector_type(unit, open + 1);
    bool dependent = last == SM_NO_TOKEN && sm_partner(unit, open) == open + 2 && is_type_parameter(unit, open + 1);
    if (dependent) last = open + 1;
    if (last == SM_NO_TOKEN || last + 1 != sm_partner(unit, open)) return;
    if (open > 0 &&
        (sm_named(unit, open - 1) || sm_at(unit, open - 1, ">") || sm_at(unit, open - 1, ")") || sm_at(unit, open - 1, "]")) &&
        !sm_at(unit, open - 1, "return"))
        return;
    uint32_t end = unary_end(unit, last + 2);
    if (end == SM_NO_TOKEN) return;
    unit->tokens.list[open].replacement = dependent ? "sm_cast<" : "sm_make<";
    unit->tokens.list[last + 1].replacement = ">(";
    put_after(unit, end, ")");
}

/* static_cast<T>: to vectors too, unless T is plainly a pointer. */
static void rewrite_static_cast(sm_unit *unit, uint32_t at)
{
    uint32_t end = sm_at(unit, at + 1, "<") ? sm_partner(unit, at + 1) : SM_NO_TOKEN;
    if (end == SM_NO_TOKEN || sm_at(unit, end - 1, "*") || sm_at(unit, end - 1, "&")) return;
    unit->tokens.list[at].replacement = "sm_cast";
}

/* A table at program scope converts to `constant float *`, be it constexpr or not; clang would keep the const. */
static void rewrite_table(sm_unit *unit, const sm_declaration *d)
{
    bool constant = false;
    if (d->kind != SM_DECLARATION_VARIABLE || d->name == SM_NO_TOKEN || unit->scopes[d->scope].record ||
        !sm_at(unit, d->name + 1, "["))
        return;
    for (uint32_t i = d->specifiers; i < d->name; i++) constant |= sm_at(unit, i, "constant");
    for (uint32_t i = d->specifiers; i < d->name && constant; i++) {
        if (sm_at(unit, i, "const") || sm_at(unit, i, "constexpr")) unit->tokens.list[i].dropped = true;
    }
}

bool sm_rewrite_strict(sm_unit *unit)
{
    for (uint32_t i = 0; i < unit->declaration_count; i++) rewrite_table(unit, &unit->declarations[i]);
    for (uint32_t i = 0; i < unit->tokens.count; i++) {
        if (sm_is_attribute(unit, i)) {
            uint32_t end = sm_partner(unit, i);
            sm_drop(unit, i, end);
            i = end;
        } else if (sm_at(unit, i, "kernel")) {
            unit->tokens.list[i].dropped = true;
        } else if (sm_at(unit, i, "coherent") && sm_at(unit, i + 1, "(")) {
            sm_drop(unit, i, sm_partner(unit, i + 1));
        } else if (sm_at(unit, i, "static_cast")) {
            rewrite_static_cast(unit, i);
        } else if (sm_at(unit, i, "(")) {
            rewrite_cast(unit, i);
        } else if (sm_at(unit, i + 1, "(") && makes_dependent(unit, i)) {
            put_before(unit, i, "sm_construct<");
            put_after(unit, i, ">");
        } else {
            uint32_t last = vector_type(unit, i);
            bool member = i > 0 && (sm_at(unit, i - 1, "::") || sm_at(unit, i - 1, ".") || sm_at(unit, i - 1, "->"));
            if (last == SM_NO_TOKEN || member) continue;
            rewrite_constructor(unit, i, last);
        }
    }
    return !unit->arena.failed;
}
