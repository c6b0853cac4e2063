/* Tensors whose rows a file spreads over several: codes, scales, zero points or biases. A source shows them as one tensor in a canonical
 * layout (layout.h) and makes its rows while they are read, a few at a time; quantization.c finds them. */
#ifndef PV_FORMAT_PARTS_H
#define PV_FORMAT_PARTS_H

#include "format/source.h"

typedef enum pv_parts_kind {
    PV_PARTS_AFFINE, /* MLX: codes [rows][cols × bits / 32] U32, scales and biases [rows][cols / group] */
    PV_PARTS_MXFP4,  /* MLX: codes [rows][cols / 8] U32, scales [rows][cols / 32] e8m0; gpt-oss: the same bytes as codes [rows][cols / 32][16] U8 */
    PV_PARTS_MXFP8,  /* MLX: codes [rows][cols / 4] U32, scales [rows][cols / 32] e8m0 */
    PV_PARTS_NVFP4,  /* MLX and others: codes [rows][cols / 2] bytes, scales [rows][cols / 16] e4m3 */
    PV_PARTS_GPTQ,   /* codes [cols / 8][rows] I32, scales [cols / group][rows], zeros [cols / group][rows / 8] I32 */
    PV_PARTS_AWQ,    /* codes [cols][rows / 8] I32, scales [cols / group][rows], zeros [cols / group][rows / 8] I32 */
    PV_PARTS_FP8,    /* codes [rows][cols] e4m3, scales [rows / scale_rows][cols / group] */
    PV_PARTS_PACKED, /* compressed-tensors: codes [rows][cols × bits / 32] I32, scales [rows][cols / group], zeros [rows × bits / 32][cols / group] I32 */
} pv_parts_kind;

typedef struct pv_source_parts {
    pv_parts_kind kind;
    uint64_t group;        /* columns that a scale serves */
    uint64_t scale_rows;   /* FP8: rows that a scale serves */
    uint32_t zero_offset;  /* GPTQ: what is added to zero points */
    const uint32_t *order; /* GPTQ with desc_act: the tensor's order, by which its columns stand group by group; or NULL */
    float factor;          /* NVFP4: of all weights; 0: there is none, the layout has no room for it */
    pv_source_tensor codes, scales, zeros; /* as they stand in the files; zeros: biases of AFFINE */
} pv_source_parts;

/* Makes rows [first, first + count), which the tensor has. Errors: PV_IO, PV_OUT_OF_MEMORY. */
pv_status pv_parts_read_rows(const pv_source *source, const pv_source_tensor *tensor, uint64_t first, uint64_t count, void *out,
                             pv_error *error);

#endif
