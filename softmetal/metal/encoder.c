/* MTLCommandEncoder: what compute and blit encoders share. */
#include "metal/commands.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SM_TELL_ENCODERS 1 /* MTLCommandBufferErrorOptionEncoderExecutionStatus */

static sm_encoder *of(id self)
{
    return (sm_encoder *)self;
}

static const char *name_of(const sm_encoder *encoder)
{
    return sm_label_of((id)(uintptr_t)encoder, "without a label");
}

/* ---- Refusing */

static void report(const sm_encoder *encoder, const char *method, const char *text)
{
    char *message = NULL;
    const char *kernel = encoder->pipeline ? encoder->pipeline->name : NULL;
    int length = kernel ? asprintf(&message, "[%s]: kernel '%s': %s", method, kernel, text)
                        : asprintf(&message, "[%s]: %s", method, text);
    if (length < 0) return;
    sm_report(&(softmetal_report){.kind = SOFTMETAL_VALIDATION,
                                  .message = message,
                                  .kernel = kernel,
                                  .thread = -1,
                                  .other_thread = -1,
                                  .threadgroup = -1,
                                  .other_threadgroup = -1});
    free(message);
}

void sm_encoder_refuse(sm_encoder *encoder, int64_t code, const char *method, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    report(encoder, method, text);
    if (!encoder->buffer->committed) sm_command_refuse(encoder->buffer, encoder->index, code, text);
}

bool sm_encoder_open(sm_encoder *encoder, const char *method)
{
    if (!encoder->ended) return true;
    sm_encoder_refuse(encoder, SM_COMMAND_INTERNAL, method, "encoder '%s' was ended already", name_of(encoder));
    return false;
}

bool sm_encoder_same_device(sm_encoder *encoder, id object, const char *method)
{
    if (((sm_base *)object)->device == encoder->base.device) return true;
    sm_encoder_refuse(encoder, SM_COMMAND_INVALID_RESOURCE, method, "%s '%s' is of another device than the encoder",
                      object->isa->protocol, sm_label_of(object, "without a label"));
    return false;
}

/* ---- Making and ending */

static void add_info(sm_command_buffer *buffer)
{
    sm_encoder_info **infos = sm_reallocate(buffer->infos, (buffer->info_count + 1) * sizeof *infos);
    if (!infos) return;
    buffer->infos = infos;
    infos[buffer->info_count] = (sm_encoder_info *)sm_new(&sm_encoder_info_class);
    if (infos[buffer->info_count]) buffer->info_count++;
}

static void add_begin(sm_encoder *encoder, id pass)
{
    sm_begin_command *command = sm_record(encoder->buffer, SM_BEGIN, encoder->index, sizeof *command);
    if (!command) return;
    command->type = encoder->type;
    for (size_t i = 0; pass && i < SM_PASS_SAMPLES; i++) {
        command->samples[i] = sm_pass_sample_at(pass, i);
        sm_command_retain(encoder->buffer, (id)command->samples[i].buffer);
    }
}

id sm_encoder_create(sm_command_buffer *buffer, sm_encoder_kind kind, NSUInteger type, id pass)
{
    Class class = kind == SM_COMPUTE ? &sm_compute_encoder_class : &sm_blit_encoder_class;
    sm_encoder *encoder = of(sm_base_new(class, buffer->base.device));
    if (!encoder) return NULL;
    encoder->kind = kind;
    encoder->type = type;
    encoder->buffer = (sm_command_buffer *)sm_retain((id)buffer);
    encoder->index = buffer->encoder_count++;
    buffer->open = encoder;
    if (buffer->error_options & SM_TELL_ENCODERS) add_info(buffer);
    add_begin(encoder, pass);
    atomic_fetch_add(&sm_counts.encoders, 1);
    return sm_autorelease((id)encoder);
}

static void fill_info(sm_encoder *encoder)
{
    if (encoder->index >= encoder->buffer->info_count) return;
    sm_encoder_info *info = encoder->buffer->infos[encoder->index];
    info->label = sm_retain(encoder->base.label);
    info->signposts = sm_array_create(encoder->signposts, encoder->signpost_count);
}

static void end(sm_encoder *encoder)
{
    encoder->ended = true;
    encoder->buffer->open = NULL;
    sm_record(encoder->buffer, SM_END, encoder->index, sizeof(sm_command));
    fill_info(encoder);
}

void sm_encoder_orphan(sm_encoder *encoder)
{
    end(encoder);
}

static void end_encoding(id self, SEL cmd)
{
    (void)cmd;
    sm_encoder *encoder = of(self);
    if (!sm_encoder_open(encoder, "MTLCommandEncoder endEncoding")) return;
    if (encoder->groups > 0)
        sm_misuse("MTLCommandEncoder endEncoding", "encoder '%s' has %zu debug groups that were not popped", name_of(encoder),
                  encoder->groups);
    end(encoder);
}

static void dealloc(id self)
{
    sm_encoder *encoder = of(self);
    if (encoder->buffer && !encoder->ended) {
        sm_encoder_refuse(encoder, SM_COMMAND_INTERNAL, "MTLCommandEncoder release",
                          "encoder '%s' was released without endEncoding", name_of(encoder));
        end(encoder);
    }
    for (size_t i = 0; i < encoder->signpost_count; i++) sm_release(encoder->signposts[i]);
    free(encoder->signposts);
    sm_release((id)encoder->pipeline);
    sm_release((id)encoder->buffer);
    sm_base_dealloc(self);
}

/* ---- Debug groups */

static void add_signpost(id self, SEL cmd, id text)
{
    (void)cmd;
    sm_encoder *encoder = of(self);
    if (!(encoder->buffer->error_options & SM_TELL_ENCODERS) || !text) return;
    id *signposts = sm_reallocate(encoder->signposts, (encoder->signpost_count + 1) * sizeof *signposts);
    if (!signposts) return;
    encoder->signposts = signposts;
    signposts[encoder->signpost_count] = sm_text_copy(text);
    if (signposts[encoder->signpost_count]) encoder->signpost_count++;
}

static void push_group(id self, SEL cmd, id text)
{
    add_signpost(self, cmd, text);
    of(self)->groups++;
}

static void pop_group(id self, SEL cmd)
{
    (void)cmd;
    if (of(self)->groups == 0)
        sm_misuse("MTLCommandEncoder popDebugGroup", "encoder '%s' has no debug group", name_of(of(self)));
    else
        of(self)->groups--;
}

/* ---- What both kinds encode */

void sm_encoder_barrier(sm_encoder *encoder, const id *resources, size_t count)
{
    sm_barrier_command *command =
        sm_record(encoder->buffer, SM_BARRIER, encoder->index, sizeof *command + count * sizeof *command->storages);
    if (!command) return;
    for (size_t i = 0; i < count; i++) {
        sm_command_retain(encoder->buffer, resources[i]);
        command->storages[command->count++] = ((sm_buffer *)resources[i])->storage;
    }
    atomic_fetch_add(&sm_counts.barriers, 1);
}

void sm_encoder_fence(sm_encoder *encoder, id fence, sm_command_kind kind, const char *method)
{
    if (!sm_encoder_open(encoder, method)) return;
    fence = sm_expect_kind(fence, &sm_fence_class, method);
    if (!fence) {
        sm_encoder_refuse(encoder, SM_COMMAND_INVALID_RESOURCE, method, "the fence is nil");
        return;
    }
    if (!sm_encoder_same_device(encoder, fence, method)) return;
    sm_command_retain(encoder->buffer, fence);
    sm_record(encoder->buffer, kind, encoder->index, sizeof(sm_command));
}

void sm_encoder_sample(sm_encoder *encoder, id samples, NSUInteger index, BOOL barrier, const char *method)
{
    if (!sm_encoder_open(encoder, method)) return;
    sm_sample_buffer *buffer = (sm_sample_buffer *)sm_expect_kind(samples, &sm_sample_buffer_class, method);
    if (!buffer || !sm_encoder_same_device(encoder, samples, method)) return;
    if (!sm_samples_dispatches(encoder->base.device)) {
        sm_encoder_refuse(encoder, SM_COMMAND_INTERNAL, method,
                          "this device takes samples at the start and end of encoders only (supportsCounterSampling:)");
        return;
    }
    if (index >= buffer->count) {
        sm_encoder_refuse(encoder, SM_COMMAND_INTERNAL, method, "sample %llu is not among the buffer's %zu",
                          (unsigned long long)index, buffer->count);
        return;
    }
    if (barrier) sm_encoder_barrier(encoder, NULL, 0);
    sm_command_retain(encoder->buffer, samples);
    sm_sample_command *command = sm_record(encoder->buffer, SM_SAMPLE, encoder->index, sizeof *command);
    if (!command) return;
    command->buffer = buffer;
    command->index = index;
}

static void stage_barrier(id self, SEL cmd, NSUInteger after, NSUInteger before)
{
    (void)cmd, (void)after, (void)before;
    if (sm_encoder_open(of(self), "MTLCommandEncoder barrierAfterQueueStages:beforeStages:"))
        sm_encoder_barrier(of(self), NULL, 0);
}

static const sm_method methods[] = {
    SM_DEVICE_METHOD,
    SM_LABEL_METHODS,
    SM_METHOD("endEncoding", "v@:", end_encoding),
    SM_METHOD("insertDebugSignpost:", "v@:@", add_signpost),
    SM_METHOD("pushDebugGroup:", "v@:@", push_group),
    SM_METHOD("popDebugGroup", "v@:", pop_group),
    SM_METHOD("barrierAfterQueueStages:beforeStages:", "v@:QQ", stage_barrier),
};
sm_class sm_command_encoder_class = {.name = "SoftMTLCommandEncoder",
                                     .protocol = "MTLCommandEncoder",
                                     .size = sizeof(sm_encoder),
                                     .dealloc = dealloc,
                                     SM_METHODS(methods)};
SM_REGISTER_AT_LOAD(sm_command_encoder_class)
