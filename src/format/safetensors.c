/* Reading SafeTensors: u64 length, a JSON header of that length, the tensors' data without a hole to the file's end.
 * The rules are the reference reader's, and stricter where two readers could see different tensors: no name twice, only spaces
 * behind the header's object. */
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/json.h"
#include "format/source_internal.h"

#define LENGTH_BYTES 8
#define SINGLE_NAME "model.safetensors"
#define INDEX_NAME "model.safetensors.index.json"

static const struct {
    const char *name;
    uint32_t bits;
} dtypes[] = {
    {"BOOL", 8},        {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},   {"I8", 8},
    {"F8_E5M2", 8},     {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"I16", 16},    {"U16", 16}, {"F8_E4M3FNUZ", 8},
    {"F8_E5M2FNUZ", 8}, {"F16", 16},    {"BF16", 16},   {"I32", 32},    {"U32", 32}, {"F32", 32},
    {"C64", 64},        {"F64", 64},    {"I64", 64},    {"U64", 64},
};

/* What Pensieve's own files say in __metadata__: this tensor's bytes are rows of blocks of a layout; and if its columns stand in an order of
 * their own, which tensor, I32 [cols], tells it. */
#define LAYOUT_KEY "pensieve.layout."
#define ORDER_KEY "pensieve.order."
typedef struct blocks {
    const char *tensor;
    pv_layout layout;
    uint64_t at;
} blocks;

typedef struct ordered {
    const char *tensor, *order;
    uint64_t at;
} ordered;

typedef struct header {
    pv_source *source;
    pv_json json;
    const char *file_name;
    uint32_t file;
    uint64_t data, size; /* where the tensors' data start, and the file's end */
    pv_map keys;         /* of __metadata__ */
    bool has_metadata;
    blocks *blocks;
    size_t block_count, block_capacity;
    ordered *orders;
    size_t ordered_count, ordered_capacity;
} header;

/* One tensor's object, as far as it was read. */
typedef struct entry {
    const char *name;
    size_t name_length;
    uint64_t at;
    bool has_dtype, has_shape, has_offsets;
    size_t dtype;
    pv_source_tensor tensor;
    uint64_t elements, start, end;
} entry;

static pv_status fail_entry(const header *h, const entry *e, const char *what, pv_error *error)
{
    return pv_fail_at(error, PV_BAD_FILE, h->file_name, e->at, "%s: offset %" PRIu64 ": tensor %s: %s", h->file_name, e->at,
                      e->name, what);
}

static pv_status read_unsigned(header *h, uint64_t *value, pv_error *error)
{
    int64_t number = 0;
    pv_status status = pv_json_expect(&h->json, PV_JSON_NUMBER, error);
    if (status == PV_OK) status = pv_json_int(&h->json, &number, error);
    if (status == PV_OK && number < 0)
        status = pv_fail_at(error, PV_BAD_FILE, h->file_name, h->json.start,
                            "%s: offset %zu: found %" PRId64 ", wanted at least 0", h->file_name, h->json.start, number);
    *value = (uint64_t)number;
    return status;
}

static pv_status read_dtype(header *h, entry *e, pv_error *error)
{
    pv_status status = pv_json_expect(&h->json, PV_JSON_STRING, error);
    if (status != PV_OK) return status;
    for (e->dtype = 0; e->dtype < sizeof dtypes / sizeof *dtypes; e->dtype++)
        if (pv_json_is(&h->json, dtypes[e->dtype].name)) return PV_OK;
    int shown = (int)pv_min_size(h->json.string_length, 32);
    return pv_fail_at(error, PV_UNSUPPORTED, h->file_name, h->json.start,
                      "%s: offset %zu: tensor %s has dtype %.*s, which nothing is known about", h->file_name, h->json.start,
                      e->name, shown, h->json.string);
}

/* Ranks above 4 are kept as 4: the slowest dimensions become one. */
static pv_status read_shape(header *h, entry *e, pv_error *error)
{
    pv_source_tensor *tensor = &e->tensor;
    pv_status status = pv_json_expect(&h->json, PV_JSON_ARRAY, error);
    e->elements = 1;
    while (status == PV_OK) {
        uint64_t size;
        int64_t number = 0;
        if ((status = pv_json_next(&h->json, error)) != PV_OK || h->json.type == PV_JSON_ARRAY_END) break;
        if ((status = pv_json_int(&h->json, &number, error)) != PV_OK) break;
        size = (uint64_t)number;
        if (number < 0 || !pv_mul_u64(e->elements, size, &e->elements) || e->elements > INT64_MAX)
            return fail_entry(h, e, number < 0 ? "a dimension is negative" : "the product of its dimensions overflows", error);
        if (tensor->dims == 4) {
            if (!pv_mul_u64(tensor->dim[0], tensor->dim[1], &tensor->dim[0]))
                return fail_entry(h, e, "the product of its dimensions overflows", error);
            memmove(tensor->dim + 1, tensor->dim + 2, 2 * sizeof *tensor->dim);
            tensor->dim[3] = size;
        } else {
            tensor->dim[tensor->dims++] = size;
        }
    }
    return status;
}

static pv_status read_offsets(header *h, entry *e, pv_error *error)
{
    pv_status status = pv_json_expect(&h->json, PV_JSON_ARRAY, error);
    if (status == PV_OK) status = read_unsigned(h, &e->start, error);
    if (status == PV_OK) status = read_unsigned(h, &e->end, error);
    if (status == PV_OK) status = pv_json_expect(&h->json, PV_JSON_ARRAY_END, error);
    return status;
}

/* Members may come in any order; those that are not known are passed over. */
static pv_status read_members(header *h, entry *e, pv_error *error)
{
    const struct {
        const char *key;
        bool *seen;
        pv_status (*read)(header *h, entry *e, pv_error *error);
    } members[] = {{"dtype", &e->has_dtype, read_dtype},
                   {"shape", &e->has_shape, read_shape},
                   {"data_offsets", &e->has_offsets, read_offsets}};
    pv_status status = pv_json_expect(&h->json, PV_JSON_OBJECT, error);
    while (status == PV_OK) {
        size_t i = 0;
        if ((status = pv_json_next(&h->json, error)) != PV_OK || h->json.type == PV_JSON_OBJECT_END) break;
        while (i < 3 && !pv_json_is(&h->json, members[i].key)) i++;
        if (i == 3) {
            status = pv_json_skip(&h->json, error);
            continue;
        }
        if (*members[i].seen) return fail_entry(h, e, "dtype, shape or data_offsets stands twice", error);
        *members[i].seen = true;
        status = members[i].read(h, e, error);
    }
    return status;
}

/* The extent that dtype and shape ask for must be the one stated, and inside the file. */
static pv_status place_tensor(header *h, entry *e, pv_error *error)
{
    pv_source_tensor *tensor = &e->tensor;
    uint64_t bits;
    if (!e->has_dtype || !e->has_shape || !e->has_offsets)
        return fail_entry(h, e, "dtype, shape or data_offsets is missing", error);
    if (!pv_mul_u64(e->elements, dtypes[e->dtype].bits, &bits) || bits % 8 != 0)
        return fail_entry(h, e, "its size overflows or is no whole number of bytes", error);
    tensor->bytes = bits / 8;
    if (e->start > e->end || e->end - e->start != tensor->bytes || !pv_inside(e->start, tensor->bytes, h->size - h->data))
        return pv_fail_at(error, PV_BAD_FILE, h->file_name, e->at,
                          "%s: offset %" PRIu64 ": tensor %s: data_offsets %" PRIu64 " to %" PRIu64 ", wanted %" PRIu64
                          " bytes inside the %" PRIu64 " bytes of data",
                          h->file_name, e->at, e->name, e->start, e->end, tensor->bytes, h->size - h->data);
    tensor->offset = h->data + e->start;
    tensor->cols = tensor->dims > 0 ? tensor->dim[tensor->dims - 1] : 1;
    tensor->rows = 1;
    for (uint32_t i = 0; i + 1 < tensor->dims; i++)
        if (!pv_mul_u64(tensor->rows, tensor->dim[i], &tensor->rows))
            return fail_entry(h, e, "the product of its dimensions overflows", error);
    /* Rows of odd widths of 4 or 6 bits do not start at bytes: such a tensor is read whole or not at all. */
    uint64_t row_bits;
    if (pv_mul_u64(tensor->cols, dtypes[e->dtype].bits, &row_bits) && row_bits % 8 == 0) tensor->row_bytes = row_bits / 8;
    tensor->type_name = dtypes[e->dtype].name;
    tensor->layout = pv_layout_find(tensor->type_name);
    tensor->file = h->file;
    return pv_source_add_tensor(h->source, tensor, e->name, e->name_length, e->at, PV_MAX_TENSORS_SAFETENSORS, error);
}

/* The reader stands at the layout's name. */
static pv_status read_layout(header *h, const char *tensor, pv_error *error)
{
    pv_layout layout = PV_LAYOUT_BF16 + 1;
    while (layout < PV_LAYOUT_COUNT && !pv_json_is(&h->json, pv_layout_get(layout)->name)) layout++;
    if (layout == PV_LAYOUT_COUNT)
        return pv_fail_at(error, PV_UNSUPPORTED, h->file_name, h->json.start, "%s: offset %zu: tensor %s has the layout %.*s, which is not supported",
                          h->file_name, h->json.start, tensor, (int)pv_min_size(h->json.string_length, 32), h->json.string);
    if (!pv_grow(h->source->allocator, (void **)&h->blocks, &h->block_capacity, h->block_count + 1, sizeof *h->blocks))
        return pv_fail_memory(error, sizeof *h->blocks, "the layouts of tensors");
    h->blocks[h->block_count++] = (blocks){tensor, layout, h->json.start};
    return PV_OK;
}

static pv_status read_order(header *h, const char *tensor, pv_error *error)
{
    const char *order = pv_source_keep(h->source, h->json.string, h->json.string_length);
    if (!order || !pv_grow(h->source->allocator, (void **)&h->orders, &h->ordered_capacity, h->ordered_count + 1, sizeof *h->orders))
        return pv_fail_memory(error, sizeof *h->orders, "the orders of columns");
    h->orders[h->ordered_count++] = (ordered){tensor, order, h->json.start};
    return PV_OK;
}

/* Strings only, no key twice. What they say is not kept, but for layouts. */
static pv_status read_metadata(header *h, pv_error *error)
{
    if (h->has_metadata)
        return pv_fail_at(error, PV_BAD_FILE, h->file_name, h->json.start,
                          "%s: offset %zu: two values of __metadata__, wanted one", h->file_name, h->json.start);
    h->has_metadata = true;
    pv_status status = pv_json_expect(&h->json, PV_JSON_OBJECT, error);
    while (status == PV_OK) {
        if ((status = pv_json_next(&h->json, error)) != PV_OK || h->json.type == PV_JSON_OBJECT_END) break;
        size_t at = h->json.start, length = h->json.string_length;
        const char *key = pv_source_keep(h->source, h->json.string, length);
        int placed = key ? pv_map_add(&h->keys, key, length, 0) : -1;
        if (placed < 0) return pv_fail_memory(error, length, "metadata");
        if (placed == 0)
            return pv_fail_at(error, PV_BAD_FILE, h->file_name, at,
                              "%s: offset %zu: two values of %s in __metadata__, wanted one", h->file_name, at, key);
        status = pv_json_expect(&h->json, PV_JSON_STRING, error);
        if (status == PV_OK && strncmp(key, LAYOUT_KEY, strlen(LAYOUT_KEY)) == 0) status = read_layout(h, key + strlen(LAYOUT_KEY), error);
        if (status == PV_OK && strncmp(key, ORDER_KEY, strlen(ORDER_KEY)) == 0) status = read_order(h, key + strlen(ORDER_KEY), error);
    }
    return status;
}

static pv_source_tensor *find_own(header *h, const char *name, size_t first)
{
    uint32_t index;
    return pv_map_find(&h->source->tensor_map, name, strlen(name), &index) && index >= first ? &h->source->tensors[index] : NULL;
}

/* Its bytes become rows of blocks; they stay where they are. */
static pv_status set_layout(header *h, const blocks *b, size_t first, pv_error *error)
{
    const pv_layout_info *info = pv_layout_get(b->layout);
    pv_source_tensor *tensor = find_own(h, b->tensor, first);
    uint64_t cols;
    if (!tensor || strcmp(tensor->type_name, "U8") != 0 || tensor->dims < 2 || tensor->row_bytes % info->block_bytes != 0 ||
        !pv_mul_u64(tensor->row_bytes / info->block_bytes, info->block, &cols))
        return pv_fail_at(error, PV_BAD_FILE, h->file_name, b->at,
                          "%s: offset %" PRIu64 ": the layout %s is that of tensor %s, wanted one of U8 in rows of whole blocks of %" PRIu32 " bytes",
                          h->file_name, b->at, info->name, b->tensor, info->block_bytes);
    tensor->layout = b->layout;
    tensor->type_name = info->name;
    tensor->cols = tensor->dim[tensor->dims - 1] = cols;
    return PV_OK;
}

/* True if every number below `count` is there once. */
static bool is_permutation(const uint32_t *order, uint64_t count, bool *met)
{
    for (uint64_t i = 0; i < count; i++) {
        if (order[i] >= count || met[order[i]]) return false;
        met[order[i]] = true;
    }
    return true;
}

/* The tensor that tells an order is no tensor of the model. */
static pv_status set_order(header *h, const ordered *o, size_t first, bool *left_out, pv_error *error)
{
    pv_source *source = h->source;
    pv_source_tensor *tensor = find_own(h, o->tensor, first), *told = find_own(h, o->order, first);
    bool good = tensor && told && tensor->layout > PV_LAYOUT_BF16 && tensor->layout < PV_LAYOUT_COUNT && !tensor->order &&
                strcmp(told->type_name, "I32") == 0 && told->rows == 1 && told->cols == tensor->cols && told->cols <= UINT32_MAX;
    if (good) {
        uint32_t *order = pv_source_new_order(source, told->cols);
        bool *met = pv_calloc(source->allocator, told->cols + 1, sizeof *met);
        pv_status status = order && met ? pv_source_read_rows(source, told, 0, 1, order, error) : pv_fail_memory(error, told->cols * 5, "an order of columns");
        good = status == PV_OK && is_permutation(order, told->cols, met);
        pv_free(source->allocator, met);
        if (status != PV_OK) return status;
        tensor->order = order;
        left_out[told - source->tensors] = true;
    }
    if (good) return PV_OK;
    return pv_fail_at(error, PV_BAD_FILE, h->file_name, o->at,
                      "%s: offset %" PRIu64 ": %s is to be the order of the columns of %s, wanted I32 with each of its columns once",
                      h->file_name, o->at, o->order, o->tensor);
}

static pv_status set_orders(header *h, size_t first, pv_error *error)
{
    if (h->ordered_count == 0) return PV_OK;
    bool *left_out = pv_calloc(h->source->allocator, h->source->tensor_count + 1, sizeof *left_out);
    pv_status status = left_out ? PV_OK : pv_fail_memory(error, h->source->tensor_count, "the list of tensors");
    for (size_t i = 0; i < h->ordered_count && status == PV_OK; i++) status = set_order(h, &h->orders[i], first, left_out, error);
    if (status == PV_OK) status = pv_source_leave_out(h->source, left_out, error);
    pv_free(h->source->allocator, left_out);
    return status;
}

/* A key of the header and its value. */
static pv_status read_entry(header *h, pv_error *error)
{
    pv_json *json = &h->json;
    entry e = {.at = json->start, .name_length = json->string_length};
    if (pv_json_is(json, "__metadata__")) return read_metadata(h, error);
    if (!pv_source_name_is_good(json->string, json->string_length, PV_MAX_NAME))
        return pv_fail_at(error, PV_BAD_FILE, h->file_name, e.at,
                          "%s: offset %" PRIu64 ": a tensor's name is empty, longer than %u bytes or holds NUL", h->file_name,
                          e.at, PV_MAX_NAME);
    char *name = pv_copy_string(h->source->allocator, json->string, json->string_length);
    if (!name) return pv_fail_memory(error, json->string_length + 1, "a tensor's name");
    e.name = name;
    pv_status status = read_members(h, &e, error);
    if (status == PV_OK) status = place_tensor(h, &e, error);
    pv_free(h->source->allocator, name);
    return status;
}

static pv_status read_entries(header *h, pv_error *error)
{
    pv_json *json = &h->json;
    pv_status status = pv_json_expect(json, PV_JSON_OBJECT, error);
    while (status == PV_OK) {
        if ((status = pv_json_next(json, error)) != PV_OK || json->type == PV_JSON_OBJECT_END) break;
        status = read_entry(h, error);
    }
    if (status != PV_OK) return status;
    for (size_t at = json->at; at < json->length; at++)
        if (json->text[at] != ' ')
            return pv_fail_at(error, PV_BAD_FILE, h->file_name, at,
                              "%s: offset %zu: found byte 0x%02x behind the header's object, wanted spaces", h->file_name, at,
                              (uint8_t)json->text[at]);
    return PV_OK;
}

/* The length before the header, checked against the file. */
static pv_status read_length(const char *name, const pv_mapping *mapping, uint64_t *length, pv_error *error)
{
    uint8_t bytes[LENGTH_BYTES];
    if (mapping->size < LENGTH_BYTES)
        return pv_fail_at(error, PV_BAD_FILE, name, 0, "%s has %" PRIu64 " bytes, wanted at least 8", name, mapping->size);
    pv_status status = pv_mapping_read(mapping, 0, bytes, sizeof bytes, error);
    if (status != PV_OK) return status;
    *length = 0;
    for (int i = 0; i < LENGTH_BYTES; i++) *length |= (uint64_t)bytes[i] << 8 * i;
    if (*length > PV_MAX_SAFETENSORS_HEADER || !pv_inside(LENGTH_BYTES, *length, mapping->size))
        return pv_fail_at(error, PV_BAD_FILE, name, 0,
                          "%s: a header of %" PRIu64 " bytes, wanted at most %u and less than the file's %" PRIu64, name,
                          *length, PV_MAX_SAFETENSORS_HEADER, mapping->size);
    return PV_OK;
}

pv_status pv_source_read_safetensors(pv_source *source, uint32_t file, pv_error *error)
{
    const pv_mapping *mapping = &source->files[file].mapping;
    header h = {.source = source, .file = file, .file_name = source->files[file].name, .size = mapping->size};
    size_t first = source->tensor_count;
    uint64_t length = 0;
    char *copy = NULL;
    const char *text = (const char *)mapping->bytes;
    pv_map_init(&h.keys, source->allocator);
    pv_json_init(&h.json, source->allocator, text, 0, h.file_name);
    pv_status status = read_length(h.file_name, mapping, &length, error);
    if (status != PV_OK) return status;
    h.data = LENGTH_BYTES + length;
    if (!text) {
        copy = pv_alloc(source->allocator, (size_t)h.data, 1);
        if (!copy) return pv_fail_memory(error, (size_t)h.data, "a file's header");
        if ((status = pv_mapping_read(mapping, 0, copy, (size_t)h.data, error)) != PV_OK) goto done;
        text = copy;
    }
    if (length == 0 || text[LENGTH_BYTES] != '{') {
        status = pv_fail_at(error, PV_BAD_FILE, h.file_name, LENGTH_BYTES, "%s: offset 8: the header does not start with {",
                            h.file_name);
        goto done;
    }
    /* The reader gets the file from its start, so that its offsets are the file's, and starts at the header. */
    pv_json_init(&h.json, source->allocator, text, (size_t)h.data, h.file_name);
    h.json.at = LENGTH_BYTES;
    status = read_entries(&h, error);
    for (size_t i = 0; i < h.block_count && status == PV_OK; i++) status = set_layout(&h, &h.blocks[i], first, error);
    if (status == PV_OK) status = pv_source_check_extents(source, file, first, true, h.data, h.size, error);
    if (status == PV_OK) status = set_orders(&h, first, error);
done:
    pv_json_free(&h.json);
    pv_map_free(&h.keys);
    pv_free(source->allocator, h.blocks);
    pv_free(source->allocator, h.orders);
    pv_free(source->allocator, copy);
    return status;
}

/* ---- Folders ---- */

/* One line of the index's weight_map: which shard holds a tensor. */
typedef struct placement {
    const char *tensor;
    uint32_t file;
} placement;

typedef struct index_reader {
    pv_source *source;
    pv_json json;
    pv_map files, tensors;
    placement *placements;
    size_t count, capacity;
} index_reader;

static pv_status open_shard(pv_source *source, const char *name, uint32_t *file, pv_error *error)
{
    if (source->file_count == PV_MAX_SHARDS)
        return pv_fail_at(error, PV_BAD_FILE, INDEX_NAME, PV_NO_OFFSET, "%s names more than %u files", INDEX_NAME,
                          PV_MAX_SHARDS);
    pv_status status = pv_source_add_file(source, name, file, error);
    if (status == PV_NOT_FOUND)
        pv_fail_at(error, status, name, PV_NO_OFFSET, "%s%s names the shard %s, which is missing", source->folder, INDEX_NAME,
                   name);
    if (status == PV_OK) status = pv_source_read_safetensors(source, *file, error);
    return status;
}

/* The current string is a shard's file name: opens it when it is met first. */
static pv_status find_shard(index_reader *r, uint32_t *file, pv_error *error)
{
    const pv_json *json = &r->json;
    if (pv_map_find(&r->files, json->string, json->string_length, file)) return PV_OK;
    if (!pv_source_file_name_is_plain(json->string, json->string_length))
        return pv_fail_at(error, PV_BAD_FILE, INDEX_NAME, json->start,
                          "%s: offset %zu: found %.*s, wanted the plain name of a file in the same folder", INDEX_NAME,
                          json->start, (int)pv_min_size(json->string_length, 200), json->string);
    const char *name = pv_source_keep(r->source, json->string, json->string_length);
    if (!name) return pv_fail_memory(error, json->string_length + 1, "a shard's name");
    pv_status status = open_shard(r->source, name, file, error);
    if (status != PV_OK) return status;
    if (pv_map_add(&r->files, name, json->string_length, *file) < 0)
        return pv_fail_memory(error, sizeof *file, "the list of shards");
    return PV_OK;
}

static pv_status read_placement(index_reader *r, pv_error *error)
{
    pv_json *json = &r->json;
    size_t at = json->start, length = json->string_length;
    placement added = {.tensor = pv_source_keep(r->source, json->string, length)};
    int placed = -1;
    if (added.tensor && pv_grow(r->source->allocator, (void **)&r->placements, &r->capacity, r->count + 1, sizeof added))
        placed = pv_map_add(&r->tensors, added.tensor, length, (uint32_t)r->count);
    if (placed < 0) return pv_fail_memory(error, sizeof added + length, "the index of shards");
    if (placed == 0)
        return pv_fail_at(error, PV_BAD_FILE, INDEX_NAME, at, "%s: offset %zu: two places of tensor %s, wanted one", INDEX_NAME,
                          at, added.tensor);
    pv_status status = pv_json_expect(json, PV_JSON_STRING, error);
    if (status == PV_OK) status = find_shard(r, &added.file, error);
    if (status == PV_OK) r->placements[r->count++] = added;
    return status;
}

static pv_status read_weight_map(index_reader *r, pv_error *error)
{
    pv_status status = pv_json_expect(&r->json, PV_JSON_OBJECT, error);
    while (status == PV_OK) {
        if ((status = pv_json_next(&r->json, error)) != PV_OK || r->json.type == PV_JSON_OBJECT_END) break;
        status = read_placement(r, error);
    }
    return status;
}

static pv_status read_index(index_reader *r, pv_error *error)
{
    bool found = false;
    pv_status status = pv_json_expect(&r->json, PV_JSON_OBJECT, error);
    while (status == PV_OK) {
        if ((status = pv_json_next(&r->json, error)) != PV_OK || r->json.type == PV_JSON_OBJECT_END) break;
        if (!pv_json_is(&r->json, "weight_map")) {
            status = pv_json_skip(&r->json, error);
            continue;
        }
        if (found)
            return pv_fail_at(error, PV_BAD_FILE, INDEX_NAME, r->json.start,
                              "%s: offset %zu: two values of weight_map, wanted one", INDEX_NAME, r->json.start);
        found = true;
        status = read_weight_map(r, error);
    }
    if (status == PV_OK) status = pv_json_expect(&r->json, PV_JSON_END, error);
    if (status == PV_OK && r->count == 0)
        status = pv_fail_at(error, PV_BAD_FILE, INDEX_NAME, PV_NO_OFFSET, "%s: found no weight_map with tensors, wanted one",
                            INDEX_NAME);
    return status;
}

/* Every tensor that the index names is in the shard that it names. */
static pv_status check_placements(const index_reader *r, pv_error *error)
{
    for (size_t i = 0; i < r->count; i++) {
        const placement *wanted = &r->placements[i];
        const pv_source_tensor *tensor = pv_source_find(r->source, wanted->tensor);
        const char *file = r->source->files[wanted->file].name;
        if (tensor && tensor->file == wanted->file) continue;
        return pv_fail_at(error, PV_BAD_FILE, INDEX_NAME, PV_NO_OFFSET, "%s names tensor %s in %s, but it is in %s", INDEX_NAME,
                          wanted->tensor, file, tensor ? r->source->files[tensor->file].name : "no shard");
    }
    return PV_OK;
}

static pv_status read_shards(pv_source *source, const char *text, size_t length, pv_error *error)
{
    index_reader r = {.source = source};
    pv_json_init(&r.json, source->allocator, text, length, INDEX_NAME);
    pv_map_init(&r.files, source->allocator);
    pv_map_init(&r.tensors, source->allocator);
    pv_status status = read_index(&r, error);
    if (status == PV_OK) status = check_placements(&r, error);
    pv_free(source->allocator, r.placements);
    pv_map_free(&r.files);
    pv_map_free(&r.tensors);
    pv_json_free(&r.json);
    return status;
}

pv_status pv_source_read_folder(pv_source *source, pv_error *error)
{
    uint32_t file;
    const char *index = NULL;
    size_t length = 0;
    source->kind = PV_SOURCE_SAFETENSORS;
    pv_error missing;
    pv_status status = pv_source_add_file(source, SINGLE_NAME, &file, &missing);
    if (status == PV_OK) return pv_source_read_safetensors(source, file, error);
    if (status != PV_NOT_FOUND) {
        if (error) *error = missing;
        return status;
    }
    status = pv_source_text(source, INDEX_NAME, &index, &length, error);
    if (status != PV_OK) return status;
    if (!index)
        return pv_fail_at(error, PV_NOT_FOUND, source->path, PV_NO_OFFSET, "%s holds neither %s nor %s (a GGUF file is given by its own name)", source->path,
                          SINGLE_NAME, INDEX_NAME);
    return read_shards(source, index, length, error);
}
