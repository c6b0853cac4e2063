/* attention: decode rows are split over their keys, then merged; prompt rows go by tiles, where there are simdgroup matrices and a kernel
 * of the head's size. */
#include "backend/metal/check.h"
#include "backend/metal/kernels/args.h"
#include "backend/metal/record.h"

#define MAX_SPLITS 32 /* simdgroups that share a row's keys; also what scratch has room for */
#define FEW_ROWS 8    /* plans of so few rows split all of them */
#define TILE_SIMDGROUPS 4

const char *pv_metal_check_attention(const pv_metal_device *device, const pv_op *op)
{
    const pv_op_attention *attention = &op->attention;
    const char *wrong = pv_metal_check_cache(&attention->cache);
    (void)device;
    if (wrong != NULL) return wrong;
    if (attention->heads == 0 || attention->heads % attention->cache.kv_heads != 0)
        return "heads are no multiple of the kv heads";
    const uint64_t out_cols = (uint64_t)attention->heads * pv_kv_value_dim(&attention->cache);
    if (pv_kv_value_dim(&attention->cache) > 512) return "a head has more than 512 elements";
    if (!pv_metal_absent_or_f32(&attention->q_latent)) return "q_latent is not f32";
    if (pv_tensor_present(&attention->q_latent) && attention->q_latent.cols != out_cols)
        return "q_latent does not have the heads";
    if (!pv_metal_absent_or_f32(&attention->sinks)) return "the sinks are not f32";
    if (pv_tensor_present(&attention->sinks) && attention->sinks.cols != attention->heads) return "not one sink a head";
    return attention->q.cols == (uint64_t)attention->heads * attention->cache.head_dim && attention->out.cols == out_cols
               ? NULL
               : "q or out does not have the heads";
}

/* Long prompts have rows enough to fill the device without splitting; scratch stays small. */
static uint32_t splits_for(const pv_op_attention *attention, uint32_t rows, uint32_t context)
{
    uint32_t spans = (context + PV_SPLIT_TOKENS - 1) / PV_SPLIT_TOKENS;
    const uint32_t in_window = attention->window / PV_SPLIT_TOKENS + 2;
    if (attention->window > 0 && in_window < spans) spans = in_window;
    const uint32_t most = rows <= 8 ? MAX_SPLITS : rows <= 64 ? MAX_SPLITS / 4 : 1;
    return spans < most ? spans : most;
}

/* The kernel that takes prompt rows by tiles, or NULL: there all rows are split. */
static const char *tile_function(const pv_metal_device *device, const pv_op_attention *attention)
{
    static const struct {
        uint32_t head_dim;
        const char *function;
        const char *scaled; /* for a cache of 8 or 4 bits */
    } kernels[] = {
        {64, "attention_tile64", "attention_tile64_scaled"},    {80, "attention_tile80", "attention_tile80_scaled"},
        {96, "attention_tile96", "attention_tile96_scaled"},    {128, "attention_tile128", "attention_tile128_scaled"},
        {256, "attention_tile256", "attention_tile256_scaled"},
    };
    if (pv_tensor_present(&attention->q_latent) || pv_kv_value_dim(&attention->cache) != attention->cache.head_dim) return NULL;
    if (device->plain || !device->traits.simdgroup_matrix || attention->q.rows <= FEW_ROWS) return NULL;
    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++) {
        if (kernels[i].head_dim != attention->cache.head_dim) continue;
        return attention->cache.type == PV_KV_F16 ? kernels[i].function : kernels[i].scaled;
    }
    return NULL;
}

static pv_args_attention args_of(const pv_metal_recorder *recorder, const pv_op_attention *attention)
{
    return (pv_args_attention){
        .step = recorder->layout,
        .cache = pv_metal_cache_args(&attention->cache),
        .heads = attention->heads,
        .q_stride = pv_metal_stride(&attention->q),
        .out_stride = pv_metal_stride(&attention->out),
        .scale = attention->scale,
        .window = attention->window,
        .soft_cap = attention->soft_cap,
        .has_sinks = pv_tensor_present(&attention->sinks),
        .has_latent = pv_tensor_present(&attention->q_latent),
        .latent_stride = pv_metal_stride(&attention->q_latent),
    };
}

static void record_tiles(pv_metal_recorder *recorder, const pv_op_attention *attention, const char *function)
{
    const pv_args_attention args = args_of(recorder, attention);
    const pv_metal_kernel kernel = {.source = "attention_tiles",
                                    .function = function,
                                    .constants = {attention->cache.type, attention->soft_cap > 0},
                                    .constant_count = 2};
    pv_metal_record *record = pv_metal_add(recorder, &kernel, &args, sizeof args);
    pv_metal_bind(record, &attention->q);
    pv_metal_bind(record, &attention->cache.pages);
    pv_metal_bind(record, &attention->cache.table);
    pv_metal_bind(record, &attention->sinks);
    pv_metal_bind(record, &attention->out);
    record->threads[0] = TILE_SIMDGROUPS * PV_METAL_SIMD;
    record->grid[0] = (pv_metal_axis){.count = PV_METAL_ONE, .times = args.heads};
    record->grid[1] = (pv_metal_axis){.count = PV_METAL_TILES};
    pv_metal_may_cut(recorder, record, 1, PV_TILE_ROWS);
}

static void record_merge(pv_metal_recorder *recorder, const pv_op_attention *attention, const pv_args_attention *args,
                         pv_metal_kernel kernel, uint64_t bytes)
{
    kernel.function = "attention_merge";
    pv_metal_record *record = pv_metal_add(recorder, &kernel, args, sizeof *args);
    pv_metal_bind_scratch(recorder, record, 0, bytes);
    pv_metal_bind(record, &attention->sinks);
    pv_metal_bind(record, &attention->out);
    record->threads[0] = 32;
    record->threads[1] = 4;
    record->grid[0] = (pv_metal_axis){.count = PV_METAL_ONE, .times = (args->cache.value_dim + 31) / 32};
    record->grid[1] = (pv_metal_axis){.count = PV_METAL_ONE, .times = (args->heads + 3) / 4};
    record->grid[2] = (pv_metal_axis){.count = args->decode_only ? PV_METAL_DECODE_ROWS : PV_METAL_ROWS};
}

/* Up to `rows` rows; with `tiles` decode rows alone, and the others by that kernel, beside them. */
static void record_split(pv_metal_recorder *recorder, const pv_op_attention *attention, uint32_t rows, const char *tiles)
{
    static const char *const functions[2][6] = {
        {"attention_split1_4", "attention_split2_4", "attention_split3_4", "attention_split4_4", "attention_split8_4", "attention_split16_4"},
        {"attention_split1_8", "attention_split2_8", "attention_split3_8", "attention_split4_8", "attention_split8_8", NULL},
    };
    pv_args_attention args = args_of(recorder, attention);
    args.decode_only = tiles != NULL;
    args.spans = splits_for(attention, rows, recorder->plan->limits.context);
    const uint32_t kv_heads = args.cache.kv_heads, value_dim = args.cache.value_dim;
    uint32_t dims = (value_dim + 31) / 32;
    if (attention->cache.type == PV_KV_4BIT) dims += dims % 2; /* a lane has both elements of a byte */
    const uint32_t shared_by = args.heads / kv_heads, queries = shared_by > 4 && dims <= 8 ? 8 : 4;
    const uint32_t chunks = (shared_by + queries - 1) / queries;
    const uint32_t direct = args.spans == 1;
    const pv_metal_kernel kernel = {.source = "attention",
                                    .function = functions[queries == 8][dims <= 4 ? dims - 1 : dims <= 8 ? 4 : 5],
                                    .constants = {attention->cache.type, attention->soft_cap > 0, direct},
                                    .constant_count = 3};
    const uint64_t bytes = direct ? 0 : (uint64_t)rows * args.heads * args.spans * (value_dim + 2) * sizeof(float);
    pv_metal_record *record = pv_metal_add(recorder, &kernel, &args, sizeof args);
    pv_metal_bind(record, &attention->q);
    pv_metal_bind(record, &attention->cache.pages);
    pv_metal_bind(record, &attention->cache.table);
    if (direct) {
        pv_metal_bind(record, NULL);
    } else {
        pv_metal_bind_scratch(recorder, record, 0, bytes);
    }
    pv_metal_bind(record, &attention->sinks);
    pv_metal_bind(record, &attention->out);
    pv_metal_bind(record, &attention->q_latent);
    record->threads[0] = PV_METAL_SIMD;
    record->grid[0] = (pv_metal_axis){.count = PV_METAL_ONE, .times = args.spans};
    record->grid[1] = (pv_metal_axis){.count = PV_METAL_ONE, .times = kv_heads * chunks};
    record->grid[2] = (pv_metal_axis){.count = args.decode_only ? PV_METAL_DECODE_ROWS : PV_METAL_ROWS};
    pv_metal_may_cut(recorder, record, 2, 1);
    if (tiles != NULL) record_tiles(recorder, attention, tiles);
    if (direct) return;
    pv_metal_then(recorder);
    record_merge(recorder, attention, &args, kernel, bytes);
}

void pv_metal_record_attention(pv_metal_recorder *recorder, const pv_op *op)
{
    const pv_op_attention *attention = &op->attention;
    const uint32_t rows = attention->q.rows, seqs = recorder->plan->limits.seqs;
    const char *tiles = tile_function(recorder->device, attention);
    /* a decode row is a sequence */
    record_split(recorder, attention, tiles != NULL && seqs < rows ? seqs : rows, tiles);
}
