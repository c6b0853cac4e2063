/* MTLCommandBuffer: what a host sees of one. */
#include "metal/commands.h"

#include <stdlib.h>
#include <string.h>

static sm_command_buffer *of(id self)
{
    return (sm_command_buffer *)self;
}

static const char *name_of(id self)
{
    return sm_label_of(self, "without a label");
}

/* ---- Making and ending */

id sm_command_buffer_create(sm_queue *queue, bool retains, NSUInteger error_options, id log_state)
{
    sm_command_buffer *buffer = of(sm_base_new(&sm_command_buffer_class, queue->base.device));
    sm_completion *completion = buffer ? sm_allocate(sizeof *completion) : NULL;
    if (!completion) {
        sm_release((id)buffer);
        return NULL;
    }
    completion->references = 1;
    buffer->completion = completion;
    buffer->queue = (sm_queue *)sm_retain((id)queue);
    buffer->line = queue->line;
    sm_line_retain(buffer->line);
    buffer->retains = retains;
    buffer->error_options = error_options;
    buffer->log_state = sm_retain(log_state);
    buffer->creator = pthread_self();
    buffer->end = &buffer->first;
    buffer->faulty = UINT32_MAX;
    sm_line_enter(buffer->line);
    atomic_fetch_add(&sm_counts.command_buffers, 1);
    return sm_autorelease((id)buffer);
}

static void free_handlers(sm_handlers *handlers)
{
    for (size_t i = 0; i < handlers->count; i++) sm_block_release(handlers->blocks[i]);
    free(handlers->blocks);
}

static void dealloc(id self)
{
    sm_command_buffer *buffer = of(self);
    if (!buffer->completion) {
        sm_base_dealloc(self);
        return;
    }
    if (!buffer->committed) sm_line_leave(buffer);
    sm_command_buffer_clear(buffer);
    free_handlers(&buffer->scheduled);
    free_handlers(&buffer->completed);
    for (size_t i = 0; i < buffer->info_count; i++) sm_release((id)buffer->infos[i]);
    free(buffer->infos);
    if (atomic_fetch_sub(&buffer->completion->references, 1) == 1) free(buffer->completion);
    sm_release(buffer->error);
    sm_release(buffer->log_state);
    sm_line *line = buffer->line;
    sm_release((id)buffer->queue);
    sm_line_release(line);
    sm_base_dealloc(self);
}

/* ---- Encoding */

/* True if something may still be encoded. */
static bool may_encode(sm_command_buffer *buffer, const char *method)
{
    if (buffer->committed) {
        sm_misuse(method, "command buffer '%s' was committed already", name_of((id)buffer));
        return false;
    }
    if (buffer->open) {
        sm_misuse(method, "encoder '%s' of command buffer '%s' is still open; a command buffer has one open encoder at a time",
                  sm_label_of((id)buffer->open, "without a label"), name_of((id)buffer));
        sm_command_refuse(buffer, UINT32_MAX, SM_COMMAND_INTERNAL, "encoded while another encoder was open");
        return false;
    }
    return true;
}

static id compute_encoder(sm_command_buffer *buffer, NSUInteger type, id pass, const char *method)
{
    if (!may_encode(buffer, method)) return NULL;
    if (type > SM_CONCURRENT) {
        sm_misuse(method, "dispatch type %llu is neither serial (0) nor concurrent (1)", (unsigned long long)type);
        return NULL;
    }
    return sm_encoder_create(buffer, SM_COMPUTE, type, pass);
}

static id compute(id self, SEL cmd)
{
    (void)cmd;
    return compute_encoder(of(self), SM_SERIAL, NULL, "MTLCommandBuffer computeCommandEncoder");
}

static id compute_of_type(id self, SEL cmd, NSUInteger type)
{
    (void)cmd;
    return compute_encoder(of(self), type, NULL, "MTLCommandBuffer computeCommandEncoderWithDispatchType:");
}

static id compute_of_pass(id self, SEL cmd, id pass)
{
    (void)cmd;
    const char *method = "MTLCommandBuffer computeCommandEncoderWithDescriptor:";
    pass = sm_expect_kind(pass, &sm_compute_pass_class, method);
    if (!pass) return NULL;
    return compute_encoder(of(self), ((sm_pass *)pass)->dispatchType, pass, method);
}

static id blit(id self, SEL cmd)
{
    (void)cmd;
    return may_encode(of(self), "MTLCommandBuffer blitCommandEncoder") ? sm_encoder_create(of(self), SM_BLIT, SM_SERIAL, NULL)
                                                                       : NULL;
}

static id blit_of_pass(id self, SEL cmd, id pass)
{
    (void)cmd;
    const char *method = "MTLCommandBuffer blitCommandEncoderWithDescriptor:";
    pass = sm_expect_kind(pass, &sm_blit_pass_class, method);
    return pass && may_encode(of(self), method) ? sm_encoder_create(of(self), SM_BLIT, SM_SERIAL, pass) : NULL;
}

static void encode_event(sm_command_buffer *buffer, sm_command_kind kind, id event, uint64_t value, const char *method)
{
    if (!may_encode(buffer, method)) return;
    event = sm_expect_kind(event, &sm_event_class, method);
    if (!event) return;
    if (!sm_is_kind(event, &sm_shared_event_class) && ((sm_event *)event)->base.device != buffer->base.device) {
        sm_misuse(method, "event '%s' is of another device", name_of(event));
        sm_command_refuse(buffer, UINT32_MAX, SM_COMMAND_INVALID_RESOURCE, "an event of another device");
        return;
    }
    sm_command_retain(buffer, event);
    sm_event_command *command = sm_record(buffer, kind, UINT32_MAX, sizeof *command);
    if (!command) return;
    command->event = (sm_event *)event;
    command->value = value;
}

static void encode_wait(id self, SEL cmd, id event, uint64_t value)
{
    (void)cmd;
    encode_event(of(self), SM_WAIT, event, value, "MTLCommandBuffer encodeWaitForEvent:value:");
}

static void encode_signal(id self, SEL cmd, id event, uint64_t value)
{
    (void)cmd;
    encode_event(of(self), SM_SIGNAL, event, value, "MTLCommandBuffer encodeSignalEvent:value:");
}

static void use_residency_set(id self, SEL cmd, id set)
{
    (void)cmd;
    const char *method = "MTLCommandBuffer useResidencySet:";
    if (of(self)->base.device->world.macos_major < 15) {
        sm_reportf(SOFTMETAL_UNKNOWN_SELECTOR, "[%s]: macOS %u has no residency sets", method,
                   of(self)->base.device->world.macos_major);
        return;
    }
    set = sm_expect_kind(set, &sm_residency_set_class, method);
    if (set) sm_command_retain(of(self), set);
}

static void use_residency_sets(id self, SEL cmd, const id *sets, NSUInteger count)
{
    for (NSUInteger i = 0; i < count; i++) use_residency_set(self, cmd, sets[i]);
}

static void push_group(id self, SEL cmd, id name)
{
    (void)self, (void)cmd, (void)name;
}
static void pop_group(id self, SEL cmd)
{
    (void)self, (void)cmd;
}

/* ---- Committing */

static void add_handler(sm_command_buffer *buffer, sm_handlers *handlers, const void *block, const char *method)
{
    if (buffer->committed) {
        sm_misuse(method, "command buffer '%s' was committed already: the handler may never be called, and is not taken",
                  name_of((id)buffer));
        return;
    }
    if (!block) {
        sm_misuse(method, "the handler is nil");
        return;
    }
    void **blocks = sm_reallocate(handlers->blocks, (handlers->count + 1) * sizeof *blocks);
    if (!blocks) return;
    handlers->blocks = blocks;
    void *copy = sm_block_copy(block);
    if (copy) blocks[handlers->count++] = copy;
}

static void add_scheduled(id self, SEL cmd, const void *block)
{
    (void)cmd;
    add_handler(of(self), &of(self)->scheduled, block, "MTLCommandBuffer addScheduledHandler:");
}

static void add_completed(id self, SEL cmd, const void *block)
{
    (void)cmd;
    add_handler(of(self), &of(self)->completed, block, "MTLCommandBuffer addCompletedHandler:");
}

static void enqueue(id self, SEL cmd)
{
    (void)cmd;
    if (of(self)->enqueued || of(self)->committed)
        sm_misuse("MTLCommandBuffer enqueue", "command buffer '%s' is enqueued already", name_of(self));
    else
        sm_line_enqueue(of(self));
}

static void commit(id self, SEL cmd)
{
    (void)cmd;
    sm_command_buffer *buffer = of(self);
    if (buffer->committed) {
        sm_misuse("MTLCommandBuffer commit", "command buffer '%s' was committed already", name_of(self));
        return;
    }
    if (buffer->open) {
        sm_misuse("MTLCommandBuffer commit", "encoder '%s' of command buffer '%s' was not ended",
                  sm_label_of((id)buffer->open, "without a label"), name_of(self));
        sm_command_refuse(buffer, buffer->open->index, SM_COMMAND_INTERNAL, "committed with an open encoder");
        sm_encoder_orphan(buffer->open);
    }
    sm_line_commit(buffer);
}

static void wait_scheduled(id self, SEL cmd)
{
    (void)cmd;
    sm_line_wait(of(self), false);
}

static void wait_completed(id self, SEL cmd)
{
    (void)cmd;
    sm_line_wait(of(self), true);
}

/* ---- Properties */

static NSUInteger status(id self, SEL cmd)
{
    (void)cmd;
    return (NSUInteger)atomic_load(&of(self)->status);
}

/* The line writes these before it says that the buffer completed. */
static id error(id self, SEL cmd)
{
    (void)cmd;
    return atomic_load(&of(self)->status) == SM_FAILED ? of(self)->error : NULL;
}

static double when(id self, double time, int status_needed)
{
    return atomic_load(&of(self)->status) >= status_needed ? time : 0.0;
}

static double gpu_start(id self, SEL cmd)
{
    (void)cmd;
    return when(self, of(self)->gpu_start, SM_COMPLETED);
}

static double gpu_end(id self, SEL cmd)
{
    (void)cmd;
    return when(self, of(self)->gpu_end, SM_COMPLETED);
}

static double kernel_start(id self, SEL cmd)
{
    (void)cmd;
    return when(self, of(self)->kernel_start, SM_COMPLETED);
}

static double kernel_end(id self, SEL cmd)
{
    (void)cmd;
    return when(self, of(self)->kernel_end, SM_COMPLETED);
}

static id queue(id self, SEL cmd)
{
    (void)cmd;
    return (id)of(self)->queue;
}

static BOOL retained_references(id self, SEL cmd)
{
    (void)cmd;
    return of(self)->retains;
}

SM_GETTER(sm_command_buffer, error_options, NSUInteger)

static id logs(id self, SEL cmd)
{
    (void)self, (void)cmd;
    return NULL;
}

static void no_drawable(id self, SEL cmd, id drawable)
{
    (void)cmd, (void)drawable;
    sm_misuse("MTLCommandBuffer presentDrawable:", "command buffer '%s': softmetal has no screen", name_of(self));
}

static void no_drawable_at(id self, SEL cmd, id drawable, double time)
{
    (void)time;
    no_drawable(self, cmd, drawable);
}

static id no_encoder(id self, SEL cmd)
{
    (void)cmd;
    sm_misuse("MTLCommandBuffer encoders", "command buffer '%s': softmetal has compute and blit encoders only", name_of(self));
    return NULL;
}

static id no_encoder_of_pass(id self, SEL cmd, id pass)
{
    (void)pass;
    return no_encoder(self, cmd);
}

static const sm_method methods[] = {
    SM_DEVICE_METHOD,
    SM_LABEL_METHODS,
    SM_METHOD("commandQueue", "@@:", queue),
    SM_METHOD("retainedReferences", "B@:", retained_references),
    SM_METHOD("errorOptions", "Q@:", get_error_options),
    SM_METHOD("logs", "@@:", logs),
    SM_METHOD("computeCommandEncoder", "@@:", compute),
    SM_METHOD("computeCommandEncoderWithDispatchType:", "@@:Q", compute_of_type),
    SM_METHOD("computeCommandEncoderWithDescriptor:", "@@:@", compute_of_pass),
    SM_METHOD("blitCommandEncoder", "@@:", blit),
    SM_METHOD("blitCommandEncoderWithDescriptor:", "@@:@", blit_of_pass),
    SM_METHOD("renderCommandEncoderWithDescriptor:", "@@:@", no_encoder_of_pass),
    SM_METHOD("parallelRenderCommandEncoderWithDescriptor:", "@@:@", no_encoder_of_pass),
    SM_METHOD("accelerationStructureCommandEncoder", "@@:", no_encoder),
    SM_METHOD("accelerationStructureCommandEncoderWithDescriptor:", "@@:@", no_encoder_of_pass),
    SM_METHOD("resourceStateCommandEncoder", "@@:", no_encoder),
    SM_METHOD("resourceStateCommandEncoderWithDescriptor:", "@@:@", no_encoder_of_pass),
    SM_METHOD("encodeWaitForEvent:value:", "v@:@Q", encode_wait),
    SM_METHOD("encodeSignalEvent:value:", "v@:@Q", encode_signal),
    SM_METHOD("useResidencySet:", "v@:@", use_residency_set),
    SM_METHOD("useResidencySets:count:", "v@:^@Q", use_residency_sets),
    SM_METHOD("pushDebugGroup:", "v@:@", push_group),
    SM_METHOD("popDebugGroup", "v@:", pop_group),
    SM_METHOD("addScheduledHandler:", "v@:@?", add_scheduled),
    SM_METHOD("addCompletedHandler:", "v@:@?", add_completed),
    SM_METHOD("enqueue", "v@:", enqueue),
    SM_METHOD("commit", "v@:", commit),
    SM_METHOD("waitUntilScheduled", "v@:", wait_scheduled),
    SM_METHOD("waitUntilCompleted", "v@:", wait_completed),
    SM_METHOD("status", "Q@:", status),
    SM_METHOD("error", "@@:", error),
    SM_METHOD("GPUStartTime", "d@:", gpu_start),
    SM_METHOD("GPUEndTime", "d@:", gpu_end),
    SM_METHOD("kernelStartTime", "d@:", kernel_start),
    SM_METHOD("kernelEndTime", "d@:", kernel_end),
    SM_METHOD("presentDrawable:", "v@:@", no_drawable),
    SM_METHOD("presentDrawable:atTime:", "v@:@d", no_drawable_at),
    SM_METHOD("presentDrawable:afterMinimumDuration:", "v@:@d", no_drawable_at),
};
sm_class sm_command_buffer_class = {.name = "SoftMTLCommandBuffer",
                                    .protocol = "MTLCommandBuffer",
                                    .size = sizeof(sm_command_buffer),
                                    .dealloc = dealloc,
                                    SM_METHODS(methods)};
SM_REGISTER_AT_LOAD(sm_command_buffer_class)

/* ---- What an error tells of an encoder */

SM_GETTER(sm_encoder_info, label, id)
SM_GETTER(sm_encoder_info, signposts, id)
SM_GETTER(sm_encoder_info, errorState, NSInteger)

static void info_dealloc(id self)
{
    sm_release(((sm_encoder_info *)self)->label);
    sm_release(((sm_encoder_info *)self)->signposts);
}

static const sm_method info_methods[] = {
    SM_METHOD("label", "@@:", get_label),
    SM_METHOD("debugSignposts", "@@:", get_signposts),
    SM_METHOD("errorState", "q@:", get_errorState),
};
sm_class sm_encoder_info_class = {.name = "SoftMTLCommandBufferEncoderInfo",
                                  .protocol = "MTLCommandBufferEncoderInfo",
                                  .size = sizeof(sm_encoder_info),
                                  .dealloc = info_dealloc,
                                  SM_METHODS(info_methods)};
SM_REGISTER_AT_LOAD(sm_encoder_info_class)
