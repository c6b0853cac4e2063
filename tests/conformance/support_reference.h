/* Every op in float64, written from the contracts in runtime/op.h and the layouts' definitions. It shares no code with the
 * library.
 *
 * Results come with a bound on how far an f32 implementation may be from them. With u = 2^-24, the rounding of one f32
 * operation: a sum of n products, each rounded and accumulated in f32 in any order, errs by at most about lambda sqrt(n) u
 * times the sum of magnitudes (Higham and Mary, "A new approach to probabilistic rounding error analysis", 2019; lambda = 4
 * holds for all n here with a probability of 1 - n e^-8, and errors of real kernels, which sum in lanes, are smaller). What
 * else is rounded a few times over is counted in units of u beside it. */
#ifndef TEST_SUPPORT_REFERENCE_H
#define TEST_SUPPORT_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/kernel_args.h"
#include "format/layout.h"
#include "runtime/op.h"

#define REF_U 5.9604644775390625e-8 /* 2^-24 */
#define REF_LAMBDA 4.0

typedef struct ref_value {
    double value, bound; /* NaN: NaN is wanted */
} ref_value;

double ref_f16(uint16_t bits);
uint16_t ref_to_f16(double value); /* to nearest even; NaN is 0x7E00 */

/* Blocks of a layout: weights, bytes. */
void ref_block(pv_layout layout, uint32_t *weights, uint32_t *bytes);
size_t ref_row_bytes(pv_layout layout, uint32_t cols);
/* Decodes a row. mass: the sum of the magnitudes of the terms that make a weight (d q and m are two). NULL: not wanted. */
void ref_decode(pv_layout layout, const uint8_t *row, uint32_t cols, double *value, double *mass);
/* Random bytes that are a valid row: every bit pattern of quants, finite scales. Values are about ± `size`. */
void ref_random_row(pv_layout layout, uint32_t cols, double size, uint64_t *seed, uint8_t *row);

uint64_t ref_random(uint64_t *seed);
double ref_uniform(uint64_t *seed); /* in [-1, 1) */
double ref_normal(uint64_t *seed);

ref_value ref_embed(double decoded, double mass, double scale);
ref_value ref_angle(int32_t position, float inverse_frequency, float magnitude, bool sine);
void ref_rms_norm(const float *x, const float *weight, uint32_t cols, double epsilon, ref_value *out);
/* onto: what is added behind, or NULL. cols: of the whole row; width: of the weight. */
void ref_rms_norm_onto(const float *x, const float *weight, uint32_t width, uint32_t cols, double epsilon, const float *onto, ref_value *out);
void ref_layer_norm(const float *x, const float *weight, const float *bias, uint32_t cols, double epsilon, ref_value *out);
ref_value ref_activated(pv_activation activation, ref_value x);
ref_value ref_soft_capped(double cap, ref_value x);
ref_value ref_glu(pv_activation activation, ref_value gate, ref_value up);
ref_value ref_rotated(double a, double b, double cosine, double sine); /* a cos - b sin */

/* The input of a linear op, as its weights meet it. */
typedef struct ref_input {
    uint32_t cols;
    double relative;       /* error of all elements together */
    double *value, *slack; /* slack: what a rounding to 8 bits may have gone the other way by */
} ref_input;
/* `norm` may be NULL; `quantized`: to 8 bits in groups of 32. */
void ref_input_make(const float *x, const float *norm, uint32_t cols, double epsilon, bool quantized, ref_input *input);
void ref_input_free(ref_input *input);
bool ref_is_quantized(pv_layout layout);
ref_value ref_dot(const ref_input *input, const double *weight, const double *mass);
ref_value ref_plus(ref_value a, double b);

/* keys, values: f16 [count][head_dim], those that the row sees. soft_cap: 0 for none; sink: −INFINITY for none. out: [head_dim]. */
void ref_attention(const float *q, const uint16_t *keys, const uint16_t *values, uint32_t count, uint32_t head_dim,
                   double scale, double soft_cap, double sink, ref_value *out);

/* The same for other cells, and values of another width: [count][value_dim], as `out` is. */
void ref_attention_of(const float *q, const double *keys, const double *values, uint32_t count, uint32_t head_dim, uint32_t value_dim,
                      double scale, double soft_cap, double sink, ref_value *out);

/* Philox4x32-10 (Salmon et al., SC'11). */
void ref_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]);

typedef struct ref_sampled {
    int32_t token;
    uint32_t status;
    bool near_tie;     /* f32 may have come to another token */
    ref_value logprob; /* of `token` */
} ref_sampled;

/* `log`: token_log of the slot, positions 0 ... position. biases: those of the row. */
ref_sampled ref_sample(const float *logits, uint32_t vocabulary, const pv_step_logit *settings, const int32_t *log,
                       const pv_step_bias *biases);
ref_value ref_logprob(const float *logits, uint32_t vocabulary, int32_t token);
/* Token ids by falling logit, ties by lower id. */
void ref_order(const double *logits, uint32_t count, int32_t *order);
/* Probabilities that ref_sample draws from, 0 for what is cut. Temperature > 0. */
void ref_distribution(const float *logits, uint32_t vocabulary, const pv_step_logit *settings, const int32_t *log,
                      const pv_step_bias *biases, double *probabilities);

#endif
