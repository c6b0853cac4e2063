#include "backend/metal/profile.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

#define AT_STAGE_BOUNDARY 0u /* MTLCounterSamplingPointAtStageBoundary: the only one that Apple's own GPUs have */
#define STORAGE_SHARED 0u    /* MTLStorageModeShared */
#define CONCURRENT 1u
#define MOST_OPS 1024 /* of a submission: two samples each; more are not timed one by one */
#define MOST_BUFFERS 256
#define NO_SAMPLE UINT64_MAX /* MTLCounterErrorValue */

typedef struct timed_op {
    char label[24];
    pv_cost cost;
} timed_op;

typedef struct timed_slot {
    pv_id samples; /* NULL: the device does not time encoders */
    pv_id buffers[MOST_BUFFERS];
    timed_op ops[MOST_OPS];
    uint32_t buffer_count, op_count, rows;
} timed_slot;

struct pv_metal_profile {
    timed_slot slots[PV_METAL_QUEUE];
    uint64_t cpu, gpu; /* the two clocks at the same moment, nanoseconds and ticks */
    char ops_track[48];
};

/* ---- Making ---- */

static pv_id find_timestamps(const pv_metal_device *device)
{
    const pv_objc *objc = &device->objc;
    if (objc->classes.MTLCounterSampleBufferDescriptor == NULL) return NULL;
    if (!pv_msg_responds_to(objc, device->device, objc->selectors.device_supports_sampling)) return NULL;
    if (!pv_msg_device_supports_sampling(objc, device->device, AT_STAGE_BOUNDARY)) return NULL;
    const pv_id sets = pv_msg_device_counter_sets(objc, device->device);
    for (uint64_t i = 0; i < pv_msg_array_count(objc, sets); i++) {
        const pv_id set = pv_msg_array_at(objc, sets, i);
        const char *name = pv_msg_string_utf8(objc, pv_msg_counter_set_name(objc, set));
        if (name != NULL && strcmp(name, "timestamp") == 0) return set;
    }
    return NULL;
}

static pv_id make_samples(const pv_metal_device *device, pv_id timestamps)
{
    const pv_objc *objc = &device->objc;
    pv_id nserror = NULL;
    const pv_id descriptor = pv_objc_new(objc, objc->classes.MTLCounterSampleBufferDescriptor);
    pv_msg_samples_counter_set(objc, descriptor, timestamps);
    pv_msg_samples_storage(objc, descriptor, STORAGE_SHARED);
    pv_msg_samples_count(objc, descriptor, 2 * MOST_OPS);
    const pv_id samples = pv_msg_device_new_samples(objc, device->device, descriptor, &nserror);
    objc->release(descriptor);
    return samples;
}

pv_status pv_metal_profile_create(pv_metal_device *device, pv_error *error)
{
    if (device->environment->trace == NULL) return PV_OK;
    pv_metal_profile *profile = pv_calloc(device->allocator, 1, sizeof *profile);
    if (profile == NULL) return pv_fail_memory(error, sizeof *profile, "a profile");
    device->profile = profile;
    snprintf(profile->ops_track, sizeof profile->ops_track, "%s ops", device->description.id);
    const pv_id timestamps = find_timestamps(device);
    for (uint32_t i = 0; i < PV_METAL_QUEUE && timestamps != NULL; i++)
        profile->slots[i].samples = make_samples(device, timestamps);
    if (timestamps != NULL) pv_msg_device_timestamps(&device->objc, device->device, &profile->cpu, &profile->gpu);
    return PV_OK;
}

static void forget(const pv_metal_device *device, timed_slot *slot)
{
    for (uint32_t i = 0; i < slot->buffer_count; i++) device->objc.release(slot->buffers[i]);
    slot->buffer_count = slot->op_count = 0;
}

void pv_metal_profile_destroy(pv_metal_device *device)
{
    if (device->profile == NULL) return;
    for (uint32_t i = 0; i < PV_METAL_QUEUE; i++) {
        timed_slot *slot = &device->profile->slots[i];
        forget(device, slot);
        if (slot->samples != NULL) pv_metal_let_go(device, slot->samples);
    }
    pv_free(device->allocator, device->profile);
    device->profile = NULL;
}

/* ---- Encoding ---- */

void pv_metal_profile_begin(pv_metal_device *device, uint32_t slot, uint32_t rows)
{
    forget(device, &device->profile->slots[slot]);
    device->profile->slots[slot].rows = rows;
}

static pv_id timed_encoder(const pv_metal_device *device, const timed_slot *slot, pv_id command_buffer)
{
    const pv_objc *objc = &device->objc;
    const pv_id pass = pv_objc_new(objc, objc->classes.MTLComputePassDescriptor);
    pv_msg_pass_dispatch_type(objc, pass, CONCURRENT);
    const pv_id at = pv_msg_pass_samples_at(objc, pv_msg_pass_samples(objc, pass), 0);
    pv_msg_pass_sample_buffer(objc, at, slot->samples);
    pv_msg_pass_sample_start(objc, at, 2ull * slot->op_count);
    pv_msg_pass_sample_end(objc, at, 2ull * slot->op_count + 1);
    const pv_id encoder = pv_msg_command_buffer_encoder_of(objc, command_buffer, pass);
    objc->release(pass);
    return encoder;
}

pv_id pv_metal_profile_encoder(pv_metal_device *device, uint32_t slot, pv_id command_buffer, const pv_op *op, pv_cost cost)
{
    const pv_objc *objc = &device->objc;
    timed_slot *timed = &device->profile->slots[slot];
    const bool sampled = timed->samples != NULL && timed->op_count < MOST_OPS;
    const pv_id encoder = sampled ? timed_encoder(device, timed, command_buffer)
                                  : pv_msg_command_buffer_encoder(objc, command_buffer, CONCURRENT);
    if (encoder == NULL) return NULL;
    timed_op noted = {.cost = cost};
    snprintf(noted.label, sizeof noted.label, "%s", op->label[0] != '\0' ? op->label : pv_op_name(op->kind));
    if (sampled) timed->ops[timed->op_count++] = noted;
    pv_msg_encoder_push_group(objc, encoder, pv_objc_string(objc, noted.label));
    return encoder;
}

void pv_metal_profile_end_op(pv_metal_device *device, pv_id encoder)
{
    pv_msg_encoder_pop_group(&device->objc, encoder);
}

void pv_metal_profile_add(pv_metal_device *device, uint32_t slot, pv_id command_buffer)
{
    timed_slot *timed = &device->profile->slots[slot];
    if (timed->buffer_count < MOST_BUFFERS) timed->buffers[timed->buffer_count++] = device->objc.retain(command_buffer);
}

/* ---- Telling ---- */

static void tell(const pv_metal_device *device, const pv_timing *timing)
{
    if (timing->end >= timing->begin) device->environment->trace(device->environment->trace_user, timing);
}

/* From the clock of the device's times, which stands while the machine sleeps, to that of all timings. */
static double clock_offset(void)
{
#ifdef __APPLE__
    return pv_seconds() - 1e-9 * (double)clock_gettime_nsec_np(CLOCK_UPTIME_RAW);
#else
    return 0;
#endif
}

static void tell_buffers(const pv_metal_device *device, const timed_slot *slot, double offset)
{
    const pv_objc *objc = &device->objc;
    for (uint32_t i = 0; i < slot->buffer_count; i++) {
        const pv_timing timing = {.track = device->description.id,
                                  .name = "command buffer",
                                  .begin = pv_msg_command_buffer_gpu_start(objc, slot->buffers[i]) + offset,
                                  .end = pv_msg_command_buffer_gpu_end(objc, slot->buffers[i]) + offset,
                                  .rows = slot->rows};
        tell(device, &timing);
    }
}

/* Ticks are read along the line through two moments at which both clocks were asked. */
static void tell_ops(pv_metal_device *device, const timed_slot *slot, double offset)
{
    const pv_objc *objc = &device->objc;
    const pv_metal_profile *profile = device->profile;
    uint64_t cpu = 0, gpu = 0;
    if (slot->op_count == 0) return;
    const pv_id data = pv_msg_samples_resolve(objc, slot->samples, (pv_metal_range){0, 2ull * slot->op_count});
    if (data == NULL || pv_msg_data_length(objc, data) < 2ull * slot->op_count * sizeof(uint64_t)) return;
    const uint64_t *ticks = pv_msg_data_bytes(objc, data);
    pv_msg_device_timestamps(objc, device->device, &cpu, &gpu);
    const double scale = gpu > profile->gpu ? (double)(cpu - profile->cpu) / (double)(gpu - profile->gpu) : 1;
    for (uint32_t i = 0; i < slot->op_count; i++) {
        const uint64_t begin = ticks[2 * i], end = ticks[2 * i + 1];
        if (begin == NO_SAMPLE || end == NO_SAMPLE) continue;
        const pv_timing timing = {.track = profile->ops_track,
                                  .name = slot->ops[i].label,
                                  .begin = 1e-9 * ((double)cpu - scale * ((double)gpu - (double)begin)) + offset,
                                  .end = 1e-9 * ((double)cpu - scale * ((double)gpu - (double)end)) + offset,
                                  .rows = slot->rows,
                                  .bytes = slot->ops[i].cost.bytes,
                                  .operations = slot->ops[i].cost.operations};
        tell(device, &timing);
    }
}

void pv_metal_profile_end(pv_metal_device *device, uint32_t slot, bool good)
{
    timed_slot *timed = &device->profile->slots[slot];
    if (good) {
        void *pool = device->objc.push();
        const double offset = clock_offset();
        tell_buffers(device, timed, offset);
        tell_ops(device, timed, offset);
        device->objc.pop(pool);
    }
    forget(device, timed);
}

/* ---- Captures ---- */

#define TRACE_DOCUMENT 2 /* MTLCaptureDestinationGPUTraceDocument */

static void say(const pv_metal_device *device, const char *what, const char *why)
{
    char line[512];
    if (device->environment->log == NULL) return;
    snprintf(line, sizeof line, "the capture %.200s %s%s%.200s", device->environment->capture, what, why != NULL ? ": " : "",
             why != NULL ? why : "");
    device->environment->log(device->environment->log_user, why != NULL ? PV_LOG_WARNING : PV_LOG_INFO, line);
}

static bool begin_capture(const pv_metal_device *device, pv_id manager, pv_id url, pv_id *nserror)
{
    const pv_objc *objc = &device->objc;
    const pv_id descriptor = pv_objc_new(objc, objc->classes.MTLCaptureDescriptor);
    pv_msg_capture_object(objc, descriptor, device->queue);
    pv_msg_capture_destination(objc, descriptor, TRACE_DOCUMENT);
    pv_msg_capture_url(objc, descriptor, url);
    const bool begun = pv_msg_capture_start(objc, manager, descriptor, nserror);
    objc->release(descriptor);
    return begun;
}

void pv_metal_capture_start(pv_metal_device *device)
{
    const pv_objc *objc = &device->objc;
    pv_id nserror = NULL;
    if (device->environment->capture == NULL || device->captured) return;
    device->captured = true;
    const pv_id url = pv_objc_url(objc, device->environment->capture);
    const pv_id manager =
        objc->classes.MTLCaptureManager != NULL ? pv_msg_capture_manager(objc, objc->classes.MTLCaptureManager) : NULL;
    if (manager == NULL || !pv_msg_capture_supports(objc, manager, TRACE_DOCUMENT)) {
        say(device, "is not made", "the system allows none; METAL_CAPTURE_ENABLED=1 in the environment does");
    } else if (url == NULL) {
        say(device, "is not made", "its path is no UTF-8");
    } else if (!begin_capture(device, manager, url, &nserror)) {
        const char *why = nserror != NULL ? pv_msg_string_utf8(objc, pv_msg_error_description(objc, nserror)) : NULL;
        say(device, "is not made", why != NULL ? why : "no reason given");
    } else {
        device->capturing = true;
    }
}

void pv_metal_capture_stop(pv_metal_device *device)
{
    if (!device->capturing) return;
    device->capturing = false;
    pv_msg_capture_stop(&device->objc, pv_msg_capture_manager(&device->objc, device->objc.classes.MTLCaptureManager));
    say(device, "is written", NULL);
}
