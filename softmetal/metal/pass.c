/* MTLComputePassDescriptor and MTLBlitPassDescriptor: when an encoder takes samples. */
#include "metal/metal.h"

/* ---- One attachment, and all of them; classes of two names each */

typedef struct sm_attachment {
    sm_object object;
    id sampleBuffer;
    NSUInteger start, end;
} sm_attachment;

typedef struct sm_attachments {
    sm_object object;
    Class of_class;
    id items[SM_PASS_SAMPLES]; /* made when asked for */
} sm_attachments;

SM_ACCESSORS(sm_attachment, start, NSUInteger)
SM_ACCESSORS(sm_attachment, end, NSUInteger)
SM_GETTER(sm_attachment, sampleBuffer, id)

static void set_buffer(id self, SEL cmd, id buffer)
{
    (void)cmd;
    sm_store(
        &((sm_attachment *)self)->sampleBuffer,
        sm_expect_kind(buffer, &sm_sample_buffer_class, "MTLComputePassSampleBufferAttachmentDescriptor setSampleBuffer:"));
}

static id attachment_init(id self, SEL cmd)
{
    (void)cmd;
    ((sm_attachment *)self)->start = ((sm_attachment *)self)->end = SM_DO_NOT_SAMPLE;
    return self;
}

static void attachment_dealloc(id self)
{
    sm_release(((sm_attachment *)self)->sampleBuffer);
}

static const sm_method attachment_methods[] = {
    SM_METHOD("init", "@@:", attachment_init),
    SM_METHOD("sampleBuffer", "@@:", get_sampleBuffer),
    SM_METHOD("setSampleBuffer:", "v@:@", set_buffer),
    SM_PROPERTY("startOfEncoderSampleIndex", "setStartOfEncoderSampleIndex:", "Q", start),
    SM_PROPERTY("endOfEncoderSampleIndex", "setEndOfEncoderSampleIndex:", "Q", end),
};
static sm_class sm_compute_attachment_class = {.name = "MTLComputePassSampleBufferAttachmentDescriptor",
                                               .size = sizeof(sm_attachment),
                                               .dealloc = attachment_dealloc,
                                               SM_METHODS(attachment_methods)};
SM_REGISTER_AT_LOAD(sm_compute_attachment_class)
static sm_class sm_blit_attachment_class = {.name = "MTLBlitPassSampleBufferAttachmentDescriptor",
                                            .size = sizeof(sm_attachment),
                                            .dealloc = attachment_dealloc,
                                            SM_METHODS(attachment_methods)};
SM_REGISTER_AT_LOAD(sm_blit_attachment_class)

static bool index_fits(NSUInteger index)
{
    if (index < SM_PASS_SAMPLES) return true;
    sm_misuse("MTLComputePassSampleBufferAttachmentDescriptorArray", "index %llu is not below %d", (unsigned long long)index,
              SM_PASS_SAMPLES);
    return false;
}

static id attachment_at(id self, SEL cmd, NSUInteger index)
{
    if (!index_fits(index)) return NULL;
    sm_attachments *attachments = (sm_attachments *)self;
    id *item = &attachments->items[index];
    if (!*item && (*item = sm_new(attachments->of_class))) attachment_init(*item, cmd);
    return *item;
}

static void set_attachment_at(id self, SEL cmd, id given, NSUInteger index)
{
    (void)cmd;
    sm_attachments *attachments = (sm_attachments *)self;
    id attachment = sm_expect_kind(given, attachments->of_class,
                                   "MTLComputePassSampleBufferAttachmentDescriptorArray setObject:atIndexedSubscript:");
    if (index_fits(index)) sm_store(&attachments->items[index], attachment);
}

static void attachments_dealloc(id self)
{
    for (size_t i = 0; i < SM_PASS_SAMPLES; i++) sm_release(((sm_attachments *)self)->items[i]);
}

static const sm_method attachments_methods[] = {
    SM_METHOD("objectAtIndexedSubscript:", "@@:Q", attachment_at),
    SM_METHOD("setObject:atIndexedSubscript:", "v@:@Q", set_attachment_at),
};
static sm_class sm_compute_attachments_class = {.name = "MTLComputePassSampleBufferAttachmentDescriptorArray",
                                                .size = sizeof(sm_attachments),
                                                .dealloc = attachments_dealloc,
                                                SM_METHODS(attachments_methods)};
SM_REGISTER_AT_LOAD(sm_compute_attachments_class)
static sm_class sm_blit_attachments_class = {.name = "MTLBlitPassSampleBufferAttachmentDescriptorArray",
                                             .size = sizeof(sm_attachments),
                                             .dealloc = attachments_dealloc,
                                             SM_METHODS(attachments_methods)};
SM_REGISTER_AT_LOAD(sm_blit_attachments_class)

/* ---- Passes */

static id attachments_of(id pass, Class class, Class of_class)
{
    id *place = &((sm_pass *)pass)->attachments;
    if (!*place && (*place = sm_new(class))) ((sm_attachments *)*place)->of_class = of_class;
    return *place;
}

static id compute_attachments(id self, SEL cmd)
{
    (void)cmd;
    return attachments_of(self, &sm_compute_attachments_class, &sm_compute_attachment_class);
}

static id blit_attachments(id self, SEL cmd)
{
    (void)cmd;
    return attachments_of(self, &sm_blit_attachments_class, &sm_blit_attachment_class);
}

sm_pass_sample sm_pass_sample_at(id pass, size_t index)
{
    const sm_attachments *attachments = (const sm_attachments *)((sm_pass *)pass)->attachments;
    const sm_attachment *attachment = attachments ? (const sm_attachment *)attachments->items[index] : NULL;
    if (!attachment || !attachment->sampleBuffer) return (sm_pass_sample){NULL, SM_DO_NOT_SAMPLE, SM_DO_NOT_SAMPLE};
    return (sm_pass_sample){(sm_sample_buffer *)attachment->sampleBuffer, attachment->start, attachment->end};
}

static void pass_dealloc(id self)
{
    sm_release(((sm_pass *)self)->attachments);
}

SM_ACCESSORS(sm_pass, dispatchType, NSUInteger)

static id make_pass(id self, SEL cmd)
{
    (void)cmd;
    return sm_autorelease(sm_new((Class)self));
}

static const sm_method compute_methods[] = {
    SM_PROPERTY("dispatchType", "setDispatchType:", "Q", dispatchType),
    SM_METHOD("sampleBufferAttachments", "@@:", compute_attachments),
};
static const sm_method compute_class_methods[] = {SM_METHOD("computePassDescriptor", "@@:", make_pass)};
sm_class sm_compute_pass_class = {.name = "MTLComputePassDescriptor",
                                  .size = sizeof(sm_pass),
                                  .dealloc = pass_dealloc,
                                  SM_METHODS(compute_methods),
                                  SM_CLASS_METHODS(compute_class_methods)};
SM_REGISTER_AT_LOAD(sm_compute_pass_class)

static const sm_method blit_methods[] = {SM_METHOD("sampleBufferAttachments", "@@:", blit_attachments)};
static const sm_method blit_class_methods[] = {SM_METHOD("blitPassDescriptor", "@@:", make_pass)};
sm_class sm_blit_pass_class = {.name = "MTLBlitPassDescriptor",
                               .size = sizeof(sm_pass),
                               .dealloc = pass_dealloc,
                               SM_METHODS(blit_methods),
                               SM_CLASS_METHODS(blit_class_methods)};
SM_REGISTER_AT_LOAD(sm_blit_pass_class)
