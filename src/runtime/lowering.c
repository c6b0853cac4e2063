/* Splits what a device declines into plainer ops. Every split takes one fusion away, so the depth is bounded by their number.
 */
#include "runtime/builder.h"

#include <string.h>

#define MAX_PIECES 3

/* Each split returns the number of ops that replace `op`, 0 if `op` has no such fusion. If
 * memory for a scratch tensor runs out, list->failed tells. */
typedef size_t (*split_function)(pv_oplist *list, const pv_op *op, pv_op pieces[MAX_PIECES]);

static pv_op piece_of(const pv_op *op, pv_op_kind kind)
{
    pv_op piece = {.kind = kind};
    memcpy(piece.label, op->label, sizeof piece.label);
    return piece;
}

static size_t split_norm(pv_oplist *list, const pv_op *op, pv_op pieces[MAX_PIECES])
{
    if (op->kind != PV_OP_linear || !pv_tensor_present(&op->linear.norm)) return 0;
    pv_tensor normed = pv_oplist_scratch(list, (pv_extent)op->linear.x.extent, op->linear.x.cols);
    pieces[0] = piece_of(op, PV_OP_rms_norm);
    pieces[0].rms_norm = (pv_op_rms_norm){.x = op->linear.x, .weight = op->linear.norm, .out = normed, .epsilon = op->linear.epsilon};
    pieces[1] = *op;
    pieces[1].linear.x = normed;
    pieces[1].linear.norm = (pv_tensor){0};
    pieces[1].linear.epsilon = 0;
    return 2;
}

/* What is added to comes last, and may be where the result will stand: the gate cannot go there. */
static size_t split_glu_with_residual(pv_oplist *list, const pv_op *op, pv_op pieces[MAX_PIECES])
{
    const pv_tensor out = op->linear.parts[0].out;
    const pv_tensor gate = pv_oplist_scratch(list, (pv_extent)out.extent, out.cols);
    const pv_tensor up = pv_oplist_scratch(list, (pv_extent)out.extent, out.cols);
    pieces[0] = *op;
    pieces[0].linear.glu = PV_ACTIVATION_NONE;
    pieces[0].linear.residual = (pv_tensor){0};
    pieces[0].linear.parts[0].out = gate;
    pieces[0].linear.parts[1].out = up;
    pieces[1] = piece_of(op, PV_OP_glu);
    pieces[1].glu = (pv_op_glu){gate, up, gate, op->linear.glu};
    pieces[2] = piece_of(op, PV_OP_activation);
    pieces[2].activation = (pv_op_activation){.x = gate, .residual = op->linear.residual, .out = out, .scale = 1};
    return 3;
}

/* The gate goes where the result will stand. */
static size_t split_glu(pv_oplist *list, const pv_op *op, pv_op pieces[MAX_PIECES])
{
    if (op->kind != PV_OP_linear || op->linear.glu == PV_ACTIVATION_NONE) return 0;
    if (pv_tensor_present(&op->linear.residual)) return split_glu_with_residual(list, op, pieces);
    pv_tensor gate = op->linear.parts[0].out;
    pv_tensor up = pv_oplist_scratch(list, (pv_extent)gate.extent, gate.cols);
    pieces[0] = *op;
    pieces[0].linear.glu = PV_ACTIVATION_NONE;
    pieces[0].linear.parts[1].out = up;
    pieces[1] = piece_of(op, PV_OP_glu);
    pieces[1].glu = (pv_op_glu){gate, up, gate, op->linear.glu};
    return 2;
}

static size_t split_parts(pv_oplist *list, const pv_op *op, pv_op pieces[MAX_PIECES])
{
    (void)list;
    if (op->kind != PV_OP_linear || op->linear.glu != PV_ACTIVATION_NONE || op->linear.part_count < 2) return 0;
    for (uint32_t i = 0; i < op->linear.part_count; i++) {
        pieces[i] = piece_of(op, PV_OP_linear);
        pieces[i].linear = (pv_op_linear){.x = op->linear.x,
                                          .norm = op->linear.norm,
                                          .epsilon = op->linear.epsilon,
                                          .part_count = 1,
                                          .parts = {op->linear.parts[i]}};
    }
    return op->linear.part_count;
}

static size_t split_store(pv_oplist *list, const pv_op *op, pv_op pieces[MAX_PIECES])
{
    (void)list;
    if (op->kind != PV_OP_rope || !pv_tensor_present(&op->rope.store.pages)) return 0;
    pieces[0] = *op;
    pieces[0].rope.v = (pv_tensor){0};
    pieces[0].rope.store = (pv_kv_view){0};
    pieces[1] = piece_of(op, PV_OP_kv_store);
    pieces[1].kv_store = (pv_op_kv_store){op->rope.k, op->rope.v, op->rope.store};
    return 2;
}

/* Norm before parts: it is then computed once for all of them. */
static const split_function splits[] = {split_norm, split_glu, split_parts, split_store};
#define SPLIT_COUNT (sizeof splits / sizeof splits[0])

static bool takes(const pv_backend_device *device, const pv_op *op)
{
    return device == NULL || device->backend->supports(device, op);
}

static bool takes_all(const pv_backend_device *device, const pv_op *ops, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!takes(device, &ops[i])) return false;
    }
    return true;
}

/* The first split whose pieces the device takes as they are; if there is none, the first that applies. */
static size_t choose(pv_oplist *list, const pv_backend_device *device, const pv_op *op, pv_op pieces[MAX_PIECES])
{
    size_t scratch_count = list->scratch_count, first = SPLIT_COUNT;
    for (size_t i = 0; i < SPLIT_COUNT; i++) {
        size_t count = splits[i](list, op, pieces);
        if (count > 0 && takes_all(device, pieces, count)) return count;
        if (count > 0 && first == SPLIT_COUNT) first = i;
        list->scratch_count = scratch_count;
    }
    return first < SPLIT_COUNT ? splits[first](list, op, pieces) : 0;
}

static pv_status fail_declined(const pv_backend_device *device, const pv_op *op, pv_error *error)
{
    const char *layout = op->kind == PV_OP_linear  ? pv_layout_get(op->linear.parts[0].weight.layout)->name
                         : op->kind == PV_OP_embed ? pv_layout_get(op->embed.table.layout)->name
                                                   : NULL;
    return pv_fail_at(error, PV_UNSUPPORTED, op->label, PV_NO_OFFSET, "device %s has no kernel for the op '%s' of \"%s\"%s%s",
                      device->backend->describe(device)->id, pv_op_name(op->kind), op->label,
                      layout ? " with weights in layout " : "", layout ? layout : "");
}

pv_status pv_lower(pv_oplist *list, pv_backend_device *device, const pv_op *op, pv_error *error)
{
    if (takes(device, op)) {
        return pv_oplist_append(list, op) ? PV_OK : pv_fail_memory(error, (list->count + 1) * sizeof *op, "the ops of a plan");
    }
    pv_op pieces[MAX_PIECES];
    size_t count = choose(list, device, op, pieces);
    if (list->failed)
        return pv_fail_memory(error, (list->scratch_count + 1) * sizeof(pv_scratch), "the scratch tensors of a plan");
    if (count == 0) return fail_declined(device, op, error);
    for (size_t i = 0; i < count; i++) {
        pv_status status = pv_lower(list, device, &pieces[i], error);
        if (status != PV_OK) return status;
    }
    return PV_OK;
}
