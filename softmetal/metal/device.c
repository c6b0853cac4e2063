/* MTLDevice: what it tells of itself. What it makes is in maker.c. */
#include "metal/metal.h"

#include <stdlib.h>
#include <string.h>

/* ---- The devices of this process */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static sm_device *newest; /* not retained: as on a Mac, all calls give the same device as long as it lives */
static uint64_t made;

typedef struct sm_observer {
    sm_object object;
    struct sm_observer *next;
    void *block;
} sm_observer;

static sm_observer *observers; /* retained by the host */

static void destroy_world(softmetal_world *world)
{
    free((char *)world->device_name);
}

/* One that there was no memory for is to be released again, without the lock. */
static sm_device *create(void)
{
    sm_device *device = (sm_device *)sm_new(&sm_device_class);
    if (!device) return NULL;
    device->world = sm_world_now();
    device->number = ++made;
    pthread_mutex_init(&device->executing, NULL);
    device->executor = sm_executor_create(&device->world);
    return device;
}

static bool is_whole(const sm_device *device)
{
    return device && device->executor && device->world.device_name;
}

static void dealloc(id self)
{
    sm_device *device = (sm_device *)self;
    pthread_mutex_lock(&lock);
    if (newest == device) newest = NULL;
    pthread_mutex_unlock(&lock);
    if (device->executor) sm_executor_destroy(device->executor);
    pthread_mutex_destroy(&device->executing);
    destroy_world(&device->world);
}

/* A reference more, unless the last one is just being given back. */
static bool retain_living(sm_device *device)
{
    int references = atomic_load(&device->object.references);
    while (references > 0 && !atomic_compare_exchange_weak(&device->object.references, &references, references + 1)) continue;
    return references > 0;
}

static id default_device(void)
{
    if (sm_fault(SOFTMETAL_FAULT_DEVICE, NULL)) return NULL;
    pthread_mutex_lock(&lock);
    bool there = newest && !sm_device_is_removed(newest) && retain_living(newest);
    sm_device *device = there ? newest : create();
    newest = is_whole(device) ? device : NULL;
    pthread_mutex_unlock(&lock);
    if (!device || is_whole(device)) return (id)device;
    sm_reportf(
        SOFTMETAL_VALIDATION,
        "no device: there is no memory for %u workers (0: one for each processor) with %u bytes of threadgroup memory each",
        device->world.workers, device->world.threadgroup_memory);
    sm_release((id)device);
    return NULL;
}

void sm_forget_default_device(void)
{
    pthread_mutex_lock(&lock);
    newest = NULL;
    pthread_mutex_unlock(&lock);
}

SOFTMETAL_API id MTLCreateSystemDefaultDevice(void);
SOFTMETAL_API id MTLCopyAllDevices(void);
SOFTMETAL_API id MTLCopyAllDevicesWithObserver(id *observer, const void *handler);
SOFTMETAL_API void MTLRemoveDeviceObserver(id observer);
SOFTMETAL_API uint32_t CGMainDisplayID(void);

id MTLCreateSystemDefaultDevice(void)
{
    return default_device();
}

id MTLCopyAllDevices(void)
{
    id device = default_device(), array = sm_array_create(&device, device ? 1 : 0);
    sm_release(device);
    return array;
}

/* Hosts load CoreGraphics before they ask for a device in a command-line tool; some call a function of it. There is no
 * display. */
uint32_t CGMainDisplayID(void)
{
    return 0;
}

/* ---- Removal */

SM_STRING_CONSTANT(MTLDeviceWasAddedNotification, "MTLDeviceWasAddedNotification")
SM_STRING_CONSTANT(MTLDeviceRemovalRequestedNotification, "MTLDeviceRemovalRequestedNotification")
SM_STRING_CONSTANT(MTLDeviceWasRemovedNotification, "MTLDeviceWasRemovedNotification")

static void observer_dealloc(id self)
{
    pthread_mutex_lock(&lock);
    for (sm_observer **at = &observers; *at; at = &(*at)->next) {
        if (*at != (sm_observer *)self) continue;
        *at = (*at)->next;
        break;
    }
    pthread_mutex_unlock(&lock);
    sm_block_release(((sm_observer *)self)->block);
}

static sm_class sm_observer_class = {.name = "SoftMTLDeviceObserver", .size = sizeof(sm_observer), .dealloc = observer_dealloc};
SM_REGISTER_AT_LOAD(sm_observer_class)

id MTLCopyAllDevicesWithObserver(id *place, const void *handler)
{
    sm_observer *observer = place ? (sm_observer *)sm_new(&sm_observer_class) : NULL;
    if (place) *place = (id)observer;
    if (observer) {
        observer->block = sm_block_copy(handler);
        pthread_mutex_lock(&lock);
        observer->next = observers;
        observers = observer;
        pthread_mutex_unlock(&lock);
    }
    return MTLCopyAllDevices();
}

void MTLRemoveDeviceObserver(id observer)
{
    if (sm_expect_kind(observer, &sm_observer_class, "MTLRemoveDeviceObserver")) sm_release(observer);
}

bool sm_device_is_removed(const sm_device *device)
{
    return atomic_load(&device->removed);
}

/* The blocks are copied out, so that a handler may remove its observer. */
static size_t copy_blocks(void ***blocks)
{
    size_t count = 0;
    pthread_mutex_lock(&lock);
    for (const sm_observer *one = observers; one; one = one->next) count++;
    *blocks = sm_allocate((count + 1) * sizeof **blocks);
    count = 0;
    for (const sm_observer *one = observers; *blocks && one; one = one->next) (*blocks)[count++] = sm_block_copy(one->block);
    pthread_mutex_unlock(&lock);
    return count;
}

void sm_device_remove(sm_device *device)
{
    void **blocks;
    if (atomic_exchange(&device->removed, true)) return;
    sm_events_wake();
    size_t count = copy_blocks(&blocks);
    for (size_t i = 0; i < count; i++) {
        sm_block_call2(blocks[i], (id)device, MTLDeviceWasRemovedNotification);
        sm_block_release(blocks[i]);
    }
    free(blocks);
}

/* ---- Families */

enum {
    SM_APPLE1 = 1001,
    SM_MAC1 = 2001,
    SM_MAC2 = 2002,
    SM_COMMON1 = 3001,
    SM_COMMON3 = 3003,
    SM_METAL3 = 5001,
    SM_METAL4 = 5002
};
#define SM_METAL4_MACOS 26
#define SM_METAL4_FAMILY 7

/* A discrete device is no Apple GPU. */
static BOOL supports_family(id self, SEL cmd, NSInteger family)
{
    (void)cmd;
    const softmetal_world *world = &((sm_device *)self)->world;
    if (family >= SM_APPLE1 && family < SM_MAC1) return !world->discrete && family < SM_APPLE1 + (NSInteger)world->apple_family;
    if (family == SM_MAC1 || family == SM_MAC2 || (family >= SM_COMMON1 && family <= SM_COMMON3)) return 1;
    if (family == SM_METAL3) return world->macos_major >= 13;
    return family == SM_METAL4 && !world->discrete && world->macos_major >= SM_METAL4_MACOS &&
           world->apple_family >= SM_METAL4_FAMILY;
}

/* Sets of features as they were named before families. */
static BOOL supports_feature_set(id self, SEL cmd, NSUInteger set)
{
    (void)self, (void)cmd;
    return set >= 10000 && set <= 10005;
}

/* ---- Architecture */

typedef struct sm_architecture {
    sm_object object;
    id name;
} sm_architecture;

SM_GETTER(sm_architecture, name, id)

static void architecture_dealloc(id self)
{
    sm_release(((sm_architecture *)self)->name);
}

static const sm_method architecture_methods[] = {SM_METHOD("name", "@@:", get_name)};
static sm_class sm_architecture_class = {.name = "MTLArchitecture",
                                         .size = sizeof(sm_architecture),
                                         .dealloc = architecture_dealloc,
                                         SM_METHODS(architecture_methods)};
SM_REGISTER_AT_LOAD(sm_architecture_class)

/* applegpu_g13g is an M1; what follows says that this is none. */
static id architecture(id self, SEL cmd)
{
    (void)cmd;
    const softmetal_world *world = &((sm_device *)self)->world;
    sm_architecture *is = (sm_architecture *)sm_new(&sm_architecture_class);
    if (!is) return NULL;
    is->name = sm_string_createf("softmetal_family%u", world->apple_family);
    return sm_autorelease((id)is);
}

/* ---- Properties */

#define SM_TELLS(function, type, value)                                                                                        \
    static type function(id self, SEL cmd)                                                                                     \
    {                                                                                                                          \
        (void)cmd;                                                                                                             \
        const sm_device *device = (const sm_device *)self;                                                                     \
        (void)device;                                                                                                          \
        return value;                                                                                                          \
    }

SM_TELLS(name, id, sm_autorelease(sm_string_create(device->world.device_name)))
SM_TELLS(registry_id, uint64_t, UINT64_C(0x534f4654) << 32 | device->number) /* "SOFT" */
SM_TELLS(unified, BOOL, !device->world.discrete)
SM_TELLS(low_power, BOOL, 0)
SM_TELLS(removable, BOOL, 0)
SM_TELLS(headless, BOOL, 1)
SM_TELLS(location, NSUInteger, device->world.discrete ? 1 : 0)
SM_TELLS(working_set, uint64_t, device->world.working_set)
SM_TELLS(allocated, NSUInteger, atomic_load(&device->allocated))
SM_TELLS(max_buffer, NSUInteger, device->world.max_buffer)
SM_TELLS(max_threadgroup_memory, NSUInteger, device->world.threadgroup_memory)
SM_TELLS(max_threads, sm_size, ((sm_size){device->world.max_threads, device->world.max_threads, device->world.max_threads}))
SM_TELLS(zero, NSUInteger, 0)
SM_TELLS(zero32, uint32_t, 0)
SM_TELLS(no, BOOL, 0)
SM_TELLS(tier2, NSUInteger, 1)
SM_TELLS(samplers, NSUInteger, 0)
SM_TELLS(compilations, NSUInteger, 2)
SM_TELLS(timestamp_frequency, uint64_t, 1000000000)
SM_TELLS(counter_sets, id, sm_counter_sets(device))
SM_ACCESSORS(sm_device, maximizes, BOOL)

/* 0 stage boundary; 2 dispatch and 4 blit boundary exist on discrete devices and in worlds that say so. */
static BOOL supports_sampling(id self, SEL cmd, NSUInteger point)
{
    (void)cmd;
    return point == 0 || (sm_samples_dispatches((sm_device *)self) && (point == 2 || point == 4));
}

/* One clock is both: its nanoseconds. */
static void sample_timestamps(id self, SEL cmd, uint64_t *cpu, uint64_t *gpu)
{
    (void)self, (void)cmd;
    uint64_t now = sm_nanoseconds();
    if (cpu) *cpu = now;
    if (gpu) *gpu = now;
}

static NSUInteger alignment_for_format(id self, SEL cmd, NSUInteger format)
{
    (void)self, (void)cmd, (void)format;
    return 16;
}

static BOOL responds(id self, SEL cmd, SEL selector)
{
    (void)cmd;
    bool known = sm_implementation(self, (const char *)selector) != NULL;
    return known && (((sm_device *)self)->world.macos_major >= 15 || !strstr((const char *)selector, "ResidencySet"));
}

static const sm_method methods[] = {
    SM_METHOD("name", "@@:", name),
    SM_METHOD("registryID", "Q@:", registry_id),
    SM_METHOD("architecture", "@@:", architecture),
    SM_METHOD("supportsFamily:", "B@:q", supports_family),
    SM_METHOD("supportsFeatureSet:", "B@:Q", supports_feature_set),
    SM_METHOD("hasUnifiedMemory", "B@:", unified),
    SM_METHOD("isLowPower", "B@:", low_power),
    SM_METHOD("isRemovable", "B@:", removable),
    SM_METHOD("isHeadless", "B@:", headless),
    SM_METHOD("location", "Q@:", location),
    SM_METHOD("locationNumber", "Q@:", zero),
    SM_METHOD("maxTransferRate", "Q@:", zero),
    SM_METHOD("peerGroupID", "Q@:", zero),
    SM_METHOD("peerIndex", "I@:", zero32),
    SM_METHOD("peerCount", "I@:", zero32),
    SM_METHOD("recommendedMaxWorkingSetSize", "Q@:", working_set),
    SM_METHOD("currentAllocatedSize", "Q@:", allocated),
    SM_METHOD("maxBufferLength", "Q@:", max_buffer),
    SM_METHOD("maxThreadgroupMemoryLength", "Q@:", max_threadgroup_memory),
    SM_METHOD("maxThreadsPerThreadgroup", SM_SIZE_TYPE "@:", max_threads),
    SM_METHOD("argumentBuffersSupport", "Q@:", tier2),
    SM_METHOD("readWriteTextureSupport", "Q@:", zero),
    SM_METHOD("maxArgumentBufferSamplerCount", "Q@:", samplers),
    SM_METHOD("maximumConcurrentCompilationTaskCount", "Q@:", compilations),
    SM_PROPERTY("shouldMaximizeConcurrentCompilation", "setShouldMaximizeConcurrentCompilation:", "B", maximizes),
    SM_METHOD("minimumLinearTextureAlignmentForPixelFormat:", "Q@:Q", alignment_for_format),
    SM_METHOD("minimumTextureBufferAlignmentForPixelFormat:", "Q@:Q", alignment_for_format),
    SM_METHOD("counterSets", "@@:", counter_sets),
    SM_METHOD("supportsCounterSampling:", "B@:Q", supports_sampling),
    SM_METHOD("sampleTimestamps:gpuTimestamp:", "v@:^Q^Q", sample_timestamps),
    SM_METHOD("queryTimestampFrequency", "Q@:", timestamp_frequency),
    SM_METHOD("supportsDynamicLibraries", "B@:", no),
    SM_METHOD("supportsRenderDynamicLibraries", "B@:", no),
    SM_METHOD("supportsFunctionPointers", "B@:", no),
    SM_METHOD("supportsFunctionPointersFromRender", "B@:", no),
    SM_METHOD("supportsRaytracing", "B@:", no),
    SM_METHOD("supportsRaytracingFromRender", "B@:", no),
    SM_METHOD("supportsPrimitiveMotionBlur", "B@:", no),
    SM_METHOD("supportsQueryTextureLOD", "B@:", no),
    SM_METHOD("supportsBCTextureCompression", "B@:", no),
    SM_METHOD("supportsPullModelInterpolation", "B@:", no),
    SM_METHOD("supportsShaderBarycentricCoordinates", "B@:", no),
    SM_METHOD("supports32BitFloatFiltering", "B@:", no),
    SM_METHOD("supports32BitMSAA", "B@:", no),
    SM_METHOD("isDepth24Stencil8PixelFormatSupported", "B@:", no),
    SM_METHOD("areProgrammableSamplePositionsSupported", "B@:", no),
    SM_METHOD("areRasterOrderGroupsSupported", "B@:", no),
    SM_METHOD("areBarycentricCoordsSupported", "B@:", no),
    SM_METHOD("respondsToSelector:", "B@::", responds),
};

/* The other half of the table is a superclass, so that each file has its own. */
sm_class sm_device_class = {.name = "SoftMTLDevice",
                            .protocol = "MTLDevice",
                            .super = &sm_device_maker_class,
                            .size = sizeof(sm_device),
                            .dealloc = dealloc,
                            SM_METHODS(methods)};
SM_REGISTER_AT_LOAD(sm_device_class)
