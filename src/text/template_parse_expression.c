/* Expressions, with Jinja's precedence: if-else, or, and, not, comparisons, + -, ~, * / // %, **, signs, postfixes, filters. */
#include "text/template_parser.h"

#include <string.h>

#include "base/checked.h"

static tmpl_node *parse_unary(tmpl_parser *parser, bool filters);
static tmpl_node *parse_postfix(tmpl_parser *parser, tmpl_node *node);

/* ---- Depth: chains like a.b.c make trees without brackets ---- */

static unsigned depth_of(const tmpl_node *node)
{
    return node ? node->depth : 0;
}

static tmpl_node *set_depth(tmpl_parser *parser, tmpl_node *node, unsigned below)
{
    if (!node || parser->status != PV_OK) return NULL;
    if (below >= PV_TEMPLATE_MAX_PARSE_DEPTH) {
        parser->status =
            tmpl_fail_line(parser->error, node->line, "an expression nested deeper than %d", PV_TEMPLATE_MAX_PARSE_DEPTH);
        return NULL;
    }
    node->depth = (uint16_t)(below + 1);
    return node;
}

static unsigned deeper(unsigned a, unsigned b)
{
    return a > b ? a : b;
}

static unsigned depth_of_list(const tmpl_nodes *nodes)
{
    unsigned depth = 0;
    for (uint32_t i = 0; i < nodes->count; i++) depth = deeper(depth, depth_of(nodes->items[i]));
    return depth;
}

static tmpl_node *new_binary(tmpl_parser *parser, tmpl_kind kind, int op, tmpl_node *left, tmpl_node *right)
{
    if (!left || !right) return NULL;
    tmpl_node *node = tmpl_new_node(parser, kind, left->line);
    if (!node) return NULL;
    node->op = (uint8_t)op;
    node->binary.left = left;
    node->binary.right = right;
    return set_depth(parser, node, deeper(left->depth, right->depth));
}

static tmpl_node *new_list(tmpl_parser *parser, tmpl_kind kind, uint32_t line, const tmpl_node_list *list)
{
    tmpl_node *node = tmpl_new_node(parser, kind, line);
    if (!node) return NULL;
    node->list = list->nodes;
    return set_depth(parser, node, depth_of_list(&list->nodes));
}

static tmpl_node *new_constant(tmpl_parser *parser, uint32_t line, tmpl_value value)
{
    tmpl_node *node = tmpl_new_node(parser, NODE_CONST, line);
    if (node) node->constant = value;
    return node;
}

/* ---- Arguments ---- */

static void *bad_arguments(tmpl_parser *parser)
{
    return tmpl_parse_error(parser, "arguments in the order: plain, named, *list, **dictionary");
}

static bool parse_argument(tmpl_parser *parser, tmpl_arguments *arguments, tmpl_node_list *plain, tmpl_node_list *named)
{
    tmpl_token ahead;
    if (tmpl_skip(parser, TOKEN_MUL)) {
        if (arguments->star || arguments->double_star) return bad_arguments(parser) != NULL;
        return (arguments->star = tmpl_parse_expression(parser, true)) != NULL;
    }
    if (tmpl_skip(parser, TOKEN_POW)) {
        if (arguments->double_star) return bad_arguments(parser) != NULL;
        return (arguments->double_star = tmpl_parse_expression(parser, true)) != NULL;
    }
    if (parser->token.type == TOKEN_NAME && tmpl_look_ahead(parser, &ahead) && ahead.type == TOKEN_ASSIGN) {
        if (arguments->double_star) return bad_arguments(parser) != NULL;
        tmpl_string *name = tmpl_parse_text(parser, parser->token.text, parser->token.length);
        if (!name) return false;
        size_t count = named->nodes.count, size = sizeof name;
        for (size_t i = 0; i < count; i++) {
            if (tmpl_same_text(arguments->names[i], name)) return tmpl_parse_error(parser, "each named argument once") != NULL;
        }
        tmpl_string **names = tmpl_parse_alloc(parser, (count + 1) * size);
        if (!names) return false;
        if (count) memcpy(names, arguments->names, count * size);
        names[count] = name;
        arguments->names = names;
        tmpl_advance(parser);
        tmpl_advance(parser);
        return tmpl_push(parser, named, tmpl_parse_expression(parser, true));
    }
    if (arguments->star || arguments->double_star || named->nodes.count) return bad_arguments(parser) != NULL;
    return tmpl_push(parser, plain, tmpl_parse_expression(parser, true));
}

enum { MAX_ARGUMENTS = 255 };

static tmpl_arguments *parse_arguments(tmpl_parser *parser)
{
    tmpl_node_list plain = {0}, named = {0};
    tmpl_arguments *arguments = tmpl_parse_alloc(parser, sizeof *arguments);
    if (!arguments || !tmpl_expect(parser, TOKEN_LPAREN, "'('")) return NULL;
    for (bool first = true; parser->status == PV_OK && parser->token.type != TOKEN_RPAREN; first = false) {
        if (!first && !tmpl_expect(parser, TOKEN_COMMA, "',' or ')'")) return NULL;
        if (parser->token.type == TOKEN_RPAREN) break;
        if (plain.nodes.count + named.nodes.count == MAX_ARGUMENTS) return tmpl_parse_error(parser, "at most 255 arguments");
        if (!parse_argument(parser, arguments, &plain, &named)) return NULL;
    }
    arguments->positional = plain.nodes;
    arguments->named = named.nodes;
    return tmpl_expect(parser, TOKEN_RPAREN, "')'") ? arguments : NULL;
}

static unsigned depth_of_arguments(const tmpl_arguments *arguments)
{
    unsigned depth = deeper(depth_of_list(&arguments->positional), depth_of_list(&arguments->named));
    return deeper(depth, deeper(depth_of(arguments->star), depth_of(arguments->double_star)));
}

static tmpl_node *new_call(tmpl_parser *parser, tmpl_kind kind, uint32_t line, tmpl_node *target, tmpl_arguments *arguments)
{
    tmpl_node *node = arguments ? tmpl_new_node(parser, kind, line) : NULL;
    if (!node) return NULL;
    node->call.target = target;
    node->call.arguments = arguments;
    return set_depth(parser, node, deeper(depth_of(target), depth_of_arguments(arguments)));
}

/* ---- Filters and tests ---- */

/* "name" or "name.name" */
static tmpl_string *parse_dotted(tmpl_parser *parser)
{
    const char *start = parser->token.text;
    size_t length = parser->token.length;
    if (!tmpl_expect(parser, TOKEN_NAME, "a name")) return NULL;
    while (parser->token.type == TOKEN_DOT) {
        tmpl_advance(parser);
        if (parser->token.type == TOKEN_NAME) length = (size_t)(parser->token.text + parser->token.length - start);
        if (!tmpl_expect(parser, TOKEN_NAME, "a name")) return NULL;
    }
    return tmpl_parse_text(parser, start, length);
}

static tmpl_arguments *no_arguments(tmpl_parser *parser)
{
    return tmpl_parse_alloc(parser, sizeof(tmpl_arguments));
}

tmpl_node *tmpl_parse_filters(tmpl_parser *parser, tmpl_node *operand, bool first)
{
    while (operand && (first || tmpl_skip(parser, TOKEN_PIPE))) {
        uint32_t line = parser->token.line;
        tmpl_string *name = parse_dotted(parser);
        if (!name) return NULL;
        tmpl_arguments *arguments = parser->token.type == TOKEN_LPAREN ? parse_arguments(parser) : no_arguments(parser);
        if (!(operand = new_call(parser, NODE_FILTER, line, operand, arguments))) return NULL;
        operand->call.name = name;
        first = false;
    }
    return parser->status == PV_OK ? operand : NULL;
}

/* A test may take one operand without parentheses: "is divisibleby 3". */
static bool starts_operand(const tmpl_parser *parser)
{
    switch (parser->token.type) {
    case TOKEN_NAME: return !tmpl_at_name(parser, "else") && !tmpl_at_name(parser, "or") && !tmpl_at_name(parser, "and");
    case TOKEN_STRING:
    case TOKEN_INTEGER:
    case TOKEN_FLOAT:
    case TOKEN_LBRACKET:
    case TOKEN_LBRACE: return true;
    default: return false;
    }
}

static tmpl_node *parse_primary(tmpl_parser *parser, bool members);

static tmpl_arguments *parse_test_operand(tmpl_parser *parser)
{
    tmpl_node_list list = {0};
    if (tmpl_at_name(parser, "is")) return tmpl_parse_error(parser, "one test at a time");
    if (!tmpl_push(parser, &list, parse_postfix(parser, parse_primary(parser, false)))) return NULL;
    tmpl_arguments *arguments = no_arguments(parser);
    if (arguments) arguments->positional = list.nodes;
    return arguments;
}

static tmpl_node *parse_test(tmpl_parser *parser, tmpl_node *operand)
{
    uint32_t line = parser->token.line;
    tmpl_advance(parser);
    bool negated = tmpl_skip_name(parser, "not");
    tmpl_string *name = parse_dotted(parser);
    if (!name) return NULL;
    tmpl_arguments *arguments = parser->token.type == TOKEN_LPAREN ? parse_arguments(parser)
                                : starts_operand(parser)           ? parse_test_operand(parser)
                                                                   : no_arguments(parser);
    tmpl_node *node = new_call(parser, NODE_TEST, line, operand, arguments), *negation;
    if (!node) return NULL;
    node->call.name = name;
    if (!negated) return node;
    if (!(negation = tmpl_new_node(parser, NODE_NOT, line))) return NULL;
    negation->operand = node;
    return set_depth(parser, negation, node->depth);
}

/* ---- Primaries ---- */

static tmpl_node *parse_string(tmpl_parser *parser)
{
    uint32_t line = parser->token.line;
    char *text = NULL;
    size_t length = 0, capacity = 0;
    while (parser->status == PV_OK && parser->token.type == TOKEN_STRING) { /* "a" "b" is "ab" */
        size_t needed = length + 4 * parser->token.length + 1, added;
        if (needed > capacity) {
            size_t wanted = pv_max_size(needed, 2 * capacity);
            char *grown = tmpl_arena_grow(&parser->tmpl->arena, text, capacity, wanted);
            if (!grown) return tmpl_parse_memory(parser);
            text = grown;
            capacity = wanted;
        }
        parser->status = tmpl_unescape(&parser->lexer, &parser->token, text + length, &added);
        if (parser->status != PV_OK) return NULL;
        length += added;
        tmpl_advance(parser);
    }
    tmpl_string *string = tmpl_parse_text(parser, text, length);
    return string ? new_constant(parser, line, tmpl_str(string)) : NULL;
}

static tmpl_node *parse_list(tmpl_parser *parser, uint32_t line)
{
    tmpl_node_list list = {0};
    while (parser->status == PV_OK && parser->token.type != TOKEN_RBRACKET) {
        if (list.nodes.count && !tmpl_expect(parser, TOKEN_COMMA, "',' or ']'")) return NULL;
        if (parser->token.type == TOKEN_RBRACKET) break;
        if (!tmpl_push(parser, &list, tmpl_parse_expression(parser, true))) return NULL;
    }
    return tmpl_expect(parser, TOKEN_RBRACKET, "']'") ? new_list(parser, NODE_LIST, line, &list) : NULL;
}

static tmpl_node *parse_dict(tmpl_parser *parser, uint32_t line)
{
    tmpl_node_list list = {0};
    while (parser->status == PV_OK && parser->token.type != TOKEN_RBRACE) {
        if (list.nodes.count && !tmpl_expect(parser, TOKEN_COMMA, "',' or '}'")) return NULL;
        if (parser->token.type == TOKEN_RBRACE) break;
        if (!tmpl_push(parser, &list, tmpl_parse_expression(parser, true))) return NULL;
        if (!tmpl_expect(parser, TOKEN_COLON, "':'")) return NULL;
        if (!tmpl_push(parser, &list, tmpl_parse_expression(parser, true))) return NULL;
    }
    return tmpl_expect(parser, TOKEN_RBRACE, "'}'") ? new_list(parser, NODE_DICT, line, &list) : NULL;
}

static tmpl_node *parse_items(tmpl_parser *parser, bool targets, bool members, bool conditions, bool parentheses);

static tmpl_node *parse_word(tmpl_parser *parser, bool members)
{
    static const struct {
        const char *word;
        tmpl_value value;
    } constants[] = {
        {"true", {.type = TMPL_BOOL, .boolean = true}},
        {"True", {.type = TMPL_BOOL, .boolean = true}},
        {"false", {.type = TMPL_BOOL, .boolean = false}},
        {"False", {.type = TMPL_BOOL, .boolean = false}},
        {"none", {.type = TMPL_NONE}},
        {"None", {.type = TMPL_NONE}},
    };
    uint32_t line = parser->token.line;
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
        if (tmpl_skip_name(parser, constants[i].word)) return new_constant(parser, line, constants[i].value);
    }
    tmpl_node *name = tmpl_parse_name(parser), *member;
    if (!name || !members || !tmpl_skip(parser, TOKEN_DOT)) return name;
    if (parser->token.type != TOKEN_NAME) return tmpl_parse_error(parser, "a name");
    if (!(member = tmpl_new_node(parser, NODE_MEMBER, line))) return NULL;
    member->attribute.object = name;
    member->attribute.name = tmpl_parse_text(parser, parser->token.text, parser->token.length);
    tmpl_advance(parser);
    return parser->status == PV_OK ? member : NULL;
}

static tmpl_node *parse_bracketed(tmpl_parser *parser)
{
    tmpl_node *node = NULL;
    uint32_t line = parser->token.line;
    if (!tmpl_enter(parser)) return NULL;
    if (tmpl_skip(parser, TOKEN_LPAREN)) {
        node = parse_items(parser, false, false, true, true);
        if (!tmpl_expect(parser, TOKEN_RPAREN, "')'")) node = NULL;
    } else if (tmpl_skip(parser, TOKEN_LBRACKET)) {
        node = parse_list(parser, line);
    } else if (tmpl_skip(parser, TOKEN_LBRACE)) {
        node = parse_dict(parser, line);
    }
    tmpl_leave(parser);
    return node;
}

static tmpl_node *parse_primary(tmpl_parser *parser, bool members)
{
    const tmpl_token token = parser->token;
    if (parser->status != PV_OK) return NULL;
    switch (token.type) {
    case TOKEN_NAME: return parse_word(parser, members);
    case TOKEN_STRING: return parse_string(parser);
    case TOKEN_INTEGER: tmpl_advance(parser); return new_constant(parser, token.line, tmpl_int(token.integer));
    case TOKEN_FLOAT: tmpl_advance(parser); return new_constant(parser, token.line, tmpl_float(token.real));
    case TOKEN_LPAREN:
    case TOKEN_LBRACKET:
    case TOKEN_LBRACE: return parse_bracketed(parser);
    default: return tmpl_parse_error(parser, "an expression");
    }
}

/* ---- Postfixes ---- */

static bool at_slice_end(const tmpl_parser *parser)
{
    return parser->token.type == TOKEN_RBRACKET || parser->token.type == TOKEN_COMMA;
}

static tmpl_node *parse_slice(tmpl_parser *parser, tmpl_node *object, tmpl_node *start)
{
    tmpl_node *stop = NULL, *step = NULL;
    if (parser->token.type != TOKEN_COLON && !at_slice_end(parser) && !(stop = tmpl_parse_expression(parser, true)))
        return NULL;
    if (tmpl_skip(parser, TOKEN_COLON) && !at_slice_end(parser) && !(step = tmpl_parse_expression(parser, true))) return NULL;
    tmpl_node *node = tmpl_new_node(parser, NODE_SLICE, object->line);
    if (!node) return NULL;
    node->slice.object = object;
    node->slice.start = start;
    node->slice.stop = stop;
    node->slice.step = step;
    return set_depth(parser, node, deeper(deeper(depth_of(object), depth_of(start)), deeper(depth_of(stop), depth_of(step))));
}

static tmpl_node *parse_subscript(tmpl_parser *parser, tmpl_node *object)
{
    tmpl_node_list list = {0};
    tmpl_node *start = NULL, *result = NULL;
    uint32_t line = parser->token.line;
    tmpl_advance(parser);
    if (parser->token.type != TOKEN_COLON && !(start = tmpl_parse_expression(parser, true))) return NULL;
    if (tmpl_skip(parser, TOKEN_COLON)) {
        result = parse_slice(parser, object, start);
    } else if (parser->token.type == TOKEN_COMMA) { /* x[a, b] asks for the key (a, b) */
        if (!tmpl_push(parser, &list, start)) return NULL;
        while (tmpl_skip(parser, TOKEN_COMMA)) {
            if (parser->token.type == TOKEN_RBRACKET) break;
            if (!tmpl_push(parser, &list, tmpl_parse_expression(parser, true))) return NULL;
        }
        result = new_binary(parser, NODE_ITEM, 0, object, new_list(parser, NODE_TUPLE, line, &list));
    } else {
        result = new_binary(parser, NODE_ITEM, 0, object, start);
    }
    return result && tmpl_expect(parser, TOKEN_RBRACKET, "']'") ? result : NULL;
}

static tmpl_node *parse_attribute(tmpl_parser *parser, tmpl_node *object)
{
    tmpl_advance(parser);
    uint32_t line = parser->token.line;
    if (parser->token.type == TOKEN_INTEGER) {
        tmpl_node *index = new_constant(parser, line, tmpl_int(parser->token.integer));
        tmpl_advance(parser);
        return new_binary(parser, NODE_ITEM, 0, object, index);
    }
    if (parser->status == PV_OK && parser->token.type != TOKEN_NAME) return tmpl_parse_error(parser, "a name or a number");
    tmpl_node *node = tmpl_new_node(parser, NODE_ATTRIBUTE, line);
    if (!node) return NULL;
    node->attribute.object = object;
    node->attribute.name = tmpl_parse_text(parser, parser->token.text, parser->token.length);
    tmpl_advance(parser);
    return set_depth(parser, node, object->depth);
}

static tmpl_node *parse_call(tmpl_parser *parser, tmpl_node *target)
{
    uint32_t line = parser->token.line;
    return new_call(parser, NODE_CALL, line, target, parse_arguments(parser));
}

static tmpl_node *parse_postfix(tmpl_parser *parser, tmpl_node *node)
{
    if (!node || !tmpl_enter(parser)) return NULL;
    while (node && parser->status == PV_OK) {
        if (parser->token.type == TOKEN_DOT)
            node = parse_attribute(parser, node);
        else if (parser->token.type == TOKEN_LBRACKET)
            node = parse_subscript(parser, node);
        else if (parser->token.type == TOKEN_LPAREN)
            node = parse_call(parser, node);
        else
            break;
    }
    tmpl_leave(parser);
    return parser->status == PV_OK ? node : NULL;
}

static tmpl_node *parse_filter_chain(tmpl_parser *parser, tmpl_node *node)
{
    if (!node || !tmpl_enter(parser)) return NULL;
    while (node && parser->status == PV_OK) {
        if (parser->token.type == TOKEN_PIPE)
            node = tmpl_parse_filters(parser, node, false);
        else if (tmpl_at_name(parser, "is"))
            node = parse_test(parser, node);
        else if (parser->token.type == TOKEN_LPAREN)
            node = parse_call(parser, node);
        else
            break;
    }
    tmpl_leave(parser);
    return parser->status == PV_OK ? node : NULL;
}

/* ---- Operators ---- */

static tmpl_node *parse_unary(tmpl_parser *parser, bool filters)
{
    tmpl_node *node;
    if (parser->token.type == TOKEN_SUB || parser->token.type == TOKEN_ADD) {
        tmpl_kind kind = parser->token.type == TOKEN_SUB ? NODE_NEGATIVE : NODE_POSITIVE;
        if (!(node = tmpl_new_node(parser, kind, parser->token.line)) || !tmpl_enter(parser)) return NULL;
        tmpl_advance(parser);
        node->operand = parse_unary(parser, false);
        tmpl_leave(parser);
        node = node->operand ? set_depth(parser, node, node->operand->depth) : NULL;
    } else {
        node = parse_primary(parser, false);
    }
    node = parse_postfix(parser, node);
    return filters ? parse_filter_chain(parser, node) : node;
}

static tmpl_node *parse_power(tmpl_parser *parser)
{
    tmpl_node *left = parse_unary(parser, true);
    while (left && tmpl_skip(parser, TOKEN_POW))
        left = new_binary(parser, NODE_ARITHMETIC, OP_POW, left, parse_unary(parser, true));
    return left;
}

static tmpl_node *parse_product(tmpl_parser *parser)
{
    tmpl_node *left = parse_power(parser);
    while (left && parser->status == PV_OK) {
        tmpl_token_type type = parser->token.type;
        int op = type == TOKEN_MUL        ? OP_MUL
                 : type == TOKEN_DIV      ? OP_DIV
                 : type == TOKEN_FLOORDIV ? OP_FLOORDIV
                 : type == TOKEN_MOD      ? OP_MOD
                                          : -1;
        if (op < 0) return left;
        tmpl_advance(parser);
        left = new_binary(parser, NODE_ARITHMETIC, op, left, parse_power(parser));
    }
    return NULL;
}

static tmpl_node *parse_concat(tmpl_parser *parser)
{
    tmpl_node_list list = {0};
    tmpl_node *first = parse_product(parser);
    if (!first || parser->token.type != TOKEN_TILDE) return first;
    if (!tmpl_push(parser, &list, first)) return NULL;
    while (tmpl_skip(parser, TOKEN_TILDE)) {
        if (!tmpl_push(parser, &list, parse_product(parser))) return NULL;
    }
    return new_list(parser, NODE_CONCAT, first->line, &list);
}

static tmpl_node *parse_sum(tmpl_parser *parser)
{
    tmpl_node *left = parse_concat(parser);
    while (left && (parser->token.type == TOKEN_ADD || parser->token.type == TOKEN_SUB)) {
        int op = parser->token.type == TOKEN_ADD ? OP_ADD : OP_SUB;
        tmpl_advance(parser);
        left = new_binary(parser, NODE_ARITHMETIC, op, left, parse_concat(parser));
    }
    return left;
}

/* −1 if no comparison stands here; skips it otherwise. */
static int skip_comparison(tmpl_parser *parser)
{
    static const struct {
        tmpl_token_type type;
        tmpl_operator op;
    } comparisons[] = {{TOKEN_EQ, OP_EQ}, {TOKEN_NE, OP_NE}, {TOKEN_LT, OP_LT},
                       {TOKEN_LE, OP_LE}, {TOKEN_GT, OP_GT}, {TOKEN_GE, OP_GE}};
    tmpl_token ahead;
    for (size_t i = 0; i < sizeof comparisons / sizeof *comparisons; i++) {
        if (tmpl_skip(parser, comparisons[i].type)) return (int)comparisons[i].op;
    }
    if (tmpl_skip_name(parser, "in")) return OP_IN;
    if (!tmpl_at_name(parser, "not") || !tmpl_look_ahead(parser, &ahead)) return -1;
    if (ahead.type != TOKEN_NAME || ahead.length != 2 || memcmp(ahead.text, "in", 2) != 0) return -1;
    tmpl_advance(parser);
    tmpl_advance(parser);
    return OP_NOT_IN;
}

static tmpl_node *parse_comparison(tmpl_parser *parser)
{
    tmpl_node_list list = {0};
    uint8_t ops[PV_TEMPLATE_MAX_PARSE_DEPTH];
    tmpl_node *first = parse_sum(parser), *node;
    int op;
    if (!first) return NULL;
    while ((op = skip_comparison(parser)) >= 0) {
        if (!list.nodes.count && !tmpl_push(parser, &list, first)) return NULL;
        if (list.nodes.count > sizeof ops) return tmpl_parse_error(parser, "fewer comparisons in a chain");
        ops[list.nodes.count - 1] = (uint8_t)op;
        if (!tmpl_push(parser, &list, parse_sum(parser))) return NULL;
    }
    if (parser->status != PV_OK || !list.nodes.count) return parser->status == PV_OK ? first : NULL;
    if (!(node = tmpl_new_node(parser, NODE_COMPARE, first->line))) return NULL;
    node->compare.operands = list.nodes;
    node->compare.ops = tmpl_parse_alloc(parser, list.nodes.count);
    if (!node->compare.ops) return NULL;
    memcpy(node->compare.ops, ops, list.nodes.count - 1);
    return set_depth(parser, node, depth_of_list(&list.nodes));
}

static tmpl_node *parse_not(tmpl_parser *parser)
{
    uint32_t line = parser->token.line;
    if (parser->status != PV_OK || !tmpl_at_name(parser, "not")) return parse_comparison(parser);
    if (!tmpl_enter(parser)) return NULL;
    tmpl_advance(parser);
    tmpl_node *node = tmpl_new_node(parser, NODE_NOT, line), *operand = parse_not(parser);
    tmpl_leave(parser);
    if (!node || !operand) return NULL;
    node->operand = operand;
    return set_depth(parser, node, operand->depth);
}

static tmpl_node *parse_and(tmpl_parser *parser)
{
    tmpl_node *left = parse_not(parser);
    while (left && tmpl_skip_name(parser, "and")) left = new_binary(parser, NODE_AND, 0, left, parse_not(parser));
    return left;
}

static tmpl_node *parse_or(tmpl_parser *parser)
{
    tmpl_node *left = parse_and(parser);
    while (left && tmpl_skip_name(parser, "or")) left = new_binary(parser, NODE_OR, 0, left, parse_and(parser));
    return left;
}

static tmpl_node *parse_condition(tmpl_parser *parser)
{
    tmpl_node *value = parse_or(parser);
    while (value && tmpl_skip_name(parser, "if")) {
        tmpl_node *test = parse_or(parser), *no = NULL, *node;
        if (!test || (tmpl_skip_name(parser, "else") && !(no = tmpl_parse_expression(parser, true)))) return NULL;
        if (!(node = tmpl_new_node(parser, NODE_CONDITION, value->line))) return NULL;
        node->condition.test = test;
        node->condition.yes = value;
        node->condition.no = no;
        value = set_depth(parser, node, deeper(depth_of(test), deeper(depth_of(value), depth_of(no))));
    }
    return value;
}

tmpl_node *tmpl_parse_expression(tmpl_parser *parser, bool conditions)
{
    if (!tmpl_enter(parser)) return NULL;
    tmpl_node *node = conditions ? parse_condition(parser) : parse_or(parser);
    tmpl_leave(parser);
    return parser->status == PV_OK ? node : NULL;
}

/* ---- Tuples and targets ---- */

static bool ends_tuple(const tmpl_parser *parser)
{
    tmpl_token_type type = parser->token.type;
    return type == TOKEN_VARIABLE_END || type == TOKEN_BLOCK_END || type == TOKEN_RPAREN;
}

/* One item alone is itself; with a comma, or as "()", a tuple. */
static tmpl_node *parse_items(tmpl_parser *parser, bool targets, bool members, bool conditions, bool parentheses)
{
    tmpl_node_list list = {0};
    bool tuple = false;
    uint32_t line = parser->token.line;
    while (parser->status == PV_OK && !ends_tuple(parser)) {
        tmpl_node *item = targets ? parse_primary(parser, members) : tmpl_parse_expression(parser, conditions);
        if (!tmpl_push(parser, &list, item)) return NULL;
        if (!tmpl_skip(parser, TOKEN_COMMA)) break;
        tuple = true;
    }
    if (parser->status != PV_OK) return NULL;
    if (!tuple && list.nodes.count) return list.nodes.items[0];
    if (!tuple && !parentheses) return tmpl_parse_error(parser, "an expression");
    return new_list(parser, NODE_TUPLE, line, &list);
}

tmpl_node *tmpl_parse_tuple(tmpl_parser *parser, bool conditions)
{
    return parse_items(parser, false, false, conditions, false);
}

static bool can_assign(const tmpl_node *node, int depth)
{
    if (node->kind == NODE_NAME || node->kind == NODE_MEMBER) return true;
    if (node->kind != NODE_TUPLE || depth == 0) return false;
    for (uint32_t i = 0; i < node->list.count; i++) {
        if (!can_assign(node->list.items[i], depth - 1)) return false;
    }
    return true;
}

tmpl_node *tmpl_parse_target(tmpl_parser *parser, bool members)
{
    uint8_t uses = parser->uses;
    uint32_t line = parser->token.line;
    tmpl_node *node = parse_items(parser, true, members, false, false);
    parser->uses = uses; /* written, not read */
    if (node && !can_assign(node, PV_TEMPLATE_MAX_PARSE_DEPTH)) {
        parser->status = tmpl_fail_line(parser->error, line, "something that cannot be assigned to");
        return NULL;
    }
    return node;
}
