#include "tests/kernels.h"

static sm_executor *executor;

static int setup(void **state)
{
    (void)state;
    softmetal_reset();
    const softmetal_world world = {.workers = 2};
    executor = sm_executor_create(&world);
    return executor == NULL;
}

static int teardown(void **state)
{
    (void)state;
    sm_executor_destroy(executor);
    return 0;
}

/* ---- Positions ----------------------------------------------------------------------------------------------------- */

/* buffer 0: a copy of each thread's lane, by its position in the grid */
static void keep_lane(const sm_lane *lane)
{
    sm_lane *lanes = lane->buffers[0];
    const uint32_t *p = lane->thread_position_in_grid, *grid = lane->threads_per_grid;
    lanes[(p[2] * grid[1] + p[1]) * grid[0] + p[0]] = *lane;
}

static void check_lane(const sm_lane *lane, const uint32_t p[3], const uint32_t grid[3], const uint32_t group[3])
{
    uint32_t shape[3];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(lane->thread_position_in_grid[i], p[i]);
        assert_int_equal(lane->threads_per_grid[i], grid[i]);
        assert_int_equal(lane->threadgroup_position_in_grid[i], p[i] / group[i]);
        assert_int_equal(lane->thread_position_in_threadgroup[i], p[i] % group[i]);
        assert_int_equal(lane->threadgroups_per_grid[i], (grid[i] + group[i] - 1) / group[i]);
        assert_int_equal(lane->dispatch_threads_per_threadgroup[i], group[i]);
        const uint32_t left = grid[i] - p[i] / group[i] * group[i];
        shape[i] = left < group[i] ? left : group[i];
        assert_int_equal(lane->threads_per_threadgroup[i], shape[i]);
    }
    const uint32_t *t = lane->thread_position_in_threadgroup, threads = shape[0] * shape[1] * shape[2];
    const uint32_t index = (t[2] * shape[1] + t[1]) * shape[0] + t[0];
    assert_int_equal(lane->thread_index_in_threadgroup, index);
    assert_int_equal(lane->simdgroup_index_in_threadgroup, index / 32);
    assert_int_equal(lane->thread_index_in_simdgroup, index % 32);
    assert_int_equal(lane->simdgroups_per_threadgroup, (threads + 31) / 32);
    assert_int_equal(lane->quadgroup_index_in_threadgroup, index / 4);
    assert_int_equal(lane->thread_index_in_quadgroup, index % 4);
    assert_int_equal(lane->quadgroups_per_threadgroup, (threads + 3) / 4);
}

static void check_positions(const uint32_t grid[3], const uint32_t group[3])
{
    sm_memory memory;
    const uint32_t threads = grid[0] * grid[1] * grid[2];
    assert_true(sm_memory_create(&memory, threads * sizeof(sm_lane), false));
    const sm_kernel kernel = KERNEL(keep_lane);
    sm_dispatch dispatch = make_dispatch(&kernel, 1, 1);
    memcpy(dispatch.grid, grid, sizeof dispatch.grid);
    memcpy(dispatch.group, group, sizeof dispatch.group);
    bind_memory(&dispatch, 0, &memory);
    for (int round = 0; round < 2; round++) {
        memset(memory.cpu, 0, memory.bytes);
        assert_int_equal(sm_executor_run(executor, &dispatch), SM_OK);
        const sm_lane *lane = (const sm_lane *)memory.cpu;
        for (uint32_t z = 0; z < grid[2]; z++)
            for (uint32_t y = 0; y < grid[1]; y++)
                for (uint32_t x = 0; x < grid[0]; x++) check_lane(lane++, (const uint32_t[]){x, y, z}, grid, group);
    }
    sm_memory_destroy(&memory);
    no_reports();
}

static void test_positions(void **state)
{
    (void)state;
    static const uint32_t shapes[][2][3] = {
        {{1, 1, 1}, {1, 1, 1}},     {{33, 1, 1}, {33, 1, 1}},  {{1024, 1, 1}, {1024, 1, 1}}, {{4096, 1, 1}, {1024, 1, 1}},
        {{100, 1, 1}, {33, 1, 1}},  {{7, 5, 3}, {4, 2, 2}},    {{17, 9, 5}, {8, 4, 2}},      {{1, 1, 65}, {1, 1, 64}},
        {{31, 33, 1}, {32, 32, 1}}, {{3, 3, 3}, {10, 10, 10}},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) check_positions(shapes[i][0], shapes[i][1]);
}

/* ---- Barriers ------------------------------------------------------------------------------------------------------ */

/* buffer 0: sums of reversed neighbours, through threadgroup memory, three times over */
static void reverse(const sm_lane *lane)
{
    const uint32_t n = lane->threads_per_threadgroup[0], i = lane->thread_index_in_threadgroup;
    uint32_t *shared = services->threadgroup_variable(7, 1024 * sizeof(uint32_t), 4, __LINE__);
    uint32_t *out = lane->buffers[0];
    uint32_t value = lane->thread_position_in_grid[0];
    for (int round = 0; round < 3; round++) {
        shared[i] = value;
        BARRIER();
        value = value + shared[n - 1 - i];
        BARRIER();
    }
    out[lane->thread_position_in_grid[0]] = value;
}

static void check_reverse(uint32_t threads, uint32_t group)
{
    sm_memory memory;
    assert_true(sm_memory_create(&memory, threads * sizeof(uint32_t), false));
    const sm_kernel kernel = KERNEL(reverse);
    sm_dispatch dispatch = make_dispatch(&kernel, threads, group);
    bind_memory(&dispatch, 0, &memory);
    assert_int_equal(sm_executor_run(executor, &dispatch), SM_OK);
    const uint32_t *out = (const uint32_t *)memory.cpu;
    for (uint32_t first = 0; first < threads; first += group) {
        const uint32_t n = threads - first < group ? threads - first : group;
        /* x + mirror(x) is the same on both sides, so each later round doubles it */
        for (uint32_t i = 0; i < n; i++) assert_int_equal(out[first + i], 4 * (first + i + first + n - 1 - i));
    }
    sm_memory_destroy(&memory);
    no_reports();
}

static void test_barriers(void **state)
{
    (void)state;
    static const uint32_t sizes[][2] = {{1, 1}, {2, 2}, {31, 31}, {33, 33}, {64, 32}, {1000, 256}, {1024, 1024}, {3000, 1024}, {640, 64}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) check_reverse(sizes[i][0], sizes[i][1]);
}

/* ---- Meetings ------------------------------------------------------------------------------------------------------ */

static void sums(const sm_lane *lane)
{
    float *out = lane->buffers[0];
    const uint32_t i = lane->thread_position_in_grid[0];
    const float simd = SIMD_SUM((float)i), quad = QUAD_SUM((float)i);
    out[2 * i] = simd;
    out[2 * i + 1] = quad + SIMD_SUM(1.0f) * 1000000.0f;
}

static void test_meetings(void **state)
{
    (void)state;
    enum { THREADS = 1000, GROUP = 100 };
    sm_memory memory;
    assert_true(sm_memory_create(&memory, 2 * THREADS * sizeof(float), false));
    const sm_kernel kernel = KERNEL(sums);
    sm_dispatch dispatch = make_dispatch(&kernel, THREADS, GROUP);
    bind_memory(&dispatch, 0, &memory);
    assert_int_equal(sm_executor_run(executor, &dispatch), SM_OK);
    const float *out = (const float *)memory.cpu;
    for (uint32_t i = 0; i < THREADS; i++) {
        const uint32_t group = i / GROUP * GROUP, simd = group + (i - group) / 32 * 32, quad = group + (i - group) / 4 * 4;
        const uint32_t simd_end = simd + 32 < group + GROUP ? simd + 32 : group + GROUP;
        float simd_sum = 0, quad_sum = 0;
        for (uint32_t k = simd; k < simd_end; k++) simd_sum += (float)k;
        for (uint32_t k = quad; k < quad + 4; k++) quad_sum += (float)k;
        assert_true(out[2 * i] == simd_sum);
        assert_true(out[2 * i + 1] == quad_sum + (float)(simd_end - simd) * 1000000.0f);
    }
    sm_memory_destroy(&memory);
    no_reports();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_positions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_barriers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_meetings, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
