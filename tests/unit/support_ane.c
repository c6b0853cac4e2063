#include "support_ane.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/ane/block.h"
#include "backend/ane/package.h"
#include "backend/cpu/pack.h"

#define MOST 1024 /* columns of a block's input, rows of one of its matrices */

ane_seen_counts ane_seen;
static uint32_t wanted_rows, wanted_true_rows;

static pv_status load(void *context, const char *package, const pv_op_linear *linear, void **program, pv_error *error)
{
    char path[PV_ANE_PATH + 64];
    (void)context;
    pv_ane_package_path(package, PV_ANE_WEIGHTS, path);
    assert_int_equal(access(path, R_OK), 0);
    pv_ane_package_path(package, "Manifest.json", path);
    assert_int_equal(access(path, R_OK), 0);
    if (++ane_seen.loaded == ane_seen.fail_load) return pv_fail(error, PV_PROGRAM, "it is not liked");
    *program = (void *)linear;
    return PV_OK;
}

static void unload(void *context, void *program)
{
    (void)context, (void)program;
    ane_seen.loaded--;
}

static void close_engine(void *context)
{
    (void)context;
}

static void multiply(const pv_linear_part *part, const double *x, double *out)
{
    uint8_t bytes[MOST * 4];
    float row[MOST];
    const float *bias = pv_tensor_host(&part->bias);
    assert_true(part->weight.cols <= MOST && part->weight.rows <= MOST);
    for (uint32_t r = 0; r < part->weight.rows; r++) {
        double sum = bias != NULL ? bias[r] : 0;
        const uint8_t *stored = (const uint8_t *)pv_tensor_host(&part->weight) + r * part->weight.row_bytes;
        if (part->weight.packing != PV_PACKING_NONE) pv_cpu_unpack_row(&part->weight, r, bytes);
        pv_layout_decode(part->weight.layout, part->weight.packing != PV_PACKING_NONE ? bytes : stored, part->weight.cols, row);
        for (uint32_t c = 0; c < part->weight.cols; c++) sum += x[c] * row[c];
        out[r] = sum;
    }
}

static void run_row(const pv_op_linear *linear, const float *x, const float *residual, uint32_t r, const pv_ane_matrix *outputs)
{
    static double in[MOST], made[3][MOST];
    const float *norm = pv_tensor_host(&linear->norm);
    double squares = 0;
    for (uint32_t c = 0; c < linear->x.cols; c++) squares += (double)x[c] * x[c];
    const double scale = norm != NULL ? 1 / sqrt(squares / linear->x.cols + linear->epsilon) : 1;
    for (uint32_t c = 0; c < linear->x.cols; c++) in[c] = x[c] * scale * (norm != NULL ? norm[c] : 1);
    for (uint32_t p = 0; p < linear->part_count; p++) multiply(&linear->parts[p], in, made[p]);
    for (uint32_t o = 0; o < pv_ane_block_outputs(linear); o++) {
        for (uint32_t c = 0; c < outputs[o].cols; c++) {
            double value = made[o][c];
            if (linear->glu == PV_ACTIVATION_SILU) value = value / (1 + exp(-value)) * made[1][c];
            outputs[o].elements[r * outputs[o].cols + c] = (float)(value + (residual != NULL ? residual[c] : 0));
        }
    }
}

static pv_status run(void *context, void *program, const pv_ane_matrix *inputs, size_t input_count, const pv_ane_matrix *outputs,
                     size_t output_count, pv_error *error)
{
    const pv_op_linear *linear = program;
    const pv_ane_matrix *x = &inputs[0];
    (void)context;
    if (++ane_seen.ran == ane_seen.fail_run) return pv_fail(error, PV_DEVICE_TRANSIENT, "not now");
    assert_string_equal(x->name, "x");
    assert_int_equal(input_count, pv_tensor_present(&linear->residual) ? 2 : 1);
    if (input_count == 2) assert_string_equal(inputs[1].name, "residual");
    assert_int_equal(output_count, pv_ane_block_outputs(linear));
    if (wanted_rows != 0) {
        assert_int_equal(x->rows, wanted_rows);
        for (size_t i = (size_t)wanted_true_rows * x->cols; i < (size_t)x->rows * x->cols; i++) assert_true(x->elements[i] == 0);
    }
    for (uint32_t r = 0; r < x->rows; r++)
        run_row(linear, x->elements + (size_t)r * x->cols,
                input_count == 2 ? inputs[1].elements + (size_t)r * inputs[1].cols : NULL, r, outputs);
    return PV_OK;
}

static pv_status open_engine(const pv_allocator *allocator, pv_ane_engine *engine, pv_error *error)
{
    (void)allocator, (void)error;
    *engine = (pv_ane_engine){.load = load, .unload = unload, .run = run, .close = close_engine};
    return PV_OK;
}

const pv_backend *ane_stand_in_backend(uint32_t rows, uint32_t true_rows)
{
    static const pv_ane_stand_in stand_in = {open_engine};
    static pv_backend backend;
    backend = pv_ane_backend;
    backend.context = (void *)&stand_in;
    memset(&ane_seen, 0, sizeof ane_seen);
    wanted_rows = rows, wanted_true_rows = true_rows;
    return &backend;
}
