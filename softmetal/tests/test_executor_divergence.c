/* Lanes that do not go together: what barriers and meetings make of it, and what is reported. */
#include "tests/kernels.h"

static sm_executor *executor;
static sm_memory memory;

static int setup_world(const softmetal_world *world)
{
    softmetal_reset();
    executor = sm_executor_create(world);
    return executor == NULL || !sm_memory_create(&memory, 4096 * sizeof(float), false);
}

static int setup(void **state)
{
    (void)state;
    return setup_world(&(softmetal_world){.workers = 2});
}

static int setup_checked(void **state)
{
    (void)state;
    return setup_world(&(softmetal_world){.workers = 2, .build = SOFTMETAL_CHECKED});
}

static int teardown(void **state)
{
    (void)state;
    sm_memory_destroy(&memory);
    sm_executor_destroy(executor);
    return 0;
}

/* Runs it over `threads` in groups of `group`, with the memory at index 0. */
static const float *run(const sm_kernel *kernel, uint32_t threads, uint32_t group)
{
    memset(memory.cpu, 0, memory.bytes);
    sm_dispatch dispatch = make_dispatch(kernel, threads, group);
    bind_memory(&dispatch, 0, &memory);
    sm_executor_order(executor);
    assert_int_equal(sm_executor_run(executor, &dispatch), SM_OK);
    return (const float *)memory.cpu;
}

#define OUT ((float *)lane->buffers[0])[lane->thread_position_in_grid[0]]

/* ---- Meetings of some ---------------------------------------------------------------------------------------------- */

static uint32_t first_line, second_line;

static void even_sum(const sm_lane *lane)
{
    float value = 1;
    if (lane->thread_index_in_simdgroup % 2 == 0) {
        first_line = __LINE__ + 1;
        value = SIMD_SUM(1);
    } else {
        second_line = __LINE__ + 1;
        value = 100 + SIMD_SUM(1);
    }
    OUT = value + 1000 * SIMD_SUM(1);
}

static void check_branches(void)
{
    const sm_kernel kernel = KERNEL(even_sum);
    const float *out = run(&kernel, 64, 64);
    for (int i = 0; i < 64; i++) assert_true(out[i] == (i % 2 == 0 ? 32016 : 32116));
}

static void test_branches_plain(void **state)
{
    (void)state;
    check_branches();
    no_reports();
}

static void test_branches_checked(void **state)
{
    (void)state;
    check_branches();
    softmetal_report report;
    assert_int_equal(softmetal_report_count(), 2); /* each function is reached by half of the lanes */
    for (size_t i = 0; i < 2; i++) {
        assert_true(softmetal_get_report(i, &report));
        assert_int_equal(report.kind, SOFTMETAL_DIVERGENT_SIMD);
        assert_string_equal(report.kernel, "even_sum");
        assert_int_equal(report.line, i == 0 ? first_line : second_line);
        assert_int_equal(report.thread, i);
        assert_int_equal(report.other_thread, 1 - i);
        assert_int_equal(report.count, 2); /* simdgroups */
    }
    assert_true(softmetal_get_report(0, &report));
    assert_int_equal(report.other_line, second_line);
}

static void loop_sum(const sm_lane *lane)
{
    float value = 0;
    for (uint32_t i = 0; i <= lane->thread_index_in_simdgroup % 4; i++) value += SIMD_SUM(1);
    OUT = value + 1000 * SIMD_SUM(1);
}

/* Lanes leave a loop one after the other; the rest sums without them; all meet behind it. */
static void test_loop(void **state)
{
    (void)state;
    const sm_kernel kernel = KERNEL(loop_sum);
    const float *out = run(&kernel, 32, 32);
    static const float sums[4] = {32, 32 + 24, 32 + 24 + 16, 32 + 24 + 16 + 8};
    for (int i = 0; i < 32; i++) assert_true(out[i] == 32000 + sums[i % 4]);
    no_reports();
}

static void early_return(const sm_lane *lane)
{
    if (lane->thread_position_in_grid[0] >= 40) return;
    OUT = SIMD_SUM(1) + 100 * QUAD_SUM(1);
}

/* Lanes that have left are inactive, and that is no mistake. */
static void test_early_return(void **state)
{
    (void)state;
    const sm_kernel kernel = KERNEL(early_return);
    const float *out = run(&kernel, 64, 64);
    for (int i = 0; i < 64; i++) assert_true(out[i] == (i < 32 ? 432 : i < 40 ? 408 : 0));
    no_reports();
}

static void last_leaves_late(const sm_lane *lane)
{
    if (lane->thread_index_in_simdgroup == 31) {
        BARRIER();
        return;
    }
    BARRIER();
    OUT = SIMD_SUM(1);
}

/* The meeting of the others is complete when the last one leaves. */
static void test_leaving_completes(void **state)
{
    (void)state;
    const sm_kernel kernel = KERNEL(last_leaves_late);
    const float *out = run(&kernel, 32, 32);
    for (int i = 0; i < 31; i++) assert_true(out[i] == 31);
    assert_true(out[31] == 0);
}

static void quads_apart(const sm_lane *lane)
{
    float value = 0;
    for (uint32_t i = 0; i < lane->quadgroup_index_in_threadgroup % 8; i++) value += QUAD_SUM(1);
    OUT = value + 1000 * SIMD_SUM(1);
}

/* Quads of a simdgroup may meet how often they like. */
static void test_quads(void **state)
{
    (void)state;
    const sm_kernel kernel = KERNEL(quads_apart);
    const float *out = run(&kernel, 64, 64);
    for (int i = 0; i < 64; i++) assert_true(out[i] == (float)(32000 + 4 * (i / 4 % 8)));
    no_reports();
}

static void quad_in_branch(const sm_lane *lane)
{
    OUT = lane->thread_index_in_simdgroup % 4 < 3 ? QUAD_SUM(1) : 50 + QUAD_SUM(2);
}

static void test_quad_branches(void **state)
{
    (void)state;
    const sm_kernel kernel = KERNEL(quad_in_branch);
    const float *out = run(&kernel, 8, 8);
    for (int i = 0; i < 8; i++) assert_true(out[i] == (i % 4 < 3 ? 5 : 55)); /* one line: the same place */
    no_reports();
}

static void quad_in_lines(const sm_lane *lane)
{
    if (lane->thread_index_in_simdgroup % 4 < 3) {
        OUT = QUAD_SUM(1);
    } else {
        OUT = 50 + QUAD_SUM(2);
    }
}

static void test_quad_lines(void **state)
{
    (void)state;
    const sm_kernel kernel = KERNEL(quad_in_lines);
    const float *out = run(&kernel, 8, 8);
    for (int i = 0; i < 8; i++) assert_true(out[i] == (i % 4 < 3 ? 3 : 52));
    assert_int_equal(the_report(SOFTMETAL_DIVERGENT_SIMD).count, 2);
}

static void sum_beside_barrier(const sm_lane *lane)
{
    float value = 0;
    if (lane->thread_index_in_simdgroup < 8) value = SIMD_SUM(1);
    BARRIER();
    OUT = value + 1000 * SIMD_SUM(1);
}

static void test_sum_beside_barrier(void **state)
{
    (void)state;
    const sm_kernel kernel = KERNEL(sum_beside_barrier);
    const float *out = run(&kernel, 64, 64);
    for (int i = 0; i < 64; i++) assert_true(out[i] == (i % 32 < 8 ? 32008 : 32000));
    assert_int_equal(the_report(SOFTMETAL_DIVERGENT_SIMD).count, 2);
}

/* ---- Barriers of some ---------------------------------------------------------------------------------------------- */

static void branch_barrier(const sm_lane *lane)
{
    if (lane->thread_index_in_threadgroup < 50) {
        first_line = __LINE__ + 1;
        BARRIER();
    }
    OUT = 1;
}

/* The others leave: the barrier opens for those who are there. */
static void test_barrier_in_branch(void **state)
{
    (void)state;
    const sm_kernel kernel = KERNEL(branch_barrier);
    const float *out = run(&kernel, 64, 64);
    for (int i = 0; i < 64; i++) assert_true(out[i] == 1);
    const softmetal_report report = the_report(SOFTMETAL_DIVERGENT_BARRIER);
    assert_string_equal(report.kernel, "branch_barrier");
    assert_int_equal(report.line, first_line);
    assert_int_equal(report.thread, 0);
    assert_int_equal(report.other_thread, 63);
    assert_non_null(strstr(report.message, "where 50 threads wait"));
}

static void two_barriers(const sm_lane *lane)
{
    if (lane->simdgroup_index_in_threadgroup == 0) {
        first_line = __LINE__ + 1;
        BARRIER();
    } else {
        second_line = __LINE__ + 1;
        BARRIER();
    }
    OUT = 1;
}

static void test_different_barriers(void **state)
{
    (void)state;
    const sm_kernel kernel = KERNEL(two_barriers);
    const float *out = run(&kernel, 64, 64);
    for (int i = 0; i < 64; i++) assert_true(out[i] == 1);
    const softmetal_report report = the_report(SOFTMETAL_DIVERGENT_BARRIER);
    assert_int_equal(report.line, first_line);
    assert_int_equal(report.other_line, second_line);
    assert_int_equal(report.thread, 0);
    assert_int_equal(report.other_thread, 63);
}

static void simd_barrier_in_branch(const sm_lane *lane)
{
    if (lane->thread_index_in_simdgroup < 16) {
        first_line = __LINE__ + 1;
        SIMD_BARRIER();
    } else {
        second_line = __LINE__ + 1;
        SIMD_BARRIER();
    }
    OUT = 1;
}

static void test_simd_barrier_in_branch(void **state)
{
    (void)state;
    const sm_kernel kernel = KERNEL(simd_barrier_in_branch);
    const float *out = run(&kernel, 32, 32);
    for (int i = 0; i < 32; i++) assert_true(out[i] == 1);
    const softmetal_report report = the_report(SOFTMETAL_DIVERGENT_BARRIER);
    assert_int_equal(report.line, first_line);
    assert_int_equal(report.other_line, second_line);
}

static void whole_group_returns(const sm_lane *lane)
{
    if (lane->threadgroup_position_in_grid[0] == 1) return;
    BARRIER();
    OUT = 1;
}

/* A threadgroup that leaves as a whole is right. */
static void test_whole_group_returns(void **state)
{
    (void)state;
    const sm_kernel kernel = KERNEL(whole_group_returns);
    const float *out = run(&kernel, 192, 64);
    for (int i = 0; i < 192; i++) assert_true(out[i] == (i / 64 == 1 ? 0 : 1));
    no_reports();
}

/* ---- Shuffled ------------------------------------------------------------------------------------------------------ */

static void in_order(const sm_lane *lane)
{
    static _Atomic uint32_t turn;
    if (lane->thread_position_in_grid[0] == UINT32_MAX) turn = 0;
    OUT = (float)turn++;
}

static void mixed_work(const sm_lane *lane)
{
    const uint32_t i = lane->thread_index_in_threadgroup, n = lane->threads_per_threadgroup[0];
    float *shared = services->threadgroup_variable(0, 1024 * sizeof(float), 4, __LINE__);
    shared[i] = SIMD_SUM((float)i);
    BARRIER();
    float value = shared[n - 1 - i];
    BARRIER();
    shared[i] = value + QUAD_SUM(1);
    BARRIER();
    OUT = shared[n - 1 - i];
}

/* Any order gives the same; different seeds give different orders, the same seed the same. */
static void test_shuffle(void **state)
{
    (void)state;
    const sm_kernel kernel = KERNEL(mixed_work), order = KERNEL(in_order);
    float expected[1000], first[1000];
    memcpy(expected, run(&kernel, 1000, 250), sizeof expected);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        sm_executor_destroy(executor);
        const softmetal_world world = {.workers = 1, .shuffle = true, .seed = seed};
        executor = sm_executor_create(&world);
        assert_non_null(executor);
        assert_memory_equal(run(&kernel, 1000, 250), expected, sizeof expected);
        float base = run(&order, 1, 1)[0] + 1;
        const float *out = run(&order, 1000, 250);
        if (seed == 1) {
            for (int i = 0; i < 1000; i++) first[i] = out[i] - base;
            uint8_t seen[1000] = {0};
            for (int i = 0; i < 1000; i++) assert_int_equal(seen[(int)first[i]]++, 0);
            continue;
        }
        int same = 0;
        for (int i = 0; i < 1000; i++) same += out[i] - base == first[i];
        assert_true(same < 50);
    }
    sm_executor_destroy(executor);
    const softmetal_world world = {.workers = 1, .shuffle = true, .seed = 1};
    executor = sm_executor_create(&world);
    run(&kernel, 1000, 250);
    const float base = run(&order, 1, 1)[0] + 1;
    const float *out = run(&order, 1000, 250);
    for (int i = 0; i < 1000; i++) assert_true(out[i] - base == first[i]);
    no_reports();
}

int main(void)
{
#define CHECKED(test) cmocka_unit_test_setup_teardown(test, setup_checked, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_branches_plain, setup, teardown),
        CHECKED(test_branches_checked),
        cmocka_unit_test_setup_teardown(test_loop, setup, teardown),
        CHECKED(test_early_return),
        cmocka_unit_test_setup_teardown(test_early_return, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leaving_completes, setup, teardown),
        CHECKED(test_quads),
        CHECKED(test_quad_branches),
        CHECKED(test_quad_lines),
        CHECKED(test_sum_beside_barrier),
        cmocka_unit_test_setup_teardown(test_barrier_in_branch, setup, teardown),
        CHECKED(test_barrier_in_branch),
        cmocka_unit_test_setup_teardown(test_different_barriers, setup, teardown),
        CHECKED(test_simd_barrier_in_branch),
        CHECKED(test_whole_group_returns),
        cmocka_unit_test_setup_teardown(test_shuffle, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
