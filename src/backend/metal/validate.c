#include "backend/metal/validate.h"

#include <math.h>
#include <stdio.h>

static uint32_t rows_of(const pv_tensor *tensor, const pv_step_counts *counts)
{
    if (tensor->extent == PV_EXTENT_ROWS) return counts->rows;
    return tensor->extent == PV_EXTENT_LOGITS ? counts->logits : tensor->rows;
}

typedef struct finding {
    uint64_t count; /* values that are not finite */
    uint32_t row, col;
    float value; /* the first of them */
} finding;

static finding scan(const pv_tensor *tensor, uint32_t rows)
{
    finding found = {0};
    const uint8_t *bytes = pv_tensor_host(tensor);
    for (uint32_t row = 0; bytes != NULL && row < rows; row++) {
        const float *values = (const float *)(const void *)(bytes + row * tensor->row_bytes);
        for (uint32_t col = 0; col < tensor->cols; col++) {
            if (isfinite(values[col])) continue;
            if (found.count++ == 0) found.row = row, found.col = col, found.value = values[col];
        }
    }
    return found;
}

/* Tables and logs of tokens are not numbers. */
static bool writes_numbers(const pv_op *op)
{
    return op->kind != PV_OP_begin && op->kind != PV_OP_sample;
}

bool pv_metal_validate(const pv_metal_device *device, const pv_op *op, const pv_step_counts *counts)
{
    pv_op copy = *op;
    pv_operand operands[PV_MAX_OPERANDS];
    const size_t count = writes_numbers(op) ? pv_op_operands(&copy, operands) : 0;
    for (size_t i = 0; i < count; i++) {
        const pv_tensor *tensor = operands[i].tensor;
        if ((operands[i].access & PV_WRITE) == 0 || tensor->layout != PV_LAYOUT_F32 || tensor->packing != PV_PACKING_NONE)
            continue;
        const finding found = scan(tensor, rows_of(tensor, counts));
        if (found.count == 0) continue;
        char line[256];
        snprintf(line, sizeof line, "%s %s wrote %llu values that are not finite, the first, %g, in row %u, column %u",
                 pv_op_name(op->kind), op->label, (unsigned long long)found.count, (double)found.value, found.row, found.col);
        if (device->environment->log != NULL) device->environment->log(device->environment->log_user, PV_LOG_WARNING, line);
        return true;
    }
    return false;
}
