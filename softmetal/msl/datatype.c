#include "msl/datatype.h"

#include <stdio.h>
#include <string.h>

#define VECTORS(name, code, bytes)                                                                                             \
    {name, name, code, 1, bytes}, {name "2", name, code + 1, 2, bytes}, {name "3", name, code + 2, 3, bytes},                  \
        {name "4", name, code + 3, 4, bytes}

static const sm_data_type types[] = {
    VECTORS("float", 3, 4),  VECTORS("half", 16, 2),   VECTORS("int", 29, 4),   VECTORS("uint", 33, 4),
    VECTORS("short", 37, 2), VECTORS("ushort", 41, 2), VECTORS("char", 45, 1),  VECTORS("uchar", 49, 1),
    VECTORS("bool", 53, 1),  VECTORS("long", 81, 8),   VECTORS("ulong", 85, 8), VECTORS("bfloat", 121, 2),
};

static const char *const other_names[][2] = {
    {"uint32_t", "uint"},       {"int32_t", "int"},   {"uint16_t", "ushort"},       {"int16_t", "short"},
    {"uint8_t", "uchar"},       {"int8_t", "char"},   {"uint64_t", "ulong"},        {"int64_t", "long"},
    {"unsigned int", "uint"},   {"unsigned", "uint"}, {"unsigned short", "ushort"}, {"unsigned char", "uchar"},
    {"unsigned long", "ulong"}, {"size_t", "ulong"},  {"signed char", "char"},      {"ptrdiff_t", "long"},
};

const sm_data_type *sm_data_type_named(const char *name)
{
    if (strncmp(name, "metal :: ", 9) == 0) name += 9;
    for (size_t i = 0; i < sizeof other_names / sizeof *other_names; i++) {
        if (strcmp(name, other_names[i][0]) == 0) name = other_names[i][1];
    }
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(name, types[i].name) == 0) return &types[i];
    }
    return NULL;
}

const sm_data_type *sm_data_type_of(uint32_t code)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (types[i].code == code) return &types[i];
    }
    return NULL;
}

static void component(sm_text *text, const sm_data_type *type, const uint8_t *bytes)
{
    uint64_t bits = 0;
    memcpy(&bits, bytes, type->component_bytes); /* little endian, as x86-64 and arm64 are */
    const char *scalar = type->scalar;
    if (strcmp(scalar, "bool") == 0)
        sm_text_put(text, bits ? "true" : "false");
    else if (strcmp(scalar, "float") == 0)
        sm_text_printf(text, "__builtin_bit_cast(float, 0x%08xu)", (unsigned)bits);
    else if (strcmp(scalar, "half") == 0 || strcmp(scalar, "bfloat") == 0)
        sm_text_printf(text, "__builtin_bit_cast(%s, (unsigned short)0x%04xu)", scalar, (unsigned)bits);
    else
        sm_text_printf(text, "(%s)0x%llxull", scalar, (unsigned long long)bits);
}

const char *sm_data_type_literal(sm_arena *arena, const sm_data_type *type, const uint8_t *bytes)
{
    sm_text text = {0};
    if (type->components > 1) sm_text_printf(&text, "%s(", type->name);
    for (uint32_t i = 0; i < type->components; i++) {
        if (i) sm_text_put(&text, ", ");
        component(&text, type, bytes + i * type->component_bytes);
    }
    if (type->components > 1) sm_text_put(&text, ")");
    return sm_arena_take(arena, &text);
}
