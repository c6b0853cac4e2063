#include "checker/checker.h"

#include <stdlib.h>
#include <sys/mman.h>

/* Zeroed, and there only where it is touched. */
static void *reserve(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory != MAP_FAILED ? memory : NULL;
}

static struct sm_shadow *shadow_of(sm_memory *memory)
{
    if (memory->shadow == NULL) memory->shadow = calloc(1, sizeof *memory->shadow);
    return memory->shadow;
}

bool sm_shadow_cells(sm_memory *memory, uint32_t granule_shift)
{
    struct sm_shadow *shadow = shadow_of(memory);
    if (shadow == NULL) return false;
    if (shadow->cells != NULL && shadow->granule_shift <= granule_shift) return true;
    if (shadow->cells != NULL) munmap(shadow->cells, shadow->cells_size);
    shadow->granule_shift = granule_shift;
    shadow->cells_size = ((memory->bytes >> granule_shift) + 1) * sizeof(sm_cell);
    shadow->cells = reserve(shadow->cells_size);
    return shadow->cells != NULL;
}

bool sm_shadow_marks(sm_memory *memory)
{
    struct sm_shadow *shadow = shadow_of(memory);
    if (shadow == NULL) return false;
    if (shadow->marks != NULL) return true;
    shadow->marks_size = (memory->bytes / SM_BLOCK + 1) * sizeof(sm_marks);
    shadow->marks = reserve(shadow->marks_size);
    return shadow->marks != NULL;
}

bool sm_shadow_written(sm_memory *memory)
{
    struct sm_shadow *shadow = shadow_of(memory);
    if (shadow == NULL) return false;
    if (shadow->written != NULL) return true;
    shadow->written_size = (memory->bytes / 64 + 1) * sizeof(uint64_t);
    shadow->written = reserve(shadow->written_size);
    return shadow->written != NULL;
}

void sm_check_forget(sm_memory *memory)
{
    struct sm_shadow *shadow = memory->shadow;
    if (shadow == NULL) return;
    if (shadow->cells != NULL) munmap(shadow->cells, shadow->cells_size);
    if (shadow->marks != NULL) munmap(shadow->marks, shadow->marks_size);
    if (shadow->written != NULL) munmap((void *)shadow->written, shadow->written_size);
    free(shadow);
    memory->shadow = NULL;
}

void sm_memory_written(sm_memory *memory, uint64_t offset, uint64_t bytes)
{
    if (!memory->poisoned || atomic_load(&sm_check_users) == 0 || offset >= memory->bytes || !sm_shadow_written(memory)) return;
    const uint64_t end = bytes < memory->bytes - offset ? offset + bytes : memory->bytes;
    for (uint64_t at = offset; at < end;) {
        const uint64_t in_word = at % 64, count = 64 - in_word < end - at ? 64 - in_word : end - at;
        const uint64_t bits = (count == 64 ? UINT64_MAX : ((uint64_t)1 << count) - 1) << in_word;
        atomic_fetch_or_explicit(&memory->shadow->written[at / 64], bits, memory_order_relaxed);
        at += count;
    }
}
