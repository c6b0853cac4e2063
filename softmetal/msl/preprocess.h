/* The C preprocessor's work, by the C++ compiler. */
#ifndef SOFTMETAL_MSL_PREPROCESS_H
#define SOFTMETAL_MSL_PREPROCESS_H

#include "msl/driver.h"
#include "msl/msl.h"

#define SM_SOURCE_FILE "program_source" /* what the text is called inside, whatever errors call it */

/* Preprocesses `text`, or finds the result in the cache. On failure `*output` is what the preprocessor said (or NULL) and
 * *error is set if it could not even run. `*output` is malloc'ed. */
bool sm_preprocess(const sm_cache *cache, const sm_compiler *compiler, const char *text, const sm_msl_options *options,
                   sm_arena *arena, char **output, const char **error);

#endif
