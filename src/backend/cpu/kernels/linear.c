/* linear: the loop nest around the micro-kernels, written once for all layouts. */
#include "blocks.h"
#include "functions.h"
#include "kernel.h"

/* A micro-kernel and its size. */
typedef struct pv_shape {
    pv_block *block;
    uint32_t rows, tiles;
} pv_shape;

typedef struct pv_matrix_kernels {
    bool quantized;
    pv_shape few[3]; /* rows ascending */
    pv_shape many;
    void (*panel)(const uint8_t *tile, size_t groups, unsigned variant, uint8_t *panel); /* what `many` works on; NULL: the tiles themselves */
    size_t panel_stride;
    unsigned variant;
} pv_matrix_kernels;

#define PV_QUANT_BLOCKS(name)                                                                                                  \
    static void few1_##name(const uint8_t *const tiles[], size_t count, unsigned variant, const void *const rows[], float *out)\
    {                                                                                                                          \
        pv_quant_few(unpack_##name, form_##name, 1, tiles[0], count, variant, rows, out);                                      \
    }                                                                                                                          \
    static void few2_##name(const uint8_t *const tiles[], size_t count, unsigned variant, const void *const rows[], float *out)\
    {                                                                                                                          \
        pv_quant_few(unpack_##name, form_##name, 2, tiles[0], count, variant, rows, out);                                      \
    }                                                                                                                          \
    static void few4_##name(const uint8_t *const tiles[], size_t count, unsigned variant, const void *const rows[], float *out)\
    {                                                                                                                          \
        pv_quant_few(unpack_##name, form_##name, 4, tiles[0], count, variant, rows, out);                                      \
    }                                                                                                                          \
    static void many_##name(const uint8_t *const tiles[], size_t count, unsigned variant, const void *const rows[], float *out)\
    {                                                                                                                          \
        (void)variant;                                                                                                         \
        pv_quant_many(form_##name, PV_QUANT_ROWS, PV_QUANT_TILES, tiles, count, rows, out);                                    \
    }                                                                                                                          \
    static void panel_##name(const uint8_t *tile, size_t groups, unsigned variant, uint8_t *panel)                             \
    {                                                                                                                          \
        pv_make_panel(unpack_##name, form_##name, tile, groups, variant, panel);                                               \
    }
#define PV_QUANT_ROW(layout, name, stride, variant_)                                                                           \
    [PV_LAYOUT_##layout] = {                                                                                                   \
        .quantized = true, .few = {{few1_##name, 1, 1}, {few2_##name, 2, 1}, {few4_##name, 4, 1}},                             \
        .many = {many_##name, PV_QUANT_ROWS, PV_QUANT_TILES}, .panel = panel_##name, .panel_stride = stride, .variant = variant_,\
    },

PV_QUANT_BLOCKS(q4_0)
PV_QUANT_BLOCKS(q4_1)
PV_QUANT_BLOCKS(q5_0)
PV_QUANT_BLOCKS(q5_1)
PV_QUANT_BLOCKS(q8_0)
PV_QUANT_BLOCKS(q2_k)
PV_QUANT_BLOCKS(q3_k)
PV_QUANT_BLOCKS(q4_k)
PV_QUANT_BLOCKS(q5_k)
PV_QUANT_BLOCKS(q6_k)
PV_QUANT_BLOCKS(iq4_nl)
PV_QUANT_BLOCKS(iq4_xs)
PV_QUANT_BLOCKS(mxfp4)
PV_QUANT_BLOCKS(nvfp4)
PV_QUANT_BLOCKS(affine2)
PV_QUANT_BLOCKS(affine3)
PV_QUANT_BLOCKS(affine4)
PV_QUANT_BLOCKS(affine5)
PV_QUANT_BLOCKS(affine6)
PV_QUANT_BLOCKS(affine8)

#define PV_DENSE_BLOCK(name, dense, rows_, tiles_, far)                                                                            \
    static void name(const uint8_t *const tiles[], size_t count, unsigned variant, const void *const rows[], float *out)       \
    {                                                                                                                          \
        (void)variant;                                                                                                         \
        pv_dense_block(dense, rows_, tiles_, far, tiles, count, rows, out);                                                    \
    }
#define PV_DENSE_BLOCKS(name, dense)                                                                                           \
    PV_DENSE_BLOCK(few1_##name, dense, 1, 4, true)                                                                             \
    PV_DENSE_BLOCK(few2_##name, dense, 2, PV_DENSE_TILES, true)                                                                \
    PV_DENSE_BLOCK(few4_##name, dense, 4, PV_DENSE_TILES, true)                                                                \
    PV_DENSE_BLOCK(many_##name, dense, PV_DENSE_ROWS, PV_DENSE_TILES, false)
#define PV_DENSE_KERNELS(name)                                                                                                 \
    {                                                                                                                          \
        .few = {{few1_##name, 1, 4}, {few2_##name, 2, PV_DENSE_TILES}, {few4_##name, 4, PV_DENSE_TILES}},                      \
        .many = {many_##name, PV_DENSE_ROWS, PV_DENSE_TILES}                                                                   \
    }

PV_DENSE_BLOCKS(f32, PV_DENSE_F32)
PV_DENSE_BLOCKS(f16, PV_DENSE_F16)
PV_DENSE_BLOCKS(bf16, PV_DENSE_BF16)

#define PV_F8_BLOCK(name, rows_, tiles_)                                                                                       \
    static void name(const uint8_t *const tiles[], size_t count, unsigned variant, const void *const rows[], float *out)       \
    {                                                                                                                          \
        (void)variant;                                                                                                         \
        pv_f8_block(rows_, tiles_, tiles, count, rows, out);                                                                   \
    }
PV_F8_BLOCK(few1_f8, 1, 4)
PV_F8_BLOCK(few2_f8, 2, PV_DENSE_TILES)
PV_F8_BLOCK(few4_f8, 4, PV_DENSE_TILES)
static void panel_f8(const uint8_t *tile, size_t groups, unsigned variant, uint8_t *panel)
{
    (void)variant;
    pv_f8_panel(tile, groups, panel);
}

static const pv_matrix_kernels matrix_kernels[PV_LAYOUT_COUNT] = {
    [PV_LAYOUT_F32] = PV_DENSE_KERNELS(f32),
    [PV_LAYOUT_F16] = PV_DENSE_KERNELS(f16),
    [PV_LAYOUT_BF16] = PV_DENSE_KERNELS(bf16),
    [PV_LAYOUT_F8] = {.few = {{few1_f8, 1, 4}, {few2_f8, 2, PV_DENSE_TILES}, {few4_f8, 4, PV_DENSE_TILES}},
                      .many = {many_f32, PV_DENSE_ROWS, PV_DENSE_TILES}, .panel = panel_f8, .panel_stride = 32 * 64},
    PV_CPU_QUANT_LIST(PV_QUANT_ROW)
};

/* Bytes of a panel's group in the largest layout of the op. */
static size_t largest_stride(const pv_op_linear *op)
{
    size_t largest = 0;
    for (uint32_t p = 0; p < op->part_count; p++) {
        const size_t stride = matrix_kernels[op->parts[p].weight.layout].panel_stride;
        if (stride > largest) largest = stride;
    }
    return largest;
}

/* Up to so many activations every worker prepares all rows for itself, which is quicker than meeting the others. */
#define PV_ALONE 16384

/* One op on its way. */
typedef struct pv_work {
    const pv_cpu_context *context;
    const pv_op_linear *op;
    uint32_t rows, cols, groups;
    bool any_dense, any_quantized;
    float *dense;            /* x', rows dense_stride bytes apart */
    size_t dense_stride;
    pv_cpu_group *quantized; /* x' in groups, [rows][groups] */
    uint8_t *panels;
    const int32_t *map;      /* moe_linear: the assignments that are the rows; NULL: they stand `step` apart from `first` on */
    uint32_t first, step;    /* 0 and 1: rows are what they are */
    uint32_t shared_by;      /* assignments of one row of x' */
    size_t panel_stride; /* bytes of a group, at most */
} pv_work;

static uint32_t assignment_of(const pv_work *work, uint32_t row)
{
    return work->map != NULL ? (uint32_t)work->map[row] : work->first + row * work->step;
}

static uint32_t tiles_of(const pv_linear_part *part) { return (part->weight.rows + PV_TILE - 1) / PV_TILE; }

static size_t tile_bytes(const pv_linear_part *part)
{
    const pv_layout_info *info = pv_layout_get(part->weight.layout);
    if (part->weight.layout == PV_LAYOUT_BF16) return (size_t)(part->weight.cols + 1) / 2 * 64;
    return (size_t)part->weight.cols / info->block * info->block_bytes * PV_TILE;
}

/* Norms and quantizes rows [range.first, range.end). `row`: place for one. */
static void prepare_rows(const pv_work *work, pv_cpu_range range, float *row)
{
    const pv_op_linear *op = work->op;
    const bool norm = pv_tensor_present(&op->norm);
    for (uint32_t r = range.first; r < range.end; r++) {
        const float *x = pv_cpu_row(&op->x, r);
        if (norm) {
            float *out = work->any_dense ? (float *)((uint8_t *)work->dense + r * work->dense_stride) : row;
            pv_rms_norm_row(x, pv_tensor_host(&op->norm), out, work->cols, op->epsilon);
            x = out;
        }
        if (work->any_quantized) pv_quantize_row(x, work->cols, work->quantized + (size_t)r * work->groups);
    }
}

static bool alone(uint32_t rows, uint32_t cols) { return rows == 1 || (uint64_t)rows * cols <= PV_ALONE; }

/* Makes x' ready for all rows, in own or in shared scratch. */
static void prepare_activations(pv_work *work, const pv_op *op)
{
    const pv_cpu_context *context = work->context;
    const bool norm = pv_tensor_present(&work->op->norm), by_self = alone(work->rows, work->cols);
    uint8_t *own = context->own;
    work->panels = pv_cpu_take(&own, (size_t)work->groups * work->panel_stride * 2 * PV_BLOCK_TILES);
    float *row = pv_cpu_take(&own, (size_t)work->cols * sizeof(float));
    uint8_t **from = by_self ? &own : &(uint8_t *){context->shared};
    work->dense = pv_tensor_host(&work->op->x);
    work->dense_stride = work->op->x.row_bytes;
    if (work->any_quantized) work->quantized = pv_cpu_take(from, (size_t)work->rows * work->groups * sizeof(pv_cpu_group));
    if (work->any_dense && norm) {
        work->dense_stride = (size_t)work->cols * sizeof(float);
        work->dense = pv_cpu_take(from, work->rows * work->dense_stride);
    }
    if (!work->any_quantized && !norm) return;
    if (by_self) {
        prepare_rows(work, (pv_cpu_range){0, work->rows}, row);
    } else {
        pv_cpu_claim_shared(context, op);
        prepare_rows(work, pv_cpu_share(context, work->rows), row);
        pv_cpu_barrier(context->team);
    }
}

/* Stores sums of one tile and row with what is fused behind them. `up`: the sums of the second factor of a glu, or NULL. */
PV_INLINE void store_tile(const pv_work *work, const pv_linear_part *part, uint32_t tile, uint32_t row, const float *sums, const float *up)
{
    const uint32_t first = tile * PV_TILE, count = part->weight.rows - first < PV_TILE ? part->weight.rows - first : PV_TILE;
    const pv_op_linear *op = work->op;
    vf v = vf_load(sums);
    if (pv_tensor_present(&part->bias)) v = vf_add(v, vf_load_part((float *)pv_tensor_host(&part->bias) + first, count));
    if (up != NULL) {
        vf u = vf_load(up);
        if (pv_tensor_present(&op->parts[1].bias)) {
            u = vf_add(u, vf_load_part((float *)pv_tensor_host(&op->parts[1].bias) + first, count));
        }
        v = vf_glu(op->glu, v, u);
    }
    if (pv_tensor_present(&op->residual)) v = vf_add(v, vf_load_part(pv_cpu_row(&op->residual, row) + first, count));
    vf_store_part(pv_cpu_row(&part->out, assignment_of(work, row)) + first, v, count);
}

/* Tiles of one part as a micro-kernel wants them: beyond `count` the last one again, whose sums nobody takes. */
static void point_tiles(const pv_work *work, const pv_linear_part *part, uint32_t first, uint32_t count, const pv_shape *shape, bool many,
                        uint8_t *panels, const uint8_t *tiles[PV_BLOCK_TILES])
{
    const pv_matrix_kernels *kernels = &matrix_kernels[part->weight.layout];
    const size_t bytes = tile_bytes(part);
    const uint8_t *weight = pv_tensor_host(&part->weight);
    for (uint32_t t = 0; t < shape->tiles; t++) {
        if (t >= count) {
            tiles[t] = tiles[count - 1];
        } else if (many && kernels->panel != NULL) {
            kernels->panel(weight + (first + t) * bytes, work->groups, kernels->variant, panels);
            tiles[t] = panels;
            panels += work->groups * kernels->panel_stride;
        } else {
            tiles[t] = weight + (first + t) * bytes;
        }
    }
}

static void point_rows(const pv_work *work, bool quantized, uint32_t first, uint32_t end, uint32_t count, const void *rows[PV_BLOCK_ROWS])
{
    for (uint32_t r = 0; r < count; r++) {
        uint32_t row = first + r < end ? first + r : end - 1;
        row = assignment_of(work, row);
        if (work->shared_by > 1) row /= work->shared_by;
        rows[r] = quantized ? (const void *)(work->quantized + (size_t)row * work->groups)
                            : (const void *)((const uint8_t *)work->dense + row * work->dense_stride);
    }
}

static const pv_shape *shape_for(const pv_matrix_kernels *kernels, uint32_t rows)
{
    if (rows > PV_FEW_ROWS) return &kernels->many;
    for (int i = 0; i < 2; i++) {
        if (rows <= kernels->few[i].rows) return &kernels->few[i];
    }
    return &kernels->few[2];
}

/* Runs rows [rows.first, rows.end) of tiles [first, first + count) of a part; with a glu, of both parts. */
static void run_tiles(const pv_work *work, const pv_linear_part *part, uint32_t first, uint32_t count, pv_cpu_range range)
{
    const pv_op_linear *op = work->op;
    const bool many = work->rows > PV_FEW_ROWS;
    const uint32_t factors = op->glu != PV_ACTIVATION_NONE ? 2 : 1;
    const pv_shape *shape[2];
    const uint8_t *tiles[2][PV_BLOCK_TILES];
    bool quantized[2];
    unsigned variant[2];
    for (uint32_t f = 0; f < factors; f++) {
        const pv_matrix_kernels *kernels = &matrix_kernels[part[f].weight.layout];
        quantized[f] = kernels->quantized;
        variant[f] = kernels->variant;
        shape[f] = shape_for(kernels, work->rows);
    }
    /* both factors of a glu go in steps that suit the smaller block */
    const uint32_t tile_step = factors == 2 && shape[1]->tiles < shape[0]->tiles ? shape[1]->tiles : shape[0]->tiles;
    const uint32_t row_step = factors == 2 && shape[1]->rows < shape[0]->rows ? shape[1]->rows : shape[0]->rows;
    for (uint32_t t = 0; t < count; t += tile_step) {
        const uint32_t step = count - t < tile_step ? count - t : tile_step;
        for (uint32_t f = 0; f < factors; f++) {
            point_tiles(work, part + f, first + t, step, shape[f], many,
                        work->panels + f * PV_BLOCK_TILES * (size_t)work->groups * work->panel_stride, tiles[f]);
        }
        for (uint32_t r = range.first; r < range.end; r += row_step) {
            float sums[2][PV_BLOCK_ROWS * PV_BLOCK_TILES * 16];
            const void *rows[PV_BLOCK_ROWS];
            for (uint32_t f = 0; f < factors; f++) {
                point_rows(work, quantized[f], r, range.end, shape[f]->rows, rows);
                shape[f]->block(tiles[f], quantized[f] ? work->groups : work->cols, variant[f], rows, sums[f]);
            }
            for (uint32_t i = 0; i < row_step && r + i < range.end; i++) {
                for (uint32_t s = 0; s < step; s++) {
                    store_tile(work, part, first + t + s, r + i, sums[0] + 16 * (i * shape[0]->tiles + s),
                               factors == 2 ? sums[1] + 16 * (i * shape[1]->tiles + s) : NULL);
                }
            }
        }
    }
}

/* Few rows: each worker takes an even share of all tiles, so that it reads one stretch of memory for each part. */
static void run_few(const pv_work *work, uint32_t part_count)
{
    uint32_t total = 0;
    for (uint32_t p = 0; p < part_count; p++) total += tiles_of(&work->op->parts[p]);
    const pv_cpu_range share = pv_cpu_share(work->context, total);
    for (uint32_t p = 0, before = 0; p < part_count; p++) {
        const uint32_t tiles = tiles_of(&work->op->parts[p]);
        const uint32_t first = share.first > before ? share.first - before : 0;
        const uint32_t end = share.end > before ? (share.end - before < tiles ? share.end - before : tiles) : 0;
        if (first < end) run_tiles(work, &work->op->parts[p], first, end - first, (pv_cpu_range){0, work->rows});
        before += tiles;
    }
}

/* Many rows: workers draw tasks of some tiles × some rows until none is left. Rows are split where there are too few tiles. */
static void run_many(const pv_work *work, uint32_t part_count)
{
    enum { TASK_TILES = 2, ROWS_AT_LEAST = 48 };
    uint32_t tile_tasks = 0;
    for (uint32_t p = 0; p < part_count; p++) tile_tasks += (tiles_of(&work->op->parts[p]) + TASK_TILES - 1) / TASK_TILES;
    uint32_t row_tasks = (8 * work->context->workers + tile_tasks - 1) / tile_tasks;
    if (row_tasks > work->rows / ROWS_AT_LEAST) row_tasks = work->rows / ROWS_AT_LEAST;
    if (row_tasks == 0 || work->context->workers == 1) row_tasks = 1;
    uint32_t task;
    while ((task = pv_cpu_ticket(work->context, 0)) < tile_tasks * row_tasks) {
        const uint32_t row_task = task % row_tasks;
        uint32_t tile_task = task / row_tasks, p = 0, tasks;
        while (tile_task >= (tasks = (tiles_of(&work->op->parts[p]) + TASK_TILES - 1) / TASK_TILES)) tile_task -= tasks, p++;
        const uint32_t first = tile_task * TASK_TILES, rest = tiles_of(&work->op->parts[p]) - first;
        const pv_cpu_range range = {(uint32_t)((uint64_t)work->rows * row_task / row_tasks),
                                    (uint32_t)((uint64_t)work->rows * (row_task + 1) / row_tasks)};
        run_tiles(work, &work->op->parts[p], first, rest < TASK_TILES ? rest : TASK_TILES, range);
    }
}

static void note_layouts(pv_work *work, const pv_linear_part *parts, uint32_t count)
{
    for (uint32_t p = 0; p < count; p++) {
        const bool quantized = matrix_kernels[parts[p].weight.layout].quantized;
        work->any_quantized |= quantized;
        work->any_dense |= !quantized;
    }
}

static void linear_run(const pv_cpu_context *context, const pv_op *op)
{
    pv_work work = {.context = context, .op = &op->linear, .rows = pv_cpu_rows(context, &op->linear.x), .cols = op->linear.x.cols,
                    .step = 1, .shared_by = 1, .panel_stride = largest_stride(&op->linear)};
    work.groups = work.cols / PV_GROUP;
    if (work.rows == 0) return;
    note_layouts(&work, op->linear.parts, op->linear.part_count);
    prepare_activations(&work, op);
    const uint32_t part_count = op->linear.glu != PV_ACTIVATION_NONE ? 1 : op->linear.part_count;
    if (work.rows <= PV_FEW_ROWS) {
        run_few(&work, part_count);
    } else {
        run_many(&work, part_count);
    }
}

static pv_cpu_need linear_need(const pv_op *op, const pv_step_limits *limits, uint32_t workers)
{
    (void)limits;
    (void)workers;
    const uint64_t rows = op->linear.x.rows, cols = op->linear.x.cols, groups = cols / PV_GROUP;
    const uint64_t row_bytes = pv_cpu_round(groups * sizeof(pv_cpu_group)) + pv_cpu_round(cols * sizeof(float));
    const uint64_t own_rows = cols == 0 || PV_ALONE / cols == 0 ? 1 : PV_ALONE / cols;
    pv_cpu_need need;
    need.own = groups * largest_stride(&op->linear) * 2 * PV_BLOCK_TILES + pv_cpu_round(cols * sizeof(float)) + own_rows * row_bytes;
    need.shared = rows * row_bytes;
    return need;
}

/* ---- moe_linear: the same, expert by expert ---- */

/* The op of one expert, over rows that stand as its assignments do. */
static pv_op_linear linear_of_expert(const pv_op_moe_linear *moe, uint32_t expert)
{
    const uint32_t rows = moe->parts[0].weight.rows / moe->experts;
    pv_op_linear op = {.x = moe->x, .part_count = moe->part_count, .glu = moe->glu};
    if (moe->each) op.x.rows *= moe->used, op.x.cols /= moe->used, op.x.row_bytes /= moe->used;
    for (uint32_t p = 0; p < moe->part_count; p++) {
        pv_linear_part *part = &op.parts[p];
        *part = moe->parts[p];
        part->weight.rows = rows;
        part->weight.offset += (uint64_t)expert * tiles_of(part) * tile_bytes(part);
        if (pv_tensor_present(&part->bias)) part->bias.offset += (uint64_t)expert * rows * sizeof(float);
        part->out.rows *= moe->used, part->out.cols = rows, part->out.row_bytes = (uint64_t)rows * sizeof(float);
    }
    return op;
}

/* Where an expert's assignments stand: in the order of the route, or, where every row uses every expert, `experts` apart. */
static void find_assignments(pv_work *work, const pv_op_moe_linear *moe, uint32_t expert, uint32_t rows)
{
    const int32_t *order = pv_tensor_host(&moe->order), *offsets = pv_tensor_host(&moe->offsets);
    work->first = expert, work->step = moe->experts;
    work->rows = order != NULL ? (uint32_t)(offsets[expert + 1] - offsets[expert]) : rows;
    work->map = order != NULL ? order + offsets[expert] : NULL;
}

/* Workers draw tasks of some tiles of an expert, for all its rows. */
static void moe_linear_run(const pv_cpu_context *context, const pv_op *op)
{
    enum { TASK_TILES = 4 };
    const pv_op_moe_linear *moe = &op->moe_linear;
    pv_op_linear one = linear_of_expert(moe, 0);
    pv_work work = {.context = context, .op = &one, .cols = one.x.cols, .panel_stride = largest_stride(&one),
                    .shared_by = moe->each ? 1 : moe->used};
    work.rows = pv_cpu_rows(context, &moe->x) * (moe->each ? moe->used : 1);
    work.groups = work.cols / PV_GROUP;
    if (work.rows == 0) return;
    note_layouts(&work, one.parts, one.part_count);
    prepare_activations(&work, op);
    const uint32_t tiles = tiles_of(&one.parts[0]), tasks = (tiles + TASK_TILES - 1) / TASK_TILES;
    uint32_t task = pv_cpu_ticket(context, 0);
    const uint32_t rows = pv_cpu_rows(context, &moe->x);
    for (uint32_t expert = 0, before = 0; expert < moe->experts; expert++) {
        find_assignments(&work, moe, expert, rows);
        if (work.rows == 0) continue;
        one = linear_of_expert(moe, expert);
        for (; task < before + tasks; task = pv_cpu_ticket(context, 0)) {
            const uint32_t first = (task - before) * TASK_TILES, rest = tiles - first;
            run_tiles(&work, &one.parts[0], first, rest < TASK_TILES ? rest : TASK_TILES, (pv_cpu_range){0, work.rows});
        }
        before += tasks;
    }
}

static pv_cpu_need moe_linear_need(const pv_op *op, const pv_step_limits *limits, uint32_t workers)
{
    const pv_op linear = {.kind = PV_OP_linear, .linear = linear_of_expert(&op->moe_linear, 0)};
    return linear_need(&linear, limits, workers);
}

const pv_cpu_kernel PV_K(pv_cpu_linear) = {linear_run, linear_need};
const pv_cpu_kernel PV_K(pv_cpu_moe_linear) = {moe_linear_run, moe_linear_need};
