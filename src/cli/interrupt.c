/* SIGINT is blocked in every thread and taken by one that waits for it, so that what it does may use locks:
 * pv_engine_cancel may be called from any thread, and from no signal handler. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "cli.h"

typedef enum reaction { EXITS, FLAGS, LISTENS, CANCELS } reaction;

static struct {
    pthread_mutex_t lock;
    reaction effect;
    int count;
    pv_engine *engine;
    pv_request_id request;
    int pipe[2];
} state = {.lock = PTHREAD_MUTEX_INITIALIZER, .pipe = {-1, -1}};

static void take(void)
{
    pthread_mutex_lock(&state.lock);
    state.count++;
    /* A second one while nothing listens: whatever runs does not end by itself. */
    bool exits = state.effect == EXITS || (state.effect == FLAGS && state.count > 1);
    if (exits) {
        cli_terminal_restore();
        _exit(CLI_INTERRUPTED);
    }
    if (state.effect == CANCELS) pv_engine_cancel(state.engine, state.request);
    if (state.pipe[1] >= 0 && write(state.pipe[1], "", 1) < 0) { /* full: it is readable anyway */
    }
    pthread_mutex_unlock(&state.lock);
}

/* Signals that end the program by default still do, once the terminal has its mode back. */
static const int endings[] = {SIGTERM, SIGHUP};

static void fill(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    for (size_t i = 0; i < CLI_COUNT(endings); i++) {
        struct sigaction action;
        if (sigaction(endings[i], NULL, &action) == 0 && action.sa_handler == SIG_DFL) sigaddset(set, endings[i]);
    }
}

static void end_by(int number)
{
    sigset_t set;
    cli_terminal_restore();
    sigemptyset(&set);
    sigaddset(&set, number);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    raise(number);
}

static void *wait_for_signals(void *unused)
{
    sigset_t set;
    fill(&set);
    for (;;) {
        int number = 0;
        if (sigwait(&set, &number) != 0) continue;
        if (number == SIGINT)
            take();
        else
            end_by(number);
    }
    return unused;
}

void cli_interrupt_start(void)
{
    sigset_t set;
    pthread_t thread;
    fill(&set);
    signal(SIGINT, SIG_DFL); /* a shell's background job inherits "ignored" */
    if (pipe(state.pipe) == 0)
        for (int i = 0; i < 2; i++) {
            fcntl(state.pipe[i], F_SETFD, FD_CLOEXEC);
            fcntl(state.pipe[i], F_SETFL, O_NONBLOCK);
        }
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0) return;
    if (pthread_create(&thread, NULL, wait_for_signals, NULL) == 0)
        pthread_detach(thread);
    else
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void set_effect(reaction effect, pv_engine *engine, pv_request_id request)
{
    pthread_mutex_lock(&state.lock);
    state.effect = effect;
    state.engine = engine;
    state.request = request;
    if (effect == CANCELS && state.count > 0) pv_engine_cancel(engine, request);
    pthread_mutex_unlock(&state.lock);
}

void cli_interrupt_exits(void)
{
    set_effect(EXITS, NULL, 0);
}

void cli_interrupt_flags(void)
{
    set_effect(FLAGS, NULL, 0);
}

void cli_interrupt_listens(void)
{
    set_effect(LISTENS, NULL, 0);
}

void cli_interrupt_cancels(pv_engine *engine, pv_request_id request)
{
    set_effect(CANCELS, engine, request);
}

int cli_interrupted(void)
{
    char drain[16];
    pthread_mutex_lock(&state.lock);
    int count = state.count;
    state.count = 0;
    while (state.pipe[0] >= 0 && read(state.pipe[0], drain, sizeof drain) > 0) {
    }
    pthread_mutex_unlock(&state.lock);
    return count;
}

int cli_interrupt_descriptor(void)
{
    return state.pipe[0];
}
