/* Functions of integers against the same in 128 bits. */
#include "tests/shim/rig.h"

static rig_name looked_at[] = {SHIM_INTEGER(RIG_NAME)};
static void look(const char *name, size_t looks) { rig_look(looked_at, COUNT(looked_at), name, looks); }

__extension__ typedef __int128 wide;
__extension__ typedef unsigned __int128 unsigned_wide;

typedef struct type {
    const char *name;
    int bits;
    bool is_signed;
} type;
static const type types[] = {{"char", 8, true}, {"uchar", 8, false}, {"short", 16, true}, {"ushort", 16, false},
                             {"int", 32, true}, {"uint", 32, false}, {"long", 64, true},  {"ulong", 64, false}};

static uint64_t mask(int bits) { return bits == 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1; }
static wide lowest(const type *t) { return t->is_signed ? -((wide)1 << (t->bits - 1)) : 0; }
static wide highest(const type *t) { return ((wide)1 << (t->bits - t->is_signed)) - 1; }
static wide decode(const type *t, uint64_t bits)
{
    bits &= mask(t->bits);
    return t->is_signed && bits >> (t->bits - 1) & 1 ? (wide)bits - ((wide)1 << t->bits) : (wide)bits;
}
static wide fit(const type *t, wide x) { return x < lowest(t) ? lowest(t) : x > highest(t) ? highest(t) : x; }

/* ---- What is right: on numbers, and where bits matter on those ------------------------------------------------------ */

static wide least(wide a, wide b) { return a < b ? a : b; }
static wide most(wide a, wide b) { return a < b ? b : a; }
static wide exact_abs(const type *t, wide x, wide y, wide z) { return (void)t, (void)y, (void)z, x < 0 ? -x : x; }
static wide exact_absdiff(const type *t, wide x, wide y, wide z) { return (void)t, (void)z, x > y ? x - y : y - x; }
static wide exact_addsat(const type *t, wide x, wide y, wide z) { return (void)z, fit(t, x + y); }
static wide exact_subsat(const type *t, wide x, wide y, wide z) { return (void)z, fit(t, x - y); }
static wide floor_half(wide x) { return x >= 0 ? x / 2 : -((1 - x) / 2); }
static wide exact_hadd(const type *t, wide x, wide y, wide z) { return (void)t, (void)z, floor_half(x + y); }
static wide exact_rhadd(const type *t, wide x, wide y, wide z) { return (void)t, (void)z, floor_half(x + y + 1); }
static wide exact_max(const type *t, wide x, wide y, wide z) { return (void)t, (void)z, most(x, y); }
static wide exact_min(const type *t, wide x, wide y, wide z) { return (void)t, (void)z, least(x, y); }
static wide exact_max3(const type *t, wide x, wide y, wide z) { return (void)t, most(x, most(y, z)); }
static wide exact_min3(const type *t, wide x, wide y, wide z) { return (void)t, least(x, least(y, z)); }
static wide exact_median3(const type *t, wide x, wide y, wide z)
{
    return (void)t, x + y + z - most(x, most(y, z)) - least(x, least(y, z));
}
static wide exact_clamp(const type *t, wide x, wide y, wide z) { return (void)t, least(most(x, least(y, z)), most(y, z)); }
/* The high half: a division that rounds down. */
static wide exact_mulhi(const type *t, wide x, wide y, wide z)
{
    (void)z;
    if (!t->is_signed) return (wide)((unsigned_wide)x * (unsigned_wide)y >> t->bits);
    const wide product = x * y, unit = (wide)1 << t->bits;
    return product / unit - (product % unit < 0);
}
static wide exact_madhi(const type *t, wide x, wide y, wide z) { return exact_mulhi(t, x, y, 0) + z; }
static wide exact_madsat(const type *t, wide x, wide y, wide z)
{
    if (!t->is_signed && t->bits == 64) { /* a product of 128 bits and more */
        const unsigned_wide product = (unsigned_wide)x * (unsigned_wide)y, sum = product + (unsigned_wide)z;
        return sum < product || sum > UINT64_MAX ? (wide)UINT64_MAX : (wide)sum;
    }
    return fit(t, x * y + z);
}
static wide exact_clz(const type *t, wide x, wide y, wide z)
{
    (void)y, (void)z;
    int count = 0;
    while (count < t->bits && !((uint64_t)x >> (t->bits - 1 - count) & 1)) count++;
    return count;
}
static wide exact_ctz(const type *t, wide x, wide y, wide z)
{
    (void)y, (void)z;
    int count = 0;
    while (count < t->bits && !((uint64_t)x >> count & 1)) count++;
    return count;
}
static wide exact_popcount(const type *t, wide x, wide y, wide z)
{
    (void)y, (void)z;
    int count = 0;
    for (int i = 0; i < t->bits; i++) count += (uint64_t)x >> i & 1;
    return count;
}
static wide exact_reverse_bits(const type *t, wide x, wide y, wide z)
{
    (void)y, (void)z;
    uint64_t reversed = 0;
    for (int i = 0; i < t->bits; i++) reversed |= ((uint64_t)x >> i & 1) << (t->bits - 1 - i);
    return (wide)reversed;
}
static wide exact_rotate(const type *t, wide x, wide y, wide z)
{
    (void)z;
    const int by = (int)((uint64_t)y % (uint64_t)t->bits);
    uint64_t rotated = 0;
    for (int i = 0; i < t->bits; i++) rotated |= ((uint64_t)x >> i & 1) << ((i + by) % t->bits);
    return (wide)rotated;
}
static void field_of(const type *t, wide y, wide z, int *offset, int *bits)
{
    *offset = (int)((uint32_t)(uint64_t)y % (uint32_t)t->bits);
    *bits = (int)((uint32_t)(uint64_t)z % (uint32_t)(t->bits - *offset + 1));
}
static uint64_t field_y, field_z; /* the whole words: of them the kernel makes the field */
static wide exact_extract_bits(const type *t, wide x, wide y, wide z)
{
    (void)y, (void)z;
    int offset, bits;
    field_of(t, (wide)field_y, (wide)field_z, &offset, &bits);
    if (bits == 0) return 0;
    return decode(&(type){"", bits, t->is_signed}, ((uint64_t)x & mask(t->bits)) >> offset);
}
static wide exact_insert_bits(const type *t, wide x, wide y, wide z)
{
    (void)z;
    int offset, bits;
    field_of(t, (wide)field_y, (wide)field_z, &offset, &bits);
    uint64_t inserted = (uint64_t)x;
    for (int i = 0; i < bits; i++) {
        inserted &= ~((uint64_t)1 << (offset + i));
        inserted |= ((uint64_t)y >> i & 1) << (offset + i);
    }
    return (wide)inserted;
}

typedef struct function {
    const char *name, *call;
    wide (*exact)(const type *t, wide x, wide y, wide z);
} function;
#define ONE(name) {#name, #name "(x)", exact_##name}
#define TWO(name) {#name, #name "(x, y)", exact_##name}
#define THREE(name) {#name, #name "(x, y, z)", exact_##name}
static const function functions[] = {
    ONE(abs), ONE(clz), ONE(ctz), ONE(popcount), ONE(reverse_bits), TWO(absdiff), TWO(addsat), TWO(subsat), TWO(hadd), TWO(rhadd),
    TWO(max), TWO(min), TWO(mulhi), TWO(rotate), THREE(madhi), THREE(madsat), THREE(max3), THREE(min3), THREE(median3),
    {"clamp", "clamp(x, min(y, z), max(y, z))", exact_clamp},
    {"extract_bits", "extract_bits(x, offset, bits_in)", exact_extract_bits},
    {"insert_bits", "insert_bits(x, y, offset, bits_in)", exact_insert_bits},
};

static sm_msl_library *library;

static int setup(void **state)
{
    (void)state;
    char list[4096] = "#define FUNCTIONS(X)";
    for (size_t i = 0; i < COUNT(functions); i++) sprintf(list + strlen(list), " X((%s))", functions[i].call);
    strcat(list, "\n");
    char *text = rig_text(list, "integer");
    library = rig_library(text, &(sm_msl_options){0});
    free(text);
    return 0;
}

/* ---- Runs ---------------------------------------------------------------------------------------------------------- */

#define CALLS 2000

static void fill(const type *t, uint64_t *in, size_t count)
{
    const uint64_t edges[] = {0, 1, 2, mask(t->bits), mask(t->bits - 1), mask(t->bits - 1) + 1, mask(t->bits - 1) + 2, 0x5555555555555555u,
                              0xAAAAAAAAAAAAAAAAu, 7, 100};
    uint64_t state = (uint64_t)t->bits;
    for (size_t i = 0; i < count; i++) {
        const uint64_t any = (uint64_t)rig_random(&state) << 32 | rig_random(&state);
        in[i] = rig_random(&state) % 2 ? edges[rig_random(&state) % COUNT(edges)] : any >> rig_random(&state) % 64;
    }
}

static void check(const type *t, const function *f, const uint64_t *in, uint64_t got)
{
    field_y = in[1];
    field_z = in[2];
    const uint64_t exact = (uint64_t)f->exact(t, decode(t, in[0]), decode(t, in[1]), decode(t, in[2])) & mask(t->bits);
    if (got == exact) return;
    fail_msg("%s of %s, x %#llx, y %#llx, z %#llx: %#llx; wanted %#llx", f->call, t->name, (unsigned long long)in[0],
             (unsigned long long)in[1], (unsigned long long)in[2], (unsigned long long)got, (unsigned long long)exact);
}

static void test_types(void **state)
{
    (void)state;
    uint64_t *in = calloc(3 * CALLS, sizeof *in), *out = calloc(COUNT(functions) * CALLS, sizeof *out);
    for (uint32_t k = 0; k < COUNT(types); k++) {
        fill(&types[k], in, 3 * CALLS);
        memset(out, 0xEE, COUNT(functions) * CALLS * sizeof *out);
        rig_run(library, "integers", CALLS, 100,
                (rig_buffer[]){{in, 3 * CALLS * sizeof *in}, {out, COUNT(functions) * CALLS * sizeof *out}, {&k, sizeof k}}, 3);
        for (size_t f = 0; f < COUNT(functions); f++) {
            for (size_t i = 0; i < CALLS; i++) check(&types[k], &functions[f], in + 3 * i, out[f * CALLS + i]);
            look(functions[f].name, CALLS);
        }
    }
    free(in);
    free(out);
}

static void test_vectors(void **state)
{
    (void)state;
    uint64_t in[3 * CALLS + 16], out[CALLS];
    for (uint32_t k = 0; k < COUNT(types); k++) {
        fill(&types[k], in, COUNT(in));
        memset(out, 0xEE, sizeof out);
        rig_run(library, "vectors", CALLS, 100, (rig_buffer[]){{in, sizeof in}, {out, sizeof out}, {&k, sizeof k}}, 3);
        for (size_t i = 0; i < CALLS; i++)
            if (out[i] != 0) fail_msg("vectors of %s: %llu elements differ for thread %zu", types[k].name, (unsigned long long)out[i], i);
    }
}

static void test_narrow(void **state)
{
    (void)state;
    uint32_t in[3 * CALLS], out[5 * CALLS];
    uint64_t random = 1;
    for (size_t i = 0; i < COUNT(in); i++) in[i] = rig_random(&random);
    rig_run(library, "narrow", CALLS, 100, (rig_buffer[]){{in, sizeof in}, {out, sizeof out}}, 2);
    for (size_t i = 0; i < CALLS; i++) {
        const uint32_t x = in[3 * i] & 0xFFFFFF, y = in[3 * i + 1] & 0xFFFFFF, z = in[3 * i + 2];
        const int64_t a = x & 0x800000 ? (int64_t)x - 0x1000000 : x, b = y & 0x800000 ? (int64_t)y - 0x1000000 : y;
        assert_int_equal(out[i], (uint32_t)((uint64_t)x * y));
        assert_int_equal(out[CALLS + i], (uint32_t)((uint64_t)x * y + z));
        assert_int_equal(out[2 * CALLS + i], (uint32_t)(uint64_t)(a * b));
        assert_int_equal(out[3 * CALLS + i], (uint32_t)((uint64_t)(a * b) + z));
        assert_int_equal(out[4 * CALLS + i], 1);
    }
    look("mul24", CALLS);
    look("mad24", CALLS);
}

static void test_operators(void **state)
{
    (void)state;
    uint32_t in[CALLS + 8];
    int32_t wrong[CALLS];
    uint64_t random = 9;
    for (size_t i = 0; i < COUNT(in); i++) in[i] = rig_random(&random);
    memset(wrong, 0xEE, sizeof wrong);
    rig_run(library, "operators", CALLS, 100, (rig_buffer[]){{in, sizeof in}, {wrong, sizeof wrong}}, 2);
    for (size_t i = 0; i < CALLS; i++) assert_int_equal(wrong[i], 0);
}

static void test_all_names(void **state)
{
    (void)state;
    rig_all_looked_at(looked_at, COUNT(looked_at));
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
        cmocka_unit_test(test_types),     cmocka_unit_test(test_vectors),   cmocka_unit_test(test_narrow),
        cmocka_unit_test(test_operators), cmocka_unit_test(test_all_names),
    };
    return cmocka_run_group_tests_name("shim: integers", tests, setup, teardown);
}
