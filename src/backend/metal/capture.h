/* Metal's own capture of the first steps, if one is asked for (pv_runtime_options.capture). Where none can be made, the log is
 * told. */
#ifndef PV_METAL_CAPTURE_H
#define PV_METAL_CAPTURE_H

#include "backend/metal/metal.h"

void pv_metal_capture_start(pv_metal_device *device);
void pv_metal_capture_stop(pv_metal_device *device);

#endif
