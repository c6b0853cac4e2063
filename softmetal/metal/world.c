/* Worlds: what devices are. The first one comes from the environment.
 *
 * SOFTMETAL_WORLD is a list of names and name=value with commas between them, after the fields of softmetal_world:
 *   name=TEXT family=N macos=N no_simdgroup_matrix no_bfloat discrete working_set=BYTES max_buffer=BYTES max_threads=N
 *   threadgroup_memory=BYTES checked strict keep_open flush_to_zero ulp_jitter=N shuffle seed=N workers=N
 *   time_limit=MILLISECONDS delay=MICROSECONDS sample_dispatches statistics
 * BYTES and N may end in k, m or g (of 1024). Example: SOFTMETAL_WORLD="family=8,checked,shuffle,seed=7,max_buffer=256m". */
#include "metal/metal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SM_NAME_PREFIX "softmetal"
#define SM_NAME_DEFAULT "softmetal (software, not a GPU)"
#define SM_MOST_THREADS 1024 /* of a threadgroup, on any Apple GPU */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static softmetal_world initial, current;
static bool read_already;

/* ---- The environment */

typedef enum sm_setting_kind { SM_FLAG, SM_U32, SM_U64, SM_TEXT, SM_BUILD } sm_setting_kind;

typedef struct sm_setting {
    const char *name;
    sm_setting_kind kind;
    size_t offset;
} sm_setting;

#define SM_FIELD(field) offsetof(softmetal_world, field)
static const sm_setting settings[] = {
    {"name", SM_TEXT, SM_FIELD(device_name)},
    {"family", SM_U32, SM_FIELD(apple_family)},
    {"macos", SM_U32, SM_FIELD(macos_major)},
    {"no_simdgroup_matrix", SM_FLAG, SM_FIELD(no_simdgroup_matrix)},
    {"no_bfloat", SM_FLAG, SM_FIELD(no_bfloat)},
    {"discrete", SM_FLAG, SM_FIELD(discrete)},
    {"working_set", SM_U64, SM_FIELD(working_set)},
    {"max_buffer", SM_U64, SM_FIELD(max_buffer)},
    {"max_threads", SM_U32, SM_FIELD(max_threads)},
    {"threadgroup_memory", SM_U32, SM_FIELD(threadgroup_memory)},
    {"checked", SM_BUILD, SM_FIELD(build)},
    {"strict", SM_FLAG, SM_FIELD(strict)},
    {"keep_open", SM_FLAG, SM_FIELD(keep_open)},
    {"flush_to_zero", SM_FLAG, SM_FIELD(flush_to_zero)},
    {"ulp_jitter", SM_U32, SM_FIELD(ulp_jitter)},
    {"shuffle", SM_FLAG, SM_FIELD(shuffle)},
    {"seed", SM_U64, SM_FIELD(seed)},
    {"workers", SM_U32, SM_FIELD(workers)},
    {"time_limit", SM_U32, SM_FIELD(kernel_time_limit_ms)},
    {"delay", SM_U32, SM_FIELD(completion_delay_us)},
    {"sample_dispatches", SM_FLAG, SM_FIELD(sample_dispatches)},
    {"statistics", SM_FLAG, SM_FIELD(statistics)},
};

static bool parse_number(const char *text, uint64_t most, uint64_t *number)
{
    char *end;
    if (*text < '0' || *text > '9') return false;
    errno = 0;
    uint64_t value = strtoull(text, &end, 0);
    unsigned shift = *end == 'k' ? 10 : *end == 'm' ? 20 : *end == 'g' ? 30 : 0;
    if (shift) end++;
    if (errno || *end || value > most >> shift) return false;
    *number = value << shift;
    return true;
}

static bool apply(softmetal_world *world, const sm_setting *setting, const char *value)
{
    void *field = (char *)world + setting->offset;
    uint64_t number;
    switch (setting->kind) {
    case SM_FLAG: *(bool *)field = true; return !value;
    case SM_BUILD: *(softmetal_build *)field = SOFTMETAL_CHECKED; return !value;
    case SM_TEXT:
        if (!value || !*value) return false;
        free(*(char **)field);
        *(char **)field = strdup(value);
        return true;
    case SM_U32:
        if (!value || !parse_number(value, UINT32_MAX, &number)) return false;
        *(uint32_t *)field = (uint32_t)number;
        return true;
    case SM_U64: return value && parse_number(value, UINT64_MAX, field);
    }
    return false;
}

static void apply_word(softmetal_world *world, char *word)
{
    char *value = strchr(word, '=');
    if (value) *value++ = 0;
    for (size_t i = 0; i < SM_COUNT(settings); i++) {
        if (strcmp(settings[i].name, word) != 0) continue;
        if (!apply(world, &settings[i], value))
            sm_reportf(SOFTMETAL_VALIDATION, "SOFTMETAL_WORLD: '%s' has the value '%s', which it cannot have", word,
                       value ? value : "");
        return;
    }
    sm_reportf(SOFTMETAL_VALIDATION, "SOFTMETAL_WORLD: '%s' is not known", word);
}

static void read_environment(void)
{
    const char *given = getenv("SOFTMETAL_WORLD");
    char *text = given ? strdup(given) : NULL, *rest = text;
    for (char *word; rest && (word = strsep(&rest, ",")) != NULL;) {
        if (*word) apply_word(&initial, word);
    }
    free(text);
    current = initial;
    sm_process_set_macos(initial.macos_major);
    if (initial.device_name) current.device_name = strdup(initial.device_name);
    read_already = true;
}

/* ---- Defaults */

static char *name_of(const char *wanted)
{
    char *name = NULL;
    if (!wanted) return strdup(SM_NAME_DEFAULT);
    if (strncmp(wanted, SM_NAME_PREFIX, strlen(SM_NAME_PREFIX)) == 0) return strdup(wanted);
    return asprintf(&name, SM_NAME_PREFIX " %s", wanted) < 0 ? NULL : name;
}

#define SM_DEFAULT(field, value)                                                                                               \
    if (world.field == 0) world.field = value

softmetal_world sm_world_now(void)
{
    pthread_mutex_lock(&lock);
    if (!read_already) read_environment();
    softmetal_world world = current;
    world.device_name = name_of(current.device_name);
    pthread_mutex_unlock(&lock);
    SM_DEFAULT(apple_family, 9);
    SM_DEFAULT(macos_major, 15);
    SM_DEFAULT(working_set, UINT64_C(8) << 30);
    SM_DEFAULT(max_buffer, UINT64_C(4) << 30);
    SM_DEFAULT(max_threads, SM_MOST_THREADS);
    SM_DEFAULT(threadgroup_memory, 32768);
    SM_DEFAULT(kernel_time_limit_ms, 60000);
    if (world.max_threads > SM_MOST_THREADS) world.max_threads = SM_MOST_THREADS;
    return world;
}

void softmetal_set_world(const softmetal_world *world)
{
    pthread_mutex_lock(&lock);
    if (!read_already) read_environment();
    free((char *)current.device_name);
    current = world ? *world : initial;
    if (current.device_name) current.device_name = strdup(current.device_name);
    sm_process_set_macos(current.macos_major);
    pthread_mutex_unlock(&lock);
    sm_forget_default_device();
}
