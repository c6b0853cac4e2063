#include <string.h>
#include <sys/mman.h>

#include "backend/cpu/cpu.h"

/* From here on a buffer is mapped on its own: its pages are zero without being touched, large pages save misses of the address cache in
 * decode, and all of it goes back to the system when freed. These slabs are the only memory that does not come from the caller's
 * allocator. */
#define PV_SLAB (UINT64_C(4) << 20)
#define PV_LINE 64

#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif

typedef enum pv_origin { PV_ORIGIN_MAPPED = 1, PV_ORIGIN_ALLOCATED, PV_ORIGIN_IMPORTED } pv_origin;

/* What pv_buffer.handle points at. */
typedef struct pv_cpu_buffer {
    pv_origin origin;
    void *memory;
    uint64_t bytes;
} pv_cpu_buffer;

static pv_status make(pv_cpu_device *device, pv_cpu_buffer held, uint8_t *host, uint64_t bytes, pv_buffer *buffer, pv_error *error)
{
    pv_cpu_buffer *handle = pv_alloc(device->allocator, 1, sizeof *handle);
    if (handle == NULL) return pv_fail_memory(error, sizeof *handle, "a buffer");
    *handle = held;
    *buffer = (pv_buffer){.handle = handle, .host = host, .bytes = bytes, .id = ++device->buffers};
    return PV_OK;
}

static void let_go(const pv_cpu_device *device, const pv_cpu_buffer *held)
{
    if (held->origin == PV_ORIGIN_MAPPED) munmap(held->memory, held->bytes);
    if (held->origin == PV_ORIGIN_ALLOCATED) pv_free(device->allocator, held->memory);
}

pv_status pv_cpu_alloc(pv_backend_device *base, pv_memory kind, uint64_t bytes, pv_buffer *buffer, pv_error *error)
{
    pv_cpu_device *device = pv_cpu_of(base);
    (void)kind;
    pv_cpu_buffer held = {.bytes = bytes};
    uint8_t *host = NULL;
    if (bytes > SIZE_MAX - PV_LINE) {
        host = NULL;
    } else if (bytes >= PV_SLAB) {
        held.origin = PV_ORIGIN_MAPPED;
        held.memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (held.memory != MAP_FAILED) host = held.memory;
#ifdef MADV_HUGEPAGE
        if (host != NULL) madvise(held.memory, bytes, MADV_HUGEPAGE);
#endif
    } else {
        held.origin = PV_ORIGIN_ALLOCATED;
        held.memory = pv_calloc(device->allocator, 1, (size_t)bytes + PV_LINE);
        if (held.memory != NULL) host = (uint8_t *)(((uintptr_t)held.memory + PV_LINE - 1) & ~(uintptr_t)(PV_LINE - 1));
    }
    if (host == NULL) {
        return pv_fail_at(error, PV_DEVICE_OUT_OF_MEMORY, "cpu", PV_NO_OFFSET, "out of memory allocating %llu bytes",
                          (unsigned long long)bytes);
    }
    const pv_status status = make(device, held, host, bytes, buffer, error);
    if (status != PV_OK) let_go(device, &held);
    return status;
}

void pv_cpu_free(pv_backend_device *base, pv_buffer *buffer)
{
    const pv_cpu_device *device = pv_cpu_of(base);
    if (buffer->handle == NULL) return;
    let_go(device, buffer->handle);
    pv_free(device->allocator, buffer->handle);
    *buffer = (pv_buffer){0};
}

pv_status pv_cpu_import(pv_backend_device *base, void *host, uint64_t bytes, pv_buffer *buffer, pv_error *error)
{
    return make(pv_cpu_of(base), (pv_cpu_buffer){.origin = PV_ORIGIN_IMPORTED, .memory = host, .bytes = bytes}, host, bytes, buffer, error);
}

static pv_status check_range(pv_cpu_device *device, const pv_buffer *buffer, uint64_t offset, uint64_t length, pv_error *error)
{
    if (offset > buffer->bytes || length > buffer->bytes - offset) {
        return pv_fail_at(error, PV_INVALID_ARGUMENT, "cpu", PV_NO_OFFSET, "a copy of %llu bytes at %llu leaves a buffer of %llu bytes",
                          (unsigned long long)length, (unsigned long long)offset, (unsigned long long)buffer->bytes);
    }
    return device->completed == device->submitted ? PV_OK : pv_cpu_wait(&device->base, device->submitted, UINT32_MAX, error);
}

pv_status pv_cpu_write(pv_backend_device *device, const pv_buffer *buffer, uint64_t offset, const void *bytes, uint64_t length,
                       pv_error *error)
{
    const pv_status status = check_range(pv_cpu_of(device), buffer, offset, length, error);
    if (status == PV_OK && length > 0) memcpy(buffer->host + offset, bytes, length);
    return status;
}

pv_status pv_cpu_read(pv_backend_device *device, const pv_buffer *buffer, uint64_t offset, void *bytes, uint64_t length, pv_error *error)
{
    const pv_status status = check_range(pv_cpu_of(device), buffer, offset, length, error);
    if (status == PV_OK && length > 0) memcpy(bytes, buffer->host + offset, length);
    return status;
}
