#include "msl/strict.h"

#include "msl/errors.h"
#include "msl/preprocess.h"
#include "objc/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What one check needs. */
typedef struct sm_strict {
    const sm_cache *cache;
    sm_compiler clang;
    sm_unit unit;
    sm_arena arena;
    sm_placement *placements;
    sm_text source, said; /* said: the errors, a line each */
    const char *error;    /* one without a place in the text */
} sm_strict;

static void make_command(sm_strict *s, sm_command *command)
{
    sm_command_add(command, s->clang.path);
    sm_command_words(command, &s->arena,
                     "-x cl -cl-std=clc++2021 -cl-no-stdinc -target x86_64-linux-gnu -fsyntax-only -w -fbracket-depth=512 "
                     "-Xclang -cl-ext=-cl_khr_fp64,-__opencl_c_fp64,+cl_khr_fp16 -fno-caret-diagnostics -fno-color-diagnostics "
                     "-ferror-limit=200");
    sm_command_add(command, "-include");
    sm_command_add(command, sm_arena_printf(&s->arena, "%s/opencl_strict.h", s->cache->shim));
}

static bool compile(sm_strict *s, const sm_origin *origin, const sm_command *command, const sm_workspace *workspace)
{
    char path[PATH_MAX + 16];
    sm_process_result result;
    snprintf(path, sizeof path, "%s/strict.cl", workspace->path);
    if (!sm_file_write(path, s->source.bytes, s->source.length)) {
        s->error = sm_arena_printf(&s->arena, "%s cannot be written", path);
        return false;
    }
    bool ok = sm_command_run(command, workspace, &result);
    if (result.end == SM_PROCESS_EXITED && result.output.bytes && sm_only_noise(result.output.bytes)) ok = true;
    bool understood = !ok && result.end == SM_PROCESS_EXITED && result.output.bytes &&
                      sm_report_diagnostics(origin, result.output.bytes, &s->said);
    if (!ok && !understood) s->error = sm_command_failure(&s->arena, command, &result);
    sm_text_free(&result.output);
    return ok;
}

/* clang's opinion, from the cache if it was favourable before. */
static bool ask_clang(sm_strict *s, const sm_origin *origin)
{
    sm_generation generation = {.mode = SM_GENERATE_STRICT, .entry = SM_NO_TOKEN};
    sm_command command = {0};
    sm_workspace workspace;
    sm_text cached = {0};
    if (!sm_generate(&s->unit, &generation, &s->arena, &s->source, s->placements, &s->error)) return false;
    make_command(s, &command);
    sm_cache_key shim = sm_shim_key();
    sm_bytes parts[] = {{"strict 1", 8},
                        {s->clang.identity, strlen(s->clang.identity)},
                        {shim.text, sizeof shim.text},
                        {s->source.bytes, s->source.length}};
    sm_cache_key key = sm_cache_key_of(parts, sizeof parts / sizeof *parts);
    bool known = sm_cache_read(s->cache, &key, ".ok", &cached);
    sm_text_free(&cached);
    if (known) return true;
    sm_command_add(&command, "strict.cl");
    if (!sm_workspace_create(s->cache, &workspace, &s->arena, &s->error)) return false;
    bool ok = compile(s, origin, &command, &workspace);
    if (ok) sm_cache_write(s->cache, &workspace, &key, ".ok", "ok", 2);
    sm_workspace_destroy(&workspace);
    return ok;
}

bool sm_check_strict(const sm_cache *cache, const char *preprocessed, const char *text, const char *name, char **errors)
{
    sm_strict s = {.cache = cache};
    bool ok = sm_clang_find(&s.clang, &s.arena, &s.error);
    if (ok) {
        ok = sm_translate_strict(&s.unit, preprocessed, strlen(preprocessed), SM_SOURCE_FILE);
        s.placements = sm_allocate((s.unit.tokens.count + 1) * sizeof *s.placements);
        sm_origin origin = {.name = name, .text = text, .unit = &s.unit, .placements = s.placements, .opencl = true};
        sm_report_notes(&origin, &s.said);
        ok = ok && s.placements && ask_clang(&s, &origin) && s.unit.error_count == 0;
    }
    if (!ok) {
        if (!s.said.length) sm_text_printf(&s.said, "%s: error: %s\n", name, s.error ? s.error : "out of memory");
        *errors = sm_text_take(&s.said);
    }
    free(s.placements);
    sm_text_free(&s.source);
    sm_text_free(&s.said);
    sm_unit_free(&s.unit);
    sm_arena_free(&s.arena);
    return ok;
}

bool sm_msl_strict(const char *text, const sm_msl_options *options, char **errors)
{
    sm_arena arena = {0};
    sm_cache cache;
    sm_compiler clang;
    sm_text said = {0};
    const char *error = NULL, *name = options->name ? options->name : SM_SOURCE_FILE;
    char *preprocessed = NULL;
    *errors = NULL;
    bool ok = sm_cache_open(&cache, &arena, &error) && sm_clang_find(&clang, &arena, &error) &&
              sm_preprocess(&cache, &clang, text, options, &arena, &preprocessed, &error);
    if (ok) {
        ok = sm_check_strict(&cache, preprocessed, text, name, errors);
    } else {
        sm_origin origin = {.name = name, .text = text};
        if (!preprocessed || !sm_report_diagnostics(&origin, preprocessed, &said))
            sm_text_printf(&said, "%s: error: %s\n", name, error ? error : "out of memory");
        *errors = sm_text_take(&said);
    }
    free(preprocessed);
    sm_arena_free(&arena);
    return ok;
}
