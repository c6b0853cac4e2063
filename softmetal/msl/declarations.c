/* Reads the text as far as it takes to know its declarations: where each begins and ends, its name, parameters and body. It is
 * tolerant: what it does not understand it steps over, and leaves to the compiler. */
#include "msl/unit.h"

#include <string.h>

static uint32_t add_scope(sm_unit *unit, uint32_t parent, bool record, uint32_t name)
{
    if (!sm_grow(&unit->scopes, unit->scope_count, &unit->scope_capacity, sizeof *unit->scopes)) {
        unit->arena.failed = true;
        return 0;
    }
    const char *path = unit->scope_count ? unit->scopes[parent].path : "";
    if (name != SM_NO_TOKEN) path = sm_arena_printf(&unit->arena, "%s%s::", path, sm_token_text(unit, name));
    unit->scopes[unit->scope_count] = (sm_name_scope){parent, record, path};
    return unit->scope_count++;
}

static bool scan_scope(sm_unit *unit, uint32_t first, uint32_t end, uint32_t scope);

/* Past the semicolon; brackets are stepped over. */
static uint32_t to_semicolon(const sm_unit *unit, uint32_t at, uint32_t end)
{
    while (at < end && !sm_at(unit, at, ";")) {
        uint32_t next = sm_skip(unit, at);
        at = sm_at(unit, at, "<") ? at + 1 : next;
    }
    return at < end ? at + 1 : end;
}

/* namespace a::b { … }; returns the token behind, or `at` if it is none. */
static uint32_t scan_namespace(sm_unit *unit, uint32_t at, uint32_t end, uint32_t scope)
{
    uint32_t start = at;
    if (sm_at(unit, at, "inline")) at++;
    if (!sm_at(unit, at, "namespace")) return start;
    for (at++; at < end && !sm_at(unit, at, "{"); at = sm_skip(unit, at)) {
        if (sm_at(unit, at, ";")) return at + 1; /* an alias */
        if (sm_named(unit, at)) scope = add_scope(unit, scope, false, at);
    }
    if (at >= end) return end;
    scan_scope(unit, at + 1, sm_partner(unit, at), scope);
    return sm_partner(unit, at) + 1;
}

typedef struct sm_reader {
    sm_unit *unit;
    sm_declaration *d;
    uint32_t at, end;
    bool record, typedefs, initialising; /* struct seen; typedef; in a constructor's initialisers */
} sm_reader;

static void skip_template_headers(sm_reader *r)
{
    while (r->at < r->end) {
        if (sm_is_attribute(r->unit, r->at)) {
            r->at = sm_skip(r->unit, r->at);
        } else if (sm_at(r->unit, r->at, "template")) {
            r->at++;
            if (!sm_at(r->unit, r->at, "<")) {
                r->d->instantiation = true;
                continue;
            }
            r->d->is_template = true;
            uint32_t partner = sm_partner(r->unit, r->at);
            /* template <>: nothing before the < that would make it an angle bracket is needed */
            if (partner != SM_NO_TOKEN)
                r->at = partner + 1;
            else
                return;
        } else {
            break;
        }
    }
    r->d->specifiers = r->at;
}

static bool takes_parentheses(const sm_unit *unit, uint32_t at)
{
    static const char *const words[] = {
        "alignas",  "__attribute__", "__attribute", "decltype",   "noexcept",
        "explicit", "__declspec",    "typeof",      "__typeof__", NULL,
    };
    return sm_one_of(unit, at, words);
}

/* operator+, operator(), operator float4: to the ( of the parameters. */
static void read_operator(sm_reader *r)
{
    if (r->d->name == SM_NO_TOKEN || r->d->parameters == SM_NO_TOKEN) r->d->name = r->at;
    r->at++;
    if (sm_at(r->unit, r->at, "(") && sm_partner(r->unit, r->at) == r->at + 1) r->at += 2;
    while (r->at < r->end && !sm_at(r->unit, r->at, "(") && !sm_at(r->unit, r->at, ";") && !sm_at(r->unit, r->at, "{")) {
        r->at = sm_at(r->unit, r->at, "<") ? r->at + 1 : sm_skip(r->unit, r->at);
    }
}

static void read_parenthesis(sm_reader *r)
{
    sm_declaration *d = r->d;
    uint32_t open = r->at;
    bool declarator = sm_at(r->unit, open + 1, "*") || sm_at(r->unit, open + 1, "&");
    if (d->parameters == SM_NO_TOKEN && d->initialiser == SM_NO_TOKEN && d->name != SM_NO_TOKEN && !declarator)
        d->parameters = open;
    r->at = sm_partner(r->unit, open) + 1;
}

/* True at the end of the declaration: behind the body of a function. */
static bool read_brace(sm_reader *r)
{
    sm_declaration *d = r->d;
    uint32_t open = r->at, close = sm_partner(r->unit, open);
    r->at = close + 1;
    if (d->initialiser != SM_NO_TOKEN) return false;
    if (d->parameters != SM_NO_TOKEN) {
        if (r->initialising && (sm_named(r->unit, open - 1) || sm_at(r->unit, open - 1, ">"))) return false;
        d->body = open;
        return true;
    }
    if (r->record && d->body == SM_NO_TOKEN) {
        d->body = open;
        return false;
    }
    d->initialiser = open;
    return false;
}

static void read_word(sm_reader *r)
{
    sm_unit *unit = r->unit;
    sm_declaration *d = r->d;
    bool outside = d->parameters == SM_NO_TOKEN && d->initialiser == SM_NO_TOKEN;
    if (takes_parentheses(unit, r->at)) {
        r->at++;
        if (sm_at(unit, r->at, "(")) r->at = sm_partner(unit, r->at) + 1;
        return;
    }
    if (sm_at(unit, r->at, "operator") && outside) {
        read_operator(r);
        return;
    }
    if ((sm_at(unit, r->at, "struct") || sm_at(unit, r->at, "class") || sm_at(unit, r->at, "union") ||
         sm_at(unit, r->at, "enum")) &&
        outside) {
        r->record = true;
    } else if (outside && !(r->record && d->body == SM_NO_TOKEN && d->name != SM_NO_TOKEN && sm_at(unit, r->at, "final")) &&
               !sm_is_space(unit, r->at)) {
        d->name = r->at;
        d->arguments = sm_at(unit, r->at + 1, "<") && sm_partner(unit, r->at + 1) != SM_NO_TOKEN ? r->at + 1 : SM_NO_TOKEN;
    }
    r->at++;
}

/* One declaration; leaves r->at behind it. */
static void read_declaration(sm_reader *r)
{
    sm_unit *unit = r->unit;
    sm_declaration *d = r->d;
    uint32_t record_name = SM_NO_TOKEN, record_arguments = SM_NO_TOKEN;
    while (r->at < r->end) {
        if (sm_at(unit, r->at, ";")) {
            r->at++;
            break;
        }
        if (sm_named(unit, r->at))
            read_word(r);
        else if (sm_at(unit, r->at, "("))
            read_parenthesis(r);
        else if (sm_at(unit, r->at, "{")) {
            if (r->record && d->body == SM_NO_TOKEN && d->parameters == SM_NO_TOKEN) {
                record_name = d->name;
                record_arguments = d->arguments;
            }
            if (read_brace(r)) {
                if (sm_at(unit, r->at, ";")) r->at++;
                break;
            }
        } else if (sm_at(unit, r->at, "=") && d->initialiser == SM_NO_TOKEN) {
            if (d->parameters == SM_NO_TOKEN) d->initialiser = r->at;
            r->at++;
        } else if (sm_at(unit, r->at, ":")) {
            if (d->parameters != SM_NO_TOKEN)
                r->initialising = true;
            else if (r->record && d->body == SM_NO_TOKEN) {
                /* bases: up to the class's brace */
                uint32_t name = d->name, arguments = d->arguments;
                while (r->at < r->end && !sm_at(unit, r->at, "{") && !sm_at(unit, r->at, ";")) r->at = sm_skip(unit, r->at);
                d->name = name;
                d->arguments = arguments;
                continue;
            }
            r->at++;
        } else {
            r->at = sm_at(unit, r->at, "<") && sm_partner(unit, r->at) == SM_NO_TOKEN ? r->at + 1 : sm_skip(unit, r->at);
        }
    }
    if (d->body != SM_NO_TOKEN && d->parameters == SM_NO_TOKEN && r->record) {
        d->kind = SM_DECLARATION_RECORD;
        d->name = record_name;
        d->arguments = record_arguments;
    } else if (d->parameters != SM_NO_TOKEN) {
        d->kind = SM_DECLARATION_FUNCTION;
    }
}

static bool add_declaration(sm_unit *unit, const sm_declaration *d)
{
    if (!sm_grow(&unit->declarations, unit->declaration_count, &unit->declaration_capacity, sizeof *unit->declarations)) {
        unit->arena.failed = true;
        return false;
    }
    unit->declarations[unit->declaration_count++] = *d;
    return true;
}

static uint32_t scan_declaration(sm_unit *unit, uint32_t at, uint32_t end, uint32_t scope)
{
    sm_declaration d = {
        .kind = SM_DECLARATION_VARIABLE,
        .scope = scope,
        .first = at,
        .specifiers = at,
        .name = SM_NO_TOKEN,
        .arguments = SM_NO_TOKEN,
        .parameters = SM_NO_TOKEN,
        .body = SM_NO_TOKEN,
        .initialiser = SM_NO_TOKEN,
    };
    sm_reader reader = {.unit = unit, .d = &d, .at = at, .end = end};
    skip_template_headers(&reader);
    if (sm_at(unit, d.specifiers, "using") || sm_at(unit, d.specifiers, "static_assert")) {
        d.kind = SM_DECLARATION_ALIAS;
        reader.at = to_semicolon(unit, reader.at, end);
    } else {
        read_declaration(&reader);
        if (sm_at(unit, d.specifiers, "typedef") && d.kind != SM_DECLARATION_RECORD) d.kind = SM_DECLARATION_ALIAS;
    }
    if (reader.at <= at) reader.at = at + 1;
    d.last = reader.at - 1;
    if (!add_declaration(unit, &d)) return end;
    if (d.kind == SM_DECLARATION_RECORD) {
        bool enumeration = false;
        for (uint32_t i = d.specifiers; i < d.body; i++) enumeration |= sm_at(unit, i, "enum");
        if (!enumeration) scan_scope(unit, d.body + 1, sm_partner(unit, d.body), add_scope(unit, scope, true, d.name));
    }
    return reader.at;
}

static bool is_access_label(const sm_unit *unit, uint32_t at)
{
    return (sm_at(unit, at, "public") || sm_at(unit, at, "private") || sm_at(unit, at, "protected")) &&
           sm_at(unit, at + 1, ":");
}

static bool scan_scope(sm_unit *unit, uint32_t first, uint32_t end, uint32_t scope)
{
    uint32_t at = first;
    while (at < end && !unit->arena.failed) {
        uint32_t next = scan_namespace(unit, at, end, scope);
        if (next != at) {
            at = next;
        } else if (sm_at(unit, at, ";")) {
            at++;
        } else if (is_access_label(unit, at)) {
            at += 2;
        } else if (sm_at(unit, at, "extern") && sm_token_is(&unit->tokens, at + 1, SM_STRING) && sm_at(unit, at + 2, "{")) {
            scan_scope(unit, at + 3, sm_partner(unit, at + 2), scope);
            at = sm_partner(unit, at + 2) + 1;
        } else {
            at = scan_declaration(unit, at, end, scope);
        }
    }
    return !unit->arena.failed;
}

bool sm_find_declarations(sm_unit *unit)
{
    add_scope(unit, 0, false, SM_NO_TOKEN);
    return !unit->arena.failed && scan_scope(unit, 0, unit->tokens.count, 0);
}
