/* Every allocation of the library's own fails in turn while a host goes the whole path: nothing crashes, and nothing is
 * left. */
#include "host.h"

void objc_msgSend(void);
void objc_msgSend_stret(void);
SEL sel_registerName(const char *name);
id objc_getClass(const char *name);
void *objc_autoreleasePoolPush(void);
void objc_autoreleasePoolPop(void *pool);
id MTLCreateSystemDefaultDevice(void);
extern char _NSConcreteStackBlock;
uint64_t sm_fail_allocations(uint64_t nth, uint64_t count);

static void link_library(void)
{
    host.send = objc_msgSend;
    host.selector = sel_registerName;
    host.class_named = objc_getClass;
    host.push_pool = objc_autoreleasePoolPush;
    host.pop_pool = objc_autoreleasePoolPop;
    host.create_device = MTLCreateSystemDefaultDevice;
    host.stack_block = &_NSConcreteStackBlock;
    host.set_world = softmetal_set_world;
    host.inject = softmetal_inject;
    host.report_count = softmetal_report_count;
    host.get_report = softmetal_get_report;
    host.report_name = softmetal_report_name;
    host.get_counts = softmetal_get_counts;
    host.check_leaks = softmetal_check_leaks;
    host.reset = softmetal_reset;
}

static const char source[] =
    "#include <metal_stdlib>\nusing namespace metal;\n"
    "constant uint by [[function_constant(0)]];\n"
    "kernel void k(device uint *out [[buffer(0)]], uint i [[thread_position_in_grid]]) { out[i] = by; }\n";

static void on_completed(block *self, id buffer)
{
    (void)buffer;
    ++*(int *)self->context;
}

static void encode(id buffer, id pipeline, id memory)
{
    id encoder = get(buffer, "computeCommandEncoder");
    label(encoder, "encoder");
    set_object(encoder, "insertDebugSignpost:", string("here"));
    set_pipeline(encoder, pipeline);
    for (int i = 0; i < 20; i++) {
        set_buffer(encoder, memory, 0, 0);
        set_bytes(encoder, &i, sizeof i, 1);
        if (pipeline && memory) dispatch_threads(encoder, size1(16), size1(16));
    }
    end(encoder);
    id blit = get(buffer, "blitCommandEncoder");
    if (memory) SEND(void, (id, NSRange, uint8_t), blit, "fillBuffer:range:value:", memory, ((NSRange){0, 16}), 1);
    end(blit);
}

static id new_buffer_of(id heap)
{
    return SEND(id, (NSUInteger, NSUInteger), heap, "newBufferWithLength:options:", 64, number(heap, "resourceOptions"));
}

/* What a host does, with nil wherever something could not be had. Returns whether the result is right. */
static bool go(int *told)
{
    id error = NULL, device = host.create_device(), queue = get(device, "newCommandQueue"),
       library = new_library(device, source, &error);
    id values = new_of("MTLFunctionConstantValues"), heap_descriptor = new_of("MTLHeapDescriptor"),
       buffer_descriptor = new_of("MTLCommandBufferDescriptor");
    const uint32_t seven = 7;
    SEND(void, (const void *, NSUInteger, id), values, "setConstantValue:type:withName:", &seven, 33, string("by"));
    get(library, "functionNames");
    id plain = new_function(library, "k");
    get(plain, "functionConstantsDictionary");
    id function =
        values ? SEND(id, (id, id, id *), library, "newFunctionWithName:constantValues:error:", string("k"), values, &error)
               : NULL;
    id reflection = NULL, pipeline = NULL, event = get(device, "newSharedEvent");
    if (function)
        pipeline = SEND(id, (id, NSUInteger, id *, id *), device,
                        "newComputePipelineStateWithFunction:options:reflection:error:", function, 1, &reflection, &error);
    set_number(heap_descriptor, "setSize:", 4096);
    set_number(heap_descriptor, "setStorageMode:", 0);
    id heap = heap_descriptor ? SEND(id, (id), device, "newHeapWithDescriptor:", heap_descriptor) : NULL,
       part = new_buffer_of(heap);
    id memory = new_buffer(device, 256, SHARED), again;
    label(memory, "memory");
    set_number(buffer_descriptor, "setErrorOptions:", 1);
    id buffer = buffer_descriptor ? SEND(id, (id), queue, "commandBufferWithDescriptor:", buffer_descriptor) : NULL;
    encode(buffer, pipeline, memory);
    encode(buffer, pipeline, part);
    if (event) SEND(void, (id, uint64_t), buffer, "encodeSignalEvent:value:", event, 1);
    block handler = BLOCK(on_completed, told);
    SEND(void, (block *), buffer, "addCompletedHandler:", &handler);
    finish(buffer);
    get(get(buffer, "error"), "localizedDescription");
    host.inject(&(softmetal_fault){.kind = SOFTMETAL_FAULT_COMMAND_BUFFER});
    finish(again = get(queue, "commandBuffer"));
    get(get(again, "error"), "userInfo");
    host.inject(NULL);
    bool right = number(buffer, "status") == STATUS_COMPLETED && memory && ((uint32_t *)contents(memory))[15] == 7 &&
                 number(event, "signaledValue") == 1;
    id all[] = {memory,  part,  heap,  event, pipeline, function, plain, values, heap_descriptor, buffer_descriptor,
                library, queue, device};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) release(all[i]);
    return right;
}

static void each_allocation_fails(void **state)
{
    (void)state;
    void *outer = host.push_pool();
    int told = 0, failed = 0;
    bool works = go(&told); /* what is made once is made now */
    if (!works) print_reports();
    assert_true(works);
    host.pop_pool(outer);
    assert_int_equal(told, 1);
    for (int for_ever = 0; for_ever < 2; for_ever++) {
        uint64_t made = UINT64_MAX;
        for (uint64_t nth = 1; nth <= made; nth++) {
            host.reset();
            void *pool = host.push_pool();
            sm_fail_allocations(nth, for_ever ? UINT64_MAX : 1);
            bool right = go(&told);
            uint64_t so_far = sm_fail_allocations(0, 0);
            if (!for_ever)
                made = so_far;
            else if (right)
                made = 0;
            failed += !right;
            host.pop_pool(pool);
            size_t left = host.check_leaks();
            if (left) print_message("allocation %llu\n", (unsigned long long)nth), print_reports();
            assert_int_equal(left, 0);
        }
    }
    print_message("%d runs had a result that an allocation was missing for\n", failed);
    assert_true(failed > 100);
    host.reset();
    void *pool = host.push_pool();
    told = 0;
    assert_true(go(&told));
    host.pop_pool(pool);
    assert_int_equal(told, 1);
    assert_int_equal(host.check_leaks(), 0);
    assert_no_reports();
}

int main(void)
{
    link_library();
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_allocation_fails)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
