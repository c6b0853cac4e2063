/* Dense blocks as Core ML programs: the bytes that are written are those that Core ML's own tools were shown (check_ane.py). */
#include "test_cpu.h"

#include <unistd.h>

#include "backend/ane/ane.h"
#include "backend/ane/package.h"
#include "backend/cpu/pack.h"
#include "support_ane.h"
#include "support_files.h"
#include "runtime/runtime.h"
#include "support/tiny.h"
#include "support_runtime.h"

#define ROWS 4
#define COLS 32
#define OUT 48
#define MAX_WEIGHTS (OUT * COLS)

/* Elements that f16 holds exactly; check_ane.py knows them too. */
static float element(uint32_t row, uint32_t col, uint32_t seed)
{
    return ((float)((row * 7 + col * 13 + seed * 5) % 31) - 15) / 16;
}

/* A block and the memory of its tensors. */
typedef struct block {
    uint8_t bytes[8][MAX_WEIGHTS * 4];
    pv_buffer buffers[8];
    uint32_t tensors;
    pv_op op;
} block;

static pv_tensor add_tensor(block *b, pv_layout layout, uint32_t rows, uint32_t cols, uint32_t seed)
{
    float row[COLS + OUT];
    uint64_t row_bytes;
    const uint32_t at = b->tensors++;
    assert_true(pv_layout_row_bytes(layout, cols, &row_bytes) && row_bytes * rows <= sizeof b->bytes[0]);
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t c = 0; c < cols; c++) row[c] = element(r, c, seed);
        pv_layout_encode(layout, row, cols, b->bytes[at] + r * row_bytes);
    }
    b->buffers[at] = (pv_buffer){.host = b->bytes[at], .bytes = sizeof b->bytes[at]};
    return (pv_tensor){.buffer = &b->buffers[at], .rows = rows, .cols = cols, .row_bytes = row_bytes, .layout = layout};
}

static pv_tensor activation(block *b, uint32_t cols)
{
    pv_tensor tensor = add_tensor(b, PV_LAYOUT_F32, ROWS, cols, 0);
    tensor.extent = PV_EXTENT_ROWS;
    return tensor;
}

/* Norm, gate and up, their product. */
static void make_gate_up(block *b)
{
    *b = (block){.op = {.kind = PV_OP_linear}};
    pv_op_linear *linear = &b->op.linear;
    linear->x = activation(b, COLS);
    linear->norm = add_tensor(b, PV_LAYOUT_F32, 1, COLS, 1);
    linear->epsilon = 1e-5f;
    linear->part_count = 2;
    linear->glu = PV_ACTIVATION_SILU;
    linear->parts[0].weight = add_tensor(b, PV_LAYOUT_F16, OUT, COLS, 2);
    linear->parts[1].weight = add_tensor(b, PV_LAYOUT_F32, OUT, COLS, 3);
}

/* Three matrices of one input, one of them with a bias, no norm. */
static void make_qkv(block *b)
{
    *b = (block){.op = {.kind = PV_OP_linear}};
    pv_op_linear *linear = &b->op.linear;
    linear->x = activation(b, COLS);
    linear->part_count = 3;
    for (uint32_t p = 0; p < 3; p++) linear->parts[p].weight = add_tensor(b, PV_LAYOUT_BF16, p == 0 ? OUT : 16, COLS, 4 + p);
    linear->parts[1].bias = add_tensor(b, PV_LAYOUT_F32, 1, 16, 7);
}

/* Gate and up once more by the other activation, and a matrix that is added to what was there. */
static void make_down(block *b)
{
    *b = (block){.op = {.kind = PV_OP_linear}};
    pv_op_linear *linear = &b->op.linear;
    linear->x = activation(b, COLS);
    linear->residual = activation(b, OUT);
    linear->part_count = 2;
    linear->glu = PV_ACTIVATION_GELU;
    linear->parts[0].weight = add_tensor(b, PV_LAYOUT_F16, OUT, COLS, 8);
    linear->parts[1].weight = add_tensor(b, PV_LAYOUT_F16, OUT, COLS, 9);
}

static const struct {
    const char *name;
    void (*make)(block *b);
} blocks[] = {{"gate_up", make_gate_up}, {"qkv", make_qkv}, {"gated_residual", make_down}};
#define BLOCKS (sizeof blocks / sizeof blocks[0])

static void assert_same_file(const char *folder, const char *wanted_folder, const char *file)
{
    char path[PV_ANE_PATH + 64];
    size_t length, wanted_length;
    pv_ane_package_path(folder, file, path);
    uint8_t *bytes = tf_read(path, &length);
    pv_ane_package_path(wanted_folder, file, path);
    uint8_t *wanted = tf_read(path, &wanted_length);
    assert_non_null(bytes);
    assert_non_null(wanted);
    assert_int_equal(length, wanted_length);
    assert_memory_equal(bytes, wanted, length);
    free(bytes);
    free(wanted);
}

/* With PENSIEVE_ANE_OUT the packages go there, for check_ane.py. */
static void a_block_is_written_as_it_was_checked(void **state)
{
    static const char *const files[] = {"Manifest.json", "Data/com.apple.CoreML/model.mlmodel", PV_ANE_WEIGHTS};
    const char *out = getenv("PENSIEVE_ANE_OUT");
    block *b = malloc(sizeof *b);
    rt_memory memory;
    (void)state;
    rt_memory_init(&memory, 0);
    for (size_t i = 0; i < BLOCKS; i++) {
        char folder[PV_ANE_PATH], wanted[PV_ANE_PATH];
        snprintf(wanted, sizeof wanted, "%s/unit/data/ane/%s.mlpackage", PV_TEST_DATA, blocks[i].name);
        snprintf(folder, sizeof folder, "%s/%s.mlpackage", out != NULL ? out : tf_path(""), blocks[i].name);
        blocks[i].make(b);
        assert_true(pv_ane_block_suits(&b->op));
        assert_int_equal(pv_ane_block_write(&memory.allocator, &b->op.linear, ROWS, folder, NULL), PV_OK);
        for (size_t f = 0; f < 3 && out == NULL; f++) assert_same_file(folder, wanted, files[f]);
        if (out == NULL) pv_ane_package_remove(folder);
    }
    assert_int_equal(memory.live, 0);
    free(b);
}

static void no_memory_leaves_nothing_behind(void **state)
{
    block *b = malloc(sizeof *b);
    rt_memory memory;
    pv_status status = PV_INTERNAL;
    char folder[PV_ANE_PATH];
    (void)state;
    snprintf(folder, sizeof folder, "%s", tf_path("short.mlpackage"));
    make_gate_up(b);
    uint64_t at = 0;
    while (status != PV_OK) {
        pv_error error = {0};
        rt_memory_init(&memory, ++at);
        status = pv_ane_block_write(&memory.allocator, &b->op.linear, ROWS, folder, &error);
        assert_int_equal(memory.live, 0);
        if (status == PV_OK) break;
        assert_int_equal(status, PV_OUT_OF_MEMORY);
        assert_int_equal(error.status, PV_OUT_OF_MEMORY);
        assert_int_not_equal(access(folder, F_OK), 0);
    }
    assert_true(at > 10);
    pv_ane_package_remove(folder);
    assert_int_not_equal(access(folder, F_OK), 0);
    free(b);
}

static void a_folder_that_cannot_be_made_is_named(void **state)
{
    block *b = malloc(sizeof *b);
    rt_memory memory;
    pv_error error = {0};
    (void)state;
    rt_memory_init(&memory, 0);
    make_qkv(b);
    assert_int_equal(pv_ane_block_write(&memory.allocator, &b->op.linear, ROWS, tf_path("no/such/folder"), &error), PV_IO);
    assert_non_null(strstr(error.message, "no/such/folder"));
    free(b);
}

static void what_is_no_dense_block_of_rows_is_refused(void **state)
{
    block *b = malloc(sizeof *b);
    (void)state;
    make_qkv(b);
    b->op.linear.x.extent = PV_EXTENT_LOGITS;
    assert_false(pv_ane_block_suits(&b->op));
    make_qkv(b);
    b->buffers[2].host = NULL; /* a weight that the CPU does not see */
    assert_false(pv_ane_block_suits(&b->op));
    b->op.kind = PV_OP_rms_norm;
    assert_false(pv_ane_block_suits(&b->op));
    free(b);
}

/* ---- The device, with a stand-in for Core ML that does in double what the op says ---- */

#define PLAN_ROWS 130
#define TRUE_ROWS 100
#define WIDTH 64
#define GATES 96

static pv_backend_device *open_device(const pv_allocator *allocator, bool plain)
{
    static char cache[PV_ANE_PATH];
    static pv_environment environment;
    const pv_backend *backend = ane_stand_in_backend(PLAN_ROWS, TRUE_ROWS);
    pv_backend_device *device = NULL;
    snprintf(cache, sizeof cache, "%s", tf_path(""));
    environment = (pv_environment){.allocator = allocator, .cpu_kernels = "generic", .threads = 1, .cache = cache};
    assert_int_equal(backend->open(backend, &environment, "ane:0", plain, &device, NULL), PV_OK);
    return device;
}

/* A prompt's blocks: three matrices; one that adds to what was there; gate and up behind a norm; and one op of the CPU's
 * between. */
typedef struct layer {
    cpu_slab slab;
    cpu_step step;
    pv_tensor x, q, k, v, gated;
    pv_op ops[4];
} layer;

static void make_layer(layer *l, pv_backend_device *device, uint32_t rows)
{
    static float values[GATES * WIDTH];
    *l = (layer){.slab = {.device = device}};
    cpu_slab *slab = &l->slab;
    l->step = cpu_step_make(slab, (pv_step_limits){.rows = rows, .seqs = 1, .logits = 1});
    l->step.view.counts->rows = rows < TRUE_ROWS ? rows : TRUE_ROWS;
    l->x = cpu_tensor(slab, rows, WIDTH, PV_EXTENT_ROWS);
    l->q = cpu_tensor(slab, rows, WIDTH, PV_EXTENT_ROWS);
    l->k = cpu_tensor(slab, rows, 32, PV_EXTENT_ROWS);
    l->v = cpu_tensor(slab, rows, 32, PV_EXTENT_ROWS);
    l->gated = cpu_tensor(slab, rows, GATES, PV_EXTENT_ROWS);
    cpu_fill(1, cpu_values(&l->x), (size_t)l->step.view.counts->rows * WIDTH);
    const pv_tensor norm = cpu_tensor(slab, 1, WIDTH, PV_EXTENT_FIXED), bias = cpu_tensor(slab, 1, 32, PV_EXTENT_FIXED);
    cpu_fill(2, cpu_values(&norm), WIDTH);
    cpu_fill(3, cpu_values(&bias), 32);
#define WEIGHT(seed, layout, rows)                                                                                             \
    (cpu_fill(seed, values, (size_t)(rows) * WIDTH), cpu_weight(slab, layout, rows, WIDTH, values))
    l->ops[0] = (pv_op){.kind = PV_OP_linear, .linear = {.x = l->x, .part_count = 3}};
    l->ops[0].linear.parts[0] = (pv_linear_part){.weight = WEIGHT(4, PV_LAYOUT_F16, WIDTH), .out = l->q};
    l->ops[0].linear.parts[1] = (pv_linear_part){.weight = WEIGHT(5, PV_LAYOUT_Q8_0, 32), .bias = bias, .out = l->k};
    l->ops[0].linear.parts[2] = (pv_linear_part){.weight = WEIGHT(6, PV_LAYOUT_Q4_0, 32), .out = l->v};
    l->ops[1] = (pv_op){.kind = PV_OP_linear, .linear = {.x = l->q, .part_count = 1, .residual = l->x}};
    l->ops[1].linear.parts[0] = (pv_linear_part){.weight = WEIGHT(7, PV_LAYOUT_F32, WIDTH), .out = l->x};
    l->ops[2] = (pv_op){.kind = PV_OP_rms_norm, .rms_norm = {.x = l->k, .weight = bias, .out = l->k, .epsilon = 1e-5f}};
    l->ops[3] = (pv_op){.kind = PV_OP_linear,
                        .linear = {.x = l->x, .norm = norm, .epsilon = 1e-5f, .part_count = 2, .glu = PV_ACTIVATION_SILU}};
    l->ops[3].linear.parts[0] = (pv_linear_part){.weight = WEIGHT(8, PV_LAYOUT_F16, GATES), .out = l->gated};
    l->ops[3].linear.parts[1] = (pv_linear_part){.weight = WEIGHT(9, PV_LAYOUT_F16, GATES)};
#undef WEIGHT
    for (size_t i = 0; i < 4; i++) l->ops[i].barrier = true;
}

static void assert_close(const pv_tensor *found, const pv_tensor *wanted, uint32_t rows)
{
    const float *a = cpu_values(found), *b = cpu_values(wanted);
    for (size_t i = 0; i < (size_t)rows * found->cols; i++) {
        /* the CPU quantizes to 16 bits what meets quantized weights: 1/32512 of a group's largest, over WIDTH products */
        if (!(fabsf(a[i] - b[i]) <= 4e-3f + 1e-3f * fabsf(b[i])))
            fail_msg("element %zu: %g, wanted %g", i, (double)a[i], (double)b[i]);
    }
    for (size_t i = (size_t)rows * found->cols; i < (size_t)found->rows * found->cols; i++) assert_true(isnan(a[i]));
}

static void blocks_of_a_long_prompt_give_what_the_cpu_gives(void **state)
{
    static const struct {
        uint32_t rows;
        bool plain;
        uint64_t programs;
    } cases[] = {{PLAN_ROWS, false, 3}, {PLAN_ROWS, true, 0}, {PV_ANE_LEAST_ROWS - 1, false, 0}};
    layer *ours = malloc(sizeof *ours), *cpus = malloc(sizeof *cpus);
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rt_memory memory;
        rt_memory_init(&memory, 0);
        pv_backend_device *cpu = cpu_open("generic", 1, false), *ane = open_device(&memory.allocator, false);
        if (cases[i].plain) ane->backend->close(ane), ane = open_device(&memory.allocator, true);
        make_layer(cpus, cpu, cases[i].rows);
        make_layer(ours, ane, cases[i].rows);
        if (cases[i].plain) { /* fused forms are declined there: the plain one is left */
            assert_false(ane->backend->supports(ane, &ours->ops[3]));
            cpu_run(ane, ours->ops + 1, 1, &ours->step);
        } else {
            cpu_run(cpu, cpus->ops, 4, &cpus->step);
            cpu_run(ane, ours->ops, 4, &ours->step);
            const uint32_t rows = cases[i].rows < TRUE_ROWS ? cases[i].rows : TRUE_ROWS;
            assert_close(&ours->q, &cpus->q, rows);
            assert_close(&ours->k, &cpus->k, rows);
            assert_close(&ours->v, &cpus->v, rows);
            assert_close(&ours->x, &cpus->x, rows);
            assert_close(&ours->gated, &cpus->gated, rows);
        }
        assert_int_equal(cpu_count(ane, "linear ane"), cases[i].programs);
        assert_int_equal(ane_seen.ran, cases[i].programs);
        assert_int_equal(ane_seen.loaded, 0); /* what was loaded was let go */
        cpu_free(&ours->slab);
        cpu_free(&cpus->slab);
        ane->backend->close(ane);
        cpu->backend->close(cpu);
        assert_int_equal(memory.live, 0);
        assert_int_equal(tf_count(), 0);
    }
    free(ours);
    free(cpus);
}

static void a_program_that_fails_is_an_error_and_the_device_goes_on(void **state)
{
    const pv_allocator allocator = pv_allocator_default();
    layer *l = malloc(sizeof *l);
    pv_error error = {0};
    pv_prepared *prepared = NULL;
    pv_fence fence;
    atomic_bool abort = false;
    (void)state;
    pv_backend_device *device = open_device(&allocator, false);
    make_layer(l, device, PLAN_ROWS);
    const pv_plan plan = {.ops = l->ops, .count = 4, .limits = l->step.limits, .rows = PLAN_ROWS, .logits = 1};
    ane_seen.fail_load = 2;
    assert_int_equal(device->backend->prepare(device, &plan, &prepared, &error), PV_PROGRAM);
    assert_non_null(strstr(error.message, "not liked"));
    assert_int_equal(tf_count(), 0);
    memset(&ane_seen, 0, sizeof ane_seen);
    assert_int_equal(device->backend->prepare(device, &plan, &prepared, NULL), PV_OK);
    const pv_submission submission = {
        .plans = &prepared, .plan_count = 1, .block = l->step.block, .outputs = l->step.outputs, .abort = &abort};
    ane_seen.fail_run = 2;
    assert_int_equal(device->backend->submit(device, &submission, &fence, NULL), PV_OK);
    assert_int_equal(device->backend->wait(device, fence, UINT32_MAX, &error), PV_DEVICE_TRANSIENT);
    assert_int_equal(device->backend->submit(device, &submission, &fence, NULL), PV_OK);
    assert_int_equal(device->backend->wait(device, fence, UINT32_MAX, &error), PV_OK);
    assert_int_equal(ane_seen.ran, 5);
    abort = true;
    assert_int_equal(device->backend->submit(device, &submission, &fence, NULL), PV_OK);
    assert_int_equal(device->backend->wait(device, fence, UINT32_MAX, &error), PV_CANCELLED);
    assert_int_equal(device->backend->wait(device, fence + 1, 0, &error), PV_INVALID_ARGUMENT);
    assert_int_equal(ane_seen.ran, 5);
    device->backend->release(device, prepared);
    cpu_free(&l->slab);
    device->backend->close(device);
    free(l);
}

/* A whole model: the prompt's blocks are programs, its last rows and the answer are the CPU's, and the text is the CPU's. */
static void a_model_gives_the_cpus_answer(void **state)
{
    enum { PROMPT = 300, STEP = 160, LAYERS = 2, BLOCKS_OF_A_LAYER = 4 };
    static int32_t prompt[PROMPT];
    static tiny_result wanted, found;
    const pv_backend *const backends[] = {&pv_cpu_backend, ane_stand_in_backend(0, 0)};
    pv_request request = {.prompt = prompt, .prompt_length = PROMPT, .max_tokens = 24, .ignore_end = true,
                          .sampling = {.temperature = 0.8f, .seed = 5}}; /* its greedy text would be one token again and again */
    (void)state;
    for (int i = 0; i < PROMPT; i++) prompt[i] = (i * 37 + i / 7) % TINY_VOCABULARY;
    for (size_t b = 0; b < 2; b++) {
        pv_runtime *runtime = NULL;
        pv_model *model = NULL;
        pv_error error = {0};
        const pv_runtime_options options = {.threads = 1, .cpu_kernels = "generic", .cache = tf_path("")};
        const pv_model_options of_model = {.device = b == 0 ? "cpu" : "ane:0", .max_step_rows = STEP, .context = 512};
        assert_int_equal(pv_runtime_create_with(&options, backends, 2, &runtime, &error), PV_OK);
        if (pv_model_load(runtime, tiny_path("F32"), &of_model, &model, &error) != PV_OK) fail_msg("%s", error.message);
        tiny_run_alone(model, &request, b == 0 ? &wanted : &found);
        if (b == 0) assert_int_equal(ane_seen.ran, 0);
        pv_model_destroy(model);
        pv_runtime_destroy(runtime);
    }
    /* steps of 160 and 140 rows: all blocks of both */
    assert_int_equal(ane_seen.ran, 2 * LAYERS * BLOCKS_OF_A_LAYER);
    assert_int_equal(ane_seen.loaded, 0);
    tiny_assert_same(&found, &wanted);
}

/* Where Core ML is not there the device says so, and "auto" never takes it. */
static void a_system_without_core_ml_says_so(void **state)
{
    pv_runtime *runtime = NULL;
    pv_device_info info = {0};
    (void)state;
    assert_int_equal(pv_runtime_create(NULL, &runtime, NULL), PV_OK);
    const size_t last = pv_device_count(runtime) - 1;
    assert_int_equal(pv_device_get_info(runtime, last, &info, NULL), PV_OK);
    assert_string_equal(info.id, "ane:0");
#ifndef __APPLE__
    assert_false(info.available);
    assert_string_equal(info.reason, "this system has no Core ML");
#endif
    assert_int_equal(pv_device_get_info(runtime, last - 1, &info, NULL), PV_OK);
    assert_string_equal(info.id, "cpu");
    pv_runtime_destroy(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_is_written_as_it_was_checked),
        cmocka_unit_test(no_memory_leaves_nothing_behind),
        cmocka_unit_test(a_folder_that_cannot_be_made_is_named),
        cmocka_unit_test(what_is_no_dense_block_of_rows_is_refused),
        cmocka_unit_test(blocks_of_a_long_prompt_give_what_the_cpu_gives),
        cmocka_unit_test(a_program_that_fails_is_an_error_and_the_device_goes_on),
        cmocka_unit_test(a_model_gives_the_cpus_answer),
        cmocka_unit_test(a_system_without_core_ml_says_so),
    };
    return cmocka_run_group_tests_name("ane", tests, tf_make_folder, tf_remove_folder);
}
