/* Overloads, methods and specialisations that differ by nothing but an address space are one and the same where spaces are
 * erased: the first definition stays. Where their bodies differ the simulator could not choose between them, and says so. */
#include "msl/unit.h"
#include "objc/memory.h"

#include <stdlib.h>
#include <string.h>

/* Names that mean the same whatever they are: template parameters, parameters. */
typedef struct sm_renaming {
    uint32_t *names; /* tokens */
    uint32_t count, capacity;
} sm_renaming;

typedef struct sm_signature {
    uint32_t declaration;
    const char *erased; /* what C++ would see; "" for what cannot be a duplicate */
    const char *spaces; /* the address spaces, in order */
} sm_signature;

typedef struct sm_builder {
    sm_unit *unit;
    sm_text erased, spaces;
    sm_renaming renaming;
} sm_builder;

static bool rename_token(sm_builder *b, uint32_t token)
{
    sm_renaming *r = &b->renaming;
    if (!sm_grow(&r->names, r->count, &r->capacity, sizeof *r->names)) return false;
    r->names[r->count++] = token;
    return true;
}

static void put_token(sm_builder *b, uint32_t token)
{
    const sm_tokens *tokens = &b->unit->tokens;
    const sm_token *t = &tokens->list[token];
    if (sm_is_space(b->unit, token)) {
        sm_text_add(&b->spaces, tokens->text + t->start, t->length);
        sm_text_put(&b->spaces, " ");
        if (t->replacement) sm_text_printf(&b->erased, "%s ", t->replacement);
        return;
    }
    for (uint32_t i = b->renaming.count; t->kind == SM_IDENTIFIER && i-- > 0;) {
        const sm_token *name = &tokens->list[b->renaming.names[i]];
        if (name->length != t->length || memcmp(tokens->text + name->start, tokens->text + t->start, t->length) != 0) continue;
        sm_text_printf(&b->erased, "$%u ", i);
        return;
    }
    sm_text_add(&b->erased, tokens->text + t->start, t->length);
    sm_text_put(&b->erased, " ");
}

static void put_range(sm_builder *b, uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i = sm_is_attribute(b->unit, i) ? sm_skip(b->unit, i) : i + 1) {
        if (!sm_is_attribute(b->unit, i)) put_token(b, i);
    }
}

/* The end of a parameter without its default value. */
static uint32_t before_default(const sm_unit *unit, uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i = sm_skip(unit, i)) {
        if (sm_at(unit, i, "=")) return i;
    }
    return end;
}

/* The name of a parameter, of a template or of a function: its last word, if that is no part of the type. */
static uint32_t parameter_name(const sm_unit *unit, uint32_t first, uint32_t end)
{
    static const char *const types[] = {"int",  "char",  "short",    "long",     "unsigned", "signed", "float",
                                        "bool", "const", "volatile", "typename", "class",    NULL};
    uint32_t last = SM_NO_TOKEN, words = 0;
    bool pointer = false;
    for (uint32_t i = first; i < end; i = sm_skip(unit, i)) {
        if (sm_is_attribute(unit, i) || sm_is_space(unit, i)) continue;
        if (sm_at(unit, i, "*") || sm_at(unit, i, "&") || sm_at(unit, i, "&&") || sm_at(unit, i, "...") || sm_at(unit, i, ">"))
            pointer = true;
        if (sm_named(unit, i)) {
            bool qualified = i > first && sm_at(unit, i - 1, "::");
            last = qualified ? SM_NO_TOKEN : i;
            words += !qualified && !sm_at(unit, i, "const") && !sm_at(unit, i, "volatile");
        } else if (sm_at(unit, i, "[")) {
            break;
        } else {
            last = sm_at(unit, i, "<") ? SM_NO_TOKEN : last;
        }
    }
    if (last == SM_NO_TOKEN || sm_one_of(unit, last, types)) return SM_NO_TOKEN;
    return words >= 2 || pointer ? last : SM_NO_TOKEN;
}

/* `constant` that was not const already is. */
static bool is_const(const sm_unit *unit, uint32_t at)
{
    return sm_at(unit, at, "const") || (sm_at(unit, at, "constant") && unit->tokens.list[at].replacement);
}

/* Without its name; a const of the pointee is moved to the front, one of a value is left out. */
static void put_parameter(sm_builder *b, uint32_t first, uint32_t end)
{
    const sm_unit *unit = b->unit;
    end = before_default(unit, first, end);
    uint32_t name = parameter_name(unit, first, end), pointer = end;
    bool constant = false;
    for (uint32_t i = first; i < end && pointer == end; i = sm_skip(unit, i)) {
        if (sm_at(unit, i, "*") || sm_at(unit, i, "&") || sm_at(unit, i, "&&")) pointer = i;
        constant |= is_const(unit, i);
    }
    if (constant && pointer != end) sm_text_put(&b->erased, "const ");
    for (uint32_t i = first; i < end; i = sm_is_attribute(unit, i) ? sm_skip(unit, i) : i + 1) {
        if (sm_is_attribute(unit, i) || i == name) continue;
        if (i >= pointer || !is_const(unit, i))
            put_token(b, i);
        else if (sm_is_space(unit, i))
            sm_text_put(&b->spaces, "constant ");
    }
    if (name != SM_NO_TOKEN) rename_token(b, name);
    sm_text_put(&b->erased, ", ");
    sm_text_put(&b->spaces, ", ");
}

static void put_parameters(sm_builder *b, uint32_t open)
{
    uint32_t end = sm_partner(b->unit, open), first = open + 1;
    sm_text_put(&b->erased, "( ");
    for (uint32_t i = first; first < end; i = sm_skip(b->unit, i)) {
        if (i < end && !sm_at(b->unit, i, ",")) continue;
        put_parameter(b, first, i);
        first = i + 1;
        if (i >= end) break;
    }
    sm_text_put(&b->erased, ") ");
}

static void put_template_headers(sm_builder *b, const sm_declaration *d)
{
    for (uint32_t i = d->first; i < d->specifiers; i = sm_skip(b->unit, i)) {
        if (!sm_at(b->unit, i, "<")) continue;
        put_parameters(b, i);
    }
}

/* The end of a function's head: its body, its initialisers, its semicolon. */
static uint32_t head_end(const sm_unit *unit, const sm_declaration *d)
{
    uint32_t i = sm_partner(unit, d->parameters) + 1;
    while (i < d->last && i != d->body && !sm_at(unit, i, ":") && !sm_at(unit, i, "=") && !sm_at(unit, i, ";"))
        i = sm_skip(unit, i);
    return i;
}

static void put_specifiers(sm_builder *b, uint32_t first, uint32_t end)
{
    static const char *const left_out[] = {"static", "inline",   "constexpr", "kernel", "extern",
                                           "friend", "explicit", "virtual",   NULL};
    for (uint32_t i = first; i < end; i++) {
        if (sm_at(b->unit, i, "__attribute__") && sm_at(b->unit, i + 1, "("))
            i = sm_partner(b->unit, i + 1);
        else if (sm_is_attribute(b->unit, i))
            i = sm_partner(b->unit, i);
        else if (!sm_one_of(b->unit, i, left_out))
            put_token(b, i);
    }
}

static void put_scope(sm_builder *b, const sm_declaration *d)
{
    const sm_name_scope *scope = &b->unit->scopes[d->scope];
    if (scope->record)
        sm_text_printf(&b->erased, "%u ", d->scope);
    else
        sm_text_printf(&b->erased, "%s ", scope->path);
}

/* What may be a duplicate: functions, and specialisations of classes and variables. */
static bool put_signature(sm_builder *b, const sm_declaration *d)
{
    bool specialisation = d->is_template && d->arguments != SM_NO_TOKEN;
    if (d->instantiation || d->name == SM_NO_TOKEN) return false;
    if (d->kind == SM_DECLARATION_FUNCTION) {
        put_scope(b, d);
        put_template_headers(b, d);
        put_specifiers(b, d->specifiers, d->parameters);
        put_parameters(b, d->parameters);
        put_specifiers(b, sm_partner(b->unit, d->parameters) + 1, head_end(b->unit, d));
        return true;
    }
    if (!specialisation || (d->kind != SM_DECLARATION_RECORD && d->kind != SM_DECLARATION_VARIABLE)) return false;
    put_scope(b, d);
    put_template_headers(b, d);
    put_specifiers(b, d->specifiers, sm_partner(b->unit, d->arguments) + 1);
    return true;
}

static void put_body(sm_builder *b, const sm_declaration *d)
{
    uint32_t first = d->kind == SM_DECLARATION_FUNCTION ? head_end(b->unit, d) : sm_partner(b->unit, d->arguments) + 1;
    put_range(b, first, d->last + 1);
}

static void free_builder(sm_builder *b)
{
    sm_text_free(&b->erased);
    sm_text_free(&b->spaces);
    free(b->renaming.names);
}

static sm_signature signature(sm_unit *unit, uint32_t declaration)
{
    sm_builder b = {.unit = unit};
    sm_signature s = {declaration, "", ""};
    if (put_signature(&b, &unit->declarations[declaration]) && b.erased.bytes) {
        s.erased = sm_arena_copy(&unit->arena, b.erased.bytes, b.erased.length);
        s.spaces = sm_arena_copy(&unit->arena, b.spaces.bytes ? b.spaces.bytes : "", b.spaces.length);
    }
    unit->arena.failed |= b.erased.failed || b.spaces.failed;
    free_builder(&b);
    return s;
}

static bool same_body(sm_unit *unit, const sm_declaration *x, const sm_declaration *y)
{
    sm_builder a = {.unit = unit}, b = {.unit = unit};
    put_signature(&a, x);
    put_signature(&b, y);
    sm_text_free(&a.erased);
    sm_text_free(&b.erased);
    put_body(&a, x);
    put_body(&b, y);
    unit->arena.failed |= a.erased.failed || b.erased.failed;
    bool same = a.erased.length == b.erased.length && a.erased.bytes && b.erased.bytes &&
                memcmp(a.erased.bytes, b.erased.bytes, a.erased.length) == 0;
    free_builder(&a);
    free_builder(&b);
    return same;
}

static int by_signature(const void *left, const void *right)
{
    const sm_signature *a = left, *b = right;
    int order = strcmp(a->erased, b->erased);
    return order ? order : (a->declaration > b->declaration) - (a->declaration < b->declaration);
}

static bool defines(const sm_declaration *d)
{
    return d->body != SM_NO_TOKEN || d->initialiser != SM_NO_TOKEN;
}

/* One group of equal ones: the first definition stays (or the first declaration, if none defines), and what is spelled
 * like it. */
static void drop_group(sm_unit *unit, const sm_signature *group, size_t count)
{
    size_t kept = 0;
    for (size_t i = count; i-- > 0;) {
        if (defines(&unit->declarations[group[i].declaration])) kept = i;
    }
    const sm_declaration *first = &unit->declarations[group[kept].declaration];
    for (size_t i = 0; i < count; i++) {
        const sm_declaration *d = &unit->declarations[group[i].declaration];
        if (strcmp(group[i].spaces, group[kept].spaces) == 0) continue;
        if (defines(d) && !same_body(unit, first, d)) {
            sm_refuse(unit, d->name,
                      "'%s' is overloaded by address space alone, with different bodies: the simulator, which has no address "
                      "spaces, cannot choose",
                      sm_token_text(unit, d->name));
            sm_remark(unit, "note", first->name, "the other one is here");
        }
        sm_drop(unit, d->first, d->last);
    }
}

bool sm_drop_duplicates(sm_unit *unit)
{
    sm_signature *list = sm_allocate((unit->declaration_count + 1) * sizeof *list);
    if (!list) return false;
    for (uint32_t i = 0; i < unit->declaration_count; i++) list[i] = signature(unit, i);
    qsort(list, unit->declaration_count, sizeof *list, by_signature);
    for (size_t i = 0, next; i < unit->declaration_count; i = next) {
        for (next = i + 1; next < unit->declaration_count && strcmp(list[i].erased, list[next].erased) == 0; next++) {
        }
        if (list[i].erased[0] && next - i > 1) drop_group(unit, list + i, next - i);
    }
    free(list);
    return !unit->arena.failed;
}
