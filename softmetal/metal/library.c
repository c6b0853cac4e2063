/* MTLLibrary: made from MSL text, and from nothing else. */
#include "metal/metal.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define SM_CONSTANTS "MTLLibrary newFunctionWithName:constantValues:error:"

static sm_library *of(id self)
{
    return (sm_library *)self;
}

/* ---- What the text is compiled with */

typedef struct sm_macros {
    sm_macro *list;
    size_t count;
} sm_macros;

/* NSString, or NSNumber as its text. */
static const char *macro_text(id value)
{
    IMP text = sm_is_kind(value, &sm_string_class) ? NULL : sm_implementation(value, "stringValue");
    if (text) value = ((id(*)(id, SEL))text)(value, NULL);
    return value && sm_is_kind(value, &sm_string_class) ? sm_string_utf8(value) : "";
}

static sm_macros read_macros(id dictionary)
{
    sm_macros macros = {0};
    dictionary = sm_expect_kind(dictionary, &sm_dictionary_class, "MTLCompileOptions preprocessorMacros");
    size_t count = dictionary ? sm_dictionary_count(dictionary) : 0;
    macros.list = count ? sm_allocate(count * sizeof *macros.list) : NULL;
    for (size_t i = 0; macros.list && i < count; i++) {
        id key, value;
        sm_dictionary_at(dictionary, i, &key, &value);
        if (!sm_expect_kind(key, &sm_string_class, "MTLCompileOptions preprocessorMacros")) continue;
        macros.list[macros.count++] = (sm_macro){sm_string_utf8(key), macro_text(value)};
    }
    return macros;
}

static void hash_text(XXH3_state_t *state, const char *text)
{
    XXH3_128bits_update(state, text ? text : "", text ? strlen(text) + 1 : 1);
}

static int compare_macros(const void *a, const void *b)
{
    return strcmp(((const sm_macro *)a)->name, ((const sm_macro *)b)->name);
}

static void hash_library(sm_library *library, const char *text, const sm_msl_options *options)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state) return;
    XXH3_128bits_reset(state);
    hash_text(state, text);
    for (size_t i = 0; i < options->macro_count; i++) {
        hash_text(state, options->macros[i].name);
        hash_text(state, options->macros[i].value);
    }
    uint32_t others[] = {options->fast_math, options->language_version};
    XXH3_128bits_update(state, others, sizeof others);
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    library->key[0] = hash.low64;
    library->key[1] = hash.high64;
    XXH3_freeState(state);
}

/* ---- Making one */

static id refuse(id *error, int64_t code, const char *text)
{
    sm_error_set(error, SM_LIBRARY_DOMAIN, code, text);
    return NULL;
}

static sm_library *compile(sm_device *device, const char *text, const sm_msl_options *options, id *error)
{
    char *errors = NULL;
    sm_msl_library *msl = sm_msl_library_create(text, options, &errors);
    sm_library *library = msl ? of(sm_base_new(&sm_library_class, device)) : NULL;
    if (library) {
        library->msl = msl;
        hash_library(library, text, options);
    } else {
        sm_msl_library_destroy(msl);
        refuse(error, SM_LIBRARY_COMPILE, errors ? errors : "There is no memory for the library");
    }
    free(errors);
    return library;
}

id sm_library_create(sm_device *device, id source, id given, id *error)
{
    const char *method = "MTLDevice newLibraryWithSource:options:error:";
    if (error) *error = NULL;
    source = sm_expect_kind(source, &sm_string_class, method);
    if (!source) {
        sm_misuse(method, "the source is nil");
        return refuse(error, SM_LIBRARY_INTERNAL, "The source is nil");
    }
    if (sm_device_is_removed(device)) return refuse(error, SM_LIBRARY_INTERNAL, "The device was removed");
    if (sm_fault_error(SOFTMETAL_FAULT_LIBRARY, error)) return NULL;
    const sm_compile_options *is = (const sm_compile_options *)sm_expect_kind(given, &sm_compile_options_class, method);
    sm_macros macros = read_macros(is ? is->macros : NULL);
    if (macros.count > 1) qsort(macros.list, macros.count, sizeof *macros.list, compare_macros);
    sm_msl_options options = {
        .macros = macros.list,
        .macro_count = macros.count,
        .fast_math = !is || is->mathMode == SM_MATH_FAST,
        .language_version = is ? (uint32_t)is->languageVersion : 0,
        .world = device->world,
    };
    sm_library *library = compile(device, sm_string_utf8(source), &options, error);
    if (library && is) library->type = is->libraryType;
    free(macros.list);
    return (id)library;
}

static void dealloc(id self)
{
    sm_msl_library_destroy(of(self)->msl);
    sm_base_dealloc(self);
}

/* ---- What it holds */

static id function_names(id self, SEL cmd)
{
    (void)cmd;
    size_t count = sm_msl_function_count(of(self)->msl);
    id *names = sm_allocate((count + 1) * sizeof *names);
    if (!names) return NULL;
    bool whole = true;
    for (size_t i = 0; i < count; i++) {
        names[i] = sm_string_create(sm_msl_function(of(self)->msl, i)->name);
        whole = whole && names[i];
    }
    id array = whole ? sm_array_create(names, count) : NULL;
    for (size_t i = 0; i < count; i++) sm_release(names[i]);
    free(names);
    return sm_autorelease(array);
}

static id function_named(id self, SEL cmd, id name)
{
    (void)cmd;
    return sm_function_create(of(self), name, NULL, NULL, 0, NULL);
}

static id function_with_values(id self, SEL cmd, id name, id values, id *error)
{
    (void)cmd;
    if (error) *error = NULL;
    values = sm_expect_kind(values, &sm_constant_values_class, SM_CONSTANTS);
    if (!values) {
        sm_misuse(SM_CONSTANTS, "the constant values are nil");
        return refuse(error, SM_LIBRARY_INTERNAL, "The constant values are nil");
    }
    return sm_function_create(of(self), name, values, NULL, 0, error);
}

static id function_described(id self, SEL cmd, id given, id *error)
{
    (void)cmd;
    const char *method = "MTLLibrary newFunctionWithDescriptor:error:";
    if (error) *error = NULL;
    id descriptor = sm_expect_kind(given, &sm_function_descriptor_class, method);
    if (!descriptor) {
        sm_misuse(method, "the descriptor is nil");
        return refuse(error, SM_LIBRARY_INTERNAL, "The descriptor is nil");
    }
    const sm_function_descriptor *is = (const sm_function_descriptor *)descriptor;
    return sm_function_create(of(self), is->name, is->constantValues, is->specializedName, is->options, error);
}

/* ---- The same, told to a handler */

typedef struct sm_function_job {
    sm_job job;
    sm_library *library;
    id name, values, descriptor;
    void *handler;
} sm_function_job;

static void run_job(sm_job *job)
{
    sm_function_job *is = (sm_function_job *)job;
    id error = NULL, function;
    if (is->descriptor)
        function = function_described((id)is->library, NULL, is->descriptor, &error);
    else
        function = function_with_values((id)is->library, NULL, is->name, is->values, &error);
    sm_block_call2(is->handler, function, error);
    sm_release(function);
    sm_release((id)is->library);
    sm_release(is->name);
    sm_release(is->values);
    sm_release(is->descriptor);
    sm_block_release(is->handler);
    free(is);
}

static void start(id self, id name, id values, id descriptor, const void *handler)
{
    sm_function_job *job = sm_allocate(sizeof *job);
    if (!job) return;
    *job = (sm_function_job){{run_job},
                             of(sm_retain(self)),
                             sm_retain(name),
                             sm_constant_values_copy(sm_expect_kind(values, &sm_constant_values_class, SM_CONSTANTS)),
                             sm_own(descriptor),
                             sm_block_copy(handler)};
    sm_job_start(&job->job);
}

static void function_with_values_handler(id self, SEL cmd, id name, id values, const void *handler)
{
    (void)cmd;
    start(self, name, values, NULL, handler);
}

static void function_described_handler(id self, SEL cmd, id descriptor, const void *handler)
{
    (void)cmd;
    start(self, NULL, NULL, descriptor, handler);
}

SM_GETTER(sm_library, type, NSInteger)

static id install_name(id self, SEL cmd)
{
    (void)self, (void)cmd;
    return NULL;
}

static const sm_method methods[] = {
    SM_DEVICE_METHOD,
    SM_LABEL_METHODS,
    SM_METHOD("functionNames", "@@:", function_names),
    SM_METHOD("newFunctionWithName:", "@@:@", function_named),
    SM_METHOD("newFunctionWithName:constantValues:error:", "@@:@@^@", function_with_values),
    SM_METHOD("newFunctionWithName:constantValues:completionHandler:", "v@:@@@?", function_with_values_handler),
    SM_METHOD("newFunctionWithDescriptor:error:", "@@:@^@", function_described),
    SM_METHOD("newFunctionWithDescriptor:completionHandler:", "v@:@@?", function_described_handler),
    SM_METHOD("type", "q@:", get_type),
    SM_METHOD("installName", "@@:", install_name),
};
sm_class sm_library_class = {
    .name = "SoftMTLLibrary", .protocol = "MTLLibrary", .size = sizeof(sm_library), .dealloc = dealloc, SM_METHODS(methods)};
SM_REGISTER_AT_LOAD(sm_library_class)
