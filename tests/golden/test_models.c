/* A tiny model of every family against Hugging Face transformers: the logits of every position, from both file formats and in the layouts
 * of its case. How far they may differ is derived in make_llama.py and support_llama.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>

#include "support/device.h"
#include "support_llama.h"

#define MAX_CASES 64

static char names[MAX_CASES][64];

/* Prompts in steps of 32 and 7 rows, forced decoding from the middle of a page; the plain kernels once. */
static const golden_run ways[] = {
    {.threads = 1, .max_step_rows = 512},
    {.threads = 2, .max_step_rows = 7},
    {.threads = 2, .max_step_rows = 16, .prompt = 45, .load = PV_LOAD_COPY},
    {.threads = 1, .max_step_rows = 512, .kernels = "generic"},
};

/* On a GPU: many rows, and few from SafeTensors alone. */
static bool runs_this_way(size_t way, const golden_file *file)
{
    if (file->config_name != NULL || file->inside) return way == 0;
    return test_device() == NULL || way == 0 || (way == 1 && !file->gguf);
}

static void check_file(const golden_case *c, const golden_file *file)
{
    char folder[GOLDEN_PATH], path[GOLDEN_PATH];
    float *first = NULL;
    golden_make_folder(folder);
    golden_write_listed(c, file, folder, path);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        if (!runs_this_way(i, file)) continue;
        golden_run run = ways[i];
        if (run.prompt == 0) run.prompt = c->token_count;
        float *logits = golden_logits(c, path, &run);
        golden_deviation deviation = golden_compare(c, file->layout, logits);
        if (!golden_passes(deviation))
            fail_msg("%s %s%s, way %zu: rms is %.3g and maximum %.3g times what is allowed", file->gguf ? "gguf" : "safetensors", file->layout,
                     file->config_name != NULL ? " with the old configuration" : "", i,
                     deviation.rms, deviation.max);
        if (first != NULL && test_device() == NULL && run.kernels == NULL)
            assert_memory_equal(first, logits, c->token_count * c->vocabulary * sizeof *logits);
        if (first == NULL)
            first = logits;
        else
            free(logits);
    }
    free(first);
    golden_remove_folder(folder);
}

static void logits_are_those_of_transformers(void **state)
{
    golden_case c;
    golden_open(&c, "models", *state);
    const char *layout;
    size_t count = 0;
    for (; (layout = golden_layout(&c, count)) != NULL; count++) {
        bool dense = strcmp(layout, "F32") == 0 || strcmp(layout, "F16") == 0 || strcmp(layout, "BF16") == 0;
        if (pv_flat_true(&c.about, "gguf") && !(dense && test_device() != NULL)) check_file(&c, &(golden_file){.gguf = true, .layout = layout});
        if (dense) check_file(&c, &(golden_file){.layout = layout});
        if (dense && count == 0 && test_device() == NULL) check_file(&c, &(golden_file){.layout = layout, .config_name = "legacy.json"});
    }
    if (strcmp(*state, "gemma3") == 0 && test_device() == NULL) check_file(&c, &(golden_file){.layout = "F32", .inside = true});
    assert_true(count > 0);
    golden_close(&c);
}

/* The comparison itself: a model whose configuration is slightly another one must not pass. */
static void mistakes_are_noticed(void **state)
{
    static const struct {
        const char *name, *from, *to;
    } cases[] = {
        {"granite", NULL, NULL}, /* GGUF: queries and keys in the checkpoint's order */
        {"smollm3", NULL, NULL},
        {"mixtral", NULL, NULL},
        {"mistral_window", "\"sliding_window\": 48", "\"sliding_window\": 49"},
        {"qwen2_window", "\"sliding_window\": 40", "\"sliding_window\": 41"},
        {"phi3", "\"sliding_window\": 64", "\"sliding_window\": 63"},
        {"phi3_long", "\"original_max_position_embeddings\": 64,\n  \"partial", "\"original_max_position_embeddings\": 512,\n  \"partial"},
        {"gemma2", "\"attn_logit_softcapping\": 4.0", "\"attn_logit_softcapping\": 4.1"},
        {"gemma2", "\"final_logit_softcapping\": 3.0", "\"final_logit_softcapping\": 3.01"},
        {"gemma2_scalar", "\"query_pre_attn_scalar\": 24", "\"query_pre_attn_scalar\": 25"},
        {"gemma3", "\"rope_theta\": 10000.0", "\"rope_theta\": 10300.0"},
        {"gemma3", "\"factor\": 8.0", "\"factor\": 7.9"},
        {"smollm3", "\"no_rope_layers\": [\n  1", "\"no_rope_layers\": [\n  0"},
        {"granite", "\"residual_multiplier\": 0.22", "\"residual_multiplier\": 0.221"},
        {"granite", "\"logits_scaling\": 8.0", "\"logits_scaling\": 8.01"},
        {"stablelm", "\"partial_rotary_factor\": 0.25", "\"partial_rotary_factor\": 0.5"},
        {"gpt_oss", "\"truncate\": false", "\"truncate\": true"},
        {"gpt_oss", "\"sliding_window\": 40", "\"sliding_window\": 41"},
        {"mixtral", "\"num_experts_per_tok\": 2", "\"num_experts_per_tok\": 3"},
        {"deepseek2", "\"mscale_all_dim\": 0.707", "\"mscale_all_dim\": 0.8"},
        {"deepseek2_mscale", "\"mscale\": 1.2", "\"mscale\": 1.21"},
        {"deepseek2_joint", "\"routed_scaling_factor\": 1.5", "\"routed_scaling_factor\": 1.51"},
        {"qwen2moe", "\"norm_topk_prob\": false", "\"norm_topk_prob\": true"},
        {"lfm2", "\"norm_eps\": 1e-05", "\"norm_eps\": 1e-02"},
        {"gpt2", "\"layer_norm_epsilon\": 1e-05", "\"layer_norm_epsilon\": 1e-02"},
    };
    (void)state;
    if (test_device() != NULL) return; /* the comparison is the same */
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char folder[GOLDEN_PATH], path[GOLDEN_PATH];
        golden_case c;
        golden_open(&c, "models", cases[i].name);
        golden_file file = {.layout = "F32", .from = cases[i].from, .to = cases[i].to};
        if (file.from == NULL) file.gguf = true, file.mistake = GOLDEN_UNPERMUTED;
        golden_make_folder(folder);
        golden_write_listed(&c, &file, folder, path);
        float *logits = golden_logits(&c, path, &(golden_run){.threads = 1, .max_step_rows = 512, .prompt = c.token_count});
        golden_deviation deviation = golden_compare(&c, "F32", logits);
        if (golden_passes(deviation))
            fail_msg("%s with %s: rms is %.3g and maximum %.3g times what is allowed", cases[i].name, cases[i].to != NULL ? cases[i].to : "another pairing", deviation.rms, deviation.max);
        free(logits);
        golden_remove_folder(folder);
        golden_close(&c);
    }
}

static void configurations_that_do_not_suit_are_refused_by_name(void **state)
{
    static const struct {
        const char *name, *from, *to;
        pv_status status;
        const char *says;
    } cases[] = {
        {"gemma2", "\"sliding_window\": 32", "\"sliding_window\": -1", PV_BAD_FILE, "sliding_window is -1"},
        {"gemma2", "\"sliding_window\": 32", "\"sliding_window\": 2.5", PV_BAD_FILE, "sliding_window is 2.5"},
        {"gemma2", "\"attn_logit_softcapping\": 4.0", "\"attn_logit_softcapping\": -4.0", PV_BAD_FILE, "attn_logit_softcapping is -4"},
        {"qwen3moe", "\"num_experts_per_tok\": 3", "\"num_experts_per_tok\": 17", PV_BAD_FILE, "num_experts_per_tok is 17"},
        {"qwen3moe", "\"num_local_experts\": 16", "\"num_local_experts\": 17", PV_BAD_FILE, "mlp.gate.weight has the shape [16, 64], [17, 64] is wanted"},
        {"qwen3moe", "\"decoder_sparse_step\": 1", "\"decoder_sparse_step\": 2", PV_NOT_FOUND, "no tensor model.layers.0.mlp.gate_proj.weight"},
        {"qwen3moe_some", "\"decoder_sparse_step\": 2", "\"decoder_sparse_step\": 0", PV_BAD_FILE, "decoder_sparse_step is 0"},
        {"mixtral", "\"num_experts_per_tok\"", "\"decoder_sparse_step\": 2, \"num_experts_per_tok\"", PV_UNSUPPORTED, "only some layers have experts"},
        {"qwen2moe", "\"shared_expert_intermediate_size\": 64", "\"shared_expert_intermediate_size\": 0", PV_BAD_FILE, "shared_expert_intermediate_size is 0"},
        {"qwen2moe", "\"shared_expert_intermediate_size\": 64", "\"shared_expert_intermediate_size\": 32", PV_BAD_FILE, "shared_expert.gate_proj.weight has the shape [64, 64]"},
        {"qwen3moe", "\"num_experts_per_tok\"", "\"n_shared_experts\": 2, \"num_experts_per_tok\"", PV_UNSUPPORTED, "shared experts"},
        {"deepseek2", "\"topk_method\": \"greedy\"", "\"topk_method\": \"group_limited_greedy\"", PV_UNSUPPORTED, "topk_method is 'group_limited_greedy'"},
        {"deepseek2", "\"topk_method\": \"greedy\"", "\"scoring_func\": \"sigmoid\"", PV_UNSUPPORTED, "scoring_func is 'sigmoid'"},
        {"deepseek2", "\"topk_method\": \"greedy\"", "\"moe_layer_freq\": 2", PV_UNSUPPORTED, "moe_layer_freq is 2"},
        {"deepseek2_joint", "\"norm_topk_prob\": false", "\"norm_topk_prob\": true", PV_UNSUPPORTED, "normalized and multiplied by 1.5"},
        {"deepseek2", "\"routed_scaling_factor\": 1.0", "\"routed_scaling_factor\": -1.0", PV_BAD_FILE, "routed_scaling_factor is -1"},
        {"deepseek2", "\"first_k_dense_replace\": 1", "\"first_k_dense_replace\": 4", PV_BAD_FILE, "first_k_dense_replace is 4"},
        {"deepseek2", "\"first_k_dense_replace\": 1", "\"first_k_dense_replace\": 2", PV_NOT_FOUND, "no tensor model.layers.1.mlp.gate_proj.weight"},
        {"deepseek2", "\"n_shared_experts\": 2", "\"n_shared_experts\": 1.5", PV_BAD_FILE, "n_shared_experts is 1.5"},
        {"deepseek2", "\"n_shared_experts\": 2", "\"n_shared_experts\": 0", PV_UNSUPPORTED, "shared_experts"},
        {"deepseek2", "\"kv_lora_rank\": 96", "\"kv_lora_rank\": 0", PV_BAD_FILE, "kv_lora_rank is 0"},
        {"deepseek2", "\"kv_lora_rank\": 96", "\"kv_lora_rank\": 64", PV_BAD_FILE, "kv_a_proj_with_mqa.weight has the shape [112, 64], [80, 64]"},
        {"deepseek2", "\"qk_rope_head_dim\": 16", "\"qk_rope_head_dim\": 15", PV_BAD_FILE, "qk_rope_head_dim is 15, an even number"},
        {"deepseek2", "\"qk_rope_head_dim\": 16", "\"qk_rope_head_dim\": 4096", PV_BAD_FILE, "qk_rope_head_dim is 4096"},
        {"deepseek2", "\"v_head_dim\": 48", "\"v_head_dim\": 40", PV_BAD_FILE, "kv_b_proj.weight has the shape [320, 96], [288, 96]"},
        {"deepseek2", "\"num_key_value_heads\": 4", "\"num_key_value_heads\": 2", PV_BAD_FILE, "num_key_value_heads is 2"},
        {"deepseek2_joint", "\"q_lora_rank\": 32", "\"q_lora_rank\": -3", PV_BAD_FILE, "q_lora_rank is -3"},
        {"deepseek2_mscale", "\"mscale\": 1.2", "\"mscale\": -1.2", PV_BAD_FILE, "mscale is -1.2"},
        {"qwen3moe", "\"moe_intermediate_size\": 64", "\"moe_intermediate_size\": 48", PV_BAD_FILE, "experts.0.gate_proj.weight has the shape [64, 64]"},
        {"phi3", "\"short_factor\": [\n   1.0", "\"short_factor\": [\n   -1.0", PV_BAD_FILE, "short_factor[0] is -1"},
        {"phi3_long", "\"partial_rotary_factor\": 0.75", "\"partial_rotary_factor\": 0.5", PV_BAD_FILE, "more than the 8 numbers"},
        {"phi3_long", "\"partial_rotary_factor\": 0.75", "\"partial_rotary_factor\": 1.0", PV_BAD_FILE, "has 12 numbers, 16 are wanted"},
        {"stablelm", "\"partial_rotary_factor\": 0.25", "\"partial_rotary_factor\": 0.2", PV_BAD_FILE, "an even number is wanted"},
        {"stablelm", "\"use_parallel_residual\": false", "\"use_parallel_residual\": true", PV_UNSUPPORTED, "parallel residuals"},
        {"lfm2", "\"conv_L_cache\": 3", "\"conv_L_cache\": 4", PV_BAD_FILE, "conv.conv.weight has the shape [64, 3], [64, 4] is wanted"},
        {"lfm2", "\"layer_types\": [\n  \"conv\"", "\"layer_types\": [\n  \"mamba\"", PV_UNSUPPORTED, "layer_types[0] is 'mamba'"},
        {"lfm2", "\"layer_types\": [\n  \"conv\",", "\"layer_types\": [", PV_BAD_FILE, "layer_types has fewer entries than the model has layers"},
        {"gemma3", "\"layer_types\": [", "\"layer_types\": [\"full_attention\", ", PV_BAD_FILE, "layer_types has more entries than the model has layers"},
        {"smollm3", "\"no_rope_layers\": [\n  1,", "\"no_rope_layers\": [", PV_BAD_FILE, "no_rope_layers has fewer entries"},
        {"lfm2", "\"block_ffn_dim_multiplier\": 1.0", "\"block_ffn_dim_multiplier\": 0.001", PV_BAD_FILE,
         "leaves a feed-forward width of 0"},
        {"stablelm", "\"partial_rotary_factor\": 0.25", "\"partial_rotary_factor\": 0.01", PV_BAD_FILE, "partial_rotary_factor 0.01 of a head of"},
        {"olmo2", "\"intermediate_size\": ", "\"intermediate_size\": -", PV_BAD_FILE, "intermediate_size is -"},
        {"olmo2", "\"intermediate_size\": ", "\"size\": ", PV_BAD_FILE, "block_ff_dim|intermediate_size|n_inner is missing"},
        {"gpt2", "\"n_embd\": ", "\"n_embd\": -", PV_BAD_FILE, "n_embd is -"},
        {"gpt2", "\"activation_function\": \"gelu_new\"", "\"activation_function\": \"relu\"", PV_UNSUPPORTED, "'relu'"},
        {"olmo2", "\"hidden_act\": \"silu\"", "\"hidden_act\": \"gelu\"", PV_UNSUPPORTED, "'gelu'"},
        {"granite", "\"logits_scaling\": 8.0", "\"logits_scaling\": 0.0", PV_BAD_FILE, "logits_scaling is 0"},
        {"gpt_oss", "\"rope_type\": \"yarn\"", "\"rope_type\": \"dynamic\"", PV_UNSUPPORTED, "rope scaling 'dynamic'"},
        {"gpt_oss", "\"factor\": 4.0", "\"factor\": 0.0", PV_BAD_FILE, "factor is 0"},
        {"olmo2", "Olmo2ForCausalLM", "Olmo9ForCausalLM", PV_UNSUPPORTED, "'Olmo9ForCausalLM'"},
        {"olmo2", "\"vocab_size\": 131", "\"vocab_size\": 131, \"quantization_config\": {\"quant_method\": \"hqq\"}", PV_UNSUPPORTED, "quantization method 'hqq'"},
        {"olmo2", "\"vocab_size\": 131", "\"vocab_size\": 131, \"quantization_config\": {\"quant_method\": \"compressed-tensors\", \"format\": \"marlin-24\"}",
         PV_UNSUPPORTED, "quantization_config.format is 'marlin-24', which is not supported; of compressed-tensors 'float-quantized'"},
        {"gemma3", "Gemma3ForCausalLM", "Gemma3nForCausalLM", PV_UNSUPPORTED, "architecture 'Gemma3nForCausalLM' is not supported; these are"},
        {"gemma3", "Gemma3ForCausalLM", "Gemma3nForConditionalGeneration", PV_UNSUPPORTED, "architecture 'Gemma3nForConditionalGeneration' is not supported"},
        /* keys of GGUF files */
        {"deepseek2", "deepseek2.expert_gating_func", "2", PV_UNSUPPORTED, "expert_gating_func is 2"},
        {"deepseek2", "deepseek2.expert_group_count", "8", PV_UNSUPPORTED, "expert_group_count is 8"},
        {"deepseek2", "deepseek2.expert_shared_count", "65", PV_BAD_FILE, "expert_shared_count is 65"},
        {"deepseek2", "deepseek2.leading_dense_block_count", "4", PV_BAD_FILE, "leading_dense_block_count is 4"},
        {"deepseek2", "deepseek2.attention.key_length_mla", "16", PV_BAD_FILE, "attention.key_length_mla is 16"},
        {"deepseek2", "deepseek2.attention.key_length_mla", "49", PV_BAD_FILE, "attn_q.weight has the shape [192, 64], [196, 64] is wanted"},
        {"deepseek2", "deepseek2.attention.value_length_mla", "32", PV_BAD_FILE, "attn_v_b.weight has the shape [192, 96], [128, 96] is wanted"},
        {"deepseek2", "deepseek2.attention.kv_lora_rank", "0", PV_BAD_FILE, "attention.kv_lora_rank is 0"},
        {"deepseek2_joint", "deepseek2.attention.q_lora_rank", "0", PV_NOT_FOUND, "blk.0.attn_q.weight"},
        {"deepseek2_joint", "deepseek2.attention.value_length", "96", PV_BAD_FILE, "attn_kv_b.weight has the shape [320, 96], [512, 96] is wanted"},
    };
    pv_runtime *runtime;
    pv_error error = {0};
    const pv_runtime_options runtime_options = {.threads = 1};
    (void)state;
    if (test_device() != NULL) return; /* no device is asked */
    if (pv_runtime_create(&runtime_options, &runtime, &error) != PV_OK) fail_msg("%s", error.message);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char folder[GOLDEN_PATH], path[GOLDEN_PATH];
        golden_case c;
        pv_model *model;
        golden_open(&c, "models", cases[i].name);
        golden_make_folder(folder);
        const bool gguf = strncmp(cases[i].from, "deepseek2.", 10) == 0;
        golden_write_listed(&c, &(golden_file){.gguf = gguf, .layout = "F32", .from = cases[i].from, .to = cases[i].to}, folder, path);
        const pv_status status = pv_model_load(runtime, path, NULL, &model, &error);
        if (status != cases[i].status || strstr(error.message, cases[i].says) == NULL)
            fail_msg("%s with %s: %s, '%s'", cases[i].name, cases[i].to, pv_status_name(status), status != PV_OK ? error.message : "");
        golden_remove_folder(folder);
        golden_close(&c);
    }
    pv_runtime_destroy(runtime);
}

/* A window of 48 keys: however long an answer gets, its layers hold the pages that 48 keys and a step's 32 rows may touch. */
static void pages_before_the_window_are_given_back(void **state)
{
    char folder[GOLDEN_PATH], path[GOLDEN_PATH];
    golden_case c;
    pv_error error = {0};
    pv_runtime *runtime;
    pv_model *model;
    pv_engine *engine;
    pv_engine_stats stats;
    pv_request_id id;
    pv_event event;
    size_t active = 1;
    uint32_t most = 0;
    (void)state;
    golden_open(&c, "models", "mistral_window");
    golden_make_folder(folder);
    golden_write_listed(&c, &(golden_file){.layout = "F32"}, folder, path);
    const pv_runtime_options runtime_options = {.threads = 1, .metal_library = test_metal_library()};
    const pv_model_options options = {.context = 512, .max_sequences = 1, .max_step_rows = 32, .device = test_device() != NULL ? test_device() : "cpu"};
    const pv_engine_options engine_options = {.no_prefix_reuse = true};
    const pv_request request = {.prompt = c.tokens, .prompt_length = c.token_count, .max_tokens = 300, .ignore_end = true};
    if (pv_runtime_create(&runtime_options, &runtime, &error) != PV_OK) fail_msg("%s", error.message);
    if (pv_model_load(runtime, path, &options, &model, &error) != PV_OK) fail_msg("%s", error.message);
    if (pv_engine_create(model, &engine_options, &engine, &error) != PV_OK) fail_msg("%s", error.message);
    if (pv_engine_submit(engine, &request, &id, &error) != PV_OK) fail_msg("%s", error.message);
    while (active > 0) {
        if (pv_engine_step(engine, 0, &active, &error) != PV_OK) fail_msg("%s", error.message);
        while (pv_engine_next_event(engine, &event))
            if (event.kind == PV_EVENT_FINISHED) assert_int_equal(event.finish, PV_FINISH_LENGTH);
        pv_engine_get_stats(engine, &stats);
        if (stats.pages - stats.pages_free > most) most = stats.pages - stats.pages_free;
    }
    assert_int_equal(stats.tokens, 300);
    assert_in_range(most, 2, 4); /* of the 15 that 450 tokens fill */
    assert_int_equal(stats.pages_free, stats.pages);
    pv_engine_destroy(engine);
    pv_model_destroy(model);
    pv_runtime_destroy(runtime);
    golden_remove_folder(folder);
    golden_close(&c);
}

static size_t find_cases(void)
{
    DIR *folder = opendir(PV_TEST_DATA "/golden/models");
    size_t count = 0;
    if (folder == NULL) return 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL && count < MAX_CASES;)
        if (entry->d_name[0] != '.') snprintf(names[count++], sizeof names[0], "%.63s", entry->d_name);
    closedir(folder);
    qsort(names, count, sizeof names[0], (int (*)(const void *, const void *))strcmp);
    return count;
}

static void all_cases_are_here(void **state)
{
    assert_int_equal(*(const size_t *)*state, 25);
}

int main(void)
{
    static size_t count;
    count = find_cases();
    struct CMUnitTest tests[MAX_CASES + 4] = {
        cmocka_unit_test_prestate(all_cases_are_here, &count),
        cmocka_unit_test(mistakes_are_noticed),
        cmocka_unit_test(pages_before_the_window_are_given_back),
        cmocka_unit_test(configurations_that_do_not_suit_are_refused_by_name),
    };
    for (size_t i = 0; i < count; i++)
        tests[4 + i] = (struct CMUnitTest){names[i], logits_are_those_of_transformers, NULL, NULL, names[i]};
    return _cmocka_run_group_tests("models", tests, 4 + count, NULL, NULL);
}
