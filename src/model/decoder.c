#include "model/decoder.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/architecture.h"
#include "model/flat.h"

/* ---- Where numbers come from: one interface over both kinds of file ---- */

typedef struct config {
    pv_source *source;
    const char *prefix; /* GGUF: "llama" */
    pv_flat flat;       /* SafeTensors: config.json */
    bool gguf;
} config;

/* A number by its name in either format ("" where a format has none). */
static pv_status get_number(const config *c, const char *gguf, const char *huggingface, double *value, bool *found, pv_error *error)
{
    *found = false;
    if (!c->gguf) return huggingface[0] != '\0' ? pv_flat_number(&c->flat, huggingface, value, found, error) : PV_OK;
    if (gguf[0] == '\0') return PV_OK;
    char key[160];
    snprintf(key, sizeof key, "%s.%s", c->prefix, gguf);
    const pv_meta *meta = pv_source_meta(c->source, key);
    if (meta != NULL && meta->type == PV_META_ARRAY)
        return pv_fail_at(error, PV_UNSUPPORTED, key, PV_NO_OFFSET, "%s differs from layer to layer, which this version cannot run", key);
    return pv_meta_f64(c->source, key, value, found, error);
}

static const char *name_of(const config *c, const char *gguf, const char *huggingface)
{
    return c->gguf ? gguf : huggingface;
}

/* A whole number in [low, high]; `missing` where it is absent, and 0 there means that it must not be. */
static pv_status get_count(const config *c, const char *gguf, const char *huggingface, uint32_t low, uint32_t high, uint32_t missing,
                           uint32_t *out, pv_error *error)
{
    double value = 0;
    bool found = false;
    pv_status status = get_number(c, gguf, huggingface, &value, &found, error);
    if (status != PV_OK) return status;
    if (!found && missing == 0)
        return pv_fail_at(error, PV_BAD_FILE, pv_source_path(c->source), PV_NO_OFFSET, "%s is missing from the model's configuration",
                          name_of(c, gguf, huggingface));
    if (!found) value = missing;
    if (!(value >= low && value <= high) || value != floor(value))
        return pv_fail_at(error, PV_BAD_FILE, pv_source_path(c->source), PV_NO_OFFSET, "%s is %g, a whole number from %u to %u is wanted",
                          name_of(c, gguf, huggingface), value, low, high);
    *out = (uint32_t)value;
    return PV_OK;
}

/* A real number in [low, high]. */
static pv_status get_real(const config *c, const char *gguf, const char *huggingface, double low, double high, double missing, double *out,
                          pv_error *error)
{
    double value = missing;
    bool found = false;
    pv_status status = get_number(c, gguf, huggingface, &value, &found, error);
    if (status != PV_OK) return status;
    if (!(value >= low && value <= high))
        return pv_fail_at(error, PV_BAD_FILE, pv_source_path(c->source), PV_NO_OFFSET, "%s is %g, a number from %g to %g is wanted",
                          name_of(c, gguf, huggingface), value, low, high);
    *out = value;
    return PV_OK;
}

/* ---- Which architecture ---- */

static pv_status find_gguf_architecture(config *c, pv_decoder *decoder, char name[64], pv_error *error)
{
    const char *text;
    size_t length;
    bool found;
    pv_status status = pv_meta_string(c->source, "general.architecture", &text, &length, &found, error);
    if (status != PV_OK) return status;
    if (!found) return pv_fail_at(error, PV_BAD_FILE, pv_source_path(c->source), PV_NO_OFFSET, "general.architecture is missing");
    snprintf(name, 64, "%.*s", (int)(length < 63 ? length : 63), text);
    decoder->architecture = pv_architecture_find(name, NULL);
    c->prefix = name;
    return PV_OK;
}

static pv_status find_huggingface_architecture(config *c, const pv_allocator *allocator, pv_decoder *decoder, char name[64], pv_error *error)
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
    decoder->architecture = pv_architecture_find(NULL, name);
    return PV_OK;
}

/* ---- Sizes ---- */

static pv_status read_sizes(const config *c, pv_decoder *d, pv_error *error)
{
    const struct {
        uint32_t *out;
        const char *gguf, *huggingface;
        uint32_t low, high, missing;
    } first[] = {
        {&d->layers, "block_count", "num_hidden_layers", 1, 1024, 0},
        {&d->width, "embedding_length", "hidden_size", 1, 1 << 17, 0},
        {&d->heads, "attention.head_count", "num_attention_heads", 1, 4096, 0},
        {&d->feed_forward, "feed_forward_length", "intermediate_size", 1, 1 << 20, 0},
        {&d->trained_context, "context_length", "max_position_embeddings", 1, 1 << 24, 2048},
    };
    pv_status status;
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++)
        if ((status = get_count(c, first[i].gguf, first[i].huggingface, first[i].low, first[i].high, first[i].missing, first[i].out, error)) != PV_OK)
            return status;
    uint32_t head_dim = d->width / d->heads, ignored;
    if ((status = get_count(c, "attention.head_count_kv", "num_key_value_heads", 1, d->heads, d->heads, &d->kv_heads, error)) != PV_OK) return status;
    if ((status = get_count(c, "attention.key_length", "head_dim", 2, 1024, head_dim > 0 ? head_dim : 1, &d->head_dim, error)) != PV_OK) return status;
    if ((status = get_count(c, "attention.value_length", "", d->head_dim, d->head_dim, d->head_dim, &ignored, error)) != PV_OK) return status;
    if (d->heads % d->kv_heads != 0 || d->head_dim % 2 != 0)
        return pv_fail_at(error, PV_BAD_FILE, pv_source_path(c->source), PV_NO_OFFSET,
                          "%u heads over %u key-value heads of %u elements: the heads must be a multiple and the size even", d->heads,
                          d->kv_heads, d->head_dim);
    return PV_OK;
}

static pv_status read_vocabulary(const config *c, pv_decoder *d, pv_error *error)
{
    if (!c->gguf) return get_count(c, "", "vocab_size", 1, 1 << 24, 0, &d->vocabulary, error);
    const pv_source_tensor *embed = pv_source_find(c->source, "token_embd.weight");
    if (embed == NULL || embed->rows < 1 || embed->rows > 1 << 24)
        return pv_fail_at(error, PV_BAD_FILE, "token_embd.weight", PV_NO_OFFSET, "%s has no usable tensor token_embd.weight",
                          pv_source_path(c->source));
    d->vocabulary = (uint32_t)embed->rows;
    return PV_OK;
}

/* Settings of the family that this version does not run: better refused than answered wrongly. */
static pv_status refuse_unknown(const config *c, pv_error *error)
{
    double experts = 0;
    bool found;
    pv_status status = get_number(c, "expert_count", "num_local_experts", &experts, &found, error);
    if (status != PV_OK) return status;
    if (found && experts > 0)
        return pv_fail(error, PV_UNSUPPORTED, "the model has %g experts; mixtures of experts are not supported", experts);
    if (c->gguf) return PV_OK;
    const char *activation = pv_flat_string(&c->flat, "hidden_act");
    if (activation != NULL && strcmp(activation, "silu") != 0)
        return pv_fail(error, PV_UNSUPPORTED, "config.json: hidden_act is '%s', 'silu' is supported", activation);
    const char *method = pv_flat_string(&c->flat, "quantization_config.quant_method");
    if (method != NULL) return pv_fail(error, PV_UNSUPPORTED, "config.json: quantization method '%s' is not supported", method);
    if (pv_flat_find(&c->flat, "quantization.bits") != NULL)
        return pv_fail(error, PV_UNSUPPORTED, "config.json: MLX quantization is not supported");
    return PV_OK;
}

/* ---- RoPE ---- */

static const struct {
    const char *name;
    pv_rope_scaling scaling;
} scalings[] = {
    {"none", PV_ROPE_SCALING_NONE}, {"default", PV_ROPE_SCALING_NONE}, {"linear", PV_ROPE_SCALING_LINEAR}, {"llama3", PV_ROPE_SCALING_LLAMA3},
};

static pv_status read_scaling(const config *c, const char *huggingface_object, pv_rope_settings *rope, pv_error *error)
{
    char name[64] = "none", path[4][64];
    if (c->gguf) {
        char key[128];
        const char *text;
        size_t length;
        bool found;
        snprintf(key, sizeof key, "%s.rope.scaling.type", c->prefix);
        pv_status status = pv_meta_string(c->source, key, &text, &length, &found, error);
        if (status != PV_OK) return status;
        if (found) snprintf(name, sizeof name, "%.*s", (int)(length < 63 ? length : 63), text);
    } else {
        static const char *const members[] = {"rope_type", "type"};
        for (size_t i = 0; i < 2 && strcmp(name, "none") == 0; i++) {
            snprintf(path[0], sizeof path[0], "%s.%s", huggingface_object, members[i]);
            const char *text = pv_flat_string(&c->flat, path[0]);
            if (text != NULL) snprintf(name, sizeof name, "%s", text);
        }
    }
    size_t known = sizeof scalings / sizeof scalings[0], i = 0;
    while (i < known && strcmp(scalings[i].name, name) != 0) i++;
    if (i == known) return pv_fail(error, PV_UNSUPPORTED, "rope scaling '%s' is not supported; none, linear and llama3 are", name);
    rope->scaling = scalings[i].scaling;
    static const char *const fields[] = {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"};
    for (size_t j = 0; j < 4; j++) snprintf(path[j], sizeof path[j], "%s.%s", huggingface_object, fields[j]);
    pv_status status;
    if ((status = get_real(c, "rope.scaling.factor", path[0], 1e-3, 1e6, 1, &rope->factor, error)) != PV_OK) return status;
    if ((status = get_real(c, "", path[1], 1e-6, 1e6, 1, &rope->low_frequency, error)) != PV_OK) return status;
    if ((status = get_real(c, "", path[2], 1e-6, 1e6, 4, &rope->high_frequency, error)) != PV_OK) return status;
    if ((status = get_real(c, "", path[3], 1, 1 << 24, 8192, &rope->original_context, error)) != PV_OK) return status;
    if (rope->scaling == PV_ROPE_SCALING_LLAMA3 && !(rope->high_frequency > rope->low_frequency))
        return pv_fail(error, PV_BAD_FILE, "rope scaling llama3: high_freq_factor %g must be above low_freq_factor %g", rope->high_frequency,
                       rope->low_frequency);
    return PV_OK;
}

static pv_status read_rope(const config *c, pv_decoder *d, pv_error *error)
{
    /* transformers 5 moved theta and scaling into rope_parameters */
    const char *object = !c->gguf && pv_flat_find(&c->flat, "rope_parameters.rope_type") != NULL ? "rope_parameters" : "rope_scaling";
    const char *theta = strcmp(object, "rope_parameters") == 0 ? "rope_parameters.rope_theta" : "rope_theta";
    pv_status status;
    if ((status = get_real(c, "rope.freq_base", theta, 1, 1e12, 10000, &d->rope.theta, error)) != PV_OK) return status;
    if ((status = get_count(c, "rope.dimension_count", "", 2, d->head_dim, d->head_dim, &d->rope.dim, error)) != PV_OK) return status;
    if (d->rope.dim % 2 != 0) return pv_fail(error, PV_BAD_FILE, "rope.dimension_count is %u, an even number is wanted", d->rope.dim);
    d->rope.pairing = c->gguf ? d->architecture->gguf_pairing : PV_ROPE_HALVES;
    return read_scaling(c, object, &d->rope, error);
}

/* Frequencies of "Extended context through RoPE scaling", Llama 3.1: wavelengths beyond the trained context are stretched by
 * `factor`, short ones are kept, and those between are blended. */
static double llama3_frequency(const pv_rope_settings *rope, double frequency)
{
    double wavelength = 2 * M_PI / frequency;
    if (wavelength < rope->original_context / rope->high_frequency) return frequency;
    if (wavelength > rope->original_context / rope->low_frequency) return frequency / rope->factor;
    double smooth = (rope->original_context / wavelength - rope->low_frequency) / (rope->high_frequency - rope->low_frequency);
    return (1 - smooth) * frequency / rope->factor + smooth * frequency;
}

void pv_rope_frequencies(const pv_rope_settings *rope, const float *factors, float *inverse_frequency)
{
    for (uint32_t i = 0; i < rope->dim / 2; i++) {
        double frequency = pow(rope->theta, -2.0 * i / rope->dim);
        if (rope->scaling == PV_ROPE_SCALING_LINEAR) frequency /= rope->factor;
        if (rope->scaling == PV_ROPE_SCALING_LLAMA3) frequency = llama3_frequency(rope, frequency);
        if (factors != NULL) frequency /= factors[i];
        inverse_frequency[i] = (float)frequency;
    }
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

static pv_status read_ends(const config *c, const pv_allocator *allocator, const pv_decoder *d, int32_t *ends, size_t *count, pv_error *error)
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

static pv_status read_description(const config *c, pv_decoder *d, pv_error *error)
{
    pv_status status;
    double epsilon;
    if ((status = refuse_unknown(c, error)) != PV_OK) return status;
    if ((status = read_sizes(c, d, error)) != PV_OK) return status;
    if ((status = read_vocabulary(c, d, error)) != PV_OK) return status;
    if ((status = get_real(c, "attention.layer_norm_rms_epsilon", "rms_norm_eps", 0, 1, 1e-6, &epsilon, error)) != PV_OK) return status;
    if ((status = read_rope(c, d, error)) != PV_OK) return status;
    d->norm_epsilon = (float)epsilon;
    d->activation = PV_ACTIVATION_SILU;
    d->embed_scale = 1;
    d->attention_scale = (float)(1 / sqrt(d->head_dim));
    return PV_OK;
}

pv_status pv_decoder_read(const pv_allocator *allocator, pv_source *source, pv_decoder *decoder, int32_t ends[PV_MAX_END_TOKENS],
                          size_t *end_count, pv_error *error)
{
    config c = {.source = source, .gguf = pv_source_get_kind(source) == PV_SOURCE_GGUF};
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
