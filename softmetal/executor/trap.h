/* Crashes of kernels, touches of closed buffers, and kernels that do not end. */
#ifndef SOFTMETAL_EXECUTOR_TRAP_H
#define SOFTMETAL_EXECUTOR_TRAP_H

#include "executor/worker.h"

/* Handlers of SIGSEGV, SIGBUS, SIGFPE and SIGILL, in front of those that were there: in place while somebody uses them. */
void sm_traps_use(void);
void sm_traps_release(void);
/* Goes in front of handlers that the host has made since. */
void sm_traps_look(void);
/* Gives the calling thread a stack for handlers, if it has none: a fiber's may be what has overflowed. False if there is no memory. */
bool sm_traps_thread(void);

/* memory.c: if the address is in a view that is closed to the CPU, opens it and notes the touch. Called by the handler. */
bool sm_memory_touched(uintptr_t address);
/* Makes reports of the touches so far. */
void sm_memory_report_touches(void);

/* guard.c: looks after the executor's dispatches from `begin` to `end`. False if its thread cannot be made. */
bool sm_guard_add(sm_executor *executor);
void sm_guard_remove(sm_executor *executor);
void sm_guard_begin(sm_executor *executor);
void sm_guard_end(sm_executor *executor);
/* Makes the worker's thread end its kernel, by a signal; its handler does nothing if the kernel has ended meanwhile. */
void sm_trap_interrupt(sm_worker *worker, pthread_t thread, sm_end end);

#endif
