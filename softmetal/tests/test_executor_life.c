/* Executors in number, for long, and together; memory in flight; reports and counts. */
#include <pthread.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "executor/fiber.h"
#include "tests/kernels.h"

static void double_it(const sm_lane *lane)
{
    float *values = lane->buffers[0];
    const uint32_t i = lane->thread_position_in_grid[0];
    float *shared = services->threadgroup_variable(0, 64 * sizeof(float), 4, __LINE__);
    shared[lane->thread_index_in_threadgroup] = values[i];
    BARRIER();
    values[i] = shared[lane->thread_index_in_threadgroup] * 2 + (SIMD_SUM(1) - 32);
}

static void check_doubling(sm_executor *executor, sm_memory *memory, int rounds)
{
    const sm_kernel kernel = KERNEL(double_it);
    const uint32_t count = (uint32_t)(memory->bytes / 4);
    sm_dispatch dispatch = make_dispatch(&kernel, count, 64);
    bind_memory(&dispatch, 0, memory);
    for (uint32_t i = 0; i < count; i++) ((float *)memory->cpu)[i] = (float)i;
    for (int round = 0; round < rounds; round++) assert_int_equal(sm_executor_run(executor, &dispatch), SM_OK);
    for (uint32_t i = 0; i < count; i++) assert_true(((float *)memory->cpu)[i] == (float)i * (float)(1 << rounds));
}

/* Sanitizers keep what was freed, and for Arm the process is most often an emulator's, which keeps notes of every page: its size tells
 * nothing of ours. */
#if defined(SM_SANITIZED) || defined(__aarch64__)
enum { DISPATCHES = 500, MEASURED = 0 };
#else
enum { DISPATCHES = 10000, MEASURED = 1 };
#endif

/* ---- For long -------------------------------------------------------------------------------------------------------- */

/* From /proc/self/status: KiB, or a number; 0 where it tells nothing. */
static uint64_t field(const char *name)
{
    if (!MEASURED) return 0;
    FILE *file = fopen("/proc/self/status", "re");
    assert_non_null(file);
    char line[256];
    uint64_t value = 0;
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0) value = strtoull(line + strlen(name), NULL, 10);
    fclose(file);
    return value;
}

static void test_no_growth(void **state)
{
    (void)state;
    for (int checked = 0; checked < 2; checked++) {
        const softmetal_world world = {.workers = 2, .build = checked ? SOFTMETAL_CHECKED : SOFTMETAL_PLAIN};
        sm_executor *executor = sm_executor_create(&world);
        assert_non_null(executor);
        uint64_t resident = 0, size = 0;
        for (int i = 0; i < DISPATCHES; i++) {
            sm_memory memory;
            assert_true(sm_memory_create(&memory, 4096, false));
            sm_executor_order(executor);
            check_doubling(executor, &memory, 1);
            sm_memory_destroy(&memory);
            if (i == 1000) resident = field("VmRSS:"), size = field("VmSize:");
        }
        assert_true(field("VmRSS:") <= resident + 1024); /* KiB */
        assert_true(field("VmSize:") <= size + 1024);
        sm_executor_destroy(executor);
    }
    no_reports();
}

static void test_executors_come_and_go(void **state)
{
    (void)state;
    uint64_t size = 0, threads = 0;
    mallopt(M_ARENA_MAX, 1); /* else the C library reserves 64 MiB for a new thread now and then, whoever's it is */
    for (int i = 0; i < 100; i++) {
        const softmetal_world world = {.workers = (uint32_t)(1 + i % 4), .build = i % 3 == 0 ? SOFTMETAL_CHECKED : SOFTMETAL_PLAIN};
        sm_executor *executor = sm_executor_create(&world);
        assert_non_null(executor);
        sm_memory memory;
        assert_true(sm_memory_create(&memory, 1 << 16, false));
        if (i % 5 != 4) check_doubling(executor, &memory, 3); /* some have never run anything */
        sm_memory_destroy(&memory);
        sm_executor_destroy(executor);
        if (i == 20) size = field("VmSize:"), threads = field("Threads:");
    }
    assert_true(field("VmSize:") <= size + 32768); /* KiB: the C library keeps stacks of threads */
    assert_int_equal(field("Threads:"), threads);
    no_reports();
}

/* ---- Together ---------------------------------------------------------------------------------------------------------- */

static void *run_many(void *context)
{
    const uint32_t number = *(uint32_t *)context;
    const softmetal_world world = {.workers = 1 + number % 3, .shuffle = number % 2 == 1, .seed = number,
                                   .build = number % 4 == 3 ? SOFTMETAL_CHECKED : SOFTMETAL_PLAIN};
    for (int i = 0; i < 5; i++) {
        sm_executor *executor = sm_executor_create(&world);
        sm_memory memory;
        if (executor == NULL || !sm_memory_create(&memory, 1 << 15, false)) return (void *)"no memory";
        for (int round = 0; round < 10; round++) check_doubling(executor, &memory, 4);
        sm_memory_destroy(&memory);
        sm_executor_destroy(executor);
    }
    return NULL;
}

static void test_together(void **state)
{
    (void)state;
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    uint32_t numbers[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, run_many, &numbers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *result = NULL;
        pthread_join(threads[i], &result);
        assert_null(result);
    }
    no_reports();
}

/* One executor, from several threads in turn. */
typedef struct turn {
    sm_executor *executor;
    sm_memory *memory;
} turn;

static void *take_turn(void *context)
{
    const turn *t = context;
    check_doubling(t->executor, t->memory, 2);
    return NULL;
}

static void test_threads_in_turn(void **state)
{
    (void)state;
    const softmetal_world world = {.workers = 2};
    sm_memory memory;
    turn t = {sm_executor_create(&world), &memory};
    assert_true(t.executor != NULL && sm_memory_create(&memory, 1 << 16, false));
    for (int i = 0; i < 50; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, take_turn, &t), 0);
        pthread_join(thread, NULL);
    }
    sm_memory_destroy(&memory);
    sm_executor_destroy(t.executor);
}

/* ---- Numbers ----------------------------------------------------------------------------------------------------------- */

static void tiny(const sm_lane *lane)
{
    volatile float *out = lane->buffers[0];
    out[lane->thread_position_in_grid[0]] = out[lane->thread_position_in_grid[0]] * 0.5f;
}

/* Denormal results are zero on the threads of the device, and the caller's thread is as it was. */
static void test_flush_to_zero(void **state)
{
    (void)state;
    for (int flush = 0; flush < 2; flush++) {
        const softmetal_world world = {.workers = 2, .flush_to_zero = flush != 0};
        sm_executor *executor = sm_executor_create(&world);
        sm_memory memory;
        assert_true(sm_memory_create(&memory, 1 << 16, false));
        const sm_kernel kernel = KERNEL(tiny);
        sm_dispatch dispatch = make_dispatch(&kernel, 1 << 14, 64);
        bind_memory(&dispatch, 0, &memory);
        for (int round = 0; round < 3; round++) {
            for (int i = 0; i < 1 << 14; i++) ((float *)memory.cpu)[i] = 1.2e-38f;
            assert_int_equal(sm_executor_run(executor, &dispatch), SM_OK);
            for (int i = 0; i < 1 << 14; i++) assert_true((((float *)memory.cpu)[i] != 0) == !flush);
        }
        volatile float small = 1.2e-38f;
        assert_true(small * 0.5f != 0);
        sm_memory_destroy(&memory);
        sm_executor_destroy(executor);
    }
}

static void jittered(const sm_lane *lane)
{
    float *out = lane->buffers[0];
    const uint32_t i = lane->thread_position_in_grid[0];
    out[i] = services->jitter(out[i]);
}

static void test_jitter(void **state)
{
    (void)state;
    enum { COUNT = 4096 };
    float results[3][COUNT];
    for (int run = 0; run < 3; run++) {
        const softmetal_world world = {.workers = 2, .ulp_jitter = 2, .seed = run == 2 ? 9 : 5, .shuffle = run == 1};
        sm_executor *executor = sm_executor_create(&world);
        sm_memory memory;
        assert_true(sm_memory_create(&memory, COUNT * 4, false));
        for (int i = 0; i < COUNT; i++) ((float *)memory.cpu)[i] = (float)(i - 2000) * 0.37f;
        const sm_kernel kernel = KERNEL(jittered);
        sm_dispatch dispatch = make_dispatch(&kernel, COUNT, 64);
        bind_memory(&dispatch, 0, &memory);
        assert_int_equal(sm_executor_run(executor, &dispatch), SM_OK);
        memcpy(results[run], memory.cpu, sizeof results[run]);
        sm_memory_destroy(&memory);
        sm_executor_destroy(executor);
    }
    int seen[5] = {0}, others = 0;
    for (int i = 0; i < COUNT; i++) {
        const float before = (float)(i - 2000) * 0.37f;
        int32_t a, b;
        memcpy(&a, &before, 4);
        memcpy(&b, &results[0][i], 4);
        assert_true(abs(b - a) <= 2);
        if (before != 0) seen[b - a + 2]++;
        others += results[0][i] != results[2][i];
    }
    for (int i = 0; i < 5; i++) assert_true(seen[i] > COUNT / 10);
    assert_true(others > COUNT / 2);
    assert_memory_equal(results[0], results[1], sizeof results[0]); /* whatever the order */
}

/* ---- In flight --------------------------------------------------------------------------------------------------------- */

static void test_flight(void **state)
{
    (void)state;
    softmetal_reset();
    const softmetal_world world = {.workers = 1};
    sm_executor *executor = sm_executor_create(&world);
    sm_memory memory, other;
    assert_true(sm_memory_create(&memory, 10000, false) && sm_memory_create(&other, 100, false));
    memory.label = "logits";
    memory.cpu[5] = 1;
    sm_memory_begin_flight(&memory);
    sm_memory_begin_flight(&memory);
    memory.device[5] = 2; /* the device goes on */
    other.cpu[5] = 1;
    sm_memory_end_flight(&memory);
    no_reports();
    ((volatile uint8_t *)memory.cpu)[9999] = 7; /* still once in flight */
    ((volatile uint8_t *)memory.cpu)[9998] = 7; /* open since the first touch */
    softmetal_report report = the_report(SOFTMETAL_CPU_ACCESS_IN_FLIGHT);
    assert_int_equal(report.count, 1);
    assert_non_null(strstr(report.message, "byte 9999 of a buffer of 10000 bytes ('logits')"));
    sm_memory_end_flight(&memory);
    assert_int_equal(memory.device[9999], 7);
    assert_int_equal(memory.cpu[5], 2);

    softmetal_reset();
    sm_memory_begin_flight(&memory);
    const volatile uint8_t *bytes = memory.cpu;
    assert_int_equal(bytes[0], 0); /* a read */
    sm_memory_end_flight(&memory);
    assert_non_null(strstr(the_report(SOFTMETAL_CPU_ACCESS_IN_FLIGHT).message, "byte 0 of"));
    softmetal_reset();
    memory.cpu[1] = 1; /* landed */
    no_reports();
    sm_memory_destroy(&memory);
    sm_memory_destroy(&other);
    sm_executor_destroy(executor);
}

static void *touch_in_flight(void *context)
{
    volatile uint8_t *bytes = context;
    for (int i = 0; i < 1000; i += 4) bytes[i] = 1;
    return NULL;
}

/* Several threads of the host, while it goes up and down. */
static void test_flight_threads(void **state)
{
    (void)state;
    const softmetal_world world = {.workers = 1};
    sm_executor *executor = sm_executor_create(&world);
    sm_memory memory;
    assert_true(sm_memory_create(&memory, 1000, false));
    for (int round = 0; round < 50; round++) {
        pthread_t threads[4];
        for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, touch_in_flight, memory.cpu + i), 0);
        for (int i = 0; i < 20; i++) sm_memory_begin_flight(&memory), sm_memory_end_flight(&memory);
        for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    }
    for (int i = 0; i < 1000; i++) assert_int_equal(memory.cpu[i], 1);
    sm_memory_destroy(&memory);
    sm_executor_destroy(executor);
    softmetal_reset();
}

static void test_memory(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 1, 15, 16, 17, 4095, 4096, 4097, 1 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int poisoned = 0; poisoned < 2; poisoned++) {
            sm_memory memory;
            assert_true(sm_memory_create(&memory, sizes[i], poisoned != 0));
            assert_int_equal((uintptr_t)memory.device % 16, 0);
            for (uint64_t k = 0; k < sizes[i]; k++) assert_int_equal(memory.device[k], poisoned ? 0xFF : 0);
            for (uint64_t k = 0; k < sizes[i]; k++) memory.cpu[k] = (uint8_t)k;
            for (uint64_t k = 0; k < sizes[i]; k++) assert_int_equal(memory.device[k], (uint8_t)k);
            sm_memory_destroy(&memory);
        }
    }
    sm_memory huge;
    assert_false(sm_memory_create(&huge, (uint64_t)1 << 47, false));
    float host[64];
    const softmetal_world world = {.workers = 1};
    sm_executor *executor = sm_executor_create(&world);
    sm_memory_import(&huge, host, sizeof host);
    sm_memory_begin_flight(&huge);
    host[0] = 1; /* cannot be closed */
    sm_memory_end_flight(&huge);
    check_doubling(executor, &huge, 2);
    sm_memory_destroy(&huge);
    sm_executor_destroy(executor);
    no_reports();
}

/* ---- Reports and counts ------------------------------------------------------------------------------------------------- */

static void test_reports(void **state)
{
    (void)state;
    softmetal_reset();
    assert_int_equal(softmetal_report_count(), 0);
    char message[] = "k: this";
    softmetal_report report = {.kind = SOFTMETAL_RACE_DEVICE, .message = message, .kernel = "k", .line = 3, .other_line = 4,
                               .thread = 1, .other_thread = 2, .threadgroup = 3, .other_threadgroup = -1};
    sm_report(&report);
    message[0] = 'x'; /* it was copied */
    sm_report(&report);
    report.count = 5;
    sm_report(&report);
    report.other_line = 5;
    sm_report(&report);
    report.other_line = 4;
    report.kernel = "l";
    sm_report(&report);
    sm_reportf(SOFTMETAL_VALIDATION, "buffer %d", 1);
    sm_reportf(SOFTMETAL_VALIDATION, "buffer %d", 2);
    sm_reportf(SOFTMETAL_VALIDATION, "buffer %d", 1);
    assert_int_equal(softmetal_report_count(), 5);
    static const uint64_t counts[] = {7, 5, 5, 2, 1};
    for (size_t i = 0; i < 5; i++) {
        assert_true(softmetal_get_report(i, &report));
        assert_int_equal(report.count, counts[i]);
    }
    assert_false(softmetal_get_report(5, &report));
    assert_true(softmetal_get_report(0, &report));
    assert_string_equal(report.message, "k: this");
    assert_string_equal(report.kernel, "k");
    assert_int_equal(report.other_threadgroup, -1);
    assert_true(softmetal_get_report(3, &report));
    assert_string_equal(report.message, "buffer 1");
    assert_null(report.kernel);
    assert_int_equal(report.thread, -1);
    assert_string_equal(softmetal_report_name(SOFTMETAL_MISSING_BARRIER), "MISSING_BARRIER");
    assert_string_equal(softmetal_report_name(SOFTMETAL_REPORT_KINDS), "UNKNOWN");
    softmetal_reset();
    assert_int_equal(softmetal_report_count(), 0);
}

static void test_counts(void **state)
{
    (void)state;
    softmetal_reset();
    const softmetal_world world = {.workers = 2};
    sm_executor *executor = sm_executor_create(&world);
    sm_memory memory;
    assert_true(sm_memory_create(&memory, 6400, false));
    check_doubling(executor, &memory, 3);
    char names[200][16];
    const sm_kernel plain = KERNEL(tiny);
    for (int i = 0; i < 200; i++) {
        sm_kernel kernel = plain;
        snprintf(names[i], sizeof names[i], "kernel%d", i);
        kernel.name = names[i];
        sm_dispatch dispatch = make_dispatch(&kernel, 33, 32);
        bind_memory(&dispatch, 0, &memory);
        for (int n = 0; n <= i % 3; n++) assert_int_equal(sm_executor_run(executor, &dispatch), SM_OK);
        memset(names[i], 0, sizeof names[i]); /* it was copied */
    }
    static softmetal_kernel_counts all[300];
    assert_int_equal(softmetal_get_kernel_counts(NULL, 0), 201);
    assert_int_equal(softmetal_get_kernel_counts(all, 300), 201);
    assert_string_equal(all[0].kernel, "double_it");
    assert_int_equal(all[0].dispatches, 3);
    assert_int_equal(all[0].threadgroups, 3 * 25);
    assert_int_equal(all[0].threads, 3 * 1600);
    assert_int_equal(all[0].barriers, 3 * 25);
    assert_int_equal(all[0].simd_operations, 3 * 50);
    for (int i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof name, "kernel%d", i);
        assert_string_equal(all[1 + i].kernel, name);
        assert_int_equal(all[1 + i].dispatches, i % 3 + 1);
        assert_int_equal(all[1 + i].threads, (i % 3 + 1) * 33);
        assert_int_equal(all[1 + i].loaded[0], 0); /* CHECKED worlds only */
    }
    softmetal_counts counts;
    softmetal_get_counts(&counts);
    assert_int_equal(counts.dispatches, 3 + 399);
    assert_int_equal(counts.threadgroups, 75 + 2 * 399);
    assert_int_equal(counts.threads, 4800 + 33 * 399);
    softmetal_reset();
    softmetal_get_counts(&counts);
    assert_int_equal(counts.dispatches, 0);
    assert_int_equal(counts.threads, 0);
    assert_int_equal(counts.messages, 0);
    assert_int_equal(softmetal_get_kernel_counts(all, 300), 0);
    check_doubling(executor, &memory, 1);
    assert_int_equal(softmetal_get_kernel_counts(all, 300), 1);
    sm_memory_destroy(&memory);
    sm_executor_destroy(executor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_growth),
        cmocka_unit_test(test_executors_come_and_go),
        cmocka_unit_test(test_together),
        cmocka_unit_test(test_threads_in_turn),
        cmocka_unit_test(test_flush_to_zero),
        cmocka_unit_test(test_jitter),
        cmocka_unit_test(test_flight),
        cmocka_unit_test(test_flight_threads),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_reports),
        cmocka_unit_test(test_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
