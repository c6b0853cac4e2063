/* Kernels that crash, or do not end: what becomes of the dispatch, what is reported, and life after it. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/kernels.h"

#include "msl/msl.h"

static sm_executor *executor;
static sm_memory memory;

static int setup(void **state)
{
    (void)state;
    softmetal_reset();
    const softmetal_world world = {.workers = 2, .kernel_time_limit_ms = 200};
    executor = sm_executor_create(&world);
    return executor == NULL || !sm_memory_create(&memory, 1024, false);
}

static int teardown(void **state)
{
    (void)state;
    sm_memory_destroy(&memory);
    sm_executor_destroy(executor);
    return 0;
}

static void fine(const sm_lane *lane)
{
    float *out = lane->buffers[0];
    const float sum = SIMD_SUM(1);
    BARRIER();
    out[lane->thread_position_in_grid[0]] = sum;
}

/* After whatever it was, the executor works as before. */
static void check_alive(void)
{
    const size_t reports = softmetal_report_count();
    const sm_kernel kernel = KERNEL(fine);
    sm_dispatch dispatch = make_dispatch(&kernel, 256, 64);
    bind_memory(&dispatch, 0, &memory);
    for (int round = 0; round < 3; round++) {
        memset(memory.cpu, 0, memory.bytes);
        assert_int_equal(sm_executor_run(executor, &dispatch), SM_OK);
        for (int i = 0; i < 256; i++) assert_true(((float *)memory.cpu)[i] == 32);
    }
    assert_int_equal(softmetal_report_count(), reports);
}

static softmetal_report crash(const sm_kernel *kernel, uint32_t threads, uint32_t group, sm_result result, softmetal_report_kind kind)
{
    softmetal_reset();
    sm_dispatch dispatch = make_dispatch(kernel, threads, group);
    bind_memory(&dispatch, 0, &memory);
    assert_int_equal(sm_executor_run(executor, &dispatch), result);
    const softmetal_report report = the_report(kind);
    assert_int_equal(softmetal_report_count(), 1);
    assert_string_equal(report.kernel, kernel->name);
    check_alive();
    return report;
}

/* ---- One of each kind ---------------------------------------------------------------------------------------------- */

static uint32_t crash_line; /* that the last kernel says of itself */

static volatile int *volatile null_pointer;
static volatile int zero;

static void null_store(const sm_lane *lane)
{
    if (lane->thread_position_in_grid[0] != 37) return;
    crash_line = __LINE__ + 1;
    *null_pointer = 1;
}

static void test_null(void **state)
{
    (void)state;
    const sm_kernel kernel = KERNEL(null_store);
    const softmetal_report report = crash(&kernel, 64, 32, SM_TRAP, SOFTMETAL_TRAP);
    assert_int_equal(report.line, crash_line);
    assert_int_equal(report.thread, 5);
    assert_int_equal(report.threadgroup, 1);
    assert_non_null(strstr(report.message, "null pointer"));
}

static void unbound(const sm_lane *lane) { ((volatile int *)lane->buffers[3])[lane->thread_position_in_grid[0]] = 1; }

static void test_unbound(void **state)
{
    (void)state;
    const sm_argument argument = {.name = "weights", .kind = SM_ARGUMENT_BUFFER, .index = 3, .size = 4, .align = 4};
    sm_kernel kernel = KERNEL(unbound);
    kernel.arguments = &argument;
    kernel.argument_count = 1;
    const softmetal_report report = crash(&kernel, 64, 32, SM_TRAP, SOFTMETAL_TRAP);
    assert_non_null(strstr(report.message, "buffer 3 ('weights') is not bound"));
}

#if defined(__x86_64__)
static void divide(const sm_lane *lane)
{
    ((volatile int *)lane->buffers[0])[0] = (int)lane->thread_position_in_grid[0] / zero;
}

static void test_divide(void **state)
{
    (void)state;
    const sm_kernel kernel = KERNEL(divide);
    const softmetal_report report = crash(&kernel, 1, 1, SM_TRAP, SOFTMETAL_TRAP);
    assert_non_null(strstr(report.message, "divided by zero"));
}
#endif

static void unreachable(const sm_lane *lane)
{
    if (lane->thread_position_in_grid[0] < 1000) __builtin_trap();
}

static void test_unreachable(void **state)
{
    (void)state;
    const sm_kernel kernel = KERNEL(unreachable);
    const softmetal_report report = crash(&kernel, 32, 32, SM_TRAP, SOFTMETAL_TRAP);
    assert_non_null(strstr(report.message, "unreachable"));
}

__attribute__((noinline)) static int deep(volatile int *above, int n)
{
    volatile int here[256];
    for (int i = 0; i < 256; i++) here[i] = above[i] + n;
    return n == 0 ? here[0] : deep(here, n - 1) + here[255];
}

static void overflow(const sm_lane *lane)
{
    volatile int none[256] = {0};
    BARRIER();
    ((int *)lane->buffers[0])[0] = deep(none, 1000000);
}

static void test_stack_overflow(void **state)
{
    (void)state;
    const sm_kernel kernel = KERNEL(overflow);
    const softmetal_report report = crash(&kernel, 96, 96, SM_TRAP, SOFTMETAL_TRAP);
    assert_non_null(strstr(report.message, "stack overflowed"));
}

static void wild(const sm_lane *lane) { *(volatile int *)(uintptr_t)(0x123456789000 + lane->thread_position_in_grid[0]) = 1; }

static void test_wild(void **state)
{
    (void)state;
    const sm_kernel kernel = KERNEL(wild);
    crash(&kernel, 32, 32, SM_TRAP, SOFTMETAL_TRAP);
}

static void in_meeting(void *const values[SM_LANES], uint32_t active, const void *constant)
{
    (void)constant, (void)active;
    *(float *)values[0] = (float)*null_pointer;
}

static void crash_in_meeting(const sm_lane *lane)
{
    float value = 1;
    services->meet(SM_SCOPE_SIMD, in_meeting, &value, NULL, __LINE__, NULL);
    ((float *)lane->buffers[0])[0] = value;
}

static void test_crash_in_meeting(void **state)
{
    (void)state;
    const sm_kernel kernel = KERNEL(crash_in_meeting);
    crash(&kernel, 256, 64, SM_TRAP, SOFTMETAL_TRAP);
}

static void crash_in_library(const sm_lane *lane)
{
    crash_line = __LINE__ + 1;
    memset((void *)(uintptr_t)null_pointer, (int)lane->threads_per_grid[0], 4096 + (size_t)zero);
    BARRIER();
}

/* The crash is in memset; its caller's line is found on the stack. */
static void test_crash_in_library(void **state)
{
    (void)state;
    const sm_kernel kernel = KERNEL(crash_in_library);
    const softmetal_report report = crash(&kernel, 1, 1, SM_TRAP, SOFTMETAL_TRAP);
    assert_int_equal(report.line, crash_line);
}

static void all_crash(const sm_lane *lane)
{
    BARRIER();
    *(volatile uint32_t *)null_pointer = lane->thread_position_in_grid[0];
}

/* Many threadgroups on several threads. */
static void test_all_crash(void **state)
{
    (void)state;
    const sm_kernel kernel = KERNEL(all_crash);
    for (int i = 0; i < 50; i++) crash(&kernel, 10000, 64, SM_TRAP, SOFTMETAL_TRAP);
}

/* ---- Guard pages, to the byte ---------------------------------------------------------------------------------------- */

static volatile int64_t touched;
static volatile bool storing;

static void touch(const sm_lane *lane)
{
    volatile uint8_t *bytes = lane->buffers[0];
    if (storing) bytes[touched] = 1;
    else (void)bytes[touched];
}

static sm_result touch_at(sm_memory *of, uint64_t offset, int64_t at, bool store)
{
    const sm_kernel kernel = KERNEL(touch);
    sm_dispatch dispatch = make_dispatch(&kernel, 1, 1);
    dispatch.buffers[0] = (sm_binding){.memory = of, .offset = offset, .length = of->bytes - offset};
    touched = at, storing = store;
    softmetal_reset();
    return sm_executor_run(executor, &dispatch);
}

static void check_outside(sm_memory *of, uint64_t offset, int64_t at, bool store)
{
    assert_int_equal(touch_at(of, offset, at, store), SM_OUT_OF_BOUNDS);
    const softmetal_report report = the_report(SOFTMETAL_OUT_OF_BOUNDS);
    char text[64];
    snprintf(text, sizeof text, "byte %lld", (long long)at);
    assert_non_null(strstr(report.message, text));
    assert_non_null(strstr(report.message, "buffer 0"));
    assert_non_null(strstr(report.message, "labelled 'bytes'"));
}

static void test_guard_pages(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {16, 64, 4096, 4112, 65536, 1 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        sm_memory bytes;
        assert_true(sm_memory_create(&bytes, sizes[i], i % 2 == 1));
        bytes.label = "bytes";
        const int64_t size = (int64_t)sizes[i];
        assert_int_equal(touch_at(&bytes, 0, 0, true), SM_OK);
        assert_int_equal(touch_at(&bytes, 0, size - 1, true), SM_OK);
        assert_int_equal(touch_at(&bytes, 16, size - 17, true), SM_OK);
        no_reports();
        check_outside(&bytes, 0, size, false);
        check_outside(&bytes, 0, size, true);
        check_outside(&bytes, 0, size + 50000000, true);
        check_outside(&bytes, 0, -4096, true);
        if (size > 16) check_outside(&bytes, 16, size - 16, true);
        sm_memory_destroy(&bytes);
    }
    check_alive();
}

/* Sizes that are no multiple of 16 end up to 15 bytes before the guard page: a store there is seen when the dispatch is over. */
static void test_slack(void **state)
{
    (void)state;
    for (uint64_t size = 1; size < 48; size++) {
        sm_memory bytes;
        assert_true(sm_memory_create(&bytes, size, size % 2 == 1));
        bytes.label = "bytes";
        assert_int_equal(touch_at(&bytes, 0, (int64_t)size - 1, true), SM_OK);
        no_reports();
        check_outside(&bytes, 0, (int64_t)size, true);
        assert_int_equal(touch_at(&bytes, 0, 0, true), SM_OK);
        no_reports();
        sm_memory_destroy(&bytes);
    }
}

/* ---- Threadgroup memory ---------------------------------------------------------------------------------------------- */

enum { SHARED_BYTES = 400 };

static void threadgroup_touch(const sm_lane *lane)
{
    (void)lane;
    volatile uint8_t *bytes = services->threadgroup_variable(3, SHARED_BYTES, 4, 77);
    for (int i = 0; i < SHARED_BYTES; i++)
        if (bytes[i] != 0xFF) __builtin_trap();
    bytes[touched] = 1;
}

static void argument_touch(const sm_lane *lane)
{
    volatile uint8_t *bytes = lane->threadgroup[2];
    for (int i = 0; i < SHARED_BYTES; i++)
        if (bytes[i] != 0xFF) __builtin_trap();
    bytes[touched] = 1;
}

static void check_threadgroup(const sm_kernel *kernel, int64_t at, const char *text)
{
    sm_dispatch dispatch = make_dispatch(kernel, 3, 1);
    dispatch.threadgroup_bytes[2] = SHARED_BYTES;
    touched = at;
    softmetal_reset();
    assert_int_equal(sm_executor_run(executor, &dispatch), text != NULL ? SM_OUT_OF_BOUNDS : SM_OK);
    if (text == NULL) no_reports();
    else assert_non_null(strstr(the_report(SOFTMETAL_OUT_OF_BOUNDS).message, text));
}

static void test_threadgroup_memory(void **state)
{
    (void)state;
    const sm_kernel variable = KERNEL(threadgroup_touch), argument = KERNEL(argument_touch);
    const sm_kernel *kernels[] = {&variable, &argument};
    static const char *const texts[] = {"the threadgroup variable of line 77 has 400 bytes, and byte 400", "threadgroup argument 2 has 400 bytes, and byte 400"};
    for (int i = 0; i < 2; i++) {
        check_threadgroup(kernels[i], 0, NULL);
        check_threadgroup(kernels[i], SHARED_BYTES - 1, NULL);
        check_threadgroup(kernels[i], SHARED_BYTES, texts[i]);
    }
    check_alive();
}

static void odd_variable(const sm_lane *lane)
{
    (void)lane;
    volatile uint8_t *bytes = services->threadgroup_variable(0, 13, 1, 5);
    bytes[touched] = 1;
}

static void test_threadgroup_slack(void **state)
{
    (void)state;
    const sm_kernel kernel = KERNEL(odd_variable);
    check_threadgroup(&kernel, 12, NULL);
    check_threadgroup(&kernel, 13, "stored behind the end of the threadgroup variable of line 5 at byte 13");
    check_threadgroup(&kernel, 15, "at byte 15");
    check_threadgroup(&kernel, 16, "byte 16");
}

static void many_variables(const sm_lane *lane)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < (uint32_t)touched; i++) {
        uint8_t *bytes = services->threadgroup_variable(1000 + 7 * i, 100, 1, i + 1);
        sum += bytes[99];
        for (int k = 0; k < 100; k++) bytes[k] = (uint8_t)i;
    }
    for (uint32_t i = 0; i < (uint32_t)touched; i++) {
        const uint8_t *bytes = services->threadgroup_variable(1000 + 7 * i, 100, 1, i + 1);
        if (bytes[0] != (uint8_t)i) __builtin_trap();
    }
    ((uint32_t *)lane->buffers[0])[0] = sum;
}

static void test_many_variables(void **state)
{
    (void)state;
    const sm_kernel kernel = KERNEL(many_variables);
    sm_dispatch dispatch = make_dispatch(&kernel, 4, 1);
    bind_memory(&dispatch, 0, &memory);
    touched = 96;
    assert_int_equal(sm_executor_run(executor, &dispatch), SM_OK);
    assert_int_equal(((uint32_t *)memory.cpu)[0], 96 * 0xFF);
    no_reports();
    touched = 97;
    assert_int_equal(sm_executor_run(executor, &dispatch), SM_INVALID);
    assert_non_null(strstr(the_report(SOFTMETAL_VALIDATION).message, "more than 96 threadgroup variables"));
    check_alive();
}

/* ---- Limits of the world ----------------------------------------------------------------------------------------------- */

static void large_variable(const sm_lane *lane)
{
    (void)lane;
    float *shared = services->threadgroup_variable(0, (size_t)touched, 4, 123);
    shared[0] = 1;
}

static void test_limits(void **state)
{
    (void)state;
    sm_executor_destroy(executor);
    const softmetal_world world = {.workers = 1, .max_threads = 256, .threadgroup_memory = 1000};
    executor = sm_executor_create(&world);
    sm_kernel kernel = KERNEL(large_variable);
    sm_dispatch dispatch = make_dispatch(&kernel, 300, 256);
    touched = 1000;
    assert_int_equal(sm_executor_run(executor, &dispatch), SM_OK);
    no_reports();
    touched = 1001;
    assert_int_equal(sm_executor_run(executor, &dispatch), SM_INVALID);
    softmetal_report report = the_report(SOFTMETAL_VALIDATION);
    assert_int_equal(report.line, 123);
    assert_non_null(strstr(report.message, "1001 bytes of threadgroup memory are wanted by line 123; the device has 1000"));

    softmetal_reset();
    touched = 500;
    dispatch.threadgroup_bytes[0] = 501; /* together */
    assert_int_equal(sm_executor_run(executor, &dispatch), SM_INVALID);
    assert_non_null(strstr(the_report(SOFTMETAL_VALIDATION).message, "1001 bytes"));
    softmetal_reset();
    dispatch.threadgroup_bytes[0] = 1001;
    assert_int_equal(sm_executor_run(executor, &dispatch), SM_INVALID);
    assert_non_null(strstr(the_report(SOFTMETAL_VALIDATION).message, "1001 bytes of threadgroup memory are set"));

    softmetal_reset();
    dispatch.threadgroup_bytes[0] = 0;
    dispatch.group[0] = 257;
    assert_int_equal(sm_executor_run(executor, &dispatch), SM_INVALID);
    assert_non_null(strstr(the_report(SOFTMETAL_VALIDATION).message, "threadgroups of 257 x 1 x 1 threads; from 1 to 256 are possible"));
    softmetal_reset();
    kernel.max_threads = 64;
    dispatch.group[0] = 65;
    assert_int_equal(sm_executor_run(executor, &dispatch), SM_INVALID);
    assert_non_null(strstr(the_report(SOFTMETAL_VALIDATION).message, "from 1 to 64"));
    softmetal_reset();
    dispatch.group[0] = 0;
    assert_int_equal(sm_executor_run(executor, &dispatch), SM_INVALID);
    the_report(SOFTMETAL_VALIDATION);
    softmetal_reset();
    dispatch.group[0] = dispatch.group[1] = 1u << 16; /* 2^32 threads are 0 in 32 bits */
    assert_int_equal(sm_executor_run(executor, &dispatch), SM_INVALID);
    dispatch.grid[0] = 0;
    softmetal_reset();
    assert_int_equal(sm_executor_run(executor, &dispatch), SM_OK); /* nothing to do */
    no_reports();
}

/* ---- Kernels that do not end ------------------------------------------------------------------------------------------- */

static void endless(const sm_lane *lane)
{
    volatile uint32_t *word = lane->buffers[0];
    while (word[1] == 0) word[0]++;
}

static void test_time_limit(void **state)
{
    (void)state;
    memset(memory.cpu, 0, memory.bytes);
    const sm_kernel kernel = KERNEL(endless);
    const softmetal_report report = crash(&kernel, 1, 1, SM_DEADLOCK, SOFTMETAL_TRAP);
    assert_non_null(strstr(report.message, "did not end in time"));
    assert_true(report.line >= kernel.line - 100 && report.line < kernel.line);
    memset(memory.cpu, 0, memory.bytes);
    crash(&kernel, 640, 32, SM_DEADLOCK, SOFTMETAL_TRAP);
}

/* The signal finds the kernel's code now and then, between the executor's. The two must be told apart: so this is an object of its own. */
static void test_time_limit_in_barriers(void **state)
{
    (void)state;
    static const char text[] = "#include <metal_stdlib>\n"
                               "using namespace metal;\n"
                               "kernel void endless(device volatile uint *x [[buffer(0)]]) {\n"
                               "    while (x[1] == 0) threadgroup_barrier(mem_flags::mem_device); // line 4\n"
                               "}\n";
    const sm_msl_options options = {.name = "text"};
    char *errors = NULL;
    sm_built built;
    sm_msl_library *library = sm_msl_library_create(text, &options, &errors);
    assert_non_null(library);
    assert_true(sm_msl_build(library, "endless", NULL, 0, &built, &errors));
    sm_dispatch dispatch = {.kernel = built.kernel, .services = built.services, .grid = {64, 1, 1}, .group = {64, 1, 1}};
    memset(memory.cpu, 0, memory.bytes);
    bind_memory(&dispatch, 0, &memory);
    assert_int_equal(sm_executor_run(executor, &dispatch), SM_DEADLOCK);
    const softmetal_report report = the_report(SOFTMETAL_TRAP);
    assert_int_equal(report.line, 4);
    assert_non_null(strstr(report.message, "did not end in time"));
    check_alive();
    sm_msl_library_destroy(library);
}

static volatile bool cancel;

static void *cancel_soon(void *context)
{
    (void)context;
    usleep(30000);
    cancel = true;
    return NULL;
}

static void slow(const sm_lane *lane)
{
    (void)lane;
    usleep(1000);
}

static void check_cancel(const sm_kernel *kernel, uint32_t threads)
{
    sm_dispatch dispatch = make_dispatch(kernel, threads, 1);
    bind_memory(&dispatch, 0, &memory);
    dispatch.cancel = &cancel;
    cancel = false;
    memset(memory.cpu, 0, memory.bytes);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, NULL), 0);
    assert_int_equal(sm_executor_run(executor, &dispatch), SM_CANCELLED);
    pthread_join(thread, NULL);
    no_reports();
    check_alive();
}

static void test_cancel(void **state)
{
    (void)state;
    sm_executor_destroy(executor);
    const softmetal_world world = {.workers = 2, .kernel_time_limit_ms = UINT32_MAX};
    executor = sm_executor_create(&world);
    const sm_kernel many = KERNEL(slow), one = KERNEL(endless);
    check_cancel(&many, 1000000);
    check_cancel(&one, 1);
    check_cancel(&one, 100);
}

/* ---- The host's own handlers ------------------------------------------------------------------------------------------- */

static sigjmp_buf back;
static volatile int handled;

static void host_handler(int number, siginfo_t *info, void *context)
{
    (void)context;
    handled = number == SIGSEGV && info->si_addr == NULL ? 1 : 2;
    siglongjmp(back, 1);
}

/* A crash of the host's own goes to the host's handler, and that one is in place again at the end. */
static void test_host_handler(void **state)
{
    (void)state;
    sm_executor_destroy(executor);
    struct sigaction action = {.sa_sigaction = host_handler, .sa_flags = SA_SIGINFO | SA_NODEFER}, before, now;
    sigaction(SIGSEGV, &action, &before);
    const softmetal_world world = {.workers = 1};
    executor = sm_executor_create(&world);
    sm_executor *second = sm_executor_create(&world);
    const sm_kernel kernel = KERNEL(null_store);
    crash(&kernel, 64, 64, SM_TRAP, SOFTMETAL_TRAP);
    assert_int_equal(handled, 0);
    if (sigsetjmp(back, 1) == 0) *null_pointer = 1;
    assert_int_equal(handled, 1);
    sm_executor_destroy(second);
    sigaction(SIGSEGV, NULL, &now);
    assert_true(now.sa_sigaction != host_handler);
    sm_executor_destroy(executor);
    sigaction(SIGSEGV, NULL, &now);
    assert_true(now.sa_sigaction == host_handler);
    sigaction(SIGSEGV, &before, NULL);
    executor = sm_executor_create(&world);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_null),
        TEST(test_unbound),
#if defined(__x86_64__)
        TEST(test_divide),
#endif
        TEST(test_unreachable),
        TEST(test_stack_overflow),
        TEST(test_wild),
        TEST(test_crash_in_meeting),
        TEST(test_crash_in_library),
        TEST(test_all_crash),
        TEST(test_guard_pages),
        TEST(test_slack),
        TEST(test_threadgroup_memory),
        TEST(test_threadgroup_slack),
        TEST(test_many_variables),
        TEST(test_limits),
        TEST(test_time_limit),
        TEST(test_time_limit_in_barriers),
        TEST(test_cancel),
        TEST(test_host_handler),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
