/* What is chosen by measuring on the user's own device, and only when he asks for it (pv_device_tune). The choice stands in the
 * cache folder; without one the defaults hold, so that the same machine gives the same text. */
#ifndef PV_METAL_TUNE_H
#define PV_METAL_TUNE_H

#include "backend/metal/metal.h"

#define PV_METAL_FEW_ROWS 8   /* the default */
#define PV_METAL_MOST_ROWS 64 /* beyond, matrix units always win */

/* What was stored for this device and these kernels, else the defaults; a file that makes no sense is told to the log. */
void pv_metal_tuning_load(pv_metal_device *device);
pv_status pv_metal_tune(const pv_backend *backend, const pv_environment *environment, const char *id,
                        const pv_tune_options *options, pv_error *error);

#endif
