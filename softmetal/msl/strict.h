/* The strict check: what Apple's compiler would refuse, as far as clang's C++ for OpenCL and a lint can tell. */
#ifndef SOFTMETAL_MSL_STRICT_H
#define SOFTMETAL_MSL_STRICT_H

#include "msl/cache.h"

/* `text` is what the user wrote. False with *errors. */
bool sm_check_strict(const sm_cache *cache, const char *preprocessed, const char *text, const char *name, char **errors);

#endif
