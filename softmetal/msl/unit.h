/* One MSL text on its way to C++: its tokens, what was found in them, and what has to be said about them. */
#ifndef SOFTMETAL_MSL_UNIT_H
#define SOFTMETAL_MSL_UNIT_H

#include "msl/lexer.h"
#include "msl/msl.h"
#include "msl/usage.h"

/* Where declarations stand: the global scope, a namespace, a class. */
typedef struct sm_name_scope {
    uint32_t parent; /* index; 0 is the global scope */
    bool record;
    const char *path; /* "a::b::", "" for the global scope; unnamed ones add nothing */
} sm_name_scope;

typedef enum sm_declaration_kind {
    SM_DECLARATION_FUNCTION, /* with or without a body */
    SM_DECLARATION_VARIABLE, /* or anything else that ends with a semicolon */
    SM_DECLARATION_RECORD,   /* a class with its body */
    SM_DECLARATION_ALIAS,    /* using, typedef */
} sm_declaration_kind;

/* Tokens are indices; those that are not there are SM_NO_TOKEN. Ranges include both ends. */
typedef struct sm_declaration {
    sm_declaration_kind kind;
    uint32_t scope;
    uint32_t first, last;
    uint32_t specifiers;  /* the first token behind the template headers */
    bool is_template;     /* template <…>, also template <> */
    bool instantiation;   /* template without < */
    uint32_t name;        /* the declarator's last identifier, or `operator` */
    uint32_t arguments;   /* the < of name<…>, or none */
    uint32_t parameters;  /* the ( */
    uint32_t body;        /* the { of a function or class */
    uint32_t initialiser; /* the = or { of a variable */
} sm_declaration;

/* A function constant. */
typedef struct sm_constant {
    sm_constant_info info;
    uint32_t declaration;
    const char *type; /* its name */
} sm_constant;

/* A parameter of a kernel: an sm_argument_kind, and what is needed to give it its value. */
typedef struct sm_parameter {
    const char *name;
    sm_argument_kind kind;
    const char *source;    /* C++: "sm::buffer{3}", "sm::input<&sm_lane::thread_position_in_grid>{}" */
    const char *index;     /* of a buffer or threadgroup argument: a C++ expression */
    const char *condition; /* the function constant that switches it on, or NULL */
    bool constant_space;
} sm_parameter;

/* A kernel function, or a template of them. */
typedef struct sm_kernel_source {
    uint32_t declaration;
    const char *name;
    sm_parameter *parameters; /* in the arena */
    uint32_t parameter_count;
    const char *max_threads; /* C++ expression, or NULL */
    uint32_t first_entry;    /* index, or SM_NO_TOKEN */
    bool mentioned;          /* by something else than its entries: a call */
} sm_kernel_source;

/* What a host can ask for by name. */
typedef struct sm_entry {
    const char *name;        /* host_name, or the qualified name */
    const char *target;      /* C++: "&a::name<float, 4>" */
    uint32_t kernel;         /* index of its sm_kernel_source */
    uint32_t declaration;    /* the kernel's, or the instantiation's */
    const char *max_threads; /* or NULL */
} sm_entry;

typedef struct sm_unit {
    sm_tokens tokens;
    bool strict; /* on its way to C++ for OpenCL, for the strict check */
    sm_arena arena;
    sm_declaration *declarations;
    uint32_t declaration_count, declaration_capacity;
    sm_name_scope *scopes;
    uint32_t scope_count, scope_capacity;
    sm_constant *constants;
    uint32_t constant_count, constant_capacity;
    sm_kernel_source *kernels;
    uint32_t kernel_count, kernel_capacity;
    sm_entry *entries;
    uint32_t entry_count, entry_capacity;
    sm_usage *usage;
    struct sm_note *notes; /* what has to be said */
    uint32_t note_count, note_capacity;
    uint32_t error_count;
} sm_unit;

/* An error or remark about a token. */
typedef struct sm_note {
    const char *severity; /* "error", "warning", "note" */
    const char *message;
    uint32_t token; /* SM_NO_TOKEN: the place is line and column */
    uint32_t line, column;
    uint16_t file;
} sm_note;

void sm_unit_free(sm_unit *unit);
/* Remembers an error about a token. Returns false, so that `return sm_refuse(…)` reads well. */
bool sm_refuse(sm_unit *unit, uint32_t token, const char *format, ...) __attribute__((format(printf, 3, 4)));
void sm_remark(sm_unit *unit, const char *severity, uint32_t token, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Short forms of what every job asks. */
static inline bool sm_at(const sm_unit *unit, uint32_t index, const char *text)
{
    return sm_is(&unit->tokens, index, text);
}
static inline bool sm_named(const sm_unit *unit, uint32_t index)
{
    return sm_token_is(&unit->tokens, index, SM_IDENTIFIER);
}
static inline uint32_t sm_partner(const sm_unit *unit, uint32_t index)
{
    return unit->tokens.list[index].partner;
}
const char *sm_token_text(sm_unit *unit, uint32_t index);
/* The tokens of a range as text, without those that are dropped. */
const char *sm_range_text(sm_unit *unit, uint32_t first, uint32_t last);
void sm_drop(sm_unit *unit, uint32_t first, uint32_t last);
/* True if the token is one of these words; the list ends with NULL. */
bool sm_one_of(const sm_unit *unit, uint32_t index, const char *const *words);
/* device, constant, threadgroup, thread and the rarer ones. */
bool sm_is_space(const sm_unit *unit, uint32_t index);
/* True at the first [ of [[. */
bool sm_is_attribute(const sm_unit *unit, uint32_t index);
/* The token behind `index`; brackets of all kinds, and attributes, are stepped over as a whole. */
uint32_t sm_skip(const sm_unit *unit, uint32_t index);

/* The jobs, in this order. Each returns false if memory ran out or if what it found makes the rest pointless; errors are
 * noted. */
bool sm_find_declarations(sm_unit *unit);
/* An integer constant expression in tokens [first, last]. */
bool sm_evaluate(const sm_unit *unit, uint32_t first, uint32_t last, int64_t *value);
/* The value of [[name(expression)]] in a range: the tokens between its parentheses. */
bool sm_find_attribute(const sm_unit *unit, uint32_t first, uint32_t last, const char *name, uint32_t *inner_first,
                       uint32_t *inner_last);
bool sm_find_constants(sm_unit *unit);
bool sm_find_kernels(sm_unit *unit);
/* The kernel whose body holds this token; SM_NO_TOKEN: none. */
uint32_t sm_kernel_around(const sm_unit *unit, uint32_t token);
bool sm_rewrite_threadgroup(sm_unit *unit);
bool sm_rewrite_spaces(sm_unit *unit);
bool sm_rewrite_literals(sm_unit *unit);
bool sm_rewrite_initialisers(sm_unit *unit);
bool sm_drop_duplicates(sm_unit *unit);
bool sm_rewrite_strict(sm_unit *unit);
/* What clang does not refuse and Apple's compiler does. */
bool sm_lint(sm_unit *unit);
bool sm_find_entries(sm_unit *unit);
/* All of them, on preprocessed text that outlives the unit. */
bool sm_translate(sm_unit *unit, const char *text, size_t length, const char *name);
bool sm_translate_strict(sm_unit *unit, const char *text, size_t length, const char *name);

#endif
