/* Checked sizes: the one place where sizes read from files are added and multiplied. Each returns false on overflow. */
#ifndef PV_BASE_CHECKED_H
#define PV_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Pensieve needs a little-endian processor: model files and packed weights are read in place"
#endif

static inline bool pv_add_u64(uint64_t a, uint64_t b, uint64_t *sum) { return !__builtin_add_overflow(a, b, sum); }
static inline bool pv_mul_u64(uint64_t a, uint64_t b, uint64_t *product) { return !__builtin_mul_overflow(a, b, product); }
static inline bool pv_add_size(size_t a, size_t b, size_t *sum) { return !__builtin_add_overflow(a, b, sum); }
static inline bool pv_mul_size(size_t a, size_t b, size_t *product) { return !__builtin_mul_overflow(a, b, product); }

/* Rounds up to a multiple of `alignment`, a power of two. */
static inline bool pv_align_u64(uint64_t value, uint64_t alignment, uint64_t *aligned)
{
    if (!pv_add_u64(value, alignment - 1, aligned)) return false;
    *aligned &= ~(alignment - 1);
    return true;
}

/* True if [offset, offset + length) lies within `size` bytes. */
static inline bool pv_inside(uint64_t offset, uint64_t length, uint64_t size)
{
    return offset <= size && length <= size - offset;
}

static inline size_t pv_min_size(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t pv_max_size(size_t a, size_t b) { return a > b ? a : b; }
static inline size_t pv_div_up(size_t a, size_t b) { return a / b + (a % b != 0); }

#endif
