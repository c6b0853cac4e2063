/* Descriptors that are no more than their properties. */
#include "metal/metal.h"

#define SM_COPY(type, class)                                                                                                   \
    type *made = (type *)sm_new(class);                                                                                        \
    if (!made) return NULL;                                                                                                    \
    sm_object object = made->object;                                                                                           \
    *made = *(type *)self;                                                                                                     \
    made->object = object;

/* ---- MTLCommandQueueDescriptor */

SM_ACCESSORS(sm_queue_descriptor, maxCommandBufferCount, NSUInteger)
SM_OBJECT_ACCESSORS(sm_queue_descriptor, logState, sm_store)

static id queue_init(id self, SEL cmd)
{
    set_maxCommandBufferCount(self, cmd, SM_COMMAND_BUFFERS);
    return self;
}

static id queue_copy(id self, SEL cmd)
{
    (void)cmd;
    SM_COPY(sm_queue_descriptor, &sm_queue_descriptor_class)
    sm_retain(made->logState);
    return (id)made;
}

static void queue_dealloc(id self)
{
    sm_release(get_logState(self, NULL));
}

static const sm_method queue_methods[] = {
    SM_METHOD("init", "@@:", queue_init),
    SM_METHOD("copy", "@@:", queue_copy),
    SM_PROPERTY("maxCommandBufferCount", "setMaxCommandBufferCount:", "Q", maxCommandBufferCount),
    SM_PROPERTY("logState", "setLogState:", "@", logState),
};
sm_class sm_queue_descriptor_class = {.name = "MTLCommandQueueDescriptor",
                                      .size = sizeof(sm_queue_descriptor),
                                      .dealloc = queue_dealloc,
                                      SM_METHODS(queue_methods)};
SM_REGISTER_AT_LOAD(sm_queue_descriptor_class)

/* ---- MTLCommandBufferDescriptor */

SM_ACCESSORS(sm_command_buffer_descriptor, retainedReferences, BOOL)
SM_ACCESSORS(sm_command_buffer_descriptor, errorOptions, NSUInteger)

static id get_log_state(id self, SEL cmd)
{
    (void)cmd;
    return ((sm_command_buffer_descriptor *)self)->logState;
}

static void set_log_state(id self, SEL cmd, id state)
{
    (void)cmd;
    sm_store(&((sm_command_buffer_descriptor *)self)->logState, state);
}

static id buffer_init(id self, SEL cmd)
{
    set_retainedReferences(self, cmd, 1);
    return self;
}

static id buffer_copy(id self, SEL cmd)
{
    (void)cmd;
    SM_COPY(sm_command_buffer_descriptor, &sm_command_buffer_descriptor_class)
    sm_retain(made->logState);
    return (id)made;
}

static void buffer_dealloc(id self)
{
    sm_release(get_log_state(self, NULL));
}

static const sm_method buffer_methods[] = {
    SM_METHOD("init", "@@:", buffer_init),
    SM_METHOD("copy", "@@:", buffer_copy),
    SM_PROPERTY("retainedReferences", "setRetainedReferences:", "B", retainedReferences),
    SM_PROPERTY("errorOptions", "setErrorOptions:", "Q", errorOptions),
    SM_METHOD("logState", "@@:", get_log_state),
    SM_METHOD("setLogState:", "v@:@", set_log_state),
};
sm_class sm_command_buffer_descriptor_class = {.name = "MTLCommandBufferDescriptor",
                                               .size = sizeof(sm_command_buffer_descriptor),
                                               .dealloc = buffer_dealloc,
                                               SM_METHODS(buffer_methods)};
SM_REGISTER_AT_LOAD(sm_command_buffer_descriptor_class)

/* ---- MTLHeapDescriptor */

SM_ACCESSORS(sm_heap_descriptor, size, NSUInteger)
SM_ACCESSORS(sm_heap_descriptor, type, NSInteger)
SM_ACCESSORS(sm_heap_descriptor, storageMode, NSUInteger)
SM_ACCESSORS(sm_heap_descriptor, cpuCacheMode, NSUInteger)
SM_ACCESSORS(sm_heap_descriptor, hazardTrackingMode, NSUInteger)
SM_ACCESSORS(sm_heap_descriptor, sparsePageSize, NSInteger)
SM_ACCESSORS(sm_heap_descriptor, compatiblePageSize, NSInteger)

static id heap_init(id self, SEL cmd)
{
    set_storageMode(self, cmd, SM_STORAGE_PRIVATE);
    set_sparsePageSize(self, cmd, 101); /* MTLSparsePageSize16 */
    return self;
}

static NSUInteger heap_options(id self, SEL cmd)
{
    return SM_OPTIONS(get_cpuCacheMode(self, cmd), get_storageMode(self, cmd), get_hazardTrackingMode(self, cmd));
}

static void set_heap_options(id self, SEL cmd, NSUInteger options)
{
    set_cpuCacheMode(self, cmd, SM_OPTIONS_CACHE(options));
    set_storageMode(self, cmd, SM_OPTIONS_STORAGE(options));
    set_hazardTrackingMode(self, cmd, SM_OPTIONS_HAZARD(options));
}

static id heap_copy(id self, SEL cmd)
{
    (void)cmd;
    SM_COPY(sm_heap_descriptor, &sm_heap_descriptor_class)
    return (id)made;
}

static const sm_method heap_methods[] = {
    SM_METHOD("init", "@@:", heap_init),
    SM_METHOD("copy", "@@:", heap_copy),
    SM_PROPERTY("size", "setSize:", "Q", size),
    SM_PROPERTY("type", "setType:", "q", type),
    SM_PROPERTY("storageMode", "setStorageMode:", "Q", storageMode),
    SM_PROPERTY("cpuCacheMode", "setCpuCacheMode:", "Q", cpuCacheMode),
    SM_PROPERTY("hazardTrackingMode", "setHazardTrackingMode:", "Q", hazardTrackingMode),
    SM_PROPERTY("sparsePageSize", "setSparsePageSize:", "q", sparsePageSize),
    SM_PROPERTY("maxCompatiblePlacementSparsePageSize", "setMaxCompatiblePlacementSparsePageSize:", "q", compatiblePageSize),
    SM_METHOD("resourceOptions", "Q@:", heap_options),
    SM_METHOD("setResourceOptions:", "v@:Q", set_heap_options),
};
sm_class sm_heap_descriptor_class = {.name = "MTLHeapDescriptor", .size = sizeof(sm_heap_descriptor), SM_METHODS(heap_methods)};
SM_REGISTER_AT_LOAD(sm_heap_descriptor_class)
