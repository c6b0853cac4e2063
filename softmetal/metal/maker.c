/* MTLDevice: what it makes. */
#include "metal/metal.h"

#include <stdlib.h>
#include <string.h>

#define SM_ON "MTLDevice "

static sm_device *of(id self)
{
    return (sm_device *)self;
}

/* ---- Queues and what orders them */

static id new_queue(id self, SEL cmd)
{
    (void)cmd;
    return sm_queue_create(of(self), SM_COMMAND_BUFFERS);
}

static id new_queue_of(id self, SEL cmd, NSUInteger count)
{
    (void)cmd;
    return sm_queue_create(of(self), count);
}

static id new_queue_described(id self, SEL cmd, id given)
{
    (void)cmd;
    id descriptor = sm_expect_kind(given, &sm_queue_descriptor_class, SM_ON "newCommandQueueWithDescriptor:");
    return descriptor ? sm_queue_create(of(self), ((sm_queue_descriptor *)descriptor)->maxCommandBufferCount) : NULL;
}

static id new_fence(id self, SEL cmd)
{
    (void)cmd;
    return sm_base_new(&sm_fence_class, of(self));
}

static id new_event(id self, SEL cmd)
{
    (void)cmd;
    return sm_event_create(of(self), false);
}

static id new_shared_event(id self, SEL cmd)
{
    (void)cmd;
    return sm_event_create(of(self), true);
}

/* ---- Memory */

static id new_buffer(id self, SEL cmd, NSUInteger length, NSUInteger options)
{
    (void)cmd;
    return sm_buffer_create(of(self), length, options, NULL);
}

static id new_buffer_with_bytes(id self, SEL cmd, const void *bytes, NSUInteger length, NSUInteger options)
{
    (void)cmd;
    const char *method = SM_ON "newBufferWithBytes:length:options:";
    if (!bytes)
        sm_misuse(method, "the bytes are a null pointer");
    else if (SM_OPTIONS_STORAGE(options) == SM_STORAGE_PRIVATE)
        sm_misuse(method, "bytes cannot be put in a private buffer so");
    else
        return sm_buffer_create(of(self), length, options, bytes);
    return NULL;
}

static id new_buffer_no_copy(id self, SEL cmd, void *bytes, NSUInteger length, NSUInteger options, id deallocator)
{
    (void)cmd;
    const char *method = SM_ON "newBufferWithBytesNoCopy:length:options:deallocator:";
    unsigned long long page = sm_page();
    if (!bytes || (uintptr_t)bytes % page != 0) {
        sm_misuse(method, "the pointer %p is not at a multiple of the page size, %llu", bytes, page);
        return NULL;
    }
    if (!sm_buffer_length_fits(of(self), length, method)) return NULL;
    if (length % page != 0) {
        sm_misuse(method, "the length %llu is not a multiple of the page size, %llu", (unsigned long long)length, page);
        return NULL;
    }
    if (SM_OPTIONS_STORAGE(options) > SM_STORAGE_MANAGED) {
        sm_misuse(method, "storage mode %llu: memory of the host's is shared or managed",
                  (unsigned long long)SM_OPTIONS_STORAGE(options));
        return NULL;
    }
    if (sm_device_is_removed(of(self)) || sm_fault(SOFTMETAL_FAULT_ALLOCATION, NULL)) return NULL;
    sm_storage *storage = sm_storage_import(of(self), bytes, length, deallocator);
    id buffer = storage ? sm_buffer_wrap(of(self), storage, 0, length, options) : NULL;
    if (!buffer) sm_storage_release(storage);
    return buffer;
}

static id new_heap(id self, SEL cmd, id descriptor)
{
    (void)cmd;
    return sm_heap_create(of(self), descriptor);
}

typedef struct sm_size_and_align {
    NSUInteger size, align;
} sm_size_and_align;

static sm_size_and_align heap_size_and_align(id self, SEL cmd, NSUInteger length, NSUInteger options)
{
    (void)self, (void)cmd, (void)options;
    return (sm_size_and_align){sm_heap_align(length), SM_HEAP_ALIGN};
}

static id new_residency_set(id self, SEL cmd, id descriptor, id *error)
{
    (void)cmd;
    if (of(self)->world.macos_major >= 15) return sm_residency_set_create(of(self), descriptor, error);
    sm_reportf(SOFTMETAL_UNKNOWN_SELECTOR, "[MTLDevice newResidencySetWithDescriptor:error:]: macOS %u has no residency sets",
               of(self)->world.macos_major);
    return NULL;
}

/* ---- Libraries */

static id new_library(id self, SEL cmd, id source, id options, id *error)
{
    (void)cmd;
    return sm_library_create(of(self), source, options, error);
}

static id no_library(id *error, int64_t code, const char *text)
{
    sm_error_set(error, SM_LIBRARY_DOMAIN, code, text);
    return NULL;
}

static id new_library_with_url(id self, SEL cmd, id url, id *error)
{
    (void)self, (void)cmd;
    const char *path = url && sm_is_kind(url, &sm_url_class) ? sm_url_path(url) : NULL;
    id text = sm_string_createf("%s: softmetal compiles MSL text (newLibraryWithSource:) and reads no compiled libraries",
                                path ? path : "(null)");
    no_library(error, SM_LIBRARY_UNSUPPORTED, text ? sm_string_utf8(text) : "softmetal reads no compiled libraries");
    sm_release(text);
    return NULL;
}

static id new_library_with_data(id self, SEL cmd, id data, id *error)
{
    (void)self, (void)cmd, (void)data;
    return no_library(error, SM_LIBRARY_UNSUPPORTED,
                      "softmetal compiles MSL text (newLibraryWithSource:) and reads no compiled libraries");
}

static id new_default_library(id self, SEL cmd)
{
    (void)self, (void)cmd;
    return NULL; /* as on a Mac where the program's bundle has none */
}

static id new_default_library_of(id self, SEL cmd, id bundle, id *error)
{
    (void)self, (void)cmd, (void)bundle;
    return no_library(error, SM_LIBRARY_NO_FILE, "no default library was found");
}

/* ---- Pipelines */

static id new_pipeline(id self, SEL cmd, id function, id *error)
{
    (void)cmd;
    return sm_pipeline_create(of(self), function, NULL, 0, NULL, error);
}

static id new_pipeline_reflected(id self, SEL cmd, id function, NSUInteger options, id *reflection, id *error)
{
    (void)cmd;
    return sm_pipeline_create(of(self), function, NULL, options, reflection, error);
}

static id new_pipeline_described(id self, SEL cmd, id given, NSUInteger options, id *reflection, id *error)
{
    (void)cmd;
    id descriptor = sm_expect_kind(given, &sm_pipeline_descriptor_class,
                                   SM_ON "newComputePipelineStateWithDescriptor:options:reflection:error:");
    id function = descriptor ? sm_descriptor_function(descriptor) : NULL;
    return sm_pipeline_create(of(self), function, descriptor, options, reflection, error);
}

/* ---- The same, told to a handler */

typedef struct sm_maker_job {
    sm_job job;
    sm_device *device;
    id first, second; /* source and options; function or descriptor */
    NSUInteger options;
    void *handler;
} sm_maker_job;

static void end_job(sm_maker_job *job)
{
    sm_release(job->first);
    sm_release(job->second);
    sm_release((id)job->device);
    sm_block_release(job->handler);
    free(job);
}

static void start(id self, void (*run)(sm_job *job), id first, id second, NSUInteger options, const void *handler)
{
    sm_maker_job *job = sm_allocate(sizeof *job);
    if (!job) return;
    *job = (sm_maker_job){{run}, of(sm_retain(self)), sm_own(first), sm_own(second), options, sm_block_copy(handler)};
    sm_job_start(&job->job);
}

static void run_library(sm_job *job)
{
    sm_maker_job *is = (sm_maker_job *)job;
    id error = NULL, library = sm_library_create(is->device, is->first, is->second, &error);
    sm_block_call2(is->handler, library, error);
    sm_release(library);
    end_job(is);
}

static void run_pipeline(sm_job *job)
{
    sm_maker_job *is = (sm_maker_job *)job;
    id error = NULL, pipeline = sm_pipeline_create(is->device, is->first, NULL, 0, NULL, &error);
    sm_block_call2(is->handler, pipeline, error);
    sm_release(pipeline);
    end_job(is);
}

static void run_pipeline_reflected(sm_job *job)
{
    sm_maker_job *is = (sm_maker_job *)job;
    id error = NULL, reflection = NULL, pipeline = NULL;
    bool described = is->first && sm_is_kind(is->first, &sm_pipeline_descriptor_class);
    if (described)
        pipeline = new_pipeline_described((id)is->device, NULL, is->first, is->options, &reflection, &error);
    else
        pipeline = sm_pipeline_create(is->device, is->first, NULL, is->options, &reflection, &error);
    sm_block_call3(is->handler, pipeline, reflection, error);
    sm_release(pipeline);
    end_job(is);
}

static void new_library_handler(id self, SEL cmd, id source, id options, const void *handler)
{
    (void)cmd;
    start(self, run_library, source, options, 0, handler);
}

static void new_pipeline_handler(id self, SEL cmd, id function, const void *handler)
{
    (void)cmd;
    start(self, run_pipeline, function, NULL, 0, handler);
}

static void new_pipeline_options_handler(id self, SEL cmd, id function_or_descriptor, NSUInteger options, const void *handler)
{
    (void)cmd;
    start(self, run_pipeline_reflected, function_or_descriptor, NULL, options, handler);
}

/* ---- Archives, counters */

static id new_archive(id self, SEL cmd, id descriptor, id *error)
{
    (void)cmd;
    return sm_archive_create(of(self), descriptor, error);
}

static id new_sample_buffer(id self, SEL cmd, id descriptor, id *error)
{
    (void)cmd;
    return sm_sample_buffer_create(of(self), descriptor, error);
}

/* ---- What a compute device does without */

static id no_indirect_commands(id self, SEL cmd, id descriptor, NSUInteger count, NSUInteger options)
{
    (void)self, (void)cmd, (void)descriptor, (void)count, (void)options;
    sm_misuse(SM_ON "newIndirectCommandBufferWithDescriptor:maxCommandCount:options:",
              "softmetal has no indirect command buffers");
    return NULL;
}

static id no_texture(id self, SEL cmd, id descriptor)
{
    (void)self, (void)cmd, (void)descriptor;
    sm_misuse(SM_ON "newTextureWithDescriptor:", "softmetal has no textures");
    return NULL;
}

static id no_sampler(id self, SEL cmd, id descriptor)
{
    (void)self, (void)cmd, (void)descriptor;
    sm_misuse(SM_ON "newSamplerStateWithDescriptor:", "softmetal has no samplers");
    return NULL;
}

static id no_shared_event(id self, SEL cmd, id handle)
{
    (void)self, (void)cmd, (void)handle;
    sm_misuse(SM_ON "newSharedEventWithHandle:", "softmetal does not reach into other processes");
    return NULL;
}

static id no_render_pipeline(id self, SEL cmd, id descriptor, id *error)
{
    (void)cmd, (void)descriptor;
    sm_error_set(error, sm_driver_domain(of(self)), 3, "softmetal renders nothing");
    return NULL;
}

static const sm_method methods[] = {
    SM_METHOD("newCommandQueue", "@@:", new_queue),
    SM_METHOD("newCommandQueueWithMaxCommandBufferCount:", "@@:Q", new_queue_of),
    SM_METHOD("newCommandQueueWithDescriptor:", "@@:@", new_queue_described),
    SM_METHOD("newFence", "@@:", new_fence),
    SM_METHOD("newEvent", "@@:", new_event),
    SM_METHOD("newSharedEvent", "@@:", new_shared_event),
    SM_METHOD("newSharedEventWithHandle:", "@@:@", no_shared_event),
    SM_METHOD("newBufferWithLength:options:", "@@:QQ", new_buffer),
    SM_METHOD("newBufferWithBytes:length:options:", "@@:^vQQ", new_buffer_with_bytes),
    SM_METHOD("newBufferWithBytesNoCopy:length:options:deallocator:", "@@:^vQQ@?", new_buffer_no_copy),
    SM_METHOD("newHeapWithDescriptor:", "@@:@", new_heap),
    SM_METHOD("heapBufferSizeAndAlignWithLength:options:", "{MTLSizeAndAlign=QQ}@:QQ", heap_size_and_align),
    SM_METHOD("newResidencySetWithDescriptor:error:", "@@:@^@", new_residency_set),
    SM_METHOD("newLibraryWithSource:options:error:", "@@:@@^@", new_library),
    SM_METHOD("newLibraryWithSource:options:completionHandler:", "v@:@@@?", new_library_handler),
    SM_METHOD("newLibraryWithURL:error:", "@@:@^@", new_library_with_url),
    SM_METHOD("newLibraryWithFile:error:", "@@:@^@", new_library_with_data),
    SM_METHOD("newLibraryWithData:error:", "@@:@^@", new_library_with_data),
    SM_METHOD("newDefaultLibrary", "@@:", new_default_library),
    SM_METHOD("newDefaultLibraryWithBundle:error:", "@@:@^@", new_default_library_of),
    SM_METHOD("newComputePipelineStateWithFunction:error:", "@@:@^@", new_pipeline),
    SM_METHOD("newComputePipelineStateWithFunction:options:reflection:error:", "@@:@Q^@^@", new_pipeline_reflected),
    SM_METHOD("newComputePipelineStateWithDescriptor:options:reflection:error:", "@@:@Q^@^@", new_pipeline_described),
    SM_METHOD("newComputePipelineStateWithFunction:completionHandler:", "v@:@@?", new_pipeline_handler),
    SM_METHOD("newComputePipelineStateWithFunction:options:completionHandler:", "v@:@Q@?", new_pipeline_options_handler),
    SM_METHOD("newComputePipelineStateWithDescriptor:options:completionHandler:", "v@:@Q@?", new_pipeline_options_handler),
    SM_METHOD("newBinaryArchiveWithDescriptor:error:", "@@:@^@", new_archive),
    SM_METHOD("newCounterSampleBufferWithDescriptor:error:", "@@:@^@", new_sample_buffer),
    SM_METHOD("newIndirectCommandBufferWithDescriptor:maxCommandCount:options:", "@@:@QQ", no_indirect_commands),
    SM_METHOD("newTextureWithDescriptor:", "@@:@", no_texture),
    SM_METHOD("newSamplerStateWithDescriptor:", "@@:@", no_sampler),
    SM_METHOD("newRenderPipelineStateWithDescriptor:error:", "@@:@^@", no_render_pipeline),
};
sm_class sm_device_maker_class = {.name = "SoftMTLDeviceMaker", .size = sizeof(sm_device), SM_METHODS(methods)};
SM_REGISTER_AT_LOAD(sm_device_maker_class)
