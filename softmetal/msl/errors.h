/* What is wrong with a text, said about the text as the user wrote it. */
#ifndef SOFTMETAL_MSL_ERRORS_H
#define SOFTMETAL_MSL_ERRORS_H

#include "msl/generate.h"

/* What is needed to find the way back. */
typedef struct sm_origin {
    const char *name;               /* what errors call the text */
    const char *text;               /* as the user wrote it */
    const sm_unit *unit;            /* or NULL: messages of the preprocessor are about the text itself */
    const sm_placement *placements; /* of the unit's tokens in what was compiled */
    bool opencl;                    /* the compiler speaks of OpenCL's address spaces */
} sm_origin;

/* The unit's own notes, a line each. */
void sm_report_notes(const sm_origin *origin, sm_text *out);
/* What a compiler said; false if there was no error in it that could be understood. */
bool sm_report_diagnostics(const sm_origin *origin, const char *said, sm_text *out);

/* True if all errors that a compiler told are such as are no errors in MSL. */
bool sm_only_noise(const char *said);

#endif
