#include "executor/group.h"

bool sm_check_create(sm_worker *worker)
{
    (void)worker;
    return true;
}

void sm_check_destroy(sm_worker *worker) { (void)worker; }

void sm_check_forget(sm_memory *memory) { (void)memory; }

void sm_check_access(const void *address, size_t size, uint32_t kind, const void *pc) { (void)address, (void)size, (void)kind, (void)pc; }

void sm_memory_written(sm_memory *memory, uint64_t offset, uint64_t bytes) { (void)memory, (void)offset, (void)bytes; }
