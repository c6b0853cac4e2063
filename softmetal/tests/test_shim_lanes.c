/* simd and quad functions with all lanes, some of them, and a simdgroup that is not full; simdgroup matrices. */
#include "tests/shim/rig.h"

static rig_name lane_names[2][64] = {{SHIM_LANES(RIG_NAME)}, {SHIM_LANES(RIG_NAME)}};
static const size_t lane_name_count = COUNT(((rig_name[]){SHIM_LANES(RIG_NAME)}));
static rig_name matrix_names[] = {SHIM_SIMDGROUP_MATRIX(RIG_NAME)};

typedef struct scope {
    const char *name;
    int width;
    sm_msl_library *library;
} scope;
static scope scopes[2] = {{"simd", 32, NULL}, {"quad", 4, NULL}};
static void look(const scope *s, const char *name, size_t looks) { rig_look(lane_names[s - scopes], lane_name_count, name, looks); }

static char *text_of(const scope *s)
{
    char before[64];
    snprintf(before, sizeof before, "#define SCOPE %s\n#define WIDTH %d\n", s->name, s->width);
    return rig_text(before, "lanes");
}

/* 52 threads: a full simdgroup, and one of 20. */
enum { THREADS = 52 };
static const uint32_t masks[] = {0xFFFFFFFFu, 0x0000FFFFu, 0xAAAAAAAAu, 0x80000001u, 0x00000010u, 0xFFFFFFFEu, 0x7FFFFFFFu, 0x13579BDFu};

static bool active(uint32_t mask, int thread) { return thread >= 0 && thread < THREADS && mask >> (thread % 32) & 1; }

/* ---- What is right, in whole numbers: of thread `at`; UNDEFINED where a lane is asked that takes no part. -------------- */

#define UNDEFINED INT64_MAX
typedef struct lanes {
    const scope *scope;
    uint32_t mask;
    const int32_t *in; /* x, y, p of each thread */
} lanes;
typedef int64_t (*operation)(int64_t a, int64_t b);
static int64_t add(int64_t a, int64_t b) { return a + b; }
static int64_t times(int64_t a, int64_t b) { return (int64_t)((uint64_t)a * (uint64_t)b); }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t bit_and(int64_t a, int64_t b) { return a & b; }
static int64_t bit_or(int64_t a, int64_t b) { return a | b; }
static int64_t bit_xor(int64_t a, int64_t b) { return a ^ b; }

static int first_of(const lanes *l, int at) { return at / l->scope->width * l->scope->width; }
static int64_t reduced(const lanes *l, int at, int which, operation f, int end)
{
    int64_t result = 0;
    bool any = false;
    for (int t = first_of(l, at); t < end; t++) {
        if (!active(l->mask, t)) continue;
        result = any ? f(result, l->in[3 * t + which]) : l->in[3 * t + which];
        any = true;
    }
    return any ? result : f == times ? 1 : 0;
}
static int64_t of_lane(const lanes *l, int at, int lane, int which)
{
    const int t = first_of(l, at) + lane;
    return active(l->mask, t) ? l->in[3 * t + which] : UNDEFINED;
}
static int64_t shifted(const lanes *l, int at, int by)
{
    const int lane = at - first_of(l, at), from = lane + by;
    return of_lane(l, at, from < 0 || from >= l->scope->width ? lane : from, 0);
}
static int64_t rotated(const lanes *l, int at, int by)
{
    return of_lane(l, at, (at - first_of(l, at) + by + l->scope->width) % l->scope->width, 0);
}
static int64_t filled(const lanes *l, int at, int by, int modulo)
{
    const int lane = at - first_of(l, at), group = lane / modulo * modulo, from = lane - group + by;
    if (from >= 0 && from < modulo) return of_lane(l, at, group + from, 0);
    return of_lane(l, at, group + (from + modulo) % modulo, 1);
}

static int64_t whole(const lanes *l, int at, int which, operation f) { return reduced(l, at, which, f, first_of(l, at) + l->scope->width); }
static int64_t is_sum(const lanes *l, int at) { return whole(l, at, 0, add); }
static int64_t is_product(const lanes *l, int at) { return whole(l, at, 2, times); }
static int64_t is_min(const lanes *l, int at) { return whole(l, at, 0, least); }
static int64_t is_max(const lanes *l, int at) { return whole(l, at, 0, most); }
static int64_t is_and(const lanes *l, int at) { return whole(l, at, 0, bit_and); }
static int64_t is_or(const lanes *l, int at) { return whole(l, at, 0, bit_or); }
static int64_t is_xor(const lanes *l, int at) { return whole(l, at, 0, bit_xor); }
static int64_t is_inclusive_sum(const lanes *l, int at) { return reduced(l, at, 0, add, at + 1); }
static int64_t is_exclusive_sum(const lanes *l, int at) { return reduced(l, at, 0, add, at); }
static int64_t is_inclusive_product(const lanes *l, int at) { return reduced(l, at, 2, times, at + 1); }
static int64_t is_exclusive_product(const lanes *l, int at) { return reduced(l, at, 2, times, at); }
static int64_t is_broadcast(const lanes *l, int at) { return of_lane(l, at, 2, 0); }
static int64_t is_broadcast_first(const lanes *l, int at)
{
    int lane = 0;
    while (!active(l->mask, first_of(l, at) + lane)) lane++;
    return of_lane(l, at, lane, 0);
}
static int64_t is_shuffle(const lanes *l, int at) { return of_lane(l, at, (at % 32 * 3 + 1) % l->scope->width, 0); }
static int64_t is_shuffle_xor(const lanes *l, int at) { return of_lane(l, at, (at - first_of(l, at)) ^ 3, 0); }
static int64_t is_shuffle_up(const lanes *l, int at) { return shifted(l, at, -1); }
static int64_t is_shuffle_down(const lanes *l, int at) { return shifted(l, at, 1); }
static int64_t is_rotate_up(const lanes *l, int at) { return rotated(l, at, -3); }
static int64_t is_rotate_down(const lanes *l, int at) { return rotated(l, at, 3); }
static int64_t is_fill_up(const lanes *l, int at) { return filled(l, at, -1, l->scope->width); }
static int64_t is_fill_down(const lanes *l, int at) { return filled(l, at, 1, l->scope->width); }
static int64_t is_fill_up_2(const lanes *l, int at) { return filled(l, at, -1, 2); }
static int64_t is_fill_down_2(const lanes *l, int at) { return filled(l, at, 1, 2); }

static const struct {
    const char *name;
    int64_t (*exact)(const lanes *, int);
} functions[] = {
    {"sum", is_sum}, {"product", is_product}, {"min", is_min}, {"max", is_max}, {"prefix_inclusive_sum", is_inclusive_sum},
    {"prefix_exclusive_sum", is_exclusive_sum}, {"prefix_inclusive_product", is_inclusive_product},
    {"prefix_exclusive_product", is_exclusive_product}, {"broadcast", is_broadcast}, {"broadcast_first", is_broadcast_first},
    {"shuffle", is_shuffle}, {"shuffle_xor", is_shuffle_xor}, {"shuffle_up", is_shuffle_up}, {"shuffle_down", is_shuffle_down},
    {"shuffle_rotate_up", is_rotate_up}, {"shuffle_rotate_down", is_rotate_down}, {"shuffle_and_fill_up", is_fill_up},
    {"shuffle_and_fill_down", is_fill_down}, {"shuffle_and_fill_up", is_fill_up_2}, {"shuffle_and_fill_down", is_fill_down_2},
    /* of integers only */
    {"and", is_and}, {"or", is_or}, {"xor", is_xor},
};
enum { REAL_FUNCTIONS = 20 };

static const struct {
    const char *name;
    int bits;
    bool is_signed;
    const rig_format *format;
} types[] = {{"char", 8, true, NULL},   {"uchar", 8, false, NULL}, {"short", 16, true, NULL},  {"ushort", 16, false, NULL}, {"int", 32, true, NULL},
             {"uint", 32, false, NULL}, {"long", 64, true, NULL},  {"ulong", 64, false, NULL}, {"float", 32, true, &FLOAT_FORMAT}, {"half", 16, true, &HALF_FORMAT}};

static uint64_t low(uint64_t value, int bits) { return bits == 64 ? value : value & (((uint64_t)1 << bits) - 1); }

/* Small enough for all types; not below zero for those without a sign, whose least and most would be others. */
static void fill(int32_t *in, bool is_signed)
{
    uint64_t random = 12;
    for (int t = 0; t < THREADS; t++) {
        in[3 * t] = (int32_t)(rig_random(&random) % 7) - (is_signed ? 3 : 0);
        in[3 * t + 1] = (int32_t)(rig_random(&random) % 60) + 10;
        in[3 * t + 2] = t % 8 == 1 ? 2 : is_signed && t % 3 == 0 ? -1 : 1;
    }
}

static void check_scalars(const scope *s, size_t type, uint32_t mask)
{
    int32_t in[3 * THREADS];
    static uint64_t out[COUNT(functions) * THREADS];
    uint32_t number = (uint32_t)type;
    fill(in, types[type].is_signed);
    memset(out, 0xEE, sizeof out);
    rig_run(s->library, "scalars", THREADS, THREADS, (rig_buffer[]){{in, sizeof in}, {out, sizeof out}, {&number, 4}, {&mask, 4}}, 4);
    const lanes l = {s, mask, in};
    const size_t count = types[type].format != NULL ? REAL_FUNCTIONS : COUNT(functions);
    for (size_t f = 0; f < count; f++) {
        for (int t = 0; t < THREADS; t++) {
            if (!active(mask, t)) continue;
            const int64_t exact = functions[f].exact(&l, t);
            const uint64_t right = exact == UNDEFINED          ? UINT64_MAX
                                   : types[type].format == NULL ? (uint64_t)exact
                                                                : format_encode(types[type].format, (double)exact);
            const uint64_t got = out[f * THREADS + (size_t)t];
            if (got == low(right, types[type].bits)) continue;
            fail_msg("%s_%s of %s, mask %#x, thread %d: %#llx; wanted %#llx", s->name, functions[f].name, types[type].name, mask, t,
                     (unsigned long long)got, (unsigned long long)low(right, types[type].bits));
        }
        look(s, functions[f].name, THREADS);
    }
}

static void test_scalars(void **state)
{
    (void)state;
    for (size_t s = 0; s < 2; s++)
        for (size_t type = 0; type < COUNT(types); type++)
            for (size_t m = 0; m < COUNT(masks); m++) check_scalars(&scopes[s], type, masks[m]);
}

static void test_vectors(void **state)
{
    (void)state;
    for (size_t s = 0; s < 2; s++) {
        for (size_t m = 0; m < COUNT(masks); m++) {
            int32_t in[3 * THREADS + 8] = {0};
            uint32_t out[THREADS], mask = masks[m];
            fill(in, false);
            memset(out, 0xEE, sizeof out);
            rig_run(scopes[s].library, "vectors", THREADS, THREADS, (rig_buffer[]){{in, sizeof in}, {out, sizeof out}, {&mask, 4}}, 3);
            for (int t = 0; t < THREADS; t++)
                if (out[t] != 0) fail_msg("%s, mask %#x, thread %d: %u elements differ", scopes[s].name, mask, t, out[t]);
        }
    }
}

static void check_votes(const scope *s, uint32_t mask)
{
    int32_t in[3 * THREADS];
    uint64_t out[8 * THREADS];
    fill(in, true);
    memset(out, 0xEE, sizeof out);
    rig_run(s->library, "votes", THREADS, THREADS, (rig_buffer[]){{in, sizeof in}, {out, sizeof out}, {&mask, 4}}, 3);
    const lanes l = {s, mask, in};
    for (int t = 0; t < THREADS; t++) {
        if (!active(mask, t)) continue;
        uint64_t there = 0, yes = 0, exist = 0;
        for (int k = 0; k < s->width; k++) {
            const int other = first_of(&l, t) + k;
            if (other < THREADS) exist |= (uint64_t)1 << k;
            if (!active(mask, other)) continue;
            there |= (uint64_t)1 << k;
            if (in[3 * other] > 0) yes |= (uint64_t)1 << k;
        }
        const bool first = (there & (((uint64_t)1 << (t - first_of(&l, t))) - 1)) == 0;
        const uint64_t expected[8] = {yes, yes == there, yes != 0, there, first, 0, there == exist, yes != 0};
        for (int k = 0; k < 8; k++)
            if (out[8 * t + k] != expected[k])
                fail_msg("%s, mask %#x, thread %d, vote %d: %#llx; wanted %#llx", s->name, mask, t, k, (unsigned long long)out[8 * t + k], (unsigned long long)expected[k]);
    }
    static const char *const names[] = {"ballot", "all", "any", "active_threads_mask", "is_first", "is_helper_thread"};
    for (size_t i = 0; i < COUNT(names); i++) look(s, names[i], THREADS);
}

static void test_votes(void **state)
{
    (void)state;
    for (size_t s = 0; s < 2; s++)
        for (size_t m = 0; m < COUNT(masks); m++) check_votes(&scopes[s], masks[m]);
}

static void test_others(void **state)
{
    (void)state;
    for (size_t s = 0; s < 2; s++) {
        float out[4 * 32];
        const float width = (float)scopes[s].width;
        rig_run(scopes[s].library, "others", 32, 32, (rig_buffer[]){{out, sizeof out}}, 1);
        for (int t = 0; t < 32; t++) {
            const int lane = t % scopes[s].width;
            assert_true(out[4 * t] == width * (width + 1) / 2);
            assert_true(out[4 * t + 1] == (float)((lane ^ 1) + 1));
            assert_true(out[4 * t + 2] == width);
            assert_true(out[4 * t + 3] == (float)(2 * (t - lane + 1)));
        }
    }
}

/* ((0 + 1) + (2 + 3)) + …, in float */
static float tree_sum(const float *x, int count)
{
    return count == 1 ? x[0] : tree_sum(x, count / 2) + tree_sum(x + count / 2, count / 2);
}

static void test_parting(void **state)
{
    (void)state;
    float in[32], out[8 * 32];
    uint64_t random = 77;
    for (int t = 0; t < 32; t++) in[t] = (float)(int32_t)rig_random(&random) * 1e-3f, out[8 * t + 7] = -1;
    rig_run(scopes[0].library, "parting", 32, 32, (rig_buffer[]){{in, sizeof in}, {out, sizeof out}}, 2);
    for (int t = 0; t < 32; t++) {
        float turns = 0;
        for (int k = 0; k < t % 4; k++) turns += 24 - 8 * (float)k; /* those with more than k turns */
        const float expected[8] = {t < 10 ? 10 : 2200, 32, turns, 32, tree_sum(in, 32), t % 2 ? 31 : 0, (float)(t / 4 * 16 + 6), t == 7 ? -1 : 31};
        for (int k = 0; k < 8; k++)
            if (out[8 * t + k] != expected[k]) fail_msg("lane %d, number %d: %g; wanted %g", t, k, out[8 * t + k], expected[k]);
    }
}

/* A world that looks at every access has nothing to say about what lanes do in a meeting. */
static const softmetal_world checked_world = {.workers = 2, .build = SOFTMETAL_CHECKED};

static void test_checked_lanes(void **state)
{
    (void)state;
    for (size_t s = 0; s < 2; s++) {
        char *text = text_of(&scopes[s]);
        sm_msl_library *library = rig_library(text, &(sm_msl_options){.world = checked_world});
        int32_t in[3 * THREADS];
        static uint64_t out[2][COUNT(functions) * THREADS];
        uint32_t type = 4, mask = 0xFFFFFFFFu;
        fill(in, true);
        const rig_buffer buffers[2][4] = {{{in, sizeof in}, {out[0], sizeof out[0]}, {&type, 4}, {&mask, 4}},
                                          {{in, sizeof in}, {out[1], sizeof out[1]}, {&type, 4}, {&mask, 4}}};
        rig_run(scopes[s].library, "scalars", THREADS, THREADS, buffers[0], 4);
        rig_run_3(library, "scalars", &checked_world, (uint32_t[3]){THREADS, 1, 1}, (uint32_t[3]){THREADS, 1, 1}, buffers[1], 4);
        assert_memory_equal(out[0], out[1], sizeof out[0]);
        sm_msl_library_destroy(library);
        free(text);
    }
}

/* ---- Simdgroup matrices -------------------------------------------------------------------------------------------- */

enum { ROW = 48, ROWS = 40 };

static void put(const rig_format *f, void *to, size_t i, double value)
{
    if (f == &FLOAT_FORMAT) ((uint32_t *)to)[i] = format_encode(f, value);
    else ((uint16_t *)to)[i] = (uint16_t)format_encode(f, value);
}
static double get(const rig_format *f, const void *from, size_t i)
{
    return format_decode(f, f == &FLOAT_FORMAT ? ((const uint32_t *)from)[i] : ((const uint16_t *)from)[i]);
}
/* By where Apple's GPUs keep them: lanes of a quad hold two rows of four, and so on. */
static int row_of(int lane) { return (lane / 16) * 4 + lane / 2 % 4; }
static int column_of(int lane) { return lane / 8 % 2 * 4 + lane % 2 * 2; }

static void check_tiles(const rig_format *f, const char *kernel, sm_msl_library *library, const softmetal_world *world)
{
    static double in[ROWS * ROW], expected[ROWS * ROW];
    static char numbers[ROWS * ROW * 4], out[ROWS * ROW * 4];
    const size_t width = f == &FLOAT_FORMAT ? 4 : 2;
    float sums[64], elements[64];
    for (int i = 0; i < ROWS * ROW; i++) {
        in[i] = (i * 5 + i / ROW * 3) % 5 - 2;
        expected[i] = -7;
        put(f, numbers, (size_t)i, in[i]);
        put(f, out, (size_t)i, -7);
    }
    rig_run_3(library, kernel, world, (uint32_t[3]){32, 1, 1}, (uint32_t[3]){32, 1, 1},
              (rig_buffer[]){{numbers, ROWS * ROW * width}, {out, ROWS * ROW * width}, {sums, sizeof sums}, {elements, sizeof elements}}, 4);
    for (int r = 0; r < 8; r++) {
        for (int c = 0; c < 8; c++) {
            double d = 0; /* b is read across: element (k, c) lies in row c of memory */
            for (int k = 0; k < 8; k++) d += in[r * ROW + k] * in[(16 + c) * ROW + 8 + k];
            expected[r * ROW + c] = d;
            expected[(8 + r) * ROW + 8 + 8 + c] = d + 3;
            expected[c * ROW + 24 + r] = d;
            expected[(8 + r) * ROW + 32 + c] = r == c ? 5 : 0;
            const float sum = (float)(d + (r == c));
            if (sums[8 * r + c] != sum) fail_msg("%s: sum (%d, %d) is %g; wanted %g", kernel, r, c, sums[8 * r + c], sum);
        }
    }
    for (int i = 0; i < 128; i++) expected[16 * ROW + i] = i % 16 < 8 ? 2 * in[i / 16 * 16 + i % 16 + 8] : in[i];
    for (int i = 0; i < ROWS * ROW; i++)
        if (get(f, out, (size_t)i) != expected[i]) fail_msg("%s: (%d, %d) is %g; wanted %g", kernel, i / ROW, i % ROW, get(f, out, (size_t)i), expected[i]);
    for (int lane = 0; lane < 32; lane++)
        for (int e = 0; e < 2; e++) assert_true(elements[2 * lane + e] == (float)in[row_of(lane) * ROW + column_of(lane) + e]);
    for (size_t i = 0; i < COUNT(matrix_names); i++) matrix_names[i].looks += 64;
}

static void test_matrices(void **state)
{
    (void)state;
    char *text = rig_text("", "matrix8");
    sm_msl_library *library = rig_library(text, &(sm_msl_options){0}), *checked = rig_library(text, &(sm_msl_options){.world = checked_world});
    const softmetal_world plain_world = {.workers = 2};
    check_tiles(&FLOAT_FORMAT, "floats", library, &plain_world);
    check_tiles(&HALF_FORMAT, "halves", library, &plain_world);
    check_tiles(&BFLOAT_FORMAT, "bfloats", library, &plain_world);
    check_tiles(&HALF_FORMAT, "halves", checked, &checked_world);
    sm_msl_library_destroy(checked);

    uint16_t a[128], b[64];
    double x[128], y[64];
    float out[64];
    for (int i = 0; i < 128; i++) x[i] = i % 9 - 4 + 0.125, a[i] = (uint16_t)format_encode(&HALF_FORMAT, x[i]);
    for (int i = 0; i < 64; i++) y[i] = i % 7 - 3.5, b[i] = (uint16_t)format_encode(&BFLOAT_FORMAT, y[i]);
    rig_run(library, "mixed", 32, 32, (rig_buffer[]){{a, sizeof a}, {b, sizeof b}, {out, sizeof out}}, 3);
    for (int r = 0; r < 8; r++) {
        for (int c = 0; c < 8; c++) {
            double sum = x[64 + 8 * r + c];
            for (int k = 0; k < 8; k++) sum += y[8 * r + k] * x[8 * k + c];
            assert_true(out[8 * r + c] == (float)sum);
        }
    }
    sm_msl_library_destroy(library);
    free(text);
    rig_all_looked_at(matrix_names, COUNT(matrix_names));
}

static void test_all_names(void **state)
{
    (void)state;
    for (size_t s = 0; s < 2; s++) rig_all_looked_at(lane_names[s], lane_name_count);
}

static int setup(void **state)
{
    (void)state;
    for (size_t s = 0; s < 2; s++) {
        char *text = text_of(&scopes[s]);
        scopes[s].library = rig_library(text, &(sm_msl_options){0});
        free(text);
    }
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    for (size_t s = 0; s < 2; s++) sm_msl_library_destroy(scopes[s].library);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars), cmocka_unit_test(test_vectors), cmocka_unit_test(test_votes),     cmocka_unit_test(test_others),
        cmocka_unit_test(test_parting), cmocka_unit_test(test_checked_lanes), cmocka_unit_test(test_matrices), cmocka_unit_test(test_all_names),
    };
    return cmocka_run_group_tests_name("shim: lanes", tests, setup, teardown);
}
