/* Ops that work row by row: begin, embed, norms, glu, activation, gather_rows, gather_cols. */
#include "backend/metal/kernels/args.h"
#include "backend/metal/record.h"
#include "backend/metal/check.h"

#define WIDTH 32 /* threads along a row, where a thread has one element or a few */

static uint32_t div_up(uint32_t a, uint32_t b) { return (a + b - 1) / b; }

static uint8_t count_of(const pv_tensor *tensor) { return tensor->extent == PV_EXTENT_LOGITS ? PV_METAL_LOGITS : PV_METAL_ROWS; }

/* `columns` threads for each row, a row a threadgroup's height. */
static void spread(pv_metal_record *record, uint32_t columns, uint8_t count)
{
    record->threads[0] = WIDTH;
    record->threads[1] = 8;
    record->grid[0] = (pv_metal_axis){.count = PV_METAL_ONE, .times = div_up(columns, WIDTH)};
    record->grid[1] = (pv_metal_axis){.count = count, .per = 8};
}

/* ---- begin ---- */

const char *pv_metal_check_begin(const pv_metal_device *device, const pv_op *op)
{
    (void)device;
    (void)op;
    return NULL;
}

void pv_metal_record_begin(pv_metal_recorder *recorder, const pv_op *op)
{
    const pv_op_begin *begin = &op->begin;
    pv_args_begin args = {.step = recorder->layout, .log_cols = begin->token_log.cols};
    for (uint32_t g = 0; g < PV_MAX_GROUPS; g++) args.table_cols[g] = pv_tensor_present(&begin->tables[g]) ? begin->tables[g].cols : 0;
    const pv_metal_kernel kernel = {.source = "begin", .function = "begin"};
    pv_metal_record *record = pv_metal_add(recorder, &kernel, &args, sizeof args);
    for (uint32_t g = 0; g < PV_MAX_GROUPS; g++) pv_metal_bind(record, &begin->tables[g]);
    pv_metal_bind(record, &begin->token_log);
    record->threads[0] = 256; /* one threadgroup: patches have an order */
    record->grid[0] = (pv_metal_axis){.count = PV_METAL_ONE};
}

/* ---- embed ---- */

const char *pv_metal_check_embed(const pv_metal_device *device, const pv_op *op)
{
    (void)device;
    const pv_tensor *positions = &op->embed.positions;
    if (!pv_metal_canonical(&op->embed.table)) return "the table is not held as in its file";
    if (pv_tensor_present(positions) && (!pv_metal_canonical(positions) || positions->cols != op->embed.table.cols))
        return "the positions do not suit the table";
    if (!pv_metal_f32(&op->embed.out) || op->embed.out.cols != op->embed.table.cols) return "out does not have the table's columns in f32";
    return NULL;
}

static void record_table(pv_metal_recorder *recorder, const pv_op_embed *embed, const pv_tensor *table, bool by_position)
{
    const pv_args_embed args = {
        .step = recorder->layout,
        .rows = table->rows,
        .cols = table->cols,
        .row_bytes = (uint32_t)table->row_bytes,
        .log_cols = embed->token_log.cols,
        .out_stride = pv_metal_stride(&embed->out),
        .by_position = by_position,
        .scale = by_position ? 1 : embed->scale,
    };
    const pv_metal_kernel kernel = {.source = "embed", .function = "embed", .constants = {table->layout}, .constant_count = 1};
    pv_metal_record *record = pv_metal_add(recorder, &kernel, &args, sizeof args);
    pv_metal_bind(record, table);
    pv_metal_bind(record, &embed->token_log);
    pv_metal_bind(record, &embed->out);
    spread(record, div_up(table->cols, 16), PV_METAL_ROWS);
}

void pv_metal_record_embed(pv_metal_recorder *recorder, const pv_op *op)
{
    record_table(recorder, &op->embed, &op->embed.table, false);
    if (!pv_tensor_present(&op->embed.positions)) return;
    pv_metal_then(recorder);
    record_table(recorder, &op->embed, &op->embed.positions, true);
}

/* ---- rms_norm, layer_norm ---- */

const char *pv_metal_check_rms_norm(const pv_metal_device *device, const pv_op *op)
{
    const pv_op_rms_norm *norm = &op->rms_norm;
    (void)device;
    if (!pv_metal_f32(&norm->x) || !pv_metal_f32(&norm->weight) || !pv_metal_f32(&norm->out) || !pv_metal_absent_or_f32(&norm->residual))
        return "a tensor is not f32";
    if (norm->weight.cols == 0 || norm->x.cols % norm->weight.cols != 0) return "a row is not whole stretches of the weight's width";
    return norm->out.cols == norm->x.cols ? NULL : "columns differ";
}

void pv_metal_record_rms_norm(pv_metal_recorder *recorder, const pv_op *op)
{
    const pv_op_rms_norm *norm = &op->rms_norm;
    const pv_args_rows args = {
        .step = recorder->layout,
        .extent = norm->x.extent,
        .cols = norm->weight.cols,
        .in_stride = pv_metal_stride(&norm->x),
        .in2_stride = pv_metal_stride(&norm->residual),
        .out_stride = pv_metal_stride(&norm->out),
        .has_more = pv_tensor_present(&norm->residual),
        .epsilon = norm->epsilon,
    };
    const pv_metal_kernel kernel = {.source = "rows", .function = "rms_norm"};
    pv_metal_record *record = pv_metal_add(recorder, &kernel, &args, sizeof args);
    pv_metal_bind(record, &norm->x);
    pv_metal_bind(record, &norm->weight);
    pv_metal_bind(record, &norm->residual);
    pv_metal_bind(record, &norm->out);
    record->threads[0] = norm->weight.cols > 1024 ? 256 : norm->weight.cols > 128 ? 64 : PV_METAL_SIMD;
    record->grid[0] = (pv_metal_axis){.count = count_of(&norm->x)};
    record->grid[1] = (pv_metal_axis){.count = PV_METAL_ONE, .times = norm->x.cols / norm->weight.cols};
}

const char *pv_metal_check_layer_norm(const pv_metal_device *device, const pv_op *op)
{
    const pv_op_layer_norm *norm = &op->layer_norm;
    (void)device;
    if (!pv_metal_f32(&norm->x) || !pv_metal_f32(&norm->weight) || !pv_metal_f32(&norm->out) || !pv_metal_absent_or_f32(&norm->bias))
        return "a tensor is not f32";
    return norm->weight.cols == norm->x.cols && norm->out.cols == norm->x.cols ? NULL : "columns differ";
}

void pv_metal_record_layer_norm(pv_metal_recorder *recorder, const pv_op *op)
{
    const pv_op_layer_norm *norm = &op->layer_norm;
    const pv_args_rows args = {
        .step = recorder->layout,
        .extent = norm->x.extent,
        .cols = norm->x.cols,
        .in_stride = pv_metal_stride(&norm->x),
        .out_stride = pv_metal_stride(&norm->out),
        .has_more = pv_tensor_present(&norm->bias),
        .epsilon = norm->epsilon,
    };
    const pv_metal_kernel kernel = {.source = "rows", .function = "layer_norm"};
    pv_metal_record *record = pv_metal_add(recorder, &kernel, &args, sizeof args);
    pv_metal_bind(record, &norm->x);
    pv_metal_bind(record, &norm->weight);
    pv_metal_bind(record, &norm->bias);
    pv_metal_bind(record, &norm->out);
    record->threads[0] = norm->x.cols > 1024 ? 256 : 64;
    record->grid[0] = (pv_metal_axis){.count = count_of(&norm->x)};
}

/* ---- glu, activation ---- */

const char *pv_metal_check_activation(const pv_metal_device *device, const pv_op *op)
{
    const pv_op_activation *activation = &op->activation;
    (void)device;
    if (!pv_metal_f32(&activation->x) || !pv_metal_f32(&activation->out) || !pv_metal_absent_or_f32(&activation->residual)) return "a tensor is not f32";
    return activation->out.cols == activation->x.cols ? NULL : "columns differ";
}

void pv_metal_record_activation(pv_metal_recorder *recorder, const pv_op *op)
{
    const pv_op_activation *activation = &op->activation;
    const pv_args_rows args = {
        .step = recorder->layout,
        .extent = activation->x.extent,
        .cols = activation->x.cols,
        .in_stride = pv_metal_stride(&activation->x),
        .in2_stride = pv_metal_stride(&activation->residual),
        .out_stride = pv_metal_stride(&activation->out),
        .has_more = pv_tensor_present(&activation->residual),
        .activation = activation->activation,
        .scale = activation->scale,
        .soft_cap = activation->soft_cap,
    };
    const pv_metal_kernel kernel = {.source = "rows", .function = "activation"};
    pv_metal_record *record = pv_metal_add(recorder, &kernel, &args, sizeof args);
    pv_metal_bind(record, &activation->x);
    pv_metal_bind(record, &activation->residual);
    pv_metal_bind(record, &activation->out);
    spread(record, activation->x.cols, count_of(&activation->x));
}

const char *pv_metal_check_glu(const pv_metal_device *device, const pv_op *op)
{
    const pv_op_glu *glu = &op->glu;
    (void)device;
    return glu->gate.cols == glu->up.cols && glu->gate.cols == glu->out.cols ? NULL : "columns differ";
}

void pv_metal_record_glu(pv_metal_recorder *recorder, const pv_op *op)
{
    const pv_op_glu *glu = &op->glu;
    const pv_args_rows args = {
        .step = recorder->layout,
        .extent = glu->gate.extent,
        .cols = glu->gate.cols,
        .in_stride = pv_metal_stride(&glu->gate),
        .in2_stride = pv_metal_stride(&glu->up),
        .out_stride = pv_metal_stride(&glu->out),
        .activation = glu->activation,
    };
    const pv_metal_kernel kernel = {.source = "rows", .function = "glu"};
    pv_metal_record *record = pv_metal_add(recorder, &kernel, &args, sizeof args);
    pv_metal_bind(record, &glu->gate);
    pv_metal_bind(record, &glu->up);
    pv_metal_bind(record, &glu->out);
    spread(record, glu->gate.cols, count_of(&glu->gate));
}

/* ---- gather_rows, gather_cols ---- */

const char *pv_metal_check_gather_rows(const pv_metal_device *device, const pv_op *op)
{
    (void)device;
    return op->gather_rows.x.cols == op->gather_rows.out.cols ? NULL : "columns differ";
}

void pv_metal_record_gather_rows(pv_metal_recorder *recorder, const pv_op *op)
{
    const pv_op_gather_rows *gather = &op->gather_rows;
    const pv_args_rows args = {
        .step = recorder->layout,
        .cols = gather->out.cols,
        .in_stride = pv_metal_stride(&gather->x),
        .out_stride = pv_metal_stride(&gather->out),
    };
    const pv_metal_kernel kernel = {.source = "rows", .function = "gather_rows"};
    pv_metal_record *record = pv_metal_add(recorder, &kernel, &args, sizeof args);
    pv_metal_bind(record, &gather->x);
    pv_metal_bind(record, &gather->out);
    spread(record, gather->out.cols, PV_METAL_LOGITS);
}

const char *pv_metal_check_gather_cols(const pv_metal_device *device, const pv_op *op)
{
    const pv_op_gather_cols *gather = &op->gather_cols;
    (void)device;
    if (!pv_metal_f32(&gather->x) || !pv_metal_f32(&gather->order)) return "a tensor does not have cells of four bytes";
    return gather->order.cols == gather->out.cols ? NULL : "columns differ";
}

void pv_metal_record_gather_cols(pv_metal_recorder *recorder, const pv_op *op)
{
    const pv_op_gather_cols *gather = &op->gather_cols;
    const pv_args_rows args = {
        .step = recorder->layout,
        .extent = gather->x.extent,
        .cols = gather->out.cols,
        .in_stride = pv_metal_stride(&gather->x),
        .out_stride = pv_metal_stride(&gather->out),
    };
    const pv_metal_kernel kernel = {.source = "rows", .function = "gather_cols"};
    pv_metal_record *record = pv_metal_add(recorder, &kernel, &args, sizeof args);
    pv_metal_bind(record, &gather->x);
    pv_metal_bind(record, &gather->order);
    pv_metal_bind(record, &gather->out);
    spread(record, gather->out.cols, count_of(&gather->x));
}
