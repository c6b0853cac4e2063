#include "backend/ane/block.h"

#include "backend/ane/mil.h"
#include "backend/ane/package.h"
#include "backend/cpu/pack.h"

bool pv_ane_block_suits(const pv_op *op)
{
    const pv_op_linear *linear = &op->linear;
    if (op->kind != PV_OP_linear || linear->x.extent != PV_EXTENT_ROWS || linear->x.layout != PV_LAYOUT_F32) return false;
    for (uint32_t p = 0; p < linear->part_count; p++) {
        if (pv_tensor_host(&linear->parts[p].weight) == NULL) return false;
    }
    return linear->glu == PV_ACTIVATION_NONE || linear->glu == PV_ACTIVATION_SILU || linear->glu == PV_ACTIVATION_GELU;
}

uint32_t pv_ane_block_outputs(const pv_op_linear *linear)
{
    return linear->glu != PV_ACTIVATION_NONE ? 1 : linear->part_count;
}

/* ---- Weights ---- */

typedef struct row_reader {
    const pv_tensor *weight;
    uint8_t *bytes; /* of a canonical row */
} row_reader;

static void read_row(void *user, uint32_t row, float *out)
{
    const row_reader *reader = user;
    const pv_tensor *weight = reader->weight;
    const void *bytes = reader->bytes;
    if (weight->packing == PV_PACKING_NONE) {
        bytes = (const uint8_t *)pv_tensor_host(weight) + row * weight->row_bytes;
    } else {
        pv_cpu_unpack_row(weight, row, reader->bytes);
    }
    pv_layout_decode(weight->layout, bytes, weight->cols, out);
}

static pv_mil_value add_weight(pv_mil *mil, const pv_tensor *weight)
{
    row_reader reader = {.weight = weight};
    uint64_t row_bytes = 0;
    if (!pv_layout_row_bytes(weight->layout, weight->cols, &row_bytes) ||
        (reader.bytes = pv_alloc(mil->allocator, row_bytes, 1)) == NULL) {
        if (mil->status == PV_OK) mil->status = pv_fail_memory(mil->error, row_bytes, "a row of weights");
        return (pv_mil_value){0};
    }
    const pv_mil_value value = pv_mil_matrix(mil, weight->rows, weight->cols, read_row, &reader);
    pv_free(mil->allocator, reader.bytes);
    return value;
}

/* An absent bias is one of zeros. */
static pv_mil_value add_bias(pv_mil *mil, const pv_linear_part *part)
{
    const float *given = pv_tensor_host(&part->bias);
    float *zeros = given == NULL ? pv_calloc(mil->allocator, part->weight.rows, sizeof *zeros) : NULL;
    if (given == NULL && zeros == NULL) {
        if (mil->status == PV_OK) mil->status = pv_fail_memory(mil->error, part->weight.rows * sizeof *zeros, "a bias");
        return (pv_mil_value){0};
    }
    const pv_mil_value value = pv_mil_vector(mil, PV_MIL_F16, part->weight.rows, given != NULL ? given : zeros);
    pv_free(mil->allocator, zeros);
    return value;
}

/* ---- The program ---- */

/* Two-operand operations and those of one operand. */
static pv_mil_value pair(pv_mil *mil, const char *operation, const char *name, pv_mil_value x, pv_mil_value y)
{
    const pv_mil_argument arguments[] = {{"x", x}, {"y", y}};
    return pv_mil_apply(mil, operation, name, x.type, x.shape[0], x.shape[1], arguments, 2);
}

static pv_mil_value cast(pv_mil *mil, const char *name, pv_mil_value x, pv_mil_type type)
{
    const pv_mil_argument arguments[] = {{"x", x}, {"dtype", pv_mil_text(mil, type == PV_MIL_F16 ? "fp16" : "fp32")}};
    return pv_mil_apply(mil, "cast", name, type, x.shape[0], x.shape[1], arguments, 2);
}

static pv_mil_value rms_norm(pv_mil *mil, pv_mil_value x, const pv_tensor *weight, float epsilon)
{
    static const int32_t last = -1;
    const pv_mil_argument square[] = {{"x", x}};
    const pv_mil_value squares = pv_mil_apply(mil, "square", NULL, PV_MIL_F32, x.shape[0], x.shape[1], square, 1);
    const pv_mil_argument mean[] = {
        {"x", squares}, {"axes", pv_mil_ints(mil, &last, 1)}, {"keep_dims", pv_mil_bool(mil, true)}};
    const pv_mil_value means = pv_mil_apply(mil, "reduce_mean", NULL, PV_MIL_F32, x.shape[0], 1, mean, 3);
    const pv_mil_argument root[] = {{"x", means}, {"epsilon", pv_mil_float(mil, epsilon)}};
    const pv_mil_value scales = pv_mil_apply(mil, "rsqrt", NULL, PV_MIL_F32, x.shape[0], 1, root, 2);
    const pv_mil_value normed = pair(mil, "mul", NULL, x, scales);
    return pair(mil, "mul", NULL, normed, pv_mil_vector(mil, PV_MIL_F32, weight->cols, pv_tensor_host(weight)));
}

static pv_mil_value multiply(pv_mil *mil, pv_mil_value x, const pv_linear_part *part)
{
    const pv_mil_value weight = add_weight(mil, &part->weight), bias = add_bias(mil, part);
    const pv_mil_argument arguments[] = {{"x", x}, {"weight", weight}, {"bias", bias}};
    return pv_mil_apply(mil, "linear", NULL, PV_MIL_F16, x.shape[0], part->weight.rows, arguments, 3);
}

static pv_mil_value activate(pv_mil *mil, pv_mil_value x, pv_activation activation)
{
    if (activation == PV_ACTIVATION_SILU) {
        const pv_mil_argument arguments[] = {{"x", x}};
        return pv_mil_apply(mil, "silu", NULL, PV_MIL_F16, x.shape[0], x.shape[1], arguments, 1);
    }
    const pv_mil_argument arguments[] = {{"x", x}, {"mode", pv_mil_text(mil, "TANH_APPROXIMATION")}};
    return pv_mil_apply(mil, "gelu", NULL, PV_MIL_F16, x.shape[0], x.shape[1], arguments, 2);
}

static void write_program(pv_mil *mil, const pv_op_linear *linear, uint32_t rows)
{
    static const char *const names[PV_ANE_OUTPUTS] = {"out0", "out1", "out2"};
    pv_mil_value made[PV_ANE_OUTPUTS], residual = {0};
    pv_mil_value x = pv_mil_input(mil, "x", rows, linear->x.cols);
    const bool adds = pv_tensor_present(&linear->residual);
    if (adds) residual = pv_mil_input(mil, "residual", rows, linear->residual.cols);
    if (pv_tensor_present(&linear->norm)) x = rms_norm(mil, x, &linear->norm, linear->epsilon);
    x = cast(mil, NULL, x, PV_MIL_F16);
    for (uint32_t p = 0; p < linear->part_count; p++) made[p] = multiply(mil, x, &linear->parts[p]);
    if (linear->glu != PV_ACTIVATION_NONE) made[0] = pair(mil, "mul", NULL, activate(mil, made[0], linear->glu), made[1]);
    for (uint32_t o = 0; o < pv_ane_block_outputs(linear); o++) {
        pv_mil_value out = cast(mil, adds ? NULL : names[o], made[o], PV_MIL_F32);
        if (adds) out = pair(mil, "add", names[o], out, residual);
        pv_mil_output(mil, &out);
    }
}

pv_status pv_ane_block_write(const pv_allocator *allocator, const pv_op_linear *linear, uint32_t rows, const char *folder,
                             pv_error *error)
{
    char weights[PV_ANE_PATH + 64];
    pv_mil mil;
    pv_proto model;
    pv_status status = pv_ane_package_create(folder, error);
    if (status == PV_OK) {
        pv_ane_package_path(folder, PV_ANE_WEIGHTS, weights);
        pv_mil_create(&mil, allocator, weights, 2 * linear->part_count + pv_tensor_present(&linear->norm), error);
        write_program(&mil, linear, rows);
        status = pv_mil_finish(&mil, &model);
    }
    if (status == PV_OK) {
        status = pv_ane_package_finish(allocator, folder, &model, error);
        pv_proto_free(&model);
    }
    if (status != PV_OK) pv_ane_package_remove(folder);
    return status;
}
