/* MTLComputePipelineState. */
#include "metal/metal.h"

#include <stdlib.h>
#include <string.h>

#define SM_ON "MTLDevice newComputePipelineState"
#define SM_FAIL_ON_ARCHIVE_MISS 4 /* MTLPipelineOptionFailOnBinaryArchiveMiss */
#define SM_BINDING_INFO 1         /* MTLPipelineOptionBindingInfo */

static sm_pipeline *of(id self)
{
    return (sm_pipeline *)self;
}

/* The driver's own domain; Metal has none for pipelines. */
const char *sm_driver_domain(const sm_device *device)
{
    switch (device->world.apple_family) {
    case 7: return "AGXMetalG13X";
    case 8: return "AGXMetalG14X";
    case 9: return "AGXMetalG16X";
    default: return "AGXMetalG17X";
    }
}

static bool refuse(const sm_device *device, id *error, int64_t code, const char *text)
{
    sm_error_set(error, sm_driver_domain(device), code, text);
    return false;
}

static bool refuse_number(const sm_device *device, id *error, const char *what, uint64_t found, uint64_t limit)
{
    id text = sm_string_createf("%s (%llu) exceeds the maximum allowed (%llu)", what, (unsigned long long)found,
                                (unsigned long long)limit);
    refuse(device, error, 3, text ? sm_string_utf8(text) : what);
    sm_release(text);
    return false;
}

/* ---- Making one */

static bool in_archives(id archives, const uint64_t key[2])
{
    archives = sm_expect_kind(archives, &sm_array_class, "MTLComputePipelineDescriptor binaryArchives");
    for (size_t i = 0; archives && i < sm_array_count(archives); i++) {
        if (sm_archive_has(sm_array_at(archives, i), key)) return true;
    }
    return false;
}

static bool build(sm_pipeline *pipeline, const sm_function *function, id *error)
{
    char *errors = NULL;
    bool built = sm_msl_build(function->library->msl, function->name, function->values, function->value_count, &pipeline->built,
                              &errors);
    if (!built) refuse(pipeline->base.device, error, 3, errors ? errors : "Compiler encountered an internal error");
    free(errors);
    return built;
}

/* How many threads a threadgroup may have: the least of what the world, the kernel and the host say. */
static bool limit(sm_pipeline *pipeline, const sm_pipeline_descriptor *descriptor, id *error)
{
    const softmetal_world *world = &pipeline->base.device->world;
    const sm_kernel *kernel = pipeline->built.kernel;
    NSUInteger asked = descriptor ? descriptor->maxTotalThreads : 0;
    if (kernel->threadgroup_bytes > world->threadgroup_memory)
        return refuse_number(pipeline->base.device, error, "Threadgroup memory size", kernel->threadgroup_bytes,
                             world->threadgroup_memory);
    if (kernel->max_threads > world->max_threads)
        return refuse_number(pipeline->base.device, error, "max_total_threads_per_threadgroup", kernel->max_threads,
                             world->max_threads);
    if (asked > world->max_threads)
        return refuse_number(pipeline->base.device, error, "maxTotalThreadsPerThreadgroup", asked, world->max_threads);
    pipeline->max_threads = world->max_threads;
    if (kernel->max_threads && kernel->max_threads < pipeline->max_threads) pipeline->max_threads = kernel->max_threads;
    if (asked && asked < pipeline->max_threads) pipeline->max_threads = (uint32_t)asked;
    return true;
}

static void describe(sm_pipeline *pipeline, const sm_pipeline_descriptor *descriptor)
{
    if (!descriptor) return;
    sm_store_text(&pipeline->base.label, descriptor->label);
    pipeline->whole_simdgroups = descriptor->whole_simdgroups;
    pipeline->indirect = descriptor->indirect;
    pipeline->validation = descriptor->validation;
    pipeline->required = descriptor->required;
}

static sm_pipeline *create(sm_device *device, sm_function *function, const sm_pipeline_descriptor *descriptor, id *error)
{
    sm_pipeline *pipeline = of(sm_base_new(&sm_pipeline_class, device));
    if (!pipeline) return NULL;
    pipeline->name = sm_copy_text(function->name);
    describe(pipeline, descriptor);
    if (pipeline->name && build(pipeline, function, error) && limit(pipeline, descriptor, error)) return pipeline;
    sm_release((id)pipeline);
    return NULL;
}

id sm_pipeline_create(sm_device *device, id given, id described, NSUInteger options, id *reflection, id *error)
{
    const sm_pipeline_descriptor *descriptor = (const sm_pipeline_descriptor *)described;
    if (error) *error = NULL;
    if (reflection) *reflection = NULL;
    id function = sm_expect_kind(given, &sm_function_class, SM_ON "WithFunction:error:");
    if (!function) {
        sm_misuse(SM_ON "WithFunction:error:", "the function is nil");
        refuse(device, error, 3, "The compute function is nil");
        return NULL;
    }
    if (((sm_function *)function)->base.device != device) {
        sm_misuse(SM_ON "WithFunction:error:", "function '%s' is of another device", ((sm_function *)function)->name);
        refuse(device, error, 3, "The compute function is of another device");
        return NULL;
    }
    if (sm_device_is_removed(device)) {
        refuse(device, error, 3, "The device was removed");
        return NULL;
    }
    if (sm_fault_error(SOFTMETAL_FAULT_PIPELINE, error)) return NULL;
    if (options & SM_FAIL_ON_ARCHIVE_MISS &&
        !in_archives(descriptor ? descriptor->binaryArchives : NULL, ((sm_function *)function)->key)) {
        refuse(device, error, 1, "No binary archive has this pipeline, and the pipeline options say to fail then");
        return NULL;
    }
    sm_pipeline *pipeline = create(device, (sm_function *)function, descriptor, error);
    if (pipeline && reflection && options & SM_BINDING_INFO) *reflection = sm_autorelease(sm_reflection_create(pipeline));
    return (id)pipeline;
}

static void dealloc(id self)
{
    free(of(self)->name);
    sm_base_dealloc(self);
}

/* ---- What it tells */

SM_GETTER(sm_pipeline, max_threads, NSUInteger)
SM_GETTER(sm_pipeline, indirect, BOOL)
SM_GETTER(sm_pipeline, validation, NSInteger)
SM_GETTER(sm_pipeline, required, sm_size)

static NSUInteger execution_width(id self, SEL cmd)
{
    (void)self, (void)cmd;
    return SM_LANES;
}

static NSUInteger static_memory(id self, SEL cmd)
{
    (void)cmd;
    return of(self)->built.kernel->threadgroup_bytes;
}

static NSUInteger allocated_size(id self, SEL cmd)
{
    (void)self, (void)cmd;
    return 0;
}

static id reflection_of(id self, SEL cmd)
{
    (void)cmd;
    return sm_autorelease(sm_reflection_create(of(self)));
}

static const sm_method methods[] = {
    SM_DEVICE_METHOD,
    SM_METHOD("label", "@@:", sm_base_label),
    SM_METHOD("maxTotalThreadsPerThreadgroup", "Q@:", get_max_threads),
    SM_METHOD("threadExecutionWidth", "Q@:", execution_width),
    SM_METHOD("staticThreadgroupMemoryLength", "Q@:", static_memory),
    SM_METHOD("supportIndirectCommandBuffers", "B@:", get_indirect),
    SM_METHOD("shaderValidation", "q@:", get_validation),
    SM_METHOD("requiredThreadsPerThreadgroup", SM_SIZE_TYPE "@:", get_required),
    SM_METHOD("allocatedSize", "Q@:", allocated_size),
    SM_METHOD("reflection", "@@:", reflection_of),
};
sm_class sm_pipeline_class = {.name = "SoftMTLComputePipelineState",
                              .protocol = "MTLComputePipelineState",
                              .super = &sm_allocation_class,
                              .size = sizeof(sm_pipeline),
                              .dealloc = dealloc,
                              SM_METHODS(methods)};
SM_REGISTER_AT_LOAD(sm_pipeline_class)
