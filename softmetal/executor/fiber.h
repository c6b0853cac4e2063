/* Switching of stacks, and what the sanitizers want to be told about it.
 *
 * A fiber is a stack and the place where it was left. Registers that calls preserve are kept on its stack; the floating-point control
 * word is the OS thread's, and the same for all of its fibers. */
#ifndef SOFTMETAL_EXECUTOR_FIBER_H
#define SOFTMETAL_EXECUTOR_FIBER_H

#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define SM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SM_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define SM_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SM_TSAN 1
#endif
#endif

#if defined(SM_ASAN) || defined(SM_TSAN)
#define SM_SANITIZED 1
#endif

typedef struct sm_fiber {
    void *sp; /* where it was left; valid while it does not run */
#ifdef SM_ASAN
    void *fake;         /* ASan's stack of this fiber */
    const void *bottom; /* of the stack; found out for an OS thread's own */
    size_t size;
#endif
#ifdef SM_TSAN
    void *tsan;
#endif
} sm_fiber;

/* Leaves at *save, goes on at `to`. */
void sm_fiber_switch(void **save, void *to);
/* Where a fiber that was left goes on, with its `sp` as the stack pointer: for a signal's handler. */
extern const char sm_fiber_resume[];
/* The `sp` of a fiber that has not run, and begins with `entry`, which must not return. `top` is aligned to 16. */
void *sm_fiber_prepare(void *top, void (*entry)(void));

/* `from` is the fiber that runs. */
static inline void sm_fiber_go(sm_fiber *from, sm_fiber *to);
/* The first thing a fiber does when it goes on, or begins: `from` is the fiber that was left for it, or NULL. */
static inline void sm_fiber_arrived(sm_fiber *self, sm_fiber *from);

/* The same after a signal's handler has put this thread back to where `self` was left. */
static inline void sm_fiber_thrown(sm_fiber *self);

#ifdef SM_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef SM_TSAN
#include <sanitizer/tsan_interface.h>
#endif

static inline void sm_fiber_go(sm_fiber *from, sm_fiber *to)
{
#ifdef SM_ASAN
    __sanitizer_start_switch_fiber(&from->fake, to->bottom, to->size);
#endif
#ifdef SM_TSAN
    from->tsan = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(to->tsan, 0);
#endif
    sm_fiber_switch(&from->sp, to->sp);
}

static inline void sm_fiber_thrown(sm_fiber *self)
{
#ifdef SM_ASAN
    __sanitizer_start_switch_fiber(NULL, self->bottom, self->size);
#endif
#ifdef SM_TSAN
    __tsan_switch_to_fiber(self->tsan, 0);
#endif
    (void)self;
}

static inline void sm_fiber_arrived(sm_fiber *self, sm_fiber *from)
{
#ifdef SM_ASAN
    const void *bottom = NULL;
    size_t size = 0;
    __sanitizer_finish_switch_fiber(self->fake, &bottom, &size);
    if (from != NULL) from->bottom = bottom, from->size = size;
#endif
    (void)self, (void)from;
}

#endif
