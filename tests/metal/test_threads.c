/* Several devices of one process at once, with faults and cancellations among them, and devices that are closed while something
 * of theirs still runs. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <cmocka.h>

#include "backend/metal/metal.h"
#include "support_metal.h"

#define TALKERS 3
#define ANSWERS 6
#define TOKENS 10

static int32_t prompt[40];
static tiny_result alone;

typedef struct talker {
    pthread_t thread;
    pv_runtime *runtime;
    pv_model *model;
    pv_session *session;
    _Atomic(pv_session *) open; /* while somebody may cancel */
    uint32_t whole, cancelled, failed, wrong;
} talker;

static void sleep_us(long microseconds)
{
    nanosleep(&(struct timespec){.tv_nsec = microseconds * 1000}, NULL);
}

static pv_request the_request(void)
{
    for (int i = 0; i < 40; i++) prompt[i] = i * 7 % TINY_VOCABULARY;
    return (pv_request){.prompt = prompt, .prompt_length = 40, .max_tokens = TOKENS, .ignore_end = true};
}

typedef struct heard {
    int32_t tokens[TOKENS];
    uint32_t count;
} heard;

static PV_BOOL hear(void *user, const char *text, size_t length, int32_t token)
{
    heard *h = user;
    (void)text, (void)length;
    if (token >= 0 && h->count < TOKENS) h->tokens[h->count++] = token;
    return true;
}

/* Whatever else happens, what was heard is the beginning of what is said alone. */
static void *talk(void *user)
{
    talker *t = user;
    const pv_request request = {.prompt = prompt, .prompt_length = 40, .max_tokens = TOKENS, .ignore_end = true};
    for (int i = 0; i < ANSWERS; i++) {
        heard h = {0};
        pv_answer answer;
        const pv_status status = pv_session_generate(t->session, &request, hear, &h, &answer, NULL);
        if (memcmp(h.tokens, alone.tokens, h.count * sizeof h.tokens[0]) != 0) t->wrong++;
        if (status != PV_OK)
            t->failed++;
        else if (answer.finish == PV_FINISH_CANCELLED)
            t->cancelled++;
        else if (h.count == TOKENS)
            t->whole++;
        else
            t->wrong++;
    }
    atomic_store(&t->open, NULL);
    return NULL;
}

static void open_talker(talker *t)
{
    const pv_runtime_options options = {.threads = 1, .metal_library = test_metal_library()};
    const pv_model_options model = {.device = "metal", .max_sequences = 1, .max_step_rows = 32, .context = 64};
    pv_error error = {0};
    *t = (talker){0};
    if (pv_runtime_create(&options, &t->runtime, &error) != PV_OK) fail_msg("%s", error.message);
    if (pv_model_load(t->runtime, tiny_path("Q8_0"), &model, &t->model, &error) != PV_OK) fail_msg("%s", error.message);
    if (pv_session_create(t->model, &t->session, &error) != PV_OK) fail_msg("%s", error.message);
    atomic_store(&t->open, t->session);
}

static void close_talker(talker *t)
{
    pv_session_destroy(t->session);
    pv_model_destroy(t->model);
    pv_runtime_destroy(t->runtime);
}

static void devices_of_many_threads_do_not_meet(void **state)
{
    (void)state;
    static talker talkers[TALKERS];
    static const softmetal_fault_kind kinds[] = {SOFTMETAL_FAULT_COMMAND_BUFFER, SOFTMETAL_FAULT_COMMAND_BUFFER_PARTIAL,
                                                 SOFTMETAL_FAULT_ALLOCATION};
    uint32_t random = 5, whole = 0, others = 0;
    metal_reset();
    softmetal_set_world(&(softmetal_world){.keep_open = true, .completion_delay_us = 200});
    for (int i = 0; i < TALKERS; i++) open_talker(&talkers[i]);
    const pv_request request = the_request();
    pv_session_destroy(talkers[0].session); /* a model has one engine */
    tiny_run_alone(talkers[0].model, &request, &alone);
    assert_int_equal(pv_session_create(talkers[0].model, &talkers[0].session, NULL), PV_OK);
    atomic_store(&talkers[0].open, talkers[0].session);
    for (int i = 0; i < TALKERS; i++) assert_int_equal(pthread_create(&talkers[i].thread, NULL, talk, &talkers[i]), 0);
    for (bool talking = true; talking;) {
        talking = false;
        random = random * 1664525u + 1013904223u;
        sleep_us(500 + random % 4000);
        softmetal_inject(NULL);
        softmetal_inject(&(softmetal_fault){.kind = kinds[(random >> 8) % 3], .nth = 1 + (random >> 12) % 8});
        for (int i = 0; i < TALKERS; i++) {
            pv_session *session = atomic_load(&talkers[i].open);
            talking |= session != NULL;
            if (session != NULL && (random >> (16 + i)) % 64 == 0) pv_session_cancel(session);
        }
    }
    softmetal_inject(NULL);
    for (int i = 0; i < TALKERS; i++) {
        pthread_join(talkers[i].thread, NULL);
        assert_int_equal(talkers[i].wrong, 0);
        whole += talkers[i].whole;
        others += talkers[i].cancelled + talkers[i].failed;
        close_talker(&talkers[i]);
    }
    print_message("%u whole answers, %u cancelled or failed, %llu faults\n", whole, others,
                  (unsigned long long)softmetal_faults_fired());
    assert_int_equal(whole + others, TALKERS * ANSWERS);
    assert_true(whole > 0);
    metal_assert_no_leaks();
}

/* The first of two submissions fails while the second still runs: who waits for the second waits to its end. */
static void a_wait_ends_when_everything_before_has(void **state)
{
    (void)state;
    metal_bench b;
    pv_class *class;
    pv_fence fence = 0;
    metal_reset();
    softmetal_set_world(&(softmetal_world){.keep_open = true, .completion_delay_us = 20000});
    assert_int_equal(metal_open(&b, &(metal_setting){0}, NULL), PV_OK);
    const pv_placement *p = b.model->placement;
    assert_int_equal(pv_placement_class(b.model->placement, 1, 0, 1, &class, NULL), PV_OK);
    const pv_metal_device *device = pv_metal_of(p->device);
    softmetal_inject(&(softmetal_fault){.kind = SOFTMETAL_FAULT_COMMAND_BUFFER});
    for (int i = 0; i < 2; i++) {
        memset(pv_tensor_host(&p->block[i]), 0, p->step.bytes);
        pv_step_view_of(pv_tensor_host(&p->block[i]), &p->step).counts->rows = 1;
        const pv_submission submission = {
            .plans = class->prepared, .plan_count = 1, .block = p->block[i], .outputs = p->outputs[i]};
        assert_int_equal(pv_metal_submit(p->device, &submission, &fence, NULL), PV_OK);
    }
    assert_int_equal(pv_metal_wait(p->device, fence, UINT32_MAX, NULL), PV_DEVICE_TRANSIENT);
    assert_int_equal(device->completed, fence);
    metal_close(&b);
    metal_assert_no_leaks();
}

/* Two steps hang. What they use outlives the device, and ends when they do. */
static void a_device_that_hangs_can_be_closed(void **state)
{
    (void)state;
    metal_bench b;
    softmetal_counts counts;
    metal_reset();
    assert_int_equal(metal_open(&b, &(metal_setting){.ahead = 2}, NULL), PV_OK);
    b.engine->step_timeout_ms = 50;
    softmetal_inject(&(softmetal_fault){.kind = SOFTMETAL_FAULT_HANG, .nth = 2, .count = 2});
    metal_submit(&b);
    for (int i = 0; i < 2; i++) assert_int_equal(pv_engine_step(b.engine, 0, NULL, NULL), PV_OK);
    const uint8_t *weights = pv_source_mapping(b.model->source, 0)->bytes;
    metal_close(&b);
    assert_int_equal(msync((void *)(uintptr_t)weights, 1, MS_ASYNC), 0); /* still mapped, and still the file */
    assert_memory_equal(weights, "GGUF", 4);
    assert_true(softmetal_faults_fired() >= 1);
    softmetal_get_counts(&counts);
    assert_true(counts.live_objects > 0);
    for (int i = 0; i < 1000 && counts.live_objects > 0; i++) { /* one after the other */
        softmetal_release_hangs();
        sleep_us(1000);
        softmetal_get_counts(&counts);
    }
    metal_assert_no_leaks();
}

/* The same without an end: what hangs is abandoned, and the next device does not mind. */
static void the_next_device_works_while_the_last_one_hangs(void **state)
{
    (void)state;
    tiny_result wanted[METAL_REQUESTS];
    metal_bench b;
    metal_reset();
    assert_int_equal(metal_open(&b, &(metal_setting){0}, NULL), PV_OK);
    metal_submit(&b);
    metal_run(&b);
    memcpy(wanted, b.found, sizeof wanted);
    b.engine->step_timeout_ms = 50;
    softmetal_inject(&(softmetal_fault){.kind = SOFTMETAL_FAULT_HANG, .nth = 3});
    metal_submit(&b);
    assert_int_equal(pv_engine_step(b.engine, 0, NULL, NULL), PV_OK);
    pv_engine_destroy(b.engine); /* with requests that never ended */
    b.engine = NULL;
    metal_close(&b);
    assert_int_equal(metal_open(&b, &(metal_setting){0}, NULL), PV_OK);
    softmetal_inject(NULL);
    metal_submit(&b);
    metal_run(&b);
    assert_true(metal_same(&b, wanted));
    metal_close(&b);
    softmetal_release_hangs();
    metal_assert_no_leaks();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_of_many_threads_do_not_meet),
        cmocka_unit_test(a_wait_ends_when_everything_before_has),
        cmocka_unit_test(a_device_that_hangs_can_be_closed),
        cmocka_unit_test(the_next_device_works_while_the_last_one_hangs),
    };
    return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
