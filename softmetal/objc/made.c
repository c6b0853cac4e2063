/* Classes that a host makes at run time, a delegate for example. */
#include "executor/executor.h"
#include "objc/memory.h"
#include "objc/runtime.h"

#include <stdlib.h>
#include <string.h>

typedef struct sm_ivar {
    const char *name;
    size_t offset;
} sm_ivar;

/* A table of methods; a fuller one follows it, and it stays: a host may hold a Method in it. */
typedef struct sm_method_table {
    struct sm_method_table *smaller;
    size_t capacity;
    sm_method methods[];
} sm_method_table;

/* Shared by a class and its metaclass. */
typedef struct sm_made {
    sm_method_table *tables[2]; /* of instance methods, of class methods */
    sm_ivar *ivars;
    size_t ivar_count;
} sm_made;

static char *copy(const char *text)
{
    return sm_copy_bytes(text, strlen(text));
}

Class objc_allocateClassPair(Class super, const char *name, size_t extra_bytes)
{
    if (!name || objc_lookUpClass(name)) return NULL;
    Class class = sm_allocate(sizeof *class + extra_bytes);
    sm_made *made = class ? sm_allocate(sizeof *made) : NULL;
    char *own_name = made ? copy(name) : NULL;
    if (!own_name) {
        free(made);
        free(class);
        return NULL;
    }
    class->name = own_name;
    class->super = super ? super : &sm_object_class;
    class->size = class->super->size > 0 ? class->super->size : sizeof(sm_object);
    class->made = made;
    if (sm_make_meta(class)) {
        class->object.isa->made = made;
        return class;
    }
    free(own_name);
    free(made);
    free(class);
    return NULL;
}

void objc_registerClassPair(Class class)
{
    if (class && class->made && !sm_register(class))
        sm_reportf(SOFTMETAL_VALIDATION, "objc_registerClassPair: there is no memory for class %s", class->name);
}

static void free_methods(sm_method_table *table, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free((char *)table->methods[i].selector);
        free((char *)table->methods[i].types);
    }
    while (table) {
        sm_method_table *smaller = table->smaller;
        free(table);
        table = smaller;
    }
}

/* Only of classes that were never registered: others may have instances, and messages under way. */
void objc_disposeClassPair(Class class)
{
    if (!class || !class->made || class->meta) return;
    if (class->known) {
        sm_reportf(SOFTMETAL_VALIDATION, "objc_disposeClassPair: %s is registered and stays", class->name);
        return;
    }
    Class meta = class->object.isa;
    free_methods(class->made->tables[0], class->method_count);
    free_methods(class->made->tables[1], meta->method_count);
    for (size_t i = 0; i < class->made->ivar_count; i++) free((char *)class->made->ivars[i].name);
    free(class->made->ivars);
    free(class->made);
    free((char *)class->protocol);
    free(meta);
    free((char *)class->name);
    free(class);
}

/* ---- Methods */

#define SM_FIRST_METHODS 8

/* The lock is held. */
static bool add_method(Class class, const sm_method *method)
{
    sm_method_table **table = &class->made->tables[class->meta];
    size_t capacity = *table ? (*table)->capacity : 0, wanted = capacity > 0 ? 2 * capacity : SM_FIRST_METHODS;
    if (class->method_count == capacity) {
        sm_method_table *more = sm_allocate(sizeof *more + wanted * sizeof *more->methods);
        if (!more) return false;
        if (*table) memcpy(more->methods, (*table)->methods, capacity * sizeof *more->methods);
        more->smaller = *table;
        more->capacity = wanted;
        *table = more;
    }
    (*table)->methods[class->method_count] = *method;
    class->methods = (*table)->methods;
    class->method_count++;
    return true;
}

/* Caches of this class and of those below may hold what the new method overrides. */
static void forget_below(Class class)
{
    sm_forget_methods(class);
    for (size_t i = 0; i < sm_class_count_locked(); i++) {
        Class both[] = {sm_class_at_locked(i), sm_class_at_locked(i)->object.isa};
        for (size_t k = 0; k < 2; k++) {
            Class above = both[k];
            while (above && above != class) above = above->super;
            if (above) sm_forget_methods(both[k]);
        }
    }
}

BOOL class_addMethod(Class class, SEL selector, IMP implementation, const char *types)
{
    if (!class || !class->made || !selector || !implementation || !types) return false;
    sm_method method = {copy(sel_getName(selector)), copy(types), implementation};
    sm_lock_classes();
    bool added = method.selector && method.types && !sm_own_method(class, method.selector) && add_method(class, &method);
    if (added) forget_below(class);
    sm_unlock_classes();
    if (added) return true;
    free((char *)method.selector);
    free((char *)method.types);
    return false;
}

BOOL class_addProtocol(Class class, Protocol protocol)
{
    if (!class || !class->made || class->meta || class->protocol || !protocol) return false; /* one is all there is room for */
    class->protocol = copy(protocol_getName(protocol));
    return class->protocol != NULL;
}

/* ---- Instance variables */

BOOL class_addIvar(Class class, const char *name, size_t size, uint8_t alignment, const char *types)
{
    if (!class || !class->made || class->meta || class->known || !name || !types || alignment > 12 || size > (size_t)1 << 30)
        return false;
    sm_made *made = class->made;
    sm_ivar *more = sm_reallocate(made->ivars, (made->ivar_count + 1) * sizeof *more);
    if (!more) return false;
    made->ivars = more;
    size_t align = (size_t)1 << alignment;
    sm_ivar ivar = {copy(name), (class->size + align - 1) / align * align};
    if (!ivar.name) return false;
    made->ivars[made->ivar_count++] = ivar;
    class->size = ivar.offset + size;
    return true;
}

static void **ivar_of(id object, const char *name)
{
    for (Class class = object ? object->isa : NULL; class && name && !class->meta; class = class->super) {
        for (size_t i = 0; class->made && i < class->made->ivar_count; i++) {
            if (strcmp(class->made->ivars[i].name, name) == 0) return (void **)((char *)object + class->made->ivars[i].offset);
        }
    }
    return NULL;
}

/* The results stand for an Ivar: only whether it is NULL says something. */
void *object_getInstanceVariable(id object, const char *name, void **value)
{
    void **place = ivar_of(object, name);
    if (value) *value = place ? *place : NULL;
    return place;
}

void *object_setInstanceVariable(id object, const char *name, void *value)
{
    void **place = ivar_of(object, name);
    if (place) *place = value;
    return place;
}

id class_createInstance(Class class, size_t extra_bytes)
{
    if (!class || (!class->known && !sm_register(class))) return NULL;
    return sm_new_sized(class, class->size + extra_bytes);
}

void *object_getIndexedIvars(id object)
{
    return object ? (char *)object + object->isa->size : NULL;
}
