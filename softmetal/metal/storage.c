/* The memory behind buffers and placement heaps. */
#include "metal/metal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct sm_text {
    struct sm_text *next;
    char text[];
};

uint64_t sm_page(void)
{
    return (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t sm_pages(uint64_t bytes)
{
    uint64_t page = sm_page();
    return bytes > UINT64_MAX - page ? UINT64_MAX : (bytes + page - 1) / page * page;
}

static sm_storage *create(sm_device *device)
{
    sm_storage *storage = sm_allocate(sizeof *storage);
    if (!storage) return NULL;
    storage->references = 1;
    storage->device = (sm_device *)sm_retain((id)device);
    return storage;
}

static sm_storage *count(sm_storage *storage)
{
    atomic_fetch_add(&storage->device->allocated, sm_pages(storage->memory.bytes));
    atomic_fetch_add(&sm_counts.live_buffer_bytes, storage->memory.bytes);
    return storage;
}

sm_storage *sm_storage_create(sm_device *device, uint64_t bytes, NSUInteger mode)
{
    sm_storage *storage = create(device);
    if (!storage) return NULL;
    storage->apart = mode == SM_STORAGE_MANAGED && device->world.discrete;
    bool made = storage->apart ? sm_memory_create_apart(&storage->memory, bytes)
                               : sm_memory_create(&storage->memory, bytes, mode == SM_STORAGE_PRIVATE);
    if (!made) {
        sm_release((id)device);
        free(storage);
        return NULL;
    }
    storage->closes = mode != SM_STORAGE_PRIVATE && !storage->apart && !device->world.keep_open;
    return count(storage);
}

sm_storage *sm_storage_import(sm_device *device, void *host, uint64_t bytes, id deallocator)
{
    sm_storage *storage = create(device);
    if (!storage) return NULL;
    sm_memory_import(&storage->memory, host, bytes);
    storage->host = host;
    storage->deallocator = deallocator ? sm_block_copy(deallocator) : NULL;
    return count(storage);
}

sm_storage *sm_storage_retain(sm_storage *storage)
{
    atomic_fetch_add(&storage->references, 1);
    return storage;
}

void sm_storage_release(sm_storage *storage)
{
    if (!storage || atomic_fetch_sub(&storage->references, 1) != 1) return;
    uint64_t bytes = storage->memory.bytes;
    atomic_fetch_sub(&storage->device->allocated, sm_pages(bytes));
    atomic_fetch_sub(&sm_counts.live_buffer_bytes, bytes);
    sm_memory_destroy(&storage->memory);
    if (storage->deallocator) {
        sm_block_call_pointer(storage->deallocator, storage->host, bytes);
        sm_block_release(storage->deallocator);
    }
    while (storage->labels) {
        struct sm_text *next = storage->labels->next;
        free(storage->labels);
        storage->labels = next;
    }
    sm_release((id)storage->device);
    free(storage);
}

sm_storage *sm_storage_of(const sm_memory *memory)
{
    return (sm_storage *)((char *)(uintptr_t)memory - offsetof(sm_storage, memory));
}

void sm_storage_name(sm_storage *storage, const char *label)
{
    size_t length = strlen(label);
    struct sm_text *text = sm_allocate(sizeof *text + length + 1);
    if (!text) return;
    memcpy(text->text, label, length + 1);
    text->next = storage->labels;
    storage->labels = text;
    __atomic_store_n(&storage->memory.label, text->text, __ATOMIC_RELEASE);
}
