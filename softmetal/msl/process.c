#include "msl/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OUTPUT_LIMIT (4 << 20)

extern char **environ;

/* The messages are read by us, so they are in English; what would add include paths or options behind our back is left out. */
static bool kept(const char *variable)
{
    static const char *const dropped[] = {
        "LC_", "LANG", "TMPDIR=", "CPATH=", "C_INCLUDE_PATH=", "CPLUS_INCLUDE_PATH=", "GCC_COLORS=", "GCC_EXEC_PREFIX=",
        "COMPILER_PATH=", "LIBRARY_PATH=", "DEPENDENCIES_OUTPUT=", "SUNPRO_DEPENDENCIES=", "LD_PRELOAD=",
    };
    for (size_t i = 0; i < sizeof dropped / sizeof *dropped; i++) {
        if (strncmp(variable, dropped[i], strlen(dropped[i])) == 0) return false;
    }
    return true;
}

static char **environment(const char *directory, sm_arena *arena)
{
    size_t count = 0, used = 0;
    while (environ && environ[count]) count++;
    char **list = sm_arena_alloc(arena, (count + 3) * sizeof *list);
    if (!list) return NULL;
    for (size_t i = 0; i < count; i++) {
        if (kept(environ[i])) list[used++] = environ[i];
    }
    list[used++] = (char *)sm_arena_printf(arena, "LC_ALL=C");
    list[used++] = (char *)sm_arena_printf(arena, "TMPDIR=%s", directory);
    return list;
}

/* The child leads a process group, so that what it started ends with it. */
static int spawn(const char *const *argv, const char *directory, int output, pid_t *child)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sm_arena arena = {0};
    sigset_t none, usual;
    sigemptyset(&none);
    sigemptyset(&usual);
    sigaddset(&usual, SIGPIPE);
    sigaddset(&usual, SIGCHLD);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, 1);
    posix_spawn_file_actions_adddup2(&actions, output, 2);
    posix_spawn_file_actions_addchdir_np(&actions, directory);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigdefault(&attributes, &usual);
    posix_spawnattr_setsigmask(&attributes, &none);
    char **variables = environment(directory, &arena);
    int error = variables ? posix_spawn(child, argv[0], &actions, &attributes, (char *const *)argv, variables) : ENOMEM;
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    sm_arena_free(&arena);
    return error;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Reads until the other end is closed; false if the time is up. */
static bool drain(int descriptor, int64_t deadline, sm_text *output)
{
    for (;;) {
        int64_t left = deadline - now_ms();
        if (left <= 0) return false;
        struct pollfd poller = {descriptor, POLLIN, 0};
        int ready = poll(&poller, 1, (int)left);
        if (ready < 0 && errno != EINTR) return true;
        if (ready <= 0) continue;
        char bytes[16384];
        ssize_t got = read(descriptor, bytes, sizeof bytes);
        if (got == 0 || (got < 0 && errno != EINTR)) return true;
        if (got > 0 && output->length < OUTPUT_LIMIT) sm_text_add(output, bytes, (size_t)got);
    }
}

static void wait_for(pid_t child, sm_process_result *result)
{
    int status = 0;
    pid_t ended;
    do {
        ended = waitpid(child, &status, 0);
    } while (ended < 0 && errno == EINTR);
    if (result->end == SM_PROCESS_TIMED_OUT) return;
    if (ended < 0) { /* a host that ignores SIGCHLD: the system kept no status; what was made tells */
        result->end = SM_PROCESS_EXITED;
        result->code = 0;
    } else if (WIFEXITED(status)) {
        result->end = SM_PROCESS_EXITED;
        result->code = WEXITSTATUS(status);
    } else {
        result->end = SM_PROCESS_SIGNALLED;
        result->code = WTERMSIG(status);
    }
}

void sm_process_run(const char *const *argv, const char *directory, unsigned seconds, sm_process_result *result)
{
    int pipes[2];
    pid_t child = -1;
    *result = (sm_process_result){.end = SM_PROCESS_NOT_STARTED};
    if (pipe2(pipes, O_CLOEXEC) != 0) {
        result->code = errno;
        return;
    }
    result->code = spawn(argv, directory, pipes[1], &child);
    close(pipes[1]);
    if (result->code == 0) {
        if (!drain(pipes[0], now_ms() + (int64_t)seconds * 1000, &result->output)) {
            result->end = SM_PROCESS_TIMED_OUT;
            kill(-child, SIGKILL);
            kill(child, SIGKILL);
        }
        wait_for(child, result);
    }
    close(pipes[0]);
}
