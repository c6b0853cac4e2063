/* conv1d. */
#include "backend/metal/check.h"
#include "backend/metal/kernels/args.h"
#include "backend/metal/record.h"

const char *pv_metal_check_conv1d(const pv_metal_device *device, const pv_op *op)
{
    const pv_op_conv1d *conv = &op->conv1d;
    (void)device;
    const char *wrong = pv_metal_check_cache(&conv->store);
    if (wrong != NULL) return wrong;
    if (2ull * conv->store.kv_heads * conv->store.head_dim != conv->x.cols) return "the cache does not have the columns";
    if (conv->taps == 0 || conv->weight.cols != (uint64_t)conv->x.cols * conv->taps) return "the weight does not have the columns and taps";
    return conv->before.cols == conv->x.cols && conv->after.cols == conv->x.cols && conv->out.cols == conv->x.cols ? NULL : "columns differ";
}

void pv_metal_record_conv1d(pv_metal_recorder *recorder, const pv_op *op)
{
    const pv_op_conv1d *conv = &op->conv1d;
    const pv_args_conv1d args = {
        .step = recorder->layout,
        .cols = conv->x.cols,
        .taps = conv->taps,
        .x_stride = pv_metal_stride(&conv->x),
        .before_stride = pv_metal_stride(&conv->before),
        .after_stride = pv_metal_stride(&conv->after),
        .out_stride = pv_metal_stride(&conv->out),
        .table_cols = conv->store.table.cols,
        .page_halves = (uint32_t)(conv->store.page_bytes / 2),
    };
    const pv_metal_kernel kernel = {.source = "conv", .function = "conv1d"};
    pv_metal_record *record = pv_metal_add(recorder, &kernel, &args, sizeof args);
    pv_metal_bind(record, &conv->x);
    pv_metal_bind(record, &conv->before);
    pv_metal_bind(record, &conv->after);
    pv_metal_bind(record, &conv->weight);
    pv_metal_bind(record, &conv->store.pages);
    pv_metal_bind(record, &conv->store.table);
    pv_metal_bind(record, &conv->out);
    record->threads[0] = 32;
    record->threads[1] = 8;
    record->grid[0] = (pv_metal_axis){.count = PV_METAL_ONE, .times = (args.cols + 31) / 32};
    record->grid[1] = (pv_metal_axis){.count = PV_METAL_ROWS, .per = 8};
}
