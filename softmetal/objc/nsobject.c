/* NSObject: what every object and every class answers. */
#include "executor/executor.h"
#include "foundation/foundation.h"
#include "objc/runtime.h"

#include <string.h>

static id object_init(id self, SEL _cmd)
{
    (void)_cmd;
    return self;
}

static id object_retain(id self, SEL _cmd)
{
    (void)_cmd;
    return sm_retain(self);
}

static void object_release(id self, SEL _cmd)
{
    (void)_cmd;
    sm_release(self);
}

static id object_autorelease(id self, SEL _cmd)
{
    (void)_cmd;
    return sm_autorelease(self);
}

static NSUInteger object_retain_count(id self, SEL _cmd)
{
    (void)_cmd;
    int references = atomic_load_explicit(&self->references, memory_order_relaxed);
    return references >= SM_IMMORTAL ? UINT64_MAX : references > 0 ? (NSUInteger)references : 0;
}

static void object_dealloc(id self, SEL _cmd)
{
    (void)_cmd;
    if (sm_is_ending(self))
        sm_finish(self);
    else
        sm_reportf(SOFTMETAL_VALIDATION, "'dealloc' sent to a %s: only its last release may do that", self->isa->name);
}

/* ---- What it is */

static Class object_class(id self, SEL _cmd)
{
    (void)_cmd;
    return self->isa->meta ? (Class)self : self->isa;
}

static Class object_superclass(id self, SEL _cmd)
{
    return object_class(self, _cmd)->super;
}

static BOOL is_kind_of_class(id self, SEL _cmd, Class class)
{
    (void)_cmd;
    return sm_is_kind(self, class);
}

static BOOL is_member_of_class(id self, SEL _cmd, Class class)
{
    (void)_cmd;
    return self->isa == class;
}

static BOOL is_subclass_of_class(id self, SEL _cmd, Class class)
{
    (void)_cmd;
    Class kind = (Class)self;
    while (kind && kind != class) kind = kind->super;
    return kind && class;
}

static BOOL responds_to_selector(id self, SEL _cmd, SEL selector)
{
    (void)_cmd;
    return class_respondsToSelector(self->isa, selector);
}

static BOOL instances_respond_to_selector(id self, SEL _cmd, SEL selector)
{
    (void)_cmd;
    return class_respondsToSelector((Class)self, selector);
}

static IMP method_for_selector(id self, SEL _cmd, SEL selector)
{
    (void)_cmd;
    return class_getMethodImplementation(self->isa, selector);
}

static BOOL conforms_to_protocol(id self, SEL _cmd, Protocol protocol)
{
    return class_conformsToProtocol(object_class(self, _cmd), protocol);
}

static BOOL is_equal(id self, SEL _cmd, id other)
{
    (void)_cmd;
    return self == other;
}

static NSUInteger object_hash(id self, SEL _cmd)
{
    (void)_cmd;
    return (uintptr_t)self;
}

static id object_description(id self, SEL _cmd)
{
    (void)_cmd;
    if (self->isa->meta) return sm_autorelease(sm_string_create(((Class)self)->name));
    return sm_autorelease(sm_string_createf("<%s: %p>", self->isa->name, (void *)self));
}

static id object_debug_description(id self, SEL _cmd)
{
    (void)_cmd;
    return ((id(*)(id, SEL))sm_implementation(self, "description"))(self, sel_registerName("description"));
}

/* ---- Messages by name */

static id perform(id self, SEL _cmd, SEL selector)
{
    (void)_cmd;
    return ((id(*)(id, SEL))sm_sender())(self, selector);
}

static id perform_with(id self, SEL _cmd, SEL selector, id object)
{
    (void)_cmd;
    return ((id(*)(id, SEL, id))sm_sender())(self, selector, object);
}

static id perform_with_two(id self, SEL _cmd, SEL selector, id first, id second)
{
    (void)_cmd;
    return ((id(*)(id, SEL, id, id))sm_sender())(self, selector, first, second);
}

static id object_copy(id self, SEL _cmd)
{
    (void)_cmd;
    return ((id(*)(id, SEL, void *))sm_sender())(self, sel_registerName("copyWithZone:"), NULL);
}

/* ---- Classes */

static id class_alloc(id self, SEL _cmd)
{
    (void)_cmd;
    return sm_new((Class)self);
}

static id class_new(id self, SEL _cmd)
{
    (void)_cmd;
    id object = ((id(*)(id, SEL))sm_implementation(self, "alloc"))(self, sel_registerName("alloc"));
    IMP init = sm_implementation(object, "init");
    return init ? ((id(*)(id, SEL))init)(object, sel_registerName("init")) : object;
}

static const sm_method object_methods[] = {
    SM_METHOD("init", "@@:", object_init),
    SM_METHOD("self", "@@:", object_init),
    SM_METHOD("retain", "@@:", object_retain),
    SM_METHOD("release", "v@:", object_release),
    SM_METHOD("autorelease", "@@:", object_autorelease),
    SM_METHOD("retainCount", "Q@:", object_retain_count),
    SM_METHOD("dealloc", "v@:", object_dealloc),
    SM_METHOD("class", "#@:", object_class),
    SM_METHOD("superclass", "#@:", object_superclass),
    SM_METHOD("isKindOfClass:", "B@:#", is_kind_of_class),
    SM_METHOD("isMemberOfClass:", "B@:#", is_member_of_class),
    SM_METHOD("respondsToSelector:", "B@::", responds_to_selector),
    SM_METHOD("methodForSelector:", "^?@::", method_for_selector),
    SM_METHOD("conformsToProtocol:", "B@:@", conforms_to_protocol),
    SM_METHOD("isEqual:", "B@:@", is_equal),
    SM_METHOD("hash", "Q@:", object_hash),
    SM_METHOD("description", "@@:", object_description),
    SM_METHOD("debugDescription", "@@:", object_debug_description),
    SM_METHOD("performSelector:", "@@::", perform),
    SM_METHOD("performSelector:withObject:", "@@::@", perform_with),
    SM_METHOD("performSelector:withObject:withObject:", "@@::@@", perform_with_two),
    SM_METHOD("copy", "@@:", object_copy),
};

static const sm_method object_class_methods[] = {
    SM_METHOD("alloc", "@@:", class_alloc),
    SM_METHOD("new", "@@:", class_new),
    SM_METHOD("isSubclassOfClass:", "B@:#", is_subclass_of_class),
    SM_METHOD("instancesRespondToSelector:", "B@::", instances_respond_to_selector),
};

sm_class sm_object_class = {
    .name = "NSObject",
    SM_METHODS(object_methods),
    SM_CLASS_METHODS(object_class_methods),
    .size = sizeof(sm_object),
};
SM_REGISTER_AT_LOAD(sm_object_class)
