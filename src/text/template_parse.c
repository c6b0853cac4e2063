/* Statements. */
#include "text/template_parser.h"

#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"

/* ---- Tokens and nodes ---- */

void *tmpl_parse_memory(tmpl_parser *parser)
{
    if (parser->status != PV_OK) return NULL;
    if (parser->tmpl->arena.over_limit)
        parser->status = tmpl_fail_line(parser->error, parser->token.line, "parsing takes more than %u MiB of memory",
                                        PV_TEMPLATE_MAX_MEMORY >> 20);
    else
        parser->status = pv_fail_memory(parser->error, 0, "a chat template");
    return NULL;
}

void *tmpl_parse_error(tmpl_parser *parser, const char *wanted)
{
    char found[80];
    if (parser->status != PV_OK) return NULL;
    tmpl_describe(&parser->token, found, sizeof found);
    parser->status = tmpl_fail_line(parser->error, parser->token.line, "found %s, wanted %s", found, wanted);
    return NULL;
}

void tmpl_advance(tmpl_parser *parser)
{
    if (parser->status != PV_OK) return;
    if (parser->has_ahead) {
        parser->token = parser->ahead;
        parser->has_ahead = false;
    } else {
        parser->status = tmpl_lexer_next(&parser->lexer, &parser->token);
    }
}

bool tmpl_look_ahead(tmpl_parser *parser, tmpl_token *token)
{
    if (!parser->has_ahead && parser->status == PV_OK) {
        parser->status = tmpl_lexer_next(&parser->lexer, &parser->ahead);
        parser->has_ahead = parser->status == PV_OK;
    }
    *token = parser->ahead;
    return parser->status == PV_OK;
}

static bool is_name(const tmpl_token *token, const char *name)
{
    return token->type == TOKEN_NAME && token->length == strlen(name) && memcmp(token->text, name, token->length) == 0;
}

bool tmpl_at_name(const tmpl_parser *parser, const char *name)
{
    return is_name(&parser->token, name);
}

bool tmpl_skip(tmpl_parser *parser, tmpl_token_type type)
{
    if (parser->status != PV_OK || parser->token.type != type) return false;
    tmpl_advance(parser);
    return parser->status == PV_OK;
}

bool tmpl_skip_name(tmpl_parser *parser, const char *name)
{
    if (parser->status != PV_OK || !tmpl_at_name(parser, name)) return false;
    tmpl_advance(parser);
    return parser->status == PV_OK;
}

bool tmpl_expect(tmpl_parser *parser, tmpl_token_type type, const char *wanted)
{
    if (parser->status != PV_OK) return false;
    if (parser->token.type != type) return tmpl_parse_error(parser, wanted) != NULL;
    tmpl_advance(parser);
    return parser->status == PV_OK;
}

bool tmpl_enter(tmpl_parser *parser)
{
    if (parser->status != PV_OK) return false;
    if (parser->depth++ < PV_TEMPLATE_MAX_PARSE_DEPTH) return true;
    parser->status = tmpl_fail_line(parser->error, parser->token.line, "nested deeper than %d", PV_TEMPLATE_MAX_PARSE_DEPTH);
    return false;
}

void tmpl_leave(tmpl_parser *parser)
{
    parser->depth--;
}

void *tmpl_parse_alloc(tmpl_parser *parser, size_t size)
{
    if (parser->status != PV_OK) return NULL;
    void *memory = tmpl_arena_alloc(&parser->tmpl->arena, size);
    return memory ? memset(memory, 0, size) : tmpl_parse_memory(parser);
}

tmpl_node *tmpl_new_node(tmpl_parser *parser, tmpl_kind kind, uint32_t line)
{
    tmpl_node *node = tmpl_parse_alloc(parser, sizeof *node);
    if (node) {
        node->kind = (uint8_t)kind;
        node->line = line;
    }
    return node;
}

bool tmpl_push(tmpl_parser *parser, tmpl_node_list *list, tmpl_node *node)
{
    if (!node || parser->status != PV_OK) return false;
    if (list->nodes.count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 4;
        void *items =
            tmpl_arena_grow(&parser->tmpl->arena, list->nodes.items, list->capacity * sizeof node, capacity * sizeof node);
        if (!items) return tmpl_parse_memory(parser) != NULL;
        list->nodes.items = items;
        list->capacity = capacity;
    }
    list->nodes.items[list->nodes.count++] = node;
    return true;
}

tmpl_string *tmpl_parse_text(tmpl_parser *parser, const char *text, size_t length)
{
    tmpl_string *string = tmpl_parse_alloc(parser, sizeof *string);
    if (!string) return NULL;
    *string = (tmpl_string){.data = text, .length = length};
    for (size_t i = 0; i < length; i++) string->characters += ((unsigned char)text[i] & 0xc0) != 0x80;
    return string;
}

/* ---- Names ---- */

static bool add_name(tmpl_parser *parser, const tmpl_token *token, uint32_t *number)
{
    pv_template *tmpl = parser->tmpl;
    if (pv_map_find(&parser->names, token->text, token->length, number)) return true;
    *number = tmpl->name_count;
    if (*number == parser->name_capacity) {
        size_t capacity = *number ? *number * (size_t)2 : 64, size = sizeof *tmpl->names;
        void *names = tmpl_arena_grow(&tmpl->arena, tmpl->names, *number * size, capacity * size);
        if (!names) return tmpl_parse_memory(parser) != NULL;
        tmpl->names = names;
        parser->name_capacity = capacity;
    }
    if (!(tmpl->names[*number] = tmpl_parse_text(parser, token->text, token->length))) return false;
    if (pv_map_add(&parser->names, token->text, token->length, *number) < 0) {
        tmpl->arena.over_limit = false;
        return tmpl_parse_memory(parser) != NULL;
    }
    tmpl->name_count++;
    return true;
}

static uint8_t special_use(const tmpl_token *token)
{
    static const char *const names[] = {"caller", "kwargs", "varargs", "loop"};
    for (unsigned i = 0; i < 4; i++) {
        if (is_name(token, names[i])) return (uint8_t)(1u << i);
    }
    return 0;
}

tmpl_node *tmpl_parse_name(tmpl_parser *parser)
{
    if (parser->status == PV_OK && parser->token.type != TOKEN_NAME) return tmpl_parse_error(parser, "a name");
    tmpl_node *node = tmpl_new_node(parser, NODE_NAME, parser->token.line);
    if (!node || !add_name(parser, &parser->token, &node->name.global)) return NULL;
    node->name.name = parser->tmpl->names[node->name.global];
    parser->uses |= special_use(&parser->token);
    tmpl_advance(parser);
    return node;
}

/* ---- Bodies ---- */

/* Stops behind "{%" at a name of `ends` (NULL-terminated), whose token is left current. */
static bool parse_body(tmpl_parser *parser, const char *const *ends, tmpl_nodes *body);

/* The rest of a tag, the body, and its end tag's name. */
static bool parse_block(tmpl_parser *parser, const char *const *ends, tmpl_nodes *body)
{
    tmpl_skip(parser, TOKEN_COLON);
    if (!tmpl_expect(parser, TOKEN_BLOCK_END, "'%}'")) return false;
    if (!tmpl_enter(parser)) return false;
    bool parsed = parse_body(parser, ends, body);
    tmpl_leave(parser);
    return parsed;
}

static bool parse_whole_block(tmpl_parser *parser, const char *end, tmpl_nodes *body)
{
    const char *const ends[] = {end, NULL};
    if (!parse_block(parser, ends, body)) return false;
    tmpl_advance(parser);
    return parser->status == PV_OK;
}

/* ---- Statements ---- */

static tmpl_node *parse_if(tmpl_parser *parser, uint32_t line)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL}, *const last[] = {"endif", NULL};
    tmpl_node *node = tmpl_new_node(parser, NODE_IF, line);
    size_t capacity = 0;
    for (bool more = true, has_test = true; node && more;) {
        if (node->branch.count == capacity) {
            size_t wanted = capacity ? capacity * 2 : 2, size = sizeof *node->branch.branches;
            void *grown = tmpl_arena_grow(&parser->tmpl->arena, node->branch.branches, capacity * size, wanted * size);
            if (!grown) return tmpl_parse_memory(parser);
            node->branch.branches = grown;
            capacity = wanted;
        }
        tmpl_branch *branch = &node->branch.branches[node->branch.count++];
        *branch = (tmpl_branch){0};
        if (has_test && !(branch->test = tmpl_parse_tuple(parser, false))) return NULL;
        if (!parse_block(parser, has_test ? ends : last, &branch->body)) return NULL;
        has_test = tmpl_at_name(parser, "elif");
        more = has_test || tmpl_at_name(parser, "else");
        tmpl_advance(parser);
        if (parser->status != PV_OK) return NULL;
    }
    return node;
}

/* The test's own copy of a loop's target. */
static tmpl_node *copy_target(tmpl_parser *parser, const tmpl_node *target)
{
    tmpl_node *copy = tmpl_new_node(parser, (tmpl_kind)target->kind, target->line);
    if (!copy) return NULL;
    *copy = *target;
    if (target->kind != NODE_TUPLE) return copy;
    tmpl_node_list list = {0};
    for (uint32_t i = 0; i < target->list.count; i++) {
        if (!tmpl_push(parser, &list, copy_target(parser, target->list.items[i]))) return NULL;
    }
    copy->list = list.nodes;
    return copy;
}

static tmpl_node *parse_for(tmpl_parser *parser, uint32_t line)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    tmpl_node *node = tmpl_new_node(parser, NODE_FOR, line);
    tmpl_for *loop = tmpl_parse_alloc(parser, sizeof *loop);
    if (!node || !loop) return NULL;
    node->loop = loop;
    uint8_t outer_uses = parser->uses;
    if (!(loop->target = tmpl_parse_target(parser, false))) return NULL;
    if (!tmpl_skip_name(parser, "in")) return tmpl_parse_error(parser, "'in'");
    if (!(loop->iterable = tmpl_parse_tuple(parser, false))) return NULL;
    if (tmpl_skip_name(parser, "if")) {
        if (!(loop->test = tmpl_parse_expression(parser, true))) return NULL;
        if (!(loop->test_target = copy_target(parser, loop->target))) return NULL;
    }
    if (parser->status == PV_OK && tmpl_at_name(parser, "recursive")) {
        parser->status = tmpl_fail_line(parser->error, line, "recursive loops are not supported");
        return NULL;
    }
    parser->uses = 0;
    parser->loops++;
    bool parsed = parse_block(parser, ends, &loop->body);
    parser->loops--;
    loop->uses = parser->uses;
    parser->uses |= outer_uses;
    if (!parsed) return NULL;
    bool otherwise = tmpl_at_name(parser, "else");
    tmpl_advance(parser);
    if (otherwise && !parse_whole_block(parser, "endfor", &loop->otherwise)) return NULL;
    return node;
}

static tmpl_node *parse_set(tmpl_parser *parser, uint32_t line)
{
    tmpl_node *node = tmpl_new_node(parser, NODE_SET, line), *captured;
    tmpl_node *target = tmpl_parse_target(parser, true);
    if (!node || !target) return NULL;
    node->set.target = target;
    if (tmpl_skip(parser, TOKEN_ASSIGN)) {
        node->set.value = tmpl_parse_tuple(parser, true);
        return node->set.value ? node : NULL;
    }
    node->kind = NODE_SET_BLOCK;
    if (!(node->set.scope = tmpl_parse_alloc(parser, sizeof(tmpl_scope)))) return NULL;
    if (!(captured = tmpl_new_node(parser, NODE_CAPTURED, line))) return NULL;
    if (!(node->set.value = tmpl_parse_filters(parser, captured, false))) return NULL;
    return parse_whole_block(parser, "endset", &node->set.body) ? node : NULL;
}

static tmpl_node *parse_filter_block(tmpl_parser *parser, uint32_t line)
{
    tmpl_node *node = tmpl_new_node(parser, NODE_FILTER_BLOCK, line), *captured = tmpl_new_node(parser, NODE_CAPTURED, line);
    if (!node || !captured) return NULL;
    if (!(node->set.scope = tmpl_parse_alloc(parser, sizeof(tmpl_scope)))) return NULL;
    if (!(node->set.value = tmpl_parse_filters(parser, captured, true))) return NULL;
    return parse_whole_block(parser, "endfilter", &node->set.body) ? node : NULL;
}

static tmpl_node *parse_with(tmpl_parser *parser, uint32_t line)
{
    tmpl_node *node = tmpl_new_node(parser, NODE_WITH, line);
    tmpl_node_list targets = {0}, values = {0};
    if (!node || !(node->with.scope = tmpl_parse_alloc(parser, sizeof(tmpl_scope)))) return NULL;
    while (parser->status == PV_OK && parser->token.type != TOKEN_BLOCK_END) {
        if (targets.nodes.count && !tmpl_expect(parser, TOKEN_COMMA, "','")) return NULL;
        if (!tmpl_push(parser, &targets, tmpl_parse_target(parser, false))) return NULL;
        if (!tmpl_expect(parser, TOKEN_ASSIGN, "'='")) return NULL;
        if (!tmpl_push(parser, &values, tmpl_parse_expression(parser, true))) return NULL;
    }
    node->with.targets = targets.nodes;
    node->with.values = values.nodes;
    return parse_whole_block(parser, "endwith", &node->with.body) ? node : NULL;
}

/* "(a, b=1)" */
static bool parse_signature(tmpl_parser *parser, tmpl_function *function)
{
    tmpl_node_list parameters = {0}, defaults = {0};
    if (!tmpl_expect(parser, TOKEN_LPAREN, "'('")) return false;
    while (parser->status == PV_OK && parser->token.type != TOKEN_RPAREN) {
        if (parameters.nodes.count && !tmpl_expect(parser, TOKEN_COMMA, "','")) return false;
        if (tmpl_at_name(parser, "caller")) function->own_caller = (int32_t)parameters.nodes.count;
        uint8_t uses = parser->uses;
        if (!tmpl_push(parser, &parameters, tmpl_parse_name(parser))) return false;
        parser->uses = uses;
        if (tmpl_skip(parser, TOKEN_ASSIGN)) {
            if (!tmpl_push(parser, &defaults, tmpl_parse_expression(parser, true))) return false;
        } else if (defaults.nodes.count) {
            return tmpl_parse_error(parser, "'=': parameters after one with a default need one too") != NULL;
        }
    }
    function->parameters = parameters.nodes;
    function->defaults = defaults.nodes;
    return tmpl_expect(parser, TOKEN_RPAREN, "')'");
}

static bool parse_function_body(tmpl_parser *parser, tmpl_function *function, const char *end)
{
    uint8_t outer_uses = parser->uses;
    uint32_t outer_loops = parser->loops;
    parser->uses = 0;
    parser->loops = 0;
    bool parsed = parse_whole_block(parser, end, &function->body);
    function->uses = parser->uses;
    parser->uses |= outer_uses;
    parser->loops = outer_loops;
    if (parsed && function->own_caller >= 0 && (function->uses & USES_CALLER) &&
        (uint32_t)function->own_caller < function->parameters.count - function->defaults.count)
        parser->status = tmpl_fail_line(parser->error, parser->token.line, "a parameter 'caller' needs a default");
    return parser->status == PV_OK;
}

static tmpl_function *new_function(tmpl_parser *parser)
{
    tmpl_function *function = tmpl_parse_alloc(parser, sizeof *function);
    if (function) function->own_caller = -1;
    return function;
}

static tmpl_node *parse_macro(tmpl_parser *parser, uint32_t line)
{
    tmpl_node *node = tmpl_new_node(parser, NODE_MACRO, line);
    tmpl_function *function = new_function(parser);
    if (!node || !function || !(node->define.target = tmpl_parse_name(parser))) return NULL;
    node->define.function = function;
    function->name = node->define.target->name.name;
    if (!parse_signature(parser, function)) return NULL;
    return parse_function_body(parser, function, "endmacro") ? node : NULL;
}

static tmpl_node *parse_call_block(tmpl_parser *parser, uint32_t line)
{
    tmpl_node *node = tmpl_new_node(parser, NODE_CALL_BLOCK, line);
    tmpl_function *function = new_function(parser);
    if (!node || !function) return NULL;
    node->define.function = function;
    if (parser->token.type == TOKEN_LPAREN && !parse_signature(parser, function)) return NULL;
    if (!(node->define.target = tmpl_parse_expression(parser, true))) return NULL;
    if (node->define.target->kind != NODE_CALL) return tmpl_parse_error(parser, "a call");
    return parse_function_body(parser, function, "endcall") ? node : NULL;
}

static tmpl_node *parse_generation(tmpl_parser *parser, uint32_t line)
{
    tmpl_node *node = tmpl_new_node(parser, NODE_GENERATION, line);
    tmpl_function *function = new_function(parser);
    if (!node || !function) return NULL;
    node->define.function = function;
    return parse_function_body(parser, function, "endgeneration") ? node : NULL;
}

static tmpl_node *parse_break(tmpl_parser *parser, uint32_t line)
{
    if (!parser->loops) parser->status = tmpl_fail_line(parser->error, line, "'break' outside a loop");
    return tmpl_new_node(parser, NODE_BREAK, line);
}

static tmpl_node *parse_continue(tmpl_parser *parser, uint32_t line)
{
    if (!parser->loops) parser->status = tmpl_fail_line(parser->error, line, "'continue' outside a loop");
    return tmpl_new_node(parser, NODE_CONTINUE, line);
}

static const struct statement {
    const char *name;
    tmpl_node *(*parse)(tmpl_parser *parser, uint32_t line); /* NULL: known to Jinja, refused here */
} statements[] = {
    {"if", parse_if},
    {"for", parse_for},
    {"set", parse_set},
    {"macro", parse_macro},
    {"call", parse_call_block},
    {"filter", parse_filter_block},
    {"with", parse_with},
    {"break", parse_break},
    {"continue", parse_continue},
    {"generation", parse_generation},
    {"include", NULL},
    {"import", NULL},
    {"from", NULL},
    {"extends", NULL},
    {"block", NULL},
    {"autoescape", NULL},
    {"print", NULL},
};

static tmpl_node *parse_statement(tmpl_parser *parser)
{
    char found[80];
    uint32_t line = parser->token.line;
    if (parser->token.type != TOKEN_NAME) return tmpl_parse_error(parser, "the name of a tag");
    tmpl_describe(&parser->token, found, sizeof found);
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        if (!tmpl_at_name(parser, statements[i].name)) continue;
        if (!statements[i].parse) {
            parser->status = tmpl_fail_line(parser->error, line, "the tag %s is not supported", found);
            return NULL;
        }
        tmpl_advance(parser);
        return statements[i].parse(parser, line);
    }
    parser->status = tmpl_fail_line(parser->error, line, "the tag %s is not known here", found);
    return NULL;
}

static tmpl_node *parse_output(tmpl_parser *parser)
{
    tmpl_node *node = tmpl_new_node(parser, NODE_OUTPUT, parser->token.line);
    tmpl_advance(parser);
    if (!node || !(node->operand = tmpl_parse_tuple(parser, true))) return NULL;
    return tmpl_expect(parser, TOKEN_VARIABLE_END, "'}}'") ? node : NULL;
}

static tmpl_node *parse_data(tmpl_parser *parser)
{
    tmpl_node *node = tmpl_new_node(parser, NODE_DATA, parser->token.line);
    if (!node) return NULL;
    node->data.text = parser->token.text;
    node->data.length = parser->token.length;
    tmpl_advance(parser);
    return node;
}

static bool at_end(const tmpl_parser *parser, const char *const *ends)
{
    for (; ends && *ends; ends++) {
        if (tmpl_at_name(parser, *ends)) return true;
    }
    return false;
}

static bool parse_body(tmpl_parser *parser, const char *const *ends, tmpl_nodes *body)
{
    tmpl_node_list list = {0};
    while (parser->status == PV_OK && parser->token.type != TOKEN_END) {
        tmpl_node *node;
        if (parser->token.type == TOKEN_DATA) {
            node = parse_data(parser);
        } else if (parser->token.type == TOKEN_VARIABLE_BEGIN) {
            node = parse_output(parser);
        } else {
            tmpl_advance(parser);
            *body = list.nodes;
            if (parser->status == PV_OK && at_end(parser, ends)) return true;
            if (parser->status == PV_OK)
                node = parse_statement(parser);
            else
                node = NULL;
            if (node && !tmpl_expect(parser, TOKEN_BLOCK_END, "'%}'")) return false;
        }
        if (!tmpl_push(parser, &list, node)) return false;
    }
    *body = list.nodes;
    if (ends && parser->status == PV_OK) {
        char wanted[40] = "'{% ";
        strncat(wanted, ends[0], 20);
        tmpl_parse_error(parser, strcat(wanted, " %}'"));
    }
    return parser->status == PV_OK;
}

/* ---- The whole ---- */

/* A copy whose lines end with \n, less one newline at the very end. */
static pv_status normalize(tmpl_parser *parser, const char *source, size_t length)
{
    char *copy = tmpl_arena_alloc(&parser->tmpl->arena, length + 1);
    size_t kept = 0;
    uint32_t line = 1, c;
    if (!copy) {
        tmpl_parse_memory(parser);
        return parser->status;
    }
    for (size_t at = 0, bytes; at < length; at += bytes) {
        bytes = pv_utf8_decode(source + at, length - at, &c);
        if (!bytes) return tmpl_fail_line(parser->error, line, "byte 0x%02x is no UTF-8", (unsigned char)source[at]);
        memcpy(copy + kept, source + at, bytes);
        line += c == '\n';
        if (c == '\n' && at && source[at - 1] == '\r') continue; /* the \r has become the newline */
        if (c == '\r') copy[kept] = '\n';
        kept += bytes;
    }
    if (kept && copy[kept - 1] == '\n') kept--;
    tmpl_lexer_init(&parser->lexer, copy, kept, parser->error);
    return PV_OK;
}

pv_status tmpl_parse(pv_template *tmpl, const char *source, size_t length, pv_error *error)
{
    tmpl_parser parser = {.tmpl = tmpl, .error = error};
    if (length > PV_TEMPLATE_MAX_SOURCE)
        return pv_fail(error, PV_BAD_TEMPLATE, "a chat template of %zu bytes, at most %u are read", length,
                       PV_TEMPLATE_MAX_SOURCE);
    pv_map_init(&parser.names, &tmpl->allocator);
    parser.status = normalize(&parser, source, length);
    tmpl_advance(&parser);
    tmpl->root.own_caller = -1;
    parse_body(&parser, NULL, &tmpl->root.body);
    pv_map_free(&parser.names);
    return parser.status;
}
