/* Which ops the device runs: one check an op kind, which says what is wrong. Tensors may not have their place yet. */
#include "backend/cpu/cpu.h"

static bool dense_f32(const pv_tensor *tensor) { return tensor->layout == PV_LAYOUT_F32 && tensor->packing == PV_PACKING_NONE; }
static bool absent_or_f32(const pv_tensor *tensor) { return !pv_tensor_present(tensor) || dense_f32(tensor); }
static bool packed(const pv_tensor *tensor) { return tensor->layout < PV_LAYOUT_COUNT && tensor->packing == PV_PACKING_X16; }

static const char *check_begin(const pv_op *op)
{
    (void)op;
    return NULL;
}

static const char *check_embed(const pv_op *op)
{
    const pv_tensor *positions = &op->embed.positions;
    if (!packed(&op->embed.table)) return "the table is not packed for this device";
    if (pv_tensor_present(positions) && (!packed(positions) || positions->cols != op->embed.table.cols)) return "the positions do not suit the table";
    if (!dense_f32(&op->embed.out) || op->embed.out.cols != op->embed.table.cols) return "out does not have the table's columns in f32";
    return NULL;
}

static const char *check_rope_angles(const pv_op *op)
{
    return op->rope_angles.out.cols == 2 * op->rope_angles.inverse_frequency.cols ? NULL : "out is not twice as wide as the frequencies";
}

static const char *check_rms_norm(const pv_op *op)
{
    const pv_op_rms_norm *norm = &op->rms_norm;
    if (!dense_f32(&norm->x) || !dense_f32(&norm->weight) || !dense_f32(&norm->out)) return "a tensor is not f32";
    if (!absent_or_f32(&norm->residual)) return "a tensor is not f32";
    if (norm->weight.cols == 0 || norm->x.cols % norm->weight.cols != 0) return "a row is not whole stretches of the weight's width";
    return norm->out.cols == norm->x.cols ? NULL : "columns differ";
}

static const char *check_layer_norm(const pv_op *op)
{
    const pv_op_layer_norm *norm = &op->layer_norm;
    if (!dense_f32(&norm->x) || !dense_f32(&norm->weight) || !absent_or_f32(&norm->bias) || !dense_f32(&norm->out)) return "a tensor is not f32";
    return norm->weight.cols == norm->x.cols && norm->out.cols == norm->x.cols ? NULL : "columns differ";
}

static const char *check_activation(const pv_op *op)
{
    const pv_op_activation *activation = &op->activation;
    if (!dense_f32(&activation->x) || !absent_or_f32(&activation->residual) || !dense_f32(&activation->out)) return "a tensor is not f32";
    return activation->out.cols == activation->x.cols ? NULL : "columns differ";
}

static const char *check_linear(const pv_op *op)
{
    const pv_op_linear *linear = &op->linear;
    const bool glu = linear->glu != PV_ACTIVATION_NONE;
    if (linear->part_count < 1 || linear->part_count > 3) return "not one to three parts";
    if (glu && linear->part_count != 2) return "a glu needs two parts";
    if (pv_tensor_present(&linear->residual) && linear->part_count > 1 && !glu) return "a residual with several parts";
    if (!dense_f32(&linear->x) || !absent_or_f32(&linear->norm) || !absent_or_f32(&linear->residual)) return "an activation is not f32";
    for (uint32_t p = 0; p < linear->part_count; p++) {
        const pv_linear_part *part = &linear->parts[p];
        if (!packed(&part->weight)) return "a weight is not packed for this device";
        if (part->weight.cols != linear->x.cols) return "a weight does not have the columns of x";
        if (!absent_or_f32(&part->bias)) return "a bias is not f32";
        if (!(glu && p == 1) && (!dense_f32(&part->out) || part->out.cols != part->weight.rows)) return "out does not have the weight's rows";
        if (glu && part->weight.rows != linear->parts[0].weight.rows) return "the parts of a glu differ in shape";
    }
    return NULL;
}

static const char *check_cache(const pv_kv_view *cache)
{
    if (cache->pages.layout != PV_LAYOUT_F16) return "the cache is not f16";
    if (cache->type > PV_KV_4BIT) return "the cache is of a type that is not known";
    if (cache->type == PV_KV_4BIT && (cache->head_dim % 2 != 0 || cache->value_dim % 2 != 0)) return "a head of 4-bit cells is not even";
    return cache->kv_heads > 0 && cache->head_dim > 0 ? NULL : "the cache has no heads";
}

static const char *check_rope(const pv_op *op)
{
    const pv_op_rope *rope = &op->rope;
    if (rope->dim % 2 != 0 || rope->dim > rope->head_dim || rope->angles.cols != rope->dim) return "dim does not suit the head or the angles";
    if (rope->head_dim == 0 || rope->q.cols % rope->head_dim != 0 || rope->k.cols % rope->head_dim != 0) return "q or k is not whole heads";
    return pv_tensor_present(&rope->store.pages) ? check_cache(&rope->store) : NULL;
}

static const char *check_kv_store(const pv_op *op)
{
    const pv_kv_view *store = &op->kv_store.store;
    const char *wrong = check_cache(store);
    if (wrong != NULL) return wrong;
    return op->kv_store.k.cols == (uint64_t)store->kv_heads * store->head_dim &&
                   op->kv_store.v.cols == (uint64_t)store->kv_heads * pv_kv_value_dim(store)
               ? NULL
               : "k or v does not have the cache's heads";
}

static const char *check_attention(const pv_op *op)
{
    const pv_op_attention *attention = &op->attention;
    const char *wrong = check_cache(&attention->cache);
    if (wrong != NULL) return wrong;
    if (attention->heads == 0 || attention->heads % attention->cache.kv_heads != 0) return "heads are no multiple of the kv heads";
    if (pv_tensor_present(&attention->sinks) && attention->sinks.cols != attention->heads) return "there is not a sink for each head";
    const uint64_t out_cols = (uint64_t)attention->heads * pv_kv_value_dim(&attention->cache);
    if (pv_tensor_present(&attention->q_latent) && attention->q_latent.cols != out_cols) return "q_latent does not have the heads";
    return attention->q.cols == (uint64_t)attention->heads * attention->cache.head_dim && attention->out.cols == out_cols
               ? NULL
               : "q or out does not have the heads";
}

static const char *check_conv1d(const pv_op *op)
{
    const pv_op_conv1d *conv = &op->conv1d;
    const char *wrong = check_cache(&conv->store);
    if (wrong != NULL) return wrong;
    if (2ull * conv->store.kv_heads * conv->store.head_dim != conv->x.cols) return "the cache does not have the columns";
    if (conv->taps == 0 || conv->weight.cols != (uint64_t)conv->x.cols * conv->taps) return "the weight does not have the columns and taps";
    return conv->before.cols == conv->x.cols && conv->after.cols == conv->x.cols && conv->out.cols == conv->x.cols ? NULL : "columns differ";
}

static const char *check_glu(const pv_op *op)
{
    return op->glu.gate.cols == op->glu.up.cols && op->glu.gate.cols == op->glu.out.cols ? NULL : "columns differ";
}

static const char *check_moe_route(const pv_op *op)
{
    const pv_op_moe_route *route = &op->moe_route;
    if (route->used == 0 || route->used > PV_MAX_EXPERTS_USED || route->scores.cols < route->used) return "too many experts or none are used";
    if (route->offsets.cols <= route->scores.cols) return "there is no offset for each expert";
    return route->weights.cols == route->used && route->experts.cols == route->used && route->order.cols == route->used ? NULL : "columns differ";
}

static const char *check_moe_linear(const pv_op *op)
{
    const pv_op_moe_linear *moe = &op->moe_linear;
    const bool glu = moe->glu != PV_ACTIVATION_NONE;
    if (moe->part_count != (glu ? 2u : 1u)) return "a glu needs two parts, others have one";
    const bool routed = pv_tensor_present(&moe->order);
    if (moe->experts == 0 || moe->used == 0) return "there are no experts";
    if (routed ? moe->order.cols != moe->used || moe->offsets.cols <= moe->experts : moe->used != moe->experts) return "the route does not suit";
    for (uint32_t p = 0; p < moe->part_count; p++) {
        const pv_linear_part *part = &moe->parts[p];
        if (!packed(&part->weight)) return "a weight is not packed for this device";
        if (part->weight.rows % (moe->experts * PV_TILE) != 0) return "an expert's rows are no multiple of 16";
        if ((uint64_t)part->weight.cols * (moe->each ? moe->used : 1) != moe->x.cols) return "a weight does not have the columns of x";
        if (!absent_or_f32(&part->bias)) return "a bias is not f32";
        if (part->weight.rows != moe->parts[0].weight.rows) return "the parts of a glu differ in shape";
    }
    return moe->parts[0].out.cols == (uint64_t)moe->parts[0].weight.rows / moe->experts * moe->used ? NULL : "out does not have the weight's rows";
}

static const char *check_moe_sum(const pv_op *op)
{
    const pv_op_moe_sum *sum = &op->moe_sum;
    return sum->out.cols == sum->residual.cols && sum->x.cols == (uint64_t)sum->out.cols * sum->weights.cols ? NULL : "columns differ";
}

static const char *check_gather_cols(const pv_op *op)
{
    const pv_op_gather_cols *gather = &op->gather_cols;
    if (gather->order.layout != PV_LAYOUT_F32 || gather->order.packing != PV_PACKING_NONE) return "the order does not have cells of four bytes";
    return gather->order.cols == gather->out.cols ? NULL : "columns differ";
}

static const char *check_gather_rows(const pv_op *op)
{
    return op->gather_rows.x.cols == op->gather_rows.out.cols ? NULL : "columns differ";
}

static const char *check_sample(const pv_op *op) { return op->sample.logits.cols > 0 ? NULL : "no vocabulary"; }

static const char *(*const checks[PV_OP_COUNT])(const pv_op *op) = {
#define PV_CHECK_ROW(name) [PV_OP_##name] = check_##name,
    PV_OP_LIST(PV_CHECK_ROW)};

/* A device opened as plain takes no fused form that lowering can split. */
static bool fused(const pv_op *op)
{
    if (op->kind == PV_OP_rope) return pv_tensor_present(&op->rope.store.pages);
    if (op->kind != PV_OP_linear) return false;
    return pv_tensor_present(&op->linear.norm) || op->linear.part_count > 1 || op->linear.glu != PV_ACTIVATION_NONE;
}

const char *pv_cpu_check(const pv_cpu_device *device, const pv_op *op)
{
    if (op->kind >= PV_OP_COUNT) return "no such op";
    if (device->plain && fused(op)) return "a fused form on a plain device";
    return checks[op->kind](op);
}

bool pv_cpu_supports(const pv_backend_device *device, const pv_op *op)
{
    return pv_cpu_check((const pv_cpu_device *)device, op) == NULL;
}
