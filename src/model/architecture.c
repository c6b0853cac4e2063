#include "model/architecture.h"

#include <stdio.h>
#include <string.h>

#include "backend/backend.h"
#include "model/config.h"

/* What follows `uses` in these tables are members of pv_role that are not zero. */
#define ROLE(weights, member_, gguf_, huggingface_, optional_, rows_, cols_, uses_, ...)                                        \
    {.gguf = gguf_, .huggingface = huggingface_, .optional = optional_, .member = offsetof(weights, member_),                   \
     .rows = PV_SIZE_##rows_, .cols = PV_SIZE_##cols_, .uses = uses_, __VA_ARGS__}
#define GLOBAL(member, gguf, huggingface, optional, rows, cols, uses)                                                           \
    ROLE(pv_weights, member, gguf, huggingface, optional, rows, cols, uses, .per_layer = false)
/* In every layer, or in those that `layers` names; Hugging Face's names as they are, "%u" being the layer. */
#define LAYER_NAMED(member, gguf, huggingface, optional, rows, cols, uses, ...)                                                 \
    ROLE(pv_layer_weights, member, "blk.%u." gguf, huggingface, optional, rows, cols, uses, .per_layer = true, __VA_ARGS__)
#define LAYER_OF(member, gguf, huggingface, optional, rows, cols, uses, ...)                                                    \
    LAYER_NAMED(member, gguf, "model.layers.%u." huggingface, optional, rows, cols, uses, __VA_ARGS__)
#define LAYER(member, gguf, huggingface, optional, rows, cols, uses)                                                            \
    LAYER_OF(member, gguf, huggingface, optional, rows, cols, uses, .layers = PV_LAYERS_ALL)
#define ATTENTION(member, gguf, huggingface, optional, rows, cols, uses)                                                        \
    LAYER_OF(member, gguf, huggingface, optional, rows, cols, uses, .layers = PV_LAYERS_ATTENTION)
#define CONV(member, gguf, huggingface, optional, rows, cols, uses)                                                             \
    LAYER_OF(member, gguf, huggingface, optional, rows, cols, uses, .layers = PV_LAYERS_CONV)
#define DENSE(member, gguf, huggingface, optional, rows, cols, uses)                                                            \
    LAYER_OF(member, gguf, huggingface, optional, rows, cols, uses, .layers = PV_LAYERS_DENSE)
#define WITH_EXPERTS(member, gguf, huggingface, optional, rows, cols, uses)                                                     \
    LAYER_OF(member, gguf, huggingface, optional, rows, cols, uses, .layers = PV_LAYERS_EXPERTS)
#define EXPERT(member, gguf, huggingface, optional, rows, cols, uses)                                                           \
    EXPERT_EVERY(member, gguf, huggingface, optional, rows, cols, uses, 0)
#define EXPERT_EVERY(member, gguf, huggingface, optional, rows, cols, uses, interleaved_)                                       \
    LAYER_OF(member, gguf, huggingface, optional, rows, cols, uses, .layers = PV_LAYERS_EXPERTS, .experts = true,               \
             .interleaved = interleaved_)
/* A part of a tensor has the name and the whole of what it is a part of. */
#define LAYER_PART(member, gguf, huggingface, optional, rows, cols, uses, whole_, first_, ...)                                  \
    LAYER_NAMED(member, gguf, huggingface, optional, rows, cols, uses, .whole = PV_SIZE_##whole_, .first = PV_SIZE_##first_,    \
                __VA_ARGS__)
/* Each head's part of its stretch of `whole` rows. */
#define HEAD_PART(member, gguf, huggingface, rows, cols, whole_, first_, turned_, unless_)                                      \
    LAYER_OF(member, gguf, huggingface, false, rows, cols, PV_USE_MATRIX, .whole = PV_SIZE_##whole_, .first = PV_SIZE_##first_, \
             .heads = true, .turned = turned_, .unless = unless_)
/* The same as GGUF files may have it: by itself, all heads one behind the other. */
#define HEADS_APART(member, gguf, rows, cols)                                                                                   \
    LAYER_NAMED(member, gguf, NULL, true, rows, cols, PV_USE_MATRIX, .stacked = true)
#define TABLE(name) static const pv_role_table name = {name##_roles, sizeof name##_roles / sizeof name##_roles[0]}

/* ---- The Llama family's names, which most later families took over ---- */

static const pv_role ends_roles[] = {
    GLOBAL(embed, "token_embd.weight", "model.embed_tokens.weight", false, VOCABULARY, WIDTH, PV_USE_ROWS),
    GLOBAL(output_norm, "output_norm.weight", "model.norm.weight", false, ONE, WIDTH, PV_USE_VECTOR),
    GLOBAL(output, "output.weight", "lm_head.weight", true, VOCABULARY, WIDTH, PV_USE_MATRIX),
};
TABLE(ends);

static const pv_role pre_norm_roles[] = {
    LAYER(attention_norm, "attn_norm.weight", "input_layernorm.weight", false, ONE, WIDTH, PV_USE_VECTOR),
    LAYER(feed_forward_norm, "ffn_norm.weight", "post_attention_layernorm.weight", false, ONE, WIDTH, PV_USE_VECTOR),
};
TABLE(pre_norm);

static const pv_role attention_roles[] = {
    LAYER(q, "attn_q.weight", "self_attn.q_proj.weight", false, HEADS, WIDTH, PV_USE_MATRIX),
    LAYER(k, "attn_k.weight", "self_attn.k_proj.weight", false, KV_HEADS, WIDTH, PV_USE_MATRIX),
    LAYER(v, "attn_v.weight", "self_attn.v_proj.weight", false, KV_HEADS, WIDTH, PV_USE_MATRIX),
    LAYER(q_bias, "attn_q.bias", "self_attn.q_proj.bias", true, ONE, HEADS, PV_USE_VECTOR),
    LAYER(k_bias, "attn_k.bias", "self_attn.k_proj.bias", true, ONE, KV_HEADS, PV_USE_VECTOR),
    LAYER(v_bias, "attn_v.bias", "self_attn.v_proj.bias", true, ONE, KV_HEADS, PV_USE_VECTOR),
    LAYER(attention_out, "attn_output.weight", "self_attn.o_proj.weight", false, WIDTH, HEADS, PV_USE_MATRIX),
    LAYER(attention_out_bias, "attn_output.bias", "self_attn.o_proj.bias", true, ONE, WIDTH, PV_USE_VECTOR),
};
TABLE(attention);

static const pv_role feed_forward_roles[] = {
    DENSE(gate, "ffn_gate.weight", "mlp.gate_proj.weight", false, FEED_FORWARD, WIDTH, PV_USE_MATRIX),
    DENSE(up, "ffn_up.weight", "mlp.up_proj.weight", false, FEED_FORWARD, WIDTH, PV_USE_MATRIX),
    DENSE(down, "ffn_down.weight", "mlp.down_proj.weight", false, WIDTH, FEED_FORWARD, PV_USE_MATRIX),
    DENSE(gate_bias, "ffn_gate.bias", "mlp.gate_proj.bias", true, ONE, FEED_FORWARD, PV_USE_VECTOR),
    DENSE(up_bias, "ffn_up.bias", "mlp.up_proj.bias", true, ONE, FEED_FORWARD, PV_USE_VECTOR),
    DENSE(down_bias, "ffn_down.bias", "mlp.down_proj.bias", true, ONE, WIDTH, PV_USE_VECTOR),
};
TABLE(feed_forward);

/* ---- What single families add or do otherwise ---- */

/* Queries and keys normed head by head, or as whole rows. */
static const pv_role head_norm_roles[] = {
    LAYER(q_norm, "attn_q_norm.weight", "self_attn.q_norm.weight", false, ONE, HEAD, PV_USE_VECTOR),
    LAYER(k_norm, "attn_k_norm.weight", "self_attn.k_norm.weight", false, ONE, HEAD, PV_USE_VECTOR),
};
TABLE(head_norm);

static const pv_role row_norm_roles[] = {
    LAYER(q_norm, "attn_q_norm.weight", "self_attn.q_norm.weight", false, ONE, HEADS, PV_USE_VECTOR),
    LAYER(k_norm, "attn_k_norm.weight", "self_attn.k_norm.weight", false, ONE, KV_HEADS, PV_USE_VECTOR),
};
TABLE(row_norm);

/* Norms behind the blocks, alone and beside those before them. */
static const pv_role post_norm_roles[] = {
    LAYER(attention_post_norm, "post_attention_norm.weight", "post_attention_layernorm.weight", false, ONE, WIDTH, PV_USE_VECTOR),
    LAYER(feed_forward_post_norm, "post_ffw_norm.weight", "post_feedforward_layernorm.weight", false, ONE, WIDTH, PV_USE_VECTOR),
};
TABLE(post_norm);

static const pv_role gemma_norm_roles[] = {
    LAYER(attention_norm, "attn_norm.weight", "input_layernorm.weight", false, ONE, WIDTH, PV_USE_VECTOR),
    LAYER(feed_forward_norm, "ffn_norm.weight", "pre_feedforward_layernorm.weight", false, ONE, WIDTH, PV_USE_VECTOR),
};
TABLE(gemma_norm);

static const pv_role norm_bias_roles[] = {
    GLOBAL(output_norm_bias, "output_norm.bias", "model.norm.bias", false, ONE, WIDTH, PV_USE_VECTOR),
    LAYER(attention_norm_bias, "attn_norm.bias", "input_layernorm.bias", false, ONE, WIDTH, PV_USE_VECTOR),
    LAYER(feed_forward_norm_bias, "ffn_norm.bias", "post_attention_layernorm.bias", false, ONE, WIDTH, PV_USE_VECTOR),
};
TABLE(norm_bias);

#define PHI "model.layers.%u."
static const pv_role phi_roles[] = {
    LAYER_PART(q, "attn_qkv.weight", PHI "self_attn.qkv_proj.weight", false, HEADS, WIDTH, PV_USE_MATRIX, QKV, ZERO),
    LAYER_PART(k, "attn_qkv.weight", PHI "self_attn.qkv_proj.weight", false, KV_HEADS, WIDTH, PV_USE_MATRIX, QKV, HEADS),
    LAYER_PART(v, "attn_qkv.weight", PHI "self_attn.qkv_proj.weight", false, KV_HEADS, WIDTH, PV_USE_MATRIX, QKV, HEADS_KV),
    LAYER(attention_out, "attn_output.weight", "self_attn.o_proj.weight", false, WIDTH, HEADS, PV_USE_MATRIX),
    LAYER_PART(gate, "ffn_up.weight", PHI "mlp.gate_up_proj.weight", false, FEED_FORWARD, WIDTH, PV_USE_MATRIX, GATE_UP, ZERO),
    LAYER_PART(up, "ffn_up.weight", PHI "mlp.gate_up_proj.weight", false, FEED_FORWARD, WIDTH, PV_USE_MATRIX, GATE_UP, FEED_FORWARD),
    LAYER(down, "ffn_down.weight", "mlp.down_proj.weight", false, WIDTH, FEED_FORWARD, PV_USE_MATRIX),
};
TABLE(phi);

#define GPT2 "transformer.h.%u."
static const pv_role gpt2_roles[] = {
    GLOBAL(embed, "token_embd.weight", "transformer.wte.weight", false, VOCABULARY, WIDTH, PV_USE_ROWS),
    GLOBAL(positions, "position_embd.weight", "transformer.wpe.weight", false, CONTEXT, WIDTH, PV_USE_ROWS),
    GLOBAL(output_norm, "output_norm.weight", "transformer.ln_f.weight", false, ONE, WIDTH, PV_USE_VECTOR),
    GLOBAL(output_norm_bias, "output_norm.bias", "transformer.ln_f.bias", false, ONE, WIDTH, PV_USE_VECTOR),
    GLOBAL(output, "output.weight", "lm_head.weight", true, VOCABULARY, WIDTH, PV_USE_MATRIX),
    LAYER_NAMED(attention_norm, "attn_norm.weight", GPT2 "ln_1.weight", false, ONE, WIDTH, PV_USE_VECTOR),
    LAYER_NAMED(attention_norm_bias, "attn_norm.bias", GPT2 "ln_1.bias", false, ONE, WIDTH, PV_USE_VECTOR),
    LAYER_PART(q, "attn_qkv.weight", GPT2 "attn.c_attn.weight", false, HEADS, WIDTH, PV_USE_MATRIX, QKV, ZERO),
    LAYER_PART(k, "attn_qkv.weight", GPT2 "attn.c_attn.weight", false, KV_HEADS, WIDTH, PV_USE_MATRIX, QKV, HEADS),
    LAYER_PART(v, "attn_qkv.weight", GPT2 "attn.c_attn.weight", false, KV_HEADS, WIDTH, PV_USE_MATRIX, QKV, HEADS_KV),
    LAYER_PART(q_bias, "attn_qkv.bias", GPT2 "attn.c_attn.bias", false, ONE, HEADS, PV_USE_VECTOR, QKV, ZERO),
    LAYER_PART(k_bias, "attn_qkv.bias", GPT2 "attn.c_attn.bias", false, ONE, KV_HEADS, PV_USE_VECTOR, QKV, HEADS),
    LAYER_PART(v_bias, "attn_qkv.bias", GPT2 "attn.c_attn.bias", false, ONE, KV_HEADS, PV_USE_VECTOR, QKV, HEADS_KV),
    LAYER_NAMED(attention_out, "attn_output.weight", GPT2 "attn.c_proj.weight", false, WIDTH, HEADS, PV_USE_MATRIX),
    LAYER_NAMED(attention_out_bias, "attn_output.bias", GPT2 "attn.c_proj.bias", false, ONE, WIDTH, PV_USE_VECTOR),
    LAYER_NAMED(feed_forward_norm, "ffn_norm.weight", GPT2 "ln_2.weight", false, ONE, WIDTH, PV_USE_VECTOR),
    LAYER_NAMED(feed_forward_norm_bias, "ffn_norm.bias", GPT2 "ln_2.bias", false, ONE, WIDTH, PV_USE_VECTOR),
    LAYER_NAMED(up, "ffn_up.weight", GPT2 "mlp.c_fc.weight", false, FEED_FORWARD, WIDTH, PV_USE_MATRIX),
    LAYER_NAMED(up_bias, "ffn_up.bias", GPT2 "mlp.c_fc.bias", false, ONE, FEED_FORWARD, PV_USE_VECTOR),
    LAYER_NAMED(down, "ffn_down.weight", GPT2 "mlp.c_proj.weight", false, WIDTH, FEED_FORWARD, PV_USE_MATRIX),
    LAYER_NAMED(down_bias, "ffn_down.bias", GPT2 "mlp.c_proj.bias", false, ONE, WIDTH, PV_USE_VECTOR),
};
TABLE(gpt2);

#define LFM "model.layers.%u."
static const pv_role lfm2_roles[] = {
    GLOBAL(embed, "token_embd.weight", "model.embed_tokens.weight", false, VOCABULARY, WIDTH, PV_USE_ROWS),
    GLOBAL(output_norm, "token_embd_norm.weight", "model.embedding_norm.weight", false, ONE, WIDTH, PV_USE_VECTOR),
    GLOBAL(output, "output.weight", "lm_head.weight", true, VOCABULARY, WIDTH, PV_USE_MATRIX),
    LAYER(attention_norm, "attn_norm.weight", "operator_norm.weight", false, ONE, WIDTH, PV_USE_VECTOR),
    LAYER(feed_forward_norm, "ffn_norm.weight", "ffn_norm.weight", false, ONE, WIDTH, PV_USE_VECTOR),
    LAYER(gate, "ffn_gate.weight", "feed_forward.w1.weight", false, FEED_FORWARD, WIDTH, PV_USE_MATRIX),
    LAYER(up, "ffn_up.weight", "feed_forward.w3.weight", false, FEED_FORWARD, WIDTH, PV_USE_MATRIX),
    LAYER(down, "ffn_down.weight", "feed_forward.w2.weight", false, WIDTH, FEED_FORWARD, PV_USE_MATRIX),
    ATTENTION(q, "attn_q.weight", "self_attn.q_proj.weight", false, HEADS, WIDTH, PV_USE_MATRIX),
    ATTENTION(k, "attn_k.weight", "self_attn.k_proj.weight", false, KV_HEADS, WIDTH, PV_USE_MATRIX),
    ATTENTION(v, "attn_v.weight", "self_attn.v_proj.weight", false, KV_HEADS, WIDTH, PV_USE_MATRIX),
    ATTENTION(attention_out, "attn_output.weight", "self_attn.out_proj.weight", false, WIDTH, HEADS, PV_USE_MATRIX),
    ATTENTION(q_norm, "attn_q_norm.weight", "self_attn.q_layernorm.weight", false, ONE, HEAD, PV_USE_VECTOR),
    ATTENTION(k_norm, "attn_k_norm.weight", "self_attn.k_layernorm.weight", false, ONE, HEAD, PV_USE_VECTOR),
    CONV(conv, "shortconv.conv.weight", "conv.conv.weight", false, WIDTH, TAPS, PV_USE_VECTOR),
    LAYER_PART(conv_before, "shortconv.in_proj.weight", LFM "conv.in_proj.weight", false, WIDTH, WIDTH, PV_USE_MATRIX, WIDTH_3, ZERO,
               .layers = PV_LAYERS_CONV),
    LAYER_PART(conv_after, "shortconv.in_proj.weight", LFM "conv.in_proj.weight", false, WIDTH, WIDTH, PV_USE_MATRIX, WIDTH_3, WIDTH,
               .layers = PV_LAYERS_CONV),
    LAYER_PART(conv_x, "shortconv.in_proj.weight", LFM "conv.in_proj.weight", false, WIDTH, WIDTH, PV_USE_MATRIX, WIDTH_3, WIDTH_2,
               .layers = PV_LAYERS_CONV),
    CONV(conv_out, "shortconv.out_proj.weight", "conv.out_proj.weight", false, WIDTH, WIDTH, PV_USE_MATRIX),
};
TABLE(lfm2);

/* ---- Latent attention ---- */

#define DEEPSEEK "model.layers.%u.self_attn."
static const pv_role latent_attention_roles[] = {
    HEAD_PART(q, "attn_q.weight", "self_attn.q_proj.weight", PLAIN, DIRECT, PLAIN_HEAD, ZERO, false, NULL),
    HEAD_PART(q_turning, "attn_q.weight", "self_attn.q_proj.weight", HEAD, DIRECT, PLAIN_HEAD, PLAIN, false, NULL),
    LAYER(query_latent, "attn_q_a.weight", "self_attn.q_a_proj.weight", false, QUERY_LATENT, WIDTH, PV_USE_MATRIX),
    LAYER(query_latent_norm, "attn_q_a_norm.weight", "self_attn.q_a_layernorm.weight", false, ONE, QUERY_LATENT, PV_USE_VECTOR),
    HEAD_PART(q, "attn_q_b.weight", "self_attn.q_b_proj.weight", PLAIN, QUERY_LATENT, PLAIN_HEAD, ZERO, false, NULL),
    HEAD_PART(q_turning, "attn_q_b.weight", "self_attn.q_b_proj.weight", HEAD, QUERY_LATENT, PLAIN_HEAD, PLAIN, false, NULL),
    LAYER_PART(latent, "attn_kv_a_mqa.weight", DEEPSEEK "kv_a_proj_with_mqa.weight", false, LATENT, WIDTH, PV_USE_MATRIX, LATENT_KEY, ZERO),
    LAYER_PART(k_turning, "attn_kv_a_mqa.weight", DEEPSEEK "kv_a_proj_with_mqa.weight", false, HEAD, WIDTH, PV_USE_MATRIX, LATENT_KEY, LATENT),
    LAYER(latent_norm, "attn_kv_a_norm.weight", "self_attn.kv_a_layernorm.weight", false, ONE, LATENT, PV_USE_VECTOR),
    HEADS_APART(k_latent, "attn_k_b.weight", LATENTS, PLAIN),
    HEADS_APART(v_latent, "attn_v_b.weight", VALUES, LATENT),
    HEAD_PART(k_latent, "attn_kv_b.weight", "self_attn.kv_b_proj.weight", LATENT, PLAIN, PLAIN_VALUE, ZERO, true, "blk.%u.attn_k_b.weight"),
    HEAD_PART(v_latent, "attn_kv_b.weight", "self_attn.kv_b_proj.weight", VALUE, LATENT, PLAIN_VALUE, PLAIN, false, "blk.%u.attn_v_b.weight"),
    LAYER(attention_out, "attn_output.weight", "self_attn.o_proj.weight", false, WIDTH, VALUES, PV_USE_MATRIX),
};
TABLE(latent_attention);

/* ---- Experts ---- */

static const pv_role mixtral_roles[] = {
    WITH_EXPERTS(router, "ffn_gate_inp.weight", "block_sparse_moe.gate.weight", false, EXPERTS, WIDTH, PV_USE_MATRIX),
    EXPERT(expert_gate, "ffn_gate_exps.weight", "block_sparse_moe.experts.%u.w1.weight", false, EXPERT_FEED_FORWARD, WIDTH, PV_USE_MATRIX),
    EXPERT(expert_up, "ffn_up_exps.weight", "block_sparse_moe.experts.%u.w3.weight", false, EXPERT_FEED_FORWARD, WIDTH, PV_USE_MATRIX),
    EXPERT(expert_down, "ffn_down_exps.weight", "block_sparse_moe.experts.%u.w2.weight", false, WIDTH, EXPERT_FEED_FORWARD, PV_USE_MATRIX),
};
TABLE(mixtral);

static const pv_role mlp_experts_roles[] = {
    WITH_EXPERTS(router, "ffn_gate_inp.weight", "mlp.gate.weight", false, EXPERTS, WIDTH, PV_USE_MATRIX),
    EXPERT(expert_gate, "ffn_gate_exps.weight", "mlp.experts.%u.gate_proj.weight", false, EXPERT_FEED_FORWARD, WIDTH, PV_USE_MATRIX),
    EXPERT(expert_up, "ffn_up_exps.weight", "mlp.experts.%u.up_proj.weight", false, EXPERT_FEED_FORWARD, WIDTH, PV_USE_MATRIX),
    EXPERT(expert_down, "ffn_down_exps.weight", "mlp.experts.%u.down_proj.weight", false, WIDTH, EXPERT_FEED_FORWARD, PV_USE_MATRIX),
};
TABLE(mlp_experts);

static const pv_role deepseek_shared_roles[] = {
    WITH_EXPERTS(shared_gate, "ffn_gate_shexp.weight", "mlp.shared_experts.gate_proj.weight", false, SHARED_FEED_FORWARD, WIDTH, PV_USE_MATRIX),
    WITH_EXPERTS(shared_up, "ffn_up_shexp.weight", "mlp.shared_experts.up_proj.weight", false, SHARED_FEED_FORWARD, WIDTH, PV_USE_MATRIX),
    WITH_EXPERTS(shared_down, "ffn_down_shexp.weight", "mlp.shared_experts.down_proj.weight", false, WIDTH, SHARED_FEED_FORWARD, PV_USE_MATRIX),
};
TABLE(deepseek_shared);

static const pv_role qwen_shared_roles[] = {
    WITH_EXPERTS(shared_gate, "ffn_gate_shexp.weight", "mlp.shared_expert.gate_proj.weight", false, SHARED_FEED_FORWARD, WIDTH, PV_USE_MATRIX),
    WITH_EXPERTS(shared_up, "ffn_up_shexp.weight", "mlp.shared_expert.up_proj.weight", false, SHARED_FEED_FORWARD, WIDTH, PV_USE_MATRIX),
    WITH_EXPERTS(shared_down, "ffn_down_shexp.weight", "mlp.shared_expert.down_proj.weight", false, WIDTH, SHARED_FEED_FORWARD, PV_USE_MATRIX),
    WITH_EXPERTS(shared_router, "ffn_gate_inp_shexp.weight", "mlp.shared_expert_gate.weight", false, ONE, WIDTH, PV_USE_MATRIX),
};
TABLE(qwen_shared);

static const pv_role gpt_oss_roles[] = {
    LAYER(attention_norm, "attn_norm.weight", "input_layernorm.weight", false, ONE, WIDTH, PV_USE_VECTOR),
    LAYER(feed_forward_norm, "post_attention_norm.weight", "post_attention_layernorm.weight", false, ONE, WIDTH, PV_USE_VECTOR),
    LAYER(sinks, "attn_sinks.weight", "self_attn.sinks", false, ONE, ATTENTION_HEADS, PV_USE_VECTOR),
    WITH_EXPERTS(router, "ffn_gate_inp.weight", "mlp.router.weight", false, EXPERTS, WIDTH, PV_USE_MATRIX),
    WITH_EXPERTS(router_bias, "ffn_gate_inp.bias", "mlp.router.bias", false, ONE, EXPERTS, PV_USE_VECTOR),
    EXPERT_EVERY(expert_gate, "ffn_gate_exps.weight", "mlp.experts.gate_up_proj", false, EXPERT_FEED_FORWARD, WIDTH, PV_USE_MATRIX, 1),
    EXPERT_EVERY(expert_up, "ffn_up_exps.weight", "mlp.experts.gate_up_proj", false, EXPERT_FEED_FORWARD, WIDTH, PV_USE_MATRIX, 2),
    EXPERT(expert_down, "ffn_down_exps.weight", "mlp.experts.down_proj", false, WIDTH, EXPERT_FEED_FORWARD, PV_USE_MATRIX),
    EXPERT_EVERY(expert_gate_bias, "ffn_gate_exps.bias", "mlp.experts.gate_up_proj_bias", false, ONE, EXPERT_FEED_FORWARD, PV_USE_VECTOR, 1),
    EXPERT_EVERY(expert_up_bias, "ffn_up_exps.bias", "mlp.experts.gate_up_proj_bias", false, ONE, EXPERT_FEED_FORWARD, PV_USE_VECTOR, 2),
    EXPERT(expert_down_bias, "ffn_down_exps.bias", "mlp.experts.down_proj_bias", false, ONE, WIDTH, PV_USE_VECTOR),
};
TABLE(gpt_oss);

/* ---- The architectures ---- */

/* Gemma3TextConfig; checkpoints with a vision tower leave most of it out. */
static const pv_config_default gemma3_defaults[] = {
    {"num_attention_heads", 8}, {"num_key_value_heads", 4}, {"head_dim", 256}, {"vocab_size", 262208}, {"max_position_embeddings", 131072},
    {"rms_norm_eps", 1e-6}, {"rope_theta", 1000000}, {"query_pre_attn_scalar", 256}, {"sliding_window", 4096}, {NULL, 0},
};
static const char *const gemma3_prefixes[] = {"language_model.", "model.language_model.", NULL};
static const char *const gemma3_other_parts[] = {"vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector.", NULL};

#define LLAMA_TABLES &ends, &pre_norm, &attention, &feed_forward

static const pv_architecture architectures[] = {
    {"llama", "LlamaForCausalLM", {LLAMA_TABLES}, PV_ROPE_NEIGHBOURS, .activation = PV_ACTIVATION_SILU},
    {"mistral", "MistralForCausalLM", {LLAMA_TABLES}, PV_ROPE_NEIGHBOURS, .activation = PV_ACTIVATION_SILU},
    {"qwen2", "Qwen2ForCausalLM", {LLAMA_TABLES}, PV_ROPE_HALVES, .activation = PV_ACTIVATION_SILU},
    {"qwen3", "Qwen3ForCausalLM", {LLAMA_TABLES, &head_norm}, PV_ROPE_HALVES, .activation = PV_ACTIVATION_SILU},
    {"phi3", "Phi3ForCausalLM", {&ends, &pre_norm, &phi}, PV_ROPE_HALVES, .activation = PV_ACTIVATION_SILU},
    {"gemma2", "Gemma2ForCausalLM", {&ends, &gemma_norm, &post_norm, &attention, &feed_forward}, PV_ROPE_HALVES, .activation = PV_ACTIVATION_GELU,
     .norm_less_one = true, .embed_by_width = true, .window_every = 2, .scale_by_width_at = 46},
    {"gemma3", "Gemma3ForCausalLM", {&ends, &gemma_norm, &post_norm, &attention, &feed_forward, &head_norm}, PV_ROPE_HALVES,
     .activation = PV_ACTIVATION_GELU, .norm_less_one = true, .embed_by_width = true, .window_every = 6, .window_theta = 10000,
     .scale_by_width_at = 62, .defaults = gemma3_defaults},
    {"gemma3 with a vision tower", "Gemma3ForConditionalGeneration", {&ends, &gemma_norm, &post_norm, &attention, &feed_forward, &head_norm}, PV_ROPE_HALVES,
     .activation = PV_ACTIVATION_GELU, .norm_less_one = true, .embed_by_width = true, .window_every = 6, .window_theta = 10000,
     .defaults = gemma3_defaults, .inside = "text_config.", .inside_prefixes = gemma3_prefixes, .other_parts = gemma3_other_parts},
    {"gemma", "GemmaForCausalLM", {LLAMA_TABLES}, PV_ROPE_HALVES, .activation = PV_ACTIVATION_GELU, .fixed_activation = true, .norm_less_one = true,
     .embed_by_width = true},
    {"smollm3", "SmolLM3ForCausalLM", {LLAMA_TABLES}, PV_ROPE_NEIGHBOURS, .activation = PV_ACTIVATION_SILU, .no_rope_every = 4},
    {"olmo2", "Olmo2ForCausalLM", {&ends, &post_norm, &attention, &feed_forward, &row_norm}, PV_ROPE_HALVES, .activation = PV_ACTIVATION_SILU},
    {"granite", "GraniteForCausalLM", {LLAMA_TABLES}, PV_ROPE_NEIGHBOURS, .activation = PV_ACTIVATION_SILU},
    {"stablelm", "StableLmForCausalLM", {LLAMA_TABLES, &norm_bias}, PV_ROPE_HALVES, .norm = PV_NORM_LAYER, .activation = PV_ACTIVATION_SILU},
    {"gpt2", "GPT2LMHeadModel", {&gpt2}, PV_ROPE_HALVES, .norm = PV_NORM_LAYER, .activation = PV_ACTIVATION_GELU, .transposed = true,
     .feed_forward_widths = 4, .no_rope_every = 1, .prefix = "transformer."},
    {"lfm2", "Lfm2ForCausalLM", {&lfm2}, PV_ROPE_HALVES, .activation = PV_ACTIVATION_SILU, .conv = true},
    {"llama", "MixtralForCausalLM", {&ends, &pre_norm, &attention, &mixtral}, PV_ROPE_NEIGHBOURS, .activation = PV_ACTIVATION_SILU, .experts = true,
     .experts_normalize = true},
    {"qwen2moe", "Qwen2MoeForCausalLM", {LLAMA_TABLES, &mlp_experts, &qwen_shared}, PV_ROPE_HALVES, .activation = PV_ACTIVATION_SILU,
     .experts = true, .experts_in_some = true, .shared_expert = true},
    {"qwen3moe", "Qwen3MoeForCausalLM", {LLAMA_TABLES, &mlp_experts, &head_norm}, PV_ROPE_HALVES, .activation = PV_ACTIVATION_SILU,
     .experts = true, .experts_in_some = true, .experts_normalize = true},
    {"deepseek2", "DeepseekV2ForCausalLM", {&ends, &pre_norm, &latent_attention, &feed_forward, &mlp_experts, &deepseek_shared}, PV_ROPE_NEIGHBOURS,
     .activation = PV_ACTIVATION_SILU, .latent = true, .neighbours = true, .experts = true, .experts_in_some = true, .shared_expert = true,
     .routing_told = true},
    {"gpt-oss", "GptOssForCausalLM", {&ends, &attention, &gpt_oss}, PV_ROPE_HALVES, .activation = PV_ACTIVATION_CLAMPED, .window_every = 2, .experts = true,
     .experts_normalize = true, .experts_transposed = true, .yarn_between_pairs = true, .fixed_activation = true},
};

#define ARCHITECTURES (sizeof architectures / sizeof architectures[0])

void pv_role_name(const char *pattern, uint32_t layer, uint32_t expert, char out[128])
{
    const uint32_t numbers[2] = {layer, expert};
    size_t length = 0;
    const char *mark;
    for (size_t i = 0; i < 2 && (mark = strstr(pattern, "%u")) != NULL; i++, pattern = mark + 2)
        length += (size_t)snprintf(out + length, 128 - length, "%.*s%u", (int)(mark - pattern), pattern, numbers[i]);
    snprintf(out + length, 128 - length, "%s", pattern);
}

const pv_role *pv_architecture_role(const pv_architecture *architecture, size_t i)
{
    for (size_t t = 0; t < PV_MAX_ROLE_TABLES && architecture->tables[t] != NULL; t++) {
        if (i < architecture->tables[t]->count) return &architecture->tables[t]->roles[i];
        i -= architecture->tables[t]->count;
    }
    return NULL;
}

const pv_architecture *pv_architecture_find(const char *gguf_name, bool experts, const char *class_name)
{
    for (size_t i = 0; i < ARCHITECTURES; i++) {
        if (gguf_name != NULL && strcmp(architectures[i].name, gguf_name) == 0 && architectures[i].experts == experts) return &architectures[i];
        if (class_name != NULL && strcmp(architectures[i].class_name, class_name) == 0) return &architectures[i];
    }
    return NULL;
}

const char *pv_architecture_names(void)
{
    return "llama, mistral, mixtral, qwen2, qwen2-moe, qwen3, qwen3-moe, deepseek-v2, phi3, gemma, gemma2, gemma3 (text), smollm3, olmo2, granite, stablelm, gpt2, gpt-oss, lfm2";
}

uint32_t pv_decoder_size(const pv_decoder *d, pv_size size)
{
    const uint32_t heads = d->heads * d->head_dim, kv_heads = d->kv_heads * d->head_dim;
    switch (size) {
    case PV_SIZE_ZERO: return 0;
    case PV_SIZE_ONE: return 1;
    case PV_SIZE_WIDTH: return d->width;
    case PV_SIZE_HEAD: return d->head_dim;
    case PV_SIZE_HEADS: return heads;
    case PV_SIZE_KV_HEADS: return kv_heads;
    case PV_SIZE_HEADS_KV: return heads + kv_heads;
    case PV_SIZE_QKV: return heads + 2 * kv_heads;
    case PV_SIZE_FEED_FORWARD: return d->feed_forward;
    case PV_SIZE_GATE_UP: return 2 * d->feed_forward;
    case PV_SIZE_EXPERTS: return d->experts;
    case PV_SIZE_EXPERT_FEED_FORWARD: return d->expert_feed_forward;
    case PV_SIZE_ATTENTION_HEADS: return d->heads;
    case PV_SIZE_TAPS: return d->conv_taps;
    case PV_SIZE_WIDTH_2: return 2 * d->width;
    case PV_SIZE_WIDTH_3: return 3 * d->width;
    case PV_SIZE_VOCABULARY: return d->vocabulary;
    case PV_SIZE_CONTEXT: return d->trained_context;
    case PV_SIZE_SHARED_FEED_FORWARD: return d->shared_feed_forward;
    case PV_SIZE_LATENT: return d->latent;
    case PV_SIZE_QUERY_LATENT: return d->query_latent;
    case PV_SIZE_LATENT_KEY: return d->latent + d->head_dim;
    case PV_SIZE_PLAIN: return d->plain_dim;
    case PV_SIZE_PLAIN_HEAD: return d->plain_dim + d->head_dim;
    case PV_SIZE_VALUE: return d->value_dim;
    case PV_SIZE_PLAIN_VALUE: return d->plain_dim + d->value_dim;
    case PV_SIZE_VALUES: return d->heads * d->value_dim;
    case PV_SIZE_LATENTS: return d->heads * d->latent;
    case PV_SIZE_DIRECT: return d->query_latent == 0 ? d->width : 0;
    }
    return 0;
}
