#include "backend/metal/traits.h"

#include <stddef.h>

#define GB 1000000000.0

/* Slowest chip of each family: a cut that suits it suits all. */
static const struct {
    uint32_t family;
    double bytes, operations; /* a second */
} chips[] = {
    {7, 68 * GB, 2600 * GB}, /* M1 */
    {8, 100 * GB, 3600 * GB}, /* M2 */
    {9, 100 * GB, 3500 * GB}, /* M3, M4 */
    {10, 153 * GB, 4300 * GB}, /* M5 */
};

void pv_metal_traits_of(const pv_metal_facts *facts, pv_metal_traits *traits)
{
    *traits = (pv_metal_traits){.facts = *facts};
    if (facts->apple_family < 7) {
        traits->refusal = "it is no Apple GPU of the M1 or later";
    } else if (!facts->unified) {
        traits->refusal = "it has no unified memory";
    } else if (facts->max_threads < 256 || facts->threadgroup_memory < 16384) {
        traits->refusal = "it has less than 256 threads or 16 KiB of memory for a threadgroup";
    }
    traits->simdgroup_matrix = facts->apple_family >= 7;
    traits->native_bfloat = facts->apple_family >= 9;
    traits->bytes_per_second = chips[0].bytes;
    traits->operations_per_second = chips[0].operations;
    for (size_t i = 0; i < sizeof chips / sizeof chips[0]; i++) {
        if (facts->apple_family < chips[i].family) continue;
        traits->bytes_per_second = chips[i].bytes;
        traits->operations_per_second = chips[i].operations;
    }
}
