/* The C++ compiler: which one, how it is called, what it says. */
#ifndef SOFTMETAL_MSL_DRIVER_H
#define SOFTMETAL_MSL_DRIVER_H

#include "msl/cache.h"
#include "msl/process.h"

typedef struct sm_compiler {
    char path[PATH_MAX];
    bool clang;
    char identity[128]; /* changes when the compiler does */
} sm_compiler;

/* $SOFTMETAL_CXX (a path or a name), else g++, clang++-19, clang++, c++ from PATH. False: *error says what to install. */
bool sm_compiler_find(sm_compiler *compiler, sm_arena *arena, const char **error);
/* clang-19 for the strict check: $SOFTMETAL_CLANG, else clang-19 or a later one. */
bool sm_clang_find(sm_compiler *compiler, sm_arena *arena, const char **error);

/* A command line that grows. */
typedef struct sm_command {
    const char *list[256];
    size_t count;
    bool overflow;
} sm_command;

void sm_command_add(sm_command *command, const char *argument);
/* Each word of `words` (split at spaces). */
void sm_command_words(sm_command *command, sm_arena *arena, const char *words);
/* Adds what the language and the processor need: the same for a header compiled ahead and for the text that uses it. */
typedef struct sm_flavour {
    bool checked, fast_math, jitter, no_bfloat, no_simdgroup_matrix;
} sm_flavour;
void sm_command_flavour(sm_command *command, sm_arena *arena, const sm_compiler *compiler, const sm_flavour *flavour);
/* Runs it in the workspace: true if it exited with 0. The output is the caller's to free. */
bool sm_command_run(const sm_command *command, const sm_workspace *workspace, sm_process_result *result);
/* What to say of a compiler that failed without an error of its own: "killed by signal 11". */
const char *sm_command_failure(sm_arena *arena, const sm_command *command, const sm_process_result *result);

#endif
