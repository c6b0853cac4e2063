/* A tiny model on the software Metal device: what the tests of the Metal backend begin with. */
#ifndef PV_TESTS_METAL_SUPPORT_METAL_H
#define PV_TESTS_METAL_SUPPORT_METAL_H

#include "engine/engine.h"
#include "softmetal.h"
#include "support/device.h"
#include "support/tiny.h"

#define METAL_REQUESTS 2

/* Steps of a run of all requests, with 32 prompt rows a step: three of prefill, eleven of decode. */
enum {
    METAL_PREFILL_FIRST = 1,
    METAL_PREFILL_MIDDLE = 2,
    METAL_PREFILL_LAST = 3,
    METAL_DECODE_FIRST = 4,
    METAL_DECODE_TENTH = 13,
    METAL_STEPS = 14
};

typedef struct metal_bench {
    tiny_allocator memory;
    pv_runtime *runtime;
    pv_model *model;
    pv_engine *engine;
    tiny_result found[METAL_REQUESTS];
    uint32_t faults; /* events */
} metal_bench;

typedef struct metal_setting {
    const pv_backend *backend; /* NULL: Metal's own */
    bool spare;                /* the CPU stands behind it */
    bool cpu;                  /* the model is on the CPU */
    bool plain;                /* the plainest programs */
    bool validate;
    uint32_t ahead;            /* 0: 1 */
    bool reuse;                /* of prefixes */
    const char *layout, *cache;
} metal_setting;

/* A world whose buffers stay open to the CPU, as they do on a Mac, is set; faults, counts and reports are forgotten. */
void metal_reset(void);
/* Runtime, model and engine. On failure everything is closed and the status returned. */
pv_status metal_open(metal_bench *bench, const metal_setting *setting, pv_error *error);
void metal_close(metal_bench *bench);
void metal_submit(metal_bench *bench);
/* As if these tokens had been generated already (NULL: none). */
void metal_submit_after(metal_bench *bench, const tiny_result begun[METAL_REQUESTS]);
/* Steps until nothing is left. */
void metal_run(metal_bench *bench);
/* True if every request gave what it gave elsewhere. */
bool metal_same(const metal_bench *bench, const tiny_result wanted[METAL_REQUESTS]);
/* Fails the test if the device saw a mistake. */
void metal_assert_no_reports(void);
/* Fails the test unless every object of the device's has ended; waits a moment for what its threads still hold. */
void metal_assert_no_leaks(void);

#endif
