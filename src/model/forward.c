#include "model/forward.h"

/* Names of sizes: R rows of the step, L rows that want logits, D width, H heads, K key-value heads, E elements of a head,
 * F feed-forward width, V vocabulary. The residual stream x is f32 [R, D]; linear ops with `residual` add to it in place. */

/* x += attention(norm(x)) */
static void attention_block(const pv_forward *f, uint32_t layer, pv_tensor x, pv_tensor angles, pv_builder *b)
{
    const pv_decoder *d = f->decoder;
    const pv_layer_weights *w = &f->weights->layers[layer];
    pv_tensor q = pv_builder_scratch(b, PV_EXTENT_ROWS, d->heads * d->head_dim);
    pv_tensor k = pv_builder_scratch(b, PV_EXTENT_ROWS, d->kv_heads * d->head_dim);
    pv_tensor v = pv_builder_scratch(b, PV_EXTENT_ROWS, d->kv_heads * d->head_dim);
    pv_tensor mixed = pv_builder_scratch(b, PV_EXTENT_ROWS, d->heads * d->head_dim);

    pv_builder_add(b, (pv_op){.kind = PV_OP_linear, .linear = {
        .x = x, .norm = w->attention_norm, .epsilon = d->norm_epsilon, .part_count = 3,
        .parts = {{w->q, w->q_bias, q}, {w->k, w->k_bias, k}, {w->v, w->v_bias, v}},
    }}, "layer %u qkv", layer);
    pv_builder_add(b, (pv_op){.kind = PV_OP_rope, .rope = {
        .q = q, .k = k, .angles = angles, .head_dim = d->head_dim, .dim = d->rope.dim, .pairing = d->rope.pairing,
        .v = v, .store = f->cache[layer],
    }}, "layer %u rope", layer);
    pv_builder_add(b, (pv_op){.kind = PV_OP_attention, .attention = {
        .q = q, .out = mixed, .cache = f->cache[layer], .heads = d->heads, .scale = d->attention_scale,
    }}, "layer %u attention", layer);
    pv_builder_add(b, (pv_op){.kind = PV_OP_linear, .linear = {
        .x = mixed, .part_count = 1, .parts = {{w->attention_out, w->attention_out_bias, x}}, .residual = x,
    }}, "layer %u out", layer);
}

/* x += down(activation(gate(norm(x))) × up(norm(x))) */
static void feed_forward_block(const pv_forward *f, uint32_t layer, pv_tensor x, pv_builder *b)
{
    const pv_decoder *d = f->decoder;
    const pv_layer_weights *w = &f->weights->layers[layer];
    pv_tensor gated = pv_builder_scratch(b, PV_EXTENT_ROWS, d->feed_forward);

    pv_builder_add(b, (pv_op){.kind = PV_OP_linear, .linear = {
        .x = x, .norm = w->feed_forward_norm, .epsilon = d->norm_epsilon, .part_count = 2, .glu = d->activation,
        .parts = {{w->gate, w->gate_bias, gated}, {w->up, w->up_bias, {0}}},
    }}, "layer %u gate, up", layer);
    pv_builder_add(b, (pv_op){.kind = PV_OP_linear, .linear = {
        .x = gated, .part_count = 1, .parts = {{w->down, w->down_bias, x}}, .residual = x,
    }}, "layer %u down", layer);
}

/* Logits [L, V] of the rows that want them. */
static pv_tensor output_block(const pv_forward *f, pv_tensor x, pv_builder *b)
{
    const pv_decoder *d = f->decoder;
    const pv_weights *w = f->weights;
    pv_tensor last = pv_builder_scratch(b, PV_EXTENT_LOGITS, d->width);
    pv_tensor logits = pv_builder_scratch(b, PV_EXTENT_LOGITS, d->vocabulary);
    pv_builder_keep(b, &logits);
    pv_builder_add(b, (pv_op){.kind = PV_OP_gather_rows, .gather_rows = {.x = x, .out = last}}, "gather rows");
    pv_builder_add(b, (pv_op){.kind = PV_OP_linear, .linear = {
        .x = last, .norm = w->output_norm, .epsilon = d->norm_epsilon, .part_count = 1, .parts = {{w->output, {0}, logits}},
    }}, "output");
    return logits;
}

pv_tensor pv_forward_build(const pv_forward *f, pv_builder *b)
{
    const pv_decoder *d = f->decoder;
    pv_tensor x = pv_builder_scratch(b, PV_EXTENT_ROWS, d->width);
    pv_tensor angles = pv_builder_scratch(b, PV_EXTENT_ROWS, d->rope.dim);

    pv_op begin = {.kind = PV_OP_begin, .begin = {.token_log = f->token_log}};
    for (uint32_t group = 0; group < f->group_count; group++) begin.begin.tables[group] = f->tables[group];
    pv_builder_add(b, begin, "begin");
    pv_builder_add(b, (pv_op){.kind = PV_OP_embed, .embed = {
        .table = f->weights->embed, .token_log = f->token_log, .out = x, .scale = d->embed_scale,
    }}, "embed");
    pv_builder_add(b, (pv_op){.kind = PV_OP_rope_angles, .rope_angles = {
        .inverse_frequency = f->weights->inverse_frequency, .out = angles, .magnitude = 1,
    }}, "rope angles");
    for (uint32_t layer = 0; layer < d->layers; layer++) {
        attention_block(f, layer, x, angles, b);
        feed_forward_block(f, layer, x, b);
    }
    return output_block(f, x, b);
}

void pv_sampling_build(const pv_forward *f, pv_tensor logits, pv_builder *b)
{
    pv_builder_add(b, (pv_op){.kind = PV_OP_sample, .sample = {.logits = logits, .token_log = f->token_log}}, "sample");
}
