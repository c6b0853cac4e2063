// <metal_logging>: what a kernel would log is not kept.
#ifndef SOFTMETAL_SHIM_LOGGING_H
#define SOFTMETAL_SHIM_LOGGING_H

#include "types.h"

namespace metal
{
struct os_log {
    constexpr os_log(const char *, const char *) {}
    template <class... A> SM_INLINE void log(const A &...) const {}
    template <class... A> SM_INLINE void log_debug(const A &...) const {}
    template <class... A> SM_INLINE void log_info(const A &...) const {}
    template <class... A> SM_INLINE void log_error(const A &...) const {}
    template <class... A> SM_INLINE void log_fault(const A &...) const {}
};
static constexpr os_log os_log_default("", "");
} // namespace metal

#endif
