/* Experts: moe_route, moe_linear, moe_sum, each by itself and with every count of assignments that an expert may get. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support_rig.h"
#include "support/layouts.h"

#define ARRAY_COUNT(array) (sizeof(array) / sizeof(array)[0])
#define MAX_EXPERTS 520
#define MAX_ASSIGNMENTS 640 /* more than experts, too */

static float *random_floats(uint64_t *seed, size_t count, double size)
{
    float *values = malloc(count * sizeof *values);
    for (size_t i = 0; i < count; i++) values[i] = (float)(size * ref_normal(seed));
    return values;
}

static void step_of_rows(rig *r, uint32_t rows)
{
    const rig_sequence one = {.slot = 1, .first = 3, .count = (int32_t)rows};
    rig_step(r, &one, 1);
}

/* ---- moe_route ------------------------------------------------------------------------------------------------------- */

static bool above(float a, float b) { return a > b || (isnan(b) && !isnan(a)); }

/* The choice of a row: by falling score, ties by lower number, NaN last. */
static void choose(const float *scores, uint32_t experts, uint32_t used, int32_t *chosen)
{
    bool taken[MAX_EXPERTS] = {false};
    for (uint32_t i = 0; i < used; i++) {
        int32_t best = -1;
        for (uint32_t e = 0; e < experts; e++)
            if (!taken[e] && (best < 0 || above(scores[e], scores[best]))) best = (int32_t)e;
        taken[best] = true;
        chosen[i] = best;
    }
}

/* Each exponential has 4 u and the error of its argument, the sums theirs, then a quotient. */
static ref_value weight_of(const float *scores, uint32_t experts, const int32_t *chosen, uint32_t used, uint32_t i, bool normalize, double scale)
{
    double base = scores[chosen[0]], all = 0, sum = 0, own = exp(scores[chosen[i]] - base);
    for (uint32_t e = 0; e < experts; e++) all += exp(scores[e] - base);
    for (uint32_t j = 0; j < used; j++) sum += exp(scores[chosen[j]] - base);
    double value = own / (normalize ? sum : all) * scale, span = base - scores[chosen[used - 1]];
    if (isnan(all)) return (ref_value){NAN, 0};
    return (ref_value){value, (17 + REF_LAMBDA * sqrt(experts) + fabs(span)) * REF_U * value};
}

static void route_case(rig *r, uint32_t rows, uint32_t experts, uint32_t used, bool normalize, float scale, bool edges)
{
    rig_reset(r);
    step_of_rows(r, rows);
    uint64_t seed = rows * 1000 + experts + used;
    float *scores = random_floats(&seed, (size_t)rows * experts, 2);
    if (edges) {
        for (uint32_t e = 0; e < experts; e++) scores[e] = 1;                            /* all alike */
        for (uint32_t e = 0; e < experts; e++) scores[experts + e] = e % 2 ? -30 : 60;   /* half of them nothing */
        scores[2 * experts + experts / 2] = NAN;
    }
    pv_op op = {.kind = PV_OP_moe_route};
    pv_op_moe_route *route = &op.moe_route;
    route->scores = rig_input(r, PV_EXTENT_ROWS, experts, scores);
    route->weights = rig_activation(r, PV_EXTENT_ROWS, used);
    route->experts = rig_activation(r, PV_EXTENT_ROWS, used);
    route->order = rig_activation(r, PV_EXTENT_ROWS, used);
    route->offsets = rig_activation(r, PV_EXTENT_ROWS, experts + 1);
    route->used = used;
    route->normalize = normalize;
    route->scale = scale;
    int32_t chosen[MAX_ASSIGNMENTS], order[MAX_ASSIGNMENTS], offsets[MAX_EXPERTS + 1], found[MAX_ASSIGNMENTS];
    ref_value wanted[MAX_ASSIGNMENTS];
    uint32_t count = rows * used, at = 0;
    assert_true(count <= MAX_ASSIGNMENTS && experts <= MAX_EXPERTS);
    for (uint32_t i = 0; i < rows; i++) {
        choose(scores + (size_t)i * experts, experts, used, chosen + i * used);
        for (uint32_t j = 0; j < used; j++)
            wanted[i * used + j] = weight_of(scores + (size_t)i * experts, experts, chosen + i * used, used, j, normalize, scale != 0 ? scale : 1);
    }
    for (uint32_t e = 0; e <= experts; e++) {
        offsets[e] = (int32_t)at;
        for (uint32_t a = 0; a < count; a++)
            if (chosen[a] == (int32_t)e) order[at++] = (int32_t)a;
    }
    rig_may_write_rows(r, &route->weights);
    rig_may_write_rows(r, &route->experts);
    rig_may_write_rows(r, &route->order);
    rig_may_write(r, &route->offsets, 0, (experts + 1) * 4);
    rig_run(r, &op, 1);
    float *weights = rig_rows(r, &route->weights, rows);
    rig_expect_values(r, "moe_route: weights", weights, wanted, count);
    rig_get(r, &route->experts, 0, found, count * 4);
    rig_expect_bytes(r, "moe_route: experts", found, chosen, count * 4);
    rig_get(r, &route->order, 0, found, count * 4);
    rig_expect_bytes(r, "moe_route: order", found, order, count * 4);
    rig_get(r, &route->offsets, 0, found, (experts + 1) * 4);
    rig_expect_bytes(r, "moe_route: offsets", found, offsets, (experts + 1) * 4);
    rig_same_bits(r, weights, count * 4);
    free(weights);
    free(scores);
}

static void route_cases(rig *r)
{
    route_case(r, 1, 8, 2, true, 0, false);
    route_case(r, 9, 4, 1, false, 1, true);
    route_case(r, 40, 33, 4, false, 2.5f, true);
    route_case(r, 50, 128, 8, true, 0, true);
    route_case(r, 3, 5, 5, true, 0.3f, true);
    route_case(r, 90, 300, 5, true, 1, false);
    route_case(r, 40, 513, 8, true, 1, true);
    rig_expect_ran(r, "moe_route", NULL);
}

/* ---- moe_linear ------------------------------------------------------------------------------------------------------ */

typedef struct linear_case {
    pv_layout layout;
    uint32_t rows, experts, used, cols, outs; /* outs: of an expert */
    pv_activation glu;
    bool bias, each;
    bool crowded; /* all rows go to the same experts */
    bool all;     /* without a route: every row uses every expert */
} linear_case;

/* out[a][o] of one part in float64. */
static void solve(const linear_case *s, const float *x, const uint8_t *canonical, const float *bias, const int32_t *expert_of, ref_value *wanted)
{
    const size_t row_bytes = ref_row_bytes(s->layout, s->cols);
    const bool quantized = ref_is_quantized(s->layout) && rig_backend() == &pv_cpu_backend; /* a GPU takes x as it is */
    double *value = malloc(s->cols * sizeof *value), *mass = malloc(s->cols * sizeof *mass);
    for (uint32_t a = 0; a < s->rows * s->used; a++) {
        ref_input input;
        ref_input_make(x + (size_t)(s->each ? a : a / s->used) * s->cols, NULL, s->cols, 0, quantized, &input);
        for (uint32_t o = 0; o < s->outs; o++) {
            const size_t row = (size_t)expert_of[a] * s->outs + o;
            ref_decode(s->layout, canonical + row * row_bytes, s->cols, value, mass);
            wanted[(size_t)a * s->outs + o] = ref_dot(&input, value, mass);
            if (bias != NULL) wanted[(size_t)a * s->outs + o] = ref_plus(wanted[(size_t)a * s->outs + o], bias[row]);
        }
        ref_input_free(&input);
    }
    free(value);
    free(mass);
}

static void linear_case_run(rig *r, const linear_case *s)
{
    rig_reset(r);
    step_of_rows(r, s->rows);
    uint64_t seed = s->layout * 7919 + s->rows * 31 + s->experts;
    const uint32_t count = s->rows * s->used, parts = s->glu != PV_ACTIVATION_NONE ? 2 : 1;
    const uint32_t x_cols = s->each ? s->used * s->cols : s->cols;
    int32_t expert_of[MAX_ASSIGNMENTS], order[MAX_ASSIGNMENTS], offsets[MAX_EXPERTS + 1];
    assert_true(count <= MAX_ASSIGNMENTS);
    for (uint32_t i = 0; i < count; i++)
        expert_of[i] = (int32_t)((s->all ? i % s->used : s->crowded ? i % s->used : i / s->used * 5 % s->experts + i % s->used) % s->experts);
    for (uint32_t e = 0, at = 0; e <= s->experts; e++) {
        offsets[e] = (int32_t)at;
        for (uint32_t a = 0; a < count; a++)
            if (expert_of[a] == (int32_t)e) order[at++] = (int32_t)a;
    }
    float *x = random_floats(&seed, (size_t)s->rows * x_cols, 2), *bias[2];
    uint8_t *canonical[2];
    ref_value *wanted[2];
    pv_op op = {.kind = PV_OP_moe_linear};
    pv_op_moe_linear *moe = &op.moe_linear;
    *moe = (pv_op_moe_linear){.experts = s->experts, .used = s->used, .part_count = parts, .glu = s->glu, .each = s->each};
    moe->x = rig_input(r, PV_EXTENT_ROWS, x_cols, x);
    if (!s->all) {
        moe->order = rig_activation(r, PV_EXTENT_ROWS, s->used);
        moe->offsets = rig_activation(r, PV_EXTENT_ROWS, s->experts + 1);
        rig_put(r, &moe->order, 0, order, count * 4);
        rig_put(r, &moe->offsets, 0, offsets, (s->experts + 1) * 4);
    }
    for (uint32_t p = 0; p < parts; p++) {
        const size_t row_bytes = ref_row_bytes(s->layout, s->cols), weight_rows = (size_t)s->experts * s->outs;
        canonical[p] = malloc(weight_rows * row_bytes);
        for (size_t i = 0; i < weight_rows; i++) ref_random_row(s->layout, s->cols, 1 / sqrt(s->cols), &seed, canonical[p] + i * row_bytes);
        bias[p] = random_floats(&seed, weight_rows, 1);
        moe->parts[p].weight = rig_weight(r, s->layout, (uint32_t)weight_rows, s->cols, PV_USE_MATRIX, canonical[p]);
        if (s->bias) moe->parts[p].bias = rig_vector(r, bias[p], (uint32_t)weight_rows);
        wanted[p] = malloc((size_t)count * s->outs * sizeof *wanted[p]);
        solve(s, x, canonical[p], s->bias ? bias[p] : NULL, expert_of, wanted[p]);
    }
    for (size_t i = 0; parts == 2 && i < (size_t)count * s->outs; i++) wanted[0][i] = ref_glu(s->glu, wanted[0][i], wanted[1][i]);
    moe->parts[0].out = rig_activation(r, PV_EXTENT_ROWS, s->used * s->outs);
    rig_may_write_rows(r, &moe->parts[0].out);
    rig_run(r, &op, 1);
    float *found = rig_rows(r, &moe->parts[0].out, s->rows);
    rig_expect_values(r, "moe_linear", found, wanted[0], (size_t)count * s->outs);
    rig_same_bits(r, found, (size_t)count * s->outs * 4);
    for (uint32_t p = 0; p < parts; p++) {
        free(canonical[p]);
        free(bias[p]);
        free(wanted[p]);
    }
    free(found);
    free(x);
}

static void linear_cases(rig *r)
{
    const bool gpu = rig_backend() != &pv_cpu_backend; /* its kernels are compiled for each layout */
    for (unsigned layout = 0; layout < PV_LAYOUT_COUNT; layout++) {
        if (!layout_is_sampled(layout, gpu)) continue;
        uint32_t block, bytes;
        ref_block((pv_layout)layout, &block, &bytes);
        const uint32_t cols = block == 1 ? 40 : 256, odd_cols = block == 1 ? 77 : block < 256 ? 3 * block : 512;
        const pv_layout l = (pv_layout)layout;
        linear_case_run(r, &(linear_case){l, 1, 5, 2, cols, 32, PV_ACTIVATION_SILU, false, false, false, false});
        linear_case_run(r, &(linear_case){l, 7, 4, 3, cols, 48, PV_ACTIVATION_NONE, true, true, false, false});
        linear_case_run(r, &(linear_case){l, 21, 6, 2, odd_cols, 16, PV_ACTIVATION_CLAMPED, true, false, true, false});
    }
    /* experts of more rows than a tile has, and outputs that do not fill the last one */
    linear_case_run(r, &(linear_case){PV_LAYOUT_Q4_0, 70, 2, 1, 96, 80, PV_ACTIVATION_SILU, true, false, false, false});
    linear_case_run(r, &(linear_case){PV_LAYOUT_Q4_K, 90, 3, 2, 512, 144, PV_ACTIVATION_NONE, true, true, true, false});
    linear_case_run(r, &(linear_case){PV_LAYOUT_F32, 60, 33, 4, 96, 80, PV_ACTIVATION_SILU, false, false, false, false});
    linear_case_run(r, &(linear_case){PV_LAYOUT_Q8_0, 60, 3, 1, 512, 80, PV_ACTIVATION_NONE, false, true, false, false});
    for (uint32_t rows = 1; rows <= 21; rows += 4) { /* a linear for each head */
        linear_case_run(r, &(linear_case){PV_LAYOUT_F32, rows, 5, 5, 44, 48, PV_ACTIVATION_NONE, true, true, false, true});
        linear_case_run(r, &(linear_case){PV_LAYOUT_Q8_0, rows, 4, 4, 128, 32, PV_ACTIVATION_NONE, false, true, false, true});
        linear_case_run(r, &(linear_case){PV_LAYOUT_Q4_K, rows, 3, 3, 256, 16, PV_ACTIVATION_SILU, false, false, false, true});
    }
    linear_case_run(r, &(linear_case){PV_LAYOUT_Q8_0, 40, 3, 3, 96, 32, PV_ACTIVATION_NONE, true, true, false, true});
    rig_expect_ran(r, "moe_linear", NULL);
    if (gpu && !r->plain) rig_expect_kernel(r, "moe_tiles");
}

/* ---- moe_sum --------------------------------------------------------------------------------------------------------- */

static void sum_case(rig *r, uint32_t rows, uint32_t cols, uint32_t used, bool in_place)
{
    rig_reset(r);
    step_of_rows(r, rows);
    uint64_t seed = rows + 100 * cols + used;
    float *x = random_floats(&seed, (size_t)rows * used * cols, 2), *weights = random_floats(&seed, (size_t)rows * used, 1);
    float *residual = random_floats(&seed, (size_t)rows * cols, 2);
    if (rows > 1) x[(size_t)used * cols] = NAN;
    pv_op op = {.kind = PV_OP_moe_sum};
    op.moe_sum.x = rig_input(r, PV_EXTENT_ROWS, used * cols, x);
    op.moe_sum.weights = rig_input(r, PV_EXTENT_ROWS, used, weights);
    op.moe_sum.residual = rig_input(r, PV_EXTENT_ROWS, cols, residual);
    op.moe_sum.out = in_place ? op.moe_sum.residual : rig_activation(r, PV_EXTENT_ROWS, cols);
    ref_value *wanted = malloc((size_t)rows * cols * sizeof *wanted);
    for (uint32_t i = 0; i < rows; i++) {
        for (uint32_t c = 0; c < cols; c++) {
            double sum = 0, magnitude = 0;
            for (uint32_t u = 0; u < used; u++) {
                const double product = (double)weights[i * used + u] * x[((size_t)i * used + u) * cols + c];
                sum += product, magnitude += fabs(product);
            }
            wanted[(size_t)i * cols + c] = ref_plus((ref_value){sum, (used + 1) * REF_U * magnitude}, residual[(size_t)i * cols + c]);
        }
    }
    rig_may_write_rows(r, &op.moe_sum.out);
    rig_run(r, &op, 1);
    float *found = rig_rows(r, &op.moe_sum.out, rows);
    rig_expect_values(r, "moe_sum", found, wanted, (size_t)rows * cols);
    rig_same_bits(r, found, (size_t)rows * cols * 4);
    free(found);
    free(wanted);
    free(x);
    free(weights);
    free(residual);
}

static void sum_cases(rig *r)
{
    sum_case(r, 1, 64, 2, true);
    sum_case(r, 33, 37, 4, true);
    sum_case(r, 5, 500, 8, false);
    sum_case(r, 3, 1, 1, false);
    rig_expect_ran(r, "moe_sum", NULL);
}

static void few_of_each(rig *r)
{
    route_case(r, 5, 16, 3, true, 0, false);
    linear_case_run(r, &(linear_case){PV_LAYOUT_Q4_0, 7, 4, 2, 64, 32, PV_ACTIVATION_SILU, true, false, false, false});
    sum_case(r, 3, 100, 2, false);
}

#define FOR_ALL(cases)                                                                                                         \
    static void test_##cases(void **state)                                                                                     \
    {                                                                                                                          \
        (void)state;                                                                                                           \
        rig_for_all(cases);                                                                                                    \
    }
FOR_ALL(route_cases)
FOR_ALL(linear_cases)
FOR_ALL(sum_cases)

static void a_tampered_result_is_noticed(void **state)
{
    (void)state;
    rig_expect_noticed(few_of_each);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_route_cases),
        cmocka_unit_test(test_linear_cases),
        cmocka_unit_test(test_sum_cases),
        cmocka_unit_test(a_tampered_result_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
