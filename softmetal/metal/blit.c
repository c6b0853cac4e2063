/* MTLBlitCommandEncoder, as far as buffers go. */
#include "metal/commands.h"

#include <string.h>

#define SM_ON "MTLBlitCommandEncoder "
#define SM_BLIT_ALIGN 4 /* of offsets and sizes, on macOS */

typedef unsigned long long ull;

static sm_encoder *of(id self)
{
    return (sm_encoder *)self;
}

/* The buffer, if `bytes` of it from `offset` on may be used. */
static sm_buffer *part(sm_encoder *encoder, id given, const char *role, NSUInteger offset, NSUInteger bytes, const char *method)
{
    sm_buffer *buffer = (sm_buffer *)sm_expect_kind(given, &sm_buffer_class, method);
    if (!buffer) {
        sm_encoder_refuse(encoder, SM_COMMAND_INVALID_RESOURCE, method, "the %s is nil", role);
        return NULL;
    }
    if (!sm_encoder_same_device(encoder, given, method)) return NULL;
    if (offset > buffer->length || bytes > buffer->length - offset) {
        sm_encoder_refuse(encoder, SM_COMMAND_INVALID_RESOURCE, method,
                          "%llu bytes from offset %llu are not inside the %llu of the %s '%s'", (ull)bytes, (ull)offset,
                          (ull)buffer->length, role, sm_label_of(given, "without a label"));
        return NULL;
    }
    if (offset % SM_BLIT_ALIGN != 0 || bytes % SM_BLIT_ALIGN != 0) {
        sm_encoder_refuse(encoder, SM_COMMAND_INVALID_RESOURCE, method,
                          "%llu bytes from offset %llu of the %s: both must be multiples of %d", (ull)bytes, (ull)offset, role,
                          SM_BLIT_ALIGN);
        return NULL;
    }
    return buffer;
}

static sm_copy_command *add(sm_encoder *encoder, sm_command_kind kind, sm_buffer *to, NSUInteger offset, NSUInteger bytes)
{
    sm_copy_command *command = sm_record(encoder->buffer, kind, encoder->index, sizeof *command);
    if (!command) return NULL;
    sm_command_retain(encoder->buffer, (id)to);
    sm_command_use(encoder->buffer, to->storage);
    command->to = to->storage;
    command->to_offset = to->offset + offset;
    command->bytes = bytes;
    return command;
}

static void copy(id self, SEL cmd, id source, NSUInteger source_offset, id destination, NSUInteger destination_offset,
                 NSUInteger bytes)
{
    (void)cmd;
    const char *method = SM_ON "copyFromBuffer:sourceOffset:toBuffer:destinationOffset:size:";
    sm_encoder *encoder = of(self);
    if (!sm_encoder_open(encoder, method)) return;
    sm_buffer *from = part(encoder, source, "source", source_offset, bytes, method);
    sm_buffer *to = from ? part(encoder, destination, "destination", destination_offset, bytes, method) : NULL;
    if (!to || bytes == 0) return;
    if (from == to && source_offset < destination_offset + bytes && destination_offset < source_offset + bytes) {
        sm_encoder_refuse(encoder, SM_COMMAND_INVALID_RESOURCE, method,
                          "%llu bytes from offset %llu overlap those at offset %llu of the same buffer", (ull)bytes,
                          (ull)source_offset, (ull)destination_offset);
        return;
    }
    sm_copy_command *command = add(encoder, SM_COPY, to, destination_offset, bytes);
    if (!command) return;
    sm_command_retain(encoder->buffer, source);
    sm_command_use(encoder->buffer, from->storage);
    command->from = from->storage;
    command->from_offset = from->offset + source_offset;
}

static void fill(id self, SEL cmd, id given, sm_range range, uint8_t value)
{
    (void)cmd;
    const char *method = SM_ON "fillBuffer:range:value:";
    sm_encoder *encoder = of(self);
    if (!sm_encoder_open(encoder, method)) return;
    sm_buffer *buffer = part(encoder, given, "buffer", range.location, range.length, method);
    if (!buffer) return;
    if (range.length == 0) {
        sm_encoder_refuse(encoder, SM_COMMAND_INVALID_RESOURCE, method, "the range is empty");
        return;
    }
    sm_copy_command *command = add(encoder, SM_FILL, buffer, range.location, range.length);
    if (command) command->value = value;
}

static void synchronize(id self, SEL cmd, id given)
{
    (void)cmd;
    const char *method = SM_ON "synchronizeResource:";
    sm_encoder *encoder = of(self);
    if (!sm_encoder_open(encoder, method)) return;
    sm_buffer *buffer = (sm_buffer *)sm_expect_kind(given, &sm_resource_class, method);
    if (!buffer || !sm_encoder_same_device(encoder, given, method)) return;
    if (SM_OPTIONS_STORAGE(buffer->options) != SM_STORAGE_MANAGED)
        sm_encoder_refuse(encoder, SM_COMMAND_INVALID_RESOURCE, method,
                          "buffer '%s' is not managed; only managed ones have two copies",
                          sm_label_of(given, "without a label"));
    else if (buffer->length > 0)
        add(encoder, SM_SYNCHRONIZE, buffer, 0, buffer->length);
}

static void resolve(id self, SEL cmd, id given, sm_range range, id destination, NSUInteger offset)
{
    (void)cmd;
    const char *method = SM_ON "resolveCounters:inRange:destinationBuffer:destinationOffset:";
    sm_encoder *encoder = of(self);
    if (!sm_encoder_open(encoder, method)) return;
    sm_sample_buffer *samples = (sm_sample_buffer *)sm_expect_kind(given, &sm_sample_buffer_class, method);
    if (!samples || !sm_encoder_same_device(encoder, given, method)) return;
    if (range.location > samples->count || range.length > samples->count - range.location) {
        sm_encoder_refuse(encoder, SM_COMMAND_INVALID_RESOURCE, method, "samples {%llu, %llu} are not among the buffer's %zu",
                          (ull)range.location, (ull)range.length, samples->count);
        return;
    }
    NSUInteger bytes = range.length * samples->words * sizeof *samples->samples;
    sm_buffer *to = part(encoder, destination, "destination", offset, bytes, method);
    sm_copy_command *command = to && bytes ? add(encoder, SM_RESOLVE, to, offset, bytes) : NULL;
    if (!command) return;
    sm_command_retain(encoder->buffer, given);
    command->samples = samples;
    command->from_offset = range.location;
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

/* Where textures lie in memory is all that these are about. */
static void optimize(id self, SEL cmd, id resource)
{
    (void)cmd, (void)resource;
    sm_encoder_open(of(self), SM_ON "optimizeContents");
}

static const sm_method methods[] = {
    SM_METHOD("copyFromBuffer:sourceOffset:toBuffer:destinationOffset:size:", "v@:@Q@QQ", copy),
    SM_METHOD("fillBuffer:range:value:", "v@:@" SM_RANGE_TYPE "C", fill),
    SM_METHOD("synchronizeResource:", "v@:@", synchronize),
    SM_METHOD("resolveCounters:inRange:destinationBuffer:destinationOffset:", "v@:@" SM_RANGE_TYPE "@Q", resolve),
    SM_METHOD("updateFence:", "v@:@", update_fence),
    SM_METHOD("waitForFence:", "v@:@", wait_fence),
    SM_METHOD("sampleCountersInBuffer:atSampleIndex:withBarrier:", "v@:@QB", sample_counters),
    SM_METHOD("optimizeContentsForGPUAccess:", "v@:@", optimize),
    SM_METHOD("optimizeContentsForCPUAccess:", "v@:@", optimize),
};
sm_class sm_blit_encoder_class = {.name = "SoftMTLBlitCommandEncoder",
                                  .protocol = "MTLBlitCommandEncoder",
                                  .super = &sm_command_encoder_class,
                                  .size = sizeof(sm_encoder),
                                  SM_METHODS(methods)};
SM_REGISTER_AT_LOAD(sm_blit_encoder_class)
