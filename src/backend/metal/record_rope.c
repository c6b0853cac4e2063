/* rope_angles, rope with and without a store, kv_store. */
#include "backend/metal/check.h"
#include "backend/metal/kernels/args.h"
#include "backend/metal/record.h"

const char *pv_metal_check_cache(const pv_kv_view *cache)
{
    if (cache->pages.layout != PV_LAYOUT_F16) return "the cache is not f16";
    if (cache->type > PV_KV_4BIT) return "the cache is of a type that is not known";
    if (cache->type == PV_KV_4BIT && (cache->head_dim % 2 != 0 || cache->value_dim % 2 != 0)) return "a head of 4-bit cells is not even";
    return cache->kv_heads > 0 && cache->head_dim > 0 ? NULL : "the cache has no heads";
}

struct pv_args_cache pv_metal_cache_args(const pv_kv_view *cache)
{
    const uint32_t value_dim = pv_kv_value_dim(cache), cells = cache->kv_heads * PV_PAGE_TOKENS, groups = pv_kv_groups(cache->type, cache->head_dim);
    const uint32_t row_bytes = pv_kv_row_bytes(cache->type, cache->head_dim);
    const uint32_t scales_at = (uint32_t)pv_kv_scales_at(cache->type, cache->kv_heads, cache->head_dim, value_dim);
    return (pv_args_cache){
        .kv_heads = cache->kv_heads,
        .head_dim = cache->head_dim,
        .table_cols = cache->table.cols,
        .page_bytes = (uint32_t)cache->page_bytes,
        .row_bytes = row_bytes,
        .scales_at = scales_at,
        .groups = groups,
        .value_dim = value_dim,
        .values_at = cells * row_bytes,
        .value_row_bytes = pv_kv_row_bytes(cache->type, value_dim),
        .value_scales_at = scales_at + cells * groups * (uint32_t)sizeof(uint16_t),
        .value_groups = pv_kv_groups(cache->type, value_dim),
    };
}

/* ---- rope_angles ---- */

const char *pv_metal_check_rope_angles(const pv_metal_device *device, const pv_op *op)
{
    (void)device;
    return op->rope_angles.out.cols == 2 * op->rope_angles.inverse_frequency.cols ? NULL : "out is not twice as wide as the frequencies";
}

void pv_metal_record_rope_angles(pv_metal_recorder *recorder, const pv_op *op)
{
    const pv_op_rope_angles *angles = &op->rope_angles;
    const pv_args_rope_angles args = {
        .step = recorder->layout, .pairs = angles->out.cols / 2, .out_stride = pv_metal_stride(&angles->out), .magnitude = angles->magnitude};
    const pv_metal_kernel kernel = {.source = "rope", .function = "rope_angles", .constants = {0, 0}, .constant_count = 2};
    pv_metal_record *record = pv_metal_add(recorder, &kernel, &args, sizeof args);
    pv_metal_bind(record, &angles->inverse_frequency);
    pv_metal_bind(record, &angles->out);
    record->threads[0] = 32;
    record->threads[1] = 8;
    record->grid[0] = (pv_metal_axis){.count = PV_METAL_ONE, .times = (args.pairs + 31) / 32};
    record->grid[1] = (pv_metal_axis){.count = PV_METAL_ROWS, .per = 8};
}

/* ---- rope, kv_store: one kernel ---- */

static void record_turns(pv_metal_recorder *recorder, pv_args_rope args, pv_rope_pairing pairing, const pv_tensor *q, const pv_tensor *k,
                         const pv_tensor *angles, const pv_tensor *v, const pv_kv_view *store)
{
    const bool stores = pv_tensor_present(&store->pages) && store->type == PV_KV_F16;
    args.step = recorder->layout;
    args.k_stride = pv_metal_stride(k);
    if (stores) {
        args.v_stride = pv_metal_stride(v);
        args.table_cols = store->table.cols;
        args.page_halves = (uint32_t)(store->page_bytes / 2);
    }
    const pv_metal_kernel kernel = {.source = "rope", .function = "rope", .constants = {pairing, stores}, .constant_count = 2};
    pv_metal_record *record = pv_metal_add(recorder, &kernel, &args, sizeof args);
    pv_metal_bind(record, q);
    pv_metal_bind(record, k);
    pv_metal_bind(record, angles);
    pv_metal_bind(record, stores ? v : NULL);
    pv_metal_bind(record, stores ? &store->pages : NULL);
    pv_metal_bind(record, stores ? &store->table : NULL);
    const uint32_t pairs = (args.head_dim + 1) / 2;
    record->threads[0] = pairs < 32 ? pairs : 32;
    record->threads[1] = 4;
    record->grid[0] = (pv_metal_axis){.count = PV_METAL_ONE, .times = (pairs + record->threads[0] - 1) / record->threads[0]};
    record->grid[1] = (pv_metal_axis){.count = PV_METAL_ONE, .times = (args.heads + args.kv_heads + 3) / 4};
    record->grid[2] = (pv_metal_axis){.count = PV_METAL_ROWS};
}

/* What the kernel of rope stores: a thread has an element of a key and that of the value. */
static bool stores_pairs(const pv_kv_view *store) { return store->type == PV_KV_F16 && pv_kv_value_dim(store) == store->head_dim; }

/* Cells with scales: a head must be known whole before one of them is written. */
static void record_store(pv_metal_recorder *recorder, const pv_tensor *k, const pv_tensor *v, const pv_kv_view *store)
{
    const pv_args_kv_store args = {
        .step = recorder->layout, .cache = pv_metal_cache_args(store), .k_stride = pv_metal_stride(k), .v_stride = pv_metal_stride(v)};
    const pv_metal_kernel kernel = {.source = "kv_store", .function = "kv_store_cells", .constants = {store->type}, .constant_count = 1};
    pv_metal_record *record = pv_metal_add(recorder, &kernel, &args, sizeof args);
    pv_metal_bind(record, k);
    pv_metal_bind(record, v);
    pv_metal_bind(record, &store->pages);
    pv_metal_bind(record, &store->table);
    record->threads[0] = PV_METAL_SIMD;
    record->grid[0] = (pv_metal_axis){.count = PV_METAL_ONE, .times = 2 * store->kv_heads};
    record->grid[1] = (pv_metal_axis){.count = PV_METAL_ROWS};
}

const char *pv_metal_check_rope(const pv_metal_device *device, const pv_op *op)
{
    const pv_op_rope *rope = &op->rope;
    (void)device;
    if (rope->dim % 2 != 0 || rope->dim > rope->head_dim || rope->angles.cols != rope->dim) return "dim does not suit the head or the angles";
    if (rope->head_dim == 0 || rope->q.cols % rope->head_dim != 0 || rope->k.cols % rope->head_dim != 0) return "q or k is not whole heads";
    if (!pv_tensor_present(&rope->store.pages)) return NULL;
    if (pv_kv_value_dim(&rope->store) != rope->store.head_dim) return "values are not as wide as keys";
    return pv_metal_check_cache(&rope->store);
}

void pv_metal_record_rope(pv_metal_recorder *recorder, const pv_op *op)
{
    const pv_op_rope *rope = &op->rope;
    const pv_args_rope args = {
        .heads = rope->q.cols / rope->head_dim,
        .kv_heads = rope->k.cols / rope->head_dim,
        .head_dim = rope->head_dim,
        .dim = rope->dim,
        .q_stride = pv_metal_stride(&rope->q),
        .angles_stride = pv_metal_stride(&rope->angles),
    };
    record_turns(recorder, args, rope->pairing, &rope->q, &rope->k, &rope->angles, &rope->v, &rope->store);
    if (!pv_tensor_present(&rope->store.pages) || rope->store.type == PV_KV_F16) return;
    pv_metal_then(recorder);
    record_store(recorder, &rope->k, &rope->v, &rope->store);
}

const char *pv_metal_check_kv_store(const pv_metal_device *device, const pv_op *op)
{
    const pv_kv_view *store = &op->kv_store.store;
    const char *wrong = pv_metal_check_cache(store);
    (void)device;
    if (wrong != NULL) return wrong;
    return op->kv_store.k.cols == (uint64_t)store->kv_heads * store->head_dim &&
                   op->kv_store.v.cols == (uint64_t)store->kv_heads * pv_kv_value_dim(store)
               ? NULL
               : "k or v does not have the cache's heads";
}

void pv_metal_record_kv_store(pv_metal_recorder *recorder, const pv_op *op)
{
    const pv_op_kv_store *store = &op->kv_store;
    if (!stores_pairs(&store->store)) {
        record_store(recorder, &store->k, &store->v, &store->store);
        return;
    }
    const pv_args_rope args = {.kv_heads = store->store.kv_heads, .head_dim = store->store.head_dim};
    record_turns(recorder, args, PV_ROPE_HALVES, NULL, &store->k, NULL, &store->v, &store->store);
}
