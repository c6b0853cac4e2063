#include <stdlib.h>

#include "cli.h"
#include "hub.h"
#include "json_out.h"

static void print_made(const cli_settings *settings, const pv_convert_options *options, const char *path)
{
    const uint64_t bytes = hub_size_of(path);
    if (!settings->json) {
        if (!settings->quiet) cli_say("%s: %s", path, cli_bytes_text(bytes));
        return;
    }
    cli_json json = cli_json_start("convert");
    cli_json_text_member(&json, "path", path);
    cli_json_uint_member(&json, "bits", options->bits);
    cli_json_uint_member(&json, "group", options->bits > 0 ? options->group : 0);
    cli_json_uint_member(&json, "bytes", bytes);
    cli_json_print(&json);
}

int cli_convert(const cli_settings *settings)
{
    pv_error error;
    pv_runtime *runtime = NULL;
    char *path = NULL;
    const char *out = settings->words[0];
    const pv_convert_options options = {.bits = settings->bits, .group = settings->group > 0 ? settings->group : 64};
    pv_status status = PV_OK;
    if ((settings->bits > 0) == settings->repack)
        status = cli_error(&error, PV_INVALID_ARGUMENT, "convert needs --bits N or --repack, one of them");
    if (status == PV_OK && settings->repack && settings->group > 0)
        status = cli_error(&error, PV_INVALID_ARGUMENT, "--group goes with --bits; --repack leaves groups as they are");
    if (status == PV_OK && cli_ends_with(out, ".gguf"))
        status = cli_error(&error, PV_INVALID_ARGUMENT, "%s: a folder with SafeTensors is written, no GGUF file", out);
    if (status == PV_OK) status = hub_resolve(settings, settings->model, &path, &error);
    if (status == PV_OK) status = cli_runtime(settings, settings->threads, NULL, &runtime, &error);
    if (status == PV_OK) status = pv_convert(runtime, path, &options, out, &error);
    if (status == PV_OK) print_made(settings, &options, out);
    pv_runtime_destroy(runtime);
    free(path);
    return status == PV_OK ? CLI_DONE : cli_fail(settings, "convert", &error);
}
