#include "model/weights.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"

#define UPLOAD_BYTES (4u << 20) /* a piece of a weight on its way */

/* ---- Finding ---- */

static pv_status check_shape(const pv_decoder *decoder, const pv_role *role, const pv_source_tensor *tensor, pv_error *error)
{
    uint32_t rows = pv_decoder_size(decoder, role->rows), cols = pv_decoder_size(decoder, role->cols);
    if (tensor->rows != rows || tensor->cols != cols || tensor->dims > 2)
        return pv_fail_at(error, PV_BAD_FILE, tensor->name, tensor->offset, "tensor %s has the shape [%llu, %llu], [%u, %u] is wanted",
                          tensor->name, (unsigned long long)tensor->rows, (unsigned long long)tensor->cols, rows, cols);
    if (tensor->layout == PV_LAYOUT_COUNT)
        return pv_fail_at(error, PV_UNSUPPORTED, tensor->name, tensor->offset, "tensor %s has the layout %s, which is not supported",
                          tensor->name, tensor->type_name);
    if ((role->uses & PV_USE_VECTOR) != 0 && tensor->layout > PV_LAYOUT_BF16)
        return pv_fail_at(error, PV_UNSUPPORTED, tensor->name, tensor->offset, "tensor %s is a vector in the layout %s, F32, F16 or BF16 is wanted",
                          tensor->name, tensor->type_name);
    return PV_OK;
}

/* Tensors that carry nothing the description does not say already. */
static bool is_known_extra(const char *name)
{
    size_t length = strlen(name);
    static const char rotary[] = ".rotary_emb.inv_freq";
    return strcmp(name, "rope_freqs.weight") == 0 || (length > sizeof rotary && strcmp(name + length - (sizeof rotary - 1), rotary) == 0);
}

static pv_status add_weight(const pv_decoder *decoder, const pv_source *source, const pv_role *role, uint32_t layer,
                            pv_weight_list *list, pv_error *error)
{
    char name[128];
    pv_role_name(pv_source_get_kind(source) == PV_SOURCE_GGUF ? role->gguf : role->huggingface, layer, name);
    const pv_source_tensor *tensor = pv_source_find(source, name);
    if (tensor == NULL && role->optional) {
        if (role->member == offsetof(pv_weights, output) && !role->per_layer) list->tied = true;
        return PV_OK;
    }
    if (tensor == NULL)
        return pv_fail_at(error, PV_NOT_FOUND, name, PV_NO_OFFSET, "%s has no tensor %s, which the architecture %s needs",
                          pv_source_path(source), name, decoder->architecture->name);
    pv_status status = check_shape(decoder, role, tensor, error);
    if (status != PV_OK) return status;
    list->entries[list->count++] = (pv_weight_entry){.role = role, .layer = layer, .source = tensor, .uses = role->uses};
    list->parameters += tensor->rows * tensor->cols;
    return PV_OK;
}

/* Every tensor of the file must be somebody's: compares numbers, then looks for the stranger. */
static pv_status refuse_strangers(const pv_source *source, const pv_weight_list *list, pv_error *error)
{
    size_t count = pv_source_tensor_count(source), extras = 0;
    for (size_t i = 0; i < count; i++) extras += is_known_extra(pv_source_tensor_at(source, i)->name);
    if (list->count + extras == count) return PV_OK;
    for (size_t i = 0; i < count; i++) {
        const pv_source_tensor *tensor = pv_source_tensor_at(source, i);
        bool known = is_known_extra(tensor->name);
        for (size_t j = 0; j < list->count && !known; j++) known = list->entries[j].source == tensor;
        if (!known)
            return pv_fail_at(error, PV_UNSUPPORTED, tensor->name, tensor->offset,
                              "tensor %s does not belong to the architecture as it is supported; leaving it out would give wrong answers",
                              tensor->name);
    }
    return PV_OK;
}

static pv_status ask_device(const pv_backend_device *device, pv_weight_list *list, pv_error *error)
{
    for (size_t i = 0; i < list->count; i++) {
        pv_weight_entry *entry = &list->entries[i];
        if (list->tied && entry->role->member == offsetof(pv_weights, embed) && !entry->role->per_layer) entry->uses |= PV_USE_MATRIX;
        pv_status status = device->backend->weight_spec(device, entry->source->layout, (uint32_t)entry->source->rows,
                                                        (uint32_t)entry->source->cols, entry->uses, &entry->spec, error);
        if (status != PV_OK) return status;
        uint64_t aligned;
        if (!pv_align_u64(entry->spec.bytes, 256, &aligned) || !pv_add_u64(list->bytes, aligned, &list->bytes))
            return pv_fail(error, PV_BAD_FILE, "the weights' sizes overflow");
    }
    list->bytes += 4096; /* the frequencies of RoPE, at most 512 of them, and room to align */
    return PV_OK;
}

pv_status pv_weights_find(const pv_allocator *allocator, const pv_decoder *decoder, const pv_source *source,
                          const pv_backend_device *device, pv_weight_list *list, pv_error *error)
{
    const pv_architecture *architecture = decoder->architecture;
    size_t most = architecture->role_count * decoder->layers;
    *list = (pv_weight_list){.entries = pv_calloc(allocator, most, sizeof *list->entries)};
    if (list->entries == NULL) return pv_fail_memory(error, most * sizeof *list->entries, "the list of weights");
    pv_status status = PV_OK;
    for (size_t i = 0; i < architecture->role_count && status == PV_OK; i++) {
        const pv_role *role = &architecture->roles[i];
        uint32_t times = role->per_layer ? decoder->layers : 1;
        for (uint32_t layer = 0; layer < times && status == PV_OK; layer++)
            status = add_weight(decoder, source, role, layer, list, error);
    }
    if (status == PV_OK) status = refuse_strangers(source, list, error);
    if (status == PV_OK) status = ask_device(device, list, error);
    if (status != PV_OK) pv_weight_list_free(allocator, list);
    return status;
}

void pv_weight_list_free(const pv_allocator *allocator, pv_weight_list *list)
{
    pv_free(allocator, list->entries);
    *list = (pv_weight_list){0};
}

/* ---- Checking ---- */

/* Where the f16 scales of a quantized block stand. */
static const struct {
    pv_layout layout;
    uint8_t count, offset[2];
} scales[] = {
    {PV_LAYOUT_Q4_0, 1, {0, 0}}, {PV_LAYOUT_Q4_1, 2, {0, 2}}, {PV_LAYOUT_Q8_0, 1, {0, 0}}, {PV_LAYOUT_Q4_K, 2, {0, 2}}, {PV_LAYOUT_Q6_K, 1, {208, 0}},
};

static bool cells_finite(const uint8_t *bytes, uint64_t count, uint64_t stride, uint32_t exponent, bool wide)
{
    bool finite = true;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t value = 0;
        memcpy(&value, bytes + i * stride, wide ? 4 : 2);
        finite &= (value & exponent) != exponent;
    }
    return finite;
}

static bool row_finite(pv_layout layout, const uint8_t *row, uint64_t row_bytes)
{
    const pv_layout_info *info = pv_layout_get(layout);
    uint64_t blocks = row_bytes / info->block_bytes;
    if (layout == PV_LAYOUT_F32) return cells_finite(row, blocks, 4, 0x7f800000u, true);
    if (layout == PV_LAYOUT_F16) return cells_finite(row, blocks, 2, 0x7c00u, false);
    if (layout == PV_LAYOUT_BF16) return cells_finite(row, blocks, 2, 0x7f80u, false);
    for (size_t i = 0; i < sizeof scales / sizeof scales[0]; i++)
        for (uint8_t j = 0; scales[i].layout == layout && j < scales[i].count; j++)
            if (!cells_finite(row + scales[i].offset[j], blocks, info->block_bytes, 0x7c00u, false)) return false;
    return true;
}

uint64_t pv_first_non_finite(pv_layout layout, const void *rows_data, uint64_t rows, uint64_t row_bytes)
{
    const uint8_t *bytes = rows_data;
    for (uint64_t row = 0; row < rows; row++)
        if (!row_finite(layout, bytes + row * row_bytes, row_bytes)) return row;
    return rows;
}

/* ---- Loading ---- */

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
    uint64_t left;   /* bytes of weights not placed yet, alignment included */
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

/* `aliased`: the rows are where they shall be; they are only looked at. */
static pv_status upload_rows(loader *l, const pv_weight_entry *entry, const pv_tensor *tensor, bool aliased, uint64_t first, uint64_t count,
                             pv_error *error)
{
    const pv_source_tensor *source = entry->source;
    const uint8_t *rows = NULL;
    pv_status status = fetch_rows(l, source, first, count, &rows, error);
    if (status != PV_OK) return status;
    uint64_t bad = l->allow_non_finite ? count : pv_first_non_finite(source->layout, rows, count, source->row_bytes);
    if (bad < count)
        return pv_fail_at(error, PV_BAD_FILE, source->name, source->offset + (first + bad) * source->row_bytes,
                          "tensor %s holds NaN or infinity in row %llu, finite weights are wanted", source->name,
                          (unsigned long long)(first + bad));
    if (aliased) return PV_OK;
    if ((entry->uses & PV_USE_VECTOR) == 0) return l->device->backend->upload(l->device, tensor, (uint32_t)first, (uint32_t)count, rows, error);
    float *decoded = pv_alloc(l->allocator, source->cols, sizeof *decoded);
    if (decoded == NULL) return pv_fail_memory(error, source->cols * sizeof *decoded, source->name);
    pv_layout_decode(source->layout, rows, source->cols, decoded);
    status = l->device->backend->upload(l->device, tensor, 0, 1, decoded, error);
    pv_free(l->allocator, decoded);
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
        .rows = (uint32_t)entry->source->rows,
        .cols = (uint32_t)entry->source->cols,
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
    }
    if (list->tied) weights->output = weights->embed;
    weights->inverse_frequency = (pv_tensor){.buffer = nowhere, .rows = 1, .cols = decoder->rope.dim / 2, .row_bytes = 2ull * decoder->rope.dim};
}

static pv_status load_weight(loader *l, const pv_weight_entry *entry, pv_tensor *tensor, pv_error *error)
{
    const pv_source_tensor *source = entry->source;
    *tensor = tensor_of(entry);
    const bool aliased = entry->spec.may_alias && pv_views_place(l->views, source, entry->spec.alias_alignment, tensor);
    pv_status status = aliased ? PV_OK : place_weight(l, &entry->spec, tensor, error);
    if (status != PV_OK) return status;
    uint64_t tile = entry->spec.row_tile > 0 ? entry->spec.row_tile : 1;
    uint64_t step = UPLOAD_BYTES / (source->row_bytes * tile) * tile;
    if (step == 0) step = tile;
    for (uint64_t first = 0; first < source->rows; first += step) {
        uint64_t count = source->rows - first < step ? source->rows - first : step;
        if ((status = upload_rows(l, entry, tensor, aliased, first, count, error)) != PV_OK) return status;
        if (!aliased) pv_mapping_drop(pv_source_mapping(l->source, source->file), source->offset + first * source->row_bytes, count * source->row_bytes);
        l->done += count * source->row_bytes;
        if (l->progress.call != NULL && !l->progress.call(l->progress.user, l->done, l->total))
            return pv_fail(error, PV_CANCELLED, "loading was cancelled");
    }
    return PV_OK;
}

/* GGUF stores Llama 3.1's scaling as divisors of the frequencies. */
static pv_status read_rope_factors(loader *l, const pv_decoder *decoder, float **factors, pv_error *error)
{
    const pv_source_tensor *tensor = pv_source_find(l->source, "rope_freqs.weight");
    *factors = NULL;
    if (tensor == NULL) return PV_OK;
    if (tensor->layout != PV_LAYOUT_F32 || tensor->rows != 1 || tensor->cols != decoder->rope.dim / 2)
        return pv_fail_at(error, PV_BAD_FILE, tensor->name, tensor->offset, "tensor rope_freqs.weight is %s [%llu], F32 [%u] is wanted",
                          tensor->type_name, (unsigned long long)tensor->cols, decoder->rope.dim / 2);
    *factors = pv_alloc(l->allocator, tensor->cols, sizeof **factors);
    if (*factors == NULL) return pv_fail_memory(error, tensor->bytes, tensor->name);
    pv_status status = pv_source_read_rows(l->source, tensor, 0, 1, *factors, error);
    for (uint64_t i = 0; i < tensor->cols && status == PV_OK; i++)
        if (!((*factors)[i] > 0))
            status = pv_fail_at(error, PV_BAD_FILE, tensor->name, tensor->offset, "rope_freqs.weight[%llu] is %g, a positive number is wanted",
                                (unsigned long long)i, (double)(*factors)[i]);
    if (status != PV_OK) pv_free(l->allocator, *factors);
    return status;
}

static pv_status load_frequencies(loader *l, const pv_decoder *decoder, pv_tensor *tensor, pv_error *error)
{
    uint32_t count = decoder->rope.dim / 2;
    float *factors, *frequencies;
    pv_weight_spec spec;
    pv_status status = read_rope_factors(l, decoder, &factors, error);
    if (status != PV_OK) return status;
    frequencies = pv_alloc(l->allocator, count, sizeof *frequencies);
    if (frequencies == NULL) status = pv_fail_memory(error, count * sizeof *frequencies, "rope frequencies");
    if (status == PV_OK) status = l->device->backend->weight_spec(l->device, PV_LAYOUT_F32, 1, count, PV_USE_VECTOR, &spec, error);
    *tensor = (pv_tensor){.rows = 1, .cols = count, .row_bytes = 4ull * count, .layout = spec.layout, .packing = spec.packing};
    if (status == PV_OK) status = place_weight(l, &spec, tensor, error);
    if (status == PV_OK) {
        pv_rope_frequencies(&decoder->rope, factors, frequencies);
        status = l->device->backend->upload(l->device, tensor, 0, 1, frequencies, error);
    }
    pv_free(l->allocator, frequencies);
    pv_free(l->allocator, factors);
    return status;
}

pv_status pv_weights_load(const pv_allocator *allocator, const pv_decoder *decoder, const pv_source *source, const pv_weight_list *list,
                          bool allow_non_finite, pv_load_progress progress, pv_backend_device *device, pv_pool *pool, const pv_views *views,
                          pv_weights *weights, pv_error *error)
{
    loader l = {.allocator = allocator, .source = source, .device = device, .pool = pool, .views = views, .allow_non_finite = allow_non_finite, .progress = progress};
    for (size_t i = 0; i < list->count; i++) l.total += list->entries[i].source->bytes;
    *weights = (pv_weights){.layers = pv_calloc(allocator, decoder->layers, sizeof *weights->layers)};
    if (weights->layers == NULL) return pv_fail_memory(error, decoder->layers * sizeof *weights->layers, "the layers");
    l.left = list->bytes;
    pv_status status = PV_OK;
    for (size_t i = 0; i < list->count && status == PV_OK; i++)
        status = load_weight(&l, &list->entries[i], place_of(weights, &list->entries[i]), error);
    if (status == PV_OK) status = load_frequencies(&l, decoder, &weights->inverse_frequency, error);
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
