/* MTLFunctionConstantValues. */
#include "metal/metal.h"

#include <stdlib.h>
#include <string.h>

static sm_constant_values *of(id self)
{
    return (sm_constant_values *)self;
}

/* ---- MTLDataType: bytes of a scalar and how many there are, of the types that function constants have */

typedef struct sm_data_type {
    uint32_t first; /* scalar; those of 2, 3 and 4 follow */
    uint8_t scalar;
} sm_data_type;

static const sm_data_type data_types[] = {
    {3, 4},  /* float */
    {16, 2}, /* half */
    {29, 4}, /* int */
    {33, 4}, /* uint */
    {37, 2}, /* short */
    {41, 2}, /* ushort */
    {45, 1}, /* char */
    {49, 1}, /* uchar */
    {53, 1}, /* bool */
    {81, 8}, /* long */
    {85, 8}, /* ulong */
    {121, 2} /* bfloat */
};

/* 0: a type that no function constant has. */
static size_t data_type_size(NSUInteger type)
{
    for (size_t i = 0; i < SM_COUNT(data_types); i++) {
        NSUInteger more = type - data_types[i].first;
        if (type >= data_types[i].first && more < 4) return data_types[i].scalar * (more + 1);
    }
    return 0;
}

/* A vector of three takes the place of four. */
static size_t data_type_stride(NSUInteger type)
{
    size_t size = data_type_size(type);
    return size % 3 == 0 ? size / 3 * 4 : size;
}

/* ---- The values */

static bool same(const sm_constant_value *value, NSUInteger index, const char *name)
{
    if (!name || !value->name) return !name && !value->name && value->index == index;
    return strcmp(value->name, name) == 0;
}

/* At the end, so that what was set last stands behind what it overrides. */
static sm_constant_value *place(sm_constant_values *values, NSUInteger index, const char *name)
{
    sm_constant_value fresh = {.index = (uint32_t)index};
    if (name && !(fresh.name = sm_copy_text(name))) return NULL;
    size_t at = 0;
    while (at < values->count && !same(&values->values[at], index, name)) at++;
    if (at < values->count) {
        free((char *)values->values[at].name);
        memmove(values->values + at, values->values + at + 1, (values->count - at - 1) * sizeof fresh);
        values->count--;
    }
    sm_constant_value *more = sm_reallocate(values->values, (values->count + 1) * sizeof *more);
    if (!more) {
        free((char *)fresh.name);
        return NULL;
    }
    values->values = more;
    more[values->count] = fresh;
    return &more[values->count++];
}

static void set(sm_constant_values *values, const void *bytes, NSUInteger type, NSUInteger index, const char *name,
                const char *method)
{
    size_t size = data_type_size(type);
    if (!bytes || size == 0 || size > sizeof values->values->bytes || index > UINT16_MAX) {
        sm_misuse(method,
                  bytes ? "constant %llu cannot have the data type %llu"
                        : "constant %llu of data type %llu comes from a null pointer",
                  (unsigned long long)index, (unsigned long long)type);
        return;
    }
    sm_constant_value *value = place(values, index, name);
    if (!value) return;
    value->type = (uint32_t)type;
    memset(value->bytes, 0, sizeof value->bytes);
    memcpy(value->bytes, bytes, size);
}

static void set_at_index(id self, SEL cmd, const void *bytes, NSUInteger type, NSUInteger index)
{
    (void)cmd;
    set(of(self), bytes, type, index, NULL, "MTLFunctionConstantValues setConstantValue:type:atIndex:");
}

static void set_with_name(id self, SEL cmd, const void *bytes, NSUInteger type, id name)
{
    (void)cmd;
    const char *method = "MTLFunctionConstantValues setConstantValue:type:withName:";
    id string = sm_expect_kind(name, &sm_string_class, method);
    if (string)
        set(of(self), bytes, type, 0, sm_string_utf8(string), method);
    else
        sm_misuse(method, "the name is nil");
}

static void set_range(id self, SEL cmd, const void *bytes, NSUInteger type, sm_range range)
{
    (void)cmd;
    for (NSUInteger i = 0; i < range.length; i++) {
        const uint8_t *at = bytes ? (const uint8_t *)bytes + i * data_type_stride(type) : NULL;
        set(of(self), at, type, range.location + i, NULL, "MTLFunctionConstantValues setConstantValues:type:withRange:");
    }
}

void sm_constant_values_free(sm_constant_value *values, size_t count)
{
    for (size_t i = 0; values && i < count; i++) free((char *)values[i].name);
    free(values);
}

static void reset(id self, SEL cmd)
{
    (void)cmd;
    sm_constant_values_free(of(self)->values, of(self)->count);
    of(self)->values = NULL;
    of(self)->count = 0;
}

bool sm_constant_values_take(const sm_constant_values *from, sm_constant_value **values, size_t *count)
{
    sm_constant_value *copy = sm_allocate((from->count + 1) * sizeof *copy);
    if (!copy) return false;
    for (size_t i = 0; i < from->count; i++) {
        copy[i] = from->values[i];
        if (!copy[i].name || (copy[i].name = sm_copy_text(copy[i].name))) continue;
        sm_constant_values_free(copy, i);
        return false;
    }
    *values = copy;
    *count = from->count;
    return true;
}

id sm_constant_values_copy(id values)
{
    sm_constant_values *copy = values ? of(sm_new(&sm_constant_values_class)) : NULL;
    if (!copy || sm_constant_values_take(of(values), &copy->values, &copy->count)) return (id)copy;
    sm_release((id)copy);
    return NULL;
}

static id copy_message(id self, SEL cmd)
{
    (void)cmd;
    return sm_constant_values_copy(self);
}

static void dealloc(id self)
{
    reset(self, NULL);
}

static const sm_method methods[] = {
    SM_METHOD("setConstantValue:type:atIndex:", "v@:^vQQ", set_at_index),
    SM_METHOD("setConstantValue:type:withName:", "v@:^vQ@", set_with_name),
    SM_METHOD("setConstantValues:type:withRange:", "v@:^vQ" SM_RANGE_TYPE, set_range),
    SM_METHOD("reset", "v@:", reset),
    SM_METHOD("copy", "@@:", copy_message),
};
sm_class sm_constant_values_class = {
    .name = "MTLFunctionConstantValues", .size = sizeof(sm_constant_values), .dealloc = dealloc, SM_METHODS(methods)};
SM_REGISTER_AT_LOAD(sm_constant_values_class)
