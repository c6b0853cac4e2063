/* MTLCounterSet, MTLCounterSampleBuffer. There is a set of one counter: GPUTimestamp, which here is nanoseconds of this machine's
 * monotonic clock when the CPU came to that place. They tell the order of things, and nothing about a GPU's speed. Where the
 * world has statistics there is a second set: of its counters only the threads of kernels are not 0. */
#include "executor/report.h"
#include "metal/metal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

SM_STRING_CONSTANT(MTLCommonCounterSetTimestamp, "timestamp")
SM_STRING_CONSTANT(MTLCommonCounterSetStageUtilization, "stageutilization")
SM_STRING_CONSTANT(MTLCommonCounterSetStatistic, "statistic")
SM_STRING_CONSTANT(MTLCommonCounterTimestamp, "GPUTimestamp")
SM_STRING_CONSTANT(MTLCounterErrorDomain, SM_COUNTER_DOMAIN)

SM_STRING_CONSTANT(MTLCommonCounterComputeKernelInvocations, "ComputeKernelInvocations")

#define SM_MOST_BYTES 32768 /* of a sample buffer, as on Apple silicon */

uint64_t sm_nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

struct timespec sm_time_in(uint32_t milliseconds)
{
    uint64_t when = sm_nanoseconds() + milliseconds * UINT64_C(1000000);
    return (struct timespec){(time_t)(when / 1000000000u), (long)(when % 1000000000u)};
}

/* ---- The sets and their counters: one of each, for ever */

typedef struct sm_counter_set {
    sm_object object;
    id name, counters;
} sm_counter_set;

SM_GETTER(sm_counter_set, name, id)
SM_GETTER(sm_counter_set, counters, id)

static const sm_method counter_methods[] = {SM_METHOD("name", "@@:", get_name)};
static sm_class sm_counter_class = {
    .name = "SoftMTLCounter", .protocol = "MTLCounter", .size = sizeof(sm_counter_set), SM_METHODS(counter_methods)};
SM_REGISTER_AT_LOAD(sm_counter_class)

static const sm_method set_methods[] = {
    SM_METHOD("name", "@@:", get_name),
    SM_METHOD("counters", "@@:", get_counters),
};
sm_class sm_counter_set_class = {
    .name = "SoftMTLCounterSet", .protocol = "MTLCounterSet", .size = sizeof(sm_counter_set), SM_METHODS(set_methods)};
SM_REGISTER_AT_LOAD(sm_counter_set_class)

static id both[2], sets[2]; /* sets[1] has both, sets[0] that of times alone */

static id make_set(id name, id counter_name)
{
    sm_counter_set *counter = (sm_counter_set *)sm_make_immortal(sm_new(&sm_counter_class));
    sm_counter_set *set = (sm_counter_set *)sm_make_immortal(sm_new(&sm_counter_set_class));
    if (!counter || !set) return NULL;
    counter->name = counter_name;
    set->name = name;
    set->counters = sm_make_immortal(sm_array_create(&(id){(id)counter}, 1));
    return (id)set;
}

static void make_sets(void)
{
    both[0] = make_set(MTLCommonCounterSetTimestamp, MTLCommonCounterTimestamp);
    both[1] = make_set(MTLCommonCounterSetStatistic, MTLCommonCounterComputeKernelInvocations);
    if (!both[0] || !both[1]) return;
    for (size_t i = 0; i < 2; i++) sets[i] = sm_make_immortal(sm_array_create(both, i + 1));
}

id sm_counter_sets(const sm_device *device)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_sets);
    return sets[device->world.statistics];
}

bool sm_samples_dispatches(const sm_device *device)
{
    return device->world.discrete || device->world.sample_dispatches;
}

void sm_sample_take(sm_sample_buffer *buffer, size_t index)
{
    uint64_t *sample = buffer->samples + index * buffer->words;
    if (buffer->words > 1) memset(sample, 0, buffer->words * sizeof *sample);
    sample[buffer->words - 1] = buffer->words > 1 ? atomic_load(&sm_counts.threads) : sm_nanoseconds();
}

/* ---- Descriptor */

typedef struct sm_sample_descriptor {
    sm_object object;
    id counterSet, label;
    NSUInteger sampleCount, storageMode;
} sm_sample_descriptor;

SM_OBJECT_ACCESSORS(sm_sample_descriptor, counterSet, sm_store)
SM_OBJECT_ACCESSORS(sm_sample_descriptor, label, sm_store_text)
SM_ACCESSORS(sm_sample_descriptor, sampleCount, NSUInteger)
SM_ACCESSORS(sm_sample_descriptor, storageMode, NSUInteger)

static void descriptor_dealloc(id self)
{
    sm_release(get_counterSet(self, NULL));
    sm_release(get_label(self, NULL));
}

static id descriptor_copy(id self, SEL cmd)
{
    id made = sm_new(&sm_sample_descriptor_class);
    if (!made) return NULL;
    set_counterSet(made, cmd, get_counterSet(self, cmd));
    set_label(made, cmd, get_label(self, cmd));
    set_sampleCount(made, cmd, get_sampleCount(self, cmd));
    set_storageMode(made, cmd, get_storageMode(self, cmd));
    return made;
}

static const sm_method descriptor_methods[] = {
    SM_METHOD("copy", "@@:", descriptor_copy),
    SM_PROPERTY("counterSet", "setCounterSet:", "@", counterSet),
    SM_PROPERTY("label", "setLabel:", "@", label),
    SM_PROPERTY("sampleCount", "setSampleCount:", "Q", sampleCount),
    SM_PROPERTY("storageMode", "setStorageMode:", "Q", storageMode),
};
sm_class sm_sample_descriptor_class = {.name = "MTLCounterSampleBufferDescriptor",
                                       .size = sizeof(sm_sample_descriptor),
                                       .dealloc = descriptor_dealloc,
                                       SM_METHODS(descriptor_methods)};
SM_REGISTER_AT_LOAD(sm_sample_descriptor_class)

/* ---- Sample buffers */

id sm_sample_buffer_create(sm_device *device, id given, id *error)
{
    const char *method = "MTLDevice newCounterSampleBufferWithDescriptor:error:";
    const sm_sample_descriptor *is = (const sm_sample_descriptor *)sm_expect_kind(given, &sm_sample_descriptor_class, method);
    if (error) *error = NULL;
    size_t words = is && is->counterSet && is->counterSet == both[1] ? SM_STATISTICS : 1;
    if (!is || !is->counterSet || is->sampleCount == 0 || is->sampleCount > SM_MOST_BYTES / (words * sizeof(uint64_t)) ||
        is->storageMode == SM_STORAGE_MANAGED) {
        sm_error_set(error, SM_COUNTER_DOMAIN, 1,
                     "A counter sample buffer needs a counter set, at least one sample and 32 KiB of them at most, and memory "
                     "that is shared or private");
        return NULL;
    }
    if (sm_device_is_removed(device) || sm_fault(SOFTMETAL_FAULT_ALLOCATION, NULL)) {
        sm_error_set(error, SM_COUNTER_DOMAIN, 0, "There is no memory for the samples");
        return NULL;
    }
    sm_sample_buffer *buffer = (sm_sample_buffer *)sm_base_new(&sm_sample_buffer_class, device);
    if (!buffer) return NULL;
    buffer->count = is->sampleCount;
    buffer->words = words;
    buffer->samples = sm_allocate(buffer->count * words * sizeof *buffer->samples);
    sm_store_text(&buffer->base.label, is->label);
    if (!buffer->samples) {
        sm_release((id)buffer);
        return NULL;
    }
    for (size_t i = 0; i < buffer->count * words; i++) buffer->samples[i] = SM_NO_SAMPLE;
    return (id)buffer;
}

static void dealloc(id self)
{
    free(((sm_sample_buffer *)self)->samples);
    sm_base_dealloc(self);
}

static id resolve(id self, SEL cmd, sm_range range)
{
    (void)cmd;
    const sm_sample_buffer *buffer = (const sm_sample_buffer *)self;
    if (range.location > buffer->count || range.length > buffer->count - range.location) {
        sm_misuse("MTLCounterSampleBuffer resolveCounterRange:", "samples {%llu, %llu} are not among the buffer's %zu",
                  (unsigned long long)range.location, (unsigned long long)range.length, buffer->count);
        return NULL;
    }
    return sm_autorelease(sm_data_create(buffer->samples + range.location * buffer->words,
                                         range.length * buffer->words * sizeof *buffer->samples));
}

SM_GETTER(sm_sample_buffer, count, NSUInteger)

static const sm_method methods[] = {
    SM_DEVICE_METHOD,
    SM_METHOD("label", "@@:", sm_base_label),
    SM_METHOD("sampleCount", "Q@:", get_count),
    SM_METHOD("resolveCounterRange:", "@@:" SM_RANGE_TYPE, resolve),
};
sm_class sm_sample_buffer_class = {.name = "SoftMTLCounterSampleBuffer",
                                   .protocol = "MTLCounterSampleBuffer",
                                   .size = sizeof(sm_sample_buffer),
                                   .dealloc = dealloc,
                                   SM_METHODS(methods)};
SM_REGISTER_AT_LOAD(sm_sample_buffer_class)
