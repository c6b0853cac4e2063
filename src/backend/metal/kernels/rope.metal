// RoPE: the angles of each position, the turning of queries and keys, and the store into the cache.

constant uint pairing [[function_constant(0)]];   // pv_rope_pairing: 0 halves, 1 neighbours
constant uint with_store [[function_constant(1)]]; // keys and values go into the cache

// Cosine and sine of 0 ≤ x < 10^6 to 10^-7: x less a multiple of π/2 in three parts, each product exact by fma, then polynomials fitted to
// the quarter. The library's own are allowed four ulp, and are worse for large arguments in their fast form.
static inline float2 cosine_sine(float x)
{
    const float n = rint(x * 0.636619772f);
    float r = fma(-n, 1.57079637f, x);
    r = fma(-n, -4.37113883e-8f, r);
    r = fma(-n, -1.71512451e-15f, r);
    const float z = r * r;
    const float sine = fma(r * z, fma(z, fma(z, fma(z, 2.7246908e-6f, -1.9840064e-4f), 8.333332e-3f), -1.6666667e-1f), r);
    const float cosine = fma(z * z, fma(z, fma(z, fma(z, -2.7298435e-7f, 2.4800582e-5f), -1.3888888e-3f), 4.1666668e-2f), fma(z, -0.5f, 1.0f));
    const uint quarter = uint(int(n)) & 3;
    const float c = quarter & 1 ? sine : cosine, s = quarter & 1 ? cosine : sine;
    return float2(quarter == 1 || quarter == 2 ? -c : c, quarter >= 2 ? -s : s);
}

// A thread a pair of a row.
kernel void rope_angles(device const uchar *step [[buffer(0)]], constant pv_args_rope_angles &args [[buffer(1)]],
                        device const float *inverse_frequency [[buffer(2)]], device float *out [[buffer(3)]],
                        uint2 at [[thread_position_in_grid]])
{
    if (at.y >= step_counts(step)->rows || at.x >= args.pairs) {
        return;
    }
    const float position = float(step_array<pv_step_row>(step, args.step.rows)[at.y].position);
    const float2 turned = cosine_sine(position * inverse_frequency[at.x]) * args.magnitude;
    device float *to = out + ulong(at.y) * args.out_stride + 2 * at.x;
    to[0] = turned.x;
    to[1] = turned.y;
}

static inline void turn(device float *x, uint first, uint second, float c, float s)
{
    const float a = x[first], b = x[second];
    x[first] = a * c - b * s;
    x[second] = b * c + a * s;
}

// Where a row's keys of a kv head begin in the cache; its values lie kv_heads × PV_PAGE_TOKENS × head_dim elements behind.
static inline ulong cache_place(constant pv_args_rope &args, device const int *table, pv_step_row row, uint kv_head)
{
    const uint position = uint(row.position);
    const int page = table[uint(row.slot) * args.table_cols + position / PV_PAGE_TOKENS];
    return ulong(page) * args.page_halves + (ulong(kv_head) * PV_PAGE_TOKENS + position % PV_PAGE_TOKENS) * args.head_dim;
}

// A thread a pair of a head of a row: heads of q, then those of k. Elements that do not turn (dim < head_dim) come in pairs behind, which
// only the store cares for. With `dim` 0 nothing turns: kv_store.
kernel void rope(device const uchar *step [[buffer(0)]], constant pv_args_rope &args [[buffer(1)]], device float *q [[buffer(2)]],
                 device float *k [[buffer(3)]], device const float *angles [[buffer(4)]], device const float *v [[buffer(5)]],
                 device half *pages [[buffer(6)]], device const int *table [[buffer(7)]], uint3 at [[thread_position_in_grid]])
{
    const uint pair = at.x, head = at.y, turning = args.dim / 2;
    if (at.z >= step_counts(step)->rows || head >= args.heads + args.kv_heads || pair >= (args.head_dim + 1) / 2) {
        return;
    }
    const bool is_key = head >= args.heads;
    const uint kv_head = head - args.heads;
    device float *x = is_key ? k + ulong(at.z) * args.k_stride + kv_head * args.head_dim : q + ulong(at.z) * args.q_stride + head * args.head_dim;
    const bool turns = pair < turning;
    const uint first = !turns || pairing == 1 ? 2 * pair : pair, second = !turns || pairing == 1 ? 2 * pair + 1 : pair + turning;
    if (turns) {
        device const float *angle = angles + ulong(at.z) * args.angles_stride + 2 * pair;
        turn(x, first, second, angle[0], angle[1]);
    }
    if (with_store == 0 || !is_key) {
        return;
    }
    const pv_step_row row = step_array<pv_step_row>(step, args.step.rows)[at.z];
    device half *keys = pages + cache_place(args, table, row, kv_head);
    device half *values = keys + ulong(args.kv_heads) * PV_PAGE_TOKENS * args.head_dim;
    device const float *value = v + ulong(at.z) * args.v_stride + kv_head * args.head_dim;
    keys[first] = half(x[first]);
    values[first] = half(value[first]);
    if (second < args.head_dim) {
        keys[second] = half(x[second]);
        values[second] = half(value[second]);
    }
}
