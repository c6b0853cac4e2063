/* The parsed template. Nodes lie in the template's arena and never change after compiling, so threads may share them. */
#ifndef PV_TEXT_TEMPLATE_AST_H
#define PV_TEXT_TEMPLATE_AST_H

#include "text/template_value.h"

typedef enum tmpl_kind {
    /* Expressions. */
    NODE_CONST, NODE_NAME, NODE_LIST, NODE_TUPLE, NODE_DICT, NODE_CONCAT, NODE_AND, NODE_OR, NODE_NOT, NODE_NEGATIVE,
    NODE_POSITIVE, NODE_ARITHMETIC, NODE_COMPARE, NODE_CONDITION, NODE_ATTRIBUTE, NODE_ITEM, NODE_SLICE, NODE_CALL, NODE_FILTER, NODE_TEST,
    NODE_CAPTURED, /* what a {% filter %} or {% set %} block wrote: the innermost operand of its filters */
    NODE_MEMBER,   /* ns.name as the target of an assignment */
    NODE_EXPRESSIONS,
    /* Statements. */
    NODE_DATA = NODE_EXPRESSIONS, NODE_OUTPUT, NODE_IF, NODE_FOR, NODE_SET, NODE_SET_BLOCK, NODE_MACRO, NODE_CALL_BLOCK,
    NODE_FILTER_BLOCK, NODE_WITH, NODE_GENERATION, NODE_BREAK, NODE_CONTINUE,
    NODE_KINDS
} tmpl_kind;

typedef enum tmpl_operator {
    OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_FLOORDIV, OP_MOD, OP_POW,
    OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE, OP_IN, OP_NOT_IN,
} tmpl_operator;

/* A variable: `hops` functions outwards, then a slot of that function's frame. */
typedef struct tmpl_ref {
    uint16_t hops, slot;
} tmpl_ref;

/* What a scope does to its variables when it is entered, besides the parameters that are given to it. */
typedef enum tmpl_load_kind { LOAD_GLOBAL, LOAD_OUTER, LOAD_NOTHING } tmpl_load_kind;
typedef struct tmpl_load {
    uint16_t slot;
    uint8_t kind;
    tmpl_ref outer;
    uint32_t global; /* index into tmpl_run.globals */
} tmpl_load;

typedef struct tmpl_scope {
    tmpl_load *loads;
    uint32_t count;
} tmpl_scope;

typedef struct tmpl_node tmpl_node;

typedef struct tmpl_nodes {
    tmpl_node **items;
    uint32_t count;
} tmpl_nodes;

typedef struct tmpl_arguments {
    tmpl_nodes positional, named;
    tmpl_string **names;
    tmpl_node *star, *double_star; /* *x, **x */
} tmpl_arguments;

/* A macro, or the body of a {% call %} block. */
enum { USES_CALLER = 1, USES_KWARGS = 2, USES_VARARGS = 4, USES_LOOP = 8 };
typedef struct tmpl_function {
    tmpl_string *name;
    tmpl_nodes parameters; /* NODE_NAME */
    tmpl_nodes defaults;   /* of the last parameters */
    tmpl_nodes body;
    tmpl_scope scope;
    uint8_t uses;          /* special names that the body reads */
    int32_t own_caller;    /* index of a parameter called caller, or −1 */
    uint16_t caller_slot, kwargs_slot, varargs_slot;
    uint32_t slots;
} tmpl_function;

typedef struct tmpl_for {
    tmpl_node *target, *iterable;
    tmpl_node *test, *test_target; /* {% for target in iterable if test %}; the test runs ahead, so it has its own variables */
    tmpl_nodes body, otherwise;
    tmpl_scope body_scope, test_scope, else_scope;
    uint8_t uses;
    uint16_t loop_slot;
} tmpl_for;

typedef struct tmpl_branch {
    tmpl_node *test; /* NULL: else */
    tmpl_nodes body;
} tmpl_branch;

struct tmpl_node {
    uint8_t kind;
    uint8_t op;     /* tmpl_operator */
    uint16_t depth; /* of the expression below */
    uint32_t line;
    union {
        tmpl_value constant;
        tmpl_nodes list; /* LIST, TUPLE, CONCAT; DICT: key, value, key, value … */
        struct {         /* NAME */
            tmpl_string *name;
            uint32_t global; /* the name's number */
            tmpl_ref ref;
        } name;
        struct { /* AND, OR, ARITHMETIC, ITEM */
            tmpl_node *left, *right;
        } binary;
        tmpl_node *operand; /* NOT, NEGATIVE, POSITIVE, OUTPUT */
        struct {            /* COMPARE: operands[0] ops[0] operands[1] … */
            tmpl_nodes operands;
            uint8_t *ops;
        } compare;
        struct { /* CONDITION */
            tmpl_node *test, *yes, *no;
        } condition;
        struct { /* ATTRIBUTE, MEMBER */
            tmpl_node *object;
            tmpl_string *name;
        } attribute;
        struct { /* SLICE */
            tmpl_node *object, *start, *stop, *step;
        } slice;
        struct { /* CALL: `target` is called; FILTER, TEST: it is the first operand */
            tmpl_node *target;
            tmpl_arguments *arguments;
            tmpl_string *name;             /* FILTER, TEST */
            const tmpl_builtin *function;  /* FILTER, TEST; NULL if there is none of that name */
        } call;
        struct { /* DATA */
            const char *text;
            size_t length;
        } data;
        struct { /* IF */
            tmpl_branch *branches;
            uint32_t count;
        } branch;
        tmpl_for *loop;
        struct { /* SET, SET_BLOCK, FILTER_BLOCK */
            tmpl_node *target, *value; /* value: SET_BLOCK, FILTER_BLOCK: filters around a NODE_CAPTURED, or NULL */
            tmpl_nodes body;
            tmpl_scope *scope;
        } set;
        struct { /* MACRO, CALL_BLOCK, GENERATION */
            tmpl_node *target; /* MACRO: the name to assign to; CALL_BLOCK: the call */
            tmpl_function *function;
        } define;
        struct { /* WITH */
            tmpl_nodes targets, values, body;
            tmpl_scope *scope;
        } with;
    };
};

struct pv_template {
    pv_allocator allocator;
    tmpl_arena arena;
    tmpl_function root;
    tmpl_string **names; /* every name read or written */
    uint32_t name_count;
};

/* template_parse.c: fills root.body and the names. */
pv_status tmpl_parse(pv_template *tmpl, const char *source, size_t length, pv_error *error);
/* template_scope.c: finds out which variable each name means, and which filter and test. */
pv_status tmpl_resolve(pv_template *tmpl, pv_error *error);

#endif
