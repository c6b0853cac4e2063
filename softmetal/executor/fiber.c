#include "executor/fiber.h"

#include <stdint.h>
#include <string.h>

/* The words that sm_fiber_switch takes from a stack, and which of them is where to go on. */
#if defined(__x86_64__)
enum { FRAME_WORDS = 8, FRAME_ENTRY = 6 }; /* 6 registers, the address, a return address of nobody's */
#else
enum { FRAME_WORDS = 20, FRAME_ENTRY = 11 };
#endif

void *sm_fiber_prepare(void *top, void (*entry)(void))
{
    uint64_t *frame = (uint64_t *)top - FRAME_WORDS;
    memset(frame, 0, FRAME_WORDS * sizeof *frame);
    frame[FRAME_ENTRY] = (uint64_t)(uintptr_t)entry;
    return frame;
}
