/* The experiment behind --device ane: prompts' dense blocks run as Core ML programs, on the Neural Engine where Core ML puts
 * them there; everything else, and every answer, runs on the CPU. The device is the CPU's with a few more programs: memory,
 * weights and cache are the CPU's own. It is never chosen by "auto". */
#ifndef PV_ANE_ANE_H
#define PV_ANE_ANE_H

#include "backend/ane/engine.h"
#include "backend/backend.h"

#define PV_ANE_LEAST_ROWS                                                                                                      \
    128 /* of a plan whose blocks become programs: with fewer, handing them over costs more than they do */

extern const pv_backend pv_ane_backend;

/* A backend that runs blocks by a stand-in: context of a pv_backend that is otherwise a copy of pv_ane_backend. */
typedef pv_status pv_ane_open_engine(const pv_allocator *allocator, pv_ane_engine *engine, pv_error *error);
typedef struct pv_ane_stand_in {
    pv_ane_open_engine *open;
} pv_ane_stand_in;

#endif
