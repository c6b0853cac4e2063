/* Dense blocks as Core ML programs: the bytes that are written are those that Core ML's own tools were shown (check_ane.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/ane/block.h"
#include "backend/ane/package.h"
#include "support_files.h"
#include "support_runtime.h"

#define ROWS 4
#define COLS 32
#define OUT 48
#define MAX_WEIGHTS (OUT * COLS)

/* Elements that f16 holds exactly; check_ane.py knows them too. */
static float element(uint32_t row, uint32_t col, uint32_t seed) { return ((float)((row * 7 + col * 13 + seed * 5) % 31) - 15) / 16; }

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_is_written_as_it_was_checked),
        cmocka_unit_test(no_memory_leaves_nothing_behind),
        cmocka_unit_test(a_folder_that_cannot_be_made_is_named),
        cmocka_unit_test(what_is_no_dense_block_of_rows_is_refused),
    };
    return cmocka_run_group_tests_name("ane", tests, tf_make_folder, tf_remove_folder);
}
