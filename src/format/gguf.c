/* Reading GGUF v2 and v3 (the same where they are little-endian): header, metadata, tensor table. The file is a stranger's: every
 * count, length, offset and product is checked before it is used. Layout: "GGUF", u32 version, u64 tensors, u64 key-values; key-values; tensor infos; padding; data. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "format/source_internal.h"

#define DEFAULT_ALIGNMENT 32
#define HEADER_STEP ((uint64_t)64 << 10) /* bytes read at once when the file is not mapped, doubling */

/* Types by their numbers, as ggml numbers them; numbers that were never used in GGUF v3 have no name. `bytes` of a block of
 * `block` weights. */
static const struct {
    const char *name;
    uint32_t block, bytes;
} ggml_types[] = {
    [0] = {"F32", 1, 4},         [1] = {"F16", 1, 2},         [2] = {"Q4_0", 32, 18},      [3] = {"Q4_1", 32, 20},
    [6] = {"Q5_0", 32, 22},      [7] = {"Q5_1", 32, 24},      [8] = {"Q8_0", 32, 34},      [9] = {"Q8_1", 32, 36},
    [10] = {"Q2_K", 256, 84},    [11] = {"Q3_K", 256, 110},   [12] = {"Q4_K", 256, 144},   [13] = {"Q5_K", 256, 176},
    [14] = {"Q6_K", 256, 210},   [15] = {"Q8_K", 256, 292},   [16] = {"IQ2_XXS", 256, 66}, [17] = {"IQ2_XS", 256, 74},
    [18] = {"IQ3_XXS", 256, 98}, [19] = {"IQ1_S", 256, 50},   [20] = {"IQ4_NL", 32, 18},   [21] = {"IQ3_S", 256, 110},
    [22] = {"IQ2_S", 256, 82},   [23] = {"IQ4_XS", 256, 136}, [24] = {"I8", 1, 1},         [25] = {"I16", 1, 2},
    [26] = {"I32", 1, 4},        [27] = {"I64", 1, 8},        [28] = {"F64", 1, 8},        [29] = {"IQ1_M", 256, 56},
    [30] = {"BF16", 1, 2},       [31] = {"Q4_0_4_4", 32, 18}, [32] = {"Q4_0_4_8", 32, 18}, [33] = {"Q4_0_8_8", 32, 18},
    [34] = {"TQ1_0", 256, 54},   [35] = {"TQ2_0", 256, 66},   [39] = {"MXFP4", 32, 17},    [40] = {"NVFP4", 64, 36},
    [41] = {"Q1_0", 128, 18},
};

typedef struct reader {
    pv_source *source;
    const char *name; /* of the file, for messages */
    uint32_t file;
    const pv_mapping *mapping;
    const uint8_t *bytes; /* of the file from its start, `have` of them: the mapping, or `header` */
    uint64_t have, at;
    uint8_t *header;
    size_t capacity;
    size_t first_meta;    /* of this file, in source->metas */
    pv_map keys;          /* of a further part's metadata; the first file's are in source->meta_map */
} reader;

/* The first file is the model's; the others, if it was split, hold tensors only. */
static bool is_further(const reader *r)
{
    return r->file > 0;
}

/* Makes [at, at + length) of the header readable at r->bytes. When the file is not mapped the bytes move, so what points into
 * them is kept as an offset until the end. */
static pv_status need(reader *r, uint64_t length, const char *what, pv_error *error)
{
    uint64_t end;
    if (!pv_inside(r->at, length, r->mapping->size))
        return pv_fail_at(error, PV_BAD_FILE, r->name, r->at,
                          "%s: offset %" PRIu64 ": found the file's end at %" PRIu64 ", wanted %" PRIu64 " bytes of %s",
                          r->name, r->at, r->mapping->size, length, what);
    end = r->at + length;
    if (end > PV_MAX_GGUF_HEADER)
        return pv_fail_at(error, PV_BAD_FILE, r->name, r->at,
                          "%s: offset %" PRIu64 ": %s ends beyond %u bytes, the limit for all before the tensors' data",
                          r->name, r->at, what, PV_MAX_GGUF_HEADER);
    if (end <= r->have) return PV_OK;
    uint64_t wanted = pv_max_size(end, pv_max_size(HEADER_STEP, 2 * r->have));
    if (wanted > r->mapping->size) wanted = r->mapping->size;
    if (!pv_grow(r->source->allocator, (void **)&r->header, &r->capacity, wanted, 1))
        return pv_fail_memory(error, wanted, "a file's header");
    if (!is_further(r)) r->source->header = r->header; /* which frees it */
    pv_status status = pv_mapping_read(r->mapping, r->have, r->header + r->have, wanted - r->have, error);
    if (status != PV_OK) return status;
    r->bytes = r->header;
    r->have = wanted;
    return PV_OK;
}

static pv_status read_u32(reader *r, uint32_t *value, const char *what, pv_error *error)
{
    pv_status status = need(r, 4, what, error);
    if (status != PV_OK) return status;
    const uint8_t *b = r->bytes + r->at;
    *value = (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    r->at += 4;
    return PV_OK;
}

static pv_status read_u64(reader *r, uint64_t *value, const char *what, pv_error *error)
{
    uint32_t low, high;
    pv_status status = need(r, 8, what, error);
    if (status == PV_OK) status = read_u32(r, &low, what, error);
    if (status == PV_OK) status = read_u32(r, &high, what, error);
    if (status == PV_OK) *value = (uint64_t)high << 32 | low;
    return status;
}

/* Moves past a string; its characters are [*start, *start + *length) of the file. */
static pv_status read_string(reader *r, uint64_t limit, uint64_t *start, uint64_t *length, const char *what, pv_error *error)
{
    uint64_t at = r->at;
    *start = at;
    pv_status status = read_u64(r, length, what, error);
    if (status != PV_OK) return status;
    if (*length > limit)
        return pv_fail_at(error, PV_BAD_FILE, r->name, at,
                          "%s: offset %" PRIu64 ": %s has %" PRIu64 " bytes, the limit is %" PRIu64, r->name, at, what, *length,
                          limit);
    status = need(r, *length, what, error);
    *start = r->at;
    if (status == PV_OK) r->at += *length;
    return status;
}

/* A key or a tensor's name. */
static pv_status read_name(reader *r, uint64_t limit, uint64_t *start, uint64_t *length, const char *what, pv_error *error)
{
    uint64_t at = r->at;
    pv_status status = read_string(r, limit, start, length, what, error);
    if (status != PV_OK) return status;
    if (pv_source_name_is_good((const char *)r->bytes + *start, (size_t)*length, (size_t)limit)) return PV_OK;
    return pv_fail_at(error, PV_BAD_FILE, r->name, at,
                      "%s: offset %" PRIu64 ": found %s, wanted 1 to %" PRIu64 " bytes of UTF-8 without NUL as %s", r->name, at,
                      *length ? "other bytes" : "an empty string", limit, what);
}

static pv_status read_header(reader *r, uint64_t *tensors, uint64_t *metas, pv_error *error)
{
    uint32_t version;
    pv_status status = need(r, 4, "the magic \"GGUF\"", error);
    if (status != PV_OK) return status;
    if (memcmp(r->bytes, "GGUF", 4) != 0)
        return pv_fail_at(error, PV_BAD_FILE, r->name, 0,
                          "%s: starts with bytes %02x %02x %02x %02x, wanted 47 47 55 46 (GGUF)", r->name, r->bytes[0],
                          r->bytes[1], r->bytes[2], r->bytes[3]);
    r->at = 4;
    if ((status = read_u32(r, &version, "the version", error)) != PV_OK) return status;
    if (version != 0 && (version & 0xffff) == 0)
        return pv_fail_at(error, PV_UNSUPPORTED, r->name, 4, "%s: a big-endian GGUF, wanted a little-endian one", r->name);
    if (version != 2 && version != 3)
        return pv_fail_at(error, PV_UNSUPPORTED, r->name, 4, "%s: GGUF version %" PRIu32 ", wanted 2 or 3", r->name, version);
    if ((status = read_u64(r, tensors, "the number of tensors", error)) != PV_OK) return status;
    if (*tensors > PV_MAX_TENSORS_GGUF)
        return pv_fail_at(error, PV_BAD_FILE, r->name, 8, "%s: %" PRIu64 " tensors, the limit is %u", r->name, *tensors,
                          PV_MAX_TENSORS_GGUF);
    if ((status = read_u64(r, metas, "the number of key-values", error)) != PV_OK) return status;
    if (*metas > PV_MAX_META)
        return pv_fail_at(error, PV_BAD_FILE, r->name, 16, "%s: %" PRIu64 " key-values, the limit is %u", r->name, *metas,
                          PV_MAX_META);
    return PV_OK;
}

static pv_status read_meta_type(reader *r, const char *key, pv_meta_type *type, pv_error *error)
{
    uint32_t number;
    pv_status status = read_u32(r, &number, "a metadata type", error);
    if (status != PV_OK) return status;
    if (!pv_meta_type_is_known(number))
        return pv_fail_at(error, PV_BAD_FILE, r->name, r->at - 4,
                          "%s: offset %" PRIu64 ": metadata %s has type %" PRIu32 ", wanted 0 to 12", r->name, r->at - 4, key,
                          number);
    *type = (pv_meta_type)number;
    return PV_OK;
}

/* `count` values of `bytes` each. */
static pv_status read_numbers(reader *r, const char *key, pv_meta_type type, uint64_t count, pv_error *error)
{
    uint64_t bytes;
    if (!pv_mul_u64(count, pv_meta_type_bytes(type), &bytes)) bytes = UINT64_MAX;
    pv_status status = need(r, bytes, key, error);
    if (status != PV_OK) return status;
    for (uint64_t i = 0; type == PV_META_BOOL && i < count; i++) {
        if (r->bytes[r->at + i] > 1)
            return pv_fail_at(error, PV_BAD_FILE, r->name, r->at + i,
                              "%s: offset %" PRIu64 ": metadata %s: found %d as a bool, wanted 0 or 1", r->name, r->at + i, key,
                              r->bytes[r->at + i]);
    }
    r->at += bytes;
    return PV_OK;
}

static pv_status read_array(reader *r, pv_meta *meta, uint64_t *start, pv_error *error)
{
    pv_status status = read_meta_type(r, meta->key, &meta->element, error);
    if (status != PV_OK) return status;
    if (meta->element == PV_META_ARRAY)
        return pv_fail_at(error, PV_UNSUPPORTED, r->name, r->at - 4,
                          "%s: offset %" PRIu64 ": metadata %s is an array of arrays", r->name, r->at - 4, meta->key);
    if ((status = read_u64(r, &meta->count, meta->key, error)) != PV_OK) return status;
    if (meta->count > PV_MAX_ELEMENTS)
        return pv_fail_at(error, PV_BAD_FILE, r->name, r->at - 8,
                          "%s: offset %" PRIu64 ": metadata %s has %" PRIu64 " elements, the limit is %u", r->name, r->at - 8,
                          meta->key, meta->count, PV_MAX_ELEMENTS);
    *start = r->at;
    if (meta->element != PV_META_STRING) return read_numbers(r, meta->key, meta->element, meta->count, error);
    for (uint64_t i = 0; i < meta->count; i++) {
        uint64_t ignored, length;
        status = read_string(r, PV_MAX_STRING, &ignored, &length, meta->key, error);
        if (status != PV_OK) return status;
    }
    return PV_OK;
}

static pv_status read_value(reader *r, pv_meta *meta, uint64_t *start, pv_error *error)
{
    pv_status status = read_meta_type(r, meta->key, &meta->type, error);
    if (status != PV_OK) return status;
    *start = r->at;
    meta->element = meta->type;
    meta->count = 1;
    if (meta->type == PV_META_ARRAY)
        status = read_array(r, meta, start, error);
    else if (meta->type == PV_META_STRING)
        status = read_string(r, PV_MAX_STRING, start, &meta->count, meta->key, error);
    else
        status = read_numbers(r, meta->key, meta->type, 1, error);
    meta->data_bytes = r->at - *start;
    return status;
}

static pv_status read_meta(reader *r, pv_error *error)
{
    pv_source *source = r->source;
    pv_meta meta = {0};
    uint64_t start, length, at = r->at;
    pv_status status = read_name(r, PV_MAX_NAME, &start, &length, "a metadata key", error);
    if (status != PV_OK) return status;
    meta.key = pv_source_keep(source, (const char *)r->bytes + start, (size_t)length);
    int placed = -1;
    if (meta.key &&
        pv_grow(source->allocator, (void **)&source->metas, &source->meta_capacity, source->meta_count + 1, sizeof meta))
        placed = pv_map_add(is_further(r) ? &r->keys : &source->meta_map, meta.key, (size_t)length, (uint32_t)source->meta_count);
    if (placed < 0) return pv_fail_memory(error, sizeof meta + (size_t)length, "metadata");
    if (placed == 0)
        return pv_fail_at(error, PV_BAD_FILE, r->name, at, "%s: offset %" PRIu64 ": two values of metadata %s, wanted one",
                          r->name, at, meta.key);
    if ((status = read_value(r, &meta, &start, error)) != PV_OK) return status;
    meta.data = (const uint8_t *)(uintptr_t)start; /* an offset still */
    source->metas[source->meta_count++] = meta;
    return PV_OK;
}

static pv_status read_metas(reader *r, uint64_t count, pv_error *error)
{
    pv_status status = PV_OK;
    for (uint64_t i = 0; i < count && status == PV_OK; i++) status = read_meta(r, error);
    return status;
}

/* Rows, columns and bytes of a tensor whose dimensions are set. False if a product overflows or cols is no multiple of block.
 */
static bool set_sizes(pv_source_tensor *tensor, uint32_t block, uint32_t block_bytes)
{
    tensor->rows = tensor->cols = 1;
    for (uint32_t i = 0; i + 1 < tensor->dims; i++)
        if (!pv_mul_u64(tensor->rows, tensor->dim[i], &tensor->rows)) return false;
    if (tensor->dims > 0) tensor->cols = tensor->dim[tensor->dims - 1];
    uint64_t weights;
    return tensor->cols % block == 0 && pv_mul_u64(tensor->rows, tensor->cols, &weights) && weights <= INT64_MAX &&
           pv_mul_u64(tensor->cols / block, block_bytes, &tensor->row_bytes) &&
           pv_mul_u64(tensor->rows, tensor->row_bytes, &tensor->bytes);
}

static pv_status read_tensor_type(reader *r, pv_source_tensor *tensor, const char *name, int length, pv_error *error)
{
    uint32_t type;
    pv_status status = read_u32(r, &type, "a tensor's type", error);
    if (status != PV_OK) return status;
    if (type >= sizeof ggml_types / sizeof *ggml_types || !ggml_types[type].name)
        return pv_fail_at(error, PV_UNSUPPORTED, r->name, r->at - 4,
                          "%s: offset %" PRIu64 ": tensor %.*s has type number %" PRIu32 ", which nothing is known about",
                          r->name, r->at - 4, length, name, type);
    tensor->type_name = ggml_types[type].name;
    tensor->layout = pv_layout_find(tensor->type_name);
    if (!set_sizes(tensor, ggml_types[type].block, ggml_types[type].bytes))
        return pv_fail_at(error, PV_BAD_FILE, r->name, r->at - 4,
                          "%s: tensor %.*s: dimensions of %" PRIu64 " x %" PRIu64 " x %" PRIu64 " x %" PRIu64
                          " overflow, or the last is no multiple of %s's block of %" PRIu32,
                          r->name, length, name, tensor->dim[0], tensor->dim[1], tensor->dim[2], tensor->dim[3],
                          tensor->type_name, ggml_types[type].block);
    return PV_OK;
}

/* Offsets are from the start of the data, which is not known yet. */
static pv_status read_tensor(reader *r, uint64_t alignment, pv_error *error)
{
    pv_source_tensor tensor = {.file = r->file};
    uint64_t start, length, at = r->at;
    pv_status status = read_name(r, PV_MAX_TENSOR_NAME_GGUF, &start, &length, "a tensor's name", error);
    if (status != PV_OK) return status;
    char name[PV_MAX_TENSOR_NAME_GGUF + 1] = {0};
    memcpy(name, r->bytes + start, (size_t)length);
    if ((status = read_u32(r, &tensor.dims, "a tensor's dimensions", error)) != PV_OK) return status;
    if (tensor.dims > 4)
        return pv_fail_at(error, PV_BAD_FILE, r->name, r->at - 4,
                          "%s: offset %" PRIu64 ": tensor %s has %" PRIu32 " dimensions, wanted 0 to 4", r->name, r->at - 4,
                          name, tensor.dims);
    for (uint32_t i = tensor.dims; i-- > 0;) /* the fastest varying stands first */
        if ((status = read_u64(r, &tensor.dim[i], "a tensor's dimensions", error)) != PV_OK) return status;
    if ((status = read_tensor_type(r, &tensor, name, (int)length, error)) != PV_OK) return status;
    if ((status = read_u64(r, &tensor.offset, "a tensor's offset", error)) != PV_OK) return status;
    if (tensor.offset & (alignment - 1))
        return pv_fail_at(error, PV_BAD_FILE, r->name, r->at - 8,
                          "%s: offset %" PRIu64 ": tensor %s starts at %" PRIu64 " of the data, wanted a multiple of %" PRIu64,
                          r->name, r->at - 8, name, tensor.offset, alignment);
    return pv_source_add_tensor(r->source, &tensor, name, (size_t)length, at, PV_MAX_TENSORS_GGUF, error);
}

/* Those of this file: from number `first` on. */
static pv_status place_tensors(reader *r, size_t first, uint64_t alignment, pv_error *error)
{
    pv_source *source = r->source;
    uint64_t data;
    if (source->tensor_count == first) return PV_OK;
    if (!pv_align_u64(r->at, alignment, &data)) data = UINT64_MAX;
    for (size_t i = first; i < source->tensor_count; i++) {
        pv_source_tensor *tensor = &source->tensors[i];
        uint64_t start;
        if (!pv_add_u64(data, tensor->offset, &start) || !pv_inside(start, tensor->bytes, r->mapping->size))
            return pv_fail_at(error, PV_BAD_FILE, r->name, data,
                              "%s: tensor %s: %" PRIu64 " bytes at %" PRIu64 " of the data, which starts at offset %" PRIu64
                              ", do not lie in the file's %" PRIu64 " bytes",
                              r->name, tensor->name, tensor->bytes, tensor->offset, data, r->mapping->size);
        tensor->offset = start;
    }
    return pv_source_check_extents(source, r->file, first, false, data, r->mapping->size, error);
}

/* A metadata value of this very file, or NULL. */
static const pv_meta *find_meta(const reader *r, const char *key)
{
    uint32_t index;
    if (!is_further(r)) return pv_source_meta(r->source, key);
    return pv_map_find(&r->keys, key, strlen(key), &index) ? &r->source->metas[index] : NULL;
}

static pv_status fail_meta(const reader *r, const pv_meta *meta, const char *wanted, pv_error *error)
{
    uint64_t at = (uint64_t)(meta->data - r->bytes);
    return pv_fail_at(error, PV_BAD_FILE, r->name, at, "%s: offset %" PRIu64 ": metadata %s: found %g, wanted %s", r->name, at,
                      meta->key, pv_meta_number(meta, 0), wanted);
}

/* An integer, `missing` if it is absent. */
static pv_status read_count(const reader *r, const char *key, uint64_t missing, uint64_t *value, pv_error *error)
{
    const pv_meta *meta = find_meta(r, key);
    bool found;
    *value = missing;
    if (!meta) return PV_OK;
    if (!is_further(r)) return pv_meta_u64(r->source, key, value, &found, error);
    if (pv_meta_type_bytes(meta->type) == 0) return fail_meta(r, meta, "a number", error);
    double number = pv_meta_number(meta, 0);
    if (!(number >= 0 && number <= UINT32_MAX) || number != floor(number)) return fail_meta(r, meta, "a whole number", error);
    *value = (uint64_t)number;
    return PV_OK;
}

static pv_status read_alignment(const reader *r, uint64_t *alignment, pv_error *error)
{
    const pv_meta *meta = find_meta(r, "general.alignment");
    pv_status status = read_count(r, "general.alignment", DEFAULT_ALIGNMENT, alignment, error);
    if (status != PV_OK || !meta) return status;
    if (meta->type == PV_META_U32 && *alignment != 0 && (*alignment & (*alignment - 1)) == 0) return PV_OK;
    return fail_meta(r, meta, "a power of two as u32", error);
}

/* Values were found at addresses from `base` (0: at offsets); lets them point to the same places from r->bytes. */
static void point_metas(reader *r, uintptr_t base)
{
    for (size_t i = r->first_meta; i < r->source->meta_count; i++) {
        pv_meta *meta = &r->source->metas[i];
        meta->data = r->bytes + ((uintptr_t)meta->data - base);
    }
}

/* Of what was read, keeps the metadata only. */
static void keep_header(reader *r, uint64_t kept)
{
    uint8_t *header = pv_resize(r->source->allocator, r->header, kept, 1);
    if (header) r->header = r->source->header = header;
    r->bytes = r->header;
}

/* Metadata and tensors of a file. */
static pv_status read_file(reader *r, pv_error *error)
{
    uint64_t tensors, metas, alignment;
    if (r->mapping->bytes) {
        r->bytes = r->mapping->bytes;
        r->have = r->mapping->size;
    }
    const size_t first_tensor = r->source->tensor_count;
    pv_status status = read_header(r, &tensors, &metas, error);
    if (status == PV_OK) status = read_metas(r, metas, error);
    if (status != PV_OK) return status;
    point_metas(r, 0);
    const uintptr_t base = (uintptr_t)r->bytes;
    const uint64_t metas_end = r->at;
    status = read_alignment(r, &alignment, error);
    for (uint64_t i = 0; i < tensors && status == PV_OK; i++) status = read_tensor(r, alignment, error);
    if (status == PV_OK) status = place_tensors(r, first_tensor, alignment, error);
    if (status != PV_OK) return status;
    if (!r->mapping->bytes) {
        if (!is_further(r)) keep_header(r, metas_end);
        point_metas(r, base);
    }
    return PV_OK;
}

static void open_reader(reader *r, pv_source *source, uint32_t file)
{
    *r = (reader){.source = source, .file = file, .name = source->files[file].name, .mapping = &source->files[file].mapping,
                  .first_meta = source->meta_count};
    pv_map_init(&r->keys, source->allocator);
}

static void close_reader(reader *r)
{
    pv_map_free(&r->keys);
    if (!is_further(r)) return;
    r->source->meta_count = r->first_meta; /* what it says of itself has been looked at */
    pv_free(r->source->allocator, r->header);
}

/* ---- Models split over files: NAME-00001-of-00003.gguf and so on; every part says its number and how many there are ---- */

#define PART_NAME "-%05u-of-%05u.gguf"

/* Part `number`, from 0, of `parts`. */
static pv_status read_part(pv_source *source, uint32_t file, uint64_t number, uint64_t parts, pv_error *error)
{
    reader r;
    uint64_t found = 0, count = 0;
    open_reader(&r, source, file);
    pv_status status = read_file(&r, error);
    if (status == PV_OK) status = read_count(&r, "split.no", UINT64_MAX, &found, error);
    if (status == PV_OK) status = read_count(&r, "split.count", 0, &count, error);
    if (status == PV_OK && (found != number || count != parts))
        status = pv_fail_at(error, PV_BAD_FILE, r.name, PV_NO_OFFSET,
                            "%s: its metadata say split.no %" PRId64 " and split.count %" PRIu64 ", wanted %" PRIu64 " and %" PRIu64, r.name,
                            (int64_t)found, count, number, parts);
    close_reader(&r);
    return status;
}

/* The parts behind the first one, which lie beside it. */
static pv_status read_parts(pv_source *source, const char *first, size_t stem, uint32_t parts, pv_error *error)
{
    pv_status status = PV_OK;
    for (uint32_t number = 1; number < parts && status == PV_OK; number++) {
        char ending[32];
        uint32_t file;
        pv_bytes name;
        snprintf(ending, sizeof ending, PART_NAME, number + 1, parts);
        pv_bytes_init(&name, source->allocator);
        pv_bytes_add(&name, first, stem);
        pv_bytes_add(&name, ending, strlen(ending) + 1);
        if (name.failed) return pv_fail_memory(error, stem, "a part's name");
        status = pv_source_add_file(source, name.data, &file, error);
        if (status == PV_NOT_FOUND)
            pv_fail_at(error, status, name.data, PV_NO_OFFSET, "%s is the first of %u parts, but %s is not beside it", first, parts, name.data);
        pv_bytes_free(&name);
        if (status == PV_OK) status = read_part(source, file, number, parts, error);
    }
    return status;
}

static pv_status follow_split(pv_source *source, pv_error *error)
{
    const char *name = source->files[0].name;
    uint64_t parts = 0, number = 0, total = 0;
    bool found, has_total = false;
    char ending[32];
    pv_status status = pv_meta_u64(source, "split.count", &parts, &found, error);
    if (status == PV_OK && parts > 1) status = pv_meta_u64(source, "split.no", &number, &found, error);
    if (status == PV_OK && parts > 1) status = pv_meta_u64(source, "split.tensors.count", &total, &has_total, error);
    if (status != PV_OK || parts <= 1) return status;
    if (parts > PV_MAX_SHARDS)
        return pv_fail_at(error, PV_BAD_FILE, name, PV_NO_OFFSET, "%s: one of %" PRIu64 " parts (metadata split.count), the limit is %u", name,
                          parts, PV_MAX_SHARDS);
    snprintf(ending, sizeof ending, PART_NAME, 1u, (unsigned)parts);
    const size_t length = strlen(name), tail = strlen(ending);
    if (number != 0 || length <= tail || strcmp(name + length - tail, ending) != 0)
        return pv_fail_at(error, PV_UNSUPPORTED, name, PV_NO_OFFSET,
                          "%s: one of %" PRIu64 " parts (metadata split.count), wanted the first, whose name ends in %s", name, parts, ending);
    status = read_parts(source, name, length - tail, (uint32_t)parts, error);
    if (status == PV_OK && has_total && total != source->tensor_count)
        status = pv_fail_at(error, PV_BAD_FILE, name, PV_NO_OFFSET, "%s: the parts hold %zu tensors, metadata split.tensors.count says %" PRIu64,
                            name, source->tensor_count, total);
    return status;
}

pv_status pv_source_read_gguf(pv_source *source, uint32_t file, pv_error *error)
{
    reader r;
    open_reader(&r, source, file);
    pv_status status = read_file(&r, error);
    close_reader(&r);
    return status == PV_OK ? follow_split(source, error) : status;
}
