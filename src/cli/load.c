#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "hub.h"

pv_status cli_runtime(const cli_settings *settings, uint32_t threads, cli_profile *profile, pv_runtime **runtime, pv_error *error)
{
    const char *folder = cli_environment_cache();
    char *programs = folder[0] != '\0' ? cli_format("%s/programs", folder) : NULL;
    pv_runtime_options options = {
        .log = cli_log,
        .log_user = (void *)(uintptr_t)settings,
        .cpu_kernels = cli_environment_kernels(),
        .threads = threads,
        .metal_library = cli_environment_metal(),
        .cache = programs,
        .trace = profile != NULL ? cli_profile_add : NULL,
        .trace_user = profile,
        .capture = cli_profile_is_capture(settings->profile) ? settings->profile : NULL,
        .validate = settings->validate,
    };
    pv_status status = pv_runtime_create(&options, runtime, error);
    free(programs);
    return status;
}

/* auto, cpu, ane, metal, cuda, the last two with :N. */
static bool names_device(const char *text)
{
    static const struct {
        const char *name;
        bool numbered;
    } kinds[] = {{"auto", false}, {"cpu", false}, {"ane", false}, {"metal", true}, {"cuda", true}};
    for (size_t i = 0; i < CLI_COUNT(kinds); i++) {
        size_t length = strlen(kinds[i].name);
        if (strncmp(text, kinds[i].name, length) != 0) continue;
        const char *rest = text + length;
        if (*rest == '\0') return true;
        return kinds[i].numbered && rest[0] == ':' && rest[1] != '\0' && strspn(rest + 1, "0123456789") == strlen(rest + 1);
    }
    return false;
}

pv_status cli_device(const cli_settings *settings, const char **device, pv_error *error)
{
    const char *layers = settings->gpu_layers;
    *device = settings->device;
    if (*device != NULL && !names_device(*device))
        return cli_error(error, PV_INVALID_ARGUMENT, "--device: '%s' is given, auto, cpu, metal[:N], cuda[:N] or ane is wanted",
                         *device);
    if (layers == NULL) return PV_OK;
    bool number = layers[0] != '\0' && strspn(layers, "0123456789") == strlen(layers);
    if (!number && strcmp(layers, "all") != 0 && strcmp(layers, "auto") != 0)
        return cli_error(error, PV_INVALID_ARGUMENT, "--gpu-layers: '%s' is given, a number, all or auto is wanted", layers);
    if (number && strtoul(layers, NULL, 10) == 0 && *device == NULL) *device = "cpu";
    return PV_OK;
}

static pv_kv_type kv_type_of(const char *name)
{
    if (name == NULL || strcmp(name, "f16") == 0) return PV_KV_F16;
    return strcmp(name, "8bit") == 0 ? PV_KV_8BIT : PV_KV_4BIT;
}

pv_status cli_model_options(const cli_settings *settings, pv_model_options *options, pv_error *error)
{
    *options = (pv_model_options){
        .load = settings->load != NULL && strcmp(settings->load, "copy") == 0 ? PV_LOAD_COPY : PV_LOAD_MAP,
        .context = settings->context,
        .max_sequences = 1,
        .max_step_rows = settings->step_rows,
        .kv_type = kv_type_of(settings->kv),
    };
    return cli_device(settings, &options->device, error);
}

static PV_BOOL show_progress(void *user, uint64_t done, uint64_t total)
{
    const cli_settings *settings = user;
    if (!settings->quiet) cli_progress("loading", done, total);
    return cli_interrupted() == 0;
}

static void print_budget(const pv_budget *b)
{
    char way_out[64] = "";
    if (b->total > b->available && b->context_that_fits > 0)
        snprintf(way_out, sizeof way_out, "; --ctx %u would fit", b->context_that_fits);
    cli_say("memory: weights %s + KV %s + scratch %s + other %s = %s of %s, context %u%s", cli_bytes_text(b->weights),
            cli_bytes_text(b->kv), cli_bytes_text(b->scratch), cli_bytes_text(b->other), cli_bytes_text(b->total),
            cli_bytes_text(b->available), b->context, way_out);
}

/* What only Metal does is not left out silently. */
static void warn_without_metal(const cli_settings *settings, const char *device)
{
    if (strncmp(device, "metal", strlen("metal")) == 0) return;
    if (settings->validate) cli_say("warning: --validate looks at nothing on %s, only on a Metal device", device);
    if (cli_profile_is_capture(settings->profile))
        cli_say("warning: the capture %s is not made: %s makes none, only a Metal device", settings->profile, device);
}

static pv_status load_with_budget(const cli_settings *settings, const pv_model_options *options, cli_model *model,
                                  pv_error *error)
{
    pv_budget budget;
    pv_model_options with_progress = *options;
    with_progress.progress = show_progress;
    with_progress.progress_user = (void *)(uintptr_t)settings;
    pv_status status = PV_OK;
    if (!options->text_only) status = pv_model_budget(model->runtime, model->path, options, &budget, error);
    if (status != PV_OK) return status;
    if (!options->text_only && !settings->quiet) print_budget(&budget);
    cli_interrupt_flags();
    status = pv_model_load(model->runtime, model->path, &with_progress, &model->model, error);
    cli_interrupt_exits();
    cli_progress_end();
    if (status == PV_OK) status = pv_model_get_info(model->model, &model->info, error);
    if (status == PV_OK) warn_without_metal(settings, model->info.device);
    return status;
}

pv_status cli_load(const cli_settings *settings, const pv_model_options *options, uint32_t threads, cli_model *model,
                   pv_error *error)
{
    *model = (cli_model){0};
    pv_status status = hub_resolve(settings, settings->model, &model->path, error);
    if (status == PV_OK) status = cli_profile_open(settings->profile, &model->profile, error);
    if (status == PV_OK) status = cli_runtime(settings, threads, model->profile, &model->runtime, error);
    if (status == PV_OK) status = load_with_budget(settings, options, model, error);
    if (status != PV_OK) cli_unload(model);
    return status;
}

void cli_unload(cli_model *model)
{
    pv_model_destroy(model->model);
    pv_runtime_destroy(model->runtime);
    cli_profile_close(model->profile);
    free(model->path);
    *model = (cli_model){0};
}
