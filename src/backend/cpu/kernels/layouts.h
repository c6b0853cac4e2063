/* The quantized layouts that there are kernels for. A new one is a header with its form and how a unit is unpacked, a line here, and a
 * line in the table of packings (pack.c). */
#ifndef PV_CPU_LAYOUTS_H
#define PV_CPU_LAYOUTS_H

#include "layout_affine.h"
#include "layout_iq4_nl.h"
#include "layout_iq4_xs.h"
#include "layout_mxfp4.h"
#include "layout_nvfp4.h"
#include "layout_q2_k.h"
#include "layout_q3_k.h"
#include "layout_q4_0.h"
#include "layout_q4_1.h"
#include "layout_q4_k.h"
#include "layout_q5_0.h"
#include "layout_q5_1.h"
#include "layout_q5_k.h"
#include "layout_q6_k.h"
#include "layout_q8_0.h"

/* A family of kernels for each number of bits; groups and types are variants. */
#define PV_CPU_AFFINE_GROUP(X, bits, group, halvings)                                                    \
    X(AFFINE##bits##_G##group##_F16, affine##bits, 640, PV_AFFINE_VARIANT(PV_AFFINE_F16, halvings))      \
    X(AFFINE##bits##_G##group##_BF16, affine##bits, 640, PV_AFFINE_VARIANT(PV_AFFINE_BF16, halvings))    \
    X(AFFINE##bits##_G##group##_F32, affine##bits, 640, PV_AFFINE_VARIANT(PV_AFFINE_F32, halvings))
#define PV_CPU_AFFINE(X, bits) \
    PV_CPU_AFFINE_GROUP(X, bits, 32, 0) PV_CPU_AFFINE_GROUP(X, bits, 64, 1) PV_CPU_AFFINE_GROUP(X, bits, 128, 2)

/* X(layout, kernels, bytes of a group in a panel: pv_panel_stride, variant) */
#define PV_CPU_QUANT_LIST(X)   \
    X(Q4_0, q4_0, 576, 0)      \
    X(Q4_1, q4_1, 640, 0)      \
    X(Q5_0, q5_0, 576, 0)      \
    X(Q5_1, q5_1, 640, 0)      \
    X(Q8_0, q8_0, 576, 0)      \
    X(Q2_K, q2_k, 768, 0)      \
    X(Q3_K, q3_k, 640, 0)      \
    X(Q4_K, q4_k, 640, 0)      \
    X(Q5_K, q5_k, 640, 0)      \
    X(Q6_K, q6_k, 640, 0)      \
    X(IQ4_NL, iq4_nl, 576, 0)  \
    X(IQ4_XS, iq4_xs, 576, 0)  \
    X(MXFP4, mxfp4, 576, 0)    \
    X(NVFP4, nvfp4, 640, 0)    \
    X(NVFP4_F32, nvfp4, 640, 1) \
    PV_CPU_AFFINE(X, 2) PV_CPU_AFFINE(X, 3) PV_CPU_AFFINE(X, 4) PV_CPU_AFFINE(X, 5) PV_CPU_AFFINE(X, 6) PV_CPU_AFFINE(X, 8)


#endif
