/* A translated text written out as C++. */
#ifndef SOFTMETAL_MSL_GENERATE_H
#define SOFTMETAL_MSL_GENERATE_H

#include "msl/unit.h"

/* What the generated end calls itself. Its line numbers are those of the entries, counted from 1. */
#define SM_THUNK_FILE "softmetal-entry"

typedef enum sm_generation_mode {
    SM_GENERATE_OBJECT,
    SM_GENERATE_CHECK,  /* for the front end only: function constants have no values */
    SM_GENERATE_STRICT, /* C++ for OpenCL, of a unit translated for it; no table */
} sm_generation_mode;

typedef struct sm_generation {
    sm_generation_mode mode;
    uint32_t entry; /* which one; SM_NO_TOKEN: all */
    bool checked;   /* a CHECKED object */
    const sm_constant_value *values;
    size_t value_count;
} sm_generation;

/* Where a token stands in the generated text; line 0: nowhere. */
typedef struct sm_placement {
    uint32_t line, column;
} sm_placement;

/* Appends to `out`. `placements` (may be NULL) has a place for each token. False with *error (in `arena`) set where a value is
 * missing or of the wrong type. */
bool sm_generate(const sm_unit *unit, const sm_generation *generation, sm_arena *arena, sm_text *out, sm_placement *placements,
                 const char **error);

#endif
