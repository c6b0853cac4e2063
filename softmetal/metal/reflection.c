/* MTLComputePipelineReflection: the kernel's arguments, as bindings and under their older names. */
#include "metal/metal.h"

#include <stdlib.h>

typedef struct sm_reflection {
    sm_object object;
    id bindings, arguments; /* NSArray */
} sm_reflection;

/* MTLBufferBinding, MTLThreadgroupBinding and MTLArgument at once. */
typedef struct sm_reflected {
    sm_object object;
    id name;
    NSUInteger index, access, align, size;
    NSInteger type; /* MTLBindingType: 0 buffer, 1 threadgroup memory */
} sm_reflected;

enum { SM_READ_ONLY, SM_READ_WRITE }; /* MTLBindingAccess */

static sm_reflected *of(id self)
{
    return (sm_reflected *)self;
}

SM_GETTER(sm_reflected, name, id)
SM_GETTER(sm_reflected, index, NSUInteger)
SM_GETTER(sm_reflected, access, NSUInteger)
SM_GETTER(sm_reflected, align, NSUInteger)
SM_GETTER(sm_reflected, size, NSUInteger)
SM_GETTER(sm_reflected, type, NSInteger)

static BOOL yes(id self, SEL cmd)
{
    (void)self, (void)cmd;
    return 1;
}

static NSUInteger length(id self, SEL cmd)
{
    (void)self, (void)cmd;
    return 1;
}

static id unknown(id self, SEL cmd)
{
    (void)self, (void)cmd;
    return NULL;
}

static NSUInteger struct_type(id self, SEL cmd)
{
    (void)self, (void)cmd;
    return 1; /* MTLDataTypeStruct: what the type is made of is not known here */
}

static void reflected_dealloc(id self)
{
    sm_release(of(self)->name);
}

static const sm_method reflected_methods[] = {
    SM_METHOD("name", "@@:", get_name),
    SM_METHOD("type", "q@:", get_type),
    SM_METHOD("access", "Q@:", get_access),
    SM_METHOD("index", "Q@:", get_index),
    SM_METHOD("isUsed", "B@:", yes),
    SM_METHOD("isArgument", "B@:", yes),
    SM_METHOD("bufferAlignment", "Q@:", get_align),
    SM_METHOD("bufferDataSize", "Q@:", get_size),
    SM_METHOD("bufferDataType", "Q@:", struct_type),
    SM_METHOD("bufferStructType", "@@:", unknown),
    SM_METHOD("bufferPointerType", "@@:", unknown),
};
static sm_class sm_buffer_binding_class = {.name = "SoftMTLBufferBinding",
                                           .protocol = "MTLBufferBinding",
                                           .size = sizeof(sm_reflected),
                                           .dealloc = reflected_dealloc,
                                           SM_METHODS(reflected_methods)};
SM_REGISTER_AT_LOAD(sm_buffer_binding_class)

static const sm_method threadgroup_methods[] = {
    SM_METHOD("name", "@@:", get_name),
    SM_METHOD("type", "q@:", get_type),
    SM_METHOD("access", "Q@:", get_access),
    SM_METHOD("index", "Q@:", get_index),
    SM_METHOD("isUsed", "B@:", yes),
    SM_METHOD("isArgument", "B@:", yes),
    SM_METHOD("threadgroupMemoryAlignment", "Q@:", get_align),
    SM_METHOD("threadgroupMemoryDataSize", "Q@:", get_size),
};
static sm_class sm_threadgroup_binding_class = {.name = "SoftMTLThreadgroupBinding",
                                                .protocol = "MTLThreadgroupBinding",
                                                .size = sizeof(sm_reflected),
                                                .dealloc = reflected_dealloc,
                                                SM_METHODS(threadgroup_methods)};
SM_REGISTER_AT_LOAD(sm_threadgroup_binding_class)

static NSUInteger unsigned_type(id self, SEL cmd)
{
    (void)cmd;
    return (NSUInteger)of(self)->type;
}

static const sm_method argument_methods[] = {
    SM_METHOD("name", "@@:", get_name),
    SM_METHOD("type", "Q@:", unsigned_type),
    SM_METHOD("access", "Q@:", get_access),
    SM_METHOD("index", "Q@:", get_index),
    SM_METHOD("isActive", "B@:", yes),
    SM_METHOD("arrayLength", "Q@:", length),
    SM_METHOD("bufferAlignment", "Q@:", get_align),
    SM_METHOD("bufferDataSize", "Q@:", get_size),
    SM_METHOD("bufferDataType", "Q@:", struct_type),
    SM_METHOD("bufferStructType", "@@:", unknown),
    SM_METHOD("bufferPointerType", "@@:", unknown),
    SM_METHOD("threadgroupMemoryAlignment", "Q@:", get_align),
    SM_METHOD("threadgroupMemoryDataSize", "Q@:", get_size),
};
static sm_class sm_argument_class = {
    .name = "MTLArgument", .size = sizeof(sm_reflected), .dealloc = reflected_dealloc, SM_METHODS(argument_methods)};
SM_REGISTER_AT_LOAD(sm_argument_class)

/* ---- All of them */

static id reflect(const sm_argument *argument, Class class)
{
    sm_reflected *made = of(sm_new(class));
    if (!made) return NULL;
    made->name = sm_string_create(argument->name);
    made->index = argument->index;
    made->access = argument->read_only ? SM_READ_ONLY : SM_READ_WRITE;
    made->align = argument->align;
    made->size = argument->size;
    made->type = argument->kind == SM_ARGUMENT_BUFFER ? 0 : 1;
    return (id)made;
}

static id list(const sm_kernel *kernel, bool as_arguments)
{
    id array = sm_mutable_array_create();
    for (uint32_t i = 0; array && i < kernel->argument_count; i++) {
        const sm_argument *argument = &kernel->arguments[i];
        if (argument->kind == SM_ARGUMENT_BUILTIN) continue;
        Class class = as_arguments                           ? &sm_argument_class
                      : argument->kind == SM_ARGUMENT_BUFFER ? &sm_buffer_binding_class
                                                             : &sm_threadgroup_binding_class;
        id item = reflect(argument, class);
        if (item) sm_array_add(array, item);
        sm_release(item);
    }
    return array;
}

id sm_reflection_create(const sm_pipeline *pipeline)
{
    sm_reflection *made = (sm_reflection *)sm_new(&sm_reflection_class);
    if (!made) return NULL;
    made->bindings = list(pipeline->built.kernel, false);
    made->arguments = list(pipeline->built.kernel, true);
    return (id)made;
}

SM_GETTER(sm_reflection, bindings, id)
SM_GETTER(sm_reflection, arguments, id)

static void dealloc(id self)
{
    sm_release(((sm_reflection *)self)->bindings);
    sm_release(((sm_reflection *)self)->arguments);
}

static const sm_method methods[] = {
    SM_METHOD("bindings", "@@:", get_bindings),
    SM_METHOD("arguments", "@@:", get_arguments),
};
sm_class sm_reflection_class = {
    .name = "MTLComputePipelineReflection", .size = sizeof(sm_reflection), .dealloc = dealloc, SM_METHODS(methods)};
SM_REGISTER_AT_LOAD(sm_reflection_class)
