/* MTLAllocation, MTLResource, MTLBuffer. */
#include "metal/metal.h"

#include <string.h>

#define SM_PURGEABLE_KEEP 1
#define SM_NON_VOLATILE 2
#define SM_EMPTY 4

static sm_buffer *of(id self)
{
    return (sm_buffer *)self;
}

/* ---- Making them */

bool sm_buffer_length_fits(sm_device *device, uint64_t length, const char *where)
{
    if (length > 0 && length <= device->world.max_buffer) return true;
    if (length == 0)
        sm_misuse(where, "the length is 0; a buffer has at least a byte");
    else
        sm_misuse(where, "the length %llu is over the device's maxBufferLength, %llu", (unsigned long long)length,
                  (unsigned long long)device->world.max_buffer);
    return false;
}

id sm_buffer_wrap(sm_device *device, sm_storage *storage, uint64_t offset, uint64_t length, NSUInteger options)
{
    sm_buffer *buffer = of(sm_base_new(&sm_buffer_class, device));
    if (!buffer) return NULL;
    buffer->storage = storage;
    buffer->offset = offset;
    buffer->length = length;
    buffer->options = options;
    buffer->purgeable = SM_NON_VOLATILE;
    atomic_fetch_add(&sm_counts.buffers, 1);
    return (id)buffer;
}

static bool mode_is_known(NSUInteger options, const char *where)
{
    if (SM_OPTIONS_STORAGE(options) <= SM_STORAGE_PRIVATE) return true;
    sm_misuse(where, "the options 0x%llx name storage mode %llu; a buffer is shared, managed or private",
              (unsigned long long)options, (unsigned long long)SM_OPTIONS_STORAGE(options));
    return false;
}

id sm_buffer_create(sm_device *device, uint64_t length, NSUInteger options, const void *bytes)
{
    const char *where = bytes ? "MTLDevice newBufferWithBytes:length:options:" : "MTLDevice newBufferWithLength:options:";
    if (!mode_is_known(options, where) || !sm_buffer_length_fits(device, length, where)) return NULL;
    if (sm_device_is_removed(device) || sm_fault(SOFTMETAL_FAULT_ALLOCATION, NULL)) return NULL;
    sm_storage *storage = sm_storage_create(device, length, SM_OPTIONS_STORAGE(options));
    if (!storage) return NULL;
    if (bytes) {
        memcpy(storage->memory.device, bytes, length);
        if (storage->apart) memcpy(storage->memory.cpu, bytes, length);
        sm_memory_written(&storage->memory, 0, length);
    }
    id buffer = sm_buffer_wrap(device, storage, 0, length, options);
    if (!buffer) sm_storage_release(storage);
    return buffer;
}

/* ---- Ending them */

static void dealloc(id self)
{
    sm_buffer *buffer = of(self);
    if (buffer->heap) sm_heap_forget(buffer->heap, buffer->storage);
    if (buffer->heap && !buffer->aliasable) sm_heap_give_back(buffer->heap, buffer->heap_offset, buffer->heap_bytes);
    atomic_fetch_sub(&sm_counts.buffers, 1);
    sm_storage_release(buffer->storage);
    sm_release((id)buffer->heap);
    sm_base_dealloc(self);
}

/* ---- MTLAllocation, MTLResource */

static NSUInteger allocated_size(id self, SEL cmd)
{
    (void)cmd;
    return of(self)->heap ? of(self)->heap_bytes : sm_pages(of(self)->length);
}

static NSUInteger options(id self, SEL cmd)
{
    (void)cmd;
    return of(self)->options;
}

static NSUInteger storage_mode(id self, SEL cmd)
{
    (void)cmd;
    return SM_OPTIONS_STORAGE(of(self)->options);
}

static NSUInteger cache_mode(id self, SEL cmd)
{
    (void)cmd;
    return SM_OPTIONS_CACHE(of(self)->options);
}

/* Metal names what the default means: buffers of a device are tracked, those of a heap are not. */
static NSUInteger hazard_mode(id self, SEL cmd)
{
    (void)cmd;
    NSUInteger mode = SM_OPTIONS_HAZARD(of(self)->options);
    if (mode != SM_HAZARD_DEFAULT) return mode;
    return of(self)->heap ? SM_HAZARD_UNTRACKED : SM_HAZARD_TRACKED;
}

static id heap(id self, SEL cmd)
{
    (void)cmd;
    return (id)of(self)->heap;
}

static NSUInteger heap_offset(id self, SEL cmd)
{
    (void)cmd;
    return of(self)->heap_offset;
}

/* Nothing is ever purged here; an emptied buffer has lost its contents, as far as its owner can rely on them. */
static NSUInteger set_purgeable(id self, SEL cmd, NSUInteger state)
{
    (void)cmd;
    NSUInteger before = of(self)->purgeable;
    if (state != SM_PURGEABLE_KEEP) of(self)->purgeable = state;
    if (state == SM_EMPTY && !of(self)->heap && !of(self)->storage->host)
        memset(of(self)->storage->memory.device, 0xFF, of(self)->length);
    return before;
}

static void make_aliasable(id self, SEL cmd)
{
    (void)cmd;
    sm_buffer *buffer = of(self);
    if (!buffer->heap) {
        sm_misuse("MTLBuffer makeAliasable", "buffer '%s' is not of a heap", sm_label_of(self, "without a label"));
    } else if (!buffer->aliasable) {
        sm_heap_give_back(buffer->heap, buffer->heap_offset, buffer->heap_bytes);
        buffer->aliasable = true;
    }
}

static BOOL is_aliasable(id self, SEL cmd)
{
    (void)cmd;
    return of(self)->aliasable;
}

static int32_t set_owner(id self, SEL cmd, uint32_t task)
{
    (void)self, (void)cmd, (void)task;
    return 0; /* KERN_SUCCESS: memory is not accounted to other processes here */
}

static void set_label(id self, SEL cmd, id label)
{
    sm_base_set_label(self, cmd, label);
    if (label && !of(self)->storage->shared) sm_storage_name(of(self)->storage, sm_label_of(self, ""));
}

/* ---- MTLBuffer */

static void *contents(id self, SEL cmd)
{
    (void)cmd;
    sm_buffer *buffer = of(self);
    if (SM_OPTIONS_STORAGE(buffer->options) == SM_STORAGE_PRIVATE) {
        sm_misuse("MTLBuffer contents", "buffer '%s' of %llu bytes is private: the CPU cannot see it",
                  sm_label_of(self, "without a label"), (unsigned long long)buffer->length);
        return NULL;
    }
    return buffer->storage->memory.cpu + buffer->offset;
}

SM_GETTER(sm_buffer, length, NSUInteger)

static uint64_t gpu_address(id self, SEL cmd)
{
    (void)cmd;
    return (uint64_t)(uintptr_t)(of(self)->storage->memory.device + of(self)->offset);
}

static void did_modify(id self, SEL cmd, sm_range range)
{
    (void)cmd;
    sm_buffer *buffer = of(self);
    if (SM_OPTIONS_STORAGE(buffer->options) != SM_STORAGE_MANAGED)
        sm_misuse("MTLBuffer didModifyRange:", "buffer '%s' is not managed; only managed ones are told",
                  sm_label_of(self, "without a label"));
    if (range.location > buffer->length || range.length > buffer->length - range.location) {
        sm_misuse("MTLBuffer didModifyRange:", "range {%llu, %llu} is not inside the %llu bytes of buffer '%s'",
                  (unsigned long long)range.location, (unsigned long long)range.length, (unsigned long long)buffer->length,
                  sm_label_of(self, "without a label"));
        return;
    }
    const sm_storage *storage = buffer->storage;
    uint64_t offset = buffer->offset + range.location;
    if (storage->apart) memcpy(storage->memory.device + offset, storage->memory.cpu + offset, range.length);
}

static void add_marker(id self, SEL cmd, id marker, sm_range range)
{
    (void)self, (void)cmd, (void)marker, (void)range;
}

static void remove_markers(id self, SEL cmd)
{
    (void)self, (void)cmd;
}

static id remote_view(id self, SEL cmd, id device)
{
    (void)cmd, (void)device;
    sm_misuse("MTLBuffer newRemoteBufferViewForDevice:", "buffer '%s': this device has no peers",
              sm_label_of(self, "without a label"));
    return NULL;
}

static id remote_storage(id self, SEL cmd)
{
    (void)self, (void)cmd;
    return NULL;
}

static NSInteger sparse_tier(id self, SEL cmd)
{
    (void)self, (void)cmd;
    return 0;
}

/* ---- Classes */

/* What is in the superclass of what is allocated. */
static NSUInteger no_size(id self, SEL cmd)
{
    (void)self, (void)cmd;
    return 0;
}

static const sm_method allocation_methods[] = {SM_METHOD("allocatedSize", "Q@:", no_size)};
sm_class sm_allocation_class = {
    .name = "SoftMTLAllocation", .protocol = "MTLAllocation", .size = sizeof(sm_base), SM_METHODS(allocation_methods)};
SM_REGISTER_AT_LOAD(sm_allocation_class)

static const sm_method resource_methods[] = {
    SM_DEVICE_METHOD,
    SM_METHOD("label", "@@:", sm_base_label),
    SM_METHOD("setLabel:", "v@:@", set_label),
    SM_METHOD("allocatedSize", "Q@:", allocated_size),
    SM_METHOD("resourceOptions", "Q@:", options),
    SM_METHOD("storageMode", "Q@:", storage_mode),
    SM_METHOD("cpuCacheMode", "Q@:", cache_mode),
    SM_METHOD("hazardTrackingMode", "Q@:", hazard_mode),
    SM_METHOD("heap", "@@:", heap),
    SM_METHOD("heapOffset", "Q@:", heap_offset),
    SM_METHOD("setPurgeableState:", "Q@:Q", set_purgeable),
    SM_METHOD("makeAliasable", "v@:", make_aliasable),
    SM_METHOD("isAliasable", "B@:", is_aliasable),
    SM_METHOD("setOwnerWithIdentity:", "i@:I", set_owner),
};
sm_class sm_resource_class = {.name = "SoftMTLResource",
                              .protocol = "MTLResource",
                              .super = &sm_allocation_class,
                              .size = sizeof(sm_buffer),
                              SM_METHODS(resource_methods)};
SM_REGISTER_AT_LOAD(sm_resource_class)

static const sm_method methods[] = {
    SM_METHOD("contents", "^v@:", contents),
    SM_METHOD("length", "Q@:", get_length),
    SM_METHOD("gpuAddress", "Q@:", gpu_address),
    SM_METHOD("didModifyRange:", "v@:" SM_RANGE_TYPE, did_modify),
    SM_METHOD("addDebugMarker:range:", "v@:@" SM_RANGE_TYPE, add_marker),
    SM_METHOD("removeAllDebugMarkers", "v@:", remove_markers),
    SM_METHOD("newRemoteBufferViewForDevice:", "@@:@", remote_view),
    SM_METHOD("remoteStorageBuffer", "@@:", remote_storage),
    SM_METHOD("sparseBufferTier", "q@:", sparse_tier),
};
sm_class sm_buffer_class = {.name = "SoftMTLBuffer",
                            .protocol = "MTLBuffer",
                            .super = &sm_resource_class,
                            .size = sizeof(sm_buffer),
                            .dealloc = dealloc,
                            SM_METHODS(methods)};
SM_REGISTER_AT_LOAD(sm_buffer_class)
