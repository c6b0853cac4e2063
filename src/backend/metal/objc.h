/* Objective-C from plain C: the frameworks opened by name at run time, selectors and classes looked up once, and a typed wrapper for
 * every message in messages.h:  pv_msg_device_new_buffer(objc, device, length, options).
 *
 * Ownership follows Cocoa: results of `new…` are the caller's (pv_objc_release), all others live until the pool of the thread is popped
 * (pv_objc_push, pv_objc_pop). A message to NULL gives 0. Any thread. */
#ifndef PV_METAL_OBJC_H
#define PV_METAL_OBJC_H

#include "backend/metal/messages.h"
#include "base/error.h"

#define PV_METAL_CLASSES(X)                                                                                                   \
    X(NSString) X(NSURL) X(NSArray) X(MTLCompileOptions) X(MTLFunctionConstantValues) X(MTLComputePipelineDescriptor)          \
    X(MTLBinaryArchiveDescriptor) X(MTLResidencySetDescriptor) X(NSMutableDictionary) X(MTLCounterSampleBufferDescriptor)      \
    X(MTLComputePassDescriptor) X(MTLCaptureManager) X(MTLCaptureDescriptor)

typedef struct pv_objc {
    void *libraries[4];
    void (*send)(void); /* objc_msgSend: called through the typed wrappers only */
    void *(*push)(void);
    void (*pop)(void *pool);
    pv_id (*retain)(pv_id object);
    void (*release)(pv_id object);
    pv_id (*create_device)(void);
    const void *stack_block; /* _NSConcreteStackBlock: isa of the blocks that are made here */
    struct {
#define PV_METAL_SELECTOR(result, name, class, selector, encoding, ...) pv_sel name;
        PV_METAL_GETTERS(PV_METAL_SELECTOR)
        PV_METAL_CALLS(PV_METAL_SELECTOR)
        PV_METAL_CLASS_GETTERS(PV_METAL_SELECTOR)
        PV_METAL_CLASS_CALLS(PV_METAL_SELECTOR)
#undef PV_METAL_SELECTOR
        pv_sel new_;
    } selectors;
    struct {
#define PV_METAL_CLASS(name) pv_id name;
        PV_METAL_CLASSES(PV_METAL_CLASS)
#undef PV_METAL_CLASS
    } classes;
} pv_objc;

/* Opens Apple's frameworks, or one library that stands in for all of them. Errors: PV_NOT_FOUND (the library, class or symbol that is
 * missing, named). */
pv_status pv_objc_open(const char *stand_in, pv_objc *objc, pv_error *error);
void pv_objc_close(pv_objc *objc);

#define PV_METAL_GETTER(result, name, class, selector, encoding)                                            \
    static inline result pv_msg_##name(const pv_objc *objc, pv_id self)                                     \
    {                                                                                                       \
        return ((result(*)(pv_id, pv_sel))objc->send)(self, objc->selectors.name);                          \
    }
PV_METAL_GETTERS(PV_METAL_GETTER)
PV_METAL_CLASS_GETTERS(PV_METAL_GETTER)
#undef PV_METAL_GETTER

#define PV_METAL_PARAMETERS(...) (const pv_objc *objc, pv_id self, __VA_ARGS__)
#define PV_METAL_SIGNATURE(...) (pv_id, pv_sel, __VA_ARGS__)
#define PV_METAL_PASSED(...) __VA_ARGS__
#define PV_METAL_CALL(result, name, class, selector, encoding, parameters, passed)                          \
    static inline result pv_msg_##name PV_METAL_PARAMETERS parameters                                       \
    {                                                                                                       \
        return ((result(*) PV_METAL_SIGNATURE parameters)objc->send)(self, objc->selectors.name, PV_METAL_PASSED passed); \
    }
PV_METAL_CALLS(PV_METAL_CALL)
PV_METAL_CLASS_CALLS(PV_METAL_CALL)
#undef PV_METAL_CALL

/* [[class alloc] init]: the caller's. */
static inline pv_id pv_objc_new(const pv_objc *objc, pv_id class)
{
    return ((pv_id(*)(pv_id, pv_sel))objc->send)(class, objc->selectors.new_);
}

static inline pv_id pv_objc_string(const pv_objc *objc, const char *utf8)
{
    return pv_msg_string_create(objc, objc->classes.NSString, utf8);
}

/* A file's URL; NULL if the path is no UTF-8, of which Foundation makes no string and would throw at the URL of none. */
static inline pv_id pv_objc_url(const pv_objc *objc, const char *path)
{
    const pv_id string = pv_objc_string(objc, path);
    return string != NULL ? pv_msg_url_create(objc, objc->classes.NSURL, string) : NULL;
}

#endif
