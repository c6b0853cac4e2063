#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "executor/image.h"
#include "executor/group.h"
#include "executor/trap.h"

static const int signals[] = {
    SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT,
#if defined(__aarch64__)
    SIGTRAP, /* what compilers make of unreachable code */
#endif
};
#define SIGNALS (sizeof signals / sizeof *signals)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction at_first[SIGNALS]; /* the handlers when ours were put in place */
static struct sigaction before[SIGNALS];   /* those that ours are in front of now */
static int users;
static const char interruption; /* its address marks our own signals */
static atomic_uint sent, arrived;

static uintptr_t *program_counter(ucontext_t *context)
{
#if defined(__x86_64__)
    return (uintptr_t *)&context->uc_mcontext.gregs[REG_RIP];
#else
    return (uintptr_t *)&context->uc_mcontext.pc;
#endif
}

static uintptr_t *stack_pointer(ucontext_t *context)
{
#if defined(__x86_64__)
    return (uintptr_t *)&context->uc_mcontext.gregs[REG_RSP];
#else
    return (uintptr_t *)&context->uc_mcontext.sp;
#endif
}

/* Where in the kernel's object: a crash inside of a library's function is its caller's, who is somewhere near on the stack. */
static uintptr_t find_pc(const sm_worker *worker, ucontext_t *context)
{
    const sm_image *image = worker->job->image;
    uintptr_t pc = *program_counter(context);
    if (sm_image_holds(image, pc)) return pc;
#if defined(__aarch64__)
    pc = (uintptr_t)context->uc_mcontext.regs[30];
    if (sm_image_holds(image, pc)) return pc - 1;
#endif
    const uintptr_t *word = (const uintptr_t *)(*stack_pointer(context) & ~(uintptr_t)7);
    const uintptr_t first = (uintptr_t)worker->stacks, end = (uintptr_t)worker->region + worker->region_size;
    for (int i = 0; i < 512 && (uintptr_t)word >= first && (uintptr_t)(word + 1) <= end; i++, word++) {
        if (sm_worker_overflowed(worker, (uintptr_t)word)) break;
        if (sm_image_holds_code(image, *word)) return *word - 1;
    }
    return 0;
}

/* Lets the thread go on in the worker's main fiber. */
static void throw_to_main(sm_worker *worker, ucontext_t *context)
{
    worker->thrown = true;
    *program_counter(context) = (uintptr_t)sm_fiber_resume;
    *stack_pointer(context) = (uintptr_t)worker->main.sp;
#if defined(__x86_64__)
    context->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)0x400; /* direction */
#endif
}

static void interrupted(sm_worker *worker, ucontext_t *context)
{
    if (worker == NULL || !atomic_load_explicit(&worker->running, memory_order_relaxed)) return;
    const int end = atomic_load(&worker->interrupt);
    /* Inside of the executor, or of another library, it might hold a lock: the guard asks again. */
    if (end == SM_END_NONE || !sm_image_holds_code(worker->job->image, *program_counter(context))) return;
    worker->crash = (sm_crash){.end = (sm_end)end, .pc = *program_counter(context), .lane = worker->lane};
    throw_to_main(worker, context);
}

/* As if ours had not been there. A handler that the host put in front of ours, before ours went in front of it, may call ours
 * as the one before it: the second time it is the turn of the handlers that were there at first. */
static void pass_on(int number, siginfo_t *info, void *context)
{
    static __thread void *passing;
    static __thread char *frame;
    char here;
    size_t i = 0;
    while (signals[i] != number) i++;
    const bool again = passing == context && (uintptr_t)&here < (uintptr_t)frame;
    passing = context;
    frame = &here;
    const struct sigaction *old = again ? &at_first[i] : &before[i];
    if (old->sa_flags & SA_SIGINFO) {
        old->sa_sigaction(number, info, context);
    } else if (old->sa_handler == SIG_DFL || old->sa_handler == SIG_IGN) {
        sigaction(number, old, NULL);
        if (info->si_code <= 0) raise(number); /* sent by somebody: it does not come again by itself */
    } else {
        old->sa_handler(number);
    }
}

static void handle(int number, siginfo_t *info, void *raw)
{
    sm_worker *worker = sm_current;
    ucontext_t *context = raw;
    const uintptr_t address = (uintptr_t)info->si_addr;
    if (info->si_code == SI_QUEUE && info->si_value.sival_ptr == &interruption) {
        atomic_fetch_add(&arrived, 1);
        interrupted(worker, context);
        return;
    }
    if (number == SIGSEGV && info->si_code == SEGV_ACCERR && sm_memory_touched(address)) return;
    const bool aborts = number == SIGABRT && info->si_code == SI_TKILL; /* a signal that is sent, but by the kernel itself */
    if ((info->si_code <= 0 && !aborts) || worker == NULL || !atomic_load_explicit(&worker->running, memory_order_relaxed)) {
        pass_on(number, info, raw);
        return;
    }
    worker->crash = (sm_crash){SM_END_SIGNAL, number, address, find_pc(worker, context), worker->lane};
    throw_to_main(worker, context);
}

static bool in_front(int number)
{
    struct sigaction now;
    return sigaction(number, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) && now.sa_sigaction == handle;
}

/* Puts ours in front of those that are there. */
static void put_in_front(void)
{
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < SIGNALS; i++)
        if (!in_front(signals[i])) sigaction(signals[i], &action, &before[i]);
}

void sm_traps_use(void)
{
    pthread_mutex_lock(&lock);
    if (users++ == 0) {
        put_in_front();
        memcpy(at_first, before, sizeof at_first);
    }
    pthread_mutex_unlock(&lock);
}

void sm_traps_look(void)
{
    if (in_front(SIGSEGV)) return;
    pthread_mutex_lock(&lock);
    if (users > 0) put_in_front();
    pthread_mutex_unlock(&lock);
}

void sm_traps_release(void)
{
    pthread_mutex_lock(&lock);
    /* A signal of ours that is still on its way would be the host's. */
    for (int i = 0; users == 1 && i < 1000 && atomic_load(&sent) != atomic_load(&arrived); i++) usleep(1000);
    if (--users == 0) {
        /* One that the host has put in front of ours since is left alone. */
        for (size_t i = 0; i < SIGNALS; i++)
            if (in_front(signals[i])) sigaction(signals[i], &before[i], NULL);
    }
    pthread_mutex_unlock(&lock);
}

/* ---- The handlers' stack ------------------------------------------------------------------------------------------- */

#define HANDLER_STACK (64u << 10)

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static __thread void *handler_stack;

static void drop_stack(void *stack)
{
    const stack_t none = {.ss_flags = SS_DISABLE};
    stack_t now;
    if (sigaltstack(NULL, &now) == 0 && now.ss_sp == stack) sigaltstack(&none, NULL);
    munmap(stack, HANDLER_STACK);
}

static void make_key(void)
{
    pthread_key_create(&key, drop_stack);
}

bool sm_traps_thread(void)
{
    if (handler_stack != NULL) return true;
    stack_t now;
    if (sigaltstack(NULL, &now) == 0 && !(now.ss_flags & SS_DISABLE)) return true;
    pthread_once(&once, make_key);
    void *stack = mmap(NULL, HANDLER_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED) return false;
    const stack_t use = {.ss_sp = stack, .ss_size = HANDLER_STACK};
    if (sigaltstack(&use, NULL) != 0 || pthread_setspecific(key, stack) != 0) {
        munmap(stack, HANDLER_STACK);
        return false;
    }
    handler_stack = stack;
    return true;
}

void sm_trap_interrupt(sm_worker *worker, pthread_t thread, sm_end end)
{
    atomic_store(&worker->interrupt, (int)end);
    if (pthread_sigqueue(thread, SIGSEGV, (union sigval){.sival_ptr = (void *)(uintptr_t)&interruption}) == 0)
        atomic_fetch_add(&sent, 1);
}
