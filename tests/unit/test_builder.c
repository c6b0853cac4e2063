#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "support_runtime.h"

static const pv_step_limits limits = {
    .rows = 64, .seqs = 8, .logits = 8, .patches = 8, .biases = 8, .slots = 9, .context = 128};
static const pv_buffer weights = {.bytes = 1u << 30, .id = 1}, cache = {.bytes = 1u << 30, .id = 2},
                       logs = {.bytes = 1u << 30, .id = 3};
static const pv_buffer space = {.bytes = 1u << 30, .id = 4};

static uint64_t weight_offset; /* where the next weight begins */

static pv_tensor weight(uint32_t rows, uint32_t cols)
{
    pv_tensor tensor = {.buffer = &weights, .offset = weight_offset, .rows = rows, .cols = cols, .row_bytes = 4ull * cols};
    weight_offset += rows * tensor.row_bytes;
    return tensor;
}

static pv_tensor token_log(void)
{
    return (pv_tensor){.buffer = &logs, .rows = 9, .cols = 128, .row_bytes = 512};
}

static pv_kv_view view(uint32_t layer)
{
    return (pv_kv_view){.pages = {.buffer = &cache, .offset = layer * 65536ull, .rows = 1, .cols = 1, .layout = PV_LAYOUT_F16},
                        .table = {.buffer = &logs, .offset = 65536, .rows = 9, .cols = 4, .row_bytes = 16},
                        .kv_heads = 2,
                        .head_dim = 16,
                        .page_bytes = 4096};
}

static pv_builder *make_builder(const pv_allocator *allocator)
{
    pv_builder *builder = NULL;
    weight_offset = 0;
    assert_int_equal(pv_builder_create(allocator, &limits, 32, 4, &builder, NULL), PV_OK);
    return builder;
}

/* One decoder layer and its head, as a model builds them. Returns the logits. */
static pv_tensor add_model(pv_builder *b, uint32_t layers)
{
    pv_tensor x = pv_builder_scratch(b, PV_EXTENT_ROWS, 64), angles = pv_builder_scratch(b, PV_EXTENT_ROWS, 16);
    pv_tensor rows = pv_builder_scratch(b, PV_EXTENT_LOGITS, 64), logits = pv_builder_scratch(b, PV_EXTENT_LOGITS, 300);
    pv_builder_keep(b, &logits);
    pv_builder_add(b, (pv_op){.kind = PV_OP_begin, .begin = {.tables = {view(0).table}, .token_log = token_log()}}, "begin");
    pv_builder_add(b, (pv_op){.kind = PV_OP_embed, .embed = {weight(300, 64), token_log(), x, 1}}, "embed");
    pv_builder_add(b, (pv_op){.kind = PV_OP_rope_angles, .rope_angles = {weight(1, 8), angles, 1}}, "angles");
    for (uint32_t i = 0; i < layers; i++) {
        pv_tensor q = pv_builder_scratch(b, PV_EXTENT_ROWS, 64), k = pv_builder_scratch(b, PV_EXTENT_ROWS, 32);
        pv_tensor v = pv_builder_scratch(b, PV_EXTENT_ROWS, 32), mixed = pv_builder_scratch(b, PV_EXTENT_ROWS, 64);
        pv_tensor wide = pv_builder_scratch(b, PV_EXTENT_ROWS, 160);
        pv_builder_add(
            b,
            (pv_op){
                .kind = PV_OP_linear,
                .linear = {.x = x,
                           .norm = weight(1, 64),
                           .epsilon = 1e-5f,
                           .part_count = 3,
                           .parts = {{weight(64, 64), weight(1, 64), q}, {weight(32, 64), {0}, k}, {weight(32, 64), {0}, v}}}},
            "layer %u qkv", i);
        pv_builder_add(b,
                       (pv_op){.kind = PV_OP_rope,
                               .rope = {.q = q, .k = k, .angles = angles, .head_dim = 16, .dim = 16, .v = v, .store = view(i)}},
                       "layer %u rope", i);
        pv_builder_add(b, (pv_op){.kind = PV_OP_attention, .attention = {q, mixed, view(i), 4, 0.25f}}, "layer %u attention",
                       i);
        pv_builder_add(b,
                       (pv_op){.kind = PV_OP_linear,
                               .linear = {.x = mixed, .part_count = 1, .parts = {{weight(64, 64), {0}, x}}, .residual = x}},
                       "layer %u out", i);
        pv_builder_add(b,
                       (pv_op){.kind = PV_OP_linear,
                               .linear = {.x = x,
                                          .norm = weight(1, 64),
                                          .epsilon = 1e-6f,
                                          .part_count = 2,
                                          .parts = {{weight(160, 64), {0}, wide}, {weight(160, 64), {0}, {0}}},
                                          .glu = PV_ACTIVATION_SILU}},
                       "layer %u gate, up", i);
        pv_builder_add(b,
                       (pv_op){.kind = PV_OP_linear,
                               .linear = {.x = wide, .part_count = 1, .parts = {{weight(64, 160), {0}, x}}, .residual = x}},
                       "layer %u down", i);
    }
    pv_builder_add(b, (pv_op){.kind = PV_OP_gather_rows, .gather_rows = {x, rows}}, "rows");
    pv_builder_add(b,
                   (pv_op){.kind = PV_OP_linear,
                           .linear = {.x = rows,
                                      .norm = weight(1, 64),
                                      .epsilon = 1e-5f,
                                      .part_count = 1,
                                      .parts = {{weight(300, 64), {0}, logits}}}},
                   "head");
    pv_builder_add(b, (pv_op){.kind = PV_OP_sample, .sample = {logits, token_log()}}, "sample");
    return logits;
}

static bool same_place(const pv_tensor *a, const pv_tensor *b)
{
    return a->buffer == b->buffer && a->offset == b->offset && a->rows == b->rows && a->cols == b->cols;
}

static rt_device make_device(const pv_allocator *allocator, unsigned declines)
{
    return (rt_device){.base = {&rt_backend}, .description = {.id = "fake"}, .allocator = allocator, .declines = declines};
}

/* ---- Operands -------------------------------------------------------------------------------------------------------- */

/* `accesses`: R, W or U for each operand. */
static void expect_operands(pv_op op, size_t count, const int32_t numbers[], const char *accesses)
{
    pv_operand operands[PV_MAX_OPERANDS];
    assert_int_equal(pv_op_operands(&op, operands), count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(operands[i].tensor->scratch, numbers[i]);
        assert_int_equal("?RWU"[operands[i].access], accesses[i]);
        assert_true((uint8_t *)operands[i].tensor > (uint8_t *)&op && (uint8_t *)operands[i].tensor < (uint8_t *)(&op + 1));
    }
}

#define T(n)                                                                                                                   \
    {                                                                                                                          \
        .scratch = (n)                                                                                                         \
    }
#define NUMBERS(...)                                                                                                           \
    (const int32_t[])                                                                                                          \
    {                                                                                                                          \
        __VA_ARGS__                                                                                                            \
    }

static void operands_of_every_op(void **state)
{
    (void)state;
    const pv_kv_view kv = {.pages = T(8), .table = T(9)};
    expect_operands((pv_op){.kind = PV_OP_begin, .begin = {{T(1), T(2)}, T(3)}}, 3, NUMBERS(1, 2, 3), "UUU");
    expect_operands((pv_op){.kind = PV_OP_embed, .embed = {T(1), T(2), T(3), 1}}, 3, NUMBERS(1, 2, 3), "RRW");
    expect_operands((pv_op){.kind = PV_OP_rope_angles, .rope_angles = {T(1), T(2), 1}}, 2, NUMBERS(1, 2), "RW");
    expect_operands((pv_op){.kind = PV_OP_rms_norm, .rms_norm = {T(1), T(2), T(3), 1}}, 3, NUMBERS(1, 2, 3), "RRW");
    expect_operands((pv_op){.kind = PV_OP_rope, .rope = {.q = T(1), .k = T(2), .angles = T(3), .v = T(4), .store = kv}}, 6,
                    NUMBERS(3, 4, 9, 1, 2, 8), "RRRUUU");
    expect_operands((pv_op){.kind = PV_OP_rope, .rope = {.q = T(1), .k = T(2), .angles = T(3), .v = T(4)}}, 3, NUMBERS(3, 1, 2),
                    "RUU"); /* without a store v is not looked at */
    expect_operands((pv_op){.kind = PV_OP_kv_store, .kv_store = {T(1), T(2), kv}}, 4, NUMBERS(1, 2, 9, 8), "RRRU");
    expect_operands((pv_op){.kind = PV_OP_attention, .attention = {T(1), T(2), kv, 1, 1}}, 4, NUMBERS(1, 8, 9, 2), "RRRW");
    expect_operands((pv_op){.kind = PV_OP_glu, .glu = {T(1), T(2), T(3), 0}}, 3, NUMBERS(1, 2, 3), "RRW");
    expect_operands((pv_op){.kind = PV_OP_gather_rows, .gather_rows = {T(1), T(2)}}, 2, NUMBERS(1, 2), "RW");
    expect_operands((pv_op){.kind = PV_OP_gather_cols, .gather_cols = {T(1), T(2), T(3)}}, 3, NUMBERS(1, 2, 3), "RRW");
    expect_operands((pv_op){.kind = PV_OP_sample, .sample = {T(1), T(2)}}, 2, NUMBERS(1, 2), "RU");
}

static void operands_of_linear(void **state)
{
    (void)state;
    pv_op op = {.kind = PV_OP_linear,
                .linear = {.x = T(1),
                           .norm = T(2),
                           .part_count = 3,
                           .parts = {{T(3), T(4), T(5)}, {T(6), T(7), T(8)}, {T(9), T(10), T(11)}},
                           .residual = T(12)}};
    expect_operands(op, 12, NUMBERS(1, 2, 12, 3, 4, 6, 7, 9, 10, 5, 8, 11), "RRRRRRRRRWWW");
    op.linear.part_count = 1; /* parts beyond the count are not looked at */
    expect_operands(op, 6, NUMBERS(1, 2, 12, 3, 4, 5), "RRRRRW");
    op.linear.part_count = 2;
    op.linear.glu = PV_ACTIVATION_SILU; /* only the gate's out is written */
    expect_operands(op, 8, NUMBERS(1, 2, 12, 3, 4, 6, 7, 5), "RRRRRRRW");
}

static void names_of_every_op(void **state)
{
    (void)state;
#define CHECK_NAME(name) assert_string_equal(pv_op_name(PV_OP_##name), #name);
    PV_OP_LIST(CHECK_NAME)
    assert_string_equal(pv_op_name(PV_OP_COUNT), "unknown");
}

static void cost_of_ops(void **state)
{
    (void)state;
    pv_tensor x = {.scratch = 1, .rows = 32, .cols = 64, .extent = PV_EXTENT_ROWS}, y = x;
    y.cols = 128;
    pv_tensor q4 = {.buffer = &weights, .rows = 128, .cols = 64, .layout = PV_LAYOUT_Q4_0};
    pv_op linear = {.kind = PV_OP_linear, .linear = {.x = x, .part_count = 1, .parts = {{q4, {0}, y}}}};
    pv_cost cost = pv_op_cost(&linear, 3, 0);
    assert_true(cost.bytes == 3 * 64 * 4 + 3 * 128 * 4 + 128 * 2 * 18);
    assert_true(cost.operations == 2.0 * 3 * 64 * 128);
    pv_op attention = {.kind = PV_OP_attention, .attention = {x, x, view(0), 4, 1}};
    cost = pv_op_cost(&attention, 2, 100); /* one row sees 99 keys, the other 100 */
    assert_true(cost.bytes == 2 * 2 * 64 * 4 + 100.0 * 2 * 2 * 16 * 2);
    assert_true(cost.operations == 4.0 * 64 * (99 + 100));
    pv_op embed = {.kind = PV_OP_embed, .embed = {q4, token_log(), x, 1}};
    assert_true(pv_op_cost(&embed, 5, 0).bytes == 5 * (36 + 4) + 5 * 64 * 4);
    assert_true(pv_op_cost(&linear, 1000, 0).operations == 2.0 * 32 * 64 * 128); /* no more rows than the tensor has */
}

/* ---- Lowering -------------------------------------------------------------------------------------------------------- */

static void expect_kinds(const pv_plan *plan, size_t first, const char *expected)
{
    char found[256] = "";
    for (size_t i = first; i < plan->count; i++) {
        strcat(found, i > first ? " " : "");
        strcat(found, pv_op_name(plan->ops[i].kind));
    }
    assert_string_equal(found, expected);
}

/* A builder with `op` behind ops that write what it reads. */
static pv_builder *one_op(const pv_allocator *allocator, const pv_op *op, const pv_tensor *inputs, size_t count)
{
    pv_builder *b = make_builder(allocator);
    for (size_t i = 0; i < 8; i++) pv_builder_scratch(b, PV_EXTENT_ROWS, 64);
    for (size_t i = 0; i < count; i++)
        pv_builder_add(b, (pv_op){.kind = PV_OP_embed, .embed = {weight(8, 64), token_log(), inputs[i], 1}}, "input");
    pv_builder_add(b, *op, "the op");
    return b;
}

static pv_tensor scratch_64(int32_t number)
{
    return (pv_tensor){.rows = 32, .cols = 64, .row_bytes = 256, .extent = PV_EXTENT_ROWS, .scratch = number};
}

typedef struct lowering_case {
    unsigned declines;
    const char *kinds;
} lowering_case;

static void lower_and_expect(const pv_op *op, const pv_tensor *inputs, size_t input_count, const lowering_case *cases,
                             size_t count)
{
    rt_memory memory;
    rt_memory_init(&memory, 0);
    for (size_t i = 0; i < count; i++) {
        pv_builder *b = one_op(&memory.allocator, op, inputs, input_count);
        rt_device device = make_device(&memory.allocator, cases[i].declines);
        pv_plan plan;
        assert_int_equal(pv_builder_finish(b, &device.base, &space, 0, &plan, NULL), PV_OK);
        expect_kinds(&plan, input_count, cases[i].kinds);
        for (size_t j = input_count; j < plan.count; j++) {
            assert_string_equal(plan.ops[j].label, "the op");
            assert_true(device.base.backend->supports(&device.base, &plan.ops[j]));
        }
        pv_plan_free(&plan);
        pv_builder_destroy(b);
    }
    assert_int_equal(memory.live, 0);
}

static void lowering_splits_what_is_declined_and_no_more(void **state)
{
    (void)state;
    pv_tensor x = scratch_64(1), input[2] = {x, scratch_64(4)};
    pv_op qkv = {.kind = PV_OP_linear,
                 .linear = {.x = x,
                            .norm = weight(1, 64),
                            .epsilon = 0.5f,
                            .part_count = 3,
                            .parts = {{weight(64, 64), {0}, scratch_64(2)},
                                      {weight(64, 64), {0}, scratch_64(3)},
                                      {weight(64, 64), {0}, scratch_64(4)}}}};
    const lowering_case qkv_cases[] = {
        {0, "linear"},
        {RT_DECLINE_NORM, "rms_norm linear"},
        {RT_DECLINE_PARTS, "linear linear linear"},
        {RT_DECLINE_NORM_WITH_PARTS, "rms_norm linear"},
        {RT_DECLINE_NORM | RT_DECLINE_PARTS, "rms_norm linear linear linear"},
    };
    lower_and_expect(&qkv, input, 1, qkv_cases, 5);
    pv_op gate_up = {.kind = PV_OP_linear,
                     .linear = {.x = x,
                                .norm = weight(1, 64),
                                .part_count = 2,
                                .glu = PV_ACTIVATION_SILU,
                                .parts = {{weight(64, 64), {0}, scratch_64(2)}, {weight(64, 64), {0}, {0}}}}};
    const lowering_case gate_cases[] = {
        {0, "linear"},
        {RT_DECLINE_NORM, "rms_norm linear"},
        {RT_DECLINE_GLU, "linear glu"},
        {RT_DECLINE_NORM_WITH_GLU, "rms_norm linear"},
        {RT_DECLINE_NORM_WITH_GLU | RT_DECLINE_RMS_NORM, "linear glu"},
        {RT_DECLINE_GLU | RT_DECLINE_NORM, "rms_norm linear glu"},
        {RT_DECLINE_GLU | RT_DECLINE_PARTS, "rms_norm linear linear glu"}, /* the norm once, not in each part */
        {RT_DECLINE_GLU | RT_DECLINE_PARTS | RT_DECLINE_NORM, "rms_norm linear linear glu"},
    };
    lower_and_expect(&gate_up, input, 1, gate_cases, 8);
    gate_up.linear.residual = gate_up.linear.parts[0].out; /* in place, so the gate cannot stand there */
    const lowering_case added_cases[] = {
        {0, "linear"},
        {RT_DECLINE_GLU, "linear glu activation"},
        {RT_DECLINE_GLU | RT_DECLINE_NORM, "rms_norm linear glu activation"},
        {RT_DECLINE_GLU | RT_DECLINE_PARTS, "rms_norm linear linear glu activation"},
    };
    lower_and_expect(&gate_up, (pv_tensor[]){x, scratch_64(2)}, 2, added_cases, 4);
    pv_op rope = {.kind = PV_OP_rope, .rope = {.q = x, .k = scratch_64(4), .angles = weight(32, 16), .v = x, .store = view(0)}};
    const lowering_case rope_cases[] = {{0, "rope"}, {RT_DECLINE_STORE, "rope kv_store"}};
    lower_and_expect(&rope, input, 2, rope_cases, 2);
}

static void lowered_pieces_hand_on_the_right_tensors(void **state)
{
    (void)state;
    rt_memory memory;
    rt_memory_init(&memory, 0);
    pv_tensor x = scratch_64(1), gate_w = weight(64, 64), up_w = weight(64, 64), norm_w = weight(1, 64), bias = weight(1, 64);
    pv_op gate_up = {.kind = PV_OP_linear,
                     .linear = {.x = x,
                                .norm = norm_w,
                                .epsilon = 0.25f,
                                .part_count = 2,
                                .glu = PV_ACTIVATION_SILU,
                                .parts = {{gate_w, bias, scratch_64(2)}, {up_w, {0}, {0}}}}};
    pv_builder *b = one_op(&memory.allocator, &gate_up, &x, 1);
    pv_builder_keep(b, &(pv_tensor){.scratch = 2});
    rt_device device = make_device(&memory.allocator, RT_DECLINE_GLU | RT_DECLINE_PARTS | RT_DECLINE_NORM);
    pv_plan plan;
    assert_int_equal(pv_builder_finish(b, &device.base, &space, 1024, &plan, NULL), PV_OK);
    expect_kinds(&plan, 0, "embed rms_norm linear linear glu");
    const pv_op_rms_norm *norm = &plan.ops[1].rms_norm;
    const pv_op_linear *gate = &plan.ops[2].linear, *up = &plan.ops[3].linear;
    const pv_op_glu *glu = &plan.ops[4].glu;
    pv_tensor out = pv_builder_placed(b, &(pv_tensor){.rows = 32, .cols = 64, .scratch = 2});
    assert_true(norm->epsilon == 0.25f && same_place(&norm->weight, &norm_w) && same_place(&norm->x, &plan.ops[0].embed.out));
    assert_true(same_place(&gate->x, &norm->out) && same_place(&up->x, &norm->out));
    assert_true(gate->part_count == 1 && same_place(&gate->parts[0].weight, &gate_w) &&
                same_place(&gate->parts[0].bias, &bias));
    assert_true(up->part_count == 1 && same_place(&up->parts[0].weight, &up_w) && !pv_tensor_present(&up->parts[0].bias));
    assert_true(same_place(&glu->gate, &gate->parts[0].out) && same_place(&glu->up, &up->parts[0].out));
    assert_true(same_place(&glu->out, &out) && glu->activation == PV_ACTIVATION_SILU && out.offset == 1024);
    assert_false(same_place(&glu->gate, &glu->up));
    for (size_t i = 1; i < 4; i++) assert_int_equal(plan.ops[i].barrier, i != 3); /* gate and up may run together */
    assert_true(plan.ops[4].barrier);
    pv_plan_free(&plan);
    pv_builder_destroy(b);
    assert_int_equal(memory.live, 0);
}

static void an_op_in_no_form_is_named(void **state)
{
    (void)state;
    rt_memory memory;
    rt_memory_init(&memory, 0);
    pv_builder *b = make_builder(&memory.allocator);
    add_model(b, 1);
    rt_device device = make_device(&memory.allocator, RT_DECLINE_NORM | RT_DECLINE_PARTS | RT_DECLINE_PLAIN_LINEAR);
    pv_plan plan;
    pv_error error = {0};
    assert_int_equal(pv_builder_finish(b, &device.base, NULL, 0, &plan, &error), PV_UNSUPPORTED);
    assert_non_null(strstr(error.message, "linear"));
    assert_non_null(strstr(error.message, "layer 0 qkv"));
    assert_non_null(strstr(error.message, "fake"));
    assert_non_null(strstr(error.message, "F32"));
    assert_string_equal(error.op, "layer 0 qkv");
    device.declines = 0; /* the builder can still be used */
    assert_int_equal(pv_builder_finish(b, &device.base, NULL, 0, &plan, &error), PV_OK);
    pv_plan_free(&plan);
    pv_builder_destroy(b);
    assert_int_equal(memory.live, 0);
}

/* ---- Placement ------------------------------------------------------------------------------------------------------- */

/* Follows values through a plan in two ways: by the name of each scratch tensor, and by the bytes where it was placed. Both
 * must agree at every read; so nothing that is still wanted was overwritten. Cells are PV's 256-byte units of scratch. */
#define CELL 256u

static uint64_t mix(uint64_t a, uint64_t b)
{
    a ^= b + 0x9E3779B97F4A7C15u + (a << 6) + (a >> 2);
    return a * 0xD6E8FEB86659FD93u;
}

static void follow(const pv_plan *named, const pv_plan *placed, uint64_t scratch_offset)
{
    assert_int_equal(named->count, placed->count);
    assert_true(placed->scratch_bytes % CELL == 0);
    size_t cell_count = (size_t)(placed->scratch_bytes / CELL);
    uint64_t *cells = calloc(cell_count + 1, sizeof *cells), values[4096] = {0};
    for (size_t i = 0; i < placed->count; i++) {
        pv_operand a[PV_MAX_OPERANDS], b[PV_MAX_OPERANDS];
        size_t count = pv_op_operands(&named->ops[i], a);
        assert_int_equal(pv_op_operands(&placed->ops[i], b), count);
        uint64_t made = mix(i + 1, 77);
        for (int pass = 0; pass < 2; pass++) {
            for (size_t j = 0; j < count; j++) {
                int32_t number = a[j].tensor->scratch;
                if (number == 0) continue;
                assert_ptr_equal(b[j].tensor->buffer, &space);
                assert_int_equal(b[j].tensor->offset % CELL, 0);
                assert_true(b[j].tensor->offset >= scratch_offset);
                size_t first = (size_t)((b[j].tensor->offset - scratch_offset) / CELL);
                size_t cells_of = (size_t)((b[j].tensor->rows * b[j].tensor->row_bytes + CELL - 1) / CELL);
                assert_true(first + cells_of <= cell_count);
                for (size_t c = first; c < first + cells_of; c++) {
                    if (pass == 0 && (a[j].access & PV_READ)) assert_true(cells[c] == values[number]);
                    if (pass == 1 && (a[j].access & PV_WRITE)) cells[c] = mix(made, j);
                }
                if (pass == 0 && (a[j].access & PV_READ)) made = mix(made, values[number]);
                if (pass == 1 && (a[j].access & PV_WRITE)) values[number] = mix(made, j);
            }
        }
    }
    free(cells);
}

/* Barriers by their definition: ops between two barriers touch nothing in common that one of them writes, and a barrier stands
 * only where the op really meets one of those before it. */
static bool meets(const pv_op *first, const pv_op *second)
{
    pv_op x = *first, y = *second;
    pv_operand a[PV_MAX_OPERANDS], b[PV_MAX_OPERANDS];
    size_t m = pv_op_operands(&x, a), n = pv_op_operands(&y, b);
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            const pv_tensor *s = a[i].tensor, *t = b[j].tensor;
            if (!((a[i].access | b[j].access) & PV_WRITE) || s->buffer != t->buffer) continue;
            if (s->buffer == &cache) return true;
            if (s->offset < t->offset + t->rows * t->row_bytes && t->offset < s->offset + s->rows * s->row_bytes) return true;
        }
    }
    return false;
}

static void check_barriers(const pv_plan *plan)
{
    assert_true(plan->count == 0 || plan->ops[0].barrier);
    for (size_t i = 1, last = 0; i < plan->count; i++) {
        bool needed = false;
        for (size_t j = last; j < i; j++) needed |= meets(&plan->ops[j], &plan->ops[i]);
        assert_int_equal(plan->ops[i].barrier, needed);
        if (needed) last = i;
    }
}

static void a_model_keeps_its_values_fused_and_plain(void **state)
{
    (void)state;
    rt_memory memory;
    rt_memory_init(&memory, 0);
    for (unsigned plain = 0; plain < 2; plain++) {
        uint64_t bytes_of_3_layers = 0;
        for (uint32_t layers = 1; layers <= 9; layers += 2) {
            pv_builder *b = make_builder(&memory.allocator);
            pv_tensor logits = add_model(b, layers);
            rt_device device = make_device(&memory.allocator, plain ? 15 : 0);
            pv_plan named, placed;
            assert_int_equal(pv_builder_finish(b, &device.base, NULL, 0, &named, NULL), PV_OK);
            assert_int_equal(pv_builder_finish(b, &device.base, &space, 4096, &placed, NULL), PV_OK);
            assert_int_equal(named.scratch_bytes, placed.scratch_bytes);
            follow(&named, &placed, 4096);
            check_barriers(&placed);
            assert_int_equal(pv_builder_placed(b, &logits).offset, 4096); /* kept: first */
            assert_int_equal(placed.rows, 32);
            assert_int_equal(placed.logits, 4);
            if (layers == 3) bytes_of_3_layers = placed.scratch_bytes;
            if (layers > 3) assert_int_equal(placed.scratch_bytes, bytes_of_3_layers); /* layers share their scratch */
            pv_plan_free(&named);
            pv_plan_free(&placed);
            pv_builder_destroy(b);
        }
    }
    assert_int_equal(memory.live, 0);
}

static uint64_t random_state;
static uint32_t random_below(uint32_t bound)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % bound;
}

static void random_plans_keep_their_values(void **state)
{
    (void)state;
    rt_memory memory;
    rt_memory_init(&memory, 0);
    for (unsigned seed = 1; seed <= 200; seed++) {
        random_state = seed;
        pv_builder *b = make_builder(&memory.allocator);
        pv_tensor tensors[40];
        bool written[40] = {false};
        uint64_t all = 0;
        for (size_t i = 0; i < 40; i++) {
            tensors[i] = pv_builder_scratch(b, random_below(4) ? PV_EXTENT_ROWS : PV_EXTENT_LOGITS, 1 + random_below(100));
            all += (tensors[i].rows * tensors[i].row_bytes + 255) & ~255ull;
            if (random_below(10) == 0) pv_builder_keep(b, &tensors[i]);
        }
        for (unsigned i = 0; i < 100; i++) {
            uint32_t in = random_below(40), in2 = random_below(40), out = random_below(40);
            pv_op op = {.kind = PV_OP_embed, .embed = {weight(4, 4), token_log(), tensors[out], 1}};
            if (written[in] && written[in2] && random_below(4))
                op = (pv_op){.kind = PV_OP_glu, .glu = {tensors[in], tensors[in2], tensors[random_below(3) ? out : in], 0}};
            written[op.kind == PV_OP_glu ? op.glu.out.scratch - 1 : (int32_t)out] = true;
            pv_builder_add(b, op, "op %u", i);
        }
        pv_plan named, placed;
        assert_int_equal(pv_builder_finish(b, NULL, NULL, 0, &named, NULL), PV_OK);
        assert_int_equal(pv_builder_finish(b, NULL, &space, 0, &placed, NULL), PV_OK);
        follow(&named, &placed, 0);
        check_barriers(&placed);
        assert_true(placed.scratch_bytes <= all);
        pv_plan_free(&named);
        pv_plan_free(&placed);
        pv_builder_destroy(b);
    }
    assert_int_equal(memory.live, 0);
}

static void kept_tensors_come_first_and_stay(void **state)
{
    (void)state;
    rt_memory memory;
    rt_memory_init(&memory, 0);
    pv_builder *b = make_builder(&memory.allocator);
    pv_tensor small = pv_builder_scratch(b, PV_EXTENT_LOGITS, 1), big = pv_builder_scratch(b, PV_EXTENT_ROWS, 100);
    pv_tensor a = pv_builder_scratch(b, PV_EXTENT_ROWS, 10), c = pv_builder_scratch(b, PV_EXTENT_ROWS, 10);
    pv_tensor never = pv_builder_scratch(b, PV_EXTENT_ROWS, 1000);
    pv_builder_keep(b, &big);
    pv_builder_keep(b, &small);
    pv_builder_keep(b, &big); /* a second time changes nothing */
    pv_builder_add(b, (pv_op){.kind = PV_OP_embed, .embed = {weight(4, 1), token_log(), small, 1}}, "small");
    pv_builder_add(b, (pv_op){.kind = PV_OP_embed, .embed = {weight(4, 100), token_log(), big, 1}}, "big");
    pv_builder_add(b, (pv_op){.kind = PV_OP_embed, .embed = {weight(4, 10), token_log(), a, 1}}, "a");
    pv_builder_add(b, (pv_op){.kind = PV_OP_embed, .embed = {weight(4, 10), token_log(), c, 1}}, "c");
    pv_plan plan;
    assert_int_equal(pv_builder_finish(b, NULL, &space, 512, &plan, NULL), PV_OK);
    assert_int_equal(pv_builder_placed(b, &big).offset, 512);
    assert_int_equal(pv_builder_placed(b, &small).offset, 512 + 32 * 400);
    /* a dies at once, so c takes its place; `never` takes none */
    assert_int_equal(pv_builder_placed(b, &a).offset, 512 + 32 * 400 + 256);
    assert_int_equal(pv_builder_placed(b, &c).offset, 512 + 32 * 400 + 256);
    assert_int_equal(plan.scratch_bytes, 32 * 400 + 256 + 32 * 40);
    pv_tensor placed = pv_builder_placed(b, &big);
    assert_ptr_equal(placed.buffer, &space);
    assert_int_equal(placed.scratch, 0); /* an ordinary tensor now, for other builders too */
    (void)never;
    pv_plan_free(&plan);
    pv_builder_destroy(b);
    assert_int_equal(memory.live, 0);
}

/* Gaps of 3 and 2 units are free when one of 2 units comes: it takes the tighter one. */
static void scratch_takes_the_tightest_gap(void **state)
{
    (void)state;
    rt_memory memory;
    rt_memory_init(&memory, 0);
    pv_builder *b = make_builder(&memory.allocator);
    pv_tensor t[6];
    const uint32_t units[6] = {12, 6, 10, 4, 8, 4}; /* × 32 rows × 4 bytes */
    for (size_t i = 0; i < 6; i++) t[i] = pv_builder_scratch(b, PV_EXTENT_ROWS, units[i] * 2);
    const size_t order[] = {0, 1, 2, 3, 4};
    for (size_t i = 0; i < 5; i++)
        pv_builder_add(b, (pv_op){.kind = PV_OP_embed, .embed = {weight(4, 4), token_log(), t[order[i]], 1}}, "write");
    pv_builder_add(b, (pv_op){.kind = PV_OP_glu, .glu = {t[1], t[3], t[1], 0}}, "last use of 1 and 3");
    pv_builder_add(b, (pv_op){.kind = PV_OP_embed, .embed = {weight(4, 4), token_log(), t[5], 1}}, "late");
    pv_builder_add(b, (pv_op){.kind = PV_OP_glu, .glu = {t[0], t[2], t[4], 0}}, "last use of the others");
    pv_plan plan;
    assert_int_equal(pv_builder_finish(b, NULL, &space, 0, &plan, NULL), PV_OK);
    /* by size: 0 at 0, 2 at 12, 4 at 22, 1 at 30, 3 at 36; 5 is as small as 3 and finds the end of 4 free of live ones */
    assert_int_equal(pv_builder_placed(b, &t[0]).offset, 0);
    assert_int_equal(pv_builder_placed(b, &t[2]).offset, 12 * 256);
    assert_int_equal(pv_builder_placed(b, &t[4]).offset, 22 * 256);
    assert_int_equal(pv_builder_placed(b, &t[1]).offset, 30 * 256);
    assert_int_equal(pv_builder_placed(b, &t[3]).offset, 36 * 256);
    assert_int_equal(pv_builder_placed(b, &t[5]).offset, 30 * 256);
    assert_int_equal(plan.scratch_bytes, 40 * 256);
    pv_plan_free(&plan);
    pv_builder_destroy(b);
    assert_int_equal(memory.live, 0);
}

/* ---- Barriers -------------------------------------------------------------------------------------------------------- */

static void barriers_stand_where_memory_is_shared(void **state)
{
    (void)state;
    rt_memory memory;
    rt_memory_init(&memory, 0);
    pv_builder *b = make_builder(&memory.allocator);
    add_model(b, 2);
    pv_plan plan;
    assert_int_equal(pv_builder_finish(b, NULL, &space, 0, &plan, NULL), PV_OK);
    static const bool expected[] = {
        true,                                /* begin */
        true,                                /* embed reads the token log */
        false,                               /* angles */
        true,  true, true, true, true, true, /* layer 0: each op needs the one before */
        true,  true, true, true, true, true, /* layer 1 */
        true,  true, true,                   /* rows, head, sample */
    };
    assert_int_equal(plan.count, sizeof expected);
    for (size_t i = 0; i < plan.count; i++) assert_int_equal(plan.ops[i].barrier, expected[i]);
    pv_plan_free(&plan);
    pv_builder_destroy(b);
    assert_int_equal(memory.live, 0);
}

/* The cache is memory like any other: attention waits for the store of its pages, though no tensor of the two has the same
 * rows. */
static void barriers_see_the_cache_and_the_token_log(void **state)
{
    (void)state;
    rt_memory memory;
    rt_memory_init(&memory, 0);
    pv_builder *b = make_builder(&memory.allocator);
    pv_tensor k = weight(32, 32), q = weight(32, 64), out = pv_builder_scratch(b, PV_EXTENT_ROWS, 64);
    pv_tensor logits = weight(4, 300), x = pv_builder_scratch(b, PV_EXTENT_ROWS, 64);
    pv_builder_add(b, (pv_op){.kind = PV_OP_kv_store, .kv_store = {k, k, view(0)}}, "store");
    pv_builder_add(b, (pv_op){.kind = PV_OP_attention, .attention = {q, out, view(0), 4, 1}},
                   "attention");                                                                 /* read after write */
    pv_builder_add(b, (pv_op){.kind = PV_OP_kv_store, .kv_store = {k, k, view(0)}}, "store");    /* write after read */
    pv_builder_add(b, (pv_op){.kind = PV_OP_kv_store, .kv_store = {k, k, view(0)}}, "store");    /* write after write */
    pv_builder_add(b, (pv_op){.kind = PV_OP_sample, .sample = {logits, token_log()}}, "sample"); /* nothing in common */
    pv_builder_add(b, (pv_op){.kind = PV_OP_embed, .embed = {weight(300, 64), token_log(), x, 1}}, "embed"); /* the token log */
    pv_plan plan;
    assert_int_equal(pv_builder_finish(b, NULL, &space, 0, &plan, NULL), PV_OK);
    static const bool expected[] = {true, true, true, true, false, true};
    for (size_t i = 0; i < plan.count; i++) assert_int_equal(plan.ops[i].barrier, expected[i]);
    pv_plan_free(&plan);
    pv_builder_destroy(b);
    assert_int_equal(memory.live, 0);
}

/* Two tensors that live at different times share memory: the second one's writer must wait for the first one's reader. */
static void reused_scratch_makes_a_barrier(void **state)
{
    (void)state;
    rt_memory memory;
    rt_memory_init(&memory, 0);
    pv_builder *b = make_builder(&memory.allocator);
    pv_tensor a = pv_builder_scratch(b, PV_EXTENT_ROWS, 64), c = pv_builder_scratch(b, PV_EXTENT_ROWS, 64);
    pv_builder_add(b, (pv_op){.kind = PV_OP_embed, .embed = {weight(4, 64), token_log(), a, 1}}, "a");
    pv_builder_add(b, (pv_op){.kind = PV_OP_embed, .embed = {weight(4, 64), token_log(), c, 1}}, "c");
    pv_plan plan;
    assert_int_equal(pv_builder_finish(b, NULL, &space, 0, &plan, NULL), PV_OK);
    assert_int_equal(plan.ops[0].embed.out.offset, plan.ops[1].embed.out.offset);
    assert_true(plan.ops[1].barrier);
    pv_plan_free(&plan);
    pv_builder_destroy(b);
    assert_int_equal(memory.live, 0);
}

/* ---- Failures -------------------------------------------------------------------------------------------------------- */

static void expect_refusal(const pv_op *op, const pv_buffer *buffer, uint64_t offset, const char *part_of_message)
{
    rt_memory memory;
    rt_memory_init(&memory, 0);
    pv_builder *b = make_builder(&memory.allocator);
    pv_builder_scratch(b, PV_EXTENT_ROWS, 64);
    pv_builder_add(b, *op, "the op");
    pv_plan plan = {.count = 99};
    pv_error error = {0};
    assert_int_equal(pv_builder_finish(b, NULL, buffer, offset, &plan, &error), PV_INTERNAL);
    assert_non_null(strstr(error.message, part_of_message));
    assert_int_equal(plan.count, 99); /* written on success only */
    pv_builder_destroy(b);
    assert_int_equal(memory.live, 0);
}

static void mistakes_of_the_model_are_told(void **state)
{
    (void)state;
    pv_op unwritten = {.kind = PV_OP_gather_rows, .gather_rows = {scratch_64(1), weight(4, 64)}};
    expect_refusal(&unwritten, NULL, 0, "before any op has written it");
    pv_op accumulating = {
        .kind = PV_OP_linear,
        .linear = {
            .x = weight(32, 64), .part_count = 1, .parts = {{weight(64, 64), {0}, scratch_64(1)}}, .residual = scratch_64(1)}};
    expect_refusal(&accumulating, NULL, 0, "before any op has written it");
    pv_op foreign = {.kind = PV_OP_embed, .embed = {weight(4, 64), token_log(), scratch_64(2), 1}};
    expect_refusal(&foreign, NULL, 0, "did not make");
    pv_op good = {.kind = PV_OP_embed, .embed = {weight(4, 64), token_log(), scratch_64(1), 1}};
    static const pv_buffer tight = {.bytes = 32 * 256 + 255, .id = 9};
    expect_refusal(&good, &tight, 256, "do not fit");
}

static void earlier_failures_wait_for_finish(void **state)
{
    (void)state;
    rt_memory memory;
    rt_memory_init(&memory, 0);
    pv_builder *b = make_builder(&memory.allocator);
    pv_tensor none = pv_builder_scratch(b, PV_EXTENT_ROWS, 0);
    assert_false(pv_tensor_present(&none));
    pv_builder_keep(b, &none);
    add_model(b, 1);
    pv_plan plan;
    pv_error error = {0};
    assert_int_equal(pv_builder_finish(b, NULL, NULL, 0, &plan, &error), PV_INTERNAL);
    assert_non_null(strstr(error.message, "0 columns"));
    pv_builder_destroy(b);
    b = NULL;
    assert_int_equal(pv_builder_create(&memory.allocator, &limits, 65, 1, &b, &error), PV_INTERNAL);
    assert_null(b);
    assert_int_equal(memory.live, 0);
}

static pv_status build(rt_memory *memory, pv_error *error)
{
    pv_builder *b = NULL;
    weight_offset = 0;
    pv_status status = pv_builder_create(&memory->allocator, &limits, 32, 4, &b, error);
    if (status != PV_OK) return status;
    add_model(b, 3);
    rt_device device = make_device(&memory->allocator, 15);
    pv_plan plan = {0};
    status = pv_builder_finish(b, &device.base, &space, 0, &plan, error);
    pv_plan_free(&plan);
    pv_builder_destroy(b);
    return status;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    uint64_t n = 1;
    for (;; n++) {
        rt_memory memory;
        rt_memory_init(&memory, n);
        pv_error error = {0};
        pv_status status = build(&memory, &error);
        assert_int_equal(memory.live, 0);
        if (status == PV_OK) break;
        assert_int_equal(status, PV_OUT_OF_MEMORY);
        assert_int_equal(error.status, PV_OUT_OF_MEMORY);
    }
    assert_true(n > 8); /* the builder, its lists, the plan's lists, placement, barriers */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_every_op),
        cmocka_unit_test(operands_of_every_op),
        cmocka_unit_test(operands_of_linear),
        cmocka_unit_test(cost_of_ops),
        cmocka_unit_test(lowering_splits_what_is_declined_and_no_more),
        cmocka_unit_test(lowered_pieces_hand_on_the_right_tensors),
        cmocka_unit_test(an_op_in_no_form_is_named),
        cmocka_unit_test(a_model_keeps_its_values_fused_and_plain),
        cmocka_unit_test(random_plans_keep_their_values),
        cmocka_unit_test(kept_tensors_come_first_and_stay),
        cmocka_unit_test(scratch_takes_the_tightest_gap),
        cmocka_unit_test(barriers_stand_where_memory_is_shared),
        cmocka_unit_test(barriers_see_the_cache_and_the_token_log),
        cmocka_unit_test(reused_scratch_makes_a_barrier),
        cmocka_unit_test(mistakes_of_the_model_are_told),
        cmocka_unit_test(earlier_failures_wait_for_finish),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
