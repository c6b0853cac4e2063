// The executor's functions, as an object compiled from MSL sees them. The executor sets the pointer before the first run.
#pragma once

#include "abi.h"

namespace sm {

#ifdef SOFTMETAL_CHECKED
// The object's own start is looked at like all else, and there is nobody to tell yet.
__attribute__((no_sanitize("thread"))) static void nobody(const void *, size_t, uint32_t, const void *) {}
static const sm_services at_start = {SM_ABI, nullptr, nullptr, nullptr, nullptr, nullptr, nobody};
static const sm_services *services = &at_start;
#else
static const sm_services *services;
#endif

} // namespace sm
