/* What config.json says of quantization, and the tensors that belong together by it: MLX ("quantization"), GPTQ, AWQ, FP8, NVFP4 and
 * gpt-oss' mxfp4 ("quantization_config"). Nothing is guessed: sizes that the configuration and the tensors state must agree. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/json.h"
#include "format/parts.h"
#include "format/source_internal.h"

#define CONFIG_NAME "config.json"
#define MODELOPT_NAME "hf_quant_config.json" /* where ModelOpt's older files say it alone */

/* By name; of COMPRESSED_TENSORS and MODELOPT the codes tell which it is. */
typedef enum method {
    METHOD_NONE, METHOD_MLX, METHOD_GPTQ, METHOD_AWQ, METHOD_FP8, METHOD_NVFP4, METHOD_MXFP4, METHOD_PACKED, METHOD_COMPRESSED_TENSORS, METHOD_MODELOPT
} method;

typedef struct settings {
    int64_t bits, group; /* 0: not stated */
    pv_parts_kind mode; /* MLX's */
    bool off;
} settings;

typedef struct joiner {
    pv_source *source;
    pv_json json;
    const char *config; /* the file's name */
    method method, codes; /* codes: FP8, NVFP4 or NONE, where something other than the method tells */
    settings main, told; /* told: of the module in hand, for messages */
    settings *special; /* of modules that have their own */
    size_t special_count, special_capacity;
    pv_map special_map;
    int64_t block[2];       /* FP8: rows and columns that a scale serves; 0: not stated */
    uint32_t zero_offset;   /* GPTQ: stored zero points lack it */
    bool awq_order;         /* AWQ: the order of nibbles is the one that is known */
    bool *taken;            /* [tensors] */
    pv_source_parts *parts; /* owned by the source */
    size_t part_count;
    char name[512]; /* of the module in hand */
    size_t name_length;
} joiner;

/* ---- config.json ---- */

static pv_status refuse_setting(const joiner *j, pv_status status, const char *what, pv_error *error)
{
    return pv_fail_at(error, status, j->config, j->json.start, "%s: offset %zu: %s", j->config, j->json.start, what);
}

static pv_status read_mode(joiner *j, settings *s, pv_error *error)
{
    static const struct {
        const char *name;
        pv_parts_kind kind;
    } modes[] = {{"affine", PV_PARTS_AFFINE}, {"mxfp4", PV_PARTS_MXFP4}, {"mxfp8", PV_PARTS_MXFP8}, {"nvfp4", PV_PARTS_NVFP4}};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (!pv_json_is(&j->json, modes[i].name)) continue;
        s->mode = modes[i].kind;
        return PV_OK;
    }
    return refuse_setting(j, PV_UNSUPPORTED, "a mode of quantization that is not supported; affine, mxfp4, mxfp8 and nvfp4 are", error);
}

static pv_status read_block_size(joiner *j, pv_error *error)
{
    pv_status status = PV_OK;
    for (int i = 0; i < 2 && status == PV_OK; i++) {
        if ((status = pv_json_expect(&j->json, PV_JSON_NUMBER, error)) == PV_OK) status = pv_json_int(&j->json, &j->block[i], error);
        if (status == PV_OK && j->block[i] < 1) status = refuse_setting(j, PV_BAD_FILE, "a weight_block_size below 1", error);
    }
    return status == PV_OK ? pv_json_expect(&j->json, PV_JSON_ARRAY_END, error) : status;
}

static void read_method(joiner *j)
{
    static const struct {
        const char *name;
        method method;
    } methods[] = {{"gptq", METHOD_GPTQ}, {"awq", METHOD_AWQ}, {"fp8", METHOD_FP8}, {"mxfp4", METHOD_MXFP4},
                   {"compressed-tensors", METHOD_COMPRESSED_TENSORS}, {"modelopt", METHOD_MODELOPT}};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (pv_json_is(&j->json, methods[i].name)) j->method = methods[i].method;
}

/* compressed-tensors' "format", ModelOpt's "quant_algo". */
static void read_codes(joiner *j)
{
    if (pv_json_is(&j->json, "float-quantized") || pv_json_is(&j->json, "FP8")) j->codes = METHOD_FP8;
    if (pv_json_is(&j->json, "nvfp4-pack-quantized") || pv_json_is(&j->json, "NVFP4")) j->codes = METHOD_NVFP4;
    if (pv_json_is(&j->json, "pack-quantized")) j->codes = METHOD_PACKED;
}

/* A value of which `key` tells what it says; the reader stands at its first token. */
static pv_status read_value(joiner *j, settings *s, const char *key, pv_error *error)
{
    pv_json *json = &j->json;
    const bool number = json->type == PV_JSON_NUMBER, text = json->type == PV_JSON_STRING;
    if (number && strcmp(key, "bits") == 0) return pv_json_int(json, &s->bits, error);
    if (number && strcmp(key, "group_size") == 0) return pv_json_int(json, &s->group, error);
    if (text && strcmp(key, "mode") == 0) return read_mode(j, s, error);
    if (text && strcmp(key, "quant_method") == 0) read_method(j);
    if (text && strcmp(key, "checkpoint_format") == 0) j->zero_offset = pv_json_is(json, "gptq_v2") ? 0 : 1;
    if (text && strcmp(key, "version") == 0) j->awq_order = pv_json_is(json, "gemm") || pv_json_is(json, "GEMM");
    if (text && (strcmp(key, "format") == 0 || strcmp(key, "quant_algo") == 0)) read_codes(j);
    if (json->type == PV_JSON_ARRAY && strcmp(key, "weight_block_size") == 0) return read_block_size(j, error);
    return pv_json_skip(json, error);
}

/* The settings of one module: an object, or false. */
static pv_status read_special(joiner *j, const char *path, pv_error *error)
{
    settings own = {.mode = PV_PARTS_AFFINE, .off = j->json.type == PV_JSON_FALSE};
    const size_t at = j->json.start;
    pv_status status = PV_OK;
    while (!own.off && (status = pv_json_next(&j->json, error)) == PV_OK && j->json.type != PV_JSON_OBJECT_END) {
        char key[32];
        const size_t length = pv_min_size(j->json.string_length, sizeof key - 1);
        memcpy(key, j->json.string, length);
        key[length] = '\0';
        if ((status = pv_json_next(&j->json, error)) == PV_OK) status = read_value(j, &own, key, error);
        if (status != PV_OK) break;
    }
    if (status != PV_OK) return status;
    int placed = -1;
    if (pv_grow(j->source->allocator, (void **)&j->special, &j->special_capacity, j->special_count + 1, sizeof own))
        placed = pv_map_add(&j->special_map, path, strlen(path), (uint32_t)j->special_count);
    if (placed < 0) return pv_fail_memory(error, sizeof own, "the quantization of modules");
    if (placed == 0)
        return pv_fail_at(error, PV_BAD_FILE, CONFIG_NAME, at, CONFIG_NAME ": offset %zu: two quantizations of %s, wanted one", at, path);
    j->special[j->special_count++] = own;
    return PV_OK;
}

/* The object "quantization" or "quantization_config", or null. */
static pv_status read_quantization(joiner *j, bool mlx, pv_error *error)
{
    pv_json *json = &j->json;
    pv_status status = pv_json_next(json, error);
    if (status != PV_OK || json->type == PV_JSON_NULL) return status;
    if (json->type != PV_JSON_OBJECT) return refuse_setting(j, PV_BAD_FILE, "the quantization is no object", error);
    if (mlx) j->method = METHOD_MLX;
    while ((status = pv_json_next(json, error)) == PV_OK && json->type != PV_JSON_OBJECT_END) {
        const char *key = pv_source_keep(j->source, json->string, json->string_length);
        if (!key) return pv_fail_memory(error, json->string_length, "a setting's name");
        if ((status = pv_json_next(json, error)) != PV_OK) return status;
        if (mlx && (json->type == PV_JSON_OBJECT || json->type == PV_JSON_FALSE))
            status = read_special(j, key, error);
        else
            status = read_value(j, &j->main, key, error);
        if (status != PV_OK) return status;
    }
    return status;
}

/* "quantization" is MLX's; where it stands, "quantization_config" repeats it. */
static pv_status read_config(joiner *j, const char *wanted, bool mlx, pv_error *error)
{
    pv_json *json = &j->json;
    bool found = false;
    pv_status status = pv_json_expect(json, PV_JSON_OBJECT, error);
    while (status == PV_OK && (status = pv_json_next(json, error)) == PV_OK && json->type != PV_JSON_OBJECT_END) {
        if (!pv_json_is(json, wanted)) {
            status = pv_json_skip(json, error);
            continue;
        }
        if (found) return refuse_setting(j, PV_BAD_FILE, "two quantizations, wanted one", error);
        found = true;
        status = read_quantization(j, mlx, error);
    }
    return status;
}

/* ---- Parts ---- */

static pv_status refuse_parts(const joiner *j, const pv_source_tensor *tensor, pv_status status, const char *what, pv_error *error)
{
    return pv_fail_at(error, status, tensor->name, tensor->offset, "tensor %s (%s [%" PRIu64 ", %" PRIu64 "], quantized with %" PRId64
                      " bits in groups of %" PRId64 " by " CONFIG_NAME "): %s",
                      tensor->name, tensor->type_name, tensor->rows, tensor->cols, j->told.bits, j->told.group, what);
}

/* The tensor whose name is the module's and `suffix`; NULL if there is none. */
static const pv_source_tensor *find_part(joiner *j, const char *suffix)
{
    memcpy(j->name + j->name_length, suffix, strlen(suffix) + 1);
    return pv_source_find(j->source, j->name);
}

/* True if the tensor's name ends with `suffix`: the module's name is what stands before. */
static bool begin_module(joiner *j, const pv_source_tensor *tensor, const char *suffix)
{
    const size_t length = strlen(tensor->name), end = strlen(suffix);
    if (length <= end || length - end > sizeof j->name - 32 || strcmp(tensor->name + length - end, suffix) != 0) return false;
    j->name_length = length - end;
    memcpy(j->name, tensor->name, j->name_length);
    return true;
}

static bool is_type(const pv_source_tensor *tensor, const char *name)
{
    return strcmp(tensor->type_name, name) == 0;
}

static bool is_dense(const pv_source_tensor *tensor)
{
    return tensor->layout <= PV_LAYOUT_BF16;
}

static void take(joiner *j, const pv_source_tensor *tensor)
{
    if (tensor) j->taken[tensor - j->source->tensors] = true;
}

/* Puts the joined tensor where `place` was. */
static pv_status join(joiner *j, const pv_source_tensor *place, const pv_source_parts *parts, pv_layout layout, uint64_t rows, uint64_t cols,
                      pv_error *error)
{
    pv_source_tensor *tensor = &j->source->tensors[place - j->source->tensors], joined = *tensor;
    joined.layout = layout;
    joined.order = parts->order;
    joined.type_name = pv_layout_get(layout)->name;
    joined.rows = rows;
    joined.cols = cols;
    if (joined.dims < 2) joined.dims = 2, joined.dim[0] = rows;
    if (joined.dims == 2) joined.dim[0] = rows;
    joined.dim[joined.dims - 1] = cols;
    if (!pv_layout_row_bytes(layout, cols, &joined.row_bytes) || !pv_mul_u64(rows, joined.row_bytes, &joined.bytes) || joined.bytes > INT64_MAX)
        return refuse_parts(j, place, PV_UNSUPPORTED, "its columns are no multiple of the layout's block", error);
    j->parts[j->part_count] = *parts;
    joined.parts = &j->parts[j->part_count++];
    *tensor = joined;
    return PV_OK;
}

/* ---- MLX ---- */

/* The module's own, or those of all; what is not stated is the mode's default. */
static settings settings_of(const joiner *j)
{
    static const settings defaults[] = {
        [PV_PARTS_AFFINE] = {.bits = 4, .group = 64},
        [PV_PARTS_MXFP4] = {.bits = 4, .group = 32},
        [PV_PARTS_MXFP8] = {.bits = 8, .group = 32},
        [PV_PARTS_NVFP4] = {.bits = 4, .group = 16}};
    uint32_t index;
    settings s = pv_map_find(&j->special_map, j->name, j->name_length, &index) ? j->special[index] : j->main;
    if (s.bits == 0) s.bits = defaults[s.mode].bits;
    if (s.group == 0) s.group = defaults[s.mode].group;
    return s;
}

static pv_layout mlx_layout(const settings *s, const pv_source_tensor *scales)
{
    if (s->mode == PV_PARTS_MXFP4) return s->bits == 4 && s->group == 32 ? PV_LAYOUT_MXFP4 : PV_LAYOUT_COUNT;
    if (s->mode == PV_PARTS_MXFP8) return s->bits == 8 && s->group == 32 ? PV_LAYOUT_F8 : PV_LAYOUT_COUNT;
    if (s->mode == PV_PARTS_NVFP4) return s->bits == 4 && s->group == 16 ? PV_LAYOUT_NVFP4 : PV_LAYOUT_COUNT;
    if (s->bits < 0 || s->bits > 8 || s->group < 0 || s->group > 128) return PV_LAYOUT_COUNT;
    return pv_layout_of_affine((pv_affine){(uint32_t)s->bits, (uint32_t)s->group, scales->layout});
}

static pv_status join_mlx(joiner *j, const pv_source_tensor *scales, pv_error *error)
{
    if (!begin_module(j, scales, ".scales")) return PV_OK;
    const settings own = j->told = settings_of(j), *s = &own;
    const pv_source_tensor *codes = find_part(j, ".weight"), *biases = find_part(j, ".biases");
    const bool affine = s->mode == PV_PARTS_AFFINE;
    if (!codes) return PV_OK; /* nothing that is known: a stranger, if a model needs no such */
    if (s->off) return refuse_parts(j, codes, PV_BAD_FILE, "it has scales, but " CONFIG_NAME " says that it is not quantized", error);
    if (!is_type(codes, "U32")) return refuse_parts(j, codes, PV_BAD_FILE, "it has scales, so U32 is wanted", error);
    if (affine && !is_dense(scales)) return refuse_parts(j, scales, PV_BAD_FILE, "scales of F16, BF16 or F32 are wanted", error);
    if (!affine && !is_type(scales, "U8")) return refuse_parts(j, scales, PV_BAD_FILE, "scales of U8 are wanted", error);
    if (affine && (!biases || biases->layout != scales->layout || biases->rows != scales->rows || biases->cols != scales->cols))
        return refuse_parts(j, scales, PV_BAD_FILE, "biases of the same type and shape are wanted", error);
    const pv_layout layout = mlx_layout(s, scales);
    if (layout == PV_LAYOUT_COUNT) return refuse_parts(j, codes, PV_UNSUPPORTED, "such bits and groups are not supported", error);
    uint64_t cols, code_bits, bits;
    if (!pv_mul_u64(scales->cols, (uint64_t)s->group, &cols) || !pv_mul_u64(cols, (uint64_t)s->bits, &bits) ||
        !pv_mul_u64(codes->cols, 32, &code_bits) || bits != code_bits || codes->rows != scales->rows || codes->rows == 0 || cols == 0)
        return refuse_parts(j, codes, PV_BAD_FILE, "its shape does not fit that of its scales", error);
    pv_source_parts parts = {.kind = s->mode, .group = (uint64_t)s->group, .codes = *codes, .scales = *scales};
    if (affine) parts.zeros = *biases;
    take(j, scales);
    take(j, affine ? biases : NULL);
    return join(j, codes, &parts, layout, codes->rows, cols, error);
}

/* ---- GPTQ and AWQ ---- */

/* g_idx tells each column's group. Where groups do not follow each other (desc_act: they were made in the order of the activations' size),
 * the columns are taken group by group. */
static pv_status sort_columns(joiner *j, const pv_source_tensor *tensor, const int32_t *groups, uint64_t cols, uint64_t group, const uint32_t **order,
                              pv_error *error)
{
    const pv_allocator *allocator = j->source->allocator;
    uint64_t *next = pv_alloc(allocator, cols / group, sizeof *next);
    uint32_t *sorted = pv_source_new_order(j->source, cols);
    pv_status status = next && sorted ? PV_OK : pv_fail_memory(error, cols * sizeof *sorted, tensor->name);
    for (uint64_t i = 0; i < cols / group && status == PV_OK; i++) next[i] = i * group;
    for (uint64_t i = 0; i < cols && status == PV_OK; i++) {
        const uint64_t at = (uint32_t)groups[i]; /* those below 0 are beyond all */
        if (at >= cols / group || next[at] == (at + 1) * group)
            status = refuse_parts(j, tensor, PV_BAD_FILE, "groups of as many columns as " CONFIG_NAME " says are wanted", error);
        else
            sorted[next[at]++] = (uint32_t)i;
    }
    pv_free(allocator, next);
    *order = sorted;
    return status;
}

static pv_status read_order(joiner *j, const pv_source_tensor *tensor, uint64_t cols, uint64_t group, const uint32_t **order, pv_error *error)
{
    if (!tensor) return PV_OK;
    if (!is_type(tensor, "I32") || tensor->rows != 1 || tensor->cols != cols || cols > UINT32_MAX)
        return refuse_parts(j, tensor, PV_BAD_FILE, "an I32 for each column is wanted", error);
    int32_t *groups = pv_alloc(j->source->allocator, cols, sizeof *groups);
    if (!groups) return pv_fail_memory(error, cols * sizeof *groups, tensor->name);
    pv_status status = pv_source_read_rows(j->source, tensor, 0, 1, groups, error);
    bool sorted = true;
    for (uint64_t i = 0; i < cols && status == PV_OK; i++) sorted = sorted && groups[i] >= 0 && (uint64_t)groups[i] == i / group;
    if (status == PV_OK && !sorted) status = sort_columns(j, tensor, groups, cols, group, order, error);
    pv_free(j->source->allocator, groups);
    return status;
}

static uint32_t canonical_group(uint64_t group)
{
    return group % 128 == 0 ? 128 : group % 64 == 0 ? 64 : 32;
}

static pv_status join_integers(joiner *j, const pv_source_tensor *codes, pv_error *error)
{
    const bool awq = j->method == METHOD_AWQ;
    j->told = j->main;
    if (!begin_module(j, codes, ".qweight")) return PV_OK;
    const pv_source_tensor *zeros = find_part(j, ".qzeros"), *scales = find_part(j, ".scales"), *order = awq ? NULL : find_part(j, ".g_idx");
    if (!zeros || !scales) return refuse_parts(j, codes, PV_BAD_FILE, "its scales or qzeros are missing", error);
    if (find_part(j, ".weight")) return refuse_parts(j, codes, PV_BAD_FILE, "the module has a weight too, wanted one of them", error);
    if (j->main.bits != 4 || (awq && !j->awq_order)) return refuse_parts(j, codes, PV_UNSUPPORTED, "4 bits are supported, of AWQ in the order gemm", error);
    if (!is_type(codes, "I32") || !is_type(zeros, "I32") || !is_dense(scales))
        return refuse_parts(j, codes, PV_BAD_FILE, "I32 and scales of F16, BF16 or F32 are wanted", error);
    uint64_t rows, cols;
    if (!pv_mul_u64(codes->cols, awq ? 8 : 1, &rows) || !pv_mul_u64(codes->rows, awq ? 1 : 8, &cols) || rows == 0 || cols == 0 || rows % 8 != 0)
        return refuse_parts(j, codes, PV_BAD_FILE, "its rows are no multiple of 8", error);
    const uint64_t group = j->main.group == -1 ? cols : (uint64_t)j->main.group;
    if (j->main.group < -1 || group == 0 || group % 32 != 0 || cols % group != 0)
        return refuse_parts(j, codes, PV_UNSUPPORTED, "groups of a multiple of 32 columns that divide them all are supported", error);
    if (scales->rows != cols / group || scales->cols != rows || zeros->rows != scales->rows || zeros->cols != rows / 8)
        return refuse_parts(j, scales, PV_BAD_FILE, "its shape, or that of the zero points, does not fit the codes'", error);
    pv_source_tensor *named = &j->source->tensors[codes - j->source->tensors];
    pv_source_parts parts = {.kind = awq ? PV_PARTS_AWQ : PV_PARTS_GPTQ, .group = group, .zero_offset = awq ? 0 : j->zero_offset,
                             .codes = *codes, .scales = *scales, .zeros = *zeros};
    pv_status status = read_order(j, order, cols, group, &parts.order, error);
    if (status != PV_OK) return status;
    memcpy(j->name + j->name_length, ".weight", 8);
    if (!(named->name = pv_source_keep(j->source, j->name, j->name_length + 7))) return pv_fail_memory(error, j->name_length, "a tensor's name");
    take(j, scales);
    take(j, zeros);
    take(j, order);
    return join(j, codes, &parts, pv_layout_of_affine((pv_affine){4, canonical_group(group), PV_LAYOUT_F32}), rows, cols, error);
}

/* ---- FP8 ---- */

static bool scales_fit(const pv_source_tensor *scales, uint64_t rows, uint64_t cols, uint64_t scale_rows, uint64_t group)
{
    return scales->rows == rows / scale_rows + (rows % scale_rows != 0) && scales->cols == cols / group + (cols % group != 0);
}

/* What belongs to activations and to the cache, which are not quantized by the file's numbers here. */
static void take_other_scales(joiner *j)
{
    static const char *const names[] = {".input_scale", ".activation_scale", ".input_global_scale", ".k_scale", ".v_scale"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) take(j, find_part(j, names[i]));
}

static pv_status join_fp8(joiner *j, const pv_source_tensor *scales, pv_error *error)
{
    j->told = (settings){.bits = 8, .group = j->block[1]};
    if (!begin_module(j, scales, ".weight_scale_inv") && !begin_module(j, scales, ".weight_scale")) return PV_OK;
    const pv_source_tensor *codes = find_part(j, ".weight");
    if (!codes || !is_type(codes, "F8_E4M3"))
        return refuse_parts(j, scales, PV_BAD_FILE, "the module has no weight of F8_E4M3", error);
    if (!is_dense(scales)) return refuse_parts(j, scales, PV_BAD_FILE, "scales of F32, F16 or BF16 are wanted", error);
    if (codes->rows == 0 || codes->cols == 0 || codes->cols % 32 != 0)
        return refuse_parts(j, codes, PV_UNSUPPORTED, "its columns are no multiple of 32", error);
    const uint64_t block_rows = j->block[0] > 0 ? (uint64_t)j->block[0] : codes->rows, block_cols = j->block[1] > 0 ? (uint64_t)j->block[1] : codes->cols;
    pv_source_parts parts = {.kind = PV_PARTS_FP8, .codes = *codes, .scales = *scales, .scale_rows = block_rows, .group = block_cols};
    if (!scales_fit(scales, codes->rows, codes->cols, parts.scale_rows, parts.group))
        parts.scale_rows = 1, parts.group = codes->cols; /* one for each row */
    if (!scales_fit(scales, codes->rows, codes->cols, parts.scale_rows, parts.group))
        return refuse_parts(j, scales, PV_BAD_FILE, "its shape fits neither weight_block_size, nor rows, nor the whole weight", error);
    if (parts.group % 32 != 0) return refuse_parts(j, scales, PV_UNSUPPORTED, "blocks of a multiple of 32 columns are supported", error);
    take(j, scales);
    take_other_scales(j);
    return join(j, codes, &parts, PV_LAYOUT_F8, codes->rows, codes->cols, error);
}

/* ---- gpt-oss: matrices of experts, whose blocks of 16 bytes are a dimension of their own ---- */

static pv_status join_blocks(joiner *j, const pv_source_tensor *blocks, pv_error *error)
{
    j->told = (settings){.bits = 4, .group = 32};
    if (!begin_module(j, blocks, "_blocks")) return PV_OK;
    const pv_source_tensor *scales = find_part(j, "_scales");
    if (!scales) return refuse_parts(j, blocks, PV_BAD_FILE, "its scales are missing", error);
    if (find_part(j, "")) return refuse_parts(j, blocks, PV_BAD_FILE, "it is there without quantization too, wanted one of them", error);
    if (!is_type(blocks, "U8") || !is_type(scales, "U8")) return refuse_parts(j, blocks, PV_BAD_FILE, "U8 and scales of U8 are wanted", error);
    bool fits = blocks->dims == 4 && scales->dims == 3 && blocks->dim[3] == 16 && blocks->bytes > 0;
    for (int d = 0; d < 3; d++) fits = fits && blocks->dim[d] == scales->dim[d];
    if (!fits) return refuse_parts(j, blocks, PV_BAD_FILE, "[experts, rows, blocks, 16] and scales of [experts, rows, blocks] are wanted", error);
    pv_source_tensor *named = &j->source->tensors[blocks - j->source->tensors];
    pv_source_parts parts = {.kind = PV_PARTS_MXFP4, .group = 32, .codes = *blocks, .scales = *scales};
    parts.codes.rows = scales->rows;
    parts.codes.cols = parts.codes.row_bytes = 16 * scales->cols; /* the file holds so much */
    if (!(named->name = pv_source_keep(j->source, j->name, j->name_length))) return pv_fail_memory(error, j->name_length, "a tensor's name");
    named->dims = 3;
    take(j, scales);
    return join(j, named, &parts, PV_LAYOUT_MXFP4, scales->rows, 32 * scales->cols, error);
}

/* ---- NVFP4 with a scale of the whole tensor: of ModelOpt, which multiplies by it, and of compressed-tensors, which divides ---- */

static pv_status read_factor(joiner *j, const pv_source_tensor *tensor, bool divides, float *factor, pv_error *error)
{
    if (tensor->layout != PV_LAYOUT_F32 || tensor->rows * tensor->cols != 1)
        return refuse_parts(j, tensor, PV_BAD_FILE, "one F32 is wanted", error);
    pv_status status = pv_source_read_rows(j->source, tensor, 0, 1, factor, error);
    if (status == PV_OK && divides) *factor = 1 / *factor;
    if (status == PV_OK && !isnormal(*factor)) status = refuse_parts(j, tensor, PV_BAD_FILE, "a number that weights can be multiplied with is wanted", error);
    return status;
}

static pv_status join_nvfp4(joiner *j, const pv_source_tensor *scales, pv_error *error)
{
    j->told = (settings){.bits = 4, .group = 16};
    if (!begin_module(j, scales, ".weight_scale")) return PV_OK;
    const pv_source_tensor *packed = find_part(j, ".weight_packed"), *plain = find_part(j, ".weight"), *codes = packed ? packed : plain;
    const pv_source_tensor *times = find_part(j, ".weight_scale_2"), *over = find_part(j, ".weight_global_scale");
    if (!codes || !is_type(codes, "U8") || (packed && plain))
        return refuse_parts(j, scales, PV_BAD_FILE, "the module has no weight or weight_packed of U8, or both", error);
    if (!is_type(scales, "F8_E4M3")) return refuse_parts(j, scales, PV_BAD_FILE, "scales of F8_E4M3 are wanted", error);
    if (!times == !over) return refuse_parts(j, scales, PV_BAD_FILE, "either weight_scale_2 or weight_global_scale is wanted", error);
    uint64_t cols;
    if (!pv_mul_u64(codes->cols, 2, &cols) || cols == 0 || codes->rows == 0 || codes->rows != scales->rows || cols % 16 != 0 || cols / 16 != scales->cols)
        return refuse_parts(j, codes, PV_BAD_FILE, "its shape does not fit that of its scales", error);
    if (cols % 64 != 0) return refuse_parts(j, codes, PV_UNSUPPORTED, "its columns are no multiple of 64", error);
    pv_source_parts parts = {.kind = PV_PARTS_NVFP4, .group = 16, .codes = *codes, .scales = *scales};
    pv_status status = read_factor(j, times ? times : over, over != NULL, &parts.factor, error);
    if (status != PV_OK) return status;
    memcpy(j->name + j->name_length, ".weight", 8);
    pv_source_tensor *named = &j->source->tensors[codes - j->source->tensors];
    if (!(named->name = pv_source_keep(j->source, j->name, j->name_length + 7))) return pv_fail_memory(error, j->name_length, "a tensor's name");
    take(j, scales);
    take(j, times);
    take(j, over);
    take_other_scales(j);
    return join(j, codes, &parts, PV_LAYOUT_NVFP4_F32, codes->rows, cols, error);
}

/* ---- Integers of compressed-tensors, in a stream of bits: their sizes follow from the shape that they were made of ---- */

/* The columns that weight_shape tells, and the bits and groups that follow. */
static pv_status measure_packed(joiner *j, const pv_source_tensor *codes, const pv_source_tensor *scales, const pv_source_tensor *shape, uint64_t *cols,
                                pv_error *error)
{
    int64_t told[2] = {0};
    uint64_t bits;
    if (!is_type(shape, "I64") || shape->rows * shape->cols != 2) return refuse_parts(j, shape, PV_BAD_FILE, "two I64 are wanted", error);
    pv_status status = pv_source_read_rows(j->source, shape, 0, shape->rows, told, error);
    if (status != PV_OK) return status;
    if (told[0] < 1 || (uint64_t)told[0] != codes->rows || told[1] < 1 || !pv_mul_u64(codes->cols, 32, &bits) || bits % (uint64_t)told[1] != 0 ||
        scales->rows != codes->rows || scales->cols == 0 || (uint64_t)told[1] % scales->cols != 0)
        return refuse_parts(j, codes, PV_BAD_FILE, "its shape does not fit that of its scales, or weight_shape", error);
    *cols = (uint64_t)told[1];
    j->told = (settings){.bits = (int64_t)(bits / *cols), .group = (int64_t)(*cols / scales->cols)};
    return PV_OK;
}

static pv_status join_packed(joiner *j, const pv_source_tensor *codes, pv_error *error)
{
    j->told = (settings){0};
    if (!begin_module(j, codes, ".weight_packed")) return PV_OK;
    const pv_source_tensor *scales = find_part(j, ".weight_scale"), *zeros = find_part(j, ".weight_zero_point"), *shape = find_part(j, ".weight_shape");
    if (!scales || !shape || find_part(j, ".weight"))
        return refuse_parts(j, codes, PV_BAD_FILE, "its weight_scale or weight_shape is missing, or the module has a weight too", error);
    if (find_part(j, ".weight_g_idx")) return refuse_parts(j, codes, PV_UNSUPPORTED, "columns in the order of their activations are not supported", error);
    if (!is_type(codes, "I32") || !is_dense(scales)) return refuse_parts(j, codes, PV_BAD_FILE, "I32 and scales of F16, BF16 or F32 are wanted", error);
    uint64_t cols = 0;
    pv_status status = measure_packed(j, codes, scales, shape, &cols, error);
    if (status != PV_OK) return status;
    const uint64_t bits = (uint64_t)j->told.bits, group = (uint64_t)j->told.group;
    const pv_layout layout = bits <= 8 ? pv_layout_of_affine((pv_affine){(uint32_t)bits, canonical_group(group), PV_LAYOUT_F32}) : PV_LAYOUT_COUNT;
    if (layout == PV_LAYOUT_COUNT || group % 32 != 0)
        return refuse_parts(j, codes, PV_UNSUPPORTED, "2, 3, 4, 5, 6 and 8 bits in groups of a multiple of 32 columns are supported", error);
    if (zeros && (!is_type(zeros, "I32") || zeros->cols != scales->cols || zeros->rows != (codes->rows * bits + 31) / 32))
        return refuse_parts(j, zeros, PV_BAD_FILE, "its shape does not fit that of the scales", error);
    pv_source_tensor *named = &j->source->tensors[codes - j->source->tensors];
    pv_source_parts parts = {.kind = PV_PARTS_PACKED, .group = group, .codes = *codes, .scales = *scales};
    if (zeros) parts.zeros = *zeros;
    memcpy(j->name + j->name_length, ".weight", 8);
    if (!(named->name = pv_source_keep(j->source, j->name, j->name_length + 7))) return pv_fail_memory(error, j->name_length, "a tensor's name");
    take(j, scales);
    take(j, zeros);
    take(j, shape);
    take_other_scales(j);
    return join(j, codes, &parts, layout, codes->rows, cols, error);
}

/* ---- All tensors ---- */

static pv_status join_all(joiner *j, pv_error *error)
{
    pv_status (*const joins[])(joiner *joiner, const pv_source_tensor *tensor, pv_error *error) = {
        [METHOD_MLX] = join_mlx, [METHOD_GPTQ] = join_integers, [METHOD_AWQ] = join_integers, [METHOD_FP8] = join_fp8,
        [METHOD_NVFP4] = join_nvfp4, [METHOD_MXFP4] = join_blocks, [METHOD_PACKED] = join_packed};
    const size_t count = j->source->tensor_count;
    pv_status status = PV_OK;
    for (size_t i = 0; i < count && status == PV_OK; i++)
        if (!j->taken[i]) status = joins[j->method](j, &j->source->tensors[i], error);
    return status;
}

static pv_status read_settings(joiner *j, pv_error *error)
{
    static const struct {
        const char *file, *key;
        bool mlx;
        method method; /* where the object does not tell */
    } places[] = {{CONFIG_NAME, "quantization", true, METHOD_NONE}, {CONFIG_NAME, "quantization_config", false, METHOD_NONE},
                  {MODELOPT_NAME, "quantization", false, METHOD_MODELOPT}};
    pv_status status = PV_OK;
    for (size_t i = 0; i < sizeof places / sizeof *places && status == PV_OK && j->method == METHOD_NONE; i++) {
        const char *text = NULL;
        size_t length = 0;
        status = pv_source_text(j->source, j->config = places[i].file, &text, &length, error);
        if (status != PV_OK || !text) continue;
        pv_json_init(&j->json, j->source->allocator, text, length, j->config);
        status = read_config(j, places[i].key, places[i].mlx, error);
        pv_json_free(&j->json);
        if (j->method == METHOD_NONE) j->method = places[i].method;
    }
    if (status == PV_OK && j->method == METHOD_MODELOPT && j->codes == METHOD_NONE)
        status = pv_fail_at(error, PV_UNSUPPORTED, j->config, PV_NO_OFFSET, "%s: a quant_algo that is not supported; FP8 and NVFP4 are", j->config);
    /* without codes they are integers of compressed-tensors */
    if (j->method == METHOD_MODELOPT || j->method == METHOD_COMPRESSED_TENSORS) j->method = j->codes;
    return status;
}

pv_status pv_source_join_parts(pv_source *source, pv_error *error)
{
    joiner j = {.source = source, .main = {.mode = PV_PARTS_AFFINE}, .zero_offset = 1, .awq_order = true};
    pv_map_init(&j.special_map, source->allocator);
    pv_status status = read_settings(&j, error);
    if (status == PV_OK && j.method != METHOD_NONE && source->tensor_count > 0) {
        j.taken = pv_calloc(source->allocator, source->tensor_count, sizeof *j.taken);
        j.parts = source->parts = pv_calloc(source->allocator, source->tensor_count, sizeof *j.parts);
        status = j.taken && j.parts ? join_all(&j, error) : pv_fail_memory(error, source->tensor_count * sizeof *j.parts, "the list of parts");
        if (status == PV_OK) status = pv_source_leave_out(source, j.taken, error);
    }
    pv_free(source->allocator, j.taken);
    pv_free(source->allocator, j.special);
    pv_map_free(&j.special_map);
    return status;
}
