/* MTLHeap.
 *
 * A heap of placements is one piece of memory. Of an automatic heap only the ranges are kept: each of its buffers has memory of
 * its own, with a guard page behind it, so that overruns are seen. */
#include "metal/metal.h"

#include <stdlib.h>
#include <string.h>

typedef unsigned long long ull;

enum { SM_AUTOMATIC, SM_PLACEMENT };

typedef struct sm_used {
    uint64_t offset, bytes;
} sm_used;

struct sm_heap {
    sm_base base;
    uint64_t size;
    NSInteger type;
    NSUInteger storageMode, cpuCacheMode, hazardTrackingMode, purgeable;
    sm_storage *storage; /* of placements */
    pthread_mutex_t mutex;
    sm_used *used; /* by offset; those of placements may overlap */
    size_t count;
    sm_storage **storages; /* of an automatic heap's buffers, unordered */
    size_t storage_count;
};

static sm_heap *of(id self)
{
    return (sm_heap *)self;
}

uint64_t sm_heap_align(uint64_t bytes)
{
    return bytes > UINT64_MAX - SM_HEAP_ALIGN ? UINT64_MAX : (bytes + SM_HEAP_ALIGN - 1) / SM_HEAP_ALIGN * SM_HEAP_ALIGN;
}

/* ---- Making one */

static bool descriptor_well(const sm_device *device, const sm_heap_descriptor *is)
{
    const char *method = "MTLDevice newHeapWithDescriptor:";
    if (!is)
        sm_misuse(method, "the descriptor is nil");
    else if (is->size == 0)
        sm_misuse(method, "the size is 0");
    else if (is->size > device->world.max_buffer)
        sm_misuse(method, "the size %llu is over the device's maxBufferLength, %llu", (ull)is->size,
                  (ull)device->world.max_buffer);
    else if (is->type > SM_PLACEMENT)
        sm_misuse(method, "heap type %lld is neither automatic (0) nor placement (1)", (long long)is->type);
    else if (is->storageMode != SM_STORAGE_SHARED && is->storageMode != SM_STORAGE_PRIVATE)
        sm_misuse(method, "storage mode %llu: a heap is shared (0) or private (2)", (ull)is->storageMode);
    else
        return true;
    return false;
}

id sm_heap_create(sm_device *device, id given)
{
    const sm_heap_descriptor *is =
        (const sm_heap_descriptor *)sm_expect_kind(given, &sm_heap_descriptor_class, "MTLDevice newHeapWithDescriptor:");
    if (!descriptor_well(device, is)) return NULL;
    if (sm_device_is_removed(device) || sm_fault(SOFTMETAL_FAULT_ALLOCATION, NULL)) return NULL;
    sm_heap *heap = of(sm_base_new(&sm_heap_class, device));
    if (!heap) return NULL;
    pthread_mutex_init(&heap->mutex, NULL);
    heap->size = is->size;
    heap->type = is->type;
    heap->storageMode = is->storageMode;
    heap->cpuCacheMode = is->cpuCacheMode;
    heap->hazardTrackingMode = is->hazardTrackingMode == SM_HAZARD_DEFAULT ? SM_HAZARD_UNTRACKED : is->hazardTrackingMode;
    heap->purgeable = 2;
    if (is->type == SM_AUTOMATIC) return (id)heap;
    heap->storage = sm_storage_create(device, is->size, is->storageMode);
    if (heap->storage) {
        heap->storage->shared = true;
        heap->storage->closes = false; /* what is in flight may lie on a page with what is not */
        return (id)heap;
    }
    sm_release((id)heap);
    return NULL;
}

static void dealloc(id self)
{
    sm_heap *heap = of(self);
    sm_storage_release(heap->storage);
    free(heap->used);
    free(heap->storages);
    pthread_mutex_destroy(&heap->mutex);
    sm_base_dealloc(self);
}

/* ---- Ranges */

static bool insert(sm_heap *heap, size_t at, uint64_t offset, uint64_t bytes)
{
    sm_used *used = sm_reallocate(heap->used, (heap->count + 1) * sizeof *used);
    if (!used) return false;
    heap->used = used;
    memmove(used + at + 1, used + at, (heap->count - at) * sizeof *used);
    used[at] = (sm_used){offset, bytes};
    heap->count++;
    return true;
}

/* The first gap that is large enough. */
static bool take(sm_heap *heap, uint64_t bytes, uint64_t *offset)
{
    uint64_t end = 0;
    size_t at = 0;
    for (; at < heap->count && (heap->used[at].offset < end || heap->used[at].offset - end < bytes); at++) {
        uint64_t next = heap->used[at].offset + heap->used[at].bytes;
        if (next > end) end = next;
    }
    if (at == heap->count && (end > heap->size || heap->size - end < bytes)) return false;
    *offset = end;
    return insert(heap, at, end, bytes);
}

static bool take_place(sm_heap *heap, uint64_t bytes, uint64_t offset)
{
    size_t at = 0;
    while (at < heap->count && heap->used[at].offset < offset) at++;
    return insert(heap, at, offset, bytes);
}

void sm_heap_give_back(sm_heap *heap, uint64_t offset, uint64_t bytes)
{
    pthread_mutex_lock(&heap->mutex);
    for (size_t i = 0; i < heap->count; i++) {
        if (heap->used[i].offset != offset || heap->used[i].bytes != bytes) continue;
        memmove(heap->used + i, heap->used + i + 1, (heap->count - i - 1) * sizeof *heap->used);
        heap->count--;
        break;
    }
    pthread_mutex_unlock(&heap->mutex);
}

static uint64_t largest_gap(const sm_heap *heap)
{
    uint64_t end = 0, largest = 0;
    for (size_t i = 0; i < heap->count; i++) {
        const sm_used *used = &heap->used[i];
        if (used->offset > end && used->offset - end > largest) largest = used->offset - end;
        if (used->offset + used->bytes > end) end = used->offset + used->bytes;
    }
    return heap->size > end && heap->size - end > largest ? heap->size - end : largest;
}

/* Overlapping placements count once. */
static uint64_t used_bytes(const sm_heap *heap)
{
    uint64_t end = 0, sum = 0;
    for (size_t i = 0; i < heap->count; i++) {
        uint64_t from = heap->used[i].offset > end ? heap->used[i].offset : end,
                 to = heap->used[i].offset + heap->used[i].bytes;
        if (to > from) sum += to - from;
        if (to > end) end = to;
    }
    return sum;
}

/* ---- Buffers */

void sm_heap_forget(sm_heap *heap, const sm_storage *storage)
{
    pthread_mutex_lock(&heap->mutex);
    for (size_t i = 0; i < heap->storage_count; i++) {
        if (heap->storages[i] == storage) heap->storages[i] = heap->storages[--heap->storage_count];
    }
    pthread_mutex_unlock(&heap->mutex);
}

static void remember(sm_heap *heap, sm_storage *storage)
{
    pthread_mutex_lock(&heap->mutex);
    sm_storage **storages = sm_reallocate(heap->storages, (heap->storage_count + 1) * sizeof *storages);
    if (storages) {
        heap->storages = storages;
        storages[heap->storage_count++] = storage;
    }
    pthread_mutex_unlock(&heap->mutex);
}

static bool options_well(sm_heap *heap, NSUInteger length, NSUInteger options, const char *method)
{
    if (!sm_buffer_length_fits(heap->base.device, length, method)) return false;
    if (SM_OPTIONS_STORAGE(options) == heap->storageMode && SM_OPTIONS_CACHE(options) == heap->cpuCacheMode) return true;
    sm_misuse(method, "the options 0x%llx have storage mode %llu and cache mode %llu, heap '%s' has %llu and %llu",
              (ull)options, (ull)SM_OPTIONS_STORAGE(options), (ull)SM_OPTIONS_CACHE(options),
              sm_label_of((id)heap, "without a label"), (ull)heap->storageMode, (ull)heap->cpuCacheMode);
    return false;
}

static id wrap(sm_heap *heap, sm_storage *storage, uint64_t offset, uint64_t length, NSUInteger options)
{
    uint64_t bytes = sm_heap_align(length);
    id made = storage ? sm_buffer_wrap(heap->base.device, storage, heap->storage ? offset : 0, length, options) : NULL;
    if (!made) {
        sm_storage_release(storage);
        sm_heap_give_back(heap, offset, bytes);
        return NULL;
    }
    sm_buffer *buffer = (sm_buffer *)made;
    buffer->heap = (sm_heap *)sm_retain((id)heap);
    buffer->heap_offset = offset;
    buffer->heap_bytes = bytes;
    return made;
}

/* An automatic heap that is full has no more, which is no mistake. */
static id new_buffer(id self, SEL cmd, NSUInteger length, NSUInteger options)
{
    (void)cmd;
    const char *method = "MTLHeap newBufferWithLength:options:";
    sm_heap *heap = of(self);
    if (heap->type != SM_AUTOMATIC) {
        sm_misuse(method, "heap '%s' is of placements: say where (newBufferWithLength:options:offset:)",
                  sm_label_of(self, "without a label"));
        return NULL;
    }
    if (!options_well(heap, length, options, method)) return NULL;
    if (sm_device_is_removed(heap->base.device) || sm_fault(SOFTMETAL_FAULT_ALLOCATION, NULL)) return NULL;
    uint64_t offset = 0;
    pthread_mutex_lock(&heap->mutex);
    bool taken = take(heap, sm_heap_align(length), &offset);
    pthread_mutex_unlock(&heap->mutex);
    if (!taken) return NULL;
    sm_storage *storage = sm_storage_create(heap->base.device, length, heap->storageMode);
    id made = wrap(heap, storage, offset, length, options);
    if (made) remember(heap, storage);
    return made;
}

static id new_placed(id self, SEL cmd, NSUInteger length, NSUInteger options, NSUInteger offset)
{
    (void)cmd;
    const char *method = "MTLHeap newBufferWithLength:options:offset:";
    sm_heap *heap = of(self);
    if (heap->type != SM_PLACEMENT) {
        sm_misuse(method, "heap '%s' is automatic: it chooses where", sm_label_of(self, "without a label"));
        return NULL;
    }
    if (!options_well(heap, length, options, method)) return NULL;
    if (offset % SM_HEAP_ALIGN != 0 || offset > heap->size || sm_heap_align(length) > heap->size - offset) {
        sm_misuse(method, "%llu bytes (%llu aligned) at offset %llu: the heap has %llu, and offsets are multiples of %d",
                  (ull)length, (ull)sm_heap_align(length), (ull)offset, (ull)heap->size, SM_HEAP_ALIGN);
        return NULL;
    }
    if (sm_device_is_removed(heap->base.device) || sm_fault(SOFTMETAL_FAULT_ALLOCATION, NULL)) return NULL;
    pthread_mutex_lock(&heap->mutex);
    bool taken = take_place(heap, sm_heap_align(length), offset);
    pthread_mutex_unlock(&heap->mutex);
    return taken ? wrap(heap, sm_storage_retain(heap->storage), offset, length, options) : NULL;
}

/* ---- What is in it */

void sm_each_storage(id allocation, void (*visit)(sm_storage *storage, void *context), void *context)
{
    if (sm_is_kind(allocation, &sm_resource_class)) {
        visit(((sm_buffer *)allocation)->storage, context);
        return;
    }
    sm_heap *heap = of(allocation);
    if (heap->storage) visit(heap->storage, context);
    pthread_mutex_lock(&heap->mutex);
    for (size_t i = 0; i < heap->storage_count; i++) visit(heap->storages[i], context);
    pthread_mutex_unlock(&heap->mutex);
}

uint64_t sm_heap_size(const sm_heap *heap)
{
    return heap->size;
}

static NSUInteger used_size(id self, SEL cmd)
{
    (void)cmd;
    pthread_mutex_lock(&of(self)->mutex);
    uint64_t bytes = used_bytes(of(self));
    pthread_mutex_unlock(&of(self)->mutex);
    return bytes;
}

static NSUInteger allocated_size(id self, SEL cmd)
{
    (void)cmd;
    return sm_pages(of(self)->size);
}

static NSUInteger max_available(id self, SEL cmd, NSUInteger alignment)
{
    (void)cmd;
    if (alignment & (alignment - 1)) {
        sm_misuse("MTLHeap maxAvailableSizeWithAlignment:", "alignment %llu is not a power of 2", (ull)alignment);
        return 0;
    }
    pthread_mutex_lock(&of(self)->mutex);
    uint64_t bytes = largest_gap(of(self));
    pthread_mutex_unlock(&of(self)->mutex);
    return alignment <= SM_HEAP_ALIGN ? bytes : bytes > alignment ? bytes - alignment + SM_HEAP_ALIGN : 0;
}

static NSUInteger options(id self, SEL cmd)
{
    (void)cmd;
    return SM_OPTIONS(of(self)->cpuCacheMode, of(self)->storageMode, of(self)->hazardTrackingMode);
}

static NSUInteger set_purgeable(id self, SEL cmd, NSUInteger state)
{
    (void)cmd;
    NSUInteger before = of(self)->purgeable;
    if (state != 1) of(self)->purgeable = state;
    return before;
}

SM_GETTER(sm_heap, size, NSUInteger)
SM_GETTER(sm_heap, type, NSInteger)
SM_GETTER(sm_heap, storageMode, NSUInteger)
SM_GETTER(sm_heap, cpuCacheMode, NSUInteger)
SM_GETTER(sm_heap, hazardTrackingMode, NSUInteger)

static const sm_method methods[] = {
    SM_DEVICE_METHOD,
    SM_LABEL_METHODS,
    SM_METHOD("size", "Q@:", get_size),
    SM_METHOD("type", "q@:", get_type),
    SM_METHOD("storageMode", "Q@:", get_storageMode),
    SM_METHOD("cpuCacheMode", "Q@:", get_cpuCacheMode),
    SM_METHOD("hazardTrackingMode", "Q@:", get_hazardTrackingMode),
    SM_METHOD("resourceOptions", "Q@:", options),
    SM_METHOD("usedSize", "Q@:", used_size),
    SM_METHOD("currentAllocatedSize", "Q@:", allocated_size),
    SM_METHOD("allocatedSize", "Q@:", allocated_size),
    SM_METHOD("maxAvailableSizeWithAlignment:", "Q@:Q", max_available),
    SM_METHOD("setPurgeableState:", "Q@:Q", set_purgeable),
    SM_METHOD("newBufferWithLength:options:", "@@:QQ", new_buffer),
    SM_METHOD("newBufferWithLength:options:offset:", "@@:QQQ", new_placed),
};
sm_class sm_heap_class = {.name = "SoftMTLHeap",
                          .protocol = "MTLHeap",
                          .super = &sm_allocation_class,
                          .size = sizeof(sm_heap),
                          .dealloc = dealloc,
                          SM_METHODS(methods)};
SM_REGISTER_AT_LOAD(sm_heap_class)
