/* What a Metal device can do and how it is best used, from its description alone: so that devices nobody here owns are tested, and the
 * same device always gives the same text. */
#ifndef PV_METAL_TRAITS_H
#define PV_METAL_TRAITS_H

#include <stdbool.h>
#include <stdint.h>

/* As the device itself says. */
typedef struct pv_metal_facts {
    char name[128];
    uint64_t registry_id;
    uint32_t apple_family;      /* 7: M1 … ; 0: not Apple's */
    bool unified;
    bool residency_sets, math_modes; /* macOS 15 */
    uint64_t working_set, max_buffer; /* bytes */
    uint32_t max_threads;       /* of a threadgroup */
    uint32_t threadgroup_memory; /* bytes */
} pv_metal_facts;

typedef struct pv_metal_traits {
    pv_metal_facts facts;
    const char *refusal;        /* why it is not used, or NULL */
    bool simdgroup_matrix;      /* Apple 7 on */
    bool native_bfloat;         /* Apple 9 on; before, bf16 is read as bits, which is as right and quicker there */
    double bytes_per_second, operations_per_second; /* cautious: for cutting command buffers */
} pv_metal_traits;

void pv_metal_traits_of(const pv_metal_facts *facts, pv_metal_traits *traits);

#endif
