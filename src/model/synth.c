/* Synthetic models: random weights in real shapes, so that every speed claim can be repeated without a download. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/text.h"
#include "format/seeded.h"
#include "format/write.h"
#include "model/architecture.h"
#include "runtime/runtime.h"

typedef struct shape {
    const char *name;
    uint32_t layers, width, heads, kv_heads, head_dim, feed_forward, vocabulary, context;
    float theta;
    bool tied;
} shape;

/* Llama-3.1-8B, Llama-3.2-1B, SmolLM2-135M, and one for tests. */
static const shape shapes[] = {
    {"8b", 32, 4096, 32, 8, 128, 14336, 128256, 131072, 500000, false},
    {"1b", 16, 2048, 32, 8, 64, 8192, 128256, 131072, 500000, true},
    {"135m", 30, 576, 9, 3, 64, 1536, 49152, 8192, 100000, true},
    {"tiny", 2, 64, 4, 2, 16, 128, 288, 512, 10000, true},
};

typedef struct synth {
    const pv_allocator *allocator;
    const shape *shape;
    pv_decoder decoder;
    pv_layout layout;
    uint64_t seed;
    bool gguf;
    size_t matrices, others; /* others: kept in another layout than the one asked for */
    pv_layout other;
    pv_model_writer *writer;
    pv_bytes text; /* of tokens, or of a JSON file */
} synth;

static pv_status refuse(pv_error *error, const char *what, const char *given, const char *known)
{
    return pv_fail(error, PV_INVALID_ARGUMENT, "%s '%s' is not known; these are: %s", what, given != NULL ? given : "(none)", known);
}

static pv_status choose(synth *s, const pv_synth_options *options, const char *path, pv_error *error)
{
    const char *architecture = options->architecture != NULL ? options->architecture : "llama";
    s->decoder.architecture = pv_architecture_find(architecture, false, NULL);
    if (s->decoder.architecture == NULL || strcmp(architecture, "llama") != 0) return refuse(error, "architecture", architecture, "llama");
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        if (options->shape != NULL && strcmp(shapes[i].name, options->shape) == 0) s->shape = &shapes[i];
    if (s->shape == NULL) return refuse(error, "shape", options->shape, "8b, 1b, 135m, tiny");
    s->layout = options->layout != NULL ? pv_layout_find(options->layout) : PV_LAYOUT_F16;
    if (s->layout == PV_LAYOUT_COUNT || pv_layout_get(s->layout)->gguf_type == PV_NO_GGUF_TYPE)
        return refuse(error, "layout", options->layout,
                      "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, MXFP4");
    size_t length = strlen(path);
    s->gguf = length > 5 && strcmp(path + length - 5, ".gguf") == 0;
    if (!s->gguf && s->layout > PV_LAYOUT_BF16)
        return pv_fail(error, PV_INVALID_ARGUMENT, "layout %s can only be written to a .gguf file; SafeTensors take F32, F16 and BF16", options->layout);
    const shape *h = s->shape;
    s->seed = options->seed;
    s->decoder.layers = h->layers, s->decoder.width = h->width, s->decoder.heads = h->heads, s->decoder.kv_heads = h->kv_heads;
    s->decoder.head_dim = h->head_dim, s->decoder.feed_forward = h->feed_forward, s->decoder.vocabulary = h->vocabulary;
    return PV_OK;
}

/* ---- Tensors ---- */

/* What a weight is kept in: vectors in f32, and rows that a layout's blocks do not divide in Q8_0 or f16. */
static pv_layout layout_of(const synth *s, const pv_role *role)
{
    static const pv_layout ladder[] = {PV_LAYOUT_Q8_0, PV_LAYOUT_F16};
    uint32_t cols = pv_decoder_size(&s->decoder, role->cols);
    uint64_t bytes;
    if (role->rows == PV_SIZE_ONE) return s->gguf ? PV_LAYOUT_F32 : s->layout;
    if (pv_layout_row_bytes(s->layout, cols, &bytes)) return s->layout;
    return pv_layout_row_bytes(ladder[0], cols, &bytes) ? ladder[0] : ladder[1];
}

static bool has_role(const synth *s, const pv_role *role)
{
    return !role->optional || (role->member == offsetof(pv_weights, output) && !role->per_layer && !s->shape->tied);
}

typedef pv_status (*each_weight)(synth *s, const pv_role *role, uint32_t layer, pv_error *error);

static pv_status for_each_weight(synth *s, each_weight call, pv_error *error)
{
    const pv_architecture *a = s->decoder.architecture;
    const pv_role *role;
    for (size_t i = 0; (role = pv_architecture_role(a, i)) != NULL; i++) {
        if (!has_role(s, role)) continue;
        uint32_t times = role->per_layer ? s->decoder.layers : 1;
        for (uint32_t layer = 0; layer < times; layer++) {
            pv_status status = call(s, role, layer, error);
            if (status != PV_OK) return status;
        }
    }
    return PV_OK;
}

static pv_status declare(synth *s, const pv_role *role, uint32_t layer, pv_error *error)
{
    char name[128];
    pv_role_name(s->gguf ? role->gguf : role->huggingface, layer, 0, name);
    uint64_t dim[2] = {pv_decoder_size(&s->decoder, role->rows), pv_decoder_size(&s->decoder, role->cols)};
    bool vector = role->rows == PV_SIZE_ONE;
    pv_layout layout = layout_of(s, role);
    if (!vector) s->matrices++;
    if (!vector && layout != s->layout) s->others++, s->other = layout;
    return pv_model_writer_declare(s->writer, name, layout, vector ? 1 : 2, vector ? dim + 1 : dim, error);
}

static pv_status write_weight(synth *s, const pv_role *role, uint32_t layer, pv_error *error)
{
    char name[128];
    pv_role_name(role->huggingface, layer, 0, name);
    uint32_t rows = pv_decoder_size(&s->decoder, role->rows), cols = pv_decoder_size(&s->decoder, role->cols);
    pv_layout layout = layout_of(s, role);
    uint64_t key = pv_seeded_key(s->seed, name), row_bytes;
    float centre, scale;
    pv_seeded_range(name, cols, &centre, &scale);
    if (!pv_layout_row_bytes(layout, cols, &row_bytes)) return pv_fail(error, PV_INTERNAL, "%s has rows that %s cannot hold", name, pv_layout_get(layout)->name);
    float *values = pv_alloc(s->allocator, cols, sizeof *values);
    uint8_t *encoded = pv_alloc(s->allocator, row_bytes, 1);
    pv_status status = values == NULL || encoded == NULL ? pv_fail_memory(error, cols * sizeof *values, name) : PV_OK;
    for (uint32_t row = 0; row < rows && status == PV_OK; row++) {
        pv_seeded_fill(key, (uint64_t)row * cols, cols, centre, scale, values);
        pv_layout_encode(layout, values, cols, encoded);
        status = pv_model_writer_data(s->writer, encoded, row_bytes, error);
    }
    pv_free(s->allocator, values);
    pv_free(s->allocator, encoded);
    return status;
}

/* ---- Vocabulary: the 256 bytes as byte-level BPE spells them, an end token, and tokens that no text gives ---- */

/* The byte's character in GPT-2's table: printable Latin-1 stands for itself, the others follow from U+0100 on. */
static uint32_t byte_character(uint32_t byte)
{
    uint32_t shifted = 0x100;
    for (uint32_t b = 0; b < 256; b++) {
        bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        if (b == byte) return printable ? b : shifted;
        shifted += !printable;
    }
    return 0;
}

/* A chat with a synthetic model says nothing, but takes the same way through the program. */
#define CHAT_TEMPLATE                                                                                                   \
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '<|endoftext|>' }}{% endfor %}"      \
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"

static void token_text(uint32_t id, char out[32])
{
    if (id < 256)
        out[pv_utf8_encode(byte_character(id), out)] = '\0';
    else
        snprintf(out, 32, id == 256 ? "<|endoftext|>" : "<|unused_%u|>", id);
}

static pv_status write_gguf_vocabulary(synth *s, pv_error *error)
{
    uint32_t count = s->decoder.vocabulary;
    const char **tokens = pv_alloc(s->allocator, count, sizeof *tokens);
    int32_t *types = pv_alloc(s->allocator, count, sizeof *types);
    size_t *offsets = pv_alloc(s->allocator, count, sizeof *offsets);
    pv_status status = tokens == NULL || types == NULL || offsets == NULL ? pv_fail_memory(error, count * sizeof *tokens, "a vocabulary") : PV_OK;
    for (uint32_t i = 0; i < count && status == PV_OK; i++) {
        char text[32];
        token_text(i, text);
        offsets[i] = s->text.length;
        types[i] = i < 256 ? 1 : i == 256 ? 3 : 5; /* normal, control, unused */
        pv_bytes_add(&s->text, text, strlen(text) + 1);
        if (s->text.failed) status = pv_fail_memory(error, s->text.length, "a vocabulary");
    }
    for (uint32_t i = 0; i < count && status == PV_OK; i++) tokens[i] = s->text.data + offsets[i];
    if (status == PV_OK) status = pv_model_writer_string(s->writer, "tokenizer.ggml.model", "gpt2", error);
    if (status == PV_OK) status = pv_model_writer_string(s->writer, "tokenizer.ggml.pre", "gpt-2", error);
    if (status == PV_OK) status = pv_model_writer_strings(s->writer, "tokenizer.ggml.tokens", tokens, count, error);
    if (status == PV_OK) status = pv_model_writer_i32s(s->writer, "tokenizer.ggml.token_type", types, count, error);
    if (status == PV_OK) status = pv_model_writer_strings(s->writer, "tokenizer.ggml.merges", NULL, 0, error);
    if (status == PV_OK) status = pv_model_writer_u32(s->writer, "tokenizer.ggml.eos_token_id", 256, error);
    if (status == PV_OK) status = pv_model_writer_u32(s->writer, "tokenizer.ggml.bos_token_id", 256, error);
    if (status == PV_OK) status = pv_model_writer_bool(s->writer, "tokenizer.ggml.add_bos_token", false, error);
    if (status == PV_OK) status = pv_model_writer_string(s->writer, "tokenizer.chat_template", CHAT_TEMPLATE, error);
    pv_free(s->allocator, tokens);
    pv_free(s->allocator, types);
    pv_free(s->allocator, offsets);
    return status;
}

/* ---- GGUF ---- */

static pv_status write_gguf_header(synth *s, pv_error *error)
{
    const shape *h = s->shape;
    const struct {
        const char *key;
        uint32_t value;
    } numbers[] = {
        {"llama.block_count", h->layers}, {"llama.context_length", h->context}, {"llama.embedding_length", h->width},
        {"llama.feed_forward_length", h->feed_forward}, {"llama.attention.head_count", h->heads},
        {"llama.attention.head_count_kv", h->kv_heads}, {"llama.attention.key_length", h->head_dim},
        {"llama.attention.value_length", h->head_dim}, {"llama.rope.dimension_count", h->head_dim}, {"llama.vocab_size", h->vocabulary},
    };
    char name[64];
    snprintf(name, sizeof name, "synthetic %s", h->name);
    pv_status status = pv_model_writer_string(s->writer, "general.architecture", "llama", error);
    if (status == PV_OK) status = pv_model_writer_string(s->writer, "general.name", name, error);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && status == PV_OK; i++)
        status = pv_model_writer_u32(s->writer, numbers[i].key, numbers[i].value, error);
    if (status == PV_OK) status = pv_model_writer_f32(s->writer, "llama.attention.layer_norm_rms_epsilon", 1e-5f, error);
    if (status == PV_OK) status = pv_model_writer_f32(s->writer, "llama.rope.freq_base", h->theta, error);
    return status == PV_OK ? write_gguf_vocabulary(s, error) : status;
}

/* ---- SafeTensors ---- */

static pv_status write_text_file(synth *s, const char *folder, const char *name, pv_error *error)
{
    pv_bytes path;
    pv_writer writer;
    pv_bytes_init(&path, s->allocator);
    pv_bytes_format(&path, "%s/%s", folder, name);
    pv_status status = path.failed || s->text.failed ? pv_fail_memory(error, s->text.length, name) : PV_OK;
    if (status == PV_OK) {
        status = pv_writer_open(s->allocator, path.data, &writer, error);
        if (status == PV_OK) {
            status = pv_writer_write(&writer, s->text.data, s->text.length, error);
            if (status == PV_OK)
                status = pv_writer_commit(&writer, error);
            else
                pv_writer_discard(&writer);
        }
    }
    pv_bytes_free(&path);
    s->text.length = 0;
    return status;
}

static void print_config(synth *s)
{
    const shape *h = s->shape;
    static const char *const types[] = {"float32", "float16", "bfloat16"};
    pv_bytes_format(&s->text,
                    "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": %u, \"intermediate_size\": %u,"
                    " \"num_hidden_layers\": %u, \"num_attention_heads\": %u, \"num_key_value_heads\": %u, \"head_dim\": %u, \"vocab_size\": %u,"
                    " \"max_position_embeddings\": %u, \"rms_norm_eps\": 1e-05, \"rope_theta\": %.1f, \"hidden_act\": \"silu\","
                    " \"tie_word_embeddings\": %s, \"bos_token_id\": 256, \"eos_token_id\": 256, \"torch_dtype\": \"%s\"}\n",
                    h->width, h->feed_forward, h->layers, h->heads, h->kv_heads, h->head_dim, h->vocabulary, h->context, (double)h->theta,
                    h->tied ? "true" : "false", types[s->layout]);
}

static void print_tokenizer(synth *s)
{
    pv_bytes_format(&s->text, "{\"version\": \"1.0\", \"added_tokens\": [{\"id\": 256, \"content\": \"<|endoftext|>\", \"single_word\": false,"
                              " \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}], \"normalizer\": null,"
                              " \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true},"
                              " \"post_processor\": null, \"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"type\": \"BPE\", \"vocab\": {");
    for (uint32_t i = 0; i < s->decoder.vocabulary; i++) {
        char text[32];
        token_text(i, text);
        bool escape = text[0] == '"' || text[0] == '\\';
        pv_bytes_format(&s->text, "%s\"%s%s\": %u", i > 0 ? ", " : "", escape ? "\\" : "", text, i);
    }
    pv_bytes_format(&s->text, "}, \"merges\": []}}\n");
}

static pv_status write_folder_texts(synth *s, const char *folder, pv_error *error)
{
    print_config(s);
    pv_status status = write_text_file(s, folder, "config.json", error);
    if (status != PV_OK) return status;
    print_tokenizer(s);
    status = write_text_file(s, folder, "tokenizer.json", error);
    if (status != PV_OK) return status;
    pv_bytes_format(&s->text, "{\"bos_token\": \"<|endoftext|>\", \"eos_token\": \"<|endoftext|>\", \"add_bos_token\": false, \"chat_template\": \"%s\"}\n",
                    CHAT_TEMPLATE);
    return write_text_file(s, folder, "tokenizer_config.json", error);
}

/* ---- Both ---- */

static pv_status write_weights(synth *s, const char *path, pv_error *error)
{
    pv_status status = pv_model_writer_open(s->allocator, s->gguf ? PV_SOURCE_GGUF : PV_SOURCE_SAFETENSORS, path, &s->writer, error);
    if (status != PV_OK) return status;
    if (s->gguf) status = write_gguf_header(s, error);
    if (status == PV_OK) status = for_each_weight(s, declare, error);
    if (status == PV_OK) status = for_each_weight(s, write_weight, error);
    if (status == PV_OK) status = pv_model_writer_commit(s->writer, error);
    pv_model_writer_close(s->writer);
    return status;
}

static pv_status write_folder(synth *s, const char *folder, pv_error *error)
{
    pv_bytes path;
    bool there;
    pv_status status = pv_make_folder(folder, &there, error);
    if (status != PV_OK) return status;
    pv_bytes_init(&path, s->allocator);
    pv_bytes_format(&path, "%s/model.safetensors", folder);
    status = path.failed ? pv_fail_memory(error, strlen(folder), "a path") : write_folder_texts(s, folder, error);
    if (status == PV_OK) status = write_weights(s, path.data, error);
    pv_bytes_free(&path);
    return status;
}

pv_status pv_synth(pv_runtime *runtime, const pv_synth_options *options, const char *path, pv_error *error)
{
    if (runtime == NULL || options == NULL || path == NULL) return pv_fail(error, PV_INVALID_ARGUMENT, "runtime, options or path is NULL");
    synth s = {.allocator = &runtime->allocator};
    pv_bytes_init(&s.text, s.allocator);
    pv_status status = choose(&s, options, path, error);
    if (status == PV_OK) status = s.gguf ? write_weights(&s, path, error) : write_folder(&s, path, error);
    pv_bytes_free(&s.text);
    if (status == PV_OK && s.others > 0)
        pv_runtime_log(runtime, PV_LOG_WARNING, "%zu of %zu matrices are in %s: %s has blocks of %u weights, which do not divide their rows",
                       s.others, s.matrices, pv_layout_get(s.other)->name, pv_layout_get(s.layout)->name, (unsigned)pv_layout_get(s.layout)->block);
    return status;
}
