#include "backend/metal/profile.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "backend/metal/samples.h"
#include "base/clock.h"

#define CONCURRENT 1u
#define MOST_OPS 1024 /* of a submission; more are not timed one by one */
#define MOST_BUFFERS 256

typedef struct timed_op {
    char label[24];
    pv_cost cost;
    uint32_t first, count; /* pairs of samples: one for all of it, or one a dispatch */
} timed_op;

typedef struct timed_slot {
    pv_metal_samples samples;
    pv_id buffers[MOST_BUFFERS];
    timed_op ops[MOST_OPS];
    const char *kernels[PV_METAL_PAIRS]; /* of the pairs of dispatches */
    uint32_t buffer_count, op_count, pair_count, rows;
    bool in_op, in_dispatch;       /* that are timed */
    uint64_t encode, step;         /* signposts */
} timed_slot;

struct pv_metal_profile {
    pv_metal_sampler sampler;
    pv_signposts signposts;
    timed_slot slots[PV_METAL_QUEUE];
    uint64_t cpu, gpu; /* the two clocks at the same moment, nanoseconds and ticks */
    char ops_track[48], dispatches_track[48];
};

/* ---- Making ---- */

pv_status pv_metal_profile_create(pv_metal_device *device, pv_error *error)
{
    if (device->environment->trace == NULL) return PV_OK;
    pv_metal_profile *profile = pv_calloc(device->allocator, 1, sizeof *profile);
    if (profile == NULL) return pv_fail_memory(error, sizeof *profile, "a profile");
    device->profile = profile;
    snprintf(profile->ops_track, sizeof profile->ops_track, "%s ops", device->description.id);
    snprintf(profile->dispatches_track, sizeof profile->dispatches_track, "%s dispatches", device->description.id);
    pv_signposts_open(&profile->signposts);
    profile->sampler = pv_metal_sampler_find(device);
    for (uint32_t i = 0; i < PV_METAL_QUEUE; i++)
        pv_metal_samples_create(device, &profile->sampler, &profile->slots[i].samples);
    if (profile->sampler.times != NULL)
        pv_msg_device_timestamps(&device->objc, device->device, &profile->cpu, &profile->gpu);
    return PV_OK;
}

const pv_signposts *pv_metal_profile_signposts(const pv_metal_device *device)
{
    return device->profile != NULL ? &device->profile->signposts : NULL;
}

static void forget(const pv_metal_device *device, timed_slot *slot)
{
    for (uint32_t i = 0; i < slot->buffer_count; i++) device->objc.release(slot->buffers[i]);
    slot->buffer_count = slot->op_count = slot->pair_count = 0;
    slot->in_op = slot->in_dispatch = false;
    pv_signpost_end(&device->profile->signposts, PV_SIGNPOST_ENCODE, slot->encode);
    pv_signpost_end(&device->profile->signposts, PV_SIGNPOST_STEP, slot->step);
    slot->encode = slot->step = 0;
}

void pv_metal_profile_destroy(pv_metal_device *device)
{
    if (device->profile == NULL) return;
    for (uint32_t i = 0; i < PV_METAL_QUEUE; i++) {
        timed_slot *slot = &device->profile->slots[i];
        forget(device, slot);
        if (slot->samples.times != NULL) pv_metal_let_go(device, slot->samples.times);
        if (slot->samples.statistics != NULL) pv_metal_let_go(device, slot->samples.statistics);
    }
    pv_free(device->allocator, device->profile);
    device->profile = NULL;
}

/* ---- Encoding ---- */

void pv_metal_profile_begin(pv_metal_device *device, uint32_t slot, uint32_t rows)
{
    timed_slot *timed = &device->profile->slots[slot];
    char text[32];
    forget(device, timed);
    timed->rows = rows;
    snprintf(text, sizeof text, "%u rows", rows);
    timed->step = pv_signpost_begin(&device->profile->signposts, PV_SIGNPOST_STEP, text);
    timed->encode = pv_signpost_begin(&device->profile->signposts, PV_SIGNPOST_ENCODE, text);
}

pv_id pv_metal_profile_encoder(pv_metal_device *device, uint32_t slot, pv_id command_buffer, const pv_op *op, pv_cost cost)
{
    const pv_objc *objc = &device->objc;
    timed_slot *timed = &device->profile->slots[slot];
    const bool room = timed->samples.times != NULL && timed->op_count < MOST_OPS && timed->pair_count < PV_METAL_PAIRS;
    const bool whole = room && !device->profile->sampler.dispatches;
    const pv_id encoder = whole ? pv_metal_samples_encoder(objc, &timed->samples, command_buffer, timed->pair_count)
                                : pv_msg_command_buffer_encoder(objc, command_buffer, CONCURRENT);
    timed->in_op = false;
    if (encoder == NULL) return NULL;
    timed_op noted = {.cost = cost, .first = timed->pair_count, .count = whole};
    snprintf(noted.label, sizeof noted.label, "%s", op->label[0] != '\0' ? op->label : pv_op_name(op->kind));
    pv_msg_encoder_push_group(objc, encoder, pv_objc_string(objc, noted.label));
    if (!room) return encoder;
    timed->ops[timed->op_count++] = noted;
    timed->pair_count += whole;
    timed->in_op = true;
    return encoder;
}

pv_id pv_metal_profile_go_on(pv_metal_device *device, uint32_t slot, pv_id command_buffer)
{
    const pv_objc *objc = &device->objc;
    timed_slot *timed = &device->profile->slots[slot];
    const pv_id encoder = pv_msg_command_buffer_encoder(objc, command_buffer, CONCURRENT);
    if (timed->in_op) timed->ops[timed->op_count - 1].count = 0;
    timed->in_op = false;
    if (encoder != NULL) pv_msg_encoder_push_group(objc, encoder, pv_objc_string(objc, "behind MPS"));
    return encoder;
}

void pv_metal_profile_dispatch(pv_metal_device *device, uint32_t slot, pv_id encoder, const char *kernel)
{
    timed_slot *timed = &device->profile->slots[slot];
    timed->in_dispatch = device->profile->sampler.dispatches && timed->in_op && timed->pair_count < PV_METAL_PAIRS;
    if (!timed->in_dispatch) return;
    timed->kernels[timed->pair_count] = kernel;
    pv_metal_samples_take(&device->objc, &timed->samples, encoder, timed->pair_count, false);
}

void pv_metal_profile_dispatched(pv_metal_device *device, uint32_t slot, pv_id encoder)
{
    timed_slot *timed = &device->profile->slots[slot];
    if (!timed->in_dispatch) return;
    pv_metal_samples_take(&device->objc, &timed->samples, encoder, timed->pair_count++, true);
    timed->ops[timed->op_count - 1].count++;
    timed->in_dispatch = false;
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

void pv_metal_profile_encoded(pv_metal_device *device, uint32_t slot)
{
    timed_slot *timed = &device->profile->slots[slot];
    pv_signpost_end(&device->profile->signposts, PV_SIGNPOST_ENCODE, timed->encode);
    timed->encode = 0;
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
typedef struct clock_line {
    uint64_t cpu, gpu;
    double scale, offset;
} clock_line;

static clock_line read_clocks(const pv_metal_device *device, double offset)
{
    const pv_metal_profile *profile = device->profile;
    clock_line line = {.scale = 1, .offset = offset};
    pv_msg_device_timestamps(&device->objc, device->device, &line.cpu, &line.gpu);
    if (line.gpu > profile->gpu) line.scale = (double)(line.cpu - profile->cpu) / (double)(line.gpu - profile->gpu);
    return line;
}

static double seconds_at(const clock_line *line, uint64_t ticks)
{
    return 1e-9 * ((double)line->cpu - line->scale * ((double)line->gpu - (double)ticks)) + line->offset;
}

/* The dispatches of an op, where they were sampled. Adds up their threads. */
static uint64_t tell_dispatches(const pv_metal_device *device, const timed_slot *slot, const timed_op *op,
                                const pv_metal_sampled *sampled, const clock_line *line)
{
    uint64_t threads = 0, ticks[2];
    for (uint32_t pair = op->first; pair < op->first + op->count; pair++) {
        const uint64_t own = pv_metal_sampled_threads(sampled, pair);
        threads += own;
        if (!device->profile->sampler.dispatches || !pv_metal_sampled_ticks(sampled, pair, ticks)) continue;
        const pv_timing timing = {.track = device->profile->dispatches_track,
                                  .name = slot->kernels[pair],
                                  .begin = seconds_at(line, ticks[0]),
                                  .end = seconds_at(line, ticks[1]),
                                  .rows = slot->rows,
                                  .threads = own};
        tell(device, &timing);
    }
    return threads;
}

static void tell_ops(const pv_metal_device *device, const timed_slot *slot, double offset)
{
    uint64_t first[2], last[2];
    if (slot->pair_count == 0) return;
    const pv_metal_sampled sampled = pv_metal_samples_resolve(&device->objc, &slot->samples, slot->pair_count);
    const clock_line line = read_clocks(device, offset);
    for (uint32_t i = 0; i < slot->op_count; i++) {
        const timed_op *op = &slot->ops[i];
        if (op->count == 0 || !pv_metal_sampled_ticks(&sampled, op->first, first) ||
            !pv_metal_sampled_ticks(&sampled, op->first + op->count - 1, last))
            continue;
        const pv_timing timing = {.track = device->profile->ops_track,
                                  .name = op->label,
                                  .begin = seconds_at(&line, first[0]),
                                  .end = seconds_at(&line, last[1]),
                                  .rows = slot->rows,
                                  .bytes = op->cost.bytes,
                                  .operations = op->cost.operations,
                                  .threads = tell_dispatches(device, slot, op, &sampled, &line)};
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
