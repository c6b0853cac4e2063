/* Planted mistakes in MSL kernels, each with the report that it must bring, and twins that are right and must be silent. */
#include <stdio.h>

#include "tests/kernels.h"

#include "msl/msl.h"

/* The kernel is called k; buffers 0 and 1 are `x` and `y`. HERE marks the line that the report names, THERE the other one: of two that
 * collide the upper one comes first. */
typedef struct plant {
    const char *name, *text;
    uint32_t threads, group;
    int kind;                    /* softmetal_report_kind, or RIGHT */
    const char *words;           /* in the message; may be NULL */
    uint32_t argument_bytes;     /* of threadgroup argument 0 */
    sm_result result;
} plant;
#define RIGHT (-1)
#define K "kernel void k(device float *x [[buffer(0)]], device float *y [[buffer(1)]], uint t [[thread_position_in_grid]],\n" \
          "              uint i [[thread_index_in_threadgroup]], uint n [[threads_per_threadgroup]], uint g [[threadgroup_position_in_grid]],\n" \
          "              uint s [[simdgroup_index_in_threadgroup]], uint l [[thread_index_in_simdgroup]])\n{\n"
#define BARRIER_LINE "    threadgroup_barrier(mem_flags::mem_threadgroup);\n"

static const plant plants[] = {
    /* ---- Races in threadgroup memory */
    {"reversal without a barrier",
     K "    threadgroup float a[256];\n"
       "    a[i] = x[t]; // HERE\n"
       "    y[t] = a[n - 1 - i]; // THERE\n}",
     64, 64, SOFTMETAL_RACE_THREADGROUP, "the threadgroup variable of line", 0, SM_OK},
    {"reversal with a barrier",
     K "    threadgroup float a[256];\n"
       "    a[i] = x[t];\n" BARRIER_LINE
       "    y[t] = a[n - 1 - i];\n}",
     512, 256, RIGHT, NULL, 0, SM_OK},
    {"a barrier that fences the wrong memory",
     K "    threadgroup float a[256];\n"
       "    a[i] = x[t]; // HERE\n"
       "    threadgroup_barrier(mem_flags::mem_device);\n"
       "    y[t] = a[n - 1 - i]; // THERE\n}",
     64, 64, SOFTMETAL_RACE_THREADGROUP, NULL, 0, SM_OK},
    {"a barrier that fences nothing",
     K "    threadgroup float a[256];\n"
       "    a[i] = x[t]; // HERE\n"
       "    threadgroup_barrier(mem_flags::mem_none);\n"
       "    y[t] = a[n - 1 - i]; // THERE\n}",
     64, 64, SOFTMETAL_RACE_THREADGROUP, NULL, 0, SM_OK},
    {"a barrier that fences both",
     K "    threadgroup float a[256];\n"
       "    a[i] = x[t];\n"
       "    threadgroup_barrier(mem_flags::mem_device | mem_flags::mem_threadgroup);\n"
       "    y[t] = a[n - 1 - i];\n}",
     64, 64, RIGHT, NULL, 0, SM_OK},
    {"tree reduction",
     K "    threadgroup float a[256];\n"
       "    a[i] = x[t];\n" BARRIER_LINE
       "    for (uint d = n / 2; d > 0; d /= 2) {\n"
       "        if (i < d) a[i] += a[i + d];\n" BARRIER_LINE
       "    }\n"
       "    if (i == 0) y[g] = a[0];\n}",
     1024, 256, RIGHT, NULL, 0, SM_OK},
    {"tree reduction whose loop has no barrier",
     K "    threadgroup float a[256];\n"
       "    a[i] = x[t];\n" BARRIER_LINE
       "    for (uint d = n / 2; d > 0; d /= 2) {\n"
       "        if (i < d) a[i] += a[i + d]; // HERE THERE\n"
       "    }\n"
       "    if (i == 0) y[g] = a[0];\n}",
     256, 256, SOFTMETAL_RACE_THREADGROUP, NULL, 0, SM_OK},
    {"a loop that writes again before all have read",
     K "    threadgroup float a[256];\n"
       "    float sum = 0;\n"
       "    for (uint r = 0; r < 4; r++) {\n"
       "        a[i] = x[t] + r; // HERE\n" BARRIER_LINE
       "        sum += a[n - 1 - i]; // THERE\n"
       "    }\n"
       "    y[t] = sum;\n}",
     64, 64, SOFTMETAL_RACE_THREADGROUP, NULL, 0, SM_OK},
    {"the same with a second barrier",
     K "    threadgroup float a[256];\n"
       "    float sum = 0;\n"
       "    for (uint r = 0; r < 4; r++) {\n"
       "        a[i] = x[t] + r;\n" BARRIER_LINE
       "        sum += a[n - 1 - i];\n" BARRIER_LINE
       "    }\n"
       "    y[t] = sum;\n}",
     64, 64, RIGHT, NULL, 0, SM_OK},
    {"two threads store to one place",
     K "    threadgroup float a[128];\n"
       "    a[i / 2] = x[t]; // HERE THERE\n" BARRIER_LINE
       "    y[t] = a[i / 2];\n}",
     64, 64, SOFTMETAL_RACE_THREADGROUP, "store of 4 bytes", 0, SM_OK},
    {"all store the same value", /* a race all the same */
     K "    threadgroup float a[1];\n"
       "    a[0] = 1; // HERE THERE\n" BARRIER_LINE
       "    y[t] = a[0];\n}",
     64, 64, SOFTMETAL_RACE_THREADGROUP, NULL, 0, SM_OK},
    {"one stores for all",
     K "    threadgroup float a[1];\n"
       "    if (i == n - 1) a[0] = x[t];\n" BARRIER_LINE
       "    y[t] = a[0];\n}",
     64, 64, RIGHT, NULL, 0, SM_OK},
    {"one stores for all, without a barrier",
     K "    threadgroup float a[1];\n"
       "    if (i == 0) a[0] = x[t]; // HERE\n"
       "    y[t] = a[0]; // THERE\n}",
     64, 64, SOFTMETAL_RACE_THREADGROUP, NULL, 0, SM_OK},
    {"neighbours' halves and bytes",
     K "    threadgroup half a[256];\n"
       "    threadgroup uchar b[256];\n"
       "    a[i] = half(x[t]);\n"
       "    b[i] = uchar(i);\n" BARRIER_LINE
       "    y[t] = float(a[n - 1 - i]) + b[n - 1 - i];\n}",
     256, 256, RIGHT, NULL, 0, SM_OK},
    {"a half that another thread reads",
     K "    threadgroup half a[256];\n"
       "    a[i] = half(x[t]); // HERE\n"
       "    y[t] = float(a[i ^ 1]); // THERE\n}",
     64, 64, SOFTMETAL_RACE_THREADGROUP, "of 2 bytes", 0, SM_OK},
    {"a threadgroup argument without a barrier",
     "kernel void k(device float *x [[buffer(0)]], device float *y [[buffer(1)]], threadgroup float *a [[threadgroup(0)]],\n"
     "              uint i [[thread_index_in_threadgroup]], uint n [[threads_per_threadgroup]]) {\n"
     "    a[i] = x[i]; // HERE\n"
     "    y[i] = a[n - 1 - i]; // THERE\n}",
     64, 64, SOFTMETAL_RACE_THREADGROUP, "threadgroup argument 0 ('a') at byte", 256, SM_OK},
    {"a threadgroup argument with a barrier",
     "kernel void k(device float *x [[buffer(0)]], device float *y [[buffer(1)]], threadgroup half *a [[threadgroup(0)]],\n"
     "              uint i [[thread_index_in_threadgroup]], uint n [[threads_per_threadgroup]]) {\n"
     "    a[i] = half(x[i]);\n" BARRIER_LINE
     "    y[i] = a[n - 1 - i];\n}",
     64, 64, RIGHT, NULL, 128, SM_OK},
    /* ---- In one simdgroup */
    {"a simdgroup's own memory with its barrier",
     K "    threadgroup float a[256];\n"
       "    a[i] = x[t];\n"
       "    simdgroup_barrier(mem_flags::mem_threadgroup);\n"
       "    y[t] = a[s * 32 + 31 - l];\n}",
     256, 256, RIGHT, NULL, 0, SM_OK},
    {"a simdgroup's own memory without its barrier",
     K "    threadgroup float a[256];\n"
       "    a[i] = x[t]; // HERE\n"
       "    y[t] = a[s * 32 + 31 - l]; // THERE\n}",
     256, 256, SOFTMETAL_RACE_THREADGROUP, NULL, 0, SM_OK},
    {"another simdgroup's memory with only a simdgroup's barrier",
     K "    threadgroup float a[256];\n"
       "    a[i] = x[t]; // HERE\n"
       "    simdgroup_barrier(mem_flags::mem_threadgroup);\n"
       "    y[t] = a[n - 1 - i]; // THERE\n}",
     64, 64, SOFTMETAL_RACE_THREADGROUP, NULL, 0, SM_OK},
    {"a meeting orders the lanes of a simdgroup",
     K "    threadgroup float a[256];\n"
       "    a[i] = x[t];\n"
       "    const float sum = simd_sum(x[t]);\n"
       "    y[t] = a[s * 32 + 31 - l] + sum;\n}",
     256, 256, RIGHT, NULL, 0, SM_OK},
    {"a meeting of a quad orders its lanes",
     K "    threadgroup float a[256];\n"
       "    a[i] = x[t];\n"
       "    const float sum = quad_sum(x[t]);\n"
       "    y[t] = a[i ^ 3] + sum;\n}",
     256, 256, RIGHT, NULL, 0, SM_OK},
    {"a meeting of a quad does not order others",
     K "    threadgroup float a[256];\n"
       "    a[i] = x[t]; // HERE\n"
       "    const float sum = quad_sum(x[t]);\n"
       "    y[t] = a[i ^ 4] + sum; // THERE\n}",
     256, 256, SOFTMETAL_RACE_THREADGROUP, NULL, 0, SM_OK},
    {"reduction over simdgroups",
     K "    threadgroup float a[32];\n"
       "    const float sum = simd_sum(x[t]);\n"
       "    if (l == 0) a[s] = sum;\n" BARRIER_LINE
       "    if (s == 0) {\n"
       "        const float all = simd_sum(l < n / 32 ? a[l] : 0.0f);\n"
       "        if (l == 0) y[g] = all;\n"
       "    }\n}",
     1024, 256, RIGHT, NULL, 0, SM_OK},
    {"reduction over simdgroups without its barrier",
     K "    threadgroup float a[32];\n"
       "    const float sum = simd_sum(x[t]);\n"
       "    if (l == 0) a[s] = sum; // HERE\n"
       "    if (s == 0) {\n"
       "        const float all = simd_sum(l < n / 32 ? a[l] : 0.0f); // READS\n"
       "        if (l == 0) y[g] = all;\n"
       "    }\n}",
     256, 256, SOFTMETAL_RACE_THREADGROUP, NULL, 0, SM_OK},
    /* ---- Atomics */
    {"a histogram with atomics",
     K "    threadgroup atomic_uint a[8];\n"
       "    if (i < 8) atomic_store_explicit(&a[i], 0u, memory_order_relaxed);\n" BARRIER_LINE
       "    atomic_fetch_add_explicit(&a[t % 8], 1u, memory_order_relaxed);\n" BARRIER_LINE
       "    if (i < 8) y[g * 8 + i] = float(atomic_load_explicit(&a[i], memory_order_relaxed));\n}",
     256, 64, RIGHT, NULL, 0, SM_OK},
    {"an atomic beside a plain store",
     K "    threadgroup atomic_uint a[8];\n"
       "    if (i < 8) ((threadgroup uint *)a)[i] = 0; // HERE\n"
       "    atomic_fetch_add_explicit(&a[t % 8], 1u, memory_order_relaxed); // THERE\n"
       "    y[t] = 0;\n}",
     64, 64, SOFTMETAL_RACE_THREADGROUP, "atomic operation", 0, SM_OK},
    {"a plain read of what others add to",
     K "    threadgroup atomic_uint a[1];\n"
       "    if (i == 0) atomic_store_explicit(&a[0], 0u, memory_order_relaxed);\n" BARRIER_LINE
       "    atomic_fetch_add_explicit(&a[0], 1u, memory_order_relaxed); // HERE\n"
       "    y[t] = float(((threadgroup uint *)a)[0]); // THERE\n}",
     64, 64, SOFTMETAL_RACE_THREADGROUP, NULL, 0, SM_OK},
    {"threadgroups add to device memory",
     "kernel void k(device float *x [[buffer(0)]], device atomic_uint *y [[buffer(1)]], uint t [[thread_position_in_grid]]) {\n"
     "    atomic_fetch_add_explicit(&y[t % 3], uint(x[t]), memory_order_relaxed);\n}",
     1024, 64, RIGHT, NULL, 0, SM_OK},
    /* ---- Races in device memory */
    {"each its own", K "    y[t] = x[t] * 2;\n}", 1024, 64, RIGHT, NULL, 0, SM_OK},
    {"in place", K "    x[t] = x[t] * 2 + y[t];\n}", 1024, 64, RIGHT, NULL, 0, SM_OK},
    {"threadgroups store to one place",
     K "    y[i] = x[t]; // HERE THERE\n}",
     128, 64, SOFTMETAL_RACE_DEVICE, "buffer 1 ('y') at byte", 0, SM_OK},
    {"a stencil in place",
     K "    if (t > 0) x[t] = x[t] + x[t - 1]; // HERE THERE\n}",
     64, 64, SOFTMETAL_RACE_DEVICE, "buffer 0 ('x')", 0, SM_OK},
    {"a stencil beside",
     K "    y[t] = x[t] + (t > 0 ? x[t - 1] : 0.0f);\n}",
     1024, 64, RIGHT, NULL, 0, SM_OK},
    {"a reader in another threadgroup",
     K "    if (g == 0) y[i] = x[t]; // HERE THERE\n"
       "    else x[t] = y[i]; // HERE THERE\n}",
     128, 64, SOFTMETAL_RACE_DEVICE, NULL, 0, SM_OK},
    {"device memory of one threadgroup with its barrier",
     K "    y[t] = x[t];\n"
       "    threadgroup_barrier(mem_flags::mem_device);\n"
       "    x[t] = y[g * n + n - 1 - i];\n}",
     512, 64, RIGHT, NULL, 0, SM_OK},
    {"device memory of one threadgroup, the barrier fences the wrong memory",
     K "    y[t] = x[t]; // HERE\n" BARRIER_LINE
       "    x[t] = y[g * n + n - 1 - i]; // THERE\n}",
     512, 64, SOFTMETAL_RACE_DEVICE, NULL, 0, SM_OK},
    {"halves of neighbouring threadgroups",
     "kernel void k(device const float *x [[buffer(0)]], device half *y [[buffer(1)]], uint t [[thread_position_in_grid]]) {\n"
     "    if (t < 1023) y[t + 1] = half(x[t]);\n}",
     1024, 33, RIGHT, NULL, 0, SM_OK},
    {"bytes of neighbouring threads",
     "kernel void k(device const float *x [[buffer(0)]], device uchar *y [[buffer(1)]], uint t [[thread_position_in_grid]]) {\n"
     "    y[t] = uchar(t);\n}",
     1024, 33, RIGHT, NULL, 0, SM_OK},
    {"halves of a buffer of floats",
     "kernel void k(device const float *x [[buffer(0)]], device float *y [[buffer(1)]], uint t [[thread_position_in_grid]]) {\n"
     "    ((device half *)y)[t] = half(x[t]);\n}",
     1024, 33, RIGHT, NULL, 0, SM_OK},
    /* ---- Bounds */
    {"one element too far",
     "kernel void k(device const float *x [[buffer(0)]], device float *y [[buffer(1)]], uint t [[thread_position_in_grid]]) {\n"
     "    y[t] = x[t + 1]; // HERE\n}",
     1024, 64, SOFTMETAL_OUT_OF_BOUNDS, "load of 4 bytes, buffer 0 ('x') at byte 4096", 0, SM_OUT_OF_BOUNDS},
    {"one element before",
     "kernel void k(device const float *x [[buffer(0)]], device float *y [[buffer(1)]], uint t [[thread_position_in_grid]]) {\n"
     "    y[int(t) - 1] = x[t]; // HERE\n}",
     1024, 64, SOFTMETAL_OUT_OF_BOUNDS, "store of 4 bytes, buffer 1 ('y') at byte -4", 0, SM_OUT_OF_BOUNDS},
    {"too far in threadgroup memory",
     K "    threadgroup float a[64];\n"
       "    a[i + 1] = x[t]; // HERE\n" BARRIER_LINE
       "    y[t] = a[i];\n}",
     64, 64, SOFTMETAL_OUT_OF_BOUNDS, "the threadgroup variable of line 7 at byte 256", 0, SM_OUT_OF_BOUNDS},
    {"before threadgroup memory",
     K "    threadgroup float a[64];\n"
       "    a[int(i) - 1] = x[t]; // HERE\n" BARRIER_LINE
       "    y[t] = a[i];\n}",
     64, 64, SOFTMETAL_OUT_OF_BOUNDS, "at byte -4", 0, SM_OUT_OF_BOUNDS},
    {"too far in a threadgroup argument",
     "kernel void k(device float *x [[buffer(0)]], device float *y [[buffer(1)]], threadgroup float *a [[threadgroup(0)]],\n"
     "              uint i [[thread_index_in_threadgroup]]) {\n"
     "    a[i] = x[i]; // HERE\n"
     "    y[i] = a[i];\n}",
     64, 64, SOFTMETAL_OUT_OF_BOUNDS, "threadgroup argument 0 ('a') at byte 252", 252, SM_OUT_OF_BOUNDS},
    {"just far enough", K "    threadgroup float a[64];\n    a[i] = x[t + 960 - g * 64];\n    y[1023 - t] = a[i];\n}", 1024, 64, RIGHT, NULL, 0, SM_OK},
    /* ---- What nothing has written */
    {"threadgroup memory that nothing has written",
     K "    threadgroup float a[64];\n"
       "    if (i > 0) a[i] = x[t];\n" BARRIER_LINE
       "    y[t] = a[n - 1 - i]; // HERE\n}",
     64, 64, SOFTMETAL_UNINITIALISED_READ, "which nothing has written", 0, SM_OK},
    {"written by the threadgroup before",
     K "    threadgroup float a[64];\n"
       "    if (g == 0) a[i] = x[t];\n" BARRIER_LINE
       "    y[t] = a[i]; // HERE\n}",
     128, 64, SOFTMETAL_UNINITIALISED_READ, NULL, 0, SM_OK},
    {"accumulated without a beginning",
     K "    threadgroup float a[64];\n"
       "    a[i] += x[t]; // HERE\n"
       "    y[t] = a[i];\n}",
     64, 64, SOFTMETAL_UNINITIALISED_READ, NULL, 0, SM_OK},
    {"vectors of three",
     K "    threadgroup float3 a[64];\n"
       "    threadgroup half3 b[64];\n"
       "    a[i].x = x[t]; a[i].y = 2; a[i].z = 3;\n"
       "    b[i] = half3(1);\n" BARRIER_LINE
       "    const float3 v = a[n - 1 - i] + float3(b[n - 1 - i]);\n"
       "    y[t] = v.x + v.y + v.z;\n}",
     64, 64, RIGHT, NULL, 0, SM_OK},
    {"a struct with gaps",
     "struct pair { half a; float b; };\n" K
       "    threadgroup pair a[64];\n"
       "    a[i].a = 1; a[i].b = x[t];\n" BARRIER_LINE
       "    pair p = a[n - 1 - i];\n"
       "    y[t] = p.a + p.b;\n}",
     64, 64, RIGHT, NULL, 0, SM_OK},
    /* ---- Divergence */
    {"a barrier in a branch",
     K "    threadgroup float a[64];\n"
       "    a[i] = x[t];\n"
       "    if (i < 60) threadgroup_barrier(mem_flags::mem_threadgroup); // HERE\n"
       "    y[t] = a[i];\n}",
     64, 64, SOFTMETAL_DIVERGENT_BARRIER, "left the kernel", 0, SM_OK},
    {"an early return before a barrier",
     K "    if (t >= 100) return;\n"
       "    threadgroup float a[64];\n"
       "    a[i] = x[t];\n"
       "    threadgroup_barrier(mem_flags::mem_threadgroup); // HERE\n"
       "    y[t] = a[i];\n}",
     128, 64, SOFTMETAL_DIVERGENT_BARRIER, NULL, 0, SM_OK},
    {"no early return before a barrier",
     K "    threadgroup float a[64];\n"
       "    if (t < 100) a[i] = x[t];\n" BARRIER_LINE
       "    if (t < 100) y[t] = a[i];\n}",
     128, 64, RIGHT, NULL, 0, SM_OK},
    {"simd_sum in a branch",
     K "    float v = x[t];\n"
       "    if (l < 7) v = simd_sum(v); // HERE\n"
       "    y[t] = simd_max(v); // THERE\n}",
     64, 64, SOFTMETAL_DIVERGENT_SIMD, NULL, 0, SM_OK},
    {"simd_sum in a branch that whole simdgroups take",
     K "    float v = x[t];\n"
       "    if (s == 0) v = simd_sum(v);\n"
       "    y[t] = simd_max(v);\n}",
     64, 64, RIGHT, NULL, 0, SM_OK},
    {"simd_sum after an early return",
     K "    if (t >= 1000) return;\n"
       "    y[t] = simd_sum(x[t]);\n}",
     1024, 64, RIGHT, NULL, 0, SM_OK},
    /* ---- Longer ones */
    {"a tiled product of matrices",
     K "    threadgroup float a[8][8], b[8][8];\n"
       "    const uint row = i / 8, column = i % 8;\n"
       "    float sum = 0;\n"
       "    for (uint tile = 0; tile < 4; tile++) {\n"
       "        a[row][column] = x[row * 32 + tile * 8 + column];\n"
       "        b[row][column] = x[256 + (tile * 8 + row) * 8 + column];\n" BARRIER_LINE
       "        for (uint k = 0; k < 8; k++) sum += a[row][k] * b[k][column];\n" BARRIER_LINE
       "    }\n"
       "    y[g * 64 + i] = sum;\n}",
     256, 64, RIGHT, NULL, 0, SM_OK},
    {"a tiled product of matrices that loads the next tile too early",
     K "    threadgroup float a[8][8], b[8][8];\n"
       "    const uint row = i / 8, column = i % 8;\n"
       "    float sum = 0;\n"
       "    for (uint tile = 0; tile < 4; tile++) {\n"
       "        a[row][column] = x[row * 32 + tile * 8 + column]; b[row][column] = x[256 + (tile * 8 + row) * 8 + column]; // HERE\n" BARRIER_LINE
       "        for (uint k = 0; k < 8; k++) sum += a[row][k] * b[k][column]; // THERE\n"
       "    }\n"
       "    y[g * 64 + i] = sum;\n}",
     256, 64, SOFTMETAL_RACE_THREADGROUP, NULL, 0, SM_OK},
    {"simdgroup matrices through threadgroup memory",
     K "    threadgroup float a[2][64];\n"
       "    simdgroup_float8x8 p, q, r = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);\n"
       "    for (uint tile = 0; tile < 4; tile++) {\n"
       "        a[s][l] = x[tile * 64 + l]; a[s][l + 32] = x[tile * 64 + l + 32];\n"
       "        simdgroup_barrier(mem_flags::mem_threadgroup);\n"
       "        simdgroup_load(p, a[s], 8);\n"
       "        simdgroup_load(q, x + 512 + tile * 64, 8, 0, true);\n"
       "        simdgroup_multiply_accumulate(r, p, q, r);\n"
       "        simdgroup_barrier(mem_flags::mem_threadgroup);\n"
       "    }\n"
       "    simdgroup_store(r, y + (g * 2 + s) * 64, 8);\n}",
     256, 64, RIGHT, NULL, 0, SM_OK},
    {"simdgroup matrices of another simdgroup's memory",
     K "    threadgroup float a[2][64];\n"
       "    simdgroup_float8x8 p;\n"
       "    a[s][l] = x[l]; a[s][l + 32] = x[l + 32]; // HERE\n"
       "    simdgroup_barrier(mem_flags::mem_threadgroup);\n"
       "    simdgroup_load(p, a[1 - s], 8); // THERE\n"
       "    simdgroup_store(p, y + (g * 2 + s) * 64, 8);\n}",
     64, 64, SOFTMETAL_RACE_THREADGROUP, NULL, 0, SM_OK},
    {"softmax of a row, in place",
     K "    threadgroup float part[8];\n"
       "    float most = -INFINITY, sum = 0;\n"
       "    for (uint k = i; k < 256; k += n) most = max(most, x[g * 256 + k]);\n"
       "    most = simd_max(most);\n"
       "    if (l == 0) part[s] = most;\n" BARRIER_LINE
       "    for (uint k = 0; k < n / 32; k++) most = max(most, part[k]);\n" BARRIER_LINE
       "    for (uint k = i; k < 256; k += n) sum += x[g * 256 + k] = exp(x[g * 256 + k] - most);\n"
       "    sum = simd_sum(sum);\n"
       "    if (l == 0) part[s] = sum;\n" BARRIER_LINE
       "    sum = 0;\n"
       "    for (uint k = 0; k < n / 32; k++) sum += part[k];\n"
       "    for (uint k = i; k < 256; k += n) x[g * 256 + k] /= sum;\n}",
     256, 64, RIGHT, NULL, 0, SM_OK},
    {"softmax of a row that uses its memory again too early",
     K "    threadgroup float part[8];\n"
       "    float most = simd_max(x[t]);\n"
       "    if (l == 0) part[s] = most;\n" BARRIER_LINE
       "    for (uint k = 0; k < n / 32; k++) most = max(most, part[k]); // HERE\n"
       "    float sum = simd_sum(exp(x[t] - most));\n"
       "    if (l == 0) part[s] = sum; // THERE\n" BARRIER_LINE
       "    sum = 0;\n"
       "    for (uint k = 0; k < n / 32; k++) sum += part[k];\n"
       "    x[t] /= sum;\n}",
     256, 64, SOFTMETAL_RACE_THREADGROUP, NULL, 0, SM_OK},
    {"a scan over a threadgroup",
     K "    threadgroup float a[64];\n"
       "    a[i] = x[t];\n" BARRIER_LINE
       "    for (uint d = 1; d < n; d *= 2) {\n"
       "        const float v = i >= d ? a[i - d] : 0;\n" BARRIER_LINE
       "        a[i] += v;\n" BARRIER_LINE
       "    }\n"
       "    y[t] = a[i];\n}",
     256, 64, RIGHT, NULL, 0, SM_OK},
    {"a scan over a threadgroup in place",
     K "    threadgroup float a[64];\n"
       "    a[i] = x[t];\n" BARRIER_LINE
       "    for (uint d = 1; d < n; d *= 2) {\n"
       "        if (i >= d) a[i] += a[i - d]; // HERE THERE\n" BARRIER_LINE
       "    }\n"
       "    y[t] = a[i];\n}",
     256, 64, SOFTMETAL_RACE_THREADGROUP, NULL, 0, SM_OK},
    {"rotation of pairs, in place",
     K "    const float a = x[t], b = x[t + 512];\n"
       "    x[t] = a * 0.8f - b * 0.6f; x[t + 512] = a * 0.6f + b * 0.8f;\n}",
     512, 64, RIGHT, NULL, 0, SM_OK},
    {"a transposition through threadgroup memory, in quads of vectors",
     K "    threadgroup float4 a[64];\n"
       "    a[i] = ((device float4 *)x)[t];\n" BARRIER_LINE
       "    const threadgroup float *f = (const threadgroup float *)a;\n"
       "    ((device float4 *)y)[t] = float4(f[i], f[i + 64], f[i + 128], f[i + 192]);\n}",
     256, 64, RIGHT, NULL, 0, SM_OK},
    {"a queue of work: who comes first takes the next",
     "kernel void k(device atomic_uint *x [[buffer(0)]], device float *y [[buffer(1)]], uint l [[thread_index_in_simdgroup]]) {\n"
     "    uint next = 0;\n"
     "    if (l == 0) next = atomic_fetch_add_explicit(&x[0], 1u, memory_order_relaxed);\n"
     "    next = simd_broadcast_first(next);\n"
     "    if (next < 32) y[next * 32 + l] = next;\n}",
     512, 64, RIGHT, NULL, 0, SM_OK},
    {"a lock-free maximum",
     "kernel void k(device const float *x [[buffer(0)]], device atomic_uint *y [[buffer(1)]], uint t [[thread_position_in_grid]]) {\n"
     "    uint old = atomic_load_explicit(y, memory_order_relaxed);\n"
     "    const uint mine = as_type<uint>(x[t]);\n"
     "    while (old < mine && !atomic_compare_exchange_weak_explicit(y, &old, mine, memory_order_relaxed, memory_order_relaxed)) {}\n}",
     1024, 64, RIGHT, NULL, 0, SM_OK},
    {"a short threadgroup",
     K "    threadgroup float a[33];\n"
       "    a[i] = simd_sum(x[t]);\n" BARRIER_LINE
       "    y[t] = a[n - 1 - i];\n}",
     1000, 33, RIGHT, NULL, 0, SM_OK},
};

static sm_executor *executor;
static softmetal_world world = {.build = SOFTMETAL_CHECKED, .workers = 2};
static sm_memory x, y;

enum { ELEMENTS = 1024 };

static int setup(void **state)
{
    (void)state;
    executor = sm_executor_create(&world);
    return executor == NULL || !sm_memory_create(&x, ELEMENTS * sizeof(float), false) ||
           !sm_memory_create(&y, ELEMENTS * sizeof(float), false);
}

static int teardown(void **state)
{
    (void)state;
    sm_memory_destroy(&x);
    sm_memory_destroy(&y);
    sm_executor_destroy(executor);
    return 0;
}

static sm_msl_library *compile(const char *text)
{
    static const char head[] = "#include <metal_stdlib>\nusing namespace metal;\n"; /* two lines */
    char *whole = NULL, *errors = NULL;
    assert_true(asprintf(&whole, "%s%s", head, text) > 0);
    const sm_msl_options options = {.world = world};
    sm_msl_library *library = sm_msl_library_create(whole, &options, &errors);
    if (library == NULL) fail_msg("%s\n%s", whole, errors);
    free(whole);
    return library;
}

static sm_dispatch dispatch_of(sm_msl_library *library, const char *name, uint32_t threads, uint32_t group)
{
    char *errors = NULL;
    sm_built built;
    if (!sm_msl_build(library, name, NULL, 0, &built, &errors)) fail_msg("%s", errors);
    sm_dispatch dispatch = {.kernel = built.kernel, .services = built.services, .checked = built.checked, .object = built.object,
                            .grid = {threads, 1, 1}, .group = {group, 1, 1}};
    bind_memory(&dispatch, 0, &x);
    bind_memory(&dispatch, 1, &y);
    return dispatch;
}

/* Is the line, of the text with its two lines of head, marked so? */
static bool is_marked(const char *text, uint32_t line, const char *marker)
{
    for (uint32_t at = 3; text != NULL && *text != 0; at++) {
        const size_t length = strcspn(text, "\n");
        const char *found = strstr(text, marker);
        if (at == line) return found != NULL && found < text + length;
        text += length + (text[length] != 0);
    }
    return false;
}

static bool wrong(const plant *p, const char *what, const char *message)
{
    print_error("%s: %s: %s\n", p->name, what, message);
    return false;
}

/* Does the only report say what it must? */
static bool right_report(const plant *p, const softmetal_report *report)
{
    if ((int)report->kind != p->kind) return wrong(p, softmetal_report_name(report->kind), report->message);
    if (!is_marked(p->text, report->line, "HERE")) return wrong(p, "the line", report->message);
    if (strstr(p->text, "THERE") != NULL && !is_marked(p->text, report->other_line, "THERE")) return wrong(p, "the other line", report->message);
    if (strcmp(report->kernel, "k") != 0) return wrong(p, "the kernel", report->kernel);
    return p->words == NULL || strstr(report->message, p->words) != NULL || wrong(p, "the words", report->message);
}

static bool run_plant(const plant *p)
{
    softmetal_reset();
    for (int i = 0; i < ELEMENTS; i++) ((float *)x.cpu)[i] = (float)(i % 7);
    sm_msl_library *library = compile(p->text);
    sm_dispatch dispatch = dispatch_of(library, "k", p->threads, p->group);
    dispatch.threadgroup_bytes[0] = p->argument_bytes;
    sm_executor_order(executor);
    const sm_result result = sm_executor_run(executor, &dispatch);
    sm_msl_library_destroy(library);
    softmetal_report report;
    bool right = result == p->result || wrong(p, "the result", "");
    for (size_t i = 0; softmetal_get_report(i, &report); i++)
        right = (i == 0 || wrong(p, "more than one report", report.message)) && right_report(p, &report) && right;
    if (p->kind != RIGHT && softmetal_report_count() == 0) right = wrong(p, "not reported", "");
    return right;
}

static void test_plants(void **state)
{
    (void)state;
    int failures = 0;
    for (size_t i = 0; i < sizeof plants / sizeof *plants; i++) failures += !run_plant(&plants[i]);
    assert_int_equal(failures, 0);
}

/* ---- Several dispatches ---------------------------------------------------------------------------------------------- */

static const char passes[] =
    "kernel void fill(device float *x [[buffer(0)]], uint t [[thread_position_in_grid]]) { x[t] = t; }\n"        /* line 3 */
    "kernel void copy(device const float *x [[buffer(0)]], device float *y [[buffer(1)]], uint t [[thread_position_in_grid]]) {\n"
    "    y[t] = x[t]; // line 5\n"
    "}\n"
    "kernel void grow(device float *x [[buffer(0)]], uint t [[thread_position_in_grid]]) { x[t] += 1; }\n"       /* line 7 */
    "kernel void count(device atomic_uint *x [[buffer(0)]]) { atomic_fetch_add_explicit(x, 1u, memory_order_relaxed); }\n"
    "kernel void odd(device float *x [[buffer(0)]], uint t [[thread_position_in_grid]]) { x[2 * t + 1] = t; }\n"  /* line 9 */
    "kernel void even(device const float *x [[buffer(0)]], device float *y [[buffer(1)]], uint t [[thread_position_in_grid]]) {\n"
    "    y[t] = x[2 * t]; // line 11\n"
    "}\n";

typedef enum order { NOTHING, ORDER, ORDER_X, ORDER_Y } order;

/* Runs `first`, then `second`, with `between` them; returns how many reports there are. */
static size_t run_two(const char *first, const char *second, order between)
{
    softmetal_reset();
    sm_msl_library *library = compile(passes);
    sm_dispatch a = dispatch_of(library, first, 512, 64), b = dispatch_of(library, second, 512, 64);
    sm_executor_order(executor);
    assert_int_equal(sm_executor_run(executor, &a), SM_OK);
    if (between == ORDER) sm_executor_order(executor);
    if (between == ORDER_X) sm_executor_order_memory(executor, &x);
    if (between == ORDER_Y) sm_executor_order_memory(executor, &y);
    assert_int_equal(sm_executor_run(executor, &b), SM_OK);
    sm_executor_order(executor);
    sm_msl_library_destroy(library);
    return softmetal_report_count();
}

static void check_missing(const char *first, const char *second, uint32_t line, uint32_t other_line)
{
    assert_int_equal(run_two(first, second, ORDER), 0);
    assert_int_equal(run_two(first, second, ORDER_X), 0);
    for (order between = NOTHING; between <= ORDER_Y; between += ORDER_Y) {
        assert_int_equal(run_two(first, second, between), 1);
        const softmetal_report report = the_report(SOFTMETAL_MISSING_BARRIER);
        char words[64];
        snprintf(words, sizeof words, "of kernel '%s'", first);
        assert_string_equal(report.kernel, second);
        assert_int_equal(report.line, line);
        assert_int_equal(report.other_line, other_line);
        assert_non_null(strstr(report.message, words));
        assert_non_null(strstr(report.message, "buffer 0 ('x')"));
    }
}

static void test_missing_barriers(void **state)
{
    (void)state;
    check_missing("fill", "copy", 5, 3);
    check_missing("copy", "fill", 3, 5);
    check_missing("fill", "fill", 3, 3);
    check_missing("grow", "copy", 5, 7);
    check_missing("fill", "grow", 7, 3);
    check_missing("count", "copy", 5, 8);
    assert_int_equal(run_two("count", "count", NOTHING), 0);
    assert_int_equal(run_two("even", "odd", NOTHING), 0); /* the same memory, other bytes */
    assert_int_equal(run_two("odd", "even", NOTHING), 0);
    assert_int_equal(run_two("even", "even", NOTHING), 1); /* y */
    assert_int_equal(run_two("even", "even", ORDER_Y), 0);
}

/* A dispatch that was forgotten long ago is still unordered. */
static void test_many_unordered(void **state)
{
    (void)state;
    softmetal_reset();
    sm_msl_library *library = compile(passes);
    sm_dispatch fill = dispatch_of(library, "fill", 512, 64), copy = dispatch_of(library, "copy", 512, 64);
    sm_memory others[200];
    sm_executor_order(executor);
    assert_int_equal(sm_executor_run(executor, &copy), SM_OK);
    for (int i = 0; i < 200; i++) {
        assert_true(sm_memory_create(&others[i], 2048, false));
        bind_memory(&fill, 0, &others[i]);
        assert_int_equal(sm_executor_run(executor, &fill), SM_OK);
    }
    no_reports();
    assert_int_equal(sm_executor_run(executor, &copy), SM_OK);
    assert_int_equal(the_report(SOFTMETAL_MISSING_BARRIER).other_line, 5);
    for (int i = 0; i < 200; i++) sm_memory_destroy(&others[i]);
    sm_msl_library_destroy(library);
}

/* ---- Memory of the device alone ---------------------------------------------------------------------------------------- */

static void test_private_memory(void **state)
{
    (void)state;
    softmetal_reset();
    sm_memory own;
    assert_true(sm_memory_create(&own, 4096, true));
    sm_msl_library *library = compile(passes);
    sm_dispatch fill = dispatch_of(library, "fill", 512, 64), copy = dispatch_of(library, "copy", 1024, 64);
    bind_memory(&fill, 0, &own);
    bind_memory(&copy, 0, &own);
    sm_executor_order(executor);
    assert_int_equal(sm_executor_run(executor, &fill), SM_OK);
    sm_executor_order(executor);
    no_reports();
    assert_int_equal(sm_executor_run(executor, &copy), SM_OK);
    softmetal_report report = the_report(SOFTMETAL_UNINITIALISED_READ);
    assert_int_equal(report.line, 5);
    assert_int_equal(report.count, 512);
    softmetal_reset();
    sm_memory_written(&own, 2048, 1024); /* a copy of the blit encoder's */
    sm_executor_order(executor);
    assert_int_equal(sm_executor_run(executor, &copy), SM_OK);
    assert_int_equal(the_report(SOFTMETAL_UNINITIALISED_READ).count, 256);
    softmetal_reset();
    sm_memory_written(&own, 3072, 1 << 20); /* no further than its end */
    sm_executor_order(executor);
    assert_int_equal(sm_executor_run(executor, &copy), SM_OK);
    no_reports();
    sm_msl_library_destroy(library);
    sm_memory_destroy(&own);
}

/* ---- Bindings and counts ----------------------------------------------------------------------------------------------- */

static softmetal_kernel_counts counts_of(const char *kernel)
{
    static softmetal_kernel_counts all[64];
    const size_t count = softmetal_get_kernel_counts(all, 64);
    for (size_t i = 0; i < count; i++)
        if (strcmp(all[i].kernel, kernel) == 0) return all[i];
    fail_msg("no counts of %s", kernel);
    return all[0];
}

static const char counted[] =
    "kernel void k(device const float4 *x [[buffer(0)]], device half *y [[buffer(1)]], constant uint &times [[buffer(2)]],\n"
    "              device atomic_uint *sum [[buffer(3)]], uint t [[thread_position_in_grid]], uint i [[thread_index_in_threadgroup]]) {\n"
    "    threadgroup half a[64];\n"
    "    a[i] = half(x[t].y);\n"
    "    threadgroup_barrier(mem_flags::mem_threadgroup);\n"
    "    threadgroup_barrier(mem_flags::mem_threadgroup);\n"
    "    y[t] = a[i] + half(simd_sum(1));\n"
    "    if (t == 0) atomic_fetch_add_explicit(sum, times, memory_order_relaxed);\n"
    "}\n";

static void test_counts(void **state)
{
    (void)state;
    softmetal_reset();
    sm_memory sum;
    assert_true(sm_memory_create(&sum, 4, false));
    sm_msl_library *library = compile(counted);
    sm_dispatch dispatch = dispatch_of(library, "k", 256, 64);
    const uint32_t times = 7;
    dispatch.buffers[2] = (sm_binding){.bytes = &times, .length = sizeof times};
    bind_memory(&dispatch, 3, &sum);
    for (int i = 0; i < 2; i++) {
        sm_executor_order(executor);
        assert_int_equal(sm_executor_run(executor, &dispatch), SM_OK);
    }
    no_reports();
    assert_int_equal(*(uint32_t *)sum.cpu, 14);
    const softmetal_kernel_counts counts = counts_of("k");
    assert_int_equal(counts.dispatches, 2);
    assert_int_equal(counts.threadgroups, 8);
    assert_int_equal(counts.threads, 512);
    assert_int_equal(counts.barriers, 2 * 4 * 2);
    assert_int_equal(counts.simd_operations, 2 * 8);
    assert_true(counts.loaded[0] == 512 * 4 || counts.loaded[0] == 512 * 16); /* as the compiler has it */
    assert_int_equal(counts.stored[0], 0);
    assert_int_equal(counts.loaded[1], 0);
    assert_int_equal(counts.stored[1], 512 * 2);
    assert_int_equal(counts.loaded[2], 2 * 4);
    assert_int_equal(counts.loaded[3], 2 * 4);
    assert_int_equal(counts.stored[3], 2 * 4);
    assert_int_equal(counts.threadgroup_loaded, 512 * 2);
    assert_int_equal(counts.threadgroup_stored, 512 * 2);
    sm_msl_library_destroy(library);
    sm_memory_destroy(&sum);
}

/* One memory bound several times: each access is of the binding that begins nearest in front of it. */
static void test_bindings(void **state)
{
    (void)state;
    softmetal_reset();
    sm_msl_library *library = compile(passes);
    sm_dispatch copy = dispatch_of(library, "copy", 256, 64);
    copy.buffers[0] = (sm_binding){.memory = &x, .offset = 0, .length = x.bytes};
    copy.buffers[1] = (sm_binding){.memory = &x, .offset = 1024, .length = x.bytes - 1024};
    sm_executor_order(executor);
    assert_int_equal(sm_executor_run(executor, &copy), SM_OK);
    no_reports();
    softmetal_kernel_counts counts = counts_of("copy");
    assert_int_equal(counts.loaded[0], 1024);
    assert_int_equal(counts.stored[1], 1024);
    copy.buffers[1] = copy.buffers[0];
    sm_executor_order(executor);
    assert_int_equal(sm_executor_run(executor, &copy), SM_OK);
    no_reports();
    counts = counts_of("copy");
    assert_int_equal(counts.loaded[0], 2048);
    assert_int_equal(counts.stored[1], 2048);
    /* A part of a buffer ends where it is said to end, and begins where it begins. */
    copy.buffers[0] = (sm_binding){.memory = &x, .offset = 0, .length = 1000};
    copy.buffers[1] = (sm_binding){.memory = &y, .offset = 0, .length = y.bytes};
    sm_executor_order(executor);
    assert_int_equal(sm_executor_run(executor, &copy), SM_OUT_OF_BOUNDS);
    assert_non_null(strstr(the_report(SOFTMETAL_OUT_OF_BOUNDS).message, "buffer 0 ('x') at byte 1000"));
    sm_msl_library_destroy(library);
}

static const char table[] =
    "constant float values[4] = {1, 2, 4, 8};\n"
    "struct sizes { uint n; uint pad[3]; };\n"
    "kernel void k(device const float *x [[buffer(0)]], device float *y [[buffer(1)]], constant sizes &s [[buffer(2)]],\n"
    "              constant uint *list [[buffer(3)]], uint t [[thread_position_in_grid]]) {\n"
    "    float own[16];\n"
    "    for (uint i = 0; i < 16; i++) own[(i + t) % 16] = x[t] + i;\n"
    "    sizes copy = s;\n"
    "    y[t] = values[t % 4] + own[t * 7 % 16] + copy.n + list[t % 5];\n"
    "}\n";

/* Constants, arrays of a thread's own, and what setBytes gave are all within bounds; a list that is too short is not. */
static void test_constants(void **state)
{
    (void)state;
    softmetal_reset();
    sm_msl_library *library = compile(table);
    sm_dispatch dispatch = dispatch_of(library, "k", 1024, 64);
    const uint32_t sizes[4] = {1}, list[5] = {5, 4, 3, 2, 1};
    dispatch.buffers[2] = (sm_binding){.bytes = sizes, .length = sizeof sizes};
    dispatch.buffers[3] = (sm_binding){.bytes = list, .length = sizeof list};
    sm_executor_order(executor);
    assert_int_equal(sm_executor_run(executor, &dispatch), SM_OK);
    no_reports();
    dispatch.buffers[3].length -= 4;
    assert_int_equal(sm_executor_run(executor, &dispatch), SM_OUT_OF_BOUNDS);
    assert_non_null(strstr(the_report(SOFTMETAL_OUT_OF_BOUNDS).message, "buffer 3 ('list') at byte 16"));
    sm_msl_library_destroy(library);
}

/* Whatever the schedule, right kernels are silent and mistakes are seen. */
static void test_shuffled_plants(void **state)
{
    const softmetal_world before = world;
    int failures = 0;
    for (world.seed = 1; world.seed <= 3; world.seed++) {
        world.shuffle = true;
        teardown(state);
        assert_int_equal(setup(state), 0);
        for (size_t i = 0; i < sizeof plants / sizeof *plants; i++)
            if (plants[i].kind == RIGHT || plants[i].kind == SOFTMETAL_RACE_THREADGROUP) failures += !run_plant(&plants[i]);
    }
    world = before;
    assert_int_equal(failures, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_plants, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shuffled_plants, setup, teardown),
        cmocka_unit_test_setup_teardown(test_missing_barriers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_unordered, setup, teardown),
        cmocka_unit_test_setup_teardown(test_private_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bindings, setup, teardown),
        cmocka_unit_test_setup_teardown(test_constants, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
