/* Devices of all descriptions: each gives the same text, or goes on with plainer programs or on the CPU, or is refused with a
 * reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support_metal.h"

typedef enum outcome { SAME, PLAIN, CPU, REFUSED } outcome;

static const struct {
    const char *name;
    softmetal_world world;
    outcome wanted;
    pv_status status; /* and words of the refusal */
    const char *words;
} devices[] = {
    {"M1", {.apple_family = 7}, SAME, PV_OK, NULL},
    {"M2 without bfloat", {.apple_family = 8, .no_bfloat = true}, SAME, PV_OK, NULL},
    {"M5", {.apple_family = 10}, SAME, PV_OK, NULL},
    {"macOS 13: no residency sets, no math modes", {.macos_major = 13}, SAME, PV_OK, NULL},
    {"little threadgroup memory", {.threadgroup_memory = 16384}, SAME, PV_OK, NULL},
    {"denormals are zero", {.flush_to_zero = true}, SAME, PV_OK, NULL},
    {"another order", {.shuffle = true, .seed = 3}, SAME, PV_OK, NULL},
    {"slow to complete", {.completion_delay_us = 3000}, SAME, PV_OK, NULL},
    {"threadgroups of 256", {.max_threads = 256}, SAME, PV_OK, NULL},
    {"no simdgroup matrices", {.no_simdgroup_matrix = true}, PLAIN, PV_OK, NULL},
    {"threadgroups of 64", {.max_threads = 64}, CPU, PV_OK, NULL},
    {"A13", {.apple_family = 6}, REFUSED, PV_NOT_FOUND, "no Apple GPU of the M1 or later"},
    {"too little of it", {.threadgroup_memory = 8192}, REFUSED, PV_NOT_FOUND, "16 KiB of memory for a threadgroup"},
    {"a small working set", {.working_set = 300 << 10}, REFUSED, PV_DOES_NOT_FIT, "metal:0 has 0.3 MiB"},
    {"small buffers", {.max_buffer = 64 << 10}, REFUSED, PV_DEVICE_OUT_OF_MEMORY, "largest buffer holds 65536"},
};

static tiny_result texts[3][METAL_REQUESTS]; /* SAME, PLAIN, CPU */

static void run_on(metal_bench *b, const softmetal_world *world, const metal_setting *setting)
{
    pv_error error = {0};
    softmetal_world open = *world;
    open.keep_open = true;
    metal_reset();
    softmetal_set_world(&open);
    if (metal_open(b, setting, &error) != PV_OK) fail_msg("%s", error.message);
    metal_submit(b);
    metal_run(b);
}

static int set_up(void **state)
{
    static const metal_setting settings[] = {{0}, {.plain = true}, {.cpu = true}};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        metal_bench b;
        run_on(&b, &(softmetal_world){0}, &settings[i]);
        memcpy(texts[i], b.found, sizeof b.found);
        metal_close(&b);
    }
    return 0;
}

static void check_refusal(size_t i)
{
    metal_bench b;
    pv_error error = {0};
    softmetal_world world = devices[i].world;
    world.keep_open = true;
    metal_reset();
    softmetal_set_world(&world);
    const pv_status status = metal_open(&b, &(metal_setting){.spare = true}, &error);
    if (status != devices[i].status || strstr(error.message, devices[i].words) == NULL)
        fail_msg("%s: %s: %s", devices[i].name, pv_status_name(status), error.message);
}

static void every_device_answers_or_says_why_not(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof devices / sizeof devices[0]; i++) {
        if (devices[i].wanted == REFUSED) {
            check_refusal(i);
        } else {
            metal_bench b;
            run_on(&b, &devices[i].world, &(metal_setting){.spare = true});
            const bool on_cpu = b.model->device->backend == &pv_cpu_backend;
            const outcome was = on_cpu ? CPU : b.model->plain_programs ? PLAIN : SAME;
            if (was != devices[i].wanted) fail_msg("%s: outcome %d, %d is wanted", devices[i].name, was, devices[i].wanted);
            if (!metal_same(&b, texts[was])) fail_msg("%s: another text", devices[i].name);
            if ((b.faults > 0) != (was != SAME)) fail_msg("%s: %u events", devices[i].name, b.faults);
            metal_close(&b);
        }
        metal_assert_no_leaks();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_device_answers_or_says_why_not)};
    return cmocka_run_group_tests_name("worlds", tests, set_up, NULL);
}
