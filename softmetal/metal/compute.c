/* MTLComputeCommandEncoder. */
#include "metal/commands.h"

#include <stdio.h>
#include <string.h>

#define SM_ON "MTLComputeCommandEncoder "
#define SM_CONSTANT_ALIGN 4
#define SM_THREADGROUP_ALIGN 16

typedef unsigned long long ull;

static sm_encoder *of(id self)
{
    return (sm_encoder *)self;
}

static void refuse_index(sm_encoder *encoder, const char *method, const char *what, NSUInteger index)
{
    sm_encoder_refuse(encoder, SM_COMMAND_INTERNAL, method, "%s index %llu is not below %d", what, (ull)index, SM_BUFFERS);
}

/* ---- Pipeline and arguments */

static void set_pipeline(id self, SEL cmd, id given)
{
    (void)cmd;
    const char *method = SM_ON "setComputePipelineState:";
    sm_encoder *encoder = of(self);
    if (!sm_encoder_open(encoder, method)) return;
    id pipeline = sm_expect_kind(given, &sm_pipeline_class, method);
    if (!pipeline) {
        sm_encoder_refuse(encoder, SM_COMMAND_INVALID_RESOURCE, method, "the pipeline is nil");
        return;
    }
    if (!sm_encoder_same_device(encoder, pipeline, method)) return;
    sm_store((id *)&encoder->pipeline, pipeline);
    sm_command_retain(encoder->buffer, pipeline);
}

static void bind(sm_encoder *encoder, id given, NSUInteger offset, NSUInteger index, const char *method)
{
    if (index >= SM_BUFFERS) {
        refuse_index(encoder, method, "buffer", index);
        return;
    }
    sm_buffer *buffer = (sm_buffer *)sm_expect_kind(given, &sm_buffer_class, method);
    encoder->buffers[index] = (sm_bound){0};
    if (!buffer || !sm_encoder_same_device(encoder, (id)buffer, method)) return;
    if (offset > buffer->length) {
        sm_encoder_refuse(encoder, SM_COMMAND_INVALID_RESOURCE, method,
                          "offset %llu at buffer index %llu is beyond the %llu bytes of buffer '%s'", (ull)offset, (ull)index,
                          (ull)buffer->length, sm_label_of(given, "without a label"));
        return;
    }
    if (sm_command_retain(encoder->buffer, (id)buffer))
        encoder->buffers[index] = (sm_bound){.buffer = buffer, .offset = offset, .length = buffer->length - offset};
}

static void set_buffer(id self, SEL cmd, id buffer, NSUInteger offset, NSUInteger index)
{
    (void)cmd;
    const char *method = SM_ON "setBuffer:offset:atIndex:";
    if (sm_encoder_open(of(self), method)) bind(of(self), buffer, offset, index, method);
}

static void set_buffers(id self, SEL cmd, const id *buffers, const NSUInteger *offsets, sm_range range)
{
    (void)cmd;
    const char *method = SM_ON "setBuffers:offsets:withRange:";
    if (!sm_encoder_open(of(self), method)) return;
    if (range.location > SM_BUFFERS || range.length > SM_BUFFERS - range.location) {
        refuse_index(of(self), method, "the range's last buffer", range.location + range.length - 1);
        return;
    }
    for (NSUInteger i = 0; i < range.length; i++) bind(of(self), buffers[i], offsets[i], range.location + i, method);
}

static void set_offset(id self, SEL cmd, NSUInteger offset, NSUInteger index)
{
    (void)cmd;
    const char *method = SM_ON "setBufferOffset:atIndex:";
    sm_encoder *encoder = of(self);
    if (!sm_encoder_open(encoder, method)) return;
    if (index >= SM_BUFFERS) {
        refuse_index(encoder, method, "buffer", index);
    } else if (!encoder->buffers[index].buffer) {
        sm_encoder_refuse(encoder, SM_COMMAND_INVALID_RESOURCE, method, "no buffer is set at index %llu", (ull)index);
    } else {
        bind(encoder, (id)encoder->buffers[index].buffer, offset, index, method);
    }
}

static void set_bytes(id self, SEL cmd, const void *bytes, NSUInteger length, NSUInteger index)
{
    (void)cmd;
    const char *method = SM_ON "setBytes:length:atIndex:";
    sm_encoder *encoder = of(self);
    if (!sm_encoder_open(encoder, method)) return;
    if (index >= SM_BUFFERS) {
        refuse_index(encoder, method, "buffer", index);
        return;
    }
    encoder->buffers[index] = (sm_bound){0};
    if (!bytes || length == 0 || length > SM_SET_BYTES_LIMIT) {
        sm_encoder_refuse(encoder, SM_COMMAND_INTERNAL, method, "%llu bytes at index %llu%s; from 1 to %d can be set so",
                          (ull)length, (ull)index, bytes ? "" : ", from a null pointer", SM_SET_BYTES_LIMIT);
        return;
    }
    void *copy = sm_command_memory(encoder->buffer, length);
    if (!copy) return;
    memcpy(copy, bytes, length);
    encoder->buffers[index] = (sm_bound){.bytes = copy, .length = length};
}

static void set_threadgroup(id self, SEL cmd, NSUInteger length, NSUInteger index)
{
    (void)cmd;
    const char *method = SM_ON "setThreadgroupMemoryLength:atIndex:";
    sm_encoder *encoder = of(self);
    if (!sm_encoder_open(encoder, method)) return;
    if (index >= SM_BUFFERS) {
        refuse_index(encoder, method, "threadgroup memory", index);
    } else if (length % SM_THREADGROUP_ALIGN != 0) {
        sm_encoder_refuse(encoder, SM_COMMAND_INTERNAL, method, "length %llu at threadgroup index %llu is not a multiple of %d",
                          (ull)length, (ull)index, SM_THREADGROUP_ALIGN);
    } else if (length > encoder->base.device->world.threadgroup_memory) {
        sm_encoder_refuse(encoder, SM_COMMAND_INTERNAL, method, "length %llu at threadgroup index %llu is over the device's %u",
                          (ull)length, (ull)index, encoder->base.device->world.threadgroup_memory);
    } else {
        encoder->threadgroup[index] = (uint32_t)length;
    }
}

/* ---- Is a dispatch in order */

static bool bound_well(sm_encoder *encoder, const sm_argument *argument, const char *method)
{
    const sm_bound *bound = &encoder->buffers[argument->index];
    const char *name = argument->name;
    if (!bound->buffer && !bound->bytes) {
        sm_encoder_refuse(encoder, SM_COMMAND_INVALID_RESOURCE, method, "missing buffer binding at index %u for '%s'",
                          argument->index, name);
        return false;
    }
    uint32_t align = argument->align ? argument->align : 1;
    if (argument->constant_space && align < SM_CONSTANT_ALIGN) align = SM_CONSTANT_ALIGN;
    if (bound->offset % align != 0) {
        sm_encoder_refuse(encoder, SM_COMMAND_INVALID_RESOURCE, method,
                          "offset %llu at buffer index %u for '%s' is not a multiple of %u", (ull)bound->offset,
                          argument->index, name, align);
        return false;
    }
    if (bound->length < argument->size) {
        sm_encoder_refuse(encoder, SM_COMMAND_INVALID_RESOURCE, method,
                          "the buffer at index %u for '%s' has %llu bytes from offset %llu, the argument needs at least %u",
                          argument->index, name, (ull)bound->length, (ull)bound->offset, argument->size);
        return false;
    }
    return true;
}

static bool threadgroup_well(sm_encoder *encoder, const sm_argument *argument, const char *method)
{
    uint32_t length = encoder->threadgroup[argument->index];
    if (length > 0 && length >= argument->size) return true;
    sm_encoder_refuse(
        encoder, SM_COMMAND_INTERNAL, method,
        "threadgroup memory at index %u for '%s' has %u bytes, the argument needs at least %u (setThreadgroupMemoryLength:)",
        argument->index, argument->name, length, argument->size ? argument->size : 1);
    return false;
}

static bool arguments_well(sm_encoder *encoder, const char *method)
{
    const sm_kernel *kernel = encoder->pipeline->built.kernel;
    bool well = true;
    for (uint32_t i = 0; i < kernel->argument_count; i++) {
        const sm_argument *argument = &kernel->arguments[i];
        if (argument->index >= SM_BUFFERS) continue;
        if (argument->kind == SM_ARGUMENT_BUFFER && !bound_well(encoder, argument, method)) well = false;
        if (argument->kind == SM_ARGUMENT_THREADGROUP && !threadgroup_well(encoder, argument, method)) well = false;
    }
    return well;
}

static bool threadgroup_fits(sm_encoder *encoder, sm_size group, const char *method)
{
    const sm_pipeline *pipeline = encoder->pipeline;
    if (group.width == 0 || group.height == 0 || group.depth == 0) {
        sm_encoder_refuse(encoder, SM_COMMAND_INTERNAL, method, "a threadgroup of %llu x %llu x %llu threads has none",
                          (ull)group.width, (ull)group.height, (ull)group.depth);
        return false;
    }
    uint64_t limit = pipeline->max_threads;
    bool over = group.width > limit || group.height > limit || group.depth > limit || group.width * group.height > limit ||
                group.width * group.height * group.depth > limit;
    if (over) {
        sm_encoder_refuse(
            encoder, SM_COMMAND_INTERNAL, method,
            "a threadgroup of %llu x %llu x %llu threads is over the pipeline's maxTotalThreadsPerThreadgroup, %llu",
            (ull)group.width, (ull)group.height, (ull)group.depth, (ull)limit);
        return false;
    }
    const sm_size *required = &pipeline->required;
    if (required->width != 0 &&
        (group.width != required->width || group.height != required->height || group.depth != required->depth)) {
        sm_encoder_refuse(encoder, SM_COMMAND_INTERNAL, method,
                          "a threadgroup of %llu x %llu x %llu threads is not the pipeline's requiredThreadsPerThreadgroup, "
                          "%llu x %llu x %llu",
                          (ull)group.width, (ull)group.height, (ull)group.depth, (ull)required->width, (ull)required->height,
                          (ull)required->depth);
        return false;
    }
    if (pipeline->whole_simdgroups && group.width * group.height * group.depth % SM_LANES != 0) {
        sm_encoder_refuse(encoder, SM_COMMAND_INTERNAL, method,
                          "a threadgroup of %llu threads is no multiple of %d, which the pipeline promised "
                          "(threadGroupSizeIsMultipleOfThreadExecutionWidth)",
                          (ull)(group.width * group.height * group.depth), SM_LANES);
        return false;
    }
    return true;
}

static bool memory_fits(sm_encoder *encoder, const char *method)
{
    uint64_t limit = encoder->base.device->world.threadgroup_memory, own = encoder->pipeline->built.kernel->threadgroup_bytes,
             set = 0;
    for (size_t i = 0; i < SM_BUFFERS; i++) set += encoder->threadgroup[i];
    if (own + set <= limit) return true;
    sm_encoder_refuse(encoder, SM_COMMAND_INTERNAL, method,
                      "%llu bytes of threadgroup memory (%llu the kernel's own, %llu set) are over the device's %llu",
                      (ull)(own + set), (ull)own, (ull)set, (ull)limit);
    return false;
}

static bool dispatch_well(sm_encoder *encoder, sm_size group, const char *method)
{
    if (!sm_encoder_open(encoder, method)) return false;
    if (!encoder->pipeline) {
        sm_encoder_refuse(encoder, SM_COMMAND_INTERNAL, method, "no pipeline is set");
        return false;
    }
    return threadgroup_fits(encoder, group, method) && memory_fits(encoder, method) && arguments_well(encoder, method);
}

/* Threads of one axis; more than the executor counts are more than a GPU does too. */
static bool grid_well(sm_encoder *encoder, const char *method, sm_size grid, const char *unit)
{
    if (grid.width == 0 || grid.height == 0 || grid.depth == 0) {
        sm_encoder_refuse(encoder, SM_COMMAND_INTERNAL, method, "a grid of %llu x %llu x %llu %s has none", (ull)grid.width,
                          (ull)grid.height, (ull)grid.depth, unit);
        return false;
    }
    if (grid.width > UINT32_MAX || grid.height > UINT32_MAX || grid.depth > UINT32_MAX) {
        sm_encoder_refuse(encoder, SM_COMMAND_INTERNAL, method,
                          "a grid of %llu x %llu x %llu %s has 2^32 or more along an axis", (ull)grid.width, (ull)grid.height,
                          (ull)grid.depth, unit);
        return false;
    }
    return true;
}

/* ---- Dispatching */

static void fill_binding(sm_encoder *encoder, sm_dispatch *dispatch, uint32_t index)
{
    const sm_bound *bound = &encoder->buffers[index];
    sm_binding *binding = &dispatch->buffers[index];
    binding->bytes = bound->bytes;
    binding->length = bound->length;
    if (!bound->buffer) return;
    sm_storage *storage = bound->buffer->storage;
    binding->memory = &storage->memory;
    binding->offset = bound->buffer->offset + bound->offset;
    sm_command_use(encoder->buffer, storage);
}

/* Only what the kernel takes is bound: what else is set is not used, and stays open to the CPU. */
static sm_dispatch_command *add_dispatch(sm_encoder *encoder, sm_size group)
{
    sm_dispatch_command *command = sm_record(encoder->buffer, SM_DISPATCH, encoder->index, sizeof *command);
    if (!command) return NULL;
    const sm_built *built = &encoder->pipeline->built;
    sm_dispatch *dispatch = &command->dispatch;
    command->pipeline = encoder->pipeline;
    dispatch->kernel = built->kernel;
    dispatch->services = built->services;
    dispatch->checked = built->checked;
    dispatch->object = built->object;
    dispatch->cancel = (const volatile bool *)&encoder->base.device->removed;
    dispatch->group[0] = (uint32_t)group.width;
    dispatch->group[1] = (uint32_t)group.height;
    dispatch->group[2] = (uint32_t)group.depth;
    memcpy(dispatch->threadgroup_bytes, encoder->threadgroup, sizeof dispatch->threadgroup_bytes);
    for (uint32_t i = 0; i < built->kernel->argument_count; i++) {
        const sm_argument *argument = &built->kernel->arguments[i];
        if (argument->kind == SM_ARGUMENT_BUFFER && argument->index < SM_BUFFERS)
            fill_binding(encoder, dispatch, argument->index);
    }
    encoder->buffer->dispatches++;
    return command;
}

static void add_grid(sm_encoder *encoder, sm_size grid, sm_size group)
{
    sm_dispatch_command *command = add_dispatch(encoder, group);
    if (!command) return;
    command->dispatch.grid[0] = (uint32_t)grid.width;
    command->dispatch.grid[1] = (uint32_t)grid.height;
    command->dispatch.grid[2] = (uint32_t)grid.depth;
}

static void dispatch_threadgroups(id self, SEL cmd, sm_size groups, sm_size group)
{
    (void)cmd;
    const char *method = SM_ON "dispatchThreadgroups:threadsPerThreadgroup:";
    if (!dispatch_well(of(self), group, method) || !grid_well(of(self), method, groups, "threadgroups")) return;
    sm_size grid = {groups.width * group.width, groups.height * group.height, groups.depth * group.depth};
    if (grid_well(of(self), method, grid, "threads")) add_grid(of(self), grid, group);
}

static void dispatch_threads(id self, SEL cmd, sm_size grid, sm_size group)
{
    (void)cmd;
    const char *method = SM_ON "dispatchThreads:threadsPerThreadgroup:";
    if (dispatch_well(of(self), group, method) && grid_well(of(self), method, grid, "threads")) add_grid(of(self), grid, group);
}

static void dispatch_indirect(id self, SEL cmd, id given, NSUInteger offset, sm_size group)
{
    (void)cmd;
    const char *method = SM_ON "dispatchThreadgroupsWithIndirectBuffer:indirectBufferOffset:threadsPerThreadgroup:";
    sm_encoder *encoder = of(self);
    if (!dispatch_well(encoder, group, method)) return;
    sm_buffer *buffer = (sm_buffer *)sm_expect_kind(given, &sm_buffer_class, method);
    if (!buffer) {
        sm_encoder_refuse(encoder, SM_COMMAND_INVALID_RESOURCE, method, "the indirect buffer is nil");
        return;
    }
    if (!sm_encoder_same_device(encoder, given, method)) return;
    if (offset % 4 != 0 || offset > buffer->length || buffer->length - offset < 12) {
        sm_encoder_refuse(
            encoder, SM_COMMAND_INVALID_RESOURCE, method,
            "three counts of 4 bytes do not lie at offset %llu of the indirect buffer's %llu bytes, at a multiple of 4",
            (ull)offset, (ull)buffer->length);
        return;
    }
    sm_dispatch_command *command = add_dispatch(encoder, group);
    if (!command) return;
    sm_command_retain(encoder->buffer, given);
    sm_command_use(encoder->buffer, buffer->storage);
    command->indirect = buffer->storage;
    command->indirect_offset = buffer->offset + offset;
}

/* ---- Order */

static void barrier_with_scope(id self, SEL cmd, NSUInteger scope)
{
    (void)cmd;
    if (!sm_encoder_open(of(self), SM_ON "memoryBarrierWithScope:")) return;
    if (scope & SM_BARRIER_BUFFERS) sm_encoder_barrier(of(self), NULL, 0); /* kernels here touch nothing else */
}

static void barrier_with_resources(id self, SEL cmd, const id *resources, NSUInteger count)
{
    (void)cmd;
    const char *method = SM_ON "memoryBarrierWithResources:count:";
    if (!sm_encoder_open(of(self), method)) return;
    for (NSUInteger i = 0; i < count; i++) {
        id resource = sm_expect_kind(resources[i], &sm_resource_class, method);
        if (!resource) {
            sm_encoder_refuse(of(self), SM_COMMAND_INVALID_RESOURCE, method, "resource %llu is nil", (ull)i);
            return;
        }
        if (!sm_encoder_same_device(of(self), resource, method)) return;
    }
    if (count > 0) sm_encoder_barrier(of(self), resources, count);
}

static void update_fence(id self, SEL cmd, id fence)
{
    (void)cmd;
    sm_encoder_fence(of(self), fence, SM_UPDATE_FENCE, SM_ON "updateFence:");
}

static void wait_fence(id self, SEL cmd, id fence)
{
    (void)cmd;
    sm_encoder_fence(of(self), fence, SM_WAIT_FENCE, SM_ON "waitForFence:");
}

static void sample_counters(id self, SEL cmd, id samples, NSUInteger index, BOOL barrier)
{
    (void)cmd;
    sm_encoder_sample(of(self), samples, index, barrier, SM_ON "sampleCountersInBuffer:atSampleIndex:withBarrier:");
}

static NSUInteger dispatch_type(id self, SEL cmd)
{
    (void)cmd;
    return of(self)->type;
}

/* ---- Residency: memory that kernels reach through addresses */

static void use_storage(sm_storage *storage, void *context)
{
    sm_command_use(context, storage);
}

static void use(sm_encoder *encoder, id given, Class class, const char *method)
{
    id allocation = sm_expect_kind(given, class, method);
    if (!allocation || !sm_encoder_same_device(encoder, allocation, method)) return;
    sm_command_retain(encoder->buffer, allocation);
    sm_each_storage(allocation, use_storage, encoder->buffer);
}

static void use_resource(id self, SEL cmd, id resource, NSUInteger usage)
{
    (void)cmd, (void)usage;
    const char *method = SM_ON "useResource:usage:";
    if (sm_encoder_open(of(self), method)) use(of(self), resource, &sm_resource_class, method);
}

static void use_resources(id self, SEL cmd, const id *resources, NSUInteger count, NSUInteger usage)
{
    for (NSUInteger i = 0; i < count; i++) use_resource(self, cmd, resources[i], usage);
}

static void use_heap(id self, SEL cmd, id heap)
{
    (void)cmd;
    const char *method = SM_ON "useHeap:";
    if (sm_encoder_open(of(self), method)) use(of(self), heap, &sm_heap_class, method);
}

static void use_heaps(id self, SEL cmd, const id *heaps, NSUInteger count)
{
    for (NSUInteger i = 0; i < count; i++) use_heap(self, cmd, heaps[i]);
}

/* ---- What only graphics and ray tracing need */

static void refuse_kind(id self, const char *what)
{
    sm_encoder_refuse(of(self), SM_COMMAND_INVALID_RESOURCE, SM_ON "arguments", "softmetal has no %s", what);
}

static void set_texture(id self, SEL cmd, id texture, NSUInteger index)
{
    (void)cmd, (void)index;
    if (texture) refuse_kind(self, "textures");
}

static void set_sampler(id self, SEL cmd, id sampler, NSUInteger index)
{
    (void)cmd, (void)index;
    if (sampler) refuse_kind(self, "samplers");
}

static void execute_indirect(id self, SEL cmd, id commands, sm_range range)
{
    (void)cmd, (void)commands, (void)range;
    refuse_kind(self, "indirect command buffers");
}

static void execute_indirect_range(id self, SEL cmd, id commands, id buffer, NSUInteger offset)
{
    (void)cmd, (void)commands, (void)buffer, (void)offset;
    refuse_kind(self, "indirect command buffers");
}

static const sm_method methods[] = {
    SM_METHOD("dispatchType", "Q@:", dispatch_type),
    SM_METHOD("setComputePipelineState:", "v@:@", set_pipeline),
    SM_METHOD("setBuffer:offset:atIndex:", "v@:@QQ", set_buffer),
    SM_METHOD("setBuffers:offsets:withRange:", "v@:^@^Q" SM_RANGE_TYPE, set_buffers),
    SM_METHOD("setBufferOffset:atIndex:", "v@:QQ", set_offset),
    SM_METHOD("setBytes:length:atIndex:", "v@:^vQQ", set_bytes),
    SM_METHOD("setThreadgroupMemoryLength:atIndex:", "v@:QQ", set_threadgroup),
    SM_METHOD("dispatchThreadgroups:threadsPerThreadgroup:", "v@:" SM_SIZE_TYPE SM_SIZE_TYPE, dispatch_threadgroups),
    SM_METHOD("dispatchThreads:threadsPerThreadgroup:", "v@:" SM_SIZE_TYPE SM_SIZE_TYPE, dispatch_threads),
    SM_METHOD("dispatchThreadgroupsWithIndirectBuffer:indirectBufferOffset:threadsPerThreadgroup:", "v@:@Q" SM_SIZE_TYPE,
              dispatch_indirect),
    SM_METHOD("memoryBarrierWithScope:", "v@:Q", barrier_with_scope),
    SM_METHOD("memoryBarrierWithResources:count:", "v@:^@Q", barrier_with_resources),
    SM_METHOD("updateFence:", "v@:@", update_fence),
    SM_METHOD("waitForFence:", "v@:@", wait_fence),
    SM_METHOD("sampleCountersInBuffer:atSampleIndex:withBarrier:", "v@:@QB", sample_counters),
    SM_METHOD("useResource:usage:", "v@:@Q", use_resource),
    SM_METHOD("useResources:count:usage:", "v@:^@QQ", use_resources),
    SM_METHOD("useHeap:", "v@:@", use_heap),
    SM_METHOD("useHeaps:count:", "v@:^@Q", use_heaps),
    SM_METHOD("setTexture:atIndex:", "v@:@Q", set_texture),
    SM_METHOD("setSamplerState:atIndex:", "v@:@Q", set_sampler),
    SM_METHOD("executeCommandsInBuffer:withRange:", "v@:@" SM_RANGE_TYPE, execute_indirect),
    SM_METHOD("executeCommandsInBuffer:indirectBuffer:indirectBufferOffset:", "v@:@@Q", execute_indirect_range),
};
sm_class sm_compute_encoder_class = {.name = "SoftMTLComputeCommandEncoder",
                                     .protocol = "MTLComputeCommandEncoder",
                                     .super = &sm_command_encoder_class,
                                     .size = sizeof(sm_encoder),
                                     SM_METHODS(methods)};
SM_REGISTER_AT_LOAD(sm_compute_encoder_class)
