#include "msl/preprocess.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What Apple's compiler defines and texts ask for. */
static void language(sm_command *command, sm_arena *arena, const sm_msl_options *options)
{
    uint32_t version = options->language_version ? options->language_version : (3u << 16 | 2);
    uint32_t number = (version >> 16) * 100 + (version & 0xffff) * 10;
    sm_command_words(command, arena,
                     "-D__METAL__=1 -D__METAL_MACOS__=1 -D__APPLE__=1 -D__AIR64__=1 -D__cpp_variable_templates=201304L");
    sm_command_add(command, sm_arena_printf(arena, "-D__METAL_VERSION__=%u", number));
    if (options->fast_math) sm_command_add(command, "-D__FAST_MATH__=1");
    if (number >= 310 && !options->world.no_bfloat) sm_command_add(command, "-D__HAVE_BFLOAT__=1");
    for (size_t i = 0; i < options->macro_count; i++) {
        const sm_macro *macro = &options->macros[i];
        sm_command_add(command, sm_arena_printf(arena, "-D%s=%s", macro->name, macro->value ? macro->value : ""));
    }
}

/* newLibraryWithSource: has no include path. Scripts that compile the files of others may give one: folders with colons
 * between. */
static const char *include_path(void)
{
    const char *folders = getenv("SOFTMETAL_INCLUDE");
    return folders && folders[0] ? folders : NULL;
}

static void includes(sm_command *command, sm_arena *arena, const sm_cache *cache)
{
    sm_command_add(command, "-nostdinc");
    const char *folders = include_path();
    while (folders && *folders) {
        size_t length = strcspn(folders, ":");
        /* The preprocessor runs elsewhere. */
        char *absolute = length ? realpath(sm_arena_copy(arena, folders, length), NULL) : NULL;
        if (absolute) sm_command_add(command, sm_arena_printf(arena, "-I%s", absolute));
        free(absolute);
        folders += length + (folders[length] == ':');
    }
    sm_command_add(command, "-isystem");
    sm_command_add(command, sm_arena_printf(arena, "%s/metal", cache->shim));
}

static sm_cache_key key_of(const sm_command *command, const sm_compiler *compiler, const char *text)
{
    sm_bytes parts[260];
    size_t count = 0;
    parts[count++] = (sm_bytes){"preprocess 2", 12};
    parts[count++] = (sm_bytes){compiler->identity, strlen(compiler->identity)};
    for (size_t i = 1; i < command->count; i++) parts[count++] = (sm_bytes){command->list[i], strlen(command->list[i])};
    parts[count++] = (sm_bytes){text, strlen(text)};
    return sm_cache_key_of(parts, count);
}

static bool allowed(const sm_cache *cache, const char *path, size_t length)
{
    size_t shim = strlen(cache->shim);
    return (length > shim && memcmp(path, cache->shim, shim) == 0) || include_path() || length == 0 || path[0] == '<';
}

/* A file that was found all the same, by a path of its own: as if it had not been. `made` is what the preprocessor wrote. */
static bool refuse_files(const sm_cache *cache, const char *made, const char *text, sm_text *said)
{
    unsigned line = 1, marked;
    int length = 0, flag;
    for (const char *at = made; *at; at += strcspn(at, "\n"), at += *at == '\n', line++, length = 0) {
        if (sscanf(at, "# %u \"%n", &marked, &length) != 1 || length == 0) continue;
        const char *path = at + length, *end = path + strcspn(path, "\"\n");
        if (sscanf(end, "\" %d", &flag) == 1 && flag == 1 && !allowed(cache, path, (size_t)(end - path))) {
            /* `line` is that of the #include: the marker stands where the directive stood. */
            const char *directive = text;
            for (unsigned i = 1; i < line && *directive; i++)
                directive += strcspn(directive, "\n"), directive += *directive == '\n';
            size_t column = strcspn(directive, "\"<\n") + 1;
            sm_text_printf(said, SM_SOURCE_FILE ":%u:%zu: fatal error: '%.*s' file not found\n", line, column,
                           (int)(end - path), path);
            return true;
        }
        line = marked - 1;
    }
    return false;
}

static bool run(const sm_cache *cache, sm_command *command, const sm_cache_key *key, const char *text, sm_arena *arena,
                char **output, const char **error)
{
    sm_workspace workspace;
    sm_text input = {0}, made = {0}, said = {0};
    sm_process_result result = {0};
    char path[PATH_MAX + 16];
    if (!sm_workspace_create(cache, &workspace, arena, error)) return false;
    sm_text_printf(&input, "#line 1 \"" SM_SOURCE_FILE "\"\n%s\n", text);
    snprintf(path, sizeof path, "%s/text.metal", workspace.path);
    bool ok = !input.failed && sm_file_write(path, input.bytes, input.length);
    if (!ok) *error = sm_arena_printf(arena, "%s cannot be written", path);
    sm_command_words(command, arena, "-x c++ text.metal -o text.ii");
    ok = ok && sm_command_run(command, &workspace, &result);
    snprintf(path, sizeof path, "%s/text.ii", workspace.path);
    if (ok && sm_file_read(path, &made) && refuse_files(cache, made.bytes, text, &said)) {
        ok = false;
        *error = "a file outside of the text";
        *output = sm_text_take(&said);
    } else if (ok && made.length) {
        if (!include_path()) sm_cache_write(cache, &workspace, key, ".ii", made.bytes, made.length);
        *output = sm_text_take(&made);
    } else if (!*error) {
        ok = false;
        *error = sm_command_failure(arena, command, &result);
        *output = sm_text_take(&result.output);
    }
    sm_text_free(&made);
    sm_text_free(&input);
    sm_text_free(&said);
    sm_text_free(&result.output);
    sm_workspace_destroy(&workspace);
    return ok;
}

bool sm_preprocess(const sm_cache *cache, const sm_compiler *compiler, const char *text, const sm_msl_options *options,
                   sm_arena *arena, char **output, const char **error)
{
    sm_command command = {0};
    sm_text cached = {0};
    *output = NULL;
    *error = NULL;
    sm_command_add(&command, compiler->path);
    sm_command_words(&command, arena, "-E -std=c++17 -undef -w");
    sm_command_words(&command, arena,
                     compiler->clang ? "-fno-caret-diagnostics -fno-color-diagnostics"
                                     : "-fno-diagnostics-show-caret -fdiagnostics-column-unit=byte");
    language(&command, arena, options);
    includes(&command, arena, cache);
    sm_cache_key key = key_of(&command, compiler, text);
    if (!include_path() && sm_cache_read(cache, &key, ".ii", &cached)) {
        *output = sm_text_take(&cached);
        return *output != NULL;
    }
    sm_text_free(&cached);
    return run(cache, &command, &key, text, arena, output, error);
}
