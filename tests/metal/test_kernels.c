/* What the kernels do besides right numbers, which conformance has: how often they are dispatched, what they load, and that
 * neither the checked build of the software device nor its strict compiler finds anything in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../conformance/support_rig.h"
#include "backend/metal/metal.h"
#include "../golden/support_llama.h"
#include "softmetal.h"
#include "support/layouts.h"
#include "support/tiny.h"

#define ARRAY_COUNT(array) (sizeof(array) / sizeof(array)[0])
#define MOST_KERNELS 64

static const softmetal_world plain_world = {.keep_open = true};
static const softmetal_world counted_world = {.keep_open = true, .build = SOFTMETAL_CHECKED};
static const softmetal_world checked_world = {.keep_open = true, .build = SOFTMETAL_CHECKED, .strict = true};

static void begin(const softmetal_world *world)
{
    softmetal_reset();
    softmetal_set_world(world);
}

static void expect_no_report(void)
{
    softmetal_report report;
    for (size_t i = 0; softmetal_get_report(i, &report); i++)
        print_message("%s: %s\n", softmetal_report_name(report.kind), report.message);
    assert_int_equal(softmetal_report_count(), 0);
}

static softmetal_kernel_counts counts_of(const char *kernel)
{
    softmetal_kernel_counts all[MOST_KERNELS];
    const size_t count = softmetal_get_kernel_counts(all, MOST_KERNELS);
    assert_true(count <= MOST_KERNELS);
    for (size_t i = 0; i < count; i++)
        if (strcmp(all[i].kernel, kernel) == 0) return all[i];
    fail_msg("%s has not run", kernel);
    return all[0];
}

/* ---- A small model, end to end ---- */

typedef struct scene {
    pv_runtime *runtime;
    pv_model *model;
    pv_engine *engine;
} scene;

static scene open_path(const char *path, bool plain, pv_kv_type kv_type)
{
    scene s = {0};
    pv_error error = {0};
    const pv_runtime_options runtime = {.metal_library = getenv("PENSIEVE_METAL")};
    const pv_model_options model = {.device = "metal", .context = 512, .plain_programs = plain, .kv_type = kv_type};
    const pv_engine_options engine = {.steps_ahead = 1, .no_prefix_reuse = true};
    assert_int_equal(pv_runtime_create(&runtime, &s.runtime, &error), PV_OK);
    if (pv_model_load(s.runtime, path, &model, &s.model, &error) != PV_OK) fail_msg("%s", error.message);
    if (pv_engine_create(s.model, &engine, &s.engine, &error) != PV_OK) fail_msg("%s", error.message);
    return s;
}

static scene open_scene(const char *layout, bool plain, pv_kv_type kv_type)
{
    return open_path(tiny_path(layout), plain, kv_type);
}

static void close_scene(scene *s)
{
    pv_engine_destroy(s->engine);
    pv_model_destroy(s->model);
    pv_runtime_destroy(s->runtime);
}

/* A prompt of `prompt` tokens and `generate` more. */
static void run_scene(scene *s, size_t prompt, uint32_t generate, float temperature)
{
    int32_t tokens[300];
    static tiny_result result;
    pv_error error = {0};
    memset(&result, 0, sizeof result);
    for (size_t i = 0; i < prompt; i++) tokens[i] = (int32_t)(3 + i * 7 % 250);
    pv_request request = {.prompt = tokens,
                          .prompt_length = prompt,
                          .max_tokens = generate,
                          .user = &result,
                          .top_logprobs = temperature > 0 ? 3 : 0};
    request.sampling.temperature = temperature;
    request.sampling.seed = 5;
    request.sampling.top_p = temperature > 0 ? 0.9f : 0;
    request.sampling.repetition_penalty = temperature > 0 ? 1.1f : 0;
    request.ignore_end = true;
    if (pv_engine_submit(s->engine, &request, NULL, &error) != PV_OK) fail_msg("%s", error.message);
    tiny_run(s->engine, 100, NULL);
    assert_true(result.finished);
    assert_int_equal(result.count, generate);
}

static uint64_t dispatches(void)
{
    softmetal_counts counts;
    softmetal_get_counts(&counts);
    return counts.dispatches;
}

/* Of ops outside of layers: begin, embed, rope angles, gather rows, output, sample. */
#define OUTSIDE 6

static void expect_dispatches(const char *path, const char *what, pv_kv_type kv_type, uint32_t least, uint32_t most)
{
    begin(&plain_world);
    scene s = open_path(path, false, kv_type);
    pv_model_info info;
    uint64_t before, few, more;
    assert_int_equal(pv_model_get_info(s.model, &info, NULL), PV_OK);
    before = dispatches();
    run_scene(&s, 3, 2, 0);
    few = dispatches() - before;
    before = dispatches();
    run_scene(&s, 3, 6, 0);
    more = dispatches() - before;
    assert_int_equal((more - few) % 4, 0);
    const uint64_t step = (more - few) / 4;
    print_message("llama, %u layers, %s: %llu dispatches a decode step, %.2f a layer\n", info.layers, what,
                  (unsigned long long)step, (double)(step - OUTSIDE) / info.layers);
    assert_true(step >= OUTSIDE + least * info.layers); /* it did run */
    assert_true(step <= OUTSIDE + most * info.layers);
    close_scene(&s);
    expect_no_report();
}

/* Cells with scales take one more: a head must be turned before its largest element is known. */
static void a_decode_step_takes_seven_dispatches_a_layer_at_most(void **state)
{
    (void)state;
    expect_dispatches(tiny_path("F16"), "one layout", PV_KV_F16, 4, 7);
    expect_dispatches(tiny_path("F16"), "one layout, KV cache of 8 bits", PV_KV_8BIT, 4, 8);
    expect_dispatches(tiny_path("F16"), "one layout, KV cache of 4 bits", PV_KV_4BIT, 4, 8);
}

/* Each further layout among q, k and v is a dispatch more, beside the others, without a barrier; that of other matrices is
 * none. */
static void layouts_that_differ_take_a_dispatch_more_where_they_share_an_op(void **state)
{
    (void)state;
    golden_case c;
    char folder[GOLDEN_PATH], path[GOLDEN_PATH];
    golden_open(&c, "llama", "blocks_256"); /* q Q4_K, k Q8_0, v Q6_K, o F16, gate and up Q4_K, down Q6_K */
    golden_make_folder(folder);
    golden_write(&c, &(golden_file){.gguf = true, .layout = "MIXED"}, folder, path);
    expect_dispatches(path, "three layouts among q, k and v", PV_KV_F16, 9, 9);
    golden_remove_folder(folder);
    golden_make_folder(folder);
    golden_write(&c, &(golden_file){.gguf = true, .layout = "Q4_K"}, folder, path);
    expect_dispatches(path, "Q4_K", PV_KV_F16, 7, 7);
    golden_remove_folder(folder);
    golden_close(&c);
}

/* ---- Single ops ---- */

static rig device;

static void open_rig(const softmetal_world *world, bool plain)
{
    begin(world);
    assert_true(rig_open(&device, rig_backend(), NULL, 1, plain));
}

static void close_rig(void)
{
    rig_close(&device);
    expect_no_report();
}

static float *random_floats(uint64_t *seed, size_t count)
{
    float *values = malloc(count * sizeof *values);
    for (size_t i = 0; i < count; i++) values[i] = (float)ref_normal(seed);
    return values;
}

static pv_tensor random_weight(pv_layout layout, uint32_t rows, uint32_t cols, uint64_t *seed)
{
    const size_t row_bytes = ref_row_bytes(layout, cols);
    uint8_t *canonical = malloc(rows * row_bytes);
    for (uint32_t i = 0; i < rows; i++) ref_random_row(layout, cols, 1 / sqrt(cols), seed, canonical + i * row_bytes);
    const pv_tensor weight = rig_weight(&device, layout, rows, cols, PV_USE_MATRIX, canonical);
    free(canonical);
    return weight;
}

/* What the last op gave, and how many command buffers it took. */
static struct {
    uint64_t hash, buffers;
} last_run;

static void run_op(pv_op *op, const pv_tensor *out)
{
    softmetal_counts before, after;
    rig_may_write_rows(&device, out);
    softmetal_get_counts(&before);
    rig_run(&device, op, 1);
    softmetal_get_counts(&after);
    float *found = rig_rows(&device, out, device.rows);
    const uint8_t *bytes = (const uint8_t *)found;
    last_run.buffers = after.command_buffers - before.command_buffers;
    last_run.hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < (size_t)device.rows * out->cols * sizeof *found; i++)
        last_run.hash = (last_run.hash ^ bytes[i]) * 0x100000001B3u;
    free(found);
}

typedef struct linear_shape {
    pv_layout layout;
    uint32_t rows, cols, outs;
    bool glu, norm, residual;
} linear_shape;

/* One linear op on as many rows as its plan has. */
static void run_linear(const linear_shape *s)
{
    uint64_t seed = s->rows * 1009 + s->cols;
    const rig_sequence one = {.slot = 1, .first = 3, .count = (int32_t)s->rows};
    rig_reset(&device);
    device.room = 0;
    rig_step(&device, &one, 1);
    pv_op op = {.kind = PV_OP_linear, .linear = {.epsilon = 1e-5f, .part_count = s->glu ? 2 : 1}};
    float *x = random_floats(&seed, (size_t)s->rows * s->cols), *norm = random_floats(&seed, s->cols),
          *residual = random_floats(&seed, (size_t)s->rows * s->outs);
    op.linear.x = rig_input(&device, PV_EXTENT_ROWS, s->cols, x);
    if (s->norm) op.linear.norm = rig_vector(&device, norm, s->cols);
    if (s->residual) op.linear.residual = rig_input(&device, PV_EXTENT_ROWS, s->outs, residual);
    if (s->glu) op.linear.glu = PV_ACTIVATION_SILU;
    for (uint32_t p = 0; p < op.linear.part_count; p++)
        op.linear.parts[p].weight = random_weight(s->layout, s->outs, s->cols, &seed);
    op.linear.parts[0].out = rig_activation(&device, PV_EXTENT_ROWS, s->outs);
    run_op(&op, &op.linear.parts[0].out);
    free(x), free(norm), free(residual);
}

/* Bytes of the weights' buffers that were loaded, over those that the weights have. */
static double loaded_share(const linear_shape *s)
{
    char kernel[32];
    snprintf(kernel, sizeof kernel, "linear_rows%u", s->rows <= 2 ? s->rows : s->rows <= 4 ? 4 : 8);
    softmetal_reset();
    run_linear(s);
    const softmetal_kernel_counts counts = counts_of(kernel);
    const double bytes = (double)s->outs * (double)ref_row_bytes(s->layout, s->cols) * (s->glu ? 2 : 1);
    const double loaded = (double)(counts.loaded[5] + counts.loaded[6] + counts.loaded[7]);
    assert_true(loaded >= bytes); /* all of it was needed */
    return loaded / bytes;
}

static void expect_loaded_once(const linear_shape *s)
{
    const double share = loaded_share(s);
    print_message("%s, %u rows: %.3f of the weights' bytes loaded\n", pv_layout_get(s->layout)->name, s->rows, share);
    assert_true(share <= 1.05);
}

/* Those of GGUF and others, and AFFINE with the largest factors: the others differ from these in how two numbers are read. */
static bool layout_is_counted(unsigned layout)
{
    pv_affine affine;
    return !pv_layout_affine((pv_layout)layout, &affine) || affine.type == PV_LAYOUT_F32;
}

/* Kernels load a weight's bytes once, for up to eight rows. What is loaded of x, which is small and shared by all rows of a
 * weight, is not in it: on a GPU it comes from caches, which the software device has none of. */
static void few_rows_load_each_weight_once(void **state)
{
    (void)state;
    open_rig(&counted_world, false);
    for (uint32_t rows = 1; rows <= 8; rows++)
        expect_loaded_once(&(linear_shape){PV_LAYOUT_Q4_0, rows, 1024, 32, rows % 2 != 0, true, false});
    for (uint32_t rows = 2; rows <= 8; rows *= 2)
        expect_loaded_once(&(linear_shape){PV_LAYOUT_AFFINE5_G128_F32, rows, 384, 32, false, false, false});
    for (unsigned layout = 0; layout < PV_LAYOUT_COUNT; layout++)
        if (layout_is_counted(layout)) expect_loaded_once(&(linear_shape){(pv_layout)layout, 1, 1024, 32, false, false, false});
    close_rig();
}

/* ---- Experts ---- */

typedef struct moe_shape {
    pv_layout layout;
    uint32_t rows, experts, used, cols, outs; /* outs: of an expert */
    bool glu, bias;
    uint32_t touched; /* experts that rows go to */
} moe_shape;

/* moe_linear on rows that go to the first experts in turn. Returns the tiles of 32 that this takes. */
static uint32_t run_experts(const moe_shape *s)
{
    uint64_t seed = s->rows * 31 + s->experts;
    const rig_sequence one = {.slot = 1, .first = 3, .count = (int32_t)s->rows};
    const uint32_t count = s->rows * s->used, weight_rows = s->experts * s->outs;
    int32_t order[512], offsets[65];
    uint32_t tiles = 0, at = 0;
    assert_true(count <= ARRAY_COUNT(order) && s->experts < ARRAY_COUNT(offsets) && s->used <= s->touched);
    for (uint32_t e = 0; e <= s->experts; e++) {
        offsets[e] = (int32_t)at;
        for (uint32_t a = 0; a < count; a++)
            if (a % s->touched == e) order[at++] = (int32_t)a;
        tiles += (at - (uint32_t)offsets[e] + 31) / 32;
    }
    rig_reset(&device);
    device.room = 0;
    rig_step(&device, &one, 1);
    float *x = random_floats(&seed, (size_t)s->rows * s->cols), *bias = random_floats(&seed, weight_rows);
    pv_op op = {.kind = PV_OP_moe_linear,
                .moe_linear = {.experts = s->experts, .used = s->used, .part_count = s->glu ? 2 : 1}};
    op.moe_linear.glu = s->glu ? PV_ACTIVATION_SILU : PV_ACTIVATION_NONE;
    op.moe_linear.x = rig_input(&device, PV_EXTENT_ROWS, s->cols, x);
    op.moe_linear.order = rig_activation(&device, PV_EXTENT_ROWS, s->used);
    op.moe_linear.offsets = rig_activation(&device, PV_EXTENT_ROWS, s->experts + 1);
    rig_put(&device, &op.moe_linear.order, 0, order, count * 4);
    rig_put(&device, &op.moe_linear.offsets, 0, offsets, (s->experts + 1) * 4);
    for (uint32_t p = 0; p < op.moe_linear.part_count; p++) {
        op.moe_linear.parts[p].weight = random_weight(s->layout, weight_rows, s->cols, &seed);
        if (s->bias) op.moe_linear.parts[p].bias = rig_vector(&device, bias, weight_rows);
    }
    op.moe_linear.parts[0].out = rig_activation(&device, PV_EXTENT_ROWS, s->used * s->outs);
    run_op(&op, &op.moe_linear.parts[0].out);
    free(x), free(bias);
    return tiles;
}

/* The choice of experts and the order of all rows by them. */
static void run_route(uint32_t rows, uint32_t experts, uint32_t used)
{
    uint64_t seed = rows + experts;
    const rig_sequence one = {.slot = 1, .first = 3, .count = (int32_t)rows};
    rig_reset(&device);
    device.room = 0;
    rig_step(&device, &one, 1);
    float *scores = random_floats(&seed, (size_t)rows * experts);
    pv_op op = {.kind = PV_OP_moe_route, .moe_route = {.used = used, .normalize = true, .scale = 1}};
    op.moe_route.scores = rig_input(&device, PV_EXTENT_ROWS, experts, scores);
    op.moe_route.weights = rig_activation(&device, PV_EXTENT_ROWS, used);
    op.moe_route.experts = rig_activation(&device, PV_EXTENT_ROWS, used);
    op.moe_route.order = rig_activation(&device, PV_EXTENT_ROWS, used);
    op.moe_route.offsets = rig_activation(&device, PV_EXTENT_ROWS, experts + 1);
    rig_may_write_op(&device, &op);
    rig_may_write(&device, &op.moe_route.offsets, 0, (experts + 1) * 4);
    rig_run(&device, &op, 1);
    free(scores);
}

/* An expert's weights are loaded once for each 32 of the rows that go to it, and those of other experts not at all. */
static void prompts_load_an_experts_weights_once_a_tile(void **state)
{
    (void)state;
    static const moe_shape shapes[] = {
        {PV_LAYOUT_Q4_0, 48, 6, 2, 160, 64, false, false, 3},               /* 32 rows each: three tiles */
        {PV_LAYOUT_Q4_0, 90, 40, 4, 96, 32, true, false, 36},               /* ten each: a tile for 36 of 40 experts */
        {PV_LAYOUT_Q4_K, 70, 3, 1, 256, 64, false, false, 2},               /* 35 each: two tiles for either */
        {PV_LAYOUT_Q6_K, 16, 8, 2, 256, 64, false, false, 8},
        {PV_LAYOUT_MXFP4, 30, 4, 2, 96, 32, true, false, 4},
        {PV_LAYOUT_AFFINE6_G128_F32, 30, 4, 2, 384, 64, false, false, 4},
        {PV_LAYOUT_F16, 30, 4, 2, 96, 64, false, false, 4},
    };
    open_rig(&counted_world, false);
    for (size_t i = 0; i < ARRAY_COUNT(shapes); i++) {
        const moe_shape *s = &shapes[i];
        softmetal_reset();
        const uint32_t tiles = run_experts(s);
        const double expert = (double)s->outs * (double)ref_row_bytes(s->layout, s->cols) * (s->glu ? 2 : 1);
        const softmetal_kernel_counts counts = counts_of("moe_tiles");
        const double share = (double)(counts.loaded[5] + counts.loaded[6]) / (expert * tiles);
        print_message("%s, %u rows, %u of %u experts, %u tiles: %.3f of their bytes loaded\n",
                      pv_layout_get(s->layout)->name, s->rows, s->touched, s->experts, tiles, share);
        assert_true(share >= 1 && share <= 1.05);
    }
    close_rig();
}

typedef struct attention_shape {
    uint32_t kv_heads, group, head_dim, window;
    rig_sequence sequence[4];
    float soft_cap;
    bool sinks;
    pv_kv_type type;
    uint32_t latent; /* elements of a value, which queries meet as well; 0: values are as wide as keys */
} attention_shape;

/* Attention over a cache of finite cells; returns its bytes that the rows see. */
static double run_attention(const attention_shape *s)
{
    uint64_t seed = s->head_dim + s->group;
    uint32_t sequences = 0, pages = 1;
    double seen = 0;
    rig_reset(&device);
    device.room = 0;
    while (sequences < 4 && s->sequence[sequences].count > 0) sequences++;
    rig_step(&device, s->sequence, sequences);
    for (uint32_t i = 0; i < sequences; i++)
        pages += (uint32_t)(s->sequence[i].first + s->sequence[i].count + PV_PAGE_TOKENS - 1) / PV_PAGE_TOKENS;
    const uint32_t value_dim = s->latent > 0 ? s->latent : s->head_dim;
    pv_kv_view cache = rig_cache_of(&device, s->type, pages, s->kv_heads, s->head_dim, value_dim);
    uint16_t *cells = malloc((size_t)(pages * cache.page_bytes));
    for (size_t i = 0; i < pages * cache.page_bytes / 2; i++) cells[i] = ref_to_f16(ref_normal(&seed));
    rig_put(&device, &cache.pages, 0, cells, pages * cache.page_bytes);
    free(cells);
    int32_t next = 1;
    for (uint32_t i = 0; i < sequences; i++) {
        const int32_t length = s->sequence[i].first + s->sequence[i].count;
        for (int32_t block = 0; block * PV_PAGE_TOKENS < length; block++, next++)
            rig_put(&device, &cache.table, ((uint64_t)s->sequence[i].slot * cache.table.cols + (uint32_t)block) * 4, &next, 4);
        const double keys = s->window > 0 && (uint32_t)length > s->window ? s->window : (double)length;
        seen += keys * (double)cache.page_bytes / PV_PAGE_TOKENS;
    }
    const uint32_t heads = s->kv_heads * s->group, width = heads * s->head_dim, out_width = heads * value_dim;
    float *q = random_floats(&seed, (size_t)device.rows * width), *sinks = random_floats(&seed, heads);
    float *latent = random_floats(&seed, (size_t)device.rows * out_width);
    pv_op op = {.kind = PV_OP_attention,
                .attention = {.cache = cache, .heads = heads, .scale = 0.1f, .window = s->window, .soft_cap = s->soft_cap}};
    op.attention.q = rig_input(&device, PV_EXTENT_ROWS, width, q);
    if (s->latent > 0) op.attention.q_latent = rig_input(&device, PV_EXTENT_ROWS, out_width, latent);
    op.attention.out = rig_activation(&device, PV_EXTENT_ROWS, out_width);
    if (s->sinks) op.attention.sinks = rig_vector(&device, sinks, heads);
    run_op(&op, &op.attention.out);
    free(q), free(sinks), free(latent);
    return seen;
}

static void decode_rows_load_their_keys_and_values_once(void **state)
{
    (void)state;
    static const struct {
        attention_shape shape;
        const char *kernel;
    } cases[] = {
        {{2, 1, 64, 0, {{1, 699, 1, NULL}}, 0, false, PV_KV_F16}, "attention_split2_4"},
        {{1, 3, 64, 0, {{1, 699, 1, NULL}, {2, 0, 1, NULL}, {3, 255, 1, NULL}}, 0, false, PV_KV_F16}, "attention_split2_4"},
        {{1, 8, 128, 0, {{1, 300, 1, NULL}}, 0, false, PV_KV_F16}, "attention_split4_8"},
        {{1, 2, 64, 100, {{1, 699, 1, NULL}}, 0, false, PV_KV_F16}, "attention_split2_4"},
        {{2, 3, 64, 0, {{1, 699, 1, NULL}}, 0, false, PV_KV_8BIT}, "attention_split2_4"},
        {{1, 3, 96, 0, {{1, 699, 1, NULL}}, 0, false, PV_KV_4BIT}, "attention_split4_4"},
    };
    open_rig(&counted_world, false);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        softmetal_reset();
        const double seen = run_attention(&cases[i].shape), loaded = (double)counts_of(cases[i].kernel).loaded[3];
        assert_true(loaded >= seen);
        assert_true(loaded <= 1.05 * seen);
    }
    close_rig();
}

/* ---- Pieces ---- */

#define SLOWNESS 1e9 /* of a chip on which every op takes too long */

/* Both runs, the second on a chip so slow that every threadgroup along the cut axis is a command buffer of its own. */
static void expect_same_in_pieces(void (*run)(const void *shape), const void *shape, uint64_t pieces)
{
    pv_metal_traits *traits = &pv_metal_of(device.device)->traits;
    const pv_metal_traits before = *traits;
    run(shape);
    const uint64_t whole = last_run.hash;
    assert_int_equal(last_run.buffers, 1);
    traits->bytes_per_second /= SLOWNESS, traits->operations_per_second /= SLOWNESS;
    run(shape);
    *traits = before;
    print_message("%llu pieces\n", (unsigned long long)last_run.buffers);
    assert_int_equal(last_run.buffers, pieces);
    assert_true(last_run.hash == whole);
}

static void linear_runs(const void *shape) { run_linear(shape); }
static void experts_run(const void *shape) { run_experts(shape); }
static void attention_runs(const void *shape) { run_attention(shape); }

static void an_op_in_pieces_gives_the_same_bits(void **state)
{
    (void)state;
    static const linear_shape many = {PV_LAYOUT_Q4_0, 90, 96, 70, true, true, false};
    static const linear_shape few = {PV_LAYOUT_Q4_0, 7, 96, 70, false, true, true};
    static const moe_shape experts = {PV_LAYOUT_Q4_0, 70, 6, 1, 96, 48, true, true, 2};
    static const attention_shape attention = {1, 2, 64, 0, {{1, 300, 1, NULL}, {2, 10, 40, NULL}}, 0, false, PV_KV_F16};
    open_rig(&plain_world, false);
    expect_same_in_pieces(linear_runs, &many, 3);
    expect_same_in_pieces(linear_runs, &few, 1);
    expect_same_in_pieces(experts_run, &experts, 9);       /* three tiles of rows, and one for each expert */
    expect_same_in_pieces(attention_runs, &attention, 5);  /* a decode row, three tiles, and what merges the row's splits */
    close_rig();
    open_rig(&plain_world, true);
    const linear_shape plain = {PV_LAYOUT_Q4_0, 90, 96, 70, false, false, false};
    expect_same_in_pieces(linear_runs, &plain, 12);
    expect_same_in_pieces(experts_run, &experts, 18 + 6);
    expect_same_in_pieces(attention_runs, &attention, 41 + 1);
    close_rig();
}

/* ---- The checked build and the strict compiler ---- */

static void nothing_is_found_in_a_model(bool plain)
{
    begin(&checked_world);
    scene s = open_scene("Q8_0", plain, PV_KV_F16);
    run_scene(&s, 40, 3, 0);
    run_scene(&s, 5, 3, 0.8f);
    close_scene(&s);
    expect_no_report();
}

static void nothing_is_found_in_a_small_model(void **state)
{
    (void)state;
    nothing_is_found_in_a_model(false);
}

static void nothing_is_found_in_a_small_model_of_plain_programs(void **state)
{
    (void)state;
    nothing_is_found_in_a_model(true);
}

static void nothing_is_found_in_matrix_kernels(void **state)
{
    (void)state;
    open_rig(&checked_world, false);
    static const linear_shape shapes[] = {
        {PV_LAYOUT_Q4_K, 1, 512, 17, false, true, false}, {PV_LAYOUT_Q6_K, 2, 512, 17, true, false, false},
        {PV_LAYOUT_BF16, 4, 77, 9, true, true, false},    {PV_LAYOUT_Q4_1, 8, 96, 19, false, false, true},
        {PV_LAYOUT_Q4_0, 35, 96, 70, false, true, true},  {PV_LAYOUT_F32, 20, 77, 33, true, true, false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(shapes); i++) run_linear(&shapes[i]);
    close_rig();
}

/* Experts that have no rows, a few, and more than a tile; columns of out and of x that do not fill one. */
static void nothing_is_found_in_experts(void **state)
{
    (void)state;
    open_rig(&checked_world, false);
    static const moe_shape shapes[] = {
        {PV_LAYOUT_Q4_0, 70, 6, 1, 96, 48, true, true, 2}, {PV_LAYOUT_Q6_K, 9, 40, 3, 256, 16, false, true, 37},
        {PV_LAYOUT_F16, 21, 4, 2, 77, 80, false, false, 3}, {PV_LAYOUT_AFFINE5_G128_F32, 21, 4, 2, 384, 16, true, false, 3},
        {PV_LAYOUT_Q4_K, 7, 4, 2, 256, 16, true, true, 3},
    };
    for (size_t i = 0; i < ARRAY_COUNT(shapes); i++) run_experts(&shapes[i]);
    run_route(1, 8, 2);
    run_route(90, 300, 5);
    assert_int_equal(counts_of("moe_tiles").dispatches, 4);
    assert_int_equal(counts_of("moe_linear").dispatches, 1);
    close_rig();
}

static void nothing_is_found_in_attention(void **state)
{
    (void)state;
    open_rig(&checked_world, false);
    static const attention_shape shapes[] = {
        {1, 2, 64, 0, {{1, 300, 1, NULL}, {2, 10, 12, NULL}}, 0, false, PV_KV_F16},
        {1, 1, 80, 40, {{2, 50, 35, NULL}}, 0, true, PV_KV_F16},
        {1, 5, 96, 0, {{1, 40, 1, NULL}, {2, 0, 9, NULL}}, 20, true, PV_KV_F16},
        {2, 1, 128, 0, {{1, 60, 10, NULL}}, 0, false, PV_KV_F16},
        {1, 1, 256, 0, {{1, 270, 1, NULL}, {2, 30, 9, NULL}}, 0, false, PV_KV_F16},
        {1, 2, 20, 0, {{1, 40, 1, NULL}, {2, 0, 9, NULL}}, 0, false, PV_KV_F16},
        {1, 2, 64, 0, {{1, 300, 1, NULL}, {2, 10, 12, NULL}}, 0, false, PV_KV_8BIT},
        {1, 1, 80, 0, {{1, 40, 1, NULL}, {2, 10, 12, NULL}}, 0, false, PV_KV_4BIT},
        {1, 5, 64, 0, {{1, 300, 1, NULL}, {2, 10, 9, NULL}}, 0, false, PV_KV_F16, 512},
        {1, 6, 16, 0, {{1, 40, 1, NULL}, {2, 10, 9, NULL}}, 0, false, PV_KV_8BIT, 96},
        {2, 2, 48, 0, {{1, 40, 1, NULL}, {2, 10, 9, NULL}}, 0, false, PV_KV_4BIT, 20},
        {1, 1, 256, 20, {{1, 40, 1, NULL}, {2, 30, 12, NULL}}, 0, true, PV_KV_8BIT, 0},
    };
    static const char *const tiles[] = {"attention_tile64",        "attention_tile80",        "attention_tile96",
                                        "attention_tile128",       "attention_tile256",       "attention_tile64_scaled",
                                        "attention_tile80_scaled", "attention_tile256_scaled"};
    for (size_t i = 0; i < ARRAY_COUNT(shapes); i++) run_attention(&shapes[i]);
    for (size_t i = 0; i < ARRAY_COUNT(tiles); i++) assert_true(counts_of(tiles[i]).dispatches > 0);
    close_rig();
}

/* ---- Chips that lack something ---- */

/* No kernel has a bfloat in it: bf16 is read as the bits that it is, which is as right and quick without bfloat arithmetic as
 * with it. */
static void bf16_needs_no_bfloat(void **state)
{
    (void)state;
    open_rig(&(softmetal_world){.keep_open = true, .apple_family = 7, .no_bfloat = true}, false);
    run_linear(&(linear_shape){PV_LAYOUT_BF16, 1, 77, 9, true, true, false});
    run_linear(&(linear_shape){PV_LAYOUT_BF16, 20, 77, 33, false, true, false});
    close_rig();
}

/* Plain programs hold no simdgroup matrices: what is left when one with them does not compile. */
static void plain_programs_need_no_matrices(void **state)
{
    (void)state;
    begin(&(softmetal_world){.keep_open = true, .no_simdgroup_matrix = true});
    scene s = open_scene("F16", true, PV_KV_F16);
    run_scene(&s, 40, 2, 0);
    close_scene(&s);
    expect_no_report();
}

/* An argument names the cases to run ("*loads*", "few*"). */
int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    setenv("PENSIEVE_TEST_DEVICE", "metal", 1); /* what the rig opens */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_decode_step_takes_seven_dispatches_a_layer_at_most),
        cmocka_unit_test(layouts_that_differ_take_a_dispatch_more_where_they_share_an_op),
        cmocka_unit_test(few_rows_load_each_weight_once),
        cmocka_unit_test(prompts_load_an_experts_weights_once_a_tile),
        cmocka_unit_test(decode_rows_load_their_keys_and_values_once),
        cmocka_unit_test(an_op_in_pieces_gives_the_same_bits),
        cmocka_unit_test(nothing_is_found_in_a_small_model),
        cmocka_unit_test(nothing_is_found_in_a_small_model_of_plain_programs),
        cmocka_unit_test(nothing_is_found_in_matrix_kernels),
        cmocka_unit_test(nothing_is_found_in_experts),
        cmocka_unit_test(nothing_is_found_in_attention),
        cmocka_unit_test(bf16_needs_no_bfloat),
        cmocka_unit_test(plain_programs_need_no_matrices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
