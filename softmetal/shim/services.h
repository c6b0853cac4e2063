// The executor's functions, as an object compiled from MSL sees them. The executor sets the pointer before the first run.
#pragma once

#include "abi.h"

namespace sm {

static const sm_services *services;

} // namespace sm
