#include <string.h>

#include "backend/cpu/cpu.h"
#include "backend/cpu/pack.h"
#include "base/checked.h"

pv_status pv_cpu_weight_spec(const pv_backend_device *device, pv_layout layout, uint32_t rows, uint32_t cols, unsigned uses,
                             pv_weight_spec *spec, pv_error *error)
{
    (void)device;
    if (layout >= PV_LAYOUT_COUNT) {
        return pv_fail_at(error, PV_UNSUPPORTED, "cpu", PV_NO_OFFSET, "weight layout number %u is not known", (unsigned)layout);
    }
    *spec = (pv_weight_spec){.layout = layout, .alignment = 64};
    bool fits;
    if ((uses & (PV_USE_MATRIX | PV_USE_ROWS)) == 0) {
        spec->layout = PV_LAYOUT_F32;
        spec->packing = PV_PACKING_NONE;
        spec->row_tile = 1;
        fits = pv_mul_u64((uint64_t)rows * cols, sizeof(float), &spec->bytes);
    } else {
        spec->packing = PV_PACKING_X16;
        spec->row_tile = PV_TILE;
        fits = pv_cpu_tile_bytes(layout, cols, &spec->bytes) && pv_mul_u64(spec->bytes, pv_div_up(rows, PV_TILE), &spec->bytes);
    }
    if (!fits) {
        return pv_fail_at(error, PV_UNSUPPORTED, "cpu", PV_NO_OFFSET, "a %s matrix of %u × %u: columns must be a multiple of %u",
                          pv_layout_get(layout)->name, rows, cols, pv_layout_get(layout)->block);
    }
    return PV_OK;
}

typedef struct pv_packing_job {
    const pv_tensor *weight;
    uint32_t first, count, workers;
    const uint8_t *rows;
    uint64_t tile_bytes, row_bytes;
} pv_packing_job;

static void pack_share(void *user, uint32_t worker)
{
    const pv_packing_job *job = user;
    const uint32_t tiles = (uint32_t)pv_div_up(job->count, PV_TILE);
    const uint32_t end = (uint32_t)((uint64_t)tiles * (worker + 1) / job->workers);
    for (uint32_t t = (uint32_t)((uint64_t)tiles * worker / job->workers); t < end; t++) {
        const uint32_t rest = job->count - t * PV_TILE;
        pv_cpu_pack_tile(job->weight->layout, job->weight->cols, rest < PV_TILE ? rest : PV_TILE,
                         job->rows + t * (uint64_t)PV_TILE * job->row_bytes,
                         (uint8_t *)pv_tensor_host(job->weight) + (job->first / PV_TILE + t) * job->tile_bytes);
    }
}

pv_status pv_cpu_upload(pv_backend_device *base, const pv_tensor *weight, uint32_t first, uint32_t count, const void *rows,
                        pv_error *error)
{
    pv_cpu_device *device = pv_cpu_of(base);
    if (first > weight->rows || count > weight->rows - first) {
        return pv_fail_at(error, PV_INVALID_ARGUMENT, "cpu", PV_NO_OFFSET, "upload of rows %u to %u into a weight of %u", first,
                          first + count, weight->rows);
    }
    if (count == 0) return PV_OK;
    if (weight->packing == PV_PACKING_NONE) {
        memcpy((uint8_t *)pv_tensor_host(weight) + first * (uint64_t)weight->cols * sizeof(float), rows,
               (uint64_t)count * weight->cols * sizeof(float));
        return PV_OK;
    }
    pv_packing_job job = {.weight = weight, .first = first, .count = count, .workers = device->description.threads, .rows = rows};
    if (first % PV_TILE != 0 || (count % PV_TILE != 0 && first + count != weight->rows) ||
        !pv_cpu_tile_bytes(weight->layout, weight->cols, &job.tile_bytes) ||
        !pv_layout_row_bytes(weight->layout, weight->cols, &job.row_bytes)) {
        return pv_fail_at(error, PV_INVALID_ARGUMENT, "cpu", PV_NO_OFFSET, "upload of rows %u to %u: not whole tiles of %u", first,
                          first + count, PV_TILE);
    }
    pv_cpu_team_run(device->team, pack_share, &job);
    return PV_OK;
}
