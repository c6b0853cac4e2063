#include "backend/metal/tune.h"

#include <stdio.h>
#include <string.h>

#include "backend/metal/mps.h"
#include "backend/metal/prepare.h"
#include "base/checked.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

#define DEFAULT_SIZE 4096 /* rows and columns of the matrices: those of a model with 7 billion weights */
#define MOST_SIZE 16384
#define REPETITIONS 5
#define SCHEMA "pensieve.tune/1"
#define MOST_BYTES 4096 /* of the file */

/* ---- The stored choice ---- */

static pv_status read_number(pv_json *json, const char *name, uint32_t *value, pv_error *error)
{
    int64_t number = 0;
    pv_status status = pv_json_expect(json, PV_JSON_NUMBER, error);
    if (status == PV_OK) status = pv_json_int(json, &number, error);
    if (status != PV_OK) return status;
    if (number < 0 || number > PV_METAL_MOST_ROWS)
        return pv_fail_at(error, PV_BAD_FILE, json->file, json->start, "%s is %lld, 0 to %d is wanted", name,
                          (long long)number, PV_METAL_MOST_ROWS);
    *value = (uint32_t)number;
    return PV_OK;
}

static pv_status read_members(pv_json *json, pv_metal_tuning *tuning, pv_error *error)
{
    bool found = false;
    pv_status status = pv_json_expect(json, PV_JSON_OBJECT, error);
    while (status == PV_OK && (status = pv_json_next(json, error)) == PV_OK && json->type == PV_JSON_KEY) {
        if (pv_json_is(json, "few_rows")) {
            found = true;
            status = read_number(json, "few_rows", &tuning->few_rows, error);
        } else if (pv_json_is(json, "mps_rows")) {
            status = read_number(json, "mps_rows", &tuning->mps_rows, error);
        } else {
            status = pv_json_next(json, error);
            if (status == PV_OK) status = pv_json_skip(json, error);
        }
    }
    if (status == PV_OK) status = pv_json_expect(json, PV_JSON_END, error);
    if (status == PV_OK && !found) status = pv_fail_at(error, PV_BAD_FILE, json->file, PV_NO_OFFSET, "there is no few_rows");
    return status;
}

void pv_metal_tuning_load(pv_metal_device *device)
{
    const pv_environment *environment = device->environment;
    char path[PV_METAL_PATH_BYTES], line[512];
    char *text = NULL;
    size_t length = 0;
    pv_error error = {0};
    pv_json json;
    pv_metal_tuning found = {0};
    device->tuning = (pv_metal_tuning){.few_rows = PV_METAL_FEW_ROWS};
    if (environment->cache == NULL || !pv_metal_cache_path(device, "tune", path)) return;
    pv_status status = pv_read_file(device->allocator, path, MOST_BYTES, &text, &length, &error);
    if (status == PV_NOT_FOUND) return; /* nobody tuned */
    if (status == PV_OK) {
        pv_json_init(&json, device->allocator, text, length, path);
        status = read_members(&json, &found, &error);
        pv_json_free(&json);
        pv_free(device->allocator, text);
    }
    if (status == PV_OK) {
        device->tuning = found;
        return;
    }
    snprintf(line, sizeof line, "what was tuned is not used: %.400s", error.message);
    if (environment->log != NULL) environment->log(environment->log_user, PV_LOG_WARNING, line);
}

static pv_status store(const pv_metal_device *device, const pv_metal_tuning *tuning, pv_error *error)
{
    char path[PV_METAL_PATH_BYTES], text[512];
    pv_writer writer;
    if (!pv_metal_cache_path(device, "tune", path))
        return pv_fail(error, PV_INVALID_ARGUMENT, "the path of the cache folder is too long");
    const int length = snprintf(text, sizeof text, "{\"schema\": \"" SCHEMA "\", \"few_rows\": %u, \"mps_rows\": %u}\n",
                                tuning->few_rows, tuning->mps_rows);
    pv_metal_make_folders(path);
    pv_status status = pv_writer_open(device->allocator, path, &writer, error);
    if (status != PV_OK) return status;
    status = pv_writer_write(&writer, text, (size_t)length, error);
    if (status == PV_OK) return pv_writer_commit(&writer, error);
    pv_writer_discard(&writer);
    return status;
}

/* ---- Measuring: a product of a matrix and some rows ---- */

typedef struct bench {
    pv_metal_device *device;
    const pv_tune_options *options;
    uint32_t size;
    double shortest; /* of the command buffers since it was set to infinity */
    pv_buffer weights, rows, block;
} bench;

static void note_time(void *user, const pv_timing *timing)
{
    bench *b = user;
    const double seconds = timing->end - timing->begin;
    if (strcmp(timing->name, "command buffer") == 0 && seconds < b->shortest) b->shortest = seconds;
}

static const pv_step_limits limits = {
    .rows = PV_METAL_MOST_ROWS, .seqs = 1, .logits = 1, .patches = 1, .biases = 1, .slots = 2, .context = 64};

static pv_status make_buffers(bench *b, pv_error *error)
{
    const uint64_t row = (uint64_t)b->size * sizeof(float);
    const pv_step_layout layout = pv_step_layout_for(&limits);
    pv_backend_device *device = &b->device->base;
    pv_status status = pv_metal_alloc(device, PV_MEMORY_WEIGHTS, row * b->size, &b->weights, error);
    if (status == PV_OK) status = pv_metal_alloc(device, PV_MEMORY_SCRATCH, 2 * row * PV_METAL_MOST_ROWS, &b->rows, error);
    if (status == PV_OK)
        status = pv_metal_alloc(device, PV_MEMORY_STEP, layout.bytes + sizeof(pv_step_output), &b->block, error);
    return status;
}

static void free_buffers(bench *b)
{
    pv_metal_free(&b->device->base, &b->weights);
    pv_metal_free(&b->device->base, &b->rows);
    pv_metal_free(&b->device->base, &b->block);
}

static pv_op product_of(const bench *b, pv_layout layout, uint32_t rows)
{
    const uint64_t row = (uint64_t)b->size * sizeof(float);
    pv_op op = {.kind = PV_OP_linear, .barrier = true, .label = "product"};
    op.linear.x = (pv_tensor){
        .buffer = &b->rows, .rows = rows, .cols = b->size, .row_bytes = row, .layout = PV_LAYOUT_F32, .extent = PV_EXTENT_ROWS};
    op.linear.part_count = 1;
    op.linear.parts[0].weight = (pv_tensor){.buffer = &b->weights, .rows = b->size, .cols = b->size, .layout = layout};
    pv_layout_row_bytes(layout, b->size, &op.linear.parts[0].weight.row_bytes);
    op.linear.parts[0].out = op.linear.x;
    op.linear.parts[0].out.offset = row * PV_METAL_MOST_ROWS;
    return op;
}

static pv_status run(bench *b, pv_prepared *prepared, uint32_t rows, pv_error *error)
{
    const pv_step_layout layout = pv_step_layout_for(&limits);
    pv_tensor block = {.buffer = &b->block, .rows = 1}, outputs = {.buffer = &b->block, .offset = layout.bytes, .rows = 1};
    const pv_submission submission = {.plans = &prepared, .plan_count = 1, .block = block, .outputs = outputs};
    pv_fence fence;
    pv_status status = PV_OK;
    *pv_step_view_of(pv_tensor_host(&block), &layout).counts = (pv_step_counts){.rows = rows, .seqs = 1};
    for (int i = 0; i < REPETITIONS && status == PV_OK; i++) {
        status = pv_metal_submit(&b->device->base, &submission, &fence, error);
        if (status == PV_OK) status = pv_metal_wait(&b->device->base, fence, b->device->patience_ms, error);
    }
    return status;
}

/* The best of some runs, with the kernels that a device takes whose few rows are so many. */
static pv_status measure(bench *b, pv_layout layout, uint32_t rows, uint32_t few_rows, double *seconds, pv_error *error)
{
    pv_op op = product_of(b, layout, rows);
    const pv_plan plan = {
        .allocator = b->device->allocator, .ops = &op, .count = 1, .limits = limits, .rows = rows, .logits = 1};
    pv_prepared *prepared = NULL;
    b->device->tuning.few_rows = few_rows;
    b->shortest = 1e30;
    pv_status status = pv_metal_prepare(&b->device->base, &plan, &prepared, error);
    if (status == PV_OK) status = run(b, prepared, rows, error);
    pv_metal_release(&b->device->base, prepared);
    *seconds += b->shortest;
    return status;
}

static void report(const bench *b, uint32_t rows, const char *variant, double seconds, bool chosen)
{
    char name[64];
    if (b->options->report == NULL) return;
    snprintf(name, sizeof name, "%u rows times a matrix of %u × %u", rows, b->size, b->size);
    const pv_tuned tuned = {.name = name, .variant = variant, .seconds = seconds, .chosen = chosen};
    b->options->report(b->options->user, &tuned);
}

/* The most rows up to which the kernels for few rows are quicker than matrix units, over a quantized and a dense layout. */
static pv_status choose_few_rows(bench *b, uint32_t *few_rows, pv_error *error)
{
    static const uint32_t counts[] = {2, 4, 8, 12, 16, 24, 32, 48, PV_METAL_MOST_ROWS};
    static const pv_layout layouts[] = {PV_LAYOUT_Q4_0, PV_LAYOUT_F16};
    *few_rows = 1;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        double few = 0, matrices = 0;
        pv_status status = PV_OK;
        for (size_t l = 0; l < sizeof layouts / sizeof layouts[0] && status == PV_OK; l++) {
            status = measure(b, layouts[l], counts[i], PV_METAL_MOST_ROWS, &few, error);
            if (status == PV_OK) status = measure(b, layouts[l], counts[i], 0, &matrices, error);
        }
        if (status != PV_OK) return status;
        const bool chosen = few < matrices;
        report(b, counts[i], "few rows", few, chosen);
        report(b, counts[i], "matrix units", matrices, !chosen);
        if (!chosen) break;
        *few_rows = counts[i];
    }
    return PV_OK;
}

/* Whether MPS does the products of many rows, over both layouts that it knows. What is not there is not chosen. */
static pv_status choose_mps(bench *b, uint32_t few_rows, uint32_t *mps_rows, pv_error *error)
{
    static const pv_layout layouts[] = {PV_LAYOUT_F16, PV_LAYOUT_F32};
    double ours = 0, theirs = 0;
    pv_status status = PV_OK;
    *mps_rows = 0;
    pv_metal_mps *mps = pv_metal_mps_open(b->device);
    if (mps == NULL) return PV_OK;
    for (size_t l = 0; l < sizeof layouts / sizeof layouts[0] && status == PV_OK; l++) {
        b->device->mps = NULL;
        status = measure(b, layouts[l], PV_METAL_MOST_ROWS, few_rows, &ours, error);
        b->device->mps = mps;
        b->device->tuning.mps_rows = PV_METAL_MOST_ROWS;
        if (status == PV_OK) status = measure(b, layouts[l], PV_METAL_MOST_ROWS, few_rows, &theirs, error);
    }
    b->device->mps = NULL;
    pv_metal_mps_close(b->device, mps);
    if (status != PV_OK) return status;
    if (theirs < ours) *mps_rows = PV_METAL_MOST_ROWS;
    report(b, PV_METAL_MOST_ROWS, "matrix units, dense weights", ours, theirs >= ours);
    report(b, PV_METAL_MOST_ROWS, "MPS, dense weights", theirs, theirs < ours);
    return PV_OK;
}

static pv_status check(const pv_environment *environment, uint32_t size, pv_error *error)
{
    if (environment->cache == NULL)
        return pv_fail(error, PV_INVALID_ARGUMENT, "the runtime has no cache folder to keep the choice in");
    if (size % 256 != 0 || size < 256 || size > MOST_SIZE)
        return pv_fail(error, PV_INVALID_ARGUMENT, "matrices of %u rows; a multiple of 256 from 256 to %d is wanted", size,
                       MOST_SIZE);
    return PV_OK;
}

/* A folder that cannot be written is told before anything is measured, which takes its time. */
static pv_status check_place(const pv_metal_device *device, pv_error *error)
{
    char path[PV_METAL_PATH_BYTES];
    pv_writer writer;
    if (!pv_metal_cache_path(device, "tune", path))
        return pv_fail(error, PV_INVALID_ARGUMENT, "the path of the cache folder is too long");
    pv_metal_make_folders(path);
    const pv_status status = pv_writer_open_named(device->allocator, path, &writer, error);
    if (status == PV_OK) pv_writer_discard(&writer);
    return status;
}

static pv_status tune_device(bench *b, pv_error *error)
{
    pv_metal_tuning chosen = {0};
    if (!b->device->traits.simdgroup_matrix)
        return pv_fail_at(error, PV_UNSUPPORTED, b->device->description.id, PV_NO_OFFSET,
                          "the device has no matrix units, so there is nothing to choose");
    pv_status status = check_place(b->device, error);
    if (status == PV_OK) status = make_buffers(b, error);
    if (status == PV_OK) status = choose_few_rows(b, &chosen.few_rows, error);
    if (status == PV_OK) status = choose_mps(b, chosen.few_rows, &chosen.mps_rows, error);
    free_buffers(b);
    return status == PV_OK ? store(b->device, &chosen, error) : status;
}

pv_status pv_metal_tune(const pv_backend *backend, const pv_environment *environment, const char *id,
                        const pv_tune_options *options, pv_error *error)
{
    bench b = {.options = options, .size = options->size != 0 ? options->size : DEFAULT_SIZE};
    pv_environment own = *environment;
    pv_backend_device *device = NULL;
    own.trace = note_time;
    own.trace_user = &b;
    own.capture = NULL;
    pv_status status = check(environment, b.size, error);
    if (status == PV_OK) status = backend->open(backend, &own, id, false, &device, error);
    if (status != PV_OK) return status;
    b.device = pv_metal_of(device);
    status = tune_device(&b, error);
    backend->close(device);
    return status;
}
