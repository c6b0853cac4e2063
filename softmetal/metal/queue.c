/* MTLCommandQueue. */
#include "metal/commands.h"

#include <stdlib.h>
#include <string.h>

#define SM_ON "MTLCommandQueue "
#define SM_RESIDENCY_SETS 32 /* of a queue, as on a Mac */

static sm_queue *of(id self)
{
    return (sm_queue *)self;
}

id sm_queue_create(sm_device *device, NSUInteger limit)
{
    if (limit == 0) {
        sm_misuse("MTLDevice newCommandQueueWithMaxCommandBufferCount:", "a queue of no command buffers");
        return NULL;
    }
    if (sm_device_is_removed(device) || sm_fault(SOFTMETAL_FAULT_QUEUE, NULL)) return NULL;
    sm_queue *queue = of(sm_base_new(&sm_queue_class, device));
    if (!queue) return NULL;
    pthread_mutex_init(&queue->mutex, NULL);
    queue->line = sm_line_create(limit);
    if (queue->line) return (id)queue;
    sm_release((id)queue);
    return NULL;
}

static void dealloc(id self)
{
    sm_queue *queue = of(self);
    if (queue->line) sm_line_end(queue->line);
    for (size_t i = 0; i < queue->residency_count; i++) sm_release(queue->residency_sets[i]);
    free(queue->residency_sets);
    pthread_mutex_destroy(&queue->mutex);
    sm_base_dealloc(self);
}

static id command_buffer(id self, SEL cmd)
{
    (void)cmd;
    return sm_command_buffer_create(of(self), true, 0, NULL);
}

static id unretained(id self, SEL cmd)
{
    (void)cmd;
    return sm_command_buffer_create(of(self), false, 0, NULL);
}

static id described(id self, SEL cmd, id given)
{
    (void)cmd;
    id descriptor = sm_expect_kind(given, &sm_command_buffer_descriptor_class, SM_ON "commandBufferWithDescriptor:");
    if (!descriptor) return NULL;
    const sm_command_buffer_descriptor *is = (const sm_command_buffer_descriptor *)descriptor;
    return sm_command_buffer_create(of(self), is->retainedReferences, is->errorOptions, is->logState);
}

/* ---- Residency sets: all command buffers of the queue use them */

static bool has_residency(id self, const char *method)
{
    uint32_t major = of(self)->base.device->world.macos_major;
    if (major >= 15) return true;
    sm_reportf(SOFTMETAL_UNKNOWN_SELECTOR, "[%s]: macOS %u has no residency sets", method, major);
    return false;
}

static size_t find(const sm_queue *queue, id set)
{
    size_t i = 0;
    while (i < queue->residency_count && queue->residency_sets[i] != set) i++;
    return i;
}

static void add_locked(sm_queue *queue, id set)
{
    if (find(queue, set) < queue->residency_count) return;
    if (queue->residency_count == SM_RESIDENCY_SETS) {
        sm_misuse(SM_ON "addResidencySet:", "the queue has its %d residency sets already", SM_RESIDENCY_SETS);
        return;
    }
    id *sets = sm_reallocate(queue->residency_sets, (queue->residency_count + 1) * sizeof *sets);
    if (!sets) return;
    queue->residency_sets = sets;
    sets[queue->residency_count++] = sm_retain(set);
}

static void add_set(id self, SEL cmd, id given)
{
    (void)cmd;
    sm_queue *queue = of(self);
    id set = has_residency(self, SM_ON "addResidencySet:")
                 ? sm_expect_kind(given, &sm_residency_set_class, SM_ON "addResidencySet:")
                 : NULL;
    if (!set) return;
    pthread_mutex_lock(&queue->mutex);
    add_locked(queue, set);
    pthread_mutex_unlock(&queue->mutex);
}

static void remove_set(id self, SEL cmd, id set)
{
    (void)cmd;
    sm_queue *queue = of(self);
    if (!has_residency(self, SM_ON "removeResidencySet:")) return;
    pthread_mutex_lock(&queue->mutex);
    size_t at = find(queue, set);
    bool found = at < queue->residency_count;
    if (found) queue->residency_sets[at] = queue->residency_sets[--queue->residency_count];
    pthread_mutex_unlock(&queue->mutex);
    if (found)
        sm_release(set);
    else
        sm_misuse(SM_ON "removeResidencySet:", "the set was not added to this queue");
}

static void add_sets(id self, SEL cmd, const id *sets, NSUInteger count)
{
    for (NSUInteger i = 0; i < count; i++) add_set(self, cmd, sets[i]);
}

static void remove_sets(id self, SEL cmd, const id *sets, NSUInteger count)
{
    for (NSUInteger i = 0; i < count; i++) remove_set(self, cmd, sets[i]);
}

static BOOL responds(id self, SEL cmd, SEL selector)
{
    (void)cmd;
    bool known = sm_implementation(self, (const char *)selector) != NULL;
    return known && (of(self)->base.device->world.macos_major >= 15 || !strstr((const char *)selector, "ResidencySet"));
}

static void capture_boundary(id self, SEL cmd)
{
    (void)self, (void)cmd;
}

static const sm_method methods[] = {
    SM_DEVICE_METHOD,
    SM_LABEL_METHODS,
    SM_METHOD("commandBuffer", "@@:", command_buffer),
    SM_METHOD("commandBufferWithUnretainedReferences", "@@:", unretained),
    SM_METHOD("commandBufferWithDescriptor:", "@@:@", described),
    SM_METHOD("addResidencySet:", "v@:@", add_set),
    SM_METHOD("addResidencySets:count:", "v@:^@Q", add_sets),
    SM_METHOD("removeResidencySet:", "v@:@", remove_set),
    SM_METHOD("removeResidencySets:count:", "v@:^@Q", remove_sets),
    SM_METHOD("insertDebugCaptureBoundary", "v@:", capture_boundary),
    SM_METHOD("respondsToSelector:", "B@::", responds),
};
sm_class sm_queue_class = {.name = "SoftMTLCommandQueue",
                           .protocol = "MTLCommandQueue",
                           .size = sizeof(sm_queue),
                           .dealloc = dealloc,
                           SM_METHODS(methods)};
SM_REGISTER_AT_LOAD(sm_queue_class)
