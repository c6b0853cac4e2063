/* MTLCaptureManager and its kin: nothing is ever captured, and they say so. */
#include "metal/metal.h"

SM_STRING_CONSTANT(MTLCaptureErrorDomain, SM_CAPTURE_DOMAIN)

#define SM_NOT_SUPPORTED 1 /* MTLCaptureErrorNotSupported */

/* ---- MTLCaptureScope */

typedef struct sm_scope_object {
    sm_base base;
    id queue;
} sm_scope_object;

static void nothing(id self, SEL cmd)
{
    (void)self, (void)cmd;
}

SM_GETTER(sm_scope_object, queue, id)

static void scope_dealloc(id self)
{
    sm_release(((sm_scope_object *)self)->queue);
    sm_base_dealloc(self);
}

static const sm_method scope_methods[] = {
    SM_DEVICE_METHOD,
    SM_LABEL_METHODS,
    SM_METHOD("commandQueue", "@@:", get_queue),
    SM_METHOD("beginScope", "v@:", nothing),
    SM_METHOD("endScope", "v@:", nothing),
};
static sm_class sm_capture_scope_class = {.name = "SoftMTLCaptureScope",
                                          .protocol = "MTLCaptureScope",
                                          .size = sizeof(sm_scope_object),
                                          .dealloc = scope_dealloc,
                                          SM_METHODS(scope_methods)};
SM_REGISTER_AT_LOAD(sm_capture_scope_class)

/* ---- MTLCaptureDescriptor */

typedef struct sm_capture_descriptor {
    sm_object object;
    id captured, url;
    NSInteger destination;
} sm_capture_descriptor;

SM_OBJECT_ACCESSORS(sm_capture_descriptor, captured, sm_store)
SM_OBJECT_ACCESSORS(sm_capture_descriptor, url, sm_store)
SM_ACCESSORS(sm_capture_descriptor, destination, NSInteger)

static id descriptor_init(id self, SEL cmd)
{
    set_destination(self, cmd, 1); /* MTLCaptureDestinationDeveloperTools */
    return self;
}

static void descriptor_dealloc(id self)
{
    sm_release(get_captured(self, NULL));
    sm_release(get_url(self, NULL));
}

static const sm_method descriptor_methods[] = {
    SM_METHOD("init", "@@:", descriptor_init),
    SM_PROPERTY("captureObject", "setCaptureObject:", "@", captured),
    SM_PROPERTY("outputURL", "setOutputURL:", "@", url),
    SM_PROPERTY("destination", "setDestination:", "q", destination),
};
static sm_class sm_capture_descriptor_class = {.name = "MTLCaptureDescriptor",
                                               .size = sizeof(sm_capture_descriptor),
                                               .dealloc = descriptor_dealloc,
                                               SM_METHODS(descriptor_methods)};
SM_REGISTER_AT_LOAD(sm_capture_descriptor_class)

/* ---- MTLCaptureManager */

typedef struct sm_capture_manager {
    sm_object object;
    id scope;
} sm_capture_manager;

SM_OBJECT_ACCESSORS(sm_capture_manager, scope, sm_store)

static sm_class sm_capture_manager_class;
static id manager;

static void make_manager(void)
{
    manager = sm_make_immortal(sm_new(&sm_capture_manager_class));
}

static id shared_manager(id self, SEL cmd)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)self, (void)cmd;
    pthread_once(&once, make_manager);
    return manager;
}

static BOOL no(id self, SEL cmd)
{
    (void)self, (void)cmd;
    return 0;
}

static BOOL supports_destination(id self, SEL cmd, NSInteger destination)
{
    (void)self, (void)cmd, (void)destination;
    return 0;
}

static BOOL start(id self, SEL cmd, id descriptor, id *error)
{
    (void)self, (void)cmd, (void)descriptor;
    sm_error_set(error, SM_CAPTURE_DOMAIN, SM_NOT_SUPPORTED, "softmetal captures nothing");
    return 0;
}

static void start_with(id self, SEL cmd, id object)
{
    (void)self, (void)cmd, (void)object;
    sm_misuse("MTLCaptureManager startCapture", "softmetal captures nothing");
}

static id scope_create(sm_device *device, id queue)
{
    sm_scope_object *scope = (sm_scope_object *)sm_base_new(&sm_capture_scope_class, device);
    if (scope) scope->queue = sm_retain(queue);
    return (id)scope;
}

static id scope_of_device(id self, SEL cmd, id given)
{
    (void)self, (void)cmd;
    id device = sm_expect_kind(given, &sm_device_class, "MTLCaptureManager newCaptureScopeWithDevice:");
    return device ? scope_create((sm_device *)device, NULL) : NULL;
}

static id scope_of_queue(id self, SEL cmd, id given)
{
    (void)self, (void)cmd;
    id queue = sm_expect_kind(given, &sm_queue_class, "MTLCaptureManager newCaptureScopeWithCommandQueue:");
    return queue ? scope_create(((sm_queue *)queue)->base.device, queue) : NULL;
}

static const sm_method manager_methods[] = {
    SM_METHOD("isCapturing", "B@:", no),
    SM_METHOD("supportsDestination:", "B@:q", supports_destination),
    SM_METHOD("startCaptureWithDescriptor:error:", "B@:@^@", start),
    SM_METHOD("startCaptureWithDevice:", "v@:@", start_with),
    SM_METHOD("startCaptureWithCommandQueue:", "v@:@", start_with),
    SM_METHOD("startCaptureWithScope:", "v@:@", start_with),
    SM_METHOD("stopCapture", "v@:", nothing),
    SM_METHOD("newCaptureScopeWithDevice:", "@@:@", scope_of_device),
    SM_METHOD("newCaptureScopeWithCommandQueue:", "@@:@", scope_of_queue),
    SM_PROPERTY("defaultCaptureScope", "setDefaultCaptureScope:", "@", scope),
};
static const sm_method manager_class_methods[] = {SM_METHOD("sharedCaptureManager", "@@:", shared_manager)};
static sm_class sm_capture_manager_class = {.name = "MTLCaptureManager",
                                            .size = sizeof(sm_capture_manager),
                                            SM_METHODS(manager_methods),
                                            SM_CLASS_METHODS(manager_class_methods)};
SM_REGISTER_AT_LOAD(sm_capture_manager_class)
