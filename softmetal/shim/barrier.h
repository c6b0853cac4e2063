// Barriers of a simdgroup and of a threadgroup.
#ifndef SOFTMETAL_SHIM_BARRIER_H
#define SOFTMETAL_SHIM_BARRIER_H

#include "types.h"

namespace metal
{
enum class mem_flags : uint {
    mem_none = SM_FENCE_NONE,
    mem_device = SM_FENCE_DEVICE,
    mem_threadgroup = SM_FENCE_THREADGROUP,
    mem_texture = SM_FENCE_TEXTURE,
    mem_threadgroup_imageblock = 8,
    mem_object_data = 16,
    mem_device_and_threadgroup = SM_FENCE_DEVICE | SM_FENCE_THREADGROUP,
};
constexpr mem_flags operator|(mem_flags a, mem_flags b) { return mem_flags(uint(a) | uint(b)); }
constexpr mem_flags operator&(mem_flags a, mem_flags b) { return mem_flags(uint(a) & uint(b)); }

static inline void threadgroup_barrier(mem_flags flags, sm::source_line line = sm::source_line(__builtin_LINE()))
{
    sm::services->barrier(SM_SCOPE_THREADGROUP, uint(flags), line.number);
}
static inline void simdgroup_barrier(mem_flags flags, sm::source_line line = sm::source_line(__builtin_LINE()))
{
    sm::services->barrier(SM_SCOPE_SIMD, uint(flags), line.number);
}
} // namespace metal

#endif
