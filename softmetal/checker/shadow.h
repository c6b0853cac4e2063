/* What the checker remembers of memory.
 *
 * An access is one word: the threadgroup's serial, the thread, the clock of its threadgroup, which bytes of the granule, and whether it was
 * atomic. A granule of 1, 2 or 4 bytes (the size of the variable's elements, 4 at most) has a cell: its last writer, and two readers that
 * differ as much as there were such. Memory that a dispatch only reads has no cells for it but marks: a bit a byte, for dispatches that
 * nothing orders. Memory of the device alone has a bit a byte that says it was written.
 *
 * Two accesses collide if their bytes overlap, one is a store, not both are atomic, and nothing orders them: they are of different
 * threads, and since the first neither a barrier with the right fence, nor, in one simdgroup, a meeting has come. */
#ifndef SOFTMETAL_CHECKER_SHADOW_H
#define SOFTMETAL_CHECKER_SHADOW_H

#include "executor/group.h"

#define SM_WORD_SERIAL_BITS 34
#define SM_WORD_SERIAL_SHIFT 30
#define SM_WORD_THREAD_SHIFT 20
#define SM_WORD_CLOCK_SHIFT 5
#define SM_WORD_MASK_SHIFT 1
#define SM_WORD_ATOMIC 1u
#define SM_SERIAL_MASK (((uint64_t)1 << SM_WORD_SERIAL_BITS) - 1)

static inline uint64_t sm_word_serial(uint64_t word) { return word >> SM_WORD_SERIAL_SHIFT; }
static inline uint32_t sm_word_thread(uint64_t word) { return (uint32_t)(word >> SM_WORD_THREAD_SHIFT) & (SM_MAX_THREADS - 1); }
static inline uint32_t sm_word_clock(uint64_t word) { return (uint32_t)(word >> SM_WORD_CLOCK_SHIFT) & SM_CLOCK_END; }
static inline uint64_t sm_word_mask(uint64_t word) { return word & 0xFu << SM_WORD_MASK_SHIFT; }

/* Several workers use a cell of device memory at once. A place in the code is its distance from the object's begin, or a line with
 * SM_PLACE_LINE. */
typedef struct sm_cell {
    _Atomic uint64_t writer, reader, other; /* 0: none */
    _Atomic uint32_t writer_place, reader_place, other_place;
    uint32_t unused;
} sm_cell;
#define SM_PLACE_LINE 0x80000000u

#define SM_BLOCK 4096u /* bytes that share an epoch */
typedef struct sm_marks {
    _Atomic uint64_t epoch;         /* that the bits are of; SM_BLOCK_BUSY while they are wiped */
    _Atomic uint64_t word;          /* of one of the reads */
    _Atomic uint32_t place;
    _Atomic uint64_t bits[SM_BLOCK / 64];
} sm_marks;
#define SM_BLOCK_BUSY UINT64_MAX

struct sm_shadow {
    sm_cell *cells;            /* NULL until a kernel may write to the memory */
    size_t cells_size;
    uint32_t granule_shift;
    sm_marks *marks;           /* NULL until a kernel only reads it */
    size_t marks_size;
    _Atomic uint64_t *written; /* a bit a byte; NULL where all is initialised */
    size_t written_size;
    uint64_t store_epoch, load_epoch; /* when cells and marks were last used */
    uint64_t epoch, epoch_serial;     /* of the last order of this memory alone */
};

/* Makes what is missing; false if there is no memory. Only between dispatches. */
bool sm_shadow_cells(sm_memory *memory, uint32_t granule_shift);
bool sm_shadow_marks(sm_memory *memory);
bool sm_shadow_written(sm_memory *memory);

#endif
