/* Enumeration of collections, which NSArray and NSDictionary share. */
#ifndef SOFTMETAL_FOUNDATION_ARRAY_H
#define SOFTMETAL_FOUNDATION_ARRAY_H

#include "foundation/foundation.h"

/* What `for … in` of the Objective-C compiler, or a host by hand, keeps between calls. */
typedef struct sm_fast_enumeration {
    unsigned long state;
    id *items;
    unsigned long *mutations; /* changes if the collection does */
    unsigned long extra[5];
} sm_fast_enumeration;

/* All items at once in the first call, none in the second. */
NSUInteger sm_enumerate(sm_fast_enumeration *state, id *items, size_t count, unsigned long *mutations);
/* An NSEnumerator over an array, which it retains. */
id sm_enumerator_create(id array);

#endif
