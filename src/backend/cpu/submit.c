/* Plans made ready, the queue, and the run: every worker walks the ops of a plan and does its share of each. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "backend/cpu/cpu.h"

struct pv_prepared {
    const pv_plan *plan;
    pv_step_layout layout;
    atomic_uint *tickets; /* [ops][PV_CPU_TICKETS] */
};

/* Scratch of every op on a plan. */
static pv_cpu_need need_of(const pv_cpu_device *device, const pv_plan *plan)
{
    pv_cpu_need most = {0};
    for (size_t i = 0; i < plan->count; i++) {
        const pv_cpu_kernel *kernel = device->kernels->op[plan->ops[i].kind];
        if (kernel->need == NULL) continue;
        const pv_cpu_need need = kernel->need(&plan->ops[i], &plan->limits, device->description.threads);
        if (need.own > most.own) most.own = need.own;
        if (need.shared > most.shared) most.shared = need.shared;
    }
    most.own = pv_cpu_round(most.own);
    return most;
}

/* Makes scratch large enough for a plan. Nothing runs meanwhile: submissions run inside wait only. */
static pv_status grow_scratch(pv_cpu_device *device, const pv_plan *plan, pv_error *error)
{
    pv_cpu_need need = need_of(device, plan);
    const uint64_t workers = device->description.threads;
    if (need.own < device->own_bytes) need.own = device->own_bytes;
    const uint64_t shared = device->scratch_bytes - workers * device->own_bytes;
    if (need.shared < shared) need.shared = shared;
    const uint64_t bytes = need.own * workers + need.shared;
    if (bytes <= device->scratch_bytes && need.own == device->own_bytes) return PV_OK;
    void *memory = pv_calloc(device->allocator, 1, bytes + 64);
    if (memory == NULL) return pv_fail_memory(error, bytes, "scratch of the cpu workers");
    pv_free(device->allocator, device->scratch_memory);
    device->scratch_memory = memory;
    device->scratch = (uint8_t *)(((uintptr_t)memory + 63) & ~(uintptr_t)63);
    device->scratch_bytes = bytes;
    device->own_bytes = need.own;
    return PV_OK;
}

pv_status pv_cpu_prepare(pv_backend_device *base, const pv_plan *plan, pv_prepared **out, pv_error *error)
{
    pv_cpu_device *device = pv_cpu_of(base);
    for (size_t i = 0; i < plan->count; i++) {
        const char *wrong = pv_cpu_check(device, &plan->ops[i]);
        if (wrong != NULL) {
            const pv_op *op = &plan->ops[i];
            return pv_fail_at(error, PV_UNSUPPORTED, op->label[0] != 0 ? op->label : pv_op_name(op->kind), PV_NO_OFFSET, "op %s: %s",
                              pv_op_name(op->kind), wrong);
        }
    }
    pv_prepared *prepared = pv_calloc(device->allocator, 1, sizeof *prepared);
    if (prepared == NULL) return pv_fail_memory(error, sizeof *prepared, "a prepared plan");
    prepared->plan = plan;
    prepared->layout = pv_step_layout_for(&plan->limits);
    pv_status status = PV_OK;
    const size_t tickets = plan->count * PV_CPU_TICKETS;
    if (tickets > 0 && (prepared->tickets = pv_calloc(device->allocator, tickets, sizeof *prepared->tickets)) == NULL) {
        status = pv_fail_memory(error, tickets * sizeof *prepared->tickets, "a prepared plan");
    }
    if (status == PV_OK) status = grow_scratch(device, plan, error);
    if (status == PV_OK) {
        *out = prepared;
    } else {
        pv_cpu_release(base, prepared);
    }
    return status;
}

void pv_cpu_release(pv_backend_device *base, pv_prepared *prepared)
{
    const pv_cpu_device *device = pv_cpu_of(base);
    if (prepared == NULL) return;
    pv_free(device->allocator, prepared->tickets);
    pv_free(device->allocator, prepared);
}

static pv_cpu_submission *submission_of(pv_cpu_device *device, pv_fence fence) { return &device->queue[fence % PV_CPU_QUEUE]; }

pv_status pv_cpu_submit(pv_backend_device *base, const pv_submission *submission, pv_fence *fence, pv_error *error)
{
    pv_cpu_device *device = pv_cpu_of(base);
    if (submission->plan_count > PV_CPU_PLANS) {
        return pv_fail_at(error, PV_INVALID_ARGUMENT, "cpu", PV_NO_OFFSET, "a submission of %u plans; at most %d", submission->plan_count,
                          PV_CPU_PLANS);
    }
    if (device->submitted - device->completed == PV_CPU_QUEUE) {
        /* the queue is full: its oldest entry runs now */
        const pv_status status = pv_cpu_wait(base, device->completed + 1, UINT32_MAX, error);
        if (status != PV_OK) return status;
    }
    pv_cpu_submission *queued = submission_of(device, device->submitted + 1);
    *queued = (pv_cpu_submission){
        .plan_count = submission->plan_count,
        .block = pv_tensor_host(&submission->block),
        .outputs = pv_tensor_host(&submission->outputs),
        .abort = submission->abort,
    };
    for (uint32_t p = 0; p < submission->plan_count; p++) queued->plans[p] = submission->plans[p];
    *fence = ++device->submitted;
    return PV_OK;
}

typedef enum pv_stop { PV_STOP_NOT, PV_STOP_ABORT, PV_STOP_TIME } pv_stop;

/* One submission on its way. Only worker 0 writes, and only where the others wait at a barrier. */
typedef struct pv_cpu_run {
    pv_cpu_device *device;
    pv_cpu_submission *submission;
    uint64_t deadline; /* nanoseconds, UINT64_MAX: none */
    uint32_t first_plan, first_op;
    /* Decided at barriers, in turn in one of two places: worker 0 may be at the next barrier while others still read what was decided at
     * this one, but not at the one after it. */
    pv_stop stop[2];
    pv_stop ended; /* worker 0's own */
} pv_cpu_run;

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static pv_stop stop_now(const pv_cpu_run *run)
{
    const atomic_bool *abort = run->submission->abort;
    if (abort != NULL && atomic_load_explicit(abort, memory_order_relaxed)) return PV_STOP_ABORT;
    return run->deadline != UINT64_MAX && now() >= run->deadline ? PV_STOP_TIME : PV_STOP_NOT;
}

static void count_op(pv_cpu_device *device, const pv_op *op)
{
    pv_cpu_counter_row *row = &device->counters[op->kind * PV_LAYOUT_COUNT];
    if (op->kind == PV_OP_linear) {
        for (uint32_t p = 0; p < op->linear.part_count; p++) row[op->linear.parts[p].weight.layout].count++;
    } else if (op->kind == PV_OP_embed) {
        row[op->embed.table.layout].count++;
    } else {
        row->count++;
    }
}

/* Ops that need no barrier run right behind the one before. Stopping is decided at barriers, where all workers learn of it. */
static void run_share(void *user, uint32_t worker)
{
    pv_cpu_run *run = user;
    pv_cpu_device *device = run->device;
    pv_cpu_submission *submission = run->submission;
    const uint32_t first_plan = run->first_plan, first_op = run->first_op, plan_count = submission->plan_count;
    pv_cpu_context context = {
        .worker = worker,
        .workers = device->description.threads,
        .team = device->team,
        .own = device->scratch + worker * device->own_bytes,
        .shared = device->scratch + device->description.threads * device->own_bytes,
        .outputs = (pv_step_output *)submission->outputs,
    };
    unsigned turn = 0;
    for (uint32_t p = first_plan; p < plan_count; p++) {
        const pv_prepared *prepared = submission->plans[p];
        const pv_plan *plan = prepared->plan;
        context.step = pv_step_view_of(submission->block, &prepared->layout);
        for (size_t i = p == first_plan ? first_op : 0; i < plan->count; i++) {
            const pv_op *op = &plan->ops[i];
            const bool begins = p == first_plan && i == first_op;
            if (!begins && (op->barrier || i == 0)) {
                pv_stop *stop = &run->stop[turn++ % 2];
                if (worker == 0 && (*stop = run->ended = stop_now(run)) != PV_STOP_NOT) submission->plan = p, submission->op = (uint32_t)i;
                pv_cpu_barrier(device->team);
                if (*stop != PV_STOP_NOT) return;
            }
            context.tickets = prepared->tickets + i * PV_CPU_TICKETS;
            device->kernels->op[op->kind]->run(&context, op);
            if (worker == 0) count_op(device, op);
        }
    }
}

/* Runs one submission to its end, the deadline or its abort. A first stretch of ops runs whatever the deadline, so that waiting
 * always gets on. */
static pv_stop run_submission(pv_cpu_device *device, pv_cpu_submission *submission, uint64_t deadline)
{
    pv_cpu_run run = {.device = device, .submission = submission, .deadline = deadline, .first_plan = submission->plan, .first_op = submission->op};
    if (submission->abort != NULL && atomic_load(submission->abort)) return PV_STOP_ABORT;
    for (uint32_t p = submission->plan; p < submission->plan_count; p++) {
        const size_t from = (p == submission->plan ? submission->op : 0) * (size_t)PV_CPU_TICKETS;
        const size_t tickets = submission->plans[p]->plan->count * PV_CPU_TICKETS;
        for (size_t i = from; i < tickets; i++) atomic_init(&submission->plans[p]->tickets[i], 0);
    }
    pv_cpu_team_run(device->team, run_share, &run);
    return run.ended;
}

pv_status pv_cpu_wait(pv_backend_device *base, pv_fence fence, uint32_t timeout_ms, pv_error *error)
{
    pv_cpu_device *device = pv_cpu_of(base);
    const uint64_t deadline = timeout_ms == UINT32_MAX ? UINT64_MAX : now() + timeout_ms * UINT64_C(1000000);
    if (fence > device->submitted) {
        return pv_fail_at(error, PV_INVALID_ARGUMENT, "cpu", PV_NO_OFFSET, "waiting for fence %llu; the last one is %llu",
                          (unsigned long long)fence, (unsigned long long)device->submitted);
    }
    while (device->completed < fence) {
        switch (run_submission(device, submission_of(device, device->completed + 1), deadline)) {
        case PV_STOP_NOT:
            device->completed++;
            break;
        case PV_STOP_TIME:
            return pv_fail_at(error, PV_TIMEOUT, "cpu", PV_NO_OFFSET, "the step did not end within %u ms", timeout_ms);
        case PV_STOP_ABORT:
            /* what waits behind it would read half a step: it ends too, unrun */
            device->completed = fence;
            return pv_fail_at(error, PV_CANCELLED, "cpu", PV_NO_OFFSET, "the step was aborted");
        }
    }
    return PV_OK;
}
