/* The micro-kernels: a block of rows × tiles over all columns, sums left in out[row][tile][16]. Every layout's are made from the inline
 * functions here, with constant sizes, so that sums stay in registers. Whatever the block's size, a lane's sum is one chain in the
 * order of the columns: the same bits for one row as for many. */
#ifndef PV_CPU_BLOCKS_H
#define PV_CPU_BLOCKS_H

#include "layouts.h"

#define PV_BLOCK_ROWS 12 /* at most */
#define PV_BLOCK_TILES 4

/* `tiles`: packed tiles or panels; `count`: groups of 32 columns, or columns of a dense layout; `variant`: see layouts.h; `rows`:
 * pv_cpu_group or float. */
typedef void pv_block(const uint8_t *const tiles[], size_t count, unsigned variant, const void *const rows[], float *out);

/* Adds one group's products to `acc`: the integer sums are exact, so their order does not matter. */
PV_INLINE vf pv_group_add(pv_form form, const vi sum[2], const vf scale[2], const vf min[2], const pv_cpu_group *a, vf acc)
{
    const vf a_scale = vf_set(a->scale);
    acc = vf_fma(vf_from_i(sum[0]), vf_mul(scale[0], a_scale), acc);
    if (form.halves) acc = vf_fma(vf_from_i(sum[1]), vf_mul(scale[1], a_scale), acc);
    if (form.min && form.halves) {
        for (int half = 0; half < 2; half++) acc = vf_fma(vf_mul(min[half], a_scale), vf_set((float)a->minus[half]), acc);
    } else if (form.min) {
        acc = vf_fnma(min[0], vf_set(a->sum), acc);
    }
    return acc;
}

/* Weights are read once, faster than the processor looks ahead by itself: each step asks for as many bytes as it uses, at a place that
 * far ahead. Whole tiles, since a tile's sections are read side by side; at least so many bytes that memory can answer in time. */
#define PV_AHEAD 16384

PV_INLINE size_t pv_ahead(size_t tile_bytes) { return (PV_AHEAD + tile_bytes - 1) / tile_bytes * tile_bytes; }

PV_INLINE void pv_prefetch(const uint8_t *from, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + i, 0, 2); /* to the second level */
}

/* Few rows: weights go from memory through registers into the sums. */
PV_INLINE void pv_quant_few(pv_unpack *unpack, pv_form form, int row_count, const uint8_t *tile, size_t groups, unsigned variant,
                            const void *const rows[], float *out)
{
    vf acc[PV_BLOCK_ROWS];
    const size_t unit_bytes = (size_t)form.groups * form.bytes;
    const uint8_t *next = tile + pv_ahead(groups * form.bytes);
    PV_UNROLL for (int r = 0; r < row_count; r++) acc[r] = vf_zero();
    for (size_t unit = 0; unit < groups / (size_t)form.groups; unit++) {
        pv_unit w;
        pv_prefetch(next + unit * unit_bytes, unit_bytes);
        unpack(tile, groups, unit, variant, &w);
        for (int g = 0; g < form.groups; g++) {
            const int factor = form.halves ? 2 * g : g;
            for (int r = 0; r < row_count; r++) {
                const pv_cpu_group *a = (const pv_cpu_group *)rows[r] + unit * (size_t)form.groups + (size_t)g;
                vi high[2] = {vi_zero(), vi_zero()}, low[2] = {vi_zero(), vi_zero()}, sum[2];
                for (int j = 0; j < 8; j++) {
                    const int half = form.halves && j >= 4;
                    high[half] = pv_form_dot(form, high[half], w.q[8 * g + j], a->high + 4 * j);
                    low[half] = pv_form_dot(form, low[half], w.q[8 * g + j], a->low + 4 * j);
                }
                sum[0] = vi_add(pv_form_between(form, high[0], form.halves ? a->minus[0] : a->minus_all), low[0]);
                sum[1] = form.halves ? vi_add(pv_form_between(form, high[1], a->minus[1]), low[1]) : vi_zero();
                acc[r] = pv_group_add(form, sum, w.scale + factor, w.min + factor, a, acc[r]);
            }
        }
    }
    PV_UNROLL for (int r = 0; r < row_count; r++) vf_store(out + 16 * r, acc[r]);
}

/* Bytes of a group in a panel: its eight vectors of bytes, scales, minima. */
PV_INLINE size_t pv_panel_minima(pv_form form) { return 512 + (form.halves ? 128 : 64); }
PV_INLINE size_t pv_panel_stride(pv_form form) { return form.min ? 2 * pv_panel_minima(form) - 512 : pv_panel_minima(form); }

PV_INLINE void pv_make_panel(pv_unpack *unpack, pv_form form, const uint8_t *tile, size_t groups, unsigned variant, uint8_t *panel)
{
    const size_t unit_bytes = (size_t)form.groups * form.bytes;
    const uint8_t *next = tile + pv_ahead(groups * form.bytes);
    for (size_t unit = 0; unit < groups / (size_t)form.groups; unit++) {
        pv_unit w;
        pv_prefetch(next + unit * unit_bytes, unit_bytes);
        unpack(tile, groups, unit, variant, &w);
        for (int g = 0; g < form.groups; g++, panel += pv_panel_stride(form)) {
            for (int j = 0; j < 8; j++) vb_store(panel + 64 * j, w.q[8 * g + j]);
            const int halves = form.halves ? 2 : 1;
            for (int half = 0; half < halves; half++) {
                vf_store((float *)(panel + 512) + 16 * half, w.scale[halves * g + half]);
                if (form.min) vf_store((float *)(panel + pv_panel_minima(form)) + 16 * half, w.min[halves * g + half]);
            }
        }
    }
}

/* Many rows: weights come unpacked from panels, which all blocks of rows use again. */
PV_INLINE void pv_quant_many(pv_form form, int row_count, int tile_count, const uint8_t *const panels[], size_t groups,
                             const void *const rows[], float *out)
{
    vf acc[PV_BLOCK_ROWS][PV_BLOCK_TILES];
    PV_UNROLL for (int r = 0; r < row_count; r++) {
        PV_UNROLL for (int t = 0; t < tile_count; t++) acc[r][t] = vf_zero();
    }
    for (size_t group = 0; group < groups; group++) {
        const size_t at = group * pv_panel_stride(form);
        vi sum[PV_BLOCK_ROWS][PV_BLOCK_TILES][2];
        for (int half = 0; half <= (form.halves ? 1 : 0); half++) {
            const int first = form.halves ? 4 * half : 0, end = form.halves ? first + 4 : 8;
            for (int r = 0; r < row_count; r++) {
                for (int t = 0; t < tile_count; t++) sum[r][t][half] = vi_zero();
            }
            PV_KEEP_LOOP for (int j = first; j < end; j++) {
                vb w[PV_BLOCK_TILES];
                for (int t = 0; t < tile_count; t++) w[t] = vb_load(panels[t] + at + 64 * j);
                for (int r = 0; r < row_count; r++) {
                    const int8_t *a = ((const pv_cpu_group *)rows[r])[group].high + 4 * j;
                    for (int t = 0; t < tile_count; t++) sum[r][t][half] = pv_form_dot(form, sum[r][t][half], w[t], a);
                }
            }
            for (int r = 0; r < row_count; r++) {
                const pv_cpu_group *a = (const pv_cpu_group *)rows[r] + group;
                const int32_t minus = form.halves ? a->minus[half] : a->minus_all;
                for (int t = 0; t < tile_count; t++) sum[r][t][half] = pv_form_between(form, sum[r][t][half], minus);
            }
            PV_KEEP_LOOP for (int j = first; j < end; j++) {
                vb w[PV_BLOCK_TILES];
                for (int t = 0; t < tile_count; t++) w[t] = vb_load(panels[t] + at + 64 * j);
                for (int r = 0; r < row_count; r++) {
                    const int8_t *a = ((const pv_cpu_group *)rows[r])[group].low + 4 * j;
                    for (int t = 0; t < tile_count; t++) sum[r][t][half] = pv_form_dot(form, sum[r][t][half], w[t], a);
                }
            }
            for (int t = 0; t < tile_count; t++) {
                const vf scale = vf_load((const float *)(panels[t] + at + 512 + 64 * half));
                for (int r = 0; r < row_count; r++) {
                    const vf a_scale = vf_set(((const pv_cpu_group *)rows[r])[group].scale);
                    acc[r][t] = vf_fma(vf_from_i(sum[r][t][half]), vf_mul(scale, a_scale), acc[r][t]);
                }
            }
        }
        if (form.min && form.halves) {
            for (int half = 0; half < 2; half++) {
                for (int t = 0; t < tile_count; t++) {
                    const vf min = vf_load((const float *)(panels[t] + at + pv_panel_minima(form)) + 16 * half);
                    for (int r = 0; r < row_count; r++) {
                        const pv_cpu_group *a = (const pv_cpu_group *)rows[r] + group;
                        acc[r][t] = vf_fma(vf_mul(min, vf_set(a->scale)), vf_set((float)a->minus[half]), acc[r][t]);
                    }
                }
            }
        } else if (form.min) {
            for (int t = 0; t < tile_count; t++) {
                const vf min = vf_load((const float *)(panels[t] + at + pv_panel_minima(form)));
                for (int r = 0; r < row_count; r++) {
                    acc[r][t] = vf_fnma(min, vf_set(((const pv_cpu_group *)rows[r])[group].sum), acc[r][t]);
                }
            }
        }
    }
    PV_UNROLL for (int r = 0; r < row_count; r++) {
        PV_UNROLL for (int t = 0; t < tile_count; t++) vf_store(out + 16 * (r * tile_count + t), acc[r][t]);
    }
}

typedef enum pv_dense { PV_DENSE_F32, PV_DENSE_F16, PV_DENSE_BF16 } pv_dense;

/* A step is 64 bytes of a tile: one column of f32, two of the others. */
PV_INLINE size_t pv_dense_step(pv_dense dense) { return dense == PV_DENSE_F32 ? 1 : 2; }

PV_INLINE void pv_dense_load(pv_dense dense, const uint8_t *from, size_t columns, vf w[2])
{
    if (dense == PV_DENSE_F32) w[0] = vf_load((const float *)from);
    if (dense == PV_DENSE_F16) w[0] = vf_from_f16((const uint16_t *)from);
    if (dense == PV_DENSE_F16 && columns == 2) w[1] = vf_from_f16((const uint16_t *)from + 16);
    if (dense == PV_DENSE_BF16) vf_from_bf16_pairs(from, &w[0], &w[1]);
}

/* `far`: read ahead, see pv_ahead; a block reads all its tiles side by side. */
PV_INLINE void pv_dense_block(pv_dense dense, int row_count, int tile_count, bool far, const uint8_t *const tiles[], size_t cols,
                              const void *const rows[], float *out)
{
    vf acc[PV_BLOCK_ROWS][PV_BLOCK_TILES];
    PV_UNROLL for (int r = 0; r < row_count; r++) {
        PV_UNROLL for (int t = 0; t < tile_count; t++) acc[r][t] = vf_zero();
    }
    const size_t step = pv_dense_step(dense), whole = cols / step * step;
    const size_t group_bytes = cols / step * 64 * (size_t)tile_count, ahead = group_bytes <= 8 * PV_AHEAD ? group_bytes : PV_AHEAD;
    for (size_t i = 0; i < whole; i += step) {
        vf w[PV_BLOCK_TILES][2];
        for (int t = 0; t < tile_count; t++) {
            const uint8_t *from = tiles[t] + i / step * 64;
            if (far) pv_prefetch(from + ahead, 64);
            pv_dense_load(dense, from, step, w[t]);
        }
        for (size_t c = 0; c < step; c++) {
            for (int r = 0; r < row_count; r++) {
                const vf x = vf_set(((const float *)rows[r])[i + c]);
                for (int t = 0; t < tile_count; t++) acc[r][t] = vf_fma(w[t][c], x, acc[r][t]);
            }
        }
    }
    if (whole < cols) { /* an odd last column */
        PV_UNROLL for (int t = 0; t < tile_count; t++) {
            vf w[2];
            pv_dense_load(dense, tiles[t] + whole / step * 64, 1, w);
            PV_UNROLL for (int r = 0; r < row_count; r++) acc[r][t] = vf_fma(w[0], vf_set(((const float *)rows[r])[whole]), acc[r][t]);
        }
    }
    PV_UNROLL for (int r = 0; r < row_count; r++) {
        PV_UNROLL for (int t = 0; t < tile_count; t++) vf_store(out + 16 * (r * tile_count + t), acc[r][t]);
    }
}

#include "layout_f8.h"

#endif
