/* MTLDataType of scalars and vectors, and how such a value is written in C++. */
#ifndef SOFTMETAL_MSL_DATATYPE_H
#define SOFTMETAL_MSL_DATATYPE_H

#include "msl/text.h"

typedef struct sm_data_type {
    const char *name;   /* "float4" */
    const char *scalar; /* "float" */
    uint32_t code;      /* MTLDataType */
    uint32_t components;
    uint32_t component_bytes;
} sm_data_type;

/* By MSL name (uint32_t, unsigned int and their like are known) or by code; NULL: none. */
const sm_data_type *sm_data_type_named(const char *name);
const sm_data_type *sm_data_type_of(uint32_t code);
/* "float4(__builtin_bit_cast(float, 0x3f800000u), …)" */
const char *sm_data_type_literal(sm_arena *arena, const sm_data_type *type, const uint8_t *bytes);

#endif
