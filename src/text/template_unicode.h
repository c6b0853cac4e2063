/* Characters as Python's str methods see them. */
#ifndef PV_TEXT_TEMPLATE_UNICODE_H
#define PV_TEXT_TEMPLATE_UNICODE_H

#include <stdbool.h>
#include <stdint.h>

/* str.isspace() of one character; also what `\s` matches. */
bool tmpl_is_space(uint32_t code_point);
bool tmpl_is_line_end(uint32_t code_point); /* for splitlines */
bool tmpl_is_alpha(uint32_t code_point);
bool tmpl_is_decimal(uint32_t code_point);
bool tmpl_is_digit(uint32_t code_point);
bool tmpl_is_printable(uint32_t code_point);
bool tmpl_is_upper(uint32_t code_point);
bool tmpl_is_lower(uint32_t code_point);
bool tmpl_is_title(uint32_t code_point);
/* May stand in a name, first or later. */
bool tmpl_is_name(uint32_t code_point, bool first);

typedef enum tmpl_case { TMPL_LOWER, TMPL_UPPER, TMPL_TITLE } tmpl_case;
/* The full mapping: 1 to 3 code points. */
int tmpl_map_case(uint32_t code_point, tmpl_case to, uint32_t out[3]);

#endif
