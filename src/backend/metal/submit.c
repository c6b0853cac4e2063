/* Records become command buffers, while earlier ones run; waiting for them, and reading every status.
 *
 * A decode step is one command buffer. More work is cut where its estimate passes a quarter of a second, because the system ends what
 * runs too long, and what it ends is lost. */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "backend/metal/prepare.h"

#define CONCURRENT 1u      /* MTLDispatchTypeConcurrent */
#define SCOPE_BUFFERS 1u   /* MTLBarrierScopeBuffers */
#define STATUS_COMPLETED 4u
#define CUT_SECONDS 0.1    /* by the slowest chip's figures, of a limit of 0.25 */

/* ---- Tickets ----
 * The driver calls a block when a command buffer has ended, on a thread of its own. The block is the ticket of its submission. Who waits
 * frees the ticket, once no callback is in it; a ticket whose command buffers never end is left to the driver, which may still call. */

typedef struct block_descriptor {
    unsigned long reserved, size;
    const char *signature;
} block_descriptor;

struct pv_metal_ticket {
    struct {
        const void *isa;
        int flags, reserved;
        void (*invoke)(void *block, pv_id command_buffer);
        const block_descriptor *descriptor;
    } block; /* first: the driver's handle on the ticket */
    pthread_mutex_t lock;
    pthread_cond_t ended;
    uint32_t running;    /* command buffers */
    atomic_uint expected; /* callbacks that have not left yet */
};

static void command_buffer_ended(void *block, pv_id command_buffer)
{
    pv_metal_ticket *ticket = block;
    (void)command_buffer;
    pthread_mutex_lock(&ticket->lock);
    ticket->running--;
    pthread_cond_broadcast(&ticket->ended);
    pthread_mutex_unlock(&ticket->lock);
    atomic_fetch_sub(&ticket->expected, 1); /* the last touch */
}

static pv_metal_ticket *ticket_create(const pv_metal_device *device)
{
    /* a global block: copying and releasing it does nothing */
    static const block_descriptor descriptor = {0, sizeof ((pv_metal_ticket *)0)->block, "v16@?0@8"};
    enum { GLOBAL = 1 << 28, SIGNATURE = 1 << 30 };
    pv_metal_ticket *ticket = pv_calloc(device->allocator, 1, sizeof *ticket);
    if (ticket == NULL) return NULL;
    ticket->block.isa = device->objc.global_block;
    ticket->block.flags = GLOBAL | SIGNATURE;
    ticket->block.invoke = command_buffer_ended;
    ticket->block.descriptor = &descriptor;
    pthread_mutex_init(&ticket->lock, NULL);
    pthread_cond_init(&ticket->ended, NULL);
    return ticket;
}

static void ticket_expect(pv_metal_ticket *ticket)
{
    pthread_mutex_lock(&ticket->lock);
    ticket->running++;
    pthread_mutex_unlock(&ticket->lock);
    atomic_fetch_add(&ticket->expected, 1);
}

/* Nothing runs any more. */
static void ticket_destroy(const pv_metal_device *device, pv_metal_ticket *ticket)
{
    while (atomic_load(&ticket->expected) > 0) sched_yield();
    pthread_cond_destroy(&ticket->ended);
    pthread_mutex_destroy(&ticket->lock);
    pv_free(device->allocator, ticket);
}

/* False if something still runs when the time is over. */
static bool ticket_wait(pv_metal_ticket *ticket, uint32_t timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    int result = 0;
    pthread_mutex_lock(&ticket->lock);
    while (ticket->running > 0 && result == 0) {
        result = timeout_ms == UINT32_MAX ? pthread_cond_wait(&ticket->ended, &ticket->lock)
                                          : pthread_cond_timedwait(&ticket->ended, &ticket->lock, &until);
    }
    const bool ended = ticket->running == 0;
    pthread_mutex_unlock(&ticket->lock);
    return ended;
}

/* ---- Encoding ---- */

typedef struct encoding {
    pv_metal_device *device;
    pv_metal_flight *flight;
    const pv_submission *submission;
    pv_id encoder;   /* of the command buffer that is open, or NULL */
    double seconds;  /* of work in it */
    uint32_t counts[PV_METAL_COUNTS];
    uint32_t kv_length; /* the longest */
} encoding;

static void read_counts(encoding *e, const pv_step_layout *layout)
{
    const pv_step_view step = pv_step_view_of(pv_tensor_host(&e->submission->block), layout);
    const pv_step_counts *counts = step.counts;
    e->counts[PV_METAL_ONE] = 1;
    e->counts[PV_METAL_ROWS] = counts->rows;
    e->counts[PV_METAL_LOGITS] = counts->logits;
    e->counts[PV_METAL_TILES] = counts->tiles;
    e->counts[PV_METAL_DECODE_ROWS] = counts->decode_rows;
    e->counts[PV_METAL_BEGIN] = counts->rows + counts->patches;
    for (uint32_t i = 0; i < counts->seqs; i++) {
        if (step.seqs[i].kv_length > (int32_t)e->kv_length) e->kv_length = (uint32_t)step.seqs[i].kv_length;
    }
}

static bool open_command_buffer(encoding *e)
{
    const pv_objc *objc = &e->device->objc;
    const pv_id buffer = pv_msg_queue_command_buffer(objc, e->device->queue);
    e->encoder = buffer != NULL ? pv_msg_command_buffer_encoder(objc, buffer, CONCURRENT) : NULL;
    if (e->encoder == NULL) return false;
    e->flight->buffers[e->flight->count++] = objc->retain(buffer);
    e->seconds = 0;
    return true;
}

static void commit(encoding *e)
{
    const pv_objc *objc = &e->device->objc;
    const pv_id buffer = e->flight->buffers[e->flight->count - 1];
    pv_msg_encoder_end(objc, e->encoder);
    ticket_expect(e->flight->ticket);
    pv_msg_command_buffer_on_completed(objc, buffer, e->flight->ticket);
    pv_msg_command_buffer_commit(objc, buffer);
    e->encoder = NULL;
}

static uint64_t extent_of(const encoding *e, const pv_metal_axis *axis)
{
    const uint64_t count = e->counts[axis->count], per = axis->per > 0 ? axis->per : 1, times = axis->times > 0 ? axis->times : 1;
    return (count + per - 1) / per * times;
}

static void bind(const encoding *e, const pv_prepared *prepared, const pv_metal_record *record)
{
    const pv_tensor *block = &e->submission->block, *outputs = &e->submission->outputs;
    pv_id buffers[PV_METAL_BINDINGS];
    uint64_t offsets[PV_METAL_BINDINGS];
    buffers[0] = pv_metal_buffer_of(block->buffer), offsets[0] = block->offset;
    buffers[1] = pv_metal_buffer_of(&prepared->args), offsets[1] = record->args;
    for (uint32_t i = 2; i < record->binding_count; i++) {
        const pv_metal_binding *binding = &record->bindings[i];
        buffers[i] = binding->buffer, offsets[i] = binding->offset;
        if (binding->place == PV_METAL_SCRATCH) buffers[i] = pv_metal_buffer_of(&e->device->scratch);
        if (binding->place == PV_METAL_OUTPUTS) buffers[i] = pv_metal_buffer_of(outputs->buffer), offsets[i] = outputs->offset;
        if (buffers[i] == NULL) buffers[i] = buffers[0], offsets[i] = offsets[0];
    }
    pv_msg_encoder_buffers(&e->device->objc, e->encoder, buffers, offsets, (pv_metal_range){0, record->binding_count});
}

static void encode(encoding *e, const pv_prepared *prepared, const pv_metal_record *record)
{
    const pv_objc *objc = &e->device->objc;
    const pv_metal_size groups = {extent_of(e, &record->grid[0]), extent_of(e, &record->grid[1]), extent_of(e, &record->grid[2])};
    const pv_metal_size threads = {record->threads[0], record->threads[1], record->threads[2]};
    if (record->barrier) pv_msg_encoder_barrier(objc, e->encoder, SCOPE_BUFFERS);
    if (groups.width == 0 || groups.height == 0 || groups.depth == 0) return;
    pv_msg_encoder_pipeline(objc, e->encoder, record->pipeline->state);
    bind(e, prepared, record);
    if (record->threadgroup_bytes > 0) pv_msg_encoder_threadgroup_memory(objc, e->encoder, record->threadgroup_bytes, 0);
    pv_msg_encoder_dispatch(objc, e->encoder, groups, threads);
    for (int i = 0; i < 2; i++) e->device->counters[record->counters[i]].count++;
}

static double seconds_of(const encoding *e, const pv_op *op)
{
    const pv_cost cost = pv_op_cost(op, e->counts[PV_METAL_ROWS], e->kv_length);
    const pv_metal_traits *traits = &e->device->traits;
    /* half of what the chip can do is what kernels reach with ease */
    return 2 * (cost.bytes / traits->bytes_per_second + cost.operations / traits->operations_per_second);
}

static bool encode_plan(encoding *e, const pv_prepared *prepared)
{
    for (size_t i = 0; i < prepared->count; i++) {
        const pv_metal_record *record = &prepared->records[i];
        if (i == 0 || prepared->records[i - 1].op != record->op) {
            const double seconds = seconds_of(e, &prepared->plan->ops[record->op]);
            if (e->encoder != NULL && e->seconds > 0 && e->seconds + seconds > CUT_SECONDS && e->flight->count < PV_METAL_COMMAND_BUFFERS) commit(e);
            if (e->encoder == NULL && !open_command_buffer(e)) return false;
            e->seconds += seconds;
        }
        encode(e, prepared, record);
    }
    return true;
}

static pv_metal_flight *flight_of(pv_metal_device *device, pv_fence fence) { return &device->flights[fence % PV_METAL_QUEUE]; }

static void end_flight(const pv_metal_device *device, pv_metal_flight *flight)
{
    for (uint32_t i = 0; i < flight->count; i++) device->objc.release(flight->buffers[i]);
    if (ticket_wait(flight->ticket, 0)) ticket_destroy(device, flight->ticket);
    *flight = (pv_metal_flight){0};
}

static pv_status encode_submission(pv_metal_device *device, const pv_submission *submission, pv_metal_flight *flight, pv_error *error)
{
    encoding e = {.device = device, .flight = flight, .submission = submission};
    bool encoded = true;
    for (uint32_t p = 0; p < submission->plan_count && encoded; p++) {
        read_counts(&e, &submission->plans[p]->layout);
        encoded = encode_plan(&e, submission->plans[p]);
    }
    if (e.encoder != NULL) commit(&e);
    return encoded ? PV_OK
                   : pv_fail_at(error, PV_DEVICE_OUT_OF_MEMORY, device->description.id, PV_NO_OFFSET, "the queue gave no command buffer or encoder");
}

pv_status pv_metal_submit(pv_backend_device *base, const pv_submission *submission, pv_fence *fence, pv_error *error)
{
    pv_metal_device *device = pv_metal_of(base);
    if (submission->plan_count > PV_METAL_PLANS) {
        return pv_fail_at(error, PV_INVALID_ARGUMENT, device->description.id, PV_NO_OFFSET, "a submission of %u plans; at most %d",
                          submission->plan_count, PV_METAL_PLANS);
    }
    if (device->removed) return pv_fail_at(error, PV_DEVICE_LOST, device->description.id, PV_NO_OFFSET, "the device was lost");
    if (device->submitted - device->completed == PV_METAL_QUEUE) {
        const pv_status status = pv_metal_wait(base, device->completed + 1, UINT32_MAX, error);
        if (status != PV_OK) return status;
    }
    pv_metal_flight *flight = flight_of(device, device->submitted + 1);
    *flight = (pv_metal_flight){.ticket = ticket_create(device)};
    if (flight->ticket == NULL) return pv_fail_memory(error, sizeof *flight->ticket, "a submission");
    void *pool = device->objc.push();
    const pv_status status = encode_submission(device, submission, flight, error);
    device->objc.pop(pool);
    if (status != PV_OK) {
        /* what was committed already runs to its end first: the block and outputs are the caller's again */
        ticket_wait(flight->ticket, UINT32_MAX);
        end_flight(device, flight);
        return status;
    }
    *fence = ++device->submitted;
    return PV_OK;
}

/* ---- Waiting ---- */

/* The first command buffer that failed gives the status; those behind it mostly say that they were ignored. */
static pv_status result_of(pv_metal_device *device, const pv_metal_flight *flight, pv_error *error)
{
    pv_status status = PV_OK;
    void *pool = device->objc.push();
    for (uint32_t i = 0; i < flight->count && status == PV_OK; i++) {
        if (pv_msg_command_buffer_status(&device->objc, flight->buffers[i]) == STATUS_COMPLETED) continue;
        status = pv_metal_failure(device, pv_msg_command_buffer_error(&device->objc, flight->buffers[i]), "a command buffer", error);
    }
    device->objc.pop(pool);
    if (status == PV_DEVICE_LOST) device->removed = true;
    return status;
}

pv_status pv_metal_wait(pv_backend_device *base, pv_fence fence, uint32_t timeout_ms, pv_error *error)
{
    pv_metal_device *device = pv_metal_of(base);
    if (fence > device->submitted) {
        return pv_fail_at(error, PV_INVALID_ARGUMENT, device->description.id, PV_NO_OFFSET, "waiting for fence %llu; the last one is %llu",
                          (unsigned long long)fence, (unsigned long long)device->submitted);
    }
    while (device->completed < fence) {
        pv_metal_flight *flight = flight_of(device, device->completed + 1);
        if (!ticket_wait(flight->ticket, timeout_ms)) {
            return pv_fail_at(error, PV_TIMEOUT, device->description.id, PV_NO_OFFSET, "the step did not end within %u ms", timeout_ms);
        }
        const pv_status status = result_of(device, flight, error);
        end_flight(device, flight);
        device->completed++;
        if (status != PV_OK) return status;
    }
    return PV_OK;
}

void pv_metal_abandon(pv_metal_device *device)
{
    for (; device->completed < device->submitted; device->completed++) end_flight(device, flight_of(device, device->completed + 1));
}
