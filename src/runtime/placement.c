/* Where scratch tensors lie: lifetimes from first write to last use, then the largest first into the tightest gap. */
#include "runtime/builder.h"

#include "base/alloc.h"
#include "base/checked.h"

static pv_status fail_order(const pv_op *op, const char *what, pv_error *error)
{
    return pv_fail_at(error, PV_INTERNAL, op->label, PV_NO_OFFSET, "op '%s' of \"%s\" %s", pv_op_name(op->kind), op->label,
                      what);
}

static pv_status find_lifetimes(pv_oplist *list, pv_error *error)
{
    for (size_t i = 0; i < list->count; i++) {
        pv_operand operands[PV_MAX_OPERANDS];
        size_t count = pv_op_operands(&list->ops[i], operands);
        for (size_t j = 0; j < count; j++) {
            int32_t number = operands[j].tensor->scratch;
            if (number == 0) continue;
            if (number < 0 || (size_t)number > list->scratch_count)
                return fail_order(&list->ops[i], "names a scratch tensor that its builder did not make", error);
            pv_scratch *scratch = &list->scratch[number - 1];
            if (!scratch->used && (operands[j].access & PV_READ))
                return fail_order(&list->ops[i], "reads a scratch tensor before any op has written it", error);
            if (!scratch->used) scratch->first = i;
            scratch->used = true;
            scratch->last = i;
        }
    }
    return PV_OK;
}

static pv_status find_sizes(pv_oplist *list, pv_error *error)
{
    for (size_t i = 0; i < list->scratch_count; i++) {
        pv_scratch *scratch = &list->scratch[i];
        uint64_t bytes;
        if (!pv_mul_u64(scratch->tensor.rows, scratch->tensor.row_bytes, &bytes) ||
            !pv_align_u64(bytes, PV_SCRATCH_ALIGNMENT, &scratch->bytes))
            return pv_fail(error, PV_INTERNAL, "a scratch tensor of %u x %u overflows", scratch->tensor.rows,
                           scratch->tensor.cols);
    }
    return PV_OK;
}

/* Kept tensors first, in their order; then the largest first; ties by number, so that the same plan is always placed alike. */
static bool before(const pv_scratch *x, const pv_scratch *y)
{
    if (x->kept || y->kept) return x->kept && (!y->kept || x->kept < y->kept);
    return x->bytes != y->bytes ? x->bytes > y->bytes : x->tensor.scratch < y->tensor.scratch;
}

static void insert_by_turn(pv_scratch **turn, size_t count, pv_scratch *scratch)
{
    size_t at = count;
    for (; at > 0 && before(scratch, turn[at - 1]); at--) turn[at] = turn[at - 1];
    turn[at] = scratch;
}

static bool live_together(const pv_scratch *a, const pv_scratch *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* The start of the tightest gap between the tensors in `placed` (by offset) that live together with `scratch`. */
static uint64_t tightest_gap(const pv_scratch *scratch, pv_scratch *const *placed, size_t count)
{
    uint64_t end = 0, best = 0, best_size = UINT64_MAX;
    for (size_t i = 0; i < count; i++) {
        if (!live_together(scratch, placed[i])) continue;
        if (placed[i]->offset > end && placed[i]->offset - end >= scratch->bytes && placed[i]->offset - end < best_size) {
            best = end;
            best_size = placed[i]->offset - end;
        }
        if (placed[i]->offset + placed[i]->bytes > end) end = placed[i]->offset + placed[i]->bytes;
    }
    return best_size < UINT64_MAX ? best : end;
}

static void insert_by_offset(pv_scratch **placed, size_t count, pv_scratch *scratch)
{
    size_t at = count;
    for (; at > 0 && placed[at - 1]->offset > scratch->offset; at--) placed[at] = placed[at - 1];
    placed[at] = scratch;
}

/* `turn` and `placed` have room for every scratch tensor. */
static pv_status place(pv_oplist *list, pv_scratch **turn, pv_scratch **placed, uint64_t *bytes, pv_error *error)
{
    size_t count = 0, placed_count = 0;
    uint64_t kept_end = 0;
    *bytes = 0;
    for (size_t i = 0; i < list->scratch_count; i++) {
        pv_scratch *scratch = &list->scratch[i];
        if (scratch->kept) scratch->used = true, scratch->first = 0, scratch->last = SIZE_MAX;
        if (scratch->used) insert_by_turn(turn, count++, scratch);
    }
    for (size_t i = 0; i < count; i++) {
        pv_scratch *scratch = turn[i];
        uint64_t end;
        scratch->offset = scratch->kept ? kept_end : tightest_gap(scratch, placed, placed_count);
        if (!pv_add_u64(scratch->offset, scratch->bytes, &end)) return pv_fail(error, PV_INTERNAL, "scratch overflows");
        if (scratch->kept) kept_end = end;
        if (end > *bytes) *bytes = end;
        insert_by_offset(placed, placed_count++, scratch);
    }
    return PV_OK;
}

pv_status pv_place_scratch(pv_oplist *list, uint64_t *bytes, pv_error *error)
{
    *bytes = 0;
    pv_status status = find_lifetimes(list, error);
    if (status == PV_OK) status = find_sizes(list, error);
    if (status != PV_OK || list->scratch_count == 0) return status;
    pv_scratch **order = pv_alloc(list->allocator, list->scratch_count, 2 * sizeof *order);
    if (!order) return pv_fail_memory(error, list->scratch_count * 2 * sizeof *order, "placing scratch");
    status = place(list, order, order + list->scratch_count, bytes, error);
    pv_free(list->allocator, order);
    return status;
}
