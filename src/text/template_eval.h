/* Evaluating: what the statements, operators, filters, tests and methods share. */
#ifndef PV_TEXT_TEMPLATE_EVAL_H
#define PV_TEXT_TEMPLATE_EVAL_H

#include "text/template_ast.h"
#include "text/template_iterator.h"

#define TMPL_STACK_VALUES 8192
#define TMPL_MAX_PARAMETERS 6

/* The variables of one call of a macro, or of the template itself. */
typedef struct tmpl_frame {
    struct tmpl_frame *parent; /* of the function around; in the list of free frames: the next one */
    uint32_t slots;
    bool captured; /* a macro made inside may outlive the call */
    tmpl_value slot[];
} tmpl_frame;

struct tmpl_macro {
    const tmpl_function *function;
    tmpl_frame *frame; /* where it was made */
};

struct tmpl_loop {
    tmpl_iterator *iterator;
    tmpl_value iterable; /* MISSING if its length cannot be asked for */
    int64_t index0, length; /* length: −1 until known */
    tmpl_value before, current, after; /* after: MISSING unless looked ahead */
    bool ended;                        /* the iterator has */
    tmpl_value changed;                /* arguments of the last loop.changed(), a tuple, or MISSING */
};

typedef struct tmpl_call {
    tmpl_value *positional;
    size_t count;
    tmpl_string *const *names;
    tmpl_value *named;
    size_t named_count;
} tmpl_call;

/* What a builtin gets: its arguments bound to its parameters (MISSING if not given), or all of them as they came. */
typedef struct tmpl_input {
    tmpl_value self; /* the filtered, tested or method's value */
    tmpl_value argument[TMPL_MAX_PARAMETERS];
    const tmpl_call *call;
    int option;
} tmpl_input;

struct tmpl_builtin {
    const char *name;
    pv_status (*run)(tmpl_run *run, const tmpl_input *input, tmpl_value *out); /* NULL: known to Python, refused here */
    const char *parameters; /* names with a space between; NULL: takes anything */
    uint8_t required;       /* of the parameters */
    int option;             /* tells builtins apart that share a function */
};

/* pv_template_render, telling how many steps it took. */
pv_status tmpl_render(const pv_template *tmpl, const char *variables, size_t length, const char *const *input_names,
                      int64_t now, pv_rendered *rendered, uint64_t *steps, pv_error *error);

/* ---- Statements ---- */

typedef enum tmpl_flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE } tmpl_flow;
pv_status tmpl_execute(tmpl_run *run, tmpl_frame *frame, const tmpl_nodes *body, tmpl_flow *flow);
pv_status tmpl_assign(tmpl_run *run, tmpl_frame *frame, const tmpl_node *target, tmpl_value value);
void tmpl_enter_scope(tmpl_run *run, tmpl_frame *frame, const tmpl_scope *scope);
pv_status tmpl_new_frame(tmpl_run *run, tmpl_frame *parent, uint32_t slots, tmpl_frame **frame);
void tmpl_free_frame(tmpl_run *run, tmpl_frame *frame);
pv_status tmpl_run_loop(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_flow *flow);

/* ---- Expressions ---- */

pv_status tmpl_eval(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, tmpl_value *out);
static inline tmpl_value *tmpl_slot(tmpl_frame *frame, tmpl_ref ref)
{
    for (unsigned hops = ref.hops; hops; hops--) frame = frame->parent;
    return &frame->slot[ref.slot];
}
/* Evaluates arguments onto the run's stack; *mark is what to set run->stack_used back to. `caller` may be NULL. */
pv_status tmpl_eval_arguments(tmpl_run *run, tmpl_frame *frame, const tmpl_arguments *arguments, const tmpl_value *caller,
                              tmpl_call *call, size_t *mark);
pv_status tmpl_eval_call(tmpl_run *run, tmpl_frame *frame, const tmpl_node *node, const tmpl_value *caller, tmpl_value *out);

/* ---- Calling ---- */

pv_status tmpl_call_value(tmpl_run *run, tmpl_value callee, const tmpl_call *call, tmpl_value *out);
pv_status tmpl_call_macro(tmpl_run *run, const tmpl_macro *macro, const tmpl_call *call, tmpl_value *out);
pv_status tmpl_call_builtin(tmpl_run *run, const tmpl_builtin *function, tmpl_value self, const tmpl_call *call,
                            tmpl_value *out);

/* ---- Looking things up ---- */

/* object.name and object[key], as the sandbox does it: undefined if there is nothing, no way out of the value model. */
pv_status tmpl_get_attribute(tmpl_run *run, tmpl_value object, tmpl_string *name, tmpl_value *out);
pv_status tmpl_get_item(tmpl_run *run, tmpl_value object, tmpl_value key, tmpl_value *out);
pv_status tmpl_get_slice(tmpl_run *run, tmpl_value object, tmpl_value start, tmpl_value stop, tmpl_value step, tmpl_value *out);
pv_status tmpl_loop_attribute(tmpl_run *run, tmpl_loop *loop, const tmpl_string *name, tmpl_value *out);
pv_status tmpl_loop_next(tmpl_run *run, tmpl_loop *loop, bool *done);

const tmpl_builtin *tmpl_find_builtin(const tmpl_builtin *table, size_t count, const tmpl_string *name);
const tmpl_builtin *tmpl_find_filter(const tmpl_string *name);
const tmpl_builtin *tmpl_find_test(const tmpl_string *name);
const tmpl_builtin *tmpl_find_global(const tmpl_string *name);
const tmpl_builtin *tmpl_find_string_method(const tmpl_string *name);
const tmpl_builtin *tmpl_find_container_method(uint8_t type, const tmpl_string *name, bool *refused);

/* ---- Operators ---- */

pv_status tmpl_arithmetic(tmpl_run *run, tmpl_operator op, tmpl_value a, tmpl_value b, tmpl_value *out);
pv_status tmpl_compare(tmpl_run *run, tmpl_operator op, tmpl_value a, tmpl_value b, bool *result);
pv_status tmpl_contains(tmpl_run *run, tmpl_value container, tmpl_value item, bool *result);
pv_status tmpl_negate(tmpl_run *run, tmpl_value value, bool negative, tmpl_value *out);
pv_status tmpl_format_percent(tmpl_run *run, const tmpl_string *format, tmpl_value values, tmpl_value *out);
pv_status tmpl_format_braces(tmpl_run *run, const tmpl_string *format, const tmpl_call *call, tmpl_value *out);
pv_status tmpl_format_time(tmpl_run *run, const tmpl_string *format, int64_t seconds, tmpl_value *out);
/* int, or bool as 0 and 1; false for anything else. */
bool tmpl_as_integer(tmpl_value value, int64_t *integer);
bool tmpl_as_float(tmpl_value value, double *real);
/* First byte of `needle` at or behind `from`, SIZE_MAX if there is none; charged. */
pv_status tmpl_find(tmpl_run *run, const tmpl_string *text, const tmpl_string *needle, size_t from, size_t *at);
pv_status tmpl_strip(tmpl_run *run, const tmpl_string *text, const tmpl_string *characters, bool left, bool right,
                     tmpl_value *out);
pv_status tmpl_replace(tmpl_run *run, tmpl_string *text, tmpl_string *old, tmpl_string *fresh, int64_t count, bool safe,
                       tmpl_value *out);
pv_status tmpl_change_case(tmpl_run *run, const tmpl_string *text, int option, tmpl_value *out);
pv_status tmpl_split_lines(tmpl_run *run, tmpl_string *text, bool keep_ends, tmpl_value *out);
pv_status tmpl_center(tmpl_run *run, tmpl_string *text, int64_t width, const tmpl_string *fill, int option, tmpl_value *out);
enum { CASE_UPPER, CASE_LOWER, CASE_CAPITALIZE, CASE_TITLE, CASE_SWAP, CASE_WORDS /* the filter called title */ };
enum { ALIGN_CENTER, ALIGN_LEFT, ALIGN_RIGHT };
pv_status tmpl_is_cased(tmpl_run *run, const tmpl_string *text, bool upper, bool *result);
/* Applies a test or filter by its name, given as a value. */
pv_status tmpl_find_named(tmpl_run *run, tmpl_value name, bool test, const tmpl_builtin **function);

#endif
