/* Injected faults: each kind takes its path of failure, by count, with its usual error or a chosen one; and the environment
 * arms them. */
#include "host_fixture.h"

#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

static const char *program;

static void arm(softmetal_fault_kind kind, uint64_t nth, uint64_t count)
{
    host.inject(&(softmetal_fault){.kind = kind, .nth = nth, .count = count});
}

/* A buffer with `count` notes of 1, 2, 3 …, committed and waited for. */
static id noted(fixture *f, id memory, uint32_t count)
{
    id buffer = get(f->queue, "commandBuffer"), encoder = get(buffer, "computeCommandEncoder");
    label(encoder, "notes");
    set_pipeline(encoder, kernel(f, NOTE));
    set_buffer(encoder, memory, 0, 0);
    for (uint32_t i = 1; i <= count; i++) {
        set_bytes(encoder, &i, sizeof i, 1);
        dispatch_threads(encoder, size1(1), size1(1));
    }
    end(encoder);
    finish(buffer);
    return buffer;
}

static void assert_failed(id buffer, int64_t code, const char *text)
{
    assert_int_equal(number(buffer, "status"), STATUS_ERROR);
    id error = get(buffer, "error");
    assert_non_null(error);
    assert_string_equal(error_domain(error), "MTLCommandBufferErrorDomain");
    assert_int_equal(error_code(error), code);
    if (!strstr(error_text(error), text)) fail_msg("'%s' has no '%s' in it", error_text(error), text);
}

static void no_device(void **state)
{
    (void)state;
    host.set_world(NULL);
    host.reset();
    void *pool = host.push_pool();
    arm(SOFTMETAL_FAULT_DEVICE, 2, 0);
    id first = host.create_device();
    assert_non_null(first);
    assert_null(host.create_device());
    id (*copy_all)(void) = (id(*)(void))find("MTLCopyAllDevices");
    arm(SOFTMETAL_FAULT_DEVICE, 0, 0);
    id none = copy_all(), all = copy_all();
    assert_int_equal(number(none, "count"), 0);
    assert_int_equal(number(all, "count"), 1);
    assert_ptr_equal(SEND(id, (NSUInteger), all, "objectAtIndex:", 0), first);
    assert_int_equal(host.faults_fired(), 2);
    release(none);
    release(all);
    release(first);
    host.pop_pool(pool);
    assert_int_equal(host.check_leaks(), 0);
}

static void no_queue(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    arm(SOFTMETAL_FAULT_QUEUE, 0, 0);
    assert_null(get(f.device, "newCommandQueue"));
    id queue = get(f.device, "newCommandQueue");
    assert_non_null(queue);
    release(queue);
    close_fixture(&f);
}

static void nth_allocation(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id buffers[6];
    arm(SOFTMETAL_FAULT_ALLOCATION, 3, 2);
    for (int i = 0; i < 6; i++) buffers[i] = new_buffer(f.device, 64, i & 1 ? PRIVATE : SHARED);
    for (int i = 0; i < 6; i++) {
        if (i == 2 || i == 3)
            assert_null(buffers[i]);
        else
            assert_non_null(buffers[i]);
        release(buffers[i]);
    }
    assert_int_equal(host.faults_fired(), 2);
    id descriptor = new_of("MTLHeapDescriptor");
    set_number(descriptor, "setSize:", 65536);
    arm(SOFTMETAL_FAULT_ALLOCATION, 0, 0);
    assert_null(SEND(id, (id), f.device, "newHeapWithDescriptor:", descriptor));
    release(descriptor);
    assert_no_reports(); /* a fault is no mistake of the host's */
    close_fixture(&f);
}

static void allocations_for_ever(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    arm(SOFTMETAL_FAULT_ALLOCATION, 2, UINT64_MAX);
    id first = new_buffer(f.device, 64, SHARED);
    assert_non_null(first);
    for (int i = 0; i < 20; i++) assert_null(new_buffer(f.device, 64, SHARED));
    host.inject(NULL);
    id last = new_buffer(f.device, 64, SHARED);
    assert_non_null(last);
    release(first);
    release(last);
    close_fixture(&f);
}

/* Each counts the events that came since it was armed, also those that another one failed. */
static void several_at_once(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    static const bool there[] = {false, true, false, false, true};
    arm(SOFTMETAL_FAULT_ALLOCATION, 1, 1);
    arm(SOFTMETAL_FAULT_ALLOCATION, 3, 2);
    arm(SOFTMETAL_FAULT_QUEUE, 1, 1);
    for (size_t i = 0; i < sizeof there; i++) {
        id buffer = new_buffer(f.device, 64, SHARED);
        assert_int_equal(buffer != NULL, there[i]);
        release(buffer);
    }
    assert_null(get(f.device, "newCommandQueue"));
    assert_int_equal(host.faults_fired(), 4);
    close_fixture(&f);
}

static void no_library(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id error = NULL;
    arm(SOFTMETAL_FAULT_LIBRARY, 0, 0);
    assert_null(new_library(f.device, fixture_source, &error));
    assert_string_equal(error_domain(error), "MTLLibraryErrorDomain");
    assert_int_equal(error_code(error), 3);
    assert_non_null(strstr(error_text(error), "error:"));
    host.inject(
        &(softmetal_fault){.kind = SOFTMETAL_FAULT_LIBRARY, .code = 2, .description = "the compiler service went away"});
    assert_null(new_library(f.device, fixture_source, &error));
    assert_int_equal(error_code(error), 2);
    assert_string_equal(error_text(error), "the compiler service went away");
    id library = new_library(f.device, fixture_source, &error);
    assert_non_null(library);
    assert_null(error);
    release(library);
    close_fixture(&f);
}

static void no_function_or_pipeline(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id error = NULL;
    arm(SOFTMETAL_FAULT_FUNCTION, 0, 0);
    assert_null(new_function(f.library, "fill"));
    id function = new_function(f.library, "fill");
    assert_non_null(function);
    arm(SOFTMETAL_FAULT_PIPELINE, 0, 0);
    assert_null(new_pipeline(f.device, function, &error));
    assert_string_equal(error_text(error), "Compiler encountered an internal error");
    id pipeline = new_pipeline(f.device, function, &error);
    assert_non_null(pipeline);
    assert_null(error);
    release(pipeline);
    release(function);
    close_fixture(&f);
}

static void nth_command_buffer(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id memory = new_buffer(f.device, 256, SHARED);
    arm(SOFTMETAL_FAULT_COMMAND_BUFFER, 2, 0);
    assert_int_equal(number(noted(&f, memory, 3), "status"), STATUS_COMPLETED);
    assert_failed(noted(&f, memory, 3), 1, "Internal Error");
    assert_int_equal(number(noted(&f, memory, 3), "status"), STATUS_COMPLETED);
    assert_int_equal(*(uint32_t *)contents(memory), 6); /* the work of the one that failed was not done */
    assert_int_equal(host.faults_fired(), 1);
    assert_no_reports();
    release(memory);
    close_fixture(&f);
}

/* The public code's usual text has the driver's own number in it; a host that wants another says it. */
static void chosen_errors(void **state)
{
    static const struct {
        int64_t code;
        const char *text;
    } usual[] = {
        {2, "00000002:kIOGPUCommandBufferCallbackErrorTimeout"},
        {3, "0000000b:kIOGPUCommandBufferCallbackErrorPageFault"},
        {4, "00000004:kIOGPUCommandBufferCallbackErrorSubmissionsIgnored"},
        {7, "BackgroundExecutionNotPermitted"},
        {8, "Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"},
        {9, "Invalid Resource"},
        {11, "Device was removed"},
    };
    (void)state;
    fixture f = open_fixture(NULL);
    id memory = new_buffer(f.device, 256, SHARED);
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        host.inject(&(softmetal_fault){.kind = SOFTMETAL_FAULT_COMMAND_BUFFER, .code = usual[i].code});
        assert_failed(noted(&f, memory, 1), usual[i].code, usual[i].text);
    }
    host.inject(&(softmetal_fault){.kind = SOFTMETAL_FAULT_COMMAND_BUFFER,
                                   .code = 1,
                                   .description = "Discarded (victim of GPU error/recovery) (IOAF code 5)"});
    assert_failed(noted(&f, memory, 1), 1, "(IOAF code 5)");
    host.inject(&(softmetal_fault){
        .kind = SOFTMETAL_FAULT_COMMAND_BUFFER, .domain = "AGXDomain", .code = 77, .description = "whatever"});
    id buffer = noted(&f, memory, 1);
    assert_string_equal(error_domain(get(buffer, "error")), "AGXDomain");
    assert_int_equal(error_code(get(buffer, "error")), 77);
    assert_int_equal(*(uint32_t *)contents(memory), 0);
    release(memory);
    close_fixture(&f);
}

static void half_of_the_work(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id memory = new_buffer(f.device, 256, SHARED);
    arm(SOFTMETAL_FAULT_COMMAND_BUFFER_PARTIAL, 0, 0);
    assert_failed(noted(&f, memory, 7), 3, "PageFault");
    const uint32_t *log = contents(memory);
    assert_int_equal(log[0], 3);
    assert_int_equal(log[3], 3);
    arm(SOFTMETAL_FAULT_COMMAND_BUFFER_PARTIAL, 0, 0);
    assert_failed(noted(&f, memory, 1), 3, "PageFault");
    assert_int_equal(log[0], 3);
    release(memory);
    close_fixture(&f);
}

static void on_completed(block *self, id buffer)
{
    (void)buffer;
    sem_post(self->context);
}

static void hang(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id memory = new_buffer(f.device, 256, SHARED);
    arm(SOFTMETAL_FAULT_HANG, 0, 0);
    sem_t called;
    sem_init(&called, 0, 0);
    id first = get(f.queue, "commandBuffer"), second = get(f.queue, "commandBuffer");
    block handler = BLOCK(on_completed, &called);
    SEND(void, (block *), first, "addCompletedHandler:", &handler);
    SEND(void, (block *), second, "addCompletedHandler:", &handler);
    call(first, "commit");
    call(first, "waitUntilScheduled");
    call(second, "commit");
    usleep(30000);
    assert_int_not_equal(sem_trywait(&called), 0);
    assert_int_equal(number(first, "status"), 3);
    assert_int_equal(number(second, "status"), 2); /* stands behind it */
    id other = get(f.device, "newCommandQueue"), third = get(other, "commandBuffer");
    finish(third);
    assert_int_equal(number(third, "status"), STATUS_COMPLETED); /* other queues go on */
    host.release_hangs();
    call(first, "waitUntilCompleted");
    call(second, "waitUntilCompleted");
    assert_failed(first, 2, "00000003:kIOGPUCommandBufferCallbackErrorHang");
    assert_int_equal(number(second, "status"), STATUS_COMPLETED);
    assert_int_equal(sem_trywait(&called), 0);
    assert_int_equal(sem_trywait(&called), 0);
    sem_destroy(&called);
    release(other);
    release(memory);
    close_fixture(&f);
}

static void on_removed(block *self, id device, id name)
{
    assert_string_equal(text_of(name), "MTLDeviceWasRemovedNotification");
    *(id *)self->context = device;
}

static void removal(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id memory = new_buffer(f.device, 256, SHARED), observer = NULL, told = NULL, error = NULL;
    id (*copy_with_observer)(id *, block *) = (id(*)(id *, block *))find("MTLCopyAllDevicesWithObserver");
    block handler = BLOCK(on_removed, &told);
    release(copy_with_observer(&observer, &handler));
    arm(SOFTMETAL_FAULT_REMOVAL, 2, 0);
    assert_int_equal(number(noted(&f, memory, 1), "status"), STATUS_COMPLETED);
    assert_null(told);
    assert_failed(noted(&f, memory, 1), 11, "removed");
    assert_ptr_equal(told, f.device);
    assert_failed(noted(&f, memory, 1), 11, "removed");
    assert_int_equal(host.faults_fired(), 1);
    assert_int_equal(*(uint32_t *)contents(memory), 1);
    assert_null(new_buffer(f.device, 64, SHARED));
    assert_null(get(f.device, "newCommandQueue"));
    assert_null(new_library(f.device, fixture_source, &error));
    assert_non_null(error);
    id fresh = host.create_device(); /* the host starts again */
    assert_ptr_not_equal(fresh, f.device);
    id again = new_buffer(fresh, 64, SHARED);
    assert_non_null(again);
    ((void (*)(id))find("MTLRemoveDeviceObserver"))(observer);
    release(again);
    release(fresh);
    release(memory);
    assert_no_reports();
    close_fixture(&f);
}

/* Work that is waiting for an event when the device goes ends too. */
static void removal_while_waiting(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id event = get(f.device, "newSharedEvent"), other = get(f.device, "newCommandQueue");
    id waits = get(f.queue, "commandBuffer"), removes = get(other, "commandBuffer");
    SEND(void, (id, uint64_t), waits, "encodeWaitForEvent:value:", event, 5);
    call(waits, "commit");
    call(waits, "waitUntilScheduled");
    arm(SOFTMETAL_FAULT_REMOVAL, 0, 0);
    finish(removes);
    call(waits, "waitUntilCompleted");
    assert_failed(waits, 11, "removed");
    release(other);
    release(event);
    close_fixture(&f);
}

static void a_crash_is_an_error(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id memory = new_buffer(f.device, 256, SHARED), buffer = get(f.queue, "commandBuffer"),
       encoder = get(buffer, "computeCommandEncoder");
    set_pipeline(encoder, kernel(&f, WILD));
    set_buffer(encoder, memory, 0, 0);
    dispatch_threads(encoder, size1(4), size1(4));
    end(encoder);
    finish(buffer);
    assert_failed(buffer, 3, "PageFault");
    assert_true(reported(SOFTMETAL_TRAP, "wild") + reported(SOFTMETAL_OUT_OF_BOUNDS, "wild") > 0);
    assert_int_equal(number(noted(&f, memory, 2), "status"), STATUS_COMPLETED);
    release(memory);
    close_fixture(&f);
}

static void more_than_the_working_set(void **state)
{
    (void)state;
    softmetal_world world = {.working_set = 1 << 20};
    fixture f = open_fixture(&world);
    assert_int_equal(number(f.device, "recommendedMaxWorkingSetSize"), 1 << 20);
    id small = new_buffer(f.device, 1 << 20, SHARED), large = new_buffer(f.device, (1 << 20) + 4, SHARED);
    assert_int_equal(number(noted(&f, small, 1), "status"), STATUS_COMPLETED);
    assert_failed(noted(&f, large, 1), 8, "OutOfMemory");
    assert_int_equal(*(uint32_t *)contents(large), 0);
    release(small);
    release(large);
    close_fixture(&f);
}

/* What an error says of each encoder, to a host that asked. */
static void encoders_are_told(void **state)
{
    (void)state;
    fixture f = open_fixture(NULL);
    id memory = new_buffer(f.device, 256, SHARED), descriptor = new_of("MTLCommandBufferDescriptor");
    assert_true(test(descriptor, "retainedReferences"));
    set_number(descriptor, "setErrorOptions:", 1);
    id buffer = SEND(id, (id), f.queue, "commandBufferWithDescriptor:", descriptor);
    for (int i = 0; i < 3; i++) {
        id encoder = get(buffer, "computeCommandEncoder");
        label(encoder, i == 1 ? "bad" : "good");
        set_object(encoder, "insertDebugSignpost:", string("here"));
        set_pipeline(encoder, kernel(&f, i == 1 ? WILD : NARROW));
        set_buffer(encoder, memory, 0, 0);
        dispatch_threads(encoder, size1(4), size1(4));
        end(encoder);
    }
    finish(buffer);
    assert_failed(buffer, 3, "PageFault");
    id key = *(id *)find("MTLCommandBufferEncoderInfoErrorKey");
    id infos = SEND(id, (id), get(get(buffer, "error"), "userInfo"), "objectForKey:", key);
    assert_int_equal(number(infos, "count"), 3);
    static const int64_t states[] = {1, 4, 3}; /* completed, faulted, pending */
    for (int i = 0; i < 3; i++) {
        id info = SEND(id, (NSUInteger), infos, "objectAtIndex:", (NSUInteger)i);
        assert_string_equal(text_of(get(info, "label")), i == 1 ? "bad" : "good");
        assert_int_equal(SEND(int64_t, (), info, "errorState"), states[i]);
        assert_int_equal(number(get(info, "debugSignposts"), "count"), 1);
    }
    release(descriptor);
    release(memory);
    close_fixture(&f);
}

/* ---- Every kind, at each of its events, for one of them, two, and all that follow */

static void commit_and_wait(id buffer)
{
    call(buffer, "commit");
    while (buffer && number(buffer, "status") < STATUS_COMPLETED) {
        host.release_hangs();
        usleep(100);
    }
    call(buffer, "waitUntilCompleted");
}

/* A host that looks at no result: messages to nil do nothing. Four events of each kind. */
static void careless_host(void)
{
    static const uint32_t value = 5;
    id devices[4], queues[4], buffers[4], libraries[4], functions[4], pipelines[4], archives[4], error = NULL;
    id descriptor = new_of("MTLBinaryArchiveDescriptor");
    void *pool = host.push_pool();
    for (int i = 0; i < 4; i++) devices[i] = host.create_device();
    id device = devices[3] ? devices[3] : devices[0];
    for (int i = 0; i < 4; i++) {
        queues[i] = get(device, "newCommandQueue");
        buffers[i] = new_buffer(device, 256, i & 1 ? PRIVATE : SHARED);
        libraries[i] = new_library(device, fixture_source, &error);
        functions[i] = new_function(libraries[i], "fill");
        pipelines[i] = new_pipeline(device, functions[i] ? functions[i] : functions[0], &error);
        archives[i] = SEND(id, (id, id *), device, "newBinaryArchiveWithDescriptor:error:", descriptor, &error);
    }
    for (int i = 0; i < 4; i++) {
        id buffer = get(queues[i], "commandBuffer"), encoder = get(buffer, "computeCommandEncoder");
        set_pipeline(encoder, pipelines[i]);
        set_buffer(encoder, buffers[i], 0, 0);
        set_bytes(encoder, &value, sizeof value, 1);
        dispatch_threads(encoder, size1(64), size1(64));
        end(encoder);
        commit_and_wait(buffer);
    }
    host.pop_pool(pool);
    for (int i = 0; i < 4; i++) {
        id made[] = {archives[i], pipelines[i], functions[i], libraries[i], buffers[i], queues[i], devices[i]};
        for (size_t k = 0; k < sizeof made / sizeof *made; k++) release(made[k]);
    }
    release(descriptor);
}

static void every_fault(void **state)
{
    (void)state;
    static const uint64_t counts[] = {1, 2, UINT64_MAX};
    const uint64_t most = *SOFTMETAL_EMULATOR ? 1 : 5; /* an emulator notes every page that ever was */
    for (int kind = 0; kind < SOFTMETAL_FAULT_KINDS; kind++) {
        for (uint64_t nth = 1; nth <= most; nth++) {
            for (int c = 0; c < 3; c++) {
                host.set_world(NULL);
                host.reset();
                arm((softmetal_fault_kind)kind, nth, counts[c]);
                careless_host();
                uint64_t left = nth <= 4 ? 5 - nth : 0, wanted = counts[c] < left ? counts[c] : left;
                if (host.faults_fired() != wanted) print_message("# kind %d, from the %d. on, %d\n", kind, (int)nth, c);
                assert_int_equal(host.faults_fired(), wanted);
                if (host.check_leaks()) print_reports();
                assert_int_equal(host.check_leaks(), 0);
            }
        }
    }
}

/* ---- The environment: this program again, as another process */

static int run_again(const char *what, const char *world, const char *faults)
{
    setenv("SOFTMETAL_WORLD", world, 1);
    setenv("SOFTMETAL_FAULTS", faults, 1);
    int status = run_process(program, what);
    unsetenv("SOFTMETAL_WORLD");
    unsetenv("SOFTMETAL_FAULTS");
    return status;
}

static void check_environment(void **state)
{
    (void)state;
    void *pool = host.push_pool();
    id device = host.create_device(), error = NULL;
    assert_string_equal(text_of(get(device, "name")), "softmetal of a test");
    assert_true(SEND(BOOL, (int64_t), device, "supportsFamily:", 1008));
    assert_false(SEND(BOOL, (int64_t), device, "supportsFamily:", 1009));
    assert_int_equal(number(device, "maxBufferLength"), 256 << 20);
    assert_int_equal(number(device, "maxThreadgroupMemoryLength"), 16384);
    assert_int_equal(reported(SOFTMETAL_VALIDATION, "SOFTMETAL_WORLD: 'colour' is not known"), 1);
    assert_int_equal(reported(SOFTMETAL_VALIDATION, "SOFTMETAL_WORLD: 'max_threads' has the value 'many'"), 1);
    id one = new_buffer(device, 64, SHARED), two = new_buffer(device, 64, SHARED), three = new_buffer(device, 64, SHARED);
    assert_non_null(one);
    assert_null(two);
    assert_non_null(three);
    assert_int_equal(reported(SOFTMETAL_VALIDATION, "SOFTMETAL_FAULTS: 'earthquake:1' is not understood"), 1);
    id queue = get(device, "newCommandQueue");
    for (int i = 0; i < 4; i++) {
        id buffer = get(queue, "commandBuffer");
        finish(buffer);
        assert_int_equal(number(buffer, "status"), i == 1 || i == 2 ? STATUS_ERROR : STATUS_COMPLETED);
        if (i == 1) assert_int_equal(error_code(get(buffer, "error")), 8);
    }
    assert_null(new_library(device, fixture_source, &error));
    assert_string_equal(error_text(error), "no compiler today");
    release(one);
    release(three);
    release(queue);
    release(device);
    host.pop_pool(pool);
    assert_int_equal(host.check_leaks(), 0);
}

static void environment(void **state)
{
    (void)state;
    assert_int_equal(
        run_again("environment",
                  "name=of a test,family=8,max_buffer=256m,threadgroup_memory=16k,colour=blue,max_threads=many,shuffle,seed=7",
                  "allocation:2,command_buffer:2:code=8:count=2,library:text=no compiler today,earthquake:1"),
        0);
}

int main(int count, char **arguments)
{
    program = arguments[0];
    open_library();
    const struct CMUnitTest child[] = {cmocka_unit_test(check_environment)};
    if (count == 2 && strcmp(arguments[1], "environment") == 0) return cmocka_run_group_tests(child, NULL, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_device),
        cmocka_unit_test(no_queue),
        cmocka_unit_test(nth_allocation),
        cmocka_unit_test(allocations_for_ever),
        cmocka_unit_test(several_at_once),
        cmocka_unit_test(no_library),
        cmocka_unit_test(no_function_or_pipeline),
        cmocka_unit_test(nth_command_buffer),
        cmocka_unit_test(chosen_errors),
        cmocka_unit_test(half_of_the_work),
        cmocka_unit_test(hang),
        cmocka_unit_test(removal),
        cmocka_unit_test(removal_while_waiting),
        cmocka_unit_test(a_crash_is_an_error),
        cmocka_unit_test(more_than_the_working_set),
        cmocka_unit_test(encoders_are_told),
        cmocka_unit_test(every_fault),
        cmocka_unit_test(environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
