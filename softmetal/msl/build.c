#include "msl/build.h"

#include "msl/errors.h"
#include "msl/precompiled.h"
#include "objc/memory.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t compiles, cache_hits;

void sm_msl_counts(uint64_t *compiled, uint64_t *hits)
{
    *compiled = __atomic_load_n(&compiles, __ATOMIC_RELAXED);
    *hits = __atomic_load_n(&cache_hits, __ATOMIC_RELAXED);
}

/* Objects stay loaded: a second build of the same one gets the same. `handle` is NULL while a thread makes it. */
typedef struct sm_loaded {
    struct sm_loaded *next;
    sm_cache_key key;
    bool ready, failed;
    uint32_t waiting;
    void *handle;
} sm_loaded;

static sm_loaded *loaded;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

/* One compilation: what goes in, what comes out. */
typedef struct sm_build {
    const sm_msl_library *library;
    sm_generation generation;
    sm_flavour flavour;
    sm_arena arena;
    sm_text source;
    sm_placement *placements;
    sm_cache_key key;
    const char *header; /* the shim's */
    const char *error;  /* one without a place in the text */
    char *errors;       /* the compiler's, about the text */
} sm_build;

/* The language is asked for in a version of before this one. */
static bool before(const sm_msl_library *library, uint32_t major, uint32_t minor)
{
    const uint32_t asked = library->options.language_version;
    return asked != 0 && asked < (major << 16 | minor);
}

static sm_flavour flavour_of(const sm_msl_library *library, bool check)
{
    const softmetal_world *world = &library->options.world;
    return (sm_flavour){
        .checked = !check && world->build == SOFTMETAL_CHECKED,
        .fast_math = !check && library->options.fast_math && !library->unit.tokens.math_safe,
        .jitter = !check && world->ulp_jitter > 0,
        .no_bfloat = world->no_bfloat || before(library, 3, 1),
        .no_simdgroup_matrix = world->no_simdgroup_matrix || before(library, 2, 3),
    };
}

/* Generates the source and its key. */
static bool prepare(sm_build *build)
{
    const sm_msl_library *library = build->library;
    build->placements = sm_allocate((library->unit.tokens.count + 1) * sizeof *build->placements);
    build->flavour = flavour_of(library, build->generation.mode == SM_GENERATE_CHECK);
    build->generation.checked = build->flavour.checked;
    if (!build->placements ||
        !sm_generate(&library->unit, &build->generation, &build->arena, &build->source, build->placements, &build->error))
        return false;
    sm_cache_key shim = sm_shim_key();
    char version[32];
    snprintf(version, sizeof version, "object %d %d", SM_ABI, build->generation.mode);
    sm_command flags = {0};
    sm_command_flavour(&flags, &build->arena, &library->compiler, &build->flavour);
    sm_bytes parts[128] = {
        {version, strlen(version)},
        {library->compiler.identity, strlen(library->compiler.identity)},
        {shim.text, sizeof shim.text},
        {build->source.bytes, build->source.length},
    };
    size_t count = 4;
    for (size_t i = 0; i < flags.count && count < sizeof parts / sizeof *parts; i++)
        parts[count++] = (sm_bytes){flags.list[i], strlen(flags.list[i])};
    build->key = sm_cache_key_of(parts, count);
    return true;
}

static void finish(sm_build *build)
{
    free(build->placements);
    sm_text_free(&build->source);
    sm_arena_free(&build->arena);
}

/* The caller's error text. */
static char *take_errors(sm_build *build)
{
    sm_text text = {0};
    if (build->errors) return build->errors;
    sm_text_printf(&text, "%s: error: %s\n", build->library->name, build->error ? build->error : "out of memory");
    return sm_text_take(&text);
}

/* What a failed command said, about the user's text where that can be. */
static void explain(sm_build *build, const sm_command *command, const sm_process_result *result)
{
    sm_text out = {0};
    const sm_msl_library *library = build->library;
    sm_origin origin = {.name = library->name, .text = library->text, .unit = &library->unit, .placements = build->placements};
    bool understood =
        result->end == SM_PROCESS_EXITED && result->output.bytes && sm_report_diagnostics(&origin, result->output.bytes, &out);
    if (understood)
        build->errors = sm_text_take(&out);
    else
        build->error = sm_command_failure(&build->arena, command, result);
    sm_text_free(&out);
}

/* A compiler that falls over its precompiled header. */
static bool blames_header(const sm_process_result *result)
{
    const char *said = result->output.bytes;
    if (result->end == SM_PROCESS_SIGNALLED) return true;
    return result->end == SM_PROCESS_EXITED && (!said || strstr(said, ".gch") || strstr(said, ".pch") || strstr(said, "PCH") ||
                                                strstr(said, "precompiled") || strstr(said, "internal compiler error"));
}

static bool run(sm_build *build, const sm_command *command, const sm_workspace *workspace)
{
    sm_process_result result;
    bool ok = sm_command_run(command, workspace, &result);
    if (!ok && blames_header(&result) && build->header && sm_precompiled_discard(&build->library->compiler, build->header)) {
        sm_text_free(&result.output);
        ok = sm_command_run(command, workspace, &result);
    }
    if (!ok) explain(build, command, &result);
    sm_text_free(&result.output);
    return ok;
}

static void begin_command(sm_build *build, sm_command *command)
{
    const sm_msl_library *library = build->library;
    build->header = sm_precompiled(&library->cache, &library->compiler, &build->flavour, &build->arena);
    sm_command_add(command, library->compiler.path);
    sm_command_flavour(command, &build->arena, &library->compiler, &build->flavour);
    sm_command_words(command, &build->arena,
                     library->compiler.clang ? "-fno-caret-diagnostics -fno-color-diagnostics -ferror-limit=20"
                                             : "-fno-diagnostics-show-caret -fdiagnostics-column-unit=byte -fmax-errors=20");
    sm_command_add(command, sm_arena_printf(&build->arena, "-I%s", library->cache.shim));
    sm_command_add(command, "-include");
    sm_command_add(command, build->header);
}

static bool compile_object(sm_build *build, const sm_workspace *workspace)
{
    sm_command command = {0}, link = {0};
    begin_command(build, &command);
    if (build->generation.mode == SM_GENERATE_CHECK) {
        sm_command_words(&command, &build->arena, "-fsyntax-only kernels.cpp");
        return run(build, &command, workspace);
    }
    if (!build->flavour.checked) {
        sm_command_words(&command, &build->arena, "-shared -Wl,--as-needed kernels.cpp -o object.so");
        return run(build, &command, workspace);
    }
    /* The hooks of a CHECKED object are its own: it is linked without the sanitizer's library. */
    sm_command_words(&command, &build->arena, "-c kernels.cpp -o kernels.o");
    sm_command_add(&link, build->library->compiler.path);
    sm_command_words(&link, &build->arena, "-shared -Wl,--as-needed kernels.o -o object.so");
    return run(build, &command, workspace) && run(build, &link, workspace);
}

static bool compile(sm_build *build, const sm_workspace *workspace)
{
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/kernels.cpp", workspace->path);
    if (sm_file_write(path, build->source.bytes, build->source.length)) return compile_object(build, workspace);
    build->error = sm_arena_printf(&build->arena, "%s cannot be written", path);
    return false;
}

/* Compiles into the cache. */
static bool make(sm_build *build)
{
    sm_workspace workspace;
    const sm_cache *cache = &build->library->cache;
    if (!sm_workspace_create(cache, &workspace, &build->arena, &build->error)) return false;
    char path[PATH_MAX + 16];
    bool ok = compile(build, &workspace);
    snprintf(path, sizeof path, "%s/object.so", workspace.path);
    if (ok && build->generation.mode == SM_GENERATE_CHECK)
        ok = sm_cache_write(cache, &workspace, &build->key, ".ok", "ok", 2);
    else if (ok)
        ok = sm_cache_store(cache, &build->key, ".so", path);
    if (!ok && !build->error && !build->errors) build->error = "the compiled object cannot be stored in the cache";
    sm_workspace_destroy(&workspace);
    return ok;
}

static void *open_object(const char *path, bool checked)
{
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const sm_object_table *table = handle ? dlsym(handle, SM_OBJECT_SYMBOL) : NULL;
    if (!table || table->abi != SM_ABI || (table->checked != 0) != checked) {
        if (handle) dlclose(handle);
        return NULL;
    }
    table->complete();
    return handle;
}

/* From the cache, or compiled. */
static void *obtain(sm_build *build, bool *from_cache)
{
    char path[PATH_MAX];
    void *handle = NULL;
    *from_cache = sm_cache_find(&build->library->cache, &build->key, ".so", path);
    if (*from_cache) handle = open_object(path, build->flavour.checked);
    if (handle) {
        __atomic_fetch_add(&cache_hits, 1, __ATOMIC_RELAXED);
        return handle;
    }
    *from_cache = false;
    if (!make(build)) return NULL;
    __atomic_fetch_add(&compiles, 1, __ATOMIC_RELAXED);
    if (sm_cache_find(&build->library->cache, &build->key, ".so", path)) handle = open_object(path, build->flavour.checked);
    if (!handle) build->error = sm_arena_printf(&build->arena, "the compiled object cannot be loaded: %s", dlerror());
    return handle;
}

static sm_loaded *find_loaded(const sm_cache_key *key)
{
    for (sm_loaded *l = loaded; l; l = l->next) {
        if (strcmp(l->key.text, key->text) == 0) return l;
    }
    return NULL;
}

/* One thread makes an object; others that want the same wait for it. */
static void *load(sm_build *build, bool *from_cache)
{
    pthread_mutex_lock(&lock);
    sm_loaded *l;
    while ((l = find_loaded(&build->key)) && !l->handle) pthread_cond_wait(&changed, &lock);
    if (l) {
        void *handle = l->handle;
        pthread_mutex_unlock(&lock);
        __atomic_fetch_add(&cache_hits, 1, __ATOMIC_RELAXED);
        *from_cache = true;
        return handle;
    }
    l = sm_allocate(sizeof *l);
    if (l) {
        l->key = build->key;
        l->next = loaded;
        loaded = l;
    }
    pthread_mutex_unlock(&lock);
    void *handle = l ? obtain(build, from_cache) : NULL;
    pthread_mutex_lock(&lock);
    if (l && handle) {
        l->handle = handle;
    } else if (l) {
        sm_loaded **link = &loaded;
        while (*link != l) link = &(*link)->next;
        *link = l->next;
        free(l);
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return handle;
}

bool sm_check_library(sm_msl_library *library, char **errors)
{
    sm_build build = {.library = library, .generation = {.entry = SM_NO_TOKEN, .mode = SM_GENERATE_CHECK}};
    sm_text cached = {0};
    bool ok = prepare(&build) && (sm_cache_read(&library->cache, &build.key, ".ok", &cached) || make(&build));
    if (!ok) *errors = take_errors(&build);
    sm_text_free(&cached);
    finish(&build);
    return ok;
}

static uint32_t find_entry(const sm_unit *unit, const char *name)
{
    for (uint32_t i = 0; i < unit->entry_count; i++) {
        if (strcmp(unit->entries[i].name, name) == 0) return i;
    }
    return SM_NO_TOKEN;
}

/* Kernels without function constants are compiled together where they are few: that takes half the time that one by one takes.
 * Of a large library a host uses a part. */
#define TOGETHER 8

static bool compile_together(const sm_unit *unit)
{
    bool plain = unit->constant_count == 0 && unit->entry_count <= TOGETHER;
    for (uint32_t i = 0; i < unit->kernel_count; i++)
        plain = plain && !unit->declarations[unit->kernels[i].declaration].is_template;
    return plain;
}

static bool choose_kernel(void *handle, const char *function, sm_built *built)
{
    const sm_object_table *table = dlsym(handle, SM_OBJECT_SYMBOL);
    for (uint32_t i = 0; i < table->kernel_count; i++) {
        if (strcmp(table->kernels[i].name, function) != 0) continue;
        built->kernel = &table->kernels[i];
        built->services = table->services;
        built->object = handle;
        built->checked = table->checked != 0;
        return true;
    }
    return false;
}

bool sm_msl_build(sm_msl_library *library, const char *function, const sm_constant_value *values, size_t value_count,
                  sm_built *built, char **errors)
{
    *errors = NULL;
    *built = (sm_built){0};
    sm_build build = {.library = library, .generation = {.values = values, .value_count = value_count}};
    build.generation.entry = find_entry(&library->unit, function);
    bool ok = build.generation.entry != SM_NO_TOKEN;
    if (compile_together(&library->unit)) build.generation.entry = SM_NO_TOKEN;
    if (!ok) build.error = sm_arena_printf(&build.arena, "there is no kernel named '%s'", function);
    ok = ok && prepare(&build);
    void *handle = ok ? load(&build, &built->from_cache) : NULL;
    ok = handle && choose_kernel(handle, function, built);
    if (!ok) *errors = take_errors(&build);
    finish(&build);
    return ok;
}
