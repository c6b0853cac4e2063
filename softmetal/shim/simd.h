// simd_ functions: the lanes of a simdgroup.
#ifndef SOFTMETAL_SHIM_SIMD_H
#define SOFTMETAL_SHIM_SIMD_H

#include "meeting.h"

namespace metal
{
SM_LANE_FUNCTIONS(simd, SM_SCOPE_SIMD, uint64_t)
}

#endif
