/* Rules of MSL that clang's C++ for OpenCL does not have: each pointer names its address space, there is no double, nothing
 * that changes outlives a kernel, and much of C++ is left out. */
#include "msl/unit.h"

#include <string.h>

/* ---- Words. */

typedef struct sm_forbidden {
    const char *word, *message;
} sm_forbidden;

static const sm_forbidden forbidden[] = {
    {"double", "'double' is not supported in Metal"},
    {"goto", "'goto' is not supported in Metal"},
    {"new", "'new' is not supported in Metal"},
    {"delete", "'delete' is not supported in Metal"},
    {"throw", "exceptions are not supported in Metal"},
    {"try", "exceptions are not supported in Metal"},
    {"catch", "exceptions are not supported in Metal"},
    {"virtual", "virtual functions are not supported in Metal"},
    {"dynamic_cast", "'dynamic_cast' is not supported in Metal"},
    {"typeid", "'typeid' is not supported in Metal"},
    {"thread_local", "'thread_local' is not supported in Metal"},
    {"asm", "'asm' is not supported in Metal"},
    {"__asm__", "'asm' is not supported in Metal"},
};

static void lint_word(sm_unit *unit, uint32_t at)
{
    if (!sm_named(unit, at)) return;
    for (size_t i = 0; i < sizeof forbidden / sizeof *forbidden; i++) {
        if (!sm_at(unit, at, forbidden[i].word)) continue;
        /* = delete and operator new are something else */
        if (at > 0 && (sm_at(unit, at - 1, "=") || sm_at(unit, at - 1, ".") || sm_at(unit, at - 1, "->")) &&
            !sm_at(unit, at, "new"))
            continue;
        sm_refuse(unit, at, "%s", forbidden[i].message);
    }
    if (sm_at(unit, at, "std") && sm_at(unit, at + 1, "::")) sm_refuse(unit, at, "namespace 'std' does not exist in Metal");
}

static void lint_number(sm_unit *unit, uint32_t at)
{
    const sm_token *token = &unit->tokens.list[at];
    const char *text = unit->tokens.text + token->start;
    if (token->kind != SM_NUMBER || !memchr(text, '.', token->length)) return;
    char last = text[token->length - 1];
    if (last == 'l' || last == 'L') sm_refuse(unit, at, "'long double' is not supported in Metal");
}

/* ---- Variables that outlive a thread. */

static bool run_has(const sm_unit *unit, uint32_t first, uint32_t end, const char *const *words)
{
    for (uint32_t i = first; i < end; i = sm_is_attribute(unit, i) ? sm_skip(unit, i) : i + 1) {
        if (sm_one_of(unit, i, words)) return true;
    }
    return false;
}

static void lint_global(sm_unit *unit, const sm_declaration *d)
{
    static const char *const space[] = {"constant", NULL};
    static const char *const not_variables[] = {"typedef", "using", "friend", "sampler",       "struct",
                                                "class",   "union", "enum",   "static_assert", NULL};
    static const char *const statics[] = {"static", NULL};
    if (d->kind != SM_DECLARATION_VARIABLE || d->name == SM_NO_TOKEN || d->instantiation || d->name == d->specifiers) return;
    if (run_has(unit, d->specifiers, d->name, not_variables)) return;
    bool member = unit->scopes[d->scope].record;
    if (member && !run_has(unit, d->specifiers, d->name, statics)) return;
    if (!run_has(unit, d->specifiers, d->name, space))
        sm_refuse(unit, d->name, "program scope variable '%s' must reside in the constant address space",
                  sm_token_text(unit, d->name));
}

/* `static` in a body: the variable must be constant. */
static void lint_static(sm_unit *unit, uint32_t at)
{
    static const char *const constants[] = {"const", "constexpr", "constant", NULL};
    uint32_t end = at;
    while (end < unit->tokens.count &&
           (sm_named(unit, end) || sm_at(unit, end, "::") || (sm_at(unit, end, "<") && sm_partner(unit, end) != SM_NO_TOKEN)))
        end = sm_skip(unit, end);
    uint32_t first = at;
    while (first > 0 && sm_named(unit, first - 1)) first--;
    if (!run_has(unit, first, end, constants))
        sm_refuse(unit, at, "a static variable must reside in the constant address space");
}

/* ---- Pointers without an address space. */

static const char *const types[] = {"void",     "bool",     "char",    "uchar",    "short",   "ushort",   "int",
                                    "uint",     "long",     "ulong",   "half",     "float",   "bfloat",   "size_t",
                                    "int8_t",   "uint8_t",  "int16_t", "uint16_t", "int32_t", "uint32_t", "int64_t",
                                    "uint64_t", "unsigned", "signed",  NULL};

static bool is_builtin_type(const sm_unit *unit, uint32_t at)
{
    if (sm_one_of(unit, at, types)) return true;
    const sm_token *token = &unit->tokens.list[at];
    const char *text = unit->tokens.text + token->start;
    char size = text[token->length - 1];
    if (token->kind != SM_IDENTIFIER || token->length < 4 || size < '2' || size > '4') return false;
    for (const char *const *type = types; *type; type++) {
        if (strlen(*type) == token->length - 1 && memcmp(*type, text, token->length - 1) == 0) return true;
    }
    return false;
}

/* The name of a class, an alias or a template parameter of the text. */
static bool is_own_type(const sm_unit *unit, uint32_t at)
{
    const sm_token *token = &unit->tokens.list[at];
    for (uint32_t i = 0; i < unit->declaration_count; i++) {
        const sm_declaration *d = &unit->declarations[i];
        if (d->name == SM_NO_TOKEN || (d->kind != SM_DECLARATION_RECORD && d->kind != SM_DECLARATION_ALIAS)) continue;
        uint32_t name = d->kind == SM_DECLARATION_ALIAS && sm_at(unit, d->specifiers, "using") ? d->specifiers + 1 : d->name;
        const sm_token *own = &unit->tokens.list[name];
        if (own->length == token->length &&
            memcmp(unit->tokens.text + own->start, unit->tokens.text + token->start, token->length) == 0)
            return true;
    }
    return false;
}

/* The words before a * or &. */
typedef struct sm_pointee {
    uint32_t first;
    bool type, space, automatic;
} sm_pointee;

static sm_pointee read_pointee(const sm_unit *unit, uint32_t star)
{
    static const char *const not_types[] = {"return", "else",      "case",   "sizeof", "operator", "typename", "template",
                                            "static", "constexpr", "inline", "const",  "volatile", "struct",   NULL};
    static const char *const expressions[] = {"return", "case", "sizeof", NULL};
    sm_pointee p = {.first = star};
    bool last = true;
    while (p.first > 0) {
        uint32_t before = p.first - 1;
        if (sm_at(unit, before, ">") && sm_partner(unit, before) != SM_NO_TOKEN)
            before = sm_partner(unit, before);
        else if (sm_at(unit, before, "::"))
            last = last && true;
        else if (!sm_named(unit, before))
            break;
        if (sm_one_of(unit, before, expressions)) break;
        p.space |= sm_is_space(unit, before);
        p.automatic |= sm_at(unit, before, "auto") || sm_at(unit, before, "decltype");
        if (sm_named(unit, before) && !sm_one_of(unit, before, not_types) && !sm_is_space(unit, before) && last) {
            p.type = is_builtin_type(unit, before) || is_own_type(unit, before);
            last = false;
        }
        p.first = before;
        if (star - p.first > 64) break;
    }
    return p;
}

/* True where `*` or `&` declares: not where it multiplies or takes an address. */
static bool declares(const sm_unit *unit, uint32_t star, const sm_pointee *p, bool parameters)
{
    if (p->first == star) return false;
    bool begins = p->first == 0 || sm_at(unit, p->first - 1, ";") || sm_at(unit, p->first - 1, "{") ||
                  sm_at(unit, p->first - 1, "}") || sm_at(unit, p->first - 1, "(") || sm_at(unit, p->first - 1, ",") ||
                  sm_at(unit, p->first - 1, "<") || sm_at(unit, p->first - 1, ":") || sm_at(unit, p->first - 1, ")") ||
                  sm_at(unit, p->first - 1, "]");
    if (!begins) return false;
    if (sm_at(unit, star + 1, ")") || sm_at(unit, star + 1, ">") || sm_at(unit, star + 1, ",")) return p->type || parameters;
    return p->type && (sm_named(unit, star + 1) || sm_at(unit, star + 1, "*"));
}

static void lint_pointer(sm_unit *unit, uint32_t star, bool parameters)
{
    sm_pointee p = read_pointee(unit, star);
    if (p.space || p.automatic || !declares(unit, star, &p, parameters)) return;
    /* float *device p: the space of the pointer is not that of what it points to */
    sm_refuse(unit, star, "%s type must have an explicit address space qualifier",
              sm_at(unit, star, "*") ? "pointer" : "reference");
}

/* In parameters every * and & declares, up to a default value. */
static void lint_parameters(sm_unit *unit, const sm_declaration *d, bool *looked_at)
{
    uint32_t end = sm_partner(unit, d->parameters);
    bool value = false;
    for (uint32_t i = d->parameters + 1; i < end; i++) {
        if (sm_at(unit, i, ",") && unit->tokens.list[i].around == d->parameters) value = false;
        if (sm_at(unit, i, "=")) value = true;
        if (value || (!sm_at(unit, i, "*") && !sm_at(unit, i, "&"))) continue;
        if (unit->tokens.list[i].around != d->parameters) continue;
        looked_at[i] = true;
        sm_pointee p = read_pointee(unit, i);
        if (!p.space && !p.automatic && p.first != i)
            sm_refuse(unit, i, "%s type must have an explicit address space qualifier",
                      sm_at(unit, i, "*") ? "pointer" : "reference");
    }
}

/* ---- Recursion: a function that calls itself by its only name. */

static bool is_overloaded(const sm_unit *unit, const sm_declaration *d)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < unit->declaration_count; i++) {
        const sm_declaration *other = &unit->declarations[i];
        count += other->kind == SM_DECLARATION_FUNCTION && other->body != SM_NO_TOKEN &&
                 sm_at(unit, other->name, "operator") == false &&
                 unit->tokens.list[other->name].length == unit->tokens.list[d->name].length &&
                 memcmp(unit->tokens.text + unit->tokens.list[other->name].start,
                        unit->tokens.text + unit->tokens.list[d->name].start, unit->tokens.list[d->name].length) == 0;
    }
    return count > 1;
}

static void lint_recursion(sm_unit *unit, const sm_declaration *d)
{
    if (d->body == SM_NO_TOKEN || d->is_template || !sm_named(unit, d->name) || unit->scopes[d->scope].record) return;
    const sm_token *name = &unit->tokens.list[d->name];
    for (uint32_t i = d->body + 1; i < d->last; i++) {
        const sm_token *token = &unit->tokens.list[i];
        if (token->length != name->length || !sm_named(unit, i) ||
            memcmp(unit->tokens.text + token->start, unit->tokens.text + name->start, name->length) != 0)
            continue;
        bool own =
            sm_at(unit, i + 1, "(") && !sm_at(unit, i - 1, "::") && !sm_at(unit, i - 1, ".") && !sm_at(unit, i - 1, "->");
        if (!own || is_overloaded(unit, d)) continue;
        sm_refuse(unit, i, "function '%s' calls itself: recursion is not supported in Metal", sm_token_text(unit, i));
        return;
    }
}

static void lint_body(sm_unit *unit, const sm_declaration *d)
{
    for (uint32_t i = d->body + 1; i < d->last; i++) {
        if (sm_at(unit, i, "static")) lint_static(unit, i);
    }
}

bool sm_lint(sm_unit *unit)
{
    bool *looked_at = sm_arena_alloc(&unit->arena, unit->tokens.count + 1);
    if (!looked_at) return false;
    for (uint32_t i = 0; i < unit->declaration_count; i++) {
        const sm_declaration *d = &unit->declarations[i];
        lint_global(unit, d);
        if (d->kind != SM_DECLARATION_FUNCTION) continue;
        lint_parameters(unit, d, looked_at);
        lint_recursion(unit, d);
        if (d->body != SM_NO_TOKEN) lint_body(unit, d);
    }
    for (uint32_t i = 0; i < unit->tokens.count; i++) {
        if (sm_is_attribute(unit, i)) {
            i = sm_partner(unit, i);
            continue;
        }
        lint_word(unit, i);
        lint_number(unit, i);
        if ((sm_at(unit, i, "*") || sm_at(unit, i, "&")) && !looked_at[i]) lint_pointer(unit, i, false);
    }
    return !unit->arena.failed;
}
