/* The shim's headers, and executor/abi.h, as they stand in the library (cmake/embed.cmake). */
#ifndef SOFTMETAL_MSL_EMBEDDED_H
#define SOFTMETAL_MSL_EMBEDDED_H

#include <stddef.h>

typedef struct sm_embedded_file {
    const char *name;           /* "metal_stdlib.h"; NULL ends the list */
    const unsigned char *bytes; /* followed by a 0 */
    size_t length;
} sm_embedded_file;

extern const sm_embedded_file sm_embedded[];

#endif
