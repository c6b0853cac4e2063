/* The Metal backend: finding, opening and closing devices, and the table of its functions. */
#include <stdio.h>
#include <string.h>

#include "backend/metal/capture.h"
#include "backend/metal/metal.h"
#include "backend/metal/mps.h"
#include "backend/metal/profile.h"
#include "backend/metal/program.h"
#include "backend/metal/tune.h"

#define FAMILY_APPLE1 1001 /* MTLGPUFamilyApple1; Apple n is 1000 + n */
#define NEWEST_FAMILY 12
#define ARGS_SLAB (256u << 10) /* bytes; a plan's arguments are some tens of thousands */

static uint32_t apple_family(const pv_objc *objc, pv_id device)
{
    for (uint32_t n = NEWEST_FAMILY; n >= 1; n--) {
        if (pv_msg_device_supports_family(objc, device, FAMILY_APPLE1 + (int64_t)n - 1)) return n;
    }
    return 0;
}

static void read_facts(const pv_objc *objc, pv_id device, pv_metal_facts *facts)
{
    const char *name = pv_msg_string_utf8(objc, pv_msg_device_name(objc, device));
    *facts = (pv_metal_facts){
        .registry_id = pv_msg_device_registry_id(objc, device),
        .apple_family = apple_family(objc, device),
        .unified = pv_msg_device_unified(objc, device),
        .residency_sets = pv_msg_responds_to(objc, device, objc->selectors.device_new_residency_set),
        .math_modes = pv_msg_responds_to(objc, device, objc->selectors.device_new_residency_set),
        .working_set = pv_msg_device_working_set(objc, device),
        .max_buffer = pv_msg_device_max_buffer(objc, device),
        .max_threads = 1024, /* of every Apple GPU; a pipeline's own limit may be lower and is looked at */
        .threadgroup_memory = (uint32_t)pv_msg_device_max_threadgroup_memory(objc, device),
    };
    snprintf(facts->name, sizeof facts->name, "%s", name != NULL ? name : "a Metal device without a name");
}

static void describe(const pv_metal_traits *traits, pv_device_description *description)
{
    *description = (pv_device_description){
        .id = "metal:0",
        .kernels = "metal",
        .available = traits->refusal == NULL,
        .unified = traits->facts.unified,
        .memory_total = traits->facts.working_set,
        .memory_usable = traits->facts.working_set / 20 * 19,
        .max_buffer = traits->facts.max_buffer,
        .steps_ahead = 2,
    };
    snprintf(description->name, sizeof description->name, "%s", traits->facts.name);
    snprintf(description->reason, sizeof description->reason, "%s", traits->refusal != NULL ? traits->refusal : "");
}

/* Opens the libraries and the system's device. */
static pv_status find_device(const pv_environment *environment, pv_objc *objc, pv_id *device, pv_error *error)
{
    const pv_status status = pv_objc_open(environment->metal_library, objc, error);
    if (status != PV_OK) return status;
    void *pool = objc->push();
    *device = objc->create_device();
    objc->pop(pool);
    if (*device != NULL) return PV_OK;
    pv_objc_close(objc);
    return pv_fail_at(error, PV_NOT_FOUND, "metal", PV_NO_OFFSET, "the system has no Metal device");
}

static pv_status metal_enumerate(const pv_backend *backend, const pv_environment *environment,
                                 pv_device_description *descriptions, size_t capacity, size_t *count, pv_error *error)
{
    pv_objc objc;
    pv_id device;
    pv_metal_facts facts;
    pv_metal_traits traits;
    pv_error missing = {0};
    pv_device_description description = {.id = "metal:0", .name = "Metal"};
    (void)backend;
    (void)error;
    if (find_device(environment, &objc, &device, &missing) == PV_OK) {
        void *pool = objc.push();
        read_facts(&objc, device, &facts);
        pv_metal_traits_of(&facts, &traits);
        describe(&traits, &description);
        objc.release(device);
        objc.pop(pool);
        pv_objc_close(&objc);
    } else {
        snprintf(description.reason, sizeof description.reason, "%.191s", missing.message);
    }
    if (capacity > 0) descriptions[0] = description;
    *count = 1;
    return PV_OK;
}

static bool metal_close(pv_backend_device *base)
{
    if (base == NULL) return true;
    pv_metal_device *device = pv_metal_of(base);
    const pv_objc *objc = &device->objc;
    bool ended = true;
    if (device->device != NULL) {
        void *pool = objc->push();
        pv_metal_free(base, &device->scratch); /* while what never ended is still known */
        pv_pool_destroy(device->args);
        pv_metal_programs_destroy(device, device->programs);
        pv_metal_capture_stop(device);
        pv_metal_profile_destroy(device);
        ended = pv_metal_abandon(device);
        pv_metal_watch_drop(device->watch);
        if (device->residency != NULL) {
            pv_msg_residency_end(objc, device->residency);
            objc->release(device->residency);
        }
        if (device->queue != NULL) objc->release(device->queue);
        objc->release(device->device);
        objc->pop(pool);
        pv_metal_mps_close(device, device->mps);
        pv_objc_close(&device->objc);
    }
    pv_free(device->allocator, device);
    return ended;
}

/* Everything that is made is kept mapped for the GPU: without it the driver drops mappings after seconds of rest. */
static void make_residency(pv_metal_device *device)
{
    const pv_objc *objc = &device->objc;
    pv_id nserror = NULL;
    if (!device->traits.facts.residency_sets || objc->classes.MTLResidencySetDescriptor == NULL) return;
    const pv_id descriptor = pv_objc_new(objc, objc->classes.MTLResidencySetDescriptor);
    device->residency = pv_msg_device_new_residency_set(objc, device->device, descriptor, &nserror);
    objc->release(descriptor);
    if (device->residency != NULL) pv_msg_queue_add_residency_set(objc, device->queue, device->residency);
}

static pv_status set_up(pv_metal_device *device, pv_error *error)
{
    pv_metal_facts facts;
    read_facts(&device->objc, device->device, &facts);
    pv_metal_traits_of(&facts, &device->traits);
    describe(&device->traits, &device->description);
    if (device->traits.refusal != NULL) {
        return pv_fail_at(error, PV_NOT_FOUND, "metal:0", PV_NO_OFFSET, "%s is not used: %s", facts.name,
                          device->traits.refusal);
    }
    device->queue = pv_msg_device_new_queue(&device->objc, device->device, PV_METAL_COMMAND_BUFFERS);
    if (device->queue == NULL)
        return pv_fail_at(error, PV_DEVICE_OUT_OF_MEMORY, "metal:0", PV_NO_OFFSET, "the device gave no command queue");
    device->watch = pv_metal_watch_create(&device->objc);
    if (device->watch == NULL) return pv_fail_memory(error, 0, "the metal device");
    make_residency(device);
    pv_metal_tuning_load(device);
    device->cut_seconds = PV_METAL_CUT_SECONDS;
    device->patience_ms = PV_METAL_PATIENCE_MS;
    if (device->tuning.mps_rows > 0) device->mps = pv_metal_mps_open(device);
    pv_status status = pv_pool_create(device->allocator, &device->base, ARGS_SLAB, &device->args, error);
    if (status == PV_OK) status = pv_metal_profile_create(device, error);
    if (status != PV_OK) return status;
    return pv_metal_programs_create(device, &device->programs, error);
}

static pv_status metal_open(const pv_backend *backend, const pv_environment *environment, const char *id, bool plain,
                            pv_backend_device **out, pv_error *error)
{
    if (strcmp(id, "metal:0") != 0 && strcmp(id, "metal") != 0) {
        return pv_fail_at(error, PV_NOT_FOUND, "metal", PV_NO_OFFSET, "no device \"%s\"; there is \"metal:0\"", id);
    }
    pv_metal_device *device = pv_calloc(environment->allocator, 1, sizeof *device);
    if (device == NULL) return pv_fail_memory(error, sizeof *device, "the metal device");
    device->base.backend = backend;
    device->allocator = environment->allocator;
    device->environment = environment;
    device->plain = plain;
    pv_status status = find_device(environment, &device->objc, &device->device, error);
    if (status == PV_OK) {
        void *pool = device->objc.push();
        status = set_up(device, error);
        device->objc.pop(pool);
    }
    if (status == PV_OK) {
        *out = &device->base;
    } else {
        metal_close(&device->base);
    }
    return status;
}

static const pv_device_description *metal_describe(const pv_backend_device *device)
{
    return &((const pv_metal_device *)device)->description;
}

static size_t metal_counters(const pv_backend_device *base, pv_counter *counters, size_t capacity)
{
    const pv_metal_device *device = (const pv_metal_device *)base;
    for (size_t i = 0; i < device->counter_count && i < capacity; i++) {
        counters[i] = (pv_counter){.name = device->counters[i].name, .count = device->counters[i].count};
    }
    return device->counter_count;
}

const pv_backend pv_metal_backend = {
    .name = "metal",
    .enumerate = metal_enumerate,
    .open = metal_open,
    .close = metal_close,
    .describe = metal_describe,
    .alloc = pv_metal_alloc,
    .free = pv_metal_free,
    .import = pv_metal_import,
    .write = pv_metal_write,
    .read = pv_metal_read,
    .weight_spec = pv_metal_weight_spec,
    .upload = pv_metal_upload,
    .supports = pv_metal_supports,
    .prepare = pv_metal_prepare,
    .release = pv_metal_release,
    .submit = pv_metal_submit,
    .wait = pv_metal_wait,
    .counters = metal_counters,
    .tune = pv_metal_tune,
};
