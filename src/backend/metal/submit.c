/* Records become command buffers, while earlier ones run; waiting for them, and reading every status.
 *
 * A decode step is one command buffer. More work is cut where its estimate passes a quarter of a second, because the system
 * ends what runs too long, and what it ends is lost. An op that would take longer by itself is dispatched in pieces. */
#include <string.h>

#include "backend/metal/capture.h"
#include "backend/metal/mps.h"
#include "backend/metal/prepare.h"
#include "backend/metal/profile.h"
#include "backend/metal/validate.h"

#define CONCURRENT 1u    /* MTLDispatchTypeConcurrent */
#define SCOPE_BUFFERS 1u /* MTLBarrierScopeBuffers */
#define CAPTURED_STEPS 4

/* ---- Encoding ---- */

typedef struct encoding {
    pv_metal_device *device;
    uint32_t slot;
    const pv_submission *submission;
    pv_id command_buffer, encoder; /* that are open, or NULL */
    double seconds;                /* of work in it */
    uint64_t pieces;               /* of the op that is being encoded */
    uint32_t counts[PV_METAL_COUNTS];
    uint32_t kv_length; /* the longest */
    const pv_step_counts *step;
    bool looked; /* validation found something in this submission, or it hangs: no more is looked at */
} encoding;

static void read_counts(encoding *e, const pv_step_layout *layout)
{
    const pv_step_view step = pv_step_view_of(pv_tensor_host(&e->submission->block), layout);
    const pv_step_counts *counts = step.counts;
    e->step = counts;
    e->counts[PV_METAL_ONE] = 1;
    e->counts[PV_METAL_ROWS] = counts->rows;
    e->counts[PV_METAL_LOGITS] = counts->logits;
    e->counts[PV_METAL_TILES] = counts->tiles;
    e->counts[PV_METAL_DECODE_ROWS] = counts->decode_rows;
    for (uint32_t i = 0; i < counts->seqs; i++) {
        if (step.seqs[i].kv_length > (int32_t)e->kv_length) e->kv_length = (uint32_t)step.seqs[i].kv_length;
    }
}

/* With a profile each op has an encoder of its own. */
static bool open_command_buffer(encoding *e)
{
    const pv_objc *objc = &e->device->objc;
    e->seconds = 0;
    e->command_buffer =
        e->device->mps != NULL ? pv_metal_mps_command_buffer(e->device) : pv_msg_queue_command_buffer(objc, e->device->queue);
    if (e->command_buffer == NULL || e->device->profile != NULL) return e->command_buffer != NULL;
    e->encoder = pv_msg_command_buffer_encoder(objc, e->command_buffer, CONCURRENT);
    if (e->encoder == NULL) e->command_buffer = NULL;
    return e->encoder != NULL;
}

static void end_encoder(encoding *e)
{
    if (e->encoder == NULL) return;
    if (e->device->profile != NULL) pv_metal_profile_end_op(e->device, e->encoder);
    pv_msg_encoder_end(&e->device->objc, e->encoder);
    e->encoder = NULL;
}

static void commit(encoding *e)
{
    end_encoder(e);
    pv_metal_watch_add(e->device->watch, e->slot, e->command_buffer);
    if (e->device->profile != NULL) pv_metal_profile_add(e->device, e->slot, e->command_buffer);
    pv_msg_command_buffer_commit(&e->device->objc, e->command_buffer);
    if (e->seconds > e->device->longest_seconds) e->device->longest_seconds = e->seconds;
    e->command_buffer = NULL;
}

static uint64_t extent_of(const encoding *e, const pv_metal_axis *axis)
{
    return pv_metal_groups(axis, e->counts[axis->count]);
}

/* Threadgroups [first, first + count) along a record's cut axis; what may not be cut is one piece. */
typedef struct piece {
    uint64_t first, count;
} piece;

/* Of a binding that is no tensor. */
static void find_place(const encoding *e, const pv_prepared *prepared, const pv_metal_binding *binding, uint64_t first_group,
                       pv_id *buffer, uint64_t *offset)
{
    const pv_tensor *outputs = &e->submission->outputs;
    switch ((pv_metal_place)binding->place) {
    case PV_METAL_SCRATCH: *buffer = pv_metal_buffer_of(&e->device->scratch); break;
    case PV_METAL_OUTPUTS: *buffer = pv_metal_buffer_of(outputs->buffer), *offset = outputs->offset; break;
    case PV_METAL_FIRST_GROUP:
        *buffer = pv_metal_buffer_of(prepared->args.buffer);
        *offset = prepared->args.offset + prepared->numbers + first_group * sizeof(uint32_t);
        break;
    case PV_METAL_TENSOR: break;
    }
}

static void bind(const encoding *e, const pv_prepared *prepared, const pv_metal_record *record, uint64_t first_group)
{
    const pv_tensor *block = &e->submission->block;
    pv_id buffers[PV_METAL_BINDINGS];
    uint64_t offsets[PV_METAL_BINDINGS];
    buffers[0] = pv_metal_buffer_of(block->buffer), offsets[0] = block->offset;
    buffers[1] = pv_metal_buffer_of(prepared->args.buffer), offsets[1] = prepared->args.offset + record->args;
    for (uint32_t i = 2; i < record->binding_count; i++) {
        const pv_metal_binding *binding = &record->bindings[i];
        buffers[i] = binding->buffer, offsets[i] = binding->offset;
        if (binding->place != PV_METAL_TENSOR) find_place(e, prepared, binding, first_group, &buffers[i], &offsets[i]);
        if (buffers[i] == NULL) buffers[i] = buffers[0], offsets[i] = offsets[0];
    }
    pv_msg_encoder_buffers(&e->device->objc, e->encoder, buffers, offsets, (pv_metal_range){0, record->binding_count});
}

static void encode(encoding *e, const pv_prepared *prepared, const pv_metal_record *record, const piece *part)
{
    const pv_objc *objc = &e->device->objc;
    pv_metal_size groups = {extent_of(e, &record->grid[0]), extent_of(e, &record->grid[1]), extent_of(e, &record->grid[2])};
    const pv_metal_size threads = {record->threads[0], record->threads[1], record->threads[2]};
    if (part != NULL) *(record->cut_axis == 1 ? &groups.height : &groups.depth) = part->count;
    if (record->barrier) pv_msg_encoder_barrier(objc, e->encoder, SCOPE_BUFFERS);
    if (groups.width == 0 || groups.height == 0 || groups.depth == 0) return;
    pv_msg_encoder_pipeline(objc, e->encoder, record->pipeline->state);
    bind(e, prepared, record, part != NULL ? part->first : 0);
    if (record->threadgroup_bytes > 0) pv_msg_encoder_threadgroup_memory(objc, e->encoder, record->threadgroup_bytes, 0);
    if (e->device->profile != NULL)
        pv_metal_profile_dispatch(e->device, e->slot, e->encoder, record->pipeline->kernel.function);
    pv_msg_encoder_dispatch(objc, e->encoder, groups, threads);
    if (e->device->profile != NULL) pv_metal_profile_dispatched(e->device, e->slot, e->encoder);
    for (int i = 0; i < 2; i++) e->device->counters[record->counters[i]].count++;
}

/* MPS has encoders of its own, which Metal orders by what they read and write. Without an encoder afterwards the step fails. */
static void encode_product(encoding *e, const pv_prepared *prepared, const pv_metal_record *record, const piece *part)
{
    pv_metal_product product = pv_metal_mps_product(&prepared->plan->ops[record->op].linear);
    uint32_t rows = e->counts[PV_METAL_ROWS];
    if (part != NULL) {
        const uint64_t first = part->first * record->grid[1].per, end = first + part->count * record->grid[1].per;
        product.x_offset += first * product.x_row_bytes;
        product.out_offset += first * product.out_row_bytes;
        rows = (uint32_t)((end < rows ? end : rows) - first);
    }
    if (rows == 0) return;
    end_encoder(e);
    if (!pv_metal_mps_encode(e->device, e->command_buffer, &product, rows)) return;
    e->encoder = e->device->profile != NULL
                     ? pv_metal_profile_go_on(e->device, e->slot, e->command_buffer)
                     : pv_msg_command_buffer_encoder(&e->device->objc, e->command_buffer, CONCURRENT);
    for (int i = 0; i < 2; i++) e->device->counters[record->counters[i]].count++;
}

/* Kernels reach two thirds of what the memory gives and a third of what the chip computes, or more. */
static double seconds_for(const pv_metal_traits *traits, pv_cost cost)
{
    return 1.5 * cost.bytes / traits->bytes_per_second + 3 * cost.operations / traits->operations_per_second;
}

/* The command buffer that is open ends if what comes would make it too long. */
static bool make_room(encoding *e, double seconds)
{
    if (e->command_buffer != NULL && e->seconds > 0 && e->seconds + seconds > e->device->cut_seconds) commit(e);
    if (e->command_buffer == NULL && !open_command_buffer(e)) return false;
    e->seconds += seconds;
    return true;
}

/* The op before it runs to its end and is looked at. */
static void validate(encoding *e, const pv_op *op)
{
    if (e->looked) return;
    if (e->command_buffer != NULL) commit(e);
    if (!pv_metal_watch_wait(e->device->watch, e->slot, e->device->patience_ms))
        e->looked = true; /* who waits for the fence will be told */
    else if (pv_metal_watch_failed(e->device->watch, e->slot) == NULL)
        e->looked = pv_metal_validate(e->device, op, e->step);
}

/* ---- Ops, whole or in pieces ---- */

/* What a piece of so many threadgroups takes, or the whole op. */
static pv_cost cost_of(const encoding *e, const pv_op *op, const pv_metal_record *record, uint64_t groups)
{
    const double rows = e->counts[PV_METAL_ROWS], some = (double)record->group_rows * (double)groups;
    return pv_op_cost(op, (uint32_t)(groups > 0 && some < rows ? some + 0.999 : rows), e->kv_length);
}

/* As few as have none that takes too long; they are of nearly equal size. */
static uint64_t pieces_of(const encoding *e, const pv_op *op, const pv_metal_record *record, double seconds)
{
    const double most = e->device->cut_seconds;
    if (record->cut_axis == 0) return 1;
    const uint64_t groups = extent_of(e, &record->grid[record->cut_axis]);
    uint64_t pieces = (uint64_t)(seconds / most) + 1;
    while (pieces < groups &&
           seconds_for(&e->device->traits, cost_of(e, op, record, (groups + pieces - 1) / pieces)) > most)
        pieces++;
    return pieces < groups ? pieces : groups > 0 ? groups : 1;
}

/* Of the record of the op, the first of which is given, that needs most. */
static uint64_t count_pieces(const encoding *e, const pv_prepared *prepared, const pv_metal_record *first)
{
    const pv_op *op = &prepared->plan->ops[first->op];
    const double seconds = seconds_for(&e->device->traits, cost_of(e, op, first, 0));
    uint64_t most = 1;
    if (seconds <= e->device->cut_seconds) return 1;
    for (const pv_metal_record *r = first; r < prepared->records + prepared->count && r->op == first->op; r++) {
        const uint64_t pieces = pieces_of(e, op, r, seconds);
        if (pieces > most) most = pieces;
    }
    return most;
}

/* Room for an op, or a piece of it. With a profile it has an encoder of its own. */
static bool begin_piece(encoding *e, const pv_op *op, pv_cost cost, bool counted)
{
    if (!make_room(e, counted ? 0 : seconds_for(&e->device->traits, cost))) return false;
    if (e->device->profile == NULL) return true;
    end_encoder(e);
    e->encoder = pv_metal_profile_encoder(e->device, e->slot, e->command_buffer, op, cost);
    return e->encoder != NULL;
}

/* Before an op's first record. `counted`: its time was made room for already. */
static bool begin_op(encoding *e, const pv_prepared *prepared, const pv_metal_record *record, bool counted)
{
    const pv_op *op = &prepared->plan->ops[record->op];
    e->pieces = 1;
    if (counted && e->device->profile == NULL) return e->command_buffer != NULL || open_command_buffer(e);
    if (!counted) e->pieces = count_pieces(e, prepared, record);
    return e->pieces > 1 || begin_piece(e, op, cost_of(e, op, record, 0), counted);
}

static bool encode_record(encoding *e, const pv_prepared *prepared, const pv_metal_record *record, const piece *part)
{
    if (record->pipeline == NULL) {
        encode_product(e, prepared, record, part);
    } else {
        encode(e, prepared, record, part);
    }
    return e->encoder != NULL;
}

/* A record of an op in pieces; one that cannot be cut itself counts as a piece. */
static bool encode_pieces(encoding *e, const pv_prepared *prepared, const pv_metal_record *record)
{
    const pv_op *op = &prepared->plan->ops[record->op];
    const uint64_t groups = record->cut_axis > 0 ? extent_of(e, &record->grid[record->cut_axis]) : 1;
    const uint64_t pieces = record->cut_axis == 0 ? 1 : e->pieces < groups ? e->pieces : groups;
    for (uint64_t i = 0; i < pieces; i++) {
        const piece part = {groups * i / pieces, groups * (i + 1) / pieces - groups * i / pieces};
        const pv_cost cost = cost_of(e, op, record, record->cut_axis > 0 ? part.count : 1);
        if (!begin_piece(e, op, cost, false)) return false;
        if (!encode_record(e, prepared, record, record->cut_axis > 0 ? &part : NULL)) return false;
    }
    return true;
}

static bool encode_plan(encoding *e, const pv_prepared *prepared)
{
    const double most = seconds_for(&e->device->traits, prepared->most);
    /* whatever the step holds: ops need not be looked at */
    const bool counted = e->seconds + most <= e->device->cut_seconds;
    if (counted && !make_room(e, most)) return false;
    for (size_t i = 0; i < prepared->count; i++) {
        const pv_metal_record *record = &prepared->records[i];
        if ((i == 0 || record[-1].op != record->op) && !begin_op(e, prepared, record, counted)) return false;
        if (!(e->pieces > 1 ? encode_pieces(e, prepared, record) : encode_record(e, prepared, record, NULL))) return false;
        if (e->device->environment->validate && (i + 1 == prepared->count || record[1].op != record->op))
            validate(e, &prepared->plan->ops[record->op]);
    }
    return true;
}

static uint32_t slot_of(pv_fence fence)
{
    return (uint32_t)(fence % PV_METAL_QUEUE);
}

static void complete(pv_metal_device *device)
{
    const uint32_t slot = slot_of(++device->completed);
    if (device->profile != NULL) pv_metal_profile_end(device, slot, pv_metal_watch_failed(device->watch, slot) == NULL);
    if (device->completed == CAPTURED_STEPS) pv_metal_capture_stop(device);
    pv_metal_watch_clear(device->watch, slot);
    pv_pool_completed(device->args, device->completed);
}

/* What was made since the last submission is resident from this one on: else the driver drops its mappings after seconds of
 * rest. */
static void commit_residency(pv_metal_device *device)
{
    if (!device->residency_stale) return;
    pv_msg_residency_commit(&device->objc, device->residency);
    pv_msg_residency_request(&device->objc, device->residency);
    device->residency_stale = false;
}

static pv_status encode_submission(pv_metal_device *device, const pv_submission *submission, uint32_t slot, pv_error *error)
{
    encoding e = {.device = device, .slot = slot, .submission = submission};
    bool encoded = true;
    for (uint32_t p = 0; p < submission->plan_count && encoded; p++) {
        read_counts(&e, &submission->plans[p]->layout);
        if (p == 0 && device->profile != NULL) pv_metal_profile_begin(device, slot, e.step->rows);
        encoded = encode_plan(&e, submission->plans[p]);
    }
    if (e.command_buffer != NULL) commit(&e);
    if (device->profile != NULL) pv_metal_profile_encoded(device, slot);
    return encoded ? PV_OK
                   : pv_fail_at(error, PV_DEVICE_OUT_OF_MEMORY, device->description.id, PV_NO_OFFSET,
                                "the queue gave no command buffer or encoder");
}

pv_status pv_metal_submit(pv_backend_device *base, const pv_submission *submission, pv_fence *fence, pv_error *error)
{
    pv_metal_device *device = pv_metal_of(base);
    if (submission->plan_count > PV_METAL_PLANS) {
        return pv_fail_at(error, PV_INVALID_ARGUMENT, device->description.id, PV_NO_OFFSET,
                          "a submission of %u plans; at most %d", submission->plan_count, PV_METAL_PLANS);
    }
    if (device->removed) return pv_fail_at(error, PV_DEVICE_LOST, device->description.id, PV_NO_OFFSET, "the device was lost");
    if (device->submitted - device->completed == PV_METAL_QUEUE) {
        const pv_status status = pv_metal_wait(base, device->completed + 1, device->patience_ms, error);
        if (status != PV_OK) return status;
    }
    const uint32_t slot = slot_of(device->submitted + 1);
    void *pool = device->objc.push();
    commit_residency(device);
    pv_metal_capture_start(device);
    const pv_status status = encode_submission(device, submission, slot, error);
    device->objc.pop(pool);
    if (status != PV_OK) {
        /* what was committed already runs to its end first: the block and outputs are the caller's again */
        const bool ended = pv_metal_watch_wait(device->watch, slot, device->patience_ms);
        if (ended) {
            pv_metal_watch_clear(device->watch, slot);
            return status;
        }
        device->submitted++; /* never to be waited for: what it uses must outlive it all the same */
        device->removed = true;
        return pv_fail_at(error, PV_DEVICE_LOST, device->description.id, PV_NO_OFFSET,
                          "the device does not end what it was given");
    }
    *fence = ++device->submitted;
    return PV_OK;
}

/* ---- Waiting ---- */

static pv_status result_of(pv_metal_device *device, uint32_t slot, pv_error *error)
{
    const pv_id failed = pv_metal_watch_failed(device->watch, slot);
    if (failed == NULL) return PV_OK;
    const pv_status status =
        pv_metal_failure(device, pv_msg_command_buffer_error(&device->objc, failed), "a command buffer", error);
    if (status == PV_DEVICE_LOST) device->removed = true;
    /* perhaps it ran too long for somebody who wanted to see his screen move: what is tried again is cut shorter */
    if (status == PV_DEVICE_TRANSIENT && device->cut_seconds > PV_METAL_SHORTEST_CUT) device->cut_seconds /= 2;
    return status;
}

/* A failure does not end it: until the fence's own submission has ended the host may not touch what it uses. */
pv_status pv_metal_wait(pv_backend_device *base, pv_fence fence, uint32_t timeout_ms, pv_error *error)
{
    pv_metal_device *device = pv_metal_of(base);
    pv_status first = PV_OK;
    if (fence > device->submitted) {
        return pv_fail_at(error, PV_INVALID_ARGUMENT, device->description.id, PV_NO_OFFSET,
                          "waiting for fence %llu; the last one is %llu", (unsigned long long)fence,
                          (unsigned long long)device->submitted);
    }
    while (device->completed < fence) {
        const uint32_t slot = slot_of(device->completed + 1);
        if (!pv_metal_watch_wait(device->watch, slot, timeout_ms)) {
            return pv_fail_at(error, PV_TIMEOUT, device->description.id, PV_NO_OFFSET, "the step did not end within %u ms",
                              timeout_ms);
        }
        void *pool = device->objc.push();
        const pv_status status = result_of(device, slot, first == PV_OK ? error : NULL);
        if (first == PV_OK) first = status;
        complete(device);
        device->objc.pop(pool);
    }
    return first;
}

/* Every status stays to be read by the wait for its own fence. */
pv_status pv_metal_settle(pv_metal_device *device, pv_error *error)
{
    for (pv_fence fence = device->completed + 1; fence <= device->submitted; fence++) {
        if (pv_metal_watch_wait(device->watch, slot_of(fence), device->patience_ms)) continue;
        return pv_fail_at(error, PV_TIMEOUT, device->description.id, PV_NO_OFFSET, "submission %llu did not end within %u ms",
                          (unsigned long long)fence, device->patience_ms);
    }
    return PV_OK;
}

bool pv_metal_abandon(pv_metal_device *device)
{
    bool ended = true;
    for (; device->completed < device->submitted; device->completed++) {
        const uint32_t slot = slot_of(device->completed + 1);
        if (pv_metal_watch_wait(device->watch, slot, 0))
            pv_metal_watch_clear(device->watch, slot);
        else
            ended = false;
    }
    return ended;
}
