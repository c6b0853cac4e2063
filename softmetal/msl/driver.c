#include "msl/driver.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool executable(const char *path)
{
    struct stat there;
    return stat(path, &there) == 0 && S_ISREG(there.st_mode) && access(path, X_OK) == 0;
}

static bool in_path(const char *name, char path[PATH_MAX])
{
    if (strchr(name, '/')) return realpath(name, path) && executable(path);
    const char *folders = getenv("PATH");
    if (!folders) folders = "/usr/local/bin:/usr/bin:/bin";
    while (*folders) {
        size_t length = strcspn(folders, ":");
        int written = snprintf(path, PATH_MAX, "%.*s/%s", (int)length, folders, name);
        if (length && written < PATH_MAX && executable(path)) return true;
        folders += length + (folders[length] == ':');
    }
    return false;
}

/* The name tells most of the time; else the compiler is asked, once. */
static bool is_clang(const char *path)
{
    const char *base = strrchr(path, '/');
    base = base ? base + 1 : path;
    if (strstr(base, "clang")) return true;
    if (strstr(base, "g++") || strstr(base, "gcc")) return false;
    const char *argv[] = {path, "--version", NULL};
    sm_process_result result;
    sm_process_run(argv, "/", 30, &result);
    bool clang = result.output.bytes && strstr(result.output.bytes, "clang");
    sm_text_free(&result.output);
    return clang;
}

static void identify(sm_compiler *compiler)
{
    struct stat there = {0};
    stat(compiler->path, &there); /* follows links */
    snprintf(compiler->identity, sizeof compiler->identity, "%s %lld %lld.%09ld", compiler->clang ? "clang" : "gcc",
             (long long)there.st_size, (long long)there.st_mtim.tv_sec, there.st_mtim.tv_nsec);
}

static bool find(sm_compiler *compiler, const char *const *names)
{
    for (; *names; names++) {
        if (!in_path(*names, compiler->path)) continue;
        compiler->clang = is_clang(compiler->path);
        identify(compiler);
        return true;
    }
    return false;
}

bool sm_compiler_find(sm_compiler *compiler, sm_arena *arena, const char **error)
{
    /* For 64-bit Arm g++ 12 has no half. */
#if defined(__aarch64__)
    static const char *const usual[] = {"clang++-19", "clang++", "g++", "c++", NULL};
#else
    static const char *const usual[] = {"g++", "clang++-19", "clang++", "c++", NULL};
#endif
    const char *own = getenv("SOFTMETAL_CXX");
    const char *const names[] = {own, NULL};
    if (find(compiler, own && own[0] ? names : usual)) return true;
    *error = own && own[0] ? sm_arena_printf(arena, "SOFTMETAL_CXX names '%s', which is no program that can be run", own)
                           : "no C++ compiler was found to compile MSL with: install g++ 12 or later (apt-get install g++), or "
                             "name one in SOFTMETAL_CXX";
    return false;
}

bool sm_clang_find(sm_compiler *compiler, sm_arena *arena, const char **error)
{
    static const char *const usual[] = {"clang-19", "clang-20", "clang-21", "clang-22", NULL};
    const char *own = getenv("SOFTMETAL_CLANG");
    const char *const names[] = {own, NULL};
    if (find(compiler, own && own[0] ? names : usual)) return true;
    *error = own && own[0] ? sm_arena_printf(arena, "SOFTMETAL_CLANG names '%s', which is no program that can be run", own)
                           : "the strict check needs clang 19 or later: install the package clang-19 (apt-get install "
                             "clang-19), or name it in SOFTMETAL_CLANG";
    return false;
}

void sm_command_add(sm_command *command, const char *argument)
{
    if (command->count + 1 >= sizeof command->list / sizeof *command->list)
        command->overflow = true;
    else
        command->list[command->count++] = argument;
}

void sm_command_words(sm_command *command, sm_arena *arena, const char *words)
{
    while (*words) {
        size_t length = strcspn(words, " ");
        if (length) sm_command_add(command, sm_arena_copy(arena, words, length));
        words += length + (words[length] == ' ');
    }
}

static const char *processor(const sm_compiler *compiler)
{
#if defined(__x86_64__)
    (void)compiler;
    __builtin_cpu_init();
    bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    return v3 ? "-march=x86-64-v3" : "";
#else
    return compiler->clang ? "" : "--param stack-clash-protection-guard-size=12"; /* else it counts on a guard of 64 KiB */
#endif
}

void sm_command_flavour(sm_command *command, sm_arena *arena, const sm_compiler *compiler, const sm_flavour *flavour)
{
    sm_command_words(
        command, arena,
        "-std=c++17 -O2 -g1 -w -fPIC -fvisibility=hidden -ffp-contract=off -fno-math-errno -fno-strict-aliasing -fwrapv "
        "-fno-exceptions -fno-rtti -fno-threadsafe-statics -fsigned-char");
    /* A loop without an end is one, and a frame larger than the guard behind a stack comes to that guard. */
    sm_command_words(command, arena, "-fno-finite-loops -fstack-clash-protection");
    sm_command_words(command, arena, processor(compiler));
    sm_command_words(command, arena,
                     compiler->clang ? "-Xclang -ffloat16-excess-precision=none -fbracket-depth=512 -fdebug-default-version=4"
                                     : "-fexcess-precision=16");
    /* -ffast-math by its parts: as a whole it would link code that switches denormals off for the host. */
    if (flavour->fast_math)
        sm_command_words(command, arena,
                         "-DSOFTMETAL_FAST_MATH -fno-signed-zeros -fno-trapping-math -fassociative-math -freciprocal-math "
                         "-ffinite-math-only");
    if (flavour->checked) sm_command_words(command, arena, "-DSOFTMETAL_CHECKED -fsanitize=thread -fno-optimize-sibling-calls");
    /* A place in the code is one line: what two branches have in common is not merged. Every load is told, also before a
     * store. */
    if (flavour->checked && compiler->clang) {
        sm_command_words(command, arena,
                         "-mllvm -tsan-instrument-func-entry-exit=0 -mllvm -tsan-instrument-atomics=1 "
                         "-mllvm -tsan-instrument-read-before-write=1");
        sm_command_words(command, arena,
                         "-mllvm -simplifycfg-sink-common=0 -mllvm -simplifycfg-hoist-common=0 -mllvm -enable-tail-merge=0");
    }
    if (flavour->checked && !compiler->clang)
        sm_command_words(command, arena, "--param tsan-instrument-func-entry-exit=0 -fno-tree-tail-merge -fno-crossjumping");
    if (flavour->jitter) sm_command_add(command, "-DSOFTMETAL_JITTER");
    if (flavour->no_bfloat) sm_command_add(command, "-DSOFTMETAL_NO_BFLOAT");
    if (flavour->no_simdgroup_matrix) sm_command_add(command, "-DSOFTMETAL_NO_SIMDGROUP_MATRIX");
}

static unsigned time_limit(void)
{
    const char *own = getenv("SOFTMETAL_COMPILE_TIMEOUT");
    long seconds = own ? strtol(own, NULL, 10) : 0;
    return seconds > 0 && seconds < 86400 ? (unsigned)seconds : 600;
}

bool sm_command_run(const sm_command *command, const sm_workspace *workspace, sm_process_result *result)
{
    if (command->overflow) {
        *result = (sm_process_result){.end = SM_PROCESS_NOT_STARTED, .code = E2BIG};
        return false;
    }
    const char *argv[sizeof command->list / sizeof *command->list + 1] = {0};
    memcpy(argv, command->list, command->count * sizeof *argv);
    sm_process_run(argv, workspace->path, time_limit(), result);
    return result->end == SM_PROCESS_EXITED && result->code == 0;
}

const char *sm_command_failure(sm_arena *arena, const sm_command *command, const sm_process_result *result)
{
    const char *program = command->list[0], *said = result->output.bytes ? result->output.bytes : "";
    switch (result->end) {
    case SM_PROCESS_TIMED_OUT:
        return sm_arena_printf(arena, "%s did not end within %u s (SOFTMETAL_COMPILE_TIMEOUT)", program, time_limit());
    case SM_PROCESS_SIGNALLED: return sm_arena_printf(arena, "%s was killed by signal %d", program, result->code);
    case SM_PROCESS_NOT_STARTED: return sm_arena_printf(arena, "%s cannot be started: %s", program, strerror(result->code));
    default:
        return sm_arena_printf(arena, "%s failed with status %d: %.*s", program, result->code, (int)strcspn(said, "\n"), said);
    }
}
