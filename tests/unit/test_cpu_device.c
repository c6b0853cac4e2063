/* The CPU device: opening, kernels by name, buffers, weights, plain, queue, time-outs, aborts, and memory that runs out. */
#include "test_cpu.h"

static pv_status open_with(const char *kernels, const char *id, const pv_allocator *allocator, pv_backend_device **device, pv_error *error)
{
    const pv_environment environment = {.allocator = allocator, .cpu_kernels = kernels, .threads = 2};
    return pv_cpu_backend.open(&pv_cpu_backend, &environment, id, false, device, error);
}

static void test_names(void **state)
{
    (void)state;
    static const char *const absent[] = {"amx", "i8mm", "sse9"};
    const pv_allocator allocator = pv_allocator_default();
    pv_backend_device *device = NULL;
    pv_error error;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(open_with(absent[i], "cpu", &allocator, &device, &error), PV_NOT_FOUND);
        assert_non_null(strstr(error.message, absent[i]));
        assert_non_null(strstr(error.message, "generic"));
        const pv_environment environment = {.allocator = &allocator, .cpu_kernels = absent[i]};
        size_t count;
        assert_int_equal(pv_cpu_backend.enumerate(&pv_cpu_backend, &environment, NULL, 0, &count, NULL), PV_NOT_FOUND);
    }
    assert_int_equal(open_with(NULL, "cpu:1", &allocator, &device, &error), PV_NOT_FOUND);
    assert_int_equal(open_with("generic", "cpu", &allocator, &device, &error), PV_OK);
    assert_string_equal(device->backend->describe(device)->kernels, "generic");
    device->backend->close(device);
    static const struct {
        const char *name;
        bool expected;
    } sets[] = {
#if defined(__x86_64__)
        {"avx2", false}, {"avx512", false}, {"neon", false}, {"dotprod", false},
#elif defined(__aarch64__)
        {"neon", true}, {"avx2", false},
#else
        {"generic", true},
#endif
    };
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        bool expected = sets[i].expected;
#if defined(__x86_64__)
        if (strcmp(sets[i].name, "avx2") == 0) expected = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
        if (strcmp(sets[i].name, "avx512") == 0) expected = __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw");
#endif
        assert_int_equal(open_with(sets[i].name, "cpu", &allocator, &device, NULL), expected ? PV_OK : PV_NOT_FOUND);
        if (!expected) continue;
        assert_string_equal(device->backend->describe(device)->kernels, sets[i].name);
        device->backend->close(device);
    }
}

static void test_description(void **state)
{
    (void)state;
    const pv_allocator allocator = pv_allocator_default();
    const pv_environment environment = {.allocator = &allocator};
    pv_device_description description;
    size_t count = 0;
    assert_int_equal(pv_cpu_backend.enumerate(&pv_cpu_backend, &environment, &description, 1, &count, NULL), PV_OK);
    assert_int_equal(count, 1);
    assert_string_equal(description.id, "cpu");
    assert_true(description.available && description.unified && description.threads >= 1 && description.name[0] != 0);
    assert_true(description.memory_usable > 0 && description.memory_usable <= description.memory_total);
    assert_int_equal(description.steps_ahead, 1);
}

static void test_buffers(void **state)
{
    (void)state;
    pv_backend_device *device = cpu_open(NULL, 2, false);
    static const uint64_t sizes[] = {1, 100, 4096, (4u << 20) - 1, 4u << 20, 9u << 20};
    uint64_t last = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        pv_buffer buffer;
        assert_int_equal(device->backend->alloc(device, PV_MEMORY_KV, sizes[i], &buffer, NULL), PV_OK);
        assert_int_equal((uintptr_t)buffer.host % 64, 0);
        assert_int_equal(buffer.bytes, sizes[i]);
        assert_true(buffer.id > last);
        last = buffer.id;
        for (uint64_t at = 0; at < sizes[i]; at++) assert_int_equal(buffer.host[at], 0);
        uint8_t bytes[4] = {1, 2, 3, 4}, back[4] = {0};
        if (sizes[i] >= 8) {
            assert_int_equal(device->backend->write(device, &buffer, sizes[i] - 4, bytes, 4, NULL), PV_OK);
            assert_int_equal(device->backend->read(device, &buffer, sizes[i] - 4, back, 4, NULL), PV_OK);
            assert_memory_equal(bytes, back, 4);
        }
        assert_int_equal(device->backend->write(device, &buffer, sizes[i], bytes, 1, NULL), PV_INVALID_ARGUMENT);
        assert_int_equal(device->backend->read(device, &buffer, UINT64_MAX, back, 2, NULL), PV_INVALID_ARGUMENT);
        device->backend->free(device, &buffer);
        device->backend->free(device, &buffer); /* a freed one is nothing */
    }
    pv_buffer buffer;
    pv_error error;
    assert_int_equal(device->backend->alloc(device, PV_MEMORY_WEIGHTS, UINT64_C(1) << 60, &buffer, &error), PV_DEVICE_OUT_OF_MEMORY);
    assert_non_null(strstr(error.message, "1152921504606846976"));
    assert_int_equal(device->backend->alloc(device, PV_MEMORY_WEIGHTS, UINT64_MAX, &buffer, &error), PV_DEVICE_OUT_OF_MEMORY);
    char host[100] = "here";
    assert_int_equal(device->backend->import(device, host, sizeof host, &buffer, NULL), PV_OK);
    assert_ptr_equal(buffer.host, host);
    device->backend->free(device, &buffer);
    assert_string_equal(host, "here");
    device->backend->close(device);
}

/* A packed weight takes the bytes of the file, but for the last tile's padding. */
static void test_weight_spec(void **state)
{
    (void)state;
    pv_backend_device *device = cpu_open(NULL, 1, false);
    for (int layout = 0; layout < PV_LAYOUT_COUNT; layout++) {
        uint64_t row_bytes;
        pv_weight_spec spec, again;
        assert_true(pv_layout_row_bytes((pv_layout)layout, 512, &row_bytes));
        assert_int_equal(device->backend->weight_spec(device, (pv_layout)layout, 64, 512, PV_USE_MATRIX | PV_USE_ROWS, &spec, NULL), PV_OK);
        assert_int_equal(spec.bytes, 64 * row_bytes);
        assert_int_equal(spec.row_tile, 16);
        assert_int_equal(spec.layout, layout);
        assert_int_equal(device->backend->weight_spec(device, (pv_layout)layout, 64, 512, PV_USE_MATRIX | PV_USE_ROWS, &again, NULL), PV_OK);
        assert_memory_equal(&spec, &again, sizeof spec);
        assert_int_equal(device->backend->weight_spec(device, (pv_layout)layout, 65, 512, PV_USE_MATRIX, &spec, NULL), PV_OK);
        assert_int_equal(spec.bytes, 80 * row_bytes);
        assert_int_equal(device->backend->weight_spec(device, (pv_layout)layout, 1, 512, PV_USE_VECTOR, &spec, NULL), PV_OK);
        assert_int_equal(spec.layout, PV_LAYOUT_F32);
        assert_int_equal(spec.bytes, 2048);
    }
    pv_weight_spec spec;
    pv_error error;
    assert_int_equal(device->backend->weight_spec(device, PV_LAYOUT_Q4_K, 16, 576, PV_USE_MATRIX, &spec, &error), PV_UNSUPPORTED);
    assert_non_null(strstr(error.message, "Q4_K"));
    assert_int_equal(device->backend->weight_spec(device, PV_LAYOUT_COUNT, 16, 576, PV_USE_MATRIX, &spec, &error), PV_UNSUPPORTED);
    device->backend->close(device);
}

/* Uploads in pieces give the bytes of one upload; pieces that are no whole tiles are refused. */
static void test_upload_pieces(void **state)
{
    (void)state;
    enum { ROWS = 70, COLS = 64 };
    cpu_slab slab = {.device = cpu_open(NULL, 3, false)};
    pv_backend_device *device = slab.device;
    float values[ROWS * COLS];
    uint8_t rows[ROWS * 68];
    cpu_fill(1, values, ROWS * COLS);
    const pv_tensor whole = cpu_weight(&slab, PV_LAYOUT_Q8_0, ROWS, COLS, values);
    for (int r = 0; r < ROWS; r++) pv_layout_encode(PV_LAYOUT_Q8_0, values + r * COLS, COLS, rows + r * 68);
    pv_tensor pieces = whole;
    pieces.buffer = cpu_buffer(&slab, 80 * 68);
    memset(pieces.buffer->host, 0xEE, 80 * 68);
    assert_int_equal(device->backend->upload(device, &pieces, 32, 32, rows + 32 * 68, NULL), PV_OK);
    assert_int_equal(device->backend->upload(device, &pieces, 64, 6, rows + 64 * 68, NULL), PV_OK);
    assert_int_equal(device->backend->upload(device, &pieces, 0, 32, rows, NULL), PV_OK);
    assert_memory_equal(pieces.buffer->host, pv_tensor_host(&whole), 80 * 68);
    assert_int_equal(device->backend->upload(device, &pieces, 8, 16, rows, NULL), PV_INVALID_ARGUMENT);
    assert_int_equal(device->backend->upload(device, &pieces, 0, 24, rows, NULL), PV_INVALID_ARGUMENT);
    assert_int_equal(device->backend->upload(device, &pieces, 64, 7, rows, NULL), PV_INVALID_ARGUMENT);
    cpu_free(&slab);
    device->backend->close(device);
}

/* A plan of `count` linear ops in a chain: x ← W x, so that each needs the one before. */
typedef struct chain {
    cpu_slab slab;
    pv_op *ops;
    pv_plan plan;
    pv_prepared *prepared;
    cpu_step step;
    pv_tensor a, b;
} chain;

enum { CHAIN_COLS = 64 };

static void chain_make(chain *c, uint32_t threads, uint32_t count)
{
    *c = (chain){.slab = {.device = cpu_open(NULL, threads, false)}};
    c->ops = calloc(count, sizeof *c->ops);
    c->a = cpu_tensor(&c->slab, 1, CHAIN_COLS, PV_EXTENT_ROWS);
    c->b = cpu_tensor(&c->slab, 1, CHAIN_COLS, PV_EXTENT_ROWS);
    float *w = calloc(CHAIN_COLS * CHAIN_COLS, sizeof *w);
    for (int i = 0; i < CHAIN_COLS; i++) w[i * CHAIN_COLS + (i + 1) % CHAIN_COLS] = 1; /* turns the vector by one place */
    const pv_tensor weight = cpu_weight(&c->slab, PV_LAYOUT_F32, CHAIN_COLS, CHAIN_COLS, w);
    free(w);
    for (uint32_t i = 0; i < count; i++) {
        c->ops[i] = (pv_op){.kind = PV_OP_linear, .barrier = true};
        c->ops[i].linear.x = i % 2 == 0 ? c->a : c->b;
        c->ops[i].linear.part_count = 1;
        c->ops[i].linear.parts[0] = (pv_linear_part){.weight = weight, .out = i % 2 == 0 ? c->b : c->a};
    }
    c->step = cpu_step_make(&c->slab, (pv_step_limits){.rows = 1, .seqs = 1, .logits = 1});
    c->step.view.counts->rows = 1;
    c->plan = (pv_plan){.ops = c->ops, .count = count, .limits = c->step.limits, .rows = 1};
    assert_int_equal(c->slab.device->backend->prepare(c->slab.device, &c->plan, &c->prepared, NULL), PV_OK);
    for (int i = 0; i < CHAIN_COLS; i++) cpu_values(&c->a)[i] = (float)i;
}

static pv_fence chain_submit(chain *c, const atomic_bool *abort)
{
    const pv_submission submission = {.plans = &c->prepared, .plan_count = 1, .block = c->step.block, .outputs = c->step.outputs, .abort = abort};
    pv_fence fence = 0;
    assert_int_equal(c->slab.device->backend->submit(c->slab.device, &submission, &fence, NULL), PV_OK);
    return fence;
}

static void chain_free(chain *c)
{
    pv_backend_device *device = c->slab.device;
    device->backend->release(device, c->prepared);
    cpu_free(&c->slab);
    device->backend->close(device);
    free(c->ops);
}

/* Waiting with no time still gets on, op by op, and the outcome is that of an undisturbed run. */
static void test_timeouts(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 3; threads++) {
        chain c;
        enum { OPS = 200 };
        chain_make(&c, threads, OPS);
        const pv_fence fence = chain_submit(&c, NULL);
        uint32_t waits = 1;
        pv_error error;
        pv_status status;
        while ((status = c.slab.device->backend->wait(c.slab.device, fence, 0, &error)) == PV_TIMEOUT) waits++;
        assert_int_equal(status, PV_OK);
        assert_int_equal(waits, OPS);
        for (int i = 0; i < CHAIN_COLS; i++) assert_true(cpu_values(&c.a)[i] == (float)((i + OPS) % CHAIN_COLS));
        assert_int_equal(cpu_count(c.slab.device, "linear f32"), OPS);
        assert_int_equal(c.slab.device->backend->wait(c.slab.device, fence, 0, NULL), PV_OK); /* it has ended */
        assert_int_equal(c.slab.device->backend->wait(c.slab.device, fence + 1, 0, NULL), PV_INVALID_ARGUMENT);
        chain_free(&c);
    }
}

static void test_abort(void **state)
{
    (void)state;
    chain c;
    chain_make(&c, 2, 50);
    atomic_bool abort;
    atomic_init(&abort, true);
    pv_fence fence = chain_submit(&c, &abort);
    assert_int_equal(c.slab.device->backend->wait(c.slab.device, fence, 1000, NULL), PV_CANCELLED);
    assert_int_equal(cpu_count(c.slab.device, "linear f32"), 0);
    /* half way: some ops run, then the flag is raised, then nothing more */
    atomic_store(&abort, false);
    fence = chain_submit(&c, &abort);
    for (int i = 0; i < 10; i++) assert_int_equal(c.slab.device->backend->wait(c.slab.device, fence, 0, NULL), PV_TIMEOUT);
    atomic_store(&abort, true);
    assert_int_equal(c.slab.device->backend->wait(c.slab.device, fence, 1000, NULL), PV_CANCELLED);
    assert_int_equal(cpu_count(c.slab.device, "linear f32"), 10);
    /* the device goes on */
    atomic_store(&abort, false);
    for (int i = 0; i < CHAIN_COLS; i++) cpu_values(&c.a)[i] = (float)i;
    fence = chain_submit(&c, &abort);
    assert_int_equal(c.slab.device->backend->wait(c.slab.device, fence, 60000, NULL), PV_OK);
    for (int i = 0; i < CHAIN_COLS; i++) assert_true(cpu_values(&c.a)[i] == (float)((i + 50) % CHAIN_COLS));
    chain_free(&c);
}

/* More submissions than the queue holds, waited for once; read waits by itself. */
static void test_queue(void **state)
{
    (void)state;
    chain c;
    chain_make(&c, 2, 2);
    for (int i = 0; i < 30; i++) assert_int_equal(chain_submit(&c, NULL), i + 1);
    float out[CHAIN_COLS];
    assert_int_equal(c.slab.device->backend->read(c.slab.device, c.a.buffer, 0, out, sizeof out, NULL), PV_OK);
    for (int i = 0; i < CHAIN_COLS; i++) assert_true(out[i] == (float)((i + 60) % CHAIN_COLS));
    chain_free(&c);
}

/* A plain device declines fused forms, runs generic kernels, and says which op it cannot prepare. */
static void test_plain(void **state)
{
    (void)state;
    pv_backend_device *plain = cpu_open(NULL, 1, true), *full = cpu_open(NULL, 1, false);
    cpu_slab slab = {.device = plain};
    assert_string_equal(plain->backend->describe(plain)->kernels, "generic");
    float w[16 * 32], bias = 0;
    cpu_fill(1, w, 16 * 32);
    (void)bias;
    const pv_tensor weight = cpu_weight(&slab, PV_LAYOUT_Q4_0, 16, 32, w), x = cpu_tensor(&slab, 2, 32, PV_EXTENT_ROWS);
    const pv_tensor out = cpu_tensor(&slab, 2, 16, PV_EXTENT_ROWS), norm = cpu_tensor(&slab, 1, 32, PV_EXTENT_FIXED);
    const pv_linear_part part = {.weight = weight, .out = out};
    pv_op ops[5];
    for (int i = 0; i < 4; i++) ops[i] = (pv_op){.kind = PV_OP_linear, .linear = {.x = x, .part_count = 1, .parts = {part, part, part}}};
    ops[1].linear.norm = norm;
    ops[2].linear.part_count = 2;
    ops[3].linear.part_count = 2;
    ops[3].linear.glu = PV_ACTIVATION_SILU;
    ops[4] = (pv_op){.kind = PV_OP_rope, .rope = {.q = x, .k = x, .v = x, .angles = out, .head_dim = 32, .dim = 16}};
    ops[4].rope.store = (pv_kv_view){.pages = {.buffer = out.buffer, .layout = PV_LAYOUT_F16}, .kv_heads = 1, .head_dim = 32};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(plain->backend->supports(plain, &ops[i]), i == 0);
        assert_true(full->backend->supports(full, &ops[i]));
    }
    snprintf(ops[1].label, sizeof ops[1].label, "layer 3 qkv");
    const pv_plan plan = {.ops = ops + 1, .count = 1, .limits = {.rows = 2, .seqs = 1, .logits = 1}, .rows = 2};
    pv_prepared *prepared = NULL;
    pv_error error;
    assert_int_equal(plain->backend->prepare(plain, &plan, &prepared, &error), PV_UNSUPPORTED);
    assert_string_equal(error.op, "layer 3 qkv");
    ops[0].linear.parts[0].weight.packing = PV_PACKING_NONE;
    assert_false(full->backend->supports(full, &ops[0]));
    cpu_free(&slab);
    plain->backend->close(plain);
    full->backend->close(full);
}

/* Fails the nth allocation; counts what lives. */
typedef struct failing {
    size_t calls, fail_at, live;
} failing;

static void *failing_reallocate(void *user, void *pointer, size_t size)
{
    failing *f = user;
    if (size == 0) {
        f->live -= pointer != NULL;
        free(pointer);
        return NULL;
    }
    if (++f->calls == f->fail_at) return NULL;
    void *result = realloc(pointer, size);
    f->live += pointer == NULL && result != NULL;
    return result;
}

/* One whole life of a device; any failure must be told and leave nothing behind. */
static pv_status one_life(const pv_allocator *allocator)
{
    pv_backend_device *device = NULL;
    pv_buffer buffers[3] = {{0}};
    pv_prepared *prepared = NULL;
    pv_op op = {.kind = PV_OP_linear};
    pv_plan plan = {.ops = &op, .count = 1, .limits = {.rows = 40, .seqs = 1, .logits = 1}, .rows = 40};
    float rows[16 * 32] = {0};
    pv_status status = open_with(NULL, "cpu", allocator, &device, NULL);
    if (status != PV_OK) return status;
    for (int i = 0; i < 3 && status == PV_OK; i++) status = device->backend->alloc(device, PV_MEMORY_WEIGHTS, 16384, &buffers[i], NULL);
    if (status == PV_OK) {
        op.linear.x = (pv_tensor){.buffer = &buffers[0], .rows = 40, .cols = 32, .row_bytes = 128, .extent = PV_EXTENT_ROWS};
        op.linear.part_count = 1;
        op.linear.parts[0].weight = (pv_tensor){.buffer = &buffers[1], .rows = 16, .cols = 32, .packing = 1};
        op.linear.parts[0].out = (pv_tensor){.buffer = &buffers[2], .rows = 40, .cols = 16, .row_bytes = 64, .extent = PV_EXTENT_ROWS};
        status = device->backend->upload(device, &op.linear.parts[0].weight, 0, 16, rows, NULL);
    }
    if (status == PV_OK) status = device->backend->prepare(device, &plan, &prepared, NULL);
    if (status == PV_OK) device->backend->release(device, prepared);
    for (int i = 0; i < 3; i++) device->backend->free(device, &buffers[i]);
    device->backend->close(device);
    return status;
}

static void test_memory_runs_out(void **state)
{
    (void)state;
    size_t failed = 0;
    for (size_t n = 1;; n++) {
        failing f = {.fail_at = n};
        const pv_allocator allocator = {failing_reallocate, &f};
        const pv_status status = one_life(&allocator);
        assert_int_equal(f.live, 0);
        if (status == PV_OK) {
            assert_true(f.calls < n); /* nothing was left to fail */
            break;
        }
        assert_true(status == PV_OUT_OF_MEMORY || status == PV_DEVICE_OUT_OF_MEMORY);
        failed++;
    }
    assert_true(failed >= 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names),       cmocka_unit_test(test_description),
                                       cmocka_unit_test(test_buffers),     cmocka_unit_test(test_weight_spec),
                                       cmocka_unit_test(test_upload_pieces), cmocka_unit_test(test_timeouts),
                                       cmocka_unit_test(test_abort),       cmocka_unit_test(test_queue),
                                       cmocka_unit_test(test_plain),       cmocka_unit_test(test_memory_runs_out)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
