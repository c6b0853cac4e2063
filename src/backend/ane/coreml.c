/* Core ML from plain C: the frameworks opened by name, typed messages, no variadic casts. Written from Apple's headers'
 * documentation; it has not been run on a Mac. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "backend/ane/engine.h"
#include "backend/ane/messages.h"

#define UNITS_CPU_AND_NEURAL_ENGINE 3 /* MLComputeUnits, macOS 13 */
#define ARRAY_FLOAT32 65568           /* MLMultiArrayDataType */

typedef struct coreml {
    const pv_allocator *allocator;
    void *libraries[3];
    void (*send)(void); /* objc_msgSend: called through the typed wrappers only */
    void *(*push)(void);
    void (*pop)(void *pool);
    id (*retain)(id object);
    void (*release)(id object);
    struct {
#define SELECTOR(result, name, ...) sel name;
        PV_ANE_GETTERS(SELECTOR)
        PV_ANE_CALLS(SELECTOR)
        PV_ANE_CLASS_GETTERS(SELECTOR)
        PV_ANE_CLASS_CALLS(SELECTOR)
#undef SELECTOR
    } selectors;
    struct {
#define CLASS(name) id name;
        PV_ANE_CLASSES(CLASS)
#undef CLASS
    } classes;
    id configuration;
} coreml;

#define GETTER(result, name, class, selector, encoding)                                                                       \
    static inline result msg_##name(const coreml *ml, id self)                                                                 \
    {                                                                                                                          \
        return ((result(*)(id, sel))ml->send)(self, ml->selectors.name);                                                       \
    }
PV_ANE_GETTERS(GETTER)
PV_ANE_CLASS_GETTERS(GETTER)
#undef GETTER
#define PARAMETERS(...) (const coreml *ml, id self, __VA_ARGS__)
#define SIGNATURE(...) (id, sel, __VA_ARGS__)
#define PASSED(...) __VA_ARGS__
#define CALL(result, name, class, selector, encoding, parameters, passed)                                                     \
    static inline result msg_##name PARAMETERS parameters                                                                      \
    {                                                                                                                          \
        return ((result(*) SIGNATURE parameters)ml->send)(self, ml->selectors.name, PASSED passed);                            \
    }
PV_ANE_CALLS(CALL)
PV_ANE_CLASS_CALLS(CALL)
#undef CALL

/* ---- Opening ---- */

static const char *const paths[] = {
    "/usr/lib/libobjc.A.dylib",
    "/System/Library/Frameworks/Foundation.framework/Foundation",
    "/System/Library/Frameworks/CoreML.framework/CoreML",
};
#define PATHS (sizeof paths / sizeof paths[0])

static void close_libraries(coreml *ml)
{
    for (size_t i = PATHS; i-- > 0;) {
        if (ml->libraries[i] != NULL) dlclose(ml->libraries[i]);
    }
    pv_free(ml->allocator, ml);
}

static void coreml_close(void *context)
{
    coreml *ml = context;
    if (ml->configuration != NULL) ml->release(ml->configuration);
    close_libraries(ml);
}

static pv_status open_libraries(coreml *ml, pv_error *error)
{
    for (size_t i = 0; i < PATHS; i++) {
        ml->libraries[i] = dlopen(paths[i], RTLD_NOW | RTLD_LOCAL);
        if (ml->libraries[i] != NULL) continue;
#ifndef __APPLE__
        return pv_fail_at(error, PV_NOT_FOUND, "ane", PV_NO_OFFSET, "this system has no Core ML");
#else
        const char *why = dlerror();
        return pv_fail_at(error, PV_NOT_FOUND, "ane", PV_NO_OFFSET, "%s cannot be opened: %s", paths[i],
                          why != NULL ? why : "no reason given");
#endif
    }
    return PV_OK;
}

static pv_status find_symbols(coreml *ml, sel (**name_selector)(const char *), id (**get_class)(const char *), pv_error *error)
{
    const struct {
        const char *name;
        void *symbol;
    } wanted[] = {
        {"objc_msgSend", &ml->send},  {"objc_autoreleasePoolPush", &ml->push}, {"objc_autoreleasePoolPop", &ml->pop},
        {"objc_retain", &ml->retain}, {"objc_release", &ml->release},          {"sel_registerName", name_selector},
        {"objc_getClass", get_class},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        void *found = dlsym(ml->libraries[0], wanted[i].name);
        if (found == NULL) {
            return pv_fail_at(error, PV_NOT_FOUND, "ane", PV_NO_OFFSET, "the Objective-C library has no %s", wanted[i].name);
        }
        memcpy(wanted[i].symbol, &found, sizeof found); /* of any pointer type, functions included */
    }
    return PV_OK;
}

static pv_status find_classes(coreml *ml, id (*get_class)(const char *), pv_error *error)
{
#define CLASS(name)                                                                                                            \
    if ((ml->classes.name = get_class(#name)) == NULL) {                                                                       \
        return pv_fail_at(error, PV_NOT_FOUND, "ane", PV_NO_OFFSET, "Core ML has no class " #name);                            \
    }
    PV_ANE_CLASSES(CLASS)
#undef CLASS
    return PV_OK;
}

/* Since macOS 14 Core ML tells its devices. Before, Apple Silicon is taken at its word: each has a Neural Engine. */
static pv_status find_neural_engine(const coreml *ml, id (*get_class)(const char *), pv_error *error)
{
    id (*all_devices)(void) = NULL;
    void *found = dlsym(ml->libraries[2], "MLAllComputeDevices");
    const id kind = get_class("MLNeuralEngineComputeDevice");
    if (found == NULL || kind == NULL) {
#if defined(__APPLE__) && defined(__aarch64__)
        return PV_OK;
#else
        return pv_fail_at(error, PV_NOT_FOUND, "ane", PV_NO_OFFSET, "this machine has no Neural Engine");
#endif
    }
    memcpy(&all_devices, &found, sizeof found);
    const id devices = all_devices();
    for (uint64_t i = 0, count = msg_array_count(ml, devices); i < count; i++) {
        if (msg_is_kind(ml, msg_element(ml, devices, i), kind)) return PV_OK;
    }
    return pv_fail_at(error, PV_NOT_FOUND, "ane", PV_NO_OFFSET, "Core ML finds no Neural Engine");
}

static void look_up(coreml *ml, sel (*name_selector)(const char *))
{
#define SELECTOR(result, name, class, selector, ...) ml->selectors.name = name_selector(selector);
    PV_ANE_GETTERS(SELECTOR)
    PV_ANE_CALLS(SELECTOR)
    PV_ANE_CLASS_GETTERS(SELECTOR)
    PV_ANE_CLASS_CALLS(SELECTOR)
#undef SELECTOR
}

/* ---- Programs ---- */

/* `what` and Core ML's own words. */
static pv_status fail_with(const coreml *ml, pv_status status, id nserror, const char *what, pv_error *error)
{
    const char *text = nserror != NULL ? msg_string_utf8(ml, msg_error_text(ml, nserror)) : NULL;
    if (error != NULL && nserror != NULL) error->backend_code = msg_error_code(ml, nserror);
    return pv_fail_at(error, status, "ane", PV_NO_OFFSET, "Core ML cannot %s: %s", what,
                      text != NULL ? text : "no reason given");
}

/* NULL if the path is no UTF-8: Foundation makes no string of it and would throw at the URL of none. */
static id url_of(const coreml *ml, const char *path)
{
    const id string = msg_string(ml, ml->classes.NSString, path);
    return string != NULL ? msg_file_url(ml, ml->classes.NSURL, string) : NULL;
}

/* A model and the folder that it was compiled into, which it may go on reading from. */
typedef struct loaded {
    id model, folder;
} loaded;

static void coreml_unload(void *context, void *program)
{
    const coreml *ml = context;
    loaded *one = program;
    id nserror = NULL;
    void *pool = ml->push();
    if (one->model != NULL) ml->release(one->model);
    if (one->folder != NULL) {
        msg_remove_file(ml, msg_default_manager(ml, ml->classes.NSFileManager), one->folder, &nserror);
        ml->release(one->folder);
    }
    ml->pop(pool);
    pv_free(ml->allocator, one);
}

static pv_status load_from(const coreml *ml, const char *package, loaded *one, pv_error *error)
{
    id nserror = NULL;
    const id url = url_of(ml, package);
    if (url == NULL) return pv_fail_at(error, PV_PROGRAM, "ane", PV_NO_OFFSET, "the path %s is no UTF-8", package);
    const id folder = msg_compile(ml, ml->classes.MLModel, url, &nserror);
    if (folder == NULL) return fail_with(ml, PV_PROGRAM, nserror, "compile a program", error);
    one->folder = ml->retain(folder);
    const id model = msg_load_model(ml, ml->classes.MLModel, folder, ml->configuration, &nserror);
    if (model == NULL) return fail_with(ml, PV_PROGRAM, nserror, "load a program", error);
    one->model = ml->retain(model);
    return PV_OK;
}

static pv_status coreml_load(void *context, const char *package, const pv_op_linear *linear, void **program, pv_error *error)
{
    coreml *ml = context;
    loaded *one = pv_calloc(ml->allocator, 1, sizeof *one);
    (void)linear;
    if (one == NULL) return pv_fail_memory(error, sizeof *one, "a program");
    void *pool = ml->push();
    const pv_status status = load_from(ml, package, one, error);
    ml->pop(pool);
    if (status == PV_OK) {
        *program = one;
    } else {
        coreml_unload(ml, one);
    }
    return status;
}

static id pair_of(const coreml *ml, int64_t first, int64_t second)
{
    const id numbers[] = {msg_number(ml, ml->classes.NSNumber, first), msg_number(ml, ml->classes.NSNumber, second)};
    return msg_array(ml, ml->classes.NSArray, numbers, 2);
}

/* A view of the matrix, +1; or NULL. */
static id view_of(const coreml *ml, const pv_ane_matrix *matrix, id *nserror)
{
    const id shape = pair_of(ml, matrix->rows, matrix->cols), strides = pair_of(ml, matrix->cols, 1);
    return msg_init_array(ml, msg_alloc(ml, ml->classes.MLMultiArray), matrix->elements, shape, ARRAY_FLOAT32, strides, NULL,
                          nserror);
}

/* The inputs by their names, +1; or NULL. */
static id features_of(const coreml *ml, const pv_ane_matrix *inputs, size_t count, id *nserror)
{
    id names[PV_ANE_INPUTS], values[PV_ANE_INPUTS];
    for (size_t i = 0; i < count; i++) {
        const id view = view_of(ml, &inputs[i], nserror);
        if (view == NULL) return NULL;
        names[i] = msg_string(ml, ml->classes.NSString, inputs[i].name);
        values[i] = msg_feature(ml, ml->classes.MLFeatureValue, view);
        ml->release(view); /* the feature holds it */
    }
    const id dictionary = msg_dictionary(ml, ml->classes.NSDictionary, values, names, count);
    return msg_init_features(ml, msg_alloc(ml, ml->classes.MLDictionaryFeatureProvider), dictionary, nserror);
}

/* Core ML chooses where rows of its results begin. */
static pv_status copy_output(const coreml *ml, id results, const pv_ane_matrix *output, pv_error *error)
{
    const id array = msg_feature_array(ml, msg_feature_named(ml, results, msg_string(ml, ml->classes.NSString, output->name)));
    const float *data = array != NULL ? msg_multi_data(ml, array) : NULL;
    if (data == NULL || msg_multi_type(ml, array) != ARRAY_FLOAT32 ||
        msg_multi_count(ml, array) != (int64_t)output->rows * output->cols) {
        return pv_fail_at(error, PV_INTERNAL, "ane", PV_NO_OFFSET, "Core ML gives no %s of %u × %u f32", output->name,
                          output->rows, output->cols);
    }
    const id strides = msg_multi_strides(ml, array);
    const int64_t row = msg_number_integer(ml, msg_element(ml, strides, 0)),
                  col = msg_number_integer(ml, msg_element(ml, strides, 1));
    for (uint32_t r = 0; r < output->rows; r++) {
        for (uint32_t c = 0; c < output->cols; c++) output->elements[(size_t)r * output->cols + c] = data[r * row + c * col];
    }
    return PV_OK;
}

static pv_status coreml_run(void *context, void *program, const pv_ane_matrix *inputs, size_t input_count,
                            const pv_ane_matrix *outputs, size_t output_count, pv_error *error)
{
    const coreml *ml = context;
    const loaded *one = program;
    id nserror = NULL, results = NULL;
    void *pool = ml->push();
    const id features = features_of(ml, inputs, input_count, &nserror);
    if (features != NULL) results = msg_predict(ml, one->model, features, &nserror);
    pv_status status = results != NULL ? PV_OK : fail_with(ml, PV_DEVICE_TRANSIENT, nserror, "run a program", error);
    for (size_t i = 0; i < output_count && status == PV_OK; i++) status = copy_output(ml, results, &outputs[i], error);
    if (features != NULL) ml->release(features);
    ml->pop(pool);
    return status;
}

pv_status pv_coreml_open(const pv_allocator *allocator, pv_ane_engine *engine, pv_error *error)
{
    sel (*name_selector)(const char *) = NULL;
    id (*get_class)(const char *) = NULL;
    coreml *ml = pv_calloc(allocator, 1, sizeof *ml);
    if (ml == NULL) return pv_fail_memory(error, sizeof *ml, "Core ML");
    ml->allocator = allocator;
    pv_status status = open_libraries(ml, error);
    if (status == PV_OK) status = find_symbols(ml, &name_selector, &get_class, error);
    if (status == PV_OK) status = find_classes(ml, get_class, error);
    if (status != PV_OK) {
        close_libraries(ml);
        return status;
    }
    look_up(ml, name_selector);
    void *pool = ml->push();
    status = find_neural_engine(ml, get_class, error);
    if (status == PV_OK) {
        ml->configuration = msg_new_object(ml, ml->classes.MLModelConfiguration);
        msg_compute_units(ml, ml->configuration, UNITS_CPU_AND_NEURAL_ENGINE);
    }
    ml->pop(pool);
    if (status != PV_OK) {
        coreml_close(ml);
        return status;
    }
    *engine =
        (pv_ane_engine){.context = ml, .load = coreml_load, .unload = coreml_unload, .run = coreml_run, .close = coreml_close};
    return PV_OK;
}
