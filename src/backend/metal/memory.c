/* Buffers: few and large, since the pool above carves them up. All of them are shared with the CPU. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/metal/metal.h"

#define STORAGE_SHARED 0u

/* Beyond what the system recommends it pages, or ends command buffers for want of memory. */
static void watch_memory(pv_metal_device *device)
{
    const pv_environment *environment = device->environment;
    const uint64_t limit = device->traits.facts.working_set;
    if (device->told_memory || environment->log == NULL ||
        pv_msg_device_allocated(&device->objc, device->device) < limit / 10 * 9)
        return;
    char line[192];
    snprintf(line, sizeof line, "%s holds %.1f of the %.1f MiB that it can keep resident", device->description.id,
             (double)pv_msg_device_allocated(&device->objc, device->device) / (1 << 20), (double)limit / (1 << 20));
    environment->log(environment->log_user, PV_LOG_WARNING, line);
    device->told_memory = true;
}

/* A new buffer becomes one of ours; residency keeps it mapped for the GPU while nothing runs. */
static void take(pv_metal_device *device, pv_id made, uint64_t bytes, pv_buffer *buffer)
{
    *buffer = (pv_buffer){
        .handle = made, .host = pv_msg_buffer_contents(&device->objc, made), .bytes = bytes, .id = ++device->buffers};
    watch_memory(device);
    if (device->residency == NULL) return;
    pv_msg_residency_add(&device->objc, device->residency, made);
    device->residency_stale = true;
}

pv_status pv_metal_alloc(pv_backend_device *base, pv_memory kind, uint64_t bytes, pv_buffer *buffer, pv_error *error)
{
    pv_metal_device *device = pv_metal_of(base);
    (void)kind; /* memory is unified: all of it is host-visible */
    if (bytes > device->traits.facts.max_buffer) {
        return pv_fail_at(error, PV_DEVICE_OUT_OF_MEMORY, device->description.id, PV_NO_OFFSET,
                          "a buffer of %llu bytes; the device's largest has %llu", (unsigned long long)bytes,
                          (unsigned long long)device->traits.facts.max_buffer);
    }
    void *pool = device->objc.push();
    const pv_id made = device->removed ? NULL : pv_msg_device_new_buffer(&device->objc, device->device, bytes, STORAGE_SHARED);
    if (made != NULL) take(device, made, bytes, buffer);
    device->objc.pop(pool);
    if (made != NULL) return PV_OK;
    return pv_fail_at(error, PV_DEVICE_OUT_OF_MEMORY, device->description.id, PV_NO_OFFSET,
                      "out of memory allocating %llu bytes", (unsigned long long)bytes);
}

pv_status pv_metal_import(pv_backend_device *base, void *host, uint64_t bytes, pv_buffer *buffer, pv_error *error)
{
    pv_metal_device *device = pv_metal_of(base);
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if ((uintptr_t)host % page != 0 || bytes % page != 0 || bytes == 0 || bytes > device->traits.facts.max_buffer) {
        return pv_fail_at(
            error, PV_UNSUPPORTED, device->description.id, PV_NO_OFFSET,
            "%llu bytes at an address that is %llu past a page: whole pages of %llu bytes are wanted, at most %llu bytes",
            (unsigned long long)bytes, (unsigned long long)((uintptr_t)host % page), (unsigned long long)page,
            (unsigned long long)device->traits.facts.max_buffer);
    }
    void *pool = device->objc.push();
    const pv_id made = pv_msg_device_new_buffer_no_copy(&device->objc, device->device, host, bytes, STORAGE_SHARED, NULL);
    if (made != NULL) take(device, made, bytes, buffer);
    device->objc.pop(pool);
    if (made == NULL) {
        return pv_fail_at(error, PV_UNSUPPORTED, device->description.id, PV_NO_OFFSET, "the device takes no view of %llu bytes",
                          (unsigned long long)bytes);
    }
    buffer->host = host;
    return PV_OK;
}

/* Command buffers keep nothing alive of what they use. */
void pv_metal_let_go(pv_metal_device *device, pv_id object)
{
    if (device->completed == device->submitted) {
        device->objc.release(object);
    } else {
        pv_metal_watch_keep(device->watch, (uint32_t)(device->submitted % PV_METAL_QUEUE), object);
    }
}

void pv_metal_free(pv_backend_device *base, pv_buffer *buffer)
{
    pv_metal_device *device = pv_metal_of(base);
    const pv_objc *objc = &device->objc;
    const bool idle = device->completed == device->submitted;
    if (buffer->handle == NULL) return;
    void *pool = objc->push();
    if (device->residency != NULL) {
        pv_msg_residency_remove(objc, device->residency, buffer->handle);
        if (idle) pv_msg_residency_commit(objc, device->residency);
        device->residency_stale = true;
    }
    pv_metal_let_go(device, buffer->handle);
    objc->pop(pool);
    *buffer = (pv_buffer){0};
}

static pv_status settle(pv_metal_device *device, const pv_buffer *buffer, uint64_t offset, uint64_t length, pv_error *error)
{
    if (offset > buffer->bytes || length > buffer->bytes - offset) {
        return pv_fail_at(error, PV_INVALID_ARGUMENT, device->description.id, PV_NO_OFFSET,
                          "a copy of %llu bytes at %llu leaves a buffer of %llu bytes", (unsigned long long)length,
                          (unsigned long long)offset, (unsigned long long)buffer->bytes);
    }
    return pv_metal_settle(device, error);
}

pv_status pv_metal_write(pv_backend_device *device, const pv_buffer *buffer, uint64_t offset, const void *bytes,
                         uint64_t length, pv_error *error)
{
    const pv_status status = settle(pv_metal_of(device), buffer, offset, length, error);
    if (status == PV_OK && length > 0) memcpy(buffer->host + offset, bytes, length);
    return status;
}

pv_status pv_metal_read(pv_backend_device *device, const pv_buffer *buffer, uint64_t offset, void *bytes, uint64_t length,
                        pv_error *error)
{
    const pv_status status = settle(pv_metal_of(device), buffer, offset, length, error);
    if (status == PV_OK && length > 0) memcpy(bytes, buffer->host + offset, length);
    return status;
}
