#include "msl/precompiled.h"

#include "msl/headers.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const char *suffix(const sm_compiler *compiler)
{
    return compiler->clang ? ".pch" : ".gch";
}

static void make(const sm_cache *cache, const sm_command *flavoured, const char *header, const char *compiled, sm_arena *arena)
{
    sm_workspace workspace;
    sm_process_result result;
    const char *error;
    sm_command command = *flavoured;
    if (!sm_workspace_create(cache, &workspace, arena, &error)) return;
    const char *made = sm_arena_printf(arena, "%s/prelude", workspace.path);
    sm_command_words(&command, arena, "-x c++-header");
    sm_command_add(&command, sm_arena_printf(arena, "-I%s", cache->shim));
    sm_command_add(&command, header);
    sm_command_add(&command, "-o");
    sm_command_add(&command, made);
    if (sm_command_run(&command, &workspace, &result)) rename(made, compiled);
    sm_text_free(&result.output);
    sm_workspace_destroy(&workspace);
}

const char *sm_precompiled(const sm_cache *cache, const sm_compiler *compiler, const sm_flavour *flavour, sm_arena *arena)
{
    sm_command command = {0};
    sm_bytes parts[128] = {{compiler->identity, strlen(compiler->identity)}};
    size_t count = 1;
    sm_command_add(&command, compiler->path);
    sm_command_flavour(&command, arena, compiler, flavour);
    for (size_t i = 0; i < command.count && count < sizeof parts / sizeof *parts; i++)
        parts[count++] = (sm_bytes){command.list[i], strlen(command.list[i])};
    sm_cache_key key = sm_cache_key_of(parts, count);
    const char *header = sm_arena_printf(arena, "%s/prelude-%.16s.h", cache->shim, key.text);
    const char *compiled = sm_arena_printf(arena, "%s%s", header, suffix(compiler));
    if (access(compiled, R_OK) == 0 && access(header, R_OK) == 0) return header;
    pthread_mutex_lock(&lock);
    if (access(header, R_OK) != 0) sm_file_write(header, sm_prelude, strlen(sm_prelude));
    if (access(compiled, R_OK) != 0) make(cache, &command, header, compiled, arena);
    pthread_mutex_unlock(&lock);
    return header;
}

bool sm_precompiled_discard(const sm_compiler *compiler, const char *header)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s%s", header, suffix(compiler));
    return unlink(path) == 0;
}
