#include "backend/metal/program.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "backend/metal/kernels/args.h"
#include "base/text.h"

#define TYPE_UINT 33                   /* MTLDataTypeUInt */
#define MATH_SAFE 0                    /* MTLMathModeSafe */
#define FUNCTIONS_PRECISE 1            /* MTLMathFloatingPointFunctionsPrecise */
#define MSL_3_0 (3u << 16)             /* macOS 13; without a word the version hangs on how the caller was linked */
#define FAIL_ON_ARCHIVE_MISS (1u << 2) /* MTLPipelineOptionFailOnBinaryArchiveMiss */

typedef struct pv_metal_library {
    const pv_metal_source *source;
    pv_id object; /* NULL until the first kernel is asked for */
} pv_metal_library;

struct pv_metal_programs {
    pv_metal_library *libraries;
    size_t library_count;
    pv_metal_pipeline **pipelines; /* an allocation each: callers keep pointers */
    size_t pipeline_count, pipeline_capacity;
    pv_id archive; /* NULL: none */
    bool archive_changed;
    char archive_path[PV_METAL_PATH_BYTES];
};

/* ---- The archive ---- */

static void tell(const pv_metal_device *device, pv_id nserror, const char *what, const char *path)
{
    const pv_environment *environment = device->environment;
    const char *why =
        nserror != NULL ? pv_msg_string_utf8(&device->objc, pv_msg_error_description(&device->objc, nserror)) : NULL;
    char line[512];
    if (environment->log == NULL) return;
    snprintf(line, sizeof line, "the archive of programs %.200s %s: %.200s", path, what, why != NULL ? why : "no reason given");
    environment->log(environment->log_user, PV_LOG_WARNING, line);
}

/* Other sources and another device have another archive; what another system or driver compiled, the system itself does not
 * take. */
bool pv_metal_cache_path(const pv_metal_device *device, const char *ending, char path[PV_METAL_PATH_BYTES])
{
    XXH64_hash_t hash = XXH3_64bits(device->traits.facts.name, strlen(device->traits.facts.name));
    for (const pv_metal_source *source = pv_metal_sources; source->name != NULL; source++) {
        hash = XXH3_64bits_withSeed(source->text, strlen(source->text), hash);
    }
    const int length = snprintf(path, PV_METAL_PATH_BYTES, "%s/metal-%016llx.%s", device->environment->cache,
                                (unsigned long long)hash, ending);
    return length > 0 && length < PV_METAL_PATH_BYTES - 32;
}


/* The archive at this path; NULL: a new one. */
static pv_id open_archive(const pv_metal_device *device, const char *path, pv_id *nserror)
{
    const pv_objc *objc = &device->objc;
    const pv_id descriptor = pv_objc_new(objc, objc->classes.MTLBinaryArchiveDescriptor);
    if (path != NULL) pv_msg_archive_descriptor_url(objc, descriptor, pv_objc_url(objc, path));
    const pv_id archive = pv_msg_device_new_archive(objc, device->device, descriptor, nserror);
    objc->release(descriptor);
    return archive;
}

/* Without an archive everything is compiled at every start: slow, but no failure. */
static void use_archive(pv_metal_device *device, pv_metal_programs *programs)
{
    const pv_objc *objc = &device->objc;
    pv_id nserror = NULL;
    if (device->environment->cache == NULL || objc->classes.MTLBinaryArchiveDescriptor == NULL ||
        !pv_metal_cache_path(device, "archive", programs->archive_path))
        return;
    void *pool = objc->push();
    if (pv_objc_url(objc, programs->archive_path) == NULL) {
        tell(device, NULL, "is not kept, as its path is no UTF-8", programs->archive_path);
        objc->pop(pool);
        return;
    }
    if (access(programs->archive_path, F_OK) == 0) {
        programs->archive = open_archive(device, programs->archive_path, &nserror);
        if (programs->archive == NULL) tell(device, nserror, "is made anew", programs->archive_path);
    }
    if (programs->archive == NULL) programs->archive = open_archive(device, NULL, &nserror);
    objc->pop(pool);
}

void pv_metal_make_folders(char *path)
{
    for (char *at = path + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        mkdir(path, 0777); /* where that cannot be done, storing tells */
        *at = '/';
    }
}

/* Under another name first: who reads at the same time, or what ends in the middle, finds a whole file. Other devices of this
 * process may be doing the same. */
static void store_archive(pv_metal_device *device, pv_metal_programs *programs)
{
    const pv_objc *objc = &device->objc;
    char fresh[PV_METAL_PATH_BYTES + 48];
    pv_id nserror = NULL;
    if (programs->archive == NULL || !programs->archive_changed) return;
    snprintf(fresh, sizeof fresh, "%s.%ld.%llx", programs->archive_path, (long)getpid(),
             (unsigned long long)(uintptr_t)device);
    pv_metal_make_folders(fresh);
    void *pool = objc->push();
    if (!pv_msg_archive_serialize(objc, programs->archive, pv_objc_url(objc, fresh), &nserror)) {
        tell(device, nserror, "is not kept", programs->archive_path);
        unlink(fresh);
    } else if (rename(fresh, programs->archive_path) != 0) {
        tell(device, NULL, "is not kept", programs->archive_path);
        unlink(fresh);
    }
    objc->pop(pool);
}

/* ---- Compiling ---- */

static const char *text_of(const char *name)
{
    for (const pv_metal_source *source = pv_metal_sources; source->name != NULL; source++) {
        if (strcmp(source->name, name) == 0) return source->text;
    }
    return "";
}

static pv_id compile_options(const pv_metal_device *device)
{
    const pv_objc *objc = &device->objc;
    const pv_id options = pv_objc_new(objc, objc->classes.MTLCompileOptions);
    pv_msg_options_language(objc, options, MSL_3_0);
    /* NaN and infinity must stay what they are: they mark rows that failed */
    if (device->traits.facts.math_modes) {
        pv_msg_options_math_mode(objc, options, MATH_SAFE);
        pv_msg_options_math_functions(objc, options, FUNCTIONS_PRECISE); /* which the other one says by itself */
    } else {
        pv_msg_options_fast_math(objc, options, false);
    }
    return options;
}

static pv_status fail_program(const pv_metal_device *device, pv_id nserror, const char *what, pv_error *error)
{
    const char *description =
        nserror != NULL ? pv_msg_string_utf8(&device->objc, pv_msg_error_description(&device->objc, nserror)) : NULL;
    return pv_fail_at(error, PV_PROGRAM, what, PV_NO_OFFSET, "%s does not compile on %s: %s", what, device->description.id,
                      description != NULL ? description : "no reason given");
}

/* Matrix kernels and row look-up are made for a weight layout. */
static bool uses_layouts(const char *name)
{
    return strncmp(name, "linear", 6) == 0 || strcmp(name, "embed") == 0 || strncmp(name, "moe", 3) == 0;
}

/* Tiles of linear decode weights by 16. */
static bool uses_units(const char *name)
{
    return strcmp(name, "linear") == 0 || strncmp(name, "moe", 3) == 0;
}

/* Attention and the store of cells with scales are made for a type of the KV cache. */
static bool uses_cache(const char *name)
{
    return strncmp(name, "attention", 9) == 0 || strcmp(name, "kv_store") == 0;
}

static void add_part(pv_bytes *text, const char *name)
{
    const char *part = text_of(name);
    pv_bytes_format(text, "#line 1 \"%s\"\n", name);
    pv_bytes_add(text, part, strlen(part));
}

static pv_status compile_library(pv_metal_device *device, pv_metal_library *library, pv_error *error)
{
    const pv_objc *objc = &device->objc;
    pv_bytes text;
    pv_id nserror = NULL;
    pv_bytes_init(&text, device->allocator);
    pv_bytes_format(&text, "#include <metal_stdlib>\nusing namespace metal;\n");
    add_part(&text, "kernel_args");
    add_part(&text, "args");
    add_part(&text, "common");
    if (uses_layouts(library->source->name)) add_part(&text, "layouts");
    if (uses_cache(library->source->name)) add_part(&text, "cache");
    if (strncmp(library->source->name, "linear", 6) == 0) add_part(&text, "linear_parts");
    if (uses_units(library->source->name)) add_part(&text, "units");
    if (strncmp(library->source->name, "moe", 3) == 0) add_part(&text, "experts");
    if (strcmp(library->source->name, "moe_tiles") == 0) add_part(&text, "tiles");
    add_part(&text, library->source->name);
    pv_status status = text.failed ? pv_fail_memory(error, text.length, library->source->name) : PV_OK;
    if (status == PV_OK) {
        const pv_id options = compile_options(device);
        library->object = pv_msg_device_new_library(objc, device->device, pv_objc_string(objc, text.data), options, &nserror);
        objc->release(options);
        if (library->object == NULL) status = fail_program(device, nserror, library->source->name, error);
    }
    pv_bytes_free(&text);
    return status;
}

static pv_status find_library(pv_metal_device *device, const char *name, pv_id *object, pv_error *error)
{
    pv_metal_programs *programs = device->programs;
    for (size_t i = 0; i < programs->library_count; i++) {
        pv_metal_library *library = &programs->libraries[i];
        if (strcmp(library->source->name, name) != 0) continue;
        const pv_status status = library->object != NULL ? PV_OK : compile_library(device, library, error);
        *object = library->object;
        return status;
    }
    return pv_fail_at(error, PV_INTERNAL, name, PV_NO_OFFSET, "no kernels are called %s", name);
}

static pv_id make_function(const pv_metal_device *device, pv_id library, const pv_metal_kernel *kernel, pv_id *nserror)
{
    const pv_objc *objc = &device->objc;
    const pv_id values = pv_objc_new(objc, objc->classes.MTLFunctionConstantValues);
    for (uint32_t i = 0; i < kernel->constant_count; i++)
        pv_msg_constants_set(objc, values, &kernel->constants[i], TYPE_UINT, i);
    const pv_id function = pv_msg_library_new_function(objc, library, pv_objc_string(objc, kernel->function), values, nserror);
    objc->release(values);
    return function;
}

/* What the archive lacks is compiled into it first, so that it is compiled once. */
static pv_id make_state(pv_metal_device *device, pv_id descriptor, pv_id *nserror)
{
    const pv_objc *objc = &device->objc;
    pv_metal_programs *programs = device->programs;
    if (programs->archive != NULL) {
        pv_msg_descriptor_archives(objc, descriptor, pv_msg_array_create(objc, objc->classes.NSArray, programs->archive));
        const pv_id kept = pv_msg_device_new_pipeline(objc, device->device, descriptor, FAIL_ON_ARCHIVE_MISS, NULL, nserror);
        if (kept != NULL) return kept;
        if (pv_msg_archive_add(objc, programs->archive, descriptor, nserror)) programs->archive_changed = true;
    }
    return pv_msg_device_new_pipeline(objc, device->device, descriptor, 0, NULL, nserror);
}

static pv_status make_pipeline(pv_metal_device *device, const pv_metal_kernel *kernel, pv_metal_pipeline *pipeline,
                               pv_error *error)
{
    const pv_objc *objc = &device->objc;
    pv_id library, nserror = NULL;
    pv_status status = find_library(device, kernel->source, &library, error);
    if (status != PV_OK) return status;
    const pv_id function = make_function(device, library, kernel, &nserror);
    if (function == NULL) return fail_program(device, nserror, kernel->function, error);
    const pv_id descriptor = pv_objc_new(objc, objc->classes.MTLComputePipelineDescriptor);
    pv_msg_descriptor_function(objc, descriptor, function);
    const pv_id state = make_state(device, descriptor, &nserror);
    const uint64_t width = pv_msg_pipeline_width(objc, state);
    if (state == NULL) {
        status = fail_program(device, nserror, kernel->function, error);
    } else if (width != PV_METAL_SIMD) {
        objc->release(state);
        status = pv_fail_at(error, PV_PROGRAM, kernel->function, PV_NO_OFFSET,
                            "%s has simdgroups of %llu threads on %s; %d are wanted", kernel->function,
                            (unsigned long long)width, device->description.id, PV_METAL_SIMD);
    } else {
        *pipeline = (pv_metal_pipeline){
            .state = state, .max_threads = (uint32_t)pv_msg_pipeline_max_threads(objc, state), .kernel = *kernel};
    }
    objc->release(descriptor);
    objc->release(function);
    return status;
}

static bool same_kernel(const pv_metal_kernel *a, const pv_metal_kernel *b)
{
    return a->constant_count == b->constant_count && strcmp(a->function, b->function) == 0 &&
           strcmp(a->source, b->source) == 0 &&
           memcmp(a->constants, b->constants, a->constant_count * sizeof a->constants[0]) == 0;
}

pv_status pv_metal_pipeline_get(pv_metal_device *device, const pv_metal_kernel *kernel, const pv_metal_pipeline **out,
                                pv_error *error)
{
    pv_metal_programs *programs = device->programs;
    for (size_t i = 0; i < programs->pipeline_count; i++) {
        if (!same_kernel(&programs->pipelines[i]->kernel, kernel)) continue;
        *out = programs->pipelines[i];
        return PV_OK;
    }
    pv_metal_pipeline *made = pv_calloc(device->allocator, 1, sizeof *made);
    if (made == NULL || !pv_grow(device->allocator, (void **)&programs->pipelines, &programs->pipeline_capacity,
                                 programs->pipeline_count + 1, sizeof *programs->pipelines)) {
        pv_free(device->allocator, made);
        return pv_fail_memory(error, sizeof *made, "a pipeline");
    }
    void *pool = device->objc.push();
    const pv_status status = make_pipeline(device, kernel, made, error);
    device->objc.pop(pool);
    if (status != PV_OK) {
        pv_free(device->allocator, made);
        return status;
    }
    programs->pipelines[programs->pipeline_count++] = made;
    *out = made;
    return PV_OK;
}

/* ---- Beginning and end ---- */

pv_status pv_metal_programs_create(pv_metal_device *device, pv_metal_programs **out, pv_error *error)
{
    size_t count = 0;
    while (pv_metal_sources[count].name != NULL) count++;
    pv_metal_programs *programs = pv_calloc(device->allocator, 1, sizeof *programs);
    if (programs == NULL) return pv_fail_memory(error, sizeof *programs, "the programs");
    programs->libraries = pv_calloc(device->allocator, count, sizeof *programs->libraries);
    if (programs->libraries == NULL) {
        pv_free(device->allocator, programs);
        return pv_fail_memory(error, count * sizeof *programs->libraries, "the programs");
    }
    programs->library_count = count;
    for (size_t i = 0; i < count; i++) programs->libraries[i].source = &pv_metal_sources[i];
    use_archive(device, programs);
    *out = programs;
    return PV_OK;
}

void pv_metal_programs_destroy(pv_metal_device *device, pv_metal_programs *programs)
{
    if (programs == NULL) return;
    const pv_objc *objc = &device->objc;
    store_archive(device, programs);
    for (size_t i = 0; i < programs->pipeline_count; i++) {
        pv_metal_let_go(device, programs->pipelines[i]->state);
        pv_free(device->allocator, programs->pipelines[i]);
    }
    for (size_t i = 0; i < programs->library_count; i++) {
        if (programs->libraries[i].object != NULL) objc->release(programs->libraries[i].object);
    }
    if (programs->archive != NULL) objc->release(programs->archive);
    pv_free(device->allocator, programs->pipelines);
    pv_free(device->allocator, programs->libraries);
    pv_free(device->allocator, programs);
}
