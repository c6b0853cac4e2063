/* Every method of every class gets arguments that nobody would send: nil, objects of other kinds, objects that have ended,
 * numbers far out of range. What comes back may be anything; the process lives, the device still works, and nothing is left
 * over. */
#include "host_fixture.h"

#if defined(__x86_64__)

typedef struct runtime {
    id *(*methods)(id class, unsigned *count);
    const char *(*name)(id method);
    const char *(*types)(id method);
    id (*super)(id class);
    id (*class_of)(id object);
    const char *(*class_name)(id class);
} runtime;

static runtime objc;

static void find_runtime(void)
{
    *(void **)&objc.methods = find("class_copyMethodList");
    *(void **)&objc.name = find("method_getName");
    *(void **)&objc.types = find("method_getTypeEncoding");
    *(void **)&objc.super = find("class_getSuperclass");
    *(void **)&objc.class_of = find("object_getClass");
    *(void **)&objc.class_name = find("class_getName");
}

static uint64_t state = 88172645463325252u;

static uint32_t random_below(uint32_t bound)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 11) % bound;
}

/* ---- What is sent */

enum { MOST = 64, REGISTERS = 4, STACK = 12 };

typedef struct cast {
    fixture f;
    id objects[MOST]; /* alive */
    size_t count;
    id ended[4];
    void *room; /* zeros: for what pointers point to */
} cast;

typedef struct arguments {
    uint64_t registers[REGISTERS], stack[STACK];
    double reals[4];
    size_t registers_used, stack_used, reals_used;
} arguments;

static void put(arguments *a, uint64_t value)
{
    if (a->registers_used < REGISTERS)
        a->registers[a->registers_used++] = value;
    else if (a->stack_used < STACK)
        a->stack[a->stack_used++] = value;
}

/* How much there is behind a pointer nobody can check: with pointers numbers stay small. */
static uint64_t any_number(bool small)
{
    static const uint64_t numbers[] = {0,  1,    2,    3,     4,          7,          30,         31,        32,
                                       64, 1024, 4096, 65536, UINT32_MAX, 1ull << 33, 1ull << 62, INT64_MAX, UINT64_MAX};
    return numbers[random_below(small ? 12 : sizeof numbers / sizeof *numbers)];
}

static id any_object(const cast *c)
{
    uint32_t which = random_below((uint32_t)c->count + 8);
    if (which < c->count) return c->objects[which];
    return which < c->count + 4 ? NULL : c->ended[which - c->count - 4];
}

static block ignore_block;
static void ignore(void) {}

static const char *skip_type(const char *type)
{
    while (strchr("rnNoORV", *type) && *type) type++;
    if (*type == '^') return skip_type(type + 1);
    if (*type == '@') return type[1] == '?' ? type + 2 : type + 1;
    if (*type != '{') return type + 1;
    int depth = 0;
    do depth += *type == '{' ? 1 : *type == '}' ? -1 : 0;
    while (*type++ && depth > 0);
    return type;
}

static void put_any(arguments *a, const cast *c, const char *type, bool pointers)
{
    while (strchr("rnNoORV", *type) && *type) type++;
    switch (*type) {
    case '@': put(a, type[1] == '?' ? (random_below(4) ? (uintptr_t)&ignore_block : 0) : (uintptr_t)any_object(c)); break;
    case '#': put(a, (uintptr_t)objc.class_of(c->objects[0])); break;
    case ':': put(a, (uintptr_t)host.selector(random_below(2) ? "length" : "no:such:method:")); break;
    case '^':
    case '*': put(a, (uintptr_t)c->room); break;
    case 'd':
    case 'f': a->reals[a->reals_used++ % 4] = (double)(int64_t)any_number(pointers); break;
    case '{':
        if (strncmp(type, "{NSRange", 8) == 0 || strncmp(type, "{_NSRange", 9) == 0) {
            bool fits = a->registers_used + 2 <= REGISTERS;
            for (int i = 0; i < 2; i++) {
                if (fits)
                    put(a, any_number(pointers));
                else if (a->stack_used < STACK)
                    a->stack[a->stack_used++] = any_number(pointers);
            }
        } else {
            for (int i = 0; i < 3 && a->stack_used < STACK; i++) a->stack[a->stack_used++] = any_number(pointers);
        }
        break;
    default: put(a, any_number(pointers));
    }
}

/* ---- What is not sent: what ends an object, waits on purpose, or hands a pointer back to be read. */
static bool left_out(const char *name)
{
    static const char *const names[] = {
        "release",
        "dealloc",
        "autorelease",
        "drain",
        "retain",
        "init",
        "alloc",
        "new",
        "waitUntilSignaledValue:timeoutMS:",
        "doesNotRecognizeSelector:",
        "performSelector:",
        "forwardInvocation:",
        "newBufferWithBytesNoCopy:length:options:deallocator:",
        "exit",
        "raise",
        "encodeWaitForEvent:value:",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0) return true;
    return strncmp(name, "init", 4) == 0 || strncmp(name, "performSelector", 15) == 0 || strstr(name, "write");
}

static bool begins(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

static bool is_large_struct(const char *type)
{
    return *type == '{' && strncmp(type, "{NSRange", 8) != 0 && strncmp(type, "{MTLSizeAndAlign", 16) != 0;
}

static uint64_t sent;

static void send_any(const cast *c, id receiver, const char *name, const char *types)
{
    if (left_out(name) || is_large_struct(types)) return;
    arguments a = {0};
    const char *type = skip_type(skip_type(skip_type(types)));
    for (; *type; type = skip_type(type)) put_any(&a, c, type, strchr(types, '^') || strchr(types, '*'));
    typedef uint64_t (*any)(id, SEL, uint64_t, uint64_t, uint64_t, uint64_t, double, double, double, double, uint64_t, uint64_t,
                            uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
    const uint64_t *r = a.registers, *s = a.stack;
    uint64_t result =
        ((any)host.send)(receiver, host.selector(name), r[0], r[1], r[2], r[3], a.reals[0], a.reals[1], a.reals[2], a.reals[3],
                         s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9], s[10], s[11]);
    sent++;
    memset(c->room, 0, 65536);
    if (types[0] == '@' && (begins(name, "new") || begins(name, "copy") || begins(name, "mutableCopy"))) release((id)result);
}

static void send_all(const cast *c, id receiver)
{
    for (id class = objc.class_of(receiver); class; class = objc.super(class)) {
        unsigned count = 0;
        id *methods = objc.methods(class, &count);
        for (unsigned i = 0; i < count; i++) send_any(c, receiver, objc.name(methods[i]), objc.types(methods[i]));
        free(methods);
    }
}

/* Objects may hold each other in circles now. */
static void let_go(id receiver)
{
    for (id class = objc.class_of(receiver); class; class = objc.super(class)) {
        unsigned count = 0;
        id *methods = objc.methods(class, &count);
        for (unsigned i = 0; i < count; i++) {
            const char *name = objc.name(methods[i]);
            bool setter = begins(name, "set") && strcmp(objc.types(methods[i]), "v@:@") == 0;
            if (setter) set_object(receiver, name, NULL);
            if (strcmp(name, "removeAllObjects") == 0) call(receiver, name);
        }
        free(methods);
    }
}

/* ---- Whom it is sent to */

static void add(cast *c, id object)
{
    if (!object) fail_msg("object %zu could not be made", c->count);
    c->objects[c->count++] = object;
}

static cast gather(uint32_t round)
{
    softmetal_world world = {.build = round & 1 ? SOFTMETAL_CHECKED : SOFTMETAL_PLAIN,
                             .discrete = round & 2,
                             .shuffle = round & 4,
                             .workers = 2,
                             .kernel_time_limit_ms = 300};
    cast c = {.f = open_fixture(&world), .room = calloc(1, 65536)};
    fixture *f = &c.f;
    id error = NULL;
    add(&c, f->device);
    add(&c, f->queue);
    add(&c, f->library);
    add(&c, kernel(f, FILL));
    static const char *const classes[] = {
        "MTLCompileOptions",
        "MTLHeapDescriptor",
        "MTLFunctionConstantValues",
        "MTLComputePipelineDescriptor",
        "MTLFunctionDescriptor",
        "MTLBinaryArchiveDescriptor",
        "MTLCounterSampleBufferDescriptor",
        "MTLResidencySetDescriptor",
        "MTLCommandBufferDescriptor",
        "MTLComputePassDescriptor",
        "MTLBlitPassDescriptor",
        "MTLCaptureDescriptor",
        "MTLSharedEventListener",
        "NSMutableArray",
        "NSMutableDictionary",
        "NSData",
    };
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) add(&c, get(new_of(classes[i]), "autorelease"));
    id made[] = {
        new_function(f->library, "fill"),    new_buffer(f->device, 4096, SHARED), new_buffer(f->device, 256, PRIVATE),
        new_buffer(f->device, 256, MANAGED), get(f->device, "newEvent"),          get(f->device, "newSharedEvent"),
        get(f->device, "newFence"),
    };
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) add(&c, get(made[i], "autorelease"));
    id heap = new_of("MTLHeapDescriptor"), set = new_of("MTLResidencySetDescriptor"),
       archive = new_of("MTLBinaryArchiveDescriptor");
    set_number(heap, "setSize:", 65536);
    add(&c, get(SEND(id, (id), f->device, "newHeapWithDescriptor:", heap), "autorelease"));
    add(&c, get(SEND(id, (id, id *), f->device, "newResidencySetWithDescriptor:error:", set, &error), "autorelease"));
    add(&c, get(SEND(id, (id, id *), f->device, "newBinaryArchiveWithDescriptor:error:", archive, &error), "autorelease"));
    release(heap), release(set), release(archive);
    add(&c, string("text"));
    add(&c, SEND(id, (NSUInteger), host.class_named("NSNumber"), "numberWithUnsignedLongLong:", 7));
    add(&c, SEND(id, (id), host.class_named("NSURL"), "fileURLWithPath:", string("/nonexistent/file")));
    add(&c, get(host.class_named("MTLCaptureManager"), "sharedCaptureManager"));
    id first = get(f->queue, "commandBuffer"), second = get(f->queue, "commandBuffer");
    add(&c, first);
    add(&c, get(first, "computeCommandEncoder"));
    add(&c, second);
    add(&c, get(second, "blitCommandEncoder"));
    id ended[] = {new_buffer(f->device, 64, SHARED), get(f->device, "newFence"), new_of("MTLCompileOptions"),
                  SEND(id, (const char *), get(host.class_named("NSString"), "alloc"), "initWithUTF8String:", "gone")};
    for (int i = 0; i < 4; i++) {
        release(ended[i]);
        c.ended[i] = ended[i];
    }
    return c;
}

static bool still_works(fixture *f)
{
    id memory = new_buffer(f->device, 256, SHARED), buffer = get(f->queue, "commandBuffer"),
       encoder = get(buffer, "computeCommandEncoder");
    const uint32_t value = 77;
    set_pipeline(encoder, kernel(f, FILL));
    set_buffer(encoder, memory, 0, 0);
    set_bytes(encoder, &value, sizeof value, 1);
    dispatch_threads(encoder, size1(64), size1(64));
    end(encoder);
    finish(buffer);
    const uint32_t *out = contents(memory);
    bool works = number(buffer, "status") == STATUS_COMPLETED && out[0] == value && out[63] == value;
    release(memory);
    return works;
}

static void any_message(void **unused)
{
    (void)unused;
    find_runtime();
    for (uint32_t round = 0; round < 24; round++) {
        state = round * 0x9E3779B97F4A7C15u + 1;
        cast c = gather(round);
        ignore_block = make_block(ignore, NULL);
        ignore_block.isa = host.global_block;
        ignore_block.flags = 1 << 28;
        for (size_t i = 0; i < c.count; i++) send_all(&c, c.objects[i]);
        for (size_t i = 0; i < 4; i++) send_any(&c, c.ended[i], "length", "Q@:");
        assert_true(host.report_count() > 0);
        assert_true(still_works(&c.f));
        for (size_t i = 0; i < c.count; i++) let_go(c.objects[i]);
        free(c.room);
        close_fixture(&c.f);
    }
    assert_true(sent > 10000);
}

int main(void)
{
    open_library();
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_message)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

/* The placement of any arguments by hand is x86-64's. */
static void any_message(void **unused)
{
    (void)unused;
    skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_message)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
