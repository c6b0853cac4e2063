/* Which kernels this build has, and which of them this processor runs. */
#ifndef PV_CPU_ISA_H
#define PV_CPU_ISA_H

#include "backend/cpu/kernels/kernel.h"
#include "base/error.h"

/* The kernels called `name`, or the fastest if it is NULL. Errors: PV_NOT_FOUND (names what there is). */
pv_status pv_cpu_find_kernels(const char *name, const pv_cpu_kernels **kernels, pv_error *error);

#endif
