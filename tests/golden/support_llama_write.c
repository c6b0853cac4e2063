/* Writing the models: tensors by name and size, as Hugging Face and as converters to GGUF name and order them. */
#include "support_llama.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "format/seeded.h"
#include "format/write.h"

typedef enum size_name { ONE, WIDTH, HEADS, KV_HEADS, FEED_FORWARD, VOCABULARY } size_name;

typedef struct tensor {
    const char *gguf, *huggingface; /* with %u for the layer */
    size_name rows, cols;
    enum { ALWAYS, UNTIED, BIASED } when;
    bool permuted; /* GGUF: heads are reordered so that neighbours turn together */
} tensor;

static const tensor global_tensors[] = {
    {"token_embd.weight", "model.embed_tokens.weight", VOCABULARY, WIDTH, ALWAYS, false},
    {"output_norm.weight", "model.norm.weight", ONE, WIDTH, ALWAYS, false},
    {"output.weight", "lm_head.weight", VOCABULARY, WIDTH, UNTIED, false},
};

static const tensor layer_tensors[] = {
    {"blk.%u.attn_norm.weight", "model.layers.%u.input_layernorm.weight", ONE, WIDTH, ALWAYS, false},
    {"blk.%u.attn_q.weight", "model.layers.%u.self_attn.q_proj.weight", HEADS, WIDTH, ALWAYS, true},
    {"blk.%u.attn_q.bias", "model.layers.%u.self_attn.q_proj.bias", ONE, HEADS, BIASED, true},
    {"blk.%u.attn_k.weight", "model.layers.%u.self_attn.k_proj.weight", KV_HEADS, WIDTH, ALWAYS, true},
    {"blk.%u.attn_k.bias", "model.layers.%u.self_attn.k_proj.bias", ONE, KV_HEADS, BIASED, true},
    {"blk.%u.attn_v.weight", "model.layers.%u.self_attn.v_proj.weight", KV_HEADS, WIDTH, ALWAYS, false},
    {"blk.%u.attn_v.bias", "model.layers.%u.self_attn.v_proj.bias", ONE, KV_HEADS, BIASED, false},
    {"blk.%u.attn_output.weight", "model.layers.%u.self_attn.o_proj.weight", WIDTH, HEADS, ALWAYS, false},
    {"blk.%u.attn_output.bias", "model.layers.%u.self_attn.o_proj.bias", ONE, WIDTH, BIASED, false},
    {"blk.%u.ffn_norm.weight", "model.layers.%u.post_attention_layernorm.weight", ONE, WIDTH, ALWAYS, false},
    {"blk.%u.ffn_gate.weight", "model.layers.%u.mlp.gate_proj.weight", FEED_FORWARD, WIDTH, ALWAYS, false},
    {"blk.%u.ffn_gate.bias", "model.layers.%u.mlp.gate_proj.bias", ONE, FEED_FORWARD, BIASED, false},
    {"blk.%u.ffn_up.weight", "model.layers.%u.mlp.up_proj.weight", FEED_FORWARD, WIDTH, ALWAYS, false},
    {"blk.%u.ffn_up.bias", "model.layers.%u.mlp.up_proj.bias", ONE, FEED_FORWARD, BIASED, false},
    {"blk.%u.ffn_down.weight", "model.layers.%u.mlp.down_proj.weight", WIDTH, FEED_FORWARD, ALWAYS, false},
    {"blk.%u.ffn_down.bias", "model.layers.%u.mlp.down_proj.bias", ONE, WIDTH, BIASED, false},
};

#define ARRAY_COUNT(array) (sizeof(array) / sizeof(array)[0])

typedef struct writing {
    const golden_case *c;
    const golden_file *file;
    pv_model_writer *writer;
    pv_error error;
} writing;

static void check(writing *w, pv_status status)
{
    if (status != PV_OK) fail_msg("%s", w->error.message);
}

static uint64_t size_of(const golden_case *c, size_name name)
{
    const uint64_t sizes[] = {1, c->width, (uint64_t)c->heads * c->head_dim, (uint64_t)c->kv_heads * c->head_dim, c->feed_forward,
                              c->vocabulary};
    return sizes[name];
}

/* Number i of the model's tensors, with its layer; false beyond the last. */
static bool tensor_at(const golden_case *c, size_t i, const tensor **out, uint32_t *layer)
{
    for (size_t g = 0; g < ARRAY_COUNT(global_tensors); g++) {
        if (global_tensors[g].when == UNTIED && c->tied) continue;
        *out = &global_tensors[g], *layer = 0;
        if (i-- == 0) return true;
    }
    for (*layer = 0; *layer < c->layers; ++*layer) {
        for (size_t t = 0; t < ARRAY_COUNT(layer_tensors); t++) {
            if (layer_tensors[t].when == BIASED && !c->bias) continue;
            *out = &layer_tensors[t];
            if (i-- == 0) return true;
        }
    }
    return false;
}

static void print_name(char name[128], const char *pattern, uint32_t layer)
{
    const char *mark = strstr(pattern, "%u");
    if (mark == NULL)
        snprintf(name, 128, "%s", pattern);
    else
        snprintf(name, 128, "%.*s%u%s", (int)(mark - pattern), pattern, layer, mark + 2);
}

/* The layout whose rounding a tensor gets: the case's own, F32 for vectors unless that is dense; in a mix by suffix. */
static pv_layout rounding_of(const writing *w, const tensor *t, const char *huggingface)
{
    pv_layout layout = pv_layout_find(w->file->layout);
    for (size_t i = 0; layout == PV_LAYOUT_COUNT && i < w->c->about.count; i++) {
        const char *path = pv_flat_path(&w->c->about, &w->c->about.entries[i]), *suffix = path + 6;
        if (strncmp(path, "mixed.", 6) != 0 || strlen(suffix) > strlen(huggingface)) continue;
        if (strcmp(huggingface + strlen(huggingface) - strlen(suffix), suffix) != 0 || strcmp(suffix, "weight") == 0) continue;
        layout = pv_layout_find(pv_flat_value(&w->c->about, &w->c->about.entries[i]));
    }
    if (layout == PV_LAYOUT_COUNT) layout = pv_layout_find(pv_flat_string(&w->c->about, "mixed.weight"));
    assert_true(layout < PV_LAYOUT_COUNT);
    return t->rows == ONE && layout > PV_LAYOUT_BF16 ? PV_LAYOUT_F32 : layout;
}

/* The layout that it stands in: GGUF keeps vectors in F32. */
static pv_layout layout_of(const writing *w, const tensor *t, const char *huggingface)
{
    return w->file->gguf && t->rows == ONE ? PV_LAYOUT_F32 : rounding_of(w, t, huggingface);
}

static void declare(writing *w, const tensor *t, uint32_t layer)
{
    char name[128], huggingface[128];
    print_name(huggingface, t->huggingface, layer);
    print_name(name, w->file->gguf ? t->gguf : t->huggingface, layer);
    uint64_t dim[2] = {size_of(w->c, t->rows), size_of(w->c, t->cols)};
    bool vector = t->rows == ONE;
    check(w, pv_model_writer_declare(w->writer, name, layout_of(w, t, huggingface), vector ? 1 : 2, vector ? dim + 1 : dim, &w->error));
}

/* Where element `i` of q or k stands in Hugging Face's order: there i and i + head_dim / 2 turn together, in GGUF 2i and 2i + 1. */
static uint64_t unpermuted(const golden_case *c, uint64_t i)
{
    uint64_t head = i / c->head_dim, within = i % c->head_dim;
    return head * c->head_dim + within % 2 * (c->head_dim / 2) + within / 2;
}

/* Row `row` as the file has it, rounded. */
static void make_row(writing *w, const tensor *t, const char *huggingface, uint64_t row, uint64_t cols, float *values)
{
    bool permute = t->permuted && w->file->gguf && w->file->mistake != GOLDEN_UNPERMUTED;
    uint64_t key = pv_seeded_key((uint64_t)pv_flat_find(&w->c->about, "seed")->number, huggingface);
    float centre, scale;
    pv_seeded_range(huggingface, cols, &centre, &scale);
    if (t->rows != ONE) {
        uint64_t first = (permute ? unpermuted(w->c, row) : row) * cols;
        pv_seeded_fill(key, first, cols, centre, scale, values);
    } else {
        for (uint64_t i = 0; i < cols; i++) pv_seeded_fill(key, permute ? unpermuted(w->c, i) : i, 1, centre, scale, &values[i]);
    }
}

static void write_tensor(writing *w, const tensor *t, uint32_t layer)
{
    char huggingface[128];
    print_name(huggingface, t->huggingface, layer);
    pv_layout rounding = rounding_of(w, t, huggingface), layout = layout_of(w, t, huggingface);
    uint64_t rows = size_of(w->c, t->rows), cols = size_of(w->c, t->cols), row_bytes = 0;
    bool spoiled = w->file->mistake == GOLDEN_ONE_BLOCK && strstr(huggingface, "layers.0.self_attn.v_proj.weight") != NULL;
    assert_true(pv_layout_row_bytes(layout, cols, &row_bytes));
    float *values = malloc(cols * sizeof *values);
    uint8_t *encoded = malloc(cols * sizeof *values + 512);
    for (uint64_t row = 0; row < rows; row++) {
        make_row(w, t, huggingface, row, cols, values);
        for (uint64_t i = 0; spoiled && row == 0 && i < cols && i < 32; i++) values[i] *= 1.0625f;
        pv_layout_encode(rounding, values, cols, encoded);
        if (layout != rounding) {
            pv_layout_decode(rounding, encoded, cols, values);
            pv_layout_encode(layout, values, cols, encoded);
        }
        check(w, pv_model_writer_data(w->writer, encoded, row_bytes, &w->error));
    }
    free(values);
    free(encoded);
}

static double config_number(const golden_case *c, const char *path)
{
    const pv_flat_entry *entry = pv_flat_find(&c->config, path);
    if (entry == NULL) fail_msg("config.json has no %s", path);
    return entry->number;
}

/* ---- GGUF ---- */

static void write_metadata(writing *w)
{
    const golden_case *c = w->c;
    const struct {
        const char *key;
        uint32_t value;
    } numbers[] = {
        {"llama.block_count", c->layers},
        {"llama.context_length", (uint32_t)config_number(c, "max_position_embeddings")},
        {"llama.embedding_length", c->width},
        {"llama.feed_forward_length", c->feed_forward},
        {"llama.attention.head_count", c->heads},
        {"llama.attention.head_count_kv", c->kv_heads},
        {"llama.attention.key_length", c->head_dim},
        {"llama.attention.value_length", c->head_dim},
        {"llama.rope.dimension_count", c->head_dim},
        {"llama.vocab_size", c->vocabulary},
    };
    double theta = config_number(c, "rope_parameters.rope_theta"), epsilon = config_number(c, "rms_norm_eps");
    if (w->file->mistake == GOLDEN_THETA) theta *= 1.02;
    if (w->file->mistake == GOLDEN_EPSILON) epsilon *= 2;
    check(w, pv_model_writer_string(w->writer, "general.architecture", "llama", &w->error));
    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++)
        check(w, pv_model_writer_u32(w->writer, numbers[i].key, numbers[i].value, &w->error));
    check(w, pv_model_writer_f32(w->writer, "llama.attention.layer_norm_rms_epsilon", (float)epsilon, &w->error));
    check(w, pv_model_writer_f32(w->writer, "llama.rope.freq_base", (float)theta, &w->error));
    if (strcmp(pv_flat_string(&c->config, "rope_parameters.rope_type"), "linear") != 0) return;
    check(w, pv_model_writer_string(w->writer, "llama.rope.scaling.type", "linear", &w->error));
    check(w, pv_model_writer_f32(w->writer, "llama.rope.scaling.factor", (float)config_number(c, "rope_parameters.factor"), &w->error));
}

/* Llama-3 scaling stands in a GGUF file as divisors of the plain frequencies. */
static bool has_rope_factors(const writing *w)
{
    return pv_flat_find(&w->c->about, "rope_freqs.0") != NULL && w->file->mistake != GOLDEN_PLAIN_ROPE;
}

static void write_rope_factors(writing *w)
{
    for (uint32_t i = 0; i < w->c->head_dim / 2; i++) {
        char path[32];
        snprintf(path, sizeof path, "rope_freqs.%u", i);
        float factor = (float)pv_flat_find(&w->c->about, path)->number;
        check(w, pv_model_writer_data(w->writer, &factor, sizeof factor, &w->error));
    }
}

/* Tensors [first, end) into one file. */
static void write_tensors(writing *w, const char *path, size_t first, size_t end)
{
    const tensor *t;
    uint32_t layer;
    uint64_t half = w->c->head_dim / 2;
    pv_allocator allocator = pv_allocator_default();
    check(w, pv_model_writer_open(&allocator, w->file->gguf ? PV_SOURCE_GGUF : PV_SOURCE_SAFETENSORS, path, &w->writer, &w->error));
    if (w->file->gguf) write_metadata(w);
    if (w->file->gguf && has_rope_factors(w))
        check(w, pv_model_writer_declare(w->writer, "rope_freqs.weight", PV_LAYOUT_F32, 1, &half, &w->error));
    for (size_t i = first; i < end && tensor_at(w->c, i, &t, &layer); i++) declare(w, t, layer);
    if (w->file->gguf && has_rope_factors(w)) write_rope_factors(w);
    for (size_t i = first; i < end && tensor_at(w->c, i, &t, &layer); i++) write_tensor(w, t, layer);
    check(w, pv_model_writer_commit(w->writer, &w->error));
    pv_model_writer_close(w->writer);
}

/* ---- SafeTensors ---- */

static void copy_config(const writing *w, const char *folder)
{
    char from[GOLDEN_PATH + 64], to[GOLDEN_PATH + 64], *text;
    size_t length;
    pv_allocator allocator = pv_allocator_default();
    snprintf(from, sizeof from, "%s/%s", w->c->folder, w->file->config_name);
    snprintf(to, sizeof to, "%s/config.json", folder);
    assert_int_equal(pv_read_file(&allocator, from, 1 << 20, &text, &length, NULL), PV_OK);
    FILE *out = fopen(to, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(text, 1, length, out), length);
    assert_int_equal(fclose(out), 0);
    free(text);
}

static void write_shards(writing *w, const char *folder, size_t count)
{
    const tensor *t;
    uint32_t layer;
    char path[GOLDEN_PATH + 64], name[128];
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
    FILE *index = fopen(path, "w");
    assert_non_null(index);
    fprintf(index, "{\"metadata\": {\"total_size\": 0}, \"weight_map\": {");
    for (size_t i = 0; i < count && tensor_at(w->c, i, &t, &layer); i++) {
        print_name(name, t->huggingface, layer);
        fprintf(index, "%s\"%s\": \"model-%05d-of-00002.safetensors\"", i > 0 ? ", " : "", name, i < count / 2 ? 1 : 2);
    }
    fprintf(index, "}}\n");
    assert_int_equal(fclose(index), 0);
    for (size_t shard = 0; shard < 2; shard++) {
        snprintf(path, sizeof path, "%s/model-%05zu-of-00002.safetensors", folder, shard + 1);
        write_tensors(w, path, shard == 0 ? 0 : count / 2, shard == 0 ? count / 2 : count);
    }
}

void golden_write(const golden_case *c, const golden_file *file, const char *folder, char path[GOLDEN_PATH])
{
    writing w = {.c = c, .file = file};
    const tensor *t;
    uint32_t layer;
    size_t count = 0;
    while (tensor_at(c, count, &t, &layer)) count++;
    if (file->gguf) {
        snprintf(path, GOLDEN_PATH, "%.400s/model.gguf", folder);
        write_tensors(&w, path, 0, count);
        return;
    }
    copy_config(&w, folder);
    if (file->shards == 2) {
        write_shards(&w, folder, count);
    } else {
        snprintf(path, GOLDEN_PATH, "%.400s/model.safetensors", folder);
        write_tensors(&w, path, 0, count);
    }
    snprintf(path, GOLDEN_PATH, "%s", folder);
}
