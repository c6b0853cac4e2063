/* From a translated text to an object. */
#ifndef SOFTMETAL_MSL_BUILD_H
#define SOFTMETAL_MSL_BUILD_H

#include "msl/driver.h"
#include "msl/generate.h"

struct sm_msl_library {
    sm_arena arena;
    const char *text, *name; /* name: what errors call it */
    sm_msl_options options;
    char *preprocessed;
    sm_unit unit; /* does not change once the library is made: builds may run side by side */
    sm_function_info *functions;
    sm_cache cache;
    sm_compiler compiler;
};

/* The compiler's front end over the whole text, or its verdict from the cache. False with *errors. */
bool sm_check_library(sm_msl_library *library, char **errors);

#endif
