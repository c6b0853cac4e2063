/* A Metal host in plain C, as one is written on a Mac: the library is opened by path, everything in it is found by name, and
 * each message is sent through the types of its method. Tests named host_* know nothing else of softmetal but its public
 * header. */
#ifndef SOFTMETAL_TESTS_HOST_H
#define SOFTMETAL_TESTS_HOST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <spawn.h>
#include <sys/wait.h>

#include "softmetal.h"

typedef struct objc_object *id;
typedef struct objc_selector *SEL;
typedef uint64_t NSUInteger;
#if defined(__aarch64__)
typedef bool BOOL;
#else
typedef signed char BOOL;
#endif
typedef struct MTLSize {
    NSUInteger width, height, depth;
} MTLSize;
typedef struct NSRange {
    NSUInteger location, length;
} NSRange;

/* ---- The library */

static struct {
    void *library;
    void (*send)(void);
    void (*send_struct)(void);
    SEL (*selector)(const char *name);
    id (*class_named)(const char *name);
    void *(*push_pool)(void);
    void (*pop_pool)(void *pool);
    id (*create_device)(void);
    void *stack_block, *global_block;
    __typeof__(&softmetal_set_world) set_world;
    __typeof__(&softmetal_inject) inject;
    __typeof__(&softmetal_faults_fired) faults_fired;
    __typeof__(&softmetal_release_hangs) release_hangs;
    __typeof__(&softmetal_report_count) report_count;
    __typeof__(&softmetal_get_report) get_report;
    __typeof__(&softmetal_report_name) report_name;
    __typeof__(&softmetal_get_counts) get_counts;
    __typeof__(&softmetal_check_leaks) check_leaks;
    __typeof__(&softmetal_reset) reset;
} host;

static inline void *find(const char *name)
{
    void *symbol = dlsym(host.library, name);
    if (!symbol) fail_msg("%s is not in the library", name);
    return symbol;
}

#define FIND(field, name) *(void **)&host.field = find(name)

static inline void open_library(void)
{
    host.library = dlopen(SOFTMETAL_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!host.library) fail_msg("%s", dlerror());
    FIND(send, "objc_msgSend");
#if defined(__x86_64__)
    FIND(send_struct, "objc_msgSend_stret");
#else
    FIND(send_struct, "objc_msgSend");
#endif
    FIND(selector, "sel_registerName");
    FIND(class_named, "objc_getClass");
    FIND(push_pool, "objc_autoreleasePoolPush");
    FIND(pop_pool, "objc_autoreleasePoolPop");
    FIND(create_device, "MTLCreateSystemDefaultDevice");
    FIND(stack_block, "_NSConcreteStackBlock");
    FIND(global_block, "_NSConcreteGlobalBlock");
    FIND(set_world, "softmetal_set_world");
    FIND(inject, "softmetal_inject");
    FIND(faults_fired, "softmetal_faults_fired");
    FIND(release_hangs, "softmetal_release_hangs");
    FIND(report_count, "softmetal_report_count");
    FIND(get_report, "softmetal_get_report");
    FIND(report_name, "softmetal_report_name");
    FIND(get_counts, "softmetal_get_counts");
    FIND(check_leaks, "softmetal_check_leaks");
    FIND(reset, "softmetal_reset");
}

/* A test's program once more, as another process, told what to do; gives its status. */
static inline int run_process(const char *program, const char *what)
{
    extern char **environ;
    char *all[] = {(char *)(uintptr_t)SOFTMETAL_EMULATOR, (char *)(uintptr_t)program, (char *)(uintptr_t)what, NULL};
    char **arguments = *SOFTMETAL_EMULATOR ? all : all + 1;
    pid_t child;
    int status = -1;
    if (posix_spawn(&child, arguments[0], NULL, NULL, arguments, environ) == 0) waitpid(child, &status, 0);
    return status;
}

/* ---- Messages */

#define TYPES(...) , ##__VA_ARGS__
/* SEND(id, (id, NSUInteger), receiver, "selector:with:", one, two) */
#define SEND(result, types, receiver, name, ...)                                                                               \
    (((result(*)(id, SEL TYPES types))host.send)((id)(receiver), host.selector(name), ##__VA_ARGS__))
#define SEND_STRUCT(result, types, receiver, name, ...)                                                                        \
    (((result(*)(id, SEL TYPES types))host.send_struct)((id)(receiver), host.selector(name), ##__VA_ARGS__))

static inline id get(id receiver, const char *name)
{
    return SEND(id, (), receiver, name);
}
static inline NSUInteger number(id receiver, const char *name)
{
    return SEND(NSUInteger, (), receiver, name);
}
static inline double real(id receiver, const char *name)
{
    return SEND(double, (), receiver, name);
}
static inline bool test(id receiver, const char *name)
{
    return SEND(BOOL, (), receiver, name);
}
static inline void call(id receiver, const char *name)
{
    SEND(void, (), receiver, name);
}
static inline void set_number(id receiver, const char *name, NSUInteger value)
{
    SEND(void, (NSUInteger), receiver, name, value);
}
static inline void set_flag(id receiver, const char *name, bool value)
{
    SEND(void, (BOOL), receiver, name, value);
}
static inline void set_object(id receiver, const char *name, id value)
{
    SEND(void, (id), receiver, name, value);
}
static inline void release(id object)
{
    SEND(void, (), object, "release");
}
static inline id new_of(const char *class)
{
    return get(host.class_named(class), "new");
}
static inline id string(const char *text)
{
    return SEND(id, (const char *), host.class_named("NSString"), "stringWithUTF8String:", text);
}
static inline const char *text_of(id string)
{
    return string ? SEND(const char *, (), string, "UTF8String") : "nil";
}
static inline const char *error_text(id error)
{
    return text_of(get(error, "localizedDescription"));
}
static inline const char *error_domain(id error)
{
    return text_of(get(error, "domain"));
}
static inline int64_t error_code(id error)
{
    return SEND(int64_t, (), error, "code");
}
static inline void label(id object, const char *text)
{
    set_object(object, "setLabel:", string(text));
}

/* ---- Blocks of this program: on the heap, so that captures outlive the call that takes it */

typedef struct block {
    void *isa;
    int flags, reserved;
    void (*invoke)(void);
    const struct {
        unsigned long reserved, size;
    } *descriptor;
    void *context;
} block;

static const __typeof__(*((block *)0)->descriptor) block_size = {0, sizeof(block)};

static inline block make_block(void (*invoke)(void), void *context)
{
    return (block){host.stack_block, 0, 0, invoke, (const void *)&block_size, context};
}
#define BLOCK(function, context) make_block((void (*)(void))(function), context)

/* ---- Metal */

enum { SHARED = 0, MANAGED = 1 << 4, PRIVATE = 2 << 4, UNTRACKED = 1 << 8 };

static inline id new_buffer(id device, NSUInteger bytes, NSUInteger options)
{
    return SEND(id, (NSUInteger, NSUInteger), device, "newBufferWithLength:options:", bytes, options);
}
static inline void *contents(id buffer)
{
    return SEND(void *, (), buffer, "contents");
}
static inline id new_library(id device, const char *source, id *error)
{
    return SEND(id, (id, id, id *), device, "newLibraryWithSource:options:error:", string(source), NULL, error);
}
static inline id new_function(id library, const char *name)
{
    return SEND(id, (id), library, "newFunctionWithName:", string(name));
}
static inline id new_pipeline(id device, id function, id *error)
{
    return SEND(id, (id, id *), device, "newComputePipelineStateWithFunction:error:", function, error);
}
static inline void set_buffer(id encoder, id buffer, NSUInteger offset, NSUInteger index)
{
    SEND(void, (id, NSUInteger, NSUInteger), encoder, "setBuffer:offset:atIndex:", buffer, offset, index);
}
static inline void set_bytes(id encoder, const void *bytes, NSUInteger length, NSUInteger index)
{
    SEND(void, (const void *, NSUInteger, NSUInteger), encoder, "setBytes:length:atIndex:", bytes, length, index);
}
static inline void set_pipeline(id encoder, id pipeline)
{
    set_object(encoder, "setComputePipelineState:", pipeline);
}
static inline void dispatch_threads(id encoder, MTLSize grid, MTLSize group)
{
    SEND(void, (MTLSize, MTLSize), encoder, "dispatchThreads:threadsPerThreadgroup:", grid, group);
}
static inline void dispatch_groups(id encoder, MTLSize groups, MTLSize group)
{
    SEND(void, (MTLSize, MTLSize), encoder, "dispatchThreadgroups:threadsPerThreadgroup:", groups, group);
}
static inline MTLSize size1(NSUInteger width)
{
    return (MTLSize){width, 1, 1};
}
static inline void end(id encoder)
{
    call(encoder, "endEncoding");
}
static inline void finish(id buffer)
{
    call(buffer, "commit");
    call(buffer, "waitUntilCompleted");
}

enum { STATUS_COMPLETED = 4, STATUS_ERROR = 5 };

/* ---- Reports */

/* How often something was reported whose message has all of these parts in it. */
static inline uint64_t reported(softmetal_report_kind kind, const char *part)
{
    uint64_t count = 0;
    softmetal_report report;
    for (size_t i = 0; host.get_report(i, &report); i++) {
        if (report.kind == kind && strstr(report.message, part)) count += report.count;
    }
    return count;
}

static inline void print_reports(void)
{
    softmetal_report report;
    for (size_t i = 0; host.get_report(i, &report); i++)
        print_message("%s x%llu: %s\n", host.report_name(report.kind), (unsigned long long)report.count, report.message);
}

#define assert_no_reports()                                                                                                    \
    do {                                                                                                                       \
        if (host.report_count()) print_reports();                                                                              \
        assert_int_equal(host.report_count(), 0);                                                                              \
    } while (0)
/* One report and no other. */
#define assert_reported(kind, part)                                                                                            \
    do {                                                                                                                       \
        if (reported(kind, part) != 1 || host.report_count() != 1) print_reports();                                            \
        assert_int_equal(reported(kind, part), 1);                                                                             \
        assert_int_equal(host.report_count(), 1);                                                                              \
    } while (0)

#endif
