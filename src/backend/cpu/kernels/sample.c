/* sample: penalties, bias, temperature, top-k, top-p, min-p, and the draw.
 *
 * Every cut keeps a beginning of the tokens in the order of their logits (ties by lower id), so one list, sorted as far as it is needed,
 * serves them all: first the tokens within some distance of the largest logit, and if the cuts reach beyond these, those within a
 * larger one. How far it was sorted has no influence on the result. */
#include "functions.h"
#include "kernel.h"

typedef struct pv_candidate {
    float logit;
    int32_t token;
} pv_candidate;

/* Counts of a token, for penalties. */
typedef struct pv_seen {
    int32_t token;
    uint32_t generated; /* times it was generated */
    bool recent;        /* within penalty_last */
} pv_seen;

typedef struct pv_sampler {
    const float *raw;  /* the row as it came */
    float *logits;     /* the row with penalties, bias and temperature; may be raw */
    uint32_t vocabulary;
    pv_candidate *list; /* [vocabulary], sorted by `before` */
    uint32_t listed;
    float *work;        /* [vocabulary] */
} pv_sampler;

/* The largest value, −∞ if there is no number; *nan tells whether a NaN was met. */
static float largest_of(const float *x, uint32_t count, bool *nan)
{
    vf largest[4];
    for (int c = 0; c < 4; c++) largest[c] = vf_set(-INFINITY);
    uint32_t i = 0;
    for (; i + 64 <= count; i += 64) {
        for (uint32_t c = 0; c < 4; c++) largest[c] = vf_max(largest[c], vf_load(x + i + 16 * c));
    }
    for (; i < count; i += 16) {
        const uint32_t rest = count - i < 16 ? count - i : 16;
        largest[0] = vf_max(largest[0], vf_keep(vf_load_part(x + i, rest), rest, -INFINITY));
    }
    largest[0] = vf_max(vf_max(largest[0], largest[1]), vf_max(largest[2], largest[3]));
    /* vf_max hands NaN on; of a NaN no lane is at least −∞ */
    *nan = vf_at_least(largest[0], vf_set(-INFINITY)) != 0xFFFF;
    return vf_largest(largest[0]);
}

/* Σ e^(x − base), in sixteen lanes that are folded into a double every so often. */
static double sum_of_exp(const float *x, uint32_t count, float base)
{
    double total = 0;
    for (uint32_t i = 0; i < count;) {
        vf sum = vf_zero();
        const uint32_t end = count - i < 1024 ? count : i + 1024;
        for (; i + 16 <= end; i += 16) sum = vf_add(sum, vf_exp(vf_sub(vf_load(x + i), vf_set(base))));
        if (i < end) {
            const vf rest = vf_keep(vf_load_part(x + i, end - i), end - i, -INFINITY);
            sum = vf_add(sum, vf_exp(vf_sub(rest, vf_set(base))));
            i = end;
        }
        total += (double)vf_tree(sum);
    }
    return total;
}

static float exp_one(float x)
{
    float value;
    vf_store_part(&value, vf_exp(vf_set(x)), 1);
    return value;
}

/* The first token with this logit. */
static int32_t first_with(const float *x, uint32_t count, float value)
{
    uint32_t i = 0;
    for (; i + 16 <= count; i += 16) {
        const uint32_t hits = vf_at_least(vf_load(x + i), vf_set(value));
        if (hits != 0) return (int32_t)(i + (uint32_t)__builtin_ctz(hits));
    }
    while (i + 1 < count && !(x[i] >= value)) i++;
    return (int32_t)i;
}

static bool before(pv_candidate a, pv_candidate b) { return a.logit > b.logit || (a.logit == b.logit && a.token < b.token); }

static void sift(pv_candidate *heap, size_t root, size_t count)
{
    const pv_candidate moved = heap[root];
    for (size_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && before(heap[child], heap[child + 1])) child++;
        if (!before(moved, heap[child])) break;
        heap[root] = heap[child];
    }
    heap[root] = moved;
}

/* Heap sort: no recursion, no memory, the same time whatever the logits. */
static void sort(pv_candidate *list, size_t count)
{
    for (size_t i = count / 2; i-- > 0;) sift(list, i, count);
    for (size_t end = count; end-- > 1;) {
        const pv_candidate last = list[end];
        list[end] = list[0];
        list[0] = last;
        sift(list, 0, end);
    }
}

/* Lists and sorts the tokens whose logit is at least `threshold`. */
static void list_from(pv_sampler *sampler, const float *x, float threshold)
{
    uint32_t listed = 0, i = 0;
    const vf bound = vf_set(threshold);
    for (; i + 16 <= sampler->vocabulary; i += 16) {
        for (uint32_t hits = vf_at_least(vf_load(x + i), bound); hits != 0; hits &= hits - 1) {
            const uint32_t token = i + (uint32_t)__builtin_ctz(hits);
            sampler->list[listed++] = (pv_candidate){x[token], (int32_t)token};
        }
    }
    for (; i < sampler->vocabulary; i++) {
        if (x[i] >= threshold) sampler->list[listed++] = (pv_candidate){x[i], (int32_t)i};
    }
    sort(sampler->list, listed);
    sampler->listed = listed;
}

/* Makes the list at least `wanted` tokens long (or all): the distance to the largest logit doubles until it is. */
static void list_count(pv_sampler *sampler, const float *x, float largest, uint32_t wanted)
{
    for (float distance = 4.0f;; distance *= 2) {
        list_from(sampler, x, distance > 1000.0f ? -INFINITY : largest - distance);
        if (sampler->listed >= wanted || distance > 1000.0f) return;
    }
}

static pv_seen *find_seen(pv_seen *seen, uint32_t mask, int32_t token)
{
    uint32_t i = (uint32_t)token * 2654435761u & mask;
    while (seen[i].token >= 0 && seen[i].token != token) i = (i + 1) & mask;
    seen[i].token = token;
    return &seen[i];
}

/* Penalties over the slot's tokens at 0 … position. The table has room for twice as many. */
static void penalise(pv_sampler *sampler, const pv_step_logit *logit, const int32_t *token_log, pv_seen *seen, uint32_t context)
{
    uint32_t mask = 1;
    const int32_t count = logit->position + 1;
    while (mask < 2 * (uint32_t)count && mask < 2 * context) mask *= 2;
    mask -= 1;
    for (uint32_t i = 0; i <= mask; i++) seen[i] = (pv_seen){.token = -1};
    for (int32_t i = 0; i < count; i++) {
        if (token_log[i] < 0 || (uint32_t)token_log[i] >= sampler->vocabulary) continue;
        pv_seen *entry = find_seen(seen, mask, token_log[i]);
        if (i >= logit->prompt_length) entry->generated++;
        if ((uint32_t)(count - i) <= logit->penalty_last) entry->recent = true;
    }
    for (uint32_t i = 0; i <= mask; i++) {
        if (seen[i].token < 0) continue;
        float *x = &sampler->logits[seen[i].token];
        if (seen[i].recent && logit->repetition != 1.0f) *x = *x > 0 ? *x / logit->repetition : *x * logit->repetition;
        if (seen[i].generated > 0) *x -= (float)seen[i].generated * logit->frequency + logit->presence;
    }
}

/* Philox4x32-10 (Salmon and others, 2011): the first word. */
static uint32_t philox(const uint32_t seed[2], uint32_t counter)
{
    uint32_t c[4] = {counter, 0, 0, 0}, k[2] = {seed[0], seed[1]};
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)c[0] * 0xD2511F53u, p1 = (uint64_t)c[2] * 0xCD9E8D57u;
        const uint32_t next0 = (uint32_t)(p1 >> 32) ^ c[1] ^ k[0], next2 = (uint32_t)(p0 >> 32) ^ c[3] ^ k[1];
        c[0] = next0, c[1] = (uint32_t)p1, c[2] = next2, c[3] = (uint32_t)p0;
        k[0] += 0x9E3779B9u, k[1] += 0xBB67AE85u;
    }
    return c[0];
}

/* Walks the list from its beginning: `kept` tokens survive all cuts, `sum` is theirs. False if the list is too short to tell. */
static bool cut(const pv_sampler *sampler, const pv_step_logit *logit, float largest, double all, uint32_t *kept, double *sum)
{
    const uint32_t vocabulary = sampler->vocabulary;
    const bool complete = sampler->listed == vocabulary;
    const uint32_t top_k = logit->top_k == 0 || logit->top_k > vocabulary ? vocabulary : logit->top_k;
    const bool top_p = logit->top_p > 0 && logit->top_p < 1;
    if (top_k < vocabulary && sampler->listed < top_k && !complete) return false;
    double of_k = all; /* what top-p takes its share of */
    if (top_k < vocabulary) {
        of_k = 0;
        for (uint32_t i = 0; i < top_k && i < sampler->listed; i++) of_k += (double)exp_one(sampler->list[i].logit - largest);
    }
    double so_far = 0;
    uint32_t i = 0;
    for (; i < sampler->listed && i < top_k; i++) {
        const float weight = exp_one(sampler->list[i].logit - largest);
        if (i > 0 && weight < logit->min_p) break;
        if (i > 0 && top_p && so_far >= (double)logit->top_p * of_k) break;
        so_far += (double)weight;
    }
    *kept = i;
    *sum = so_far;
    return i < sampler->listed || i == top_k || complete;
}

/* Draws by cumulative sums, the most likely first. */
static int32_t draw(pv_sampler *sampler, const pv_step_logit *logit, float largest)
{
    const double u = (double)(philox(logit->seed, (uint32_t)logit->position + 1) >> 8) * 0x1p-24;
    const double all = sum_of_exp(sampler->logits, sampler->vocabulary, largest);
    const bool cuts = (logit->top_k > 0 && logit->top_k < sampler->vocabulary) || (logit->top_p > 0 && logit->top_p < 1) || logit->min_p > 0;
    for (float distance = 8.0f;; distance *= 2) {
        const bool last = distance > 1000.0f;
        list_from(sampler, sampler->logits, last ? -INFINITY : largest - distance);
        uint32_t kept = sampler->listed, likely = 0;
        double sum = all, so_far = 0;
        if (cuts && !cut(sampler, logit, largest, all, &kept, &sum) && !last) continue;
        for (uint32_t i = 0; i < kept; i++) {
            const float weight = exp_one(sampler->list[i].logit - largest);
            so_far += (double)weight;
            if (so_far > u * sum) return sampler->list[i].token;
            if (weight > 0) likely = i;
        }
        /* rounding alone leads here with all survivors listed */
        if (last || cuts) return sampler->list[likely].token;
    }
}

/* An infinite logit has all the probability. */
static float logprob_of(float logit, float largest, double log_sum)
{
    if (largest == INFINITY) return logit == INFINITY ? 0.0f : -INFINITY;
    return (float)((double)(logit - largest) - log_sum);
}

/* True if the row holds a finite value. */
static bool any_finite(const float *x, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (isfinite(x[i])) return true;
    }
    return false;
}

/* Alternatives, by the logits as they came. */
static void report_top(pv_sampler *sampler, uint32_t count, float largest, double log_sum, pv_step_output *output)
{
    if (count > PV_TOP_LOGPROBS) count = PV_TOP_LOGPROBS;
    if (count > sampler->vocabulary) count = sampler->vocabulary;
    output->top_count = count;
    if (count == 0) return;
    list_count(sampler, sampler->raw, largest, count);
    for (uint32_t i = 0; i < count; i++) {
        output->top[i].token = sampler->list[i].token;
        output->top[i].logprob = logprob_of(sampler->list[i].logit, largest, log_sum);
    }
}

/* Applies penalties, bias and temperature to a copy of the row. */
static void adjust(const pv_cpu_context *context, pv_sampler *sampler, const pv_step_logit *logit, const int32_t *token_log, pv_seen *seen,
                   uint32_t slots)
{
    const bool penalties = logit->repetition != 1.0f || logit->frequency != 0 || logit->presence != 0;
    const bool divides = logit->temperature > 0 && logit->temperature != 1.0f;
    if (!penalties && logit->bias_count == 0 && !divides) return;
    memcpy(sampler->work, sampler->raw, sampler->vocabulary * sizeof(float));
    sampler->logits = sampler->work;
    if (penalties) penalise(sampler, logit, token_log, seen, slots);
    for (uint32_t i = 0; i < logit->bias_count; i++) {
        const pv_step_bias *bias = &context->step.biases[logit->bias_first + i];
        if (bias->token >= 0 && (uint32_t)bias->token < sampler->vocabulary) sampler->logits[bias->token] += bias->bias;
    }
    if (divides) {
        for (uint32_t i = 0; i < sampler->vocabulary; i++) sampler->logits[i] /= logit->temperature;
    }
}

static void sample_row(const pv_cpu_context *context, const pv_op_sample *op, uint32_t index, pv_sampler *sampler, pv_seen *seen)
{
    const pv_step_logit *logit = &context->step.logits[index];
    pv_step_output *output = &context->outputs[index];
    int32_t *token_log = (int32_t *)pv_tensor_host(&op->token_log) + (size_t)logit->slot * op->token_log.cols;
    bool nan;
    sampler->raw = sampler->logits = pv_cpu_row(&op->logits, index);
    const float raw_largest = largest_of(sampler->raw, sampler->vocabulary, &nan);
    *output = (pv_step_output){.token = -1, .logprob = NAN, .status = PV_OUTPUT_NON_FINITE};
    if (nan || raw_largest == -INFINITY || (raw_largest == INFINITY && !any_finite(sampler->raw, sampler->vocabulary))) return;
    const double log_sum = raw_largest < INFINITY ? log(sum_of_exp(sampler->raw, sampler->vocabulary, raw_largest)) : 0;
    adjust(context, sampler, logit, token_log, seen, op->token_log.cols);
    const float largest = sampler->logits == sampler->raw ? raw_largest : largest_of(sampler->logits, sampler->vocabulary, &nan);
    if (nan || largest == -INFINITY) return;
    const bool greedy = !(logit->temperature > 0) || largest == INFINITY;
    const int32_t token =
        greedy ? first_with(sampler->logits, sampler->vocabulary, largest) : draw(sampler, logit, largest);
    report_top(sampler, logit->top_count, raw_largest, log_sum, output);
    output->token = token;
    output->logprob = logprob_of(sampler->raw[token], raw_largest, log_sum);
    output->status = PV_OUTPUT_OK;
    if (logit->sample != 0) token_log[logit->position + 1] = token;
}

/* Slots of the table of tokens seen: a power of two, at least twice the tokens of a slot. */
static uint64_t seen_slots(const pv_op_sample *op)
{
    uint64_t slots = 1;
    while (slots < 2 * (uint64_t)op->token_log.cols) slots *= 2;
    return slots;
}

static void sample_run(const pv_cpu_context *context, const pv_op *op)
{
    const pv_op_sample *sample = &op->sample;
    pv_sampler sampler = {.vocabulary = sample->logits.cols};
    uint8_t *own = context->own;
    sampler.list = pv_cpu_take(&own, sampler.vocabulary * sizeof(pv_candidate));
    sampler.work = pv_cpu_take(&own, sampler.vocabulary * sizeof(float));
    pv_seen *seen = pv_cpu_take(&own, seen_slots(sample) * sizeof(pv_seen));
    const uint32_t rows = pv_cpu_rows(context, &sample->logits);
    for (uint32_t i; (i = pv_cpu_ticket(context, 0)) < rows;) sample_row(context, sample, i, &sampler, seen);
}

static pv_cpu_need sample_need(const pv_op *op, const pv_step_limits *limits, uint32_t workers)
{
    (void)limits;
    (void)workers;
    const uint64_t vocabulary = op->sample.logits.cols;
    return (pv_cpu_need){.own = pv_cpu_round(vocabulary * sizeof(pv_candidate)) + pv_cpu_round(vocabulary * sizeof(float)) +
                                pv_cpu_round(seen_slots(&op->sample) * sizeof(pv_seen))};
}

const pv_cpu_kernel PV_K(pv_cpu_sample) = {sample_run, sample_need};
