#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "runtime/pool.h"
#include "support_runtime.h"

#define SLAB 65536u

typedef struct fixture {
    rt_memory memory;
    rt_device device;
    pv_pool *pool;
} fixture;

static void set_up(fixture *f)
{
    rt_memory_init(&f->memory, 0);
    f->device = (rt_device){.base = {&rt_backend}, .description = {.id = "fake"}, .allocator = &f->memory.allocator};
    assert_int_equal(pv_pool_create(&f->memory.allocator, &f->device.base, SLAB, &f->pool, NULL), PV_OK);
}

static void tear_down(fixture *f)
{
    pv_pool_destroy(f->pool);
    assert_int_equal(f->memory.live, 0);
    assert_int_equal(f->device.live_bytes, 0);
}

static pv_range take(fixture *f, pv_memory kind, uint64_t bytes, uint64_t alignment)
{
    pv_range range;
    assert_int_equal(pv_pool_alloc(f->pool, kind, bytes, alignment, &range, NULL), PV_OK);
    assert_int_equal(range.bytes, bytes);
    assert_int_equal(range.offset % alignment, 0);
    assert_true(range.offset + range.held <= range.buffer->bytes);
    assert_true(range.held >= bytes && (range.held - bytes < 16 || (range.held - bytes) * 16 < bytes));
    return range;
}

static struct pv_arena_stats stats_of(const fixture *f, pv_memory kind)
{
    pv_pool_stats stats;
    pv_pool_get_stats(f->pool, &stats);
    return stats.arena[kind];
}

/* ---- Tiers ----------------------------------------------------------------------------------------------------------- */

static void rounding_wastes_less_than_a_sixteenth(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    uint64_t previous = 0, tiers_in_octave = 0;
    for (uint64_t bytes = 1; bytes <= 40000; bytes++) {
        pv_range range = take(&f, PV_MEMORY_KV, bytes, 1);
        assert_true(range.held >= bytes);
        if (bytes > 256)
            assert_true((range.held - bytes) * 16 < bytes);
        else
            assert_true(range.held - bytes < 16);
        assert_true(range.held >= previous); /* more bytes never get a smaller tier */
        if (bytes > 16384 && bytes <= 32768) tiers_in_octave += range.held != previous;
        previous = range.held;
        pv_pool_release(f.pool, &range, 0);
    }
    assert_int_equal(tiers_in_octave, 16); /* few enough that ranges are reused for like sizes */
    for (uint64_t bytes = 1u << 20; bytes < 1u << 30; bytes += bytes / 7 + 13) {
        fixture g;
        set_up(&g);
        pv_range range = take(&g, PV_MEMORY_WEIGHTS, bytes / 512, 64);
        assert_true((range.held - bytes / 512) * 16 < bytes / 512);
        tear_down(&g);
    }
    tear_down(&f);
}

/* ---- Blocks ---------------------------------------------------------------------------------------------------------- */

static void neighbours_coalesce_in_every_order(void **state)
{
    (void)state;
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (size_t i = 0; i < 6; i++) {
        fixture f;
        set_up(&f);
        pv_range range[3];
        for (size_t j = 0; j < 3; j++) range[j] = take(&f, PV_MEMORY_WEIGHTS, SLAB / 4, 256);
        for (size_t j = 0; j < 3; j++) pv_pool_release(f.pool, &range[orders[i][j]], 0);
        pv_range whole = take(&f, PV_MEMORY_WEIGHTS, SLAB, 256); /* one run again, the slab's end included */
        assert_int_equal(whole.offset, 0);
        assert_int_equal(stats_of(&f, PV_MEMORY_WEIGHTS).slabs, 1);
        tear_down(&f);
    }
}

static void the_tightest_hole_is_taken(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    static const uint64_t sizes[] = {8192, 256, 2048, 256, 4096, 256};
    pv_range range[6];
    for (size_t i = 0; i < 6; i++) range[i] = take(&f, PV_MEMORY_SCRATCH, sizes[i], 256);
    for (size_t i = 0; i < 6; i += 2) pv_pool_release(f.pool, &range[i], 0);
    assert_int_equal(take(&f, PV_MEMORY_SCRATCH, 1536, 256).offset, range[2].offset);
    assert_int_equal(take(&f, PV_MEMORY_SCRATCH, 3072, 256).offset, range[4].offset);
    assert_int_equal(take(&f, PV_MEMORY_SCRATCH, 3072, 256).offset, range[0].offset);
    tear_down(&f);
}

static void alignment_leaves_its_gap_usable(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    pv_range first = take(&f, PV_MEMORY_SCRATCH, 16, 1);
    pv_range aligned = take(&f, PV_MEMORY_SCRATCH, 4096, 4096);
    assert_int_equal(first.offset, 0);
    assert_int_equal(aligned.offset, 4096);
    assert_int_equal(take(&f, PV_MEMORY_SCRATCH, 3968, 16).offset, 16); /* 3968 = 31 x 128 is a tier */
    assert_int_equal(stats_of(&f, PV_MEMORY_SCRATCH).rounded, 16 + 4096 + 3968);
    tear_down(&f);
}

static void arenas_are_apart(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    pv_range range[4];
    for (unsigned kind = 0; kind < 4; kind++) range[kind] = take(&f, (pv_memory)kind, 1024, 64);
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned j = i + 1; j < 4; j++) assert_int_not_equal(range[i].buffer->id, range[j].buffer->id);
        struct pv_arena_stats stats = stats_of(&f, (pv_memory)i);
        assert_int_equal(stats.live, 1024);
        assert_int_equal(stats.rounded, 1024);
        assert_int_equal(stats.held, SLAB);
        assert_int_equal(stats.slabs, 1);
    }
    tear_down(&f);
}

/* ---- Slabs ----------------------------------------------------------------------------------------------------------- */

static void a_large_request_gets_a_slab_of_its_own_size(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    pv_range small = take(&f, PV_MEMORY_WEIGHTS, 1000, 64), large = take(&f, PV_MEMORY_WEIGHTS, 1000000, 64);
    assert_ptr_not_equal(small.buffer, large.buffer);
    assert_int_equal(large.offset, 0);
    assert_int_equal(large.buffer->bytes, large.held);
    assert_int_equal(stats_of(&f, PV_MEMORY_WEIGHTS).held, SLAB + large.held);
    assert_int_equal(stats_of(&f, PV_MEMORY_WEIGHTS).slabs, 2);
    tear_down(&f);
}

static void trim_returns_unused_slabs_only(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    pv_range a = take(&f, PV_MEMORY_KV, SLAB, 64), b = take(&f, PV_MEMORY_KV, SLAB, 64), c = take(&f, PV_MEMORY_KV, SLAB, 64);
    pv_pool_release(f.pool, &a, 0);
    pv_pool_release(f.pool, &b, 5);
    pv_pool_trim(f.pool);
    assert_int_equal(f.device.frees, 1);
    assert_int_equal(stats_of(&f, PV_MEMORY_KV).slabs, 2); /* c lives, b may still be used */
    pv_pool_completed(f.pool, 5);
    pv_pool_trim(f.pool);
    assert_int_equal(stats_of(&f, PV_MEMORY_KV).slabs, 1);
    assert_int_equal(stats_of(&f, PV_MEMORY_KV).held, SLAB);
    memset(c.buffer->host, 1, SLAB); /* the range's slab stays where it was */
    pv_pool_release(f.pool, &c, 0);
    pv_pool_trim(f.pool);
    pv_pool_stats stats;
    pv_pool_get_stats(f.pool, &stats);
    assert_int_equal(stats.arena[PV_MEMORY_KV].held, 0);
    assert_int_equal(stats.peak, 3 * SLAB);
    tear_down(&f);
}

/* Large ranges: a slab each, of their own tier, taken again by those that waste little of it, given back by trim. */
static void large_ranges_are_kept_apart(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    pv_pool_keep_apart(f.pool, SLAB / 4);
    pv_range large = take(&f, PV_MEMORY_KV, SLAB / 2, 256), small = take(&f, PV_MEMORY_KV, 1000, 256);
    assert_ptr_not_equal(large.buffer, small.buffer);
    assert_int_equal(large.buffer->bytes, SLAB / 2);
    assert_int_equal(stats_of(&f, PV_MEMORY_KV).slabs, 2);
    /* nothing small moves in beside or instead of it */
    pv_pool_release(f.pool, &large, 0);
    pv_range more = take(&f, PV_MEMORY_KV, 2000, 256);
    assert_ptr_equal(more.buffer, small.buffer);
    /* a little less takes the same slab, much less another */
    const pv_buffer *whole = large.buffer;
    pv_range less = take(&f, PV_MEMORY_KV, SLAB / 2 - 1000, 256);
    assert_ptr_equal(less.buffer, whole);
    pv_range other = take(&f, PV_MEMORY_KV, SLAB / 4, 256);
    assert_ptr_not_equal(other.buffer, whole);
    assert_int_equal(stats_of(&f, PV_MEMORY_KV).slabs, 3);
    pv_pool_release(f.pool, &less, 0);
    pv_range again = take(&f, PV_MEMORY_KV, SLAB / 4, 256); /* the free one is twice too large */
    assert_int_equal(again.buffer->bytes, SLAB / 4);
    pv_pool_release(f.pool, &again, 0);
    pv_pool_release(f.pool, &other, 0);
    pv_pool_trim(f.pool);
    assert_int_equal(stats_of(&f, PV_MEMORY_KV).slabs, 1);
    tear_down(&f);
}

static void reserve_makes_room_ahead(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    assert_int_equal(pv_pool_reserve(f.pool, PV_MEMORY_WEIGHTS, 10 * SLAB, NULL), PV_OK);
    assert_int_equal(f.device.allocs, 1);
    for (size_t i = 0; i < 40; i++) take(&f, PV_MEMORY_WEIGHTS, SLAB / 4, 256);
    assert_int_equal(f.device.allocs, 1);
    assert_int_equal(pv_pool_reserve(f.pool, PV_MEMORY_WEIGHTS, 16, NULL), PV_OK);
    assert_int_equal(f.device.allocs, 2);
    assert_int_equal(pv_pool_reserve(f.pool, PV_MEMORY_WEIGHTS, SLAB, NULL), PV_OK); /* there already */
    assert_int_equal(f.device.allocs, 2);
    tear_down(&f);
}

static void addresses_stay_while_slabs_come_and_go(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    pv_range range[100];
    const pv_buffer *buffers[100];
    uint8_t *hosts[100];
    for (size_t i = 0; i < 100; i++) {
        range[i] = take(&f, PV_MEMORY_KV, SLAB / 2, 64);
        buffers[i] = range[i].buffer;
        hosts[i] = range[i].buffer->host;
    }
    assert_int_equal(stats_of(&f, PV_MEMORY_KV).slabs, 50);
    for (size_t i = 0; i < 100; i++) {
        if (i % 4 < 2) pv_pool_release(f.pool, &range[i], 0);
    }
    pv_pool_trim(f.pool);
    assert_int_equal(stats_of(&f, PV_MEMORY_KV).slabs, 25);
    for (size_t i = 2; i < 100; i += 4) assert_true(buffers[i] == range[i].buffer && buffers[i]->host == hosts[i]);
    tear_down(&f);
}

/* ---- Fences ---------------------------------------------------------------------------------------------------------- */

static void a_range_waits_for_its_fence(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    pv_range a = take(&f, PV_MEMORY_SCRATCH, SLAB / 2, 256), b = take(&f, PV_MEMORY_SCRATCH, SLAB / 2, 256);
    pv_pool_release(f.pool, &a, 7);
    assert_int_equal(stats_of(&f, PV_MEMORY_SCRATCH).live, SLAB / 2);
    assert_int_equal(stats_of(&f, PV_MEMORY_SCRATCH).waiting, SLAB / 2);
    pv_pool_completed(f.pool, 6);
    pv_range c = take(&f, PV_MEMORY_SCRATCH, SLAB / 2, 256);
    assert_ptr_not_equal(c.buffer, a.buffer); /* fence 7 is out: a is not given again */
    pv_pool_completed(f.pool, 7);
    assert_int_equal(stats_of(&f, PV_MEMORY_SCRATCH).waiting, 0);
    pv_range d = take(&f, PV_MEMORY_SCRATCH, SLAB / 2, 256);
    assert_true(d.buffer == a.buffer && d.offset == a.offset);
    pv_pool_release(f.pool, &b, 3); /* a fence that is past: at once */
    assert_int_equal(stats_of(&f, PV_MEMORY_SCRATCH).waiting, 0);
    pv_pool_completed(f.pool, 2); /* completion does not go backwards */
    pv_pool_release(f.pool, &d, 7);
    assert_int_equal(stats_of(&f, PV_MEMORY_SCRATCH).waiting, 0);
    tear_down(&f);
}

static void a_range_that_is_not_live_is_left_alone(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    pv_range a = take(&f, PV_MEMORY_SCRATCH, 1024, 256), b = take(&f, PV_MEMORY_SCRATCH, 1024, 256), none = {0}, inside = b;
    inside.offset += 16;
    pv_pool_release(f.pool, &a, 0);
    pv_pool_release(f.pool, &a, 0);
    pv_pool_release(f.pool, &none, 0);
    pv_pool_release(f.pool, &inside, 0);
    assert_int_equal(stats_of(&f, PV_MEMORY_SCRATCH).live, 1024);
    pv_pool_release(f.pool, &b, 9);
    pv_pool_release(f.pool, &b, 0); /* still waits for 9 */
    assert_int_equal(stats_of(&f, PV_MEMORY_SCRATCH).waiting, 1024);
    tear_down(&f);
}

/* ---- Failures -------------------------------------------------------------------------------------------------------- */

static void bad_requests_are_refused(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    pv_range range = {.bytes = 99};
    pv_error error = {0};
    assert_int_equal(pv_pool_alloc(f.pool, PV_MEMORY_KV, 0, 64, &range, &error), PV_INVALID_ARGUMENT);
    assert_int_equal(pv_pool_alloc(f.pool, PV_MEMORY_KV, 64, 0, &range, &error), PV_INVALID_ARGUMENT);
    assert_int_equal(pv_pool_alloc(f.pool, PV_MEMORY_KV, 64, 48, &range, &error), PV_INVALID_ARGUMENT);
    assert_int_equal(pv_pool_alloc(f.pool, (pv_memory)4, 64, 64, &range, &error), PV_INVALID_ARGUMENT);
    assert_int_equal(pv_pool_alloc(f.pool, PV_MEMORY_KV, UINT64_MAX, 64, &range, &error), PV_DEVICE_OUT_OF_MEMORY);
    assert_int_equal(pv_pool_alloc(f.pool, PV_MEMORY_KV, UINT64_MAX - 4096, 64, &range, &error), PV_DEVICE_OUT_OF_MEMORY);
    assert_int_equal(pv_pool_reserve(f.pool, PV_MEMORY_KV, 0, &error), PV_INVALID_ARGUMENT);
    assert_int_equal(range.bytes, 99);
    assert_int_equal(stats_of(&f, PV_MEMORY_KV).held, 0);
    tear_down(&f);
}

static void the_largest_buffer_bounds_slabs_and_requests(void **state)
{
    (void)state;
    fixture f;
    rt_memory_init(&f.memory, 0);
    f.device = (rt_device){
        .base = {&rt_backend}, .description = {.id = "fake", .max_buffer = 10000}, .allocator = &f.memory.allocator};
    assert_int_equal(pv_pool_create(&f.memory.allocator, &f.device.base, 0, &f.pool, NULL), PV_OK);
    pv_range range;
    pv_error error = {0};
    assert_int_equal(take(&f, PV_MEMORY_KV, 100, 16).buffer->bytes, 10000);
    assert_int_equal(take(&f, PV_MEMORY_KV, 10000, 16).held, 10000); /* its tier would be 10240 */
    assert_int_equal(pv_pool_alloc(f.pool, PV_MEMORY_KV, 10001, 16, &range, &error), PV_DEVICE_OUT_OF_MEMORY);
    assert_non_null(strstr(error.message, "10001"));
    assert_non_null(strstr(error.message, "10000"));
    tear_down(&f);
}

static void a_full_device_gives_what_is_unused_and_what_is_needed(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    pv_range unused = take(&f, PV_MEMORY_KV, 1024, 64), range;
    pv_pool_release(f.pool, &unused, 0);
    f.device.fail_alloc_at = 2; /* no room for a usual slab */
    range = take(&f, PV_MEMORY_WEIGHTS, 1024, 64);
    assert_int_equal(range.buffer->bytes, 1024);
    assert_int_equal(stats_of(&f, PV_MEMORY_KV).slabs, 0);
    f.device.fail_alloc_at = f.device.allocs + 1; /* a large request, and nothing to give back: refused at once */
    pv_error error = {0};
    assert_int_equal(pv_pool_alloc(f.pool, PV_MEMORY_WEIGHTS, 10 * SLAB, 64, &range, &error), PV_DEVICE_OUT_OF_MEMORY);
    assert_int_equal(error.status, PV_DEVICE_OUT_OF_MEMORY);
    assert_int_equal(f.device.allocs, f.device.fail_alloc_at);
    assert_int_equal(stats_of(&f, PV_MEMORY_WEIGHTS).live, 1024);
    tear_down(&f);
}

static pv_status work(rt_memory *memory, rt_device *device, pv_error *error)
{
    pv_pool *pool = NULL;
    pv_status status = pv_pool_create(&memory->allocator, &device->base, 4096, &pool, error);
    if (status != PV_OK) return status;
    pv_range range[40];
    size_t count = 0;
    for (; count < 40 && status == PV_OK; count += status == PV_OK)
        status = pv_pool_alloc(pool, (pv_memory)(count % 2), 300 + 100 * count, 64, &range[count], error);
    for (size_t i = 0; i < count; i++) pv_pool_release(pool, &range[i], i % 3);
    pv_pool_completed(pool, 2);
    pv_pool_stats stats;
    pv_pool_get_stats(pool, &stats);
    for (unsigned i = 0; i < 4; i++)
        assert_true(stats.arena[i].live == 0 && stats.arena[i].rounded == 0 && stats.arena[i].waiting == 0);
    pv_pool_destroy(pool);
    return status;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    uint64_t n = 1, failed = 0;
    for (;; n++) {
        rt_memory memory, of_device;
        rt_memory_init(&memory, n);
        rt_memory_init(&of_device, 0);
        rt_device device = {.base = {&rt_backend}, .allocator = &of_device.allocator};
        pv_error error = {0};
        pv_status status = work(&memory, &device, &error);
        assert_int_equal(memory.live + of_device.live, 0);
        assert_int_equal(device.live_bytes, 0);
        if (status == PV_OK) break;
        assert_int_equal(status, PV_OUT_OF_MEMORY);
        failed++;
    }
    assert_true(failed > 10);
    for (n = 1;; n++) {
        rt_memory memory;
        rt_memory_init(&memory, 0);
        rt_device device = {.base = {&rt_backend}, .allocator = &memory.allocator, .fail_alloc_at = n};
        pv_error error = {0};
        pv_status status = work(&memory, &device, &error);
        assert_int_equal(memory.live, 0);
        if (status == PV_OK && device.allocs < n) break;
        assert_true(status == PV_OK || status == PV_DEVICE_OUT_OF_MEMORY); /* a slab of the bare need may still be had */
    }
    assert_true(n > 8);
}

/* ---- Against a shadow ------------------------------------------------------------------------------------------------ */

typedef struct shadow {
    pv_range range;
    pv_memory kind;
    pv_fence fence; /* of a waiting one */
    enum { NONE, LIVE, WAITING } state;
} shadow;

#define SHADOWS 300
static uint64_t random_state;
static uint64_t random_below(uint64_t bound)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (random_state >> 33) % bound;
}

static void compare_with_shadow(const fixture *f, const shadow *all)
{
    pv_pool_stats stats;
    pv_pool_get_stats(f->pool, &stats);
    uint64_t live[4] = {0}, rounded[4] = {0}, waiting[4] = {0}, held = 0;
    for (size_t i = 0; i < SHADOWS; i++) {
        if (all[i].state == LIVE) live[all[i].kind] += all[i].range.bytes, rounded[all[i].kind] += all[i].range.held;
        if (all[i].state == WAITING) waiting[all[i].kind] += all[i].range.held;
    }
    for (unsigned kind = 0; kind < 4; kind++) {
        assert_int_equal(stats.arena[kind].live, live[kind]);
        assert_int_equal(stats.arena[kind].rounded, rounded[kind]);
        assert_int_equal(stats.arena[kind].waiting, waiting[kind]);
        assert_true(stats.arena[kind].held >= rounded[kind] + waiting[kind]);
        held += stats.arena[kind].held;
    }
    assert_int_equal(held, f->device.live_bytes);
    assert_true(stats.peak >= held);
}

static void expect_apart(const shadow *all, size_t made)
{
    const pv_range *a = &all[made].range;
    for (size_t i = 0; i < SHADOWS; i++) {
        const pv_range *b = &all[i].range;
        if (i == made || all[i].state == NONE || a->buffer != b->buffer) continue;
        assert_true(a->offset + a->held <= b->offset || b->offset + b->held <= a->offset);
    }
}

static void ten_thousand_random_operations_match_a_shadow(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    static shadow all[SHADOWS];
    memset(all, 0, sizeof all);
    random_state = 4711;
    pv_fence submitted = 1, completed = 0;
    for (size_t i = 0; i < 10000; i++) {
        size_t at = (size_t)random_below(SHADOWS);
        if (all[at].state == NONE) {
            pv_memory kind = (pv_memory)random_below(4);
            uint64_t bytes = 1 + random_below(random_below(10) ? 5000 : 2 * SLAB);
            all[at] = (shadow){take(&f, kind, bytes, 1ull << random_below(13)), kind, 0, LIVE};
            expect_apart(all, at);
            memset(all[at].range.buffer->host + all[at].range.offset, (int)(at & 255), (size_t)bytes);
        } else if (all[at].state == LIVE) {
            const uint8_t *host = all[at].range.buffer->host + all[at].range.offset;
            for (uint64_t j = 0; j < all[at].range.bytes; j++) assert_int_equal(host[j], at & 255);
            pv_fence fence = random_below(2) ? submitted++ : 0;
            pv_pool_release(f.pool, &all[at].range, fence);
            all[at].state = fence > completed ? WAITING : NONE;
            all[at].fence = fence;
        } else if (random_below(4) == 0) {
            completed = all[at].fence;
            pv_pool_completed(f.pool, completed);
            for (size_t j = 0; j < SHADOWS; j++) {
                if (all[j].state == WAITING && all[j].fence <= completed) all[j].state = NONE;
            }
        }
        if (random_below(50) == 0) pv_pool_trim(f.pool);
        compare_with_shadow(&f, all);
    }
    for (size_t i = 0; i < SHADOWS; i++) {
        if (all[i].state == LIVE) pv_pool_release(f.pool, &all[i].range, 0);
    }
    pv_pool_completed(f.pool, submitted);
    pv_pool_trim(f.pool); /* everything was given back and coalesced: no slab remains */
    assert_int_equal(f.device.live_bytes, 0);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounding_wastes_less_than_a_sixteenth),
        cmocka_unit_test(neighbours_coalesce_in_every_order),
        cmocka_unit_test(the_tightest_hole_is_taken),
        cmocka_unit_test(alignment_leaves_its_gap_usable),
        cmocka_unit_test(arenas_are_apart),
        cmocka_unit_test(a_large_request_gets_a_slab_of_its_own_size),
        cmocka_unit_test(trim_returns_unused_slabs_only),
        cmocka_unit_test(large_ranges_are_kept_apart),
        cmocka_unit_test(reserve_makes_room_ahead),
        cmocka_unit_test(addresses_stay_while_slabs_come_and_go),
        cmocka_unit_test(a_range_waits_for_its_fence),
        cmocka_unit_test(a_range_that_is_not_live_is_left_alone),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(the_largest_buffer_bounds_slabs_and_requests),
        cmocka_unit_test(a_full_device_gives_what_is_unused_and_what_is_needed),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(ten_thousand_random_operations_match_a_shadow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
