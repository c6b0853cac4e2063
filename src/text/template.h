/* Chat templates: the Jinja that real models use, over values that came from JSON. No attribute leads outside the value model, and
 * every loop, depth, string and output is bounded (limits below), so a template from a stranger's file can only fail. */
#ifndef PV_TEXT_TEMPLATE_H
#define PV_TEXT_TEMPLATE_H

#include "base/text.h"

#define PV_TEMPLATE_MAX_SOURCE (256u << 10)
#define PV_TEMPLATE_MAX_PARSE_DEPTH 128
#define PV_TEMPLATE_MAX_CALL_DEPTH 64
#define PV_TEMPLATE_MAX_STEPS 5000000u
#define PV_TEMPLATE_MAX_RANGE 100000
#define PV_TEMPLATE_MAX_OUTPUT (16u << 20)
#define PV_TEMPLATE_MAX_MEMORY (64u << 20)

typedef struct pv_template pv_template;

/* Parses. Options as Hugging Face sets them: trim_blocks, lstrip_blocks, loop controls, {% generation %}.
 * Errors: PV_BAD_TEMPLATE (line, what was found, what was wanted; a feature that is not known is named), PV_OUT_OF_MEMORY. */
pv_status pv_template_compile(const pv_allocator *allocator, const char *source, size_t length, pv_template **tmpl, pv_error *error);
void pv_template_destroy(pv_template *tmpl);

typedef struct pv_rendered {
    pv_bytes text;
    pv_span *input; /* the bytes that came from the caller's input and not from the template; in order, not touching */
    size_t input_count, input_capacity;
} pv_rendered;
void pv_rendered_init(pv_rendered *rendered, const pv_allocator *allocator);
void pv_rendered_free(pv_rendered *rendered);

/* `variables`: a JSON object whose members become the template's variables, in order. Strings below the members named in
 * `input_names` (NULL-terminated list) are marked as input, and stay marked through +, ~, slices, trim, split, replace, join.
 * `now`: seconds since 1970 for strftime_now (UTC), 0: calling it is an error. Any thread.
 * Errors: PV_BAD_TEMPLATE (raise_exception's message, a limit, an undefined name used, with the line), PV_BAD_FILE (variables are no
 * JSON object), PV_OUT_OF_MEMORY. */
pv_status pv_template_render(const pv_template *tmpl, const char *variables, size_t length, const char *const *input_names,
                             int64_t now, pv_rendered *rendered, pv_error *error);

#endif
