/* Writing models whose tensors case.json lists, with what converters to GGUF do to each. */
#include "support_llama.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/seeded.h"
#include "format/write.h"

typedef struct tensor {
    const char *name, *gguf, *second; /* second: GGUF has every second column of a stack as a tensor of its own */
    uint64_t depth, rows, cols;       /* in the checkpoint; a vector has one row; depth: experts of a stack of matrices, else 0 */
    bool vector, transposed, bias;    /* bias: a vector for each row */
    bool taps;                        /* of a convolution: such vectors, [cols, 1, taps] in the checkpoint */
    uint64_t permuted;           /* head size; 0: rows stay in order */
    uint64_t heads, plain;       /* GGUF: of each head so many rows, turned, are one tensor, and the others another */
    uint64_t expert, experts;    /* GGUF: one of so many that are one tensor; 0: a tensor by itself */
    float centre, scale, add;
} tensor;

typedef struct writing {
    const golden_case *c;
    const golden_file *file;
    pv_model_writer *writer;
    pv_error error;
} writing;

static void check(writing *w, pv_status status)
{
    if (status != PV_OK) fail_msg("%s", w->error.message);
}

static const pv_flat_entry *entry(const golden_case *c, const char *list, size_t i, const char *member)
{
    char path[64];
    snprintf(path, sizeof path, "%s.%zu.%s", list, i, member);
    return pv_flat_find(&c->about, path);
}

static double number_of(const golden_case *c, size_t i, const char *member)
{
    const pv_flat_entry *e = entry(c, "tensors", i, member);
    return e != NULL ? e->number : 0;
}

static const char *text_of(const golden_case *c, const char *list, size_t i, const char *member)
{
    const pv_flat_entry *e = entry(c, list, i, member);
    return e != NULL ? pv_flat_value(&c->about, e) : NULL;
}

/* False beyond the last. */
static bool tensor_at(const golden_case *c, size_t i, tensor *t)
{
    *t = (tensor){.name = text_of(c, "tensors", i, "name"), .gguf = text_of(c, "tensors", i, "gguf"), .second = text_of(c, "tensors", i, "gguf_second")};
    if (t->name == NULL) return false;
    const uint64_t dim[3] = {(uint64_t)number_of(c, i, "shape.0"), (uint64_t)number_of(c, i, "shape.1"), (uint64_t)number_of(c, i, "shape.2")};
    const bool taps = t->taps = dim[1] == 1 && dim[2] > 0;
    t->bias = taps || (dim[1] > 0 && strstr(t->name, "_bias") != NULL);
    t->vector = dim[1] == 0 || t->bias;
    t->depth = dim[2] > 0 && !taps ? dim[0] : 0;
    t->rows = dim[2] > 0 && !taps ? dim[1] : dim[1] > 0 ? dim[0] : 1;
    t->cols = dim[2] > 0 ? dim[2] : dim[1] > 0 ? dim[1] : dim[0];
    t->transposed = number_of(c, i, "transpose") != 0;
    t->permuted = (uint64_t)number_of(c, i, "permute");
    t->heads = (uint64_t)number_of(c, i, "heads");
    t->plain = (uint64_t)number_of(c, i, "plain");
    t->expert = (uint64_t)number_of(c, i, "expert");
    t->experts = (uint64_t)number_of(c, i, "experts");
    t->centre = (float)number_of(c, i, "centre");
    t->scale = (float)number_of(c, i, "scale");
    t->add = (float)number_of(c, i, "add");
    return true;
}

/* ---- Tensors ---- */

static pv_layout rounding_of(const writing *w, const tensor *t)
{
    const pv_layout layout = pv_layout_find(w->file->layout);
    assert_true(layout < PV_LAYOUT_COUNT);
    return t->vector && layout > PV_LAYOUT_BF16 ? PV_LAYOUT_F32 : layout;
}

/* GGUF keeps vectors in F32. */
static pv_layout layout_of(const writing *w, const tensor *t)
{
    return w->file->gguf && t->vector ? PV_LAYOUT_F32 : rounding_of(w, t);
}

static uint64_t rows_of(const writing *w, const tensor *t) { return w->file->gguf && t->transposed ? t->cols : t->rows; }
static uint64_t cols_of(const writing *w, const tensor *t) { return w->file->gguf && t->transposed ? t->rows : t->cols; }

static void declare(writing *w, const tensor *t)
{
    const uint64_t dim[3] = {t->experts, rows_of(w, t), cols_of(w, t)};
    const bool stacked = w->file->gguf && t->experts > 0;
    const uint32_t dims = stacked ? 3 : t->vector ? 1 : 2;
    char inside[192];
    if (stacked && t->expert > 0) return;
    snprintf(inside, sizeof inside, "language_model.%s", t->name);
    check(w, pv_model_writer_declare(w->writer, w->file->gguf ? t->gguf : w->file->inside ? inside : t->name, layout_of(w, t), dims, dim + 3 - dims, &w->error));
}

/* Where row `i` of a GGUF file stands in the checkpoint: there i and i + head_dim / 2 turn together, here 2i and 2i + 1. */
static uint64_t unpermuted(uint64_t head_dim, uint64_t i)
{
    const uint64_t within = i % head_dim;
    return i - within + within % 2 * (head_dim / 2) + within / 2;
}

/* Row `row` as the file has it, before rounding. */
static void make_row(const writing *w, const tensor *t, uint64_t row, float *values)
{
    const uint64_t key = pv_seeded_key((uint64_t)pv_flat_find(&w->c->about, "seed")->number, t->name), cols = cols_of(w, t);
    if (w->file->gguf && t->transposed) {
        for (uint64_t i = 0; i < cols; i++) pv_seeded_fill(key, i * t->cols + row, 1, t->centre, t->scale, &values[i]);
        return;
    }
    const bool permute = w->file->gguf && t->permuted > 0 && w->file->mistake != GOLDEN_UNPERMUTED;
    pv_seeded_fill(key, (permute ? unpermuted(t->permuted, row) : row) * cols, cols, t->centre, t->scale, values);
}

/* ---- Stacks: the checkpoint has [expert, in, out], gate and up in turn; GGUF has [expert, out, in], gate and up apart ---- */

static uint64_t step_of(const tensor *t) { return t->second != NULL ? 2 : 1; }

static void declare_stack(writing *w, const tensor *t)
{
    const bool gguf = w->file->gguf;
    const uint64_t outs = t->cols / step_of(t), turned[3] = {t->depth, outs, t->rows}, plain[3] = {t->depth, t->rows, t->cols};
    const uint64_t pair[2] = {t->rows, gguf ? outs : t->cols}, taps[3] = {t->rows, 1, t->cols};
    for (uint64_t half = 0; half < (gguf ? step_of(t) : 1); half++)
        check(w, pv_model_writer_declare(w->writer, !gguf ? t->name : half == 0 ? t->gguf : t->second, layout_of(w, t),
                                         t->bias && (gguf || !t->taps) ? 2 : 3, t->taps && !gguf ? taps : t->bias ? pair : gguf ? turned : plain,
                                         &w->error));
}

/* `count` elements of the checkpoint, `step` apart, as a row of the file. */
static void write_strided(writing *w, const tensor *t, uint64_t first, uint64_t step, uint64_t count)
{
    const uint64_t key = pv_seeded_key((uint64_t)pv_flat_find(&w->c->about, "seed")->number, t->name);
    const pv_layout rounding = rounding_of(w, t), layout = layout_of(w, t);
    uint64_t row_bytes = 0;
    assert_true(pv_layout_row_bytes(layout, count, &row_bytes));
    float *values = malloc(count * sizeof *values);
    uint8_t *encoded = malloc(count * sizeof *values + 512);
    for (uint64_t i = 0; i < count; i++) pv_seeded_fill(key, first + i * step, 1, t->centre, t->scale, &values[i]);
    pv_layout_encode(rounding, values, count, encoded);
    if (layout != rounding) {
        pv_layout_decode(rounding, encoded, count, values);
        pv_layout_encode(layout, values, count, encoded);
    }
    check(w, pv_model_writer_data(w->writer, encoded, row_bytes, &w->error));
    free(values);
    free(encoded);
}

static void write_stack(writing *w, const tensor *t)
{
    const uint64_t step = w->file->gguf ? step_of(t) : 1, matrix = t->rows * t->cols, rows = t->bias ? t->rows : t->depth * t->rows;
    for (uint64_t half = 0; half < step; half++) {
        if (!w->file->gguf || t->bias) {
            for (uint64_t row = 0; row < rows; row++) write_strided(w, t, row * t->cols + half, step, t->cols / step);
            continue;
        }
        for (uint64_t expert = 0; expert < t->depth; expert++)
            for (uint64_t out = 0; out < t->cols / step; out++) write_strided(w, t, expert * matrix + out * step + half, t->cols, t->rows);
    }
}

/* ---- Latent attention: the checkpoint has [heads × (plain + others), latent], GGUF [heads, latent, plain] and [heads, others, latent] ---- */

static void declare_split(writing *w, const tensor *t)
{
    const uint64_t turned[3] = {t->heads, t->cols, t->plain}, others[3] = {t->heads, t->rows / t->heads - t->plain, t->cols};
    check(w, pv_model_writer_declare(w->writer, t->gguf, layout_of(w, t), 3, turned, &w->error));
    check(w, pv_model_writer_declare(w->writer, t->second, layout_of(w, t), 3, others, &w->error));
}

static void write_split(writing *w, const tensor *t)
{
    const uint64_t head_rows = t->rows / t->heads;
    for (uint64_t head = 0; head < t->heads; head++)
        for (uint64_t col = 0; col < t->cols; col++) write_strided(w, t, head * head_rows * t->cols + col, t->cols, t->plain);
    for (uint64_t row = 0; row < t->rows; row++)
        if (row % head_rows >= t->plain) write_strided(w, t, row * t->cols, 1, t->cols);
}

static bool is_split(const writing *w, const tensor *t) { return w->file->gguf && t->heads > 0; }

static void write_tensor(writing *w, const tensor *t)
{
    const pv_layout rounding = rounding_of(w, t), layout = layout_of(w, t);
    const uint64_t cols = cols_of(w, t);
    uint64_t row_bytes = 0;
    assert_true(pv_layout_row_bytes(layout, cols, &row_bytes));
    float *values = malloc(cols * sizeof *values);
    uint8_t *encoded = malloc(cols * sizeof *values + 512);
    for (uint64_t row = 0; row < rows_of(w, t); row++) {
        make_row(w, t, row, values);
        pv_layout_encode(rounding, values, cols, encoded);
        if (layout != rounding || (w->file->gguf && t->add != 0)) {
            pv_layout_decode(rounding, encoded, cols, values);
            for (uint64_t i = 0; w->file->gguf && i < cols; i++) values[i] += t->add;
            pv_layout_encode(layout, values, cols, encoded);
        }
        check(w, pv_model_writer_data(w->writer, encoded, row_bytes, &w->error));
    }
    free(values);
    free(encoded);
}

/* ---- Tensors that only the GGUF file has: lists of numbers under "extra" ---- */

/* Number i of all of them: its tensor's name and its place there; false beyond the last. */
static bool extra_at(const golden_case *c, size_t i, char name[96], uint32_t *at, float *value)
{
    for (size_t e = 0; e < c->about.count; e++) {
        const char *path = pv_flat_path(&c->about, &c->about.entries[e]);
        if (strncmp(path, "extra.", 6) != 0 || i-- > 0) continue;
        const char *last = strrchr(path, '.');
        snprintf(name, 96, "%.*s", (int)(last - path - 6), path + 6);
        *at = (uint32_t)atoi(last + 1);
        *value = (float)c->about.entries[e].number;
        return true;
    }
    return false;
}

static void declare_extras(writing *w)
{
    char name[96], next[96];
    uint32_t at, next_at;
    float value;
    for (size_t i = 0; extra_at(w->c, i, name, &at, &value); i++) {
        const uint64_t count = at + 1;
        if (extra_at(w->c, i + 1, next, &next_at, &value) && next_at == count) continue;
        check(w, pv_model_writer_declare(w->writer, name, PV_LAYOUT_F32, 1, &count, &w->error));
    }
}

static void write_extras(writing *w)
{
    char name[96];
    uint32_t at;
    float value;
    for (size_t i = 0; extra_at(w->c, i, name, &at, &value); i++) check(w, pv_model_writer_data(w->writer, &value, sizeof value, &w->error));
}

/* ---- Metadata ---- */

static void write_list(writing *w, const char *key, size_t line)
{
    int32_t values[64];
    size_t count = 0;
    char member[32];
    const pv_flat_entry *value;
    while (snprintf(member, sizeof member, "2.%zu", count), count < 64 && (value = entry(w->c, "metadata", line, member)) != NULL)
        values[count++] = (int32_t)value->number;
    check(w, pv_model_writer_i32s(w->writer, key, values, count, &w->error));
}

static void write_metadata(writing *w)
{
    const golden_case *c = w->c;
    check(w, pv_model_writer_string(w->writer, "general.architecture", pv_flat_string(&c->about, "architecture"), &w->error));
    for (size_t i = 0; text_of(c, "metadata", i, "0") != NULL; i++) {
        const char *key = text_of(c, "metadata", i, "0"), *type = text_of(c, "metadata", i, "1");
        const pv_flat_entry *value = entry(c, "metadata", i, "2");
        if (w->file->from != NULL && strcmp(key, w->file->from) == 0) continue;
        if (strcmp(type, "u32") == 0)
            check(w, pv_model_writer_u32(w->writer, key, (uint32_t)value->number, &w->error));
        else if (strcmp(type, "f32") == 0)
            check(w, pv_model_writer_f32(w->writer, key, (float)value->number, &w->error));
        else if (strcmp(type, "bool") == 0)
            check(w, pv_model_writer_bool(w->writer, key, value->type == PV_JSON_TRUE, &w->error));
        else if (strcmp(type, "i32s") == 0)
            write_list(w, key, i);
        else
            check(w, pv_model_writer_string(w->writer, key, pv_flat_value(&c->about, value), &w->error));
    }
    if (w->file->from != NULL) check(w, pv_model_writer_u32(w->writer, w->file->from, (uint32_t)strtoul(w->file->to, NULL, 10), &w->error));
}

/* ---- Files ---- */

/* The class of the whole, the settings of the part. */
static void print_inside(FILE *out, const char *text)
{
    const char *settings = strchr(text, '{');
    assert_non_null(settings);
    assert_true(fprintf(out, "{\"architectures\": [\"Gemma3ForConditionalGeneration\"], \"model_type\": \"gemma3\", \"text_config\": %s}\n", settings) > 0);
}

static void copy_config(const writing *w, const char *folder)
{
    char path[GOLDEN_PATH + 64];
    snprintf(path, sizeof path, "%s/config.json", folder);
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    char from_path[GOLDEN_PATH + 64], *legacy = NULL;
    size_t length;
    pv_allocator allocator = pv_allocator_default();
    if (w->file->config_name != NULL) {
        snprintf(from_path, sizeof from_path, "%s/%s", w->c->folder, w->file->config_name);
        assert_int_equal(pv_read_file(&allocator, from_path, 1 << 20, &legacy, &length, NULL), PV_OK);
    }
    const char *text = legacy != NULL ? legacy : w->c->config_text, *from = w->file->from != NULL ? strstr(text, w->file->from) : NULL;
    assert_true(w->file->from == NULL || from != NULL);
    if (w->file->inside) {
        print_inside(out, text);
        free(legacy);
        assert_int_equal(fclose(out), 0);
        return;
    }
    const size_t before = from != NULL ? (size_t)(from - text) : strlen(text);
    assert_int_equal(fwrite(text, 1, before, out), before);
    if (from != NULL) assert_true(fprintf(out, "%s%s", w->file->to, from + strlen(w->file->from)) > 0);
    free(legacy);
    assert_int_equal(fclose(out), 0);
}

void golden_write_listed(const golden_case *c, const golden_file *file, const char *folder, char path[GOLDEN_PATH])
{
    writing w = {.c = c, .file = file};
    tensor t;
    pv_allocator allocator = pv_allocator_default();
    snprintf(path, GOLDEN_PATH, "%.400s/model.%s", folder, file->gguf ? "gguf" : "safetensors");
    check(&w, pv_model_writer_open(&allocator, file->gguf ? PV_SOURCE_GGUF : PV_SOURCE_SAFETENSORS, path, &w.writer, &w.error));
    if (file->gguf) write_metadata(&w);
    if (file->gguf) declare_extras(&w);
    const uint64_t four = 4;
    const float patch[4] = {1, 2, 3, 4};
    if (file->inside) check(&w, pv_model_writer_declare(w.writer, "vision_tower.patch.weight", PV_LAYOUT_F32, 1, &four, &w.error));
    for (size_t i = 0; tensor_at(c, i, &t); i++)
        is_split(&w, &t) ? declare_split(&w, &t) : t.depth > 0 || t.bias ? declare_stack(&w, &t) : declare(&w, &t);
    if (file->gguf) write_extras(&w);
    if (file->inside) check(&w, pv_model_writer_data(w.writer, patch, sizeof patch, &w.error));
    for (size_t i = 0; tensor_at(c, i, &t); i++)
        is_split(&w, &t) ? write_split(&w, &t) : t.depth > 0 || t.bias ? write_stack(&w, &t) : write_tensor(&w, &t);
    check(&w, pv_model_writer_commit(w.writer, &w.error));
    pv_model_writer_close(w.writer);
    if (file->gguf) return;
    copy_config(&w, folder);
    snprintf(path, GOLDEN_PATH, "%s", folder);
}
