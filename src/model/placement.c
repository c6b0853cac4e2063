#include "model/placement.h"

#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"

#define USUAL_SLAB (1u << 20)    /* bytes: most of a model is a few large ranges */
#define KEPT_APART (256u << 10)  /* whose sizes are whole pages from here on */

/* ---- Shape classes ---- */

static const uint32_t decode_steps[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 128, 256};
static const uint32_t prefill_steps[] = {0, 32, 128, 512, 2048};

/* The smallest step that holds `rows`, but no more than `most` (which holds them too). */
static uint32_t round_rows(const uint32_t *steps, size_t count, uint32_t rows, uint32_t most)
{
    for (size_t i = 0; i < count; i++)
        if (steps[i] >= rows) return steps[i] < most ? steps[i] : most;
    return most;
}

pv_step_limits pv_capacity_limits(const pv_capacity *c)
{
    /* a sequence that joins with a cached prefix patches its whole table and, for penalties, its whole log */
    uint32_t pages = c->context / PV_PAGE_TOKENS + 2 * c->max_sequences + c->prefill_rows / PV_PAGE_TOKENS;
    uint32_t patches = c->context + pages * (c->groups > 1 ? c->groups : 1);
    return (pv_step_limits){
        .rows = c->max_sequences + c->prefill_rows,
        .seqs = c->max_sequences,
        .logits = c->max_sequences + PV_TILE_ROWS, /* one tile of a prompt may want all its logits */
        .patches = patches,
        .biases = PV_MAX_BIASES * (c->max_sequences < 8 ? c->max_sequences : 8),
        .slots = c->max_sequences + 1,
        .context = c->context,
    };
}

/* ---- What it takes ---- */

/* Its window, the rows of the steps in flight and of the one to come, and pages that these begin and end in. */
uint32_t pv_window_pages(const pv_capacity *c, uint32_t window)
{
    return window / PV_PAGE_TOKENS + (PV_STEP_RING + 1) * (c->prefill_rows / PV_PAGE_TOKENS + 1) + 3;
}

/* Other sequences of a step have a row each. */
uint32_t pv_group_pages(const pv_capacity *c, uint32_t window, uint32_t pages)
{
    if (window == 0) return pages;
    const uint64_t enough = 1 + pv_window_pages(c, window) + (uint64_t)(c->max_sequences - 1) * (window / PV_PAGE_TOKENS + 4);
    return enough < pages ? (uint32_t)enough : pages;
}

static uint32_t layers_of(const pv_decoder *d, uint32_t group)
{
    uint32_t count = 0;
    for (uint32_t layer = 0; layer < d->layers; layer++) count += pv_decoder_kind(d, layer)->group == group;
    return count;
}

/* A convolution's inputs lie where keys and values would, as those of one head of half the width. */
static uint32_t kv_heads_of(const pv_decoder *d, uint32_t group) { return d->group_conv[group] ? 1 : d->kv_heads; }
static uint32_t head_dim_of(const pv_decoder *d, uint32_t group) { return d->group_conv[group] ? d->width / 2 : d->head_dim; }
/* Latent attention: the latent vectors are the values. */
static uint32_t value_dim_of(const pv_decoder *d, uint32_t group) { return !d->group_conv[group] && d->latent > 0 ? d->latent : head_dim_of(d, group); }

static pv_kv_type type_of(const pv_decoder *d, const pv_capacity *c, uint32_t group) { return d->group_conv[group] ? PV_KV_F16 : c->kv_type; }

static uint64_t page_bytes_of(const pv_decoder *d, const pv_capacity *c, uint32_t group)
{
    return pv_kv_page_bytes(type_of(d, c, group), kv_heads_of(d, group), head_dim_of(d, group), value_dim_of(d, group));
}

/* Builds the largest step without memory behind it, to learn its scratch. */
static pv_status measure_scratch(const pv_allocator *allocator, const pv_decoder *d, const pv_capacity *c, const pv_weight_list *list,
                                 pv_backend_device *device, uint64_t *bytes, pv_error *error)
{
    static const pv_buffer nowhere = {.bytes = UINT64_MAX};
    pv_step_limits limits = pv_capacity_limits(c);
    pv_tensor table = {.buffer = &nowhere, .rows = limits.slots, .cols = limits.context / PV_PAGE_TOKENS, .row_bytes = limits.context / 8};
    pv_tensor log = {.buffer = &nowhere, .rows = limits.slots, .cols = limits.context, .row_bytes = 4ull * limits.context};
    pv_builder *builder = NULL;
    pv_plan plan;
    pv_kv_view *cache = pv_calloc(allocator, d->layers, sizeof *cache);
    pv_weights weights = {.layers = pv_calloc(allocator, d->layers, sizeof *weights.layers)};
    pv_forward forward = {.decoder = d, .weights = &weights, .cache = cache, .tables = &table, .group_count = 1, .token_log = log};
    pv_status status = PV_OK;
    if (cache == NULL || weights.layers == NULL) status = pv_fail_memory(error, d->layers * sizeof *weights.layers, "the layers");
    for (uint32_t i = 0; i < d->layers && status == PV_OK; i++) {
        const uint32_t group = pv_decoder_kind(d, i)->group;
        cache[i] = (pv_kv_view){.pages = {.buffer = &nowhere, .rows = 1, .cols = 1, .layout = PV_LAYOUT_F16}, .table = table,
                                .kv_heads = kv_heads_of(d, group), .head_dim = head_dim_of(d, group), .value_dim = value_dim_of(d, group),
                                .page_bytes = page_bytes_of(d, c, group), .type = type_of(d, c, group)};
    }
    if (status == PV_OK) status = pv_builder_create(allocator, &limits, limits.rows, limits.logits, &builder, error);
    if (status == PV_OK) {
        pv_weights_outline(d, list, &nowhere, &weights);
        pv_forward_build(&forward, builder);
        status = pv_builder_finish(builder, device, NULL, 0, &plan, error);
    }
    if (status == PV_OK) {
        *bytes = plan.scratch_bytes;
        pv_plan_free(&plan);
    }
    pv_builder_destroy(builder);
    pv_free(allocator, cache);
    pv_free(allocator, weights.layers);
    return status;
}

pv_status pv_placement_needs(const pv_allocator *allocator, const pv_decoder *d, const pv_capacity *c, const pv_weight_list *list,
                             pv_backend_device *device, pv_needs *needs, pv_error *error)
{
    pv_step_limits limits = pv_capacity_limits(c);
    pv_step_layout step = pv_step_layout_for(&limits);
    needs->weights = list->bytes;
    needs->kv = needs->kv_page = needs->kv_fixed = 0;
    for (uint32_t g = 0; g < d->group_count; g++) {
        const uint64_t page = page_bytes_of(d, c, g) * layers_of(d, g); /* at most 2^19 × 1024 × 2^12 × 2^10 */
        uint64_t bytes;
        if (!pv_mul_u64(page, pv_group_pages(c, d->group_window[g], c->pages), &bytes) || !pv_add_u64(needs->kv, bytes, &needs->kv))
            needs->kv = UINT64_MAX; /* does not fit anywhere */
        if (d->group_window[g] == 0)
            needs->kv_page = page;
        else if (!pv_add_u64(needs->kv_fixed, bytes, &needs->kv_fixed))
            needs->kv_fixed = UINT64_MAX;
    }
    needs->other = PV_STEP_RING * (step.bytes + (uint64_t)limits.logits * sizeof(pv_step_output)) +
                   4ull * limits.slots * (limits.context + d->group_count * (limits.context / PV_PAGE_TOKENS));
    return measure_scratch(allocator, d, c, list, device, &needs->scratch, error);
}

/* ---- Making ---- */

static pv_status place(pv_placement *p, pv_memory kind, uint64_t bytes, uint32_t rows, uint32_t cols, pv_tensor *tensor, pv_error *error)
{
    pv_range range;
    pv_status status = pv_pool_alloc(p->pool, kind, bytes, 256, &range, error);
    if (status != PV_OK) return status;
    *tensor = (pv_tensor){.buffer = range.buffer, .offset = range.offset, .rows = rows, .cols = cols, .row_bytes = 4ull * cols, .layout = PV_LAYOUT_F32};
    return PV_OK;
}

static pv_status place_group(pv_placement *p, uint32_t g, pv_error *error)
{
    const pv_decoder *d = p->decoder;
    pv_cache_group *group = &p->groups[g];
    const uint32_t blocks = p->limits.context / PV_PAGE_TOKENS, window = d->group_window[g];
    *group = (pv_cache_group){.kv_heads = kv_heads_of(d, g), .head_dim = head_dim_of(d, g), .layers = layers_of(d, g), .window = window,
                              .pages = pv_group_pages(&p->capacity, window, p->capacity.pages), .page_bytes = page_bytes_of(d, &p->capacity, g)};
    const uint64_t layer_bytes = group->page_bytes * group->pages;
    pv_status status = pv_pool_alloc(p->pool, PV_MEMORY_KV, layer_bytes * group->layers, 256, &group->storage, error);
    if (status == PV_OK) status = place(p, PV_MEMORY_KV, 4ull * p->limits.slots * blocks, p->limits.slots, blocks, &group->table, error);
    if (status != PV_OK) return status;
    p->tables[g] = group->table;
    for (uint32_t layer = 0, number = 0; layer < d->layers; layer++) {
        if (pv_decoder_kind(d, layer)->group != g) continue;
        p->layer_cache[layer] = (pv_kv_view){
            .pages = {.buffer = group->storage.buffer, .offset = group->storage.offset + number++ * layer_bytes, .rows = 1,
                      .cols = (uint32_t)(layer_bytes / 2 > UINT32_MAX ? UINT32_MAX : layer_bytes / 2), .row_bytes = layer_bytes, .layout = PV_LAYOUT_F16},
            .table = group->table,
            .kv_heads = group->kv_heads,
            .head_dim = group->head_dim,
            .value_dim = value_dim_of(d, g),
            .page_bytes = group->page_bytes,
            .type = type_of(d, &p->capacity, g),
        };
    }
    return PV_OK;
}

static pv_status place_cache(pv_placement *p, pv_error *error)
{
    const pv_decoder *d = p->decoder;
    p->group_count = d->group_count;
    p->layer_cache = pv_calloc(p->allocator, d->layers, sizeof *p->layer_cache);
    if (p->layer_cache == NULL) return pv_fail_memory(error, d->layers * sizeof *p->layer_cache, "the cache's layers");
    pv_status status = PV_OK;
    for (uint32_t g = 0; g < p->group_count && status == PV_OK; g++) status = place_group(p, g, error);
    return status;
}

static pv_status place_step(pv_placement *p, pv_error *error)
{
    pv_status status = place(p, PV_MEMORY_KV, 4ull * p->limits.slots * p->limits.context, p->limits.slots, p->limits.context, &p->token_log, error);
    uint64_t output_bytes = (uint64_t)p->limits.logits * sizeof(pv_step_output);
    for (size_t i = 0; i < PV_STEP_RING && status == PV_OK; i++) {
        status = place(p, PV_MEMORY_STEP, p->step.bytes, 1, p->step.bytes / 4, &p->block[i], error);
        if (status == PV_OK) status = place(p, PV_MEMORY_STEP, output_bytes, p->limits.logits, sizeof(pv_step_output) / 4, &p->outputs[i], error);
    }
    return status;
}

static pv_status create_views(pv_placement *p, const pv_source *source, const pv_weight_list *list, pv_error *error)
{
    bool wanted = false;
    for (size_t i = 0; i < list->count; i++) wanted |= list->entries[i].spec.may_alias;
    return wanted ? pv_views_create(p->allocator, source, p->device, &p->views, error) : PV_OK;
}

pv_status pv_placement_create(const pv_allocator *allocator, const pv_decoder *decoder, const pv_capacity *capacity,
                              pv_source *source, const pv_weight_list *list, bool allow_non_finite, pv_load_progress progress,
                              const pv_needs *needs, pv_backend_device *device, pv_placement **out, pv_error *error)
{
    pv_placement *p = pv_calloc(allocator, 1, sizeof *p);
    if (p == NULL) {
        device->backend->close(device);
        return pv_fail_memory(error, sizeof *p, "a model's place on a device");
    }
    *p = (pv_placement){.allocator = allocator, .decoder = decoder, .capacity = *capacity, .source = source, .device = device, .limits = pv_capacity_limits(capacity)};
    p->step = pv_step_layout_for(&p->limits);
    pv_status status = pv_pool_create(allocator, device, USUAL_SLAB, &p->pool, error);
    if (status == PV_OK) pv_pool_keep_apart(p->pool, KEPT_APART);
    if (status == PV_OK) status = create_views(p, source, list, error);
    if (status == PV_OK)
        status = pv_weights_load(allocator, decoder, source, list, allow_non_finite, progress, device, p->pool, &p->views, &p->weights, error);
    if (status == PV_OK) status = place_cache(p, error);
    if (status == PV_OK) status = place_step(p, error);
    if (status == PV_OK) status = pv_pool_alloc(p->pool, PV_MEMORY_SCRATCH, needs->scratch, 256, &p->scratch, error);
    if (status != PV_OK) {
        pv_placement_destroy(p);
        return status;
    }
    *out = p;
    return PV_OK;
}

static void drop_class(pv_placement *p, pv_class *class)
{
    for (size_t i = 0; i < 2; i++)
        if (class->prepared[i] != NULL) p->device->backend->release(p->device, class->prepared[i]);
    pv_plan_free(&class->forward_plan);
    pv_plan_free(&class->sampling_plan);
    pv_pool_release(p->pool, &class->scratch, 0);
    *class = (pv_class){0};
}

void pv_placement_destroy(pv_placement *p)
{
    if (p == NULL) return;
    for (size_t i = 0; i < PV_MAX_CLASSES; i++)
        if (p->classes[i].used != 0) drop_class(p, &p->classes[i]);
    pv_weights_free(p->allocator, &p->weights);
    pv_free(p->allocator, p->layer_cache);
    pv_pool_destroy(p->pool);
    pv_views_destroy(p->allocator, &p->views);
    if (!p->device->backend->close(p->device)) pv_source_keep_mapped(p->source);
    pv_free(p->allocator, p);
}

/* ---- Classes ---- */

/* What was placed for the largest step. A smaller one with other lifetimes and fusions may pack a little worse: it gets its own. */
static pv_status choose_scratch(pv_placement *p, pv_class *class, pv_builder *builder, const pv_range **scratch, pv_error *error)
{
    pv_plan measured;
    pv_status status = pv_builder_finish(builder, p->device, NULL, 0, &measured, error);
    if (status != PV_OK) return status;
    uint64_t bytes = measured.scratch_bytes;
    pv_plan_free(&measured);
    *scratch = &p->scratch;
    if (bytes <= p->scratch.bytes) return PV_OK;
    *scratch = &class->scratch;
    return pv_pool_alloc(p->pool, PV_MEMORY_SCRATCH, bytes, 256, &class->scratch, error);
}

static pv_status build_plans(pv_placement *p, pv_class *class, pv_error *error)
{
    pv_forward forward = {.decoder = p->decoder, .weights = &p->weights, .cache = p->layer_cache, .tables = p->tables,
                          .group_count = p->group_count, .token_log = p->token_log};
    uint32_t rows = class->decode + class->prefill;
    pv_builder *builder = NULL;
    pv_status status = pv_builder_create(p->allocator, &p->limits, rows, class->logits, &builder, error);
    if (status != PV_OK) return status;
    pv_tensor logits = pv_forward_build(&forward, builder);
    const pv_range *scratch = NULL;
    status = choose_scratch(p, class, builder, &scratch, error);
    if (status == PV_OK) status = pv_builder_finish(builder, p->device, scratch->buffer, scratch->offset, &class->forward_plan, error);
    if (status == PV_OK) class->logit_rows = pv_builder_placed(builder, &logits);
    pv_builder_destroy(builder);
    if (status != PV_OK) return status;
    status = pv_builder_create(p->allocator, &p->limits, rows, class->logits, &builder, error);
    if (status != PV_OK) return status;
    pv_sampling_build(&forward, class->logit_rows, builder);
    status = pv_builder_finish(builder, p->device, NULL, 0, &class->sampling_plan, error);
    pv_builder_destroy(builder);
    return status;
}

static double slow_seconds(const pv_plan *plan)
{
    pv_cost sum = {0};
    for (size_t i = 0; i < plan->count; i++) {
        pv_cost cost = pv_op_cost(&plan->ops[i], plan->rows, plan->limits.context);
        sum.bytes += cost.bytes;
        sum.operations += cost.operations;
    }
    return sum.bytes / 1e9 + sum.operations / 2e9;
}

static pv_status make_class(pv_placement *p, pv_class *class, pv_error *error)
{
    const pv_backend *backend = p->device->backend;
    pv_status status = build_plans(p, class, error);
    if (status == PV_OK) status = backend->prepare(p->device, &class->forward_plan, &class->prepared[0], error);
    if (status == PV_OK) status = backend->prepare(p->device, &class->sampling_plan, &class->prepared[1], error);
    if (status != PV_OK) {
        drop_class(p, class);
        return status;
    }
    class->slow_seconds = slow_seconds(&class->forward_plan);
    return PV_OK;
}

pv_status pv_placement_class(pv_placement *p, uint32_t decode, uint32_t prefill, uint32_t logits, pv_class **found, pv_error *error)
{
    uint32_t d = round_rows(decode_steps, sizeof decode_steps / sizeof decode_steps[0], decode, p->capacity.max_sequences);
    uint32_t f = round_rows(prefill_steps, sizeof prefill_steps / sizeof prefill_steps[0], prefill, p->capacity.prefill_rows);
    uint32_t few = p->capacity.max_sequences < d + f ? p->capacity.max_sequences : d + f;
    uint32_t l = logits <= few ? few : p->limits.logits;
    pv_class *oldest = &p->classes[0];
    for (size_t i = 0; i < PV_MAX_CLASSES; i++) {
        pv_class *class = &p->classes[i];
        if (class->used != 0 && class->decode == d && class->prefill == f && class->logits == l) {
            class->used = ++p->tick;
            *found = class;
            return PV_OK;
        }
        if (class->used < oldest->used) oldest = class;
    }
    if (oldest->used != 0) drop_class(p, oldest);
    oldest->decode = d, oldest->prefill = f, oldest->logits = l;
    pv_status status = make_class(p, oldest, error);
    if (status != PV_OK) return status;
    oldest->used = ++p->tick;
    *found = oldest;
    return PV_OK;
}
