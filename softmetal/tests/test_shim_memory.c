/* Atomics, barriers, and what a thread is told of its place; also in a world that looks at every access, which has nothing to say. */
#include "tests/shim/rig.h"

static rig_name atomic_names[] = {SHIM_ATOMIC(RIG_NAME)};
static rig_name builtin_names[] = {SHIM_BUILTIN(RIG_NAME)};
static void look(const char *name) { rig_look(atomic_names, COUNT(atomic_names), name, 1); }

static sm_msl_library *plain, *checked;
static const softmetal_world worlds[2] = {{.workers = 2}, {.workers = 2, .build = SOFTMETAL_CHECKED}};

static void run(bool with_checks, const char *kernel, const uint32_t grid[3], const uint32_t group[3], const rig_buffer *buffers, size_t count)
{
    rig_run_3(with_checks ? checked : plain, kernel, &worlds[with_checks], grid, group, buffers, count);
}

/* ---- Atomics ------------------------------------------------------------------------------------------------------- */

enum { THREADS = 1000 };

static int ascending(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void check_atomics(bool with_checks)
{
    uint32_t u[8] = {10, 5000, 0, UINT32_MAX, 0, 0, UINT32_MAX, THREADS}, before[2 * THREADS];
    int32_t s[5] = {0, INT32_MIN, INT32_MAX, 0, 0}, out[3] = {0};
    float f[6] = {0, 1000, 0, 7, 0, 0};
    uint64_t wide[3] = {0, UINT64_MAX, 0};
    uint8_t b[1] = {0};
    run(with_checks, "atomics", (uint32_t[3]){THREADS, 1, 1}, (uint32_t[3]){100, 1, 1},
        (rig_buffer[]){{u, sizeof u}, {s, sizeof s}, {f, sizeof f}, {wide, sizeof wide}, {b, sizeof b}, {before, sizeof before}, {out, sizeof out}}, 7);
    uint32_t mixed = 0;
    int32_t sum = 0;
    for (uint32_t i = 0; i < THREADS; i++) mixed ^= i, sum += (int32_t)i - 500;
    assert_int_equal(u[0], 10 + THREADS);
    assert_int_equal(u[1], 5000 - 3 * THREADS);
    assert_int_equal(u[2], 0x7FFFFFFF);
    assert_int_equal(u[3], 0x80000000u);
    assert_int_equal(u[4], mixed);
    assert_int_equal(u[5], THREADS - 1);
    assert_int_equal(u[6], 5);
    /* each number once: none was lost, none was seen twice */
    qsort(before, THREADS, sizeof *before, ascending);
    for (uint32_t i = 0; i < THREADS; i++) assert_int_equal(before[i], 10 + i);
    uint32_t *exchanged = before + THREADS, last = u[7];
    assert_true(last < THREADS);
    qsort(exchanged, THREADS, sizeof *exchanged, ascending);
    for (uint32_t i = 0; i < THREADS; i++) assert_int_equal(exchanged[i], i < last ? i : i + 1);
    assert_int_equal(s[0], sum);
    assert_int_equal(s[1], 0);
    assert_int_equal(s[2], -(THREADS - 1));
    assert_int_equal(s[3], 2 * THREADS);
    assert_int_equal(s[4], THREADS);
    const float floats[6] = {THREADS * 0.5f, 1000 - THREADS * 0.25f, 1.5f, 2.5f, 1, 9};
    for (size_t i = 0; i < 6; i++) assert_true(f[i] == floats[i]);
    assert_int_equal(out[2], 1);
    assert_true(wide[0] == (uint64_t)(THREADS - 1) << 33);
    assert_true(wide[1] == 1);
    assert_true(wide[2] == (uint64_t)THREADS << 32);
    assert_int_equal(out[0], 3);
    assert_int_equal(out[1], 0);
}

static void test_atomics(void **state)
{
    (void)state;
    check_atomics(false);
    check_atomics(true);
    static const char *const names[] = {
        "atomic_store_explicit", "atomic_load_explicit", "atomic_exchange_explicit", "atomic_compare_exchange_weak_explicit",
        "atomic_fetch_add_explicit", "atomic_fetch_and_explicit", "atomic_fetch_max_explicit", "atomic_fetch_min_explicit",
        "atomic_fetch_or_explicit", "atomic_fetch_sub_explicit", "atomic_fetch_xor_explicit", "atomic_min_explicit", "atomic_max_explicit"};
    for (size_t i = 0; i < COUNT(names); i++) look(names[i]);
}

/* ---- Barriers ------------------------------------------------------------------------------------------------------ */

static void check_groups(bool with_checks)
{
    enum { GROUP = 256, COUNT_OF_GROUPS = 5, ALL = GROUP * COUNT_OF_GROUPS };
    static uint32_t in[ALL], out[4 * ALL];
    uint32_t done = 0;
    uint64_t random = 21;
    for (uint32_t i = 0; i < ALL; i++) in[i] = rig_random(&random) % 1000;
    run(with_checks, "groups", (uint32_t[3]){ALL, 1, 1}, (uint32_t[3]){GROUP, 1, 1}, (rig_buffer[]){{in, sizeof in}, {out, sizeof out}, {&done, sizeof done}}, 3);
    for (uint32_t i = 0; i < ALL; i++) {
        uint32_t sum = 0;
        for (uint32_t t = 0; t < GROUP; t++) sum += in[i / GROUP * GROUP + t];
        assert_int_equal(out[4 * i], sum);
        assert_int_equal(out[4 * i + 1], sum);
        assert_int_equal(out[4 * i + 2], 3 * in[i ^ 1]);
        assert_int_equal(out[4 * i + 3], i / GROUP);
    }
    assert_int_equal(done, COUNT_OF_GROUPS);
}

static void test_groups(void **state)
{
    (void)state;
    check_groups(false);
    check_groups(true);
    look("threadgroup_barrier"), look("simdgroup_barrier"), look("atomic_thread_fence");
}

/* ---- Builtins ------------------------------------------------------------------------------------------------------ */

/* In the order of the kernel's parameters: seven triples, then single numbers. */
static void place_of(const uint32_t p[3], const uint32_t grid[3], const uint32_t group[3], uint32_t expected[32])
{
    uint32_t size[3];
    for (int i = 0; i < 3; i++) {
        const uint32_t g = p[i] / group[i], left = grid[i] - g * group[i];
        size[i] = left < group[i] ? left : group[i];
        const uint32_t numbers[7] = {p[i], p[i] % group[i], g, grid[i], (grid[i] + group[i] - 1) / group[i], size[i], group[i]};
        for (int k = 0; k < 7; k++) expected[3 * k + i] = numbers[k];
    }
    const uint32_t *in_group = expected + 3, all = size[0] * size[1] * size[2], dispatched = group[0] * group[1] * group[2];
    const uint32_t index = (in_group[2] * size[1] + in_group[1]) * size[0] + in_group[0];
    const uint32_t rest[11] = {index,          index % 32,    index % 4,           index / 32,             index / 4, (all + 31) / 32,
                               (all + 3) / 4, (dispatched + 31) / 32, (dispatched + 3) / 4, 32, 32};
    memcpy(expected + 21, rest, sizeof rest);
}

static void check_builtins(const char *kernel, const uint32_t grid[3], const uint32_t group[3], int elements)
{
    const uint32_t threads = grid[0] * grid[1] * grid[2], each = elements == 3 ? 32 : elements == 2 ? 14 : 7;
    uint32_t *out = malloc(threads * each * sizeof *out);
    assert_non_null(out);
    memset(out, 0xEE, threads * each * sizeof *out);
    run(false, kernel, grid, group, (rig_buffer[]){{out, threads * each * sizeof *out}}, 1);
    for (uint32_t t = 0; t < threads; t++) {
        uint32_t expected[32], got[32];
        place_of((uint32_t[3]){t % grid[0], t / grid[0] % grid[1], t / grid[0] / grid[1]}, grid, group, expected);
        memcpy(got, expected, sizeof got);
        for (int k = 0; k < 7; k++)
            for (int e = 0; e < elements; e++) got[3 * k + e] = out[t * each + (uint32_t)(k * elements + e)];
        if (elements == 3) memcpy(got, out + t * each, sizeof got);
        for (int k = 0; k < 32; k++)
            if (got[k] != expected[k]) fail_msg("%s, thread %u: %s is %u; wanted %u", kernel, t, builtin_names[k < 21 ? k / 3 : k - 14].name, got[k], expected[k]);
    }
    free(out);
}

static void test_builtins(void **state)
{
    (void)state;
    static const uint32_t grids[4][3] = {{100, 1, 1}, {37, 11, 1}, {9, 7, 5}, {64, 2, 3}}, groups[4][3] = {{64, 1, 1}, {8, 4, 1}, {4, 3, 2}, {32, 2, 1}};
    for (int i = 0; i < 4; i++) {
        check_builtins("triples", grids[i], groups[i], 3);
        check_builtins("short_triples", grids[i], groups[i], 3);
        check_builtins("pairs", grids[i], groups[i], 2);
        check_builtins("singles", grids[i], groups[i], 1);
    }
    for (size_t i = 0; i < COUNT(builtin_names); i++) builtin_names[i].looks++;
    assert_int_equal(COUNT(builtin_names), 18); /* as many as the kernel has parameters for */
}

static void test_all_names(void **state)
{
    (void)state;
    rig_all_looked_at(atomic_names, COUNT(atomic_names));
    rig_all_looked_at(builtin_names, COUNT(builtin_names));
}

static int setup(void **state)
{
    (void)state;
    char *text = rig_text("", "memory");
    plain = rig_library(text, &(sm_msl_options){0});
    checked = rig_library(text, &(sm_msl_options){.world = worlds[1]});
    free(text);
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    sm_msl_library_destroy(plain);
    sm_msl_library_destroy(checked);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_atomics),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_builtins),
        cmocka_unit_test(test_all_names),
    };
    return cmocka_run_group_tests_name("shim: memory", tests, setup, teardown);
}
