#include "backend/metal/samples.h"

#include <string.h>

#define AT_STAGE_BOUNDARY 0u    /* MTLCounterSamplingPoint */
#define AT_DISPATCH_BOUNDARY 2u
#define STORAGE_SHARED 0u       /* MTLStorageModeShared */
#define CONCURRENT 1u           /* MTLDispatchTypeConcurrent */
#define NO_SAMPLE UINT64_MAX    /* MTLCounterErrorValue */
#define STATISTIC_COUNTERS 8    /* of MTLCounterResultStatistic, the last being computeKernelInvocations */
#define KERNEL_INVOCATIONS 7

/* ---- What there is ---- */

static pv_id find_set(const pv_metal_device *device, const char *wanted)
{
    const pv_objc *objc = &device->objc;
    const pv_id sets = pv_msg_device_counter_sets(objc, device->device);
    for (uint64_t i = 0; i < pv_msg_array_count(objc, sets); i++) {
        const pv_id set = pv_msg_array_at(objc, sets, i);
        const char *name = pv_msg_string_utf8(objc, pv_msg_counter_set_name(objc, set));
        if (name != NULL && strcmp(name, wanted) == 0) return set;
    }
    return NULL;
}

pv_metal_sampler pv_metal_sampler_find(const pv_metal_device *device)
{
    const pv_objc *objc = &device->objc;
    pv_metal_sampler found = {0};
    if (objc->classes.MTLCounterSampleBufferDescriptor == NULL || objc->classes.MTLComputePassDescriptor == NULL) return found;
    if (!pv_msg_responds_to(objc, device->device, objc->selectors.device_supports_sampling)) return found;
    found.dispatches = pv_msg_device_supports_sampling(objc, device->device, AT_DISPATCH_BOUNDARY);
    if (!found.dispatches && !pv_msg_device_supports_sampling(objc, device->device, AT_STAGE_BOUNDARY)) return found;
    found.times = find_set(device, "timestamp");
    found.statistics = find_set(device, "statistic");
    return found;
}

static pv_id make_buffer(const pv_metal_device *device, pv_id set, uint32_t pairs)
{
    const pv_objc *objc = &device->objc;
    pv_id nserror = NULL;
    if (set == NULL) return NULL;
    const pv_id descriptor = pv_objc_new(objc, objc->classes.MTLCounterSampleBufferDescriptor);
    pv_msg_samples_counter_set(objc, descriptor, set);
    pv_msg_samples_storage(objc, descriptor, STORAGE_SHARED);
    pv_msg_samples_count(objc, descriptor, 2ull * pairs);
    const pv_id made = pv_msg_device_new_samples(objc, device->device, descriptor, &nserror);
    objc->release(descriptor);
    return made;
}

void pv_metal_samples_create(const pv_metal_device *device, const pv_metal_sampler *sampler, pv_metal_samples *samples)
{
    samples->times = make_buffer(device, sampler->times, PV_METAL_PAIRS);
    samples->statistics = samples->times != NULL ? make_buffer(device, sampler->statistics, PV_METAL_STATISTICS) : NULL;
}

/* ---- Sampling ---- */

static void attach(const pv_objc *objc, pv_id attachments, uint64_t index, pv_id samples, uint32_t pair)
{
    const pv_id at = pv_msg_pass_samples_at(objc, attachments, index);
    pv_msg_pass_sample_buffer(objc, at, samples);
    pv_msg_pass_sample_start(objc, at, 2ull * pair);
    pv_msg_pass_sample_end(objc, at, 2ull * pair + 1);
}

pv_id pv_metal_samples_encoder(const pv_objc *objc, const pv_metal_samples *samples, pv_id command_buffer, uint32_t pair)
{
    const pv_id pass = pv_objc_new(objc, objc->classes.MTLComputePassDescriptor);
    const pv_id attachments = pv_msg_pass_samples(objc, pass);
    pv_msg_pass_dispatch_type(objc, pass, CONCURRENT);
    attach(objc, attachments, 0, samples->times, pair);
    if (samples->statistics != NULL && pair < PV_METAL_STATISTICS) attach(objc, attachments, 1, samples->statistics, pair);
    const pv_id encoder = pv_msg_command_buffer_encoder_of(objc, command_buffer, pass);
    objc->release(pass);
    return encoder;
}

void pv_metal_samples_take(const pv_objc *objc, const pv_metal_samples *samples, pv_id encoder, uint32_t pair, bool last)
{
    pv_msg_encoder_sample(objc, encoder, samples->times, 2ull * pair + last, true);
    if (samples->statistics != NULL && pair < PV_METAL_STATISTICS)
        pv_msg_encoder_sample(objc, encoder, samples->statistics, 2ull * pair + last, true);
}

/* ---- Reading ---- */

static const uint64_t *resolve(const pv_objc *objc, pv_id samples, uint32_t pairs, uint32_t counters)
{
    if (samples == NULL || pairs == 0) return NULL;
    const pv_id data = pv_msg_samples_resolve(objc, samples, (pv_metal_range){0, 2ull * pairs});
    if (data == NULL || pv_msg_data_length(objc, data) < 2ull * pairs * counters * sizeof(uint64_t)) return NULL;
    return pv_msg_data_bytes(objc, data);
}

pv_metal_sampled pv_metal_samples_resolve(const pv_objc *objc, const pv_metal_samples *samples, uint32_t pairs)
{
    const uint32_t counted = pairs < PV_METAL_STATISTICS ? pairs : PV_METAL_STATISTICS;
    return (pv_metal_sampled){.ticks = resolve(objc, samples->times, pairs, 1),
                              .statistics = resolve(objc, samples->statistics, counted, STATISTIC_COUNTERS),
                              .pairs = pairs,
                              .counted = counted};
}

bool pv_metal_sampled_ticks(const pv_metal_sampled *sampled, uint32_t pair, uint64_t ticks[2])
{
    if (sampled->ticks == NULL || pair >= sampled->pairs) return false;
    memcpy(ticks, sampled->ticks + 2 * pair, 2 * sizeof ticks[0]);
    return ticks[0] != NO_SAMPLE && ticks[1] != NO_SAMPLE;
}

uint64_t pv_metal_sampled_threads(const pv_metal_sampled *sampled, uint32_t pair)
{
    if (sampled->statistics == NULL || pair >= sampled->counted) return 0;
    const uint64_t *first = sampled->statistics + 2ull * pair * STATISTIC_COUNTERS, *last = first + STATISTIC_COUNTERS;
    const uint64_t begin = first[KERNEL_INVOCATIONS], end = last[KERNEL_INVOCATIONS];
    return begin != NO_SAMPLE && end != NO_SAMPLE && end > begin ? end - begin : 0;
}
