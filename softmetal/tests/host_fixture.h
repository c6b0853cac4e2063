/* A device with a library of small kernels, as most host tests want one; and that nothing is left of it at the end. */
#ifndef SOFTMETAL_TESTS_HOST_FIXTURE_H
#define SOFTMETAL_TESTS_HOST_FIXTURE_H

#include "host.h"

static const char fixture_source[] =
    "#include <metal_stdlib>\n"
    "using namespace metal;\n"
    "struct pair { float scale; float shift; };\n"
    "kernel void fill(device uint *out [[buffer(0)]], constant uint &value [[buffer(1)]], uint i [[thread_position_in_grid]])\n"
    "{ out[i] = value; }\n"
    "kernel void scale(device const float *x [[buffer(0)]], device float *y [[buffer(1)]], constant pair &by [[buffer(2)]],\n"
    "                  uint i [[thread_position_in_grid]])\n"
    "{ y[i] = by.scale * x[i] + by.shift; }\n"
    "kernel void add(device uint *out [[buffer(0)]], constant uint &value [[buffer(1)]], uint i [[thread_position_in_grid]])\n"
    "{ out[i] += value; }\n"
    /* One thread: writes a number behind those that earlier dispatches wrote. */
    "kernel void note(device uint *log [[buffer(0)]], constant uint &value [[buffer(1)]])\n"
    "{ uint at = log[0]; log[at + 1] = value; log[0] = at + 1; }\n"
    "kernel void reverse(device uint *out [[buffer(0)]], threadgroup uint *shared [[threadgroup(0)]],\n"
    "                    uint i [[thread_position_in_threadgroup]], uint n [[threads_per_threadgroup]])\n"
    "{ shared[i] = out[i]; threadgroup_barrier(mem_flags::mem_threadgroup); out[i] = shared[n - 1 - i]; }\n"
    "kernel void roomy(device float *out [[buffer(0)]], uint i [[thread_position_in_threadgroup]])\n"
    "{ threadgroup float room[4096]; room[i] = float(i); threadgroup_barrier(mem_flags::mem_threadgroup); out[i] = room[i]; }\n"
    "[[max_total_threads_per_threadgroup(64)]] kernel void narrow(device uint *out [[buffer(0)]], uint i "
    "[[thread_position_in_grid]])\n"
    "{ out[i] = i; }\n"
    "kernel void wild(device uint *out [[buffer(0)]], uint i [[thread_position_in_grid]])\n"
    "{ out[i + 64u] = i; }\n"
    "kernel void halves(device half *out [[buffer(0)]], uint i [[thread_position_in_grid]])\n"
    "{ out[i] = half(i); }\n"
    "struct table { device uint *first; device uint *second; };\n"
    "kernel void through(constant table &t [[buffer(0)]], uint i [[thread_position_in_grid]])\n"
    "{ t.second[i] = t.first[i] + 1; }\n"
    "kernel void bytes(device uint *out [[buffer(0)]], constant uchar *in [[buffer(1)]], uint i [[thread_position_in_grid]])\n"
    "{ out[i] = in[i]; }\n"
    "kernel void grid_size(device uint *out [[buffer(0)]], uint3 p [[thread_position_in_grid]], uint3 n [[threads_per_grid]],\n"
    "                      uint3 g [[threadgroups_per_grid]])\n"
    "{ if (p.x + p.y + p.z == 0) { out[0] = n.x; out[1] = n.y; out[2] = n.z; out[3] = g.x; out[4] = g.y; out[5] = g.z; } }\n";

static const char *const fixture_kernels[] = {"fill",   "scale", "add",    "note",    "reverse", "roomy",
                                              "narrow", "wild",  "halves", "through", "bytes",   "grid_size"};
enum { FILL, SCALE, ADD, NOTE, REVERSE, ROOMY, NARROW, WILD, HALVES, THROUGH, BYTES_OF_CONSTANT, GRID_SIZE, KERNELS };

typedef struct fixture {
    void *pool;
    id device, queue, library;
    id pipelines[KERNELS];
} fixture;

/* Made when asked for: most tests use one or two. */
static inline id kernel(fixture *f, int which)
{
    if (f->pipelines[which]) return f->pipelines[which];
    id error = NULL, function = new_function(f->library, fixture_kernels[which]);
    if (!function) fail_msg("no function %s", fixture_kernels[which]);
    f->pipelines[which] = new_pipeline(f->device, function, &error);
    if (!f->pipelines[which]) fail_msg("%s: %s", fixture_kernels[which], error_text(error));
    release(function);
    return f->pipelines[which];
}

static inline fixture open_fixture(const softmetal_world *world)
{
    fixture f = {0};
    id error = NULL;
    host.set_world(world);
    host.reset();
    f.pool = host.push_pool();
    f.device = host.create_device();
    assert_non_null(f.device);
    f.queue = get(f.device, "newCommandQueue");
    f.library = new_library(f.device, fixture_source, &error);
    if (!f.library) fail_msg("%s", error_text(error));
    return f;
}

/* Ends it; reports of the test are the test's business, of leaks there are none. */
static inline void close_fixture(fixture *f)
{
    for (int i = 0; i < KERNELS; i++) release(f->pipelines[i]);
    release(f->library);
    release(f->queue);
    release(f->device);
    host.pop_pool(f->pool);
    size_t left = host.check_leaks();
    if (left) print_reports();
    assert_int_equal(left, 0);
    softmetal_counts counts;
    host.get_counts(&counts);
    assert_int_equal(counts.live_objects, 0);
    assert_int_equal(counts.live_buffer_bytes, 0);
}

#endif
