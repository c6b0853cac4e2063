/* The shim's headers compiled ahead: they take several times as long to read as a kernel. One for each compiler and flavour,
 * beside the headers in the cache. */
#ifndef SOFTMETAL_MSL_PRECOMPILED_H
#define SOFTMETAL_MSL_PRECOMPILED_H

#include "msl/driver.h"

/* The header to include first; its compiled form is made if it is not there. Without one (it could not be made) compiling is
 * slower and no worse. */
const char *sm_precompiled(const sm_cache *cache, const sm_compiler *compiler, const sm_flavour *flavour, sm_arena *arena);
/* Forgets the compiled form of `header`: it may be broken. True if there was one. */
bool sm_precompiled_discard(const sm_compiler *compiler, const char *header);

#endif
