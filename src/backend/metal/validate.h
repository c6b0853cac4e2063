/* Looking at what ops wrote, for who mistrusts a kernel or a model (pv_runtime_options.validate). */
#ifndef PV_METAL_VALIDATE_H
#define PV_METAL_VALIDATE_H

#include "backend/metal/metal.h"

/* Tells the log of the first value that is no finite number among the op's f32 results, and of how many there are; nothing of
 * the op runs any more. True if there was one. */
bool pv_metal_validate(const pv_metal_device *device, const pv_op *op, const pv_step_counts *counts);

#endif
