#include "backend/metal/check.h"
#include "backend/metal/kernels/args.h"
#include "backend/metal/record.h"

const char *pv_metal_check_sample(const pv_metal_device *device, const pv_op *op)
{
    (void)device;
    return op->sample.logits.cols > 0 ? NULL : "no vocabulary";
}

/* Scratch of a row: its adjusted logits, then two counts for each token. */
void pv_metal_record_sample(pv_metal_recorder *recorder, const pv_op *op)
{
    const pv_op_sample *sample = &op->sample;
    const pv_args_sample args = {
        .step = recorder->layout,
        .vocabulary = sample->logits.cols,
        .logits_stride = pv_metal_stride(&sample->logits),
        .log_cols = sample->token_log.cols,
    };
    const uint64_t logits = (uint64_t)sample->logits.rows * args.vocabulary * sizeof(float);
    const pv_metal_kernel kernel = {.source = "sample", .function = "sample"};
    pv_metal_record *record = pv_metal_add(recorder, &kernel, &args, sizeof args);
    pv_metal_bind(record, &sample->logits);
    pv_metal_bind(record, &sample->token_log);
    pv_metal_bind_outputs(record);
    pv_metal_bind_scratch(recorder, record, 0, logits);
    pv_metal_bind_scratch(recorder, record, logits, 2 * logits);
    record->threads[0] = 256;
    record->grid[0] = (pv_metal_axis){.count = PV_METAL_LOGITS};
}
