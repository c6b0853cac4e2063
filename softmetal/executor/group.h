/* The executor's inner calls: a worker, its fibers, its threadgroup memory, what it finds. */
#ifndef SOFTMETAL_EXECUTOR_GROUP_H
#define SOFTMETAL_EXECUTOR_GROUP_H

#include "executor/worker.h"

#define SM_CLOCK_END 0x7FFFu

extern const sm_services sm_executor_services;

static inline uint64_t sm_mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

/* executor.c: of the next threadgroup. */
uint64_t sm_executor_next_serial(void);

/* group.c: runs the threadgroup of that number. False if it was cut short: worker->crash says how. */
bool sm_group_run(sm_worker *worker, uint64_t index);
/* Called by a lane: ends the dispatch. */
_Noreturn void sm_group_end(sm_worker *worker, sm_end end);

/* worker.c */
sm_worker *sm_worker_create(sm_executor *executor, uint32_t number, const softmetal_world *world);
void sm_worker_destroy(sm_worker *worker);
/* What a fiber runs. */
void sm_fiber_main(void);
/* A fiber that begins to run lanes; NULL if there is no memory for its stack. */
sm_fiber *sm_fiber_idle(sm_worker *worker);
/* After a crash: what the fibers were doing is lost. */
void sm_fibers_forget(sm_worker *worker);
/* Is this in the guard in front of one of its stacks? */
bool sm_worker_overflowed(const sm_worker *worker, uintptr_t address);

/* threadgroup.c */
bool sm_threadgroup_create(sm_worker *worker, uint32_t limit);
void sm_threadgroup_destroy(sm_worker *worker);
bool sm_threadgroup_dispatch(sm_worker *worker); /* before the first threadgroup of a dispatch */
void sm_threadgroup_begin(sm_worker *worker);
void sm_threadgroup_end(sm_worker *worker);
void *sm_threadgroup_variable(uint32_t id, size_t size, size_t align, uint32_t line);
/* The slot that the address, or the guard behind it, belongs to; NULL if it is no threadgroup memory. */
sm_slot *sm_threadgroup_slot(sm_worker *worker, uintptr_t address);

/* memory.c: does the address lie in it, or in a guard of it? */
bool sm_memory_guards(const sm_memory *memory, uintptr_t address);

/* finding.c: of the running lane, with nothing else filled in. */
sm_finding sm_finding_new(const sm_worker *worker, softmetal_report_kind kind);
void sm_finding_add(sm_worker *worker, const sm_finding *finding);
void sm_findings_report(sm_worker *worker);
void sm_crash_report(sm_worker *worker);

/* checker/ */
bool sm_check_plan_create(sm_executor *executor);
bool sm_check_create(sm_worker *worker);
void sm_check_destroy(sm_worker *worker);
bool sm_check_begin(sm_executor *executor); /* before a dispatch; false if there is no memory */
void sm_check_share(sm_worker *worker);     /* before a worker's share of it */
void sm_check_variable(sm_worker *worker, uint32_t slot, uint32_t align);
void sm_check_counts(sm_worker *worker, softmetal_kernel_counts *counts);
void sm_check_end(sm_executor *executor);
void sm_check_order(sm_executor *executor);
void sm_check_forget(sm_memory *memory);
void sm_check_access(const void *address, size_t size, uint32_t kind, const void *pc);

#endif
