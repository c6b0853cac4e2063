/* Encodes a decode step some times, for who counts instructions: tests/metal/test_encoding.py. Nothing runs, since the driver
 * is told to fail every command buffer. Prints how many dispatches a step has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/metal/prepare.h"
#include "support_metal.h"

#define STEPS 10

static void encode(void **state)
{
    (void)state;
    metal_bench b;
    pv_class *class;
    pv_fence fence;
    metal_reset();
    assert_int_equal(metal_open(&b, &(metal_setting){0}, NULL), PV_OK);
    const pv_placement *p = b.model->placement;
    assert_int_equal(pv_placement_class(b.model->placement, 1, 0, 1, &class, NULL), PV_OK);
    memset(pv_tensor_host(&p->block[0]), 0, p->step.bytes);
    *pv_step_view_of(pv_tensor_host(&p->block[0]), &p->step).counts =
        (pv_step_counts){.rows = 1, .decode_rows = 1, .seqs = 1, .logits = 1, .tiles = 1};
    const pv_submission submission = {
        .plans = class->prepared, .plan_count = 2, .block = p->block[0], .outputs = p->outputs[0]};
    softmetal_inject(&(softmetal_fault){.kind = SOFTMETAL_FAULT_COMMAND_BUFFER, .count = UINT64_MAX});
    for (int i = 0; i < STEPS; i++) {
        assert_int_equal(pv_metal_submit(p->device, &submission, &fence, NULL), PV_OK);
        assert_int_equal(pv_metal_wait(p->device, fence, UINT32_MAX, NULL), PV_DEVICE_TRANSIENT);
    }
    size_t records = 0;
    for (size_t i = 0; i < 2; i++) records += ((const struct pv_prepared *)class->prepared[i])->count;
    printf("# steps %d records %zu\n", STEPS, records);
    metal_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(encode)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
