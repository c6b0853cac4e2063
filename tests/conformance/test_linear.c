/* The op linear: every layout, alone and fused with norm, glu, residual, bias and further parts. */
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

/* A GPU's kernels are compiled for each layout. */
static bool is_thin(void) { return rig_backend() != &pv_cpu_backend; }

#define ARRAY_COUNT(array) (sizeof(array) / sizeof(array)[0])
#define MAX_ROWS 80

enum { NORM = 1, BIAS = 2, RESIDUAL = 4, IN_PLACE = 8, GLU = 16, LOGITS = 32, NAN_ROW = 64, GELU = 128 };

typedef struct linear_case {
    uint32_t rows, cols, part_count;
    unsigned flags;
    struct {
        pv_layout layout;
        uint32_t out;
    } part[3];
} linear_case;

/* A case in float64: inputs, and what is wanted of every part. */
typedef struct problem {
    linear_case spec;
    uint32_t outs; /* parts that are written */
    float *x, *norm, *bias[3], *residual;
    uint8_t *canonical[3];
    ref_value *wanted[3]; /* [rows][out] */
} problem;

static const float epsilon = 1e-5f;

static float *random_floats(uint64_t *seed, size_t count, double size)
{
    float *values = malloc(count * sizeof *values);
    for (size_t i = 0; i < count; i++) values[i] = (float)(size * ref_normal(seed));
    return values;
}

static void make_inputs(problem *p, uint64_t *seed)
{
    const linear_case *s = &p->spec;
    p->x = random_floats(seed, (size_t)s->rows * s->cols, 2);
    p->norm = random_floats(seed, s->cols, 1);
    if (s->rows > 2) memset(p->x + s->cols, 0, s->cols * sizeof *p->x); /* a row of zeros: no division by its maximum */
    if (s->flags & NAN_ROW) p->x[(size_t)(s->rows - 1) * s->cols + s->cols / 2] = NAN;
    p->residual = random_floats(seed, (size_t)s->rows * s->part[0].out, 2);
    for (uint32_t i = 0; i < s->part_count; i++) {
        size_t row_bytes = ref_row_bytes(s->part[i].layout, s->cols);
        p->bias[i] = random_floats(seed, s->part[i].out, 1);
        p->canonical[i] = malloc(s->part[i].out * row_bytes);
        for (uint32_t o = 0; o < s->part[i].out; o++)
            ref_random_row(s->part[i].layout, s->cols, 1 / sqrt(s->cols), seed, p->canonical[i] + o * row_bytes);
    }
}

static void solve_part(problem *p, uint32_t part)
{
    const linear_case *s = &p->spec;
    uint32_t out = s->part[part].out;
    pv_layout layout = s->part[part].layout;
    double *value = malloc(s->cols * sizeof *value), *mass = malloc(s->cols * sizeof *mass);
    ref_input input[MAX_ROWS];
    const bool quantized = ref_is_quantized(layout) && rig_backend() == &pv_cpu_backend; /* a GPU takes x' as it is */
    p->wanted[part] = malloc((size_t)s->rows * out * sizeof(ref_value));
    for (uint32_t i = 0; i < s->rows; i++)
        ref_input_make(p->x + (size_t)i * s->cols, s->flags & NORM ? p->norm : NULL, s->cols, epsilon, quantized, &input[i]);
    for (uint32_t o = 0; o < out; o++) {
        ref_decode(layout, p->canonical[part] + o * ref_row_bytes(layout, s->cols), s->cols, value, mass);
        for (uint32_t i = 0; i < s->rows; i++) {
            ref_value *wanted = &p->wanted[part][(size_t)i * out + o];
            *wanted = ref_dot(&input[i], value, mass);
            if (s->flags & BIAS) *wanted = ref_plus(*wanted, p->bias[part][o]);
            if ((s->flags & RESIDUAL) && !(s->flags & GLU)) *wanted = ref_plus(*wanted, p->residual[(size_t)i * out + o]);
        }
    }
    for (uint32_t i = 0; i < s->rows; i++) ref_input_free(&input[i]);
    free(value);
    free(mass);
}

static pv_activation activation_of(const linear_case *s)
{
    return s->flags & GELU ? PV_ACTIVATION_GELU : PV_ACTIVATION_SILU;
}

static void make_problem(problem *p, const linear_case *s)
{
    *p = (problem){.spec = *s, .outs = s->flags & GLU ? 1 : s->part_count};
    uint64_t seed = s->rows * 1000003u + s->cols * 101u + s->part[0].layout;
    make_inputs(p, &seed);
    for (uint32_t i = 0; i < s->part_count; i++) solve_part(p, i);
    for (size_t i = 0; (s->flags & GLU) && i < (size_t)s->rows * s->part[0].out; i++) {
        p->wanted[0][i] = ref_glu(activation_of(s), p->wanted[0][i], p->wanted[1][i]);
        if (s->flags & RESIDUAL) p->wanted[0][i] = ref_plus(p->wanted[0][i], p->residual[i]);
    }
}

static void free_problem(problem *p)
{
    free(p->x);
    free(p->norm);
    free(p->residual);
    for (size_t i = 0; i < 3; i++) {
        free(p->bias[i]);
        free(p->canonical[i]);
        free(p->wanted[i]);
    }
}

/* Problems are the same for every kernel set and thread count: each is solved once and kept till the end of the test. */
static problem kept[1024];
static size_t kept_count;

static bool same_case(const linear_case *a, const linear_case *b)
{
    bool same = a->rows == b->rows && a->cols == b->cols && a->part_count == b->part_count && a->flags == b->flags;
    for (uint32_t i = 0; same && i < a->part_count; i++)
        same = a->part[i].layout == b->part[i].layout && a->part[i].out == b->part[i].out;
    return same;
}

static const problem *problem_of(const linear_case *s)
{
    for (size_t i = 0; i < kept_count; i++) {
        if (same_case(&kept[i].spec, s)) return &kept[i];
    }
    assert_true(kept_count < ARRAY_COUNT(kept));
    make_problem(&kept[kept_count], s);
    return &kept[kept_count++];
}

static int forget_problems(void **state)
{
    (void)state;
    while (kept_count > 0) free_problem(&kept[--kept_count]);
    return 0;
}

/* Everything of the op that does not depend on the step. */
static pv_op place(rig *r, const problem *p)
{
    const linear_case *s = &p->spec;
    pv_op op = {.kind = PV_OP_linear, .linear = {.epsilon = epsilon, .part_count = s->part_count}};
    if (s->flags & NORM) op.linear.norm = rig_vector(r, p->norm, s->cols);
    if (s->flags & GLU) op.linear.glu = activation_of(s);
    for (uint32_t i = 0; i < s->part_count; i++) {
        op.linear.parts[i].weight = rig_weight(r, s->part[i].layout, s->part[i].out, s->cols, PV_USE_MATRIX, p->canonical[i]);
        if (s->flags & BIAS) op.linear.parts[i].bias = rig_vector(r, p->bias[i], s->part[i].out);
    }
    return op;
}

static void step_of_rows(rig *r, uint32_t rows, bool logits)
{
    const rig_sequence one = {.slot = 1, .first = 3, .count = (int32_t)rows};
    pv_step_view view = rig_step(r, &one, 1);
    for (uint32_t i = 0; logits && i < rows; i++) view.logits[i] = (pv_step_logit){.row = (int32_t)i, .slot = 1};
    if (logits) view.counts->logits = r->logits = rows;
}

static float *pick_rows(const float *all, uint32_t cols, const uint32_t *rows, uint32_t count)
{
    float *picked = malloc((size_t)count * cols * sizeof *picked);
    for (uint32_t i = 0; i < count; i++) memcpy(picked + (size_t)i * cols, all + (size_t)rows[i] * cols, cols * sizeof *picked);
    return picked;
}

/* Runs the op on these rows of the problem; found[part]: [count][out], the caller frees. */
static void run_rows(rig *r, const problem *p, pv_op op, const uint32_t *rows, uint32_t count, float *found[3])
{
    const linear_case *s = &p->spec;
    pv_extent extent = s->flags & LOGITS ? PV_EXTENT_LOGITS : PV_EXTENT_ROWS;
    step_of_rows(r, count, s->flags & LOGITS);
    float *x = pick_rows(p->x, s->cols, rows, count), *residual = pick_rows(p->residual, s->part[0].out, rows, count);
    op.linear.x = rig_input(r, extent, s->cols, x);
    if (s->flags & RESIDUAL) op.linear.residual = rig_input(r, extent, s->part[0].out, residual);
    for (uint32_t i = 0; i < p->outs; i++) {
        op.linear.parts[i].out = s->flags & IN_PLACE ? op.linear.residual : rig_activation(r, extent, s->part[i].out);
        rig_may_write_rows(r, &op.linear.parts[i].out);
    }
    rig_run(r, &op, 1);
    for (uint32_t i = 0; i < p->outs; i++) found[i] = rig_rows(r, &op.linear.parts[i].out, count);
    free(x);
    free(residual);
}

/* These rows, run together without the others, give the bits that they gave among them all; so do all of them when the padding
 * rows hold zeros and no NaN. A GPU has other kernels for few rows than for many: there fewer rows give values as right as before. */
static void expect_same_alone(rig *r, const problem *p, pv_op op, const uint32_t *rows, uint32_t count, float *const all[3])
{
    const bool same_kernels = rig_backend() == &pv_cpu_backend || count == p->spec.rows;
    float *found[3];
    run_rows(r, p, op, rows, count, found);
    for (uint32_t part = 0; part < p->outs; part++) {
        uint32_t out = p->spec.part[part].out;
        if (same_kernels) {
            float *wanted = pick_rows(all[part], out, rows, count);
            rig_expect_bytes(r, "linear: other bits than in the batch", found[part], wanted, (size_t)count * out * sizeof *wanted);
            free(wanted);
        }
        for (uint32_t i = 0; i < count && !same_kernels; i++)
            rig_expect_values(r, "linear, fewer rows", found[part] + (size_t)i * out, p->wanted[part] + (size_t)rows[i] * out, out);
        free(found[part]);
    }
}

/* Ops that a plain device runs for this case. */
static size_t plain_ops(const linear_case *s)
{
    const bool adds = (s->flags & GLU) && (s->flags & RESIDUAL); /* to the product of gate and up */
    return 1 + ((s->flags & NORM) != 0) + ((s->flags & GLU) != 0) + (s->part_count - 1) + adds;
}

static void expect_lowered(rig *r, const linear_case *s)
{
    const size_t most = plain_ops(s);
    if (r->plain)
        rig_expect(r, "linear: a plain device declines every fused form", r->pieces == most);
    else
        rig_expect(r, "linear: more ops than the plain forms are", r->pieces <= most);
}

static void run_case(rig *r, const linear_case *s)
{
    rig_reset(r);
    const problem *p = problem_of(s);
    uint32_t every[MAX_ROWS], last = s->rows - 1;
    float *found[3];
    pv_op op = place(r, p);
    for (uint32_t i = 0; i < s->rows; i++) every[i] = i;
    run_rows(r, p, op, every, s->rows, found);
    expect_lowered(r, s);
    for (uint32_t i = 0; i < p->outs; i++) {
        size_t count = (size_t)s->rows * s->part[i].out;
        rig_expect_values(r, "linear", found[i], p->wanted[i], count);
        rig_same_bits(r, found[i], count * sizeof *found[i]);
    }
    /* Where nothing is fused a plain device does what the other one did. */
    const bool again = r->threads != 2 && (!r->plain || plain_ops(s) > 1);
    if (again && s->rows > 1 && !(s->flags & NAN_ROW)) {
        const uint32_t mixed[] = {last, 0, s->rows / 2};
        r->clean_padding = true;
        expect_same_alone(r, p, op, every, s->rows, found);
        r->clean_padding = false;
        expect_same_alone(r, p, op, &last, 1, found);
        expect_same_alone(r, p, op, mixed, ARRAY_COUNT(mixed), found);
        if (s->rows > 10) expect_same_alone(r, p, op, every + 1, 9, found);
    }
    for (uint32_t i = 0; i < p->outs; i++) free(found[i]);
}

/* ---- Cases ----------------------------------------------------------------------------------------------------------- */

static uint32_t block_of(pv_layout layout)
{
    uint32_t weights, bytes;
    ref_block(layout, &weights, &bytes);
    return weights;
}

/* What is fused has nothing to do with how weights are decoded, and a GPU's kernels are compiled for each pair of both: there every
 * fusion runs with a quarter of the layouts, and every layout with some of the fusions. */
static bool fused_in_turn(unsigned layout, unsigned turn)
{
    return !is_thin() || layout % 4 == turn;
}

/* Sizes around those of registers, tiles and panels; dense layouts also take columns that are no multiple of anything. */
static void one_part_cases(rig *r)
{
    static const uint32_t rows[] = {1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 33, 70};
    static const uint32_t outs[] = {1, 15, 16, 17, 31, 33, 48, 5, 50, 16, 35, 40, 64};
    for (unsigned layout = 0; layout < PV_LAYOUT_COUNT; layout++) {
        if (!layout_is_sampled(layout, is_thin())) continue;
        uint32_t block = block_of((pv_layout)layout);
        for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
            uint32_t cols = block == 1 ? 1 + 13 * (uint32_t)i : block * (1 + (uint32_t)i % 3);
            if (rows[i] == 2 && !fused_in_turn(layout, 2)) continue; /* a kernel of its own, like those for 1 and 4 rows */
            run_case(r, &(linear_case){rows[i], cols, 1, i % 2 ? BIAS : 0, {{(pv_layout)layout, outs[i]}}});
        }
        rig_expect_ran(r, "linear", pv_layout_get((pv_layout)layout)->name);
    }
}

/* What is fused is the same for all AFFINE layouts and for those that are decoded like others. */
static bool fused_too(unsigned layout)
{
    return !is_thin() ? layout_is_sampled(layout, false) : layout < GGUF_LAYOUTS || layout == PV_LAYOUT_AFFINE4_G64_F16;
}

/* The residual as its own tensor, and accumulated in place. */
static void residual_cases(rig *r)
{
    for (unsigned layout = 0; layout < PV_LAYOUT_COUNT; layout++) {
        if (!fused_too(layout)) continue;
        uint32_t cols = block_of((pv_layout)layout) == 1 ? 77 : 512;
        run_case(r, &(linear_case){3, cols, 1, RESIDUAL | IN_PLACE, {{(pv_layout)layout, 37}}});
        run_case(r, &(linear_case){5, cols, 1, RESIDUAL | BIAS, {{(pv_layout)layout, 19}}});
        if (!fused_in_turn(layout, 0)) continue;
        run_case(r, &(linear_case){20, cols, 1, RESIDUAL | IN_PLACE | NORM, {{(pv_layout)layout, 33}}});
    }
}

static void norm_cases(rig *r)
{
    for (unsigned layout = 0; layout < PV_LAYOUT_COUNT; layout++) {
        if (!fused_too(layout)) continue;
        uint32_t cols = block_of((pv_layout)layout) == 1 ? 100 : 768;
        if (fused_in_turn(layout, 1)) run_case(r, &(linear_case){1, cols, 1, NORM, {{(pv_layout)layout, 40}}});
        if (fused_in_turn(layout, 0)) run_case(r, &(linear_case){11, cols, 1, NORM | BIAS, {{(pv_layout)layout, 21}}});
    }
}

static void glu_cases(rig *r)
{
    for (unsigned layout = 0; layout < PV_LAYOUT_COUNT; layout++) {
        if (!fused_too(layout)) continue;
        pv_layout other = (pv_layout)((layout + 3) % GGUF_LAYOUTS);
        uint32_t cols = block_of((pv_layout)layout) == 1 ? 65 : 256;
        const pv_layout same = (pv_layout)layout;
        if (fused_in_turn(layout, 2)) run_case(r, &(linear_case){1, cols, 2, GLU | NORM, {{same, 50}, {same, 50}}});
        if (fused_in_turn(layout, 3)) {
            run_case(r, &(linear_case){6, cols, 2, GLU | BIAS, {{same, 17}, {same, 17}}});
            run_case(r, &(linear_case){7, cols, 2, GLU | BIAS | RESIDUAL | IN_PLACE, {{same, 50}, {same, 50}}});
        }
        if (fused_in_turn(layout, 0)) run_case(r, &(linear_case){13, 512, 2, GLU | NORM, {{same, 33}, {other, 33}}});
        if (fused_in_turn(layout, 1)) run_case(r, &(linear_case){3, 256, 2, GLU | GELU | NORM, {{same, 33}, {same, 33}}});
    }
}

/* Parts of unlike layouts and sizes, as q, k and v often are. */
static void parts_cases(rig *r)
{
    for (unsigned layout = 0; layout < PV_LAYOUT_COUNT; layout++) {
        if (!fused_too(layout)) continue;
        pv_layout a = (pv_layout)layout, b = (pv_layout)((layout + 1) % GGUF_LAYOUTS),
                  c = (pv_layout)((layout + 5) % GGUF_LAYOUTS);
        if (fused_in_turn(layout, 1)) run_case(r, &(linear_case){1, 512, 3, NORM | BIAS, {{a, 64}, {a, 16}, {a, 16}}});
        if (fused_in_turn(layout, 2)) run_case(r, &(linear_case){4, 256, 3, NORM, {{a, 33}, {b, 7}, {c, 18}}});
        run_case(r, &(linear_case){18, 256, 2, 0, {{a, 20}, {c, 49}}});
    }
}

/* Long sums, many outputs, rows that want logits, NaN. */
static void large_cases(rig *r)
{
    for (unsigned layout = 0; layout < PV_LAYOUT_COUNT; layout++) {
        if (!fused_too(layout)) continue;
        if (fused_in_turn(layout, 3)) run_case(r, &(linear_case){2, 4096, 1, NORM, {{(pv_layout)layout, 24}}});
        if (fused_in_turn(layout, 2)) run_case(r, &(linear_case){3, 256, 1, NORM | LOGITS, {{(pv_layout)layout, 515}}});
        run_case(r, &(linear_case){4, 512, 1, NAN_ROW, {{(pv_layout)layout, 40}}});
        if (!fused_in_turn(layout, 0)) continue;
        run_case(r, &(linear_case){12, 256, 2, NAN_ROW | NORM | GLU, {{(pv_layout)layout, 17}, {(pv_layout)layout, 17}}});
    }
}

static void few_of_each(rig *r)
{
    for (unsigned layout = 0; layout < PV_LAYOUT_COUNT; layout++)
        if (layout_is_sampled(layout, is_thin())) run_case(r, &(linear_case){1, 512, 1, 0, {{(pv_layout)layout, 17}}});
    run_case(r, &(linear_case){1, 512, 3, NORM | BIAS, {{PV_LAYOUT_Q6_K, 33}, {PV_LAYOUT_F16, 7}, {PV_LAYOUT_Q8_0, 18}}});
    run_case(r, &(linear_case){1, 512, 2, NORM | GLU, {{PV_LAYOUT_Q4_0, 33}, {PV_LAYOUT_Q4_0, 33}}});
}

#define FOR_ALL(cases)                                                                                                         \
    static void test_##cases(void **state)                                                                                     \
    {                                                                                                                          \
        (void)state;                                                                                                           \
        rig_for_all(cases);                                                                                                    \
    }
FOR_ALL(one_part_cases)
FOR_ALL(residual_cases)
FOR_ALL(norm_cases)
FOR_ALL(glu_cases)
FOR_ALL(parts_cases)
FOR_ALL(large_cases)

static void a_tampered_result_is_noticed(void **state)
{
    (void)state;
    rig_expect_noticed(few_of_each);
}

/* An argument names the cases to run ("*norm*"). */
int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_one_part_cases, forget_problems),
        cmocka_unit_test_teardown(test_residual_cases, forget_problems),
        cmocka_unit_test_teardown(test_norm_cases, forget_problems),
        cmocka_unit_test_teardown(test_glu_cases, forget_problems),
        cmocka_unit_test_teardown(test_parts_cases, forget_problems),
        cmocka_unit_test_teardown(test_large_cases, forget_problems),
        cmocka_unit_test_teardown(a_tampered_result_is_noticed, forget_problems),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
