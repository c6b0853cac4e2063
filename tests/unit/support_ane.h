/* The Neural Engine's device with a stand-in for Core ML that does in double what an op says. */
#ifndef PV_TESTS_UNIT_SUPPORT_ANE_H
#define PV_TESTS_UNIT_SUPPORT_ANE_H

#include "backend/ane/ane.h"

/* What the stand-in saw; programs that are loaded now, blocks that ran, and the load or run that is to fail, from 1. */
typedef struct ane_seen_counts {
    size_t loaded, ran, fail_load, fail_run;
} ane_seen_counts;
extern ane_seen_counts ane_seen;

/* The device's backend, its counts at zero. It asserts that each run has `rows` rows and that those from `true_rows` on are
 * zeros; with rows 0 it takes what comes. */
const pv_backend *ane_stand_in_backend(uint32_t rows, uint32_t true_rows);

#endif
