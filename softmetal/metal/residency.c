/* MTLResidencySet. All memory is resident here; a set keeps its allocations and counts them. */
#include "metal/metal.h"

#include <stdlib.h>
#include <string.h>

#define SM_ON "MTLResidencySet "

typedef struct sm_residency_set {
    sm_base base;
    pthread_mutex_t mutex;
    id *items; /* retained */
    size_t count;
} sm_residency_set;

typedef struct sm_residency_descriptor {
    sm_object object;
    id label;
    NSUInteger initialCapacity;
} sm_residency_descriptor;

static sm_residency_set *of(id self)
{
    return (sm_residency_set *)self;
}

id sm_residency_set_create(sm_device *device, id given, id *error)
{
    const char *method = "MTLDevice newResidencySetWithDescriptor:error:";
    sm_residency_descriptor *descriptor =
        (sm_residency_descriptor *)sm_expect_kind(given, &sm_residency_descriptor_class, method);
    if (error) *error = NULL;
    if (!descriptor) sm_misuse(method, "the descriptor is nil");
    if (!descriptor || sm_device_is_removed(device) || sm_fault(SOFTMETAL_FAULT_ALLOCATION, NULL)) {
        sm_error_set(error, SM_COMMAND_DOMAIN, SM_COMMAND_OUT_OF_MEMORY, "The residency set could not be made");
        return NULL;
    }
    sm_residency_set *set = of(sm_base_new(&sm_residency_set_class, device));
    if (!set) return NULL;
    pthread_mutex_init(&set->mutex, NULL);
    sm_store_text(&set->base.label, descriptor->label);
    return (id)set;
}

static size_t find(const sm_residency_set *set, id item)
{
    size_t i = 0;
    while (i < set->count && set->items[i] != item) i++;
    return i;
}

static void add(id self, SEL cmd, id given)
{
    (void)cmd;
    sm_residency_set *set = of(self);
    id item = sm_expect_kind(given, &sm_allocation_class, SM_ON "addAllocation:");
    if (!item) return;
    if (((sm_base *)item)->device != set->base.device) {
        sm_misuse(SM_ON "addAllocation:", "%s '%s' is of another device", item->isa->protocol,
                  sm_label_of(item, "without a label"));
        return;
    }
    pthread_mutex_lock(&set->mutex);
    id *items = find(set, item) == set->count ? sm_reallocate(set->items, (set->count + 1) * sizeof *items) : NULL;
    if (items) {
        set->items = items;
        items[set->count++] = sm_retain(item);
    }
    pthread_mutex_unlock(&set->mutex);
}

static void take_out(id self, SEL cmd, id item)
{
    (void)cmd;
    sm_residency_set *set = of(self);
    pthread_mutex_lock(&set->mutex);
    size_t at = find(set, item);
    bool found = at < set->count;
    if (found) set->items[at] = set->items[--set->count];
    pthread_mutex_unlock(&set->mutex);
    if (found) sm_release(item);
}

static void add_all(id self, SEL cmd, const id *items, NSUInteger count)
{
    for (NSUInteger i = 0; i < count; i++) add(self, cmd, items[i]);
}

static void take_out_some(id self, SEL cmd, const id *items, NSUInteger count)
{
    for (NSUInteger i = 0; i < count; i++) take_out(self, cmd, items[i]);
}

static void take_out_all(id self, SEL cmd)
{
    (void)cmd;
    sm_residency_set *set = of(self);
    pthread_mutex_lock(&set->mutex);
    id *items = set->items;
    size_t count = set->count;
    set->items = NULL;
    set->count = 0;
    pthread_mutex_unlock(&set->mutex);
    for (size_t i = 0; i < count; i++) sm_release(items[i]);
    free(items);
}

static void dealloc(id self)
{
    take_out_all(self, NULL);
    pthread_mutex_destroy(&of(self)->mutex);
    sm_base_dealloc(self);
}

static id all(id self, SEL cmd)
{
    (void)cmd;
    pthread_mutex_lock(&of(self)->mutex);
    id array = sm_array_create(of(self)->items, of(self)->count);
    pthread_mutex_unlock(&of(self)->mutex);
    return sm_autorelease(array);
}

static BOOL contains(id self, SEL cmd, id item)
{
    (void)cmd;
    pthread_mutex_lock(&of(self)->mutex);
    BOOL found = find(of(self), item) < of(self)->count;
    pthread_mutex_unlock(&of(self)->mutex);
    return found;
}

static NSUInteger allocation_count(id self, SEL cmd)
{
    (void)cmd;
    pthread_mutex_lock(&of(self)->mutex);
    NSUInteger count = of(self)->count;
    pthread_mutex_unlock(&of(self)->mutex);
    return count;
}

static void sum(sm_storage *storage, void *context)
{
    *(uint64_t *)context += sm_pages(storage->memory.bytes);
}

static NSUInteger allocated_size(id self, SEL cmd)
{
    (void)cmd;
    uint64_t bytes = 0;
    pthread_mutex_lock(&of(self)->mutex);
    for (size_t i = 0; i < of(self)->count; i++) {
        id item = of(self)->items[i];
        if (!sm_is_kind(item, &sm_pipeline_class)) sm_each_storage(item, sum, &bytes);
    }
    pthread_mutex_unlock(&of(self)->mutex);
    return bytes;
}

static void nothing(id self, SEL cmd)
{
    (void)self, (void)cmd;
}

static const sm_method methods[] = {
    SM_DEVICE_METHOD,
    SM_METHOD("label", "@@:", sm_base_label),
    SM_METHOD("addAllocation:", "v@:@", add),
    SM_METHOD("addAllocations:count:", "v@:^@Q", add_all),
    SM_METHOD("removeAllocation:", "v@:@", take_out),
    SM_METHOD("removeAllocations:count:", "v@:^@Q", take_out_some),
    SM_METHOD("removeAllAllocations", "v@:", take_out_all),
    SM_METHOD("allAllocations", "@@:", all),
    SM_METHOD("allocationCount", "Q@:", allocation_count),
    SM_METHOD("containsAllocation:", "B@:@", contains),
    SM_METHOD("allocatedSize", "Q@:", allocated_size),
    SM_METHOD("commit", "v@:", nothing),
    SM_METHOD("requestResidency", "v@:", nothing),
    SM_METHOD("endResidency", "v@:", nothing),
};
sm_class sm_residency_set_class = {.name = "SoftMTLResidencySet",
                                   .protocol = "MTLResidencySet",
                                   .size = sizeof(sm_residency_set),
                                   .dealloc = dealloc,
                                   SM_METHODS(methods)};
SM_REGISTER_AT_LOAD(sm_residency_set_class)

/* ---- MTLResidencySetDescriptor */

SM_OBJECT_ACCESSORS(sm_residency_descriptor, label, sm_store_text)
SM_ACCESSORS(sm_residency_descriptor, initialCapacity, NSUInteger)

static void descriptor_dealloc(id self)
{
    sm_release(get_label(self, NULL));
}

static id descriptor_copy(id self, SEL cmd)
{
    id made = sm_new(&sm_residency_descriptor_class);
    if (!made) return NULL;
    set_label(made, cmd, get_label(self, cmd));
    set_initialCapacity(made, cmd, get_initialCapacity(self, cmd));
    return made;
}

static const sm_method descriptor_methods[] = {
    SM_METHOD("copy", "@@:", descriptor_copy),
    SM_PROPERTY("label", "setLabel:", "@", label),
    SM_PROPERTY("initialCapacity", "setInitialCapacity:", "Q", initialCapacity),
};
sm_class sm_residency_descriptor_class = {.name = "MTLResidencySetDescriptor",
                                          .size = sizeof(sm_residency_descriptor),
                                          .dealloc = descriptor_dealloc,
                                          SM_METHODS(descriptor_methods)};
SM_REGISTER_AT_LOAD(sm_residency_descriptor_class)
