/* MTLComputePipelineDescriptor and the buffers' mutability in it. */
#include "metal/metal.h"

static sm_pipeline_descriptor *of(id self)
{
    return (sm_pipeline_descriptor *)self;
}

/* ---- One buffer, and all of them: promises to the compiler, kept and given back */

typedef struct sm_buffer_descriptor {
    sm_object object;
    NSUInteger mutability;
} sm_buffer_descriptor;

typedef struct sm_buffer_descriptors {
    sm_object object;
    id items[SM_BUFFERS]; /* made when asked for */
} sm_buffer_descriptors;

SM_ACCESSORS(sm_buffer_descriptor, mutability, NSUInteger)

static const sm_method buffer_methods[] = {SM_PROPERTY("mutability", "setMutability:", "Q", mutability)};
static sm_class sm_buffer_descriptor_class = {
    .name = "MTLPipelineBufferDescriptor", .size = sizeof(sm_buffer_descriptor), SM_METHODS(buffer_methods)};
SM_REGISTER_AT_LOAD(sm_buffer_descriptor_class)

static bool index_fits(NSUInteger index)
{
    if (index < SM_BUFFERS) return true;
    sm_misuse("MTLPipelineBufferDescriptorArray objectAtIndexedSubscript:", "index %llu is not below %d",
              (unsigned long long)index, SM_BUFFERS);
    return false;
}

static id buffer_at(id self, SEL cmd, NSUInteger index)
{
    (void)cmd;
    if (!index_fits(index)) return NULL;
    id *item = &((sm_buffer_descriptors *)self)->items[index];
    if (!*item) *item = sm_new(&sm_buffer_descriptor_class);
    return *item;
}

static void set_buffer_at(id self, SEL cmd, id given, NSUInteger index)
{
    (void)cmd;
    id buffer =
        sm_expect_kind(given, &sm_buffer_descriptor_class, "MTLPipelineBufferDescriptorArray setObject:atIndexedSubscript:");
    if (index_fits(index)) sm_store(&((sm_buffer_descriptors *)self)->items[index], buffer);
}

static void buffers_dealloc(id self)
{
    for (size_t i = 0; i < SM_BUFFERS; i++) sm_release(((sm_buffer_descriptors *)self)->items[i]);
}

static const sm_method buffers_methods[] = {
    SM_METHOD("objectAtIndexedSubscript:", "@@:Q", buffer_at),
    SM_METHOD("setObject:atIndexedSubscript:", "v@:@Q", set_buffer_at),
};
static sm_class sm_buffer_descriptors_class = {.name = "MTLPipelineBufferDescriptorArray",
                                               .size = sizeof(sm_buffer_descriptors),
                                               .dealloc = buffers_dealloc,
                                               SM_METHODS(buffers_methods)};
SM_REGISTER_AT_LOAD(sm_buffer_descriptors_class)

/* ---- The descriptor */

SM_OBJECT_ACCESSORS(sm_pipeline_descriptor, label, sm_store_text)
SM_OBJECT_ACCESSORS(sm_pipeline_descriptor, binaryArchives, sm_store)
SM_OBJECT_ACCESSORS(sm_pipeline_descriptor, preloadedLibraries, sm_store)
SM_OBJECT_ACCESSORS(sm_pipeline_descriptor, insertLibraries, sm_store)
SM_OBJECT_ACCESSORS(sm_pipeline_descriptor, linkedFunctions, sm_store)
SM_OBJECT_ACCESSORS(sm_pipeline_descriptor, stageInput, sm_store)
SM_ACCESSORS(sm_pipeline_descriptor, maxTotalThreads, NSUInteger)
SM_ACCESSORS(sm_pipeline_descriptor, maxCallStackDepth, NSUInteger)
SM_ACCESSORS(sm_pipeline_descriptor, whole_simdgroups, BOOL)
SM_ACCESSORS(sm_pipeline_descriptor, indirect, BOOL)
SM_ACCESSORS(sm_pipeline_descriptor, binary_functions, BOOL)
SM_ACCESSORS(sm_pipeline_descriptor, validation, NSInteger)
SM_ACCESSORS(sm_pipeline_descriptor, required, sm_size)
SM_GETTER(sm_pipeline_descriptor, function, id)

static void set_function(id self, SEL cmd, id function)
{
    (void)cmd;
    sm_store(&of(self)->function,
             sm_expect_kind(function, &sm_function_class, "MTLComputePipelineDescriptor setComputeFunction:"));
}

static id buffers(id self, SEL cmd)
{
    (void)cmd;
    if (!of(self)->buffers) of(self)->buffers = sm_new(&sm_buffer_descriptors_class);
    return of(self)->buffers;
}

static void let_go(sm_pipeline_descriptor *descriptor)
{
    id *held[] = {&descriptor->label,           &descriptor->function,
                  &descriptor->binaryArchives,  &descriptor->preloadedLibraries,
                  &descriptor->insertLibraries, &descriptor->linkedFunctions,
                  &descriptor->stageInput,      &descriptor->buffers};
    for (size_t i = 0; i < SM_COUNT(held); i++) sm_store(held[i], NULL);
}

static id init(id self, SEL cmd)
{
    (void)cmd;
    of(self)->maxCallStackDepth = 1;
    return self;
}

static void reset(id self, SEL cmd)
{
    sm_object object = of(self)->object;
    let_go(of(self));
    *of(self) = (sm_pipeline_descriptor){.object = object};
    init(self, cmd);
}

static id copy(id self, SEL cmd)
{
    (void)cmd;
    sm_pipeline_descriptor *made = of(sm_new(&sm_pipeline_descriptor_class));
    if (!made) return NULL;
    sm_object object = made->object;
    *made = *of(self);
    made->object = object;
    id held[] = {made->label,           made->function,        made->binaryArchives, made->preloadedLibraries,
                 made->insertLibraries, made->linkedFunctions, made->stageInput,     made->buffers};
    for (size_t i = 0; i < SM_COUNT(held); i++) sm_retain(held[i]);
    return (id)made;
}

static void dealloc(id self)
{
    let_go(of(self));
}

static const sm_method methods[] = {
    SM_METHOD("init", "@@:", init),
    SM_METHOD("copy", "@@:", copy),
    SM_METHOD("reset", "v@:", reset),
    SM_METHOD("buffers", "@@:", buffers),
    SM_PROPERTY("label", "setLabel:", "@", label),
    SM_PROPERTY("computeFunction", "setComputeFunction:", "@", function),
    SM_PROPERTY("threadGroupSizeIsMultipleOfThreadExecutionWidth", "setThreadGroupSizeIsMultipleOfThreadExecutionWidth:", "B",
                whole_simdgroups),
    SM_PROPERTY("maxTotalThreadsPerThreadgroup", "setMaxTotalThreadsPerThreadgroup:", "Q", maxTotalThreads),
    SM_PROPERTY("maxCallStackDepth", "setMaxCallStackDepth:", "Q", maxCallStackDepth),
    SM_PROPERTY("requiredThreadsPerThreadgroup", "setRequiredThreadsPerThreadgroup:", SM_SIZE_TYPE, required),
    SM_PROPERTY("binaryArchives", "setBinaryArchives:", "@", binaryArchives),
    SM_PROPERTY("preloadedLibraries", "setPreloadedLibraries:", "@", preloadedLibraries),
    SM_PROPERTY("insertLibraries", "setInsertLibraries:", "@", insertLibraries),
    SM_PROPERTY("linkedFunctions", "setLinkedFunctions:", "@", linkedFunctions),
    SM_PROPERTY("stageInputDescriptor", "setStageInputDescriptor:", "@", stageInput),
    SM_PROPERTY("supportIndirectCommandBuffers", "setSupportIndirectCommandBuffers:", "B", indirect),
    SM_PROPERTY("supportAddingBinaryFunctions", "setSupportAddingBinaryFunctions:", "B", binary_functions),
    SM_PROPERTY("shaderValidation", "setShaderValidation:", "q", validation),
};
sm_class sm_pipeline_descriptor_class = {
    .name = "MTLComputePipelineDescriptor", .size = sizeof(sm_pipeline_descriptor), .dealloc = dealloc, SM_METHODS(methods)};
SM_REGISTER_AT_LOAD(sm_pipeline_descriptor_class)

id sm_descriptor_function(id descriptor)
{
    return of(descriptor)->function;
}
