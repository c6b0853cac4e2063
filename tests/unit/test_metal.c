/* The Metal backend's knowledge of devices and failures, which needs no device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "backend/metal/metal.h"

static pv_metal_facts facts_of(uint32_t family)
{
    return (pv_metal_facts){.name = "a chip",
                            .apple_family = family,
                            .unified = true,
                            .working_set = 16ull << 30,
                            .max_buffer = 9ull << 30,
                            .max_threads = 1024,
                            .threadgroup_memory = 32768};
}

static void apple_chips_from_the_first_on_are_used(void **state)
{
    (void)state;
    for (uint32_t family = 7; family <= 10; family++) {
        pv_metal_traits traits;
        const pv_metal_facts facts = facts_of(family);
        pv_metal_traits_of(&facts, &traits);
        assert_null(traits.refusal);
        assert_true(traits.simdgroup_matrix);
        assert_int_equal(traits.native_bfloat, family >= 9);
        assert_true(traits.bytes_per_second >= 68e9);
    }
}

static pv_metal_traits traits_of_name(const char *name, uint32_t family)
{
    pv_metal_facts facts = facts_of(family);
    pv_metal_traits traits;
    snprintf(facts.name, sizeof facts.name, "%s", name);
    pv_metal_traits_of(&facts, &traits);
    return traits;
}

static void a_chips_speed_follows_from_its_name_or_else_its_family(void **state)
{
    (void)state;
    assert_true(traits_of_name("Apple M1", 7).bytes_per_second == 68e9);
    assert_true(traits_of_name("Apple M2 Ultra", 8).bytes_per_second == 800e9);
    assert_true(traits_of_name("Apple M4 Max", 9).operations_per_second == 17000e9);
    /* the slowest of its family */
    assert_true(traits_of_name("Apple M4 Ultra", 9).bytes_per_second == 100e9);
    assert_true(traits_of_name("Apple M9", 12).bytes_per_second == 153e9);
}

static void other_devices_are_refused_with_a_reason(void **state)
{
    (void)state;
    pv_metal_traits traits;
    pv_metal_facts facts = facts_of(6);
    pv_metal_traits_of(&facts, &traits);
    assert_string_equal(traits.refusal, "it is no Apple GPU of the M1 or later");
    facts = facts_of(8);
    facts.unified = false;
    pv_metal_traits_of(&facts, &traits);
    assert_string_equal(traits.refusal, "it has no unified memory");
    facts = facts_of(9);
    facts.threadgroup_memory = 8192;
    pv_metal_traits_of(&facts, &traits);
    assert_non_null(strstr(traits.refusal, "16 KiB"));
}

static const char *const buffers = "MTLCommandBufferErrorDomain";

/* As recorded on real Macs. */
static void failures_are_told_apart_by_domain_code_and_description(void **state)
{
    (void)state;
    static const struct {
        const char *domain;
        int64_t code;
        const char *description;
        pv_status wanted;
    } recorded[] = {
        {"MTLCommandBufferErrorDomain", 8, "Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)", PV_DEVICE_OUT_OF_MEMORY},
        {"MTLCommandBufferErrorDomain", 2, "Caused GPU Timeout Error (00000002:kIOGPUCommandBufferCallbackErrorTimeout)", PV_DEVICE_TRANSIENT},
        {"MTLCommandBufferErrorDomain", 1, "Impacting Interactivity (0000000e:kIOGPUCommandBufferCallbackErrorImpactingInteractivity)", PV_DEVICE_TRANSIENT},
        {"MTLCommandBufferErrorDomain", 1, "Discarded (victim of GPU error/recovery) (00000005:kIOGPUCommandBufferCallbackErrorInnocentVictim)", PV_DEVICE_TRANSIENT},
        {"MTLCommandBufferErrorDomain", 1, "Internal Error (IOAF code 5)", PV_DEVICE_TRANSIENT},
        {"MTLCommandBufferErrorDomain", 4, "Ignored (for causing prior/excessive GPU errors) (00000004:kIOGPUCommandBufferCallbackErrorSubmissionsIgnored)", PV_DEVICE_LOST},
        {"MTLCommandBufferErrorDomain", 3, "Caused GPU Address Fault Error (0000000b:kIOGPUCommandBufferCallbackErrorPageFault)", PV_DEVICE_LOST},
        {"MTLCommandBufferErrorDomain", 7, "Insufficient Permission (to submit GPU work from background) (00000006:kIOGPUCommandBufferCallbackErrorBackgroundExecutionNotPermitted)", PV_DEVICE_TRANSIENT},
        {"MTLCommandBufferErrorDomain", 11, "The device was removed", PV_DEVICE_LOST},
        {"MTLCommandBufferErrorDomain", 9, "Invalid resource", PV_INTERNAL},
        {"MTLCommandBufferErrorDomain", 2, "Caused GPU Hang Error (IOAF code 3)", PV_DEVICE_TRANSIENT},
        {"MTLCommandBufferErrorDomain", 1, "Internal Error (IOAF code -536870211)", PV_DEVICE_OUT_OF_MEMORY},
        {"MTLCommandBufferErrorDomain", 1, "Internal Error (e00002bd:Internal Error)", PV_DEVICE_OUT_OF_MEMORY},
        {"MTLCommandBufferErrorDomain", 1, "Impacting Interactivity (IOAF code 14)", PV_DEVICE_TRANSIENT},
        {"MTLCommandBufferErrorDomain", 1, "Caused GPU Address Fault Error (IOAF code 11)", PV_DEVICE_LOST},
        {"MTLCommandBufferErrorDomain", 1, "Ignored (for causing prior/excessive GPU errors) (IOAF code 4)", PV_DEVICE_LOST},
        {"IOGPUCommandQueueErrorDomain", 11, "(null)", PV_DEVICE_LOST},
        {"IOGPUCommandQueueErrorDomain", 8, NULL, PV_DEVICE_OUT_OF_MEMORY},
    };
    for (size_t i = 0; i < sizeof recorded / sizeof recorded[0]; i++) {
        assert_int_equal(pv_metal_classify(recorded[i].domain, recorded[i].code, recorded[i].description), recorded[i].wanted);
    }
}

static void an_unknown_failure_is_tried_again(void **state)
{
    (void)state;
    assert_int_equal(pv_metal_classify(buffers, 4711, "something new"), PV_DEVICE_TRANSIENT);
    assert_int_equal(pv_metal_classify("SomeOtherDomain", 8, NULL), PV_DEVICE_TRANSIENT);
    assert_int_equal(pv_metal_classify(NULL, 0, NULL), PV_DEVICE_TRANSIENT);
    /* numbers that begin as others do, or are none */
    assert_int_equal(pv_metal_classify(buffers, 1, "Internal Error (IOAF code 41)"), PV_DEVICE_TRANSIENT);
    assert_int_equal(pv_metal_classify(buffers, 1, "Internal Error (IOAF code 80)"), PV_DEVICE_TRANSIENT);
    assert_int_equal(pv_metal_classify(buffers, 1, "Internal Error (IOAF code )"), PV_DEVICE_TRANSIENT);
    assert_int_equal(pv_metal_classify(buffers, 1, "Internal Error (for 8 reasons) (0000000b8:no)"), PV_DEVICE_TRANSIENT);
    assert_int_equal(pv_metal_classify(buffers, 1, "Internal Error (IOAF code 99999999999999999999)"), PV_DEVICE_TRANSIENT);
}

static void a_system_without_metal_is_an_ordinary_answer(void **state)
{
    (void)state;
    const pv_allocator allocator = pv_allocator_default();
    const pv_environment environment = {.allocator = &allocator, .metal_library = "/nowhere/libmetal.so"};
    pv_device_description description;
    size_t count = 0;
    pv_error error = {0};
    assert_int_equal(pv_metal_backend.enumerate(&pv_metal_backend, &environment, &description, 1, &count, &error), PV_OK);
    assert_int_equal(count, 1);
    assert_false(description.available);
    assert_non_null(strstr(description.reason, "/nowhere/libmetal.so"));
    pv_backend_device *device = NULL;
    assert_int_equal(pv_metal_backend.open(&pv_metal_backend, &environment, "metal", false, &device, &error), PV_NOT_FOUND);
    assert_int_equal(pv_metal_backend.open(&pv_metal_backend, &environment, "metal:7", false, &device, &error), PV_NOT_FOUND);
    assert_non_null(strstr(error.message, "metal:0"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(apple_chips_from_the_first_on_are_used),
        cmocka_unit_test(a_chips_speed_follows_from_its_name_or_else_its_family),
        cmocka_unit_test(other_devices_are_refused_with_a_reason),
        cmocka_unit_test(failures_are_told_apart_by_domain_code_and_description),
        cmocka_unit_test(an_unknown_failure_is_tried_again),
        cmocka_unit_test(a_system_without_metal_is_an_ordinary_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
