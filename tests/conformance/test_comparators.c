/* That the suite can fail: its comparisons and its watch over memory notice what they are there for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support_rig.h"

static size_t differ(float found, double value, double bound)
{
    double worst = 0;
    return compare_values(&found, &(ref_value){value, bound}, 1, &worst);
}

static void values_agree_within_their_bound_only(void **state)
{
    (void)state;
    assert_int_equal(differ(1, 1, 0), 0);
    assert_int_equal(differ(1.0009f, 1, 1e-3), 0);
    assert_int_equal(differ(1.0011f, 1, 1e-3), 1);
    assert_int_equal(differ(0.9989f, 1, 1e-3), 1);
    assert_int_equal(differ(-1, 1, 1e-3), 1);
    assert_int_equal(differ(0, 1e-20, 0), 1);
    assert_int_equal(differ(0.1f, 0.1, 0), 0); /* the nearest f32 */
    assert_int_equal(differ(nextafterf(0.1f, 1), 0.1, 0), 1);
    assert_int_equal(differ(nextafterf(1, 2), 1, 0), 1);
    assert_int_equal(differ(0, 0, 0), 0);
    assert_int_equal(differ(INFINITY, 1, 1e30), 1);
    assert_int_equal(differ(3e38f, INFINITY, 0), 1);
}

static void nan_is_wanted_or_it_is_not(void **state)
{
    (void)state;
    assert_int_equal(differ(NAN, NAN, 0), 0);
    assert_int_equal(differ(NAN, 1, 1e30), 1); /* poison that was left standing */
    assert_int_equal(differ(1, NAN, 0), 1);
    assert_int_equal(differ(INFINITY, NAN, 0), 1);
    uint32_t poison = 0xFFFFFFFF;
    float cell;
    memcpy(&cell, &poison, 4);
    assert_int_equal(differ(cell, 0, INFINITY), 1);
}

static void every_value_counts(void **state)
{
    (void)state;
    float found[100];
    ref_value wanted[100];
    for (int at = 0; at < 100; at++) {
        double worst = 0;
        for (int i = 0; i < 100; i++) found[i] = (float)i, wanted[i] = (ref_value){i, 1e-6};
        assert_int_equal(compare_values(found, wanted, 100, &worst), 0);
        found[at] += 0.5f;
        assert_int_equal(compare_values(found, wanted, 100, &worst), 1);
        assert_true(worst > 1);
    }
}

static rig shared;

static void failures_are_counted(void **state)
{
    (void)state;
    assert_true(rig_open(&shared, &pv_cpu_backend, "generic", 1, false));
    shared.quiet = true;
    float found[2] = {1, 2};
    const ref_value good[2] = {{1, 0}, {2, 0}}, bad[2] = {{1, 0}, {3, 0}};
    rig_expect_values(&shared, "", found, good, 2);
    rig_expect_bytes(&shared, "", "abc", "abc", 3);
    rig_expect(&shared, "", true);
    assert_int_equal(shared.failures, 0);
    assert_int_equal(shared.compared, 6);
    rig_expect_values(&shared, "", found, bad, 2);
    rig_expect_bytes(&shared, "", "abc", "abd", 3);
    rig_expect(&shared, "", false);
    assert_int_equal(shared.failures, 3);
    rig_close(&shared);
}

/* An op that writes where nobody allowed it: here the test itself keeps the permission back. */
static void writes_elsewhere_are_noticed(void **state)
{
    (void)state;
    assert_true(rig_open(&shared, &pv_cpu_backend, "generic", 1, false));
    shared.quiet = true;
    const rig_sequence sequence = {1, 0, 4, NULL};
    rig_step(&shared, &sequence, 1);
    float values[4 * 8];
    for (int i = 0; i < 32; i++) values[i] = (float)i;
    pv_op op = {.kind = PV_OP_glu, .glu = {.activation = PV_ACTIVATION_SILU}};
    op.glu.gate = rig_input(&shared, PV_EXTENT_ROWS, 8, values);
    op.glu.up = rig_input(&shared, PV_EXTENT_ROWS, 8, values);
    op.glu.out = rig_activation(&shared, PV_EXTENT_ROWS, 8);
    rig_may_write_rows(&shared, &op.glu.out);
    rig_run(&shared, &op, 1);
    assert_int_equal(shared.failures, 0);
    op.glu.out = rig_activation(&shared, PV_EXTENT_ROWS, 8);
    rig_may_write(&shared, &op.glu.out, 0, 4 * 8 * 4 - 4); /* all but the last value */
    rig_run(&shared, &op, 1);
    assert_int_equal(shared.failures, 1);
    rig_close(&shared);
}

/* The reference's own f16: every number there is, and the edges between them. */
static void f16_of_the_reference(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 0x7C00; bits++) {
        double here = ref_f16((uint16_t)bits), next = bits == 0x7BFF ? 65536 : ref_f16((uint16_t)(bits + 1)),
               middle = (here + next) / 2;
        assert_int_equal(ref_to_f16(here), bits);
        assert_int_equal(ref_to_f16(-here), bits | 0x8000);
        assert_int_equal(ref_to_f16(middle), bits + (bits & 1)); /* ties to even */
        assert_int_equal(ref_to_f16(nextafter(middle, 0)), bits);
        assert_int_equal(ref_to_f16(nextafter(middle, 1e9)), bits + 1);
    }
    assert_true(ref_f16(0x3C00) == 1 && ref_f16(0xC000) == -2 && ref_f16(0x0001) == ldexp(1, -24) && ref_f16(0x7BFF) == 65504);
    assert_true(isinf(ref_f16(0x7C00)) && isnan(ref_f16(0x7C01)) && isnan(ref_f16(ref_to_f16(NAN))));
}

/* Blocks whose weights can be told by hand. */
static void decoders_of_the_reference(void **state)
{
    (void)state;
    double value[256], mass[256];
    uint8_t block[256] = {0};
    block[1] = 0x3C; /* d = 1 */
    for (int i = 0; i < 16; i++) block[2 + i] = (uint8_t)(i | (15 - i) << 4);
    ref_decode(PV_LAYOUT_Q4_0, block, 32, value, mass);
    for (int i = 0; i < 16; i++) assert_true(value[i] == i - 8 && value[16 + i] == 7 - i && mass[i] == abs(i - 8));
    memset(block, 0, sizeof block);
    block[1] = 0x40, block[3] = 0xBC; /* d = 2, m = -1 */
    for (int i = 0; i < 16; i++) block[4 + i] = (uint8_t)(i | 3 << 4);
    ref_decode(PV_LAYOUT_Q4_1, block, 32, value, mass);
    for (int i = 0; i < 16; i++) assert_true(value[i] == 2 * i - 1 && value[16 + i] == 5 && mass[i] == 2 * i + 1);
    block[1] = 0x38; /* d = 0.5 */
    for (int i = 0; i < 32; i++) block[2 + i] = (uint8_t)(i * 8);
    ref_decode(PV_LAYOUT_Q8_0, block, 32, value, mass);
    for (int i = 0; i < 32; i++) assert_true(value[i] == (i < 16 ? i * 4 : i * 4 - 128));
    memset(block, 0, sizeof block);
    block[1] = 0x3C, block[3] = 0x3C;     /* d = dmin = 1 */
    block[4] = 5, block[8] = 2;           /* group 0: scale 5, minimum 2 */
    block[5] = 0x40 | 3, block[9] = 0xC0; /* group 1: scale 3, minimum 0; the top bits belong to group 5 */
    block[13] = 0x21;                     /* group 5: low bits of scale 1, of minimum 2 */
    for (int i = 0; i < 32; i++) block[16 + i] = 0x97, block[16 + 64 + i] = 0x60;
    ref_decode(PV_LAYOUT_Q4_K, block, 256, value, mass);
    assert_true(value[0] == 5 * 7 - 2 && value[31] == 33 && mass[0] == 37);
    assert_true(value[32] == 3 * 9 && value[63] == 27);
    assert_true(value[160] == 17 * 6 - 50 && mass[160] == 152);
    assert_true(value[64] == 0 && value[255] == 0);
    memset(block, 0, sizeof block);
    block[209] = 0x3C;
    for (int i = 0; i < 16; i++) block[192 + i] = (uint8_t)(i - 8);
    block[0] = 0x21, block[128] = 0xE4;            /* weight 0: 1 + 0 × 16; weight 64: 2 + 2 × 16 */
    block[32] = 0x43;                              /* weight 32: 3 + 1 × 16; weight 96: 4 + 3 × 16 */
    block[64 + 31] = 0xF0, block[160 + 31] = 0x10; /* weight 159: 0; weight 223: 15 + 1 × 16 */
    ref_decode(PV_LAYOUT_Q6_K, block, 256, value, mass);
    assert_true(value[0] == -8 * (1 - 32) && value[64] == -4 * (34 - 32) && value[32] == -6 * (19 - 32) &&
                value[96] == -2 * (52 - 32));
    assert_true(value[159] == 1 * -32 && value[223] == 5 * (31 - 32));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_agree_within_their_bound_only),
        cmocka_unit_test(nan_is_wanted_or_it_is_not),
        cmocka_unit_test(every_value_counts),
        cmocka_unit_test(failures_are_counted),
        cmocka_unit_test(writes_elsewhere_are_noticed),
        cmocka_unit_test(f16_of_the_reference),
        cmocka_unit_test(decoders_of_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
