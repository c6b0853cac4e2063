/* What a step costs the host, and how it is cut for the device: counts, held by budgets. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/metal/prepare.h"
#include "base/alloc.h"
#include "support_metal.h"

#define MESSAGES_PER_DISPATCH 8
#define SECONDS_PER_COMMAND_BUFFER 0.25

static softmetal_counts counted(void)
{
    softmetal_counts counts;
    softmetal_get_counts(&counts);
    return counts;
}

static void run_to(metal_bench *b, uint32_t step)
{
    metal_submit(b);
    for (uint32_t i = 1; i < step; i++) assert_int_equal(pv_engine_step(b->engine, 0, NULL, NULL), PV_OK);
}

static void a_decode_step_is_one_command_buffer_of_few_messages(void **state)
{
    (void)state;
    metal_bench b;
    metal_reset();
    assert_int_equal(metal_open(&b, &(metal_setting){0}, NULL), PV_OK);
    run_to(&b, METAL_DECODE_FIRST + 1); /* its plans are made */
    const uint64_t first_objects = counted().live_objects;
    for (uint32_t i = METAL_DECODE_FIRST + 1; i <= METAL_STEPS; i++) {
        const softmetal_counts before = counted();
        assert_int_equal(pv_engine_step(b.engine, 0, NULL, NULL), PV_OK);
        const softmetal_counts after = counted();
        const uint64_t dispatches = after.dispatches - before.dispatches, messages = after.messages - before.messages;
        assert_int_equal(after.command_buffers - before.command_buffers, 1);
        assert_int_equal(after.encoders - before.encoders, 1);
        assert_true(dispatches > 0 && messages <= MESSAGES_PER_DISPATCH * dispatches);
        assert_int_equal(after.buffers, before.buffers);      /* steps allocate nothing */
        assert_true(after.live_objects <= first_objects + 4); /* the last command buffer and its block may just be ending */
        if (i == METAL_STEPS) {
            print_message("%llu messages, %llu dispatches, %llu barriers a step\n", (unsigned long long)messages,
                          (unsigned long long)dispatches, (unsigned long long)(after.barriers - before.barriers));
        }
    }
    tiny_take_events(b.engine, NULL);
    metal_close(&b);
    metal_assert_no_leaks();
}

/* ---- Cuts ---- */

/* Seconds of an op on a device as described, if kernels reach two thirds of its bandwidth and a third of its operations. */
static double seconds_of(const pv_metal_traits *traits, const pv_op *op, uint32_t rows, uint32_t kv_length)
{
    const pv_cost cost = pv_op_cost(op, rows, kv_length);
    return 1.5 * cost.bytes / traits->bytes_per_second + 3 * cost.operations / traits->operations_per_second;
}

static double seconds_of_plan(const pv_metal_traits *traits, const pv_plan *plan, uint32_t rows, double *longest)
{
    double sum = 0;
    for (size_t i = 0; i < plan->count; i++) {
        const double seconds = seconds_of(traits, &plan->ops[i], rows, rows);
        if (seconds > *longest) *longest = seconds;
        sum += seconds;
    }
    return sum;
}

/* Makes the device so slow that a step of 32 prompt rows would take so many seconds; returns what its longest op does. */
static double slow_down(const metal_bench *b, double slowness)
{
    pv_class *class;
    double longest = 0;
    assert_int_equal(pv_placement_class(b->model->placement, 0, 32, 0, &class, NULL), PV_OK);
    pv_metal_traits *traits = &pv_metal_of(b->model->placement->device)->traits;
    const double seconds = seconds_of_plan(traits, &class->forward_plan, 32, &longest);
    traits->bytes_per_second *= seconds / slowness; /* the plan's bound is that of a full step, which this one is */
    traits->operations_per_second *= seconds / slowness;
    longest = 0;
    seconds_of_plan(traits, &class->forward_plan, 32, &longest);
    return longest;
}

/* The first step of a prompt, on a device so slow that it would take `slowness` seconds. */
static void check_cuts(double slowness, uint64_t least, uint64_t most)
{
    metal_bench b;
    tiny_result wanted[METAL_REQUESTS];
    metal_reset();
    assert_int_equal(metal_open(&b, &(metal_setting){0}, NULL), PV_OK);
    metal_submit(&b);
    metal_run(&b);
    memcpy(wanted, b.found, sizeof wanted);
    const double longest = slow_down(&b, slowness);
    metal_submit(&b);
    const softmetal_counts before = counted();
    assert_int_equal(pv_engine_step(b.engine, 0, NULL, NULL), PV_OK);
    const uint64_t buffers = counted().command_buffers - before.command_buffers;
    print_message("%.2f s of work, the longest op %.2f s: %llu command buffers\n", slowness, longest,
                  (unsigned long long)buffers);
    assert_true(longest < SECONDS_PER_COMMAND_BUFFER); /* so short an op is not cut */
    assert_true((double)buffers * SECONDS_PER_COMMAND_BUFFER >= slowness);
    assert_true(buffers >= least && buffers <= most);
    metal_run(&b);
    assert_true(metal_same(&b, wanted));
    metal_close(&b);
    metal_assert_no_leaks();
}

static void a_prompts_step_is_cut_by_what_its_ops_cost(void **state)
{
    (void)state;
    check_cuts(0.01, 1, 1);
    check_cuts(0.3, 2, 4);
    check_cuts(1.0, 5, 10);
}

static uint64_t buffers_of_first_step(metal_bench *b)
{
    metal_submit(b);
    const softmetal_counts before = counted();
    assert_int_equal(pv_engine_step(b->engine, 0, NULL, NULL), PV_OK);
    const uint64_t buffers = counted().command_buffers - before.command_buffers;
    metal_run(b);
    return buffers;
}

/* A step that the system ended, for running too long, would be ended again: it is cut shorter from then on. */
static void what_was_ended_is_cut_shorter(void **state)
{
    (void)state;
    metal_bench b;
    metal_reset();
    assert_int_equal(metal_open(&b, &(metal_setting){0}, NULL), PV_OK);
    slow_down(&b, 0.19);
    const pv_metal_device *device = pv_metal_of(b.model->placement->device);
    assert_int_equal(buffers_of_first_step(&b), 1);
    softmetal_inject(&(softmetal_fault){
        .kind = SOFTMETAL_FAULT_COMMAND_BUFFER,
        .code = 1,
        .description = "Impacting Interactivity (0000000e:kIOGPUCommandBufferCallbackErrorImpactingInteractivity)"});
    buffers_of_first_step(&b);
    assert_int_equal(b.faults, 1);
    assert_true(device->cut_seconds == PV_METAL_CUT_SECONDS / 2);
    const uint64_t buffers = buffers_of_first_step(&b);
    assert_true(buffers >= 2 && buffers <= 4);
    metal_close(&b);
    metal_assert_no_leaks();
}

/* A submission of many command buffers gives the status of the first that failed. */
static void a_failure_in_the_middle_of_a_cut_step_is_seen(void **state)
{
    (void)state;
    metal_bench b;
    tiny_result wanted[METAL_REQUESTS];
    metal_reset();
    assert_int_equal(metal_open(&b, &(metal_setting){0}, NULL), PV_OK);
    metal_submit(&b);
    metal_run(&b);
    memcpy(wanted, b.found, sizeof wanted);
    pv_metal_of(b.model->placement->device)->traits.bytes_per_second = 1; /* every op is a command buffer */
    metal_submit(&b);
    softmetal_inject(&(softmetal_fault){.kind = SOFTMETAL_FAULT_COMMAND_BUFFER, .nth = 5, .code = 2});
    softmetal_inject(&(softmetal_fault){.kind = SOFTMETAL_FAULT_COMMAND_BUFFER, .nth = 6, .code = 4});
    metal_run(&b);
    assert_int_equal(b.faults, 1);
    assert_int_equal(softmetal_faults_fired(), 2);
    assert_false(pv_metal_of(b.model->placement->device)->removed); /* the time-out counts, what followed does not */
    assert_true(metal_same(&b, wanted));
    metal_close(&b);
    metal_assert_no_leaks();
}

/* ---- Ops that are too long by themselves ---- */

#define LONG_ROWS 2048
#define LONG_CONTEXT 131072

/* A device as described, and one buffer that stands for every tensor: nothing runs, since every command buffer fails. */
typedef struct small_chip {
    pv_allocator allocator;
    pv_environment environment;
    pv_backend_device *base;
    pv_buffer memory, block;
    pv_step_limits limits;
} small_chip;

static void open_chip(small_chip *c)
{
    const softmetal_world m1 = {.keep_open = true, .apple_family = 7};
    softmetal_reset();
    softmetal_set_world(&m1);
    *c = (small_chip){.allocator = pv_allocator_default()};
    c->environment = (pv_environment){.allocator = &c->allocator, .metal_library = test_metal_library()};
    c->limits = (pv_step_limits){.rows = LONG_ROWS,
                                 .seqs = 1,
                                 .logits = LONG_ROWS,
                                 .patches = 1,
                                 .biases = 1,
                                 .slots = 2,
                                 .context = LONG_CONTEXT};
    const pv_step_layout layout = pv_step_layout_for(&c->limits);
    assert_int_equal(pv_metal_backend.open(&pv_metal_backend, &c->environment, "metal:0", false, &c->base, NULL), PV_OK);
    assert_int_equal(pv_metal_alloc(c->base, PV_MEMORY_SCRATCH, 4096, &c->memory, NULL), PV_OK);
    assert_int_equal(pv_metal_alloc(c->base, PV_MEMORY_STEP, layout.bytes, &c->block, NULL), PV_OK);
    const pv_metal_traits *traits = &pv_metal_of(c->base)->traits;
    assert_true(traits->bytes_per_second == 68e9 && traits->operations_per_second == 2600e9); /* an M1 with 8 cores */
    softmetal_inject(&(softmetal_fault){.kind = SOFTMETAL_FAULT_COMMAND_BUFFER, .count = UINT64_MAX});
}

static void close_chip(small_chip *c)
{
    softmetal_inject(NULL);
    pv_metal_free(c->base, &c->memory);
    pv_metal_free(c->base, &c->block);
    pv_metal_backend.close(c->base);
    metal_assert_no_leaks();
    metal_reset();
}

static pv_tensor tensor_of(small_chip *c, pv_extent extent, pv_layout layout, uint32_t rows, uint32_t cols)
{
    pv_tensor tensor = {.buffer = &c->memory, .extent = extent, .layout = layout, .rows = rows, .cols = cols};
    assert_true(pv_layout_row_bytes(layout, cols, &tensor.row_bytes));
    return tensor;
}

static pv_tensor activation_of(small_chip *c, uint32_t cols)
{
    return tensor_of(c, PV_EXTENT_ROWS, PV_LAYOUT_F32, LONG_ROWS, cols);
}

static pv_op long_linear(small_chip *c, uint32_t cols, uint32_t outs, bool glu)
{
    pv_op op = {.kind = PV_OP_linear, .linear = {.x = activation_of(c, cols), .part_count = glu ? 2 : 1}};
    op.linear.glu = glu ? PV_ACTIVATION_SILU : PV_ACTIVATION_NONE;
    for (uint32_t p = 0; p < op.linear.part_count; p++)
        op.linear.parts[p].weight = tensor_of(c, PV_EXTENT_FIXED, PV_LAYOUT_Q4_0, outs, cols);
    op.linear.parts[0].out = activation_of(c, outs);
    return op;
}

/* Logits of every row of a prompt. */
static pv_op long_logits(small_chip *c)
{
    pv_op op = long_linear(c, 4096, 128256, false);
    op.linear.x.extent = op.linear.parts[0].out.extent = PV_EXTENT_LOGITS;
    return op;
}

static pv_op long_attention(small_chip *c)
{
    const uint32_t heads = 32, kv_heads = 8, head_dim = 128;
    pv_kv_view cache = {.kv_heads = kv_heads, .head_dim = head_dim, .type = PV_KV_F16};
    cache.page_bytes = 2ull * kv_heads * PV_PAGE_TOKENS * head_dim * 2;
    cache.pages = tensor_of(c, PV_EXTENT_FIXED, PV_LAYOUT_F16, 1, 1024);
    cache.table = tensor_of(c, PV_EXTENT_FIXED, PV_LAYOUT_F32, 2, LONG_CONTEXT / PV_PAGE_TOKENS);
    pv_op op = {.kind = PV_OP_attention, .attention = {.cache = cache, .heads = heads, .scale = 0.1f}};
    op.attention.q = op.attention.out = activation_of(c, heads * head_dim);
    return op;
}

static pv_op long_experts(small_chip *c)
{
    const uint32_t experts = 128, used = 8, cols = 4096, outs = 1536;
    pv_op op = {.kind = PV_OP_moe_linear,
                .moe_linear = {.experts = experts, .used = used, .part_count = 2, .glu = PV_ACTIVATION_SILU}};
    op.moe_linear.x = activation_of(c, cols);
    op.moe_linear.order = activation_of(c, used);
    op.moe_linear.offsets = activation_of(c, experts + 1);
    for (uint32_t p = 0; p < 2; p++)
        op.moe_linear.parts[p].weight = tensor_of(c, PV_EXTENT_FIXED, PV_LAYOUT_Q4_0, experts * outs, cols);
    op.moe_linear.parts[0].out = activation_of(c, used * outs);
    return op;
}

static void write_long_step(small_chip *c)
{
    const pv_step_layout layout = pv_step_layout_for(&c->limits);
    const pv_tensor block = {.buffer = &c->block, .rows = 1};
    const pv_step_view step = pv_step_view_of(pv_tensor_host(&block), &layout);
    *step.counts = (pv_step_counts){
        .rows = LONG_ROWS, .seqs = 1, .tiles = LONG_ROWS / PV_TILE_ROWS, .logits = LONG_ROWS};
    step.seqs[0] = (pv_step_seq){.slot = 1, .rows = LONG_ROWS, .kv_length = LONG_CONTEXT};
}

/* Command buffers of a step of these ops. */
static uint64_t buffers_of_ops(small_chip *c, pv_op *ops, size_t count)
{
    const pv_plan plan = {
        .allocator = &c->allocator, .ops = ops, .count = count, .limits = c->limits, .rows = LONG_ROWS, .logits = LONG_ROWS};
    pv_prepared *prepared = NULL;
    pv_error error = {0};
    pv_fence fence;
    if (pv_metal_prepare(c->base, &plan, &prepared, &error) != PV_OK) fail_msg("%s", error.message);
    const pv_tensor block = {.buffer = &c->block, .rows = 1};
    const pv_submission submission = {.plans = &prepared, .plan_count = 1, .block = block, .outputs = block};
    const softmetal_counts before = counted();
    pv_metal_of(c->base)->cut_seconds = PV_METAL_CUT_SECONDS; /* what fails is cut shorter the next time */
    assert_int_equal(pv_metal_submit(c->base, &submission, &fence, NULL), PV_OK);
    const uint64_t buffers = counted().command_buffers - before.command_buffers;
    assert_int_equal(pv_metal_wait(c->base, fence, UINT32_MAX, NULL), PV_DEVICE_TRANSIENT);
    pv_metal_release(c->base, prepared);
    return buffers;
}

/* On the smallest chip, a single op of 2048 rows of a large model: so many pieces, of equal numbers of tiles, that the largest
 * is short enough by what its rows cost. */
static void an_op_that_is_too_long_is_cut_itself(void **state)
{
    (void)state;
    small_chip c;
    open_chip(&c);
    write_long_step(&c);
    pv_op ops[] = {long_linear(&c, 4096, 14336, true), long_logits(&c), long_attention(&c), long_experts(&c)};
    const double tiles[] = {LONG_ROWS / 32, LONG_ROWS / 32, LONG_ROWS / PV_TILE_ROWS, LONG_ROWS * 8 / 32 + 128};
    const double tile_rows[] = {32, 32, PV_TILE_ROWS, 32 / 8};
    const pv_metal_device *device = pv_metal_of(c.base);
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        const double whole = seconds_of(&device->traits, &ops[i], LONG_ROWS, LONG_CONTEXT);
        const uint64_t buffers = buffers_of_ops(&c, &ops[i], 1);
        const double largest = tile_rows[i] * ceil(tiles[i] / (double)buffers);
        const double seconds = seconds_of(&device->traits, &ops[i], (uint32_t)largest, LONG_CONTEXT);
        print_message("%s of %d rows, %.2f s: %llu command buffers of at most %.3f s\n", pv_op_name(ops[i].kind), LONG_ROWS,
                      whole, (unsigned long long)buffers, seconds);
        assert_true(whole > SECONDS_PER_COMMAND_BUFFER && buffers > 1);
        assert_true(seconds <= SECONDS_PER_COMMAND_BUFFER);
        assert_true(device->longest_seconds <= SECONDS_PER_COMMAND_BUFFER); /* by the backend's own reckoning */
    }
    close_chip(&c);
}

/* Short ops and long ones in turn: no command buffer has more than its time. */
static void a_plan_of_long_ops_is_cut_between_them_and_in_them(void **state)
{
    (void)state;
    small_chip c;
    open_chip(&c);
    write_long_step(&c);
    pv_op ops[] = {long_linear(&c, 4096, 1024, false), long_linear(&c, 4096, 14336, true), long_linear(&c, 4096, 1024, false),
                   long_attention(&c), long_linear(&c, 4096, 4096, false)};
    const pv_metal_device *device = pv_metal_of(c.base);
    double whole = 0;
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        whole += seconds_of(&device->traits, &ops[i], LONG_ROWS, LONG_CONTEXT);
    const uint64_t buffers = buffers_of_ops(&c, ops, sizeof ops / sizeof ops[0]);
    print_message("%.2f s: %llu command buffers of at most %.3f s\n", whole, (unsigned long long)buffers,
                  device->longest_seconds);
    assert_true((double)buffers * SECONDS_PER_COMMAND_BUFFER >= whole);
    assert_true((double)buffers * PV_METAL_CUT_SECONDS / 2 <= whole); /* nor are they cut to crumbs */
    assert_true(device->longest_seconds <= SECONDS_PER_COMMAND_BUFFER && device->longest_seconds > 0.1);
    close_chip(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_decode_step_is_one_command_buffer_of_few_messages),
        cmocka_unit_test(a_prompts_step_is_cut_by_what_its_ops_cost),
        cmocka_unit_test(what_was_ended_is_cut_shorter),
        cmocka_unit_test(a_failure_in_the_middle_of_a_cut_step_is_seen),
        cmocka_unit_test(an_op_that_is_too_long_is_cut_itself),
        cmocka_unit_test(a_plan_of_long_ops_is_cut_between_them_and_in_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
