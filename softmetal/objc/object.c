/* The life of an object: made with one reference, ended when the last is given back. */
#include "executor/executor.h"
#include "objc/memory.h"
#include "objc/runtime.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define SM_ENDING (INT_MIN / 2) /* references while dealloc runs: what it retains and releases of itself changes nothing */

static _Atomic uint64_t live;

void sm_count_live(Class class, int change)
{
    atomic_fetch_add_explicit(&class->live, (uint64_t)(int64_t)change, memory_order_relaxed);
    atomic_fetch_add_explicit(&live, (uint64_t)(int64_t)change, memory_order_relaxed);
}

uint64_t sm_live_objects(void)
{
    return atomic_load_explicit(&live, memory_order_relaxed);
}

id sm_new_sized(Class class, size_t size)
{
    if (!class->known && !sm_register(class)) return NULL;
    id object = sm_allocate(size);
    if (!object) return NULL;
    object->isa = class;
    object->magic = SM_ALIVE;
    atomic_init(&object->references, 1);
    sm_count_live(class, 1);
    return object;
}

id sm_new(Class class)
{
    if (!class || (!class->known && !sm_register(class))) return NULL;
    return sm_new_sized(class, class->size);
}

bool sm_is_block(id object)
{
    return object->isa == &_NSConcreteGlobalBlock || object->isa == &_NSConcreteStackBlock ||
           object->isa == &_NSConcreteMallocBlock;
}

id sm_make_immortal(id object)
{
    if (!object || atomic_exchange(&object->references, SM_IMMORTAL) >= SM_IMMORTAL) return object;
    sm_count_live(object->isa, -1);
    return object;
}

/* ---- References */

static void report_ended(softmetal_report_kind kind, id object, const char *what)
{
    if (object->magic == SM_ENDED)
        sm_reportf(kind, "a %s that has ended was %s", object->isa->name, what);
    else
        sm_reportf(kind, "%p, which is no object, or one that ended long ago, was %s", (void *)object, what);
}

id sm_retain(id object)
{
    if (!object) return NULL;
    if (sm_is_block(object)) return _Block_copy(object);
    if (object->magic != SM_ALIVE) {
        report_ended(SOFTMETAL_USE_AFTER_END, object, "retained");
        return NULL;
    }
    if (atomic_load_explicit(&object->references, memory_order_relaxed) < SM_IMMORTAL)
        atomic_fetch_add_explicit(&object->references, 1, memory_order_relaxed);
    return object;
}

void sm_finish(id object)
{
    for (Class class = object->isa; class; class = class->super) {
        if (class->dealloc) class->dealloc(object);
    }
    sm_count_live(object->isa, -1);
    memset(object + 1, SM_ENDED_FILL, object->isa->size - sizeof *object);
    sm_bury(object, object->isa->size);
}

bool sm_is_ending(id object)
{
    return atomic_load_explicit(&object->references, memory_order_relaxed) <= SM_ENDING / 2;
}

/* A host's class may have a method dealloc; [super dealloc], NSObject's, does the rest, as it does here if that is never
 * sent. */
static void end(id object)
{
    static SEL dealloc;
    atomic_store_explicit(&object->references, SM_ENDING, memory_order_relaxed);
    sm_clear_weak(object);
    Method method = object->isa->made ? sm_find_method(object->isa, "dealloc") : NULL;
    if (method) {
        if (!dealloc) dealloc = sel_registerName("dealloc");
        ((void (*)(id, SEL))method->imp)(object, dealloc);
    }
    if (object->magic != SM_ALIVE) return;
    sm_finish(object);
}

void sm_release(id object)
{
    if (!object) return;
    if (sm_is_block(object)) {
        _Block_release(object);
        return;
    }
    if (object->magic != SM_ALIVE) {
        report_ended(SOFTMETAL_OVER_RELEASE, object, "released");
        return;
    }
    if (atomic_load_explicit(&object->references, memory_order_relaxed) >= SM_IMMORTAL) return;
    int before = atomic_fetch_sub_explicit(&object->references, 1, memory_order_acq_rel);
    if (before == 1)
        end(object);
    else if (before <= 0 && before > SM_ENDING / 2)
        sm_reportf(SOFTMETAL_OVER_RELEASE, "a %s was released by two threads at its end", object->isa->name);
}

/* ---- Apple's names */

id objc_retain(id object)
{
    return sm_retain(object);
}

void objc_release(id object)
{
    sm_release(object);
}

id objc_autorelease(id object)
{
    return sm_autorelease(object);
}

id objc_retainAutorelease(id object)
{
    return sm_autorelease(sm_retain(object));
}

id objc_retainAutoreleasedReturnValue(id object)
{
    return sm_retain(object);
}

id objc_unsafeClaimAutoreleasedReturnValue(id object)
{
    return object;
}

id objc_autoreleaseReturnValue(id object)
{
    return sm_autorelease(object);
}

id objc_retainAutoreleaseReturnValue(id object)
{
    return sm_autorelease(sm_retain(object));
}

void objc_storeStrong(id *location, id object)
{
    id before = *location;
    *location = sm_retain(object);
    sm_release(before);
}

/* A host's own alloc, init or new is called; the messages are counted, as the compiler would have sent them. */
static id send(id receiver, const char *selector)
{
    return ((id(*)(id, SEL))sm_sender())(receiver, sel_registerName(selector));
}

id objc_alloc(Class class)
{
    return send((id) class, "alloc");
}

id objc_allocWithZone(Class class)
{
    return send((id) class, "alloc");
}

id objc_alloc_init(Class class)
{
    return send(send((id) class, "alloc"), "init");
}

id objc_opt_new(Class class)
{
    return send((id) class, "new");
}

Class objc_opt_class(id object)
{
    return (Class)send(object, "class");
}

id objc_opt_self(id object)
{
    return object;
}

BOOL objc_opt_isKindOfClass(id object, Class class)
{
    return ((BOOL(*)(id, SEL, Class))sm_sender())(object, sel_registerName("isKindOfClass:"), class);
}

BOOL objc_opt_respondsToSelector(id object, SEL selector)
{
    return ((BOOL(*)(id, SEL, SEL))sm_sender())(object, sel_registerName("respondsToSelector:"), selector);
}

bool sm_is_kind(id object, Class class)
{
    Class kind = object && object->magic != SM_ENDED ? object->isa : NULL;
    while (kind && kind != class) kind = kind->super;
    return kind && class;
}

bool sm_equal(id one, id other)
{
    if (one == other || !one || !other) return one == other;
    IMP equal = sm_implementation(one, "isEqual:");
    return equal && ((BOOL(*)(id, SEL, id))equal)(one, sel_registerName("isEqual:"), other);
}
