/* Classes, methods and objects, as the Foundation and Metal parts define them.
 *
 * A class is a table of methods with their type encodings; an object is a struct that begins with sm_object. Methods are
 * plain C functions (id self, SEL _cmd, …) whose arguments are those of the encoding; objc_msgSend finds them by selector.
 * The encodings are checked against the table derived from metal-cpp (tests), and against what the host says it sends
 * (softmetal_expect_signature).
 */
#ifndef SOFTMETAL_OBJC_OBJECT_H
#define SOFTMETAL_OBJC_OBJECT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "objc/layout.h"

typedef const struct sm_selector *SEL; /* unique for a name, and, as on a Mac, the address of its characters */
typedef struct sm_object *id;
typedef struct sm_class sm_class;
typedef sm_class *Class;
typedef void (*IMP)(void);
#if defined(__aarch64__)
typedef bool BOOL; /* as on Apple's two platforms */
#else
typedef signed char BOOL;
#endif

typedef struct sm_object {
    Class isa;
    atomic_int references;  /* 0 and less: ended; SM_IMMORTAL and more: never ends */
    uint32_t magic;         /* SM_ALIVE, SM_ENDED */
} sm_object;

#define SM_IMMORTAL 0x40000000

typedef struct sm_method {
    const char *selector; /* "newBufferWithLength:options:" */
    const char *types;    /* Objective-C encoding without offsets: "@@:QQ"; structs by name: "{MTLSize=QQQ}"; BOOL is "B" */
    IMP imp;
} sm_method;
#define SM_METHOD(selector, types, function) {selector, types, (IMP)(function)}
/* In a class's initialiser. */
#define SM_METHODS(table) .methods = table, .method_count = sizeof(table) / sizeof *(table)
#define SM_CLASS_METHODS(table) .class_methods = table, .class_method_count = sizeof(table) / sizeof *(table)

struct sm_class {
    sm_object object;        /* a class is an object too: isa is its metaclass */
    const char *name;
    Class super;             /* NULL: NSObject */
    const sm_method *methods, *class_methods;
    size_t method_count, class_method_count;
    size_t size;             /* of an instance; 0: as the superclass */
    void (*dealloc)(id self); /* releases what the instance holds; that of the superclass follows. May be NULL */
    const char *protocol;    /* "MTLDevice", or NULL: what conformsToProtocol: and softmetal_expect_signature know it by */
    /* The runtime's. */
    _Atomic(struct sm_cache *) cache, struct_cache;
    _Atomic uint64_t live;   /* instances */
    atomic_bool known;
    bool meta;
    struct sm_made *made;    /* what objc_allocateClassPair keeps */
};

extern sm_class sm_object_class; /* NSObject */

/* Makes a class known to objc_getClass. Classes are static; registering twice does nothing. False if there is no memory. */
bool sm_register(Class class);
/* The way to do it: hosts ask for classes by name as soon as the library is open, and announce what they will send. */
#define SM_REGISTER_AT_LOAD(class)                                                                                    \
    __attribute__((constructor)) static void register_##class(void) { sm_register(&class); }

/* A zeroed instance with one reference, which counts as live until its end. NULL if there is no memory. */
id sm_new(Class class);
id sm_retain(id object);      /* NULL is allowed, as in objc_retain */
void sm_release(id object);
id sm_autorelease(id object); /* without a pool it leaks, and is reported */
bool sm_is_kind(id object, Class class);
/* From now on the object never ends and does not count as live: one of a kind, made once. NULL is allowed. */
id sm_make_immortal(id object);
/* Sends isEqual:, which is not counted as a message. */
bool sm_equal(id one, id other);
/* The implementation that a message would reach, NULL if there is none. Not counted. */
IMP sm_implementation(id object, const char *selector);

/* Every class's name, selectors and encodings: what the selector check reads. */
size_t sm_class_count(void);
Class sm_class_at(size_t index);

/* Whether two encodings pass the same types. Offsets, qualifiers, class names of objects and what a pointer points to do not
 * count; a struct is the same as an anonymous or undeclared one of its name. */
bool sm_encodings_agree(const char *one, const char *other);

/* Blocks: copies a stack block to the heap (retains a heap or global one); calls with arguments that fit a register. */
void *sm_block_copy(const void *block);
void sm_block_release(void *block);
void sm_block_call0(void *block);
void sm_block_call1(void *block, id argument);
void sm_block_call2(void *block, id first, id second);
void sm_block_call3(void *block, id first, id second, id third);
/* (pointer, length): the deallocator of a no-copy buffer; (id, value): a listener of a shared event. */
void sm_block_call_pointer(void *block, const void *pointer, uint64_t value);

/* Pools, for threads of the library's own. */
void *sm_pool_push(void);
void sm_pool_pop(void *pool);

extern _Atomic uint64_t sm_messages; /* sent so far, those to nil too */
uint64_t sm_live_objects(void);      /* of all classes; heap blocks count */

#endif
