#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/ane/ane.h"
#include "backend/ane/package.h"
#include "base/checked.h"

#define QUEUE 8 /* submissions that may wait */
#define PLANS 4 /* of one submission */

/* Ops [first, first + count) of a plan for the CPU, or one op as a program. */
typedef struct segment {
    pv_plan plan;          /* its ops are the whole plan's */
    pv_prepared *prepared; /* the CPU's; NULL: a program */
    void *program;
} segment;

typedef struct ane_prepared {
    const pv_plan *plan;
    pv_step_layout layout;
    segment *segments;
    size_t count; /* there is room for one an op */
} ane_prepared;

/* A submission, and how far it has come. */
typedef struct flight {
    ane_prepared *plans[PLANS];
    uint32_t plan_count, plan;
    size_t segment;
    pv_fence inner; /* the CPU's, of the segment that runs; 0: none does */
    pv_tensor block, outputs;
    const atomic_bool *abort;
} flight;

typedef struct ane_device {
    pv_backend_device base; /* first */
    const pv_allocator *allocator;
    const char *cache;
    pv_backend_device *cpu;
    pv_ane_engine engine;
    bool open, plain; /* open: the engine */
    pv_device_description description;
    float *staging; /* inputs and outputs of the largest block */
    size_t staging_elements;
    uint64_t packages, ran; /* ran: blocks, for the counters */
    flight flights[QUEUE];  /* fence f stands at f % QUEUE */
    pv_fence submitted, completed;
} ane_device;

static ane_device *cast(const pv_backend_device *device)
{
    return (ane_device *)device;
}
static const pv_backend *cpu_of(const ane_device *device)
{
    return device->cpu->backend;
}

/* ---- Finding, opening, closing ---- */

static pv_status open_engine(const pv_backend *backend, const pv_allocator *allocator, pv_ane_engine *engine, pv_error *error)
{
    const pv_ane_stand_in *stand_in = backend->context;
    return stand_in != NULL ? stand_in->open(allocator, engine, error) : pv_coreml_open(allocator, engine, error);
}

static pv_status ane_enumerate(const pv_backend *backend, const pv_environment *environment,
                               pv_device_description *descriptions, size_t capacity, size_t *count, pv_error *error)
{
    pv_device_description description = {.id = "ane:0", .name = "Neural Engine"};
    pv_ane_engine engine;
    pv_error missing = {0};
    (void)error;
    if (open_engine(backend, environment->allocator, &engine, &missing) != PV_OK) {
        snprintf(description.reason, sizeof description.reason, "%.191s", missing.message);
    } else {
        engine.close(engine.context);
        size_t found = 0;
        pv_device_description cpu;
        if (pv_cpu_backend.enumerate(&pv_cpu_backend, environment, &cpu, 1, &found, &missing) == PV_OK && found == 1)
            description = cpu;
        snprintf(description.id, sizeof description.id, "ane:0");
        snprintf(description.name, sizeof description.name, "Neural Engine (an experiment: dense blocks of long prompts)");
    }
    if (capacity > 0) descriptions[0] = description;
    *count = 1;
    return PV_OK;
}

static bool ane_close(pv_backend_device *base)
{
    if (base == NULL) return true;
    ane_device *device = cast(base);
    const bool ended = device->cpu == NULL || cpu_of(device)->close(device->cpu);
    if (device->open) device->engine.close(device->engine.context);
    pv_free(device->allocator, device->staging);
    pv_free(device->allocator, device);
    return ended;
}

static pv_status set_up(ane_device *device, const pv_environment *environment, pv_error *error)
{
    pv_status status = open_engine(device->base.backend, environment->allocator, &device->engine, error);
    if (status != PV_OK) return status;
    device->open = true;
    if (device->cache == NULL) {
        return pv_fail_at(error, PV_NOT_FOUND, "ane", PV_NO_OFFSET,
                          "Core ML programs pass through the folder for compiled programs, and none is given");
    }
    status = pv_cpu_backend.open(&pv_cpu_backend, environment, "cpu", device->plain, &device->cpu, error);
    if (status != PV_OK) return status;
    device->description = *cpu_of(device)->describe(device->cpu);
    snprintf(device->description.id, sizeof device->description.id, "ane:0");
    return PV_OK;
}

static pv_status ane_open(const pv_backend *backend, const pv_environment *environment, const char *id, bool plain,
                          pv_backend_device **out, pv_error *error)
{
    if (strcmp(id, "ane:0") != 0 && strcmp(id, "ane") != 0) {
        return pv_fail_at(error, PV_NOT_FOUND, "ane", PV_NO_OFFSET, "no device \"%s\"; there is \"ane:0\"", id);
    }
    ane_device *device = pv_calloc(environment->allocator, 1, sizeof *device);
    if (device == NULL) return pv_fail_memory(error, sizeof *device, "the ane device");
    device->base.backend = backend;
    device->allocator = environment->allocator;
    device->cache = environment->cache;
    device->plain = plain;
    const pv_status status = set_up(device, environment, error);
    if (status == PV_OK) {
        *out = &device->base;
    } else {
        ane_close(&device->base);
    }
    return status;
}

static const pv_device_description *ane_describe(const pv_backend_device *device)
{
    return &cast(device)->description;
}

/* ---- Memory and weights are the CPU's ---- */

static pv_status ane_alloc(pv_backend_device *device, pv_memory kind, uint64_t bytes, pv_buffer *buffer, pv_error *error)
{
    return cpu_of(cast(device))->alloc(cast(device)->cpu, kind, bytes, buffer, error);
}

static void ane_free(pv_backend_device *device, pv_buffer *buffer)
{
    cpu_of(cast(device))->free(cast(device)->cpu, buffer);
}

static pv_status ane_import(pv_backend_device *device, void *host, uint64_t bytes, pv_buffer *buffer, pv_error *error)
{
    return cpu_of(cast(device))->import(cast(device)->cpu, host, bytes, buffer, error);
}

static pv_status ane_wait(pv_backend_device *device, pv_fence fence, uint32_t timeout_ms, pv_error *error);

static pv_status ane_write(pv_backend_device *device, const pv_buffer *buffer, uint64_t offset, const void *bytes,
                           uint64_t length, pv_error *error)
{
    const pv_status status = ane_wait(device, cast(device)->submitted, UINT32_MAX, error);
    return status == PV_OK ? cpu_of(cast(device))->write(cast(device)->cpu, buffer, offset, bytes, length, error) : status;
}

static pv_status ane_read(pv_backend_device *device, const pv_buffer *buffer, uint64_t offset, void *bytes, uint64_t length,
                          pv_error *error)
{
    const pv_status status = ane_wait(device, cast(device)->submitted, UINT32_MAX, error);
    return status == PV_OK ? cpu_of(cast(device))->read(cast(device)->cpu, buffer, offset, bytes, length, error) : status;
}

static pv_status ane_weight_spec(const pv_backend_device *device, pv_layout layout, uint32_t rows, uint32_t cols, unsigned uses,
                                 pv_weight_spec *spec, pv_error *error)
{
    return cpu_of(cast(device))->weight_spec(cast(device)->cpu, layout, rows, cols, uses, spec, error);
}

static pv_status ane_upload(pv_backend_device *device, const pv_tensor *weight, uint32_t first, uint32_t count,
                            const void *rows, pv_error *error)
{
    return cpu_of(cast(device))->upload(cast(device)->cpu, weight, first, count, rows, error);
}

static bool ane_supports(const pv_backend_device *device, const pv_op *op)
{
    return cpu_of(cast(device))->supports(cast(device)->cpu, op);
}

/* ---- Preparing: a plan falls into segments ---- */

static void ane_release(pv_backend_device *base, pv_prepared *given)
{
    ane_device *device = cast(base);
    ane_prepared *prepared = (ane_prepared *)given;
    if (prepared == NULL) return;
    for (size_t i = 0; i < prepared->count; i++) {
        const segment *one = &prepared->segments[i];
        if (one->prepared != NULL) cpu_of(device)->release(device->cpu, one->prepared);
        if (one->program != NULL) device->engine.unload(device->engine.context, one->program);
    }
    pv_free(device->allocator, prepared->segments);
    pv_free(device->allocator, prepared);
}

static bool becomes_program(const ane_device *device, const pv_plan *plan, const pv_op *op)
{
    return !device->plain && plan->rows >= PV_ANE_LEAST_ROWS && pv_ane_block_suits(op);
}

/* The CPU keeps a pointer to a segment's plan: segments never move. */
static segment *add_segment(ane_prepared *prepared, size_t first, size_t count)
{
    segment *one = &prepared->segments[prepared->count++];
    *one = (segment){.plan = *prepared->plan};
    one->plan.ops += first;
    one->plan.count = one->plan.capacity = count;
    return one;
}

/* The package is but a way to Core ML: it goes when it was read. */
static pv_status load_program(ane_device *device, const pv_op_linear *linear, uint32_t rows, void **program, pv_error *error)
{
    char folder[PV_ANE_PATH];
    const int length = snprintf(folder, sizeof folder, "%s/ane-%ld-%llu.mlpackage", device->cache, (long)getpid(),
                                (unsigned long long)device->packages++);
    if (length < 0 || (size_t)length >= sizeof folder) {
        return pv_fail_at(error, PV_INVALID_ARGUMENT, "ane", PV_NO_OFFSET,
                          "the folder for compiled programs has a name of %zu bytes", strlen(device->cache));
    }
    pv_status status = pv_ane_block_write(device->allocator, linear, rows, folder, error);
    if (status != PV_OK) return status;
    status = device->engine.load(device->engine.context, folder, linear, program, error);
    pv_ane_package_remove(folder);
    return status;
}

static pv_status grow_staging(ane_device *device, const pv_op_linear *linear, uint32_t rows, pv_error *error)
{
    size_t cols = (size_t)linear->x.cols + (pv_tensor_present(&linear->residual) ? linear->residual.cols : 0), elements;
    for (uint32_t o = 0; o < pv_ane_block_outputs(linear); o++) cols += linear->parts[o].out.cols;
    if (!pv_mul_size(cols, rows, &elements)) elements = SIZE_MAX;
    if (elements <= device->staging_elements) return PV_OK;
    float *larger = pv_resize(device->allocator, device->staging, elements, sizeof *larger);
    if (larger == NULL) return pv_fail_memory(error, elements, "what goes to and fro");
    device->staging = larger;
    device->staging_elements = elements;
    return PV_OK;
}

static pv_status prepare_segment(ane_device *device, segment *one, bool program, pv_error *error)
{
    if (!program) return cpu_of(device)->prepare(device->cpu, &one->plan, &one->prepared, error);
    const pv_op_linear *linear = &one->plan.ops[0].linear;
    const pv_status status = grow_staging(device, linear, one->plan.rows, error);
    return status == PV_OK ? load_program(device, linear, one->plan.rows, &one->program, error) : status;
}

static pv_status ane_prepare(pv_backend_device *base, const pv_plan *plan, pv_prepared **out, pv_error *error)
{
    ane_device *device = cast(base);
    pv_status status = ane_wait(base, device->submitted, UINT32_MAX, error); /* staging may move */
    if (status != PV_OK) return status;
    ane_prepared *prepared = pv_calloc(device->allocator, 1, sizeof *prepared);
    if (prepared == NULL) return pv_fail_memory(error, sizeof *prepared, "a prepared plan");
    *prepared = (ane_prepared){.plan = plan, .layout = pv_step_layout_for(&plan->limits)};
    prepared->segments = pv_calloc(device->allocator, plan->count, sizeof *prepared->segments);
    if (prepared->segments == NULL) status = pv_fail_memory(error, plan->count * sizeof *prepared->segments, "a prepared plan");
    for (size_t first = 0, end; first < plan->count && status == PV_OK; first = end) {
        const bool program = becomes_program(device, plan, &plan->ops[first]);
        end = first + 1;
        while (!program && end < plan->count && !becomes_program(device, plan, &plan->ops[end])) end++;
        status = prepare_segment(device, add_segment(prepared, first, end - first), program, error);
    }
    if (status == PV_OK) {
        *out = (pv_prepared *)prepared;
    } else {
        ane_release(base, (pv_prepared *)prepared);
    }
    return status;
}

/* ---- Running: who waits works, as on the CPU ---- */

static pv_status ane_submit(pv_backend_device *base, const pv_submission *submission, pv_fence *fence, pv_error *error)
{
    ane_device *device = cast(base);
    if (submission->plan_count > PLANS) {
        return pv_fail_at(error, PV_INVALID_ARGUMENT, "ane", PV_NO_OFFSET, "a submission of %u plans; at most %d",
                          submission->plan_count, PLANS);
    }
    if (device->submitted - device->completed == QUEUE) {
        const pv_status status = ane_wait(base, device->completed + 1, UINT32_MAX, error);
        if (status != PV_OK) return status;
    }
    flight *one = &device->flights[++device->submitted % QUEUE];
    *one = (flight){.plan_count = submission->plan_count,
                    .block = submission->block,
                    .outputs = submission->outputs,
                    .abort = submission->abort};
    for (uint32_t p = 0; p < submission->plan_count; p++) one->plans[p] = (ane_prepared *)submission->plans[p];
    *fence = device->submitted;
    return PV_OK;
}

/* Rows that the step has; those beyond are zeros for the program, which takes a fixed number. */
static void copy_in(const pv_tensor *tensor, uint32_t true_rows, const pv_ane_matrix *to)
{
    const uint8_t *from = pv_tensor_host(tensor);
    const size_t bytes = to->cols * sizeof(float);
    for (uint32_t r = 0; r < true_rows; r++) memcpy(to->elements + (size_t)r * to->cols, from + r * tensor->row_bytes, bytes);
    memset(to->elements + (size_t)true_rows * to->cols, 0, (size_t)(to->rows - true_rows) * bytes);
}

static void copy_out(const pv_ane_matrix *from, uint32_t true_rows, const pv_tensor *tensor)
{
    uint8_t *to = pv_tensor_host(tensor);
    for (uint32_t r = 0; r < true_rows; r++)
        memcpy(to + r * tensor->row_bytes, from->elements + (size_t)r * from->cols, from->cols * sizeof(float));
}

static pv_status run_program(ane_device *device, const segment *one, uint32_t true_rows, pv_error *error)
{
    static const char *const names[PV_ANE_OUTPUTS] = {"out0", "out1", "out2"};
    const pv_op_linear *linear = &one->plan.ops[0].linear;
    const uint32_t rows = one->plan.rows, outputs = pv_ane_block_outputs(linear);
    const uint32_t inputs = pv_tensor_present(&linear->residual) ? 2 : 1;
    float *at = device->staging;
    pv_ane_matrix in[PV_ANE_INPUTS] = {{"x", at, rows, linear->x.cols}}, out[PV_ANE_OUTPUTS];
    at += (size_t)rows * linear->x.cols;
    copy_in(&linear->x, true_rows, &in[0]);
    if (inputs == 2) {
        in[1] = (pv_ane_matrix){"residual", at, rows, linear->residual.cols};
        at += (size_t)rows * linear->residual.cols;
        copy_in(&linear->residual, true_rows, &in[1]);
    }
    for (uint32_t o = 0; o < outputs; o++) {
        out[o] = (pv_ane_matrix){names[o], at, rows, linear->parts[o].out.cols};
        at += (size_t)rows * linear->parts[o].out.cols;
    }
    const pv_status status = device->engine.run(device->engine.context, one->program, in, inputs, out, outputs, error);
    for (uint32_t o = 0; o < outputs && status == PV_OK; o++) copy_out(&out[o], true_rows, &linear->parts[o].out);
    device->ran += status == PV_OK;
    return status;
}

/* PV_TIMEOUT: goes on with the next call. */
static pv_status run_segment(ane_device *device, flight *one, const ane_prepared *plan, const segment *part,
                             uint32_t timeout_ms, pv_error *error)
{
    if (part->program != NULL) {
        const pv_step_view step = pv_step_view_of(pv_tensor_host(&one->block), &plan->layout);
        if (one->abort != NULL && atomic_load(one->abort))
            return pv_fail_at(error, PV_CANCELLED, "ane", PV_NO_OFFSET, "the step was aborted");
        return run_program(device, part, step.counts->rows, error);
    }
    if (one->inner == 0) {
        const pv_submission submission = {
            .plans = &part->prepared, .plan_count = 1, .block = one->block, .outputs = one->outputs, .abort = one->abort};
        const pv_status status = cpu_of(device)->submit(device->cpu, &submission, &one->inner, error);
        if (status != PV_OK) return status;
    }
    const pv_status status = cpu_of(device)->wait(device->cpu, one->inner, timeout_ms, error);
    if (status != PV_TIMEOUT) one->inner = 0;
    return status;
}

static pv_status run_flight(ane_device *device, flight *one, uint32_t timeout_ms, pv_error *error)
{
    for (; one->plan < one->plan_count; one->plan++, one->segment = 0) {
        const ane_prepared *plan = one->plans[one->plan];
        for (; one->segment < plan->count; one->segment++) {
            const pv_status status = run_segment(device, one, plan, &plan->segments[one->segment], timeout_ms, error);
            if (status != PV_OK) return status;
        }
    }
    return PV_OK;
}

static pv_status ane_wait(pv_backend_device *base, pv_fence fence, uint32_t timeout_ms, pv_error *error)
{
    ane_device *device = cast(base);
    if (fence > device->submitted) {
        return pv_fail_at(error, PV_INVALID_ARGUMENT, "ane", PV_NO_OFFSET, "waiting for fence %llu; the last one is %llu",
                          (unsigned long long)fence, (unsigned long long)device->submitted);
    }
    while (device->completed < fence) {
        const pv_status status = run_flight(device, &device->flights[(device->completed + 1) % QUEUE], timeout_ms, error);
        if (status == PV_TIMEOUT) return status;
        device->completed++;
        if (status != PV_OK) return status;
    }
    return PV_OK;
}

static size_t ane_counters(const pv_backend_device *base, pv_counter *counters, size_t capacity)
{
    const ane_device *device = cast(base);
    const size_t count = cpu_of(device)->counters(device->cpu, counters, capacity);
    if (count < capacity) counters[count] = (pv_counter){.name = "linear ane", .count = device->ran};
    return count + 1;
}

const pv_backend pv_ane_backend = {
    .name = "ane",
    .enumerate = ane_enumerate,
    .open = ane_open,
    .close = ane_close,
    .describe = ane_describe,
    .alloc = ane_alloc,
    .free = ane_free,
    .import = ane_import,
    .write = ane_write,
    .read = ane_read,
    .weight_spec = ane_weight_spec,
    .upload = ane_upload,
    .supports = ane_supports,
    .prepare = ane_prepare,
    .release = ane_release,
    .submit = ane_submit,
    .wait = ane_wait,
    .counters = ane_counters,
};
