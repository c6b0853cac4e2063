#ifndef PV_METAL_PREPARE_H
#define PV_METAL_PREPARE_H

#include "backend/metal/record.h"

struct pv_prepared {
    const pv_plan *plan;
    pv_step_layout layout;
    pv_cost most; /* of a step that is full, at the end of the context */
    pv_range args;
    uint64_t numbers; /* in them: 0, 1, 2 … as many as a cut dispatch has threadgroups along its axis */
    pv_metal_record *records;
    size_t count;
};

/* Threadgroups along an axis. */
static inline uint64_t pv_metal_groups(const pv_metal_axis *axis, uint64_t count)
{
    const uint64_t per = axis->per > 0 ? axis->per : 1, times = axis->times > 0 ? axis->times : 1;
    return count > 0 ? (count + per - 1) / per * times + axis->plus : 0;
}

#endif
