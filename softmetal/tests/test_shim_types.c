/* Types: layouts, swizzles, constructors, conversions, rounding, limits; and what must not compile. */
#include "tests/shim/rig.h"

static sm_msl_library *library;

/* ---- Layouts ------------------------------------------------------------------------------------------------------- */

typedef struct layout {
    char name[24];
    uint32_t size, align;
} layout;

static size_t all_layouts(layout *list)
{
    static const struct {
        const char *name;
        uint32_t size;
    } scalars[] = {{"bool", 1}, {"char", 1}, {"uchar", 1}, {"short", 2}, {"ushort", 2}, {"int", 4},
                   {"uint", 4}, {"long", 8}, {"ulong", 8}, {"half", 2},  {"bfloat", 2}, {"float", 4}};
    size_t count = 0;
    for (size_t i = 0; i < COUNT(scalars); i++) {
        const uint32_t size = scalars[i].size;
        list[count] = (layout){.size = size, .align = size};
        strcpy(list[count++].name, scalars[i].name);
        for (uint32_t n = 2; n <= 4; n++) {
            const uint32_t whole = size * (n == 3 ? 4 : n);
            list[count] = (layout){.size = whole, .align = whole};
            snprintf(list[count++].name, sizeof list->name, "%s%u", scalars[i].name, n);
            list[count] = (layout){.size = size * n, .align = size};
            snprintf(list[count++].name, sizeof list->name, "packed_%s%u", scalars[i].name, n);
        }
    }
    for (uint32_t columns = 2; columns <= 4; columns++) {
        for (uint32_t rows = 2; rows <= 4; rows++) {
            for (uint32_t size = 2; size <= 4; size += 2) {
                const uint32_t column = size * (rows == 3 ? 4 : rows);
                list[count] = (layout){.size = columns * column, .align = column};
                snprintf(list[count++].name, sizeof list->name, "%s%ux%u", size == 2 ? "half" : "float", columns, rows);
            }
        }
    }
    static const layout others[] = {{"size_t", 8, 8}, {"ptrdiff_t", 8, 8}, {"int8_t", 1, 1}, {"uint16_t", 2, 2}, {"int32_t", 4, 4}, {"uint64_t", 8, 8},
                                    {"atomic_uint", 4, 4}, {"simdgroup_half8x8", 4, 4}, {"simdgroup_float8x8", 8, 8}};
    memcpy(list + count, others, sizeof others);
    return count + COUNT(others);
}

static void test_layouts(void **state)
{
    (void)state;
    layout list[160];
    uint32_t out[2 * 160] = {0};
    const size_t count = all_layouts(list);
    rig_run(library, "layouts", 1, 1, (rig_buffer[]){{out, 2 * count * sizeof *out}}, 1);
    for (size_t i = 0; i < count; i++)
        if (out[2 * i] != list[i].size || out[2 * i + 1] != list[i].align)
            fail_msg("%s has %u bytes, aligned as %u; wanted %u and %u", list[i].name, out[2 * i], out[2 * i + 1], list[i].size, list[i].align);
}

/* ---- The text ------------------------------------------------------------------------------------------------------ */

/* What a swizzle reads from (0, 1, 2, 3), or what becomes of so many elements of it when (11, 12, …) is written: digits of four bits. */
static uint32_t code_of(const char *letters, const char *set, int written)
{
    uint32_t code = 0;
    for (int i = 0; i < written; i++) code |= (uint32_t)i << 4 * i;
    for (int i = 0; letters[i] != 0; i++) {
        const int at = (int)(strchr(set, letters[i]) - set);
        if (written == 0) code |= (uint32_t)at << 4 * i;
        else code = (code & ~(0xFu << 4 * at)) | (uint32_t)(11 + i) << 4 * at;
    }
    return code;
}

/* "#define SWIZZLES_3(X) X(xx, 2, 0) X(xy, 2, 0x10) … X(bbbb, 4, 0x2222)" of a vector of `size`; only names without repeats if `distinct`. */
static size_t write_swizzles(char *to, const char *macro, int size, bool distinct)
{
    static const char sets[2][5] = {"xyzw", "rgba"};
    size_t n = (size_t)sprintf(to, "#define %s_%d(X)", macro, size);
    for (int set = 0; set < 2; set++) {
        for (int count = 2; count <= (distinct ? size : 4); count++) {
            int names = 1;
            for (int i = 0; i < count; i++) names *= size;
            for (int name = 0; name < names; name++) {
                char letters[5] = "";
                bool repeats = false;
                for (int i = 0, rest = name; i < count; i++, rest /= size) {
                    repeats = repeats || strchr(letters, sets[set][rest % size]) != NULL;
                    letters[i] = sets[set][rest % size];
                }
                if (distinct && repeats) continue;
                n += (size_t)sprintf(to + n, " X(%s, %d, %#xu)", letters, count, code_of(letters, sets[set], distinct ? size : 0));
            }
        }
    }
    return n + (size_t)sprintf(to + n, "\n");
}

static int setup(void **state)
{
    (void)state;
    static char before[65536];
    layout list[160];
    const size_t count = all_layouts(list);
    size_t n = (size_t)sprintf(before, "#define TYPES(X)");
    for (size_t i = 0; i < count; i++) n += (size_t)sprintf(before + n, " X(%s)", list[i].name);
    n += (size_t)sprintf(before + n, "\n");
    for (int size = 2; size <= 4; size++) {
        n += write_swizzles(before + n, "SWIZZLES", size, false);
        n += write_swizzles(before + n, "WRITES", size, true);
    }
    assert_true(n < sizeof before);
    char *text = rig_text(before, "types");
    library = rig_library(text, &(sm_msl_options){0});
    free(text);
    return 0;
}

static void test_swizzles(void **state)
{
    (void)state;
    const char *const kernels[] = {"swizzles", "packed_swizzles"};
    for (size_t k = 0; k < 2; k++) {
        uint32_t out[6];
        memset(out, 0xEE, sizeof out);
        rig_run(library, kernels[k], 1, 1, (rig_buffer[]){{out, sizeof out}}, 1);
        for (size_t i = 0; i < 6; i++) assert_int_equal(out[i], 0);
    }
}

static void test_constructors(void **state)
{
    (void)state;
    uint32_t out[2] = {0, 0};
    rig_run(library, "constructors", 1, 1, (rig_buffer[]){{out, sizeof out}}, 1);
    assert_int_equal(out[1], 50);
    assert_int_equal(out[0], out[1]);
}

static void test_as_types(void **state)
{
    (void)state;
    uint32_t out[10], word = 0x4048F5C3u;
    rig_run(library, "as_types", 1, 1, (rig_buffer[]){{out, sizeof out}, {&word, 4}}, 2);
    const uint32_t expected[10] = {word, word, 0xC3F54840u, 0x4048, 0xF5C3, 7, word, 0x3F000000, 0xF5C3, word};
    for (size_t i = 0; i < COUNT(out); i++) assert_int_equal(out[i], expected[i]);
}

/* ---- Rounding ------------------------------------------------------------------------------------------------------ */

static uint16_t any_number(const rig_format *f, uint64_t *random)
{
    static const double edges[] = {0, -0.0, 1, -1, 3, 1e-3, INFINITY, -INFINITY, NAN, 65504, 1e30, 6e-8, 6e-5};
    const uint32_t bits = rig_random(random);
    if (bits % 8 == 0) return (uint16_t)format_encode(f, edges[bits / 8 % COUNT(edges)]);
    if (bits % 8 < 4) return (uint16_t)(bits >> 8);
    return (uint16_t)format_encode(f, ((double)(bits >> 8) / 8388608.0 - 1) * 16);
}

static double step(const rig_format *f, double exact) { return format_round(f, exact); }

static void check_arithmetic(const rig_format *f, const char *kernel)
{
    enum { THREADS = 4000 };
    static uint16_t in[3 * THREADS], out[8 * THREADS];
    static uint32_t flags[THREADS];
    uint64_t random = 17;
    for (size_t i = 0; i < COUNT(in); i++) in[i] = any_number(f, &random);
    memset(out, 0xEE, sizeof out);
    rig_run(library, kernel, THREADS, 100, (rig_buffer[]){{in, sizeof in}, {out, sizeof out}, {flags, sizeof flags}}, 3);
    for (size_t i = 0; i < THREADS; i++) {
        const double x = format_decode(f, in[3 * i]), y = format_decode(f, in[3 * i + 1]), z = format_decode(f, in[3 * i + 2]);
        const double sum = step(f, step(f, step(f, x + y) * z) - 1) / 3, product = step(f, step(f, x * y) + z);
        const double expected[8] = {x + y, x - y, x * y, x / y, product, -x, sum, product};
        for (size_t k = 0; k < 8; k++) {
            const double got = format_decode(f, out[8 * i + k]), right = step(f, expected[k]);
            if (!(got == right && signbit(got) == signbit(right)) && !(isnan(got) && isnan(right)))
                fail_msg("%s, x %g, y %g, z %g, number %zu: %.9g; wanted %.9g", kernel, x, y, z, k, got, right);
        }
        const uint32_t right = (uint32_t)(x < y) | (uint32_t)(x > y) << 1 | (uint32_t)(x <= y) << 2 | (uint32_t)(x >= y) << 3 |
                               (uint32_t)(x == y) << 4 | (uint32_t)(x != y) << 5;
        if (flags[i] != right) fail_msg("%s, x %g, y %g: comparisons %#x; wanted %#x", kernel, x, y, flags[i], right);
    }
}

static void test_arithmetic(void **state)
{
    (void)state;
    check_arithmetic(&HALF_FORMAT, "half_arithmetic");
    check_arithmetic(&BFLOAT_FORMAT, "bfloat_arithmetic");
}

static void same_number(const char *what, float from, const rig_format *f, uint16_t bits, double exact)
{
    const double got = format_decode(f, bits), right = format_round(f, exact);
    if (!(got == right && signbit(got) == signbit(right)) && !(isnan(got) && isnan(right)))
        fail_msg("%s of %.9g: %.9g; wanted %.9g", what, (double)from, got, right);
}

static void test_conversions(void **state)
{
    (void)state;
    enum { THREADS = 3000 };
    static float in[THREADS], back[2 * THREADS];
    static uint16_t halves[3 * THREADS], bfloats[3 * THREADS];
    static int32_t whole[4 * THREADS];
    /* ties up and down, the edge of overflow, numbers below the smallest */
    static const float edges[] = {0, -0.0f, 1 + 0x1p-11f, 1 + 0x3p-11f, 1 + 0x1p-8f, 1 + 0x3p-8f, 65519, 65520, -65520, 0x1p-24f, 0x1p-25f, 0x1.8p-25f, 0x1p-26f,
                                  INFINITY, -INFINITY, NAN, 0x1.fefffep127f, 0x1.ffp127f, 0x1.fffffep127f, 1e-45f, 0x1p-133f, 0x1p-134f, 0x1.8p-134f, 0.5f, 1.5f, 2.5f};
    uint64_t random = 5;
    for (size_t i = 0; i < THREADS; i++) {
        const uint32_t bits = rig_random(&random);
        in[i] = i < COUNT(edges) ? edges[i] : i % 3 == 0 ? float_of(bits) : (float)(int32_t)bits / 0x1p20f;
    }
    rig_run(library, "conversions", THREADS, 100,
            (rig_buffer[]){{in, sizeof in}, {halves, sizeof halves}, {bfloats, sizeof bfloats}, {back, sizeof back}, {whole, sizeof whole}}, 5);
    for (size_t i = 0; i < THREADS; i++) {
        const double half = format_round(&HALF_FORMAT, in[i]), bfloat = format_round(&BFLOAT_FORMAT, in[i]), number = (int)i * 37 - 4000;
        same_number("half", in[i], &HALF_FORMAT, halves[3 * i], in[i]);
        same_number("half of bfloat", in[i], &HALF_FORMAT, halves[3 * i + 1], bfloat);
        same_number("half of int", (float)number, &HALF_FORMAT, halves[3 * i + 2], number);
        same_number("bfloat", in[i], &BFLOAT_FORMAT, bfloats[3 * i], in[i]);
        same_number("bfloat of half", in[i], &BFLOAT_FORMAT, bfloats[3 * i + 1], half);
        same_number("bfloat of int", (float)number, &BFLOAT_FORMAT, bfloats[3 * i + 2], number);
        assert_true((back[2 * i] == half && back[2 * i + 1] == bfloat) || isnan(in[i]));
        if (fabsf(in[i]) < 1e4f) assert_true(whole[4 * i] == (int)half && whole[4 * i + 1] == (int)bfloat);
        assert_true(whole[4 * i + 2] == (half != 0) && whole[4 * i + 3] == (bfloat != 0));
    }
}

/* ---- Limits -------------------------------------------------------------------------------------------------------- */

static void test_limits(void **state)
{
    (void)state;
    float out[128];
    rig_run(library, "limits", 1, 1, (rig_buffer[]){{out, sizeof out}}, 1);
    size_t n = 0;
    for (int bits = 8; bits <= 64; bits *= 2) {
        const double signed_and_not[8] = {ldexp(1, bits - 1) - 1, -ldexp(1, bits - 1), -ldexp(1, bits - 1), bits - 1, ldexp(1, bits) - 1, 0, 0, bits};
        for (int i = 0; i < 8; i++, n++)
            if (out[n] != (float)signed_and_not[i]) fail_msg("limit %d of %d bits: %g", i, bits, (double)out[n]);
    }
    const rig_format *const formats[3] = {&HALF_FORMAT, &BFLOAT_FORMAT, &FLOAT_FORMAT};
    for (int k = 0; k < 3; k++) {
        const rig_format *f = formats[k];
        const uint32_t infinity = ((1u << f->exponent) - 1) << f->mantissa;
        const double largest = format_decode(f, infinity - 1), bias = (1 << (f->exponent - 1)) - 1;
        const double expected[10] = {largest, -largest, format_decode(f, 1u << f->mantissa), f->mantissa + 1, ldexp(1, -f->mantissa),
                                     INFINITY, format_decode(f, 1), 1, bias + 1, 2 - bias};
        for (int i = 0; i < 10; i++, n++)
            if (out[n] != (float)expected[i]) fail_msg("limit %d of %s: %g; wanted %g", i, f->name, (double)out[n], expected[i]);
    }
    const double named[] = {INFINITY, 1, 0x1.fffffep127, INFINITY, 65504, 0x1.fffffep127, 0x1p-126, 0x1p-23, 65504, 0x1p-14, 0x1p-10,
                            M_E, M_LOG2E, M_LOG10E, M_LN2, M_LN10, M_PI, M_PI_2, M_PI_4, M_1_PI, M_2_PI, M_2_SQRTPI, M_SQRT2, M_SQRT1_2,
                            format_round(&HALF_FORMAT, M_PI), 1, 12, 150, 2.5, 2.5, 12};
    for (size_t i = 0; i < COUNT(named); i++, n++)
        if (out[n] != (float)named[i]) fail_msg("named number %zu: %.9g; wanted %.9g", i, (double)out[n], named[i]);
}

/* ---- What does not compile ----------------------------------------------------------------------------------------- */

typedef struct refusal {
    const char *body; /* of a kernel that has `device float *f` */
    const char *says;  /* a part of the message; NULL: anything */
    softmetal_world world;
} refusal;

static const refusal refusals[] = {
    {"float4 v = half4(1); f[0] = v.x;", NULL, {0}},
    {"float4 v(1); v.xx = float2(1); f[0] = v.x;", "names an element twice", {0}},
    {"float2 v(1); f[0] = v.z;", "'z'", {0}},
    {"float2 a(1); float3 b(1); f[0] = (a + b).x;", NULL, {0}},
    {"half4 a(1); float4 b(1); f[0] = (a + b).x;", NULL, {0}},
    {"bfloat b = 1.0f; f[0] = b;", NULL, {0}},
    {"half h = bfloat(1); f[0] = h;", NULL, {0}},
    {"f[0] = as_type<float>(half(1));", "same size", {0}},
    {"float4 v = float4(float2(1), 2.0f); f[0] = v.x;", NULL, {0}},
    {"float4 v = float4(float3(1), float2(1)); f[0] = v.x;", NULL, {0}},
    {"f[0] = float(popcount(1.5f));", NULL, {0}},
    {"f[0] = erf(1.0f);", "erf", {0}},
    {"f[0] = float(simd_and(1.0f));", NULL, {0}},
    {"simdgroup_matrix<int, 8, 8> m; f[0] = m.thread_elements()[0];", "half, bfloat or float", {0}},
    {"simdgroup_half8x8 m; simdgroup_load(m, f);", NULL, {0}},
    {"bfloat b(1); f[0] = b;", "this_device_has_no_bfloat", {.no_bfloat = true}},
    {"bfloat4 b(1); f[0] = b.x;", "bfloat4", {.no_bfloat = true}},
    {"simdgroup_float8x8 m(1.0f); f[0] = m.thread_elements()[0];", "this_device_has_no_simdgroup_matrix", {.no_simdgroup_matrix = true}},
    {"simdgroup_matrix<float, 8, 8> m; f[0] = m.thread_elements()[0];", "this_device_has_no_simdgroup_matrix", {.no_simdgroup_matrix = true}},
};

static char *text_with(const char *body)
{
    static const char form[] = "#include <metal_stdlib>\nusing namespace metal;\nkernel void k(device float *f [[buffer(0)]]) { %s }\n";
    char *text = malloc(sizeof form + strlen(body));
    assert_non_null(text);
    sprintf(text, form, body);
    return text;
}

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(refusals); i++) {
        const refusal *r = &refusals[i];
        char *text = text_with(r->body), *errors = NULL;
        sm_msl_library *none = rig_try(text, &(sm_msl_options){.world = r->world}, &errors);
        if (none != NULL) fail_msg("compiles: %s", r->body);
        if (strstr(errors, "program_source:3:") == NULL) fail_msg("%s: the error is not of line 3: %s", r->body, errors);
        if (r->says != NULL && strstr(errors, r->says) == NULL) fail_msg("%s: '%s' is not in: %s", r->body, r->says, errors);
        free(errors);
        free(text);
    }
}

/* The same worlds take what does not need what they lack. */
static void test_lesser_worlds(void **state)
{
    (void)state;
    static const softmetal_world worlds[] = {{.no_bfloat = true}, {.no_simdgroup_matrix = true}, {.no_bfloat = true, .no_simdgroup_matrix = true}};
    for (size_t i = 0; i < COUNT(worlds); i++) {
        char *text = text_with("half4 h(1); f[0] = simd_sum(float(h.x)) + exp(h).y + numeric_limits<half>::max();");
        float f[1] = {0};
        sm_msl_library *lesser = rig_library(text, &(sm_msl_options){.world = worlds[i]});
        rig_run(lesser, "k", 1, 1, (rig_buffer[]){{f, sizeof f}}, 1);
        assert_true(fabsf(f[0] - (1 + (float)M_E + 65504)) < 0.01f);
        sm_msl_library_destroy(lesser);
        free(text);
    }
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
        cmocka_unit_test(test_layouts),    cmocka_unit_test(test_swizzles),    cmocka_unit_test(test_constructors), cmocka_unit_test(test_as_types),
        cmocka_unit_test(test_arithmetic), cmocka_unit_test(test_conversions), cmocka_unit_test(test_limits),       cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_lesser_worlds),
    };
    return cmocka_run_group_tests_name("shim: types", tests, setup, teardown);
}
