/* Memory: buffers of all kinds, heaps, residency sets, blits; and buffers that are closed to the CPU while the device uses
 * them. */
#include "host_fixture.h"

#include <semaphore.h>
#include <sys/mman.h>
#include <unistd.h>

static id commit_fill(fixture *f, id memory, NSUInteger offset, uint32_t value, NSUInteger threads)
{
    id buffer = get(f->queue, "commandBuffer"), encoder = get(buffer, "computeCommandEncoder");
    set_pipeline(encoder, kernel(f, FILL));
    set_buffer(encoder, memory, offset, 0);
    set_bytes(encoder, &value, sizeof value, 1);
    dispatch_threads(encoder, size1(threads), size1(32));
    end(encoder);
    call(buffer, "commit");
    return buffer;
}

static void fill_with(fixture *f, id memory, NSUInteger offset, uint32_t value, NSUInteger threads)
{
    id buffer = commit_fill(f, memory, offset, value, threads);
    call(buffer, "waitUntilCompleted");
    assert_int_equal(number(buffer, "status"), STATUS_COMPLETED);
}

static void properties(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    const uint32_t words[] = {1, 2, 3, 4, 5};
    id shared = new_buffer(f.device, 100, SHARED), private = new_buffer(f.device, 100, PRIVATE | UNTRACKED),
       managed = new_buffer(f.device, 100, MANAGED);
    id copied = SEND(id, (const void *, NSUInteger, NSUInteger), f.device, "newBufferWithBytes:length:options:", words,
                     sizeof words, SHARED | 1);
    assert_memory_equal(contents(copied), words, sizeof words);
    assert_int_equal(number(shared, "length"), 100);
    assert_int_equal(number(shared, "storageMode"), 0);
    assert_int_equal(number(shared, "hazardTrackingMode"), 2);
    assert_int_equal(number(private, "storageMode"), 2);
    assert_int_equal(number(private, "hazardTrackingMode"), 1);
    assert_int_equal(number(private, "resourceOptions"), PRIVATE | UNTRACKED);
    assert_int_equal(number(managed, "storageMode"), 1);
    assert_int_equal(number(copied, "cpuCacheMode"), 1);
    assert_true(number(shared, "allocatedSize") >= 100);
    assert_null(get(shared, "heap"));
    assert_ptr_equal(get(shared, "device"), f.device);
    assert_null(get(shared, "label"));
    label(shared, "kv cache");
    assert_string_equal(text_of(get(shared, "label")), "kv cache");
    assert_int_equal(SEND(NSUInteger, (NSUInteger), shared, "setPurgeableState:", 1), 2);
    assert_int_equal(SEND(NSUInteger, (NSUInteger), shared, "setPurgeableState:", 3), 2);
    assert_int_equal(SEND(NSUInteger, (NSUInteger), shared, "setPurgeableState:", 2), 3);
    const uint8_t *zeros = contents(shared);
    for (int i = 0; i < 100; i++) assert_int_equal(zeros[i], 0);
    SEND(void, (NSRange), managed, "didModifyRange:", ((NSRange){0, 100}));
    assert_no_reports();
    SEND(void, (NSRange), managed, "didModifyRange:", ((NSRange){90, 11}));
    assert_reported(SOFTMETAL_VALIDATION, "range {90, 11} is not inside the 100 bytes");
    NSUInteger before = number(f.device, "currentAllocatedSize");
    id more = new_buffer(f.device, 1 << 20, SHARED);
    assert_true(number(f.device, "currentAllocatedSize") >= before + (1 << 20));
    release(more);
    assert_int_equal(number(f.device, "currentAllocatedSize"), before);
    id all[] = {shared, private, managed, copied};
    for (int i = 0; i < 4; i++) release(all[i]);
    assert_int_equal(number(f.device, "currentAllocatedSize"), 0);
    close_fixture(&f);
}

static void on_gone(block *self, void *pointer, NSUInteger length)
{
    *(NSUInteger *)self->context += pointer ? length : 0;
}

static id synchronized(fixture *f, id memory)
{
    id buffer = get(f->queue, "commandBuffer"), blit = get(buffer, "blitCommandEncoder");
    set_object(blit, "synchronizeResource:", memory);
    end(blit);
    finish(buffer);
    return buffer;
}

/* Of a discrete device the CPU has a copy of its own of managed memory, and what is not told is not seen. */
static void managed_memory(void **state)
{
    (void)state;
    softmetal_world world = {.discrete = true};
    fixture f = open_fixture(&world);
    const uint32_t words[] = {1, 2, 3, 4};
    id managed = SEND(id, (const void *, NSUInteger, NSUInteger), f.device, "newBufferWithBytes:length:options:", words, sizeof words, MANAGED),
       shared = new_buffer(f.device, sizeof words, SHARED);
    uint32_t *cpu = contents(managed), *seen = contents(shared);
    assert_memory_equal(cpu, words, sizeof words);
    cpu[0] = 10, cpu[1] = 20;
    SEND(void, (NSRange), managed, "didModifyRange:", ((NSRange){4, 4}));
    id buffer = get(f.queue, "commandBuffer"), blit = get(buffer, "blitCommandEncoder");
    SEND(void, (id, NSUInteger, id, NSUInteger, NSUInteger), blit, "copyFromBuffer:sourceOffset:toBuffer:destinationOffset:size:", managed, 0,
         shared, 0, sizeof words);
    end(blit);
    finish(buffer);
    assert_int_equal(seen[0], 1);
    assert_int_equal(seen[1], 20);
    fill_with(&f, managed, 8, 77, 2);
    assert_int_equal(cpu[2], 3);
    synchronized(&f, managed);
    assert_int_equal(cpu[0], 1); /* the device's, which it was not told of */
    assert_int_equal(cpu[1], 20);
    assert_int_equal(cpu[2], 77);
    assert_int_equal(cpu[3], 77);
    assert_no_reports();
    release(managed);
    release(shared);
    close_fixture(&f);
}

static void host_memory_is_used_and_given_back(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    NSUInteger page = (NSUInteger)sysconf(_SC_PAGESIZE), gone = 0;
    void *pages = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    block deallocator = BLOCK(on_gone, &gone);
    id memory = SEND(id, (void *, NSUInteger, NSUInteger, block *), f.device,
                     "newBufferWithBytesNoCopy:length:options:deallocator:", pages, page, SHARED, &deallocator);
    assert_ptr_equal(contents(memory), pages);
    fill_with(&f, memory, 0, 0xABCD, page / 4);
    for (NSUInteger i = 0; i < page / 4; i++) assert_int_equal(((uint32_t *)pages)[i], 0xABCD);
    assert_int_equal(gone, 0);
    release(memory);
    assert_int_equal(gone, page);
    munmap(pages, page);
    assert_no_reports();
    close_fixture(&f);
}

static void copies(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id from = new_buffer(f.device, 256, SHARED), via = new_buffer(f.device, 256, PRIVATE),
       to = new_buffer(f.device, 256, SHARED);
    uint8_t *in = contents(from), *out = contents(to);
    for (int i = 0; i < 256; i++) in[i] = (uint8_t)i;
    id buffer = get(f.queue, "commandBuffer"), encoder = get(buffer, "blitCommandEncoder");
    SEND(void, (id, NSUInteger, id, NSUInteger, NSUInteger), encoder,
         "copyFromBuffer:sourceOffset:toBuffer:destinationOffset:size:", from, 16, via, 32, 64);
    SEND(void, (id, NSRange, uint8_t), encoder, "fillBuffer:range:value:", via, ((NSRange){96, 8}), 0xEE);
    SEND(void, (id, NSUInteger, id, NSUInteger, NSUInteger), encoder,
         "copyFromBuffer:sourceOffset:toBuffer:destinationOffset:size:", via, 32, to, 0, 72);
    set_object(encoder, "optimizeContentsForGPUAccess:", to);
    end(encoder);
    finish(buffer);
    for (int i = 0; i < 64; i++) assert_int_equal(out[i], i + 16);
    for (int i = 64; i < 72; i++) assert_int_equal(out[i], 0xEE);
    assert_int_equal(out[72], 0);
    release(from);
    release(via);
    release(to);
    assert_no_reports();
    close_fixture(&f);
}

static void indirect_dispatch(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id counts = new_buffer(f.device, 64, SHARED), out = new_buffer(f.device, 64, SHARED),
       empty = new_buffer(f.device, 64, SHARED);
    uint32_t *groups = contents(counts);
    groups[4] = 3, groups[5] = 2, groups[6] = 1;
    groups[8] = 0, groups[9] = 2, groups[10] = 1;
    id buffer = get(f.queue, "commandBuffer"), encoder = get(buffer, "computeCommandEncoder");
    set_pipeline(encoder, kernel(&f, GRID_SIZE));
    set_buffer(encoder, out, 0, 0);
    const char *method = "dispatchThreadgroupsWithIndirectBuffer:indirectBufferOffset:threadsPerThreadgroup:";
    SEND(void, (id, NSUInteger, MTLSize), encoder, method, counts, 16, ((MTLSize){8, 4, 1}));
    set_buffer(encoder, empty, 0, 0);
    SEND(void, (id, NSUInteger, MTLSize), encoder, method, counts, 32, ((MTLSize){8, 4, 1}));
    end(encoder);
    finish(buffer);
    const uint32_t wanted[] = {24, 8, 1, 3, 2, 1}, *sizes = contents(out);
    for (int i = 0; i < 6; i++) assert_int_equal(sizes[i], wanted[i]);
    assert_int_equal(*(uint32_t *)contents(empty), 0); /* a grid of nothing is no mistake here */
    release(counts);
    release(out);
    release(empty);
    assert_no_reports();
    close_fixture(&f);
}

static void ways_to_bind(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id x = new_buffer(f.device, 256, SHARED), y = new_buffer(f.device, 256, SHARED), by = new_buffer(f.device, 64, SHARED);
    float *in = contents(x), *pair = contents(by);
    for (int i = 0; i < 64; i++) in[i] = (float)i;
    pair[4] = 2, pair[5] = 1;
    id buffer = get(f.queue, "commandBuffer"), encoder = get(buffer, "computeCommandEncoder"), three[] = {x, y, by};
    NSUInteger offsets[] = {0, 128, 16};
    set_pipeline(encoder, kernel(&f, SCALE));
    SEND(void, (const id *, const NSUInteger *, NSRange), encoder, "setBuffers:offsets:withRange:", three, offsets,
         ((NSRange){0, 3}));
    dispatch_groups(encoder, size1(2), size1(8));
    SEND(void, (NSUInteger, NSUInteger), encoder, "setBufferOffset:atIndex:", 32, 0);
    SEND(void, (NSUInteger, NSUInteger), encoder, "setBufferOffset:atIndex:", 192, 1);
    float other[] = {10, 0};
    set_bytes(encoder, other, sizeof other, 2);
    other[0] = -1; /* they were copied */
    dispatch_threads(encoder, size1(5), size1(4));
    end(encoder);
    finish(buffer);
    const float *out = contents(y);
    for (int i = 0; i < 16; i++) assert_true(out[32 + i] == 2 * (float)i + 1);
    for (int i = 0; i < 5; i++) assert_true(out[48 + i] == 10 * (float)(8 + i));
    assert_true(out[53] == 0);
    release(x);
    release(y);
    release(by);
    assert_no_reports();
    close_fixture(&f);
}

/* Kernels reach memory through addresses; the host says what they use. */
static void addresses(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id first = new_buffer(f.device, 256, SHARED), second = new_buffer(f.device, 256, SHARED),
       event = get(f.device, "newSharedEvent");
    uint32_t *in = contents(first), *out = contents(second);
    label(second, "second");
    for (uint32_t i = 0; i < 64; i++) in[i] = 10 * i;
    const uint64_t table[] = {number(first, "gpuAddress"), number(second, "gpuAddress") + 128};
    id buffer = get(f.queue, "commandBuffer");
    SEND(void, (id, uint64_t), buffer, "encodeWaitForEvent:value:", event, 1);
    id encoder = get(buffer, "computeCommandEncoder"), both[] = {first, second};
    set_pipeline(encoder, kernel(&f, THROUGH));
    set_bytes(encoder, table, sizeof table, 0);
    SEND(void, (const id *, NSUInteger, NSUInteger), encoder, "useResources:count:usage:", both, 2, 3);
    dispatch_threads(encoder, size1(32), size1(32));
    end(encoder);
    call(buffer, "commit");
    out[0] = 5; /* in use, though the kernel has no such argument */
    set_number(event, "setSignaledValue:", 1);
    call(buffer, "waitUntilCompleted");
    assert_int_equal(number(buffer, "status"), STATUS_COMPLETED);
    for (uint32_t i = 0; i < 32; i++) assert_int_equal(out[32 + i], 10 * i + 1);
    assert_reported(SOFTMETAL_CPU_ACCESS_IN_FLIGHT, "second");
    release(first);
    release(second);
    release(event);
    close_fixture(&f);
}

/* Buffers of a heap that is used may end before the work does. */
static void heap_in_use(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id descriptor = new_of("MTLHeapDescriptor"), event = get(f.device, "newSharedEvent");
    set_number(descriptor, "setSize:", 4096);
    set_number(descriptor, "setStorageMode:", 0);
    id heap = SEND(id, (id), f.device, "newHeapWithDescriptor:", descriptor), out = new_buffer(f.device, 256, SHARED);
    id part = SEND(id, (NSUInteger, NSUInteger), heap, "newBufferWithLength:options:", 256, number(heap, "resourceOptions"));
    release(SEND(id, (NSUInteger, NSUInteger), heap, "newBufferWithLength:options:", 256, number(heap, "resourceOptions")));
    const uint64_t table[] = {number(part, "gpuAddress"), number(out, "gpuAddress")};
    id buffer = get(f.queue, "commandBuffer");
    SEND(void, (id, uint64_t), buffer, "encodeWaitForEvent:value:", event, 1);
    id encoder = get(buffer, "computeCommandEncoder");
    set_pipeline(encoder, kernel(&f, THROUGH));
    set_bytes(encoder, table, sizeof table, 0);
    set_object(encoder, "useHeap:", heap);
    SEND(void, (id, NSUInteger), encoder, "useResource:usage:", out, 2);
    dispatch_threads(encoder, size1(32), size1(32));
    end(encoder);
    call(buffer, "commit");
    release(part);
    release(heap);
    set_number(event, "setSignaledValue:", 1);
    call(buffer, "waitUntilCompleted");
    assert_int_equal(number(buffer, "status"), STATUS_COMPLETED);
    assert_int_equal(((uint32_t *)contents(out))[31], 1);
    release(out);
    release(event);
    release(descriptor);
    assert_no_reports();
    close_fixture(&f);
}

static void threadgroup_memory(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id memory = new_buffer(f.device, 256, SHARED), buffer = get(f.queue, "commandBuffer"),
       encoder = get(buffer, "computeCommandEncoder");
    uint32_t *words = contents(memory);
    for (uint32_t i = 0; i < 64; i++) words[i] = i;
    set_pipeline(encoder, kernel(&f, REVERSE));
    set_buffer(encoder, memory, 0, 0);
    SEND(void, (NSUInteger, NSUInteger), encoder, "setThreadgroupMemoryLength:atIndex:", 256, 0);
    dispatch_threads(encoder, size1(64), size1(64));
    end(encoder);
    finish(buffer);
    for (uint32_t i = 0; i < 64; i++) assert_int_equal(words[i], 63 - i);
    assert_int_equal(number(kernel(&f, ROOMY), "staticThreadgroupMemoryLength"), 16384);
    release(memory);
    assert_no_reports();
    close_fixture(&f);
}

/* What nothing has written is seen by the checker: blits and kernels write, and so does the CPU. */
static void private_memory_is_written_first(void **state)
{
    (void)state;
    for (int written = 0; written < 2; written++) {
        softmetal_world world = {.build = SOFTMETAL_CHECKED};
        fixture f = open_fixture(&world);
        id from = new_buffer(f.device, 256, PRIVATE), to = new_buffer(f.device, 256, SHARED),
           buffer = get(f.queue, "commandBuffer");
        float by[] = {2, 1};
        label(from, "from");
        if (written) {
            id blit = get(buffer, "blitCommandEncoder");
            SEND(void, (id, NSRange, uint8_t), blit, "fillBuffer:range:value:", from, ((NSRange){0, 128}), 0);
            end(blit);
        }
        id encoder = get(buffer, "computeCommandEncoder");
        set_pipeline(encoder, kernel(&f, SCALE));
        set_buffer(encoder, from, 0, 0);
        set_buffer(encoder, to, 0, 1);
        set_bytes(encoder, by, sizeof by, 2);
        dispatch_threads(encoder, size1(32), size1(32));
        end(encoder);
        finish(buffer);
        if (written) {
            assert_true(*(float *)contents(to) == 1);
            assert_no_reports();
        } else {
            assert_int_equal(reported(SOFTMETAL_UNINITIALISED_READ, "labelled 'from'"),
                             32); /* once a thread, merged into one */
            assert_int_equal(host.report_count(), 1);
        }
        release(from);
        release(to);
        close_fixture(&f);
    }
}

/* ---- Heaps */

static id new_heap(fixture *f, NSUInteger size, int64_t type, NSUInteger storage)
{
    id descriptor = new_of("MTLHeapDescriptor");
    assert_int_equal(number(descriptor, "storageMode"), 2);
    set_number(descriptor, "setSize:", size);
    SEND(void, (int64_t), descriptor, "setType:", type);
    set_number(descriptor, "setStorageMode:", storage);
    id heap = SEND(id, (id), f->device, "newHeapWithDescriptor:", descriptor);
    release(descriptor);
    return heap;
}

static id heap_buffer(id heap, NSUInteger bytes)
{
    return SEND(id, (NSUInteger, NSUInteger), heap, "newBufferWithLength:options:", bytes, number(heap, "resourceOptions"));
}

typedef struct size_and_align {
    NSUInteger size, align;
} size_and_align;

static void automatic_heap(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    size_and_align needs =
        SEND(size_and_align, (NSUInteger, NSUInteger), f.device, "heapBufferSizeAndAlignWithLength:options:", 1000, SHARED);
    assert_true(needs.size >= 1000 && needs.size % needs.align == 0);
    id heap = new_heap(&f, 4 * needs.size, 0, 0), parts[4];
    assert_non_null(heap);
    assert_int_equal(number(heap, "size"), 4 * needs.size);
    assert_int_equal(number(heap, "hazardTrackingMode"), 1);
    for (int i = 0; i < 4; i++) {
        parts[i] = heap_buffer(heap, 1000);
        assert_non_null(parts[i]);
        assert_ptr_equal(get(parts[i], "heap"), heap);
    }
    assert_null(heap_buffer(heap, 1000)); /* full */
    assert_int_equal(number(heap, "usedSize"), 4 * needs.size);
    assert_int_equal(SEND(NSUInteger, (NSUInteger), heap, "maxAvailableSizeWithAlignment:", 256), 0);
    release(parts[1]);
    release(parts[3]);
    assert_int_equal(number(heap, "usedSize"), 2 * needs.size);
    assert_int_equal(SEND(NSUInteger, (NSUInteger), heap, "maxAvailableSizeWithAlignment:", 256), needs.size);
    assert_null(heap_buffer(heap, 2 * needs.size)); /* in pieces */
    release(parts[2]);
    assert_int_equal(SEND(NSUInteger, (NSUInteger), heap, "maxAvailableSizeWithAlignment:", 256), 3 * needs.size);
    parts[1] = heap_buffer(heap, 3 * needs.size);
    assert_non_null(parts[1]);
    fill_with(&f, parts[1], 0, 5, 32);
    assert_int_equal(((uint32_t *)contents(parts[1]))[31], 5);
    assert_int_equal(*(uint32_t *)contents(parts[0]), 0);
    assert_false(test(parts[1], "isAliasable"));
    call(parts[1], "makeAliasable");
    assert_true(test(parts[1], "isAliasable"));
    assert_int_equal(number(heap, "usedSize"), needs.size);
    id same_place = heap_buffer(heap, 3 * needs.size);
    assert_non_null(same_place);
    assert_int_equal(number(same_place, "heapOffset"), number(parts[1], "heapOffset"));
    release(parts[1]); /* what it had was given back already */
    parts[1] = same_place;
    assert_int_equal(number(heap, "usedSize"), 4 * needs.size);
    assert_no_reports();
    assert_null(SEND(id, (NSUInteger, NSUInteger), heap, "newBufferWithLength:options:", 16, PRIVATE));
    assert_reported(SOFTMETAL_VALIDATION, "have storage mode 2");
    release(heap); /* its buffers keep it */
    release(parts[0]);
    release(parts[1]);
    close_fixture(&f);
}

static void placement_heap(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id heap = new_heap(&f, 4096, 1, 0);
    const char *method = "newBufferWithLength:options:offset:";
    NSUInteger options = number(heap, "resourceOptions");
    id low = SEND(id, (NSUInteger, NSUInteger, NSUInteger), heap, method, 1024, options, 0);
    id middle = SEND(id, (NSUInteger, NSUInteger, NSUInteger), heap, method, 1024, options, 512);
    assert_non_null(low);
    assert_non_null(middle);
    assert_int_equal(number(middle, "heapOffset"), 512);
    assert_int_equal(number(middle, "gpuAddress") - number(low, "gpuAddress"), 512);
    assert_int_equal(number(heap, "usedSize"), 1536);
    fill_with(&f, middle, 0, 9, 256);
    const uint32_t *words = contents(low); /* the same bytes */
    assert_int_equal(words[127], 0);
    assert_int_equal(words[128], 9);
    assert_no_reports();
    assert_null(SEND(id, (NSUInteger, NSUInteger, NSUInteger), heap, method, 1024, options, 3328));
    assert_int_equal(reported(SOFTMETAL_VALIDATION, "at offset 3328: the heap has 4096"), 1);
    assert_null(SEND(id, (NSUInteger, NSUInteger, NSUInteger), heap, method, 1024, options, 100));
    assert_int_equal(reported(SOFTMETAL_VALIDATION, "at offset 100"), 1);
    assert_null(SEND(id, (NSUInteger, NSUInteger), heap, "newBufferWithLength:options:", 16, options));
    assert_int_equal(reported(SOFTMETAL_VALIDATION, "is of placements"), 1);
    release(low);
    release(middle);
    assert_int_equal(number(heap, "usedSize"), 0);
    release(heap);
    close_fixture(&f);
}

static void heaps_that_cannot_be(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    assert_null(new_heap(&f, 0, 0, 2));
    assert_int_equal(reported(SOFTMETAL_VALIDATION, "newHeapWithDescriptor:]: the size is 0"), 1);
    assert_null(new_heap(&f, 4096, 2, 2));
    assert_int_equal(reported(SOFTMETAL_VALIDATION, "heap type 2"), 1);
    assert_null(new_heap(&f, 4096, 0, 1));
    assert_int_equal(reported(SOFTMETAL_VALIDATION, "storage mode 1: a heap is shared (0) or private (2)"), 1);
    assert_null(SEND(id, (id), f.device, "newHeapWithDescriptor:", NULL));
    assert_int_equal(reported(SOFTMETAL_VALIDATION, "the descriptor is nil"), 1);
    close_fixture(&f);
}

static void residency_sets(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id error = NULL, descriptor = new_of("MTLResidencySetDescriptor"), heap = new_heap(&f, 65536, 1, 0),
       memory = new_buffer(f.device, 4096, SHARED);
    label(descriptor, "weights");
    assert_true(SEND(BOOL, (SEL), f.device, "respondsToSelector:", host.selector("newResidencySetWithDescriptor:error:")));
    id set = SEND(id, (id, id *), f.device, "newResidencySetWithDescriptor:error:", descriptor, &error),
       both[] = {heap, memory};
    assert_non_null(set);
    assert_string_equal(text_of(get(set, "label")), "weights");
    SEND(void, (const id *, NSUInteger), set, "addAllocations:count:", both, 2);
    set_object(set, "addAllocation:", memory);
    call(set, "commit");
    call(set, "requestResidency");
    assert_int_equal(number(set, "allocationCount"), 2);
    assert_true(number(set, "allocatedSize") >= 65536 + 4096);
    assert_true(SEND(BOOL, (id), set, "containsAllocation:", heap));
    set_object(f.queue, "addResidencySet:", set);
    fill_with(&f, memory, 0, 3, 32);
    set_object(f.queue, "removeResidencySet:", set);
    set_object(set, "removeAllocation:", heap);
    assert_false(SEND(BOOL, (id), set, "containsAllocation:", heap));
    assert_int_equal(number(get(set, "allAllocations"), "count"), 1);
    call(set, "endResidency");
    assert_no_reports();
    set_object(f.queue, "removeResidencySet:", set);
    assert_reported(SOFTMETAL_VALIDATION, "the set was not added to this queue");
    id all[] = {set, heap, memory, descriptor};
    for (int i = 0; i < 4; i++) release(all[i]);
    close_fixture(&f);

    softmetal_world older = {.macos_major = 14};
    f = open_fixture(&older);
    assert_false(SEND(BOOL, (SEL), f.device, "respondsToSelector:", host.selector("newResidencySetWithDescriptor:error:")));
    assert_false(SEND(BOOL, (SEL), f.queue, "respondsToSelector:", host.selector("addResidencySet:")));
    assert_true(SEND(BOOL, (SEL), f.device, "respondsToSelector:", host.selector("newFence")));
    assert_no_reports();
    assert_null(SEND(id, (id, id *), f.device, "newResidencySetWithDescriptor:error:", NULL, &error));
    assert_reported(SOFTMETAL_UNKNOWN_SELECTOR, "macOS 14 has no residency sets");
    close_fixture(&f);
}

/* ---- Closed while in flight */

/* A command buffer that uses `memory` and waits; `touch` is what the CPU does meanwhile. */
static void touch_in_flight(const softmetal_world *world, id (*choose)(fixture *f, id used, id unused), uint64_t reports)
{
    fixture f = open_fixture(world);
    id used = new_buffer(f.device, 256, SHARED), unused = new_buffer(f.device, 256, SHARED),
       event = get(f.device, "newSharedEvent");
    label(used, "used");
    id buffer = get(f.queue, "commandBuffer");
    SEND(void, (id, uint64_t), buffer, "encodeWaitForEvent:value:", event, 1);
    id encoder = get(buffer, "computeCommandEncoder");
    uint32_t value = 4;
    set_pipeline(encoder, kernel(&f, FILL));
    set_buffer(encoder, used, 0, 0);
    set_buffer(encoder, unused, 0, 5); /* bound, but the kernel does not know index 5 */
    set_bytes(encoder, &value, sizeof value, 1);
    dispatch_threads(encoder, size1(32), size1(32));
    end(encoder);
    volatile uint32_t *touched = contents(choose(&f, used, unused));
    touched[40] = 1;
    assert_no_reports(); /* not committed yet */
    call(buffer, "commit");
    touched[41] = touched[40] + 1;
    set_number(event, "setSignaledValue:", 1);
    call(buffer, "waitUntilCompleted");
    assert_int_equal(number(buffer, "status"), STATUS_COMPLETED);
    assert_int_equal(touched[41], 2); /* the host went on */
    assert_int_equal(((uint32_t *)contents(used))[31], 4);
    if (reported(SOFTMETAL_CPU_ACCESS_IN_FLIGHT, "used") != reports) print_reports();
    assert_int_equal(reported(SOFTMETAL_CPU_ACCESS_IN_FLIGHT, "used"), reports);
    assert_int_equal(host.report_count(), reports);
    release(used);
    release(unused);
    release(event);
    close_fixture(&f);
}

static id choose_used(fixture *f, id used, id unused)
{
    (void)f, (void)unused;
    return used;
}

static id choose_unused(fixture *f, id used, id unused)
{
    (void)f, (void)used;
    return unused;
}

static void closed_in_flight(void **state)
{
    (void)state;
    softmetal_world keeps_open = {.keep_open = true};
    touch_in_flight(NULL, choose_used, 1);
    touch_in_flight(NULL, choose_unused, 0);
    touch_in_flight(&keeps_open, choose_used, 0);
}

static void on_completed_reads(block *self, id buffer)
{
    (void)buffer;
    const uint32_t *words = contents(self->context);
    assert_int_equal(words[3], 6);
}

static void open_in_the_handler(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id memory = new_buffer(f.device, 256, SHARED), buffer = get(f.queue, "commandBuffer"),
       encoder = get(buffer, "computeCommandEncoder");
    uint32_t value = 6;
    set_pipeline(encoder, kernel(&f, FILL));
    set_buffer(encoder, memory, 0, 0);
    set_bytes(encoder, &value, sizeof value, 1);
    dispatch_threads(encoder, size1(32), size1(32));
    end(encoder);
    block handler = BLOCK(on_completed_reads, memory);
    SEND(void, (block *), buffer, "addCompletedHandler:", &handler);
    finish(buffer);
    assert_no_reports();
    release(memory);
    close_fixture(&f);
}

/* Released as soon as committed: the command buffer holds it. */
static void held_while_in_flight(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id memory = new_buffer(f.device, 256, SHARED), buffer = commit_fill(&f, memory, 0, 1, 32);
    release(memory);
    call(buffer, "waitUntilCompleted");
    assert_int_equal(number(buffer, "status"), STATUS_COMPLETED);
    softmetal_counts counts;
    host.get_counts(&counts);
    assert_int_equal(counts.live_buffer_bytes, 0); /* and lets go when it has completed */
    assert_no_reports();
    close_fixture(&f);
}

int main(void)
{
    open_library();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(properties),
        cmocka_unit_test(managed_memory),
        cmocka_unit_test(host_memory_is_used_and_given_back),
        cmocka_unit_test(copies),
        cmocka_unit_test(indirect_dispatch),
        cmocka_unit_test(ways_to_bind),
        cmocka_unit_test(addresses),
        cmocka_unit_test(heap_in_use),
        cmocka_unit_test(threadgroup_memory),
        cmocka_unit_test(private_memory_is_written_first),
        cmocka_unit_test(automatic_heap),
        cmocka_unit_test(placement_heap),
        cmocka_unit_test(heaps_that_cannot_be),
        cmocka_unit_test(residency_sets),
        cmocka_unit_test(closed_in_flight),
        cmocka_unit_test(open_in_the_handler),
        cmocka_unit_test(held_while_in_flight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
