/* Apple's headers, which are empty here (the shim is always there), and what every generated text begins with. */
#ifndef SOFTMETAL_MSL_HEADERS_H
#define SOFTMETAL_MSL_HEADERS_H

extern const char *const sm_metal_headers[]; /* ends with NULL */
extern const char sm_prelude[];

#endif
