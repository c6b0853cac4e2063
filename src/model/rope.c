#include "model/rope.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- Reading ---- */

static const struct {
    const char *name;
    pv_rope_scaling scaling;
} scalings[] = {
    {"none", PV_ROPE_SCALING_NONE},     {"default", PV_ROPE_SCALING_NONE}, {"linear", PV_ROPE_SCALING_LINEAR},
    {"llama3", PV_ROPE_SCALING_LLAMA3}, {"longrope", PV_ROPE_SCALING_LONG}, {"su", PV_ROPE_SCALING_LONG}, {"yarn", PV_ROPE_SCALING_YARN},
};

/* Where config.json keeps the main scaling: transformers 5 moved theta and scaling into rope_parameters, one for each type of layer where
 * these differ. */
static const char *object_of(const pv_config *c)
{
    if (c->gguf) return "";
    if (pv_flat_find(&c->flat, "rope_parameters.full_attention.rope_type") != NULL) return "rope_parameters.full_attention";
    return pv_flat_find(&c->flat, "rope_parameters.rope_type") != NULL ? "rope_parameters" : "rope_scaling";
}

static pv_status real_of(const pv_config *c, const char *object, const char *gguf, const char *member, double low, double high, double missing,
                         double *out, pv_error *error)
{
    char path[160];
    snprintf(path, sizeof path, "%s.%s", object, member);
    return pv_config_real(c, gguf, path, low, high, missing, out, error);
}

static pv_status read_scaling(const pv_config *c, const char *object, const pv_decoder *d, pv_rope_settings *rope, pv_error *error)
{
    char name[64], path[160];
    snprintf(path, sizeof path, "%s.rope_type|%s.type", object, object);
    pv_status status = pv_config_text(c, "rope.scaling.type", path, name, error);
    if (status != PV_OK) return status;
    if (name[0] == '\0') snprintf(name, sizeof name, "none");
    size_t known = sizeof scalings / sizeof scalings[0], i = 0;
    while (i < known && strcmp(scalings[i].name, name) != 0) i++;
    if (i == known) return pv_fail(error, PV_UNSUPPORTED, "rope scaling '%s' is not supported; none, linear, llama3, longrope and yarn are", name);
    rope->scaling = scalings[i].scaling;
    snprintf(path, sizeof path, "%s.original_max_position_embeddings|original_max_position_embeddings", object);
    if ((status = real_of(c, object, "rope.scaling.factor", "factor", 1e-3, 1e6, 1, &rope->factor, error)) != PV_OK) return status;
    if ((status = real_of(c, object, "", "low_freq_factor", 1e-6, 1e6, 1, &rope->low_frequency, error)) != PV_OK) return status;
    if ((status = real_of(c, object, "", "high_freq_factor", 1e-6, 1e6, 4, &rope->high_frequency, error)) != PV_OK) return status;
    const double missing = rope->scaling == PV_ROPE_SCALING_LLAMA3 ? 8192 : d->trained_context;
    if ((status = pv_config_real(c, "rope.scaling.original_context_length", path, 1, 1 << 24, missing, &rope->original_context, error)) != PV_OK)
        return status;
    if ((status = real_of(c, object, "rope.scaling.yarn_beta_fast", "beta_fast", 1e-3, 1e6, 32, &rope->beta_fast, error)) != PV_OK) return status;
    if ((status = real_of(c, object, "rope.scaling.yarn_beta_slow", "beta_slow", 1e-3, 1e6, 1, &rope->beta_slow, error)) != PV_OK) return status;
    snprintf(path, sizeof path, "%s.truncate", object);
    const pv_flat_entry *truncates = c->gguf ? NULL : pv_flat_find(&c->flat, path);
    rope->truncates = truncates != NULL ? truncates->type != PV_JSON_FALSE : !d->architecture->yarn_between_pairs;
    if (rope->scaling == PV_ROPE_SCALING_LLAMA3 && !(rope->high_frequency > rope->low_frequency))
        return pv_fail(error, PV_BAD_FILE, "rope scaling llama3: high_freq_factor %g must be above low_freq_factor %g", rope->high_frequency,
                       rope->low_frequency);
    return PV_OK;
}

static pv_status check_divisor(const char *name, uint32_t i, double value, pv_error *error)
{
    if (value > 0 && value < 1e9) return PV_OK;
    return pv_fail(error, PV_BAD_FILE, "%s[%u] is %g, a positive number is wanted", name, i, value);
}

/* GGUF has divisors as tensors. */
static pv_status divisors_in_gguf(const pv_config *c, const char *name, pv_rope_settings *rope, float *out, pv_error *error)
{
    const pv_source_tensor *tensor = pv_source_find(c->source, name);
    const uint32_t pairs = rope->dim / 2;
    if (tensor == NULL) return PV_OK;
    if (tensor->layout != PV_LAYOUT_F32 || tensor->rows != 1 || tensor->cols != pairs)
        return pv_fail_at(error, PV_BAD_FILE, tensor->name, tensor->offset, "tensor %s is %s [%llu], F32 [%u] is wanted", name, tensor->type_name,
                          (unsigned long long)tensor->cols, pairs);
    pv_status status = pv_source_read_rows(c->source, tensor, 0, 1, out, error);
    for (uint32_t i = 0; i < pairs && status == PV_OK; i++) status = check_divisor(name, i, (double)out[i], error);
    rope->divisor_sets++;
    return status;
}

static pv_status divisors_in_json(const pv_config *c, const char *object, const char *member, pv_rope_settings *rope, float *out, pv_error *error)
{
    const uint32_t pairs = rope->dim / 2;
    char path[160];
    snprintf(path, sizeof path, "%s.%s.%u", object, member, pairs);
    if (pv_flat_find(&c->flat, path) != NULL) return pv_fail(error, PV_BAD_FILE, "%s.%s has more than the %u numbers that are wanted", object, member, pairs);
    for (uint32_t i = 0; i < pairs; i++) {
        double value;
        bool found;
        snprintf(path, sizeof path, "%s.%s.%u", object, member, i);
        pv_status status = pv_config_number(c, "", path, &value, &found, error);
        if (status == PV_OK && !found) status = pv_fail(error, PV_BAD_FILE, "%s.%s has %u numbers, %u are wanted", object, member, i, pairs);
        if (status == PV_OK) status = check_divisor(member, i, value, error);
        if (status != PV_OK) return status;
        out[i] = (float)value;
    }
    rope->divisor_sets++;
    return PV_OK;
}

/* Divisors of the frequencies: GGUF keeps Llama 3.1's scaling so, and both formats long and short ones. */
static pv_status read_divisors(const pv_config *c, const char *object, pv_rope_settings *rope, pv_error *error)
{
    if (rope->dim / 2 > PV_MAX_ROPE_PAIRS)
        return pv_fail(error, PV_UNSUPPORTED, "RoPE turns %u elements of a head, at most %d are supported", rope->dim, 2 * PV_MAX_ROPE_PAIRS);
    pv_status status = PV_OK;
    if (!c->gguf && rope->scaling == PV_ROPE_SCALING_LONG) {
        status = divisors_in_json(c, object, "short_factor", rope, rope->divisors[0], error);
        if (status == PV_OK) status = divisors_in_json(c, object, "long_factor", rope, rope->divisors[1], error);
    }
    if (!c->gguf) return status;
    status = divisors_in_gguf(c, "rope_freqs.weight", rope, rope->divisors[0], error);
    if (status != PV_OK || rope->divisor_sets > 0) return status;
    status = divisors_in_gguf(c, "rope_factors_short.weight", rope, rope->divisors[0], error);
    if (status == PV_OK) status = divisors_in_gguf(c, "rope_factors_long.weight", rope, rope->divisors[1], error);
    if (status == PV_OK && rope->divisor_sets == 1)
        status = pv_fail(error, PV_BAD_FILE, "%s has one of rope_factors_short.weight and rope_factors_long.weight, both are wanted",
                         pv_source_path(c->source));
    if (rope->divisor_sets == 2) rope->scaling = PV_ROPE_SCALING_LONG;
    return status;
}

static double yarn_scale(double factor, double mscale) { return factor > 1 ? 1 + 0.1 * mscale * log(factor) : 1; }

/* DeepSeek's parameters of YaRN; 0: none. GGUF files have a tenth of mscale_all_dim, and take mscale for the same. */
static pv_status read_mscale(const pv_config *c, const char *object, const pv_decoder *d, double *mscale, double *all_dim, pv_error *error)
{
    *mscale = *all_dim = 0;
    if (c->gguf && !d->architecture->latent) return PV_OK;
    pv_status status = real_of(c, object, "rope.scaling.yarn_log_multiplier", "mscale_all_dim", 0, 100, 0, all_dim, error);
    if (c->gguf) *mscale = *all_dim *= 10;
    return status == PV_OK && !c->gguf ? real_of(c, object, "", "mscale", 0, 100, 0, mscale, error) : status;
}

/* "LongRoPE: Extending LLM Context Window Beyond 2 Million Tokens", section 3.3, and "YaRN: Efficient Context Window Extension of Large
 * Language Models", section 3.4, as their models' configuration has it. */
static pv_status read_magnitude(const pv_config *c, const char *object, const pv_decoder *d, pv_rope_settings *rope, pv_error *error)
{
    double magnitude = 1, mscale, all_dim;
    rope->magnitude = 1, rope->score_scale = 1;
    if (rope->scaling != PV_ROPE_SCALING_LONG && rope->scaling != PV_ROPE_SCALING_YARN) return PV_OK;
    const double factor = rope->scaling == PV_ROPE_SCALING_YARN ? rope->factor : d->trained_context / rope->original_context;
    pv_status status = read_mscale(c, object, d, &mscale, &all_dim, error);
    if (status != PV_OK) return status;
    if (rope->scaling == PV_ROPE_SCALING_YARN) {
        magnitude = mscale > 0 && all_dim > 0 ? yarn_scale(factor, mscale) / yarn_scale(factor, all_dim) : yarn_scale(factor, 1);
        if (all_dim > 0) rope->score_scale = yarn_scale(factor, all_dim) * yarn_scale(factor, all_dim);
    } else if (factor > 1) {
        magnitude = sqrt(1 + log(factor) / log(rope->original_context));
    }
    status = real_of(c, object, "rope.scaling.attn_factor", "attention_factor", 1e-3, 1e3, magnitude, &magnitude, error);
    rope->magnitude = (float)magnitude;
    return status;
}

/* How much of a head turns. */
static pv_status read_dim(const pv_config *c, const char *object, const pv_decoder *d, pv_rope_settings *rope, pv_error *error)
{
    char path[160];
    double part;
    snprintf(path, sizeof path, "partial_rotary_factor|%s.partial_rotary_factor", object);
    pv_status status = pv_config_real(c, "", path, 1e-3, 1, 1, &part, error);
    if (status != PV_OK) return status;
    rope->dim = (uint32_t)(d->head_dim * part);
    if (c->gguf && (status = pv_config_count(c, "rope.dimension_count", "", 2, d->head_dim, d->head_dim, &rope->dim, error)) != PV_OK) return status;
    if (rope->dim >= 2 && rope->dim % 2 == 0) return PV_OK;
    if (c->gguf) return pv_fail(error, PV_BAD_FILE, "rope.dimension_count is %u, an even number is wanted", rope->dim);
    return pv_fail(error, PV_BAD_FILE, "config.json: partial_rotary_factor %g of a head of %u elements makes %u, an even number is wanted", part, d->head_dim,
                   rope->dim);
}

/* Layers with a window may turn at a rate of their own, unscaled. */
static pv_status read_window_rope(const pv_config *c, pv_decoder *d, pv_error *error)
{
    const double missing = d->architecture->window_theta;
    double theta = missing;
    if (missing == 0) return PV_OK;
    pv_status status = pv_config_real(c, "rope.freq_base_swa", "rope_parameters.sliding_attention.rope_theta|rope_local_base_freq", 1, 1e12, missing,
                                      &theta, error);
    d->ropes[d->rope_count++] = (pv_rope_settings){.pairing = d->ropes[0].pairing, .dim = d->ropes[0].dim, .theta = theta, .magnitude = 1};
    return status;
}

pv_status pv_rope_read(const pv_config *c, pv_decoder *d, pv_error *error)
{
    pv_rope_settings *rope = &d->ropes[0];
    const char *object = object_of(c);
    char path[160];
    pv_status status;
    d->rope_count = 1;
    snprintf(path, sizeof path, "%s.rope_theta|rope_theta", object);
    if ((status = pv_config_real(c, "rope.freq_base", path, 1, 1e12, 10000, &rope->theta, error)) != PV_OK) return status;
    if ((status = read_dim(c, object, d, rope, error)) != PV_OK) return status;
    rope->pairing = c->gguf ? d->architecture->gguf_pairing : d->architecture->neighbours ? PV_ROPE_NEIGHBOURS : PV_ROPE_HALVES;
    if ((status = read_scaling(c, object, d, rope, error)) != PV_OK) return status;
    if ((status = read_divisors(c, object, rope, error)) != PV_OK) return status;
    if ((status = read_magnitude(c, object, d, rope, error)) != PV_OK) return status;
    return read_window_rope(c, d, error);
}

/* ---- Frequencies ---- */

/* "Extended context through RoPE scaling", Llama 3.1: wavelengths beyond the trained context are stretched by `factor`, short ones are
 * kept, and those between are blended. */
static double llama3_frequency(const pv_rope_settings *rope, double frequency)
{
    double wavelength = 2 * M_PI / frequency;
    if (wavelength < rope->original_context / rope->high_frequency) return frequency;
    if (wavelength > rope->original_context / rope->low_frequency) return frequency / rope->factor;
    double smooth = (rope->original_context / wavelength - rope->low_frequency) / (rope->high_frequency - rope->low_frequency);
    return (1 - smooth) * frequency / rope->factor + smooth * frequency;
}

/* The pair that turns `turns` times within the original context: not a whole number. */
static double pair_that_turns(const pv_rope_settings *rope, double turns)
{
    return rope->dim * log(rope->original_context / (turns * 2 * M_PI)) / (2 * log(rope->theta));
}

/* YaRN, section 3.2: pairs that turn often are kept, those that turn less than once are stretched, and those between are blended. */
static double yarn_frequency(const pv_rope_settings *rope, uint32_t pair, double frequency)
{
    double low = pair_that_turns(rope, rope->beta_fast), high = pair_that_turns(rope, rope->beta_slow);
    if (rope->truncates) low = floor(low), high = ceil(high);
    low = fmax(low, 0), high = fmin(high, rope->dim - 1);
    if (low == high) high += 1e-3;
    const double ramp = fmin(fmax((pair - low) / (high - low), 0), 1);
    return frequency * (1 - ramp) + frequency / rope->factor * ramp;
}

void pv_rope_frequencies(const pv_rope_settings *rope, uint32_t context, float *inverse_frequency)
{
    const float *divisors = rope->divisor_sets > 0 ? rope->divisors[0] : NULL;
    if (rope->divisor_sets > 1 && context > rope->original_context) divisors = rope->divisors[1];
    for (uint32_t i = 0; i < rope->dim / 2; i++) {
        double frequency = pow(rope->theta, -2.0 * i / rope->dim);
        if (rope->scaling == PV_ROPE_SCALING_LINEAR) frequency /= rope->factor;
        if (rope->scaling == PV_ROPE_SCALING_LLAMA3) frequency = llama3_frequency(rope, frequency);
        if (rope->scaling == PV_ROPE_SCALING_YARN) frequency = yarn_frequency(rope, i, frequency);
        if (divisors != NULL) frequency /= (double)divisors[i];
        inverse_frequency[i] = (float)frequency;
    }
}
