/* Elements of the KV cache that are whole numbers times a scale: see runtime/kv.h. */
#ifndef PV_CPU_KV_CELLS_H
#define PV_CPU_KV_CELLS_H

#include "runtime/op.h"
#include "simd.h"

/* A page's keys, or its values: cells are counted by head, then by token. */
typedef struct pv_kv_cells {
    uint8_t *rows;
    uint16_t *scales;
    uint32_t dim, row_bytes, groups; /* of a cell */
} pv_kv_cells;

PV_INLINE pv_kv_cells pv_kv_find(const pv_kv_view *cache, uint8_t *page, bool values)
{
    const uint32_t key_dim = cache->head_dim, value_dim = pv_kv_value_dim(cache), dim = values ? value_dim : key_dim;
    const size_t before = values ? (size_t)cache->kv_heads * PV_PAGE_TOKENS : 0; /* cells of keys stand first */
    return (pv_kv_cells){
        .rows = page + before * pv_kv_row_bytes(cache->type, key_dim),
        .scales = (uint16_t *)(page + pv_kv_scales_at(cache->type, cache->kv_heads, key_dim, value_dim)) + before * pv_kv_groups(cache->type, key_dim),
        .dim = dim,
        .row_bytes = pv_kv_row_bytes(cache->type, dim),
        .groups = pv_kv_groups(cache->type, dim),
    };
}

PV_INLINE uint16_t pv_to_half(float x)
{
    uint16_t halves[PV_LANES];
    vf_to_f16(halves, vf_set(x));
    return halves[0];
}

/* Scales as f32; at most PV_LANES of them. */
PV_INLINE void pv_from_halves(const uint16_t *from, uint32_t count, float out[PV_LANES])
{
    uint16_t halves[PV_LANES] = {0};
    memcpy(halves, from, count * sizeof *from);
    vf_store(out, vf_from_f16(halves));
}

/* x / scale to the nearest whole number from low to high; the scale is not 0. */
PV_INLINE int32_t pv_kv_quant(float x, float scale, float low, float high)
{
    const float quotient = x / scale, bounded = quotient < low ? low : quotient > high ? high : quotient;
    return (int32_t)((bounded + 12582912.0f) - 12582912.0f); /* 1.5 × 2^23: adding and taking away rounds */
}

/* The scale of some elements: `largest` of them, positive ones first, over `steps`. NaN where one is not finite. */
PV_INLINE float pv_kv_scale(const float *x, uint32_t count, float steps, bool keep_sign)
{
    float most = 0, least = 0;
    bool finite = true;
    for (uint32_t i = 0; i < count; i++) {
        finite = finite && x[i] - x[i] == 0;
        most = x[i] > most ? x[i] : most;
        least = x[i] < least ? x[i] : least;
    }
    const float largest = most >= -least ? most : keep_sign ? least : -least;
    return finite ? largest / steps : NAN;
}

/* One head of a token. */
PV_INLINE void pv_kv_store_8bit(const float *x, uint32_t head_dim, uint8_t *cells, uint16_t *scales)
{
    for (uint32_t first = 0; first < head_dim; first += PV_KV_GROUP, scales++) {
        const uint32_t count = head_dim - first < PV_KV_GROUP ? head_dim - first : PV_KV_GROUP;
        float kept[PV_LANES];
        *scales = pv_to_half(pv_kv_scale(x + first, count, 127, false));
        pv_from_halves(scales, 1, kept);
        const bool whole = kept[0] > 0 && kept[0] - kept[0] == 0;
        for (uint32_t i = 0; i < count; i++) cells[first + i] = (uint8_t)(whole ? pv_kv_quant(x[first + i], kept[0], -127, 127) : 0);
    }
}

PV_INLINE void pv_kv_store_4bit(const float *x, uint32_t head_dim, uint8_t *cells, uint16_t *scales)
{
    for (uint32_t first = 0; first < head_dim; first += PV_KV_GROUP, scales++) {
        const uint32_t count = head_dim - first < PV_KV_GROUP ? head_dim - first : PV_KV_GROUP;
        float kept[PV_LANES];
        *scales = pv_to_half(pv_kv_scale(x + first, count, -8, true));
        pv_from_halves(scales, 1, kept);
        const bool whole = kept[0] != 0 && kept[0] - kept[0] == 0;
        for (uint32_t i = 0; i < count; i += 2) {
            const int32_t low = whole ? pv_kv_quant(x[first + i], kept[0], -8, 7) : 0;
            const int32_t high = whole ? pv_kv_quant(x[first + i + 1], kept[0], -8, 7) : 0;
            cells[(first + i) / 2] = (uint8_t)((low + 8) | (high + 8) << 4);
        }
    }
}

PV_INLINE void pv_kv_load_8bit(const uint8_t *restrict cells, const uint16_t *scales, uint32_t head_dim, float *restrict to)
{
    float kept[PV_LANES];
    const uint32_t whole = head_dim / PV_KV_GROUP, groups = (head_dim + PV_KV_GROUP - 1) / PV_KV_GROUP;
    for (uint32_t g = 0; g < groups; g++) {
        if (g % PV_LANES == 0) pv_from_halves(scales + g, groups - g < PV_LANES ? groups - g : PV_LANES, kept);
        const float scale = kept[g % PV_LANES];
        const uint8_t *from = cells + g * PV_KV_GROUP;
        float *out = to + g * PV_KV_GROUP;
        if (g < whole) { /* a count that is known, for the compiler's vectors */
            for (uint32_t i = 0; i < PV_KV_GROUP; i++) out[i] = scale * (float)(int8_t)from[i];
        } else {
            for (uint32_t i = 0; i < head_dim % PV_KV_GROUP; i++) out[i] = scale * (float)(int8_t)from[i];
        }
    }
}

PV_INLINE void pv_kv_load_4bit(const uint8_t *cells, const uint16_t *scales, uint32_t head_dim, float *to)
{
    for (uint32_t first = 0; first < head_dim; first += PV_KV_GROUP, scales++) {
        const uint32_t count = head_dim - first < PV_KV_GROUP ? head_dim - first : PV_KV_GROUP;
        float kept[PV_LANES];
        pv_from_halves(scales, 1, kept);
        for (uint32_t i = 0; i < count; i += 2) {
            const uint8_t byte = cells[(first + i) / 2];
            to[first + i] = kept[0] * (float)((byte & 15) - 8);
            to[first + i + 1] = kept[0] * (float)((byte >> 4) - 8);
        }
    }
}

#endif
