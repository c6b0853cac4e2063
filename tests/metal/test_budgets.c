/* What a step costs the host, and how it is cut for the device: counts, held by budgets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/metal/prepare.h"
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
    assert_true(longest < SECONDS_PER_COMMAND_BUFFER); /* what is one op cannot be cut */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_decode_step_is_one_command_buffer_of_few_messages),
        cmocka_unit_test(a_prompts_step_is_cut_by_what_its_ops_cost),
        cmocka_unit_test(what_was_ended_is_cut_shorter),
        cmocka_unit_test(a_failure_in_the_middle_of_a_cut_step_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
