/* Host side of the step block: where its arrays lie and a view of them. */
#ifndef PV_BACKEND_STEP_BLOCK_H
#define PV_BACKEND_STEP_BLOCK_H

#include "backend/kernel_args.h"

static inline uint32_t pv_step_max_tiles(const pv_step_limits *limits)
{
    return limits->seqs + limits->rows / PV_TILE_ROWS;
}

static inline pv_step_layout pv_step_layout_for(const pv_step_limits *limits)
{
    pv_step_layout layout = {0};
    uint32_t at = sizeof(pv_step_counts);
#define PV_STEP_ARRAY(member, count, type) layout.member = at, at += (uint32_t)((count) * sizeof(type))
    PV_STEP_ARRAY(rows, limits->rows, pv_step_row);
    PV_STEP_ARRAY(seqs, limits->seqs, pv_step_seq);
    PV_STEP_ARRAY(tiles, pv_step_max_tiles(limits), pv_step_tile);
    PV_STEP_ARRAY(logits, limits->logits, pv_step_logit);
    PV_STEP_ARRAY(patches, limits->patches, pv_step_patch);
    PV_STEP_ARRAY(biases, limits->biases, pv_step_bias);
#undef PV_STEP_ARRAY
    layout.bytes = (at + 255u) & ~255u;
    return layout;
}

typedef struct pv_step_view {
    pv_step_counts *counts;
    pv_step_row *rows;
    pv_step_seq *seqs;
    pv_step_tile *tiles;
    pv_step_logit *logits;
    pv_step_patch *patches;
    pv_step_bias *biases;
} pv_step_view;

static inline pv_step_view pv_step_view_of(void *block, const pv_step_layout *layout)
{
    uint8_t *base = block;
    return (pv_step_view){
        .counts = (pv_step_counts *)base,
        .rows = (pv_step_row *)(base + layout->rows),
        .seqs = (pv_step_seq *)(base + layout->seqs),
        .tiles = (pv_step_tile *)(base + layout->tiles),
        .logits = (pv_step_logit *)(base + layout->logits),
        .patches = (pv_step_patch *)(base + layout->patches),
        .biases = (pv_step_bias *)(base + layout->biases),
    };
}

#endif
