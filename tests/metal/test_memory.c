/* Memory on Metal: what it costs beside what lives in it, and how many objects it takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/metal/metal.h"
#include "runtime/pool.h"
#include "support_metal.h"

/* Counts the bytes that the host keeps: bookkeeping. */
typedef struct counting {
    uint64_t bytes, most;
} counting;

static void *count_bytes(void *user, void *pointer, size_t size)
{
    counting *c = user;
    uint64_t *old = pointer != NULL ? (uint64_t *)pointer - 2 : NULL;
    if (old != NULL) c->bytes -= *old;
    uint64_t *made = size > 0 ? realloc(old, size + 2 * sizeof *old) : NULL;
    if (size == 0) free(old);
    if (made == NULL) return NULL;
    *made = size;
    c->bytes += size;
    if (c->bytes > c->most) c->most = c->bytes;
    return made + 2;
}

typedef struct fixture {
    counting memory;
    pv_allocator allocator;
    pv_environment environment;
    pv_backend_device *device;
} fixture;

static void open_device(fixture *f)
{
    pv_error error = {0};
    *f = (fixture){0};
    f->allocator = (pv_allocator){.reallocate = count_bytes, .user = &f->memory};
    f->environment = (pv_environment){.allocator = &f->allocator, .metal_library = test_metal_library()};
    if (pv_metal_backend.open(&pv_metal_backend, &f->environment, "metal:0", false, &f->device, &error) != PV_OK)
        fail_msg("%s", error.message);
}

static void close_device(fixture *f)
{
    pv_metal_backend.close(f->device);
    assert_int_equal(f->memory.bytes, 0);
    metal_assert_no_leaks();
}

/* ---- Ten thousand operations ---- */

#define LIVE 600

typedef struct churn {
    pv_pool *pool;
    pv_range ranges[LIVE];
    pv_memory kinds[LIVE];
    size_t count;
    uint32_t random;
    pv_fence fence; /* submissions so far; two of them are under way */
    uint64_t made, refused;
} churn;

static uint32_t next(churn *c)
{
    c->random = c->random * 1664525u + 1013904223u;
    return c->random >> 8;
}

/* Weights and caches are large, scratch and steps small; in each arena sizes of all orders. */
static uint64_t size_of(churn *c, pv_memory kind)
{
    static const uint32_t most[] = {24, 23, 21, 16}; /* bits */
    const uint32_t bits = 6 + next(c) % (most[kind] - 5);
    return (1u << bits) / 2 + next(c) % (1u << bits);
}

static void operate(churn *c)
{
    if (c->count < LIVE && (c->count == 0 || next(c) % 100 < 52)) {
        const pv_memory kind = (pv_memory)(next(c) % 4);
        const uint64_t alignment = 1ull << (4 + next(c) % 5);
        if (pv_pool_alloc(c->pool, kind, size_of(c, kind), alignment, &c->ranges[c->count], NULL) != PV_OK) {
            c->refused++;
            return;
        }
        c->kinds[c->count++] = kind;
        c->made++;
    } else {
        const size_t at = next(c) % c->count;
        pv_pool_release(c->pool, &c->ranges[at], next(c) % 2 ? c->fence : 0);
        c->ranges[at] = c->ranges[--c->count];
        c->kinds[at] = c->kinds[c->count];
    }
    if (next(c) % 16 == 0) pv_pool_completed(c->pool, c->fence > 2 ? ++c->fence - 2 : ++c->fence);
}

static void little_is_held_beside_what_lives(void **state)
{
    (void)state;
    fixture f;
    metal_reset();
    open_device(&f);
    churn c = {.random = 7};
    assert_int_equal(pv_pool_create(&f.allocator, f.device, 1u << 20, &c.pool, NULL), PV_OK);
    pv_pool_keep_apart(c.pool, 256u << 10); /* as models are placed */
    for (int i = 0; i < 10000; i++) operate(&c);
    pv_pool_completed(c.pool, c.fence);
    pv_pool_trim(c.pool);
    pv_pool_stats stats;
    pv_pool_get_stats(c.pool, &stats);
    uint64_t held = 0, rounded = 0, live = 0;
    for (size_t i = 0; i < 4; i++) {
        held += stats.arena[i].held;
        rounded += stats.arena[i].rounded;
        live += stats.arena[i].live;
    }
    softmetal_counts counts;
    softmetal_get_counts(&counts);
    const double waste = (double)(held - rounded) / (double)held, rounding = (double)(rounded - live) / (double)live;
    print_message("%llu ranges, %.1f MiB live: %.2f %% of what is held is unused, rounding adds %.2f %%, %llu buffers, %llu "
                  "bytes of bookkeeping\n",
                  (unsigned long long)c.count, (double)live / (1 << 20), 100 * waste, 100 * rounding,
                  (unsigned long long)counts.buffers, (unsigned long long)f.memory.most);
    assert_int_equal(c.refused, 0);
    assert_true(c.made > 4000);
    assert_true(waste < 0.05);
    assert_true(rounding < 0.0625);
    assert_true(counts.live_buffer_bytes >= held && counts.live_buffer_bytes < held + held / 100 + (1 << 20));
    assert_true(f.memory.most < 100u << 20);
    pv_pool_destroy(c.pool);
    close_device(&f);
}

/* ---- A loaded model ---- */

static uint64_t live_buffers(void)
{
    softmetal_counts counts;
    softmetal_get_counts(&counts);
    return counts.buffers;
}

static const pv_metal_device *device_of(const metal_bench *b)
{
    return pv_metal_of(b->model->placement->device);
}

static void a_model_takes_few_buffers(void **state)
{
    (void)state;
    metal_bench b;
    metal_reset();
    assert_int_equal(metal_open(&b, &(metal_setting){0}, NULL), PV_OK);
    const uint64_t loaded = live_buffers();
    metal_submit(&b);
    metal_run(&b);
    /* plans of many shapes, also those whose every row wants logits */
    const uint32_t all = b.model->placement->limits.logits;
    for (uint32_t decode = 0; decode <= METAL_REQUESTS; decode++) {
        for (uint32_t prefill = 0; prefill <= 32; prefill += 32) {
            pv_class *class;
            pv_error error = {0};
            if (decode + prefill == 0) continue;
            assert_int_equal(pv_placement_class(b.model->placement, decode, prefill, 1, &class, NULL), PV_OK);
            if (pv_placement_class(b.model->placement, decode, prefill, all, &class, &error) != PV_OK) fail_msg("%s", error.message);
        }
    }
    print_message("%llu buffers when loaded, %llu with plans of all shapes\n", (unsigned long long)loaded,
                  (unsigned long long)live_buffers());
    assert_true(loaded <= 16);
    assert_true(live_buffers() <= loaded + 4);
    metal_close(&b);
    metal_assert_no_leaks();
}

/* The weights stand in the file's own pages: beside them there is room for vectors, cache and scratch alone. */
static void the_files_pages_are_not_held_twice(void **state)
{
    (void)state;
    metal_bench b;
    metal_reset();
    assert_int_equal(metal_open(&b, &(metal_setting){0}, NULL), PV_OK);
    pv_pool_stats stats;
    pv_pool_get_stats(b.model->placement->pool, &stats);
    assert_true(b.model->placement->views.count >= 1);
    assert_true(stats.arena[PV_MEMORY_WEIGHTS].live < b.model->weight_bytes / 8);
    metal_close(&b);
}

/* Bytes of weights that were copied at load, of the model at `path`; of its file those that are quantized, and their widest copy. */
static uint64_t copied(const char *path, uint64_t *quantized)
{
    const pv_runtime_options options = {.metal_library = test_metal_library()};
    const pv_model_options how = {.device = "metal", .max_sequences = 1, .max_step_rows = 32, .context = 128};
    pv_runtime *runtime = NULL;
    pv_model *model = NULL;
    pv_error error = {0};
    pv_pool_stats stats;
    assert_int_equal(pv_runtime_create(&options, &runtime, &error), PV_OK);
    if (pv_model_load(runtime, path, &how, &model, &error) != PV_OK) fail_msg("%s", error.message);
    pv_pool_get_stats(model->placement->pool, &stats);
    *quantized = 0;
    for (size_t i = 0; i < pv_source_tensor_count(model->source); i++) {
        const pv_source_tensor *tensor = pv_source_tensor_at(model->source, i);
        if (tensor->layout > PV_LAYOUT_BF16) *quantized += tensor->bytes;
    }
    pv_model_destroy(model);
    pv_runtime_destroy(runtime);
    return stats.arena[PV_MEMORY_WEIGHTS].live;
}

/* What other formats spread over tensors is put together while it is loaded, unless the file was repacked: then none of it is copied. */
static void repacked_weights_are_not_copied(void **state)
{
    static const char *const names[] = {"mlx_affine", "gptq", "fp8_block"};
    (void)state;
    metal_reset();
    for (size_t i = 0; i < 3; i++) {
        char path[256], folder[] = "/tmp/pensieve-repacked-XXXXXX", command[64];
        uint64_t before, after;
        pv_runtime *runtime = NULL;
        pv_error error = {0};
        snprintf(path, sizeof path, PV_TEST_DATA "/golden/quantized/%s", names[i]);
        assert_non_null(mkdtemp(folder));
        assert_int_equal(pv_runtime_create(NULL, &runtime, NULL), PV_OK);
        if (pv_convert(runtime, path, NULL, folder, &error) != PV_OK) fail_msg("%s", error.message);
        pv_runtime_destroy(runtime);
        const uint64_t with_parts = copied(path, &before), repacked = copied(folder, &after);
        snprintf(command, sizeof command, "rm -r %s", folder);
        assert_int_equal(system(command), 0);
        print_message("%s: %llu bytes of blocks; %llu bytes of weights copied, %llu when repacked\n", names[i], (unsigned long long)before,
                      (unsigned long long)with_parts, (unsigned long long)repacked);
        assert_int_equal(before, after);
        assert_true(before > 0 && with_parts >= before);
        assert_true(with_parts - repacked >= before);
    }
    metal_assert_no_leaks();
}

static void a_file_larger_than_the_largest_buffer_has_several_views(void **state)
{
    (void)state;
    tiny_result wanted[METAL_REQUESTS];
    metal_bench b;
    const metal_setting setting = {.layout = "F32"};
    metal_reset();
    assert_int_equal(metal_open(&b, &setting, NULL), PV_OK);
    metal_submit(&b);
    metal_run(&b);
    memcpy(wanted, b.found, sizeof wanted);
    metal_close(&b);
    softmetal_set_world(&(softmetal_world){.keep_open = true, .max_buffer = 192 << 10});
    pv_error error = {0};
    if (metal_open(&b, &setting, &error) != PV_OK) fail_msg("%s", error.message);
    assert_true(b.model->placement->views.count > 1);
    assert_true(live_buffers() <= 64);
    metal_submit(&b);
    metal_run(&b);
    assert_true(metal_same(&b, wanted));
    metal_close(&b);
    metal_assert_no_leaks();
}

static void residency_is_asked_for_where_the_system_has_it(void **state)
{
    (void)state;
    for (uint32_t macos = 14; macos <= 15; macos++) {
        metal_bench b;
        metal_reset();
        softmetal_set_world(&(softmetal_world){.keep_open = true, .macos_major = macos});
        assert_int_equal(metal_open(&b, &(metal_setting){0}, NULL), PV_OK);
        assert_int_equal(device_of(&b)->residency != NULL, macos >= 15);
        metal_submit(&b);
        metal_run(&b);
        assert_false(device_of(&b)->residency_stale && macos >= 15);
        metal_close(&b);
        metal_assert_no_leaks();
    }
}

/* What a submission under way may use lives until it has ended. */
static void memory_is_released_behind_the_last_submission(void **state)
{
    (void)state;
    metal_bench b;
    pv_buffer buffer = {0};
    metal_reset();
    assert_int_equal(metal_open(&b, &(metal_setting){0}, NULL), PV_OK);
    pv_backend_device *device = b.model->placement->device;
    softmetal_counts before, now;
    softmetal_get_counts(&before);
    assert_int_equal(pv_metal_alloc(device, PV_MEMORY_SCRATCH, 1 << 20, &buffer, NULL), PV_OK);
    softmetal_inject(&(softmetal_fault){.kind = SOFTMETAL_FAULT_HANG});
    metal_submit(&b);
    pv_class *class;
    pv_fence fence;
    assert_int_equal(pv_placement_class(b.model->placement, 1, 0, 1, &class, NULL), PV_OK);
    const pv_placement *p = b.model->placement;
    memset(pv_tensor_host(&p->block[0]), 0, p->step.bytes);
    pv_step_view_of(pv_tensor_host(&p->block[0]), &p->step).counts->rows = 1;
    const pv_submission submission = {
        .plans = class->prepared, .plan_count = 1, .block = p->block[0], .outputs = p->outputs[0]};
    assert_int_equal(pv_metal_submit(device, &submission, &fence, NULL), PV_OK);
    pv_metal_free(device, &buffer);
    assert_null(buffer.handle);
    softmetal_get_counts(&now);
    assert_true(now.live_buffer_bytes >= before.live_buffer_bytes + (1 << 20));
    assert_int_equal(pv_metal_wait(device, fence, 10, NULL), PV_TIMEOUT);
    softmetal_release_hangs();
    assert_int_equal(pv_metal_wait(device, fence, UINT32_MAX, NULL), PV_DEVICE_TRANSIENT);
    softmetal_get_counts(&now);
    assert_true(now.live_buffer_bytes < before.live_buffer_bytes + (1 << 20));
    metal_close(&b);
    metal_assert_no_leaks();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(little_is_held_beside_what_lives),
        cmocka_unit_test(a_model_takes_few_buffers),
        cmocka_unit_test(the_files_pages_are_not_held_twice),
        cmocka_unit_test(repacked_weights_are_not_copied),
        cmocka_unit_test(a_file_larger_than_the_largest_buffer_has_several_views),
        cmocka_unit_test(residency_is_asked_for_where_the_system_has_it),
        cmocka_unit_test(memory_is_released_behind_the_last_submission),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
