#include "format/parts.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

/* A rectangle of a part: `count` rows of bytes, in the mapping or copied. */
typedef struct rectangle {
    const uint8_t *bytes;
    uint64_t stride;
    uint8_t *copy;
} rectangle;

static pv_status fetch(const pv_source *source, const pv_source_tensor *part, uint64_t first, uint64_t count, uint64_t from,
                       uint64_t bytes, rectangle *out, pv_error *error)
{
    const pv_mapping *mapping = pv_source_mapping(source, part->file);
    *out = (rectangle){.stride = part->row_bytes};
    if (count == 0 || bytes == 0) return PV_OK;
    const uint64_t offset = part->offset + first * part->row_bytes + from;
    if (mapping->bytes) {
        out->bytes = mapping->bytes + offset;
        return PV_OK;
    }
    out->bytes = out->copy = pv_alloc(pv_source_allocator(source), count, bytes);
    out->stride = bytes;
    if (!out->copy) return pv_fail_memory(error, count * bytes, part->name);
    if (bytes == part->row_bytes) return pv_mapping_read(mapping, offset, out->copy, (size_t)(count * bytes), error);
    pv_status status = PV_OK;
    for (uint64_t row = 0; row < count && status == PV_OK; row++)
        status = pv_mapping_read(mapping, offset + row * part->row_bytes, out->copy + row * bytes, (size_t)bytes, error);
    return status;
}

/* What rows [first, first + count) of a tensor are made from. */
typedef struct parts_rows {
    const pv_source_parts *parts;
    const pv_source_tensor *tensor;
    pv_affine affine; /* of the tensor's layout, if it is such */
    uint64_t first;
    rectangle codes, scales, zeros;
} parts_rows;

static uint32_t load_u32(const uint8_t *from)
{
    uint32_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

static float load_scale(pv_layout type, const uint8_t *from)
{
    float scale;
    pv_layout_decode(type, from, 1, &scale);
    return scale;
}

/* ---- MLX ---- */

static void make_affine(const parts_rows *r, uint64_t row, uint8_t *out)
{
    const uint32_t size = pv_layout_get(r->affine.type)->block_bytes, bytes = r->affine.group * r->affine.bits / 8;
    const uint8_t *codes = r->codes.bytes + row * r->codes.stride, *scales = r->scales.bytes + row * r->scales.stride;
    const uint8_t *biases = r->zeros.bytes + row * r->zeros.stride;
    for (uint64_t group = 0; group < r->tensor->cols / r->affine.group; group++, out += 2 * size + bytes) {
        memcpy(out, scales + group * size, size);
        memcpy(out + size, biases + group * size, size);
        memcpy(out + 2 * size, codes + group * bytes, bytes);
    }
}

/* 32 nibbles one after the other become 16 bytes whose low halves are the first 16. */
static void split_nibbles(const uint8_t *from, uint8_t *to)
{
    for (int i = 0; i < 16; i++) {
        const int first = from[i / 2] >> i % 2 * 4 & 15, second = from[8 + i / 2] >> i % 2 * 4 & 15;
        to[i] = (uint8_t)(first | second << 4);
    }
}

static void make_mxfp4(const parts_rows *r, uint64_t row, uint8_t *out)
{
    const uint8_t *codes = r->codes.bytes + row * r->codes.stride, *scales = r->scales.bytes + row * r->scales.stride;
    for (uint64_t block = 0; block < r->tensor->cols / 32; block++, out += 17, codes += 16) {
        out[0] = scales[block];
        split_nibbles(codes, out + 1);
    }
}

static void make_nvfp4(const parts_rows *r, uint64_t row, uint8_t *out)
{
    const uint8_t *codes = r->codes.bytes + row * r->codes.stride, *scales = r->scales.bytes + row * r->scales.stride;
    for (uint64_t block = 0; block < r->tensor->cols / 32; block++, out += 18, codes += 16) {
        memcpy(out, scales + 2 * block, 2);
        split_nibbles(codes, out + 2);
    }
}

static void make_nvfp4_f32(const parts_rows *r, uint64_t row, uint8_t *out)
{
    const uint8_t *codes = r->codes.bytes + row * r->codes.stride, *scales = r->scales.bytes + row * r->scales.stride;
    for (uint64_t block = 0; block < r->tensor->cols / 64; block++, out += 40, codes += 32) {
        memcpy(out, &r->parts->factor, 4);
        memcpy(out + 4, scales + 4 * block, 4);
        split_nibbles(codes, out + 8);
        split_nibbles(codes + 16, out + 24);
    }
}

static void make_any_nvfp4(const parts_rows *r, uint64_t row, uint8_t *out)
{
    (r->parts->factor == 0 ? make_nvfp4 : make_nvfp4_f32)(r, row, out);
}

/* Kernels do not look for the code that is no number: where it occurs, the block's scale becomes one. */
static void make_f8_block(float scale, const uint8_t *codes, uint8_t *out)
{
    for (int i = 0; i < 32; i++)
        if ((codes[i] & 0x7f) == 0x7f) scale = NAN;
    memcpy(out, &scale, sizeof scale);
    memcpy(out + 4, codes, 32);
}

static void make_mxfp8(const parts_rows *r, uint64_t row, uint8_t *out)
{
    const uint8_t *codes = r->codes.bytes + row * r->codes.stride, *scales = r->scales.bytes + row * r->scales.stride;
    for (uint64_t block = 0; block < r->tensor->cols / 32; block++, out += 36, codes += 32)
        make_f8_block(scales[block] == 255 ? NAN : ldexpf(1, scales[block] - 127), codes, out);
}

/* ---- FP8 ---- */

static void make_fp8(const parts_rows *r, uint64_t row, uint8_t *out)
{
    const pv_source_parts *parts = r->parts;
    const uint64_t scale_row = (r->first + row) / parts->scale_rows - r->first / parts->scale_rows;
    const uint32_t size = pv_layout_get(parts->scales.layout)->block_bytes;
    const uint8_t *codes = r->codes.bytes + row * r->codes.stride, *scales = r->scales.bytes + scale_row * r->scales.stride;
    for (uint64_t block = 0; block < r->tensor->cols / 32; block++, out += 36, codes += 32)
        make_f8_block(load_scale(parts->scales.layout, scales + block * 32 / parts->group * size), codes, out);
}

/* ---- GPTQ and AWQ: weight = scale × (code − zero), which f32 holds exactly for scales of 16 bits ---- */

/* AWQ interleaves eight columns in a word so that its kernels find pairs: where column i is. */
static const uint8_t awq_nibble[8] = {0, 4, 1, 5, 2, 6, 3, 7};

static uint32_t nibble_at(const uint8_t *words, uint64_t at, uint64_t first_word, bool awq)
{
    const uint32_t word = load_u32(words + (at / 8 - first_word) * 4), place = (uint32_t)(at % 8);
    return word >> 4 * (awq ? awq_nibble[place] : place) & 15;
}

static void make_integers(const parts_rows *r, uint64_t row, uint8_t *out)
{
    const pv_source_parts *parts = r->parts;
    const bool awq = parts->kind == PV_PARTS_AWQ;
    const uint64_t at = r->first + row, first_word = r->first / 8;
    const uint32_t size = pv_layout_get(parts->scales.layout)->block_bytes, group = r->affine.group;
    for (uint64_t col = 0; col < r->tensor->cols; col += group, out += 8 + group / 2) {
        const uint64_t scale_row = col / parts->group;
        const float scale = load_scale(parts->scales.layout, r->scales.bytes + scale_row * r->scales.stride + row * size);
        const uint32_t zero = (nibble_at(r->zeros.bytes + scale_row * r->zeros.stride, at, first_word, awq) + parts->zero_offset) & 15;
        const float bias = -scale * (float)zero;
        memcpy(out, &scale, 4);
        memcpy(out + 4, &bias, 4);
        for (uint64_t i = 0; i < group; i += 8) {
            uint32_t word = 0;
            if (awq) {
                for (uint64_t j = 0; j < 8; j++)
                    word |= nibble_at(r->codes.bytes + (col + i + j) * r->codes.stride, at, first_word, true) << 4 * j;
            } else if (parts->order) {
                for (uint64_t j = 0; j < 8; j++) {
                    const uint64_t from = parts->order[col + i + j];
                    word |= (load_u32(r->codes.bytes + from / 8 * r->codes.stride + row * 4) >> from % 8 * 4 & 15) << 4 * j;
                }
            } else {
                word = load_u32(r->codes.bytes + (col + i) / 8 * r->codes.stride + row * 4);
            }
            memcpy(out + 8 + i / 2, &word, 4);
        }
    }
}

/* ---- compressed-tensors: the same, of other widths; zero points are packed along the rows, and where there are none the middle code is ---- */

/* Where bits [at, at + bits) of the column's stream stand; `first_word`: of the rectangle. */
static uint32_t bits_of_column(const rectangle *words, uint64_t column, uint64_t at, uint32_t bits, uint64_t first_word)
{
    const uint8_t *word = words->bytes + (at / 32 - first_word) * words->stride + column * 4;
    const uint32_t shift = at % 32;
    uint32_t value = load_u32(word) >> shift;
    if (shift + bits > 32) value |= load_u32(word + words->stride) << (32 - shift);
    return value & ((1u << bits) - 1);
}

static void make_packed(const parts_rows *r, uint64_t row, uint8_t *out)
{
    const pv_source_parts *parts = r->parts;
    const uint32_t bits = r->affine.bits, group = r->affine.group, bytes = group * bits / 8, size = pv_layout_get(parts->scales.layout)->block_bytes;
    const uint8_t *codes = r->codes.bytes + row * r->codes.stride, *scales = r->scales.bytes + row * r->scales.stride;
    for (uint64_t col = 0; col < r->tensor->cols; col += group, codes += bytes, out += 8 + bytes) {
        const uint64_t column = col / parts->group;
        const float scale = load_scale(parts->scales.layout, scales + column * size);
        uint32_t zero = 1u << (bits - 1);
        if (parts->zeros.rows > 0) zero = bits_of_column(&r->zeros, column, (r->first + row) * bits, bits, r->first * bits / 32);
        const float bias = -scale * (float)zero;
        memcpy(out, &scale, 4);
        memcpy(out + 4, &bias, 4);
        memcpy(out + 8, codes, bytes);
    }
}

/* ---- Rows ---- */

static pv_status fetch_parts(const pv_source *source, parts_rows *r, uint64_t count, pv_error *error)
{
    const pv_source_parts *p = r->parts;
    const uint64_t first = r->first;
    if (p->kind == PV_PARTS_GPTQ || p->kind == PV_PARTS_AWQ) {
        const uint64_t word = first / 8 * 4, words = ((first + count + 7) / 8 - first / 8) * 4;
        const uint32_t size = pv_layout_get(p->scales.layout)->block_bytes;
        const bool awq = p->kind == PV_PARTS_AWQ;
        pv_status status = fetch(source, &p->codes, 0, p->codes.rows, awq ? word : first * 4, awq ? words : count * 4, &r->codes, error);
        if (status == PV_OK) status = fetch(source, &p->zeros, 0, p->zeros.rows, word, words, &r->zeros, error);
        if (status == PV_OK) status = fetch(source, &p->scales, 0, p->scales.rows, first * size, count * size, &r->scales, error);
        return status;
    }
    pv_status status = fetch(source, &p->codes, first, count, 0, p->codes.row_bytes, &r->codes, error);
    if (status == PV_OK && p->kind == PV_PARTS_FP8) {
        const uint64_t scale_first = first / p->scale_rows, scale_end = (first + count - 1) / p->scale_rows + 1;
        return fetch(source, &p->scales, scale_first, scale_end - scale_first, 0, p->scales.row_bytes, &r->scales, error);
    }
    if (status == PV_OK) status = fetch(source, &p->scales, first, count, 0, p->scales.row_bytes, &r->scales, error);
    if (status == PV_OK && p->kind == PV_PARTS_PACKED && p->zeros.rows > 0) {
        const uint64_t word = first * r->affine.bits / 32, end = ((first + count) * r->affine.bits + 31) / 32;
        status = fetch(source, &p->zeros, word, end - word, 0, p->zeros.row_bytes, &r->zeros, error);
    }
    if (status == PV_OK && p->kind == PV_PARTS_AFFINE) status = fetch(source, &p->zeros, first, count, 0, p->zeros.row_bytes, &r->zeros, error);
    return status;
}

pv_status pv_parts_read_rows(const pv_source *source, const pv_source_tensor *tensor, uint64_t first, uint64_t count, void *out,
                             pv_error *error)
{
    static void (*const make[])(const parts_rows *rows, uint64_t row, uint8_t *out) = {
        [PV_PARTS_AFFINE] = make_affine, [PV_PARTS_MXFP4] = make_mxfp4,   [PV_PARTS_MXFP8] = make_mxfp8, [PV_PARTS_NVFP4] = make_any_nvfp4,
        [PV_PARTS_GPTQ] = make_integers, [PV_PARTS_AWQ] = make_integers, [PV_PARTS_FP8] = make_fp8,
        [PV_PARTS_PACKED] = make_packed,
    };
    parts_rows r = {.parts = tensor->parts, .tensor = tensor, .first = first};
    const pv_allocator *allocator = pv_source_allocator(source);
    if (count == 0) return PV_OK;
    pv_layout_affine(tensor->layout, &r.affine);
    pv_status status = fetch_parts(source, &r, count, error);
    for (uint64_t row = 0; row < count && status == PV_OK; row++)
        make[r.parts->kind](&r, row, (uint8_t *)out + row * tensor->row_bytes);
    pv_free(allocator, r.codes.copy);
    pv_free(allocator, r.scales.copy);
    pv_free(allocator, r.zeros.copy);
    return status;
}
