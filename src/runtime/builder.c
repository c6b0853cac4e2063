#include "runtime/builder.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"

struct pv_builder {
    pv_step_limits limits;
    pv_oplist list; /* as added: finish lowers a copy, so it may be called again */
    uint32_t kept;
    pv_status status; /* the first failure */
    pv_error error;
    const pv_buffer *buffer; /* where the last finish put scratch */
    uint64_t scratch_offset;
};

/* ---- Lists of ops ---------------------------------------------------------------------------------------------------- */

bool pv_oplist_append(pv_oplist *list, const pv_op *op)
{
    if (!pv_grow(list->allocator, (void **)&list->ops, &list->capacity, list->count + 1, sizeof *op)) return false;
    list->ops[list->count++] = *op;
    return true;
}

pv_tensor pv_oplist_scratch(pv_oplist *list, pv_extent extent, uint32_t cols)
{
    if (list->scratch_count >= INT32_MAX || !pv_grow(list->allocator, (void **)&list->scratch, &list->scratch_capacity,
                                                     list->scratch_count + 1, sizeof *list->scratch)) {
        list->failed = true;
        return (pv_tensor){0};
    }
    pv_scratch *scratch = &list->scratch[list->scratch_count++];
    *scratch = (pv_scratch){.tensor = {.rows = extent == PV_EXTENT_LOGITS ? list->logits : list->rows,
                                       .cols = cols,
                                       .row_bytes = (uint64_t)cols * sizeof(float),
                                       .layout = PV_LAYOUT_F32,
                                       .packing = PV_PACKING_NONE,
                                       .extent = (uint8_t)extent,
                                       .scratch = (int32_t)list->scratch_count}};
    return scratch->tensor;
}

static void oplist_free(pv_oplist *list)
{
    pv_free(list->allocator, list->ops);
    pv_free(list->allocator, list->scratch);
}

/* ---- Building -------------------------------------------------------------------------------------------------------- */

pv_status pv_builder_create(const pv_allocator *allocator, const pv_step_limits *limits, uint32_t rows, uint32_t logits,
                            pv_builder **builder, pv_error *error)
{
    if (rows > limits->rows || logits > limits->logits)
        return pv_fail(error, PV_INTERNAL, "a plan of %u rows and %u logits exceeds the step block's %u and %u", rows, logits,
                       limits->rows, limits->logits);
    pv_builder *made = pv_calloc(allocator, 1, sizeof *made);
    if (!made) return pv_fail_memory(error, sizeof *made, "a builder");
    made->limits = *limits;
    made->list = (pv_oplist){.allocator = allocator, .rows = rows, .logits = logits};
    *builder = made;
    return PV_OK;
}

void pv_builder_destroy(pv_builder *builder)
{
    if (!builder) return;
    oplist_free(&builder->list);
    pv_free(builder->list.allocator, builder);
}

pv_tensor pv_builder_scratch(pv_builder *builder, pv_extent extent, uint32_t cols)
{
    if (builder->status != PV_OK) return (pv_tensor){0};
    if (cols == 0 || (extent != PV_EXTENT_ROWS && extent != PV_EXTENT_LOGITS)) {
        builder->status =
            pv_fail(&builder->error, PV_INTERNAL, "a scratch tensor of %u columns and extent %d", cols, (int)extent);
        return (pv_tensor){0};
    }
    pv_tensor tensor = pv_oplist_scratch(&builder->list, extent, cols);
    if (builder->list.failed)
        builder->status =
            pv_fail_memory(&builder->error, (builder->list.scratch_count + 1) * sizeof(pv_scratch), "scratch tensors");
    return tensor;
}

void pv_builder_add(pv_builder *builder, pv_op op, const char *label, ...)
{
    if (builder->status != PV_OK) return;
    va_list arguments;
    va_start(arguments, label);
    vsnprintf(op.label, sizeof op.label, label, arguments);
    va_end(arguments);
    op.barrier = false;
    if (!pv_oplist_append(&builder->list, &op))
        builder->status = pv_fail_memory(&builder->error, (builder->list.count + 1) * sizeof op, "the ops of a plan");
}

void pv_builder_keep(pv_builder *builder, pv_tensor *tensor)
{
    if (builder->status != PV_OK) return;
    if (tensor->scratch <= 0 || (size_t)tensor->scratch > builder->list.scratch_count) {
        builder->status = pv_fail(&builder->error, PV_INTERNAL, "a tensor to keep is no scratch tensor of its builder");
        return;
    }
    pv_scratch *scratch = &builder->list.scratch[tensor->scratch - 1];
    if (scratch->kept == 0) scratch->kept = ++builder->kept;
}

/* ---- Barriers -------------------------------------------------------------------------------------------------------- */

typedef struct touched {
    const pv_buffer *buffer; /* NULL: scratch of no buffer yet */
    uint64_t begin, end;
    bool written;
} touched;

/* What a tensor does not tell of its size reaches to the buffer's end. */
static touched memory_of(const pv_operand *operand)
{
    const pv_tensor *tensor = operand->tensor;
    uint64_t bytes, end;
    bool known = tensor->packing == PV_PACKING_NONE && tensor->row_bytes > 0 &&
                 pv_mul_u64(tensor->rows, tensor->row_bytes, &bytes) && pv_add_u64(tensor->offset, bytes, &end);
    return (touched){tensor->buffer, tensor->offset, known ? end : UINT64_MAX, (operand->access & PV_WRITE) != 0};
}

static bool same_buffer(const pv_buffer *a, const pv_buffer *b)
{
    return a == b || (a != NULL && b != NULL && a->id == b->id);
}

static bool conflict(const touched *a, const touched *b)
{
    return (a->written || b->written) && same_buffer(a->buffer, b->buffer) && a->begin < b->end && b->begin < a->end;
}

/* An op waits for those before it if it touches what one of them since the last barrier has written, or writes what one has
 * touched. */
static bool set_barriers(const pv_allocator *allocator, pv_op *ops, size_t op_count)
{
    touched *since = NULL;
    size_t since_count = 0, capacity = 0;
    for (size_t i = 0; i < op_count; i++) {
        pv_operand operands[PV_MAX_OPERANDS];
        touched now[PV_MAX_OPERANDS];
        size_t count = pv_op_operands(&ops[i], operands);
        bool barrier = i == 0;
        for (size_t j = 0; j < count; j++) {
            now[j] = memory_of(&operands[j]);
            for (size_t k = 0; k < since_count && !barrier; k++) barrier = conflict(&now[j], &since[k]);
        }
        ops[i].barrier = barrier;
        if (barrier) since_count = 0;
        if (!pv_grow(allocator, (void **)&since, &capacity, since_count + count, sizeof *since)) {
            pv_free(allocator, since);
            return false;
        }
        memcpy(since + since_count, now, count * sizeof *now);
        since_count += count;
    }
    pv_free(allocator, since);
    return true;
}

/* ---- Finishing ------------------------------------------------------------------------------------------------------- */

static pv_status copy_scratch(const pv_oplist *from, pv_oplist *to, pv_error *error)
{
    if (from->scratch_count == 0) return PV_OK;
    if (!pv_grow(to->allocator, (void **)&to->scratch, &to->scratch_capacity, from->scratch_count, sizeof *to->scratch))
        return pv_fail_memory(error, from->scratch_count * sizeof *to->scratch, "the scratch tensors of a plan");
    memcpy(to->scratch, from->scratch, from->scratch_count * sizeof *to->scratch);
    to->scratch_count = from->scratch_count;
    return PV_OK;
}

/* A tensor that has its buffer is like any other: other builders may use it. */
static void bind_tensor(pv_tensor *tensor, const pv_scratch *scratch, const pv_buffer *buffer, uint64_t scratch_offset)
{
    tensor->buffer = buffer;
    tensor->offset = scratch_offset + scratch->offset;
    if (buffer) tensor->scratch = 0;
}

static void bind_ops(pv_oplist *list, const pv_buffer *buffer, uint64_t scratch_offset)
{
    for (size_t i = 0; i < list->count; i++) {
        pv_operand operands[PV_MAX_OPERANDS];
        size_t count = pv_op_operands(&list->ops[i], operands);
        for (size_t j = 0; j < count; j++) {
            pv_tensor *tensor = operands[j].tensor;
            if (tensor->scratch > 0) bind_tensor(tensor, &list->scratch[tensor->scratch - 1], buffer, scratch_offset);
        }
    }
}

static pv_status check_fits(const pv_buffer *buffer, uint64_t offset, uint64_t bytes, pv_error *error)
{
    if (buffer == NULL || pv_inside(offset, bytes, buffer->bytes)) return PV_OK;
    return pv_fail(error, PV_INTERNAL, "a plan's %llu bytes of scratch at offset %llu do not fit their buffer of %llu bytes",
                   (unsigned long long)bytes, (unsigned long long)offset, (unsigned long long)buffer->bytes);
}

static void fill_plan(const pv_builder *builder, const pv_oplist *list, uint64_t bytes, pv_plan *plan)
{
    *plan = (pv_plan){.allocator = list->allocator,
                      .ops = list->ops,
                      .count = list->count,
                      .capacity = list->capacity,
                      .limits = builder->limits,
                      .rows = list->rows,
                      .logits = list->logits,
                      .scratch_bytes = bytes};
}

pv_status pv_builder_finish(pv_builder *builder, pv_backend_device *device, const pv_buffer *scratch, uint64_t scratch_offset,
                            pv_plan *plan, pv_error *error)
{
    if (builder->status != PV_OK) {
        if (error) *error = builder->error;
        return builder->status;
    }
    pv_oplist list = {.allocator = builder->list.allocator, .rows = builder->list.rows, .logits = builder->list.logits};
    uint64_t bytes = 0;
    pv_status status = copy_scratch(&builder->list, &list, error);
    for (size_t i = 0; status == PV_OK && i < builder->list.count; i++)
        status = pv_lower(&list, device, &builder->list.ops[i], error);
    if (status == PV_OK) status = pv_place_scratch(&list, &bytes, error);
    if (status == PV_OK) status = check_fits(scratch, scratch_offset, bytes, error);
    if (status != PV_OK) goto failed;
    bind_ops(&list, scratch, scratch_offset);
    if (!set_barriers(list.allocator, list.ops, list.count)) {
        status = pv_fail_memory(error, list.count * sizeof(touched), "the barriers of a plan");
        goto failed;
    }
    for (size_t i = 0; i < builder->list.scratch_count; i++) builder->list.scratch[i].offset = list.scratch[i].offset;
    builder->buffer = scratch;
    builder->scratch_offset = scratch_offset;
    fill_plan(builder, &list, bytes, plan);
    pv_free(list.allocator, list.scratch);
    return PV_OK;
failed:
    oplist_free(&list);
    return status;
}

pv_tensor pv_builder_placed(const pv_builder *builder, const pv_tensor *tensor)
{
    pv_tensor placed = *tensor;
    if (tensor->scratch > 0 && (size_t)tensor->scratch <= builder->list.scratch_count)
        bind_tensor(&placed, &builder->list.scratch[tensor->scratch - 1], builder->buffer, builder->scratch_offset);
    return placed;
}

void pv_plan_free(pv_plan *plan)
{
    if (plan->allocator) pv_free(plan->allocator, plan->ops);
    *plan = (pv_plan){0};
}
