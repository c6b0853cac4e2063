/* Shared by the two halves of the parser. Functions that give a node give NULL on failure, with parser->status set. */
#ifndef PV_TEXT_TEMPLATE_PARSER_H
#define PV_TEXT_TEMPLATE_PARSER_H

#include "text/template_ast.h"
#include "text/template_lexer.h"

typedef struct tmpl_parser {
    pv_template *tmpl;
    tmpl_lexer lexer;
    tmpl_token token, ahead; /* ahead is read when has_ahead */
    bool has_ahead;
    pv_error *error;
    pv_status status;
    uint32_t depth;          /* of nested statements, brackets and operators */
    uint32_t loops;          /* around the current statement, within its function */
    uint8_t uses;            /* special names read so far in the current function or loop */
    pv_map names;            /* to their numbers in tmpl->names */
    size_t name_capacity;
} tmpl_parser;

typedef struct tmpl_node_list {
    tmpl_nodes nodes;
    size_t capacity;
} tmpl_node_list;

void tmpl_advance(tmpl_parser *parser);
bool tmpl_look_ahead(tmpl_parser *parser, tmpl_token *token);
void *tmpl_parse_error(tmpl_parser *parser, const char *found_instead_of);
void *tmpl_parse_memory(tmpl_parser *parser);
bool tmpl_at_name(const tmpl_parser *parser, const char *name);
bool tmpl_skip(tmpl_parser *parser, tmpl_token_type type);
bool tmpl_skip_name(tmpl_parser *parser, const char *name);
bool tmpl_expect(tmpl_parser *parser, tmpl_token_type type, const char *wanted);
bool tmpl_enter(tmpl_parser *parser); /* false if nested too deep */
void tmpl_leave(tmpl_parser *parser);
void *tmpl_parse_alloc(tmpl_parser *parser, size_t size); /* zeroed */
tmpl_node *tmpl_new_node(tmpl_parser *parser, tmpl_kind kind, uint32_t line);
bool tmpl_push(tmpl_parser *parser, tmpl_node_list *list, tmpl_node *node);
/* The name at the current token, interned; moves on. */
tmpl_node *tmpl_parse_name(tmpl_parser *parser);
tmpl_string *tmpl_parse_text(tmpl_parser *parser, const char *text, size_t length);

tmpl_node *tmpl_parse_expression(tmpl_parser *parser, bool conditions);
/* An expression, or a tuple without parentheses. */
tmpl_node *tmpl_parse_tuple(tmpl_parser *parser, bool conditions);
/* A name, ns.name if `members`, or a tuple of targets. */
tmpl_node *tmpl_parse_target(tmpl_parser *parser, bool members);
/* "| filter | filter" around `operand`; `first` if the first comes without its "|". */
tmpl_node *tmpl_parse_filters(tmpl_parser *parser, tmpl_node *operand, bool first);

#endif
