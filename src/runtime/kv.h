/* What the cache holds of a key or a value: f16, or whole numbers times a scale.
 *
 * Scales are f16 and stand behind the elements of their page: [K, V][kv_head][PV_PAGE_TOKENS][groups of a key's or a value's head].
 * A group has 32 elements, the last one of a head may be shorter. With s the scale of its group an element is s × q:
 *   8 bits: q from -127 to 127, s = largest |x| / 127
 *   4 bits: q from -8 to 7, kept as q + 8, element 2i in the low half of byte i;
 *           s = -x / 8 of the x that is largest in magnitude (of two equal ones the positive), so that it is met exactly
 * q is x / s rounded to nearest even, by the scale as f16 has it. A scale of 0 has all q = 0; one that is not finite marks a group that held
 * something that is not: it gives NaN. */
#ifndef PV_RUNTIME_KV_H
#define PV_RUNTIME_KV_H

#include "backend/kernel_args.h"
#include "pensieve.h"

#define PV_KV_GROUP 32 /* elements that share a scale */

/* Scales of a head of a token. */
static inline uint32_t pv_kv_groups(pv_kv_type type, uint32_t head_dim)
{
    return type == PV_KV_F16 ? 0 : (head_dim + PV_KV_GROUP - 1) / PV_KV_GROUP;
}
/* Bytes of a head of a token, without scales. head_dim is even. */
static inline uint32_t pv_kv_row_bytes(pv_kv_type type, uint32_t head_dim)
{
    return type == PV_KV_F16 ? 2 * head_dim : type == PV_KV_8BIT ? head_dim : head_dim / 2;
}
/* Where a page's scales begin. head_dim: of a key, value_dim: of a value. */
static inline uint64_t pv_kv_scales_at(pv_kv_type type, uint32_t kv_heads, uint32_t head_dim, uint32_t value_dim)
{
    return (uint64_t)kv_heads * PV_PAGE_TOKENS * (pv_kv_row_bytes(type, head_dim) + pv_kv_row_bytes(type, value_dim));
}
static inline uint64_t pv_kv_page_bytes(pv_kv_type type, uint32_t kv_heads, uint32_t head_dim, uint32_t value_dim)
{
    const uint32_t groups = pv_kv_groups(type, head_dim) + pv_kv_groups(type, value_dim);
    return pv_kv_scales_at(type, kv_heads, head_dim, value_dim) + (uint64_t)kv_heads * PV_PAGE_TOKENS * groups * sizeof(uint16_t);
}

#endif
