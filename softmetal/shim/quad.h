// quad_ functions: four neighbours.
#ifndef SOFTMETAL_SHIM_QUAD_H
#define SOFTMETAL_SHIM_QUAD_H

#include "meeting.h"

namespace metal
{
SM_LANE_FUNCTIONS(quad, SM_SCOPE_QUAD, uint)
}

#endif
