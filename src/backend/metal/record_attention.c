/* attention: split over keys, then merged. */
#include "backend/metal/check.h"
#include "backend/metal/kernels/args.h"
#include "backend/metal/record.h"

#define MAX_SPLITS 32 /* simdgroups that share a row's keys; also what scratch has room for */
#define QUERIES 4     /* heads that a simdgroup takes at a time */

const char *pv_metal_check_attention(const pv_metal_device *device, const pv_op *op)
{
    const pv_op_attention *attention = &op->attention;
    const char *wrong = pv_metal_check_cache(&attention->cache);
    (void)device;
    if (wrong != NULL) return wrong;
    if (attention->heads == 0 || attention->heads % attention->cache.kv_heads != 0) return "heads are no multiple of the kv heads";
    if (attention->cache.head_dim > 256) return "a head has more than 256 elements";
    return attention->q.cols == (uint64_t)attention->heads * attention->cache.head_dim && attention->out.cols == attention->q.cols
               ? NULL
               : "q or out does not have the heads";
}

static const char *split_kernel(uint32_t head_dim)
{
    return head_dim <= 32    ? "attention_split1"
           : head_dim <= 64  ? "attention_split2"
           : head_dim <= 96  ? "attention_split3"
           : head_dim <= 128 ? "attention_split4"
                             : "attention_split8";
}

/* Long prompts have rows enough to fill the device without splitting; scratch stays small. */
static uint32_t splits_for(const pv_op_attention *attention, uint32_t context)
{
    const uint32_t spans = (context + PV_SPLIT_TOKENS - 1) / PV_SPLIT_TOKENS;
    const uint32_t most = attention->q.rows <= 8 ? MAX_SPLITS : attention->q.rows <= 64 ? MAX_SPLITS / 4 : 1;
    return spans < most ? spans : most;
}

void pv_metal_record_attention(pv_metal_recorder *recorder, const pv_op *op)
{
    const pv_op_attention *attention = &op->attention;
    const pv_kv_view *cache = &attention->cache;
    const pv_args_attention args = {
        .step = recorder->layout,
        .heads = attention->heads,
        .kv_heads = cache->kv_heads,
        .head_dim = cache->head_dim,
        .q_stride = pv_metal_stride(&attention->q),
        .out_stride = pv_metal_stride(&attention->out),
        .table_cols = cache->table.cols,
        .page_halves = (uint32_t)(cache->page_bytes / 2),
        .spans = splits_for(attention, recorder->plan->limits.context),
        .scale = attention->scale,
    };
    const uint32_t shared_by = args.heads / args.kv_heads, chunks = (shared_by + QUERIES - 1) / QUERIES;
    const uint64_t bytes = (uint64_t)attention->q.rows * args.heads * args.spans * (args.head_dim + 2) * sizeof(float);
    pv_metal_kernel kernel = {.source = "attention", .function = split_kernel(args.head_dim)};
    pv_metal_record *record = pv_metal_add(recorder, &kernel, &args, sizeof args);
    pv_metal_bind(record, &attention->q);
    pv_metal_bind(record, &cache->pages);
    pv_metal_bind(record, &cache->table);
    pv_metal_bind_scratch(recorder, record, 0, bytes);
    record->threads[0] = PV_METAL_SIMD;
    record->grid[0] = (pv_metal_axis){.count = PV_METAL_ONE, .times = args.spans};
    record->grid[1] = (pv_metal_axis){.count = PV_METAL_ONE, .times = args.kv_heads * chunks};
    record->grid[2] = (pv_metal_axis){.count = PV_METAL_ROWS};

    pv_metal_then(recorder);
    kernel.function = "attention_merge";
    record = pv_metal_add(recorder, &kernel, &args, sizeof args);
    pv_metal_bind_scratch(recorder, record, 0, bytes);
    pv_metal_bind(record, &attention->out);
    record->threads[0] = 32;
    record->threads[1] = 4;
    record->grid[0] = (pv_metal_axis){.count = PV_METAL_ONE, .times = (args.head_dim + 31) / 32};
    record->grid[1] = (pv_metal_axis){.count = PV_METAL_ONE, .times = (args.heads + 3) / 4};
    record->grid[2] = (pv_metal_axis){.count = PV_METAL_ROWS};
}
