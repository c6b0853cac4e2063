/* begin, embed, rms_norm, glu, gather_rows: against plain double loops, on every instruction set. */
#include "test_cpu.h"
#include "support/layouts.h"

static void norm_and_glu_of(const char *kernels)
{
    static const uint32_t widths[] = {1, 15, 16, 17, 64, 100, 576, 1000};
    enum { ROWS = 5 };
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        const uint32_t cols = widths[w];
        cpu_slab slab = {.device = cpu_open(kernels, 1 + (uint32_t)w % 3, false)};
        cpu_step step = cpu_step_make(&slab, (pv_step_limits){.rows = ROWS + 1, .seqs = 1, .logits = 1});
        step.view.counts->rows = ROWS;
        pv_op ops[2] = {{.kind = PV_OP_rms_norm}, {.kind = PV_OP_glu}};
        const pv_tensor x = cpu_tensor(&slab, ROWS + 1, cols, PV_EXTENT_ROWS), weight = cpu_tensor(&slab, 1, cols, PV_EXTENT_FIXED);
        const pv_tensor up = cpu_tensor(&slab, ROWS + 1, cols, PV_EXTENT_ROWS), out = cpu_tensor(&slab, ROWS + 1, cols, PV_EXTENT_ROWS);
        const pv_tensor product = cpu_tensor(&slab, ROWS + 1, cols, PV_EXTENT_ROWS);
        cpu_fill(1, cpu_values(&x), (size_t)ROWS * cols);
        cpu_fill(2, cpu_values(&weight), cols);
        cpu_fill(3, cpu_values(&up), (size_t)ROWS * cols);
        for (uint32_t i = 0; i < ROWS * cols; i++) cpu_values(&x)[i] *= i % 11 == 0 ? 90 : 5; /* e^90 overflows */
        cpu_values(&x)[0] = -110;
        ops[0].rms_norm = (pv_op_rms_norm){.x = x, .weight = weight, .out = out, .epsilon = 1e-5f};
        ops[1].glu = (pv_op_glu){.gate = x, .up = up, .out = product, .activation = PV_ACTIVATION_SILU};
        cpu_run(slab.device, ops, 2, &step);
        for (uint32_t r = 0; r < ROWS; r++) {
            double squares = 0;
            for (uint32_t c = 0; c < cols; c++) squares += (double)cpu_values(&x)[r * cols + c] * (double)cpu_values(&x)[r * cols + c];
            for (uint32_t c = 0; c < cols; c++) {
                const double value = (double)cpu_values(&x)[r * cols + c];
                const double normed = value / sqrt(squares / cols + 1e-5f) * (double)cpu_values(&weight)[c];
                assert_true(fabs((double)cpu_values(&out)[r * cols + c] - normed) <= fabs(normed) * (cols / 16 + 8) * 0x1p-24);
                /* e^−x to 2 ulp, a sum, a quotient, a product */
                const double wanted = value / (1 + exp(-value)) * (double)cpu_values(&up)[r * cols + c];
                assert_true(fabs((double)cpu_values(&product)[r * cols + c] - wanted) <= fabs(wanted) * 8 * 0x1p-24 + 1e-37);
            }
        }
        for (uint32_t c = 0; c < cols; c++) {
            assert_true(isnan(cpu_values(&out)[ROWS * cols + c]));
            assert_true(isnan(cpu_values(&product)[ROWS * cols + c]));
        }
        assert_int_equal(cpu_count(slab.device, "rms_norm"), 1);
        assert_int_equal(cpu_count(slab.device, "glu"), 1);
        pv_backend_device *device = slab.device;
        cpu_free(&slab);
        device->backend->close(device);
    }
}
static void test_norm_and_glu(void **state)
{
    (void)state;
    cpu_for_each(norm_and_glu_of);
}

/* Every row of a table of every layout comes back from the packing, by literal token and from the log. */
static void embed_of(const char *kernels)
{
    enum { VOCABULARY = 37, COLS = 256, ROWS = 40, CONTEXT = 64 };
    for (int layout = 0; layout < PV_LAYOUT_COUNT; layout++) {
        if (!layout_is_sampled((unsigned)layout, false)) continue;
        cpu_slab slab = {.device = cpu_open(kernels, 2, false)};
        float *values = malloc(VOCABULARY * COLS * sizeof *values);
        cpu_fill(3, values, VOCABULARY * COLS);
        pv_op ops[2] = {{.kind = PV_OP_begin}, {.kind = PV_OP_embed}};
        const pv_tensor token_log = {.buffer = cpu_buffer(&slab, 3 * CONTEXT * 4), .rows = 3, .cols = CONTEXT};
        const pv_tensor tables[2] = {{.buffer = cpu_buffer(&slab, 3 * 2 * 4), .rows = 3, .cols = 2},
                                     {.buffer = cpu_buffer(&slab, 3 * 2 * 4), .rows = 3, .cols = 2}};
        ops[0].begin = (pv_op_begin){.tables = {tables[0], {0}, tables[1]}, .token_log = token_log};
        ops[1].embed = (pv_op_embed){.table = cpu_weight(&slab, (pv_layout)layout, VOCABULARY, COLS, values), .token_log = token_log,
                                     .out = cpu_tensor(&slab, ROWS, COLS, PV_EXTENT_ROWS), .scale = layout % 2 == 0 ? 1.0f : 24.0f};
        cpu_step step = cpu_step_make(&slab, (pv_step_limits){.rows = ROWS, .seqs = 1, .logits = 1, .patches = 4, .slots = 3, .context = CONTEXT});
        step.view.counts->rows = ROWS;
        step.view.counts->patches = 3;
        step.view.patches[0] = (pv_step_patch){.group = 0, .slot = 1, .index = 1, .page = 77};
        step.view.patches[1] = (pv_step_patch){.group = 2, .slot = 2, .index = 0, .page = 78};
        step.view.patches[2] = (pv_step_patch){.group = 1, .slot = 0, .index = 0, .page = 79}; /* a group that is absent */
        int32_t *log = pv_tensor_host(&token_log);
        for (int32_t r = 0; r < ROWS; r++) {
            step.view.rows[r] = (pv_step_row){.token = r % 3 == 1 ? PV_TOKEN_FROM_LOG : r, .position = r, .slot = 1 + r % 2};
            log[(1 + r % 2) * CONTEXT + r] = r % 3 == 1 ? (r * 5) % VOCABULARY : -9;
        }
        cpu_run(slab.device, ops, 2, &step);
        for (int32_t r = 0; r < ROWS; r++) {
            const int32_t token = r % 3 == 1 ? (r * 5) % VOCABULARY : r;
            assert_int_equal(log[(1 + r % 2) * CONTEXT + r], token); /* literals went into the log */
            for (int c = 0; c < COLS; c++) {
                const float got = cpu_values(&ops[1].embed.out)[r * COLS + c];
                if (token >= VOCABULARY) {
                    assert_true(isnan(got));
                } else {
                    assert_true(got == ops[1].embed.scale * values[token * COLS + c]);
                }
            }
        }
        const int32_t *first = pv_tensor_host(&tables[0]), *second = pv_tensor_host(&tables[1]);
        for (int i = 0; i < 6; i++) assert_int_equal(first[i], i == 3 ? 77 : 0);
        for (int i = 0; i < 6; i++) assert_int_equal(second[i], i == 4 ? 78 : 0);
        assert_int_equal(cpu_count(slab.device, "embed"), 1);
        free(values);
        pv_backend_device *device = slab.device;
        cpu_free(&slab);
        device->backend->close(device);
    }
}
static void test_embed(void **state)
{
    (void)state;
    cpu_for_each(embed_of);
}

static void gather_of(const char *kernels)
{
    enum { ROWS = 9, LOGITS = 4, COLS = 19 };
    static const int32_t wanted[LOGITS] = {8, 0, 3, 3};
    cpu_slab slab = {.device = cpu_open(kernels, 3, false)};
    pv_op op = {.kind = PV_OP_gather_rows};
    op.gather_rows.x = cpu_tensor(&slab, ROWS, COLS, PV_EXTENT_ROWS);
    op.gather_rows.out = cpu_tensor(&slab, LOGITS + 1, COLS, PV_EXTENT_LOGITS);
    cpu_fill(1, cpu_values(&op.gather_rows.x), ROWS * COLS);
    cpu_step step = cpu_step_make(&slab, (pv_step_limits){.rows = ROWS, .seqs = 1, .logits = LOGITS + 1});
    step.view.counts->rows = ROWS;
    step.view.counts->logits = LOGITS;
    for (int i = 0; i < LOGITS; i++) step.view.logits[i].row = wanted[i];
    cpu_run(slab.device, &op, 1, &step);
    for (int i = 0; i < LOGITS; i++) {
        assert_memory_equal(cpu_values(&op.gather_rows.out) + i * COLS, cpu_values(&op.gather_rows.x) + wanted[i] * COLS, COLS * sizeof(float));
    }
    for (int c = 0; c < COLS; c++) assert_true(isnan(cpu_values(&op.gather_rows.out)[LOGITS * COLS + c]));
    pv_backend_device *device = slab.device;
    cpu_free(&slab);
    device->backend->close(device);
}
static void test_gather(void **state)
{
    (void)state;
    cpu_for_each(gather_of);
}

/* f16 rounding of the cache's store: every kind of number, to nearest even. */
static void halves_of(const char *kernels)
{
    enum { DIM = 18, ROWS = 64 };
    cpu_slab slab = {.device = cpu_open(kernels, 1, false)};
    pv_op op = {.kind = PV_OP_kv_store};
    pv_kv_view store = {.kv_heads = 1, .head_dim = DIM, .page_bytes = 2 * 32 * DIM * 2};
    store.pages = (pv_tensor){.buffer = cpu_buffer(&slab, 3 * store.page_bytes), .layout = PV_LAYOUT_F16};
    store.table = (pv_tensor){.buffer = cpu_buffer(&slab, 8), .rows = 1, .cols = 2};
    ((int32_t *)pv_tensor_host(&store.table))[0] = 2;
    ((int32_t *)pv_tensor_host(&store.table))[1] = 1;
    op.kv_store = (pv_op_kv_store){.k = cpu_tensor(&slab, ROWS, DIM, PV_EXTENT_ROWS), .v = cpu_tensor(&slab, ROWS, DIM, PV_EXTENT_ROWS), .store = store};
    uint64_t random = 1;
    for (int i = 0; i < ROWS * DIM; i++) {
        const float x = cpu_random(&random);
        cpu_values(&op.kv_store.k)[i] = ldexpf(x, i % 48 - 30);
        cpu_values(&op.kv_store.v)[i] = ldexpf(rintf(x * 4096) + 0.5f, i % 40 - 30); /* halves of the last place */
    }
    static const float special[] = {0, -0.0f, 65504, 65519, 65520, -65520, INFINITY, -INFINITY, 0x1p-24f, 0x1p-25f, 0x1.8p-25f, 0x1p-14f, 0x1.ffcp-15f, 1e-30f};
    memcpy(cpu_values(&op.kv_store.k), special, sizeof special);
    cpu_step step = cpu_step_make(&slab, (pv_step_limits){.rows = ROWS, .seqs = 1, .logits = 1, .slots = 1, .context = 64});
    step.view.counts->rows = ROWS;
    for (int r = 0; r < ROWS; r++) step.view.rows[r] = (pv_step_row){.position = r};
    cpu_run(slab.device, &op, 1, &step);
    for (int r = 0; r < ROWS; r++) {
        const uint16_t *keys = (const uint16_t *)((uint8_t *)pv_tensor_host(&store.pages) + (r < 32 ? 2 : 1) * store.page_bytes);
        for (int i = 0; i < DIM; i++) {
            assert_int_equal(keys[r % 32 * DIM + i], pv_f32_to_f16(cpu_values(&op.kv_store.k)[r * DIM + i]));
            assert_int_equal(keys[(32 + r % 32) * DIM + i], pv_f32_to_f16(cpu_values(&op.kv_store.v)[r * DIM + i]));
        }
    }
    pv_backend_device *device = slab.device;
    cpu_free(&slab);
    device->backend->close(device);
}
static void test_halves(void **state)
{
    (void)state;
    cpu_for_each(halves_of);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_norm_and_glu), cmocka_unit_test(test_embed), cmocka_unit_test(test_gather),
                                       cmocka_unit_test(test_halves)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
