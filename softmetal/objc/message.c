/* What becomes of a message that is not in the receiver's method cache: the method is found and cached, or the mistake reported
 * and a method that returns 0 is called instead. */
#include "executor/executor.h"
#include "objc/runtime.h"

#include <string.h>
#if defined(__x86_64__)
#include <sys/uio.h>
#include <unistd.h>
#endif

_Atomic uint64_t sm_messages;

static IMP zero(int send)
{
    switch (send) {
    case SM_SEND_STRUCT: return sm_return_zero_struct;
    case SM_SEND_FLOAT: return sm_return_zero_float;
#if defined(__aarch64__)
    default: return sm_return_zero_struct;
#else
    default: return sm_return_zero;
#endif
    }
}

static const char *text(SEL selector)
{
    return !selector || sm_is_selector(selector) ? sel_getName(selector) : "<not a selector>";
}

static bool ends_a_reference(const char *name)
{
    return strcmp(name, "release") == 0 || strcmp(name, "autorelease") == 0 || strcmp(name, "drain") == 0;
}

#if defined(__x86_64__)
/* A struct that objc_msgSend should return: the caller's first argument is where it wants it, the second one the receiver.
 * Whether that is memory at all is asked of the system. */
static bool is_shifted(SEL selector)
{
    __typeof__(*(id)0) there = {0};
    struct iovec to = {&there, sizeof there}, from = {(void *)(uintptr_t)selector, sizeof there};
    if (!selector || sm_is_selector(selector) || process_vm_readv(getpid(), &to, 1, &from, 1, 0) != (ssize_t)sizeof there)
        return false;
    if (there.magic != SM_ALIVE) return false;
    sm_reportf(SOFTMETAL_BAD_SIGNATURE,
               "a %s was sent a message that returns a struct with objc_msgSend: on x86-64 it takes objc_msgSend_stret",
               there.isa->name);
    return true;
}
#else
static bool is_shifted(SEL selector)
{
    (void)selector;
    return false;
}
#endif

/* False if the receiver is not, or no longer, an object. */
static bool receiver_is_alive(id self, SEL selector)
{
    if (self->magic == SM_ALIVE || sm_is_block(self)) return true;
    const char *name = text(selector);
    if (self->magic != SM_ENDED && is_shifted(selector)) return false;
    if (self->magic != SM_ENDED)
        sm_reportf(SOFTMETAL_USE_AFTER_END, "'%s' sent to %p, which is no object, or one that ended long ago", name,
                   (void *)self);
    else
        sm_reportf(ends_a_reference(name) ? SOFTMETAL_OVER_RELEASE : SOFTMETAL_USE_AFTER_END,
                   "'%s' sent to a %s that has ended", name, self->isa->name);
    return false;
}

static bool sent_as_it_returns(Method method, int send)
{
#if defined(__aarch64__)
    (void)method, (void)send; /* one way for all results */
    return true;
#else
    return sm_returns_struct(method->types) == (send == SM_SEND_STRUCT);
#endif
}

static IMP refuse(Class class, SEL selector, int send)
{
    if (selector && !sm_is_selector(selector))
        sm_reportf(SOFTMETAL_UNKNOWN_SELECTOR, "a %s got a message whose selector, %p, is none that sel_registerName gave",
                   class->name, (const void *)selector);
    else
        sm_reportf(SOFTMETAL_UNKNOWN_SELECTOR, "%c[%s %s]: no such method", class->meta ? '+' : '-', class->name,
                   sel_getName(selector));
    return zero(send);
}

static IMP find(Class class, SEL selector, int send, bool cached)
{
    if (!selector || !sm_is_selector(selector)) return refuse(class, selector, send);
    sm_lock_classes();
    Method method = sm_find_locked(class, sel_getName(selector));
    bool right = method && sent_as_it_returns(method, send);
    if (right && cached) sm_cache_method(class, selector, method->imp, send);
    sm_unlock_classes();
    if (right) return method->imp;
    if (!method) return refuse(class, selector, send);
    sm_reportf(SOFTMETAL_BAD_SIGNATURE, "%c[%s %s], '%s', was sent with %s: on x86-64 it takes %s", class->meta ? '+' : '-',
               class->name, method->selector, method->types, send == SM_SEND_STRUCT ? "objc_msgSend_stret" : "objc_msgSend",
               send == SM_SEND_STRUCT ? "objc_msgSend" : "objc_msgSend_stret");
    return zero(send);
}

IMP sm_message_lookup(id self, SEL selector, int send)
{
    if (!receiver_is_alive(self, selector)) return zero(send);
    return find(self->isa, selector, send, true);
}

IMP sm_message_lookup_super(const struct objc_super *super, SEL selector, int send)
{
    if (!super->receiver || !super->super_class || !receiver_is_alive(super->receiver, selector)) return zero(send);
    return find(super->super_class, selector, send, false);
}

/* ---- Structs of messages that reach no method. Their size is known from any method of that name. */

typedef struct sm_struct_search {
    const char *selector;
    size_t bytes;
    Method method;
} sm_struct_search;

static void look_for_struct(Class class, Method method, void *context)
{
    sm_struct_search *search = context;
    (void)class;
    if (search->method || strcmp(method->selector, search->selector) != 0 || !sm_returns_struct(method->types)) return;
    search->method = method;
    search->bytes = sm_result_size(method->types);
}

static bool zero_struct(void *result, SEL selector)
{
    if (!selector || !sm_is_selector(selector)) return false;
    sm_struct_search search = {sel_getName(selector), 0, NULL};
    sm_each_method(look_for_struct, &search);
    if (result && search.bytes > 0) memset(result, 0, search.bytes);
    return search.method != NULL;
}

void sm_message_zero_struct(void *result, SEL selector)
{
    zero_struct(result, selector);
}

/* A Mac's runtime leaves the struct as it is: only the Objective-C compiler clears it. A host that comes here is not made by
 * that compiler, or it would not have sent the message. */
void sm_message_nil_struct(void *result, SEL selector)
{
    if (zero_struct(result, selector))
        sm_reportf(SOFTMETAL_VALIDATION,
                   "'%s', which returns a struct in memory, was sent to nil: on a Mac the struct is left unwritten",
                   sel_getName(selector));
}
