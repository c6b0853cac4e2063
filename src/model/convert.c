/* Conversion: a folder of SafeTensors becomes one that is quantized as MLX does it, or the same in a file whose tensors are aligned. What is
 * quantized stands there in rows of blocks (format/layout.h), as devices take them that read weights from the file's own pages; the
 * metadata say of which layout. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/json.h"
#include "base/text.h"
#include "format/write.h"
#include "runtime/runtime.h"

#define CONFIG_NAME "config.json"
#define PIECE_BYTES (4u << 20) /* of rows at a time */

/* A tensor of the file that is written: one of the source as it is, or a part of what it becomes. */
typedef enum part { PART_ALL, PART_CODES, PART_SCALES, PART_BIASES, PART_ORDER, PARTS } part;

typedef struct output {
    const pv_source_tensor *tensor;
    part part;
    size_t order;
    uint64_t bytes;
} output;

typedef struct conversion {
    const pv_allocator *allocator;
    const pv_convert_options *options;
    const char *folder; /* that is written */
    pv_source *source;
    pv_model_writer *writer;
    output *outputs; /* in the order of the file */
    size_t count;
    size_t *places;  /* [tensors of the source][PARTS]: numbers of their outputs */
    uint64_t done, total;
    uint8_t *rows, *block_row; /* rows of the source; one row of blocks */
    uint8_t *parts[PARTS];     /* the same rows, quantized and taken apart */
    float *values;             /* one row */
    uint64_t widest, longest;  /* bytes and columns of a row, at most */
} conversion;

/* ---- What becomes of a tensor ---- */

/* True if it is so in the source. */
static bool has_blocks(const pv_source_tensor *tensor)
{
    return tensor->layout > PV_LAYOUT_BF16 && tensor->layout < PV_LAYOUT_COUNT;
}

/* Linear layers and embeddings: matrices called weight. MLX takes for quantized what has scales, so the others may stay as they are. */
static bool is_quantized(const conversion *c, const pv_source_tensor *tensor)
{
    const size_t length = strlen(tensor->name), end = strlen(".weight");
    return c->options->bits > 0 && tensor->dims == 2 && tensor->layout <= PV_LAYOUT_BF16 && tensor->rows > 0 && tensor->cols > 0 &&
           tensor->cols % c->options->group == 0 && length > end && strcmp(tensor->name + length - end, ".weight") == 0;
}

static pv_layout layout_of(const conversion *c, const pv_source_tensor *tensor)
{
    return pv_layout_of_affine((pv_affine){c->options->bits, c->options->group, tensor->layout});
}

static uint32_t factor_bytes(const pv_source_tensor *tensor)
{
    return pv_layout_get(tensor->layout)->block_bytes;
}

/* Words or factors in a row of a part. */
static uint64_t part_cols(const conversion *c, const pv_source_tensor *tensor, part which)
{
    return which == PART_CODES ? tensor->cols * c->options->bits / 32 : tensor->cols / c->options->group;
}

static uint64_t part_row_bytes(const conversion *c, const pv_source_tensor *tensor, part which)
{
    if (which == PART_ALL) return tensor->row_bytes;
    return part_cols(c, tensor, which) * (which == PART_CODES ? 4 : factor_bytes(tensor));
}

static void add_output(conversion *c, size_t index, part which)
{
    const pv_source_tensor *tensor = pv_source_tensor_at(c->source, index);
    output *o = &c->outputs[c->count++];
    *o = (output){.tensor = tensor, .part = which, .order = index * PARTS + which};
    o->bytes = which == PART_ALL ? tensor->bytes : which == PART_ORDER ? 4 * tensor->cols : tensor->rows * part_row_bytes(c, tensor, which);
    c->total += o->bytes;
}

/* The largest power of two that divides it, 64 at most. */
static uint64_t alignment_of(uint64_t bytes)
{
    return bytes % 64 == 0 ? 64 : bytes & (~bytes + 1);
}

/* What is a multiple of more goes first: tensors follow each other without a hole, and so every one is aligned to its own elements. */
static int by_alignment(const void *one, const void *two)
{
    const output *a = one, *b = two;
    const uint64_t left = alignment_of(a->bytes), right = alignment_of(b->bytes);
    if (left != right) return left > right ? -1 : 1;
    return a->order < b->order ? -1 : 1;
}

static pv_status list_outputs(conversion *c, pv_error *error)
{
    const size_t count = pv_source_tensor_count(c->source), most = PARTS * count + 1;
    c->outputs = pv_alloc(c->allocator, most, sizeof *c->outputs);
    c->places = pv_alloc(c->allocator, most, sizeof *c->places);
    if (c->outputs == NULL || c->places == NULL) return pv_fail_memory(error, most * sizeof *c->outputs, "the list of tensors");
    for (size_t i = 0; i < count; i++) {
        const pv_source_tensor *tensor = pv_source_tensor_at(c->source, i);
        if (has_blocks(tensor) && c->options->bits > 0)
            return pv_fail_at(error, PV_UNSUPPORTED, tensor->name, tensor->offset,
                              "tensor %s is quantized already (%s); a model in F32, F16 or BF16 is wanted", tensor->name, tensor->type_name);
        if (tensor->row_bytes > c->widest) c->widest = tensor->row_bytes;
        if (tensor->cols > c->longest) c->longest = tensor->cols;
        if (is_quantized(c, tensor))
            for (part p = PART_CODES; p <= PART_BIASES; p++) add_output(c, i, p);
        else
            add_output(c, i, PART_ALL);
        if (tensor->order != NULL) add_output(c, i, PART_ORDER);
    }
    qsort(c->outputs, c->count, sizeof *c->outputs, by_alignment);
    for (size_t i = 0; i < c->count; i++) c->places[c->outputs[i].order] = i;
    return PV_OK;
}

/* ---- Declaring ---- */

/* Rows of blocks are bytes to other readers. */
static pv_status declare_blocks(conversion *c, const pv_source_tensor *tensor, pv_error *error)
{
    uint64_t dim[4];
    memcpy(dim, tensor->dim, sizeof dim);
    dim[tensor->dims - 1] = tensor->row_bytes;
    pv_bytes key;
    pv_bytes_init(&key, c->allocator);
    pv_bytes_format(&key, "pensieve.layout.%s", tensor->name);
    pv_status status = key.failed ? pv_fail_memory(error, key.length, "a tensor's name")
                                  : pv_model_writer_string(c->writer, key.data, pv_layout_get(tensor->layout)->name, error);
    if (status == PV_OK) status = pv_model_writer_declare_raw(c->writer, tensor->name, "U8", 1, tensor->dims, dim, error);
    pv_bytes_free(&key);
    return status;
}

static pv_status declare_order(conversion *c, const pv_source_tensor *tensor, pv_error *error)
{
    pv_bytes key, name;
    pv_bytes_init(&key, c->allocator);
    pv_bytes_init(&name, c->allocator);
    pv_bytes_format(&key, "pensieve.order.%s", tensor->name);
    pv_bytes_format(&name, "%s.order", tensor->name);
    pv_status status = key.failed || name.failed ? pv_fail_memory(error, key.length, "a tensor's name")
                                                 : pv_model_writer_string(c->writer, key.data, name.data, error);
    if (status == PV_OK) status = pv_model_writer_declare_raw(c->writer, name.data, "I32", 4, 1, &tensor->cols, error);
    pv_bytes_free(&key);
    pv_bytes_free(&name);
    return status;
}

static pv_status declare_all_of(conversion *c, const pv_source_tensor *tensor, pv_error *error)
{
    uint64_t cells;
    if (has_blocks(tensor)) return declare_blocks(c, tensor, error);
    if (!pv_mul_u64(tensor->rows, tensor->cols, &cells) || (cells > 0 && tensor->bytes % cells != 0))
        return pv_fail_at(error, PV_UNSUPPORTED, tensor->name, tensor->offset, "tensor %s has elements of less than a byte (%s)", tensor->name,
                          tensor->type_name);
    const uint32_t element = cells > 0 ? (uint32_t)(tensor->bytes / cells) : 1;
    return pv_model_writer_declare_raw(c->writer, tensor->name, tensor->type_name, element, tensor->dims, tensor->dim, error);
}

static pv_status declare_part(conversion *c, const output *o, pv_error *error)
{
    static const char *const suffixes[] = {[PART_SCALES] = "scales", [PART_BIASES] = "biases"};
    const pv_source_tensor *tensor = o->tensor;
    if (o->part == PART_ALL) return declare_all_of(c, tensor, error);
    if (o->part == PART_ORDER) return declare_order(c, tensor, error);
    const uint64_t dim[] = {tensor->rows, part_cols(c, tensor, o->part)};
    if (o->part == PART_CODES) return pv_model_writer_declare_raw(c->writer, tensor->name, "U32", 4, 2, dim, error);
    pv_bytes name;
    pv_bytes_init(&name, c->allocator);
    pv_bytes_add(&name, tensor->name, strlen(tensor->name) - strlen("weight"));
    pv_bytes_add(&name, suffixes[o->part], strlen(suffixes[o->part]));
    pv_status status = name.failed ? pv_fail_memory(error, name.length, "a tensor's name")
                                   : pv_model_writer_declare_raw(c->writer, name.data, tensor->type_name, factor_bytes(tensor), 2, dim, error);
    pv_bytes_free(&name);
    return status;
}

/* ---- Writing ---- */

/* Takes a row of blocks apart, into row `row` of the parts. */
static void take_apart(conversion *c, const pv_source_tensor *tensor, uint64_t row)
{
    const pv_layout_info *info = pv_layout_get(layout_of(c, tensor));
    const size_t factor = factor_bytes(tensor), codes = info->block_bytes - 2 * factor;
    const size_t bytes[] = {[PART_CODES] = codes, [PART_SCALES] = factor, [PART_BIASES] = factor};
    const size_t from[] = {[PART_CODES] = 2 * factor, [PART_SCALES] = 0, [PART_BIASES] = factor};
    for (part p = PART_CODES; p <= PART_BIASES; p++) {
        uint8_t *to = c->parts[p] + row * part_row_bytes(c, tensor, p);
        for (uint64_t block = 0; block < tensor->cols / info->block; block++)
            memcpy(to + block * bytes[p], c->block_row + block * info->block_bytes + from[p], bytes[p]);
    }
}

/* Of rows [first, first + count), which were read. */
static pv_status quantize_rows(conversion *c, const pv_source_tensor *tensor, uint64_t first, uint64_t count, pv_error *error)
{
    for (uint64_t row = 0; row < count; row++) {
        const uint8_t *from = c->rows + row * tensor->row_bytes;
        if (!pv_layout_row_is_finite(tensor->layout, from, tensor->cols))
            return pv_fail_at(error, PV_BAD_FILE, tensor->name, tensor->offset + (first + row) * tensor->row_bytes,
                              "tensor %s holds NaN or infinity in row %llu, finite weights are wanted", tensor->name,
                              (unsigned long long)(first + row));
        pv_layout_decode(tensor->layout, from, tensor->cols, c->values);
        pv_layout_encode(layout_of(c, tensor), c->values, tensor->cols, c->block_row);
        take_apart(c, tensor, row);
    }
    return PV_OK;
}

/* A row is read and quantized once; its parts go to their places in the file. */
static pv_status write_rows(conversion *c, size_t index, uint64_t first, uint64_t count, pv_error *error)
{
    const pv_source_tensor *tensor = pv_source_tensor_at(c->source, index);
    const bool quantized = is_quantized(c, tensor);
    pv_status status = pv_source_read_rows(c->source, tensor, first, count, c->rows, error);
    if (status == PV_OK && quantized) status = quantize_rows(c, tensor, first, count, error);
    for (part p = quantized ? PART_CODES : PART_ALL; p <= (quantized ? PART_BIASES : PART_ALL) && status == PV_OK; p++) {
        const uint64_t row_bytes = part_row_bytes(c, tensor, p);
        status = pv_model_writer_data_at(c->writer, c->places[index * PARTS + p], first * row_bytes, p == PART_ALL ? c->rows : c->parts[p],
                                         (size_t)(count * row_bytes), error);
        c->done += count * row_bytes;
    }
    return status;
}

static pv_status write_tensor(conversion *c, size_t index, pv_error *error)
{
    const pv_source_tensor *tensor = pv_source_tensor_at(c->source, index);
    if (tensor->order != NULL) {
        const pv_status status = pv_model_writer_data_at(c->writer, c->places[index * PARTS + PART_ORDER], 0, tensor->order, (size_t)(4 * tensor->cols), error);
        if (status != PV_OK) return status;
        c->done += 4 * tensor->cols;
    }
    const uint64_t step = tensor->row_bytes > 0 && tensor->row_bytes < PIECE_BYTES ? PIECE_BYTES / tensor->row_bytes : 1;
    for (uint64_t first = 0; first < tensor->rows && tensor->bytes > 0; first += step) {
        const uint64_t count = tensor->rows - first < step ? tensor->rows - first : step;
        const pv_status status = write_rows(c, index, first, count, error);
        if (status != PV_OK) return status;
        pv_source_drop_rows(c->source, tensor, first, count);
        if (c->options->progress != NULL && !c->options->progress(c->options->progress_user, c->done, c->total))
            return pv_fail(error, PV_CANCELLED, "the conversion was cancelled");
    }
    return PV_OK;
}

/* Room for a piece of rows and what becomes of it. */
static pv_status make_room(conversion *c, pv_error *error)
{
    const uint64_t staging = c->widest > PIECE_BYTES ? c->widest : PIECE_BYTES;
    bool made = (c->rows = pv_alloc(c->allocator, (size_t)staging, 1)) != NULL;
    /* codes of 8 bits take no more than the 16 of a weight, factors of 32 bits for 32 weights no more than an eighth of theirs */
    for (part p = PART_CODES; p <= PART_BIASES && c->options->bits > 0 && made; p++)
        made = (c->parts[p] = pv_alloc(c->allocator, (size_t)(p == PART_CODES ? staging : staging / 8), 1)) != NULL;
    /* blocks of 8 bits with factors of 32 bits take less than twice the bytes of f32 rows */
    made = made && (c->block_row = pv_alloc(c->allocator, (size_t)c->longest + 1, 8)) != NULL;
    made = made && (c->values = pv_alloc(c->allocator, (size_t)c->longest + 1, sizeof *c->values)) != NULL;
    return made ? PV_OK : pv_fail_memory(error, (size_t)staging, "rows of weights");
}

static pv_status declare_outputs(conversion *c, pv_error *error)
{
    bool blocks = false;
    for (size_t i = 0; i < c->count; i++) blocks = blocks || (c->outputs[i].part == PART_ALL && has_blocks(c->outputs[i].tensor));
    pv_model_writer_align(c->writer);
    pv_status status = pv_model_writer_string(c->writer, "format", c->options->bits > 0 ? "mlx" : blocks ? "pensieve" : "pt", error);
    for (size_t i = 0; i < c->count && status == PV_OK; i++)
        status = declare_part(c, &c->outputs[i], error);
    return status;
}

static pv_status write_tensors(conversion *c, const char *path, pv_error *error)
{
    pv_status status = make_room(c, error);
    if (status == PV_OK) status = pv_model_writer_open(c->allocator, PV_SOURCE_SAFETENSORS, path, &c->writer, error);
    if (status != PV_OK) return status;
    status = declare_outputs(c, error);
    for (size_t i = 0; i < pv_source_tensor_count(c->source) && status == PV_OK; i++) status = write_tensor(c, i, error);
    if (status == PV_OK) status = pv_model_writer_commit(c->writer, error);
    pv_model_writer_close(c->writer);
    return status;
}

/* ---- Files beside the tensors ---- */

static pv_status write_file(const conversion *c, const char *name, const char *text, size_t length, pv_error *error)
{
    pv_bytes path;
    pv_writer writer;
    pv_bytes_init(&path, c->allocator);
    pv_bytes_format(&path, "%s/%s", c->folder, name);
    pv_status status = path.failed ? pv_fail_memory(error, strlen(c->folder), name) : pv_writer_open(c->allocator, path.data, &writer, error);
    if (status == PV_OK) {
        status = pv_writer_write(&writer, text, length, error);
        if (status == PV_OK)
            status = pv_writer_commit(&writer, error);
        else
            pv_writer_discard(&writer);
    }
    pv_bytes_free(&path);
    return status;
}

/* Where the object of config.json ends, and whether it holds anything. Refuses one that tells of quantization. */
static pv_status find_end(const conversion *c, const char *text, size_t length, size_t *end, bool *holds, pv_error *error)
{
    pv_json json;
    pv_json_init(&json, c->allocator, text, length, CONFIG_NAME);
    pv_status status = pv_json_expect(&json, PV_JSON_OBJECT, error);
    *holds = false;
    while (status == PV_OK && (status = pv_json_next(&json, error)) == PV_OK && json.type != PV_JSON_OBJECT_END) {
        *holds = true;
        if (pv_json_is(&json, "quantization") || pv_json_is(&json, "quantization_config"))
            status = pv_fail_at(error, PV_UNSUPPORTED, CONFIG_NAME, json.start, CONFIG_NAME " tells of quantization; a dense model is wanted");
        else if (pv_json_is(&json, "model_type") && (status = pv_json_next(&json, error)) == PV_OK && json.type == PV_JSON_STRING && pv_json_is(&json, "gpt2"))
            status = pv_fail_at(error, PV_UNSUPPORTED, CONFIG_NAME, json.start, "gpt2 stores its weights as [in, out], which cannot be quantized in groups of a row");
        else if (status == PV_OK)
            status = pv_json_skip(&json, error);
    }
    *end = json.start;
    pv_json_free(&json);
    return status;
}

static pv_status write_config(const conversion *c, const char *text, size_t length, pv_error *error)
{
    size_t end = 0;
    bool holds = false;
    if (text == NULL)
        return pv_fail_at(error, PV_NOT_FOUND, CONFIG_NAME, PV_NO_OFFSET, "%s has no " CONFIG_NAME ", which tells readers how weights are quantized",
                          pv_source_path(c->source));
    pv_status status = find_end(c, text, length, &end, &holds, error);
    if (status != PV_OK) return status;
    pv_bytes config;
    pv_bytes_init(&config, c->allocator);
    while (end > 0 && strchr(" \t\r\n", text[end - 1]) != NULL) end--;
    pv_bytes_add(&config, text, end);
    for (int i = 0; i < 2; i++)
        pv_bytes_format(&config, "%s\n  \"%s\": {\"group_size\": %u, \"bits\": %u, \"mode\": \"affine\"}", holds || i > 0 ? "," : "",
                        i == 0 ? "quantization" : "quantization_config", c->options->group, c->options->bits);
    pv_bytes_format(&config, "\n}\n");
    status = config.failed ? pv_fail_memory(error, config.length, CONFIG_NAME) : write_file(c, CONFIG_NAME, config.data, config.length, error);
    pv_bytes_free(&config);
    return status;
}

static pv_status write_files(const conversion *c, pv_error *error)
{
    static const char *const names[] = {
        "generation_config.json", "tokenizer.json",      "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
        "merges.txt",             "tokenizer.model",     "chat_template.jinja",   "chat_template.json",      "LICENSE",           CONFIG_NAME};
    pv_status status = PV_OK;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && status == PV_OK; i++) {
        const char *text = NULL;
        size_t length = 0;
        status = pv_source_text(c->source, names[i], &text, &length, error);
        if (status != PV_OK) return status;
        if (strcmp(names[i], CONFIG_NAME) == 0 && c->options->bits > 0)
            status = write_config(c, text, length, error);
        else if (text != NULL)
            status = write_file(c, names[i], text, length, error);
    }
    return status;
}

/* ---- All ---- */

static bool is_same_folder(const char *one, const char *two)
{
    struct stat a, b;
    return stat(one, &a) == 0 && stat(two, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* The folder that the source's files stand in. */
static bool would_overwrite(const conversion *c, const char *path)
{
    pv_bytes folder;
    const char *slash = strrchr(path, '/');
    pv_bytes_init(&folder, c->allocator);
    pv_bytes_add(&folder, slash != NULL ? path : ".", slash != NULL ? (size_t)(slash - path) + 1 : 1);
    const bool same = is_same_folder(path, c->folder) || folder.failed || is_same_folder(folder.data, c->folder);
    pv_bytes_free(&folder);
    return same;
}

static pv_status make_folder(const conversion *c, const char *path, pv_error *error)
{
    bool there;
    pv_status status = pv_make_folder(c->folder, &there, error);
    if (status != PV_OK) return status;
    if (there && would_overwrite(c, path))
        return pv_fail_at(error, PV_INVALID_ARGUMENT, c->folder, PV_NO_OFFSET, "%s is where the model stands; another folder is wanted", c->folder);
    return PV_OK;
}

/* Weights of an earlier model beside the new one's configuration would look like a whole model, should the rest fail or be killed. */
static pv_status remove_earlier(const char *file, pv_error *error)
{
    if (unlink(file) == 0 || errno == ENOENT) return PV_OK;
    return pv_fail_at(error, PV_IO, file, PV_NO_OFFSET, "%s: the earlier model cannot be removed: %s", file, strerror(errno));
}

static pv_status write_model(conversion *c, pv_error *error)
{
    pv_bytes file;
    pv_bytes_init(&file, c->allocator);
    pv_bytes_format(&file, "%s/model.safetensors", c->folder);
    pv_status status = file.failed ? pv_fail_memory(error, strlen(c->folder), "a path") : remove_earlier(file.data, error);
    if (status == PV_OK) status = write_files(c, error);
    if (status == PV_OK) status = write_tensors(c, file.data, error);
    pv_bytes_free(&file);
    return status;
}

static pv_status convert(conversion *c, const char *path, pv_error *error)
{
    pv_status status = pv_source_open(c->allocator, path, PV_LOAD_COPY, &c->source, error);
    if (status != PV_OK) return status;
    if (pv_source_get_kind(c->source) != PV_SOURCE_SAFETENSORS)
        return pv_fail_at(error, PV_UNSUPPORTED, path, PV_NO_OFFSET, "%s is no SafeTensors; GGUF files are run as they are", path);
    status = list_outputs(c, error);
    if (status == PV_OK) status = make_folder(c, path, error);
    return status == PV_OK ? write_model(c, error) : status;
}

pv_status pv_convert(pv_runtime *runtime, const char *path, const pv_convert_options *options, const char *out, pv_error *error)
{
    pv_convert_options own = options != NULL ? *options : (pv_convert_options){0};
    if (runtime == NULL || path == NULL || out == NULL) return pv_fail(error, PV_INVALID_ARGUMENT, "runtime, path or out is NULL");
    if (own.group == 0) own.group = 64;
    if (own.bits > 0 && pv_layout_of_affine((pv_affine){own.bits, own.group, PV_LAYOUT_F16}) == PV_LAYOUT_COUNT)
        return pv_fail(error, PV_INVALID_ARGUMENT, "%u bits in groups of %u are wanted; there are 2, 3, 4, 5, 6 and 8 bits in groups of 32, 64 and 128",
                       own.bits, own.group);
    conversion c = {.allocator = &runtime->allocator, .options = &own, .folder = out};
    pv_status status = convert(&c, path, error);
    pv_free(c.allocator, c.outputs);
    pv_free(c.allocator, c.places);
    pv_free(c.allocator, c.rows);
    for (part p = PART_CODES; p < PARTS; p++) pv_free(c.allocator, c.parts[p]);
    pv_free(c.allocator, c.block_row);
    pv_free(c.allocator, c.values);
    pv_source_close(c.source);
    return status;
}
