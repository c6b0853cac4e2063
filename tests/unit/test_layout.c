/* Layouts against the reference package (data/layouts.safetensors, made by make_layouts.py), element for element. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "format/source.h"
#include "support/layouts.h"

static pv_allocator allocator;
static pv_source *fixture;

static int open_fixture(void **state)
{
    (void)state;
    allocator = pv_allocator_default();
    return pv_source_open(&allocator, PV_TEST_DATA "/unit/data/layouts.safetensors", PV_LOAD_COPY, &fixture, NULL) != PV_OK;
}

static int close_fixture(void **state)
{
    (void)state;
    pv_source_close(fixture);
    return 0;
}

/* The bytes of "LAYOUT.part", or of "part" if layout is ""; NULL if the fixture has none. */
static void *read_part(const char *layout, const char *part, size_t *bytes)
{
    char name[64];
    snprintf(name, sizeof name, "%s%s%s", layout, *layout ? "." : "", part);
    const pv_source_tensor *tensor = pv_source_find(fixture, name);
    if (!tensor) return NULL;
    void *data = malloc((size_t)tensor->bytes);
    assert_int_equal(pv_source_read_rows(fixture, tensor, 0, tensor->rows, data, NULL), PV_OK);
    *bytes = (size_t)tensor->bytes;
    return data;
}

static void the_table_says_what_gguf_says(void **state)
{
    static const struct {
        const char *name;
        uint32_t block, bytes, number;
    } wanted[] = {{"F32", 1, 4, 0},    {"F16", 1, 2, 1},    {"BF16", 1, 2, 30},     {"Q4_0", 32, 18, 2},
                  {"Q4_1", 32, 20, 3}, {"Q8_0", 32, 34, 8}, {"Q4_K", 256, 144, 12}, {"Q6_K", 256, 210, 14},
                  {"Q5_0", 32, 22, 6}, {"Q5_1", 32, 24, 7}, {"Q2_K", 256, 84, 10},  {"Q3_K", 256, 110, 11},
                  {"Q5_K", 256, 176, 13}, {"IQ4_NL", 32, 18, 20}, {"IQ4_XS", 256, 136, 23}, {"MXFP4", 32, 17, 39}};
    (void)state;
    assert_int_equal(sizeof wanted / sizeof *wanted, GGUF_LAYOUTS);
    for (int i = 0; i < GGUF_LAYOUTS; i++) {
        pv_layout layout = pv_layout_find(wanted[i].name);
        assert_true(layout < PV_LAYOUT_COUNT);
        const pv_layout_info *info = pv_layout_get(layout);
        assert_string_equal(info->name, wanted[i].name);
        assert_int_equal(info->block, wanted[i].block);
        assert_int_equal(info->block_bytes, wanted[i].bytes);
        assert_int_equal(info->gguf_type, wanted[i].number);
    }
    assert_int_equal(pv_layout_find("TQ1_0"), PV_LAYOUT_COUNT);
    assert_int_equal(pv_layout_find(""), PV_LAYOUT_COUNT);
    assert_int_equal(pv_layout_find("f32"), PV_LAYOUT_COUNT);
}

static void affine_layouts_are_named_by_what_they_are(void **state)
{
    static const struct {
        const char *name;
        pv_layout type;
        uint32_t bytes;
    } types[] = {{"F16", PV_LAYOUT_F16, 2}, {"BF16", PV_LAYOUT_BF16, 2}, {"F32", PV_LAYOUT_F32, 4}};
    int count = 0;
    (void)state;
    for (uint32_t bits = 0; bits <= 9; bits++) {
        for (uint32_t group = 16; group <= 256; group *= 2) {
            for (int t = 0; t < 3; t++) {
                char name[32];
                const pv_layout layout = pv_layout_of_affine((pv_affine){bits, group, types[t].type});
                const bool known = bits >= 2 && bits != 7 && bits <= 8 && group >= 32 && group <= 128;
                assert_int_equal(layout != PV_LAYOUT_COUNT, known);
                if (!known) continue;
                pv_affine affine;
                snprintf(name, sizeof name, "AFFINE%u_G%u_%s", bits, group, types[t].name);
                assert_string_equal(pv_layout_get(layout)->name, name);
                assert_int_equal(pv_layout_get(layout)->block, group);
                assert_int_equal(pv_layout_get(layout)->block_bytes, 2 * types[t].bytes + group * bits / 8);
                assert_true(pv_layout_affine(layout, &affine) && affine.bits == bits && affine.group == group && affine.type == types[t].type);
                count++;
            }
        }
    }
    assert_int_equal(count, 54);
    assert_false(pv_layout_affine(PV_LAYOUT_MXFP4, &(pv_affine){0}));
    assert_false(pv_layout_affine(PV_LAYOUT_F8, &(pv_affine){0}));
}

static void rows_are_whole_blocks(void **state)
{
    uint64_t bytes = 0;
    (void)state;
    assert_true(pv_layout_row_bytes(PV_LAYOUT_Q4_K, 1024, &bytes) && bytes == 576);
    assert_true(pv_layout_row_bytes(PV_LAYOUT_Q8_0, 0, &bytes) && bytes == 0);
    assert_true(pv_layout_row_bytes(PV_LAYOUT_BF16, 7, &bytes) && bytes == 14);
    assert_false(pv_layout_row_bytes(PV_LAYOUT_Q6_K, 255, &bytes));
    assert_false(pv_layout_row_bytes(PV_LAYOUT_Q4_0, 16, &bytes));
    assert_false(pv_layout_row_bytes(PV_LAYOUT_F32, UINT64_MAX / 2, &bytes));
    assert_true(pv_layout_row_bytes(PV_LAYOUT_Q4_0, UINT64_MAX - 31, &bytes)); /* fewer bytes than weights */
}

static void decoding_is_the_reference_s(void **state)
{
    (void)state;
    for (unsigned i = 0; i < GGUF_LAYOUTS; i++) {
        const pv_layout_info *info = pv_layout_get((pv_layout)i);
        size_t row_bytes, value_bytes;
        uint8_t *rows = read_part(info->name, "rows", &row_bytes);
        float *values = read_part(info->name, "values", &value_bytes);
        assert_non_null(rows);
        assert_non_null(values);
        size_t count = row_bytes / info->block_bytes * info->block;
        assert_int_equal(value_bytes, count * sizeof(float));
        float *decoded = malloc(value_bytes);
        pv_layout_decode((pv_layout)i, rows, count, decoded);
        for (size_t w = 0; w < count; w++)
            if (memcmp(&decoded[w], &values[w], sizeof *values) != 0)
                fail_msg("%s: weight %zu is %a, wanted %a", info->name, w, (double)decoded[w], (double)values[w]);
        free(decoded);
        free(values);
        free(rows);
    }
}

static void encoding_is_the_reference_s_where_it_has_one(void **state)
{
    size_t value_bytes, compared = 0;
    float *values = read_part("", "values", &value_bytes);
    size_t count = value_bytes / sizeof *values;
    (void)state;
    for (unsigned i = 0; i < PV_LAYOUT_COUNT; i++) {
        const pv_layout_info *info = pv_layout_get((pv_layout)i);
        size_t bytes;
        uint8_t *wanted = read_part(info->name, "encoded", &bytes);
        if (!wanted) continue;
        assert_int_equal(bytes, count / info->block * info->block_bytes);
        uint8_t *encoded = malloc(bytes);
        pv_layout_encode((pv_layout)i, values, count, encoded);
        for (size_t b = 0; b < bytes; b++)
            if (encoded[b] != wanted[b]) fail_msg("%s: byte %zu is %02x, wanted %02x", info->name, b, encoded[b], wanted[b]);
        free(encoded);
        free(wanted);
        compared++;
    }
    assert_int_equal(compared, 9); /* all but those of 256 weights and IQ4_NL */
    free(values);
}

/* A generator of its own, so that the weights do not come from what is tested: xorshift32. */
static float next_value(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return (float)(int32_t)*seed * 0x1p-31f;
}

/* Steps are rounded to multiples of d and bases to multiples of dmin, so both are off by at most half of that; a weight is off
 * by half of the step used, or, where its 15 steps end before the range does, by what 15 half d and half dmin leave out. */
static void q4_k_keeps_every_weight_within_its_steps(void **state)
{
    uint32_t seed = 12345;
    (void)state;
    for (int block = 0; block < 400; block++) {
        float in[256], out[256];
        uint8_t bytes[144];
        for (int i = 0; i < 256; i++) in[i] = next_value(&seed) * (1 + (float)(i / 32)) + (block % 3 == 0 ? 0.5f : 0);
        pv_layout_encode(PV_LAYOUT_Q4_K, in, 256, bytes);
        pv_layout_decode(PV_LAYOUT_Q4_K, bytes, 256, out);
        float d = pv_f16_to_f32((uint16_t)(bytes[0] | bytes[1] << 8)),
              dmin = pv_f16_to_f32((uint16_t)(bytes[2] | bytes[3] << 8));
        for (int sub = 0; sub < 8; sub++) {
            float min = 0, max = in[sub * 32];
            for (int i = sub * 32; i < sub * 32 + 32; i++) {
                min = fminf(min, in[i]);
                max = fmaxf(max, in[i]);
            }
            float bound = fmaxf((max - min) / 30 + d / 4, 7.5f * d + dmin / 2) * 1.0001f;
            for (int i = sub * 32; i < sub * 32 + 32; i++)
                if (!(fabsf(in[i] - out[i]) <= bound))
                    fail_msg("weight %d: %g from %g, bound %g", i, (double)out[i], (double)in[i], (double)bound);
        }
    }
}

/* As above: the step used is off by at most d / 2; the extreme of the other sign may need 32 steps where there are 31. */
static void q6_k_keeps_every_weight_within_its_steps(void **state)
{
    uint32_t seed = 54321;
    (void)state;
    for (int block = 0; block < 400; block++) {
        float in[256], out[256];
        uint8_t bytes[210];
        for (int i = 0; i < 256; i++) in[i] = next_value(&seed) * (1 + (float)(i / 16 % 5));
        pv_layout_encode(PV_LAYOUT_Q6_K, in, 256, bytes);
        pv_layout_decode(PV_LAYOUT_Q6_K, bytes, 256, out);
        float d = pv_f16_to_f32((uint16_t)(bytes[208] | bytes[209] << 8));
        for (int sub = 0; sub < 16; sub++) {
            float extreme = 0;
            for (int i = sub * 16; i < sub * 16 + 16; i++) extreme = fmaxf(extreme, fabsf(in[i]));
            for (int i = sub * 16; i < sub * 16 + 16; i++) {
                float step = extreme / 32, bound = fmaxf(step / 2 + d / 4, fabsf(in[i]) - 31 * (step - d / 2)) * 1.0001f;
                if (!(fabsf(in[i] - out[i]) <= bound))
                    fail_msg("weight %d: %g from %g, bound %g", i, (double)out[i], (double)in[i], (double)bound);
            }
        }
    }
}

/* Weights spread evenly over [-1, 1]: with n steps over that range the error would be 2 / n / sqrt(12) at best. Scales that are
 * rounded, and steps that are not even, cost something; half as much again is a mistake. */
static void quantized_weights_lose_what_their_bits_say(void **state)
{
    static const struct {
        pv_layout layout;
        double steps;
    } wanted[] = {{PV_LAYOUT_Q4_0, 15},  {PV_LAYOUT_Q4_1, 15}, {PV_LAYOUT_Q5_0, 31},   {PV_LAYOUT_Q5_1, 31},
                  {PV_LAYOUT_Q8_0, 254}, {PV_LAYOUT_Q2_K, 3},  {PV_LAYOUT_Q3_K, 7},    {PV_LAYOUT_Q4_K, 15},
                  {PV_LAYOUT_Q5_K, 31},  {PV_LAYOUT_Q6_K, 63}, {PV_LAYOUT_IQ4_NL, 13}, {PV_LAYOUT_IQ4_XS, 13},
                  {PV_LAYOUT_AFFINE2_G64_F16, 3}, {PV_LAYOUT_AFFINE3_G32_F32, 7}, {PV_LAYOUT_AFFINE4_G128_BF16, 15},
                  {PV_LAYOUT_AFFINE5_G64_F32, 31}, {PV_LAYOUT_AFFINE6_G64_F16, 63}, {PV_LAYOUT_AFFINE8_G64_F32, 255}};
    uint32_t seed = 777;
    (void)state;
    for (size_t l = 0; l < sizeof wanted / sizeof *wanted; l++) {
        double sum = 0;
        for (int block = 0; block < 64; block++) {
            float in[256], out[256];
            uint8_t bytes[1024];
            for (int i = 0; i < 256; i++) in[i] = next_value(&seed);
            pv_layout_encode(wanted[l].layout, in, 256, bytes);
            pv_layout_decode(wanted[l].layout, bytes, 256, out);
            for (int i = 0; i < 256; i++) sum += pow((double)(in[i] - out[i]), 2);
        }
        double error = sqrt(sum / (64 * 256)), best = 2 / wanted[l].steps / sqrt(12);
        if (!(error < 1.5 * best && error > 0.7 * best))
            fail_msg("%s: error %g, with even steps it would be %g", pv_layout_get(wanted[l].layout)->name, error, best);
    }
}

static void constant_and_zero_blocks_come_back_finite(void **state)
{
    static const float constants[] = {0, -0.0f, 1, -1, 60000, 1e-7f, 1e-30f};
    (void)state;
    for (unsigned l = 0; l < PV_LAYOUT_COUNT; l++)
        for (size_t c = 0; c < sizeof constants / sizeof *constants; c++) {
            float in[256], out[256];
            uint8_t bytes[1024];
            for (int i = 0; i < 256; i++) in[i] = constants[c];
            pv_layout_encode((pv_layout)l, in, 256, bytes);
            pv_layout_decode((pv_layout)l, bytes, 256, out);
            for (int i = 0; i < 256; i++) { /* f16 scales and bf16 have at least 8 bits; below them everything is lost */
                if (!isfinite(out[i]))
                    fail_msg("%s of %g gives %g", pv_layout_get((pv_layout)l)->name, (double)in[i], (double)out[i]);
                float most = l == PV_LAYOUT_MXFP4 || l == PV_LAYOUT_NVFP4 || l == PV_LAYOUT_NVFP4_F32 ? 5.5f : l == PV_LAYOUT_F8 ? 16 : 128; /* 6 × 2^13 is its nearest to 60000 */
                if (l == PV_LAYOUT_NVFP4 && fabsf(in[i]) > 6 * 448) continue;
                if (fabsf(in[i]) >= 1 && !(fabsf(out[i] - in[i]) <= fabsf(in[i]) / most))
                    fail_msg("%s of %g gives %g", pv_layout_get((pv_layout)l)->name, (double)in[i], (double)out[i]);
            }
        }
}

static void weights_that_are_no_numbers_do_not_leave_the_block(void **state)
{
    (void)state;
    for (unsigned l = 0; l < PV_LAYOUT_COUNT; l++) {
        float in[256];
        uint8_t bytes[1024 + 16];
        size_t size = 256 / pv_layout_get((pv_layout)l)->block * pv_layout_get((pv_layout)l)->block_bytes;
        for (int i = 0; i < 256; i++) in[i] = i % 3 == 0 ? NAN : i % 3 == 1 ? INFINITY : -1e38f;
        memset(bytes, 0x5a, sizeof bytes);
        pv_layout_encode((pv_layout)l, in, 256, bytes);
        for (size_t i = size; i < size + 16; i++) assert_int_equal(bytes[i], 0x5a);
    }
}

/* ---- Half precision: by the definition of the format ---- */

static double half_value(uint32_t half)
{
    uint32_t exponent = half >> 10 & 31, fraction = half & 1023;
    double magnitude = exponent == 31  ? (double)INFINITY
                       : exponent == 0 ? ldexp(fraction, -24)
                                       : ldexp(1024 + fraction, (int)exponent - 25);
    return half & 0x8000 ? -magnitude : magnitude;
}

static void every_half_is_read_and_written(void **state)
{
    (void)state;
    for (uint32_t half = 0; half < 65536; half++) {
        float value = pv_f16_to_f32((uint16_t)half);
        if ((half & 0x7fff) > 0x7c00) {
            assert_true(isnan(value));
            assert_true(isnan(pv_f16_to_f32(pv_f32_to_f16(value))));
            continue;
        }
        if ((double)value != half_value(half) || !signbit(value) != !(half & 0x8000))
            fail_msg("half %04x is %a", half, (double)value);
        if (pv_f32_to_f16(value) != half) fail_msg("half %04x comes back as %04x", half, pv_f32_to_f16(value));
    }
}

static void between_two_halves_the_nearer_wins_and_a_tie_goes_to_the_even(void **state)
{
    (void)state;
    for (uint32_t half = 0; half < 0x7bff; half++) {
        float middle = (float)((half_value(half) + half_value(half + 1)) / 2); /* exact: 12 bits */
        uint16_t even = (uint16_t)(half & 1 ? half + 1 : half);
        if (pv_f32_to_f16(middle) != even) fail_msg("above half %04x", half);
        if (pv_f32_to_f16(nextafterf(middle, 0)) != half) fail_msg("just below the middle above half %04x", half);
        if (pv_f32_to_f16(nextafterf(middle, 1e9f)) != half + 1) fail_msg("just above the middle above half %04x", half);
        if (pv_f32_to_f16(-middle) != (even | 0x8000)) fail_msg("below half %04x", half | 0x8000);
    }
    assert_int_equal(pv_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(pv_f32_to_f16(65520), 0x7c00);
    assert_int_equal(pv_f32_to_f16(1e30f), 0x7c00);
    assert_int_equal(pv_f32_to_f16(-INFINITY), 0xfc00);
    assert_int_equal(pv_f32_to_f16(0x1p-25f), 0);
    assert_int_equal(pv_f32_to_f16(0x1.000002p-25f), 1);
}

static void bfloats_round_to_even_and_keep_nan(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        float value = pv_bf16_to_f32((uint16_t)i);
        if (isnan(value))
            assert_true(isnan(pv_bf16_to_f32(pv_f32_to_bf16(value))));
        else
            assert_int_equal(pv_f32_to_bf16(value), i);
    }
    assert_true(pv_bf16_to_f32(0x3f80) == 1);
    assert_true(pv_bf16_to_f32(0xc049) == -3.140625f);
    assert_int_equal(pv_f32_to_bf16(0x1.01p0f), 0x3f80);     /* a tie, to even */
    assert_int_equal(pv_f32_to_bf16(0x1.03p0f), 0x3f82);     /* a tie, to even */
    assert_int_equal(pv_f32_to_bf16(0x1.010002p0f), 0x3f81); /* just above */
    assert_int_equal(pv_f32_to_bf16(0x1.fffffep127f), 0x7f80);
    uint32_t bits = 0x7f800001; /* a NaN whose upper half alone would be infinity */
    float nan;
    memcpy(&nan, &bits, sizeof nan);
    assert_true(isnan(pv_bf16_to_f32(pv_f32_to_bf16(nan))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_says_what_gguf_says),
        cmocka_unit_test(affine_layouts_are_named_by_what_they_are),
        cmocka_unit_test(rows_are_whole_blocks),
        cmocka_unit_test(decoding_is_the_reference_s),
        cmocka_unit_test(encoding_is_the_reference_s_where_it_has_one),
        cmocka_unit_test(q4_k_keeps_every_weight_within_its_steps),
        cmocka_unit_test(q6_k_keeps_every_weight_within_its_steps),
        cmocka_unit_test(quantized_weights_lose_what_their_bits_say),
        cmocka_unit_test(constant_and_zero_blocks_come_back_finite),
        cmocka_unit_test(weights_that_are_no_numbers_do_not_leave_the_block),
        cmocka_unit_test(every_half_is_read_and_written),
        cmocka_unit_test(between_two_halves_the_nearer_wins_and_a_tie_goes_to_the_even),
        cmocka_unit_test(bfloats_round_to_even_and_keep_nan),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
