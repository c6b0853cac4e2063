#include "model/weights.h"

#include <string.h>

#include "base/alloc.h"
#include "model/weights_find.h"

#define UPLOAD_BYTES (4u << 20) /* a piece of a weight on its way */

/* ---- Checking ---- */

uint64_t pv_first_non_finite(pv_layout layout, const void *rows_data, uint64_t rows, uint64_t row_bytes)
{
    const uint8_t *bytes = rows_data;
    const pv_layout_info *info = pv_layout_get(layout);
    const uint64_t cols = row_bytes / info->block_bytes * info->block;
    for (uint64_t row = 0; row < rows; row++)
        if (!pv_layout_row_is_finite(layout, bytes + row * row_bytes, cols)) return row;
    return rows;
}

/* ---- Loading ---- */

static pv_tensor order_tensor(const pv_weight_entry *entry)
{
    return (pv_tensor){.rows = 1, .cols = entry->cols, .row_bytes = 4ull * entry->cols, .layout = PV_LAYOUT_F32, .packing = PV_PACKING_NONE};
}

static pv_tensor *order_place(pv_weights *weights, const pv_weight_entry *entry)
{
    return (pv_tensor *)(void *)((char *)&weights->layers[entry->layer] + pv_role_order(entry->role));
}

typedef struct loader {
    const pv_allocator *allocator;
    const pv_source *source;
    pv_backend_device *device;
    pv_pool *pool;
    const pv_views *views;
    uint8_t *staging; /* UPLOAD_BYTES at least, grown for long rows */
    size_t staging_bytes;
    bool allow_non_finite;
    pv_load_progress progress;
    uint64_t done, total;
    pv_range range;  /* where weights are placed one behind the other */
    uint64_t used;   /* bytes of it */
    uint64_t left;   /* bytes of weights not placed yet, alignment included; without those that stand in a view */
} loader;

/* Weights live and die together: they get one range, or as few as the device's largest buffer allows. */
static pv_status place_weight(loader *l, const pv_weight_spec *spec, pv_tensor *tensor, pv_error *error)
{
    uint64_t bytes = (spec->bytes + 255) & ~255ull, largest = l->device->backend->describe(l->device)->max_buffer;
    if (l->range.bytes - l->used < bytes) {
        uint64_t wanted = l->left < largest || largest == 0 ? l->left : largest;
        pv_status status = pv_pool_alloc(l->pool, PV_MEMORY_WEIGHTS, wanted > bytes ? wanted : bytes, spec->alignment > 256 ? spec->alignment : 256,
                                         &l->range, error);
        if (status != PV_OK) return status;
        l->used = 0;
    }
    tensor->buffer = l->range.buffer;
    tensor->offset = l->range.offset + l->used;
    l->used += bytes;
    l->left -= bytes < l->left ? bytes : l->left;
    return PV_OK;
}

static pv_status need_staging(loader *l, uint64_t bytes, pv_error *error)
{
    if (bytes <= l->staging_bytes) return PV_OK;
    uint8_t *larger = pv_resize(l->allocator, l->staging, bytes, 1);
    if (larger == NULL) return pv_fail_memory(error, bytes, "staging of weights");
    l->staging = larger;
    l->staging_bytes = bytes;
    return PV_OK;
}

/* Rows of the file: in the mapping, or read into the staging memory. */
static pv_status fetch_rows(loader *l, const pv_source_tensor *tensor, uint64_t first, uint64_t count, const uint8_t **rows, pv_error *error)
{
    const uint8_t *mapped = pv_source_tensor_data(l->source, tensor);
    if (mapped != NULL) {
        *rows = mapped + first * tensor->row_bytes;
        return PV_OK;
    }
    pv_status status = need_staging(l, count * tensor->row_bytes, error);
    if (status == PV_OK) status = pv_source_read_rows(l->source, tensor, first, count, l->staging, error);
    *rows = l->staging;
    return status;
}

static pv_status check_finite(const loader *l, const pv_source_tensor *source, uint64_t first, uint64_t count, const uint8_t *rows, pv_error *error)
{
    uint64_t bad = l->allow_non_finite ? count : pv_first_non_finite(source->layout, rows, count, source->row_bytes);
    if (bad == count) return PV_OK;
    return pv_fail_at(error, PV_BAD_FILE, source->name, source->offset + (first + bad) * source->row_bytes,
                      "tensor %s holds NaN or infinity in row %llu, finite weights are wanted", source->name, (unsigned long long)(first + bad));
}

/* A vector goes up as f32. */
static pv_status upload_vector(loader *l, const pv_weight_entry *entry, const pv_tensor *tensor, const uint8_t *row, pv_error *error)
{
    const pv_source_tensor *source = entry->source;
    const uint64_t count = source->rows * source->cols;
    float *decoded = pv_alloc(l->allocator, count, sizeof *decoded);
    if (decoded == NULL) return pv_fail_memory(error, count * sizeof *decoded, source->name);
    for (uint64_t i = 0; i < source->rows; i++) pv_layout_decode(source->layout, row + i * source->row_bytes, source->cols, decoded + i * source->cols);
    for (uint64_t i = 0; entry->less_one && i < count; i++) decoded[i] += 1;
    const uint64_t wanted = entry->role->experts ? count / entry->step : entry->cols;
    for (uint64_t i = 0; entry->step > 1 && i < wanted; i++) decoded[i] = decoded[i * entry->step + entry->first];
    pv_status status = l->device->backend->upload(l->device, tensor, 0, 1, decoded + (entry->step > 1 ? 0 : entry->first), error);
    pv_free(l->allocator, decoded);
    return status;
}

/* Rows that stand `step` apart, one behind the other in the staging memory. */
static pv_status gather_rows(loader *l, const pv_weight_entry *entry, uint64_t count, const uint8_t **rows, pv_error *error)
{
    const uint64_t row_bytes = entry->source->row_bytes;
    pv_status status = need_staging(l, count * row_bytes, error); /* it holds them already, or they are in the mapping */
    if (status != PV_OK) return status;
    for (uint64_t row = 0; row < count; row++) memmove(l->staging + row * row_bytes, *rows + row * entry->step * row_bytes, row_bytes);
    *rows = l->staging;
    return PV_OK;
}

/* The row of the source that row `first` of an entry is, and how many rows of the source `count` rows span. */
static uint64_t begin_of(const pv_weight_entry *entry, uint64_t first) { return pv_role_is_vector(entry->role) ? 0 : entry->first + first * entry->step; }
static uint64_t span_of(const pv_weight_entry *entry, uint64_t count)
{
    return pv_role_is_vector(entry->role) ? entry->source->rows : (count - 1) * entry->step + 1;
}

/* `aliased`: the rows are where they shall be; they are only looked at. */
static pv_status upload_rows(loader *l, const pv_weight_entry *entry, const pv_tensor *tensor, bool aliased, uint64_t first, uint64_t count,
                             pv_error *error)
{
    const pv_source_tensor *source = entry->source;
    const uint64_t begin = begin_of(entry, first), span = span_of(entry, count);
    const uint8_t *rows = NULL;
    pv_status status = fetch_rows(l, source, begin, span, &rows, error);
    if (status == PV_OK) status = check_finite(l, source, begin, span, rows, error);
    if (status != PV_OK || aliased) return status;
    if (pv_role_is_vector(entry->role)) return upload_vector(l, entry, tensor, rows, error);
    if (entry->step > 1 && (status = gather_rows(l, entry, count, &rows, error)) != PV_OK) return status;
    return l->device->backend->upload(l->device, tensor, (uint32_t)(entry->at + first), (uint32_t)count, rows, error);
}

/* A piece of a source whose columns become rows of a tensor: entry->cols rows of the source from `begin` on, `rows` columns from `column` on,
 * entry->step apart. */
typedef struct turn {
    uint64_t begin, column;
    uint32_t at, rows; /* of the tensor */
} turn;

/* `out`: [turn.rows][entry->cols] in the entry's layout, which is dense. */
static pv_status turn_rows(const loader *l, const pv_weight_entry *entry, const turn *t, const uint8_t *from, uint8_t *out, pv_error *error)
{
    const pv_source_tensor *source = entry->source;
    const size_t element = pv_layout_get(entry->layout)->block_bytes, row_bytes = element * entry->cols;
    const bool decodes = source->layout != entry->layout;
    float *decoded = decodes ? pv_alloc(l->allocator, source->cols, sizeof *decoded) : NULL;
    if (decodes && decoded == NULL) return pv_fail_memory(error, source->cols * sizeof *decoded, source->name);
    for (uint64_t col = 0; col < entry->cols; col++, from += source->row_bytes) {
        if (decodes) pv_layout_decode(source->layout, from, source->cols, decoded);
        const uint8_t *elements = decodes ? (const uint8_t *)decoded : from;
        for (uint64_t row = 0; row < t->rows; row++)
            memcpy(out + row * row_bytes + col * element, elements + (t->column + row * entry->step) * element, element);
    }
    pv_free(l->allocator, decoded);
    return PV_OK;
}

/* It goes up in one piece: the matrices stored so are small. */
static pv_status upload_turned(loader *l, const pv_weight_entry *entry, const pv_tensor *tensor, const turn *t, pv_error *error)
{
    const pv_source_tensor *source = entry->source;
    const size_t row_bytes = (size_t)pv_layout_get(entry->layout)->block_bytes * entry->cols;
    const uint8_t *from = NULL;
    pv_status status = fetch_rows(l, source, t->begin, entry->cols, &from, error);
    if (status == PV_OK) status = check_finite(l, source, t->begin, entry->cols, from, error);
    if (status != PV_OK) return status;
    uint8_t *turned = pv_alloc(l->allocator, t->rows, row_bytes);
    if (turned == NULL) return pv_fail_memory(error, t->rows * row_bytes, source->name);
    status = turn_rows(l, entry, t, from, turned, error);
    if (status == PV_OK) status = l->device->backend->upload(l->device, tensor, t->at, t->rows, turned, error);
    pv_free(l->allocator, turned);
    return status;
}

static pv_status upload_transposed(loader *l, const pv_weight_entry *entry, const pv_tensor *tensor, pv_error *error)
{
    if (entry->role->heads) return upload_turned(l, entry, tensor, &(turn){.begin = entry->first, .at = entry->at, .rows = entry->rows}, error);
    const uint32_t blocks = (uint32_t)(entry->source->rows / entry->cols), rows = entry->rows / blocks;
    pv_status status = PV_OK;
    for (uint32_t block = 0; block < blocks && status == PV_OK; block++)
        status = upload_turned(l, entry, tensor, &(turn){(uint64_t)block * entry->cols, entry->first, block * rows, rows}, error);
    return status;
}

static pv_tensor *place_of(pv_weights *weights, const pv_weight_entry *entry)
{
    char *base = entry->role->per_layer ? (char *)&weights->layers[entry->layer] : (char *)weights;
    return (pv_tensor *)(void *)(base + entry->role->member);
}

/* A weight's tensor, not placed yet. A row's bytes cannot overflow: the file holds it. */
static pv_tensor tensor_of(const pv_weight_entry *entry)
{
    pv_tensor tensor = {
        .rows = pv_role_is_vector(entry->role) ? 1 : entry->stacked,
        .cols = pv_role_is_vector(entry->role) ? entry->stacked : entry->cols,
        .layout = entry->spec.layout,
        .packing = entry->spec.packing,
        .extent = PV_EXTENT_FIXED,
    };
    if (tensor.packing == PV_PACKING_NONE) pv_layout_row_bytes(tensor.layout, tensor.cols, &tensor.row_bytes);
    return tensor;
}

void pv_weights_outline(const pv_decoder *decoder, const pv_weight_list *list, const pv_buffer *nowhere, pv_weights *weights)
{
    for (size_t i = 0; i < list->count; i++) {
        pv_tensor *tensor = place_of(weights, &list->entries[i]);
        *tensor = tensor_of(&list->entries[i]);
        tensor->buffer = nowhere;
        if (list->entries[i].order == NULL) continue;
        pv_tensor *order = order_place(weights, &list->entries[i]);
        *order = order_tensor(&list->entries[i]);
        order->buffer = nowhere;
        order->offset = (uintptr_t)list->entries[i].order; /* tells those apart that are not the same */
    }
    if (list->tied) weights->output = weights->embed;
    for (uint32_t i = 0; i < decoder->rope_count; i++)
        weights->inverse_frequency[i] = (pv_tensor){.buffer = nowhere, .rows = 1, .cols = decoder->ropes[i].dim / 2, .row_bytes = 2ull * decoder->ropes[i].dim};
}

/* Where the entry's rows stand in the file, if they do so as they are wanted. */
static bool place_aliased(const loader *l, const pv_weight_entry *entry, pv_tensor *tensor)
{
    pv_source_tensor rows = *entry->source;
    if (!entry->spec.may_alias || entry->transposed || rows.parts != NULL || entry->step > 1 || entry->rows != entry->stacked) return false;
    rows.offset += entry->first * rows.row_bytes;
    rows.bytes = entry->rows * rows.row_bytes;
    return pv_views_place(l->views, &rows, entry->spec.alias_alignment, tensor);
}

static pv_status report(loader *l, uint64_t bytes, pv_error *error)
{
    l->done += bytes;
    if (l->progress.call == NULL || l->progress.call(l->progress.user, l->done, l->total)) return PV_OK;
    return pv_fail(error, PV_CANCELLED, "loading was cancelled");
}

/* What progress counts of an entry. */
static uint64_t bytes_of(const pv_weight_entry *entry)
{
    if (entry->transposed) return (uint64_t)entry->rows * entry->cols * pv_layout_get(entry->layout)->block_bytes;
    return entry->rows * entry->source->row_bytes;
}

static pv_status load_weight(loader *l, const pv_weight_entry *entry, pv_tensor *tensor, pv_error *error)
{
    const pv_source_tensor *source = entry->source;
    bool aliased = false;
    pv_status status = PV_OK;
    if (entry->at == 0) { /* a later expert's place is there */
        *tensor = tensor_of(entry);
        aliased = place_aliased(l, entry, tensor);
        if (!aliased) status = place_weight(l, &entry->spec, tensor, error);
    }
    if (status == PV_OK && entry->transposed) {
        status = upload_transposed(l, entry, tensor, error);
        return status == PV_OK ? report(l, bytes_of(entry), error) : status;
    }
    uint64_t tile = entry->spec.row_tile > 0 ? entry->spec.row_tile : 1;
    uint64_t step = UPLOAD_BYTES / (source->row_bytes * tile) * tile;
    if (step == 0) step = tile;
    for (uint64_t first = 0; first < entry->rows && status == PV_OK; first += step) {
        uint64_t count = entry->rows - first < step ? entry->rows - first : step;
        status = upload_rows(l, entry, tensor, aliased, first, count, error);
        if (status != PV_OK) return status;
        if (!aliased) pv_source_drop_rows(l->source, source, begin_of(entry, first), span_of(entry, count));
        status = report(l, count * source->row_bytes, error);
    }
    return status;
}

static pv_status load_frequencies(loader *l, const pv_rope_settings *rope, uint32_t context, pv_tensor *tensor, pv_error *error)
{
    uint32_t count = rope->dim / 2;
    pv_weight_spec spec;
    float *frequencies = pv_alloc(l->allocator, count, sizeof *frequencies);
    if (frequencies == NULL) return pv_fail_memory(error, count * sizeof *frequencies, "rope frequencies");
    pv_rope_frequencies(rope, context, frequencies);
    pv_status status = l->device->backend->weight_spec(l->device, PV_LAYOUT_F32, 1, count, PV_USE_VECTOR, &spec, error);
    *tensor = (pv_tensor){.rows = 1, .cols = count, .row_bytes = 4ull * count, .layout = spec.layout, .packing = spec.packing};
    if (status == PV_OK) status = place_weight(l, &spec, tensor, error);
    if (status == PV_OK) status = l->device->backend->upload(l->device, tensor, 0, 1, frequencies, error);
    pv_free(l->allocator, frequencies);
    return status;
}

static pv_status load_order(loader *l, const pv_weight_list *list, const pv_weight_entry *entry, pv_weights *weights, pv_error *error)
{
    pv_weight_spec spec;
    pv_tensor *tensor = order_place(weights, entry);
    for (const pv_weight_entry *other = list->entries; other < entry; other++) {
        if (other->order != entry->order || other->layer != entry->layer) continue;
        *tensor = *order_place(weights, other);
        return PV_OK;
    }
    *tensor = order_tensor(entry);
    pv_status status = l->device->backend->weight_spec(l->device, PV_LAYOUT_F32, 1, entry->cols, PV_USE_VECTOR, &spec, error);
    if (status == PV_OK) status = place_weight(l, &spec, tensor, error);
    return status == PV_OK ? l->device->backend->upload(l->device, tensor, 0, 1, entry->order, error) : status;
}

pv_status pv_weights_load(const pv_allocator *allocator, const pv_decoder *decoder, const pv_source *source, const pv_weight_list *list,
                          bool allow_non_finite, pv_load_progress progress, pv_backend_device *device, pv_pool *pool, const pv_views *views,
                          pv_weights *weights, pv_error *error)
{
    loader l = {.allocator = allocator, .source = source, .device = device, .pool = pool, .views = views, .allow_non_finite = allow_non_finite, .progress = progress};
    for (size_t i = 0; i < list->count; i++) l.total += bytes_of(&list->entries[i]);
    *weights = (pv_weights){.layers = pv_calloc(allocator, decoder->layers, sizeof *weights->layers)};
    if (weights->layers == NULL) return pv_fail_memory(error, decoder->layers * sizeof *weights->layers, "the layers");
    l.left = list->bytes;
    for (size_t i = 0; i < list->count; i++) {
        if (place_aliased(&l, &list->entries[i], &(pv_tensor){0})) l.left -= (list->entries[i].spec.bytes + 255) & ~255ull;
    }
    pv_status status = PV_OK;
    for (size_t i = 0; i < list->count && status == PV_OK; i++)
        status = load_weight(&l, &list->entries[i], place_of(weights, &list->entries[i]), error);
    for (size_t i = 0; i < list->count && status == PV_OK; i++)
        if (list->entries[i].order != NULL) status = load_order(&l, list, &list->entries[i], weights, error);
    for (uint32_t i = 0; i < decoder->rope_count && status == PV_OK; i++)
        status = load_frequencies(&l, &decoder->ropes[i], decoder->context, &weights->inverse_frequency[i], error);
    if (status == PV_OK && list->tied) weights->output = weights->embed;
    pv_free(allocator, l.staging);
    if (status != PV_OK) pv_weights_free(allocator, weights);
    return status;
}

void pv_weights_free(const pv_allocator *allocator, pv_weights *weights)
{
    pv_free(allocator, weights->layers);
    *weights = (pv_weights){0};
}
