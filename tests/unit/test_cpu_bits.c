/* Instruction sets with a fused multiply-add agree bit for bit: on one machine and, by the numbers below, from one machine to another.
 * The numbers change only with the arithmetic itself, and then on all sets alike. */
#include "test_cpu.h"
#include "support/layouts.h"

enum { HEADS = 4, KV_HEADS = 2, HEAD_DIM = 64, HIDDEN = HEADS * HEAD_DIM, WIDE = 512, PROMPT = 45, ROWS = PROMPT, BLOCKS = 2 };

/* One layer, as a model has it, over weights in one layout. */
typedef struct layer {
    cpu_slab slab;
    pv_op ops[7];
    pv_tensor x;
    cpu_step step;
} layer;

static pv_tensor weight(layer *l, pv_layout layout, uint32_t rows, uint32_t cols)
{
    float *values = malloc((size_t)rows * cols * sizeof *values);
    assert_non_null(values);
    cpu_fill(rows * 1000003ull + cols, values, (size_t)rows * cols);
    for (size_t i = 0; i < (size_t)rows * cols; i++) values[i] *= 0x1p-3f;
    const pv_tensor tensor = cpu_weight(&l->slab, layout, rows, cols, values);
    free(values);
    return tensor;
}

static pv_tensor vector(layer *l, uint32_t cols, uint64_t seed)
{
    pv_tensor tensor = cpu_tensor(&l->slab, 1, cols, PV_EXTENT_FIXED);
    cpu_fill(seed, cpu_values(&tensor), cols);
    return tensor;
}

static pv_kv_view cache(layer *l)
{
    pv_kv_view view = {.kv_heads = KV_HEADS, .head_dim = HEAD_DIM, .page_bytes = 2ull * KV_HEADS * PV_PAGE_TOKENS * HEAD_DIM * 2};
    view.pages = (pv_tensor){.buffer = cpu_buffer(&l->slab, view.page_bytes * BLOCKS), .layout = PV_LAYOUT_F16};
    view.table = (pv_tensor){.buffer = cpu_buffer(&l->slab, 4 * BLOCKS), .rows = 1, .cols = BLOCKS};
    int32_t *table = pv_tensor_host(&view.table);
    for (int32_t i = 0; i < BLOCKS; i++) table[i] = BLOCKS - 1 - i;
    return view;
}

static void layer_make(layer *l, const char *kernels, pv_layout layout)
{
    *l = (layer){.slab = {.device = cpu_open(kernels, 2, false)}};
    assert_non_null(l->slab.device);
    pv_tensor q = cpu_tensor(&l->slab, ROWS, HIDDEN, PV_EXTENT_ROWS), k = cpu_tensor(&l->slab, ROWS, KV_HEADS * HEAD_DIM, PV_EXTENT_ROWS);
    pv_tensor v = cpu_tensor(&l->slab, ROWS, KV_HEADS * HEAD_DIM, PV_EXTENT_ROWS), attended = cpu_tensor(&l->slab, ROWS, HIDDEN, PV_EXTENT_ROWS);
    pv_tensor angles = cpu_tensor(&l->slab, ROWS, HEAD_DIM, PV_EXTENT_ROWS), wide = cpu_tensor(&l->slab, ROWS, WIDE, PV_EXTENT_ROWS);
    pv_tensor frequency = cpu_tensor(&l->slab, 1, HEAD_DIM / 2, PV_EXTENT_FIXED);
    for (int i = 0; i < HEAD_DIM / 2; i++) cpu_values(&frequency)[i] = ldexpf(1.0f + (float)(i % 3) / 4, -i / 3);
    const pv_kv_view view = cache(l);
    l->x = cpu_tensor(&l->slab, ROWS, HIDDEN, PV_EXTENT_ROWS);
    l->ops[0].kind = PV_OP_linear;
    l->ops[0].linear = (pv_op_linear){.x = l->x, .norm = vector(l, HIDDEN, 1), .epsilon = 1e-5f, .part_count = 3,
                                      .parts = {{weight(l, layout, HIDDEN, HIDDEN), vector(l, HIDDEN, 2), q},
                                                {weight(l, layout, KV_HEADS * HEAD_DIM, HIDDEN), vector(l, KV_HEADS * HEAD_DIM, 3), k},
                                                {weight(l, layout, KV_HEADS * HEAD_DIM, HIDDEN), vector(l, KV_HEADS * HEAD_DIM, 4), v}}};
    l->ops[1].kind = PV_OP_rope_angles;
    l->ops[1].rope_angles = (pv_op_rope_angles){.inverse_frequency = frequency, .out = angles, .magnitude = 1};
    l->ops[2].kind = PV_OP_rope;
    l->ops[2].rope = (pv_op_rope){.q = q, .k = k, .angles = angles, .head_dim = HEAD_DIM, .dim = HEAD_DIM, .v = v, .store = view};
    l->ops[3].kind = PV_OP_attention;
    l->ops[3].attention = (pv_op_attention){.q = q, .out = attended, .cache = view, .heads = HEADS, .scale = 0.125f};
    l->ops[4].kind = PV_OP_linear;
    l->ops[4].linear = (pv_op_linear){.x = attended, .part_count = 1, .parts = {{.weight = weight(l, layout, HIDDEN, HIDDEN), .out = l->x}},
                                      .residual = l->x};
    l->ops[5].kind = PV_OP_linear;
    l->ops[5].linear = (pv_op_linear){.x = l->x, .norm = vector(l, HIDDEN, 5), .epsilon = 1e-5f, .part_count = 2, .glu = PV_ACTIVATION_SILU,
                                      .parts = {{.weight = weight(l, layout, WIDE, HIDDEN), .out = wide},
                                                {.weight = weight(l, layout, WIDE, HIDDEN), .out = wide}}};
    l->ops[6].kind = PV_OP_linear;
    l->ops[6].linear = (pv_op_linear){.x = wide, .part_count = 1, .parts = {{.weight = weight(l, layout, HIDDEN, WIDE), .out = l->x}},
                                      .residual = l->x};
    l->step = cpu_step_make(&l->slab, (pv_step_limits){.rows = ROWS, .seqs = 1, .logits = 1, .slots = 1, .context = BLOCKS * PV_PAGE_TOKENS});
}

/* FNV-1a over the words of the rows. */
static uint64_t hash_rows(uint64_t hash, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t word;
        memcpy(&word, x + i, 4);
        assert_true(isfinite(x[i]));
        hash = (hash ^ word) * 0x100000001B3u;
    }
    return hash;
}

/* Runs rows [first, first + count) of the sequence, and folds what comes out into the hash. */
static uint64_t run_rows(layer *l, uint32_t first, uint32_t count, uint64_t hash)
{
    cpu_fill(77 + first, cpu_values(&l->x), (size_t)count * HIDDEN);
    *l->step.view.counts = (pv_step_counts){.rows = count, .seqs = 1, .tiles = (count + PV_TILE_ROWS - 1) / PV_TILE_ROWS};
    l->step.view.seqs[0] = (pv_step_seq){.rows = (int32_t)count, .kv_length = (int32_t)(first + count)};
    for (uint32_t i = 0; i < count; i++) l->step.view.rows[i] = (pv_step_row){.position = (int32_t)(first + i)};
    for (uint32_t t = 0, at = 0; at < count; t++, at += PV_TILE_ROWS) {
        l->step.view.tiles[t] = (pv_step_tile){.first_row = (int32_t)at, .rows = (int32_t)(count - at < PV_TILE_ROWS ? count - at : PV_TILE_ROWS)};
    }
    cpu_run(l->slab.device, l->ops, sizeof l->ops / sizeof *l->ops, &l->step);
    return hash_rows(hash, cpu_values(&l->x), (size_t)count * HIDDEN);
}

/* A prompt, then steps of one and of three rows. */
static uint64_t layer_bits(const char *kernels, pv_layout layout)
{
    layer l;
    layer_make(&l, kernels, layout);
    uint64_t hash = run_rows(&l, 0, PROMPT, 0xCBF29CE484222325u);
    hash = run_rows(&l, PROMPT, 1, hash);
    hash = run_rows(&l, PROMPT + 1, 3, hash);
    pv_backend_device *device = l.slab.device;
    cpu_free(&l.slab);
    device->backend->close(device);
    return hash;
}

static const uint64_t bits[PV_LAYOUT_COUNT] = {
    [PV_LAYOUT_F32] = 0xE4020DF18BFF38E1,  [PV_LAYOUT_F16] = 0x1468E663DC394044,  [PV_LAYOUT_BF16] = 0x134616A809A14183,
    [PV_LAYOUT_Q4_0] = 0x9F43AE0DD08E1F0A, [PV_LAYOUT_Q4_1] = 0x3D0598431574A8DA, [PV_LAYOUT_Q8_0] = 0xE82197BAD53AD31E,
    [PV_LAYOUT_Q4_K] = 0xC4AC4CA045BD76E5, [PV_LAYOUT_Q6_K] = 0xE13855052822E09F,
    [PV_LAYOUT_Q5_0] = 0x90C4CCC9381AAD01, [PV_LAYOUT_Q5_1] = 0x9BC1FE06736A2A41, [PV_LAYOUT_Q2_K] = 0xC1338A8BD7761056,
    [PV_LAYOUT_Q3_K] = 0x5A24EC6B1EB0D851, [PV_LAYOUT_Q5_K] = 0xD189539C7B84C7C7, [PV_LAYOUT_IQ4_NL] = 0x9F4E803D94852948,
    [PV_LAYOUT_IQ4_XS] = 0xE94CA2864F93FAD0, [PV_LAYOUT_MXFP4] = 0xF5D81428703E5D54,
    [PV_LAYOUT_AFFINE2_G32_F16] = 0x3C708C8A92B32F1E,
    [PV_LAYOUT_AFFINE2_G64_BF16] = 0xBD158707C2EC563A,
    [PV_LAYOUT_AFFINE2_G128_F32] = 0x3062AD5E7BAABFB4,
    [PV_LAYOUT_AFFINE3_G32_BF16] = 0xAB94AE551A505E96,
    [PV_LAYOUT_AFFINE3_G64_F32] = 0x88321251EB44BE1E,
    [PV_LAYOUT_AFFINE3_G128_F16] = 0x9D408CBF186F139C,
    [PV_LAYOUT_AFFINE4_G32_F32] = 0x4C18C84A1E93499F,
    [PV_LAYOUT_AFFINE4_G64_F16] = 0x4FADADC01E2C88F0,
    [PV_LAYOUT_AFFINE4_G128_BF16] = 0x514A185E978C72DF,
    [PV_LAYOUT_AFFINE5_G32_F16] = 0xF2AD40488B4D8559,
    [PV_LAYOUT_AFFINE5_G64_BF16] = 0x117A08BA228CD9A7,
    [PV_LAYOUT_AFFINE5_G128_F32] = 0x886BFD4112782BF8,
    [PV_LAYOUT_AFFINE6_G32_BF16] = 0xA7BE28583C464068,
    [PV_LAYOUT_AFFINE6_G64_F32] = 0x957D1BD55AA9D3D3,
    [PV_LAYOUT_AFFINE6_G128_F16] = 0x3925AD1557D69335,
    [PV_LAYOUT_AFFINE8_G32_F32] = 0x2262E18D99C8A70C,
    [PV_LAYOUT_AFFINE8_G64_F16] = 0xE3EDFFA621CEFA5F,
    [PV_LAYOUT_AFFINE8_G128_BF16] = 0x98FD836B75153277,
    [PV_LAYOUT_F8] = 0x132E737EE3A8C865,
    [PV_LAYOUT_NVFP4] = 0x9DE6ECAC2C0FF8B9,
    [PV_LAYOUT_NVFP4_F32] = 0x4198C4CFC999357D,
};

static void layers_of(const char *kernels)
{
    int wrong = 0;
    if (strcmp(kernels, "generic") == 0) return; /* rounds products apart */
    for (int layout = 0; layout < PV_LAYOUT_COUNT; layout++) {
        if (!layout_is_sampled((unsigned)layout, false)) continue;
        const uint64_t found = layer_bits(kernels, (pv_layout)layout);
        if (found == bits[layout]) continue;
        print_error("%s, %s: the bits are 0x%016llX, want 0x%016llX\n", kernels, pv_layout_get((pv_layout)layout)->name,
                    (unsigned long long)found, (unsigned long long)bits[layout]);
        wrong++;
    }
    assert_int_equal(wrong, 0);
}
static void test_same_bits_everywhere(void **state)
{
    (void)state;
    cpu_for_each(layers_of);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bits_everywhere)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
