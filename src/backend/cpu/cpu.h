/* The CPU backend's device and what its files share. */
#ifndef PV_CPU_CPU_H
#define PV_CPU_CPU_H

#include "backend/backend.h"
#include "backend/cpu/kernels/kernel.h"
#include "backend/cpu/team.h"
#include "base/alloc.h"

#define PV_CPU_QUEUE 8 /* submissions that may wait */
#define PV_CPU_PLANS 4 /* of one submission */

/* One counter an op kind and, for kinds with weights, layout. */
#define PV_CPU_COUNTERS (PV_OP_COUNT * PV_LAYOUT_COUNT)

typedef struct pv_cpu_counter_row {
    char name[40];
    uint64_t count;
} pv_cpu_counter_row;

typedef struct pv_cpu_submission {
    pv_prepared *plans[PV_CPU_PLANS];
    uint32_t plan_count;
    uint8_t *block, *outputs;
    const atomic_bool *abort;
    uint32_t plan, op; /* where to go on */
} pv_cpu_submission;

typedef struct pv_cpu_device {
    pv_backend_device base; /* first */
    const pv_allocator *allocator;
    const pv_cpu_kernels *kernels;
    pv_device_description description;
    bool plain;
    pv_cpu_team *team;
    uint64_t buffers;     /* made so far: ids */
    uint8_t *scratch;     /* as large as the most demanding plan that was prepared: own of each worker, then shared */
    uint64_t scratch_bytes, own_bytes;
    void *scratch_memory; /* what was allocated */
    pv_cpu_submission queue[PV_CPU_QUEUE]; /* fence f stands at f % PV_CPU_QUEUE */
    pv_fence submitted, completed;
    pv_cpu_counter_row *counters; /* [PV_CPU_COUNTERS], index kind × PV_LAYOUT_COUNT + layout (0 where there is none) */
} pv_cpu_device;

static inline pv_cpu_device *pv_cpu_of(const pv_backend_device *device) { return (pv_cpu_device *)device; }

/* describe.c: fills the description of this machine but for kernels and threads. */
void pv_cpu_describe(pv_device_description *description);
uint32_t pv_cpu_processors(void); /* of this process */

/* memory.c */
pv_status pv_cpu_alloc(pv_backend_device *device, pv_memory kind, uint64_t bytes, pv_buffer *buffer, pv_error *error);
void pv_cpu_free(pv_backend_device *device, pv_buffer *buffer);
pv_status pv_cpu_import(pv_backend_device *device, void *host, uint64_t bytes, pv_buffer *buffer, pv_error *error);
pv_status pv_cpu_write(pv_backend_device *device, const pv_buffer *buffer, uint64_t offset, const void *bytes, uint64_t length,
                       pv_error *error);
pv_status pv_cpu_read(pv_backend_device *device, const pv_buffer *buffer, uint64_t offset, void *bytes, uint64_t length, pv_error *error);

/* weights.c */
pv_status pv_cpu_weight_spec(const pv_backend_device *device, pv_layout layout, uint32_t rows, uint32_t cols, unsigned uses,
                             pv_weight_spec *spec, pv_error *error);
pv_status pv_cpu_upload(pv_backend_device *device, const pv_tensor *weight, uint32_t first, uint32_t count, const void *rows,
                        pv_error *error);

/* check.c: NULL, or what is wrong with an op. */
const char *pv_cpu_check(const pv_cpu_device *device, const pv_op *op);
bool pv_cpu_supports(const pv_backend_device *device, const pv_op *op);

/* submit.c */
pv_status pv_cpu_prepare(pv_backend_device *device, const pv_plan *plan, pv_prepared **prepared, pv_error *error);
void pv_cpu_release(pv_backend_device *device, pv_prepared *prepared);
pv_status pv_cpu_submit(pv_backend_device *device, const pv_submission *submission, pv_fence *fence, pv_error *error);
pv_status pv_cpu_wait(pv_backend_device *device, pv_fence fence, uint32_t timeout_ms, pv_error *error);

#endif
