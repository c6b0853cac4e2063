/* Filling error records. Every failure passes through pv_fail once, where it happened; callers hand the status up. */
#ifndef PV_BASE_ERROR_H
#define PV_BASE_ERROR_H

#include "pensieve.h"

#if defined(__GNUC__) || defined(__clang__)
#define PV_PRINTF(format_index, first) __attribute__((format(printf, format_index, first)))
#else
#define PV_PRINTF(format_index, first)
#endif

/* Fills `error` (may be NULL) and returns `status`, so that `return pv_fail(...)` reads well. op "", offset PV_NO_OFFSET. */
pv_status pv_fail(pv_error *error, pv_status status, const char *format, ...) PV_PRINTF(3, 4);
/* The same with the operation, file or tensor concerned, and a byte offset (PV_NO_OFFSET if none). */
pv_status pv_fail_at(pv_error *error, pv_status status, const char *op, uint64_t offset, const char *format, ...) PV_PRINTF(5, 6);
/* "out of memory allocating N bytes for WHAT". */
pv_status pv_fail_memory(pv_error *error, size_t bytes, const char *what);

/* Tells the compiler that these never return PV_OK, or it warns of outputs that a failing function left unset. */
static inline pv_status pv_surely_failed(pv_status status)
{
    if (status == PV_OK) __builtin_unreachable();
    return status;
}
#define pv_fail(...) pv_surely_failed((pv_fail)(__VA_ARGS__))
#define pv_fail_at(...) pv_surely_failed((pv_fail_at)(__VA_ARGS__))
#define pv_fail_memory(...) pv_surely_failed((pv_fail_memory)(__VA_ARGS__))

#endif
