#include "model/weights.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "model/mlx_names.h"

#define UPLOAD_BYTES (4u << 20) /* a piece of a weight on its way */

/* ---- Finding ---- */

static bool is_vector(const pv_role *role) { return (role->uses & PV_USE_VECTOR) != 0; }

static pv_status check_shape(const pv_decoder *decoder, const pv_weight_entry *entry, pv_error *error)
{
    const pv_role *role = entry->role;
    const pv_source_tensor *tensor = entry->source;
    uint32_t rows = is_vector(role) ? pv_decoder_size(decoder, role->rows) : entry->rows, cols = entry->cols;
    if (role->heads) {
        rows = decoder->heads * pv_decoder_size(decoder, role->whole), cols = pv_decoder_size(decoder, role->turned ? role->rows : role->cols);
    } else if (role->whole != PV_SIZE_ZERO) *(is_vector(role) ? &cols : &rows) = pv_decoder_size(decoder, role->whole);
    const uint32_t experts = role->experts ? decoder->experts : 1, own = entry->at > 0 || entry->rows != entry->stacked ? 1 : experts;
    *(is_vector(role) ? &cols : &rows) *= entry->step;
    if (entry->transposed && !role->heads) { /* each expert by itself */
        const uint32_t swapped = rows / own;
        rows = cols * own, cols = swapped;
    }
    if (role->experts && is_vector(role)) rows = experts;
    const bool taps_first = role->cols == PV_SIZE_TAPS && tensor->dims == 3 && tensor->dim[0] == rows && tensor->dim[1] == cols &&
                            tensor->dim[2] == 1; /* MLX's order, the same bytes */
    const uint32_t most_dims = role->experts || role->cols == PV_SIZE_TAPS || role->stacked ? 3 : 2;
    if (!taps_first && (tensor->rows != rows || tensor->cols != cols || tensor->dims > most_dims))
        return pv_fail_at(error, PV_BAD_FILE, tensor->name, tensor->offset, "tensor %s has the shape [%llu, %llu], [%u, %u] is wanted",
                          tensor->name, (unsigned long long)tensor->rows, (unsigned long long)tensor->cols, rows, cols);
    if (tensor->layout == PV_LAYOUT_COUNT)
        return pv_fail_at(error, PV_UNSUPPORTED, tensor->name, tensor->offset, "tensor %s has the layout %s, which is not supported",
                          tensor->name, tensor->type_name);
    if (entry->transposed && !role->heads && tensor->layout > PV_LAYOUT_BF16)
        return pv_fail_at(error, PV_UNSUPPORTED, tensor->name, tensor->offset, "tensor %s is stored as [in, out] in the layout %s, F32, F16 or BF16 is wanted",
                          tensor->name, tensor->type_name);
    if (is_vector(role) && tensor->layout > PV_LAYOUT_BF16)
        return pv_fail_at(error, PV_UNSUPPORTED, tensor->name, tensor->offset, "tensor %s is a vector in the layout %s, F32, F16 or BF16 is wanted",
                          tensor->name, tensor->type_name);
    return PV_OK;
}

/* Tensors that carry nothing the description does not say already. */
static bool is_known_extra(const pv_architecture *architecture, const char *name)
{
    static const char *const names[] = {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"};
    static const char *const endings[] = {".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias"}; /* GPT-2's are masks */
    size_t length = strlen(name);
    for (const char *const *part = architecture->other_parts; part != NULL && *part != NULL; part++)
        if (strncmp(name, *part, strlen(*part)) == 0) return true;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0) return true;
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
        if (length > strlen(endings[i]) && strcmp(name + length - strlen(endings[i]), endings[i]) == 0) return true;
    return false;
}

/* The name of a tensor of one expert has the expert's number. */
static bool has_experts_apart(const pv_source *source, const pv_role *role, uint32_t layer)
{
    char mlx[128];
    const char *pattern = pv_source_get_kind(source) == PV_SOURCE_GGUF ? role->gguf : role->huggingface, *first = strstr(pattern, "%u");
    return role->experts && first != NULL && strstr(first + 2, "%u") != NULL && !pv_mlx_name(source, role, layer, mlx);
}

/* "language_model." stands before the whole name, "model.language_model." in place of the "model." that it begins with. */
static const pv_source_tensor *find_inside(const pv_source *source, const char *prefix, const char *name)
{
    char longer[192];
    const bool instead = strncmp(prefix, "model.", 6) == 0 && strncmp(name, "model.", 6) == 0;
    snprintf(longer, sizeof longer, "%s%s", prefix, instead ? name + 6 : name);
    return pv_source_find(source, longer);
}

/* Some files leave out what the names of others begin with. */
static const pv_source_tensor *find_tensor(const pv_decoder *decoder, const pv_source *source, const char *name)
{
    const char *prefix = decoder->architecture->prefix;
    const pv_source_tensor *tensor = pv_source_find(source, name);
    for (const char *const *inside = decoder->architecture->inside_prefixes; tensor == NULL && inside != NULL && *inside != NULL; inside++)
        tensor = find_inside(source, *inside, name);
    if (tensor != NULL || prefix == NULL || strncmp(name, prefix, strlen(prefix)) != 0) return tensor;
    tensor = pv_source_find(source, name + strlen(prefix));
    if (tensor != NULL) return tensor;
    char mlx[192]; /* MLX puts its own before all */
    snprintf(mlx, sizeof mlx, "model.%s", name + strlen(prefix));
    return pv_source_find(source, mlx);
}

/* Of a role in a layer: one, or one an expert or a head. */
static uint32_t entries_of(const pv_decoder *decoder, const pv_source *source, const pv_role *role, uint32_t layer)
{
    return role->heads ? decoder->heads : has_experts_apart(source, role, layer) ? decoder->experts : 1;
}

/* Blocks of quantized weights lie along the wrong side of a matrix that is to be turned. */
static pv_layout layout_for(const pv_role *role, const pv_source_tensor *tensor)
{
    return role->turned && tensor->layout > PV_LAYOUT_BF16 && tensor->layout < PV_LAYOUT_COUNT ? PV_LAYOUT_F32 : tensor->layout;
}

/* An expert's tensor, or all experts' where the file has them as one; or a head's part. */
static pv_status add_weight(const pv_allocator *allocator, const pv_decoder *decoder, const pv_source *source, const pv_role *role, uint32_t layer,
                            uint32_t number, pv_weight_list *list, pv_error *error)
{
    char name[128];
    const bool gguf = pv_source_get_kind(source) == PV_SOURCE_GGUF, apart = has_experts_apart(source, role, layer);
    pv_role_name(gguf ? role->gguf : role->huggingface, layer, number, name);
    const bool mlx = pv_mlx_name(source, role, layer, name), interleaved = !gguf && !mlx && role->interleaved > 0;
    const pv_source_tensor *tensor = find_tensor(decoder, source, name);
    if (tensor == NULL && role->optional) {
        if (role->member == offsetof(pv_weights, output) && !role->per_layer) list->tied = true;
        return PV_OK;
    }
    if (tensor == NULL)
        return pv_fail_at(error, PV_NOT_FOUND, name, PV_NO_OFFSET, "%s has no tensor %s, which the architecture %s needs",
                          pv_source_path(source), name, decoder->architecture->name);
    const uint32_t rows = pv_decoder_size(decoder, role->rows), cols = pv_decoder_size(decoder, role->cols);
    const uint32_t stacked = (is_vector(role) ? rows * cols : rows) * (role->experts ? decoder->experts : role->heads ? decoder->heads : 1);
    const uint64_t head = role->heads ? (uint64_t)number * pv_decoder_size(decoder, role->whole) : 0;
    const pv_weight_entry entry = {
        .role = role, .layer = layer, .source = tensor, .rows = is_vector(role) ? 1 : role->experts && !apart ? stacked : rows, .cols = cols,
        .first = interleaved ? role->interleaved - 1u : head + pv_decoder_size(decoder, role->first), .at = number * rows,
        .stacked = stacked, .uses = role->uses, .step = interleaved ? 2 : 1,
        .layout = layout_for(role, tensor),
        .transposed = role->turned || /* and where the file has [in, out]; quantized ones are [out, in]: groups run along sums */
                      (!gguf && !mlx && role->uses == PV_USE_MATRIX && tensor->layout <= PV_LAYOUT_BF16 &&
                       (role->experts ? decoder->architecture->experts_transposed : decoder->architecture->transposed && role->per_layer)),
        .less_one = !gguf && decoder->architecture->norm_less_one && is_vector(role) && strstr(role->huggingface, "norm") != NULL,
    };
    if (!pv_grow(allocator, (void **)&list->entries, &list->capacity, list->count + 1, sizeof *list->entries))
        return pv_fail_memory(error, (list->count + 1) * sizeof *list->entries, "the list of weights");
    list->entries[list->count++] = entry;
    list->parameters += (uint64_t)entry.rows * entry.cols;
    return check_shape(decoder, &entry, error);
}

/* Every tensor of the file must be somebody's: compares numbers, then looks for the stranger. A fused tensor is counted by its first part. */
static pv_status refuse_strangers(const pv_architecture *architecture, const pv_source *source, const pv_weight_list *list, pv_error *error)
{
    size_t count = pv_source_tensor_count(source), known_count = 0;
    for (size_t i = 0; i < count; i++) known_count += is_known_extra(architecture, pv_source_tensor_at(source, i)->name);
    for (size_t i = 0; i < list->count; i++) known_count += list->entries[i].first == 0; /* of parts and of every second row alike */
    if (known_count == count) return PV_OK;
    for (size_t i = 0; i < count; i++) {
        const pv_source_tensor *tensor = pv_source_tensor_at(source, i);
        bool known = is_known_extra(architecture, tensor->name);
        for (size_t j = 0; j < list->count && !known; j++) known = list->entries[j].source == tensor;
        if (!known)
            return pv_fail_at(error, PV_UNSUPPORTED, tensor->name, tensor->offset,
                              "tensor %s does not belong to the architecture as it is supported; leaving it out would give wrong answers",
                              tensor->name);
    }
    return PV_OK;
}

/* Experts that come one by one go to whole tiles of a packing, and are of one layout. */
static pv_status check_stack(const pv_weight_entry *entry, pv_error *error)
{
    const pv_weight_entry *first = entry - (entry->at > 0 ? entry->at / entry->rows : 0);
    const uint32_t tile = entry->spec.row_tile > 0 ? entry->spec.row_tile : 1;
    if ((entry->role->experts || entry->role->heads) && !is_vector(entry->role) && entry->at % tile != 0)
        return pv_fail_at(error, PV_UNSUPPORTED, entry->source->name, entry->source->offset, "tensor %s has %u rows, a multiple of %u is wanted of %s",
                          entry->source->name, entry->rows, entry->spec.row_tile, entry->role->heads ? "each head's part" : "an expert");
    if (first->source->layout == entry->source->layout) return PV_OK;
    return pv_fail_at(error, PV_UNSUPPORTED, entry->source->name, entry->source->offset, "tensor %s has the layout %s, that of the first expert has %s",
                      entry->source->name, entry->source->type_name, first->source->type_name);
}

/* ---- Columns in an order of their own ---- */

/* Where the order of a matrix goes; SIZE_MAX: its activations come in no other. */
static size_t order_member(const pv_role *role)
{
#define ORDER_OF(name) {offsetof(pv_layer_weights, name), offsetof(pv_layer_weights, name##_order)}
    static const struct {
        size_t member, order;
    } orders[] = {ORDER_OF(q), ORDER_OF(k), ORDER_OF(v), ORDER_OF(attention_out), ORDER_OF(gate), ORDER_OF(up), ORDER_OF(down)};
#undef ORDER_OF
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++)
        if (role->per_layer && role->member == orders[i].member) return orders[i].order;
    return SIZE_MAX;
}

/* Matrices that take the same activations mostly have the same order: it is gathered once. */
static pv_status set_order(const pv_decoder *decoder, pv_weight_list *list, pv_weight_entry *entry, pv_error *error)
{
    entry->order = entry->source->order;
    if (entry->order == NULL) return PV_OK;
    if (order_member(entry->role) == SIZE_MAX || decoder->latent > 0)
        return pv_fail_at(error, PV_UNSUPPORTED, entry->source->name, entry->source->offset,
                          "tensor %s has its columns in the order of their activations (desc_act), which is supported in attention and feed-forward layers alone",
                          entry->source->name);
    for (const pv_weight_entry *other = list->entries; other < entry; other++)
        if (other->order != NULL && other->layer == entry->layer && other->cols == entry->cols &&
            memcmp(other->order, entry->order, entry->cols * sizeof *entry->order) == 0)
            entry->order = other->order;
    uint64_t bytes;
    if (!pv_align_u64(4ull * entry->cols, 256, &bytes) || !pv_add_u64(list->bytes, bytes, &list->bytes))
        return pv_fail(error, PV_BAD_FILE, "the weights' sizes overflow");
    return PV_OK;
}

static pv_tensor order_tensor(const pv_weight_entry *entry)
{
    return (pv_tensor){.rows = 1, .cols = entry->cols, .row_bytes = 4ull * entry->cols, .layout = PV_LAYOUT_F32, .packing = PV_PACKING_NONE};
}

static pv_tensor *order_place(pv_weights *weights, const pv_weight_entry *entry)
{
    return (pv_tensor *)(void *)((char *)&weights->layers[entry->layer] + order_member(entry->role));
}

static pv_status ask_device(const pv_decoder *decoder, const pv_backend_device *device, pv_weight_list *list, pv_error *error)
{
    for (size_t i = 0; i < list->count; i++) {
        pv_weight_entry *entry = &list->entries[i];
        if (list->tied && entry->role->member == offsetof(pv_weights, embed) && !entry->role->per_layer) entry->uses |= PV_USE_MATRIX;
        pv_status status = set_order(decoder, list, entry, error);
        if (status != PV_OK) return status;
        status = device->backend->weight_spec(device, entry->layout, is_vector(entry->role) ? 1 : entry->stacked,
                                                        is_vector(entry->role) ? entry->stacked : entry->cols, entry->uses, &entry->spec, error);
        if (status == PV_OK) status = check_stack(entry, error);
        if (status != PV_OK) return status;
        uint64_t aligned;
        if (entry->at > 0) continue; /* it goes where the first expert's is */
        if (!pv_align_u64(entry->spec.bytes, 256, &aligned) || !pv_add_u64(list->bytes, aligned, &list->bytes))
            return pv_fail(error, PV_BAD_FILE, "the weights' sizes overflow");
    }
    list->bytes += 4096 * PV_MAX_ROPES; /* the frequencies of RoPE, at most 512 of each, and room to align */
    return PV_OK;
}

static bool is_kind(const pv_decoder *decoder, const pv_role *role, uint32_t layer)
{
    const pv_layer_kind *kind = pv_decoder_kind(decoder, layer);
    switch (role->layers) {
    case PV_LAYERS_ALL: break;
    case PV_LAYERS_ATTENTION: return !kind->conv;
    case PV_LAYERS_CONV: return kind->conv;
    case PV_LAYERS_DENSE: return !kind->experts;
    case PV_LAYERS_EXPERTS: return kind->experts;
    }
    return true;
}

static bool has_role(const pv_decoder *decoder, const pv_source *source, const pv_role *role, uint32_t layer)
{
    const bool gguf = pv_source_get_kind(source) == PV_SOURCE_GGUF;
    char other[128];
    if ((gguf ? role->gguf : role->huggingface) == NULL || (role->per_layer && !is_kind(decoder, role, layer))) return false;
    if (pv_decoder_size(decoder, role->rows) == 0 || pv_decoder_size(decoder, role->cols) == 0) return false; /* the model has no such part */
    if (!gguf || role->unless == NULL) return true;
    pv_role_name(role->unless, layer, 0, other);
    return pv_source_find(source, other) == NULL;
}

pv_status pv_weights_find(const pv_allocator *allocator, const pv_decoder *decoder, const pv_source *source,
                          const pv_backend_device *device, pv_weight_list *list, pv_error *error)
{
    const pv_architecture *architecture = decoder->architecture;
    size_t roles = 0;
    while (pv_architecture_role(architecture, roles) != NULL) roles++;
    *list = (pv_weight_list){0};
    pv_status status = PV_OK;
    for (size_t i = 0; i < roles && status == PV_OK; i++) {
        const pv_role *role = pv_architecture_role(architecture, i);
        uint32_t times = role->per_layer ? decoder->layers : 1;
        for (uint32_t layer = 0; layer < times && status == PV_OK; layer++) {
            const uint32_t count = has_role(decoder, source, role, layer) ? entries_of(decoder, source, role, layer) : 0;
            for (uint32_t number = 0; number < count && status == PV_OK; number++)
                status = add_weight(allocator, decoder, source, role, layer, number, list, error);
        }
    }
    if (status == PV_OK) status = refuse_strangers(architecture, source, list, error);
    if (status == PV_OK) status = ask_device(decoder, device, list, error);
    if (status != PV_OK) pv_weight_list_free(allocator, list);
    return status;
}

void pv_weight_list_free(const pv_allocator *allocator, pv_weight_list *list)
{
    pv_free(allocator, list->entries);
    *list = (pv_weight_list){0};
}

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
static uint64_t begin_of(const pv_weight_entry *entry, uint64_t first) { return is_vector(entry->role) ? 0 : entry->first + first * entry->step; }
static uint64_t span_of(const pv_weight_entry *entry, uint64_t count)
{
    return is_vector(entry->role) ? entry->source->rows : (count - 1) * entry->step + 1;
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
    if (is_vector(entry->role)) return upload_vector(l, entry, tensor, rows, error);
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
        .rows = is_vector(entry->role) ? 1 : entry->stacked,
        .cols = is_vector(entry->role) ? entry->stacked : entry->cols,
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
