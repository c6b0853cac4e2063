#include "model/forward.h"

/* Names of sizes: R rows of the step, L rows that want logits, D width, H heads, K key-value heads, E elements of a head,
 * C elements of a latent vector, F feed-forward width, V vocabulary. The residual stream x is f32 [R, D]; blocks add to it in place.
 * What a model lacks is absent among its weights, and is left out here. */

typedef struct pass {
    const pv_forward *f;
    const pv_decoder *d;
    pv_builder *b;
    pv_tensor x;                    /* the residual stream */
    pv_tensor angles[PV_MAX_ROPES]; /* [R, rope.dim] */
    uint32_t layer;
} pass;

/* A block's input: x normed. An RMS norm is left to the linear that takes it, and so is no norm at all. */
typedef struct normed {
    pv_tensor x, norm;
} normed;

static normed norm_before(const pass *p, pv_tensor x, pv_tensor weight, pv_tensor bias, pv_extent extent)
{
    if (p->d->norm == PV_NORM_RMS || !pv_tensor_present(&weight)) return (normed){x, weight};
    pv_tensor out = pv_builder_scratch(p->b, extent, p->d->width);
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_layer_norm, .layer_norm = {
        .x = x, .weight = weight, .bias = bias, .out = out, .epsilon = p->d->norm_epsilon,
    }}, "layer %u norm", p->layer);
    return (normed){out, {0}};
}

/* x with its columns in the order that a weight has them; x itself where that is none. */
static pv_tensor gathered(const pass *p, pv_tensor x, pv_tensor order, const char *what)
{
    if (!pv_tensor_present(&order)) return x;
    pv_tensor out = pv_builder_scratch(p->b, x.extent, x.cols);
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_gather_cols, .gather_cols = {.x = x, .order = order, .out = out}}, "layer %u %s order", p->layer, what);
    return out;
}

static bool is_same(const pv_tensor *a, const pv_tensor *b) { return a->buffer == b->buffer && a->offset == b->offset; }

/* Parts whose weights have orders that differ: each with an x of its own, and the glu behind them. */
static void linears_apart(const pass *p, pv_op_linear linear, const pv_tensor *orders, const char *what)
{
    const bool glu = linear.glu != PV_ACTIVATION_NONE;
    pv_tensor outs[3];
    for (uint32_t i = 0; i < linear.part_count; i++) {
        outs[i] = glu ? pv_builder_scratch(p->b, linear.x.extent, linear.parts[i].weight.rows) : linear.parts[i].out;
        const pv_linear_part part = {linear.parts[i].weight, linear.parts[i].bias, outs[i]};
        pv_builder_add(p->b, (pv_op){.kind = PV_OP_linear, .linear = {
            .x = gathered(p, linear.x, orders[i], what), .part_count = 1, .parts = {part},
        }}, "layer %u %s", p->layer, what);
    }
    if (glu)
        pv_builder_add(p->b, (pv_op){.kind = PV_OP_glu, .glu = {.gate = outs[0], .up = outs[1], .out = linear.parts[0].out, .activation = linear.glu}},
                       "layer %u %s glu", p->layer, what);
}

/* A linear whose weights may have their columns in an order of their own: then the norm is made before, and its columns gathered. */
static void add_linear(const pass *p, pv_op_linear linear, const pv_tensor *orders, const char *what)
{
    bool any = false, same = true;
    for (uint32_t i = 0; i < linear.part_count; i++) {
        any = any || pv_tensor_present(&orders[i]);
        same = same && is_same(&orders[i], &orders[0]);
    }
    if (any && pv_tensor_present(&linear.norm)) {
        const pv_tensor out = pv_builder_scratch(p->b, linear.x.extent, linear.x.cols);
        pv_builder_add(p->b, (pv_op){.kind = PV_OP_rms_norm, .rms_norm = {.x = linear.x, .weight = linear.norm, .out = out, .epsilon = linear.epsilon}},
                       "layer %u %s norm", p->layer, what);
        linear.x = out;
        linear.norm = (pv_tensor){0};
    }
    if (any && !same) {
        linears_apart(p, linear, orders, what);
        return;
    }
    if (any) linear.x = gathered(p, linear.x, orders[0], what);
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_linear, .linear = linear}, "layer %u %s", p->layer, what);
}

/* x += weight · input, normed or scaled on the way where the model does that. */
static void add_to_stream(const pass *p, pv_tensor input, pv_tensor weight, pv_tensor bias, pv_tensor post_norm, const char *what)
{
    const pv_decoder *d = p->d;
    bool direct = !pv_tensor_present(&post_norm) && d->residual_scale == 1;
    pv_tensor out = direct ? p->x : pv_builder_scratch(p->b, PV_EXTENT_ROWS, d->width);
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_linear, .linear = {
        .x = input, .part_count = 1, .parts = {{weight, bias, out}}, .residual = direct ? p->x : (pv_tensor){0},
    }}, "layer %u %s", p->layer, what);
    if (pv_tensor_present(&post_norm))
        pv_builder_add(p->b, (pv_op){.kind = PV_OP_rms_norm, .rms_norm = {
            .x = out, .weight = post_norm, .residual = p->x, .out = p->x, .epsilon = d->norm_epsilon,
        }}, "layer %u %s norm", p->layer, what);
    else if (!direct)
        pv_builder_add(p->b, (pv_op){.kind = PV_OP_activation, .activation = {
            .x = out, .residual = p->x, .out = p->x, .scale = d->residual_scale,
        }}, "layer %u %s scale", p->layer, what);
}

static void norm_heads(const pass *p, pv_tensor x, pv_tensor weight, const char *what)
{
    if (!pv_tensor_present(&weight)) return;
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_rms_norm, .rms_norm = {.x = x, .weight = weight, .out = x, .epsilon = p->d->norm_epsilon}},
                   "layer %u %s norm", p->layer, what);
}

/* x += attention(norm(x)) */
static void attention_block(const pass *p)
{
    const pv_decoder *d = p->d;
    const pv_layer_weights *w = &p->f->weights->layers[p->layer];
    const pv_layer_kind *kind = pv_decoder_kind(d, p->layer);
    const pv_kv_view cache = p->f->cache[p->layer];
    pv_tensor q = pv_builder_scratch(p->b, PV_EXTENT_ROWS, d->heads * d->head_dim);
    pv_tensor k = pv_builder_scratch(p->b, PV_EXTENT_ROWS, d->kv_heads * d->head_dim);
    pv_tensor v = pv_builder_scratch(p->b, PV_EXTENT_ROWS, d->kv_heads * d->head_dim);
    pv_tensor mixed = pv_builder_scratch(p->b, PV_EXTENT_ROWS, d->heads * d->head_dim);

    normed in = norm_before(p, p->x, w->attention_norm, w->attention_norm_bias, PV_EXTENT_ROWS);
    add_linear(p, (pv_op_linear){
        .x = in.x, .norm = in.norm, .epsilon = d->norm_epsilon, .part_count = 3,
        .parts = {{w->q, w->q_bias, q}, {w->k, w->k_bias, k}, {w->v, w->v_bias, v}},
    }, (const pv_tensor[]){w->q_order, w->k_order, w->v_order}, "qkv");
    norm_heads(p, q, w->q_norm, "q");
    norm_heads(p, k, w->k_norm, "k");
    if (kind->rope >= 0)
        pv_builder_add(p->b, (pv_op){.kind = PV_OP_rope, .rope = {
            .q = q, .k = k, .angles = p->angles[kind->rope], .head_dim = d->head_dim, .dim = d->ropes[kind->rope].dim,
            .pairing = d->ropes[kind->rope].pairing, .v = v, .store = cache,
        }}, "layer %u rope", p->layer);
    else
        pv_builder_add(p->b, (pv_op){.kind = PV_OP_kv_store, .kv_store = {.k = k, .v = v, .store = cache}}, "layer %u kv store", p->layer);
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_attention, .attention = {
        .q = q, .out = mixed, .cache = cache, .heads = d->heads, .scale = d->attention_scale, .window = d->group_window[kind->group],
        .soft_cap = d->attention_soft_cap, .sinks = w->sinks,
    }}, "layer %u attention", p->layer);
    add_to_stream(p, gathered(p, mixed, w->attention_out_order, "out"), w->attention_out, w->attention_out_bias, w->attention_post_norm, "out");
}

#define LATENT_EPSILON 1e-6f /* of the norms of latent vectors, whatever the model's other norms have */

/* A matrix of each head: out[R, H, rows of a head] = weight[head] · x[R, H, cols]. */
static void each_head(const pass *p, pv_tensor x, pv_tensor weight, pv_tensor out, const char *what)
{
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_moe_linear, .moe_linear = {
        .x = x, .experts = p->d->heads, .used = p->d->heads, .part_count = 1, .each = true, .parts = {{weight, {0}, out}},
    }}, "layer %u %s", p->layer, what);
}

/* The same over latent vectors ("DeepSeek-V2", section 2.1): a token has one latent vector [C], which every head's keys and values are
 * projections of, and one key [E] that turns. These two are all that the cache holds. The projections of keys and values are not made but
 * for each query: its own meets latent vectors, and what is mixed of these is projected to a value. */
static void latent_attention_block(const pass *p)
{
    const pv_decoder *d = p->d;
    const pv_layer_weights *w = &p->f->weights->layers[p->layer];
    const pv_layer_kind *kind = pv_decoder_kind(d, p->layer);
    const pv_kv_view cache = p->f->cache[p->layer];
    pv_tensor q = pv_builder_scratch(p->b, PV_EXTENT_ROWS, d->heads * d->plain_dim);
    pv_tensor q_turning = pv_builder_scratch(p->b, PV_EXTENT_ROWS, d->heads * d->head_dim);
    pv_tensor latent = pv_builder_scratch(p->b, PV_EXTENT_ROWS, d->latent), k_turning = pv_builder_scratch(p->b, PV_EXTENT_ROWS, d->head_dim);
    pv_tensor q_latent = pv_builder_scratch(p->b, PV_EXTENT_ROWS, d->heads * d->latent);
    pv_tensor mixed = pv_builder_scratch(p->b, PV_EXTENT_ROWS, d->heads * d->latent);
    pv_tensor values = pv_builder_scratch(p->b, PV_EXTENT_ROWS, d->heads * d->value_dim);

    normed in = {p->x, w->attention_norm}, from = in;
    if (d->query_latent > 0) from = (normed){pv_builder_scratch(p->b, PV_EXTENT_ROWS, d->query_latent), w->query_latent_norm};
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_linear, .linear = {
        .x = in.x, .norm = in.norm, .epsilon = d->norm_epsilon, .part_count = d->query_latent > 0 ? 3 : 2,
        .parts = {{w->latent, {0}, latent}, {w->k_turning, {0}, k_turning}, {w->query_latent, {0}, from.x}},
    }}, "layer %u latent", p->layer);
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_linear, .linear = {
        .x = from.x, .norm = from.norm, .epsilon = d->query_latent > 0 ? LATENT_EPSILON : d->norm_epsilon,
        .part_count = 2, .parts = {{w->q, {0}, q}, {w->q_turning, {0}, q_turning}},
    }}, "layer %u q", p->layer);
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_rms_norm, .rms_norm = {
        .x = latent, .weight = w->latent_norm, .out = latent, .epsilon = LATENT_EPSILON,
    }}, "layer %u latent norm", p->layer);
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_rope, .rope = {
        .q = q_turning, .k = k_turning, .angles = p->angles[kind->rope], .head_dim = d->head_dim, .dim = d->ropes[kind->rope].dim,
        .pairing = d->ropes[kind->rope].pairing, .v = latent, .store = cache,
    }}, "layer %u rope", p->layer);
    each_head(p, q, w->k_latent, q_latent, "q to latent");
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_attention, .attention = {
        .q = q_turning, .q_latent = q_latent, .out = mixed, .cache = cache, .heads = d->heads, .scale = d->attention_scale,
    }}, "layer %u attention", p->layer);
    each_head(p, mixed, w->v_latent, values, "latent to v");
    add_to_stream(p, values, w->attention_out, (pv_tensor){0}, (pv_tensor){0}, "out");
}

/* x += out(c × convolution(b × y)), {b, c, y} = in(norm(x)) */
static void convolution_block(const pass *p)
{
    const pv_decoder *d = p->d;
    const pv_layer_weights *w = &p->f->weights->layers[p->layer];
    pv_tensor b = pv_builder_scratch(p->b, PV_EXTENT_ROWS, d->width), c = pv_builder_scratch(p->b, PV_EXTENT_ROWS, d->width);
    pv_tensor y = pv_builder_scratch(p->b, PV_EXTENT_ROWS, d->width), mixed = pv_builder_scratch(p->b, PV_EXTENT_ROWS, d->width);

    normed in = norm_before(p, p->x, w->attention_norm, w->attention_norm_bias, PV_EXTENT_ROWS);
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_linear, .linear = {
        .x = in.x, .norm = in.norm, .epsilon = d->norm_epsilon, .part_count = 3,
        .parts = {{w->conv_before, {0}, b}, {w->conv_after, {0}, c}, {w->conv_x, {0}, y}},
    }}, "layer %u conv in", p->layer);
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_conv1d, .conv1d = {
        .x = y, .before = b, .after = c, .out = mixed, .weight = w->conv, .taps = d->conv_taps, .store = p->f->cache[p->layer],
    }}, "layer %u conv", p->layer);
    add_to_stream(p, mixed, w->conv_out, (pv_tensor){0}, w->attention_post_norm, "conv out");
}

/* x += down(activation(gate(norm(x))) × up(norm(x))), or without a gate down(activation(up(norm(x)))) */
static void feed_forward_block(const pass *p)
{
    const pv_decoder *d = p->d;
    const pv_layer_weights *w = &p->f->weights->layers[p->layer];
    pv_tensor inner = pv_builder_scratch(p->b, PV_EXTENT_ROWS, d->feed_forward);

    normed in = norm_before(p, p->x, w->feed_forward_norm, w->feed_forward_norm_bias, PV_EXTENT_ROWS);
    if (pv_tensor_present(&w->gate)) {
        add_linear(p, (pv_op_linear){
            .x = in.x, .norm = in.norm, .epsilon = d->norm_epsilon, .part_count = 2, .glu = d->activation,
            .parts = {{w->gate, w->gate_bias, inner}, {w->up, w->up_bias, {0}}},
        }, (const pv_tensor[]){w->gate_order, w->up_order}, "gate, up");
    } else {
        add_linear(p, (pv_op_linear){
            .x = in.x, .norm = in.norm, .epsilon = d->norm_epsilon, .part_count = 1, .parts = {{w->up, w->up_bias, inner}},
        }, &w->up_order, "up");
        pv_builder_add(p->b, (pv_op){.kind = PV_OP_activation, .activation = {
            .x = inner, .out = inner, .activation = d->activation, .scale = 1,
        }}, "layer %u activation", p->layer);
    }
    add_to_stream(p, gathered(p, inner, w->down_order, "down"), w->down, w->down_bias, w->feed_forward_post_norm, "down");
}

/* x += down(activation(gate(in)) × up(in)) of the expert that every row has; with a router of its own, times the sigmoid of its score */
static void shared_expert(const pass *p, pv_tensor in)
{
    const pv_decoder *d = p->d;
    const pv_layer_weights *w = &p->f->weights->layers[p->layer];
    pv_tensor inner = pv_builder_scratch(p->b, PV_EXTENT_ROWS, d->shared_feed_forward);
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_linear, .linear = {
        .x = in, .part_count = 2, .glu = d->activation, .parts = {{w->shared_gate, {0}, inner}, {w->shared_up, {0}, {0}}},
    }}, "layer %u shared gate, up", p->layer);
    if (!pv_tensor_present(&w->shared_router)) {
        add_to_stream(p, inner, w->shared_down, (pv_tensor){0}, (pv_tensor){0}, "shared down");
        return;
    }
    pv_tensor out = pv_builder_scratch(p->b, PV_EXTENT_ROWS, d->width), share = pv_builder_scratch(p->b, PV_EXTENT_ROWS, 1);
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_linear, .linear = {.x = inner, .part_count = 1, .parts = {{w->shared_down, {0}, out}}}},
                   "layer %u shared down", p->layer);
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_linear, .linear = {.x = in, .part_count = 1, .parts = {{w->shared_router, {0}, share}}}},
                   "layer %u shared router", p->layer);
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_activation, .activation = {.x = share, .out = share, .activation = PV_ACTIVATION_SIGMOID, .scale = 1}},
                   "layer %u shared share", p->layer);
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_moe_sum, .moe_sum = {.x = out, .weights = share, .residual = p->x, .out = p->x}},
                   "layer %u shared expert", p->layer);
}

/* x += Σ over the chosen experts of weight × down(activation(gate(norm(x))) × up(norm(x))) */
static void experts_block(const pass *p)
{
    const pv_decoder *d = p->d;
    const pv_layer_weights *w = &p->f->weights->layers[p->layer];
    const uint32_t used = d->experts_used;
    pv_tensor in = pv_builder_scratch(p->b, PV_EXTENT_ROWS, d->width);
    pv_tensor scores = pv_builder_scratch(p->b, PV_EXTENT_ROWS, d->experts);
    pv_tensor weights = pv_builder_scratch(p->b, PV_EXTENT_ROWS, used), experts = pv_builder_scratch(p->b, PV_EXTENT_ROWS, used);
    pv_tensor order = pv_builder_scratch(p->b, PV_EXTENT_ROWS, used), offsets = pv_builder_scratch(p->b, PV_EXTENT_ROWS, d->experts + 1);
    pv_tensor inner = pv_builder_scratch(p->b, PV_EXTENT_ROWS, used * d->expert_feed_forward);
    pv_tensor out = pv_builder_scratch(p->b, PV_EXTENT_ROWS, used * d->width);

    pv_builder_add(p->b, (pv_op){.kind = PV_OP_rms_norm, .rms_norm = {
        .x = p->x, .weight = w->feed_forward_norm, .out = in, .epsilon = d->norm_epsilon,
    }}, "layer %u experts norm", p->layer);
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_linear, .linear = {
        .x = in, .part_count = 1, .parts = {{w->router, w->router_bias, scores}},
    }}, "layer %u router", p->layer);
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_moe_route, .moe_route = {
        .scores = scores, .weights = weights, .experts = experts, .order = order, .offsets = offsets, .used = used, .normalize = d->expert_normalize,
        .scale = d->expert_scale,
    }}, "layer %u route", p->layer);
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_moe_linear, .moe_linear = {
        .x = in, .order = order, .offsets = offsets, .experts = d->experts, .used = used, .part_count = 2, .glu = d->activation,
        .parts = {{w->expert_gate, w->expert_gate_bias, inner}, {w->expert_up, w->expert_up_bias, {0}}},
    }}, "layer %u gate, up", p->layer);
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_moe_linear, .moe_linear = {
        .x = inner, .order = order, .offsets = offsets, .experts = d->experts, .used = used, .part_count = 1, .each = true,
        .parts = {{w->expert_down, w->expert_down_bias, out}},
    }}, "layer %u down", p->layer);
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_moe_sum, .moe_sum = {.x = out, .weights = weights, .residual = p->x, .out = p->x}},
                   "layer %u experts", p->layer);
    if (d->shared_feed_forward > 0) shared_expert(p, in);
}

/* Logits [L, V] of the rows that want them. */
static pv_tensor output_block(const pass *p)
{
    const pv_decoder *d = p->d;
    const pv_weights *w = p->f->weights;
    pv_tensor last = pv_builder_scratch(p->b, PV_EXTENT_LOGITS, d->width);
    pv_tensor logits = pv_builder_scratch(p->b, PV_EXTENT_LOGITS, d->vocabulary);
    pv_builder_keep(p->b, &logits);
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_gather_rows, .gather_rows = {.x = p->x, .out = last}}, "gather rows");
    normed in = norm_before(p, last, w->output_norm, w->output_norm_bias, PV_EXTENT_LOGITS);
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_linear, .linear = {
        .x = in.x, .norm = in.norm, .epsilon = d->norm_epsilon, .part_count = 1, .parts = {{w->output, {0}, logits}},
    }}, "output");
    if (d->logit_scale != 1 || d->logit_soft_cap > 0)
        pv_builder_add(p->b, (pv_op){.kind = PV_OP_activation, .activation = {
            .x = logits, .out = logits, .scale = d->logit_scale, .soft_cap = d->logit_soft_cap,
        }}, "output scale");
    return logits;
}

static void begin(pass *p)
{
    const pv_decoder *d = p->d;
    pv_op begin = {.kind = PV_OP_begin, .begin = {.token_log = p->f->token_log}};
    for (uint32_t group = 0; group < p->f->group_count; group++) begin.begin.tables[group] = p->f->tables[group];
    pv_builder_add(p->b, begin, "begin");
    p->x = pv_builder_scratch(p->b, PV_EXTENT_ROWS, d->width);
    pv_builder_add(p->b, (pv_op){.kind = PV_OP_embed, .embed = {
        .table = p->f->weights->embed, .positions = p->f->weights->positions, .token_log = p->f->token_log, .out = p->x, .scale = d->embed_scale,
    }}, "embed");
    for (uint32_t rope = 0; rope < d->rope_count; rope++) {
        p->angles[rope] = pv_builder_scratch(p->b, PV_EXTENT_ROWS, d->ropes[rope].dim);
        pv_builder_add(p->b, (pv_op){.kind = PV_OP_rope_angles, .rope_angles = {
            .inverse_frequency = p->f->weights->inverse_frequency[rope], .out = p->angles[rope], .magnitude = d->ropes[rope].magnitude,
        }}, "rope angles");
    }
}

pv_tensor pv_forward_build(const pv_forward *f, pv_builder *b)
{
    pass p = {.f = f, .d = f->decoder, .b = b};
    begin(&p);
    for (; p.layer < p.d->layers; p.layer++) {
        const pv_layer_kind *kind = pv_decoder_kind(p.d, p.layer);
        if (kind->conv)
            convolution_block(&p);
        else if (p.d->latent > 0)
            latent_attention_block(&p);
        else
            attention_block(&p);
        if (kind->experts)
            experts_block(&p);
        else
            feed_forward_block(&p);
    }
    return output_block(&p);
}

void pv_sampling_build(const pv_forward *f, pv_tensor logits, pv_builder *b)
{
    pv_builder_add(b, (pv_op){.kind = PV_OP_sample, .sample = {.logits = logits, .token_log = f->token_log}}, "sample");
}
