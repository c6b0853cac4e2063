/* Relations, geometry, matrices and packed formats against the same in double. */
#include "tests/shim/rig.h"

static rig_name looked_at[] = {SHIM_RELATIONAL(RIG_NAME) SHIM_GEOMETRIC(RIG_NAME) SHIM_PACK(RIG_NAME)};
static void look(const char *name, size_t looks) { rig_look(looked_at, COUNT(looked_at), name, looks); }

static sm_msl_library *library;
static const rig_format *const formats[2] = {&FLOAT_FORMAT, &HALF_FORMAT};

static void put(const rig_format *f, void *to, size_t i, double value)
{
    if (f == &FLOAT_FORMAT) ((uint32_t *)to)[i] = format_encode(f, value);
    else ((uint16_t *)to)[i] = (uint16_t)format_encode(f, value);
}
static double get(const rig_format *f, const void *from, size_t i)
{
    return format_decode(f, f == &FLOAT_FORMAT ? ((const uint32_t *)from)[i] : ((const uint16_t *)from)[i]);
}
static size_t width_of(const rig_format *f) { return f == &FLOAT_FORMAT ? 4 : 2; }

/* ---- Relations ----------------------------------------------------------------------------------------------------- */

static void check_relations(const rig_format *f, const char *kernel)
{
    const double smallest = format_decode(f, 1), normal = format_decode(f, 1u << f->mantissa);
    const double numbers[] = {0, -0.0, 1, -1, smallest, -smallest, normal, -normal, normal - smallest, INFINITY, -INFINITY, NAN, copysign(NAN, -1), 3.5};
    enum { N = COUNT(numbers) };
    char in[2 * N * N * 4];
    uint32_t out[N * N];
    for (size_t i = 0; i < N * N; i++) put(f, in, 2 * i, numbers[i / N]), put(f, in, 2 * i + 1, numbers[i % N]);
    rig_run(library, kernel, N * N, N, (rig_buffer[]){{in, 2 * N * N * width_of(f)}, {out, sizeof out}}, 2);
    static const char *const names[] = {"isnan", "isinf", "isfinite", "isnormal", "signbit", "isordered", "isunordered"};
    for (size_t i = 0; i < N * N; i++) {
        const double x = numbers[i / N], y = numbers[i % N];
        const bool expected[] = {isnan(x), isinf(x), isfinite(x), isfinite(x) && fabs(x) >= normal, signbit(x), !isnan(x) && !isnan(y),
                                 isnan(x) || isnan(y)};
        if (out[i] >> 31) fail_msg("vectors of %s(%g, %g) differ from scalars", kernel, x, y);
        for (size_t k = 0; k < COUNT(names); k++)
            if ((out[i] >> k & 1) != expected[k]) fail_msg("%s of %s(%g, %g) is %u", f->name, names[k], x, y, out[i] >> k & 1);
    }
    for (size_t k = 0; k < COUNT(names); k++) look(names[k], N * N);
}

static void test_relations(void **state)
{
    (void)state;
    check_relations(&FLOAT_FORMAT, "relations");
    check_relations(&HALF_FORMAT, "half_relations");
}

static void test_choices(void **state)
{
    (void)state;
    uint32_t out[16];
    rig_run(library, "choices", 16, 16, (rig_buffer[]){{out, sizeof out}}, 1);
    for (uint32_t i = 0; i < 16; i++) {
        uint32_t sum = 0;
        for (uint32_t e = 0; e < 4; e++) sum += (e + 1) * (i >> e & 1 ? 10 : 1);
        const uint32_t expected = (i != 0) | (uint32_t)(i == 15) << 1 | (uint32_t)((i & 7) != 0) << 2 | (uint32_t)((i & 7) == 7) << 3 |
                                  (uint32_t)((i & 3) != 0) << 4 | (uint32_t)((i & 3) == 3) << 5 | sum << 8 | (i & 1 ? 2u : 1u) << 16 |
                                  (i & 4 ? 2u : 1u) << 20 | (uint32_t)!(i & 1) << 24 | 1u << 25 | (i & 1) << 26 | (i & 1) << 27;
        assert_int_equal(out[i], expected);
    }
    look("any", 16), look("all", 16), look("select", 16), look("not", 16);
}

/* ---- Geometry ------------------------------------------------------------------------------------------------------ */

static double dot_of(const double *a, const double *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}
static double length_of(const double *a, int n) { return sqrt(dot_of(a, a, n)); }
static double distance_of(const double *a, const double *b, int n)
{
    double difference[4];
    for (int i = 0; i < n; i++) difference[i] = a[i] - b[i];
    return length_of(difference, n);
}

typedef struct expected_list {
    double values[40];
    int count;
} expected_list;
static void expect(expected_list *list, double value) { list->values[list->count++] = value; }
static void expect_3(expected_list *list, const double *v)
{
    for (int i = 0; i < 3; i++) expect(list, v[i]);
}

static expected_list geometry_of(const double *a, const double *b, const double *c)
{
    expected_list e = {.count = 0};
    expect(&e, dot_of(a, b, 4)), expect(&e, dot_of(a, b, 3)), expect(&e, dot_of(a, b, 2));
    expect(&e, length_of(a, 4)), expect(&e, length_of(a, 3)), expect(&e, length_of(a, 2));
    expect(&e, dot_of(a, a, 4)), expect(&e, dot_of(a + 2, a + 2, 2));
    expect(&e, distance_of(a, b, 4)), expect(&e, distance_of(a, b, 3));
    expect(&e, pow(distance_of(a, b, 4), 2)), expect(&e, pow(distance_of(a, b, 2), 2));
    const double cross[3] = {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]};
    expect_3(&e, cross);
    for (int i = 0; i < 4; i++) expect(&e, a[i] / length_of(a, 4));
    for (int i = 0; i < 3; i++) expect(&e, dot_of(b, c, 3) < 0 ? a[i] : -a[i]);
    double normal[3], reflected[3], incident[3], refracted[3];
    for (int i = 0; i < 3; i++) normal[i] = b[i] / length_of(b, 3), incident[i] = a[i] / length_of(a, 3);
    for (int i = 0; i < 3; i++) reflected[i] = a[i] - 2 * dot_of(normal, a, 3) * normal[i];
    expect_3(&e, reflected);
    const double ratio = 0.75, cosine = dot_of(normal, incident, 3), k = 1 - ratio * ratio * (1 - cosine * cosine);
    for (int i = 0; i < 3; i++) refracted[i] = k < 0 ? 0 : ratio * incident[i] - (ratio * cosine + sqrt(k)) * normal[i];
    expect_3(&e, refracted);
    for (int i = 0; i < 3; i++) expect(&e, 0);
    expect(&e, dot_of(a, b, 4)), expect(&e, length_of(a, 4));
    return e;
}

static void check_geometry(const rig_format *f, const char *kernel)
{
    enum { THREADS = 300 };
    double numbers[12 * THREADS];
    char in[12 * THREADS * 4], out[40 * THREADS * 4];
    uint64_t random = 3;
    for (size_t i = 0; i < COUNT(numbers); i++) {
        numbers[i] = format_round(f, (double)(int32_t)rig_random(&random) / 1e9);
        put(f, in, i, numbers[i]);
    }
    memset(out, 0xFF, sizeof out);
    rig_run(library, kernel, THREADS, 100, (rig_buffer[]){{in, 12 * THREADS * width_of(f)}, {out, 40 * THREADS * width_of(f)}}, 2);
    /* Of the largest number that takes part; a few roundings on the way. */
    const double limit = f == &FLOAT_FORMAT ? 4e-6 : 3e-2;
    for (size_t t = 0; t < THREADS; t++) {
        const double *x = numbers + 12 * t;
        const expected_list e = geometry_of(x, x + 4, x + 8);
        for (int i = 0; i < e.count; i++) {
            const double got = get(f, out, 40 * t + (size_t)i);
            if (!(fabs(got - e.values[i]) <= limit * fmax(1, fabs(e.values[i])))) fail_msg("%s, thread %zu, number %d: %g; wanted %g", kernel, t, i, got, e.values[i]);
        }
    }
}

static void test_geometry(void **state)
{
    (void)state;
    check_geometry(&FLOAT_FORMAT, "vectors");
    check_geometry(&HALF_FORMAT, "half_vectors");
    static const char *const names[] = {"cross", "distance", "distance_squared", "dot", "faceforward", "length", "length_squared",
                                        "normalize", "reflect", "refract"};
    for (size_t i = 0; i < COUNT(names); i++) look(names[i], 600);
}

/* ---- Matrices ------------------------------------------------------------------------------------------------------ */

static size_t products_of(int columns, int rows, const double *in, double *out)
{
    size_t n = 0;
    const double *m = in, *k = in + 16; /* m[c * rows + r], k[r * columns + c]: columns of k are rows of numbers */
    for (int c = 0; c < rows; c++)
        for (int r = 0; r < rows; r++) {
            out[n] = 0;
            for (int i = 0; i < columns; i++) out[n] += m[i * rows + r] * k[c * columns + i];
            n++;
        }
    for (int r = 0; r < rows; r++, n++) {
        out[n] = 0;
        for (int c = 0; c < columns; c++) out[n] += m[c * rows + r] * in[c];
    }
    for (int c = 0; c < columns; c++, n++) {
        out[n] = 0;
        for (int r = 0; r < rows; r++) out[n] += m[c * rows + r] * in[16 + r];
    }
    for (int c = 0; c < columns; c++)
        for (int r = 0; r < rows; r++) out[n++] = (3 * m[c * rows + r] - k[r * columns + c]) * 3 - 2 * m[c * rows + r];
    return n;
}

static double determinant_of(const double *m, int n)
{
    if (n == 1) return m[0];
    double sum = 0, minor[9];
    for (int skipped = 0; skipped < n; skipped++) {
        int at = 0;
        for (int c = 1; c < n; c++)
            for (int r = 0; r < n; r++)
                if (r != skipped) minor[at++] = m[c * n + r];
        sum += (skipped % 2 ? -1 : 1) * m[skipped] * determinant_of(minor, n - 1);
    }
    return sum;
}

static void check_matrices(const rig_format *f, const char *kernel, uint32_t threads)
{
    double numbers[32];
    char in[32 * 4], out[10 * 64 * 4];
    for (int i = 0; i < 32; i++) {
        numbers[i] = (i * 7 + 3) % 11 - 5;
        put(f, in, (size_t)i, numbers[i]);
    }
    memset(out, 0xFF, sizeof out);
    rig_run(library, kernel, threads, 1, (rig_buffer[]){{in, 32 * width_of(f)}, {out, 640 * width_of(f)}}, 2);
    for (int shape = 0; shape < 9; shape++) {
        double expected[64];
        const size_t count = products_of(2 + shape / 3, 2 + shape % 3, numbers, expected);
        for (size_t i = 0; i < count; i++) {
            const double got = get(f, out, (size_t)shape * 64 + i);
            if (got != expected[i]) fail_msg("%s, %d columns, %d rows, number %zu: %g; wanted %g", kernel, 2 + shape / 3, 2 + shape % 3, i, got, expected[i]);
        }
    }
    if (threads < 10) return;
    const double expected[] = {determinant_of(numbers, 4), determinant_of(numbers, 3), determinant_of(numbers, 2), 1, 1, 0, 5,
                               2 * numbers[5] - 1, 77, numbers[6], 1, 48, 32, 8};
    for (size_t i = 0; i < COUNT(expected); i++) {
        if (get(f, out, 9 * 64 + i) != expected[i]) fail_msg("%s, number %zu of the last: %g; wanted %g", kernel, i, get(f, out, 9 * 64 + i), expected[i]);
    }
}

static void test_matrices(void **state)
{
    (void)state;
    check_matrices(&FLOAT_FORMAT, "matrices", 10);
    check_matrices(&HALF_FORMAT, "half_matrices", 9);
    look("determinant", 3), look("transpose", 18);
}

/* ---- Packed formats ------------------------------------------------------------------------------------------------ */

static uint32_t unorm(double x, int bits) { return (uint32_t)rint(fmin(fmax(isnan(x) ? 0 : x, 0), 1) * ((1 << bits) - 1)); }
static uint32_t snorm(double x, int bits)
{
    return (uint32_t)(int32_t)rint(fmin(fmax(isnan(x) ? 0 : x, -1), 1) * ((1 << (bits - 1)) - 1)) & ((1u << bits) - 1);
}
static double srgb(double x)
{
    x = fmin(fmax(isnan(x) ? 0 : x, 0), 1);
    return x < 0.0031308 ? 12.92 * x : 1.055 * pow(x, 1 / 2.4) - 0.055;
}

static void expected_packs(const double *v, uint32_t out[7])
{
    memset(out, 0, 7 * sizeof *out);
    for (int e = 0; e < 4; e++) {
        out[0] |= snorm(v[e], 8) << 8 * e;
        out[1] |= unorm(v[e], 8) << 8 * e;
        out[2] |= unorm(e < 3 ? srgb(v[e]) : v[e], 8) << 8 * e;
        out[5] |= unorm(v[e], e < 3 ? 10 : 2) << 10 * e;
    }
    out[3] = snorm(v[0], 16) | snorm(v[1], 16) << 16;
    out[4] = unorm(v[0], 16) | unorm(v[1], 16) << 16;
    out[6] = unorm(v[0], 5) | unorm(v[1], 6) << 5 | unorm(v[2], 5) << 11;
}

static const char *const pack_names[7] = {"snorm4x8", "unorm4x8", "srgb_unorm4x8", "snorm2x16", "unorm2x16", "unorm10a2", "unorm565"};
static const char *const unpack_names[7] = {"snorm4x8", "unorm4x8", "unorm4x8_srgb", "snorm2x16", "unorm2x16", "unorm10a2", "unorm565"};

static void check_packs(const rig_format *f, const char *kernel)
{
    enum { THREADS = 400 };
    double numbers[4 * THREADS];
    char in[4 * THREADS * 4];
    uint32_t out[7 * THREADS];
    uint64_t random = 4;
    static const double edges[] = {0, 1, -1, 2, -2, NAN, INFINITY, -INFINITY, 0.5, 0.003, 0.0031308, -0.0};
    for (size_t i = 0; i < COUNT(numbers); i++) {
        const double any = (double)rig_random(&random) / 2147483648.0 - 0.9;
        numbers[i] = format_round(f, rig_random(&random) % 4 ? any : edges[rig_random(&random) % COUNT(edges)]);
        put(f, in, i, numbers[i]);
    }
    memset(out, 0xEE, sizeof out);
    rig_run(library, kernel, THREADS, 100, (rig_buffer[]){{in, 4 * THREADS * width_of(f)}, {out, sizeof out}}, 2);
    for (size_t t = 0; t < THREADS; t++) {
        uint32_t expected[7];
        expected_packs(numbers + 4 * t, expected);
        for (size_t k = 0; k < 7; k++)
            if (out[7 * t + k] != expected[k]) fail_msg("pack_%s_to_%s, thread %zu: %#x; wanted %#x", f->name, pack_names[k], t, out[7 * t + k], expected[k]);
    }
    for (size_t k = 0; k < 7; k++) {
        char name[64];
        snprintf(name, sizeof name, "pack_%s_to_%s", f->name, pack_names[k]);
        look(name, THREADS);
    }
}

static double from_unorm(uint32_t w, int at, int bits) { return (double)(w >> at & ((1u << bits) - 1)) / ((1 << bits) - 1); }
static double from_snorm(uint32_t w, int at, int bits)
{
    int value = (int)(w >> at & ((1u << bits) - 1));
    if (value >> (bits - 1)) value -= 1 << bits;
    return fmax(-1, (double)value / ((1 << (bits - 1)) - 1));
}
static double from_srgb(double x) { return x <= 0.04045 ? x / 12.92 : pow((x + 0.055) / 1.055, 2.4); }

static void check_unpacks(const rig_format *f, const char *kernel)
{
    enum { THREADS = 400 };
    uint32_t in[THREADS];
    char out[23 * THREADS * 4];
    uint64_t random = 6;
    for (size_t i = 0; i < THREADS; i++) in[i] = i == 0 ? 0 : i == 1 ? UINT32_MAX : i == 2 ? 0x80808080u : i == 3 ? 0x80008000u : rig_random(&random);
    memset(out, 0xFF, sizeof out);
    rig_run(library, kernel, THREADS, 100, (rig_buffer[]){{in, sizeof in}, {out, 23 * THREADS * width_of(f)}}, 2);
    for (size_t t = 0; t < THREADS; t++) {
        double expected[23];
        for (int e = 0; e < 4; e++) {
            expected[e] = from_snorm(in[t], 8 * e, 8);
            expected[4 + e] = from_unorm(in[t], 8 * e, 8);
            expected[8 + e] = e < 3 ? from_srgb(expected[4 + e]) : expected[4 + e];
            expected[16 + e] = from_unorm(in[t], 10 * e, e < 3 ? 10 : 2);
        }
        for (int e = 0; e < 2; e++) expected[12 + e] = from_snorm(in[t], 16 * e, 16), expected[14 + e] = from_unorm(in[t], 16 * e, 16);
        expected[20] = from_unorm(in[t], 0, 5), expected[21] = from_unorm(in[t], 5, 6), expected[22] = from_unorm(in[t], 11, 5);
        for (size_t k = 0; k < 23; k++) {
            const double error = format_error(f, get(f, out, 23 * t + k), expected[k]);
            if (!(error <= 0.51)) fail_msg("%s of %#x, number %zu: %.9g; wanted %.9g", kernel, in[t], k, get(f, out, 23 * t + k), expected[k]);
        }
    }
    for (size_t k = 0; k < 7; k++) {
        char name[64];
        snprintf(name, sizeof name, "unpack_%s_to_%s", unpack_names[k], f->name);
        look(name, THREADS);
    }
}

static void test_packs(void **state)
{
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        check_packs(formats[k], k == 0 ? "packs" : "half_packs");
        check_unpacks(formats[k], k == 0 ? "unpacks" : "half_unpacks");
    }
}

static void test_all_names(void **state)
{
    (void)state;
    rig_all_looked_at(looked_at, COUNT(looked_at));
}

static int setup(void **state)
{
    (void)state;
    char *text = rig_text("", "geometry");
    library = rig_library(text, &(sm_msl_options){0});
    free(text);
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    sm_msl_library_destroy(library);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relations), cmocka_unit_test(test_choices), cmocka_unit_test(test_geometry),
        cmocka_unit_test(test_matrices),  cmocka_unit_test(test_packs),   cmocka_unit_test(test_all_names),
    };
    return cmocka_run_group_tests_name("shim: geometry", tests, setup, teardown);
}
