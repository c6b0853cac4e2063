/* What is used by what. */
#ifndef SOFTMETAL_MSL_USAGE_H
#define SOFTMETAL_MSL_USAGE_H

#include <stdbool.h>
#include <stdint.h>

struct sm_unit;
typedef struct sm_usage sm_usage;

/* Once, at the end of a translation. */
bool sm_find_usage(struct sm_unit *unit);
/* Sets sm_kernel_source.mentioned. */
void sm_find_mentions(struct sm_unit *unit);
void sm_usage_free(sm_usage *usage);
/* The function constants that an entry uses: adds to used[], by constant; returns how many are set. */
uint32_t sm_used_constants(const struct sm_unit *unit, uint32_t entry, bool *used);

#endif
