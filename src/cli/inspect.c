/* What a model file holds and what it would take to run it; the weights are not read. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "hub.h"
#include "json_out.h"

typedef struct layout_sum {
    char name[32];
    uint64_t tensors, bytes, elements;
} layout_sum;

typedef struct view {
    const cli_settings *settings;
    const char *path;
    pv_file *file;
    layout_sum layouts[64];
    size_t layout_count;
    uint64_t bytes, parameters;
    pv_budget budget;
    cli_model model;  /* its text side, which also says what kind of model it is */
    pv_error refusal; /* why the model cannot be run; status PV_OK if it can */
} view;

/* ---- Gathering ---- */

static uint64_t elements_of(const pv_tensor_info *tensor)
{
    uint64_t elements = 1;
    for (uint32_t i = 0; i < tensor->dims && i < CLI_COUNT(tensor->dim); i++) elements *= tensor->dim[i];
    return elements;
}

static void add_tensor(view *v, const pv_tensor_info *tensor)
{
    size_t i = 0;
    while (i < v->layout_count && strcmp(v->layouts[i].name, tensor->layout) != 0) i++;
    if (i == CLI_COUNT(v->layouts)) i--;
    if (i == v->layout_count) {
        v->layout_count++;
        strncpy(v->layouts[i].name, tensor->layout, sizeof v->layouts[i].name - 1);
    }
    uint64_t elements = elements_of(tensor);
    v->layouts[i].tensors++;
    v->layouts[i].bytes += tensor->bytes;
    v->layouts[i].elements += elements;
    v->bytes += tensor->bytes;
    v->parameters += elements;
}

static pv_status gather(view *v, pv_runtime *runtime, pv_error *error)
{
    pv_model_options options;
    pv_status status = pv_file_open(runtime, v->path, &v->file, error);
    if (status != PV_OK) return status;
    for (size_t i = 0; i < pv_file_tensor_count(v->file); i++) {
        pv_tensor_info tensor;
        if (pv_file_tensor(v->file, i, &tensor, NULL) == PV_OK) add_tensor(v, &tensor);
    }
    status = cli_model_options(v->settings, &options, error);
    if (status != PV_OK) return status;
    /* A file in good order that cannot be run is still shown. */
    v->refusal = (pv_error){.offset = PV_NO_OFFSET};
    status = pv_model_budget(runtime, v->path, &options, &v->budget, &v->refusal);
    options.text_only = true;
    if (status == PV_OK) status = pv_model_load(runtime, v->path, &options, &v->model.model, &v->refusal);
    if (status == PV_OK) status = pv_model_get_info(v->model.model, &v->model.info, &v->refusal);
    int code = status == PV_OK ? CLI_DONE : cli_exit_code(&v->refusal);
    if (code == CLI_USAGE || code == CLI_ENVIRONMENT) {
        *error = v->refusal;
        return status;
    }
    return PV_OK;
}

/* ---- JSON ---- */

static void json_shape(cli_json *json, const pv_model_info *info)
{
    const struct {
        const char *name;
        uint64_t value;
    } members[] = {
        {"layers", info->layers},         {"width", info->width},
        {"heads", info->heads},           {"kv_heads", info->kv_heads},
        {"head_dim", info->head_dim},     {"feed_forward", info->feed_forward},
        {"vocabulary", info->vocabulary}, {"trained_context", info->trained_context},
    };
    cli_json_text_member(json, "architecture", info->architecture);
    for (size_t i = 0; i < CLI_COUNT(members); i++) cli_json_uint_member(json, members[i].name, members[i].value);
    cli_json_name(json, "has_chat_template");
    cli_json_bool(json, info->has_chat_template);
}

static void json_budget(cli_json *json, const pv_budget *b)
{
    const struct {
        const char *name;
        uint64_t value;
    } members[] = {
        {"weights", b->weights}, {"kv", b->kv},
        {"scratch", b->scratch}, {"other", b->other},
        {"total", b->total},     {"available", b->available},
        {"context", b->context}, {"context_that_fits", b->context_that_fits},
    };
    cli_json_name(json, "budget");
    cli_json_open(json, '{');
    for (size_t i = 0; i < CLI_COUNT(members); i++) cli_json_uint_member(json, members[i].name, members[i].value);
    cli_json_name(json, "fits");
    cli_json_bool(json, b->total <= b->available);
    cli_json_close(json, '}');
}

static void json_layouts(cli_json *json, const view *v)
{
    cli_json_name(json, "layouts");
    cli_json_open(json, '[');
    for (size_t i = 0; i < v->layout_count; i++) {
        cli_json_open(json, '{');
        cli_json_text_member(json, "layout", v->layouts[i].name);
        cli_json_uint_member(json, "tensors", v->layouts[i].tensors);
        cli_json_uint_member(json, "elements", v->layouts[i].elements);
        cli_json_uint_member(json, "bytes", v->layouts[i].bytes);
        cli_json_close(json, '}');
    }
    cli_json_close(json, ']');
}

static void json_metadata(cli_json *json, const view *v)
{
    cli_json_name(json, "metadata");
    cli_json_open(json, '{');
    for (size_t i = 0; i < pv_file_meta_count(v->file); i++) {
        const char *key, *value;
        if (pv_file_meta(v->file, i, &key, &value, NULL) == PV_OK) cli_json_text_member(json, key, value);
    }
    cli_json_close(json, '}');
}

static void json_tensors(cli_json *json, const view *v)
{
    cli_json_name(json, "tensors");
    cli_json_open(json, '[');
    for (size_t i = 0; i < pv_file_tensor_count(v->file); i++) {
        pv_tensor_info tensor;
        if (pv_file_tensor(v->file, i, &tensor, NULL) != PV_OK) continue;
        cli_json_open(json, '{');
        cli_json_text_member(json, "name", tensor.name);
        cli_json_text_member(json, "layout", tensor.layout);
        cli_json_name(json, "shape");
        cli_json_open(json, '[');
        for (uint32_t d = 0; d < tensor.dims; d++) cli_json_uint(json, tensor.dim[d]);
        cli_json_close(json, ']');
        cli_json_uint_member(json, "bytes", tensor.bytes);
        cli_json_text_member(json, "file", tensor.file);
        cli_json_uint_member(json, "offset", tensor.offset);
        cli_json_close(json, '}');
    }
    cli_json_close(json, ']');
}

static void print_json(const view *v)
{
    cli_json json = cli_json_start("inspect");
    cli_json_text_member(&json, "path", v->path);
    cli_json_text_member(&json, "format", pv_file_format(v->file));
    cli_json_uint_member(&json, "tensor_count", pv_file_tensor_count(v->file));
    cli_json_uint_member(&json, "parameters", v->parameters);
    cli_json_uint_member(&json, "weight_bytes", v->bytes);
    cli_json_name(&json, "runnable");
    cli_json_bool(&json, v->refusal.status == PV_OK);
    if (v->refusal.status == PV_OK) {
        json_shape(&json, &v->model.info);
        json_budget(&json, &v->budget);
    } else {
        cli_json_text_member(&json, "refusal", v->refusal.message);
    }
    json_layouts(&json, v);
    json_metadata(&json, v);
    if (v->settings->tensors) json_tensors(&json, v);
    cli_json_print(&json);
}

/* ---- Text ---- */

static void print_model(const view *v)
{
    const pv_model_info *info = &v->model.info;
    const pv_budget *b = &v->budget;
    if (v->refusal.status != PV_OK) {
        cli_printf("not runnable  %s\n", v->refusal.message);
        return;
    }
    cli_printf("architecture  %s: %u layers, width %u, %u heads (%u KV) of %u, feed-forward %u, vocabulary %u\n",
               info->architecture, info->layers, info->width, info->heads, info->kv_heads, info->head_dim, info->feed_forward,
               info->vocabulary);
    cli_printf("context       %u trained%s\n", info->trained_context, info->has_chat_template ? "" : "; no chat template");
    cli_printf("memory        %s: weights %s, KV %s for %u tokens, scratch %s, other %s; %s has %s", cli_bytes_text(b->total),
               cli_bytes_text(b->weights), cli_bytes_text(b->kv), b->context, cli_bytes_text(b->scratch),
               cli_bytes_text(b->other), info->device, cli_bytes_text(b->available));
    if (b->total > b->available) cli_printf(" (does not fit; a context of %u would)", b->context_that_fits);
    cli_print("\n", 1);
}

/* The file is a stranger's: what would steer a terminal (C0, DEL, and C1 as UTF-8 spells it) becomes a blank. */
static void print_clean(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i], next = (unsigned char)text[i + 1]; /* text ends with NUL */
        bool pair = c == 0xC2 && next >= 0x80 && next < 0xA0;
        cli_print(pair || c < 0x20 || c == 0x7F ? " " : text + i, 1);
        i += pair;
    }
}

static void print_name(const char *name, size_t width)
{
    size_t length = strlen(name);
    cli_print("  ", 2);
    print_clean(name, length);
    cli_printf("%*s", (int)(length < width ? width - length : 0) + 1, "");
}

/* One line each; what is too long is left out. */
static void print_value(const char *value)
{
    size_t length = strlen(value), shown = length < 100 ? length : 100;
    while (shown < length && shown > 0 && ((unsigned char)value[shown] & 0xC0) == 0x80) shown--;
    print_clean(value, shown);
    cli_printf("%s\n", shown < length ? "…" : "");
}

static void print_text(const view *v)
{
    cli_printf("path          %s\nformat        %s, %zu tensors, %.2f M parameters, %s\n", v->path, pv_file_format(v->file),
               pv_file_tensor_count(v->file), (double)v->parameters / 1e6, cli_bytes_text(v->bytes));
    print_model(v);
    cli_printf("\nlayouts\n");
    for (size_t i = 0; i < v->layout_count; i++)
        cli_printf("  %-8s %6llu tensors  %10s\n", v->layouts[i].name, (unsigned long long)v->layouts[i].tensors,
                   cli_bytes_text(v->layouts[i].bytes));
    cli_printf("\nmetadata\n");
    for (size_t i = 0; i < pv_file_meta_count(v->file); i++) {
        const char *key, *value;
        if (pv_file_meta(v->file, i, &key, &value, NULL) != PV_OK) continue;
        print_name(key, 42);
        print_value(value);
    }
    if (!v->settings->tensors) return;
    cli_printf("\ntensors\n");
    for (size_t i = 0; i < pv_file_tensor_count(v->file); i++) {
        pv_tensor_info tensor;
        if (pv_file_tensor(v->file, i, &tensor, NULL) != PV_OK) continue;
        print_name(tensor.name, 42);
        cli_printf("%-5s [", tensor.layout);
        for (uint32_t d = 0; d < tensor.dims; d++) cli_printf("%s%llu", d > 0 ? ", " : "", (unsigned long long)tensor.dim[d]);
        cli_printf("]  %s\n", cli_bytes_text(tensor.bytes));
    }
}

/* ---- The verb ---- */

int cli_inspect(const cli_settings *settings)
{
    pv_error error;
    pv_runtime *runtime = NULL;
    char *path = NULL;
    view v = {.settings = settings};
    pv_status status = hub_resolve(settings, settings->model, &path, &error);
    v.path = path;
    if (status == PV_OK) status = cli_runtime(settings, settings->threads, NULL, &runtime, &error);
    if (status == PV_OK) status = gather(&v, runtime, &error);
    int code = CLI_DONE;
    if (status != PV_OK)
        code = cli_fail(settings, "inspect", &error);
    else if (settings->json)
        print_json(&v);
    else
        print_text(&v);
    pv_model_destroy(v.model.model);
    if (v.file != NULL) pv_file_close(v.file);
    pv_runtime_destroy(runtime);
    free(path);
    return code;
}
