/* Canonical layouts: how a weight matrix stands in a file. One row of the table per layout. */
#ifndef PV_FORMAT_LAYOUT_H
#define PV_FORMAT_LAYOUT_H

#include "pensieve.h"

/* X(name, weights in a block, bytes of a block, type number in GGUF). Layouts of GGUF files are as gguf-py writes them.
 *
 * Other formats spread a row over several tensors (codes, scales, biases). Their canonical layouts put what belongs together into
 * blocks, as GGUF does; parts.h makes rows of blocks from the tensors while they are read, so that nobody else knows of parts.
 *   AFFINEb_Gg_T  weight = scale × code + bias: scale and bias (both of type T), then g codes of b bits, a little-endian bit stream.
 *                 MLX's affine modes; and GPTQ and AWQ, whose -scale × zero point is the bias, exactly so in F32.
 *   F8            an f32 scale, 32 codes e4m3: MLX's mxfp8 and FP8 SafeTensors, whatever their scales belong to.
 *   NVFP4         two scales e4m3, one for each 16 weights, then codes e2m1 in nibbles as those of Q4_0.
 *   NVFP4_F32     an f32 factor, which is the whole tensor's, four scales e4m3, then codes as in NVFP4, twice.
 *   MXFP4         GGUF's, also of MLX's mxfp4. */
#define PV_NO_GGUF_TYPE UINT32_MAX
#define PV_AFFINE_GROUP(X, bits, group)                                             \
    X(AFFINE##bits##_G##group##_F16, group, 4 + group * bits / 8, PV_NO_GGUF_TYPE)  \
    X(AFFINE##bits##_G##group##_BF16, group, 4 + group * bits / 8, PV_NO_GGUF_TYPE) \
    X(AFFINE##bits##_G##group##_F32, group, 8 + group * bits / 8, PV_NO_GGUF_TYPE)
#define PV_AFFINE_BITS(X, bits) PV_AFFINE_GROUP(X, bits, 32) PV_AFFINE_GROUP(X, bits, 64) PV_AFFINE_GROUP(X, bits, 128)
#define PV_AFFINE_LIST(X) \
    PV_AFFINE_BITS(X, 2)  \
    PV_AFFINE_BITS(X, 3) PV_AFFINE_BITS(X, 4) PV_AFFINE_BITS(X, 5) PV_AFFINE_BITS(X, 6) PV_AFFINE_BITS(X, 8)
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
    X(MXFP4, 32, 17, 39)    \
    PV_AFFINE_LIST(X)       \
    X(F8, 32, 36, PV_NO_GGUF_TYPE) \
    X(NVFP4, 32, 18, PV_NO_GGUF_TYPE) \
    X(NVFP4_F32, 64, 40, PV_NO_GGUF_TYPE)

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

/* What an AFFINE layout is made of. */
typedef struct pv_affine {
    uint32_t bits, group;
    pv_layout type; /* of scale and bias: F32, F16 or BF16 */
} pv_affine;

/* False if it is none. */
bool pv_layout_affine(pv_layout layout, pv_affine *affine);
/* PV_LAYOUT_COUNT if there is none. */
pv_layout pv_layout_of_affine(pv_affine affine);

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

float pv_e4m3_to_f32(uint8_t code);
float pv_f16_to_f32(uint16_t half);
uint16_t pv_f32_to_f16(float value); /* to nearest even */
float pv_bf16_to_f32(uint16_t bfloat);
uint16_t pv_f32_to_bf16(float value); /* to nearest even; NaN stays NaN */

#endif
