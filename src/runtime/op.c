#include "runtime/op.h"

/* A tensor of an op: where it stands in pv_op and what the op does to it. Reads come before writes, so that who walks the list
 * sees an accumulating op (linear with residual = out) read what was there. */
typedef struct field {
    uint16_t offset;
    uint8_t access;
} field;

#define FIELD(member, how) {(uint16_t)offsetof(pv_op, member), how}
#define MAX_FIELDS 9

/* `linear` is not here: its parts are counted. A partial write is an update, what it leaves stays. */
static const struct {
    const char *name;
    uint32_t count;
    field fields[MAX_FIELDS];
} op_table[PV_OP_COUNT] = {
    [PV_OP_begin] = {"begin", 5, {FIELD(begin.tables[0], PV_UPDATE), FIELD(begin.tables[1], PV_UPDATE),
                                  FIELD(begin.tables[2], PV_UPDATE), FIELD(begin.tables[3], PV_UPDATE),
                                  FIELD(begin.token_log, PV_UPDATE)}},
    [PV_OP_embed] = {"embed", 4, {FIELD(embed.table, PV_READ), FIELD(embed.token_log, PV_READ), FIELD(embed.positions, PV_READ),
                                  FIELD(embed.out, PV_WRITE)}},
    [PV_OP_rope_angles] = {"rope_angles", 2,
                           {FIELD(rope_angles.inverse_frequency, PV_READ), FIELD(rope_angles.out, PV_WRITE)}},
    [PV_OP_rms_norm] = {"rms_norm", 4, {FIELD(rms_norm.x, PV_READ), FIELD(rms_norm.weight, PV_READ), FIELD(rms_norm.residual, PV_READ),
                                        FIELD(rms_norm.out, PV_WRITE)}},
    [PV_OP_layer_norm] = {"layer_norm", 4, {FIELD(layer_norm.x, PV_READ), FIELD(layer_norm.weight, PV_READ),
                                            FIELD(layer_norm.bias, PV_READ), FIELD(layer_norm.out, PV_WRITE)}},
    [PV_OP_linear] = {"linear", 0, {{0, 0}}},
    [PV_OP_rope] = {"rope", 6, {FIELD(rope.angles, PV_READ), FIELD(rope.v, PV_READ), FIELD(rope.store.table, PV_READ),
                                FIELD(rope.q, PV_UPDATE), FIELD(rope.k, PV_UPDATE), FIELD(rope.store.pages, PV_UPDATE)}},
    [PV_OP_kv_store] = {"kv_store", 4, {FIELD(kv_store.k, PV_READ), FIELD(kv_store.v, PV_READ),
                                        FIELD(kv_store.store.table, PV_READ), FIELD(kv_store.store.pages, PV_UPDATE)}},
    [PV_OP_attention] = {"attention", 6, {FIELD(attention.q, PV_READ), FIELD(attention.q_latent, PV_READ), FIELD(attention.cache.pages, PV_READ),
                                          FIELD(attention.cache.table, PV_READ), FIELD(attention.sinks, PV_READ),
                                          FIELD(attention.out, PV_WRITE)}},
    [PV_OP_conv1d] = {"conv1d", 7, {FIELD(conv1d.x, PV_READ), FIELD(conv1d.before, PV_READ), FIELD(conv1d.after, PV_READ),
                                    FIELD(conv1d.weight, PV_READ), FIELD(conv1d.store.table, PV_READ), FIELD(conv1d.store.pages, PV_UPDATE),
                                    FIELD(conv1d.out, PV_WRITE)}},
    [PV_OP_glu] = {"glu", 3, {FIELD(glu.gate, PV_READ), FIELD(glu.up, PV_READ), FIELD(glu.out, PV_WRITE)}},
    [PV_OP_activation] = {"activation", 3, {FIELD(activation.x, PV_READ), FIELD(activation.residual, PV_READ),
                                            FIELD(activation.out, PV_WRITE)}},
    [PV_OP_moe_route] = {"moe_route", 5, {FIELD(moe_route.scores, PV_READ), FIELD(moe_route.weights, PV_WRITE),
                                          FIELD(moe_route.experts, PV_WRITE), FIELD(moe_route.order, PV_WRITE), FIELD(moe_route.offsets, PV_WRITE)}},
    [PV_OP_moe_linear] = {"moe_linear", 8, {FIELD(moe_linear.x, PV_READ), FIELD(moe_linear.order, PV_READ), FIELD(moe_linear.offsets, PV_READ),
                                            FIELD(moe_linear.parts[0].weight, PV_READ), FIELD(moe_linear.parts[0].bias, PV_READ),
                                            FIELD(moe_linear.parts[1].weight, PV_READ), FIELD(moe_linear.parts[1].bias, PV_READ),
                                            FIELD(moe_linear.parts[0].out, PV_WRITE)}},
    [PV_OP_moe_sum] = {"moe_sum", 4, {FIELD(moe_sum.x, PV_READ), FIELD(moe_sum.weights, PV_READ), FIELD(moe_sum.residual, PV_READ),
                                      FIELD(moe_sum.out, PV_WRITE)}},
    [PV_OP_gather_rows] = {"gather_rows", 2, {FIELD(gather_rows.x, PV_READ), FIELD(gather_rows.out, PV_WRITE)}},
    [PV_OP_gather_cols] = {"gather_cols", 3, {FIELD(gather_cols.x, PV_READ), FIELD(gather_cols.order, PV_READ), FIELD(gather_cols.out, PV_WRITE)}},
    [PV_OP_sample] = {"sample", 2, {FIELD(sample.logits, PV_READ), FIELD(sample.token_log, PV_UPDATE)}},
};

const char *pv_op_name(pv_op_kind kind)
{
    return (unsigned)kind < PV_OP_COUNT ? op_table[kind].name : "unknown";
}

static size_t add(pv_operand *operands, size_t count, pv_tensor *tensor, pv_access access)
{
    if (!pv_tensor_present(tensor)) return count;
    operands[count] = (pv_operand){tensor, access};
    return count + 1;
}

static size_t linear_operands(pv_op_linear *linear, pv_operand *operands)
{
    uint32_t parts = linear->part_count < 3 ? linear->part_count : 3;
    uint32_t outs = linear->glu != PV_ACTIVATION_NONE && parts > 0 ? 1 : parts;
    size_t count = add(operands, 0, &linear->x, PV_READ);
    count = add(operands, count, &linear->norm, PV_READ);
    count = add(operands, count, &linear->residual, PV_READ);
    for (uint32_t i = 0; i < parts; i++) {
        count = add(operands, count, &linear->parts[i].weight, PV_READ);
        count = add(operands, count, &linear->parts[i].bias, PV_READ);
    }
    for (uint32_t i = 0; i < outs; i++) count = add(operands, count, &linear->parts[i].out, PV_WRITE);
    return count;
}

size_t pv_op_operands(pv_op *op, pv_operand operands[PV_MAX_OPERANDS])
{
    if ((unsigned)op->kind >= PV_OP_COUNT) return 0;
    if (op->kind == PV_OP_linear) return linear_operands(&op->linear, operands);
    bool no_store = op->kind == PV_OP_rope && !pv_tensor_present(&op->rope.store.pages);
    size_t count = 0;
    for (uint32_t i = 0; i < op_table[op->kind].count; i++) {
        pv_tensor *tensor = (pv_tensor *)(void *)((uint8_t *)op + op_table[op->kind].fields[i].offset);
        if (no_store && (tensor == &op->rope.v || tensor == &op->rope.store.table)) continue;
        count = add(operands, count, tensor, (pv_access)op_table[op->kind].fields[i].access);
    }
    return count;
}

/* ---- Cost ------------------------------------------------------------------------------------------------------------ */

/* Rows of a tensor that a step of `rows` rows touches. */
static double live_rows(const pv_tensor *tensor, uint32_t rows)
{
    return tensor->extent == PV_EXTENT_FIXED || rows > tensor->rows ? tensor->rows : rows;
}

static double row_bytes(const pv_tensor *tensor)
{
    const pv_layout_info *info = pv_layout_get(tensor->layout);
    return (double)tensor->cols * info->block_bytes / info->block;
}

static double tensor_bytes(const pv_tensor *tensor, uint32_t rows)
{
    return pv_tensor_present(tensor) ? live_rows(tensor, rows) * row_bytes(tensor) : 0;
}

static double tensor_cells(const pv_tensor *tensor, uint32_t rows)
{
    return live_rows(tensor, rows) * tensor->cols;
}

/* Keys and values of one token. */
static double token_bytes(const pv_kv_view *view)
{
    return (double)pv_kv_page_bytes(view->type, view->kv_heads, view->head_dim, pv_kv_value_dim(view)) / PV_PAGE_TOKENS;
}

/* Tables and the token log are touched in a few cells only: 4 bytes for each row. */
static pv_cost begin_cost(const pv_op *op, uint32_t rows, uint32_t kv_length)
{
    (void)op, (void)kv_length;
    return (pv_cost){4.0 * rows, 0};
}

static pv_cost embed_cost(const pv_op *op, uint32_t rows, uint32_t kv_length)
{
    (void)kv_length;
    const pv_op_embed *embed = &op->embed;
    double learned = pv_tensor_present(&embed->positions) ? row_bytes(&embed->positions) : 0;
    return (pv_cost){live_rows(&embed->out, rows) * (row_bytes(&embed->table) + learned + 4) + tensor_bytes(&embed->out, rows),
                     tensor_cells(&embed->out, rows)};
}

/* Sine and cosine count as 16 operations each. */
static pv_cost rope_angles_cost(const pv_op *op, uint32_t rows, uint32_t kv_length)
{
    (void)kv_length;
    return (pv_cost){tensor_bytes(&op->rope_angles.out, rows) + tensor_bytes(&op->rope_angles.inverse_frequency, rows),
                     16 * tensor_cells(&op->rope_angles.out, rows)};
}

static pv_cost rms_norm_cost(const pv_op *op, uint32_t rows, uint32_t kv_length)
{
    (void)kv_length;
    const pv_op_rms_norm *norm = &op->rms_norm;
    return (pv_cost){tensor_bytes(&norm->x, rows) + tensor_bytes(&norm->weight, rows) + tensor_bytes(&norm->residual, rows) +
                         tensor_bytes(&norm->out, rows),
                     4 * tensor_cells(&norm->x, rows)};
}

static pv_cost layer_norm_cost(const pv_op *op, uint32_t rows, uint32_t kv_length)
{
    (void)kv_length;
    const pv_op_layer_norm *norm = &op->layer_norm;
    return (pv_cost){tensor_bytes(&norm->x, rows) + tensor_bytes(&norm->weight, rows) + tensor_bytes(&norm->bias, rows) +
                         tensor_bytes(&norm->out, rows),
                     6 * tensor_cells(&norm->x, rows)};
}

static pv_cost linear_cost(const pv_op *op, uint32_t rows, uint32_t kv_length)
{
    (void)kv_length;
    pv_op copy = *op;
    pv_operand operands[PV_MAX_OPERANDS];
    size_t count = pv_op_operands(&copy, operands);
    pv_cost cost = {0, pv_tensor_present(&op->linear.norm) ? 4 * tensor_cells(&op->linear.x, rows) : 0};
    for (size_t i = 0; i < count; i++) cost.bytes += tensor_bytes(operands[i].tensor, rows);
    for (uint32_t i = 0; i < op->linear.part_count && i < 3; i++) {
        const pv_tensor *weight = &op->linear.parts[i].weight;
        cost.operations += 2 * live_rows(&op->linear.x, rows) * weight->rows * weight->cols;
    }
    return cost;
}

static pv_cost kv_store_cost(const pv_op *op, uint32_t rows, uint32_t kv_length)
{
    (void)kv_length;
    const pv_op_kv_store *store = &op->kv_store;
    return (pv_cost){tensor_bytes(&store->k, rows) + tensor_bytes(&store->v, rows) +
                         live_rows(&store->k, rows) * token_bytes(&store->store),
                     0};
}

static pv_cost rope_cost(const pv_op *op, uint32_t rows, uint32_t kv_length)
{
    (void)kv_length;
    const pv_op_rope *rope = &op->rope;
    pv_cost cost = {2 * (tensor_bytes(&rope->q, rows) + tensor_bytes(&rope->k, rows)) + tensor_bytes(&rope->angles, rows),
                    3 * (tensor_cells(&rope->q, rows) + tensor_cells(&rope->k, rows))};
    if (pv_tensor_present(&rope->store.pages))
        cost.bytes += tensor_bytes(&rope->v, rows) + live_rows(&rope->k, rows) * token_bytes(&rope->store);
    return cost;
}

/* Rows of one sequence: each key is fetched once, and a row sees the keys up to its own, as far back as its window. Batches add up. */
static pv_cost attention_cost(const pv_op *op, uint32_t rows, uint32_t kv_length)
{
    const pv_op_attention *attention = &op->attention;
    double live = live_rows(&attention->q, rows), seen = kv_length - (live - 1) / 2, fetched = kv_length;
    if (attention->window > 0) {
        seen = seen < attention->window ? seen : attention->window;
        fetched = fetched < attention->window + live ? fetched : attention->window + live;
    }
    const double cells = tensor_cells(&attention->q, rows) + tensor_cells(&attention->out, rows) +
                         (pv_tensor_present(&attention->q_latent) ? tensor_cells(&attention->q_latent, rows) : 0);
    return (pv_cost){tensor_bytes(&attention->q, rows) + tensor_bytes(&attention->q_latent, rows) + tensor_bytes(&attention->out, rows) +
                         fetched * token_bytes(&attention->cache),
                     live > 0 ? 2 * cells * (seen > 1 ? seen : 1) : 0};
}

static pv_cost conv1d_cost(const pv_op *op, uint32_t rows, uint32_t kv_length)
{
    (void)kv_length;
    return (pv_cost){5 * tensor_bytes(&op->conv1d.out, rows) + tensor_bytes(&op->conv1d.weight, rows),
                     (2.0 * op->conv1d.taps + 2) * tensor_cells(&op->conv1d.out, rows)};
}

static pv_cost glu_cost(const pv_op *op, uint32_t rows, uint32_t kv_length)
{
    (void)kv_length;
    return (pv_cost){tensor_bytes(&op->glu.gate, rows) + tensor_bytes(&op->glu.up, rows) + tensor_bytes(&op->glu.out, rows),
                     16 * tensor_cells(&op->glu.out, rows)};
}

static pv_cost activation_cost(const pv_op *op, uint32_t rows, uint32_t kv_length)
{
    (void)kv_length;
    return (pv_cost){tensor_bytes(&op->activation.x, rows) + tensor_bytes(&op->activation.residual, rows) + tensor_bytes(&op->activation.out, rows),
                     16 * tensor_cells(&op->activation.out, rows)};
}

static pv_cost moe_route_cost(const pv_op *op, uint32_t rows, uint32_t kv_length)
{
    (void)kv_length;
    const pv_op_moe_route *route = &op->moe_route;
    return (pv_cost){tensor_bytes(&route->scores, rows) + 3 * tensor_bytes(&route->weights, rows), 16 * tensor_cells(&route->scores, rows)};
}

/* As many experts as there are assignments, if these go all ways. */
static pv_cost moe_linear_cost(const pv_op *op, uint32_t rows, uint32_t kv_length)
{
    (void)kv_length;
    const pv_op_moe_linear *moe = &op->moe_linear;
    const double assignments = live_rows(&moe->x, rows) * moe->used, experts = moe->experts > 0 ? moe->experts : 1;
    pv_cost cost = {tensor_bytes(&moe->x, rows) + tensor_bytes(&moe->parts[0].out, rows), 0};
    for (uint32_t p = 0; p < moe->part_count && p < 2; p++) {
        const pv_tensor *weight = &moe->parts[p].weight;
        cost.bytes += tensor_bytes(weight, 0) * (assignments < experts ? assignments / experts : 1);
        cost.operations += 2 * assignments * (weight->rows / experts) * weight->cols;
    }
    return cost;
}

static pv_cost moe_sum_cost(const pv_op *op, uint32_t rows, uint32_t kv_length)
{
    (void)kv_length;
    const pv_op_moe_sum *sum = &op->moe_sum;
    return (pv_cost){tensor_bytes(&sum->x, rows) + tensor_bytes(&sum->weights, rows) + tensor_bytes(&sum->residual, rows) + tensor_bytes(&sum->out, rows),
                     2 * tensor_cells(&sum->x, rows)};
}

static pv_cost gather_rows_cost(const pv_op *op, uint32_t rows, uint32_t kv_length)
{
    (void)kv_length;
    return (pv_cost){2 * tensor_bytes(&op->gather_rows.out, rows), 0};
}

static pv_cost gather_cols_cost(const pv_op *op, uint32_t rows, uint32_t kv_length)
{
    (void)kv_length;
    return (pv_cost){2 * tensor_bytes(&op->gather_cols.out, rows) + tensor_bytes(&op->gather_cols.order, rows), 0};
}

/* The candidates are searched a few times over. */
static pv_cost sample_cost(const pv_op *op, uint32_t rows, uint32_t kv_length)
{
    return (pv_cost){tensor_bytes(&op->sample.logits, rows) + 4.0 * kv_length, 8 * tensor_cells(&op->sample.logits, rows)};
}

pv_cost pv_op_cost(const pv_op *op, uint32_t rows, uint32_t kv_length)
{
    static pv_cost (*const cost_of[PV_OP_COUNT])(const pv_op *, uint32_t, uint32_t) = {
#define COST_ROW(name) [PV_OP_##name] = name##_cost,
        PV_OP_LIST(COST_ROW)
#undef COST_ROW
    };
    return (unsigned)op->kind < PV_OP_COUNT ? cost_of[op->kind](op, rows, kv_length) : (pv_cost){0, 0};
}
