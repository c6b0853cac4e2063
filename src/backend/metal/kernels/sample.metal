// sample: penalties, bias, temperature, top-k, top-p, min-p, and the draw. A threadgroup a row that wants logits.
//
// Every cut keeps a beginning of the tokens in the order of their logits (ties by lower id). So tokens are listed in that order, a
// stretch of at most LIST of them at a time, found by radix selection on (logit, id) and sorted in threadgroup memory; the cuts and the
// draw walk the list. Mostly one stretch is all that is needed. All sums run in a fixed order: the same seed gives the same token.

#define THREADS 256
#define LIST 1024
#define BINS 256

// A key that grows as the token's place in the order falls: first the logit, then the id, which is turned round.
static inline uint logit_key(float logit)
{
    const uint bits = as_type<uint>(logit + 0.0f); // no -0
    return bits & 0x80000000 ? ~bits : bits | 0x80000000;
}
static inline ulong order_key(float logit, uint token)
{
    return ulong(logit_key(logit)) << 32 | (0xFFFFFFFF - token);
}
static inline uint token_of(ulong key)
{
    return 0xFFFFFFFF - uint(key & 0xFFFFFFFF);
}
static inline float logit_of(ulong key)
{
    const uint bits = uint(key >> 32);
    return as_type<float>(bits & 0x80000000 ? bits & 0x7FFFFFFF : ~bits);
}

// What the threads of a row share.
struct row_state {
    float partial[THREADS / 32];
    ulong list[LIST];
    atomic_uint bins[BINS];
    atomic_uint listed;
    uint flags;   // bit 0: NaN was met, bit 1: a finite value was met
    ulong lower;  // the stretch at hand: keys from here on, below the one before
    uint count;
    bool descend; // the topmost bin alone is too many: its next digit decides
};

struct place {
    uint index, lane, simdgroup;
};

static inline void meet()
{
    threadgroup_barrier(mem_flags::mem_threadgroup);
}

static inline float row_sum(float value, threadgroup row_state &state, place at)
{
    return group_sum(value, state.partial, at.simdgroup, at.lane, THREADS / 32);
}

static inline float row_max(float value, threadgroup row_state &state, place at)
{
    const float largest = simd_max(value);
    meet();
    if (at.lane == 0) {
        state.partial[at.simdgroup] = largest;
    }
    meet();
    return simd_max(at.lane < THREADS / 32 ? state.partial[at.lane] : -INFINITY);
}

// Philox4x32-10 (Salmon and others, 2011): the first word.
static inline uint philox(uint seed_low, uint seed_high, uint counter)
{
    uint4 c = uint4(counter, 0, 0, 0);
    for (uint round = 0; round < 10; round++) {
        const uint high0 = mulhi(c.x, 0xD2511F53u), low0 = c.x * 0xD2511F53u, high1 = mulhi(c.z, 0xCD9E8D57u), low1 = c.z * 0xCD9E8D57u;
        c = uint4(high1 ^ c.y ^ seed_low, low1, high0 ^ c.w ^ seed_high, low0);
        seed_low += 0x9E3779B9u;
        seed_high += 0xBB67AE85u;
    }
    return c.x;
}

// The largest value; state.flags tell whether NaN and a finite value were met.
static inline float survey(device const float *x, uint count, threadgroup row_state &state, place at)
{
    float largest = -INFINITY;
    uint found = 0;
    for (uint i = at.index; i < count; i += THREADS) {
        const float value = x[i];
        found |= isnan(value) ? 1 : isfinite(value) ? 2 : 0;
        largest = max(largest, isnan(value) ? -INFINITY : value);
    }
    largest = row_max(largest, state, at);
    found = simd_or(found);
    meet();
    if (at.lane == 0) {
        state.partial[at.simdgroup] = as_type<float>(found);
    }
    meet();
    if (at.index == 0) {
        uint all = 0;
        for (uint i = 0; i < THREADS / 32; i++) {
            all |= as_type<uint>(state.partial[i]);
        }
        state.flags = all;
    }
    meet();
    return largest;
}

static inline float sum_of_exp(device const float *x, uint count, float base, threadgroup row_state &state, place at)
{
    float sum = 0.0f;
    for (uint i = at.index; i < count; i += THREADS) {
        sum += precise::exp(x[i] - base);
    }
    return row_sum(sum, state, at);
}

// ---- The order ----

static inline void sort_list(threadgroup row_state &state, place at)
{
    // bitonic, descending; places beyond the list hold 0, which is below every key
    for (uint size = 2; size <= LIST; size *= 2) {
        for (uint step = size / 2; step > 0; step /= 2) {
            for (uint i = at.index; i < LIST / 2; i += THREADS) {
                const uint a = 2 * i - (i & (step - 1)), b = a + step;
                const ulong first = state.list[a], second = state.list[b];
                if ((first < second) == ((a & size) == 0)) {
                    state.list[a] = second;
                    state.list[b] = first;
                }
            }
            meet();
        }
    }
}

// Lists the next tokens of the order, those whose keys are below `upper`: at least one, at most LIST. state.count: how many; 0 at the end.
static inline void list_next(device const float *x, uint vocabulary, ulong upper, threadgroup row_state &state, place at)
{
    ulong prefix = 0, mask = 0; // of the digits that are fixed
    for (uint shift = 56;; shift -= 8) {
        for (uint i = at.index; i < BINS; i += THREADS) {
            atomic_store_explicit(&state.bins[i], 0, memory_order_relaxed);
        }
        meet();
        for (uint i = at.index; i < vocabulary; i += THREADS) {
            const ulong key = order_key(x[i], i);
            if (key < upper && (key & mask) == prefix) {
                atomic_fetch_add_explicit(&state.bins[uint(key >> shift) & 255], 1, memory_order_relaxed);
            }
        }
        meet();
        if (at.index == 0) {
            uint total = 0, bin = BINS;
            state.descend = false;
            for (; bin > 0; bin--) { // whole bins from the top while they fit
                const uint count = atomic_load_explicit(&state.bins[bin - 1], memory_order_relaxed);
                if (total + count > LIST) {
                    state.descend = total == 0;
                    break;
                }
                total += count;
            }
            state.count = total;
            state.lower = prefix | ulong(state.descend ? bin - 1 : bin) << shift;
        }
        meet();
        if (!state.descend) {
            break;
        }
        prefix = state.lower;
        mask |= ulong(255) << shift;
        meet();
    }
    const ulong lower = state.lower;
    for (uint i = at.index; i < LIST; i += THREADS) {
        state.list[i] = 0;
    }
    if (at.index == 0) {
        atomic_store_explicit(&state.listed, 0, memory_order_relaxed);
    }
    meet();
    if (state.count == 0) {
        return;
    }
    for (uint i = at.index; i < vocabulary; i += THREADS) {
        const ulong key = order_key(x[i], i);
        if (key < upper && key >= lower) {
            state.list[atomic_fetch_add_explicit(&state.listed, 1, memory_order_relaxed)] = key; // any place will do: it is sorted
        }
    }
    meet();
    sort_list(state, at);
}

// ---- The draw ----

struct walked {
    uint token; // at which the running sum passed the target, or the last that can be drawn
    float sum;
};

// Walks the order from the top, stretch by stretch, until a cut or until the running sum passes `target`. `of`: what top-p takes its share
// of. Every thread walks the same list in the same order, so all come to the same end.
static inline walked walk(device const float *x, uint vocabulary, pv_step_logit logit, uint top_k, float of, float largest, float target,
                          threadgroup row_state &state, place at)
{
    const bool top_p = logit.top_p > 0.0f && logit.top_p < 1.0f;
    walked result = {0, 0.0f};
    ulong upper = 0xFFFFFFFFFFFFFFFF;
    uint taken = 0;
    for (bool more = true; more;) {
        list_next(x, vocabulary, upper, state, at);
        const uint count = state.count;
        more = count > 0;
        for (uint i = 0; i < count && more; i++) {
            const ulong key = state.list[i];
            const float weight = precise::exp(logit_of(key) - largest);
            if (taken >= top_k || (taken > 0 && (weight < logit.min_p || (top_p && result.sum >= logit.top_p * of)))) {
                more = false;
                break;
            }
            result.sum += weight;
            taken++;
            if (weight > 0.0f) {
                result.token = token_of(key);
            }
            more = result.sum <= target;
            upper = key;
        }
        meet();
    }
    return result;
}

static inline uint draw(device const float *x, uint vocabulary, pv_step_logit logit, float largest, threadgroup row_state &state, place at)
{
    const float u = float(philox(logit.seed[0], logit.seed[1], uint(logit.position) + 1) >> 8) * 0x1p-24f;
    const uint top_k = logit.top_k == 0 || logit.top_k > vocabulary ? vocabulary : logit.top_k;
    const bool top_p = logit.top_p > 0.0f && logit.top_p < 1.0f;
    float of = sum_of_exp(x, vocabulary, largest, state, at), survivors = of;
    if (top_k < vocabulary && top_p) {
        pv_step_logit all = logit;
        all.top_p = 1.0f;
        all.min_p = 0.0f;
        of = walk(x, vocabulary, all, top_k, of, largest, INFINITY, state, at).sum;
    }
    if (top_k < vocabulary || top_p || logit.min_p > 0.0f) {
        survivors = walk(x, vocabulary, logit, top_k, of, largest, INFINITY, state, at).sum;
    }
    return walk(x, vocabulary, logit, top_k, of, largest, u * survivors, state, at).token;
}

// The first token with the largest logit.
static inline uint first_with(device const float *x, uint vocabulary, float largest, threadgroup row_state &state, place at)
{
    uint first = 0xFFFFFFFF;
    for (uint i = at.index; i < vocabulary; i += THREADS) {
        if (x[i] == largest) {
            first = i;
            break;
        }
    }
    first = simd_min(first);
    meet();
    if (at.lane == 0) {
        state.partial[at.simdgroup] = as_type<float>(first);
    }
    meet();
    return simd_min(at.lane < THREADS / 32 ? as_type<uint>(state.partial[at.lane]) : 0xFFFFFFFF);
}

// ---- Penalties, bias, temperature ----

static inline bool penalises(pv_step_logit logit)
{
    return logit.repetition != 1.0f || logit.frequency != 0.0f || logit.presence != 0.0f;
}

// Rows with any of these are copied to scratch first.
static inline bool adjusts(pv_step_logit logit)
{
    return penalises(logit) || logit.bias_count > 0 || (logit.temperature > 0.0f && logit.temperature != 1.0f);
}

// Counts of tokens in scratch, two for each token: times generated, and whether within penalty_last.
static inline void count_tokens(device const int *log, pv_step_logit logit, uint vocabulary, device atomic_uint *generated,
                                device atomic_uint *recent, place at)
{
    const int count = logit.position + 1;
    for (uint i = at.index; i < vocabulary; i += THREADS) {
        atomic_store_explicit(&generated[i], 0, memory_order_relaxed);
        atomic_store_explicit(&recent[i], 0, memory_order_relaxed);
    }
    threadgroup_barrier(mem_flags::mem_device);
    for (int i = int(at.index); i < count; i += THREADS) {
        const int token = log[i];
        if (token < 0 || uint(token) >= vocabulary) {
            continue;
        }
        if (i >= logit.prompt_length) {
            atomic_fetch_add_explicit(&generated[token], 1, memory_order_relaxed);
        }
        if (uint(count - i) <= logit.penalty_last) {
            atomic_store_explicit(&recent[token], 1, memory_order_relaxed);
        }
    }
    threadgroup_barrier(mem_flags::mem_device);
}

static inline float penalised(float x, pv_step_logit logit, uint generated, uint recent)
{
    if (recent != 0 && logit.repetition != 1.0f) {
        x = x > 0.0f ? x / logit.repetition : x * logit.repetition;
    }
    return generated > 0 ? x - (float(generated) * logit.frequency + logit.presence) : x;
}

static inline void adjust(device const uchar *step, constant pv_args_sample &args, device const float *raw, device const int *log,
                          pv_step_logit logit, device float *work, device atomic_uint *generated, device atomic_uint *recent, place at)
{
    const bool penalties = penalises(logit);
    if (penalties) {
        count_tokens(log, logit, args.vocabulary, generated, recent, at);
    }
    for (uint i = at.index; i < args.vocabulary; i += THREADS) {
        work[i] = penalties ? penalised(raw[i], logit, atomic_load_explicit(&generated[i], memory_order_relaxed),
                                        atomic_load_explicit(&recent[i], memory_order_relaxed))
                            : raw[i];
    }
    threadgroup_barrier(mem_flags::mem_device);
    // one thread: a token may have several entries, which are added in their order
    if (at.index == 0) {
        device const pv_step_bias *biases = step_array<pv_step_bias>(step, args.step.biases) + logit.bias_first;
        for (uint i = 0; i < logit.bias_count; i++) {
            if (biases[i].token >= 0 && uint(biases[i].token) < args.vocabulary) {
                work[biases[i].token] += biases[i].bias;
            }
        }
    }
    threadgroup_barrier(mem_flags::mem_device);
    if (logit.temperature > 0.0f && logit.temperature != 1.0f) {
        for (uint i = at.index; i < args.vocabulary; i += THREADS) {
            work[i] /= logit.temperature;
        }
        threadgroup_barrier(mem_flags::mem_device);
    }
}

// ---- The row ----

static inline float logprob_of(float logit, float largest, float log_sum)
{
    if (largest == INFINITY) {
        return logit == INFINITY ? 0.0f : -INFINITY;
    }
    return (logit - largest) - log_sum;
}

static inline void report_top(device const float *raw, uint vocabulary, uint wanted, float largest, float log_sum, device pv_step_output *output,
                              threadgroup row_state &state, place at)
{
    const uint count = min(min(wanted, uint(PV_TOP_LOGPROBS)), vocabulary);
    ulong upper = 0xFFFFFFFFFFFFFFFF;
    for (uint done = 0; done < count;) {
        list_next(raw, vocabulary, upper, state, at);
        const uint listed = state.count, take = min(listed, count - done);
        for (uint i = at.index; i < take; i += THREADS) {
            output->top[done + i].token = int(token_of(state.list[i]));
            output->top[done + i].logprob = logprob_of(logit_of(state.list[i]), largest, log_sum);
        }
        if (take == 0) {
            break;
        }
        upper = state.list[take - 1];
        done += take;
        meet();
    }
    meet();
    if (at.index == 0) {
        output->top_count = count;
    }
}

static inline bool failed(float largest, uint flags)
{
    return (flags & 1) != 0 || largest == -INFINITY || (largest == INFINITY && (flags & 2) == 0);
}

kernel void sample(device const uchar *step [[buffer(0)]], constant pv_args_sample &args [[buffer(1)]], device const float *logits [[buffer(2)]],
                   device int *token_log [[buffer(3)]], device pv_step_output *outputs [[buffer(4)]], device float *work [[buffer(5)]],
                   device atomic_uint *counts [[buffer(6)]], uint index [[threadgroup_position_in_grid]],
                   uint thread_index [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
                   uint simdgroup [[simdgroup_index_in_threadgroup]])
{
    threadgroup row_state state;
    const place at = {thread_index, lane, simdgroup};
    const uint vocabulary = args.vocabulary;
    if (index >= step_counts(step)->logits) {
        return;
    }
    const pv_step_logit logit = step_array<pv_step_logit>(step, args.step.logits)[index];
    device const float *raw = logits + ulong(index) * args.logits_stride, *x = raw;
    device int *log = token_log + ulong(logit.slot) * args.log_cols;
    device pv_step_output *output = outputs + index;
    const float raw_largest = survey(raw, vocabulary, state, at);
    bool bad = failed(raw_largest, state.flags);
    const float log_sum = bad || raw_largest == INFINITY ? 0.0f : precise::log(sum_of_exp(raw, vocabulary, raw_largest, state, at));
    float largest = raw_largest;
    if (!bad && adjusts(logit)) {
        device float *adjusted = work + ulong(index) * vocabulary;
        adjust(step, args, raw, log, logit, adjusted, counts + ulong(index) * 2 * vocabulary, counts + (ulong(index) * 2 + 1) * vocabulary, at);
        x = adjusted;
        largest = survey(x, vocabulary, state, at);
        bad = (state.flags & 1) != 0 || largest == -INFINITY;
    }
    if (bad) {
        if (thread_index == 0) {
            output->token = -1;
            output->logprob = NAN;
            output->status = PV_OUTPUT_NON_FINITE;
            output->top_count = 0;
        }
        return;
    }
    uint token;
    if (!(logit.temperature > 0.0f) || largest == INFINITY) {
        token = first_with(x, vocabulary, largest, state, at);
    } else {
        token = draw(x, vocabulary, logit, largest, state, at);
    }
    report_top(raw, vocabulary, logit.top_count, raw_largest, log_sum, output, state, at);
    if (thread_index == 0) {
        output->token = int(token);
        output->logprob = logprob_of(raw[token], raw_largest, log_sum);
        output->status = PV_OUTPUT_OK;
        if (logit.sample != 0) {
            log[logit.position + 1] = int(token);
        }
    }
}
