#ifndef PV_METAL_PREPARE_H
#define PV_METAL_PREPARE_H

#include "backend/metal/record.h"

struct pv_prepared {
    const pv_plan *plan;
    pv_step_layout layout;
    pv_cost most; /* of a step that is full, at the end of the context */
    pv_range args;
    pv_metal_record *records;
    size_t count;
};

#endif
