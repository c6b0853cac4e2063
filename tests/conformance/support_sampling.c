/* The reference of the sample op, over doubles. */
#include "support_reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void ref_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4])
{
    uint32_t k0 = key[0], k1 = key[1], c[4];
    memcpy(c, counter, sizeof c);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
        const uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k0, (uint32_t)b, (uint32_t)(a >> 32) ^ c[3] ^ k1, (uint32_t)a};
        memcpy(c, next, sizeof c);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    memcpy(out, c, sizeof c);
}

static const double *sorted_logits;

static int compare_order(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    if (sorted_logits[x] != sorted_logits[y]) return sorted_logits[x] > sorted_logits[y] ? -1 : 1;
    return x < y ? -1 : 1;
}

void ref_order(const double *logits, uint32_t count, int32_t *order)
{
    for (uint32_t i = 0; i < count; i++) order[i] = (int32_t)i;
    sorted_logits = logits;
    qsort(order, count, sizeof *order, compare_order);
}

/* exp, its sum over the vocabulary and the logarithm: 16 u and the sum's own; the differences of logits: theirs. */
ref_value ref_logprob(const float *logits, uint32_t vocabulary, int32_t token)
{
    double largest = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < vocabulary; i++) {
        if (logits[i] > largest) largest = logits[i]; /* gcc 12 for 64-bit Arm does not survive fmax here */
    }
    for (uint32_t i = 0; i < vocabulary; i++) sum += exp(logits[i] - largest);
    double value = logits[token] - largest - log(sum);
    return (ref_value){value, (REF_LAMBDA * sqrt(vocabulary) + 16) * REF_U +
                                  4 * REF_U * (fabs((double)logits[token]) + fabs(largest) + fabs(value))};
}

/* Penalties and bias, in the contract's order. */
static double *settle(const float *logits, uint32_t vocabulary, const pv_step_logit *s, const int32_t *log,
                      const pv_step_bias *biases)
{
    double *settled = malloc(vocabulary * sizeof *settled);
    bool *seen = calloc(vocabulary, sizeof *seen);
    uint32_t *times = calloc(vocabulary, sizeof *times);
    int64_t window = (int64_t)s->position + 1 - s->penalty_last;
    for (int64_t p = 0; p <= s->position; p++) {
        if (log[p] < 0 || (uint32_t)log[p] >= vocabulary) continue;
        if (p >= window) seen[log[p]] = true;
        if (p >= s->prompt_length) times[log[p]]++;
    }
    for (uint32_t i = 0; i < vocabulary; i++) {
        settled[i] = logits[i];
        if (seen[i]) settled[i] = settled[i] > 0 ? settled[i] / s->repetition : settled[i] * s->repetition;
        if (times[i] > 0) settled[i] -= (double)s->frequency * times[i] + s->presence;
    }
    for (uint32_t i = 0; i < s->bias_count; i++) settled[biases[i].token] += biases[i].bias;
    free(seen);
    free(times);
    return settled;
}

/* How far f32 may be from the reference in a settled logit over the temperature, or in a sum of probabilities. Cuts and draws
 * that lie nearer together than this are near ties. */
#define NEAR_LOGIT 1e-5
#define NEAR_PROBABILITY 2e-5

typedef struct cut {
    uint32_t survivors;
    double total; /* of their probabilities */
    bool near_tie;
} cut;

/* `probability`, by falling order: cuts by top-k, then top-p of what is left, then min-p. */
static cut cut_tail(const double *scaled, const int32_t *order, double *probability, uint32_t vocabulary,
                    const pv_step_logit *s)
{
    cut c = {.survivors = vocabulary};
    for (uint32_t i = 0; i < vocabulary; i++) probability[i] = exp(scaled[order[i]] - scaled[order[0]]);
    if (s->top_k > 0 && s->top_k < vocabulary) {
        c.survivors = s->top_k;
        double gap = scaled[order[s->top_k - 1]] - scaled[order[s->top_k]];
        c.near_tie = gap > 0 && gap < NEAR_LOGIT;
    }
    for (uint32_t i = 0; i < c.survivors; i++) c.total += probability[i];
    if (s->top_p < 1) {
        double before = 0;
        uint32_t kept = 0;
        for (; kept < c.survivors && (kept == 0 || before / c.total < s->top_p); kept++) {
            before += probability[kept];
            c.near_tie |= fabs(before / c.total - s->top_p) < NEAR_PROBABILITY;
        }
        c.survivors = kept;
    }
    if (s->min_p > 0) {
        uint32_t kept = 0;
        for (; kept < c.survivors && probability[kept] >= s->min_p; kept++) continue;
        if (kept == 0) kept = 1;
        if (kept < c.survivors) c.near_tie |= fabs(probability[kept] - s->min_p) < NEAR_PROBABILITY;
        c.near_tie |= kept > 1 && fabs(probability[kept - 1] - s->min_p) < NEAR_PROBABILITY;
        c.survivors = kept;
    }
    c.total = 0;
    for (uint32_t i = 0; i < c.survivors; i++) c.total += probability[i];
    return c;
}

static uint32_t draw(const double *probability, cut *c, const pv_step_logit *s)
{
    const uint32_t counter[4] = {(uint32_t)s->position + 1, 0, 0, 0};
    uint32_t words[4], chosen = 0;
    ref_philox(s->seed, counter, words);
    double aim = ldexp((double)(words[0] >> 8), -24) * c->total, sum = probability[0];
    c->near_tie |= fabs(sum - aim) < NEAR_PROBABILITY * c->total;
    while (sum <= aim && chosen + 1 < c->survivors) {
        sum += probability[++chosen];
        c->near_tie |= fabs(sum - aim) < NEAR_PROBABILITY * c->total && chosen + 1 < c->survivors;
    }
    return chosen;
}

static bool finite_enough(const float *logits, uint32_t vocabulary)
{
    bool any = false;
    for (uint32_t i = 0; i < vocabulary; i++) {
        if (isnan(logits[i])) return false;
        any |= isfinite(logits[i]);
    }
    return any;
}

ref_sampled ref_sample(const float *logits, uint32_t vocabulary, const pv_step_logit *s, const int32_t *log,
                       const pv_step_bias *biases)
{
    if (!finite_enough(logits, vocabulary)) return (ref_sampled){.token = -1, .status = PV_OUTPUT_NON_FINITE};
    ref_sampled made = {.status = PV_OUTPUT_OK};
    double *settled = settle(logits, vocabulary, s, log, biases), *probability = malloc(vocabulary * sizeof *probability);
    int32_t *order = malloc(vocabulary * sizeof *order);
    if (s->temperature > 0) {
        for (uint32_t i = 0; i < vocabulary; i++) settled[i] /= s->temperature;
    }
    ref_order(settled, vocabulary, order);
    if (s->temperature > 0) {
        cut c = cut_tail(settled, order, probability, vocabulary, s);
        made.token = order[draw(probability, &c, s)];
        made.near_tie = c.near_tie;
    } else {
        made.token = order[0];
        double gap = vocabulary > 1 ? settled[order[0]] - settled[order[1]] : 1;
        made.near_tie = gap > 0 && gap < NEAR_LOGIT;
    }
    made.logprob = ref_logprob(logits, vocabulary, made.token);
    free(settled);
    free(probability);
    free(order);
    return made;
}

void ref_distribution(const float *logits, uint32_t vocabulary, const pv_step_logit *s, const int32_t *log,
                      const pv_step_bias *biases, double *probabilities)
{
    double *settled = settle(logits, vocabulary, s, log, biases), *probability = malloc(vocabulary * sizeof *probability);
    int32_t *order = malloc(vocabulary * sizeof *order);
    for (uint32_t i = 0; i < vocabulary; i++) settled[i] /= s->temperature;
    ref_order(settled, vocabulary, order);
    cut c = cut_tail(settled, order, probability, vocabulary, s);
    for (uint32_t i = 0; i < vocabulary; i++) probabilities[order[i]] = i < c.survivors ? probability[i] / c.total : 0;
    free(settled);
    free(probability);
    free(order);
}
