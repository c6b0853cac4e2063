/* The list of classes, and what a host may ask of them. */
#include "executor/executor.h"
#include "objc/memory.h"
#include "objc/runtime.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct sm_protocol {
    sm_object object;
    struct sm_protocol *next;
    const char *name;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Class *classes;
static size_t class_count;
static struct sm_protocol *protocols;

void sm_lock_classes(void)
{
    pthread_mutex_lock(&lock);
}

void sm_unlock_classes(void)
{
    pthread_mutex_unlock(&lock);
}

/* ---- Registration */

static void prepare(Class class, Class isa)
{
    class->object.isa = isa;
    class->object.references = SM_IMMORTAL;
    class->object.magic = SM_ALIVE;
    atomic_store_explicit(&class->cache, &sm_empty_cache, memory_order_release);
    atomic_store_explicit(&class->struct_cache, &sm_empty_cache, memory_order_release);
}

/* The metaclass of the root inherits from the root: a class answers NSObject's instance methods too. */
bool sm_make_meta(Class class)
{
    Class meta = sm_allocate(sizeof *meta);
    if (!meta) return false;
    meta->name = class->name;
    meta->methods = class->class_methods;
    meta->method_count = class->class_method_count;
    meta->size = sizeof(sm_class);
    meta->super = class->super ? class->super->object.isa : class;
    meta->meta = true;
    prepare(meta, class->super ? sm_object_class.object.isa : meta);
    prepare(class, meta);
    return true;
}

static bool register_locked(Class class)
{
    if (class->known) return true;
    if (!class->super && class != &sm_object_class) class->super = &sm_object_class;
    if (class->super && !register_locked(class->super)) return false;
    Class *more = sm_reallocate(classes, (class_count + 1) * sizeof *classes);
    if (!more) return false;
    classes = more;
    if (!class->object.isa && !sm_make_meta(class)) return false;
    if (class->size == 0) class->size = class->super ? class->super->size : sizeof(sm_object);
    classes[class_count++] = class;
    class->known = true;
    return true;
}

bool sm_register(Class class)
{
    sm_lock_classes();
    bool fresh = !class->known, done = register_locked(class);
    sm_unlock_classes();
    if (fresh && done) sm_check_expectations(class);
    return done;
}

size_t sm_class_count_locked(void)
{
    return class_count;
}

Class sm_class_at_locked(size_t index)
{
    return classes[index];
}

size_t sm_class_count(void)
{
    sm_lock_classes();
    size_t count = class_count;
    sm_unlock_classes();
    return count;
}

Class sm_class_at(size_t index)
{
    sm_lock_classes();
    Class class = index < class_count ? classes[index] : NULL;
    sm_unlock_classes();
    return class;
}

/* ---- Methods */

Method sm_own_method(Class class, const char *selector)
{
    for (size_t i = 0; i < class->method_count; i++) {
        if (strcmp(class->methods[i].selector, selector) == 0) return &class->methods[i];
    }
    return NULL;
}

Method sm_find_locked(Class class, const char *selector)
{
    Method method = NULL;
    for (; class && !method; class = class->super) method = sm_own_method(class, selector);
    return method;
}

Method sm_find_method(Class class, const char *selector)
{
    sm_lock_classes();
    Method method = sm_find_locked(class, selector);
    sm_unlock_classes();
    return method;
}

void sm_each_method(void (*visit)(Class class, Method method, void *context), void *context)
{
    sm_lock_classes();
    for (size_t i = 0; i < class_count; i++) {
        Class both[] = {classes[i], classes[i]->object.isa};
        for (size_t k = 0; k < 2; k++) {
            for (size_t m = 0; m < both[k]->method_count; m++) visit(both[k], &both[k]->methods[m], context);
        }
    }
    sm_unlock_classes();
}

IMP sm_implementation(id object, const char *selector)
{
    bool alive = object && (object->magic == SM_ALIVE || sm_is_block(object));
    Method method = alive ? sm_find_method(object->isa, selector) : NULL;
    return method ? method->imp : NULL;
}

/* ---- Apple's names */

Class objc_lookUpClass(const char *name)
{
    Class found = NULL;
    sm_lock_classes();
    for (size_t i = 0; name && i < class_count && !found; i++) {
        if (strcmp(classes[i]->name, name) == 0) found = classes[i];
    }
    sm_unlock_classes();
    return found;
}

Class objc_getClass(const char *name)
{
    return objc_lookUpClass(name);
}

Class objc_getMetaClass(const char *name)
{
    Class class = objc_lookUpClass(name);
    return class ? class->object.isa : NULL;
}

Class object_getClass(id object)
{
    return object ? object->isa : NULL;
}

const char *object_getClassName(id object)
{
    return class_getName(object_getClass(object));
}

BOOL object_isClass(id object)
{
    return object && object->isa->meta;
}

const char *class_getName(Class class)
{
    return class ? class->name : "nil";
}

Class class_getSuperclass(Class class)
{
    return class ? class->super : NULL;
}

BOOL class_isMetaClass(Class class)
{
    return class && class->meta;
}

size_t class_getInstanceSize(Class class)
{
    return class ? class->size : 0;
}

Method class_getInstanceMethod(Class class, SEL selector)
{
    return class && selector ? sm_find_method(class, sel_getName(selector)) : NULL;
}

Method class_getClassMethod(Class class, SEL selector)
{
    return class ? class_getInstanceMethod(class->meta ? class : class->object.isa, selector) : NULL;
}

BOOL class_respondsToSelector(Class class, SEL selector)
{
    return class_getInstanceMethod(class, selector) != NULL;
}

/* As on a Mac never NULL: what forwards there returns 0 here. */
IMP class_getMethodImplementation(Class class, SEL selector)
{
    Method method = class_getInstanceMethod(class, selector);
    return method ? method->imp : sm_return_zero;
}

Method *class_copyMethodList(Class class, unsigned *count)
{
    Method *list = NULL;
    sm_lock_classes();
    size_t methods = class ? class->method_count : 0;
    if (methods > 0) list = sm_allocate((methods + 1) * sizeof *list);
    for (size_t i = 0; list && i < methods; i++) list[i] = &class->methods[i];
    if (count) *count = list ? (unsigned)methods : 0;
    sm_unlock_classes();
    return list;
}

SEL method_getName(Method method)
{
    return method ? sel_registerName(method->selector) : NULL;
}

const char *method_getTypeEncoding(Method method)
{
    return method ? method->types : NULL;
}

IMP method_getImplementation(Method method)
{
    return method ? method->imp : NULL;
}

/* ---- Protocols: a name that some class has */

static bool class_has_protocol(Class class, const char *name)
{
    return class->protocol && strcmp(class->protocol, name) == 0;
}

bool sm_conforms(Class class, const char *protocol)
{
    bool found = false;
    sm_lock_classes();
    for (; class && !found; class = class->super) found = class_has_protocol(class, protocol);
    sm_unlock_classes();
    return found;
}

static bool protocol_is_known(const char *name)
{
    for (size_t i = 0; i < class_count; i++) {
        if (class_has_protocol(classes[i], name)) return true;
    }
    return strcmp(name, "NSObject") == 0;
}

static sm_class protocol_class = {.name = "Protocol", .size = sizeof(struct sm_protocol)};
SM_REGISTER_AT_LOAD(protocol_class)

static Protocol create_protocol(const char *name)
{
    Protocol protocol = sm_allocate(sizeof *protocol + strlen(name) + 1);
    if (!protocol) return NULL;
    strcpy((char *)(protocol + 1), name);
    protocol->object.isa = &protocol_class;
    protocol->object.references = SM_IMMORTAL;
    protocol->object.magic = SM_ALIVE;
    protocol->name = (const char *)(protocol + 1);
    protocol->next = protocols;
    protocols = protocol;
    return protocol;
}

Protocol objc_getProtocol(const char *name)
{
    if (!name) return NULL;
    sm_lock_classes();
    Protocol protocol = protocols;
    while (protocol && strcmp(protocol->name, name) != 0) protocol = protocol->next;
    if (!protocol && protocol_is_known(name)) protocol = create_protocol(name);
    sm_unlock_classes();
    return protocol;
}

const char *protocol_getName(Protocol protocol)
{
    return protocol ? protocol->name : "nil";
}

BOOL class_conformsToProtocol(Class class, Protocol protocol)
{
    if (!class || !protocol) return 0;
    if (!sm_is_kind((id)protocol, &protocol_class)) {
        sm_reportf(SOFTMETAL_VALIDATION, "[%s conformsToProtocol:]: what was passed is no protocol", class->name);
        return 0;
    }
    return strcmp(protocol->name, "NSObject") == 0 || sm_conforms(class, protocol->name);
}
