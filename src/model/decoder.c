#include "model/decoder.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/architecture.h"
#include "model/rope.h"

/* ---- Which architecture ---- */

static pv_status find_gguf_architecture(pv_config *c, pv_decoder *decoder, char name[64], pv_error *error)
{
    const char *text;
    size_t length;
    bool found;
    pv_status status = pv_meta_string(c->source, "general.architecture", &text, &length, &found, error);
    if (status != PV_OK) return status;
    if (!found) return pv_fail_at(error, PV_BAD_FILE, pv_source_path(c->source), PV_NO_OFFSET, "general.architecture is missing");
    snprintf(name, 64, "%.*s", (int)(length < 63 ? length : 63), text);
    c->prefix = name;
    double experts = 0;
    status = pv_config_number(c, "expert_count", "", &experts, &found, error);
    decoder->architecture = pv_architecture_find(name, found && experts > 0, NULL);
    if (decoder->architecture == NULL && found && experts > 0 && pv_architecture_find(name, false, NULL) != NULL)
        return pv_fail(error, PV_UNSUPPORTED, "the model has %g experts, which are not supported in the architecture '%s'", experts, name);
    return status;
}

/* Settings of a part of a larger model are found as if they were all there is. */
static void look_inside(pv_flat *flat, const char *inside)
{
    const size_t length = strlen(inside);
    for (size_t i = 0; i < flat->count; i++)
        if (strncmp(pv_flat_path(flat, &flat->entries[i]), inside, length) == 0) flat->entries[i].path += length;
}

static pv_status find_huggingface_architecture(pv_config *c, const pv_allocator *allocator, pv_decoder *decoder, char name[64], pv_error *error)
{
    const char *text;
    size_t length;
    pv_status status = pv_source_text(c->source, "config.json", &text, &length, error);
    if (status != PV_OK) return status;
    if (text == NULL)
        return pv_fail_at(error, PV_NOT_FOUND, "config.json", PV_NO_OFFSET, "%s has no config.json, which says what model it is",
                          pv_source_path(c->source));
    status = pv_flat_read(allocator, text, length, "config.json", &c->flat, error);
    if (status != PV_OK) return status;
    const char *class_name = pv_flat_string(&c->flat, "architectures.0");
    snprintf(name, 64, "%s", class_name != NULL ? class_name : "(none)");
    decoder->architecture = pv_architecture_find(NULL, false, name);
    if (decoder->architecture != NULL) c->defaults = decoder->architecture->defaults;
    if (decoder->architecture != NULL && decoder->architecture->inside != NULL) look_inside(&c->flat, decoder->architecture->inside);
    return PV_OK;
}

/* ---- Sizes ---- */

/* With convolutions GGUF files have a list: 0 for these, the same for all others. */
static pv_status read_kv_heads(const pv_config *c, pv_decoder *d, pv_error *error)
{
    char key[96];
    snprintf(key, sizeof key, "%s.attention.head_count_kv", c->gguf ? c->prefix : "");
    const pv_meta *meta = c->gguf && d->architecture->conv ? pv_source_meta(c->source, key) : NULL;
    if (meta == NULL || meta->type != PV_META_ARRAY)
        return pv_config_count(c, "attention.head_count_kv", "num_key_value_heads", 1, d->heads, d->heads, &d->kv_heads, error);
    if (meta->count != d->layers || meta->element == PV_META_STRING)
        return pv_fail_at(error, PV_BAD_FILE, key, PV_NO_OFFSET, "%s has %llu entries, %u numbers are wanted", key, (unsigned long long)meta->count, d->layers);
    double heads = 0;
    for (uint32_t i = 0; i < d->layers; i++) {
        const double here = pv_meta_number(meta, i);
        if (!(here >= 0 && here <= d->heads) || here != floor(here) || (here > 0 && heads > 0 && here != heads))
            return pv_fail_at(error, PV_BAD_FILE, key, PV_NO_OFFSET, "%s[%u] is %g, 0 or the number of the other layers is wanted", key, i, here);
        if (here > 0) heads = here;
    }
    d->kv_heads = heads > 0 ? (uint32_t)heads : d->heads;
    return PV_OK;
}

/* LFM2: the feed-forward width in config.json is that before it is adjusted. */
static pv_status adjust_feed_forward(const pv_config *c, pv_decoder *d, pv_error *error)
{
    double factor = 1;
    bool found;
    uint32_t multiple;
    if (c->gguf || !pv_flat_true(&c->flat, "block_auto_adjust_ff_dim")) return PV_OK;
    pv_status status = pv_config_number(c, "", "block_ffn_dim_multiplier", &factor, &found, error);
    if (status == PV_OK) status = pv_config_count(c, "", "block_multiple_of", 1, 1 << 16, 256, &multiple, error);
    if (status != PV_OK) return status;
    if (d->feed_forward < 2) return pv_fail(error, PV_BAD_FILE, "config.json: the feed-forward width is %u, at least 2 is wanted", d->feed_forward);
    d->feed_forward = 2 * d->feed_forward / 3;
    if (!found) return PV_OK;
    if (!(factor >= 1e-3 && factor <= 16)) return pv_fail(error, PV_BAD_FILE, "config.json: block_ffn_dim_multiplier is %g", factor);
    d->feed_forward = ((uint32_t)(factor * d->feed_forward) + multiple - 1) / multiple * multiple;
    if (d->feed_forward == 0) return pv_fail(error, PV_BAD_FILE, "config.json: block_ffn_dim_multiplier %g leaves a feed-forward width of 0", factor);
    return PV_OK;
}

static pv_status read_convolution(const pv_config *c, pv_decoder *d, pv_error *error)
{
    if (!d->architecture->conv) return PV_OK;
    pv_status status = adjust_feed_forward(c, d, error);
    if (status == PV_OK) status = pv_config_count(c, "shortconv.l_cache", "conv_L_cache", 1, PV_PAGE_TOKENS, 0, &d->conv_taps, error);
    if (status == PV_OK && d->width % 2 != 0) status = pv_fail(error, PV_UNSUPPORTED, "a width of %u with convolutions: an even one is wanted", d->width);
    return status;
}

/* Heads of latent attention. GGUF files tell a head's sizes under names of their own where the usual ones tell those of the latent vectors. */
static pv_status read_latent(const pv_config *c, pv_decoder *d, pv_error *error)
{
    uint32_t head, ignored;
    double queries = 0;
    bool found;
    const bool direct = c->gguf && pv_source_find(c->source, "blk.0.attn_q.weight") != NULL; /* some files tell a rank all the same */
    pv_status status = pv_config_count(c, "attention.kv_lora_rank", "kv_lora_rank", 1, 1 << 14, 0, &d->latent, error);
    if (status == PV_OK) status = pv_config_number(c, "attention.q_lora_rank", "q_lora_rank", &queries, &found, error);
    if (status == PV_OK && queries != 0 && !direct)
        status = pv_config_count(c, "attention.q_lora_rank", "q_lora_rank", 1, 1 << 17, 0, &d->query_latent, error);
    if (status == PV_OK) status = pv_config_count(c, "rope.dimension_count", "qk_rope_head_dim", 2, 1024, 0, &d->head_dim, error);
    if (status == PV_OK) status = pv_config_count(c, "attention.value_length_mla|attention.value_length", "v_head_dim", 1, 1024, 0, &d->value_dim, error);
    if (status == PV_OK) status = pv_config_count(c, "", "num_key_value_heads", d->heads, d->heads, d->heads, &ignored, error);
    if (status == PV_OK && !c->gguf) status = pv_config_count(c, "", "qk_nope_head_dim", 1, 1024, 0, &d->plain_dim, error);
    if (status == PV_OK && c->gguf) {
        status = pv_config_count(c, "attention.key_length_mla|attention.key_length", "", d->head_dim + 1, 2048, 0, &head, error);
        d->plain_dim = status == PV_OK ? head - d->head_dim : 0;
    }
    d->kv_heads = 1;
    if (status == PV_OK && d->head_dim % 2 != 0)
        status = pv_fail(error, PV_BAD_FILE, "%s is %u, an even number is wanted", c->gguf ? "rope.dimension_count" : "qk_rope_head_dim", d->head_dim);
    return status;
}

static pv_status read_sizes(const pv_config *c, pv_decoder *d, pv_error *error)
{
    const struct {
        uint32_t *out;
        const char *gguf, *huggingface;
        uint32_t low, high, missing;
    } first[] = {
        {&d->layers, "block_count", "num_hidden_layers|n_layer", 1, PV_MAX_LAYERS, 0},
        {&d->width, "embedding_length", "hidden_size|n_embd", 1, 1 << 17, 0},
        {&d->heads, "attention.head_count", "num_attention_heads|n_head", 1, 4096, 0},
        {&d->trained_context, "context_length", "max_position_embeddings|n_positions", 1, 1 << 24, 2048},
    };
    pv_status status;
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++)
        if ((status = pv_config_count(c, first[i].gguf, first[i].huggingface, first[i].low, first[i].high, first[i].missing, first[i].out, error)) != PV_OK)
            return status;
    const uint32_t widths = d->architecture->feed_forward_widths, head_dim = d->width / d->heads;
    uint32_t ignored;
    if ((status = pv_config_count(c, "feed_forward_length", "block_ff_dim|intermediate_size|n_inner", 1, 1 << 20, widths * d->width, &d->feed_forward, error)) != PV_OK)
        return status;
    if (d->architecture->latent) return read_latent(c, d, error);
    if ((status = read_kv_heads(c, d, error)) != PV_OK) return status;
    if ((status = pv_config_count(c, "attention.key_length", "head_dim", 2, 1024, head_dim > 0 ? head_dim : 1, &d->head_dim, error)) != PV_OK) return status;
    if ((status = pv_config_count(c, "attention.value_length", "", d->head_dim, d->head_dim, d->head_dim, &ignored, error)) != PV_OK) return status;
    if (d->heads % d->kv_heads != 0 || d->head_dim % 2 != 0)
        return pv_fail_at(error, PV_BAD_FILE, pv_source_path(c->source), PV_NO_OFFSET,
                          "%u heads over %u key-value heads of %u elements: the heads must be a multiple and the size even", d->heads,
                          d->kv_heads, d->head_dim);
    return PV_OK;
}

static pv_status read_vocabulary(const pv_config *c, pv_decoder *d, pv_error *error)
{
    if (!c->gguf) return pv_config_count(c, "", "vocab_size", 1, 1 << 24, 0, &d->vocabulary, error);
    const pv_source_tensor *embed = pv_source_find(c->source, "token_embd.weight");
    if (embed == NULL || embed->rows < 1 || embed->rows > 1 << 24)
        return pv_fail_at(error, PV_BAD_FILE, "token_embd.weight", PV_NO_OFFSET, "%s has no usable tensor token_embd.weight",
                          pv_source_path(c->source));
    d->vocabulary = (uint32_t)embed->rows;
    return PV_OK;
}

/* ---- Settings of the families that this version does not run: better refused than answered wrongly ---- */

static pv_status refuse_number(const pv_config *c, const char *gguf, const char *huggingface, const char *what, pv_error *error)
{
    double value = 0;
    bool found;
    pv_status status = pv_config_number(c, gguf, huggingface, &value, &found, error);
    if (status != PV_OK || !found || value == 0) return status;
    return pv_fail(error, PV_UNSUPPORTED, "the model has %s (%g), which are not supported", what, value);
}

/* Layers without experts among those that have them. */
static pv_status refuse_mixed(const pv_config *c, pv_error *error)
{
    double every = 1;
    bool found;
    pv_status status = pv_config_number(c, "", "decoder_sparse_step", &every, &found, error);
    if (status == PV_OK && (every != 1 || pv_flat_find(&c->flat, "mlp_only_layers.0") != NULL))
        status = pv_fail(error, PV_UNSUPPORTED, "config.json: only some layers have experts, which is not supported");
    return status;
}

/* What src/format/quantization.c knows. */
static pv_status refuse_quantization(const pv_config *c, pv_error *error)
{
    static const struct {
        const char *method, *key, *known[3]; /* key: what says more, and what it may say */
    } methods[] = {{"gptq", NULL, {0}},
                   {"awq", NULL, {0}},
                   {"fp8", NULL, {0}},
                   {"mxfp4", NULL, {0}},
                   {"compressed-tensors", "quantization_config.format", {"float-quantized", "nvfp4-pack-quantized", "pack-quantized"}},
                   {"modelopt", "quantization_config.quant_algo", {"FP8", "NVFP4"}}};
    const char *method = pv_flat_string(&c->flat, "quantization_config.quant_method");
    if (method == NULL) return PV_OK;
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (strcmp(method, methods[i].method) != 0) continue;
        const char *more = methods[i].key != NULL ? pv_flat_string(&c->flat, methods[i].key) : NULL;
        for (int k = 0; k < 3 && more != NULL && methods[i].known[k] != NULL; k++)
            if (strcmp(more, methods[i].known[k]) == 0) return PV_OK;
        if (methods[i].key == NULL) return PV_OK;
        return pv_fail(error, PV_UNSUPPORTED, "config.json: %s is '%s', which is not supported; of %s '%s' is, for one", methods[i].key,
                       more != NULL ? more : "(none)", method, methods[i].known[0]);
    }
    return pv_fail(error, PV_UNSUPPORTED, "config.json: quantization method '%s' is not supported", method);
}

static pv_status refuse_unknown(const pv_config *c, const pv_decoder *d, pv_error *error)
{
    pv_status status = refuse_number(c, "attention.clamp_kqv", "clip_qkv", "clipped queries, keys and values", error);
    if (status == PV_OK && !d->architecture->shared_expert)
        status = refuse_number(c, "expert_shared_count", "n_shared_experts|shared_expert_intermediate_size", "shared experts", error);
    if (status != PV_OK) return status;
    bool parallel = false, found = false;
    char key[96];
    snprintf(key, sizeof key, "%s.use_parallel_residual", c->gguf ? c->prefix : "");
    if (c->gguf && (status = pv_meta_bool(c->source, key, &parallel, &found, error)) != PV_OK) return status;
    if (parallel || (!c->gguf && pv_flat_true(&c->flat, "use_parallel_residual")))
        return pv_fail(error, PV_UNSUPPORTED, "the model has parallel residuals, which are not supported");
    return c->gguf ? PV_OK : refuse_quantization(c, error);
}

/* ---- Experts ---- */

/* Of DeepSeek's ways to choose experts, the softmax over all of them. */
static pv_status refuse_routing(const pv_config *c, const pv_decoder *d, pv_error *error)
{
    static const struct {
        const char *name, *known;
    } texts[] = {{"topk_method", "greedy"}, {"scoring_func", "softmax"}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && !c->gguf; i++) {
        const char *text = pv_flat_string(&c->flat, texts[i].name);
        if (text != NULL && strcmp(text, texts[i].known) != 0)
            return pv_fail(error, PV_UNSUPPORTED, "config.json: %s is '%s'; '%s' is supported", texts[i].name, text, texts[i].known);
    }
    const struct {
        const char *gguf, *huggingface;
    } ones[] = {{"expert_gating_func", ""}, {"expert_group_count", ""}, {"", "moe_layer_freq"}}; /* a gating function of 1 is the softmax */
    for (size_t i = 0; i < sizeof ones / sizeof ones[0]; i++) {
        double value = 1;
        bool found;
        pv_status status = pv_config_number(c, ones[i].gguf, ones[i].huggingface, &value, &found, error);
        if (status != PV_OK) return status;
        if (found && value != 1 && (value != 0 || !c->gguf))
            return pv_fail(error, PV_UNSUPPORTED, "%s is %g; 1 is supported", c->gguf ? ones[i].gguf : ones[i].huggingface, value);
    }
    if (d->expert_normalize && d->expert_scale != 1)
        return pv_fail(error, PV_UNSUPPORTED, "the weights of experts are normalized and multiplied by %g: the one or the other is supported",
                       (double)d->expert_scale);
    return PV_OK;
}

static pv_status read_routing(const pv_config *c, pv_decoder *d, pv_error *error)
{
    char key[96];
    double scale = 1;
    bool found;
    d->expert_scale = 1;
    if (!d->architecture->routing_told) return PV_OK;
    snprintf(key, sizeof key, "%s.expert_weights_norm", c->gguf ? c->prefix : "");
    pv_status status = c->gguf ? pv_meta_bool(c->source, key, &d->expert_normalize, &found, error) : PV_OK;
    if (status == PV_OK) status = pv_config_real(c, "expert_weights_scale", "routed_scaling_factor", 0, 1e4, 1, &scale, error);
    if (status == PV_OK && scale != 0) d->expert_scale = (float)scale; /* 0: GGUF files that do not say */
    return status == PV_OK ? refuse_routing(c, d, error) : status;
}

/* As a number of experts, which are one as wide as all of them, or by its width. */
static pv_status read_shared_expert(const pv_config *c, pv_decoder *d, pv_error *error)
{
    double count = 0;
    bool found;
    if (!d->architecture->shared_expert) return PV_OK;
    if (!d->architecture->routing_told)
        return pv_config_count(c, "expert_shared_feed_forward_length", "shared_expert_intermediate_size", 1, 1 << 20, c->gguf ? d->feed_forward : 0,
                               &d->shared_feed_forward, error);
    pv_status status = pv_config_number(c, "expert_shared_count", "n_shared_experts", &count, &found, error);
    if (status != PV_OK) return status;
    if (!(count >= 0 && count <= 64) || count != floor(count))
        return pv_fail(error, PV_BAD_FILE, "%s is %g, a whole number from 0 to 64 is wanted", c->gguf ? "expert_shared_count" : "n_shared_experts", count);
    d->shared_feed_forward = (uint32_t)count * d->expert_feed_forward;
    return PV_OK;
}

static pv_status read_experts(const pv_config *c, pv_decoder *d, pv_error *error)
{
    static const char names[] = "num_local_experts|num_experts|n_routed_experts";
    if (!d->architecture->experts) return refuse_number(c, "expert_count", names, "experts", error);
    pv_status status = pv_config_count(c, "expert_count", names, 1, 1024, 0, &d->experts, error);
    if (status == PV_OK) {
        const uint32_t most = d->experts < PV_MAX_EXPERTS_USED ? d->experts : PV_MAX_EXPERTS_USED;
        status = pv_config_count(c, "expert_used_count", "num_experts_per_tok", 1, most, 0, &d->experts_used, error);
    }
    if (status == PV_OK)
        status = pv_config_count(c, "expert_feed_forward_length", "moe_intermediate_size", 1, 1 << 20, d->feed_forward, &d->expert_feed_forward, error);
    const pv_flat_entry *normalize = c->gguf ? NULL : pv_flat_find(&c->flat, "norm_topk_prob");
    d->expert_normalize = normalize != NULL ? normalize->type == PV_JSON_TRUE : d->architecture->experts_normalize;
    if (status == PV_OK) status = read_routing(c, d, error);
    if (status == PV_OK) status = read_shared_expert(c, d, error);
    return status == PV_OK && !c->gguf && !d->architecture->experts_in_some ? refuse_mixed(c, error) : status;
}

/* ---- Activation, scales, caps ---- */

static pv_status read_activation(const pv_config *c, pv_decoder *d, pv_error *error)
{
    static const struct {
        const char *name;
        pv_activation activation;
    } known[] = {{"silu", PV_ACTIVATION_SILU}, {"swish", PV_ACTIVATION_SILU}, {"gelu_pytorch_tanh", PV_ACTIVATION_GELU}, {"gelu_new", PV_ACTIVATION_GELU}};
    char name[64];
    pv_status status = pv_config_text(c, "", "hidden_activation|hidden_act|activation_function", name, error);
    d->activation = d->architecture->activation;
    if (status != PV_OK || name[0] == '\0' || d->architecture->fixed_activation) return status;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i].name, name) != 0) continue;
        d->activation = known[i].activation;
        return PV_OK;
    }
    return pv_fail(error, PV_UNSUPPORTED, "config.json: hidden_act is '%s'; 'silu', 'gelu_pytorch_tanh' and 'gelu_new' are supported", name);
}

/* Converters to GGUF leave query_pre_attn_scalar out. */
static double missing_attention_scale(const pv_config *c, const pv_decoder *d, double scalar)
{
    if (!c->gguf && scalar > 0) return 1 / sqrt(scalar);
    if (c->gguf && d->architecture->scale_by_width_at == d->layers) return 1 / sqrt((double)d->width / d->heads);
    return 1 / sqrt(d->head_dim + d->plain_dim);
}

static pv_status read_scales(const pv_config *c, pv_decoder *d, pv_error *error)
{
    const double by_width = d->architecture->embed_by_width ? sqrt(d->width) : 1;
    double epsilon, scalar, embed, residual, attention, divisor, attention_cap, logit_cap;
    const struct {
        double *out;
        const char *gguf, *huggingface;
        double low, high, missing;
    } reals[] = {
        {&epsilon, "attention.layer_norm_rms_epsilon|attention.layer_norm_epsilon", "rms_norm_eps|layer_norm_eps|layer_norm_epsilon|norm_eps", 0, 1,
         d->architecture->norm == PV_NORM_LAYER ? 1e-5 : 1e-6},
        {&scalar, "", "query_pre_attn_scalar", 0, 1e6, 0},
        {&embed, "embedding_scale", "embedding_multiplier", 1e-6, 1e6, by_width},
        {&residual, "residual_scale", "residual_multiplier", 1e-6, 1e6, 1},
        {&divisor, "logit_scale", "logits_scaling", 1e-6, 1e6, 1},
        {&attention_cap, "attn_logit_softcapping", "attn_logit_softcapping", 0, 1e6, 0},
        {&logit_cap, "final_logit_softcapping", "final_logit_softcapping", 0, 1e6, 0},
    };
    pv_status status = PV_OK;
    for (size_t i = 0; i < sizeof reals / sizeof reals[0] && status == PV_OK; i++)
        status = pv_config_real(c, reals[i].gguf, reals[i].huggingface, reals[i].low, reals[i].high, reals[i].missing, reals[i].out, error);
    if (status == PV_OK)
        status = pv_config_real(c, "attention.scale", "attention_multiplier", 1e-6, 1e3, missing_attention_scale(c, d, scalar), &attention, error);
    if (status != PV_OK) return status;
    d->norm = d->architecture->norm;
    d->norm_epsilon = (float)epsilon;
    d->embed_scale = (float)embed;
    d->residual_scale = (float)residual;
    d->logit_scale = (float)(1 / divisor);
    d->attention_scale = (float)attention;
    d->attention_soft_cap = (float)attention_cap;
    d->logit_soft_cap = (float)logit_cap;
    return PV_OK;
}

/* ---- What sets layers apart ---- */

/* Number `layer` of a list in config.json, or NULL. */
static const pv_flat_entry *list_entry(const pv_config *c, const char *list, uint32_t layer)
{
    char path[64];
    snprintf(path, sizeof path, "%s.%u", list, layer);
    return c->gguf ? NULL : pv_flat_find(&c->flat, path);
}

/* A list that tells something of every layer tells it of all of them, and of no others. */
static pv_status check_list(const pv_config *c, const pv_decoder *d, const char *list, pv_error *error)
{
    if (list_entry(c, list, 0) == NULL) return PV_OK;
    const bool few = list_entry(c, list, d->layers - 1) == NULL;
    if (!few && list_entry(c, list, d->layers) == NULL) return PV_OK;
    return pv_fail(error, PV_BAD_FILE, "config.json: %s has %s entries than the model has layers (%u)", list, few ? "fewer" : "more", d->layers);
}

/* True if the layer's number stands in a list of some layers. One pass: lists may be long, and are looked at for each layer. */
static bool list_names(const pv_config *c, const char *list, uint32_t layer)
{
    const size_t length = strlen(list);
    for (size_t i = 0; i < c->flat.count; i++) {
        const pv_flat_entry *entry = &c->flat.entries[i];
        const char *path = pv_flat_path(&c->flat, entry);
        if (entry->type == PV_JSON_NUMBER && entry->number == layer && strncmp(path, list, length) == 0 && path[length] == '.') return true;
    }
    return false;
}

static bool is_last_of(uint32_t layer, uint32_t every) { return every > 0 && (layer + 1) % every == 0; }

static pv_status layer_has_window(const pv_config *c, uint32_t layer, uint32_t first, uint32_t every, bool conv, bool *window, pv_error *error)
{
    const pv_flat_entry *type = list_entry(c, "layer_types", layer);
    *window = layer >= first && !is_last_of(layer, every);
    if (type == NULL) return PV_OK;
    const char *name = type->type == PV_JSON_STRING ? pv_flat_value(&c->flat, type) : "(no text)";
    *window = strcmp(name, "sliding_attention") == 0;
    if (*window || strcmp(name, "full_attention") == 0 || (conv && strcmp(name, "conv") == 0)) return PV_OK;
    return pv_fail(error, PV_UNSUPPORTED, "config.json: layer_types[%u] is '%s'; 'full_attention' and 'sliding_attention' are supported", layer, name);
}

/* GGUF files give such layers no key-value heads. */
static bool layer_is_conv(const pv_config *c, const pv_decoder *d, uint32_t layer)
{
    if (!d->architecture->conv) return false;
    const pv_flat_entry *type = list_entry(c, "layer_types", layer);
    if (type != NULL) return type->type == PV_JSON_STRING && strcmp(pv_flat_value(&c->flat, type), "conv") == 0;
    if (!c->gguf) return list_entry(c, "full_attn_idxs", 0) != NULL && !list_names(c, "full_attn_idxs", layer);
    char key[96];
    snprintf(key, sizeof key, "%s.attention.head_count_kv", c->gguf ? c->prefix : "");
    const pv_meta *meta = c->gguf ? pv_source_meta(c->source, key) : NULL;
    return meta != NULL && meta->type == PV_META_ARRAY && layer < meta->count && pv_meta_number(meta, layer) == 0;
}

static bool layer_turns(const pv_config *c, const pv_decoder *d, uint32_t layer)
{
    const pv_flat_entry *turns = list_entry(c, "no_rope_layers", layer); /* 1: it does */
    return turns != NULL && turns->type == PV_JSON_NUMBER ? turns->number != 0 : !is_last_of(layer, d->architecture->no_rope_every);
}

static uint32_t find_group(pv_decoder *d, uint32_t window, bool conv)
{
    for (uint32_t g = 0; g < d->group_count; g++)
        if (d->group_window[g] == window && d->group_conv[g] == conv) return g;
    d->group_window[d->group_count] = window;
    d->group_conv[d->group_count] = conv;
    return d->group_count++;
}

/* At most eight kinds: with and without a window, with and without RoPE, or with and without a convolution; each with and without experts. */
static uint8_t find_kind(pv_decoder *d, pv_layer_kind kind)
{
    for (uint32_t k = 0; k < d->kind_count; k++) {
        const pv_layer_kind *known = &d->kinds[k];
        if (known->rope == kind.rope && known->conv == kind.conv && known->group == kind.group && known->experts == kind.experts) return (uint8_t)k;
    }
    d->kinds[d->kind_count] = kind;
    return (uint8_t)d->kind_count++;
}

/* A window that no sequence outgrows is none. */
static pv_status read_window(const pv_config *c, const pv_decoder *d, uint32_t *window, uint32_t *first, pv_error *error)
{
    double value = 0;
    bool found = false;
    *window = 0;
    pv_status status = pv_config_number(c, "attention.sliding_window", "sliding_window", &value, &found, error);
    if (status != PV_OK || !found || value == 0) return status;
    if (!(value >= 1 && value <= 1 << 24) || value != floor(value))
        return pv_fail(error, PV_BAD_FILE, "sliding_window is %g, a whole number from 1 to %d is wanted", value, 1 << 24);
    const pv_flat_entry *used = c->gguf ? NULL : pv_flat_find(&c->flat, "use_sliding_window");
    if (used != NULL && used->type == PV_JSON_FALSE) return PV_OK;
    *window = value < d->trained_context ? (uint32_t)value : 0;
    if (used == NULL) return PV_OK;
    status = pv_config_number(c, "", "max_window_layers", &value, &found, error);
    *first = status == PV_OK && found && value >= 0 && value <= PV_MAX_LAYERS ? (uint32_t)value : 0;
    return status;
}

/* Which layers have experts: every so many-th from the first on that has them, but for those of a list. */
typedef struct expert_layers {
    uint32_t first, every;
} expert_layers;

static pv_status read_expert_layers(const pv_config *c, const pv_decoder *d, expert_layers *layers, pv_error *error)
{
    *layers = (expert_layers){d->experts > 0 ? 0 : PV_MAX_LAYERS, 1};
    if (!d->architecture->experts_in_some) return PV_OK;
    double first = 0;
    bool found;
    pv_status status = pv_config_number(c, "leading_dense_block_count", "first_k_dense_replace", &first, &found, error);
    if (status == PV_OK && (!(first >= 0 && first <= d->layers) || first != floor(first)))
        status = pv_fail(error, PV_BAD_FILE, "%s is %g, a whole number from 0 to %u is wanted",
                         c->gguf ? "leading_dense_block_count" : "first_k_dense_replace", first, d->layers);
    if (status == PV_OK) status = pv_config_count(c, "", "decoder_sparse_step", 1, PV_MAX_LAYERS, 1, &layers->every, error);
    if (status == PV_OK) layers->first = (uint32_t)first;
    return status;
}

static bool layer_has_experts(const pv_config *c, const expert_layers *layers, uint32_t layer)
{
    return layer >= layers->first && (layer + 1) % layers->every == 0 && !list_names(c, "mlp_only_layers", layer);
}

static pv_status read_layers(const pv_config *c, pv_decoder *d, pv_error *error)
{
    uint32_t window, every = d->architecture->window_every, first = 0;
    expert_layers experts;
    pv_status status = check_list(c, d, "layer_types", error);
    if (status == PV_OK) status = check_list(c, d, "no_rope_layers", error);
    if (status == PV_OK) status = read_window(c, d, &window, &first, error);
    if (status == PV_OK) status = read_expert_layers(c, d, &experts, error);
    if (status == PV_OK && window > 0 && every > 0)
        status = pv_config_count(c, "attention.sliding_window_pattern", "sliding_window_pattern", 1, PV_MAX_LAYERS, every, &every, error);
    for (uint32_t layer = 0; layer < d->layers && status == PV_OK; layer++) {
        bool windowed = false;
        if (window > 0 || list_entry(c, "layer_types", layer) != NULL) status = layer_has_window(c, layer, first, every, d->architecture->conv, &windowed, error);
        d->kind_of[layer] = windowed;
        if (!windowed && !layer_is_conv(c, d, layer)) find_group(d, 0, false); /* if there is a group that sees everything it is the first */
    }
    for (uint32_t layer = 0; layer < d->layers && status == PV_OK; layer++) {
        const bool windowed = d->kind_of[layer] != 0, conv = layer_is_conv(c, d, layer);
        const int rope = windowed && d->rope_count > 1 ? 1 : 0;
        const uint32_t group = find_group(d, conv ? d->conv_taps : windowed ? window : 0, conv);
        d->kind_of[layer] = find_kind(d, (pv_layer_kind){.rope = !conv && layer_turns(c, d, layer) ? rope : -1, .conv = conv, .group = group,
                                                         .experts = layer_has_experts(c, &experts, layer)});
    }
    d->rope_count = 0;
    for (uint32_t k = 0; k < d->kind_count; k++)
        if (d->kinds[k].rope >= (int)d->rope_count) d->rope_count = (uint32_t)d->kinds[k].rope + 1;
    return status;
}

/* ---- Ends of an answer ---- */

static pv_status add_ends(const pv_flat *flat, uint32_t vocabulary, int32_t *ends, size_t *count, pv_error *error)
{
    for (size_t i = 0; i < flat->count; i++) {
        const pv_flat_entry *entry = &flat->entries[i];
        const char *path = pv_flat_path(flat, entry);
        bool wanted = strcmp(path, "eos_token_id") == 0 || strncmp(path, "eos_token_id.", 13) == 0;
        if (!wanted || entry->type != PV_JSON_NUMBER) continue;
        if (!(entry->number >= 0 && entry->number < vocabulary))
            return pv_fail(error, PV_BAD_FILE, "%s: %s is %g, an id below %u is wanted", flat->file, path, entry->number, vocabulary);
        if (*count < PV_MAX_END_TOKENS) ends[(*count)++] = (int32_t)entry->number;
    }
    return PV_OK;
}

static pv_status read_ends(const pv_config *c, const pv_allocator *allocator, const pv_decoder *d, int32_t *ends, size_t *count, pv_error *error)
{
    *count = 0;
    if (c->gguf) return PV_OK; /* the tokenizer knows the keys of GGUF */
    pv_status status = add_ends(&c->flat, d->vocabulary, ends, count, error);
    if (status != PV_OK) return status;
    const char *text;
    size_t length;
    status = pv_source_text(c->source, "generation_config.json", &text, &length, error);
    if (status != PV_OK || text == NULL) return status;
    pv_flat flat;
    status = pv_flat_read(allocator, text, length, "generation_config.json", &flat, error);
    if (status != PV_OK) return status;
    status = add_ends(&flat, d->vocabulary, ends, count, error);
    pv_flat_free(&flat);
    return status;
}

/* ---- All of it ---- */

static pv_status read_description(const pv_config *c, pv_decoder *d, pv_error *error)
{
    pv_status status = refuse_unknown(c, d, error);
    if (status == PV_OK) status = read_sizes(c, d, error);
    if (status == PV_OK) status = read_vocabulary(c, d, error);
    if (status == PV_OK) status = read_experts(c, d, error);
    if (status == PV_OK) status = read_convolution(c, d, error);
    if (status == PV_OK) status = read_activation(c, d, error);
    if (status == PV_OK) status = read_scales(c, d, error);
    if (status == PV_OK) status = pv_rope_read(c, d, error);
    if (status == PV_OK && d->latent > 0) d->attention_scale = (float)(d->attention_scale * d->ropes[0].score_scale);
    return status == PV_OK ? read_layers(c, d, error) : status;
}

pv_status pv_decoder_read(const pv_allocator *allocator, pv_source *source, pv_decoder *decoder, int32_t ends[PV_MAX_END_TOKENS],
                          size_t *end_count, pv_error *error)
{
    pv_config c = {.source = source, .gguf = pv_source_get_kind(source) == PV_SOURCE_GGUF};
    char name[64];
    *decoder = (pv_decoder){0};
    pv_status status = c.gguf ? find_gguf_architecture(&c, decoder, name, error)
                              : find_huggingface_architecture(&c, allocator, decoder, name, error);
    if (status == PV_OK && decoder->architecture == NULL)
        status = pv_fail(error, PV_UNSUPPORTED, "architecture '%s' is not supported; these are: %s", name, pv_architecture_names());
    if (status == PV_OK) status = read_description(&c, decoder, error);
    if (status == PV_OK) status = read_ends(&c, allocator, decoder, ends, end_count, error);
    pv_flat_free(&c.flat);
    return status;
}
