// What every kernel begins with: the step block seen from the device.

template <typename T>
static inline device const T *step_array(device const uchar *step, uint offset)
{
    return (device const T *)(step + offset);
}

static inline device const pv_step_counts *step_counts(device const uchar *step)
{
    return (device const pv_step_counts *)step;
}

// Rows that a tensor of this extent really has; 1 and 2 are PV_EXTENT_ROWS and PV_EXTENT_LOGITS.
static inline uint real_rows(device const uchar *step, uint extent)
{
    return extent == 2 ? step_counts(step)->logits : step_counts(step)->rows;
}

static inline float silu(float x)
{
    return x / (1.0f + precise::exp(-x));
}

static inline float gelu(float x)
{
    const float z = x * fma(x * x, 0.044715f * 0.797884561f, 0.797884561f);
    return x / (1.0f + precise::exp(-2.0f * z));
}

// `kind`: pv_activation.
static inline float activate(uint kind, float x)
{
    return kind == 1 ? silu(x) : kind == 2 ? gelu(x) : kind == 4 ? 1.0f / (1.0f + precise::exp(-x)) : x;
}

// gate and up of a glu; the kind is not 0.
static inline float gated(uint kind, float gate, float up)
{
    if (kind == 3) {
        const float g = gate > 7.0f ? 7.0f : gate, u = up > 7.0f ? 7.0f : up < -7.0f ? -7.0f : up; // NaN stays
        return (u + 1.0f) * (g / (1.0f + precise::exp(-1.702f * g)));
    }
    return activate(kind, gate) * up;
}

// Sum over all threads of a threadgroup; `shared` has a float for each simdgroup. Every thread gets it.
static inline float group_sum(float value, threadgroup float *shared, uint simdgroup, uint lane, uint simdgroups)
{
    const float sum = simd_sum(value);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (lane == 0) {
        shared[simdgroup] = sum;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    return simd_sum(lane < simdgroups ? shared[lane] : 0.0f);
}
