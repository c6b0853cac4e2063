// Elements of the KV cache: f16, or whole numbers times a scale, as runtime/kv.h has them.

constant uint kv_type [[function_constant(0)]]; // pv_kv_type

constant constexpr uint KV_F16 = 0, KV_8BIT = 1, KV_4BIT = 2;
#define KV_GROUP 32 // elements that share a scale, as many as a simdgroup has lanes

// One head's keys or values in a page.
struct kv_cells {
    device const uchar *rows;
    device const half *scales;
    uint dim, row_bytes, groups; // of a token
};

// `head`: of the keys; those of the values are kv_heads behind, if they are as wide.
static inline kv_cells find_cells(constant pv_args_cache &cache, device const uchar *pages, int page, uint head)
{
    device const uchar *from = pages + ulong(page) * cache.page_bytes;
    kv_cells cells;
    cells.rows = from + ulong(head) * PV_PAGE_TOKENS * cache.row_bytes;
    cells.scales = (device const half *)(from + cache.scales_at) + ulong(head) * PV_PAGE_TOKENS * cache.groups;
    cells.dim = cache.head_dim;
    cells.row_bytes = cache.row_bytes;
    cells.groups = cache.groups;
    return cells;
}

static inline kv_cells find_values(constant pv_args_cache &cache, device const uchar *pages, int page, uint kv_head)
{
    device const uchar *from = pages + ulong(page) * cache.page_bytes;
    kv_cells cells;
    cells.rows = from + cache.values_at + ulong(kv_head) * PV_PAGE_TOKENS * cache.value_row_bytes;
    cells.scales = (device const half *)(from + cache.value_scales_at) + ulong(kv_head) * PV_PAGE_TOKENS * cache.value_groups;
    cells.dim = cache.value_dim;
    cells.row_bytes = cache.value_row_bytes;
    cells.groups = cache.value_groups;
    return cells;
}

// The same from one of the page's tokens on.
static inline kv_cells find_cells_from(constant pv_args_cache &cache, device const uchar *pages, int page, uint head, uint token)
{
    kv_cells cells = find_cells(cache, pages, page, head);
    cells.rows += token * cache.row_bytes;
    cells.scales += token * cache.groups;
    return cells;
}

// Four elements of a token, without their scale; heads whose size is a multiple of four have them aligned.
static inline float4 load_four(device const uchar *row, uint four)
{
    if (kv_type == KV_F16) {
        return float4(((device const half4 *)row)[four]);
    }
    if (kv_type == KV_8BIT) {
        return float4(((device const char4 *)row)[four]);
    }
    const uint bits = ((device const ushort *)row)[four];
    return float4(float(bits & 15), float(bits >> 4 & 15), float(bits >> 8 & 15), float(bits >> 12)) - 8.0f;
}

static inline float load_one(device const uchar *row, uint d)
{
    return kv_type == KV_F16    ? float(((device const half *)row)[d])
           : kv_type == KV_8BIT ? float(as_type<char>(row[d]))
                                : float(row[d / 2] >> (d % 2 * 4) & 15) - 8.0f;
}
