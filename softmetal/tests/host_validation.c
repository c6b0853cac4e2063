/* API misuse: each rule is broken once, which is reported with what, where and how much, and kept once, which is not. */
#include "host_fixture.h"

#include <pthread.h>

#define BYTES 4096

/* What a rule works on: a fresh command buffer each time. */
typedef struct scene {
    fixture *f;
    id buffer, encoder; /* the encoder is open */
    id memory;          /* BYTES of shared memory */
    bool finished;      /* the rule has committed, waited and ended */
} scene;

typedef struct rule {
    const char *name;
    void (*act)(scene *s, bool wrong);
    const char *report; /* part of the report's message */
    const char *and;    /* and another part, or NULL */
    bool completes;     /* the command buffer completes all the same: Metal would only complain */
} rule;

static uint32_t seven = 7;

static void bind_fill(scene *s)
{
    set_pipeline(s->encoder, kernel(s->f, FILL));
    set_buffer(s->encoder, s->memory, 0, 0);
    set_bytes(s->encoder, &seven, sizeof seven, 1);
}

static void go(scene *s, NSUInteger threads)
{
    dispatch_threads(s->encoder, size1(threads), size1(threads < 32 ? threads : 32));
}

/* ---- Arguments */

static void required_threads(scene *s, bool wrong)
{
    id descriptor = new_of("MTLComputePipelineDescriptor"), function = new_function(s->f->library, "fill"), error = NULL;
    set_object(descriptor, "setComputeFunction:", function);
    SEND(void, (MTLSize), descriptor, "setRequiredThreadsPerThreadgroup:", ((MTLSize){16, 2, 1}));
    id pipeline = SEND(id, (id, NSUInteger, id *, id *), s->f->device, "newComputePipelineStateWithDescriptor:options:reflection:error:",
                       descriptor, 0, NULL, &error);
    bind_fill(s);
    set_pipeline(s->encoder, pipeline);
    dispatch_threads(s->encoder, size1(32), wrong ? size1(32) : (MTLSize){16, 2, 1});
    release(pipeline);
    release(function);
    release(descriptor);
}

static void too_many_groups(scene *s, bool wrong)
{
    bind_fill(s);
    dispatch_groups(s->encoder, wrong ? (MTLSize){UINT32_MAX, UINT32_MAX, UINT32_MAX} : size1(4), size1(1));
}

static void missing_buffer(scene *s, bool wrong)
{
    set_pipeline(s->encoder, kernel(s->f, FILL));
    if (!wrong) set_buffer(s->encoder, s->memory, 0, 0);
    set_bytes(s->encoder, &seven, sizeof seven, 1);
    go(s, 4);
}

static void missing_constant(scene *s, bool wrong)
{
    set_pipeline(s->encoder, kernel(s->f, FILL));
    set_buffer(s->encoder, s->memory, 0, 0);
    if (!wrong) set_bytes(s->encoder, &seven, sizeof seven, 1);
    go(s, 4);
}

static void unbound_again(scene *s, bool wrong)
{
    bind_fill(s);
    set_buffer(s->encoder, NULL, 0, 0);
    if (!wrong) set_buffer(s->encoder, s->memory, 0, 0);
    go(s, 4);
}

static void short_struct(scene *s, bool wrong)
{
    float by[2] = {2, 1};
    set_pipeline(s->encoder, kernel(s->f, SCALE));
    set_buffer(s->encoder, s->memory, 0, 0);
    set_buffer(s->encoder, s->memory, BYTES / 2, 1);
    set_bytes(s->encoder, by, wrong ? sizeof *by : sizeof by, 2);
    go(s, 4);
}

static void short_from_offset(scene *s, bool wrong)
{
    bind_fill(s);
    set_buffer(s->encoder, s->memory, wrong ? BYTES : BYTES - 4, 0);
    go(s, 1);
}

static void offset_beyond(scene *s, bool wrong)
{
    bind_fill(s);
    set_buffer(s->encoder, s->memory, wrong ? BYTES + 4 : 8, 0);
    if (wrong) set_buffer(s->encoder, s->memory, 0, 0);
    go(s, 1);
}

static void offset_misaligned(scene *s, bool wrong)
{
    bind_fill(s);
    set_buffer(s->encoder, s->memory, wrong ? 2 : 4, 0);
    go(s, 4);
}

static void half_offset(scene *s, bool wrong)
{
    set_pipeline(s->encoder, kernel(s->f, HALVES));
    set_buffer(s->encoder, s->memory, wrong ? 1 : 2, 0);
    go(s, 4);
}

static void constant_offset(scene *s, bool wrong)
{
    bind_fill(s);
    set_buffer(s->encoder, s->memory, wrong ? 18 : 20, 1);
    go(s, 4);
}

static void constant_bytes_offset(scene *s, bool wrong)
{
    set_pipeline(s->encoder, kernel(s->f, BYTES_OF_CONSTANT));
    set_buffer(s->encoder, s->memory, 0, 0);
    set_buffer(s->encoder, s->memory, wrong ? 2 : 4, 1);
    go(s, 4);
}

static void offset_later(scene *s, bool wrong)
{
    bind_fill(s);
    SEND(void, (NSUInteger, NSUInteger), s->encoder, "setBufferOffset:atIndex:", 16, wrong ? 5 : 0);
    go(s, 4);
}

static void offset_later_beyond(scene *s, bool wrong)
{
    bind_fill(s);
    SEND(void, (NSUInteger, NSUInteger), s->encoder, "setBufferOffset:atIndex:", wrong ? BYTES + 16 : 16, 0);
    if (wrong) set_buffer(s->encoder, s->memory, 0, 0);
    go(s, 4);
}

static void buffer_index(scene *s, bool wrong)
{
    bind_fill(s);
    set_buffer(s->encoder, s->memory, 0, wrong ? 31 : 30);
    go(s, 4);
}

static void buffer_range(scene *s, bool wrong)
{
    id two[] = {s->memory, s->memory};
    NSUInteger offsets[] = {0, 0};
    bind_fill(s);
    SEND(void, (const id *, const NSUInteger *, NSRange), s->encoder, "setBuffers:offsets:withRange:", two, offsets,
         ((NSRange){wrong ? 30 : 29, 2}));
    go(s, 4);
}

static void too_many_bytes(scene *s, bool wrong)
{
    static const char bytes[4100];
    bind_fill(s);
    set_bytes(s->encoder, bytes, wrong ? 4100 : 4096, 2);
    go(s, 4);
}

static void no_bytes(scene *s, bool wrong)
{
    bind_fill(s);
    set_bytes(s->encoder, &seven, wrong ? 0 : 4, 2);
    go(s, 4);
}

static void bytes_from_null(scene *s, bool wrong)
{
    bind_fill(s);
    set_bytes(s->encoder, wrong ? NULL : &seven, 4, 2);
    go(s, 4);
}

static void object_of_wrong_class(scene *s, bool wrong)
{
    bind_fill(s);
    set_buffer(s->encoder, wrong ? s->f->queue : s->memory, 0, 0);
    if (wrong) set_buffer(s->encoder, s->memory, 0, 0);
    go(s, 4);
}

/* ---- Threadgroup memory */

static void reverse(scene *s, NSUInteger length)
{
    set_pipeline(s->encoder, kernel(s->f, REVERSE));
    set_buffer(s->encoder, s->memory, 0, 0);
    if (length) SEND(void, (NSUInteger, NSUInteger), s->encoder, "setThreadgroupMemoryLength:atIndex:", length, 0);
    go(s, 32);
}

static void threadgroup_missing(scene *s, bool wrong)
{
    reverse(s, wrong ? 0 : 128);
}
static void threadgroup_multiple(scene *s, bool wrong)
{
    SEND(void, (NSUInteger, NSUInteger), s->encoder, "setThreadgroupMemoryLength:atIndex:", wrong ? 40 : 48, 1);
    reverse(s, 128);
}
static void threadgroup_too_long(scene *s, bool wrong)
{
    SEND(void, (NSUInteger, NSUInteger), s->encoder, "setThreadgroupMemoryLength:atIndex:", wrong ? 32784 : 32, 1);
    reverse(s, 128);
}
static void threadgroup_sum(scene *s, bool wrong)
{
    SEND(void, (NSUInteger, NSUInteger), s->encoder, "setThreadgroupMemoryLength:atIndex:", 16384, 1);
    reverse(s, wrong ? 16400 : 16384);
}
static void threadgroup_own_and_set(scene *s, bool wrong)
{
    set_pipeline(s->encoder, kernel(s->f, ROOMY));
    set_buffer(s->encoder, s->memory, 0, 0);
    SEND(void, (NSUInteger, NSUInteger), s->encoder, "setThreadgroupMemoryLength:atIndex:", wrong ? 16400 : 16384, 0);
    go(s, 32);
}
static void threadgroup_index(scene *s, bool wrong)
{
    SEND(void, (NSUInteger, NSUInteger), s->encoder, "setThreadgroupMemoryLength:atIndex:", 16, wrong ? 31 : 30);
    reverse(s, 128);
}

/* ---- Sizes */

static void group_of_none(scene *s, bool wrong)
{
    bind_fill(s);
    dispatch_threads(s->encoder, size1(4), (MTLSize){4, wrong ? 0 : 1, 1});
}

static void group_too_large(scene *s, bool wrong)
{
    bind_fill(s);
    dispatch_groups(s->encoder, size1(1), (MTLSize){32, 32, wrong ? 2 : 1});
}

static void group_over_attribute(scene *s, bool wrong)
{
    set_pipeline(s->encoder, kernel(s->f, NARROW));
    set_buffer(s->encoder, s->memory, 0, 0);
    dispatch_threads(s->encoder, size1(128), size1(wrong ? 128 : 64));
}

static void group_overflows(scene *s, bool wrong)
{
    bind_fill(s);
    dispatch_threads(s->encoder, size1(4), wrong ? (MTLSize){UINT64_C(1) << 33, UINT64_C(1) << 33, 4} : size1(4));
}

static void grid_of_none(scene *s, bool wrong)
{
    bind_fill(s);
    dispatch_threads(s->encoder, (MTLSize){4, 1, wrong ? 0 : 1}, size1(4));
}

static void groups_of_none(scene *s, bool wrong)
{
    bind_fill(s);
    dispatch_groups(s->encoder, size1(wrong ? 0 : 1), size1(4));
}

static void grid_too_large(scene *s, bool wrong)
{
    bind_fill(s);
    dispatch_groups(s->encoder, size1(wrong ? UINT64_C(1) << 31 : 2), size1(4));
}

static void simdgroup_promise(scene *s, bool wrong)
{
    id descriptor = new_of("MTLComputePipelineDescriptor"), function = new_function(s->f->library, "fill"), error = NULL;
    set_object(descriptor, "setComputeFunction:", function);
    set_flag(descriptor, "setThreadGroupSizeIsMultipleOfThreadExecutionWidth:", true);
    id pipeline = SEND(id, (id, NSUInteger, id *, id *), s->f->device,
                       "newComputePipelineStateWithDescriptor:options:reflection:error:", descriptor, 0, NULL, &error);
    assert_non_null(pipeline);
    bind_fill(s);
    set_pipeline(s->encoder, pipeline);
    dispatch_threads(s->encoder, size1(64), size1(wrong ? 48 : 64));
    release(pipeline);
    release(function);
    release(descriptor);
}

static void no_pipeline(scene *s, bool wrong)
{
    if (!wrong) bind_fill(s);
    go(s, 4);
}

static void nil_pipeline(scene *s, bool wrong)
{
    bind_fill(s);
    if (wrong) set_pipeline(s->encoder, NULL);
    go(s, 4);
}

/* ---- Indirect */

static void indirect(scene *s, id counts, NSUInteger offset)
{
    bind_fill(s);
    SEND(void, (id, NSUInteger, MTLSize), s->encoder,
         "dispatchThreadgroupsWithIndirectBuffer:indirectBufferOffset:threadsPerThreadgroup:", counts, offset, size1(4));
}

static void indirect_short(scene *s, bool wrong)
{
    indirect(s, s->memory, wrong ? BYTES - 8 : BYTES - 12);
}
static void indirect_misaligned(scene *s, bool wrong)
{
    indirect(s, s->memory, wrong ? 2 : 4);
}
static void indirect_nil(scene *s, bool wrong)
{
    indirect(s, wrong ? NULL : s->memory, 0);
}
static void indirect_too_large(scene *s, bool wrong)
{
    uint32_t *counts = contents(s->memory);
    counts[0] = wrong ? UINT32_MAX : 1, counts[1] = counts[2] = 1;
    indirect(s, s->memory, 0);
}

/* ---- Encoders and command buffers */

static void two_encoders(scene *s, bool wrong)
{
    bind_fill(s);
    go(s, 4);
    if (!wrong) end(s->encoder);
    id second = get(s->buffer, "blitCommandEncoder");
    if (wrong)
        assert_null(second);
    else
        s->encoder = second;
}

static void used_after_end(scene *s, bool wrong)
{
    bind_fill(s);
    if (!wrong) go(s, 4);
    end(s->encoder);
    if (wrong) go(s, 4);
    s->encoder = NULL;
}

static void ended_twice(scene *s, bool wrong)
{
    bind_fill(s);
    go(s, 4);
    end(s->encoder);
    if (wrong) end(s->encoder);
    s->encoder = NULL;
}

static void committed_open(scene *s, bool wrong)
{
    bind_fill(s);
    go(s, 4);
    if (!wrong) end(s->encoder);
    finish(s->buffer);
    s->finished = true;
}

static void committed_twice(scene *s, bool wrong)
{
    end(s->encoder);
    finish(s->buffer);
    if (wrong) call(s->buffer, "commit");
    s->finished = true;
}

static void encoded_after_commit(scene *s, bool wrong)
{
    end(s->encoder);
    finish(s->buffer);
    if (wrong) assert_null(get(s->buffer, "computeCommandEncoder"));
    s->finished = true;
}

static void handler_after_commit(scene *s, bool wrong)
{
    block nothing = BLOCK(NULL, NULL);
    end(s->encoder);
    finish(s->buffer);
    if (wrong) SEND(void, (block *), s->buffer, "addCompletedHandler:", &nothing);
    s->finished = true;
}

static void waited_before_commit(scene *s, bool wrong)
{
    end(s->encoder);
    if (wrong) call(s->buffer, "waitUntilCompleted");
    finish(s->buffer);
    s->finished = true;
}

static void scheduled_before_commit(scene *s, bool wrong)
{
    end(s->encoder);
    if (wrong) call(s->buffer, "waitUntilScheduled");
    finish(s->buffer);
    call(s->buffer, "waitUntilScheduled");
    s->finished = true;
}

static void enqueued_twice(scene *s, bool wrong)
{
    end(s->encoder);
    call(s->buffer, "enqueue");
    if (wrong) call(s->buffer, "enqueue");
    finish(s->buffer);
    s->finished = true;
}

static void event_inside_encoder(scene *s, bool wrong)
{
    id event = get(s->f->device, "newEvent");
    if (!wrong) end(s->encoder);
    SEND(void, (id, uint64_t), s->buffer, "encodeSignalEvent:value:", event, 1);
    if (!wrong) s->encoder = NULL;
    release(event);
}

static void debug_groups(scene *s, bool wrong)
{
    set_object(s->encoder, "pushDebugGroup:", string("group"));
    if (!wrong) call(s->encoder, "popDebugGroup");
    end(s->encoder);
    s->encoder = NULL;
}

static void debug_group_popped(scene *s, bool wrong)
{
    if (!wrong) set_object(s->encoder, "pushDebugGroup:", string("group"));
    call(s->encoder, "popDebugGroup");
}

static void dispatch_type(scene *s, bool wrong)
{
    end(s->encoder);
    s->encoder = SEND(id, (NSUInteger), s->buffer, "computeCommandEncoderWithDispatchType:", wrong ? 2 : 1);
    if (wrong) assert_null(s->encoder);
}

static void nil_fence(scene *s, bool wrong)
{
    id fence = get(s->f->device, "newFence");
    set_object(s->encoder, "updateFence:", wrong ? NULL : fence);
    release(fence);
}

static void barrier_on_nil(scene *s, bool wrong)
{
    id one = wrong ? NULL : s->memory;
    SEND(void, (const id *, NSUInteger), s->encoder, "memoryBarrierWithResources:count:", &one, 1);
}

static void sampling_inside(scene *s, bool wrong)
{
    id error = NULL, descriptor = new_of("MTLCounterSampleBufferDescriptor");
    set_object(descriptor, "setCounterSet:", SEND(id, (NSUInteger), get(s->f->device, "counterSets"), "objectAtIndex:", 0));
    set_number(descriptor, "setSampleCount:", 2);
    id samples = SEND(id, (id, id *), s->f->device, "newCounterSampleBufferWithDescriptor:error:", descriptor, &error);
    assert_non_null(samples);
    if (wrong)
        SEND(void, (id, NSUInteger, BOOL), s->encoder, "sampleCountersInBuffer:atSampleIndex:withBarrier:", samples, 0, 1);
    release(samples);
    release(descriptor);
}

/* ---- Objects of another device */

static void other_device(scene *s, bool wrong)
{
    host.set_world(NULL); /* so that the next device is another one */
    id other = wrong ? host.create_device() : get(s->f->device, "retain"), memory = new_buffer(other, BYTES, SHARED);
    bind_fill(s);
    set_buffer(s->encoder, memory, 0, 0);
    if (wrong) set_buffer(s->encoder, s->memory, 0, 0);
    go(s, 4);
    release(memory);
    release(other);
}

static void other_device_event(scene *s, bool wrong)
{
    host.set_world(NULL);
    id other = wrong ? host.create_device() : get(s->f->device, "retain"), event = get(other, "newEvent");
    end(s->encoder);
    s->encoder = NULL;
    SEND(void, (id, uint64_t), s->buffer, "encodeSignalEvent:value:", event, 1);
    release(event);
    release(other);
}

static void released_in_flight(scene *s, bool wrong)
{
    end(s->encoder);
    id buffer = get(s->f->queue, "commandBufferWithUnretainedReferences"), memory = new_buffer(s->f->device, BYTES, SHARED);
    assert_false(test(buffer, "retainedReferences"));
    s->buffer = buffer;
    s->encoder = get(buffer, "computeCommandEncoder");
    bind_fill(s);
    set_buffer(s->encoder, memory, 0, 0);
    go(s, 4);
    end(s->encoder);
    if (wrong) release(memory);
    finish(buffer);
    if (!wrong) release(memory);
    s->finished = true;
}

/* ---- Blits */

static id blit(scene *s)
{
    end(s->encoder);
    return s->encoder = get(s->buffer, "blitCommandEncoder");
}

static void copy(scene *s, id from, NSUInteger at, id to, NSUInteger to_at, NSUInteger bytes)
{
    SEND(void, (id, NSUInteger, id, NSUInteger, NSUInteger), blit(s),
         "copyFromBuffer:sourceOffset:toBuffer:destinationOffset:size:", from, at, to, to_at, bytes);
}

static void copy_beyond_source(scene *s, bool wrong)
{
    copy(s, s->memory, wrong ? BYTES - 4 : BYTES - 8, s->memory, 0, 8);
}
static void copy_beyond_destination(scene *s, bool wrong)
{
    copy(s, s->memory, 0, s->memory, wrong ? BYTES - 4 : BYTES - 8, 8);
}
static void copy_overlaps(scene *s, bool wrong)
{
    copy(s, s->memory, 0, s->memory, wrong ? 4 : 8, 8);
}
static void copy_misaligned(scene *s, bool wrong)
{
    copy(s, s->memory, 0, s->memory, 64, wrong ? 6 : 8);
}
static void copy_from_nil(scene *s, bool wrong)
{
    copy(s, wrong ? NULL : s->memory, 0, s->memory, 64, 8);
}
static void fill_range(scene *s, NSRange range)
{
    SEND(void, (id, NSRange, uint8_t), blit(s), "fillBuffer:range:value:", s->memory, range, 9);
}
static void fill_beyond(scene *s, bool wrong)
{
    fill_range(s, (NSRange){BYTES - 8, wrong ? 12 : 8});
}
static void fill_nothing(scene *s, bool wrong)
{
    fill_range(s, (NSRange){0, wrong ? 0 : 4});
}
static void fill_overflows(scene *s, bool wrong)
{
    fill_range(s, (NSRange){8, wrong ? UINT64_MAX - 3 : 4});
}
static void synchronize_shared(scene *s, bool wrong)
{
    id managed = new_buffer(s->f->device, 64, MANAGED);
    set_object(blit(s), "synchronizeResource:", wrong ? s->memory : managed);
    release(managed);
}

static const rule rules[] = {
    {"a buffer is missing", missing_buffer, "kernel 'fill'", "missing buffer binding at index 0 for 'out'", false},
    {"a constant is missing", missing_constant, "kernel 'fill'", "missing buffer binding at index 1 for 'value'", false},
    {"a buffer was unbound", unbound_again, "kernel 'fill'", "missing buffer binding at index 0", false},
    {"a struct is short", short_struct, "kernel 'scale'",
     "index 2 for 'by' has 4 bytes from offset 0, the argument needs at least 8", false},
    {"nothing is left from the offset on", short_from_offset, "kernel 'fill'",
     "0 bytes from offset 4096, the argument needs at least 4", false},
    {"an offset is beyond the end", offset_beyond, "offset 4100 at buffer index 0 is beyond the 4096 bytes of buffer 'memory'",
     NULL, false},
    {"an offset is misaligned", offset_misaligned, "offset 2 at buffer index 0 for 'out' is not a multiple of 4", NULL, false},
    {"an offset of halves is misaligned", half_offset, "offset 1 at buffer index 0 for 'out' is not a multiple of 2", NULL,
     false},
    {"an offset of a constant is misaligned", constant_offset, "offset 18 at buffer index 1 for 'value' is not a multiple of 4",
     NULL, false},
    {"an offset of bytes in the constant space is misaligned", constant_bytes_offset,
     "offset 2 at buffer index 1 for 'in' is not a multiple of 4", NULL, false},
    {"an offset is set where nothing is bound", offset_later, "no buffer is set at index 5", NULL, false},
    {"an offset is set beyond the end", offset_later_beyond, "offset 4112 at buffer index 0 is beyond", NULL, false},
    {"a buffer index is too high", buffer_index, "buffer index 31 is not below 31", NULL, false},
    {"a range of buffers is too high", buffer_range, "index 31 is not below 31", NULL, false},
    {"more than 4 KiB are set", too_many_bytes, "4100 bytes at index 2; from 1 to 4096 can be set so", NULL, false},
    {"no bytes are set", no_bytes, "0 bytes at index 2", NULL, false},
    {"bytes come from nowhere", bytes_from_null, "from a null pointer", NULL, false},
    {"a queue is no buffer", object_of_wrong_class, "a SoftMTLCommandQueue was passed where a SoftMTLBuffer belongs", NULL,
     true},
    {"threadgroup memory is missing", threadgroup_missing, "kernel 'reverse'", "index 0 for 'shared' has 0 bytes", false},
    {"threadgroup memory is no multiple of 16", threadgroup_multiple,
     "length 40 at threadgroup index 1 is not a multiple of 16", NULL, false},
    {"threadgroup memory is over the limit", threadgroup_too_long,
     "length 32784 at threadgroup index 1 is over the device's 32768", NULL, false},
    {"threadgroup memory is over the limit in sum", threadgroup_sum, "32784 bytes of threadgroup memory", NULL, false},
    {"threadgroup memory is over the limit with the kernel's own", threadgroup_own_and_set, "16384 the kernel's own, 16400 set",
     NULL, false},
    {"a threadgroup memory index is too high", threadgroup_index, "threadgroup memory index 31 is not below 31", NULL, false},
    {"a threadgroup has no threads", group_of_none, "a threadgroup of 4 x 0 x 1 threads has none", NULL, false},
    {"a threadgroup is too large", group_too_large,
     "32 x 32 x 2 threads is over the pipeline's maxTotalThreadsPerThreadgroup, 1024", NULL, false},
    {"a threadgroup is over the kernel's attribute", group_over_attribute, "kernel 'narrow'",
     "maxTotalThreadsPerThreadgroup, 64", false},
    {"a threadgroup's size overflows", group_overflows, "is over the pipeline's maxTotalThreadsPerThreadgroup", NULL, false},
    {"a grid has no threads", grid_of_none, "a grid of 4 x 1 x 0 threads has none", NULL, false},
    {"a grid has no threadgroups", groups_of_none, "a grid of 0 x 1 x 1 threadgroups has none", NULL, false},
    {"a grid is too large", grid_too_large, "8589934592 x 1 x 1 threads has 2^32 or more along an axis", NULL, false},
    {"a promise of whole simdgroups is broken", simdgroup_promise, "a threadgroup of 48 threads is no multiple of 32", NULL,
     false},
    {"no pipeline is set", no_pipeline, "no pipeline is set", NULL, false},
    {"the pipeline is nil", nil_pipeline, "the pipeline is nil", NULL, false},
    {"an indirect buffer is short", indirect_short, "do not lie at offset 4088 of the indirect buffer's 4096 bytes", NULL,
     false},
    {"an indirect offset is misaligned", indirect_misaligned, "at offset 2 of the indirect buffer", NULL, false},
    {"an indirect buffer is nil", indirect_nil, "the indirect buffer is nil", NULL, false},
    {"indirect counts are too large", indirect_too_large, "4294967295 threadgroups of 4 threads along one axis", NULL, false},
    {"two encoders are open", two_encoders, "is still open; a command buffer has one open encoder at a time", NULL, false},
    {"an encoder is used after its end", used_after_end, "encoder 'encoder' was ended already", NULL, false},
    {"an encoder is ended twice", ended_twice, "[MTLCommandEncoder endEncoding]", "was ended already", false},
    {"an encoder is open at commit", committed_open, "encoder 'encoder' of command buffer 'buffer' was not ended", NULL, false},
    {"a command buffer is committed twice", committed_twice, "command buffer 'buffer' was committed already", NULL, true},
    {"encoding after commit", encoded_after_commit, "command buffer 'buffer' was committed already", NULL, true},
    {"a handler after commit", handler_after_commit, "addCompletedHandler:]: command buffer 'buffer' was committed already",
     NULL, true},
    {"waiting before commit", waited_before_commit, "waitUntilCompleted]: command buffer 'buffer' was not committed", NULL,
     true},
    {"waiting for scheduling before commit", scheduled_before_commit,
     "waitUntilScheduled]: command buffer 'buffer' was not committed", NULL, true},
    {"enqueued twice", enqueued_twice, "command buffer 'buffer' is enqueued already", NULL, true},
    {"an event inside of an encoder", event_inside_encoder, "encodeSignalEvent:value:]", "is still open", false},
    {"a debug group is left open", debug_groups, "1 debug groups that were not popped", NULL, true},
    {"a debug group is popped that is not there", debug_group_popped, "has no debug group", NULL, true},
    {"a threadgroup is not the required one", required_threads, "requiredThreadsPerThreadgroup, 16 x 2 x 1", NULL, false},
    {"a grid without an end", too_many_groups, "is more than 2^32 threadgroups", NULL, false},
    {"an unknown dispatch type", dispatch_type, "dispatch type 2 is neither serial (0) nor concurrent (1)", NULL, true},
    {"a fence is nil", nil_fence, "the fence is nil", NULL, false},
    {"a barrier on nil", barrier_on_nil, "memoryBarrierWithResources:count:]: resource 0 is nil", NULL, false},
    {"samples inside of an encoder", sampling_inside, "takes samples at the start and end of encoders only", NULL, false},
    {"a buffer of another device", other_device, "MTLBuffer 'without a label' is of another device than the encoder", NULL,
     false},
    {"an event of another device", other_device_event, "is of another device", NULL, false},
    {"a buffer is released too early", released_in_flight, "has unretained references, and MTLBuffer 'without a label'", NULL,
     false},
    {"a copy beyond its source", copy_beyond_source, "8 bytes from offset 4092 are not inside the 4096 of the source 'memory'",
     NULL, false},
    {"a copy beyond its destination", copy_beyond_destination,
     "8 bytes from offset 4092 are not inside the 4096 of the destination", NULL, false},
    {"a copy overlaps", copy_overlaps, "8 bytes from offset 0 overlap those at offset 4 of the same buffer", NULL, false},
    {"a copy is misaligned", copy_misaligned, "6 bytes from offset 0 of the source: both must be multiples of 4", NULL, false},
    {"a copy from nil", copy_from_nil, "the source is nil", NULL, false},
    {"a fill beyond the end", fill_beyond, "12 bytes from offset 4088 are not inside the 4096 of the buffer", NULL, false},
    {"a fill of nothing", fill_nothing, "the range is empty", NULL, false},
    {"a fill's range overflows", fill_overflows, "from offset 8 are not inside the 4096", NULL, false},
    {"a shared buffer is synchronized", synchronize_shared, "buffer 'memory' is not managed", NULL, false},
};

static void act(const rule *is, bool wrong)
{
    fixture f = open_fixture(NULL);
    scene s = {.f = &f, .buffer = get(f.queue, "commandBuffer"), .memory = new_buffer(f.device, BYTES, SHARED)};
    label(s.buffer, "buffer");
    label(s.memory, "memory");
    uint32_t *counts = contents(s.memory);
    for (int i = 0; i < BYTES / 4; i++) counts[i] = 1;
    s.encoder = get(s.buffer, "computeCommandEncoder");
    label(s.encoder, "encoder");
    is->act(&s, wrong);
    if (!s.finished) {
        end(s.encoder);
        finish(s.buffer);
    }
    NSUInteger wanted = wrong && !is->completes ? STATUS_ERROR : STATUS_COMPLETED;
    if (number(s.buffer, "status") != wanted) print_reports();
    assert_int_equal(number(s.buffer, "status"), wanted);
    if (wanted == STATUS_ERROR) {
        assert_string_equal(error_domain(get(s.buffer, "error")), "MTLCommandBufferErrorDomain");
        assert_true(error_code(get(s.buffer, "error")) > 0);
    } else {
        assert_null(get(s.buffer, "error"));
    }
    release(s.memory);
    close_fixture(&f);
}

static void breaks_and_keeps(void **state)
{
    const rule *is = *state;
    act(is, false);
    assert_no_reports();
    act(is, true);
    assert_reported(SOFTMETAL_VALIDATION, is->report);
    if (is->and) assert_reported(SOFTMETAL_VALIDATION, is->and);
}

/* ---- What fails without a command buffer */

static id no_copy(fixture *f, void *at, NSUInteger bytes, NSUInteger options)
{
    return SEND(id, (void *, NSUInteger, NSUInteger, id), f->device, "newBufferWithBytesNoCopy:length:options:deallocator:", at,
                bytes, options, NULL);
}

static void buffers_that_cannot_be(void **state)
{
    (void)state;
    softmetal_world world = {.max_buffer = 1 << 20};
    fixture f = open_fixture(&world);
    assert_int_equal(number(f.device, "maxBufferLength"), 1 << 20);
    id largest = new_buffer(f.device, 1 << 20, SHARED);
    assert_non_null(largest);
    release(largest);
    assert_no_reports();
    assert_null(new_buffer(f.device, 0, SHARED));
    assert_int_equal(reported(SOFTMETAL_VALIDATION, "newBufferWithLength:options:]: the length is 0"), 1);
    assert_null(new_buffer(f.device, (1 << 20) + 1, SHARED));
    assert_int_equal(reported(SOFTMETAL_VALIDATION, "the length 1048577 is over the device's maxBufferLength, 1048576"), 1);
    assert_null(new_buffer(f.device, 64, 3 << 4));
    assert_int_equal(reported(SOFTMETAL_VALIDATION, "storage mode 3"), 1);
    assert_null(
        SEND(id, (const void *, NSUInteger, NSUInteger), f.device, "newBufferWithBytes:length:options:", NULL, 16, SHARED));
    assert_int_equal(reported(SOFTMETAL_VALIDATION, "the bytes are a null pointer"), 1);
    assert_null(
        SEND(id, (const void *, NSUInteger, NSUInteger), f.device, "newBufferWithBytes:length:options:", &seven, 4, PRIVATE));
    assert_int_equal(reported(SOFTMETAL_VALIDATION, "bytes cannot be put in a private buffer"), 1);
    close_fixture(&f);
}

static void memory_of_the_host(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    char *pages = aligned_alloc(65536, 131072);
    id buffer = no_copy(&f, pages, 65536, SHARED);
    assert_non_null(buffer);
    assert_ptr_equal(contents(buffer), pages);
    release(buffer);
    assert_no_reports();
    assert_null(no_copy(&f, pages + 16, 65536, SHARED));
    assert_int_equal(reported(SOFTMETAL_VALIDATION, "is not at a multiple of the page size"), 1);
    assert_null(no_copy(&f, pages, 65535, SHARED));
    assert_int_equal(reported(SOFTMETAL_VALIDATION, "the length 65535 is not a multiple of the page size"), 1);
    assert_null(no_copy(&f, NULL, 65536, SHARED));
    assert_null(no_copy(&f, pages, 65536, PRIVATE));
    assert_int_equal(reported(SOFTMETAL_VALIDATION, "storage mode 2: memory of the host's is shared or managed"), 1);
    free(pages);
    close_fixture(&f);
}

static void private_memory_has_no_contents(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id buffer = new_buffer(f.device, 4096, PRIVATE);
    assert_non_null(buffer);
    label(buffer, "weights");
    assert_no_reports();
    assert_null(contents(buffer));
    assert_reported(SOFTMETAL_VALIDATION, "buffer 'weights' of 4096 bytes is private: the CPU cannot see it");
    release(buffer);
    close_fixture(&f);
}

static void encoder_released_open(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id buffer = get(get(f.queue, "commandBuffer"), "retain");
    void *pool = host.push_pool();
    label(get(buffer, "computeCommandEncoder"), "forgotten");
    host.pop_pool(pool);
    assert_reported(SOFTMETAL_VALIDATION, "encoder 'forgotten' was released without endEncoding");
    finish(buffer);
    assert_int_equal(number(buffer, "status"), STATUS_ERROR);
    release(buffer);
    close_fixture(&f);
}

static void a_queue_of_uncommitted_buffers(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id queue = SEND(id, (NSUInteger), f.device, "newCommandQueueWithMaxCommandBufferCount:", 2);
    id first = get(queue, "commandBuffer"), second = get(queue, "commandBuffer");
    call(first, "commit");
    id third = get(queue, "commandBuffer"); /* waits for the first */
    assert_int_equal(number(first, "status"), STATUS_COMPLETED);
    assert_no_reports();
    assert_non_null(get(queue, "commandBuffer"));
    assert_reported(SOFTMETAL_VALIDATION, "the queue has its 2 uncompleted command buffers, and none of them is committed");
    finish(second);
    finish(third);
    assert_null(SEND(id, (NSUInteger), f.device, "newCommandQueueWithMaxCommandBufferCount:", 0));
    release(queue);
    close_fixture(&f);
}

static void on_completed_waits(block *self, id buffer)
{
    (void)self;
    call(buffer, "waitUntilCompleted");
    call(buffer, "waitUntilScheduled");
}

/* The buffer has completed when its handler runs: waiting for it there is at once over, and no mistake. */
static void waiting_in_a_handler(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id buffer = get(f.queue, "commandBuffer");
    block handler = BLOCK(on_completed_waits, NULL);
    SEND(void, (block *), buffer, "addCompletedHandler:", &handler);
    finish(buffer);
    assert_no_reports();
    close_fixture(&f);
}

static void on_scheduled_waits(block *self, id buffer)
{
    (void)self;
    call(buffer, "waitUntilCompleted");
}

static void waiting_in_a_scheduled_handler(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id buffer = get(f.queue, "commandBuffer");
    block handler = BLOCK(on_scheduled_waits, NULL);
    SEND(void, (block *), buffer, "addScheduledHandler:", &handler);
    finish(buffer);
    assert_reported(SOFTMETAL_VALIDATION, "called by the thread that completes command buffer");
    assert_int_equal(number(buffer, "status"), STATUS_COMPLETED);
    close_fixture(&f);
}

/* Work before the misuse is done, work behind it is not. */
static void the_buffer_stops_at_the_misuse(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id memory = new_buffer(f.device, 64, SHARED), buffer = get(f.queue, "commandBuffer"),
       encoder = get(buffer, "computeCommandEncoder");
    set_pipeline(encoder, kernel(&f, NOTE));
    set_buffer(encoder, memory, 0, 0);
    for (uint32_t i = 1; i <= 3; i++) {
        if (i == 2)
            set_buffer(encoder, NULL, 0, 1);
        else
            set_bytes(encoder, &i, sizeof i, 1);
        dispatch_threads(encoder, size1(1), size1(1));
    }
    end(encoder);
    finish(buffer);
    const uint32_t *log = contents(memory);
    assert_int_equal(log[0], 1);
    assert_int_equal(log[1], 1);
    assert_int_equal(number(buffer, "status"), STATUS_ERROR);
    assert_int_equal(error_code(get(buffer, "error")), 9);
    assert_non_null(strstr(error_text(get(buffer, "error")), "Invalid Resource"));
    assert_reported(SOFTMETAL_VALIDATION, "missing buffer binding at index 1 for 'value'");
    release(memory);
    close_fixture(&f);
}

int main(void)
{
    enum { RULES = sizeof rules / sizeof *rules };
    open_library();
    static const struct CMUnitTest others[] = {
        cmocka_unit_test(buffers_that_cannot_be),         cmocka_unit_test(memory_of_the_host),
        cmocka_unit_test(private_memory_has_no_contents), cmocka_unit_test(encoder_released_open),
        cmocka_unit_test(a_queue_of_uncommitted_buffers), cmocka_unit_test(waiting_in_a_handler),
        cmocka_unit_test(waiting_in_a_scheduled_handler), cmocka_unit_test(the_buffer_stops_at_the_misuse),
    };
    static struct CMUnitTest tests[RULES + sizeof others / sizeof *others];
    for (size_t i = 0; i < RULES; i++)
        tests[i] = (struct CMUnitTest){rules[i].name, breaks_and_keeps, NULL, NULL, (void *)(uintptr_t)&rules[i]};
    memcpy(tests + RULES, others, sizeof others);
    return cmocka_run_group_tests_name("validation", tests, NULL, NULL);
}
