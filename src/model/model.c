#include "model/model.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"

#define DEFAULT_CONTEXT 8192
#define DEFAULT_SEQUENCES 8
#define DEFAULT_STEP_ROWS 512
#define MAX_SEQUENCES 256

static const pv_model_options default_options;

/* ---- Capacity and budget ---- */

static pv_status choose_capacity(const pv_model *model, const pv_model_options *options, pv_capacity *c, pv_error *error)
{
    uint32_t trained = model->decoder.trained_context;
    uint32_t context = options->context != 0 ? options->context : pv_min_size(trained, DEFAULT_CONTEXT);
    c->max_sequences = options->max_sequences != 0 ? options->max_sequences : DEFAULT_SEQUENCES;
    c->prefill_rows = options->max_step_rows != 0 ? options->max_step_rows : DEFAULT_STEP_ROWS;
    if (c->max_sequences > MAX_SEQUENCES)
        return pv_fail(error, PV_INVALID_ARGUMENT, "max_sequences is %u, at most %d is wanted", c->max_sequences, MAX_SEQUENCES);
    if (c->prefill_rows > 2048) return pv_fail(error, PV_INVALID_ARGUMENT, "max_step_rows is %u, at most 2048 is wanted", c->prefill_rows);
    if ((unsigned)options->kv_type > PV_KV_4BIT)
        return pv_fail(error, PV_INVALID_ARGUMENT, "kv_type is %d, PV_KV_F16, PV_KV_8BIT or PV_KV_4BIT is wanted", (int)options->kv_type);
    c->kv_type = options->kv_type;
    if (c->prefill_rows < PV_TILE_ROWS) c->prefill_rows = PV_TILE_ROWS;
    if (context > trained)
        return pv_fail(error, PV_INVALID_ARGUMENT, "a context of %u tokens is asked for, the model was trained for %u", context, trained);
    c->context = (context + PV_PAGE_TOKENS - 1) / PV_PAGE_TOKENS * PV_PAGE_TOKENS;
    c->groups = model->decoder.group_count;
    return PV_OK;
}

static pv_status choose_pages(const pv_decoder *d, const pv_model_options *options, pv_capacity *c, pv_error *error)
{
    uint64_t page = pv_kv_page_bytes(c->kv_type, d->kv_heads, d->head_dim, d->latent > 0 ? d->latent : d->head_dim) * d->layers;
    uint64_t pages = options->kv_bytes != 0 ? options->kv_bytes / page : c->context / PV_PAGE_TOKENS;
    if (pages < 1)
        return pv_fail(error, PV_INVALID_ARGUMENT, "kv_bytes is %llu, at least %llu, a page of %d tokens, is wanted",
                       (unsigned long long)options->kv_bytes, (unsigned long long)page, PV_PAGE_TOKENS);
    uint64_t useful = (uint64_t)c->context / PV_PAGE_TOKENS * c->max_sequences * 2;
    if (pages > useful) pages = useful;
    if (pages > INT32_MAX - 1) pages = INT32_MAX - 1;
    c->pages = (uint32_t)pages + 1;
    return PV_OK;
}

static uint64_t add_up(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return pv_add_u64(a, b, &sum) ? sum : UINT64_MAX;
}

static void fill_budget(const pv_needs *needs, const pv_capacity *c, uint64_t usable, pv_budget *b)
{
    *b = (pv_budget){.weights = needs->weights, .kv = needs->kv, .scratch = needs->scratch, .other = needs->other,
                     .context = c->context, .max_sequences = c->max_sequences, .available = usable};
    uint64_t fixed = add_up(add_up(b->weights, b->scratch), b->other);
    b->total = add_up(fixed, b->kv);
    fixed = add_up(fixed, needs->kv_fixed);
    uint64_t pages = usable <= fixed ? 0 : needs->kv_page > 0 ? (usable - fixed) / needs->kv_page : UINT32_MAX;
    uint64_t room = pages > 0 ? (pages - 1) * PV_PAGE_TOKENS : 0; /* one is the null page */
    b->context_that_fits = room > UINT32_MAX ? UINT32_MAX : (uint32_t)room;
    if (b->context_that_fits > c->context) b->context_that_fits = c->context;
}

static pv_status refuse_if_too_large(const pv_model *model, pv_error *error)
{
    const pv_budget *b = &model->budget;
    if (b->total <= b->available) return PV_OK;
    char way_out[96] = "no context would fit";
    if (b->context_that_fits > 0) snprintf(way_out, sizeof way_out, "a context of %u tokens would fit", b->context_that_fits);
    double mib = 1024.0 * 1024.0;
    return pv_fail(error, PV_DOES_NOT_FIT,
                   "the model needs %.1f MiB (weights %.1f, KV cache %.1f for %llu tokens, scratch %.1f, other %.1f), %s has %.1f MiB; %s",
                   b->total / mib, b->weights / mib, b->kv / mib, (unsigned long long)(model->capacity.pages - 1) * PV_PAGE_TOKENS, b->scratch / mib,
                   b->other / mib, model->device->description.id, b->available / mib, way_out);
}

/* ---- Opening: everything but the weights ---- */

static pv_status open_device(const pv_model *model, const pv_runtime_device *device, bool plain, pv_backend_device **open, pv_error *error)
{
    return device->backend->open(device->backend, &model->runtime->environment, device->description.id, plain, open, error);
}

static void free_model(pv_model *model)
{
    const pv_allocator *allocator = model->allocator;
    pv_placement_destroy(model->placement);
    pv_template_destroy(model->template);
    pv_tokenizer_destroy(model->tokenizer);
    pv_source_close(model->source);
    pv_free(allocator, model);
}

static const char *base_name(const char *path, size_t *length)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/') start--;
    *length = end - start;
    return path + start;
}

static pv_status open_model(pv_runtime *runtime, const char *path, const pv_model_options *options, pv_model **out, pv_error *error)
{
    if (runtime == NULL || path == NULL) return pv_fail(error, PV_INVALID_ARGUMENT, "%s is NULL", runtime == NULL ? "runtime" : "path");
    pv_model *model = pv_calloc(&runtime->allocator, 1, sizeof *model);
    if (model == NULL) return pv_fail_memory(error, sizeof *model, "a model");
    model->runtime = runtime;
    model->allocator = &runtime->allocator;
    model->allow_non_finite = options->allow_non_finite;
    model->plain_programs = options->plain_programs;
    model->text_only = options->text_only;
    size_t length;
    const char *name = base_name(path, &length);
    snprintf(model->name, sizeof model->name, "%.*s", (int)pv_min_size(length, 127), name);
    const pv_runtime_device *device = NULL;
    pv_status status = pv_runtime_find_device(runtime, options->device, &device, error);
    atomic_init(&model->device, device);
    if (status == PV_OK) status = pv_source_open(model->allocator, path, options->load, &model->source, error);
    if (status == PV_OK) status = pv_decoder_read(model->allocator, model->source, &model->decoder, model->ends, &model->end_count, error);
    if (status == PV_OK) status = choose_capacity(model, options, &model->capacity, error);
    model->decoder.context = model->capacity.context;
    if (status == PV_OK) status = choose_pages(&model->decoder, options, &model->capacity, error);
    if (status != PV_OK) {
        free_model(model);
        return status;
    }
    *out = model;
    return PV_OK;
}

/* Finds the weights and what everything takes on this device. */
static pv_status measure(const pv_model *model, pv_backend_device *device, pv_weight_list *list, pv_needs *needs, pv_error *error)
{
    pv_status status = pv_weights_find(model->allocator, &model->decoder, model->source, device, list, error);
    if (status != PV_OK) return status;
    status = pv_placement_needs(model->allocator, &model->decoder, &model->capacity, list, device, needs, error);
    if (status != PV_OK) pv_weight_list_free(model->allocator, list);
    return status;
}

pv_status pv_model_budget(pv_runtime *runtime, const char *path, const pv_model_options *options, pv_budget *budget, pv_error *error)
{
    pv_model *model;
    pv_backend_device *device;
    pv_weight_list list;
    pv_needs needs;
    if (budget == NULL) return pv_fail(error, PV_INVALID_ARGUMENT, "budget is NULL");
    pv_status status = open_model(runtime, path, options != NULL ? options : &default_options, &model, error);
    if (status != PV_OK) return status;
    status = open_device(model, model->device, model->plain_programs, &device, error);
    if (status == PV_OK) {
        status = measure(model, device, &list, &needs, error);
        if (status == PV_OK) {
            fill_budget(&needs, &model->capacity, device->backend->describe(device)->memory_usable, budget);
            pv_weight_list_free(model->allocator, &list);
        }
        device->backend->close(device);
    }
    free_model(model);
    return status;
}

/* ---- Loading ---- */

/* What the first placing takes is what the model says of itself; it is refused if that is too much. */
static pv_status describe_placing(pv_model *model, const pv_weight_list *list, const pv_needs *needs, const pv_backend_device *open, pv_error *error)
{
    model->weight_bytes = list->bytes;
    model->parameters = list->parameters;
    fill_budget(needs, &model->capacity, open->backend->describe(open)->memory_usable, &model->budget);
    return refuse_if_too_large(model, error);
}

static pv_status place_model(pv_model *model, const pv_runtime_device *device, bool plain, bool first, pv_load_progress progress, pv_error *error)
{
    pv_backend_device *open;
    pv_weight_list list;
    pv_needs needs;
    pv_status status = open_device(model, device, plain, &open, error);
    if (status != PV_OK) return status;
    status = measure(model, open, &list, &needs, error);
    if (status != PV_OK) {
        open->backend->close(open);
        return status;
    }
    if (first) status = describe_placing(model, &list, &needs, open, error);
    if (status == PV_OK)
        status = pv_placement_create(model->allocator, &model->decoder, &model->capacity, model->source, &list, model->allow_non_finite, progress,
                                     &needs, open, &model->placement, error);
    else
        open->backend->close(open);
    pv_weight_list_free(model->allocator, &list);
    return status;
}

pv_status pv_model_replace(pv_model *model, const pv_runtime_device *device, bool plain, pv_error *error)
{
    pv_placement_destroy(model->placement);
    model->placement = NULL;
    pv_status status = pv_source_check_unchanged(model->source, error);
    if (status == PV_OK) status = place_model(model, device, plain, false, (pv_load_progress){0}, error);
    if (status != PV_OK) return status;
    model->device = device;
    return PV_OK;
}

static void add_end(pv_model *model, int32_t token)
{
    if (pv_token_ends(model, token) || model->end_count == sizeof model->ends / sizeof model->ends[0]) return;
    model->ends[model->end_count++] = token;
}

static pv_status load_text(pv_model *model, pv_error *error)
{
    pv_error reason = {0};
    pv_status status = pv_tokenizer_load(model->allocator, model->source, &model->tokenizer, &reason);
    if (status == PV_NOT_FOUND) {
        pv_runtime_log(model->runtime, PV_LOG_WARNING, "%s; only token ids can be run", reason.message);
        return PV_OK;
    }
    if (status != PV_OK) {
        if (error != NULL) *error = reason;
        return status;
    }
    size_t count;
    const int32_t *ends = pv_tokenizer_ends(model->tokenizer, &count);
    for (size_t i = 0; i < count; i++) add_end(model, ends[i]);
    return pv_chat_load(model, error);
}

pv_status pv_model_load(pv_runtime *runtime, const char *path, const pv_model_options *options, pv_model **out, pv_error *error)
{
    if (options == NULL) options = &default_options;
    if (out == NULL) return pv_fail(error, PV_INVALID_ARGUMENT, "model is NULL");
    pv_model *model;
    pv_status status = open_model(runtime, path, options, &model, error);
    if (status != PV_OK) return status;
    pv_load_progress progress = {.call = options->progress, .user = options->progress_user};
    status = load_text(model, error);
    if (status == PV_OK && !options->text_only)
        status = place_model(model, model->device, model->plain_programs, true, progress, error);
    if (status != PV_OK) {
        free_model(model);
        return status;
    }
    *out = model;
    return PV_OK;
}

void pv_model_destroy(pv_model *model)
{
    if (model != NULL) free_model(model);
}

/* ---- Answers ---- */

pv_status pv_model_get_info(const pv_model *model, pv_model_info *info, pv_error *error)
{
    if (model == NULL || info == NULL) return pv_fail(error, PV_INVALID_ARGUMENT, "model or info is NULL");
    const pv_decoder *d = &model->decoder;
    *info = (pv_model_info){
        .name = model->name,
        .architecture = d->architecture->name,
        .format = pv_source_get_kind(model->source) == PV_SOURCE_GGUF ? "gguf" : "safetensors",
        .device = model->device->description.id,
        .parameters = model->parameters,
        .weight_bytes = model->weight_bytes,
        .layers = d->layers,
        .width = d->width,
        .heads = d->heads,
        .kv_heads = d->kv_heads,
        .head_dim = d->head_dim,
        .feed_forward = d->feed_forward,
        .vocabulary = d->vocabulary,
        .context = model->capacity.context,
        .trained_context = d->trained_context,
        .bos = model->tokenizer != NULL ? pv_tokenizer_bos(model->tokenizer, &(bool){false}) : -1,
        .has_chat_template = model->template != NULL,
        .budget = model->budget,
    };
    return PV_OK;
}

PV_BOOL pv_token_ends(const pv_model *model, int32_t token)
{
    for (size_t i = 0; model != NULL && i < model->end_count; i++)
        if (model->ends[i] == token) return true;
    return false;
}
