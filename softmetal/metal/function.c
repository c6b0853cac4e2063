/* MTLFunction, MTLFunctionConstant, MTLFunctionDescriptor. */
#include "metal/metal.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define SM_KERNEL 3 /* MTLFunctionTypeKernel */

static sm_function *of(id self)
{
    return (sm_function *)self;
}

/* ---- Making one */

static const sm_function_info *find(const sm_library *library, const char *name)
{
    size_t count = sm_msl_function_count(library->msl);
    for (size_t i = 0; i < count; i++) {
        const sm_function_info *info = sm_msl_function(library->msl, i);
        if (strcmp(info->name, name) == 0) return info;
    }
    return NULL;
}

static void hash_function(sm_function *function)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state) return;
    XXH3_128bits_reset(state);
    XXH3_128bits_update(state, function->library->key, sizeof function->library->key);
    XXH3_128bits_update(state, function->name, strlen(function->name) + 1);
    for (size_t i = 0; i < function->value_count; i++) {
        const sm_constant_value *value = &function->values[i];
        uint32_t numbers[] = {value->index, value->type};
        XXH3_128bits_update(state, numbers, sizeof numbers);
        XXH3_128bits_update(state, value->bytes, sizeof value->bytes);
    }
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    function->key[0] = hash.low64;
    function->key[1] = hash.high64;
    XXH3_freeState(state);
}

/* Names become indices, of a value set twice the later one counts, and what the library does not declare is left out. */
static void resolve(sm_function *function, const sm_function_info *info)
{
    size_t count = 0;
    for (size_t i = 0; i < function->value_count; i++) {
        sm_constant_value value = function->values[i];
        const sm_constant_info *constant = NULL;
        for (size_t k = 0; k < info->constant_count && !constant; k++) {
            const sm_constant_info *is = &info->constants[k];
            if (value.name ? strcmp(is->name, value.name) == 0 : is->index == value.index) constant = is;
        }
        free((char *)value.name);
        value.name = NULL;
        if (!constant) continue;
        value.index = constant->index;
        size_t at = 0;
        while (at < count && function->values[at].index != value.index) at++;
        function->values[at] = value;
        if (at == count) count++;
    }
    function->value_count = count;
}

static int compare_indices(const void *a, const void *b)
{
    uint32_t one = ((const sm_constant_value *)a)->index, other = ((const sm_constant_value *)b)->index;
    return one < other ? -1 : one > other;
}

/* Sorted, so that equal functions have equal keys. */
static bool take_values(sm_function *function, const sm_function_info *info, id values)
{
    function->specialised = true;
    if (!sm_constant_values_take((const sm_constant_values *)values, &function->values, &function->value_count)) return false;
    resolve(function, info);
    if (function->value_count > 1) qsort(function->values, function->value_count, sizeof *function->values, compare_indices);
    return true;
}

/* Specialising compiles, as on a Mac, so that its errors come here and not with the pipeline. */
static bool specialise(sm_function *function, id *error)
{
    sm_built built;
    char *errors = NULL;
    bool works = sm_msl_build(function->library->msl, function->name, function->values, function->value_count, &built, &errors);
    if (!works)
        sm_error_set(error, SM_LIBRARY_DOMAIN, SM_LIBRARY_COMPILE, errors ? errors : "Compiler encountered an internal error");
    free(errors);
    return works;
}

static sm_function *create(sm_library *library, const sm_function_info *info, id values, id shown)
{
    const char *name = info->name;
    sm_function *function = of(sm_base_new(&sm_function_class, library->base.device));
    if (!function) return NULL;
    function->library = (sm_library *)sm_retain((id)library);
    function->name = sm_copy_text(name);
    function->shown = shown ? sm_text_copy(shown) : sm_string_create(name);
    if (function->name && function->shown && (!values || take_values(function, info, values))) {
        hash_function(function);
        return function;
    }
    sm_release((id)function);
    return NULL;
}

id sm_function_create(sm_library *library, id given, id values, id shown, NSUInteger options, id *error)
{
    if (sm_fault_error(SOFTMETAL_FAULT_FUNCTION, error)) return NULL;
    id string = sm_expect_kind(given, &sm_string_class, "MTLLibrary newFunctionWithName:");
    const char *name = string ? sm_string_utf8(string) : NULL;
    if (!name) sm_misuse("MTLLibrary newFunctionWithName:", "the name is nil");
    const sm_function_info *info = name ? find(library, name) : NULL;
    if (!info) {
        id text = sm_string_createf("Function %s was not found in the library", name ? name : "(null)");
        sm_error_set(error, SM_LIBRARY_DOMAIN, SM_LIBRARY_NO_FUNCTION, text ? sm_string_utf8(text) : "Function was not found");
        sm_release(text);
        return NULL;
    }
    sm_function *function = create(library, info, values, shown);
    if (!function) return NULL;
    function->options = options;
    if (!function->specialised || specialise(function, error)) return (id)function;
    sm_release((id)function);
    return NULL;
}

static void dealloc(id self)
{
    sm_function *function = of(self);
    sm_constant_values_free(function->values, function->value_count);
    free(function->name);
    sm_release(function->shown);
    sm_release((id)function->library);
    sm_base_dealloc(self);
}

/* ---- What it tells */

static NSUInteger type(id self, SEL cmd)
{
    (void)self, (void)cmd;
    return SM_KERNEL;
}

SM_GETTER(sm_function, shown, id)
SM_GETTER(sm_function, options, NSUInteger)

static NSUInteger patch_type(id self, SEL cmd)
{
    (void)self, (void)cmd;
    return 0;
}

static NSInteger patch_points(id self, SEL cmd)
{
    (void)self, (void)cmd;
    return -1;
}

static id no_attributes(id self, SEL cmd)
{
    (void)self, (void)cmd;
    return NULL;
}

typedef struct sm_function_constant {
    sm_object object;
    id name;
    NSUInteger index, type;
    BOOL required;
} sm_function_constant;

static id constant_create(const sm_constant_info *info)
{
    sm_function_constant *constant = (sm_function_constant *)sm_new(&sm_function_constant_class);
    if (!constant) return NULL;
    constant->name = sm_string_create(info->name);
    constant->index = info->index;
    constant->type = info->type;
    constant->required = info->required;
    return (id)constant;
}

static id constants(id self, SEL cmd)
{
    (void)cmd;
    const sm_function_info *info = find(of(self)->library, of(self)->name);
    size_t count = info && !of(self)->specialised ? info->constant_count : 0;
    id *keys = sm_allocate((2 * count + 1) * sizeof *keys), *values = keys + count;
    if (!keys) return NULL;
    for (size_t i = 0; i < count; i++) {
        values[i] = constant_create(&info->constants[i]);
        keys[i] = values[i] ? ((sm_function_constant *)values[i])->name : NULL;
    }
    bool whole = true;
    for (size_t i = 0; i < count; i++) whole = whole && keys[i] && values[i];
    id dictionary = whole ? sm_dictionary_create(keys, values, count) : NULL;
    for (size_t i = 0; i < count; i++) sm_release(values[i]);
    free(keys);
    return sm_autorelease(dictionary);
}

static id no_argument_encoder(id self, SEL cmd, NSUInteger index)
{
    (void)cmd, (void)index;
    sm_misuse("MTLFunction newArgumentEncoderWithBufferIndex:",
              "function '%s': softmetal has no argument encoders; argument buffers hold "
              "gpuAddress",
              of(self)->name);
    return NULL;
}

static const sm_method methods[] = {
    SM_DEVICE_METHOD,
    SM_LABEL_METHODS,
    SM_METHOD("name", "@@:", get_shown),
    SM_METHOD("functionType", "Q@:", type),
    SM_METHOD("options", "Q@:", get_options),
    SM_METHOD("functionConstantsDictionary", "@@:", constants),
    SM_METHOD("patchType", "Q@:", patch_type),
    SM_METHOD("patchControlPointCount", "q@:", patch_points),
    SM_METHOD("vertexAttributes", "@@:", no_attributes),
    SM_METHOD("stageInputAttributes", "@@:", no_attributes),
    SM_METHOD("newArgumentEncoderWithBufferIndex:", "@@:Q", no_argument_encoder),
};
sm_class sm_function_class = {
    .name = "SoftMTLFunction", .protocol = "MTLFunction", .size = sizeof(sm_function), .dealloc = dealloc, SM_METHODS(methods)};
SM_REGISTER_AT_LOAD(sm_function_class)

/* ---- MTLFunctionConstant */

SM_GETTER(sm_function_constant, name, id)
SM_GETTER(sm_function_constant, index, NSUInteger)
SM_GETTER(sm_function_constant, type, NSUInteger)
SM_GETTER(sm_function_constant, required, BOOL)

static void constant_dealloc(id self)
{
    sm_release(((sm_function_constant *)self)->name);
}

static const sm_method constant_methods[] = {
    SM_METHOD("name", "@@:", get_name),
    SM_METHOD("index", "Q@:", get_index),
    SM_METHOD("type", "Q@:", get_type),
    SM_METHOD("required", "B@:", get_required),
};
sm_class sm_function_constant_class = {.name = "MTLFunctionConstant",
                                       .size = sizeof(sm_function_constant),
                                       .dealloc = constant_dealloc,
                                       SM_METHODS(constant_methods)};
SM_REGISTER_AT_LOAD(sm_function_constant_class)
