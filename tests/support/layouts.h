/* Which layouts a test goes through that runs something for each. */
#ifndef TEST_SUPPORT_LAYOUTS_H
#define TEST_SUPPORT_LAYOUTS_H

#include "format/layout.h"

/* All but AFFINE layouts, which are too many: of these one for each number of bits and each group, with the types in turn. `thin`: one
 * for each number of bits, with groups and types in turn. */
static inline bool layout_is_sampled(unsigned layout, bool thin)
{
    pv_affine affine;
    if (!pv_layout_affine((pv_layout)layout, &affine)) return true;
    const unsigned number = layout - PV_LAYOUT_AFFINE2_G32_F16, bits = number / 9, group = number / 3 % 3, type = number % 3;
    return type == (bits + group) % 3 && (!thin || group == bits % 3);
}

/* Layouts of GGUF files come first. */
#define GGUF_LAYOUTS PV_LAYOUT_AFFINE2_G32_F16

#endif
