/* Threadgroup variables. `threadgroup float sums[32];` in a function becomes a reference to memory of the threadgroup that
 * runs. Every `threadgroup` of the text is either understood or refused: one that slipped through would make its variable
 * thread-private, and give wrong numbers without a word. */
#include "msl/unit.h"

#define SPECIFIERS 256 /* words of a declaration that are read */

typedef enum sm_context {
    STATEMENT, /* behind ; { } : else if (…) */
    INSIDE,    /* behind ( or , or <, in brackets */
    TRAILING,  /* behind the parameters of a function */
    OTHER,     /* in an expression, behind = or return */
} sm_context;

/* A declaration around a `threadgroup`, as far as it was read. */
typedef struct sm_reading {
    uint32_t start; /* its first token */
    sm_context context;
    uint32_t stop;       /* the token behind the specifiers */
    uint32_t name;       /* the last word of the specifiers: the declared name if `stop` is [ ; , = {  */
    uint32_t components; /* words that are types or names */
    bool typedefs;
} sm_reading;

static bool takes_parentheses(const sm_unit *unit, uint32_t at)
{
    static const char *const words[] = {"alignas", "__attribute__", "decltype", NULL};
    return sm_one_of(unit, at, words);
}

/* One step back over a specifier; false at the declaration's first token. */
static bool step_back(const sm_unit *unit, sm_reading *r)
{
    static const char *const conditions[] = {"if", "for", "while", "switch", NULL};
    static const char *const before_statement[] = {"else", "do", NULL};
    static const char *const in_expression[] = {"return", "case", "new", "throw", "goto", "operator", "co_return", NULL};
    r->context = STATEMENT;
    if (r->start == 0) return false;
    uint32_t p = r->start - 1, partner = sm_partner(unit, p);
    if (sm_at(unit, p, ";") || sm_at(unit, p, "{") || sm_at(unit, p, "}") || sm_at(unit, p, ":") ||
        sm_one_of(unit, p, before_statement))
        return false;
    r->context = INSIDE;
    if (sm_at(unit, p, "(") || sm_at(unit, p, ",") || (sm_at(unit, p, "<") && partner != SM_NO_TOKEN)) return false;
    if (sm_at(unit, p, ")")) {
        r->context = partner && sm_one_of(unit, partner - 1, conditions) ? STATEMENT : TRAILING;
        if (!partner || !takes_parentheses(unit, partner - 1)) return false;
        r->start = partner - 1;
        return true;
    }
    r->context = OTHER;
    if (sm_at(unit, p, "]") && sm_is_attribute(unit, partner))
        r->start = partner;
    else if (sm_at(unit, p, ">") && partner != SM_NO_TOKEN)
        r->start = partner;
    else if (sm_at(unit, p, "::"))
        r->start = p;
    else if (sm_named(unit, p) && !sm_one_of(unit, p, in_expression))
        r->start = p;
    else
        return false;
    return true;
}

static void read_specifiers(const sm_unit *unit, sm_reading *r)
{
    static const char *const qualifiers[] = {"const",    "volatile", "static", "constexpr", "inline",
                                             "typename", "struct",   "class",  "union",     "enum",
                                             "unsigned", "signed",   "extern", "template",  NULL};
    uint32_t i = r->start;
    while (i < unit->tokens.count && i - r->start < SPECIFIERS) {
        if (sm_is_attribute(unit, i) || (sm_at(unit, i, "<") && sm_partner(unit, i) != SM_NO_TOKEN)) {
            i = sm_skip(unit, i);
        } else if (takes_parentheses(unit, i) && sm_at(unit, i + 1, "(")) {
            r->components += sm_at(unit, i, "decltype");
            i = sm_skip(unit, i + 1);
        } else if (sm_at(unit, i, "::")) {
            i++;
        } else if (sm_named(unit, i)) {
            bool word = !sm_one_of(unit, i, qualifiers) && !sm_is_space(unit, i);
            r->typedefs |= sm_at(unit, i, "typedef");
            if (sm_at(unit, i, "unsigned") || sm_at(unit, i, "signed")) r->components++;
            if (word) {
                r->components += !(i > r->start && sm_at(unit, i - 1, "::"));
                r->name = i;
            }
            i++;
        } else {
            break;
        }
    }
    r->stop = i;
}

static bool points(const sm_unit *unit, uint32_t at)
{
    return sm_at(unit, at, "*") || sm_at(unit, at, "&") || sm_at(unit, at, "&&") ||
           (sm_at(unit, at, "(") && (sm_at(unit, at + 1, "*") || sm_at(unit, at + 1, "&")));
}

static bool in_record(const sm_unit *unit, uint32_t at)
{
    uint32_t brace = unit->tokens.list[at].around;
    if (brace == SM_NO_TOKEN || !sm_at(unit, brace, "{")) return false;
    for (uint32_t i = brace; i > 0; i--) {
        if (sm_at(unit, i - 1, ";") || sm_at(unit, i - 1, "{") || sm_at(unit, i - 1, "}") || sm_at(unit, i - 1, ")"))
            return false;
        if (sm_at(unit, i - 1, "struct") || sm_at(unit, i - 1, "class") || sm_at(unit, i - 1, "union")) return true;
    }
    return false;
}

/* = {0} is taken and has no effect: no thread would be the right one to store it. */
static uint32_t skip_zero(const sm_unit *unit, uint32_t at)
{
    uint32_t brace = sm_at(unit, at, "=") ? at + 1 : at;
    if (!sm_at(unit, brace, "{") || unit->strict) return at;
    if (sm_at(unit, brace + 1, "}")) return brace + 2;
    return sm_at(unit, brace + 1, "0") && sm_at(unit, brace + 2, "}") ? brace + 3 : at;
}

/* One declarator from `at` on: its name, dimensions. Returns the token behind it. */
static uint32_t rewrite_declarator(sm_unit *unit, uint32_t at, uint32_t kernel)
{
    if (points(unit, at)) { /* a pointer is the thread's own */
        while (at < unit->tokens.count && !sm_at(unit, at, ",") && !sm_at(unit, at, ";")) at = sm_skip(unit, at);
        return at;
    }
    if (!sm_named(unit, at)) {
        sm_refuse(unit, at, "this declaration of a threadgroup variable is not understood");
        return SM_NO_TOKEN;
    }
    sm_token *name = &unit->tokens.list[at];
    const char *text = sm_token_text(unit, at);
    uint32_t last = at++;
    while (sm_at(unit, at, "[")) {
        uint32_t end = sm_partner(unit, at);
        if (!sm_is_attribute(unit, at)) last = end;
        at = end + 1;
    }
    uint32_t initialiser = at;
    at = skip_zero(unit, at);
    if (!sm_at(unit, at, ",") && !sm_at(unit, at, ";")) {
        sm_refuse(unit, at, "threadgroup variable '%s' must not have an initialiser", text);
        return SM_NO_TOKEN;
    }
    if (at > initialiser) {
        sm_drop(unit, initialiser, at - 1);
        sm_remark(unit, "warning", initialiser, "the initialiser of threadgroup variable '%s' has no effect", text);
    }
    const char *value = unit->strict
                            ? " = sm_threadgroup_memory()"
                            : sm_arena_printf(&unit->arena, " = sm::threadgroup_variable<%u>([] {}, %u)", kernel, name->line);
    name->before = "(&";
    name->after = ")";
    sm_token *end = &unit->tokens.list[last];
    end->after = end == name ? sm_arena_printf(&unit->arena, ")%s", value) : value;
    return at;
}

static void rewrite_variables(sm_unit *unit, const sm_reading *r)
{
    uint32_t kernel = sm_kernel_around(unit, r->name);
    if (kernel == SM_NO_TOKEN && unit->strict) return;      /* clang refuses it */
    if (kernel == SM_NO_TOKEN) kernel = unit->kernel_count; /* of a function that kernels call */
    for (uint32_t i = r->start; i < r->name; i++) {
        if (sm_at(unit, i, "static") || sm_at(unit, i, "constexpr")) unit->tokens.list[i].dropped = true;
    }
    uint32_t at = r->name;
    while ((at = rewrite_declarator(unit, at, kernel)) != SM_NO_TOKEN && sm_at(unit, at, ",")) at++;
}

static bool in_template_arguments(const sm_unit *unit, const sm_reading *r)
{
    uint32_t angle = unit->tokens.list[r->start].angle;
    return r->context == INSIDE && angle != SM_NO_TOKEN && sm_partner(unit, angle) != SM_NO_TOKEN;
}

static bool visit(sm_unit *unit, uint32_t token, bool in_body)
{
    sm_reading r = {.start = token, .name = SM_NO_TOKEN};
    uint32_t steps = 0;
    while (step_back(unit, &r)) {
        if (++steps > SPECIFIERS) return sm_refuse(unit, token, "this declaration has too many words");
    }
    if (r.context == TRAILING && !in_body) return true;
    read_specifiers(unit, &r);
    if (r.context == STATEMENT && in_body && !in_record(unit, token) && !r.typedefs && !points(unit, r.stop)) {
        bool variable =
            r.components >= 2 && (sm_at(unit, r.stop, "[") || sm_at(unit, r.stop, ";") || sm_at(unit, r.stop, ",") ||
                                  sm_at(unit, r.stop, "=") || sm_at(unit, r.stop, "{") || sm_at(unit, r.stop, "("));
        if (!variable) return sm_refuse(unit, token, "this use of 'threadgroup' is not understood");
        if (token > r.name) return sm_refuse(unit, token, "'threadgroup' must stand before the variable's name");
        rewrite_variables(unit, &r);
        return true;
    }
    if (points(unit, r.stop)) {
        /* float *threadgroup p: the pointer itself is shared */
        if (r.start == token && r.components <= 1 && token > 0 && (sm_at(unit, token - 1, "*") || sm_at(unit, token - 1, "&")))
            return sm_refuse(unit, token, "pointers that stand in threadgroup memory are not simulated");
        if (r.context == STATEMENT && in_body && !r.typedefs && !in_record(unit, token)) {
            for (uint32_t at = r.stop; at < unit->tokens.count && !sm_at(unit, at, ";") && !sm_at(unit, at, "}");
                 at = sm_skip(unit, at)) {
                if (sm_at(unit, at, ",") && !points(unit, at + 1))
                    return sm_refuse(unit, at + 1, "declare the pointer and the threadgroup variable apart");
            }
        }
        return true;
    }
    if (in_template_arguments(unit, &r)) return true;
    if (token > 0 && sm_at(unit, token - 1, "*"))
        return sm_refuse(unit, token, "pointers that stand in threadgroup memory are not simulated");
    if (r.context == INSIDE)
        return sm_refuse(
            unit, token,
            "a value in the threadgroup address space can be no parameter and no cast: a pointer or reference can");
    if (r.typedefs || r.context == OTHER)
        return sm_refuse(unit, token, "'threadgroup' in this place is not simulated: write it where the variable is declared");
    if (in_record(unit, token))
        return sm_refuse(unit, token, "a member cannot be in the threadgroup address space: a pointer to it can");
    return sm_refuse(unit, token, "a variable in the threadgroup address space must be declared in a kernel");
}

bool sm_rewrite_threadgroup(sm_unit *unit)
{
    uint32_t next = 0; /* declaration: their bodies come in the order of the text */
    for (uint32_t i = 0; i < unit->tokens.count; i++) {
        if (sm_is_attribute(unit, i)) {
            i = sm_partner(unit, i);
            continue;
        }
        if (!sm_at(unit, i, "threadgroup") || unit->tokens.list[i].dropped) continue;
        const sm_declaration *d;
        while (next < unit->declaration_count) {
            d = &unit->declarations[next];
            if (d->kind == SM_DECLARATION_FUNCTION && d->body != SM_NO_TOKEN && d->last >= i) break;
            next++;
        }
        bool in_body = next < unit->declaration_count && i > unit->declarations[next].body;
        if (visit(unit, i, in_body) && !unit->strict) unit->tokens.list[i].dropped = true;
    }
    return !unit->arena.failed;
}
