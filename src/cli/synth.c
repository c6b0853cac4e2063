#include <stdio.h>
#include <sys/stat.h>

#include "cli.h"
#include "hub.h"
#include "json_out.h"

static void print_made(const cli_settings *settings, const pv_synth_options *options, const char *path)
{
    uint64_t bytes = hub_size_of(path);
    if (!settings->json) {
        if (!settings->quiet) cli_say("%s: %s", path, cli_bytes_text(bytes));
        return;
    }
    cli_json json = cli_json_start("synth");
    cli_json_text_member(&json, "path", path);
    cli_json_text_member(&json, "architecture", options->architecture);
    cli_json_text_member(&json, "shape", options->shape);
    cli_json_text_member(&json, "layout", options->layout);
    cli_json_uint_member(&json, "seed", options->seed);
    cli_json_uint_member(&json, "bytes", bytes);
    cli_json_print(&json);
}

int cli_synth(const cli_settings *settings)
{
    pv_error error;
    pv_runtime *runtime = NULL;
    const char *path = settings->model;
    const pv_synth_options options = {
        .architecture = settings->architecture != NULL ? settings->architecture : "llama",
        .shape = settings->shape,
        .layout = settings->layout != NULL ? settings->layout : "F16",
        .seed = settings->seed,
    };
    pv_status status = PV_OK;
    if (options.shape == NULL) status = cli_error(&error, PV_INVALID_ARGUMENT, "synth needs --shape 8b, 1b, 135m or tiny");
    if (status == PV_OK) status = cli_runtime(settings, settings->threads, NULL, &runtime, &error);
    if (status == PV_OK) status = pv_synth(runtime, &options, path, &error);
    if (status == PV_OK) print_made(settings, &options, path);
    pv_runtime_destroy(runtime);
    return status == PV_OK ? CLI_DONE : cli_fail(settings, "synth", &error);
}
