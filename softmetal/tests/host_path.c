/* The whole path of a compute host, from the device to the result and back to no object alive. */
#include "host.h"

#include <semaphore.h>

static const char saxpy[] = "#include <metal_stdlib>\n"
                            "using namespace metal;\n"
                            "kernel void saxpy(device const float *x [[buffer(0)]], device float *y [[buffer(1)]],\n"
                            "                  constant float &a [[buffer(2)]], uint i [[thread_position_in_grid]])\n"
                            "{\n"
                            "    y[i] = a * x[i] + y[i];\n"
                            "}\n";

static const char broken[] = "#include <metal_stdlib>\n"
                             "using namespace metal;\n"
                             "kernel void saxpy(device float *y [[buffer(0)]], uint i [[thread_position_in_grid]])\n"
                             "{\n"
                             "    y[i] = 1.0f + undeclared;\n"
                             "}\n";

#define COUNT 1000

static void on_completed(block *self, id buffer)
{
    (void)buffer;
    sem_post(self->context);
}

static void whole_path(void **state)
{
    (void)state;
    host.set_world(NULL);
    host.reset();
    void *pool = host.push_pool();
    id device = host.create_device();
    assert_non_null(device);
    assert_non_null(strstr(text_of(get(device, "name")), "softmetal"));
    id queue = get(device, "newCommandQueue");

    id error = NULL;
    assert_null(new_library(device, broken, &error));
    assert_string_equal(error_domain(error), "MTLLibraryErrorDomain");
    assert_int_equal(error_code(error), 3);
    assert_non_null(strstr(error_text(error), "program_source:5:"));
    assert_non_null(strstr(error_text(error), "undeclared"));

    error = NULL;
    id library = new_library(device, saxpy, &error);
    if (!library) fail_msg("%s", error_text(error));
    assert_null(new_function(library, "saxpi"));
    id function = new_function(library, "saxpy"), pipeline = new_pipeline(device, function, &error);
    if (!pipeline) fail_msg("%s", error_text(error));
    assert_int_equal(number(pipeline, "threadExecutionWidth"), 32);

    id x = new_buffer(device, COUNT * sizeof(float), SHARED), y = new_buffer(device, COUNT * sizeof(float), SHARED);
    float *in = contents(x), *out = contents(y), a = 2.0f;
    for (int i = 0; i < COUNT; i++) in[i] = (float)i, out[i] = 1.0f;

    id buffer = get(queue, "commandBuffer"), encoder = get(buffer, "computeCommandEncoder");
    set_pipeline(encoder, pipeline);
    set_buffer(encoder, x, 0, 0);
    set_buffer(encoder, y, 0, 1);
    set_bytes(encoder, &a, sizeof a, 2);
    dispatch_threads(encoder, size1(COUNT), size1(256));
    end(encoder);
    sem_t called;
    sem_init(&called, 0, 0);
    block handler = BLOCK(on_completed, &called);
    SEND(void, (block *), buffer, "addCompletedHandler:", &handler);
    finish(buffer);
    assert_int_equal(number(buffer, "status"), STATUS_COMPLETED);
    assert_null(get(buffer, "error"));
    assert_int_equal(sem_trywait(&called), 0); /* before waitUntilCompleted returned */
    sem_destroy(&called);
    for (int i = 0; i < COUNT; i++) assert_true(out[i] == 2.0f * (float)i + 1.0f);
    assert_true(real(buffer, "GPUEndTime") >= real(buffer, "GPUStartTime") && real(buffer, "GPUStartTime") > 0.0);

    softmetal_counts counts;
    host.get_counts(&counts);
    assert_int_equal(counts.command_buffers, 1);
    assert_int_equal(counts.encoders, 1);
    assert_int_equal(counts.dispatches, 1);
    assert_int_equal(counts.threads, COUNT);
    assert_int_equal(counts.buffers, 2);
    assert_int_equal(counts.live_buffer_bytes, 2 * COUNT * sizeof(float));

    id ours[] = {x, y, pipeline, function, library, queue, device};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) release(ours[i]);
    host.pop_pool(pool);
    assert_int_equal(host.check_leaks(), 0);
    host.get_counts(&counts);
    assert_int_equal(counts.live_objects, 0);
    assert_int_equal(counts.buffers, 0);
    assert_int_equal(counts.live_buffer_bytes, 0);
    assert_no_reports();
}

int main(void)
{
    open_library();
    const struct CMUnitTest tests[] = {cmocka_unit_test(whole_path)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
