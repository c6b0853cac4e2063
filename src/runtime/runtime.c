#include "runtime/runtime.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "backend/ane/ane.h"
#include "base/alloc.h"
#include "base/clock.h"

static const pv_backend *const builtin_backends[] = {&pv_metal_backend, &pv_cpu_backend, &pv_ane_backend};

const char *pv_version(void)
{
#define PV_TEXT(x) #x
#define PV_DOTTED(a, b, c) PV_TEXT(a) "." PV_TEXT(b) "." PV_TEXT(c)
    return PV_DOTTED(PV_VERSION_MAJOR, PV_VERSION_MINOR, PV_VERSION_PATCH);
}

static pv_status find_devices(pv_runtime *runtime, const pv_backend *const *backends, size_t count, pv_error *error)
{
    for (size_t i = 0; i < count; i++) {
        pv_device_description found[PV_MAX_DEVICES];
        size_t room = PV_MAX_DEVICES - runtime->device_count, number = 0;
        pv_status status = backends[i]->enumerate(backends[i], &runtime->environment, found, room, &number, error);
        if (status != PV_OK) return status;
        if (number > room) number = room;
        for (size_t j = 0; j < number; j++)
            runtime->devices[runtime->device_count++] = (pv_runtime_device){.backend = backends[i], .description = found[j]};
    }
    return PV_OK;
}

static pv_status copy_option(const pv_allocator *allocator, const char *from, char **to, pv_error *error)
{
    if (from == NULL || from[0] == '\0') return PV_OK;
    *to = pv_copy_string(allocator, from, strlen(from));
    return *to != NULL ? PV_OK : pv_fail_memory(error, strlen(from) + 1, "the runtime");
}

pv_status pv_runtime_create_with(const pv_runtime_options *options, const pv_backend *const *backends, size_t count,
                                 pv_runtime **out, pv_error *error)
{
    static const pv_runtime_options defaults;
    if (options == NULL) options = &defaults;
    if (out == NULL) return pv_fail(error, PV_INVALID_ARGUMENT, "runtime is NULL");
    pv_allocator allocator = options->allocator.reallocate != NULL ? options->allocator : pv_allocator_default();
    pv_runtime *runtime = pv_calloc(&allocator, 1, sizeof *runtime);
    if (runtime == NULL) return pv_fail_memory(error, sizeof *runtime, "the runtime");
    runtime->allocator = allocator;
    if (options->cpu_kernels != NULL) snprintf(runtime->kernels, sizeof runtime->kernels, "%s", options->cpu_kernels);
    runtime->environment = (pv_environment){
        .allocator = &runtime->allocator,
        .log = options->log,
        .log_user = options->log_user,
        .cpu_kernels = runtime->kernels[0] != '\0' ? runtime->kernels : NULL,
        .threads = options->threads,
        .trace = options->trace,
        .trace_user = options->trace_user,
        .validate = options->validate,
    };
    pv_status status = copy_option(&runtime->allocator, options->metal_library, &runtime->metal_library, error);
    if (status == PV_OK) status = copy_option(&runtime->allocator, options->cache, &runtime->cache, error);
    if (status == PV_OK) status = copy_option(&runtime->allocator, options->capture, &runtime->capture, error);
    runtime->environment.metal_library = runtime->metal_library;
    runtime->environment.cache = runtime->cache;
    runtime->environment.capture = runtime->capture;
    if (status == PV_OK) status = find_devices(runtime, backends, count, error);
    if (status != PV_OK) {
        pv_runtime_destroy(runtime);
        return status;
    }
    *out = runtime;
    return PV_OK;
}

pv_status pv_runtime_create(const pv_runtime_options *options, pv_runtime **runtime, pv_error *error)
{
    return pv_runtime_create_with(options, builtin_backends, sizeof builtin_backends / sizeof builtin_backends[0], runtime, error);
}

void pv_runtime_destroy(pv_runtime *runtime)
{
    if (runtime == NULL) return;
    pv_allocator allocator = runtime->allocator;
    pv_free(&allocator, runtime->metal_library);
    pv_free(&allocator, runtime->cache);
    pv_free(&allocator, runtime->capture);
    pv_free(&allocator, runtime);
}

/* "metal" is the first of its kind: "metal:0". */
static bool is_called(const pv_device_description *description, const char *id)
{
    const size_t length = strlen(id);
    return strncmp(description->id, id, length) == 0 && (description->id[length] == '\0' || strcmp(description->id + length, ":0") == 0);
}

pv_status pv_runtime_find_device(const pv_runtime *runtime, const char *id, const pv_runtime_device **device, pv_error *error)
{
    bool automatic = id == NULL || id[0] == '\0' || strcmp(id, "auto") == 0;
    char known[256] = "";
    for (size_t i = 0; i < runtime->device_count; i++) {
        const pv_runtime_device *candidate = &runtime->devices[i];
        const pv_device_description *description = &candidate->description;
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s%s", i > 0 ? ", " : "", description->id, description->available ? "" : " (unavailable)");
        if (!automatic && !is_called(description, id)) continue;
        if (description->available) {
            *device = candidate;
            return PV_OK;
        }
        if (!automatic) return pv_fail(error, PV_NOT_FOUND, "device %s is not available: %s", id, description->reason);
    }
    return pv_fail(error, PV_NOT_FOUND, "no device '%s'; there is: %s", automatic ? "auto" : id, known);
}

size_t pv_device_count(const pv_runtime *runtime)
{
    return runtime != NULL ? runtime->device_count : 0;
}

pv_status pv_device_get_info(const pv_runtime *runtime, size_t index, pv_device_info *info, pv_error *error)
{
    if (index >= pv_device_count(runtime))
        return pv_fail(error, PV_INVALID_ARGUMENT, "device %zu is asked for, there are %zu", index, pv_device_count(runtime));
    const pv_device_description *description = &runtime->devices[index].description;
    *info = (pv_device_info){
        .id = description->id,
        .name = description->name,
        .kernels = description->kernels,
        .available = description->available,
        .reason = description->reason,
        .memory_total = description->memory_total,
        .memory_usable = description->memory_usable,
        .threads = description->threads,
    };
    return PV_OK;
}

pv_status pv_device_tune(pv_runtime *runtime, const char *id, const pv_tune_options *options, pv_error *error)
{
    static const pv_tune_options defaults;
    const pv_runtime_device *device = NULL;
    if (runtime == NULL) return pv_fail(error, PV_INVALID_ARGUMENT, "runtime is NULL");
    pv_status status = pv_runtime_find_device(runtime, id, &device, error);
    if (status != PV_OK) return status;
    if (device->backend->tune == NULL)
        return pv_fail(error, PV_UNSUPPORTED, "device %s has nothing that is chosen by measuring", device->description.id);
    return device->backend->tune(device->backend, &runtime->environment, device->description.id, options != NULL ? options : &defaults, error);
}

void pv_runtime_log(const pv_runtime *runtime, pv_log_level level, const char *format, ...)
{
    if (runtime->environment.log == NULL) return;
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    runtime->environment.log(runtime->environment.log_user, level, line);
}

void pv_runtime_timing(const pv_runtime *runtime, const char *track, const char *name, double begin, uint32_t rows)
{
    const pv_environment *environment = &runtime->environment;
    if (environment->trace == NULL) return;
    const pv_timing timing = {.track = track, .name = name, .begin = begin, .end = pv_seconds(), .rows = rows};
    environment->trace(environment->trace_user, &timing);
}
