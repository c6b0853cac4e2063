#include "backend/metal/traits.h"

#include <stddef.h>
#include <string.h>

#define GB 1000000000.0

/* Bytes and f32 operations a second. Where sources give a range, its lower end stands here. */
static const struct {
    const char *name;
    double bytes, operations;
} chips[] = {
    {"Apple M1", 68 * GB, 2600 * GB},        {"Apple M1 Pro", 200 * GB, 5300 * GB},
    {"Apple M1 Max", 400 * GB, 10600 * GB},  {"Apple M1 Ultra", 800 * GB, 21200 * GB},
    {"Apple M2", 100 * GB, 3600 * GB},       {"Apple M2 Pro", 200 * GB, 6800 * GB},
    {"Apple M2 Max", 400 * GB, 13600 * GB},  {"Apple M2 Ultra", 800 * GB, 27200 * GB},
    {"Apple M3", 100 * GB, 3500 * GB},       {"Apple M3 Pro", 150 * GB, 6400 * GB},
    {"Apple M3 Max", 300 * GB, 14000 * GB},  {"Apple M3 Ultra", 819 * GB, 28000 * GB},
    {"Apple M4", 120 * GB, 4300 * GB},       {"Apple M4 Pro", 273 * GB, 8500 * GB},
    {"Apple M4 Max", 410 * GB, 17000 * GB},  {"Apple M5", 153 * GB, 4300 * GB},
    {"Apple M5 Pro", 307 * GB, 8500 * GB},   {"Apple M5 Max", 460 * GB, 17000 * GB},
};

/* The slowest chip of each family, for those with another name: a cut that suits it suits all. */
static const struct {
    uint32_t family;
    double bytes, operations;
} families[] = {
    {7, 68 * GB, 2600 * GB},   /* M1 */
    {8, 100 * GB, 3600 * GB},  /* M2 */
    {9, 100 * GB, 3500 * GB},  /* M3, M4 */
    {10, 153 * GB, 4300 * GB}, /* M5 */
};

static void find_speed(const pv_metal_facts *facts, pv_metal_traits *traits)
{
    traits->bytes_per_second = families[0].bytes;
    traits->operations_per_second = families[0].operations;
    for (size_t i = 0; i < sizeof families / sizeof families[0] && families[i].family <= facts->apple_family; i++) {
        traits->bytes_per_second = families[i].bytes;
        traits->operations_per_second = families[i].operations;
    }
    for (size_t i = 0; i < sizeof chips / sizeof chips[0]; i++) {
        if (strcmp(chips[i].name, facts->name) != 0) continue;
        traits->bytes_per_second = chips[i].bytes;
        traits->operations_per_second = chips[i].operations;
    }
}

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
    find_speed(facts, traits);
}
