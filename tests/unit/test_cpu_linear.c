/* linear on every instruction set, layout and odd size, against plain double loops; and the same bits however it is run. */
#include "test_cpu.h"
#include "support/layouts.h"

typedef struct shape {
    uint32_t rows, cols, out;
} shape;

/* x' of a row: what the weight meets, in double. Quantized layouts: 16 bits in groups of 32. */
static void reference_activations(const float *x, uint32_t cols, bool quantized, double *out)
{
    for (uint32_t i = 0; i < cols; i++) out[i] = x[i];
    if (!quantized) return;
    for (uint32_t g = 0; g < cols; g += 32) {
        double largest = 0;
        for (uint32_t i = g; i < g + 32; i++) largest = fmax(largest, fabs((double)x[i]));
        const double scale = largest / PV_ACTIVATION_STEPS;
        for (uint32_t i = g; i < g + 32; i++) out[i] = scale > 0 ? rint(x[i] / scale) * scale : 0;
    }
}

/* Activations in [−1, 1) none of which lies so close between two of the 16-bit steps that rounding could fall either way. */
static void fill_activations(uint64_t seed, float *x, uint32_t rows, uint32_t cols)
{
    cpu_fill(seed, x, (size_t)rows * cols);
    for (size_t g = 0; g + 32 <= (size_t)rows * cols; g += 32) {
        x[g] = 0.999f; /* the largest of its group, so that the others may move */
        for (size_t i = g + 1; i < g + 32; i++) {
            const double steps = (double)x[i] / ((double)x[g] / PV_ACTIVATION_STEPS), fraction = steps - floor(steps);
            if (fabs(fraction - 0.5) < 1e-2) x[i] = (float)(floor(steps) * x[g] / PV_ACTIVATION_STEPS);
        }
    }
}

static bool is_quantized(pv_layout layout) { return pv_layout_get(layout)->block > 1; }

/* |error| of a sum of n products rounded to f32 is at most about n ε Σ |products|. Sums run over blocks of products that are exact, and
 * each lane adds with fused or separate rounding: twice the bound of one chain. */
static double tolerance(uint32_t cols, double magnitude) { return 2.0 * cols * 0x1p-24 * magnitude + 1e-30; }

static void check_linear(const char *kernels, pv_layout layout, shape size, uint32_t threads)
{
    cpu_slab slab = {.device = cpu_open(kernels, threads, false)};
    float *w = malloc((size_t)size.out * size.cols * sizeof *w), *x = malloc((size_t)size.rows * size.cols * sizeof *x);
    double *meets = malloc(size.cols * sizeof *meets);
    cpu_fill(size.out * 31 + layout, w, (size_t)size.out * size.cols);
    pv_op op = {.kind = PV_OP_linear};
    op.linear.x = cpu_tensor(&slab, size.rows + 1, size.cols, PV_EXTENT_ROWS);
    op.linear.part_count = 1;
    op.linear.parts[0].weight = cpu_weight(&slab, layout, size.out, size.cols, w);
    op.linear.parts[0].out = cpu_tensor(&slab, size.rows + 1, size.out, PV_EXTENT_ROWS);
    fill_activations(7, x, size.rows, size.cols);
    memcpy(cpu_values(&op.linear.x), x, (size_t)size.rows * size.cols * sizeof *x);
    cpu_step step = cpu_step_make(&slab, (pv_step_limits){.rows = size.rows + 1, .seqs = 1, .logits = 1});
    step.view.counts->rows = size.rows;
    cpu_run(slab.device, &op, 1, &step);
    const float *out = cpu_values(&op.linear.parts[0].out);
    for (uint32_t r = 0; r < size.rows; r++) {
        reference_activations(x + (size_t)r * size.cols, size.cols, is_quantized(layout), meets);
        for (uint32_t c = 0; c < size.out; c++) {
            double want = 0, magnitude = 0;
            for (uint32_t i = 0; i < size.cols; i++) {
                want += meets[i] * (double)w[(size_t)c * size.cols + i];
                magnitude += fabs(meets[i] * (double)w[(size_t)c * size.cols + i]);
            }
            /* layouts with minima add scale × nibble and minimum apart: each is larger than the weight itself */
            const double got = (double)out[(size_t)r * size.out + c];
            if (!(fabs(got - want) <= tolerance(size.cols, 4 * magnitude))) {
                fail_msg("%s %s [%u, %u] → %u: row %u column %u is %.9g, want %.9g", kernels, pv_layout_get(layout)->name, size.rows,
                         size.cols, size.out, r, c, got, want);
            }
        }
    }
    for (uint32_t c = 0; c < size.out; c++) assert_true(isnan(out[(size_t)size.rows * size.out + c])); /* beyond R: untouched */
    char counter[64];
    snprintf(counter, sizeof counter, "linear ");
    assert_int_equal(cpu_count(slab.device, counter), 1);
    cpu_free(&slab);
    slab.device->backend->close(slab.device);
    free(w);
    free(x);
    free(meets);
}

static void every_layout(const char *kernels)
{
    static const shape sizes[] = {{1, 32, 16}, {1, 64, 17}, {2, 96, 33}, {3, 32, 1}, {5, 160, 40}, {9, 96, 35}, {33, 64, 50}, {13, 32, 15}};
    static const shape wide[] = {{1, 256, 16}, {2, 512, 19}, {9, 256, 33}, {20, 768, 50}};
    for (int layout = 0; layout < PV_LAYOUT_COUNT; layout++) {
        if (!layout_is_sampled((unsigned)layout, false)) continue;
        const bool large = pv_layout_get((pv_layout)layout)->block > 32;
        const shape *from = large ? wide : sizes;
        const size_t count = large ? sizeof wide / sizeof *wide : sizeof sizes / sizeof *sizes;
        for (size_t i = 0; i < count; i++) check_linear(kernels, (pv_layout)layout, from[i], 1 + i % 3);
    }
    /* dense layouts take any number of columns */
    for (int layout = PV_LAYOUT_F32; layout <= PV_LAYOUT_BF16; layout++) {
        check_linear(kernels, (pv_layout)layout, (shape){1, 1, 5}, 1);
        check_linear(kernels, (pv_layout)layout, (shape){2, 7, 18}, 2);
        check_linear(kernels, (pv_layout)layout, (shape){11, 45, 31}, 2);
    }
}
static void test_every_layout(void **state)
{
    (void)state;
    cpu_for_each(every_layout);
}

/* A linear op with everything that may be fused, on a step of its own. */
typedef struct scene {
    cpu_slab slab;
    cpu_step step;
    pv_op op;
    uint32_t rows;
    float *w[3]; /* decoded weights */
    float *x;
} scene;

static void scene_make(scene *s, const char *kernels, uint32_t threads, uint32_t rows, uint32_t cols, uint32_t part_count,
                       const pv_layout *layouts, const uint32_t *outs)
{
    *s = (scene){.slab = {.device = cpu_open(kernels, threads, false)}, .rows = rows, .op = {.kind = PV_OP_linear}};
    s->op.linear.x = cpu_tensor(&s->slab, rows, cols, PV_EXTENT_ROWS);
    s->op.linear.part_count = part_count;
    for (uint32_t p = 0; p < part_count; p++) {
        s->w[p] = malloc((size_t)outs[p] * cols * sizeof(float));
        cpu_fill(100 + p, s->w[p], (size_t)outs[p] * cols);
        s->op.linear.parts[p].weight = cpu_weight(&s->slab, layouts[p], outs[p], cols, s->w[p]);
        s->op.linear.parts[p].out = cpu_tensor(&s->slab, rows, outs[p], PV_EXTENT_ROWS);
    }
    s->x = malloc((size_t)rows * cols * sizeof(float));
    fill_activations(7, s->x, rows, cols);
    memcpy(cpu_values(&s->op.linear.x), s->x, (size_t)rows * cols * sizeof(float));
    s->step = cpu_step_make(&s->slab, (pv_step_limits){.rows = rows, .seqs = 1, .logits = 1});
    s->step.view.counts->rows = rows;
}

static void scene_free(scene *s)
{
    pv_backend_device *device = s->slab.device;
    cpu_free(&s->slab);
    device->backend->close(device);
    for (int p = 0; p < 3; p++) free(s->w[p]);
    free(s->x);
}

static pv_tensor vector(scene *s, uint64_t seed, uint32_t cols)
{
    pv_tensor tensor = cpu_tensor(&s->slab, 1, cols, PV_EXTENT_FIXED);
    cpu_fill(seed, cpu_values(&tensor), cols);
    return tensor;
}

static double dot(const double *x, const float *w, uint32_t cols, double *magnitude)
{
    double sum = 0;
    *magnitude = 0;
    for (uint32_t i = 0; i < cols; i++) sum += x[i] * (double)w[i], *magnitude += fabs(x[i] * (double)w[i]);
    return sum;
}

/* Norm, three parts with biases and layouts of their own. */
static void parts_of(const char *kernels)
{
    static const pv_layout layouts[] = {PV_LAYOUT_F32, PV_LAYOUT_F16, PV_LAYOUT_BF16};
    static const uint32_t outs[] = {40, 17, 16}, row_counts[] = {1, 3, 21};
    enum { COLS = 70 };
    for (size_t i = 0; i < 3; i++) {
        scene s;
        scene_make(&s, kernels, 1 + (uint32_t)i, row_counts[i], COLS, 3, layouts, outs);
        pv_op_linear *linear = &s.op.linear;
        linear->norm = vector(&s, 31, COLS);
        linear->epsilon = 1e-5f;
        for (uint32_t p = 0; p < 3; p++) linear->parts[p].bias = vector(&s, 41 + p, outs[p]);
        cpu_run(s.slab.device, &s.op, 1, &s.step);
        for (uint32_t r = 0; r < s.rows; r++) {
            double normed[COLS], squares = 0, magnitude;
            for (int c = 0; c < COLS; c++) squares += (double)s.x[r * COLS + c] * (double)s.x[r * COLS + c];
            for (int c = 0; c < COLS; c++) {
                normed[c] = (double)s.x[r * COLS + c] / sqrt(squares / COLS + (double)linear->epsilon) * (double)cpu_values(&linear->norm)[c];
            }
            for (uint32_t p = 0; p < 3; p++) {
                for (uint32_t c = 0; c < outs[p]; c++) {
                    const double want = dot(normed, s.w[p] + c * COLS, COLS, &magnitude) + (double)cpu_values(&linear->parts[p].bias)[c];
                    const double got = (double)cpu_values(&linear->parts[p].out)[r * outs[p] + c];
                    assert_true(fabs(got - want) <= tolerance(COLS + 8, magnitude + 1));
                }
            }
        }
        scene_free(&s);
    }
}
static void test_parts(void **state)
{
    (void)state;
    cpu_for_each(parts_of);
}

/* silu(gate) × up, with two layouts; and a residual that accumulates. */
static void glu_of(const char *kernels)
{
    static const pv_layout layouts[] = {PV_LAYOUT_F16, PV_LAYOUT_F32};
    static const uint32_t outs[] = {45, 45}, row_counts[] = {1, 2, 30};
    enum { COLS = 64 };
    for (size_t i = 0; i < 3; i++) {
        scene s;
        scene_make(&s, kernels, 1 + (uint32_t)i, row_counts[i], COLS, 2, layouts, outs);
        pv_op_linear *linear = &s.op.linear;
        linear->glu = PV_ACTIVATION_SILU;
        linear->parts[0].bias = vector(&s, 5, 45);
        linear->parts[1].bias = vector(&s, 6, 45);
        linear->residual = cpu_tensor(&s.slab, s.rows, 45, PV_EXTENT_ROWS);
        cpu_fill(9, cpu_values(&linear->residual), s.rows * 45);
        cpu_run(s.slab.device, &s.op, 1, &s.step);
        for (uint32_t r = 0; r < s.rows; r++) {
            double x[COLS], magnitude[2];
            for (int c = 0; c < COLS; c++) x[c] = (double)s.x[r * COLS + c];
            for (uint32_t c = 0; c < 45; c++) {
                const double gate = dot(x, s.w[0] + c * COLS, COLS, &magnitude[0]) + (double)cpu_values(&linear->parts[0].bias)[c];
                const double up = dot(x, s.w[1] + c * COLS, COLS, &magnitude[1]) + (double)cpu_values(&linear->parts[1].bias)[c];
                const double want = gate / (1 + exp(-gate)) * up + (double)cpu_values(&linear->residual)[r * 45 + c];
                const double got = (double)cpu_values(&linear->parts[0].out)[r * 45 + c];
                /* |d silu| ≤ 1.1: the errors of gate and up, each times the other factor */
                const double allowed = tolerance(COLS, magnitude[0]) * 1.1 * (fabs(up) + 1) + tolerance(COLS, magnitude[1]) * (fabs(gate) + 1) + 1e-6;
                assert_true(fabs(got - want) <= allowed);
                assert_true(isnan(cpu_values(&linear->parts[1].out)[r * 45 + c])); /* only gate's out is written */
            }
        }
        /* out = residual: run again, accumulating in place */
        linear->glu = PV_ACTIVATION_NONE;
        linear->part_count = 1;
        linear->residual = linear->parts[0].out;
        float *before = malloc(s.rows * 45 * sizeof *before);
        memcpy(before, cpu_values(&linear->residual), s.rows * 45 * sizeof *before);
        cpu_run(s.slab.device, &s.op, 1, &s.step);
        for (uint32_t r = 0; r < s.rows; r++) {
            double x[COLS], magnitude;
            for (int c = 0; c < COLS; c++) x[c] = (double)s.x[r * COLS + c];
            for (uint32_t c = 0; c < 45; c++) {
                const double want = dot(x, s.w[0] + c * COLS, COLS, &magnitude) + (double)cpu_values(&linear->parts[0].bias)[c] + (double)before[r * 45 + c];
                assert_true(fabs((double)cpu_values(&linear->parts[0].out)[r * 45 + c] - want) <= tolerance(COLS + 2, magnitude + 1 + fabs((double)before[r * 45 + c])));
            }
        }
        free(before);
        scene_free(&s);
    }
}
static void test_glu(void **state)
{
    (void)state;
    cpu_for_each(glu_of);
}

/* A fused op gives the bits of its plain forms, for quantized weights also. */
static void fused_equals_plain_of(const char *kernels)
{
    static const pv_layout layouts[] = {PV_LAYOUT_Q4_K, PV_LAYOUT_Q6_K};
    static const uint32_t outs[] = {50, 50};
    enum { COLS = 512 };
    for (uint32_t rows = 1; rows <= 40; rows += 13) {
        scene s;
        scene_make(&s, kernels, 2, rows, COLS, 2, layouts, outs);
        pv_op_linear *linear = &s.op.linear;
        linear->norm = vector(&s, 3, COLS);
        linear->epsilon = 1e-6f;
        linear->glu = PV_ACTIVATION_SILU;
        pv_op plain[4] = {{.kind = PV_OP_rms_norm}, {.kind = PV_OP_linear}, {.kind = PV_OP_linear}, {.kind = PV_OP_glu}};
        const pv_tensor normed = cpu_tensor(&s.slab, rows, COLS, PV_EXTENT_ROWS), gate = cpu_tensor(&s.slab, rows, 50, PV_EXTENT_ROWS);
        const pv_tensor up = cpu_tensor(&s.slab, rows, 50, PV_EXTENT_ROWS);
        plain[0].rms_norm = (pv_op_rms_norm){.x = linear->x, .weight = linear->norm, .out = normed, .epsilon = 1e-6f};
        plain[1].linear = (pv_op_linear){.x = normed, .part_count = 1, .parts = {{.weight = linear->parts[0].weight, .out = gate}}};
        plain[2].linear = (pv_op_linear){.x = normed, .part_count = 1, .parts = {{.weight = linear->parts[1].weight, .out = up}}};
        plain[3].glu = (pv_op_glu){.gate = gate, .up = up, .out = gate, .activation = PV_ACTIVATION_SILU};
        cpu_run(s.slab.device, &s.op, 1, &s.step);
        cpu_run(s.slab.device, plain, 4, &s.step);
        assert_memory_equal(cpu_values(&linear->parts[0].out), cpu_values(&gate), rows * 50 * sizeof(float));
        scene_free(&s);
    }
}
static void test_fused_equals_plain(void **state)
{
    (void)state;
    cpu_for_each(fused_equals_plain_of);
}

enum { BITS_ROWS = 40, BITS_COLS = 512, BITS_OUT = 83 };

static void bits_scene(scene *s, const char *kernels, uint32_t threads, pv_layout layout)
{
    scene_make(s, kernels, threads, BITS_ROWS, BITS_COLS, 1, &layout, (const uint32_t[]){BITS_OUT});
}

/* Runs rows [first, first + count) of 40 as a step of their own; other rows of x hold NaN. */
static void run_rows(scene *s, uint32_t first, uint32_t count, bool alone, float *out)
{
    float *x = cpu_values(&s->op.linear.x);
    for (uint32_t r = 0; r < BITS_ROWS; r++) {
        const uint32_t from = alone ? first + r : r;
        const bool wanted = from >= first && from < first + count;
        for (uint32_t i = 0; i < BITS_COLS; i++) x[r * BITS_COLS + i] = wanted ? s->x[from * BITS_COLS + i] : NAN;
    }
    float *found = cpu_values(&s->op.linear.parts[0].out);
    for (size_t i = 0; i < BITS_ROWS * BITS_OUT; i++) found[i] = NAN;
    s->step.view.counts->rows = alone ? count : BITS_ROWS;
    cpu_run(s->slab.device, &s->op, 1, &s->step);
    memcpy(out + first * BITS_OUT, found + (alone ? 0 : first * BITS_OUT), count * BITS_OUT * sizeof *out);
    if (!alone && count < BITS_ROWS) { /* NaN gives NaN, so that broken activations are noticed */
        const uint32_t other = first > 0 ? first - 1 : first + count;
        for (uint32_t c = 0; c < BITS_OUT; c++) assert_true(isnan(found[other * BITS_OUT + c]));
    }
}

/* A row's bits do not depend on how many rows run with it, on what stands in them, or on threads. */
static void same_bits_of(const char *kernels)
{
    static const struct {
        uint32_t chunk, threads;
        bool alone;
    } ways[] = {{1, 2, true}, {2, 3, true}, {3, 1, true}, {7, 2, true}, {8, 1, true}, {9, 2, true}, {13, 3, true}, {40, 2, true}, {40, 3, true},
                {1, 2, false}, {11, 3, false}};
    float *want = malloc(BITS_ROWS * BITS_OUT * sizeof *want), *got = malloc(BITS_ROWS * BITS_OUT * sizeof *got);
    for (int layout = 0; layout < PV_LAYOUT_COUNT; layout++) {
        if (!layout_is_sampled((unsigned)layout, false)) continue;
        scene s;
        bits_scene(&s, kernels, 1, (pv_layout)layout);
        run_rows(&s, 0, BITS_ROWS, true, want);
        scene_free(&s);
        for (uint32_t i = 0; i < BITS_ROWS * BITS_OUT; i++) assert_true(isfinite(want[i]));
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
            bits_scene(&s, kernels, ways[w].threads, (pv_layout)layout);
            for (uint32_t first = 0; first < BITS_ROWS; first += ways[w].chunk) {
                const uint32_t count = BITS_ROWS - first < ways[w].chunk ? BITS_ROWS - first : ways[w].chunk;
                run_rows(&s, first, count, ways[w].alone, got);
            }
            scene_free(&s);
            assert_memory_equal(want, got, BITS_ROWS * BITS_OUT * sizeof *want);
        }
    }
    free(want);
    free(got);
}
static void test_same_bits(void **state)
{
    (void)state;
    cpu_for_each(same_bits_of);
}

/* Sets with a fused multiply-add agree with each other to the bit. */
static void test_same_bits_across_sets(void **state)
{
    (void)state;
    static const char *const fused[] = {"avx2", "avx512", "neon", "dotprod"};
    float *want = malloc(BITS_ROWS * BITS_OUT * sizeof *want), *got = malloc(BITS_ROWS * BITS_OUT * sizeof *got);
    for (int layout = 0; layout < PV_LAYOUT_COUNT; layout++) {
        if (!layout_is_sampled((unsigned)layout, false)) continue;
        bool first = true;
        for (size_t i = 0; i < sizeof fused / sizeof *fused; i++) {
            pv_backend_device *device = cpu_open(fused[i], 1, false);
            if (device == NULL) continue;
            device->backend->close(device);
            scene s;
            bits_scene(&s, fused[i], 1, (pv_layout)layout);
            run_rows(&s, 0, BITS_ROWS, true, first ? want : got);
            scene_free(&s);
            if (!first) assert_memory_equal(want, got, BITS_ROWS * BITS_OUT * sizeof *want);
            first = false;
        }
    }
    free(want);
    free(got);
}

/* An infinite or NaN activation must not come out as a number, wherever it stands in its group. */
static void non_finite_of(const char *kernels)
{
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    for (int layout = 0; layout < PV_LAYOUT_COUNT; layout++) {
        if (!layout_is_sampled((unsigned)layout, false)) continue;
        scene s;
        const uint32_t outs[] = {20};
        const pv_layout of = (pv_layout)layout;
        scene_make(&s, kernels, 1, 4, 256, 1, &of, outs);
        for (uint32_t r = 0; r < 4; r++) cpu_values(&s.op.linear.x)[r * 256 + 37 + r * 21] = bad[r];
        cpu_run(s.slab.device, &s.op, 1, &s.step);
        for (uint32_t i = 0; i < 4 * 20; i++) assert_false(isfinite(cpu_values(&s.op.linear.parts[0].out)[i]));
        /* all zero gives zero */
        memset(cpu_values(&s.op.linear.x), 0, 4 * 256 * sizeof(float));
        cpu_run(s.slab.device, &s.op, 1, &s.step);
        for (uint32_t i = 0; i < 4 * 20; i++) assert_true(cpu_values(&s.op.linear.parts[0].out)[i] == 0);
        scene_free(&s);
    }
}
static void test_non_finite(void **state)
{
    (void)state;
    cpu_for_each(non_finite_of);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_layout),       cmocka_unit_test(test_parts),
                                       cmocka_unit_test(test_glu),                cmocka_unit_test(test_fused_equals_plain),
                                       cmocka_unit_test(test_same_bits),          cmocka_unit_test(test_same_bits_across_sets),
                                       cmocka_unit_test(test_non_finite)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
