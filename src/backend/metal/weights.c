/* Matrices are held as they stand in the file: rows of canonical blocks, which all kernels decode. So a file's own pages will do. */
#include <string.h>

#include "backend/metal/metal.h"
#include "base/checked.h"

pv_status pv_metal_weight_spec(const pv_backend_device *base, pv_layout layout, uint32_t rows, uint32_t cols, unsigned uses,
                               pv_weight_spec *spec, pv_error *error)
{
    const pv_metal_device *device = pv_metal_of(base);
    if (layout >= PV_LAYOUT_COUNT) {
        return pv_fail_at(error, PV_UNSUPPORTED, device->description.id, PV_NO_OFFSET, "weight layout number %u is not known", (unsigned)layout);
    }
    /* kernels read dense weights an element at a time or more, blocks by their 16-bit scales */
    const uint32_t element = layout == PV_LAYOUT_F32 ? 4 : 2;
    const bool vector = (uses & (PV_USE_MATRIX | PV_USE_ROWS)) == 0;
    *spec = (pv_weight_spec){
        .layout = vector ? PV_LAYOUT_F32 : layout, .packing = PV_PACKING_NONE, .alignment = 256, .row_tile = 1, .may_alias = !vector, .alias_alignment = element};
    uint64_t row_bytes;
    if (!pv_layout_row_bytes(spec->layout, cols, &row_bytes) || !pv_mul_u64(row_bytes, rows, &spec->bytes)) {
        return pv_fail_at(error, PV_UNSUPPORTED, device->description.id, PV_NO_OFFSET,
                          "a %s matrix of %u × %u: columns must be a multiple of %u", pv_layout_get(layout)->name, rows, cols,
                          pv_layout_get(layout)->block);
    }
    return PV_OK;
}

pv_status pv_metal_upload(pv_backend_device *base, const pv_tensor *weight, uint32_t first, uint32_t count, const void *rows,
                          pv_error *error)
{
    pv_metal_device *device = pv_metal_of(base);
    uint64_t row_bytes;
    if (first > weight->rows || count > weight->rows - first || !pv_layout_row_bytes(weight->layout, weight->cols, &row_bytes)) {
        return pv_fail_at(error, PV_INVALID_ARGUMENT, device->description.id, PV_NO_OFFSET, "upload of rows %u to %u into a weight of %u",
                          first, first + count, weight->rows);
    }
    return pv_metal_write(base, weight->buffer, weight->offset + first * row_bytes, rows, count * row_bytes, error);
}
