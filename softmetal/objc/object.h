/* Classes, methods and objects, as the Foundation and Metal parts define them.
 *
 * A class is a table of methods with their type encodings; an object is a struct that begins with sm_object. Methods are plain C
 * functions (id self, SEL _cmd, …) whose arguments are those of the encoding; objc_msgSend finds them by selector. The encodings are
 * checked against the table derived from metal-cpp (tests), and against what the host says it sends (softmetal_expect_signature).
 */
#ifndef SOFTMETAL_OBJC_OBJECT_H
#define SOFTMETAL_OBJC_OBJECT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef const struct sm_selector *SEL; /* unique for a name */
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
    atomic_int references;  /* 0 and less: ended */
    uint32_t magic;         /* SM_ALIVE, SM_ENDED */
} sm_object;

typedef struct sm_method {
    const char *selector; /* "newBufferWithLength:options:" */
    const char *types;    /* Objective-C encoding without offsets: "@@:QQ"; structs by name: "{MTLSize=QQQ}" */
    IMP imp;
} sm_method;
#define SM_METHOD(selector, types, function) {selector, types, (IMP)(function)}

struct sm_class {
    sm_object object;        /* a class is an object too: isa is its metaclass */
    const char *name;
    Class super;
    const sm_method *methods, *class_methods;
    size_t method_count, class_method_count;
    size_t size;             /* of an instance */
    void (*dealloc)(id self); /* releases what the instance holds; the memory is freed by the runtime. May be NULL */
    void *cache;             /* the runtime's */
};

/* Makes a class known to objc_getClass. Classes are static; registering twice does nothing. */
void sm_register(Class class);
/* A zeroed instance with one reference, which counts as live until its end. NULL if there is no memory. */
id sm_new(Class class);
id sm_retain(id object);      /* NULL is allowed, as in objc_retain */
void sm_release(id object);
id sm_autorelease(id object);
bool sm_is_kind(id object, Class class);

/* Every class's name, selectors and encodings: what the selector check reads. */
size_t sm_class_count(void);
Class sm_class_at(size_t index);

/* Blocks: copies a stack block to the heap (retains a heap or global one); calls with no, one or two object arguments. */
void *sm_block_copy(const void *block);
void sm_block_release(void *block);
void sm_block_call1(void *block, id argument);
void sm_block_call2(void *block, id first, id second);

extern _Atomic uint64_t sm_messages; /* sent so far */

#endif
