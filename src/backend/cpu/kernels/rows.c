/* Ops that work row by row: norms, glu, activation, gather_rows, gather_cols, embed, rope, kv_store, and begin. */
#include "activations.h"
#include "backend/cpu/pack.h"
#include "functions.h"
#include "kernel.h"
#include "kv_cells.h"

static uint32_t lanes_left(uint32_t cols, uint32_t at) { return cols - at < PV_LANES ? cols - at : PV_LANES; }

/* out = x normed + residual; out may be either. */
static void rms_norm_onto(const float *x, const float *weight, const float *residual, float *out, uint32_t cols, float epsilon)
{
    const vf factor = vf_set(1.0f / sqrtf(pv_sum_of_squares(x, cols) / (float)cols + epsilon));
    for (uint32_t i = 0; i < cols; i += PV_LANES) {
        const uint32_t count = lanes_left(cols, i);
        const vf normed = vf_mul(vf_mul(vf_load_part(x + i, count), factor), vf_load_part(weight + i, count));
        vf_store_part(out + i, vf_add(normed, vf_load_part(residual + i, count)), count);
    }
}

static void rms_norm_run(const pv_cpu_context *context, const pv_op *op)
{
    const pv_op_rms_norm *norm = &op->rms_norm;
    const uint32_t cols = norm->weight.cols;
    const float *weight = pv_tensor_host(&norm->weight);
    const bool onto = pv_tensor_present(&norm->residual);
    const pv_cpu_range share = pv_cpu_share(context, pv_cpu_rows(context, &norm->x));
    for (uint32_t r = share.first; r < share.end; r++) {
        const float *x = pv_cpu_row(&norm->x, r), *residual = onto ? pv_cpu_row(&norm->residual, r) : NULL;
        float *out = pv_cpu_row(&norm->out, r);
        for (uint32_t at = 0; at < norm->x.cols; at += cols) {
            if (onto)
                rms_norm_onto(x + at, weight, residual + at, out + at, cols, norm->epsilon);
            else
                pv_rms_norm_row(x + at, weight, out + at, cols, norm->epsilon);
        }
    }
}

/* Σ of x less `base`, or of its square, in one fixed order. */
static float sum_of(const float *x, uint32_t cols, float base, bool squares)
{
    vf sum[2] = {vf_zero(), vf_zero()};
    for (uint32_t i = 0, c = 0; i < cols; i += PV_LANES, c ^= 1) {
        const uint32_t count = lanes_left(cols, i);
        const vf d = vf_keep(vf_sub(vf_load_part(x + i, count), vf_set(base)), count, 0.0f);
        sum[c] = squares ? vf_fma(d, d, sum[c]) : vf_add(d, sum[c]);
    }
    return vf_tree(vf_add(sum[0], sum[1]));
}

static void layer_norm_run(const pv_cpu_context *context, const pv_op *op)
{
    const pv_op_layer_norm *norm = &op->layer_norm;
    const uint32_t cols = norm->x.cols;
    const float *weight = pv_tensor_host(&norm->weight), *bias = pv_tensor_host(&norm->bias);
    const pv_cpu_range share = pv_cpu_share(context, pv_cpu_rows(context, &norm->x));
    for (uint32_t r = share.first; r < share.end; r++) {
        const float *x = pv_cpu_row(&norm->x, r), mean = sum_of(x, cols, 0, false) / (float)cols;
        const vf factor = vf_set(1.0f / sqrtf(sum_of(x, cols, mean, true) / (float)cols + norm->epsilon));
        float *out = pv_cpu_row(&norm->out, r);
        for (uint32_t i = 0; i < cols; i += PV_LANES) {
            const uint32_t count = lanes_left(cols, i);
            const vf normed = vf_mul(vf_sub(vf_load_part(x + i, count), vf_set(mean)), factor);
            const vf shift = bias != NULL ? vf_load_part(bias + i, count) : vf_zero();
            vf_store_part(out + i, vf_add(vf_mul(normed, vf_load_part(weight + i, count)), shift), count);
        }
    }
}

static void activation_run(const pv_cpu_context *context, const pv_op *op)
{
    const pv_op_activation *activation = &op->activation;
    const uint32_t cols = activation->x.cols;
    const vf scale = vf_set(activation->scale), cap = vf_set(activation->soft_cap);
    const bool onto = pv_tensor_present(&activation->residual);
    const pv_cpu_range share = pv_cpu_share(context, pv_cpu_rows(context, &activation->x));
    for (uint32_t r = share.first; r < share.end; r++) {
        const float *x = pv_cpu_row(&activation->x, r), *residual = onto ? pv_cpu_row(&activation->residual, r) : NULL;
        float *out = pv_cpu_row(&activation->out, r);
        for (uint32_t i = 0; i < cols; i += PV_LANES) {
            const uint32_t count = lanes_left(cols, i);
            vf y = vf_activate(activation->activation, vf_mul(vf_load_part(x + i, count), scale));
            if (activation->soft_cap > 0) y = vf_mul(cap, vf_tanh(vf_div(y, cap)));
            if (onto) y = vf_add(y, vf_load_part(residual + i, count));
            vf_store_part(out + i, y, count);
        }
    }
}

static void glu_run(const pv_cpu_context *context, const pv_op *op)
{
    const pv_op_glu *glu = &op->glu;
    const uint32_t cols = glu->gate.cols;
    const pv_cpu_range share = pv_cpu_share(context, pv_cpu_rows(context, &glu->gate));
    for (uint32_t r = share.first; r < share.end; r++) {
        const float *gate = pv_cpu_row(&glu->gate, r), *up = pv_cpu_row(&glu->up, r);
        float *out = pv_cpu_row(&glu->out, r);
        for (uint32_t i = 0; i < cols; i += PV_LANES) {
            const uint32_t count = cols - i < PV_LANES ? cols - i : PV_LANES;
            const vf g = vf_load_part(gate + i, count);
            vf_store_part(out + i, vf_glu(glu->activation, g, vf_load_part(up + i, count)), count);
        }
    }
}

static void gather_rows_run(const pv_cpu_context *context, const pv_op *op)
{
    const pv_op_gather_rows *gather = &op->gather_rows;
    const pv_cpu_range share = pv_cpu_share(context, pv_cpu_rows(context, &gather->out));
    for (uint32_t i = share.first; i < share.end; i++) {
        memcpy(pv_cpu_row(&gather->out, i), pv_cpu_row(&gather->x, (uint32_t)context->step.logits[i].row), gather->out.cols * sizeof(float));
    }
}

static void gather_cols_run(const pv_cpu_context *context, const pv_op *op)
{
    const pv_op_gather_cols *gather = &op->gather_cols;
    const uint32_t *order = (const uint32_t *)pv_tensor_host(&gather->order), cols = gather->out.cols;
    const pv_cpu_range share = pv_cpu_share(context, pv_cpu_rows(context, &gather->out));
    for (uint32_t r = share.first; r < share.end; r++) {
        const float *x = pv_cpu_row(&gather->x, r);
        float *out = pv_cpu_row(&gather->out, r);
        for (uint32_t i = 0; i < cols; i++) out[i] = x[order[i]];
    }
}

static int32_t *cells(const pv_tensor *table, int32_t slot) { return (int32_t *)pv_tensor_host(table) + (size_t)slot * table->cols; }

/* The row of a position is decoded behind the place of its bytes. */
static void add_position(const pv_cpu_context *context, const pv_op_embed *embed, uint32_t position, float *out)
{
    float *decoded = (float *)(context->own + pv_cpu_round((uint64_t)embed->out.cols * sizeof(float)));
    pv_cpu_unpack_row(&embed->positions, position, context->own);
    pv_layout_decode(embed->positions.layout, context->own, embed->positions.cols, decoded);
    for (uint32_t i = 0; i < embed->out.cols; i++) out[i] += decoded[i];
}

static void embed_run(const pv_cpu_context *context, const pv_op *op)
{
    const pv_op_embed *embed = &op->embed;
    const pv_cpu_range share = pv_cpu_share(context, pv_cpu_rows(context, &embed->out));
    for (uint32_t r = share.first; r < share.end; r++) {
        const pv_step_row *row = &context->step.rows[r];
        const int32_t token = row->token == PV_TOKEN_FROM_LOG ? cells(&embed->token_log, row->slot)[row->position] : row->token;
        float *out = pv_cpu_row(&embed->out, r);
        const bool learned = pv_tensor_present(&embed->positions);
        if (token < 0 || (uint32_t)token >= embed->table.rows || (learned && (uint32_t)row->position >= embed->positions.rows)) {
            for (uint32_t i = 0; i < embed->out.cols; i++) out[i] = NAN;
            continue;
        }
        pv_cpu_unpack_row(&embed->table, (uint32_t)token, context->own);
        pv_layout_decode(embed->table.layout, context->own, embed->table.cols, out);
        if (embed->scale != 1.0f) {
            for (uint32_t i = 0; i < embed->out.cols; i++) out[i] *= embed->scale;
        }
        if (learned) add_position(context, embed, (uint32_t)row->position, out);
    }
}

static pv_cpu_need embed_need(const pv_op *op, const pv_step_limits *limits, uint32_t workers)
{
    (void)limits;
    (void)workers;
    return (pv_cpu_need){.own = 2 * pv_cpu_round((uint64_t)op->embed.table.cols * sizeof(float))}; /* no layout is wider than f32 */
}

static void store_halves(uint16_t *to, const float *from, uint32_t count)
{
    uint32_t i = 0;
    for (; i + PV_LANES <= count; i += PV_LANES) vf_to_f16(to + i, vf_load(from + i));
    if (i < count) {
        uint16_t rest[PV_LANES];
        vf_to_f16(rest, vf_load_part(from + i, count - i));
        memcpy(to + i, rest, (count - i) * sizeof *to);
    }
}

/* Writes one head of a token; `cell` is its number among the page's keys or values. */
static void store_head(const pv_kv_view *store, pv_kv_cells cells, size_t cell, const float *x)
{
    uint8_t *to = cells.rows + cell * cells.row_bytes;
    uint16_t *scales = cells.scales + cell * cells.groups;
    if (store->type == PV_KV_8BIT) {
        pv_kv_store_8bit(x, cells.dim, to, scales);
    } else if (store->type == PV_KV_4BIT) {
        pv_kv_store_4bit(x, cells.dim, to, scales);
    } else {
        store_halves((uint16_t *)to, x, cells.dim);
    }
}

/* Writes one row's k and v into its place in the cache. */
static void store_row(const pv_kv_view *store, const pv_step_row *row, const float *k, const float *v)
{
    const int32_t number = cells(&store->table, row->slot)[row->position / PV_PAGE_TOKENS];
    uint8_t *page = (uint8_t *)pv_tensor_host(&store->pages) + (uint64_t)number * store->page_bytes;
    const pv_kv_cells keys = pv_kv_find(store, page, false), values = pv_kv_find(store, page, true);
    for (uint32_t h = 0; h < store->kv_heads; h++) {
        const size_t cell = (size_t)h * PV_PAGE_TOKENS + (uint32_t)row->position % PV_PAGE_TOKENS;
        store_head(store, keys, cell, k + (size_t)h * keys.dim);
        store_head(store, values, cell, v + (size_t)h * values.dim);
    }
}

static void kv_store_run(const pv_cpu_context *context, const pv_op *op)
{
    const pv_op_kv_store *store = &op->kv_store;
    const pv_cpu_range share = pv_cpu_share(context, pv_cpu_rows(context, &store->k));
    for (uint32_t r = share.first; r < share.end; r++) {
        store_row(&store->store, &context->step.rows[r], pv_cpu_row(&store->k, r), pv_cpu_row(&store->v, r));
    }
}

/* u of a row that is in the step, as the cache holds it. */
static vf conv_input(const pv_op_conv1d *conv, uint32_t row, uint32_t at, uint32_t count)
{
    uint16_t halves[PV_LANES];
    vf_to_f16(halves, vf_mul(vf_load_part(pv_cpu_row(&conv->before, row) + at, count), vf_load_part(pv_cpu_row(&conv->x, row) + at, count)));
    return vf_from_f16(halves);
}

static uint16_t *conv_cell(const pv_op_conv1d *conv, int32_t slot, int32_t position)
{
    const pv_kv_view *store = &conv->store;
    const int32_t page = cells(&store->table, slot)[position / PV_PAGE_TOKENS];
    return (uint16_t *)((uint8_t *)pv_tensor_host(&store->pages) + (uint64_t)page * store->page_bytes) +
           (size_t)(position % PV_PAGE_TOKENS) * conv->x.cols;
}

static void conv_row(const pv_cpu_context *context, const pv_op_conv1d *conv, uint32_t r)
{
    const pv_step_row *row = &context->step.rows[r];
    const int32_t back = (int32_t)r - context->step.seqs[row->seq].first_row; /* rows of the sequence before it in this step */
    const uint32_t cols = conv->x.cols;
    const float *weight = pv_tensor_host(&conv->weight);
    float *out = pv_cpu_row(&conv->out, r);
    for (uint32_t i = 0; i < cols; i += PV_LANES) {
        const uint32_t count = lanes_left(cols, i);
        vf sum = vf_zero();
        for (uint32_t j = 0; j < conv->taps; j++) {
            const int32_t ago = (int32_t)(conv->taps - 1 - j);
            if (row->position < ago) continue;
            float taps[PV_LANES] = {0};
            uint16_t halves[PV_LANES] = {0};
            for (uint32_t c = 0; c < count; c++) taps[c] = weight[(size_t)(i + c) * conv->taps + j];
            if (ago > back) memcpy(halves, conv_cell(conv, row->slot, row->position - ago) + i, count * sizeof *halves);
            const vf u = ago <= back ? conv_input(conv, r - (uint32_t)ago, i, count) : vf_from_f16(halves);
            sum = vf_fma(vf_load(taps), u, sum);
        }
        vf_store_part(out + i, vf_mul(vf_load_part(pv_cpu_row(&conv->after, r) + i, count), sum), count);
    }
    for (uint32_t i = 0; i < cols; i += PV_LANES) {
        float u[PV_LANES];
        vf_store(u, conv_input(conv, r, i, lanes_left(cols, i)));
        store_halves(conv_cell(conv, row->slot, row->position) + i, u, lanes_left(cols, i));
    }
}

static void conv1d_run(const pv_cpu_context *context, const pv_op *op)
{
    const pv_op_conv1d *conv = &op->conv1d;
    const pv_cpu_range share = pv_cpu_share(context, pv_cpu_rows(context, &conv->x));
    for (uint32_t r = share.first; r < share.end; r++) conv_row(context, conv, r);
}

/* sin and cos of non-negative angles below 2^20 or so, in double, right after rounding to f32 to well under an ulp of 1e-7: the angle
 * less a multiple of π/2 in two exact parts, then the series. `out`: cos, sin in turn. Written for the compiler to vectorise; every
 * operation rounds once, so all instruction sets agree. */
static void sines(const float *frequency, float position, float magnitude, uint32_t count, float *out)
{
    const double to_even = 6755399441055744.0; /* 1.5 × 2^52: adding and taking away rounds to an integer */
    for (uint32_t i = 0; i < count; i++) {
        const float angle = position * frequency[i];
        const double x = (double)angle;
        const double n = (x * 0.63661977236758134308 + to_even) - to_even;
        /* π/2 = 0x1.921FB544p0 (33 bits, so n × it is exact) + the rest */
        const double r = (x - n * 0x1.921FB544p0) - n * 0x1.0B4611A626331p-34;
        const double z = r * r;
        const double sine = r + r * z * (-1.0 / 6 + z * (1.0 / 120 + z * (-1.0 / 5040 + z * (1.0 / 362880 + z * (-1.0 / 39916800)))));
        const double cosine = 1 + z * (-0.5 + z * (1.0 / 24 + z * (-1.0 / 720 + z * (1.0 / 40320 + z * (-1.0 / 3628800 + z * (1.0 / 479001600))))));
        /* n mod 4 without an integer conversion: quarter turns */
        const double quarter = n - 4.0 * ((n * 0.25 - 0.375 + to_even) - to_even);
        const double c = quarter == 0.0 ? cosine : quarter == 1.0 ? -sine : quarter == 2.0 ? -cosine : sine;
        const double s = quarter == 0.0 ? sine : quarter == 1.0 ? cosine : quarter == 2.0 ? -sine : -cosine;
        out[2 * i] = (float)c * magnitude;
        out[2 * i + 1] = (float)s * magnitude;
    }
}

static void rope_angles_run(const pv_cpu_context *context, const pv_op *op)
{
    const pv_op_rope_angles *angles = &op->rope_angles;
    const pv_cpu_range share = pv_cpu_share(context, pv_cpu_rows(context, &angles->out));
    for (uint32_t r = share.first; r < share.end; r++) {
        sines(pv_tensor_host(&angles->inverse_frequency), (float)context->step.rows[r].position, angles->magnitude, angles->out.cols / 2,
              pv_cpu_row(&angles->out, r));
    }
}

static void turn_halves(float *restrict x, const float *restrict angles, uint32_t half)
{
    for (uint32_t i = 0; i < half; i++) {
        const float c = angles[2 * i], s = angles[2 * i + 1], a = x[i], b = x[i + half];
        x[i] = a * c - b * s;
        x[i + half] = b * c + a * s;
    }
}

static void turn_neighbours(float *restrict x, const float *restrict angles, uint32_t half)
{
    for (uint32_t i = 0; i < half; i++) {
        const float c = angles[2 * i], s = angles[2 * i + 1], a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = a * c - b * s;
        x[2 * i + 1] = b * c + a * s;
    }
}

static void rope_run(const pv_cpu_context *context, const pv_op *op)
{
    const pv_op_rope *rope = &op->rope;
    void (*const turn)(float *restrict, const float *restrict, uint32_t) =
        rope->pairing == PV_ROPE_HALVES ? turn_halves : turn_neighbours;
    const bool store = pv_tensor_present(&rope->store.pages);
    const pv_cpu_range share = pv_cpu_share(context, pv_cpu_rows(context, &rope->q));
    for (uint32_t r = share.first; r < share.end; r++) {
        const float *angles = pv_cpu_row(&rope->angles, r);
        float *q = pv_cpu_row(&rope->q, r), *k = pv_cpu_row(&rope->k, r);
        for (uint32_t at = 0; at < rope->q.cols; at += rope->head_dim) turn(q + at, angles, rope->dim / 2);
        for (uint32_t at = 0; at < rope->k.cols; at += rope->head_dim) turn(k + at, angles, rope->dim / 2);
        if (store) store_row(&rope->store, &context->step.rows[r], k, pv_cpu_row(&rope->v, r));
    }
}

static void begin_run(const pv_cpu_context *context, const pv_op *op)
{
    if (context->worker != 0) return;
    const pv_op_begin *begin = &op->begin;
    const pv_step_counts *counts = context->step.counts;
    for (uint32_t i = 0; i < counts->patches; i++) {
        const pv_step_patch *patch = &context->step.patches[i];
        if (patch->group < PV_PATCH_TOKEN_LOG || patch->group >= PV_MAX_GROUPS) continue;
        const pv_tensor *table = patch->group == PV_PATCH_TOKEN_LOG ? &begin->token_log : &begin->tables[patch->group];
        if (pv_tensor_present(table)) cells(table, patch->slot)[patch->index] = patch->page;
    }
    for (uint32_t r = 0; r < counts->rows; r++) {
        const pv_step_row *row = &context->step.rows[r];
        if (row->token >= 0) cells(&begin->token_log, row->slot)[row->position] = row->token;
    }
}

const pv_cpu_kernel PV_K(pv_cpu_begin) = {begin_run, NULL};
const pv_cpu_kernel PV_K(pv_cpu_embed) = {embed_run, embed_need};
const pv_cpu_kernel PV_K(pv_cpu_rms_norm) = {rms_norm_run, NULL};
const pv_cpu_kernel PV_K(pv_cpu_layer_norm) = {layer_norm_run, NULL};
const pv_cpu_kernel PV_K(pv_cpu_activation) = {activation_run, NULL};
const pv_cpu_kernel PV_K(pv_cpu_glu) = {glu_run, NULL};
const pv_cpu_kernel PV_K(pv_cpu_gather_rows) = {gather_rows_run, NULL};
const pv_cpu_kernel PV_K(pv_cpu_gather_cols) = {gather_cols_run, NULL};
const pv_cpu_kernel PV_K(pv_cpu_conv1d) = {conv1d_run, NULL};
const pv_cpu_kernel PV_K(pv_cpu_kv_store) = {kv_store_run, NULL};
const pv_cpu_kernel PV_K(pv_cpu_rope_angles) = {rope_angles_run, NULL};
const pv_cpu_kernel PV_K(pv_cpu_rope) = {rope_run, NULL};
