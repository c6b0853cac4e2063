/* Functions of real numbers against libm in double, or what the specification says in words. */
#include "tests/shim/rig.h"

static rig_name looked_at[] = {SHIM_MATH(RIG_NAME)};
static void look(const char *name, size_t looks) { rig_look(looked_at, COUNT(looked_at), name, looks); }

/* ---- What is right ------------------------------------------------------------------------------------------------- */

static double of_turns(double x, double (*f)(double), double at_quarters[4])
{
    if (!isfinite(x)) return NAN;
    const double rest = fmod(x, 2); /* exact */
    if (rint(2 * rest) == 2 * rest) return at_quarters[((int)(2 * rest) + 4) % 4];
    return f(M_PI * rest);
}
static double exact_sinpi(double x) { return x == 0 ? x : of_turns(x, sin, (double[4]){copysign(0, x), 1, copysign(0, x), -1}); }
static double exact_cospi(double x) { return of_turns(x, cos, (double[4]){1, 0, -1, 0}); }
static double exact_tanpi(double x)
{
    const double pole = copysign(INFINITY, x);
    return of_turns(x, tan, (double[4]){copysign(0, x), pole, copysign(0, x), pole});
}
static double exact_exp10(double x) { return pow(10, x); }
static double exact_rsqrt(double x) { return 1 / sqrt(x); }
static double exact_saturate(double x) { return isnan(x) ? 0 : fmin(fmax(x, 0), 1); }
static double exact_sign(double x) { return isnan(x) ? 0 : x > 0 ? 1 : x < 0 ? -1 : x; }
static double exact_fract(double x) { return x - floor(x); }
static double exact_divide(double x, double y) { return x / y; }
static double exact_powr(double x, double y)
{
    if (isnan(x) || isnan(y) || x < 0 || (x == 0 && y == 0) || (isinf(x) && y == 0) || (x == 1 && isinf(y))) return NAN;
    return pow(fabs(x), y);
}
static double exact_step(double edge, double x) { return x < edge ? 0 : 1; }
static double exact_max3(double x, double y, double z) { return fmax(x, fmax(y, z)); }
static double exact_min3(double x, double y, double z) { return fmin(x, fmin(y, z)); }
static double exact_median3(double x, double y, double z) { return fmax(fmin(x, y), fmin(fmax(x, y), z)); }
static double exact_clamp(double x, double low, double high) { return fmin(fmax(x, low), high); }

/* `units` is how far from the exact number a float result may be: half a unit is correctly rounded. */
typedef struct function_1 {
    const char *name;
    double (*exact)(double);
    double units;
} function_1;
static const function_1 unary[] = {
    {"acos", acos, 1},       {"acosh", acosh, 2},   {"asin", asin, 1},         {"asinh", asinh, 2},      {"atan", atan, 1},
    {"atanh", atanh, 2},     {"ceil", ceil, 0},     {"cos", cos, 1},           {"cosh", cosh, 2},        {"cospi", exact_cospi, 0.5001},
    {"exp", exp, 1},         {"exp2", exp2, 1},     {"exp10", exact_exp10, 1}, {"fabs", fabs, 0},        {"abs", fabs, 0},
    {"floor", floor, 0},     {"log", log, 1},       {"log2", log2, 1},         {"log10", log10, 2},      {"rint", rint, 0},
    {"round", round, 0},     {"rsqrt", exact_rsqrt, 0.5001}, {"sin", sin, 1},  {"sinh", sinh, 2},        {"sinpi", exact_sinpi, 0.5001},
    {"sqrt", sqrt, 0.5},     {"tan", tan, 1},       {"tanh", tanh, 2},         {"tanpi", exact_tanpi, 0.5001}, {"trunc", trunc, 0},
    {"fract", exact_fract, 1}, {"saturate", exact_saturate, 0}, {"sign", exact_sign, 0},
};
typedef struct function_2 {
    const char *name;
    double (*exact)(double, double);
    double units;
} function_2;
static const function_2 binary[] = {
    {"atan2", atan2, 1}, {"copysign", copysign, 0}, {"divide", exact_divide, 0.5}, {"fdim", fdim, 0.5}, {"fmax", fmax, 0},
    {"fmin", fmin, 0},   {"max", fmax, 0},          {"min", fmin, 0},              {"fmod", fmod, 0},   {"pow", pow, 1},
    {"powr", exact_powr, 1}, {"step", exact_step, 0},
};
typedef struct function_3 {
    const char *name;
    double (*exact)(double, double, double);
    double units;
} function_3;
static const function_3 ternary[] = {
    {"fma", fma, 0.5},           {"fmax3", exact_max3, 0}, {"fmin3", exact_min3, 0},       {"fmedian3", exact_median3, 0},
    {"max3", exact_max3, 0},     {"min3", exact_min3, 0},  {"median3", exact_median3, 0},  {"clamp", exact_clamp, 0},
};

/* ---- The text ------------------------------------------------------------------------------------------------------ */

static sm_msl_library *library_for(const sm_msl_options *options)
{
    char lists[4096] = "";
    size_t n = (size_t)sprintf(lists, "#define UNARY(X)");
    for (size_t i = 0; i < COUNT(unary); i++) n += (size_t)sprintf(lists + n, " X(%s)", unary[i].name);
    n += (size_t)sprintf(lists + n, "\n#define BINARY(X)");
    for (size_t i = 0; i < COUNT(binary); i++) n += (size_t)sprintf(lists + n, " X(%s)", binary[i].name);
    n += (size_t)sprintf(lists + n, "\n#define TERNARY(X)");
    for (size_t i = 0; i < COUNT(ternary); i++) n += (size_t)sprintf(lists + n, " X(%s)", ternary[i].name);
    sprintf(lists + n, "\n");
    char *text = rig_text(lists, "math");
    sm_msl_library *library = rig_library(text, options);
    free(text);
    return library;
}

/* ---- Arguments: edges, and numbers of all sizes -------------------------------------------------------------------- */

static size_t edges_of(const rig_format *f, uint32_t *edges)
{
    const uint32_t infinity = ((1u << f->exponent) - 1) << f->mantissa, sign = 1u << (f->mantissa + f->exponent);
    const uint32_t positive[] = {0, 1, (1u << f->mantissa) - 1, 1u << f->mantissa, infinity - 1, infinity, infinity | 1u << (f->mantissa - 1)};
    const double numbers[] = {0.5, 1, 1.5, 2, 2.5, 3, 0.25, 0.75, 10, 100, 1e-3, M_PI, M_PI / 2, M_E, 0.1};
    size_t count = 0;
    for (size_t i = 0; i < COUNT(positive); i++) edges[count++] = positive[i], edges[count++] = positive[i] | sign;
    for (size_t i = 0; i < COUNT(numbers); i++) {
        const uint32_t bits = format_encode(f, numbers[i]);
        edges[count++] = bits, edges[count++] = bits | sign;
        edges[count++] = bits + 1, edges[count++] = (bits - 1) | sign; /* its neighbours */
    }
    return count;
}
#define EDGES 128

static uint32_t any_number(const rig_format *f, uint64_t *state)
{
    const uint32_t bits = rig_random(state) & (uint32_t)(((uint64_t)1 << (f->mantissa + f->exponent + 1)) - 1);
    if (rig_random(state) % 4 == 0) return bits;
    const double moderate = ldexp(1 + (double)rig_random(state) / 4294967296.0, (int)(rig_random(state) % 12) - 6);
    return format_encode(f, bits & 1 ? -moderate : moderate);
}

/* `arguments` of each call: all edges with all others as far as there is room, then numbers at random. */
static void fill(const rig_format *f, uint32_t *numbers, size_t count, size_t arguments, uint64_t seed)
{
    uint32_t edges[EDGES];
    const size_t edge_count = edges_of(f, edges);
    uint64_t state = seed;
    for (size_t i = 0; i < count; i++) {
        for (size_t a = 0; a < arguments; a++) {
            const bool edge = arguments == 1 ? i < edge_count : rig_random(&state) % 2 == 0;
            numbers[i * arguments + a] = !edge ? any_number(f, &state) : edges[arguments == 1 ? i : rig_random(&state) % edge_count];
        }
    }
}

/* Numbers as a kernel has them: of 4 or 2 bytes. */
static size_t width_of(const rig_format *f) { return f->mantissa + f->exponent > 16 ? 4 : 2; }
static void put(const rig_format *f, void *to, size_t i, uint32_t bits)
{
    if (width_of(f) == 4) ((uint32_t *)to)[i] = bits;
    else ((uint16_t *)to)[i] = (uint16_t)bits;
}
static uint32_t get(const rig_format *f, const void *from, size_t i)
{
    return width_of(f) == 4 ? ((const uint32_t *)from)[i] : ((const uint16_t *)from)[i];
}

/* ---- Runs ---------------------------------------------------------------------------------------------------------- */

#define CALLS 3000

/* A half is computed in float and rounded: off by half a unit, and by the little that the float was off. */
static double allowed(const rig_format *f, double units) { return units == 0 ? 0 : f->mantissa == 23 ? units : 0.502; }

static void check(const rig_format *f, const char *name, const double *x, size_t arguments, double exact, uint32_t bits, double limit)
{
    const double got = format_decode(f, bits), error = format_error(f, got, exact);
    /* -0 of rint(-0.3); which zero max, min and saturate choose is open */
    const bool sign = limit == 0 && arguments == 1 && exact == 0 && got == 0 && strcmp(name, "saturate") != 0;
    if (error <= limit && !(sign && signbit(got) != signbit(exact))) return;
    fail_msg("%s of %s(%.9g, %.9g, %.9g): %.9g; wanted %.9g, off by %.3g units", f->name, name, x[0], arguments > 1 ? x[1] : 0,
             arguments > 2 ? x[2] : 0, got, exact, error);
}

/* fract is below 1 also where the exact difference rounds to it; there it is the largest number below. */
static double as_specified(const rig_format *f, const char *name, double exact)
{
    if (strcmp(name, "fract") == 0 && format_round(f, exact) >= 1) return 1 - ldexp(1, -f->mantissa - 1);
    return exact;
}

/* All functions of so many arguments, on numbers of one format. `finite`: what fast arithmetic promises nothing for is left out. */
static void run(sm_msl_library *library, const char *kernel, const rig_format *f, size_t arguments, bool finite, double slack)
{
    const size_t functions = arguments == 1 ? COUNT(unary) : arguments == 2 ? COUNT(binary) : COUNT(ternary), width = width_of(f);
    uint32_t *numbers = calloc(CALLS * arguments, sizeof *numbers);
    void *in = calloc(CALLS * arguments, width), *out = calloc(CALLS * functions, width);
    fill(f, numbers, CALLS, arguments, 7 + arguments);
    for (size_t i = 0; i < CALLS * arguments; i++) {
        if (finite && !(fabs(format_decode(f, numbers[i])) < 1e4 && fabs(format_decode(f, numbers[i])) > 1e-3)) numbers[i] = format_encode(f, 0.7);
        put(f, in, i, numbers[i]);
    }
    rig_run(library, kernel, CALLS, 250, (rig_buffer[]){{in, CALLS * arguments * width}, {out, CALLS * functions * width}}, 2);
    for (size_t n = 0; n < functions; n++) {
        for (size_t i = 0; i < CALLS; i++) {
            double x[3] = {0, 0, 0}, exact;
            for (size_t a = 0; a < arguments; a++) x[a] = format_decode(f, numbers[i * arguments + a]);
            const char *name = arguments == 1 ? unary[n].name : arguments == 2 ? binary[n].name : ternary[n].name;
            double units = arguments == 1 ? unary[n].units : arguments == 2 ? binary[n].units : ternary[n].units;
            if (strcmp(name, "clamp") == 0 && !(x[1] <= x[2])) continue; /* undefined */
            exact = arguments == 1 ? unary[n].exact(x[0]) : arguments == 2 ? binary[n].exact(x[0], x[1]) : ternary[n].exact(x[0], x[1], x[2]);
            exact = as_specified(f, name, exact);
            if (finite && (!isfinite(format_round(f, exact)) || fabs(exact) < 1e-30)) continue; /* overflows, or is lost near zero */
            if (units > 0) units += slack;
            check(f, name, x, arguments, exact, get(f, out, n * CALLS + i), allowed(f, units));
        }
        look(arguments == 1 ? unary[n].name : arguments == 2 ? binary[n].name : ternary[n].name, CALLS);
    }
    free(numbers);
    free(in);
    free(out);
}

static sm_msl_library *precise_library;

static void test_float(void **state)
{
    (void)state;
    run(precise_library, "float_1", &FLOAT_FORMAT, 1, false, 0);
    run(precise_library, "float_2", &FLOAT_FORMAT, 2, false, 0);
    run(precise_library, "float_3", &FLOAT_FORMAT, 3, false, 0);
}

static void test_half(void **state)
{
    (void)state;
    run(precise_library, "half_1", &HALF_FORMAT, 1, false, 0);
    run(precise_library, "half_2", &HALF_FORMAT, 2, false, 0);
    run(precise_library, "half_3", &HALF_FORMAT, 3, false, 0);
}

static void test_namespaces(void **state)
{
    (void)state;
    run(precise_library, "precise_1", &FLOAT_FORMAT, 1, false, 0);
    run(precise_library, "precise_2", &FLOAT_FORMAT, 2, false, 0);
    run(precise_library, "precise_3", &FLOAT_FORMAT, 3, false, 0);
    run(precise_library, "fast_1", &FLOAT_FORMAT, 1, false, 0);
    run(precise_library, "fast_2", &FLOAT_FORMAT, 2, false, 0);
    run(precise_library, "fast_3", &FLOAT_FORMAT, 3, false, 0);
}

/* Compiled for fast arithmetic, numbers that it may not lose come out as near as MSL's table for it says. */
static void test_fast(void **state)
{
    (void)state;
    sm_msl_library *library = library_for(&(sm_msl_options){.fast_math = true});
    run(library, "float_1", &FLOAT_FORMAT, 1, true, 1);
    run(library, "float_2", &FLOAT_FORMAT, 2, true, 2);
    run(library, "float_3", &FLOAT_FORMAT, 3, true, 1);
    sm_msl_library_destroy(library);
}

static void compare_vectors(const char *kernel, const rig_format *f)
{
    enum { THREADS = 600 };
    const size_t functions = COUNT(unary) + COUNT(binary) + COUNT(ternary), width = width_of(f), count = 3 * THREADS + 12;
    uint32_t *numbers = calloc(count, sizeof *numbers), *out = calloc(functions * THREADS, sizeof *out);
    void *in = calloc(count, width);
    fill(f, numbers, count, 1, 3);
    for (size_t i = 0; i < count; i++) put(f, in, i, numbers[i]);
    memset(out, 0xFF, functions * THREADS * sizeof *out);
    rig_run(precise_library, kernel, THREADS, 100, (rig_buffer[]){{in, count * width}, {out, functions * THREADS * sizeof *out}}, 2);
    for (size_t i = 0; i < functions * THREADS; i++)
        if (out[i] != 0) fail_msg("%s: function %zu differs in %u elements for thread %zu", kernel, i / THREADS, out[i], i % THREADS);
    free(numbers);
    free(out);
    free(in);
}

static void test_vectors(void **state)
{
    (void)state;
    compare_vectors("vectors", &FLOAT_FORMAT);
    compare_vectors("half_vectors", &HALF_FORMAT);
}

static void check_others(const rig_format *f, const char *kernel, int scale)
{
    enum { THREADS = 1200 };
    const size_t width = width_of(f);
    uint32_t numbers[THREADS];
    int32_t whole[3 * THREADS];
    void *in = calloc(THREADS, width), *out = calloc(6 * THREADS, width);
    fill(f, numbers, THREADS, 1, 11);
    for (size_t i = 0; i < THREADS; i++) put(f, in, i, numbers[i]);
    rig_run(precise_library, kernel, THREADS, 100,
            (rig_buffer[]){{in, THREADS * width}, {out, 6 * THREADS * width}, {whole, sizeof whole}}, 3);
    for (size_t i = 0; i < THREADS; i++) {
        const double x = format_decode(f, numbers[i]);
        double second;
        int exponent;
        const double fraction = frexp(x, &exponent);
        check(f, "frexp", &x, 1, fraction, get(f, out, i), 0);
        if (isfinite(x)) assert_int_equal(whole[i], exponent);
        const double part = modf(x, &second);
        check(f, "modf", &x, 1, part, get(f, out, THREADS + i), 0);
        check(f, "modf", &x, 1, second, get(f, out, 2 * THREADS + i), 0);
        check(f, "sincos", &x, 1, sin(x), get(f, out, 3 * THREADS + i), allowed(f, 1));
        check(f, "sincos", &x, 1, cos(x), get(f, out, 4 * THREADS + i), allowed(f, 1));
        if (isfinite(x) && x != 0) assert_int_equal(whole[THREADS + i], ilogb(x));
        check(f, "ldexp", &x, 1, ldexp(x, (int)(i % (size_t)(2 * scale)) - scale), get(f, out, 5 * THREADS + i), 0.5);
        assert_true(whole[2 * THREADS + i]);
    }
    free(in);
    free(out);
}

static void test_others(void **state)
{
    (void)state;
    check_others(&FLOAT_FORMAT, "others", 150);
    check_others(&HALF_FORMAT, "half_others", 30);
    const char *const names[] = {"frexp", "modf", "sincos", "ilogb", "ldexp"};
    for (size_t i = 0; i < COUNT(names); i++) look(names[i], 2400);
}

/* Those whose results depend on the format itself, with a formula in it. */
static const char by_format[] = "#include <metal_stdlib>\n"
                                "using namespace metal;\n"
                                "template <class T> void all(device const T *in, device T *out, uint i, uint count)\n"
                                "{\n"
                                "    const T x = in[3 * i], y = in[3 * i + 1], z = in[3 * i + 2];\n"
                                "    out[i] = nextafter(x, y);\n"
                                "    out[count + i] = mix(x, y, z);\n"
                                "    out[2 * count + i] = smoothstep(x, y, z);\n"
                                "}\n"
                                "kernel void floats(device const float *in [[buffer(0)]], device float *out [[buffer(1)]],\n"
                                "                   uint i [[thread_position_in_grid]], uint n [[threads_per_grid]]) { all(in, out, i, n); }\n"
                                "kernel void halves(device const half *in [[buffer(0)]], device half *out [[buffer(1)]],\n"
                                "                   uint i [[thread_position_in_grid]], uint n [[threads_per_grid]]) { all(in, out, i, n); }\n";

static double next_number(const rig_format *f, uint32_t x, uint32_t y)
{
    const double from = format_decode(f, x), to = format_decode(f, y);
    const uint32_t sign = 1u << (f->mantissa + f->exponent);
    if (isnan(from) || isnan(to)) return NAN;
    if (from == to) return to;
    if (from == 0) return copysign(format_decode(f, 1), to);
    const bool away = (to > from) == !(x & sign);
    return format_decode(f, away ? x + 1 : x - 1);
}

static void check_by_format(sm_msl_library *library, const char *kernel, const rig_format *f)
{
    const size_t width = width_of(f);
    uint32_t *numbers = calloc(CALLS * 3, sizeof *numbers);
    void *in = calloc(CALLS * 3, width), *out = calloc(CALLS * 3, width);
    fill(f, numbers, CALLS, 3, 5);
    for (size_t i = 0; i < CALLS * 3; i++) put(f, in, i, numbers[i]);
    rig_run(library, kernel, CALLS, 250, (rig_buffer[]){{in, CALLS * 3 * width}, {out, CALLS * 3 * width}}, 2);
    for (size_t i = 0; i < CALLS; i++) {
        const uint32_t *bits = &numbers[3 * i];
        const double x[3] = {format_decode(f, bits[0]), format_decode(f, bits[1]), format_decode(f, bits[2])};
        check(f, "nextafter", x, 2, next_number(f, bits[0], bits[1]), get(f, out, i), 0);
        /* an operation after the other, each rounded */
        const double difference = format_round(f, x[1] - x[0]), part = format_round(f, difference * x[2]);
        check(f, "mix", x, 3, format_round(f, x[0] + part), get(f, out, CALLS + i), 0);
        if (!(x[0] < x[1])) continue; /* undefined */
        const double ratio = format_round(f, format_round(f, x[2] - x[0]) / difference), t = isnan(ratio) ? 0 : fmin(fmax(ratio, 0), 1);
        const double rest = format_round(f, 3 - format_round(f, 2 * t));
        check(f, "smoothstep", x, 3, format_round(f, format_round(f, t * t) * rest), get(f, out, 2 * CALLS + i), 0);
    }
    free(numbers);
    free(in);
    free(out);
}

static void test_by_format(void **state)
{
    (void)state;
    sm_msl_library *library = rig_library(by_format, &(sm_msl_options){0});
    check_by_format(library, "floats", &FLOAT_FORMAT);
    check_by_format(library, "halves", &HALF_FORMAT);
    sm_msl_library_destroy(library);
    look("nextafter", 2 * CALLS);
    look("mix", 2 * CALLS);
    look("smoothstep", 2 * CALLS);
}

static void test_mixed(void **state)
{
    (void)state;
    float out[13];
    const float expected[13] = {0.5f, 1.5f, 1, 9, 0.5f, 1.0625f, 4.48168898f, 1, 4, 2, 2, 4, 2 + 1 + 1};
    rig_run(precise_library, "mixed", 1, 1, (rig_buffer[]){{out, sizeof out}}, 1);
    for (size_t i = 0; i < COUNT(out); i++)
        if (!(fabsf(out[i] - expected[i]) <= 5e-7f)) fail_msg("out[%zu] is %.9g; wanted %.9g", i, out[i], expected[i]);
}

/* How many numbers of the format on is b from a. */
static double steps_between(const rig_format *f, uint32_t a, uint32_t b)
{
    const uint32_t sign = 1u << (f->mantissa + f->exponent);
    const double at = a & sign ? -(double)(a & ~sign) : a, to = b & sign ? -(double)(b & ~sign) : b;
    return fabs(at - to);
}

/* A world with jitter: what may be inexact is, by as much as was asked for and not more; what may not be is not. */
static void test_jitter(void **state)
{
    (void)state;
    const softmetal_world world = {.workers = 2, .ulp_jitter = 3, .seed = 5};
    const sm_msl_options options = {.world = world};
    sm_msl_library *library = library_for(&options);
    const rig_format *formats[] = {&FLOAT_FORMAT, &HALF_FORMAT};
    for (size_t k = 0; k < 2; k++) {
        const rig_format *f = formats[k];
        const size_t width = width_of(f);
        uint32_t numbers[CALLS];
        void *in = calloc(CALLS, width), *out = calloc(CALLS * COUNT(unary), width);
        fill(f, numbers, CALLS, 1, 8);
        for (size_t i = 0; i < CALLS; i++) put(f, in, i, numbers[i]);
        rig_run_3(library, k == 0 ? "float_1" : "half_1", &world, (uint32_t[3]){CALLS, 1, 1}, (uint32_t[3]){250, 1, 1},
                  (rig_buffer[]){{in, CALLS * width}, {out, CALLS * COUNT(unary) * width}}, 2);
        for (size_t n = 0; n < COUNT(unary); n++) {
            const bool exact = unary[n].units == 0 || strcmp(unary[n].name, "sqrt") == 0 || strcmp(unary[n].name, "rsqrt") == 0 ||
                               strcmp(unary[n].name, "fract") == 0;
            size_t moved = 0;
            for (size_t i = 0; i < CALLS; i++) {
                const double x = format_decode(f, numbers[i]), right = as_specified(f, unary[n].name, unary[n].exact(x));
                const uint32_t bits = get(f, out, n * CALLS + i);
                if (exact || !isfinite(right)) check(f, unary[n].name, &x, 1, right, bits, allowed(f, unary[n].units));
                if (exact || !isfinite(right)) continue;
                const double steps = steps_between(f, bits, format_encode(f, right));
                if (steps > 1.5) moved++; /* the function itself is off by one at most */
                if (steps > 3 + unary[n].units)
                    fail_msg("%s of %s(%.9g): %.9g is %g off", f->name, unary[n].name, x, format_decode(f, bits), steps);
            }
            if (!exact && moved < CALLS / 20) fail_msg("%s of %s: %zu of %d results moved", f->name, unary[n].name, moved, CALLS);
        }
        free(in);
        free(out);
    }
    sm_msl_library_destroy(library);
}

static void test_all_names(void **state)
{
    (void)state;
    rig_all_looked_at(looked_at, COUNT(looked_at));
}

static int setup(void **state)
{
    (void)state;
    precise_library = library_for(&(sm_msl_options){0});
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    sm_msl_library_destroy(precise_library);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_float),     cmocka_unit_test(test_half),   cmocka_unit_test(test_namespaces), cmocka_unit_test(test_fast),
        cmocka_unit_test(test_vectors),   cmocka_unit_test(test_others), cmocka_unit_test(test_by_format),  cmocka_unit_test(test_mixed),
        cmocka_unit_test(test_jitter),    cmocka_unit_test(test_all_names),
    };
    return cmocka_run_group_tests_name("shim: math", tests, setup, teardown);
}
