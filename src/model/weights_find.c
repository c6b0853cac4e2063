#include "model/weights.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "model/mlx_names.h"
#include "model/weights_find.h"

/* The rows and columns that the entry's tensor has in the file: of a fused tensor the whole; [in, out] where it stands so. A vector has one row,
 * those of experts one for each. GPT-2's c_attn.weight, of which q, k and v are parts, is [width, 3 × width]; a fused q, k and v of Phi [3 × width,
 * width]; gpt-oss' gate_up_proj, of which gate is every second column, [experts × width, 2 × feed-forward width]. */
static void file_shape(const pv_decoder *decoder, const pv_weight_entry *entry, uint32_t *rows, uint32_t *cols)
{
    const pv_role *role = entry->role;
    const uint32_t whole = pv_decoder_size(decoder, role->whole);
    if (role->heads) {
        *rows = decoder->heads * whole, *cols = pv_decoder_size(decoder, role->turned ? role->rows : role->cols);
    } else if (pv_role_is_vector(role)) {
        *rows = role->experts ? decoder->experts : pv_decoder_size(decoder, role->rows);
        *cols = (whole != 0 ? whole : entry->cols) * entry->step;
    } else {
        const uint32_t apart = (whole != 0 ? whole : entry->rows) * entry->step;
        const uint32_t together = role->experts && entry->rows == entry->stacked && entry->at == 0 ? decoder->experts : 1;
        *rows = entry->transposed ? entry->cols * together : apart;
        *cols = entry->transposed ? apart / together : entry->cols;
    }
}

static pv_status check_shape(const pv_decoder *decoder, const pv_weight_entry *entry, pv_error *error)
{
    const pv_role *role = entry->role;
    const pv_source_tensor *tensor = entry->source;
    uint32_t rows, cols;
    file_shape(decoder, entry, &rows, &cols);
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
    if (pv_role_is_vector(role) && tensor->layout > PV_LAYOUT_BF16)
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
    const uint32_t stacked = (pv_role_is_vector(role) ? rows * cols : rows) * (role->experts ? decoder->experts : role->heads ? decoder->heads : 1);
    const uint64_t head = role->heads ? (uint64_t)number * pv_decoder_size(decoder, role->whole) : 0;
    const pv_weight_entry entry = {
        .role = role, .layer = layer, .source = tensor, .rows = pv_role_is_vector(role) ? 1 : role->experts && !apart ? stacked : rows, .cols = cols,
        .first = interleaved ? role->interleaved - 1u : head + pv_decoder_size(decoder, role->first), .at = number * rows,
        .stacked = stacked, .uses = role->uses, .step = interleaved ? 2 : 1,
        .layout = layout_for(role, tensor),
        .transposed = role->turned || /* and where the file has [in, out]; quantized ones are [out, in]: groups run along sums */
                      (!gguf && !mlx && role->uses == PV_USE_MATRIX && tensor->layout <= PV_LAYOUT_BF16 &&
                       (role->experts ? decoder->architecture->experts_transposed : decoder->architecture->transposed && role->per_layer)),
        .less_one = !gguf && decoder->architecture->norm_less_one && pv_role_is_vector(role) && strstr(role->huggingface, "norm") != NULL,
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
    if ((entry->role->experts || entry->role->heads) && !pv_role_is_vector(entry->role) && entry->at % tile != 0)
        return pv_fail_at(error, PV_UNSUPPORTED, entry->source->name, entry->source->offset, "tensor %s has %u rows, a multiple of %u is wanted of %s",
                          entry->source->name, entry->rows, entry->spec.row_tile, entry->role->heads ? "each head's part" : "an expert");
    if (first->source->layout == entry->source->layout) return PV_OK;
    return pv_fail_at(error, PV_UNSUPPORTED, entry->source->name, entry->source->offset, "tensor %s has the layout %s, that of the first expert has %s",
                      entry->source->name, entry->source->type_name, first->source->type_name);
}

/* ---- Columns in an order of their own ---- */

/* Where the order of a matrix goes; SIZE_MAX: its activations come in no other. */
size_t pv_role_order(const pv_role *role)
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
    if (pv_role_order(entry->role) == SIZE_MAX || decoder->latent > 0)
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

static pv_status ask_device(const pv_decoder *decoder, const pv_backend_device *device, pv_weight_list *list, pv_error *error)
{
    for (size_t i = 0; i < list->count; i++) {
        pv_weight_entry *entry = &list->entries[i];
        if (list->tied && entry->role->member == offsetof(pv_weights, embed) && !entry->role->per_layer) entry->uses |= PV_USE_MATRIX;
        pv_status status = set_order(decoder, list, entry, error);
        if (status != PV_OK) return status;
        status = device->backend->weight_spec(device, entry->layout, pv_role_is_vector(entry->role) ? 1 : entry->stacked,
                                                        pv_role_is_vector(entry->role) ? entry->stacked : entry->cols, entry->uses, &entry->spec, error);
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
