#include "executor/executor.h"
#include "msl/build.h"
#include "executor/executor.h"
#include "msl/errors.h"
#include "msl/preprocess.h"
#include "msl/strict.h"
#include "objc/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "name: error: message" */
static char *plain_error(const sm_msl_library *library, const char *message)
{
    sm_text text = {0};
    sm_text_printf(&text, "%s: error: %s\n", library->name, message ? message : "out of memory");
    return sm_text_take(&text);
}

static bool copy_options(sm_msl_library *library, const sm_msl_options *options)
{
    sm_arena *arena = &library->arena;
    const char *name = options->name ? options->name : SM_SOURCE_FILE;
    library->name = sm_arena_copy(arena, name, strlen(name));
    library->options = *options;
    library->options.world.device_name = NULL;
    sm_macro *macros = sm_arena_alloc(arena, options->macro_count * sizeof *macros + 1);
    if (!macros) return false;
    for (size_t i = 0; i < options->macro_count; i++) {
        macros[i].name = sm_arena_copy(arena, options->macros[i].name, strlen(options->macros[i].name));
        macros[i].value =
            options->macros[i].value ? sm_arena_copy(arena, options->macros[i].value, strlen(options->macros[i].value)) : NULL;
    }
    library->options.macros = macros;
    library->options.name = library->name;
    return !arena->failed;
}

static sm_origin origin_of(const sm_msl_library *library, const sm_placement *placements)
{
    return (sm_origin){.name = library->name, .text = library->text, .unit = &library->unit, .placements = placements};
}

/* Preprocesses and translates; false with *errors. */
static bool read_text(sm_msl_library *library, char **errors)
{
    const char *error = NULL;
    sm_text out = {0};
    bool ok = sm_cache_open(&library->cache, &library->arena, &error) &&
              sm_compiler_find(&library->compiler, &library->arena, &error);
    if (!ok) {
        *errors = plain_error(library, error);
        return false;
    }
    ok = sm_preprocess(&library->cache, &library->compiler, library->text, &library->options, &library->arena,
                       &library->preprocessed, &error);
    sm_origin origin = origin_of(library, NULL);
    if (!ok) {
        origin.unit = NULL;
        bool understood = library->preprocessed && sm_report_diagnostics(&origin, library->preprocessed, &out);
        if (understood)
            *errors = sm_text_take(&out);
        else
            *errors = plain_error(library, error);
        sm_text_free(&out);
        return false;
    }
    if (sm_translate(&library->unit, library->preprocessed, strlen(library->preprocessed), SM_SOURCE_FILE)) return true;
    sm_report_notes(&origin, &out);
    if (out.length && !out.failed)
        *errors = sm_text_take(&out);
    else
        *errors = plain_error(library, NULL);
    sm_text_free(&out);
    return false;
}

/* What is taken, and may not mean what it seems to: a report each. */
static void report_warnings(const sm_msl_library *library)
{
    sm_origin origin = origin_of(library, NULL);
    sm_text out = {0};
    sm_report_notes(&origin, &out);
    char *rest = NULL;
    for (char *line = out.bytes ? strtok_r(out.bytes, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
        sm_reportf(SOFTMETAL_STRICT, "%s", line);
    sm_text_free(&out);
}

static bool list_functions(sm_msl_library *library)
{
    const sm_unit *unit = &library->unit;
    library->functions = sm_arena_alloc(&library->arena, (unit->entry_count + 1) * sizeof *library->functions);
    bool *used = sm_arena_alloc(&library->arena, unit->constant_count + 1);
    if (!library->functions || !used) return false;
    for (uint32_t i = 0; i < unit->entry_count; i++) {
        const sm_entry *entry = &unit->entries[i];
        memset(used, 0, unit->constant_count);
        uint32_t count = sm_used_constants(unit, i, used);
        sm_constant_info *constants = sm_arena_alloc(&library->arena, (count + 1) * sizeof *constants);
        if (!constants) return false;
        for (uint32_t c = 0, k = 0; c < unit->constant_count; c++) {
            if (used[c]) constants[k++] = unit->constants[c].info;
        }
        library->functions[i] = (sm_function_info){
            .name = entry->name,
            .line = unit->tokens.list[unit->declarations[entry->declaration].name].line,
            .constants = constants,
            .constant_count = count,
        };
    }
    return true;
}

/* What a strict world refuses is a report besides, for hosts that answer an error by going another way. It tells the first
 * error. */
static bool strict_or_report(sm_msl_library *library, char **errors)
{
    if (sm_check_strict(&library->cache, library->preprocessed, library->text, library->name, errors)) return true;
    const char *name = library->name, *place = *errors ? strstr(*errors, ": error: ") : NULL;
    size_t length = strlen(name);
    if (!place || strncmp(*errors, name, length) != 0 || (*errors)[length] != ':') return false;
    char *message = sm_copy_bytes(*errors, strcspn(*errors, "\n"));
    softmetal_report report = {.kind = SOFTMETAL_STRICT,
                               .message = message ? message : "",
                               .thread = -1,
                               .other_thread = -1,
                               .threadgroup = -1,
                               .other_threadgroup = -1,
                               .count = 1,
                               .line = (uint32_t)strtoul(*errors + length + 1, NULL, 10)};
    if (report.line) sm_report(&report);
    free(message);
    return false;
}

sm_msl_library *sm_msl_library_create(const char *text, const sm_msl_options *options, char **errors)
{
    *errors = NULL;
    sm_msl_library *library = sm_allocate(sizeof *library);
    if (!library) return NULL;
    if (strncmp(text, "\xEF\xBB\xBF", 3) == 0) text += 3; /* a byte order mark */
    library->text = sm_arena_copy(&library->arena, text, strlen(text));
    bool ok = copy_options(library, options);
    if (!ok) *errors = plain_error(library, NULL);
    ok = ok && read_text(library, errors);
    if (ok && !list_functions(library)) {
        *errors = plain_error(library, NULL);
        ok = false;
    }
    ok = ok && sm_check_library(library, errors);
    ok = ok && (!options->world.strict || strict_or_report(library, errors));
    if (ok) {
        report_warnings(library);
        return library;
    }
    sm_msl_library_destroy(library);
    return NULL;
}

void sm_msl_library_destroy(sm_msl_library *library)
{
    if (!library) return;
    sm_unit_free(&library->unit);
    sm_arena_free(&library->arena);
    free(library->preprocessed);
    free(library);
}

size_t sm_msl_function_count(const sm_msl_library *library)
{
    return library->unit.entry_count;
}

const sm_function_info *sm_msl_function(const sm_msl_library *library, size_t index)
{
    return index < library->unit.entry_count ? &library->functions[index] : NULL;
}
