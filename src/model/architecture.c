#include "model/architecture.h"

#include <stdio.h>
#include <string.h>

#include "backend/backend.h"

#define LAYER(member, gguf, huggingface, optional, rows, cols, uses) \
    {"blk.%u." gguf, "model.layers.%u." huggingface, true, optional, offsetof(pv_layer_weights, member), PV_SIZE_##rows, PV_SIZE_##cols, uses}
#define GLOBAL(member, gguf, huggingface, optional, rows, cols, uses) \
    {gguf, huggingface, false, optional, offsetof(pv_weights, member), PV_SIZE_##rows, PV_SIZE_##cols, uses}

/* The Llama family's names, which most later families took over. */
static const pv_role llama_roles[] = {
    GLOBAL(embed, "token_embd.weight", "model.embed_tokens.weight", false, VOCABULARY, WIDTH, PV_USE_ROWS),
    GLOBAL(output_norm, "output_norm.weight", "model.norm.weight", false, ONE, WIDTH, PV_USE_VECTOR),
    GLOBAL(output, "output.weight", "lm_head.weight", true, VOCABULARY, WIDTH, PV_USE_MATRIX),
    LAYER(attention_norm, "attn_norm.weight", "input_layernorm.weight", false, ONE, WIDTH, PV_USE_VECTOR),
    LAYER(q, "attn_q.weight", "self_attn.q_proj.weight", false, HEADS, WIDTH, PV_USE_MATRIX),
    LAYER(k, "attn_k.weight", "self_attn.k_proj.weight", false, KV_HEADS, WIDTH, PV_USE_MATRIX),
    LAYER(v, "attn_v.weight", "self_attn.v_proj.weight", false, KV_HEADS, WIDTH, PV_USE_MATRIX),
    LAYER(q_bias, "attn_q.bias", "self_attn.q_proj.bias", true, ONE, HEADS, PV_USE_VECTOR),
    LAYER(k_bias, "attn_k.bias", "self_attn.k_proj.bias", true, ONE, KV_HEADS, PV_USE_VECTOR),
    LAYER(v_bias, "attn_v.bias", "self_attn.v_proj.bias", true, ONE, KV_HEADS, PV_USE_VECTOR),
    LAYER(attention_out, "attn_output.weight", "self_attn.o_proj.weight", false, WIDTH, HEADS, PV_USE_MATRIX),
    LAYER(attention_out_bias, "attn_output.bias", "self_attn.o_proj.bias", true, ONE, WIDTH, PV_USE_VECTOR),
    LAYER(feed_forward_norm, "ffn_norm.weight", "post_attention_layernorm.weight", false, ONE, WIDTH, PV_USE_VECTOR),
    LAYER(gate, "ffn_gate.weight", "mlp.gate_proj.weight", false, FEED_FORWARD, WIDTH, PV_USE_MATRIX),
    LAYER(up, "ffn_up.weight", "mlp.up_proj.weight", false, FEED_FORWARD, WIDTH, PV_USE_MATRIX),
    LAYER(down, "ffn_down.weight", "mlp.down_proj.weight", false, WIDTH, FEED_FORWARD, PV_USE_MATRIX),
    LAYER(gate_bias, "ffn_gate.bias", "mlp.gate_proj.bias", true, ONE, FEED_FORWARD, PV_USE_VECTOR),
    LAYER(up_bias, "ffn_up.bias", "mlp.up_proj.bias", true, ONE, FEED_FORWARD, PV_USE_VECTOR),
    LAYER(down_bias, "ffn_down.bias", "mlp.down_proj.bias", true, ONE, WIDTH, PV_USE_VECTOR),
};

#define ROLES(table) table, sizeof table / sizeof table[0]

static const pv_architecture architectures[] = {
    {"llama", "LlamaForCausalLM", ROLES(llama_roles), PV_ROPE_NEIGHBOURS},
};

void pv_role_name(const char *pattern, uint32_t layer, char out[128])
{
    const char *mark = strstr(pattern, "%u");
    if (mark == NULL)
        snprintf(out, 128, "%s", pattern);
    else
        snprintf(out, 128, "%.*s%u%s", (int)(mark - pattern), pattern, layer, mark + 2);
}

const pv_architecture *pv_architecture_find(const char *gguf_name, const char *class_name)
{
    for (size_t i = 0; i < sizeof architectures / sizeof architectures[0]; i++) {
        if (gguf_name != NULL && strcmp(architectures[i].name, gguf_name) == 0) return &architectures[i];
        if (class_name != NULL && strcmp(architectures[i].class_name, class_name) == 0) return &architectures[i];
    }
    return NULL;
}

const char *pv_architecture_names(void)
{
    return "llama (LlamaForCausalLM)";
}

uint32_t pv_decoder_size(const pv_decoder *decoder, pv_size size)
{
    switch (size) {
    case PV_SIZE_ONE: return 1;
    case PV_SIZE_WIDTH: return decoder->width;
    case PV_SIZE_HEADS: return decoder->heads * decoder->head_dim;
    case PV_SIZE_KV_HEADS: return decoder->kv_heads * decoder->head_dim;
    case PV_SIZE_FEED_FORWARD: return decoder->feed_forward;
    case PV_SIZE_VOCABULARY: return decoder->vocabulary;
    }
    return 0;
}
