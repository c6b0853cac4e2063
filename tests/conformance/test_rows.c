/* The ops that work row by row: begin, embed, rope_angles, norms, glu, activation, gather_rows, gather_cols. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support_rig.h"
#include "support/layouts.h"

/* A GPU's kernels are compiled for each layout. */
static bool is_thin(void) { return rig_backend() != &pv_cpu_backend; }

#define ARRAY_COUNT(array) (sizeof(array) / sizeof(array)[0])

static float *random_floats(uint64_t seed, size_t count, double size)
{
    float *values = malloc(count * sizeof *values);
    for (size_t i = 0; i < count; i++) values[i] = (float)(size * ref_normal(&seed));
    return values;
}

/* A step of `rows` rows in sequences of one row. */
static void step_of_rows(rig *r, uint32_t rows)
{
    rig_sequence sequences[24] = {{0}};
    uint32_t count = 0, done = 0;
    while (done < rows && count < 5)
        sequences[count] = (rig_sequence){.slot = 1 + (int32_t)count, .first = 7, .count = 1}, count++, done++;
    if (done < rows)
        sequences[count] = (rig_sequence){.slot = 1 + (int32_t)count, .first = 0, .count = (int32_t)(rows - done)}, count++;
    rig_step(r, sequences, count);
}

/* The rows of `out` against what is wanted, and their bits against those of other thread counts. The caller frees them. */
static float *expect_rows(rig *r, const char *what, const pv_tensor *out, uint32_t rows, const ref_value *wanted)
{
    float *found = rig_rows(r, out, rows);
    rig_expect_values(r, what, found, wanted, (size_t)rows * out->cols);
    rig_same_bits(r, found, (size_t)rows * out->row_bytes);
    return found;
}

/* Runs the op, whose inputs hold one row, and expects the bits that the row had among others. */
static void expect_alone(rig *r, const char *what, const pv_op *op, const pv_tensor *out, const float *among_others)
{
    rig_may_write_rows(r, out);
    rig_run(r, op, 1);
    float *alone = rig_rows(r, out, 1);
    rig_expect_bytes(r, what, alone, among_others, (size_t)out->row_bytes);
    free(alone);
}

/* ---- begin ----------------------------------------------------------------------------------------------------------- */

#define SLOTS 24
#define BLOCKS 32
#define CONTEXT 1024

static void begin_case(rig *r, uint32_t groups, bool patched)
{
    rig_reset(r);
    static int32_t table[PV_MAX_GROUPS][SLOTS * BLOCKS], log[SLOTS * CONTEXT], found[SLOTS * CONTEXT];
    pv_op op = {.kind = PV_OP_begin};
    for (uint32_t g = 0; g < groups; g++) {
        for (int32_t i = 0; i < SLOTS * BLOCKS; i++) table[g][i] = (int32_t)g * 100000 + i;
        op.begin.tables[g] = rig_cells(r, RIG_KV, SLOTS, BLOCKS, table[g]);
        rig_may_write(r, &op.begin.tables[g], 0, sizeof table[g]);
    }
    for (int32_t i = 0; i < SLOTS * CONTEXT; i++) log[i] = -1000 - i;
    op.begin.token_log = rig_cells(r, RIG_KV, SLOTS, CONTEXT, log);
    rig_may_write(r, &op.begin.token_log, 0, sizeof log);
    const int32_t tokens[40] = {5, 0, 77, 123456, [10] = PV_TOKEN_FROM_LOG, [20] = PV_TOKEN_FROM_LOG, [39] = 9};
    const rig_sequence sequences[] = {{3, 1023, 1, tokens + 2}, {1, 500, 1, NULL}, {2, 0, 1, tokens + 3}, {23, 30, 40, tokens}};
    pv_step_view view = rig_step(r, sequences, ARRAY_COUNT(sequences));
    const pv_step_patch patches[] = {{0, 1, 0, 17},
                                     {0, 23, 31, 18},
                                     {3, 5, 7, 19},
                                     {1, 5, 7, 20},
                                     {0, 1, 0, 21},
                                     {PV_PATCH_TOKEN_LOG, 4, 0, 400},
                                     {PV_PATCH_TOKEN_LOG, 4, 1023, 401},
                                     {PV_PATCH_TOKEN_LOG, 23, 30, 402},
                                     {2, 0, 0, 0}};
    for (size_t i = 0; patched && i < ARRAY_COUNT(patches); i++) {
        const pv_step_patch *p = &patches[i];
        view.patches[view.counts->patches++] = *p;
        if (p->group == PV_PATCH_TOKEN_LOG)
            log[p->slot * CONTEXT + p->index] = p->page;
        else if ((uint32_t)p->group < groups)
            table[p->group][p->slot * BLOCKS + p->index] = p->page;
    }
    for (size_t i = 0; i < ARRAY_COUNT(sequences); i++) {
        const rig_sequence *s = &sequences[i];
        for (int32_t j = 0; s->tokens && j < s->count; j++) {
            if (s->tokens[j] >= 0) log[s->slot * CONTEXT + s->first + j] = s->tokens[j];
        }
    }
    rig_run(r, &op, 1);
    for (uint32_t g = 0; g < groups; g++) {
        rig_get(r, &op.begin.tables[g], 0, found, sizeof table[g]);
        rig_expect_bytes(r, "begin: block table", found, table[g], sizeof table[g]);
    }
    rig_get(r, &op.begin.token_log, 0, found, sizeof log);
    rig_expect_bytes(r, "begin: token log", found, log, sizeof log);
}

static void begin_cases(rig *r)
{
    begin_case(r, 1, false);
    begin_case(r, 1, true); /* patches of groups that the plan does not have are left out */
    begin_case(r, 4, true);
    rig_expect_ran(r, "begin", NULL);
}

/* ---- embed ----------------------------------------------------------------------------------------------------------- */

static void embed_case(rig *r, pv_layout layout, uint32_t vocabulary, uint32_t cols, float scale, bool tied, bool learned)
{
    rig_reset(r);
    uint64_t seed = 100 + layout + cols;
    size_t row_bytes = ref_row_bytes(layout, cols);
    uint8_t *canonical = malloc(vocabulary * row_bytes);
    for (uint32_t i = 0; i < vocabulary; i++) ref_random_row(layout, cols, 1, &seed, canonical + i * row_bytes);
    int32_t *log = malloc(SLOTS * CONTEXT * sizeof *log);
    for (int32_t i = 0; i < SLOTS * CONTEXT; i++) log[i] = (int32_t)(ref_random(&seed) % vocabulary);
    log[4 * CONTEXT + 0] = -5; /* the log may hold what is no token */
    log[4 * CONTEXT + 1] = (int32_t)vocabulary;
    const int32_t last = (int32_t)vocabulary - 1, beyond = (int32_t)vocabulary, far_beyond = INT32_MAX;
    const int32_t prompt[] = {0, last, 1, PV_TOKEN_FROM_LOG, beyond, 2, far_beyond, last, last};
    const rig_sequence sequences[] = {{1, 9, 1, &last}, {2, 1000, 1, NULL}, {3, 63, 9, prompt}, {4, 0, 3, NULL}};
    rig_step(r, sequences, ARRAY_COUNT(sequences));
    pv_op op = {.kind = PV_OP_embed};
    op.embed.table = rig_weight(r, layout, vocabulary, cols, PV_USE_ROWS | (tied ? PV_USE_MATRIX : 0), canonical);
    op.embed.token_log = rig_cells(r, RIG_KV, SLOTS, CONTEXT, log);
    op.embed.out = rig_activation(r, PV_EXTENT_ROWS, cols);
    op.embed.scale = scale;
    enum { POSITIONS = 70 }; /* of which 1000 is not one */
    const pv_layout other = layout == PV_LAYOUT_F32 ? PV_LAYOUT_F16 : PV_LAYOUT_F32;
    size_t other_bytes = ref_row_bytes(other, cols);
    uint8_t *positions = malloc(POSITIONS * other_bytes);
    double *position_value = malloc(cols * sizeof *position_value);
    for (uint32_t i = 0; i < POSITIONS; i++) ref_random_row(other, cols, 1, &seed, positions + i * other_bytes);
    if (learned) op.embed.positions = rig_weight(r, other, POSITIONS, cols, PV_USE_ROWS, positions);
    ref_value *wanted = malloc(r->rows * cols * sizeof *wanted), *at = wanted;
    double *value = malloc(cols * sizeof *value), *mass = malloc(cols * sizeof *mass);
    for (size_t i = 0; i < ARRAY_COUNT(sequences); i++) {
        for (int32_t j = 0; j < sequences[i].count; j++, at += cols) {
            int32_t token = sequences[i].tokens ? sequences[i].tokens[j] : PV_TOKEN_FROM_LOG;
            if (token == PV_TOKEN_FROM_LOG) token = log[sequences[i].slot * CONTEXT + sequences[i].first + j];
            int32_t position = sequences[i].first + j;
            bool known = token >= 0 && (uint32_t)token < vocabulary && (!learned || position < POSITIONS);
            if (known && learned) ref_decode(other, positions + (size_t)position * other_bytes, cols, position_value, NULL);
            if (known) ref_decode(layout, canonical + (size_t)token * row_bytes, cols, value, mass);
            for (uint32_t c = 0; c < cols; c++) {
                at[c] = known ? ref_embed(value[c], mass[c], scale) : (ref_value){NAN, 0};
                if (known && learned) at[c] = ref_plus(at[c], position_value[c]);
            }
        }
    }
    rig_may_write_rows(r, &op.embed.out);
    rig_run(r, &op, 1);
    free(expect_rows(r, "embed", &op.embed.out, r->rows, wanted));
    rig_expect_ran(r, "embed", pv_layout_get(layout)->name);
    free(canonical);
    free(log);
    free(wanted);
    free(value);
    free(mass);
    free(positions);
    free(position_value);
}

static void embed_cases(rig *r)
{
    for (unsigned layout = 0; layout < PV_LAYOUT_COUNT; layout++) {
        if (!layout_is_sampled(layout, is_thin())) continue;
        uint32_t block, bytes;
        ref_block((pv_layout)layout, &block, &bytes);
        embed_case(r, (pv_layout)layout, 50, block == 1 ? 37 : block, 1, false, layout % 2 == 0);
        embed_case(r, (pv_layout)layout, 33, 3 * (block == 1 ? 32 : block), 11.3137085f, true, layout % 2 == 1);
        embed_case(r, (pv_layout)layout, 3, 768, 1, true, false); /* fewer rows than a packing's tile has */
    }
}

/* ---- rope_angles ----------------------------------------------------------------------------------------------------- */

static void rope_angles_case(rig *r, uint32_t dim, double base, float magnitude)
{
    rig_reset(r);
    static const int32_t positions[] = {0, 1, 2, 3, 31, 32, 1000, 4095, 32767, 131071, 1048575, 16777215};
    rig_sequence sequences[ARRAY_COUNT(positions) + 1];
    uint32_t count = 0;
    for (; count < ARRAY_COUNT(positions); count++)
        sequences[count] = (rig_sequence){.slot = 1 + (int32_t)count, .first = positions[count], .count = 1};
    sequences[count++] = (rig_sequence){.slot = 20, .first = 131000, .count = 50};
    rig_step(r, sequences, count);
    float *frequency = malloc(dim / 2 * sizeof *frequency);
    for (uint32_t i = 0; i < dim / 2; i++) frequency[i] = (float)pow(base, -2.0 * i / dim);
    pv_op op = {.kind = PV_OP_rope_angles};
    op.rope_angles.inverse_frequency = rig_vector(r, frequency, dim / 2);
    op.rope_angles.out = rig_activation(r, PV_EXTENT_ROWS, dim);
    op.rope_angles.magnitude = magnitude;
    ref_value *wanted = malloc(r->rows * dim * sizeof *wanted), *at = wanted;
    for (uint32_t i = 0; i < count; i++) {
        for (int32_t j = 0; j < sequences[i].count; j++, at += dim) {
            for (uint32_t c = 0; c < dim; c++)
                at[c] = ref_angle(sequences[i].first + j, frequency[c / 2], magnitude, c % 2 == 1);
        }
    }
    rig_may_write_rows(r, &op.rope_angles.out);
    rig_run(r, &op, 1);
    free(expect_rows(r, "rope_angles", &op.rope_angles.out, r->rows, wanted));
    free(frequency);
    free(wanted);
}

static void rope_angles_cases(rig *r)
{
    rope_angles_case(r, 64, 10000, 1);
    rope_angles_case(r, 128, 500000, 1);
    rope_angles_case(r, 80, 10000, 1.1902381f);
    rope_angles_case(r, 2, 10000, 1);
    rope_angles_case(r, 6, 1000000, 0.5f);
    rig_expect_ran(r, "rope_angles", NULL);
}

/* ---- rms_norm -------------------------------------------------------------------------------------------------------- */

static void rms_norm_case(rig *r, uint32_t rows, uint32_t cols, double size, float epsilon, bool in_place)
{
    rig_reset(r);
    step_of_rows(r, rows);
    float *x = random_floats(cols + rows, (size_t)rows * cols, size), *weight = random_floats(cols, cols, 1);
    if (rows > 1) x[cols] = NAN; /* one row holds NaN; it is the only one that does */
    pv_op op = {.kind = PV_OP_rms_norm};
    op.rms_norm.x = rig_input(r, PV_EXTENT_ROWS, cols, x);
    op.rms_norm.weight = rig_vector(r, weight, cols);
    op.rms_norm.out = in_place ? op.rms_norm.x : rig_activation(r, PV_EXTENT_ROWS, cols);
    op.rms_norm.epsilon = epsilon;
    ref_value *wanted = malloc((size_t)rows * cols * sizeof *wanted);
    for (uint32_t i = 0; i < rows; i++) ref_rms_norm(x + (size_t)i * cols, weight, cols, epsilon, wanted + (size_t)i * cols);
    rig_may_write_rows(r, &op.rms_norm.out);
    rig_run(r, &op, 1);
    float *found = expect_rows(r, "rms_norm", &op.rms_norm.out, rows, wanted);
    size_t last = rows > 2 ? rows - 1 : 0; /* row 1 is the one with NaN */
    step_of_rows(r, 1);
    op.rms_norm.x = rig_input(r, PV_EXTENT_ROWS, cols, x + last * cols);
    op.rms_norm.out = in_place ? op.rms_norm.x : rig_activation(r, PV_EXTENT_ROWS, cols);
    expect_alone(r, "rms_norm: other bits alone", &op, &op.rms_norm.out, found + last * cols);
    free(found);
    free(x);
    free(weight);
    free(wanted);
}

/* A weight as wide as a head, and a residual, which may be where the result goes. */
static void rms_norm_onto_case(rig *r, uint32_t rows, uint32_t heads, uint32_t width, bool onto, bool accumulate)
{
    rig_reset(r);
    step_of_rows(r, rows);
    uint32_t cols = heads * width;
    float *x = random_floats(cols + rows, (size_t)rows * cols, 3), *weight = random_floats(width, width, 1);
    float *residual = random_floats(cols + 7, (size_t)rows * cols, 2);
    pv_op op = {.kind = PV_OP_rms_norm};
    op.rms_norm.x = rig_input(r, PV_EXTENT_ROWS, cols, x);
    op.rms_norm.weight = rig_vector(r, weight, width);
    if (onto) op.rms_norm.residual = rig_input(r, PV_EXTENT_ROWS, cols, residual);
    op.rms_norm.out = accumulate ? op.rms_norm.residual : rig_activation(r, PV_EXTENT_ROWS, cols);
    op.rms_norm.epsilon = 1e-5f;
    ref_value *wanted = malloc((size_t)rows * cols * sizeof *wanted);
    for (size_t i = 0; i < rows; i++)
        ref_rms_norm_onto(x + i * cols, weight, width, cols, 1e-5f, onto ? residual + i * cols : NULL, wanted + i * cols);
    rig_may_write_rows(r, &op.rms_norm.out);
    rig_run(r, &op, 1);
    free(expect_rows(r, "rms_norm of heads", &op.rms_norm.out, rows, wanted));
    free(x);
    free(weight);
    free(residual);
    free(wanted);
}

static void rms_norm_cases(rig *r)
{
    rms_norm_onto_case(r, 1, 4, 64, false, false);
    rms_norm_onto_case(r, 9, 3, 80, false, false);
    rms_norm_onto_case(r, 5, 2, 7, true, false);
    rms_norm_onto_case(r, 40, 1, 100, true, true);
    rms_norm_onto_case(r, 2, 1, 2048, true, true);
    static const uint32_t cols[] = {1, 2, 7, 8, 15, 16, 17, 33, 64, 100, 576, 1023, 4096, 5120};
    for (size_t i = 0; i < ARRAY_COUNT(cols); i++) {
        rms_norm_case(r, 1, cols[i], 1, 1e-5f, false);
        rms_norm_case(r, 7, cols[i], 30, 1e-6f, i % 2 == 0);
    }
    rms_norm_case(r, 80, 65, 1, 1e-5f, false);
    rms_norm_case(r, 2, 64, 1e-6, 1e-5f, false); /* epsilon is what counts */
    rms_norm_case(r, 2, 64, 1e5, 1e-5f, true);
    rig_expect_ran(r, "rms_norm", NULL);
}

/* ---- layer_norm ------------------------------------------------------------------------------------------------------ */

static void layer_norm_case(rig *r, uint32_t rows, uint32_t cols, float offset, bool bias, bool in_place)
{
    rig_reset(r);
    step_of_rows(r, rows);
    float *x = random_floats(cols + rows, (size_t)rows * cols, 2), *weight = random_floats(cols, cols, 1), *shift = random_floats(cols + 1, cols, 1);
    for (size_t i = 0; i < (size_t)rows * cols; i++) x[i] += offset;
    if (rows > 1) x[cols] = NAN;
    pv_op op = {.kind = PV_OP_layer_norm};
    op.layer_norm.x = rig_input(r, PV_EXTENT_ROWS, cols, x);
    op.layer_norm.weight = rig_vector(r, weight, cols);
    if (bias) op.layer_norm.bias = rig_vector(r, shift, cols);
    op.layer_norm.out = in_place ? op.layer_norm.x : rig_activation(r, PV_EXTENT_ROWS, cols);
    op.layer_norm.epsilon = 1e-5f;
    ref_value *wanted = malloc((size_t)rows * cols * sizeof *wanted);
    for (size_t i = 0; i < rows; i++) ref_layer_norm(x + i * cols, weight, bias ? shift : NULL, cols, 1e-5f, wanted + i * cols);
    rig_may_write_rows(r, &op.layer_norm.out);
    rig_run(r, &op, 1);
    free(expect_rows(r, "layer_norm", &op.layer_norm.out, rows, wanted));
    free(x);
    free(weight);
    free(shift);
    free(wanted);
}

static void layer_norm_cases(rig *r)
{
    static const uint32_t cols[] = {2, 7, 16, 33, 100, 768, 1023, 5120};
    for (size_t i = 0; i < ARRAY_COUNT(cols); i++) {
        layer_norm_case(r, 1, cols[i], 0, true, false);
        layer_norm_case(r, 7, cols[i], i % 2 == 0 ? 20 : 0, i % 3 != 0, i % 2 == 0);
    }
    layer_norm_case(r, 70, 64, -1, true, false);
    rig_expect_ran(r, "layer_norm", NULL);
}

/* ---- activation ------------------------------------------------------------------------------------------------------ */

static void activation_case(rig *r, uint32_t rows, uint32_t cols, pv_activation kind, float scale, float cap, bool onto, bool in_place)
{
    rig_reset(r);
    step_of_rows(r, rows);
    static const float edges[] = {0, 1e-30f, -1e-30f, 1e-4f, 20, -20, 87, -87, 104, -104, 1000, -1000, INFINITY, NAN};
    size_t count = (size_t)rows * cols;
    float *x = random_floats(cols, count, 4), *residual = random_floats(cols + 1, count, 4);
    for (size_t i = 0; i < ARRAY_COUNT(edges) && 2 * i < count; i++) x[2 * i] = edges[i];
    pv_op op = {.kind = PV_OP_activation};
    op.activation = (pv_op_activation){.x = rig_input(r, PV_EXTENT_ROWS, cols, x), .activation = kind, .scale = scale, .soft_cap = cap};
    if (onto) op.activation.residual = rig_input(r, PV_EXTENT_ROWS, cols, residual);
    op.activation.out = !in_place ? rig_activation(r, PV_EXTENT_ROWS, cols) : onto ? op.activation.residual : op.activation.x;
    ref_value *wanted = malloc(count * sizeof *wanted);
    for (size_t i = 0; i < count; i++) {
        ref_value y = {(double)scale * x[i], REF_U * fabs((double)scale * x[i])};
        y = ref_activated(kind, y);
        if (cap > 0) y = ref_soft_capped(cap, y);
        wanted[i] = onto ? ref_plus(y, residual[i]) : y;
    }
    rig_may_write_rows(r, &op.activation.out);
    rig_run(r, &op, 1);
    free(expect_rows(r, "activation", &op.activation.out, rows, wanted));
    free(x);
    free(residual);
    free(wanted);
}

static void activation_cases(rig *r)
{
    static const uint32_t cols[] = {1, 31, 64, 1000};
    for (size_t i = 0; i < ARRAY_COUNT(cols); i++) {
        activation_case(r, 3, cols[i], PV_ACTIVATION_SILU, 1, 0, false, i % 2 == 0);
        activation_case(r, 2, cols[i], PV_ACTIVATION_GELU, 1, 0, i % 2 == 0, i % 3 == 0);
        activation_case(r, 40, cols[i], PV_ACTIVATION_NONE, 0.22f, 0, true, true);
        activation_case(r, 4, cols[i], PV_ACTIVATION_SIGMOID, 1, 0, false, i % 2 == 1);
        activation_case(r, 5, cols[i], PV_ACTIVATION_NONE, 1, 30, false, true);
    }
    activation_case(r, 5, 100, PV_ACTIVATION_NONE, 0.125f, 0.5f, true, false);
    rig_expect_ran(r, "activation", NULL);
}

/* ---- glu ------------------------------------------------------------------------------------------------------------- */

static void glu_case(rig *r, pv_activation activation, uint32_t rows, uint32_t cols, bool in_place)
{
    rig_reset(r);
    step_of_rows(r, rows);
    static const float edges[] = {0,   -0.0f, 1e-30f, -1e-30f, 20,    -20,   87,     -87,      89,
                                  -89, 104,   -104,   1000,    -1000, 3e38f, -3e38f, INFINITY, NAN};
    size_t count = (size_t)rows * cols;
    float *gate = random_floats(cols, count, 4), *up = random_floats(cols + 1, count, 4);
    for (size_t i = 0; i < ARRAY_COUNT(edges) && 2 * i < count; i++) {
        gate[2 * i] = edges[i];
        up[2 * i] = fabsf(edges[i]) > 1e30f ? 0.5f : up[2 * i]; /* the product stays in f32 */
    }
    if (count > 60) up[60] = NAN;
    pv_op op = {.kind = PV_OP_glu};
    op.glu.gate = rig_input(r, PV_EXTENT_ROWS, cols, gate);
    op.glu.up = rig_input(r, PV_EXTENT_ROWS, cols, up);
    op.glu.out = in_place ? op.glu.gate : rig_activation(r, PV_EXTENT_ROWS, cols);
    op.glu.activation = activation;
    ref_value *wanted = malloc(count * sizeof *wanted);
    for (size_t i = 0; i < count; i++) wanted[i] = ref_glu(activation, (ref_value){gate[i], 0}, (ref_value){up[i], 0});
    rig_may_write_rows(r, &op.glu.out);
    rig_run(r, &op, 1);
    float *found = expect_rows(r, "glu", &op.glu.out, rows, wanted);
    size_t last = rows - 1;
    step_of_rows(r, 1);
    op.glu.gate = rig_input(r, PV_EXTENT_ROWS, cols, gate + last * cols);
    op.glu.up = rig_input(r, PV_EXTENT_ROWS, cols, up + last * cols);
    op.glu.out = in_place ? op.glu.gate : rig_activation(r, PV_EXTENT_ROWS, cols);
    expect_alone(r, "glu: other bits alone", &op, &op.glu.out, found + last * cols);
    free(gate);
    free(up);
    free(wanted);
    free(found);
}

static void glu_cases(rig *r)
{
    static const uint32_t cols[] = {1, 5, 16, 31, 100, 1536};
    for (size_t i = 0; i < ARRAY_COUNT(cols); i++) {
        glu_case(r, PV_ACTIVATION_SILU, 1, cols[i], false);
        glu_case(r, PV_ACTIVATION_SILU, 5, cols[i], i % 2 == 1);
        glu_case(r, PV_ACTIVATION_GELU, 5, cols[i], i % 2 == 0);
        glu_case(r, PV_ACTIVATION_CLAMPED, 4, cols[i], i % 2 == 0);
    }
    glu_case(r, PV_ACTIVATION_SILU, 77, 33, false);
    rig_expect_ran(r, "glu", NULL);
}

/* ---- gather_rows ----------------------------------------------------------------------------------------------------- */

static void gather_case(rig *r, uint32_t rows, uint32_t cols, const int32_t *wanted_rows, uint32_t count)
{
    rig_reset(r);
    step_of_rows(r, rows);
    pv_step_view view = pv_step_view_of(pv_tensor_host(&r->block), &r->layout);
    float *x = random_floats(cols, (size_t)rows * cols, 1);
    for (size_t i = 0; i < (size_t)rows * cols; i += 13) x[i] = NAN; /* bits are carried, whatever they are */
    pv_op op = {.kind = PV_OP_gather_rows};
    op.gather_rows.x = rig_input(r, PV_EXTENT_ROWS, cols, x);
    for (uint32_t i = 0; i < count; i++) view.logits[i] = (pv_step_logit){.row = wanted_rows[i]};
    view.counts->logits = r->logits = count;
    op.gather_rows.out = rig_activation(r, PV_EXTENT_LOGITS, cols);
    rig_may_write_rows(r, &op.gather_rows.out);
    rig_run(r, &op, 1);
    float *found = rig_rows(r, &op.gather_rows.out, count);
    for (uint32_t i = 0; i < count; i++)
        rig_expect_bytes(r, "gather_rows", found + (size_t)i * cols, x + (size_t)wanted_rows[i] * cols, cols * sizeof *x);
    free(x);
    free(found);
}

static void gather_cases(rig *r)
{
    const int32_t some[] = {0, 4, 2, 2, 8}, last[] = {40}, all[] = {0, 1, 2, 3, 4, 5, 6};
    gather_case(r, 9, 100, some, 5);
    gather_case(r, 41, 33, last, 1);
    gather_case(r, 7, 1, all, 7);
    gather_case(r, 7, 2049, all, 7);
    rig_expect_ran(r, "gather_rows", NULL);
}

/* ---- gather_cols ----------------------------------------------------------------------------------------------------- */

static void gather_cols_case(rig *r, uint32_t rows, uint32_t from, uint32_t cols)
{
    rig_reset(r);
    step_of_rows(r, rows);
    float *x = random_floats(cols, (size_t)rows * from, 1), *wanted = malloc(cols * sizeof *wanted);
    for (size_t i = 0; i < (size_t)rows * from; i += 13) x[i] = NAN; /* bits are carried, whatever they are */
    uint32_t *order = malloc(cols * sizeof *order);
    for (uint32_t i = 0; i < cols; i++) order[i] = (uint32_t)((i * 2654435761u + 12345u) % from);
    float *cells = malloc(cols * sizeof *cells);
    memcpy(cells, order, cols * sizeof *cells);
    pv_op op = {.kind = PV_OP_gather_cols};
    op.gather_cols.x = rig_input(r, PV_EXTENT_ROWS, from, x);
    op.gather_cols.order = rig_vector(r, cells, cols);
    op.gather_cols.out = rig_activation(r, PV_EXTENT_ROWS, cols);
    rig_may_write_rows(r, &op.gather_cols.out);
    rig_run(r, &op, 1);
    float *found = rig_rows(r, &op.gather_cols.out, rows);
    for (uint32_t row = 0; row < rows; row++) {
        for (uint32_t i = 0; i < cols; i++) wanted[i] = x[(size_t)row * from + order[i]];
        rig_expect_bytes(r, "gather_cols", found + (size_t)row * cols, wanted, cols * sizeof *wanted);
    }
    free(x);
    free(wanted);
    free(order);
    free(cells);
    free(found);
}

static void gather_cols_cases(rig *r)
{
    gather_cols_case(r, 9, 100, 100);
    gather_cols_case(r, 1, 33, 33);
    gather_cols_case(r, 7, 1, 1);
    gather_cols_case(r, 7, 2049, 2049);
    gather_cols_case(r, 3, 64, 40); /* some of them only */
    rig_expect_ran(r, "gather_cols", NULL);
}

/* ---- The suite can fail ---------------------------------------------------------------------------------------------- */

static void few_of_each(rig *r)
{
    begin_case(r, 2, true);
    embed_case(r, PV_LAYOUT_Q4_K, 33, 512, 1, false, false);
    embed_case(r, PV_LAYOUT_F16, 33, 31, 1, false, true);
    rope_angles_case(r, 64, 10000, 1);
    rms_norm_case(r, 7, 100, 1, 1e-5f, false);
    glu_case(r, PV_ACTIVATION_SILU, 5, 100, false);
    layer_norm_case(r, 7, 100, 0, true, false);
    activation_case(r, 3, 100, PV_ACTIVATION_GELU, 1, 30, true, false);
    const int32_t rows[] = {0, 4, 2};
    gather_case(r, 9, 100, rows, 3);
    gather_cols_case(r, 5, 100, 100);
}

#define FOR_ALL(cases)                                                                                                         \
    static void test_##cases(void **state)                                                                                     \
    {                                                                                                                          \
        (void)state;                                                                                                           \
        rig_for_all(cases);                                                                                                    \
    }
FOR_ALL(begin_cases)
FOR_ALL(embed_cases)
FOR_ALL(rope_angles_cases)
FOR_ALL(rms_norm_cases)
FOR_ALL(layer_norm_cases)
FOR_ALL(activation_cases)
FOR_ALL(glu_cases)
FOR_ALL(gather_cases)
FOR_ALL(gather_cols_cases)

static void a_tampered_result_is_noticed(void **state)
{
    (void)state;
    rig_expect_noticed(few_of_each);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_begin_cases),
        cmocka_unit_test(test_embed_cases),
        cmocka_unit_test(test_rope_angles_cases),
        cmocka_unit_test(test_rms_norm_cases),
        cmocka_unit_test(test_layer_norm_cases),
        cmocka_unit_test(test_activation_cases),
        cmocka_unit_test(test_glu_cases),
        cmocka_unit_test(test_gather_cases),
        cmocka_unit_test(test_gather_cols_cases),
        cmocka_unit_test(a_tampered_result_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
