/* The CPU backend: the table of its functions, opening and closing. */
#include <stdio.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "backend/cpu/isa.h"

static pv_status describe_for(const pv_environment *environment, bool plain, const pv_cpu_kernels **kernels,
                              pv_device_description *description, pv_error *error)
{
    /* the name asked for is checked even where plain wants generic */
    pv_status status = pv_cpu_find_kernels(environment->cpu_kernels, kernels, error);
    if (status == PV_OK && plain) status = pv_cpu_find_kernels("generic", kernels, error);
    if (status != PV_OK) return status;
    pv_cpu_describe(description);
    snprintf(description->kernels, sizeof description->kernels, "%s", (*kernels)->name);
    description->threads = environment->threads > 0 ? environment->threads : pv_cpu_processors();
    return PV_OK;
}

static pv_status cpu_enumerate(const pv_backend *backend, const pv_environment *environment, pv_device_description *descriptions,
                               size_t capacity, size_t *count, pv_error *error)
{
    const pv_cpu_kernels *kernels;
    pv_device_description description;
    (void)backend;
    const pv_status status = describe_for(environment, false, &kernels, &description, error);
    if (status != PV_OK) return status;
    if (capacity > 0) descriptions[0] = description;
    *count = 1;
    return PV_OK;
}

/* Ops whose kernels differ by the weight's layout have a counter for each. */
static void name_counters(pv_cpu_device *device)
{
    for (uint32_t kind = 0; kind < PV_OP_COUNT; kind++) {
        const bool by_layout = kind == PV_OP_linear || kind == PV_OP_embed;
        for (uint32_t layout = 0; layout < (by_layout ? PV_LAYOUT_COUNT : 1); layout++) {
            pv_cpu_counter_row *row = &device->counters[kind * PV_LAYOUT_COUNT + layout];
            const char *name = by_layout ? pv_layout_get((pv_layout)layout)->name : "";
            char lower[32] = "";
            for (size_t i = 0; name[i] != 0 && i < sizeof lower - 1; i++) {
                lower[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]);
            }
            snprintf(row->name, sizeof row->name, "%s %s%s%s", pv_op_name((pv_op_kind)kind), lower, by_layout ? " " : "",
                     device->kernels->name);
        }
    }
}

static bool cpu_close(pv_backend_device *base)
{
    if (base == NULL) return true;
    pv_cpu_device *device = pv_cpu_of(base);
    pv_cpu_team_destroy(device->team);
    pv_free(device->allocator, device->scratch_memory);
    pv_free(device->allocator, device->counters);
    pv_free(device->allocator, device);
    return true;
}

static pv_status cpu_open(const pv_backend *backend, const pv_environment *environment, const char *id, bool plain,
                          pv_backend_device **out, pv_error *error)
{
    if (strcmp(id, "cpu") != 0) return pv_fail_at(error, PV_NOT_FOUND, "cpu", PV_NO_OFFSET, "no device \"%s\"; there is \"cpu\"", id);
    pv_cpu_device *device = pv_calloc(environment->allocator, 1, sizeof *device);
    if (device == NULL) return pv_fail_memory(error, sizeof *device, "the cpu device");
    device->base.backend = backend;
    device->allocator = environment->allocator;
    device->plain = plain;
    pv_status status = describe_for(environment, plain, &device->kernels, &device->description, error);
    if (status == PV_OK && (device->counters = pv_calloc(device->allocator, PV_CPU_COUNTERS, sizeof *device->counters)) == NULL) {
        status = pv_fail_memory(error, PV_CPU_COUNTERS * sizeof *device->counters, "the cpu device");
    }
    if (status == PV_OK) status = pv_cpu_team_create(device->allocator, device->description.threads, &device->team, error);
    if (status == PV_OK) {
        name_counters(device);
        *out = &device->base;
    } else {
        cpu_close(&device->base);
    }
    return status;
}

static const pv_device_description *cpu_describe(const pv_backend_device *device)
{
    return &((const pv_cpu_device *)device)->description;
}

static size_t cpu_counters(const pv_backend_device *base, pv_counter *counters, size_t capacity)
{
    const pv_cpu_device *device = (const pv_cpu_device *)base;
    size_t count = 0;
    for (size_t i = 0; i < PV_CPU_COUNTERS; i++) {
        const pv_cpu_counter_row *row = &device->counters[i];
        if (row->name[0] == 0) continue;
        if (count < capacity) counters[count] = (pv_counter){.name = row->name, .count = row->count};
        count++;
    }
    return count;
}

const pv_backend pv_cpu_backend = {
    .name = "cpu",
    .enumerate = cpu_enumerate,
    .open = cpu_open,
    .close = cpu_close,
    .describe = cpu_describe,
    .alloc = pv_cpu_alloc,
    .free = pv_cpu_free,
    .import = pv_cpu_import,
    .write = pv_cpu_write,
    .read = pv_cpu_read,
    .weight_spec = pv_cpu_weight_spec,
    .upload = pv_cpu_upload,
    .supports = pv_cpu_supports,
    .prepare = pv_cpu_prepare,
    .release = pv_cpu_release,
    .submit = pv_cpu_submit,
    .wait = pv_cpu_wait,
    .counters = cpu_counters,
};
