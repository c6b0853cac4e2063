/* Canonical layouts: how a weight matrix stands in a file. One row of the table per layout. */
#ifndef PV_FORMAT_LAYOUT_H
#define PV_FORMAT_LAYOUT_H

#include "pensieve.h"

/* X(name, weights in a block, bytes of a block, type number in GGUF). Layouts of GGUF files are as gguf-py writes them. */
#define PV_LAYOUT_LIST(X)   \
    X(F32, 1, 4, 0)         \
    X(F16, 1, 2, 1)         \
    X(BF16, 1, 2, 30)       \
    X(Q4_0, 32, 18, 2)      \
    X(Q4_1, 32, 20, 3)      \
    X(Q8_0, 32, 34, 8)      \
    X(Q4_K, 256, 144, 12)   \
    X(Q6_K, 256, 210, 14)   \
    X(Q5_0, 32, 22, 6)      \
    X(Q5_1, 32, 24, 7)      \
    X(Q2_K, 256, 84, 10)    \
    X(Q3_K, 256, 110, 11)   \
    X(Q5_K, 256, 176, 13)   \
    X(IQ4_NL, 32, 18, 20)   \
    X(IQ4_XS, 256, 136, 23) \
    X(MXFP4, 32, 17, 39)

typedef enum pv_layout {
#define PV_LAYOUT_ENUM(name, block, bytes, gguf) PV_LAYOUT_##name,
    PV_LAYOUT_LIST(PV_LAYOUT_ENUM)
#undef PV_LAYOUT_ENUM
    PV_LAYOUT_COUNT
} pv_layout;

typedef struct pv_layout_info {
    const char *name;
    uint32_t block, block_bytes, gguf_type;
} pv_layout_info;

/* `layout` must be below PV_LAYOUT_COUNT. */
const pv_layout_info *pv_layout_get(pv_layout layout);
/* PV_LAYOUT_COUNT if there is none of this name. */
pv_layout pv_layout_find(const char *name);
/* Bytes of a row of `cols` weights; false if cols is no multiple of the block or the product overflows. */
bool pv_layout_row_bytes(pv_layout layout, uint64_t cols, uint64_t *bytes);
/* Decodes a row into f32, by the definition of the layout; plain and slow: for tools, tests and checks. */
void pv_layout_decode(pv_layout layout, const void *row, uint64_t cols, float *out);
/* Encodes a row from f32, as the reference quantizers of gguf-py do where it has one. For synthetic models and fixtures. */
void pv_layout_encode(pv_layout layout, const float *row, uint64_t cols, void *out);

/* False if the row holds NaN or an infinity; of quantized layouts the scales are looked at. */
bool pv_layout_row_is_finite(pv_layout layout, const void *row, uint64_t cols);

float pv_f16_to_f32(uint16_t half);
uint16_t pv_f32_to_f16(float value); /* to nearest even */
float pv_bf16_to_f32(uint16_t bfloat);
uint16_t pv_f32_to_bf16(float value); /* to nearest even; NaN stays NaN */

#endif
