// kv_store: a simdgroup a head of a token. (f16 cells of keys and values that are as wide are stored by rope.metal.)

// The nearest whole number within bounds; ties to even.
static inline int quant(float x, float scale, float low, float high)
{
    return int(rint(clamp(x / scale, low, high)));
}

// What a scale of f16 is good for: not 0, NaN or infinite.
static inline bool divides(half scale)
{
    return scale != half(0) && isfinite(scale);
}

// A group is of all lanes.
static inline void store_8bit(device const float *x, uint head_dim, device uchar *cells, device half *scales, uint lane)
{
    for (uint first = 0; first < head_dim; first += KV_GROUP) {
        const uint d = first + lane;
        const bool there = d < head_dim;
        const float element = there ? x[d] : 0.0f;
        const float largest = simd_max(fabs(element));
        const half kept = simd_all(isfinite(element)) ? half(largest / 127.0f) : half(NAN);
        if (there) {
            cells[d] = as_type<uchar>(char(divides(kept) ? quant(element, float(kept), -127.0f, 127.0f) : 0));
        }
        if (lane == 0) {
            scales[first / KV_GROUP] = kept;
        }
    }
}

// A lane two neighbouring elements of every 64; a group is of sixteen lanes.
static inline void store_4bit(device const float *x, uint head_dim, device uchar *cells, device half *scales, uint lane)
{
    for (uint first = 0; first < head_dim; first += 2 * KV_GROUP) {
        const uint d = first + 2 * lane;
        const bool there = d < head_dim;
        const float a = there ? x[d] : 0.0f, b = there ? x[d + 1] : 0.0f;
        float most = max(max(a, b), 0.0f), least = min(min(a, b), 0.0f);
        uint odd = isfinite(a) && isfinite(b) ? 0 : 1;
        for (ushort step = 1; step < 16; step *= 2) {
            most = max(most, simd_shuffle_xor(most, step));
            least = min(least, simd_shuffle_xor(least, step));
            odd |= simd_shuffle_xor(odd, step);
        }
        const half kept = odd == 0 ? half((most >= -least ? most : least) / -8.0f) : half(NAN);
        if (!there) {
            continue;
        }
        const int low = divides(kept) ? quant(a, float(kept), -8.0f, 7.0f) : 0, high = divides(kept) ? quant(b, float(kept), -8.0f, 7.0f) : 0;
        cells[d / 2] = uchar((low + 8) | (high + 8) << 4);
        if (lane % 16 == 0) {
            scales[d / KV_GROUP] = kept;
        }
    }
}

static inline void store_halves(device const float *x, uint dim, device half *cells, uint lane)
{
    for (uint d = lane; d < dim; d += PV_METAL_SIMD) {
        cells[d] = half(x[d]);
    }
}

kernel void kv_store_cells(device const uchar *step [[buffer(0)]], constant pv_args_kv_store &args [[buffer(1)]],
                           device const float *k [[buffer(2)]], device const float *v [[buffer(3)]], device uchar *pages [[buffer(4)]],
                           device const int *table [[buffer(5)]], uint2 group [[threadgroup_position_in_grid]],
                           uint lane [[thread_index_in_simdgroup]])
{
    const uint head = group.x, kv_heads = args.cache.kv_heads;
    if (group.y >= step_counts(step)->rows || head >= 2 * kv_heads) {
        return;
    }
    const pv_step_row row = step_array<pv_step_row>(step, args.step.rows)[group.y];
    const uint position = uint(row.position);
    const int page = table[uint(row.slot) * args.cache.table_cols + position / PV_PAGE_TOKENS];
    const bool is_key = head < kv_heads;
    const kv_cells cells = is_key ? find_cells(args.cache, pages, page, head) : find_values(args.cache, pages, page, head - kv_heads);
    const uint token = position % PV_PAGE_TOKENS;
    device uchar *to = (device uchar *)(cells.rows + token * cells.row_bytes);
    device half *scales = (device half *)(cells.scales + token * cells.groups);
    device const float *x = is_key ? k + ulong(group.y) * args.k_stride + head * cells.dim
                                   : v + ulong(group.y) * args.v_stride + (head - kv_heads) * cells.dim;
    if (kv_type == KV_8BIT) {
        store_8bit(x, cells.dim, to, scales, lane);
    } else if (kv_type == KV_4BIT) {
        store_4bit(x, cells.dim, to, scales, lane);
    } else {
        store_halves(x, cells.dim, (device half *)to, lane);
    }
}
