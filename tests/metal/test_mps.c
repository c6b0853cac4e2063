/* Products by MPS: which they could be, which forms are split first, and that a device without MPS has none. Products
 * themselves have not been run: softmetal has no MPS. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/metal/mps.h"
#include "support_metal.h"

static int something;
static pv_buffer memory = {.handle = &something, .bytes = 1 << 20};

static pv_tensor tensor(pv_layout layout, uint32_t rows, uint32_t cols, pv_extent extent, uint64_t offset)
{
    pv_tensor made = {
        .buffer = &memory, .offset = offset, .rows = rows, .cols = cols, .layout = layout, .extent = (uint8_t)extent};
    assert_true(pv_layout_row_bytes(layout, cols, &made.row_bytes));
    return made;
}

/* out += x · weightᵀ */
static pv_op_linear product_of(pv_layout layout)
{
    pv_op_linear linear = {.x = tensor(PV_LAYOUT_F32, 128, 64, PV_EXTENT_ROWS, 256), .part_count = 1};
    linear.parts[0].weight = tensor(layout, 96, 64, PV_EXTENT_FIXED, 4096);
    linear.parts[0].out = tensor(PV_LAYOUT_F32, 128, 96, PV_EXTENT_ROWS, 65536);
    linear.residual = linear.parts[0].out;
    return linear;
}

/* A device that MPS was chosen for. */
static void choose(pv_metal_device *device)
{
    memset(device, 0, sizeof *device);
    device->mps = (pv_metal_mps *)&something;
    device->tuning.mps_rows = 64;
}

static void dense_products_of_many_rows_are_wanted(void **state)
{
    pv_metal_device *device = malloc(sizeof *device);
    (void)state;
    choose(device);
    for (int layout = 0; layout < PV_LAYOUT_COUNT; layout++) {
        if (pv_layout_get((pv_layout)layout)->block > 64) continue; /* such rows are longer */
        const pv_op_linear linear = product_of((pv_layout)layout);
        assert_int_equal(pv_metal_mps_wants(device, &linear), layout == PV_LAYOUT_F32 || layout == PV_LAYOUT_F16);
    }
    device->mps = NULL;
    const pv_op_linear linear = product_of(PV_LAYOUT_F16);
    assert_false(pv_metal_mps_wants(device, &linear));
    free(device);
}

static void what_mps_cannot_do_is_not_wanted(void **state)
{
    pv_metal_device *device = malloc(sizeof *device);
    (void)state;
    choose(device);
    pv_op_linear linear = product_of(PV_LAYOUT_F16);
    linear.x.rows = 63; /* fewer than tuning said */
    assert_false(pv_metal_mps_wants(device, &linear));
    linear = product_of(PV_LAYOUT_F16);
    linear.x.extent = PV_EXTENT_LOGITS;
    assert_false(pv_metal_mps_wants(device, &linear));
    linear = product_of(PV_LAYOUT_F16);
    linear.parts[0].bias = tensor(PV_LAYOUT_F32, 1, 96, PV_EXTENT_FIXED, 0);
    assert_false(pv_metal_mps_wants(device, &linear));
    linear = product_of(PV_LAYOUT_F16);
    linear.parts[0].weight.offset = 4104; /* no multiple of 16 */
    assert_false(pv_metal_mps_wants(device, &linear));
    linear = product_of(PV_LAYOUT_F16);
    linear.residual.offset = 0; /* what is added to stands elsewhere */
    assert_false(pv_metal_mps_wants(device, &linear));
    free(device);
}

static void fused_forms_are_split_before(void **state)
{
    (void)state;
    pv_op_linear linear = product_of(PV_LAYOUT_F32);
    assert_null(pv_metal_mps_declines(&linear));
    linear.norm = tensor(PV_LAYOUT_F32, 1, 64, PV_EXTENT_FIXED, 0);
    assert_non_null(strstr(pv_metal_mps_declines(&linear), "norm"));
    linear = product_of(PV_LAYOUT_F32);
    linear.part_count = 2;
    assert_non_null(strstr(pv_metal_mps_declines(&linear), "parts"));
    linear.glu = PV_ACTIVATION_SILU;
    assert_non_null(strstr(pv_metal_mps_declines(&linear), "glu"));
}

static void a_product_says_where_everything_stands(void **state)
{
    (void)state;
    pv_op_linear linear = product_of(PV_LAYOUT_F16);
    pv_metal_product product = pv_metal_mps_product(&linear);
    assert_ptr_equal(product.x, &something);
    assert_int_equal(product.x_offset, 256);
    assert_int_equal(product.weight_offset, 4096);
    assert_int_equal(product.out_offset, 65536);
    assert_int_equal(product.x_row_bytes, 64 * 4);
    assert_int_equal(product.weight_row_bytes, 64 * 2);
    assert_int_equal(product.out_row_bytes, 96 * 4);
    assert_true(product.cols == 64 && product.out_cols == 96 && product.halves && product.adds);
    linear = product_of(PV_LAYOUT_F32);
    linear.residual = (pv_tensor){0};
    product = pv_metal_mps_product(&linear);
    assert_true(!product.halves && !product.adds);
}

/* softmetal stands in for Apple's frameworks and has no MPS; Apple's own would not know its objects. */
static void a_device_without_mps_does_without(void **state)
{
    const pv_allocator allocator = pv_allocator_default();
    const pv_environment environment = {.allocator = &allocator, .metal_library = test_metal_library()};
    pv_backend_device *device = NULL;
    (void)state;
    assert_int_equal(pv_metal_backend.open(&pv_metal_backend, &environment, "metal:0", false, &device, NULL), PV_OK);
    assert_null(pv_metal_of(device)->mps);
    assert_int_equal(pv_metal_of(device)->tuning.mps_rows, 0); /* nobody asked for it */
    assert_null(pv_metal_mps_open(pv_metal_of(device)));
    pv_metal_backend.close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dense_products_of_many_rows_are_wanted), cmocka_unit_test(what_mps_cannot_do_is_not_wanted),
        cmocka_unit_test(fused_forms_are_split_before),           cmocka_unit_test(a_product_says_where_everything_stands),
        cmocka_unit_test(a_device_without_mps_does_without),
    };
    return cmocka_run_group_tests_name("mps", tests, NULL, NULL);
}
