/* linear: which kernel, and how its parts share dispatches. */
#include "backend/metal/check.h"
#include "backend/metal/kernels/args.h"
#include "backend/metal/mps.h"
#include "backend/metal/record.h"

#define SIMDGROUPS 4 /* of a threadgroup */

/* Up to here weights go straight into the sums. */
static bool few(const pv_metal_device *device, const pv_op_linear *linear) { return linear->x.rows <= device->tuning.few_rows; }
static bool has_matrices(const pv_metal_device *device) { return device->traits.simdgroup_matrix && !device->plain; }

static const char *check_part(const pv_op_linear *linear, uint32_t p)
{
    const pv_linear_part *part = &linear->parts[p];
    const bool glu = linear->glu != PV_ACTIVATION_NONE;
    if (!pv_metal_canonical(&part->weight)) return "a weight is not held as in its file";
    if (part->weight.cols != linear->x.cols) return "a weight does not have the columns of x";
    if (!pv_metal_absent_or_f32(&part->bias)) return "a bias is not f32";
    if (!(glu && p == 1) && (!pv_metal_f32(&part->out) || part->out.cols != part->weight.rows))
        return "out does not have the weight's rows";
    if (glu && part->weight.rows != linear->parts[0].weight.rows) return "the parts of a glu differ in shape";
    if (glu && part->weight.layout != linear->parts[0].weight.layout) return "the parts of a glu differ in layout";
    return NULL;
}

const char *pv_metal_check_linear(const pv_metal_device *device, const pv_op *op)
{
    const pv_op_linear *linear = &op->linear;
    const bool glu = linear->glu != PV_ACTIVATION_NONE;
    if (linear->part_count < 1 || linear->part_count > 3) return "not one to three parts";
    if (glu && linear->part_count != 2) return "a glu needs two parts";
    if (linear->glu > PV_ACTIVATION_GELU) return "the activation is not known";
    if (pv_tensor_present(&linear->residual) && linear->part_count > 1 && !glu) return "a residual with several parts";
    if (!pv_metal_f32(&linear->x) || !pv_metal_absent_or_f32(&linear->norm) || !pv_metal_absent_or_f32(&linear->residual))
        return "an activation is not f32";
    for (uint32_t p = 0; p < linear->part_count; p++) {
        const char *wrong = check_part(linear, p);
        if (wrong != NULL) return wrong;
    }
    return pv_metal_mps_wants(device, linear) ? pv_metal_mps_declines(linear) : NULL;
}

static pv_args_linear args_of(const pv_metal_recorder *recorder, const pv_op_linear *linear)
{
    return (pv_args_linear){
        .step = recorder->layout,
        .extent = linear->x.extent,
        .cols = linear->x.cols,
        .x_stride = pv_metal_stride(&linear->x),
        .residual_stride = pv_metal_stride(&linear->residual),
        .epsilon = linear->epsilon,
        .has_residual = pv_tensor_present(&linear->residual),
    };
}

static void set_part(pv_args_linear *args, uint32_t at, const pv_linear_part *part)
{
    args->rows[at] = part->weight.rows;
    args->row_bytes[at] = (uint32_t)part->weight.row_bytes;
    args->out_stride[at] = pv_metal_stride(&part->out);
    if (pv_tensor_present(&part->bias)) args->has_bias |= 1u << at;
}

/* ---- Records: parts of equal layout go together ---- */

/* A kernel by the rows that it takes at a time, and the columns of out that a threadgroup makes of them. */
typedef struct linear_kernel {
    const char *source, *function;
    uint32_t rows, columns;
} linear_kernel;

static linear_kernel kernel_of(const pv_metal_device *device, const pv_op_linear *linear)
{
    static const linear_kernel kernels[] = {
        {"linear", "linear_rows1", 1, 4 * SIMDGROUPS},
        {"linear", "linear_rows2", 2, 4 * SIMDGROUPS},
        {"linear", "linear_rows4", 4, 4 * SIMDGROUPS},
        {"linear", "linear_rows8", 8, 2 * SIMDGROUPS},
    };
    static const linear_kernel tiles = {"linear_tiles", "linear_tiles", 32, 64};
    if (!few(device, linear) && has_matrices(device)) return tiles;
    uint32_t k = 0;
    while (k < 3 && kernels[k].rows < linear->x.rows) k++;
    return kernels[k];
}

static void record_parts(pv_metal_recorder *recorder, const pv_op_linear *linear, const pv_linear_part *const parts[3],
                         uint32_t count)
{
    const linear_kernel shape = kernel_of(recorder->device, linear);
    const bool glu = linear->glu != PV_ACTIVATION_NONE;
    const uint32_t columns = glu ? shape.columns / 2 : shape.columns;
    pv_args_linear args = args_of(recorder, linear);
    for (uint32_t p = 0; p < count; p++) set_part(&args, p, parts[p]);
    const pv_metal_kernel kernel = {
        .source = shape.source,
        .function = shape.function,
        .constants = {parts[0]->weight.layout, pv_tensor_present(&linear->norm), linear->glu},
        .constant_count = 3,
    };
    uint32_t groups = 0;
    for (uint32_t p = 0; p < (glu ? 1 : count); p++) groups += (parts[p]->weight.rows + columns - 1) / columns;
    pv_metal_record *record = pv_metal_add(recorder, &kernel, &args, sizeof args);
    pv_metal_bind(record, &linear->x);
    pv_metal_bind(record, &linear->norm);
    pv_metal_bind(record, &linear->residual);
    for (uint32_t p = 0; p < 3; p++) pv_metal_bind(record, p < count ? &parts[p]->weight : NULL);
    for (uint32_t p = 0; p < 3; p++) pv_metal_bind(record, p < count ? &parts[p]->bias : NULL);
    for (uint32_t p = 0; p < 3; p++) pv_metal_bind(record, p < count ? &parts[p]->out : NULL);
    record->threads[0] = SIMDGROUPS * PV_METAL_SIMD;
    record->grid[0] = (pv_metal_axis){.count = PV_METAL_ONE, .times = groups};
    const pv_metal_count rows = linear->x.extent == PV_EXTENT_LOGITS ? PV_METAL_LOGITS : PV_METAL_ROWS;
    record->grid[1] = (pv_metal_axis){.count = (uint8_t)rows, .per = shape.rows};
    pv_metal_may_cut(recorder, record, 1, (float)shape.rows);
}

void pv_metal_record_linear(pv_metal_recorder *recorder, const pv_op *op)
{
    const pv_op_linear *linear = &op->linear;
    bool done[3] = {false, false, false};
    if (pv_metal_mps_wants(recorder->device, linear) && pv_metal_mps_declines(linear) == NULL) {
        pv_metal_add_product(recorder);
        return;
    }
    for (uint32_t first = 0; first < linear->part_count; first++) {
        const pv_linear_part *parts[3];
        uint32_t count = 0;
        for (uint32_t p = first; p < linear->part_count; p++) {
            if (done[p] || linear->parts[p].weight.layout != linear->parts[first].weight.layout) continue;
            parts[count++] = &linear->parts[p];
            done[p] = true;
        }
        if (count > 0) record_parts(recorder, linear, parts, count);
    }
}
