/* Planted mistakes, each with its correct twin. A mistake is caught and named: one report, of its kind, with the kernel and the lines
 * where it has some. A twin brings no report and the right result. */
#include "scene.h"

typedef struct pair {
    const char *name;
    int kind; /* softmetal_report_kind, or NSERROR: refused, and no report besides */
    const char *kernel; /* the report's; NULL: it has none */
    const char *words;  /* in the message */
    /* Makes the mistake, or not; true if what came out is right. */
    bool (*act)(const struct pair *p, scene *s, bool wrong);
    float (*expected)(uint32_t t);
    /* $mistake$correction$; HERE stands on the line that the report names, THERE on that of the access it collides with. */
    const char *text;
    softmetal_world world;
    uint32_t argument_bytes; /* of threadgroup argument 0 */
} pair;

#define SOFTMETAL_NSERROR (-1)

/* ---- What comes out of the twins */

static float same(uint32_t t)
{
    return input(t);
}
static float twice(uint32_t t)
{
    return 2 * input(t);
}
static float zero(uint32_t t)
{
    (void)t;
    return 0;
}
static float seven(uint32_t t)
{
    (void)t;
    return 7;
}
static float ten(uint32_t t)
{
    (void)t;
    return 10;
}
static float mirrored(uint32_t t)
{
    return input(t ^ 63);
}
static float mirrored_in_simdgroup(uint32_t t)
{
    return input(t ^ 31);
}
static float next(uint32_t t)
{
    return input(t < THREADS - 1 ? t + 1 : t);
}
static float before(uint32_t t)
{
    return input(t > 0 ? t - 1 : t);
}
static float with_before(uint32_t t)
{
    return input(t) + (t > 0 ? input(t - 1) : 0);
}
static float sum_from(uint32_t first, uint32_t count)
{
    float sum = 0;
    for (uint32_t t = 0; t < count; t++) sum += input(first + t);
    return sum;
}
static float group_sum(uint32_t t)
{
    return sum_from(t & ~63u, 64);
}
static float simdgroup_sum(uint32_t t)
{
    return sum_from(t & ~31u, 32);
}
static float quad_sum(uint32_t t)
{
    return sum_from(t & ~3u, 4);
}
static float whole_sum(uint32_t t)
{
    return t == 0 ? sum_from(0, THREADS) : 0;
}
static float rounds(uint32_t t)
{
    return 4 * input(t ^ 63) + 6;
}
static float group_size(uint32_t t)
{
    (void)t;
    return GROUP;
}

/* ---- Mistakes in kernels: the kernel is k, and x and y are its buffers 0 and 1 */

#define HEAD "#include <metal_stdlib>\nusing namespace metal;\n"
#define K                                                                                                                      \
    HEAD "kernel void k(device float *x [[buffer(0)]], device float *y [[buffer(1)]], uint t [[thread_position_in_grid]],\n"   \
         "    uint i [[thread_index_in_threadgroup]], uint g [[threadgroup_position_in_grid]],\n"                              \
         "    uint s [[simdgroup_index_in_threadgroup]], uint l [[thread_index_in_simdgroup]]) {\n"
#define BARRIER "threadgroup_barrier(mem_flags::mem_threadgroup);"

static bool run_kernel(const pair *p, scene *s, bool wrong)
{
    (void)wrong;
    if (!s->library) return false;
    begin(s, false);
    if (p->argument_bytes)
        SEND(void, (NSUInteger, NSUInteger), s->encoder, "setThreadgroupMemoryLength:atIndex:", p->argument_bytes, 0);
    go(s, "k");
    return finished(s) && holds(s->y, p->expected);
}

#define CHECKED .world = {.build = SOFTMETAL_CHECKED, .workers = 2}
#define IN_KERNEL(title, what, says, wanted, ...)                                                                              \
    {.name = title, .kind = SOFTMETAL_##what, .kernel = "k", .words = says, .act = run_kernel, .expected = wanted, .text = K __VA_ARGS__ "\n}\n", CHECKED}
#define IN_PLAIN(title, what, says, wanted, ...)                                                                               \
    {.name = title, .kind = SOFTMETAL_##what, .kernel = "k", .words = says, .act = run_kernel, .expected = wanted, .text = K __VA_ARGS__ "\n}\n"}

/* ---- Mistakes in the language: refused by a strict world, with the line. Some are refused by the plain compiler already. */

#define STRICT_WORLD .world = {.strict = true}
#define IN_TEXT(title, what, says, wanted, ...)                                                                                \
    {.name = title, .kind = SOFTMETAL_##what, .words = says, .act = run_kernel, .expected = wanted, .text = __VA_ARGS__, STRICT_WORLD}
#define IN_BODY(title, what, says, wanted, ...) IN_TEXT(title, what, says, wanted, K __VA_ARGS__ "\n}\n")

/* ---- Mistakes of the host: bindings */

#define TWO_KERNELS                                                                                                            \
    HEAD "struct pair { float scale; float shift; };\n"                                                                        \
         "kernel void fill(device float *x [[buffer(0)]], device float *y [[buffer(1)]], constant pair &by [[buffer(2)]],\n"   \
         "    uint t [[thread_position_in_grid]]) {\n"                                                                         \
         "    y[t] = by.scale; // THERE\n}\n"                                                                                  \
         "kernel void grow(device float *x [[buffer(0)]], device float *y [[buffer(1)]], constant pair &by [[buffer(2)]],\n"   \
         "    uint t [[thread_position_in_grid]]) {\n"                                                                         \
         "    y[t] += by.shift; // HERE\n}\n"                                                                                  \
         "kernel void copy(device const float *x [[buffer(0)]], device float *y [[buffer(1)]],\n"                             \
         "    uint t [[thread_position_in_grid]]) {\n"                                                                         \
         "    y[t] = x[t]; // COPY\n}\n"                                                                                       \
         "kernel void turn(device const float *x [[buffer(0)]], device float *y [[buffer(1)]],\n"                             \
         "    threadgroup float *a [[threadgroup(0)]], uint t [[thread_position_in_grid]], uint i [[thread_index_in_threadgroup]]) {\n" \
         "    a[i] = x[t]; // TURN\n"                                                                                          \
         "    " BARRIER "\n    y[t] = a[63 - i];\n}\n"

static const float by[2] = {7, 3};

static bool fill(scene *s)
{
    set_bytes(s->encoder, by, sizeof by, 2);
    go(s, "fill");
    return finished(s) && holds(s->y, seven);
}

static bool missing_buffer(const pair *p, scene *s, bool wrong)
{
    (void)p;
    begin(s, false);
    if (wrong) set_buffer(s->encoder, NULL, 0, 1);
    return fill(s);
}

static bool missing_constant(const pair *p, scene *s, bool wrong)
{
    (void)p;
    begin(s, false);
    if (!wrong) set_bytes(s->encoder, by, sizeof by, 2);
    go(s, "fill");
    return finished(s) && holds(s->y, seven);
}

static bool short_constant(const pair *p, scene *s, bool wrong)
{
    (void)p;
    begin(s, false);
    set_bytes(s->encoder, by, wrong ? sizeof *by : sizeof by, 2);
    go(s, "fill");
    return finished(s) && holds(s->y, seven);
}

/* One element too short for the grid: only the kernel knows. */
static bool short_buffer(const pair *p, scene *s, bool wrong)
{
    (void)p;
    id small = new_buffer(s->device, (THREADS - wrong) * sizeof(float), SHARED);
    memcpy(contents(small), contents(s->x), (THREADS - wrong) * sizeof(float));
    begin(s, false);
    set_buffer(s->encoder, small, 0, 0);
    go(s, "copy");
    release(small);
    return finished(s) && holds(s->y, same);
}

static bool large_grid(const pair *p, scene *s, bool wrong)
{
    (void)p;
    begin(s, false);
    set_pipeline(s->encoder, pipeline(s, "copy"));
    dispatch_threads(s->encoder, size1(wrong ? THREADS + 1 : THREADS), size1(GROUP));
    return finished(s) && holds(s->y, same);
}

/* A whole number of threadgroups is more than the array. */
static bool rounded_grid(const pair *p, scene *s, bool wrong)
{
    (void)p;
    begin(s, false);
    set_pipeline(s->encoder, pipeline(s, "copy"));
    if (wrong)
        dispatch_groups(s->encoder, size1(2), size1(96));
    else
        dispatch_threads(s->encoder, size1(THREADS), size1(96));
    return finished(s) && holds(s->y, same);
}

static bool misaligned_offset(const pair *p, scene *s, bool wrong)
{
    (void)p;
    id large = new_buffer(s->device, (THREADS + 1) * sizeof(float), SHARED);
    memcpy((float *)contents(large) + 1, contents(s->x), THREADS * sizeof(float));
    begin(s, false);
    set_buffer(s->encoder, large, wrong ? 2 : 4, 0);
    go(s, "copy");
    release(large);
    return finished(s) && holds(s->y, same);
}

static bool short_threadgroup_memory(const pair *p, scene *s, bool wrong)
{
    (void)p;
    begin(s, false);
    SEND(void, (NSUInteger, NSUInteger), s->encoder, "setThreadgroupMemoryLength:atIndex:", wrong ? 240 : 256, 0);
    go(s, "turn");
    return finished(s) && holds(s->y, mirrored);
}

static bool no_threadgroup_memory(const pair *p, scene *s, bool wrong)
{
    (void)p;
    begin(s, false);
    if (!wrong) SEND(void, (NSUInteger, NSUInteger), s->encoder, "setThreadgroupMemoryLength:atIndex:", 256, 0);
    go(s, "turn");
    return finished(s) && holds(s->y, mirrored);
}

static bool wrong_object(const pair *p, scene *s, bool wrong)
{
    (void)p;
    begin(s, false);
    set_bytes(s->encoder, by, sizeof by, 2);
    set_buffer(s->encoder, wrong ? s->queue : s->y, 0, 1);
    if (wrong) set_buffer(s->encoder, s->y, 0, 1);
    go(s, "fill");
    return finished(s) && holds(s->y, seven);
}

/* ---- Encoders */

static bool used_after_end(const pair *p, scene *s, bool wrong)
{
    (void)p;
    begin(s, false);
    set_bytes(s->encoder, by, sizeof by, 2);
    set_pipeline(s->encoder, pipeline(s, "fill"));
    if (wrong) end(s->encoder);
    dispatch_threads(s->encoder, size1(THREADS), size1(GROUP));
    if (wrong) s->encoder = NULL;
    return finished(s) && holds(s->y, seven);
}

static bool never_ended(const pair *p, scene *s, bool wrong)
{
    (void)p;
    begin(s, false);
    set_bytes(s->encoder, by, sizeof by, 2);
    go(s, "fill");
    if (wrong) s->encoder = NULL;
    return finished(s) && holds(s->y, seven);
}

static bool two_encoders(const pair *p, scene *s, bool wrong)
{
    (void)p;
    begin(s, false);
    set_bytes(s->encoder, by, sizeof by, 2);
    go(s, "fill");
    if (!wrong) end(s->encoder);
    id second = get(s->buffer, "blitCommandEncoder");
    if (!wrong) s->encoder = second;
    return finished(s) && holds(s->y, seven);
}

static bool committed_twice(const pair *p, scene *s, bool wrong)
{
    (void)p;
    begin(s, false);
    bool right = fill(s);
    if (wrong) call(s->buffer, "commit");
    return right;
}

static bool waited_too_early(const pair *p, scene *s, bool wrong)
{
    (void)p;
    begin(s, false);
    if (wrong) call(s->buffer, "waitUntilCompleted");
    return fill(s);
}

static bool no_pipeline(const pair *p, scene *s, bool wrong)
{
    (void)p;
    begin(s, false);
    set_bytes(s->encoder, by, sizeof by, 2);
    if (!wrong) set_pipeline(s->encoder, pipeline(s, "fill"));
    dispatch_threads(s->encoder, size1(THREADS), size1(GROUP));
    return finished(s) && holds(s->y, seven);
}

static bool group_too_large(const pair *p, scene *s, bool wrong)
{
    (void)p;
    begin(s, false);
    set_pipeline(s->encoder, pipeline(s, "copy"));
    dispatch_threads(s->encoder, size1(THREADS), wrong ? (MTLSize){128, 8, 2} : (MTLSize){128, 8, 1});
    return finished(s) && holds(s->y, same);
}

/* One element beyond the end of the source. */
static bool copy_too_far(const pair *p, scene *s, bool wrong)
{
    (void)p;
    s->buffer = get(s->queue, "commandBuffer");
    s->encoder = get(s->buffer, "blitCommandEncoder");
    SEND(void, (id, NSUInteger, id, NSUInteger, NSUInteger), s->encoder,
         "copyFromBuffer:sourceOffset:toBuffer:destinationOffset:size:", s->x, wrong ? 4 : 0, s->y, 0, THREADS * sizeof(float));
    return finished(s) && holds(s->y, same);
}

/* ---- Order between dispatches and with the CPU */

/* y = 7, then y += 3, with some kind of barrier between. */
static bool fill_and_grow(scene *s, void (*between)(scene *s))
{
    begin(s, true);
    set_bytes(s->encoder, by, sizeof by, 2);
    go(s, "fill");
    if (between) between(s);
    go(s, "grow");
    return finished(s) && holds(s->y, ten);
}

static void barrier_on(scene *s, id memory)
{
    SEND(void, (const id *, NSUInteger), s->encoder, "memoryBarrierWithResources:count:", &memory, 1);
}

static void barrier_of_buffers(scene *s)
{
    set_number(s->encoder, "memoryBarrierWithScope:", 1);
}

static void barrier_on_x(scene *s)
{
    barrier_on(s, s->x);
}

static void barrier_on_y(scene *s)
{
    barrier_on(s, s->y);
}

static bool no_barrier_between(const pair *p, scene *s, bool wrong)
{
    (void)p;
    return fill_and_grow(s, wrong ? NULL : barrier_of_buffers);
}

static bool barrier_on_the_other(const pair *p, scene *s, bool wrong)
{
    (void)p;
    return fill_and_grow(s, wrong ? barrier_on_x : barrier_on_y);
}

/* copy reads x, fill stores to it. */
static bool stored_while_read(const pair *p, scene *s, bool wrong)
{
    (void)p;
    begin(s, true);
    set_bytes(s->encoder, by, sizeof by, 2);
    go(s, "copy");
    if (!wrong) barrier_on(s, s->x);
    set_buffer(s->encoder, s->x, 0, 1);
    go(s, "fill");
    return finished(s) && holds(s->y, same) && holds(s->x, seven);
}

/* Commits a copy that waits until `act` has been done. */
static bool in_flight(scene *s, bool wrong, void (*act)(scene *s))
{
    id event = get(s->device, "newSharedEvent");
    s->buffer = get(s->queue, "commandBuffer");
    SEND(void, (id, uint64_t), s->buffer, "encodeWaitForEvent:value:", event, 1);
    s->encoder = get(s->buffer, "computeCommandEncoder");
    set_buffer(s->encoder, s->x, 0, 0);
    set_buffer(s->encoder, s->y, 0, 1);
    go(s, "copy");
    end(s->encoder);
    if (!wrong) act(s);
    call(s->buffer, "commit");
    if (wrong) act(s);
    set_number(event, "setSignaledValue:", 1);
    call(s->buffer, "waitUntilCompleted");
    release(event);
    return number(s->buffer, "status") == STATUS_COMPLETED && holds(s->y, same);
}

static void store_of_the_cpu(scene *s)
{
    volatile float *x = contents(s->x);
    x[5] = input(5);
}

static void load_of_the_cpu(scene *s)
{
    const volatile float *y = contents(s->y);
    (void)y[5];
}

static bool stored_in_flight(const pair *p, scene *s, bool wrong)
{
    (void)p;
    return in_flight(s, wrong, store_of_the_cpu);
}

static bool read_in_flight(const pair *p, scene *s, bool wrong)
{
    (void)p;
    return in_flight(s, wrong, load_of_the_cpu);
}

static bool private_unwritten(const pair *p, scene *s, bool wrong)
{
    (void)p;
    id own = new_buffer(s->device, THREADS * sizeof(float), PRIVATE);
    begin(s, false);
    set_bytes(s->encoder, by, sizeof by, 2);
    set_buffer(s->encoder, own, 0, 1);
    if (!wrong) go(s, "fill");
    set_buffer(s->encoder, own, 0, 0);
    set_buffer(s->encoder, s->y, 0, 1);
    go(s, "copy");
    release(own);
    return finished(s) && holds(s->y, seven);
}

static bool private_contents(const pair *p, scene *s, bool wrong)
{
    (void)p;
    id memory = new_buffer(s->device, 256, wrong ? PRIVATE : SHARED);
    bool right = contents(memory) != NULL;
    release(memory);
    return right;
}

/* ---- Messages and ownership */

static bool unknown_selector(const pair *p, scene *s, bool wrong)
{
    (void)p;
    id queue = get(s->device, wrong ? "newCommandQueu" : "newCommandQueue");
    bool right = queue != NULL;
    release(queue);
    return right;
}

static bool wrong_receiver(const pair *p, scene *s, bool wrong)
{
    (void)p;
    begin(s, false);
    call(wrong ? s->buffer : s->encoder, "endEncoding");
    if (!wrong) s->encoder = NULL;
    return finished(s);
}

static bool announce(const char *class, const char *selector, const char *encoding)
{
    __typeof__(&softmetal_expect_signature) expect;
    *(void **)&expect = find("softmetal_expect_signature");
    return expect(class, selector, encoding);
}

static bool announced_argument(const pair *p, scene *s, bool wrong)
{
    (void)p, (void)s;
    return announce("MTLDevice", "newBufferWithLength:options:", wrong ? "@@:iQ" : "@@:QQ");
}

static bool announced_result(const pair *p, scene *s, bool wrong)
{
    (void)p, (void)s;
    return announce("MTLCommandBuffer", "status", wrong ? "@@:" : "Q@:");
}

static bool announced_too_few(const pair *p, scene *s, bool wrong)
{
    (void)p, (void)s;
    return announce("MTLComputeCommandEncoder", "setBuffer:offset:atIndex:", wrong ? "v@:@Q" : "v@:@QQ");
}

static bool announced_selector(const pair *p, scene *s, bool wrong)
{
    (void)p, (void)s;
    return announce("MTLCommandQueue", wrong ? "commandbuffer" : "commandBuffer", "@@:");
}

#if defined(__x86_64__)
static bool wrong_sender(const pair *p, scene *s, bool wrong)
{
    (void)p;
    MTLSize most = wrong ? SEND(MTLSize, (), s->device, "maxThreadsPerThreadgroup")
                         : SEND_STRUCT(MTLSize, (), s->device, "maxThreadsPerThreadgroup");
    return most.width == 1024;
}
#endif

static bool leak(const pair *p, scene *s, bool wrong)
{
    (void)p;
    id options = new_of("MTLCompileOptions");
    if (wrong)
        s->left = options;
    else
        release(options);
    return true;
}

static bool no_pool(const pair *p, scene *s, bool wrong)
{
    (void)p;
    host.pop_pool(s->pool);
    s->pool = wrong ? NULL : host.push_pool();
    id made = string("a text that is made in no pool");
    if (wrong) release(made);
    return true;
}

static bool over_released(const pair *p, scene *s, bool wrong)
{
    (void)p;
    id memory = new_buffer(s->device, 256, SHARED);
    release(memory);
    if (wrong) release(memory);
    return true;
}

static bool pool_over_releases(const pair *p, scene *s, bool wrong)
{
    (void)p, (void)s;
    void *pool = host.push_pool();
    id options = new_of("MTLCompileOptions");
    get(options, "autorelease");
    if (wrong) release(options);
    host.pop_pool(pool);
    return true;
}

static bool message_after_end(const pair *p, scene *s, bool wrong)
{
    (void)p;
    id memory = new_buffer(s->device, 256, SHARED);
    if (wrong) release(memory);
    bool right = number(memory, "length") == 256;
    if (!wrong) release(memory);
    return right;
}

static bool outlived_pool(const pair *p, scene *s, bool wrong)
{
    (void)p;
    void *pool = host.push_pool();
    s->buffer = get(s->queue, "commandBuffer");
    if (!wrong) get(s->buffer, "retain");
    host.pop_pool(pool);
    bool right = !test(s->buffer, "retainedReferences") == wrong;
    if (!wrong) release(s->buffer);
    return right && !wrong;
}

static bool released_in_flight(const pair *p, scene *s, bool wrong)
{
    (void)p;
    id memory = new_buffer(s->device, THREADS * sizeof(float), SHARED);
    s->buffer = get(s->queue, "commandBufferWithUnretainedReferences");
    s->encoder = get(s->buffer, "computeCommandEncoder");
    set_buffer(s->encoder, memory, 0, 0);
    set_buffer(s->encoder, s->y, 0, 1);
    id used = get(pipeline(s, "copy"), "retain");
    set_pipeline(s->encoder, used);
    dispatch_threads(s->encoder, size1(THREADS), size1(GROUP));
    if (wrong) release(memory);
    bool right = finished(s) && holds(s->y, zero);
    if (!wrong) release(memory);
    release(used);
    return right;
}

#define OF_HOST(title, what, of, says, does) {.name = title, .kind = SOFTMETAL_##what, .kernel = of, .words = says, .act = does}
#define WITH_KERNELS(title, what, of, says, does)                                                                              \
    {.name = title, .kind = SOFTMETAL_##what, .kernel = of, .words = says, .act = does, .text = TWO_KERNELS}
#define CHECKED_KERNELS(title, what, of, says, does)                                                                           \
    {.name = title, .kind = SOFTMETAL_##what, .kernel = of, .words = says, .act = does, .text = TWO_KERNELS, CHECKED}

/* ---- The table: a row is a mistake and its twin */

static const pair pairs[] = {
    /* Barriers that are missing, or of the wrong kind */
    IN_KERNEL("a removed barrier", RACE_THREADGROUP, "the threadgroup variable of line 6", mirrored,
              "    threadgroup float a[64];\n"
              "    a[i] = x[t]; // HERE\n"
              "    $$" BARRIER "$\n"
              "    y[t] = a[63 - i]; // THERE"),
    IN_KERNEL("a barrier that fences device memory only", RACE_THREADGROUP, "line 6", mirrored,
              "    threadgroup float a[64];\n"
              "    a[i] = x[t]; // HERE\n"
              "    threadgroup_barrier(mem_flags::$mem_device$mem_threadgroup$);\n"
              "    y[t] = a[63 - i]; // THERE"),
    IN_KERNEL("a simdgroup's barrier where all simdgroups meet", RACE_THREADGROUP, "line 6", mirrored,
              "    threadgroup float a[64];\n"
              "    a[i] = x[t]; // HERE\n"
              "    $simdgroup$threadgroup$_barrier(mem_flags::mem_threadgroup);\n"
              "    y[t] = a[63 - i]; // THERE"),
    IN_KERNEL("lanes of a simdgroup without its barrier", RACE_THREADGROUP, "line 6", mirrored_in_simdgroup,
              "    threadgroup float a[64];\n"
              "    a[i] = x[t]; // HERE\n"
              "    $$simdgroup_barrier(mem_flags::mem_threadgroup);$\n"
              "    y[t] = a[s * 32 + 31 - l]; // THERE"),
    IN_KERNEL("a tree reduction without a barrier in its loop", RACE_THREADGROUP, "line 6", group_sum,
              "    threadgroup float a[64];\n"
              "    a[i] = x[t];\n"
              "    " BARRIER "\n"
              "    for (uint d = 32; d > 0; d /= 2) {\n"
              "        if (i < d) a[i] += a[i + d]; // HERE THERE\n"
              "        $$" BARRIER "$\n"
              "    }\n"
              "    " BARRIER "\n"
              "    y[t] = a[0];"),
    IN_KERNEL("a loop that stores again before all have read", RACE_THREADGROUP, "line 6", rounds,
              "    threadgroup float a[64];\n"
              "    float sum = 0;\n"
              "    for (uint r = 0; r < 4; r++) {\n"
              "        a[i] = x[t] + r; // HERE\n"
              "        " BARRIER "\n"
              "        sum += a[63 - i]; // THERE\n"
              "        $$" BARRIER "$\n"
              "    }\n"
              "    y[t] = sum;"),
    IN_KERNEL("sums of simdgroups read without a barrier", RACE_THREADGROUP, "line 6", group_sum,
              "    threadgroup float a[2];\n"
              "    const float sum = simd_sum(x[t]);\n"
              "    if (l == 0) a[s] = sum; // HERE\n"
              "    $$" BARRIER "$\n"
              "    y[t] = sum + a[1 - s]; // THERE"),
    IN_KERNEL("two threads store to one place", RACE_THREADGROUP, "store of 4 bytes", same,
              "    threadgroup float a[64];\n"
              "    a[$i / 2$i$] = x[t]; // HERE THERE\n"
              "    " BARRIER "\n"
              "    y[t] = a[$i / 2$i$];"),
    IN_KERNEL("every thread stores the same", RACE_THREADGROUP, "line 6", group_size,
              "    threadgroup float a[1];\n"
              "    $$if (i == 0) $a[0] = 64; // HERE THERE\n"
              "    " BARRIER "\n"
              "    y[t] = a[0];"),
    IN_KERNEL("a counter that is not atomic", RACE_THREADGROUP, "line 6", group_size,
              "    threadgroup atomic_uint a;\n"
              "    if (i == 0) atomic_store_explicit(&a, 0u, memory_order_relaxed);\n"
              "    " BARRIER "\n"
              "    $*(threadgroup uint *)&a += 1$atomic_fetch_add_explicit(&a, 1u, memory_order_relaxed)$; // HERE THERE\n"
              "    " BARRIER "\n"
              "    y[t] = float(atomic_load_explicit(&a, memory_order_relaxed));"),
    {.name = "a threadgroup argument without a barrier", .kind = SOFTMETAL_RACE_THREADGROUP, .kernel = "k",
     .words = "threadgroup argument 0 ('a')", .act = run_kernel, .expected = mirrored, CHECKED, .argument_bytes = 256,
     .text = HEAD "kernel void k(device float *x [[buffer(0)]], device float *y [[buffer(1)]], threadgroup float *a [[threadgroup(0)]],\n"
                  "    uint t [[thread_position_in_grid]], uint i [[thread_index_in_threadgroup]]) {\n"
                  "    a[i] = x[t]; // HERE\n"
                  "    $$" BARRIER "$\n"
                  "    y[t] = a[63 - i]; // THERE\n}\n"},
    /* Device memory */
    IN_KERNEL("threadgroups store to the same elements", RACE_DEVICE, "buffer 1 ('y')", same, "    y[$i$t$] = x[t]; // HERE THERE"),
    IN_KERNEL("a stencil in place", RACE_DEVICE, "buffer 0 ('x')", with_before,
              "    const float v = x[t] + (t > 0 ? x[t - 1] : 0.0f); // HERE THERE\n"
              "    $x[t] = v; // HERE THERE$y[t] = v;$"),
    IN_KERNEL("a sum over threadgroups that is not atomic", RACE_DEVICE, "buffer 1 ('y')", whole_sum,
              "    $y[0] += x[t]$atomic_fetch_add_explicit((device atomic_float *)y, x[t], memory_order_relaxed)$; // HERE THERE"),
    IN_KERNEL("a barrier that does not fence device memory", RACE_DEVICE, "buffer 1 ('y')", mirrored,
              "    y[t] = x[t]; // HERE\n"
              "    threadgroup_barrier(mem_flags::$mem_threadgroup$mem_device$);\n"
              "    const float v = y[t ^ 63]; // THERE\n"
              "    threadgroup_barrier(mem_flags::mem_device);\n"
              "    y[t] = v;"),
    IN_KERNEL("a threadgroup reads what another one stores", RACE_DEVICE, "buffer 1 ('y')", same,
              "    y[t] = x[t]; // HERE THERE\n"
              "    threadgroup_barrier(mem_flags::mem_device);\n"
              "    if (y[$127 - t$64 * g + 63 - i$] < 0) y[t] = 0; // HERE THERE"),
    /* Bounds */
    IN_KERNEL("reads one element too far", OUT_OF_BOUNDS, "load of 4 bytes, buffer 0 ('x') at byte 512", next,
              "    y[t] = x[$t + 1$min(t + 1, 127u)$]; // HERE"),
    IN_KERNEL("stores one element too far", OUT_OF_BOUNDS, "store of 4 bytes, buffer 1 ('y') at byte 512", same,
              "    y[$t + 1$t$] = x[t]; // HERE"),
    IN_KERNEL("reads one element before the first", OUT_OF_BOUNDS, "load of 4 bytes, buffer 0 ('x') at byte -4", before,
              "    y[t] = x[$int(t) - 1$max(int(t) - 1, 0)$]; // HERE"),
    IN_KERNEL("stores one element too far in threadgroup memory", OUT_OF_BOUNDS, "the threadgroup variable of line 6 at byte 256", same,
              "    threadgroup float a[$63 + 1$65$];\n"
              "    a[i + 1] = x[t]; // HERE\n"
              "    " BARRIER "\n"
              "    y[t] = a[i + 1];"),
    IN_KERNEL("reads one element too far in threadgroup memory", OUT_OF_BOUNDS, "the threadgroup variable of line 6 at byte 256", same,
              "    threadgroup float a[64];\n"
              "    a[i] = x[t];\n"
              "    " BARRIER "\n"
              "    y[t] = a[$i + 1$i$]; // HERE"),
    IN_PLAIN("reads beyond the end, plain build", OUT_OF_BOUNDS, "buffer 0 ('x') has 512 bytes, and byte 512", next,
             "    y[t] = x[$t + 1$min(t + 1, 127u)$]; // HERE"),
    IN_PLAIN("stores beyond the end, plain build", OUT_OF_BOUNDS, "buffer 1 ('y') has 512 bytes, and byte 512", same,
             "    y[$t + 1$t$] = x[t]; // HERE"),
    /* What nothing has written */
    IN_KERNEL("a threadgroup variable that one thread forgets", UNINITIALISED_READ, "which nothing has written", mirrored,
              "    threadgroup float a[64];\n"
              "    if ($i > 0$true$) a[i] = x[t];\n"
              "    " BARRIER "\n"
              "    y[t] = a[63 - i]; // HERE"),
    IN_KERNEL("accumulates without a beginning", UNINITIALISED_READ, "which nothing has written", same,
              "    threadgroup float a[64];\n"
              "    a[i] $+$$= x[t]; // HERE\n"
              "    y[t] = a[i];"),
    IN_KERNEL("only the first threadgroup fills its memory", UNINITIALISED_READ, "which nothing has written", same,
              "    threadgroup float a[64];\n"
              "    if ($g == 0$g < 2$) a[i] = x[t];\n"
              "    " BARRIER "\n"
              "    y[t] = a[i]; // HERE"),
    /* Divergence */
    IN_KERNEL("a barrier in a branch", DIVERGENT_BARRIER, "left the kernel", same,
              "    threadgroup float a[64];\n"
              "    a[i] = x[t];\n"
              "    $if (i < 60) $$" BARRIER " // HERE\n"
              "    y[t] = a[i];"),
    IN_KERNEL("an early return before a barrier", DIVERGENT_BARRIER, "left the kernel", same,
              "    threadgroup float a[64];\n"
              "    $if (t >= 100) return;$$\n"
              "    a[i] = x[t];\n"
              "    " BARRIER " // HERE\n"
              "    y[t] = a[i];"),
    IN_KERNEL("two barriers, one in each branch", DIVERGENT_BARRIER, "waits at the barrier", mirrored,
              "    threadgroup float a[64];\n"
              "    a[i] = x[t];\n"
              "    $if (s == 0) " BARRIER "$$ // HERE THERE\n"
              "    $else $$" BARRIER " // HERE THERE\n"
              "    y[t] = $x[t]$a[63 - i]$;"),
    IN_KERNEL("a simdgroup's barrier that some lanes miss", DIVERGENT_BARRIER, "", same,
              "    $if (l < 16) $$simdgroup_barrier(mem_flags::mem_none); // HERE THERE\n"
              "    y[t] = simd_shuffle(x[t], l); // HERE THERE"),
    IN_KERNEL("simd_sum in a branch", DIVERGENT_SIMD, "lanes of simdgroup", simdgroup_sum,
              "    float v = x[t];\n"
              "    if ($l < 7$s < 2$) v = simd_sum(v); // HERE\n"
              "    y[t] = simd_max(v); // THERE"),
    IN_KERNEL("lanes that shuffle a different number of times", DIVERGENT_SIMD, "lanes of simdgroup", same,
              "    float v = x[t];\n"
              "    for (uint r = 0; r < $l$4u$; r++) v = simd_shuffle_xor(v, 1); // HERE\n"
              "    y[t] = simd_shuffle(v, l); // THERE"),
    IN_KERNEL("quad_sum in a branch", DIVERGENT_SIMD, "lanes of simdgroup", quad_sum,
              "    float v = x[t];\n"
              "    if ($l % 4 != 3$s < 2$) v = quad_sum(v); // HERE\n"
              "    y[t] = quad_max(v); // THERE"),
    IN_KERNEL("half a simdgroup loads a matrix", DIVERGENT_SIMD, "lanes of simdgroup", same,
              "    simdgroup_float8x8 m(0);\n"
              "    if ($l < 16 && $$s == 0) simdgroup_load(m, x + 64 * g, 8); // HERE\n"
              "    if (s == 0) simdgroup_store(m, y + 64 * g, 8); // THERE"),
    /* Bindings */
    WITH_KERNELS("a buffer is not bound", VALIDATION, "fill", "missing buffer binding at index 1 for 'y'", missing_buffer),
    WITH_KERNELS("a constant is not bound", VALIDATION, "fill", "missing buffer binding at index 2 for 'by'", missing_constant),
    WITH_KERNELS("a constant is too short", VALIDATION, "fill", "has 4 bytes from offset 0, the argument needs at least 8", short_constant),
    CHECKED_KERNELS("a buffer is one element too short", OUT_OF_BOUNDS, "copy", "buffer 0 ('x') at byte 508", short_buffer),
    CHECKED_KERNELS("a grid is one thread too large", OUT_OF_BOUNDS, "copy", "at byte 512", large_grid),
    CHECKED_KERNELS("a grid of whole threadgroups", OUT_OF_BOUNDS, "copy", "at byte", rounded_grid),
    WITH_KERNELS("an offset is misaligned", VALIDATION, "copy", "offset 2 at buffer index 0 for 'x' is not a multiple of 4", misaligned_offset),
    CHECKED_KERNELS("threadgroup memory is too short", OUT_OF_BOUNDS, "turn", "threadgroup argument 0 ('a') at byte 240", short_threadgroup_memory),
    WITH_KERNELS("threadgroup memory is not set", VALIDATION, "turn", "index 0 for 'a' has 0 bytes", no_threadgroup_memory),
    WITH_KERNELS("a queue is bound for a buffer", VALIDATION, NULL, "a SoftMTLCommandQueue was passed where a SoftMTLBuffer belongs", wrong_object),
    /* Encoders */
    WITH_KERNELS("an encoder is used after its end", VALIDATION, "fill", "was ended already", used_after_end),
    WITH_KERNELS("an encoder is not ended", VALIDATION, NULL, "was not ended", never_ended),
    WITH_KERNELS("two encoders at a time", VALIDATION, NULL, "one open encoder at a time", two_encoders),
    WITH_KERNELS("committed twice", VALIDATION, NULL, "was committed already", committed_twice),
    WITH_KERNELS("waiting for what was not committed", VALIDATION, NULL, "was not committed", waited_too_early),
    WITH_KERNELS("no pipeline", VALIDATION, NULL, "no pipeline is set", no_pipeline),
    WITH_KERNELS("a threadgroup is too large", VALIDATION, "copy", "is over the pipeline's maxTotalThreadsPerThreadgroup, 1024", group_too_large),
    OF_HOST("a copy one element too far", VALIDATION, NULL, "512 bytes from offset 4 are not inside the 512 of the source", copy_too_far),
    /* Order */
    CHECKED_KERNELS("no barrier between dispatches", MISSING_BARRIER, "grow", "of kernel 'fill', dispatched before", no_barrier_between),
    CHECKED_KERNELS("a barrier on another buffer", MISSING_BARRIER, "grow", "of kernel 'fill', dispatched before", barrier_on_the_other),
    CHECKED_KERNELS("stored while a dispatch reads", MISSING_BARRIER, "fill", "of kernel 'copy', dispatched before", stored_while_read),
    WITH_KERNELS("the CPU stores in flight", CPU_ACCESS_IN_FLIGHT, NULL, "", stored_in_flight),
    WITH_KERNELS("the CPU reads in flight", CPU_ACCESS_IN_FLIGHT, NULL, "", read_in_flight),
    CHECKED_KERNELS("a private buffer that nothing has written", UNINITIALISED_READ, "copy", "which nothing has written", private_unwritten),
    OF_HOST("the contents of a private buffer", VALIDATION, NULL, "is private: the CPU cannot see it", private_contents),
    WITH_KERNELS("a buffer released in flight", VALIDATION, NULL, "has unretained references", released_in_flight),
    /* Messages and ownership */
    OF_HOST("a selector with a letter missing", UNKNOWN_SELECTOR, NULL, "newCommandQueu]: no such method", unknown_selector),
    OF_HOST("a message to the wrong object", UNKNOWN_SELECTOR, NULL, "endEncoding]: no such method", wrong_receiver),
    OF_HOST("a wrapper with an argument of another type", BAD_SIGNATURE, NULL, "newBufferWithLength:options:", announced_argument),
    OF_HOST("a wrapper with another result", BAD_SIGNATURE, NULL, "status", announced_result),
    OF_HOST("a wrapper with an argument missing", BAD_SIGNATURE, NULL, "setBuffer:offset:atIndex:", announced_too_few),
    OF_HOST("a wrapper with a wrong selector", UNKNOWN_SELECTOR, NULL, "commandbuffer", announced_selector),
#if defined(__x86_64__)
    OF_HOST("a struct from objc_msgSend", BAD_SIGNATURE, NULL, "it takes objc_msgSend_stret", wrong_sender),
#endif
    OF_HOST("an object is never released", LEAK, NULL, "MTLCompileOptions: 1 object is still alive", leak),
    OF_HOST("an object is released twice", OVER_RELEASE, NULL, "SoftMTLBuffer", over_released),
    OF_HOST("an autoreleased object is released", OVER_RELEASE, NULL, "MTLCompileOptions", pool_over_releases),
    OF_HOST("a message after the end", USE_AFTER_END, NULL, "'length' sent to a SoftMTLBuffer", message_after_end),
    OF_HOST("an object outlives its pool", USE_AFTER_END, NULL, "'retainedReferences' sent to a SoftMTLCommandBuffer", outlived_pool),
    OF_HOST("autoreleased without a pool", LEAK, NULL, "autoreleased without a pool", no_pool),
    /* The language */
    IN_BODY("a device pointer to threadgroup memory", STRICT, "threadgroup", same,
            "    threadgroup float a[64];\n"
            "    a[i] = x[t];\n"
            "    $device$threadgroup$ float *p = a; // HERE\n"
            "    y[t] = p[i];"),
    IN_BODY("a threadgroup pointer to device memory", STRICT, "device float *", same,
            "    $threadgroup$device$ float *p = x; // HERE\n"
            "    y[t] = p[t];"),
    IN_BODY("a cast across address spaces", STRICT, "address space", same,
            "    threadgroup float a[64];\n"
            "    a[i] = x[t];\n"
            "    y[t] = *($device$threadgroup$ float *)(a + i); // HERE"),
    IN_BODY("a pointer of no address space", STRICT, "address space", same,
            "    $$device $float *p = x + t; // HERE\n"
            "    y[t] = *p;"),
    IN_TEXT("an argument of another address space", STRICT, "no matching function", same,
            HEAD "float first(const $threadgroup$device$ float *p) { return *p; }\n"
                 "kernel void k(device float *x [[buffer(0)]], device float *y [[buffer(1)]], uint t [[thread_position_in_grid]]) {\n"
                 "    y[t] = first(x + t); // HERE\n}\n"),
    IN_TEXT("a parameter of no address space", STRICT, "address space", same,
            HEAD "void set($$device $float *p, float v) { *p = v; } // HERE\n"
                 "kernel void k(device float *x [[buffer(0)]], device float *y [[buffer(1)]], uint t [[thread_position_in_grid]]) {\n"
                 "    set(y + t, x[t]);\n}\n"),
    IN_TEXT("a member of no address space", STRICT, "address space", same,
            HEAD "struct view {\n    $$device $float *p; // HERE\n};\n"
                 "kernel void k(device float *x [[buffer(0)]], device float *y [[buffer(1)]], uint t [[thread_position_in_grid]]) {\n"
                 "    view v = {y};\n    v.p[t] = x[t];\n}\n"),
    IN_BODY("a double", STRICT, "double", same, "    $double$float$ v = x[t]; // HERE\n    y[t] = v;"),
    IN_BODY("a static that changes", STRICT, "static", same, "    $static$$ float v = 0; // HERE\n    v = x[t];\n    y[t] = v;"),
    IN_TEXT("a global of no address space", STRICT, "program scope", twice,
            HEAD "$const$constant$ float factor = 2; // HERE\n"
                 "kernel void k(device float *x [[buffer(0)]], device float *y [[buffer(1)]], uint t [[thread_position_in_grid]]) {\n"
                 "    y[t] = factor * x[t];\n}\n"),
    IN_BODY("max of uint and int", STRICT, "ambiguous", same, "    y[t] = x[max(t, 0$$u$)]; // HERE"),
    IN_BODY("clamp of a float by ints", STRICT, "ambiguous", same, "    y[t] = clamp(x[t], 0$$.0f$, 200$$.0f$); // HERE"),
    IN_BODY("a vector of ints becomes one of floats", NSERROR, "float", same,
            "    int4 n = int4(int(x[t]));\n"
            "    float4 v = $n$float4(n)$; // HERE\n"
            "    y[t] = v.w;"),
    IN_BODY("half4 times float4", NSERROR, "half4", twice,
            "    half4 h = half4(half(x[t]));\n"
            "    float4 two = 2;\n"
            "    float4 v = two * $h$float4(h)$; // HERE\n"
            "    y[t] = v.x;"),
    IN_BODY("a vector with a component missing", STRICT, "components", same, "    float4 v = float4(x[t], 0, 0$$, 0$); // HERE\n    y[t] = v.x;"),
    IN_BODY("a matrix loaded from another type", NSERROR, "simdgroup_load", same,
            "    simdgroup_$half$float$8x8 m;\n"
            "    simdgroup_load(m, x + 64 * g, 8); // HERE\n"
            "    $$simdgroup_store(m, y + 64 * g, 8);$"),
    IN_BODY("an atomic operation on a plain pointer", NSERROR, "atomic_fetch_add_explicit", whole_sum,
            "    device $float$atomic_float$ *sum = (device $float$atomic_float$ *)y;\n"
            "    atomic_fetch_add_explicit(sum, x[t], memory_order_relaxed); // HERE"),
    IN_BODY("a threadgroup variable with an initialiser", STRICT, "initialiser", same,
            "    threadgroup float a[64]$ = {0}$$; // HERE\n"
            "    a[i] = x[t];\n"
            "    y[t] = a[i];"),
    IN_BODY("a barrier without flags", NSERROR, "threadgroup_barrier", same,
            "    threadgroup_barrier($$mem_flags::mem_none$); // HERE\n"
            "    y[t] = x[t];"),
    IN_TEXT("recursion", STRICT, "recursion", twice,
            HEAD "float times(float v, uint n) {\n"
                 "    $return n < 2 ? v : v + times(v, n - 1);$return v * n;$ // HERE\n}\n"
                 "kernel void k(device float *x [[buffer(0)]], device float *y [[buffer(1)]], uint t [[thread_position_in_grid]]) {\n"
                 "    y[t] = times(x[t], 2);\n}\n"),
    IN_BODY("goto", STRICT, "goto", same,
            "    uint n = 0;\n"
            "    $again: n++; if (n < 3) goto again;$do n++; while (n < 3);$ // HERE\n"
            "    y[t] = n == 3 ? x[t] : 0.0f;"),
    IN_BODY("std in place of metal", NSERROR, "std", same, "    y[t] = $std$metal$::max(x[t], 0.0f); // HERE"),
};
enum { PAIRS = sizeof pairs / sizeof *pairs };

/* ---- Are they caught, named, and not cried wolf at? */

/* Does this line have the marker? Lines count from 1; 0 is none. */
static bool is_marked(const char *text, uint32_t line, const char *marker)
{
    for (uint32_t at = 1; text && *text; at++) {
        size_t length = strcspn(text, "\n");
        const char *found = strstr(text, marker);
        if (at == line) return found && found < text + length;
        text += length + (text[length] != 0);
    }
    return false;
}

static bool objected(const pair *p, const char *to, const char *message)
{
    print_error("%s: %s: %s\n", p->name, to, message);
    return false;
}

/* Texts of kernels that stand in several rows mark more lines than one by names of their own. */
static bool right_lines(const pair *p, const char *text, const softmetal_report *report)
{
    bool lines = p->kind != SOFTMETAL_VALIDATION && text && (p->kernel || p->kind == SOFTMETAL_STRICT);
    if (!lines) return report->line == 0 || objected(p, "a line", report->message);
    const char *here = "HERE", *there = strstr(text, "THERE") ? "THERE" : NULL;
    if (p->act != run_kernel) {
        here = strcmp(p->kernel, "copy") == 0 ? "COPY" : strcmp(p->kernel, "turn") == 0 ? "TURN" : "by.";
        there = p->kind != SOFTMETAL_MISSING_BARRIER ? NULL : strcmp(p->kernel, "fill") == 0 ? "COPY" : "THERE";
    }
    if (!is_marked(text, report->line, here)) return objected(p, "the line", report->message);
    if (there && !is_marked(text, report->other_line, there)) return objected(p, "the other line", report->message);
    return true;
}

/* The first error is of the line that is marked, and says what it should. */
static bool right_refusal(const pair *p, const char *text, const char *refusal)
{
    static const char place[] = "program_source:";
    const char *at = refusal ? strstr(refusal, place) : NULL;
    if (!at) return objected(p, "no place in the error", refusal ? refusal : "it compiles");
    uint32_t line = (uint32_t)strtoul(at + strlen(place), NULL, 10);
    const char *end = strchr(at, '\n'), *words = strstr(at, p->words);
    if (!is_marked(text, line, "HERE")) return objected(p, "the line of the error", refusal);
    return (words && (!end || words < end)) || objected(p, "the words of the error", refusal);
}

static bool right_report(const pair *p, const char *text, const softmetal_report *report)
{
    if ((int)report->kind != p->kind) return objected(p, host.report_name(report->kind), report->message);
    if (!strstr(report->message, p->words)) return objected(p, "the words", report->message);
    if (p->kernel && (!report->kernel || strcmp(report->kernel, p->kernel) != 0)) return objected(p, "the kernel", report->message);
    return right_lines(p, text, report);
}

static bool play(const pair *p, bool wrong)
{
    char *text = p->text ? choose(p->text, wrong) : NULL;
    scene s = open_scene(&p->world, text);
    bool right = p->act(p, &s, wrong);
    bool good = wrong || right || objected(p, "the twin", s.refusal ? s.refusal : "a wrong result");
    if (wrong && p->world.strict) good = right_refusal(p, text, s.refusal);
    close_scene(&s);
    softmetal_report report;
    for (size_t i = 0; host.get_report(i, &report); i++) {
        if (!wrong) good = objected(p, "the twin", report.message);
        if (wrong && i > 0) good = objected(p, "more than one report", report.message);
        if (wrong && i == 0) good = right_report(p, text, &report) && good;
    }
    if (wrong && p->kind != SOFTMETAL_NSERROR && host.report_count() == 0) good = objected(p, "the mistake", "not caught");
    free(text);
    return good;
}

static void caught_and_no_false_alarm(void **state)
{
    const pair *p = *state;
    bool twin = play(p, false), mistake = play(p, true);
    assert_true(twin);
    assert_true(mistake);
}

static void enough_pairs(void **state)
{
    size_t strict = 0;
    (void)state;
    for (size_t i = 0; i < PAIRS; i++) strict += pairs[i].world.strict;
    assert_true(PAIRS >= 40);
    assert_true(strict >= 15);
    print_message("# %d mistakes, %d twins; %zu of them for the strict build\n", (int)PAIRS, (int)PAIRS, strict);
}

int main(void)
{
    open_library();
    static struct CMUnitTest tests[PAIRS + 1];
    for (size_t i = 0; i < PAIRS; i++)
        tests[i] = (struct CMUnitTest){pairs[i].name, caught_and_no_false_alarm, NULL, NULL, (void *)(uintptr_t)&pairs[i]};
    tests[PAIRS] = (struct CMUnitTest)cmocka_unit_test(enough_pairs);
    return cmocka_run_group_tests_name("mistakes", tests, NULL, NULL);
}
