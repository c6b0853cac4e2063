#include "format/source.h"

#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "format/parts.h"
#include "format/source_internal.h"

#define KEPT_BLOCK ((size_t)32 << 10)

struct pv_kept_block {
    struct pv_kept_block *next;
    size_t used, size;
    char bytes[];
};

char *pv_source_keep(pv_source *source, const char *text, size_t length)
{
    struct pv_kept_block *block = source->kept;
    if (length > PV_MAX_STRING) return NULL;
    if (!block || block->size - block->used < length + 1) {
        size_t size = pv_max_size(KEPT_BLOCK, length + 1);
        block = pv_alloc(source->allocator, 1, sizeof *block + size);
        if (!block) return NULL;
        block->used = 0;
        block->size = size;
        block->next = source->kept;
        source->kept = block;
    }
    char *copy = block->bytes + block->used;
    if (length) memcpy(copy, text, length);
    copy[length] = '\0';
    block->used += length + 1;
    return copy;
}

bool pv_source_name_is_good(const char *name, size_t length, size_t limit)
{
    if (length == 0 || length > limit) return false;
    for (size_t at = 0; at < length;) {
        uint32_t code_point;
        size_t bytes = pv_utf8_decode(name + at, length - at, &code_point);
        if (bytes == 0 || code_point == 0) return false;
        at += bytes;
    }
    return true;
}

bool pv_source_file_name_is_plain(const char *name, size_t length)
{
    if (!pv_source_name_is_good(name, length, 255)) return false;
    if (memchr(name, '/', length) || memchr(name, '\\', length) || memchr(name, ':', length)) return false;
    return !(length == 1 && name[0] == '.') && !(length == 2 && name[0] == '.' && name[1] == '.');
}

/* FOLDER/name in fresh memory. */
static char *join_path(const pv_source *source, const char *name)
{
    pv_bytes path;
    pv_bytes_init(&path, source->allocator);
    pv_bytes_add(&path, source->folder, strlen(source->folder));
    pv_bytes_add(&path, name, strlen(name));
    if (!path.failed) return path.data;
    pv_bytes_free(&path);
    return NULL;
}

pv_status pv_source_add_file(pv_source *source, const char *name, uint32_t *file, pv_error *error)
{
    pv_status status;
    pv_source_file added;
    char *path = join_path(source, name);
    added.name = pv_source_keep(source, name, strlen(name));
    if (!path || !added.name ||
        !pv_grow(source->allocator, (void **)&source->files, &source->file_capacity, source->file_count + 1,
                 sizeof *source->files)) {
        status = pv_fail_memory(error, strlen(name) + sizeof *source->files, "a file's name");
        goto done;
    }
    status = pv_mapping_open(path, source->load == PV_LOAD_MAP, &added.mapping, error);
    if (status != PV_OK) goto done;
    *file = (uint32_t)source->file_count;
    source->files[source->file_count++] = added;
done:
    pv_free(source->allocator, path);
    return status;
}

pv_status pv_source_add_tensor(pv_source *source, const pv_source_tensor *tensor, const char *name, size_t length, uint64_t at,
                               size_t limit, pv_error *error)
{
    const char *file = source->files[tensor->file].name;
    if (source->tensor_count >= limit)
        return pv_fail_at(error, PV_BAD_FILE, file, at, "%s: more than %zu tensors", file, limit);
    pv_source_tensor added = *tensor;
    added.name = pv_source_keep(source, name, length);
    int placed = -1;
    if (added.name &&
        pv_grow(source->allocator, (void **)&source->tensors, &source->tensor_capacity, source->tensor_count + 1, sizeof added))
        placed = pv_map_add(&source->tensor_map, added.name, length, (uint32_t)source->tensor_count);
    if (placed < 0) return pv_fail_memory(error, sizeof added + length, "the list of tensors");
    if (placed == 0)
        return pv_fail_at(error, PV_BAD_FILE, file, at, "%s: offset %llu: two tensors named %s, wanted one", file,
                          (unsigned long long)at, added.name);
    source->tensors[source->tensor_count++] = added;
    return PV_OK;
}

uint32_t *pv_source_new_order(pv_source *source, uint64_t cols)
{
    if (!pv_grow(source->allocator, (void **)&source->orders, &source->order_capacity, source->order_count + 1, sizeof *source->orders)) return NULL;
    uint32_t *order = pv_alloc(source->allocator, cols, sizeof *order);
    if (order) source->orders[source->order_count++] = order;
    return order;
}

pv_status pv_source_leave_out(pv_source *source, const bool *left_out, pv_error *error)
{
    size_t kept = 0;
    for (size_t i = 0; i < source->tensor_count; i++)
        if (!left_out[i]) source->tensors[kept++] = source->tensors[i];
    source->tensor_count = kept;
    pv_map_free(&source->tensor_map);
    pv_map_init(&source->tensor_map, source->allocator);
    for (size_t i = 0; i < kept; i++) {
        const char *name = source->tensors[i].name;
        if (pv_map_add(&source->tensor_map, name, strlen(name), (uint32_t)i) < 0) return pv_fail_memory(error, kept * 8, "the list of tensors");
    }
    return PV_OK;
}

/* ---- Extents: sorted with a heap, whose worst case is its best ---- */

typedef struct extent {
    uint64_t start, end;
    size_t tensor;
} extent;

/* Empty tensors stand before the one that starts at the same byte; else the file's order decides. */
static bool extent_before(const extent *a, const extent *b)
{
    if (a->start != b->start) return a->start < b->start;
    return a->end != b->end ? a->end < b->end : a->tensor < b->tensor;
}

static void sift_down(extent *heap, size_t root, size_t count)
{
    for (size_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && extent_before(&heap[child], &heap[child + 1])) child++;
        if (!extent_before(&heap[root], &heap[child])) return;
        extent moved = heap[root];
        heap[root] = heap[child];
        heap[child] = moved;
    }
}

static void sort_extents(extent *extents, size_t count)
{
    for (size_t root = count / 2; root-- > 0;) sift_down(extents, root, count);
    while (count > 1) {
        extent moved = extents[0];
        extents[0] = extents[--count];
        extents[count] = moved;
        sift_down(extents, 0, count);
    }
}

static pv_status check_neighbours(const pv_source *source, const char *file, const extent *extents, size_t count,
                                  bool contiguous, uint64_t start, uint64_t end, pv_error *error)
{
    uint64_t reached = start;
    const char *before = "the header";
    for (size_t i = 0; i < count; i++) {
        const char *name = source->tensors[extents[i].tensor].name;
        if (extents[i].start < reached && extents[i].end > extents[i].start)
            return pv_fail_at(error, PV_BAD_FILE, file, extents[i].start,
                              "%s: tensor %s starts at offset %llu, inside %s, which ends at %llu", file, name,
                              (unsigned long long)extents[i].start, before, (unsigned long long)reached);
        if (contiguous && extents[i].start != reached)
            return pv_fail_at(error, PV_BAD_FILE, file, extents[i].start,
                              "%s: tensor %s starts at offset %llu, wanted %llu, where %s ends", file, name,
                              (unsigned long long)extents[i].start, (unsigned long long)reached, before);
        if (extents[i].end <= reached) continue;
        reached = extents[i].end;
        before = name;
    }
    if (contiguous && reached != end)
        return pv_fail_at(error, PV_BAD_FILE, file, reached, "%s: %s ends at offset %llu, wanted the file's end at %llu", file,
                          before, (unsigned long long)reached, (unsigned long long)end);
    return PV_OK;
}

pv_status pv_source_check_extents(const pv_source *source, uint32_t file, size_t first, bool contiguous, uint64_t start,
                                  uint64_t end, pv_error *error)
{
    const char *name = source->files[file].name;
    size_t count = source->tensor_count - first;
    extent *extents = NULL;
    if (count > 0) {
        extents = pv_alloc(source->allocator, count, sizeof *extents);
        if (!extents) return pv_fail_memory(error, count * sizeof *extents, "the order of tensors");
    }
    bool sorted = true;
    for (size_t i = 0; i < count; i++) {
        const pv_source_tensor *tensor = &source->tensors[first + i];
        extents[i] = (extent){tensor->offset, tensor->offset + tensor->bytes, first + i};
        sorted = sorted && (i == 0 || extent_before(&extents[i - 1], &extents[i]));
    }
    if (!sorted) sort_extents(extents, count);
    pv_status status = check_neighbours(source, name, extents, count, contiguous, start, end, error);
    pv_free(source->allocator, extents);
    return status;
}

/* ---- Opening ---- */

static pv_status read_one_file(pv_source *source, const char *name, pv_error *error)
{
    uint32_t file;
    char magic[9] = {0};
    pv_status status = pv_source_add_file(source, name, &file, error);
    if (status != PV_OK) return status;
    const pv_mapping *mapping = &source->files[file].mapping;
    size_t length = strlen(name), looked = mapping->size < sizeof magic ? (size_t)mapping->size : sizeof magic;
    status = pv_mapping_read(mapping, 0, magic, looked, error);
    if (status != PV_OK) return status;
    bool says_gguf = length >= 5 && strcmp(name + length - 5, ".gguf") == 0;
    bool says_safetensors = length >= 12 && strcmp(name + length - 12, ".safetensors") == 0;
    if (memcmp(magic, "GGUF", 4) == 0 || says_gguf) {
        source->kind = PV_SOURCE_GGUF;
        return pv_source_read_gguf(source, file, error);
    }
    if (magic[8] == '{' || says_safetensors) {
        source->kind = PV_SOURCE_SAFETENSORS;
        return pv_source_read_safetensors(source, file, error);
    }
    return pv_fail_at(error, PV_BAD_FILE, name, 0,
                      "%s starts with bytes %02x %02x %02x %02x: neither GGUF (47 47 55 46) nor SafeTensors", name,
                      (uint8_t)magic[0], (uint8_t)magic[1], (uint8_t)magic[2], (uint8_t)magic[3]);
}

/* Splits `path` into folder and file name (NULL if it is a folder). */
static bool split_path(pv_source *source, const char *path, const char **name)
{
    size_t length = strlen(path);
    source->path = pv_source_keep(source, path, length);
    *name = NULL;
    if (pv_path_kind(path) == 2) {
        bool closed = length > 0 && path[length - 1] == '/';
        char *folder = pv_source_keep(source, path, length + !closed); /* the NUL becomes the '/' */
        source->folder = folder;
        if (folder && !closed) folder[length] = '/';
    } else {
        const char *slash = strrchr(path, '/');
        size_t folder = slash ? (size_t)(slash - path) + 1 : 0;
        source->folder = pv_source_keep(source, path, folder);
        *name = path + folder;
    }
    return source->path && source->folder;
}

pv_status pv_source_open(const pv_allocator *allocator, const char *path, pv_load load, pv_source **source, pv_error *error)
{
    const char *name;
    pv_source *opened = pv_calloc(allocator, 1, sizeof *opened);
    if (!opened) return pv_fail_memory(error, sizeof *opened, "a model source");
    opened->allocator = allocator;
    opened->load = load;
    pv_map_init(&opened->tensor_map, allocator);
    pv_map_init(&opened->meta_map, allocator);
    pv_status status;
    if (!split_path(opened, path, &name))
        status = pv_fail_memory(error, strlen(path) + 1, "a path");
    else if (name)
        status = read_one_file(opened, name, error);
    else
        status = pv_source_read_folder(opened, error);
    if (status == PV_OK && opened->kind == PV_SOURCE_SAFETENSORS) status = pv_source_join_parts(opened, error);
    if (status != PV_OK)
        pv_source_close(opened);
    else
        *source = opened;
    return status;
}

void pv_source_keep_mapped(pv_source *source)
{
    source->keep_mapped = true;
}

void pv_source_close(pv_source *source)
{
    if (!source) return;
    const pv_allocator *allocator = source->allocator;
    for (size_t i = 0; i < source->file_count; i++) {
        if (source->keep_mapped) source->files[i].mapping.bytes = NULL;
        pv_mapping_close(&source->files[i].mapping);
    }
    for (size_t i = 0; i < source->text_count; i++) pv_free(allocator, source->texts[i].text);
    pv_free(allocator, source->files);
    pv_free(allocator, source->texts);
    pv_free(allocator, source->tensors);
    for (size_t i = 0; i < source->order_count; i++) pv_free(allocator, source->orders[i]);
    pv_free(allocator, source->orders);
    pv_free(allocator, source->parts);
    pv_free(allocator, source->metas);
    pv_free(allocator, source->header);
    pv_map_free(&source->tensor_map);
    pv_map_free(&source->meta_map);
    while (source->kept) {
        struct pv_kept_block *next = source->kept->next;
        pv_free(allocator, source->kept);
        source->kept = next;
    }
    pv_free(allocator, source);
}

/* ---- Looking ---- */

const pv_allocator *pv_source_allocator(const pv_source *source)
{
    return source->allocator;
}

pv_source_kind pv_source_get_kind(const pv_source *source)
{
    return source->kind;
}

const char *pv_source_path(const pv_source *source)
{
    return source->path;
}

uint32_t pv_source_file_count(const pv_source *source)
{
    return (uint32_t)source->file_count;
}

const char *pv_source_file_name(const pv_source *source, uint32_t file)
{
    return source->files[file].name;
}

const pv_mapping *pv_source_mapping(const pv_source *source, uint32_t file)
{
    return &source->files[file].mapping;
}

size_t pv_source_tensor_count(const pv_source *source)
{
    return source->tensor_count;
}

const pv_source_tensor *pv_source_tensor_at(const pv_source *source, size_t index)
{
    return &source->tensors[index];
}

const pv_source_tensor *pv_source_find(const pv_source *source, const char *name)
{
    uint32_t index;
    return pv_map_find(&source->tensor_map, name, strlen(name), &index) ? &source->tensors[index] : NULL;
}

pv_status pv_source_read_rows(const pv_source *source, const pv_source_tensor *tensor, uint64_t first, uint64_t count,
                              void *out, pv_error *error)
{
    const char *file = source->files[tensor->file].name;
    uint64_t start, bytes;
    bool whole_rows = tensor->row_bytes > 0 || tensor->bytes == 0;
    if (!whole_rows || !pv_inside(first, count, tensor->rows) || !pv_mul_u64(first, tensor->row_bytes, &start) ||
        !pv_mul_u64(count, tensor->row_bytes, &bytes) || !pv_inside(start, bytes, tensor->bytes) || bytes > PTRDIFF_MAX)
        return pv_fail_at(error, PV_INVALID_ARGUMENT, tensor->name, tensor->offset,
                          "%s: tensor %s has %llu rows of %llu bytes, wanted %llu rows from %llu", file, tensor->name,
                          (unsigned long long)tensor->rows, (unsigned long long)tensor->row_bytes, (unsigned long long)count,
                          (unsigned long long)first);
    pv_error detail;
    pv_status status;
    if (tensor->parts)
        status = pv_parts_read_rows(source, tensor, first, count, out, &detail);
    else
        status = pv_mapping_read(&source->files[tensor->file].mapping, tensor->offset + start, out, (size_t)bytes, &detail);
    if (status == PV_OK) return PV_OK;
    pv_fail_at(error, status, file, detail.offset, "%s: tensor %s: %s", file, tensor->name, detail.message);
    if (error) error->backend_code = detail.backend_code;
    return status;
}

pv_status pv_source_check_unchanged(const pv_source *source, pv_error *error)
{
    for (size_t i = 0; i < source->file_count; i++) {
        pv_status status = pv_mapping_check(&source->files[i].mapping, source->files[i].name, error);
        if (status != PV_OK) return status;
    }
    return PV_OK;
}

const uint8_t *pv_source_tensor_data(const pv_source *source, const pv_source_tensor *tensor)
{
    const uint8_t *bytes = source->files[tensor->file].mapping.bytes;
    return bytes && !tensor->parts ? bytes + tensor->offset : NULL;
}

static void drop(const pv_source *source, const pv_source_tensor *part, uint64_t first, uint64_t count)
{
    pv_mapping_drop(&source->files[part->file].mapping, part->offset + first * part->row_bytes, count * part->row_bytes);
}

void pv_source_drop_rows(const pv_source *source, const pv_source_tensor *tensor, uint64_t first, uint64_t count)
{
    const pv_source_parts *parts = tensor->parts;
    if (!parts)
        drop(source, tensor, first, count);
    else if (parts->codes.rows == tensor->rows) /* scales are small; where codes stand by columns all rows touch all pages */
        drop(source, &parts->codes, first, count);
}

pv_status pv_source_text(pv_source *source, const char *name, const char **text, size_t *length, pv_error *error)
{
    for (size_t i = 0; i < source->text_count; i++) {
        if (strcmp(source->texts[i].name, name) != 0) continue;
        *text = source->texts[i].text;
        *length = source->texts[i].length;
        return PV_OK;
    }
    if (!pv_source_file_name_is_plain(name, strlen(name)))
        return pv_fail_at(error, PV_INVALID_ARGUMENT, name, PV_NO_OFFSET, "%s is no name of a file beside the tensors", name);
    pv_source_text_file added = {.name = pv_source_keep(source, name, strlen(name))};
    char *path = join_path(source, name);
    pv_status status;
    if (!added.name || !path ||
        !pv_grow(source->allocator, (void **)&source->texts, &source->text_capacity, source->text_count + 1, sizeof added))
        status = pv_fail_memory(error, sizeof added + strlen(name), "a file's name");
    else if (pv_path_kind(path) == 0) /* absent: remembered as NULL */
        status = PV_OK;
    else
        status = pv_read_file(source->allocator, path, PV_MAX_TEXT, &added.text, &added.length, error);
    pv_free(source->allocator, path);
    if (status != PV_OK) return status;
    source->texts[source->text_count++] = added;
    *text = added.text;
    *length = added.length;
    return PV_OK;
}
