/* A backend around a backend that injects faults, so that every backend is tested alike. */
#ifndef PV_RUNTIME_FAULT_H
#define PV_RUNTIME_FAULT_H

#include "backend/backend.h"

/* X(name, what the wrapper does) */
#define PV_FAULT_LIST(X)                                                                          \
    X(ALLOC)       /* alloc returns PV_DEVICE_OUT_OF_MEMORY */                                    \
    X(UPLOAD)      /* upload returns PV_DEVICE_TRANSIENT */                                       \
    X(PREPARE)     /* prepare returns PV_PROGRAM */                                               \
    X(PREPARE_MEMORY) /* prepare returns PV_OUT_OF_MEMORY */                                      \
    X(SUBMIT_MEMORY) /* submit returns PV_DEVICE_OUT_OF_MEMORY */                                 \
    X(TRANSIENT)   /* wait returns PV_DEVICE_TRANSIENT; the submission was run half or not at all */ \
    X(LOST)        /* wait returns PV_DEVICE_LOST, and so does every later call but close, free and release */ \
    X(HANG)        /* wait returns PV_TIMEOUT for ever on this device; close abandons */          \
    X(NON_FINITE)  /* the submission runs, then one row's output says PV_OUTPUT_NON_FINITE */

typedef enum pv_fault_kind {
#define PV_FAULT_ENUM(name) PV_FAULT_##name,
    PV_FAULT_LIST(PV_FAULT_ENUM)
#undef PV_FAULT_ENUM
    PV_FAULT_COUNT
} pv_fault_kind;

/* Injects `count` faults of a kind, the first at the nth call (from 1) of the function concerned, counted over all devices that
 * the wrapper opened. TRANSIENT, LOST, HANG and NON_FINITE count submissions, and the waits for that submission show them; what
 * is submitted behind a LOST or HANG one is not run. TRANSIENT in turn runs half of the first plan's ops, nothing, and the first
 * half of the plans. NON_FINITE hits the output with index `row`, or, with `slot` ≥ 0, every output of that slot; nothing is
 * injected if there is none. Several at one submission: the first of LOST, HANG, TRANSIENT, NON_FINITE. */
typedef struct pv_fault {
    pv_fault_kind kind;
    uint64_t nth, count;
    uint32_t row;
    int32_t slot;
} pv_fault;

typedef struct pv_fault_backend pv_fault_backend;

/* Wraps `inner`, which must outlive it. */
pv_status pv_fault_backend_create(const pv_allocator *allocator, const pv_backend *inner, pv_fault_backend **wrapper, pv_error *error);
void pv_fault_backend_destroy(pv_fault_backend *wrapper);
const pv_backend *pv_fault_backend_get(pv_fault_backend *wrapper);
/* Replaces the list of faults to come; counts start anew. At most 16. */
void pv_fault_backend_set(pv_fault_backend *wrapper, const pv_fault *faults, size_t count);
/* Faults injected so far since set. */
uint64_t pv_fault_backend_injected(const pv_fault_backend *wrapper);
/* Calls so far since set of the function that faults of this kind count: so a test knows which nth exist. */
uint64_t pv_fault_backend_calls(const pv_fault_backend *wrapper, pv_fault_kind kind);

#endif
