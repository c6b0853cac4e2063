/* F8: an f32 scale and 32 codes e4m3. They are no multiples of anything small, so products are taken in f32, with activations as they
 * are. Packed: codes [group][8][64], 64 bytes for each four columns, then scales f32 [group][16]. */
#include "layout_e4m3.h"

/* Four columns. */
PV_INLINE void unpack_f8(const uint8_t *codes, vf scale, vf w[4])
{
    const vi word = vi_load(codes);
    w[0] = vf_mul(pv_from_e4m3(word), scale);
    w[1] = vf_mul(pv_from_e4m3(vi_shr(word, 8)), scale);
    w[2] = vf_mul(pv_from_e4m3(vi_shr(word, 16)), scale);
    w[3] = vf_mul(pv_from_e4m3(vi_shr(word, 24)), scale);
}

/* As pv_dense_block of a panel does it, so that few rows give the same bits. */
PV_INLINE void pv_f8_block(int row_count, int tile_count, const uint8_t *const tiles[], size_t cols, const void *const rows[], float *out)
{
    const size_t groups = cols / 32;
    vf acc[PV_BLOCK_ROWS][PV_BLOCK_TILES];
    PV_UNROLL for (int r = 0; r < row_count; r++) {
        PV_UNROLL for (int t = 0; t < tile_count; t++) acc[r][t] = vf_zero();
    }
    for (size_t i = 0; i < cols; i += 4) {
        vf w[PV_BLOCK_TILES][4];
        for (int t = 0; t < tile_count; t++) {
            const vf scale = vf_load((const float *)(tiles[t] + groups * 512) + i / 32 * 16);
            pv_prefetch(tiles[t] + i * 16 + PV_AHEAD, 64);
            unpack_f8(tiles[t] + i * 16, scale, w[t]);
        }
        for (int c = 0; c < 4; c++) {
            for (int r = 0; r < row_count; r++) {
                const vf x = vf_set(((const float *)rows[r])[i + (size_t)c]);
                for (int t = 0; t < tile_count; t++) acc[r][t] = vf_fma(w[t][c], x, acc[r][t]);
            }
        }
    }
    PV_UNROLL for (int r = 0; r < row_count; r++) {
        PV_UNROLL for (int t = 0; t < tile_count; t++) vf_store(out + 16 * (r * tile_count + t), acc[r][t]);
    }
}

/* A panel is a tile of the layout F32. */
PV_INLINE void pv_f8_panel(const uint8_t *tile, size_t groups, uint8_t *panel)
{
    for (size_t g = 0; g < groups; g++) {
        const vf scale = vf_load((const float *)(tile + groups * 512) + 16 * g);
        for (int i = 0; i < 8; i++) {
            vf w[4];
            unpack_f8(tile + g * 512 + 64 * i, scale, w);
            for (int c = 0; c < 4; c++, panel += 64) vf_store((float *)panel, w[c]);
        }
    }
}
