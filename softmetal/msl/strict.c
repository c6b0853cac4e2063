#include "msl/msl.h"

#include <string.h>

bool sm_msl_strict(const char *text, const sm_msl_options *options, char **errors)
{
    (void)text;
    (void)options;
    *errors = strdup("program_source: error: the strict check is not there yet\n");
    return false;
}
