/* Experts: moe_route, moe_linear, moe_sum. */
#include "backend/metal/check.h"
#include "backend/metal/kernels/args.h"
#include "backend/metal/record.h"

#define SIMDGROUPS 4       /* of a threadgroup of moe_linear */
#define ORDER_SIMDGROUPS 8 /* of moe_order */

/* ---- moe_route ---- */

const char *pv_metal_check_moe_route(const pv_metal_device *device, const pv_op *op)
{
    const pv_op_moe_route *route = &op->moe_route;
    (void)device;
    if (route->used == 0 || route->used > PV_MAX_EXPERTS_USED || route->scores.cols < route->used)
        return "too many experts or none are used";
    if (route->offsets.cols <= route->scores.cols) return "there is no offset for each expert";
    const uint32_t used = route->used;
    return route->weights.cols == used && route->experts.cols == used && route->order.cols == used ? NULL : "columns differ";
}

void pv_metal_record_moe_route(pv_metal_recorder *recorder, const pv_op *op)
{
    const pv_op_moe_route *route = &op->moe_route;
    const pv_args_moe_route args = {.step = recorder->layout, .experts = route->scores.cols, .used = route->used,
                                    .normalize = route->normalize, .scores_stride = pv_metal_stride(&route->scores),
                                    .scale = route->scale != 0 ? route->scale : 1};
    pv_metal_kernel kernel = {.source = "moe", .function = "moe_route", .constants = {PV_LAYOUT_F32}, .constant_count = 1};
    pv_metal_record *record = pv_metal_add(recorder, &kernel, &args, sizeof args);
    pv_metal_bind(record, &route->scores);
    pv_metal_bind(record, &route->weights);
    pv_metal_bind(record, &route->experts);
    record->threads[0] = PV_METAL_SIMD;
    record->grid[0] = (pv_metal_axis){.count = PV_METAL_ROWS};

    pv_metal_then(recorder);
    kernel.function = "moe_order";
    record = pv_metal_add(recorder, &kernel, &args, sizeof args);
    pv_metal_bind(record, &route->experts);
    pv_metal_bind(record, &route->order);
    pv_metal_bind(record, &route->offsets);
    record->threads[0] = ORDER_SIMDGROUPS * PV_METAL_SIMD;
    record->grid[0] = (pv_metal_axis){.count = PV_METAL_ONE};
}

/* ---- moe_linear ---- */

const char *pv_metal_check_moe_linear(const pv_metal_device *device, const pv_op *op)
{
    const pv_op_moe_linear *moe = &op->moe_linear;
    const bool glu = moe->glu != PV_ACTIVATION_NONE;
    (void)device;
    if (moe->part_count != (glu ? 2u : 1u)) return "a glu needs two parts, others have one";
    const bool routed = pv_tensor_present(&moe->order);
    if (moe->experts == 0 || moe->used == 0) return "there are no experts";
    if (routed ? moe->order.cols != moe->used || moe->offsets.cols <= moe->experts : moe->used != moe->experts)
        return "the route does not suit";
    for (uint32_t p = 0; p < moe->part_count; p++) {
        const pv_linear_part *part = &moe->parts[p];
        if (!pv_metal_canonical(&part->weight)) return "a weight is not held as in its file";
        if (part->weight.rows % moe->experts != 0) return "a weight has not as many rows for each expert";
        if ((uint64_t)part->weight.cols * (moe->each ? moe->used : 1) != moe->x.cols)
            return "a weight does not have the columns of x";
        if (!pv_metal_absent_or_f32(&part->bias)) return "a bias is not f32";
        if (part->weight.rows != moe->parts[0].weight.rows) return "the parts of a glu differ in shape";
        if (part->weight.layout != moe->parts[0].weight.layout) return "the parts of a glu differ in layout";
    }
    const uint64_t out_cols = (uint64_t)moe->parts[0].weight.rows / moe->experts * moe->used;
    return moe->parts[0].out.cols == out_cols ? NULL : "out does not have the weight's rows";
}

/* A kernel by the assignments of an expert that it takes at a time, and the columns of out that a threadgroup makes of them. */
typedef struct moe_kernel {
    const char *source, *function;
    uint32_t rows, columns, glu_columns;
} moe_kernel;

static moe_kernel kernel_of(const pv_metal_device *device, const pv_op_moe_linear *moe)
{
    static const moe_kernel few = {"moe", "moe_linear", PV_METAL_EXPERT_ROWS, SIMDGROUPS, SIMDGROUPS};
    static const moe_kernel tiles = {"moe_tiles", "moe_tiles", 32, 64, 32};
    const bool has_matrices = device->traits.simdgroup_matrix && !device->plain;
    return moe->x.rows > device->tuning.few_rows && has_matrices ? tiles : few;
}

void pv_metal_record_moe_linear(pv_metal_recorder *recorder, const pv_op *op)
{
    const pv_op_moe_linear *moe = &op->moe_linear;
    pv_args_moe_linear args = {
        .step = recorder->layout,
        .experts = moe->experts,
        .used = moe->used,
        .cols = moe->parts[0].weight.cols,
        .rows = moe->parts[0].weight.rows / moe->experts,
        .x_stride = moe->each ? moe->parts[0].weight.cols : pv_metal_stride(&moe->x),
        .shared_by = moe->each ? 1 : moe->used,
        .glu = moe->glu,
        .routed = pv_tensor_present(&moe->order),
    };
    for (uint32_t p = 0; p < moe->part_count; p++) {
        args.row_bytes[p] = (uint32_t)moe->parts[p].weight.row_bytes;
        if (pv_tensor_present(&moe->parts[p].bias)) args.has_bias |= 1u << p;
    }
    const moe_kernel shape = kernel_of(recorder->device, moe);
    const pv_metal_kernel kernel = {.source = shape.source,
                                    .function = shape.function,
                                    .constants = {moe->parts[0].weight.layout},
                                    .constant_count = 1};
    const uint32_t columns = moe->glu != PV_ACTIVATION_NONE ? shape.glu_columns : shape.columns;
    const uint64_t assignments = (uint64_t)moe->x.rows * moe->used;
    pv_metal_record *record = pv_metal_add(recorder, &kernel, &args, sizeof args);
    pv_metal_bind(record, &moe->x);
    pv_metal_bind(record, &moe->order);
    pv_metal_bind(record, &moe->offsets);
    for (uint32_t p = 0; p < 2; p++) pv_metal_bind(record, p < moe->part_count ? &moe->parts[p].weight : NULL);
    for (uint32_t p = 0; p < 2; p++) pv_metal_bind(record, p < moe->part_count ? &moe->parts[p].bias : NULL);
    pv_metal_bind(record, &moe->parts[0].out);
    record->threads[0] = SIMDGROUPS * PV_METAL_SIMD;
    record->grid[0] = (pv_metal_axis){.count = PV_METAL_ONE, .times = (args.rows + columns - 1) / columns};
    /* full tiles, and one for each expert that is not; every row's experts are as full as each other */
    record->grid[1] = (pv_metal_axis){.count = PV_METAL_ROWS, .per = shape.rows, .times = moe->used};
    if (args.routed) record->grid[1].plus = assignments < moe->experts ? (uint32_t)assignments : moe->experts;
    pv_metal_may_cut(recorder, record, 1, (float)shape.rows / (float)moe->used);
}

/* ---- moe_sum ---- */

const char *pv_metal_check_moe_sum(const pv_metal_device *device, const pv_op *op)
{
    const pv_op_moe_sum *sum = &op->moe_sum;
    (void)device;
    const uint64_t x_cols = (uint64_t)sum->out.cols * sum->weights.cols;
    return sum->out.cols == sum->residual.cols && sum->x.cols == x_cols ? NULL : "columns differ";
}

void pv_metal_record_moe_sum(pv_metal_recorder *recorder, const pv_op *op)
{
    const pv_op_moe_sum *sum = &op->moe_sum;
    const pv_args_moe_sum args = {.step = recorder->layout, .cols = sum->out.cols, .used = sum->weights.cols,
                                  .residual_stride = pv_metal_stride(&sum->residual), .out_stride = pv_metal_stride(&sum->out)};
    const pv_metal_kernel kernel = {.source = "moe", .function = "moe_sum", .constants = {PV_LAYOUT_F32}, .constant_count = 1};
    pv_metal_record *record = pv_metal_add(recorder, &kernel, &args, sizeof args);
    pv_metal_bind(record, &sum->x);
    pv_metal_bind(record, &sum->weights);
    pv_metal_bind(record, &sum->residual);
    pv_metal_bind(record, &sum->out);
    record->threads[0] = 32;
    record->threads[1] = 8;
    record->grid[0] = (pv_metal_axis){.count = PV_METAL_ONE, .times = (args.cols + 31) / 32};
    record->grid[1] = (pv_metal_axis){.count = PV_METAL_ROWS, .per = 8};
}
