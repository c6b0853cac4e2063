/* Runs kernels of tests/shim/NAME.metal by the whole path: text, compiler, executor. And counts what was looked at. */
#ifndef SOFTMETAL_TESTS_SHIM_RIG_H
#define SOFTMETAL_TESTS_SHIM_RIG_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "executor/executor.h"
#include "msl/msl.h"
#include "tests/shim/names.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Kernels ------------------------------------------------------------------------------------------------------- */

typedef struct rig_buffer {
    void *data; /* in and out */
    size_t bytes;
} rig_buffer;

/* malloc'ed: `before`, then the file. */
static inline char *rig_text(const char *before, const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/shim/%s.metal", SOFTMETAL_TEST_DATA, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) fail_msg("%s cannot be read", path);
    fseek(file, 0, SEEK_END);
    const long length = ftell(file);
    rewind(file);
    const size_t start = strlen(before);
    char *text = malloc(start + (size_t)length + 1);
    assert_non_null(text);
    memcpy(text, before, start);
    assert_int_equal(fread(text + start, 1, (size_t)length, file), length);
    text[start + (size_t)length] = 0;
    fclose(file);
    return text;
}

/* NULL, and the compiler's message in *errors, if the text does not compile. */
static inline sm_msl_library *rig_try(const char *text, const sm_msl_options *options, char **errors)
{
    return sm_msl_library_create(text, options, errors);
}

static inline sm_msl_library *rig_library(const char *text, const sm_msl_options *options)
{
    char *errors;
    sm_msl_library *library = rig_try(text, options, &errors);
    if (library == NULL) fail_msg("%s", errors);
    return library;
}

/* Runs one kernel over `grid` threads in groups of `group`; a kernel that ends badly, or that is reported, fails the test. */
static inline void rig_run_3(sm_msl_library *library, const char *kernel, const softmetal_world *world, const uint32_t grid[3],
                             const uint32_t group[3], const rig_buffer *buffers, size_t count)
{
    sm_built built;
    char *errors;
    if (!sm_msl_build(library, kernel, NULL, 0, &built, &errors)) fail_msg("%s", errors);
    sm_executor *executor = sm_executor_create(world);
    assert_non_null(executor);
    sm_dispatch dispatch = {.kernel = built.kernel, .services = built.services, .checked = built.checked, .object = built.object};
    memcpy(dispatch.grid, grid, sizeof dispatch.grid);
    memcpy(dispatch.group, group, sizeof dispatch.group);
    sm_memory memory[SM_BUFFERS];
    for (size_t i = 0; i < count; i++) {
        assert_true(sm_memory_create(&memory[i], buffers[i].bytes, false));
        memcpy(memory[i].cpu, buffers[i].data, buffers[i].bytes);
        sm_memory_written(&memory[i], 0, buffers[i].bytes);
        dispatch.buffers[i] = (sm_binding){.memory = &memory[i], .length = memory[i].bytes};
    }
    softmetal_reset();
    const sm_result result = sm_executor_run(executor, &dispatch);
    softmetal_report report;
    if (softmetal_get_report(0, &report)) fail_msg("%s: %s", softmetal_report_name(report.kind), report.message);
    assert_int_equal(result, SM_OK);
    for (size_t i = 0; i < count; i++) {
        memcpy(buffers[i].data, memory[i].cpu, buffers[i].bytes);
        sm_memory_destroy(&memory[i]);
    }
    sm_executor_destroy(executor);
}

static inline void rig_run(sm_msl_library *library, const char *kernel, uint32_t grid, uint32_t group, const rig_buffer *buffers,
                           size_t count)
{
    const softmetal_world world = {.workers = 2};
    rig_run_3(library, kernel, &world, (uint32_t[3]){grid, 1, 1}, (uint32_t[3]){group, 1, 1}, buffers, count);
}

/* ---- What was looked at -------------------------------------------------------------------------------------------- */

typedef struct rig_name {
    const char *name;
    size_t looks;
} rig_name;
#define RIG_NAME(name) {#name, 0},

static inline void rig_look(rig_name *names, size_t count, const char *name, size_t looks)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i].name, name) != 0) continue;
        names[i].looks += looks;
        return;
    }
    fail_msg("'%s' is not among the names of names.h", name);
}

static inline void rig_all_looked_at(const rig_name *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (names[i].looks == 0) fail_msg("no test looks at '%s'", names[i].name);
}

/* ---- Numbers ------------------------------------------------------------------------------------------------------- */

static inline float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
static inline uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* A format of real numbers: bits of mantissa and of exponent. */
typedef struct rig_format {
    const char *name;
    int mantissa, exponent;
} rig_format;
static const rig_format FLOAT_FORMAT = {"float", 23, 8};
static const rig_format HALF_FORMAT = {"half", 10, 5};
static const rig_format BFLOAT_FORMAT = {"bfloat", 7, 8};

static inline double format_decode(const rig_format *f, uint32_t bits)
{
    const int bias = (1 << (f->exponent - 1)) - 1, all = (1 << f->exponent) - 1;
    const uint32_t mantissa = bits & ((1u << f->mantissa) - 1), exponent = bits >> f->mantissa & (uint32_t)all;
    const double sign = bits >> (f->mantissa + f->exponent) & 1 ? -1 : 1;
    if (exponent == (uint32_t)all) return mantissa != 0 ? copysign(NAN, sign) : sign * INFINITY;
    if (exponent == 0) return sign * ldexp(mantissa, 1 - bias - f->mantissa);
    return sign * ldexp(mantissa + (1u << f->mantissa), (int)exponent - bias - f->mantissa);
}

/* The size of the last place at `exact`. */
static inline double format_ulp(const rig_format *f, double exact)
{
    const int bias = (1 << (f->exponent - 1)) - 1;
    int exponent;
    if (exact == 0 || !isfinite(exact)) return ldexp(1, 1 - bias - f->mantissa);
    frexp(exact, &exponent);
    if (exponent - 1 < 1 - bias) exponent = 2 - bias;
    return ldexp(1, exponent - 1 - f->mantissa);
}

/* The nearest number of the format; of two, the one with an even last bit. */
static inline double format_round(const rig_format *f, double exact)
{
    if (exact == 0 || !isfinite(exact)) return exact;
    const int bias = (1 << (f->exponent - 1)) - 1;
    const double ulp = format_ulp(f, exact), rounded = rint(exact / ulp) * ulp;
    if (fabs(rounded) >= ldexp(1, bias + 1)) return copysign(INFINITY, exact);
    return rounded;
}

static inline uint32_t format_encode(const rig_format *f, double value)
{
    const int bias = (1 << (f->exponent - 1)) - 1;
    const uint32_t sign = signbit(value) ? 1u << (f->mantissa + f->exponent) : 0, infinity = ((1u << f->exponent) - 1) << f->mantissa;
    if (isnan(value)) return sign | infinity | 1u << (f->mantissa - 1);
    value = fabs(format_round(f, value));
    if (isinf(value)) return sign | infinity;
    if (value == 0) return sign;
    int exponent;
    frexp(value, &exponent);
    if (exponent - 1 < 1 - bias) return sign | (uint32_t)ldexp(value, bias - 1 + f->mantissa);
    const uint32_t mantissa = (uint32_t)(ldexp(value, f->mantissa - (exponent - 1)) - ldexp(1, f->mantissa));
    return sign | (uint32_t)(exponent - 1 + bias) << f->mantissa | mantissa;
}

/* How far off, in units of the last place; infinite where one is NaN or infinite and the other is not. */
static inline double format_error(const rig_format *f, double got, double exact)
{
    if (isnan(got) || isnan(exact)) return isnan(got) && isnan(exact) ? 0 : INFINITY;
    const double rounded = format_round(f, exact);
    if (isinf(got) || isinf(rounded)) {
        const double largest = format_decode(f, (((1u << f->exponent) - 1) << f->mantissa) - 1);
        if (got == rounded) return 0;
        /* At the edge of overflow a unit more or less decides. */
        return fabs(exact) > largest - 4 * format_ulp(f, largest) && signbit(got) == signbit(exact) &&
                       (fabs(got) >= largest - 4 * format_ulp(f, largest))
                   ? 1
                   : INFINITY;
    }
    return fabs(got - exact) / format_ulp(f, exact);
}

/* A sequence that is the same everywhere. */
static inline uint32_t rig_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33) ^ (uint32_t)(*state >> 13);
}

#endif
