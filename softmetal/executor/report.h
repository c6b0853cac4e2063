/* Counts and reports, as the parts of the library add to them (report.c). */
#ifndef SOFTMETAL_EXECUTOR_REPORT_H
#define SOFTMETAL_EXECUTOR_REPORT_H

#include <stdatomic.h>

#include "softmetal.h"

/* What softmetal_get_counts hands out. The metal part adds to the first three and to the last two; `barriers` are those between
 * dispatches (memoryBarrier…). softmetal_reset leaves the last two: they say what is there. */
typedef struct sm_counters {
    _Atomic uint64_t command_buffers, encoders, barriers;
    _Atomic uint64_t dispatches, threadgroups, threads;
    _Atomic uint64_t live_buffer_bytes, buffers;
} sm_counters;

extern sm_counters sm_counts;

/* Adds what one dispatch did to the counts of its kernel, and to the whole. `run->kernel` is copied; `dispatches` is 1. */
void sm_counts_add(const softmetal_kernel_counts *run);

#endif
