/* The CPU backend's workers. The caller of pv_cpu_team_run is worker 0; the others sleep while there is nothing to do. */
#ifndef PV_CPU_TEAM_H
#define PV_CPU_TEAM_H

#include "base/error.h"

typedef struct pv_cpu_team pv_cpu_team;

/* Starts workers − 1 threads. Errors: PV_OUT_OF_MEMORY, PV_INTERNAL (a thread does not start: the system's reason). */
pv_status pv_cpu_team_create(const pv_allocator *allocator, uint32_t workers, pv_cpu_team **team, pv_error *error);
/* Ends the threads. NULL does nothing. */
void pv_cpu_team_destroy(pv_cpu_team *team);
/* Runs `job` once on every worker and returns when all have returned. */
void pv_cpu_team_run(pv_cpu_team *team, void (*job)(void *user, uint32_t worker), void *user);
/* Inside a job: returns when all workers have called it. */
void pv_cpu_barrier(pv_cpu_team *team);

#endif
