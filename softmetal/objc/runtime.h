/* What the shared library exports under Apple's names, and what the runtime's files share. */
#ifndef SOFTMETAL_OBJC_RUNTIME_H
#define SOFTMETAL_OBJC_RUNTIME_H

#include "objc/object.h"
#include "softmetal.h"

typedef const sm_method *Method;
typedef struct sm_protocol *Protocol;

struct objc_super {
    id receiver;
    Class super_class; /* where the search begins */
};

/* ---- Messages (message_*.S); cast to the method's type before use */
SOFTMETAL_API void objc_msgSend(void);
SOFTMETAL_API void objc_msgSendSuper(void);
#if defined(__x86_64__)
SOFTMETAL_API void objc_msgSend_stret(void);
SOFTMETAL_API void objc_msgSend_fpret(void);
SOFTMETAL_API void objc_msgSendSuper_stret(void);
#endif

/* ---- Selectors */
SOFTMETAL_API SEL sel_registerName(const char *name);
SOFTMETAL_API SEL sel_getUid(const char *name);
SOFTMETAL_API const char *sel_getName(SEL selector);
SOFTMETAL_API BOOL sel_isEqual(SEL one, SEL other);

/* ---- Classes */
SOFTMETAL_API Class objc_getClass(const char *name);
SOFTMETAL_API Class objc_lookUpClass(const char *name);
SOFTMETAL_API Class objc_getMetaClass(const char *name);
SOFTMETAL_API Class object_getClass(id object);
SOFTMETAL_API const char *object_getClassName(id object);
SOFTMETAL_API BOOL object_isClass(id object);
SOFTMETAL_API const char *class_getName(Class class);
SOFTMETAL_API Class class_getSuperclass(Class class);
SOFTMETAL_API BOOL class_isMetaClass(Class class);
SOFTMETAL_API size_t class_getInstanceSize(Class class);
SOFTMETAL_API BOOL class_respondsToSelector(Class class, SEL selector);
SOFTMETAL_API Method class_getInstanceMethod(Class class, SEL selector);
SOFTMETAL_API Method class_getClassMethod(Class class, SEL selector);
SOFTMETAL_API IMP class_getMethodImplementation(Class class, SEL selector);
SOFTMETAL_API Method *class_copyMethodList(Class class, unsigned *count);
SOFTMETAL_API SEL method_getName(Method method);
SOFTMETAL_API const char *method_getTypeEncoding(Method method);
SOFTMETAL_API IMP method_getImplementation(Method method);
SOFTMETAL_API id class_createInstance(Class class, size_t extra_bytes);
SOFTMETAL_API Protocol objc_getProtocol(const char *name);
SOFTMETAL_API const char *protocol_getName(Protocol protocol);
SOFTMETAL_API BOOL class_conformsToProtocol(Class class, Protocol protocol);

/* ---- Classes that a host makes */
SOFTMETAL_API Class objc_allocateClassPair(Class super, const char *name, size_t extra_bytes);
SOFTMETAL_API BOOL class_addMethod(Class class, SEL selector, IMP implementation, const char *types);
SOFTMETAL_API BOOL class_addIvar(Class class, const char *name, size_t size, uint8_t alignment, const char *types);
SOFTMETAL_API BOOL class_addProtocol(Class class, Protocol protocol);
SOFTMETAL_API void objc_registerClassPair(Class class);
SOFTMETAL_API void objc_disposeClassPair(Class class);
SOFTMETAL_API void *object_getIndexedIvars(id object);
SOFTMETAL_API void *object_getInstanceVariable(id object, const char *name, void **value);
SOFTMETAL_API void *object_setInstanceVariable(id object, const char *name, void *value);

/* ---- References */
SOFTMETAL_API id objc_retain(id object);
SOFTMETAL_API void objc_release(id object);
SOFTMETAL_API id objc_autorelease(id object);
SOFTMETAL_API id objc_retainAutorelease(id object);
SOFTMETAL_API id objc_retainAutoreleasedReturnValue(id object);
SOFTMETAL_API id objc_unsafeClaimAutoreleasedReturnValue(id object);
SOFTMETAL_API id objc_autoreleaseReturnValue(id object);
SOFTMETAL_API id objc_retainAutoreleaseReturnValue(id object);
SOFTMETAL_API id objc_alloc(Class class);
SOFTMETAL_API id objc_allocWithZone(Class class);
SOFTMETAL_API id objc_alloc_init(Class class);
SOFTMETAL_API id objc_opt_new(Class class);
SOFTMETAL_API Class objc_opt_class(id object);
SOFTMETAL_API id objc_opt_self(id object);
SOFTMETAL_API BOOL objc_opt_isKindOfClass(id object, Class class);
SOFTMETAL_API BOOL objc_opt_respondsToSelector(id object, SEL selector);
SOFTMETAL_API void *objc_autoreleasePoolPush(void);
SOFTMETAL_API void objc_autoreleasePoolPop(void *pool);
SOFTMETAL_API void objc_storeStrong(id *location, id object);

/* ---- Weak references */
SOFTMETAL_API id objc_initWeak(id *location, id object);
SOFTMETAL_API id objc_storeWeak(id *location, id object);
SOFTMETAL_API id objc_loadWeak(id *location);
SOFTMETAL_API id objc_loadWeakRetained(id *location);
SOFTMETAL_API void objc_destroyWeak(id *location);
SOFTMETAL_API void objc_copyWeak(id *to, id *from);
SOFTMETAL_API void objc_moveWeak(id *to, id *from);

/* ---- Blocks */
extern SOFTMETAL_API sm_class _NSConcreteGlobalBlock, _NSConcreteStackBlock, _NSConcreteMallocBlock;
SOFTMETAL_API void *_Block_copy(const void *block);
SOFTMETAL_API void _Block_release(const void *block);
SOFTMETAL_API void _Block_object_assign(void *to, const void *object, int flags);
SOFTMETAL_API void _Block_object_dispose(const void *object, int flags);
SOFTMETAL_API id objc_retainBlock(id block);

/* ---- Among the runtime's files */

/* selector.c */
bool sm_is_selector(SEL selector);

/* class.c: one lock over the list of classes, their methods and caches. */
void sm_lock_classes(void);
void sm_unlock_classes(void);
Method sm_find_method(Class class, const char *selector); /* takes the lock */
Method sm_find_locked(Class class, const char *selector); /* the lock is held */
Method sm_own_method(Class class, const char *selector);  /* the lock is held */
void sm_each_method(void (*visit)(Class class, Method method, void *context), void *context); /* takes the lock */
size_t sm_class_count_locked(void);
Class sm_class_at_locked(size_t index);
bool sm_make_meta(Class class);
bool sm_conforms(Class class, const char *protocol);

/* cache.c: the lock is held. An implementation once cached stays until sm_forget_methods. */
void sm_cache_method(Class class, SEL selector, IMP implementation, int send);
void sm_forget_methods(Class class);
extern struct sm_cache sm_empty_cache;

/* message.c: where the assembly goes when it does not find the method in the cache. */
IMP sm_message_lookup(id self, SEL selector, int send);
IMP sm_message_lookup_super(const struct objc_super *super, SEL selector, int send);
void sm_message_nil_struct(void *result, SEL selector);
void sm_message_zero_struct(void *result, SEL selector);
/* objc_msgSend, to be cast: a compiler refuses to call a function it sees by another type. */
static inline IMP sm_sender(void) { return objc_msgSend; }
/* message_*.S: methods that return 0. */
void sm_return_zero(void);
void sm_return_zero_struct(void);
void sm_return_zero_float(void);

/* signature.c */
bool sm_returns_struct(const char *types); /* in memory: more than 16 bytes, and on arm64 not up to four floats */
size_t sm_result_size(const char *types);  /* of a struct, 0 for others */
void sm_check_expectations(Class class);   /* newly registered */

/* object.c */
bool sm_is_block(id object);
id sm_new_sized(Class class, size_t size);
void sm_count_live(Class class, int change);
bool sm_is_ending(id object);              /* its last reference has been given back */
void sm_finish(id object);                 /* calls the dealloc functions of its classes, from the lowest up, and buries it */
/* quarantine.c: marks as ended and keeps the memory until younger ones push it out. */
#define SM_ENDED_FILL 0xde
void sm_bury(id object, size_t size);

/* weak.c */
void sm_clear_weak(id object);

/* block.c */
#endif
