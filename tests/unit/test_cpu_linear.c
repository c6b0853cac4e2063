/* linear on every instruction set, layout and odd size, against plain double loops; and the same bits however it is run. */
#include "test_cpu.h"

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
        const bool large = pv_layout_get((pv_layout)layout)->block == 256;
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_layout)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
