/* Attributes of kernel parameters. */
#ifndef SOFTMETAL_MSL_BUILTINS_H
#define SOFTMETAL_MSL_BUILTINS_H

#include <stdbool.h>

/* The C++ source of a builtin's value by the attribute's name, or NULL. */
const char *sm_builtin_source(const char *attribute);
/* True for attributes of graphics functions and of resources that are not simulated (textures, samplers, stage_in …). */
bool sm_attribute_unsupported(const char *attribute);

#endif
