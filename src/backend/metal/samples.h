/* Counters that a device samples while it works: its clock and, where it counts them, the threads of kernels. A pair of
 * samples surrounds something. Apple's own GPUs sample where encoders begin and end, others between dispatches too: they are
 * asked. */
#ifndef PV_METAL_SAMPLES_H
#define PV_METAL_SAMPLES_H

#include "backend/metal/metal.h"

#define PV_METAL_PAIRS 2048      /* of times: 32 KiB, the most that a sample buffer holds */
#define PV_METAL_STATISTICS 256  /* pairs that have statistics too, of eight counters each */

/* What a device can: counter sets, autoreleased with the device's. */
typedef struct pv_metal_sampler {
    pv_id times, statistics; /* NULL: none */
    bool dispatches;         /* samples between dispatches */
} pv_metal_sampler;

/* Room for the samples of one submission. */
typedef struct pv_metal_samples {
    pv_id times, statistics; /* NULL: not sampled */
} pv_metal_samples;

/* What was sampled, while the pool lasts. */
typedef struct pv_metal_sampled {
    const uint64_t *ticks, *statistics; /* NULL: nothing */
    uint32_t pairs, counted;            /* that they have */
} pv_metal_sampled;

pv_metal_sampler pv_metal_sampler_find(const pv_metal_device *device);
void pv_metal_samples_create(const pv_metal_device *device, const pv_metal_sampler *sampler, pv_metal_samples *samples);
/* A concurrent encoder whose begin and end are this pair; NULL without memory. */
pv_id pv_metal_samples_encoder(const pv_objc *objc, const pv_metal_samples *samples, pv_id command_buffer, uint32_t pair);
/* The first or the last of a pair, behind what the encoder has been given so far. */
void pv_metal_samples_take(const pv_objc *objc, const pv_metal_samples *samples, pv_id encoder, uint32_t pair, bool last);
pv_metal_sampled pv_metal_samples_resolve(const pv_objc *objc, const pv_metal_samples *samples, uint32_t pairs);

/* Ticks of a pair; false if the device took none. */
bool pv_metal_sampled_ticks(const pv_metal_sampled *sampled, uint32_t pair, uint64_t ticks[2]);
/* Threads that ran in it; 0: not known. */
uint64_t pv_metal_sampled_threads(const pv_metal_sampled *sampled, uint32_t pair);

#endif
