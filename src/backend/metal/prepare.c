/* A plan becomes records. */
#include "backend/metal/prepare.h"

#include <stdio.h>
#include <string.h>

#include "backend/metal/profile.h"

static const pv_metal_op ops[PV_OP_COUNT] = {
#define PV_METAL_ROW(name) [PV_OP_##name] = {pv_metal_check_##name, pv_metal_record_##name},
    PV_OP_LIST(PV_METAL_ROW)
#undef PV_METAL_ROW
};

/* A device opened as plain takes no fused form that lowering can split. */
static bool fused(const pv_op *op)
{
    if (op->kind == PV_OP_rope) return pv_tensor_present(&op->rope.store.pages);
    if (op->kind != PV_OP_linear) return false;
    return pv_tensor_present(&op->linear.norm) || op->linear.part_count > 1 || op->linear.glu != PV_ACTIVATION_NONE;
}

static const char *check(const pv_metal_device *device, const pv_op *op)
{
    if (op->kind >= PV_OP_COUNT) return "no such op";
    if (device->plain && fused(op)) return "a fused form on a plain device";
    return ops[op->kind].check(device, op);
}

bool pv_metal_supports(const pv_backend_device *device, const pv_op *op)
{
    return check((const pv_metal_device *)device, op) == NULL;
}

/* ---- The recorder ---- */

/* What a recorder gets when nothing can be recorded: it is never encoded. */
static pv_metal_record *nowhere(pv_metal_recorder *recorder)
{
    recorder->count = 0;
    recorder->records[0] = (pv_metal_record){.binding_count = 2};
    return recorder->records;
}

static uint32_t find_counter(pv_metal_device *device, const char *name)
{
    for (size_t i = 0; i < device->counter_count; i++) {
        if (strcmp(device->counters[i].name, name) == 0) return (uint32_t)i;
    }
    if (device->counter_count == PV_METAL_COUNTERS) return PV_METAL_COUNTERS - 1;
    snprintf(device->counters[device->counter_count].name, sizeof device->counters[0].name, "%s", name);
    return (uint32_t)device->counter_count++;
}

/* "linear Q4_0 metal" for a dispatch of an op with weights. */
static uint32_t op_counter(pv_metal_device *device, const pv_op *op, pv_layout layout)
{
    char name[sizeof device->counters[0].name];
    const bool by_layout = op->kind == PV_OP_linear || op->kind == PV_OP_embed;
    snprintf(name, sizeof name, "%s %s%s%s", pv_op_name(op->kind), by_layout ? pv_layout_get(layout)->name : "",
             by_layout ? " " : "", device->description.kernels);
    return find_counter(device, name);
}

static bool add_args(pv_metal_recorder *recorder, const void *args, size_t bytes, uint32_t *at)
{
    const size_t aligned = (bytes + 15) & ~(size_t)15;
    if (!pv_grow(recorder->device->allocator, (void **)&recorder->args, &recorder->args_capacity,
                 recorder->args_bytes + aligned, 1))
        return false;
    memset(recorder->args + recorder->args_bytes, 0, aligned);
    memcpy(recorder->args + recorder->args_bytes, args, bytes);
    *at = (uint32_t)recorder->args_bytes;
    recorder->args_bytes += aligned;
    return true;
}

pv_metal_record *pv_metal_add(pv_metal_recorder *recorder, const pv_metal_kernel *kernel, const void *args, size_t bytes)
{
    pv_metal_device *device = recorder->device;
    const pv_metal_pipeline *pipeline = NULL;
    uint32_t at = 0;
    if (recorder->status == PV_OK) recorder->status = pv_metal_pipeline_get(device, kernel, &pipeline, recorder->error);
    if (recorder->status != PV_OK) return nowhere(recorder);
    if (!add_args(recorder, args, bytes, &at) || !pv_grow(device->allocator, (void **)&recorder->records, &recorder->capacity,
                                                          recorder->count + 1, sizeof *recorder->records)) {
        recorder->status =
            pv_fail_memory(recorder->error, (recorder->count + 1) * sizeof *recorder->records, "the records of a plan");
        return nowhere(recorder);
    }
    pv_metal_record *record = &recorder->records[recorder->count++];
    *record = (pv_metal_record){
        .pipeline = pipeline,
        .binding_count = 2,
        .args = at,
        .threads = {1, 1, 1},
        .barrier = recorder->barrier,
        .op = recorder->op,
        .counters = {op_counter(device, &recorder->plan->ops[recorder->op], (pv_layout)kernel->constants[0]),
                     find_counter(device, kernel->function)},
    };
    recorder->barrier = false;
    return record;
}

#define PRODUCT_ROWS 32 /* what a product by MPS is cut into goes by so many */

void pv_metal_add_product(pv_metal_recorder *recorder)
{
    pv_metal_device *device = recorder->device;
    const pv_op *op = &recorder->plan->ops[recorder->op];
    if (recorder->status != PV_OK) return;
    const size_t count = recorder->count + 1, size = sizeof *recorder->records;
    if (!pv_grow(device->allocator, (void **)&recorder->records, &recorder->capacity, count, size)) {
        recorder->status = pv_fail_memory(recorder->error, count * size, "the records of a plan");
        return;
    }
    recorder->records[recorder->count++] = (pv_metal_record){
        .op = recorder->op,
        .grid = {{0}, {.count = PV_METAL_ROWS, .per = PRODUCT_ROWS}},
        .cut_axis = 1,
        .group_rows = PRODUCT_ROWS,
        .counters = {op_counter(device, op, op->linear.parts[0].weight.layout), find_counter(device, "mps")},
    };
    recorder->barrier = false;
}

void pv_metal_bind(pv_metal_record *record, const pv_tensor *tensor)
{
    pv_metal_binding *binding = &record->bindings[record->binding_count++];
    *binding = (pv_metal_binding){.place = PV_METAL_TENSOR};
    if (tensor == NULL || tensor->buffer == NULL) return;
    binding->buffer = pv_metal_buffer_of(tensor->buffer);
    binding->offset = tensor->offset;
}

void pv_metal_bind_scratch(pv_metal_recorder *recorder, pv_metal_record *record, uint64_t offset, uint64_t bytes)
{
    record->bindings[record->binding_count++] = (pv_metal_binding){.place = PV_METAL_SCRATCH, .offset = offset};
    /* the op before may still use the same scratch */
    if (recorder->count < 2 || recorder->records[recorder->count - 2].op != record->op) record->barrier = true;
    if (offset + bytes > recorder->scratch_bytes) recorder->scratch_bytes = offset + bytes;
}

void pv_metal_bind_outputs(pv_metal_record *record)
{
    record->bindings[record->binding_count++] = (pv_metal_binding){.place = PV_METAL_OUTPUTS};
}

void pv_metal_may_cut(pv_metal_recorder *recorder, pv_metal_record *record, uint8_t axis, float group_rows)
{
    const pv_metal_axis *along = &record->grid[axis];
    const uint32_t count = along->count == PV_METAL_LOGITS ? recorder->plan->logits : recorder->plan->rows;
    const uint64_t groups = pv_metal_groups(along, count);
    record->bindings[record->binding_count++] = (pv_metal_binding){.place = PV_METAL_FIRST_GROUP};
    record->cut_axis = axis;
    record->group_rows = group_rows;
    if (groups > recorder->most_groups) recorder->most_groups = (uint32_t)groups;
}

void pv_metal_then(pv_metal_recorder *recorder)
{
    recorder->barrier = true;
}

/* ---- Preparing ---- */

static pv_status check_all(const pv_metal_device *device, const pv_plan *plan, pv_error *error)
{
    for (size_t i = 0; i < plan->count; i++) {
        const pv_op *op = &plan->ops[i];
        const char *wrong = check(device, op);
        if (wrong != NULL) {
            return pv_fail_at(error, PV_UNSUPPORTED, op->label[0] != 0 ? op->label : pv_op_name(op->kind), PV_NO_OFFSET,
                              "op %s: %s", pv_op_name(op->kind), wrong);
        }
    }
    return PV_OK;
}

/* What a compiler makes of a kernel may run with fewer threads than were meant: a driver would not say so. */
static pv_status check_limits(const pv_metal_recorder *recorder)
{
    for (size_t i = 0; i < recorder->count; i++) {
        const pv_metal_record *record = &recorder->records[i];
        const uint32_t threads = record->threads[0] * record->threads[1] * record->threads[2];
        if (record->pipeline == NULL || threads <= record->pipeline->max_threads) continue;
        return pv_fail_at(recorder->error, PV_PROGRAM, record->pipeline->kernel.function, PV_NO_OFFSET,
                          "%s takes at most %u threads in a threadgroup on %s; %u are wanted",
                          record->pipeline->kernel.function, record->pipeline->max_threads, recorder->device->description.id,
                          threads);
    }
    return PV_OK;
}

/* Behind all arguments. */
static pv_status add_numbers(pv_metal_recorder *recorder, pv_prepared *prepared, pv_error *error)
{
    const size_t bytes = ((size_t)recorder->most_groups * sizeof(uint32_t) + 15) & ~(size_t)15;
    prepared->numbers = recorder->args_bytes;
    if (!pv_grow(recorder->device->allocator, (void **)&recorder->args, &recorder->args_capacity,
                 recorder->args_bytes + bytes, 1))
        return pv_fail_memory(error, recorder->args_bytes + bytes, "the arguments of a plan");
    for (uint32_t i = 0; i < bytes / sizeof i; i++) memcpy(recorder->args + recorder->args_bytes + i * sizeof i, &i, sizeof i);
    recorder->args_bytes += bytes;
    return PV_OK;
}

/* Arguments of all plans share a few buffers; a submission binds its place for each record. */
static pv_status keep_args(pv_metal_device *device, const pv_metal_recorder *recorder, pv_prepared *prepared, pv_error *error)
{
    if (recorder->args_bytes == 0) return PV_OK;
    const pv_status status = pv_pool_alloc(device->args, PV_MEMORY_SCRATCH, recorder->args_bytes, 16, &prepared->args, error);
    if (status == PV_OK) memcpy(prepared->args.buffer->host + prepared->args.offset, recorder->args, recorder->args_bytes);
    return status;
}

/* Records name scratch, not its place, so it may move between submissions; what is under way must have ended. */
static pv_status grow_scratch(pv_metal_device *device, uint64_t bytes, pv_error *error)
{
    pv_buffer larger = {0};
    if (bytes <= device->scratch.bytes) return PV_OK;
    pv_status status = pv_metal_settle(device, error);
    if (status == PV_OK) status = pv_metal_alloc(&device->base, PV_MEMORY_SCRATCH, bytes, &larger, error);
    if (status != PV_OK) return status;
    pv_metal_free(&device->base, &device->scratch);
    device->scratch = larger;
    return PV_OK;
}

static pv_cost most_of(const pv_plan *plan)
{
    pv_cost most = {0};
    for (size_t i = 0; i < plan->count; i++) {
        const pv_cost cost = pv_op_cost(&plan->ops[i], plan->rows, plan->limits.context);
        most.bytes += cost.bytes;
        most.operations += cost.operations;
    }
    return most;
}

static pv_status prepare(pv_backend_device *base, const pv_plan *plan, pv_prepared **out, pv_error *error)
{
    pv_metal_device *device = pv_metal_of(base);
    pv_status status = check_all(device, plan, error);
    if (status != PV_OK) return status;
    pv_metal_recorder recorder = {.device = device, .plan = plan, .layout = pv_step_layout_for(&plan->limits), .error = error};
    pv_prepared *prepared = pv_calloc(device->allocator, 1, sizeof *prepared);
    /* one at least, so that a recorder has something to fill in after a failure */
    if (prepared == NULL || !pv_grow(device->allocator, (void **)&recorder.records, &recorder.capacity, plan->count + 1,
                                     sizeof *recorder.records)) {
        pv_free(device->allocator, prepared);
        return pv_fail_memory(error, (plan->count + 1) * sizeof *recorder.records, "a prepared plan");
    }
    for (uint32_t i = 0; i < plan->count && recorder.status == PV_OK; i++) {
        recorder.op = i;
        recorder.barrier = plan->ops[i].barrier || i == 0;
        ops[plan->ops[i].kind].record(&recorder, &plan->ops[i]);
    }
    *prepared = (pv_prepared){
        .plan = plan, .layout = recorder.layout, .most = most_of(plan), .records = recorder.records, .count = recorder.count};
    status = recorder.status;
    if (status == PV_OK) status = check_limits(&recorder);
    if (status == PV_OK) status = add_numbers(&recorder, prepared, error);
    if (status == PV_OK) status = keep_args(device, &recorder, prepared, error);
    if (status == PV_OK) status = grow_scratch(device, recorder.scratch_bytes, error);
    pv_free(device->allocator, recorder.args);
    if (status == PV_OK) {
        *out = prepared;
    } else {
        pv_metal_release(base, prepared);
    }
    return status;
}

pv_status pv_metal_prepare(pv_backend_device *base, const pv_plan *plan, pv_prepared **out, pv_error *error)
{
    const pv_signposts *signposts = pv_metal_profile_signposts(pv_metal_of(base));
    char text[32];
    snprintf(text, sizeof text, "%zu ops, %u rows", plan->count, plan->rows);
    const uint64_t interval = pv_signpost_begin(signposts, PV_SIGNPOST_PREPARE, text);
    const pv_status status = prepare(base, plan, out, error);
    pv_signpost_end(signposts, PV_SIGNPOST_PREPARE, interval);
    return status;
}

void pv_metal_release(pv_backend_device *base, pv_prepared *prepared)
{
    pv_metal_device *device = pv_metal_of(base);
    if (prepared == NULL) return;
    pv_pool_release(device->args, &prepared->args, device->submitted);
    pv_free(device->allocator, prepared->records);
    pv_free(device->allocator, prepared);
}
