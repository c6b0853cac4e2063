/* Objects that are still alive, by class. */
#include "executor/executor.h"
#include "objc/runtime.h"

#include <inttypes.h>

static uint64_t report_class(Class class)
{
    uint64_t live = atomic_load_explicit(&class->live, memory_order_relaxed);
    if (live > 0)
        sm_reportf(SOFTMETAL_LEAK, "%s: %" PRIu64 " object%s still alive", class->name, live, live == 1 ? " is" : "s are");
    return live;
}

/* The Metal part's: its threads may be about to let go of something. */
void sm_wait_settled(void) __attribute__((weak));

size_t softmetal_check_leaks(void)
{
    if (sm_wait_settled) sm_wait_settled();
    uint64_t live = 0;
    for (size_t i = 0; i < sm_class_count(); i++) live += report_class(sm_class_at(i));
    return live;
}
