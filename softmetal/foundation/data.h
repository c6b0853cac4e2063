#ifndef SOFTMETAL_FOUNDATION_DATA_H
#define SOFTMETAL_FOUNDATION_DATA_H

#include "foundation/foundation.h"

typedef struct sm_data {
    sm_object object;
    void *bytes;
    size_t length;
    bool borrowed;    /* not freed */
    void *destructor; /* a block that is called instead of free, or NULL */
} sm_data;

#endif
