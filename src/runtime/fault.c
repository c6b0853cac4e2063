/* Faults of submissions are decided when they are submitted, by count, and shown by the waits that follow: the same calls
 * always meet the same faults. */
#include "runtime/fault.h"

#include <math.h>

#include "base/alloc.h"

#define MAX_FAULTS 16u
#define MAX_PLANS 16u
#define RING 64u /* submissions whose outcome is remembered */

typedef enum function { ALLOC, UPLOAD, PREPARE, SUBMIT, FUNCTION_COUNT } function;

/* The function whose calls count for a kind of fault. */
static const function function_of[PV_FAULT_COUNT] = {
    [PV_FAULT_ALLOC] = ALLOC,          [PV_FAULT_UPLOAD] = UPLOAD,
    [PV_FAULT_PREPARE] = PREPARE,      [PV_FAULT_PREPARE_MEMORY] = PREPARE,
    [PV_FAULT_SUBMIT_MEMORY] = SUBMIT, [PV_FAULT_TRANSIENT] = SUBMIT,
    [PV_FAULT_LOST] = SUBMIT,          [PV_FAULT_HANG] = SUBMIT,
    [PV_FAULT_NON_FINITE] = SUBMIT,
};

struct pv_fault_backend {
    pv_backend backend; /* its context points here */
    const pv_allocator *allocator;
    const pv_backend *inner;
    pv_fault faults[MAX_FAULTS];
    size_t fault_count;
    atomic_uint_fast64_t calls[FUNCTION_COUNT], injected, transients; /* devices may run in different threads */
};

typedef struct fault_prepared {
    pv_prepared *inner;
    const pv_plan *plan;
} fault_prepared;

/* What became of a submission. */
typedef struct outcome {
    pv_fence fence, inner_fence; /* inner_fence: of the last submission up to this one that the inner device has */
    pv_fault fault;              /* of kind PV_FAULT_COUNT: none */
    pv_prepared *half;           /* the inner device's, to release when it has run */
    pv_plan half_plan;
    pv_tensor block, outputs;
    pv_step_limits limits;
    bool settled;
} outcome;

typedef struct fault_device {
    pv_backend_device base;
    pv_fault_backend *wrapper;
    pv_backend_device *inner;
    outcome ring[RING];
    pv_fence fence, inner_fence;
    pv_fence lost_from, hung_from; /* the first submission that never ends; 0: none */
    bool lost;                     /* and somebody was told */
} fault_device;

static fault_device *cast(pv_backend_device *device)
{
    return (fault_device *)device;
}

static const fault_device *cast_const(const pv_backend_device *device)
{
    return (const fault_device *)device;
}

/* ---- Counting -------------------------------------------------------------------------------------------------------- */

static uint64_t count_call(pv_fault_backend *wrapper, function called)
{
    return atomic_fetch_add(&wrapper->calls[called], 1) + 1;
}

/* The fault of this kind that the call meets, or NULL. */
static const pv_fault *due(const pv_fault_backend *wrapper, pv_fault_kind kind, uint64_t call)
{
    for (size_t i = 0; i < wrapper->fault_count; i++) {
        const pv_fault *fault = &wrapper->faults[i];
        if (fault->kind == kind && call >= fault->nth && call - fault->nth < fault->count) return fault;
    }
    return NULL;
}

static bool inject(pv_fault_backend *wrapper, pv_fault_kind kind, uint64_t call)
{
    if (!due(wrapper, kind, call)) return false;
    atomic_fetch_add(&wrapper->injected, 1);
    return true;
}

static pv_status fail_lost(pv_error *error)
{
    return pv_fail(error, PV_DEVICE_LOST, "the device was lost (injected)");
}

/* ---- Memory ---------------------------------------------------------------------------------------------------------- */

static pv_status fault_alloc(pv_backend_device *device, pv_memory kind, uint64_t bytes, pv_buffer *buffer, pv_error *error)
{
    fault_device *d = cast(device);
    if (d->lost) return fail_lost(error);
    if (inject(d->wrapper, PV_FAULT_ALLOC, count_call(d->wrapper, ALLOC)))
        return pv_fail(error, PV_DEVICE_OUT_OF_MEMORY, "no %llu bytes of device memory (injected)", (unsigned long long)bytes);
    return d->wrapper->inner->alloc(d->inner, kind, bytes, buffer, error);
}

static void fault_free(pv_backend_device *device, pv_buffer *buffer)
{
    cast(device)->wrapper->inner->free(cast(device)->inner, buffer);
}

static pv_status fault_import(pv_backend_device *device, void *host, uint64_t bytes, pv_buffer *buffer, pv_error *error)
{
    fault_device *d = cast(device);
    return d->lost ? fail_lost(error) : d->wrapper->inner->import(d->inner, host, bytes, buffer, error);
}

/* Copies wait for what was submitted; behind a hung submission that takes for ever. */
static pv_status copies_allowed(const fault_device *d, pv_error *error)
{
    if (d->lost) return fail_lost(error);
    return d->hung_from ? pv_fail(error, PV_TIMEOUT, "a copy waits for a device that hangs (injected)") : PV_OK;
}

static pv_status fault_write(pv_backend_device *device, const pv_buffer *buffer, uint64_t offset, const void *bytes,
                             uint64_t length, pv_error *error)
{
    fault_device *d = cast(device);
    pv_status status = copies_allowed(d, error);
    return status != PV_OK ? status : d->wrapper->inner->write(d->inner, buffer, offset, bytes, length, error);
}

static pv_status fault_read(pv_backend_device *device, const pv_buffer *buffer, uint64_t offset, void *bytes, uint64_t length,
                            pv_error *error)
{
    fault_device *d = cast(device);
    pv_status status = copies_allowed(d, error);
    return status != PV_OK ? status : d->wrapper->inner->read(d->inner, buffer, offset, bytes, length, error);
}

static pv_status fault_weight_spec(const pv_backend_device *device, pv_layout layout, uint32_t rows, uint32_t cols,
                                   unsigned uses, pv_weight_spec *spec, pv_error *error)
{
    const fault_device *d = cast_const(device);
    return d->lost ? fail_lost(error) : d->wrapper->inner->weight_spec(d->inner, layout, rows, cols, uses, spec, error);
}

static pv_status fault_upload(pv_backend_device *device, const pv_tensor *weight, uint32_t first, uint32_t count,
                              const void *rows, pv_error *error)
{
    fault_device *d = cast(device);
    if (d->lost) return fail_lost(error);
    if (inject(d->wrapper, PV_FAULT_UPLOAD, count_call(d->wrapper, UPLOAD)))
        return pv_fail(error, PV_DEVICE_TRANSIENT, "an upload of %u rows failed (injected)", count);
    return d->wrapper->inner->upload(d->inner, weight, first, count, rows, error);
}

/* ---- Plans ----------------------------------------------------------------------------------------------------------- */

static bool fault_supports(const pv_backend_device *device, const pv_op *op)
{
    return cast_const(device)->wrapper->inner->supports(cast_const(device)->inner, op);
}

static pv_status fault_prepare(pv_backend_device *device, const pv_plan *plan, pv_prepared **prepared, pv_error *error)
{
    fault_device *d = cast(device);
    pv_fault_backend *wrapper = d->wrapper;
    if (d->lost) return fail_lost(error);
    uint64_t call = count_call(wrapper, PREPARE);
    if (inject(wrapper, PV_FAULT_PREPARE, call)) return pv_fail(error, PV_PROGRAM, "a program does not compile (injected)");
    if (inject(wrapper, PV_FAULT_PREPARE_MEMORY, call))
        return pv_fail(error, PV_OUT_OF_MEMORY, "no memory to prepare a plan (injected)");
    fault_prepared *made = pv_calloc(wrapper->allocator, 1, sizeof *made);
    if (!made) return pv_fail_memory(error, sizeof *made, "a prepared plan");
    pv_status status = wrapper->inner->prepare(d->inner, plan, &made->inner, error);
    if (status != PV_OK) {
        pv_free(wrapper->allocator, made);
        return status;
    }
    made->plan = plan;
    *prepared = (pv_prepared *)made;
    return PV_OK;
}

static void fault_release(pv_backend_device *device, pv_prepared *prepared)
{
    fault_device *d = cast(device);
    if (!prepared) return;
    d->wrapper->inner->release(d->inner, ((fault_prepared *)prepared)->inner);
    pv_free(d->wrapper->allocator, prepared);
}

/* ---- Submissions ----------------------------------------------------------------------------------------------------- */

static void release_half(fault_device *d, outcome *o)
{
    if (o->half) d->wrapper->inner->release(d->inner, o->half);
    o->half = NULL;
}

/* Runs the first half of the first plan's ops. If that cannot be prepared, nothing is run: a transient failure may do either.
 */
static pv_status submit_half_a_plan(fault_device *d, const pv_submission *submission, outcome *o, pv_error *error)
{
    const pv_plan *plan = ((const fault_prepared *)submission->plans[0])->plan;
    o->half_plan = *plan;
    o->half_plan.count = plan->count / 2;
    if (o->half_plan.count == 0 || d->wrapper->inner->prepare(d->inner, &o->half_plan, &o->half, NULL) != PV_OK) {
        o->half = NULL;
        return PV_OK;
    }
    pv_submission part = *submission;
    part.plans = &o->half;
    part.plan_count = 1;
    return d->wrapper->inner->submit(d->inner, &part, &d->inner_fence, error);
}

static pv_status submit_plans(fault_device *d, const pv_submission *submission, uint32_t plan_count, pv_error *error)
{
    pv_prepared *plans[MAX_PLANS];
    for (uint32_t i = 0; i < plan_count; i++) plans[i] = ((const fault_prepared *)submission->plans[i])->inner;
    pv_submission inner = *submission;
    inner.plans = plans;
    inner.plan_count = plan_count;
    return d->wrapper->inner->submit(d->inner, &inner, &d->inner_fence, error);
}

/* In turn: half of the first plan, nothing, the first half of the plans. */
static pv_status submit_transient(fault_device *d, const pv_submission *submission, outcome *o, pv_error *error)
{
    uint64_t turn = atomic_fetch_add(&d->wrapper->transients, 1) % 3;
    if (turn == 1 || submission->plan_count == 0) return PV_OK;
    if (turn == 2 && submission->plan_count > 1) return submit_plans(d, submission, submission->plan_count / 2, error);
    return submit_half_a_plan(d, submission, o, error);
}

/* The fault that a submission meets; the gravest if there are several. A copy: the list may be replaced before the wait. */
static pv_fault fault_of_submission(const pv_fault_backend *wrapper, uint64_t call)
{
    static const pv_fault_kind kinds[] = {PV_FAULT_LOST, PV_FAULT_HANG, PV_FAULT_TRANSIENT, PV_FAULT_NON_FINITE};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        const pv_fault *fault = due(wrapper, kinds[i], call);
        if (fault) return *fault;
    }
    return (pv_fault){.kind = PV_FAULT_COUNT};
}

/* A place in the ring. What stood there is long past. */
static outcome *next_outcome(fault_device *d)
{
    outcome *o = &d->ring[(d->fence + 1) % RING];
    if (o->half) d->wrapper->inner->wait(d->inner, o->inner_fence, UINT32_MAX, NULL);
    release_half(d, o);
    *o = (outcome){.fence = d->fence + 1};
    return o;
}

static pv_status run(fault_device *d, const pv_submission *submission, outcome *o, pv_error *error)
{
    if (d->lost_from || d->hung_from) return PV_OK; /* behind what never ends */
    if (o->fault.kind == PV_FAULT_COUNT || o->fault.kind == PV_FAULT_NON_FINITE)
        return submit_plans(d, submission, submission->plan_count, error);
    atomic_fetch_add(&d->wrapper->injected, 1);
    if (o->fault.kind == PV_FAULT_TRANSIENT) return submit_transient(d, submission, o, error);
    if (o->fault.kind == PV_FAULT_LOST)
        d->lost_from = o->fence;
    else
        d->hung_from = o->fence;
    return PV_OK;
}

static pv_status fault_submit(pv_backend_device *device, const pv_submission *submission, pv_fence *fence, pv_error *error)
{
    fault_device *d = cast(device);
    if (d->lost) return fail_lost(error);
    uint64_t call = count_call(d->wrapper, SUBMIT);
    if (inject(d->wrapper, PV_FAULT_SUBMIT_MEMORY, call))
        return pv_fail(error, PV_DEVICE_OUT_OF_MEMORY, "no device memory for a submission (injected)");
    if (submission->plan_count > MAX_PLANS)
        return pv_fail(error, PV_INTERNAL, "%u plans in a submission, %u at most", submission->plan_count, MAX_PLANS);
    outcome *o = next_outcome(d);
    o->fault = fault_of_submission(d->wrapper, call);
    o->block = submission->block;
    o->outputs = submission->outputs;
    if (submission->plan_count > 0) o->limits = ((const fault_prepared *)submission->plans[0])->plan->limits;
    pv_status status = run(d, submission, o, error);
    if (status != PV_OK) {
        release_half(d, o);
        o->fence = 0;
        return status;
    }
    o->inner_fence = d->inner_fence;
    *fence = ++d->fence;
    return PV_OK;
}

/* ---- Waiting --------------------------------------------------------------------------------------------------------- */

/* Marks the outputs that a NON_FINITE fault means; returns how many there were. */
static uint32_t mark_outputs(const fault_device *d, const outcome *o)
{
    const pv_backend *inner = d->wrapper->inner;
    const pv_step_output bad = {.token = -1, .logprob = NAN, .status = PV_OUTPUT_NON_FINITE};
    uint32_t logits_offset = pv_step_layout_for(&o->limits).logits, marked = 0;
    pv_step_counts counts;
    if (inner->read(d->inner, o->block.buffer, o->block.offset, &counts, sizeof counts, NULL) != PV_OK) return 0;
    for (uint32_t i = 0; i < counts.logits && i < o->limits.logits; i++) {
        pv_step_logit logit = {0};
        uint64_t at = o->block.offset + logits_offset + (uint64_t)i * sizeof logit;
        if (inner->read(d->inner, o->block.buffer, at, &logit, sizeof logit, NULL) != PV_OK) return marked;
        if (o->fault.slot >= 0 ? logit.slot != o->fault.slot : i != o->fault.row) continue;
        at = o->outputs.offset + (uint64_t)i * sizeof bad;
        marked += inner->write(d->inner, o->outputs.buffer, at, &bad, sizeof bad, NULL) == PV_OK;
    }
    return marked;
}

/* Everything up to `fence` has ended on the inner device. */
static void settle(fault_device *d, pv_fence fence)
{
    for (size_t i = 0; i < RING; i++) {
        outcome *o = &d->ring[i];
        if (o->fence == 0 || o->fence > fence || o->settled) continue;
        o->settled = true;
        release_half(d, o);
        if (o->fault.kind == PV_FAULT_NON_FINITE && mark_outputs(d, o) > 0) atomic_fetch_add(&d->wrapper->injected, 1);
    }
}

static pv_status fault_wait(pv_backend_device *device, pv_fence fence, uint32_t timeout_ms, pv_error *error)
{
    fault_device *d = cast(device);
    if (d->lost || (d->lost_from && fence >= d->lost_from)) {
        d->lost = true;
        return fail_lost(error);
    }
    if (d->hung_from && fence >= d->hung_from)
        return pv_fail(error, PV_TIMEOUT, "submission %llu still runs (injected: it hangs)", (unsigned long long)d->hung_from);
    const outcome *o = &d->ring[fence % RING];
    bool known = o->fence == fence && fence > 0;
    pv_status status = PV_OK;
    if (known && o->inner_fence > 0) status = d->wrapper->inner->wait(d->inner, o->inner_fence, timeout_ms, error);
    if (status == PV_TIMEOUT) return status;
    settle(d, fence);
    if (known && o->fault.kind == PV_FAULT_TRANSIENT)
        return pv_fail(error, PV_DEVICE_TRANSIENT, "submission %llu failed (injected)", (unsigned long long)fence);
    return status;
}

/* ---- Devices --------------------------------------------------------------------------------------------------------- */

static pv_status fault_enumerate(const pv_backend *backend, const pv_environment *environment,
                                 pv_device_description *descriptions, size_t capacity, size_t *count, pv_error *error)
{
    const pv_fault_backend *wrapper = backend->context;
    return wrapper->inner->enumerate(wrapper->inner, environment, descriptions, capacity, count, error);
}

static pv_status fault_open(const pv_backend *backend, const pv_environment *environment, const char *id, bool plain,
                            pv_backend_device **device, pv_error *error)
{
    pv_fault_backend *wrapper = backend->context;
    fault_device *made = pv_calloc(wrapper->allocator, 1, sizeof *made);
    if (!made) return pv_fail_memory(error, sizeof *made, "a device");
    pv_status status = wrapper->inner->open(wrapper->inner, environment, id, plain, &made->inner, error);
    if (status != PV_OK) {
        pv_free(wrapper->allocator, made);
        return status;
    }
    made->base.backend = backend;
    made->wrapper = wrapper;
    *device = &made->base;
    return PV_OK;
}

static bool fault_close(pv_backend_device *device)
{
    fault_device *d = cast(device);
    if (!d) return true;
    /* what nobody waited for is abandoned: its buffers may be gone already, so it must not be run now */
    for (size_t i = 0; i < RING; i++) release_half(d, &d->ring[i]);
    const bool ended = d->wrapper->inner->close(d->inner);
    pv_free(d->wrapper->allocator, d);
    return ended;
}

static const pv_device_description *fault_describe(const pv_backend_device *device)
{
    return cast_const(device)->wrapper->inner->describe(cast_const(device)->inner);
}

static size_t fault_counters(const pv_backend_device *device, pv_counter *counters, size_t capacity)
{
    return cast_const(device)->wrapper->inner->counters(cast_const(device)->inner, counters, capacity);
}

/* ---- The wrapper ----------------------------------------------------------------------------------------------------- */

static const pv_backend fault_functions = {
    .enumerate = fault_enumerate,
    .open = fault_open,
    .close = fault_close,
    .describe = fault_describe,
    .alloc = fault_alloc,
    .free = fault_free,
    .import = fault_import,
    .write = fault_write,
    .read = fault_read,
    .weight_spec = fault_weight_spec,
    .upload = fault_upload,
    .supports = fault_supports,
    .prepare = fault_prepare,
    .release = fault_release,
    .submit = fault_submit,
    .wait = fault_wait,
    .counters = fault_counters,
};

pv_status pv_fault_backend_create(const pv_allocator *allocator, const pv_backend *inner, pv_fault_backend **wrapper,
                                  pv_error *error)
{
    pv_fault_backend *made = pv_calloc(allocator, 1, sizeof *made);
    if (!made) return pv_fail_memory(error, sizeof *made, "a fault-injecting backend");
    made->allocator = allocator;
    made->inner = inner;
    made->backend = fault_functions;
    made->backend.name = inner->name;
    made->backend.context = made;
    *wrapper = made;
    return PV_OK;
}

void pv_fault_backend_destroy(pv_fault_backend *wrapper)
{
    if (wrapper) pv_free(wrapper->allocator, wrapper);
}

const pv_backend *pv_fault_backend_get(pv_fault_backend *wrapper)
{
    return &wrapper->backend;
}

void pv_fault_backend_set(pv_fault_backend *wrapper, const pv_fault *faults, size_t count)
{
    wrapper->fault_count = count < MAX_FAULTS ? count : MAX_FAULTS;
    for (size_t i = 0; i < wrapper->fault_count; i++) wrapper->faults[i] = faults[i];
    for (size_t i = 0; i < FUNCTION_COUNT; i++) atomic_store(&wrapper->calls[i], 0);
    atomic_store(&wrapper->injected, 0);
    atomic_store(&wrapper->transients, 0);
}

uint64_t pv_fault_backend_injected(const pv_fault_backend *wrapper)
{
    return atomic_load(&wrapper->injected);
}

uint64_t pv_fault_backend_calls(const pv_fault_backend *wrapper, pv_fault_kind kind)
{
    return (unsigned)kind < PV_FAULT_COUNT ? atomic_load(&wrapper->calls[function_of[kind]]) : 0;
}
